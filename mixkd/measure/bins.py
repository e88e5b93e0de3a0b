"""Bins of confidence and the calibration errors they define.

Bins are (low, high] on [0, 1]; a confidence of exactly 1 lies in the last one. A confidence within 1e-9 of a bin's width above an edge
lies on it, so rounding in the softmax never moves a point whose exact confidence is an edge.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mixkd.arrays import Array, Values, as_numbers

_ON_EDGE = 1e-9  # in units of a bin's width
_BORDER = 2e-6  # single-precision confidences this near an edge may lie in the wrong bin


@dataclass(frozen=True, eq=False)
class Reliability:
    """A reliability diagram: per bin the count, mean confidence and accuracy, and the errors they define.

    Attributes:
        count: (M,) int64.
        confidence, accuracy: (M,) float64 in [0, 1], both 0 in empty bins, which contribute nothing.
        edges: (M + 1,) ascending from 0 to 1; bin m is (edges[m], edges[m + 1]].
    """

    count: Array
    confidence: Array
    accuracy: Array
    edges: Array

    @classmethod
    def from_bins(cls, count: Values, accuracy: Values, confidence: Values) -> Reliability:
        """Return the diagram of a published table of equal-width bins.

        Args:
            count, accuracy, confidence: (M,) each. Note the order: accuracy before confidence, as such tables print it.

        Raises:
            ValueError: for lengths that differ, counts that are negative, broken or all 0, or shares outside [0, 1] in a bin that counts.
        """
        n, acc, conf = (as_numbers(v, name) for v, name in ((count, "count"), (accuracy, "accuracy"), (confidence, "confidence")))
        if not n.shape == acc.shape == conf.shape:
            raise ValueError(f"count, accuracy, confidence must be equally long, not {n.size}, {acc.size}, {conf.size}")
        if not np.isfinite(n).all() or n.min(initial=0) < 0 or (n != np.rint(n)).any() or n.sum() == 0:
            raise ValueError("count must hold whole numbers >= 0, not all 0")
        for name, value in (("accuracy", acc), ("confidence", conf)):
            if not ((value[n > 0] >= 0) & (value[n > 0] <= 1)).all():
                raise ValueError(f"{name} must lie in [0, 1] in every bin that is not empty")
        conf, acc = np.where(n > 0, conf, 0.0), np.where(n > 0, acc, 0.0)
        return cls(n.astype(np.int64), conf, acc, np.linspace(0, 1, n.size + 1))

    @cached_property
    def n(self) -> int:
        """Number of predictions, N."""
        return int(self.count.sum())

    @cached_property
    def errors(self) -> dict[str, float]:
        """All errors below by name, and `mce_count`."""
        return {name: value.item() for name, value in binned_errors(self.count, self.confidence, self.accuracy).items()}

    @property
    def ece(self) -> float:
        """Expected calibration error, sum w |conf - acc| (Naeini 2015; Guo 2017); = over + under."""
        return self.errors["ece"]

    @property
    def oe(self) -> float:
        """Overconfidence error, sum w conf max(conf - acc, 0) (Thulasidasan 2019); <= over <= 1 - accuracy.

        It is 0 for a model that is underconfident in every bin: read it beside `ue`.
        """
        return self.errors["oe"]

    @property
    def ue(self) -> float:
        """Underconfidence error, sum w conf max(acc - conf, 0): the mirror of `oe` (our definition, not standard)."""
        return self.errors["ue"]

    @property
    def over(self) -> float:
        """Overconfident part of ECE, sum w max(conf - acc, 0)."""
        return self.errors["over"]

    @property
    def under(self) -> float:
        """Underconfident part of ECE, sum w max(acc - conf, 0)."""
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
        """Debiased *squared* L2 error, sum w [(acc - conf)^2 - acc (1 - acc) / (n - 1)] over bins with n >= 2 (Bröcker 2012; Kumar 2019).

        Unbiased around 0 for a calibrated model, hence sometimes negative: the sign is kept, no root is taken.
        """
        return self.errors["debiased_ece"]


def fill(conf: Array, hit: Array, n_bins: int) -> Reliability:
    """Return the diagram of confidences (N,) and hits (N,), both float64."""
    cell = bin_of(conf, n_bins)
    count = np.bincount(cell, minlength=n_bins)
    total, hits = np.bincount(cell, conf, n_bins), np.bincount(cell, hit, n_bins)
    full = np.maximum(count, 1)
    return Reliability(count, total / full, hits / full, np.linspace(0, 1, n_bins + 1))


def binned_errors(count: Array, confidence: Array, accuracy: Array) -> dict[str, Array]:
    """Return all binned errors over the last axis, by the names of the properties of :class:`Reliability`."""
    distance = confidence - accuracy
    weight = count / count.sum(-1, keepdims=True)
    apart = np.where(count > 0, np.abs(distance), -1.0)
    worst = apart.argmax(-1)[..., None]
    noise = accuracy * (1 - accuracy) / np.maximum(count - 1, 1)
    up, down = np.maximum(weight * distance, 0), np.maximum(-weight * distance, 0)
    over, under = up.sum(-1), down.sum(-1)
    return {
        "ece": over + under,
        "oe": (up * confidence).sum(-1),
        "ue": (down * confidence).sum(-1),
        "over": over,
        "under": under,
        "gap": over - under,
        "mce": np.take_along_axis(apart, worst, -1)[..., 0],
        "mce_count": np.take_along_axis(np.broadcast_to(count, apart.shape), worst, -1)[..., 0],
        "debiased_ece": np.where(count > 1, weight * (distance**2 - noise), 0.0).sum(-1),
    }


def bin_of(p: Array, n_bins: int) -> Array:
    """Return the equal-width bin of each probability, int64."""
    bins: Array = np.ceil(p * n_bins - _ON_EDGE).astype(np.int64) - 1
    return np.minimum(np.maximum(bins, 0, out=bins), n_bins - 1, out=bins)


def near_edge(p: Array, n_bins: int) -> Array:
    """Return whether single precision may have put p into a neighbouring bin; 0 and 1 are no such edges."""
    place = p * n_bins
    edge = np.rint(place)
    place -= edge
    near: Array = np.abs(place, out=place) < _BORDER * n_bins
    near &= edge < n_bins  # an edge of 0 needs p below the border, where nothing changes bin
    return near
