"""Verdicts on a page: the ledger of claims by profiles, one verdict in words, and the intervals it rests on.

It words what a verdict holds; it refuses to judge.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import pandas as pd

from mixkd.figures.intervals import effects
from mixkd.figures.plot import Plot
from mixkd.studies import load_profile, profiles

SIGNS = {"supported": "✓", "not supported": "✗", "depends": "±", "unresolved": "?", "premise not met": "○", "not run": "–"}


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
    note: str
    records: Sequence[str]
    missing: int


class Html:
    """A block of HTML that shows itself in a notebook and on the page, with its text for where there is no HTML."""

    def __init__(self, markup: str, text: str) -> None:
        self.markup, self.text = markup, text

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return self.text


def ledger(verdicts: Mapping[str, Sequence[Judged]] | Sequence[Judged], *, first: str = "", up: str = "", waiting: bool = True) -> Html:
    """Claims by profiles. A cell holds both verdicts and opens the evidence behind them in the row below; it needs no script.

    Args:
        verdicts: of one or several profiles, or by profile as :func:`mixkd.claims.across` has them.
        first: the profile whose column stands first.
        up: path from the page to the folder of the chapters.
        waiting: whether the profiles that were not run are listed below, with what it takes to run them.
    """
    given = [verdict for own in verdicts.values() for verdict in own] if isinstance(verdicts, Mapping) else list(verdicts)
    names = list(dict.fromkeys(verdict.profile for verdict in given if verdict.as_stated != "not run"))
    names = [name for name in (first,) if name in names] + [name for name in names if name != first]
    cells = {(verdict.claim, verdict.profile): verdict for verdict in given}
    rows, text = [], []
    for judged in {verdict.claim: verdict for verdict in given}.values():
        link = f'<a href="{html.escape(up)}{html.escape(judged.chapter)}.html">{html.escape(judged.title)}</a>'
        row = (
            f'<th scope="row"><span class="mixkd-letter">({judged.claim})</span> {link}'
            f'<span class="mixkd-sentence">{html.escape(judged.sentence)}</span></th>'
        )
        opened = ""
        for name in names:
            found = cells.get((judged.claim, name))
            if found is None or found.as_stated == "not run":
                row += f'<td data-profile="{html.escape(name)}">{badge("not run")}</td>'
                opened += "<div></div>"
                continue
            text.append(f"({judged.claim}) {name}: as stated {found.as_stated}, attributed {found.attributed}")
            row += _opener(found)
            opened += _evidence(found, link)
        rows.append(f'<tr>{row}</tr><tr class="mixkd-opened-row"><td colspan="{len(names) + 1}">{opened}</td></tr>')
    head = "".join(f'<th scope="col">{html.escape(name)}<small>{html.escape(load_profile(name).title)}</small></th>' for name in names)
    table = (
        f'<div class="mixkd-ledger{" mixkd-many" if len(names) > 2 else ""}" tabindex="0" role="region" '
        'aria-label="verdicts by claim and profile"><table><caption>In a cell, above: the verdict as stated; below: attributed. '
        "It opens the evidence: intervals, their margins, the records.</caption>"
        f'<thead><tr><th scope="col">claim</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        if names
        else "<p>No profile has records in this store.</p>"
    )
    missing = [name for name in profiles() if name not in names] if waiting else []
    text += [f"{name}: not run; mixkd reproduce --profile {name}" for name in missing]
    return Html(f"<style>{_OPENING}</style>{table}{_waiting(missing)}", "\n".join(text))


# The n-th opened cell of a row shows the n-th block of the row below. A browser that does not know :has() shows them all.
_OPENING = (
    "@supports selector(:has(a)){.mixkd-ledger .mixkd-opened-row,.mixkd-opened-row>td>div{display:none}"
    ".mixkd-ledger tr:has(details[open])+.mixkd-opened-row{display:table-row}"
    + ",".join(f"tr:has(>:nth-child({n + 1}) details[open])+.mixkd-opened-row>td>div:nth-child({n})" for n in range(1, 13))
    + "{display:block}}@media print{.mixkd-ledger .mixkd-opened-row{display:table-row!important}"
    ".mixkd-opened-row>td>div:first-child{display:block!important}}"
)


def _opener(judged: Judged) -> str:
    """A cell: both outcomes as the summary of what stands in the row below."""
    name = f"evidence-{judged.claim}-{judged.profile}"
    return (
        f'<td data-profile="{html.escape(judged.profile)}"><details class="mixkd-cell"><summary>'
        f'<span class="mixkd-which">as stated</span> {badge(judged.as_stated)}'
        f' <span class="mixkd-which">attributed</span> {badge(judged.attributed)}</summary>'
        f'<a class="mixkd-to" href="#{html.escape(name)}">to the evidence<span aria-hidden="true"> ↓</span></a></details></td>'
    )


def _evidence(judged: Judged, link: str) -> str:
    """What a cell rests on: every comparison with its interval drawn against its margin, what to keep in mind, the records."""
    parts = []
    for title, group in (("As stated", judged.stated), ("Against each rival", judged.rivals)):
        lines = "".join(
            f'<tr><th scope="row">{html.escape(row.what)}</th><td>{forest(row)}</td>'
            f"<td>{_figures(row)}</td><td>{badge(row.outcome)}</td></tr>"
            for row in group
        )
        if lines:
            parts.append(
                f'<table class="mixkd-forest"><caption>{title}</caption><thead><tr><th scope="col">what is compared</th>'
                '<th scope="col">interval and margin</th><th scope="col">estimate and 95\u00a0% interval</th>'
                '<th scope="col">outcome</th></tr></thead>'
                f"<tbody>{lines}</tbody></table>"
            )
    note = f"<p>{html.escape(judged.note)}</p>" if judged.note else ""
    missing = f", {judged.missing} more are planned and missing" if judged.missing else ""
    ids = " ".join(f"<code>{html.escape(id)}</code>" for id in judged.records)
    name = html.escape(f"evidence-{judged.claim}-{judged.profile}")
    return (
        f'<div id="{name}" tabindex="-1" role="group" aria-label="evidence on claim {judged.claim}, profile {html.escape(judged.profile)}">'
        f'<p class="mixkd-claim">Claim ({judged.claim}) on {html.escape(judged.profile)}: '
        f"{badge(judged.as_stated)} as stated, {badge(judged.attributed)} when attributed. Chapter: {link}.</p>"
        f"{''.join(parts)}{note}<p>Bar: 95 % interval; dot: estimate; thin line: zero; dashed: the margin. Each row has its own unit.</p>"
        f'<details class="mixkd-ids"><summary>{len(judged.records)} records{missing}</summary><p>{ids}</p>'
        "<p>Where a record came from: <code>mixkd records show ID</code>.</p></details></div>"
    )


def _figures(row: Any) -> str:
    """An estimate and its interval for a narrow column."""
    if row.estimate != row.estimate:
        return "no estimate"
    bounds = f"{row.low:.3g} to {row.high:.3g}" if row.low == row.low else "no interval"
    margin = f", margin {'± ' if _both_sides(row) else ''}{row.margin:g}" if row.margin else ""
    return f"<strong>{row.estimate:.3g}</strong> {bounds}<small>{row.seeds} seeds{margin}</small>"


def forest(row: Any, width: int = 180, height: int = 24) -> str:
    """One interval against its margin as a small picture, with the numbers beside it for who cannot see it.

    Args:
        row: a comparison, see :class:`mixkd.claims.Comparison`. Where it was judged as an equivalence, its margin holds on both sides.
        width, height: in px.

    Returns:
        An ``<svg>``; nothing when there is no finite estimate.
    """
    if not math.isfinite(row.estimate):
        return ""
    bounded = math.isfinite(row.low) and math.isfinite(row.high)
    margins = [row.margin] if math.isfinite(row.margin) and row.margin else []
    if margins and _both_sides(row):
        margins.append(-row.margin)
    marks = [0.0, row.estimate, *margins, *((row.low, row.high) if bounded else ())]
    low, high = min(marks), max(marks)
    span = (high - low) or 1.0
    low, high, middle = low - 0.06 * span, high + 0.06 * span, height / 2

    def x(value: float) -> str:
        return f"{width * (value - low) / (high - low):.1f}"

    lines = f'<path class="mixkd-zero" d="M{x(0)} 2V{height - 2}"/>'
    lines += "".join(f'<path class="mixkd-margin" d="M{x(margin)} 2V{height - 2}"/>' for margin in margins)
    bar = f'<path d="M{x(row.low)} {middle}H{x(row.high)}" stroke-width="3"/>' if bounded else ""
    kind = row.outcome.replace(" ", "-")
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" aria-hidden="true">{lines}'
        f'<g class="mixkd-{kind}" stroke="var(--badge)" fill="var(--badge)">{bar}'
        f'<circle cx="{x(row.estimate)}" cy="{middle}" r="5"/></g></svg>'
    )


def _both_sides(row: Any) -> bool:
    """Whether a comparison was judged as an equivalence: its outcome fits no one-sided reading of its margin."""
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return False
    inside = -row.margin < row.low and row.high < row.margin
    return (
        (row.outcome == "supported" and inside)
        or (row.outcome == "not supported" and row.low >= row.margin)
        or (row.outcome == "unresolved" and row.low <= -row.margin)
    )


def _waiting(names: Sequence[str]) -> str:
    """Profiles without records: what they are, the command, the cost."""
    if not names:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(load_profile(name).title)}</td>'
        f"<td><code>mixkd reproduce --profile {html.escape(name)}</code></td><td>{_duration(load_profile(name).minutes)}</td></tr>"
        for name in names
    )
    return (
        '<div class="mixkd-table mixkd-waiting" tabindex="0" role="region" aria-label="profiles that were not run"><table>'
        f"<caption>Not run: these profiles have no records here. Costs hold where a profile is meant to run.</caption>"
        '<thead><tr><th scope="col">profile</th><th scope="col">what it is</th><th scope="col">to run it</th>'
        f'<th scope="col">about</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _duration(minutes: float) -> str:
    """Minutes as a reader says them."""
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 60 * 72 else f"{minutes / 1440:.0f} days"


def badge(outcome: str) -> str:
    """An outcome as a coloured word; colour never stands alone."""
    kind = outcome.replace(" ", "-")
    return f'<span class="mixkd-badge mixkd-{kind}"><span aria-hidden="true">{SIGNS[outcome]}</span> {html.escape(outcome)}</span>'


def verdict(judged: Judged) -> Html:
    """One verdict in words: both outcomes, the primary interval, what failed (folded), what to keep in mind, its records."""
    first = judged.stated[0] if judged.stated else None
    primary = f"{first.what[0].upper()}{first.what[1:]}: {_number(first)}." if first is not None else ""
    clears = judged.attributed == judged.as_stated == "supported"
    folds = [
        _failed("condition not met", "conditions not met", judged.stated[1:]),
        _failed("rival not cleared", "rivals not cleared", () if clears else judged.rivals),
    ]
    count = f"{len(judged.records)} records" + (f", {judged.missing} missing" if judged.missing else "")
    paragraphs = [f"<p>{html.escape(words)}</p>" if words else "" for words in (primary, judged.note)]
    markup = (
        '<div class="mixkd-verdict"><p class="mixkd-claim">'
        f'<span class="mixkd-letter">({judged.claim})</span> {html.escape(judged.sentence)}</p>'
        f"<p>As stated: {badge(judged.as_stated)} &#8195; Attributed: {badge(judged.attributed)}</p>"
        f"{paragraphs[0]}{''.join(markup for markup, _ in folds)}{paragraphs[1]}"
        f'<p class="mixkd-source">profile {html.escape(judged.profile)}, {count}</p></div>'
    )
    said = [words for words in (primary, *(words for _, words in folds), judged.note) if words]
    return Html(markup, f"as stated: {judged.as_stated}; attributed: {judged.attributed}. " + " ".join(said))


def _failed(one: str, many: str, comparisons: Sequence[Any]) -> tuple[str, str]:
    """The comparisons that are not supported, folded under their number, and in plain words; empty where there are none."""
    items = [f"{c.what}: {_number(c)}, {c.outcome}" for c in comparisons if c.outcome != "supported"]
    if not items:
        return "", ""
    head = f"{len(items)} {one if len(items) == 1 else many}"
    listed = "".join(f"<li>{html.escape(item)}</li>" for item in items)
    return f"<details><summary>{head}</summary><ul>{listed}</ul></details>", f"{head}: {'; '.join(items)}."


def _number(comparison: Any) -> str:
    if comparison.estimate != comparison.estimate:
        return "no estimate"
    bounds = f"{comparison.low:.3g} to {comparison.high:.3g}" if comparison.low == comparison.low else "no interval"
    margin = f", margin {comparison.margin:g}" if comparison.margin else ""
    return f"{comparison.estimate:.3g} (95 % interval {bounds}, {comparison.seeds} seeds{margin})"


def comparisons(judged: Judged) -> Plot | Html:
    """Every interval a verdict rests on, against its margin: those of the claim first, then the rivals."""
    rows = [
        {"name": f"{comparison.what}: {comparison.outcome}", "effect": comparison.estimate, "low": comparison.low,
         "high": comparison.high, "margin": comparison.margin}
        for comparison in (*judged.stated, *judged.rivals)
        if comparison.estimate == comparison.estimate and abs(comparison.estimate) != float("inf")
    ]  # fmt: skip
    if not rows:
        return Html("<p>No interval: the records of this claim are not here.</p>", "no interval")
    return effects(pd.DataFrame(rows), unit="effect (each row in its own unit)")
