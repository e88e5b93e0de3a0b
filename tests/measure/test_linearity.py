"""Models whose departure from linearity is known in closed form, and the confounds that must not pass for it."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import entropy as scipy_entropy
from torch.testing import assert_close

from mixkd import vicinal
from mixkd.measure import linearity, signal

LAM = np.array(vicinal.LAM_GRID)
WEIGHT = LAM[:, None, None]


def draw(seed=0, k=10, pairs=8, scale=3.0, bend=2.0):
    """Logits linear along lam plus a bump; the last pair is of one class."""
    rng = np.random.default_rng(seed)
    first, second, bump = (rng.normal(size=(pairs, k)) * size for size in (scale, scale, bend))
    labels = np.stack([first.argmax(1), second.argmax(1)], 1)
    labels[:, 1] = np.where(labels[:, 0] == labels[:, 1], (labels[:, 1] + 1) % k, labels[:, 1])
    labels[-1] = labels[-1, 0]
    return WEIGHT * first + (1 - WEIGHT) * second + 4 * WEIGHT * (1 - WEIGHT) * bump, labels


@given(seed=st.integers(0, 2**32 - 1), k=st.sampled_from([2, 3, 10, 1000]), scale=st.sampled_from([1e-3, 1.0, 1e4]))
@settings(max_examples=30, deadline=None)
def test_probability_measures_against_direct_ones(seed, k, scale):
    logits, labels = draw(seed, k, scale=scale)
    found = linearity.probability_linearity(logits, LAM, labels)
    assert found.l_nl.isfinite().all()
    assert found.l_nl[[0, -1]].abs().max() < 1e-10
    assert found.tv[[0, -1]].abs().max() < 1e-10
    assert ((found.tv >= 0) & (found.tv <= 1 + 1e-12)).all()
    assert_close(found.l_nl, signal.decompose(logits, LAM, labels).l_nl)
    assert (found.l_nl >= 2 * found.tv**2 - 1e-10).all()  # Pinsker
    p = softmax(logits, axis=-1)
    m = WEIGHT * p[-1] + (1 - WEIGHT) * p[0]
    assert_allclose(found.tv, np.abs(m - p).sum(-1) / 2, atol=1e-10)
    assert_allclose(found.tv_area, np.trapezoid(found.tv, LAM, axis=0), atol=1e-12)
    if scale < 100:
        assert_allclose(found.l_nl, rel_entr(m, p).sum(-1), atol=1e-10)


def test_confidence_alone_makes_a_model_nonlinear():
    logits, labels = draw()
    areas = [linearity.probability_linearity(logits, LAM, labels, t).l_nl_area[:-1].mean() for t in (1 / 3, 1.0, 3.0)]
    assert areas[0] > 2 * areas[1] > 8 * areas[2]
    constant = np.broadcast_to(logits[:1, :1], logits.shape)
    assert linearity.probability_linearity(constant, LAM, labels).l_nl.max() < 1e-12
    assert linearity.logit_linearity(constant, LAM, labels).gap.isnan().all()


def test_logit_measures_of_a_parabola():
    logits, labels = draw()
    found = linearity.logit_linearity(logits, LAM, labels)
    ends = logits[-1] - logits[0]
    bump = logits[5] - (logits[0] + logits[-1]) / 2
    centre = [values - values.mean(-1, keepdims=True) for values in (bump, ends)]
    size = np.linalg.norm(centre[0], axis=1) / np.linalg.norm(centre[1], axis=1)
    assert_allclose(found.gap, 4 * LAM[:, None] * (1 - LAM[:, None]) * size, atol=1e-10)
    assert_allclose(found.gap_area, np.trapezoid(found.gap, LAM, axis=0), atol=1e-10)
    assert_allclose(found.second_difference, np.tile(8 * 0.1**2 * size, (9, 1)), atol=1e-10)
    uneven = [0, 1, 3, 10]
    steps = np.diff(LAM[uneven])
    bent = linearity.logit_linearity(logits[uneven], LAM[uneven], labels).second_difference
    assert_allclose(bent, 8 * (steps[1:] * steps[:-1])[:, None] * size, atol=1e-10)


def test_logit_measures_ignore_temperature_and_offset():
    logits, labels = draw()
    offset = np.random.default_rng(1).normal(size=logits.shape[:2])[..., None]
    before, after = (linearity.logit_linearity(z, LAM, labels) for z in (logits, logits / 7 + offset))
    assert_close(after.gap, before.gap)
    assert_close(after.second_difference, before.second_difference)
    assert linearity.logit_linearity(draw(bend=0.0)[0], LAM, labels).gap.abs().max() < 1e-12


def test_the_bayes_classifier_of_gaussians_is_linear_in_logits_only():
    """Five classes on a ring with one covariance: nothing is confused, and L_NL is still large."""
    angle = 2 * np.pi * np.arange(5) / 5
    means = 3 * np.stack([np.cos(angle), np.sin(angle)], 1)
    labels = np.array([(i, j) for i in range(5) for j in range(5) if i != j])
    rng = np.random.default_rng(0)
    first, second = (means[labels[:, side]] + rng.normal(size=(20, 2)) for side in (0, 1))
    x = WEIGHT * first + (1 - WEIGHT) * second
    logits = x @ means.T - (means**2).sum(1) / 2
    assert linearity.logit_linearity(logits, LAM, labels).gap.abs().max() < 1e-12
    assert linearity.probability_linearity(logits, LAM, labels).l_nl[5].mean() > 0.3


def test_the_distance_to_mixed_labels():
    logits, labels = draw(k=6)
    found = linearity.label_divergence(logits, LAM, labels, temperature=2.0)
    one_hot = np.eye(6)
    target = WEIGHT * one_hot[labels[:, 0]] + (1 - WEIGHT) * one_hot[labels[:, 1]]
    assert_allclose(found, rel_entr(target, softmax(logits / 2, axis=-1)).sum(-1), atol=1e-10)


def responding(g, k=4):
    """Logits (L, 2, k) whose two endpoint classes 0 and 1 are answered g : 1 - g; the second pair is of one class."""
    p = np.stack([0.9 * g, 0.9 * (1 - g), *[np.full_like(g, 0.1 / (k - 2))] * (k - 2)], -1)
    return np.repeat(np.log(np.maximum(p, 1e-300))[:, None], 2, axis=1), np.array([[0, 1], [0, 0]])


def test_a_linear_response():
    found = linearity.response(*responding(LAM)[:1], LAM, responding(LAM)[1])
    assert_allclose(found.curve[:, 0], LAM, atol=1e-10)
    assert_allclose([found.slope[0], found.rmse[0], found.width[0]], [1, 0, 0.8], atol=1e-10)
    for values in (found.curve[:, 1], found.slope[1], found.rmse[1], found.width[1]):
        assert values.isnan().all()


def test_a_hard_switch_and_a_constant_response():
    logits, labels = responding((LAM > 0.5) * 0.98 + (LAM == 0.5) * 0.49 + 0.01)
    found = linearity.response(logits, LAM, labels)
    assert float(found.slope[0]) == pytest.approx(0.98 / 0.2)
    assert float(found.width[0]) == pytest.approx(0.2 * 0.8 / 0.98)
    constant = linearity.response(*responding(np.full(11, 0.5))[:1], LAM, labels)
    assert_allclose([constant.slope[0], constant.width[0]], [0, 1], atol=1e-10)
    assert float(constant.rmse[0]) == pytest.approx(math.sqrt(np.trapezoid((LAM - 0.5) ** 2, LAM)))


# Student against teacher


def clean(seed=1, n=300, k=10, scale=3.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(k, size=n)
    return rng.normal(size=(n, k)) * scale + 2 * np.eye(k)[labels], labels


@pytest.mark.parametrize("factor", [0.1, 1.0, 20.0])
def test_matched_temperature_undoes_a_scale(factor):
    a = clean()[0]
    assert linearity.matched_temperature(factor * a, a) == pytest.approx(factor, rel=1e-9)
    b = clean(2, n=100, scale=1.0)[0]
    temperature = linearity.matched_temperature(a, b)
    entropies = [scipy_entropy(softmax(z, axis=1), axis=1).mean() for z in (a / temperature, b)]
    assert entropies[0] == pytest.approx(entropies[1], abs=1e-10)


@pytest.mark.parametrize(("a", "b"), [("constant", "usual"), ("usual", "constant")])
def test_an_entropy_out_of_reach_is_refused(a, b):
    models = {"constant": np.zeros((20, 10)), "usual": clean()[0]}
    with pytest.raises(ValueError, match="no temperature gives A"):
        linearity.matched_temperature(models[a], models[b])


def ratio(student, teacher, labels, scaling, student_clean=None, teacher_clean=None):
    return linearity.nonlinearity_ratio(
        student,
        teacher,
        LAM,
        labels,
        scaling=scaling,
        student_clean=student_clean,
        teacher_clean=teacher_clean,
        clean_labels=clean()[1],
    )


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_a_student_that_is_its_teacher_at_another_confidence_is_not_more_linear(factor):
    (teacher, labels), teacher_clean = draw(), clean()[0]
    args = (factor * teacher, teacher, labels)
    assert (ratio(*args, "native").pooled * (factor - 1) > 0.5).all()
    for scaling, tolerance in (("logit", 1e-10), ("clean_entropy", 1e-8), ("nll_optimal", 1e-3)):
        found = ratio(*args, scaling, factor * teacher_clean, teacher_clean)
        assert found.log_ratio.abs().max() < tolerance
        assert found.pooled.abs().max() < tolerance
        assert found.scaling == scaling
    both = ratio(*args, "clean_entropy", factor * teacher_clean, teacher_clean)
    assert_allclose(both.temperatures, [[factor, 1], [1, 1 / factor]], rtol=1e-8)


def test_a_straighter_student_is_more_linear_under_every_scaling():
    teacher, labels = draw(bend=2.0)
    student = draw(bend=0.5)[0]
    for scaling in ("native", "logit", "clean_entropy", "nll_optimal"):
        found = ratio(student, teacher, labels, scaling, clean()[0], clean()[0])
        assert found.log_ratio.shape == (2 if scaling == "clean_entropy" else 1, 8)
        assert (found.pooled < -0.1).all()
        cross = ~found.same_class
        expected = (found.student[:, cross].mean(1) / found.teacher[:, cross].mean(1)).log()
        assert_close(found.pooled, expected)
        assert_close(found.log_ratio, (found.student / found.teacher).log())


def test_the_ratio_of_a_constant_model_is_undefined():
    teacher, labels = draw()
    for pair in ((np.zeros_like(teacher), teacher), (teacher, np.zeros_like(teacher))):
        for scaling in ("native", "logit"):
            found = ratio(*pair, labels, scaling)
            assert found.log_ratio.isnan().all()
            assert found.pooled.isnan().all()


def tempered(logits, temperature):
    return log_softmax(logits / temperature, axis=-1)


def mixture(logits):
    p = softmax(logits, axis=-1)
    return np.log(WEIGHT * p[-1] + (1 - WEIGHT) * p[0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_imitation_at_any_confidence_is_no_displacement(temperature):
    teacher, labels = draw()
    found = linearity.displacement(tempered(teacher, temperature), teacher, LAM, labels)
    assert found.s[1:-1].abs().max() < 1e-8
    assert found.s[[0, -1]].isnan().all()
    assert_allclose(found.temperature, temperature, rtol=1e-6)
    assert abs(found.pooled()) < 1e-8


def test_the_linear_reference_is_at_one():
    teacher, labels = draw()
    assert_allclose(linearity.displacement(mixture(teacher), teacher, LAM, labels).s[1:-1], 1, atol=1e-8)
    cooler = tempered(mixture(teacher), 2.0)
    matched = linearity.displacement(cooler, teacher, LAM, labels, reference="matched")
    assert_allclose(matched.s[1:-1], 1, atol=1e-8)
    assert matched.pooled() == pytest.approx(1)
    assert abs(linearity.displacement(cooler, teacher, LAM, labels).pooled() - 1) > 0.05


def test_displacement_is_its_formula():
    (teacher, labels), student = draw(), draw(5)[0]
    found = linearity.displacement(student, teacher, LAM, labels)
    row, pair = 3, 2
    p_s = softmax(student[row, pair])
    flat = softmax(teacher[row, pair] / float(found.temperature[row, pair]))
    assert scipy_entropy(flat) == pytest.approx(scipy_entropy(p_s), abs=1e-10)
    away, line = p_s - flat, np.exp(mixture(teacher)[row, pair]) - flat
    assert float(found.s[row, pair]) == pytest.approx(away @ line / (line @ line))
    directions = np.random.default_rng(0).normal(size=(40_000, 10))
    directions -= directions.mean(1, keepdims=True)
    directions *= np.linalg.norm(away) / np.linalg.norm(directions, axis=1, keepdims=True)
    assert float(found.null_sd[row, pair]) == pytest.approx((directions @ line / (line @ line)).std(), rel=0.03)
    chosen = torch.tensor([0, 2, 2])
    expected = found.along[1:-1][:, chosen].sum() / found.scale[1:-1][:, chosen].sum()
    assert found.pooled(chosen) == pytest.approx(float(expected))


def test_bad_input_is_named():
    logits, labels = draw()
    with pytest.raises(ValueError, match="native, logit, clean_entropy, nll_optimal, not 'logits'"):
        ratio(logits, logits, labels, "logits")
    with pytest.raises(ValueError, match="needs student_clean"):
        ratio(logits, logits, labels, "clean_entropy")
    with pytest.raises(ValueError, match="needs clean_labels"):
        linearity.nonlinearity_ratio(logits, logits, LAM, labels, scaling="nll_optimal", student_clean=clean()[0], teacher_clean=clean()[0])
    with pytest.raises(ValueError, match="same probe"):
        linearity.displacement(logits, logits[..., :9], LAM, labels % 9)
    with pytest.raises(ValueError, match="mixture, matched"):
        linearity.displacement(logits, logits, LAM, labels, reference="m")
    with pytest.raises(ValueError, match="same classes"):
        linearity.matched_temperature(clean()[0], clean()[0][:, :4])
    with pytest.raises(ValueError, match="at least one lam between"):
        linearity.response(logits[[0, -1]], [0, 1], labels)
    with pytest.raises(ValueError, match="temperature tau"):
        linearity.probability_linearity(logits, LAM, labels, temperature=0.0)
