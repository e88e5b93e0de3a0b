"""Named data sets with fixed splits: embedded ones, torchvision's, folders or zips of images as whole tensors, and big folders, ImageNet
among them, as files that are decoded on the way. Nothing here lets the test split decide anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.draws import send
from mixkd.folders import Folder, decoded, find
from mixkd.spec import Augmentation, nearest
from mixkd.streaming import DRAWS, ImageFiles, random_box

NAMES = ("digits", "gaussians", "gaussians16", "cifar10", "cifar100", "imagenet")
Images = Tensor | ImageFiles
RESIZING = ("resize_crop_flip", "resized_crop_flip")
"""Augmentations that enlarge images themselves."""
CACHE = Path.home() / ".cache" / "mixkd"


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set, in a fixed mixed order of which every stretch has nearly the class shares of the whole.

    Attributes:
        images: (N, C, H, W) uint8, in memory or as files that are decoded when used, or (N, d) float32 for ``gaussians``.
        labels: (N,) int64; -1 for images of no class (split "ood").
    """

    images: Images
    labels: Tensor

    @property
    def pixels(self) -> Tensor:
        """The images as a tensor; TypeError where they lie in files that are decoded when used."""
        if isinstance(self.images, ImageFiles):
            raise TypeError(f"the {len(self.labels)} images of this split lie in files; decode them batch by batch")
        return self.images

    def to(self, device: torch.device | str) -> Split:
        """The same rows on a device."""
        return Split(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set in memory (or mapped into it).

    Attributes:
        name: as pages call it.
        identity: what a spec stores: a plain name, or "folder:NAME@DIGEST", which no path enters.
        classes: name of each class, by label.
        splits: "train", "val", "test", "train_eval" (the first training rows, at most 1,000, for reporting); "skipped" (the first of the
            training rows that were passed over, at most 1,000) where some were; "ood" and "corrupted" for digits.
        mean, std: per channel, of pixels on the scale 0 to 1; for vectors 0 and 1, per coordinate.
        views: how many fixed transforms each test image is seen under; all images of view 0 come first, then all of view 1, and so on.
        enlarged: side to which images are enlarged on the device when they are normalised, or None.
    """

    name: str
    identity: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    views: int = 1
    enlarged: int | None = None

    @property
    def n_classes(self) -> int:
        return len(self.classes)

    @property
    def channels(self) -> int:
        """Channels of an image, or coordinates of a vector."""
        return self.splits["train"].images.shape[1]

    @property
    def image_size(self) -> int:
        """Side in pixels, as networks see them; 0 for vectors."""
        images = self.splits["train"].images
        return self.enlarged or (images.shape[2] if images.ndim == 4 else 0)

    @property
    def test_images(self) -> int:
        """Number of distinct test images: the rows of one view."""
        return len(self.splits["test"].labels) // self.views

    def to(self, device: torch.device | str) -> Dataset:
        """The same data with every split on a device."""
        return replace(self, splits={name: split.to(device) for name, split in self.splits.items()})


def load_data(
    name: str,
    image_size: int | None = None,
    train_size: int | None = None,
    train_skip: int = 0,
    root: str | Path | None = None,
    cache: str | Path | None = None,
) -> Dataset:
    """A data set by name; loaded once per process, so its tensors are not to be written to.

    Args:
        name: "digits", "gaussians", "gaussians16", "cifar10", "cifar100", "imagenet", or "folder:PATH" for a directory or zip with
            train/CLASS/* and test/CLASS/* (or val/CLASS/*), at its top or inside one folder. "folder:NAME@DIGEST"
            checks the content against the digest. "stream:PATH" is the same for a directory too big for memory.
        image_size: for folders: images are resized (short side, antialiased) and cropped at the centre to so many px. Streamed ones
            show the central 7/8 of the short side (224 px if not given); CIFAR images are enlarged on the device.
        train_size: keep so many training rows, a fixed stratified choice that holds every smaller one; None keeps all that are left.
        train_skip: training rows passed over first, so that two networks can learn from disjoint images.
        root: where a relative folder or zip is looked for (else the working directory); where torchvision's files lie.
        cache: folder of decoded images and downloads; ``CACHE`` when not given.

    Raises:
        ValueError: unknown name, option the data does not take, folder or image that cannot be used (named).
        FileNotFoundError: nothing lies where it was looked for, or a download failed; with the command that gets it.
    """
    cache = Path(cache) if cache is not None else CACHE
    if name.startswith("folder:"):
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size = {image_size}: must be at least 1")
        data = _folder(find(name, root, cache), image_size, cache)
    elif name.startswith("stream:") or name == "imagenet":
        data = _stream(find(name, root, cache), image_size or 224)
    else:
        _known(name)
        if name == "digits":
            data = _digits()
        elif name in _GAUSSIANS:
            data = _gaussians(name)
        else:
            data = _cifar(name, Path(root).expanduser() if root is not None else cache)
            if image_size is not None and image_size > data.image_size:
                data = replace(data, enlarged=image_size)
        if image_size not in (None, data.image_size):
            own = f"{data.image_size} px" if data.image_size else "vectors"
            raise ValueError(f"image_size = {image_size}: {name} is {own} and is not resized (folder:PATH is)")
    return data if train_size is None and not train_skip else _part(data, train_size, train_skip)


def data_identity(name: str, root: str | Path | None = None, cache: str | Path | None = None) -> str:
    """What a spec stores for a data name: a plain name as it is, "folder:NAME@DIGEST" for a folder or zip.

    The digest covers the images and their paths below the folder that holds train/; a zip has the digest of its tree. That of
    "stream:NAME@DIGEST" covers paths and sizes of the files only, as reading them all would take hours.

    Raises:
        ValueError, FileNotFoundError: as :func:`load_data`.
    """
    if name.startswith(("folder:", "stream:")):
        return find(name, root, Path(cache) if cache is not None else CACHE).identity
    return _known(name)


def _known(name: str) -> str:
    if name not in NAMES:
        allowed = f"{', '.join(NAMES)}, folder:PATH, or stream:PATH"
        raise ValueError(f"unknown data {name!r}: must be one of {allowed}{nearest(name, NAMES)}")
    return name


def normalise(images: Images, data: Dataset, enlarge: bool = True) -> Tensor:
    """Zero mean and unit deviation per channel, in float32 on the images' device.

    Args:
        images: (N, C, H, W) uint8 or float on the scale 0 to 1, or (N, d) float; files are decoded.
        data: whose ``mean`` and ``std`` apply.
        enlarge: whether images of a data set that is enlarged are.
    """
    if isinstance(images, ImageFiles):
        images = images.decode()
    unit = 1.0 if images.is_floating_point() else 255.0
    scale, shift = _affine(data.mean, data.std, unit, images.ndim, images.device)
    normalised = torch.addcmul(shift, images.float(), scale)
    return _enlarged(normalised, data.enlarged) if enlarge and data.enlarged else normalised


def _enlarged(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


@lru_cache(maxsize=64)
def _affine(mean: tuple[float, ...], std: tuple[float, ...], unit: float, ndim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Kept on the device: a fresh copy for each batch would make the host wait for it."""
    with torch.inference_mode(False):  # else a first call from an evaluation would leave tensors no gradient may pass
        m, s = torch.tensor([mean, std], dtype=torch.float64).view(2, 1, len(mean), *[1] * (ndim - 2))
        return (1 / (unit * s)).float().to(device), (-m / s).float().to(device)


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
        images = _enlarged(images, round(size * 236 / 224))
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
    """The crops of a streamed data set, with the same draws, cut by resampling on the device."""
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


def gaussian_classes(name: str) -> tuple[Tensor, Tensor]:
    """Class means, (K, d), and the covariance they share, (d, d), in float64. All classes are equally likely.

    Args:
        name: "gaussians" (2-D, five means on a ring) or "gaussians16" (16-D, eight means). Bayes accuracy 85 %.
    """
    if name not in _GAUSSIANS:
        raise ValueError(f"unknown density {name!r}: must be one of {', '.join(_GAUSSIANS)}{nearest(name, _GAUSSIANS)}")
    means, covariance = _GAUSSIANS[name]()
    return torch.from_numpy(means), torch.from_numpy(covariance)


def gaussian_log_posterior(name: str, x: Tensor) -> Tensor:
    """The exact log p(class | x) at any input, mixed ones included.

    With shared covariance S the Bayes logits x' S^-1 m - m' S^-1 m / 2 are linear in x.

    Args:
        name: "gaussians" or "gaussians16".
        x: (N, d), as the splits hold it.

    Returns:
        (N, K) float64, normalised in each row, on the device of ``x``.
    """
    means, covariance = (part.to(x.device) for part in gaussian_classes(name))
    weights = torch.linalg.solve(covariance, means.T)
    logits: Tensor = x.double() @ weights - (means * weights.T).sum(1) / 2
    return logits.log_softmax(1)


def _order(labels: np.ndarray, seed: int) -> np.ndarray:
    """A fixed random order in which any stretch has nearly the class shares of the whole.

    The k-th of the n images of a class lands at a random place in the k-th n-th part of the order. So cutting the order
    gives stratified splits, and its beginnings are nested stratified subsets. NumPy has frozen RandomState's streams.
    """
    random = np.random.RandomState(seed)
    key = np.empty(len(labels))
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        key[members] = (np.arange(len(members)) + random.uniform(size=len(members))) / len(members)
    return np.argsort(key, kind="stable")


def _part(data: Dataset, train_size: int | None, train_skip: int) -> Dataset:
    """The training rows from `train_skip` on, `train_size` of them; what was passed over can be asked about as "skipped"."""
    train = data.splits["train"]
    most = len(train.labels) - data.n_classes
    if not 0 <= train_skip <= most:
        raise ValueError(f"train_skip = {train_skip}: {data.name} allows 0 to {most}, so that one row a class is left")
    left = len(train.labels) - train_skip
    size = left if train_size is None else train_size
    if not data.n_classes <= size <= left:
        after = f" after {train_skip} are skipped" if train_skip else ""
        raise ValueError(f"train_size = {size}: {data.name} allows {data.n_classes} (one per class) to {left}{after}")
    rows = slice(train_skip, train_skip + size)
    splits = _with_train_eval({**data.splits, "train": Split(train.images[rows], train.labels[rows])})
    if train_skip:
        passed = slice(min(train_skip, REPORTED_ROWS))
        splits["skipped"] = Split(train.images[passed], train.labels[passed])
    return replace(data, splits=splits)


REPORTED_ROWS = 1000
"""How many training rows are reported on, at most."""


def _with_train_eval(splits: Mapping[str, Split]) -> dict[str, Split]:
    train = splits["train"]
    return {**splits, "train_eval": Split(train.images[:REPORTED_ROWS], train.labels[:REPORTED_ROWS])}


# --- digits -----------------------------------------------------------------------------------------------------------

_N_TRAIN, _N_TEACHING, _N_VAL, _N_SHIFTED = 200, 600, 200, 150
_VIEWS = 2
ROTATION, SHIFT, SCALE = 15.0, 1.6, 0.15  # degrees, pixels, share of the size: the largest of each
_CORRUPTED_SD = 0.45


@lru_cache(maxsize=1)
def _digits() -> Dataset:
    """scikit-learn's 8x8 digits, each under one fixed random rotation, shift and scale; no pixel noise.

    The first 200 training rows are images of their own, each once: a student fits so few and is overconfident. The other 600 images follow
    under two transforms each: a teacher that skips the first 200 rows never saw its students' images, is clearly better, and finds
    blends strange. (Pixel noise would be averaged away by blending, and make blends easier than images.)
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = _order(bunch.target, seed=0)
    clean, labels = (bunch.images / 16)[order], bunch.target[order].astype(np.int64)
    ends = np.cumsum([_N_TRAIN, _N_TEACHING, _N_VAL])
    own, teaching, val, test = (slice(*cut) for cut in zip([0, *ends], [*ends, len(labels)], strict=True))

    def split(images: np.ndarray, targets: np.ndarray) -> Split:
        return Split(torch.from_numpy(np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8))[:, None], torch.from_numpy(targets))

    def seen(rows: slice, views: int, key: int) -> tuple[np.ndarray, np.ndarray]:
        images = np.concatenate([_moved(clean[rows], np.random.RandomState((key, view))) for view in range(views)])
        return images, np.tile(labels[rows], views)

    (first, first_labels), (rest, rest_labels) = seen(own, 1, 1), seen(teaching, 2, 2)
    mixed = _order(rest_labels, seed=1)
    test_images, test_labels = seen(test, _VIEWS, 4)
    noise = np.random.RandomState(5).normal(scale=_CORRUPTED_SD, size=test_images[:_N_SHIFTED].shape)
    splits = {
        "train": split(np.concatenate([first, rest[mixed]]), np.concatenate([first_labels, rest_labels[mixed]])),
        "val": split(*seen(val, _VIEWS, 3)),
        "test": split(test_images, test_labels),
        "ood": split(_scrambled(test_images[:_N_SHIFTED]), np.full(_N_SHIFTED, -1)),
        "corrupted": split(test_images[:_N_SHIFTED] + noise, test_labels[:_N_SHIFTED]),
    }
    train = splits["train"].images
    assert isinstance(train, Tensor)
    mean, std = _moments(train)
    classes = tuple(str(digit) for digit in range(10))
    return Dataset("digits", "digits", classes, _with_train_eval(splits), mean, std, _VIEWS)


def _moved(images: np.ndarray, random: np.random.RandomState) -> np.ndarray:
    """Each (N, 8, 8) image under a rotation, shift and scale of its own, bilinear, dark outside."""
    n, side = images.shape[:2]
    angle = np.deg2rad(random.uniform(-ROTATION, ROTATION, n))
    scale = 1 + np.asarray(random.uniform(-SCALE, SCALE, n))
    shift = random.uniform(-SHIFT, SHIFT, (n, 2)) * 2 / side
    turn = np.stack([np.cos(angle), -np.sin(angle), shift[:, 0], np.sin(angle), np.cos(angle), shift[:, 1]], 1).reshape(n, 2, 3)
    turn[:, :, :2] /= scale[:, None, None]
    grid = F.affine_grid(torch.from_numpy(turn), [n, 1, side, side], align_corners=False)
    return F.grid_sample(torch.from_numpy(images)[:, None], grid, align_corners=False)[:, 0].numpy()


def _scrambled(images: np.ndarray) -> np.ndarray:
    """The 2x2 patches of each image in an order of its own: the same pixels and strokes, but no digit."""
    random = np.random.RandomState(6)
    patches = images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 16, 2, 2)
    moved = np.stack([image[random.permutation(16)] for image in patches])
    return moved.reshape(-1, 4, 4, 2, 2).swapaxes(2, 3).reshape(-1, 8, 8)


def _moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel on the scale 0 to 1, to 4 decimals; exact counts, so the same everywhere."""
    values = np.arange(256) / 255
    mean, std = [], []
    for channel in images.unbind(1):
        share = torch.bincount(channel.reshape(-1), minlength=256).numpy() / channel.numel()
        centre = float(share @ values)
        mean.append(round(centre, 4))
        std.append(max(round(float(share @ (values - centre) ** 2) ** 0.5, 4), 1e-4))  # a blank channel stays finite
    return tuple(mean), tuple(std)


# --- gaussians --------------------------------------------------------------------------------------------------------


def _ring() -> tuple[np.ndarray, np.ndarray]:
    angle = np.pi / 2 + 2 * np.pi * np.arange(5) / 5
    return 2.45 * np.stack([np.cos(angle), np.sin(angle)], axis=1), np.eye(2)


def _cloud() -> tuple[np.ndarray, np.ndarray]:
    lag = np.abs(np.subtract.outer(np.arange(16), np.arange(16)))
    return 0.65 * np.random.RandomState(16).normal(size=(8, 16)), 0.5**lag


# The radius and the scale put the Bayes accuracy at 85 %.
_GAUSSIANS: Mapping[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {"gaussians": _ring, "gaussians16": _cloud}
_GAUSSIAN_ROWS = {"train": 400, "val": 500, "test": 2000}  # little training data makes a network overconfident


@lru_cache(maxsize=2)
def _gaussians(name: str) -> Dataset:
    means, covariance = _GAUSSIANS[name]()
    n_classes, d = means.shape
    root = np.linalg.cholesky(covariance)
    splits = {}
    for key, (split, n) in enumerate(_GAUSSIAN_ROWS.items()):
        random = np.random.RandomState((7, key))
        labels = np.arange(n) % n_classes
        labels = labels[_order(labels, seed=key)]
        x = means[labels] + random.normal(size=(n, d)) @ root.T
        splits[split] = Split(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(labels))
    classes = tuple(f"class {label}" for label in range(n_classes))
    return Dataset(name, name, classes, _with_train_eval(splits), (0.0,) * d, (1.0,) * d)


# --- torchvision ------------------------------------------------------------------------------------------------------

_CIFAR = {  # class in torchvision, the literature's mean and deviation
    "cifar10": ("CIFAR10", (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ("CIFAR100", (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
}


@lru_cache(maxsize=2)
def _cifar(name: str, root: Path) -> Dataset:
    kind, mean, std = _CIFAR[name]
    parts = [_torchvision(kind, root, train) for train in (True, False)]
    pixels, labels = ([np.asarray(getattr(part, field)) for part in parts] for field in ("data", "targets"))
    n_val = _validation_size(len(labels[0]))
    order = _order(labels[0], seed=0)
    rows = {"train": (0, order[n_val:]), "val": (0, order[:n_val]), "test": (1, _order(labels[1], seed=0))}
    splits = {
        split: Split(
            torch.from_numpy(np.ascontiguousarray(pixels[part][index].transpose(0, 3, 1, 2))),
            torch.from_numpy(labels[part][index].astype(np.int64)),
        )
        for split, (part, index) in rows.items()
    }
    return Dataset(name, name, tuple(parts[0].classes), _with_train_eval(splits), mean, std)


def _torchvision(kind: str, root: Path, train: bool) -> Any:
    from torchvision import datasets

    make = getattr(datasets, kind)
    try:
        return make(root, train=train, download=False)
    except RuntimeError:  # not there yet
        pass
    try:
        return make(root, train=train, download=True)
    except (OSError, RuntimeError) as error:
        command = f"""python -c 'from torchvision.datasets import {kind}; {kind}("{root}", download=True)'"""
        raise FileNotFoundError(
            f"{kind} is not in {root} and could not be downloaded ({error}). Where there is a network, run: {command}"
        ) from error


def _validation_size(n: int) -> int:
    """How many of n training images are set aside for validation: 10 %, at most 5,000."""
    return min(5000, max(1, n // 10))


# --- folders and zips of images ---------------------------------------------------------------------------------------

_MOMENT_ROWS = 10_000  # the first of the training rows, a stratified choice, are enough for four decimals


def _arranged(folder: Folder) -> tuple[list[str], Tensor, dict[str, slice]]:
    """All files in the order of the splits, their labels, and which stretch each split is."""
    files: list[str] = []
    labels: list[int] = []
    stretches: dict[str, slice] = {}
    position = {label: i for i, label in enumerate(folder.classes)}
    for part, members in folder.members.items():
        targets = np.array([position[file.split("/")[1]] for file in members])
        order = _order(targets, seed=0)
        n_val = _validation_size(len(members)) if part == "train" and "val" not in folder.members else 0
        order = np.concatenate([order[n_val:], order[:n_val]])
        start, middle = len(files), len(files) + len(members) - n_val
        files += [members[i] for i in order]
        labels += targets[order].tolist()
        stretches[part] = slice(start, middle)
        if n_val:
            stretches["val"] = slice(middle, len(files))
    return files, torch.tensor(labels), stretches


@lru_cache(maxsize=4)
def _folder(folder: Folder, image_size: int | None, cache: Path) -> Dataset:
    """The rows lie in the cache in the order of the splits, so that every split is a stretch of one mapped file."""
    files, labels, stretches = _arranged(folder)
    pixels = decoded(folder, files, image_size, cache)
    splits = {part: Split(pixels[rows], labels[rows]) for part, rows in stretches.items()}
    train = splits["train"].images
    assert isinstance(train, Tensor)
    mean, std = _moments(train[:_MOMENT_ROWS])
    return Dataset(folder.name, folder.identity, folder.classes, _with_train_eval(splits), mean, std)


# --- directories too big for memory -----------------------------------------------------------------------------------

_IMAGENET_STATISTICS = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the literature's, for every streamed tree


@lru_cache(maxsize=4)
def _stream(folder: Folder, size: int) -> Dataset:
    files, labels, stretches = _arranged(folder)
    images = ImageFiles(folder.path / folder.prefix, files, size)
    splits = {part: Split(images[rows], labels[rows]) for part, rows in stretches.items()}
    identity = "imagenet" if folder.kind == "imagenet" else folder.identity
    name = "imagenet" if folder.kind == "imagenet" else folder.name
    return Dataset(name, identity, folder.classes, _with_train_eval(splits), *_IMAGENET_STATISTICS)
