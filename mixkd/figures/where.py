"""Where a claim holds: its rows of the map as cells coloured by word, and the sentence that counts them."""

from __future__ import annotations

import html
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from mixkd.figures.markup import CALIBRATIONS, SIGNS, Html, absent, data_name
from mixkd.figures.panels import said, unit_of


def holds_in(rows: Iterable[Any]) -> str:
    """Return the sentence "Holds in 3 of 14 settings of digits; 2 are undecided", for each profile of the rows.

    Args:
        rows: of :func:`mixkd.claims.across`, of one claim.
    """
    given = list(rows)
    sentences = []
    for profile in dict.fromkeys(row.profile for row in given):
        own, name = [row for row in given if row.profile == profile], data_name(profile)
        counted = Counter(row.as_stated for row in own)
        if counted["not run"] == len(own):
            sentences.append(f"Not run on {name}.")
            continue
        if len(own) == 1:
            sentences.append(f"On {name} it {_DOES[own[0].as_stated]}.")
            continue
        *most, last = [f"{_DOES[word]} in {counted[word]}" for word in list(_DOES)[1:] if counted[word]] or [""]
        rest = f"; it {' and '.join([', '.join(most), last] if most else [last])}" if last else ""
        sentences.append(f"The claim holds in {counted['supported'] or 'none'} of {len(own)} settings of {name}{rest}.")
    return " ".join(sentences)


_DOES = {
    "supported": "holds", "depends": "depends", "not supported": "fails", "unresolved": "is undecided",
    "premise not met": "cannot be tested", "not run": "is not run",
}  # fmt: skip
"""What a claim does in a cell, by the word of its verdict."""


def where(rows: Iterable[Any]) -> Html:
    """Return the cells of a claim: a table for each profile and teacher, its calibrations across and tau down, coloured by word.

    Under it stands the command that trains the cells that were not run. A cell shows its primary estimate; its words are read out.

    Args:
        rows: of :func:`mixkd.claims.across`, of one claim.
    """
    given = list(rows)
    if not given:
        return absent("No profile has records of this claim here.")
    sentence = holds_in(given)
    run = dict.fromkeys(row.profile for row in given if row.as_stated != "not run")
    by_profile = [[row for row in given if row.profile == name] for name in run]
    tables = "".join(_profile(own) for own in by_profile if len(own) > 1)
    commands = dict.fromkeys(_command(row, whole=row.profile not in run) for row in given if row.as_stated == "not run" and row.command)
    lines = "".join(f"<li><code>{html.escape(command)}</code></li>" for command in commands)
    waiting = f'<p class="mixkd-source">What was not run:</p><ul class="mixkd-source">{lines}</ul>' if lines else ""
    named = next((row for row in given if row.what), None)
    unit = f" A number is the primary estimate, in {unit_of(named).axis}; what it counts stands with the verdict." if named else ""
    drawn = [row for row in given if row.profile in run]
    key = " ".join(f'<span class="mixkd-key mixkd-{word.replace(" ", "-")}">{SIGNS[word]} {word}</span>' for word in _words(drawn))
    markup = (
        f'<style>{STYLE}</style><div class="mixkd-where" tabindex="0" role="region" aria-label="where the claim holds">'
        f"<p>{html.escape(sentence)}</p>{tables}"
        + (f'<p class="mixkd-source">{key}{html.escape(unit)}</p>' if tables else "")
        + f"{waiting}</div>"
    )
    text = [sentence, *(f"{_place(row)}: {row.as_stated}, {said(row)}" for row in given), *commands]
    return Html(markup, "\n".join(text))


def _command(row: Any, *, whole: bool) -> str:
    """Return the command that trains a cell, or its whole profile if nothing of that was run."""
    return re.sub(r" --study \S+", "", row.command) if whole else str(row.command)


def _words(rows: Sequence[Any]) -> list[str]:
    there = {row.as_stated for row in rows}
    return [word for word in SIGNS if word in there]


def _place(row: Any) -> str:
    tau = f"τ {row.tau}" if row.tau is not None else ""
    parts = [data_name(row.profile), row.teacher or "", CALIBRATIONS.get(row.calibration or "", ""), tau]
    return ", ".join(part for part in parts if part)


def _profile(rows: Sequence[Any]) -> str:
    """One table: a line for each teacher and tau, a column for each calibration of the teacher."""
    columns = [name for name in CALIBRATIONS if any(row.calibration == name for row in rows)]
    body = ""
    cells = Counter(row.teacher for row in rows)
    lines = sorted({(row.teacher, row.tau): None for row in rows}, key=lambda line: (-cells[line[0]], _last(line[1])))
    for teacher, tau in lines:
        own = {row.calibration: row for row in rows if (row.teacher, row.tau) == (teacher, tau)}
        name = str(teacher) if tau is None else f"{teacher}, τ {tau:g}" if not isinstance(tau, str) else f"{teacher}, τ {tau}"
        found = "".join(_cell(own[column]) if column in own else "<td></td>" for column in columns)
        body += f'<tr><th scope="row">{html.escape(name)}</th>{found}</tr>'
    head = "".join(f'<th scope="col">{CALIBRATIONS[column]}</th>' for column in columns)
    caption = f"{data_name(rows[0].profile)}: the teacher’s calibration across"
    return (
        f'<table class="mixkd-cells"><caption>{html.escape(caption)}</caption><thead><tr><th scope="col">teacher</th>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def _last(tau: Any) -> float:
    """Where a tau stands in a column: "std" at the end."""
    return math.inf if isinstance(tau, str) else float(tau or 0)


def _cell(row: Any) -> str:
    """Render a cell: its sign, and the estimate if there is one."""
    shown = unit_of(row).say(unit_of(row).shown(row.estimate)).split(" ")[0] if math.isfinite(row.estimate) else ""
    seeds = f", {row.n} seeds" if row.n else ""
    title = f"{_place(row)}: {row.as_stated} as stated, {row.attributed} when attributed; {said(row)}{seeds}"
    kind = row.as_stated.replace(" ", "-")
    sign = f'<span aria-hidden="true">{SIGNS[row.as_stated]}</span><span class="mixkd-hidden">{row.as_stated} </span>'
    return f'<td class="mixkd-{kind}" title="{html.escape(title)}">{sign} {shown}</td>'


STYLE = (
    ".mixkd-where table.mixkd-cells{border-collapse:separate;border-spacing:3px;margin:.3rem 0 .6rem;font-size:.875em;width:auto}"
    ".mixkd-where .mixkd-cells caption{caption-side:top;text-align:left;padding:0;color:var(--pst-color-text-muted,#666)}"
    ".mixkd-where .mixkd-cells :is(th,td){border:0;padding:.2em .6em;font-weight:400;text-align:left}"
    ".mixkd-where .mixkd-cells tbody th{white-space:nowrap}"
    ".mixkd-where .mixkd-cells thead th{color:var(--pst-color-text-muted,#666)}"
    ".mixkd-where td[class],.mixkd-key{color:var(--badge,inherit);background:color-mix(in srgb,var(--badge,#888) 16%,transparent);"
    "border-radius:4px;font-weight:600!important;white-space:nowrap;print-color-adjust:exact}"
    ".mixkd-key{padding:.1em .5em;margin-right:.4em;border:0}"
    ".mixkd-hidden{position:absolute;clip-path:inset(50%);width:1px;overflow:hidden;white-space:nowrap}"
    ".mixkd-where{overflow-x:auto}.mixkd-where ul{margin:0 0 .6rem}"
    "@media(max-width:600px){.mixkd-where .mixkd-cells :is(th,td){padding:.2em .35em}.mixkd-where .mixkd-cells{font-size:.8em}}"
)
