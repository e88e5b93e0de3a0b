"""From specs to records: find what is there, train what is missing, teachers before students.

`run` for one, `collect` for many. Work is cut into cohorts and handed to one-thread worker processes; locks in the
store keep two processes from training the same run. What is finished is on disk, so killing and starting again loses
at most the running cohorts since their last checkpoint.
"""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from loky import ProcessPoolExecutor, cpu_count
from tqdm.auto import tqdm

import mixkd
from mixkd import checkpoint, graphs, weights
from mixkd.checkpoint import Settings
from mixkd.data import Dataset, data_identity, load_data
from mixkd.evaluate import ONE_CLASS_PAIRS, TRAIN_PAIRS, TWO_CLASS_PAIRS, evaluate
from mixkd.loader import batches
from mixkd.objectives import Teacher
from mixkd.ranks import here
from mixkd.records import DamagedRecord, Record, Records, RecordStore
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.teachers import UnreachableControl, freeze, matched_sigma, projected, projection, temper
from mixkd.train import Precision, network, resolve_precision, train_cohort
from mixkd.vicinal import LAM_GRID, probe_pairs
from mixkd.workers import start_worker

COHORT_BYTES = 2**30
"""Weights, gradients and moments of the students trained in one pass, at most; activations are those of one student at a time."""


@dataclass(frozen=True)
class Machine:
    """How to train, as opposed to what: nothing here changes a result beyond rounding.

    Attributes:
        root: folder where data sets lie; None for the default cache.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32", "bf16" or "fp16".
        checkpoint_seconds: how often unfinished runs are saved.
        cuda_graphs: launch the kernels of a pass at once, see `mixkd.graphs`; for small networks on a GPU. Off until a gain is measured.
    """

    root: str | None = None
    device: str = "auto"
    precision: Precision = "auto"
    checkpoint_seconds: float = 60.0
    cuda_graphs: bool = False

    def torch_device(self) -> torch.device:
        """The device to train on.

        Raises:
            ValueError: for an unknown device, or "cuda" where there is none.
        """
        if self.device not in ("auto", "cpu") and not self.device.startswith("cuda"):
            raise ValueError(f"device = {self.device!r}: must be one of auto, cpu, cuda")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise ValueError(f"device = {self.device!r}: no CUDA device here; use auto or cpu")
        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)


def run(spec: RunSpec, store: str | Path | RecordStore = "runs", machine: Machine | None = None, progress: bool = True) -> Record:
    """The record of one spec: from the store when it is there, else trained now (its teacher first, if need be).

    Args:
        spec: what to train.
        store: a folder or a RecordStore.
        machine: where and how; by default this one, on its GPU if it has one.
        progress: show bars with an ETA.

    Raises:
        ValueError, FileNotFoundError: before any training, for a spec that does not fit its data.
        RuntimeError: when the loss diverged or a control cannot be built; no record is written.
    """
    records = collect([spec], store, workers=0, machine=machine, progress=progress)
    if records.failed:
        raise RuntimeError("\n".join(records.failed.values()))
    return records[0]


def collect(
    specs: Iterable[RunSpec],
    store: str | Path | RecordStore = "runs",
    workers: int | None = None,
    machine: Machine | None = None,
    progress: bool = True,
    executor: Executor | None = None,
) -> Records:
    """The records of many specs, in their order. Missing ones are trained, in cohorts, teachers first.

    Args:
        specs: duplicates are trained once.
        store: a folder or a RecordStore.
        workers: one-thread processes side by side; 0 trains in this process; None is one for each CPU, or 0 on a GPU.
        machine: see :class:`Machine`.
        progress: show a bar over runs with an ETA.
        executor: anything with ``submit``, instead of local processes. Its workers need not see the store: each trains in a temporary
            folder and returns finished records, which are written here; see `mixkd.cluster`.

    Returns:
        Records. Runs that diverged, controls that cannot be built, students of a teacher that failed and damaged
        records (which are not trained again) are in ``.failed`` with the reason; the others are complete.

    Raises:
        ValueError, FileNotFoundError: before any training, for specs that cannot be run, or a checkpoint of a run that began with
            another precision, number of ranks or type of device.
    """
    store = store if isinstance(store, RecordStore) else RecordStore(store)
    machine = machine or Machine()
    device = machine.torch_device()
    resolve_precision(machine.precision, device, "")
    if workers is None:
        workers = 0 if device.type == "cuda" or here().size > 1 else cpu_count()
    if workers < 0:
        raise ValueError(f"workers = {workers}: must be 0 (this process) or more")
    ranks = here()
    if ranks.size > 1 and (workers or executor):
        raise ValueError("torchrun trains one run on several ranks; many runs go to --workers or --scheduler, without torchrun")
    if machine.cuda_graphs:
        graphs.check(device, ranks.size)
    specs = list(dict.fromkeys(specs))
    wanted = [_resolve(spec, machine) for spec in specs]
    machine = replace(machine, root=None if machine.root is None else os.path.abspath(Path(machine.root).expanduser()))
    located = {spec.data: _absolute(given.data, machine) for spec, given in zip(wanted, specs, strict=True)}
    for spec, given in zip(wanted, specs, strict=True):
        for name, known in zip(_pretrained(given), _pretrained(spec), strict=True):
            if weights.own(known):
                located[known] = weights.located(name, machine.root)

    missing = {spec.id: spec for spec in wanted if spec.id not in store}
    teachers = {
        teacher.id: teacher
        for spec in missing.values()
        if (teacher := spec.teacher_run()) and (teacher.id not in store or store.weights(teacher.id) is None)
    }
    missing = {id: spec for id, spec in missing.items() if id not in teachers}
    if executor is None:  # the workers of another machine have checkpoints of their own
        for spec in [*teachers.values(), *missing.values()]:
            precision = resolve_precision(machine.precision, device, spec.data)
            settings = Settings(spec.id, precision, ranks.size, device.type, machine.cuda_graphs)
            checkpoint.check(store.path / CHECKPOINTS / f"{spec.id}.pt", settings)
    sizes = _check([*teachers.values(), *missing.values()], machine, located)
    jobs = [*_cohorts(teachers.values(), sizes, workers), *_cohorts(missing.values(), sizes, workers)]
    jobs = ranks.share(jobs)  # rank 0 has looked into the store
    failed: dict[str, str] = {}
    if jobs:
        own = None
        if executor is None and workers > 0 and len(jobs) > 1:
            size = min(workers, len(jobs))
            own = executor = ProcessPoolExecutor(size, initializer=start_worker, initargs=(os.getpid(),))
        try:
            failed = _work(jobs, store, machine, located, executor, progress, shared=own is not None)
        except BaseException:
            if own is not None:
                own.shutdown(wait=False, kill_workers=True)
            raise
        if own is not None:
            own.shutdown(wait=True)
    found = store.find(wanted)
    return Records(found, {id: failed.get(id, f"run {id}: {reason}") for id, reason in found.failed.items()})


def _work(
    jobs: Sequence[Sequence[RunSpec]],
    store: RecordStore,
    machine: Machine,
    located: dict[str, str],
    executor: Executor | None,
    progress: bool,
    shared: bool,
) -> dict[str, str]:
    """Do all jobs, each as soon as its teachers are there; returns what failed, by id.

    Args:
        shared: whether the executor's workers see the store.
    """
    failed: dict[str, str] = {}
    pending = list(jobs)
    running: dict[Future[Any], Sequence[RunSpec]] = {}
    unfinished = {spec.id for job in jobs for spec in job}
    teacher = {spec.id: run.id for job in jobs for spec in job if (run := spec.teacher_run())}
    arguments = (str(store.path.resolve()), machine, located)
    total = len(unfinished)
    with tqdm(total=total, disable=not progress, unit="run", desc="training", smoothing=0.1) as bar:
        while pending or running:
            ready = [job for job in pending if not {teacher.get(spec.id) for spec in job} & unfinished]
            results: list[tuple[Sequence[RunSpec], Any]]
            if executor is None:
                pending.remove(job := ready[0])
                results = [(job, _train(job, *arguments, progress=progress and total <= 2))]
            else:
                for job in ready:
                    if shared:
                        future: Future[Any] = executor.submit(_train, job, *arguments)
                    else:
                        needed = {id: store.files(id) for spec in job if (id := teacher.get(spec.id, "")) in store}
                        future = executor.submit(_train_apart, job, needed, machine, located)
                    running[future] = job
                    pending.remove(job)
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                results = [(running.pop(future), future.result()) for future in done]
                if not shared:
                    for _, (_, made) in results:
                        for id, files in made.items():
                            store.receive(id, files)
                    results = [(job, outcome) for job, (outcome, _) in results]
            for job, outcome in results:
                failed |= outcome
                unfinished -= {spec.id for spec in job}
            for id in unfinished & teacher.keys():
                if teacher[id] in failed:
                    failed[id] = f"run {id}: its teacher was not made. {failed[teacher[id]]}"
            unfinished -= failed.keys()
            pending = [kept for job in pending if (kept := [spec for spec in job if spec.id not in failed])]
            bar.update(total - len(unfinished) - bar.n)
    return failed


def _cohorts(specs: Iterable[RunSpec], sizes: Mapping[str, int], workers: int) -> list[list[RunSpec]]:
    """Group specs that can be trained in one pass; those without a teacher join any cohort of their kind.

    All students of a teacher are one cohort, so that no answer of it is computed twice, with two exceptions: what would not fit
    :data:`COHORT_BYTES`, and a cohort longer than a worker's fair share, which would leave others idle.

    Args:
        specs: without duplicates.
        sizes: bytes that a student of each name takes while it trains.
        workers: that will share the cohorts; 0 and 1 are the same.
    """
    specs = list(specs)
    share = -(-len(specs) // max(1, workers))
    groups: dict[str, dict[str, list[RunSpec]]] = defaultdict(lambda: defaultdict(list))
    for spec in specs:
        teacher = spec.teacher_run()
        groups[spec.cohort()][teacher.id if teacher else ""].append(spec)
    cohorts = []
    for group in groups.values():
        free = group.pop("", [])
        members = sorted(group.values(), key=len) or [[]]
        members[0] = free + members[0]
        for member in members:
            # equal parts, so that no straggler is left for the end
            parts = max(-(-len(member) // share), -(-sum(sizes[spec.student] for spec in member) // COHORT_BYTES))
            cohorts += [part for i in range(parts) if (part := member[i::parts])]
    return sorted(cohorts, key=len, reverse=True)


CHECKPOINTS = ".checkpoints"
_ONE_AT_A_TIME = threading.Lock()
"""The number of threads belongs to the process, and a worker of a scheduler may be given several jobs at once."""
_TEACHING = ("ce", "label_smoothing", "mixup")


def _train(job: Sequence[RunSpec], address: str, machine: Machine, located: dict[str, str], progress: bool = False) -> dict[str, str]:
    """Train one cohort and write its records; returns what failed, by id."""
    store, device, ranks = RecordStore(address), machine.torch_device(), here()
    with ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)
        if ranks.first:
            _lock(job, store, stack, wait=ranks.size == 1)
        # another process may have finished some of it while this one waited
        bare = [spec for spec in job if spec.arm in _TEACHING and store.weights(spec.id) is None]
        todo = ranks.share([spec for spec in job if spec.id not in store or spec in bare])
        if not todo:
            return {}
        with _one_thread(device):
            # the other ranks go on only when rank 0 has written
            return ranks.share(_train_locked(todo, store, device, machine, located, progress))


def _train_apart(
    job: Sequence[RunSpec], teachers: Mapping[str, Mapping[str, bytes]], machine: Machine, located: dict[str, str]
) -> tuple[dict[str, str], dict[str, dict[str, bytes]]]:
    """Train one cohort where the store is not seen; returns what failed and the files of the records, by id.

    Args:
        teachers: files of the records of its teachers, by id.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = RecordStore(folder)
        for id, files in teachers.items():
            store.receive(id, files)
        failed = _train(job, folder, machine, located)
        return failed, {spec.id: store.files(spec.id) for spec in job if spec.id in store}


def _lock(job: Sequence[RunSpec], store: RecordStore, stack: ExitStack, wait: bool) -> None:
    """Hold the lock of every run of a job until the stack closes, and clear what a killed writer left."""
    for id in sorted(spec.id for spec in job):
        try:
            stack.enter_context(store.lock(id, wait))
        except TimeoutError:
            raise RuntimeError(f"run {id}: another process is training it into {store.path}; start again when it has ended") from None
        store.sweep(id)
        for rest in (store.path / CHECKPOINTS).glob(f"{id}.*.tmp"):
            rest.unlink(missing_ok=True)


def _train_locked(
    todo: list[RunSpec],
    store: RecordStore,
    device: torch.device,
    machine: Machine,
    located: dict[str, str],
    progress: bool,
) -> dict[str, str]:
    failed: dict[str, str] = {}
    checkpoints, ranks = store.path / CHECKPOINTS, here()
    data = _load(todo[0], machine, located).to(device)
    teacher, record = None, None
    sigma: dict[str, float] = {}
    for spec in todo:
        if spec.teacher is None:
            continue
        try:
            if teacher is None or record is None:  # the specs of a cohort have the same one
                teacher, record = _teacher(spec, store, data, device, machine)
            tempering = temper(spec.teacher, record, data)
            if tempering is not None:
                teacher.temperatures[spec.teacher] = tempering
            if spec.arm == "kd_noise":
                sigma[spec.id] = matched_sigma(teacher, spec, data)
        except (UnreachableControl, DamagedRecord) as error:
            failed[spec.id] = f"run {spec.id}: {error}"
    todo = [spec for spec in todo if spec.id not in failed]
    if not todo:
        return failed

    began = time.perf_counter()
    try:
        students = train_cohort(
            todo, data, teacher, sigma=sigma, device=device, precision=machine.precision,
            checkpoints=checkpoints, checkpoint_seconds=machine.checkpoint_seconds, progress=progress, located=located,
            cuda_graphs=machine.cuda_graphs,
        )  # fmt: skip
    except torch.OutOfMemoryError as error:
        size = todo[0].batch_size
        advice = f"batch_size = {size} does not fit; batch_size = {size // 2} needs about half of it, --precision bf16 less too"
        raise RuntimeError(f"run {todo[0].id}: the GPU is out of memory. {advice}. ({str(error).partition('.')[0]})") from error
    seconds = time.perf_counter() - began
    images = sum((student.step - student.began) * student.spec.batch_size for student in students)
    for student in tqdm(students if ranks.first else [], disable=not progress, unit="record", desc="evaluating", leave=False):
        spec = student.spec
        if student.error is not None:
            failed[spec.id] = str(student.error)
            continue
        asked = _load(spec, machine, located).to(device)
        tensors = evaluate(student.model, asked)
        if not all(bool(tensor.isfinite().all()) for name, tensor in tensors.items() if name.startswith("logits")):
            failed[spec.id] = f"run {spec.id}: the last step made the network answer with NaN; no record was written"
            continue
        accuracy = float((tensors["logits.val"].argmax(-1) == tensors["labels.val"]).double().mean())
        if spec.epochs == 0 and accuracy < 1.5 / data.n_classes:
            warnings.warn(
                f"run {spec.id}: {spec.student} {spec.pretrained or ''} is right on {accuracy:.1%} of the validation images, which is "
                "chance; are its classes in the order of the data, and its mean and std right?",
                stacklevel=2,
            )
        if spec.teacher is not None and spec.teacher.temperature_spread > 0:
            tensors["projection.test"] = projected(projection(asked), asked, asked.splits["test"].images)
        store.put(
            spec,
            tensors,
            lam=LAM_GRID,
            classes=data.classes,
            curve=student.curve,
            provenance={
                **_provenance(),
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
                "precision": resolve_precision(machine.precision, device, spec.data),
                "threads": torch.get_num_threads(),
                "cohort": len(students),
                "cohort_seconds": round(seconds, 3),
                "cohort_images_per_second": round(images / seconds, 1),
                **({"ranks": ranks.size} if ranks.size > 1 else {}),
                **({"cuda_graphs": True} if machine.cuda_graphs else {}),
                **({"resumed_at_step": student.began} if student.began else {}),
                **({"sigma": sigma[spec.id]} if spec.id in sigma else {}),
                **({"teacher": record.id} if record is not None and spec.teacher is not None else {}),
            },
            # apart from each other, as tied tensors could not be written
            weights={name: value.clone() for name, value in student.model.state_dict().items()},
            inputs={"channels": data.channels, "image_size": data.image_size, "mean": data.mean, "std": data.std},
        )
        (checkpoints / f"{spec.id}.pt").unlink(missing_ok=True)
    return failed


def _teacher(spec: RunSpec, store: RecordStore, data: Dataset, device: torch.device, machine: Machine) -> tuple[Teacher, Record]:
    """The teacher of a spec, not tempered yet, and the record of its own training."""
    run = spec.teacher_run()
    assert run is not None
    kept, record = store.weights(run.id), Record(store.path / run.id)
    if kept is None:
        raise DamagedRecord(f"teacher {run.id}: its record is in {store.path}, its weights are not")
    try:
        return freeze(record, kept, data, device=device, precision=machine.precision), record
    except DamagedRecord as error:
        raise DamagedRecord(f"teacher {run.id}: {error}") from error


def _resolve(spec: RunSpec, machine: Machine) -> RunSpec:
    """The spec as a record keeps it: a folder, a file of weights and a function by name and content, never by path."""
    changes: dict[str, Any] = {}
    if spec.data.startswith(("folder:", "stream:")):
        changes["data"] = data_identity(spec.data, machine.root)
    changes |= _known(spec, ("student", "pretrained"), machine)
    if spec.teacher is not None and (changed := _known(spec.teacher, ("model", "pretrained"), machine)):
        changes["teacher"] = spec.teacher.model_copy(update=changed)
    return spec.replace(**changes) if changes else spec


def _known(spec: RunSpec | TeacherSpec, names: Sequence[str], machine: Machine) -> dict[str, str]:
    return {name: weights.identity(value, machine.root) for name in names if weights.own(value := getattr(spec, name))}


def _pretrained(spec: RunSpec) -> tuple[str, str]:
    """The weights that a student and its teacher start from; empty where there are none."""
    return spec.pretrained or "", (spec.teacher.pretrained if spec.teacher else None) or ""


def _absolute(name: str, machine: Machine) -> str:
    """A data name whose folder a worker finds wherever it was started."""
    kind, colon, place = name.partition(":")
    return f"{kind}:{os.path.abspath(Path(machine.root or '.') / Path(place).expanduser())}" if colon else name


def _load(spec: RunSpec, machine: Machine, located: dict[str, str]) -> Dataset:
    name = located.get(spec.data, spec.data)
    data = load_data(name, image_size=spec.image_size, train_size=spec.train_size, train_skip=spec.train_skip, root=machine.root)
    if data.identity != spec.data and ":" in spec.data:  # files were changed since the spec was made, or lie elsewhere on another machine
        raise ValueError(f"{name}: holds {data.identity} now, and the run is of {spec.data}; nothing is trained on other images")
    return data


def _check(specs: Iterable[RunSpec], machine: Machine, located: dict[str, str]) -> dict[str, int]:
    """What only data and models can judge, before anything trains; returns the bytes a student of each name takes meanwhile."""
    sizes: dict[str, int] = {}
    fields = ("data", "image_size", "train_size", "train_skip", "student", "pretrained", "mean", "std", "batch_size", "augment", "epochs")
    alike = {tuple(getattr(spec, name) for name in fields): spec for spec in specs}
    for spec in alike.values():
        data = _load(spec, machine, located)
        train, test = data.splits["train"], data.splits["test"]
        student = network(spec, data, located=located)
        values = 4 * sum(parameter.numel() for parameter in student.parameters())  # the weights, their gradients, two moments
        sizes[spec.student] = max(sizes.get(spec.student, 0), 4 * values)
        n = len(train.labels)
        if spec.epochs == 0 and not student.whole:
            raise ValueError(
                f"{spec.student} {spec.pretrained}: was trained on other classes than the {data.n_classes} of {data.name}; "
                "give it epochs to be fine-tuned (--teacher-epochs for a teacher)"
            )
        if spec.epochs and spec.batch_size > n:
            raise ValueError(f"batch_size = {spec.batch_size}: larger than the {n} training images of {data.name}")
        first = next(batches(spec, data, 0, min(1, spec.epochs)), None)  # its augmentation can be done
        if first is not None and spec.batch_size // here().size == 1:
            try:
                student.train()(first.images[:1])
            except ValueError as error:  # of a batch norm
                raise ValueError(f"batch_size = {spec.batch_size}: {spec.student} needs two images or more in a batch ({error})") from error
        if int(test.labels[: data.test_images].bincount().max()) < 2:
            raise ValueError(f"{data.name}: one test image in each class; some class needs two, so that it can be mixed")
        # where too few pairs can be found, now is the time to say so
        probe_pairs(test.labels[: data.test_images], TWO_CLASS_PAIRS, ONE_CLASS_PAIRS)
        probe_pairs(data.splits["train_eval"].labels, TRAIN_PAIRS, 0)
    return sizes


def checkout() -> str | None:
    """The commit of the code that this process loaded; None outside a repository."""
    return _COMMIT


def _checkout() -> str | None:
    """The commit of the code that was loaded; a ``+`` behind it says that the library's files differed from that commit."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
    except OSError:  # no git here
        return None
    return commit + ("+" if git("status", "--porcelain", "--", ".") else "") if commit else None


_COMMIT = _checkout()  # at import: what a process loaded, whatever is committed while it trains


def _provenance() -> dict[str, Any]:
    return {
        "mixkd": mixkd.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "commit": _COMMIT,
    }


class _one_thread:
    """On a CPU a run always uses one thread: two change the bits, and are slower than two runs side by side."""

    def __init__(self, device: torch.device) -> None:
        self.threads = torch.get_num_threads() if device.type == "cpu" else None

    def __enter__(self) -> None:
        if self.threads is not None:
            torch.set_num_threads(1)

    def __exit__(self, *_: object) -> None:
        if self.threads is not None:
            torch.set_num_threads(self.threads)
