"""Models whose departure from linearity is known in closed form, and the confounds that must not pass for it."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import rel_entr, softmax
from torch.testing import assert_close

from mixkd import vicinal
from mixkd.measure import linearity

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
def test_l_nl_against_a_direct_computation(seed, k, scale):
    logits, labels = draw(seed, k, scale=scale)
    found = linearity.probability_linearity(logits, LAM, labels)
    assert found.l_nl.isfinite().all()
    assert found.l_nl[[0, -1]].abs().max() < 1e-10
    assert_close(found.l_nl_mean, found.l_nl[1:-1].mean(0))
    p = softmax(logits, axis=-1)
    m = WEIGHT * p[-1] + (1 - WEIGHT) * p[0]
    if scale < 100:
        assert_allclose(found.l_nl, rel_entr(m, p).sum(-1), atol=1e-10)


def test_confidence_alone_makes_a_model_nonlinear():
    logits, labels = draw()
    means = [linearity.probability_linearity(logits, LAM, labels, t).l_nl_mean[:-1].mean() for t in (1 / 3, 1.0, 3.0)]
    assert means[0] > 2 * means[1] > 8 * means[2]
    constant = np.broadcast_to(logits[:1, :1], logits.shape)
    assert linearity.probability_linearity(constant, LAM, labels).l_nl.max() < 1e-12
    assert linearity.logit_linearity(constant, LAM, labels).gap.isnan().all()


def test_logit_measures_of_a_parabola():
    logits, labels = draw()
    found = linearity.logit_linearity(logits, LAM, labels)
    ends = logits[-1] - logits[0]
    bump = logits[LAM.tolist().index(0.5)] - (logits[0] + logits[-1]) / 2
    centre = [values - values.mean(-1, keepdims=True) for values in (bump, ends)]
    size = np.linalg.norm(centre[0], axis=1) / np.linalg.norm(centre[1], axis=1)
    assert_allclose(found.gap, 4 * LAM[:, None] * (1 - LAM[:, None]) * size, atol=1e-10)
    assert_allclose(found.gap_mean, found.gap[1:-1].mean(0), atol=1e-10)


def test_logit_measures_ignore_temperature_and_offset():
    logits, labels = draw()
    offset = np.random.default_rng(1).normal(size=logits.shape[:2])[..., None]
    before, after = (linearity.logit_linearity(z, LAM, labels) for z in (logits, logits / 7 + offset))
    assert_close(after.gap, before.gap)
    assert linearity.logit_linearity(draw(bend=0.0)[0], LAM, labels).gap.abs().max() < 1e-12


PAIRS, CLASSES = 2000, 10


class Kind:
    """Networks of one kind on one probe: what all of them do off the line, and what each does for itself."""

    def __init__(self, shared=2.0, own=2.0):
        rng = np.random.default_rng(0)
        first = rng.integers(CLASSES, size=PAIRS)
        self.labels = np.stack([first, (first + rng.integers(1, CLASSES, size=PAIRS)) % CLASSES], 1)
        self.ends = [4 * np.eye(CLASSES)[self.labels[:, side]] for side in (0, 1)]
        self.shared, self.own = shared * rng.normal(size=(PAIRS, CLASSES)), own

    def network(self, seed, bend=1.0):
        """Logits (L, P, K), bent between the ends as far as the others, or `bend` times as far."""
        rng = np.random.default_rng(seed)
        first, second = (end + 0.5 * rng.normal(size=end.shape) for end in self.ends)
        bump = bend * (self.shared + self.own * rng.normal(size=self.shared.shape))
        return WEIGHT * first + (1 - WEIGHT) * second + 4 * WEIGHT * (1 - WEIGHT) * bump

    def answers(self, logits):
        return linearity.answers(logits, LAM, self.labels)

    def seen(self, student, teacher, strangers=range(10, 14)):
        """Mean displacement as four strangers see it."""
        found = [self.answers(self.network(seed)) for seed in strangers]
        return np.mean([linearity.displacement(self.answers(student), self.answers(teacher), one).pooled() for one in found])


def mixture(logits):
    p = softmax(logits, axis=-1)
    return np.log(WEIGHT * p[-1] + (1 - WEIGHT) * p[0])


def between(one, other, share):
    """Logits of the mean of two models' probabilities."""
    return np.log((1 - share) * softmax(one, axis=-1) + share * softmax(other, axis=-1))


@pytest.mark.parametrize("copied", [0.0, 0.5, 0.8])
def test_the_zero_is_fair_to_every_part_of_imitation(copied):
    """A student that copies its teacher in part, and is otherwise as far from linear as any of its kind, has displacement 0.

    Measured on the teacher's own way it would seem displaced: it lacks what is peculiar to that teacher."""
    kind = Kind()
    teacher, other = kind.network(1), kind.network(2)
    student = between(other, teacher, copied)
    assert kind.seen(teacher + 3.0, teacher) == pytest.approx(0, abs=1e-12)  # an offset of all classes is no answer
    assert abs(kind.seen(student, teacher)) < 0.02
    own = linearity.displacement(*(kind.answers(one) for one in (student, teacher, teacher))).pooled()
    assert own > 0.4 * (1 - copied)


def test_half_way_to_linear_is_half_as_displaced_as_linear():
    kind = Kind()
    teacher = kind.network(1)
    linear = mixture(teacher)
    half, whole = (kind.seen(between(teacher, linear, share), teacher) for share in (0.5, 1.0))
    assert half > 0.2
    assert half == pytest.approx(whole / 2, rel=1e-6)
    alike = Kind(shared=3.0, own=0.0)  # strangers that bend just as the teacher does see all of it
    assert alike.seen(mixture(alike.network(1)), alike.network(1)) == pytest.approx(1, abs=0.05)


def test_displacement_is_its_formula():
    kind = Kind()
    student, teacher, stranger = (kind.network(seed) for seed in (1, 2, 3))
    found = linearity.displacement(*(kind.answers(one) for one in (student, teacher, stranger)))
    row, pair = 2, 7
    p_s, p_t, p_v = (softmax(one[row + 1, pair]) for one in (student, teacher, stranger))
    line = np.exp(mixture(stranger)[row + 1, pair]) - p_v
    assert float(found.along[row, pair]) == pytest.approx((p_s - p_t) @ line)
    assert float(found.scale[row, pair]) == pytest.approx(line @ line)
    assert found.pooled() == pytest.approx(float(found.along.sum() / found.scale.sum()))
    flat = kind.answers(np.zeros_like(student))
    assert math.isnan(linearity.displacement(kind.answers(student), kind.answers(teacher), flat).pooled())


def test_answers_are_of_two_classes_and_tempered():
    logits, labels = draw()
    found = linearity.answers(logits, LAM, labels, 2.0)
    assert found.given.shape == (len(LAM) - 2, 7, 10)  # the last pair is of one class
    assert_allclose(found.given, softmax(logits / 2, axis=-1)[1:-1, :-1], atol=1e-12)
    assert_allclose(found.given + found.line, np.exp(mixture(logits / 2))[1:-1, :-1], atol=1e-12)


def test_bad_input_is_named():
    logits, labels = draw()
    one, other = linearity.answers(logits, LAM, labels), linearity.answers(logits[..., :9], LAM, labels % 9)
    with pytest.raises(ValueError, match="same probe"):
        linearity.displacement(one, one, other)
    with pytest.raises(ValueError, match="at least one lam between"):
        linearity.answers(logits[[0, -1]], [0, 1], labels)
    with pytest.raises(ValueError, match="temperature tau"):
        linearity.probability_linearity(logits, LAM, labels, temperature=0.0)
