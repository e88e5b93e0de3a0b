"""The exact splits hold to rounding; what teachers share is told from what is each one's own."""

import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.special import rel_entr, softmax
from scipy.stats import entropy as scipy_entropy
from torch.testing import assert_close

from mixkd import vicinal
from mixkd.measure import signal

GRID = torch.tensor(vicinal.LAM_GRID)
classes = st.sampled_from([2, 3, 10, 1000])
scales = st.sampled_from([1e-3, 1.0, 30.0, 1e4])


def draw(seed, k, scale, pairs=6, rows=5, dtype=np.float32):
    """A random probe; the last third of the pairs is of one class."""
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=(rows, pairs, k)) * scale).astype(dtype)
    first = rng.integers(k, size=pairs)
    second = (first + rng.integers(1, k, size=pairs)) % k
    second[2 * pairs // 3 :] = first[2 * pairs // 3 :]
    return logits, np.linspace(0, 1, rows), np.stack([first, second], 1)


def probabilities(logits):
    return softmax(np.asarray(logits, dtype=np.float64), axis=-1)


def near(actual, expected):
    """To 1e-10, relative beyond 1 nat."""
    assert_allclose(np.asarray(actual), np.asarray(expected), rtol=1e-10, atol=1e-10)


@given(seed=st.integers(0, 2**32 - 1), k=classes, scale=scales)
@settings(max_examples=60, deadline=None)
@example(seed=0, k=1000, scale=1e4)
@example(seed=0, k=2, scale=1e4)
def test_the_splits_are_exact(seed, k, scale):
    s = signal.decompose(*draw(seed, k, scale))
    near(s.entropy.total, s.entropy.leak + s.entropy.ambiguity + s.entropy.tail)
    for part in vars(s.entropy).values():
        assert part.isfinite().all()
        assert (part > -1e-12).all()
    assert (s.entropy.ambiguity[:, s.same_class] < 1e-12).all()
    assert k > 3 or (s.entropy.tail[:, ~s.same_class] < 1e-12).all()


@given(seed=st.integers(0, 2**32 - 1), k=classes)
@settings(max_examples=20, deadline=None)
def test_against_scipy(seed, k):
    logits, lam, labels = draw(seed, k, 3.0)
    s = signal.decompose(logits, lam, labels)
    p = probabilities(logits)
    near(s.entropy.total, scipy_entropy(p, axis=-1))
    inside = np.zeros((len(labels), k), bool)
    np.put_along_axis(inside, labels, True, 1)
    near(s.kept, (p * inside).sum(-1))


def test_three_classes_by_hand():
    p = np.array([[0.2, 0.7, 0.1], [0.4, 0.3, 0.3], [0.8, 0.1, 0.1]])  # second image, the mix, first image
    s = signal.decompose(np.log(p)[:, None], [0, 0.5, 1], np.array([[0, 1]]))
    log = math.log
    near(s.entropy.leak[1, 0], -0.7 * log(0.7) - 0.3 * log(0.3))
    near(s.entropy.ambiguity[1, 0], 0.7 * (log(7) - 4 / 7 * log(4) - 3 / 7 * log(3)))
    near(s.entropy.tail[1, 0], 0)


def test_tau_is_a_temperature_of_the_logits():
    logits, lam, labels = draw(3, 10, 4.0, dtype=np.float64)
    assert_close(signal.decompose(logits, lam, labels, 4.0).kept, signal.decompose(logits / 4, lam, labels).kept)


@pytest.mark.parametrize("k", [2, 10, 1000])
@pytest.mark.parametrize("scale", [0.1, 3.0, 80.0])
def test_what_teachers_share_and_what_is_their_own_is_all_there_is(k, scale):
    generator = torch.Generator().manual_seed(k)
    labels = torch.randint(k, (4, 2), generator=generator)
    teachers = scale * torch.randn(3, 3, 4, k, generator=generator, dtype=torch.float64)
    found = signal.common(list(teachers), (0, 0.5, 1), labels)
    assert torch.allclose(found.departure, found.shared + found.own, atol=1e-10, rtol=1e-10)
    p = teachers.softmax(-1)
    m = ((p[:, 0] + p[:, 2]) / 2).mean(0)
    wanted = [sum(rel_entr(one[1].numpy(), m.numpy()).sum(-1) for one in p) / 3, rel_entr(p[:, 1].mean(0).numpy(), m.numpy()).sum(-1)]
    if scale < 10:  # beyond, the logarithm of a probability is what the oracle cannot do
        assert np.allclose([found.departure[1].numpy(), found.shared[1].numpy()], wanted, atol=1e-10)


def test_teachers_that_agree_have_nothing_of_their_own():
    logits = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([[0, 1]] * 5)
    found = signal.common([logits, logits + 7], (0, 0.5, 1), labels)
    assert float(found.own.max()) == pytest.approx(0, abs=1e-12)
    assert_close(found.shared, found.departure)
    with pytest.raises(ValueError, match="two or more teachers"):
        signal.common([logits], (0, 0.5, 1), labels)


def test_agreement_of_tails_is_the_share_of_variance_in_common():
    """Two teachers whose log tails hold a common part of variance 3 and an own part of variance 1 share three quarters."""
    rng = np.random.default_rng(0)
    lam, labels = [0, 0.5, 1], np.stack([np.arange(3000) % 10, (np.arange(3000) + 1 + np.arange(3000) // 10 % 9) % 10], 1)
    common, hub = math.sqrt(3) * rng.normal(size=(3, 3000, 10)), 5 * rng.normal(size=10)
    a, b = (signal.tails(common + hub + rng.normal(size=common.shape), lam, labels)[1] for _ in range(2))
    assert float((a * b).sum() / (a.square().sum() * b.square().sum()).sqrt()) == pytest.approx(0.75, abs=0.02)
    assert a.gather(1, torch.from_numpy(labels)).abs().max() == 0
    assert a.sum(-1).abs().max() < 1e-10
    hot, cold = (signal.tails(common / t, lam, labels) for t in (1.0, 4.0))
    assert_close(hot, 4 * cold)


def test_one_class_pairs_by_hand():
    p = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2]])  # second image, the blend, first image
    logits = np.log(np.stack([p, p], 1))
    found = signal.one_class(logits, [0, 0.5, 1], np.array([[0, 0], [0, 1]]))
    entropies = scipy_entropy(p, axis=1)
    near(found.lost, [0.85 - 0.6])
    near(found.first, [0.8])
    near(found.rise, [entropies[1] - (entropies[0] + entropies[2]) / 2])
    near(found.entropy, [entropies[1]])
    hot = softmax(np.log(p) / 2, axis=1)
    near(signal.one_class(logits, [0, 0.5, 1], np.array([[0, 0], [0, 1]]), 2.0).lost, [(hot[0, 0] + hot[2, 0]) / 2 - hot[1, 0]])
    with pytest.raises(ValueError, match=r"must hold 0.5"):
        signal.one_class(logits, [0, 0.4, 1], np.array([[0, 0], [0, 1]]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": [0.1, 0.3, 0.5, 0.7, 1]}, "from exactly 0 to exactly 1"),
        ({"lam": [0, 0.5, 0.4, 0.7, 1]}, "increase"),
        ({"lam": [0, 1]}, "one entry for each of the 5"),
        ({"labels": np.zeros((6, 3), int)}, r"\(6, 2\)"),
        ({"logits": np.zeros((5, 6, 1))}, "at least 2 classes"),
        ({"tau": 0.0}, "tau"),
    ],
)
def test_bad_values_are_named(change, message):
    logits, lam, labels = draw(0, 10, 1.0)
    with pytest.raises(ValueError, match=message):
        signal.decompose(**{"logits": logits, "lam": lam, "labels": labels, **change})


def test_teachers_of_other_probes_are_named():
    logits, lam, labels = draw(0, 10, 1.0)
    with pytest.raises(ValueError, match="same probe"):
        signal.common([logits, logits[:, :, :9]], lam, labels % 9)
