"""What this machine can run, and about how long each profile would take here: from a few seconds of timed steps.

Times are ranges, as wide as the measurement is short; nothing is trained to a result, downloaded or written.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mixkd import library
from mixkd.models import build
from mixkd.records import RecordStore
from mixkd.runs import Machine
from mixkd.spec import RunSpec
from mixkd.studies import Profile, load_profile, profiles, study
from mixkd.train import autocast, resolve_precision

PACKAGES = ("torch", "torchvision", "plotly", "papermill", "jupyter-book", "timm", "onnx", "dask")
LOW, HIGH = 0.8, 2.0
"""A range reaches from LOW times the time with every shared answer of a teacher computed once, to HIGH times that with none."""


@dataclass(frozen=True)
class Shape:
    """What networks of a data set are built for, where it need not be loaded: training images, classes, channels, side (0: vectors)."""

    rows: int
    classes: int
    channels: int
    side: int
    where: str


_SHAPES = {
    "digits": Shape(600, 10, 1, 8, "ships with a dependency"),
    "gaussians": Shape(300, 5, 2, 0, "generated"),
    "gaussians16": Shape(300, 8, 16, 0, "generated"),
    "cifar10": Shape(45_000, 10, 3, 32, "downloads on first use"),
    "cifar100": Shape(45_000, 100, 3, 32, "downloads on first use"),
    "imagenet": Shape(1_276_167, 1000, 3, 224, "yours: --data-root"),
}
_FOLDER = Shape(45_000, 100, 3, 32, "yours: --data-root")


@dataclass(frozen=True)
class Estimate:
    """One profile on this machine.

    Attributes:
        profile, title, data: its name, its one line, where its data come from.
        runs, missing: specs of all its studies with their teachers; how many of them the store lacks.
        hours: (low, high) for the missing ones, all workers at work; None where a network cannot be built here.
        images_per_second: of the default student with its default teacher, on one worker.
        problem: why there is no estimate, or "".
    """

    profile: str
    title: str
    data: str
    runs: int
    missing: int
    hours: tuple[float, float] | None
    images_per_second: float | None
    problem: str = ""


def examine(
    store: str | Path | RecordStore = "runs", *, seconds: float = 10.0, device: str = "auto", only: Iterable[str] | None = None
) -> dict[str, Any]:
    """Facts about this machine, and an :class:`Estimate` for each profile.

    Args:
        store: what lies there already needs no time.
        seconds: how long to time steps, in all.
        device: "auto", "cpu" or "cuda".
        only: names of profiles; all of them if not given.

    Returns:
        ``{"machine": {...}, "profiles": [Estimate as dict, ...]}``.

    Raises:
        ValueError: seconds not above 0, a device that is not here.
    """
    if seconds <= 0:
        raise ValueError(f"seconds = {seconds}: must be above 0")
    store = store if isinstance(store, RecordStore) else RecordStore(store)
    target = Machine(device=device).torch_device()
    names = list(only) if only is not None else list(profiles())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as a run does
    try:
        estimates = [_estimate(load_profile(name), store, target, seconds / len(names)) for name in names]
    finally:
        torch.set_num_threads(threads)
    return {"machine": _machine(store.path, target), "profiles": [asdict(estimate) for estimate in estimates]}


def to_json(report: dict[str, Any]) -> str:
    return json.dumps(report, indent=1)


def to_text(report: dict[str, Any]) -> str:
    """The report as two tables for a terminal."""
    facts = report["machine"]
    packages = ", ".join(f"{name} {found or '(missing)'}" for name, found in facts["packages"].items())
    rows = [
        ("processor", f"{facts['processor']}, {facts['cores']} cores, {facts['cpu_capability']}"),
        ("precision here", f"{facts['precision']} for images, fp32 for the embedded data"),
        ("memory", f"{facts['memory_gb']} GB" if facts["memory_gb"] else "unknown"),
        ("disk free", f"{facts['disk_free_gb']} GB at {facts['disk']}"),
        ("GPU", facts["gpu"] or "none"),
        ("browser", facts["chromium"] or "no Chromium: the browser tests are left out"),
        ("packages", packages),
    ]
    lines = [f"{name:<15} {value}" for name, value in rows]
    table = [("profile", "runs", "missing", "time here", "images/s", "data")]
    for row in report["profiles"]:
        speed = "" if row["images_per_second"] is None else _two_digits(row["images_per_second"])
        table.append((row["profile"], str(row["runs"]), str(row["missing"]), _span(row["hours"]) or row["problem"], speed, row["data"]))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines.append("")
    for cells in table:
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip())
    lines.append("")
    lines.append(f"times are for {facts['workers']} at work on this machine as loaded now; images/s: one student with its teacher")
    return "\n".join(lines)


def _two_digits(value: float) -> str:
    return f"{float(format(value, '.2g')):,g}"


def _span(hours: tuple[float, float] | None) -> str:
    """A range in one unit that suits both ends."""
    if hours is None:
        return ""
    low, high = hours
    if high == 0:
        return "nothing to do"
    for unit, length in (("s", 1 / 3600), ("min", 1 / 60), ("h", 1.0), ("days", 24.0), ("years", 24 * 365.0)):
        if high / length < 120 or unit == "years":
            return f"{_two_digits(low / length)} to {_two_digits(high / length)} {unit}"
    raise AssertionError(high)


# --- the machine ------------------------------------------------------------------------------------------------------


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _machine(place: Path, device: torch.device) -> dict[str, Any]:
    existing = next(folder for folder in (place.absolute(), *place.absolute().parents) if folder.exists())
    cuda = device.type == "cuda"
    gpu = torch.cuda.get_device_properties(device) if cuda else None
    browser = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
    return {
        "processor": _processor(),
        "cores": _cores(),
        "workers": "the GPU" if cuda else f"{_cores()} workers",
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "precision": resolve_precision("auto", device, "cifar10"),
        "memory_gb": _memory(),
        "disk": str(existing),
        "disk_free_gb": round(shutil.disk_usage(existing).free / 2**30),
        "gpu": None if gpu is None else f"{gpu.name}, {gpu.total_memory / 2**30:.0f} GB",
        "chromium": browser,
        "python": platform.python_version(),
        "system": platform.system(),
        "packages": {name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


# --- the profiles -----------------------------------------------------------------------------------------------------


def _shape(profile: Profile, spec: RunSpec) -> Shape:
    known = _SHAPES.get(profile.data, _FOLDER)
    return Shape(spec.train_size or known.rows, known.classes, known.channels, spec.image_size or known.side, known.where)


def _estimate(profile: Profile, store: RecordStore, device: torch.device, seconds: float) -> Estimate:
    specs = list(dict.fromkeys(study("all", profile.name)))
    teachers = list(dict.fromkeys(run for spec in specs if (run := spec.teacher_run()) is not None))
    every = list(dict.fromkeys([*teachers, *specs]))
    missing = [spec for spec in every if spec.id not in store]
    shape = _shape(profile, profile.spec("kd_mixup", 0))
    row = {"profile": profile.name, "title": profile.title, "data": shape.where, "runs": len(every), "missing": len(missing)}
    try:
        student, teacher = _measure(profile, shape, device, seconds)
        costs = _costs(profile, missing, student, teacher)
    except (ValueError, ModuleNotFoundError, FileNotFoundError, torch.OutOfMemoryError) as error:
        return Estimate(**row, hours=None, images_per_second=None, problem=str(error).splitlines()[0])  # type: ignore[arg-type]
    workers = 1 if device.type == "cuda" else _cores()
    low, high = (factor * cost / workers / 3600 for factor, cost in zip((LOW, HIGH), costs, strict=True))
    default = profile.spec("kd_mixup", 0)
    networks = ((student, default.student), (teacher, profile.default_teacher))
    own = sum(cost.of(_flops(name, shape), default.batch_size) for cost, name in networks) / default.batch_size
    return Estimate(**row, hours=(low, high), images_per_second=1 / own)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Cost:
    """What a batch takes: a part for itself, which is most of it where networks are small, and a part for each FLOP."""

    batch: float
    flop: float

    def of(self, flops: float, images: int) -> float:
        """Seconds for a batch of so many images that take so many FLOPs each."""
        return self.batch + self.flop * flops * images


def _costs(profile: Profile, specs: list[RunSpec], student: Cost, teacher: Cost) -> tuple[float, float]:
    """Seconds of one worker for all specs: with every teacher's answer computed once for its cohort, and with none shared."""
    training, shared, alone = 0.0, {}, 0.0
    for spec in specs:
        shape = _shape(profile, spec)
        steps = spec.epochs * (shape.rows // spec.batch_size)
        training += steps * student.of(_flops(spec.student, shape), spec.batch_size)
        if spec.teacher is not None:
            answers = steps * teacher.of(_flops(spec.teacher.model, shape), spec.batch_size)
            alone += answers
            shared[(spec.cohort(), spec.teacher.model, spec.teacher.seed, spec.teacher.arm, spec.arm)] = answers
    return training + sum(shared.values()), training + alone


@cache
def _flops(name: str, shape: Shape) -> int:
    """Of one forward pass of one image; a library's network is counted without memory for its weights."""
    if not name.startswith("torchvision:"):
        model = build(name, shape.classes, shape.channels, shape.side)
        return max(1, model.describe().flops)
    with torch.device("meta"):
        ghost = library.outline(name, shape.classes, shape.side).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            ghost(torch.empty(1, shape.channels, shape.side, shape.side))
    return counter.get_total_flops()


@cache
def _network(name: str, shape: Shape) -> nn.Module:
    return build(name, shape.classes, shape.channels, shape.side)


def _measure(profile: Profile, shape: Shape, device: torch.device, seconds: float) -> tuple[Cost, Cost]:
    """What a step of a student takes, by the FLOPs of its forward pass, and an answer of a teacher."""
    spec = profile.spec("kd_mixup", 0)
    precision = resolve_precision("auto", device, profile.data)
    networks = [_network(name, shape).to(device) for name in (spec.student, _lightest(profile, shape))]
    if shape.side:
        networks = [network.to(memory_format=torch.channels_last) for network in networks]
    model, frozen = networks[0].train(), networks[1]
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-6, momentum=0.9)

    def images(n: int) -> torch.Tensor:
        size = (n, shape.channels, shape.side, shape.side) if shape.side else (n, shape.channels)
        drawn = torch.randn(size, device=device)
        return drawn.contiguous(memory_format=torch.channels_last) if shape.side else drawn

    def step(n: int) -> None:
        x = images(n)
        with autocast(precision, device):
            logits = model(x)
        loss = nn.functional.cross_entropy(logits.float(), torch.zeros(n, dtype=torch.long, device=device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    @torch.inference_mode()
    def answer(n: int) -> None:
        frozen.eval()
        with autocast(precision, device):
            frozen(images(n))

    trained = _timed(step, spec.batch_size, seconds * 0.6, device)
    answered = _timed(answer, spec.batch_size, seconds * 0.4, device)
    light = _flops(_lightest(profile, shape), shape)
    return Cost(trained[0], trained[1] / _flops(spec.student, shape)), Cost(answered[0], answered[1] / light)


def _lightest(profile: Profile, shape: Shape) -> str:
    return min(profile.teachers, key=lambda name: _flops(name, shape))


def _timed(work: Callable[[int], None], batch: int, seconds: float, device: torch.device) -> tuple[float, float]:
    """Seconds for a batch as such, and for each of its images: whole batches where they fit the time, else smaller ones."""

    def once(n: int) -> float:
        began = time.perf_counter()
        work(n)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - began

    n = least = min(2, batch)
    once(n)  # allocations and kernels are chosen here
    first = once(n)
    small = sorted([first, *(once(n) for _ in range(4) if 20 * first < seconds)])
    while n < batch and first * min(4, batch / n) < seconds / 2:
        n = min(batch, 4 * n)
        first = once(n)
    times = [first]
    while sum(times) + times[-1] < seconds:
        times.append(once(n))
    whole, little = sorted(times)[len(times) // 2], small[len(small) // 2]
    own = max(0.0, min(whole, (little * n - whole * least) / (n - least))) if n > least else 0.0
    return own, (whole - own) / n
