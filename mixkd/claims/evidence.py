"""What a claim is judged from: the records of one profile by cell of the map, their figures, and common draws of their images.

Nothing is trained, selected or tuned here. What was looked at and what was not there is remembered, so that a verdict can name it.
How to judge from it::

    evidence = Evidence.of("digits", "committed")
    ours, base = evidence.students(cell, "kd_mixup"), evidence.students(cell, "ce")
    part = compare("accuracy, kd_mixup - ce", evidence.difference("accuracy", ours, base), unit="points")

A figure of one record is an array (R + 1,): entry 0 is the figure itself, the others are the same under R draws of test images, which
are common to all records (:mod:`mixkd.measure.resampling`). Any function of such arrays, seed by seed, becomes an interval over seeds
and images by :meth:`Evidence.over`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mixkd.claims.verdicts import Comparison, Premise, Verdict, conclude, explain
from mixkd.measure import calibration, resampling, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record, Records
from mixkd.spec import ARMS, RunSpec
from mixkd.store import RecordStore
from mixkd.studies import Cell, Profile, cell_spec, cells, load_profile, study

Array = NDArray[Any]
BySeed = Mapping[int, Record]

ACCURACY_MARGIN = {"digits": 0.02, "gaussians": 0.02, "gaussians16": 0.02}
ACCURACY_MARGIN_DEFAULT = 0.01
"""Accuracy differences smaller than this count as none: two points on small data, one on photographs. Fixed beforehand."""


@dataclass(frozen=True)
class Claim:
    """A sentence of the abstract, in our words, and how it is judged.

    Attributes:
        letter, title, sentence, statistic, rule, rivals, chapter: for readers.
        studies: those that train what it needs, the cheapest to run first; a missing run is sought in them in this order.
        judge: the verdict from the evidence of a profile in a cell. Cell None is the claim's own line in the ledger: the paper's cell.
        per: what one row of the map is: a "cell"; a "column" of all tau under one teacher and calibration; a "teacher" in one calibration,
            whatever its students' tau; the whole "profile".
    """

    letter: str
    title: str
    sentence: str
    statistic: str
    rule: str
    rivals: str
    chapter: str
    studies: tuple[str, ...]
    judge: Callable[[Evidence, Cell | None], Verdict] = field(repr=False)
    per: Literal["cell", "column", "teacher", "profile"] = "cell"


class Evidence:
    """The records of one profile in one store, read when asked for.

    Attributes:
        profile, store: whose records, and where.
        used: ids of the records that were looked at.
        lacking: specs that were asked for and are not there (or are damaged), by id.
    """

    def __init__(self, profile: Profile, store: RecordStore) -> None:
        self.profile, self.store = profile, store
        self.used: set[str] = set()
        self.lacking: dict[str, RunSpec] = {}
        self._records: dict[str, Record | None] = {}
        self._frames: dict[str, pd.DataFrame] = {}
        self._planned: dict[str, frozenset[str]] = {}

    @classmethod
    def of(cls, profile: str, store: str | Path | RecordStore) -> Evidence:
        """The evidence a profile has in a store, by name."""
        return cls(load_profile(profile), store if isinstance(store, RecordStore) else RecordStore(store))

    # --- records ---------------------------------------------------------------------------------------------------------

    def find(self, specs: Iterable[RunSpec]) -> Records:
        """Return the records of these specs that are there, in their order; each is read once."""
        wanted = list(dict.fromkeys(specs))
        new = [spec for spec in wanted if spec.id not in self._records]
        if new:
            self._records |= dict.fromkeys((spec.id for spec in new), None)
            self._records |= {record.id: record for record in self.store.find(new)}
        found = [record for spec in wanted if (record := self._records[spec.id]) is not None]
        self.used |= {record.id for record in found}
        self.lacking |= {spec.id: spec for spec in wanted if self._records[spec.id] is None}
        return Records(found)

    def by_seed(self, specs: Iterable[RunSpec]) -> dict[int, Record]:
        """Return the records of specs that differ in their seed, by seed."""
        return {record.spec.seed: record for record in self.find(specs)}

    def students(self, cell: Cell | None, arm: str, **fields: Any) -> dict[int, Record]:
        """Return the students of an arm in a cell, by seed.

        Args:
            cell: None for the paper's. An arm that does not distil has the same students in every cell.
            arm: name.
            fields: of the RunSpec where they differ from the profile's recipe.

        Returns:
            Those that are there; none in a cell in which no study trains this arm.
        """
        at = cell or self.profile.paper_cell
        everyone = not fields and (at == self.profile.paper_cell or not ARMS[arm].distils)
        seeds = self.profile.core_seeds if everyone else self.profile.swept_seeds
        if not ARMS[arm].distils:
            return self.by_seed(self.profile.spec(arm, seed, **fields) for seed in seeds)
        if arm in ("kd", "kd_mixup") and at not in cells(self.profile, arm):
            return {}
        specs = (cell_spec(self.profile, arm, seed, at) for seed in seeds)
        return self.by_seed(spec.replace(**fields) if fields else spec for spec in specs)

    def teacher_of(self, record: Record) -> Record | None:
        """Return the record of a student's teacher, when it is there and can be read."""
        run = record.spec.teacher_run()
        found = self.find([run]) if run is not None else ()
        return found[0] if found else None

    def teachers(self, students: BySeed) -> dict[int, Record]:
        """Return the teachers of students, by the seed of the student; those that are not there are left out."""
        return {seed: teacher for seed, record in students.items() if (teacher := self.teacher_of(record)) is not None}

    def records(self, name: str) -> Records:
        """Return the records of a study that are there."""
        return self.find(study(name, self.profile.name))

    def planned(self, name: str) -> frozenset[str]:
        """Return the ids of everything that running a study trains, its teachers included."""
        if name not in self._planned:
            specs = study(name, self.profile.name)
            taught = (run for spec in specs if (run := spec.teacher_run()) is not None)
            self._planned[name] = frozenset(spec.id for spec in (*specs, *taught))
        return self._planned[name]

    def select(self, name: str, **columns: Any) -> dict[int, Record]:
        """Return the records of a study with these columns (see :meth:`Records.select`), by seed."""
        return {record.spec.seed: record for record in self.records(name).select(**columns)}

    def frame(self, name: str) -> pd.DataFrame:
        """Return a study as a table, see :meth:`Records.frame`."""
        if name not in self._frames:
            self._frames[name] = self.records(name).frame()
        frame = self._frames[name]
        self.used |= set(frame["id"]) if len(frame) else set()
        return frame

    @cached_property
    def accuracy_margin(self) -> float:
        """Accuracy differences inside +- this are none."""
        return ACCURACY_MARGIN.get(self.profile.data, ACCURACY_MARGIN_DEFAULT)

    # --- figures and their draws -------------------------------------------------------------------------------------------

    @cached_property
    def draws(self) -> int:
        """R, the number of common draws of test images (or of probe pairs: ``resampling.weights(pairs)``)."""
        return resampling.DRAWS

    def measures(self, record: Record) -> Mapping[str, Array]:
        """Return the figures of a record on test data: name -> (R + 1,) float64, entry 0 the figure, the others under the draws.

        Names: accuracy, confidence, nll (nats), ece, oe, under, gap (confidence - accuracy); each also as ``ts_NAME`` at the record's
        post-hoc temperature, which stays fixed; and log_temperature, the log of that temperature, drawn over its validation images.
        """
        return _measures(record)

    def resampled(self, record: Record) -> dict[str, Array]:
        """Return the figures of :meth:`measures` under the draws alone: name -> (R,)."""
        return {name: values[1:] for name, values in self.measures(record).items()}

    def over(self, values: Mapping[int, Array]) -> Interval:
        """Return the interval over seeds and images of a statistic's mean over seeds.

        Students of one teacher are not independent. Where several teachers have several students each, the mean over a teacher's
        students is one value, and `n` counts teachers. Where all students share one teacher, seeds are the unit: the interval then
        holds for that teacher alone, see :attr:`shared_teacher`.

        Args:
            values: by student seed, (R + 1,) each, entry 0 the statistic itself. (1,) for one that no draw changes.
        """
        units: dict[int, list[Array]] = {}
        teachers = {seed: self.profile.teacher_seed(seed) for seed in values}
        alone = len(set(teachers.values())) == 1
        for seed in sorted(values):
            units.setdefault(seed if alone else teachers[seed], []).append(np.atleast_1d(values[seed]))
        rows = [np.mean(found, axis=0) for found in units.values()]
        if not rows:
            return statistics.t_interval([])
        table = np.stack(rows)
        return statistics.crossed(table[:, 0], table[:, 1:]) if table.shape[1] > 1 else statistics.t_interval(table[:, 0])

    def over_teachers(self, values: Mapping[str, Array]) -> Interval:
        """Return the interval of a statistic of teachers, (R + 1,) by teacher id; of a single one over images alone."""
        table = np.stack(list(values.values())) if values else np.empty((0, 2))
        if len(table) == 1:
            return statistics.over_images(float(table[0, 0]), table[0, 1:])
        return statistics.crossed(table[:, 0], table[:, 1:])

    @property
    def shared_teacher(self) -> str:
        """A sentence for the note where all students share one teacher, else ""."""
        several = len(self.profile.core_seeds) > 1 and self.profile.teacher_seeds == 1
        return "All students share one teacher: the intervals hold for that teacher." if several else ""

    def difference(self, column: str, one: BySeed, other: BySeed) -> Interval:
        """Return the interval of a figure of one group less that of another, paired by seed, over seeds and images."""
        return self.contrast(lambda a, b: a[column] - b[column], one, other)

    def contrast(self, statistic: Callable[..., Array], *groups: BySeed) -> Interval:
        """Return the interval of a statistic of the figures of several groups, for the seeds that all of them have.

        Args:
            statistic: of one mapping (see :meth:`measures`) for each group, an array (R + 1,).
            groups: records by seed.
        """
        seeds = sorted(set(groups[0]).intersection(*groups[1:])) if groups else []
        return self.over({seed: statistic(*(self.measures(group[seed]) for group in groups)) for seed in seeds})


def judged(
    evidence: Evidence,
    claim: str,
    cell: Cell | None,
    premises: Sequence[Premise],
    stated: Sequence[Comparison],
    rivals: Sequence[Comparison],
    note: str = "",
    shown: Sequence[Comparison] = (),
) -> Verdict:
    """Return the verdict on these comparisons, its note opening with what its word owes the reader."""
    as_stated, attributed = conclude(premises, stated, rivals)
    sentences = [explain(premises, stated, as_stated), note, evidence.shared_teacher if as_stated != "not run" else ""]
    return Verdict(
        claim, evidence.profile.name, cell, as_stated, attributed, tuple(stated), tuple(rivals), tuple(premises),
        note=" ".join(sentence for sentence in sentences if sentence), shown=tuple(shown),
    )  # fmt: skip


_MEASURES: dict[tuple[str, int], dict[str, Array]] = {}
_FLOORS: dict[tuple[str, int, float], calibration.NoiseFloor] = {}
"""Figures of records this process has read, by folder and time of writing."""


def record_key(record: Record) -> tuple[str, int]:
    """Return what a cache knows a record by: its folder and time of writing."""
    return str(record.path.resolve()), (record.path / "tensors.safetensors").stat().st_mtime_ns


def _measures(record: Record) -> dict[str, Array]:
    key = record_key(record)
    if key not in _MEASURES:
        found = resampling.resampled(record.logits(), record.labels(), record.images(), record.temperature)
        found["log_temperature"] = resampling.log_temperature(
            record.logits("val"), record.labels("val"), record.images("val"), record.temperature
        )
        _MEASURES[key] = found
    return _MEASURES[key]


FLOOR_DRAWS = 200


def overconfidence_floor(records: Iterable[Record], *, scaled: bool = False) -> Interval:
    """Return the overconfidence error that perfectly calibrated models with these models' confidences would show by chance.

    Views of one image are not independent; their number counts by the effective sample size N / (1 + (m - 1) rho), m views an image,
    rho the intra-image correlation of hit minus confidence.

    Args:
        records: of the models.
        scaled: whether the confidences are those after each model's post-hoc temperature.

    Returns:
        An Interval whose `estimate` and `low` are the mean of the floor and `high` its 95th percentile, averaged over the records.
    """
    floors = [_floor(record, record.temperature if scaled else 1.0) for record in records]
    if not floors:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(np.mean([floor.oe for floor in floors]))
    return Interval(mean, mean, float(np.mean([floor.oe_high for floor in floors])), len(floors))


def _floor(record: Record, temperature: float) -> calibration.NoiseFloor:
    key = (*record_key(record), temperature)
    if key not in _FLOORS:
        confidence, answer = calibration.confidences(record.logits() / temperature)
        images = record.images().numpy()
        residual = (answer == record.labels().numpy()) - confidence
        views = len(residual) / (int(images.max()) + 1)
        n = round(len(residual) / (1 + (views - 1) * max(0.0, _intraclass(residual, images))))
        _FLOORS[key] = calibration.noise_floor(confidence, n=n, draws=FLOOR_DRAWS)
    return _FLOORS[key]


def _intraclass(residual: Array, images: Array) -> float:
    """Intra-class correlation of values with equally many for each image, by one-way analysis of variance; 0 for one an image."""
    views, n = len(residual) / (int(images.max()) + 1), int(images.max()) + 1
    if views <= 1 or n < 2:
        return 0.0
    means = np.bincount(images, residual) / views
    between = views * means.var(ddof=1)
    within = ((residual - means[images]) ** 2).sum() / (n * (views - 1))
    return float((between - within) / (between + (views - 1) * within)) if between + within > 0 else 0.0
