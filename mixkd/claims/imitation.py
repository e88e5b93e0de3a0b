"""(c) The student does not merely imitate its teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mixkd.claims.evidence import Claim, Evidence, judged, over_pairs, over_seeds
from mixkd.claims.verdicts import Verdict, compare
from mixkd.measure import fidelity, linearity, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record

DISPLACEMENT_MARGIN = 0.1
"""How much further than an independent teacher a student must have moved from its own, on the way from it (0) to linear (1)."""
INDEPENDENT = 2
"""With so many teachers that it never met a student's agreement and its errors are compared."""


def _judge_imitation(evidence: Evidence) -> Verdict:
    students = {arm: evidence.students("linearity", arm=arm) for arm in ("kd_mixup", "kd", "ce")}
    ours = students["kd_mixup"]
    teachers = {seed: teacher for seed, record in ours.items() if (teacher := evidence.teacher_of(record)) is not None}
    what = "displacement of kd_mixup from its teacher towards the linear reference, beyond that of an independent teacher"
    stated = [compare(what, _beyond_independent(ours, teachers), DISPLACEMENT_MARGIN)]
    moved = {
        arm: {seed: _displacement(found[seed], teachers[seed]) for seed in sorted(set(found) & set(teachers))}
        for arm, found in students.items()
    }

    def against(arm: str) -> list[float]:
        return [moved["kd_mixup"][seed] - value for seed, value in moved[arm].items()]

    rivals = [
        compare("displacement, kd_mixup - kd", over_seeds(against("kd"))),
        compare("displacement, kd_mixup - ce, which never met the teacher", over_seeds(against("ce"))),
    ]
    shown = [
        compare("displacement of kd_mixup (0 imitation, 1 linear)", over_seeds(list(moved["kd_mixup"].values()))),
        compare("displacement of an independent teacher", over_pairs(_between({teacher.id: teacher for teacher in teachers.values()}))),
    ]
    agreed, copied = [], []
    for seed in moved["kd_mixup"]:
        if strangers := _strangers(teachers, seed):
            row = _followed_errors(ours[seed], teachers[seed], strangers)
            agreed.append(row[0])
            copied.append(row[1])
    shown += [
        compare("agreement on test images, own teacher - independent teachers", over_seeds(agreed)),
        compare("wrong answers copied, own teacher - independent teachers", over_seeds(copied)),
    ]
    note = "" if len({teacher.id for teacher in teachers.values()}) > 1 else "One teacher has no independent one to be compared with."
    return replace(judged(evidence, "c", stated, rivals, note if teachers else ""), shown=tuple(shown))


def _displacement(one: Record, teacher: Record) -> float:
    probe = teacher.probe
    return linearity.displacement(one.probe.logits, probe.logits, probe.lam, probe.labels).pooled()


def _between(teachers: Mapping[str, Record]) -> np.ndarray:
    """(T, T): how far the one teacher would be displaced, were it a student of the other; symmetric mean of both ways; nan with itself."""
    found = list(teachers.values())
    table = np.array([[_displacement(one, other) if one.id != other.id else math.nan for other in found] for one in found])
    return (table + table.T) / 2 if len(found) else np.empty((0, 0))


def _beyond_independent(students: Mapping[int, Record], teachers: Mapping[int, Record]) -> Interval:
    """Mean over seeds of the student's displacement less that of the other seeds' teachers, from the same teacher."""
    seeds = sorted(set(students) & set(teachers))
    own = [_displacement(students[seed], teachers[seed]) for seed in seeds]
    known = {
        one: {two: _displacement(teachers[two], teachers[one]) for two in seeds if teachers[two].id != teachers[one].id} for one in seeds
    }

    def excess(units: Sequence[int]) -> float:
        values = []
        for unit in units:
            others = [known[seeds[unit]][seeds[two]] for two in units if seeds[two] in known[seeds[unit]]]
            values.append(own[unit] - float(np.mean(others)) if others else math.nan)
        return float(np.mean(values)) if values else math.nan

    return statistics.jackknife(excess, len(seeds))


def _strangers(teachers: Mapping[int, Record], seed: int) -> list[Record]:
    """The next teachers, round the circle of seeds, that are not this seed's own."""
    seeds = sorted(teachers)
    turned = seeds[seeds.index(seed) + 1 :] + seeds[: seeds.index(seed)]
    others = {teachers[other].id: teachers[other] for other in turned if teachers[other].id != teachers[seed].id}
    return list(others.values())[:INDEPENDENT]


def _followed_errors(student: Record, teacher: Record, strangers: Sequence[Record]) -> tuple[float, float]:
    """On clean test images: agreement with the own teacher less that with strangers, and the same of the errors that are copied."""
    rows = min(len(record.logits()) for record in (student, teacher, *strangers))
    answer, labels = student.logits()[:rows], student.labels()[:rows]
    own, *others = (fidelity.agreement(answer, record.logits()[:rows]).agreement for record in (teacher, *strangers))
    copied = fidelity.copied_errors(answer, teacher.logits()[:rows], labels, [record.logits()[:rows] for record in strangers])
    return own - float(np.mean(others)), copied.excess


CLAIM = Claim(
    letter="c",
    title="No mere imitation",
    sentence="The student does not merely imitate its teacher.",
    statistic=(
        "displacement from the teacher, tempered to the student's entropy (0), towards the linear reference (1), beyond what an "
        "independent teacher would score in the student's place"
    ),
    rule="supported when its 95 % interval over seeds, each with a teacher of its own, lies above .1",
    rivals="kd, and ce, which never met the teacher: their displacement must be smaller",
    chapter="05-imitation",
    studies=("linearity",),
    judge=_judge_imitation,
    asks_teachers=True,
)
