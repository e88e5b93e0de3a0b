"""(a) On mixed inputs the teacher's signal is dominated by confusion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from mixkd.arrays import Array
from mixkd.claims import blends, premises
from mixkd.claims.evidence import Claim, Evidence, tempering
from mixkd.claims.verdicts import Case, Comparison, compare
from mixkd.measure import resampling, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record
from mixkd.studies import Cell

LEAK = 0.01
"""Probability that the true class must lose on blends of its own images."""
DOMINATES = 0.5
"""Share of the tail that independent teachers must not have in common."""


def _judge_signal(evidence: Evidence, at: Cell) -> Case:
    faculty = blends.faculty(evidence, at.teacher)
    teachers = list(faculty.values())
    alone = {name: blends.one_class(record, tempering(record, at.calibration)) for name, record in faculty.items()}
    leaks = {name: blends.drawn(found.lost) for name, found in alone.items()}
    rises = {name: blends.drawn(found.rise) for name, found in alone.items()}
    lost, gained = evidence.over_teachers(leaks), evidence.over_teachers(rises)
    private, on_clean = (_private_tail(teachers, clean=clean) for clean in (False, True))
    wrong, shared = _wrong_answers(evidence, teachers)
    note = ""
    if len(teachers) > 1:
        note = (
            f"On blends of one class the true class loses {100 * lost.estimate:.1f} points of probability. On blends of two classes "
            f"{100 * private.estimate:.0f} % of the tail is each teacher's own ({100 * on_clean.estimate:.0f} % on clean images). "
            f"Teachers name a class of neither image on {100 * wrong.estimate:.0f} % of these blends, and another teacher then names the "
            f"same one {100 * shared.estimate:.0f} % of the time: a mistake that all share is confusion too, and counts for neither side."
        )
    absent = [record for record in teachers if record.noise_logits is None]
    if absent:
        note += f" For {len(absent)} of {len(teachers)} teachers no noise is as uncertain as a blend, so that control is missing."
    first, second = "the leak on blends of one class", "the tail on blends of two classes"
    return Case(
        premises=[premises.strange_blends(evidence, teachers), premises.unlearnt(evidence, teachers)],
        stated=[
            compare("probability lost by the true class on blends of its own images", lost, LEAK, unit="points", half=first),
            compare("entropy gained on blends of one class", gained, unit="nat", half=first),
            compare("share of the tail that independent teachers do not share", private, DOMINATES, unit="share", half=second),
        ],
        rivals=[_beyond_noise(evidence, faculty, leaks, at.calibration), _beyond_mixup_trained(evidence, faculty, leaks, at)],
        shown=[
            compare("share of the tail that independent teachers do not share, clean images", on_clean, unit="share"),
            compare("blends of two classes answered with a third", wrong, unit="share"),
            compare("of these, another teacher gives the same answer", shared, unit="share"),
        ],
        note=note.strip(),
    )


def _private_tail(teachers: list[Record], *, clean: bool) -> Interval:
    """One less the agreement of two teachers about the tail, mean over pairs of teachers."""
    if not teachers:
        return statistics.t_interval([])
    found = torch.stack([blends.tails(record)[int(clean)] for record in teachers]).numpy()
    count, pairs = len(found), found.shape[2]
    shares = resampling.weights(pairs)
    flat = found.transpose(0, 2, 1, 3).reshape(count, pairs, -1)
    products = np.einsum("apk,bpk->pab", flat, flat).reshape(pairs, -1)
    common = (shares @ products).reshape(-1, count, count)
    own = np.sqrt(np.einsum("raa->ra", common))
    with np.errstate(divide="ignore", invalid="ignore"):
        agreed = common / (own[:, :, None] * own[:, None, :])

    def apart(units: list[int]) -> Array:
        if len(units) < 2:
            return np.full(len(shares), np.nan)
        one, other = np.triu_indices(len(units), 1)
        chosen = np.asarray(units)
        return 1 - agreed[:, chosen[one], chosen[other]].mean(1)

    return statistics.jackknife(apart, count)


def _beyond_noise(evidence: Evidence, teachers: Mapping[str, Record], leaks: Mapping[str, Array], calibration: str) -> Comparison:
    """How much more the true class loses on blends than on noise at which the teacher is as uncertain."""
    excess = {}
    for name, record in teachers.items():
        if (noise := record.noise_logits) is not None:
            temperature, probe = tempering(record, calibration), record.probe
            truth = probe.labels[probe.same_class, :1]
            left = (noise.double() / temperature).softmax(-1).gather(1, truth).squeeze(1)
            excess[name] = leaks[name] - blends.drawn(blends.one_class(record, temperature).first - left)
    return compare("probability lost on blends - on noise of equal entropy", evidence.over_teachers(excess), unit="points")


def _beyond_mixup_trained(evidence: Evidence, teachers: Mapping[str, Record], leaks: Mapping[str, Array], at: Cell) -> Comparison:
    """How much more the true class loses than under a teacher of the same seed that was trained on mixup."""
    known = evidence.records("mixup_teachers") if at.teacher == evidence.profile.default_teacher else ()
    met = {record.spec.seed: record for record in known}
    less = {}
    for name, record in teachers.items():
        if (twin := met.get(record.spec.seed)) is not None:
            lost = blends.one_class(twin, tempering(twin, at.calibration)).lost
            less[name] = leaks[name] - blends.drawn(lost)
    return compare("probability lost, plain teacher - teacher trained on mixup", evidence.over_teachers(less), unit="points")


def _wrong_answers(evidence: Evidence, teachers: list[Record]) -> tuple[Interval, Interval]:
    """How often a teacher answers a blend of two classes with a third, and how often another teacher then gives the same one."""
    shares = resampling.weights(int((~teachers[0].probe.same_class).sum())) if teachers else np.empty((0, 0))
    said, wrong = [], []
    for record in teachers:
        probe = record.probe
        answer = probe.logits[1:-1, ~probe.same_class].argmax(-1)
        said.append(answer)
        wrong.append((answer[..., None] != probe.labels[~probe.same_class]).all(-1))
    rate = {record.id: blends.drawn(off.double().mean(0)) for record, off in zip(teachers, wrong, strict=True)}
    count = len(teachers)
    # by (teacher, other): wrong answers that both give; a teacher shares all of its own with itself
    both = np.zeros((count, count, len(shares)))
    for i in range(count):
        for j in range(count):
            both[i, j] = shares @ (wrong[i] & (said[i] == said[j])).double().sum(0).numpy()
    one = np.einsum("iir->ir", both)

    def same(units: list[int]) -> Array:
        if len(units) < 2:
            return np.full(len(shares), np.nan)
        shared = sum(both[i, j] for i in units for j in units if i != j)
        return blends.ratio_of(np.asarray(shared), (len(units) - 1) * one[units].sum(0))

    return evidence.over_teachers(rate), statistics.jackknife(same, count)


CLAIM = Claim(
    letter="a",
    title="Teacher's signal",
    sentence="On mixed inputs the teacher's signal is dominated by confusion, not by the structure between classes.",
    statistic=(
        "half-way between two images of one class: probability that the true class loses, entropy gained; between images of two classes: "
        "share of the tail (the answer outside the two classes, the teacher's default answer taken off) that independent teachers of one "
        "kind do not share, one less the correlation of their log tails"
    ),
    rule=(
        "supported when the true class loses more than 1 point, entropy rises, and more than half of the tail is each teacher's own; "
        "'depends' when the first two hold and the last is resolved against the claim, or the reverse. Intervals (95 %) are over teachers "
        "and pairs of test images. The distillation temperature does not enter"
    ),
    rivals="the loss must be larger than on noise of equal entropy, and smaller or gone for a teacher that was trained on mixup",
    chapter="03-teacher-off-distribution",
    studies=("teachers", "mixup_teachers"),
    judge=_judge_signal,
    per="teacher",
)
