"""How the site shows itself beyond its pages: icon, social card, a description of each page.

Everything is made by code while the site is built. It refuses to invent an address: absolute links to the site are written only when
``MIXKD_SITE_URL`` or the configuration's ``html_baseurl`` says where it will lie.
"""

from __future__ import annotations

import html
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils import nodes

from mixkd.chapters import LIBRARY, ROOT, fingerprint
from mixkd.figures import cover

if TYPE_CHECKING:
    from sphinx.application import Sphinx
    from sphinx.config import Config

WORDS = "Teach a small network with blended images: what happens to its confidence? An executable book, every number computed."
_LONGEST = 200
_SHORTEST = 50


def connect(app: Sphinx) -> None:
    """Called by the extension's own setup."""
    app.connect("config-inited", _icon, priority=400)  # before Sphinx checks that the icon is there
    app.connect("builder-inited", _card)
    app.connect("html-page-context", _head)


def description(doctree: nodes.document) -> str:
    """The first paragraph of a page that says something in words, cut at a sentence or a word; empty where there is none."""
    found = ""
    for paragraph in doctree.findall(nodes.paragraph):
        words = " ".join(paragraph.astext().split())
        if isinstance(paragraph.parent, nodes.section) and len(words) >= _SHORTEST and not list(paragraph.findall(nodes.math)):
            found = words
            break
    if len(found) <= _LONGEST:
        return found
    head = found[:_LONGEST]
    sentence = max(head.rfind(". "), head.rfind("? "))
    return head[: sentence + 1] if sentence > _SHORTEST else head[: head.rfind(" ")].rstrip(",;:") + " …"


def tags(title: str, words: str, site: str, picture: str, address: str | None) -> str:
    """The ``meta`` elements of a page.

    Args:
        title: of the page.
        words: its description.
        site: the title of the book.
        picture: address of the card, relative to the page.
        address: absolute address of the page, or None where it is not known.
    """
    found = {
        ("name", "description"): words,
        ("property", "og:title"): title,
        ("property", "og:description"): words,
        ("property", "og:site_name"): site,
        ("property", "og:type"): "article",
        ("property", "og:url"): address,
        ("property", "og:image"): picture,
        ("property", "og:image:width"): "1200",
        ("property", "og:image:height"): "630",
        ("property", "og:image:alt"): f"{site}: blends of two digits, and what a teacher and its student say about them",
        ("name", "twitter:card"): "summary_large_image",
    }
    return "".join(f'<meta {kind}="{key}" content="{html.escape(value, quote=True)}" />\n' for (kind, key), value in found.items() if value)


def _vendor(app: Sphinx) -> Path:
    folder = Path(app.outdir).parent / "vendor"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _icon(app: Sphinx, config: Config) -> None:
    path = _vendor(app) / "icon.svg"
    path.write_text(cover.icon(), encoding="utf-8")
    (path.parent / "touch.png").write_bytes(cover.touch_icon())
    if not config.html_favicon:
        config.html_favicon = str(path)
    if not config.html_logo:
        config.html_logo = str(path)
        config.html_theme_options.setdefault("logo", {"text": str(config.html_title or config.project), "alt_text": ""})
    if known := os.environ.get("MIXKD_SITE_URL"):
        config.html_baseurl = known.rstrip("/") + "/"


def _card(app: Sphinx) -> None:
    """Draw the card, unless it was drawn from the same records by the same code."""
    path, stamp = _vendor(app) / "card.png", _vendor(app) / "card.txt"
    made_of = f"{app.config.html_title or app.config.project} {fingerprint(LIBRARY / 'figures', ROOT / 'book' / 'records')}"
    if path.is_file() and stamp.is_file() and stamp.read_text(encoding="utf-8") == made_of:
        return
    from mixkd.claims import Evidence

    try:
        bundles, images = cover.material(Evidence.of("digits", "committed"))
    except (FileNotFoundError, KeyError):  # a library without its records
        bundles, images = [], None
    path.write_bytes(cover.card(str(app.config.html_title or app.config.project), WORDS, bundles, images))
    stamp.write_text(made_of, encoding="utf-8")


def _head(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: nodes.document | None) -> None:
    words = (description(doctree) if doctree is not None else "") or WORDS
    base = app.config.html_baseurl
    picture = f"{base.rstrip('/')}/_static/card.png" if base else context["pathto"]("_static/card.png", 1)
    title = html.unescape(nodes.Text(context.get("title", "")).astext())
    made = tags(title or app.config.project, words, app.config.html_title or app.config.project, picture, context.get("pageurl"))
    touch = f'<link rel="apple-touch-icon" href="{context["pathto"]("_static/touch.png", 1)}" />\n'
    context["metatags"] = context.get("metatags", "") + made + touch
