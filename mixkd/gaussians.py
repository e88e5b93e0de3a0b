"""Data with known densities: Gaussian classes of one covariance, and the exact posterior of any input."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from mixkd.spec import nearest


def _ring() -> tuple[np.ndarray, np.ndarray]:
    angle = np.pi / 2 + 2 * np.pi * np.arange(5) / 5
    return 2.45 * np.stack([np.cos(angle), np.sin(angle)], axis=1), np.eye(2)


def _cloud() -> tuple[np.ndarray, np.ndarray]:
    lag = np.abs(np.subtract.outer(np.arange(16), np.arange(16)))
    return 0.65 * np.random.RandomState(16).normal(size=(8, 16)), 0.5**lag


# The radius and the scale put the Bayes accuracy at 85 %.
DENSITIES: Mapping[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {"gaussians": _ring, "gaussians16": _cloud}


def gaussian_classes(name: str) -> tuple[Tensor, Tensor]:
    """Return class means, (K, d), and the covariance they share, (d, d), in float64. All classes are equally likely.

    Args:
        name: "gaussians" (2-D, five means on a ring) or "gaussians16" (16-D, eight means). Bayes accuracy 85 %.
    """
    if name not in DENSITIES:
        raise ValueError(f"unknown density {name!r}: must be one of {', '.join(DENSITIES)}{nearest(name, DENSITIES)}")
    means, covariance = DENSITIES[name]()
    return torch.from_numpy(means), torch.from_numpy(covariance)


def gaussian_log_posterior(name: str, x: Tensor) -> Tensor:
    """Return the exact log p(class | x) at any input, mixed ones included: (N, K) float64 on the device of ``x``.

    With shared covariance S the Bayes logits x' S^-1 m - m' S^-1 m / 2 are linear in x.

    Args:
        name: "gaussians" or "gaussians16".
        x: (N, d), as the splits hold it.
    """
    means, covariance = (part.to(x.device) for part in gaussian_classes(name))
    weights = torch.linalg.solve(covariance, means.T)
    logits: Tensor = x.double() @ weights - (means * weights.T).sum(1) / 2
    return logits.log_softmax(1)
