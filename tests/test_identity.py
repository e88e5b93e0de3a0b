"""Icon, card, description, cover: made by code, telling what the records say, inventing no address."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from docutils.core import publish_doctree
from PIL import Image

from mixkd import glossary, identity
from mixkd.figures import cover, theme
from mixkd.figures.cover import Bundle


def _bundle(arm: str = "kd_mixup") -> Bundle:
    return Bundle(arm, np.linspace([0.0, 0.1], [1.0, 0.7], 11).T)


def test_a_bundle_runs_from_the_first_image_to_the_second_and_leaves_pairs_of_one_class_out():
    lam = [0.0, 0.5, 1.0]  # weight of the first image
    p = np.zeros((3, 2, 4))
    p[:, 0, 2], p[:, 0, 1] = [0.9, 0.5, 0.2], [0.1, 0.5, 0.8]
    p[:, 1, 3] = 1
    found = cover.bundle("teacher", p, np.array([[1, 2], [3, 3]]), lam)
    np.testing.assert_allclose(found.answers, [[0.2, 0.5, 0.9]])


def test_the_cover_is_well_formed_and_says_in_words_what_it_draws():
    images = np.eye(8), np.fliplr(np.eye(8))
    markup = cover.cover([_bundle("teacher"), _bundle()], images).markup
    ElementTree.fromstring(markup)
    labels = re.findall(r'aria-label="([^"]+)"', markup)
    assert len(labels) == 3
    assert "0.05 at the first image, 0.45 half way, 0.85 at the second" in labels[2]
    for arm in ("teacher", "kd_mixup"):
        assert theme.look(arm).color in markup
    assert "cover-strip" not in cover.cover([_bundle()]).markup, "no strip where the images are not at hand"


def test_ink_of_a_blend_is_the_mean_of_both():
    first, second = np.zeros((2, 2)), np.zeros((2, 2))
    first[0, 0], second[1, 1] = 1, 1
    drawn = cover.blends(first, second, steps=3)
    shades = dict(re.findall(r'fill-opacity="([\d.]+)" d="([^"]+)"', drawn))
    assert set(shades) == {"1", "0.5"}
    assert shades["1"].count("M") == 2
    assert shades["0.5"].count("M") == 2


@pytest.mark.parametrize("bundles", [[], [_bundle("teacher"), _bundle()]])
def test_card_and_icons_are_pictures_of_their_size(bundles):
    images = (np.eye(8), np.ones((8, 8))) if bundles else None
    with Image.open(
        io.BytesIO(cover.card("A title that is far too long for one line of a card, so it shrinks", "w " * 200, bundles, images))
    ) as card:
        assert (card.format, card.size) == ("PNG", (1200, 630))
        edge = np.asarray(card.convert("L"))[20:, -40:]
        assert (edge == 255).all(), "words run over the edge"
    with Image.open(io.BytesIO(cover.touch_icon())) as icon:
        assert icon.size == (180, 180)
    ElementTree.fromstring(cover.icon())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Title\n=====\n\nshort\n\nThis is the first paragraph that says something in words.",
            "This is the first paragraph that says something in words.",
        ),
        ("Title\n=====\n\n" + "One sentence of a good length that ends here. " * 8, "One sentence of a good length that ends here. " * 4),
        ("Title\n=====\n\n* only a list that is long enough to be taken for a paragraph of text", ""),
    ],
)
def test_a_page_is_described_by_its_first_words(text, expected):
    tree = publish_doctree(text, settings_overrides={"doctitle_xform": False})
    assert identity.description(tree) == expected.strip()


def test_meta_elements_hold_what_is_known_and_escape_it():
    made = identity.tags('A "title" <x>', "words", "Site", "../_static/card.png", None)
    assert "og:url" not in made
    assert 'content="A &quot;title&quot; &lt;x&gt;"' in made
    assert 'property="og:url" content="https://a.b/c.html"' in identity.tags("t", "w", "s", "p", "https://a.b/c.html")


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
