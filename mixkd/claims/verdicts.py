"""How intervals become words: comparisons, premises, the two verdicts on a claim. No record and no claim is known here.

The six words, in the order in which they are tried:

not run
    no stated comparison has two seeds;
premise not met
    a premise is resolved to the wrong side: this world cannot test the sentence;
unresolved
    a premise is not resolved, so neither word below would mean anything;
not supported
    a stated comparison is resolved against the claim: by Holm's procedure over all stated comparisons, two-sided at 5 %, so that the
    chance of a false "not supported" is 5 % however many parts a claim has;
depends
    the same, but the comparison speaks for one *half* of the sentence (one teacher of several, one of two statements joined by "and")
    while another half is supported in full. A condition, that is a comparison of no half, never gives "depends";
supported
    the whole interval of every stated comparison lies beyond its margin (no correction: claiming all of them errs at most as often as
    claiming one), and of an equivalence the 90 % interval lies inside it;
unresolved
    otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mixkd.measure import statistics
from mixkd.measure.statistics import Interval

if TYPE_CHECKING:
    from mixkd.studies import Cell

Outcome = Literal["supported", "not supported", "depends", "unresolved", "premise not met", "not run"]
Kind = Literal["above", "equivalent", "below"]


@dataclass(frozen=True)
class Comparison:
    """One interval that a verdict rests on.

    Attributes:
        what: in words, for a table.
        estimate, low, high: of the statistic, with its 95 % interval; nan where it cannot be had.
        margin: what the interval is compared with.
        seeds: number of paired seeds (or teachers, where students of one teacher count once).
        outcome: of this comparison alone: "supported", "not supported", "unresolved" or, with fewer than two seeds, "not run".
        kind: "above" claims estimate > margin, "equivalent" abs(estimate) < margin.
        unit: of estimate and margin: "points" (of accuracy, as a fraction: 0.01 is one point), "nat", "log10 ratio", "ratio", ...
        p: two-sided p value against the margin; for an equivalence against the margin on the estimate's side.
        half: which half of the sentence it speaks for; "" for a condition of the whole. See the module's "depends".
        resolving: about how many times as many seeds, or, where more seeds would not do, test images would resolve it; "" where it is
            resolved or nothing can be said.
    """

    what: str
    estimate: float
    low: float
    high: float
    margin: float
    seeds: int
    outcome: Outcome
    kind: Kind = "above"
    unit: str = ""
    p: float = math.nan
    half: str = ""
    resolving: str = ""


@dataclass(frozen=True)
class Premise:
    """What a world must be like for a claim to be testable in it.

    Attributes:
        name: "P1" to "P6", or the letter of a claim that another one presupposes.
        what: in words.
        estimate, low, high: of the statistic, with its 95 % interval.
        bound: what it must lie above or below, as `what` says.
        met: whether it does; None where the interval straddles the bound or the records are not there.
        kind: whether the estimate must lie "above" the bound, "below" it, or be "equivalent" to 0 within it.
        unit: of all numbers, as of a :class:`Comparison`.
    """

    name: str
    what: str
    estimate: float
    low: float
    high: float
    bound: float
    met: bool | None
    kind: Kind = "above"
    unit: str = ""


@dataclass(frozen=True)
class Case:
    """What speaks for and against a claim in one cell, before any word is said; fields as of :class:`Verdict`."""

    premises: Sequence[Premise]
    stated: Sequence[Comparison]
    rivals: Sequence[Comparison]
    shown: Sequence[Comparison] = ()
    note: str = ""


@dataclass(frozen=True)
class Verdict:
    """The two verdicts on one claim in one cell of a profile.

    Attributes:
        claim: its letter.
        profile: its scale.
        cell: teacher, calibration and tau; None for a claim that is judged once a profile.
        as_stated, attributed: outcomes.
        stated, rivals: the comparisons behind them; the first is the primary one.
        premises: what was checked first.
        note: what a reader must know to read the outcome, computed, a few sentences.
        records: ids of the records it was computed from, sorted.
        missing: how many of the runs it asks for are not there.
        command: what trains them; "" when none is missing.
        title, sentence, chapter, statistic, rule, alternatives: of the claim, so that a verdict can be read alone.
        shown: intervals that help to read the verdict and on which it does not rest.
    """

    claim: str
    profile: str
    cell: Cell | None
    as_stated: Outcome
    attributed: Outcome
    stated: tuple[Comparison, ...] = ()
    rivals: tuple[Comparison, ...] = ()
    premises: tuple[Premise, ...] = ()
    note: str = ""
    records: tuple[str, ...] = ()
    missing: int = 0
    command: str = ""
    title: str = ""
    sentence: str = ""
    chapter: str = ""
    shown: tuple[Comparison, ...] = ()
    statistic: str = ""
    rule: str = ""
    alternatives: str = ""


def compare(what: str, interval: Interval, margin: float = 0.0, *, kind: Kind = "above", unit: str = "", half: str = "") -> Comparison:
    """Return an interval judged against a margin, alone.

    "supported" when the whole 95 % interval lies above the margin (of an equivalence: the 90 % interval inside it); "not supported" when
    it lies at or short of the margin (outside it, on one side); "not run" with fewer than two seeds; else "unresolved".
    """
    outcome: Outcome = "unresolved"
    against = math.copysign(margin, interval.estimate) if kind == "equivalent" else margin
    if interval.n < 2:
        outcome = "not run"
    elif kind == "equivalent":
        inside = statistics.equivalence(interval, margin)
        outcome = "unresolved" if inside is None else "supported" if inside else "not supported"
    elif interval.defined and math.isfinite(interval.estimate):
        outcome = "supported" if interval.low > margin else "not supported" if interval.high <= margin else "unresolved"
    needed = _resolving(interval, margin, kind) if outcome == "unresolved" else ""
    p = interval.p(against) if interval.n > 1 else math.nan
    return Comparison(what, interval.estimate, interval.low, interval.high, margin, interval.n, outcome, kind, unit, p, half, needed)


def premise(name: str, what: str, interval: Interval, bound: float, *, below: bool = False, unit: str = "") -> Premise:
    """Return a premise: met when the whole interval lies above the bound (below it, for `below`), not met when beyond on the other side."""
    met: bool | None = None
    if interval.defined and math.isfinite(interval.estimate):
        if interval.low > bound:
            met = not below
        elif interval.high < bound:
            met = below
        elif interval.low == interval.high == bound:
            met = False
    return Premise(name, what, interval.estimate, interval.low, interval.high, bound, met, "below" if below else "above", unit)


def refuted(parts: Sequence[Comparison]) -> list[Comparison]:
    """Return the comparisons resolved against the claim, by Holm's procedure over all of them, two-sided at 5 %."""
    tested = [part for part in parts if not math.isnan(part.p)]
    adjusted = statistics.holm([part.p for part in tested])
    return [part for part, p in zip(tested, adjusted, strict=True) if p <= 0.05 + 1e-12 and part.outcome == "not supported"]


def conclude(premises: Iterable[Premise], stated: Sequence[Comparison], rivals: Sequence[Comparison]) -> tuple[Outcome, Outcome]:
    """Return the words as stated and attributed; see the module for what each means.

    Attributed is "supported" when the claim is supported as stated and every rival comparison is too; "not supported" when it is not
    supported as stated, or a rival is resolved against it (Holm over the rivals); "not run" when it is supported as stated and no rival
    has two seeds. Otherwise it is the word as stated, and "unresolved" where that is "supported".
    """
    as_stated = _word(list(premises), stated)
    if as_stated == "supported":
        if all(rival.outcome == "supported" for rival in rivals):
            return as_stated, "supported"
        if all(rival.outcome == "not run" for rival in rivals):
            return as_stated, "not run"
        return as_stated, "not supported" if refuted(rivals) else "unresolved"
    return as_stated, as_stated


def _word(premises: Sequence[Premise], stated: Sequence[Comparison]) -> Outcome:
    if not any(part.seeds > 1 for part in stated):
        return "not run"
    if any(premise.met is False for premise in premises):
        return "premise not met"
    if any(premise.met is None for premise in premises):
        return "unresolved"
    if against := refuted(stated):
        lost = {part.half for part in against}
        halves = {part.half for part in stated} - {""}
        won = [half for half in halves if all(part.outcome == "supported" for part in stated if part.half == half)]
        return "depends" if won and "" not in lost else "not supported"
    return "supported" if all(part.outcome == "supported" for part in stated) else "unresolved"


def explain(premises: Sequence[Premise], stated: Sequence[Comparison], as_stated: Outcome) -> str:
    """Return the sentence that a word owes its reader: which premise fails, which parts contradict each other, what would resolve it."""
    if as_stated == "premise not met":
        failing = (p for p in premises if p.met is False)
        return " ".join(
            f"{p.name} fails: {p.what} is {in_unit(p.estimate, p.unit)}, the bound {in_unit(p.bound, p.unit)}." for p in failing
        )
    if as_stated == "depends":
        against = refuted(stated)
        lost = list(dict.fromkeys(part.half for part in against))
        won = list(dict.fromkeys(part.half for part in stated if part.half and part.half not in lost and part.outcome == "supported"))
        return f"It holds for {', '.join(won)} and fails for {', '.join(lost)}."
    if as_stated != "unresolved":
        return ""
    if unresolved := [p for p in premises if p.met is None]:
        return " ".join(f"{p.name} is not resolved: {p.what} is {_interval(p)}, the bound {in_unit(p.bound, p.unit)}." for p in unresolved)
    absent = [part.what for part in stated if part.outcome == "not run"]
    reasons = [f"Not run: {', '.join(absent)}."] if absent else []
    reasons += [f"{part.what}: {part.resolving}." for part in stated if part.resolving]
    weak = [part.what for part in stated if part.outcome == "not supported"]
    reasons += [f"Against the claim, but not once {len(stated)} parts are counted: {', '.join(weak)}."] if weak else []
    return " ".join(reasons)


def in_unit(value: float, unit: str) -> str:
    """Return a value in words: a fraction of accuracy as points, anything else as a bare number."""
    if unit != "points":
        return f"{value:.3g}"
    number = f"{100 * value:.1f}".removesuffix(".0")
    return f"{number} point" if number == "1" else f"{number} points"


def _interval(found: Premise) -> str:
    if math.isnan(found.estimate):
        return "not known"
    low, high = (in_unit(bound, found.unit).split(" ")[0] for bound in (found.low, found.high))
    return in_unit(found.estimate, found.unit) + ("" if math.isnan(found.low) else f" ({low} to {high})")


def _resolving(interval: Interval, margin: float, kind: Kind) -> str:
    """How many seeds, or how many times the test images, would make the interval clear the margin if the estimate stays."""
    if not interval.defined or not math.isfinite(interval.error):
        return ""
    away = abs(abs(interval.estimate) - margin) if kind == "equivalent" else abs(interval.estimate - margin)
    inside = kind == "equivalent" and abs(interval.estimate) < margin
    allowed = (away / (1.645 if inside else 1.96)) ** 2
    if allowed <= 1e-4 * interval.error**2:  # both may underflow to 0
        return "the estimate lies so near the margin that neither more seeds nor more images would soon resolve it"
    images = interval.image_error**2
    if images >= 0.9 * allowed:
        return f"about {math.ceil(2 * images / allowed)} times as many test images would resolve it"
    seeds = (interval.error**2 - images) * interval.n / (allowed - images)
    return f"about {max(interval.n + 1, math.ceil(seeds) + 2)} seeds would resolve it"
