"""Sentences and small tables that depend on results: what a verdict says, the same claim at other scales, who is ahead of whom.

It chooses among words that are written here; it refuses to judge, and says so where there is nothing to say.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from mixkd.figures import theme
from mixkd.figures.intervals import t_interval
from mixkd.figures.ledger import Html, Judged, badge

NOT_HERE = "not run here"

# What the two outcomes of a claim say together, stated first.
_READINGS: dict[tuple[str, str], str] = {
    ("supported", "supported"): "holds as stated here, and survives every simpler explanation tested",
    ("supported", "not supported"): "holds as stated here, but not against every simpler explanation tested",
    ("supported", "unresolved"): "holds as stated here; whether it survives the simpler explanations is open",
    ("not supported", "not supported"): "does not hold as stated here",
    ("unresolved", "not supported"): "is open as stated here, and at least one simpler explanation does as well",
    ("unresolved", "unresolved"): "is open here: the records cannot tell",
    ("not run", "not run"): "has not been run at this scale",
}


def finding(judged: Judged, on: str = "") -> Html:
    """What the records say about a claim, in one sentence, with the primary interval: the short answer at the top of its page.

    Args:
        judged: the claim's verdict.
        on: what the answer is about, where a page gives more than one.
    """
    reading = _READINGS.get((judged.as_stated, judged.attributed), f"is {judged.as_stated} as stated, {judged.attributed} when attributed")
    sentence = f"Profile {judged.profile}: the claim {reading}."
    if judged.stated and _known(judged.stated[0].estimate):
        first = judged.stated[0]
        sentence += f" {first.what[0].upper()}{first.what[1:]}: {_estimate(first)}; the margin is {first.margin:g}."
        if first.outcome != judged.as_stated:
            decides = next((other for other in judged.stated[1:] if other.outcome == judged.as_stated), None)
            sentence += (
                f" That alone is {first.outcome}; what decides is another condition, {decides.what}: {_estimate(decides)}."
                if decides is not None
                else f" That alone is {first.outcome}; the conditions taken together are not, see the verdict below."
            )
    if judged.as_stated == "not run":
        sentence += f" {judged.note}"
    elif judged.missing:
        sentence += f" {judged.missing} of the planned records are missing, so this may change."
    head = f"The short answer{f' on {on}' if on else ''}."
    return Html(f'<div class="mixkd-verdict"><p><strong>{html.escape(head)}</strong> {html.escape(sentence)}</p></div>', sentence)


def across(verdicts: Mapping[str, Sequence[Judged]], letter: str) -> Html:
    """One claim at every scale that has records: both outcomes, and the primary statistic with its interval.

    Args:
        verdicts: profile -> its verdicts, see :func:`mixkd.claims.across`.
        letter: the claim.
    """
    rows = [found for judged in verdicts.values() for found in judged if found.claim == letter]
    if not rows:
        words = "No profile has records of this claim in this store."
        return Html(f"<p><em>{words}</em></p>", words)
    body, text = "", []
    for row in rows:
        first = row.stated[0] if row.stated else None
        number = _estimate(first) if first is not None else "–"
        margin = f"{first.margin:g}" if first is not None else "–"
        body += (
            f'<tr><th scope="row">{html.escape(row.profile)}</th><td>{badge(row.as_stated)}</td><td>{badge(row.attributed)}</td>'
            f"<td>{html.escape(number)}</td><td>{margin}</td></tr>"
        )
        text.append(f"{row.profile}: as stated {row.as_stated}, attributed {row.attributed}, {number}, margin {margin}")
    what = next((row.stated[0].what for row in rows if row.stated), "primary statistic")
    heads = ("profile", "as stated", "attributed", "mean, 95 % interval", "margin")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    caption = f"The same claim at every scale that has records. Statistic: {what}."
    markup = (
        '<div class="mixkd-table mixkd-across" tabindex="0" role="region" aria-label="this claim at other scales"><table>'
        f"<caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )
    return Html(markup, "\n".join([caption, *text]))


def tally(verdicts: Sequence[Judged]) -> str:
    """How many claims hold as stated and how many of those when attributed, by letter."""
    ran = [found for found in verdicts if found.as_stated != "not run"]
    if not ran:
        return NOT_HERE

    def letters(which: str, outcome: str) -> str:
        found = [row.claim for row in ran if getattr(row, which) == outcome]
        return f"{len(found)} ({', '.join(found)})" if found else "none"

    said = []
    for which, words in (("as_stated", "As stated"), ("attributed", "attributed")):
        yes, no, open_ = (letters(which, outcome) for outcome in ("supported", "not supported", "unresolved"))
        said.append(f"{words}: {yes} supported, {no} not, {open_} unresolved")
    return "; ".join(said)


def average(frame: pd.DataFrame, column: str, *, scale: float = 1.0, digits: int = 3, unit: str = "", **rows: Any) -> str:
    """The mean of a column over the rows of a group, or "not run here".

    Args:
        frame: ``Records.frame()``; may be empty.
        column: a measure.
        scale: multiplies it: 100 for per cent.
        digits: after the point.
        unit: follows the number.
        rows: what the rows have in common, such as ``arm="ce"``.
    """
    sample = _group(frame, column, rows)
    return NOT_HERE if sample.empty else f"{scale * sample.mean():.{digits}f}{unit}"


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
    if not _known(low):
        return f"{more if mean > 0 else less} by {abs(mean):.{digits}f}{unit} on the one seed there is, which tells nothing about chance"
    if low > 0 or high < 0:
        near, far = sorted((abs(low), abs(high)))
        return f"{more if low > 0 else less} by {abs(mean):.{digits}f}{unit} (95 % interval {near:.{digits}f} to {far:.{digits}f})"
    return f"not told apart: the difference is {mean:+.{digits}f}{unit} (95 % interval {low:+.{digits}f} to {high:+.{digits}f})"


def same_images(profile: Any) -> str:
    """Whether the teachers of a profile know of images that their students never see, and what that means for a comparison of arms.

    Args:
        profile: see :class:`mixkd.studies.Profile`.
    """
    if profile.teacher_recipe.get("pretrained"):
        return (
            "Teachers come pretrained on other images, so what an arm with a teacher gains over one without is the objective's and "
            "those images' together; arms with the same teacher compare objectives alone."
        )
    own = profile.recipe.get("train_size")
    if own is not None and profile.teacher_recipe.get("train_size") == "all":
        return (
            f"Teachers were trained on more than the {own:,} training examples of their students, so what an arm with a teacher gains over "
            "one without is the objective's and those examples' together; arms with the same teacher compare objectives alone."
        )
    return "Teachers and students are trained on the same examples, so a difference between two arms is that of their objectives."


def slowest(curves: pd.DataFrame, column: str = "val_accuracy") -> str:
    """The arm whose mean is lowest after the first recorded epoch.

    Args:
        curves: what :func:`mixkd.figures.stack` returns.
        column: a measure of it.
    """
    first = curves[curves["epoch"] == curves["epoch"].min()]
    means = first.groupby("arm")[column].mean().dropna()
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
                parts.append(f"no stranger to compare with {name}")
                continue
            mean, low, high = t_interval(sample)
            parts.append(f"{mean:+.1f}{f' ({low:+.1f} to {high:+.1f})' if _known(low) else ''} {name}")
        said.append(f"{theme.look(arm).label}: {', '.join(parts)}")
    return "; ".join(said)


def _group(frame: pd.DataFrame, column: str, rows: Mapping[str, Any]) -> pd.Series:
    """A column by seed, of the rows with these values; several rows of one seed count as their mean."""
    if column not in frame or any(name not in frame for name in (*rows, "seed")):
        return pd.Series(dtype=float)
    for name, value in rows.items():
        frame = frame[frame[name] == value]
    return frame.groupby("seed")[column].mean().dropna()


def _known(value: float) -> bool:
    return math.isfinite(value)


def _estimate(comparison: Any) -> str:
    if not _known(comparison.estimate):
        return "no estimate"
    bounds = f"{comparison.low:.3g} to {comparison.high:.3g}" if _known(comparison.low) else "no interval"
    return f"{comparison.estimate:.3g} ({bounds})"
