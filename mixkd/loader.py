"""The batches of a run, in order, each a function of (spec, data, step) alone: drawn, augmented, normalised on the device.

The same loop for data in memory and for images on disk, which are decoded ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.data import Dataset, normalise, resized
from mixkd.draws import send, stream
from mixkd.images import DRAWS, ImageFiles, ahead, random_box
from mixkd.spec import Augmentation, RunSpec

RESIZING = ("resize_crop_flip", "resized_crop_flip")
"""Augmentations that enlarge images themselves."""


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
    """Yield the batches of steps first ... last - 1. Every epoch has its own order, and its incomplete batch is dropped.

    Args:
        spec: its seed, batch size and augmentation.
        data: on the device that trains.
        first: where a resumed run goes on; a step's batch does not depend on it.
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
    """Yield batches of decoded files: random crops are cut while decoding, from all pixels; the rest runs on the device."""
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


def augment(images: Tensor, generator: torch.Generator, kind: Augmentation, size: int | None = None) -> Tensor:
    """Random crops and horizontal flips: one gather, or one resampling, for the whole batch.

    Args:
        images: (N, C, H, W) of any dtype, on any device; those of "crop_flip" are of 16 px or more. "none" takes vectors too.
        generator: on the CPU, so that every device sees the same draws.
        kind: "none" draws nothing, "flip", "crop_flip" (out of images padded by 4 zeros on each side: black for raw pixels, the
            mean colour for normalised ones), "resize_crop_flip" (out of images enlarged to 236/224 of ``size``), or "resized_crop_flip"
            (a random part of 8 to 100 % of the area and of a shape from 3:4 to 4:3, enlarged to ``size``).
        size: side of the crop for the last two, in px; the images' own if not given.
    """
    if kind not in get_args(Augmentation):
        raise ValueError(f"augment = {kind!r}: must be one of {', '.join(get_args(Augmentation))}")
    if kind == "none":
        return images
    if images.ndim != 4:
        raise ValueError(f"augment = {kind!r}: needs images (N, C, H, W), got {tuple(images.shape)}; vectors take 'none'")
    size = size or images.shape[2]
    if kind == "resized_crop_flip":
        return _resized_crops(images, generator, size)
    if kind == "resize_crop_flip":
        images = resized(images, round(size * 236 / 224))
    n, channels, height, width = images.shape
    pad = 4 if kind == "crop_flip" else 0
    if pad and min(height, width) < 16:
        raise ValueError(f"augment = 'crop_flip': needs images of 16 px or more, got {height} x {width}; try 'none'")
    room = images.shape[2] - size if kind == "resize_crop_flip" else 2 * pad
    rows_out, columns_out = height + 2 * pad - room, width + 2 * pad - room
    flip = torch.randint(2, (n, 1), generator=generator, dtype=torch.bool)
    rows, columns = torch.arange(rows_out).repeat(n, 1), torch.arange(columns_out)  # expanded, it could not be pinned
    columns = torch.where(flip, columns.flip(0), columns)
    if room:
        corner = torch.randint(room + 1, (2, n, 1), generator=generator)
        rows, columns = rows + corner[0], columns + corner[1]
    columns, rows = send(columns, images.device), send(rows, images.device)
    index = rows[:, :, None] * (width + 2 * pad) + columns[:, None, :]
    padded = F.pad(images, (pad,) * 4).flatten(2)
    return padded.gather(2, index.view(n, 1, -1).expand(-1, channels, -1)).view(n, channels, rows_out, columns_out)


def _resized_crops(images: Tensor, generator: torch.Generator, size: int) -> Tensor:
    """Cut the random crops of a streamed data set, with the same draws, by resampling on the device."""
    n, channels, height, width = images.shape
    draws = torch.rand(n, DRAWS, generator=generator)
    left, top, w, h = torch.tensor([random_box(row, width, height) for row in draws.tolist()], dtype=torch.float32).T
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = torch.where(draws[:, -1] < 0.5, -w, w) / width
    theta[:, 0, 2] = (2 * left + w) / width - 1
    theta[:, 1, 1] = h / height
    theta[:, 1, 2] = (2 * top + h) / height - 1
    grid = F.affine_grid(send(theta, images.device), [n, channels, size, size], align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
