"""Live figures on the Python side: which models they offer, and that what they pack is what the networks are and what was recorded."""

from __future__ import annotations

import base64
import json
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal

from mixkd import figures
from mixkd.data import gaussian_classes, gaussian_log_posterior, load_data
from mixkd.figures.explorer.boundary import Net, Plane, WorldModel, boundary_world
from mixkd.figures.explorer.vicinal import Pairs, PathModel, rounded, vicinal_lab
from mixkd.figures.labs import boundary_frame, net_of, summary, vicinal_of, world_of
from mixkd.figures.markup import Html
from mixkd.models import build
from mixkd.runs import collect
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.store import RecordStore
from mixkd.studies import load_profile


def _layers(model):
    linear = [module for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return [(module.weight.detach().numpy(), module.bias.detach().numpy()) for module in linear]


def _plane(n: int = 40) -> Plane:
    generator = np.random.default_rng(0)
    means, covariance = (part.numpy() for part in gaussian_classes("gaussians"))
    labels = np.arange(n) % 5
    return Plane(means, covariance, means[labels] + generator.normal(size=(n, 2)), labels, seen=n // 2)


def _meta(figure) -> dict:
    return json.loads(re.search(r'class="mixkd-meta">(.*?)</script>', figure._repr_html_(), re.DOTALL)[1])


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Short runs of the plane: a student of each kind, one that sees a coordinate alone, and their teacher."""
    plan = load_profile("gaussians")
    teacher = TeacherSpec(model="mlp16", epochs=3)
    specs = [
        plan.spec("ce", 3, epochs=4),
        plan.spec("kd", 3, teacher=teacher, epochs=4),
        plan.spec("kd_mixup", 3, teacher=teacher, epochs=4),
        plan.spec("kd_mixup", 3, teacher=teacher, epochs=4, partial=0.5),
        plan.spec("ce", 3, epochs=4, student="mlp64-marginal"),
    ]
    where = tmp_path_factory.mktemp("runs")
    collect(specs, store=where, workers=0, progress=False)
    found = RecordStore(where)
    return SimpleNamespace(store=found, records=list(found.find(specs)))


LAM = np.linspace(0, 1, 5)


def _path(classes: int = 3, pairs: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=4, size=(len(LAM), pairs, classes))


NET = Net(_layers(build("mlp16", 5, 2, 0)))
WORLD = WorldModel({"arm": "ce", "seed": 7}, NET)
PAIRS = Pairs(LAM, [[0, 1]] * 4, ["a", "b", "c"])
PATH = PathModel({"arm": "ce"}, _path())


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: boundary_world([], {}, _plane()), "empty"),
        (lambda: boundary_world([WORLD, WORLD], {}, _plane()), "tells them apart"),
        (lambda: boundary_world([WORLD, WorldModel({"arm": "ce"}, NET)], {}, _plane()), "fields"),
        (lambda: boundary_world([WORLD], {}, _plane(), name="A b"), "name"),
        (lambda: world_of([]), "gaussians"),
        (lambda: vicinal_lab([], {}, PAIRS), "empty"),
        (lambda: vicinal_lab([PATH, PATH], {}, PAIRS), "tells them apart"),
        (lambda: vicinal_of([]), "none to show"),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_no_name_can_become_markup():
    evil = ["</script><img src=x>", "<b>", "c"]
    for figure in (
        boundary_world([WorldModel({"arm": evil[0]}, NET)], {}, _plane()),
        vicinal_lab([PATH], {}, Pairs(LAM, [[0, 1]] * 4, evil, np.zeros((4, 2, 3, 2, 2), np.uint8))),
    ):
        assert "<img" not in figure._repr_html_()
        assert "<b>" not in figure._repr_html_()


class TestNet:
    @pytest.mark.parametrize("name", ["mlp16", "mlp64"])
    def test_is_the_network_that_torch_has(self, name):
        model = build(name, 5, 2, 0, seed=4)
        points = np.random.default_rng(1).normal(scale=3, size=(200, 2))
        mean, std = np.array([0.7, -1.0]), np.array([2.0, 0.3])
        with torch.no_grad():
            expected = model.head.double()(model.body.double()(torch.from_numpy((points - mean) / std))).numpy()
        net = Net.normalised(_layers(build(name, 5, 2, 0, seed=4)), mean, std)
        assert net.logits(points) == pytest.approx(expected, abs=1e-4)
        assert net.packed().size == sum(p.numel() for p in model.parameters())


class TestPlane:
    def test_covariance_that_is_no_unit_matrix(self):
        plane = Plane([[0, 1], [2, 0]], [[2.0, 0.6], [0.6, 0.5]], np.zeros((1, 2)), [0], seen=1)
        points = np.random.default_rng(3).normal(size=(20, 2))
        density = np.stack([multivariate_normal(mean, plane.covariance).pdf(points) for mean in plane.means], axis=1)
        assert np.exp(plane.log_posterior(points)) == pytest.approx(density / density.sum(1, keepdims=True), abs=1e-9)


class TestWorldOfRecords:
    def test_nets_answer_as_the_records_do(self, store):
        points = load_data("gaussians").splits["test"].images
        for record in store.records:
            asked = points[record.images("test")].numpy()
            answer = torch.from_numpy(net_of(record.spec, store.store).logits(asked)).softmax(1)
            assert answer.numpy() == pytest.approx(record.logits("test").double().softmax(1).numpy(), abs=2e-3)  # float16 in the record

    def test_offers_whole_mixing_and_no_mixing_under_both_names(self, store):
        meta = _meta(world_of(store.records[:4]))
        labels = [tuple(model["label"].values()) for model in meta["models"]]
        assert labels[0] == ("kd_mixup", "1", "2", "3")
        assert set(labels) == {("kd_mixup", "1", "2", "3"), ("kd_mixup", "0", "2", "3"), ("kd", "–", "2", "3"), ("ce", "–", "–", "3")}
        weights = {label: model["weights"] for label, model in zip(labels, meta["models"], strict=True)}
        assert weights["kd_mixup", "0", "2", "3"] == weights["kd", "–", "2", "3"] != weights["kd_mixup", "1", "2", "3"]
        teachers = {model["teacher"] for model in meta["models"]}
        assert len(meta["teachers"]) == 1
        assert teachers == {None, *meta["teachers"]}
        assert _meta(world_of(store.records[:3], first=store.records[0].id))["models"][0]["label"]["arm"] == "ce"


def _exact_record(scale: float = 1.0):
    test = load_data("gaussians").splits["test"]
    exact = gaussian_log_posterior("gaussians", test.images)
    spec = load_profile("gaussians").spec("ce", 3)
    answers = {"logits": scale * exact, "labels": test.labels, "images": torch.arange(len(exact))}
    return SimpleNamespace(spec=spec, temperature=scale, **{name: lambda split, value=value: value for name, value in answers.items()})


class TestDistanceToTheTruth:
    def test_the_exact_posterior_is_at_no_distance(self):
        found = summary(_exact_record())
        assert found["kl"] == pytest.approx(0, abs=1e-12)
        assert found["displaced"] == 0

    def test_a_scale_is_width_and_moves_no_boundary(self):
        found = summary(_exact_record(3.0))
        assert found["kl"] > 0.05
        assert found["displaced"] == 0
        assert found["ts_kl"] == pytest.approx(0, abs=1e-12)

    def test_frame_tells_what_is_mixed(self, store):
        frame = boundary_frame(store.records)
        assert frame.alpha.tolist() == [0, 0, 1, 1, 0]
        assert frame.partial.tolist() == [0, 0, 1, 0.5, 0]
        assert ((frame.kl > 0) & (frame.displaced.between(0, 1))).all()


class TestVicinalLab:
    def test_rounding_keeps_the_answer(self):
        z = 12 * _path()
        p = np.exp(z - np.log(np.exp(z).sum(-1, keepdims=True)))
        r = rounded(z).astype(float)
        assert (r.argmax(-1) == z.argmax(-1)).all()
        assert ((r == 0).sum(-1) == 1).all()
        assert np.exp(r) / np.exp(r).sum(-1, keepdims=True) == pytest.approx(p, abs=1e-3)

    def test_of_records_takes_students_and_their_teachers(self, store):
        lab = vicinal_of(store.records, name="own")
        assert [model.label["arm"] for model in lab.models] == ["kd_mixup", "ce", "kd"]
        assert [model.teacher is None for model in lab.models] == [False, True, False]
        assert _meta(lab)["images"] is None  # a plane has none
        probe = store.records[2].probe
        shown = np.asarray(lab.models[0].logits)
        cross = (~probe.same_class).nonzero().squeeze(1)
        assert (shown[:, 0] == probe.logits[:, cross[0]].numpy()).all()
        assert len(set(_meta(lab)["pairs"][-1])) == 1

    def test_digits_come_with_their_images(self, committed):
        lab = vicinal_of(committed)
        test = load_data("digits").splits["test"].images
        i, j = committed[0].probe.pairs[0].tolist()
        shown = _meta(lab)["images"]
        pixels = base64.b64decode(re.search(rf'data-key="{shown["key"]}"[^>]*>(.*?)<', lab._repr_html_())[1])
        first = np.frombuffer(pixels, np.uint8).reshape(-1, 2, *shown["shape"])[0]
        assert (first == test[[i, j]].permute(0, 2, 3, 1).numpy()).all()


@pytest.fixture(scope="module")
def committed():
    plan = load_profile("digits")
    records = [r for r in RecordStore("committed").list().select(data="digits", arm="ce", student=plan.student)]
    if not records:
        pytest.skip("no committed records of digits")
    return records[:1]


class Fake:
    """What the temperature lab reads of a record."""

    def __init__(self, spec, *, n=200, k=4, draws=1):
        self.spec, self.temperature, self._images = spec, 1.5, n // draws
        generator = torch.Generator().manual_seed(spec.seed)
        self._logits, self._labels = torch.randn(n, k, generator=generator), torch.randint(k, (n,), generator=generator)

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


class TestTemperatureLab:
    def test_what_tells_models_apart_becomes_a_field(self):
        lab = figures.lab_of([Fake(_spec(temperature=t)) for t in (1.0, 2.0)])
        assert list(lab.models[0].label) == ["arm", "teacher's logits divided by", "tau", "seed"]
        assert list(figures.lab_of([Fake(_spec(seed=s)) for s in (12, 13)]).models[0].label) == ["arm", "tau", "seed"]
        assert isinstance(figures.lab_of([]), Html)

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
