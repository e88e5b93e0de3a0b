"""What the map says in words: three sentences under it, and for each claim where it holds, where it fails and what was not tried."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from mixkd.figures.map import COLUMNS, fall, interval_of, label, points, tau_word, times
from mixkd.figures.markup import Html, absent, data_name, tabulate
from mixkd.studies import Cell

if TYPE_CHECKING:
    from mixkd.claims import Claim, Reading, Row, Survey


def found(surveys: Iterable[Survey]) -> Html:
    """Return three sentences: what decides, where tenfold holds and where it fails, what the cheapest rival does.

    Args:
        surveys: of :func:`mixkd.claims.survey`, in the order in which data sets are named.
    """
    given = list(surveys)
    said = [sentence for sentence in (_decides(given), _holds(given), _rival(given)) if sentence]
    if not said:
        return absent("Nothing is said here: no cell of the map was run.")
    items = "".join(f"<li><strong>{html.escape(head)}</strong> {html.escape(rest)}</li>" for head, rest in said)
    return Html(f'<ol class="mixkd-found">{items}</ol>', "\n".join(f"{i}. {head} {rest}" for i, (head, rest) in enumerate(said, 1)))


def _at(survey: Survey, calibration: str, tau: float | str | None = None) -> Reading | None:
    paper = survey.profile.paper_cell
    found = survey.readings.get(("kd_mixup", Cell(paper.teacher, calibration, paper.tau if tau is None else tau)))  # type: ignore[arg-type]
    return found if found is not None and found.model is not None else None


def _decides(surveys: Sequence[Survey]) -> tuple[str, str] | None:
    """Whether calibrating the teacher or choosing tau moves the ratio more, with the numbers. Cells that do not count are left out."""
    told, winners = [], []
    for survey in surveys:
        raw, fitted = _at(survey, "raw"), _at(survey, "fitted")
        if raw is None or fitted is None or raw.model is None or fitted.model is None or raw.as_stated == "premise not met":
            continue
        swept = [one for tau in survey.profile.taus if tau != "std" and (one := _at(survey, "raw", tau)) is not None and not one.bought]
        ratios = [one.ratio.estimate for one in swept]
        before, other = 10**raw.ratio.estimate, 10**fitted.ratio.estimate
        after = f"{times(other)} times" if min(before, other) > 1.05 else fall(other)
        gain = points(fitted.model.accuracy - raw.model.accuracy)
        words = (
            f"On {label(survey)} at τ {survey.profile.paper_cell.tau:g} the student is {fall(before)} when the teacher is left as trained, "
            f"{after} when it is calibrated first (accuracy {gain} points)"
        )
        if len(ratios) > 1:
            ends = [pick(swept, key=lambda one: one.ratio.estimate) for pick in (max, min)]
            told_ends = [f"{times(10**one.ratio.estimate)} times (τ {tau_word(one.cell.tau)})" for one in ends if one.cell is not None]
            words += f"; over all τ, as trained, from {' to '.join(told_ends)}"
            winners.append(abs(fitted.ratio.estimate - raw.ratio.estimate) >= max(ratios) - min(ratios))
        told.append(words)
    if not told:
        return None
    if not winners:
        head = "Calibrating the teacher changes the answer."
    elif all(winners):
        head = "The teacher’s calibration decides."
    elif not any(winners):
        head = "τ decides more than the teacher’s calibration."
    else:
        head = "The teacher’s calibration decides on some data, τ on others."
    return head, f"{'. '.join(told)}."


def _holds(surveys: Sequence[Survey]) -> tuple[str, str] | None:
    ran = [(survey, survey.ran) for survey in surveys if survey.ran]
    if not ran:
        return None
    every = [reading for _, readings in ran for reading in readings]
    yes = [reading for reading in every if reading.as_stated == "supported"]
    each = ", ".join(f"{label(s)} {sum(r.as_stated == 'supported' for r in own)} of {len(own)}" for s, own in ran)
    head = f"Tenfold holds in {len(yes)} of {_cells(len(every))}{f' ({each})' if len(ran) > 1 else ''}."
    where = _places([reading.cell for reading in yes])
    no = [reading for reading in every if reading.as_stated == "not supported"]
    bought = sum(reading.bought and reading.ratio.estimate >= 1 for reading in no)
    parts = [f"It holds where the teacher is {where}"] if where and len(yes) < len(every) else []
    counted = [reading for reading in every if not reading.bought and reading.as_stated != "premise not met"]
    if not yes and counted:
        best = max(counted, key=lambda reading: reading.ratio.estimate)
        parts.append(f"the best student that counts is {fall(10**best.ratio.estimate)} under a teacher that is {_places([best.cell])}")
    parts.append(
        f"{'it' if yes else 'tenfold'} fails in {len(no)}"
        + (f" ({bought} of them exceed ten, but are underconfident or do not lower NLL)" if bought else "")
    )
    if open_ := sum(reading.as_stated == "unresolved" for reading in every):
        parts.append(f"{open_} {'is' if open_ == 1 else 'are'} undecided")
    if barred := sum(reading.as_stated == "premise not met" for reading in every):
        parts.append(f"{barred} cannot test it, because a premise is not met")
    rest = "; ".join(parts)
    return head, f"{rest[0].upper()}{rest[1:]}."


def _rival(surveys: Sequence[Survey]) -> tuple[str, str] | None:
    told, tenfold = [], []
    for survey in surveys:
        ratio, paper = survey.rival.ratio, _at(survey, survey.profile.paper_cell.calibration)
        if math.isnan(ratio.estimate):
            continue
        interval = "" if math.isnan(ratio.low) else f" ({interval_of(survey.rival)})"
        words = f"On {label(survey)} it is {fall(10**ratio.estimate)}{interval}"
        if paper is not None:
            less = paper.gain.estimate >= 0
            gain = points(abs(paper.gain.estimate)).lstrip("+")
            words += (
                f" {'but' if less else 'and'} {gain} points {'less' if less else 'more'} accurate than the student in the paper’s setting"
            )
        told.append(words)
        tenfold.append(survey.rival.as_stated == "supported")
    if not told:
        return None
    does = "reaches tenfold" if all(tenfold) else "does not reach tenfold" if not any(tenfold) else "reaches tenfold on some data"
    return (
        f"The cheapest rival {does}:",
        f"the plain student, its logits divided by one number fitted on validation images. {'. '.join(told)}.",
    )


def standing(rows: Iterable[Row], claims: Mapping[str, Claim]) -> Html:
    """Return a row for each claim: where it holds as stated, where it does not, where it is open, what was not tried.

    Args:
        rows: of :func:`mixkd.claims.across`.
        claims: :data:`mixkd.claims.CLAIMS`, for titles, sentences and pages.
    """
    given = list(rows)
    if not given:
        return absent("No table: no profile has records in this store.")
    groups = {
        "holds": ("supported",), "does not hold": ("not supported", "depends"), "open": ("unresolved", "premise not met"),
        "not tried": ("not run",),
    }  # fmt: skip
    body, text = [], []
    for letter in dict.fromkeys(row.claim for row in given):
        own, claim = [row for row in given if row.claim == letter], claims[letter]
        found = {name: [row for row in own if row.as_stated in words] for name, words in groups.items()}
        link = f'<a href="{html.escape(claim.chapter)}.html">{html.escape(claim.title)}</a>'
        name = f'({letter}) {link}<span class="mixkd-sentence">{html.escape(claim.sentence)}</span>'
        body.append((name, [_group(rows, own) for rows in found.values()]))
        text.append(f"({letter}) {claim.title}: {', '.join(f'{name} {len(rows)}' for name, rows in found.items())}")
    caption = (
        "Cells of the map in which the claim holds as stated, does not (or only in part), is open (undecided, or this data set cannot test "
        "it), or was not run."
    )
    head, columns = ("claim", "holds", "does not", "open", "not tried"), [f' data-group="{name}"' for name in groups]
    markup = tabulate(head, body, label="where each claim holds", caption=caption, kind="mixkd-standing", columns=columns)
    return Html(markup, "\n".join(text))


def _group(rows: Sequence[Row], every: Sequence[Row]) -> str:
    out = ""
    for profile in dict.fromkeys(row.profile for row in rows):
        own = [row for row in rows if row.profile == profile]
        planned = sum(row.profile == profile for row in every)
        count = f" {len(own)} of {planned}" if planned > 1 else ""
        out += f"<span>{html.escape(data_name(profile))}{count}</span>"
        if own[0].as_stated != "not run" and (where := _where(own)):
            out += f"<small>{html.escape(where)}</small>"
    return out or "–"


def _where(rows: Sequence[Row], most: int = 6) -> str:
    """Return the places of rows in words; "" if a row has no place or there are more than ``most``."""
    if len(rows) > most or any(row.calibration is None for row in rows):
        return ""
    if all(row.tau is not None for row in rows):
        return _places([Cell(row.teacher, row.calibration, row.tau) for row in rows])  # type: ignore[arg-type]
    by: dict[str, list[str]] = {}
    for row in rows:
        by.setdefault(str(row.teacher), []).append(COLUMNS[row.calibration or ""])
    return "; ".join(f"{teacher} {', '.join(columns)}" for teacher, columns in by.items())


def _places(cells: Sequence[Cell | None]) -> str:
    """Cells by the calibration of their teacher: "calibrated (τ 1, 2) or as trained (τ 1)"."""
    by: dict[str, list[str]] = {}
    for cell in filter(None, cells):
        by.setdefault(COLUMNS[cell.calibration], []).append(tau_word(cell.tau))
    return " or ".join(f"{name} (τ {', '.join(dict.fromkeys(taus))})" for name, taus in by.items())


def _cells(n: int) -> str:
    return "one cell" if n == 1 else f"{n} cells that were run"
