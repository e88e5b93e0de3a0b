"""Frozen teachers: the same network, tempered as asked, and noise that makes it exactly as uncertain as mixing does."""

import pytest
import torch
from handmade import SURE, entropy, offset, short
from safetensors.torch import load_file

from mixkd.data import load_data, normalise
from mixkd.measure import calibration
from mixkd.models import build
from mixkd.objectives import Teacher
from mixkd.teachers import UnreachableControl, freeze, matched_sigma, projection, temper
from mixkd.train import stream
from mixkd.vicinal import draw_mixing, mix

TEACHER = SURE
N_VAL = 400


@pytest.fixture(scope="module")
def data():
    return load_data("digits")


@pytest.fixture(scope="module")
def record(trained):
    return trained.load(short("kd", teacher=TEACHER).teacher_run().id)


@pytest.fixture(scope="module")
def teacher(trained, record, data):
    return freeze(record, trained.weights(record.id), data)


@pytest.fixture(scope="module")
def val(data):
    return normalise(data.splits["val"].images, data)


def test_a_frozen_teacher_is_the_trained_network(trained, record, teacher, data, val):
    network = build("cnn16", 10, in_channels=1, image_size=8).eval()
    network.load_state_dict(load_file(trained.weights(record.id)))
    with torch.no_grad():
        expected = network(val)
    answer = teacher.network(val)
    assert torch.allclose(answer, expected, atol=2e-5, rtol=1e-5)
    assert answer.dtype == torch.float32
    assert not answer.requires_grad
    assert torch.allclose(offset(answer), record.logits("val"), atol=5e-2)  # as it was evaluated after its training


def test_asking_a_teacher_changes_nothing_in_it(trained, record, data, val):
    path = trained.weights(record.id)
    before, bytes_before = load_file(path), path.read_bytes()
    teacher = freeze(record, path, data)
    first = teacher.network(val).clone()
    for scale in (1.0, 30.0):  # far from the statistics it was trained with
        teacher.network(val * scale)
    weight = torch.zeros(64, 10, requires_grad=True)
    (val.flatten(1) @ weight - teacher.network(val)).square().mean().backward()  # a student learns from its answers
    assert weight.grad.abs().sum() > 0
    assert torch.equal(teacher.network(val), first)
    assert path.read_bytes() == bytes_before
    assert all(torch.equal(value, before[name]) for name, value in load_file(path).items())


def test_a_given_temperature_is_used_as_it_is_and_an_impossible_spread_is_an_error(record, data, val):
    assert temper(TEACHER, record, data) is None
    assert temper(TEACHER.model_copy(update={"temperature": 3.0}), record, data)(val) == 3.0
    with pytest.raises(UnreachableControl, match=r"temperature_spread = 60\.0"):
        temper(TEACHER.model_copy(update={"temperature_spread": 60.0}), record, data)


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_factor_multiplies_the_fitted_temperature(record, data, val, factor):
    """Half of it leaves an overconfident teacher, twice of it an underconfident one."""
    at = temper(TEACHER.model_copy(update={"temperature": "fitted", "temperature_factor": factor}), record, data)(val)
    assert at == pytest.approx(factor * record.temperature)
    logits, labels = record.logits("val"), record.labels("val")
    fitted, scaled = (calibration.report(logits, labels, temperature=temperature) for temperature in (record.temperature, at))
    assert scaled.accuracy == fitted.accuracy
    assert (scaled.confidence > fitted.confidence) == (factor < 1)
    assert scaled.nll > fitted.nll


def test_projection_is_fixed_and_standardised(data, val):
    h = projection(data)
    assert float(h(val).mean()) == pytest.approx(0, abs=1e-5)
    assert float(h(val).std()) == pytest.approx(1, abs=1e-5)
    assert torch.equal(projection(load_data("digits", train_size=50))(val), h(val))
    shifted = 0.5 * val[:3] + 0.5 * val[3:6]
    assert torch.allclose(h(shifted), 0.5 * h(val[:3]) + 0.5 * h(val[3:6]), atol=1e-5)  # affine in the pixels


@pytest.mark.parametrize(("temperature", "factor"), [(1.0, 1.0), (4.0, 1.0), ("fitted", 1.0), ("fitted", 0.5)])
@pytest.mark.parametrize("spread", [0.3, 0.8])
def test_a_spread_moves_confidence_between_inputs_and_not_on_average(record, data, val, temperature, factor, spread):
    plain = TEACHER.model_copy(update={"temperature": temperature, "temperature_factor": factor})
    base = factor * record.temperature if temperature == "fitted" else temperature
    at = temper(plain.model_copy(update={"temperature_spread": spread}), record, data)(val)
    assert at.shape == (N_VAL, 1)
    assert (at > 0).all()
    logits = record.logits("val").double()
    before, after = (logits / base).softmax(-1), (logits / at).softmax(-1)
    assert float(after.amax(-1).mean()) == pytest.approx(float(before.amax(-1).mean()), abs=1e-5)
    assert torch.equal(before.argmax(-1), after.argmax(-1))
    assert (after.amax(-1) - before.amax(-1)).abs().max() > 0.02
    assert float(at.log().std()) == pytest.approx(spread, rel=1e-3)


@pytest.mark.parametrize("fields", [{}, {"partial": 0.5}, {"alpha": 0.2, "lam_per": "batch"}])
def test_matched_sigma_matches_the_entropy_on_mixed_inputs(teacher, data, val, fields):
    spec = short("kd_noise", teacher=TEACHER, **fields)
    sigma = matched_sigma(teacher, spec, data)
    mixing = draw_mixing(N_VAL, spec.alpha, stream(0, "sigma mixing", 0), per=spec.lam_per, partial=spec.partial)
    noise = torch.randn(val.shape, generator=stream(0, "sigma noise", 0))
    mixed = entropy(teacher.network(mix(val, mixing.lam, mixing.partner)))
    assert entropy(teacher.network(val + sigma * noise)) == pytest.approx(mixed, abs=1e-3)
    assert entropy(teacher.network(val + 0.9 * sigma * noise)) < mixed


def test_matched_sigma_heeds_the_tempering(record, teacher, data, val):
    sharp = TEACHER.model_copy(update={"temperature": 0.7})
    tempered = Teacher(teacher.network, {sharp: temper(sharp, record, data)})
    spec = short("kd_noise", teacher=sharp)
    sigma = matched_sigma(tempered, spec, data)
    mixing = draw_mixing(N_VAL, 1.0, stream(0, "sigma mixing", 0))
    noise = torch.randn(val.shape, generator=stream(0, "sigma noise", 0))
    mixed = entropy(teacher.network(mix(val, mixing.lam, mixing.partner)) / 0.7)
    assert entropy(teacher.network(val + sigma * noise) / 0.7) == pytest.approx(mixed, abs=1e-3)
    assert sigma != matched_sigma(teacher, short("kd_noise", teacher=TEACHER), data)


def test_where_noise_cannot_match_the_entropy_there_is_no_such_control(teacher, data):
    sharp = Teacher(lambda x: 50 * x.flatten(1)[:, :10])  # more noise, more certain
    with pytest.raises(UnreachableControl, match=r"is \d\.\d+ nats on mixed validation images and \d\.\d+ on clean ones.*kd_noise"):
        matched_sigma(sharp, short("kd_noise", teacher=TEACHER), data)
    with pytest.raises(UnreachableControl):
        matched_sigma(teacher, short("kd_noise", teacher=TEACHER, alpha=0), data)
