"""Figures: what they draw is what they were given, in the colours of the book, and readable by everyone."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from mixkd.figures import LabModel, Plot, curves, intervals, reliability, stack, sweep, temperature_lab, theme
from mixkd.figures.explorer import rounded
from mixkd.figures.intervals import effects, t_interval
from mixkd.figures.plot import MIME
from mixkd.figures.reliability import wilson
from mixkd.measure.bins import Reliability
from mixkd.spec import ARMS
from mixkd.sphinx_ext import figure_html


def _frame(seeds: int = 4) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {"arm": arm, "tau": tau, "seed": seed, "accuracy": 0.9 + 0.01 * generator.normal(), "gap": 0.1 * generator.normal(),
             "ece": 0.04 + 0.004 * generator.normal(), "ts_ece": 0.02 + 0.002 * generator.normal()}
            for arm in ARMS
            for tau in ([1.0, 2.0, "std"] if arm in ("kd", "kd_mixup") else [2.0] if ARMS[arm].distils else [None])
            for seed in range(seeds)
        ]
    )  # fmt: skip


def _one_tau(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[[tau is None or tau == 2.0 for tau in frame.tau]]


def _bins(seed: int = 0) -> Reliability:
    generator = np.random.default_rng(seed)
    edges = np.linspace(0, 1, 16)
    count = np.array([0, 0, *generator.integers(1, 200, 13)])
    middle = np.where(count > 0, (edges[1:] + edges[:-1]) / 2, np.nan)  # empty bins may hold NaN
    return Reliability.from_bins(count, middle**1.2, middle)


def _all() -> dict[str, Plot]:
    frame = _frame()
    epochs = pd.DataFrame({"epoch": [1, 2, 3], "val_accuracy": [0.5, 0.7, 0.8]})
    records = [
        SimpleNamespace(curve=epochs + 0.01 * seed, spec=SimpleNamespace(arm=arm, seed=seed))
        for arm in ("ce", "kd_mixup")
        for seed in (0, 1)
    ]
    long = stack(records).assign(epoch=lambda rows: rows.epoch.round().astype(int))
    return {
        "sweep": sweep(frame, ["accuracy", "gap"]),
        "intervals": intervals(_one_tau(frame), "ece", scaled=True),
        "differences": intervals(_one_tau(frame), "ece", baseline="ce"),
        "reliability": reliability({"ce": _bins(0), "kd_mixup": _bins(1), "teacher": _bins(3)}),
        "curves": curves(long),
        "effects": effects(pd.DataFrame({"name": ["one", "two"], "effect": [1.0, -0.2], "low": [0.5, -0.5], "high": [1.5, 0.1]})),
    }  # fmt: skip


FIGURES = _all()


@pytest.mark.parametrize("name", FIGURES)
class TestEveryFigure:
    def test_points_are_finite(self, name):
        for trace in FIGURES[name].figure.data:
            for side in ("x", "y"):
                points = [p for p in getattr(trace, side) if p is not None]
                if points and not isinstance(points[0], str):
                    assert np.isfinite(np.asarray(points, dtype=float)).all(), trace.name

    def test_it_can_be_read_without_seeing_it(self, name):
        plot = FIGURES[name]
        assert plot.label
        assert plot.reading
        markup = figure_html(plot.to_dict())
        assert f'data-label="{plot.label}"' in markup
        assert markup.count("<tr") == len(plot.table) + 1


def test_intervals_are_t_intervals():
    frame = _one_tau(_frame(seeds=5))
    [dot] = [t for t in intervals(frame, "ece").figure.data if t.error_x.array is not None and t.name == theme.look("kd").label]
    sample = frame.loc[frame.arm == "kd", "ece"]
    low, high = stats.t.interval(0.95, 4, loc=sample.mean(), scale=stats.sem(sample))
    assert dot.x[0] == pytest.approx(sample.mean())
    assert dot.x[0] - dot.error_x.arrayminus[0] == pytest.approx(low)
    assert dot.x[0] + dot.error_x.array[0] == pytest.approx(high)


def test_differences_are_paired_by_seed():
    rows = [{"arm": "ce", "seed": s, "ece": 0.1 * s} for s in range(4)] + [
        {"arm": "kd", "seed": s, "ece": 0.1 * s + 0.02} for s in range(1, 4)
    ]
    [row] = intervals(pd.DataFrame(rows), "ece", baseline="ce").table.to_dict("records")
    assert row["mean"] == pytest.approx(0.02)
    assert row["high"] - row["low"] == pytest.approx(0, abs=1e-12), "the spread of the seeds cancels in a pair"
    assert row["seeds"] == 3, "a seed that the baseline lacks cannot be paired"
    assert np.isnan(t_interval([0.3])[1:]).all(), "one seed has no interval"


@given(st.integers(0, 50), st.integers(1, 50))
def test_wilson_interval_agrees_with_scipy(hits, extra):
    n = hits + extra
    low, high = wilson(np.array([float(hits)]), np.array([float(n)]))
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert (low[0], high[0]) == pytest.approx((expected.low, expected.high), abs=1e-6)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: intervals(_one_tau(_frame()), "ecee"), "did you mean 'ece'"),
        (lambda: intervals(_frame(), "ece"), "they differ in tau"),
        (lambda: intervals(_one_tau(_frame()), "ece", baseline="kd_mix"), "did you mean 'kd_mixup'"),
        (lambda: reliability({}), "nothing to draw"),
        (lambda: reliability({"cee": _bins()}), "did you mean 'ce'"),
        (lambda: stack([]), "no records"),
        (lambda: _plot(pd.DataFrame(), go.Figure(layout={"title": {"text": "$x$"}})), "dollar"),
        (lambda: temperature_lab([]), "at least one model"),
        (lambda: temperature_lab([_model(), _model()]), "two models have the label"),
        (lambda: temperature_lab([_model(), _model(arm="kd", tau=1.0)]), "must have the fields"),
        (lambda: temperature_lab([_model()], name="My lab"), "lower-case"),
        (lambda: LabModel({"arm": "ce"}, np.zeros((3, 2)), np.array([0, 1, 2]), 1.0), r"\[0, 2\)"),
        (lambda: LabModel({"arm": "ce"}, np.full((3, 2), np.nan), np.array([0, 1, 1]), 1.0), "finite"),
        (lambda: LabModel({"arm": "ce"}, np.zeros((3, 2)), np.array([0, 1, 1]), 0.0), "positive"),
    ],
)  # fmt: skip
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


class TestColours:
    def test_every_arm_has_a_look_of_its_own(self):
        looks = [theme.look(arm) for arm in ARMS]
        assert len({look.color for look in looks}) == len({look.symbol for look in looks}) == len(ARMS)

    @pytest.mark.parametrize("page", ["#ffffff", "#121212"])
    def test_contrast_with_the_page(self, page):
        for color in [*theme.COLORS.values(), theme.NEUTRAL]:
            dark, light = sorted((_luminance(color), _luminance(page)))
            assert (light + 0.05) / (dark + 0.05) >= 3, f"{color} on {page}"

    @pytest.mark.parametrize("vision", ["usual", "deuteranopia", "protanopia"])
    def test_arms_stay_apart(self, vision):
        seen = {arm.name: _oklab(_VISION[vision] @ _linear(arm.color)) for arm in ARMS.values()}
        for a, b in itertools.combinations(seen, 2):
            # nine colours fill the palette: a tenth comes nearer to one of them, and then differs from it in dash
            apart = 0.09 if ARMS[a].dash == ARMS[b].dash or len(ARMS) <= 9 else 0.07
            assert np.linalg.norm(seen[a] - seen[b]) > apart, f"{a} and {b} under {vision}"


def test_the_table_of_a_diagram_sums_its_bins():
    bins = _bins()
    [row] = reliability({"ce": bins}).table.to_dict("records")
    expected = Reliability.from_bins(bins.count, bins.accuracy, bins.confidence)
    assert (row["gap"], row["ECE"], row["OE"]) == pytest.approx((expected.gap, expected.ece, expected.oe))


class TestPlot:
    def test_it_glues_and_shows_without_a_network(self):
        bundle = FIGURES["sweep"]._repr_mimebundle_()
        assert set(bundle) == {MIME, "text/html", "text/plain"}
        assert json.loads(json.dumps(bundle)) == bundle
        assert not hasattr(FIGURES["sweep"], "_ipython_display_"), "it would print itself in place of being glued"

    def test_names_from_data_cannot_become_markup(self):
        evil = "</script><b>x</b>"
        figure = go.Figure(go.Scatter(x=[1, 2], y=[1, 2], name=evil), layout={"showlegend": True})
        markup = figure_html(Plot(figure, label=evil, reading=evil, table=pd.DataFrame({evil: [evil]})).to_dict())
        assert markup.count("</script>") == 1
        assert "<b>" not in markup

    def test_only_the_first_rows_of_a_long_table_are_shown(self):
        assert _plot(pd.DataFrame({"n": range(99)})).numbers().count("<tr") == 61


class TestLab:
    @given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.floats(0.01, 3e4))
    def test_rounding_keeps_every_prediction(self, seed, k, scale):
        logits = scale * np.random.default_rng(seed).normal(size=(20, k)).round(1)
        z = rounded(logits)
        assert z.dtype == np.float16
        assert np.isfinite(z).all()
        np.testing.assert_array_equal(z.argmax(1), logits.argmax(1))
        assert ((z == 0).sum(1) == 1).all(), "one greatest logit a row, or the page could count another class"

    def test_equal_data_is_kept_once(self):
        models = [_model(seed=seed) for seed in range(3)]
        markup = temperature_lab(models)._repr_html_()
        assert markup.count("data-key=") == 2, "one set of logits, one of labels"
        assert markup.count("data-now") == 2


def _plot(table: pd.DataFrame, figure: go.Figure | None = None) -> Plot:
    return Plot(figure or go.Figure(), label="label", reading="reading", table=table)


def _model(arm: str = "ce", seed: int = 0, **more) -> LabModel:
    return LabModel({"arm": arm, "seed": seed, **more}, 3 * np.eye(4), np.arange(4), 1.5)


_VISION = {
    "usual": np.eye(3),
    # Machado, Oliveira and Fernandes 2009, severity 1
    "deuteranopia": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "protanopia": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
}


def _linear(color: str) -> np.ndarray:
    c = np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def _luminance(color: str) -> float:
    return float(_linear(color) @ [0.2126, 0.7152, 0.0722])


def _oklab(rgb: np.ndarray) -> np.ndarray:
    to_lms = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    to_lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(to_lab) @ np.cbrt(np.array(to_lms) @ np.clip(rgb, 0, 1))
