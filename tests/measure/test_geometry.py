"""Representations with known geometry: rotations, simplices, unrelated noise."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group, spearmanr

from mixkd.measure import geometry


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def gram_hsic(x, y):
    """Unbiased HSIC of Song et al. from the matrices themselves."""
    n = len(x)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    np.fill_diagonal(k, 0)
    np.fill_diagonal(l, 0)
    one = np.ones(n)
    middle = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
    return (np.trace(k @ l) + middle - 2 / (n - 2) * (one @ k @ l @ one)) / (n * (n - 3))


def test_cka_is_the_ratio_of_unbiased_hsics():
    x, y = noise(30, 5) + 3, noise(30, 8, seed=1) - 2
    y[:, :5] += x
    expected = gram_hsic(x, y) / math.sqrt(gram_hsic(x, x) * gram_hsic(y, y))
    assert geometry.linear_cka(x, y) == pytest.approx(expected, abs=1e-10)
    assert geometry.linear_cka(x, y) == pytest.approx(geometry.linear_cka(y, x))


def test_cka_ignores_rotation_shift_and_scale():
    x, y = noise(60, 6), noise(60, 6, seed=1) + noise(60, 6)
    moved = 3 * y @ ortho_group.rvs(6, random_state=0) + 7
    assert geometry.linear_cka(x, moved) == pytest.approx(geometry.linear_cka(x, y))
    assert geometry.linear_cka(y, moved) == pytest.approx(1)
    stretched = y * np.array([30.0, 1, 1, 1, 1, 1])
    assert geometry.linear_cka(y, stretched) < 0.9


def test_cka_of_a_constant_is_undefined():
    for n in range(4, 64):  # some of these leave a positive rounding error
        constant = np.tile(noise(1, 5, seed=n) * 1e3, (n, 1))
        assert math.isnan(geometry.linear_cka(constant, noise(n, 3)))
    assert not math.isnan(geometry.linear_cka(noise(50, 4) * 1e-3 + 100, noise(50, 4) * 1e-3))


def simplex(k, d, spread):
    """Features of k classes around a simplex in d dimensions: each axis once in either direction."""
    rotation = ortho_group.rvs(d, random_state=1)[:k]
    means = math.sqrt(k / (k - 1)) * (np.eye(k) - 1 / k) @ rotation
    steps = spread * np.concatenate([np.eye(d), -np.eye(d)])
    return (means[:, None] + steps).reshape(-1, d) + 5, np.repeat(np.arange(k), 2 * d), means


def test_nc1_of_a_simplex():
    k, d, spread = 5, 8, 0.1
    features, labels, _ = simplex(k, d, spread)
    # S_B is the projector on the simplex over k - 1, S_W is 2 spread^2 / (2 d - 1) in every direction
    assert geometry.nc1(features, labels) == pytest.approx(2 * spread**2 / (2 * d - 1) * (k - 1) ** 2 / k)
    assert geometry.nc1(*simplex(k, d, 0.0)[:2]) == pytest.approx(0, abs=1e-12)


def test_nc1_against_a_direct_computation():
    labels = np.repeat([0, 2, 3, 7], [2, 5, 9, 20])
    features = noise(36, 6) + 2 * noise(8, 6, seed=1)[labels]
    found = geometry.nc1(np.r_[features, noise(1, 6)], np.r_[labels, 5])  # a class of one row is left out
    classes = [0, 2, 3, 7]
    means = np.array([features[labels == c].mean(0) for c in classes])
    within = np.mean([np.cov(features[labels == c].T) for c in classes], axis=0)
    assert found == pytest.approx(np.trace(within @ np.linalg.pinv(np.cov(means.T, bias=True), rcond=1e-9)) / 4)
    labels = np.repeat(np.arange(10), 4)
    assert 0 < geometry.nc1((noise(10, 3)[labels] + 0.1 * noise(40, 3, seed=1)).astype(np.float32), labels) < 1


def test_class_means_that_look_alike():
    labels = np.repeat(np.arange(7), 10)
    a = noise(7, 5)[labels] + 0.1 * noise(70, 5, seed=1)
    b = noise(7, 9, seed=2)[labels] + a @ noise(5, 9, seed=3)
    means = [np.array([values[labels == c].mean(0) for c in range(7)]) for values in (a, b)]
    assert geometry.class_mean_rsa(a, b, labels) == pytest.approx(spearmanr(*map(pdist, means)).statistic)
    assert geometry.class_mean_rsa(a, 2 * a @ ortho_group.rvs(5, random_state=0), labels) == pytest.approx(1)
    assert math.isnan(geometry.class_mean_rsa(np.eye(4), noise(4, 3), np.arange(4)))


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_effective_rank_counts_equal_directions(rank):
    basis = ortho_group.rvs(40, random_state=0)[:, :rank]
    basis -= basis.mean(0)
    columns, _ = np.linalg.qr(basis)
    features = columns @ ortho_group.rvs(8, random_state=1)[:rank] + 9
    assert geometry.effective_rank(features) == pytest.approx(rank)
    assert math.isnan(geometry.effective_rank(np.full((5, 3), 0.1)))
    assert 1 <= geometry.effective_rank(noise(5, 30)) <= 4


def test_feature_linearity():
    first, second, bend = (torch.from_numpy(noise(4, 6, seed=s)) for s in range(3))
    lam = torch.tensor([0.0, 0.25, 0.5, 1.0])
    straight = torch.stack([w * first + (1 - w) * second for w in lam])
    assert geometry.feature_linearity(straight, lam).abs().max() < 1e-12
    bent = straight + (lam * (1 - lam)).reshape(-1, 1, 1) * bend
    expected = bend.norm(dim=1) / (first - second).norm(dim=1)
    torch.testing.assert_close(geometry.feature_linearity(5 * bent + 1, lam)[1:3], torch.stack([3 / 16 * expected, expected / 4]))
    assert geometry.feature_linearity(torch.ones(3, 2, 5), [0, 0.5, 1]).isnan().all()


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="same 4 or more rows"):
        geometry.linear_cka(noise(5, 3), noise(6, 3))
    with pytest.raises(ValueError, match="at least two classes need 2"):
        geometry.nc1(noise(4, 3), np.array([0, 0, 1, 2]))
    with pytest.raises(ValueError, match="at least 3"):
        geometry.class_mean_rsa(noise(4, 3), noise(4, 3), np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match="run from exactly 0"):
        geometry.feature_linearity(noise(3, 2, 5), [0, 0.5, 0.9])
