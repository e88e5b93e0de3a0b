"""What claims (a), (b), (c) and (h) read from a record: figures of its answers on blends, pair by pair, kept; and their common draws.

A statistic of one record, or of several, is an array (R + 1,): entry 0 over the pairs as they are, the others under R bootstrap draws of
pairs that are common to all records (:func:`mixkd.measure.resampling.weights`). Two pairs may share an image; the draws take them for
independent.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from mixkd.arrays import Array
from mixkd.claims.evidence import BySeed, Evidence, kept, measures
from mixkd.measure import linearity, resampling, signal
from mixkd.measure.signal import NEGLIGIBLE
from mixkd.records import Record
from mixkd.studies import LONGER, Cell, cells, study
from mixkd.vicinal import FEATURE_LAMS

# --- figures of one record ---------------------------------------------------------------------------------------------------


@kept
def nonlinearity(record: Record, temperature: float = 1.0) -> Array:
    """Return L_NL of each two-class test pair, mean over lam, nats: (P,)."""
    probe = record.probe
    found = linearity.probability_linearity(probe.logits, probe.lam, probe.labels, temperature)
    return found.l_nl_mean[~found.same_class].numpy()


@kept
def train_nonlinearity(record: Record, temperature: float = 1.0) -> Array:
    """Return L_NL of each pair of training images half-way, nats: (P,)."""
    probe = record.train_probe
    return linearity.probability_linearity(probe.logits, probe.lam, probe.labels, temperature).l_nl_mean.numpy()


@kept
def logit_gap(record: Record) -> Array:
    """Return the departure of the centred logits from a straight line of each two-class pair, mean over lam: (P,)."""
    probe = record.probe
    found = linearity.logit_linearity(probe.logits, probe.lam, probe.labels)
    return found.gap_mean[~found.same_class].numpy()


@kept
def feature_gap(record: Record) -> Array:
    """Return the departure of the features from a straight line of each of the first two-class pairs, half-way: (Q,)."""
    found = linearity.feature_linearity(record.probe_features, torch.tensor(FEATURE_LAMS))[1]
    return found[~record.probe.same_class[: len(found)]].numpy()


@kept
def one_class(record: Record, temperature: float = 1.0) -> signal.OneClass:
    """Return what half-way between two images of one class happens to the answer, for each one-class pair."""
    probe = record.probe
    return signal.one_class(probe.logits, probe.lam, probe.labels, temperature)


@kept
def answers(record: Record) -> linearity.Answers:
    """Return the answers on two-class pairs at the record's NLL-optimal temperature."""
    probe = record.probe
    return linearity.answers(probe.logits, probe.lam, probe.labels, record.temperature)


@kept
def tails(record: Record) -> tuple[Tensor, Tensor]:
    """Return the log tails of two-class pairs without the default answer, (I, P, K) on blends and (2, P, K) on the clean images."""
    probe = record.probe
    found = signal.tails(probe.logits, probe.lam, probe.labels)[:, ~probe.same_class]
    return found[1:-1], found[[0, -1]]


# --- statistics under the common draws ---------------------------------------------------------------------------------------


def drawn(values: Array | Tensor) -> Array:
    """Return the mean over pairs of (P,) values, as they are and under every draw: (R + 1,). A nan counts for nothing."""
    column = np.asarray(values, dtype=np.float64)
    shares = resampling.weights(len(column))
    known = np.isfinite(column)
    if known.all():
        return shares @ column
    with np.errstate(divide="ignore", invalid="ignore"):
        return shares @ np.where(known, column, 0.0) / (shares @ known)


def log_ratio(over: Array | Tensor, under: Array | Tensor) -> Array:
    """Return the log of the ratio of two means over the same pairs: (R + 1,); nan where one of the two is nothing."""
    a, b = (np.where(mean > NEGLIGIBLE, mean, np.nan) for mean in (drawn(over), drawn(under)))
    return np.log(a) - np.log(b)


def ratio_of(over: Array, under: Array) -> Array:
    """Return the ratio of two sums (R + 1,); nan where the second is 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(under > 0, over / under, np.nan)


# --- which records -----------------------------------------------------------------------------------------------------------


def faculty(evidence: Evidence, model: str) -> dict[str, Record]:
    """Return the plain teachers of one kind, by id: those of the profile's students, as trained."""
    profile = evidence.profile
    seeds = profile.core_seeds if model == profile.default_teacher else profile.swept_seeds
    runs = (profile.spec("kd", seed, teacher=profile.teacher(seed, model)).teacher_run() for seed in seeds)
    return {record.id: record for record in evidence.find([run for run in runs if run is not None])}


def plain_rivals(evidence: Evidence, cell: Cell) -> dict[str, BySeed]:
    """Return what ``kd`` reaches under the teacher of a cell: at each tau, the cell's own first, and with twice the steps.

    A teacher that no ``kd`` student had in this calibration counts as trained. Twice the steps were run under the default teacher as
    trained.
    """
    profile = evidence.profile
    known = [other for other in cells(profile, "kd") if other.teacher == cell.teacher]
    calibration = cell.calibration if any(other.calibration == cell.calibration for other in known) else "raw"
    known = sorted((other for other in known if other.calibration == calibration), key=lambda other: other.tau != cell.tau)
    found: dict[str, BySeed] = {}
    for other in known:
        where = "" if other.calibration == cell.calibration else ", teacher as trained"
        found[f"kd at tau {other.tau}{where}".replace(".0", "")] = evidence.students(other, "kd")
    if (cell.teacher, calibration) == (profile.default_teacher, "raw"):
        found["kd for twice the steps"] = longer(evidence)
    return {name: students for name, students in found.items() if students}


def of_study(evidence: Evidence, name: str, *, arm: str, student: str, teacher: str, epochs: int | None = None) -> dict[int, Record]:
    """Return those records of a study that have this arm, student, teacher model and length (the recipe's, if not given), by seed."""
    profile = evidence.profile
    wanted = (arm, student, teacher, epochs or profile.spec(arm, profile.first_seed).epochs)
    specs = (spec for spec in study(name, profile.name) if spec.teacher is not None)
    return evidence.by_seed(spec for spec in specs if (spec.arm, spec.student, spec.teacher and spec.teacher.model, spec.epochs) == wanted)


def longer(evidence: Evidence) -> dict[int, Record]:
    """Return the ``kd`` students of twice the recipe's steps, by seed."""
    profile = evidence.profile
    epochs = LONGER * profile.spec("kd", profile.first_seed).epochs
    name = "linearity" if "linearity" not in profile.without else "duration"
    return of_study(evidence, name, arm="kd", student=profile.student, teacher=profile.default_teacher, epochs=epochs)


def nearest_in_accuracy(students: BySeed, candidates: Mapping[str, BySeed]) -> tuple[str, BySeed]:
    """Return the candidate whose mean accuracy over common seeds is nearest to the students', with its name; ("", {}) without any."""

    def apart(name: str) -> float:
        seeds = sorted(set(students) & set(candidates[name]))
        gaps = [measures(students[seed])["accuracy"][0] - measures(candidates[name][seed])["accuracy"][0] for seed in seeds]
        return abs(float(np.mean(gaps)))

    paired = [name for name, found in candidates.items() if len(set(students) & set(found)) > 1]
    if not paired:
        return next(iter(candidates.items()), ("", {}))
    name = min(paired, key=apart)
    return name, candidates[name]
