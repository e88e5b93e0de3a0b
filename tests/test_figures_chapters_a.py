"""Figures of the chapters on the signal: what they draw is what was measured, and they stand on little data too."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mixkd.figures import along, imitation, imitation_rates, paths, signal_parts, theme
from mixkd.measure import fidelity, linearity, signal
from mixkd.sphinx_ext import figure_html
from mixkd.vicinal import LAM_GRID

PAIRS, CLASSES = 24, 5


def _record(seed: int, arm: str = "ce", draws: int = 2) -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (PAIRS, 2), generator=torch.Generator().manual_seed(0))
    labels[:, 1] = torch.where(labels[:, 0] == labels[:, 1], (labels[:, 0] + 1) % CLASSES, labels[:, 1])
    labels[-4:, 1] = labels[-4:, 0]
    truth = torch.randint(CLASSES, (40,), generator=torch.Generator().manual_seed(1)).repeat(draws)
    logits = 2 * torch.randn(len(truth), CLASSES, generator=generator)
    probe = SimpleNamespace(
        logits=2 * torch.randn(len(LAM_GRID), PAIRS, CLASSES, generator=generator),
        labels=labels,
        lam=torch.tensor(LAM_GRID, dtype=torch.float64),
    )
    return SimpleNamespace(spec=SimpleNamespace(arm=arm, seed=seed), probe=probe, logits=lambda: logits, labels=lambda: truth)


RECORDS = [_record(seed) for seed in range(3)]
SIGNALS = [signal.decompose(r.probe.logits, r.probe.lam, r.probe.labels) for r in RECORDS]
ANSWERS = {name: r.probe.logits.double().softmax(-1).numpy() for name, r in zip(("teacher", "kd_mixup"), RECORDS, strict=False)}
RATES = pd.DataFrame(
    [row for arm in ("ce", "kd_mixup") for seed in (3, 4) for row in imitation_rates(_record(seed, arm), RECORDS[0], RECORDS[1:])]
)
FIGURES = {
    "parts": signal_parts({"small": SIGNALS[:2], "large": SIGNALS[2:]}, first="large"),
    "along": along(
        LAM_GRID,
        {"one": [s.kept.mean(1).numpy() for s in SIGNALS], "other": [SIGNALS[0].honest.mean(1).numpy()]},
        y="mass",
        line=0.5,
    ),
    "paths": paths(ANSWERS, LAM_GRID, RECORDS[0].probe.labels.numpy(), "abcde", [3, 0, 7]),
    "imitation": imitation(RATES, yardstick=pd.DataFrame(imitation_rates(RECORDS[0], RECORDS[1], []))),
}


@pytest.mark.parametrize("name", FIGURES)
class TestEveryFigure:
    def test_it_can_be_read_without_seeing_it(self, name):
        plot = FIGURES[name]
        assert plot.label
        assert plot.reading
        assert "$" not in json.dumps(plot.to_dict())
        assert figure_html(plot.to_dict()).count("<tr") == len(plot.table) + 1

    def test_every_frame_draws_the_panels_of_the_first(self, name):
        figure = FIGURES[name].figure
        for frame in figure.frames:
            assert [(t.xaxis, t.yaxis, t.name) for t in frame.data] == [(t.xaxis, t.yaxis, t.name) for t in figure.data]


class TestSignalParts:
    @pytest.mark.parametrize(("row", "split"), list(enumerate(("forward", "reverse", "entropy"))))
    @pytest.mark.parametrize("same", [False, True])
    def test_the_upper_edge_is_the_total(self, row, split, same):
        found = SIGNALS[2]
        total = getattr(found, split).total[:, found.same_class == same].mean(1).numpy()
        number = 2 * row + int(same) + 1
        axis = "x" if number == 1 else f"x{number}"
        edge = [t for t in FIGURES["parts"].figure.data if (t.xaxis or "x") == axis][-1]
        np.testing.assert_allclose(np.asarray(edge.y), total, atol=1e-9)

    def test_one_scale_serves_all_teachers(self):
        figure = FIGURES["parts"].figure
        for row, split in enumerate(("forward", "reverse", "entropy")):
            top = figure.layout[f"yaxis{2 * row + 1}" if row else "yaxis"].range[1]
            for found in SIGNALS:
                pooled = max(float(getattr(found, split).total[:, found.same_class == same].mean(1).max()) for same in (False, True))
                assert pooled / 2 < top, "a seed may stand above the mean of two, not far"

    def test_a_single_teacher_needs_no_slider(self):
        figure = signal_parts({"only": SIGNALS[:1], "none": []}).figure
        assert not figure.frames
        assert not figure.layout.sliders


def test_bands_need_two_rows_and_lines_one():
    one = along(LAM_GRID, {"alone": [np.linspace(0, 1, 11)]}, y="value")
    assert len(one.figure.data) == 1
    assert one.table.low.isna().all()
    assert len(along(LAM_GRID, {"two": [np.zeros(11), np.ones(11)]}, y="value").figure.data) == 3


def test_a_missing_line_leaves_the_others_their_looks():
    lines = {"one": [np.zeros(11)], "two": [np.ones(11)], "three": [np.ones(11)]}
    looks = [{t.name: t.line.dash for t in along(LAM_GRID, given, y="value").figure.data} for given in (lines, {**lines, "two": []})]
    assert looks[1] == {name: dash for name, dash in looks[0].items() if name != "two"}


def test_what_is_undefined_is_left_out_of_a_line():
    values = np.linspace(0, 1, 11)
    values[[0, -1]] = np.nan
    [line] = along(LAM_GRID, {"inner": [values]}, y="value").figure.data
    assert list(line.x) == list(LAM_GRID[1:-1])


def test_paths_show_the_measured_non_linearity():
    probe = RECORDS[0].probe
    expected = linearity.probability_linearity(probe.logits, probe.lam, probe.labels).l_nl
    for frame, pair in zip(FIGURES["paths"].figure.frames, [3, 0, 7], strict=True):
        teacher = next(t for t in frame.data if t.xaxis == "x3" and t.name == theme.look("teacher").label)
        np.testing.assert_allclose(np.asarray(teacher.y), expected[:, pair], atol=1e-9)
        first, straight = frame.data[0], frame.data[1]
        assert (straight.y[0], straight.y[-1]) == pytest.approx((first.y[0], first.y[-1])), "the line joins the two ends"


class TestRates:
    def test_a_copy_copies_everything(self):
        for row in imitation_rates(RECORDS[0], RECORDS[0], RECORDS[1:]):
            assert row["own"] == 1
            assert row["other"] < 1

    def test_clean_rates_are_those_of_fidelity(self):
        one, other = RECORDS[:2]
        rows = {(r["inputs"], r["measure"]): r["own"] for r in imitation_rates(one, other, [])}
        assert rows["clean", "agreement"] == fidelity.agreement(one.logits(), other.logits()).agreement
        assert rows["clean", "copied errors"] == fidelity.copied_errors(one.logits(), other.logits(), one.labels()).rate

    def test_on_a_blend_both_classes_are_right(self):
        one, other = RECORDS[:2]
        said, taught = (r.probe.logits[1:-1].argmax(-1) for r in (one, other))
        wrong = [(a[..., None] != one.probe.labels).all(-1) for a in (said, taught)]
        both = wrong[0] & wrong[1]
        [row] = [r for r in imitation_rates(one, other, []) if (r["inputs"], r["measure"]) == ("mixed", "copied errors")]
        assert row["own"] == pytest.approx(float((said == taught)[both].double().mean()))

    def test_only_shared_noise_draws_count(self):
        short = imitation_rates(_record(5, draws=1), RECORDS[0], [])[0]
        assert short["own"] == fidelity.agreement(_record(5, draws=1).logits(), RECORDS[0].logits()[:40]).agreement


def test_hollow_is_the_mean_over_strangers():
    table = FIGURES["imitation"].table
    [row] = table[
        (table.inputs == "mixed")
        & (table.measure == "agreement")
        & (table.arm == theme.look("ce").label)
        & table["with"].str.contains("never")
    ].to_dict("records")
    own = RATES[(RATES.inputs == "mixed") & (RATES.measure == "agreement") & (RATES.arm == "ce")]
    assert row["mean"] == pytest.approx(own.other.mean())
    assert row["seeds"] == 2


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: signal_parts({"none": []}), "no signal"),
        (lambda: signal_parts({"small": SIGNALS}, first="smal"), "must be one of small"),
        (lambda: along(LAM_GRID, {}, y="y"), "0 hold values"),
        (lambda: along(LAM_GRID, {"short": [np.zeros(3)]}, y="y"), "3 values"),
        (
            lambda: paths({"teacher": ANSWERS["teacher"]}, LAM_GRID, RECORDS[0].probe.labels.numpy(), "abcde", [0]),
            "two models",
        ),
        (lambda: paths(ANSWERS, LAM_GRID, RECORDS[0].probe.labels.numpy(), "abcde", [PAIRS - 1]), "within one class"),
        (lambda: imitation(RATES.rename(columns={"own": "owns"})), "did you mean 'owns'"),
        (lambda: imitation(RATES.iloc[:0]), "empty"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
