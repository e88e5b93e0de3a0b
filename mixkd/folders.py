"""Directories and zips of images, train/CLASS/* beside test/CLASS/* or val/CLASS/*: found, checked, known by their content, decoded.

A link may lead out of the data set but not back into it, so nothing is read twice or under two classes. Nothing is unpacked to disk:
pixels are decoded once, into a cache from which every process maps them.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from mixkd.files import first_line, lock, replacing, split_digest
from mixkd.images import decode, fitted, looks_like_an_image, suffixes
from mixkd.spec import printable

_SPLITS = {"train": "train", "test": "test", **dict.fromkeys(("val", "valid", "validation", "dev"), "val")}
_LARGEST = 2**28
"""Bytes of one image file, unpacked, at most."""
_QUIET = frozenset({"thumbs.db", "desktop.ini"})
_LAYOUT = "expected train/CLASS/*.jpg and test/CLASS/*.jpg (or val/CLASS/*.jpg), at the top or inside one folder"
_DECODER = 2  # part of a cache file's name; raise it when decoding or row order change
_IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class Folder:
    """A directory or zip whose layout is known to be right."""

    path: Path
    prefix: str
    classes: tuple[str, ...]
    members: Mapping[str, tuple[str, ...]]  # "train" and "test", maybe "val": sorted image paths below the prefix
    digest: str
    kind: str = "folder"

    @property
    def name(self) -> str:
        """The last part of the path, without ".zip"; "imagenet" wherever it lies."""
        if self.kind == "imagenet":
            return self.kind
        return self.path.stem if self.path.suffix.lower() == ".zip" else self.path.name

    @property
    def identity(self) -> str:
        """What a spec stores: kind, name and digest; no path, since the same images may lie elsewhere."""
        return self.name if self.kind == "imagenet" else f"{self.kind}:{self.name}@{self.digest}"

    def __hash__(self) -> int:  # the digest says which files there are and what is in them
        return hash((self.path, self.digest))


def find(name: str, root: str | Path | None, cache: Path) -> Folder:
    """Return the folder or zip that "folder:PATH", "folder:NAME@DIGEST", "stream:..." or "imagenet" means.

    Raises:
        ValueError: its layout or content is not what was asked for.
        FileNotFoundError: nothing lies there.
    """
    if name == "imagenet":
        return _imagenet(Path(root).expanduser() if root is not None else cache)
    kind, _, wanted = name.partition(":")
    streamed = kind == "stream"
    place, digest = split_digest(wanted)
    if not place:
        raise ValueError(f"data = {name!r}: say which, as in '{kind}:PATH'")
    path = Path(os.path.abspath((Path(root) if root is not None else Path()).expanduser() / Path(place).expanduser()))
    candidates = [p for p in (path, Path(f"{path}.zip")) if p.exists()]
    if streamed and candidates and not path.is_dir():
        raise ValueError(f"{name!r}: {candidates[0]} is no directory, and only directories are streamed; use folder:{place}, or unpack it")
    if not candidates:
        hint = "give the folder that holds it as the data root" if root is None else "is the data root right?"
        raise FileNotFoundError(f"{name!r}: neither {path} nor {path}.zip exists; {hint}")
    folders = [_tree(path)] if streamed else [_open(candidate, cache) for candidate in candidates]
    for folder in folders:
        if digest in ("", folder.digest):
            return folder
    found = ", ".join(f"{folder.path} has {folder.digest}" for folder in folders)
    raise ValueError(f"{name!r}: these are not the images it was made from; {found}")


def _open(path: Path, cache: Path) -> Folder:
    if path.is_dir():
        return _parse(path, _walk(path), cache)
    if not path.is_file():
        raise ValueError(f"{path}: neither a directory nor a regular file")
    status = path.stat()
    return _open_zip(path, cache, (status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=4)
def _open_zip(path: Path, cache: Path, stamp: tuple[int, int]) -> Folder:
    """Kept while the zip stays as it is: listing 60,000 entries takes a second."""
    return _parse(path, _list(path), cache)


@lru_cache(maxsize=4)
def _tree(path: Path) -> Folder:
    """List a folder once in each process: a million files take seconds."""
    sizes = {name: stamp.partition(" ")[0] for name, stamp in _walk(path).items()}  # no times: a copy is the same data
    return _parse(path, sizes, None)


def _imagenet(root: Path) -> Folder:
    """ILSVRC 2012 as torchvision lays it out, in the root or in its folder "imagenet"."""
    places = [place for place in (root / "imagenet", root) if (place / "train").is_dir() and (place / "val").is_dir()]
    if not places:
        raise FileNotFoundError(
            f"imagenet: neither {root / 'imagenet'} nor {root} holds train/CLASS/*.JPEG and val/CLASS/*.JPEG. Get "
            "ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz from https://image-net.org (it asks for an "
            f"account) into {root / 'imagenet'}, then run: python -c 'from torchvision.datasets import ImageNet; "
            f"""[ImageNet("{root / "imagenet"}", split) for split in ("train", "val")]'; and name the folder by --data-root {root}"""
        )
    folder = _tree(places[0])
    if len(folder.classes) != _IMAGENET_CLASSES:
        raise ValueError(
            f"imagenet: {folder.path} holds {len(folder.classes)} classes, not {_IMAGENET_CLASSES}; a part of it is stream:{folder.path}"
        )
    return replace(folder, kind="imagenet")


def _walk(path: Path) -> dict[str, str]:
    """Path -> stamp of every file (an image changed, a stamp changed); folders end in "/", hidden ones are left out."""
    entries: dict[str, str] = {}
    root = os.path.realpath(path)
    seen: dict[tuple[int, int], str] = {}  # folders by device and inode
    linked: dict[tuple[int, int], str] = {}  # files outside that a link leads to, likewise
    for folder, folders, files in os.walk(path, followlinks=True):
        base = "" if folder == str(path) else Path(folder).relative_to(path).as_posix() + "/"
        status = os.stat(folder)
        before = seen.setdefault((status.st_dev, status.st_ino), base)
        if before != base:
            raise ValueError(f"{path}: {base} and {before or 'the data set itself'} are one folder, by a link; remove the link")
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in folders:
            _check_link(path, root, base + name)
            entries[f"{base}{name}/"] = ""
        for name in files:
            if name.startswith("."):
                continue
            full = os.path.join(folder, name)
            if not _is_image(name, partial(_head, full)):
                entries[base + name] = ""
                continue
            _check_link(path, root, base + name)
            status = os.stat(full)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"{path}: {printable(base + name)} is no regular file")
            _check_size(path, base + name, status.st_size)
            if os.path.islink(full) and (before := linked.setdefault((status.st_dev, status.st_ino), base + name)) != base + name:
                raise ValueError(f"{path}: {printable(f'{base}{name} and {before}')} are links to one file; remove one")
            # a copy keeps size and time of change, and an editor may; the inode and its own time tell
            entries[base + name] = f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
    return entries


def _is_image(name: str, head: Callable[[], bytes]) -> bool:
    """Whether a file is one: by its suffix or, where it has none, by its first bytes."""
    suffix = os.path.splitext(name)[1].lower()
    return suffix in suffixes() if suffix else looks_like_an_image(head())


def _head(path: str) -> bytes:
    if not os.path.isfile(path):
        return b""
    with open(path, "rb") as file:
        return file.read(16)


def _zipped_head(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as file:
            return file.read(16)
    except Exception:  # damaged: it is reported with what is left out
        return b""


def _check_link(path: Path, root: str, name: str) -> None:
    full = os.path.join(path, name)
    if not os.path.islink(full):
        return
    target = os.path.realpath(full)
    if not os.path.exists(target):
        raise ValueError(f"{path}: {printable(f'{name} is a link to {target}')}, which does not exist or comes round again; remove it")
    if os.path.commonpath([root, target]) in (root, target):
        raise ValueError(
            f"{path}: {printable(f'{name} is a link to {target}')}, so its images would be read twice, perhaps under another class; "
            "remove it, or copy the files"
        )


def _check_size(path: Path, name: str, size: int) -> None:
    if size > _LARGEST:
        raise ValueError(f"{path}: {printable(name)} is of {size / 2**20:,.0f} MiB; an image file may have {_LARGEST / 2**20:.0f} at most")


def _list(path: Path) -> dict[str, str]:
    """List a zip as :func:`_walk` lists a folder. Nothing is unpacked, yet an entry that points outside is an error."""
    entries: dict[str, str] = {}
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # on damaged or hostile zips zipfile raises almost anything
        raise ValueError(f"{path}: neither a directory nor a whole zip file ({first_line(error)[:200]})") from error
    with archive:
        for info in archive.infolist():
            name = info.filename.replace("\\", "/")
            if name.startswith("/") or ".." in name.split("/"):
                raise ValueError(f"{path}: entry {info.filename!r} points out of the zip")
            if name.startswith((".", "__MACOSX/")) or "/." in name:
                continue
            entries[name] = ""
            if not name.endswith("/") and _is_image(name, partial(_zipped_head, archive, info)):
                _check_size(path, name, info.file_size)
                entries[name] = f"{info.file_size} {info.CRC}"
    return entries


def _parse(path: Path, entries: Mapping[str, str], cache: Path | None) -> Folder:
    """Without a cache the digest is that of the entries: their paths and what stands beside them."""
    prefix = _prefix(path, entries)
    groups: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}, "val": {}}
    folders: dict[str, str] = {}  # what each split is called here
    left_out: list[str] = []
    for entry, stamp in entries.items():
        below = entry[len(prefix) :] if entry.startswith(prefix) else ""
        top, *steps = below.split("/", 2)
        part = _SPLITS.get(top.lower())
        if len(steps) == 2 and part is not None:
            if folders.setdefault(part, top) != top:
                raise ValueError(f"{path}: {folders[part]} and {top} are both {part}; remove one, or rename it")
            images = groups[part].setdefault(steps[0], [])
            if stamp:
                images.append(below)
        if not stamp and not entry.endswith("/") and entry.rpartition("/")[2].lower() not in _QUIET and "/" in below:
            left_out.append(below)
        elif stamp and (len(steps) < 2 or part is None):
            left_out.append(below or entry)
    if not groups["test"]:  # the only images held out are those to test on
        groups["test"], groups["val"] = groups["val"], {}
        folders["test"] = folders.pop("val", "val")
    if not groups["val"]:
        del groups["val"]
    _check(path, groups, folders)
    if left_out:
        more = f" and {len(left_out) - 3} more" if len(left_out) > 3 else ""
        named = ", ".join(_visible(name)[:100] for name in sorted(left_out)[:3])
        warnings.warn(f"{path}: left out, as no image or not in a class folder: {named}{more}", stacklevel=2)
    members = {part: tuple(sorted(chain.from_iterable(group.values()))) for part, group in groups.items()}
    files = sorted(chain.from_iterable(members.values()))
    stamps = {file: entries[prefix + file] for file in files}
    classes = tuple(sorted(groups["train"]))
    if cache is None:
        listed = "".join(f"{file} {stamp}\n" for file, stamp in stamps.items())
        digest = hashlib.sha256(listed.encode(errors="surrogateescape")).hexdigest()[:16]
        return Folder(path, prefix, classes, members, digest, "stream")
    return Folder(path, prefix, classes, members, _digest(path, prefix, stamps, cache))


def _prefix(path: Path, entries: Mapping[str, str]) -> str:
    """Return the path above train/: "", or one folder and a slash."""
    heads = {tuple(steps[:2]) for entry in entries if len(steps := entry.split("/", 2)) > 1}
    if any(head[0].lower() == "train" for head in heads):
        return ""
    tops = sorted({top for top, below in heads if below.lower() == "train" and f"{top}/{below}" not in entries})
    if len(tops) != 1:
        problem = f"more than one train folder (in {', '.join(tops)})" if tops else "no train folder"
        found = ", ".join(sorted({entry.partition("/")[0] for entry in entries})[:8]) or "nothing"
        raise ValueError(f"{path}: {problem}; {_LAYOUT}; found {found}")
    return f"{tops[0]}/"


def _check(path: Path, groups: Mapping[str, Mapping[str, list[str]]], folders: Mapping[str, str]) -> None:
    train = groups["train"]
    if not groups["test"]:
        raise ValueError(f"{path}: no test or val folder with classes in it; {_LAYOUT}")
    if len(train) < 2:
        found = f"train holds {len(train)} class ({', '.join(train) or 'none'})"
        raise ValueError(f"{path}: {found}, two or more are needed; {_LAYOUT}")
    for part, group in groups.items():
        folder = folders[part]
        for label, images in sorted(group.items()):
            if not images:
                kinds = ", ".join(sorted(suffixes()))
                raise ValueError(f"{path}: class folder {folder}/{printable(label)} has no images ({kinds})")
        if group.keys() != train.keys():
            only = {"train": sorted(train.keys() - group.keys()), folder: sorted(group.keys() - train.keys())}
            listed = "; ".join(f"only in {side}: {', '.join(map(_visible, labels[:5]))}" for side, labels in only.items() if labels)
            raise ValueError(f"{path}: train and {folder} hold different classes ({listed})")
    for label, images in sorted(train.items()):
        if "val" not in groups and len(images) < 2:
            raise ValueError(f"{path}: class folder train/{printable(label)} has one image; two are needed to set some aside as val")


def _visible(name: str) -> str:
    """Return a name for a message, in ASCII where it could be mistaken for another: accents in two forms, spaces at an end."""
    return name if name.isascii() and name.isprintable() and name == name.strip() else ascii(name)


def _digest(path: Path, prefix: str, stamps: Mapping[str, str], cache: Path) -> str:
    """16 hexadecimal digits of the content; remembered in the cache until a stamp changes, as reading all is slow."""
    known = hashlib.sha256(repr((str(path), prefix, sorted(stamps.items()))).encode(errors="surrogateescape"))
    memo = cache / "digests" / known.hexdigest()
    if digest := _remembered(memo):
        return digest
    with lock(Path(f"{memo}.lock")):  # one process reads; the others wait
        if digest := _remembered(memo):
            return digest
        content = hashlib.sha256()
        with _reader(path, prefix) as read:
            for file in tqdm(stamps, desc=f"reading {path.name}", unit="image", delay=2, leave=False):
                line = f"{file} {hashlib.sha256(_read(read, path, file)).hexdigest()}\n"
                content.update(line.encode(errors="surrogateescape"))
        digest = content.hexdigest()[:16]
        with replacing(memo) as out:
            out.write(digest.encode())
    return digest


def _remembered(memo: Path) -> str:
    """Read a digest from the cache; "" if it is missing or incomplete."""
    text = memo.read_text() if memo.exists() else ""
    return text if re.fullmatch(r"[0-9a-f]{16}", text) else ""


def decoded(folder: Folder, files: list[str], image_size: int | None, cache: Path) -> Tensor:
    """Return the images of files as (N, 3, H, W) uint8, mapped from the cache. One process decodes; the others wait."""
    target = cache / "images" / f"{folder.digest}-{image_size or 'own'}-v{_DECODER}.npy"
    if (mapped := _mapped(target, len(files))) is not None:
        return mapped
    with lock(Path(f"{target}.lock")):
        if (mapped := _mapped(target, len(files))) is None:
            with replacing(target) as out:
                _decode(folder, files, image_size, out)
            mapped = _mapped(target, len(files))
    if mapped is None:
        raise OSError(f"{target}: just written, but cannot be read back")
    return mapped


def _mapped(path: Path, rows: int) -> Tensor | None:
    """Map the cached images, copy-on-write so that no process changes another's; None if the file is missing or incomplete."""
    try:
        array = np.load(path, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # missing, cut short, not an array
        return None
    return torch.from_numpy(array) if array.dtype == np.uint8 and array.ndim == 4 and len(array) == rows else None


def _decode(folder: Folder, files: list[str], image_size: int | None, out: IO[bytes]) -> None:
    """Written as a stream, not through a map: a full disk then raises instead of killing the process."""
    shape: tuple[int, ...] = ()
    with _reader(folder.path, folder.prefix) as read:
        for file in tqdm(files, desc=f"decoding {folder.name}", unit="image", delay=2, leave=False):
            content = io.BytesIO(_read(read, folder.path, file))
            pixels = decode(content, f"{folder.path}: {printable(file)}", partial(fitted, size=image_size))
            if not shape:
                shape = pixels.shape
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(files), *shape)}
                np.lib.format.write_array_header_1_0(out, header)
            if pixels.shape != shape or shape[1] != shape[2]:
                sizes = " and ".join(sorted({f"{w} x {h}" for _, h, w in (shape, pixels.shape)}))
                raise ValueError(f"{folder.path}: images are not squares of one size ({sizes} px at {file}): set image_size")
            out.write(pixels.tobytes())


@contextmanager
def _reader(path: Path, prefix: str) -> Iterator[Callable[[str], IO[bytes]]]:
    """Yield a function that opens an image by its path below the prefix."""
    if path.is_dir():
        yield lambda file: (path / prefix / file).open("rb")
    else:
        with zipfile.ZipFile(path) as archive:
            infos = {info.filename.replace("\\", "/"): info for info in archive.infolist()}
            yield lambda file: archive.open(infos[prefix + file])


def _read(opened: Callable[[str], IO[bytes]], path: Path, file: str) -> bytes:
    """Read an image file, up to the size limit: a file may hold more than it announced, even more than fits in memory."""
    try:
        with opened(file) as source:
            content = source.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise OSError(f"more than {_LARGEST / 2**20:.0f} MiB")
        return content
    except Exception as error:  # encrypted, damaged, of a method that Python does not know
        raise ValueError(f"{path}: cannot read {printable(file)} ({first_line(error)[:200]})") from error
