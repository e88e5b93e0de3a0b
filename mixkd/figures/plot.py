"""`Plot`: a plotly figure with words and numbers beside it, for the book, JupyterLab and Colab.

A bare plotly figure prints itself and cannot be glued; this one can. Where plotly does not run, its table is shown.
"""

from __future__ import annotations

import html
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    import plotly.graph_objects as go

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
        table: the numbers behind it, shown on demand and where there is no JavaScript. Without one the points of the
            figure serve.

    Raises:
        ValueError: for text with a dollar sign.
    """

    def __init__(self, figure: go.Figure, *, label: str, reading: str = "", table: pd.DataFrame | None = None) -> None:
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
        """Return the table as HTML, or the points of the figure where there is none."""
        frame = self.table
        if frame is None:
            rows = [(t.name or "", x, y) for t in self.figure.data if t.y is not None for x, y in zip(_xs(t), t.y, strict=False)]
            frame = pd.DataFrame(rows, columns=["series", "x", "y"])
        more = f"<p>The first {_MOST_ROWS} of {len(frame)} rows.</p>" if len(frame) > _MOST_ROWS else ""
        return frame.head(_MOST_ROWS).to_html(index=False, border=0, na_rep="–", float_format=_shown) + more if len(frame) else ""


def _xs(trace: Any) -> Any:
    return range(len(trace.y)) if trace.x is None else trace.x


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
