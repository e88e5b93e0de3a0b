"""The map: where overconfidence falls tenfold, over the teacher's calibration and tau. A live figure, a table, a still picture, sentences.

It words and draws surveys (:class:`mixkd.claims.Survey`). Its script draws the same words and numbers; nothing is computed twice.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mixkd.figures import theme
from mixkd.figures.explorer import block
from mixkd.figures.markup import CALIBRATIONS, SIGNS, Html, absent, data_name, number
from mixkd.studies import Cell

if TYPE_CHECKING:
    from mixkd.claims import Model, Reading, Survey, Trade
    from mixkd.measure.statistics import Interval

Question = Literal["overconfidence", "propagation", "trade-off"]
QUESTIONS: Mapping[str, str] = {
    "overconfidence": "against the plain student",
    "propagation": "against its teacher",
    "trade-off": "along τ",
}
COLUMNS = CALIBRATIONS
"""The teacher's calibration, across, in words."""
STUDENTS: Mapping[str, str] = {"kd_mixup": "distilled on mixup", "kd": "distilled without blends"}
STEPS: tuple[tuple[float, str, str], ...] = (
    (0, "#7f3b08", "#fff"), (1, "#b35806", "#fff"), (2, "#f1a340", "#111"), (5, "#fde0b6", "#111"),
    (10, "#cfe3f3", "#111"), (20, "#5aa0cf", "#111"), (50, "#1f5f99", "#fff"),
)  # fmt: skip
"""From which ratio on a cell has which colour, and that of its text: brown below ten, blue from ten on, darker away from it."""
MARKED = "the authors’ public teachers, by confidence minus accuracy"
TITLE = "How many times does overconfidence fall?"
PREMISES: Mapping[str, str] = {
    "P3": "the plain student is not overconfident enough for a tenfold fall to show",
    "P6": "the teacher may know the students’ training images by heart",
}


class Map:
    """What `map_of` returns: shows itself in a notebook and on the page.

    Attributes:
        surveys: a tab each.
        question: what the right side shows first, a key of :data:`QUESTIONS`.
        name: names the figure in the address of the page, ``#name.cell=...``.
    """

    def __init__(self, surveys: Sequence[Survey], question: Question, name: str, marks: Mapping[str, float]) -> None:
        self.surveys, self.question, self.name, self.marks = tuple(surveys), question, name, dict(marks)

    def _repr_html_(self) -> str:
        meta = {
            "name": self.name, "title": TITLE, "question": self.question, "questions": QUESTIONS, "columns": COLUMNS, "students": STUDENTS,
            "steps": STEPS, "looks": {arm: asdict(theme.look(arm)) for arm in ("ce", "kd", "kd_mixup", "teacher")},
            "rows": max(len(taus(survey)) for survey in self.surveys), "marked": MARKED,
            "tabs": [_tab(survey) | {"marks": place(survey, self.marks)} for survey in self.surveys],
        }  # fmt: skip
        return block("map", meta, self._fallback())

    def _fallback(self) -> str:
        still, tables = map_svg(self.surveys[0], alone=False), "".join(map(table, self.surveys))
        return (
            f'<figure class="mixkd-fallback">{still}{tables}<figcaption>Times less overconfident than the plain '
            "student, with 95 % intervals over seeds and test images. With JavaScript each cell opens its students.</figcaption></figure>"
        )

    def __repr__(self) -> str:
        return f"<map of {', '.join(survey.profile.name for survey in self.surveys)}>"


def map_of(
    surveys: Iterable[Survey],
    *,
    question: Question = "overconfidence",
    first: str = "",
    name: str = "map",
    marks: Mapping[str, float] | None = None,
) -> Map | Html:
    """Return the live map: a cell for each calibration of the teacher and each tau, and what its students do.

    Args:
        surveys: of :func:`mixkd.claims.survey`, a tab each, in this order.
        question: what stands beside the map first: the plain student's bars, the teacher's, or the sweep of tau.
        first: profile whose tab is open first; by default the first survey's.
        name: lower-case letters; maps of one page need different ones.
        marks: other teachers by name, with their confidence minus accuracy on test data: where they would stand on the axis.

    Returns:
        The map, or a sentence where there is no survey.

    Raises:
        ValueError: for an unknown question.
    """
    if question not in QUESTIONS:
        raise ValueError(f"question = {question!r}: must be one of {', '.join(QUESTIONS)}")
    found = sorted(surveys, key=lambda survey: survey.profile.name != first)
    if not found:
        return absent("No map: no plain student is in this store. mixkd reproduce --study map trains what it shows.")
    return Map(found, question, name, marks or {})


# --- words --------------------------------------------------------------------------------------------------------------


def times(ratio: float) -> str:
    """Format a ratio with two digits ("9.9", "14"), rounded towards one at ten, so that rounding crosses no threshold."""
    return f"{ratio:.0f}" if ratio >= 10 else f"{min(ratio, 9.9):.1f}"


def fall(ratio: float) -> str:
    """How many times less overconfident, or more."""
    if 0.95 < ratio < 1.05:
        return "as overconfident"
    return f"{times(ratio)} times less overconfident" if ratio > 1 else f"{times(1 / ratio)} times more overconfident"


def bounds(low: float, high: float, ratio: float) -> str:
    """Format the interval of a ratio, in the direction of :func:`fall`."""
    if low >= 1 or high <= 1 or 0.95 < ratio < 1.05:
        one, other = (low, high) if ratio >= 0.95 else (1 / high, 1 / low)
        return f"{times(one)} to {times(other)}"
    return f"{times(1 / low)} times more to {times(high)} times less"


def interval_of(reading: Reading) -> str:
    """Format the interval of a reading's ratio."""
    return bounds(10**reading.ratio.low, 10**reading.ratio.high, 10**reading.ratio.estimate)


def points(value: float) -> str:
    """Format a difference of accuracies in points, with its sign."""
    return number(100 * value, 1, sign=True)


def sharpness(temperature: float) -> str:
    """Say in words how sharp a model is, given the temperature it needs."""
    if 0.95 < temperature < 1.05:
        return "calibrated"
    return f"{times(temperature)} times too sharp" if temperature > 1 else f"{times(1 / temperature)} times too soft"


def words(reading: Reading) -> dict[str, str]:
    """Return the words on a reading, the same in the table, in a cell and beside the map.

    Returns:
        ``head``, ``interval``, ``gain``, ``verdict``, ``sign``, ``short``, ``needs``; where nothing was run, ``head`` and ``short`` alone.
    """
    if reading.model is None:
        return {"head": "Not run", "short": "not run"}
    ratio, n = 10**reading.ratio.estimate, len(reading.model.seeds)
    interval = "no interval" if math.isnan(reading.ratio.low) else f"95 % interval {interval_of(reading)}"
    return {
        "head": fall(ratio), "interval": f"{interval}, {'one seed' if n == 1 else f'{n} seeds'}", "short": f"{times(ratio)}×",
        "gain": f"{points(reading.gain.estimate)} points of accuracy{_between(reading.gain)}",
        "sign": SIGNS[reading.as_stated], "verdict": _verdict(reading, ratio),
        "needs": _temperature(reading.needs) if reading.needs.n else "",
    }  # fmt: skip


def _verdict(reading: Reading, ratio: float) -> str:
    """Return the outcome of claim (e) in a cell, as a sentence."""
    word = reading.as_stated
    why = next((PREMISES[name] for name in reading.why if name in PREMISES), "")
    if word == "supported":
        simpler = {
            "supported": ", and no simpler explanation does as well", "not supported": ", but a simpler explanation does as well",
            None: "",
        }.get(reading.attributed, "; whether a simpler explanation does as well is open")  # fmt: skip
        return f"Tenfold{simpler}."
    if word == "premise not met":
        return f"Cannot be tested here: {why}." if why else "Cannot be tested here."
    bought = "it is underconfident instead" if reading.underconfident else "its NLL is not lower than the plain student’s"
    if word == "not supported":
        return f"Does not count: {bought}." if reading.bought else "Short of tenfold." if ratio < 10 else "Not tenfold by the rule."
    if word == "not run":
        return "One seed: no verdict."
    return f"Undecided: {why}." if why else "Undecided: too few seeds or test images to tell."


def _between(interval: Interval) -> str:
    return "" if math.isnan(interval.low) or interval.low == interval.high else f" ({points(interval.low)} to {points(interval.high)})"


def _temperature(log: Interval) -> str:
    own, low, high = (number(math.exp(value), 2) for value in (log.estimate, log.low, log.high))
    return own if math.isnan(log.low) else f"{own} ({low} to {high})"


def claims_of(model: Model) -> str:
    """How often a model is right, and how often it says it is."""
    return f"right {number(100 * model.accuracy, 0)} %, claims {number(100 * model.confidence, 0)} %"


def label(survey: Survey) -> str:
    """Return the text on a tab."""
    return data_name(survey.profile.name)


def tau_word(tau: float | str) -> str:
    return tau if isinstance(tau, str) else f"{tau:g}"


def place(survey: Survey, marks: Mapping[str, float]) -> list[tuple[str, float]]:
    """Where teachers would stand on the axis of calibration, 0 to 1 from left to right, by their confidence minus accuracy.

    The middle of a column is where the profile's own default teacher has it; between two columns places are linear. Empty where those
    teachers are not all there, or do not get softer from left to right.
    """
    model = survey.profile.default_teacher
    ours = [survey.teachers[model, name].gap for name in COLUMNS if (model, name) in survey.teachers]
    if len(ours) < len(COLUMNS) or sorted(ours, reverse=True) != ours:
        return []
    middles = [(i + 0.5) / len(ours) for i in range(len(ours))]
    at = {name: float(np.interp(gap, ours[::-1], middles[::-1])) for name, gap in marks.items()}
    return sorted(((name, _short(where)) for name, where in at.items()), key=lambda pair: pair[1])


def taus(survey: Survey) -> list[str]:
    """Return the rows of a map from top to bottom: logits divided by their own spread, then tau from large to small."""
    found = dict.fromkeys(cell.tau for _, cell in survey.readings)
    numbers = sorted((tau for tau in found if not isinstance(tau, str)), reverse=True)
    return [*(str(tau) for tau in found if isinstance(tau, str)), *map(tau_word, numbers)]


# --- what the script gets -----------------------------------------------------------------------------------------------


def _tab(survey: Survey) -> dict[str, Any]:
    profile = survey.profile
    cells: dict[str, dict[str, Any]] = {}
    for (arm, cell), reading in survey.readings.items():
        cells.setdefault(_key(cell), {})[arm] = _entry(reading)
    models = list(dict.fromkeys(cell.teacher for _, cell in survey.readings))
    return {
        "key": profile.name, "label": label(survey), "title": profile.title, "teachers": models, "taus": taus(survey),
        "paper": _key(profile.paper_cell), "plain": _bars(survey.plain), "rival": _entry(survey.rival), "cells": cells,
        "schools": {f"{model}~{calibration}": _bars(found) for (model, calibration), found in survey.teachers.items()},
        "trades": {"~".join(column): _traded(trade) for column, trade in survey.trades.items()},
    }  # fmt: skip


def _key(cell: Cell) -> str:
    return f"{cell.teacher}~{cell.calibration}~{tau_word(cell.tau)}"


def _entry(reading: Reading) -> dict[str, Any]:
    said = words(reading)
    if reading.model is None:
        return said | {"command": reading.command}
    found = said | _bars(reading.model) | {"step": step(10**reading.ratio.estimate), "bought": reading.bought}
    return found | ({"taught": {str(seed): _short(value) for seed, value in reading.taught.items()}} if reading.taught else {})


def _bars(model: Model) -> dict[str, Any]:
    """Bars as [share, confidence, accuracy] of each bin; seeds as [seed, accuracy, gap, temperature]."""
    rows = zip(model.share, model.bar_confidence, model.bar_accuracy, strict=True)
    return {
        "bars": [[_short(value) for value in row] for row in rows],
        "seeds": [[seed, *map(_short, values)] for seed, values in sorted(model.seeds.items())],
        "at": [_short(model.gap), _short(model.accuracy)],
        "temperature": _short(model.temperature), "sharp": sharpness(model.temperature), "claims": claims_of(model),
    }  # fmt: skip


def _traded(trade: Trade) -> list[str]:
    """Say what the sweep of tau does, in three lines."""
    between = _between(trade.accuracy).strip(" ()")
    return [
        f"τ {trade.low:g} → {trade.high:g}: accuracy {points(trade.accuracy.estimate)} points",
        f"95 % interval {between}" if between else "one seed, no interval",
        f"confidence − accuracy {points(trade.gap.estimate)}{_between(trade.gap)}",
    ]


def _short(value: float) -> float:
    return round(float(value), 4)


def step(ratio: float) -> int:
    """Which of :data:`STEPS` a ratio lies on."""
    return max(i for i, (low, _, _) in enumerate(STEPS) if ratio >= low)


# --- without scripts ----------------------------------------------------------------------------------------------------


def table(survey: Survey) -> str:
    """Every cell that was run, as a table: ratio, interval, accuracy, underconfident part, the word of the claim."""
    head = (
        "student", "teacher", "its calibration", "τ", "less overconfident", "95 % interval", "accuracy, points",
        "underconfident part, points", "claim (e)",
    )  # fmt: skip
    places: list[tuple[tuple[str, ...], Reading]] = [(("one temperature after training", "–", "–", "–"), survey.rival)]
    for (arm, cell), reading in sorted(survey.readings.items(), key=lambda item: list(STUDENTS).index(item[0][0])):
        places.append(((STUDENTS[arm], cell.teacher, COLUMNS[cell.calibration], tau_word(cell.tau)), reading))
    body = ""
    for place, reading in places:
        if reading.model is None:
            continue
        said = words(reading)
        interval = "one seed" if math.isnan(reading.ratio.low) else interval_of(reading)
        gain = f"{points(reading.gain.estimate)}{_between(reading.gain)}"
        row = (*place, said["short"], interval, gain, number(100 * reading.model.under, 1), f"{said['sign']} {said['verdict']}")
        body += "<tr>" + "".join(f"<td>{html.escape(value)}</td>" for value in row) + "</tr>"
    titles = "".join(f'<th scope="col">{title}</th>' for title in head)
    caption = (
        f"{label(survey)}: {survey.profile.title}. The plain student is {claims_of(survey.plain)}. Cells that were not run are left out."
    )
    return (
        f'<div class="mixkd-scroll" tabindex="0" role="region" aria-label="the map of {html.escape(label(survey))} as a table">'
        f'<table class="mixkd-numbers"><caption>{html.escape(caption)}</caption>'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def map_svg(survey: Survey, *, alone: bool = True) -> str:
    """Return the map of the default teacher's students distilled on mixup as an SVG.

    Args:
        survey: what it shows.
        alone: whether it is a file of its own, readable on light and on dark pages; else it takes the page's colour of text.
    """
    model, rows = survey.profile.default_teacher, taus(survey)
    left, top, wide, tall = 70, 58, 104, 40
    width, height = left + 4 * wide + 12, top + tall * len(rows) + 74
    by_key = {_key(cell): reading for (arm, cell), reading in survey.readings.items() if arm == "kd_mixup"}
    parts = [f'<text x="{left}" y="20" font-size="16" font-weight="700">{TITLE}</text>']
    parts.append(
        f'<text x="{left}" y="36" class="soft">times less overconfident than the plain student; {html.escape(label(survey))}</text>'
    )
    for i, (calibration, name) in enumerate(COLUMNS.items()):
        x = left + wide * i
        parts.append(f'<text x="{x + wide / 2:g}" y="{top - 6}" text-anchor="middle" class="soft">{name}</text>')
        for j, tau in enumerate(rows):
            parts.append(_square(by_key.get(f"{model}~{calibration}~{tau}"), x, top + tall * j, wide - 4, tall - 4))
    for j, tau in enumerate(rows):
        parts.append(f'<text x="{left - 10}" y="{top + tall * j + tall / 2 + 3:g}" text-anchor="end">τ {tau}</text>')
    base = top + tall * len(rows)
    parts.append(f'<text x="{left + 2 * wide}" y="{base + 14}" text-anchor="middle">the teacher’s calibration</text>')
    parts.append(_legend(left, base + 28, width - left - 12))
    style = (
        "<style>text{fill:#3b4452}.soft{fill:#5c6673}.none{fill:none;stroke:#7d848e}@media(prefers-color-scheme:dark){text{fill:#dde2e8}"
        ".soft{fill:#a9b3bf}}text.in{fill:inherit}</style>" if alone else "<style>.mixkd-fallback text.in{fill:inherit}</style>"
    )  # fmt: skip
    ink = "" if alone else ' fill="currentColor"'
    said = "; ".join(f"τ {cell.tau}, {COLUMNS[cell.calibration]}: {words(r)['short']}" for (arm, cell), r in survey.readings.items()
                     if arm == "kd_mixup" and cell.teacher == model and r.model is not None)  # fmt: skip
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img"{ink} '
        f'font-family="{theme.FONT}" font-size="12" aria-label="{html.escape(f"{TITLE} {said}", quote=True)}">{style}'
        '<defs><pattern id="bought" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="2" height="7" fill="#111" fill-opacity=".45"/></pattern></defs>{"".join(parts)}</svg>'
    )


def _square(reading: Reading | None, x: float, y: float, wide: float, tall: float) -> str:
    middle = f'x="{x + wide / 2:g}" y="{y + tall / 2 + 5:g}" text-anchor="middle"'
    box = f'<rect x="{x:g}" y="{y:g}" width="{wide:g}" height="{tall:g}" rx="4"'
    if reading is None or reading.model is None:
        return f'{box} fill="#7d848e" fill-opacity=".14"/><text {middle} class="soft">not run</text>'
    _, color, ink = STEPS[step(10**reading.ratio.estimate)]
    hatch = (
        f'{box} fill="url(#bought)"/><rect x="{x + wide / 2 - 34:g}" y="{y + 8:g}" width="68" height="{tall - 16:g}" fill="{color}"/>'
        if reading.bought
        else ""
    )
    said = words(reading)
    return (
        f'{box} fill="{color}"/>{hatch}<g fill="{ink}"><text {middle} class="in" font-size="15" font-weight="700">'
        f"{said['short']} {said['sign']}</text></g>"
    )


def _legend(x: float, y: float, width: float) -> str:
    each, out = width / len(STEPS), ""
    for i, (low, color, _) in enumerate(STEPS):
        name = f"{low:g}×" if i else "more"
        out += f'<rect x="{x + each * i:.1f}" y="{y}" width="{each:.1f}" height="10" fill="{color}"/>'
        out += f'<text x="{x + each * i:.1f}" y="{y + 24}" class="soft">{name}</text>'
    out += f'<path d="M{x + each * step(10):.1f} {y - 4}v18" stroke="#7d848e" stroke-width="2"/>'
    note = "✓ tenfold by the claim’s rule; hatched: underconfident, or NLL not lower"
    return out + f'<text x="{x}" y="{y + 41}" class="soft" font-size="11">{note}</text>'
