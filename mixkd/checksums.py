"""Whether the files of a record are as they were written: regular files, and their SHA-256."""

from __future__ import annotations

import re
import stat
import time
from pathlib import Path

from mixkd.files import sha256

FILES = ("record.json", "tensors.safetensors", "model.safetensors")
SUMS = "SHA256SUMS"


def beside(id: str) -> str:
    """Return what the checksums of a record call the weights that lie beside it."""
    return f"../.weights/{id}.safetensors"


def read_regular(path: Path) -> bytes:
    """Return the content of a file of a record; OSError for anything but a regular file in the folder of the record itself."""
    for place in (path, path.parent):
        if place.is_symlink():
            raise OSError(f"{'is' if place == path else 'its folder is'} a link; a record holds its files itself")
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("is not a regular file")
    return path.read_bytes()


def read_sums(folder: Path) -> dict[str, str]:
    """Return the checksums of a record by file; OSError or ValueError where they cannot be read, or are of other files than a record's."""
    *lines, rest = read_regular(folder / SUMS).decode().split("\n")
    sums = {line[66:]: line[:64] for line in lines if re.fullmatch("[0-9a-f]{64}  .+", line)}
    if rest or len(sums) < len(lines) or sums.keys() - {*FILES, beside(folder.name)}:
        raise ValueError(f"is no list of checksums of {folder.name}")
    if unlisted := sorted({"record.json", "tensors.safetensors"} - sums.keys()):
        raise ValueError(f"does not list {', '.join(unlisted)}")
    return sums


def check(found: str, expected: str | None) -> None:
    """Raise ValueError where a checksum is not the expected one."""
    if found != expected:
        raise ValueError("differs from its checksum")


_hashed: dict[tuple[int, ...], str] = {}


def checksum(path: Path, *, anew: bool = False, link: bool = True) -> str:
    """Return the SHA-256 of a regular file, computed once while the file keeps its inode, size and times.

    A file that was changed in the last two seconds may change again without another time, so its checksum is not kept.

    Args:
        path: of the file.
        anew: compute it whatever is known.
        link: follow a link.

    Raises:
        OSError: for anything but a regular file: a pipe would never end.
    """
    found = path.stat() if link else path.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("is a link" if stat.S_ISLNK(found.st_mode) else "is not a regular file")
    key = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if not anew and key in _hashed:
        return _hashed[key]
    content = sha256(path)
    if time.time_ns() - found.st_ctime_ns >= 2 * 10**9:
        _hashed[key] = content
    return content


def reason(error: Exception) -> str:
    """Return an error in one line."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"no field {error}" if isinstance(error, KeyError) else "; ".join(str(error).splitlines())
