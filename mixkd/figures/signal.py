"""The teacher's answers along lam: the parts of their uncertainty stacked, and quantities with their intervals over teachers.

Stacks and averages what was measured; pairs of one class are never pooled with the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.plot import Plot
from mixkd.measure.statistics import t_interval

LEAK, BETWEEN, TAIL = "#c0561a", theme.NEUTRAL, "#2f74c0"
"""No arm has these colours: they stand for parts of a signal."""

_PARTS = (
    ("leak: is it a class of either image at all?", LEAK, "leak"),
    ("which of the two images' classes?", BETWEEN, "ambiguity"),
    ("tail: which of the other classes?", TAIL, "tail"),
)
_KINDS = ((True, "two images of one class"), (False, "images of two classes"))
_LOOKS = ((TAIL, "solid", "circle"), (LEAK, "dash", "diamond"), (theme.NEUTRAL, "dot", "square"))

READING = (
    "The upper edge is the teacher's entropy in nats, how unsure it is, averaged over pairs and seeds; each band is one part of it. "
    "λ = 0 is the second image alone, λ = 1 the first. The slider changes the teacher."
)
READING_ALONG = (
    "The line is the mean over teachers or pairs of them, the band its 95 % t interval. The ends, λ = 0 and λ = 1, are clean images; "
    "what differs between them is what mixing changes."
)


def signal_parts(signals: Mapping[str, Sequence[Any]], *, first: str | None = None) -> Plot:
    """Draw the parts of the teacher's entropy along lam, for pairs of one class and of two.

    Args:
        signals: teacher -> one :class:`mixkd.measure.signal.Signal` for each of its seeds, all on one grid.
        first: the teacher that is shown at first; the first of them by default.

    Raises:
        ValueError: for no signal, or an unknown teacher.
    """
    names = [name for name, found in signals.items() if found]
    if not names:
        raise ValueError("no signal: nothing to draw")
    start = names[0] if first is None else first
    if start not in names:
        raise ValueError(f"first {first!r}: must be one of {', '.join(names)}")
    lam = signals[start][0].lam.tolist()
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, subplot_titles=[kind for _, kind in _KINDS], horizontal_spacing=0.05)
    figure.add_traces(_bands(signals[start], lam))
    if len(names) > 1:
        figure.frames = [go.Frame(name=theme.text(name), data=_bands(signals[name], lam)) for name in names]
        now = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
        steps = [{"label": theme.text(name), "method": "animate", "args": [[theme.text(name)], now]} for name in names]
        slider = {"active": names.index(start), "currentvalue": {"prefix": "teacher: "}, "pad": {"t": 44}, "steps": steps}
        figure.update_layout(sliders=[slider])
    figure.update_layout(theme.layout(height=460, legend={"y": 1.1, "traceorder": "normal"}, margin={"l": 50, "r": 12, "t": 120, "b": 48}))
    figure.update_annotations(font={"size": 12})
    figure.update_xaxes(range=[0, 1], tickvals=[0, 0.5, 1], title={"text": "λ"})
    top = 1.06 * max(_mean(signals[name], "total", same).max() for name in names for same, _ in _KINDS)
    figure.update_yaxes(range=[0, top or 1.0])  # one scale for every teacher, so that the slider compares
    figure.update_yaxes(title={"text": "nats"}, col=1)
    table = [
        {"teacher": name, "pairs": kind, "part": label, "mean over λ (nats)": float(_mean(signals[name], part, same)[1:-1].mean())}
        for name in names
        for same, kind in _KINDS
        for label, _, part in _PARTS
    ]
    return Plot(figure, label="Parts of the teacher's entropy along lambda, by kind of pair", reading=READING, table=pd.DataFrame(table))


def along(lam: Sequence[float], lines: Mapping[str, Any], *, y: str, line: float | None = None, reading: str = READING_ALONG) -> Plot:
    """Draw quantities along lam, mean and 95 % t interval over teachers or seeds.

    Args:
        lam: (L,) weights of the first image.
        lines: name -> (S, L) values, one row for each teacher, pair of teachers or seed; nan where undefined. Three at most.
        y: what they are, for the axis.
        line: a level to draw, such as the margin of a claim.
        reading: how to read it.

    Raises:
        ValueError: for no line, more than three, or a shape that does not fit lam.
    """
    kept = {
        name: (np.atleast_2d(np.asarray(values, dtype=float)), look)
        for (name, values), look in zip(lines.items(), _LOOKS, strict=False)  # what is missing keeps its look
        if len(values)
    }
    if not kept or len(lines) > len(_LOOKS):
        raise ValueError(f"lines: draw 1 to {len(_LOOKS)}, not {len(lines)} of which {len(kept)} hold values")
    figure, table = go.Figure(), []
    for name, (values, (color, dash, symbol)) in kept.items():
        if values.shape[1] != len(lam):
            raise ValueError(f"line {name!r} has {values.shape[1]} values for each row, and lam {len(lam)}")
        columns = [values[np.isfinite(values[:, i]), i] for i in range(len(lam))]
        found = [(at, t_interval(column)) for at, column in zip(lam, columns, strict=True) if len(column)]
        at = [where for where, _ in found]
        if all(interval.defined for _, interval in found):
            edge = {
                "mode": "lines",
                "line": {"width": 0},
                "showlegend": False,
                "hoverinfo": "skip",
                "legendgroup": name,
            }
            figure.add_scatter(x=at, y=[i.low for _, i in found], **edge)
            figure.add_scatter(x=at, y=[i.high for _, i in found], fill="tonexty", fillcolor=theme.translucent(color, 0.16), **edge)
        figure.add_scatter(
            x=at,
            y=[i.estimate for _, i in found],
            mode="lines+markers",
            name=theme.text(name),
            legendgroup=name,
            line={"color": color, "dash": dash, "width": 2.2},
            marker={"color": color, "symbol": symbol, "size": 7},
            hovertemplate="λ %{x:.1f}: %{y:.3f}<extra></extra>",
        )
        table += [{"": name, "lam": where, "mean": i.estimate, "low": i.low, "high": i.high, "n": i.n} for where, i in found]
    if line is not None:
        figure.add_hline(y=line, line={"color": theme.NEUTRAL, "dash": "dot", "width": 1.5})
    figure.update_layout(
        theme.layout(
            height=380,
            xaxis={"title": {"text": "λ, weight of the first image"}},
            yaxis={"title": {"text": theme.text(y)}},
        )
    )
    return Plot(figure, label=f"{y} along lambda", reading=reading, table=pd.DataFrame(table))


def _mean(found: Sequence[Any], part: str, same: bool) -> np.ndarray:
    """(L,) mean of a part of the entropy over pairs of a kind and over seeds; 0 where there is no such pair."""
    columns = [getattr(signal.entropy, part)[:, signal.same_class == same] for signal in found]
    means: np.ndarray = np.mean([column.mean(1).numpy() if column.shape[1] else np.zeros(len(column)) for column in columns], axis=0)
    return means


def _bands(found: Sequence[Any], lam: Sequence[float]) -> list[go.Scatter]:
    """Return the stacked bands of both panels, as sums."""
    traces = []
    for column, (same, _) in enumerate(_KINDS):
        axes = {"xaxis": f"x{column + 1}", "yaxis": f"y{column + 1}"} if column else {"xaxis": "x", "yaxis": "y"}
        below = np.zeros(len(lam))
        for i, (label, color, part) in enumerate(_PARTS):
            own = _mean(found, part, same)
            below = below + own
            traces.append(
                go.Scatter(
                    x=list(lam),
                    y=below,
                    mode="lines",
                    name=label,
                    legendgroup=label,
                    showlegend=column == 0,
                    line={"color": color, "width": 1.6},
                    fill="tozeroy" if i == 0 else "tonexty",
                    fillcolor=theme.translucent(color, 0.42),
                    customdata=own,
                    hovertemplate=f"{part} %{{customdata:.3f}} nats<br>λ %{{x:.1f}}<extra></extra>",
                    **axes,
                )
            )
    return traces
