"""The temperature lab and the ledger on a bare page, as a notebook shows them: the address, chance, cells that open."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_figures_labs import _verdict  # the made-up records of the tests in Python

from mixkd import figures
from mixkd.figures import LabModel, temperature_lab
from mixkd.measure import calibration

pytestmark = pytest.mark.browser
LAB = "document.querySelector('[data-lab=temperature]')"


def _model(arm, tau, seed, scale):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, 5, 300)
    logits = generator.normal(size=(300, 5))
    logits[np.arange(300), labels] += 1.5
    return LabModel({"arm": arm, "tau": tau, "seed": seed}, scale * logits, labels, 1.1 * scale, repeats=2)


@pytest.fixture(scope="module")
def lab():
    settings = [("ce", None, 2.0), ("kd", 1.0, 1.7), ("kd", 4.0, 1.4), ("kd_mixup", 1.0, 0.6), ("kd_mixup", 4.0, 1.1)]
    return temperature_lab([_model(*setting[:2], seed, setting[2]) for seed in (12, 15, 16) for setting in settings])


def _page(folder, visit, *shown, **options):
    file = folder / "labs.html"
    body = "".join(figure._repr_html_() for figure in shown)
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{body}</body>", encoding="utf-8")
    return visit(file, **options)


def test_a_model_by_a_few_of_its_fields(tmp_path, visit, lab):
    page = _page(tmp_path, visit, lab, fragment="#lab.arm=kd_mixup&lab.tau=4&lab.b.arm=kd_mixup&lab.b.tau=4&lab.bt=best")
    page.wait_for_function(f"{LAB}.mixkd?.compared()")
    state = page.evaluate(f"{LAB}.mixkd.state()")
    assert (state["a"]["arm"], state["a"]["tau"], state["T"]) == ("kd_mixup", "4", 1)
    assert state["bTemperature"] == pytest.approx(1.21)
    unknown = _page(tmp_path, visit, lab, fragment="#lab.arm=nothing")
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


@pytest.mark.parametrize("width", [390, 1280])
def test_the_ledger_opens_one_cell_at_a_time_and_stays_on_the_page(tmp_path, visit, width):
    verdicts = [_verdict(profile, claim) for profile in ("digits", "gaussians") for claim in ("e", "f")]
    page = _page(tmp_path, visit, figures.ledger(verdicts), width=width, scripts=False)
    page.locator(".mixkd-cell > summary").nth(1).focus()
    page.keyboard.press("Enter")
    assert page.locator("#evidence-e-gaussians").is_visible()
    assert page.locator(".mixkd-opened-row > td > div:visible").count() == 1
