"""Reliability diagrams: accuracy against confidence, bin by bin, over the histogram of confidence, or side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.plot import Plot, bars, grey
from mixkd.measure.bins import Reliability

READING = (
    "Above: one marker for each bin of confidence, at its mean confidence and its accuracy, with a 95 % Wilson "
    "interval. On the diagonal the model is right as often as it says; below it is overconfident, above it "
    "underconfident. Below: the share of predictions in each bin; a far-off marker with few predictions weighs little."
)
READING_PANELS = (
    "A marker for each bin, at its mean confidence and accuracy, its area the share of predictions, its bar a "
    "95 % Wilson interval. Below the diagonal overconfident, above it underconfident."
)
_COLUMNS = 2


def wilson(hits: np.ndarray, n: np.ndarray, z: float = 1.959964) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the Wilson score interval of a proportion; (0, 1) where n is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        p = hits / n
        middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
        half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    low, high = np.where(n > 0, middle - half, 0.0), np.where(n > 0, middle + half, 1.0)
    return np.clip(low, 0, 1), np.clip(high, 0, 1)


def reliability(diagrams: Mapping[str, Reliability]) -> Plot:
    """Draw one line for each entry.

    Args:
        diagrams: what to draw, by arm (or ``"teacher"``). At most nine.

    Raises:
        ValueError: for nothing to draw, or an unknown arm.
    """
    if not diagrams:
        raise ValueError("no diagrams: nothing to draw")
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.74, 0.26])
    _diagonal(figure, showlegend=False)
    table = []
    for arm, bins in diagrams.items():
        look = theme.look(arm)
        share = bins.count / bins.n
        markers = _markers(
            bins, {"color": look.color, "symbol": look.symbol, "size": 9}, f"{theme.text(look.label)}<br>", mode="lines+markers",
            name=theme.text(look.label), legendgroup=arm, line={"color": look.color, "dash": look.dash, "width": 1.5},
        )  # fmt: skip
        figure.add_trace(markers)
        figure.add_scatter(
            x=bins.edges, y=np.append(share, share[-1]), mode="lines", legendgroup=arm, showlegend=False,
            line={"color": look.color, "dash": look.dash, "width": 2, "shape": "hv"}, fill="tozeroy",
            fillcolor=theme.translucent(look.color, 0.1), hovertemplate="%{y:.3f} of the predictions<extra></extra>", row=2, col=1,
        )  # fmt: skip
        mean = {"accuracy": share @ bins.accuracy, "confidence": share @ bins.confidence}
        table.append({"arm": look.label, **mean, "gap": bins.gap, "ECE": bins.ece, "OE": bins.oe, "predictions": bins.n})
    figure.update_layout(theme.layout(height=560))
    figure.update_xaxes(range=[0, 1.01], title={"text": ""})
    figure.update_xaxes(title={"text": "confidence"}, row=2, col=1)
    figure.update_yaxes(title={"text": "accuracy"}, range=[-0.01, 1.02], row=1, col=1)
    figure.update_yaxes(title={"text": "share"}, rangemode="tozero", row=2, col=1)
    label = f"Reliability diagram of {', '.join(theme.look(arm).label for arm in diagrams)}"
    return Plot(figure, label=label, reading=READING, table=pd.DataFrame(table))


def side_by_side(tables: Mapping[str, Reliability]) -> Plot:
    """Draw reliability diagrams side by side, a panel each, such as those of published bin tables.

    Args:
        tables: what a panel is called -> its bins.

    Raises:
        ValueError: for no table.
    """
    if not tables:
        raise ValueError("no tables: nothing to draw")
    rows, table = math.ceil(len(tables) / _COLUMNS), []
    figure = make_subplots(
        rows=rows, cols=_COLUMNS, shared_xaxes=True, shared_yaxes=True, horizontal_spacing=0.05, vertical_spacing=0.09,
        subplot_titles=[theme.text(name) for name in tables],
    )  # fmt: skip
    for place, (name, bins) in enumerate(tables.items()):
        panel = {"row": place // _COLUMNS + 1, "col": place % _COLUMNS + 1}
        _diagonal(figure, **panel)
        size = (6 + 26 * np.sqrt(bins.count / bins.n))[bins.count > 0]
        marker = {"size": size, "color": theme.look("kd_mixup").color, "opacity": 0.75, "line": {"width": 0}}
        figure.add_trace(_markers(bins, marker, mode="markers"), **panel)
        table += [
            {"": name, "bin": m + 1, "predictions": bins.count[m], "confidence": bins.confidence[m], "accuracy": bins.accuracy[m]}
            for m in np.flatnonzero(bins.count)
        ]
    figure.update_layout(theme.layout(height=120 + 290 * rows, showlegend=False))
    figure.update_xaxes(range=[0, 1.02], tickvals=[0, 0.5, 1])
    figure.update_yaxes(range=[-0.02, 1.03], tickvals=[0, 0.5, 1])
    figure.update_xaxes(title={"text": "confidence"}, row=rows)
    figure.update_yaxes(title={"text": "accuracy"}, col=1)
    figure.update_annotations(font={"size": 13})
    label = f"Reliability diagrams: {', '.join(tables)}"
    return Plot(figure, label=label, reading=READING_PANELS, table=pd.DataFrame(table))


def _diagonal(figure: go.Figure, **more: Any) -> None:
    figure.add_scatter(x=[0, 1], y=[0, 1], mode="lines", line=grey(dash="dash"), hoverinfo="skip", **more)


def _markers(bins: Reliability, marker: dict[str, Any], said: str = "", **style: Any) -> go.Scatter:
    """Return a marker for each bin that is not empty, with its Wilson interval."""
    full = bins.count > 0
    count, confidence, accuracy = bins.count[full], bins.confidence[full], bins.accuracy[full]
    low, high = wilson(accuracy * count, count)
    return go.Scatter(
        x=confidence, y=accuracy, marker=marker, customdata=np.stack([count, low, high], 1),
        error_y=bars(accuracy, low, high, marker["color"], thickness=1.2, width=3),
        hovertemplate=f"{said}confidence %{{x:.4f}}, accuracy %{{y:.4f}} (%{{customdata[1]:.3f}} to %{{customdata[2]:.3f}})"
        "<br>%{customdata[0]} predictions<extra></extra>", **style,
    )  # fmt: skip
