"""Evaluation: the tensors of a record are the network's own answers, in the order they are said to be."""

import pytest
import torch

from mixkd.data import load_data, normalise
from mixkd.evaluate import evaluate
from mixkd.models import build
from mixkd.runs import run
from mixkd.spec import RunSpec
from mixkd.vicinal import LAM_GRID, mix


@pytest.fixture(scope="module")
def network():
    network = build("cnn8", 10, in_channels=1, image_size=8, seed=3).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # as if trained: statistics of its own
            module.running_mean.uniform_(-0.2, 0.2, generator=torch.Generator().manual_seed(0))
    return network


@pytest.fixture(scope="module")
def data():
    return load_data("digits", test_draws=3)


@pytest.fixture(scope="module")
def answers(network, data):
    return evaluate(network, data)


@torch.no_grad()
def test_logits_are_the_networks_answers_in_every_split(network, data, answers):
    assert {name.partition(".")[2] for name in answers if name.startswith("logits")} == {
        "test", "val", "train", "ood", "corrupted",
    }  # fmt: skip
    for split in ("test", "val", "ood", "corrupted"):
        expected = network(normalise(data.splits[split].images, data))
        assert torch.allclose(answers[f"logits.{split}"], expected, atol=1e-5)
    train = data.splits["train_eval"]
    assert torch.allclose(answers["logits.train"], network(normalise(train.images, data)), atol=1e-5)
    assert torch.equal(answers["labels.train"], train.labels)
    assert answers["logits.test"].dtype == torch.float32


def test_noise_draws_are_blocks_of_the_same_images(data, answers):
    assert len(answers["labels.test"]) == data.test_images
    assert len(answers["logits.test"]) == 3 * data.test_images
    assert torch.equal(answers["labels.test"].repeat(3), data.splits["test"].labels)
    first = evaluate(build("cnn8", 10, 1, 8, seed=3).eval(), load_data("digits", test_draws=1))
    again = evaluate(build("cnn8", 10, 1, 8, seed=3).eval(), data)
    n = data.test_images
    assert torch.allclose(first["logits.test"], again["logits.test"][:n], atol=1e-5)
    for name in ("probe.pairs", "probe.logits", "features.test"):  # about the first draw, however many there are
        assert torch.equal(first[name], again[name])


@torch.no_grad()
def test_the_probe_runs_from_the_second_image_to_the_first(network, data, answers):
    logits, pairs, labels = (answers[f"probe.{name}"] for name in ("logits", "pairs", "labels"))
    assert logits.shape == (len(LAM_GRID), 200, 10)
    assert torch.allclose(logits[-1], answers["logits.test"][pairs[:, 0]], atol=1e-4)
    assert torch.allclose(logits[0], answers["logits.test"][pairs[:, 1]], atol=1e-4)
    assert torch.equal(labels, answers["labels.test"][pairs])
    images = normalise(data.splits["test"].images[: data.test_images], data)
    for index in (3, 5):
        mixed = torch.cat([mix(images[pair], LAM_GRID[index], torch.tensor([1, 0]))[:1] for pair in pairs[:5]])
        assert torch.allclose(logits[index, :5], network(mixed), atol=1e-5)


@torch.no_grad()
def test_features_are_what_the_head_sees(network, answers):
    features, probe = answers["features.test"], answers["features.probe"]
    assert torch.allclose(network.head(features), answers["logits.test"][: len(features)], atol=1e-4)
    for at, index in enumerate((0, 5, 10)):
        assert torch.allclose(network.head(probe[at]), answers["probe.logits"][index, : probe.shape[1]], atol=1e-4)


def test_evaluation_repeats_bit_for_bit_and_changes_nothing(network, data, answers):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    again = evaluate(network, data)
    assert again.keys() == answers.keys()
    assert all(torch.equal(again[name], answers[name]) for name in again)
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_vectors_are_evaluated_too():
    answers = evaluate(build("mlp16", 5, in_channels=2, image_size=0).eval(), load_data("gaussians"))
    assert answers["logits.test"].shape == (4000, 5)
    assert answers["features.test"].shape == (200, 16)


def test_without_extras_only_test_and_validation_answers_are_kept(tmp_path):
    spec = RunSpec(data="digits", arm="ce", student="cnn8", epochs=1)
    whole, slim = run(spec, tmp_path, progress=False), run(spec.replace(extras=False), tmp_path, progress=False)
    assert slim.id != whole.id
    assert slim.splits == ("test", "val")
    for split in ("test", "val"):  # but for the offset of each row, which no softmax can tell
        assert torch.equal(slim.logits(split), whole._tensors[f"logits.{split}"].float())
    size = [sum(path.stat().st_size for path in record.path.glob("tensors*")) for record in (whole, slim)]
    assert size[1] < size[0] / 3
    for ask in (lambda: slim.probe, lambda: slim.features, lambda: slim.probe_features):
        with pytest.raises(KeyError, match="not asked for it"):
            ask()


def test_a_probed_run_keeps_the_answers_to_the_probe_and_no_offset(tmp_path):
    spec = RunSpec(data="gaussians", arm="ce", student="mlp16", epochs=2, train_size=100)
    whole, slim = (run(spec.replace(extras=extras), tmp_path, progress=False) for extras in (True, "probe"))
    assert slim.splits == ("test", "val")
    assert torch.allclose(slim.probe.logits.softmax(-1), whole.probe.logits.softmax(-1), atol=1e-3)
    assert torch.equal(slim.probe.pairs, whole.probe.pairs)
    n = len(slim.labels())
    assert n < len(whole.labels())  # points cost nothing here, and records do
    assert torch.equal(slim.labels(), whole.labels()[:n])
    assert torch.allclose(slim.logits().softmax(-1), whole.logits()[:n].softmax(-1), atol=1e-3)
    assert (slim.logits().amax(-1) == 0).all()
    with pytest.raises(KeyError, match="not asked for it"):
        slim.features  # noqa: B018
