"""The command line: `mixkd` and `python -m mixkd`.

Arguments in, one call, a table out. Nothing is computed here, and nothing heavy is imported before a command needs it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from mixkd.records import Record, RecordStore
    from mixkd.runs import Machine
    from mixkd.spec import RunSpec

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
    reproduce.add_argument(
        "--chapters", "--chapter", nargs="+", metavar="NAME", default=[], help="only what these chapters read: 07-overconfidence, or 07"
    )
    reproduce.add_argument("--study", "--studies", nargs="+", metavar="NAME", default=[], help="only these studies (default: all)")
    reproduce.add_argument("--seeds", type=int, metavar="N", help="only the first N seeds: a reduced grid")
    reproduce.add_argument("--store", default="runs", help="folder of the fresh records (default: runs)")
    reproduce.add_argument("--plan", action="store_true", help="train nothing: list runs by study, and time a few steps of each kind")
    reproduce.add_argument("--no-site", action="store_true", help="train and compare only")
    reproduce.add_argument("--workers", type=int, metavar="N", help="processes side by side (default: one for each CPU)")
    _scheduler(reproduce)
    _machine(reproduce)

    batch = command("batch", _batch, "execute chapters over a grid of parameters: a notebook each, and a page about them all")
    batch.add_argument("grid", metavar="GRID.toml", help="chapters, and lists of values for their parameters")
    batch.add_argument("--out", metavar="DIR", help="folder of the notebooks (default: batch/NAME of the grid)")
    batch.add_argument("--workers", type=int, default=2, metavar="N", help="notebooks side by side (default: 2)")
    batch.add_argument("--force", action="store_true", help="do finished notebooks again")
    _scheduler(batch)

    run = command("run", _run, "train one student, and its teacher first, or find its record")
    run.add_argument("--profile", metavar="P", help="recipe of what is not given (default: the profile that fits the data)")
    run.add_argument("--store", default="runs", help="folder of records (default: runs)")
    _machine(run)
    run.usage = "mixkd run [--data D] [--arm A] [--student S] [--teacher T] [--seed N] [--OTHER-FLAG X ...]"
    if arguments[:1] == ["run"]:  # the fields come from the spec, which is imported only for this command
        _spec_flags(run)

    records = command("records", _records, "list, show or verify records")
    records.add_argument("action", choices=["list", "show", "verify"])
    records.add_argument("id", nargs="?", help="of the record to show or verify; its beginning is enough (verify: all when not given)")
    records.add_argument("--store", default="runs", help="folder of records, or 'committed' (default: runs)")

    export = command("export", _export, "write a trained network to a file that others can use")
    export.add_argument("id", help="of the record; its beginning is enough")
    export.add_argument("--format", default="safetensors", help="safetensors, torch (torch.export) or onnx (default: safetensors)")
    export.add_argument("--out", default=".", help="file or folder (default: here)")
    export.add_argument("--scaled", action="store_true", help="divide its logits by the temperature fitted on validation data")
    export.add_argument("--store", default="runs", help="folder of records, or 'committed' (default: runs)")
    export.add_argument("--data-root", metavar="DIR", help="where data sets lie; only older records need them")

    claims = command("claims", _claims, "two verdicts on each claim, from records; trains nothing")
    claims.add_argument("--profile", default="digits", help="scale (default: digits)")
    claims.add_argument("--store", default="committed", help="folder of records (default: committed)")
    claims.add_argument("--json", action="store_true", help="as JSON")

    site = command("site", _site, "build the book from records; trains nothing")
    site.add_argument("--profile", default="digits", help="scale the chapters show (default: digits)")
    site.add_argument("--store", default="committed", help="folder of records (default: committed)")
    site.add_argument("--serve", action="store_true", help="then serve it on this machine")

    bench = command("bench", _bench, "measure this checkout beside its peers; fills benchmarks/README.md")
    bench.add_argument("--only", nargs="+", metavar="SECTION", help="calibration, training, scaling, ablation, precision, graphs")
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
    parser.add_argument("--cuda-graphs", action="store_true", help="launch all kernels of a pass at once: for small networks on a GPU")
    parser.add_argument("--data-root", metavar="DIR", help="where data sets lie")


def _scheduler(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--scheduler", metavar="ADDRESS", help="a Dask scheduler whose workers do it, such as tcp://head-node:8786")


def _spec_flags(parser: argparse.ArgumentParser) -> None:
    """One flag for each field of a RunSpec and of its TeacherSpec."""
    from mixkd.spec import ARMS, RunSpec, TeacherSpec

    fields = parser.add_argument_group("the run", "what is not given comes from the profile that fits the data")
    for name, field in RunSpec.model_fields.items():
        if name == "teacher":
            continue
        arms = f"what the student is trained with: {', '.join(ARMS)} (default: kd_mixup)"
        text = arms if name == "arm" else _explained(_RUN_HELP[name], field)
        if field.annotation is bool:
            fields.add_argument(_flag(name), dest=f"run.{name}", action=argparse.BooleanOptionalAction, help=text)
        else:
            fields.add_argument(_flag(name), dest=f"run.{name}", metavar="X", help=text)
    teacher = parser.add_argument_group("its teacher", "frozen while the student learns; trained first unless it is given")
    teacher.add_argument("--teacher", dest="teacher.model", metavar="MODEL", help=_TEACHER_HELP["model"])
    for name, field in TeacherSpec.model_fields.items():
        if name != "model":
            teacher.add_argument(_flag(f"teacher_{name}"), dest=f"teacher.{name}", metavar="X", help=_explained(_TEACHER_HELP[name], field))


def _explained(text: str, field: Any) -> str:
    """The meaning of a flag with its default: that of a spec, where no profile says otherwise."""
    if field.is_required() or field.default is None or "default" in text:
        return text
    shown = {True: "on", False: "off"}.get(field.default, field.default) if isinstance(field.default, bool) else field.default
    return f"{text} (default: {'none' if shown == () else shown})"


_MODELS = "such as resnet20, wrn16-2, cnn8, mlp64, torchvision:NAME, timm:NAME or python:PACKAGE.MODULE:FUNCTION (a function of yours)"
_WEIGHTS = (
    "weights to start from: file:PATH (safetensors or a state dict of torch), or their name in torchvision or timm, such as IMAGENET1K_V1"
)
_CHANNELS = "of each channel, which the inputs of a network of yours are normalised with, on the scale 0 to 1: 0.49,0.48,0.45"
_RUN_HELP = {
    "data": "data set: digits, gaussians, gaussians16, cifar10, cifar100, imagenet, folder:PATH (a folder or zip of images) or stream:PATH "
    "(a folder too big for memory) (default: digits)",
    "student": f"the network that is trained, {_MODELS} (default: the profile's)",
    "pretrained": _WEIGHTS + " (default: a random start)",
    "mean": f"means {_CHANNELS} (default: what its file says)",
    "std": f"standard deviations {_CHANNELS} (default: what its file says)",
    "tau": "distillation temperature: teacher's and student's logits are divided by it inside the loss; above 0, or std",
    "alpha": "how strongly images are mixed: lam is drawn from Beta(alpha, alpha); 0 mixes none, 1 draws evenly",
    "lam_per": "one lam for each sample, or one for each batch",
    "partial": "share of each batch that is mixed, 0 to 1",
    "smoothing": "probability that label smoothing takes from the label, 0 to 1",
    "kd_weight": "weight of the distillation term of the loss, 0 or more",
    "ce_weight": "weight of the cross-entropy term of the loss, 0 or more",
    "train_size": "number of training images (default: all, or the profile's)",
    "train_skip": "number of training images passed over before those, which a teacher may have learnt from",
    "image_size": "side of the images in pixels; they are resized and cropped to a square (default: their own)",
    "augment": "random changes of the training images: none, flip, crop_flip, resize_crop_flip or resized_crop_flip",
    "epochs": "passes through the training images; 0 takes a pretrained network as it is",
    "batch_size": "images in a step",
    "optimizer": "sgd, adamw or adam",
    "lr": "learning rate at its highest",
    "momentum": "of sgd, 0 to 1",
    "nesterov": "Nesterov's form of that momentum",
    "weight_decay": "pull of the weights towards 0",
    "schedule": "of the learning rate: cosine (to zero), step or constant",
    "warmup": "epochs in which the learning rate rises first",
    "milestones": "epochs after which schedule step lowers the rate: 150,180,210",
    "decay": "factor by which schedule step lowers it",
    "seed": "of initialisation, order of the images, augmentation and mixing: 0, 1, 2, ... (default: the profile's first)",
}
_TEACHER_HELP = {
    "model": f"the teacher's network, {_MODELS} (default: the profile's)",
    "pretrained": _WEIGHTS + "; without --teacher-epochs it is taken as it is (default: it is trained here)",
    "mean": _RUN_HELP["mean"],
    "std": _RUN_HELP["std"],
    "arm": "what the teacher was trained with: ce, label_smoothing or mixup",
    "seed": "of the teacher's training: 0, 1, 2, ... (default: the profile's)",
    "alpha": "as --alpha, for teachers of arm mixup",
    "smoothing": "as --smoothing, for teachers of arm label_smoothing",
    "epochs": "epochs of its training, or of its fine-tuning (default: as the student)",
    "lr": "its learning rate at its highest (default: as the student)",
    "milestones": "as --milestones (default: as the student)",
    "train_size": "number of its training images, or all (default: as the student)",
    "train_skip": "number of training images passed over first, so that it does not know its students' by heart (default: as the student)",
    "temperature": "its logits are divided by this before any student sees them, above 0; fitted, which the book recommends, calibrates "
    "it on validation data first",
    "temperature_factor": "multiplies a fitted temperature: 0.5 makes an overconfident teacher, 2 an underconfident one",
    "temperature_spread": "makes its temperature depend on the image: standard deviation of its logarithm",
}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _spec(options: argparse.Namespace) -> RunSpec:
    from mixkd.data import data_identity
    from mixkd.spec import RunSpec, TeacherSpec
    from mixkd.studies import load_profile, naming_the_teacher, one, profile_for

    given: dict[str, Any] = {}
    teacher: dict[str, Any] = {}
    for name, value in vars(options).items():
        part, _, field = name.partition(".")
        if not field or value is None:
            continue
        if field in ("milestones", "mean", "std"):
            value = tuple(value.split(","))
        (given if part == "run" else teacher)[field] = value
    given.setdefault("arm", "kd_mixup")
    if options.profile is None:
        data = given.setdefault("data", "digits")
        if not data.startswith(("folder:", "stream:")):
            data_identity(data)  # an unknown name has no profile, and would be told that a student is missing
        options.profile = profile_for(data)
    if options.profile is not None:
        load_profile(options.profile)
        return one(
            options.profile, teacher=teacher.pop("model", None), **given, **{f"teacher_{name}": value for name, value in teacher.items()}
        )
    fields = {name: value for name, value in given.items() if value is not None}
    if not teacher:
        return RunSpec(**fields)
    with naming_the_teacher():
        fields["teacher"] = TeacherSpec(**teacher)
    spec = RunSpec(**fields)
    with naming_the_teacher():
        spec.teacher_run()
    return spec


def _make_machine(options: argparse.Namespace) -> Machine:
    from mixkd.runs import Machine

    return Machine(root=options.data_root, device=options.device, precision=options.precision, cuda_graphs=options.cuda_graphs)


def _run(options: argparse.Namespace) -> int:
    from mixkd.ranks import joined
    from mixkd.runs import run

    with joined(options.device) as ranks:  # torchrun's, or this process alone
        record = run(_spec(options), options.store, _make_machine(options), progress=ranks.first)
        if ranks.first:
            _show(record)
            _show_teacher(record, options.store)
    return 0


def _show_teacher(record: Record, store: str) -> None:
    """The teacher before and after the temperature its students saw it at was fitted."""
    from mixkd.records import RecordStore

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


def _store(name: str) -> RecordStore:
    """The store of that name, for those that only read it."""
    from mixkd.records import RecordStore

    store = RecordStore(name)
    if not store.path.is_dir():
        raise FileNotFoundError(f"store = {name!r}: no folder {store.path.absolute()}")
    return store


def _records(options: argparse.Namespace) -> int:
    store = _store(options.store)
    if options.action == "list" and options.id is not None:
        raise ValueError(f"records list {options.id}: it lists all of them; `mixkd records show {options.id}` shows one")
    if options.action == "verify":
        ids = None if options.id is None else [store.load(options.id).id]
        problems = store.verify(ids)
        where = store.path
        print(
            "\n".join(problems) or (f"record {ids[0]} in {where} is whole" if ids else f"{len(store.ids())} records in {where}, all whole")
        )
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


def _export(options: argparse.Namespace) -> int:
    from mixkd.export import export, load
    from mixkd.records import RecordStore

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

    store = _store(options.store)
    verdicts = claims.evaluate(profile=options.profile, store=store)
    print(claims.to_json(verdicts, claims.across(options.profile, store)) if options.json else claims.to_text(verdicts))
    return 0


def _site(options: argparse.Namespace) -> int:
    from mixkd import site

    index = site.build(profile=options.profile, store=options.store)
    print(index)
    if options.serve:
        site.serve(index.parent)
    return 0


@contextmanager
def _executor(scheduler: str | None) -> Iterator[Executor | None]:
    if scheduler is None:
        yield None
        return
    from mixkd.cluster import connected

    with connected(scheduler) as executor:
        yield executor


def _batch(options: argparse.Namespace) -> int:
    from mixkd import batch

    out = Path(options.out or Path("batch") / Path(options.grid).stem).resolve()
    if options.workers < 1:
        raise ValueError(f"--workers {options.workers}: at least 1")
    jobs = batch.grid(options.grid, out)
    with _executor(options.scheduler) as executor:
        outcomes = batch.run(jobs, out, workers=options.workers, force=options.force, executor=executor)
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
    """The names of the studies that chapters read and of those named themselves; "all" where nothing is named."""
    from mixkd.chapters import READS, studies_of
    from mixkd.spec import nearest
    from mixkd.studies import STUDIES

    for name in chapters:
        if name in STUDIES:
            raise ValueError(f"--chapters {name}: is a study, no chapter; use --study {name}")
    for name in studies:
        if name in READS:
            raise ValueError(f"--study {name}: is a chapter, no study; use --chapters {name}")
        if name not in ("all", *STUDIES):
            raise ValueError(f"--study {name}: must be one of all, {', '.join(STUDIES)}{nearest(name, STUDIES)}")
    named = [study for name in chapters for study in studies_of(name)] + list(studies)
    return list(dict.fromkeys(named)) or ["all"]


def _plan(options: argparse.Namespace) -> int:
    from mixkd import plan
    from mixkd.records import RecordStore

    table = plan.plan(
        _studies(options.chapters, options.study), options.profile, RecordStore(options.store), _make_machine(options), options.workers
    )
    print(table.to_string(index=False, float_format=lambda minutes: f"{minutes:.1f}"))
    print(f"at most about {table.minutes.sum():.1f} minutes here, as this machine is loaded now; evaluation is not in it")
    return 0


def _reproduce(options: argparse.Namespace) -> int:
    from mixkd import claims, comparison
    from mixkd.records import RecordStore
    from mixkd.runs import collect
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
