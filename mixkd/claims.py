"""Each sentence of the abstract as something that could fail: statistic, margin, rivals, decision rule, two verdicts.

*As stated*: the sentence against the abstract's own baseline. *Attributed*: does it survive every rival explanation listed? The rules
stand here before the records they judge are trained. Nothing is trained, selected or tuned here; records that are missing are named.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from mixkd.data import gaussian_log_posterior, load_data
from mixkd.measure import calibration, fidelity, linearity, signal, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record, Records, RecordStore
from mixkd.spec import ARMS, RunSpec, SpecError, nearest
from mixkd.studies import TEACHER_SPREAD, Profile, load_profile, profiles, stopped_early, study
from mixkd.vicinal import FEATURE_LAMS

Outcome = Literal["supported", "not supported", "unresolved", "not run"]
EQUIVALENCE = {"digits": 0.02, "gaussians": 0.02, "gaussians16": 0.02}
EQUIVALENCE_DEFAULT = 0.01
"""Accuracy differences smaller than this count as none: two points on small data, one on images. Fixed beforehand."""

KEPT = "MIXKD_VERDICTS"
"""Environment variable: a folder that keeps verdicts, so that no page judges again what another page of the same build has judged."""


@dataclass(frozen=True)
class Comparison:
    """One interval a verdict rests on.

    Attributes:
        what: in words, for a table.
        estimate, low, high: of the statistic, with its 95 % interval; nan where it cannot be had.
        margin: what the interval is held against.
        seeds: number of paired seeds.
        outcome: of this comparison alone.
    """

    what: str
    estimate: float
    low: float
    high: float
    margin: float
    seeds: int
    outcome: Outcome


@dataclass(frozen=True)
class Verdict:
    """The two verdicts on one claim under one profile.

    Attributes:
        claim: its letter.
        profile: its scale.
        as_stated, attributed: outcomes.
        stated, rivals: the comparisons behind them; the first is the primary one.
        note: what a reader must know to read the outcome, computed, one or two sentences.
        records: ids of the records it was computed from, sorted.
        missing: how many records of the claim's studies are not there.
        title, sentence, chapter: of the claim, so that a verdict can be read alone.
        shown: intervals that help to read the verdict and on which it does not rest.
    """

    claim: str
    profile: str
    as_stated: Outcome
    attributed: Outcome
    stated: tuple[Comparison, ...] = ()
    rivals: tuple[Comparison, ...] = ()
    note: str = ""
    records: tuple[str, ...] = ()
    missing: int = 0
    title: str = ""
    sentence: str = ""
    chapter: str = ""
    shown: tuple[Comparison, ...] = ()


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


def decide(interval: Interval, margin: float = 0.0) -> Outcome:
    """Supported when the whole interval lies above the margin, not supported when it lies at or below it, else unresolved."""
    if interval.n < 2 or not math.isfinite(interval.estimate) or math.isnan(interval.low) or math.isnan(interval.high):
        return "unresolved"
    if interval.low > margin:
        return "supported"
    return "not supported" if interval.high <= margin else "unresolved"


def every(outcomes: Iterable[Outcome]) -> Outcome:
    """The intersection-union rule: supported when each part is, not supported as soon as one part is not."""
    parts = list(outcomes)
    if not parts:
        return "unresolved"
    if "not supported" in parts:
        return "not supported"
    return "supported" if all(part == "supported" for part in parts) else "unresolved"


def compare(what: str, interval: Interval, margin: float = 0.0, outcome: Outcome | None = None) -> Comparison:
    """An interval held against a margin."""
    return Comparison(what, interval.estimate, interval.low, interval.high, margin, interval.n, outcome or decide(interval, margin))


def paired(frame: pd.DataFrame, column: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """A column of two groups of runs, aligned on the seeds both have."""
    first, second = (_pick(frame, choice).set_index("seed")[column] for choice in (one, other))
    seeds = sorted(set(first.index) & set(second.index))
    return first.loc[seeds].to_numpy(dtype=float), second.loc[seeds].to_numpy(dtype=float)


def _pick(frame: pd.DataFrame, choice: Mapping[str, Any]) -> pd.DataFrame:
    for name, value in choice.items():
        frame = frame[frame[name] == value]
    return frame


# --- (a) the teacher's signal ---------------------------------------------------------------------------------------------


AGREEMENT_DROP = 0.1
"""A correlation of two teachers that falls by less than this, from clean to mixed inputs, counts as unchanged."""
EXCESS_MARGIN = 0.01
"""Nats by which a teacher may be further from the exact posterior on mixed inputs, and still count as equally far."""


def _judge_signal(evidence: Evidence) -> Verdict:
    plain = _by_model(evidence.records("teachers"))
    stated, rivals = [], []
    for model in evidence.profile.teachers:
        group = plain.get(model, {})
        mixed, clean = _agreements(group)
        stated.append(compare(f".5 - agreement of two {model} about the tail of a mixed input", _over_pairs(0.5 - mixed)))
        what = f"agreement of two {model} about the tail, clean - mixed inputs"
        stated.append(compare(what, _over_pairs(clean - mixed), AGREEMENT_DROP))
        if evidence.profile.data.startswith("gaussians"):
            excess = [_excess(record, evidence.profile.data) for record in group.values()]
            what = f"KL from the exact posterior to {model}, mixed - clean inputs, nats"
            stated.append(compare(what, _over(excess), EXCESS_MARGIN))
        rivals.append(compare(f"share of what {model} says beyond the honest mixture that no other says - .5", _own_share(group)))
    model = evidence.profile.default_teacher
    used, met = plain.get(model, {}), _by_model(evidence.records("mixup_teachers")).get(model, {})
    both = sorted(set(used) & set(met))
    better = _agreements({seed: met[seed] for seed in both})[0] - _agreements({seed: used[seed] for seed in both})[0]
    rivals.append(compare(f"agreement about the tail of a mixed input, {model} trained on mixup - plain", _over_pairs(better)))
    note = (
        "Agreement is the correlation of two independent teachers' log tails, the default answer of each taken off: the part of the "
        "tail that is about the input and not about one network. Confusion is what it lacks. Among the rivals, the share counts the leak "
        "too, as far as other teachers put it elsewhere; the last row asks whether having met mixed inputs would have helped."
    )
    return _verdict(evidence, "a", stated, rivals, note)


def _by_model(records: Iterable[Record]) -> dict[str, dict[int, Record]]:
    found: dict[str, dict[int, Record]] = {}
    for record in records:
        found.setdefault(record.spec.student, {})[record.spec.seed] = record
    return found


def _agreements(group: Mapping[int, Record]) -> tuple[np.ndarray, np.ndarray]:
    """(T, T) correlations of the tails of each two teachers over cross-class pairs, on mixed inputs and on clean ones."""
    teachers = [group[seed] for seed in sorted(group)]
    mixed, clean = np.full((2, len(teachers), len(teachers)), math.nan)
    for i, one in enumerate(teachers):
        for j, other in enumerate(teachers[:i]):
            agreed = signal.reproducibility(one.probe.logits, other.probe.logits, one.probe.lam, one.probe.labels)
            cross = agreed.beyond_hub[:, ~agreed.same_class]
            mixed[i, j] = mixed[j, i] = cross[1:-1].nanmean()
            clean[i, j] = clean[j, i] = cross[[0, -1]].nanmean()
    return mixed, clean


def _over_pairs(values: np.ndarray) -> Interval:
    """The interval of the mean over pairs of independent units from a symmetric table."""

    def mean(units: Sequence[int]) -> float:
        pairs = [values[i, j] for i in units for j in units if i < j]
        return float(np.mean(pairs)) if pairs else math.nan

    return statistics.jackknife(mean, len(values))


def _own_share(group: Mapping[int, Record]) -> Interval:
    """How far above a half the part of the departure lies that is each teacher's own."""
    teachers = [group[seed] for seed in sorted(group)]

    def share(units: Sequence[int]) -> float:
        if len(units) < 2:
            return math.nan
        probe = teachers[0].probe
        return signal.common([teachers[unit].probe.logits for unit in units], probe.lam, probe.labels).own_share() - 0.5

    return statistics.jackknife(share, len(teachers))


def _excess(record: Record, data: str) -> float:
    """How much further the teacher is from the exact posterior on mixed inputs than on clean ones, nats, cross-class pairs."""
    probe = record.probe
    rows = load_data(data).splits["test"].pixels
    first, second = rows[probe.pairs[:, 0]].double(), rows[probe.pairs[:, 1]].double()
    divergence = []
    for lam, logits in zip(probe.lam, probe.logits, strict=True):
        truth = gaussian_log_posterior(data, lam * first + (1 - lam) * second)
        answer = logits.double().log_softmax(-1)
        divergence.append((truth.exp() * (truth - answer)).sum(-1)[~probe.same_class].mean())
    return float(sum(divergence[1:-1]) / (len(divergence) - 2) - (divergence[0] + divergence[-1]) / 2)


# --- (b) linearity --------------------------------------------------------------------------------------------------------

_SCALINGS: tuple[linearity.Scaling, ...] = ("logit", "clean_entropy", "nll_optimal")


def _judge_linearity(evidence: Evidence) -> Verdict:
    students = evidence.students("linearity", arm="kd_mixup")
    teachers = {seed: teacher for seed, record in students.items() if (teacher := evidence.teacher_of(record)) is not None}
    stated = _more_linear(students, teachers, "than its teacher")
    outcome = _agreeing(stated)
    plain = evidence.profile
    rivals = []
    others: dict[str, dict[str, Any]] = {
        "kd": {"arm": "kd"},
        "mixup": {"arm": "mixup"},
        "self-distillation on mixup": {"arm": "kd_mixup", "teacher": plain.student},
        "a wider student, kd": {"arm": "kd", "student": plain.wider_student},
        "kd for twice the steps": {"arm": "kd", "epochs": 2 * plain.spec("kd", 0).epochs},
    }
    for what, fields in others.items():
        rows = _more_linear(students, evidence.students("linearity", **fields), f"than {what}")
        worst = min(rows, key=lambda row: row.low if not math.isnan(row.low) else -math.inf)
        rivals.append(replace(worst, outcome=_agreeing(rows)))
    verdict = _verdict(evidence, "b", stated, rivals, "Rival rows show the least favourable of the scalings.")
    return replace(verdict, as_stated=outcome, attributed=every([outcome, *(row.outcome for row in rivals)]))


def _more_linear(students: Mapping[int, Record], others: Mapping[int, Record], than: str) -> list[Comparison]:
    """- log(non-linearity of the student / of the other), paired by seed, under each scaling."""
    values: dict[str, list[float]] = {}
    for seed in sorted(set(students) & set(others)):
        student, other = students[seed], others[seed]
        for scaling in _SCALINGS:
            names = [f"{scaling}, {which} tempered" for which in ("student", "other")] if scaling == "clean_entropy" else [scaling]
            try:
                ratio = linearity.nonlinearity_ratio(
                    student.probe.logits, other.probe.logits, student.probe.lam, student.probe.labels, scaling=scaling,
                    student_clean=student.logits("val"), teacher_clean=other.logits("val"), clean_labels=student.labels("val"),
                ).pooled.tolist()  # fmt: skip
            except ValueError:  # a model without any confidence, or with no doubt at all: no temperature matches it
                ratio = [math.nan] * len(names)
            for name, value in zip(names, ratio, strict=True):
                values.setdefault(name, []).append(-value)
    if not values:
        return [compare(f"log ratio, how much more linear {than}", _over([]))]
    return [compare(f"log ratio, how much more linear {than} ({name.replace('_', ' ')})", _over(column)) for name, column in values.items()]


def _agreeing(rows: Sequence[Comparison]) -> Outcome:
    """All scalings on one side, or no verdict: the choice of scaling must not decide."""
    outcomes = {row.outcome for row in rows}
    return outcomes.pop() if len(outcomes) == 1 else "unresolved"


# --- (c) imitation --------------------------------------------------------------------------------------------------------

DISPLACEMENT_MARGIN = 0.1
"""How much further than an independent teacher a student must have moved from its own, on the way from it (0) to linear (1)."""
INDEPENDENT = 2
"""With so many teachers that it never met a student's agreement and its errors are compared."""


def _judge_imitation(evidence: Evidence) -> Verdict:
    students = {arm: evidence.students("linearity", arm=arm) for arm in ("kd_mixup", "kd", "ce")}
    ours = students["kd_mixup"]
    teachers = {seed: teacher for seed, record in ours.items() if (teacher := evidence.teacher_of(record)) is not None}
    what = "displacement of kd_mixup from its teacher towards the linear reference, beyond that of an independent teacher"
    stated = [compare(what, _beyond_independent(ours, teachers), DISPLACEMENT_MARGIN)]
    moved = {
        arm: {seed: _displacement(found[seed], teachers[seed]) for seed in sorted(set(found) & set(teachers))}
        for arm, found in students.items()
    }

    def against(arm: str) -> list[float]:
        return [moved["kd_mixup"][seed] - value for seed, value in moved[arm].items()]

    rivals = [
        compare("displacement, kd_mixup - kd", _over(against("kd"))),
        compare("displacement, kd_mixup - ce, which never met the teacher", _over(against("ce"))),
    ]
    shown = [
        compare("displacement of kd_mixup (0 imitation, 1 linear)", _over(list(moved["kd_mixup"].values()))),
        compare("displacement of an independent teacher", _over_pairs(_between({teacher.id: teacher for teacher in teachers.values()}))),
    ]
    agreed, copied = [], []
    for seed in moved["kd_mixup"]:
        if strangers := _strangers(teachers, seed):
            row = _followed_errors(ours[seed], teachers[seed], strangers)
            agreed.append(row[0])
            copied.append(row[1])
    shown += [
        compare("agreement on test images, own teacher - independent teachers", _over(agreed)),
        compare("wrong answers copied, own teacher - independent teachers", _over(copied)),
    ]
    note = "" if len({teacher.id for teacher in teachers.values()}) > 1 else "One teacher has no independent one to be compared with."
    return replace(_verdict(evidence, "c", stated, rivals, note if teachers else ""), shown=tuple(shown))


def _displacement(one: Record, teacher: Record) -> float:
    probe = teacher.probe
    return linearity.displacement(one.probe.logits, probe.logits, probe.lam, probe.labels).pooled()


def _between(teachers: Mapping[str, Record]) -> np.ndarray:
    """(T, T): how far the one teacher would be displaced, were it a student of the other; symmetric mean of both ways; nan with itself."""
    found = list(teachers.values())
    table = np.array([[_displacement(one, other) if one.id != other.id else math.nan for other in found] for one in found])
    return (table + table.T) / 2 if len(found) else np.empty((0, 0))


def _beyond_independent(students: Mapping[int, Record], teachers: Mapping[int, Record]) -> Interval:
    """Mean over seeds of the student's displacement less that of the other seeds' teachers, from the same teacher."""
    seeds = sorted(set(students) & set(teachers))
    own = [_displacement(students[seed], teachers[seed]) for seed in seeds]
    known = {
        one: {two: _displacement(teachers[two], teachers[one]) for two in seeds if teachers[two].id != teachers[one].id} for one in seeds
    }

    def excess(units: Sequence[int]) -> float:
        values = []
        for unit in units:
            others = [known[seeds[unit]][seeds[two]] for two in units if seeds[two] in known[seeds[unit]]]
            values.append(own[unit] - float(np.mean(others)) if others else math.nan)
        return float(np.mean(values)) if values else math.nan

    return statistics.jackknife(excess, len(seeds))


def _strangers(teachers: Mapping[int, Record], seed: int) -> list[Record]:
    """The next teachers, round the circle of seeds, that are not this seed's own."""
    seeds = sorted(teachers)
    turned = seeds[seeds.index(seed) + 1 :] + seeds[: seeds.index(seed)]
    others = {teachers[other].id: teachers[other] for other in turned if teachers[other].id != teachers[seed].id}
    return list(others.values())[:INDEPENDENT]


def _followed_errors(student: Record, teacher: Record, strangers: Sequence[Record]) -> tuple[float, float]:
    """On clean test images: agreement with the own teacher less that with strangers, and the same of the errors that are copied."""
    rows = min(len(record.logits()) for record in (student, teacher, *strangers))
    answer, labels = student.logits()[:rows], student.labels()[:rows]
    own, *others = (fidelity.agreement(answer, record.logits()[:rows]).agreement for record in (teacher, *strangers))
    copied = fidelity.copied_errors(answer, teacher.logits()[:rows], labels, [record.logits()[:rows] for record in strangers])
    return own - float(np.mean(others)), copied.excess


# --- (f) propagation ------------------------------------------------------------------------------------------------------

LOG_TEMPERATURE_MARGIN = 0.1
"""Differences of log T* within this count as none: a temperature within ten per cent."""
PASSED_MARGIN = 0.25
"""Less than a quarter of the teacher's scale that arrives at the student counts as not passed on: the loss asks for all of it."""
FOLLOWED_MARGIN = 0.1
"""A slope of the student's log-odds over minus the teacher's log T(x) below this counts as not following it from input to input."""


def _judge_propagation(evidence: Evidence) -> Verdict:
    frame = evidence.frame("propagation")
    frame = frame.assign(log_temperature=np.log(frame["temperature"].astype(float)))
    plain = {"teacher": evidence.profile.default_teacher, "teacher_arm": "ce", "teacher_spread": 0.0}
    tempered = _pick(frame, plain)
    tempered = tempered[tempered["teacher_temperature"].map(lambda value: isinstance(value, float))].astype({"teacher_temperature": float})
    table = tempered.pivot_table(index="seed", columns="teacher_temperature", values="log_temperature").dropna()
    slopes: list[float] = []
    if table.shape[1] > 1:
        x = np.log(table.columns.to_numpy(dtype=float))
        x = x - x.mean()
        slopes = (-(table.to_numpy() @ x) / (x @ x)).round(9).tolist()  # one T* for all has slope 0, not 1e-17
    stated = [compare("log T* of the student over - log T of its teacher (1: passed on whole)", _over(slopes), PASSED_MARGIN)]
    for temperature in [float(value) for value in table.columns if float(value) != 1]:
        interval = _difference(tempered, "accuracy", {"teacher_temperature": temperature}, {"teacher_temperature": 1.0})
        stated.append(_same(f"accuracy, teacher at T = {temperature:g} - at 1", interval, evidence.accuracy_margin))
    unequal, shown, note = _scaled_teachers(evidence)
    stated += unequal
    what = "confidence follows the teacher's input-dependent temperature (slope of log-odds over - log T(x))"
    rivals = [compare(what, _over(_followed(evidence)), FOLLOWED_MARGIN)]
    return replace(_verdict(evidence, "f", stated, rivals, note), shown=tuple(shown))


def _scaled_teachers(evidence: Evidence) -> tuple[list[Comparison], list[Comparison], str]:
    """Students of scaled teachers: an equivalence of log T* for every two kinds of teacher whose accuracies were told apart by at
    least the equivalence margin; the other pairs test nothing and are shown only. Without any pair the condition is unresolved."""
    schools: dict[str, dict[int, tuple[Record, Record]]] = {}
    for record in evidence.records("propagation").select(teacher_temperature="fitted"):
        if record.spec.teacher is not None and (teacher := evidence.teacher_of(record)) is not None:
            early = record.spec.teacher == stopped_early(evidence.profile, record.spec.seed)
            name = f"{record.spec.teacher.model}{', stopped early' if early else ''}"
            schools.setdefault(name, {})[record.spec.seed] = (record, teacher)
    rows = min((len(teacher.logits()) for found in schools.values() for _, teacher in found.values()), default=0)
    accuracy = {name: {seed: t.report(rows=rows).accuracy for seed, (_, t) in found.items()} for name, found in schools.items()}
    tested: list[Comparison] = []
    shown: list[Comparison] = []
    for one, other in combinations(schools, 2):
        seeds = sorted(set(schools[one]) & set(schools[other]))
        better = _over([accuracy[one][seed] - accuracy[other][seed] for seed in seeds])
        moved = _over([math.log(schools[one][seed][0].temperature) - math.log(schools[other][seed][0].temperature) for seed in seeds])
        row = _same(f"log T* of the student, scaled teacher {one} - {other}", moved, LOG_TEMPERATURE_MARGIN)
        apart = better.defined and better.excludes(0) and abs(better.estimate) >= evidence.accuracy_margin
        shown.append(compare(f"accuracy of the teacher, {one} - {other}", better, evidence.accuracy_margin))
        (tested if apart else shown).append(row)
    means = ", ".join(f"{name} {np.mean(list(found.values())):.3f}" for name, found in accuracy.items())
    note = f"Accuracies of the scaled teachers: {means}. " if means else ""
    if tested:
        return tested, shown, note + f"{len(tested)} pairs of them lie far enough apart to test the second condition."
    nothing = Interval(math.nan, math.nan, math.nan, 0)
    untested = _same("log T* of the student, scaled teachers of unequal accuracy", nothing, LOG_TEMPERATURE_MARGIN)
    return [untested], shown, note + "No two of them are told apart by the equivalence margin, so the second condition was not tested."


def _same(what: str, interval: Interval, margin: float) -> Comparison:
    """An equivalence: supported when the whole interval lies within +- margin, not supported when it lies outside."""
    if interval.n < 2 or math.isnan(interval.low):
        outcome: Outcome = "unresolved"
    elif -margin < interval.low and interval.high < margin:
        outcome = "supported"
    else:
        outcome = "not supported" if interval.low >= margin or interval.high <= -margin else "unresolved"
    return compare(what, interval, margin, outcome)


def _followed(evidence: Evidence) -> list[float]:
    """For each seed: least-squares slope of (log-odds of the confidence of a student whose teacher's temperature depends on the input,
    less that of the student of the plain teacher) over - s h(x), on test inputs."""
    plain = evidence.students("propagation", arm="kd_mixup")
    slopes = []
    for seed, record in evidence.students("propagation", arm="kd_mixup", teacher_spread=TEACHER_SPREAD).items():
        if seed not in plain or record.projection is None:
            continue
        n = min(len(record.logits()), len(plain[seed].logits()))
        x = -TEACHER_SPREAD * record.projection[:n].double()
        change = _log_odds(record.logits()[:n]) - _log_odds(plain[seed].logits()[:n])
        x = x - x.mean()
        slopes.append(float((x * change).sum() / (x * x).sum()))
    return slopes


def _log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds of the top class, without leaving the log domain, so that confident rows stay finite."""
    top = logits.double().sort(-1, descending=True).values
    return top[:, 0] - top[:, 1:].logsumexp(-1)


# --- (h) geometry ---------------------------------------------------------------------------------------------------------


def _judge_geometry(evidence: Evidence) -> Verdict:
    study = "overconfidence"
    ours = _feature_nonlinearity(evidence.students(study, arm="kd_mixup"))

    def row(rival: str) -> Comparison:
        other = _feature_nonlinearity(evidence.students(study, arm=rival))
        both = sorted(set(ours) & set(other))
        with np.errstate(divide="ignore", invalid="ignore"):  # no ratio to 0: nan or infinite, hence unresolved
            values = np.log(np.array([other[seed] for seed in both])) - np.log(np.array([ours[seed] for seed in both]))
        return compare(f"log ratio of feature non-linearity, {rival} over kd_mixup", _over(values))

    frame = evidence.frame(study)
    comparable = [_comparable(evidence, frame, arm) for arm in ("kd", "ce")]
    means = frame.groupby("arm")["accuracy"].mean()
    note = "Accuracies: " + ", ".join(f"{arm} {means[arm]:.3f}" for arm in ("kd_mixup", "kd", "ce", "mixup") if arm in means) + "."
    if any(condition.outcome != "supported" for condition in comparable):
        note += " Where they are not shown to be equal, straighter features may be no more than what a better student has."
    return _verdict(evidence, "h", [row("kd"), row("ce"), *comparable], [row("mixup")], note)


def _comparable(evidence: Evidence, frame: pd.DataFrame, arm: str) -> Comparison:
    """Equal accuracy as a condition: met, or else the comparison was not made where it was to be made, and nothing follows."""
    interval = _difference(frame, "accuracy", {"arm": "kd_mixup"}, {"arm": arm})
    row = _same(f"comparable accuracy, kd_mixup - {arm}", interval, evidence.accuracy_margin)
    return row if row.outcome == "supported" else replace(row, outcome="unresolved")


def _feature_nonlinearity(students: Mapping[int, Record]) -> dict[int, float]:
    """Mean over cross-class pairs of ||phi~ - (phi_i + phi_j) / 2|| / ||phi_i - phi_j|| at lam = .5."""
    found = {}
    for seed, record in students.items():
        features = record.probe_features
        values = linearity.feature_linearity(features, torch.tensor(FEATURE_LAMS))[1]
        found[seed] = float(values[~record.probe.same_class[: len(values)]].nanmean())
    return found


def _over(values: Sequence[float] | np.ndarray) -> Interval:
    return statistics.t_interval(np.asarray(values, dtype=float))


# --- (d) accuracy ---------------------------------------------------------------------------------------------------------


def _judge_accuracy(evidence: Evidence) -> Verdict:
    frame = evidence.frame("accuracy")
    stated, rivals = [], []
    for teacher in evidence.profile.teachers:
        ours = {"arm": "kd_mixup", "teacher": teacher}
        stated.append(compare(f"accuracy, kd_mixup from {teacher} - ce", _difference(frame, "accuracy", ours, {"arm": "ce"})))
        for rival in ({"arm": "kd", "teacher": teacher}, {"arm": "mixup"}, {"arm": "label_smoothing"}):
            what = f"accuracy, kd_mixup from {teacher} - {rival['arm']}"
            rivals.append(compare(what, _difference(frame, "accuracy", ours, rival)))
    return _verdict(evidence, "d", stated, rivals)


# --- (e) overconfidence ---------------------------------------------------------------------------------------------------


def _judge_overconfidence(evidence: Evidence) -> Verdict:
    frame = evidence.frame("overconfidence")
    ours, base = {"arm": "kd_mixup"}, {"arm": "ce"}
    floor = overconfidence_floor(evidence.records("overconfidence").select(**ours))
    ratio = _log_ratio(frame, "oe", base, ours)
    cautious = _log_ratio(frame, "oe", base, ours, floor.low)
    oe_base = _pick(frame, base)["oe"].mean()
    resolvable = bool(oe_base >= 10 * floor.high)
    outcome = decide(ratio, 1.0)
    if outcome == "supported" and (decide(cautious, 1.0) != "supported" or not resolvable):
        outcome = "unresolved"
    above = bool(_pick(frame, ours)["oe"].mean() > floor.high)
    if outcome == "not supported" and not resolvable and not above:
        outcome = "unresolved"  # the smaller error cannot be told from none, so the ratio cannot be told either
    under = _difference(frame.assign(quarter=frame["ece"] / 4), ("quarter", "under"), base, ours)
    nll = _difference(frame, "nll", base, ours)
    stated = [
        compare("log10 of overconfidence error, ce over kd_mixup", ratio, 1.0, outcome),
        compare("a quarter of ce's ECE - underconfidence of kd_mixup", under),
        compare("NLL, ce - kd_mixup", nll),
    ]
    rivals = [
        compare(f"log10 of overconfidence error, {rival} over kd_mixup", _log_ratio(frame, "oe", {"arm": rival}, ours, floor.low))
        for rival in ("mixup", "label_smoothing", "kd")
    ]
    scaled = frame.assign(oe=np.where(frame["arm"] == "ce", frame["ts_oe"], frame["oe"]))
    what = "log10 of overconfidence error, temperature-scaled ce over kd_mixup"
    rivals.append(compare(what, _log_ratio(scaled, "oe", base, ours, floor.low)))
    note = (
        f"Overconfidence error of ce is {oe_base:.4f}; the noise floor of a perfectly calibrated model with kd_mixup's confidences "
        f"is {floor.low:.4f} on average and {floor.high:.4f} at its 95th percentile, so a factor of ten is "
        f"{'resolvable' if resolvable else 'unresolvable'} with this many test images."
    )
    if not resolvable and outcome == "not supported":
        note += " The overconfidence error of kd_mixup lies above that floor, so that less than a factor of ten can be told all the same."
    return _verdict(evidence, "e", stated, rivals, note)


def overconfidence_floor(records: Records) -> Interval:
    """The overconfidence error a perfectly calibrated model would show by chance, with these models' confidences.

    Noise draws of one image are not independent; their number counts by the effective sample size N / (1 + (m - 1) rho), m draws an
    image, rho the intra-image correlation of hit minus confidence.

    Returns:
        An Interval whose ``low`` is the mean of the floor and ``high`` its 95th percentile, averaged over the records.
    """
    means, tails = [], []
    for record in records:
        p = record.logits().double().softmax(-1)
        confidence, answer = p.max(-1)
        residual = ((answer == record.labels()).double() - confidence).numpy()
        draws = len(residual) // (int(record.images().max()) + 1)
        n = round(len(residual) / (1 + (draws - 1) * max(0.0, _intraclass(residual.reshape(draws, -1)))))
        floor = calibration.noise_floor(confidence, n=n)
        means.append(floor.oe)
        tails.append(floor.oe_high)
    if not means:
        return Interval(math.nan, math.nan, math.nan, 0)
    return Interval(float(np.mean(means)), float(np.mean(means)), float(np.mean(tails)), len(means))


def _intraclass(residual: np.ndarray) -> float:
    """Intra-class correlation of (draws, images) values by one-way analysis of variance; 0 for a single draw."""
    draws, images = residual.shape
    if draws < 2:
        return 0.0
    between = draws * residual.mean(0).var(ddof=1)
    within = ((residual - residual.mean(0)) ** 2).sum() / (images * (draws - 1))
    return float((between - within) / (between + (draws - 1) * within))


# --- (g), (i) temperature -------------------------------------------------------------------------------------------------


CALIBRATION_MARGIN = 0.01
"""A change of NLL's calibration part (nats), or of ECE, over the whole grid of tau that counts as none."""


def _judge_trade_off(evidence: Evidence) -> Verdict:
    frame = evidence.frame("temperature")
    stated, outcome = _trade_off(evidence, frame, "kd_mixup", "gap", "calibration_part", "")
    rivals, survives = _trade_off(evidence, frame, "kd_mixup", "ts_gap", "ts_ece", ", after temperature scaling")
    verdict = _verdict(evidence, "g", stated, rivals)
    note = (
        "After post-hoc scaling the trade-off is still there."
        if survives == "supported"
        else "After one post-hoc temperature the trade-off cannot be shown any more: what was traded was largely the scale of the logits."
        if outcome == "supported"
        else ""
    )
    return replace(verdict, as_stated=outcome, attributed=every([outcome, survives]), note=note)


def _trade_off(evidence: Evidence, frame: pd.DataFrame, arm: str, gap: str, badness: str, suffix: str) -> tuple[list[Comparison], Outcome]:
    """Do accuracy and calibration both move with log tau, one improving while the other worsens?"""
    span = math.log(max(evidence.profile.taus) / min(evidence.profile.taus))
    margins = {"accuracy": evidence.accuracy_margin / span, gap: evidence.accuracy_margin / span, badness: CALIBRATION_MARGIN / span}
    slopes = {column: _slopes(frame, arm, column) for column in ("accuracy", gap, badness)}
    intervals = {column: statistics.t_interval(values.to_numpy()) for column, values in slopes.items()}
    words = {"accuracy": "accuracy", gap: "confidence - accuracy", badness: "calibration error"}
    moves: dict[str, Outcome] = {}
    for column, interval in intervals.items():
        inside = max(abs(interval.low), abs(interval.high)) < margins[column]
        if not interval.n > 1 or math.isnan(interval.low):
            moves[column] = "unresolved"
        elif inside:  # flat for all that matters, even if the interval misses 0
            moves[column] = "not supported"
        else:
            moves[column] = "supported" if interval.excludes(0) else "unresolved"
    outcome = every(moves.values())
    if outcome == "supported" and intervals["accuracy"].estimate * intervals[badness].estimate < 0:
        outcome = "not supported"  # both improve, or both worsen: no trade-off (a falling error is an improvement)
    rows = [compare(f"slope of {words[column]} over log tau, {arm}{suffix}", intervals[column], 0.0, moves[column]) for column in intervals]
    return rows, outcome


def _judge_interaction(evidence: Evidence) -> Verdict:
    frame = evidence.frame("temperature")
    stated = [_interaction(frame, "gap", "")]
    rivals = [_interaction(frame, "ts_gap", ", after temperature scaling")]
    return _verdict(evidence, "i", stated, rivals)


def _interaction(frame: pd.DataFrame, column: str, suffix: str) -> Comparison:
    mixed, clean = _slopes(frame, "kd_mixup", column), _slopes(frame, "kd", column)
    both = sorted(set(mixed.index) & set(clean.index))
    steeper = _steepness(mixed[both].to_numpy()) - _steepness(clean[both].to_numpy())
    return compare(f"steepness of confidence - accuracy over log tau, kd_mixup - kd{suffix}", statistics.t_interval(steeper))


def _steepness(slopes: np.ndarray) -> np.ndarray:
    """Each seed's slope, counted positive the way the *other* seeds go on average: how steep the arm is, whatever its direction.

    A sign chosen from the seed itself would make the mean positive for slopes that are noise around 0.
    """
    if len(slopes) < 2:
        return slopes * math.nan
    others = (slopes.sum() - slopes) / (len(slopes) - 1)
    return np.sign(others) * slopes


def _slopes(frame: pd.DataFrame, arm: str, column: str) -> pd.Series:
    """Least-squares slope of a column over log tau, by seed, for each seed that has the whole grid."""
    none = pd.Series(dtype=float)
    runs = frame[(frame["arm"] == arm) & frame["tau"].map(lambda tau: isinstance(tau, float))]
    if runs.empty:
        return none
    if column == "calibration_part":  # NLL that the best temperature would remove
        runs = runs.assign(calibration_part=runs["nll"] - runs["ts_nll"])
    table = runs.pivot_table(index="seed", columns="tau", values=column).dropna().sort_index()
    if table.empty or table.shape[1] < 2:
        return none
    x = np.log(table.columns.to_numpy(dtype=float))
    x = x - x.mean()
    return pd.Series(table.to_numpy() @ x / (x @ x), index=table.index)


# --- what other settings change -------------------------------------------------------------------------------------------

CHANGED = {"accuracy": "accuracy", "nll": "NLL", "oe": "overconfidence error", "gap": "confidence - accuracy"}
"""Columns of a study's table whose changes are reported."""


def changes(name: Literal["duration", "mixing"], evidence: Evidence) -> pd.DataFrame:
    """What another amount of one ingredient changes, paired by seed. No verdict rests on it, and no margin.

    "duration": each arm at a multiple of the recipe's steps against itself at once, and kd_mixup against every other arm at equal
    steps; last, kd_mixup at once against the others at their longest. "mixing": kd_mixup with another alpha, or with part of each
    batch mixed, against the recipe's (alpha 1, all of it); "none" is kd.

    Args:
        name: of the study.
        evidence: the records of a profile.

    Returns:
        One row for each comparison that two or more seeds can make: setting, arm, against, measure, estimate, low, high, seeds. The
        95 % t intervals are over seeds; measures are those of :data:`CHANGED`, and for arms whose answers on mixed inputs were
        recorded "log non-linearity of the logits".

    Raises:
        SpecError: for another study.
    """
    if name not in ("duration", "mixing"):
        raise SpecError(f"changes = {name!r}: must be one of duration, mixing{nearest(name, ('duration', 'mixing'))}")
    frame = _settings(name, evidence)
    if frame.empty:
        return pd.DataFrame(columns=["setting", "arm", "against", "measure", "estimate", "low", "high", "seeds"])
    rows = []
    for setting, one, against, other in _contrasts(name, frame):
        for column, words in {**CHANGED, "bend": "log non-linearity of the logits"}.items():
            a, b = paired(frame, column, one, other)
            found = np.isfinite(a) & np.isfinite(b)
            interval = statistics.paired_difference(a[found], b[found])
            if interval.defined:
                rows.append(
                    {
                        "setting": setting,
                        "arm": one["arm"],
                        "against": against,
                        "measure": words,
                        "estimate": interval.estimate,
                        "low": interval.low,
                        "high": interval.high,
                        "seeds": interval.n,
                    }
                )
    return pd.DataFrame(rows, columns=["setting", "arm", "against", "measure", "estimate", "low", "high", "seeds"])


def _settings(name: str, evidence: Evidence) -> pd.DataFrame:
    """The study's table, with the multiple of the recipe's steps, and how far the logits are from linear where that was recorded."""
    frame = evidence.frame(name)
    if frame.empty:
        return frame
    bends = {}
    for record in evidence.records(name):
        if record.spec.extras is not False:
            probe = record.probe
            gap = linearity.logit_linearity(probe.logits, probe.lam, probe.labels).gap_area[~probe.same_class].nanmean()
            bends[record.id] = math.log(gap) if gap > 0 else math.nan
    times = frame["epochs"] / evidence.profile.spec("kd", evidence.profile.first_seed).epochs
    return frame.assign(times=times.round().astype(int), bend=frame["id"].map(bends).astype(float))


def _contrasts(name: str, frame: pd.DataFrame) -> list[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    """Setting, which runs, against what in words, which runs."""
    if name == "mixing":
        usual: dict[str, Any] = {"arm": "kd_mixup", "alpha": 1.0, "partial": 1.0}
        found: list[tuple[str, dict[str, Any]]] = [("no mixing", {"arm": "kd"})]
        mixed = frame[frame["arm"] == "kd_mixup"]
        found += [(f"alpha {alpha:g}", {**usual, "alpha": alpha}) for alpha in sorted(mixed["alpha"].unique()) if alpha != 1]
        found += [(f"{part:.0%} of each batch", {**usual, "partial": part}) for part in sorted(mixed["partial"].unique()) if part != 1]
        return [(setting, one, "the recipe's mixing", usual) for setting, one in found]
    lengths, arms = sorted(frame["times"].unique()), list(dict.fromkeys(frame["arm"]))
    words = {times: "the recipe's steps" if times == 1 else f"{times} times the steps" for times in lengths}
    rows = [
        (words[times], {"arm": arm, "times": times}, "itself at the recipe's steps", {"arm": arm, "times": 1})
        for arm in arms
        for times in lengths
        if times != 1
    ]
    ours = {"arm": "kd_mixup"}
    rivals = [arm for arm in arms if arm != "kd_mixup"]
    rows += [
        (words[times], {**ours, "times": times}, f"{arm}, equal steps", {"arm": arm, "times": times}) for times in lengths for arm in rivals
    ]
    longest = lengths[-1]
    if longest != 1:
        rows += [(words[1], {**ours, "times": 1}, f"{arm} at {words[longest]}", {"arm": arm, "times": longest}) for arm in rivals]
    return rows


# --- the ledger -----------------------------------------------------------------------------------------------------------


def _difference(frame: pd.DataFrame, column: str | tuple[str, str], one: Mapping[str, Any], other: Mapping[str, Any]) -> Interval:
    first, second = (column, column) if isinstance(column, str) else column
    a, _ = paired(frame, first, one, other)
    _, b = paired(frame, second, one, other)
    return statistics.paired_difference(a, b)


def _log_ratio(frame: pd.DataFrame, column: str, over: Mapping[str, Any], under: Mapping[str, Any], floor: float = 0.0) -> Interval:
    """log10 of a ratio, paired by seed; values below the floor count as the floor, since they cannot be told from it."""
    a, b = (np.maximum(values, floor) for values in paired(frame, column, over, under))
    with np.errstate(divide="ignore", invalid="ignore"):
        return statistics.t_interval(np.log10(a) - np.log10(b))


def _verdict(evidence: Evidence, letter: str, stated: Sequence[Comparison], rivals: Sequence[Comparison], note: str = "") -> Verdict:
    as_stated = every(comparison.outcome for comparison in stated)
    attributed = every([as_stated, *(comparison.outcome for comparison in rivals)])
    return Verdict(letter, evidence.profile.name, as_stated, attributed, tuple(stated), tuple(rivals), note)


CLAIMS: Mapping[str, Claim] = {
    claim.letter: claim
    for claim in (
        Claim(
            "a",
            "Teacher's signal",
            "On mixed inputs the teacher's signal is dominated by confusion, not by the structure between classes.",
            "agreement of two independent teachers about the tail, the answer beyond the two images' classes and the default answer",
            "supported when for every capacity the agreement on mixed inputs lies below .5, and more than .1 below that on clean inputs "
            "(95 % jackknife t intervals over teachers). On Gaussian data also: each is further from the exact posterior on mixed inputs, "
            "by more than .01 nat",
            "what all teachers say alike, leak included (more than half must be each one's own); teachers trained on mixup must agree more",
            "03-teacher-off-distribution",
            ("teachers", "mixup_teachers"),
            _judge_signal,
        ),
        Claim(
            "b",
            "Linearity",
            "The student becomes more linear between examples than its teacher.",
            "log ratio of non-linearity, teacher over student, in logit space, at matched clean entropy (either one tempered), and each at "
            "its NLL-optimal temperature",
            "supported when all four 95 % t intervals lie above 0, not supported when all lie at or below it; if the scalings disagree, "
            "unresolved",
            "kd, mixup, self-distillation, a wider student, twice the steps",
            "04-student-linearity",
            ("linearity",),
            _judge_linearity,
            asks_teachers=True,
        ),
        Claim(
            "c",
            "No mere imitation",
            "The student does not merely imitate its teacher.",
            "displacement from the teacher, tempered to the student's entropy (0), towards the linear reference (1), beyond what an "
            "independent teacher would score in the student's place",
            "supported when its 95 % interval over seeds, each with a teacher of its own, lies above .1",
            "kd, and ce, which never met the teacher: their displacement must be smaller",
            "05-imitation",
            ("linearity",),
            _judge_imitation,
            asks_teachers=True,
        ),
        Claim(
            "d",
            "Accuracy",
            "Accuracy rises over the cross-entropy student, for teachers of every capacity.",
            "accuracy of kd_mixup minus accuracy of ce, paired by seed, for each teacher",
            "supported when the 95 % t interval lies above 0 for every teacher (intersection-union)",
            "kd from the same teacher, mixup, label smoothing, at equal steps",
            "06-accuracy",
            ("accuracy",),
            _judge_accuracy,
        ),
        Claim(
            "e",
            "Overconfidence",
            "Overconfidence falls by an order of magnitude against the cross-entropy student.",
            "log10 of the ratio of overconfidence errors, ce over kd_mixup, paired by seed",
            "supported when its 95 % t interval lies above 1, the underconfidence of kd_mixup is at most a quarter of ce's ECE and "
            "its NLL is lower; a ratio the noise floor could fake is unresolved",
            "mixup, label smoothing, kd, and ce with one post-hoc temperature",
            "07-overconfidence",
            ("overconfidence",),
            _judge_overconfidence,
        ),
        Claim(
            "f",
            "Calibration propagates",
            "Calibration passes from teacher to student, independently of accuracy.",
            "slope of the student's log T* over minus the log temperature of its teacher's logits",
            "supported when the slope's 95 % t interval lies above .25, tempering the teacher leaves the student's accuracy equivalent, "
            "and scaled teachers whose accuracies differ by at least the equivalence margin leave the student's log T* equivalent "
            "(margin .1); "
            "where no two differ so, unresolved",
            "mere confidence copying: a temperature that depends on the input must be followed input by input (a slope above .1)",
            "08-calibration-propagates",
            ("propagation",),
            _judge_propagation,
            asks_teachers=True,
        ),
        Claim(
            "g",
            "Temperature trades",
            "The distillation temperature trades accuracy against calibration.",
            "slopes of accuracy, of confidence minus accuracy, and of NLL's calibration part over log tau, for kd_mixup",
            "supported when all three 95 % t intervals exclude 0 and one improves while the other worsens; not supported when both "
            "move the same way or an interval lies inside its margin (the equivalence margin of accuracy, .01 nat, over the whole grid)",
            "the same after one post-hoc temperature fitted on validation data",
            "09-temperature",
            ("temperature",),
            _judge_trade_off,
        ),
        Claim(
            "h",
            "Geometry",
            "The geometry of the representation changes with it.",
            "log ratio of the non-linearity of penultimate features half-way between two images, kd and ce over kd_mixup",
            "supported when both 95 % t intervals lie above 0 and the accuracies of kd_mixup, kd and ce are equivalent; where they are "
            "not, unresolved",
            "mixup",
            "10-geometry",
            ("overconfidence",),
            _judge_geometry,
        ),
        Claim(
            "i",
            "Stronger under mixup",
            "That trade-off is more pronounced when the student trains on mixup.",
            "steepness of confidence minus accuracy over log tau, kd_mixup beyond kd, paired by seed",
            "supported when its 95 % t interval lies above 0; which way an arm goes is told to each seed by the others",
            "the same after one post-hoc temperature fitted on validation data",
            "09-temperature",
            ("temperature",),
            _judge_interaction,
        ),
    )
}


def evaluate(profile: str = "digits", store: str | Path | RecordStore = "committed", letters: Iterable[str] | None = None) -> list[Verdict]:
    """Judge the claims from the records of a profile. Nothing is trained: without records the outcome is "not run".

    Args:
        profile: name of a profile.
        store: where its records lie.
        letters: which claims; all by default.

    Raises:
        SpecError: for an unknown profile or claim.
    """
    chosen = list(letters) if letters is not None else list(CLAIMS)
    for letter in chosen:
        if letter not in CLAIMS:
            raise SpecError(f"claim = {letter!r}: must be one of {', '.join(CLAIMS)}{nearest(letter, CLAIMS)}")
    evidence = Evidence.of(profile, store)
    return [_evaluate(CLAIMS[letter], evidence) for letter in chosen]


def across(store: str | Path | RecordStore = "committed", letters: Iterable[str] | None = None) -> dict[str, list[Verdict]]:
    """The verdicts of every profile that has records in a store, by profile: what a page shows beside its own."""
    store = store if isinstance(store, RecordStore) else RecordStore(store)
    there = set(store.ids())
    found = [name for name in profiles() if any(spec.id in there for spec in study("all", name))]
    return {name: evaluate(name, store, letters) for name in found}


def _evaluate(claim: Claim, evidence: Evidence) -> Verdict:
    """The verdict, perhaps as another process of the same build left it: see :data:`KEPT`."""
    if not (folder := os.environ.get(KEPT)):
        return _judge(claim, evidence)
    store = hashlib.blake2b(evidence.store.address.encode(), digest_size=8).hexdigest()
    path = Path(folder, f"{claim.letter}-{evidence.profile.name}-{store}.json")
    if path.is_file():
        found = json.loads(path.read_text(encoding="utf-8"))
        for name in ("stated", "rivals", "shown"):
            found[name] = tuple(Comparison(**comparison) for comparison in found[name])
        return Verdict(**{**found, "records": tuple(found["records"])})
    verdict = _judge(claim, evidence)
    partial = path.with_suffix(f".{uuid.uuid4().hex}")
    partial.write_text(json.dumps(asdict(verdict)), encoding="utf-8")
    partial.replace(path)
    return verdict


def _judge(claim: Claim, evidence: Evidence) -> Verdict:
    profile = evidence.profile
    specs: list[RunSpec] = list(dict.fromkeys(spec for name in claim.studies for spec in study(name, profile.name)))
    found = len(evidence.store.find(specs))
    evidence.used = set()
    if found:
        if claim.asks_teachers:
            specs += [run for run in dict.fromkeys(spec.teacher_run() for spec in specs) if run is not None and run not in specs]
            found = len(evidence.store.find(specs))
        verdict = claim.judge(evidence)
    else:
        cost = f"`mixkd reproduce --profile {profile.name}` trains them, in about {profile.minutes:.0f} minutes where it is meant to run."
        verdict = Verdict(claim.letter, profile.name, "not run", "not run", note=f"No record of this profile is here; {cost}")
    used, missing = tuple(sorted(evidence.used)), len(specs) - found
    return replace(verdict, records=used, missing=missing, title=claim.title, sentence=claim.sentence, chapter=claim.chapter)


def to_json(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as JSON, the same keys for every claim and profile; later versions may add keys, and take none away.

    A list of objects with ``claim`` (a to i), ``profile``, ``as_stated`` and ``attributed`` ("supported", "not supported",
    "unresolved", "not run"), ``stated``, ``rivals`` and ``shown`` (lists of comparisons), ``note``, ``records`` (ids the verdict was
    computed from, sorted), ``missing`` (how many runs of its studies are not there), ``title``, ``sentence``, ``chapter``. A
    comparison has ``what``, ``estimate``, ``low``, ``high`` (95 % interval), ``margin``, ``seeds`` and ``outcome``. Numbers that do
    not exist are null.
    """

    def finite(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: finite(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [finite(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps([finite(asdict(verdict)) for verdict in verdicts], indent=1)


def to_frame(verdicts: Sequence[Verdict]) -> pd.DataFrame:
    """One row for each verdict, with its primary interval."""
    rows = []
    for verdict in verdicts:
        claim = CLAIMS[verdict.claim]
        primary = verdict.stated[0] if verdict.stated else Comparison("", math.nan, math.nan, math.nan, math.nan, 0, "not run")
        rows.append(
            {
                "claim": claim.letter,
                "title": claim.title,
                "profile": verdict.profile,
                "as stated": verdict.as_stated,
                "attributed": verdict.attributed,
                "estimate": primary.estimate,
                "low": primary.low,
                "high": primary.high,
                "margin": primary.margin,
                "seeds": primary.seeds,
                "records": len(verdict.records),
                "missing": verdict.missing,
            }
        )
    return pd.DataFrame(rows)


def to_text(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as a table for a terminal."""
    frame = to_frame(verdicts)
    text: str = frame.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}")
    return text
