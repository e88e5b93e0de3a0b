"""The map on a bare page, as a notebook shows it: the words of Python, keys, address, phone, contrast, time of a step."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import surveys

from mixkd import figures
from mixkd.figures import map as drawn
from mixkd.studies import Cell

pytestmark = pytest.mark.browser
MAP = "document.querySelector('[data-lab=map]')"
OTHER = replace(surveys.PROFILE, name="cifar10-jpeg", teachers=("resnet20",), taus=(1.0, 2.0))


@pytest.fixture(scope="module")
def maps():
    return [surveys.survey(), surveys.survey(OTHER)]


THEME = (
    "html{--pst-color-background:#fff;background:var(--pst-color-background)}@media(prefers-color-scheme:dark){html{"
    "--pst-color-background:#14181e;--pst-color-text-base:#ced6dd;--pst-color-text-muted:#9ca4af;color:#ced6dd}}"
)


@pytest.fixture
def shown(show, maps):
    def go(*, question="overconfidence", **options):
        return show(figures.map_of(maps, question=question, marks={"theirs": 0.03}), style=THEME, **options)

    return go


def _state(page):
    return page.evaluate(f"{MAP}.mixkd.state()")


def test_every_cell_says_what_python_says(shown, maps):
    page = shown()
    for arm in ("kd_mixup", "kd"):
        page.locator(f"[data-arm={arm}]").click()
        for (which, cell), reading in maps[0].readings.items():
            if which != arm or cell.teacher != "cnn32":
                continue
            said, square = drawn.words(reading), page.locator(f"[data-cell='{cell.calibration}~{drawn.tau_word(cell.tau)}']")
            label = square.get_attribute("aria-label")
            assert said["head"].lower() in label.lower()
            square.click()
            assert square.get_attribute("aria-pressed") == "true"
            assert page.text_content(".mixkd-map-head") == said["head"]
            if reading.model is None:
                assert page.text_content(".mixkd-map-fill code") == reading.command
                continue
            assert square.locator("b").text_content() == f"{said['short']} {said['sign']}"
            assert [span.text_content() for span in page.locator(".mixkd-map-says span").all()] == [said["interval"], said["gain"]]
            assert page.text_content(".mixkd-map-word") == f"{said['sign']} {said['verdict']}"
            assert page.locator(".mixkd-map-claims").last.text_content() == drawn.claims_of(reading.model)
    assert not page.errors
    assert not page.outside


def test_bars_stand_where_python_says(shown, maps):
    page = shown()
    page.locator("[data-cell='fitted~2']").click()
    read = "(d) => [...d.querySelectorAll('.mixkd-bar')].map((bar) => +bar.getAttribute('height'))"
    heights = page.evaluate(f"[...{MAP}.querySelectorAll('.mixkd-small')].map({read})")
    whole = page.evaluate(f"(() => {{ const d = {MAP}.querySelector('.mixkd-diagonal').getBBox(); return d.height; }})()")
    ours = next(r for (arm, cell), r in maps[0].readings.items() if (arm, cell) == ("kd_mixup", Cell("cnn32", "fitted", 2.0)))
    for bars, model in zip(heights, (maps[0].plain, ours.model), strict=True):
        seen = [height / whole for height in bars]
        assert seen == pytest.approx([a if s else 0 for a, s in zip(model.bar_accuracy, model.share, strict=True)], abs=2e-3)


def test_it_opens_on_the_paper_and_two_buttons_calibrate(shown):
    page = shown()
    assert _state(page)["cell"] == "cnn32~raw~2"
    page.get_by_role("button", name="calibrate the teacher").click()
    assert _state(page)["cell"] == "cnn32~fitted~2"
    assert page.text_content(".mixkd-map-head") == "24 times less overconfident"
    page.get_by_role("button", name="calibrate the plain student instead").click()
    assert _state(page)["rival"]
    assert page.text_content(".mixkd-map-head") == "12 times less overconfident"
    assert "same accuracy" in page.text_content(".mixkd-map-says")
    page.get_by_role("button", name="calibrate the teacher").click()
    assert not _state(page)["rival"]
    page.get_by_role("button", name="calibrate the teacher").click()
    assert _state(page)["cell"] == "cnn32~raw~2", "pressed again it leaves the teacher as trained"


def test_arrow_keys_move_and_one_square_is_a_stop_of_the_tab_key(shown):
    page = shown()
    page.locator(".mixkd-square[tabindex='0']").focus()
    steps = [("ArrowRight", "fitted~2"), ("ArrowUp", "fitted~4"), ("ArrowUp", "fitted~std"), ("Home", "half~std")]
    for key, cell in [*steps, ("ArrowLeft", "half~std"), ("End", "double~std"), ("ArrowDown", "double~4")]:
        page.keyboard.press(key)
        assert page.evaluate("document.activeElement.dataset.cell") == cell
        assert _state(page)["cell"] == f"cnn32~{cell}"
    page.keyboard.press("Control+ArrowUp")
    assert _state(page)["cell"] == "cnn32~double~4", "with a modifier a key stays the browser's"
    assert page.locator(".mixkd-square[tabindex='0']").count() == 1
    page.wait_for_function(f"{MAP}.querySelector('.mixkd-live').textContent.includes('31 times less overconfident')")


def test_the_address_keeps_the_view(shown):
    page = shown()
    page.locator("[data-tab='1']").click()
    page.locator("[data-cell='fitted~1']").click()
    page.locator("[data-arm=kd]").click()
    page.locator("[data-view=propagation]").click()
    page.wait_for_function("location.hash.includes('map.view=propagation')")
    there = shown(fragment=page.evaluate("location.hash"))
    assert {name: _state(there)[name] for name in ("tab", "cell", "arm", "view")} == {
        "tab": "cifar10-jpeg", "cell": "resnet20~fitted~1", "arm": "kd", "view": "propagation",
    }  # fmt: skip
    rival = shown(fragment="#map.rival=1")
    assert rival.text_content(".mixkd-map-head") == "12 times less overconfident"
    assert not shown(fragment="#map.cell=no~such~cell&map.tab=none").errors


@pytest.mark.parametrize("question", list(drawn.QUESTIONS))
def test_it_opens_on_its_question(shown, question, maps):
    page = shown(question=question)
    assert page.locator(f"[data-view={question}]").get_attribute("aria-pressed") == "true"
    seeds = page.locator(".mixkd-map-plot circle").count()
    if question == "propagation":
        ran = [r for (arm, cell), r in maps[0].readings.items() if arm == "kd_mixup" and cell.teacher == "cnn32" and r.model]
        assert seeds == 3 * len(ran) + 1, "every seed, and the ring"
        assert page.locator(".mixkd-small-title").first.text_content() == "the teacher, as it was met"
    elif question == "trade-off":
        assert seeds == 3 * (1 + 2 * 3) + 1
        assert page.text_content(".mixkd-map-head") == "τ 1 → 4: accuracy +3.9 points"
    assert not page.errors


def test_a_phone_has_the_bars_under_the_map_and_the_page_stays(shown):
    page = shown(width=390)
    board, right = (page.locator(name).bounding_box() for name in (".mixkd-board", ".mixkd-map-right"))
    assert right["y"] > board["y"] + board["height"]
    below = page.evaluate("document.documentElement.scrollHeight")
    for cell in ("half~2", "double~4", "fitted~1"):
        page.locator(f"[data-cell='{cell}']").click()
        assert page.locator(".mixkd-board").bounding_box() == board, "the map stays where it is"
        assert page.evaluate("document.documentElement.scrollHeight") == below
    for view in drawn.QUESTIONS:
        page.locator(f"[data-view={view}]").click()
        assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(shown, axe, theme, width):
    page = shown(theme=theme, width=width)
    page.evaluate(axe)
    for act in (None, "[data-cell='double~2']", "[data-cell='fitted~std']", "[data-view=propagation]", "[data-view=trade-off]"):
        if act:
            page.locator(act).click()
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        assert not found, [(v["id"], [node["html"][:90] for node in v["nodes"]][:3]) for v in found]


def test_without_scripts_and_in_print_there_is_the_table(shown):
    page = shown(scripts=False)
    assert page.locator(".mixkd-fallback table").count() == 2
    assert page.locator(".mixkd-fallback svg").first.is_visible()
    printed = shown()
    printed.emulate_media(media="print")
    assert printed.locator(".mixkd-fallback table").first.is_visible()
    assert not printed.locator(".mixkd-board").is_visible()
