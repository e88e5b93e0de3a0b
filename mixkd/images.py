"""Decode images: one from bytes or a file, and rows of a data set that lie in files, ahead of time, by threads.

Which pixels come back depends on the request alone, so a resumed run sees what an uninterrupted one does.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import IO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from mixkd.spec import printable

AHEAD = 3
"""Batches that are being decoded while one is in use."""
TRIES = 10
DRAWS = 2 * TRIES + 3
"""Uniform numbers that decide one random crop: ten tries of area and shape, a place, a flip."""
CENTRE = 7 / 8
"""Share of the shorter side that a central crop shows: 224 of 256, as on ImageNet."""
_GROUP = 8  # images of one task: fewer make the bookkeeping dear, more leave threads without work

_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF")
_MOVE = Image.Transpose
_TURNS = {  # by the orientation of the EXIF block
    2: _MOVE.FLIP_LEFT_RIGHT, 3: _MOVE.ROTATE_180, 4: _MOVE.FLIP_TOP_BOTTOM,
    5: _MOVE.TRANSPOSE, 6: _MOVE.ROTATE_270, 7: _MOVE.TRANSVERSE, 8: _MOVE.ROTATE_90,
}  # fmt: skip

Box = tuple[int, int, int, int]  # left, top, width, height
Cut = Callable[[Image.Image], Image.Image]


# --- one image --------------------------------------------------------------------------------------------------------


@cache
def image_formats() -> tuple[str, ...]:
    """Return the formats that images are read in, whatever the files are called: those of a fixed list that Pillow has.

    Left to itself Pillow tries all it knows, and hands a PostScript file named .png to Ghostscript.
    """
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


@cache
def suffixes() -> frozenset[str]:
    """Return the endings of file names, in lower case, of those formats."""
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in image_formats())


def looks_like_an_image(head: bytes) -> bool:
    """Return whether the first 16 bytes of a file are those of an image of those formats."""
    return any(accept is not None and bool(accept(head)) for name in image_formats() for accept in [Image.OPEN[name][1]])


def decode(file: Path | IO[bytes], where: str, cut: Cut) -> np.ndarray:
    """Return one image as (3, H, W) uint8.

    Args:
        file: path or content.
        where: what to call it in an error.
        cut: from the opened image to the RGB image that is wanted, see :func:`fitted` and :func:`cropped`.

    Raises:
        ValueError: it cannot be read as an image of those formats, 8 bits a channel.
    """
    try:
        with Image.open(file, formats=image_formats()) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"{image.mode} pixels of more than 8 bits are not supported")
            return np.asarray(cut(image)).transpose(2, 0, 1)
    except Exception as error:  # on damaged files Pillow raises almost anything
        unknown = isinstance(error, UnidentifiedImageError)
        reason = f"it is none of {', '.join(image_formats())}" if unknown else error
        raise ValueError(f"{printable(where)} cannot be read as an image ({reason})") from error


def fitted(image: Image.Image, size: int | None) -> Image.Image:
    """Return an image upright, resized by the short side and cropped at the centre to ``size`` pixels; None keeps it whole."""
    if size is None:
        return _upright(image)
    image.draft(None, (2 * size, 2 * size))  # a large JPEG is decoded at a fraction of its size
    image = _upright(image)
    return image if image.size == (size, size) else ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def cropped(image: Image.Image, size: int, choose: Callable[[int, int], Box]) -> Image.Image:
    """Return a box of an upright image, chosen by its width and height and resized to ``size`` pixels."""
    width, height = image.size[::-1] if _orientation(image) >= 5 else image.size
    left, top, w, h = choose(width, height)
    fine = 2 * size / min(w, h)
    if fine < 1:  # a large JPEG is decoded at a half, a quarter, ... of its size: never below twice what is kept
        image.draft("RGB", (int(fine * image.width), int(fine * image.height)))
    image = _upright(image)
    x, y = image.width / width, image.height / height
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left * x, top * y, (left + w) * x, (top + h) * y))


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken block stops nobody from reading the pixels
        return 1


def _upright(image: Image.Image) -> Image.Image:
    """In RGB, turned as its EXIF block says; what is transparent shows white."""
    turn = _TURNS.get(_orientation(image))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


def random_box(draws: Sequence[float], width: int, height: int) -> Box:
    """Return the crop of Szegedy et al. (2015): 8 to 100 % of the area, sides from 3:4 to 4:3, anywhere.

    Args:
        draws: DRAWS numbers in [0, 1). The first of TRIES shapes that fits is taken, else the largest central one of an allowed shape.
        width, height: of the image.
    """
    for i in range(TRIES):
        area, ratio = width * height * (0.08 + 0.92 * draws[2 * i]), 0.75 * (16 / 9) ** draws[2 * i + 1]
        w, h = round((area * ratio) ** 0.5), round((area / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            return int(draws[2 * TRIES] * (width - w + 1)), int(draws[2 * TRIES + 1] * (height - h + 1)), w, h
    w, h = min(width, round(height * 4 / 3)), min(height, round(width * 4 / 3))
    return (width - w) // 2, (height - h) // 2, w, h


def central_box(width: int, height: int) -> Box:
    """Return the central square over CENTRE of the shorter side: what resizing that side to 256 and cropping 224 shows."""
    side = round(min(width, height) * CENTRE)
    return (width - side) // 2, (height - side) // 2, side, side


# --- many, in files ---------------------------------------------------------------------------------------------------


class ImageFiles:
    """Rows of a data set too big for memory. Indexing and slicing choose rows and read nothing; `start` and `split` decode.

    Args:
        root: folder of the files.
        files: paths below it; shared by all selections.
        size: side of the decoded squares, in pixels.
        rows: which files, in order; all of them if not given.
        device: where decoded pixels go.
    """

    ndim = 4

    def __init__(self, root: Path, files: Sequence[str], size: int, rows: Tensor | None = None, device: torch.device | str = "cpu") -> None:
        self.root, self.files, self.size, self.device = root, files, size, torch.device(device)
        self.rows = torch.arange(len(files)) if rows is None else rows

    @property
    def shape(self) -> torch.Size:
        """(N, 3, size, size), of the tensor it stands for."""
        return torch.Size((len(self.rows), 3, self.size, self.size))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | Tensor) -> ImageFiles:
        chosen = self.rows[index.cpu() if isinstance(index, Tensor) else index]
        return ImageFiles(self.root, self.files, self.size, chosen, self.device)

    def to(self, device: torch.device | str) -> ImageFiles:
        """Return the same rows, decoded to a device."""
        return ImageFiles(self.root, self.files, self.size, self.rows, device)

    def start(self, draws: Tensor | None = None) -> Callable[[], Tensor]:
        """Begin to decode all rows; what is returned waits for them.

        Args:
            draws: (N, DRAWS) on the CPU, for a random crop of each image (not its flip); central crops where not given.

        Returns:
            A function to (N, 3, size, size) uint8 on the device. It raises ValueError for a file that cannot be read as an image.
        """
        pixels = torch.empty(tuple(self.shape), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        out, rows = pixels.numpy(), self.rows.tolist()
        boxes = [central_box] * len(rows) if draws is None else [partial(random_box, numbers) for numbers in draws.tolist()]

        def group(start: int) -> None:
            for i in range(start, min(start + _GROUP, len(rows))):
                path = self.root / self.files[rows[i]]
                out[i] = decode(path, str(path), partial(cropped, size=self.size, choose=boxes[i]))

        under_way = _pool().map(group, range(0, len(rows), _GROUP))

        def finish() -> Tensor:
            for _ in under_way:
                pass
            return pixels.to(self.device, non_blocking=True)

        return finish

    def decode(self) -> Tensor:
        """Central crops of all rows, (N, 3, size, size) uint8 on the device."""
        return self.start()()

    def split(self, batch: int) -> Iterator[Tensor]:
        """Central crops of all rows, so many at a time, in order; the next ones are decoded meanwhile."""
        return ahead(self[start : start + batch].start for start in range(0, len(self), batch))


def ahead(starts: Iterable[Callable[[], Callable[[], Tensor]]], depth: int = AHEAD) -> Iterator[Tensor]:
    """Run through pieces of work in order while the next ``depth`` are under way.

    Args:
        starts: each begins a piece and returns the function that waits for it.
    """
    running: deque[Callable[[], Tensor]] = deque()
    for start in starts:
        running.append(start())
        if len(running) > depth:
            yield running.popleft()()
    while running:
        yield running.popleft()()


@cache
def _pool() -> ThreadPoolExecutor:
    """One thread for each core: Pillow decodes and resizes outside the interpreter's lock."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return ThreadPoolExecutor(cores, thread_name_prefix="decode")
