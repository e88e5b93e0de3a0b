"""Words of the glossary: described once on each page that uses them."""

from __future__ import annotations

import re

from docutils.core import publish_doctree

from mixkd import glossary

LINK = '<a class="reference internal" href="glossary.html#term-{0}"><span class="xref std std-term">{0}</span></a>'


def test_a_term_is_described_once_and_an_unknown_one_left_alone():
    body = f"<p>{LINK.format('gap')} and {LINK.format('gap')} and {LINK.format('nothing')}</p>"
    made = glossary.with_tooltips(body, {"term-gap": ("gap", "Mean <em>x</em>."), "term-other": ("other", "unused")})
    assert made.count('aria-describedby="word-term-gap"') == 2
    assert made.count('role="tooltip"') == 1
    assert '<div class="book-word" role="tooltip" id="word-term-gap" hidden><b>gap</b> Mean <em>x</em>.</div>' in made
    assert LINK.format("nothing") in made
    assert glossary.with_tooltips("<p>none</p>", {}) == "<p>none</p>"
    assert re.sub(r"<[^>]+>", "", made).startswith("gap and gap and nothing")


def test_definitions_keep_emphasis_and_escape_the_rest():
    tree = publish_doctree("A *b* ``<c>`` & d")
    assert glossary.inline(tree) == "A <em>b</em> <code>&lt;c&gt;</code> &amp; d"
