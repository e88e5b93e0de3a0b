"""A job: one cohort, trained into a store. What a worker does, in this process, in another or on another machine."""

from __future__ import annotations

import platform
import subprocess
import tempfile
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm

import mixkd
from mixkd.data import Dataset, load_data
from mixkd.evaluate import evaluate
from mixkd.objectives import Teacher
from mixkd.ranks import here
from mixkd.records import DamagedRecord, Record
from mixkd.spec import RunSpec
from mixkd.store import RecordStore
from mixkd.teachers import UnreachableControl, freeze, matched_sigma, projected, projection, temper
from mixkd.train import Precision, Student, resolve_precision, train_cohort
from mixkd.vicinal import LAM_GRID

CHECKPOINTS = ".checkpoints"
_ONE_AT_A_TIME = threading.Lock()
"""The number of threads belongs to the process, and a worker of a scheduler may be given several jobs at once."""
_TEACHING = ("ce", "label_smoothing", "mixup")


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
        """Return the device to train on.

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


def train_job(job: Sequence[RunSpec], address: str, machine: Machine, located: Mapping[str, str], progress: bool = False) -> dict[str, str]:
    """Train one cohort and write its records; return what failed, by id.

    ``located`` says where data and files of weights lie, by the name the specs have for them.
    """
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
            return ranks.share(_train(todo, store, device, machine, located, progress))


def train_apart(
    job: Sequence[RunSpec], teachers: Mapping[str, Mapping[str, bytes]], machine: Machine, located: Mapping[str, str]
) -> tuple[dict[str, str], dict[str, dict[str, bytes]]]:
    """Train one cohort where the store is not seen; return what failed and the files of the records, by id.

    Args:
        teachers: files of the records of its teachers, by id.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = RecordStore(folder)
        for id, files in teachers.items():
            store.receive(id, files)
        failed = train_job(job, folder, machine, located)
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


def _train(
    todo: Sequence[RunSpec], store: RecordStore, device: torch.device, machine: Machine, located: Mapping[str, str], progress: bool
) -> dict[str, str]:
    data = load(todo[0], machine, located).to(device)
    teacher, sigma, failed = _taught(todo, store, data, device, machine)
    todo = [spec for spec in todo if spec.id not in failed]
    if not todo:
        return failed

    began = time.perf_counter()
    try:
        students = train_cohort(
            todo, data, teacher, sigma=sigma, device=device, precision=machine.precision,
            checkpoints=store.path / CHECKPOINTS, checkpoint_seconds=machine.checkpoint_seconds, progress=progress, located=located,
            cuda_graphs=machine.cuda_graphs,
        )  # fmt: skip
    except torch.OutOfMemoryError as error:
        size = todo[0].batch_size
        advice = f"batch_size = {size} does not fit; batch_size = {size // 2} needs about half of it, --precision bf16 less too"
        raise RuntimeError(f"run {todo[0].id}: the GPU is out of memory. {advice}. ({str(error).partition('.')[0]})") from error
    seconds = time.perf_counter() - began
    images = sum((student.step - student.began) * student.spec.batch_size for student in students)
    common = {
        **_provenance(device),
        "precision": resolve_precision(machine.precision, device, todo[0].data),
        "threads": torch.get_num_threads(),
        "cohort": len(students),
        "cohort_seconds": round(seconds, 3),
        "cohort_images_per_second": round(images / seconds, 1),
    }
    ranks = here()
    for student in tqdm(students if ranks.first else [], disable=not progress, unit="record", desc="evaluating", leave=False):
        spec = student.spec
        own = {
            **({"ranks": ranks.size} if ranks.size > 1 else {}),
            **({"cuda_graphs": True} if machine.cuda_graphs else {}),
            **({"resumed_at_step": student.began} if student.began else {}),
            **({"sigma": sigma[spec.id]} if spec.id in sigma else {}),
            **({"teacher": run.id} if (run := spec.teacher_run()) else {}),
        }
        if reason := _write(student, store, load(spec, machine, located).to(device), common | own):
            failed[spec.id] = reason
        else:
            (store.path / CHECKPOINTS / f"{spec.id}.pt").unlink(missing_ok=True)
    return failed


def _taught(
    todo: Sequence[RunSpec], store: RecordStore, data: Dataset, device: torch.device, machine: Machine
) -> tuple[Teacher | None, dict[str, float], dict[str, str]]:
    """Return the teacher of a cohort, tempered for each of its specs, and, by run id, the sigma of ``kd_noise`` and the errors."""
    teacher, record = None, None
    sigma: dict[str, float] = {}
    failed: dict[str, str] = {}
    for spec in todo:
        if spec.teacher is None:
            continue
        try:
            if teacher is None or record is None:  # the specs of a cohort share one
                teacher, record = _teacher(spec, store, data, device, machine)
            tempering = temper(spec.teacher, record, data)
            if tempering is not None:
                teacher.temperatures[spec.teacher] = tempering
            if spec.arm == "kd_noise":
                sigma[spec.id] = matched_sigma(teacher, spec, data)
        except (UnreachableControl, DamagedRecord) as error:
            failed[spec.id] = f"run {spec.id}: {error}"
    return teacher, sigma, failed


def _teacher(spec: RunSpec, store: RecordStore, data: Dataset, device: torch.device, machine: Machine) -> tuple[Teacher, Record]:
    """Return the teacher of a spec, not tempered yet, and the record of its own training."""
    run = spec.teacher_run()
    assert run is not None
    kept, record = store.weights(run.id), Record(store.path / run.id)
    if kept is None:
        raise DamagedRecord(f"teacher {run.id}: its record is in {store.path}, its weights are not")
    try:
        return freeze(record, kept, data, device=device, precision=machine.precision), record
    except DamagedRecord as error:
        raise DamagedRecord(f"teacher {run.id}: {error}") from error


def _write(student: Student, store: RecordStore, data: Dataset, provenance: Mapping[str, Any]) -> str:
    """Ask a trained student and write its record; why there is none, or an empty string."""
    spec = student.spec
    if student.error is not None:
        return str(student.error)
    tensors = evaluate(student.model, data)
    if not all(bool(tensor.isfinite().all()) for name, tensor in tensors.items() if name.startswith("logits")):
        return f"run {spec.id}: the last step made the network answer with NaN; no record was written"
    accuracy = float((tensors["logits.val"].argmax(-1) == tensors["labels.val"]).double().mean())
    if spec.epochs == 0 and accuracy < 1.5 / data.n_classes:
        warnings.warn(
            f"run {spec.id}: {spec.student} {spec.pretrained or ''} is right on {accuracy:.1%} of the validation images, which is "
            "chance; are its classes in the order of the data, and its mean and std right?",
            stacklevel=2,
        )
    if spec.teacher is not None and spec.teacher.temperature_spread > 0:
        tensors["projection.test"] = projected(projection(data), data, data.splits["test"].images)
    store.put(
        spec,
        tensors,
        lam=LAM_GRID,
        classes=data.classes,
        curve=student.curve,
        provenance=provenance,
        # apart from each other, as tied tensors could not be written
        weights={name: value.clone() for name, value in student.model.state_dict().items()},
        inputs={"channels": data.channels, "image_size": data.image_size, "mean": data.mean, "std": data.std},
    )
    return ""


def load(spec: RunSpec, machine: Machine, located: Mapping[str, str]) -> Dataset:
    """Return the data of a spec, of which ``located`` says where they lie; ValueError where they are other data by now."""
    name = located.get(spec.data, spec.data)
    data = load_data(name, image_size=spec.image_size, train_size=spec.train_size, train_skip=spec.train_skip, root=machine.root)
    if data.identity != spec.data and ":" in spec.data:  # files were changed since the spec was made, or lie elsewhere on another machine
        raise ValueError(f"{name}: holds {data.identity} now, and the run is of {spec.data}; nothing is trained on other images")
    return data


def _checkout() -> str | None:
    """Return the commit of the loaded code, with a ``+`` if the library's files differ from it; None outside a git checkout."""
    here = Path(__file__).resolve().parent

    def git(*arguments: str) -> str:
        return subprocess.run(["git", "-C", str(here), *arguments], capture_output=True, text=True, check=False).stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
    except OSError:  # no git here
        return None
    return commit + ("+" if git("status", "--porcelain", "--", ".") else "") if commit else None


COMMIT = _checkout()
"""At import: what a process loaded, whatever is committed while it trains."""


def _provenance(device: torch.device) -> dict[str, Any]:
    return {
        "mixkd": mixkd.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": platform.system(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "commit": COMMIT,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine(),
    }


@contextmanager
def _one_thread(device: torch.device) -> Iterator[None]:
    """On a CPU a run always uses one thread: two change the bits, and are slower than two runs side by side."""
    threads = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
