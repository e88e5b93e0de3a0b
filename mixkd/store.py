"""A folder of records: find them, check them, write them whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mixkd.checksums import FILES, SUMS, beside, check, checksum, read_sums, reason
from mixkd.files import lock, sha256
from mixkd.records import FORMAT, DamagedRecord, Record, Records
from mixkd.spec import RunSpec, UnknownName, printable
from mixkd.vicinal import FEATURE_LAMS

WEIGHTS_CAP = 2**15
"""Weights above this many bytes stay beside the records instead of in them: records are small."""
_ID = re.compile("[0-9a-f]{16}")
_HEAVY = "weights.tmp"  # what will lie beside the record, while it is written or sent


class RecordStore:
    """A folder of records, one folder each, named by id.

    A folder counts as a record only under the id of the spec in it.

    Args:
        path: made when the first record is written. "committed" is the repository's own ``book/records``.

    Attributes:
        path: the folder.

    Raises:
        ValueError: for a URL, or a path that is not UTF-8: safetensors would write to none.
    """

    def __init__(self, path: str | Path = "runs") -> None:
        if "://" in str(path):
            raise ValueError(f"store = {str(path)!r}: must be a folder; mount what lies behind a URL, or train there by --scheduler")
        self.path = committed_path() if str(path) == "committed" else Path(path)
        try:
            os.path.abspath(self.path).encode()
        except UnicodeEncodeError:
            raise ValueError(f"store = {os.path.abspath(self.path)!a}: must be a path in UTF-8; rename the folder") from None

    @classmethod
    def existing(cls, store: str | Path | RecordStore) -> RecordStore:
        """Return a store to read from, by its path unless it is one.

        Raises:
            FileNotFoundError: for a path where no folder is.
        """
        if isinstance(store, RecordStore):
            return store
        found = cls(store)
        if not found.path.is_dir():
            raise FileNotFoundError(f"store = {str(store)!r}: no folder {found.path.absolute()}; mixkd reproduce --store DIR fills one")
        return found

    def ids(self) -> list[str]:
        """Return the ids of all records, sorted. A record that is being written has no id yet."""
        if not self.path.is_dir():
            return []
        return sorted(name for name in os.listdir(self.path) if _ID.fullmatch(name) and os.path.isfile(self.path / name / "record.json"))

    def verify(self, ids: Sequence[str] | None = None) -> Sequence[str]:
        """Check every file of every record, or of some, against its checksum, and whether its answers can be meant.

        Returns:
            A line for each file that is not as it was written, for a record whose answers make no sense, and for a folder that holds
            a record under another name than its id.
        """
        if ids is None:
            names = sorted(os.listdir(self.path)) if self.path.is_dir() else []
            ids = [name for name in names if _ID.fullmatch(name) or (name[0] != "." and os.path.isfile(self.path / name / "record.json"))]
        return [printable(problem) for id in ids for problem in _problems(self.path / id)]

    def list(self) -> Records:
        """Return all records that can be read; damaged ones are skipped, :meth:`verify` names them."""
        found = []
        for id in self.ids():
            try:
                found.append(Record(self.path / id))
            except DamagedRecord:
                continue
        return Records(found)

    def __contains__(self, id: object) -> bool:
        """Whether that run was made, its record damaged or not."""
        return isinstance(id, str) and id != "" and os.path.lexists(self.path / id)

    def load(self, id: str) -> Record:
        """Return the record of an id (or of an unambiguous beginning of one).

        Raises:
            UnknownName: when there is none, or more than one, naming the store.
            DamagedRecord: when it cannot be read.
        """
        ids = self.ids()
        matches = [id] if id in ids else [known for known in ids if known.startswith(id)]
        if len(matches) != 1:
            found = f"ambiguous, {len(matches)} records begin with it" if matches else "none"
            raise UnknownName(f"record {id!r}: {found} in {self.path.absolute()} ({len(ids)} records)")
        return Record(self.path / matches[0])

    def find(self, specs: Iterable[RunSpec]) -> Records:
        """Return the records of these specs, in their order; the others are in ``.failed``: missing, or what is damaged."""
        found: list[Record] = []
        failed: dict[str, str] = {}
        for id in dict.fromkeys(spec.id for spec in specs):
            if id not in self:
                failed[id] = "missing"
                continue
            try:
                found.append(Record(self.path / id))
            except DamagedRecord as error:
                failed[id] = f"damaged: {error}; remove {self.path / id} to have it trained again"
        return Records(found, failed)

    def weights(self, id: str) -> Path | None:
        """Return where the weights of a run lie, or None when they were not kept."""
        places = (self.path / id / "model.safetensors", self._heavy(id))
        return next((path for path in places if path.is_file()), None)

    def _heavy(self, id: str) -> Path:
        """Where the weights of a run lie when they are too large for its record."""
        return self.path / ".weights" / f"{id}.safetensors"

    def put(
        self,
        spec: RunSpec,
        tensors: Mapping[str, Tensor],
        *,
        lam: Sequence[float],
        classes: Sequence[str],
        curve: Sequence[Mapping[str, float]],
        provenance: Mapping[str, Any],
        weights: Mapping[str, Tensor],
        inputs: Mapping[str, Any] | None = None,
    ) -> Record:
        """Write a record: temporary sibling, fsync, rename. A reader sees a whole one or none; a full disk leaves nothing.

        Args:
            tensors: as :func:`mixkd.evaluate.evaluate` returns them; logits are packed, features become float16.
            weights: a state dict.
            inputs: what the network takes, see :attr:`Record.inputs`.
        """
        kept = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
        heavy = sum(tensor.nbytes for tensor in kept.values()) > WEIGHTS_CAP
        with self._placing(spec.id) as folder:
            _save(kept, folder / (_HEAVY if heavy else "model.safetensors"))
            _save(_pack(tensors), folder / "tensors.safetensors")
            record = {
                "format": FORMAT,
                "id": spec.id,
                "spec": json.loads(spec.canonical()),
                "classes": list(classes),
                **({"inputs": dict(inputs)} if inputs else {}),
                "lam": list(lam),
                "curve": list(curve),
                "provenance": dict(provenance),
            }
            lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
            (folder / "record.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
            sums = "".join(f"{sha256(folder / name)}  {name}\n" for name in FILES if (folder / name).exists())
            if heavy:
                sums += f"{sha256(folder / _HEAVY)}  {beside(spec.id)}\n"
            (folder / SUMS).write_text(sums, encoding="utf-8")
        return Record(self.path / spec.id)

    def files(self, id: str) -> dict[str, bytes]:
        """Return the files of a record and its weights, for :meth:`receive` of another store, which names what cannot be read here."""
        places = {name: self.path / id / name for name in (*FILES, SUMS)} | {_HEAVY: self._heavy(id)}
        found: dict[str, bytes] = {}
        for name, path in places.items():
            with suppress(OSError):
                if path.is_file():  # a pipe would never end
                    found[name] = path.read_bytes()
        return found

    def receive(self, id: str, files: Mapping[str, bytes]) -> None:
        """Write a record from the files of another store, whole or not at all, as :meth:`put` does."""
        with self._placing(id) as folder:
            for name, content in files.items():
                (folder / name).write_bytes(content)

    @contextmanager
    def _placing(self, id: str) -> Iterator[Path]:
        """Yield a hidden folder to fill, then put it in place as the record of that id."""
        self.path.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{id}.", dir=self.path))
        target, old = self.path / id, folder.with_name(f"{folder.name}.old")
        try:
            yield folder
            for path in folder.iterdir():
                os.chmod(path, 0o644)  # safetensors and mkdtemp restrict theirs to one user; a store may be shared
                _fsync(path)
            os.chmod(folder, 0o755)
            if (folder / _HEAVY).exists():  # before the record: whoever sees it finds its weights
                self._heavy(id).parent.mkdir(exist_ok=True)
                os.replace(folder / _HEAVY, self._heavy(id))
            if target.exists():  # damaged, or without its weights: out of sight at once, never half removed
                os.rename(target, old)
            os.rename(folder, target)
            _fsync(self.path)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            if old.exists() and not target.exists():
                os.rename(old, target)
            raise
        shutil.rmtree(old, ignore_errors=True)

    def lock(self, id: str, wait: bool = True) -> FileLock:
        """Return the lock of a run, see :func:`mixkd.files.lock`: held while it is trained, so that no other process trains it too."""
        return lock(self.path / ".locks" / f"{id}.lock", wait)

    def sweep(self, id: str) -> None:
        """Remove what a killed writer of this id left behind. Call it only while nobody else writes that id."""
        for folder in self.path.glob(f".{id}.*"):
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)


def _problems(folder: Path) -> list[str]:
    """Return what is wrong with one record: a line for each bad file, or for content that makes no sense."""
    problems: list[str] = []
    file = folder / SUMS
    try:
        sums = read_sums(folder)
        if unlisted := sorted({path.name for path in folder.iterdir()} - {SUMS, *sums}):
            problems.append(f"{file}: does not list {', '.join(unlisted)[:200]}")
        for name, expected in sums.items():
            heavy = name == beside(folder.name)
            file = folder.parent / ".weights" / f"{folder.name}.safetensors" if heavy else folder / name
            try:
                check(checksum(file, anew=True, link=heavy), expected)
            except (OSError, ValueError) as error:
                if not (heavy and isinstance(error, FileNotFoundError)):  # a record is whole without its heavy weights
                    problems.append(f"{file}: {reason(error)}")
        file = folder / "tensors.safetensors"
        if not problems and (found := _nonsense(Record(folder))):
            problems.append(f"{file}: {found}")
    except DamagedRecord as error:
        problems.append(str(error))
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
        problems.append(f"{file}: {reason(error)}")
    return problems


def _nonsense(record: Record) -> str:
    """Return what makes no sense in the answers of a record whose files are intact; "" if nothing."""
    tensors, classes, lam = record.tensors, len(record.classes), record.probe.lam
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"{name} is not finite"
    for split in dict.fromkeys(["test", "val", "train", *record.splits]):
        logits, labels = record.tensor(f"logits.{split}"), record.tensor(f"labels.{split}")
        if logits.ndim != 2 or logits.shape[1] != classes or not logits.is_floating_point():
            return f"logits.{split} of shape {tuple(logits.shape)} are no answers of {classes} classes"
        if labels.ndim != 1 or not len(labels) or len(logits) % len(labels):
            return f"{len(logits)} answers of split {split} do not fit its {len(labels)} labels"
        if labels.is_floating_point() or int(labels.min()) < (-1 if split == "ood" else 0) or int(labels.max()) >= classes:
            return f"labels.{split} are not from 0 to {classes - 1}"
    for name, split, rows in (("probe", "test", len(lam)), ("train_probe", "train", len(FEATURE_LAMS))):
        logits, labels, pairs = (record.tensor(f"{name}.{part}") for part in ("logits", "labels", "pairs"))
        if logits.shape != (rows, len(pairs), classes):
            return f"{name}.logits of shape {tuple(logits.shape)} are no answers of {classes} classes at {rows} lam to {len(pairs)} pairs"
        shown = tensors[f"labels.{split}"]
        inside = not pairs.is_floating_point() and 0 <= int(pairs.min()) <= int(pairs.max()) < len(shown)
        if not inside or not torch.equal(shown[pairs.long()], labels):
            return f"{name}.labels are not those of its pairs"
    if record.tensor("features.test").ndim != 2 or record.tensor("features.probe").ndim != 3:
        return "features are no vectors"
    if not bool(((lam >= 0) & (lam <= 1)).all()) or not all(isinstance(name, str) for name in record.classes):
        return "lam or classes are not what they are called"
    record.curve, record.provenance  # noqa: B018
    return ""


def committed_path() -> Path:
    """Return where the records that ship with the repository lie.

    Raises:
        FileNotFoundError: when the package was installed without the repository around it.
    """
    path = Path(__file__).resolve().parent.parent / "book" / "records"
    if not path.is_dir():
        raise FileNotFoundError(
            f"store 'committed': no {path}. The committed records come with the repository: clone it and "
            "`pip install -e .`, or name a store of your own."
        )
    return path


def _pack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Logits as float16 less the maximum of each row: rounding is smallest near the maximum, where probabilities are decided."""
    packed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if "logits" in name:
            peak = tensor.float().amax(-1, keepdim=True)
            packed[name] = (tensor.float() - peak).clamp_min(torch.finfo(torch.float16).min).half()
        elif tensor.dtype == torch.float64:
            packed[name] = tensor
        elif tensor.is_floating_point():
            packed[name] = tensor.half()
        else:
            narrow = torch.iinfo(torch.int16)
            fits = not len(tensor) or (narrow.min <= int(tensor.min()) and int(tensor.max()) <= narrow.max)
            packed[name] = tensor.to(torch.int16 if fits else torch.int32)
    return {name: tensor.contiguous() for name, tensor in sorted(packed.items())}


def _save(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write a safetensors file; a full disk is an OSError like any other."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        raise OSError(f"{path}: {error}") from error


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
