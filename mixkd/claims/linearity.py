"""(b) The student becomes more linear between examples than its teacher."""

from __future__ import annotations

import math
from collections.abc import Callable

from mixkd.claims import blends, premises
from mixkd.claims.evidence import Array, BySeed, Claim, Evidence, judged
from mixkd.claims.verdicts import Verdict, compare
from mixkd.records import Record
from mixkd.studies import Cell

Ratio = Callable[[Record, Record], Array]


def _at_its_best(other: Record, student: Record) -> Array:
    """Log ratio of L_NL, each of the two at its NLL-optimal temperature."""
    return blends.log_ratio(blends.nonlinearity(other, other.temperature), blends.nonlinearity(student, student.temperature))


def _in_logits(other: Record, student: Record) -> Array:
    """Log ratio of the departure of the centred logits from a straight line."""
    return blends.log_ratio(blends.logit_gap(other), blends.logit_gap(student))


SCALE_FREE: dict[str, Ratio] = {"each at its NLL-optimal temperature": _at_its_best, "centred logits": _in_logits}


def _judge_linearity(evidence: Evidence, cell: Cell | None) -> Verdict:
    at, profile = cell or evidence.profile.paper_cell, evidence.profile
    ours = evidence.students(at, "kd_mixup")
    teachers = evidence.teachers(ours)

    def native(teacher: Record, student: Record) -> Array:
        return blends.log_ratio(blends.nonlinearity(teacher, blends.tempering(teacher, at.calibration)), blends.nonlinearity(student))

    def on_training_images(teacher: Record, student: Record) -> Array:
        over = blends.train_nonlinearity(teacher, blends.tempering(teacher, at.calibration))
        return blends.log_ratio(over, blends.train_nonlinearity(student))

    stated = [compare("L_NL of the teacher over that of the student", blends.paired(evidence, native, teachers, ours), unit="log ratio")]
    name, plain = blends.nearest_in_accuracy(evidence, ours, blends.plain_rivals(evidence, at))
    others: dict[str, BySeed] = {
        "the teacher": teachers,
        f"{name}, nearest in accuracy" if name else "kd": plain,
        "self-distillation on mixup": blends.of_study(
            evidence, "linearity", arm="kd_mixup", student=profile.student, teacher=profile.student
        ),
        "a wider student, kd": blends.of_study(
            evidence, "linearity", arm="kd", student=profile.wider_student, teacher=profile.default_teacher
        ),
        "kd for twice the steps": blends.longer(evidence),
    }
    if name == "kd for twice the steps":
        del others["kd for twice the steps"]
    rivals = [
        compare(
            f"non-linearity of {other} over that of the student, {scale}", blends.paired(evidence, ratio, group, ours), unit="log ratio"
        )
        for other, group in others.items()
        for scale, ratio in SCALE_FREE.items()
    ]
    shown = [
        compare(
            "L_NL of the teacher over that of the student, training images",
            blends.paired(evidence, on_training_images, teachers, ours),
            unit="log ratio",
        ),
        *(
            compare(f"accuracy, kd_mixup - {other}", evidence.difference("accuracy", ours, group), unit="points")
            for other, group in others.items()
        ),
    ]
    note = ""
    if math.isfinite(stated[0].estimate):
        factors = ", ".join(
            f"{math.exp(row.estimate):.2f} ({scale})" for row, scale in zip(rivals, SCALE_FREE, strict=False) if math.isfinite(row.estimate)
        )
        note = (
            f"As the authors measure it the teacher is {math.exp(stated[0].estimate):.2f} times as far from linear as the student; with "
            f"confidence taken out {factors}. Accuracies: student {blends.mean_accuracy(evidence, ours.values()):.3f}"
        )
        known = {other: blends.mean_accuracy(evidence, group.values()) for other, group in others.items()}
        note += "".join(f", {other} {value:.3f}" for other, value in known.items() if math.isfinite(value)) + "."
    found = [premises.strange_blends(evidence, teachers.values()), premises.not_by_heart(evidence, ours)]
    return judged(evidence, "b", at, found, stated, rivals, note, shown)


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
