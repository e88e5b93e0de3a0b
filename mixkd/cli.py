"""The command line: `mixkd` and `python -m mixkd`.

Arguments in, one call, a table out. Nothing is computed here, and nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from mixkd.records import Record
    from mixkd.runs import Machine

EPILOG = """examples:
  mixkd reproduce                                 every experiment at small scale, then the site
  mixkd reproduce --profile cifar10 --plan        what that would train, and how long it takes here
  mixkd run --arm kd_mixup --tau 4 --seed 1       one run on the embedded digits
  mixkd run --data folder:images.zip --image-size 32 --student resnet8 --teacher resnet20 --arm kd_mixup
  mixkd run --data folder:images.zip --image-size 32 --student resnet8 --teacher resnet56 --teacher-pretrained file:resnet56.safetensors
  torchrun --nproc_per_node=2 -m mixkd run --data cifar10 ...     one run on two GPUs
  mixkd batch grids/temperature.toml              a notebook for each point of a grid, and a page about them all
  mixkd site --serve                              the book from the committed records
  mixkd claims --json                             what reproduced, as data
  mixkd export 1f0ff4bc --format onnx             a trained network as one file
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status. Bad input ends with status 2 and one clear message, our own bugs with a traceback."""
    # On a CPU everything runs on one thread: more change the bits of a run, and make the small tensors of measures slower.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    given = list(arguments if arguments is not None else sys.argv[1:])
    parser = _parser(given)
    options, unknown = parser.parse_known_args(given)
    shown = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"mixkd: warning: {message}\n"
    try:
        if unknown:
            raise ValueError(_unknown(options.parser, unknown))
        return int(options.command(options) or 0)
    except (ValueError, FileNotFoundError, NotADirectoryError) as error:  # a plain KeyError is nothing that a user did
        print(f"mixkd: error: {error}", file=sys.stderr)
        return 2
    except (RuntimeError, OSError, ModuleNotFoundError) as error:
        print(f"mixkd: failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("mixkd: stopped; finished runs are kept, the same command continues", file=sys.stderr)
        return 130
    finally:
        warnings.formatwarning = shown


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands with all their flags, for the page about them."""
    return _parser(["run"])


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="mixkd",
        description="Train, measure and show mixup-based distillation: runs, records, claims and the book.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, function: Callable[[argparse.Namespace], int], what: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=what, description=what, allow_abbrev=False)
        made.set_defaults(command=function, parser=made)
        return made

    reproduce = command(
        "reproduce", _reproduce, "train all runs of a profile, build the book from them, compare with the committed records"
    )
    add = reproduce.add_argument
    _profile(reproduce, "scale to train")
    add("--chapters", "--chapter", nargs="+", metavar="NAME", default=[], help="train what these chapters read: 07-overconfidence, or 07")
    add("--study", "--studies", nargs="+", metavar="NAME", default=[], help="train these studies, such as temperature (default: all)")
    add("--seeds", type=int, metavar="N", help="use only the first N seeds of the profile (default: all)")
    add("--store", default="runs", metavar="DIR", help="folder to write records to (default: runs)")
    add("--plan", action="store_true", help="train nothing; list the runs of each study and the minutes they would take (default: off)")
    add("--no-site", action="store_true", help="train and compare, without building the book (default: off)")
    add("--workers", type=int, metavar="N", help="number of training processes (default: one for each CPU)")
    _scheduler(reproduce)
    _machine(reproduce)

    batch = command("batch", _batch, "run chapters over a grid of parameters: one notebook each, and a page with all results")
    add = batch.add_argument
    add("grid", metavar="GRID.toml", help="file of chapters and lists of values for their parameters; every combination is run")
    add("--out", metavar="DIR", help="folder to write notebooks to (default: batch/, then the name of the grid)")
    add("--workers", type=int, default=2, metavar="N", help="number of notebooks run at a time (default: 2)")
    add("--force", action="store_true", help="run finished notebooks again (default: keep them)")
    _strict(batch, default=True)
    _scheduler(batch)

    run = command("run", _run, "train one student, its teacher first, unless its record is there")
    run.add_argument("--profile", metavar="P", help="scale whose recipe fills in what is not given (default: the one that fits the data)")
    run.add_argument("--store", default="runs", metavar="DIR", help="folder to find or write the record in (default: runs)")
    _machine(run)
    run.usage = "mixkd run [--data D] [--arm A] [--student S] [--teacher T] [--seed N] [--OTHER-FLAG X ...]"
    if arguments[:1] == ["run"]:  # the fields come from the spec, which is imported only for this command
        from mixkd import flags

        flags.add(run)

    records = command("records", _records, "list, show or verify records")
    records.add_argument("action", choices=["list", "show", "verify"], help="list all, show one, or check files against their checksums")
    records.add_argument("id", nargs="?", help="record to show or verify, by its id or the beginning of it (default: verify all)")
    _reads(records, "runs")

    export = command("export", _export, "write a trained network to a file that others can use")
    add = export.add_argument
    add("id", help="record of the network, by its id or the beginning of it")
    add("--format", default="safetensors", metavar="F", help="safetensors, torch (a torch.export program) or onnx (default: safetensors)")
    add("--out", default=".", metavar="PATH", help="file or folder to write to (default: the current folder)")
    add("--scaled", action="store_true", help="divide the logits by the temperature fitted on validation data (default: off)")
    _reads(export, "runs")
    _data_root(export)

    claims = command("claims", _claims, "print two verdicts on each claim of the paper, from records; trains nothing")
    _profile(claims, "scale to judge")
    _reads(claims, "committed")
    claims.add_argument("--json", action="store_true", help="print JSON, with the map of all cells (default: a table)")

    site = command("site", _site, "build the book from records; trains nothing")
    _profile(site, "scale that chapters show")
    _reads(site, "committed")
    _strict(site, default=False)
    site.add_argument("--serve", action="store_true", help="serve it on this machine afterwards, until Ctrl-C (default: off)")

    bench = command("bench", _bench, "time this checkout beside other libraries, and write the tables of benchmarks/README.md")
    add = bench.add_argument
    add("--only", nargs="+", metavar="SECTION", help="any of calibration, training, scaling, ablation, precision, graphs (default: all)")
    add("--resume", action="store_true", help="skip sections that were measured before (default: off)")
    add("--quick", action="store_true", help="use tiny sizes, to see that it runs (default: off)")
    add("--no-table", action="store_true", help="do not write benchmarks/README.md (default: off)")
    return parser


def _unknown(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> str:
    from mixkd.spec import nearest

    known = [flag for action in parser._actions for flag in action.option_strings]
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")] or arguments
    return "\n".join(f"{flag}: {parser.prog} has no such argument{nearest(flag, known)}" for flag in flags)


def _profile(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--profile", default="digits", metavar="P", help=f"{what}, such as digits, gaussians or cifar10 (default: digits)")


def _reads(parser: argparse.ArgumentParser, default: str) -> None:
    words = f"folder of records, or 'committed' for those of the book (default: {default})"
    parser.add_argument("--store", default=default, metavar="DIR", help=words)


def _machine(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda; auto takes a GPU where there is one (default: auto)")
    words = "auto, fp32, bf16 or fp16; auto is fp32 on small data, else bf16 where the hardware has it (default: auto)"
    parser.add_argument("--precision", default="auto", help=words)
    graphs = "launch all kernels of a pass at once, for small networks on a GPU (default: off)"
    parser.add_argument("--cuda-graphs", action="store_true", help=graphs)
    _data_root(parser)


def _data_root(parser: argparse.ArgumentParser) -> None:
    words = "folder of data sets and downloads (default: the current folder for images of yours, ~/.cache/mixkd for downloads)"
    parser.add_argument("--data-root", metavar="DIR", help=words)


def _scheduler(parser: argparse.ArgumentParser) -> None:
    words = "Dask scheduler whose workers do the work, such as tcp://head-node:8786 (default: this machine)"
    parser.add_argument("--scheduler", metavar="ADDRESS", help=words)


def _strict(parser: argparse.ArgumentParser, *, default: bool) -> None:
    what = "stop at a figure or a table whose records are missing, or show the page without it"
    words = f"{what} (default: {'--strict' if default else '--no-strict'})"
    parser.add_argument("--strict", action=argparse.BooleanOptionalAction, default=default, help=words)


def _make_machine(options: argparse.Namespace) -> Machine:
    from mixkd.runs import Machine

    return Machine(root=options.data_root, device=options.device, precision=options.precision, cuda_graphs=options.cuda_graphs)


def _run(options: argparse.Namespace) -> int:
    from mixkd.flags import spec_of
    from mixkd.ranks import joined
    from mixkd.runs import run

    with joined(options.device) as ranks:  # torchrun's, or this process alone
        record = run(spec_of(options), options.store, _make_machine(options), progress=ranks.first)
        if ranks.first:
            _show(record)
            _show_teacher(record, options.store)
    return 0


def _show_teacher(record: Record, store: str) -> None:
    """Print the teacher before and after fitting the temperature its students saw it at."""
    from mixkd.store import RecordStore

    taught = record.spec.teacher_run()
    if taught is None or record.spec.teacher is None or record.spec.teacher.temperature != "fitted" or taught.id not in RecordStore(store):
        return
    print("its teacher, before and after its temperature was fitted:")
    _show(RecordStore(store).load(taught.id))


def _show(record: Record) -> None:
    print(f"record {record.id}  {record.path}")
    print(f"  {json.dumps(json.loads(record.spec.canonical()))}")
    native, scaled = record.report(), record.report(scaled=True)
    print(f"  {'':<22}accuracy    NLL    ECE     OE     UE")
    for name, report in (("as trained", native), (f"temperature {record.temperature:.3f}", scaled)):
        figures = f"{report.nll:.4f} {report.ece:.4f} {report.oe:.4f} {report.ue:.4f}"
        print(f"  {name:<22}  {report.accuracy:.4f} {figures}")


def _records(options: argparse.Namespace) -> int:
    from mixkd.records import Records
    from mixkd.store import RecordStore

    store = RecordStore.existing(options.store)
    if options.action == "list" and options.id is not None:
        raise ValueError(f"records list {options.id}: it lists all of them; `mixkd records show {options.id}` shows one")
    if options.action == "verify":
        ids = None if options.id is None else [store.load(options.id).id]
        problems = store.verify(ids)
        whole = f"record {ids[0]} in {store.path} is whole" if ids else f"{len(store.ids())} records in {store.path}, all whole"
        print("\n".join(problems) or whole)
        return 1 if problems else 0
    if options.action == "show":
        if options.id is None:
            raise ValueError("records show: say which, by id or its beginning; `mixkd records list` lists them")
        record = store.load(options.id)
        if problems := store.verify([record.id]):
            raise RuntimeError("; ".join(problems))
        _show(record)
        print(json.dumps(record.provenance, indent=1))
        return 0
    records = Records(record for record in store.list() if not store.verify([record.id]))  # their figures are computed below
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


def _export(options: argparse.Namespace) -> int:
    from mixkd.export import export, load
    from mixkd.store import RecordStore

    store = RecordStore(options.store)
    record = store.load(options.id)
    path = export(record, store, options.out, options.format, scaled=options.scaled, root=options.data_root)
    inputs = record.inputs
    print(path)
    print(f"  {record.spec.student}, {len(record.classes)} classes, record {record.id}")
    if inputs is not None:
        size = inputs["image_size"]
        shape = f"{inputs['channels']} x {size} x {size}, pixels on the scale 0 to 1" if size else f"vectors of {inputs['channels']}"
        print(f"  takes N x {shape}, and normalises them itself; classes and temperature are in its metadata")
    if options.format == "safetensors":
        print(f"  read it back: network, description = {load.__module__}.load({str(path)!r})")
    return 0


def _claims(options: argparse.Namespace) -> int:
    from mixkd import claims

    verdicts = claims.evaluate(profile=options.profile, store=options.store)
    print(claims.to_json(verdicts, claims.across(options.profile, options.store)) if options.json else claims.to_text(verdicts))
    return 0


def _site(options: argparse.Namespace) -> int:
    from mixkd import site

    index = site.build(profile=options.profile, store=options.store, strict=options.strict)
    print(index)
    if options.serve:
        site.serve(index.parent)
    return 0


def _executor(scheduler: str | None) -> AbstractContextManager[Executor | None]:
    if scheduler is None:
        return nullcontext()
    from mixkd.cluster import connected

    return connected(scheduler)


def _batch(options: argparse.Namespace) -> int:
    from mixkd import batch

    out = Path(options.out or Path("batch") / Path(options.grid).stem).resolve()
    if options.workers < 1:
        raise ValueError(f"--workers {options.workers}: at least 1")
    jobs = batch.grid(options.grid, out)
    with _executor(options.scheduler) as executor:
        outcomes = batch.run(jobs, out, workers=options.workers, force=options.force, strict=options.strict, executor=executor)
    failed = [outcome for outcome in outcomes if outcome.state == "failed"]
    for outcome in failed:
        print(f"mixkd: failed: {outcome.error}", file=sys.stderr)
    count = {state: sum(outcome.state == state for outcome in outcomes) for state in ("done", "kept", "failed")}
    print(f"{', '.join(f'{number} {state}' for state, number in count.items())}\n{out / 'index.html'}")
    return 1 if failed else 0


def _bench(options: argparse.Namespace) -> int:
    import subprocess

    root = Path(__file__).resolve().parent.parent
    if not (root / "benchmarks" / "run.py").exists():
        raise FileNotFoundError(f"no folder benchmarks in {root}: the benchmarks are part of a checkout, not of the installed package")
    command = [sys.executable, "-m", "benchmarks.run"]
    command += ["--only", *options.only] if options.only else []
    command += [flag for flag in ("--resume", "--quick", "--no-table") if getattr(options, flag[2:].replace("-", "_"))]
    return subprocess.run(command, cwd=root, check=False).returncode


def _studies(chapters: Sequence[str], studies: Sequence[str]) -> list[str]:
    """Return the studies that chapters read and those named themselves; "all" if nothing is named."""
    from mixkd.chapters import ROOT, studies_of
    from mixkd.spec import nearest
    from mixkd.studies import STUDIES

    for name in chapters:
        if name in STUDIES:
            raise ValueError(f"--chapters {name}: is a study, no chapter; use --study {name}")
    for name in studies:
        if name not in ("all", *STUDIES):
            if (ROOT / "book" / f"{name}.md").is_file():
                raise ValueError(f"--study {name}: is a chapter, no study; use --chapters {name}")
            raise ValueError(f"--study {name}: must be one of all, {', '.join(STUDIES)}{nearest(name, STUDIES)}")
    named = [study for name in chapters for study in studies_of(name)] + list(studies)
    return list(dict.fromkeys(named)) or ["all"]


def _plan(options: argparse.Namespace) -> int:
    from mixkd import plan
    from mixkd.store import RecordStore

    table = plan.plan(
        _studies(options.chapters, options.study), options.profile, RecordStore(options.store), _make_machine(options), options.workers
    )
    print(table.to_string(index=False, float_format=lambda minutes: f"{minutes:.1f}"))
    print(f"at most about {table.minutes.sum():.1f} minutes here, as this machine is loaded now; evaluation is not in it")
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from mixkd import claims, comparison
    from mixkd.runs import collect
    from mixkd.store import RecordStore
    from mixkd.studies import of_first_seeds, study

    if options.plan:
        return _plan(options)
    specs = [spec for name in _studies(options.chapters, options.study) for spec in study(name, options.profile)]
    if options.seeds is not None:
        specs = of_first_seeds(specs, options.profile, options.seeds)
    store, committed = RecordStore(options.store), RecordStore("committed")
    with _executor(options.scheduler) as executor:
        records = collect(specs, store, options.workers, _make_machine(options), executor=executor)
    for reason in records.failed.values():
        print(f"mixkd: not made: {reason}", file=sys.stderr)
    index: Path | None = None
    if not options.no_site:
        from mixkd import site

        index = site.build(profile=options.profile, store=store.path)
    print(claims.to_text(claims.evaluate(profile=options.profile, store=store)))
    print()
    print(comparison.summary(comparison.compare(store, committed)))
    if index is not None:
        print(f"\nthe book: {index}")
    return 1 if records.failed else 0
