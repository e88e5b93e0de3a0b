"""What a claim is judged from: the records of one profile, read as tables and paired by seed.

Nothing is trained, selected or tuned; what was looked at is remembered, so that a verdict can name it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mixkd.claims.verdicts import Comparison, Verdict, every
from mixkd.measure import statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record, Records, RecordStore
from mixkd.spec import ARMS
from mixkd.studies import Profile, load_profile, study

EQUIVALENCE = {"digits": 0.02, "gaussians": 0.02, "gaussians16": 0.02}
EQUIVALENCE_DEFAULT = 0.01
"""Accuracy differences smaller than this count as none: two points on small data, one on images. Fixed beforehand."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the abstract, in our words, and how it is judged; ``asks_teachers``: from the teachers' own records too."""

    letter: str
    title: str
    sentence: str
    statistic: str
    rule: str
    rivals: str
    chapter: str
    studies: tuple[str, ...]
    judge: Callable[[Evidence], Verdict] = field(repr=False)
    asks_teachers: bool = False


class Evidence:
    """The records of one profile in one store, as tables; read when asked for."""

    def __init__(self, profile: Profile, store: RecordStore) -> None:
        self.profile, self.store = profile, store
        self.used: set[str] = set()
        self._frames: dict[str, pd.DataFrame] = {}

    @classmethod
    def of(cls, profile: str, store: str | Path | RecordStore) -> Evidence:
        """The evidence a profile has in a store, by name."""
        return cls(load_profile(profile), store if isinstance(store, RecordStore) else RecordStore(store))

    def records(self, name: str) -> Records:
        """The records of a study that are there."""
        return self._note(self.store.find(study(name, self.profile.name)))

    def _note(self, records: Records) -> Records:
        """Remember what was looked at: a verdict names it."""
        self.used |= {record.id for record in records}
        return records

    def teacher_of(self, record: Record) -> Record | None:
        """The record of a student's teacher, when it is there and can be read."""
        run = record.spec.teacher_run()
        found = self._note(self.store.find([run])) if run is not None else ()
        return found[0] if found else None

    def students(self, name: str, **fields: Any) -> dict[int, Record]:
        """The students of a study with these fields, by seed; the recipe's own epochs, student and teacher unless said otherwise."""
        plain = self.profile.spec("kd", 0)
        wanted = {"student": plain.student, "epochs": plain.epochs, **fields}
        if ARMS[fields["arm"]].distils:
            wanted = {"teacher": self.profile.default_teacher, "teacher_arm": "ce", "teacher_temperature": 1.0,
                      "teacher_spread": 0.0, "tau": plain.tau, **wanted}  # fmt: skip
        found = self.store.find(study(name, self.profile.name)).select(**wanted)
        return {record.spec.seed: record for record in self._note(found)}

    def frame(self, name: str) -> pd.DataFrame:
        """A study as a table, see :meth:`Records.frame`."""
        if name not in self._frames:
            self._frames[name] = self.records(name).frame()
        frame = self._frames[name]
        self.used |= set(frame["id"]) if len(frame) else set()
        return frame

    @cached_property
    def accuracy_margin(self) -> float:
        """Accuracy differences inside +- this are none."""
        return EQUIVALENCE.get(self.profile.data, EQUIVALENCE_DEFAULT)


def judged(evidence: Evidence, letter: str, stated: Sequence[Comparison], rivals: Sequence[Comparison], note: str = "") -> Verdict:
    """As stated where every comparison holds; attributed where it holds and every rival is cleared too."""
    as_stated = every(comparison.outcome for comparison in stated)
    attributed = every([as_stated, *(comparison.outcome for comparison in rivals)])
    return Verdict(letter, evidence.profile.name, as_stated, attributed, tuple(stated), tuple(rivals), note)


def paired(frame: pd.DataFrame, column: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """A column of two groups of runs, aligned on the seeds both have."""
    first, second = (pick(frame, choice).set_index("seed")[column] for choice in (one, other))
    seeds = sorted(set(first.index) & set(second.index))
    return first.loc[seeds].to_numpy(dtype=float), second.loc[seeds].to_numpy(dtype=float)


def pick(frame: pd.DataFrame, choice: Mapping[str, Any]) -> pd.DataFrame:
    """The rows whose columns have these values."""
    for name, value in choice.items():
        frame = frame[frame[name] == value]
    return frame


def difference(frame: pd.DataFrame, column: str | tuple[str, str], one: Mapping[str, Any], other: Mapping[str, Any]) -> Interval:
    """A column of one group less that of another (or another column of it), paired by seed."""
    first, second = (column, column) if isinstance(column, str) else column
    a, _ = paired(frame, first, one, other)
    _, b = paired(frame, second, one, other)
    return statistics.paired_difference(a, b)


def log_ratio(frame: pd.DataFrame, column: str, over: Mapping[str, Any], under: Mapping[str, Any], floor: float = 0.0) -> Interval:
    """log10 of a ratio, paired by seed; values below the floor count as the floor, since they cannot be told from it."""
    a, b = (np.maximum(values, floor) for values in paired(frame, column, over, under))
    with np.errstate(divide="ignore", invalid="ignore"):
        return statistics.t_interval(np.log10(a) - np.log10(b))


def over_seeds(values: Sequence[float] | np.ndarray) -> Interval:
    """The 95 % t interval of the mean of one value a seed."""
    return statistics.t_interval(np.asarray(values, dtype=float))


def over_pairs(values: np.ndarray) -> Interval:
    """The interval of the mean over pairs of independent units from a symmetric table."""

    def mean(units: Sequence[int]) -> float:
        pairs = [values[i, j] for i in units for j in units if i < j]
        return float(np.mean(pairs)) if pairs else math.nan

    return statistics.jackknife(mean, len(values))
