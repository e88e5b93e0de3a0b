"""The command line: `mixkd` and `python -m mixkd`.

Arguments in, one call, a table out. Nothing is computed here, and nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixkd.records import Record
    from mixkd.runs import Machine
    from mixkd.spec import RunSpec

EPILOG = """examples:
  mixkd reproduce                                 every experiment at small scale, then the site
  mixkd run --arm kd_mixup --tau 4 --seed 1       one run on the embedded digits
  mixkd run --data folder:images.zip --image-size 32 --student resnet8 --teacher resnet20 --arm kd_mixup
  mixkd site --serve                              the book from the committed records
  mixkd claims --json                             what reproduced, as data
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Bad input ends with status 2 and one clear message, not a traceback."""
    given = list(arguments if arguments is not None else sys.argv[1:])
    parser = _parser(given)
    options, unknown = parser.parse_known_args(given)
    try:
        if unknown:
            raise ValueError(_unknown(options.parser, unknown))
        return int(options.command(options) or 0)
    except (ValueError, KeyError, FileNotFoundError, NotADirectoryError) as error:
        message = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"mixkd: error: {message}", file=sys.stderr)
        return 2
    except (RuntimeError, OSError) as error:
        print(f"mixkd: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mixkd: stopped; finished runs are kept, the same command continues", file=sys.stderr)
        return 130


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mixkd",
        description="Mixup-based distillation, measured.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Callable[[argparse.Namespace], int], what: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
        made.set_defaults(command=function, parser=made)
        return made

    reproduce = command(
        "reproduce",
        _reproduce,
        "train what a profile needs, build the site from it, compare with the committed records",
    )
    reproduce.add_argument("--profile", default="digits", help="scale (default: digits)")
    reproduce.add_argument("--chapters", nargs="+", metavar="NAME", help="only what these studies need (default: all)")
    reproduce.add_argument("--seeds", type=int, metavar="N", help="only seeds below N: a reduced grid")
    reproduce.add_argument("--store", default="runs", help="folder of the fresh records (default: runs)")
    reproduce.add_argument("--no-site", action="store_true", help="train and compare only")
    reproduce.add_argument("--workers", type=int, metavar="N", help="processes side by side (default: one for each CPU)")
    _machine(reproduce)

    run = command("run", _run, "train one spec and its teacher, or find its record")
    run.add_argument("--store", default="runs", help="folder of records (default: runs)")
    _machine(run)
    run.usage = "mixkd run [--data D] [--arm A] [--student S] [--teacher T] [--seed N] [--OTHER-FIELD X ...]"
    if arguments[:1] == ["run"]:  # the fields come from the spec, which is imported only for this command
        _spec_flags(run)

    records = command("records", _records, "list, show or verify records")
    records.add_argument("action", choices=["list", "show", "verify"])
    records.add_argument("id", nargs="?", help="of the record to show; its beginning is enough")
    records.add_argument("--store", default="runs", help="folder of records, or 'committed' (default: runs)")

    claims = command("claims", _claims, "two verdicts on each claim, from records; trains nothing")
    claims.add_argument("--profile", default="digits", help="scale (default: digits)")
    claims.add_argument("--store", default="committed", help="folder of records (default: committed)")
    claims.add_argument("--json", action="store_true", help="as JSON")

    site = command("site", _site, "build the book from records; trains nothing")
    site.add_argument("--profile", default="digits", help="scale the chapters show (default: digits)")
    site.add_argument("--store", default="committed", help="folder of records (default: committed)")
    site.add_argument("--serve", action="store_true", help="then serve it on this machine")

    bench = command("bench", _bench, "measure this checkout beside its peers; fills benchmarks/README.md")
    bench.add_argument("--only", nargs="+", metavar="SECTION", help="calibration, training, scaling, ablation, precision")
    bench.add_argument("--resume", action="store_true", help="leave out sections that were measured before")
    bench.add_argument("--quick", action="store_true", help="tiny sizes: whether it runs, not how fast")
    bench.add_argument("--no-table", action="store_true", help="leave benchmarks/README.md as it is")
    return parser


def _unknown(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> str:
    from mixkd.spec import nearest

    known = [flag for action in parser._actions for flag in action.option_strings]
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")] or arguments
    return "\n".join(f"{flag}: {parser.prog} has no such argument{nearest(flag, known)}" for flag in flags)


def _machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda (default: auto)")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16 (default: auto)")
    parser.add_argument("--data-root", metavar="DIR", help="where data sets lie")


def _spec_flags(parser: argparse.ArgumentParser) -> None:
    """One flag for each field of a RunSpec and of its TeacherSpec."""
    from mixkd.spec import ARMS, RunSpec, TeacherSpec

    fields = parser.add_argument_group("the run", "what is not given comes from the profile that fits the data")
    for name, field in RunSpec.model_fields.items():
        if name == "teacher":
            continue
        if field.annotation is bool:
            fields.add_argument(_flag(name), dest=f"run.{name}", action=argparse.BooleanOptionalAction)
        else:
            known = ", ".join(ARMS) if name == "arm" else None if field.is_required() else f"default {field.default}"
            fields.add_argument(_flag(name), dest=f"run.{name}", metavar="X", help=known)
    teacher = parser.add_argument_group("its teacher")
    teacher.add_argument("--teacher", dest="teacher.model", metavar="MODEL")
    for name, field in TeacherSpec.model_fields.items():
        if name != "model":
            known = f"default {field.default}"
            teacher.add_argument(_flag(f"teacher_{name}"), dest=f"teacher.{name}", metavar="X", help=known)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _spec(options: argparse.Namespace) -> RunSpec:
    from mixkd.data import data_identity
    from mixkd.spec import ARMS, SpecError, TeacherSpec, build_spec, nearest
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
    if not data.startswith("folder:"):
        data_identity(data)  # an unknown name has no profile, and would be told that a student is missing
    arm = given.setdefault("arm", "kd_mixup")
    if arm not in ARMS:
        raise SpecError(f"arm = {arm!r}: must be one of {', '.join(ARMS)}{nearest(arm, ARMS)}")
    if teacher and not ARMS[arm].distils:
        users = ", ".join(name for name, known in ARMS.items() if known.distils)
        raise SpecError(f"{_flag('teacher')}: arm {arm!r} has no teacher; leave it out, or choose one of {users}")
    fitting = profile_for(data)
    defaults: dict[str, Any] = {}
    if fitting is not None:
        profile = load_profile(fitting)
        defaults = {"student": profile.student, **profile.recipe}
        inherited = {"model": profile.default_teacher, **profile.teacher_recipe}
        if data.startswith("folder:"):  # sizes of a known data set say nothing about a folder
            defaults.pop("train_size", None)
            inherited.pop("train_size", None)
        if ARMS[arm].distils:
            teacher = {**inherited, **teacher}
    if not teacher:
        return build_spec(defaults, given)
    with _naming_the_teacher():
        given["teacher"] = TeacherSpec(**teacher)
    spec = build_spec(defaults, given)
    with _naming_the_teacher():  # its own schedule may be impossible where the student's is not
        spec.teacher_run()
    return spec


@contextmanager
def _naming_the_teacher() -> Iterator[None]:
    from mixkd.spec import SpecError

    try:
        yield
    except SpecError as error:
        raise SpecError("\n".join(f"teacher: {line}" for line in str(error).splitlines())) from None


def _make_machine(options: argparse.Namespace) -> Machine:
    from mixkd.runs import Machine

    return Machine(root=options.data_root, device=options.device, precision=options.precision)


def _run(options: argparse.Namespace) -> int:
    from mixkd.runs import run

    spec = _spec(options)
    record = run(spec, options.store, _make_machine(options))
    _show(record)
    return 0


def _show(record: Record) -> None:
    print(f"record {record.id}  {record.path}")
    print(f"  {json.dumps(json.loads(record.spec.canonical()))}")
    native, scaled = record.report(), record.report(scaled=True)
    print(f"  {'':<22}accuracy    NLL    ECE     OE     UE")
    for name, report in (("as trained", native), (f"temperature {record.temperature:.3f}", scaled)):
        figures = f"{report.nll:.4f} {report.ece:.4f} {report.oe:.4f} {report.ue:.4f}"
        print(f"  {name:<22}  {report.accuracy:.4f} {figures}")


def _records(options: argparse.Namespace) -> int:
    from mixkd.records import RecordStore

    store = RecordStore(options.store)
    if not store.path.is_dir():
        raise FileNotFoundError(f"store = {options.store!r}: no folder {store.path.absolute()}")
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
    damaged = len(store.ids()) - len(records)
    if damaged:
        print(f"mixkd: {damaged} damaged, left out; `mixkd records verify` names them", file=sys.stderr)
    if not len(records):
        print(f"no records in {store.path}")
        return 0
    columns = ["id", "data", "arm", "student", "teacher", "tau", "seed", "accuracy", "ece", "oe", "nll"]
    frame = records.frame()[columns].astype({"tau": object}).fillna({"tau": "", "teacher": ""}).astype({"tau": str})
    frame = frame.sort_values(["data", "arm", "teacher", "tau", "seed"])
    print(frame.to_string(index=False, float_format=lambda value: f"{value:.4f}"))
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


def _bench(options: argparse.Namespace) -> int:
    import subprocess

    root = Path(__file__).resolve().parent.parent
    if not (root / "benchmarks" / "run.py").exists():
        raise FileNotFoundError(f"no folder benchmarks in {root}: the benchmarks are part of a checkout, not of the installed package")
    command = [sys.executable, "-m", "benchmarks.run"]
    command += ["--only", *options.only] if options.only else []
    command += [flag for flag in ("--resume", "--quick", "--no-table") if getattr(options, flag[2:].replace("-", "_"))]
    return subprocess.run(command, cwd=root, check=False).returncode


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
    store, committed = RecordStore(options.store), RecordStore("committed")
    records = collect(specs, store, options.workers, _make_machine(options))
    for reason in records.failed.values():
        print(f"mixkd: not made: {reason}", file=sys.stderr)
    index: Path | None = None
    if not options.no_site:
        from mixkd import site

        index = site.build(profile=options.profile, store=str(store.path.resolve()))
    print(claims.to_text(claims.evaluate(profile=options.profile, store=store)))
    print()
    print(comparison.summary(comparison.compare(store, committed)))
    if index is not None:
        print(f"\nthe book: {index}")
    return 1 if records.failed else 0
