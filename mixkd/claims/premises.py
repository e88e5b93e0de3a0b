"""What a world must be like for a claim to be testable in it: P1 to P6, each with estimate, interval and bound.

P1 blends are strange to the teacher; P2 the teacher is clearly better than the plain student; P3 the plain student's overconfidence can be
told from noise, ten times over; P4 the student stays under its teacher at every tau; P5 teachers are of unequal accuracy; P6 the teacher
has not learnt the students' images by heart. A premise that is not met is a property of the world, not an answer about the claim.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np

from mixkd.arrays import Array
from mixkd.claims.evidence import BySeed, Evidence, measures, overconfidence_floor
from mixkd.claims.verdicts import Premise, in_unit, premise
from mixkd.measure import resampling
from mixkd.measure.statistics import t_interval
from mixkd.records import Record

BETTER = 0.03
"""P2: accuracy by which a teacher leads the plain student at least."""
TOLD_APART = 10.0
"""P3: the plain student's overconfidence error over what a calibrated model would show by chance, at least."""
BELOW_TEACHER = 0.01
"""P4: accuracy by which a student stays under its teacher, at least."""
UNEQUAL = 0.05
"""P5: accuracy by which teachers lie apart, at least."""
BY_HEART = 2.0
"""P6: the teacher's NLL on the students' images over that on test images, inverted: test over training, at most."""


def strange_blends(evidence: Evidence, teachers: Iterable[Record]) -> Premise:
    """P1: on same-class test pairs the teachers' entropy at lam .5 exceeds the mean of the two ends. Drawn over pairs."""
    values = {}
    for teacher in {teacher.id: teacher for teacher in teachers}.values():
        probe = teacher.probe
        log_p = probe.logits[:, probe.same_class].double().log_softmax(-1)
        entropy = -(log_p.exp() * log_p).sum(-1)
        lam = probe.lam.tolist()
        rise = entropy[lam.index(0.5)] - (entropy[lam.index(0.0)] + entropy[lam.index(1.0)]) / 2
        values[teacher.id] = resampling.weights(len(rise)) @ rise.numpy()
    what = "entropy of the teacher on blends of one class, at lam 0.5 - at the ends, nats (above 0)"
    return premise("P1", what, evidence.over_teachers(values), 0.0, unit="nat")


def better_teacher(evidence: Evidence, students: BySeed, base: BySeed, name: str) -> Premise:
    """P2: the teacher of these students is at least 3 points more accurate than the plain student of their seed."""
    lead = evidence.difference("accuracy", evidence.teachers(students), base)
    return premise("P2", f"accuracy, teacher {name} - ce (at least {in_unit(BETTER, 'points')})", lead, BETTER, unit="points")


def told_from_noise(evidence: Evidence, students: BySeed, base: BySeed) -> Premise:
    """P3: the plain student's OE is at least ten times the 95 % noise floor of a calibrated model with these students' confidences."""
    floor = overconfidence_floor(students.values())[1]
    ratio = evidence.contrast(lambda plain: plain["oe"] / floor if floor > 0 else plain["oe"] * math.nan, base)
    level = f" {floor:.4f}" if math.isfinite(floor) else ""
    return premise(
        "P3",
        f"overconfidence error of ce over the most that chance would show{level} (at least {TOLD_APART:g})",
        ratio,
        TOLD_APART,
        unit="ratio",
    )


def room_to_trade(evidence: Evidence, by_tau: Mapping[float, BySeed]) -> Premise:
    """P4: at every tau the students stay at least 1 point under their teachers; the tau with the least room is shown."""
    found = []
    for tau, students in by_tau.items():
        room = evidence.difference("accuracy", evidence.teachers(students), students)
        what = f"accuracy, teacher - student at tau {tau:g} (at least {in_unit(BELOW_TEACHER, 'points')})"
        found.append(premise("P4", what, room, BELOW_TEACHER, unit="points"))
    if not found:
        return premise("P4", "accuracy, teacher - student", t_interval([]), BELOW_TEACHER, unit="points")
    unmet = [row for row in found if row.met is not True]
    unmet.sort(key=lambda row: (row.met is None, row.estimate))
    return unmet[0] if unmet else min(found, key=lambda row: row.estimate)


def unequal_teachers(evidence: Evidence, best: BySeed, worst: BySeed, names: tuple[str, str]) -> Premise:
    """P5: two kinds of teacher, by student seed, differ by at least 5 points of accuracy."""
    apart = evidence.difference("accuracy", best, worst)
    what = f"accuracy, teacher {names[0]} - teacher {names[1]} (at least {in_unit(UNEQUAL, 'points')})"
    return premise("P5", what, apart, UNEQUAL, unit="points")


def not_by_heart(evidence: Evidence, students: BySeed) -> Premise:
    """P6: the NLL of these students' teachers on test images is at most twice that on the images they learn from; see :func:`unlearnt`."""
    return unlearnt(evidence, evidence.teachers(students).values())


def unlearnt(evidence: Evidence, teachers: Iterable[Record]) -> Premise:
    """P6 of these teachers: NLL on test images over that on the images their students learn from, as a ratio over teachers.

    A teacher that knows images by heart has nearly no NLL there, so it is the NLL on *test* that may be at most twice the other: the
    converse would let exactly the teachers pass that it is meant to stop.
    The students' images are the split "skipped" of a teacher that was trained on others, else its own training images: "train".
    """
    ratio = evidence.over_teachers({teacher.id: _ratio_of_nll(teacher) for teacher in teachers})
    what = f"NLL of the teacher on test over that on the students' images (at most {BY_HEART:g})"
    met = premise("P6", what, ratio, math.log(BY_HEART), below=True).met
    estimate, low, high = (math.exp(value) for value in (ratio.estimate, ratio.low, ratio.high))
    return Premise("P6", what, estimate, low, high, BY_HEART, met, "below", "ratio")


def _ratio_of_nll(teacher: Record) -> Array:
    """log (NLL on test / NLL on the students' training images), (R + 1,); the two sets of images are drawn apart."""
    split = "skipped" if "skipped" in teacher.splits else "train"
    logits, labels, images = teacher.logits(split).double(), teacher.labels(split), teacher.images(split).numpy()
    nll = -logits.log_softmax(-1).gather(-1, labels[:, None])[:, 0].numpy()
    shares = resampling.weights(int(images.max()) + 1)
    known = shares @ resampling.by_image(nll, images) / (shares @ resampling.by_image(np.ones(len(nll)), images))
    with np.errstate(divide="ignore"):
        return np.log(measures(teacher)["nll"]) - np.log(known)
