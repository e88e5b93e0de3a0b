"""(e) Overconfidence falls by an order of magnitude."""

from __future__ import annotations

import numpy as np

from mixkd.arrays import Array
from mixkd.claims.evidence import BySeed, Claim, Evidence, overconfidence_floor
from mixkd.claims.premises import not_by_heart, told_from_noise
from mixkd.claims.verdicts import Case, Comparison, compare
from mixkd.studies import Cell

ORDER = 1.0
"""log10 of the ratio that "an order of magnitude" asks for."""


def tenfold(evidence: Evidence, students: BySeed, base: BySeed, name: str = "kd_mixup", *, scaled: bool = False) -> list[Comparison]:
    """Return the three stated comparisons of some students with the plain ones: a tenfold fall, and what keeps it honest.

    Args:
        students, base: by seed.
        name: of the students' arm, for words.
        scaled: whether the students' figures are those after one post-hoc temperature each.
    """
    floor, ts = overconfidence_floor(students.values(), scaled=scaled)[0], "ts_" if scaled else ""
    ratio = evidence.contrast(lambda plain, own: _fewer(plain["oe"], own[f"{ts}oe"], floor), base, students)
    what = f"log10 of overconfidence error, ce over {name}"
    return [compare(what, ratio, ORDER, unit="log10 ratio"), *_conditions(evidence, students, base, name, ts)]


def _fewer(other: Array, own: Array, floor: float) -> Array:
    """Return log10 of the ratio of two overconfidence errors, each at least `floor`."""
    return np.log10(np.maximum(other, floor)) - np.log10(np.maximum(own, floor))


def _judge_overconfidence(evidence: Evidence, at: Cell) -> Case:
    ours, base = evidence.students(at, "kd_mixup"), evidence.students(at, "ce")
    floor = overconfidence_floor(ours.values())[0]

    def beyond(rival: str, others: BySeed, column: str = "oe") -> Comparison:
        ratio = evidence.contrast(lambda other, own: _fewer(other[column], own["oe"], floor), others, ours)
        return compare(f"log10 of overconfidence error, {rival} over kd_mixup", ratio, unit="log10 ratio")

    rivals, excused = [], {}
    for rival in ("kd", "mixup", "label_smoothing"):
        others = evidence.students(at, rival)
        if rival != "kd" and any(part.outcome == "not supported" for part in _conditions(evidence, others, base, rival)):
            excused[rival] = beyond(rival, others)
        else:
            rivals.append(beyond(rival, others))
    rivals.append(beyond("temperature-scaled ce", base, "ts_oe"))
    gap = evidence.contrast(lambda plain, own: np.log10(np.abs(plain["gap"])) - np.log10(np.abs(own["gap"])), base, ours)
    note = f"Errors below {floor:.4f}, what a calibrated model shows by chance on average, count as {floor:.4f}." if ours else ""
    if excused:
        note += f" Not counted as rivals, since they fail a condition of the claim themselves: {' and '.join(excused)}."
    return Case(
        premises=[told_from_noise(evidence, ours, base), not_by_heart(evidence, ours)],
        stated=tenfold(evidence, ours, base),
        rivals=rivals,
        shown=[compare("log10 of abs(confidence - accuracy), ce over kd_mixup", gap, ORDER, unit="log10 ratio"), *excused.values()],
        note=note,
    )


def _conditions(evidence: Evidence, students: BySeed, base: BySeed, name: str, ts: str = "") -> list[Comparison]:
    """Return the conditions that keep underconfidence from passing for success: at most a quarter of ce's ECE, and a lower NLL."""
    under = evidence.contrast(lambda plain, own: plain["ece"] / 4 - own[f"{ts}under"], base, students)
    nll = evidence.contrast(lambda plain, own: plain["nll"] - own[f"{ts}nll"], base, students)
    return [
        compare(f"a quarter of ce's ECE - underconfident part of {name}", under, unit="ECE"),
        compare(f"NLL, ce - {name}", nll, unit="nat"),
    ]


CLAIM = Claim(
    letter="e",
    title="Overconfidence",
    sentence="Overconfidence falls by an order of magnitude against the cross-entropy student.",
    statistic="log10 of the ratio of overconfidence errors, ce over kd_mixup, each at least what a calibrated model would show by chance",
    rule=(
        "supported when its 95 % interval over seeds and test images lies above 1, the underconfident part of kd_mixup's ECE is at most a "
        "quarter of ce's ECE and its NLL is lower. The last two are conditions: failing one is not supported, whatever the first says"
    ),
    rivals=(
        "kd in the same cell and ce with one post-hoc temperature; mixup and label smoothing unless they fail one of the two conditions "
        "themselves"
    ),
    chapter="07-overconfidence",
    studies=("overconfidence", "map"),
    judge=_judge_overconfidence,
)
