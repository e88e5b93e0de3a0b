"""What a teacher answers to mixed inputs: leak, endpoint ratio and tail, and how much of the tail other teachers share.

Pure functions of logits on the vicinal probe; no verdicts, no intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from mixkd.vicinal import check_dense

Array = Tensor | np.ndarray
Grid = Array | Sequence[float]
Direction = Literal["forward", "reverse"]
Predictor = Literal["class", "teacher"]

NEGLIGIBLE = 1e-12
"""Nats. A share of a divergence below this is rounding over rounding, hence nan."""

_EMPTY = -math.inf


@dataclass(frozen=True)
class Probe:
    """A probe read in log-probabilities: what every measure along lam starts from.

    Attributes:
        lam: (L,) float64, from 0 (the second image alone) to 1 (the first alone).
        labels: (P, 2) int64, classes of the first and the second image.
        log_p: (L, P, K) float64, log p~ on the mixed inputs; its last row is the first image alone, its first row the
            second.
        log_m: (L, P, K) float64, log of the honest mixture m = lam p_i + (1 - lam) p_j of the two clean answers.
        inside: (P, K) bool, the endpoint classes E; the other classes are the rest R.
        same_class: (P,) bool, pairs whose images share a class (E has one class): report them apart.
    """

    lam: Tensor
    labels: Tensor
    log_p: Tensor
    log_m: Tensor
    inside: Tensor
    same_class: Tensor


def read_probe(logits: Array, lam: Grid, labels: Array, tau: float = 1.0) -> Probe:
    """Check a probe and bring it to log-probabilities.

    Args:
        logits: (L, P, K) floating point, finite, K >= 2.
        lam: (L,) increasing from exactly 0 to exactly 1, L >= 2; any subset of the grid that keeps both ends will do.
        labels: (P, 2) integers in [0, K).
        tau: temperature that divides the logits, > 0: pass the distillation temperature to see the signal a student
            was given.

    Raises:
        ValueError, TypeError: for anything else.
    """
    values = as_logits(logits, "logits", 3)
    grid = as_tensor(lam).double()
    if grid.shape != values.shape[:1] or len(grid) < 2:
        raise ValueError(f"lam must have one entry for each of the {len(values)} rows of logits, not shape {tuple(grid.shape)}")
    if grid[0] != 0 or grid[-1] != 1 or not bool((grid.diff() > 0).all()):
        raise ValueError(f"lam must increase from exactly 0 to exactly 1, not {grid.tolist()}")
    classes = as_labels(labels, (values.shape[1], 2), values.shape[2])
    log_p = as_log_p(values, tau)
    weight = grid.reshape(-1, 1, 1)
    log_m = torch.logaddexp(weight.log() + log_p[-1], (1 - weight).log() + log_p[0])
    inside = torch.zeros(values.shape[1:], dtype=torch.bool).scatter_(1, classes, True)
    return Probe(grid, classes, log_p, log_m, inside, classes[:, 0] == classes[:, 1])


# Identities 1 to 3: exact, per pair


@dataclass(frozen=True)
class Parts:
    """KL(a || b) = leak + ratio + structure, exactly; each (L, P) float64, nats, >= 0.

    Attributes:
        total: KL(a || b).
        leak: KL between the binary distributions (mass on E, mass on R): how much went to classes of neither image.
        ratio: a_E KL(a|E || b|E): disagreement about the two endpoint classes; 0 for a same-class pair.
        structure: a_R KL(a|R || b|R): disagreement within the rest; 0 where the rest has fewer than two classes.
    """

    total: Tensor
    leak: Tensor
    ratio: Tensor
    structure: Tensor


@dataclass(frozen=True)
class EntropyParts:
    """H(p~) = leak + ambiguity + tail, exactly; each (L, P) float64, nats.

    Attributes:
        total: H(p~), in [0, ln K].
        leak: H_b(s), the uncertainty whether it is an endpoint class at all, in [0, ln 2].
        ambiguity: s H(p~|E), which endpoint class, in [0, ln 2].
        tail: (1 - s) H(p~|R), which other class.
    """

    total: Tensor
    leak: Tensor
    ambiguity: Tensor
    tail: Tensor


@dataclass(frozen=True)
class Signal:
    """The teacher's answer p~ on mixed inputs against the honest mixture m = lam p_i + (1 - lam) p_j.

    All (L, P) float64, in nats unless said otherwise.

    Attributes:
        lam: (L,).
        same_class: (P,) bool; report these pairs apart.
        divergence: lam KL(p_i || p~) + (1 - lam) KL(p_j || p~) = js + l_nl.
        js: Jensen-Shannon divergence of the endpoints at weights (lam, 1 - lam): what mixing costs even when it is
            honest.
        l_nl: KL(m || p~), the authors' non-linearity.
        f_nl: l_nl / (js + l_nl) in [0, 1]; nan where the divergence is negligible (a constant predictor; lam = 0 or
            1). It does depend on scale: the same logits at another temperature give another share.
        forward: split of KL(m || p~); its total is l_nl. A sharp teacher has m_R ~ 0, so its structure vanishes by
            construction.
        reverse: split of KL(p~ || m), weighted by the masses of the signal itself.
        entropy: split of H(p~).
        kept: s = p~_E, the mass on the endpoint classes.
        honest: m_E, the mass that the honest mixture leaves there.
    """

    lam: Tensor
    same_class: Tensor
    divergence: Tensor
    js: Tensor
    l_nl: Tensor
    f_nl: Tensor
    forward: Parts
    reverse: Parts
    entropy: EntropyParts
    kept: Tensor
    honest: Tensor


def decompose(logits: Array, lam: Grid, labels: Array, tau: float = 1.0) -> Signal:
    """Split the teacher's signal along lam into exact parts (identities 1 to 3).

    1. ``lam KL(p_i||p~) + (1-lam) KL(p_j||p~) = JS_lam(p_i, p_j) + KL(m||p~)``, the compensation identity
       (Topsoe 1967); JS after Lin 1991.
    2. ``KL(a||b) = KL_b(a_E||b_E) + a_E KL(a|E||b|E) + a_R KL(a|R||b|R)``, the chain rule, for (m, p~) and (p~, m).
    3. ``H(p~) = H_b(s) + s H(p~|E) + (1-s) H(p~|R)``, s = p~_E, the chain rule again.

    At lam = 0 and 1 the mixture is the answer itself: every divergence is 0.

    Args:
        logits, lam, labels, tau: see :func:`read_probe`.
    """
    probe = read_probe(logits, lam, labels, tau)
    log_p, log_m, inside = probe.log_p, probe.log_m, probe.inside
    weight = probe.lam.unsqueeze(-1)
    first, second = log_p[-1], log_p[0]
    js = weight * kl(first, log_m) + (1 - weight) * kl(second, log_m)
    forward = _split(log_m, log_p, inside)
    binary = torch.stack(_masses(log_p, inside), -1)
    uncertainty = -_weigh(log_p, log_p)
    leak = -_weigh(binary, binary).sum(-1)
    conditional = -_weigh(log_p, log_p - torch.where(inside, binary[..., :1], binary[..., 1:]))
    return Signal(
        lam=probe.lam,
        same_class=probe.same_class,
        divergence=weight * kl(first, log_p) + (1 - weight) * kl(second, log_p),
        js=js,
        l_nl=forward.total,
        f_nl=_share(forward.total, js + forward.total),
        forward=forward,
        reverse=_split(log_p, log_m, inside),
        entropy=EntropyParts(uncertainty.sum(-1), leak, (conditional * inside).sum(-1), (conditional * ~inside).sum(-1)),
        kept=binary[..., 0].exp(),
        honest=_masses(log_m, inside)[0].exp(),
    )


# Identity 4: is the tail about the pair, or the same for every input?


def clean_profiles(logits: Array, labels: Array, tau: float = 1.0) -> Tensor:
    """log S: for each class, how the teacher spreads what it does not give to that class, on average over clean images.

    ``S[y] = mean over images of class y of p(. | not y)``, each image weighing the same.

    Args:
        logits: (N, K) clean logits of *held-out* images: neither the teacher's training images nor those of the
            probe, or S[y] partly contains the answers it is to predict.
        labels: (N,) integers in [0, K).
        tau: temperature that divides the logits; the same as for the probe.

    Returns:
        (K, K) float64 natural logarithms; rows sum to 1 after exp, the diagonal is -inf, the row of an absent class
        is nan.
    """
    values = as_logits(logits, "logits", 2)
    classes = as_labels(labels, values.shape[:1], values.shape[1])
    others = as_log_p(values, tau).scatter(1, classes.unsqueeze(1), _EMPTY).log_softmax(-1)
    profiles = torch.full((values.shape[1],) * 2, math.nan, dtype=torch.float64)
    for label in sorted(set(classes.tolist())):
        rows = others[classes == label]
        profiles[label] = rows.logsumexp(0) - math.log(len(rows))
    return profiles


@dataclass(frozen=True)
class PairStructure:
    """How much of the teacher's tail p~|R is about the pair (identity 4).

    ``KL(p~|R || uniform) = hub + structure + idiosyncratic`` holds exactly for each pair. Hub prior and weight are made within the
    cross-class pairs and within the same-class pairs, never across. All (L, P) float64 unless said; nan where R has fewer than two classes.

    Attributes:
        lam: (L,).
        same_class: (P,) bool.
        mass: p~_R, which weighs the pairs in every pooled value.
        hub: nats won over the uniform tail by the hub prior: the default answer, the same for every pair. May be
            negative.
        structure: nats won over the hub prior by the pair's prediction. May be negative for a pair.
        idiosyncratic: nats that neither explains, >= 0. Under a "class" prediction it holds noise *and* what is true
            of these two images only; ``predictor="teacher"`` leaves the noise alone.
        weight: the w in [0, 1] of ``w q + (1 - w) hub``: one number per lam and kind of pair, not per pair (which
            would fit noise).
    """

    lam: Tensor
    same_class: Tensor
    mass: Tensor
    hub: Tensor
    structure: Tensor
    idiosyncratic: Tensor
    weight: Tensor


def pair_structure(
    logits: Array,
    lam: Grid,
    labels: Array,
    profiles: Tensor | None = None,
    *,
    tau: float = 1.0,
    predictor: Predictor = "class",
    independent: Array | None = None,
) -> PairStructure:
    """Split the teacher's tail into hub prior, pair structure and an idiosyncratic rest.

    The pair's prediction on R is ``q ~ lam (1 - p_i(y_i)) S[y_i] + (1 - lam) (1 - p_j(y_j)) S[y_j]``. The hub prior
    of a pair is the mean tail of the *other* pairs, over those whose R holds the class, plus one pair with a uniform
    tail, so that it is never 0.

    Args:
        logits, lam, labels, tau: see :func:`read_probe`.
        profiles: (K, K) from :func:`clean_profiles`, at the same tau; for predictor="class" only.
        predictor: where q comes from. "class": class profiles alone, as above. "teacher": the tail of an independent teacher on the same
            mixed input; what it leaves over is one network's own.
        independent: (L, P, K) logits of that teacher; for predictor="teacher" only.

    Raises:
        ValueError: also when a class of the probe has no profile, or the predictor lacks what it needs.
    """
    probe = read_probe(logits, lam, labels, tau)
    prediction = _prediction(probe, profiles, predictor, independent, tau)
    shape = probe.log_p.shape[:2]
    hub, structure, rest, weight = (probe.log_p.new_full(shape, math.nan) for _ in range(4))
    for same in (False, True):
        pairs = torch.nonzero(probe.same_class == same).squeeze(1)
        if not len(pairs) or probe.log_p.shape[-1] < (3 if same else 4):
            continue  # no pair of the kind, or a rest of one class or none
        tails = _tails(probe, pairs)
        found = tails.explain(prediction[:, pairs])
        hub[:, pairs] = tails.rest.sum(1).double().log() - found.entropy - found.to_hub
        structure[:, pairs], rest[:, pairs] = found.to_hub - found.to_best, found.to_best
        weight[:, pairs] = found.weight.unsqueeze(1).expand(-1, len(pairs))
    return PairStructure(probe.lam, probe.same_class, _masses(probe.log_p, probe.inside)[1].exp(), hub, structure, rest, weight)


@dataclass(frozen=True)
class Content:
    """Where the nats of one direction come from; each (L, P) float64.

    Attributes:
        leak, ratio: those of identity 2 in this direction, >= 0.
        structure: tail mass x nats that the pair's prediction wins over the hub prior; may be negative for a pair.
        idiosyncratic: tail mass x nats left over, >= 0.
        share: structure / (leak + structure + idiosyncratic) for each pair; nan where that is negligible.
    """

    leak: Tensor
    ratio: Tensor
    structure: Tensor
    idiosyncratic: Tensor
    share: Tensor


@dataclass(frozen=True)
class StructureShare:
    """The primary statistic of claim (a); see :func:`structure_share`.

    Attributes:
        lam: (L,); its first and last row are the clean images.
        same_class: (P,) bool.
        forward: weighted by the masses of m, as KL(m || p~) is.
        reverse: weighted by the masses of p~, as KL(p~ || m) is.
    """

    lam: Tensor
    same_class: Tensor
    forward: Content
    reverse: Content

    def pooled(
        self,
        inputs: Literal["mixed", "clean"] = "mixed",
        direction: Direction = "reverse",
        *,
        leak: bool = True,
        pairs: Tensor | None = None,
    ) -> float:
        """Share of sums over pairs and rows: structure / (leak + structure + idiosyncratic).

        Args:
            inputs: "mixed" takes the inner rows of the grid, each weighing the same; "clean" the two end rows.
            direction: "forward" or "reverse".
            leak: False leaves the leak out of the denominator. It is 0 on clean images by construction, so only this
                form compares mixed with clean like with like.
            pairs: indices or a mask of the pairs, for a bootstrap or for the same-class pairs; default: all
                cross-class pairs. Hub prior and weight stay those of the whole probe.

        Returns:
            At most 1; nan where there is nothing to share. Negative when the pair's prediction does worse than the
            hub prior.
        """
        if inputs not in ("mixed", "clean"):
            raise ValueError(f"inputs must be 'mixed' or 'clean', not {inputs!r}")
        if direction not in ("forward", "reverse"):
            raise ValueError(f"direction must be 'forward' or 'reverse', not {direction!r}")
        content = self.forward if direction == "forward" else self.reverse
        rows = slice(1, -1) if inputs == "mixed" else slice(None, None, len(self.lam) - 1)
        chosen = ~self.same_class if pairs is None else pairs
        structure, rest, lost = (part[rows][:, chosen].sum() for part in (content.structure, content.idiosyncratic, content.leak))
        return float(_share(structure, structure + rest + (lost if leak else 0)))


def structure_share(
    logits: Array,
    lam: Grid,
    labels: Array,
    profiles: Tensor | None = None,
    *,
    tau: float = 1.0,
    predictor: Predictor = "class",
    independent: Array | None = None,
) -> StructureShare:
    """How much of the teacher's signal beyond the endpoint classes is about the pair.

    For each mixed input the signal p~ is held against "the honest mixture with a know-nothing tail". With R the
    classes of neither image, ``D(c) = KL(p~|R || c)``, pi the hub prior and q* the best global mix of pi with the
    pair's prediction (:func:`pair_structure`):

    - reverse, masses of the signal:  ``leak + ratio + p~_R D(pi) = KL(p~ || m_E m|E + m_R pi)``
    - forward, masses of the mixture: ``leak + ratio + m_R D(pi) = KL(m_E m|E + m_R p~|R || p~_E p~|E + p~_R pi)``

    with leak and ratio those of KL(p~ || m) and of KL(m || p~) (identity 2), and ``D(pi) = [D(pi) - D(q*)] + D(q*)``:
    pair structure plus idiosyncratic tail. Both lines are exact. The share is ``structure / (leak + structure +
    idiosyncratic)``; the ratio term, which only says how p~ divides the endpoint classes, counts for neither side.

    Reading it. 1: everything that the teacher says beyond the endpoint classes could be said from the prediction.
    0: it is misplaced mass, or a tail that knows nothing of the pair. "Dominated by confusion" asks for less than .5
    *and* less than on clean images.

    What it cannot say:
    - A class average explains little of any single image, so with predictor="class" clean images fall below .5 too
      (small networks on digits: .1 to .3, while two seeds agree on their tails at r = .97). Only the comparison with
      clean images, or predictor="teacher", speaks of confusion; the level of the "class" share does not.
    - Clean images have p~ = m, so their leak is 0 and the comparison with leak favours "dominated"; compare
      ``pooled(leak=False)`` too.
    - KL(m || p~) itself is 0 on clean images, and its tail term measures disagreement with m, so a share of *that*
      divergence would be 0/0 on clean images and 0 for a teacher whose tail is perfect. Hence the hub prior, and not
      m|R, is the baseline for the tail.
    - "teacher" splits by reproducibility: shared mistakes count as structure, one network's own as idiosyncratic.
    - Leak counts any departure of p~_E from m_E, also *more* mass on the endpoint classes; see ``Signal.kept`` and
      ``Signal.honest``.
    - In the forward direction a sharp teacher has m_R ~ 0, and the leak wins by construction.

    Args:
        logits, lam, labels, tau: see :func:`read_probe`.
        profiles, predictor, independent: see :func:`pair_structure`.

    Returns:
        Parts for every lam and pair; nan where the rest has fewer than two classes. ``pooled()`` gives the statistic.
    """
    tails = pair_structure(logits, lam, labels, profiles, tau=tau, predictor=predictor, independent=independent)
    signal = decompose(logits, lam, labels, tau)

    def content(parts: Parts, mass: Tensor) -> Content:
        structure, rest = mass * tails.structure, mass * tails.idiosyncratic
        return Content(parts.leak, parts.ratio, structure, rest, _share(structure, parts.leak + structure + rest))

    probe = read_probe(logits, lam, labels, tau)
    honest = _masses(probe.log_m, probe.inside)[1].exp()
    return StructureShare(signal.lam, signal.same_class, content(signal.forward, honest), content(signal.reverse, tails.mass))


# Identity 5: would another teacher say the same?


@dataclass(frozen=True)
class Reproducibility:
    """Agreement of two teachers about the tail; see :func:`reproducibility`.

    Attributes:
        lam: (L,); the first and last row are the clean images, the baseline.
        same_class: (P,) bool.
        correlation: (L, P) Pearson correlation of log p~|R over R, in [-1, 1]; a temperature changes neither this nor
            the next.
        beyond_hub: (L, P) the same after each teacher's mean log tail over pairs is taken off: hubs alone give 0 on
            average.
    """

    lam: Tensor
    same_class: Tensor
    correlation: Tensor
    beyond_hub: Tensor


def reproducibility(logits_a: Array, logits_b: Array, lam: Grid, labels: Array) -> Reproducibility:
    """Correlation of log p~|R between two teachers trained alike with different seeds (identity 5).

    What two seeds agree on is structure of the inputs; what they do not is confusion of one network. nan where R has
    fewer than three classes (two always correlate to +-1) or a tail is flat.

    Args:
        logits_a, logits_b: (L, P, K) on the same mixed inputs, pair by pair.
        lam, labels: see :func:`read_probe`.
    """
    a, b = (read_probe(logits, lam, labels) for logits in (logits_a, logits_b))
    if a.log_p.shape != b.log_p.shape:
        raise ValueError(f"the two teachers need the same probe, not {tuple(a.log_p.shape)} and {tuple(b.log_p.shape)}")
    enough = (~a.inside).sum(1) > 2
    correlation, beyond_hub = (torch.where(enough, _cosine(_tail(a, hub), _tail(b, hub)), math.nan) for hub in (True, False))
    return Reproducibility(a.lam, a.same_class, correlation, beyond_hub)


def tails(logits: Array, lam: Grid, labels: Array) -> Tensor:
    """Return the log tail of every answer, without the default answer: what two teachers can agree or disagree about.

    log p~ on the classes of neither image, centred over them, less its mean over the pairs of the same kind. A temperature only scales it.
    The inner product of two teachers' tails, summed over pairs and divided by the root of the product of each one's own, is their
    agreement: where both have as much of their own, the share of the variance of a tail that is common to them.

    Args:
        logits, lam, labels: see :func:`read_probe`.

    Returns:
        (L, P, K) float64, 0 on the pair's own classes.
    """
    return _tail(read_probe(logits, lam, labels), hub=False)


def _tail(probe: Probe, hub: bool) -> Tensor:
    """The centred log tail, with or without what is the same for every pair of its kind."""
    mask = (~probe.inside).double()

    def centre(values: Tensor) -> Tensor:
        return (values - ((values * mask).sum(-1) / mask.sum(1)).unsqueeze(-1)) * mask

    tail = centre(probe.log_p)
    if hub:
        return tail
    for kind in (probe.same_class, ~probe.same_class):
        tail[:, kind] -= (tail[:, kind].sum(1) / mask[kind].sum(0).clamp_min(1)).unsqueeze(1)
    return centre(tail)


@dataclass(frozen=True)
class OneClass:
    """What blending two images of one class does to an answer whose label is certain; all (Q,) float64, one for each one-class pair.

    Attributes:
        lost: probability of the true class on the clean images (mean of the two), less that half-way between them; in [-1, 1].
        rise: entropy half-way, less the mean of that on the two clean images, nats.
        first: probability of the true class on the first image.
        entropy: half-way, nats.
    """

    lost: Tensor
    rise: Tensor
    first: Tensor
    entropy: Tensor


def one_class(logits: Array, lam: Grid, labels: Array, tau: float = 1.0) -> OneClass:
    """Return how much of the true class a model loses, and how much less sure it is, half-way between two images of one class.

    Args:
        logits, lam, labels, tau: see :func:`read_probe`; lam must hold 0.5.

    Raises:
        ValueError: when lam has no 0.5.
    """
    probe = read_probe(logits, lam, labels, tau)
    middle = (probe.lam == 0.5).nonzero()
    if not len(middle):
        raise ValueError(f"lam must hold 0.5, not {probe.lam.tolist()}")
    log_p = probe.log_p[[0, int(middle), -1]][:, probe.same_class]
    truth = log_p.gather(2, probe.labels[probe.same_class, :1].expand(3, -1, -1)).squeeze(-1).exp()
    unsure = entropy(log_p)
    return OneClass((truth[0] + truth[2]) / 2 - truth[1], unsure[1] - (unsure[0] + unsure[2]) / 2, truth[2], unsure[1])


@dataclass(frozen=True)
class Common:
    """What several teachers say on mixed inputs beyond the honest mixture: all of them alike, or each for itself.

    ``departure = shared + own`` holds exactly (the compensation identity over teachers). All (L, P) float64, nats, >= 0.

    Attributes:
        lam: (L,).
        same_class: (P,) bool.
        departure: mean over teachers of KL(p~_t || m), m the honest mixture averaged over teachers.
        shared: KL(p~ || m) of the teachers' mean answer p~: leak, ratio and tail that they have in common.
        own: mean over teachers of KL(p~_t || p~), the mutual information between answer and seed. With T teachers it misses about
            1 / T of itself, which `shared` gets.
    """

    lam: Tensor
    same_class: Tensor
    departure: Tensor
    shared: Tensor
    own: Tensor

    def own_share(self, pairs: Tensor | None = None) -> float:
        """own / departure of sums over the inner rows and the given pairs (default: cross-class), in [0, 1]; nan without departure."""
        chosen = ~self.same_class if pairs is None else pairs
        own, departure = (part[1:-1][:, chosen].sum() for part in (self.own, self.departure))
        return float(_share(own, departure))


def common(logits: Sequence[Array], lam: Grid, labels: Array, tau: float = 1.0) -> Common:
    """Split what teachers trained alike say about the same mixed inputs into what is shared and what is each one's own.

    The leak counts as any other departure does: mass on a third class is confusion as far as other teachers put it elsewhere.

    Args:
        logits: T >= 2 arrays (L, P, K), of teachers that differ in their seed, on the same probe.
        lam, labels, tau: see :func:`read_probe`.
    """
    probes = [read_probe(one, lam, labels, tau) for one in logits]
    if len(probes) < 2 or any(probe.log_p.shape != probes[0].log_p.shape for probe in probes):
        raise ValueError(
            f"logits must be those of two or more teachers on the same probe, not shapes {[tuple(p.log_p.shape) for p in probes]}"
        )
    answers = torch.stack([probe.log_p for probe in probes])
    log_mean, log_m = (
        stacked.logsumexp(0) - math.log(len(probes)) for stacked in (answers, torch.stack([probe.log_m for probe in probes]))
    )
    departure, own = (kl(answers, other).mean(0) for other in (log_m, log_mean))
    return Common(probes[0].lam, probes[0].same_class, departure, kl(log_mean, log_m), own)


# The ground the measures stand on


def kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """KL(a || b) over the last axis from log-probabilities, nats, >= 0; a class of a's mass 0 counts 0."""
    return _weigh(log_a, log_a - log_b).sum(-1).clamp_min(0)


def entropy(log_p: Tensor) -> Tensor:
    """Shannon entropy over the last axis from log-probabilities, nats."""
    return -_weigh(log_p, log_p).sum(-1)


def as_tensor(values: Grid) -> Tensor:
    """A detached tensor on the CPU; copies a NumPy array only where torch could not read it safely."""
    check_dense(values)
    return torch.as_tensor(values if isinstance(values, Tensor) else np.require(values, requirements="W")).detach().cpu()


def as_logits(values: Array, name: str, ndim: int | None) -> Tensor:
    """Logits as a float64 tensor on the CPU, after checking kind, dimensions, at least two classes and finiteness."""
    tensor = as_tensor(values)
    if not tensor.is_floating_point():
        raise TypeError(f"{name} must be floating point logits, not {tensor.dtype}")
    if (ndim is not None and tensor.ndim != ndim) or tensor.ndim == 0 or tensor.numel() == 0 or tensor.shape[-1] < 2:
        wanted = "dimensions" if ndim is None else f"{ndim} dimensions"
        raise ValueError(f"{name} must have {wanted}, no empty one and at least 2 classes last, not shape {tuple(tensor.shape)}")
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"{name} must be finite; {int((~tensor.isfinite()).sum())} of {tensor.numel()} values are not")
    return tensor.double()


def as_log_p(logits: Tensor, tau: float) -> Tensor:
    """log softmax(logits / tau) over the last axis, after checking that tau is a temperature."""
    if not 0 < tau < math.inf:
        raise ValueError(f"the temperature tau must be a finite number > 0, not {tau}")
    return (logits / tau).log_softmax(-1)


def as_labels(values: Array, shape: tuple[int, ...], classes: int, name: str = "labels") -> Tensor:
    """Class indices as an int64 tensor on the CPU, after checking shape and range."""
    tensor = as_tensor(values)
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool:
        raise TypeError(f"{name} must be integer class indices, not {tensor.dtype}")
    if tensor.shape != torch.Size(shape):
        raise ValueError(f"{name} must have shape {tuple(shape)}, not {tuple(tensor.shape)}")
    if tensor.numel() and not 0 <= int(tensor.min()) <= int(tensor.max()) < classes:
        raise ValueError(f"{name} must lie in [0, {classes}), not in [{int(tensor.min())}, {int(tensor.max())}]")
    return tensor.long()


def _weigh(log_a: Tensor, values: Tensor) -> Tensor:
    """a x values, 0 where a is exactly 0 even if the value there is infinite or undefined."""
    return torch.where(log_a == _EMPTY, 0.0, log_a.exp() * values)


def _share(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > NEGLIGIBLE, part / whole, math.nan)


def _masses(log_p: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the masses on E and on R, each (L, P)."""
    return (
        log_p.masked_fill(~inside, _EMPTY).logsumexp(-1),
        log_p.masked_fill(inside, _EMPTY).logsumexp(-1),
    )


def _split(log_a: Tensor, log_b: Tensor, inside: Tensor) -> Parts:
    """Identity 2 for KL(a || b)."""
    a, b = torch.stack(_masses(log_a, inside), -1), torch.stack(_masses(log_b, inside), -1)
    within = log_a - torch.where(inside, a[..., :1], a[..., 1:])
    without = log_b - torch.where(inside, b[..., :1], b[..., 1:])
    terms = _weigh(log_a, within - without)
    return Parts(kl(log_a, log_b), kl(a, b), (terms * inside).sum(-1).clamp_min(0), (terms * ~inside).sum(-1).clamp_min(0))


@dataclass(frozen=True)
class _Explained:
    """What hub prior and prediction explain of the tails of G pairs."""

    entropy: Tensor  # (L, G), of the tail
    to_hub: Tensor  # (L, G), KL(tail || hub prior)
    to_best: Tensor  # (L, G), KL(tail || best mix of prediction and hub prior)
    weight: Tensor  # (L,), of the prediction in that mix


@dataclass(frozen=True)
class _Tails:
    """The tails of G pairs of one kind."""

    log_p: Tensor  # (L, G, K)
    log_hub: Tensor  # (L, G, K), up to a constant for each pair
    mass: Tensor  # (L, G), p~_R
    rest: Tensor  # (G, K) bool

    def explain(self, log_q: Tensor) -> _Explained:
        """Compare the tails with the hub prior and with log_q (L, G, K), both of any scale."""
        support = self.rest
        log_tail, log_hub, log_q = (
            log.masked_fill(~support, _EMPTY).log_softmax(-1).nan_to_num(nan=_EMPTY)  # nan where the support is empty
            for log in (self.log_p, self.log_hub, log_q)
        )
        share, hub = self.mass.unsqueeze(-1) * log_tail.exp(), log_hub.exp()
        towards = log_q.exp() - hub
        # The best weight minimises a convex function: Newton's steps, halving where one leaves the bracket.
        top = 1 - 1e-9  # at 1 a prediction that underflows would divide by 0
        low = torch.zeros(len(share), dtype=torch.float64)
        high = torch.full_like(low, top)
        w = (low + high) / 2
        for _ in range(60):
            step = torch.where(support, towards / (hub + w.reshape(-1, 1, 1) * towards), 0)
            slope, curve = -(share * step).sum((1, 2)), (share * step.square()).sum((1, 2))
            low, high = torch.where(slope > 0, low, w), torch.where(slope > 0, w, high)
            newton = (w - torch.where(curve > 0, slope / curve, 0)).clamp(0, top)
            last, w = w, torch.where((newton >= low) & (newton <= high), newton, (low + high) / 2)
            if (w - last).abs().max() < 1e-10:
                break
        w_ = w.reshape(-1, 1, 1)
        best = torch.logaddexp(w_.log() + log_q, (1 - w_).log() + log_hub)
        return _Explained(entropy(log_tail), kl(log_tail, log_hub), kl(log_tail, best), w)


def _tails(probe: Probe, pairs: Tensor) -> _Tails:
    """The tails of the given pairs, which are of one kind, with the hub prior that the others make for each."""
    rest, log_p = ~probe.inside[pairs], probe.log_p[:, pairs]
    log_mass = log_p.masked_fill(~rest, _EMPTY).logsumexp(-1, keepdim=True)
    tail = (log_p - log_mass).exp() * rest
    others = (tail.sum(1, keepdim=True) - tail).clamp_min(0)  # leave the pair itself out of its own prior
    size, holders = rest.sum(1, keepdim=True).double(), rest.sum(0).clamp_min(1)
    hub = (others + 1 / size) / holders  # one uniform tail stands in for it
    return _Tails(log_p, hub.log(), log_mass.squeeze(-1).exp(), rest)


def _prediction(probe: Probe, profiles: Tensor | None, predictor: Predictor, independent: Array | None, tau: float) -> Tensor:
    """log q (L, P, K) before it is restricted to R and normalised; without meaning on the pair's own classes."""
    if predictor not in get_args(Predictor):
        raise ValueError(f"predictor must be one of {', '.join(get_args(Predictor))}, not {predictor!r}")
    if predictor == "teacher":
        if independent is None or profiles is not None:
            raise ValueError("predictor='teacher' needs the logits of an independent teacher, and no profiles")
        other = read_probe(independent, probe.lam, probe.labels, tau)
        if other.log_p.shape != probe.log_p.shape:
            raise ValueError(f"the independent teacher needs the same {probe.log_p.shape[-1]} classes")
        return other.log_p
    if profiles is None or independent is not None:
        raise ValueError("predictor='class' needs profiles as clean_profiles gives them, and no independent teacher")
    size = probe.log_p.shape[-1]
    if profiles.shape != (size, size):
        raise ValueError(f"profiles must be ({size}, {size}) as clean_profiles gives, not {tuple(profiles.shape)}")
    missing = profiles[probe.labels].isnan().any(-1)
    if missing.any():
        absent = sorted(set(probe.labels[missing].tolist()))
        raise ValueError(f"no clean image of the probed classes {absent}: profiles need at least one of each")

    def alone(log_p: Tensor, label: Tensor) -> Tensor:
        return log_p.scatter(1, label.unsqueeze(1), _EMPTY).logsumexp(1, keepdim=True) + profiles[label].double()

    weight = probe.lam.reshape(-1, 1, 1)
    first, second = (alone(probe.log_p[row], probe.labels[:, side]) for row, side in ((-1, 0), (0, 1)))
    return torch.logaddexp(weight.log() + first, (1 - weight).log() + second)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    """Cosine over the last axis, for centred values their correlation; nan where one of the two is constant."""
    norms = first.norm(dim=-1) * second.norm(dim=-1)
    return torch.where(norms > NEGLIGIBLE, (first * second).sum(-1) / norms, math.nan).clamp(-1, 1)
