"""Finding one's way: words on hover, search, previous and next, downloads, anchors, the keyboard, paper."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from built import chapters, page_with, pages

pytestmark = pytest.mark.browser
ROOT = Path(__file__).resolve().parents[2]


class _Anchors(HTMLParser):
    """What a page can be linked at, and what it links to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.add(given.get("id") or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "a" and given.get("name"):
            self.ids.add(given["name"])


def test_every_link_inside_the_site_leads_somewhere(site):
    known = {path: _Anchors(path) for path in pages(site)}
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
    assert any(link.endswith(".ipynb") for page in known.values() for link in page.links), "no chapter offers its notebook"


def test_figures_have_words_and_numbers_beside_them(site):
    for path in chapters(site):
        text = path.read_text(encoding="utf-8")
        for label in re.findall(r'class="book-plotly"[^>]*data-label="([^"]*)"', text):
            assert len(label) > 10, f"{path.name}: a figure is called {label!r}"
        tables = re.findall(r'<details class="book-data" open>.*?</summary><div[^>]*><table', text)
        assert text.count('class="book-plotly"') == len(tables), f"{path.name}: a figure without its numbers"


def test_a_page_says_what_it_is_to_those_who_link_to_it(site):
    texts = [path.read_text(encoding="utf-8") for path in chapters(site)]
    assert all('property="og:title"' in text for text in texts)
    assert len({re.search(r'<meta name="description" content="([^"]+)"', text)[1] for text in texts}) > 1, "every page is described alike"


def test_a_word_says_its_definition_on_hover(site):
    glossary = page_with(site, '<dl class="simple glossary">').read_text(encoding="utf-8")
    plain = html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", glossary)))
    found = 0
    for path in chapters(site):
        for words in re.findall(r'title="([^"]*)"><span class="xref std std-term"', path.read_text(encoding="utf-8")):
            found += 1
            if "\\" not in words and len(words) > 20:  # a formula is typeset on the page itself
                assert html.unescape(words)[:60] in plain, f"{path.name}: {words}"
    assert found


def test_search_works_from_the_disk(site, visit):
    page = visit(chapters(site)[0])
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
    page = visit(chapters(site)[0])
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
    page = visit(chapters(site)[0])
    slow = page.evaluate(
        """() => [...document.querySelectorAll('*')].filter((node) => {
             const style = getComputedStyle(node);
             return [style.transitionDuration, style.animationDuration].join().split(',').some((time) => parseFloat(time) > 0.05); })
           .slice(0, 3).map((node) => node.outerHTML.slice(0, 100))"""
    )
    assert not slow
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_on_paper_there_is_text_and_no_controls(site, visit, theme):
    path = page_with(site, "mixkd-lab")
    page = visit(path, theme=theme)
    page.evaluate("document.querySelectorAll('.mixkd-lab').forEach((lab) => lab.scrollIntoView())")
    page.wait_for_timeout(300)
    page.emulate_media(media="print", color_scheme=theme)
    for shown in page.locator(".bd-sidebar-primary, .bd-header-article, .prev-next-footer, select, input, button").all():
        assert not shown.is_visible()
    for picture in page.locator(".mixkd-lab > .mixkd-fallback").all():
        assert picture.is_visible()
    figures = page.evaluate(
        """() => [...document.querySelectorAll('.book-plotly')].filter((box) => box.checkVisibility())
          .map((box) => ['drawn' in box.dataset, box.querySelector('.book-data table').checkVisibility()])"""
    )
    assert figures
    assert all(drawn != table for drawn, table in figures), "what was not drawn stands there as a table"
    ink = page.evaluate("getComputedStyle(document.querySelector('.bd-article p')).color")
    assert max(map(int, re.findall(r"\d+", ink)[:3])) < 100, f"{ink} on white paper"
