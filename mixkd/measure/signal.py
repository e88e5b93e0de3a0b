"""What a teacher answers to mixed inputs: leak, endpoint ratio and tail, and how much of the tail other teachers share.

Pure functions of logits on the vicinal probe; no verdicts, no intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixkd.arrays import Values, as_labels, as_logits, as_numbers, as_temperature

NEGLIGIBLE = 1e-12
"""Nats. A share of a divergence below this is rounding over rounding, hence nan."""

_EMPTY = -math.inf


@dataclass(frozen=True)
class Probe:
    """A probe read in log-probabilities: what every measure along lam starts from.

    Attributes:
        lam: (L,) float64, from 0 (the second image alone) to 1 (the first alone).
        labels: (P, 2) int64, classes of the first and the second image.
        log_p: (L, P, K) float64, log p~ on the mixed inputs; its last row is the first image alone, its first row the
            second.
        log_m: (L, P, K) float64, log of the honest mixture m = lam p_i + (1 - lam) p_j of the two clean answers.
        inside: (P, K) bool, the endpoint classes E; the other classes are the rest R.
        same_class: (P,) bool, pairs whose images share a class (E has one class): report them apart.
    """

    lam: Tensor
    labels: Tensor
    log_p: Tensor
    log_m: Tensor
    inside: Tensor
    same_class: Tensor


def read_probe(logits: Values, lam: Values, labels: Values, tau: float = 1.0) -> Probe:
    """Check a probe and bring it to log-probabilities.

    Args:
        logits: (L, P, K) floating point, finite, K >= 2.
        lam: (L,) increasing from exactly 0 to exactly 1, L >= 2; any subset of the grid that keeps both ends will do.
        labels: (P, 2) integers in [0, K).
        tau: temperature that divides the logits, > 0: pass the distillation temperature to see the signal a student
            was given.

    Raises:
        ValueError, TypeError: for anything else.
    """
    values = as_logits(logits, ndim=3)
    grid = as_lam(lam, len(values))
    if not bool((grid.diff() > 0).all()):
        raise ValueError(f"lam must increase from exactly 0 to exactly 1, not {grid.tolist()}")
    classes = torch.from_numpy(as_labels(labels, (values.shape[1], 2), values.shape[2]))
    log_p = as_log_p(values, tau)
    weight = grid.reshape(-1, 1, 1)
    log_m = torch.logaddexp(weight.log() + log_p[-1], (1 - weight).log() + log_p[0])
    inside = torch.zeros(values.shape[1:], dtype=torch.bool).scatter_(1, classes, True)
    return Probe(grid, classes, log_p, log_m, inside, classes[:, 0] == classes[:, 1])


@dataclass(frozen=True)
class EntropyParts:
    """H(p~) = leak + ambiguity + tail, exactly; each (L, P) float64, nats.

    Attributes:
        total: H(p~), in [0, ln K].
        leak: H_b(s), the uncertainty whether it is an endpoint class at all, in [0, ln 2].
        ambiguity: s H(p~|E), which endpoint class, in [0, ln 2].
        tail: (1 - s) H(p~|R), which other class.
    """

    total: Tensor
    leak: Tensor
    ambiguity: Tensor
    tail: Tensor


@dataclass(frozen=True)
class Signal:
    """The teacher's answer p~ on mixed inputs, taken apart.

    Attributes:
        lam: (L,).
        same_class: (P,) bool; report these pairs apart.
        entropy: split of H(p~).
        kept: (L, P) s = p~_E, the mass on the endpoint classes.
    """

    lam: Tensor
    same_class: Tensor
    entropy: EntropyParts
    kept: Tensor


def decompose(logits: Values, lam: Values, labels: Values, tau: float = 1.0) -> Signal:
    """Split the entropy of the teacher's signal along lam into exact parts.

    ``H(p~) = H_b(s) + s H(p~|E) + (1-s) H(p~|R)`` with s = p~_E, by the chain rule.

    Args:
        logits, lam, labels, tau: see :func:`read_probe`.
    """
    probe = read_probe(logits, lam, labels, tau)
    log_p, inside = probe.log_p, probe.inside
    masses = (log_p.masked_fill(off, _EMPTY).logsumexp(-1) for off in (~inside, inside))
    binary = torch.stack(list(masses), -1)  # logarithms of the masses on E and on R
    leak = -_weigh(binary, binary).sum(-1)
    conditional = -_weigh(log_p, log_p - torch.where(inside, binary[..., :1], binary[..., 1:]))
    parts = EntropyParts(entropy(log_p), leak, (conditional * inside).sum(-1), (conditional * ~inside).sum(-1))
    return Signal(probe.lam, probe.same_class, parts, binary[..., 0].exp())


# Would another teacher say the same?


def tails(logits: Values, lam: Values, labels: Values) -> Tensor:
    """Return the log tail of every answer, without the default answer: what two teachers can agree or disagree about.

    log p~ on the classes of neither image, centred over them, less its mean over the pairs of the same kind. A temperature only scales it.
    The inner product of two teachers' tails, summed over pairs and divided by the root of the product of each one's own, is their
    agreement: where both have as much of their own, the share of the variance of a tail that is common to them.

    Args:
        logits, lam, labels: see :func:`read_probe`.

    Returns:
        (L, P, K) float64, 0 on the pair's own classes.
    """
    probe = read_probe(logits, lam, labels)
    mask = (~probe.inside).double()

    def centre(values: Tensor) -> Tensor:
        return (values - ((values * mask).sum(-1) / mask.sum(1)).unsqueeze(-1)) * mask

    tail = centre(probe.log_p)
    for kind in (probe.same_class, ~probe.same_class):
        tail[:, kind] -= (tail[:, kind].sum(1) / mask[kind].sum(0).clamp_min(1)).unsqueeze(1)
    return centre(tail)


@dataclass(frozen=True)
class OneClass:
    """What blending two images of one class does to an answer whose label is certain; all (Q,) float64, one for each one-class pair.

    Attributes:
        lost: probability of the true class on the clean images (mean of the two), less that half-way between them; in [-1, 1].
        rise: entropy half-way, less the mean of that on the two clean images, nats.
        first: probability of the true class on the first image.
        entropy: half-way, nats.
    """

    lost: Tensor
    rise: Tensor
    first: Tensor
    entropy: Tensor


def one_class(logits: Values, lam: Values, labels: Values, tau: float = 1.0) -> OneClass:
    """Return how much of the true class a model loses, and how much less sure it is, half-way between two images of one class.

    Args:
        logits, lam, labels, tau: see :func:`read_probe`; lam must hold 0.5.

    Raises:
        ValueError: when lam has no 0.5.
    """
    probe = read_probe(logits, lam, labels, tau)
    middle = (probe.lam == 0.5).nonzero()
    if not len(middle):
        raise ValueError(f"lam must hold 0.5, not {probe.lam.tolist()}")
    log_p = probe.log_p[[0, int(middle), -1]][:, probe.same_class]
    truth = log_p.gather(2, probe.labels[probe.same_class, :1].expand(3, -1, -1)).squeeze(-1).exp()
    unsure = entropy(log_p)
    return OneClass((truth[0] + truth[2]) / 2 - truth[1], unsure[1] - (unsure[0] + unsure[2]) / 2, truth[2], unsure[1])


@dataclass(frozen=True)
class Common:
    """What several teachers say on mixed inputs beyond the honest mixture: all of them alike, or each for itself.

    ``departure = shared + own`` holds exactly (the compensation identity over teachers). All (L, P) float64, nats, >= 0.

    Attributes:
        lam: (L,).
        same_class: (P,) bool.
        departure: mean over teachers of KL(p~_t || m), m the honest mixture averaged over teachers.
        shared: KL(p~ || m) of the teachers' mean answer p~: leak, ratio and tail that they have in common.
        own: mean over teachers of KL(p~_t || p~), the mutual information between answer and seed. With T teachers it misses about
            1 / T of itself, which `shared` gets.
    """

    lam: Tensor
    same_class: Tensor
    departure: Tensor
    shared: Tensor
    own: Tensor


def common(logits: Sequence[Values], lam: Values, labels: Values, tau: float = 1.0) -> Common:
    """Split what teachers trained alike say about the same mixed inputs into what is shared and what is each one's own.

    The leak counts as any other departure does: mass on a third class is confusion as far as other teachers put it elsewhere.

    Args:
        logits: T >= 2 arrays (L, P, K), of teachers that differ in their seed, on the same probe.
        lam, labels, tau: see :func:`read_probe`.
    """
    probes = [read_probe(one, lam, labels, tau) for one in logits]
    if len(probes) < 2 or any(probe.log_p.shape != probes[0].log_p.shape for probe in probes):
        raise ValueError(
            f"logits must be those of two or more teachers on the same probe, not shapes {[tuple(p.log_p.shape) for p in probes]}"
        )
    answers = torch.stack([probe.log_p for probe in probes])
    log_mean, log_m = (
        stacked.logsumexp(0) - math.log(len(probes)) for stacked in (answers, torch.stack([probe.log_m for probe in probes]))
    )
    departure, own = (kl(answers, other).mean(0) for other in (log_m, log_mean))
    return Common(probes[0].lam, probes[0].same_class, departure, kl(log_mean, log_m), own)


# Log-probabilities


def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Return KL(a || b) over the last axis from log-probabilities, nats, >= 0; a class of a's mass 0 counts 0."""
    return _weigh(log_a, log_a - log_b).sum(-1).clamp_min(0)


def entropy(log_p: Tensor) -> Tensor:
    """Return Shannon entropy over the last axis from log-probabilities, nats."""
    return -_weigh(log_p, log_p).sum(-1)


def as_lam(lam: Values, rows: int) -> Tensor:
    """Return lam (rows,) as float64 after checking that it starts at exactly 0 and ends at exactly 1, rows >= 2."""
    grid = as_numbers(lam, "lam")
    if grid.shape != (rows,) or rows < 2 or grid[0] != 0 or grid[-1] != 1:
        raise ValueError(f"lam must run from exactly 0 to exactly 1 with one entry for each of the {rows} rows, not {grid.tolist()}")
    return torch.from_numpy(grid.copy())


def as_log_p(logits: Tensor, tau: float) -> Tensor:
    """Return log softmax(logits / tau) over the last axis."""
    return (logits / as_temperature(tau, "temperature tau")).log_softmax(-1)


def _weigh(log_a: Tensor, values: Tensor) -> Tensor:
    """Return a x values, 0 where a is exactly 0 even if the value there is infinite or undefined."""
    return torch.where(log_a == _EMPTY, 0.0, log_a.exp() * values)
