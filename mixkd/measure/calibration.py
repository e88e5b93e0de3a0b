"""How far confidence is from accuracy: bins, errors, proper scores, post-hoc temperature, the error that chance alone gives.

Conventions, everywhere in this module
- `logits` (N, K): torch, NumPy or pandas, any float dtype, finite; `labels` (N,) integers in 0 .. K - 1 (:mod:`mixkd.arrays`). Softmax is
  applied here: passing probabilities gives a plausible but wrong answer (they are logits between 0 and 1), and no check can catch it.
- The prediction is the first class that attains the largest logit; confidence is its probability, in [1 / K, 1].
- Bins are those of :mod:`mixkd.measure.bins`. Results are float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch
from scipy.fft import dct
from scipy.optimize import brentq

from mixkd.arrays import Array, Values, as_array, as_count, as_floats, as_labels, as_numbers, as_temperature
from mixkd.measure.bins import Reliability, bin_of, binned_errors, fill, near_edge
from mixkd.measure.rows import dot, exact_confidence, exponentials, top_confidence
from mixkd.measure.temperature import TEMPERATURE_BOUNDS, TemperatureSweep, fit_temperature, temperature_sweep, unfit

__all__ = [
    "TEMPERATURE_BOUNDS", "NoiseFloor", "Reliability", "Report", "TemperatureSweep",
    "confidences", "fit_temperature", "noise_floor", "reliability", "report", "temperature_sweep",
    "unfit",
]  # fmt: skip

_DOUBLE = 1 << 19  # logits up to which `report` takes double-precision exponentials
_TIE = 1e-12  # confidences closer than this are the same confidence


def reliability(logits: Values, labels: Values, n_bins: int = 15, temperature: float = 1.0) -> Reliability:
    """Return the bins of equal width of top-label confidence at logits / temperature.

    Args:
        logits: (N, K) float.
        labels: (N,) integers in 0 .. K - 1.
        n_bins: M >= 1.
        temperature: > 0.

    Raises:
        ValueError, TypeError: see :mod:`mixkd.arrays`.
    """
    z = as_floats(logits, "logits", 2, classes=2)
    y = as_labels(labels, (len(z),), z.shape[1])
    beta, m = 1 / as_temperature(temperature), as_count(n_bins, "n_bins")
    conf, predicted = top_confidence(z, beta)
    return fill(conf, (predicted == y).astype(np.float64), m)


def confidences(logits: Values, temperature: float = 1.0) -> tuple[Array, Array]:
    """Return confidence (N,) float64 and predicted class (N,) int64 at logits / temperature."""
    return top_confidence(as_floats(logits, "logits", 2, classes=2), 1 / as_temperature(temperature))


def _smooth(conf: Array, hit: Array) -> float:
    """Return smECE: the integral of |residual * reflected Gaussian(sigma)| at the sigma in [0.001, 1] that equals it.

    The residuals' cosine series is the reflected density; smoothing multiplies its terms by exp(-(pi k sigma)^2 / 2).
    """
    size = 1 << 12
    place = conf * size
    left = np.minimum(place.astype(np.int64), size - 1)
    mass = np.zeros(size + 1)
    share, residual = place - left, conf - hit
    mass[:-1] += np.bincount(left, residual * (1 - share), size)
    mass[1:] += np.bincount(left, residual * share, size)
    mass[1:-1] /= 2  # the type-1 transform counts inner points twice
    series = dct(mass, type=1) / conf.size

    def error(sigma: float) -> float:
        terms = min(size, math.ceil(6 / (math.pi * sigma)))  # beyond, the factor is below 1e-7
        mesh = min(size, max(256, 1 << (4 * terms).bit_length()))
        wave = np.zeros(mesh + 1)
        wave[:terms] = series[:terms] * np.exp(-0.5 * (math.pi * sigma * np.arange(terms)) ** 2)
        density = np.abs(dct(wave, type=1))
        return float((density.sum() - (density[0] + density[-1]) / 2) / mesh)

    smallest = max(1e-3, abs(float(residual.mean())))  # no bandwidth gives less than the net gap
    if error(smallest) <= smallest:
        return error(smallest)
    return error(float(brentq(lambda sigma: error(sigma) - sigma, smallest, 1.0, xtol=1e-5)))


def _row(label: str, short: str = "", *, share: bool = False, of: Callable[[Array, Array], float] | None = None) -> Any:
    """Return a field of `Report`.

    Args:
        label: its name on a page.
        short: its name at the head of a column, if not that of the field.
        share: whether pages show it in per cent.
        of: (N,) confidences in ascending order, (N,) hits -> its value; without, `report` sums it with the others.
    """
    return field(metadata={"label": label, "short": short, "share": share, "of": of})


@dataclass(frozen=True)
class Report:
    """Every calibration figure of one set of predictions; see `report`."""

    n: int
    accuracy: float = _row("accuracy", share=True)
    confidence: float = _row("mean confidence", share=True)  # of the top label
    nll: float = _row("NLL (nats)", "NLL")  # -mean log p_y
    brier: float = _row("Brier score")  # sum over classes, in [0, 2]
    ece: float = _row("ECE", "ECE", share=True)
    oe: float = _row("overconfidence error OE", "OE", share=True)
    ue: float = _row("underconfidence error UE", "UE", share=True)
    over: float = _row("overconfident part of ECE", share=True)
    under: float = _row("underconfident part of ECE", share=True)
    gap: float = _row("gap (confidence − accuracy)", share=True)
    mce: float = _row("MCE", "MCE", share=True)
    mce_count: int = _row("predictions in the bin of MCE")
    debiased_ece: float = _row("debiased ECE (squared)")  # squared L2, may be negative
    adaptive_ece: float = _row("adaptive ECE", share=True)  # equal mass
    classwise_ece: float = _row("classwise ECE", share=True)  # mean over classes of the ECE of p_k: about 1/K of the top-label figure
    ece_sweep: float = _row("ECE sweep", share=True)  # equal mass, as many bins as keep accuracy monotone
    smooth_ece: float = _row("smooth ECE", share=True, of=_smooth)  # kernel, no bins
    entropy: float = _row("entropy (nats)")  # mean over predictions


def report(logits: Values, labels: Values, n_bins: int = 15, temperature: float = 1.0) -> Report:
    """Return all figures at logits / temperature, in one pass over the logits.

    The binned errors are those of `Reliability` with equal widths. `nll` comes from log-softmax, without an epsilon. `adaptive_ece` has
    equal-mass bins, which split no ties; `classwise_ece` (Kull 2019) is (1/K) sum_k sum_m w |mean 1[y=k] - mean p_k| over equal-width bins
    of p_k; `ece_sweep` (Roelofs 2022) stops before the first number of equal-mass bins, at most 1,000, whose accuracies are not monotone;
    `smooth_ece` is smECE (Błasiok & Nakkiran 2023): Gaussian kernel reflected at 0 and 1, at the bandwidth that equals the error.

    Exponentials are float64 up to half a million logits and float32 above, which agree to 1e-7. Sums over rows are float64 either way,
    and so is every decision on which side of an edge a confidence lies.

    Args:
        logits: (N, K) float.
        labels: (N,) integers in 0 .. K - 1.
        n_bins: of the binned errors.
        temperature: > 0.

    Raises:
        ValueError, TypeError: see :mod:`mixkd.arrays`.
    """
    z = as_floats(logits, "logits", 2, classes=2)
    n, k = z.shape
    y = as_labels(labels, (n,), k)
    beta, m = 1 / as_temperature(temperature), as_count(n_bins, "n_bins")
    dtype = torch.float64 if n * k <= _DOUBLE else torch.float32
    x_label, others, squares, moment = np.empty((4, n))  # per row, all over the classes that are not predicted
    predicted = np.empty(n, np.int64)
    ones = np.ones(k, np.float32 if dtype == torch.float32 else np.float64)
    cells = np.zeros(k * m)  # by (class, bin of p_k): sum of 1[y = k] minus sum of p_k
    for rows, x, e, top in exponentials(z, beta, dtype):
        at = np.arange(0, x.size, k)
        predicted[rows] = top
        x_label[rows] = x.take(at + y[rows])
        e.put(at + top, 0)  # this term is exactly 1: without it the sums keep their relative precision
        others[rows] = e @ ones
        squares[rows], moment[rows] = dot(e, e), dot(e, x)
        # Nearly all N K probabilities lie in the lowest bin; those above 1 / n_bins move, and their squares give them away.
        c = 1 / (1 + others[rows])
        cells[::m] -= c.astype(e.dtype) @ e
        some = np.flatnonzero(squares[rows] * (m * c) ** 2 > 1 - 1e-5)
        column, high = _above(e, c, m) if 2 * some.size > len(e) else _above(e[some], c[some], m)
        np.add.at(cells, column * m, high)
        np.subtract.at(cells, column * m + bin_of(high, m), high)
    x_label *= beta
    conf, log_sum, e_label = 1 / (1 + others), np.log1p(others), np.exp(x_label)
    if dtype == torch.float32:
        border = np.flatnonzero(near_edge(conf, m))
        conf[border] = exact_confidence(z, border, np.full(border.size, beta))
    cells += np.bincount(y * m + bin_of(e_label * conf, m), minlength=k * m)
    cells -= np.bincount(predicted * m + bin_of(conf, m), conf, k * m)
    hit = (predicted == y).astype(np.float64)
    by_width = fill(conf, hit, m)
    order = np.argsort(conf)
    sorted_conf, sorted_hit = conf[order], hit[order]
    reach, residual = _tie_reach(sorted_conf), np.append(0, np.cumsum(sorted_conf - sorted_hit))
    by_mass = _mass_bounds(reach, m)
    monotone = _monotone_bounds(reach, np.append(0, np.cumsum(sorted_hit)))
    return Report(
        n=n,
        accuracy=float(sorted_hit.mean()),
        confidence=float(sorted_conf.mean()),
        nll=float((log_sum - x_label).mean()),
        brier=float((((1 + squares) * conf - 2 * e_label) * conf + 1).mean()),
        **{name: v for name, v in by_width.errors.items() if name != "mce_count"},
        mce_count=by_width.mce_count,
        adaptive_ece=float(np.abs(np.diff(residual[by_mass])).sum()) / n,
        classwise_ece=float(np.abs(cells).sum()) / (n * k),
        ece_sweep=float(np.abs(np.diff(residual[monotone])).sum()) / n,
        entropy=float((log_sum - moment * conf * beta).mean()),
        **{figure.name: of(sorted_conf, sorted_hit) for figure in fields(Report) if (of := figure.metadata.get("of"))},
    )


@dataclass(frozen=True)
class NoiseFloor:
    """ECE and OE of a perfectly calibrated model: mean over draws, and the 95th percentile, which a real error must exceed."""

    n: int
    ece: float
    ece_high: float
    oe: float
    oe_high: float


def noise_floor(predictions: Values, n: int | None = None, n_bins: int = 15, draws: int = 1000, seed: int = 0) -> NoiseFloor:
    """Return the ECE and OE that chance alone gives to perfectly calibrated predictions, with hits drawn as Bernoulli(confidence).

    Args:
        predictions: confidences (N,) in [0, 1], or logits (N, K).
        n: number of predictions; another than N keeps the histogram (n evenly spaced quantiles are taken).
        n_bins: of equal width.
        draws: of all hits.
        seed: of the draws.

    Raises:
        ValueError, TypeError: see :mod:`mixkd.arrays`.
    """
    given = as_array(predictions)
    if given.ndim == 2:
        conf = confidences(given)[0]
    else:
        conf = as_numbers(given, "predictions")
        # a softmax in single precision may exceed 1 by rounding
        if conf.size == 0 or not ((conf >= 0) & (conf <= 1 + 1e-6)).all():
            raise ValueError("predictions must be logits (N, K) or one or more confidences (N,) in [0, 1]")
        conf = np.minimum(conf, 1.0)
    m, draws = as_count(n_bins, "n_bins"), as_count(draws, "draws")
    size = conf.size if n is None else as_count(n, "n")
    conf = np.sort(conf)[((np.arange(size) + 0.5) * conf.size / size).astype(np.int64)]
    count = np.bincount(bin_of(conf, m), minlength=m)
    count = count[count > 0]
    start = np.concatenate(([0], np.cumsum(count)[:-1]))
    mean = np.add.reduceat(conf, start) / count
    rng, at_once = np.random.default_rng(seed), max(1, (1 << 22) // size)
    found = []
    for done in range(0, draws, at_once):
        hit = rng.random((min(at_once, draws - done), size), dtype=np.float32) < conf
        found.append(binned_errors(count, mean, np.add.reduceat(hit, start, axis=1, dtype=np.int64) / count))
    ece, oe = (np.concatenate([errors[name] for errors in found]) for name in ("ece", "oe"))
    return NoiseFloor(size, float(ece.mean()), float(np.quantile(ece, 0.95)), float(oe.mean()), float(np.quantile(oe, 0.95)))


def _above(e: Array, c: Array, n_bins: int) -> tuple[Array, Array]:
    """Return column and value of the probabilities e * c[:, None] above 1 / n_bins."""
    row, column = np.divmod(np.flatnonzero(e > (1 / (n_bins * c)).astype(e.dtype)[:, None]), e.shape[1])
    return column, e[row, column] * c[row]


def _tie_reach(conf: Array) -> Array:
    """Return, for conf sorted ascending, (N + 1,): the end of the group of equal confidences that place i - 1 lies in; 0 first."""
    ends = np.append(np.flatnonzero(np.diff(conf) > _TIE) + 1, conf.size)
    return np.append(0, np.repeat(ends, np.diff(ends, prepend=0)))


def _mass_bounds(reach: Array, n_bins: int) -> Array:
    """Return 0 and the ends of at most n_bins groups of about equal count that split no ties."""
    bound: Array = reach[(np.arange(n_bins + 1) * (reach.size - 1) + n_bins // 2) // n_bins]
    distinct: Array = bound[np.append(True, bound[1:] > bound[:-1])]
    return distinct


def _monotone_bounds(reach: Array, hits: Array, most: int = 1000) -> list[int] | Array:
    """Return the bounds of the largest number of equal-mass bins before accuracy stops being monotone; hits (N + 1,) summed."""
    n = reach.size - 1
    finest: Array = reach[np.append(True, reach[1:] > reach[:-1])]
    rate = np.diff(hits[finest]) / np.diff(finest)
    if (rate[1:] >= rate[:-1]).all():
        return finest  # then so is every coarser grouping
    best, reach_, hits_ = [0, n], reach.data, hits.data  # a few dozen steps: plain numbers are faster
    for n_bins in range(2, min(most, finest.size) + 1):
        bounds, last = [0], -1.0
        for i in range(1, n_bins + 1):
            start, end = bounds[-1], reach_[(i * n + n_bins // 2) // n_bins]
            if end > start:
                rising = (hits_[end] - hits_[start]) / (end - start)
                if rising < last:
                    return best
                bounds.append(end)
                last = rising
        best = bounds
    return best
