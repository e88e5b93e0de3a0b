"""Images on disk that stand in for a uint8 tensor of them: decoded when asked for, ahead of time, by threads.

For trees too big for memory. Keeps no state between requests: which pixels come back depends on the request alone, so a resumed run
sees what an uninterrupted one does. Refuses to guess: a file that is no image ends the run with its name.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
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

Box = tuple[int, int, int, int]  # left, top, width, height


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
    """Whether the first 16 bytes of a file are those of an image of those formats."""
    return any(accept is not None and bool(accept(head)) for name in image_formats() for accept in [Image.OPEN[name][1]])


def oriented(image: Image.Image) -> int:
    """Return the orientation that the EXIF block of an image gives, 1 to 8; 1 where it has none or a broken one."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # a broken block stops nobody from reading the pixels
        return 1


def upright(image: Image.Image) -> Image.Image:
    """Return an image in RGB, turned as its EXIF block says; what is transparent shows white."""
    turn = _TURNS.get(oriented(image))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    image = image.convert("RGB")
    return image if turn is None else image.transpose(turn)


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def explain_unreadable(error: Exception) -> str:
    """Return why an image cannot be read; Pillow says only that it cannot."""
    return f"it is none of {', '.join(image_formats())}" if isinstance(error, UnidentifiedImageError) else str(error)


def random_box(draws: Sequence[float], width: int, height: int) -> Box:
    """The crop of Szegedy et al. (2015): 8 to 100 % of the area, sides from 3:4 to 4:3, anywhere.

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
    """The central square over CENTRE of the shorter side: what resizing that side to 256 and cropping 224 shows."""
    side = round(min(width, height) * CENTRE)
    return (width - side) // 2, (height - side) // 2, side, side


class ImageFiles:
    """Rows of a data set that lie in files. Indexing and slicing choose rows and read nothing; `start` and `split` decode.

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
        """The same rows, decoded to a device."""
        return ImageFiles(self.root, self.files, self.size, self.rows, device)

    def start(self, draws: Tensor | None = None) -> Callable[[], Tensor]:
        """Begin to decode all rows; what is returned waits for them.

        Args:
            draws: (N, DRAWS) on the CPU, for a random crop of each image (not its flip); central crops where not given.

        Returns:
            A function to (N, 3, size, size) uint8 on the device.

        Raises:
            ValueError: from that function, for a file that cannot be read as an image.
        """
        pixels = torch.empty(tuple(self.shape), dtype=torch.uint8, pin_memory=self.device.type == "cuda")
        out, rows = pixels.numpy(), self.rows.tolist()
        numbers = None if draws is None else draws.tolist()

        def group(start: int) -> None:
            for i in range(start, min(start + _GROUP, len(rows))):
                box = central_box if numbers is None else partial(random_box, numbers[i])
                out[i] = _pixels(self.root / self.files[rows[i]], self.size, box)

        tasks: list[Future[None]] = [_pool().submit(group, start) for start in range(0, len(rows), _GROUP)]

        def finish() -> Tensor:
            for task in tasks:
                task.result()
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


def _pixels(path: Path, size: int, choose: Callable[[int, int], Box]) -> np.ndarray:
    """One crop of one image, upright, as (3, size, size) uint8."""
    try:
        with Image.open(path, formats=image_formats()) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"{image.mode} pixels of more than 8 bits are not supported")
            turned = oriented(image) >= 5
            width, height = image.size[::-1] if turned else image.size
            left, top, w, h = choose(width, height)
            fine = 2 * size / min(w, h)
            if fine < 1:  # a large JPEG is decoded at a half, a quarter, ... of its size: never below twice what is kept
                image.draft("RGB", (int(fine * image.width), int(fine * image.height)))
            standing = upright(image)
            x, y = standing.width / width, standing.height / height
            crop = standing.resize((size, size), Image.Resampling.BILINEAR, box=(left * x, top * y, (left + w) * x, (top + h) * y))
            return np.asarray(crop).transpose(2, 0, 1)
    except Exception as error:  # on damaged files Pillow raises almost anything
        raise ValueError(f"{printable(str(path))} cannot be read as an image ({explain_unreadable(error)})") from error
