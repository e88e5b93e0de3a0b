"""Vicinal inputs: drawing lam, mixing, the fixed probe, and how far a model is from linear along the way.

Pure functions of tensors and generators. Nothing here knows a model, a loss or a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from mixkd.arrays import Values, as_array, check_dense

LAM_GRID: tuple[float, ...] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""The lambda grid of the probe, from the second image alone to the first alone. The five points between are the midpoints of five equal
cells, so a plain mean over them is the midpoint rule for the mean over uniform lambda."""

FEATURE_LAMS: tuple[float, ...] = (0.0, 0.5, 1.0)
"""Where along the way a record keeps penultimate features."""

LamPer = Literal["sample", "batch"]


@dataclass(frozen=True)
class Mixing:
    """How one batch is mixed: sample n becomes ``lam[n] x[n] + (1 - lam[n]) x[partner[n]]``.

    Attributes:
        lam: (N,) float32 in [0, 1]; 1 where a sample stays as it is.
        partner: (N,) int64, a permutation of the batch.
    """

    lam: Tensor
    partner: Tensor


def sample_lam(n: int, alpha: float, generator: torch.Generator, per: LamPer = "sample") -> Tensor:
    """Draw lam ~ Beta(alpha, alpha) for n samples.

    The ratio of two gamma variates underflows to 0/0 in float32 for small alpha (13 % of the draws at alpha = .01), so the
    draw is made in the log domain in float64: if G ~ Gamma(alpha + 1) and U ~ Uniform(0, 1), then G U^(1/alpha) ~ Gamma(alpha)
    (Marsaglia and Tsang 2000, section 6), and the logistic function of the difference of two such logarithms is Beta(alpha, alpha).

    Args:
        n: number of samples, >= 1.
        alpha: Beta parameter, >= 0. 0 means no mixing: lam is exactly 1 (the limit alpha -> 0 of the distribution would be a fair
            coin between 0 and 1, which is not what "mixup switched off" means).
        generator: source of randomness, on the CPU.
        per: "sample" draws one lam for each sample, "batch" one for all.

    Returns:
        (n,) float32 on the CPU, in [0, 1].

    Raises:
        ValueError: for a negative alpha, n < 1 or an unknown ``per``.
    """
    if n < 1:
        raise ValueError(f"n must be at least 1, not {n}")
    if not alpha >= 0 or alpha == float("inf"):
        raise ValueError(f"alpha must be a finite number >= 0 (0 switches mixing off), not {alpha}")
    if per not in ("sample", "batch"):
        raise ValueError(f"per must be 'sample' or 'batch', not {per!r}")
    if alpha == 0:
        return torch.ones(n)
    count = n if per == "sample" else 1
    if alpha == 1:  # Beta(1, 1) is uniform; no need for gammas
        lam = torch.rand(count, generator=generator, dtype=torch.float64)
    else:
        shape = torch.full((2, count), alpha + 1, dtype=torch.float64)
        gamma = torch._standard_gamma(shape, generator=generator)  # torch.distributions takes no generator
        uniform = torch.rand((2, count), generator=generator, dtype=torch.float64).clamp_min(torch.finfo(torch.float64).tiny)
        log_gamma = gamma.log() + uniform.log() / alpha
        lam = torch.sigmoid(log_gamma[0] - log_gamma[1])
    return lam.float().expand(n).contiguous()


def draw_mixing(
    n: int,
    alpha: float,
    generator: torch.Generator,
    *,
    per: LamPer = "sample",
    partial: float = 1.0,
) -> Mixing:
    """Draw partners and weights for a batch.

    With ``partial`` < 1 exactly ``round(partial * n)`` samples are mixed, chosen without replacement, and the others keep lam = 1.
    (Choosing the *unmixed* ones with replacement, as some public code does, mixes far more than it says.)

    Args:
        n: batch size.
        alpha: Beta parameter, see :func:`sample_lam`.
        generator: source of randomness, on the CPU.
        per: one lam per "sample" or per "batch".
        partial: fraction of the batch that is mixed, in [0, 1].

    Returns:
        A :class:`Mixing` on the CPU.
    """
    if not 0 <= partial <= 1:
        raise ValueError(f"partial must lie in [0, 1], not {partial}")
    lam = sample_lam(n, alpha, generator, per)
    partner = torch.randperm(n, generator=generator)
    if partial < 1:
        untouched = torch.randperm(n, generator=generator)[round(partial * n) :]
        lam[untouched] = 1.0
    return Mixing(lam, partner)


def mix(x: Tensor, lam: Tensor | float, partner: Tensor) -> Tensor:
    """Mix each sample with its partner: ``lam x + (1 - lam) x[partner]`` (Zhang et al. 2018, eq. 1).

    Args:
        x: (N, ...) floating point: images, one-hot labels, probabilities.
        lam: (N,) or a number, in [0, 1]; the weight of the sample itself.
        partner: (N,) int64 indices into x.

    Returns:
        (N, ...) of x's dtype. Where lam is exactly 1 the sample comes back bit for bit.
    """
    check_dense(x)
    if not x.is_floating_point():
        raise TypeError(f"mix needs floating point values, not {x.dtype}: mixing integers would round")
    weight = torch.as_tensor(lam, dtype=x.dtype, device=x.device)
    if weight.ndim == 1:
        weight = weight.reshape(-1, *[1] * (x.ndim - 1))
    return torch.lerp(x[partner], x, weight)


def nonlinearity(p_i: Values, p_j: Values, p_mix: Values, lam: Values) -> Tensor:
    """Return L_NL: how far the answer on a mixed input is from the mix of the answers.

    ``KL( lam p_i + (1 - lam) p_j || p_mix )``, in nats, in float64; the measure of the authors' public code. It is 0 for a model that
    is linear along the segment, and for a constant one; it shrinks with confidence, so compare models at matched entropy.

    Args:
        p_i, p_j: (..., K) probabilities at the endpoints; lam weighs the first.
        p_mix: (..., K) probabilities on the mixed input. A zero where the reference has mass gives inf.
        lam: number or a tensor that broadcasts to the leading dimensions.

    Returns:
        (...) float64 tensor, >= 0 up to rounding.
    """
    for given in (p_i, p_j, p_mix):
        check_dense(given)
    values = (value if isinstance(value, Tensor) else torch.from_numpy(np.array(as_array(value))) for value in (p_i, p_j, p_mix, lam))
    first, second, mixed, weight = (value.double() for value in values)
    if weight.ndim:
        weight = weight.unsqueeze(-1)
    reference = weight * first + (1 - weight) * second
    return (torch.xlogy(reference, reference) - torch.xlogy(reference, mixed)).sum(-1)


def probe_pairs(labels: Tensor, two_class: int, one_class: int, seed: int = 0) -> Tensor:
    """Return the fixed list of pairs every model is probed on: two-class pairs first, then pairs within one class.

    The rule depends on the labels alone, so every model of a data set sees the same pairs. No image pairs with itself.

    Args:
        labels: (N,) int64 with at least two classes.
        two_class, one_class: how many pairs of each kind.
        seed: of the rule.

    Returns:
        (two_class + one_class, 2) int64 indices.

    Raises:
        ValueError: when so many pairs cannot be found.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds: dict[bool, list[tuple[int, int]]] = {False: [], True: []}
    wanted = {False: two_class, True: one_class}
    n = len(labels)
    if n < 2 or len(labels.unique()) < 2:
        raise ValueError("the probe needs at least two images of two classes")
    if one_class and int(labels.unique(return_counts=True)[1].max()) < 2:
        raise ValueError(f"could not find {one_class} one-class pairs among {n} images: no class has two")
    for _ in range(10_000):
        draw = torch.randint(n, (256, 2), generator=generator)
        for i, j in draw.tolist():
            same = bool(labels[i] == labels[j])
            if i != j and len(kinds[same]) < wanted[same]:
                kinds[same].append((i, j))
        if all(len(kinds[same]) == wanted[same] for same in kinds):
            return torch.tensor(kinds[False] + kinds[True]).reshape(-1, 2)
    raise ValueError(f"could not find {two_class + one_class} pairs among {n} images; does each class have two?")
