"""The command line: `mixkd` and `python -m mixkd`.

Arguments in, one call, a table out. Nothing is computed here, and nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

EPILOG = """examples:
  mixkd reproduce                                 every experiment at small scale, then the site
  mixkd run --arm kd_mixup --tau 4 --seed 1       one run on the embedded digits
  mixkd run --data folder:images.zip --image-size 32 --student resnet8 --teacher resnet20 --arm kd_mixup
  mixkd site --serve                              the book from the committed records
  mixkd claims --json                             what reproduced, as data
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Bad input ends with status 2 and one clear message, not a traceback."""
    parser = _parser(arguments if arguments is not None else sys.argv[1:])
    options = parser.parse_args(arguments)
    try:
        return int(options.command(options) or 0)
    except (ValueError, KeyError, FileNotFoundError, NotADirectoryError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"mixkd: error: {message}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"mixkd: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mixkd: stopped; finished runs are kept, the same command continues", file=sys.stderr)
        return 130


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mixkd", description="Mixup-based distillation, measured.", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    reproduce = commands.add_parser("reproduce", help="train what a profile needs, build the site from it, compare with the committed records")
    reproduce.add_argument("--profile", default="digits", help="scale (default: digits)")
    reproduce.add_argument("--chapters", nargs="+", metavar="NAME", help="only what these studies need, by name (default: all)")
    reproduce.add_argument("--seeds", type=int, metavar="N", help="only seeds below N: a reduced grid")
    reproduce.add_argument("--store", default="runs", help="folder of the fresh records (default: runs)")
    reproduce.add_argument("--no-site", action="store_true", help="train and compare only")
    _machine(reproduce)
    reproduce.set_defaults(command=_reproduce)

    run = commands.add_parser("run", help="train one spec, or find its record")
    run.add_argument("--store", default="runs", help="folder of records (default: runs)")
    _machine(run)
    if arguments[:1] == ["run"]:  # the fields come from the spec, which is imported only for this command
        _spec_flags(run)
    run.set_defaults(command=_run)

    records = commands.add_parser("records", help="list, show or verify records")
    records.add_argument("action", choices=["list", "show", "verify"])
    records.add_argument("id", nargs="?", help="of the record to show; its beginning is enough")
    records.add_argument("--store", default="runs", help="folder of records; 'committed' for the repository's (default: runs)")
    records.set_defaults(command=_records)

    claims = commands.add_parser("claims", help="two verdicts on each claim, from records; trains nothing")
    claims.add_argument("--profile", default="digits", help="scale (default: digits)")
    claims.add_argument("--store", default="committed", help="folder of records (default: committed)")
    claims.add_argument("--json", action="store_true", help="as JSON")
    claims.set_defaults(command=_claims)

    site = commands.add_parser("site", help="build the book from records; trains nothing")
    site.add_argument("--profile", default="digits", help="scale the chapters show (default: digits)")
    site.add_argument("--store", default="committed", help="folder of records (default: committed)")
    site.add_argument("--serve", action="store_true", help="then serve it on this machine")
    site.set_defaults(command=_site)
    return parser


def _machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, metavar="N", help="processes side by side (default: one for each CPU)")
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (default: auto)")
    parser.add_argument("--data-root", metavar="DIR", help="where data sets lie")


def _spec_flags(parser: argparse.ArgumentParser) -> None:
    """One flag for each field of a RunSpec and of its TeacherSpec."""
    from mixkd.spec import RunSpec, TeacherSpec

    fields = parser.add_argument_group("the run", "what is not given comes from the profile that fits the data")
    for name, field in RunSpec.model_fields.items():
        if name == "teacher":
            continue
        if field.annotation is bool:
            fields.add_argument(_flag(name), dest=f"run.{name}", action="store_true", default=None)
        else:
            fields.add_argument(_flag(name), dest=f"run.{name}", metavar="X", help=None if field.is_required() else f"default {field.default}")
    teacher = parser.add_argument_group("its teacher")
    teacher.add_argument("--teacher", dest="teacher.model", metavar="MODEL")
    for name, field in TeacherSpec.model_fields.items():
        if name != "model":
            teacher.add_argument(_flag(f"teacher_{name}"), dest=f"teacher.{name}", metavar="X", help=f"default {field.default}")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _spec(options: argparse.Namespace) -> Any:
    from mixkd.spec import ARMS, RunSpec, TeacherSpec, build_spec
    from mixkd.studies import load_profile, profile_for

    given: dict[str, Any] = {}
    teacher: dict[str, Any] = {}
    for name, value in vars(options).items():
        part, _, field = name.partition(".")
        if not field or value is None:
            continue
        if field == "milestones":
            value = tuple(value.split(","))
        (given if part == "run" else teacher)[field] = value
    data = given.setdefault("data", "digits")
    arm = given.setdefault("arm", "kd_mixup")
    fitting = profile_for(data)
    defaults: dict[str, Any] = {}
    distils = arm in ARMS and ARMS[arm].distils
    if fitting is not None:
        profile = load_profile(fitting)
        defaults = {"student": profile.student, **profile.recipe}
        inherited = {"model": profile.default_teacher, **profile.teacher_recipe}
        if data.startswith("folder:"):  # sizes of a known data set say nothing about a folder
            defaults.pop("train_size", None)
            inherited.pop("train_size", None)
        if distils:
            teacher = {**inherited, **teacher}
    if teacher and not distils:
        raise ValueError(f"--teacher: arm {arm!r} has no teacher; leave it out, or choose one of "
                         f"{', '.join(name for name, known in ARMS.items() if known.distils)}")
    if teacher:
        given["teacher"] = TeacherSpec(**teacher)
    spec: RunSpec = build_spec(defaults, given)
    return spec


def _make_machine(options: argparse.Namespace) -> Any:
    from mixkd.runs import Machine

    return Machine(root=options.data_root, device=options.device, precision=options.precision)


def _run(options: argparse.Namespace) -> int:
    spec = _spec(options)
    from mixkd.runs import run

    record = run(spec, options.store, _make_machine(options))
    _show(record)
    return 0


def _show(record: Any) -> None:
    report = record.report()
    print(f"record {record.id}  {record.path}")
    print(f"  {json.dumps(json.loads(record.spec.canonical()))}")
    print(f"  accuracy {report.accuracy:.4f}  NLL {report.nll:.4f}  ECE {report.ece:.4f}  OE {report.oe:.4f}  UE {report.ue:.4f}")
    scaled = record.report(scaled=True)
    print(f"  after temperature scaling (T = {record.temperature:.3f}): NLL {scaled.nll:.4f}  ECE {scaled.ece:.4f}  OE {scaled.oe:.4f}")


def _records(options: argparse.Namespace) -> int:
    from mixkd.records import RecordStore

    store = RecordStore(options.store)
    if options.action == "verify":
        problems = store.verify()
        print("\n".join(problems) or f"{len(store.ids())} records in {store.path}, all whole")
        return 1 if problems else 0
    if options.action == "show":
        if options.id is None:
            raise ValueError("records show: say which, by id or its beginning; `mixkd records list` lists them")
        record = store.load(options.id)
        _show(record)
        print(json.dumps(record.provenance, indent=1))
        return 0
    records = store.list()
    if not len(records):
        print(f"no records in {store.path}")
        return 0
    frame = records.frame()
    columns = ["id", "data", "arm", "student", "teacher", "tau", "seed", "accuracy", "ece", "oe", "nll"]
    frame = frame[columns].sort_values(["data", "arm", "teacher", "tau", "seed"])
    print(frame.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}"))
    return 0


def _claims(options: argparse.Namespace) -> int:
    from mixkd import claims

    verdicts = claims.evaluate(profile=options.profile, store=options.store)
    print(claims.to_json(verdicts) if options.json else claims.to_text(verdicts))
    return 0


def _site(options: argparse.Namespace) -> int:
    from mixkd import site

    index = site.build(profile=options.profile, store=options.store)
    print(index)
    if options.serve:
        site.serve(index.parent)
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from mixkd import claims, comparison
    from mixkd.records import RecordStore
    from mixkd.runs import collect
    from mixkd.studies import study

    specs = [spec for name in options.chapters or ["all"] for spec in study(name, options.profile)]
    if options.seeds is not None:
        specs = [spec for spec in specs if spec.seed < options.seeds]
        if not specs:
            raise ValueError(f"--seeds {options.seeds}: leaves no run; at least 1")
    store = RecordStore(options.store)
    records = collect(specs, store, options.workers, _make_machine(options))
    for reason in records.failed.values():
        print(f"mixkd: not made: {reason}", file=sys.stderr)
    index: Path | None = None
    if not options.no_site:
        from mixkd import site

        index = site.build(profile=options.profile, store=str(store.path.resolve()))
    print(claims.to_text(claims.evaluate(profile=options.profile, store=store)))
    print()
    print(comparison.summary(comparison.compare(store, RecordStore("committed"))))
    if index is not None:
        print(f"\nthe book: {index}")
    return 1 if records.failed else 0
