"""Is the confidence useful: risk-coverage curves, and a table of how well it finds errors, strangers and spoilt images.

It measures each record by itself and draws means over seeds; it refuses to give a foreign image a label.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mixkd.figures import theme
from mixkd.figures.absent import absent
from mixkd.figures.intervals import t_interval
from mixkd.figures.markup import Html
from mixkd.figures.plot import Plot
from mixkd.measure import calibration, selective

READING = (
    "Follow a curve from right to left: at full coverage the model must answer every image, at 80 % it may pass on the fifth it "
    "is least sure of, and the height is the share of wrong answers among the rest. Lines are means over seeds, bands 95 % t "
    "intervals. A curve can lie lower because the model errs less (its right end) or because it knows better where it errs (how "
    "steeply it falls)."
)


def risk_coverage(records: Iterable[Any], *, points: int = 60) -> Plot | Html:
    """Error among the surest images over the share that is answered, one curve for each arm, mean over seeds.

    Args:
        records: one for each (arm, seed), with ``logits()`` and ``labels()`` of the test split; the first rows that all of them have count.
        points: of a curve.
    """
    found = list(records)
    if not found:
        return absent("No figure: the students of this study are not in this store.")
    n = min(len(record.logits()) for record in found)
    grid = np.linspace(0.1, 1.0, points)
    places = np.clip(np.ceil(grid * n).astype(int) - 1, 0, n - 1)
    figure, table = go.Figure(), []
    for arm in theme.order([record.spec.arm for record in found]):
        look = theme.look(arm)
        curves = np.stack([_risk(record, n)[places] for record in found if record.spec.arm == arm])
        mean, low, high = (np.array(side) for side in zip(*(t_interval(column) for column in curves.T), strict=True))
        if len(curves) > 1:
            edge = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "legendgroup": arm, "hoverinfo": "skip"}
            figure.add_scatter(x=grid, y=np.maximum(low, 0), **edge)
            figure.add_scatter(x=grid, y=high, fill="tonexty", fillcolor=theme.translucent(look.color, 0.13), **edge)
        figure.add_scatter(
            x=grid,
            y=mean,
            mode="lines",
            name=theme.text(look.label),
            legendgroup=arm,
            line={"color": look.color, "dash": look.dash, "width": 2.2},
            marker={"color": look.color},
            hovertemplate=f"{theme.text(look.label)}<br>answering %{{x:.0%}}: %{{y:.2%}} wrong<extra></extra>",
        )
        at = {share: int(np.argmin(abs(grid - share))) for share in (0.5, 0.8, 0.9, 1.0)}
        table.append({"arm": look.label, **{f"error at {share:.0%}": mean[i] for share, i in at.items()}, "seeds": len(curves)})
    figure.update_layout(theme.layout(height=440))
    figure.update_xaxes(title={"text": "coverage: share of images answered"}, tickformat=".0%", range=[0.08, 1.02])
    figure.update_yaxes(title={"text": "risk: error among them"}, tickformat=".0%", rangemode="tozero")
    return Plot(figure, label="Error among the surest images over the share answered, by arm", reading=READING, table=pd.DataFrame(table))


def usefulness(records: Iterable[Any], *, foreign: str = "ood", spoilt: str = "corrupted") -> pd.DataFrame:
    """What the confidence is good for, one row for each record; the first rows of the test split that all records have count.

    Args:
        records: with ``logits(split)``, ``labels(split)``, ``images()``, ``splits`` and ``temperature``.
        foreign: a split of images of no class (their labels are not read), compared with the first noise draw of the test images.
        spoilt: a split of test images made worse.

    Returns:
        arm, seed, error; "AUROC of errors", "AURC", "E-AURC" of the maximum softmax probability; "AUROC of foreign images" and "FPR95
        of foreign images" of the same, and "AUROC of foreign images by energy"; accuracy, ECE, OE, UE and NLL "on spoilt images".
        ``ts_`` columns are after dividing by the temperature fitted on clean validation images. Columns of a split that a
        record lacks are nan.
    """
    found = list(records)
    n = min((len(record.logits()) for record in found), default=0)
    return pd.DataFrame([_useful(record, n, foreign, spoilt) for record in found])


def _useful(record: Any, n: int, foreign: str, spoilt: str) -> dict[str, Any]:
    row: dict[str, Any] = {"arm": record.spec.arm, "seed": record.spec.seed}
    first = int(record.images().max()) + 1
    for prefix, temperature in (("", 1.0), ("ts_", record.temperature)):
        logits, labels = record.logits()[:n] / temperature, record.labels()[:n]
        own = selective.selective(logits, labels)
        row |= {"error": own.error, f"{prefix}AUROC of errors": own.auroc, f"{prefix}AURC": own.aurc, f"{prefix}E-AURC": own.e_aurc}
        row |= dict.fromkeys((f"{prefix}{name}" for name in _FOREIGN), math.nan)
        if foreign in record.splits:
            others = record.logits(foreign) / temperature
            surest, energy = (_detection(logits[:first], others, kind) for kind in ("msp", "energy"))
            row |= {f"{prefix}AUROC of foreign images": surest.auroc, f"{prefix}FPR95 of foreign images": surest.fpr95}
            row[f"{prefix}AUROC of foreign images by energy"] = energy.auroc
        names = {"accuracy": "accuracy", "ECE": "ece", "OE": "oe", "UE": "ue", "NLL": "nll"}
        row |= dict.fromkeys((f"{prefix}{name} on spoilt images" for name in names), math.nan)
        if spoilt in record.splits:
            report = calibration.report(record.logits(spoilt), record.labels(spoilt), temperature=temperature)
            row |= {f"{prefix}{name} on spoilt images": getattr(report, field) for name, field in names.items()}
    return row


_FOREIGN = ("AUROC of foreign images", "FPR95 of foreign images", "AUROC of foreign images by energy")


def _detection(own: Any, others: Any, kind: selective.Score) -> selective.Detection:
    return selective.detection(selective.score(own, kind), selective.score(others, kind))


def _risk(record: Any, n: int) -> np.ndarray:
    logits, labels = record.logits()[:n], record.labels()[:n]
    risk: np.ndarray = selective.risk_coverage(selective.score(logits), logits.argmax(-1) == labels).risk.numpy()
    return risk
