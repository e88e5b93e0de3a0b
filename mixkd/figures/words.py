"""Sentences that depend on results: how many claims hold, what an average is, who is ahead of whom.

The words are written here and the intervals choose among them; where there is nothing to say, that is said.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from mixkd.figures import theme
from mixkd.figures.intervals import t_interval
from mixkd.figures.markup import SIGNS, number

if TYPE_CHECKING:
    from mixkd.claims import Verdict

NOT_HERE = "not run here"


def tally(verdicts: Sequence[Verdict]) -> str:
    """How many claims hold as stated and how many of those when attributed, by letter."""
    ran = [found for found in verdicts if found.as_stated != "not run"]
    if not ran:
        return NOT_HERE

    def letters(which: str, outcome: str) -> str:
        found = [row.claim for row in ran if getattr(row, which) == outcome]
        return f"{len(found)} ({', '.join(found)})" if found else "none"

    said = []
    for which, words in (("as_stated", "As stated"), ("attributed", "attributed")):
        found = [f"{letters(which, outcome)} {outcome}" for outcome in SIGNS if any(getattr(row, which) == outcome for row in ran)]
        said.append(f"{words}: {', '.join(found)}")
    return "; ".join(said)


def average(frame: pd.DataFrame, column: str, *, scale: float = 1.0, digits: int = 3, unit: str = "", **rows: Any) -> str:
    """Return the mean of a column over the rows of a group, as text, or "not run here".

    Args:
        frame: ``Records.frame()``; may be empty.
        column: a measure.
        scale: multiplies it: 100 for per cent.
        digits: after the point.
        unit: follows the number.
        rows: what the rows have in common, such as ``arm="ce"``.
    """
    sample = _group(frame, column, rows)
    return NOT_HERE if sample.empty else f"{number(scale * sample.mean(), digits)}{unit}"


def versus(
    frame: pd.DataFrame, column: str, one: Mapping[str, Any], other: Mapping[str, Any], *, more: str, less: str,
    scale: float = 1.0, digits: int = 3, unit: str = "",
) -> str:  # fmt: skip
    """Who is ahead, paired by seed, in words chosen by the 95 % t interval: ``more``, ``less``, or that it cannot be told.

    Args:
        frame: ``Records.frame()``; may be empty.
        column: a measure.
        one, other: what the rows of each group have in common; "as" in one of them names another column for that group.
        more, less: what ``one`` is when its value is the greater, or the smaller.
        scale, digits, unit: of the difference, as in :func:`average`.
    """
    a, b = (_group(frame, side.get("as", column), {k: v for k, v in side.items() if k != "as"}) for side in (one, other))
    both = sorted(set(a.index) & set(b.index))
    if not both:
        return NOT_HERE
    mean, low, high = (scale * value for value in t_interval(a.loc[both] - b.loc[both]))
    ahead = f"{more if mean > 0 else less} by {number(abs(mean), digits)}{unit}"
    if not math.isfinite(low):
        return f"{ahead} on the one seed there is, which says nothing about chance"
    if low > 0 or high < 0:
        near, far = sorted((abs(low), abs(high)))
        return f"{ahead} ({number(near, digits)} to {number(far, digits)})"
    one_, low_, high_ = (number(value, digits, sign=True) for value in (mean, low, high))
    return f"undecided, a difference of {one_}{unit} ({low_} to {high_})"


def same_images(profile: Any) -> str:
    """Whether the teachers of a profile know of images that their students never see, and what that means for a comparison of arms.

    Args:
        profile: see :class:`mixkd.studies.Profile`.
    """
    taught, own = profile.teacher_recipe, profile.recipe.get("train_size")
    if taught.get("pretrained"):
        known, more = "Teachers come pretrained on other images", "those images"
    elif taught.get("train_skip"):
        known, more = "Teachers and students learn from disjoint images", "the images of the teacher"
    elif own is not None and taught.get("train_size") == "all":
        known, more = f"Teachers were trained on more than the {own:,} training examples of their students", "those examples"
    else:
        return "Teachers and students are trained on the same examples, so a difference between two students is that of their objectives."
    published = [model for model, recipe in profile.teacher_recipes.items() if recipe.get("pretrained")]
    if published and not taught.get("pretrained"):
        known += f", except that published weights ({', '.join(published)}) may come from the students' images"
    return (
        f"{known}. So a gain over a student without a teacher comes from the objective and from {more}; "
        "only students of the same teacher compare objectives alone."
    )


def slowest(curves: pd.DataFrame) -> str:
    """Return the label of the arm whose mean validation accuracy is lowest after the first recorded epoch.

    Args:
        curves: what :func:`mixkd.figures.stack` returns.
    """
    first = curves[curves["epoch"] == curves["epoch"].min()]
    means = first.groupby("arm")["val_accuracy"].mean().dropna()
    return NOT_HERE if means.empty else theme.look(str(means.idxmin())).label


def beyond_strangers(rates: pd.DataFrame) -> str:
    """For each arm and kind of input, by how many points a student agrees more with its own teacher than with strangers.

    Args:
        rates: rows of :func:`mixkd.figures.imitation_rates`; may be empty.
    """
    if rates.empty:
        return NOT_HERE
    agreed = rates[rates["measure"] == "agreement"].assign(beyond=lambda found: 100 * (found["own"] - found["other"]))
    said = []
    for arm in theme.order(list(agreed["arm"])):
        parts = []
        for inputs, name in (("clean", "on clean images"), ("mixed", "on blends")):
            sample = agreed[(agreed["arm"] == arm) & (agreed["inputs"] == inputs)]["beyond"].dropna()
            if sample.empty:
                parts.append(f"no other teacher to compare with {name}")
                continue
            mean, low, high = (number(value, 1, sign=True) for value in t_interval(sample))
            parts.append(f"{mean}{f' ({low} to {high})' if len(sample) > 1 else ''} {name}")
        said.append(f"{theme.look(arm).label}: {', '.join(parts)}")
    return "; ".join(said)


def _group(frame: pd.DataFrame, column: str, rows: Mapping[str, Any]) -> pd.Series:
    """Return a column by seed over the rows with these values; several rows of one seed count as their mean."""
    if column not in frame or any(name not in frame for name in (*rows, "seed")):
        return pd.Series(dtype=float)
    for name, value in rows.items():
        frame = frame[frame[name] == value]
    return frame.groupby("seed")[column].mean().dropna()
