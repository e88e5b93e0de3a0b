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

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar, cast

import numpy as np
import pandas as pd

from mixkd.arrays import Array
from mixkd.claims.verdicts import Case
from mixkd.measure import calibration, resampling, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record, Records
from mixkd.spec import ARMS, RunSpec
from mixkd.store import RecordStore
from mixkd.studies import CALIBRATIONS, Cell, Profile, cell_spec, cells, load_profile, study

P = ParamSpec("P")
T = TypeVar("T")
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
        judge: what the evidence of a profile says in a cell.
        per: what one row of the map is: a "cell"; a "column" of all tau under one teacher and calibration; a "teacher" in one calibration,
            whatever its students' tau; the whole "profile".
        overall: what it says on the claim's own line in the ledger, where that is not what it says in the paper's cell.
    """

    letter: str
    title: str
    sentence: str
    statistic: str
    rule: str
    rivals: str
    chapter: str
    studies: tuple[str, ...]
    judge: Callable[[Evidence, Cell], Case] = field(repr=False)
    per: Literal["cell", "column", "teacher", "profile"] = "cell"
    overall: Callable[[Evidence], Case] | None = field(default=None, repr=False)


class Evidence:
    """The records of one profile in one store, read when asked for.

    Attributes:
        profile, store: whose records, and where.
        used: ids of the records that were looked at.
        lacking: ids of those that were asked for and are not there (or are damaged).
    """

    def __init__(self, profile: Profile, store: RecordStore) -> None:
        self.profile, self.store = profile, store
        self.used: set[str] = set()
        self.lacking: set[str] = set()
        self._records: dict[str, Record | None] = {}
        self._frames: dict[str, pd.DataFrame] = {}
        self._planned: dict[str, frozenset[str]] = {}

    @classmethod
    def of(cls, profile: str, store: str | Path | RecordStore) -> Evidence:
        """Return the evidence for a profile, by name, in a store."""
        return cls(load_profile(profile), RecordStore.existing(store))

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
        self.lacking |= {spec.id for spec in wanted if self._records[spec.id] is None}
        return Records(found)

    def by_seed(self, specs: Iterable[RunSpec]) -> dict[int, Record]:
        """Return the records of specs that differ in their seed, by seed."""
        return {record.spec.seed: record for record in self.find(specs)}

    def students(self, cell: Cell | None, arm: str) -> dict[int, Record]:
        """Return the students of an arm in a cell, by seed.

        Args:
            cell: None for the paper's. An arm that does not distil has the same students in every cell.
            arm: name.

        Returns:
            Those that are there; none in a cell in which no study trains this arm.
        """
        profile, at = self.profile, cell or self.profile.paper_cell
        if not ARMS[arm].distils:
            return self.by_seed(profile.spec(arm, seed) for seed in profile.core_seeds)
        if arm in ("kd", "kd_mixup") and at not in cells(profile, arm):
            return {}
        seeds = profile.core_seeds if at == profile.paper_cell else profile.swept_seeds
        return self.by_seed(cell_spec(profile, arm, seed, at) for seed in seeds)

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

    def paired(self, statistic: Callable[..., Array], *groups: BySeed) -> Interval:
        """Return the interval of a statistic of one record from each group, for the seeds that all groups have.

        Args:
            statistic: of as many records as there are groups, an array (R + 1,).
            groups: records by seed.
        """
        seeds = sorted(set(groups[0]).intersection(*groups[1:]))
        return self.over({seed: statistic(*(group[seed] for group in groups)) for seed in seeds})

    def contrast(self, statistic: Callable[..., Array], *groups: BySeed) -> Interval:
        """Return the interval of a statistic of the figures of such records; see :func:`measures`."""
        return self.paired(lambda *records: statistic(*map(measures, records)), *groups)

    def difference(self, column: str, one: BySeed, other: BySeed) -> Interval:
        """Return the interval of a figure of one group less that of another, paired by seed."""
        return self.contrast(lambda a, b: a[column] - b[column], one, other)


# --- figures of one record -------------------------------------------------------------------------------------------------


def kept(read: Callable[Concatenate[Record, P], T]) -> Callable[Concatenate[Record, P], T]:
    """Read a figure of a record once a process; a record is known by its folder and time of writing."""
    found: dict[Hashable, object] = {}

    @wraps(read)
    def reading(record: Record, /, *args: P.args, **kwargs: P.kwargs) -> T:
        written = (record.path / "tensors.safetensors").stat().st_mtime_ns
        key = (str(record.path.resolve()), written, *args, *kwargs.items())
        if key not in found:
            found[key] = read(record, *args, **kwargs)
        return cast(T, found[key])

    return reading


@kept
def measures(record: Record) -> dict[str, Array]:
    """Return the figures of a record on test data: name -> (R + 1,) float64, entry 0 the figure, the others under the draws.

    Names: accuracy, confidence, nll (nats), ece, oe, under, gap (confidence - accuracy); each also as ``ts_NAME`` at the record's
    post-hoc temperature, which stays fixed; and log_temperature, the log of that temperature, drawn over its validation images.
    """
    found = resampling.resampled(record.logits(), record.labels(), record.images(), record.temperature)
    held_out = record.logits("val"), record.labels("val"), record.images("val")
    return found | {"log_temperature": resampling.log_temperature(*held_out, record.temperature)}


def mean_accuracy(records: Iterable[Record]) -> float:
    """Return the mean test accuracy of some records, at least one."""
    return float(np.mean([measures(record)["accuracy"][0] for record in records]))


def accuracies(groups: Mapping[str, BySeed]) -> str:
    """Return the mean accuracy of each group that has records, in words."""
    return ", ".join(f"{name} {100 * mean_accuracy(group.values()):.1f} %" for name, group in groups.items() if group)


def tempering(teacher: Record, calibration: str) -> float:
    """Return what divides a teacher's logits under a calibration of :data:`mixkd.studies.CALIBRATIONS`."""
    fields = CALIBRATIONS[calibration]
    own = teacher.temperature if fields.get("temperature") == "fitted" else float(fields.get("temperature", 1.0))
    return own * float(fields.get("temperature_factor", 1.0))


# --- what chance alone shows -----------------------------------------------------------------------------------------------

FLOOR_DRAWS = 200


def overconfidence_floor(records: Iterable[Record], *, scaled: bool = False) -> tuple[float, float]:
    """Return the overconfidence error that perfectly calibrated models with these models' confidences would show by chance.

    Views of one image are not independent; their number counts by the effective sample size N / (1 + (m - 1) rho), m views an image,
    rho the intra-image correlation of hit minus confidence.

    Args:
        records: of the models.
        scaled: whether the confidences are those after each model's post-hoc temperature.

    Returns:
        Its mean and its 95th percentile, averaged over the records; nan without any.
    """
    floors = [_floor(record, record.temperature if scaled else 1.0) for record in records]
    if not floors:
        return float("nan"), float("nan")
    return float(np.mean([floor.oe for floor in floors])), float(np.mean([floor.oe_high for floor in floors]))


@kept
def _floor(record: Record, temperature: float) -> calibration.NoiseFloor:
    confidence, answer = calibration.confidences(record.logits() / temperature)
    images = record.images().numpy()
    residual = (answer == record.labels().numpy()) - confidence
    views = len(residual) / (int(images.max()) + 1)
    n = round(len(residual) / (1 + (views - 1) * max(0.0, _intraclass(residual, images))))
    return calibration.noise_floor(confidence, n=n, draws=FLOOR_DRAWS)


def _intraclass(residual: Array, images: Array) -> float:
    """Intra-class correlation of values with equally many for each image, by one-way analysis of variance; 0 for one an image."""
    views, n = len(residual) / (int(images.max()) + 1), int(images.max()) + 1
    if views <= 1 or n < 2:
        return 0.0
    means = np.bincount(images, residual) / views
    between = views * means.var(ddof=1)
    within = ((residual - means[images]) ** 2).sum() / (n * (views - 1))
    return float((between - within) / (between + (views - 1) * within)) if between + within > 0 else 0.0
