"""Points in a plane: measures of students against their accuracy, and labelled points. No line is fitted through a handful of points."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from mixkd.figures import theme
from mixkd.figures.intervals import t_interval
from mixkd.figures.markup import CALIBRATIONS
from mixkd.figures.plot import Plot, dots, grey, required
from mixkd.studies import Cell

READING = (
    "Small dots are seeds, large markers their means, bars 95 % t intervals over seeds. To the right is more accurate. Compare markers "
    "that stand above each other: these models are equally good, so their height is not a matter of being weak."
)
_VARIANTS = ("", "-open", "-open-dot", "-dot")
_POINTS = (
    (theme.COLORS["kd_mixup"], "star"), (theme.NEUTRAL, "circle-open"), (theme.COLORS["kd"], "diamond-open"),
    (theme.COLORS["mixup"], "square-open"),
)  # fmt: skip
"""Colour and marker of the groups of labelled points, in the order in which they come."""
_TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]


def against_accuracy(frame: pd.DataFrame, panels: Mapping[str, str], *, y: str, line: float, log: bool = False) -> Plot:
    """Draw one panel for each measure, accuracy across, one marker for each group of students.

    A weak model often looks good by a measure, so the two are shown together.

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
    required(frame, ["arm", "group", "seed", "accuracy", *panels], "student")
    figure = make_subplots(
        rows=len(panels), cols=1, shared_xaxes=True, subplot_titles=list(map(theme.text, panels.values())), vertical_spacing=0.09
    )
    frame = frame if "family" in frame else frame.assign(family=frame["group"])
    table, named = [], set()
    for arm in theme.order(list(frame["arm"])):
        look, own = theme.look(arm), frame[frame["arm"] == arm]
        families = list(dict.fromkeys(own["family"]))
        for (family, name), group in own.groupby(["family", "group"], sort=False):
            nth = families.index(family)
            symbol = look.symbol + (_VARIANTS[(nth - 1) % 3 + 1] if nth else "")
            for row, (column, title) in enumerate(panels.items(), start=1):
                known = group.dropna(subset=[column, "accuracy"])
                if known.empty:
                    continue
                at, (mean, low, high) = 100 * float(known["accuracy"].mean()), t_interval(known[column])
                figure.add_scatter(
                    x=100 * known["accuracy"], y=known[column], mode="markers", legendgroup=family, showlegend=False, hoverinfo="skip",
                    marker={"symbol": "circle", "size": 4, "color": look.color, "opacity": 0.4}, row=row, col=1,
                )  # fmt: skip
                marker = dots(
                    theme.Look(family, look.color, look.dash, symbol), [at], [mean], [low], [high], group=family, joined=False, size=12,
                    showlegend=family not in named, hover=f"{theme.text(name)}<br>accuracy %{{x:.1f}} %<br>%{{y:.2f}}",
                )  # fmt: skip
                marker.marker.line = {"width": 2 if nth else 0, "color": look.color}
                figure.add_trace(marker, row=row, col=1)
                named.add(family)
                shown = {"trained with": name, "measure": title, "accuracy (%)": at, "mean": mean, "low": low, "high": high}
                table.append({**shown, "seeds": len(known)})
    figure.add_hline(y=line, line=grey())
    height = 230 * len(panels)
    below = {"y": -56 / height, "yanchor": "top"}
    figure.update_layout(theme.layout(height=height + 190, legend=below, margin={"l": 56, "r": 12, "t": 28, "b": 160}))
    figure.update_annotations(font={"size": 12.5})
    figure.update_xaxes(title={"text": "accuracy (%)"}, row=len(panels))
    figure.update_yaxes(type="log" if log else "linear", zeroline=False)
    figure.update_yaxes(title={"text": theme.text(y)}, row=(len(panels) + 1) // 2, col=1)
    if log:
        figure.update_yaxes(tickvals=_TICKS, ticktext=[f"{tick:g}" for tick in _TICKS])
    label = f"{y} against accuracy, by what students were trained with"
    return Plot(figure, label=label, reading=READING, table=pd.DataFrame(table))


def labelled_points(frame: pd.DataFrame, x: str, y: str, *, by: str) -> Plot:
    """Draw one labelled marker for each row; no line through them.

    Args:
        frame: the index names the points.
        x, y: columns, named as they should stand at the axes; zero is marked on both.
        by: a column whose values tell groups of points apart, by marker and colour.

    Raises:
        ValueError: for an empty frame.
    """
    required(frame, [by, x, y], "point")
    figure = go.Figure()
    for (name, own), (color, symbol) in zip(frame.groupby(by, sort=False), _POINTS, strict=False):
        hollow = symbol.endswith("open")
        # The label stands on the side where there is room for it: a phone is narrow.
        edge = (frame[x].min() + frame[x].max()) / 2 if hollow else frame[x].quantile(0.8)
        figure.add_scatter(
            x=own[x].to_numpy(), y=own[y].to_numpy(), mode="markers+text", text=[theme.text(label) for label in own.index],
            textposition=["middle left" if value > edge else "middle right" for value in own[x]], name=theme.text(name), cliponaxis=False,
            showlegend=True, marker={"color": color, "symbol": symbol, "size": 12, "line": {"width": 2 if hollow else 0}},
            hovertemplate="%{text}<br>%{x:.1f}, %{y:.1f}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=0, line=grey(1, dash=None))
    figure.add_hline(y=0, line=grey(1, dash=None))
    figure.update_layout(theme.layout(margin={"l": 56, "r": 12, "t": 64, "b": 48}))
    figure.update_xaxes(title={"text": theme.text(x)}, zeroline=False)
    figure.update_yaxes(title={"text": theme.text(y)}, zeroline=False)
    shown = frame[[by, x, y]].rename_axis("point").reset_index()
    return Plot(figure, label=f"{y} against {x}", reading="One marker for each row of the table.", table=shown)


def on_the_map(survey: Any, x: str, y: str) -> pd.DataFrame:
    """Return rows for :func:`labelled_points`: the teachers of a map, and their students' overconfidence error at tau 2, in points.

    Args:
        survey: one of :func:`mixkd.claims.survey`.
        x, y: what the columns are called.
    """
    rows = {}
    for (model, calibration), teacher in survey.teachers.items():
        reading = survey.readings.get(("kd_mixup", Cell(model, calibration, 2.0)))
        if model == survey.profile.default_teacher and reading is not None and reading.model is not None:
            whose = f"our teacher, {survey.profile.name}"
            rows[CALIBRATIONS[calibration]] = {x: 100 * teacher.gap, y: 100 * reading.model.oe, "whose": whose}
    return pd.DataFrame.from_dict(rows, orient="index", columns=[x, y, "whose"])
