"""The trade-off and propagation labs and the ledger on a bare page, as a notebook shows them: JavaScript against Python, keys, clicks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_figures_labs import _copies, _teacher, _verdict  # the made-up records of the tests in Python

from mixkd import figures
from mixkd.figures import LabModel, temperature_lab
from mixkd.measure import calibration

pytestmark = pytest.mark.browser
TRADE = "document.querySelector('[data-lab=tradeoff]')"
LAB = "document.querySelector('[data-lab=temperature]')"
PROPAGATION = "document.querySelector('[data-lab=propagation]')"


def _model(arm, tau, seed, scale):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 5, 300)
    logits = generator.normal(size=(300, 5))
    logits[np.arange(300), labels] += 1.5
    return LabModel({"arm": arm, "tau": tau, "seed": seed}, scale * logits, labels, 1.1 * scale, repeats=2)


@pytest.fixture(scope="module")
def trade():
    settings = [("ce", None, 2.0), ("kd", 1.0, 1.7), ("kd", 4.0, 1.4), ("kd_mixup", 1.0, 0.6), ("kd_mixup", 4.0, 1.1)]
    return figures.tradeoff_lab(temperature_lab([_model(*setting[:2], seed, setting[2]) for seed in (12, 15, 16) for setting in settings]))


def _page(folder, visit, *shown, **options):
    file = folder / "labs.html"
    body = "".join(figure._repr_html_() for figure in shown)
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{body}</body>", encoding="utf-8")
    return visit(file, **options)


def test_a_click_on_a_point_opens_exactly_that_model(tmp_path, visit, trade):
    page = _page(tmp_path, visit, trade, trade.opens)
    page.wait_for_selector(".mixkd-value:not(:empty)")
    for words in ("distillation on mixup, τ 4, seed 15", "cross-entropy, seed 16"):
        point = page.locator(f".mixkd-seed[aria-label^='{words}']")
        point.scroll_into_view_if_needed()
        box = point.bounding_box()
        page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        label = page.evaluate(f"{TRADE}.querySelector('.mixkd-says').textContent")
        assert label.startswith(words)
        page.wait_for_function(f"{LAB}.mixkd.state().a?.seed === '{words[-2:]}'")
    assert page.evaluate(f"{LAB}.mixkd.state().a") == {"arm": "ce", "tau": "–", "seed": "16"}
    assert page.evaluate("document.activeElement.type") == "range", "the focus goes along"
    assert not page.errors
    assert not page.outside


def test_points_stand_where_python_says(tmp_path, visit, trade):
    page = _page(tmp_path, visit, trade)
    for ticked, prefix in ((False, ""), (True, "ts_")):
        for cost in trade.costs:
            page.locator("[data-choice=cost]").select_option(cost)
            page.locator("[data-choice=after]").set_checked(ticked)
            for index, (_, row) in enumerate(trade.points.iterrows()):
                assert page.evaluate(f"{TRADE}.mixkd.at({index})") == pytest.approx([row[prefix + cost], row["accuracy"]], abs=1e-6)
            ringed = page.locator(".mixkd-mean:has(.mixkd-pareto) .mixkd-mean-mark").count()
            assert ringed == len(trade.pareto(prefix + cost))


def test_the_cloud_by_keyboard(tmp_path, visit, trade):
    page = _page(tmp_path, visit, trade, trade.opens)
    page.wait_for_selector(".mixkd-value:not(:empty)")
    stops = page.locator("[data-lab=tradeoff] [role=button][tabindex='0']")
    assert stops.count() == 1, "the cloud is one stop of the tab key"
    page.locator("[data-choice=zoom]").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("PageDown")  # kd, tau 1, its mean
    page.keyboard.press("ArrowRight")  # tau 4
    page.keyboard.press("ArrowDown")  # its first seed
    page.keyboard.press("ArrowDown")
    focused = "document.activeElement.getAttribute('aria-label')"
    assert page.evaluate(focused).startswith("distillation, τ 4, seed 15: accuracy ")
    page.keyboard.press("PageDown")
    assert page.evaluate(focused).startswith("distillation on mixup, τ 1, seed 15")
    page.keyboard.press("Enter")
    page.wait_for_function(f"{LAB}.mixkd.state().a?.arm === 'kd_mixup'")
    assert page.evaluate(f"{LAB}.mixkd.state().a") == {"arm": "kd_mixup", "tau": "1", "seed": "15"}


def test_after_scaling_a_point_opens_at_its_fitted_temperature(tmp_path, visit, trade):
    page = _page(tmp_path, visit, trade, trade.opens, fragment="#tradeoff.x=oe&tradeoff.after=1")
    page.wait_for_selector(".mixkd-value:not(:empty)")
    assert page.locator("[data-choice=cost]").input_value() == "oe"
    page.evaluate(f"{TRADE}.mixkd.show({{group: 0, index: 0}})")
    page.wait_for_function(f"{LAB}.mixkd.state().T === {trade.opens.models[0].fitted_temperature}")


def test_alone_a_point_says_what_it_is(tmp_path, visit, trade):
    page = _page(tmp_path, visit, trade)
    page.evaluate(f"{TRADE}.mixkd.show({{group: 0, index: 0}})")
    assert "There is no temperature lab here" in page.text_content("[data-lab=tradeoff] .mixkd-says")
    assert not page.errors


def test_a_model_by_a_few_of_its_fields(tmp_path, visit, trade):
    page = _page(tmp_path, visit, trade.opens, fragment="#lab.arm=kd_mixup&lab.tau=4&lab.b.arm=kd_mixup&lab.b.tau=4&lab.bt=best")
    page.wait_for_function(f"{LAB}.mixkd?.compared()")
    state = page.evaluate(f"{LAB}.mixkd.state()")
    assert (state["a"]["arm"], state["a"]["tau"], state["T"]) == ("kd_mixup", "4", 1)
    assert state["bTemperature"] == pytest.approx(1.21)
    unknown = _page(tmp_path, visit, trade.opens, fragment="#lab.arm=nothing")
    unknown.wait_for_selector(".mixkd-value:not(:empty)")
    assert unknown.evaluate(f"{LAB}.mixkd.state().a.arm") == "ce"


def test_chance_is_what_calibrated_models_show(tmp_path, visit):
    generator = np.random.default_rng(3)
    logits = 2.5 * generator.normal(size=(6000, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (p.cumsum(1) > generator.random((6000, 1))).argmax(1)
    page = _page(tmp_path, visit, temperature_lab([LabModel({"arm": "ce"}, logits, labels, 1.0)]))
    page.wait_for_selector(".mixkd-value:not(:empty)")
    got, floor = page.evaluate(f"{LAB}.mixkd.stats(1)"), calibration.noise_floor(logits)
    assert got["chanceEce"] == pytest.approx(floor.ece, rel=0.05)
    assert got["chanceOe"] == pytest.approx(floor.oe, rel=0.05)
    assert f"ECE {got['chanceEce']:.3f}" in page.text_content(".mixkd-note")


@pytest.fixture(scope="module")
def propagation():
    return figures.propagation_lab(_copies(b=0.8, lean=2.0), _teacher, "cnn16", margin=0.02)


def test_teacher_and_student_are_measured_as_python_does(tmp_path, visit, propagation):
    page = _page(tmp_path, visit, propagation)
    page.wait_for_selector("[data-lab=propagation] .mixkd-value:not(:empty)")
    pupil = propagation.pupils[0]
    slider = page.locator("[data-lab=propagation] input[type=range]")
    slider.focus()
    page.keyboard.press("Home")
    for divisor in propagation.divisors:
        page.wait_for_function(f"{PROPAGATION}.querySelector('.mixkd-T').textContent.endsWith('÷ {divisor:g}')")
        page.wait_for_timeout(50)
        for who, model, at in (("teacher", pupil.teacher, divisor), ("student", pupil.students[divisor], 1.0)):
            expected = calibration.report(model.rounded.astype(np.float32), np.asarray(model.labels), temperature=at)
            for key, name in {"acc": "accuracy", "conf": "confidence", "gap": "gap", "ece": "ece", "oe": "oe", "ue": "ue"}.items():
                shown = page.text_content(f"[data-measure='{who}.{key}']").replace("−", "-")
                assert float(shown) == pytest.approx(getattr(expected, name), abs=1e-4), f"{name} of the {who}, divided by {divisor}"
        assert float(page.text_content("[data-measure='teacher.needs']")) == pytest.approx(2.0 / divisor, abs=6e-3)
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "teacher's logits divided by 2"
    assert "Slope 0.80" in page.text_content("[data-lab=propagation] .mixkd-says")
    assert not page.errors
    assert not page.outside


def test_a_click_in_the_scatter_chooses_seed_and_divisor(tmp_path, visit, propagation):
    page = _page(tmp_path, visit, propagation)
    page.wait_for_selector("[data-lab=propagation] .mixkd-value:not(:empty)")
    page.locator("[data-choice=seed]").select_option("1")
    page.wait_for_function(f"{PROPAGATION}.mixkd.state().seed === '13'")
    page.evaluate(f"{PROPAGATION}.mixkd.set('2')")
    page.wait_for_function(f"{PROPAGATION}.mixkd.state().divisor === '2'")
    ring = page.locator("[data-lab=propagation] .mixkd-here").first.bounding_box()
    page.evaluate(f"{PROPAGATION}.mixkd.set('0.5')")
    page.wait_for_function(f"{PROPAGATION}.mixkd.state().divisor === '0.5'")
    page.mouse.click(ring["x"] + ring["width"] / 2, ring["y"] + ring["height"] / 2)
    page.wait_for_function(f"{PROPAGATION}.mixkd.state().divisor === '2'")


def test_the_control_leans_as_python_says(tmp_path, visit, propagation):
    page = _page(tmp_path, visit, propagation)
    page.get_by_role("button", name="one for each image").click()
    page.wait_for_function(f"{PROPAGATION}.mixkd.control")
    assert page.evaluate(f"{PROPAGATION}.mixkd.control.slope") == pytest.approx(2.0, abs=0.02)
    pupil = propagation.pupils[0]
    steeper, change = (page.evaluate(f"Array.from({PROPAGATION}.mixkd.control.{name})") for name in ("steeper", "change"))
    assert steeper == pytest.approx(pupil.control.steeper.tolist(), abs=1e-3)
    groups = page.evaluate(f"{PROPAGATION}.mixkd.control.groups")
    order = np.argsort(pupil.control.steeper, kind="stable")
    expected = [np.array(change)[part].mean() for part in np.array_split(order, 10)]
    assert [group[1] for group in groups] == pytest.approx(expected, abs=0.02)
    assert not page.errors


@pytest.mark.parametrize("width", [390, 1280])
def test_the_ledger_opens_one_cell_at_a_time_and_stays_on_the_page(tmp_path, visit, width):
    verdicts = [_verdict(profile, claim) for profile in ("digits", "gaussians") for claim in ("e", "f")]
    page = _page(tmp_path, visit, figures.ledger(verdicts), width=width, scripts=False)
    page.locator(".mixkd-cell > summary").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("#evidence-e-gaussians").is_visible()
    assert page.locator(".mixkd-opened-row > td > div:visible").count() == 1


def test_without_scripts_each_lab_shows_a_still(tmp_path, visit, trade, propagation):
    page = _page(tmp_path, visit, trade, propagation, scripts=False)
    assert page.locator(".mixkd-fallback table:visible").count() == 2
    assert page.locator("[data-lab=tradeoff] .mixkd-fallback tbody tr").count() == len(trade.means)


def test_labs_of_one_page_do_not_disturb_each_other(tmp_path, visit, trade, propagation):
    page = _page(tmp_path, visit, trade, trade.opens, propagation)
    page.wait_for_selector("[data-lab=propagation] .mixkd-value:not(:empty)")
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map((node) => node.id)")
    assert len(ids) == len(set(ids))
    assert json.loads(page.evaluate("JSON.stringify([...document.querySelectorAll('.mixkd-lab')].map((lab) => lab.dataset.ready))")) == [
        "",
        "",
        "",
    ]
    assert not page.errors
