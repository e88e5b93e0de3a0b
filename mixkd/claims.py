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

from mixkd.measure import calibration, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Records, RecordStore
from mixkd.spec import RunSpec, SpecError, nearest
from mixkd.studies import Profile, load_profile, study

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
    """A sentence of the abstract, in our words, and how it is judged."""

    letter: str
    title: str
    sentence: str
    statistic: str
    rule: str
    rivals: str
    chapter: str
    studies: tuple[str, ...]
    judge: Callable[[Evidence], Verdict] = field(repr=False)


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
    ratio = _log_ratio(frame, "oe", base, ours, 0.0)
    cautious = _log_ratio(frame, "oe", base, ours, floor.low)
    oe_base = _pick(frame, base)["oe"].mean()
    resolvable = bool(oe_base >= 10 * floor.high)
    outcome = decide(ratio, 1.0)
    if outcome == "supported" and (decide(cautious, 1.0) != "supported" or not resolvable):
        outcome = "unresolved"
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
        means.append(floor.oe_mean)
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
    return replace(verdict, as_stated=outcome, attributed=survives, note=note)


def _trade_off(
    evidence: Evidence, frame: pd.DataFrame, arm: str, gap: str, badness: str, suffix: str
) -> tuple[list[Comparison], Outcome]:
    """Do accuracy and calibration both move with log tau, one improving while the other worsens?"""
    span = math.log(max(evidence.profile.taus) / min(evidence.profile.taus))
    margin = evidence.accuracy_margin / span
    slopes = {column: _slopes(frame, arm, column) for column in ("accuracy", gap, badness)}
    intervals = {column: statistics.t_interval(values) for column, values in slopes.items()}
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
    rows = [
        compare(f"slope of {words[column]} over log tau, {arm}{suffix}", intervals[column], 0.0, moves[column]) for column in intervals
    ]
    return rows, outcome


def _judge_interaction(evidence: Evidence) -> Verdict:
    frame = evidence.frame("temperature")
    stated = [_interaction(frame, "gap", "")]
    rivals = [_interaction(frame, "ts_gap", ", after temperature scaling")]
    return _verdict(evidence, "i", stated, rivals)


def _interaction(frame: pd.DataFrame, column: str, suffix: str) -> Comparison:
    mixed, clean = _slopes(frame, "kd_mixup", column), _slopes(frame, "kd", column)
    n = min(len(mixed), len(clean))
    direction = np.sign(mixed.mean()) if n else 1.0  # more pronounced: further from flat, the way the mixed arm goes
    interval = statistics.t_interval(direction * (mixed[:n] - clean[:n]))
    return compare(f"slope of confidence - accuracy over log tau, kd_mixup beyond kd{suffix}", interval)


def _slopes(frame: pd.DataFrame, arm: str, column: str) -> np.ndarray:
    """Least-squares slope of a column over log tau, one for each seed that has the whole grid."""
    runs = frame[(frame["arm"] == arm) & frame["tau"].map(lambda tau: isinstance(tau, float))]
    if runs.empty:
        return np.empty(0)
    if column == "calibration_part":  # NLL that the best temperature would remove
        runs = runs.assign(calibration_part=runs["nll"] - runs["ts_nll"])
    table = runs.pivot_table(index="seed", columns="tau", values=column).dropna().sort_index()
    if table.empty or table.shape[1] < 2:
        return np.empty(0)
    x = np.log(table.columns.to_numpy(dtype=float))
    x = x - x.mean()
    return np.asarray(table.to_numpy() @ x / (x @ x))


# --- the ledger -----------------------------------------------------------------------------------------------------------


def _difference(
    frame: pd.DataFrame, column: str | tuple[str, str], one: Mapping[str, Any], other: Mapping[str, Any]
) -> Interval:
    first, second = (column, column) if isinstance(column, str) else column
    a, _ = paired(frame, first, one, other)
    _, b = paired(frame, second, one, other)
    return statistics.paired_difference(a, b)


def _log_ratio(frame: pd.DataFrame, column: str, over: Mapping[str, Any], under: Mapping[str, Any], floor: float) -> Interval:
    """log10 of a ratio, paired by seed; the denominator counts at least the floor."""
    a, b = paired(frame, column, over, under)
    with np.errstate(divide="ignore", invalid="ignore"):
        return statistics.t_interval(np.log10(a) - np.log10(np.maximum(b, floor)))


def _verdict(
    evidence: Evidence, letter: str, stated: Sequence[Comparison], rivals: Sequence[Comparison], note: str = ""
) -> Verdict:
    as_stated = every(comparison.outcome for comparison in stated)
    attributed = every([as_stated, *(comparison.outcome for comparison in rivals)])
    return Verdict(letter, evidence.profile.name, as_stated, attributed, tuple(stated), tuple(rivals), note)


CLAIMS: Mapping[str, Claim] = {
    claim.letter: claim
    for claim in (
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


def _evaluate(claim: Claim, evidence: Evidence) -> Verdict:
    specs: list[RunSpec] = list(dict.fromkeys(spec for name in claim.studies for spec in study(name, evidence.profile.name)))
    ids = tuple(record.id for record in evidence.store.find(specs))
    profile = evidence.profile
    if ids:
        verdict = claim.judge(evidence)
    else:
        cost = f"`mixkd reproduce --profile {profile.name}` trains them, in about {profile.minutes:.0f} minutes where it is meant to run."
        verdict = Verdict(claim.letter, profile.name, "not run", "not run", note=f"No record of this profile is here; {cost}")
    return replace(
        verdict, records=ids, missing=len(specs) - len(ids), title=claim.title, sentence=claim.sentence, chapter=claim.chapter
    )


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
