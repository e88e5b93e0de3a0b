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
from mixkd.figures.plot import Plot
from mixkd.measure import fidelity
from mixkd.measure.statistics import t_interval
from mixkd.spec import nearest

INPUTS = ("clean", "mixed")
_HALVES = (("own", 0.1, "with its teacher"), ("other", -0.16, "with teachers it never saw"))

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
        found += [
            {
                **head,
                "measure": "agreement",
                "own": fidelity.agreement(said, taught).agreement,
                "other": float(np.mean(agreed)) if far else np.nan,
            },
            {**head, "measure": "copied errors", "own": own, "other": float(copied.paired_chance.nanmean())},
        ]
    return found


def imitation(
    frame: pd.DataFrame,
    measures: Sequence[str] = ("agreement", "copied errors"),
    *,
    yardstick: pd.DataFrame | None = None,
) -> Plot:
    """Draw one row for each arm, a panel for each measure and kind of input.

    Args:
        frame: rows of :func:`imitation_rates`.
        measures: the values of ``measure`` to draw, one row of panels each.
        yardstick: rows of :func:`imitation_rates` for one teacher with another; the mean of ``own`` is drawn.

    Raises:
        ValueError: for a column that is not there, or an empty frame.
    """
    for column in ("arm", "seed", "inputs", "measure", "own", "other"):
        if column not in frame:
            raise ValueError(f"column {column!r} is not in the frame{nearest(column, map(str, frame.columns))}")
    if frame.empty:
        raise ValueError("the frame is empty: no student to draw")
    arms = theme.order(list(frame["arm"]))
    titles = [theme.text(f"{measure}, {inputs}") for measure in measures for inputs in INPUTS]
    rows = len(measures)
    figure = make_subplots(
        rows=rows,
        cols=2,
        subplot_titles=titles,
        shared_xaxes=False,
        horizontal_spacing=0.06,
        vertical_spacing=0.42 / (rows + 1),
    )
    table = []
    for row, measure in enumerate(measures, start=1):
        for side, inputs in enumerate(INPUTS, start=1):
            own = frame[(frame["measure"] == measure) & (frame["inputs"] == inputs)]
            for place, arm in enumerate(reversed(arms)):
                for which, shift, words in _HALVES:
                    values = own.loc[own["arm"] == arm, which].to_numpy(dtype=float)
                    interval = t_interval(values[np.isfinite(values)])
                    if not interval.n:
                        continue
                    look, hollow = theme.look(arm), which == "other"
                    half = interval.high - interval.estimate
                    figure.add_scatter(
                        x=[interval.estimate],
                        y=[place + shift],
                        mode="markers",
                        name=theme.text(look.label),
                        showlegend=False,
                        marker={
                            "symbol": look.symbol + ("-open" if hollow else ""),
                            "size": 10,
                            "color": look.color,
                            "line": {"width": 2 if hollow else 0},
                        },
                        error_x={"type": "data", "array": [half], "color": look.color, "thickness": 2, "width": 4}
                        if interval.defined
                        else None,
                        hovertemplate=f"{theme.text(look.label)} {words}: %{{x:.3f}}<extra></extra>",
                        row=row,
                        col=side,
                    )
                    table.append(
                        {
                            "measure": measure,
                            "inputs": inputs,
                            "arm": look.label,
                            "with": words.removeprefix("with "),
                            "mean": interval.estimate,
                            "low": interval.low,
                            "high": interval.high,
                            "seeds": interval.n,
                        }
                    )
                if side == 1:
                    figure.add_annotation(
                        x=0,
                        xref="x domain" if row == 1 else f"x{2 * row - 1} domain",
                        xanchor="left",
                        y=place,
                        yshift=18,
                        yref="y" if row == 1 else f"y{2 * row - 1}",
                        text=theme.text(theme.look(arm).label),
                        showarrow=False,
                        font={"size": 11},
                    )
            level = _level(yardstick, measure, inputs)
            if level is not None:
                figure.add_vline(x=level, line={"color": theme.NEUTRAL, "dash": "dot", "width": 1.5}, row=row, col=side)
                table.append(
                    {
                        "measure": measure,
                        "inputs": inputs,
                        "arm": "teacher",
                        "with": "another teacher",
                        "mean": level,
                        "low": np.nan,
                        "high": np.nan,
                        "seeds": None,
                    }
                )
    for symbol, words in (("circle", "with its own teacher"), ("circle-open", "with teachers it never saw")):
        marker = {"symbol": symbol, "size": 10, "color": theme.NEUTRAL}
        figure.add_scatter(x=[None], y=[None], mode="markers", marker=marker, name=words, showlegend=True)
    height = 130 + rows * (70 + 46 * len(arms))
    figure.update_layout(theme.layout(height=height, legend={"y": 1 + 40 / height}, margin={"l": 12, "r": 12, "t": 96, "b": 44}))
    figure.update_yaxes(visible=False, range=[-0.5, len(arms) - 0.15])
    figure.update_xaxes(nticks=5, tickformat=".2f", zeroline=False)
    for note in figure.layout.annotations[: len(titles)]:
        note.update(font={"size": 12.5}, yshift=6)
    return Plot(
        figure,
        label=f"{' and '.join(measures)} with the own teacher and with independent ones",
        reading=READING,
        table=pd.DataFrame(table),
    )


def _level(yardstick: pd.DataFrame | None, measure: str, inputs: str) -> float | None:
    if yardstick is None or yardstick.empty:
        return None
    values = yardstick.loc[(yardstick["measure"] == measure) & (yardstick["inputs"] == inputs), "own"].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else None


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
