"""The lab on a bare page, as a notebook shows it: JavaScript against Python on awkward inputs, and motion."""

from __future__ import annotations

import numpy as np
import pytest

from mixkd.figures import LabModel, temperature_lab
from mixkd.measure import calibration

pytestmark = pytest.mark.browser
NAMES = {
    "acc": "accuracy",
    "conf": "confidence",
    "gap": "gap",
    "ece": "ece",
    "oe": "oe",
    "ue": "ue",
    "over": "over",
    "under": "under",
    "nll": "nll",
}
TEMPERATURES = (0.25, 0.6, 1.0, 1.9, 4.0)


def _model(n: int, k: int, scale: float, seed: int = 0) -> LabModel:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, k, n)
    logits = generator.normal(size=(n, k))
    logits[np.arange(n), labels] += 1.5
    return LabModel({"arm": "kd", "n": n, "k": k, "seed": seed}, scale * logits, labels, 1.3)


def _ties() -> LabModel:
    """Equal logits (confidence exactly 1/K, which is an edge for 5 classes and 15 bins), near ties, certainty."""
    logits = np.zeros((60, 5))
    logits[20:40, 0] = 1e-9  # rounds to a tie: the class must stay the first
    logits[40:, 3] = 1e4
    return LabModel({"arm": "ce"}, logits, np.arange(60) % 5, 2.0)


@pytest.mark.parametrize(
    ("model", "bins"),
    [(_model(2000, 10, 3.0), 15), (_model(500, 2, 1.0), 10), (_model(300, 100, 2.0), 15), (_ties(), 15), (_model(1, 3, 1.0), 2)],
    ids=["usual", "two classes", "hundred classes", "ties", "one image"],
)
def test_javascript_and_python_agree(tmp_path, visit, model, bins):
    page = _open(tmp_path, visit, temperature_lab([model], bins))
    for temperature in TEMPERATURES:
        expected = calibration.report(model.rounded.astype(np.float32), np.asarray(model.labels), n_bins=bins, temperature=temperature)
        got = page.evaluate(f"document.querySelector('.mixkd-lab').mixkd.stats({temperature})")
        for key, name in NAMES.items():
            assert got[key] == pytest.approx(getattr(expected, name), abs=1e-6), f"{name} at T = {temperature}"
        assert sum(got["count"]) == len(model.labels)


def test_b_at_its_own_temperature_stays_while_the_slider_moves(tmp_path, visit):
    page = _open(tmp_path, visit, temperature_lab([_model(200, 4, 1.0), _model(200, 4, 2.0, seed=1)]))
    page.locator(".mixkd-tick input").check()
    page.locator("select[aria-label='temperature of model B']").select_option("best")
    page.wait_for_function("document.querySelector('.mixkd-lab').mixkd.compared()")
    before = page.evaluate("document.querySelector('.mixkd-lab').mixkd.compared().nll")
    page.evaluate("document.querySelector('.mixkd-lab').mixkd.set(3)")
    assert page.evaluate("document.querySelector('.mixkd-lab').mixkd.compared().nll") == before
    assert page.evaluate("document.querySelector('.mixkd-lab').mixkd.state().bTemperature") == pytest.approx(1.3)


def test_a_class_name_cannot_become_markup(tmp_path, visit):
    model = LabModel({"arm": "kd", "teacher": "</script><img src=x onerror=alert(1)>"}, np.eye(3), np.arange(3), 1.0)
    page = _open(tmp_path, visit, temperature_lab([model]))
    assert page.locator("img").count() == 0
    assert not page.errors


def _open(folder, visit, lab):
    file = folder / "lab.html"
    file.write_text(f"<!doctype html><meta charset=utf-8><body>{lab._repr_html_()}</body>", encoding="utf-8")
    page = visit(file)
    page.wait_for_selector(".mixkd-value:not(:empty)")
    return page
