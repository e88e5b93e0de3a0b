"""The shape of a representation: similarity of two, neural collapse, class-mean maps, linearity along lam, rank.

Pure functions of penultimate features.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr
from torch import Tensor

from mixkd.arrays import Values, as_labels, as_tensor
from mixkd.measure.linearity import feature_linearity

__all__ = ["class_mean_rsa", "effective_rank", "feature_linearity", "linear_cka", "nc1"]


def linear_cka(a: Values, b: Values) -> float:
    """Return the debiased linear centred kernel alignment of two representations of the same inputs.

    ``HSIC(a, b) / sqrt(HSIC(a, a) HSIC(b, b))`` with the unbiased HSIC of Song et al. 2007 (as Nguyen et al. 2020 use
    it): the plain CKA of Kornblith et al. 2019 tends to 1 for unrelated features of more dimensions than rows.
    Invariant to rotation, shift and isotropic scale of either. Directions of large variance dominate it.

    Args:
        a, b: (M, d1) and (M, d2) floating point features of the same M >= 4 inputs; M >= 2000 for a steady value.

    Returns:
        1 for equal representations, about 0 for unrelated ones, slightly negative or above 1 by chance; nan where one
        is constant.
    """
    x, y = as_tensor(a, "a", 2), as_tensor(b, "b", 2)
    if len(x) != len(y) or len(x) < 4:
        raise ValueError(f"both representations need the same 4 or more rows, not {len(x)} and {len(y)}")
    # a constant representation leaves only rounding once it is centred
    rounding = [1e-28 * float(table.square().mean(0).sum()) ** 2 for table in (x, y)]
    x, y = x - x.mean(0), y - y.mean(0)
    own = [_hsic(table, table) for table in (x, y)]
    if any(value <= least for value, least in zip(own, rounding, strict=True)):
        return math.nan
    return _hsic(x, y) / math.sqrt(own[0] * own[1])


def nc1(features: Values, labels: Values) -> float:
    """Return NC1, the within-class variance over the between-class variance, of C classes that weigh the same (Papyan, Han, Donoho 2020).

    ``tr(S_W S_B^+) / C``: S_W is the mean over classes of the unbiased within-class covariance, S_B the covariance of the class means about
    their mean. S_B has rank C - 1 at most, so its inverse is a pseudo-inverse over the singular directions of the means above a
    millionth of the largest. Few rows a class inflate S_B: compare at equal rows.

    Args:
        features: (M, d) floating point penultimate features.
        labels: (M,) integers >= 0; classes with a single row are left out.

    Returns:
        >= 0, where 0 is collapse; nan where all class means coincide.

    Raises:
        ValueError: fewer than two classes with two rows, or shapes that do not fit.
    """
    phi = as_tensor(features, "features", 2)
    classes, means, kept, index = _class_means(phi, as_labels(labels, (len(phi),)), 2)
    within = phi[kept] - means[index]
    _, singular, directions = torch.linalg.svd(means - means.mean(0), full_matrices=False)
    # the mean over classes of each class's covariance, along the directions in which the means differ
    share = 1 / (len(classes) * (torch.bincount(index) - 1).double())[index]
    solid = (singular > 1e-6 * singular[0]) & (torch.arange(len(singular)) < len(classes) - 1)
    projected = (within @ directions[solid].T).square() * share.unsqueeze(1)
    between = singular[solid].square() / len(classes)
    return float((projected.sum(0) / between).sum()) / len(classes) if solid.any() else math.nan


def class_mean_rsa(a: Values, b: Values, labels: Values) -> float:
    """Return the Spearman correlation of the distances between class means in two models (Kriegeskorte et al. 2008).

    Args:
        a, b: (M, d1) and (M, d2) floating point features of the same inputs.
        labels: (M,) integers >= 0; at least three classes.

    Returns:
        In [-1, 1]; nan where all distances of one model are equal.
    """
    x, y = as_tensor(a, "a", 2), as_tensor(b, "b", 2)
    if len(x) != len(y):
        raise ValueError(f"both representations need the same rows, not {len(x)} and {len(y)}")
    truth = as_labels(labels, (len(x),))
    classes, means_a, _, _ = _class_means(x, truth, 1)
    _, means_b, _, _ = _class_means(y, truth, 1)
    if len(classes) < 3:
        raise ValueError(f"a map of classes needs at least 3 of them, not {len(classes)}")
    first, second = (pdist(means.numpy()) for means in (means_a, means_b))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(spearmanr(first, second).statistic)


def effective_rank(features: Values) -> float:
    """Return exp of the entropy of the normalised singular values of the centred features (Roy and Vetterli 2007).

    Args:
        features: (M, d) floating point, M >= 2.

    Returns:
        In [1, min(M - 1, d)]; nan where all rows are equal.
    """
    phi = as_tensor(features, "features", 2)
    centred = phi - phi.mean(0)
    singular = torch.linalg.svdvals(centred)
    if not singular[0] > 1e-12 * phi.norm():
        return math.nan
    p = singular / singular.sum()
    return math.exp(-float(torch.xlogy(p, p).sum()))


def _hsic(x: Tensor, y: Tensor) -> float:
    """Return the unbiased HSIC with linear kernels (Song et al. 2007, eq. 5) of centred features, without the M x M matrices.

    With K = x x' and L = y y' stripped of their diagonals:
    [tr(K L) + 1'K1 1'L1 / ((M-1)(M-2)) - 2 1'K L1 / (M-2)] / (M (M-3)).
    """
    m = len(x)
    diagonal_x, diagonal_y = x.square().sum(1), y.square().sum(1)
    rows_x, rows_y = x @ x.sum(0) - diagonal_x, y @ y.sum(0) - diagonal_y
    trace = (x.T @ y).square().sum() - diagonal_x @ diagonal_y
    total = trace + rows_x.sum() * rows_y.sum() / ((m - 1) * (m - 2)) - 2 * (rows_x @ rows_y) / (m - 2)
    return float(total) / (m * (m - 3))


def _class_means(phi: Tensor, labels: np.ndarray, least: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return classes (C,) with at least ``least`` rows, their means (C, d), the rows kept (M,) bool and their class index."""
    found = np.unique(labels, return_inverse=True, return_counts=True)
    classes, inverse, count = (torch.from_numpy(values) for values in found)
    enough = count >= least
    if int(enough.sum()) < 2:
        raise ValueError(f"at least two classes need {least} or more rows; {int(enough.sum())} have them")
    kept = enough[inverse]
    index = (enough.cumsum(0) - 1)[inverse[kept]]
    means = phi.new_zeros(int(enough.sum()), phi.shape[1]).index_add_(0, index, phi[kept]) / count[enough].unsqueeze(1)
    return classes[enough], means, kept, index
