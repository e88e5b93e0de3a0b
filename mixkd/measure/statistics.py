"""How sure a number is: t intervals over seeds, equivalence, bootstrap over images, families of tests.
Refuses to read records, and to raise where a result is undefined: too few values give nan bounds.

Seeds and images are different sources of chance. Over seeds use t intervals: with 3 to 8 seeds a percentile bootstrap
covers far less than it says. Over images use the bootstrap, with the same images drawn for every arm."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

Array = NDArray[Any]
Verdict = Literal["supported", "not supported", "unresolved"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its two-sided interval; `n` is the number of independent values behind it. Bounds are nan when
    the data cannot give them (fewer than two values, or a value that is not finite)."""

    estimate: float
    low: float
    high: float
    n: int

    @property
    def defined(self) -> bool:
        """Whether there are bounds."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside [low, high]; False if there are no bounds."""
        return value < self.low or value > self.high


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Student's t interval of the mean of independent values (n,), one per seed.

    One value: nan bounds. None, or any that is not finite: nan throughout. No variation: bounds equal to the estimate.
    """
    v = _vector("values", values)
    _checked_level(level)
    if v.size == 0 or not np.isfinite(v).all():
        return Interval(math.nan, math.nan, math.nan, v.size)
    mean = float(v.mean())
    half = _half_width(v, level)
    return Interval(mean, mean - half, mean + half, v.size)


def paired_difference(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """t interval of the mean of a - b; a[i] and b[i] share seed i."""
    a, b = _pair(a, b)
    return t_interval(a - b, level)


def log_ratio_interval(a: ArrayLike, b: ArrayLike, level: float = 0.95, base: float = 10.0) -> Interval:
    """t interval of the mean of log(a / b) over paired seeds, in powers of `base`. A value that is 0 or negative has no
    logarithm: nan throughout (a ratio against 0 is unresolved, not infinite)."""
    a, b = _pair(a, b)
    if not base > 0 or base == 1:
        raise ValueError(f"base must be positive and not 1; got {base}")
    if not ((a > 0) & (b > 0)).all():
        return Interval(math.nan, math.nan, math.nan, a.size)
    return t_interval((np.log(a) - np.log(b)) / math.log(base), level)


def slope_interval(x: ArrayLike, y: ArrayLike, level: float = 0.95) -> Interval:
    """t interval of the least-squares slope of y on x: one slope per seed, then the interval over seeds.

    `x` (T,) with at least two different values, for example log tau; `y` (S, T), one row per seed.
    """
    x_, y_ = _vector("x", x), np.asarray(y, dtype=np.float64)
    if y_.ndim != 2 or y_.shape[1] != x_.size:
        raise ValueError(f"y must be (seeds, {x_.size}) to match x; got {y_.shape}")
    if np.unique(x_).size < 2 or not np.isfinite(x_).all():
        raise ValueError("x must hold at least two different finite values")
    centred = x_ - x_.mean()
    return t_interval(y_ @ centred / (centred @ centred), level)


def jackknife(statistic: Callable[[Sequence[int]], float], n: int, level: float = 0.95) -> Interval:
    """t interval of a statistic of n independent units that does not split into one value for each of them.

    What two units have in common, such as the agreement of two teachers, gives n (n - 1) / 2 values that share units: taken for
    independent they would make an interval far too short. Leaving out one unit at a time, with all values that it takes part in,
    gives n pseudo-values whose t interval is of the right length (Arvesen 1969, for U-statistics).

    Args:
        statistic: of the indices that stay, 0 ... n - 1; nan where too few are left.
        n: number of units.
        level: of the interval.

    Returns:
        The bias-corrected estimate (for a mean over pairs, that mean) with its interval; nan bounds when leaving one out leaves nothing.
    """
    _checked_level(level)
    everyone = list(range(n))
    whole = statistic(everyone) if n else math.nan
    rest = np.array([statistic([unit for unit in everyone if unit != gone]) for gone in everyone], dtype=np.float64)
    if not math.isfinite(whole) or n < 2 or not np.isfinite(rest).all():
        return Interval(whole, math.nan, math.nan, n)
    return t_interval(n * whole - (n - 1) * rest, level)


@dataclass(frozen=True)
class Equivalence:
    """Two one-sided tests. `low`, `high` is the (2 level - 1) interval, 90 % at level .95: `equivalent` iff it lies
    inside (-margin, margin), that is iff `p` < 1 - level. With fewer than two pairs: nan, and not equivalent."""

    estimate: float
    low: float
    high: float
    n: int
    margin: float
    p: float
    equivalent: bool


def equivalence(a: ArrayLike, b: ArrayLike, margin: float, level: float = 0.95) -> Equivalence:
    """TOST on paired seeds: is the mean of a - b within +-margin? The margin is fixed before looking."""
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"margin must be positive and finite; got {margin}")
    _checked_level(level)
    if level <= 0.5:
        raise ValueError(f"level must be above .5; got {level}")
    a, b = _pair(a, b)
    inner = t_interval(a - b, 2 * level - 1)
    if not inner.defined:
        return Equivalence(inner.estimate, inner.low, inner.high, inner.n, margin, math.nan, False)
    error = float((a - b).std(ddof=1)) / math.sqrt(a.size)
    room = margin - abs(inner.estimate)
    p = float(stats.t.sf(room / error, a.size - 1)) if error > 0 else float(room <= 0)
    return Equivalence(inner.estimate, inner.low, inner.high, inner.n, margin, p, p < 1 - level)


def bootstrap_images(
    values: ArrayLike,
    combine: Callable[[Array], Array] | None = None,
    groups: ArrayLike | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap over images of a function of mean per-image values, with the same images drawn for every
    arm.

    Args:
        values: (N,) or (A, N): a quantity per image (hit, NLL, disagreement, ...) for each of A arms.
        combine: (..., A) arm means -> (...) numbers; default: the mean of the one arm, or first minus second of two.
            For a log ratio: ``lambda m: np.log10(m[..., 0] / m[..., 1])``.
        groups: (N,) labels; images of one group (noise draws of one image) are drawn together.

    Means and smooth functions of them only: a sum of absolute values, such as ECE, is biased upwards by resampling and
    belongs to `calibration.bootstrap`. `n` of the result counts images, or groups. One image, or a value that is not
    finite: nan bounds."""
    v = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if v.ndim != 2 or v.shape[1] == 0:
        raise ValueError(f"values must be (N,) or (arms, N), N >= 1; got {np.shape(values)}")
    _checked_level(level)
    if draws < 1:
        raise ValueError(f"draws must be at least 1; got {draws}")
    if combine is None:
        if v.shape[0] > 2:
            raise ValueError(f"combine is needed for more than two arms; got {v.shape[0]}")
        combine = _only_or_difference
    group = np.arange(v.shape[1]) if groups is None else np.asarray(groups)
    if group.shape != (v.shape[1],):
        raise ValueError(f"groups must be ({v.shape[1]},), one per image; got {group.shape}")
    at = np.unique(group, return_inverse=True)[1]
    n = int(at.max()) + 1
    with np.errstate(divide="ignore", invalid="ignore"):  # a resample without errors may have no ratio
        estimate = float(combine(v.mean(1)))
        if n < 2 or not np.isfinite(v).all():
            return Interval(estimate, math.nan, math.nan, n)
        sums = np.stack([np.bincount(at, row, n) for row in [*v, np.ones(v.shape[1])]], axis=1)
        rng, at_once, drawn = np.random.default_rng(seed), max(1, (1 << 22) // n), []
        for done in range(0, draws, at_once):
            d = min(at_once, draws - done)
            pick = rng.integers(n, size=(d, n)) + n * np.arange(d)[:, None]
            drawn.append(np.bincount(pick.ravel(), minlength=d * n).reshape(d, n) @ sums)
        total = np.concatenate(drawn)
        replicates = np.asarray(combine(total[:, :-1] / total[:, -1:]))
    low, high = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), n)


@dataclass(frozen=True)
class IntersectionUnion:
    """The joint verdict on several intervals; `weakest` is the interval nearest to, or furthest beyond, the wrong side
    of the margin."""

    verdict: Verdict
    weakest: Interval


def intersection_union(
    intervals: Iterable[Interval], margin: float = 0.0, direction: Literal["greater", "less"] = "greater"
) -> IntersectionUnion:
    """Does every interval lie beyond `margin` in `direction`? Each at its own level, no correction: claiming all of
    them errs at most as often as claiming one.

    "supported": all do. "not supported": one lies wholly on the other side. Otherwise, and whenever one has no bounds
    and none is on the other side, "unresolved"."""
    found = list(intervals)
    if not found:
        raise ValueError("intervals must not be empty")
    if direction not in ("greater", "less"):
        raise ValueError(f"direction must be 'greater' or 'less'; got {direction!r}")
    sign = 1 if direction == "greater" else -1
    beyond = [sign * (i.low if sign > 0 else i.high) > sign * margin for i in found]
    short = [sign * (i.high if sign > 0 else i.low) <= sign * margin for i in found]
    verdict: Verdict = "not supported" if any(short) else "supported" if all(beyond) else "unresolved"

    def room(i: Interval) -> tuple[bool, float]:
        bound = i.low if sign > 0 else i.high
        return (False, 0.0) if math.isnan(bound) else (True, sign * bound)  # no bounds: the weakest of all

    return IntersectionUnion(verdict, min(found, key=room))


@dataclass(frozen=True, eq=False)
class Holm:
    """Holm's step-down procedure: adjusted p values (m,) in the given order, and which are rejected at `level`."""

    adjusted: Array
    rejected: Array
    level: float


def holm(p: ArrayLike, level: float = 0.95) -> Holm:
    """Adjusts p values (m,) in [0, 1] for m tests, any dependence (Holm 1979). A nan p (undefined test) counts as a
    test and is not rejected."""
    values = _vector("p", p)
    _checked_level(level)
    if not ((values >= 0) & (values <= 1) | np.isnan(values)).all():
        raise ValueError("p must lie in [0, 1]")
    order = np.argsort(values)  # nan last
    stepped = np.maximum.accumulate(values[order] * (values.size - np.arange(values.size)))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1)
    return Holm(adjusted, adjusted <= 1 - level + 1e-12, level)


def _half_width(v: Array, level: float) -> float:
    if v.size < 2:
        return math.nan
    return float(stats.t.ppf((1 + level) / 2, v.size - 1)) * float(v.std(ddof=1)) / math.sqrt(v.size)


def _only_or_difference(means: Array) -> Array:
    return means[..., 0] if means.shape[-1] == 1 else means[..., 0] - means[..., 1]


def _vector(name: str, values: ArrayLike) -> Array:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1:
        raise ValueError(f"{name} must be one-dimensional; got shape {v.shape}")
    return v


def _pair(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    first, second = _vector("a", a), _vector("b", b)
    if first.shape != second.shape:
        raise ValueError(f"a and b must be paired by seed; got {first.size} and {second.size} values")
    return first, second


def _checked_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}")
