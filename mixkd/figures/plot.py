"""`Plot`: a plotly figure with words and numbers beside it, for the book, JupyterLab and Colab; and what figures are drawn with.

A bare plotly figure prints itself and cannot be glued; this one can. Where plotly does not run, its table is shown.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mixkd.figures import theme
from mixkd.spec import nearest

MIME = "application/vnd.plotly.v1+json"
CONFIG = {"displayModeBar": False, "responsive": True}
_MOST_ROWS = 60


class Plot:
    """A figure with what a reader needs beside it.

    Args:
        figure: the plotly figure. No text of it may hold a dollar sign: plotly would hand it to a MathJax that the page
            lacks, and the text would vanish.
        label: what the figure shows, in a sentence: its name for a screen reader.
        reading: how to read it.
        table: the numbers behind it, shown on demand and where there is no JavaScript.

    Raises:
        ValueError: for text with a dollar sign.
    """

    def __init__(self, figure: go.Figure, *, label: str, reading: str, table: pd.DataFrame) -> None:
        self.figure = figure
        self.label = label
        self.reading = reading
        self.table = table
        for words in _texts(figure.to_plotly_json()):
            if "$" in words:
                raise ValueError(f"plotly text {words!r}: a dollar sign starts TeX there; write Unicode or HTML (τ, p<sub>k</sub>)")

    def to_dict(self) -> dict[str, Any]:
        """Return the figure as plain JSON data; ``layout.meta`` carries label, reading and the table as HTML."""
        data: dict[str, Any] = json.loads(self.figure.to_json())
        data["layout"]["meta"] = {"label": self.label, "reading": self.reading, "table": self.numbers()}
        return data

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        data = self.to_dict()
        shown = f"<figure><figcaption>{html.escape(self.label)}</figcaption>{data['layout']['meta']['table']}</figure>"
        if "google.colab" in sys.modules:  # Colab knows no plotly mime type
            shown = self.figure.to_html(include_plotlyjs="cdn", full_html=False, config=CONFIG)
        return {MIME: {**data, "config": CONFIG}, "text/html": shown, "text/plain": f"<figure: {self.label}>"}

    def numbers(self) -> str:
        """Return the table as HTML, its first rows where it is long."""
        more = f"<p>The first {_MOST_ROWS} of {len(self.table)} rows.</p>" if len(self.table) > _MOST_ROWS else ""
        return self.table.head(_MOST_ROWS).to_html(index=False, border=0, na_rep="–", float_format=_shown) + more


def _shown(value: float) -> str:
    return f"{value:g}" if float(value).is_integer() else f"{value:.4f}"


def _texts(value: Any) -> Iterator[str]:
    """All strings of a figure."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, list | tuple) or (hasattr(value, "dtype") and value.dtype.kind in "OU"):
        for inner in value:
            yield from _texts(inner)


# --- what figures are drawn with ------------------------------------------------------------------------------------------


def bars(mean: Any, low: Any, high: Any, color: str, *, thickness: float = 1.5, width: int = 4) -> dict[str, Any]:
    """Return plotly error bars that reach from ``low`` to ``high``, numbers or arrays; a bar without ends has no length."""
    mean, low, high = (np.atleast_1d(np.asarray(values, dtype=float)) for values in (mean, low, high))
    above, below = np.nan_to_num(high - mean), np.nan_to_num(mean - low)
    return {"type": "data", "array": above, "arrayminus": below, "color": color, "thickness": thickness, "width": width}


def band(figure: go.Figure, x: Any, low: Any, high: Any, color: str, group: str, *, alpha: float = 0.16) -> None:
    """Shade the interval around a line, from ``low`` to ``high`` over ``x``; it goes with the line's entry ``group`` of the legend."""
    edge = {"x": x, "mode": "lines", "line": {"width": 0}, "showlegend": False, "legendgroup": group, "hoverinfo": "skip"}
    figure.add_scatter(y=low, **edge)
    figure.add_scatter(y=high, fill="tonexty", fillcolor=theme.translucent(color, alpha), **edge)


def dots(
    look: theme.Look, x: Any, y: Any, low: Any = None, high: Any = None, *,
    group: str | None = None, joined: bool = True, width: float = 2.2, size: int = 7, hover: str = "", **more: Any,
) -> go.Scatter:  # fmt: skip
    """Return markers in the look of an arm, joined by its line, with bars from ``low`` to ``high`` where these are given.

    Args:
        look: its label names the entry of the legend.
        x, y, low, high: (N,) each.
        group: of the legend.
        joined: whether a line joins the markers.
        width, size: of line and marker, in pixels.
        hover: plotly template of what is shown on hover, with its own markup.
        more: of the trace.
    """
    shown = {"name": theme.text(look.label), "mode": "lines+markers" if joined else "markers", **more}
    return go.Scatter(
        x=x, y=y, legendgroup=group, hovertemplate=f"{hover}<extra></extra>", **shown,
        line={"color": look.color, "dash": look.dash, "width": width}, marker={"symbol": look.symbol, "size": size, "color": look.color},
        error_y=None if low is None else bars(y, low, high, look.color),
    )  # fmt: skip


def seeds(figure: go.Figure, frame: pd.DataFrame, x: str, y: str, color: str, group: str, **place: Any) -> None:
    """Draw a pale line for each seed of a frame."""
    for _, seed in frame.groupby("seed"):
        own = seed.sort_values(x)
        figure.add_scatter(
            x=own[x].to_numpy(), y=own[y].to_numpy(), mode="lines", line={"color": color, "width": 0.8}, opacity=0.35, showlegend=False,
            legendgroup=group, hoverinfo="skip", **place,
        )  # fmt: skip


def slider(figure: go.Figure, stops: Sequence[tuple[str, list[Any]]], prefix: str, *, start: int = 0, room: int = 44) -> None:
    """Draw the traces of one stop, and, where there are several, a slider that puts those of another in their place.

    Args:
        figure: gets traces, frames and the slider.
        stops: label and traces of each, left to right; all have traces of the same kinds in the same order.
        prefix: stands before the label of the stop that is shown.
        start: index of the stop that is shown first.
        room: between the figure and the slider, in pixels.
    """
    figure.add_traces(stops[start][1])
    if len(stops) == 1:
        return
    figure.frames = [go.Frame(name=str(i), data=traces) for i, (_, traces) in enumerate(stops)]
    now = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
    steps = [{"label": theme.text(label), "method": "animate", "args": [[str(i)], now]} for i, (label, _) in enumerate(stops)]
    figure.update_layout(sliders=[{"active": start, "currentvalue": {"prefix": prefix}, "pad": {"t": room}, "steps": steps}])


def entries(figure: go.Figure, words: Mapping[str, str]) -> None:
    """Add entries to the legend that explain markers, by plotly symbol, in no arm's colour."""
    for symbol, said in words.items():
        marker = {"symbol": symbol, "size": 10, "color": theme.NEUTRAL}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=said, showlegend=True)


def grey(width: float = 1.5, dash: str | None = "dot") -> dict[str, Any]:
    """Return the plotly line of what belongs to no arm: a level, a margin, the identity; solid for no dash."""
    return {"color": theme.NEUTRAL, "width": width, **({"dash": dash} if dash else {})}


def required(frame: pd.DataFrame, columns: Sequence[str], what: str) -> None:
    """Check that a frame has rows, and these columns.

    Raises:
        ValueError: for a column that is not there, with the nearest; for an empty frame, saying that there is no ``what`` to draw.
    """
    for column in columns:
        if column not in frame:
            raise ValueError(f"column {column!r} is not in the frame{nearest(column, map(str, frame.columns))}")
    if frame.empty:
        raise ValueError(f"the frame is empty: no {what} to draw")
