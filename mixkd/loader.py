"""The batches of a run, in order, each a function of (spec, data, step) alone: drawn, augmented, normalised on the device.

The same loop for data in memory and for images on disk, which are decoded ahead. Knows no model and no loss.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mixkd.data import RESIZING, Dataset, augment, normalise
from mixkd.draws import send, stream
from mixkd.spec import RunSpec
from mixkd.streaming import DRAWS, ImageFiles, ahead


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's images.

    Attributes:
        step: counted from 0.
        images: (N, C, H, W) or (N, d) float32, augmented and normalised.
        labels: (N,) int64.
    """

    step: int
    images: Tensor
    labels: Tensor


def batches(spec: RunSpec, data: Dataset, first: int, last: int, part: slice = slice(None), purpose: str = "") -> Iterator[Batch]:
    """The batches of steps first ... last - 1. Every epoch has an order of its own, and its incomplete batch is dropped.

    Args:
        spec: its seed, batch size and augmentation.
        data: on the device that trains.
        first: where a resumed run goes on; the batches do not depend on it.
        last: end of the run.
        part: which rows of each batch; all of them unless processes share a run.
        purpose: what such a process adds to the purpose of its draws, so that they are its own.
    """
    train = data.splits["train"]
    if isinstance(train.images, ImageFiles):
        yield from _decoded(spec, data, train.images, first, last, part, purpose)
        return
    for step, rows in _rows(spec, len(train.labels), first, last, part, train.labels.device):
        images = normalise(train.images[rows], data, enlarge=spec.augment not in RESIZING)
        images = augment(images, stream(spec.seed, "augment" + purpose, step), spec.augment, data.image_size)
        yield Batch(step, images, train.labels[rows])


def _rows(spec: RunSpec, n: int, first: int, last: int, part: slice, device: torch.device | str) -> Iterator[tuple[int, Tensor]]:
    """Step and rows, on the device."""
    per_epoch = n // spec.batch_size
    order, order_epoch = torch.empty(0), -1
    for step in range(first, last):
        epoch, position = divmod(step, per_epoch)
        if epoch != order_epoch:
            order = send(torch.randperm(n, generator=stream(spec.seed, "order", epoch)), torch.device(device))
            order_epoch = epoch
        yield step, order[position * spec.batch_size : (position + 1) * spec.batch_size][part]


def _decoded(spec: RunSpec, data: Dataset, files: ImageFiles, first: int, last: int, part: slice, purpose: str) -> Iterator[Batch]:
    """A random crop is cut while its file is decoded, out of all its pixels; flips and everything after happen on the device."""
    labels = data.splits["train"].labels
    crops = spec.augment == "resized_crop_flip"
    walk, preview = (_rows(spec, len(labels), first, last, part, "cpu") for _ in range(2))

    def draws(step: int, n: int) -> Tensor:
        return torch.rand(n, DRAWS, generator=stream(spec.seed, "augment" + purpose, step))

    def start(step: int, rows: Tensor) -> Callable[[], Tensor]:
        return files[rows].start(draws(step, len(rows)) if crops else None)

    for pixels, (step, rows) in zip(ahead(partial(start, *job) for job in preview), walk, strict=True):
        images = normalise(pixels, data)
        if crops:
            flip = send((draws(step, len(rows))[:, -1] < 0.5).view(-1, 1, 1, 1), images.device)
            images = torch.where(flip, images.flip(3), images)
        else:
            images = augment(images, stream(spec.seed, "augment" + purpose, step), spec.augment, data.image_size)
        yield Batch(step, images, labels[send(rows, labels.device)])
