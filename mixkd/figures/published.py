"""Figures and tables of numbers that others published: their bins, and labelled points. No line is fitted through a handful of points."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.markup import CALIBRATIONS, Html, number
from mixkd.figures.plot import Plot
from mixkd.figures.reliability import Bins, wilson
from mixkd.studies import Cell

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


def labelled_points(frame: pd.DataFrame, x: str, y: str, *, by: str | None = None) -> Plot:
    """Draw one labelled marker for each row; no line through them.

    Args:
        frame: the index names the points.
        x, y: columns, named as they should stand at the axes; zero is marked on both.
        by: a column whose values tell groups of points apart, by marker and colour.

    Raises:
        ValueError: for an empty frame.
    """
    if frame.empty:
        raise ValueError("the frame is empty: no point to draw")
    figure = go.Figure()
    # The label stands on the side where there is room for it: a phone is narrow.
    middle = (frame[x].min() + frame[x].max()) / 2
    groups = {"": frame} if by is None else dict(list(frame.groupby(by, sort=False)))
    looks = [("#4159df", "star"), (theme.NEUTRAL, "circle-open"), ("#fb610e", "diamond-open"), ("#0e7361", "square-open")]
    for (name, own), (color, symbol) in zip(groups.items(), looks, strict=False):
        open_ = symbol.endswith("open")
        figure.add_scatter(
            x=own[x].to_numpy(), y=own[y].to_numpy(), mode="markers+text", text=[theme.text(label) for label in own.index],
            textposition=["middle left" if value > (middle if open_ else frame[x].quantile(0.8)) else "middle right" for value in own[x]],
            name=theme.text(name), marker={"color": color, "symbol": symbol, "size": 12, "line": {"width": 2 if open_ else 0}},
            showlegend=by is not None, cliponaxis=False,
            hovertemplate="%{text}<br>%{x:.1f}, %{y:.1f}<extra></extra>",
        )  # fmt: skip
    line = {"color": theme.NEUTRAL, "width": 1}
    figure.add_vline(x=0, line=line)
    figure.add_hline(y=0, line=line)
    figure.update_layout(
        theme.layout(
            xaxis={"title": {"text": theme.text(x)}, "zeroline": False}, yaxis={"title": {"text": theme.text(y)}, "zeroline": False},
            margin={"l": 56, "r": 12, "t": 64 if by is not None else 36, "b": 48},
        )
    )  # fmt: skip
    columns = [x, y] if by is None else [by, x, y]
    return Plot(
        figure,
        label=f"{y} against {x}",
        reading="One marker for each row of the table.",
        table=frame[columns].rename_axis("point").reset_index(),
    )


def on_the_map(survey: Any, x: str, y: str, tau: float = 2.0) -> pd.DataFrame:
    """Return rows for :func:`labelled_points`: the teachers of one column of a map, and their students' overconfidence error, in points.

    Args:
        survey: one of :func:`mixkd.claims.survey`.
        x, y: what the columns are called.
        tau: of the students.
    """
    rows = {}
    for (model, calibration), teacher in survey.teachers.items():
        reading = survey.readings.get(("kd_mixup", Cell(model, calibration, tau)))
        if model == survey.profile.default_teacher and reading is not None and reading.model is not None:
            rows[CALIBRATIONS[calibration]] = {
                x: 100 * teacher.gap,
                y: 100 * reading.model.oe,
                "whose": f"our teacher, {survey.profile.name}",
            }
    return pd.DataFrame.from_dict(rows, orient="index", columns=[x, y, "whose"])


_SHORT = 12
"""A column with a cell of more letters is one of words: they wrap, and begin at the left."""


def rows(frame: pd.DataFrame, caption: str, *, digits: int = 4) -> Html:
    """Return a frame as a table of the book: the index names the rows, numbers are rounded, what is not there is a dash, words wrap."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return "unbounded" if value == float("inf") else number(value, digits)
        return html.escape(str(value))

    kinds = [
        ' class="mixkd-words"' if any(isinstance(value, str) and len(value) > _SHORT for value in frame.iloc[:, at]) else ""
        for at in range(frame.shape[1])
    ]
    head = "".join(f'<th scope="col"{kind}>{html.escape(str(column))}</th>' for column, kind in zip(frame.columns, kinds, strict=True))
    body = "".join(
        f'<tr><th scope="row">{html.escape(str(name))}</th>'
        + "".join(f"<td{kind}>{cell(value)}</td>" for value, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for name, row in zip(frame.index, frame.itertuples(index=False), strict=True)
    )
    corner = html.escape(str(frame.index.name or ""))
    markup = (
        f'<div class="mixkd-table" tabindex="0" role="region" aria-label="{html.escape(caption)}"><table>'
        f'<caption>{html.escape(caption)}</caption><thead><tr><th scope="col">{corner}</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )
    return Html(markup, f"{caption}\n{frame.round(digits).to_string()}")
