"""A student compared with its own teacher and with teachers it never saw: agreement and copied errors.

No rate stands without the independent one beside it. On a blend, either image's class is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from plotly.subplots import make_subplots
from torch import Tensor
from torch.nn.functional import one_hot

from mixkd.figures import theme
from mixkd.figures.intervals import dot, over
from mixkd.figures.plot import Plot, entries, grey, required
from mixkd.measure import fidelity
from mixkd.measure.statistics import t_interval

INPUTS = ("clean", "mixed")
MEASURES = ("agreement", "copied errors")
_HALVES = (("own", 0.1, "its teacher"), ("other", -0.16, "teachers it never saw"))
_ENDS = ("mean", "low", "high")

READING = (
    "Filled, the student with its own teacher; hollow, with teachers trained like it from other seeds, which the "
    "student never saw. Bars are 95 % t intervals over seeds. The distance from hollow to filled is what this "
    "teacher passed on; the hollow marker alone is what any two networks share. The dotted line is one teacher "
    "with another."
)


def imitation_rates(student: Any, teacher: Any, strangers: Sequence[Any]) -> list[dict[str, Any]]:
    """Agreement and copied errors of a student with its teacher and with strangers, on clean images and on blends of two classes.

    Args:
        student, teacher, strangers: records (:class:`mixkd.records.Record`) with the same test images and probe.

    Returns:
        Four rows with arm, seed, inputs ("clean", "mixed"), measure ("agreement", "copied errors"), ``own`` and ``other``
        (the mean over strangers). Both rates of copied errors are taken on the same inputs: those on which student,
        teacher and stranger are wrong; a blend is answered wrongly by a class of neither image. nan where there is
        none, and ``own`` on all errors of the two where there is no stranger.
    """
    found = []
    for inputs in INPUTS:
        (said, marked, labels), (taught, taught_marked, _) = (_answers(record, inputs) for record in (student, teacher))
        far = [_answers(record, inputs) for record in strangers]
        agreed = [fidelity.agreement(said, other[0]).agreement for other in far]
        copied = fidelity.copied_errors(marked, taught_marked, labels, [other[1] for other in far])
        head = {"arm": student.spec.arm, "seed": student.spec.seed, "inputs": inputs}
        own = float(copied.paired_rate.nanmean()) if far else copied.rate
        agreement = {"own": fidelity.agreement(said, taught).agreement, "other": float(np.mean(agreed)) if far else np.nan}
        errors = {"own": own, "other": float(copied.paired_chance.nanmean())}
        found += [{**head, "measure": measure, **rates} for measure, rates in zip(MEASURES, (agreement, errors), strict=True)]
    return found


def imitation(frame: pd.DataFrame, *, yardstick: pd.DataFrame | None = None) -> Plot:
    """Draw one row for each arm, a panel for each measure and kind of input.

    Args:
        frame: rows of :func:`imitation_rates`.
        yardstick: rows of :func:`imitation_rates` for one teacher with another; the mean of ``own`` is drawn.

    Raises:
        ValueError: for a column that is not there, or an empty frame.
    """
    required(frame, ["arm", "seed", "inputs", "measure", "own", "other"], "student")
    arms, rows = theme.order(list(frame["arm"])), len(MEASURES)
    titles = [theme.text(f"{measure}, {inputs}") for measure in MEASURES for inputs in INPUTS]
    figure = make_subplots(rows=rows, cols=2, subplot_titles=titles, horizontal_spacing=0.06, vertical_spacing=0.42 / (rows + 1))
    table: list[dict[str, Any]] = []
    for row, measure in enumerate(MEASURES, start=1):
        for side, inputs in enumerate(INPUTS, start=1):
            panel, here = {"row": row, "col": side}, {"measure": measure, "inputs": inputs}
            own = _of(frame, measure, inputs)
            for place, arm in enumerate(reversed(arms)):
                look = theme.look(arm)
                for which, shift, words in _HALVES:
                    values = own.loc[own["arm"] == arm, which].to_numpy(dtype=float)
                    found = t_interval(values[np.isfinite(values)])
                    if not found.n:
                        continue
                    ends, hover = (found.estimate, found.low, found.high), f"{theme.text(look.label)} with {words}: %{{x:.3f}}"
                    figure.add_trace(dot(ends, place + shift, look, hollow=which == "other", hover=hover, size=10), **panel)
                    table.append({**here, "arm": look.label, "with": words, **dict(zip(_ENDS, ends, strict=True)), "seeds": found.n})
                if side == 1:
                    n = 2 * row - 1 if row > 1 else ""
                    over(figure, theme.text(look.label), place, xref=f"x{n} domain", yref=f"y{n}", yshift=18, font={"size": 11})
            level = _of(yardstick, measure, inputs)["own"].mean() if yardstick is not None and len(yardstick) else np.nan
            if np.isfinite(level):
                figure.add_vline(x=level, line=grey(), **panel)
                ends = (level, np.nan, np.nan)
                table.append({**here, "arm": "teacher", "with": "another teacher", **dict(zip(_ENDS, ends, strict=True)), "seeds": None})
    entries(figure, {"circle": "with its own teacher", "circle-open": "with teachers it never saw"})
    height = 130 + rows * (70 + 46 * len(arms))
    figure.update_layout(theme.layout(height=height, legend={"y": 1 + 40 / height}, margin={"l": 12, "r": 12, "t": 96, "b": 44}))
    figure.update_yaxes(visible=False, range=[-0.5, len(arms) - 0.15])
    figure.update_xaxes(nticks=5, tickformat=".2f", zeroline=False)
    for note in figure.layout.annotations[: len(titles)]:
        note.update(font={"size": 12.5}, yshift=6)
    label = f"{' and '.join(MEASURES)} with the own teacher and with independent ones"
    return Plot(figure, label=label, reading=READING, table=pd.DataFrame(table))


def _of(frame: pd.DataFrame, measure: str, inputs: str) -> pd.DataFrame:
    return frame[(frame["measure"] == measure) & (frame["inputs"] == inputs)]


def _answers(record: Any, inputs: str) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, answers in which everything right is the label (as logits too), and labels; all (N, ...)."""
    if inputs == "clean":
        return record.logits(), record.logits(), record.labels()
    probe = record.probe
    crossing = ~probe.same_class
    inner, labels = probe.logits[1:-1, crossing], probe.labels[crossing]
    said = inner.argmax(-1)
    said = torch.where(said == labels[:, 1], labels[:, 0], said)  # either image's class is right
    return inner.flatten(0, 1), one_hot(said.flatten(), inner.shape[-1]).double(), labels[:, 0].repeat(len(inner))
