"""HTML that shows itself, a table, the badge of an outcome, and numbers and names as a reader says them."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from mixkd.spec import ARMS

SIGNS: Mapping[str, str] = {
    "supported": "✓", "not supported": "✗", "depends": "±", "unresolved": "?", "premise not met": "○", "not run": "–",
}  # fmt: skip
"""The sign beside each of the six words of a verdict; colour never stands alone."""
CALIBRATIONS: Mapping[str, str] = {"half": "twice too sharp", "raw": "as trained", "fitted": "calibrated", "double": "twice too soft"}
"""How a teacher's logits are tempered, from the most to the least confident, in words."""

DATA: Mapping[str, str] = {
    "cifar10-jpeg": "photographs", "overconfident": "photographs, an overconfident student", "tiny-imagenet-32": "200 classes",
    "gaussians": "Gaussian classes", "gaussians16": "Gaussian classes, 16-D",
}  # fmt: skip
"""What a reader calls a profile, where that is not its name."""

_NAMES = "|".join(sorted(ARMS, key=len, reverse=True))
_WORDS: tuple[tuple[str, str], ...] = (
    (r"\bL_NL\b", "non-linearity"),
    (r"\blog10 of |\blog of ", ""), (r"\blog T\*", "T*"), (r"\blog temperature\b", "temperature"), (r"\blog-odds\b", "log-odds"),
    (r"\babs\(([^)]*)\)", r"|\1|"), (r"\blam\b", "λ"), (r"\btau\b", "τ"),
    (r"\btemperature-scaled ce\b", "cross-entropy after one temperature"),
    (r"\b(half|double|fitted|raw) - (half|double|fitted|raw)\b", r"«\1» - «\2»"), (r" - ", " − "),
    (r"(?<![\w.)])-(?=0 )", ""), (r"(?<![\w.)])-(?=\d)", "−"),
)  # fmt: skip


class Html:
    """A block of HTML that shows itself in a notebook and on the page, with its text for where there is no HTML."""

    def __init__(self, markup: str, text: str) -> None:
        self.markup, self.text = markup, text

    def _repr_html_(self) -> str:
        return self.markup

    def __repr__(self) -> str:
        return self.text


ABSENT = 'class="mixkd-absent"'
"""What marks a sentence in the place of a figure, so that a program can tell a page that lacks records."""


def absent(words: str) -> Html:
    """Return a sentence in the place of a figure."""
    return Html(f"<p {ABSENT}><em>{html.escape(words)}</em></p>", words)


def tabulate(
    head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], *,
    label: str, caption: str = "", kind: str = "", columns: Sequence[str] = (),
) -> str:  # fmt: skip
    """Return a table of the book as HTML; all words but the label and the caption are HTML already.

    Args:
        head: titles, the first over the names of the rows.
        rows: the name of each, and its cells.
        label: its name for a screen reader.
        caption: words over it.
        kind: more classes of the block.
        columns: attributes of the columns after the first, such as ``' class="mixkd-words"'``.
    """
    kinds = columns or [""] * (len(head) - 1)
    titles = "".join(f'<th scope="col"{attribute}>{title}</th>' for title, attribute in zip(head, ["", *kinds], strict=True))
    body = "".join(
        f'<tr><th scope="row">{name}</th>{"".join(f"<td{a}>{cell}</td>" for a, cell in zip(kinds, cells, strict=True))}</tr>'
        for name, cells in rows
    )
    over = f"<caption>{html.escape(caption)}</caption>" if caption else ""
    return (
        f'<div class="{f"mixkd-table {kind}".strip()}" tabindex="0" role="region" aria-label="{html.escape(label)}"><table>{over}'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def data_name(profile: str) -> str:
    """Return what a reader calls a profile."""
    return DATA.get(profile, profile)


def badge(outcome: str) -> str:
    """Return an outcome as a coloured word with its sign."""
    kind = outcome.replace(" ", "-")
    return f'<span class="mixkd-badge mixkd-{kind}"><span aria-hidden="true">{SIGNS[outcome]}</span> {html.escape(outcome)}</span>'


def in_words(what: str) -> str:
    """Return a phrase of a claim with labels for code names ("ce" is "cross-entropy", "tau" is "τ") and without logarithms."""
    for pattern, word in _WORDS:
        what = re.sub(pattern, word, what)
    what = re.sub(r"«(\w+)»", lambda found: CALIBRATIONS[found[1]], what)
    return re.sub(rf"(?<![\w-])({_NAMES})(?![\w-])", lambda found: ARMS[found[1]].label, what)


def number(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """Return a number with its zero before the point and a real minus; "–" where there is none. A rounded zero has no sign."""
    if not math.isfinite(value):
        return "–"
    words = f"{value:+.{digits}f}" if sign else f"{value:.{digits}f}"
    return words.lstrip("+-") if float(words) == 0 else words.replace("-", "−")


def times(ratio: float) -> str:
    """Return a ratio in about two digits, never rounded up to ten: "0.07", "1.03", "1.4", "14"."""
    if not math.isfinite(ratio):
        return "–"
    if ratio >= 1.25:
        return f"{ratio:.0f}" if ratio >= 10 else f"{min(ratio, 9.9):.1f}"
    return f"{ratio:.2f}" if ratio >= 0.01 else f"{ratio:.2g}"
