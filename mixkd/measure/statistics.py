"""Intervals over seeds and test images, equivalence, Holm's procedure.

Seeds and images are different sources of chance. Seeds are few, so their share of an interval comes from Student's t: with 3 to 8 of
them a percentile bootstrap covers far less than it says. Images are many, so theirs comes from a bootstrap in which every arm and seed
sees the same images. :func:`crossed` adds the two. An undefined result has nan bounds; nothing here raises for too few values.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from mixkd.arrays import Array, Values, as_array, as_level, as_numbers


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided t interval.

    Attributes:
        estimate: the statistic.
        low, high: bounds; nan where the data cannot give them (fewer than two values, or one that is not finite).
        n: number of independent values, usually seeds.
        error: standard error; nan where it is unknown.
        df: degrees of freedom of that error.
        seed_error: standard error over seeds alone, on n - 1 degrees of freedom; nan where `error` is that already. An interval is
            never shorter than the one it gives.
    """

    estimate: float
    low: float
    high: float
    n: int
    error: float = math.nan
    df: float = math.nan
    seed_error: float = math.nan

    @property
    def defined(self) -> bool:
        """Whether there are bounds."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    @property
    def image_error(self) -> float:
        """Standard error over test images alone; 0 for an interval over seeds."""
        return 0.0 if math.isnan(self.seed_error) else math.sqrt(max(0.0, self.error**2 - self.seed_error**2))

    def at(self, level: float) -> Interval:
        """Return the interval of the same estimate at another level."""
        tail = (1 + as_level(level)) / 2
        half = max((float(special.stdtrit(df, tail)) * error for error, df in self._errors), default=math.nan)
        return replace(self, low=self.estimate - half, high=self.estimate + half)

    def p(self, value: float) -> float:
        """Return the two-sided p value of the hypothesis that the truth is `value`: below 0.05 where the 95 % interval excludes it."""
        if not self.defined or not self._errors:
            return math.nan
        away = abs(self.estimate - value)
        return max(2 * float(special.stdtr(df, -away / error)) if error > 0 else float(away == 0) for error, df in self._errors)

    @property
    def _errors(self) -> list[tuple[float, float]]:
        """Each standard error with its degrees of freedom; the widest interval counts."""
        known = [(self.error, self.df), (self.seed_error, self.n - 1)]
        return [(error, df) for error, df in known if math.isfinite(error) and df > 0]


def t_interval(values: Values) -> Interval:
    """Return Student's 95 % t interval of the mean of independent values (n,), one per seed; :meth:`Interval.at` gives other levels.

    One value: nan bounds. None, or any that is not finite: nan throughout. No variation: bounds equal to the estimate.
    """
    v = as_numbers(values, "values")
    if v.size == 0 or not np.isfinite(v).all():
        return Interval(math.nan, math.nan, math.nan, v.size)
    mean = float(v.mean())
    if v.size < 2:
        return Interval(mean, math.nan, math.nan, v.size)
    error = float(v.std(ddof=1)) / math.sqrt(v.size)
    return Interval(mean, mean, mean, v.size, error, v.size - 1).at(0.95)


def crossed(values: Values, replicates: Values) -> Interval:
    """Return the 95 % interval of the mean of a statistic over seeds *and* test images.

    The variance is that between seeds over their number, plus that of the seeds' mean when images are drawn anew; the t quantile has
    Satterthwaite's degrees of freedom. What a seed does with particular images is counted in both parts, so the sum errs on the long
    side. The interval is never shorter than that over seeds alone, which few degrees of freedom would otherwise allow.

    Args:
        values: (S,) the statistic of each seed on the images as they are.
        replicates: (S, R) the same under R bootstrap draws of the images; column r is one draw, the same for every seed and arm. Draws
            in which a value is not finite are left out; where that leaves fewer than half, there are no bounds.

    Returns:
        Centred on the mean of `values`: the draws give its variance only, since resampling biases sums of absolute values such as
        ECE. `n` is S; with S < 2 the bounds are nan.

    Raises:
        ValueError: when the shapes do not fit.
    """
    v, drawn = as_numbers(values, "values"), as_numbers(replicates, "replicates", 2)
    if len(drawn) != v.size:
        raise ValueError(f"replicates must be ({v.size}, draws), one row per value, not {drawn.shape}")
    over_seeds = t_interval(v)
    if not over_seeds.defined:
        return over_seeds
    mean = drawn.mean(0)
    kept = mean[np.isfinite(mean)]
    if kept.size < max(2, mean.size / 2):
        return Interval(over_seeds.estimate, math.nan, math.nan, v.size)
    seeds, images = over_seeds.error**2, float(kept.var(ddof=1))
    total = seeds + images
    share = seeds / total if total > 0 else 1.0
    df = 1 / (share**2 / (v.size - 1) + (1 - share) ** 2 / (kept.size - 1))
    return replace(over_seeds, error=math.sqrt(total), df=df, seed_error=over_seeds.error).at(0.95)


def over_images(value: float, replicates: Values) -> Interval:
    """Return the 95 % interval of a statistic of one network over test images alone: what holds for that network, whatever its seed.

    Args:
        value: on the images as they are.
        replicates: (R,) under R bootstrap draws of the images.
    """
    drawn = as_numbers(replicates, "replicates")
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size < 2 or not math.isfinite(value):
        return Interval(value, math.nan, math.nan, 1)
    return Interval(value, value, value, 1, float(drawn.std(ddof=1)), drawn.size - 1).at(0.95)


def jackknife(statistic: Callable[[list[int]], Values], n: int) -> Interval:
    """Return the 95 % interval of a statistic of n independent units that does not split into one value for each of them.

    What two units have in common, such as the agreement of two teachers, gives n (n - 1) / 2 values that share units: taken for
    independent they would make an interval far too short. Leaving out one unit at a time, with all values that it takes part in,
    gives n pseudo-values whose t interval is of the right length (Arvesen 1969, for U-statistics).

    Args:
        statistic: of the indices that stay, 0 ... n - 1: a number, or (R + 1,) where entry 0 is the statistic and the others are the same
            under R common draws of test images, which :func:`crossed` then adds; nan where too few units are left.
        n: number of units.

    Returns:
        The bias-corrected estimate (for a mean over pairs, that mean) with its interval; nan bounds when leaving one out leaves nothing.
    """
    if n == 0:
        return t_interval([])
    everyone = list(range(n))
    whole = np.atleast_1d(as_array(statistic(everyone))).astype(np.float64)
    undefined = Interval(float(whole[0]), math.nan, math.nan, n)
    if n < 2 or not math.isfinite(whole[0]):
        return undefined
    rest = [np.atleast_1d(as_array(statistic([unit for unit in everyone if unit != gone]))) for gone in everyone]
    pseudo = n * whole - (n - 1) * np.stack(rest).astype(np.float64)
    found = crossed(pseudo[:, 0], pseudo[:, 1:]) if pseudo.shape[1] > 1 else t_interval(pseudo[:, 0])
    return found if found.defined else undefined


def equivalence(interval: Interval, margin: float) -> bool | None:
    """Judge whether the truth lies within +-margin by two one-sided tests at 5 % (TOST).

    Args:
        interval: over seeds or over seeds and images.
        margin: > 0, fixed before looking.

    Returns:
        True when the 90 % interval lies inside +-margin; False when the 95 % interval lies outside on one side; None when neither is
        shown.
    """
    if not (margin > 0 and math.isfinite(margin)):
        raise ValueError(f"margin must be positive and finite, not {margin}")
    if not interval.defined:
        return None
    inner, outer = interval.at(0.9), interval.at(0.95)
    if -margin < inner.low and inner.high < margin:
        return True
    return False if outer.low >= margin or outer.high <= -margin else None


def holm(p: Values) -> Array:
    """Return p values adjusted for m tests of any dependence (Holm 1979): rejecting those up to 0.05 errs once or more in 5 % of families.

    Args:
        p: (m,) in [0, 1]; a nan (undefined test) counts as a test and stays nan.

    Raises:
        ValueError: for a p outside [0, 1].
    """
    values = as_numbers(p, "p")
    if not ((values >= 0) & (values <= 1) | np.isnan(values)).all():
        raise ValueError("p must lie in [0, 1]")
    order = np.argsort(values)  # nan last
    stepped = np.maximum.accumulate(values[order] * (values.size - np.arange(values.size)))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted
