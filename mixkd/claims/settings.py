"""What another amount of one ingredient changes: duration, mixing. No claim rests on it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import pandas as pd

from mixkd.claims.evidence import BySeed, Evidence
from mixkd.measure import linearity
from mixkd.records import Record
from mixkd.spec import SpecError, nearest

CHANGED = {"accuracy": "accuracy", "nll": "NLL", "oe": "overconfidence error", "gap": "confidence - accuracy"}
"""Figures whose changes are reported."""
BEND = "log non-linearity of the logits"
_COLUMNS = ("setting", "arm", "against", "measure", "estimate", "low", "high", "seeds")
Contrast = tuple[str, str, BySeed, str, BySeed]


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
    records = list(evidence.records(name))
    contrasts = _amounts(records) if name == "mixing" else _lengths(records, evidence)
    bends: dict[str, float] = {}
    rows = []
    for setting, arm, one, against, other in contrasts:
        measured = {words: evidence.difference(column, one, other) for column, words in CHANGED.items()}
        seeds = set(one) & set(other)
        bent = {seed: np.array([_bend(one[seed], bends) - _bend(other[seed], bends)]) for seed in seeds}
        measured[BEND] = evidence.over({seed: value for seed, value in bent.items() if np.isfinite(value).all()})
        for words, interval in measured.items():
            if interval.defined:
                found = (setting, arm, against, words, interval.estimate, interval.low, interval.high, interval.n)
                rows.append(dict(zip(_COLUMNS, found, strict=True)))
    return pd.DataFrame(rows, columns=list(_COLUMNS))


def _bend(record: Record, known: dict[str, float]) -> float:
    """Log of how far the logits are from linear on two-class pairs."""
    if record.id not in known:
        probe = record.probe
        gap = float(linearity.logit_linearity(probe.logits, probe.lam, probe.labels).gap_mean[~probe.same_class].nanmean())
        known[record.id] = math.log(gap) if gap > 0 else math.nan
    return known[record.id]


def _group(records: Iterable[Record], **fields: Any) -> dict[int, Record]:
    return {record.spec.seed: record for record in records if all(getattr(record.spec, name) == value for name, value in fields.items())}


def _amounts(records: list[Record]) -> list[Contrast]:
    mixed = [record for record in records if record.spec.arm == "kd_mixup"]
    usual = _group(mixed, alpha=1.0, partial=1.0)
    found = [("no mixing", "kd", _group(records, arm="kd"))]
    found += [
        (f"alpha {alpha:g}", "kd_mixup", _group(mixed, alpha=alpha)) for alpha in sorted({record.spec.alpha for record in mixed} - {1.0})
    ]
    found += [
        (f"{part:.0%} of each batch", "kd_mixup", _group(mixed, partial=part))
        for part in sorted({record.spec.partial for record in mixed} - {1.0})
    ]
    return [(setting, arm, group, "the recipe's mixing", usual) for setting, arm, group in found]


def _lengths(records: list[Record], evidence: Evidence) -> list[Contrast]:
    usual = evidence.profile.spec("kd", evidence.profile.first_seed).epochs
    lengths = sorted({round(record.spec.epochs / usual) for record in records})
    arms = list(dict.fromkeys(record.spec.arm for record in records))
    at = {(arm, times): _group(records, arm=arm, epochs=times * usual) for arm in arms for times in lengths}
    words = {times: "the recipe's steps" if times == 1 else f"{times} times the steps" for times in lengths}
    rivals = [arm for arm in arms if arm != "kd_mixup"]
    longer = [times for times in lengths if times != 1]
    rows: list[Contrast] = [
        (words[times], arm, at[arm, times], "itself at the recipe's steps", at.get((arm, 1), {})) for arm in arms for times in longer
    ]
    if "kd_mixup" not in arms:
        return rows
    rows += [
        (words[times], "kd_mixup", at["kd_mixup", times], f"{arm}, equal steps", at[arm, times]) for times in lengths for arm in rivals
    ]
    if longer:
        last = longer[-1]
        rows += [
            (words[1], "kd_mixup", at.get(("kd_mixup", 1), {}), f"{arm} at {words[last]}", at[arm, last]) for arm in rivals if 1 in words
        ]
    return rows
