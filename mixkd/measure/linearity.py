"""How far a model is from linear between two inputs, in probabilities, logits and features, and where it lies against its teacher.

Pure functions on the probe. Less confidence alone makes L_NL smaller, so compare models at a temperature that is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mixkd.arrays import Values, as_logits, as_tensor
from mixkd.measure.signal import NEGLIGIBLE, as_lam, kl, read_probe


@dataclass(frozen=True)
class ProbabilityLinearity:
    """Departure of p~ from the honest mixture m = lam p_i + (1 - lam) p_j.

    Attributes:
        lam: (L,).
        same_class: (P,) bool; report these pairs apart.
        l_nl: (L, P) KL(m || p~), nats, >= 0.
        l_nl_mean: (P,) its mean over the inner points of lam.
    """

    lam: Tensor
    same_class: Tensor
    l_nl: Tensor
    l_nl_mean: Tensor


def probability_linearity(logits: Values, lam: Values, labels: Values, temperature: float = 1.0) -> ProbabilityLinearity:
    """Return L_NL along lam, the measure of the authors' public code; 0 at the ends of the grid and for a constant predictor.

    Args:
        logits: (L, P, K) on the probe.
        lam: (L,) from 0 (second image) to 1 (first image). On the probe's own grid the mean over inner points is the mean over uniform lam.
        labels: (P, 2) integers.
        temperature: divides the logits first, > 0.
    """
    probe = read_probe(logits, lam, labels, temperature)
    l_nl = kl(probe.log_m, probe.log_p)
    return ProbabilityLinearity(probe.lam, probe.same_class, l_nl, l_nl[1:-1].mean(0))


@dataclass(frozen=True)
class LogitLinearity:
    """Departure of the centred logits from the straight line between the endpoints, over the endpoints' distance.

    Attributes:
        lam: (L,).
        same_class: (P,) bool.
        gap: (L, P) ||z~ - lam z_i - (1 - lam) z_j|| / ||z_i - z_j||, >= 0; nan where the endpoints coincide.
        gap_mean: (P,) its mean over the inner points of lam.
    """

    lam: Tensor
    same_class: Tensor
    gap: Tensor
    gap_mean: Tensor


def logit_linearity(logits: Values, lam: Values, labels: Values) -> LogitLinearity:
    """Return the linearity of the logits along lam; a temperature or an offset common to all classes changes nothing.

    Every class weighs the same here, however improbable: with many classes this measures the tail more than the answer.

    Args:
        logits: (L, P, K) on the probe.
        lam: (L,) from 0 to 1.
        labels: (P, 2) integers.
    """
    probe = read_probe(logits, lam, labels)
    z = as_logits(logits, ndim=3)
    gap = feature_linearity(z - z.mean(-1, keepdim=True), probe.lam)
    return LogitLinearity(probe.lam, probe.same_class, gap, gap[1:-1].mean(0))


def feature_linearity(features: Values, lam: Values) -> Tensor:
    """Return the departure of features from the straight line: ``||phi~ - lam phi_i - (1 - lam) phi_j|| / ||phi_i - phi_j||``.

    Free of scale and offset. A map that ignores its input gives nan, one that is linear 0.

    Args:
        features: (L, Q, d) floating point, features of Q pairs on the grid; the first row is the second image (lam =
            0), the last the first.
        lam: (L,) increasing from 0 to 1.

    Returns:
        (L, Q) float64, >= 0; nan where the endpoints coincide.
    """
    phi = as_tensor(features, "features", 3)
    grid = as_lam(lam, len(phi))
    weight = grid.reshape(-1, 1, 1)
    off = (phi - weight * phi[-1] - (1 - weight) * phi[0]).norm(dim=-1)
    return _ratio(off, (phi[-1] - phi[0]).norm(dim=-1))


# Student against teacher


@dataclass(frozen=True)
class Answers:
    """A model's answers on the two-class pairs, at the I inner points of lam.

    Attributes:
        lam: (I,).
        given: (I, P, K) float64, p~.
        line: (I, P, K) float64, m - p~: the way from the answer to the linear reference m = lam p_i + (1 - lam) p_j.
    """

    lam: Tensor
    given: Tensor
    line: Tensor


def answers(logits: Values, lam: Values, labels: Values, temperature: float = 1.0) -> Answers:
    """Return what a model answers on blends of two classes, and the way from there to its linear reference.

    Args:
        logits: (L, P, K) on the probe.
        lam: (L,) from 0 to 1, with at least one point inside.
        labels: (P, 2) integers; pairs of one class are left out.
        temperature: divides the logits first, > 0.

    Raises:
        ValueError: without an inner point of lam.
    """
    probe = read_probe(logits, lam, labels, temperature)
    if len(probe.lam) < 3:
        raise ValueError("answers on blends need at least one lam between 0 and 1")
    given, mixture = (part[1:-1, ~probe.same_class].exp() for part in (probe.log_p, probe.log_m))
    return Answers(probe.lam[1:-1], given, mixture - given)


@dataclass(frozen=True)
class Displacement:
    """How far one model's answers lie from another's on a stranger's way to its linear reference; see :func:`displacement`.

    Attributes:
        lam: (I,) the inner points of lam.
        along: (I, P) <p~_S - p~_T, m_V - p~_V>, the numerator.
        scale: (I, P) ||m_V - p~_V||^2, the denominator.
    """

    lam: Tensor
    along: Tensor
    scale: Tensor

    def pooled(self) -> float:
        """Return the ratio of sums over lam and pairs, so that pairs with a small denominator weigh little; nan without any."""
        scale = float(self.scale.sum())
        return float(self.along.sum()) / scale if scale > NEGLIGIBLE else math.nan


def displacement(student: Answers, teacher: Answers, stranger: Answers) -> Displacement:
    """Return the displacement of a student from its teacher towards linearity, as a stranger to both sees it.

    ``<p~_S - p~_T, m_V - p~_V> / ||m_V - p~_V||^2``: what the student's answer scores on the stranger V's way from its own answer (0) to
    its own linear reference (1), less what the teacher T's answer scores there. Exactly 0 for a student that repeats its teacher; above 0
    for one whose answer lies nearer to linear than what it copied.

    The stranger makes the zero fair. Measured on the teacher's own way, whatever is peculiar to that teacher counts as a departure from
    linearity; any other network lacks it, and would seem displaced towards the line without being any more linear. A stranger of the same
    kind shares no peculiarity with either, so an unrelated network that is as far from linear as the teacher has expectation 0.
    A network that is unsure everywhere lies on the way as well: compare with a student of the same accuracy.

    Args:
        student, teacher, stranger: answers of three models to one probe, each at the temperature that minimises its validation NLL, from
            :func:`answers`. Stranger and teacher are of one kind and differ in their seeds.

    Raises:
        ValueError: for answers of different shapes.
    """
    shapes = {tuple(one.given.shape) for one in (student, teacher, stranger)}
    if len(shapes) > 1:
        raise ValueError(f"the three models need the same probe, not answers of shapes {', '.join(map(str, sorted(shapes)))}")
    return Displacement(stranger.lam, ((student.given - teacher.given) * stranger.line).sum(-1), stranger.line.square().sum(-1))


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > NEGLIGIBLE, part / whole, math.nan)
