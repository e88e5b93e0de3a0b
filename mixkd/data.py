"""Named data sets with fixed splits: embedded ones, torchvision's, and folders or zips of images, in memory or decoded when used.

Nothing here lets the test split decide anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.folders import Folder, decoded, find
from mixkd.gaussians import DENSITIES
from mixkd.gaussians import gaussian_classes as gaussian_classes
from mixkd.gaussians import gaussian_log_posterior as gaussian_log_posterior
from mixkd.images import ImageFiles
from mixkd.spec import nearest

NAMES = ("digits", "gaussians", "gaussians16", "cifar10", "cifar100", "imagenet")
Images = Tensor | ImageFiles
Statistics = tuple[tuple[float, ...], tuple[float, ...]]  # mean and std of each channel
REPORTED_ROWS = 1000
"""How many training rows are reported on, at most."""
CACHE = Path.home() / ".cache" / "mixkd"


@dataclass(frozen=True, eq=False)
class Split:
    """Rows of a data set in stratified order: any stretch has nearly the class shares of the whole.

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


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set.

    Attributes:
        name: as pages call it.
        identity: what a spec stores: a plain name, or "folder:NAME@DIGEST", without any path.
        classes: name of each class, by label.
        splits: "train", "val", "test", "train_eval" (the first training rows, at most 1,000, for reporting); "skipped" (the first of the
            training rows that were passed over, at most 1,000) where some were; "ood" and "corrupted" for digits.
        mean, std: per channel, of pixels on the scale 0 to 1; for vectors 0 and 1, per coordinate.
        views: number of fixed transforms of each test image: all images under view 0 come first, then all under view 1, and so on.
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
        """Return the same data with every split on a device."""
        return replace(self, splits={name: Split(part.images.to(device), part.labels.to(device)) for name, part in self.splits.items()})


def load_data(
    name: str,
    image_size: int | None = None,
    train_size: int | None = None,
    train_skip: int = 0,
    root: str | Path | None = None,
    cache: str | Path | None = None,
) -> Dataset:
    """Return a data set by name. It is loaded once per process, so its tensors are not to be written to.

    Args:
        name: "digits", "gaussians", "gaussians16", "cifar10", "cifar100", "imagenet", or "folder:PATH" for a directory or zip with
            train/CLASS/* and test/CLASS/* (or val/CLASS/*), at its top or inside one folder. "folder:NAME@DIGEST"
            checks the content against the digest. "stream:PATH" is the same for a directory too big for memory.
        image_size: in pixels. Images of folders are resized (short side, antialiased) and cropped at the centre; streamed ones show the
            central 7/8 of the short side (224 px if not given); CIFAR images are enlarged on the device.
        train_size: number of training rows, a stratified subset that holds every smaller one; None keeps all that are left.
        train_skip: training rows passed over first, so that two networks can learn from disjoint images.
        root: where a relative folder or zip is looked for (else the working directory); where torchvision's files lie.
        cache: folder of decoded images and downloads; ``CACHE`` when not given.

    Raises:
        ValueError: unknown name, option the data does not take, folder or image that cannot be used (named).
        FileNotFoundError: nothing lies where it was looked for, or a download failed; with the command that gets it.
    """
    cache = Path(cache) if cache is not None else CACHE
    if name.startswith(("folder:", "stream:")) or name == "imagenet":
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size = {image_size}: must be at least 1")
        data = _folder(find(name, root, cache), image_size, cache if name.startswith("folder:") else None)
    else:
        if _known(name) == "digits":
            data = _digits()
        elif name in DENSITIES:
            data = _gaussians(name)
        else:
            data = _cifar(name, Path(root).expanduser() if root is not None else cache)
            data = replace(data, enlarged=image_size) if (image_size or 0) > data.image_size else data
        if image_size not in (None, data.image_size):
            own = f"{data.image_size} px" if data.image_size else "vectors"
            raise ValueError(f"image_size = {image_size}: {name} is {own} and is not resized (folder:PATH is)")
    return data if train_size is None and not train_skip else _part(data, train_size, train_skip)


def data_identity(name: str, root: str | Path | None = None, cache: str | Path | None = None) -> str:
    """Return what a spec stores for a data name: a plain name as it is, "folder:NAME@DIGEST" for a folder or zip.

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
    """Return images of zero mean and unit deviation per channel, in float32 on their device.

    Args:
        images: (N, C, H, W) uint8 or float on the scale 0 to 1, or (N, d) float; files are decoded.
        data: whose ``mean`` and ``std`` apply.
        enlarge: False leaves images of a data set that is enlarged as small as they are.
    """
    if isinstance(images, ImageFiles):
        images = images.decode()
    unit = 1.0 if images.is_floating_point() else 255.0
    scale, shift = _affine(data.mean, data.std, unit, images.ndim, images.device)
    normalised = torch.addcmul(shift, images.float(), scale)
    return resized(normalised, data.enlarged) if enlarge and data.enlarged else normalised


def resized(images: Tensor, size: int) -> Tensor:
    """Return images (N, C, H, W) as squares of ``size`` pixels."""
    return F.interpolate(images, size=(size, size), mode="bilinear", align_corners=False)


@lru_cache(maxsize=64)
def _affine(mean: tuple[float, ...], std: tuple[float, ...], unit: float, ndim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Kept on the device: a fresh copy for each batch would make the host wait for it."""
    with torch.inference_mode(False):  # else a first call from an evaluation would leave tensors no gradient may pass
        m, s = torch.tensor([mean, std], dtype=torch.float64).view(2, 1, len(mean), *[1] * (ndim - 2))
        return (1 / (unit * s)).float().to(device), (-m / s).float().to(device)


def _order(labels: np.ndarray, seed: int) -> np.ndarray:
    """Return a random stratified order: cutting it gives stratified splits, and its prefixes are nested stratified subsets.

    The k-th of a class's n images gets a random place in the k-th of n equal parts. NumPy has frozen RandomState's streams.
    """
    random = np.random.RandomState(seed)
    key = np.empty(len(labels))
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        key[members] = (np.arange(len(members)) + random.uniform(size=len(members))) / len(members)
    return np.argsort(key, kind="stable")


def _cut(labels: Mapping[str, np.ndarray]) -> dict[str, tuple[str, np.ndarray]]:
    """For each split the part it is taken from and its rows there. Where no part is "val", a tenth of "train" is, at most 5,000 rows."""
    splits = {}
    for part, found in labels.items():
        order = _order(found, seed=0)
        n_val = min(5000, max(1, len(order) // 10)) if part == "train" and "val" not in labels else 0
        splits[part] = (part, order[n_val:])
        if n_val:
            splits["val"] = (part, order[:n_val])
    return splits


def _part(data: Dataset, train_size: int | None, train_skip: int) -> Dataset:
    """Return the data with `train_size` training rows from `train_skip` on; split "skipped" holds the first rows skipped."""
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
    """scikit-learn's 8x8 digits, each under one fixed random rotation, shift and scale.

    The first 200 training rows are images of their own, each once: a student fits so few and is overconfident. The other 600 images follow
    under two transforms each: a teacher that skips the first 200 rows never saw its students' images, is clearly better, and finds
    blends strange. There is no pixel noise: blending would average it away, and blends would be easier than images.
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
    return Dataset("digits", "digits", tuple("0123456789"), _with_train_eval(splits), *_moments(splits["train"].pixels), _VIEWS)


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
    """Shuffle the 2x2 patches of each image, each in its own order: the same pixels and strokes, but no digit."""
    random = np.random.RandomState(6)
    patches = images.reshape(-1, 4, 2, 4, 2).swapaxes(2, 3).reshape(-1, 16, 2, 2)
    moved = np.stack([image[random.permutation(16)] for image in patches])
    return moved.reshape(-1, 4, 4, 2, 2).swapaxes(2, 3).reshape(-1, 8, 8)


def _moments(images: Tensor) -> Statistics:
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

_GAUSSIAN_ROWS = {"train": 400, "val": 500, "test": 2000}  # little training data makes a network overconfident


@lru_cache(maxsize=2)
def _gaussians(name: str) -> Dataset:
    means, covariance = DENSITIES[name]()
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
    parts = {part: _torchvision(kind, root, train=part == "train") for part in ("train", "test")}
    labels = {part: np.array(found.targets, dtype=np.int64) for part, found in parts.items()}
    splits = {}
    for split, (part, rows) in _cut(labels).items():
        pixels = np.ascontiguousarray(parts[part].data[rows].transpose(0, 3, 1, 2))
        splits[split] = Split(torch.from_numpy(pixels), torch.from_numpy(labels[part][rows]))
    return Dataset(name, name, tuple(parts["train"].classes), _with_train_eval(splits), mean, std)


def _torchvision(kind: str, root: Path, train: bool) -> Any:
    from torchvision import datasets

    make = partial(getattr(datasets, kind), root, train=train)
    with suppress(RuntimeError):  # not there yet
        return make(download=False)
    try:
        return make(download=True)
    except (OSError, RuntimeError) as error:
        command = f"""python -c 'from torchvision.datasets import {kind}; {kind}("{root}", download=True)'"""
        raise FileNotFoundError(
            f"{kind} is not in {root} and could not be downloaded ({error}). Where there is a network, run: {command}"
        ) from error


# --- folders and zips of images ---------------------------------------------------------------------------------------

_MOMENT_ROWS = 10_000  # the first of the training rows, a stratified choice, are enough for four decimals
_IMAGENET_STATISTICS: Statistics = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # the literature's, for every streamed tree


@lru_cache(maxsize=4)
def _folder(folder: Folder, size: int | None, cache: Path | None) -> Dataset:
    """Files lie in the order of the splits, so every split is a stretch of the images in the cache; without a cache, of the files."""
    position = {label: i for i, label in enumerate(folder.classes)}
    labels = {part: np.array([position[file.split("/")[1]] for file in files]) for part, files in folder.members.items()}
    cut = _cut(labels)
    files = [folder.members[part][row] for part, rows in cut.values() for row in rows]
    images = ImageFiles(folder.path / folder.prefix, files, size or 224) if cache is None else decoded(folder, files, size, cache)
    splits, start = {}, 0
    for split, (part, rows) in cut.items():
        splits[split] = Split(images[start : start + len(rows)], torch.from_numpy(labels[part][rows]))
        start += len(rows)
    statistics = _IMAGENET_STATISTICS if cache is None else _moments(splits["train"].pixels[:_MOMENT_ROWS])
    return Dataset(folder.name, folder.identity, folder.classes, _with_train_eval(splits), *statistics)
