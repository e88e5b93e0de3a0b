"""(g) The distillation temperature trades accuracy against calibration, (i) the more so under mixup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mixkd.arrays import Array
from mixkd.claims.evidence import BySeed, Claim, Evidence, measures
from mixkd.claims.premises import better_teacher, not_by_heart, room_to_trade
from mixkd.claims.verdicts import Case, Comparison, Premise, compare, conclude
from mixkd.measure.statistics import Interval
from mixkd.studies import Cell, cells

ACCURACY_GAIN = 0.005
"""Accuracy that moving tau must win, half a point."""
COST = {"ece": (0.01, "ECE", "ECE"), "ts_nll": (0.01, "NLL after temperature scaling", "nat")}
"""Calibration that it must cost, with its name and unit: ECE, or NLL after one post-hoc temperature."""
Curves = Mapping[int, Mapping[str, Array]]
"""By seed: figure -> (T, R + 1), one row for each tau of the column."""
Ends = Mapping[int, tuple[int, int]]
"""By seed: the rows of tau with the best accuracy and with the best calibration, chosen on the *other* seeds."""


def _by_tau(evidence: Evidence, arm: str, at: Cell) -> dict[float, BySeed]:
    """Return the students of an arm in each cell of a column, tau ascending; "std" is not on that axis and is left out."""
    column = {cell for cell in cells(evidence.profile, arm) if (cell.teacher, cell.calibration) == (at.teacher, at.calibration)}
    taus = sorted({float(cell.tau) for cell in column if not isinstance(cell.tau, str)})
    return {tau: evidence.students(Cell(at.teacher, at.calibration, tau), arm) for tau in taus}


def _curves(by_tau: Mapping[float, BySeed]) -> Curves:
    """Return the curves of the seeds that have every cell of the column."""
    if len(by_tau) < 2:
        return {}
    seeds = sorted(set.intersection(*(set(found) for found in by_tau.values())))
    names = ("accuracy", *COST)
    return {seed: {name: np.stack([measures(found[seed])[name] for found in by_tau.values()]) for name in names} for seed in seeds}


def _ends(curves: Curves, badness: str) -> Ends:
    """Both ends for each seed that has others to choose them on."""
    found = {}
    for seed in curves:
        others = [curve for other, curve in curves.items() if other != seed]
        if others:
            accuracy, cost = (np.mean([curve[name][:, 0] for curve in others], axis=0) for name in ("accuracy", badness))
            found[seed] = int(accuracy.argmax()), int(cost.argmin())
    return found


def _moved(curves: Curves, ends: Ends, name: str) -> dict[int, Array]:
    """Return, by seed, a figure at the tau of best accuracy minus the same at the tau of best calibration, (R + 1,)."""
    return {seed: curves[seed][name][fast] - curves[seed][name][calm] for seed, (fast, calm) in ends.items() if seed in curves}


def _more(evidence: Evidence, ours: Mapping[int, Array], plain: Mapping[int, Array]) -> Interval:
    """Return the interval of what moving tau costs kd_mixup minus what it costs kd, over the seeds of both."""
    return evidence.over({seed: ours[seed] - plain[seed] for seed in sorted(set(ours) & set(plain))})


def _gain_and_cost(evidence: Evidence, curves: Curves, badness: str) -> list[Comparison]:
    ends = _ends(curves, badness)
    gain, cost = (evidence.over(_moved(curves, ends, name)) for name in ("accuracy", badness))
    between = "at the tau of best accuracy - at that of best calibration"
    margin, words, unit = COST[badness]
    suffix = "" if badness == "ece" else f" ({words})"
    return [
        compare(f"accuracy of kd_mixup, {between}{suffix}", gain, ACCURACY_GAIN, unit="points"),
        compare(f"{words} of kd_mixup, {between}", cost, margin, unit=unit),
    ]


def _swept(evidence: Evidence, at: Cell) -> Case:
    """Return the case of claim (g), what the sweep of tau does to kd_mixup; claim (i) rests on it."""
    by_tau = _by_tau(evidence, "kd_mixup", at)
    curves, students = _curves(by_tau), by_tau.get(2.0, {})
    premises = [
        better_teacher(evidence, students, evidence.students(at, "ce"), at.teacher),
        room_to_trade(evidence, by_tau),
        not_by_heart(evidence, students),
    ]
    stated, rivals = _gain_and_cost(evidence, curves, "ece"), _gain_and_cost(evidence, curves, "ts_nll")
    note = ""
    if ends := _ends(curves, "ece").values():
        taus = list(by_tau)
        fast, calm = (_most([taus[end[side]] for end in ends]) for side in (0, 1))
        note = f"Accuracy is best at tau {fast}, calibration at tau {calm}."
    return Case(premises, stated, rivals, note=note)


def _most(taus: Sequence[float]) -> str:
    (tau, times), *_ = Counter(taus).most_common(1)
    return f"{tau:g}" + ("" if times == len(taus) else f" (for {times} of {len(taus)} seeds)")


def _judge_trade_off(evidence: Evidence, at: Cell) -> Case:
    """Judge the sweep; the note says so if its trade does not survive a post-hoc temperature."""
    case = _swept(evidence, at)
    as_stated, attributed = conclude(case.premises, case.stated, case.rivals)
    if as_stated != "supported" or attributed == "supported":
        return case
    scale = "After one post-hoc temperature the trade-off cannot be shown any more: what was traded was largely the scale of the logits."
    return replace(case, note=f"{case.note} {scale}")


def _judge_interaction(evidence: Evidence, at: Cell) -> Case:
    """Compare the cost of moving tau between kd_mixup's two ends for kd_mixup and for kd: the same move, so the same direction."""
    trade = _swept(evidence, at)
    ours, plain = (_curves(_by_tau(evidence, arm, at)) for arm in ("kd_mixup", "kd"))
    word, _ = conclude(trade.premises, trade.stated, [])
    weakest = min(trade.stated, key=lambda row: ("not supported", "not run", "unresolved", "supported").index(row.outcome))
    holds = Premise(
        "(g)", f"{weakest.what}, claim (g)", weakest.estimate, weakest.low, weakest.high, weakest.margin,
        met={"supported": True, "not supported": False}.get(word), unit=weakest.unit,
    )  # fmt: skip

    def beyond(badness: str) -> Comparison:
        ends, (margin, words, unit) = _ends(ours, badness), COST[badness]
        more = _more(evidence, _moved(ours, ends, badness), _moved(plain, ends, badness))
        return compare(f"{words} that the same move of tau costs, kd_mixup - kd", more, margin, unit=unit)

    each = _more(evidence, _moved(ours, _ends(ours, "ece"), "ece"), _moved(plain, _ends(plain, "ece"), "ece"))
    own = compare("ECE that each arm's own trade costs, kd_mixup - kd", each, COST["ece"][0], unit="ECE")
    return Case([*trade.premises, holds], [beyond("ece")], [own, beyond("ts_nll"), *trade.rivals], note=trade.note)


TRADES = Claim(
    letter="g",
    title="Temperature trades",
    sentence="The distillation temperature trades accuracy against calibration.",
    statistic=(
        "accuracy and ECE of kd_mixup at the tau of best accuracy less those at the tau of best calibration, both chosen on the other seeds"
    ),
    rule=(
        "supported when the 95 % interval of the first lies above half a point and that of the second above .01; both are conditions, so "
        "that winning on one side alone is not supported"
    ),
    rivals="the same with NLL after one post-hoc temperature in the place of ECE, margin .01 nat",
    chapter="09-temperature",
    studies=("temperature", "map"),
    judge=_judge_trade_off,
    per="column",
)


STRONGER = Claim(
    letter="i",
    title="Stronger under mixup",
    sentence="That trade-off is more pronounced when the student trains on mixup.",
    statistic="ECE that moving tau from kd_mixup's best calibration to its best accuracy costs kd_mixup, less what the same move costs kd",
    rule=(
        "supported when (g) holds for kd_mixup and the 95 % interval lies above .01; where (g) does not hold there is no trade-off to be "
        "stronger: premise not met, and unresolved where (g) is"
    ),
    rivals="the trade of kd between its own two ends; the same with NLL after one post-hoc temperature",
    chapter="09-temperature",
    studies=("temperature", "map"),
    judge=_judge_interaction,
    per="column",
)
