"""From specs to records: find what is there, train what is missing, teachers before students.

`run` for one, `collect` for many. Work is cut into cohorts and handed to one-thread worker processes; locks in the
store keep two processes from training the same run. What is finished is on disk, so killing and starting again loses
at most the running cohorts since their last checkpoint.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from loky import ProcessPoolExecutor, cpu_count
from tqdm.auto import tqdm

from mixkd import checkpoint, graphs, weights
from mixkd.checkpoint import Settings
from mixkd.data import data_identity
from mixkd.evaluate import ONE_CLASS_PAIRS, TRAIN_PAIRS, TWO_CLASS_PAIRS
from mixkd.jobs import CHECKPOINTS, load, train_apart, train_job
from mixkd.jobs import Machine as Machine
from mixkd.loader import batches
from mixkd.ranks import here
from mixkd.records import Record, Records
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.store import RecordStore
from mixkd.train import network, resolve_precision
from mixkd.vicinal import probe_pairs
from mixkd.workers import start_worker

COHORT_BYTES = 2**30
"""Weights, gradients and moments of the students trained in one pass, at most; activations are those of one student at a time."""


def run(spec: RunSpec, store: str | Path | RecordStore = "runs", machine: Machine | None = None, progress: bool = True) -> Record:
    """Return the record of one spec: from the store when it is there, else trained now (its teacher first, if need be).

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
    """Return the records of many specs, in their order. Missing ones are trained, in cohorts, teachers first.

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
    machine = replace(machine, root=None if machine.root is None else os.path.abspath(Path(machine.root).expanduser()))
    located: dict[str, str] = {}
    wanted = [_resolve(spec, machine, located) for spec in dict.fromkeys(specs)]

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
    if executor is None and workers > 0 and len(jobs) > 1:
        with _local(min(workers, len(jobs))) as processes:
            failed = _work(jobs, store, machine, located, processes, progress, shared=True)
    elif jobs:
        failed = _work(jobs, store, machine, located, executor, progress, shared=False)
    found = store.find(wanted)
    return Records(found, {id: failed.get(id, f"run {id}: {reason}") for id, reason in found.failed.items()})


@contextmanager
def _local(size: int) -> Iterator[Executor]:
    """One-thread processes of this machine. None outlives the work, not even when it is interrupted."""
    executor = ProcessPoolExecutor(size, initializer=start_worker, initargs=(os.getpid(),))
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, kill_workers=True)
        raise
    executor.shutdown(wait=True)


def _resolve(spec: RunSpec, machine: Machine, located: dict[str, str]) -> RunSpec:
    """Return the spec as a record keeps it: a folder, a file of weights and a function by name and content, never by path.

    ``located`` is filled with where folders and files lie, for workers that start elsewhere.
    """

    def known(part: RunSpec | TeacherSpec, *names: str) -> dict[str, Any]:
        found = {name: weights.identity(value, machine.root) for name in names if weights.own(value := getattr(part, name))}
        for name, identity in found.items():
            if identity.startswith(weights.FILE):
                located[identity] = weights.located(getattr(part, name), machine.root)
        return found

    changes = known(spec, "student", "pretrained")
    kind, colon, place = spec.data.partition(":")
    if colon:
        changes["data"] = data_identity(spec.data, machine.root)
        located[changes["data"]] = f"{kind}:{os.path.abspath(Path(machine.root or '.') / Path(place).expanduser())}"
    if spec.teacher is not None and (changed := known(spec.teacher, "model", "pretrained")):
        changes["teacher"] = spec.teacher.model_copy(update=changed)
    return spec.replace(**changes) if changes else spec


def _check(specs: Iterable[RunSpec], machine: Machine, located: dict[str, str]) -> dict[str, int]:
    """Check what needs the data and models, before anything trains; return the bytes that a student of each name takes in training."""
    sizes: dict[str, int] = {}
    fields = ("data", "image_size", "train_size", "train_skip", "student", "pretrained", "mean", "std", "batch_size", "augment", "epochs")
    alike = {tuple(getattr(spec, name) for name in fields): spec for spec in specs}
    for spec in alike.values():
        data = load(spec, machine, located)
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
        first = next(batches(spec, data, 0, min(1, spec.epochs)), None)  # fails if its augmentation cannot be done
        if first is not None and spec.batch_size // here().size == 1:
            try:
                student.train()(first.images[:1])
            except ValueError as error:  # of a batch norm
                raise ValueError(f"batch_size = {spec.batch_size}: {spec.student} needs two images or more in a batch ({error})") from error
        if int(test.labels[: data.test_images].bincount().max()) < 2:
            raise ValueError(f"{data.name}: one test image in each class; some class needs two, so that it can be mixed")
        # fail now, not after training, if too few pairs can be found
        probe_pairs(test.labels[: data.test_images], TWO_CLASS_PAIRS, ONE_CLASS_PAIRS)
        probe_pairs(data.splits["train_eval"].labels, TRAIN_PAIRS, 0)
    return sizes


def _work(
    jobs: Sequence[Sequence[RunSpec]],
    store: RecordStore,
    machine: Machine,
    located: dict[str, str],
    executor: Executor | None,
    progress: bool,
    shared: bool,
) -> dict[str, str]:
    """Do all jobs, each as soon as its teachers are there; return what failed, by id.

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
                results = [(job, train_job(job, *arguments, progress=progress and total <= 2))]
            else:
                for job in ready:
                    if shared:
                        future: Future[Any] = executor.submit(train_job, job, *arguments)
                    else:
                        needed = {id: store.files(id) for spec in job if (id := teacher.get(spec.id, "")) in store}
                        future = executor.submit(train_apart, job, needed, machine, located)
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
