"""Answers along lam, from one image to another: single pairs with a slider, the parts of a teacher's entropy, means with their intervals.

Pairs of one class are never pooled with the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.plot import Plot, band, dots, grey, slider
from mixkd.measure.statistics import t_interval

LEAK, BETWEEN, TAIL = "#c0561a", theme.NEUTRAL, "#2f74c0"
"""No arm has these colours: they stand for parts of a signal."""
EXACT = "exact"

_PARTS = (
    ("leak: is it a class of either image at all?", LEAK, "leak"),
    ("which of the two images' classes?", BETWEEN, "ambiguity"),
    ("tail: which of the other classes?", TAIL, "tail"),
)
_KINDS = ((True, "two images of one class"), (False, "images of two classes"))
_STYLES = ((TAIL, "solid", "circle"), (LEAK, "dash", "diamond"), (theme.NEUTRAL, "dot", "square"))
_LAM = "λ, weight of the first image"

READING_BLEND = (
    "Move the slider from the second image alone (λ = 0) to the first alone (λ = 1). Left, the image both models are shown; right, the "
    "probability each gives to every class, and dots where it would lie if the answer were the blend of its answers at the two ends."
)
READING_PARTS = (
    "The upper edge is the teacher's entropy in nats, how unsure it is, averaged over pairs and seeds; each band is one part of it. "
    "λ = 0 is the second image alone, λ = 1 the first. The slider changes the teacher."
)
READING_ALONG = (
    "The line is the mean over teachers or pairs of them, the band its 95 % t interval. The ends, λ = 0 and λ = 1, are clean images; "
    "what differs between them is what mixing changes."
)
READING_TRUTH = (
    "The probability of the first image's class on the way from the second image (λ = 0) to the first (λ = 1). The broad grey line is the "
    "right answer; it need not be straight. The slider goes through pairs."
)
READING_TRUTH_ALONG = (
    "Lines are means over pairs of two classes and over seeds, bands 95 % t intervals over seeds. The ends, λ = 0 and λ = 1, are clean "
    "inputs; between them lie blends of two."
)


def blend(
    answers: Mapping[str, np.ndarray], lam: Sequence[float], classes: Sequence[str], images: tuple[np.ndarray, np.ndarray] | None = None
) -> Plot:
    """Draw a blended image along the lam grid, and what two models say about it.

    Args:
        answers: arm or "teacher" -> (L, K) probabilities along lam; two of them.
        lam: (L,) weights of the first image, ascending from 0 to 1.
        classes: (K,) names.
        images: the two images, (H, W) each with values in [0, 1], first and second; left out where they are not at hand.
    """
    columns = 1 if images is None else 2
    figure = make_subplots(rows=1, cols=columns, column_widths=None if images is None else [0.32, 0.68], horizontal_spacing=0.14)
    names = [theme.text(name) for name in classes]
    axes = {} if images is None else {"xaxis": "x2", "yaxis": "y2"}
    looks = {arm: theme.look(arm) for arm in answers}

    def traces(i: int) -> list[Any]:
        made: list[Any] = []
        if images is not None:
            mixed = lam[i] * images[0] + (1 - lam[i]) * images[1]
            made += [go.Heatmap(z=mixed[::-1], colorscale="gray", zmin=0, zmax=1, showscale=False, hoverinfo="skip", xaxis="x", yaxis="y")]
        for arm, p in answers.items():
            made += [go.Bar(x=names, y=p[i], name=theme.text(looks[arm].label), marker={"color": looks[arm].color}, **axes)]
        for arm, p in answers.items():
            linear, words = lam[i] * p[-1] + (1 - lam[i]) * p[0], f"{theme.text(looks[arm].label)}, if linear"
            marker = {"color": looks[arm].color, "symbol": "circle-open", "size": 8, "line": {"width": 2}}
            made += [go.Scatter(x=names, y=linear, mode="markers", name=words, marker=marker, **axes)]
        return made

    slider(figure, [(f"{value:.1f}", traces(i)) for i, value in enumerate(lam)], "λ = ", start=len(lam) // 2, room=40)
    figure.update_layout(theme.layout(height=440, barmode="group"))
    # A title beside the axis would lie on the image on a narrow page.
    figure.update_yaxes(range=[0, 1.05], title={"text": "probability" if columns == 1 else ""}, col=columns)
    figure.update_xaxes(type="category", col=columns)
    if images is not None:
        figure.update_xaxes(visible=False, col=1)
        figure.update_yaxes(visible=False, scaleanchor="x", col=1)
    rows = [
        {"model": looks[arm].label, "lam": value, **dict(zip(classes, np.round(p[i], 4), strict=True))}
        for arm, p in answers.items()
        for i, value in enumerate(lam)
    ]
    return Plot(figure, label="A blend of two images and two models' answers along lambda", reading=READING_BLEND, table=pd.DataFrame(rows))


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
    figure = make_subplots(rows=1, cols=2, shared_yaxes=True, subplot_titles=[kind for _, kind in _KINDS], horizontal_spacing=0.05)
    slider(figure, [(name, _parts(signals[name])) for name in names], "teacher: ", start=names.index(start))
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
    label = "Parts of the teacher's entropy along lambda, by kind of pair"
    return Plot(figure, label=label, reading=READING_PARTS, table=pd.DataFrame(table))


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
        name: (np.atleast_2d(np.asarray(values, dtype=float)), theme.Look(name, *style))
        for (name, values), style in zip(lines.items(), _STYLES, strict=False)  # what is missing keeps its look
        if len(values)
    }
    if not kept or len(lines) > len(_STYLES):
        raise ValueError(f"lines: draw 1 to {len(_STYLES)}, not {len(lines)} of which {len(kept)} hold values")
    figure, table = go.Figure(), []
    for name, (values, look) in kept.items():
        if values.shape[1] != len(lam):
            raise ValueError(f"line {name!r} has {values.shape[1]} values for each row, and lam {len(lam)}")
        columns = [values[np.isfinite(values[:, i]), i] for i in range(len(lam))]
        found = {at: t_interval(column) for at, column in zip(lam, columns, strict=True) if len(column)}
        if all(interval.defined for interval in found.values()):
            band(figure, list(found), [i.low for i in found.values()], [i.high for i in found.values()], look.color, name)
        means = [i.estimate for i in found.values()]
        figure.add_trace(dots(look, list(found), means, group=name, hover="λ %{x:.1f}: %{y:.3f}"))
        table += [{"": name, "lam": at, "mean": i.estimate, "low": i.low, "high": i.high, "n": i.n} for at, i in found.items()]
    if line is not None:
        figure.add_hline(y=line, line=grey())
    figure.update_layout(theme.layout(height=380, xaxis={"title": {"text": _LAM}}, yaxis={"title": {"text": theme.text(y)}}))
    return Plot(figure, label=f"{y} along lambda", reading=reading, table=pd.DataFrame(table))


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
    figure = go.Figure()
    pairs = [[_line(name, lam, np.asarray(p)[:, pair]) for name, p in answers.items()] for pair in range(len(names))]
    slider(figure, list(zip(names, pairs, strict=True)), "pair: ")
    figure.update_layout(theme.layout(height=470))
    figure.update_xaxes(title={"text": _LAM}, range=[-0.02, 1.02])
    figure.update_yaxes(title={"text": "probability of its class"}, range=[-0.03, 1.05])
    table = [
        {"model": _look(name).label, **{f"λ = {at:g}": p for at, p in zip(lam, np.round(np.asarray(found)[:, 0], 4), strict=True)}}
        for name, found in answers.items()
    ]
    label = "Models and the exact posterior along lambda, pair by pair"
    return Plot(figure, label=label, reading=READING_TRUTH, table=pd.DataFrame(table))


def truth_along(lam: Sequence[float], lines: Mapping[str, np.ndarray], *, y: str, log: bool = False) -> Plot:
    """Draw a quantity along lam for each model, mean and 95 % t interval over its seeds.

    Args:
        lam: (L,) weights of the first image.
        lines: arm, "teacher" or "exact" -> (S, L), one row for each seed; an empty one is left out.
        y: what they are, for the axis.
        log: a logarithmic axis, for lines of unlike size; bands end where they would reach 0.

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
            band(figure, list(lam), [max(i.low, floor) for i in found], [i.high for i in found], look.color, name)
        figure.add_trace(_line(name, lam, np.array([i.estimate for i in found])))
        shown = [{"mean": i.estimate, "low": i.low, "high": i.high, "seeds": i.n} for i in found]
        table += [{"model": look.label, "lam": at, **row} for at, row in zip(lam, shown, strict=True)]
    figure.update_layout(theme.layout(height=420, xaxis={"title": {"text": _LAM}}))
    figure.update_yaxes(title={"text": theme.text(y)}, rangemode="tozero")
    if log:
        figure.update_yaxes(type="log", rangemode="normal", dtick=1)
    return Plot(figure, label=f"{y} along lambda, by model", reading=READING_TRUTH_ALONG, table=pd.DataFrame(table))


def _mean(found: Sequence[Any], part: str, same: bool) -> np.ndarray:
    """(L,) mean of a part of the entropy over pairs of a kind and over seeds; 0 where there is no such pair."""
    columns = [getattr(signal.entropy, part)[:, signal.same_class == same] for signal in found]
    means: np.ndarray = np.mean([column.mean(1).numpy() if column.shape[1] else np.zeros(len(column)) for column in columns], axis=0)
    return means


def _parts(found: Sequence[Any]) -> list[go.Scatter]:
    """Return the stacked parts of both panels, as sums."""
    traces, lam = [], found[0].lam.tolist()
    for column, (same, _) in enumerate(_KINDS):
        axes = {"xaxis": "x2", "yaxis": "y2"} if column else {"xaxis": "x", "yaxis": "y"}
        below = np.zeros(len(lam))
        for i, (label, color, part) in enumerate(_PARTS):
            own = _mean(found, part, same)
            below = below + own
            trace = go.Scatter(
                x=lam, y=below, mode="lines", name=label, legendgroup=label, showlegend=column == 0, line={"color": color, "width": 1.6},
                fill="tonexty" if i else "tozeroy", fillcolor=theme.translucent(color, 0.42), customdata=own,
                hovertemplate=f"{part} %{{customdata:.3f}} nats<br>λ %{{x:.1f}}<extra></extra>", **axes,
            )  # fmt: skip
            traces.append(trace)
    return traces


def _look(name: str) -> theme.Look:
    return theme.Look("exact posterior", theme.NEUTRAL, "solid", "line-ns") if name == EXACT else theme.look(name)


def _line(name: str, lam: Sequence[float], values: np.ndarray) -> go.Scatter:
    """Return a model's line with markers; the exact answer is broad, pale and without."""
    look, exact = _look(name), name == EXACT
    style: dict[str, Any] = {"mode": "lines", "width": 6, "opacity": 0.6} if exact else {"opacity": 1}
    return dots(look, list(lam), values, group=name, hover=f"{theme.text(look.label)}<br>λ %{{x:.1f}}: %{{y:.4f}}", **style)
