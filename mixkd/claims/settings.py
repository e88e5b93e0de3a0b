"""What another amount of one ingredient changes: duration, mixing. No claim rests on it."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pandas as pd

from mixkd.claims.evidence import Evidence, paired
from mixkd.measure import linearity, statistics
from mixkd.spec import SpecError, nearest

CHANGED = {"accuracy": "accuracy", "nll": "NLL", "oe": "overconfidence error", "gap": "confidence - accuracy"}
"""Columns of a study's table whose changes are reported."""


def changes(name: Literal["duration", "mixing"], evidence: Evidence) -> pd.DataFrame:
    """What another amount of one ingredient changes, paired by seed. No verdict rests on it, and no margin.

    "duration": each arm at a multiple of the recipe's steps against itself at once, and kd_mixup against every other arm at equal
    steps; last, kd_mixup at once against the others at their longest. "mixing": kd_mixup with another alpha, or with part of each
    batch mixed, against the recipe's (alpha 1, all of it); "none" is kd.

    Args:
        name: of the study.
        evidence: the records of a profile.

    Returns:
        One row for each comparison that two or more seeds can make: setting, arm, against, measure, estimate, low, high, seeds. The
        95 % t intervals are over seeds; measures are those of :data:`CHANGED`, and for arms whose answers on mixed inputs were
        recorded "log non-linearity of the logits".

    Raises:
        SpecError: for another study.
    """
    if name not in ("duration", "mixing"):
        raise SpecError(f"changes = {name!r}: must be one of duration, mixing{nearest(name, ('duration', 'mixing'))}")
    frame = _settings(name, evidence)
    if frame.empty:
        return pd.DataFrame(columns=["setting", "arm", "against", "measure", "estimate", "low", "high", "seeds"])
    rows = []
    for setting, one, against, other in _contrasts(name, frame):
        for column, words in {**CHANGED, "bend": "log non-linearity of the logits"}.items():
            a, b = paired(frame, column, one, other)
            found = np.isfinite(a) & np.isfinite(b)
            interval = statistics.paired_difference(a[found], b[found])
            if interval.defined:
                rows.append(
                    {
                        "setting": setting,
                        "arm": one["arm"],
                        "against": against,
                        "measure": words,
                        "estimate": interval.estimate,
                        "low": interval.low,
                        "high": interval.high,
                        "seeds": interval.n,
                    }
                )
    return pd.DataFrame(rows, columns=["setting", "arm", "against", "measure", "estimate", "low", "high", "seeds"])


def _settings(name: str, evidence: Evidence) -> pd.DataFrame:
    """The study's table, with the multiple of the recipe's steps, and how far the logits are from linear where that was recorded."""
    frame = evidence.frame(name)
    if frame.empty:
        return frame
    bends = {}
    for record in evidence.records(name):
        probe = record.probe
        gap = linearity.logit_linearity(probe.logits, probe.lam, probe.labels).gap_area[~probe.same_class].nanmean()
        bends[record.id] = math.log(gap) if gap > 0 else math.nan
    times = frame["epochs"] / evidence.profile.spec("kd", evidence.profile.first_seed).epochs
    return frame.assign(times=times.round().astype(int), bend=frame["id"].map(bends).astype(float))


def _contrasts(name: str, frame: pd.DataFrame) -> list[tuple[str, dict[str, Any], str, dict[str, Any]]]:
    """Setting, which runs, against what in words, which runs."""
    if name == "mixing":
        usual: dict[str, Any] = {"arm": "kd_mixup", "alpha": 1.0, "partial": 1.0}
        found: list[tuple[str, dict[str, Any]]] = [("no mixing", {"arm": "kd"})]
        mixed = frame[frame["arm"] == "kd_mixup"]
        found += [(f"alpha {alpha:g}", {**usual, "alpha": alpha}) for alpha in sorted(mixed["alpha"].unique()) if alpha != 1]
        found += [(f"{part:.0%} of each batch", {**usual, "partial": part}) for part in sorted(mixed["partial"].unique()) if part != 1]
        return [(setting, one, "the recipe's mixing", usual) for setting, one in found]
    lengths, arms = sorted(frame["times"].unique()), list(dict.fromkeys(frame["arm"]))
    words = {times: "the recipe's steps" if times == 1 else f"{times} times the steps" for times in lengths}
    rows = [
        (words[times], {"arm": arm, "times": times}, "itself at the recipe's steps", {"arm": arm, "times": 1})
        for arm in arms
        for times in lengths
        if times != 1
    ]
    ours = {"arm": "kd_mixup"}
    rivals = [arm for arm in arms if arm != "kd_mixup"]
    rows += [
        (words[times], {**ours, "times": times}, f"{arm}, equal steps", {"arm": arm, "times": times}) for times in lengths for arm in rivals
    ]
    longest = lengths[-1]
    if longest != 1:
        rows += [(words[1], {**ours, "times": 1}, f"{arm} at {words[longest]}", {"arm": arm, "times": longest}) for arm in rivals]
    return rows
