"""Files that are known by a digest, read by one process at a time, and written whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock


def split_digest(name: str) -> tuple[str, str]:
    """Return the parts of "NAME@DIGEST"; the digest is empty where there is none."""
    known = re.fullmatch("(.+)@([0-9a-f]{16})", name)
    return (known[1], known[2]) if known else (name, "")


def sha256(path: Path) -> str:
    """Return the checksum of a file, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock(path: Path, wait: bool = True) -> FileLock:
    """Return a lock between processes, to be held in a ``with`` block; its folder is made.

    Raises:
        TimeoutError: on entry, when another process holds it and ``wait`` is False.
        IsADirectoryError: when a folder lies where the lock should be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(f"lock {path}: is a folder, where a file is needed; remove it")
    return FileLock(path, timeout=-1 if wait else 0)


@contextmanager
def replacing(path: Path, suffix: str = ".partial") -> Iterator[IO[bytes]]:
    """Open a file to write: a temporary sibling, which takes the place of the former file at the end, or is removed on an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(suffix)
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text, or the name of its type where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
