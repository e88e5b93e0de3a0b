"""Mixing: the distribution of lam, the identity cases, the probe."""

import math

import pytest
import torch
from handmade import generator
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import entropy, kstest

from mixkd.vicinal import FEATURE_LAMS, LAM_GRID, draw_mixing, mix, nonlinearity, probe_pairs, sample_lam


@pytest.mark.parametrize("alpha", [0.001, 0.4, 1.0, 8.0])
def test_lam_is_beta(alpha):
    lam = sample_lam(40_000, alpha, generator()).double()
    assert not lam.isnan().any()
    assert ((lam >= 0) & (lam <= 1)).all()
    variance = 1 / (4 * (2 * alpha + 1))
    assert abs(lam.mean() - 0.5) < 5 * math.sqrt(variance / 40_000)
    assert lam.var() == pytest.approx(variance, rel=0.03)
    if alpha >= 0.4:  # below, much of it rounds to 1 in float32
        assert kstest(lam[:20_000].numpy(), "beta", args=(alpha, alpha)).pvalue > 1e-3


def test_alpha_zero_means_no_mixing_and_a_batch_may_have_one_lam():
    assert sample_lam(50, 0.5, generator(), per="batch").unique().numel() == 1
    assert sample_lam(50, 0.5, generator(), per="sample").unique().numel() == 50
    assert (sample_lam(9, 0.0, generator()) == 1).all()
    x = torch.randn(9, 3)
    mixing = draw_mixing(9, 0.0, generator())
    assert torch.equal(mix(x, mixing.lam, mixing.partner), x)


@given(n=st.integers(2, 200), partial=st.floats(0, 1), seed=st.integers(0, 1000))
@settings(max_examples=50)
def test_the_stated_fraction_is_the_fraction_mixed(n, partial, seed):
    mixing = draw_mixing(n, 1.0, generator(seed), partial=partial)
    assert int((mixing.lam < 1).sum()) == round(partial * n)
    assert sorted(mixing.partner.tolist()) == list(range(n))


@pytest.mark.parametrize(("arguments", "word"), [((0, 1.0), "n"), ((4, -0.1), "alpha"), ((4, math.nan), "alpha"), ((4, math.inf), "alpha")])
def test_bad_draws_are_named(arguments, word):
    with pytest.raises(ValueError, match=word):
        sample_lam(*arguments, generator())
    with pytest.raises(ValueError, match="per"):
        sample_lam(4, 1.0, generator(), per="image")
    with pytest.raises(ValueError, match="partial"):
        draw_mixing(4, 1.0, generator(), partial=1.1)


def test_mix_by_hand_and_at_the_ends():
    x = torch.tensor([[0.0, 2.0], [4.0, 6.0]])
    partner = torch.tensor([1, 0])
    assert torch.equal(mix(x, torch.tensor([0.75, 0.5]), partner), torch.tensor([[1.0, 3.0], [2.0, 4.0]]))
    assert torch.equal(mix(x, 1.0, partner), x)
    assert torch.equal(mix(x, 0.0, partner), x[partner])
    with pytest.raises(TypeError, match="uint8"):
        mix(torch.zeros(2, 2, dtype=torch.uint8), 0.5, partner)


@given(k=st.sampled_from([2, 3, 10, 1000]), seed=st.integers(0, 1000))
@settings(max_examples=40)
def test_nonlinearity_is_the_divergence_of_scipy(k, seed):
    logits = torch.randn(3, 5, k, generator=generator(seed), dtype=torch.float64) * 4
    p_i, p_j, p_mix = logits.softmax(-1)
    lam = torch.rand(5, generator=generator(seed), dtype=torch.float64)
    expected = [entropy((w * a + (1 - w) * b).numpy(), q.numpy()) for w, a, b, q in zip(lam, p_i, p_j, p_mix, strict=True)]
    torch.testing.assert_close(nonlinearity(p_i, p_j, p_mix, lam), torch.tensor(expected, dtype=torch.float64), rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("two_class", "one_class"), [(100, 140), (40, 0), (0, 7)])
def test_pairs_of_two_classes_come_first_and_then_those_of_one(two_class, one_class):
    labels = torch.arange(500) % 7
    pairs = probe_pairs(labels, two_class, one_class)
    assert pairs.shape == (two_class + one_class, 2)
    assert pairs.dtype == torch.int64
    assert torch.equal(pairs, probe_pairs(labels, two_class, one_class))
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    assert same.tolist() == [False] * two_class + [True] * one_class
    assert (pairs[:, 0] != pairs[:, 1]).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [([0] * 9, "two images of two classes"), ([1], "two images of two classes"), ([0, 1, 2], "3 images: no class has two")],
)
def test_pairs_that_cannot_be_found_are_explained(labels, message):
    with pytest.raises(ValueError, match=message):
        probe_pairs(torch.tensor(labels), 2, 1)


@given(slope=st.floats(-9, 9), offset=st.floats(-9, 9))
def test_the_inner_grid_is_a_midpoint_rule(slope, offset):
    """Its plain mean is the mean over uniform lam: exactly for a line, nearly for a parabola."""
    inner = torch.tensor(LAM_GRID[1:-1], dtype=torch.float64)
    assert (LAM_GRID[0], LAM_GRID[-1]) == (0, 1)
    assert set(FEATURE_LAMS) <= set(LAM_GRID)
    assert float((slope * inner + offset).mean()) == pytest.approx(slope / 2 + offset, abs=1e-12)
    assert float(inner.square().mean()) == pytest.approx(1 / 3 - 1 / (12 * len(inner) ** 2), abs=1e-12)
