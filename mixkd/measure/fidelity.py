"""Does a student repeat its teacher: agreement beyond chance, divergence, and the teacher's errors copied.

Pure functions of two models' logits on the same inputs. No agreement comes without the chance level that belongs to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mixkd.measure.signal import Array, as_labels, as_log_p, as_logits, kl


@dataclass(frozen=True)
class Agreement:
    """Agreement of two models on N inputs.

    Attributes:
        n: inputs.
        agreement: fraction with the same most probable class, in [0, 1].
        chance: what two models with these class frequencies would reach independently, sum_k a_k b_k.
        kappa: (agreement - chance) / (1 - chance), Cohen 1960, <= 1; nan where both models answer one and the same
            class.
        error_agreement: fraction on which both are right or both are wrong; nan without labels, like the next two.
        error_chance: the same by chance, from the two accuracies: a b + (1 - a)(1 - b).
        error_consistency: kappa of the two (Geirhos et al. 2020); nan also where both are always right or always wrong.
    """

    n: int
    agreement: float
    chance: float
    kappa: float
    error_agreement: float
    error_chance: float
    error_consistency: float


def agreement(logits_a: Array, logits_b: Array, labels: Array | None = None) -> Agreement:
    """Top-1 agreement with chance from class frequencies, and error consistency with chance from the accuracies.

    The two chance levels belong to two events: giving the same answer, and being right on the same inputs. Chance
    from accuracies counts two different wrong answers as agreement, so it is too high a bar for the first event; each
    event gets its own.

    Args:
        logits_a, logits_b: (N, K) of the two models on the same inputs.
        labels: (N,) integers, for the error consistency; leave out for mixed inputs, which have no single label.
    """
    a, b = _pair(logits_a, logits_b)
    first, second = a.argmax(1), b.argmax(1)
    same = float((first == second).double().mean())
    count_a, count_b = (torch.bincount(answers, minlength=a.shape[1]).double() for answers in (first, second))
    chance = float(count_a @ count_b) / len(a) ** 2
    both = both_chance = math.nan
    if labels is not None:
        truth = as_labels(labels, (len(a),), a.shape[1])
        hit_a, hit_b = first == truth, second == truth
        both = float((hit_a == hit_b).double().mean())
        p, q = float(hit_a.double().mean()), float(hit_b.double().mean())
        both_chance = p * q + (1 - p) * (1 - q)
    return Agreement(len(a), same, chance, _beyond(same, chance), both, both_chance, _beyond(both, both_chance))


def divergence(student: Array, teacher: Array, tau: float = 1.0) -> Tensor:
    """KL(p_T || p_S) of each input at distillation temperature tau, without the loss's tau^2 (Hinton et al. 2015).

    Args:
        student, teacher: (N, K) logits on the same inputs.
        tau: divides both, > 0.

    Returns:
        (N,) float64, nats, >= 0.
    """
    return target_split(student, teacher, None, tau).total


@dataclass(frozen=True)
class TargetSplit:
    """KL(p_T || p_S) = target + nontarget, each (N,) float64, nats, >= 0.

    Attributes:
        total: KL(p_T || p_S).
        target: KL between the binary distributions (the class, the others).
        nontarget: p_T(not y) KL(p_T(. | not y) || p_S(. | not y)); 0 for K = 2. A confident teacher silences it
            through the factor.
        nontarget_mass: p_T(not y), that factor.
    """

    total: Tensor
    target: Tensor
    nontarget: Tensor
    nontarget_mass: Tensor


def target_split(student: Array, teacher: Array, labels: Array | None, tau: float = 1.0) -> TargetSplit:
    """Split the divergence into the target class and the others, as decoupled distillation does (Zhao et al. 2022).

    Args:
        student, teacher: (N, K) logits on the same inputs.
        labels: (N,) integers; None takes the teacher's answer as the target.
        tau: divides both, > 0.
    """
    s, t = _pair(student, teacher)
    target = t.argmax(1) if labels is None else as_labels(labels, (len(t),), t.shape[1])
    own = target.unsqueeze(1)

    def read(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        log_p = as_log_p(logits, tau)
        others = log_p.scatter(1, own, -math.inf)
        rest = others.logsumexp(1, keepdim=True)
        return log_p, torch.cat([log_p.gather(1, own), rest], 1), others - rest

    (log_t, binary_t, others_t), (log_s, binary_s, others_s) = read(t), read(s)
    mass = binary_t[:, 1].exp()
    return TargetSplit(kl(log_t, log_s), kl(binary_t, binary_s), mass * kl(others_t, others_s), mass)


@dataclass(frozen=True)
class CopiedErrors:
    """How often a wrong student gives its wrong teacher's class, against T teachers that it never saw.

    Attributes:
        rate: P(student's class = teacher's class | both wrong), in [0, 1]; nan where they are never both wrong.
        n: inputs on which both are wrong.
        chance, chance_n: (T,) the same with each independent teacher: what hard inputs alone make them share.
        paired_rate, paired_chance, paired_n: (T,) both rates on the inputs where student, teacher and that
            independent teacher are all wrong, so that the two compare on the same inputs.
        excess: mean over T of paired_rate - paired_chance; 0 for a student that copies no more than any network
            would; nan without T.
    """

    rate: float
    n: int
    chance: Tensor
    chance_n: Tensor
    paired_rate: Tensor
    paired_chance: Tensor
    paired_n: Tensor
    excess: float


def copied_errors(student: Array, teacher: Array, labels: Array, independent: Sequence[Array] | Array = ()) -> CopiedErrors:
    """P(the student gives its teacher's wrong class | both wrong), with its chance level from independent teachers.

    Args:
        student, teacher: (N, K) logits on the same inputs.
        labels: (N,) integers.
        independent: T logits (N, K) of teachers trained like this one with other seeds, on the same inputs.
    """
    s, t = _pair(student, teacher)
    truth = as_labels(labels, (len(s),), s.shape[1])
    others = [_pair(student, logits, "independent")[1].argmax(1) for logits in independent]
    answer, taught = s.argmax(1), t.argmax(1)
    wrong = (answer != truth) & (taught != truth)

    def rate(other: Tensor, where: Tensor) -> float:
        return float((answer == other)[where].double().mean()) if where.any() else math.nan

    alone = [(answer != truth) & (other != truth) for other in others]
    shared = [wrong & (other != truth) for other in others]
    chance, paired_chance, paired_rate = (
        torch.tensor(rates, dtype=torch.float64)
        for rates in (
            [rate(other, where) for other, where in zip(others, alone, strict=True)],
            [rate(other, where) for other, where in zip(others, shared, strict=True)],
            [rate(taught, where) for where in shared],
        )
    )
    chance_n, paired_n = (torch.tensor([int(where.sum()) for where in sets], dtype=torch.int64) for sets in (alone, shared))
    excess = float((paired_rate - paired_chance).mean()) if others else math.nan
    return CopiedErrors(rate(taught, wrong), int(wrong.sum()), chance, chance_n, paired_rate, paired_chance, paired_n, excess)


def _pair(first: Array, second: Array, name: str = "logits") -> tuple[Tensor, Tensor]:
    a, b = as_logits(first, name, 2), as_logits(second, name, 2)
    if a.shape != b.shape:
        raise ValueError(f"{name} of the two models need the same inputs and classes, not {tuple(a.shape)} and {tuple(b.shape)}")
    return a, b


def _beyond(observed: float, chance: float) -> float:
    return (observed - chance) / (1 - chance) if chance < 1 else math.nan
