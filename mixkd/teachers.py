"""Frozen teachers: from the record of a trained one to what the students of a cohort query.

Loads weights, tempers logits, and finds the noise level that matches a teacher's entropy on mixed
inputs. A teacher never trains here, and never sees the test split.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from mixkd.data import Dataset, Images, normalise
from mixkd.draws import stream
from mixkd.evaluate import NOISE_MAX, first_crossing
from mixkd.objectives import Teacher
from mixkd.records import Record
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.train import Precision, autocast, network, resolve_precision
from mixkd.vicinal import draw_mixing, mix


class UnreachableControl(RuntimeError):
    """What a run asks of its teacher cannot be had: no noise, or no scale of the temperature, does what it should."""


def freeze(record: Record, weights: Path, data: Dataset, *, device: torch.device | str = "cpu", precision: Precision = "auto") -> Teacher:
    """Return the teacher of a record, in eval mode, without gradients.

    Args:
        record: of the teacher's own training.
        weights: its state dict, the file written with the record.
        data: on which the students train.
        device, precision: as in :func:`mixkd.train.train_cohort`.

    Returns:
        A :class:`Teacher` without tempering; see :func:`temper`.

    Raises:
        DamagedRecord: if the weights differ from their checksum or cannot be read.
    """
    device = torch.device(device)
    resolved = resolve_precision(precision, device, record.spec.data)
    model = network(record.spec, data, pretrained=False)
    model.load_state_dict(record.state(weights))
    frozen = model.eval().requires_grad_(False).to(device)
    if data.splits["train"].images.ndim == 4:
        frozen = frozen.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def logits(images: Tensor) -> Tensor:
        with autocast(resolved, device):
            out: Tensor = frozen(images)
        return out.float()

    return Teacher(logits)


def temper(spec: TeacherSpec, record: Record, data: Dataset) -> Callable[[Tensor], Tensor | float] | None:
    """Return the function from normalised images to the temperature that divides the teacher's logits; None where that is 1.

    Raises:
        UnreachableControl: if the spread is so large that no scale keeps the mean confidence.
    """
    base = spec.temperature_factor * (record.temperature if spec.temperature == "fitted" else float(spec.temperature))
    if spec.temperature_spread == 0:
        return None if base == 1 else lambda images: base
    val = data.splits["val"]
    project = projection(data)
    h = projected(project, data, val.images)
    logits = record.logits("val").double() / base
    target = float(logits.softmax(-1).amax(-1).mean())
    spread = torch.exp(spec.temperature_spread * h).double().unsqueeze(-1)

    def excess(scale: float) -> float:
        return float((logits / (scale * spread)).softmax(-1).amax(-1).mean()) - target

    low, high = 1e-2, 1e2
    if not excess(low) > 0 > excess(high):
        raise UnreachableControl(
            f"temperature_spread = {spec.temperature_spread}: no scale keeps the teacher's mean confidence {target:.3f}"
        )
    for _ in range(60):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    scale = base * (low * high) ** 0.5
    return lambda images: scale * torch.exp(spec.temperature_spread * project(images)).unsqueeze(-1)


def projection(data: Dataset) -> Callable[[Tensor], Tensor]:
    """h: a fixed random direction of pixel space, standardised on validation data.

    Returns:
        A function from normalised images (N, ...) to (N,) float32, of mean 0 and standard deviation 1 over the first
        1000 rows of the validation split.
    """
    val = normalise(data.splits["val"].images[:1000], data).flatten(1)
    direction = torch.randn(val.shape[1], generator=stream(0, "projection", 0)).to(val.device)
    reference = val @ direction
    centre, width = reference.mean(), reference.std()
    return lambda images: (images.flatten(1) @ direction - centre) / width


def projected(h: Callable[[Tensor], Tensor], data: Dataset, images: Images, batch: int = 1024) -> Tensor:
    """h of raw images, (N,) float32 on the CPU, batch by batch: a test split may not fit the device whole."""
    return torch.cat([h(normalise(chunk, data)).cpu() for chunk in images.split(batch)])


def matched_sigma(teacher: Teacher, spec: RunSpec, data: Dataset) -> float:
    """Return the noise of ``kd_noise``: the smallest at which the teacher is as uncertain on noisy images as on mixed ones.

    Uncertain means the mean entropy of its answers on validation images.

    Args:
        teacher: with the tempering of ``spec.teacher`` in place.
        spec: whose alpha, lam_per and partial say how images would be mixed.
        data: its validation split is used, at most 1000 images.

    Returns:
        sigma > 0, in units of normalised images.

    Raises:
        UnreachableControl: if no sigma up to :data:`mixkd.evaluate.NOISE_MAX` reaches that entropy, or clean images have it already.
    """
    assert spec.teacher is not None
    images = normalise(data.splits["val"].images[:1000], data)
    temperature = teacher.temperatures.get(spec.teacher)
    mixing = draw_mixing(len(images), spec.alpha, stream(0, "sigma mixing", 0), per=spec.lam_per, partial=spec.partial)
    noise = torch.randn(images.shape, generator=stream(0, "sigma noise", 0)).to(images.device)

    def entropy(x: Tensor) -> float:
        logits = torch.cat([teacher.network(chunk) for chunk in x.split(256)])
        if temperature is not None:
            logits = logits / temperature(x)
        log_p = logits.double().log_softmax(-1)
        return float(-(log_p.exp() * log_p).sum(-1).mean())

    target = entropy(mix(images, mixing.lam.to(images.device), mixing.partner.to(images.device)))
    sigma = first_crossing(lambda sigma: entropy(images + sigma * noise) - target)
    if sigma is None:
        raise UnreachableControl(
            f"the teacher's mean entropy is {target:.3f} nats on mixed validation images and {entropy(images):.3f} on clean ones; no noise "
            f"up to sigma = {NOISE_MAX:g} brings it there from below, so the control kd_noise does not exist for this teacher"
        )
    return sigma
