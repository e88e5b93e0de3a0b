"""Is the confidence useful: selective prediction, detection of errors and of foreign inputs.

Pure functions of scores and hits. Ties are averaged over exactly, never broken by the order of the data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mixkd.arrays import Array, Values, as_hits, as_labels, as_logits, as_numbers


def score(logits: Values) -> Tensor:
    """Return the confidence of each input as log-odds, ln p - ln(1 - p) of the maximum softmax probability p.

    It ranks inputs as p does, without ties: p itself is exactly 1 for every margin beyond 37 nats. The ranking is not free of
    temperature for K > 2. An energy score (Liu et al. 2020) is left out: cross-entropy, mixup and distillation all ignore an offset
    common to the logits of an input, so that of a distilled student is arbitrary, and records do not keep it.

    Args:
        logits: (N, K) floating point.

    Returns:
        (N,) float64, higher where the model is surer.
    """
    z = as_logits(logits)
    best, place = z.max(1)
    return best - z.scatter(1, place.unsqueeze(1), -math.inf).logsumexp(1)


@dataclass(frozen=True)
class Selective:
    """Selective prediction by a classifier's own confidence.

    Attributes:
        error: fraction wrong.
        aurc, e_aurc: see the functions of these names.
        auroc: see :func:`misclassification_auroc`. The measure that does not reward accuracy.
    """

    error: float
    aurc: float
    e_aurc: float
    auroc: float


def selective(logits: Values, labels: Values) -> Selective:
    """Return the measures of selective prediction by :func:`score`.

    Args:
        logits: (N, K) floating point.
        labels: (N,) integers.
    """
    z = as_logits(logits)
    correct = z.argmax(1) == torch.from_numpy(as_labels(labels, (len(z),), z.shape[1]))
    given = score(z), correct
    return Selective(float((~correct).double().mean()), aurc(*given), e_aurc(*given), misclassification_auroc(*given))


def risk_coverage(confidence: Values, correct: Values) -> Tensor:
    """Return the risk-coverage curve (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017).

    Within a group of tied inputs each is equally likely to come next, so the expected number of errors grows evenly
    through the group: that is the mean over all orders of the tied inputs.

    Args:
        confidence: (N,) real scores, higher is surer.
        correct: (N,) booleans.

    Returns:
        (N,) float64 in [0, 1]: the error among the k most confident inputs, for k = 1 .. N; coverage is k / N.
    """
    value, hit = _scored(confidence, correct)
    levels, group, size = np.unique(-value, return_inverse=True, return_counts=True)
    errors = np.bincount(group, weights=~hit, minlength=len(levels))
    rate = np.repeat(errors / size, size)
    return torch.from_numpy(np.cumsum(rate) / np.arange(1, len(value) + 1))


def aurc(confidence: Values, correct: Values) -> float:
    """Return the area under the risk-coverage curve: mean over k = 1 .. N of the error of the top k, in [0, 1], lower is better.

    It rewards accuracy as well as ranking; see :func:`e_aurc` and :func:`misclassification_auroc`.

    Args:
        confidence: (N,) real scores, higher is surer.
        correct: (N,) booleans.
    """
    return float(risk_coverage(confidence, correct).mean())


def e_aurc(confidence: Values, correct: Values) -> float:
    """Return AURC beyond that of the best ranking of the same errors, >= 0 (Geifman, Uziel and El-Yaniv 2019).

    The best ranking is summed exactly, so a perfect one has 0 at every N. The published ``e + (1 - e) ln(1 - e)`` is
    its limit for large N and differs by at most about 1 / N.

    Args:
        confidence: (N,) real scores, higher is surer.
        correct: (N,) booleans.
    """
    hit = _scored(confidence, correct)[1]
    return aurc(confidence, correct) - aurc(hit.astype(np.float64), hit)


def misclassification_auroc(confidence: Values, correct: Values) -> float:
    """Return the chance that a hit has more confidence than a miss, ties half (Hendrycks and Gimpel 2017).

    Args:
        confidence: (N,) real scores, higher is surer.
        correct: (N,) booleans.

    Returns:
        In [0, 1], 0.5 for a useless score; nan without a miss or without a hit.
    """
    value, hit = _scored(confidence, correct)
    return _auroc(value[hit], value[~hit]) if 0 < hit.sum() < len(hit) else math.nan


def detection(own: Values, foreign: Values) -> float:
    """Return the chance that an own input outscores a foreign one, ties half: AUROC of out-of-distribution detection (Liang et al. 2018).

    Args:
        own: (N,) scores of in-distribution inputs, higher is surer; see :func:`score`.
        foreign: (M,) scores of the others.
    """
    return _auroc(_scores(own, "own"), _scores(foreign, "foreign"))


def _scores(values: Values, name: str) -> Array:
    numbers = as_numbers(values, name)
    if not numbers.size or np.isnan(numbers).any():
        raise ValueError(f"{name} must hold one score or more and no nan; {int(np.isnan(numbers).sum())} of {numbers.size} are nan")
    return numbers


def _scored(confidence: Values, correct: Values) -> tuple[Array, Array]:
    value = _scores(confidence, "confidence")
    return value, as_hits(correct, len(value))


def _auroc(positive: Array, negative: Array) -> float:
    from sklearn.metrics import roc_auc_score  # slow to import

    place = np.unique(np.concatenate([positive, negative]), return_inverse=True)[1]  # scikit-learn takes no infinite scores
    return float(roc_auc_score(np.repeat([1, 0], [len(positive), len(negative)]), place))
