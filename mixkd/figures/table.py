"""Tables of measures by arm, mean with 95 % t interval over seeds. Reads a frame, computes no measure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import fields

import pandas as pd

from mixkd.figures import theme
from mixkd.figures.intervals import once, t_interval
from mixkd.figures.markup import Html, number
from mixkd.measure.calibration import Report

_SHARES = {figure.name for figure in fields(Report) if figure.metadata.get("share")}
"""Shown in per cent."""
_SHORT = {figure.name: short for figure in fields(Report) if (short := figure.metadata.get("short"))}


def table(frame: pd.DataFrame, columns: Sequence[str], *, also_scaled: Sequence[str] = ()) -> Html:
    """One row for each arm: mean and interval of each column.

    Args:
        frame: ``Records.frame()``, one row for each (arm, seed).
        columns: measures.
        also_scaled: arms that get a second row, after post-hoc temperature scaling.
    """
    once(frame, ["arm", "seed"])
    rows = []
    for arm in theme.order(list(frame["arm"])):
        own = frame[frame["arm"] == arm]
        rows.append((theme.look(arm).label, own, list(columns)))
        if arm in also_scaled:
            rows.append((f"{theme.look(arm).label} + temperature scaling", own, [f"ts_{column}" for column in columns]))
    head = "".join(
        f'<th scope="col"><abbr title="{html.escape(theme.measure(c))}">{html.escape(_SHORT.get(c, c))}</abbr>'
        f"{', %' if c in _SHARES else ''}</th>"
        for c in columns
    )
    body, text = "", []
    for label, own, names in rows:
        cells = [_cell(100 * own[name] if name.removeprefix("ts_") in _SHARES else own[name]) for name in names]
        body += f'<tr><th scope="row">{html.escape(label)}</th>{"".join(f"<td>{cell}</td>" for cell in cells)}</tr>'
        text.append(f"{label}: " + ", ".join(f"{name} {cell}" for name, cell in zip(names, cells, strict=True)))
    seeds = frame.groupby("arm")["seed"].nunique()
    count = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    markup = (
        '<div class="mixkd-table" tabindex="0" role="region" aria-label="measures by arm"><table>'
        f"<caption>Mean over {count} seeds ± half its 95 % t interval.</caption>"
        f'<thead><tr><th scope="col">trained with</th>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )
    return Html(markup, "\n".join(text))


def _cell(sample: pd.Series) -> str:
    """A mean and half the width of its interval: one decimal in per cent, else three."""
    mean, low, high = t_interval(sample)
    digits = 1 if str(sample.name).removeprefix("ts_") in _SHARES else 3
    return number(mean, digits) + (f" ± {number((high - low) / 2, digits)}" if low == low else "")
