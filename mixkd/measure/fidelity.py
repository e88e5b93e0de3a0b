"""Does a student repeat its teacher: agreement beyond chance, and the teacher's errors copied.

Pure functions of two models' logits on the same inputs. No agreement comes without the chance level that belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixkd.arrays import Values, as_labels, as_logits


@dataclass(frozen=True)
class Agreement:
    """Agreement of two models on N inputs.

    Attributes:
        agreement: fraction with the same most probable class, in [0, 1].
        chance: what two models with these class frequencies would reach independently, sum_k a_k b_k.
        kappa: (agreement - chance) / (1 - chance), Cohen 1960, <= 1; nan where both models answer one and the same class.
    """

    agreement: float
    chance: float
    kappa: float


def agreement(logits_a: Values, logits_b: Values) -> Agreement:
    """Return the top-1 agreement, with chance from the class frequencies of the two models.

    Args:
        logits_a, logits_b: (N, K) of the two models on the same inputs.
    """
    a, b = _pair(logits_a, logits_b)
    first, second = a.argmax(1), b.argmax(1)
    same = float((first == second).double().mean())
    count_a, count_b = (torch.bincount(answers, minlength=a.shape[1]).double() for answers in (first, second))
    chance = float(count_a @ count_b) / len(a) ** 2
    return Agreement(same, chance, (same - chance) / (1 - chance) if chance < 1 else math.nan)


@dataclass(frozen=True)
class CopiedErrors:
    """How often a wrong student gives its wrong teacher's class, against T teachers that it never saw.

    Attributes:
        rate: P(student's class = teacher's class | both wrong), in [0, 1]; nan where they are never both wrong.
        paired_rate, paired_chance: (T,) the same with the own and with each independent teacher, on the inputs where student, teacher and
            that independent teacher are all wrong, so that the two compare on the same inputs.
        excess: mean over T of paired_rate - paired_chance; 0 for a student that copies no more than any network would; nan without T.
    """

    rate: float
    paired_rate: Tensor
    paired_chance: Tensor
    excess: float


def copied_errors(student: Values, teacher: Values, labels: Values, independent: Sequence[Values] | Tensor = ()) -> CopiedErrors:
    """Return P(the student gives its teacher's wrong class | both wrong), with its chance level from independent teachers.

    Args:
        student, teacher: (N, K) logits on the same inputs.
        labels: (N,) integers.
        independent: T logits (N, K) of teachers trained like this one with other seeds, on the same inputs.
    """
    s, t = _pair(student, teacher)
    truth = torch.from_numpy(as_labels(labels, (len(s),), s.shape[1]))
    others = [_pair(student, logits, "independent")[1].argmax(1) for logits in independent]
    answer, taught = s.argmax(1), t.argmax(1)
    wrong = (answer != truth) & (taught != truth)

    def rate(other: Tensor, where: Tensor) -> float:
        return float((answer == other)[where].double().mean()) if where.any() else math.nan

    shared = [wrong & (other != truth) for other in others]
    chance = torch.tensor([rate(other, where) for other, where in zip(others, shared, strict=True)], dtype=torch.float64)
    own = torch.tensor([rate(taught, where) for where in shared], dtype=torch.float64)
    return CopiedErrors(rate(taught, wrong), own, chance, float((own - chance).mean()) if others else math.nan)


def _pair(first: Values, second: Values, name: str = "logits") -> tuple[Tensor, Tensor]:
    a, b = as_logits(first, name), as_logits(second, name)
    if a.shape != b.shape:
        raise ValueError(f"{name} of the two models need the same inputs and classes, not {tuple(a.shape)} and {tuple(b.shape)}")
    return a, b
