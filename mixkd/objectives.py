"""The losses, and each arm as a composition of them.

Everything here is in float32 whatever the network ran in. No optimisation, no files; a teacher is anything that maps images to logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from mixkd.draws import send
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.vicinal import Mixing, mix

Tau = float | Literal["std"]
View = Literal["clean", "mixed", "noise"]


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Mean cross-entropy of (N, K) logits and (N,) labels, nats. Smoothing eps spreads eps evenly over all K classes (Szegedy 2016)."""
    return F.cross_entropy(logits.float(), labels, label_smoothing=smoothing)


def mixed_cross_entropy(logits: Tensor, labels: Tensor, mixing: Mixing) -> Tensor:
    """Mean of ``lam CE(y) + (1 - lam) CE(y_partner)``: mixup's loss, with the partners of the images (Zhang et al. 2018)."""
    log_p = F.log_softmax(logits.float(), dim=-1)
    own = F.nll_loss(log_p, labels, reduction="none")
    other = F.nll_loss(log_p, labels[mixing.partner], reduction="none")
    return torch.lerp(other, own, mixing.lam).mean()


def soften(logits: Tensor, tau: Tau) -> Tensor:
    """Log-probabilities at distillation temperature tau; "std" divides each row by its own standard deviation (Choi et al. 2023)."""
    logits = logits.float()
    scale = logits.std(dim=-1, keepdim=True, correction=0).clamp_min(1e-6) if tau == "std" else tau
    return F.log_softmax(logits / scale, dim=-1)


def distillation(student: Tensor, teacher: Tensor, tau: Tau) -> Tensor:
    """``tau^2 KL(p_T^tau || p_S^tau)``, averaged over the batch, in nats (Hinton et al. 2015).

    Its gradient in the student's logits is ``tau (p_S^tau - p_T^tau) / N``. With tau = "std" there is no factor.

    Args:
        student, teacher: (N, K) logits; no gradient flows into the teacher's.
        tau: > 0, or "std".
    """
    return _kl_to(soften(teacher.detach(), tau).exp(), student, tau)


def _kl_to(target: Tensor, student: Tensor, tau: Tau) -> Tensor:
    factor = 1.0 if tau == "std" else tau**2
    log_q = soften(student, tau)
    return factor * (torch.xlogy(target, target) - target * log_q).sum(-1).mean()


def shuffle_tail(logits: Tensor, generator: torch.Generator) -> Tensor:
    """Teacher logits whose two largest entries stay while the others trade places, afresh for each row.

    Keeps the mass, the entropy and the leading pair of every answer and destroys which other classes it names.

    Args:
        logits: (N, K).
        generator: on the CPU.
    """
    n, k = logits.shape
    order = logits.argsort(dim=-1, descending=True)
    draw = torch.rand(n, k, generator=generator)
    draw[:, 0], draw[:, 1] = -2.0, -1.0  # sorts first: the top two keep their places
    source = order.gather(1, send(draw.argsort(dim=-1), logits.device))
    return torch.empty_like(logits).scatter_(1, order, logits.gather(1, source))


@dataclass
class Teacher:
    """A frozen teacher and the tempering of its logits.

    Attributes:
        network: maps images to (N, K) raw logits; never trained, always in eval mode.
        temperatures: for each TeacherSpec in use, a function from images to the temperature of each, (N, 1) or a number.
    """

    network: Callable[[Tensor], Tensor]
    temperatures: dict[TeacherSpec, Callable[[Tensor], Tensor | float]] = field(default_factory=dict)


@dataclass
class Views:
    """One batch as the students of a cohort may see it. Each view, and the teacher's answer to it, is computed once.

    Attributes:
        clean: (N, ...) augmented, normalised images.
        labels: (N,) int64.
        teacher: or None for a cohort without.
        stream: purpose -> generator for this step; the source of all randomness, the same for every student.
        draw: spec, generator -> the mixing of this batch, on the device of the images.
        sigma: noise level of the "noise" view for each spec that needs one, in units of the normalised images.
    """

    clean: Tensor
    labels: Tensor
    teacher: Teacher | None
    stream: Callable[[str], torch.Generator]
    draw: Callable[[RunSpec, torch.Generator], Mixing]
    sigma: dict[str, float] = field(default_factory=dict)
    _made: dict[object, Tensor] = field(default_factory=dict)
    _mixings: dict[object, Mixing] = field(default_factory=dict)

    def mixing(self, spec: RunSpec) -> Mixing:
        """lam and partners; equal for all specs of equal alpha, lam_per and partial."""
        key = _mixing_key(spec)
        if key not in self._mixings:
            self._mixings[key] = self.draw(spec, self.stream("mixing"))
        return self._mixings[key]

    def images(self, view: View, spec: RunSpec) -> Tensor:
        """Return the images of a view, (N, ...)."""
        key = self._key(view, spec)
        if key not in self._made:
            if view == "clean":
                self._made[key] = self.clean
            elif view == "mixed":
                mixing = self.mixing(spec)
                self._made[key] = mix(self.clean, mixing.lam, mixing.partner)
            else:
                noise = send(torch.randn(self.clean.shape, generator=self.stream("noise")), self.clean.device)
                self._made[key] = self.clean + self.sigma[spec.id] * noise
        return self._made[key]

    def teacher_logits(self, view: View, spec: RunSpec) -> Tensor:
        """Return the tempered logits of the teacher on a view, (N, K) float32, without gradient."""
        assert self.teacher is not None
        assert spec.teacher is not None
        images, key = self.images(view, spec), ("teacher", self._key(view, spec))
        if key not in self._made:
            with torch.no_grad():
                self._made[key] = self.teacher.network(images).float()
        temperature = self.teacher.temperatures.get(spec.teacher)
        return self._made[key] if temperature is None else self._made[key] / temperature(images)

    def _key(self, view: View, spec: RunSpec) -> object:
        return {"clean": "clean", "mixed": ("mixed", _mixing_key(spec)), "noise": ("noise", self.sigma.get(spec.id))}[view]


def _mixing_key(spec: RunSpec) -> object:
    return (spec.alpha, spec.lam_per, spec.partial)


def loss(spec: RunSpec, student: Callable[[Tensor], Tensor], views: Views) -> Tensor:
    """Return the training loss of one student on one batch: a case for each arm.

    Args:
        spec: its arm, tau, weights.
        student: images -> (N, K) logits, called exactly once, so that batch norm sees each batch once.
        views: the batch.

    Returns:
        Scalar float32 tensor, nats.
    """
    labels = views.labels

    match spec.arm:
        case "ce":
            return cross_entropy(student(views.clean), labels)
        case "label_smoothing":
            return cross_entropy(student(views.clean), labels, spec.smoothing)
        case "mixup":
            return mixed_cross_entropy(student(views.images("mixed", spec)), labels, views.mixing(spec))

        case "kd":
            logits = student(views.clean)
            kd = distillation(logits, views.teacher_logits("clean", spec), spec.tau)
            return _weigh(spec, kd, lambda: cross_entropy(logits, labels))
        case "kd_mixup":
            logits = student(views.images("mixed", spec))
            kd = distillation(logits, views.teacher_logits("mixed", spec), spec.tau)
            return _weigh(spec, kd, lambda: mixed_cross_entropy(logits, labels, views.mixing(spec)))

        case "kd_mixed_targets":
            logits, mixing = student(views.images("mixed", spec)), views.mixing(spec)
            clean = soften(views.teacher_logits("clean", spec), spec.tau).exp()
            kd = _kl_to(mix(clean, mixing.lam, mixing.partner), logits, spec.tau)
            return _weigh(spec, kd, lambda: mixed_cross_entropy(logits, labels, mixing))
        case "kd_clean_ce_mixed":
            both = student(torch.cat([views.clean, views.images("mixed", spec)]))
            clean, mixed = both.chunk(2)
            kd = distillation(clean, views.teacher_logits("clean", spec), spec.tau)
            return _weigh(spec, kd, lambda: mixed_cross_entropy(mixed, labels, views.mixing(spec)))
        case "kd_noise":
            logits = student(views.images("noise", spec))
            kd = distillation(logits, views.teacher_logits("noise", spec), spec.tau)
            return _weigh(spec, kd, lambda: cross_entropy(logits, labels))
        case "kd_shuffled_tail":
            logits = student(views.images("mixed", spec))
            target = shuffle_tail(views.teacher_logits("mixed", spec), views.stream("tail"))
            kd = distillation(logits, target, spec.tau)
            return _weigh(spec, kd, lambda: mixed_cross_entropy(logits, labels, views.mixing(spec)))
    raise AssertionError(spec.arm)


def _weigh(spec: RunSpec, kd: Tensor, ce: Callable[[], Tensor]) -> Tensor:
    """``kd_weight KD + ce_weight CE``; the second is not even computed at weight 0, the default."""
    total = kd if spec.kd_weight == 1 else spec.kd_weight * kd
    return total + spec.ce_weight * ce() if spec.ce_weight else total
