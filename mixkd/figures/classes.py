"""Measures over the number of classes, one small panel each, a line for each accuracy. Draws a frame; computes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.plot import Plot

READING = (
    "One line for each accuracy, the number of classes on a log scale. Every point is a model that is exactly right about its world, so "
    "whatever changes along a line is owed to the number of classes alone."
)
_LINES = (("solid", "circle"), ("dash", "diamond"), ("dot", "square"), ("dashdot", "triangle-up"))


def over_classes(frame: pd.DataFrame, columns: Sequence[str]) -> Plot:
    """Draw each column over the number of classes.

    Args:
        frame: columns ``classes``, ``accuracy`` and those to draw; at most four accuracies.
        columns: one panel each, named as they should stand there.

    Raises:
        ValueError: for an empty frame or more accuracies than there are kinds of line.
    """
    levels = sorted(frame["accuracy"].unique()) if len(frame) else []
    if not 0 < len(levels) <= len(_LINES):
        raise ValueError(f"the frame has {len(levels)} accuracies: it must have between 1 and {len(_LINES)}")
    figure = make_subplots(
        rows=len(columns), cols=1, shared_xaxes=True, vertical_spacing=0.11 / max(1, len(columns) - 1) + 0.03,
        subplot_titles=[theme.text(column) for column in columns],
    )  # fmt: skip
    for row, column in enumerate(columns, start=1):
        for level, (dash, symbol) in zip(levels, _LINES, strict=False):
            own = frame[frame["accuracy"] == level].sort_values("classes")
            figure.add_scatter(
                x=own["classes"].to_numpy(), y=own[column].to_numpy(), mode="lines+markers", name=f"accuracy {level:g}",
                legendgroup=f"{level:g}", showlegend=row == 1, line={"color": theme.NEUTRAL, "dash": dash, "width": 2},
                marker={"symbol": symbol, "size": 8, "color": theme.NEUTRAL},
                hovertemplate=f"accuracy {level:g}, %{{x}} classes<br>%{{y:.4f}}<extra></extra>", row=row, col=1,
            )  # fmt: skip
    height, counts = 150 + 170 * len(columns), sorted(frame["classes"].unique())
    figure.update_layout(theme.layout(height=height))
    figure.update_layout(legend={"y": 1 + 34 / height}, margin={"t": 84})
    figure.update_xaxes(type="log", tickvals=counts, ticktext=[f"{count:g}" for count in counts])
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(title={"text": "number of classes"}, row=len(columns))
    figure.update_annotations(font={"size": 13}, x=0, xanchor="left")
    label = f"{', '.join(columns)} over the number of classes"
    return Plot(figure, label=label, reading=READING, table=frame[["classes", "accuracy", *columns]])
