"""Verdicts on a page: the ledger of claims by profiles, one verdict in words, and the intervals it rests on.

It words what a verdict holds; it refuses to judge.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any, Protocol

import pandas as pd

from mixkd.figures.intervals import effects
from mixkd.figures.plot import Plot

SIGNS = {"supported": "✓", "not supported": "✗", "unresolved": "?", "not run": "–"}


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


def ledger(verdicts: Sequence[Judged], *, up: str = "") -> Html:
    """Claims by profiles. Each cell holds both verdicts and leads to the evidence.

    Args:
        verdicts: of one or several profiles.
        up: path from the page to the folder of the chapters.
    """
    profiles = list(dict.fromkeys(verdict.profile for verdict in verdicts))
    claims = list(dict.fromkeys(verdict.claim for verdict in verdicts))
    cells = {(verdict.claim, verdict.profile): verdict for verdict in verdicts}
    head = "".join(f'<th scope="col" colspan="2">{html.escape(name)}</th>' for name in profiles)
    sub = '<th scope="col">as stated</th><th scope="col">attributed</th>' * len(profiles)
    rows, text = [], []
    for letter in claims:
        any_verdict = next(verdict for verdict in verdicts if verdict.claim == letter)
        link = f'<a href="{html.escape(up)}{html.escape(any_verdict.chapter)}.html">{html.escape(any_verdict.title)}</a>'
        row = (
            f'<th scope="row"><span class="mixkd-letter">({letter})</span> {link}'
            f'<span class="mixkd-sentence">{html.escape(any_verdict.sentence)}</span></th>'
        )
        for name in profiles:
            verdict = cells.get((letter, name))
            for outcome in (verdict.as_stated, verdict.attributed) if verdict else ("not run", "not run"):
                row += f"<td>{badge(outcome)}</td>"
            if verdict:
                text.append(f"({letter}) {name}: as stated {verdict.as_stated}, attributed {verdict.attributed}")
        rows.append(f"<tr>{row}</tr>")
    markup = (
        '<div class="mixkd-ledger" tabindex="0" role="region" aria-label="verdicts by claim and profile"><table><thead>'
        f'<tr><th scope="col" rowspan="2">claim</th>{head}</tr><tr>{sub}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
    return Html(markup, "\n".join(text))


def badge(outcome: str) -> str:
    """An outcome as a coloured word; colour never stands alone."""
    kind = outcome.replace(" ", "-")
    return f'<span class="mixkd-badge mixkd-{kind}"><span aria-hidden="true">{SIGNS[outcome]}</span> {html.escape(outcome)}</span>'


def verdict(judged: Judged) -> Html:
    """One verdict in words: both outcomes, the primary interval, what to keep in mind, and how many records it rests on."""
    sentences = []
    if judged.stated:
        first = judged.stated[0]
        sentences.append(f"{first.what[0].upper()}{first.what[1:]}: {_number(first)}.")
        unmet = [c for c in judged.stated[1:] if c.outcome != "supported"]
        if unmet:
            sentences.append("Conditions not met: " + "; ".join(f"{c.what}, {_number(c)}, {c.outcome}" for c in unmet) + ".")
    if judged.attributed != judged.as_stated or judged.attributed != "supported":
        weak = [c for c in judged.rivals if c.outcome != "supported"]
        if weak:
            sentences.append("Rivals it does not clear: " + "; ".join(f"{c.what} ({_number(c)})" for c in weak) + ".")
    if judged.note:
        sentences.append(judged.note)
    count = f"{len(judged.records)} records" + (f", {judged.missing} missing" if judged.missing else "")
    body = " ".join(html.escape(sentence) for sentence in sentences)
    markup = (
        '<div class="mixkd-verdict"><p class="mixkd-claim">'
        f'<span class="mixkd-letter">({judged.claim})</span> {html.escape(judged.sentence)}</p>'
        f"<p>As stated: {badge(judged.as_stated)} &emsp; Attributed: {badge(judged.attributed)}</p>"
        f'<p>{body}</p><p class="mixkd-source">profile {html.escape(judged.profile)}, {count}</p></div>'
    )
    return Html(markup, f"as stated: {judged.as_stated}; attributed: {judged.attributed}. " + " ".join(sentences))


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
