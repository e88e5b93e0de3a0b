"""Figures and tables of numbers that others published: their bins, and labelled points. Nothing here was run by this project.

It draws a published table as it stands; it refuses to fit a line through a handful of points.
"""

from __future__ import annotations

import html
from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.markup import Html
from mixkd.figures.plot import Plot
from mixkd.figures.reliability import Bins, wilson

READING = (
    "One panel for each table; a marker for each bin, at its mean confidence and accuracy, its area the share of predictions, its bar a "
    "95 % Wilson interval. Below the diagonal overconfident, above it underconfident."
)
_COLUMNS = 2


def published(tables: Mapping[str, Bins], *, arm: str = "kd_mixup") -> Plot:
    """Reliability diagrams of published bin tables, side by side.

    Args:
        tables: what a panel is called -> its bins.
        arm: whose colour they have: what all of them were trained with.

    Raises:
        ValueError: for no table.
    """
    if not tables:
        raise ValueError("no tables: nothing to draw")
    look, rows = theme.look(arm), -(-len(tables) // _COLUMNS)
    figure = make_subplots(
        rows=rows, cols=_COLUMNS, shared_xaxes=True, shared_yaxes=True, horizontal_spacing=0.05, vertical_spacing=0.09,
        subplot_titles=[theme.text(name) for name in tables],
    )  # fmt: skip
    for place, bins in enumerate(tables.values()):
        at = {"row": place // _COLUMNS + 1, "col": place % _COLUMNS + 1}
        count, confidence, accuracy = (np.asarray(v, dtype=float) for v in (bins.count, bins.confidence, bins.accuracy))
        full = count > 0
        low, high = wilson(accuracy * count, count)
        figure.add_scatter(
            x=[0, 1], y=[0, 1], mode="lines", line={"color": theme.NEUTRAL, "width": 1.5, "dash": "dash"}, hoverinfo="skip", **at
        )  # fmt: skip
        figure.add_scatter(
            x=confidence[full], y=accuracy[full], mode="markers",
            marker={"size": (6 + 26 * np.sqrt(count / count.sum()))[full], "color": look.color, "opacity": 0.75, "line": {"width": 0}},
            error_y={"type": "data", "array": (high - accuracy)[full], "arrayminus": (accuracy - low)[full],
                     "color": look.color, "thickness": 1.2, "width": 3},
            customdata=np.stack([count, low, high], 1)[full],
            hovertemplate="confidence %{x:.4f}, accuracy %{y:.4f} (%{customdata[1]:.3f} to %{customdata[2]:.3f})"
            "<br>%{customdata[0]} predictions<extra></extra>", **at,
        )  # fmt: skip
    figure.update_layout(theme.layout(height=120 + 290 * rows, showlegend=False))
    figure.update_xaxes(range=[0, 1.02], tickvals=[0, 0.5, 1])
    figure.update_yaxes(range=[-0.02, 1.03], tickvals=[0, 0.5, 1])
    figure.update_xaxes(title={"text": "confidence"}, row=rows)
    figure.update_yaxes(title={"text": "accuracy"}, col=1)
    figure.update_annotations(font={"size": 13})
    table = pd.DataFrame(
        [
            {"": name, "bin": m + 1, "predictions": int(bins.count[m]), "confidence": bins.confidence[m], "accuracy": bins.accuracy[m]}
            for name, bins in tables.items()
            for m in range(len(bins.count))
            if bins.count[m]
        ]
    )
    return Plot(figure, label=f"Published reliability diagrams: {', '.join(tables)}", reading=READING, table=table)


def labelled_points(frame: pd.DataFrame, x: str, y: str, *, identity: bool = False) -> Plot:
    """One labelled marker for each row; no line through them.

    Args:
        frame: the index names the points.
        x, y: columns, named as they should stand at the axes.
        identity: draw the line on which both are equal, and the lines where each is 0.

    Raises:
        ValueError: for an empty frame.
    """
    if frame.empty:
        raise ValueError("the frame is empty: no point to draw")
    figure = go.Figure()
    if identity:
        ends = [float(frame[[x, y]].to_numpy().min()) - 0.01, float(frame[[x, y]].to_numpy().max()) + 0.01]
        figure.add_scatter(
            x=ends, y=ends, mode="lines", line={"color": theme.NEUTRAL, "dash": "dash"}, hoverinfo="skip", showlegend=False
        )  # fmt: skip
    look = theme.look("kd_mixup")
    # The label stands on the side where there is room for it: a phone is narrow.
    middle = (frame[x].min() + frame[x].max()) / 2
    figure.add_scatter(
        x=frame[x].to_numpy(), y=frame[y].to_numpy(), mode="markers+text", text=[theme.text(name) for name in frame.index],
        textposition=["middle right" if value <= middle else "middle left" for value in frame[x]],
        marker={"color": look.color, "symbol": look.symbol, "size": 12}, showlegend=False,
        hovertemplate="%{text}<br>%{x:.4f}, %{y:.4f}<extra></extra>",
    )  # fmt: skip
    figure.update_layout(theme.layout(xaxis={"title": {"text": theme.text(x)}}, yaxis={"title": {"text": theme.text(y)}}))
    reading = "One marker for each row of the table." + (" On the dashed line both are equal." if identity else "")
    return Plot(figure, label=f"{y} against {x}", reading=reading, table=frame[[x, y]].rename_axis("").reset_index())


def rows(frame: pd.DataFrame, caption: str, *, digits: int = 4) -> Html:
    """A frame as a table of the book: the index names the rows, numbers are rounded, what is not there is a dash."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return "–" if value != value else "unbounded" if value == float("inf") else f"{value:.{digits}f}"
        return html.escape(str(value))

    head = "".join(f'<th scope="col">{html.escape(str(column))}</th>' for column in frame.columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(str(name))}</th>{"".join(f"<td>{cell(value)}</td>" for value in row)}</tr>'
        for name, row in zip(frame.index, frame.itertuples(index=False), strict=True)
    )
    corner = html.escape(str(frame.index.name or ""))
    markup = (
        f'<div class="mixkd-table" tabindex="0" role="region" aria-label="{html.escape(caption)}"><table>'
        f'<caption>{html.escape(caption)}</caption><thead><tr><th scope="col">{corner}</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
    return Html(markup, f"{caption}\n{frame.round(digits).to_string()}")
