"""The ledger: claims by profiles, both words in a cell, which opens the evidence behind it. It words what a verdict holds."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from mixkd.figures.absent import absent
from mixkd.figures.judgement import STYLE, Judged, panels, premises
from mixkd.figures.markup import Html, badge, in_words
from mixkd.studies import load_profile, profiles


def ledger(verdicts: Mapping[str, Sequence[Judged]] | Sequence[Judged], *, first: str = "", up: str = "", waiting: bool = True) -> Html:
    """Claims by profiles. A cell holds both verdicts and opens the evidence behind them in the row below; it needs no script.

    Args:
        verdicts: of one or several profiles, or by profile as :func:`mixkd.claims.everywhere` has them.
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
    parts = premises(judged.premises)
    parts += panels(judged.stated, "As stated") + panels(judged.rivals, "Against each simpler explanation")
    note = f"<p>{html.escape(in_words(judged.note))}</p>" if judged.note else ""
    missing = f", {judged.missing} more are planned and missing" if judged.missing else ""
    ids = " ".join(f"<code>{html.escape(id)}</code>" for id in judged.records)
    name = html.escape(f"evidence-{judged.claim}-{judged.profile}")
    return (
        f'<div id="{name}" tabindex="-1" role="group" aria-label="evidence on claim {judged.claim}, profile {html.escape(judged.profile)}">'
        f'<p class="mixkd-claim">Claim ({judged.claim}) on {html.escape(judged.profile)}: '
        f"{badge(judged.as_stated)} as stated, {badge(judged.attributed)} when attributed. Chapter: {link}.</p>"
        f"{note}{parts}<p>Dot: estimate; bar: 95 % interval; shaded: where the claim passes.</p>"
        f'<details class="mixkd-ids"><summary>{len(judged.records)} records{missing}</summary><p>{ids}</p>'
        "<p>Where a record came from: <code>mixkd records show ID</code>.</p></details></div>"
    )


def rules(claims: Mapping[str, Any]) -> Html:
    """Return what each claim measures, its rule and the simpler explanations it must beat, folded under its title.

    Args:
        claims: by letter, see :class:`mixkd.claims.Claim`.
    """
    body, text = "", []
    for claim in claims.values():
        parts = {"Statistic": claim.statistic, "Rule": claim.rule, "Simpler explanations": claim.rivals}
        listed = "".join(f"<p><strong>{name}.</strong> {html.escape(words)}</p>" for name, words in parts.items())
        body += (
            f"<details><summary>({claim.letter}) {html.escape(claim.title)}: <em>{html.escape(claim.sentence)}</em></summary>{listed}"
            f'<p>Evidence: <a href="{html.escape(claim.chapter)}.html">{html.escape(claim.chapter)}</a>.</p></details>'
        )
        text.append(f"({claim.letter}) {claim.title}: {claim.sentence} " + " ".join(f"{name}: {words}." for name, words in parts.items()))
    return Html(f'<div class="mixkd-verdict">{body}</div>', "\n".join(text))


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
        f"<caption>Not run here. A profile is a data set with its recipe; the time holds where it is meant to run.</caption>"
        '<thead><tr><th scope="col">profile</th><th scope="col">what it is</th><th scope="col">to run it</th>'
        f'<th scope="col">about</th></tr></thead><tbody>{rows}</tbody></table></div>'
    )


def _duration(minutes: float) -> str:
    """Minutes as a reader says them."""
    if minutes < 100:
        return f"{minutes:.0f} min"
    return f"{minutes / 60:.0f} h" if minutes < 60 * 72 else f"{minutes / 1440:.0f} days"
