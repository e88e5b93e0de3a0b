"""Calibration figures of one network under many bootstrap draws of its test images at once, by matrix products."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch

from mixkd.arrays import Array, Values, as_labels, as_logits, as_temperature
from mixkd.measure.bins import bin_of
from mixkd.measure.temperature import TEMPERATURE_BOUNDS

DRAWS = 200
BINS = 15
NAMES = ("accuracy", "confidence", "nll", "ece", "oe", "under", "gap")
"""Figures of :func:`resampled`, each also as ``ts_NAME`` at the post-hoc temperature."""


@lru_cache(maxsize=8)
def weights(units: int) -> Array:
    """Return what share each of some units (images, pairs) has in each bootstrap draw.

    The draws depend on the number of units alone, so that networks asked about the same images are resampled together.

    Args:
        units: at least 1.

    Returns:
        (R + 1, units) float64 for R = :data:`DRAWS`, read-only, rows sum to 1. Row 0 is the undrawn data: every unit once.
    """
    counts = np.random.default_rng(units).multinomial(units, np.full(units, 1 / units), size=DRAWS)
    shares: Array = np.concatenate([np.ones((1, units)), counts]) / units
    shares.flags.writeable = False
    return shares


def by_image(values: Array, images: Array) -> Array:
    """Return the sums over the rows of each image.

    Args:
        values: (N,) or (N, C) float.
        images: (N,) integers from 0: which image a row shows.

    Returns:
        (images,) or (images, C) float64.
    """
    n = int(images.max()) + 1
    if values.ndim == 1:
        return np.bincount(images, values, n)
    return np.stack([np.bincount(images, column, n) for column in values.T], axis=1)


def resampled(logits: Values, labels: Values, images: Values, temperature: float) -> dict[str, Array]:
    """Return calibration figures of the data as they are and under :data:`DRAWS` draws of images.

    Args:
        logits: (N, K) float.
        labels: (N,) int64.
        images: (N,) int64 from 0; rows of one image are drawn together.
        temperature: > 0, the post-hoc temperature of the ``ts_`` figures. It stays fixed: validation data fitted it, and these draws
            are of test images.

    Returns:
        For each of :data:`NAMES` and each with ``ts_`` in front, (R + 1,) float64: entry 0 as :func:`mixkd.measure.calibration.report`
        has it (15 bins of equal width), the others under the draws of :func:`weights`.
    """
    z, y, at = _checked(logits, labels, images)
    shares = weights(int(at.max()) + 1)
    columns: list[Array] = []
    found: dict[str, Array] = {}
    hit = (z.argmax(-1) == y).double().numpy()
    for scale in (1.0, as_temperature(temperature)):
        log_p = (z / scale).log_softmax(-1)
        confidence = log_p.amax(-1).exp().numpy()
        cell = at * BINS + bin_of(confidence, BINS)
        size = shares.shape[1] * BINS
        columns += [np.bincount(cell, value, size).reshape(-1, BINS) for value in (np.ones_like(hit), confidence, hit)]
        columns.append(by_image(-log_p.gather(-1, y[:, None])[:, 0].numpy(), at)[:, None])
    drawn = shares @ np.concatenate(columns, axis=1)
    for prefix, block in zip(("", "ts_"), np.split(drawn, 2, axis=1), strict=True):
        count, confidence, hits, nll = np.split(block, [BINS, 2 * BINS, 3 * BINS], axis=1)
        n, excess = count.sum(1), confidence - hits
        over = np.maximum(excess, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = np.where(count > 0, confidence / count, 0)
        found |= {
            f"{prefix}accuracy": hits.sum(1) / n,
            f"{prefix}confidence": confidence.sum(1) / n,
            f"{prefix}nll": nll[:, 0] / n,
            f"{prefix}ece": np.abs(excess).sum(1) / n,
            f"{prefix}oe": (mean * over).sum(1) / n,
            f"{prefix}under": (over - excess).sum(1) / n,
            f"{prefix}gap": excess.sum(1) / n,
        }
    return found


def log_temperature(logits: Values, labels: Values, images: Values, temperature: float) -> Array:
    """Return the log of the NLL-optimal temperature on the data as they are and under draws of images.

    One Newton step from the optimum for each draw (the infinitesimal jackknife), instead of a fit.

    Args:
        logits, labels, images: of the data the temperature was fitted on, as in :func:`resampled`.
        temperature: the optimum on all of it.

    Returns:
        (R + 1,) float64, natural logarithms; all equal where the optimum is a bound of the search, since nothing was fitted there.
    """
    z, y, at = _checked(logits, labels, images)
    shares = weights(int(at.max()) + 1)
    start = math.log(temperature)
    coldest, hottest = TEMPERATURE_BOUNDS
    if not coldest * (1 + 1e-6) < temperature < hottest * (1 - 1e-6):
        return np.full(len(shares), start)
    z = z / temperature
    z = z - z.amax(-1, keepdim=True)
    p = z.softmax(-1)
    mean = (p * z).sum(-1)
    slope = mean - z.gather(-1, y[:, None])[:, 0]
    curvature = float(((p * z * z).sum(-1) - mean**2).mean())
    rows = shares @ np.stack([by_image(slope.numpy(), at), by_image(np.ones(len(at)), at)], axis=1)
    return start + rows[:, 0] / rows[:, 1] / curvature if curvature > 0 else np.full(len(shares), start)


def _checked(logits: Values, labels: Values, images: Values) -> tuple[torch.Tensor, torch.Tensor, Array]:
    z = as_logits(logits)
    return z, torch.from_numpy(as_labels(labels, (len(z),), z.shape[1])), as_labels(images, (len(z),), name="images")
