"""Measures in small panels, one under the other, over a quantity on a log scale: the distillation temperature, the number of classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.intervals import lines, once, t_interval
from mixkd.figures.plot import Plot, dots, seeds

READING = (
    "The line joins the means over seeds, the bars are 95 % t intervals, the pale lines single seeds; τ grows to the right, on a log scale."
)
READING_CLASSES = (
    "One line for each accuracy, the number of classes on a log scale. Every point is a model that is exactly right about its world, so "
    "whatever changes along a line is owed to the number of classes alone."
)
_LINES = (("solid", "circle"), ("dash", "diamond"), ("dot", "square"), ("dashdot", "triangle-up"))


def sweep(frame: pd.DataFrame, columns: Sequence[str]) -> Plot:
    """Draw each column over tau, for each arm.

    Args:
        frame: ``Records.frame()``, one row for each (arm, tau, seed); rows whose tau is not a number are left out.
        columns: one panel each.

    Raises:
        ValueError: when no row has a numeric tau.
    """
    frame = frame[[isinstance(tau, float) and tau == tau for tau in frame["tau"]]].astype({"tau": float})
    if frame.empty:
        raise ValueError("no row has a numeric tau: nothing to draw")
    once(frame, ["arm", "tau", "seed"])
    # The legend stands above the title of the first panel, not on it: titles may take two lines.
    titles = [lines(theme.measure(column), 40) for column in columns]
    figure, table = _panels(titles, sorted(frame["tau"].unique()), theme.measure("tau"), size=12, above=42), []
    for row, column in enumerate(columns, start=1):
        for arm in theme.order(list(frame["arm"])):
            look, own = theme.look(arm), frame[frame["arm"] == arm]
            seeds(figure, own, "tau", column, look.color, arm, row=row, col=1)
            points = [(tau, *t_interval(group[column])) for tau, group in own.groupby("tau")]
            means = dots(
                look, *(np.array(values) for values in zip(*points, strict=True)), group=arm, width=2, size=9, showlegend=row == 1,
                hover="τ %{x:g}<br>%{y:.4f}",
            )  # fmt: skip
            figure.add_trace(means, row=row, col=1)
            table += [
                {"arm": look.label, "measure": theme.measure(column), "tau": t, "mean": m, "low": a, "high": b} for t, m, a, b in points
            ]
    names = ", ".join(theme.measure(column) for column in columns)
    return Plot(figure, label=f"{names} over the distillation temperature", reading=READING, table=pd.DataFrame(table))


def over_classes(frame: pd.DataFrame, columns: Sequence[str]) -> Plot:
    """Draw each column over the number of classes, a line for each accuracy.

    Args:
        frame: columns ``classes``, ``accuracy`` and those to draw; at most four accuracies.
        columns: one panel each, named as they should stand there.

    Raises:
        ValueError: for an empty frame or more accuracies than there are kinds of line.
    """
    levels = sorted(frame["accuracy"].unique()) if len(frame) else []
    if not 0 < len(levels) <= len(_LINES):
        raise ValueError(f"the frame has {len(levels)} accuracies: it must have between 1 and {len(_LINES)}")
    titles = [theme.text(column) for column in columns]
    figure = _panels(titles, sorted(frame["classes"].unique()), "number of classes", size=13, above=34)
    for row, column in enumerate(columns, start=1):
        for level, style in zip(levels, _LINES, strict=False):
            own = frame[frame["accuracy"] == level].sort_values("classes")
            line = dots(
                theme.Look(f"accuracy {level:g}", theme.NEUTRAL, *style), own["classes"].to_numpy(), own[column].to_numpy(), width=2,
                size=8, group=f"{level:g}", showlegend=row == 1, hover=f"accuracy {level:g}, %{{x}} classes<br>%{{y:.4f}}",
            )  # fmt: skip
            figure.add_trace(line, row=row, col=1)
    figure.update_yaxes(rangemode="tozero")
    label = f"{', '.join(columns)} over the number of classes"
    return Plot(figure, label=label, reading=READING_CLASSES, table=frame[["classes", "accuracy", *columns]])


def _panels(titles: Sequence[str], ticks: Sequence[float], x: str, *, size: float, above: int) -> go.Figure:
    """Return empty panels one under the other that share a logarithmic axis, titles at their left, the legend ``above`` them in pixels."""
    figure = make_subplots(
        rows=len(titles), cols=1, shared_xaxes=True, vertical_spacing=0.11 / max(1, len(titles) - 1) + 0.03, subplot_titles=titles
    )
    height = 150 + 170 * len(titles)
    figure.update_layout(theme.layout(height=height, legend={"y": 1 + above / height}, margin={"t": 50 + above}))
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=[f"{tick:g}" for tick in ticks])
    figure.update_xaxes(title={"text": theme.text(x)}, row=len(titles))
    figure.update_annotations(font={"size": size}, x=0, xanchor="left", align="left")
    return figure
