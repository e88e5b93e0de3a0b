"""Intervals and tests against scipy, closed forms and simulation; undefined results say so instead of failing."""

import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mixkd.measure import statistics
from mixkd.measure.statistics import Interval, intersection_union

NAN = math.nan
floats = st.floats(-1e3, 1e3)


def same(interval, estimate, low, high, n):
    """Whether an interval has these fields, nan equal to nan."""
    found = (interval.estimate, interval.low, interval.high)
    return interval.n == n and np.allclose(found, (estimate, low, high), rtol=1e-12, equal_nan=True)


# --------------------------------------------------------------------------------------------------------- t intervals


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_t_interval_of_scipy(level):
    values = [0.71, 0.75, 0.69, 0.74, 0.70]
    low, high = stats.t.interval(level, 4, np.mean(values), stats.sem(values))
    assert same(statistics.t_interval(values, level), np.mean(values), low, high, 5)


@pytest.mark.parametrize("n", [3, 6])
def test_t_interval_covers_as_often_as_it_says(n):
    rng = np.random.default_rng(n)
    intervals = [statistics.t_interval(v) for v in rng.normal(0.3, 0.02, size=(2000, n))]
    covered = np.mean([not i.excludes(0.3) for i in intervals])
    assert covered == pytest.approx(0.95, abs=0.015)  # 3 standard errors


@pytest.mark.parametrize("n", [3, 6])
def test_intervals_of_paired_seeds_cover_as_often_as_they_say(n):
    """Seeds move both arms of a pair, and all points of a sweep, together; differences, ratios and slopes must not suffer from it."""
    rng = np.random.default_rng(10 + n)
    x = np.log([1.0, 2.0, 4.0, 8.0])
    hits = {"difference": [], "ratio": [], "slope": []}
    for _ in range(2000):
        seed = rng.normal(0, 0.05, n)
        a, b = 0.8 + seed + rng.normal(0, 0.01, n), 0.7 + seed + rng.normal(0, 0.02, n)
        hits["difference"].append(not statistics.paired_difference(a, b).excludes(0.1))
        scale = np.exp(rng.normal(0, 0.3, n))
        hits["ratio"].append(not statistics.log_ratio_interval(0.1 * scale, 0.01 * scale * np.exp(rng.normal(0, 0.2, n))).excludes(1))
        swept = 0.3 * x + seed[:, None] + rng.normal(0, 0.05, (n, 1)) * x + rng.normal(0, 0.02, (n, 4))
        hits["slope"].append(not statistics.slope_interval(x, swept).excludes(0.3))
    for kind, covered in hits.items():
        assert np.mean(covered) == pytest.approx(0.95, abs=0.015), kind


def test_too_little_to_say():
    assert same(statistics.t_interval([]), NAN, NAN, NAN, 0)
    assert same(statistics.t_interval([2.0]), 2, NAN, NAN, 1)
    assert same(statistics.t_interval([2.0, NAN, 1.0]), NAN, NAN, NAN, 3)
    assert same(statistics.t_interval([2.0, math.inf]), NAN, NAN, NAN, 2)
    assert same(statistics.t_interval([2.0, 2.0]), 2, 2, 2, 2)
    alone = statistics.t_interval([2.0])
    assert not alone.defined
    assert not alone.excludes(0)
    assert statistics.t_interval([1.0, 2.0]).defined


def test_excludes():
    interval = Interval(1.0, 0.5, 1.5, 3)
    assert [interval.excludes(v) for v in (0.4, 0.5, 1.0, 1.5, 1.6)] == [True, False, False, False, True]


@given(st.lists(st.tuples(floats, floats), min_size=2, max_size=9), floats)
def test_paired_difference_removes_what_pairs_share(pairs, shift):
    a, b = np.array(pairs).T
    interval = statistics.paired_difference(a, b)
    assert interval.low <= interval.estimate <= interval.high
    mirrored = statistics.paired_difference(b, a)
    assert (mirrored.low, mirrored.high) == pytest.approx((-interval.high, -interval.low))
    common = np.linspace(0, shift, len(a))
    assert statistics.paired_difference(a + common, b + common).low == pytest.approx(interval.low, abs=1e-8)


def test_log_ratio():
    a, b = np.array([1.0, 3.0, 2.0]), np.array([0.1, 0.2, 0.3])
    interval = statistics.log_ratio_interval(a, b)
    expected = statistics.t_interval(np.log10(a / b))
    assert same(interval, expected.estimate, expected.low, expected.high, 3)
    assert statistics.log_ratio_interval(a * 10, b).estimate == pytest.approx(interval.estimate + 1)
    assert statistics.log_ratio_interval(a, b, base=2).estimate == pytest.approx(interval.estimate / math.log10(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert same(statistics.log_ratio_interval(a, [0.1, 0.0, 0.3]), NAN, NAN, NAN, 3)
        assert same(statistics.log_ratio_interval([-1.0, 1.0], [1.0, 1.0]), NAN, NAN, NAN, 2)


def test_slopes_are_those_of_scipy():
    rng = np.random.default_rng(0)
    x, y = np.log([1, 2, 4, 8, 20]), rng.normal(size=(6, 5))
    expected = statistics.t_interval([stats.linregress(x, row).slope for row in y])
    found = statistics.slope_interval(x, y)
    assert same(found, expected.estimate, expected.low, expected.high, 6)
    exact = statistics.slope_interval(x, 3 * x + np.arange(4)[:, None])  # seeds differ in level only
    assert (exact.low, exact.high) == pytest.approx((3, 3))
    assert not statistics.slope_interval(x, y[:1]).defined


# --------------------------------------------------------------------------------------------------------- equivalence


# ------------------------------------------------------------------------------------------------------------ jackknife


def mean_of_pairs(table):
    def mean(units):
        values = [table[i, j] for i in units for j in units if i < j]
        return float(np.mean(values)) if values else NAN

    return mean


@pytest.mark.parametrize("n", [5, 6])
def test_jackknife_of_what_two_units_share_covers_as_often_as_it_says(n):
    """Agreement of pairs: each unit brings something of its own to all its pairs, each pair something to itself."""
    rng = np.random.default_rng(20 + n)
    covered, naive = [], []
    for _ in range(1500):
        unit, pair = rng.normal(0, 0.1, n), rng.normal(0, 0.03, (n, n))
        table = 0.6 + unit[:, None] + unit[None, :] + pair + pair.T
        covered.append(not statistics.jackknife(mean_of_pairs(table), n).excludes(0.6))
        naive.append(not statistics.t_interval(table[np.triu_indices(n, 1)]).excludes(0.6))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)
    assert np.mean(naive) < 0.8  # why pairs must not be taken for independent values


def test_jackknife_of_three_units_is_cautious():
    """Each pseudo-value then rests on a single pair: the interval may be too long, and must not be too short."""
    rng = np.random.default_rng(23)
    covered = []
    for _ in range(1500):
        unit, pair = rng.normal(0, 0.1, 3), rng.normal(0, 0.03, (3, 3))
        covered.append(not statistics.jackknife(mean_of_pairs(0.6 + unit[:, None] + unit[None, :] + pair + pair.T), 3).excludes(0.6))
    assert np.mean(covered) > 0.93


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
    with pytest.raises(ValueError, match="level"):
        statistics.jackknife(lambda units: 1.0, 3, level=1)


def test_equivalence_is_two_one_sided_tests():
    rng = np.random.default_rng(0)
    a, b, margin = rng.normal(0.004, 0.01, 8), rng.normal(0, 0.01, 8), 0.02
    e = statistics.equivalence(a, b, margin)
    above = stats.ttest_1samp(a - b, -margin, alternative="greater").pvalue
    below = stats.ttest_1samp(a - b, margin, alternative="less").pvalue
    assert e.p == pytest.approx(max(above, below))
    inner = statistics.t_interval(a - b, 0.9)
    assert (e.estimate, e.low, e.high, e.n) == (inner.estimate, inner.low, inner.high, 8)


@given(st.lists(floats, min_size=2, max_size=8), st.floats(0.01, 500))
def test_equivalent_means_the_inner_interval_lies_within_the_margin(values, margin):
    e = statistics.equivalence(values, np.zeros(len(values)), margin)
    inside = -margin < e.low and e.high < margin
    if min(abs(margin + e.low), abs(margin - e.high)) > 1e-9 * margin:
        assert e.equivalent == inside


@pytest.mark.parametrize("n", [3, 6])
def test_equivalence_errs_as_often_as_it_says(n):
    """A difference of exactly the margin is called none in one case of twenty; a small one nearly always, given enough seeds."""
    rng = np.random.default_rng(30 + n)

    def called(difference):
        seeds = rng.normal(0, 0.05, (3000, n))
        return np.mean([statistics.equivalence(s + rng.normal(difference, 0.01, n), s, 0.02).equivalent for s in seeds])

    wrong = called(0.02)
    assert wrong <= 0.05 + 0.012
    if n == 6:
        assert wrong == pytest.approx(0.05, abs=0.012)
        assert called(0.002) > 0.9


def test_equivalence_without_evidence():
    e = statistics.equivalence([0.5], [0.5], 0.1)
    assert not e.equivalent
    assert math.isnan(e.p)
    same_everywhere = statistics.equivalence([0.5, 0.6], [0.5, 0.6], 0.1)
    assert same_everywhere.equivalent
    assert same_everywhere.p == 0
    assert not statistics.equivalence([1.0, 1.0], [0.5, 0.5], 0.1).equivalent
    # noise is not equality: the difference is 0 but unknown
    assert not statistics.equivalence([1.0, -1.0, 2.0, -2.0], [0.0] * 4, 0.5).equivalent


# -------------------------------------------------------------------------------------------------------------- images


def test_bootstrap_of_a_mean_has_the_width_of_its_standard_error():
    hit = np.random.default_rng(0).random(2000) < 0.8
    interval = statistics.bootstrap_images(hit, draws=4000)
    assert interval.estimate == pytest.approx(hit.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * hit.std() / np.sqrt(2000), rel=0.05)
    assert interval.n == 2000
    assert interval == statistics.bootstrap_images(hit, draws=4000)
    assert interval != statistics.bootstrap_images(hit, draws=4000, seed=1)


def test_arms_share_their_images():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=1000)
    arms = np.stack([difficulty + 0.1 + 0.01 * rng.normal(size=1000), difficulty])
    paired = statistics.bootstrap_images(arms)
    assert paired.estimate == pytest.approx(0.1, abs=0.01)
    assert paired.high - paired.low < 0.01 < 0.1 < np.diff([*vars(statistics.bootstrap_images(arms[0])).values()][1:3])
    three = statistics.bootstrap_images(np.vstack([arms, arms[1]]), lambda m: m[..., 1] - m[..., 2])
    assert (three.low, three.high) == (0, 0)


def test_groups_are_drawn_whole():
    rng = np.random.default_rng(0)
    per_image = rng.normal(size=300)
    copies, group = np.repeat(per_image, 20), np.repeat(np.arange(300), 20)
    single = statistics.bootstrap_images(per_image, draws=3000)
    grouped = statistics.bootstrap_images(copies, groups=group, draws=3000)
    assert grouped.n == 300
    assert (grouped.low, grouped.high) == pytest.approx((single.low, single.high), abs=1e-9)
    # a group of another size weighs by its size
    uneven = statistics.bootstrap_images([1.0, 1.0, 1.0, 5.0], groups=["a", "a", "a", "b"])
    assert uneven.estimate == 2
    assert (uneven.low, uneven.high, uneven.n) == (1, 5, 2)


@pytest.mark.parametrize("draws", [1, 5])
def test_the_bootstrap_over_images_covers_as_often_as_it_says(draws):
    """Differences of two arms on 300 images, each seen under so many noise draws, which go together."""
    rng = np.random.default_rng(40 + draws)
    groups = np.tile(np.arange(300), draws)
    covered = []
    for _ in range(400):
        hard = rng.normal(0, 1, 300)[groups]
        hits = [(hard + rng.normal(0, 1, groups.size) < easy).astype(float) for easy in (1.2, 0.8)]
        truth = stats.norm.cdf(1.2 / math.sqrt(2)) - stats.norm.cdf(0.8 / math.sqrt(2))
        covered.append(not statistics.bootstrap_images(hits, groups=groups, draws=400).excludes(truth))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.033)  # 3 standard errors


def test_bootstrap_of_too_little():
    assert same(statistics.bootstrap_images([0.5]), 0.5, NAN, NAN, 1)
    assert same(statistics.bootstrap_images([0.5, NAN, 0.1]), NAN, NAN, NAN, 3)
    rare = np.zeros((2, 50))
    rare[:, 0] = 1  # a third of the resamples hold no event: the ratio has no bounds
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ratio = statistics.bootstrap_images(rare, lambda m: m[..., 0] / m[..., 1])
    assert ratio.estimate == 1
    assert not ratio.defined


# ------------------------------------------------------------------------------------------------------------ families


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ([(1, 2), (0.5, 3)], "supported"),
        ([(1, 2), (-0.5, 3)], "unresolved"),
        ([(1, 2), (-3, -1)], "not supported"),
        ([(-1, 1), (-3, -1)], "not supported"),
        ([(1, 2), (NAN, NAN)], "unresolved"),
        ([(NAN, NAN), (-2, -1)], "not supported"),
        ([(0, 2)], "unresolved"),
        ([(-2, 0)], "not supported"),
    ],
)
def test_intersection_union(bounds, verdict):
    intervals = [Interval((low + high) / 2, low, high, 5) for low, high in bounds]
    assert intersection_union(intervals).verdict == verdict
    mirrored = [Interval(-i.estimate, -i.high, -i.low, 5) for i in intervals]
    assert intersection_union(mirrored, direction="less").verdict == verdict
    moved = [Interval(i.estimate + 7, i.low + 7, i.high + 7, 5) for i in intervals]
    assert intersection_union(moved, margin=7).verdict == verdict


def test_the_weakest_link():
    a, b, c = Interval(2, 1, 3, 5), Interval(1, 0.5, 1.5, 5), Interval(0, NAN, NAN, 1)
    assert intersection_union([a, b]).weakest is b
    assert intersection_union([a, b], direction="less").weakest is a
    assert intersection_union([a, b, c]).weakest is c


def test_holm_worked_example():
    h = statistics.holm([0.01, 0.04, 0.03, 0.005])
    assert h.adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert h.rejected.tolist() == [True, False, False, True]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.integers(0, 1000))
def test_holm_is_between_one_test_and_bonferroni(p, seed):
    h = statistics.holm(p)
    assert (h.adjusted >= np.array(p) - 1e-12).all()
    assert (h.adjusted <= np.minimum(np.array(p) * len(p), 1) + 1e-12).all()
    assert h.adjusted.min() == pytest.approx(min(min(p) * len(p), 1))
    order = np.random.default_rng(seed).permutation(len(p))
    np.testing.assert_allclose(statistics.holm(np.array(p)[order]).adjusted, h.adjusted[order])


def test_holm_counts_undefined_tests_and_never_rejects_them():
    h = statistics.holm([0.02, NAN])
    assert h.adjusted[0] == 0.04
    assert h.rejected.tolist() == [True, False]
    assert statistics.holm([]).adjusted.size == 0


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: statistics.t_interval([[1.0, 2.0]]), "one-dimensional"),
        (lambda: statistics.t_interval([1.0, 2.0], level=95), "level"),
        (lambda: statistics.paired_difference([1.0], [1.0, 2.0]), "paired"),
        (lambda: statistics.equivalence([1.0, 2.0], [1.0, 2.0], 0.0), "margin"),
        (lambda: statistics.equivalence([1.0, 2.0], [1.0, 2.0], 0.1, level=0.4), "above"),
        (lambda: statistics.log_ratio_interval([1.0], [1.0], base=1), "base"),
        (lambda: statistics.slope_interval([1.0, 2.0], [[1.0, 2.0, 3.0]]), "seeds, 2"),
        (lambda: statistics.slope_interval([1.0, 1.0], [[1.0, 2.0]]), "different"),
        (lambda: statistics.bootstrap_images(np.zeros((3, 4))), "combine"),
        (lambda: statistics.bootstrap_images(np.zeros(4), groups=[1, 2]), "groups"),
        (lambda: statistics.bootstrap_images(np.zeros(4), draws=0), "draws"),
        (lambda: statistics.bootstrap_images([]), "N >= 1"),
        (lambda: intersection_union([]), "empty"),
        (lambda: intersection_union([Interval(0, 0, 0, 2)], direction="up"), "direction"),
        (lambda: statistics.holm([1.5]), r"\[0, 1\]"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
