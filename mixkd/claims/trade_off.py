"""(g) The distillation temperature trades accuracy against calibration, (i) the more so under mixup."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixkd.claims.evidence import Array, Claim, Evidence, judged
from mixkd.claims.premises import better_teacher, not_by_heart, room_to_trade
from mixkd.claims.verdicts import Comparison, Premise, Verdict, compare, conclude
from mixkd.records import Record
from mixkd.studies import Cell, cells

ACCURACY_GAIN = 0.005
"""Accuracy that moving tau must win, half a point."""
COST = {"ece": 0.01, "ts_nll": 0.01}
"""Calibration that it must cost: ECE, or nats of NLL after one post-hoc temperature."""
WORDS = {"ece": "ECE", "ts_nll": "NLL after temperature scaling"}
Curves = Mapping[int, Mapping[str, Array]]
"""By seed: figure -> (T, R + 1), one row for each tau of the column."""


@dataclass(frozen=True)
class Ends:
    """The two ends of a column for one seed, chosen on the *other* seeds: rows of tau with the best accuracy and the best calibration."""

    best_accuracy: int
    best_calibration: int


def _by_tau(evidence: Evidence, arm: str, at: Cell) -> dict[float, dict[int, Record]]:
    """The students of an arm in each cell of a column, tau ascending; "std" lies on no axis of tau and is left out."""
    column = {cell for cell in cells(evidence.profile, arm) if (cell.teacher, cell.calibration) == (at.teacher, at.calibration)}
    taus = sorted({float(cell.tau) for cell in column if not isinstance(cell.tau, str)})
    return {tau: evidence.students(Cell(at.teacher, at.calibration, tau), arm) for tau in taus}


def _curves(evidence: Evidence, by_tau: Mapping[float, Mapping[int, Record]]) -> Curves:
    """The curves of the seeds that have the whole column."""
    if len(by_tau) < 2:
        return {}
    seeds = sorted(set.intersection(*(set(found) for found in by_tau.values())))
    names = ("accuracy", *COST)
    return {seed: {name: np.stack([evidence.measures(found[seed])[name] for found in by_tau.values()]) for name in names} for seed in seeds}


def _ends(curves: Curves, badness: str) -> dict[int, Ends]:
    """Both ends for each seed that has others to choose them on."""
    found = {}
    for seed in curves:
        others = [curve for other, curve in curves.items() if other != seed]
        if others:
            accuracy, cost = (np.mean([curve[name][:, 0] for curve in others], axis=0) for name in ("accuracy", badness))
            found[seed] = Ends(int(accuracy.argmax()), int(cost.argmin()))
    return found


def _contrast(curves: Curves, ends: Mapping[int, Ends], name: str) -> dict[int, Array]:
    """A figure at the tau of best accuracy less that at the tau of best calibration, (R + 1,) by seed."""
    return {
        seed: curves[seed][name][end.best_accuracy] - curves[seed][name][end.best_calibration]
        for seed, end in ends.items()
        if seed in curves
    }


def _trade(evidence: Evidence, curves: Curves, badness: str) -> list[Comparison]:
    ends = _ends(curves, badness)
    gain, cost = (evidence.over(_contrast(curves, ends, name)) for name in ("accuracy", badness))
    between = "at the tau of best accuracy - at that of best calibration"
    suffix = "" if badness == "ece" else f" ({WORDS[badness]})"
    return [
        compare(f"accuracy of kd_mixup, {between}{suffix}", gain, ACCURACY_GAIN, unit="points"),
        compare(f"{WORDS[badness]} of kd_mixup, {between}", cost, COST[badness], unit="ECE" if badness == "ece" else "nat"),
    ]


def _parts(evidence: Evidence, at: Cell) -> tuple[list[Premise], list[Comparison], list[Comparison], str, Curves]:
    by_tau = _by_tau(evidence, "kd_mixup", at)
    curves = _curves(evidence, by_tau)
    students = by_tau.get(2.0, {})
    premises = [
        better_teacher(evidence, students, evidence.students(at, "ce"), at.teacher),
        room_to_trade(evidence, by_tau),
        not_by_heart(evidence, students),
    ]
    taus, ends = list(by_tau), _ends(curves, "ece").values()
    note = ""
    if ends:
        named = [_most([taus[getattr(end, which)] for end in ends]) for which in ("best_accuracy", "best_calibration")]
        note = f"Accuracy is best at tau {named[0]}, calibration at tau {named[1]}."
    return premises, _trade(evidence, curves, "ece"), _trade(evidence, curves, "ts_nll"), note, curves


def _most(taus: Sequence[float]) -> str:
    (tau, times), *_ = Counter(taus).most_common(1)
    return f"{tau:g}" + ("" if times == len(taus) else f" (for {times} of {len(taus)} seeds)")


def _judge_trade_off(evidence: Evidence, cell: Cell | None) -> Verdict:
    at = cell or evidence.profile.paper_cell
    premises, stated, rivals, note, _ = _parts(evidence, at)
    verdict = judged(evidence, "g", at, premises, stated, rivals, note)
    if verdict.as_stated == "supported" and verdict.attributed != "supported":
        scale = (
            "After one post-hoc temperature the trade-off cannot be shown any more: what was traded was largely the scale of the logits."
        )
        verdict = judged(evidence, "g", at, premises, stated, rivals, f"{note} {scale}")
    return verdict


def _judge_interaction(evidence: Evidence, cell: Cell | None) -> Verdict:
    """The cost of moving tau between kd_mixup's two ends, for kd_mixup and for kd: the same move, so the same direction."""
    at = cell or evidence.profile.paper_cell
    premises, trade, after, note, ours = _parts(evidence, at)
    word, _ = conclude(premises, trade, [])
    weakest = min(trade, key=lambda row: ("not supported", "not run", "unresolved", "supported").index(row.outcome))
    met = {"supported": True, "not supported": False}.get(word)
    holds = Premise(
        "(g)", f"{weakest.what}, claim (g)", weakest.estimate, weakest.low, weakest.high, weakest.margin, met, unit=weakest.unit
    )
    plain = _curves(evidence, _by_tau(evidence, "kd", at))

    def beyond(badness: str) -> Comparison:
        ends = _ends(ours, badness)
        more, less = _contrast(ours, ends, badness), _contrast(plain, ends, badness)
        interval = evidence.over({seed: more[seed] - less[seed] for seed in sorted(set(more) & set(less))})
        unit = "ECE" if badness == "ece" else "nat"
        return compare(f"{WORDS[badness]} that the same move of tau costs, kd_mixup - kd", interval, COST[badness], unit=unit)

    more, own = _contrast(ours, _ends(ours, "ece"), "ece"), _contrast(plain, _ends(plain, "ece"), "ece")
    each = evidence.over({seed: more[seed] - own[seed] for seed in sorted(set(more) & set(own))})
    rivals = [compare("ECE that each arm's own trade costs, kd_mixup - kd", each, COST["ece"], unit="ECE"), beyond("ts_nll"), *after]
    return judged(evidence, "i", at, [*premises, holds], [beyond("ece")], rivals, note)


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
