"""(d) Accuracy rises, for teachers of every capacity."""

from __future__ import annotations

from mixkd.claims.evidence import Claim, Evidence, judged
from mixkd.claims.premises import better_teacher, not_by_heart
from mixkd.claims.verdicts import Comparison, Premise, Verdict, compare
from mixkd.studies import Cell


def _judge_accuracy(evidence: Evidence, cell: Cell | None) -> Verdict:
    """In a cell: that teacher. The claim's own line: every teacher as trained, each of them one half of "every capacity"."""
    profile = evidence.profile
    at = cell or profile.paper_cell
    models = [at.teacher] if cell else list(profile.teachers)
    base = evidence.students(at, "ce")
    premises: list[Premise] = []
    stated: list[Comparison] = []
    rivals: list[Comparison] = []
    left_out = []
    for model in models:
        there = Cell(model, at.calibration, at.tau)
        ours = evidence.students(there, "kd_mixup")
        own = [better_teacher(evidence, ours, base, model), not_by_heart(evidence, ours)]
        if model != profile.default_teacher and len(models) > 1 and any(premise.met is False for premise in own):
            left_out.append(f"{model} ({', '.join(premise.name for premise in own if premise.met is False)} fails)")
            continue
        premises += own
        half = model if len(models) > 1 else ""
        gain = evidence.difference("accuracy", ours, base)
        stated.append(compare(f"accuracy, kd_mixup from {model} - ce", gain, unit="points", half=half))
        for rival in ("kd", "mixup", "label_smoothing"):
            beyond = evidence.difference("accuracy", ours, evidence.students(there, rival))
            rivals.append(compare(f"accuracy, kd_mixup from {model} - {rival}", beyond, unit="points"))
    note = f"Left out, since their world cannot test the sentence: {', '.join(left_out)}." if left_out else ""
    if cell is None and len(stated) == 1:
        note += " One teacher was judged, so nothing here is about capacity."
    return judged(evidence, "d", at, premises, stated, rivals, note.strip())


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
    judge=_judge_accuracy,
)
