"""`Plot`: a plotly figure that shows itself in the book, in JupyterLab, on Colab and on GitHub, with words beside it.

It wraps a figure and refuses to change it. A bare plotly figure prints itself and cannot be glued; this one can.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from mixkd.figures.static import svg

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

MIME = "application/vnd.plotly.v1+json"
CONFIG = {"displayModeBar": False, "responsive": True}


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
        """The figure as plain JSON data; ``layout.meta`` carries label, reading and table."""
        data: dict[str, Any] = json.loads(self.figure.to_json())
        meta: dict[str, Any] = {"label": self.label, "reading": self.reading}
        if self.table is not None:
            split = json.loads(self.table.to_json(orient="split", double_precision=6))
            meta["table"] = {"columns": split["columns"], "rows": split["data"]}
        data["layout"]["meta"] = meta
        return data

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:
        data = self.to_dict()
        bundle = {MIME: {**data, "config": CONFIG}, "image/svg+xml": svg(data), "text/plain": f"<figure: {self.label}>"}
        if "google.colab" in sys.modules:  # Colab knows no plotly mime type
            bundle["text/html"] = self.figure.to_html(include_plotlyjs="cdn", full_html=False, config=CONFIG)
        return bundle


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
