"""Dot-and-interval charts: what each arm scores, seed by seed, and the interval of its mean or paired difference.

Each (arm, seed) must be there once: rows of different settings are never averaged.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mixkd.figures import theme
from mixkd.figures.markup import Html, absent, in_words
from mixkd.figures.plot import Plot, bars, entries, grey, required
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
    """Return a name as plotly text, wrapped to fit a phone."""
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
    frame: pd.DataFrame, metric: str = "ece", *, baseline: str | None = None, scaled: bool = False, tenth_of: str | None = None
) -> Plot:
    """Draw one row for each arm.

    Args:
        frame: ``Records.frame()``, one row for each (arm, seed).
        metric: a column of it.
        baseline: an arm: draw differences to it, paired by seed, in place of values.
        scaled: draw ``ts_<metric>`` beside it with hollow markers: the same runs after post-hoc temperature scaling.
        tenth_of: an arm: the axis is logarithmic, from :data:`SMALLEST` on, and a line stands at a tenth of its mean.

    Raises:
        ValueError: for a column or baseline that is not there, or for several rows where one is expected.
    """
    metrics = [metric, f"ts_{metric}"] if scaled else [metric]
    required(frame, ["arm", "seed", *metrics], "record")
    once(frame, ["arm", "seed"])
    arms = theme.order(list(frame["arm"]))
    if baseline is not None and baseline not in arms:
        raise ValueError(f"baseline {baseline!r} is not an arm of the frame{nearest(baseline, arms)}")
    rows = [arm for arm in arms if arm != baseline]
    smallest = -math.inf if tenth_of is None else SMALLEST
    figure, table = go.Figure(), []
    for place, arm in enumerate(reversed(rows)):
        look = theme.look(arm)
        for hollow, column in zip((False, True), metrics, strict=False):
            wide = frame.pivot(index="seed", columns="arm", values=column)
            sample = (wide[arm] if baseline is None else wide[arm] - wide[baseline]).dropna()
            if sample.empty:
                raise ValueError(f"arm {arm!r} and baseline {baseline!r} have no seed in common")
            mean, low, high = t_interval(sample)
            at = place + (0 if not scaled else -0.18 if hollow else 0.16)
            shown = max(mean, smallest), np.maximum(low, smallest), np.maximum(high, smallest)
            figure.add_trace(_seeds(sample.clip(lower=smallest), at, look, hollow=hollow))
            figure.add_trace(dot(shown, at, look, hollow=hollow))
            found = {"measure": theme.measure(column), "mean": mean, "low": low, "high": high, "seeds": len(sample)}
            table.append({"arm": look.label, **found})
        # The name stands over its row, not beside it: a phone has no room for both.
        over(figure, theme.text(look.label), place, yshift=36 if scaled else 18)
    versus = "" if baseline is None else f", difference to {theme.look(baseline).label}"
    if scaled:
        entries(figure, {"circle": "as trained", "circle-open": "after temperature scaling"})
    if baseline is not None:
        figure.add_vline(x=0, line=grey(dash=None))
    if tenth_of is not None:
        line = float(frame.loc[frame["arm"] == tenth_of, metric].mean()) / 10
        figure.add_vline(x=line, line=grey(dash="dash"))
        words = theme.text(f"a tenth of {theme.look(tenth_of).label}")
        figure.add_annotation(x=math.log10(line), y=1, yref="paper", yanchor="bottom", text=words, showarrow=False)
        figure.update_xaxes(type="log", dtick=1)
    figure.update_layout(
        theme.layout(
            height=(96 if scaled else 66) + (88 if scaled else 56) * len(rows), showlegend=scaled,
            yaxis={"visible": False, "range": [-0.5, len(rows) - 0.4], "showgrid": False},
            margin={"l": 12, "r": 12, "t": 60 if tenth_of is not None else 36 if scaled else 8, "b": 48},
        )
    )  # fmt: skip
    figure.update_xaxes(title={"text": theme.text(theme.measure(metric) + versus)}, zeroline=False)
    label = f"{theme.measure(metric)}{versus} of {len(rows)} rows, with 95 % intervals over seeds"
    return Plot(figure, label=label, reading=READING if baseline is None else READING_PAIRED, table=pd.DataFrame(table))


def intervals_if(frame: pd.DataFrame, metric: str, *, otherwise: str, scaled: bool = False, **options: Any) -> Plot | Html:
    """Return :func:`intervals` of the rows that have the metric, or a sentence.

    Args:
        frame, metric, scaled, options: as in :func:`intervals`.
        otherwise: what to say when the column is not there, holds no finite value, or nothing stands beside the baseline.
    """
    rows, baseline = finite(frame, [metric, f"ts_{metric}"] if scaled else [metric]), options.get("baseline")
    lone = baseline is not None and not {baseline} < set(rows["arm"] if len(rows) else ())
    return absent(otherwise) if rows.empty or lone else intervals(rows, metric, scaled=scaled, **options)


def effects(table: pd.DataFrame, *, unit: str = "") -> Plot:
    """Draw effects that were estimated elsewhere: one row each, its interval beside the line of no effect.

    Args:
        table: columns ``name``, ``effect``, ``low``, ``high``.
        unit: what the effects are, for the axis.
    """
    missing = {"name", "effect", "low", "high"} - set(table.columns)
    if missing:
        raise ValueError(f"columns {', '.join(sorted(missing))} are not in the table; it has {', '.join(map(str, table.columns))}")
    # Heights are pixels: a row has its name over it, in as many lines as a phone needs, then its interval.
    figure, top = go.Figure(), 0
    for _, row in table.iloc[::-1].iterrows():
        at, words = top + 18, lines(row["name"])
        figure.add_trace(dot((row["effect"], row["low"], row["high"]), at, theme.look("teacher")))
        figure.add_shape(type="line", x0=0, x1=0, y0=at - 14, y1=at + 10, line={"color": theme.NEUTRAL, "dash": "dot"})
        over(figure, words, at + 10, yanchor="bottom", align="left")
        top = at + 20 + 16 * (1 + words.count("<br>"))
    margins = {"l": 12, "r": 12, "t": 8, "b": 48}
    figure.update_layout(theme.layout(height=top + margins["t"] + margins["b"], showlegend=False, margin=margins))
    figure.update_layout(xaxis={"title": {"text": theme.text(unit)}, "zeroline": False}, yaxis={"visible": False, "range": [0, top]})
    reading = "The marker is the estimate, the bar its 95 % interval, the dotted line what it is compared with."
    return Plot(figure, label="Effects with 95 % intervals, against their margins", reading=reading, table=table)


def changed(changes: pd.DataFrame, *, missing: str) -> Plot | Html:
    """Return :func:`effects` of what another amount of one ingredient changes, in points, or a sentence.

    Args:
        changes: of :func:`mixkd.claims.changes`, rows whose measure is a share.
        missing: what to say when there is no row.
    """
    if changes.empty:
        return absent(missing)
    several = changes["measure"].nunique() > 1
    names = [
        (f"{row.measure}: " if several else "") + f"{in_words(str(row.arm))}, {row.setting} − {in_words(str(row.against))}"
        for row in changes.itertuples()
    ]
    points = {to: 100 * changes[of].to_numpy() for to, of in (("effect", "estimate"), ("low", "low"), ("high", "high"))}
    return effects(pd.DataFrame({"name": names, **points}), unit="difference, points")


def finite(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return the rows that have a finite value in all of these columns; none where a column is not there."""
    if any(column not in frame for column in columns):
        return frame.iloc[:0]
    return frame.loc[np.isfinite(frame[list(columns)].to_numpy(dtype=float)).all(axis=1)]


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


def _seeds(sample: pd.Series, at: float, look: theme.Look, *, hollow: bool) -> go.Scatter:
    marker = {"symbol": "circle-open" if hollow else "circle", "size": 6, "color": look.color, "opacity": 0.7}
    return go.Scatter(
        x=sample.to_numpy(), y=np.full(len(sample), at - 0.14), mode="markers", text=[f"seed {value}" for value in sample.index],
        showlegend=False, marker=marker, hovertemplate="%{x:.4f}<extra>%{text}</extra>",
    )  # fmt: skip


def dot(
    interval: tuple[float, float, float], at: float, look: theme.Look, *, hollow: bool = False, hover: str = "", size: int = 12
) -> go.Scatter:
    """Return a mean in the look of an arm at height ``at``, its interval as a bar across; no bar where the interval is not known."""
    mean, low, high = interval
    known = np.isfinite(low)
    said = f"mean %{{x:.4f}}<br>95 % interval {low:.4f} to {high:.4f}" if known else "%{x:.4f}, one seed"
    marker = {"symbol": look.symbol + ("-open" if hollow else ""), "size": size, "color": look.color, "line": {"width": 2 if hollow else 0}}
    return go.Scatter(
        x=[mean], y=[at], mode="markers", name=theme.text(look.label), showlegend=False, marker=marker,
        error_x=bars(mean, low, high, look.color, thickness=2.5, width=5) if known else None,
        hovertemplate=f"{hover or said}<extra></extra>",
    )  # fmt: skip


def over(figure: go.Figure, words: str, y: float, **more: Any) -> None:
    """Write the name of a row over it, at the left; ``words`` are plotly markup, ``more`` is of the annotation."""
    figure.add_annotation(
        {"x": 0, "xref": "paper", "xanchor": "left", "y": y, "text": words, "showarrow": False, "font": {"size": 12}, **more}
    )
