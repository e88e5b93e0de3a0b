"""(h) The geometry of the representation changes with it."""

from __future__ import annotations

import math

from mixkd.arrays import Array
from mixkd.claims import blends, premises
from mixkd.claims.evidence import BySeed, Claim, Evidence, accuracies
from mixkd.claims.verdicts import Case, Premise, compare, in_unit
from mixkd.measure import statistics
from mixkd.records import Record
from mixkd.studies import Cell


def _judge_geometry(evidence: Evidence, at: Cell) -> Case:
    ours, mixup = evidence.students(at, "kd_mixup"), evidence.students(at, "mixup")
    name, plain, equal = _equally_accurate(evidence, ours, blends.plain_rivals(evidence, at))

    def straighter(other: Record, student: Record) -> Array:
        return blends.log_ratio(blends.feature_gap(other), blends.feature_gap(student))

    what = "non-linearity of the features of {} over that of kd_mixup"
    bent = evidence.paired(straighter, plain, ours)
    note = ""
    if math.isfinite(bent.estimate):
        note = (
            f"The features of {name} are {math.exp(bent.estimate):.2f} times as far from a straight line as those of kd_mixup. "
            f"Accuracies: {accuracies({'kd_mixup': ours, name: plain, 'mixup': mixup})}."
        )
    return Case(
        premises=[equal, premises.not_by_heart(evidence, ours)],
        stated=[compare(what.format(name or "kd"), bent, unit="log ratio")],
        rivals=[compare(what.format("mixup"), evidence.paired(straighter, mixup, ours), unit="log ratio")],
        shown=[compare("accuracy, kd_mixup - mixup", evidence.difference("accuracy", ours, mixup), unit="points")],
        note=note,
    )


def _equally_accurate(evidence: Evidence, ours: BySeed, candidates: dict[str, BySeed]) -> tuple[str, BySeed, Premise]:
    """Return the kd to compare with: the cell's own if its accuracy is equivalent, else the nearest that is, else the nearest of all.

    The premise is met where the accuracies are equivalent (TOST), fails where every candidate is shown to differ by the margin or more,
    and is unresolved otherwise. Its numbers are those of the kd chosen.
    """
    margin = evidence.accuracy_margin
    gaps = {name: evidence.difference("accuracy", ours, found) for name, found in candidates.items()}
    equal = {name: statistics.equivalence(gap, margin) for name, gap in gaps.items()}
    alike = {name: candidates[name] for name, same in equal.items() if same}
    name = next(iter(candidates), "")
    if name not in alike:
        name, _ = blends.nearest_in_accuracy(ours, alike or candidates)
    met = True if alike else False if name and all(same is False for same in equal.values()) else None
    gap = gaps[name] if name else statistics.t_interval([])
    what = f"accuracy, kd_mixup - {name} (equivalent within {in_unit(margin, 'points')})" if name else "accuracy, kd_mixup - kd"
    premise = Premise("Equal accuracy", what, gap.estimate, gap.low, gap.high, margin, met, "equivalent", "points")
    return name, candidates.get(name, {}), premise


CLAIM = Claim(
    letter="h",
    title="Geometry",
    sentence="The geometry of the representation changes with it.",
    statistic=(
        "log ratio of the non-linearity of penultimate features half-way between two test images of two classes, kd over kd_mixup, where "
        "kd is as accurate"
    ),
    rule=(
        "supported when its 95 % interval, over seeds and pairs of images, lies above 0. The kd of the same tau counts where its accuracy "
        "is equivalent, else that of another tau or length which is; with none of equal accuracy the premise is not met"
    ),
    rivals="mixup must have less linear features too",
    chapter="10-geometry",
    studies=("overconfidence", "temperature", "duration", "map"),
    judge=_judge_geometry,
)
