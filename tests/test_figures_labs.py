"""The labs on the Python side: which models they offer, what their figures are, and evidence in the ledger."""

from __future__ import annotations

import numpy as np
import torch

from mixkd import figures
from mixkd.figures.markup import Html
from mixkd.spec import RunSpec, TeacherSpec


def _answers(n=200, k=4, scale=1.0, seed=0):
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, k, n)
    logits = generator.normal(size=(n, k))
    logits[np.arange(n), labels] += 1.5
    return torch.tensor(scale * logits, dtype=torch.float32), torch.tensor(labels)


class Fake:
    """What labs read of a record."""

    def __init__(self, spec, *, scale=1.0, n=200, k=4, draws=1, projection=None, temperature=1.5, logits=None):
        self.spec, self.projection, self.temperature, self._images = spec, projection, temperature, n // draws
        self._logits, self._labels = _answers(n, k, scale, seed=spec.seed)
        if logits is not None:
            self._logits = logits

    def logits(self, split="test"):
        return self._logits

    def labels(self, split="test"):
        return self._labels

    def images(self, split="test"):
        return torch.arange(len(self._labels)) % self._images


def _spec(arm="kd_mixup", seed=0, data="digits", tau=2.0, **teacher):
    distils = arm.startswith("kd")
    fields = {"tau": tau, "teacher": TeacherSpec(model="cnn16", **teacher)} if distils else {}
    return RunSpec(data=data, student="cnn8", arm=arm, seed=seed, **fields)


class TestWhichModels:
    def test_only_what_differs_is_asked_for(self):
        lab = figures.lab_of([Fake(_spec(seed=s)) for s in (12, 13)])
        assert list(lab.models[0].label) == ["arm", "tau", "seed"]

    def test_what_tells_models_apart_becomes_a_field(self):
        lab = figures.lab_of([Fake(_spec(temperature=t)) for t in (1.0, 2.0)])
        assert list(lab.models[0].label) == ["arm", "teacher's logits divided by", "tau", "seed"]

    def test_data_sets_of_different_size_stand_beside_each_other(self):
        lab = figures.lab_of([Fake(_spec(), n=200, k=4), Fake(_spec(data="cifar10"), n=300, k=10)])
        assert {(m.label["data"], *m.logits.shape) for m in lab.models} == {("digits", 200, 4), ("cifar10", 300, 10)}

    def test_models_of_one_data_set_show_the_same_rows(self):
        lab = figures.lab_of([Fake(_spec(seed=0), n=400, draws=4), Fake(_spec(seed=1), n=200, draws=2)])
        assert [len(m.labels) for m in lab.models] == [200, 200]
        assert [m.repeats for m in lab.models] == [2, 2]

    def test_many_classes_leave_fewer_rows(self):
        lab = figures.lab_of([Fake(_spec(), n=1000, k=400)])
        assert lab.models[0].logits.shape == (500, 400)

    def test_nothing_to_show_is_said(self):
        assert isinstance(figures.lab_of([]), Html)
