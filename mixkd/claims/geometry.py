"""(h) The geometry of the representation changes with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd
import torch

from mixkd.claims.evidence import Claim, Evidence, difference, judged, over_seeds
from mixkd.claims.verdicts import Comparison, Verdict, compare, equivalent
from mixkd.measure import linearity
from mixkd.records import Record
from mixkd.vicinal import FEATURE_LAMS


def _judge_geometry(evidence: Evidence) -> Verdict:
    study = "overconfidence"
    ours = _feature_nonlinearity(evidence.students(study, arm="kd_mixup"))

    def row(rival: str) -> Comparison:
        other = _feature_nonlinearity(evidence.students(study, arm=rival))
        both = sorted(set(ours) & set(other))
        with np.errstate(divide="ignore", invalid="ignore"):  # no ratio to 0: nan or infinite, hence unresolved
            values = np.log(np.array([other[seed] for seed in both])) - np.log(np.array([ours[seed] for seed in both]))
        return compare(f"log ratio of feature non-linearity, {rival} over kd_mixup", over_seeds(values))

    frame = evidence.frame(study)
    comparable = [_comparable(evidence, frame, arm) for arm in ("kd", "ce")]
    means = frame.groupby("arm")["accuracy"].mean()
    note = "Accuracies: " + ", ".join(f"{arm} {means[arm]:.3f}" for arm in ("kd_mixup", "kd", "ce", "mixup") if arm in means) + "."
    if any(condition.outcome != "supported" for condition in comparable):
        note += " Where they are not shown to be equal, straighter features may be no more than what a better student has."
    return judged(evidence, "h", [row("kd"), row("ce"), *comparable], [row("mixup")], note)


def _comparable(evidence: Evidence, frame: pd.DataFrame, arm: str) -> Comparison:
    """Equal accuracy as a condition: met, or else the comparison was not made where it was to be made, and nothing follows."""
    interval = difference(frame, "accuracy", {"arm": "kd_mixup"}, {"arm": arm})
    row = equivalent(f"comparable accuracy, kd_mixup - {arm}", interval, evidence.accuracy_margin)
    return row if row.outcome == "supported" else replace(row, outcome="unresolved")


def _feature_nonlinearity(students: Mapping[int, Record]) -> dict[int, float]:
    """Mean over cross-class pairs of ||phi~ - (phi_i + phi_j) / 2|| / ||phi_i - phi_j|| at lam = .5."""
    found = {}
    for seed, record in students.items():
        features = record.probe_features
        values = linearity.feature_linearity(features, torch.tensor(FEATURE_LAMS))[1]
        found[seed] = float(values[~record.probe.same_class[: len(values)]].nanmean())
    return found


CLAIM = Claim(
    letter="h",
    title="Geometry",
    sentence="The geometry of the representation changes with it.",
    statistic="log ratio of the non-linearity of penultimate features half-way between two images, kd and ce over kd_mixup",
    rule=(
        "supported when both 95 % t intervals lie above 0 and the accuracies of kd_mixup, kd and ce are equivalent; where they are "
        "not, unresolved"
    ),
    rivals="mixup",
    chapter="10-geometry",
    studies=("overconfidence",),
    judge=_judge_geometry,
)
