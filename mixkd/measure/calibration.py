"""How far confidence is from accuracy: bins, errors, proper scores, post-hoc temperature, noise floor, intervals.
Refuses to store, print, plot or guess: probabilities cannot be told from logits, so always pass logits.

Conventions, everywhere in this module
- `logits` (N, K), torch or NumPy, any float dtype, finite; `labels` (N,) integers in 0..K-1. Softmax is applied here:
  passing probabilities gives a plausible but wrong answer (they are logits between 0 and 1), and no check can catch it.
- The prediction is the first class that attains the largest logit; confidence is its probability, in [1/K, 1].
- Bins are (lo, hi] on [0, 1]; a confidence of exactly 1 lies in the last bin. Confidences within 1e-9 / n_bins above an
  edge lie on it, so rounding in the softmax never moves a point whose exact confidence is an edge.
- Everything is float64 unless a docstring says otherwise; logits are read in chunks of rows and never copied whole.
- Bad input raises ValueError (shape, range, NaN) or TypeError (dtype), naming what was found and what is allowed.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy.fft import dct
from scipy.optimize import brentq

Array = NDArray[Any]
Logits = torch.Tensor | Array
Binning = Literal["width", "mass"]

TEMPERATURE_BOUNDS = (1e-3, 1e3)  # where `fit_temperature` searches
_CHUNK = 1 << 17  # float64 logits per chunk, twice as many float32: two buffers stay in a core's second-level cache
_DOUBLE = 1 << 19  # logits up to which `report` takes double-precision exponentials unasked
_ON_EDGE = 1e-9  # in units of a bin's width
_TIE = 1e-12  # confidences closer than this are the same confidence
_BORDER = 2e-6  # single-precision confidences this near an edge are recomputed in double precision


# ---------------------------------------------------------------------------------------------------------------- bins


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram: per bin the count, mean confidence and accuracy, and the errors they define.

    `count` (M,) int64; `confidence`, `accuracy` (M,) float64 in [0, 1], both 0 in empty bins (which contribute
    nothing); `edges` (M + 1,) ascending from 0 to 1, bin m is (edges[m], edges[m + 1]]."""

    count: Array
    confidence: Array
    accuracy: Array
    edges: Array

    @classmethod
    def from_bins(cls, count: ArrayLike, accuracy: ArrayLike, confidence: ArrayLike) -> Reliability:
        """The diagram of a published table of equal-width bins; three sequences of one length. Note the order: accuracy
        before confidence, as such tables print it."""
        n, acc, conf = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (count, accuracy, confidence))
        if n.ndim != 1 or not (n.shape == acc.shape == conf.shape):
            raise ValueError(f"count, accuracy, confidence must be equally long; got {n.size}, {acc.size}, {conf.size}")
        if not np.all(np.isfinite(n)) or n.min(initial=0) < 0 or np.any(n != np.rint(n)) or n.sum() == 0:
            raise ValueError("count must hold non-negative whole numbers, not all 0")
        for name, value in (("accuracy", acc), ("confidence", conf)):
            if not np.all((value[n > 0] >= 0) & (value[n > 0] <= 1)):
                raise ValueError(f"{name} must lie in [0, 1] in every bin that is not empty")
        conf, acc = np.where(n > 0, conf, 0.0), np.where(n > 0, acc, 0.0)
        return cls(n.astype(np.int64), conf, acc, np.linspace(0, 1, n.size + 1))

    @classmethod
    def from_confidences(cls, confidence: ArrayLike, correct: ArrayLike, n_bins: int = 15, binning: Binning = "width") -> Reliability:
        """The diagram of confidences (N,) in [0, 1] and hits (N,) in {0, 1}; `binning` as in `reliability`."""
        conf, hit = np.asarray(confidence, dtype=np.float64), np.asarray(correct).astype(np.float64)
        if conf.ndim != 1 or conf.shape != hit.shape or conf.size == 0:
            raise ValueError(f"confidence and correct must be (N,), N >= 1; got {conf.shape} and {hit.shape}")
        if not np.all((hit == 0) | (hit == 1)):
            raise ValueError("correct must hold only 0 and 1")
        return _bin(_checked_confidence(conf), hit, _checked_bins(n_bins), _checked_binning(binning))

    @cached_property
    def n(self) -> int:
        """Number of predictions, N."""
        return int(self.count.sum())

    @cached_property
    def errors(self) -> dict[str, float]:
        """All errors below by name, and `mce_count`, the number of predictions in the bin that sets `mce`."""
        return {k: v.item() for k, v in _errors(self.count, self.confidence, self.accuracy).items()}

    @property
    def ece(self) -> float:
        """Expected calibration error, sum w |conf - acc| (Naeini 2015; Guo 2017); = over + under."""
        return self.errors["ece"]

    @property
    def oe(self) -> float:
        """Overconfidence error, sum w conf max(conf - acc, 0) (Thulasidasan 2019); <= over <= 1 - accuracy. It is 0 for
        a model that is underconfident in every bin: read it beside `ue`."""
        return self.errors["oe"]

    @property
    def ue(self) -> float:
        """Underconfidence error, sum w conf max(acc - conf, 0): the mirror of `oe` (our definition, not standard)."""
        return self.errors["ue"]

    @property
    def over(self) -> float:
        """The overconfident part of ECE, sum w max(conf - acc, 0)."""
        return self.errors["over"]

    @property
    def under(self) -> float:
        """The underconfident part of ECE, sum w max(acc - conf, 0)."""
        return self.errors["under"]

    @property
    def gap(self) -> float:
        """Mean confidence - accuracy = over - under, signed; |gap| <= ece for any binning."""
        return self.errors["gap"]

    @property
    def mce(self) -> float:
        """Maximum calibration error over non-empty bins; often set by a tiny bin, so read `mce_count` with it."""
        return self.errors["mce"]

    @property
    def mce_count(self) -> int:
        """Number of predictions in the bin that sets `mce`."""
        return int(self.errors["mce_count"])

    @property
    def debiased_ece(self) -> float:
        """Debiased *squared* L2 error, sum w [(acc - conf)^2 - acc (1 - acc) / (n - 1)] over bins with n >= 2 (Bröcker
        2012; Kumar 2019). Unbiased around 0 for a calibrated model, hence sometimes negative: the sign is kept, no root
        is taken."""
        return self.errors["debiased_ece"]


def reliability(logits: Logits, labels: Logits, n_bins: int = 15, binning: Binning = "width", temperature: float = 1.0) -> Reliability:
    """Reliability bins of top-label confidence at logits / temperature.

    `binning="width"`: n_bins of equal width. `"mass"`: at most n_bins of equal count; equal confidences always share a
    bin (the bin that the first of them falls in), so the result does not depend on row order and a constant predictor
    gives |c - acc|."""
    z, y = _checked(logits, labels)
    beta, m, how = 1 / _checked_temperature(temperature), _checked_bins(n_bins), _checked_binning(binning)
    conf, predicted = _confidences(z, beta)
    return _bin(conf, (predicted == y).astype(np.float64), m, how)


def confidences(logits: Logits, temperature: float = 1.0) -> tuple[Array, Array]:
    """Confidence (N,) float64 and predicted class (N,) int64 at logits / temperature."""
    return _confidences(_checked_logits(logits), 1 / _checked_temperature(temperature))


# -------------------------------------------------------------------------------------------------------------- report


@dataclass(frozen=True)
class Report:
    """Every calibration figure of one set of predictions; see `report`."""

    n: int
    accuracy: float
    confidence: float  # mean top-label confidence
    nll: float  # nats, -mean log p_y
    brier: float  # sum over classes, in [0, 2]
    ece: float
    oe: float
    ue: float
    over: float
    under: float
    gap: float  # confidence - accuracy
    mce: float
    mce_count: int
    debiased_ece: float  # squared L2, may be negative
    adaptive_ece: float  # equal mass
    classwise_ece: float  # mean over classes of the ECE of p_k: about 1/K of the top-label figure, not comparable to it
    ece_sweep: float  # equal mass, as many bins as keep accuracy monotone
    smooth_ece: float  # kernel, no bins
    entropy: float  # mean predictive entropy, nats


def report(
    logits: Logits,
    labels: Logits,
    n_bins: int = 15,
    temperature: float = 1.0,
    *,
    dtype: torch.dtype | None = None,
) -> Report:
    """All figures at logits / temperature in one pass over the logits.

    The binned errors are those of `Reliability` with equal widths. `nll` comes from log-softmax, without an epsilon.
    `adaptive_ece` has equal-mass bins; `classwise_ece` (Kull 2019) is (1/K) sum_k sum_m w |mean 1[y=k] - mean p_k| over
    equal-width bins of p_k; `ece_sweep` (Roelofs 2022) stops before the first number of equal-mass bins, at most 1,000,
    whose accuracies are not monotone; `smooth_ece` is smECE (Błasiok & Nakkiran 2023): Gaussian kernel reflected at 0
    and 1, at the bandwidth that equals the error.

    `dtype` is that of the exponentials: by default float64 up to half a million logits and float32 above. Sums over rows are
    float64 either way, and so is every decision on which side of an edge a confidence lies; the two agree to 1e-7."""
    if dtype not in (None, torch.float64, torch.float32):
        raise TypeError(f"dtype must be torch.float64 or torch.float32; got {dtype}")
    z, y = _checked(logits, labels)
    beta, m = 1 / _checked_temperature(temperature), _checked_bins(n_bins)
    n, k = z.shape
    if dtype is None:
        dtype = torch.float64 if n * k <= _DOUBLE else torch.float32
    x_label, others, squares, moment = np.empty((4, n))  # per row, all over the classes that are not predicted
    predicted = np.empty(n, np.int64)
    ones = np.ones(k, np.float32 if dtype == torch.float32 else np.float64)
    cells = np.zeros(k * m)  # by (class, bin of p_k): sum of 1[y = k] minus sum of p_k
    for rows, x, e, top in _exponentials(z, beta, dtype):
        at = np.arange(0, x.size, k)
        predicted[rows] = top
        x_label[rows] = x.take(at + y[rows])
        e.put(at + top, 0)  # this term is exactly 1: without it the sums keep their relative precision
        others[rows] = e @ ones
        squares[rows], moment[rows] = _dot(e, e), _dot(e, x)
        # Nearly all N K probabilities lie in the lowest bin; those above 1 / n_bins move, and their squares give them away.
        c = 1 / (1 + others[rows])
        cells[::m] -= c.astype(e.dtype) @ e
        some = np.flatnonzero(squares[rows] * (m * c) ** 2 > 1 - 1e-5)
        column, high = _above(e, c, m) if 2 * some.size > len(e) else _above(e[some], c[some], m)
        np.add.at(cells, column * m, high)
        np.subtract.at(cells, column * m + _bin_of(high, m), high)
    x_label *= beta
    conf, log_sum, e_label = 1 / (1 + others), np.log1p(others), np.exp(x_label)
    if dtype == torch.float32:
        border = np.flatnonzero(_near_edge(conf, m))
        conf[border] = _exact_confidence(z, border, np.full(border.size, beta))
    cells += np.bincount(y * m + _bin_of(e_label * conf, m), minlength=k * m)
    cells -= np.bincount(predicted * m + _bin_of(conf, m), conf, k * m)
    nll, entropy = (log_sum - x_label).mean(), (log_sum - moment * conf * beta).mean()
    brier = (((1 + squares) * conf - 2 * e_label) * conf + 1).mean()
    hit = (predicted == y).astype(np.float64)
    by_width = _bin(conf, hit, m, "width")
    order = np.argsort(conf)
    conf, hit = conf[order], hit[order]
    reach, residual = _tie_reach(conf), np.append(0, np.cumsum(conf - hit))
    by_mass = _mass_bounds(reach, m)
    monotone = _monotone_bounds(reach, np.append(0, np.cumsum(hit)))
    return Report(
        n=n,
        accuracy=float(hit.mean()),
        confidence=float(conf.mean()),
        nll=float(nll),
        brier=float(brier),
        **{name: v for name, v in by_width.errors.items() if name != "mce_count"},
        mce_count=by_width.mce_count,
        adaptive_ece=float(np.abs(np.diff(residual[by_mass])).sum()) / n,
        classwise_ece=float(np.abs(cells).sum()) / (n * k),
        ece_sweep=float(np.abs(np.diff(residual[monotone])).sum()) / n,
        smooth_ece=_smooth(conf, hit),
        entropy=float(entropy),
    )


# ------------------------------------------------------------------------------------------------- post-hoc temperature


@dataclass(frozen=True, eq=False)
class TemperatureSweep:
    """Figures of `logits / temperatures[i]`: arrays (T,) float64, names as in `Report`; accuracy does not depend on
    temperature."""

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


def temperature_sweep(logits: Logits, labels: Logits, temperatures: ArrayLike, n_bins: int = 15) -> TemperatureSweep:
    """`report(..., temperature=t)` for every t of `temperatures` (T,), any positive values in any order, to 1e-6.

    Only 1 / confidence, the sum of exp(beta x) over logits x <= 0 below the row's largest, is needed at each beta = 1 /
    temperature. As a function of log beta it is smooth whatever the logits, so it is summed at a few Chebyshev nodes
    (about 18 for a factor of 6 in temperature) and interpolated: the cost per logit depends neither on how many
    temperatures are asked nor on their spacing. The share of the second largest logit is taken out first and put back at each
    beta, so that the rounding of a node where the sum is large does not reach one where it is small. Exponentials are float32,
    sums over rows float64, and confidences near a bin's edge are redone in float64."""
    z, y = _checked(logits, labels)
    grid = np.asarray(temperatures, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0:
        raise ValueError(f"temperatures must be a non-empty sequence; got shape {grid.shape}")
    for t in grid:
        _checked_temperature(t)
    m, n, k, size, beta = _checked_bins(n_bins), z.shape[0], z.shape[1], grid.size, 1 / grid
    nodes, weights = _interpolation(beta, k)
    count, total = np.zeros(size * 2 * m), np.zeros(size * 2 * m)  # by (temperature, hit, bin)
    log_sum, label_sum, hits = np.zeros(size), 0.0, 0
    ones, inverse = torch.ones(k), torch.from_numpy(beta).float()
    for rows, x, top in _shifted(z, torch.float32, per_row=max(k, 4 * size)):
        at, hit = np.arange(0, x.size, k), top == y[rows]
        label_sum += float(x.take(at + y[rows]).sum(dtype=np.float64))
        hits += int(hit.sum())
        x.put(at + top, -np.inf)
        shifted = torch.from_numpy(x)
        second = shifted.amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).min)
        shifted -= second
        e, sums = torch.empty_like(shifted), np.empty((len(nodes), len(x)))
        for node, row_sums in zip(nodes, sums, strict=True):
            row_sums[:] = (torch.mul(shifted, node, out=e).exp_() @ ones).numpy()
        scale = torch.mul(second, inverse).exp_().numpy()
        c = 1 / (1 + np.maximum(sums.T @ weights, 0) * scale)
        row, column = np.divmod(np.flatnonzero(_near_edge(c, m)), size)
        c[row, column] = _exact_confidence(z, rows.start + row, beta[column])
        cell = (_bin_of(c, m) + (2 * np.arange(size) + hit[:, None]) * m).ravel()
        count += np.bincount(cell, minlength=count.size)
        total += np.bincount(cell, c.ravel(), count.size)
        log_sum -= torch.from_numpy(c).log_().numpy().sum(0)
    filled, total = count.reshape(size, 2, m), total.reshape(size, 2, m).sum(1)
    inside = filled.sum(1)
    errors = _errors(inside, total / np.maximum(inside, 1), filled[:, 1] / np.maximum(inside, 1))
    errors |= {"confidence": total.sum(1) / n, "nll": (log_sum - beta * label_sum) / n}
    names = ("confidence", "nll", "ece", "oe", "ue", "over", "under", "gap", "mce")
    return TemperatureSweep(grid.copy(), hits / n, **{name: errors[name] for name in names})


def fit_temperature(logits: Logits, labels: Logits) -> float:
    """The temperature in `TEMPERATURE_BOUNDS` that minimises NLL: safeguarded Newton on beta = 1 / temperature, in
    which NLL is convex.

    Exact at the ends: if every prediction is right, NLL falls as temperature falls to 0 and the lower bound is returned
    (nothing can be fitted on separable data); if labels are no likelier than chance under the logits, the upper bound.
    Fit on validation data and report on other data."""
    z, y = _checked(logits, labels)
    slope, all_right = 0.0, True
    for rows, x, _ in _shifted(z, torch.float64):
        slope += float((x.mean(1) - x[np.arange(len(x)), y[rows]]).sum())
        all_right &= bool((x[np.arange(len(x)), y[rows]] == 0).all())
    coldest, hottest = TEMPERATURE_BOUNDS
    if all_right:
        return coldest
    if slope >= 0:
        return hottest
    low, high, beta = 1 / hottest, 1 / coldest, 1.0
    while high > low * (1 + 1e-12):
        _, first, second = _nll(z, y, beta)
        low, high = (low, beta) if first > 0 else (beta, high)
        step = -first / second if second > 0 else math.inf
        if abs(step) < 1e-7:  # Newton squares the error: after this step it is below 1e-13
            return 1 / (beta * (1 + step))
        beta = beta * (1 + step) if low < beta * (1 + step) < high else math.sqrt(low * high)
    return 1 / beta


REACH = (0.05, 20.0)
"""Temperatures beyond these make answers of ordinary logits one-hot, or all alike."""


def unfit(logits: Logits, labels: Logits, temperature: float) -> str:
    """Return why a temperature that was fitted on these rows says nothing about others; an empty string where it may.

    With no error among them NLL falls for ever as the temperature falls to 0, and with one it is that row that decides.
    """
    z, y = _checked(logits, labels)
    errors = sum(int((x.argmax(1) != y[rows]).sum()) for rows, x, _ in _shifted(z, torch.float64))
    if errors < 2:
        return f"{errors or 'no'} error{'s' * (errors == 0)} among {len(y)} rows cannot tell a temperature"
    if not REACH[0] <= temperature <= REACH[1]:
        return (
            f"the temperature {temperature:.3g} fitted on {len(y)} rows with {errors} errors is out of reach ({REACH[0]:g} to {REACH[1]:g})"
        )
    return ""


@dataclass(frozen=True)
class Split:
    """NLL (nats) = calibration + refinement; see `split`."""

    temperature: float
    nll: float
    calibration: float
    refinement: float


def split(
    logits: Logits,
    labels: Logits,
    temperature: float | None = None,
    *,
    validation: tuple[Logits, Logits] | None = None,
) -> Split:
    """Splits NLL into what one temperature repairs, NLL - NLL(T), and the rest, refinement = NLL(T), which no rescaling
    of the logits changes (Berta et al. 2025).

    T is `temperature`, or fitted on `validation` = (logits, labels), or, with neither, on the data itself (then
    calibration >= 0; with a T from elsewhere it can be slightly negative, and is left so)."""
    if temperature is not None and validation is not None:
        raise ValueError("give temperature or validation, not both")
    if temperature is None:
        temperature = fit_temperature(*(validation or (logits, labels)))
    z, y = _checked(logits, labels)
    nll, refinement = _nll(z, y, 1.0)[0], _nll(z, y, 1 / _checked_temperature(temperature))[0]
    return Split(float(temperature), nll, nll - refinement, refinement)


# --------------------------------------------------------------------------------------------------------- uncertainty


@dataclass(frozen=True)
class NoiseFloor:
    """ECE and OE of a perfectly calibrated model: mean over draws, and the quantile `level` that a real error must
    exceed."""

    n: int
    level: float
    ece: float
    ece_high: float
    oe: float
    oe_high: float


def noise_floor(
    predictions: Logits,
    n: int | None = None,
    n_bins: int = 15,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> NoiseFloor:
    """ECE and OE (equal width) that chance alone gives to `n` perfectly calibrated predictions, hits drawn as
    Bernoulli(confidence).

    `predictions` are confidences (N,) or logits (N, K). Another `n` than N keeps the histogram: n evenly spaced
    quantiles are taken."""
    if np.ndim(predictions) == 2:
        conf = confidences(predictions)[0]
    else:
        given = predictions if isinstance(predictions, torch.Tensor) else np.asarray(predictions)
        if given.ndim != 1 or len(given) == 0:
            raise ValueError(f"predictions must be confidences (N,) or logits (N, K); got shape {tuple(given.shape)}")
        conf = _checked_confidence(_as_rows(given, slice(None)).astype(np.float64))
    m, size = _checked_bins(n_bins), conf.size if n is None else _checked_count("n", n)
    _checked_count("draws", draws), _checked_level(level)
    conf = np.sort(conf)[((np.arange(size) + 0.5) * conf.size / size).astype(np.int64)]
    count = np.bincount(_bin_of(conf, m), minlength=m)
    full = count > 0
    count = count[full]
    start = np.concatenate(([0], np.cumsum(count)[:-1]))
    mean = np.add.reduceat(conf, start) / count
    rng, at_once = np.random.default_rng(seed), max(1, (1 << 22) // size)
    ece, oe = [], []
    for done in range(0, draws, at_once):
        hit = rng.random((min(at_once, draws - done), size), dtype=np.float32) < conf
        errors = _errors(count, mean, np.add.reduceat(hit, start, axis=1, dtype=np.int64) / count)
        ece.append(errors["ece"])
        oe.append(errors["oe"])
    (ece_mean, ece_high), (oe_mean, oe_high) = (
        (float(v.mean()), float(np.quantile(v, level))) for v in (np.concatenate(ece), np.concatenate(oe))
    )
    return NoiseFloor(size, level, ece_mean, ece_high, oe_mean, oe_high)


@dataclass(frozen=True)
class Corrected:
    """A binned error with a bias-corrected estimate and interval. `plain` is the figure that `reliability` gives; noise
    biases it upwards, so it may lie above `high`."""

    plain: float
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Bootstrap:
    """Intervals of the binned errors; `n` is the number of units resampled (images or groups)."""

    n: int
    level: float
    ece: Corrected
    oe: Corrected
    ue: Corrected
    over: Corrected
    under: Corrected
    gap: Corrected


def bootstrap(
    logits: Logits,
    labels: Logits,
    n_bins: int = 15,
    draws: int = 1000,
    level: float = 0.95,
    groups: Logits | None = None,
    temperature: float = 1.0,
    seed: int = 0,
) -> Bootstrap:
    """Bootstrap intervals of the equal-width errors over images, from sums per (bin, hit): no logit is touched twice.

    Without `groups`, counts per (bin, hit) are drawn as one multinomial and the confidences inside a cell by a normal
    term. With `groups` (N,) of integers, rows of one group (several noise draws of one image) are resampled together.

    |.| turns noise into error, so percentile intervals sit too high. Here the bootstrap gives the noise of the bins'
    residuals d only, and the interval is found by inversion: every d is moved by t of its standard errors (t > 0
    towards more error, t < 0 towards none), the noise is added, and `low`, `estimate` and `high` are the errors of those
    moved residuals under which the observed figure is the upper quantile, the median and the lower quantile."""
    z, y = _checked(logits, labels)
    m = _checked_bins(n_bins)
    _checked_count("draws", draws), _checked_level(level)
    conf, predicted = _confidences(z, 1 / _checked_temperature(temperature))
    hit = predicted == y
    cell = _bin_of(conf, m) + m * hit
    rng = np.random.default_rng(seed)
    if groups is None:
        units, count = conf.size, np.bincount(cell, minlength=2 * m)
        mean = np.bincount(cell, conf, 2 * m) / np.maximum(count, 1)
        spread = np.sqrt(np.bincount(cell, (conf - mean[cell]) ** 2, 2 * m) / np.maximum(count, 1))
        n_drawn = rng.multinomial(conf.size, count / conf.size, size=draws).astype(np.float64)
        c_drawn = n_drawn * mean + np.sqrt(n_drawn) * spread * rng.standard_normal((draws, 2 * m))
    else:
        g = np.unique(_checked_integers("groups", groups, conf.size), return_inverse=True)[1]
        units = int(g.max()) + 1
        at = g * 2 * m + cell
        sums = np.hstack([np.bincount(at, w, units * 2 * m).reshape(units, -1) for w in (None, conf)])
        drawn, at_once = [], max(1, (1 << 22) // units)
        for done in range(0, draws, at_once):
            d = min(at_once, draws - done)
            pick = rng.integers(units, size=(d, units)) + units * np.arange(d)[:, None]
            drawn.append(np.bincount(pick.ravel(), minlength=d * units).reshape(d, units) @ sums)
        n_drawn, c_drawn = np.split(np.concatenate(drawn), 2, axis=1)
    in_bin, hits, total = n_drawn[:, :m] + n_drawn[:, m:], n_drawn[:, m:], c_drawn[:, :m] + c_drawn[:, m:]
    residual = (total - hits) / in_bin.sum(1, keepdims=True)
    observed = _bin(conf, hit.astype(np.float64), m, "width")
    d = observed.count / conf.size * (observed.confidence - observed.accuracy)
    noise, s = residual - residual.mean(0), residual.std(0)
    tail = (1 - level) / 2
    shifts = np.linspace(-4, 4, 33)[:, None] * s
    shrunk = np.sign(d) * np.maximum(np.abs(d) + shifts, 0)
    upward, downward = (np.where(shifts < 0, shrunk, d + shifts * sign) for sign in (1, -1))
    one, both = np.ones((m, 1)), np.stack([np.ones(m), observed.confidence], axis=1)
    rules: tuple[tuple[tuple[str, ...], Array, Callable[..., Array], Array], ...] = (
        (("ece",), shrunk, np.abs, one),
        (("over", "oe"), upward, _positive, both),
        (("under", "ue"), downward, _negative, both),
        (("gap",), d + shifts, np.positive, one),
    )
    found: dict[str, Corrected] = {}
    noisy = np.empty((len(shifts), draws, m))  # one buffer for all: fresh memory would cost more than the arithmetic
    for names, moved, part, weights in rules:
        np.add(moved[:, None], noise, out=noisy)
        errors: Array = part(noisy, out=noisy) @ weights
        for name, its, weight in zip(names, np.moveaxis(errors, 2, 0), weights.T, strict=True):
            plain, truth = float(part(d) @ weight), part(moved) @ weight
            seen = np.quantile(its, [1 - tail, 0.5, tail], axis=1)
            low, middle, high = (float(np.interp(plain, np.maximum.accumulate(q), truth)) for q in seen)
            found[name] = Corrected(plain, middle, low, high)
    return Bootstrap(units, level, **found)


# ------------------------------------------------------------------------------------------------------------ internals


def _positive(x: Array, out: Array | None = None) -> Array:
    part: Array = np.maximum(x, 0, out=out)
    return part


def _negative(x: Array, out: Array | None = None) -> Array:
    return _positive(np.negative(x, out=out), out)


def _weighted(d: Array, conf: Array) -> dict[str, Array]:
    """The errors linear in |d|, for residuals d = w (conf - acc) and mean confidences conf, both (..., M)."""
    up, down = np.maximum(d, 0), np.maximum(-d, 0)
    over, under = up.sum(-1), down.sum(-1)
    oe, ue = (up * conf).sum(-1), (down * conf).sum(-1)
    return {"ece": over + under, "oe": oe, "ue": ue, "over": over, "under": under, "gap": over - under}


def _errors(count: Array, confidence: Array, accuracy: Array) -> dict[str, Array]:
    """All binned errors over the last axis; see the properties of `Reliability`."""
    distance = confidence - accuracy
    weight = count / count.sum(-1, keepdims=True)
    apart = np.where(count > 0, np.abs(distance), -1.0)
    worst = apart.argmax(-1)[..., None]
    noise = accuracy * (1 - accuracy) / np.maximum(count - 1, 1)
    squared = np.where(count > 1, weight * (distance**2 - noise), 0.0).sum(-1)
    return {
        **_weighted(weight * distance, confidence),
        "mce": np.take_along_axis(apart, worst, -1)[..., 0],
        "mce_count": np.take_along_axis(np.broadcast_to(count, apart.shape), worst, -1)[..., 0],
        "debiased_ece": squared,
    }


def _bin_of(p: Array, n_bins: int) -> Array:
    """Equal-width bin of each probability, int64."""
    bins: Array = np.ceil(p * n_bins - _ON_EDGE).astype(np.int64) - 1
    return np.minimum(np.maximum(bins, 0, out=bins), n_bins - 1, out=bins)


def _near_edge(p: Array, n_bins: int) -> Array:
    """Whether single precision may have put p into a neighbouring bin; 0 and 1 are no such edges."""
    place = p * n_bins
    edge = np.rint(place)
    place -= edge
    near: Array = np.abs(place, out=place) < _BORDER * n_bins
    near &= edge < n_bins  # an edge of 0 needs p below the border, where nothing changes bin
    return near


def _bin(conf: Array, hit: Array, n_bins: int, binning: Binning) -> Reliability:
    if binning == "mass":
        order = np.argsort(conf)
        return _equal_mass(conf[order], hit[order], n_bins)
    cell = _bin_of(conf, n_bins)
    count = np.bincount(cell, minlength=n_bins)
    total, hits = np.bincount(cell, conf, n_bins), np.bincount(cell, hit, n_bins)
    full = np.maximum(count, 1)
    return Reliability(count, total / full, hits / full, np.linspace(0, 1, n_bins + 1))


def _tie_reach(conf: Array) -> Array:
    """For conf sorted ascending, (N + 1,): the end of the group of equal confidences that place i - 1 lies in; 0
    first."""
    ends = np.append(np.flatnonzero(np.diff(conf) > _TIE) + 1, conf.size)
    return np.append(0, np.repeat(ends, np.diff(ends, prepend=0)))


def _mass_bounds(reach: Array, n_bins: int) -> Array:
    """0 and the ends of at most n_bins groups of about equal count that split no ties."""
    bound: Array = reach[(np.arange(n_bins + 1) * (reach.size - 1) + n_bins // 2) // n_bins]
    distinct: Array = bound[np.append(True, bound[1:] > bound[:-1])]
    return distinct


def _equal_mass(conf: Array, hit: Array, n_bins: int) -> Reliability:
    bound = _mass_bounds(_tie_reach(conf), n_bins)
    count = np.diff(bound)
    mean, rate = np.add.reduceat(conf, bound[:-1]) / count, np.add.reduceat(hit, bound[:-1]) / count
    return Reliability(count, mean, rate, np.concatenate(([0.0], conf[bound[1:-1] - 1], [1.0])))


def _monotone_bounds(reach: Array, hits: Array, most: int = 1000) -> list[int] | Array:
    """The bounds of the largest number of equal-mass bins before accuracy stops being monotone; hits (N + 1,) summed."""
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


def _smooth(conf: Array, hit: Array) -> float:
    """smECE: integral of |residual * reflected Gaussian(sigma)| at the sigma in [0.001, 1] that equals it.

    The residuals' cosine series is the reflected density; smoothing multiplies its terms by exp(-(pi k sigma)^2 /
    2)."""
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


def _as_rows(values: Logits, rows: Any) -> Array:
    """Some rows as a contiguous float32 or float64 array, half precisions widened; no copy where none is needed."""
    part = values[rows]
    if isinstance(part, torch.Tensor):
        part = (part.detach().float() if part.dtype.itemsize < 4 else part.detach()).cpu().numpy()
    return np.ascontiguousarray(part, np.float32 if part.dtype.itemsize <= 4 else np.float64)


def _shifted(z: Logits, dtype: torch.dtype, per_row: int | None = None) -> Iterator[tuple[slice, Array, Array]]:
    """Chunks of rows: (slice, logits minus their row's largest (R, K) in one reused buffer, prediction (R,))."""
    n, k = z.shape
    step = max(1, _CHUNK * (8 // dtype.itemsize) // (per_row or k))
    buffer = torch.empty((min(step, n), k), dtype=dtype)
    own = buffer.numpy().dtype
    for start in range(0, n, step):
        rows = slice(start, min(start + step, n))
        part = _as_rows(z, rows)
        x = buffer[: len(part)]
        top = part.argmax(1)
        largest = torch.from_numpy(part.take(np.arange(len(part)) * k + top))[:, None]
        if part.dtype == own and part.flags.writeable:  # a read-only array cannot be lent to torch
            torch.sub(torch.from_numpy(part), largest, out=x)
        elif part.dtype == np.float64:
            with np.errstate(over="ignore", invalid="ignore"):
                np.subtract(part, largest.numpy(), out=x.numpy(), casting="same_kind")
        else:
            np.copyto(x.numpy(), part)
            x -= largest
        if not (part.min() > -1e37 and largest.max() < 1e37):  # also where nan; 1e37: differences still fit float32
            _bound(part, x.numpy(), start)
        yield rows, x.numpy(), top


def _bound(part: Array, x: Array, start: int) -> None:
    """Raises on non-finite logits; differences beyond the dtype's range become its largest."""
    bad = np.flatnonzero(~np.isfinite(part).all(1))
    if bad.size:
        row = part[bad[0]]
        raise ValueError(f"logits must be finite; row {start + bad[0]} holds {row[~np.isfinite(row)][0]}")
    np.maximum(x, np.finfo(x.dtype).min / (2 * x.shape[1]), out=x)


def _dot(a: Array, b: Array) -> Array:
    """Row by row products of (n, k) and (n, k); what NumPy 2 calls vecdot."""
    product: Array = np.einsum("nk,nk->n", a, b)
    return product


def _exponentials(z: Logits, beta: float, dtype: torch.dtype) -> Iterator[tuple[slice, Array, Array, Array]]:
    """As `_shifted`, with exp(beta x) as third item, in a second reused buffer."""
    out: torch.Tensor | None = None
    for rows, x, top in _shifted(z, dtype):
        shifted = torch.from_numpy(x)
        out = torch.empty_like(shifted) if out is None else out
        e = out[: len(x)]
        if beta == 1:
            torch.exp(shifted, out=e)
        else:
            torch.mul(shifted, beta, out=e).exp_()
        yield rows, x, e.numpy(), top


def _above(e: Array, c: Array, n_bins: int) -> tuple[Array, Array]:
    """Column and value of the probabilities e * c[:, None] above 1 / n_bins."""
    row, column = np.divmod(np.flatnonzero(e > (1 / (n_bins * c)).astype(e.dtype)[:, None]), e.shape[1])
    return column, e[row, column] * c[row]


def _confidences(z: Logits, beta: float) -> tuple[Array, Array]:
    conf, predicted = np.empty(len(z)), np.empty(len(z), np.int64)
    for rows, x, e, top in _exponentials(z, beta, torch.float64):
        e[np.arange(len(x)), top] = 0
        conf[rows], predicted[rows] = 1 / (1 + e @ np.ones(x.shape[1])), top
    return conf, predicted


def _exact_confidence(z: Logits, rows: Array, beta: Array) -> Array:
    """Confidence of the given rows, each at its own beta, in double precision."""
    conf = np.empty(rows.size)
    step = max(1, _CHUNK // z.shape[1])
    for start in range(0, rows.size, step):
        part = _as_rows(z, rows[start : start + step]).astype(np.float64)
        top = part.argmax(1)[:, None]
        part -= np.take_along_axis(part, top, 1)
        part *= beta[start : start + step, None]
        np.exp(part, out=part)
        np.put_along_axis(part, top, 0, 1)
        conf[start : start + step] = 1 / (1 + part @ np.ones(z.shape[1]))
    return conf


def _nll(z: Logits, y: Array, beta: float) -> tuple[float, float, float]:
    """NLL of beta z, and its first and second derivatives in beta times beta and beta squared."""
    value = first = second = 0.0
    for rows, x, e, top in _exponentials(z, beta, torch.float64):
        at = np.arange(len(x))
        e[at, top] = 0
        others = e @ np.ones(x.shape[1])
        c = 1 / (1 + others)
        x_label = x[at, y[rows]] * beta
        mean = _dot(e, x) * c * beta
        value += float((np.log1p(others) - x_label).sum())
        first += float((mean - x_label).sum())
        e *= x
        second += float((_dot(e, x) * c * beta**2 - mean**2).sum())
    return value / len(z), first / len(z), second / len(z)


def _interpolation(beta: Array, k: int, left_out: float = 1e-7) -> tuple[Array, Array]:
    """Nodes (n,) and weights (n, T) such that values at the nodes @ weights are sums of k terms exp(beta x), x <= 0, at beta.

    exp(x e^s) is at most 1 where |Im s| <= pi / 2, whatever x: its Chebyshev interpolant in s = log(beta) on an interval
    of half width h errs by at most 4 rho^-n / (rho - 1) with rho = a + sqrt(a^2 + 1), a = pi / (2 h) (Trefethen 2013,
    theorem 8.2). Where that needs as many nodes as there are betas, the betas are the nodes."""
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


# ----------------------------------------------------------------------------------------------------------- validation


def _checked_logits(logits: Logits) -> Logits:
    z = logits if isinstance(logits, torch.Tensor) else np.asarray(logits)
    floating = z.is_floating_point() if isinstance(z, torch.Tensor) else np.issubdtype(z.dtype, np.floating)
    if not floating:
        raise TypeError(f"logits must be floating point; got {z.dtype}")
    if z.ndim != 2 or z.shape[0] < 1 or z.shape[1] < 2:
        raise ValueError(f"logits must be (N, K) with N >= 1 rows and K >= 2 classes; got {tuple(z.shape)}")
    return z


def _checked_integers(name: str, values: Logits, n: int) -> Array:
    v = values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    if not np.issubdtype(v.dtype, np.integer):
        raise TypeError(f"{name} must be integers; got {v.dtype}")
    if v.shape != (n,):
        raise ValueError(f"{name} must be ({n},), one per row of the logits; got {v.shape}")
    return v.astype(np.int64, copy=False)


def _checked(logits: Logits, labels: Logits) -> tuple[Logits, Array]:
    z = _checked_logits(logits)
    y = _checked_integers("labels", labels, z.shape[0])
    if y.min() < 0 or y.max() >= z.shape[1]:
        wrong = y.min() if y.min() < 0 else y.max()
        raise ValueError(f"labels must lie in 0..{z.shape[1] - 1} ({z.shape[1]} classes); got {wrong}")
    return z, y


def _checked_temperature(temperature: float) -> float:
    t = float(temperature)
    if not (t > 0 and math.isfinite(t) and math.isfinite(1 / t)):
        raise ValueError(f"temperature must be positive and finite; got {temperature}")
    return t


def _checked_count(name: str, value: int) -> int:
    if isinstance(value, bool) or operator.index(value) < 1:
        raise ValueError(f"{name} must be a whole number >= 1; got {value}")
    return operator.index(value)


def _checked_bins(n_bins: int) -> int:
    return _checked_count("n_bins", n_bins)


def _checked_level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}")
    return float(level)


def _checked_confidence(confidence: Array) -> Array:
    """Confidences in [0, 1]; single-precision softmax may exceed 1 by rounding."""
    if not np.all((confidence >= 0) & (confidence <= 1 + 1e-6)):
        raise ValueError("confidence must lie in [0, 1]")
    return np.minimum(confidence, 1.0)


def _checked_binning(binning: Binning) -> Binning:
    if binning not in ("width", "mass"):
        raise ValueError(f"binning must be 'width' or 'mass'; got {binning!r}")
    return binning
