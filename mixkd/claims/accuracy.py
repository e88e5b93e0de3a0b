"""(d) Accuracy rises, for teachers of every capacity."""

from __future__ import annotations

from mixkd.claims.evidence import Claim, Evidence
from mixkd.claims.premises import better_teacher, not_by_heart
from mixkd.claims.verdicts import Case, Comparison, Premise, compare
from mixkd.studies import Cell


def _premises(evidence: Evidence, at: Cell) -> list[Premise]:
    ours, base = evidence.students(at, "kd_mixup"), evidence.students(at, "ce")
    return [better_teacher(evidence, ours, base, at.teacher), not_by_heart(evidence, ours)]


def _under_its_teacher(evidence: Evidence, at: Cell, half: str = "") -> Case:
    ours = evidence.students(at, "kd_mixup")

    def ahead(rival: str, half: str = "") -> Comparison:
        gain = evidence.difference("accuracy", ours, evidence.students(at, rival))
        return compare(f"accuracy, kd_mixup from {at.teacher} - {rival}", gain, unit="points", half=half)

    return Case(_premises(evidence, at), [ahead("ce", half)], [ahead(rival) for rival in ("kd", "mixup", "label_smoothing")])


def _under_every_teacher(evidence: Evidence) -> Case:
    """Every teacher as trained, each of them one half of "every capacity"; others than the default one may fail a premise."""
    profile, at = evidence.profile, evidence.profile.paper_cell
    judged, left_out = [], []
    for model in profile.teachers:
        there = Cell(model, at.calibration, at.tau)
        failing = [premise.name for premise in _premises(evidence, there) if premise.met is False]
        if failing and model != profile.default_teacher:
            left_out.append(f"{model} ({', '.join(failing)} fails)")
        else:
            judged.append(_under_its_teacher(evidence, there, half=model if len(profile.teachers) > 1 else ""))
    note = f"Left out, since their world cannot test the sentence: {', '.join(left_out)}." if left_out else ""
    if len(judged) == 1:
        note += " One teacher was judged, so nothing here is about capacity."
    return Case(
        premises=[premise for case in judged for premise in case.premises],
        stated=[part for case in judged for part in case.stated],
        rivals=[part for case in judged for part in case.rivals],
        note=note.strip(),
    )


CLAIM = Claim(
    letter="d",
    title="Accuracy",
    sentence="Accuracy rises over the cross-entropy student, for teachers of every capacity.",
    statistic="accuracy of kd_mixup minus accuracy of ce, paired by seed, for each teacher",
    rule=(
        "supported when the 95 % interval over seeds and test images lies above 0 for every teacher that is at least 3 points better than "
        "the plain student; depends when it rises under one teacher and falls under another"
    ),
    rivals="kd from the same teacher, mixup, label smoothing, at equal steps",
    chapter="06-accuracy",
    studies=("accuracy", "map"),
    judge=_under_its_teacher,
    overall=_under_every_teacher,
)
