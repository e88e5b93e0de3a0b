"""(h) The geometry of the representation changes with it."""

from __future__ import annotations

import math

from mixkd.claims import blends, premises
from mixkd.claims.evidence import Array, BySeed, Claim, Evidence, judged
from mixkd.claims.verdicts import Premise, Verdict, compare
from mixkd.measure import statistics
from mixkd.records import Record
from mixkd.studies import Cell


def _judge_geometry(evidence: Evidence, cell: Cell | None) -> Verdict:
    at = cell or evidence.profile.paper_cell
    ours, mixup = evidence.students(at, "kd_mixup"), evidence.students(at, "mixup")
    name, plain, equal = _equally_accurate(evidence, ours, blends.plain_rivals(evidence, at))

    def straighter(other: Record, student: Record) -> Array:
        return blends.log_ratio(blends.feature_gap(other), blends.feature_gap(student))

    what = "non-linearity of the features of {} over that of kd_mixup"
    stated = [compare(what.format(name or "kd"), blends.paired(evidence, straighter, plain, ours), unit="log ratio")]
    rivals = [compare(what.format("mixup"), blends.paired(evidence, straighter, mixup, ours), unit="log ratio")]
    shown = [compare("accuracy, kd_mixup - mixup", evidence.difference("accuracy", ours, mixup), unit="points")]
    note = ""
    if math.isfinite(stated[0].estimate):
        groups = {"kd_mixup": ours, name: plain, "mixup": mixup}
        known = {arm: blends.mean_accuracy(evidence, group.values()) for arm, group in groups.items() if group}
        note = (
            f"The features of {name} are {math.exp(stated[0].estimate):.2f} times as far from a straight line as those of kd_mixup. "
            f"Accuracies: {', '.join(f'{arm} {value:.3f}' for arm, value in known.items())}."
        )
    return judged(evidence, "h", at, [equal, premises.not_by_heart(evidence, ours)], stated, rivals, note, shown)


def _equally_accurate(evidence: Evidence, ours: BySeed, candidates: dict[str, BySeed]) -> tuple[str, BySeed, Premise]:
    """The kd to compare with: the cell's own where its accuracy is equivalent, else the nearest that is, else the nearest of all.

    The premise is met where the accuracies are equivalent (TOST), fails where every candidate is shown to differ by the margin or more,
    and is unresolved otherwise. The numbers in it are those of the kd that is compared with.
    """
    margin = evidence.accuracy_margin
    gaps = {name: evidence.difference("accuracy", ours, found) for name, found in candidates.items()}
    equal = {name: statistics.equivalence(gap, margin) for name, gap in gaps.items()}
    own = next(iter(candidates), "")
    alike = {name: candidates[name] for name, same in equal.items() if same}
    if own in alike:
        name = own
    else:
        name, _ = blends.nearest_in_accuracy(evidence, ours, alike or candidates)
    if not name:
        nothing = float("nan")
        return "", {}, Premise("Equal accuracy", "accuracy, kd_mixup - kd", nothing, nothing, nothing, margin, None, "equivalent", "points")
    met = True if alike else False if all(same is False for same in equal.values()) else None
    gap = gaps[name]
    what = f"accuracy, kd_mixup - {name} (equivalent within {margin:g})"
    return name, candidates[name], Premise("Equal accuracy", what, gap.estimate, gap.low, gap.high, margin, met, "equivalent", "points")


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
