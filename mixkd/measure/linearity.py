"""How far a model is from linear between two inputs: in probabilities, logits, labels, features, against its teacher.

Pure functions on the probe. No L_NL of two models is compared without naming a scaling: less confidence is linear free.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from scipy.optimize import brentq
from torch import Tensor

from mixkd.measure.calibration import fit_temperature
from mixkd.measure.signal import NEGLIGIBLE, Array, Grid, Probe, as_logits, as_tensor, entropy, kl, read_probe

Reference = Literal["mixture", "matched"]
Scaling = Literal["native", "logit", "clean_entropy", "nll_optimal"]
LOG_TEMPERATURE = 12.0
"""Temperatures are sought between exp(-12) and exp(12)."""


@dataclass(frozen=True)
class ProbabilityLinearity:
    """Departure of p~ from the honest mixture m = lam p_i + (1 - lam) p_j.

    Attributes:
        lam: (L,).
        same_class: (P,) bool; report these pairs apart.
        l_nl: (L, P) KL(m || p~), nats, >= 0.
        tv: (L, P) total variation distance of m and p~, in [0, 1].
        l_nl_area, tv_area: (P,) their integrals over lam (trapezoid).
    """

    lam: Tensor
    same_class: Tensor
    l_nl: Tensor
    tv: Tensor
    l_nl_area: Tensor
    tv_area: Tensor


def probability_linearity(logits: Array, lam: Grid, labels: Array, temperature: float = 1.0) -> ProbabilityLinearity:
    """L_NL and total variation along lam; both are 0 at the ends of the grid and for a constant predictor.

    Args:
        logits: (L, P, K) on the probe.
        lam: (L,) from 0 (second image) to 1 (first image).
        labels: (P, 2) integers.
        temperature: divides the logits first, > 0.
    """
    probe = read_probe(logits, lam, labels, temperature)
    l_nl = kl(probe.log_m, probe.log_p)
    tv = (probe.log_m.exp() - probe.log_p.exp()).abs().sum(-1) / 2
    return ProbabilityLinearity(probe.lam, probe.same_class, l_nl, tv, _area(l_nl, probe.lam), _area(tv, probe.lam))


@dataclass(frozen=True)
class LogitLinearity:
    """Departure of the centred logits from the straight line between the endpoints, over the endpoints' distance.

    Attributes:
        lam: (L,).
        same_class: (P,) bool.
        gap: (L, P) ||z~ - lam z_i - (1 - lam) z_j|| / ||z_i - z_j||, >= 0; nan where the endpoints coincide.
        gap_area: (P,) its integral over lam.
        second_difference: (L - 2, P) norm of z(l + h) - 2 z(l) + z(l - h) over ||z_i - z_j||, at the inner rows of lam.
    """

    lam: Tensor
    same_class: Tensor
    gap: Tensor
    gap_area: Tensor
    second_difference: Tensor


def logit_linearity(logits: Array, lam: Grid, labels: Array) -> LogitLinearity:
    """Linearity of the logits along lam; a temperature or an offset common to all classes changes nothing.

    Every class weighs the same here, however improbable: with many classes this measures the tail more than the
    answer. On an uneven grid with steps h- and h+ the second difference is scaled to h- h+, the usual one for h- = h+.

    Args:
        logits: (L, P, K) on the probe.
        lam: (L,) from 0 to 1.
        labels: (P, 2) integers.
    """
    probe = read_probe(logits, lam, labels)
    z = as_logits(logits, "logits", 3)
    z = z - z.mean(-1, keepdim=True)
    gap = feature_linearity(z, probe.lam)
    step = probe.lam.diff().reshape(-1, 1, 1)
    slope = z.diff(dim=0) / step
    bend = 2 * (slope[1:] - slope[:-1]) / (step[1:] + step[:-1]) * step[1:] * step[:-1]
    second = _ratio(bend.norm(dim=-1), (z[-1] - z[0]).norm(dim=-1))
    return LogitLinearity(probe.lam, probe.same_class, gap, _area(gap, probe.lam), second)


def feature_linearity(features: Array, lam: Grid) -> Tensor:
    """Departure of features from the straight line: ``||phi~ - lam phi_i - (1 - lam) phi_j|| / ||phi_i - phi_j||``.

    Free of scale and offset. A map that ignores its input gives nan, one that is linear 0.

    Args:
        features: (L, Q, d) floating point, features of Q pairs on the grid; the first row is the second image (lam =
            0), the last the first.
        lam: (L,) increasing from 0 to 1.

    Returns:
        (L, Q) float64, >= 0; nan where the endpoints coincide.
    """
    phi = as_features(features, "features", 3)
    grid = as_tensor(lam).double()
    if grid.shape != phi.shape[:1] or len(grid) < 2 or grid[0] != 0 or grid[-1] != 1:
        raise ValueError(f"lam must run from 0 to 1 with one entry for each of the {len(phi)} rows, not {grid.tolist()}")
    weight = grid.reshape(-1, 1, 1)
    off = (phi - weight * phi[-1] - (1 - weight) * phi[0]).norm(dim=-1)
    return _ratio(off, (phi[-1] - phi[0]).norm(dim=-1))


def label_divergence(logits: Array, lam: Grid, labels: Array, temperature: float = 1.0) -> Tensor:
    """KL(lam e_i + (1 - lam) e_j || p~): the distance to what mixup's labels ask for.

    Args:
        logits: (L, P, K) on the probe.
        lam: (L,) from 0 to 1.
        labels: (P, 2) integers.
        temperature: divides the logits first.

    Returns:
        (L, P) float64, nats, >= 0. For a same-class pair the target is that class alone.
    """
    probe = read_probe(logits, lam, labels, temperature)
    first, second = _endpoint_log_p(probe)
    weight = probe.lam.unsqueeze(1)
    mixing = torch.where(probe.same_class, 0.0, torch.xlogy(weight, weight) + torch.xlogy(1 - weight, 1 - weight))
    return (mixing - weight * first - (1 - weight) * second).clamp_min(0)


@dataclass(frozen=True)
class Response:
    """How the answer passes from the second class to the first; all nan for same-class pairs.

    Attributes:
        lam: (L,).
        same_class: (P,) bool.
        curve: (L, P) g(lam) = p~(y_i) / (p~(y_i) + p~(y_j)), in [0, 1].
        slope: (P,) of g at lam = 1/2, from the grid points on either side; 1 is linear, large a hard switch.
        rmse: (P,) root of the integral of (g - lam)^2, in [0, 1].
        width: (P,) length of lam on which .1 < g < .9, g interpolated linearly; .8 is linear, towards 0 a hard switch.
    """

    lam: Tensor
    same_class: Tensor
    curve: Tensor
    slope: Tensor
    rmse: Tensor
    width: Tensor


def response(logits: Array, lam: Grid, labels: Array, temperature: float = 1.0) -> Response:
    """The response curve g(lam) with its slope, error and switching width.

    Args:
        logits: (L, P, K) on the probe.
        lam: (L,) from 0 to 1, with at least one point inside.
        labels: (P, 2) integers.
        temperature: divides the logits first.
    """
    probe = read_probe(logits, lam, labels, temperature)
    if len(probe.lam) < 3:
        raise ValueError("a response curve needs at least one lam between 0 and 1")
    first, second = _endpoint_log_p(probe)
    g = torch.where(probe.same_class, math.nan, torch.sigmoid(first - second))
    below = int((probe.lam < 0.5).nonzero().max())
    above = int((probe.lam > 0.5).nonzero().min())
    slope = (g[above] - g[below]) / (probe.lam[above] - probe.lam[below])
    rmse = _area((g - probe.lam.unsqueeze(1)) ** 2, probe.lam).sqrt()
    rise = g.diff(dim=0)
    passed = g.clamp(0.1, 0.9).diff(dim=0)
    still = ((g[1:] > 0.1) & (g[1:] < 0.9)).double()
    fraction = torch.where(rise.abs() > NEGLIGIBLE, passed / rise, still)
    width = (fraction * probe.lam.diff().unsqueeze(1)).sum(0)
    return Response(probe.lam, probe.same_class, g, slope, rmse, torch.where(probe.same_class, math.nan, width))


# Student against teacher


def matched_temperature(logits_a: Array, logits_b: Array) -> float:
    """The temperature that gives A the mean entropy of B (at temperature 1).

    Match on clean validation inputs. Never on the mixed ones: the entropy there is part of what linearity is about,
    and matching it away would decide the comparison.

    Args:
        logits_a, logits_b: (N, K) and (M, K), the same K, on clean inputs.

    Returns:
        T such that mean H(softmax(a / T)) = mean H(softmax(b)).

    Raises:
        ValueError: when no temperature in [exp(-12), exp(12)] does it (one of the two is constant, or certain beyond
            float64).
    """
    a, b = as_logits(logits_a, "logits_a", 2), as_logits(logits_b, "logits_b", 2)
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"both models need the same classes, not {a.shape[1]} and {b.shape[1]}")
    target = float(entropy(b.log_softmax(-1)).mean())

    def excess(log_temperature: float) -> float:
        return float(entropy((a / math.exp(log_temperature)).log_softmax(-1)).mean()) - target

    least, most = excess(-LOG_TEMPERATURE), excess(LOG_TEMPERATURE)
    if least >= 0 or most <= 0:
        raise ValueError(
            f"no temperature gives A the mean entropy {target:.6g} nats of B: A reaches {least + target:.6g} to {most + target:.6g}"
        )
    return math.exp(brentq(excess, -LOG_TEMPERATURE, LOG_TEMPERATURE, xtol=1e-12))


@dataclass(frozen=True)
class NonlinearityRatio:
    """Non-linearity of a student against its teacher under one scaling; D = 2 for "clean_entropy", else 1.

    Attributes:
        scaling: which.
        same_class: (P,) bool.
        temperatures: (D, 2), of student and teacher. "clean_entropy": first the student brought to the teacher's
            entropy, then the teacher to the student's. "logit" is free of scale: both 1.
        student, teacher: (D, P) areas over lam of L_NL (nats), or of the logit gap.
        log_ratio: (D, P) log(student / teacher) for each pair, negative where the student is more linear; nan where
            an area is negligible.
        pooled: (D,) log of the ratio of the means over cross-class pairs. One pair of tiny area moves the mean of
            ``log_ratio`` far, and this not at all; a pair of huge area the reverse. Show both.
    """

    scaling: Scaling
    same_class: Tensor
    temperatures: Tensor
    student: Tensor
    teacher: Tensor
    log_ratio: Tensor
    pooled: Tensor


def nonlinearity_ratio(
    student: Array,
    teacher: Array,
    lam: Grid,
    labels: Array,
    *,
    scaling: Scaling,
    student_clean: Array | None = None,
    teacher_clean: Array | None = None,
    clean_labels: Array | None = None,
) -> NonlinearityRatio:
    """Log ratio student / teacher of the non-linearity over lam, under one of the scalings that claim (b) asks for.

    "native": probabilities as they are: shows the confound, decides nothing. "logit": the logit gap. "clean_entropy":
    L_NL after one of the two is tempered to the other's mean entropy on clean validation, in both directions, because
    L_NL is not linear in confidence and the two may disagree. "nll_optimal": each at the temperature that minimises
    its own validation NLL; one without validation errors has no such temperature and ends at the fit's lower bound.

    Args:
        student, teacher: (L, P, K) on the same probe.
        lam: (L,) from 0 to 1.
        labels: (P, 2) integers.
        scaling: see above.
        student_clean, teacher_clean: (N, K) clean validation logits; for the last two scalings.
        clean_labels: (N,) integers; for "nll_optimal".

    Raises:
        ValueError: unknown scaling, or what it needs is missing.
    """
    if scaling not in get_args(Scaling):
        raise ValueError(f"scaling must be one of {', '.join(get_args(Scaling))}, not {scaling!r}")
    if scaling in ("clean_entropy", "nll_optimal") and (student_clean is None or teacher_clean is None):
        raise ValueError(f"scaling {scaling!r} needs student_clean and teacher_clean, logits on clean validation images")
    temperatures = [(1.0, 1.0)]
    if student_clean is not None and teacher_clean is not None:
        if scaling == "clean_entropy":
            temperatures = [
                (matched_temperature(student_clean, teacher_clean), 1.0),
                (1.0, matched_temperature(teacher_clean, student_clean)),
            ]
        elif scaling == "nll_optimal":
            if clean_labels is None:
                raise ValueError("scaling 'nll_optimal' needs clean_labels")
            temperatures = [(fit_temperature(student_clean, clean_labels), fit_temperature(teacher_clean, clean_labels))]

    def area(logits: Array, temperature: float) -> Tensor:
        if scaling == "logit":
            return logit_linearity(logits, lam, labels).gap_area
        return probability_linearity(logits, lam, labels, temperature).l_nl_area

    areas = torch.stack([torch.stack([area(student, s), area(teacher, t)]) for s, t in temperatures])
    a, b = areas.unbind(1)
    same = read_probe(student, lam, labels).same_class
    sound = (a > NEGLIGIBLE) & (b > NEGLIGIBLE)
    counted = ~same & a.isfinite() & b.isfinite()
    mean_a, mean_b = (torch.where(counted, values, math.nan).nanmean(1) for values in (a, b))
    return NonlinearityRatio(
        scaling=scaling,
        same_class=same,
        temperatures=torch.tensor(temperatures, dtype=torch.float64),
        student=a,
        teacher=b,
        log_ratio=torch.where(sound, (a / b).log(), math.nan),
        pooled=torch.where((mean_a > NEGLIGIBLE) & (mean_b > NEGLIGIBLE), (mean_a / mean_b).log(), math.nan),
    )


@dataclass(frozen=True)
class Displacement:
    """Where the student lies between imitating its teacher (0) and the linear reference (1); see :func:`displacement`.

    Attributes:
        lam: (L,).
        same_class: (P,) bool.
        s: (L, P) displacement, unbounded; nan at lam = 0 and 1 and where teacher and reference coincide.
        along: (L, P) <p~_S - p~_T', m_T - p~_T'>, the numerator.
        scale: (L, P) ||m_T - p~_T'||^2, the denominator.
        null_sd: (L, P) standard deviation of s if the student's departure had its length but a random direction among
            the K - 1 that keep the sum; the mean is 0.
        temperature: (L, P) that gave the teacher the student's entropy.
    """

    lam: Tensor
    same_class: Tensor
    s: Tensor
    along: Tensor
    scale: Tensor
    null_sd: Tensor
    temperature: Tensor

    def pooled(self, pairs: Tensor | None = None) -> float:
        """Ratio of sums over the inner rows and the given pairs (indices or mask; default: cross-class).

        So small denominators, which make s of a single pair wild, weigh little.
        """
        chosen = ~self.same_class if pairs is None else pairs
        scale = self.scale[1:-1][:, chosen].sum()
        return float(self.along[1:-1][:, chosen].sum() / scale) if scale > NEGLIGIBLE else math.nan


def displacement(student: Array, teacher: Array, lam: Grid, labels: Array, *, reference: Reference = "mixture") -> Displacement:
    """``s = <p~_S - p~_T', m_T - p~_T'> / ||m_T - p~_T'||^2``: imitation or linearity, confidence aside.

    p~_T' is the teacher on the same mixed input, tempered input by input to the student's entropy there: a student
    that is its teacher at any temperature has s = 0 exactly, one that answers m_T has s = 1. m_T itself keeps its own
    entropy, so a student that differs in confidence from it is not at 1 even if it answers a tempered m_T;
    ``reference="matched"`` tempers m_T to the student's entropy as well, and then such a student has s = 1 exactly.

    Args:
        student, teacher: (L, P, K) on the same probe.
        lam: (L,) from 0 to 1.
        labels: (P, 2) integers.
        reference: "mixture" or "matched".
    """
    if reference not in get_args(Reference):
        raise ValueError(f"reference must be one of {', '.join(get_args(Reference))}, not {reference!r}")
    s, t = read_probe(student, lam, labels), read_probe(teacher, lam, labels)
    if s.log_p.shape != t.log_p.shape:
        raise ValueError(f"student and teacher need the same probe, not {tuple(s.log_p.shape)} and {tuple(t.log_p.shape)}")
    target = entropy(s.log_p)

    log_flat, temperature = _at_entropy(t.log_p, target)
    flattened = log_flat.exp()
    mixture = t.log_m if reference == "mixture" else _at_entropy(t.log_m, target)[0]
    away, line = s.log_p.exp() - flattened, mixture.exp() - flattened
    inner = ((t.lam > 0) & (t.lam < 1)).unsqueeze(1)
    along, scale = (away * line).sum(-1), line.square().sum(-1)
    sound = inner & (scale > NEGLIGIBLE)
    null_sd = away.norm(dim=-1) / scale.sqrt() / math.sqrt(s.log_p.shape[-1] - 1)
    return Displacement(
        lam=t.lam,
        same_class=t.same_class,
        s=torch.where(sound, along / scale, math.nan),
        along=along,
        scale=scale,
        null_sd=torch.where(sound, null_sd, math.nan),
        temperature=temperature,
    )


def as_features(values: Array, name: str, ndim: int) -> Tensor:
    """Features as a float64 tensor on the CPU, after checking kind, dimensions and finiteness."""
    tensor = as_tensor(values)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point, not {tensor.dtype}")
    if tensor.ndim != ndim or tensor.numel() == 0:
        raise ValueError(f"{name} must have {ndim} dimensions, no empty one, not shape {tuple(tensor.shape)}")
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} must be finite; {int((~tensor.isfinite()).sum())} of {tensor.numel()} values are not")
    return tensor.double()


def _at_entropy(log_p: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """log_p (L, P, K) tempered, input by input, to the entropies (L, P), and the temperatures (L, P) that it takes."""
    low, high = torch.full_like(target, -LOG_TEMPERATURE), torch.full_like(target, LOG_TEMPERATURE)

    def at(log_temperature: Tensor) -> Tensor:
        return (log_p / log_temperature.exp().unsqueeze(-1)).log_softmax(-1)

    for _ in range(50):  # halvings: each input has a bracket of its own
        middle = (low + high) / 2
        above = entropy(at(middle)) > target
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return at((low + high) / 2), ((low + high) / 2).exp()


def _area(values: Tensor, lam: Tensor) -> Tensor:
    return torch.trapezoid(values, lam, dim=0)


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > NEGLIGIBLE, part / whole, math.nan)


def _endpoint_log_p(probe: Probe) -> tuple[Tensor, Tensor]:
    """log p~(y_i) and log p~(y_j), each (L, P)."""
    index = probe.labels.expand(len(probe.lam), -1, -1)
    first, second = probe.log_p.gather(2, index).unbind(-1)
    return first, second
