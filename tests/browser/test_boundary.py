"""The boundary world and the vicinal lab on a bare page: JavaScript against Python, by pointer and by keyboard."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch

from mixkd.data import gaussian_classes, gaussian_log_posterior
from mixkd.figures.explorer.boundary import Net, Plane, WorldModel, boundary_world
from mixkd.figures.explorer.vicinal import Pairs, PathModel, rounded, vicinal_lab
from mixkd.models import build
from mixkd.vicinal import nonlinearity

pytestmark = pytest.mark.browser
LAM = np.linspace(0, 1, 11)


def _model(name: str, seed: int):
    return build(name, 5, 2, 0, seed=seed)


def _net(model) -> Net:
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return Net([(module.weight.detach().numpy(), module.bias.detach().numpy()) for module in linear])


def _world():
    means, covariance = (part.numpy() for part in gaussian_classes("gaussians"))
    labels = np.arange(60) % 5
    plane = Plane(means, covariance, means[labels] + np.random.default_rng(0).normal(size=(60, 2)), labels, seen=40)
    settings = [*(("kd_mixup", alpha, 2.0) for alpha in (1.0, 0.2, 0.0)), ("kd", None, 2.0), ("kd", None, 8.0), ("ce", None, None)]
    models = [
        WorldModel({"arm": arm, "alpha": alpha, "tau": tau, "seed": 12}, _net(_model("mlp16", i)), "T" if tau else None,
                   {"accuracy": 0.8 + i / 100, "confidence": 0.9, "kl": 0.1})
        for i, (arm, alpha, tau) in enumerate(settings)
    ]  # fmt: skip
    return boundary_world(models, {"T": _net(_model("mlp64", 99))}, plane)


TAIL = "<div style='height:900px'>"
ROOT = "document.querySelector('.mixkd-lab').mixkd"


def test_networks_and_posterior_answer_as_in_python(show):
    page = show(_world())
    points = np.random.default_rng(1).uniform(-5, 5, size=(100, 2))
    exact = np.array(page.evaluate(f"(xs) => {ROOT}.log('exact', xs)", points.tolist()))
    assert exact == pytest.approx(gaussian_log_posterior("gaussians", torch.from_numpy(points)).numpy(), abs=1e-9)
    for index in (0, 4):
        page.evaluate(f"(i) => {ROOT}.show(i)", index)
        page.wait_for_function(f"{ROOT}.state().label.tau === '{('2', None, None, None, '8')[index]}'")
        page.wait_for_timeout(50)
        for which, model in (("student", _model("mlp16", index)), ("teacher", _model("mlp64", 99))):
            with torch.no_grad():
                expected = model(torch.from_numpy(points).float()).double().softmax(1).numpy()
            got = np.exp(np.array(page.evaluate(f"([w, xs]) => {ROOT}.log(w, xs)", [which, points.tolist()])))
            assert got == pytest.approx(expected, abs=1e-4)


def test_what_stands_in_the_table_is_the_answer_at_the_point(show):
    page = show(_world())
    at = [1.25, -0.5]
    page.evaluate(f"(p) => {ROOT}.move(p)", at)
    exact = gaussian_log_posterior("gaussians", torch.tensor([at])).squeeze(0)
    with torch.no_grad():
        student = _model("mlp16", 0)(torch.tensor([at])).double().log_softmax(1).squeeze(0)
    for c in range(5):
        assert float(page.text_content(f"[data-measure=student-{c}]")) == pytest.approx(float(student[c].exp()), abs=6e-4)
        assert float(page.text_content(f"[data-measure=exact-{c}]")) == pytest.approx(float(exact[c].exp()), abs=6e-4)
    expected = float((exact.exp() * (exact - student)).sum())
    assert float(page.text_content("[data-measure=student-kl]")) == pytest.approx(expected, abs=6e-4)


def test_the_walk_is_as_far_from_linear_as_python_says(show):
    page = show(_world())
    found = page.evaluate(
        f"(() => {{ const s = {ROOT}.segment(20); return {{ rows: s.student.rows.map((r) => Array.from(r)), area: s.student.area }}; }})()"
    )
    p = torch.tensor(found["rows"], dtype=torch.float64).exp()
    lam = torch.linspace(0, 1, 21, dtype=torch.float64)
    bend = nonlinearity(p[-1].expand_as(p), p[0].expand_as(p), p, lam)
    assert found["area"] == pytest.approx(float(torch.trapezoid(bend, lam)), abs=1e-6)
    state = page.evaluate(f"{ROOT}.state()")
    with torch.no_grad():
        ends = _model("mlp16", 0)(torch.tensor([state["b"], state["a"]])).double().softmax(1)
    assert p[[0, -1]].numpy() == pytest.approx(ends.numpy(), abs=1e-4)


def test_the_world_by_keyboard(show):
    page = show(_world())
    plane = page.locator(".mixkd-world-frame canvas[tabindex]").first
    plane.focus()
    before = page.evaluate(f"{ROOT}.state().at")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    after = page.evaluate(f"{ROOT}.state().at")
    assert after[0] > before[0]
    assert after[1] > before[1]
    page.keyboard.press("a")
    assert page.evaluate(f"{ROOT}.state().a") == after
    page.wait_for_function("document.querySelector('.mixkd-live').textContent.includes('student: class')")
    alpha = page.locator("input[data-field=alpha]")
    alpha.focus()
    page.keyboard.press("Home")
    page.wait_for_function(f"{ROOT}.state().label.alpha === '0'")
    assert alpha.get_attribute("aria-valuetext") == "0"
    page.keyboard.press("ArrowRight")
    page.wait_for_function(f"{ROOT}.state().label.alpha === '0.2'")
    page.locator("input[type=range][aria-label^='λ']").focus()
    page.keyboard.press("End")
    page.wait_for_function(f"{ROOT}.state().lam === 1 && {ROOT}.state().at.join() === {ROOT}.state().a.join()")
    assert not page.errors


def test_a_student_without_teacher_shows_none(show):
    page = show(_world())
    page.locator("select[data-field=arm]").select_option("ce")
    page.wait_for_function("document.querySelector('[data-measure=teacher-0]').textContent === '–'")
    assert page.locator("input[data-field=tau]").is_disabled()
    page.locator(".mixkd-world-panel select").first.select_option("teacher")
    assert page.locator(".mixkd-world-frame").first.get_attribute("data-missing") == "this student has no teacher"
    assert not page.errors


@pytest.mark.parametrize("figure", ["world", "path"])
def test_without_scripts_something_stands_there(show, figure):
    page = show(FIGURES[figure](), scripts=False)
    assert page.locator(".mixkd-fallback").is_visible()


def _answers(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=4, size=(11, 6, 4))


PIXELS = np.random.default_rng(3).integers(0, 256, size=(6, 2, 1, 8, 8)).astype(np.uint8)


def _lab(images: bool = True):
    labels = [[0, 1], [1, 2], [2, 3], [3, 0], [1, 1], [2, 2]]
    pairs = Pairs(LAM, labels, ["cat", "dog & co", "a very long class name indeed", "d"], PIXELS if images else None, first=1)
    models = [PathModel({"arm": "kd_mixup", "seed": 12}, _answers(0), "T"), PathModel({"arm": "ce", "seed": 12}, _answers(1))]
    return vicinal_lab(models, {"T": _answers(2)}, pairs)


def _python(logits: np.ndarray, pair: int) -> tuple[np.ndarray, float]:
    p = torch.from_numpy(rounded(logits)[:, pair].astype(np.float64)).softmax(-1)
    lam = torch.from_numpy(LAM)
    bend = nonlinearity(p[-1].expand_as(p), p[0].expand_as(p), p, lam)
    return bend.numpy(), float(bend[1:-1].mean())


def test_non_linearity_is_that_of_python(show):
    page = show(_lab())
    for pair in range(6):
        for who, logits in (("student", _answers(0)), ("teacher", _answers(2))):
            found = page.evaluate(f"([who, pair]) => {ROOT}.along(who, pair)", [who, pair])
            bend, mean = _python(logits, pair)
            assert found["l_nl"] == pytest.approx(bend, abs=1e-4)
            assert found["mean"] == pytest.approx(mean, abs=1e-4)


def test_lam_takes_the_recorded_values_only(show):
    page = show(_lab())
    slider = page.locator(".mixkd-knob input")
    slider.focus()
    page.keyboard.press("Home")
    seen = []
    for step in range(11):
        page.wait_for_function(f"{ROOT}.state().at === {step}")
        page.wait_for_function(f"document.querySelector('.mixkd-T').textContent === 'λ = {LAM[step]:.1f}'")
        seen.append([float(page.text_content(f"[data-measure={key}-student]")) for key in ("now", "mean")])
        page.keyboard.press("ArrowRight")
    bend, mean = _python(_answers(0), 1)
    assert np.array(seen) == pytest.approx(np.stack([bend, np.full(11, mean)], axis=1), abs=1e-4)
    assert "dog & co with a very long" in slider.get_attribute("aria-valuetext")


def test_the_blend_is_the_blend(show):
    page = show(_lab())
    page.evaluate(f"{ROOT}.set({{ pair: 2, at: 3 }})")
    got = page.evaluate(
        "Array.from(document.querySelectorAll('.mixkd-vicinal-images canvas')[1].getContext('2d').getImageData(0, 0, 8, 8).data)"
    )
    first, second = PIXELS[2].astype(float)[:, 0]
    expected = LAM[3] * first + (1 - LAM[3]) * second
    assert np.array(got).reshape(8, 8, 4)[:, :, 0] == pytest.approx(expected, abs=0.51)


def test_pairs_can_be_gone_through_by_kind(show):
    page = show(_lab())
    page.locator(".mixkd-vicinal-kind").select_option("same")
    visited = [page.evaluate(f"{ROOT}.state().pair")]
    for _ in range(2):
        page.get_by_role("button", name="next pair").press("Enter")
        visited.append(page.evaluate(f"{ROOT}.state().pair"))
    assert visited == [4, 5, 4]
    page.get_by_role("button", name="previous pair").press("Enter")
    assert page.evaluate(f"{ROOT}.state().pair") == 5
    page.wait_for_function("document.querySelector('.mixkd-live').textContent.startsWith('a very long class name indeed with')")


def test_without_images_and_teacher_the_answers_stand_alone(show):
    page = show(_lab(images=False))
    assert page.locator("canvas").count() == 0
    assert "× “" in page.text_content(".mixkd-vicinal-words")
    page.locator("select[data-field=arm]").select_option("ce")
    page.wait_for_function("document.querySelector('[data-measure=now-teacher]').textContent === '–'")
    assert not page.errors


def test_the_address_reproduces_the_world(show, visit):
    page = show(_world())
    page.locator("select[data-field=arm]").select_option("kd")
    page.locator("input[data-field=tau]").press("End")
    page.locator(".mixkd-world-panel select").first.select_option("kl-student")
    page.locator(".mixkd-tick input").uncheck()
    page.get_by_role("button", name="walk between two other training points").click()
    page.locator(".mixkd-world-frame canvas[tabindex]").last.press("Shift+ArrowUp")
    page.keyboard.press("b")
    page.locator("input[type=range][aria-label^='λ']").press("ArrowRight")
    there = _again(page, visit, "world.lam=0.51")
    now, before = there.evaluate(f"{ROOT}.state()"), page.evaluate(f"{ROOT}.state()")
    for place in ("a", "b", "at"):
        assert now.pop(place) == pytest.approx(before.pop(place), abs=1e-3)
    assert now == before
    assert there.locator(".mixkd-world-panel select").first.input_value() == "kl-student"
    assert not there.locator(".mixkd-tick input").is_checked()
    page.locator(".mixkd-world-frame canvas[tabindex]").last.press("ArrowUp")
    off_the_walk = _again(page, visit, "world.at=")
    assert off_the_walk.evaluate(f"{ROOT}.state().at") == pytest.approx(page.evaluate(f"{ROOT}.state().at"), abs=1e-3)


def test_the_address_reproduces_a_pair_and_its_blend(show, visit):
    page = show(_lab())
    page.locator("select[data-field=arm]").select_option("ce")
    page.locator(".mixkd-vicinal-kind").select_option("same")
    page.get_by_role("button", name="next pair").click()
    page.locator(".mixkd-knob input").press("ArrowRight")
    there = _again(page, visit, "path.lam=0.6")
    assert there.evaluate(f"{ROOT}.state()") == page.evaluate(f"{ROOT}.state()")
    expected = {"model": 1, "pair": 5, "at": 6, "kind": "same"}
    assert {key: there.evaluate(f"{ROOT}.state()")[key] for key in expected} == expected
    assert there.text_content("[data-measure=now-student]") == page.text_content("[data-measure=now-student]")
    assert there.locator(".mixkd-vicinal-kind").input_value() == "same"


@pytest.mark.parametrize(
    ("figure", "fragment"),
    [
        ("world", "#world.model=no~such&world.left=constructor&world.pair=-1&world.lam=2&world.points="),
        ("world", "#world.a=1,2,3&world.b=x,y&world.at=9e9,0"),
        ("world", "#world.pair=99999&world.pair=0.5&world.arm=%E0%A4%A&world.lam=&world.at=,"),
        ("path", "#path.model=__proto__&path.pair=77&path.lam=0.123&path.kind=toString"),
        ("path", "#path.pair=1.5&path.lam=NaN&path.alpha=9"),
    ],
)
def test_what_makes_no_sense_in_an_address_is_ignored(show, figure, fragment):
    shown = FIGURES[figure]()
    plain = show(shown).evaluate(f"{ROOT}.state()")
    page = show(shown, fragment=fragment)
    assert {**page.evaluate(f"{ROOT}.state()"), "pair": 0} == {**plain, "pair": 0}
    assert not page.errors


def test_two_figures_share_a_page_and_its_address(show):
    page = show(_world(), _lab(), tail=TAIL)
    entries = page.evaluate("history.length")
    page.locator("[data-lab=boundary] .mixkd-tick input").uncheck()
    page.wait_for_function("location.hash.includes('world.points=0')")
    page.locator("[data-lab=vicinal] .mixkd-knob input").press("End")
    page.wait_for_function("location.hash.includes('path.lam=1')")
    there = show(_world(), _lab(), tail=TAIL, fragment=page.evaluate("location.hash"))
    states = [f"document.querySelector('[data-lab={lab}]').mixkd.state()" for lab in ("boundary", "vicinal")]
    assert [there.evaluate(state) for state in states] == [page.evaluate(state) for state in states]
    assert there.evaluate(f"{states[0]}.points") is False
    assert there.evaluate(f"{states[1]}.lam") == 1
    page.evaluate("location.hash = '#path.lam=0'")
    page.wait_for_function(f"{states[1]}.lam === 0")
    assert page.evaluate(f"{states[0]}.points") is False, "a link to a view of one figure leaves the other as it is"
    page.go_back()
    page.wait_for_function(f"{states[1]}.lam === 1")
    assert page.evaluate("history.length") == entries + 1, "what a reader does in a figure makes no entry to go back through"
    assert not page.errors


def test_no_handle_moves_the_page_of_a_phone(show):
    page = show(_world(), _lab(), tail=TAIL, width=390, has_touch=True, is_mobile=True, device_scale_factor=2)
    plane = page.locator(".mixkd-world-frame canvas[tabindex]").first
    state = "document.querySelector('[data-lab=boundary]').mixkd.state()"
    for handle in ("at", "a", "b"):
        plane.scroll_into_view_if_needed()
        page.evaluate("document.querySelector('[data-lab=boundary]').mixkd.move([3, -3])")
        before, scrolled, box = page.evaluate(state), page.evaluate("scrollY"), plane.bounding_box()
        half = page.evaluate("JSON.parse(document.querySelector('.mixkd-meta').textContent).half")
        x, y = (0.5 + sign * v / (2 * half) for sign, v in zip((1, -1), before[handle], strict=True))
        down = -1 if before[handle][1] < 0 else 1  # away from the nearer edge
        _finger(page, box["x"] + x * box["width"], box["y"] + y * box["height"], down * 60)
        after = page.evaluate(state)
        assert page.evaluate("scrollY") == scrolled
        assert (after[handle][1] - before[handle][1]) / (2 * half) * box["height"] == pytest.approx(-down * 60, abs=8), handle
        others = {"at", "a", "b"} - {handle, "at"}
        assert all(after[other] == before[other] for other in others)
    for slider in page.locator("input[type=range]:enabled").all():
        slider.scroll_into_view_if_needed()
        scrolled, box = page.evaluate("scrollY"), slider.bounding_box()
        _finger(page, box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, -90)
        assert page.evaluate("scrollY") == scrolled
    plane.scroll_into_view_if_needed()
    before, scrolled, box = page.evaluate(state), page.evaluate("scrollY"), plane.bounding_box()
    beside = box["x"] + 0.95 * box["width"], box["y"] + 0.5 * box["height"]
    _finger(page, *beside, -90)
    assert page.evaluate("scrollY") > scrolled, "beside the handles a finger scrolls the page, or there would be no way past the figure"
    assert page.evaluate(state) == before
    page.touchscreen.tap(beside[0], beside[1] - 40)
    assert page.evaluate(state)["at"] != before["at"], "and a tap puts the point there"
    assert not page.errors


FIGURES = {"world": _world, "path": _lab}


def _again(page, visit, part):
    """The figure opened anew at the address of a page, once the address has this part."""
    page.wait_for_function("(part) => location.hash.includes(part)", arg=part)
    there = visit(Path(urlsplit(page.url).path), fragment=page.evaluate("location.hash"))
    there.wait_for_selector(".mixkd-value:not(:empty)")
    assert not there.errors
    return there


def _finger(page, x, y, by, steps=8):
    """One finger down at x, y, moved by so many px, and up."""
    touch = page.context.new_cdp_session(page)
    for i in range(steps + 1):
        points = [{"x": x, "y": y + by * i / steps}]
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove" if i else "touchStart", "touchPoints": points})
        page.wait_for_timeout(16)
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_timeout(100)
