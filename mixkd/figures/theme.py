"""One visual language for every figure: the look of each arm, the names of the measures, the plotly template."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from mixkd.measure.calibration import Report
from mixkd.spec import ARMS, nearest

NEUTRAL = "#7d848e"
"""Lines that belong to no arm (identity, teacher, margins): 3:1 or more against the white and the dark page."""

FONT = "-apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', 'Liberation Sans', Arial, sans-serif"


@dataclass(frozen=True)
class Look:
    """How one arm is drawn, everywhere in the book.

    Colour never carries the distinction alone: each arm has a marker of its own. The attributes are those of :class:`mixkd.spec.Arm`.
    """

    label: str
    color: str
    dash: str
    symbol: str


_TEACHER = Look("teacher", NEUTRAL, "longdash", "bowtie")  # only arms have a colour of their own

COLORS: dict[str, str] = {arm.name: arm.color for arm in ARMS.values()}

MEASURES: dict[str, str] = {figure.name: figure.metadata["label"] for figure in fields(Report) if figure.metadata} | {
    "temperature": "NLL-optimal temperature T*",
    "val_accuracy": "validation accuracy",
    "val_nll": "validation NLL (nats)",
    "val_confidence": "validation confidence",
    "train_loss": "training loss (nats)",
    "kl": "KL from the exact posterior (nats)",
    "displaced": "decided otherwise than by Bayes' rule (share)",
    "alpha": "mixing α",
    "tau": "distillation temperature τ",
    "epoch": "epoch",
    "seed": "seed",
}


def look(arm: str) -> Look:
    """Return the look of an arm, or of ``"teacher"``.

    Raises:
        ValueError: for a name that is neither.
    """
    if arm == "teacher":
        return _TEACHER
    if arm not in ARMS:
        names = [*ARMS, "teacher"]
        raise ValueError(f"arm {arm!r} has no look; there are {', '.join(names)}{nearest(arm, names)}")
    known = ARMS[arm]
    return Look(known.label, known.color, known.dash, known.symbol)


def order(arms: Sequence[str]) -> list[str]:
    """Return the distinct arms in the order of the book, unknown ones last as they came."""
    known = [arm for arm in ARMS if arm in arms]
    return known + [arm for arm in dict.fromkeys(arms) if arm not in ARMS]


def measure(column: str) -> str:
    """Return the display name of a column of ``Records.frame()``; ``ts_`` columns say that the logits were scaled."""
    if column.startswith("ts_"):
        return f"{measure(column[3:])}, after scaling by T*"
    return MEASURES.get(column, column.replace("_", " "))


def text(value: object) -> str:
    """Return a name from data (a class, a path) as plotly text: markup escaped, no dollar sign (plotly would typeset it as TeX)."""
    return html.escape(str(value), quote=False).replace("$", "＄")


def translucent(color: str, alpha: float) -> str:
    """``#rrggbb`` as ``rgba(...)``."""
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {alpha:g})"


def layout(**changes: Any) -> dict[str, Any]:
    """Return the common layout: transparent, so that light and dark pages show through; horizontal legend, for phones.

    Text is left to the page (``book_plotly.js`` sets it to the colour of the theme); the colours here are for a bare
    notebook.
    """
    line = "rgba(125, 132, 142, .6)"
    axis = {
        "gridcolor": "rgba(125, 132, 142, .22)", "linecolor": line, "zerolinecolor": line, "ticks": "outside", "ticklen": 4,
        "tickcolor": line, "title": {"standoff": 8}, "automargin": True,
    }  # fmt: skip
    template = {
        "layout": {
            "font": {"family": FONT, "size": 13, "color": "#3b4452"}, "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
            "colorway": list(COLORS.values()), "xaxis": axis, "yaxis": axis, "margin": {"l": 56, "r": 12, "t": 36, "b": 48},
            "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom", "title": {"text": ""}},
            "hoverlabel": {"font": {"family": FONT, "size": 12}},
        }
    }  # fmt: skip
    return {"template": template, "height": 420, "hovermode": "closest", "dragmode": False, **changes}
