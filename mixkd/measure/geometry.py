"""The shape of a representation: similarity of two, neural collapse, class-mean maps, linearity along lam, rank.

Pure functions of penultimate features. No biased kernel statistic, and no within-class variance from a single row.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata
from torch import Tensor

from mixkd.measure.linearity import as_features, feature_linearity
from mixkd.measure.signal import Array, as_labels, as_logits

__all__ = [
    "RSA",
    "NeuralCollapse",
    "class_mean_rsa",
    "effective_rank",
    "feature_linearity",
    "linear_cka",
    "neural_collapse",
]

MAX_CLASSES = 2**31


def linear_cka(a: Array, b: Array) -> float:
    """Debiased linear centred kernel alignment of two representations of the same inputs.

    ``HSIC(a, b) / sqrt(HSIC(a, a) HSIC(b, b))`` with the unbiased HSIC of Song et al. 2007 (as Nguyen et al. 2020 use
    it): the plain CKA of Kornblith et al. 2019 tends to 1 for unrelated features of more dimensions than rows.
    Invariant to rotation, shift and isotropic scale of either. Directions of large variance dominate it.

    Args:
        a, b: (M, d1) and (M, d2) floating point features of the same M >= 4 inputs; M >= 2000 for a steady value.

    Returns:
        1 for equal representations, about 0 for unrelated ones, slightly negative or above 1 by chance; nan where one
        is constant.
    """
    x, y = as_features(a, "a", 2), as_features(b, "b", 2)
    if len(x) != len(y) or len(x) < 4:
        raise ValueError(f"both representations need the same 4 or more rows, not {len(x)} and {len(y)}")
    # a constant representation leaves only rounding once it is centred
    rounding = [1e-28 * float(table.square().mean(0).sum()) ** 2 for table in (x, y)]
    x, y = x - x.mean(0), y - y.mean(0)
    own = [_hsic(table, table) for table in (x, y)]
    if any(value <= least for value, least in zip(own, rounding, strict=True)):
        return math.nan
    return _hsic(x, y) / math.sqrt(own[0] * own[1])


@dataclass(frozen=True)
class NeuralCollapse:
    """Neural collapse of C classes (Papyan, Han and Donoho 2020), each weighing the same. 0 is collapse; for nc4, 1.

    Attributes:
        n_classes: C, classes with at least two rows; the others are left out.
        rank_allows_simplex: whether d >= C - 1; otherwise the means cannot form a simplex and nc2 has a floor above 0.
        nc1: tr(S_W S_B^+) / C, within- over between-class variance, >= 0. Few rows a class inflate S_B: compare at
            equal rows.
        nc2_norm: coefficient of variation of ||mu_c - mu_G||.
        nc2_weight_norm: the same of the classifier's rows; nan without weight.
        nc2_cosine_std: standard deviation of the pairwise cosines of the centred means.
        nc2_cosine_gap: their mean + 1 / (C - 1). Near 0 whenever the norms are alike, so judge by the standard
            deviation.
        nc3: ||W / ||W|| - M / ||M|| ||_F^2, in [0, 4]; nan without weight.
        nc4: fraction of rows whose nearest class mean is the class that the model answers, in [0, 1]; nan without
            logits.
    """

    n_classes: int
    rank_allows_simplex: bool
    nc1: float
    nc2_norm: float
    nc2_weight_norm: float
    nc2_cosine_std: float
    nc2_cosine_gap: float
    nc3: float
    nc4: float


def neural_collapse(
    features: Array,
    labels: Array,
    *,
    weight: Array | None = None,
    logits: Array | None = None,
    tolerance: float = 1e-6,
) -> NeuralCollapse:
    """NC1 to NC4 on one set of features. Report training and test features both: collapse on test is another matter.

    S_W is the mean over classes of the unbiased within-class covariance; S_B the covariance of the C class means
    about their mean. S_B has rank C - 1 at most, so its inverse is a pseudo-inverse over the singular directions of
    the means above ``tolerance`` times the largest.

    Args:
        features: (M, d) floating point penultimate features.
        labels: (M,) integers >= 0.
        weight: (K, d) classifier weights, for nc3.
        logits: (M, K) of the same rows, for nc4.
        tolerance: relative, in (0, 1).

    Raises:
        ValueError: fewer than two classes with two rows, or shapes that do not fit.
    """
    phi = as_features(features, "features", 2)
    if not 0 < tolerance < 1:
        raise ValueError(f"tolerance must lie in (0, 1), not {tolerance}")
    scores = None if logits is None else as_logits(logits, "logits", 2)
    rows = None if weight is None else as_features(weight, "weight", 2)
    known = {table.shape[dim] for table, dim in ((scores, 1), (rows, 0)) if table is not None}
    if len(known) > 1:
        raise ValueError(f"logits and weight need the same number of classes, not {sorted(known)}")
    if scores is not None and len(scores) != len(phi):
        raise ValueError(f"logits must have one row for each of the {len(phi)} features, not {len(scores)}")
    if rows is not None and rows.shape[1] != phi.shape[1]:
        raise ValueError(f"weight must have {phi.shape[1]} columns like features, not {rows.shape[1]}")
    truth = as_labels(labels, (len(phi),), max(known, default=MAX_CLASSES))
    classes, means, kept, index = _class_means(phi, truth, 2)
    count = torch.bincount(index)
    within = phi[kept] - means[index]
    centred = means - means.mean(0)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    # the mean over classes of each class's covariance, along the directions in which the means differ
    share = 1 / (len(classes) * (count - 1).double())[index]
    solid = (singular > tolerance * singular[0]) & (torch.arange(len(singular)) < len(classes) - 1)
    projected = (within @ directions[solid].T).square() * share.unsqueeze(1)
    between = singular[solid].square() / len(classes)
    cosines = torch.nn.functional.normalize(centred, dim=1)
    cosines = (cosines @ cosines.T)[*torch.triu_indices(len(classes), len(classes), 1)]
    nc3 = nc2_weight = nc4 = math.nan
    if rows is not None:
        aligned = rows[classes]
        nc3 = float((aligned / aligned.norm() - centred / centred.norm()).square().sum())
        nc2_weight = _variation(aligned.norm(dim=1))
    if scores is not None:
        nc4 = float((classes[torch.cdist(phi[kept], means).argmin(1)] == scores[kept].argmax(1)).double().mean())
    return NeuralCollapse(
        n_classes=len(classes),
        rank_allows_simplex=phi.shape[1] >= len(classes) - 1,
        nc1=float((projected.sum(0) / between).sum()) / len(classes) if solid.any() else math.nan,
        nc2_norm=_variation(centred.norm(dim=1)),
        nc2_weight_norm=nc2_weight,
        nc2_cosine_std=float(cosines.std(correction=0)),
        nc2_cosine_gap=float(cosines.mean()) + 1 / (len(classes) - 1),
        nc3=nc3,
        nc4=nc4,
    )


@dataclass(frozen=True)
class RSA:
    """Likeness of two maps of classes.

    Attributes:
        rho: Spearman correlation of the C (C - 1) / 2 distances between class means, in [-1, 1]; nan where one map is
            flat.
        p: one-sided p value from permuting the classes of one map, (1 + #{null >= rho}) / (1 + B).
        n_classes: C.
    """

    rho: float
    p: float
    n_classes: int


def class_mean_rsa(a: Array, b: Array, labels: Array, *, permutations: int = 999, seed: int = 0) -> RSA:
    """Representational similarity of class means: do two models find the same classes alike (Kriegeskorte et al. 2008)?

    Distances share classes, so their correlation has no textbook p value; hence the permutation of whole classes.

    Args:
        a, b: (M, d1) and (M, d2) floating point features of the same inputs.
        labels: (M,) integers >= 0; at least three classes.
        permutations: B >= 0; with few classes the smallest reachable p is about 1 / C!.
        seed: of the permutations.
    """
    x, y = as_features(a, "a", 2), as_features(b, "b", 2)
    if len(x) != len(y):
        raise ValueError(f"both representations need the same rows, not {len(x)} and {len(y)}")
    if permutations < 0:
        raise ValueError(f"permutations must be 0 or more, not {permutations}")
    truth = as_labels(labels, (len(x),), MAX_CLASSES)
    classes, means_a, _, _ = _class_means(x, truth, 1)
    _, means_b, _, _ = _class_means(y, truth, 1)
    if len(classes) < 3:
        raise ValueError(f"a map of classes needs at least 3 of them, not {len(classes)}")
    ranks = [rankdata(pdist(means.numpy())) for means in (means_a, means_b)]
    first, second = (squareform(r - r.mean()) for r in ranks)
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    if norm == 0:
        return RSA(math.nan, math.nan, len(classes))
    observed = float((first * second).sum()) / norm
    generator = np.random.default_rng(seed)
    exceed = 0
    for _ in range(permutations):
        order = generator.permutation(len(classes))
        exceed += float((first * second[np.ix_(order, order)]).sum()) / norm >= observed - 1e-12
    return RSA(observed, (1 + exceed) / (1 + permutations) if permutations else math.nan, len(classes))


def effective_rank(features: Array) -> float:
    """exp of the entropy of the normalised singular values of the centred features (Roy and Vetterli 2007).

    Args:
        features: (M, d) floating point, M >= 2.

    Returns:
        In [1, min(M - 1, d)]; nan where all rows are equal.
    """
    phi = as_features(features, "features", 2)
    centred = phi - phi.mean(0)
    singular = torch.linalg.svdvals(centred)
    if not singular[0] > 1e-12 * phi.norm():
        return math.nan
    p = singular / singular.sum()
    return math.exp(-float(torch.xlogy(p, p).sum()))


def _hsic(x: Tensor, y: Tensor) -> float:
    """Unbiased HSIC with linear kernels (Song et al. 2007, eq. 5) of centred features, without the M x M matrices.

    With K = x x' and L = y y' stripped of their diagonals:
    [tr(K L) + 1'K1 1'L1 / ((M-1)(M-2)) - 2 1'K L1 / (M-2)] / (M (M-3)).
    """
    m = len(x)
    diagonal_x, diagonal_y = x.square().sum(1), y.square().sum(1)
    rows_x, rows_y = x @ x.sum(0) - diagonal_x, y @ y.sum(0) - diagonal_y
    trace = (x.T @ y).square().sum() - diagonal_x @ diagonal_y
    total = trace + rows_x.sum() * rows_y.sum() / ((m - 1) * (m - 2)) - 2 * (rows_x @ rows_y) / (m - 2)
    return float(total) / (m * (m - 3))


def _class_means(phi: Tensor, labels: Tensor, least: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Classes (C,) with at least ``least`` rows, their means (C, d), the rows kept (M,) bool and their class index."""
    found = np.unique(labels.numpy(), return_inverse=True, return_counts=True)
    classes, inverse, count = (torch.from_numpy(values) for values in found)
    enough = count >= least
    if int(enough.sum()) < 2:
        raise ValueError(f"at least two classes need {least} or more rows; {int(enough.sum())} have them")
    kept = enough[inverse]
    index = (enough.cumsum(0) - 1)[inverse[kept]]
    means = phi.new_zeros(int(enough.sum()), phi.shape[1]).index_add_(0, index, phi[kept]) / count[enough].unsqueeze(1)
    return classes[enough], means, kept, index


def _variation(norms: Tensor) -> float:
    return float(norms.std(correction=0) / norms.mean())
