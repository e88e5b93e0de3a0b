"""Figures of the chapters on the signal: what they draw is what was measured, and they stand on little data too."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mixkd.claims import Premise
from mixkd.data import load_data
from mixkd.figures import against_accuracy, along, imitation, imitation_rates, premises_of, signal_parts, specimens, theme
from mixkd.measure import fidelity, signal
from mixkd.sphinx_ext import figure_html
from mixkd.vicinal import LAM_GRID

PAIRS, CLASSES = 24, 5


def _record(seed: int, arm: str = "ce") -> SimpleNamespace:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (PAIRS, 2), generator=torch.Generator().manual_seed(0))
    labels[:, 1] = torch.where(labels[:, 0] == labels[:, 1], (labels[:, 0] + 1) % CLASSES, labels[:, 1])
    labels[-4:, 1] = labels[-4:, 0]
    truth = torch.randint(CLASSES, (80,), generator=torch.Generator().manual_seed(1))
    logits = 2 * torch.randn(len(truth), CLASSES, generator=generator)
    probe = SimpleNamespace(
        logits=2 * torch.randn(len(LAM_GRID), PAIRS, CLASSES, generator=generator),
        labels=labels,
        same_class=labels[:, 0] == labels[:, 1],
        lam=torch.tensor(LAM_GRID, dtype=torch.float64),
    )
    return SimpleNamespace(spec=SimpleNamespace(arm=arm, seed=seed), probe=probe, logits=lambda: logits, labels=lambda: truth)


RECORDS = [_record(seed) for seed in range(3)]
SIGNALS = [signal.decompose(r.probe.logits, r.probe.lam, r.probe.labels) for r in RECORDS]
STUDENTS = pd.DataFrame(
    [
        {"arm": arm, "group": group, "seed": seed, "accuracy": 0.5 + 0.1 * seed, "ratio": 2.0 + seed, "other": 1.0}
        for arm, group in (("kd_mixup", "ours"), ("kd", "kd"), ("kd", "a wider one"))
        for seed in range(3)
    ]
)
RATES = pd.DataFrame(
    [row for arm in ("ce", "kd_mixup") for seed in (3, 4) for row in imitation_rates(_record(seed, arm), RECORDS[0], RECORDS[1:])]
)
FIGURES = {
    "parts": signal_parts({"small": SIGNALS[:2], "large": SIGNALS[2:]}, first="large"),
    "along": along(
        LAM_GRID,
        {"one": [s.kept.mean(1).numpy() for s in SIGNALS], "other": [SIGNALS[0].kept.mean(1).numpy() / 2]},
        y="mass",
        line=0.5,
    ),
    "accuracy": against_accuracy(STUDENTS, {"ratio": "as they are", "other": "tempered"}, y="ratio", line=1, log=True),
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
    @pytest.mark.parametrize(("same", "axis"), [(True, "x"), (False, "x2")])
    def test_the_upper_edge_is_the_entropy(self, same, axis):
        found = SIGNALS[2]
        total = found.entropy.total[:, found.same_class == same].mean(1).numpy()
        edge = [t for t in FIGURES["parts"].figure.data if (t.xaxis or "x") == axis][-1]
        np.testing.assert_allclose(np.asarray(edge.y), total, atol=1e-9)

    def test_one_scale_serves_all_teachers(self):
        figure = FIGURES["parts"].figure
        assert figure.layout.yaxis.range == figure.layout.yaxis2.range
        for found in SIGNALS:
            pooled = max(float(found.entropy.total[:, found.same_class == same].mean(1).max()) for same in (False, True))
            assert pooled / 2 < figure.layout.yaxis.range[1], "a seed may stand above the mean of two, not far"

    def test_a_single_teacher_needs_no_slider(self):
        figure = signal_parts({"only": SIGNALS[:1], "none": []}).figure
        assert not figure.frames
        assert not figure.layout.sliders


def test_bands_need_two_rows_and_lines_one():
    one = along(LAM_GRID, {"alone": [np.linspace(0, 1, len(LAM_GRID))]}, y="value")
    assert len(one.figure.data) == 1
    assert one.table.low.isna().all()
    assert len(along(LAM_GRID, {"two": [np.zeros(len(LAM_GRID)), np.ones(len(LAM_GRID))]}, y="value").figure.data) == 3


def test_a_missing_line_leaves_the_others_their_looks():
    lines = {"one": [np.zeros(len(LAM_GRID))], "two": [np.ones(len(LAM_GRID))], "three": [np.ones(len(LAM_GRID))]}
    looks = [{t.name: t.line.dash for t in along(LAM_GRID, given, y="value").figure.data} for given in (lines, {**lines, "two": []})]
    assert looks[1] == {name: dash for name, dash in looks[0].items() if name != "two"}


def test_what_is_undefined_is_left_out_of_a_line():
    values = np.linspace(0, 1, len(LAM_GRID))
    values[[0, -1]] = np.nan
    [line] = along(LAM_GRID, {"inner": [values]}, y="value").figure.data
    assert list(line.x) == list(LAM_GRID[1:-1])


class TestAgainstAccuracy:
    def test_each_group_stands_at_its_means(self):
        table = FIGURES["accuracy"].table
        [row] = table[(table["trained with"] == "ours") & (table["measure"] == "as they are")].to_dict("records")
        assert (row["accuracy (%)"], row["mean"], row["seeds"]) == (pytest.approx(60), pytest.approx(3), 3)
        assert row["low"] < 3 < row["high"]

    def test_groups_of_one_arm_differ_in_their_marker(self):
        symbols = {t.name: t.marker.symbol for t in FIGURES["accuracy"].figure.data if t.showlegend}
        assert len(symbols) == len(set(symbols.values())) == 3

    def test_a_group_without_the_measure_is_left_out(self):
        some = STUDENTS.assign(ratio=STUDENTS.ratio.where(STUDENTS.group != "ours"))
        table = against_accuracy(some, {"ratio": "as they are"}, y="ratio", line=1).table
        assert set(table["trained with"]) == {"kd", "a wider one"}


def test_a_premise_that_several_claims_ask_for_stands_once_and_the_unmet_one_is_shown():
    met, unmet = (Premise("P2", f"accuracy, teacher {name} - ce (at least 0.03)", value, value, value, 0.03, ok, "above", "points")
                  for name, value, ok in (("good", 0.2, True), ("poor", 0.01, False)))  # fmt: skip
    own = Premise("Equal accuracy", "accuracy", 0.0, 0.0, 0.0, 0.02, True, "equivalent", "points")
    verdicts = [SimpleNamespace(claim="d", premises=[met, unmet]), SimpleNamespace(claim="g", premises=[met, own])]
    said = repr(premises_of(verdicts))
    assert said.count("\n") == 0
    assert "teacher poor" in said
    assert "not met; claims (d), (g)" in said
    assert "teacher good" in repr(premises_of(verdicts[1:]))


def test_specimens_are_the_images_under_each_transform():
    digits = load_data("digits")
    shown = specimens(digits)
    assert f"each under its {digits.views} fixed transforms" in repr(shown)
    assert "data:image/png" in shown._repr_html_()
    assert "no images" in repr(specimens(load_data("gaussians")))


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

    def test_on_a_blend_both_classes_are_right_and_only_pairs_of_two_classes_count(self):
        one, other = RECORDS[:2]
        crossing = ~one.probe.same_class
        labels = one.probe.labels[crossing]
        said, taught = (r.probe.logits[1:-1, crossing].argmax(-1) for r in (one, other))
        wrong = [(a[..., None] != labels).all(-1) for a in (said, taught)]
        both = wrong[0] & wrong[1]
        [row] = [r for r in imitation_rates(one, other, []) if (r["inputs"], r["measure"]) == ("mixed", "copied errors")]
        assert row["own"] == pytest.approx(float((said == taught)[both].double().mean()))


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
        (lambda: against_accuracy(STUDENTS, {"ration": "a"}, y="y", line=1), "did you mean 'ratio'"),
        (lambda: against_accuracy(STUDENTS.iloc[:0], {"ratio": "a"}, y="y", line=1), "empty"),
        (lambda: imitation(RATES.rename(columns={"own": "owns"})), "did you mean 'owns'"),
        (lambda: imitation(RATES.iloc[:0]), "empty"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
