"""Figures of accuracy, propagation, geometry and use: identities on made-up records whose answers are known."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from mixkd import figures
from mixkd.figures import Plot
from mixkd.figures.geometry import _map, _turn
from mixkd.figures.markup import Html
from mixkd.measure import calibration


class Fake:
    """What the figures read of a record; logits of K classes whose steepness is known."""

    def __init__(self, arm="kd_mixup", seed=0, teacher=None, scale=1.0, splits=("test", "ood", "corrupted"), projection=None, noise=1.0):
        generator = torch.Generator().manual_seed(100 + seed)
        self.spec = SimpleNamespace(arm=arm, seed=seed, teacher=teacher)
        self._labels = torch.arange(120) % 4
        signal = torch.nn.functional.one_hot(self._labels, 4) * 2.0
        self._logits = scale * (signal + noise * torch.randn(120, 4, generator=generator))
        self.splits, self.projection, self.classes = splits, projection, ("a", "b", "<c>", "$d")
        self.features = torch.randn(60, 5, generator=generator) + 3 * torch.nn.functional.one_hot(self._labels[:60], 5)
        ends = torch.randn(2, 8, 5, generator=generator)
        self.probe_features = torch.stack([ends[0], ends.mean(0), ends[1]])
        self.probe = SimpleNamespace(same_class=torch.zeros(8, dtype=torch.bool))

    def logits(self, split="test"):
        assert split in self.splits
        return self._logits if split != "ood" else 0.1 * self._logits

    def labels(self, split="test"):
        return self._labels if split != "ood" else torch.full((120,), -1)

    def images(self, split="test"):
        return torch.arange(60).repeat(2)

    @property
    def temperature(self):
        return calibration.fit_temperature(self._logits, self._labels)


def _teacher(**fields):
    given = {"model": "big", "arm": "ce", "temperature": 1.0, "temperature_factor": 1.0, "temperature_spread": 0.0, "epochs": None}
    return SimpleNamespace(**given | fields)


def _tempered(seeds=3):
    """Students that copy their teacher's steepness: scale 1 / c under a teacher divided by c."""
    return [Fake(seed=s, teacher=_teacher(temperature=c), scale=1 / c) for s in range(seeds) for c in (0.5, 1.0, 2.0)]


def _capacity_frame(seeds=4):
    rows = [
        {"arm": arm, "teacher": None, "seed": s, "accuracy": 0.8 + 0.01 * s + (arm == "mixup") * 0.02}
        for arm in ("ce", "mixup")
        for s in range(seeds)
    ]
    rows += [{"arm": "kd", "teacher": t, "seed": s, "accuracy": 0.85 + 0.01 * s} for t in ("small", "big") for s in range(seeds)]
    return pd.DataFrame(rows)


STUDENTS = pd.DataFrame(
    [
        {"arm": arm, "group": group, "seed": seed, "accuracy": 0.5 + 0.1 * seed, "ratio": 2.0 + seed, "other": 1.0}
        for arm, group in (("kd_mixup", "ours"), ("kd", "kd"), ("kd", "a wider one"))
        for seed in range(3)
    ]
)
AGAINST = figures.against_accuracy(STUDENTS, {"ratio": "as they are", "other": "tempered"}, y="ratio", line=1, log=True)


class TestAgainstAccuracy:
    def test_each_group_stands_at_its_means(self):
        table = AGAINST.table
        [row] = table[(table["trained with"] == "ours") & (table["measure"] == "as they are")].to_dict("records")
        assert (row["accuracy (%)"], row["mean"], row["seeds"]) == (pytest.approx(60), pytest.approx(3), 3)
        assert row["low"] < 3 < row["high"]

    def test_a_group_without_the_measure_is_left_out(self):
        some = STUDENTS.assign(ratio=STUDENTS.ratio.where(STUDENTS.group != "ours"))
        table = figures.against_accuracy(some, {"ratio": "as they are"}, y="ratio", line=1).table
        assert set(table["trained with"]) == {"kd", "a wider one"}

        with pytest.raises(ValueError, match="did you mean 'ratio'"):
            figures.against_accuracy(STUDENTS, {"ration": "a"}, y="y", line=1)


def test_capacity_pairs_by_seed():
    plot = figures.capacity(_capacity_frame(), pd.DataFrame({"student": ["big"], "accuracy": [0.9]}), ["small", "big"], margin=0.02)
    gains = plot.table.set_index(["arm", "teacher"])["points"]
    assert gains["distillation", "big"] == pytest.approx(5)
    assert gains["mixup", "no teacher"] == pytest.approx(2)
    assert np.ptp([plot.table["low"], plot.table["high"]], axis=0) == pytest.approx(0)  # seeds cancel: pairing took them out


def test_a_student_that_copies_its_teacher_lies_on_the_line():
    students = _tempered()
    teachers = {s: Fake("ce", s) for s in range(3)}
    frame = figures.with_teachers(students, lambda r: teachers[r.spec.seed])
    assert frame["temperature"].to_numpy() == pytest.approx(frame["needs"].to_numpy(), rel=1e-3)
    table = figures.passed_on(frame).table
    assert table["student's T*"].to_numpy() == pytest.approx(table["teacher's T*"].to_numpy(), rel=1e-3)


def test_what_a_teacher_needs():
    kinds = [_teacher(temperature="fitted"), _teacher(temperature_spread=0.5), _teacher(arm="mixup")]
    kinds += [_teacher(temperature="fitted", temperature_factor=factor) for factor in (0.5, 2.0)]
    frame = figures.with_teachers([Fake(teacher=t) for t in kinds], lambda r: Fake("ce"))
    assert list(frame["kind"]) == ["calibrated", "a temperature for each image", "trained with mixup", "twice too sharp", "twice too soft"]
    assert [frame["needs"][i] for i in (0, 3, 4)] == [1, 2, 0.5]
    assert math.isnan(frame["needs"][1])
    assert figures.with_teachers([Fake(teacher=kinds[2])], lambda r: None)["needs"].isna().all()
    whole, early, other = _teacher(temperature="fitted"), _teacher(temperature="fitted", epochs=5), _teacher(model="small", epochs=80)
    frame = figures.with_teachers([Fake(teacher=t) for t in (whole, early, other)], lambda r: Fake("ce"))
    assert list(frame["teacher"]) == ["big", "big after 5 epochs", "small"]


def test_followed_leans_with_the_projection():
    h = torch.linspace(-2, 2, 120)
    spread = _teacher(temperature_spread=0.5)
    students = []
    for seed in range(3):
        student, sibling = Fake(seed=seed, teacher=spread, projection=h, noise=0.2), Fake(seed=seed, noise=0.2)
        student._logits = sibling._logits * torch.exp(-0.5 * h).unsqueeze(1)
        students.append((student, sibling, sibling))
    table = figures.followed(students, groups=4).table
    assert (np.diff(table["student"]) > 0).all()
    assert np.ptp(table["teacher"] - table["student"]) < np.ptp(table["student"])  # the teacher's own line, rescaled, leans alike
    assert isinstance(figures.followed([(Fake(), Fake(), None)]), Html)


def test_the_map_keeps_plane_distances_and_ignores_rotation():
    record = Fake()
    flat = torch.zeros(60, 5)
    flat[:, :2] = torch.randn(4, 2, generator=torch.Generator().manual_seed(1))[record.labels()[:60]]
    record.features = flat
    _, at, kept = _map(record)
    means = flat[:4, :2].double().numpy()
    norm = np.linalg.norm(means - means.mean(0))
    assert kept == pytest.approx(1)
    assert np.linalg.norm(at[0] - at[1]) == pytest.approx(np.linalg.norm(means[0] - means[1]) / norm)
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(5, 5)))
    record.features = 7 * flat @ torch.from_numpy(turn).float() + 3
    _, again, _ = _map(record)
    assert again @ _turn(again, at) == pytest.approx(at, abs=1e-5)


def test_class_map_draws_each_model_and_seed():
    models = {s: {"teacher": Fake("ce", s), "ce": Fake("ce", s), "kd_mixup": Fake("kd_mixup", s)} for s in (0, 1)}
    models[1].pop("kd_mixup")
    plot = figures.class_map(models)
    assert len(plot.figure.frames) == 2
    assert plot.table["distance to the teacher's map"].iloc[0] == pytest.approx(0, abs=1e-9)
    assert isinstance(figures.class_map({}), Html)


def test_shape_of_straight_features():
    frame = figures.shape([Fake()], lambda r: r)
    assert frame["feature non-linearity"][0] == pytest.approx(0, abs=1e-6)
    assert frame["CKA"][0] == pytest.approx(1)
    assert frame["likeness of the class map"][0] == pytest.approx(1)
    assert figures.shape([Fake()])["CKA"].isna().all()


def test_risk_at_full_coverage_is_the_error():
    record = Fake(noise=2.0)
    plot = figures.risk_coverage([record, Fake("ce", 1), Fake("ce", 2)])
    error = float((record.logits().argmax(-1) != record.labels()).double().mean())
    assert plot.table.set_index("arm").loc["distillation on mixup", "error at 100%"] == pytest.approx(error)
    assert isinstance(figures.risk_coverage([]), Html)


def test_usefulness_without_the_other_splits():
    frame = figures.usefulness([Fake(), Fake("ce", 1, splits=("test",))])
    assert frame["AUROC of foreign images"][0] > 0.9  # a tenth of the logits: less sure
    assert frame[["AUROC of foreign images", "ECE on corrupted images"]].loc[1].isna().all()
    drawn = figures.intervals_if(frame, "ECE on corrupted images", scaled=True, otherwise="none")
    assert isinstance(drawn, Plot)
    assert len(drawn.table) == 2  # one arm, as trained and scaled
    hot = figures.usefulness([Fake(noise=2.0, scale=3.0)])
    assert hot["accuracy on corrupted images"][0] == hot["ts_accuracy on corrupted images"][0]
    assert hot["ts_NLL on corrupted images"][0] < hot["NLL on corrupted images"][0]
