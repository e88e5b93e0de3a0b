"""What stands where a figure would: a sentence, when the records or splits behind it are not there.

It draws what can be drawn of a frame; it refuses to hide why the rest is missing.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixkd.figures.intervals import effects, intervals
from mixkd.figures.markup import Html, in_words
from mixkd.figures.plot import Plot
from mixkd.figures.table import table

ABSENT = 'class="mixkd-absent"'
"""What marks the HTML of such a sentence, so that a program can tell a page that lacks records."""


def absent(words: str) -> Html:
    """A sentence in the place of a figure."""
    return Html(f"<p {ABSENT}><em>{html.escape(words)}</em></p>", words)


def intervals_if(frame: pd.DataFrame, metric: str, *, otherwise: str, scaled: bool = False, **options: Any) -> Plot | Html:
    """:func:`intervals` of the rows that have the metric, or a sentence.

    Args:
        frame, metric, scaled, options: as in :func:`intervals`.
        otherwise: what to say when the column is not there, holds no finite value, or nothing stands beside the baseline.
    """
    columns = [metric, f"ts_{metric}"] if scaled else [metric]
    rows = _finite(frame, columns)
    baseline, by = options.get("baseline"), options.get("by", "arm")
    lone = baseline is not None and not {baseline} < set(rows[by] if len(rows) else ())
    return absent(otherwise) if rows.empty or lone else intervals(rows, metric, scaled=scaled, **options)


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
    table = pd.DataFrame({"name": names, **{to: 100 * changes[of].to_numpy() for to, of in _EFFECT.items()}})
    return effects(table, unit="difference, points")


_EFFECT = {"effect": "estimate", "low": "low", "high": "high"}


def table_if(frame: pd.DataFrame, columns: Sequence[str], *, otherwise: str, **options: Any) -> Html:
    """:func:`table` of the columns that are there, over the rows that have them all, or a sentence.

    Args:
        frame, columns, options: as in :func:`table`.
        otherwise: what to say when nothing is left.
    """
    there = [column for column in columns if column in frame and np.isfinite(frame[column]).any()]
    rows = _finite(frame, there)
    return absent(otherwise) if rows.empty or not there else table(rows, there, **options)


def _finite(frame: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    if any(column not in frame for column in columns):
        return frame.iloc[:0]
    return frame.loc[np.isfinite(frame[list(columns)].to_numpy(dtype=float)).all(axis=1)]
