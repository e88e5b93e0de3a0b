"""(a) On mixed inputs the teacher's signal is dominated by confusion."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from mixkd.claims.evidence import Claim, Evidence, judged, over_pairs, over_seeds
from mixkd.claims.verdicts import Verdict, compare
from mixkd.data import gaussian_log_posterior, load_data
from mixkd.measure import signal, statistics
from mixkd.measure.statistics import Interval
from mixkd.records import Record

AGREEMENT_DROP = 0.1
"""A correlation of two teachers that falls by less than this, from clean to mixed inputs, counts as unchanged."""
EXCESS_MARGIN = 0.01
"""Nats by which a teacher may be further from the exact posterior on mixed inputs, and still count as equally far."""


def _judge_signal(evidence: Evidence) -> Verdict:
    plain = _by_model(evidence.records("teachers"))
    stated, rivals = [], []
    for model in evidence.profile.teachers:
        group = plain.get(model, {})
        mixed, clean = _agreements(group)
        stated.append(compare(f".5 - agreement of two {model} about the tail of a mixed input", over_pairs(0.5 - mixed)))
        what = f"agreement of two {model} about the tail, clean - mixed inputs"
        stated.append(compare(what, over_pairs(clean - mixed), AGREEMENT_DROP))
        if evidence.profile.data.startswith("gaussians"):
            excess = [_excess(record, evidence.profile.data) for record in group.values()]
            what = f"KL from the exact posterior to {model}, mixed - clean inputs, nats"
            stated.append(compare(what, over_seeds(excess), EXCESS_MARGIN))
        rivals.append(compare(f"share of what {model} says beyond the honest mixture that no other says - .5", _own_share(group)))
    model = evidence.profile.default_teacher
    used, met = plain.get(model, {}), _by_model(evidence.records("mixup_teachers")).get(model, {})
    both = sorted(set(used) & set(met))
    better = _agreements({seed: met[seed] for seed in both})[0] - _agreements({seed: used[seed] for seed in both})[0]
    rivals.append(compare(f"agreement about the tail of a mixed input, {model} trained on mixup - plain", over_pairs(better)))
    note = (
        "Agreement is the correlation of two independent teachers' log tails, the default answer of each taken off: the part of the "
        "tail that is about the input and not about one network. Confusion is what it lacks. Among the rivals, the share counts the leak "
        "too, as far as other teachers put it elsewhere; the last row asks whether having met mixed inputs would have helped."
    )
    return judged(evidence, "a", stated, rivals, note)


def _by_model(records: Iterable[Record]) -> dict[str, dict[int, Record]]:
    found: dict[str, dict[int, Record]] = {}
    for record in records:
        found.setdefault(record.spec.student, {})[record.spec.seed] = record
    return found


def _agreements(group: Mapping[int, Record]) -> tuple[np.ndarray, np.ndarray]:
    """(T, T) correlations of the tails of each two teachers over cross-class pairs, on mixed inputs and on clean ones."""
    teachers = [group[seed] for seed in sorted(group)]
    mixed, clean = np.full((2, len(teachers), len(teachers)), math.nan)
    for i, one in enumerate(teachers):
        for j, other in enumerate(teachers[:i]):
            agreed = signal.reproducibility(one.probe.logits, other.probe.logits, one.probe.lam, one.probe.labels)
            cross = agreed.beyond_hub[:, ~agreed.same_class]
            mixed[i, j] = mixed[j, i] = cross[1:-1].nanmean()
            clean[i, j] = clean[j, i] = cross[[0, -1]].nanmean()
    return mixed, clean


def _own_share(group: Mapping[int, Record]) -> Interval:
    """How far above a half the part of the departure lies that is each teacher's own."""
    teachers = [group[seed] for seed in sorted(group)]

    def share(units: Sequence[int]) -> float:
        if len(units) < 2:
            return math.nan
        probe = teachers[0].probe
        return signal.common([teachers[unit].probe.logits for unit in units], probe.lam, probe.labels).own_share() - 0.5

    return statistics.jackknife(share, len(teachers))


def _excess(record: Record, data: str) -> float:
    """How much further the teacher is from the exact posterior on mixed inputs than on clean ones, nats, cross-class pairs."""
    probe = record.probe
    rows = load_data(data).splits["test"].pixels
    first, second = rows[probe.pairs[:, 0]].double(), rows[probe.pairs[:, 1]].double()
    divergence = []
    for lam, logits in zip(probe.lam, probe.logits, strict=True):
        truth = gaussian_log_posterior(data, lam * first + (1 - lam) * second)
        answer = logits.double().log_softmax(-1)
        divergence.append((truth.exp() * (truth - answer)).sum(-1)[~probe.same_class].mean())
    return float(sum(divergence[1:-1]) / (len(divergence) - 2) - (divergence[0] + divergence[-1]) / 2)


CLAIM = Claim(
    letter="a",
    title="Teacher's signal",
    sentence="On mixed inputs the teacher's signal is dominated by confusion, not by the structure between classes.",
    statistic="agreement of two independent teachers about the tail, the answer beyond the two images' classes and the default answer",
    rule=(
        "supported when for every capacity the agreement on mixed inputs lies below .5, and more than .1 below that on clean inputs "
        "(95 % jackknife t intervals over teachers). On Gaussian data also: each is further from the exact posterior on mixed inputs, "
        "by more than .01 nat"
    ),
    rivals="what all teachers say alike, leak included (more than half must be each one's own); teachers trained on mixup must agree more",
    chapter="03-teacher-off-distribution",
    studies=("teachers", "mixup_teachers"),
    judge=_judge_signal,
)
