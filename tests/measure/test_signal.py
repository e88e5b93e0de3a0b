"""The exact splits hold to rounding; pair structure is found where it is and nowhere else."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar
from scipy.spatial.distance import jensenshannon
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
    near(s.divergence, s.js + s.l_nl)
    for parts in (s.forward, s.reverse):
        near(parts.total, parts.leak + parts.ratio + parts.structure)
    near(s.entropy.total, s.entropy.leak + s.entropy.ambiguity + s.entropy.tail)
    near(s.forward.total, s.l_nl)
    share = s.f_nl[~s.f_nl.isnan()]
    assert ((share >= 0) & (share <= 1)).all()
    for parts in (s.forward, s.reverse):
        for field in dataclasses.fields(parts):
            values = getattr(parts, field.name)
            assert values.isfinite().all()
            assert (values >= 0).all()
        assert (parts.ratio[:, s.same_class] < 1e-12).all()
        assert k > 3 or (parts.structure[:, ~s.same_class] < 1e-12).all()


@given(seed=st.integers(0, 2**32 - 1), k=classes)
@settings(max_examples=20, deadline=None)
def test_against_scipy(seed, k):
    logits, lam, labels = draw(seed, k, 3.0)
    s = signal.decompose(logits, lam, labels)
    p = probabilities(logits)
    m = lam[:, None, None] * p[-1] + (1 - lam)[:, None, None] * p[0]
    near(s.l_nl, rel_entr(m, p).sum(-1))
    near(s.reverse.total, rel_entr(p, m).sum(-1))
    near(s.js[2], jensenshannon(p[-1], p[0], axis=-1) ** 2)
    near(s.entropy.total, scipy_entropy(p, axis=-1))
    near(s.l_nl, vicinal.nonlinearity(*map(torch.from_numpy, (p[-1], p[0], p)), torch.from_numpy(lam).unsqueeze(1)))
    inside = np.zeros((len(labels), k), bool)
    np.put_along_axis(inside, labels, True, 1)
    near(s.kept, (p * inside).sum(-1))
    near(s.honest, (m * inside).sum(-1))


def test_three_classes_by_hand():
    p = np.array([[0.2, 0.7, 0.1], [0.4, 0.3, 0.3], [0.8, 0.1, 0.1]])  # second image, the mix, first image; m = .5 .4 .1
    s = signal.decompose(np.log(p)[:, None], [0, 0.5, 1], np.array([[0, 1]]))
    log = math.log
    near(s.l_nl[1, 0], 0.5 * log(5 / 4) + 0.4 * log(4 / 3) + 0.1 * log(1 / 3))
    near(s.forward.leak[1, 0], 0.9 * log(9 / 7) + 0.1 * log(1 / 3))
    near(s.forward.ratio[1, 0], 0.5 * log((5 / 9) / (4 / 7)) + 0.4 * log((4 / 9) / (3 / 7)))
    near(s.forward.structure[1, 0], 0)
    near(s.reverse.leak[1, 0], 0.7 * log(7 / 9) + 0.3 * log(3))
    near(s.entropy.leak[1, 0], -0.7 * log(0.7) - 0.3 * log(0.3))
    near(s.entropy.ambiguity[1, 0], 0.7 * (log(7) - 4 / 7 * log(4) - 3 / 7 * log(3)))
    near(s.entropy.tail[1, 0], 0)


def test_the_ends_of_the_grid_are_the_clean_answers():
    s = signal.decompose(*draw(1, 10, 5.0))
    for values in (s.divergence, s.js, s.l_nl, s.forward.leak, s.forward.structure, s.reverse.ratio, s.reverse.total):
        assert values[[0, -1]].abs().max() < 1e-12
        assert values[1:-1].max() > 1e-3
    assert s.f_nl[[0, -1]].isnan().all()


def test_a_constant_predictor_is_linear_and_has_no_share():
    logits = np.broadcast_to(np.random.default_rng(0).normal(size=10) * 4, (5, 6, 10))
    s = signal.decompose(logits, np.linspace(0, 1, 5), draw(0, 10, 1)[2])
    assert s.l_nl.max() < 1e-12
    assert s.f_nl.isnan().all()


def test_tau_is_a_temperature_of_the_logits():
    logits, lam, labels = draw(3, 10, 4.0, dtype=np.float64)
    assert_close(signal.decompose(logits, lam, labels, 4.0).l_nl, signal.decompose(logits / 4, lam, labels).l_nl)


# Identity 4


def world(kind, seed=0, k=12, pairs=300, noise=0.4):
    """A teacher with a known tail: "pair" mixes the class profiles, "hub" always says the same, "noise" says anything.

    Returns logits, lam, labels and log S from a held-out clean set.
    """
    rng = np.random.default_rng(seed)
    hub = rng.normal(size=k)
    profile = softmax(hub + 1.5 * rng.normal(size=(k, k)), axis=1)

    def answer(labels, weight):
        label = np.eye(k)[labels]
        return weight * 0.8 * label + weight * 0.2 * profile[labels] * (1 - label)

    lam = np.linspace(0, 1, 5)
    labels = np.stack([rng.integers(k, size=pairs), rng.integers(k, size=pairs)], 1)
    first, second = (answer(labels[:, side], 1.0) for side in (0, 1))
    p = lam[:, None, None] * first + (1 - lam)[:, None, None] * second
    inner = slice(1, -1)
    if kind != "pair":
        inside = np.zeros((pairs, k), bool)
        np.put_along_axis(inside, labels, True, 1)
        tail = softmax(hub, axis=0) if kind == "hub" else np.full(k, 1 / k)
        p[inner] = np.where(inside, p[inner], 0.3 * tail)
    logits = np.log(p) + noise * rng.normal(size=p.shape)
    truth = rng.integers(k, size=2000)
    clean = np.log(answer(truth, 1.0)) + noise * rng.normal(size=(2000, k))
    return logits, lam, labels, signal.clean_profiles(clean, truth)


def test_clean_profiles_average_the_conditional_tails():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(30, 5)) * 3, np.repeat([0, 1, 3], 10)
    log_s = signal.clean_profiles(logits, labels, tau=2.0)
    p = probabilities(logits / 2)[10:20]
    p[:, 1] = 0
    near(log_s[1].exp(), (p / p.sum(1, keepdims=True)).mean(0))
    assert log_s[1, 1] == -math.inf
    assert log_s[[2, 4]].isnan().all()


def pooled(found):
    """Structure over structure and rest, mass-weighted sums over two-class pairs, at each lam."""
    won, rest = ((found.mass * part)[:, ~found.same_class].nansum(1) for part in (found.structure, found.idiosyncratic))
    return won / (won + rest)


def test_pair_structure_is_found_where_it_is():
    assert (pooled(signal.pair_structure(*world("pair"))) > 0.6).all()


@pytest.mark.parametrize("kind", ["hub", "noise"])
def test_hubs_and_noise_are_no_pair_structure(kind):
    found = signal.pair_structure(*world(kind))
    assert (pooled(found)[1:-1] < 0.05).all()
    assert (pooled(found)[[0, -1]] > 0.7).all()  # the clean images of the same teacher do have it
    if kind == "hub":
        assert found.hub[1:-1].mean() > 5 * found.structure[1:-1].abs().mean()


def test_pair_structure_against_a_direct_computation():
    logits, lam, labels, log_s = world("pair", k=7, pairs=14)
    labels = np.where(labels[:, :1] == labels[:, 1:], (labels + np.array([0, 1])) % 7, labels)
    found = signal.pair_structure(logits, lam, labels, log_s)
    p, s, row = probabilities(logits), log_s.exp().numpy(), 2
    rests = [np.setdiff1d(np.arange(7), pair) for pair in labels]
    tails = [p[row, n, rest] / p[row, n, rest].sum() for n, rest in enumerate(rests)]
    hubs, predictions = [], []
    for n, (i, j) in enumerate(labels):
        hub = []
        for c in rests[n]:
            others = [tails[o][list(rests[o]).index(c)] for o in range(14) if o != n and c in rests[o]]
            hub.append((sum(others) + 1 / 5) / (len(others) + 1))
        hubs.append(np.array(hub) / sum(hub))
        q = lam[row] * (1 - p[-1, n, i]) * s[i] + (1 - lam[row]) * (1 - p[0, n, j]) * s[j]
        predictions.append(q[rests[n]] / q[rests[n]].sum())
    mass = np.array([p[row, n, rest].sum() for n, rest in enumerate(rests)])

    def cost(w):
        mixed = [w * q + (1 - w) * h for q, h in zip(predictions, hubs, strict=True)]
        return mass @ [rel_entr(t, c).sum() for t, c in zip(tails, mixed, strict=True)]

    best = minimize_scalar(cost, bounds=(0, 1), method="bounded", options={"xatol": 1e-10})
    assert_allclose(found.weight[row].numpy(), best.x, atol=1e-5)
    assert_allclose(pooled(found)[row], 1 - best.fun / cost(0), atol=1e-8)
    near(found.mass[row], mass)
    to_uniform = [rel_entr(t, np.full(5, 1 / 5)).sum() for t in tails]
    near((found.hub + found.structure + found.idiosyncratic)[row], to_uniform)
    near((found.structure + found.idiosyncratic)[row], [rel_entr(t, h).sum() for t, h in zip(tails, hubs, strict=True)])


def test_kinds_of_pairs_do_not_touch_each_other():
    logits, lam, labels, log_s = world("pair", pairs=60)
    labels[40:, 1] = labels[40:, 0]
    everything = signal.pair_structure(logits, lam, labels, log_s)
    same = everything.same_class
    for kind in (same, ~same):
        alone = signal.pair_structure(logits[:, kind], lam, labels[kind], log_s)
        assert_close(alone.structure, everything.structure[:, kind])
        assert_close(alone.hub, everything.hub[:, kind])
        other = logits[..., ::-1].copy()
        both, apart = (signal.reproducibility(logits[:, k], other[:, k], lam, labels[k]) for k in (slice(None), kind))
        assert_close(apart.beyond_hub, both.beyond_hub[:, kind])


@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_structure_share_is_a_divergence_taken_apart(scale):
    logits, lam, labels = draw(5, 7, scale, pairs=12)
    rng = np.random.default_rng(1)
    log_s = signal.clean_profiles(rng.normal(size=(70, 7)), np.arange(70) % 7)
    share = signal.structure_share(logits, lam, labels, log_s)
    tails = signal.pair_structure(logits, lam, labels, log_s)
    for content in (share.forward, share.reverse):
        assert all(part.isfinite().all() for part in (content.leak, content.structure, content.idiosyncratic))
    if scale > 100:  # the direct computation below loses tails of 1e-300; the module must not
        return
    probe = signal.read_probe(logits, lam, labels)
    p, m = probe.log_p.exp(), probe.log_m.exp()
    rest = ~probe.inside
    p_rest, m_rest = ((values * rest).sum(-1, keepdim=True) for values in (p, m))
    hub_term = (tails.structure + tails.idiosyncratic).unsqueeze(-1)  # KL(p~|R || hub)
    # a hub that is exactly this far: move the difference to KL's linearity in its last term
    tail = p / p_rest * rest
    reverse = (torch.where(rest, 0, p * (p / m).log())).sum(-1) + (p_rest * ((p_rest / m_rest).log() + hub_term)).squeeze(-1)
    forward = (torch.where(rest, 0, m * (m / p).log())).sum(-1) + (m_rest * ((m_rest / p_rest).log() + hub_term)).squeeze(-1)
    assert_close(tail.sum(-1), torch.ones_like(reverse))
    for content, expected in ((share.forward, forward), (share.reverse, reverse)):
        near(content.leak + content.ratio + content.structure + content.idiosyncratic, expected)


def test_structure_share_orders_the_known_teachers():
    shares = {}
    for kind in ("pair", "hub", "noise"):
        logits, lam, labels, log_s = world(kind)
        share = signal.structure_share(logits, lam, labels, log_s)
        assert share.reverse.leak[[0, -1]].max() < 1e-12
        assert share.pooled("clean") > 0.7
        assert share.pooled("clean") == pytest.approx(share.pooled("clean", leak=False))
        shares[kind] = share.pooled()
        assert share.pooled() <= share.pooled(leak=False) + 1e-12
    assert shares["pair"] > 0.5 > 0.1 > max(shares["hub"], shares["noise"])


def test_another_teacher_predicts_what_is_not_one_networks_own():
    """Tails that no class profile explains, shared by two seeds or not."""
    rng = np.random.default_rng(0)
    lam, labels = np.array([0, 0.5, 1]), np.stack([np.arange(200) % 10, (np.arange(200) * 3 + 1) % 10], 1)
    shared = rng.normal(size=(3, 200, 10))
    a, b = (1.5 * shared + 0.2 * rng.normal(size=(3, 200, 10)) for _ in range(2))
    alone = np.concatenate([a[:1], rng.normal(size=(1, 200, 10)) * 1.5, a[-1:]])
    log_s = signal.clean_profiles(rng.normal(size=(500, 10)), np.arange(500) % 10)

    def share(logits, inputs, **other):
        profiles = None if other.get("predictor") == "teacher" else log_s
        return signal.structure_share(logits, lam, labels, profiles, **other).pooled(inputs, leak=False)

    together = {"predictor": "teacher", "independent": b}
    assert share(a, "mixed") < 0.1
    assert share(a, "clean") < 0.1  # no confusion at all, and yet the strict reading is far below a half
    assert share(a, "mixed", **together) > 0.9
    assert share(alone, "clean", **together) > 0.9
    assert share(alone, "mixed", **together) < 0.1
    with pytest.raises(ValueError, match="needs the logits of an independent teacher"):
        share(a, "mixed", predictor="teacher")
    with pytest.raises(ValueError, match="no independent teacher"):
        share(a, "mixed", independent=b)
    with pytest.raises(ValueError, match="same 10 classes"):
        share(a, "mixed", predictor="teacher", independent=np.concatenate([b, b], 2))


def test_pooled_shares_are_ratios_of_sums_over_the_chosen_pairs():
    logits, lam, labels, log_s = world("pair", pairs=30)
    labels[:3, 1] = labels[:3, 0]
    share = signal.structure_share(logits, lam, labels, log_s)
    c = share.forward
    rows, pairs = slice(1, -1), torch.tensor([5, 7, 7])
    whole = (c.leak + c.structure + c.idiosyncratic)[rows][:, pairs].sum()
    chosen = share.pooled("mixed", "forward", pairs=pairs)
    assert chosen == pytest.approx(float(c.structure[rows][:, pairs].sum() / whole))
    everything = share.pooled(pairs=torch.arange(30))
    assert share.pooled() == share.pooled(pairs=~share.same_class) != everything
    with pytest.raises(ValueError, match="'mixed' or 'clean'"):
        share.pooled("both")
    with pytest.raises(ValueError, match="'forward' or 'reverse'"):
        share.pooled(direction="sideways")


@pytest.mark.parametrize("k", [2, 3])
def test_a_tail_of_one_class_has_no_share(k):
    logits, lam, labels = draw(0, k, 2.0)
    log_s = signal.clean_profiles(np.random.default_rng(0).normal(size=(9, k)), np.arange(9) % k)
    share = signal.structure_share(logits, lam, labels, log_s)
    assert math.isnan(share.pooled())
    assert share.reverse.structure[:, ~share.same_class].isnan().all()
    assert share.reverse.leak.isfinite().all()
    assert (k == 2) == bool(share.reverse.structure.isnan().all())


# Identity 5


def test_reproducibility_is_the_correlation_of_log_tails():
    a, lam, labels = draw(0, 10, 2.0)
    b = draw(1, 10, 2.0)[0] + a
    found = signal.reproducibility(a, b, lam, labels)
    rest = np.setdiff1d(np.arange(10), labels[2])
    assert float(found.correlation[1, 2]) == pytest.approx(np.corrcoef(a[1, 2, rest], b[1, 2, rest])[0, 1])
    cooler = signal.reproducibility(a / 3, b, lam, labels)
    assert_close(cooler.correlation, found.correlation)
    assert_close(cooler.beyond_hub, found.beyond_hub)
    near(signal.reproducibility(a, a, lam, labels).beyond_hub, 1)


def test_hubs_alone_reproduce_without_being_about_the_pair():
    rng = np.random.default_rng(0)
    lam, labels = [0, 0.5, 1], rng.integers(20, size=(400, 2))
    hub = rng.normal(size=20)
    a, b = (hub + 0.5 * rng.normal(size=(3, 400, 20)) for _ in range(2))
    found = signal.reproducibility(a, b, lam, labels)
    assert found.correlation.mean() > 0.6
    assert abs(float(found.beyond_hub.mean())) < 0.03
    logits, lam, labels = draw(0, 4, 1.0)
    tail_of_two = signal.reproducibility(logits, logits, lam, labels)
    assert (tail_of_two.correlation.isnan() == ~tail_of_two.same_class).all()


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
    assert 0 <= found.own_share(torch.ones(4, dtype=torch.bool)) <= 1


def test_teachers_that_agree_have_nothing_of_their_own():
    logits = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labels = torch.tensor([[0, 1]] * 5)
    assert signal.common([logits, logits + 7], (0, 0.5, 1), labels).own_share() == pytest.approx(0, abs=1e-12)
    line = torch.stack([logits[0], torch.logaddexp(logits[0].log_softmax(-1), logits[2].log_softmax(-1)), logits[2]])
    assert math.isnan(signal.common([line, line], (0, 0.5, 1), labels).own_share())  # the honest mixture: nothing to share
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
    tempered = softmax(np.log(p) / 2, axis=1)
    near(
        signal.one_class(logits, [0, 0.5, 1], np.array([[0, 0], [0, 1]]), 2.0).lost,
        [(tempered[0, 0] + tempered[2, 0]) / 2 - tempered[1, 0]],
    )
    with pytest.raises(ValueError, match=r"must hold 0.5"):
        signal.one_class(logits, [0, 0.4, 1], np.array([[0, 0], [0, 1]]))


# What the functions refuse


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lam": [0.1, 0.3, 0.5, 0.7, 1]}, "from exactly 0 to exactly 1"),
        ({"lam": [0, 0.5, 0.4, 0.7, 1]}, "increase"),
        ({"lam": [0, 1]}, "one entry for each of the 5"),
        ({"labels": np.full((6, 2), 10)}, r"0\.\.9"),
        ({"labels": np.zeros((6, 3), int)}, r"\(6, 2\)"),
        ({"logits": np.full((5, 6, 10), np.nan)}, "finite"),
        ({"logits": np.zeros((5, 60))}, "3 dimensions"),
        ({"logits": np.zeros((5, 6, 1))}, "at least 2 classes"),
        ({"tau": 0.0}, "tau"),
    ],
)
def test_bad_values_are_named(change, message):
    logits, lam, labels = draw(0, 10, 1.0)
    with pytest.raises(ValueError, match=message):
        signal.decompose(**{"logits": logits, "lam": lam, "labels": labels, **change})


def test_bad_kinds_are_named():
    logits, lam, labels = draw(0, 10, 1.0)
    with pytest.raises(TypeError, match="floating point"):
        signal.decompose(logits.astype(int), lam, labels)
    with pytest.raises(TypeError, match="integer"):
        signal.decompose(logits, lam, labels.astype(float))
    with pytest.raises(ValueError, match="no clean image"):
        signal.pair_structure(logits, lam, labels, signal.clean_profiles(logits[0], np.zeros(6, int)))
    with pytest.raises(ValueError, match="as clean_profiles gives"):
        signal.pair_structure(logits, lam, labels, torch.zeros(3, 3))
    with pytest.raises(ValueError, match="same probe"):
        signal.reproducibility(logits, logits[:, :, :9], lam, labels % 9)
    _, _, _, log_s = world("pair", k=10, pairs=5)
    with pytest.raises(ValueError, match="class, teacher"):
        signal.pair_structure(logits, lam, labels, log_s, predictor="pair")
    with pytest.raises(ValueError, match="needs profiles"):
        signal.pair_structure(logits, lam, labels)
