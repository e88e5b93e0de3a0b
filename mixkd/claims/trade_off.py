"""(g) The distillation temperature trades accuracy against calibration, (i) the more so under mixup."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from mixkd.claims.evidence import Claim, Evidence, judged
from mixkd.claims.verdicts import Comparison, Outcome, Verdict, compare, every
from mixkd.measure import statistics

CALIBRATION_MARGIN = 0.01
"""A change of NLL's calibration part (nats), or of ECE, over the whole grid of tau that counts as none."""


def _judge_trade_off(evidence: Evidence) -> Verdict:
    frame = evidence.frame("temperature")
    stated, outcome = _trade_off(evidence, frame, "kd_mixup", "gap", "calibration_part", "")
    rivals, survives = _trade_off(evidence, frame, "kd_mixup", "ts_gap", "ts_ece", ", after temperature scaling")
    verdict = judged(evidence, "g", stated, rivals)
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
    return judged(evidence, "i", stated, rivals)


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


TRADES = Claim(
    letter="g",
    title="Temperature trades",
    sentence="The distillation temperature trades accuracy against calibration.",
    statistic="slopes of accuracy, of confidence minus accuracy, and of NLL's calibration part over log tau, for kd_mixup",
    rule=(
        "supported when all three 95 % t intervals exclude 0 and one improves while the other worsens; not supported when both "
        "move the same way or an interval lies inside its margin (the equivalence margin of accuracy, .01 nat, over the whole grid)"
    ),
    rivals="the same after one post-hoc temperature fitted on validation data",
    chapter="09-temperature",
    studies=("temperature",),
    judge=_judge_trade_off,
)


STRONGER = Claim(
    letter="i",
    title="Stronger under mixup",
    sentence="That trade-off is more pronounced when the student trains on mixup.",
    statistic="steepness of confidence minus accuracy over log tau, kd_mixup beyond kd, paired by seed",
    rule="supported when its 95 % t interval lies above 0; which way an arm goes is told to each seed by the others",
    rivals="the same after one post-hoc temperature fitted on validation data",
    chapter="09-temperature",
    studies=("temperature",),
    judge=_judge_interaction,
)
