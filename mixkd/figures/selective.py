"""Is the confidence useful: risk-coverage curves, and how well it detects errors, foreign images and worse images.

Each record is measured by itself; curves and tables show means over seeds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mixkd.figures import theme
from mixkd.figures.intervals import t_interval
from mixkd.figures.markup import Html, absent
from mixkd.figures.plot import Plot, band, dots
from mixkd.measure import calibration, selective

READING = (
    "Follow a curve from right to left: at full coverage the model must answer every image, at 80 % it may pass on the fifth it "
    "is least sure of, and the height is the share of wrong answers among the rest. Lines are means over seeds, bands 95 % t "
    "intervals. A curve can lie lower because the model errs less (its right end) or because it knows better where it errs (how "
    "steeply it falls)."
)


def risk_coverage(records: Iterable[Any]) -> Plot | Html:
    """Draw the error among the surest images over the share that is answered, one curve for each arm, mean over seeds.

    Args:
        records: one for each (arm, seed), with ``logits()`` and ``labels()`` of the same test images.
    """
    found = list(records)
    if not found:
        return absent("No figure: the students of this page are not among these records.")
    n = len(found[0].logits())
    grid = np.linspace(0.1, 1.0, 60)
    places = np.clip(np.ceil(grid * n).astype(int) - 1, 0, n - 1)
    figure, table = go.Figure(), []
    for arm in theme.order([record.spec.arm for record in found]):
        look = theme.look(arm)
        scored = ((record.logits(), record.labels()) for record in found if record.spec.arm == arm)
        curves = np.stack([selective.risk_coverage(selective.score(z), z.argmax(-1) == y).numpy()[places] for z, y in scored])
        mean, low, high = (np.array(side) for side in zip(*(t_interval(column) for column in curves.T), strict=True))
        if len(curves) > 1:
            band(figure, grid, np.maximum(low, 0), high, look.color, arm, alpha=0.13)
        hover = f"{theme.text(look.label)}<br>answering %{{x:.0%}}: %{{y:.2%}} wrong"
        figure.add_trace(dots(look, grid, mean, group=arm, mode="lines", hover=hover))
        at = {share: int(np.argmin(abs(grid - share))) for share in (0.5, 0.8, 0.9, 1.0)}
        table.append({"arm": look.label, **{f"error at {share:.0%}": mean[i] for share, i in at.items()}, "seeds": len(curves)})
    figure.update_layout(theme.layout(height=440))
    figure.update_xaxes(title={"text": "coverage: share of images answered"}, tickformat=".0%", range=[0.08, 1.02])
    figure.update_yaxes(title={"text": "risk: error among them"}, tickformat=".0%", rangemode="tozero")
    return Plot(figure, label="Error among the surest images over the share answered, by arm", reading=READING, table=pd.DataFrame(table))


def usefulness(records: Iterable[Any]) -> pd.DataFrame:
    """Return what the confidence is good for, one row for each record.

    Args:
        records: with ``logits(split)``, ``labels(split)``, ``images()``, ``splits`` and ``temperature``. Their split "ood" holds images of
            no class, compared with the first view of each test image; "corrupted" holds test images made worse.

    Returns:
        arm, seed, error; "AUROC of errors", "AURC", "E-AURC" of the confidence; "AUROC of foreign images"; accuracy, ECE, OE, UE and NLL
        "on corrupted images". ``ts_`` columns are after dividing by the temperature fitted on clean validation images. Columns of a
        split that a record lacks are nan.
    """
    return pd.DataFrame([_useful(record) for record in records])


_CORRUPTED = {"accuracy": "accuracy", "ECE": "ece", "OE": "oe", "UE": "ue", "NLL": "nll"}


def _useful(record: Any) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": record.spec.arm, "seed": record.spec.seed}
    first = int(record.images().max()) + 1
    for prefix, temperature in (("", 1.0), ("ts_", record.temperature)):
        logits, labels = record.logits() / temperature, record.labels()
        own = selective.selective(logits, labels)
        row |= {"error": own.error, f"{prefix}AUROC of errors": own.auroc, f"{prefix}AURC": own.aurc, f"{prefix}E-AURC": own.e_aurc}
        apart, report = math.nan, None
        if "ood" in record.splits:
            strange = selective.score(record.logits("ood") / temperature)
            apart = selective.detection(selective.score(logits[:first]), strange)
        if "corrupted" in record.splits:
            report = calibration.report(record.logits("corrupted"), record.labels("corrupted"), temperature=temperature)
        row |= {f"{prefix}AUROC of foreign images": apart}
        row |= {f"{prefix}{name} on corrupted images": getattr(report, field, math.nan) for name, field in _CORRUPTED.items()}
    return row
