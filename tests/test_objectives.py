"""Losses against closed forms and finite differences; each arm against its line in the table."""

import math

import pytest
import torch
import torch.nn.functional as F
from handmade import generator

from mixkd.objectives import Teacher, Views, cross_entropy, distillation, loss, mixed_cross_entropy, shuffle_tail, soften
from mixkd.spec import ARMS, RunSpec, TeacherSpec
from mixkd.vicinal import Mixing, draw_mixing, mix

N, D, K = 12, 5, 4


@pytest.fixture
def logits():
    return torch.randn(2, N, K, generator=generator(), dtype=torch.float32) * 3


@pytest.mark.parametrize("tau", [1.0, 2.0, 4.0, 20.0])
def test_gradient_of_distillation_is_tau_times_the_difference(logits, tau):
    student, teacher = logits[0].clone().requires_grad_(), logits[1]
    distillation(student, teacher, tau).backward()
    expected = tau * ((student / tau).softmax(-1) - (teacher / tau).softmax(-1)) / N
    torch.testing.assert_close(student.grad, expected, rtol=1e-4, atol=1e-6)


def test_distillation_is_a_divergence(logits):
    student, teacher = logits
    assert distillation(teacher, teacher, 2.0).abs() < 1e-6
    expected = 4 * F.kl_div((student / 2).log_softmax(-1), (teacher / 2).softmax(-1), reduction="batchmean")
    torch.testing.assert_close(distillation(student, teacher, 2.0), expected)
    assert not torch.isnan(distillation(student, teacher * 1e4, 1.0))
    taught = teacher.clone().requires_grad_()
    distillation(student.clone().requires_grad_(), taught, 2.0).backward()
    assert taught.grad is None


def test_std_scaling_ignores_the_scale_of_logits_and_has_no_tau_factor(logits):
    student, teacher = logits
    torch.testing.assert_close(distillation(student, teacher, "std"), distillation(7 * student, 0.3 * teacher, "std"))
    assert soften(student, "std").exp().sum(-1) == pytest.approx([1.0] * N)
    rows = student / student.std(-1, keepdim=True, correction=0)
    torch.testing.assert_close(soften(student, "std"), rows.log_softmax(-1))


def test_mixed_cross_entropy_is_cross_entropy_on_mixed_labels(logits):
    labels = torch.randint(K, (N,), generator=generator())
    mixing = draw_mixing(N, 1.0, generator())
    soft = mix(F.one_hot(labels, K).float(), mixing.lam, mixing.partner)
    torch.testing.assert_close(mixed_cross_entropy(logits[0], labels, mixing), F.cross_entropy(logits[0], soft))
    unmixed = Mixing(torch.ones(N), mixing.partner)
    torch.testing.assert_close(mixed_cross_entropy(logits[0], labels, unmixed), cross_entropy(logits[0], labels))
    swapped = Mixing(torch.zeros(N), mixing.partner)
    torch.testing.assert_close(mixed_cross_entropy(logits[0], labels, swapped), cross_entropy(logits[0], labels[mixing.partner]))


def test_label_smoothing_by_hand():
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    log_p = logits.log_softmax(-1)[0]
    expected = -(0.9 * log_p[0] + 0.1 * log_p.mean())
    torch.testing.assert_close(cross_entropy(logits, torch.tensor([0]), 0.1), expected)


def test_shuffled_tail_keeps_the_top_two_and_the_values(logits):
    z = torch.randn(400, 6, generator=generator(1))
    shuffled = shuffle_tail(z, generator(2))
    top = z.topk(2).indices
    assert torch.equal(shuffled.gather(1, top), z.gather(1, top))
    assert torch.equal(shuffled.sort(-1).values, z.sort(-1).values)
    moved = (shuffled != z).any(-1).double().mean()
    assert moved == pytest.approx(1 - 1 / math.factorial(4), abs=0.05)
    assert not torch.equal(shuffled, shuffle_tail(z, generator(3)))


def _views(teacher_calls, sigma=None):
    weight = torch.randn(D, K, generator=generator(9))

    def teacher(images):
        teacher_calls.append(images)
        return images @ weight

    return Views(
        clean=torch.randn(N, D, generator=generator(1)),
        labels=torch.randint(K, (N,), generator=generator(2)),
        teacher=Teacher(teacher),
        stream=lambda purpose: generator(hash(purpose) % 1000),
        draw=lambda spec, g: draw_mixing(N, spec.alpha, g, per=spec.lam_per, partial=spec.partial),
        sigma=sigma or {},
    )


def _spec(arm, **fields):
    teacher = {"teacher": TeacherSpec(model="mlp16")} if ARMS[arm].distils else {}
    if arm == "kd_clean_ce_mixed":
        fields = {"ce_weight": 1.0, **fields}
    return RunSpec(data="gaussians", student="mlp16", arm=arm, **teacher, **fields)


SEEN = {
    "ce": ("clean", []),
    "label_smoothing": ("clean", []),
    "mixup": ("mixed", []),
    "kd": ("clean", ["clean"]),
    "kd_mixup": ("mixed", ["mixed"]),
    "kd_mixed_targets": ("mixed", ["clean"]),
    "kd_clean_ce_mixed": ("both", ["clean"]),
    "kd_noise": ("noise", ["noise"]),
    "kd_shuffled_tail": ("mixed", ["mixed"]),
}
"""What the student of each arm sees, and what its teacher does."""


@pytest.mark.parametrize("arm", ARMS)
def test_student_and_teacher_see_what_the_table_says(arm):
    spec, teacher_saw, student_saw = _spec(arm), [], []
    views = _views(teacher_saw, {spec.id: 0.5})
    network = torch.nn.Linear(D, K)

    def student(images):
        student_saw.append(images)
        return network(images)

    loss(spec, student, views).backward()
    mixing = views.mixing(spec) if ARMS[arm].mixes else None
    seen = {"clean": views.clean}
    if mixing is not None:
        seen["mixed"] = mix(views.clean, mixing.lam, mixing.partner)
        seen["both"] = torch.cat([views.clean, seen["mixed"]])
        seen["noise"] = views.images("noise", spec)
    assert len(student_saw) == 1, "batch norm must see each batch once"
    student_sees, teacher_sees = SEEN[arm]
    assert torch.equal(student_saw[0], seen[student_sees])
    assert len(teacher_saw) == len(teacher_sees)
    for images, view in zip(teacher_saw, teacher_sees, strict=True):
        assert torch.equal(images, seen[view])
    assert network.weight.grad.abs().sum() > 0


def test_the_teacher_answers_once_for_a_whole_cohort():
    calls = []
    views = _views(calls)
    network = torch.nn.Linear(D, K)
    for tau in (1.0, 2.0, 4.0, 8.0):
        loss(_spec("kd_mixup", tau=tau), network, views)
        loss(_spec("kd", tau=tau), network, views)
    assert len(calls) == 2


def test_a_teacher_with_no_mismatch_gives_equal_arms():
    """Where nothing is mixed, distilling on mixup is distilling, and mixed targets are the targets."""
    views, network = _views([]), torch.nn.Linear(D, K)
    plain = loss(_spec("kd"), network, views)
    for arm in ("kd_mixup", "kd_mixed_targets"):
        torch.testing.assert_close(loss(_spec(arm, alpha=0.0), network, views), plain)


def test_mixed_targets_of_a_linear_teacher_in_probability_are_linear():
    views, spec = _views([]), _spec("kd_mixed_targets", tau=1.0)
    mixing = views.mixing(spec)
    target = mix(views.teacher_logits("clean", spec).softmax(-1), mixing.lam, mixing.partner)
    student = target.log()
    assert loss(spec, lambda images: student, views).abs() < 1e-6


@pytest.mark.parametrize("arm", [arm for arm in ARMS if ARMS[arm].distils])
def test_the_two_terms_are_weighed_and_the_labels_are_of_what_the_student_sees(arm):
    network = torch.nn.Linear(D, K)

    def lost(kd, ce):
        spec = _spec(arm, kd_weight=kd, ce_weight=ce)
        return loss(spec, network, _views([], {spec.id: 0.5}))

    spec = _spec(arm, ce_weight=1.0)
    views, (sees, _) = _views([], {spec.id: 0.5}), SEEN[arm]
    if sees in ("mixed", "both"):
        ce = mixed_cross_entropy(network(views.images("mixed", spec)), views.labels, views.mixing(spec))
    else:
        ce = cross_entropy(network(views.images(sees, spec)), views.labels)
    one = lost(1.0, 1.0)
    torch.testing.assert_close(lost(1.0, 3.0) - one, 2 * ce)
    torch.testing.assert_close(lost(3.0, 1.0) - one, 2 * (one - ce))


def test_tempered_teacher_is_the_teacher_at_another_temperature():
    warm = _spec("kd").replace(teacher=TeacherSpec(model="mlp16", temperature=3.0))
    views, network = _views([]), torch.nn.Linear(D, K)
    plain = views.teacher_logits("clean", _spec("kd"))
    views.teacher.temperatures[warm.teacher] = lambda images: 3.0
    torch.testing.assert_close(views.teacher_logits("clean", warm), plain / 3)
    assert loss(warm, network, views) != loss(_spec("kd"), network, views)
