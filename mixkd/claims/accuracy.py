"""(d) Accuracy rises, for teachers of every capacity."""

from __future__ import annotations

from mixkd.claims.evidence import Claim, Evidence, difference, judged
from mixkd.claims.verdicts import Verdict, compare


def _judge_accuracy(evidence: Evidence) -> Verdict:
    frame = evidence.frame("accuracy")
    stated, rivals = [], []
    for teacher in evidence.profile.teachers:
        ours = {"arm": "kd_mixup", "teacher": teacher}
        stated.append(compare(f"accuracy, kd_mixup from {teacher} - ce", difference(frame, "accuracy", ours, {"arm": "ce"})))
        for rival in ({"arm": "kd", "teacher": teacher}, {"arm": "mixup"}, {"arm": "label_smoothing"}):
            what = f"accuracy, kd_mixup from {teacher} - {rival['arm']}"
            rivals.append(compare(what, difference(frame, "accuracy", ours, rival)))
    note = "One teacher was trained at this scale, so nothing here is about capacity." if len(evidence.profile.teachers) == 1 else ""
    return judged(evidence, "d", stated, rivals, note)


CLAIM = Claim(
    letter="d",
    title="Accuracy",
    sentence="Accuracy rises over the cross-entropy student, for teachers of every capacity.",
    statistic="accuracy of kd_mixup minus accuracy of ce, paired by seed, for each teacher",
    rule="supported when the 95 % t interval lies above 0 for every teacher (intersection-union)",
    rivals="kd from the same teacher, mixup, label smoothing, at equal steps",
    chapter="06-accuracy",
    studies=("accuracy",),
    judge=_judge_accuracy,
)
