"""A classifier that is exactly right about K classes: what measures show when nothing is wrong, and how that depends on K.

Its posterior is known in closed form.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from scipy import integrate, optimize, special, stats
from torch import Tensor

from mixkd.measure import calibration, linearity, signal
from mixkd.vicinal import LAM_GRID

LAM = torch.tensor(LAM_GRID, dtype=torch.float64)


@dataclass(frozen=True)
class Exact:
    """Answers of the exact posterior.

    Attributes:
        logits: (N, K) on clean inputs.
        labels: (N,) of the inputs.
        blends: (L, P, K) logits along ``LAM``, the weight of the first input of each pair; inputs of two classes.
        pairs: (P, 2) labels of the pairs.
    """

    logits: Tensor
    labels: Tensor
    blends: Tensor
    pairs: Tensor


def separation(k: int, accuracy: float) -> float:
    """Return how far apart the means of K classes lie for the best possible accuracy to be this, in standard deviations.

    The means are at a distance a from the origin along K axes, the covariance is the identity. The best rule is right when
    ``a + g_0 > max(g_1 .. g_{K-1})`` for independent standard normal g.

    Args:
        k: number of classes, at least 2.
        accuracy: between 1 / K and 1, both excluded.

    Raises:
        ValueError: for values outside these ranges.
    """
    if k < 2:
        raise ValueError(f"k = {k}: must be at least 2")
    if not 1 / k < accuracy < 1:
        raise ValueError(f"accuracy = {accuracy}: must lie between 1 / k = {1 / k:g} and 1, both excluded")

    def missing(a: float) -> float:
        right, _ = integrate.quad(lambda t: stats.norm.pdf(t - a) * np.exp((k - 1) * special.log_ndtr(t)), a - 9, a + 9, limit=200)
        return float(right - accuracy)

    return float(optimize.brentq(missing, 0.0, 40.0, xtol=1e-10))


def exact(k: int, accuracy: float, n: int = 1200, pairs: int = 300, seed: int = 0) -> Exact:
    """Draw inputs of K classes and answer them by Bayes' rule: calibrated by construction, logits linear in the input.

    Args:
        k, accuracy: as in :func:`separation`.
        n: clean inputs.
        pairs: blends of two inputs of different classes, at most n / 2.
        seed: of the draw.
    """
    if not 0 < pairs <= n // 2:
        raise ValueError(f"pairs = {pairs}: must be between 1 and n / 2 = {n // 2}")
    generator = torch.Generator().manual_seed(seed)
    a = separation(k, accuracy)
    labels = torch.randint(k, (n,), generator=generator)
    second = (labels[:pairs] + torch.randint(1, k, (pairs,), generator=generator)) % k
    labels[pairs : 2 * pairs] = second
    logits = a * torch.randn(n, k, generator=generator, dtype=torch.float64)
    logits[torch.arange(n), labels] += a * a
    one, other = logits[:pairs], logits[pairs : 2 * pairs]
    blends = torch.stack([lam * one + (1 - lam) * other for lam in LAM])
    return Exact(logits, labels, blends, torch.stack([labels[:pairs], second], 1))


@cache
def describe(k: int, accuracy: float) -> dict[str, float]:
    """Return what the measures of this book show of the exact posterior of K classes.

    Returns:
        ``classes``, ``accuracy``; ``ECE floor`` and ``OE floor``: expected by chance on 10,000 test images; ``non-linearity``: L_NL,
        nats, mean over lam and pairs; ``mass on the pair``: on the two classes of a blend half-way; ``entropy``: on clean
        inputs, nats.
    """
    drawn = exact(k, accuracy)
    floor = calibration.noise_floor(drawn.logits, n=10_000, draws=200)
    bent = linearity.probability_linearity(drawn.blends, LAM, drawn.pairs)
    half = drawn.blends[len(LAM) // 2].log_softmax(-1)
    return {
        "classes": float(k),
        "accuracy": accuracy,
        "ECE floor": float(floor.ece),
        "OE floor": float(floor.oe),
        "non-linearity": float(bent.l_nl_mean.mean()),
        "mass on the pair": float(half.gather(-1, drawn.pairs).exp().sum(-1).mean()),
        "entropy": float(signal.entropy(drawn.logits.log_softmax(-1)).mean()),
    }
