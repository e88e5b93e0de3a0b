"""Each sentence of the abstract as something that could fail: statistic, margin, rivals, decision rule, two verdicts.

*As stated*: the sentence against the abstract's own baseline. *Attributed*: does it survive every rival explanation listed? The rules
stand here before the records they judge are trained. Nothing is trained, selected or tuned here; records that are missing are named.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch

from mixkd.data import gaussian_log_posterior, load_data
from mixkd.measure import calibration, linearity, signal, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record, Records, RecordStore
from mixkd.spec import ARMS, RunSpec, SpecError, nearest
from mixkd.studies import TEACHER_SPREAD, Profile, load_profile, profiles, study
from mixkd.vicinal import FEATURE_LAMS

Outcome = Literal["supported", "not supported", "unresolved", "not run"]
EQUIVALENCE = {"digits": 0.02, "gaussians": 0.02, "gaussians16": 0.02}
EQUIVALENCE_DEFAULT = 0.01
"""Accuracy differences smaller than this count as none: two points on small data, one on images. Fixed beforehand."""


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
        records: ids of all records used.
        missing: how many records of the claim's studies are not there.
        title, sentence, chapter: of the claim, so that a verdict can be read alone.
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
        self._frames: dict[str, pd.DataFrame] = {}

    @classmethod
    def of(cls, profile: str, store: str | Path | RecordStore) -> Evidence:
        """The evidence a profile has in a store, by name."""
        return cls(load_profile(profile), store if isinstance(store, RecordStore) else RecordStore(store))

    def records(self, name: str) -> Records:
        """The records of a study that are there."""
        return self.store.find(study(name, self.profile.name))

    def teacher_of(self, record: Record) -> Record | None:
        """The record of a student's teacher, when it is there and can be read."""
        run = record.spec.teacher_run()
        found = self.store.find([run]) if run is not None else ()
        return found[0] if found else None

    def students(self, name: str, **fields: Any) -> dict[int, Record]:
        """The students of a study with these fields, by seed; the recipe's own epochs, student and teacher unless said otherwise."""
        plain = self.profile.spec("kd", 0)
        wanted = {"student": plain.student, "epochs": plain.epochs, **fields}
        if ARMS[fields["arm"]].distils:
            wanted = {"teacher": self.profile.default_teacher, "teacher_arm": "ce", "teacher_temperature": 1.0,
                      "teacher_spread": 0.0, "tau": plain.tau, **wanted}  # fmt: skip
        return {record.spec.seed: record for record in self.records(name).select(**wanted)}

    def frame(self, name: str) -> pd.DataFrame:
        """A study as a table, see :meth:`Records.frame`."""
        if name not in self._frames:
            self._frames[name] = self.records(name).frame()
        return self._frames[name]

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


def _judge_signal(evidence: Evidence) -> Verdict:
    teachers = [record for record in evidence.records("teachers") if record.spec.arm == "ce"]
    stated, rivals = [], []
    shares = [_shares(record, "class") for record in teachers]
    for direction in ("reverse", "forward"):
        values = [0.5 - share.pooled("mixed", direction) for share in shares]
        stated.append(compare(f".5 - share of pair structure in the signal, {direction}", _over(values)))
    values = [share.pooled("clean", leak=False) - share.pooled("mixed", leak=False) for share in shares]
    stated.append(compare("share of pair structure in the tail, clean - mixed images", _over(values)))

    twins = [(one, other) for one in teachers for other in teachers if _twins(one, other)]
    crossed = [0.5 - _shares(one, "teacher", other).pooled("mixed") for one, other in twins]
    rivals.append(compare(".5 - share of the signal another teacher would give too", _over(crossed)))
    drops = []
    for one, other in twins:
        agreed = signal.reproducibility(one.probe.logits, other.probe.logits, one.probe.lam, one.probe.labels)
        cross = agreed.beyond_hub[:, ~agreed.same_class]
        drops.append(float(cross[[0, -1]].nanmean() - cross[1:-1].nanmean()))
    rivals.append(compare("agreement of two teachers about the tail, clean - mixed images", _over(drops)))
    if evidence.profile.data.startswith("gaussians"):
        excess = [_excess(record, evidence.profile.data) for record in teachers]
        stated.append(compare("KL from the exact posterior to the teacher, mixed - clean inputs, nats", _over(excess)))
    note = (
        f"Intervals are over {len(teachers)} teachers of all capacities and seeds. The leak, mass on classes of neither image, counts as "
        "confusion in the first two rows; the third leaves it out, because it is 0 on clean images by construction. The level of the "
        "share alone says little, since a class average explains little of any single image: the comparison with clean images and the "
        "answers of another teacher carry the verdict."
    )
    return _verdict(evidence, "a", stated, rivals, note)


def _shares(record: Record, predictor: signal.Predictor, other: Record | None = None) -> signal.StructureShare:
    probe = record.probe
    profiles = signal.clean_profiles(record.logits("val"), record.labels("val")) if other is None else None
    independent = other.probe.logits if other is not None else None
    return signal.structure_share(probe.logits, probe.lam, probe.labels, profiles, predictor=predictor, independent=independent)


def _twins(one: Record, other: Record) -> bool:
    """Teachers trained alike, one seed after the other, so that each is compared once."""
    return one.spec.replace(seed=other.spec.seed) == other.spec and other.spec.seed == one.spec.seed + 1


def _excess(record: Record, data: str) -> float:
    """How much further the teacher is from the exact posterior on mixed inputs than on clean ones, nats, cross-class pairs."""
    probe = record.probe
    rows = load_data(data).splits["test"].images
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


def _judge_imitation(evidence: Evidence) -> Verdict:
    ours, plain = (_displacements(evidence, arm) for arm in ("kd_mixup", "kd"))
    what = "displacement of kd_mixup from its teacher (0) towards the linear reference (1)"
    stated = [compare(what, _over(list(ours.values())), DISPLACEMENT_MARGIN)]
    both = sorted(set(ours) & set(plain))
    rivals = [compare("displacement, kd_mixup - kd", _over([ours[seed] - plain[seed] for seed in both]))]
    return _verdict(evidence, "c", stated, rivals)


def _displacements(evidence: Evidence, arm: str) -> dict[int, float]:
    found = {}
    for seed, record in evidence.students("linearity", arm=arm).items():
        if (teacher := evidence.teacher_of(record)) is not None:
            probe = record.probe
            found[seed] = linearity.displacement(probe.logits, teacher.probe.logits, probe.lam, probe.labels).pooled()
    return found


# --- (f) propagation ------------------------------------------------------------------------------------------------------

LOG_TEMPERATURE_MARGIN = 0.1
"""Differences of log T* within this count as none: a temperature within ten per cent."""


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
    stated = [compare("log T* of the student over - log T of its teacher (1: passed on whole)", _over(slopes))]
    for temperature in [float(value) for value in table.columns if float(value) != 1]:
        interval = _difference(tempered, "accuracy", {"teacher_temperature": temperature}, {"teacher_temperature": 1.0})
        stated.append(_same(f"accuracy, teacher at T = {temperature:g} - at 1", interval, evidence.accuracy_margin))
    fitted = _pick(frame, {"teacher_arm": "ce", "teacher_temperature": "fitted"})
    first = evidence.profile.teachers[0]
    for other in evidence.profile.teachers[1:]:
        interval = _difference(fitted, "log_temperature", {"teacher": other}, {"teacher": first})
        stated.append(_same(f"log T* of the student, scaled teacher {other} - {first}", interval, LOG_TEMPERATURE_MARGIN))
    what = "confidence follows the teacher's input-dependent temperature (slope of log-odds over - log T(x))"
    rivals = [compare(what, _over(_followed(evidence)))]
    scaled = [teacher.report().accuracy for model in evidence.profile.teachers if (teacher := _first_teacher(evidence, model)) is not None]
    note = (
        f"The scaled teachers, one of each capacity, have accuracies {', '.join(f'{accuracy:.3f}' for accuracy in scaled)}: "
        "how far apart they lie is how far the second condition was tested."
        if scaled
        else ""
    )
    return _verdict(evidence, "f", stated, rivals, note)


def _first_teacher(evidence: Evidence, model: str) -> Record | None:
    """The teacher of a capacity with the smallest seed that is there."""
    found = [record for record in evidence.records("teachers") if record.spec.student == model and record.spec.arm == "ce"]
    return min(found, key=lambda record: record.spec.seed, default=None)


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
    means = frame.groupby("arm")["accuracy"].mean()
    note = "Accuracies: " + ", ".join(f"{arm} {means[arm]:.3f}" for arm in ("kd_mixup", "kd", "ce", "mixup") if arm in means) + "."
    return _verdict(evidence, "h", [row("kd"), row("ce")], [row("mixup")], note)


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
    margin = evidence.accuracy_margin / span
    slopes = {column: _slopes(frame, arm, column) for column in ("accuracy", gap, badness)}
    intervals = {column: statistics.t_interval(values.to_numpy()) for column, values in slopes.items()}
    words = {"accuracy": "accuracy", gap: "confidence - accuracy", badness: "calibration error"}
    moves: dict[str, Outcome] = {}
    for column, interval in intervals.items():
        if not interval.n > 1 or math.isnan(interval.low):
            moves[column] = "unresolved"
        elif interval.low > 0 or interval.high < 0:
            moves[column] = "supported"
        else:
            inside = max(abs(interval.low), abs(interval.high)) < margin and column != badness
            moves[column] = "not supported" if inside else "unresolved"
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
    direction = np.sign(mixed[both].mean()) if both else 1.0  # more pronounced: further from flat, the way the mixed arm goes
    interval = statistics.t_interval(direction * (mixed[both] - clean[both]).to_numpy())
    return compare(f"slope of confidence - accuracy over log tau, kd_mixup beyond kd{suffix}", interval)


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
            "mass-weighted share of pair structure in what the teacher says beyond the endpoint classes, in both directions of KL",
            "supported when the share is below .5 in both directions and, leak left out, below that on clean images; 95 % t intervals over "
            "teachers. On Gaussian data also: the teacher is further from the exact posterior on mixed inputs than on clean ones",
            "what another teacher of another seed would say too; agreement of two teachers about the tail",
            "03-teacher-off-distribution",
            ("teachers",),
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
            "displacement from the teacher, tempered to the student's entropy (0), towards the linear reference (1)",
            "supported when its 95 % t interval over seeds lies above .1",
            "kd: the displacement must exceed that of distillation on clean inputs",
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
            "supported when the slope's 95 % t interval lies above 0, tempering the teacher leaves the student's accuracy equivalent, and "
            "teachers of unequal accuracy, once scaled, leave the student's log T* equivalent (margin .1)",
            "mere confidence copying: a temperature that depends on the input must be followed input by input",
            "08-calibration-propagates",
            ("propagation",),
            _judge_propagation,
        ),
        Claim(
            "g",
            "Temperature trades",
            "The distillation temperature trades accuracy against calibration.",
            "slopes of accuracy, of confidence minus accuracy, and of NLL's calibration part over log tau, for kd_mixup",
            "supported when all three 95 % t intervals exclude 0 and one improves while the other worsens; not supported when both "
            "move the same way or an interval lies inside the equivalence margin",
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
            "supported when both 95 % t intervals lie above 0",
            "mixup",
            "10-geometry",
            ("overconfidence",),
            _judge_geometry,
        ),
        Claim(
            "i",
            "Stronger under mixup",
            "That trade-off is more pronounced when the student trains on mixup.",
            "slope of confidence minus accuracy over log tau, kd_mixup beyond kd, paired by seed",
            "supported when its 95 % t interval lies above 0",
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
    specs: list[RunSpec] = list(dict.fromkeys(spec for name in claim.studies for spec in study(name, evidence.profile.name)))
    ids = tuple(record.id for record in evidence.store.find(specs))
    profile = evidence.profile
    if ids:
        if claim.asks_teachers:
            specs += [run for run in dict.fromkeys(spec.teacher_run() for spec in specs) if run is not None and run not in specs]
            ids = tuple(record.id for record in evidence.store.find(specs))
        verdict = claim.judge(evidence)
    else:
        cost = f"`mixkd reproduce --profile {profile.name}` trains them, in about {profile.minutes:.0f} minutes where it is meant to run."
        verdict = Verdict(claim.letter, profile.name, "not run", "not run", note=f"No record of this profile is here; {cost}")
    return replace(verdict, records=ids, missing=len(specs) - len(ids), title=claim.title, sentence=claim.sentence, chapter=claim.chapter)


def to_json(verdicts: Sequence[Verdict]) -> str:
    """Verdicts as JSON: a list of objects with the attributes of :class:`Verdict`; numbers that do not exist are null."""

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
