"""A folder of records behind a URL (`s3://`, `gs://`, `memory://`, any fsspec protocol), with a mirror of it on this machine.

Such places know no rename: what makes a folder a record, its `record.json`, is written last and removed first. What is in the files is
not its business.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SEAL = "record.json"
SUMS = "SHA256SUMS"
LEASE = 60.0
"""Seconds without a sign of life after which a lock counts as left behind by a machine that is gone."""


class Remote:
    """The folders of a store behind a URL.

    Args:
        url: as fsspec knows it.

    Attributes:
        mirror: folder on this machine where copies lie.

    Raises:
        ValueError: for a protocol that nothing installed knows.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url.rstrip("/")
        try:
            # listings must not be remembered: other machines write into the same place
            self._fs, self._root = url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise ValueError(f"store = {url!r}: {error}; a folder, or a URL of a protocol whose fsspec package is installed") from error
        self._root = self._root.rstrip("/")
        name, own = re.sub(r"[^\w.-]+", "_", self.url), hashlib.sha256(self.url.encode()).hexdigest()[:8]
        self.mirror = Path.home() / ".cache" / "mixkd" / "stores" / f"{name}-{own}"  # a/b and a_b are two places

    def ids(self) -> list[str]:
        """The ids of the records that are there, whole."""
        found = self._fs.glob(f"{self._root}/*/{SEAL}")
        return sorted(id for path in found if not (id := path.split("/")[-2]).startswith("."))

    def has(self, id: str) -> bool:
        """Whether that record is there, whole."""
        return bool(self._fs.exists(f"{self._root}/{id}/{SEAL}"))

    def fetch(self, ids: Iterable[str], again: bool = False) -> None:
        """Bring records into the mirror; what lies there already with the same checksums is not loaded again.

        Args:
            ids: those that are not in the remote place are left out.
            again: load them in any case.
        """
        sums = {id: f"{self._root}/{id}/{SUMS}" for id in ids}
        theirs = self._fs.cat(list(sums.values()), on_error="omit") if sums else {}
        if not isinstance(theirs, dict):  # one path gives its content alone
            theirs = dict.fromkeys(sums.values(), theirs)
        known = {path.lstrip("/"): content for path, content in theirs.items()}
        for id, path in sums.items():
            here = self.mirror / id / SUMS
            same = here.is_file() and here.read_bytes() == known.get(path.lstrip("/"))
            if again or not same:
                self._download(id)

    def _download(self, id: str) -> None:
        names = [path.rstrip("/").split("/")[-1] for path in self._fs.find(f"{self._root}/{id}")]
        if SEAL not in names:
            return
        self.mirror.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{id}.", dir=self.mirror))
        try:
            for name in names:
                self._fs.get_file(f"{self._root}/{id}/{name}", str(fresh / name))
            os.chmod(fresh, 0o755)
            if (target := self.mirror / id).exists():
                os.rename(target, old := fresh.with_name(f"{fresh.name}.old"))
                shutil.rmtree(old, ignore_errors=True)
            try:
                os.rename(fresh, target)
            except OSError:
                if not target.is_dir():  # else another process was faster, with the same files
                    raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)

    def send(self, id: str, folder: Path) -> None:
        """Copy a record from a folder of this machine to the remote place. Until its last file is there, it is no record there."""
        seal = f"{self._root}/{id}/{SEAL}"
        if self._fs.exists(seal):
            self._fs.rm_file(seal)
        self._fs.makedirs(f"{self._root}/{id}", exist_ok=True)
        files = sorted(folder.iterdir(), key=lambda path: path.name == SEAL)
        for path in files:
            self._fs.put_file(str(path), f"{self._root}/{id}/{path.name}")

    def fetch_beside(self, name: str, whole: Callable[[Path], bool] = lambda path: True) -> Path | None:
        """A file that lies beside the records, such as heavy weights; None when it is not there.

        Args:
            name: below the store.
            whole: whether a file is the one that is meant; a copy in the mirror that is not is loaded anew.
        """
        path = self.mirror / name
        if not path.is_file() or not whole(path):
            if not self._fs.exists(f"{self._root}/{name}"):
                return None
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
            self._fs.get_file(f"{self._root}/{name}", str(partial))
            os.replace(partial, path)
        return path

    def send_beside(self, name: str) -> None:
        """Copy a file of the mirror that lies beside the records."""
        self._fs.makedirs(f"{self._root}/{name}".rpartition("/")[0], exist_ok=True)
        self._fs.put_file(str(self.mirror / name), f"{self._root}/{name}")

    @contextmanager
    def lock(self, id: str, wait: bool = True) -> Iterator[None]:
        """Hold the lease of a run. It saves double work; it is not what keeps records whole, so a lease lost to a stall harms nothing.

        Raises:
            TimeoutError: when somebody holds it and ``wait`` is False.
        """
        path, mine = f"{self._root}/.locks/{id}.lease", f"{socket.gethostname()} {os.getpid()} {uuid.uuid4().hex}"
        self._fs.makedirs(f"{self._root}/.locks", exist_ok=True)
        self._take(path, mine, wait)
        done = threading.Event()
        beat = threading.Thread(target=self._beat, args=(path, mine, done), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
            if self._read(path).startswith(mine):
                self._fs.rm_file(path)

    def _take(self, path: str, mine: str, wait: bool) -> None:
        seen, since, refused = "", time.monotonic(), 0
        while True:
            reason: Exception | None = None
            try:
                self._fs.pipe_file(path, f"{mine} 0".encode(), mode="create")
            except (OSError, NotImplementedError) as error:  # most protocols say that it exists; the next line looks
                reason = error
            holder = self._read(path)
            if holder.startswith(mine):
                return
            refused = refused + 1 if reason is not None and not holder else 0  # once: its holder may just have let it go
            if refused == 3:
                raise OSError(f"{self.url}: cannot be written to ({type(reason).__name__}: {reason}); records need a store that can")
            if not wait:
                raise TimeoutError(f"{path} is held by {holder}")
            if holder != seen:  # a sign of life; clocks of different machines are not compared
                seen, since = holder, time.monotonic()
            elif time.monotonic() - since > LEASE:
                if holder:
                    self._fs.rm_file(path)
                since = time.monotonic()
            time.sleep(min(1.0, LEASE / 10))

    def _beat(self, path: str, mine: str, done: threading.Event) -> None:
        count = 0
        while not done.wait(LEASE / 4):
            count += 1
            try:
                if self._read(path).startswith(mine):
                    self._fs.pipe_file(path, f"{mine} {count}".encode())
            except OSError:  # the next beat tries again
                continue

    def _read(self, path: str) -> str:
        try:
            content: Any = self._fs.cat_file(path)
        except FileNotFoundError:
            return ""
        return bytes(content).decode()
