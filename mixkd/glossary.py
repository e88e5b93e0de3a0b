"""Words of the glossary where they are used: each page carries the definitions of the terms it links to, as tooltips.

They come from the glossary of the book while a page is made. This refuses to define anything itself, and to fetch.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

SCRIPT = "book_terms.js"
_LINK = re.compile(r'<a class="reference internal" href="([^"#]*#(term-[^"]+))"><span class="xref std std-term">')
_MARKUP = {nodes.emphasis: "em", nodes.strong: "strong", nodes.literal: "code", nodes.subscript: "sub", nodes.superscript: "sup"}


def connect(app: Sphinx) -> None:
    """Called by the extension's own setup."""
    app.connect("env-get-outdated", _pages_that_quote)
    app.connect("html-page-context", _carry)


def definitions(env: BuildEnvironment) -> dict[str, tuple[str, str]]:
    """Anchor of each term -> (the term, its definition as HTML without links)."""
    terms = env.get_domain("std").get_objects()
    found: dict[str, tuple[str, str]] = {}
    for page in sorted({page for _, _, kind, page, _, _ in terms if kind == "term"}):
        for item in env.get_doctree(page).findall(nodes.definition_list_item):
            body = " ".join(inline(part) for part in item.findall(nodes.paragraph))
            for term in item.findall(nodes.term):
                for anchor in term["ids"]:
                    found[anchor] = (_first_line(term), body)
    return found


def inline(node: nodes.Node) -> str:
    """Running text as HTML: emphasis, code and formulas stay, links become plain words."""
    if isinstance(node, nodes.Text):
        return html.escape(str(node), quote=False)
    if isinstance(node, nodes.math):
        return f'<span class="math notranslate nohighlight">\\({html.escape(node.astext(), quote=False)}\\)</span>'
    inner = "".join(inline(child) for child in node.children)
    tag = next((tag for kind, tag in _MARKUP.items() if isinstance(node, kind)), None)
    return f"<{tag}>{inner}</{tag}>" if tag else inner


def with_tooltips(body: str, known: dict[str, tuple[str, str]]) -> str:
    """A page's body, each link to a known term described by a tooltip, and the tooltips at its end.

    The tooltips are ``hidden`` until the script shows one; what a link is described by is read aloud all the same.
    """
    used: dict[str, tuple[str, str]] = {}

    def describe(match: re.Match[str]) -> str:
        address, anchor = match.groups()
        if anchor not in known:
            return match[0]
        used[anchor] = known[anchor]
        return f'<a class="reference internal book-term" href="{address}" aria-describedby="word-{anchor}"><span class="xref std std-term">'

    body = _LINK.sub(describe, body)
    tips = "".join(
        f'<div class="book-word" role="tooltip" id="word-{anchor}" hidden><b>{html.escape(term)}</b> {text}</div>'
        for anchor, (term, text) in used.items()
    )
    return f'{body}<div class="book-words">{tips}</div>' if tips else body


def _first_line(term: nodes.term) -> str:
    return "".join(child.astext() for child in term.children if not isinstance(child, nodes.system_message)).splitlines()[0]


def _pages_that_quote(app: Sphinx, env: BuildEnvironment, added: set[str], changed: set[str], removed: set[str]) -> Iterable[str]:
    """A changed definition stands on many pages: all are made again."""
    holders = {page for _, _, kind, page, _, _ in env.get_domain("std").get_objects() if kind == "term"}
    return env.found_docs if holders & (added | changed | removed) else ()


def _carry(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    if "std-term" not in context.get("body", ""):
        return
    if not hasattr(app, "mixkd_definitions"):
        app.mixkd_definitions = definitions(app.env)  # type: ignore[attr-defined]
    context["body"] = with_tooltips(context["body"], app.mixkd_definitions)  # type: ignore[attr-defined]
