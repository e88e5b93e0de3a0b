"""(f) Calibration passes from teacher to student."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch

from mixkd.arrays import Array
from mixkd.claims.evidence import BySeed, Claim, Evidence, accuracies, mean_accuracy, measures, tempering
from mixkd.claims.premises import not_by_heart, unequal_teachers
from mixkd.claims.verdicts import Case, Comparison, compare
from mixkd.measure import resampling
from mixkd.measure.selective import score
from mixkd.measure.statistics import Interval
from mixkd.measure.temperature import spread_temperature
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.studies import CALIBRATIONS, TEACHER_SPREAD, Cell, stopped_early

LOG_TEMPERATURE_MARGIN = 0.1
"""Differences of log T* within this count as none: a temperature within ten per cent."""
PASSED = 0.25
"""The share of the teacher's tempering that must arrive at the student; the loss asks for all of it."""
STAYS, CALIBRATED, UNEQUAL = "accuracy that stays", "calibrated teachers", "teachers of unequal accuracy"


def _judge_propagation(evidence: Evidence, _: Cell) -> Case:
    """Once a profile, at tau 2, whatever the cell.

    That the tempering arrives is a condition: accuracy that stays equal while no temperature arrives makes nothing "depend". The halves
    that may contradict each other are what "independently of accuracy" says: the student's accuracy stays, calibrated teachers give
    calibrated students, and teachers of unequal accuracy do so alike.
    """
    profile = evidence.profile
    default = profile.default_teacher
    tempered = {name: evidence.students(Cell(default, name, 2.0), "kd_mixup") for name in CALIBRATIONS}
    raw = tempered["raw"]
    what = "share of a change in the teacher's log temperature that the student's log T* shows"
    stated = [compare(what, _passed(evidence, tempered), PASSED, unit="share")]
    for name in ("fitted", "half", "double"):
        moved, what = evidence.difference("accuracy", tempered[name], raw), f"accuracy of the student, teacher {name} - raw"
        stated.append(compare(what, moved, evidence.accuracy_margin, kind="equivalent", unit="points", half=STAYS))
    schools = {model: evidence.students(Cell(model, "fitted", 2.0), "kd_mixup") for model in profile.teachers}
    for model, students in schools.items():
        off = evidence.contrast(lambda figures: figures["log_temperature"], students)
        stated.append(_calibrated(f"log T* of the student of a calibrated {model}", off, CALIBRATED))
    taught = (raw, *(schools[model] for model in profile.teachers if model != default))
    unlearnt = [not_by_heart(evidence, students) for students in taught]
    schools[f"{default} stopped early"] = evidence.by_seed(
        _student(evidence, seed, stopped_early(profile, seed)) for seed in profile.swept_seeds
    )
    teachers = {name: found for name, students in schools.items() if (found := evidence.teachers(students))}
    right = {name: mean_accuracy(found.values()) for name, found in teachers.items()}
    best, worst = "the most accurate", "the least accurate"
    if len(right) > 1:
        best, worst = max(right, key=right.__getitem__), min(right, key=right.__getitem__)
    moved = evidence.difference("log_temperature", schools.get(best, {}), schools.get(worst, {}))
    stated.append(_calibrated(f"log T* of the student, calibrated teacher {best} - {worst}", moved, UNEQUAL))
    apart = unequal_teachers(evidence, teachers.get(best, {}), teachers.get(worst, {}), (best, worst))
    note = f"Accuracies of the calibrated teachers: {accuracies(teachers)}." if len(right) > 1 else ""
    return Case([apart, *unlearnt], stated, [_followed(evidence, raw)], note=note)


def _calibrated(what: str, log_temperature: Interval, half: str) -> Comparison:
    return compare(what, log_temperature, LOG_TEMPERATURE_MARGIN, kind="equivalent", unit="log temperature", half=half)


def _student(evidence: Evidence, seed: int, teacher: TeacherSpec) -> RunSpec:
    return evidence.profile.spec("kd_mixup", seed, teacher=teacher)


def _passed(evidence: Evidence, tempered: Mapping[str, BySeed]) -> Interval:
    """For each seed: minus the least-squares slope of the student's log T* over the log of its teacher's whole tempering.

    A teacher whose logits are divided by T is softer by T; a student that takes it over needs a T* smaller by the same factor.
    """
    values = {}
    teachers = evidence.teachers(tempered["raw"])
    for seed in sorted(set.intersection(set(teachers), *(set(found) for found in tempered.values()))):
        x = np.array([math.log(tempering(teachers[seed], name)) for name in tempered])
        y = np.stack([measures(found[seed])["log_temperature"] for found in tempered.values()])
        x = x - x.mean()
        if x @ x > 0:
            values[seed] = -(x @ y) / (x @ x)
    return evidence.over(values)


def _followed(evidence: Evidence, plain: BySeed) -> Comparison:
    """Image by image: the slope of the student's log-odds on -s h(x) over its teacher's own.

    The teacher of this control has its logits divided by c exp(s h(x)), h a fixed random projection, c such that its mean confidence stays.
    The student's change is that against the student of the untouched teacher; the teacher's own is that of its logits divided so. (A slope
    of the student alone has no scale: confident teachers move by an order of magnitude in log-odds where others move by a unit.)
    """
    values = {}
    profile = evidence.profile
    spread = evidence.by_seed(
        _student(evidence, seed, profile.teacher(seed, temperature_spread=TEACHER_SPREAD)) for seed in profile.swept_seeds
    )
    for seed, record in spread.items():
        teacher = evidence.teacher_of(record)
        if record.projection is None or teacher is None or seed not in plain:
            continue
        h, z = record.projection.double(), teacher.logits().double()
        x = -TEACHER_SPREAD * h
        own = score(z / spread_temperature(z, h, TEACHER_SPREAD)[:, None]) - score(z)
        student = score(record.logits()) - score(plain[seed].logits())
        values[seed] = _slope(x, student, record.images()) / _slope(x, own, record.images())
    what = "slope of the student's confidence on the teacher's input-dependent temperature, over the teacher's own slope"
    return compare(what, evidence.over(values), PASSED, unit="share")


def _slope(x: torch.Tensor, y: torch.Tensor, images: torch.Tensor) -> Array:
    """Least-squares slopes of y on x, (R + 1,): on all rows, and under draws of images."""
    at = images.numpy()
    a, b = x.numpy(), y.numpy()
    moments = resampling.by_image(np.stack([np.ones_like(a), a, b, a * b, a * a], axis=1), at)
    n, sx, sy, sxy, sxx = (resampling.weights(len(moments)) @ moments).T
    return (sxy - sx * sy / n) / (sxx - sx * sx / n)


CLAIM = Claim(
    letter="f",
    title="Calibration propagates",
    sentence="Calibration passes from teacher to student, independently of accuracy.",
    statistic="share of a change in the teacher's log temperature that the student's log T* shows",
    rule=(
        "supported when that share lies above a quarter, tempering the teacher leaves the student's accuracy equivalent, students of "
        "calibrated teachers of every capacity have abs(log T*) within .1, and so has the difference between the students of the most and "
        "the least accurate calibrated teacher, which lie at least 5 points apart; no teacher may know its students' images by heart; not "
        "supported when the share is too small; depends when it arrives and one of the other three holds while another fails"
    ),
    rivals=(
        "mere confidence copying: a temperature that depends on the input must be followed image by image, by a quarter of the teacher's "
        "own slope"
    ),
    chapter="08-calibration-propagates",
    studies=("propagation", "map"),
    judge=_judge_propagation,
    per="profile",
)
