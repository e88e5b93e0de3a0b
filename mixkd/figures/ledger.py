"""The ledger: claims by profiles, both words in a cell, which opens the evidence behind it. It words what a verdict holds."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from mixkd.figures.judgement import codes, paragraphs, premises
from mixkd.figures.markup import Html, absent, badge, in_words, tabulate
from mixkd.figures.panels import READING, STYLE, compared
from mixkd.studies import load_profile, profiles

if TYPE_CHECKING:
    from mixkd.claims import Claim, Verdict


def ledger(verdicts: Mapping[str, Sequence[Verdict]] | Sequence[Verdict], *, first: str = "", waiting: bool = True) -> Html:
    """Claims by profiles. A cell holds both verdicts and opens the evidence behind them in the row below; it needs no script.

    Args:
        verdicts: of one or several profiles, or by profile as :func:`mixkd.claims.everywhere` has them.
        first: the profile whose column stands first.
        waiting: whether the profiles that were not run are listed below, with what it takes to run them.
    """
    given = [verdict for own in verdicts.values() for verdict in own] if isinstance(verdicts, Mapping) else list(verdicts)
    names = list(dict.fromkeys(verdict.profile for verdict in given if verdict.as_stated != "not run"))
    names = [name for name in (first,) if name in names] + [name for name in names if name != first]
    cells = {(verdict.claim, verdict.profile): verdict for verdict in given}
    rows, text = [], []
    for judged in {verdict.claim: verdict for verdict in given}.values():
        link = f'<a href="{html.escape(judged.chapter)}.html">{html.escape(judged.title)}</a>'
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
        "It opens the evidence: premises, intervals and where they pass, the records.</caption>"
        f'<thead><tr><th scope="col">claim</th>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
        if names
        else absent("No profile has records in this store.").markup
    )
    missing = [name for name in profiles() if name not in names] if waiting else []
    text += [f"{name}: not run; mixkd reproduce --profile {name}" for name in missing]
    return Html(f"<style>{_OPENING}{STYLE}</style>{table}{_waiting(missing)}", "\n".join(text))


# The n-th opened cell of a row shows the n-th block of the row below. A browser that does not know :has() shows them all.
_OPENING = (
    "@supports selector(:has(a)){.mixkd-ledger .mixkd-opened-row,.mixkd-opened-row>td>div{display:none}"
    ".mixkd-ledger tr:has(details[open])+.mixkd-opened-row{display:table-row}"
    + ",".join(f"tr:has(>:nth-child({n + 1}) details[open])+.mixkd-opened-row>td>div:nth-child({n})" for n in range(1, 13))
    + "{display:block}}@media print{.mixkd-ledger .mixkd-opened-row{display:table-row!important}"
    ".mixkd-opened-row>td>div:first-child{display:block!important}}"
)


def _opener(judged: Verdict) -> str:
    """Render a cell: both outcomes as the summary of the evidence in the row below."""
    name = f"evidence-{judged.claim}-{judged.profile}"
    return (
        f'<td data-profile="{html.escape(judged.profile)}"><details class="mixkd-cell"><summary>'
        f'<span class="mixkd-which">as stated</span> {badge(judged.as_stated)}'
        f' <span class="mixkd-which">attributed</span> {badge(judged.attributed)}</summary>'
        f'<a class="mixkd-to" href="#{html.escape(name)}">to the evidence<span aria-hidden="true"> ↓</span></a></details></td>'
    )


def _evidence(judged: Verdict, link: str) -> str:
    """Render what a cell rests on: each comparison with its interval against its margin, what to keep in mind, the records."""
    note = f"<p>{html.escape(in_words(judged.note))}</p>" if judged.note else ""
    missing = f", {judged.missing} more are planned and missing" if judged.missing else ""
    name = html.escape(f"evidence-{judged.claim}-{judged.profile}")
    return (
        f'<div id="{name}" tabindex="-1" role="group" aria-label="evidence on claim {judged.claim}, profile {html.escape(judged.profile)}">'
        f'<p class="mixkd-claim">Claim ({judged.claim}) on {html.escape(judged.profile)}: '
        f"{badge(judged.as_stated)} as stated, {badge(judged.attributed)} when attributed. Chapter: {link}.</p>"
        f"{note}{premises(judged.premises)}{compared(judged)}<p>{READING}</p>"
        f'<details class="mixkd-ids"><summary>{len(judged.records)} records{missing}</summary><p>{codes(judged.records)}</p>'
        "<p>Where a record came from: <code>mixkd records show ID</code>.</p></details></div>"
    )


def rules(claims: Mapping[str, Claim]) -> Html:
    """Return what each claim measures, its rule and the simpler explanations it must beat, folded under its title.

    Args:
        claims: by letter, see :class:`mixkd.claims.Claim`.
    """
    body, text = "", []
    for claim in claims.values():
        parts = {"Statistic": claim.statistic, "Rule": claim.rule, "Simpler explanations": claim.rivals}
        title, chapter = f"({claim.letter}) {html.escape(claim.title)}: <em>{html.escape(claim.sentence)}</em>", html.escape(claim.chapter)
        link = f'<p>Evidence: <a href="{chapter}.html">{chapter}</a>.</p>'
        body += f"<details><summary>{title}</summary>{paragraphs(parts)}{link}</details>"
        text.append(f"({claim.letter}) {claim.title}: {claim.sentence} " + " ".join(f"{name}: {words}." for name, words in parts.items()))
    return Html(f'<div class="mixkd-verdict">{body}</div>', "\n".join(text))


def _waiting(names: Sequence[str]) -> str:
    """Profiles without records: what they are, the command, the cost."""
    if not names:
        return ""
    rows = []
    for name in map(html.escape, names):
        plan = load_profile(name)
        rows.append((name, (html.escape(plan.title), f"<code>mixkd reproduce --profile {name}</code>", _duration(plan.minutes))))
    caption = "Not run here. A profile is a data set with its recipe; the time holds where it is meant to run."
    head = ("profile", "what it is", "to run it", "about")
    return tabulate(head, rows, label="profiles that were not run", caption=caption, kind="mixkd-waiting")


def _duration(minutes: float) -> str:
    """Minutes as a reader says them."""
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 60 * 72 else f"{minutes / 1440:.0f} days"
