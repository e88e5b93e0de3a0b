"""The exact posterior of K classes: right as often as asked, calibrated, linear in its logits."""

import math

import numpy as np
import pytest
import torch

from mixkd import calibration
from mixkd.measure import classes, linearity


def test_two_classes_have_the_closed_form():
    # right when a + g0 > g1, so with probability Phi(a / sqrt 2)
    a = classes.separation(2, 0.9)
    assert 0.5 * (1 + math.erf(a / 2)) == pytest.approx(0.9, abs=1e-8)


@pytest.mark.parametrize("k", [3, 10, 500])
def test_the_rule_is_right_as_often_as_asked(k):
    random, a = np.random.default_rng(1), classes.separation(k, 0.75)
    x = random.normal(size=(20_000, k))
    x[:, 0] += a
    assert (x.argmax(1) == 0).mean() == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / 20_000))


def test_it_is_calibrated_and_needs_no_temperature():
    drawn = classes.exact(10, 0.75, n=20_000)
    report = calibration.report(drawn.logits, drawn.labels)
    assert abs(report.gap) < 4 * math.sqrt(0.25 / 20_000)
    assert report.ece < 2 * calibration.noise_floor(drawn.logits).ece
    assert calibration.fit_temperature(drawn.logits, drawn.labels) == pytest.approx(1, abs=0.03)


def test_its_logits_are_linear_and_its_ends_are_the_clean_answers():
    drawn = classes.exact(5, 0.8, n=200, pairs=50)
    assert linearity.logit_linearity(drawn.blends, classes.LAM, drawn.pairs).gap.nan_to_num().abs().max() < 1e-12
    assert torch.equal(drawn.blends[-1], drawn.logits[:50])
    assert torch.equal(drawn.blends[0], drawn.logits[50:100])
    assert (drawn.pairs[:, 0] != drawn.pairs[:, 1]).all()


def test_what_is_described_is_what_is_drawn():
    row = classes.describe(4, 0.7)
    drawn = classes.exact(4, 0.7)
    p = drawn.blends[len(classes.LAM) // 2].softmax(-1)
    by_hand = np.mean([float(p[i, a] + p[i, b]) for i, (a, b) in enumerate(drawn.pairs.tolist())])
    assert row["mass on the pair"] == pytest.approx(by_hand)
    assert row["non-linearity"] > 0
    assert 0 < row["OE floor"] < row["ECE floor"] < 0.03


@pytest.mark.parametrize(("k", "accuracy", "words"), [(1, 0.5, "at least 2"), (4, 0.25, "1 / k"), (4, 1.0, "1 / k")])
def test_the_impossible_is_refused(k, accuracy, words):
    with pytest.raises(ValueError, match=words):
        classes.separation(k, accuracy)
    with pytest.raises(ValueError, match="n / 2"):
        classes.exact(4, 0.5, n=10, pairs=6)
