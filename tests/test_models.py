"""Models: the published sizes, initialisation by seed alone, float32 heads."""

import re

import pytest
import torch

from mixkd import models
from mixkd.models import build

SMALL = {"resnet8": (3, 32), "wrn10-2": (3, 16), "resnet8x4": (3, 16), "cnn8": (1, 8), "cnn32": (3, 12), "mlp16": (2, 0), "mlp64": (1, 8)}


def make(name, seed=0, n_classes=10):
    channels, size = SMALL[name]
    return build(name, n_classes, in_channels=channels, image_size=size, seed=seed)


def inputs(name, n=4):
    channels, size = SMALL[name]
    shape = (n, channels, size, size) if size else (n, channels)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def conv_bn(c_in, c_out, kernel=3):
    return c_in * c_out * kernel**2 + 2 * c_out


@pytest.mark.parametrize(
    ("name", "counted", "published"),  # in millions: Tian et al. (2020), Zagoruyko and Komodakis (2016)
    [
        ("resnet8", 83_892, "0.08"),
        ("resnet20", 278_324, "0.28"),
        ("resnet56", 861_620, "0.86"),
        ("resnet110", 1_736_564, "1.74"),
        ("resnet8x4", 1_233_540, "1.23"),
        ("resnet32x4", 7_433_860, "7.43"),
        ("wrn16-2", 703_284, "0.70"),
        ("wrn40-1", 569_780, "0.57"),
        ("wrn40-2", 2_255_156, "2.26"),
        ("wrn40-4", 8_972_340, "8.97"),
        ("wrn16-8", 11_007_540, "11.01"),
        ("wrn28-10", 36_536_884, "36.54"),
    ],
)
def test_resnets_have_the_published_size_for_100_classes(name, counted, published):
    model = build(name, 100)
    assert (parameters(model), f"{parameters(model) / 1e6:.2f}") == (counted, published)
    assert model.head.in_features == 64 * int(re.search(r"[x-](\d+)|$", name)[1] or 1)


@pytest.mark.parametrize(("w", "v"), [(8, 16), (64, 256)])
def test_small_networks(w, v):
    cnn = build(f"cnn{w}", 10, in_channels=1, image_size=8)
    body = conv_bn(1, w) + conv_bn(w, w) + conv_bn(w, 2 * w)
    assert (parameters(cnn), cnn.head.in_features) == (body + 8 * w * 10 + 10, 8 * w)
    mlp = build(f"mlp{v}", 5, in_channels=2, image_size=0)
    assert (parameters(mlp), mlp.flops()) == ((2 * v + v) + (v * v + v) + (5 * v + 5), 2 * (2 * v + v * v + 5 * v))


@pytest.mark.parametrize(("name", "mega_flops"), [("resnet56", 252), ("resnet32x4", 2166)])
def test_flops_are_those_published(name, mega_flops):
    assert round(build(name, 100).flops() / 1e6) == mega_flops


def test_every_name_builds():
    for name in models._SPECS:
        size = 0 if name.startswith("mlp") else 8
        model = build(name, 3, in_channels=2, image_size=size).eval()
        x = torch.zeros(2, 2, 8, 8) if size else torch.zeros(2, 2)
        assert model(x).shape == (2, 3)


@pytest.mark.parametrize("name", SMALL)
def test_logits_are_the_head_of_the_features_and_gradients_reach_all(name):
    model, x = make(name), inputs(name)
    model.eval()
    assert torch.equal(model(x), model.head(model.features(x)))
    assert model.features(x).shape == (4, model.head.in_features)
    assert model(x).dtype == torch.float32
    model.train()
    model(x).logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert all(p.grad.abs().max() > 0 for p in model.parameters() if p.ndim > 1)


@pytest.mark.parametrize("name", ["resnet8", "cnn8", "mlp16"])
def test_the_head_stays_in_float32_under_autocast(name):
    model, x = make(name).eval(), inputs(name)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features, logits = model.features(x), model(x)
        assert features.dtype == torch.bfloat16
    assert logits.dtype == torch.float32
    assert torch.equal(logits, model.head(features.float()))
    assert not torch.equal(logits, logits.bfloat16().float())


def test_initialisation_is_a_function_of_seed_and_name_alone():
    first = make("resnet8", seed=1)
    torch.rand(7)
    before = torch.random.get_rng_state()
    again, other = make("resnet8", seed=1), make("resnet8", seed=2)
    assert torch.equal(torch.random.get_rng_state(), before)
    for (key, a), b, c in zip(first.state_dict().items(), again.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(a, b), key
        if a.ndim > 1:
            assert not torch.equal(a, c), key
    wide, narrow = make("mlp64").head.weight[0, :8], make("mlp16").head.weight[0, :8]
    assert not torch.allclose(wide / wide.std(), narrow / narrow.std())  # each name has a stream of its own


def test_convolutions_start_as_he_et_al_proposed():
    weights = {k: v for k, v in build("resnet32x4", 10).state_dict().items() if v.ndim == 4 and v.numel() > 5000}
    for name, weight in weights.items():
        expected = (2 / (weight.shape[0] * weight.shape[2] * weight.shape[3])) ** 0.5
        assert weight.std() == pytest.approx(expected, rel=0.05), name


@pytest.mark.parametrize("coordinates", [1, 2, 16])
def test_the_marginal_network_sees_the_last_coordinate_alone(coordinates):
    model = build("mlp64-marginal", 5, in_channels=coordinates, image_size=0).eval()
    x = torch.randn(6, coordinates, generator=torch.Generator().manual_seed(0), requires_grad=True)
    other = torch.randn(6, coordinates, generator=torch.Generator().manual_seed(1))
    other[:, -1] = x[:, -1].detach()
    assert torch.equal(model(x), model(other))
    model(x).square().sum().backward()
    assert (x.grad[:, -1].abs() > 0).all()
    assert not x.grad[:, :-1].any()
    assert parameters(model) == parameters(build("mlp64", 5, in_channels=1, image_size=0))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "rresnet20"}, "unknown model 'rresnet20': must be one of .*mlp64-marginal, .*python:.*; did you mean 'resnet20'"),
        ({"name": "wrn17-2"}, "'wrn17-2': a wide ResNet wrnD-K has D = 10, 16, 22"),
        ({"name": "wrn16-0"}, "K at least 1"),
        ({"name": "cnn8", "pretrained": "IMAGENET1K_V1"}, "cnn8 has no published weights here"),
        ({"name": "torchvision:resnet18", "in_channels": 1}, "three channels, but the data are 1 channel"),
        ({"name": "torchvision:resnet18", "image_size": 0}, "but the data are vectors"),
        ({"name": "resnet20", "image_size": 0}, "resnet20 takes images.*mlp16, mlp64, mlp256"),
        ({"name": "cnn8", "image_size": 4}, "image_size = 4: cnn8 needs 8 px"),
        ({"name": "cnn8", "n_classes": 1}, "n_classes = 1: must be at least 2"),
        ({"name": "mlp64-marginal", "image_size": 8}, "mlp64-marginal takes vectors, but the data are images"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build(**{"n_classes": 10, **arguments})
