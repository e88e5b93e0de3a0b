"""Evaluation: the tensors of a record are the network's own answers, in the order they are said to be."""

import pytest
import torch
from handmade import SURE, entropy, short
from safetensors.torch import load_file

from mixkd.data import load_data, normalise
from mixkd.draws import stream
from mixkd.evaluate import FEATURE_PAIRS, NOISE_MAX, ONE_CLASS_PAIRS, TRAIN_PAIRS, TWO_CLASS_PAIRS, evaluate, first_crossing, matched_noise
from mixkd.models import build
from mixkd.vicinal import FEATURE_LAMS, LAM_GRID, mix


@pytest.fixture(scope="module")
def record(trained):
    return trained.load(short("kd", teacher=SURE).teacher_run().id)


@pytest.fixture(scope="module")
def network(trained, record):
    network = build("cnn16", 10, in_channels=1, image_size=8).eval()
    network.load_state_dict(load_file(trained.weights(record.id)))
    return network


@pytest.fixture(scope="module")
def data(record):
    return load_data("digits", train_size=record.spec.train_size, train_skip=record.spec.train_skip)


@pytest.fixture(scope="module")
def answers(network, data):
    return evaluate(network, data)


def mixed(images, pairs, lam):
    return torch.cat([mix(images[pair], lam, torch.tensor([1, 0]))[:1] for pair in pairs])


@torch.no_grad()
def test_logits_are_the_networks_answers_in_every_split(network, data, answers):
    assert {name.removeprefix("logits.") for name in answers if name.startswith("logits")} == {
        "test", "val", "train", "skipped", "ood", "corrupted",
    }  # fmt: skip
    for split in ("test", "val", "skipped", "ood", "corrupted"):
        expected = network(normalise(data.splits[split].images, data))
        assert torch.allclose(answers[f"logits.{split}"], expected, atol=1e-4)
    train = data.splits["train_eval"]
    assert torch.allclose(answers["logits.train"], network(normalise(train.images, data)), atol=1e-4)
    assert torch.equal(answers["labels.train"], train.labels)
    assert answers["logits.test"].dtype == torch.float32
    assert torch.equal(answers["labels.test"].repeat(data.views), data.splits["test"].labels)  # views are blocks of the same images


def test_only_who_passed_rows_over_is_asked_about_them(data, answers):
    own = load_data("digits", train_size=200)
    assert torch.equal(answers["labels.skipped"], own.splits["train"].labels)  # a teacher's skipped rows are its students' rows
    assert "logits.skipped" not in evaluate(build("cnn8", 10, 1, 8).eval(), own)


@torch.no_grad()
@pytest.mark.parametrize(("name", "split", "grid"), [("probe", "test", LAM_GRID), ("train_probe", "train_eval", FEATURE_LAMS)])
def test_a_probe_runs_from_the_second_image_to_the_first(network, data, answers, name, split, grid):
    logits, pairs, labels = (answers[f"{name}.{part}"] for part in ("logits", "pairs", "labels"))
    kinds = [False] * TWO_CLASS_PAIRS + [True] * ONE_CLASS_PAIRS if name == "probe" else [False] * TRAIN_PAIRS
    assert logits.shape == (len(grid), len(kinds), 10)
    assert (labels[:, 0] == labels[:, 1]).tolist() == kinds
    alone = answers[f"logits.{split.removesuffix('_eval')}"]
    assert torch.allclose(logits[-1], alone[pairs[:, 0]], atol=1e-4)
    assert torch.allclose(logits[0], alone[pairs[:, 1]], atol=1e-4)
    assert torch.equal(labels, data.splits[split].labels[pairs])
    images = normalise(data.splits[split].images, data)
    for index, lam in enumerate(grid[1:-1], start=1):
        assert torch.allclose(logits[index, :5], network(mixed(images, pairs[:5], lam)), atol=1e-4)


@torch.no_grad()
def test_features_are_what_the_head_sees(network, answers):
    features, probe = answers["features.test"], answers["features.probe"]
    assert torch.allclose(network.head(features), answers["logits.test"][: len(features)], atol=1e-4)
    assert probe.shape[:2] == (len(FEATURE_LAMS), FEATURE_PAIRS)
    assert FEATURE_PAIRS <= TWO_CLASS_PAIRS
    for at, lam in enumerate(FEATURE_LAMS):
        expected = answers["probe.logits"][LAM_GRID.index(lam), :FEATURE_PAIRS]
        assert torch.allclose(network.head(probe[at]), expected, atol=1e-4)


@torch.no_grad()
def test_noise_makes_the_network_exactly_as_uncertain_as_blends_of_one_class(network, data, answers):
    one_class = answers["probe.pairs"][TWO_CLASS_PAIRS:]
    blended = answers["probe.logits"][LAM_GRID.index(0.5), TWO_CLASS_PAIRS:]
    sigma = float(answers["noise.sigma"])
    assert 0 < sigma <= NOISE_MAX
    assert answers["noise.logits"].shape == (ONE_CLASS_PAIRS, 10)
    assert entropy(answers["noise.logits"]) == pytest.approx(entropy(blended), abs=1e-3)
    first = normalise(data.splits["test"].images[one_class[:, 0]], data)
    noise = torch.randn(first.shape, generator=stream(0, "probe noise", 0))
    assert torch.allclose(network(first + sigma * noise), answers["noise.logits"], atol=1e-4)
    for less in (0.0, 0.5, 0.9):
        assert entropy(network(first + less * sigma * noise)) < entropy(blended)


@pytest.mark.parametrize(
    ("model", "blended"),
    [
        (lambda x: 50 * x.flatten(1)[:, :10], torch.zeros(9, 10)),  # more noise, more certain
        (lambda x: torch.zeros(len(x), 10), torch.zeros(9, 10)),  # clean images have that entropy already
        (lambda x: torch.zeros(len(x), 10), 50 * torch.eye(10)),  # blends are clearer than images
    ],
)
def test_where_no_noise_does_it_there_is_none(data, model, blended):
    assert matched_noise(model, data, data.splits["test"].images[: len(blended)], blended) is None


@pytest.mark.parametrize("at", [0.01, 0.5, 3.0, 7.9])
def test_the_first_crossing_is_found(at):
    assert first_crossing(lambda sigma: sigma - at) == pytest.approx(at, abs=1e-6)
    assert first_crossing(lambda sigma: (sigma - at) * (sigma - at - 2)) == (pytest.approx(at + 2, abs=1e-6) if at < 6 else None)
    for never in (lambda sigma: 1.0, lambda sigma: -1.0, lambda sigma: 1 - sigma, lambda sigma: sigma - 8.1):
        assert first_crossing(never) is None


def test_evaluation_repeats_bit_for_bit_and_changes_nothing(network, data, answers):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    again = evaluate(network, data)
    assert again.keys() == answers.keys()
    assert all(torch.equal(again[name], answers[name]) for name in again)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_vectors_are_evaluated_too():
    answers = evaluate(build("mlp16", 5, in_channels=2, image_size=0).eval(), load_data("gaussians"))
    assert answers["logits.test"].shape == (2000, 5)
    assert answers["features.test"].shape == (100, 16)
    assert not {"logits.ood", "logits.corrupted"} & answers.keys()
