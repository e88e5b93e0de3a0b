"""What the map of a profile shows: in each cell, how many times less overconfident its students are than the plain ones, and at what price.

The figures are those of claim (e) and are judged by its rule; students distilled without blends, and the plain student after one post-hoc
temperature, are judged alike, so that a reader sees what blends add and what the cheapest rival does. Nothing is trained here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mixkd.arrays import Array
from mixkd.claims.evidence import BySeed, Evidence, measures, tempering
from mixkd.claims.ledger import command, evidence_of, judge
from mixkd.claims.overconfidence import tenfold
from mixkd.claims.premises import not_by_heart, told_from_noise
from mixkd.claims.verdicts import Comparison, Outcome, conclude
from mixkd.measure import calibration, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record
from mixkd.store import RecordStore
from mixkd.studies import CALIBRATIONS, Cell, Profile, cell_spec, cells

BINS = 15
DISTILLED = ("kd_mixup", "kd")
NOTHING = statistics.t_interval([])


@dataclass(frozen=True, eq=False)
class Model:
    """Students (or teachers) of several seeds as one: means of their figures, and one reliability diagram over all their answers.

    Attributes:
        accuracy, confidence, oe, ece, under: means over seeds, in [0, 1].
        nll: mean, nats.
        temperature: geometric mean of the temperatures they need to be calibrated, > 0; above 1 they are too sharp.
        share, bar_confidence, bar_accuracy: (15,) of each bin of equal width: its share of the answers, their mean confidence and
            accuracy (both 0 in an empty bin).
        seeds: by seed, (accuracy, confidence - accuracy, temperature).
    """

    accuracy: float
    confidence: float
    oe: float
    ece: float
    under: float
    nll: float
    temperature: float
    share: Array
    bar_confidence: Array
    bar_accuracy: Array
    seeds: Mapping[int, tuple[float, float, float]]

    @property
    def gap(self) -> float:
        """Confidence - accuracy."""
        return self.confidence - self.accuracy


@dataclass(frozen=True, eq=False)
class Reading:
    """What one arm does in one cell.

    Attributes:
        arm, cell: which; the cell is None for the plain student.
        model: the students; None where none is there.
        ratio: log10 of the overconfidence error of the plain student over theirs, each at least what chance would show.
        gain: their accuracy minus the plain student's, a fraction.
        as_stated, attributed: the words of claim (e); attributed is None for students it is not about.
        needs: log of the temperature they need, over seeds and validation images.
        taught: by student seed, the temperature its teacher needs as it met it.
        why: premises that fail or are not resolved, by name; empty where all are met.
        underconfident: whether the underconfident part of their ECE exceeds a quarter of the plain student's ECE.
        worse: whether their NLL is not lower than the plain student's.
        command: what trains them; "" where all are there.
    """

    arm: str
    cell: Cell | None
    model: Model | None = None
    ratio: Interval = NOTHING
    gain: Interval = NOTHING
    as_stated: Outcome = "not run"
    attributed: Outcome | None = None
    needs: Interval = NOTHING
    taught: Mapping[int, float] = field(default_factory=dict)
    why: tuple[str, ...] = ()
    underconfident: bool = False
    worse: bool = False
    command: str = ""

    @property
    def bought(self) -> bool:
        """Whether a small overconfidence error is paid for: by underconfidence, or without a lower NLL."""
        return self.underconfident or self.worse


@dataclass(frozen=True, eq=False)
class Trade:
    """What the sweep of tau does under one teacher: the largest tau less the smallest.

    Attributes:
        low, high: the two tau.
        accuracy, gap: differences, fractions; gap is confidence - accuracy.
    """

    low: float
    high: float
    accuracy: Interval
    gap: Interval


@dataclass(frozen=True, eq=False)
class Survey:
    """The map of one profile.

    Attributes:
        profile: whose.
        plain: the cross-entropy student.
        rival: the same after one post-hoc temperature.
        readings: by arm and cell, every cell of the grid: teachers x calibrations x tau.
        teachers: by (model, calibration), as their students met them; those that are there.
        trades: by (arm, model, calibration), where two tau are there.
    """

    profile: Profile
    plain: Model
    rival: Reading
    readings: Mapping[tuple[str, Cell], Reading]
    teachers: Mapping[tuple[str, str], Model]
    trades: Mapping[tuple[str, str, str], Trade]

    @property
    def ran(self) -> list[Reading]:
        """The readings of the claim's own arm that have an interval."""
        return [reading for (arm, _), reading in self.readings.items() if arm == "kd_mixup" and reading.as_stated != "not run"]


def survey(only: str | Iterable[str] | None = None, store: str | Path | RecordStore = "committed") -> list[Survey]:
    """Return the map of each profile.

    Args:
        only: name or names of profiles; by default every profile that has a record in the store.
        store: where records lie.

    Returns:
        In the order given; photographs first by default. A profile without plain students is left out.
    """
    return [one for evidence in evidence_of(only, store) if (one := _survey(evidence)) is not None]


def grid(profile: Profile) -> list[Cell]:
    """Return every cell of a profile's map, planned or not: its teachers, the default one first, in each calibration at each tau."""
    teachers = sorted(profile.teachers, key=lambda model: model != profile.default_teacher)
    taus = list(dict.fromkeys([*profile.taus, *profile.map_taus]))
    return [Cell(model, calibration, tau) for model in teachers for tau in taus for calibration in CALIBRATIONS]


def _survey(evidence: Evidence) -> Survey | None:
    profile = evidence.profile
    base = evidence.students(profile.paper_cell, "ce")
    if not base:
        return None
    students = {(arm, cell): _students(evidence, arm, cell) for cell in grid(profile) for arm in DISTILLED}
    taught: dict[tuple[str, str], dict[int, tuple[Record, float]]] = {}
    for (_, cell), own in students.items():
        for teacher in evidence.teachers(own).values():
            met = taught.setdefault((cell.teacher, cell.calibration), {})
            met[teacher.spec.seed] = teacher, tempering(teacher, cell.calibration)
    columns = dict.fromkeys((arm, cell.teacher, cell.calibration) for arm, cell in students)
    return Survey(
        profile,
        plain=_model(base),
        rival=_rival(evidence, base),
        readings={(arm, cell): _reading(evidence, arm, cell, own, base) for (arm, cell), own in students.items()},
        teachers={met: _pooled(own) for met, own in taught.items()},
        trades={column: trade for column in columns if (trade := _trade(evidence, column, students)) is not None},
    )


def _students(evidence: Evidence, arm: str, cell: Cell) -> dict[int, Record]:
    if cell in cells(evidence.profile, arm):
        return evidence.students(cell, arm)
    return evidence.by_seed(cell_spec(evidence.profile, arm, seed, cell) for seed in evidence.profile.swept_seeds)


def _reading(evidence: Evidence, arm: str, cell: Cell, students: BySeed, base: BySeed) -> Reading:
    if not students:
        return Reading(arm, cell, command=_fills(evidence, arm, cell))
    attributed: Outcome | None = None
    if arm == "kd_mixup" and cell in cells(evidence.profile, arm):
        verdict = judge("e", evidence, cell)
        stated, premises, as_stated, attributed = [*verdict.stated], [*verdict.premises], verdict.as_stated, verdict.attributed
    else:
        stated = tenfold(evidence, students, base, arm)
        premises = [told_from_noise(evidence, students, base), not_by_heart(evidence, students)]
        as_stated, _ = conclude(premises, stated, ())
    model, plain = _model(students), _model(base)
    return Reading(
        arm, cell, model, _interval(stated[0]), evidence.difference("accuracy", students, base), as_stated, attributed,
        needs=evidence.over({seed: measures(record)["log_temperature"] for seed, record in students.items()}),
        taught={seed: teacher.temperature / tempering(teacher, cell.calibration) for seed, teacher in evidence.teachers(students).items()},
        why=tuple(premise.name for premise in premises if not premise.met),
        underconfident=model.under > plain.ece / 4, worse=model.nll >= plain.nll,
    )  # fmt: skip


def _rival(evidence: Evidence, base: BySeed) -> Reading:
    stated = tenfold(evidence, base, base, "temperature-scaled ce", scaled=True)
    model, plain = _model(base, scaled=True), _model(base)
    as_stated, _ = conclude((), stated, ())
    return Reading(
        "ce", None, model, _interval(stated[0]), evidence.difference("accuracy", base, base), as_stated,
        underconfident=model.under > plain.ece / 4, worse=model.nll >= plain.nll,
    )  # fmt: skip


def _interval(part: Comparison) -> Interval:
    return Interval(part.estimate, part.low, part.high, part.seeds)


def _fills(evidence: Evidence, arm: str, cell: Cell) -> str:
    """Return the command that trains a cell: the study that plans it, else a run of its first seed."""
    profile = evidence.profile
    specs = [cell_spec(profile, arm, seed, cell) for seed in profile.swept_seeds]
    if cell in cells(profile, arm):
        return command("e", evidence, [spec.id for spec in specs])
    flags = {"profile": profile.name, "arm": arm, "seed": specs[0].seed, "teacher": cell.teacher}
    flags |= {"tau": f"{cell.tau:g}" if isinstance(cell.tau, float | int) else cell.tau}
    flags |= {f"teacher-{name.replace('_', '-')}": value for name, value in CALIBRATIONS[cell.calibration].items()}
    words = " ".join(f"--{name} {value}" for name, value in flags.items())
    return f"mixkd run {words}" + (" --data-root DIR" if profile.data.startswith(("folder:", "stream:")) else "")


def _trade(evidence: Evidence, column: tuple[str, str, str], students: Mapping[tuple[str, Cell], BySeed]) -> Trade | None:
    along = {
        float(cell.tau): own
        for (arm, cell), own in students.items()
        if (arm, cell.teacher, cell.calibration) == column and cell.tau != "std" and own
    }
    if len(along) < 2:
        return None
    low, high = min(along), max(along)
    return Trade(low, high, *(evidence.difference(name, along[high], along[low]) for name in ("accuracy", "gap")))


def _model(students: BySeed, *, scaled: bool = False) -> Model:
    return _pooled({seed: (record, record.temperature if scaled else 1.0) for seed, record in students.items()})


def _pooled(models: Mapping[int, tuple[Record, float]]) -> Model:
    """Pool the records of several seeds into one model, the logits of each divided by its own temperature."""
    reports, seeds = [], {}
    count, confidence, hits = np.zeros((3, BINS))
    for seed, (record, temperature) in models.items():
        report = calibration.report(record.logits(), record.labels(), n_bins=BINS, temperature=temperature)
        bars = calibration.reliability(record.logits(), record.labels(), n_bins=BINS, temperature=temperature)
        count += bars.count
        confidence += bars.count * bars.confidence
        hits += bars.count * bars.accuracy
        reports.append(report)
        seeds[seed] = (report.accuracy, report.gap, record.temperature / temperature)
    some = np.maximum(count, 1)
    means = {name: float(np.mean([getattr(r, name) for r in reports])) for name in ("accuracy", "confidence", "oe", "ece", "under", "nll")}
    needs = math.exp(float(np.mean([math.log(temperature) for _, _, temperature in seeds.values()])))
    return Model(
        **means, temperature=needs, share=count / count.sum(), bar_confidence=confidence / some, bar_accuracy=hits / some, seeds=seeds
    )
