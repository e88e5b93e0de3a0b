"""The built site in a real browser: every page, light and dark, phone and desktop, without a network."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path

import pytest
from built import page_with, pages

pytestmark = pytest.mark.browser
VIEWS = ((1280, "light"), (1280, "dark"), (390, "dark"))  # a phone in the light has the colours of the one and the widths of the other
TEMPERATURE = 'data-lab="temperature'

SCROLL = """async () => {
  for (let y = 0; y <= document.documentElement.scrollHeight; y += 0.9 * innerHeight) {
    window.scrollTo(0, y);
    await new Promise((done) => setTimeout(done, 40));
  }
}"""
WIDE = """() => [...document.querySelectorAll('main *')].filter((node) => node.getBoundingClientRect().right > innerWidth + 1)
  .slice(-1).map((node) => node.outerHTML.slice(0, 120))"""
CUT = """() => [...document.querySelectorAll('.book-plotly .annotation-text')].filter((words) => {
  const own = words.getBoundingClientRect(), picture = words.closest('.main-svg').getBoundingClientRect();
  return own.width && (own.left < picture.left - 1 || own.right > picture.right + 1);
}).map((words) => words.textContent)"""
AWAY = "() => [...document.querySelectorAll('.prev-next-area *')].some((part) => part.getBoundingClientRect().right > innerWidth + 1)"
UNDRAWN = "() => [...document.querySelectorAll('.book-plotly')].filter((box) => !box.querySelector('.main-svg')).length"


FIRST_VIEW = 1_500_000  # bytes, compressed, every shared file counted once
MAIN = ("index", "01-", "07-", "09-", "claims")  # pages whose pictures are kept


@pytest.mark.parametrize(("width", "theme"), VIEWS)
def test_every_page_stands_alone(site, visit, shots, axe, width, theme):
    """What must hold on every page, in one visit to each: the first view is light, nothing comes from outside, everything is
    drawn, nothing is cut off, and axe-core finds nothing serious."""
    said = []
    for path in pages(site):
        name = path.relative_to(site).as_posix()
        page = visit(path, width=width, theme=theme)
        page.wait_for_function("document.readyState === 'complete'")
        weight = sum(_compressed(file) for file in page.first)
        if weight > FIRST_VIEW:
            heaviest = sorted(((_compressed(file), file.name) for file in page.first), reverse=True)[:4]
            said.append(f"{name}: the first view takes {weight} bytes compressed, most of it {heaviest}")
        page.evaluate(SCROLL)
        page.wait_for_function(f"({UNDRAWN})() === 0")
        if page.asked.count(site / "_static" / "plotly.min.js") > 1:
            said.append(f"{name} loads plotly.js more than once")
        said += [f"{name} asks for {address}" for address in page.outside]
        said += [f"{name} complains: {error}" for error in page.errors]
        across = page.evaluate("document.documentElement.scrollWidth")
        if across > width:
            said.append(f"{name} scrolls sideways at {width} px: {across}, because of {page.evaluate(WIDE)}")
        if page.evaluate(AWAY):
            said.append(f"{name}, {width} px: the way to the next page reaches beyond the edge")
        said += [f"{name}, {width} px: cut off at the edge of its figure: {words}" for words in page.evaluate(CUT)]
        said += [f"{name}, {width} px, {theme}: {problem}" for problem in _serious(page, axe)]
        if path.name.startswith(MAIN):
            page.evaluate("window.scrollTo(0, 0)")
            page.screenshot(path=shots / f"{path.stem}-{width}-{theme}.png", full_page=True)
        page.leave()
    assert not said, "\n".join(said)


def test_figures_take_the_colour_of_the_theme(site, visit):
    page = visit(page_with(site, 'class="book-plotly"'), theme="light")
    page.evaluate(SCROLL)
    page.wait_for_function(f"({UNDRAWN})() === 0")
    color = "getComputedStyle(document.querySelector('.book-plotly .xtick text')).fill"
    light = page.evaluate(color)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_function(f"{color} !== {json.dumps(light)}")
    assert _brightness(page.evaluate(color)) > 0.6 > 0.4 > _brightness(light)


def test_the_lab_by_keyboard(site, visit):
    page = visit(page_with(site, TEMPERATURE))
    page.wait_for_selector("[data-lab=temperature] .mixkd-value:not(:empty)")
    slider = page.locator("[data-lab=temperature] .mixkd-knob input").first
    slider.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('[data-lab=temperature]').mixkd.state().T > 1")
    page.keyboard.press("Home")
    page.wait_for_function("document.querySelector('[data-lab=temperature] .mixkd-T').textContent === 'T = 0.25'")
    assert slider.get_attribute("aria-valuetext") == "temperature 0.25"
    page.wait_for_function("document.querySelector('[data-lab=temperature] .mixkd-live').textContent.includes('Temperature 0.25')")
    page.get_by_role("button", name="reset to temperature 1").first.click()
    page.wait_for_function("document.querySelector('[data-lab=temperature]').mixkd.state().T === 1")
    fitted = page.evaluate("JSON.parse(document.querySelector('[data-lab=temperature] .mixkd-meta').textContent).models[0].temperature")
    page.locator("[data-lab=temperature] .mixkd-goA").first.click()
    page.wait_for_function(f"document.querySelector('[data-lab=temperature]').mixkd.state().T === {fitted}")


def test_models_that_wait_in_files_come_when_chosen(site, visit):
    page = visit(page_with(site, TEMPERATURE))
    page.wait_for_selector("[data-lab=temperature] .mixkd-value:not(:empty)")
    meta = json.loads(page.evaluate("document.querySelector('[data-lab=temperature] .mixkd-meta').textContent"))
    last = meta["models"][-1]
    if len(meta["models"]) == 1:
        pytest.skip("this lab has one model")
    assert page.evaluate(f"Boolean(document.querySelector('[data-key=\"{last['logits']}\"]').dataset.src)")
    for field in meta["fields"]:
        select = page.locator(f".mixkd-a select[data-field={field}]").first
        if select.is_enabled():
            select.select_option(last["label"][field])
    chosen = "(label) => JSON.stringify(document.querySelector('[data-lab=temperature]').mixkd.state().a) === JSON.stringify(label)"
    page.wait_for_function(chosen, arg=last["label"])
    assert page.text_content("[data-lab=temperature] .mixkd-goA").endswith(f"{last['temperature']:.2f}")
    assert not page.outside


def test_from_the_index_to_each_question_in_one_click(site, visit):
    for chapter, view in (
        ("07-overconfidence", "overconfidence"),
        ("08-calibration-propagates", "propagation"),
        ("09-temperature", "trade-off"),
    ):
        page = visit(site / "book" / "index.html")
        page.locator(f".bd-article a[href='{chapter}.html']").first.click()
        page.wait_for_function("document.querySelector('[data-lab=map]')?.mixkd")
        assert page.evaluate("document.querySelector('[data-lab=map]').mixkd.state().view") == view
        assert not page.errors
        page.leave()


def test_without_scripts_there_are_still_figures(site, visit):
    for mark, still in (("mixkd-lab", ".mixkd-fallback svg"), ("book-plotly", ".book-data table")):
        page = visit(page_with(site, f'class="{mark}"'), scripts=False)
        assert page.locator(still).first.is_visible()


@cache
def _compressed(file: Path) -> int:
    """Bytes of a file as a server would send it."""
    raw = file.read_bytes() if file.is_file() else b""
    return len(raw if file.suffix in (".woff2", ".png") else gzip.compress(raw))


def _serious(page, axe: str) -> list[str]:
    """What axe-core calls serious or critical."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{violation['id']} ({violation['help']}): {node['html'][:160]} {(node['failureSummary'] or '').splitlines()[-1].strip()}"
        for violation in found
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"][:3]
    ]


def _brightness(color: str) -> float:
    red, green, blue = (float(part) for part in color[color.index("(") + 1 : -1].split(",")[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255
