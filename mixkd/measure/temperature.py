"""Post-hoc temperature: fit it, or see what every temperature of a grid would give."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import brentq

from mixkd.arrays import Array, Values, as_count, as_floats, as_labels, as_numbers, as_temperature
from mixkd.measure.bins import bin_of, binned_errors, near_edge
from mixkd.measure.rows import dot, exact_confidence, exponentials, shifted

TEMPERATURE_BOUNDS = (1e-3, 1e3)  # where `fit_temperature` searches


@dataclass(frozen=True, eq=False)
class TemperatureSweep:
    """Figures of logits / temperatures[i]: (T,) float64, names as in `Report`; accuracy does not depend on temperature."""

    temperatures: Array
    accuracy: float
    confidence: Array
    nll: Array
    ece: Array
    oe: Array
    ue: Array
    over: Array
    under: Array
    gap: Array
    mce: Array


def temperature_sweep(logits: Values, labels: Values, temperatures: Values, n_bins: int = 15) -> TemperatureSweep:
    """Return what `report` gives at each temperature, to 1e-6, at a cost that hardly depends on how many there are.

    Only 1 / confidence, the sum of exp(beta x) over logits x <= 0 below the row's largest, is needed at each beta = 1 / temperature. As a
    function of log beta it is smooth whatever the logits, so it is summed at a few Chebyshev nodes (about 18 for a factor of 6 in
    temperature) and interpolated. The share of the second largest logit is taken out first and put back at each beta, so that the rounding
    of a node where the sum is large does not reach one where it is small. Exponentials are float32, sums over rows float64, and confidences
    near a bin's edge are computed again in float64.

    Args:
        logits: (N, K) float.
        labels: (N,) integers in 0 .. K - 1.
        temperatures: (T,) positive, in any order.
        n_bins: of equal width.

    Raises:
        ValueError, TypeError: see :mod:`mixkd.arrays`.
    """
    z = as_floats(logits, "logits", 2, classes=2)
    n, k = z.shape
    y = as_labels(labels, (n,), k)
    grid = as_numbers(temperatures, "temperatures")
    if grid.size == 0:
        raise ValueError("temperatures must not be empty")
    m, size, beta = as_count(n_bins, "n_bins"), grid.size, 1 / np.array([as_temperature(t) for t in grid])
    nodes, weights = _interpolation(beta, k)
    count, total = np.zeros(size * 2 * m), np.zeros(size * 2 * m)  # by (temperature, hit, bin)
    log_sum, label_sum, hits = np.zeros(size), 0.0, 0
    ones, inverse = torch.ones(k), torch.from_numpy(beta).float()
    for rows, x, top in shifted(z, torch.float32, per_row=max(k, 4 * size)):
        at, hit = np.arange(0, x.size, k), top == y[rows]
        label_sum += float(x.take(at + y[rows]).sum(dtype=np.float64))
        hits += int(hit.sum())
        x.put(at + top, -np.inf)
        below = torch.from_numpy(x)
        second = below.amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).min)
        below -= second
        e, sums = torch.empty_like(below), np.empty((len(nodes), len(x)))
        for node, row_sums in zip(nodes, sums, strict=True):
            row_sums[:] = (torch.mul(below, node, out=e).exp_() @ ones).numpy()
        scale = torch.mul(second, inverse).exp_().numpy()
        c = 1 / (1 + np.maximum(sums.T @ weights, 0) * scale)
        row, column = np.divmod(np.flatnonzero(near_edge(c, m)), size)
        c[row, column] = exact_confidence(z, rows.start + row, beta[column])
        cell = (bin_of(c, m) + (2 * np.arange(size) + hit[:, None]) * m).ravel()
        count += np.bincount(cell, minlength=count.size)
        total += np.bincount(cell, c.ravel(), count.size)
        log_sum -= torch.from_numpy(c).log_().numpy().sum(0)
    filled, total = count.reshape(size, 2, m), total.reshape(size, 2, m).sum(1)
    inside = filled.sum(1)
    errors = binned_errors(inside, total / np.maximum(inside, 1), filled[:, 1] / np.maximum(inside, 1))
    errors |= {"confidence": total.sum(1) / n, "nll": (log_sum - beta * label_sum) / n}
    names = ("confidence", "nll", "ece", "oe", "ue", "over", "under", "gap", "mce")
    return TemperatureSweep(grid.copy(), hits / n, **{name: errors[name] for name in names})


def fit_temperature(logits: Values, labels: Values) -> float:
    """Return the temperature in `TEMPERATURE_BOUNDS` that minimises NLL: safeguarded Newton on 1 / temperature, in which NLL is convex.

    Exact at the ends: if every prediction is right, NLL falls as temperature falls to 0 and the lower bound is returned (nothing can be
    fitted on separable data); if labels are no likelier than chance under the logits, the upper bound. Fit on validation data and report
    on other data.

    Args:
        logits: (N, K) float.
        labels: (N,) integers in 0 .. K - 1.

    Raises:
        ValueError, TypeError: see :mod:`mixkd.arrays`.
    """
    z = as_floats(logits, "logits", 2, classes=2)
    y = as_labels(labels, (len(z),), z.shape[1])
    slope, all_right = 0.0, True
    for rows, x, _ in shifted(z, torch.float64):
        at_label = x[np.arange(len(x)), y[rows]]
        slope += float((x.mean(1) - at_label).sum())
        all_right &= bool((at_label == 0).all())
    coldest, hottest = TEMPERATURE_BOUNDS
    if all_right:
        return coldest
    if slope >= 0:
        return hottest
    low, high, beta = 1 / hottest, 1 / coldest, 1.0
    while high > low * (1 + 1e-12):
        first, second = _derivatives(z, y, beta)
        low, high = (low, beta) if first > 0 else (beta, high)
        step = -first / second if second > 0 else math.inf
        if abs(step) < 1e-7:  # Newton squares the error: after this step it is below 1e-13
            return 1 / (beta * (1 + step))
        beta = beta * (1 + step) if low < beta * (1 + step) < high else math.sqrt(low * high)
    return 1 / beta


REACH = (0.05, 20.0)
"""Temperatures beyond these make answers of ordinary logits one-hot, or all alike."""


def unfit(logits: Values, labels: Values, temperature: float) -> str:
    """Return why a temperature that was fitted on these rows says nothing about others; an empty string where it may.

    With no error among them NLL falls for ever as the temperature falls to 0, and with one it is that row that decides.

    Args:
        logits: (N, K) float.
        labels: (N,) integers in 0 .. K - 1.
        temperature: as :func:`fit_temperature` returned it.

    Raises:
        ValueError, TypeError: see :mod:`mixkd.arrays`.
    """
    z = as_floats(logits, "logits", 2, classes=2)
    y = as_labels(labels, (len(z),), z.shape[1])
    errors = int((z.argmax(1) != y).sum())
    if errors < 2:
        return f"{errors or 'no'} error{'s' * (errors == 0)} among {len(y)} rows cannot tell a temperature"
    if not REACH[0] <= temperature <= REACH[1]:
        reach = f"{REACH[0]:g} to {REACH[1]:g}"
        return f"the temperature {temperature:.3g} fitted on {len(y)} rows with {errors} errors is out of reach ({reach})"
    return ""


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


def _derivatives(z: Array, y: Array, beta: float) -> tuple[float, float]:
    """Return the first and second derivatives of the NLL of beta z in beta, times beta and beta squared."""
    first = second = 0.0
    for rows, x, e, top in exponentials(z, beta, torch.float64):
        at = np.arange(len(x))
        e[at, top] = 0
        c = 1 / (1 + e @ np.ones(x.shape[1]))
        mean = dot(e, x) * c * beta
        first += float((mean - x[at, y[rows]] * beta).sum())
        e *= x
        second += float((dot(e, x) * c * beta**2 - mean**2).sum())
    return first / len(z), second / len(z)


def _interpolation(beta: Array, k: int, left_out: float = 1e-7) -> tuple[Array, Array]:
    """Return nodes (n,) and weights (n, T): values at the nodes @ weights are sums of k terms exp(beta x), x <= 0, at beta.

    exp(x e^s) is at most 1 where |Im s| <= pi / 2, whatever x: its Chebyshev interpolant in s = log(beta) on an interval
    of half width h errs by at most 4 rho^-n / (rho - 1) with rho = a + sqrt(a^2 + 1), a = pi / (2 h) (Trefethen 2013,
    theorem 8.2). Where that needs as many nodes as there are betas, the betas are the nodes.
    """
    s = np.log(beta)
    centre, half = (s.max() + s.min()) / 2, max((s.max() - s.min()) / 2, 1e-9)
    rho = math.pi / (2 * half) + math.hypot(math.pi / (2 * half), 1)
    n = max(1, math.ceil(math.log(4 * k / (left_out * (rho - 1))) / math.log(rho)))
    if n >= s.size:
        return beta, np.eye(s.size)
    angle, degree = (np.arange(n) + 0.5) * math.pi / n, np.arange(n)
    transform = np.cos(angle[:, None] * degree) * np.where(degree == 0, 1, 2) / n
    weights = transform @ np.cos(degree[:, None] * np.arccos(np.clip((s - centre) / half, -1, 1)))
    return np.exp(centre + half * np.cos(angle)), weights
