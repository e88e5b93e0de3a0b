"""Comparisons in a reader's units: said in words, and drawn as intervals on panels, over the region where a claim passes.

No number is judged here: which side of a margin passes is what :class:`mixkd.claims.Comparison` says of itself.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixkd.figures.markup import in_words, number, times

if TYPE_CHECKING:
    from mixkd.claims import Comparison, Verdict


@dataclass(frozen=True)
class Unit:
    """How values of a unit are drawn and said.

    Attributes:
        axis: words under the axis.
        shown: a value as it stands on the axis.
        say: a shown value in words, with so many more digits than usual (default 0).
        log: whether the axis is logarithmic.
        lines: more lines to draw, in shown values.
    """

    axis: str
    shown: Callable[[float], float]
    say: Callable[..., str]
    log: bool = False
    lines: tuple[float, ...] = ()

    @property
    def neutral(self) -> float:
        """The shown value that says "no difference"."""
        return 1.0 if self.log else 0.0


def _power(base: float) -> Callable[[float], float]:
    return lambda value: float(base**value) if math.isfinite(value) else math.nan


UNITS: Mapping[str, Unit] = {
    "points": Unit("points", lambda v: 100 * v, lambda v, more=0: f"{number(v, 1 + more, sign=True)} points"),
    "ECE": Unit("calibration error (ECE), points", lambda v: 100 * v, lambda v, more=0: f"{number(v, 1 + more, sign=True)} points"),
    "share": Unit("per cent", lambda v: 100 * v, lambda v, more=0: f"{number(v, more)} %"),
    "nat": Unit("nats", float, lambda v, more=0: f"{number(v, 3 + more, sign=True)} nat"),
    "ratio": Unit("times", float, lambda v, more=0: f"{times(v)} times", log=True),
    "log ratio": Unit("times", _power(math.e), lambda v, more=0: f"{times(v)} times", log=True),
    "log10 ratio": Unit("times", _power(10.0), lambda v, more=0: f"{times(v)} times", log=True, lines=(10.0,)),
    "log temperature": Unit("temperature T*, or ratio of two", _power(math.e), lambda v, more=0: number(v, 2 + more), log=True),
}
_PLAIN = Unit("", float, lambda v, more=0: number(v, 3 + more))


def unit_of(row: Any) -> Unit:
    """Return how the values of a comparison, a premise or a row of the map are drawn and said."""
    return UNITS.get(row.unit, _PLAIN)


def said(row: Any) -> str:
    """Return an estimate with its interval in a reader's unit: "1.4 times (1.2 to 1.5)". ``row`` is as in :func:`unit_of`.

    It has one more digit where an end of the interval would read like the bound.
    """
    unit = unit_of(row)
    if not math.isfinite(row.estimate):
        return "no estimate"
    bound = unit.shown(_bound(row))
    values = [unit.shown(value) for value in (row.estimate, row.low, row.high)]
    more = int(any(unit.say(value) == unit.say(bound) and value != bound for value in values[1:]))
    estimate, low, high = (unit.say(value, more) for value in values)
    return estimate + (f" ({low.split(' ')[0]} to {high.split(' ')[0]})" if math.isfinite(row.low) else "")


def _bound(row: Any) -> float:
    return float(row.bound if hasattr(row, "bound") else row.margin)


def needs(row: Any) -> str:
    """Return what a comparison or a premise must show, in a reader's unit: "more than 10 times", "within ±2.0 points"."""
    unit, bound = unit_of(row), _bound(row)
    margin = re.sub(r"(\.\d*?)0+\b", r"\1", unit.say(unit.shown(bound)).lstrip("+")).replace(". ", " ")
    margin = re.sub(r"^1 points", "1 point", margin)
    if row.kind == "equivalent":
        return f"between {unit.say(unit.shown(-bound)).split(' ')[0]} and {margin}" if unit.log else f"within ±{margin}"
    if unit.shown(bound) == unit.neutral:
        margin = "one" if unit.log else "zero"
    return f"{'more' if row.kind == 'above' else 'less'} than {margin}"


READING = "Dot: estimate; bar: 95 % interval over seeds and test images together; shaded: where the claim passes."


def compared(judged: Verdict) -> str:
    """Return the panels that a verdict rests on."""
    return panels(judged.stated, "As stated") + panels(judged.rivals, "Against each simpler explanation")


def panels(comparisons: Sequence[Comparison], title: str) -> str:
    """Return one panel for each unit, its rows on one axis; comparisons without an estimate are named under the panels.

    Args:
        comparisons: what to draw.
        title: over them.
    """
    grouped: dict[str, list[Comparison]] = {}
    lost = []
    for row in comparisons:
        if math.isfinite(row.estimate):
            grouped.setdefault(row.unit, []).append(row)
        else:
            lost.append(in_words(row.what))
    drawn = "".join(_panel(unit, rows) for unit, rows in grouped.items())
    if lost:
        drawn += f'<p class="mixkd-source">Not run, or no estimate: {html.escape("; ".join(lost))}.</p>'
    return f'<div class="mixkd-panels"><p class="mixkd-head">{html.escape(title)}</p>{drawn}</div>' if drawn else ""


_STEPS: tuple[tuple[float, tuple[float, ...]], ...] = (
    (2.2, (1,)), (0.8, (1, 2, 5)), (0.3, (1, 1.5, 2, 3, 5, 7)), (0.0, (1, 1.1, 1.2, 1.4, 1.6, 2, 2.5, 3, 4, 5, 6, 7, 8, 8.5, 9, 9.5)),
)  # fmt: skip
"""Above which number of decades a logarithmic axis has ticks at which multiples of a power of ten."""


@dataclass(frozen=True)
class _Axis:
    """An axis from ``low`` to ``high``, logarithms where its unit has them, that places shown values in per cent of its width."""

    unit: Unit
    low: float
    high: float

    @classmethod
    def of(cls, unit: Unit, rows: Sequence[Comparison]) -> _Axis:
        """Wide enough for every interval and margin, for the neutral line and for the other lines of the unit."""
        marks = [unit.neutral, *unit.lines]
        for row in rows:
            margins = (row.margin, -row.margin) if row.kind == "equivalent" else (row.margin,)
            marks += [shown for value in (row.estimate, row.low, row.high, *margins) if math.isfinite(shown := unit.shown(value))]
        if unit.log:
            marks = [math.log10(mark) for mark in marks if mark > 0]
        low, high = min(marks), max(marks)
        room = 0.07 * (high - low or 1.0)
        return cls(unit, low - room, high + room)

    def at(self, shown: float) -> float:
        """Clipped to the panel."""
        if self.unit.log:
            shown = math.log10(shown) if shown > 0 else -math.inf
        return min(100.0, max(0.0, 100 * (shown - self.low) / (self.high - self.low)))

    def place(self, value: float) -> float:
        """Where a value in the unit of a comparison stands; an infinite one at the end of the panel."""
        return self.at(self.unit.shown(value)) if math.isfinite(value) else 0.0 if value < 0 else 100.0

    def ticks(self) -> list[float]:
        """Round values, the neutral one among them, each far enough from the next for its label."""
        kept: list[float] = []
        for tick in sorted(self._round(), key=lambda tick: abs(self.at(tick) - self.at(self.unit.neutral))):
            if all(abs(self.at(tick) - self.at(other)) >= 12 for other in kept):
                kept.append(tick)
        return kept

    def _round(self) -> list[float]:
        if self.unit.log:
            steps = next(steps for wide, steps in _STEPS if self.high - self.low > wide)
            powers = range(math.floor(self.low), math.ceil(self.high) + 1)
            return [v for power in powers for step in steps if self.low <= math.log10(v := step * 10.0**power) <= self.high]
        raw = (self.high - self.low) / 4
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
        return [step * k for k in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def _panel(name: str, rows: Sequence[Comparison]) -> str:
    unit = unit_of(rows[0])
    axis = _Axis.of(unit, rows)
    body = "".join(
        f'<div class="mixkd-row"><div class="mixkd-what">{html.escape(in_words(row.what))}</div>{_strip(axis, row)}'
        f'<div class="mixkd-value"><strong>{html.escape(said(row))}</strong><small>{_small(row)}</small></div></div>'
        for row in rows
    )
    title = html.escape(unit.axis or name)
    labels = "".join(
        f'<text x="{axis.at(tick):.1f}%" y="13" text-anchor="middle">{f"{tick:.6g}".replace("-", "−")}</text>' for tick in axis.ticks()
    )
    return (
        f'<div class="mixkd-panel" role="group" aria-label="{title}">{body}<div class="mixkd-row mixkd-foot">'
        f'<div class="mixkd-what">{title}</div><svg width="100%" height="16" aria-hidden="true">{labels}</svg>'
        '<div class="mixkd-value"></div></div></div>'
    )


def _small(row: Comparison) -> str:
    """Under the value: what it needs, and what would resolve it where it is not resolved."""
    more = f"; {row.resolving}" if row.resolving and row.outcome == "unresolved" else ""
    seeds = f"{row.seeds} seed{'' if row.seeds == 1 else 's'}"
    return html.escape(f"{row.outcome}: needs {needs(row)}; {seeds}{more}")


def region(row: Comparison) -> tuple[float, float]:
    """Return where a comparison passes, in its own unit; infinite on the side that has no bound."""
    if row.kind == "equivalent":
        return -row.margin, row.margin
    return (row.margin, math.inf) if row.kind == "above" else (-math.inf, row.margin)


def _strip(axis: _Axis, row: Comparison) -> str:
    """One interval over the region that passes."""

    def upright(kind: str, at: float) -> str:
        return f'<line class="mixkd-{kind}" x1="{at:.1f}%" x2="{at:.1f}%" y1="0" y2="26"/>'

    ends = region(row)
    left, right = map(axis.place, ends)
    lines = "".join(upright("zero", axis.at(value)) for value in (axis.unit.neutral, *axis.unit.lines))
    lines += "".join(upright("edge", axis.place(end)) for end in ends if math.isfinite(end))
    if math.isfinite(row.low) and math.isfinite(row.high):
        low, high = axis.place(row.low), axis.place(row.high)
        lines += f'<line x1="{low:.1f}%" x2="{high:.1f}%" y1="13" y2="13" stroke="currentColor" stroke-width="3"/>'
    return (
        f'<svg class="mixkd-strip mixkd-{row.outcome.replace(" ", "-")}" width="100%" height="26" aria-hidden="true">'
        f'<rect class="mixkd-pass" x="{left:.1f}%" width="{right - left:.1f}%" y="0" height="26"/>{lines}'
        f'<circle cx="{axis.place(row.estimate):.1f}%" cy="13" r="5" fill="currentColor"/></svg>'
    )


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
