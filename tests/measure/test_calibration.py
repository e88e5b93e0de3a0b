"""Calibration measures against other libraries, closed forms, the authors' tables, and what must hold for any logits."""

import warnings
from pathlib import Path

import hypothesis.extra.numpy as hnp
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax
from sklearn.metrics import log_loss

from mixkd.measure import calibration, rows
from mixkd.measure.calibration import Reliability

BINNED = ("ece", "oe", "ue", "over", "under", "gap", "mce", "debiased_ece")
AUTHORS = pd.read_csv(Path(__file__).parents[2] / "book" / "authors-logs.csv", comment="#").dropna(subset="bin")


def predictions(n=997, k=10, seed=0, margin=3.0, dtype=np.float64):
    """Logits of a model that is right most of the time, overconfident at margin 3, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    logits = rng.normal(size=(n, k)) * 1.5
    logits[np.arange(n), labels] += rng.normal(size=n) * 2 + margin
    return logits.astype(dtype), labels


def with_confidence(confidence, hit, k=4):
    """Logits whose predicted class 0 has exactly these confidences, and labels that make these hits."""
    confidence = np.asarray(confidence, dtype=np.float64)
    logits = np.zeros((confidence.size, k))
    with np.errstate(divide="ignore"):
        logits[:, 0] = np.minimum(np.log(confidence * (k - 1)) - np.log1p(-confidence), 800)
    return logits, np.where(hit, 0, 1)


def slow_report(logits, labels, n_bins=15, temperature=1.0):
    """Every figure from its definition, one bin and one class at a time."""
    z = np.asarray(logits, dtype=np.float64) / temperature
    p, log_p, n = softmax(z, axis=1), log_softmax(z, axis=1), len(z)
    c, hit = p.max(1), z.argmax(1) == labels
    out = dict.fromkeys(("ece", "oe", "ue", "over", "under", "debiased_ece"), 0.0)
    gaps = []
    for low, high in zip(np.arange(n_bins) / n_bins, np.arange(1, n_bins + 1) / n_bins, strict=True):
        inside = (c > low) & (c <= high)
        m = inside.sum()
        if m == 0:
            continue
        conf, acc, w = c[inside].mean(), hit[inside].mean(), m / n
        gaps.append(abs(conf - acc))
        out["ece"] += w * abs(conf - acc)
        out["over"] += w * max(conf - acc, 0)
        out["under"] += w * max(acc - conf, 0)
        out["oe"] += w * conf * max(conf - acc, 0)
        out["ue"] += w * conf * max(acc - conf, 0)
        out["debiased_ece"] += w * ((acc - conf) ** 2 - acc * (1 - acc) / (m - 1)) if m > 1 else 0
    classwise = []
    for k in range(z.shape[1]):
        place = np.maximum(np.ceil(p[:, k] * n_bins) - 1, 0)
        classwise.append(sum(abs((p[:, k] - (labels == k))[place == b].sum()) / n for b in range(n_bins)))
    order = np.argsort(c)
    sweep = abs(c.mean() - hit.mean())
    for m in range(2, n + 1):
        parts = np.split(order, [(i * n + m // 2) // m for i in range(1, m)])
        if np.any(np.diff([hit[s].mean() for s in parts]) < 0):
            break
        sweep = sum(abs(c[s].sum() - hit[s].sum()) for s in parts) / n
    return out | {
        "n": n,
        "accuracy": hit.mean(),
        "confidence": c.mean(),
        "gap": c.mean() - hit.mean(),
        "mce": max(gaps),
        "nll": -log_p[np.arange(n), labels].mean(),
        "brier": ((p - np.eye(z.shape[1])[labels]) ** 2).sum(1).mean(),
        "entropy": -(p * np.where(p > 0, log_p, 0)).sum(1).mean(),
        "classwise_ece": np.mean(classwise),
        "ece_sweep": sweep,
    }


@pytest.mark.parametrize(
    ("teacher", "ece", "oe"),
    [("ConvNeXt-L", 0.0149, 0.0082), ("ConvNeXt-T", 0.0477, 0.0), ("ViT-B", 0.0242, 0.0178), ("RN152V2", 0.0392, 0.0319)],
)
def test_authors_tables(teacher, ece, oe):
    rows = AUTHORS[AUTHORS.teacher == teacher]
    r = Reliability.from_bins(rows["count"], rows["accuracy"], rows["confidence"])
    assert r.n == 10000
    assert len(r.count) == 15
    # the table is rounded to four digits, and so are the figures
    assert r.ece == pytest.approx(ece, abs=1.01e-4)
    assert r.oe == pytest.approx(oe, abs=1.01e-4)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
@pytest.mark.parametrize(("n", "k", "n_bins"), [(1, 2, 15), (300, 2, 10), (997, 10, 15), (400, 100, 20), (150, 1000, 1)])
def test_report_is_its_definitions(n, k, n_bins, temperature):
    logits, labels = predictions(n, k)
    r = calibration.report(logits, labels, n_bins=n_bins, temperature=temperature)
    for name, value in slow_report(logits, labels, n_bins, temperature).items():
        assert getattr(r, name) == pytest.approx(value, rel=1e-10, abs=1e-12), name


def test_ece_mce_and_nll_of_other_libraries():
    # They are loaded by the tests that ask them: every worker reads this file, one runs it.
    from netcal.metrics import ECE, MCE
    from torchmetrics.functional.classification import multiclass_calibration_error

    # n is a multiple of the number of bins: where it is not, netcal interpolates quantiles and we round counts.
    logits, labels = predictions(n=1500)
    p = softmax(logits, axis=1)
    r = calibration.report(logits, labels)
    assert r.ece == pytest.approx(ECE(15).measure(p, labels), abs=1e-12)
    assert r.mce == pytest.approx(MCE(15).measure(p, labels), abs=1e-12)
    assert r.adaptive_ece == pytest.approx(ECE(15, equal_intervals=False).measure(p, labels), abs=1e-3)
    assert r.nll == pytest.approx(log_loss(labels, p), rel=1e-10)
    # torchmetrics bins [lo, hi), the same unless a confidence lies on an edge, and accumulates in float32
    given = (torch.from_numpy(p), torch.from_numpy(labels), p.shape[1], 15)
    assert r.ece == pytest.approx(multiclass_calibration_error(*given, norm="l1").item(), abs=1e-6)
    assert r.mce == pytest.approx(multiclass_calibration_error(*given, norm="max").item(), abs=1e-6)


@pytest.mark.parametrize("margin", [1.0, 3.0, 6.0])
@pytest.mark.parametrize("temperature", [1.0, 1.5])
def test_smooth_ece_of_relplot(margin, temperature):
    import relplot

    # relplot looks for the bandwidth on a grid of 1/1024, cuts the kernel at half the unit interval, and counts mass in the
    # last cell of its grid, where saturated confidences lie, only half: hence no temperature below 1 here.
    logits, labels = predictions(3000, margin=margin)
    confidence, hit = relplot.multiclass_logits_to_confidences(logits / temperature, labels)
    ours = calibration.report(logits, labels, temperature=temperature).smooth_ece
    assert ours == pytest.approx(relplot.smECE(confidence, hit), abs=1.5e-3)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.0])
def test_smooth_ece_is_a_fixed_point_of_the_reflected_kernel(temperature):
    logits, labels = predictions(300)
    sigma = calibration.report(logits, labels, temperature=temperature).smooth_ece
    confidence, predicted = calibration.confidences(logits, temperature)
    mesh = (np.arange(4000) + 0.5) / 4000
    images = [2 * k + sign * confidence for k in range(-3, 4) for sign in (1, -1)]
    kernel = sum(np.exp(-(((mesh[:, None] - f) / sigma) ** 2) / 2) for f in images) / sigma / np.sqrt(2 * np.pi)
    assert kernel.mean(0) == pytest.approx(np.ones(300), abs=1e-6)
    smooth = np.abs(kernel @ (confidence - (predicted == labels))).mean() / 300
    assert smooth == pytest.approx(sigma, abs=3e-5)


def test_edges_belong_to_the_bin_below_and_certainty_to_the_last():
    edges = np.arange(3, 11) / 10
    r = calibration.reliability(*with_confidence(edges, np.ones(8)), n_bins=10)
    assert r.count.tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 1, 1]
    assert calibration.reliability(*with_confidence(edges + 1e-6 * (edges < 1), np.ones(8)), n_bins=10).count[-1] == 2
    logits = np.array([[2000.0, 0, 0], [0, 3000, 0], [40, 0, 0]], dtype=np.float32)
    r = calibration.reliability(logits, np.array([0, 0, 0]), n_bins=15)
    assert r.count.tolist() == [0] * 14 + [3]
    assert (r.confidence[-1], r.mce_count) == (1, 3)
    assert r.ece == pytest.approx(1 / 3)


def test_equal_mass_does_not_depend_on_the_order_of_ties():
    rng = np.random.default_rng(1)
    confidence = rng.choice([0.4, 0.5, 0.9], size=200, p=[0.2, 0.5, 0.3])
    hit = rng.random(200) < 0.6
    logits, labels = with_confidence(confidence, hit)
    r = calibration.report(logits, labels, n_bins=8)
    groups = [confidence == c for c in (0.4, 0.5, 0.9)]
    assert r.adaptive_ece == pytest.approx(sum(abs((confidence - hit)[one].sum()) for one in groups) / 200, abs=1e-12)
    order = rng.permutation(200)
    assert calibration.report(logits[order], labels[order], n_bins=8).adaptive_ece == pytest.approx(r.adaptive_ece, abs=1e-15)


def test_the_ends_of_confidence_in_closed_form():
    r = calibration.report(np.zeros((8, 4)), np.array([0, 0, 0, 1, 2, 3, 3, 3]))
    assert (r.accuracy, r.confidence) == (3 / 8, 0.25), "uniform logits predict the first class"
    assert (r.nll, r.entropy, r.brier) == pytest.approx((np.log(4), np.log(4), 0.75), rel=1e-15)
    r = calibration.report(np.array([[0.0, 5000.0]]), np.array([0]))
    assert (r.nll, r.brier, r.oe) == (5000, 2, 1), "nothing is capped"
    r = Reliability.from_bins([5, 0, 20], [0.5, 0.0, 0.9], [0.3, 0.0, 0.8])
    assert r.oe == 0, "underconfident everywhere"
    assert r.under == r.ece == pytest.approx((5 * 0.2 + 20 * 0.1) / 25)
    assert r.ue == pytest.approx((5 * 0.2 * 0.3 + 20 * 0.1 * 0.8) / 25)
    assert r.gap == pytest.approx(-r.ece)
    assert (r.mce, r.mce_count) == (pytest.approx(0.2), 5)


def test_bins_and_logits_agree():
    logits, labels = predictions()
    a, whole = calibration.reliability(logits, labels), calibration.report(logits, labels)
    b = Reliability.from_bins(a.count, a.accuracy, a.confidence)
    for name in BINNED:
        assert getattr(a, name) == pytest.approx(getattr(b, name), abs=1e-15)
        assert getattr(a, name) == pytest.approx(getattr(whole, name), abs=1e-12)


@st.composite
def any_predictions(draw):
    """Logits of any shape, size and coarseness (so that ties occur), labels that may leave classes out."""
    n, k = draw(st.integers(1, 40)), draw(st.sampled_from([2, 3, 10, 30]))
    scale = draw(st.sampled_from([1e-6, 0.1, 1.0, 10.0, 1e4, 1e20]))
    grid = draw(hnp.arrays(np.int8, (n, k), elements=st.integers(-8, 8)))
    labels = draw(hnp.arrays(np.int64, n, elements=st.integers(0, draw(st.integers(0, k - 1)))))
    return grid * (scale / 4), labels


@settings(max_examples=150, deadline=None)
@given(any_predictions(), st.sampled_from([1, 2, 10, 15]))
def test_identities(data, n_bins):
    logits, labels = data
    r = calibration.report(logits, labels, n_bins=n_bins)
    tiny = 1e-12
    assert r.ece == pytest.approx(r.over + r.under, abs=tiny)
    assert r.gap == pytest.approx(r.over - r.under, abs=tiny)
    assert r.gap == pytest.approx(r.confidence - r.accuracy, abs=tiny)
    assert 0 <= r.oe <= r.over + tiny
    assert r.over <= 1 - r.accuracy + tiny
    assert 0 <= r.ue <= r.under + tiny
    for error in (r.ece, r.adaptive_ece, r.ece_sweep, r.smooth_ece):
        assert abs(r.gap) - tiny <= error <= 1 + tiny
    assert r.ece - tiny <= r.mce <= 1
    assert r.debiased_ece <= r.mce**2 + tiny
    assert 1 / logits.shape[1] - tiny <= r.confidence <= 1
    assert -tiny <= r.entropy <= np.log(logits.shape[1]) + tiny
    assert -tiny <= r.brier <= 2 + tiny
    assert 0 <= r.classwise_ece <= 2 / logits.shape[1] + tiny
    assert r.nll >= 0
    assert all(np.isfinite(v) for v in vars(r).values())


@settings(max_examples=60, deadline=None)
@given(any_predictions(), st.integers(0, 10**6), st.floats(-50, 50))
def test_neither_row_order_nor_class_names_nor_a_shift_matter(data, seed, shift):
    logits, labels = data
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(labels))
    r = calibration.report(logits, labels)
    again = calibration.report(logits[rows], labels[rows])
    for name, value in vars(r).items():
        assert getattr(again, name) == pytest.approx(value, rel=1e-9, abs=1e-9), name
    if np.abs(logits).max() < 1e6:  # beyond, adding the shift rounds the logits themselves
        moved = calibration.reliability(logits + shift, labels)
        assert moved.ece == pytest.approx(r.ece, abs=1e-6)
    best = np.sort(logits, axis=1)
    if (best[:, -1] > best[:, -2]).all():  # with ties, the name decides which class is predicted
        classes = rng.permutation(logits.shape[1])
        renamed = calibration.report(logits[:, classes], np.argsort(classes)[labels])
        for name, value in vars(r).items():
            assert getattr(renamed, name) == pytest.approx(value, rel=1e-9, abs=1e-9), name


@pytest.mark.parametrize(("n", "k"), [(3000, 10), (2000, 100), (200, 1000)])
@pytest.mark.parametrize("temperature", [0.2, 1.0, 5.0])
def test_single_precision_exponentials_change_nothing_visible(n, k, temperature, monkeypatch):
    logits, labels = predictions(n, k, dtype=np.float32)
    double = calibration.report(logits, labels, temperature=temperature)
    monkeypatch.setattr(calibration, "_DOUBLE", 0)
    single = calibration.report(logits, labels, temperature=temperature)
    for name, value in vars(double).items():
        assert getattr(single, name) == pytest.approx(value, abs=2e-7 * max(1, abs(value))), name  # vector units round differently


def test_chunks_do_not_show(monkeypatch):
    logits, labels = predictions(400, 10)
    whole = calibration.report(logits, labels)
    sweep = calibration.temperature_sweep(logits, labels, np.linspace(0.5, 3, 40))
    monkeypatch.setattr(rows, "CHUNK", 70)
    for name, value in vars(calibration.report(logits, labels)).items():
        assert value == pytest.approx(getattr(whole, name), rel=1e-12), name
    small = calibration.temperature_sweep(logits, labels, np.linspace(0.5, 3, 40))
    np.testing.assert_allclose(small.ece, sweep.ece, atol=1e-7)
    assert calibration.fit_temperature(logits, labels) > 0


GRIDS = {
    "even in 1/T": 1 / np.linspace(0.33, 2, 60),
    "even in T": np.linspace(0.5, 3, 60),
    "five decades": np.geomspace(1e-2, 1e3, 60),
    "few": np.array([4.0, 0.7, 1.0]),
    "one": np.array([1.0]),
    "repeated": np.full(30, 1.3),
    "unsorted": np.random.default_rng(0).permutation(np.linspace(0.2, 4, 50)),
}


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("n", "k", "dtype"), [(300, 2, np.float64), (900, 10, np.float32), (200, 100, np.float64)])
def test_sweep_is_a_report_at_every_temperature(grid, n, k, dtype):
    logits, labels = predictions(n, k, dtype=dtype)
    sweep = calibration.temperature_sweep(logits, labels, GRIDS[grid], n_bins=15)
    assert np.array_equal(sweep.temperatures, GRIDS[grid])
    for i, t in enumerate(GRIDS[grid]):
        r = calibration.report(logits, labels, n_bins=15, temperature=t)
        assert sweep.accuracy == r.accuracy
        assert sweep.nll[i] == pytest.approx(r.nll, rel=1e-6, abs=1e-6)
        for name in ("confidence", "ece", "oe", "ue", "over", "under", "gap", "mce"):
            assert getattr(sweep, name)[i] == pytest.approx(getattr(r, name), abs=1e-6), (name, t)


def test_sweep_where_every_other_class_is_equally_unlikely():
    # The expansion's worst case: all K - 1 terms sit where what it leaves out is largest.
    k, t = 1000, np.geomspace(0.3, 3, 80)
    for gap in (6.0, 9.0, 14.0, 20.0):
        logits = np.zeros((1, k))
        logits[0, 3] = gap
        exact = 1 / (1 + (k - 1) * np.exp(-gap / t))
        sweep = calibration.temperature_sweep(logits, np.array([3]), t)
        np.testing.assert_allclose(sweep.confidence, exact, rtol=0, atol=1e-6)
        np.testing.assert_allclose(sweep.nll, -np.log(exact), rtol=0, atol=2e-6)


@settings(max_examples=40, deadline=None)
@given(any_predictions(), st.sampled_from(["even in 1/T", "five decades", "few"]))
def test_sweep_of_any_logits(data, grid):
    logits, labels = data
    sweep = calibration.temperature_sweep(logits, labels, GRIDS[grid])
    for i in (0, len(GRIDS[grid]) // 2, -1):
        r = calibration.report(logits, labels, temperature=GRIDS[grid][i])
        assert sweep.ece[i] == pytest.approx(r.ece, abs=1e-6)
        assert sweep.oe[i] == pytest.approx(r.oe, abs=1e-6)
        assert sweep.nll[i] == pytest.approx(r.nll, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("k", [2, 10, 1000])
@pytest.mark.parametrize("scale", [0.1, 1.0, 30.0])
def test_fitted_temperature_minimises_nll_and_scales_with_the_logits(k, scale):
    logits, labels = predictions(400, k)
    t = calibration.fit_temperature(logits * scale, labels)
    assert t == pytest.approx(scale * calibration.fit_temperature(logits, labels), rel=1e-6)
    at, below, above = (calibration.report(logits * scale, labels, temperature=t * f).nll for f in (1, 0.99, 1.01))
    assert at < min(below, above)


def test_fitted_temperature_at_its_bounds():
    logits, labels = predictions(100)
    low, high = calibration.TEMPERATURE_BOUNDS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert calibration.fit_temperature(logits, logits.argmax(1)) == low
        assert calibration.fit_temperature(logits, logits.argmin(1)) == high
        assert calibration.fit_temperature(np.zeros((5, 3)), np.array([0, 1, 2, 1, 1])) in (low, high)
        assert calibration.fit_temperature(logits * 1e-6, labels) == pytest.approx(low, rel=1e-6)
        assert calibration.fit_temperature(logits * 1e6, labels) == pytest.approx(high, rel=1e-6)


def authors_confidences():
    """Confidences as in the first table: every bin's mean kept, values spread evenly around it."""
    rows = AUTHORS[AUTHORS.teacher == "ConvNeXt-L"]
    spread = []
    for b, n, c in zip(rows["bin"], rows["count"], rows["confidence"], strict=True):
        half = min(c - (b - 1) / 15, b / 15 - c)
        spread.append(np.linspace(c - half, c + half, n))
    return np.concatenate(spread)


@pytest.mark.parametrize(("n", "ece", "oe", "highest"), [(1000, 0.0229, 0.0072, (0.031, 0.013)), (10000, 0.0074, 0.0022, (0.010, 0.004))])
def test_noise_floor_with_the_authors_confidences(n, ece, oe, highest):
    floor = calibration.noise_floor(authors_confidences(), n=n, draws=300)
    assert (floor.n, floor.ece, floor.oe) == (n, pytest.approx(ece, rel=0.1), pytest.approx(oe, rel=0.1))
    assert (floor.ece_high, floor.oe_high) == pytest.approx(highest, abs=1e-3)


def test_noise_floor_of_one_bin_in_closed_form():
    # |mean of n fair hits - 1/2|: half-normal with sigma = 1 / (2 sqrt n)
    floor = calibration.noise_floor(np.full(900, 0.5), n_bins=1, draws=4000)
    assert floor.ece == pytest.approx(np.sqrt(2 / np.pi) / 60, rel=0.04)
    assert floor.oe == pytest.approx(floor.ece / 4, rel=0.08)
    assert calibration.noise_floor(torch.ones(50), draws=10).ece_high == 0
    logits, _ = predictions(500)
    a = calibration.noise_floor(logits, draws=50, seed=3)
    assert a == calibration.noise_floor(torch.from_numpy(calibration.confidences(logits)[0]), draws=50, seed=3)
    assert a != calibration.noise_floor(logits, draws=50, seed=4)


LOGITS, LABELS = predictions(20, 10)


@pytest.mark.parametrize("measure", [calibration.report, calibration.reliability])
def test_bad_options_are_named(measure):
    for temperature in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="temperature"):
            measure(LOGITS, LABELS, temperature=temperature)
    with pytest.raises(ValueError, match="at least 2 classes"):
        measure(LOGITS[:, :1], LABELS * 0)
    with pytest.raises(ValueError, match=r"0\.\.9"):
        measure(LOGITS, LABELS + 10)


def test_bad_grids_and_tables_are_named():
    for grid in ([], [[1.0]], [1.0, 0.0], [1.0, np.nan]):
        with pytest.raises(ValueError, match="temperature"):
            calibration.temperature_sweep(LOGITS, LABELS, grid)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        calibration.noise_floor(np.array([0.4, 1.4]))
    with pytest.raises(ValueError, match="equally long"):
        Reliability.from_bins([1, 2], [0.5], [0.5])
    for count, accuracy in (([0, 0], [0, 0]), ([-1, 2], [0, 0]), ([1.5, 1], [0, 0]), ([1, 1], [0, 1.2])):
        with pytest.raises(ValueError, match=r"count|accuracy"):
            Reliability.from_bins(count, accuracy, [0.1, 0.9])
