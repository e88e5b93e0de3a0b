"""The training loop, over a cohort: students that share data, data order, length and teacher, trained in one pass.

No trainer class, no callbacks, no files but checkpoints. What a student becomes does not depend on who else is in its cohort: each
draw comes from a generator seeded by (seed, purpose, step), so arms are paired, and resuming needs no random state. Several ranks
(`mixkd.ranks`) may share a run: each takes its rows of every batch, with batch norm statistics, partners and draws of its own, and
gradients are averaged (DDP).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor
from tqdm.auto import tqdm

from mixkd import checkpoint, graphs, library
from mixkd.data import Dataset, Images, normalise
from mixkd.draws import ambient, send, stream
from mixkd.loader import batches
from mixkd.models import Model, build
from mixkd.objectives import Teacher, Views, loss
from mixkd.ranks import here
from mixkd.spec import RunSpec
from mixkd.vicinal import Mixing, draw_mixing
from mixkd.weights import FILE, FUNCTION, Weights, class_order, identity, own, read

Precision = Literal["auto", "fp32", "bf16", "fp16"]
CURVE_POINTS = 20
CURVE_IMAGES = 1000


class TrainingDiverged(RuntimeError):
    """The loss of a run became NaN or infinite. No record is written; the message names the step and the last good checkpoint."""


@dataclass
class Student:
    """A student while it trains: everything a checkpoint holds.

    Attributes:
        losses: (steps,) float32 on the device; written each step, read once an epoch.
        curve: one row per curve point: epoch, train_loss, lr, val_accuracy, val_nll, val_confidence.
        step: how many steps it has done.
        began: how many of them a checkpoint brought along.
        network: the model as training calls it: itself, wrapped so that ranks average their gradients, or replayed as a CUDA graph.
        stochastic: whether the model draws random numbers while it trains; asked once, as the answer walks through every module.
        error: why it was dropped from the cohort, or None.
    """

    spec: RunSpec
    model: Model
    optimizer: torch.optim.Optimizer
    losses: Tensor
    scaler: torch.amp.GradScaler
    curve: list[dict[str, float]] = field(default_factory=list)
    step: int = 0
    began: int = 0
    network: Callable[[Tensor], Tensor] | None = None
    stochastic: bool = False
    error: TrainingDiverged | None = None


def learning_rate(spec: RunSpec, step: int, steps_per_epoch: int) -> float:
    """Return the learning rate of a step (counted from 0): linear warm-up, then cosine to zero, steps, or constant."""
    epoch = step / steps_per_epoch
    if epoch < spec.warmup:
        return spec.lr * (step + 1) / math.ceil(spec.warmup * steps_per_epoch)
    if spec.schedule == "step":
        return spec.lr * spec.decay ** sum(epoch >= milestone for milestone in spec.milestones)
    if spec.schedule == "cosine":
        return spec.lr * 0.5 * (1 + math.cos(math.pi * (epoch - spec.warmup) / (spec.epochs - spec.warmup)))
    return spec.lr


def resolve_precision(precision: Precision, device: torch.device, data: str) -> Literal["fp32", "bf16", "fp16"]:
    """Return the precision that "auto" stands for; any other is returned as it is.

    On the small data sets it is fp32, since less gains nothing there. Elsewhere it is bf16 where the hardware multiplies in it, else
    fp16 on GPUs (a T4 has bf16 by emulation only, which is slower than fp32) and fp32 on CPUs.

    Args:
        precision: "auto", "fp32", "bf16" or "fp16".
        device: of the training.
        data: name of the data set.

    Raises:
        ValueError: for another name.
    """
    if precision not in ("auto", "fp32", "bf16", "fp16"):
        raise ValueError(f"precision = {precision!r}: must be one of auto, fp32, bf16, fp16")
    if precision != "auto":
        return precision
    if data == "digits" or data.startswith("gaussians"):
        return "fp32"
    if device.type == "cuda":
        whole = torch.version.hip is not None or torch.cuda.get_device_capability(device)[0] >= 8
        return "bf16" if whole else "fp16"
    return "bf16" if device.type == "cpu" and torch.cpu._is_avx512_bf16_supported() else "fp32"


@contextmanager
def whole_float32() -> Iterator[None]:
    """float32 as the CPU has it: on a GPU, convolutions would else multiply with 10 of its 23 bits (TF32)."""
    flags: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    before = [flag.allow_tf32 for flag in flags]
    try:
        for flag in flags:
            flag.allow_tf32 = False
        yield
    finally:
        for flag, allowed in zip(flags, before, strict=True):
            flag.allow_tf32 = allowed


def autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Lower precision for the body of a network; heads and losses leave it themselves."""
    if precision == "fp32":
        return nullcontext()
    # Each weight is used once in a pass, so nothing is gained by keeping its cast, which a CUDA graph cannot do.
    return torch.autocast(device.type, dtype={"bf16": torch.bfloat16, "fp16": torch.float16}[precision], cache_enabled=False)


def start(spec: RunSpec, data: Dataset, device: torch.device, precision: str, located: Mapping[str, str] | None = None) -> Student:
    """Return a freshly initialised student; raise :class:`ValueError` if the spec does not fit the data."""
    n = len(data.splits["train"].labels)
    if spec.epochs and spec.batch_size > n:
        raise ValueError(f"batch_size = {spec.batch_size}: larger than the {n} training images of {data.name}")
    model = network(spec, data, located=located).to(device)
    if data.splits["train"].images.ndim == 4:
        model = model.to(memory_format=torch.channels_last)
    steps = n // spec.batch_size * spec.epochs
    scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
    return Student(spec, model, _optimizer(spec, model), torch.zeros(steps, device=device), scaler, stochastic=model.stochastic)


def network(spec: RunSpec, data: Dataset, pretrained: bool = True, located: Mapping[str, str] | None = None) -> Model:
    """Return the student of a spec before its first step, for inputs normalised as the data are.

    Args:
        pretrained: False leaves out pretrained weights, for a caller that loads others of the same shape.
        located: where the files that the spec knows by name and digest lie.
    """
    foreign = own(spec.student) or own(spec.pretrained)
    weights = None
    if foreign:
        weights = Weights(spec.student)
        if pretrained and spec.student.startswith(FUNCTION):
            identity(spec.student)  # fails unless it returns what it did when the run was prepared
        if pretrained and spec.pretrained is not None and spec.pretrained.startswith(FILE):
            weights = read((located or {}).get(spec.pretrained, spec.pretrained))
        weights = replace(weights, mean=spec.mean or weights.mean, std=spec.std or weights.std)
    made = build(
        spec.student, data.n_classes, in_channels=data.channels, image_size=data.image_size, seed=spec.seed,
        pretrained=spec.pretrained if pretrained and not own(spec.pretrained) else None, statistics=(data.mean, data.std), weights=weights,
    )  # fmt: skip
    if weights is not None and pretrained:
        if weights.mean is None and not spec.student.startswith(library.PREFIXES[:2]):
            warnings.warn(
                f"{weights.name} does not say how its inputs are normalised, and gets those of {data.name} as they are; give its mean "
                "and std (--teacher-mean and --teacher-std for a teacher)",
                stacklevel=2,
            )
        if made.whole:
            order = class_order(weights, data.classes, data.name, quiet=spec.epochs > 0)
            if order is None:
                made.whole = False
            else:
                with torch.no_grad():
                    made.head.weight.copy_(made.head.weight[order])
                    made.head.bias.copy_(made.head.bias[order])
    return made


def _optimizer(spec: RunSpec, model: Model) -> torch.optim.Optimizer:
    shared: dict[str, Any] = {"lr": spec.lr, "weight_decay": spec.weight_decay, "fused": True}
    if spec.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=spec.momentum, nesterov=spec.nesterov, **shared)
    kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
    return kind(model.parameters(), **shared)


def train_cohort(
    specs: Sequence[RunSpec],
    data: Dataset,
    teacher: Teacher | None = None,
    *,
    sigma: dict[str, float] | None = None,
    device: torch.device | str = "cpu",
    precision: Precision = "auto",
    checkpoints: Path | None = None,
    checkpoint_seconds: float = 60.0,
    progress: bool = False,
    located: Mapping[str, str] | None = None,
    cuda_graphs: bool = False,
) -> list[Student]:
    """Train all students of a cohort and return them in the order of ``specs``.

    Args:
        specs: specs of equal :meth:`RunSpec.cohort`.
        data: the loaded data set, in the specs' size.
        teacher: of every spec that distils.
        sigma: noise level of each ``kd_noise`` spec, by id.
        device: "cpu" or "cuda".
        precision: of the network's body; see :func:`resolve_precision`.
        checkpoints: folder for ``ID.pt``; where one lies it is continued from, bit for bit. None: no checkpoints.
        checkpoint_seconds: how often they are written.
        progress: show a bar over steps with an ETA.
        located: where files of weights lie, by the name the specs have for them.
        cuda_graphs: replay the teacher's pass and both of each student's as CUDA graphs (`mixkd.graphs`). A student that draws random
            numbers while it trains runs without.

    Returns:
        Students with ``model`` in eval mode. One whose loss left the finite numbers has ``error`` set; the others are not affected.

    Raises:
        ValueError: before the first step, when the specs do not fit together or do not fit the data, or when a checkpoint is of a run
            that was trained with other settings (:class:`mixkd.checkpoint.ForeignCheckpoint`).
    """
    if len({spec.cohort() for spec in specs}) != 1:
        raise ValueError("the specs of a cohort must share data, sizes, augmentation, epochs, batch size and seed")
    device = torch.device(device)
    data = data.to(device)
    lead = specs[0]
    precision = resolve_precision(precision, device, lead.data)
    ranks = here()
    if cuda_graphs:
        graphs.check(device, ranks.size)
    settings = {spec.id: checkpoint.Settings(spec.id, precision, ranks.size, device.type, cuda_graphs) for spec in specs}
    if checkpoints is None:
        students = [start(spec, data, device, precision, located) for spec in specs]
    else:
        for spec in specs:
            checkpoint.check(checkpoints / f"{spec.id}.pt", settings[spec.id])
        students = [_resume(spec, data, device, settings[spec.id], checkpoints, located) for spec in specs]
    mine = ranks.part(lead.batch_size)
    ranks.agree([student.step for student in students], "steps done, by the checkpoints")
    for student in students:
        student.network = ranks.wrap(student.model)
    if cuda_graphs:
        pool = torch.cuda.graph_pool_handle()
        for student in students:
            if not student.stochastic:
                student.network = graphs.Replayed(student.model, pool)
        teacher = replace(teacher, network=graphs.frozen(teacher.network, pool)) if teacher is not None else None

    train = data.splits["train"]
    batch, per_epoch = lead.batch_size, len(train.labels) // lead.batch_size
    total = per_epoch * lead.epochs
    curve_epochs = {round(lead.epochs * (i + 1) / CURVE_POINTS) for i in range(CURVE_POINTS)} | {lead.epochs}
    first = min(student.step for student in students)
    saved = time.monotonic()

    def draw(spec: RunSpec, generator: torch.Generator) -> Mixing:
        mixing = draw_mixing(batch // ranks.size, spec.alpha, generator, per=spec.lam_per, partial=spec.partial)
        return Mixing(send(mixing.lam, device), send(mixing.partner, device))

    steps = batches(lead, data, first, total, part=mine, purpose=ranks.purpose)
    for drawn in tqdm(steps, initial=first, total=total, disable=not (progress and ranks.first), unit="step", desc=lead.arm):
        step = drawn.step
        epoch, position = divmod(step, per_epoch)
        images = drawn.images
        views = Views(
            clean=images.contiguous(memory_format=torch.channels_last) if images.ndim == 4 else images,
            labels=drawn.labels,
            teacher=teacher,
            stream=lambda purpose, step=step: stream(lead.seed, purpose + ranks.purpose, step),  # type: ignore[misc]
            draw=draw,
            sigma=sigma or {},
        )
        for student in students:
            if student.step > step or student.error:  # a resumed cohort may hold students at different steps
                continue
            with whole_float32() if precision == "fp32" else nullcontext():
                _step(student, views, learning_rate(student.spec, step, per_epoch), precision)
            if position == per_epoch - 1:
                _end_epoch(student, data, epoch + 1, per_epoch, epoch + 1 in curve_epochs, checkpoints)
        if checkpoints is not None and ranks.first and time.monotonic() - saved > checkpoint_seconds:
            for student in students:
                if not student.error and bool(student.losses[: student.step].isfinite().all()):
                    _save(student, checkpoints, settings[student.spec.id])
            saved = time.monotonic()

    for student in students:
        student.model.eval()
    return students


def _step(student: Student, views: Views, lr: float, precision: str) -> None:
    """One optimiser step; no value leaves the device."""
    model, network, optimizer = student.model, student.network or student.model, student.optimizer

    def logits(images: Tensor) -> Tensor:
        with autocast(precision, images.device):
            out: Tensor = network(images)
        return out

    if not model.training:  # walks through every module: a twentieth of a step of the smallest networks
        model.train()
    for group in optimizer.param_groups:
        group["lr"] = lr
    spec, device = student.spec, views.clean.device
    with ambient(spec.seed, "dropout" + here().purpose, student.step, device) if student.stochastic else nullcontext():
        value = loss(spec, logits, views)
    optimizer.zero_grad(set_to_none=True)
    student.scaler.scale(value).backward()
    student.scaler.step(optimizer)
    student.scaler.update()
    student.losses[student.step] = here().mean(value.detach())
    student.step += 1


def _end_epoch(student: Student, data: Dataset, epoch: int, per_epoch: int, curve_point: bool, checkpoints: Path | None) -> None:
    losses = student.losses[student.step - per_epoch : student.step]
    bad = (~losses.isfinite()).nonzero()
    if len(bad):
        step = student.step - per_epoch + int(bad[0])
        path = checkpoints / f"{student.spec.id}.pt" if checkpoints is not None else None
        last = f"the last good checkpoint is {path}" if path is not None and path.exists() else "there is no checkpoint"
        student.error = TrainingDiverged(
            f"run {student.spec.id} ({student.spec.arm}, seed {student.spec.seed}): the loss is {float(losses[bad[0]])} at step "
            f"{step} (epoch {epoch}); no record was written, {last}. A smaller lr than {student.spec.lr} is the usual cure"
            f"{', or --precision fp32' if student.scaler.is_enabled() else ''}."
        )
    elif student.scaler.is_enabled() and (scale := student.scaler.get_scale()) < 1:
        # each overflow skips a step and halves the scale, so the loss may stay finite while nothing is learnt
        student.error = TrainingDiverged(
            f"run {student.spec.id} ({student.spec.arm}, seed {student.spec.seed}): by epoch {epoch} gradients overflow float16 at a "
            f"loss scale of {scale:g}, so steps are skipped; no record was written. --precision fp32 trains it, or bf16 where it is fast."
        )
    elif curve_point and here().first:
        val = data.splits["val"]
        student.model.eval()
        logits = predict(student.model, data, val.images[:CURVE_IMAGES]).double()
        log_p, labels = logits.log_softmax(-1), val.labels[:CURVE_IMAGES]
        student.curve.append(
            {
                "epoch": epoch,
                "train_loss": float(losses.double().mean()),
                "lr": float(student.optimizer.param_groups[0]["lr"]),
                "val_accuracy": float((logits.argmax(-1) == labels).double().mean()),
                "val_nll": float(-log_p.gather(1, labels[:, None]).mean()),
                "val_confidence": float(log_p.amax(-1).exp().mean()),
            }
        )


@torch.inference_mode()
@whole_float32()
def predict(model: torch.nn.Module, data: Dataset, images: Images, batch: int = 1024, features: bool = False) -> Tensor:
    """Logits (or penultimate features) in float32 for raw images, batch by batch, on the images' device.

    Args:
        model: in eval mode.
        data: whose normalisation applies.
        images: (N, C, H, W) uint8, in memory or on disk, or (N, d) float32.
        batch: rows per forward pass. Fixed, since another size may round differently.
        features: return (N, d) penultimate features instead of (N, K) logits.
    """
    parts = []
    for chunk in images.split(batch):
        x = normalise(chunk, data)
        parts.append(model.features(x) if features else model(x))  # type: ignore[operator]
    return torch.cat(parts).float()


def _save(student: Student, folder: Path, settings: checkpoint.Settings) -> None:
    state = {
        "model": student.model.state_dict(),
        "optimizer": student.optimizer.state_dict(),
        "scaler": student.scaler.state_dict(),
        "losses": student.losses,
        "curve": student.curve,
    }
    checkpoint.write(folder / f"{student.spec.id}.pt", settings, student.step, state)


def _resume(
    spec: RunSpec,
    data: Dataset,
    device: torch.device,
    settings: checkpoint.Settings,
    folder: Path,
    located: Mapping[str, str] | None,
) -> Student:
    """Return the student of a spec as its checkpoint has it, or a fresh one.

    A checkpoint that is damaged is put aside with a warning, and the run begins anew.
    """
    path = folder / f"{spec.id}.pt"
    student = start(spec, data, device, settings.precision, located)
    try:
        found = checkpoint.read(path, settings)
        if found is not None:
            _restore(student, *found)
        return student
    except checkpoint.DamagedCheckpoint as error:
        damaged = path.with_suffix(".damaged")
        with suppress(FileNotFoundError):  # another rank was faster
            path.replace(damaged)
        warnings.warn(f"checkpoint {path} {error}; it is {damaged.name} now, and run {spec.id} begins anew", stacklevel=3)
        return start(spec, data, device, settings.precision, located)  # the other may be half restored


def _restore(student: Student, step: int, state: dict[str, Any]) -> None:
    total = len(student.losses)
    if step > total:
        raise checkpoint.DamagedCheckpoint(f"is at step {step} of a run of {total} steps")
    try:
        losses = state["losses"]
        if losses.shape != student.losses.shape:
            raise ValueError(f"{len(losses)} losses of {total}")
        student.losses.copy_(losses)
        student.model.load_state_dict(state["model"])
        student.optimizer.load_state_dict(state["optimizer"])
        if student.scaler.is_enabled():
            student.scaler.load_state_dict(state["scaler"])
        student.curve = list(state["curve"])
    except torch.OutOfMemoryError:  # no fault of the file
        raise
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise checkpoint.DamagedCheckpoint(f"does not fit its run ({str(error).strip().partition(chr(10))[0]})") from error
    if not bool(losses[:step].isfinite().all()):
        raise checkpoint.DamagedCheckpoint("holds a loss that is not finite")
    student.step = student.began = step
