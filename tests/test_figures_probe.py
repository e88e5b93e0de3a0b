"""Figures of answers on the probe: what they draw is what was measured, and they stand on little data too."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mixkd.figures import against_truth, along, imitation, imitation_rates, signal_parts, theme, truth_along
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
TRUTH_LAM, SEEDS = [0.0, 0.5, 1.0], np.array([[0.1, 0.2, 0.3], [0.3, 0.4, 0.5], [0.2, 0.3, 0.4]])
ANSWERS = {"exact": np.array([[0.1, 0.2], [0.5, 0.6], [0.9, 0.8]]), "teacher": np.full((3, 2), 0.5), "kd_mixup": np.eye(3)[:, :2]}
RATES = pd.DataFrame(
    [row for arm in ("ce", "kd_mixup") for seed in (3, 4) for row in imitation_rates(_record(seed, arm), RECORDS[0], RECORDS[1:])]
)
FIGURES = {
    "parts": signal_parts({"small": SIGNALS[:2], "large": SIGNALS[2:]}, first="large"),
    "along": along(
        LAM_GRID, {"one": [s.kept.mean(1).numpy() for s in SIGNALS], "other": [SIGNALS[0].kept.mean(1).numpy() / 2]}, y="mass", line=0.5
    ),
    "pairs": against_truth(ANSWERS, TRUTH_LAM, ["0 → 1", "1 → 2"]),
    "distance": truth_along(TRUTH_LAM, {"exact": SEEDS[:1], "teacher": SEEDS, "ce": np.empty((0, 3))}, y="nats"),
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


def test_bands_need_two_rows_and_lines_one_and_what_is_undefined_is_left_out():
    one = along(LAM_GRID, {"alone": [np.linspace(0, 1, len(LAM_GRID))]}, y="value")
    assert len(one.figure.data) == 1
    assert one.table.low.isna().all()
    assert len(along(LAM_GRID, {"two": [np.zeros(len(LAM_GRID)), np.ones(len(LAM_GRID))]}, y="value").figure.data) == 3
    values = np.linspace(0, 1, len(LAM_GRID))
    values[[0, -1]] = np.nan
    [line] = along(LAM_GRID, {"inner": [values]}, y="value").figure.data
    assert list(line.x) == list(LAM_GRID[1:-1])


class TestTruth:
    def test_every_pair_has_a_frame_with_its_own_answers(self):
        figure = FIGURES["pairs"].figure
        assert len(figure.frames) == 2
        for pair, frame in enumerate(figure.frames):
            for trace, p in zip(frame.data, ANSWERS.values(), strict=True):
                assert list(trace.y) == list(p[:, pair])
        assert [list(trace.y) for trace in figure.data] == [list(trace.y) for trace in figure.frames[0].data]

    def test_along_draws_means_with_bands_over_seeds(self):
        plot = FIGURES["distance"]
        named = {trace.name: trace for trace in plot.figure.data if trace.name}
        assert set(named) == {"exact posterior", "teacher"}
        assert list(named["teacher"].y) == pytest.approx(SEEDS.mean(0))
        edges = [trace for trace in plot.figure.data if trace.legendgroup == "teacher" and trace.name is None]
        assert all(low < high for low, high in zip(edges[0].y, edges[1].y, strict=True))
        assert set(plot.table["seeds"]) == {1, 3}

    def test_a_band_on_a_logarithmic_axis_stays_above_0(self):
        seeds = np.array([[0.01, 0.2, 0.3], [0.3, 0.4, 0.5]])
        figure = truth_along(TRUTH_LAM, {"teacher": seeds}, y="nats", log=True).figure
        assert figure.layout.yaxis.type == "log"
        assert all(value > 0 for trace in figure.data for value in trace.y)


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
        (lambda: signal_parts({"small": SIGNALS}, first="smal"), "must be one of small"),
        (lambda: along(LAM_GRID, {}, y="y"), "0 hold values"),
        (lambda: along(LAM_GRID, {"short": [np.zeros(3)]}, y="y"), "3 values"),
        (lambda: against_truth(ANSWERS, TRUTH_LAM, ["0 → 1"]), r"must be \(3, 1\)"),
        (lambda: imitation(RATES.rename(columns={"own": "owns"})), "did you mean 'owns'"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
