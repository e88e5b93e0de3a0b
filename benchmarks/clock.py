"""Alternating measurement: each contender once per round, ratios within a round, so that a busy machine slows all alike.

Refuses to compare numbers from different rounds.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

FEWEST = 3  # rounds of which a median is taken

Contender = Callable[[], float]
"""Does its work once and returns how many units (images, calls) it did."""


@dataclass(frozen=True)
class Spread:
    """Smallest, median and largest of the rounds."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(min(values), statistics.median(values), max(values))


def alternate(contenders: Mapping[str, Contender], rounds: int, warm: bool = True, seconds: float = math.inf) -> dict[str, list[float]]:
    """Units per second of each contender in each round; the order turns round by one each time.

    Args:
        contenders: name to work.
        rounds: measured ones, at least 1.
        warm: whether each does its work once before, unmeasured.
        seconds: after which no round begins, but for the first three: a slow machine measures less, not longer.
    """
    names, started = list(contenders), time.perf_counter()
    if warm:
        for contender in contenders.values():
            contender()
    rates: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        if turn >= FEWEST and time.perf_counter() - started > seconds:
            break
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            began = time.perf_counter()
            units = contenders[name]()
            rates[name].append(units / (time.perf_counter() - began))
    return rates


def ratios(ours: list[float], theirs: list[float]) -> Spread:
    """How many times as fast we are, round by round."""
    return Spread.of([a / b for a, b in zip(ours, theirs, strict=True)])


def against_fastest(rates: Mapping[str, list[float]], ours: str, peers: list[str]) -> tuple[str, Spread]:
    """Return the peer with the largest median rate, and our ratio to it."""
    fastest = max(peers, key=lambda name: statistics.median(rates[name]))
    return fastest, ratios(rates[ours], rates[fastest])
