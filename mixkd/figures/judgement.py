"""One verdict, shown whole: both words, its premises, every interval it rests on with the region that would pass, and its rule.

No number is judged here: which side of a margin passes is what :class:`mixkd.claims.Comparison` says of itself.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from mixkd.figures.markup import Html, badge, in_words, number, times


class Judged(Protocol):
    """What is read of a verdict, see :class:`mixkd.claims.Verdict`."""

    claim: str
    title: str
    sentence: str
    chapter: str
    profile: str
    as_stated: str
    attributed: str
    stated: Sequence[Any]
    rivals: Sequence[Any]
    shown: Sequence[Any]
    premises: Sequence[Any]
    note: str
    records: Sequence[str]
    missing: int
    command: str
    statistic: str
    rule: str
    alternatives: str


@dataclass(frozen=True)
class Unit:
    """How values of a unit are drawn and said.

    Attributes:
        axis: words under the axis.
        shown: a value as it stands on the axis.
        say: a shown value in words.
        log: whether the axis is logarithmic; the neutral line then lies at 1, else at 0.
        lines: more lines to draw, in shown values.
    """

    axis: str
    shown: Callable[[float], float]
    say: Callable[[float], str]
    log: bool = False
    lines: tuple[float, ...] = ()


def _power(base: float) -> Callable[[float], float]:
    return lambda value: float(base**value) if math.isfinite(value) else math.nan


UNITS: Mapping[str, Unit] = {
    "points": Unit("points", lambda v: 100 * v, lambda v: f"{number(v, 1, sign=True)} points"),
    "ECE": Unit("calibration error (ECE), points", lambda v: 100 * v, lambda v: f"{number(v, 1, sign=True)} points"),
    "share": Unit("per cent", lambda v: 100 * v, lambda v: f"{number(v, 0)} %"),
    "nat": Unit("nats", float, lambda v: f"{number(v, 3, sign=True)} nat"),
    "ratio": Unit("times", float, lambda v: f"{times(v)} times", log=True),
    "log ratio": Unit("times", _power(math.e), lambda v: f"{times(v)} times", log=True),
    "log10 ratio": Unit("times", _power(10.0), lambda v: f"{times(v)} times", log=True, lines=(10.0,)),
    "log temperature": Unit("temperature T*, or ratio of two", _power(math.e), lambda v: number(v, 2), log=True),
}
_PLAIN = Unit("", float, lambda v: number(v, 3))

ANSWERS: Mapping[tuple[str, str], str] = {
    ("supported", "supported"): "Yes, and every simpler explanation tested does worse.",
    ("supported", "not supported"): "Yes as stated, but a simpler explanation does as well.",
    ("supported", "unresolved"): "Yes as stated; whether a simpler explanation does as well is undecided.",
    ("supported", "not run"): "Yes as stated; no simpler explanation was run.",
    ("not supported", "not supported"): "No.",
    ("depends", "depends"): "It depends.",
    ("unresolved", "unresolved"): "Undecided.",
    ("premise not met", "premise not met"): "This data set cannot test it.",
    ("not run", "not run"): "Not run here.",
}
"""What both words of a verdict say together, as stated first."""


def unit_of(comparison: Any) -> Unit:
    """Return how the values of a comparison are drawn and said."""
    return UNITS.get(comparison.unit, _PLAIN)


def said(comparison: Any, *, seeds: bool = False) -> str:
    """Return an estimate with its interval in a reader's unit: "1.4 times (1.2 to 1.5)"."""
    unit = unit_of(comparison)
    if not math.isfinite(comparison.estimate):
        return "no estimate"
    low, high = (unit.say(unit.shown(value)).split(" ")[0] for value in (comparison.low, comparison.high))
    words = f"{unit.say(unit.shown(comparison.estimate))}{f' ({low} to {high})' if math.isfinite(comparison.low) else ''}"
    return f"{words}, {comparison.seeds} seeds" if seeds else words


def needs(comparison: Any) -> str:
    """Return what a comparison must show, in a reader's unit: "more than 10 times", "within ±2.0 points"."""
    return _needs(unit_of(comparison), comparison.kind, comparison.margin)


def _needs(unit: Unit, kind: str, bound: float) -> str:
    margin = re.sub(r"(\.\d*?)0+\b", r"\1", unit.say(unit.shown(bound)).lstrip("+")).replace(". ", " ")
    margin = re.sub(r"^1 points", "1 point", margin)
    if kind == "equivalent":
        return f"between {unit.say(unit.shown(-bound)).split(' ')[0]} and {margin}" if unit.log else f"within ±{margin}"
    if unit.shown(bound) == 0:
        margin = "zero"
    elif unit.log and unit.shown(bound) == 1:
        margin = "one"
    return f"{'more' if kind == 'above' else 'less'} than {margin}"


def finding(judged: Judged, on: str = "") -> Html:
    """Return the short answer of a page: yes, no or why not, and the primary interval with what the claim needs.

    Args:
        judged: the claim's verdict.
        on: what the answer is about, where a page gives more than one.
    """
    reading = ANSWERS.get((judged.as_stated, judged.attributed), f"{judged.as_stated} as stated, {judged.attributed} when attributed.")
    sentences = [f"On {judged.profile}: {reading[0].lower()}{reading[1:]}"]
    first = judged.stated[0] if judged.stated else None
    unmet = [p for p in judged.premises if p.met is not True]
    if judged.as_stated == "not run":
        sentences += [f"{judged.command} trains what it needs."] if judged.command else []
    elif judged.as_stated in ("premise not met", "unresolved") and unmet:
        worst = min(unmet, key=lambda p: p.met is None)
        sentences.append(f"What it presupposes, {in_words(_bare(worst.what))}, is {_premise(worst)}; it needs {_bound(worst)}.")
    elif first is not None and math.isfinite(first.estimate):
        alike = [row for row in judged.stated if row.half and (row.unit, row.kind, row.margin) == (first.unit, "above", first.margin)]
        what = in_words(first.what)
        if len(alike) == len(judged.stated) > 1:  # one for each teacher: the weakest speaks for all
            first = min(alike, key=lambda row: row.estimate)
            what = f"the least of {len(alike)}, {in_words(first.what)}"
        sentences.append(f"{what[0].upper()}{what[1:]}: {said(first)}; the claim needs {needs(first)}.")
        if judged.as_stated == "depends":
            sentences.append(in_words(judged.note.split(". ")[0].rstrip(".")) + ".")
        elif first.outcome != judged.as_stated:
            others = [row for row in judged.stated[1:] if row.outcome == judged.as_stated and math.isfinite(row.estimate)]
            sentences += [f"What decides is another part: {in_words(row.what)}, {said(row)}; it needs {needs(row)}." for row in others[:1]]
    head = f"The short answer{f' on {on}' if on else ''}."
    words = " ".join(sentences)
    return Html(f'<p class="mixkd-answer"><strong>{html.escape(head)}</strong> {html.escape(words)}</p>', words)


def judgement(judged: Judged) -> Html:
    """Return a verdict as the page shows it; it needs no script.

    In sight: both words, the premises with their numbers, and one panel for each unit with every stated comparison and every rival, the
    region that passes shaded. Folded: what else was measured, the rule, the records. Text has the same for where there is no HTML.

    Args:
        judged: see :class:`mixkd.claims.Verdict`.
    """
    reading = ANSWERS.get((judged.as_stated, judged.attributed), "")
    note = _note(judged)
    words = (
        f'<p>As stated: {badge(judged.as_stated)} <span class="mixkd-gap"></span> Attributed: {badge(judged.attributed)}</p>'
        f"<p>On {html.escape(judged.profile)}. {html.escape(reading)} {html.escape(note)}</p>"
    )
    if judged.missing:
        more = f" <code>{html.escape(judged.command)}</code> trains them." if judged.command else ""
        words += f"<p>{judged.missing} of the runs it asks for are not here.{more}</p>"
    premised = "" if judged.as_stated == "not run" else premises(judged.premises)
    shown = ""
    if any(math.isfinite(row.estimate) for row in (*judged.stated, *judged.rivals)):
        shown = panels(judged.stated, "As stated") + panels(judged.rivals, "Against each simpler explanation")
        shown += '<p class="mixkd-source">Dot: estimate; bar: 95 % interval; shaded: where the claim passes.</p>'
    markup = (
        f'<style>{STYLE}</style><div class="mixkd-verdict"><p class="mixkd-claim"><span class="mixkd-letter">({judged.claim})</span> '
        f"{html.escape(judged.sentence)}</p>{words}{premised}{shown}{_folds(judged)}</div>"
    )
    return Html(markup, "\n".join(_text(judged)))


def _note(judged: Judged) -> str:
    """The note in words, without the sentences that the table of premises and the panels already show."""
    note = judged.note
    for part in judged.stated:
        note = note.replace(f"{part.what}: {part.resolving}.", "")
    for p in judged.premises:
        note = re.sub(rf"{re.escape(f'{p.name} ')}(?:fails|is not resolved): {re.escape(p.what)} is .*?, the bound .*?\.(?= |$)", "", note)
    return " ".join(in_words(note).split())


def _text(judged: Judged) -> list[str]:
    rows = [
        (title, row) for title, group in (("stated", judged.stated), ("rival", judged.rivals), ("shown", judged.shown)) for row in group
    ]
    lines = [f"({judged.claim}) {judged.profile}: as stated {judged.as_stated}, attributed {judged.attributed}. {_note(judged)}"]
    lines += [f"{p.name}: {in_words(p.what)}: {_premise(p)}, {_MET[p.met]}" for p in judged.premises]
    lines += [f"{title}: {in_words(row.what)}: {said(row, seeds=True)}; needs {needs(row)}; {row.outcome}" for title, row in rows]
    return [line.strip() for line in lines]


# --- premises -------------------------------------------------------------------------------------------------------------

_MET: Mapping[bool | None, str] = {True: "met", False: "not met", None: "not resolved"}
_BADGES: Mapping[bool | None, str] = {True: "supported", False: "not-supported", None: "unresolved"}


def premises(given: Iterable[Any]) -> str:
    """Return premises as a compact table: what a data set must be like for the claim to be testable on it."""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(in_words(_bare(p.what)))}</th><td>{html.escape(_premise(p))}</td>'
        f"<td>{html.escape(_bound(p))}</td>"
        f'<td><span class="mixkd-badge mixkd-{_BADGES[p.met]}">{_MET[p.met]}</span></td></tr>'
        for p in given
    )
    if not rows:
        return ""
    return (
        '<div class="mixkd-table mixkd-premises" tabindex="0" role="region" aria-label="premises"><table>'
        '<thead><tr><th scope="col">premise</th><th scope="col">measured</th><th scope="col">needed</th><th scope="col"></th></tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )


def premises_of(verdicts: Iterable[Judged]) -> Html:
    """Return the premises that several verdicts rest on, each once: what it is, what was measured, what is needed, who asks for it.

    Where claims ask for one premise of several teachers, the one that several share is shown, unless another is not met.

    Args:
        verdicts: of one profile.
    """
    asked: dict[str, list[tuple[str, Any]]] = {}
    for judged in verdicts:
        for p in judged.premises:
            if re.fullmatch(r"P\d", p.name):
                asked.setdefault(p.name, []).append((judged.claim, p))
    body, text = "", []
    for name, rows in sorted(asked.items()):
        found = [p for _, p in rows]
        worst = [p for p in found if p.met is False] or [p for p in found if p.met is None] or found
        p = max(worst, key=found.count)
        letters = ", ".join(dict.fromkeys(f"({letter})" for letter, _ in rows))
        what = in_words(_bare(p.what))
        body += (
            f'<tr><th scope="row">{name}: {html.escape(what)}</th><td>{html.escape(_premise(p))}</td><td>{html.escape(_bound(p))}</td>'
            f'<td><span class="mixkd-badge mixkd-{_BADGES[p.met]}">{_MET[p.met]}</span></td><td>{letters}</td></tr>'
        )
        text.append(f"{name}: {what}: {_premise(p)}, needed {_bound(p)}, {_MET[p.met]}; claims {letters}")
    head = "".join(f'<th scope="col">{word}</th>' for word in ("premise", "measured", "needed", "", "claims"))
    markup = (
        '<div class="mixkd-table mixkd-premises" tabindex="0" role="region" aria-label="premises"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    return Html(markup, "\n".join(text))


def _bare(what: str) -> str:
    """Without the bound that a premise's words end in: it has a column of its own."""
    return re.sub(r",? \((?:at least|at most|above|equivalent within)[^)]*\)$|, nats \(above 0\)$", "", what)


def _premise(p: Any) -> str:
    unit = UNITS.get(p.unit, _PLAIN)
    if not math.isfinite(p.estimate):
        return "not known"
    low, high = (unit.say(unit.shown(value)).split(" ")[0] for value in (p.low, p.high))
    return f"{unit.say(unit.shown(p.estimate))}{f' ({low} to {high})' if math.isfinite(p.low) else ''}"


def _bound(p: Any) -> str:
    return _needs(UNITS.get(p.unit, _PLAIN), p.kind, p.bound)


# --- panels -----------------------------------------------------------------------------------------------------------------


def panels(comparisons: Sequence[Any], title: str) -> str:
    """Return one panel for each unit, its rows on one axis.

    Args:
        comparisons: see :class:`mixkd.claims.Comparison`; those without an estimate are named under the panels.
        title: over them.
    """
    known = [row for row in comparisons if math.isfinite(row.estimate)]
    lost = [row for row in comparisons if not math.isfinite(row.estimate)]
    grouped: dict[str, list[Any]] = {}
    for row in known:
        grouped.setdefault(row.unit, []).append(row)
    drawn = "".join(_panel(unit, rows) for unit, rows in grouped.items())
    absent = "; ".join(in_words(row.what) for row in lost)
    drawn += f'<p class="mixkd-source">Not run, or no estimate: {html.escape(absent)}.</p>' if absent else ""
    return f'<div class="mixkd-panels"><p class="mixkd-head">{html.escape(title)}</p>{drawn}</div>' if drawn else ""


_STEPS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (2.2, (1,)), (0.8, (1, 2, 5)), (0.3, (1, 1.5, 2, 3, 5, 7)), (0.0, (1, 1.1, 1.2, 1.4, 1.6, 2, 2.5, 3, 4, 5, 6, 7, 8, 8.5, 9, 9.5)),
)  # fmt: skip
"""Above which number of decades a logarithmic axis has ticks at which multiples of a power of ten."""


@dataclass(frozen=True)
class _Axis:
    """A position on the panel, in per cent of its width, for a shown value."""

    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, unit: Unit, rows: Sequence[Any]) -> _Axis:
        """Wide enough for every interval and margin, for the neutral line and for the other lines of the unit."""
        marks = [1.0 if unit.log else 0.0, *unit.lines]
        for row in rows:
            margins = (row.margin, -row.margin) if row.kind == "equivalent" else (row.margin,)
            marks += [shown for value in (row.estimate, row.low, row.high, *margins) if math.isfinite(shown := unit.shown(value))]
        if unit.log:
            marks = [math.log10(mark) for mark in marks if mark > 0]
        low, high = min(marks), max(marks)
        room = 0.07 * (high - low or 1.0)
        return cls(low - room, high + room, unit.log)

    def at(self, value: float) -> float:
        """Clipped to the panel."""
        if self.log:
            value = math.log10(value) if value > 0 else -math.inf
        return min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low)))

    def ticks(self) -> list[float]:
        """Round values, the neutral one among them, each far enough from the next for its label."""
        neutral = 1.0 if self.log else 0.0
        found = self._round()
        kept = [tick for tick in found if tick == neutral]
        for tick in sorted(found, key=lambda tick: abs(self.at(tick) - self.at(neutral))):
            if all(abs(self.at(tick) - self.at(other)) >= 12 for other in kept):
                kept.append(tick)
        return kept

    def _round(self) -> list[float]:
        if self.log:
            steps = next(steps for wide, steps in _STEPS if self.high - self.low > wide)
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            return [v for power in powers for step in steps if self.low <= math.log10(v := step * 10.0**power) <= self.high]
        raw = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
        return [step * k for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _panel(name: str, rows: Sequence[Any]) -> str:
    unit = UNITS.get(name, _PLAIN)
    axis = _Axis.of(unit, rows)
    body = "".join(
        f'<div class="mixkd-row"><div class="mixkd-what">{html.escape(in_words(row.what))}</div>{_strip(unit, axis, row)}'
        f'<div class="mixkd-value"><strong>{html.escape(said(row))}</strong><small>{_small(row)}</small></div></div>'
        for row in rows
    )
    labels = "".join(f'<text x="{axis.at(tick):.1f}%" y="13" text-anchor="middle">{_tick(tick)}</text>' for tick in axis.ticks())
    foot = (
        f'<div class="mixkd-row mixkd-foot"><div class="mixkd-what">{html.escape(unit.axis or name)}</div>'
        f'<svg width="100%" height="16" aria-hidden="true">{labels}</svg><div class="mixkd-value"></div></div>'
    )
    return f'<div class="mixkd-panel" role="group" aria-label="{html.escape(unit.axis or name)}">{body}{foot}</div>'


def _tick(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def _small(row: Any) -> str:
    """Under the value: what it needs, and what would resolve it where it is not resolved."""
    more = f"; {row.resolving}" if row.resolving and row.outcome == "unresolved" else ""
    seeds = f"{row.seeds} seed{'' if row.seeds == 1 else 's'}"
    return html.escape(f"{row.outcome}: needs {needs(row)}; {seeds}{more}")


def region(row: Any) -> tuple[float, float]:
    """Return where a comparison passes, in its own unit; infinite on the side that has no bound."""
    if row.kind == "equivalent":
        return -row.margin, row.margin
    return (row.margin, math.inf) if row.kind == "above" else (-math.inf, row.margin)


def _strip(unit: Unit, axis: _Axis, row: Any) -> str:
    """One interval over the region that passes."""
    ends = region(row)
    left, right = (axis.at(unit.shown(end)) if math.isfinite(end) else 0.0 if end < 0 else 100.0 for end in ends)
    edges = "".join(
        f'<line class="mixkd-edge" x1="{axis.at(unit.shown(end)):.1f}%" x2="{axis.at(unit.shown(end)):.1f}%" y1="0" y2="26"/>'
        for end in ends
        if math.isfinite(end)
    )
    lines = "".join(
        f'<line class="mixkd-zero" x1="{axis.at(value):.1f}%" x2="{axis.at(value):.1f}%" y1="0" y2="26"/>'
        for value in ((1.0 if unit.log else 0.0), *unit.lines)
    )
    x = axis.at(unit.shown(row.estimate))
    bar = ""
    if math.isfinite(row.low) and math.isfinite(row.high):
        low, high = axis.at(unit.shown(row.low)), axis.at(unit.shown(row.high))
        bar = f'<line x1="{low:.1f}%" x2="{high:.1f}%" y1="13" y2="13" stroke="currentColor" stroke-width="3"/>'
    return (
        f'<svg class="mixkd-strip mixkd-{row.outcome.replace(" ", "-")}" width="100%" height="26" aria-hidden="true">'
        f'<rect class="mixkd-pass" x="{left:.1f}%" width="{right - left:.1f}%" y="0" height="26"/>{lines}{edges}{bar}'
        f'<circle cx="{x:.1f}%" cy="13" r="5" fill="currentColor"/></svg>'
    )


# --- folded -----------------------------------------------------------------------------------------------------------------


def _folds(judged: Judged) -> str:
    also = panels(judged.shown, "On these no verdict rests")
    rule = "".join(
        f"<p><strong>{name}.</strong> {html.escape(words)}</p>"
        for name, words in (("Statistic", judged.statistic), ("Rule", judged.rule), ("Simpler explanations", judged.alternatives))
        if words
    )
    ids = " ".join(f"<code>{html.escape(id)}</code>" for id in judged.records)
    found = [
        ("What else was measured", also),
        ("The rule, and the simpler explanations it must beat", rule),
        (
            f"{len(judged.records)} records",
            f"<p>{ids}</p><p><code>mixkd records show ID</code> prints where one came from.</p>" if ids else "",
        ),
    ]
    return "".join(f"<details><summary>{html.escape(name)}</summary>{body}</details>" for name, body in found if body)


STYLE = (
    ".mixkd-panel{margin:.2rem 0 .7rem}.mixkd-head{font-weight:600;margin:.6rem 0 .1rem!important}"
    ".mixkd-gap{display:inline-block;width:1.2em}"
    ".mixkd-row{display:grid;grid-template-columns:minmax(0,15em) minmax(8em,1fr) minmax(0,15em);gap:0 .9em;align-items:center;"
    "padding:.15em 0;font-size:.9em;line-height:1.3}"
    ".mixkd-row svg{display:block;overflow:visible}.mixkd-value strong{font-weight:600;color:var(--pst-color-text-base,inherit)}"
    ".mixkd-value small{display:block;font-size:.85em;color:var(--pst-color-text-muted,#666)}"
    ".mixkd-strip{color:var(--badge,#525c6b)}.mixkd-pass{fill:#2f9e75;fill-opacity:.2;print-color-adjust:exact}"
    ".mixkd-edge{stroke:#2f9e75;stroke-width:1.5;stroke-dasharray:4 3}"
    ".mixkd-zero{stroke:#7d848e;stroke-width:1}"
    ".mixkd-foot{padding-top:0}"
    ".mixkd-foot .mixkd-what,.mixkd-foot text{color:var(--pst-color-text-muted,#666);fill:currentColor;font-size:.95em}"
    ".mixkd-foot .mixkd-what{text-align:right}.mixkd-foot svg{color:var(--pst-color-text-muted,#666)}"
    "@media(max-width:700px){.mixkd-row{grid-template-columns:1fr;padding:.4em 0}.mixkd-foot .mixkd-what{order:2;text-align:left}}"
)
"""What the panels need beside the colours of the page; it travels with the block, so that a notebook shows them too."""
