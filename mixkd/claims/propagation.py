"""(f) Calibration passes from teacher to student."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import numpy as np
import torch

from mixkd.claims.evidence import Claim, Evidence, difference, judged, over_seeds, pick
from mixkd.claims.verdicts import Comparison, Verdict, compare, equivalent
from mixkd.measure.statistics import Interval
from mixkd.records import Record
from mixkd.studies import TEACHER_SPREAD, stopped_early

LOG_TEMPERATURE_MARGIN = 0.1
"""Differences of log T* within this count as none: a temperature within ten per cent."""
PASSED_MARGIN = 0.25
"""Less than a quarter of the teacher's scale that arrives at the student counts as not passed on: the loss asks for all of it."""
FOLLOWED_MARGIN = 0.1
"""A slope of the student's log-odds over minus the teacher's log T(x) below this counts as not following it from input to input."""


def _judge_propagation(evidence: Evidence) -> Verdict:
    frame = evidence.frame("propagation")
    frame = frame.assign(log_temperature=np.log(frame["temperature"].astype(float)))
    plain = {"teacher": evidence.profile.default_teacher, "teacher_arm": "ce", "teacher_spread": 0.0}
    tempered = pick(frame, plain)
    tempered = tempered[tempered["teacher_temperature"].map(lambda value: isinstance(value, float))].astype({"teacher_temperature": float})
    table = tempered.pivot_table(index="seed", columns="teacher_temperature", values="log_temperature").dropna()
    slopes: list[float] = []
    if table.shape[1] > 1:
        x = np.log(table.columns.to_numpy(dtype=float))
        x = x - x.mean()
        slopes = (-(table.to_numpy() @ x) / (x @ x)).round(9).tolist()  # one T* for all has slope 0, not 1e-17
    stated = [compare("log T* of the student over - log T of its teacher (1: passed on whole)", over_seeds(slopes), PASSED_MARGIN)]
    for temperature in [float(value) for value in table.columns if float(value) != 1]:
        interval = difference(tempered, "accuracy", {"teacher_temperature": temperature}, {"teacher_temperature": 1.0})
        stated.append(equivalent(f"accuracy, teacher at T = {temperature:g} - at 1", interval, evidence.accuracy_margin))
    unequal, shown, note = _scaled_teachers(evidence)
    stated += unequal
    what = "confidence follows the teacher's input-dependent temperature (slope of log-odds over - log T(x))"
    rivals = [compare(what, over_seeds(_followed(evidence)), FOLLOWED_MARGIN)]
    return replace(judged(evidence, "f", stated, rivals, note), shown=tuple(shown))


def _scaled_teachers(evidence: Evidence) -> tuple[list[Comparison], list[Comparison], str]:
    """Students of scaled teachers: an equivalence of log T* for every two kinds of teacher whose accuracies were told apart by at
    least the equivalence margin; the other pairs test nothing and are shown only. Without any pair the condition is unresolved."""
    schools: dict[str, dict[int, tuple[Record, Record]]] = {}
    for record in evidence.records("propagation").select(teacher_temperature="fitted"):
        if record.spec.teacher is not None and (teacher := evidence.teacher_of(record)) is not None:
            early = record.spec.teacher == stopped_early(evidence.profile, record.spec.seed)
            name = f"{record.spec.teacher.model}{', stopped early' if early else ''}"
            schools.setdefault(name, {})[record.spec.seed] = (record, teacher)
    rows = min((len(teacher.logits()) for found in schools.values() for _, teacher in found.values()), default=0)
    accuracy = {name: {seed: t.report(rows=rows).accuracy for seed, (_, t) in found.items()} for name, found in schools.items()}
    tested: list[Comparison] = []
    shown: list[Comparison] = []
    for one, other in combinations(schools, 2):
        seeds = sorted(set(schools[one]) & set(schools[other]))
        # by teacher, not by student: the same two networks, met again under another seed, are no new evidence
        met = {(schools[one][seed][1].id, schools[other][seed][1].id): accuracy[one][seed] - accuracy[other][seed] for seed in seeds}
        better = over_seeds(list(met.values()))
        moved = over_seeds([math.log(schools[one][seed][0].temperature) - math.log(schools[other][seed][0].temperature) for seed in seeds])
        row = equivalent(f"log T* of the student, scaled teacher {one} - {other}", moved, LOG_TEMPERATURE_MARGIN)
        apart = better.defined and better.excludes(0) and abs(better.estimate) >= evidence.accuracy_margin
        shown.append(compare(f"accuracy of the teacher, {one} - {other}", better, evidence.accuracy_margin))
        (tested if apart else shown).append(row)
    means = ", ".join(f"{name} {np.mean(list(found.values())):.3f}" for name, found in accuracy.items())
    note = f"Accuracies of the scaled teachers: {means}. " if means else ""
    if tested:
        return tested, shown, note + f"{len(tested)} pairs of them lie far enough apart to test the second condition."
    nothing = Interval(math.nan, math.nan, math.nan, 0)
    untested = equivalent("log T* of the student, scaled teachers of unequal accuracy", nothing, LOG_TEMPERATURE_MARGIN)
    return [untested], shown, note + "No two of them are told apart by the equivalence margin, so the second condition was not tested."


def _followed(evidence: Evidence) -> list[float]:
    """For each seed: least-squares slope of (log-odds of the confidence of a student whose teacher's temperature depends on the input,
    less that of the student of the plain teacher) over - s h(x), on test inputs."""
    plain = evidence.students("propagation", arm="kd_mixup")
    slopes = []
    for seed, record in evidence.students("propagation", arm="kd_mixup", teacher_spread=TEACHER_SPREAD).items():
        if seed not in plain or record.projection is None:
            continue
        n = min(len(record.logits()), len(plain[seed].logits()))
        x = -TEACHER_SPREAD * record.projection[:n].double()
        change = _log_odds(record.logits()[:n]) - _log_odds(plain[seed].logits()[:n])
        x = x - x.mean()
        slopes.append(float((x * change).sum() / (x * x).sum()))
    return slopes


def _log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Log-odds of the top class, without leaving the log domain, so that confident rows stay finite."""
    top = logits.double().sort(-1, descending=True).values
    return top[:, 0] - top[:, 1:].logsumexp(-1)


CLAIM = Claim(
    letter="f",
    title="Calibration propagates",
    sentence="Calibration passes from teacher to student, independently of accuracy.",
    statistic="slope of the student's log T* over minus the log temperature of its teacher's logits",
    rule=(
        "supported when the slope's 95 % t interval lies above .25, tempering the teacher leaves the student's accuracy equivalent, "
        "and scaled teachers whose accuracies differ by at least the equivalence margin leave the student's log T* equivalent "
        "(margin .1); "
        "where no two differ so, unresolved"
    ),
    rivals="mere confidence copying: a temperature that depends on the input must be followed input by input (a slope above .1)",
    chapter="08-calibration-propagates",
    studies=("propagation",),
    judge=_judge_propagation,
    asks_teachers=True,
)
