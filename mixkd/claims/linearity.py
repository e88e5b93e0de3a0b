"""(b) The student becomes more linear between examples than its teacher."""

from __future__ import annotations

import math

from mixkd.arrays import Array
from mixkd.claims import blends, premises
from mixkd.claims.evidence import BySeed, Claim, Evidence, accuracies, tempering
from mixkd.claims.verdicts import Case, compare
from mixkd.records import Record
from mixkd.studies import Cell


def _at_its_best(other: Record, student: Record) -> Array:
    """Log ratio of L_NL, each of the two at its NLL-optimal temperature."""
    return blends.log_ratio(blends.nonlinearity(other, other.temperature), blends.nonlinearity(student, student.temperature))


def _in_logits(other: Record, student: Record) -> Array:
    """Log ratio of the departure of the centred logits from a straight line."""
    return blends.log_ratio(blends.logit_gap(other), blends.logit_gap(student))


SCALE_FREE = {"each at its NLL-optimal temperature": _at_its_best, "centred logits": _in_logits}


def _judge_linearity(evidence: Evidence, at: Cell) -> Case:
    ours = evidence.students(at, "kd_mixup")
    teachers = evidence.teachers(ours)

    def native(teacher: Record, student: Record) -> Array:
        return blends.log_ratio(blends.nonlinearity(teacher, tempering(teacher, at.calibration)), blends.nonlinearity(student))

    def on_training_images(teacher: Record, student: Record) -> Array:
        over = blends.train_nonlinearity(teacher, tempering(teacher, at.calibration))
        return blends.log_ratio(over, blends.train_nonlinearity(student))

    what = "L_NL of the teacher over that of the student"
    stated = [compare(what, evidence.paired(native, teachers, ours), unit="log ratio")]
    others = {"the teacher": teachers} | _students(evidence, at, ours)
    rivals = [
        compare(f"non-linearity of {other} over that of the student, {scale}", evidence.paired(ratio, group, ours), unit="log ratio")
        for other, group in others.items()
        for scale, ratio in SCALE_FREE.items()
    ]
    shown = [compare(f"{what}, training images", evidence.paired(on_training_images, teachers, ours), unit="log ratio")]
    shown += [
        compare(f"accuracy, kd_mixup - {other}", evidence.difference("accuracy", ours, group), unit="points")
        for other, group in others.items()
    ]
    note = ""
    if math.isfinite(stated[0].estimate):
        of_teacher = zip(rivals, SCALE_FREE, strict=False)
        factors = [f"{math.exp(row.estimate):.2f} ({scale})" for row, scale in of_teacher if math.isfinite(row.estimate)]
        note = (
            f"As the authors measure it the teacher is {math.exp(stated[0].estimate):.2f} times as far from linear as the student; with "
            f"confidence taken out {', '.join(factors)}. Accuracies: {accuracies({'student': ours} | others)}."
        )
    return Case([premises.strange_blends(evidence, teachers.values()), premises.not_by_heart(evidence, ours)], stated, rivals, shown, note)


def _students(evidence: Evidence, at: Cell, ours: BySeed) -> dict[str, BySeed]:
    """Return the students that must be less linear: kd of nearest accuracy, self-distillation, a wider student, twice the steps."""
    profile = evidence.profile
    student, wider, teacher = profile.student, profile.wider_student, profile.default_teacher
    name, plain = blends.nearest_in_accuracy(ours, blends.plain_rivals(evidence, at))
    found = {
        f"{name}, nearest in accuracy" if name else "kd": plain,
        "self-distillation on mixup": blends.of_study(evidence, "linearity", arm="kd_mixup", student=student, teacher=student),
        "a wider student, kd": blends.of_study(evidence, "linearity", arm="kd", student=wider, teacher=teacher),
    }
    twice = "kd for twice the steps"
    return found if name == twice else found | {twice: blends.longer(evidence)}


CLAIM = Claim(
    letter="b",
    title="Linearity",
    sentence="The student becomes more linear between examples than its teacher.",
    statistic=(
        "log ratio of non-linearity, teacher over student: L_NL at temperature 1 as the authors' public code measures it, mean over lam "
        "and over pairs of test images of two classes"
    ),
    rule="supported when its 95 % interval, over seeds and pairs of images, lies above 0",
    rivals=(
        "the ratio must stay above 0 with each model at the temperature that minimises its validation NLL, and in the centred logits; "
        "measured in these two ways the student must also be more linear than kd of nearest accuracy, self-distillation, a wider student "
        "and kd for twice the steps (the last three under the teacher as trained, tau 2)"
    ),
    chapter="04-student-linearity",
    studies=("linearity", "temperature", "map"),
    judge=_judge_linearity,
)
