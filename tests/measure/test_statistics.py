"""Intervals and tests against scipy, closed forms and simulation; undefined results say so instead of failing."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mixkd.measure import statistics
from mixkd.measure.statistics import Interval

NAN = math.nan
floats = st.floats(-1e3, 1e3)


def same(interval, estimate, low, high, n):
    """Whether an interval has these fields, nan equal to nan."""
    found = (interval.estimate, interval.low, interval.high)
    return interval.n == n and np.allclose(found, (estimate, low, high), rtol=1e-12, equal_nan=True)


def holds(interval, truth):
    """Whether the truth lies in an interval."""
    return interval.low <= truth <= interval.high


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_t_interval_of_scipy(level):
    values = [0.71, 0.75, 0.69, 0.74, 0.70]
    low, high = stats.t.interval(level, 4, np.mean(values), stats.sem(values))
    assert same(statistics.t_interval(values).at(level), np.mean(values), low, high, 5)


def test_too_little_to_say():
    assert same(statistics.t_interval([]), NAN, NAN, NAN, 0)
    assert same(statistics.t_interval([2.0]), 2, NAN, NAN, 1)
    assert same(statistics.t_interval([2.0, NAN, 1.0]), NAN, NAN, NAN, 3)
    assert same(statistics.t_interval([2.0, math.inf]), NAN, NAN, NAN, 2)
    assert same(statistics.t_interval([2.0, 2.0]), 2, 2, 2, 2)
    assert not statistics.t_interval([2.0]).defined
    assert statistics.t_interval([1.0, 2.0]).defined


def test_p_is_that_of_scipy():
    values = [0.71, 0.75, 0.69, 0.74, 0.70]
    interval = statistics.t_interval(values)
    assert interval.p(0.7) == pytest.approx(stats.ttest_1samp(values, 0.7).pvalue)
    assert math.isnan(statistics.t_interval([0.5]).p(0))
    certain = statistics.t_interval([2.0, 2.0])
    assert (certain.p(2.0), certain.p(1.0)) == (1, 0)


@pytest.mark.parametrize("n", [3, 6])
def test_crossed_of_hits_drawn_by_image(n):
    """The same with hits of images, drawn by multinomial weights as the claims do it; hard images are hard for every seed."""
    rng, images, covered, alone = np.random.default_rng(n), 500, [], []
    for _ in range(200):
        shares = rng.multinomial(images, np.full(images, 1 / images), size=200) / images
        chance = rng.beta(6, 2, images)
        hits = []
        for _arm in range(2):
            luck = np.where(
                rng.random((n, images)) < 0.8, rng.random(images), rng.random((n, images))
            )  # mostly the image's, for every seed
            hits.append(luck < chance + rng.normal(0, 0.003, (n, 1)))
        change = hits[0].astype(float) - hits[1]
        covered.append(holds(statistics.crossed(change.mean(1), change @ shares.T), 0))
        alone.append(holds(statistics.t_interval(change.mean(1)), 0))
    assert np.mean(covered) >= 0.92
    assert np.mean(alone) < 0.88


def test_crossed_adds_the_two_sources():
    rng = np.random.default_rng(5)
    values = np.array([0.1, 0.12, 0.08, 0.11])
    common = rng.normal(0, 0.01, 4000)
    found = statistics.crossed(values, values[:, None] + common)
    seeds, images = values.var(ddof=1) / 4, common.var(ddof=1)
    assert found.estimate == pytest.approx(values.mean())
    assert found.error == pytest.approx(math.sqrt(seeds + images))
    assert found.image_error == pytest.approx(math.sqrt(images))
    df = (seeds + images) ** 2 / (seeds**2 / 3 + images**2 / 3999)
    assert found.df == pytest.approx(df)
    assert found.high - found.estimate == pytest.approx(max(stats.t.ppf(0.975, df) * found.error, stats.t.ppf(0.975, 3) * math.sqrt(seeds)))
    assert found.n == 4


@given(st.lists(st.integers(-100, 100).map(lambda i: i / 100), min_size=2, max_size=6), st.integers(0, 100).map(lambda i: i / 100))
def test_crossed_is_never_shorter_than_seeds_alone(values, size):
    draws = np.array(values)[:, None] + size * np.random.default_rng(0).normal(size=200)
    crossed, alone = statistics.crossed(values, draws), statistics.t_interval(values)
    for level in (0.9, 0.95):
        assert crossed.at(level).low <= alone.at(level).low + 1e-12
        assert crossed.at(level).high >= alone.at(level).high - 1e-12
    outside = crossed.high + 1e-6 + 1e-3 * (crossed.high - crossed.low)
    assert crossed.p(outside) < 0.05
    if crossed.high > crossed.low + 1e-9:
        assert crossed.p(crossed.high) == pytest.approx(0.05)


def test_crossed_of_too_little():
    assert not statistics.crossed([0.5], np.zeros((1, 10))).defined
    assert not statistics.crossed([], np.zeros((0, 10))).defined
    assert not statistics.crossed([0.5, NAN], np.zeros((2, 10))).defined
    assert not statistics.crossed([0.5, 0.6], np.full((2, 10), NAN)).defined
    some = np.random.default_rng(0).normal(size=(2, 10))
    some[0, :2] = NAN
    assert statistics.crossed([0.5, 0.6], some).defined
    with pytest.raises(ValueError, match="one row per value"):
        statistics.crossed([0.5, 0.6], np.zeros((3, 10)))


def test_one_network_over_images():
    draws = np.random.default_rng(0).normal(0.5, 0.1, 200)
    found = statistics.over_images(0.5, draws)
    assert found.n == 1
    assert found.high - 0.5 == pytest.approx(stats.t.ppf(0.975, 199) * draws.std(ddof=1))
    assert not statistics.over_images(0.5, [NAN, NAN]).defined


def mean_of_pairs(table):
    def mean(units):
        values = [table[i, j] for i in units for j in units if i < j]
        return float(np.mean(values)) if values else NAN

    return mean


@pytest.mark.parametrize("n", [3, 5, 6])
def test_jackknife_of_what_two_units_share_covers_as_often_as_it_says(n):
    """Agreement of pairs: each unit brings something of its own to all its pairs, each pair something to itself. With three units each
    pseudo-value rests on a single pair: the interval may be too long, and must not be too short."""
    rng = np.random.default_rng(20 + n)
    covered, naive = [], []
    for _ in range(1500):
        unit, pair = rng.normal(0, 0.1, n), rng.normal(0, 0.03, (n, n))
        table = 0.6 + unit[:, None] + unit[None, :] + pair + pair.T
        covered.append(holds(statistics.jackknife(mean_of_pairs(table), n), 0.6))
        naive.append(holds(statistics.t_interval(table[np.triu_indices(n, 1)]), 0.6))
    assert 0.93 < np.mean(covered) < (0.97 if n > 3 else 1)
    assert np.mean(naive) < 0.8 or n == 3  # why pairs must not be taken for independent values


@given(st.lists(floats, min_size=2, max_size=8))
def test_jackknife_of_a_mean_is_its_t_interval(values):
    found = statistics.jackknife(lambda units: float(np.mean([values[unit] for unit in units])), len(values))
    wanted = statistics.t_interval(values)
    assert np.allclose((found.estimate, found.low, found.high), (wanted.estimate, wanted.low, wanted.high), rtol=1e-7, atol=1e-7)


def test_jackknife_takes_the_bias_of_a_curved_statistic_away():
    rng = np.random.default_rng(3)
    plain, mended = [], []
    for _ in range(3000):
        values = rng.normal(0, 1, 6)
        plain.append(values.mean() ** 2)  # of 0, on average 1 / 6
        mended.append(statistics.jackknife(lambda units, v=values: float(v[units].mean() ** 2), 6).estimate)
    assert np.mean(plain) == pytest.approx(1 / 6, abs=0.02)
    assert np.mean(mended) == pytest.approx(0, abs=0.02)


def test_jackknife_of_too_little():
    for n in (0, 1, 2):
        assert not statistics.jackknife(mean_of_pairs(np.ones((n, n))), n).defined
    assert math.isnan(statistics.jackknife(mean_of_pairs(np.ones((1, 1))), 1).estimate)
    assert statistics.jackknife(mean_of_pairs(np.ones((2, 2))), 2).estimate == 1


@given(st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=8, unique=True), st.floats(0.005, 0.1))
def test_equivalence_is_two_one_sided_tests(values, margin):
    v = np.array(values)
    p = max(stats.ttest_1samp(v, -margin, alternative="greater").pvalue, stats.ttest_1samp(v, margin, alternative="less").pvalue)
    if abs(p - 0.05) > 1e-6:
        assert (statistics.equivalence(statistics.t_interval(v), margin) is True) == (p < 0.05)


@pytest.mark.parametrize(
    ("values", "said"),
    [([0.5, 0.51, 0.52], False), ([-0.5, -0.51, -0.52], False), ([0.0, 0.2, 0.1], None), ([0.0], None), ([0.0, 0.0], True)],
)
def test_equivalence_says_no_outside_and_nothing_without_evidence(values, said):
    assert statistics.equivalence(statistics.t_interval(values), 0.1) is said


def test_holm_worked_example_and_undefined_tests():
    assert statistics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert statistics.holm([0.02, NAN]) == pytest.approx([0.04, NAN], nan_ok=True)
    assert statistics.holm([]).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 1000))
def test_holm_is_between_one_test_and_bonferroni(p, seed):
    adjusted = statistics.holm(p)
    assert (adjusted >= np.array(p) - 1e-12).all()
    assert (adjusted <= np.minimum(np.array(p) * len(p), 1) + 1e-12).all()
    assert adjusted.min() == pytest.approx(min(min(p) * len(p), 1))
    order = np.random.default_rng(seed).permutation(len(p))
    np.testing.assert_allclose(statistics.holm(np.array(p)[order]), adjusted[order])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: statistics.t_interval([[1.0, 2.0]]), "1 dimension"),
        (lambda: statistics.t_interval([1.0, 2.0]).at(95), "level"),
        (lambda: statistics.equivalence(Interval(0, 0, 0, 2), 0.0), "margin"),
        (lambda: statistics.holm([1.5]), r"\[0, 1\]"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
