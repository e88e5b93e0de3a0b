"""What a run was: one record, read from disk without unpickling, and a list of records that becomes a table.

A record holds logits, labels, features, the learning curve and where it came from; never a metric. Metrics are
computed from the logits when a record is read.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from mixkd.checksums import SUMS, beside, check, checksum, read_regular, read_sums, reason
from mixkd.measure import calibration
from mixkd.spec import RunSpec, UnknownName, nearest
from mixkd.vicinal import FEATURE_LAMS

FORMAT = 2


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
            content = read_regular(file)
            self._json: dict[str, Any] = json.loads(content.decode())
            if not isinstance(self._json, dict):
                raise ValueError("holds no JSON object")
            if (known := self._json.get("format")) != FORMAT:
                raise ValueError(f"format {known}; this version reads format {FORMAT}")
            file = path / SUMS
            self._sums = read_sums(path)
            file = path / "record.json"
            check(hashlib.sha256(content).hexdigest(), self._sums[file.name])
            self.spec = RunSpec(**self._json["spec"])
            if self.spec.id != path.name:
                file = path
                raise ValueError(f"its spec has id {self.spec.id}")
            file = path / "tensors.safetensors"
            check(checksum(file, link=False), self._sums[file.name])
            safe_open(file, framework="pt")  # compares the size of the file with its header
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, SafetensorError) as error:
            raise DamagedRecord(f"{file}: {reason(error)}") from error

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
    def tensors(self) -> dict[str, Tensor]:
        """All tensors by name, as they were packed."""
        return self._load(self.path / "tensors.safetensors", self._sums["tensors.safetensors"])

    def tensor(self, name: str) -> Tensor:
        """One of them; DamagedRecord where there is none of that name."""
        if name not in self.tensors:
            raise DamagedRecord(f"{self.path / 'tensors.safetensors'}: no tensor {name}")
        return self.tensors[name]

    def state(self, weights: Path) -> dict[str, Tensor]:
        """Return the state dict of its network from where :meth:`mixkd.store.RecordStore.weights` found it.

        Raises:
            DamagedRecord: when the file is not the one that was written with this record.
        """
        try:
            return self._load(weights, self._sums.get("model.safetensors") or self._sums.get(beside(self.id)))
        except DamagedRecord as error:
            raise DamagedRecord(f"{error}; remove it to have it trained again") from error

    def _load(self, file: Path, expected: str | None) -> dict[str, Tensor]:
        try:
            check(checksum(file), expected)
            return load_file(file)
        except (OSError, ValueError, SafetensorError) as error:
            raise DamagedRecord(f"{file}: {reason(error)}") from error

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that were recorded: "test", "val", "train" (a fixed subset), perhaps "ood" and "corrupted"."""
        return tuple(name.removeprefix("labels.") for name in sorted(self.tensors) if name.startswith("labels."))

    def logits(self, split: str = "test") -> Tensor:
        """(N, K) float32, less the maximum of each row. Where images have several views, each view is a block of all images."""
        return self._of("logits", split).float()

    def labels(self, split: str = "test") -> Tensor:
        """(N,) int64, one for each row of the logits."""
        labels = self._of("labels", split).long()
        return labels.repeat(len(self._of("logits", split)) // len(labels))

    def images(self, split: str = "test") -> Tensor:
        """(N,) int64: which image each row of the logits answers; rows of one image belong together in a bootstrap."""
        rows = len(self._of("logits", split))
        views = len(self._of("logits", "test")) // len(self._of("labels", "test")) if split in ("test", "val") else 1
        return torch.arange(rows // views).repeat(views)

    def _of(self, what: str, split: str) -> Tensor:
        if split not in self.splits:
            raise UnknownName(f"split {split!r}: record {self.id} has {', '.join(self.splits)}{nearest(split, self.splits)}")
        return self.tensor(f"{what}.{split}")

    @property
    def probe(self) -> Probe:
        """Answers on mixed test images."""
        return self._probe("probe", self._json["lam"])

    @property
    def train_probe(self) -> Probe:
        """Answers on mixed training images of two classes, at lam 0, 0.5, 1: where the authors' script measures linearity."""
        return self._probe("train_probe", FEATURE_LAMS)

    def _probe(self, name: str, lam: Sequence[float]) -> Probe:
        labels, pairs = (self.tensor(f"{name}.{part}").long() for part in ("labels", "pairs"))
        return Probe(self.tensor(f"{name}.logits").float(), torch.tensor(lam, dtype=torch.float64), labels, pairs)

    @property
    def noise_logits(self) -> Tensor | None:
        """(O, K) float32 answers on the first image of each one-class pair of the probe plus noise, as uncertain as on blends; or None."""
        return self._optional("noise.logits")

    @property
    def features(self) -> Tensor:
        """(M, d) float32 penultimate features of the first M test images."""
        return self.tensor("features.test").float()

    @property
    def probe_features(self) -> Tensor:
        """(3, Q, d) float32 penultimate features of the first Q pairs of the probe, all of two classes, at lam 0, .5 and 1."""
        return self.tensor("features.probe").float()

    @property
    def projection(self) -> Tensor | None:
        """(N,) float32: h(x) of each test image for a teacher with an input-dependent temperature, else None."""
        return self._optional("projection.test")

    def _optional(self, name: str) -> Tensor | None:
        return self.tensor(name).float() if name in self.tensors else None

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
        """Return the records whose spec has these values; ``teacher`` is a model name, ``teacher_...`` a field of the teacher.

        Raises:
            UnknownName: for a name no spec has.
        """
        for name in fields:
            if name not in _COLUMNS:
                raise UnknownName(f"{name!r}: select by {', '.join(_COLUMNS)}{nearest(name, _COLUMNS)}")
        return Records(record for record in self if fields.items() <= _columns(record.spec).items())

    def frame(self) -> pd.DataFrame:
        """Return one row for each record: what it was, its calibration figures on test, and temperature-scaled (``ts_``)."""
        return pd.DataFrame([_row(record) for record in self])


_STUDENT = ("data", "arm", "student")
_TEACHER = {  # column -> field of the teacher
    "teacher": "model", "teacher_arm": "arm", "teacher_seed": "seed", "teacher_temperature": "temperature",
    "teacher_factor": "temperature_factor", "teacher_spread": "temperature_spread", "teacher_epochs": "epochs",
}  # fmt: skip
_LENGTH = ("epochs", "train_size", "seed")
_ARM = ("tau", "alpha", "partial", "lam_per", "smoothing", "kd_weight", "ce_weight")
_COLUMNS = (*_STUDENT, *_TEACHER, *_LENGTH, *_ARM)


def _columns(spec: RunSpec) -> dict[str, Any]:
    """Return the spec as table columns; what an arm does not use is None, except alpha, which is 0 without mixing."""
    return {
        **{name: getattr(spec, name) for name in _STUDENT},
        **{name: getattr(spec.teacher, field, None) for name, field in _TEACHER.items()},
        **{name: getattr(spec, name) for name in _LENGTH},
        **{name: getattr(spec, name) if name in spec.arm_fields else 0.0 if name == "alpha" else None for name in _ARM},
    }


def _row(record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        **_columns(record.spec),
        **asdict(record.report()),
        "temperature": record.temperature,
        **{f"ts_{name}": value for name, value in asdict(record.report(scaled=True)).items()},
    }
