"""Models against the exact posterior: one pair at a time along lam, and averages over pairs with their spread over seeds.

It draws answers and distances that it is given, and computes none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mixkd.figures import theme
from mixkd.figures.plot import Plot
from mixkd.measure.statistics import t_interval

EXACT = "exact"
_EXACT = theme.Look("exact posterior", theme.NEUTRAL, "solid", "line-ns")

READING = (
    "The probability of the first image's class on the way from the second image (λ = 0) to the first (λ = 1). The broad grey line is the "
    "right answer; it need not be straight. The slider goes through pairs."
)
READING_ALONG = (
    "Lines are means over pairs of two classes and over seeds, bands 95 % t intervals over seeds. The ends, λ = 0 and λ = 1, are clean "
    "inputs; between them lie blends of two."
)


def against_truth(answers: Mapping[str, np.ndarray], lam: Sequence[float], names: Sequence[str]) -> Plot:
    """Draw pairs along lam, one at a time: how each model and the exact posterior pass from one class to the other.

    Args:
        answers: arm, "teacher" or "exact" -> (L, P) probability of the first image's class.
        lam: (L,) weights of the first image, from 0 to 1.
        names: (P,) of the pairs, for the slider.

    Raises:
        ValueError: for no pair, no answers, or a shape that does not fit.
    """
    shapes = {np.shape(p) for p in answers.values()}
    if shapes != {(len(lam), len(names))} or not len(names):
        raise ValueError(f"answers must be ({len(lam)}, {len(names)}), at least one pair; they are {sorted(shapes)}")

    def traces(pair: int) -> list[go.Scatter]:
        return [_line(name, lam, np.asarray(p)[:, pair]) for name, p in answers.items()]

    figure = go.Figure(traces(0))
    if len(names) > 1:
        figure.frames = [go.Frame(name=str(i), data=traces(i)) for i in range(len(names))]
        now = {"mode": "immediate", "frame": {"duration": 0, "redraw": True}, "transition": {"duration": 0}}
        steps = [{"label": theme.text(name), "method": "animate", "args": [[str(i)], now]} for i, name in enumerate(names)]
        slider = {"active": 0, "currentvalue": {"prefix": "pair: "}, "pad": {"t": 44}, "steps": steps}
        figure.update_layout(sliders=[slider])
    figure.update_layout(
        theme.layout(
            height=470,
            xaxis={"title": {"text": "λ, weight of the first image"}, "range": [-0.02, 1.02]},
            yaxis={"title": {"text": "probability of its class"}, "range": [-0.03, 1.05]},
        )
    )
    table = pd.DataFrame(
        [
            {"model": _look(name).label, **{f"λ = {at:g}": p for at, p in zip(lam, np.round(np.asarray(found)[:, 0], 4), strict=True)}}
            for name, found in answers.items()
        ]
    )
    return Plot(figure, label="Models and the exact posterior along lambda, pair by pair", reading=READING, table=table)


def truth_along(lam: Sequence[float], lines: Mapping[str, np.ndarray], *, y: str, log: bool = False, reading: str = READING_ALONG) -> Plot:
    """Draw a quantity along lam for each model, mean and 95 % t interval over its seeds.

    Args:
        lam: (L,) weights of the first image.
        lines: arm, "teacher" or "exact" -> (S, L), one row for each seed; an empty one is left out.
        y: what they are, for the axis.
        log: a logarithmic axis, for lines of unlike size; bands end where they would reach 0.
        reading: how to read it.

    Raises:
        ValueError: for nothing to draw.
    """
    kept = {name: np.atleast_2d(np.asarray(rows, dtype=float)) for name, rows in lines.items() if np.size(rows)}
    if not kept:
        raise ValueError("lines: all are empty, nothing to draw")
    floor = min(float(rows.mean(0).min()) for rows in kept.values()) / 2 if log else -np.inf
    figure, table = go.Figure(), []
    for name, rows in kept.items():
        look, found = _look(name), [t_interval(column) for column in rows.T]
        if all(interval.defined for interval in found) and name != EXACT:
            edge = {"mode": "lines", "line": {"width": 0}, "showlegend": False, "hoverinfo": "skip", "legendgroup": name}
            figure.add_scatter(x=list(lam), y=[max(i.low, floor) for i in found], **edge)
            figure.add_scatter(
                x=list(lam), y=[i.high for i in found], fill="tonexty", fillcolor=theme.translucent(look.color, 0.16), **edge
            )
        figure.add_trace(_line(name, lam, np.array([i.estimate for i in found])))
        table += [
            {"model": look.label, "lam": at, "mean": i.estimate, "low": i.low, "high": i.high, "seeds": i.n}
            for at, i in zip(lam, found, strict=True)
        ]
    across, up = {"title": {"text": "λ, weight of the first image"}}, {"title": {"text": theme.text(y)}, "rangemode": "tozero"}
    figure.update_layout(theme.layout(height=420, xaxis=across, yaxis=up))
    if log:
        figure.update_yaxes(type="log", rangemode="normal", dtick=1)
    return Plot(figure, label=f"{y} along lambda, by model", reading=reading, table=pd.DataFrame(table))


def _look(name: str) -> theme.Look:
    return _EXACT if name == EXACT else theme.look(name)


def _line(name: str, lam: Sequence[float], values: np.ndarray) -> go.Scatter:
    look = _look(name)
    exact = name == EXACT
    return go.Scatter(
        x=list(lam),
        y=values,
        mode="lines" if exact else "lines+markers",
        name=theme.text(look.label),
        legendgroup=name,
        line={"color": look.color, "dash": look.dash, "width": 6 if exact else 2.2},
        opacity=0.6 if exact else 1,
        marker={"color": look.color, "symbol": look.symbol, "size": 7},
        hovertemplate=f"{theme.text(look.label)}<br>λ %{{x:.1f}}: %{{y:.4f}}<extra></extra>",
    )
