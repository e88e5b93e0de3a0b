"""Agreement against scikit-learn; a student that copies is told from one of hard inputs."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from mixkd.measure import fidelity

seeds = st.integers(0, 2**32 - 1)


def one_hot(answers, k):
    return 5.0 * np.eye(k)[answers]


@given(seed=seeds, k=st.sampled_from([2, 3, 10]))
@settings(max_examples=30, deadline=None)
def test_kappas_are_those_of_scikit_learn(seed, k):
    rng = np.random.default_rng(seed)
    truth = rng.integers(k, size=60)
    a, b = (np.where(rng.random(60) < 0.6, truth, rng.integers(k, size=60)) for _ in range(2))
    found = fidelity.agreement(one_hot(a, k), one_hot(b, k))
    assert found.agreement == pytest.approx((a == b).mean())
    assert found.kappa == pytest.approx(cohen_kappa_score(a, b))


def test_agreement_at_its_limits():
    answers = one_hot(np.arange(10) % 3, 3)
    same = fidelity.agreement(answers, answers)
    assert (same.agreement, same.kappa) == (1, 1)
    constant = one_hot(np.zeros(10, int), 3)
    assert math.isnan(fidelity.agreement(constant, constant).kappa)


def test_copied_errors_by_hand():
    truth = np.array([0, 0, 0, 0, 0])
    student, teacher, other = np.array([1, 1, 2, 0, 3]), np.array([1, 2, 2, 1, 0]), np.array([1, 1, 0, 2, 3])
    found = fidelity.copied_errors(*(one_hot(x, 4) for x in (student, teacher)), truth, [one_hot(other, 4)])
    assert found.rate == pytest.approx(2 / 3)
    assert (found.paired_rate.tolist(), found.paired_chance.tolist()) == ([0.5], [1.0])
    assert found.excess == -0.5


@pytest.mark.parametrize("copies", [0.0, 0.5])
def test_copying_is_told_from_inputs_that_mislead_everyone(copies):
    """Each wrong answer is the misleading class half the time; the copyist also looks at its own teacher."""
    rng = np.random.default_rng(0)
    n, k = 60_000, 10
    truth, lure = np.zeros(n, int), rng.integers(1, k, size=n)

    def model():
        wrong = np.where(rng.random(n) < 0.5, lure, rng.integers(1, k, size=n))
        return np.where(rng.random(n) < 0.5, truth, wrong)

    teacher, others = model(), [model(), model()]
    student = np.where((rng.random(n) < copies) & (teacher != truth), teacher, model())
    found = fidelity.copied_errors(one_hot(student, k), one_hot(teacher, k), truth, [one_hot(x, k) for x in others])
    assert found.rate > 0.3  # the lure alone makes independent models share errors
    assert found.excess > 0.3 if copies else abs(found.excess) < 0.02


def test_copied_errors_without_errors_or_without_others():
    answers = one_hot(np.arange(6) % 3, 3)
    found = fidelity.copied_errors(answers, answers, np.arange(6) % 3)
    assert math.isnan(found.rate)
    assert math.isnan(found.excess)
    assert found.paired_chance.shape == (0,)
    stacked = fidelity.copied_errors(answers, answers, np.zeros(6, int), torch.from_numpy(np.stack([answers] * 2)))
    assert stacked.excess == 0
    assert stacked.rate == 1


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="same inputs and classes"):
        fidelity.agreement(np.zeros((4, 3)), np.zeros((5, 3)))
    with pytest.raises(ValueError, match="independent of the two models"):
        fidelity.copied_errors(np.zeros((4, 3)), np.zeros((4, 3)), np.zeros(4, int), [np.zeros((3, 3))])
