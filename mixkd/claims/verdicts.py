"""How an interval becomes an outcome, and outcomes a verdict. Knows no record and no claim."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mixkd.measure.statistics import Interval

Outcome = Literal["supported", "not supported", "unresolved", "not run"]


@dataclass(frozen=True)
class Comparison:
    """One interval a verdict rests on.

    Attributes:
        what: in words, for a table.
        estimate, low, high: of the statistic, with its 95 % interval; nan where it cannot be had.
        margin: what the interval is held against.
        seeds: number of paired seeds.
        outcome: of this comparison alone.
    """

    what: str
    estimate: float
    low: float
    high: float
    margin: float
    seeds: int
    outcome: Outcome


@dataclass(frozen=True)
class Verdict:
    """The two verdicts on one claim under one profile.

    Attributes:
        claim: its letter.
        profile: its scale.
        as_stated, attributed: outcomes.
        stated, rivals: the comparisons behind them; the first is the primary one.
        note: what a reader must know to read the outcome, computed, one or two sentences.
        records: ids of the records it was computed from, sorted.
        missing: how many records of the claim's studies are not there.
        title, sentence, chapter: of the claim, so that a verdict can be read alone.
        shown: intervals that help to read the verdict and on which it does not rest.
    """

    claim: str
    profile: str
    as_stated: Outcome
    attributed: Outcome
    stated: tuple[Comparison, ...] = ()
    rivals: tuple[Comparison, ...] = ()
    note: str = ""
    records: tuple[str, ...] = ()
    missing: int = 0
    title: str = ""
    sentence: str = ""
    chapter: str = ""
    shown: tuple[Comparison, ...] = ()


def decide(interval: Interval, margin: float = 0.0) -> Outcome:
    """Supported when the whole interval lies above the margin, not supported when it lies at or below it, else unresolved."""
    if interval.n < 2 or not math.isfinite(interval.estimate) or math.isnan(interval.low) or math.isnan(interval.high):
        return "unresolved"
    if interval.low > margin:
        return "supported"
    return "not supported" if interval.high <= margin else "unresolved"


def every(outcomes: Iterable[Outcome]) -> Outcome:
    """The intersection-union rule: supported when each part is, not supported as soon as one part is not."""
    parts = list(outcomes)
    if not parts:
        return "unresolved"
    if "not supported" in parts:
        return "not supported"
    return "supported" if all(part == "supported" for part in parts) else "unresolved"


def compare(what: str, interval: Interval, margin: float = 0.0, outcome: Outcome | None = None) -> Comparison:
    """An interval held against a margin."""
    return Comparison(what, interval.estimate, interval.low, interval.high, margin, interval.n, outcome or decide(interval, margin))


def equivalent(what: str, interval: Interval, margin: float) -> Comparison:
    """An equivalence: supported when the whole interval lies within +- margin, not supported when it lies outside."""
    if interval.n < 2 or math.isnan(interval.low):
        outcome: Outcome = "unresolved"
    elif -margin < interval.low and interval.high < margin:
        outcome = "supported"
    else:
        outcome = "not supported" if interval.low >= margin or interval.high <= -margin else "unresolved"
    return compare(what, interval, margin, outcome)
