"""What a run was: records on disk. Atomic, checksummed, read without unpickling.

A record holds logits, labels, features, the learning curve and where it came from; never a metric. Metrics are
computed from the logits when a record is read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import stat
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import pandas as pd
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from mixkd.measure import calibration
from mixkd.spec import RunSpec, UnknownName, nearest, printable
from mixkd.vicinal import FEATURE_LAMS

FORMAT = 2
WEIGHTS_CAP = 2**15
"""Weights above this many bytes stay beside the records instead of in them: records are small."""
_FILES = ("record.json", "tensors.safetensors", "model.safetensors")
_SUMS = "SHA256SUMS"
_ID = re.compile("[0-9a-f]{16}")
_HEAVY = "weights.tmp"  # what will lie beside the record, while it is written or sent


class DamagedRecord(RuntimeError):
    """A record whose files are missing, changed or unreadable; the message names them."""


@dataclass(frozen=True)
class Probe:
    """The answers to the fixed vicinal probe.

    Attributes:
        logits: (L, P, K) float32; entry [l, p] is the answer to ``lam[l] x_i + (1 - lam[l]) x_j``.
        lam: (L,) float64, from 0 (the second image alone) to 1 (the first).
        labels: (P, 2) int64 classes of the two images.
        pairs: (P, 2) int64 which test images they are.
    """

    logits: Tensor
    lam: Tensor
    labels: Tensor
    pairs: Tensor

    @property
    def same_class(self) -> Tensor:
        """(P,) bool: pairs within one class."""
        return self.labels[:, 0] == self.labels[:, 1]


class Record:
    """One finished run, as it lies on disk. Tensors are read when asked for; that they are as they were written is seen at once.

    Raises:
        DamagedRecord: when a file is missing, differs from its checksum or cannot be read, or the folder is not named by the id of the
            spec in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        file = path / "record.json"
        try:
            content = _bytes(file)
            self._json: dict[str, Any] = json.loads(content.decode())
            if not isinstance(self._json, dict):
                raise ValueError("holds no JSON object")
            if (known := self._json.get("format")) != FORMAT:
                raise ValueError(f"format {known}; this version reads format {FORMAT}")
            file = path / _SUMS
            self._sums = _sums(path)
            file = path / "record.json"
            _match(hashlib.sha256(content).hexdigest(), self._sums[file.name])
            self.spec = RunSpec(**self._json["spec"])
            if self.spec.id != path.name:
                file = path
                raise ValueError(f"its spec has id {self.spec.id}")
            file = path / "tensors.safetensors"
            _match(_checksum(file, link=False), self._sums[file.name])
            safe_open(file, framework="pt")  # compares the size of the file with its header
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
            raise DamagedRecord(f"{file}: {_reason(error)}") from error

    @property
    def id(self) -> str:
        """The id of its spec, and the name of its folder."""
        return self.path.name

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, device, precision, threads, seconds, images per second, commit: whence it came, not what it is."""
        return dict(self._json["provenance"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the logits."""
        return tuple(self._json["classes"])

    @property
    def inputs(self) -> dict[str, Any] | None:
        """What its network takes: channels, image_size (0 for vectors), mean and std of each channel; None in older records."""
        return self._json.get("inputs")

    @property
    def curve(self) -> pd.DataFrame:
        """The learning curve: epoch, train_loss (nats), lr, val_accuracy, val_nll, val_confidence."""
        return pd.DataFrame(self._json["curve"])

    @cached_property
    def _tensors(self) -> dict[str, Tensor]:
        return self._load(self.path / "tensors.safetensors", self._sums["tensors.safetensors"])

    def state(self, weights: Path) -> dict[str, Tensor]:
        """Return the state dict of its network from where :meth:`RecordStore.weights` found it.

        Raises:
            DamagedRecord: when the file is not the one that was written with this record.
        """
        try:
            return self._load(weights, self._sums.get("model.safetensors") or self._sums.get(_beside(self.id)))
        except DamagedRecord as error:
            raise DamagedRecord(f"{error}; remove it to have it trained again") from error

    def _load(self, file: Path, expected: str | None) -> dict[str, Tensor]:
        try:
            _match(_checksum(file), expected)
            return load_file(file)
        except (OSError, ValueError, SafetensorError) as error:
            raise DamagedRecord(f"{file}: {_reason(error)}") from error

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that were recorded: "test", "val", "train" (a fixed subset), perhaps "ood" and "corrupted"."""
        return tuple(name.removeprefix("labels.") for name in sorted(self._tensors) if name.startswith("labels."))

    def logits(self, split: str = "test") -> Tensor:
        """(N, K) float32, less the maximum of each row. Where images have several views, each view is a block of all images."""
        self._check(split)
        return self._tensors[f"logits.{split}"].float()

    def labels(self, split: str = "test") -> Tensor:
        """(N,) int64, one for each row of the logits."""
        self._check(split)
        labels = self._tensors[f"labels.{split}"].long()
        return labels.repeat(len(self._tensors[f"logits.{split}"]) // len(labels))

    def images(self, split: str = "test") -> Tensor:
        """(N,) int64: which image each row of the logits answers; rows of one image belong together in a bootstrap."""
        self._check(split)
        rows = len(self._tensors[f"logits.{split}"])
        views = len(self._tensors["logits.test"]) // len(self._tensors["labels.test"]) if split in ("test", "val") else 1
        return torch.arange(rows // views).repeat(views)

    @property
    def probe(self) -> Probe:
        """Answers on mixed test images."""
        return self._probe("probe", self._json["lam"])

    @property
    def train_probe(self) -> Probe:
        """Answers on mixed training images of two classes, at lam 0, 0.5, 1: where the authors' script measures linearity."""
        return self._probe("train_probe", FEATURE_LAMS)

    def _probe(self, name: str, lam: Sequence[float]) -> Probe:
        labels, pairs = (self._tensor(f"{name}.{part}").long() for part in ("labels", "pairs"))
        return Probe(self._tensor(f"{name}.logits").float(), torch.tensor(lam, dtype=torch.float64), labels, pairs)

    @property
    def noise_logits(self) -> Tensor | None:
        """(O, K) float32 answers on the first image of each one-class pair of the probe plus noise, as uncertain as on blends; or None."""
        found = self._tensors.get("noise.logits")
        return None if found is None else found.float()

    @property
    def noise_sigma(self) -> float:
        """Of that noise, in standard deviations of the normalised images; nan where there is none."""
        return float(self._tensors.get("noise.sigma", torch.tensor(math.nan)))

    @property
    def features(self) -> Tensor:
        """(M, d) float32 penultimate features of the first M test images."""
        return self._tensor("features.test").float()

    @property
    def probe_features(self) -> Tensor:
        """(3, Q, d) float32 penultimate features of the first Q pairs of the probe, all of two classes, at lam 0, .5 and 1."""
        return self._tensor("features.probe").float()

    @property
    def projection(self) -> Tensor | None:
        """(N,) float32: h(x) of each test image for a teacher with an input-dependent temperature, else None."""
        found = self._tensors.get("projection.test")
        return None if found is None else found.float()

    def _tensor(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise DamagedRecord(f"{self.path / 'tensors.safetensors'}: no tensor {name}")
        return self._tensors[name]

    def _check(self, split: str) -> None:
        if split not in self.splits:
            known = ", ".join(self.splits)
            raise UnknownName(f"split {split!r}: record {self.id} has {known}{nearest(split, self.splits)}")

    @cached_property
    def temperature(self) -> float:
        """The post-hoc temperature that minimises NLL on validation data; 1, with a warning, where those cannot tell it."""
        fitted = calibration.fit_temperature(self.logits("val"), self.labels("val"))
        if why := calibration.unfit(self.logits("val"), self.labels("val"), fitted):
            warnings.warn(f"record {self.id}: {why}; it stays 1", RuntimeWarning, stacklevel=2)
            return 1.0
        return fitted

    def report(self, *, scaled: bool = False) -> calibration.Report:
        """All calibration figures on test data; ``scaled``: after post-hoc temperature scaling, fitted on validation data."""
        return calibration.report(self.logits(), self.labels(), temperature=self.temperature if scaled else 1.0)

    def __repr__(self) -> str:
        return f"<Record {self.id} {self.spec.data} {self.spec.arm} {self.spec.student} seed {self.spec.seed}>"


class Records(Sequence[Record]):
    """A list of records that knows how to become a table.

    Attributes:
        failed: messages of runs that were asked for and could not be made, by id.
    """

    def __init__(self, records: Iterable[Record], failed: Mapping[str, str] | None = None) -> None:
        self._records = list(records)
        self.failed = dict(failed or {})

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> Records: ...
    def __getitem__(self, index: int | slice) -> Record | Records:
        return Records(self._records[index]) if isinstance(index, slice) else self._records[index]

    def __len__(self) -> int:
        return len(self._records)

    def select(self, /, **fields: Any) -> Records:
        """The records whose spec has these values; ``teacher`` is a model name, ``teacher_...`` a field of the teacher.

        Raises:
            UnknownName: for a name no spec has.
        """
        for name in fields:
            if name not in _COLUMNS:
                raise UnknownName(f"{name!r}: select by {', '.join(_COLUMNS)}{nearest(name, _COLUMNS)}")
        return Records(record for record in self if all(_columns(record.spec)[name] == value for name, value in fields.items()))

    def frame(self) -> pd.DataFrame:
        """One row for each record: what it was, its calibration figures on test, and temperature-scaled (``ts_``)."""
        return pd.DataFrame([_row(record) for record in self])


_COLUMNS = (
    "data", "arm", "student", "teacher", "teacher_arm", "teacher_seed", "teacher_temperature", "teacher_factor", "teacher_spread",
    "teacher_epochs", "tau",
    "alpha", "partial", "lam_per", "smoothing", "kd_weight", "ce_weight", "epochs", "train_size", "seed",
)  # fmt: skip


def _columns(spec: RunSpec) -> dict[str, Any]:
    """The spec as table columns; what an arm does not use is None, except alpha, which is 0 without mixing."""
    teacher = spec.teacher
    used = spec.arm_fields
    return {
        "data": spec.data,
        "arm": spec.arm,
        "student": spec.student,
        "teacher": teacher and teacher.model,
        "teacher_arm": teacher and teacher.arm,
        "teacher_seed": None if teacher is None else teacher.seed,
        "teacher_temperature": teacher and teacher.temperature,
        "teacher_factor": teacher and teacher.temperature_factor,
        "teacher_spread": None if teacher is None else teacher.temperature_spread,
        "teacher_epochs": teacher and teacher.epochs,
        "epochs": spec.epochs,
        "train_size": spec.train_size,
        "seed": spec.seed,
        **{
            name: getattr(spec, name) if name in used else (0.0 if name == "alpha" else None)
            for name in ("tau", "alpha", "partial", "lam_per", "smoothing", "kd_weight", "ce_weight")
        },
    }


def _row(record: Record) -> dict[str, Any]:
    native, scaled = record.report(), record.report(scaled=True)
    return {
        "id": record.id,
        **_columns(record.spec),
        **asdict(native),
        "temperature": record.temperature,
        **{f"ts_{name}": value for name, value in asdict(scaled).items()},
    }


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

    def ids(self) -> list[str]:
        """The ids of all records, sorted. A record that is being written has no id yet."""
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
        """All records that can be read; damaged ones are skipped, :meth:`verify` names them."""
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

    def __iter__(self) -> Iterator[Record]:
        return iter(self.list())

    def load(self, id: str) -> Record:
        """The record of an id (or of an unambiguous beginning of one).

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
        """The records of these specs, in their order; the others are in ``.failed``: missing, or what is damaged."""
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
        """Where the weights of a run lie, or None when they were not kept."""
        for path in (self.path / id / "model.safetensors", self.path / ".weights" / f"{id}.safetensors"):
            if path.is_file():
                return path
        return None

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
        """Write a record: temporary sibling, fsync, rename. A reader sees a whole one or none; a full disk, nothing.

        Args:
            tensors: as :func:`mixkd.evaluate.evaluate` returns them; logits are packed, features become float16.
            weights: a state dict.
            inputs: what the network takes, see :attr:`Record.inputs`.

        Logits are stored as float16 after subtracting the maximum of each row: where probabilities are decided, near the maximum, the
        rounding error is smallest. No softmax can tell the offset.
        """
        with self._placing(spec.id) as folder:
            kept = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
            size = sum(tensor.numel() * tensor.element_size() for tensor in kept.values())
            heavy = size > WEIGHTS_CAP
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
            sums = "".join(f"{_sha256(folder / name)}  {name}\n" for name in _FILES if (folder / name).exists())
            if heavy:
                sums += f"{_sha256(folder / _HEAVY)}  {_beside(spec.id)}\n"
            (folder / _SUMS).write_text(sums, encoding="utf-8")
        return Record(self.path / spec.id)

    def files(self, id: str) -> dict[str, bytes]:
        """Return the files of a record and its weights, for :meth:`receive` of another store, which names what cannot be read here."""
        places = {name: self.path / id / name for name in (*_FILES, _SUMS)} | {_HEAVY: self.path / ".weights" / f"{id}.safetensors"}
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
        """A hidden folder to fill, which then takes its place as the record of that id."""
        self.path.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{id}.", dir=self.path))
        target, old = self.path / id, folder.with_name(f"{folder.name}.old")
        try:
            yield folder
            for path in folder.iterdir():
                os.chmod(path, 0o644)  # safetensors and mkdtemp keep theirs to one user; a store may be shared
                _fsync(path)
            os.chmod(folder, 0o755)
            if (folder / _HEAVY).exists():  # before the record: who sees the record finds its weights
                beside = self.path / ".weights" / f"{id}.safetensors"
                beside.parent.mkdir(exist_ok=True)
                os.replace(folder / _HEAVY, beside)
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

    def lock(self, id: str, wait: bool = True) -> AbstractContextManager[object]:
        """To be held while a run is trained, so that two processes on one store do not train the same one.

        Raises:
            TimeoutError: on entry, when somebody holds it and ``wait`` is False.
            IsADirectoryError: when a folder lies where the lock should be.
        """
        lock = self.path / ".locks" / f"{id}.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        if lock.is_dir():
            raise IsADirectoryError(f"lock {lock}: is a folder, where a file is needed; remove it")
        return FileLock(lock, timeout=-1 if wait else 0)

    def sweep(self, id: str) -> None:
        """Remove what a killed writer of this id left behind. Call it only while nobody else writes that id."""
        for folder in self.path.glob(f".{id}.*"):
            if folder.is_dir():
                shutil.rmtree(folder, ignore_errors=True)


def _beside(id: str) -> str:
    """What the checksums of a record call the weights that lie beside it."""
    return f"../.weights/{id}.safetensors"


def _sums(folder: Path) -> dict[str, str]:
    """The checksums of a record by file; OSError or ValueError where they cannot be read, or are of other files than a record's."""
    *lines, rest = _bytes(folder / _SUMS).decode().split("\n")
    sums = {line[66:]: line[:64] for line in lines if re.fullmatch("[0-9a-f]{64}  .+", line)}
    strange = sums.keys() - {*_FILES, _beside(folder.name)}
    if rest or len(sums) < len(lines) or strange:
        raise ValueError(f"is no list of checksums of {folder.name}")
    if unlisted := sorted({"record.json", "tensors.safetensors"} - sums.keys()):
        raise ValueError(f"does not list {', '.join(unlisted)}")
    return sums


def _problems(folder: Path) -> list[str]:
    """What is wrong with one record: a line for each of its files, or for what it says."""
    problems: list[str] = []
    file = folder / _SUMS
    try:
        sums = _sums(folder)
        if unlisted := sorted({path.name for path in folder.iterdir()} - {_SUMS, *sums}):
            problems.append(f"{file}: does not list {', '.join(unlisted)[:200]}")
        for name, expected in sums.items():
            heavy = name == _beside(folder.name)
            file = folder.parent / ".weights" / f"{folder.name}.safetensors" if heavy else folder / name
            try:
                _match(_checksum(file, anew=True, link=heavy), expected)
            except (OSError, ValueError) as error:
                if not (heavy and isinstance(error, FileNotFoundError)):  # a record is whole without its heavy weights
                    problems.append(f"{file}: {_reason(error)}")
        if problems:
            return problems
        file = folder / "tensors.safetensors"
        nonsense = _nonsense(Record(folder))
        return [f"{file}: {nonsense}"] if nonsense else []
    except DamagedRecord as error:
        return [str(error)]
    except (OSError, ValueError, KeyError, TypeError, IndexError, RuntimeError) as error:
        return [f"{file}: {_reason(error)}"]


def _nonsense(record: Record) -> str:
    """What the answers of a record cannot mean, though its files are as they were written; empty where there is nothing."""
    tensors, classes, lam = record._tensors, len(record.classes), len(record._json["lam"])
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            return f"{name} is not finite"
    for split in dict.fromkeys(["test", "val", "train", *record.splits]):
        logits, labels = record._tensor(f"logits.{split}"), record._tensor(f"labels.{split}")
        if logits.ndim != 2 or logits.shape[1] != classes or not logits.is_floating_point():
            return f"logits.{split} of shape {tuple(logits.shape)} are no answers of {classes} classes"
        if labels.ndim != 1 or not len(labels) or len(logits) % len(labels):
            return f"{len(logits)} answers of split {split} do not fit its {len(labels)} labels"
        if labels.is_floating_point() or int(labels.min()) < (-1 if split == "ood" else 0) or int(labels.max()) >= classes:
            return f"labels.{split} are not from 0 to {classes - 1}"
    for name, split, rows in (("probe", "test", lam), ("train_probe", "train", len(FEATURE_LAMS))):
        logits, labels, pairs = (record._tensor(f"{name}.{part}") for part in ("logits", "labels", "pairs"))
        if logits.shape != (rows, len(pairs), classes):
            return f"{name}.logits of shape {tuple(logits.shape)} are no answers of {classes} classes at {rows} lam to {len(pairs)} pairs"
        shown = tensors[f"labels.{split}"]
        if (
            pairs.is_floating_point()
            or int(pairs.min()) < 0
            or int(pairs.max()) >= len(shown)
            or not torch.equal(shown[pairs.long()], labels)
        ):
            return f"{name}.labels are not those of its pairs"
    if record._tensor("features.test").ndim != 2 or record._tensor("features.probe").ndim != 3:
        return "features are no vectors"
    if not bool(((record.probe.lam >= 0) & (record.probe.lam <= 1)).all()) or not all(isinstance(name, str) for name in record.classes):
        return "lam or classes are not what they are called"
    record.curve, record.provenance  # noqa: B018
    return ""


def _reason(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"no field {error}" if isinstance(error, KeyError) else "; ".join(str(error).splitlines())


def committed_path() -> Path:
    """The records that ship with the repository.

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


def _match(found: str, expected: str | None) -> None:
    if found != expected:
        raise ValueError("differs from its checksum")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


_hashed: dict[tuple[int, ...], str] = {}


def _checksum(path: Path, *, anew: bool = False, link: bool = True) -> str:
    """The SHA-256 of a regular file, computed once while the file keeps its inode, size and times.

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
    if anew or key not in _hashed:
        checksum = _sha256(path)
        if time.time_ns() - found.st_ctime_ns < 2 * 10**9:
            return checksum
        _hashed[key] = checksum
    return _hashed[key]


def _bytes(path: Path) -> bytes:
    """What a file of a record holds; OSError for anything but a regular file in the folder of the record itself."""
    for place in (path, path.parent):
        if place.is_symlink():
            raise OSError(f"{'is' if place == path else 'its folder is'} a link; a record holds its files itself")
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError("is not a regular file")
    return path.read_bytes()


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
