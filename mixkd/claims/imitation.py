"""(c) The student does not merely imitate its teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from mixkd.arrays import Array
from mixkd.claims import blends, premises
from mixkd.claims.evidence import BySeed, Claim, Evidence, accuracies
from mixkd.claims.verdicts import Case, Comparison, compare
from mixkd.measure import resampling, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record
from mixkd.studies import Cell

STRANGERS = 3
"""Number of teachers of the same kind that a student never met, at least."""


def _judge_imitation(evidence: Evidence, at: Cell) -> Case:
    ours = evidence.students(at, "kd_mixup")
    teachers = evidence.teachers(ours)
    pool = blends.faculty(evidence, at.teacher)
    name, plain = blends.nearest_in_accuracy(ours, blends.plain_rivals(evidence, at))
    rival = name or "kd"
    own, others, beyond = (_displacement(one, other, teachers, pool) for one, other in ((ours, teachers), (plain, teachers), (ours, plain)))
    note = ""
    if ours and len(pool) - 1 < STRANGERS:
        note = f"Each student has {max(len(pool) - 1, 0)} teachers of the same kind that it never met; {STRANGERS} are needed."
    elif math.isfinite(own.estimate):
        note = (
            f"Seen from teachers that neither met, the student's answers lie {100 * own.estimate:z.0f} % of the way from its "
            f"teacher's to linear, and those of {rival} {100 * others.estimate:z.0f} %. A student that repeats its teacher lies at 0 %, "
            "and so does an unrelated network that is as far from linear as the teacher. "
            f"Accuracies: {accuracies({'kd_mixup': ours, rival: plain})}."
        )
    return Case(
        premises=[premises.strange_blends(evidence, teachers.values()), premises.not_by_heart(evidence, ours)],
        stated=[compare("displacement of the student's answers from its teacher's towards linear", own, unit="share")],
        rivals=[compare(f"displacement, kd_mixup - {f'{name}, nearest in accuracy' if name else 'kd'}", beyond, unit="share")],
        shown=[
            compare(f"displacement of {rival} from its teacher", others, unit="share"),
            compare(f"accuracy, kd_mixup - {rival}", evidence.difference("accuracy", ours, plain), unit="points"),
            *_fidelity(evidence, ours, teachers, pool),
        ],
        note=note,
    )


def _displacement(one: BySeed, other: BySeed, teachers: BySeed, pool: Mapping[str, Record]) -> Interval:
    """Displacement of one group of students from another group (or their teachers), as teachers that neither met see it.

    The mean over students of the mean over strangers. Students share strangers, and one's stranger is another's teacher: the interval is a
    jackknife over teachers, each leaving with its students, crossed with the draws of pairs.
    """
    seeds = sorted(set(one) & set(other) & set(teachers))
    own = {seed: teachers[seed].id for seed in seeds}
    strangers = dict(pool) | {teachers[seed].id: teachers[seed] for seed in seeds}
    names = list(strangers)
    if len(names) - 1 < STRANGERS:
        return statistics.t_interval([])
    units = list(dict.fromkeys(own.values()))
    lines = [blends.answers(strangers[name]).line for name in names]
    scale = [blends.drawn(line.square().sum((0, 2)).numpy()) for line in lines]
    away = {seed: blends.answers(one[seed]).given - blends.answers(other[seed]).given for seed in seeds}
    seen = np.full((len(seeds), len(names), len(scale[0])), np.nan)
    flat = torch.stack(lines).transpose(1, 2).flatten(2)  # (T, P, I K)
    for i, seed in enumerate(seeds):
        along = torch.einsum("tpk,pk->tp", flat, away[seed].transpose(0, 1).flatten(1)).numpy()
        for j, name in enumerate(names):
            if name != own[seed]:
                seen[i, j] = blends.ratio_of(blends.drawn(along[j]), scale[j])

    def mean(chosen: list[int]) -> Array:
        gone = set(units) - {units[unit] for unit in chosen}
        rows = [i for i, seed in enumerate(seeds) if own[seed] not in gone]
        columns = [j for j, name in enumerate(names) if name not in gone]
        if not rows or len(columns) < 2:
            return np.full(seen.shape[2], np.nan)
        known = [[j for j in columns if names[j] != own[seeds[i]]] for i in rows]
        by_student = [seen[i, found].mean(0) for i, found in zip(rows, known, strict=True)]
        return np.mean(by_student, axis=0)

    return statistics.jackknife(mean, len(units))


def _fidelity(evidence: Evidence, ours: BySeed, teachers: BySeed, pool: Mapping[str, Record]) -> list[Comparison]:
    """On clean test images: agreement and copied errors, own teacher less teachers that the student never met."""
    agreed, copied = {}, {}
    for seed in sorted(set(ours) & set(teachers)):
        strangers = [record for name, record in pool.items() if name != teachers[seed].id]
        if strangers:
            agreed[seed], copied[seed] = _followed(ours[seed], teachers[seed], strangers)
    return [
        compare("agreement on test images, own teacher - teachers it never met", evidence.over(agreed), unit="points"),
        compare("wrong answers copied, own teacher - teachers it never met", evidence.over(copied), unit="points"),
    ]


def _followed(student: Record, teacher: Record, strangers: Sequence[Record]) -> tuple[Array, Array]:
    """Agreement with the own teacher less that with strangers, and the same of the errors where all three are wrong: (R + 1,) each."""
    images = student.images().numpy()
    shares = resampling.weights(int(images.max()) + 1)
    said, labels = _answer(student), student.labels()
    taught = _answer(teacher)

    def total(rows: torch.Tensor) -> Array:
        found: Array = shares @ resampling.by_image(rows.double().numpy(), images)
        return found

    number = total(torch.ones(len(said)))
    agreement = total(said == taught) / number
    copied, wrong = [], (said != labels) & (taught != labels)
    for stranger in strangers:
        other = _answer(stranger)
        agreement = agreement - total(said == other) / number / len(strangers)
        all_wrong = wrong & (other != labels)
        copied.append(blends.ratio_of(total(all_wrong & (said == taught)) - total(all_wrong & (said == other)), total(all_wrong)))
    return agreement, np.mean(copied, axis=0)


def _answer(record: Record) -> torch.Tensor:
    return record.logits().argmax(-1)


CLAIM = Claim(
    letter="c",
    title="No mere imitation",
    sentence="The student does not merely imitate its teacher.",
    statistic=(
        "displacement of the student's answers on blends from its own teacher's, on the way from the answers of a teacher that neither met "
        "to that teacher's linear reference, over its length; mean over at least three such teachers, every model at the temperature that "
        "minimises its validation NLL"
    ),
    rule="supported when its 95 % interval, over seeds and pairs of images, lies above 0, where a student that repeats its teacher is",
    rivals="the kd student of nearest accuracy must be displaced less: weak models are displaced too",
    chapter="05-imitation",
    studies=("linearity", "temperature", "map", "teachers"),
    judge=_judge_imitation,
)
