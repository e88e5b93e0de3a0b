"""Accuracy against calibration along tau, with and without mixup, and the Pareto set of the means.

It draws seeds as well as means; it refuses to join points whose settings differ in more than tau.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from mixkd.figures import theme
from mixkd.figures.intervals import once, t_interval
from mixkd.figures.plot import Plot
from mixkd.spec import nearest

READING = (
    "Pale dots are seeds, solid markers their means with 95 % t intervals in both directions; the number is τ, and the "
    "line follows it upwards. Better is higher and closer to zero. Ringed means form the Pareto set: no other mean is "
    "better in both."
)


def tradeoff(frame: pd.DataFrame, x: str = "gap", y: str = "accuracy") -> Plot:
    """Draw ``y`` against ``x`` for every (arm, tau).

    Args:
        frame: ``Records.frame()``, one row for each (arm, tau, seed); an arm that does not distil has tau None and is
            one point.
        x: a calibration column, better the closer to 0: "gap", "ece", "oe", "nll", "ts_ece", ...
        y: a column that is better the higher.

    Raises:
        ValueError: for columns that are not there, an empty frame, or settings that are mixed.
    """
    for column in ("arm", "tau", "seed", x, y):
        if column not in frame:
            raise ValueError(f"column {column!r} is not in the frame{nearest(column, map(str, frame.columns))}")
    if frame.empty:
        raise ValueError("the frame is empty: no record to draw")
    frame = frame.assign(tau=[_tau_name(tau) for tau in frame["tau"]])
    once(frame, ["arm", "tau", "seed"])
    figure, rows = go.Figure(), []
    for arm in theme.order(list(frame["arm"])):
        look, own = theme.look(arm), frame[frame["arm"] == arm]
        taus = sorted(own["tau"].unique(), key=_tau_rank)
        means = [
            {
                "arm": arm,
                "tau": tau,
                **_mean(own.loc[own["tau"] == tau, x], "x"),
                **_mean(own.loc[own["tau"] == tau, y], "y"),
            }
            for tau in taus
        ]
        rows += means
        figure.add_scatter(
            x=own[x].to_numpy(),
            y=own[y].to_numpy(),
            mode="markers",
            showlegend=False,
            legendgroup=arm,
            marker={"color": look.color, "size": 5, "opacity": 0.6},
            text=[f"τ {t}, seed {s}" for t, s in zip(own["tau"], own["seed"], strict=True)],
            hovertemplate="%{text}<br>%{x:.4f}, %{y:.4f}<extra></extra>",
        )
        figure.add_scatter(
            x=[m["x"] for m in means],
            y=[m["y"] for m in means],
            mode="lines+markers+text",
            name=theme.text(look.label),
            legendgroup=arm,
            line={"color": look.color, "dash": look.dash, "width": 2},
            marker={"symbol": look.symbol, "size": 11, "color": look.color},
            text=["" if m["tau"] == "–" else m["tau"] for m in means],
            textposition="top right",
            error_x=_error(means, "x", look.color),
            error_y=_error(means, "y", look.color),
            hovertemplate=f"{theme.text(look.label)}, τ %{{text}}<br>{theme.measure(x)} %{{x:.4f}}<br>"
            f"{theme.measure(y)} %{{y:.4f}}<extra></extra>",
        )
    best = pareto([(abs(row["x"]), row["y"]) for row in rows])
    figure.add_scatter(
        x=[rows[i]["x"] for i in best],
        y=[rows[i]["y"] for i in best],
        mode="markers",
        name="Pareto set",
        hoverinfo="skip",
        marker={"symbol": "circle-open", "size": 20, "color": theme.NEUTRAL, "line": {"width": 2}},
    )
    if x in {"gap", "ts_gap"}:
        figure.add_vline(x=0, line={"color": theme.NEUTRAL, "width": 1.5, "dash": "dot"})
    figure.update_layout(
        theme.layout(
            height=480,
            xaxis={"title": {"text": theme.measure(x)}, "zeroline": False},
            yaxis={"title": {"text": theme.measure(y)}},
        )
    )
    table = pd.DataFrame(
        [
            {
                "arm": theme.look(r["arm"]).label,
                "τ": r["tau"],
                x: r["x"],
                f"{x} low": r["x_low"],
                f"{x} high": r["x_high"],
                y: r["y"],
                f"{y} low": r["y_low"],
                f"{y} high": r["y_high"],
                "Pareto": "yes" if i in best else "",
            }
            for i, r in enumerate(rows)
        ]
    )
    return Plot(figure, label=f"{theme.measure(y)} against {theme.measure(x)} over τ, by arm", reading=READING, table=table)


def pareto(points: list[tuple[float, float]]) -> list[int]:
    """Indices of the points (cost, gain) that no other point beats: lower or equal cost, higher or equal gain, one of
    them strictly.

    Sorted by cost; equal points are all kept.
    """
    kept = [i for i, (cost, gain) in enumerate(points) if not any(c <= cost and g >= gain and (c < cost or g > gain) for c, g in points)]
    return sorted(kept, key=lambda i: points[i])


def _tau_name(tau: Any) -> str:
    if tau is None or (isinstance(tau, float) and np.isnan(tau)):
        return "–"
    return tau if isinstance(tau, str) else f"{float(tau):g}"


def _tau_rank(name: str) -> tuple[bool, float]:
    """Numbers in order, then "std"."""
    try:
        return False, float(name)
    except ValueError:
        return True, 0.0


def _mean(sample: pd.Series, side: str) -> dict[str, float]:
    mean, low, high = t_interval(sample)
    return {side: mean, f"{side}_low": low, f"{side}_high": high}


def _error(means: list[dict[str, Any]], side: str, color: str) -> dict[str, Any]:
    # One seed has no interval: its bar has no length.
    up, down = ([abs(m[f"{side}_{end}"] - m[side]) for m in means] for end in ("high", "low"))
    return {
        "type": "data",
        "array": np.nan_to_num(up),
        "arrayminus": np.nan_to_num(down),
        "color": color,
        "thickness": 1.5,
        "width": 3,
    }
