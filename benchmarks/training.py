"""Images per second of distillation with mixup: one student, five and twelve of one teacher, against the peers' own loops.

Also the share of the convolution peak reached, and what each optimisation is worth. Refuses trained weights: speed does not need them.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import torch
from loky import get_reusable_executor
from torch import Tensor, nn

from benchmarks import peers
from benchmarks.clock import Spread, against_fastest, alternate, ratios
from mixkd import graphs, models, train
from mixkd.data import Dataset, Split
from mixkd.models import Model, build
from mixkd.objectives import Teacher
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.train import autocast, resolve_precision, train_cohort

CLASSES = 100
TAUS = (1.0, 2.0, 4.0, 8.0, 16.0, 0.5, 1.5, 3.0, 6.0, 12.0, 24.0, 32.0)
FIVE, TWELVE = 5, 12
"""Students of one teacher: a sweep of tau, and a map of three tau and four calibrations of the teacher."""


@dataclass(frozen=True)
class Pair:
    """A teacher and a student, and the ratios to reach against the fastest peer."""

    teacher: str
    student: str
    one: tuple[float, float]  # must, stretch
    five: tuple[float, float]
    twelve: tuple[float, float]

    @property
    def name(self) -> str:
        return f"{self.teacher} > {self.student}"


PAIRS = (
    Pair("resnet56", "resnet20", one=(1.7, 2.0), five=(2.7, 3.2), twelve=(2.3, 2.3)),
    Pair("resnet32x4", "resnet8x4", one=(2.0, 2.5), five=(3.6, 4.4), twelve=(2.8, 2.8)),
)


@dataclass(frozen=True)
class Size:
    """How much one turn does."""

    pairs: tuple[Pair, ...] = PAIRS
    batch: int = 64
    steps: int = 4
    rounds: int = 5
    workers: int = 2  # of the peers' loaders
    seconds: float = 90.0  # of a comparison; see `alternate`

    def of(self, parts: int) -> Size:
        """As much work in one turn that does it `parts` times over."""
        return replace(self, steps=max(1, self.steps // parts))


QUICK = Size(pairs=(Pair("resnet8", "resnet8", (1, 1), (1, 1), (1, 1)),), batch=4, steps=1, rounds=1, workers=0)


def dataset(rows: int, validation: int = 32, size: int = 32) -> Dataset:
    """Random pixels in the form that training takes."""
    draw = torch.Generator().manual_seed(0)

    def split(n: int) -> Split:
        images = torch.randint(256, (n, 3, size, size), dtype=torch.uint8, generator=draw)
        return Split(images, torch.randint(CLASSES, (n,), generator=draw))

    names = tuple(str(label) for label in range(CLASSES))
    splits = {"train": split(rows), "val": split(validation)}
    return Dataset("random", "random", names, splits, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def specs(pair: Pair, batch: int, students: int, seed: int = 0, epochs: int = 1) -> list[RunSpec]:
    """Students that differ in tau alone."""
    return [
        RunSpec(
            data="cifar100", arm="kd_mixup", student=pair.student, teacher=TeacherSpec(model=pair.teacher), tau=tau, augment="crop_flip",
            epochs=epochs, batch_size=batch, optimizer="sgd", lr=0.05, schedule="constant", seed=seed,
        )
        for tau in TAUS[:students]
    ]  # fmt: skip


def frozen(name: str, device: torch.device, precision: str, *, inference: bool = True) -> Teacher:
    """Return an untrained teacher, frozen as by `mixkd.teachers.freeze` or without inference mode."""
    network = build(name, CLASSES).eval().requires_grad_(False).to(device, memory_format=torch.channels_last)

    def answer(images: Tensor) -> Tensor:
        with torch.inference_mode() if inference else torch.no_grad(), autocast(precision, device):
            return network(images).float()  # type: ignore[no-any-return]

    return Teacher(answer)


def cohort(pair: Pair, size: Size, students: int, device: torch.device, seed: int = 0, **options: Any) -> Callable[[], float]:
    """Return a turn of ours: one epoch of a cohort, start-up and its validation included; the turn returns the number of student images."""
    precision = options.pop("precision", resolve_precision("auto", device, "cifar100"))
    apart, cuda_graphs = options.pop("apart", False), options.pop("cuda_graphs", False)
    data = dataset(size.batch * size.steps).to(device)
    teacher = frozen(pair.teacher, device, precision, **options)
    wanted = specs(pair, size.batch, students, seed)

    def turn() -> float:
        for group in [[one] for one in wanted] if apart else [wanted]:
            train_cohort(group, data, teacher, device=device, precision=precision, cuda_graphs=cuda_graphs)
        if device.type == "cuda":
            torch.cuda.synchronize()
        return float(size.batch * size.steps * students)

    return turn


_HELD: dict[str, Callable[[], float]] = {}


def _worker_turn(pair: Pair, size: Size, students: int, seed: int) -> float:
    torch.set_num_threads(1)
    key = f"{pair.name}/{seed}/{students}/{size}"
    if key not in _HELD:
        _HELD[key] = cohort(pair, size, students, torch.device("cpu"), seed)
    return _HELD[key]()


def sweep(pair: Pair, size: Size, students: int, device: torch.device) -> Callable[[], float]:
    """Return a turn of students of one teacher on the whole machine: a cohort on the GPU, or one a core, as in `collect`."""
    if device.type == "cuda":
        return cohort(pair, size, students, device)
    cores = torch.get_num_threads()

    def turn() -> float:
        pool = get_reusable_executor(max_workers=cores, timeout=600)
        waiting = [pool.submit(_worker_turn, pair, size, students, seed) for seed in range(cores)]
        return sum(future.result() for future in waiting)

    return turn


def loops(pair: Pair, size: Size, device: torch.device) -> dict[str, Callable[[], float]]:
    """Return a turn of each peer, by name: one epoch over as many images as ours."""
    found: dict[str, Callable[[], float]] = {}
    for loop in (peers.PlainLoop, peers.TorchdistillLoop):
        if loop is peers.TorchdistillLoop and not peers.installed("torchdistill"):
            continue
        images = peers.Images(size.batch * size.steps, CLASSES)
        teacher, student = build(pair.teacher, CLASSES), build(pair.student, CLASSES)
        found[loop.name] = loop(teacher, student, images, size.batch, device, size.workers).epoch
    return found


def flop(pair: Pair) -> float:
    """Per image: a forward of the teacher, a forward and backward (twice a forward) of the student."""
    return build(pair.teacher, CLASSES).flops() + 3.0 * build(pair.student, CLASSES).flops()


def conv_peak(device: torch.device, precision: str, quick: bool = False) -> float:
    """Return the highest FLOP/s of a 3x3 convolution here, over 16 to 256 channels, in the layout and precision of training."""
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    best = 0.0
    for channels, side in ((16, 32),) if quick else ((16, 32), (32, 16), (64, 32), (128, 16), (256, 8)):
        x = torch.randn(64, channels, side, side, device=device, dtype=dtype).contiguous(memory_format=torch.channels_last)
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(device, dtype, memory_format=torch.channels_last)
        work = 2 * 64 * channels * channels * 9 * side * side
        with torch.inference_mode():
            for _ in range(1 if quick else 6):
                began = time.perf_counter()
                for _ in range(3):
                    conv(x)
                if device.type == "cuda":
                    torch.cuda.synchronize()
                best = max(best, 3 * work / (time.perf_counter() - began))
    return best


def measure(size: Size, device: torch.device) -> list[dict[str, Any]]:
    """One row for each pair and workload."""
    rows = []
    precision = resolve_precision("auto", device, "cifar100")
    peak = conv_peak(device, precision, quick=size.steps == 1)
    for pair in size.pairs:
        contenders = loops(pair, size, device)
        known = list(contenders)
        large = replace(size.of(2), batch=2 * size.batch)
        contenders |= {
            "one": cohort(pair, size, 1, device),
            "large": cohort(pair, large, 1, device),
            "five": sweep(pair, size.of(2), FIVE, device),
            "twelve": sweep(pair, size.of(2), TWELVE, device),
        }
        rates = alternate(contenders, size.rounds, seconds=size.seconds)
        titles = {"one": "one student", "large": f"one student, batch {large.batch}", "five": "sweep of five, whole machine"}
        titles["twelve"] = "twelve students of one teacher, whole machine"
        goals = {"one": pair.one, "large": None, "five": pair.five, "twelve": pair.twelve}
        for key, title in titles.items():
            fastest, ratio = against_fastest(rates, key, known)
            rows.append(
                {
                    "workload": f"{pair.name}, {title}",
                    "rate": statistics.median(rates[key]),
                    "peers": {name: statistics.median(rates[name]) for name in known},
                    "fastest": fastest,
                    "ratio": vars(ratio),
                    "goal": goals[key],
                    "share_of_peak": statistics.median(rates[key]) * flop(pair) / peak if key == "one" else None,
                    "peak": peak,
                    "precision": precision,
                }
            )
    return rows


# ------------------------------------------------------------------------------------------------------------ ablations


@contextmanager
def _plain_relu() -> Iterator[None]:
    def forward(block: models.BasicBlock, x: Tensor) -> Tensor:
        return torch.relu(block.second(torch.relu(block.first(x))) + block.shortcut(x))

    def relu(module: nn.ReLU, x: Tensor) -> Tensor:
        return torch.relu(x)

    with mock.patch.object(models.BasicBlock, "forward", forward), mock.patch.object(nn.ReLU, "forward", relu):
        yield


@contextmanager
def _loop_optimizer() -> Iterator[None]:
    real = train._optimizer

    def plain(spec: RunSpec, model: Model) -> torch.optim.Optimizer:
        optimizer = real(spec, model)
        for group in optimizer.param_groups:
            group |= {"fused": False, "foreach": False}
        return optimizer

    with mock.patch.object(train, "_optimizer", plain):
        yield


@contextmanager
def _contiguous() -> Iterator[None]:
    with mock.patch.object(torch, "channels_last", torch.contiguous_format):
        yield


def _under(context: Callable[[], Any], make: Callable[[], Callable[[], float]]) -> Callable[[], float]:
    """Return a turn that is built and run with a patch in place."""
    with context():
        turn = make()

    def patched() -> float:
        with ExitStack() as stack:
            stack.enter_context(context())
            return turn()

    return patched


def ablate(size: Size, device: torch.device) -> list[dict[str, Any]]:
    """How many times as fast the whole is as it would be without one of its parts."""
    rows = []
    precision = resolve_precision("auto", device, "cifar100")
    for pair in size.pairs:

        def make(pair: Pair = pair, **options: Any) -> Callable[[], float]:
            return cohort(pair, size.of(2), 1, device, **options)

        without: dict[str, Callable[[], float]] = {
            "channels_last": _under(_contiguous, make),
            "inference mode": make(inference=False),
            "fused optimiser": _under(_loop_optimizer, make),
            "in-place ReLU": _under(_plain_relu, make),
        }
        if precision != "fp32":
            without[precision] = make(precision="fp32")
        rates = alternate({"whole": make(), **without}, size.rounds, seconds=size.seconds / 2)
        rows += [{"pair": pair.name, "part": part, "gain": vars(ratios(rates["whole"], rates[part]))} for part in without]
        few = size.of(4)
        together, apart = (cohort(pair, few, FIVE, device, apart=each) for each in (False, True))
        rates = alternate({"cohort": together, "apart": apart}, size.rounds, seconds=size.seconds / 2)
        rows.append({"pair": pair.name, "part": "one teacher forward for five students", "gain": vars(_gain(rates))})
    return rows


def _gain(rates: dict[str, list[float]]) -> Spread:
    return ratios(rates["cohort"], rates["apart"])


# --------------------------------------------------------------------------------------------------------- CUDA graphs

SMALL = (Pair("resnet20", "resnet8", (1, 1), (1, 1), (1, 1)), PAIRS[0])
"""Networks whose kernels end sooner than the next is launched."""


def graph(size: Size, device: torch.device) -> list[dict[str, Any]]:
    """How many times as fast `--cuda-graphs` is, recording included: one student and five, at two batch sizes.

    Raises:
        ValueError: without a CUDA device.
    """
    graphs.check(device, 1)
    precision = resolve_precision("auto", device, "cifar100")
    rows = []
    for pair in SMALL:
        for students in (1, FIVE):
            for batch in (size.batch, 2 * size.batch):
                turn = replace(size, batch=batch, steps=50 * size.steps)  # an epoch of 12,800 images at least
                contenders = {name: cohort(pair, turn, students, device, cuda_graphs=name == "graphs") for name in ("graphs", "launches")}
                rates = alternate(contenders, size.rounds, seconds=size.seconds)
                rows.append(
                    {
                        "workload": f"{pair.name}, {students} {'student' if students == 1 else 'students'}, batch {batch}, {precision}",
                        "rate": statistics.median(rates["graphs"]),
                        "step_ms": 1e3 * batch * students / statistics.median(rates["launches"]),
                        "gain": vars(ratios(rates["graphs"], rates["launches"])),
                    }
                )
    return rows
