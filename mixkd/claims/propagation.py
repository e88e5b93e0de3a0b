"""(f) Calibration passes from teacher to student."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from scipy.optimize import brentq

from mixkd.claims.evidence import Array, Claim, Evidence, judged
from mixkd.claims.premises import not_by_heart, unequal_teachers
from mixkd.claims.verdicts import Comparison, Premise, Verdict, compare, premise
from mixkd.measure import resampling
from mixkd.measure.statistics import Interval
from mixkd.records import Record
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.studies import CALIBRATIONS, TEACHER_SPREAD, Cell, stopped_early

LOG_TEMPERATURE_MARGIN = 0.1
"""Differences of log T* within this count as none: a temperature within ten per cent."""
PASSED = 0.25
"""The share of the teacher's tempering that must arrive at the student; the loss asks for all of it."""
STAYS, CALIBRATED, UNEQUAL = "accuracy that stays", "calibrated teachers", "teachers of unequal accuracy"


def _judge_propagation(evidence: Evidence, cell: Cell | None) -> Verdict:
    """Once a profile, at tau 2, whatever the cell.

    That the tempering arrives is a condition: accuracy that stays equal while no temperature arrives makes nothing "depend". The halves
    that may contradict each other are what "independently of accuracy" says: the student's accuracy stays, calibrated teachers give
    calibrated students, and teachers of unequal accuracy do so alike.
    """
    profile = evidence.profile
    tempered = {name: evidence.students(Cell(profile.default_teacher, name, 2.0), "kd_mixup") for name in CALIBRATIONS}
    what = "share of a change in the teacher's log temperature that the student's log T* shows"
    stated = [compare(what, _passed(evidence, tempered), PASSED, unit="share")]
    raw = tempered["raw"]
    for name in [name for name in CALIBRATIONS if name != "raw"]:
        moved = evidence.difference("accuracy", tempered[name], raw)
        stated.append(
            compare(
                f"accuracy of the student, teacher {name} - raw",
                moved,
                evidence.accuracy_margin,
                kind="equivalent",
                unit="points",
                half=STAYS,
            )
        )
    schools = {model: evidence.students(Cell(model, "fitted", 2.0), "kd_mixup") for model in profile.teachers}
    for model, students in schools.items():
        off = evidence.contrast(lambda figures: figures["log_temperature"], students)
        what = f"log T* of the student of a calibrated {model}"
        stated.append(compare(what, off, LOG_TEMPERATURE_MARGIN, kind="equivalent", unit="log temperature", half=CALIBRATED))
    early = {seed: stopped_early(profile, seed) for seed in profile.swept_seeds}
    schools[f"{profile.default_teacher} stopped early"] = evidence.by_seed(
        _student(evidence, seed, school) for seed, school in early.items()
    )
    unequal, apart, means = _unequal(evidence, schools)
    stated.append(unequal)
    rivals = [_followed(evidence, raw)]
    note = f"Accuracies of the calibrated teachers: {means}." if means else ""
    at = Cell(profile.default_teacher, "fitted", 2.0)
    return judged(evidence, "f", at if cell is not None else None, [apart, not_by_heart(evidence, raw)], stated, rivals, note)


def _student(evidence: Evidence, seed: int, teacher: TeacherSpec) -> RunSpec:
    return evidence.profile.spec("kd_mixup", seed, teacher=teacher)


def _passed(evidence: Evidence, tempered: Mapping[str, Mapping[int, Record]]) -> Interval:
    """For each seed: minus the least-squares slope of the student's log T* over the log of its teacher's whole tempering.

    A teacher whose logits are divided by T is softer by T; a student that takes it over needs a T* smaller by the same factor.
    """
    values = {}
    for seed in sorted(set.intersection(*(set(found) for found in tempered.values()))):
        teacher = evidence.teacher_of(tempered["raw"][seed])
        if teacher is None:
            continue
        x = np.array([_log_tempering(found[seed], teacher) for found in tempered.values()])
        y = np.stack([evidence.measures(found[seed])["log_temperature"] for found in tempered.values()])
        x = x - x.mean()
        if x @ x > 0:
            values[seed] = -(x @ y) / (x @ x)
    return evidence.over(values)


def _log_tempering(student: Record, teacher: Record) -> float:
    """Log of what divides the teacher's logits before this student sees them."""
    spec = student.spec.teacher
    assert spec is not None
    base = teacher.temperature if spec.temperature == "fitted" else float(spec.temperature)
    return math.log(base * spec.temperature_factor)


def _unequal(evidence: Evidence, schools: Mapping[str, Mapping[int, Record]]) -> tuple[Comparison, Premise, str]:
    """The equivalence of log T* between the students of the most and the least accurate calibrated teacher, and P5 about these two."""
    teachers = {name: evidence.teachers(students) for name, students in schools.items()}
    mean = {
        name: float(np.mean([evidence.measures(teacher)["accuracy"][0] for teacher in found.values()]))
        for name, found in teachers.items()
        if found
    }
    what = "log T* of the student, most - least accurate calibrated teacher"
    if len(mean) < 2:
        nothing = Interval(math.nan, math.nan, math.nan, 0)
        row = compare(what, nothing, LOG_TEMPERATURE_MARGIN, kind="equivalent", unit="log temperature", half=UNEQUAL)
        return row, premise("P5", "accuracy, best teacher - worst", nothing, 0.05, unit="points"), ""
    best, worst = max(mean, key=mean.__getitem__), min(mean, key=mean.__getitem__)
    moved = evidence.difference("log_temperature", schools[best], schools[worst])
    what = f"log T* of the student, calibrated teacher {best} - {worst}"
    row = compare(what, moved, LOG_TEMPERATURE_MARGIN, kind="equivalent", unit="log temperature", half=UNEQUAL)
    told = ", ".join(f"{name} {value:.3f}" for name, value in mean.items())
    return row, unequal_teachers(evidence, teachers[best], teachers[worst], (best, worst)), told


def _followed(evidence: Evidence, plain: Mapping[int, Record]) -> Comparison:
    """Image by image: the slope of the student's log-odds on -s h(x) over its teacher's own.

    The teacher of this control has its logits divided by c exp(s h(x)), h a fixed random projection, c such that its mean confidence stays.
    The student's change is that against the student of the untouched teacher; the teacher's own is that of its logits divided so. (A slope
    of the student alone has no scale: confident teachers move by an order of magnitude in log-odds where others move by a unit.)
    """
    values = {}
    profile = evidence.profile
    specs = {seed: _student(evidence, seed, profile.teacher(seed, temperature_spread=TEACHER_SPREAD)) for seed in profile.swept_seeds}
    for seed, record in evidence.by_seed(specs.values()).items():
        teacher = evidence.teacher_of(record)
        if record.projection is None or teacher is None or seed not in plain:
            continue
        h, z = record.projection.double(), teacher.logits().double()
        x = -TEACHER_SPREAD * h
        own = _log_odds(z / spread_temperature(z, h, TEACHER_SPREAD)[:, None]) - _log_odds(z)
        student = _log_odds(record.logits()) - _log_odds(plain[seed].logits())
        values[seed] = _slope(x, student, record.images()) / _slope(x, own, record.images())
    what = "slope of the student's confidence on the teacher's input-dependent temperature, over the teacher's own slope"
    return compare(what, evidence.over(values), PASSED, unit="share")


def spread_temperature(logits: torch.Tensor, h: torch.Tensor, spread: float) -> torch.Tensor:
    """Return c exp(spread h) with c such that the mean confidence of the logits divided by it is that of the logits.

    Training finds c on validation images, whose h a record does not keep; here it is found on the rows given.

    Args:
        logits: (N, K) float64.
        h: (N,) float64.
        spread: >= 0.

    Returns:
        (N,) float64.
    """
    shape = (spread * h).exp()
    target = float(logits.softmax(-1).amax(-1).mean())

    def excess(log_scale: float) -> float:
        return float((logits / (math.exp(log_scale) * shape)[:, None]).softmax(-1).amax(-1).mean()) - target

    low, high = math.log(1e-2), math.log(1e2)
    scale = math.exp(brentq(excess, low, high, xtol=1e-10)) if excess(low) > 0 > excess(high) else 1.0
    return scale * shape


def _slope(x: torch.Tensor, y: torch.Tensor, images: torch.Tensor) -> Array:
    """Least-squares slopes of y on x, (R + 1,): on all rows, and under draws of images."""
    at = images.numpy()
    a, b = x.numpy(), y.numpy()
    moments = resampling.by_image(np.stack([np.ones_like(a), a, b, a * b, a * a], axis=1), at)
    n, sx, sy, sxy, sxx = (resampling.weights(len(moments)) @ moments).T
    return (sxy - sx * sy / n) / (sxx - sx * sx / n)


def _log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds of the top class, without leaving the log domain, so that confident rows stay finite."""
    top = logits.double().sort(-1, descending=True).values
    return top[:, 0] - top[:, 1:].logsumexp(-1)


CLAIM = Claim(
    letter="f",
    title="Calibration propagates",
    sentence="Calibration passes from teacher to student, independently of accuracy.",
    statistic="share of a change in the teacher's log temperature that the student's log T* shows",
    rule=(
        "supported when that share lies above a quarter, tempering the teacher leaves the student's accuracy equivalent, students of "
        "calibrated teachers of every capacity have abs(log T*) within .1, and so has the difference between the students of the most and "
        "the least accurate calibrated teacher, which lie at least 5 points apart; not supported when the share is too small; depends when "
        "it arrives and one of the other three holds while another fails"
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
