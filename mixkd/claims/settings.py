"""What another amount of one ingredient changes: duration, mixing. No claim rests on it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd

from mixkd.arrays import Array
from mixkd.claims import blends
from mixkd.claims.evidence import BySeed, Evidence
from mixkd.records import Record
from mixkd.spec import SpecError, nearest
from mixkd.studies import ALPHAS, LONGER, PARTS

CHANGED = {"accuracy": "accuracy", "nll": "NLL", "oe": "overconfidence error", "gap": "confidence - accuracy"}
"""Figures whose changes are reported."""
BEND = "log non-linearity of the logits"
Contrast = tuple[str, str, BySeed, str, BySeed]
"""Setting, arm, its students, what they are compared with, and the students of that."""


def changes(name: Literal["duration", "mixing"], evidence: Evidence) -> pd.DataFrame:
    """Return what another amount of one ingredient changes, paired by seed. No verdict rests on it, and no margin.

    "duration": each arm at a multiple of the recipe's steps against itself at once, and kd_mixup against every other arm at equal
    steps; last, kd_mixup at once against the others at their longest. "mixing": kd_mixup with another alpha, or with part of each
    batch mixed, against the recipe's (alpha 1, all of it); "none" is kd.

    Args:
        name: of the study.
        evidence: the records of a profile.

    Returns:
        One row for each comparison that two or more seeds can make: setting, arm, against, measure, estimate, low, high, seeds. The
        95 % intervals are over seeds and test images (over seeds alone for :data:`BEND`); measures are those of :data:`CHANGED` and
        :data:`BEND`.

    Raises:
        SpecError: for another study.
    """
    if name not in ("duration", "mixing"):
        raise SpecError(f"changes = {name!r}: must be one of duration, mixing{nearest(name, ('duration', 'mixing'))}")
    rows = []
    for setting, arm, one, against, other in _amounts(evidence) if name == "mixing" else _lengths(evidence):
        measured = {words: evidence.difference(column, one, other) for column, words in CHANGED.items()}
        bends = {seed: _bend(one[seed]) - _bend(other[seed]) for seed in set(one) & set(other)}
        measured[BEND] = evidence.over({seed: value for seed, value in bends.items() if np.isfinite(value).all()})
        for words, found in measured.items():
            if found.defined:
                rows.append((setting, arm, against, words, found.estimate, found.low, found.high, found.n))
    return pd.DataFrame(rows, columns=["setting", "arm", "against", "measure", "estimate", "low", "high", "seeds"])


def _bend(record: Record) -> Array:
    """Log of how far the logits are from linear on two-class pairs, (1,); nan or infinite where they cannot bend or do not."""
    with np.errstate(divide="ignore"):
        return np.log(blends.drawn(blends.logit_gap(record))[:1])


def _amounts(evidence: Evidence) -> list[Contrast]:
    usual = evidence.select("mixing", arm="kd_mixup", alpha=1.0, partial=1.0)
    found = {"no mixing": ("kd", evidence.select("mixing", arm="kd"))}
    found |= {f"alpha {alpha:g}": ("kd_mixup", evidence.select("mixing", arm="kd_mixup", alpha=alpha)) for alpha in ALPHAS}
    found |= {f"{part:.0%} of each batch": ("kd_mixup", evidence.select("mixing", arm="kd_mixup", partial=part)) for part in PARTS}
    return [(setting, arm, group, "the recipe's mixing", usual) for setting, (arm, group) in found.items()]


def _lengths(evidence: Evidence) -> list[Contrast]:
    usual = evidence.profile.spec("kd", evidence.profile.first_seed).epochs
    rivals = ("ce", "mixup", "kd")
    once, longer = (
        {arm: evidence.select("duration", arm=arm, epochs=times * usual) for arm in (*rivals, "kd_mixup")} for times in (1, LONGER)
    )
    short, long = "the recipe's steps", f"{LONGER} times the steps"
    ours, ours_longer = once["kd_mixup"], longer["kd_mixup"]
    return [
        *((long, arm, longer[arm], "itself at the recipe's steps", once[arm]) for arm in longer),
        *((short, "kd_mixup", ours, f"{arm}, equal steps", once[arm]) for arm in rivals),
        *((long, "kd_mixup", ours_longer, f"{arm}, equal steps", longer[arm]) for arm in rivals),
        *((short, "kd_mixup", ours, f"{arm} at {long}", longer[arm]) for arm in rivals),
    ]
