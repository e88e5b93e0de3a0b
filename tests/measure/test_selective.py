"""Ranking measures against scikit-learn and against every order of tied inputs."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mixkd.measure import selective

scores = st.lists(st.integers(0, 4), min_size=2, max_size=40)


def area(correct):
    """AURC of inputs in this very order."""
    wrong = ~np.asarray(correct)
    return float(np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1)))


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_aurc_is_the_mean_over_all_orders_of_tied_inputs(inputs):
    confidence, correct = np.array([c for c, _ in inputs], float), np.array([h for _, h in inputs])
    orders = [
        order
        for order in itertools.permutations(range(len(inputs)))
        if all(confidence[a] >= confidence[b] for a, b in itertools.pairwise(order))
    ]
    expected = np.mean([area(correct[list(order)]) for order in orders])
    assert selective.aurc(confidence, correct) == pytest.approx(expected, abs=1e-12)


def test_aurc_by_hand():
    curve = selective.risk_coverage(torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([True, False, True, False]))
    assert curve.tolist() == pytest.approx([0, 1 / 2, 1 / 3, 1 / 2])
    assert selective.aurc(np.array([0.5] * 4), np.array([True, False, True, False])) == pytest.approx(0.5)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_e_aurc_is_zero_for_the_best_ranking_and_positive_for_others(hits, misses, seed):
    correct = np.array([True] * hits + [False] * misses)
    rng = np.random.default_rng(seed)
    assert selective.e_aurc(-np.arange(len(correct), dtype=float), correct) == pytest.approx(0, abs=1e-12)
    assert selective.e_aurc(rng.normal(size=len(correct)), correct) >= -1e-12


@pytest.mark.parametrize("error", [0.05, 0.3])
def test_e_aurc_tends_to_the_published_form(error):
    n = 20_000
    correct = np.random.default_rng(0).random(n) > error
    confidence = np.random.default_rng(1).normal(size=n)
    e = 1 - correct.mean()
    published = selective.aurc(confidence, correct) - (e + (1 - e) * math.log(1 - e))
    assert selective.e_aurc(confidence, correct) == pytest.approx(published, abs=1 / n)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=40))
@settings(max_examples=60, deadline=None)
def test_misclassification_auroc_is_that_of_scikit_learn(inputs):
    confidence, correct = np.array([c for c, _ in inputs], float), np.array([h for _, h in inputs])
    found = selective.misclassification_auroc(confidence, correct)
    if correct.all() or not correct.any():
        assert math.isnan(found)
    else:
        assert found == pytest.approx(roc_auc_score(correct, confidence))


@given(scores, scores)
@settings(max_examples=60, deadline=None)
def test_detection_is_that_of_scikit_learn(own, foreign):
    own, foreign = np.array(own, float), np.array(foreign, float)
    truth, value = np.repeat([1, 0], [len(own), len(foreign)]), np.concatenate([own, foreign])
    assert selective.detection(own, foreign) == pytest.approx(roc_auc_score(truth, value))


def test_detection_at_its_limits():
    assert selective.detection(np.arange(20.0) + 50, np.arange(20.0)) == 1
    assert selective.detection(np.zeros(10), np.zeros(30)) == 0.5


def test_the_score_of_the_maximum_probability_keeps_its_order_without_saturating():
    logits = torch.tensor([[60.0, 0, 0], [80.0, 0, 0], [2.0, 1, 0], [0.1, 0, 0]])
    p = logits.double().softmax(1).amax(1)
    score = selective.score(logits)
    torch.testing.assert_close(score[2:], (p / (1 - p)).log()[2:])
    assert p[0] == p[1] == 1
    assert score.argsort().tolist() == [3, 2, 0, 1]


def test_selective_gathers_the_measures_of_a_classifier():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(200, 5)).astype(np.float32), rng.integers(5, size=200)
    found = selective.selective(logits, labels)
    hit, confidence = logits.argmax(1) == labels, selective.score(logits)
    assert found.error == pytest.approx(1 - hit.mean())
    assert found.aurc == selective.aurc(confidence, hit)
    assert found.e_aurc == selective.e_aurc(confidence, hit)
    assert found.auroc == pytest.approx(roc_auc_score(hit, confidence))
    shuffle = rng.permutation(200)
    assert selective.selective(logits[shuffle], labels[shuffle]).aurc == pytest.approx(found.aurc)
    assert math.isnan(selective.selective(logits, logits.argmax(1)).auroc)


def test_bad_input_is_named():
    with pytest.raises(TypeError, match="boolean"):
        selective.aurc(np.ones(3), np.ones(3))
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        selective.aurc(np.ones(3), np.ones(4, bool))
    with pytest.raises(ValueError, match="1 of 3"):
        selective.aurc(np.array([1, np.nan, 0]), np.ones(3, bool))
    with pytest.raises(ValueError, match="one score or more"):
        selective.detection(np.ones(3), np.ones(0))
