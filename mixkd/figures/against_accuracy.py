"""Measures of students against their accuracy: a weak model often looks good by a measure, so the two are shown together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.intervals import t_interval
from mixkd.figures.plot import Plot
from mixkd.spec import nearest

READING = (
    "Small dots are seeds, large markers their means, bars 95 % t intervals over seeds. To the right is more accurate. Compare markers "
    "that stand above each other: these models are equally good, so their height is not a matter of being weak."
)
_VARIANTS = ("-open", "-open-dot", "-dot")


def against_accuracy(frame: pd.DataFrame, panels: Mapping[str, str], *, y: str, line: float, log: bool = False) -> Plot:
    """Draw one panel for each measure, accuracy across, one marker for each group of students.

    Args:
        frame: one row for each group and seed: ``arm`` (for colour and marker), ``group`` (its name; the first of an arm is drawn filled,
            the others hollow), ``seed``, ``accuracy`` (a fraction), and a column for each panel. A column ``family`` names the entry of the
            legend where several groups share one; they share its marker.
        panels: column -> title of its panel, top to bottom.
        y: what the columns are, for the axes.
        line: where the measure says "no difference".
        log: a logarithmic axis, for ratios.

    Raises:
        ValueError: for a column that is not there, or an empty frame.
    """
    for column in ("arm", "group", "seed", "accuracy", *panels):
        if column not in frame:
            raise ValueError(f"column {column!r} is not in the frame{nearest(column, map(str, frame.columns))}")
    if frame.empty:
        raise ValueError("the frame is empty: no student to draw")
    figure = make_subplots(
        rows=len(panels), cols=1, shared_xaxes=True, subplot_titles=list(map(theme.text, panels.values())), vertical_spacing=0.09
    )
    frame = frame if "family" in frame else frame.assign(family=frame["group"])
    table, named = [], set()
    for arm in theme.order(list(frame["arm"])):
        look, own = theme.look(arm), frame[frame["arm"] == arm]
        families = list(dict.fromkeys(own["family"]))
        for (family, name), group in own.groupby(["family", "group"], sort=False):
            number = families.index(family)
            symbol = look.symbol + ("" if number == 0 else _VARIANTS[(number - 1) % len(_VARIANTS)])
            for row, (column, title) in enumerate(panels.items(), start=1):
                known = group.dropna(subset=[column, "accuracy"])
                if known.empty:
                    continue
                at, (mean, low, high) = 100 * float(known["accuracy"].mean()), t_interval(known[column])
                figure.add_scatter(
                    x=100 * known["accuracy"], y=known[column], mode="markers", legendgroup=family, showlegend=False, hoverinfo="skip",
                    marker={"symbol": "circle", "size": 4, "color": look.color, "opacity": 0.4}, row=row, col=1,
                )  # fmt: skip
                bar = {
                    "type": "data",
                    "array": [high - mean],
                    "arrayminus": [mean - low],
                    "color": look.color,
                    "thickness": 1.5,
                    "width": 4,
                }
                figure.add_scatter(
                    x=[at], y=[mean], mode="markers", name=theme.text(family), legendgroup=family, showlegend=family not in named,
                    marker={"symbol": symbol, "size": 12, "color": look.color, "line": {"width": 2 if number else 0, "color": look.color}},
                    error_y=bar if np.isfinite(low) else None,
                    hovertemplate=f"{theme.text(name)}<br>accuracy %{{x:.1f}} %<br>%{{y:.2f}}<extra></extra>", row=row, col=1,
                )  # fmt: skip
                named.add(family)
                shown = {"trained with": name, "measure": title, "accuracy (%)": at, "mean": mean, "low": low, "high": high}
                table.append({**shown, "seeds": len(known)})
    figure.add_hline(y=line, line={"color": theme.NEUTRAL, "dash": "dot", "width": 1.5})
    height = 230 * len(panels)
    below = {"y": -56 / height, "yanchor": "top"}
    figure.update_layout(theme.layout(height=height + 190, legend=below, margin={"l": 56, "r": 12, "t": 28, "b": 160}))
    figure.update_annotations(font={"size": 12.5})
    figure.update_xaxes(title={"text": "accuracy (%)"}, row=len(panels))
    figure.update_yaxes(type="log" if log else "linear", zeroline=False)
    figure.update_yaxes(title={"text": theme.text(y)}, row=(len(panels) + 1) // 2, col=1)
    if log:
        figure.update_yaxes(tickvals=[0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50], ticktext=["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50"])
    label = f"{y} against accuracy, by what students were trained with"
    return Plot(figure, label=label, reading=READING, table=pd.DataFrame(table))
