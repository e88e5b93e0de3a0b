"""Finding one's way: words on hover, search, previous and next, downloads, anchors, the keyboard, paper."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]


def _pages(site: Path) -> list[Path]:
    pages = [path for path in sorted(site.rglob("*.html")) if "_static" not in path.parts]
    return [path for path in pages if 'http-equiv="Refresh"' not in path.read_text(encoding="utf-8")]


def _chapters(site: Path) -> list[Path]:
    """The pages a reader reads, not search and index."""
    return [path for path in _pages(site) if path.parent.name == "book"]


def _holding(site: Path, mark: str) -> Path:
    for path in _chapters(site):
        if mark in path.read_text(encoding="utf-8"):
            return path
    pytest.skip(f"no page of this site holds {mark}")


class _Anchors(HTMLParser):
    """What a page can be linked at, and what it links to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.tables: list[int] = []
        self.language = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id") or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "a" and given.get("name"):
            self.ids.add(given["name"])
        if tag == "html":
            self.language = given.get("lang") or ""
        if tag == "table":
            self.tables.append(0)
        if tag == "th" and self.tables:
            self.tables[-1] += 1


def test_every_link_inside_the_site_leads_somewhere(site):
    known = {path: _Anchors(path) for path in _pages(site)}
    lost = []
    for path, page in known.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link in ("#", ""):
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file():
                lost.append(f"{path.name}: {link} is no file")
            elif anchor and target in known and anchor not in known[target].ids and "=" not in anchor:  # "=": the state of a lab
                lost.append(f"{path.name}: {link} has no such anchor")
    assert not lost, "\n".join(lost)


def test_pages_name_their_language_and_tables_their_columns(site):
    for path in _pages(site):
        page = _Anchors(path)
        assert page.language == "en", path.name
        # The index of names that Sphinx makes is laid out in tables; it is no page of the book.
        assert all(page.tables) or path not in _chapters(site), f"{path.name}: a table without headers"


def test_figures_have_words_and_numbers_beside_them(site):
    for path in _chapters(site):
        text = path.read_text(encoding="utf-8")
        for label in re.findall(r'class="book-plotly"[^>]*data-label="([^"]*)"', text):
            assert len(label) > 10, f"{path.name}: a figure is called {label!r}"
        tables = re.findall(r'<details class="book-data" open>.*?</summary><div[^>]*><table', text)
        assert text.count('class="book-plotly"') == len(tables), f"{path.name}: a figure without its numbers"


def test_a_chapter_leads_on_and_back_and_can_be_taken_along(site):
    chapters = [path for path in _chapters(site) if 'rel="next"' in path.read_text(encoding="utf-8")]
    assert chapters
    for path in chapters:
        text = path.read_text(encoding="utf-8")
        assert re.search(r'class="right-next"', text), path.name
        for source in re.findall(r'href="([^"]+)"\s+target="_blank"\s+class="btn btn-sm btn-download-source-button', text):
            assert (path.parent / source).resolve().is_file(), f"{path.name}: {source}"
    notebooks = [path for path in chapters if "_sources" in (text := path.read_text(encoding="utf-8")) and ".ipynb" in text]
    assert notebooks, "no chapter offers its notebook"


def test_a_page_says_what_it_is_to_those_who_link_to_it(site):
    words = set()
    for path in _chapters(site):
        text = path.read_text(encoding="utf-8")
        words.add(re.search(r'<meta name="description" content="([^"]+)"', text)[1])
        assert 'property="og:title"' in text
        assert re.search(r'rel="icon"[^>]*icon\.svg|icon\.svg[^>]*rel="icon"', text)
    assert len(words) > 1, "every page is described alike"


def test_a_word_says_its_definition_on_hover(site):
    glossary = _holding(site, '<dl class="simple glossary">').read_text(encoding="utf-8")
    plain = html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", glossary)))
    found = 0
    for path in _chapters(site):
        for words in re.findall(r'title="([^"]*)"><span class="xref std std-term"', path.read_text(encoding="utf-8")):
            found += 1
            if "\\" not in words and len(words) > 20:  # a formula is typeset on the page itself
                assert html.unescape(words)[:60] in plain, f"{path.name}: {words}"
    assert found


def test_search_works_from_the_disk(site, visit):
    page = visit(_chapters(site)[0])
    word = "accuracy"
    page.locator(".search-button__button").locator("visible=true").first.click()
    page.locator("#pst-search-dialog input").fill(word)
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=*")
    page.wait_for_selector("#search-results li a")
    assert not page.outside
    page.locator("#search-results li a").first.click()
    page.wait_for_selector(".bd-article h1")
    assert word in page.inner_text("main").lower()


def test_the_first_tab_skips_to_the_content_and_focus_is_seen(site, visit):
    page = visit(_chapters(site)[0])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main-content"
    for _ in range(25):
        page.keyboard.press("Tab")
        unseen = page.evaluate(
            """() => { const node = document.activeElement, style = getComputedStyle(node);
              if (node === document.body) return null;
              return style.outlineStyle === 'none' && style.boxShadow === 'none' ? node.outerHTML.slice(0, 120) : null; }"""
        )
        assert unseen is None, f"focus cannot be seen on {unseen}"


def test_motion_is_reduced_for_who_asks(site, visit):
    page = visit(_chapters(site)[0])
    slow = page.evaluate(
        """() => [...document.querySelectorAll('*')].filter((node) => {
             const style = getComputedStyle(node);
             return [style.transitionDuration, style.animationDuration].join().split(',').some((time) => parseFloat(time) > 0.05); })
           .slice(0, 3).map((node) => node.outerHTML.slice(0, 100))"""
    )
    assert not slow
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_paper_there_is_text_and_no_controls(site, visit, shots, theme):
    path = _holding(site, "mixkd-lab")
    page = visit(path, theme=theme)
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.wait_for_timeout(300)
    page.emulate_media(media="print", color_scheme=theme)
    for hidden in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer"):
        for shown in page.locator(hidden).all():
            assert not shown.is_visible(), hidden
    for picture in page.locator(".mixkd-fallback svg").all():
        assert picture.is_visible()
    figures = page.evaluate(
        """() => [...document.querySelectorAll('.book-plotly')].filter((box) => box.checkVisibility())
          .map((box) => ['drawn' in box.dataset, box.querySelector('.book-data table').checkVisibility()])"""
    )
    assert figures
    assert all(drawn != table for drawn, table in figures), "what was not drawn stands there as a table"
    ink = page.evaluate("getComputedStyle(document.querySelector('.bd-article p')).color")
    assert max(map(int, re.findall(r"\d+", ink)[:3])) < 100, f"{ink} on white paper"
    pdf = page.pdf(path=shots / f"{path.stem}-{theme}.pdf", format="A4")
    assert pdf.startswith(b"%PDF")
