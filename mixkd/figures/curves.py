"""Learning curves: the mean over seeds of each arm, with its interval, and every seed behind it, unsmoothed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from mixkd.figures import theme
from mixkd.figures.intervals import once, t_interval
from mixkd.figures.plot import Plot, band, dots, required, seeds

READING = "The line is the mean over seeds, the band its 95 % t interval, the thin lines the seeds themselves."
ALONE = "One run of each arm, as it was recorded; how far another seed would lie from it, this figure cannot say."


def stack(records: Iterable[Any]) -> pd.DataFrame:
    """Return the curves of records in one long frame: the columns of ``Record.curve``, and arm, tau and seed of its spec."""
    parts = [r.curve.assign(arm=r.spec.arm, tau=getattr(r.spec, "tau", None), seed=r.spec.seed) for r in records]
    if not parts:
        raise ValueError("no records: no learning curve to draw")
    return pd.concat(parts, ignore_index=True)


def curves(frame: pd.DataFrame, y: str = "val_accuracy", *, x: str = "epoch") -> Plot:
    """Draw ``y`` over ``x`` for every arm.

    Args:
        frame: long: arm, seed, ``x``, ``y``; one row for each (arm, seed, ``x``). ``stack(records)`` makes it.
        y: "val_accuracy", "val_nll", "val_confidence", "train_loss" or another column.
        x: "epoch" or another column.

    Raises:
        ValueError: for a column that is not there, an empty frame, or several rows for one (arm, seed, ``x``).
    """
    required(frame, ["arm", "seed", x, y], "curve")
    once(frame, ["arm", "seed", x])
    figure, last = go.Figure(), []
    for arm in theme.order(list(frame["arm"])):
        look, own = theme.look(arm), frame[frame["arm"] == arm].dropna(subset=[y])
        rows = [(at, *t_interval(group[y])) for at, group in own.groupby(x)]
        at, mean, low, high = (list(column) for column in zip(*rows, strict=True))
        count = own["seed"].nunique()
        seeds(figure, own, x, y, look.color, arm)
        if count > 1:
            band(figure, at, low, high, look.color, arm)
        figure.add_trace(dots(look, at, mean, group=arm, hover=f"{theme.text(look.label)}<br>{theme.measure(x)} %{{x}}: %{{y:.4f}}"))
        last.append({"arm": look.label, x: at[-1], "mean": mean[-1], "low": low[-1], "high": high[-1], "seeds": count})
    figure.update_layout(theme.layout(xaxis={"title": {"text": theme.measure(x)}}, yaxis={"title": {"text": theme.measure(y)}}))
    ends = pd.DataFrame(last)
    reading = READING if (ends["seeds"] > 1).any() else ALONE
    return Plot(figure, label=f"{theme.measure(y)} over {theme.measure(x)}, by arm", reading=reading, table=ends)
