"""One verdict, shown whole: both words, its premises, every interval it rests on with the region that would pass, and its rule."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from mixkd.figures.markup import Html, badge, data_name, in_words, tabulate
from mixkd.figures.panels import READING, STYLE, compared, needs, panels, said

if TYPE_CHECKING:
    from mixkd.claims import Comparison, Premise, Verdict


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

FOUND: Mapping[str, str] = {
    "a": "On blends of two images of one class, the true class loses {} of probability",
    "b": "In the paper’s setting (teacher as trained, τ 2) the teacher is {} as far from linear between images as its student",
    "c": "In the paper’s setting (teacher as trained, τ 2) the student’s predictions differ from its teacher’s by {} towards linear ones",
    "d": "Distillation on mixup is more accurate than cross-entropy by {}",
    "e": "In the paper’s setting (teacher as trained, τ 2) the overconfidence error falls {}",
    "f": "When the teacher’s temperature changes, {} of the change appears in the student’s T*",
    "g": "From the τ of best calibration to the τ of best accuracy, distillation on mixup gains {} of accuracy and {} of ECE",
    "h": "Features of distillation, at the τ nearest in accuracy, are {} as far from linear as those of distillation on mixup",
    "i": "The same change of τ costs distillation on mixup {} more ECE than it costs distillation",
}
"""The finding of each claim in words, around the estimate of its first comparison and the interval."""


def finding(judged: Verdict, *others: Verdict, on: str = "") -> Html:
    """Return the short answer of a page: yes, no or why not, and the primary interval with what the claim needs.

    Args:
        judged: the claim's verdict.
        others: verdicts on the same claim from other data sets, a line each.
        on: what the answer is about, where a page gives more than one.
    """
    lines = [_answer(verdict) for verdict in (judged, *others)]
    head = f"The short answer{f' on {on}' if on else ''}."
    words = "<br/>".join(map(html.escape, lines))
    return Html(f'<p class="mixkd-answer"><strong>{html.escape(head)}</strong> {words}</p>', "\n".join(lines))


def _answer(judged: Verdict) -> str:
    reading = ANSWERS.get((judged.as_stated, judged.attributed), f"{judged.as_stated} as stated, {judged.attributed} when attributed.")
    sentences = [f"On {data_name(judged.profile)}: {reading[0].lower()}{reading[1:]}"]
    first = _primary(judged)
    unmet = [p for p in judged.premises if p.met is not True]
    if judged.as_stated == "not run":
        sentences += [f"{judged.command} trains what it needs."] if judged.command else []
    elif judged.as_stated in ("premise not met", "unresolved") and unmet:
        worst = min(unmet, key=lambda p: p.met is None)
        head = "Its premise is not met" if worst.met is False else "Its premise is not resolved"
        value = said(worst) if math.isfinite(worst.estimate) else "not run here"
        sentences.append(f"{head}: {in_words(_bare(worst.what))}: {value}; needed: {needs(worst)}.")
    elif first is not None and math.isfinite(first.estimate):
        least = ", with the teacher that helps least" if judged.claim == "d" and len(judged.stated) > 1 else ""
        rows = [first, *(judged.stated[1:] if judged.claim == "g" else ())]
        values = [said(row).replace("+", "") if row.low >= 0 else said(row) for row in rows]  # a sentence with a verb needs no plus
        sentences.append(f"{FOUND[judged.claim].format(*values)}{least}; the claim needs {' and '.join(map(needs, rows))}.")
        if judged.as_stated == "depends":
            sentences.append(in_words(judged.note.split(". ")[0].rstrip(".")) + ".")
        elif first.outcome != judged.as_stated:
            others = [row for row in judged.stated[1:] if row.outcome == judged.as_stated and math.isfinite(row.estimate)]
            sentences += [f"Another part decides: {in_words(row.what)}: {said(row)}; needed: {needs(row)}." for row in others[:1]]
    return " ".join(sentences)


def _primary(judged: Verdict) -> Comparison | None:
    """Return the comparison that speaks for a verdict: the first, or the weakest of one a teacher."""
    if not judged.stated:
        return None
    first = judged.stated[0]
    alike = [row for row in judged.stated if row.half and (row.unit, row.kind, row.margin) == (first.unit, "above", first.margin)]
    return min(alike, key=lambda row: row.estimate) if len(alike) == len(judged.stated) > 1 else first


def judgement(judged: Verdict, *others: Verdict) -> Html:
    """Return a verdict as the page shows it; it needs no script.

    In sight: both words, the premises with their numbers, and one panel for each unit with every stated comparison and every rival, the
    region that passes shaded. Folded: what else was measured, the rule, the records. Text has the same for where there is no HTML.

    Args:
        judged: see :class:`mixkd.claims.Verdict`.
        others: verdicts on the same claim from other data sets, beside whose first comparison this one's is drawn.
    """
    reading = ANSWERS.get((judged.as_stated, judged.attributed), "")
    note = _note(judged)
    words = (
        f'<p>As stated: {badge(judged.as_stated)} <span class="mixkd-gap"></span> Attributed: {badge(judged.attributed)}</p>'
        f"<p>On {html.escape(data_name(judged.profile))}. {html.escape(reading)} {html.escape(note)}</p>"
    )
    if judged.missing:
        more = f" <code>{html.escape(judged.command)}</code> trains them." if judged.command else ""
        words += f"<p>{judged.missing} of the runs it asks for are not here.{more}</p>"
    premised = "" if judged.as_stated == "not run" else premises(judged.premises)
    shown = ""
    if any(math.isfinite(row.estimate) for row in (*judged.stated, *judged.rivals)):
        shown = f'{_on_each((judged, *others)) if others else ""}{compared(judged)}<p class="mixkd-source">{READING}</p>'
    markup = (
        f'<style>{STYLE}</style><div class="mixkd-verdict"><p class="mixkd-claim"><span class="mixkd-letter">({judged.claim})</span> '
        f"{html.escape(judged.sentence)}</p>{words}{premised}{shown}{_folds(judged)}</div>"
    )
    return Html(markup, "\n".join(_text(judged)))


def _on_each(verdicts: Iterable[Verdict]) -> str:
    """Draw the comparison that speaks for each verdict, a row for each data set."""
    rows = [
        replace(first, what=data_name(v.profile), outcome=v.as_stated if v.as_stated == "premise not met" else first.outcome)
        for v in verdicts
        if (first := _primary(v)) is not None
    ]
    return panels(rows, "The same comparison on each data set")


def _note(judged: Verdict) -> str:
    """Return the note in words, without the sentences that the table of premises and the panels already show."""
    note = judged.note
    for part in judged.stated:
        note = note.replace(f"{part.what}: {part.resolving}.", "")
    for p in judged.premises:
        note = re.sub(rf"{re.escape(f'{p.name} ')}(?:fails|is not resolved): {re.escape(p.what)} is .*?, the bound .*?\.(?= |$)", "", note)
    return " ".join(in_words(note).split())


def _text(judged: Verdict) -> list[str]:
    lines = [f"({judged.claim}) {data_name(judged.profile)}: as stated {judged.as_stated}, attributed {judged.attributed}. {_note(judged)}"]
    lines += [f"{p.name}: {in_words(p.what)}: {said(p)}, {_MET[p.met][0]}" for p in judged.premises]
    for title, rows in (("stated", judged.stated), ("rival", judged.rivals), ("shown", judged.shown)):
        for row in rows:
            seeds = f", {row.seeds} seeds" if math.isfinite(row.estimate) else ""
            lines.append(f"{title}: {in_words(row.what)}: {said(row)}{seeds}; needs {needs(row)}; {row.outcome}")
    return [line.strip() for line in lines]


# --- premises -------------------------------------------------------------------------------------------------------------

_MET: Mapping[bool | None, tuple[str, str]] = {
    True: ("met", "supported"), False: ("not met", "not-supported"), None: ("not resolved", "unresolved"),
}  # fmt: skip
"""What is said of a premise, and the look of its badge."""


def premises(given: Sequence[Premise]) -> str:
    """Return premises as a compact table: what a data set must be like for the claim to be testable on it."""
    rows = [(html.escape(in_words(_bare(p.what))), _premise(p)) for p in given]
    return tabulate(("premise", "measured", "needed", ""), rows, label="premises", kind="mixkd-premises") if rows else ""


def premises_of(verdicts: Iterable[Verdict]) -> Html:
    """Return the premises that several verdicts rest on, each once: what it is, what was measured, what is needed, who asks for it.

    Where claims ask for one premise of several teachers, the one that several share is shown, unless another is not met.

    Args:
        verdicts: of one profile.
    """
    asked: dict[str, list[tuple[str, Premise]]] = {}
    for judged in verdicts:
        for p in judged.premises:
            if re.fullmatch(r"P\d", p.name):
                asked.setdefault(p.name, []).append((judged.claim, p))
    body, text = [], []
    for name, rows in sorted(asked.items()):
        found = [p for _, p in rows]
        worst = [p for p in found if p.met is False] or [p for p in found if p.met is None] or found
        p = max(worst, key=found.count)
        letters = ", ".join(dict.fromkeys(f"({letter})" for letter, _ in rows))
        what = f"{name}: {in_words(_bare(p.what))}"
        body.append((html.escape(what), (*_premise(p), letters)))
        text.append(f"{what}: {said(p)}, needed {needs(p)}, {_MET[p.met][0]}; claims {letters}")
    head = ("premise", "measured", "needed", "", "claims")
    return Html(tabulate(head, body, label="premises", kind="mixkd-premises"), "\n".join(text))


def _premise(p: Premise) -> tuple[str, str, str]:
    """Return the cells of a premise: measured, needed, whether it is met."""
    words, look = _MET[p.met]
    return html.escape(said(p)), html.escape(needs(p)), f'<span class="mixkd-badge mixkd-{look}">{words}</span>'


def _bare(what: str) -> str:
    """Without the bound that a premise's words end in: it has a column of its own."""
    return re.sub(r",? \((?:at least|at most|above|equivalent within)[^)]*\)$|, nats \(above 0\)$", "", what)


def _folds(judged: Verdict) -> str:
    parts = {"Statistic": judged.statistic, "Rule": judged.rule, "Simpler explanations": judged.alternatives}
    shown = f"<p>{codes(judged.records)}</p><p><code>mixkd records show ID</code> prints where one came from.</p>"
    found = {
        "What else was measured": panels(judged.shown, "On these no verdict rests"),
        "The rule, and the simpler explanations it must beat": paragraphs(parts),
        f"{len(judged.records)} records": shown if judged.records else "",
    }
    return "".join(f"<details><summary>{html.escape(name)}</summary>{body}</details>" for name, body in found.items() if body)


def codes(ids: Iterable[str]) -> str:
    """Return ids of records as code."""
    return " ".join(f"<code>{html.escape(id)}</code>" for id in ids)


def paragraphs(parts: Mapping[str, str]) -> str:
    """Return a paragraph for each part that has words, its name in bold before them."""
    return "".join(f"<p><strong>{name}.</strong> {html.escape(words)}</p>" for name, words in parts.items() if words)
