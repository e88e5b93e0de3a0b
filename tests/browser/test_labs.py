"""The temperature lab and the ledger on a bare page, as a notebook shows them: the address, chance, cells that open."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_judgement import judged  # the made-up records of the tests in Python

from mixkd import figures
from mixkd.figures import LabModel, temperature_lab
from mixkd.figures.explorer import rounded
from mixkd.measure import calibration

pytestmark = pytest.mark.browser
LAB = "document.querySelector('[data-lab=temperature]')"


def _model(scale, seed=0, n=300, k=5, **label):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, k, n)
    logits = generator.normal(size=(n, k))
    logits[np.arange(n), labels] += 1.5
    return LabModel({"arm": "kd", "seed": seed, **label}, scale * logits, labels, 1.1 * scale, repeats=2 - n % 2)


def _ties():
    """Equal logits (confidence exactly 1/K, which is an edge for 5 classes and 15 bins), near ties, certainty."""
    logits = np.zeros((60, 5))
    logits[20:40, 0] = 1e-9  # rounds to a tie: the class must stay the first
    logits[40:, 3] = 1e4
    return LabModel({"arm": "ce"}, logits, np.arange(60) % 5, 2.0)


@pytest.fixture(scope="module")
def lab():
    settings = [("ce", None, 2.0), ("kd", 1.0, 1.7), ("kd", 4.0, 1.4), ("kd_mixup", 1.0, 0.6), ("kd_mixup", 4.0, 1.1)]
    return temperature_lab([_model(scale, seed, arm=arm, tau=tau) for seed in (12, 15, 16) for arm, tau, scale in settings])


NAMES = {"acc": "accuracy", "conf": "confidence", **{name: name for name in ("gap", "ece", "oe", "ue", "over", "under", "nll")}}


@pytest.mark.parametrize(
    ("model", "bins"),
    [(_model(3.0, n=2000, k=10), 15), (_model(1.0, n=500, k=2), 10), (_model(2.0, k=100), 15), (_ties(), 15), (_model(1.0, n=1, k=3), 2)],
    ids=["usual", "two classes", "hundred classes", "ties", "one image"],
)
def test_javascript_and_python_agree(show, model, bins):
    page = show(temperature_lab([model], bins))
    for temperature in (0.25, 0.6, 1.0, 1.9, 4.0):
        expected = calibration.report(
            rounded(model.logits).astype(np.float32), np.asarray(model.labels), n_bins=bins, temperature=temperature
        )
        got = page.evaluate(f"{LAB}.mixkd.stats({temperature})")
        for key, name in NAMES.items():
            assert got[key] == pytest.approx(getattr(expected, name), abs=1e-6), f"{name} at T = {temperature}"
        assert sum(got["count"]) == len(model.labels)


def test_b_at_its_own_temperature_stays_while_the_slider_moves(show):
    page = show(temperature_lab([_model(1.0), _model(2.0, seed=1)]))
    assert not page.outside
    page.locator(".mixkd-tick input").check()
    page.locator("select[aria-label='temperature of model B']").select_option("best")
    page.wait_for_function(f"{LAB}.mixkd.compared()")
    before = page.evaluate(f"{LAB}.mixkd.compared().nll")
    page.evaluate(f"{LAB}.mixkd.set(3)")
    assert page.evaluate(f"{LAB}.mixkd.compared().nll") == before
    assert page.evaluate(f"{LAB}.mixkd.state().bTemperature") == pytest.approx(2.2)


def test_a_class_name_cannot_become_markup(show):
    page = show(temperature_lab([LabModel({"arm": "</script><img src=x onerror=alert(1)>"}, np.eye(3), np.arange(3), 1.0)]))
    assert page.locator("img").count() == 0
    assert not page.errors


def test_a_model_by_a_few_of_its_fields(show, lab):
    page = show(lab, fragment="#lab.arm=kd_mixup&lab.tau=4&lab.b.arm=kd_mixup&lab.b.tau=4&lab.bt=best")
    page.wait_for_function(f"{LAB}.mixkd?.compared()")
    state = page.evaluate(f"{LAB}.mixkd.state()")
    assert (state["a"]["arm"], state["a"]["tau"], state["T"]) == ("kd_mixup", "4", 1)
    assert state["bTemperature"] == pytest.approx(1.21)
    assert show(lab, fragment="#lab.arm=nothing").evaluate(f"{LAB}.mixkd.state().a.arm") == "ce"


def test_two_labs_keep_their_states_apart(show, lab):
    other = temperature_lab(lab.models[:3], name="other")
    states = "[...document.querySelectorAll('[data-lab=temperature]')].map((lab) => lab.mixkd.state())"
    page = show(lab, other)
    first, second = page.locator("[data-lab=temperature]").all()
    first.locator(".mixkd-tick input").check()
    first.locator(".mixkd-b select[data-field=arm]").select_option("kd_mixup")
    first.locator("select[aria-label='temperature of model B']").select_option("best")
    page.wait_for_function("location.hash.includes('lab.bt=best')")
    second.locator(".mixkd-knob input").press("End")
    second.locator(".mixkd-knob input").press("ArrowLeft")
    page.wait_for_function("location.hash.includes('other.t=3.97')")
    there = show(lab, other, fragment=page.evaluate("location.hash"))
    there.wait_for_function(f"{LAB}.mixkd?.compared()")
    for now, then in zip(there.evaluate(states), page.evaluate(states), strict=True):
        assert now.pop("T") == pytest.approx(then.pop("T"), abs=1e-4)
        assert now.pop("bTemperature") == pytest.approx(then.pop("bTemperature"), abs=1e-4)
        assert now == then
    there.wait_for_function("document.querySelectorAll('[data-lab=temperature]')[1].getBoundingClientRect().top < 100")
    assert not there.errors, "and it opens on the lab touched last"


def test_a_view_that_makes_no_sense_is_ignored_and_a_link_brings_the_whole_view(show, lab):
    page = show(lab, fragment="#lab.a=%7E%7E&lab.b=__proto__&lab.t=1e9&lab.bt=constructor&lab.b.tau=none&lab")
    state = page.evaluate(f"{LAB}.mixkd.state()")
    assert (state["a"]["arm"], state["compare"], state["T"], state["bAt"]) == ("ce", False, 1, "same")
    page.evaluate("location.hash = '#lab.arm=kd&lab.b.arm=kd_mixup&lab.t=2'")
    page.wait_for_function(f"{LAB}.mixkd.compared()")
    page.evaluate("location.hash = '#lab.arm=kd'")
    page.wait_for_function(f"!{LAB}.mixkd.compared() && {LAB}.mixkd.state().T === 1")
    assert page.locator(".mixkd-b").is_hidden()
    page.go_back()
    page.wait_for_function(f"{LAB}.mixkd.compared() && {LAB}.mixkd.state().T === 2")
    assert not page.errors


def test_a_step_takes_less_than_a_frame(show):
    generator = np.random.default_rng(5)
    models = [LabModel({"arm": arm}, generator.normal(size=(10_000, 10)), generator.integers(0, 10, 10_000), 1.0) for arm in ("ce", "kd")]
    page = show(temperature_lab(models))
    page.locator(".mixkd-tick input").check()
    page.wait_for_function(f"{LAB}.mixkd.compared()")
    took = page.evaluate(f"""() => [...Array(21).keys()].map((i) => {{
      const start = performance.now();
      {LAB}.mixkd.set(1 + i / 10);
      return performance.now() - start;
    }}).sort((a, b) => a - b)""")
    assert took[5] < 16, "10,000 predictions of ten classes, as many compared; the quarter of the steps that other programs held up least"


def test_chance_is_what_calibrated_models_show(show):
    generator = np.random.default_rng(3)
    logits = 2.5 * generator.normal(size=(6000, 5))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (p.cumsum(1) > generator.random((6000, 1))).argmax(1)
    page = show(temperature_lab([LabModel({"arm": "ce"}, logits, labels, 1.0)]))
    got, floor = page.evaluate(f"{LAB}.mixkd.stats(1)"), calibration.noise_floor(logits)
    assert got["chanceEce"] == pytest.approx(floor.ece, rel=0.05)
    assert got["chanceOe"] == pytest.approx(floor.oe, rel=0.05)
    assert f"ECE {got['chanceEce']:.3f}" in page.text_content(".mixkd-note")


@pytest.mark.parametrize("width", [390, 1280])
def test_the_ledger_opens_one_cell_at_a_time_and_stays_on_the_page(show, width):
    verdicts = [judged(profile, claim) for profile in ("digits", "gaussians") for claim in ("e", "f")]
    page = show(figures.ledger(verdicts), width=width, scripts=False)
    page.locator(".mixkd-cell > summary").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("#evidence-e-gaussians").is_visible()
    assert page.locator(".mixkd-opened-row > td > div:visible").count() == 1
    page.keyboard.press("Enter")
    assert not page.locator("#evidence-e-gaussians").is_visible()
