"""Measures over the distillation temperature, one small panel for each, seeds behind their mean and interval.

It draws what a frame holds; it refuses to fit a curve.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.intervals import lines, once, t_interval
from mixkd.figures.plot import Plot

READING = (
    "The line joins the means over seeds, the bars are 95 % t intervals, the pale lines single seeds; τ grows to the right, on a log scale."
)


def sweep(frame: pd.DataFrame, columns: Sequence[str]) -> Plot:
    """Draw each column over tau, for each arm.

    Args:
        frame: ``Records.frame()``, one row for each (arm, tau, seed); rows whose tau is not a number are left out.
        columns: one panel each.

    Raises:
        ValueError: when no row has a numeric tau.
    """
    frame = frame[[isinstance(tau, float) and tau == tau for tau in frame["tau"]]].astype({"tau": float})
    if frame.empty:
        raise ValueError("no row has a numeric tau: nothing to draw")
    once(frame, ["arm", "tau", "seed"])
    figure = make_subplots(
        rows=len(columns), cols=1, shared_xaxes=True, vertical_spacing=0.11 / max(1, len(columns) - 1) + 0.03,
        subplot_titles=[lines(theme.measure(column), 40) for column in columns],
    )  # fmt: skip
    table = []
    for row, column in enumerate(columns, start=1):
        for arm in theme.order(list(frame["arm"])):
            look, own = theme.look(arm), frame[frame["arm"] == arm]
            for _, seed in own.groupby("seed"):
                seed = seed.sort_values("tau")
                figure.add_scatter(
                    x=seed["tau"].to_numpy(), y=seed[column].to_numpy(), mode="lines", line={"color": look.color, "width": 0.8},
                    opacity=0.35, showlegend=False, legendgroup=arm, hoverinfo="skip", row=row, col=1,
                )  # fmt: skip
            points = [(tau, *t_interval(group[column])) for tau, group in own.groupby("tau")]
            tau, mean, low, high = (np.array(values) for values in zip(*points, strict=True))
            figure.add_scatter(
                x=tau, y=mean, mode="lines+markers", name=theme.text(look.label), legendgroup=arm, showlegend=row == 1,
                line={"color": look.color, "dash": look.dash, "width": 2}, marker={"symbol": look.symbol, "size": 9, "color": look.color},
                error_y={"type": "data", "array": np.nan_to_num(high - mean), "arrayminus": np.nan_to_num(mean - low),
                         "color": look.color, "thickness": 1.5, "width": 4},
                hovertemplate="τ %{x:g}<br>%{y:.4f}<extra></extra>", row=row, col=1,
            )  # fmt: skip
            table += [
                {"arm": look.label, "measure": theme.measure(column), "tau": t, "mean": m, "low": a, "high": b} for t, m, a, b in points
            ]
    taus = sorted(frame["tau"].unique())
    figure.update_layout(theme.layout(height=150 + 170 * len(columns)))
    # The legend stands above the title of the first panel, not on it.
    figure.update_layout(legend={"y": 1 + 42 / (150 + 170 * len(columns))}, margin={"t": 92})
    figure.update_xaxes(type="log", tickvals=taus, ticktext=[f"{tau:g}" for tau in taus])
    figure.update_xaxes(title={"text": theme.text(theme.measure("tau"))}, row=len(columns))
    figure.update_annotations(font={"size": 12}, x=0, xanchor="left", align="left")
    names = ", ".join(theme.measure(column) for column in columns)
    return Plot(figure, label=f"{names} over the distillation temperature", reading=READING, table=pd.DataFrame(table))
