"""Tables: measures by arm, mean with 95 % t interval over seeds; and any frame as it is. Reads a frame, computes no measure."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd

from mixkd.figures import theme
from mixkd.figures.intervals import finite, once, t_interval
from mixkd.figures.markup import Html, absent, number, tabulate
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
    head = [
        f'<abbr title="{html.escape(theme.measure(c))}">{html.escape(_SHORT.get(c, c))}</abbr>{", %" if c in _SHARES else ""}'
        for c in columns
    ]
    body, text = [], []
    for label, own, names in rows:
        cells = [mean_half(100 * own[name], 1) if name.removeprefix("ts_") in _SHARES else mean_half(own[name], 3) for name in names]
        body.append((html.escape(label), cells))
        text.append(f"{label}: " + ", ".join(f"{name} {cell}" for name, cell in zip(names, cells, strict=True)))
    seeds = frame.groupby("arm")["seed"].nunique()
    count = f"{seeds.min()}" if seeds.min() == seeds.max() else f"{seeds.min()} to {seeds.max()}"
    caption = f"Mean over {count} seeds ± half its 95 % t interval."
    return Html(tabulate(["trained with", *head], body, label="measures by arm", caption=caption), "\n".join(text))


def table_if(frame: pd.DataFrame, columns: Sequence[str], *, otherwise: str, **options: Any) -> Html:
    """Return :func:`table` of the columns that are there, over the rows that have them all, or a sentence.

    Args:
        frame, columns, options: as in :func:`table`.
        otherwise: what to say when nothing is left.
    """
    there = [column for column in columns if column in frame and np.isfinite(frame[column]).any()]
    rows = finite(frame, there)
    return absent(otherwise) if rows.empty or not there else table(rows, there, **options)


def mean_half(sample: pd.Series, digits: int) -> str:
    """Return a mean and half the width of its interval; no width for one value."""
    mean, low, high = t_interval(sample)
    return number(mean, digits) + (f" ± {number((high - low) / 2, digits)}" if np.isfinite(low) else "")


_WORDS = 12
"""A column with a cell of more letters is one of words: they wrap, and begin at the left."""


def rows(frame: pd.DataFrame, caption: str, *, digits: int = 4) -> Html:
    """Return a frame as a table of the book: the index names the rows, numbers are rounded, what is not there is a dash, words wrap."""

    def cell(value: object) -> str:
        if isinstance(value, float):
            return "unbounded" if value == float("inf") else number(value, digits)
        return html.escape(str(value))

    columns = [
        ' class="mixkd-words"' if any(isinstance(value, str) and len(value) > _WORDS for value in frame.iloc[:, at]) else ""
        for at in range(frame.shape[1])
    ]
    head = [html.escape(str(name)) for name in (frame.index.name or "", *frame.columns)]
    names, values = map(html.escape, map(str, frame.index)), frame.itertuples(index=False)
    body = [(name, list(map(cell, row))) for name, row in zip(names, values, strict=True)]
    return Html(tabulate(head, body, label=caption, caption=caption, columns=columns), f"{caption}\n{frame.round(digits).to_string()}")
