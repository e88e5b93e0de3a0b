"""(b) The student becomes more linear between examples than its teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from mixkd.claims.evidence import Claim, Evidence, judged, over_seeds
from mixkd.claims.verdicts import Comparison, Outcome, Verdict, compare, every
from mixkd.measure import linearity
from mixkd.records import Record

_SCALINGS: tuple[linearity.Scaling, ...] = ("logit", "clean_entropy", "nll_optimal")


def _judge_linearity(evidence: Evidence) -> Verdict:
    students = evidence.students("linearity", arm="kd_mixup")
    teachers = {seed: teacher for seed, record in students.items() if (teacher := evidence.teacher_of(record)) is not None}
    stated = _more_linear(students, teachers, "than its teacher")
    outcome = _agreeing(stated)
    plain = evidence.profile
    rivals = []
    others: dict[str, dict[str, Any]] = {
        "kd": {"arm": "kd"},
        "mixup": {"arm": "mixup"},
        "self-distillation on mixup": {"arm": "kd_mixup", "teacher": plain.student},
        "a wider student, kd": {"arm": "kd", "student": plain.wider_student},
        "kd for twice the steps": {"arm": "kd", "epochs": 2 * plain.spec("kd", 0).epochs},
    }
    for what, fields in others.items():
        rows = _more_linear(students, evidence.students("linearity", **fields), f"than {what}")
        worst = min(rows, key=lambda row: row.low if not math.isnan(row.low) else -math.inf)
        rivals.append(replace(worst, outcome=_agreeing(rows)))
    verdict = judged(evidence, "b", stated, rivals, "Rival rows show the least favourable of the scalings.")
    return replace(verdict, as_stated=outcome, attributed=every([outcome, *(row.outcome for row in rivals)]))


def _more_linear(students: Mapping[int, Record], others: Mapping[int, Record], than: str) -> list[Comparison]:
    """- log(non-linearity of the student / of the other), paired by seed, under each scaling."""
    values: dict[str, list[float]] = {}
    for seed in sorted(set(students) & set(others)):
        student, other = students[seed], others[seed]
        for scaling in _SCALINGS:
            names = [f"{scaling}, {which} tempered" for which in ("student", "other")] if scaling == "clean_entropy" else [scaling]
            try:
                ratio = linearity.nonlinearity_ratio(
                    student.probe.logits, other.probe.logits, student.probe.lam, student.probe.labels, scaling=scaling,
                    student_clean=student.logits("val"), teacher_clean=other.logits("val"), clean_labels=student.labels("val"),
                ).pooled.tolist()  # fmt: skip
            except ValueError:  # a model without any confidence, or with no doubt at all: no temperature matches it
                ratio = [math.nan] * len(names)
            for name, value in zip(names, ratio, strict=True):
                values.setdefault(name, []).append(-value)
    if not values:
        return [compare(f"log ratio, how much more linear {than}", over_seeds([]))]
    return [
        compare(f"log ratio, how much more linear {than} ({name.replace('_', ' ')})", over_seeds(column)) for name, column in values.items()
    ]


def _agreeing(rows: Sequence[Comparison]) -> Outcome:
    """All scalings on one side, or no verdict: the choice of scaling must not decide."""
    outcomes = {row.outcome for row in rows}
    return outcomes.pop() if len(outcomes) == 1 else "unresolved"


CLAIM = Claim(
    letter="b",
    title="Linearity",
    sentence="The student becomes more linear between examples than its teacher.",
    statistic=(
        "log ratio of non-linearity, teacher over student, in logit space, at matched clean entropy (either one tempered), and each at "
        "its NLL-optimal temperature"
    ),
    rule="supported when all four 95 % t intervals lie above 0, not supported when all lie at or below it; "
    "if the scalings disagree, unresolved",
    rivals="kd, mixup, self-distillation, a wider student, twice the steps",
    chapter="04-student-linearity",
    studies=("linearity",),
    judge=_judge_linearity,
    asks_teachers=True,
)
