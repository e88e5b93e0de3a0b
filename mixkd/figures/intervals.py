"""Dot-and-interval charts: what each arm scores, seed by seed, and the interval of its mean or paired difference.

It checks that each (row, seed) is there once; it refuses to average what should be told apart.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mixkd.figures import theme
from mixkd.figures.plot import Plot
from mixkd.measure import statistics
from mixkd.spec import nearest

READING = (
    "Each small dot is one seed, the large marker the mean, the bar its 95 % t interval over seeds. "
    "Two rows differ beyond seed noise when their difference, drawn against a baseline, has a bar that misses zero."
)
READING_PAIRED = (
    "Each small dot is one seed's difference to the baseline trained with the same seed, the bar the 95 % t interval "
    "of the mean difference. A bar that misses the zero line is a difference beyond seed noise."
)

SMALLEST = 5e-4
"""Where a logarithmic axis of errors begins; smaller ones are drawn there."""
LINE = 48
"""Letters of a name in one line: what a phone has room for."""


def lines(name: object, letters: int = LINE) -> str:
    """A name as plotly text, in lines that a phone has room for."""
    return "<br>".join(map(theme.text, textwrap.wrap(str(name), letters)))


def t_interval(sample: Sequence[float] | pd.Series | np.ndarray) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % t interval (NaN for one value), of values that must be there to be drawn.

    Raises:
        ValueError: for an empty sample or one with values that are not finite.
    """
    numbers = np.asarray(sample, dtype=float)
    if not numbers.size or not np.isfinite(numbers).all():
        raise ValueError(f"sample must hold finite numbers, at least one; it is {numbers.tolist()}")
    found = statistics.t_interval(numbers)
    return found.estimate, found.low, found.high


def intervals(
    frame: pd.DataFrame,
    metric: str = "ece",
    *,
    by: str = "arm",
    pair: str | Sequence[str] = "seed",
    baseline: Hashable = None,
    scaled: bool = False,
    tenth_of: Hashable = None,
) -> Plot:
    """Draw one row for each value of ``by``.

    Args:
        frame: ``Records.frame()``, one row for each (``by``, ``pair``).
        metric: a column of it.
        by: the column that names the rows.
        pair: the column or columns whose values pair a row with the baseline.
        baseline: a value of ``by``: draw paired differences to it in place of values.
        scaled: draw ``ts_<metric>`` beside it with hollow markers: the same runs after post-hoc temperature scaling.
        tenth_of: a value of ``by``: the axis is logarithmic, from :data:`SMALLEST` on, and a line stands at a tenth of its mean.

    Raises:
        ValueError: for a column or baseline that is not there, or for several rows where one is expected.
    """
    pair = [pair] if isinstance(pair, str) else list(pair)
    metrics = [metric, f"ts_{metric}"] if scaled else [metric]
    for column in [by, *pair, *metrics]:
        if column not in frame:
            raise ValueError(f"column {column!r} is not in the frame{nearest(column, map(str, frame.columns))}")
    if frame.empty:
        raise ValueError("the frame is empty: no record to draw")
    once(frame, [by, *pair])
    names = theme.order(list(frame[by])) if by == "arm" else list(dict.fromkeys(frame[by]))
    if baseline is not None and baseline not in names:
        raise ValueError(f"baseline {baseline!r} is not a value of {by!r}{nearest(baseline, map(str, names))}")
    rows = [name for name in names if baseline is None or name != baseline]
    figure, table = go.Figure(), []
    for place, name in enumerate(reversed(rows)):
        for which, column in enumerate(metrics):
            wide = frame.pivot_table(index=pair, columns=by, values=column)
            sample = (wide[name] if baseline is None else wide[name] - wide[baseline]).dropna()
            if sample.empty:
                raise ValueError(f"{by} {name!r} and baseline {baseline!r} have no {' and '.join(pair)} in common")
            mean, low, high = t_interval(sample)
            smallest = -math.inf if tenth_of is None else SMALLEST
            ends = max(mean, smallest), np.maximum(low, smallest), np.maximum(high, smallest)
            at = place + (0 if not scaled else (0.16, -0.18)[which])
            for trace in _row(sample.clip(lower=smallest), ends, at, _look(frame, by, name), hollow=which == 1):
                figure.add_trace(trace)
            table.append(
                {
                    by: theme.look(name).label if by == "arm" else name,
                    "measure": theme.measure(column),
                    "mean": mean,
                    "low": low,
                    "high": high,
                    "seeds": len(sample),
                }
            )
        # The name stands over its row, not beside it: a phone has no room for both.
        words = theme.text(theme.look(str(name)).label if by == "arm" else f"{theme.measure(by)} {name}")
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=place,
            yshift=36 if scaled else 18,
            text=words,
            showarrow=False,
            font={"size": 12},
        )
    versus = "" if baseline is None else f", difference to {theme.look(str(baseline)).label if by == 'arm' else baseline}"
    if scaled:
        for hollow, words in ((False, "as trained"), (True, "after temperature scaling")):
            symbol = "circle-open" if hollow else "circle"
            marker = {"symbol": symbol, "size": 10, "color": theme.NEUTRAL}
            figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=words, showlegend=True)
    if baseline is not None:
        figure.add_vline(x=0, line={"color": theme.NEUTRAL, "width": 1.5})
    if tenth_of is not None:
        line = float(frame.loc[frame[by] == tenth_of, metric].mean()) / 10
        words = f"a tenth of {theme.look(str(tenth_of)).label if by == 'arm' else tenth_of}"
        figure.add_vline(x=line, line={"color": theme.NEUTRAL, "width": 1.5, "dash": "dash"})
        figure.add_annotation(x=math.log10(line), y=1, yref="paper", yanchor="bottom", text=theme.text(words), showarrow=False)
    figure.update_layout(
        theme.layout(
            height=(96 if scaled else 66) + (88 if scaled else 56) * len(rows),
            xaxis={
                "title": {"text": theme.text(theme.measure(metric) + versus)},
                "zeroline": False,
                **({} if tenth_of is None else {"type": "log", "dtick": 1}),
            },
            yaxis={"visible": False, "range": [-0.5, len(rows) - 0.4], "showgrid": False},
            showlegend=scaled,
            margin={"l": 12, "r": 12, "t": 60 if tenth_of is not None else 36 if scaled else 8, "b": 48},
        )
    )
    return Plot(
        figure,
        label=f"{theme.measure(metric)}{versus} of {len(rows)} rows, with 95 % intervals over seeds",
        reading=READING if baseline is None else READING_PAIRED,
        table=pd.DataFrame(table),
    )


def effects(table: pd.DataFrame, *, margin: float = 0.0, unit: str = "") -> Plot:
    """Draw effects that were estimated elsewhere: one row each, with its interval and the margin that decides.

    Args:
        table: columns ``name``, ``effect``, ``low``, ``high``; perhaps ``margin`` (one for each row) and ``arm`` (for
            the colour).
        margin: where the decision line stands, in the unit of the effects, when the table has no such column.
        unit: what the effects are, for the axis.
    """
    missing = {"name", "effect", "low", "high"} - set(table.columns)
    if missing:
        raise ValueError(f"columns {', '.join(sorted(missing))} are not in the table; it has {', '.join(map(str, table.columns))}")
    # Heights are pixels: a row has its name over it, in as many lines as a phone needs, then its interval.
    figure, top = go.Figure(), 0
    for _, row in table.iloc[::-1].iterrows():
        look = theme.look(row["arm"]) if "arm" in table else theme.look("teacher")
        line, words = row["margin"] if "margin" in table else margin, lines(row["name"])
        at = top + 18
        figure.add_trace(_dot((row["effect"], row["low"], row["high"]), at, look, hollow=False))
        figure.add_shape(type="line", x0=line, x1=line, y0=at - 14, y1=at + 10, line={"color": theme.NEUTRAL, "dash": "dot"})
        figure.add_annotation(
            x=0,
            xref="paper",
            xanchor="left",
            y=at + 10,
            yanchor="bottom",
            align="left",
            text=words,
            showarrow=False,
            font={"size": 12},
        )
        top = at + 20 + 16 * (1 + words.count("<br>"))
    margins = {"l": 12, "r": 12, "t": 8, "b": 48}
    figure.update_layout(
        theme.layout(
            height=top + margins["t"] + margins["b"],
            xaxis={"title": {"text": theme.text(unit)}, "zeroline": False},
            yaxis={"visible": False, "range": [0, top]},
            showlegend=False,
            margin=margins,
        )
    )
    reading = "The marker is the estimate, the bar its 95 % interval, the dotted line what it is compared with."
    shown = table[[c for c in ("name", "effect", "low", "high", "margin") if c in table]]
    return Plot(figure, label="Effects with 95 % intervals, against their margins", reading=reading, table=shown)


def once(frame: pd.DataFrame, key: list[str]) -> None:
    """Check that each value of ``key`` has one row.

    Raises:
        ValueError: naming a repeated key and the columns in which its rows differ.
    """
    repeated = frame[frame.duplicated(key, keep=False)]
    if repeated.empty:
        return
    first = repeated[(repeated[key] == repeated[key].iloc[0]).all(axis=1)]
    settings = [c for c in ("data", "student", "teacher", "teacher_arm", "teacher_seed", "tau", "alpha", "partial", "epochs") if c in frame]
    differ = [c for c in settings if first[c].nunique(dropna=False) > 1]
    what = ", ".join(f"{k} {first[k].iloc[0]!r}" for k in key)
    raise ValueError(f"{len(first)} rows for {what}; they differ in {', '.join(differ) or 'no setting'}: select one of them first")


def _look(frame: pd.DataFrame, by: str, name: Any) -> theme.Look:
    arms = frame.loc[frame[by] == name, "arm"].unique() if "arm" in frame else []
    return theme.look(arms[0]) if len(arms) == 1 else theme.look("teacher")


def _row(sample: pd.Series, interval: tuple[float, float, float], at: float, look: theme.Look, hollow: bool) -> list[go.Scatter]:
    index = [f"seed {value}" for value in sample.index]
    seeds = go.Scatter(
        x=sample.to_numpy(),
        y=np.full(len(sample), at - 0.14),
        mode="markers",
        text=index,
        showlegend=False,
        marker={"symbol": "circle-open" if hollow else "circle", "size": 6, "color": look.color, "opacity": 0.7},
        hovertemplate="%{x:.4f}<extra>%{text}</extra>",
    )
    return [seeds, _dot(interval, at, look, hollow)]


def _dot(interval: tuple[float, float, float], at: float, look: theme.Look, hollow: bool) -> go.Scatter:
    mean, low, high = interval
    known = np.isfinite(low)
    return go.Scatter(
        x=[mean],
        y=[at],
        mode="markers",
        name=theme.text(look.label),
        showlegend=False,
        marker={
            "symbol": look.symbol + ("-open" if hollow else ""),
            "size": 12,
            "color": look.color,
            "line": {"width": 2 if hollow else 0},
        },
        error_x={
            "type": "data",
            "array": [high - mean],
            "arrayminus": [mean - low],
            "color": look.color,
            "thickness": 2.5,
            "width": 5,
        }
        if known
        else None,
        hovertemplate=f"mean %{{x:.4f}}<br>95 % interval {low:.4f} to {high:.4f}<extra></extra>"
        if known
        else "%{x:.4f}, one seed<extra></extra>",
    )
