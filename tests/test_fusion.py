"""Fused teachers: the answers of the plain network, in fewer kernels, or the plain network itself."""

import copy

import pytest
import torch

from mixkd import fusion
from mixkd.models import build, fold_batchnorm

BF16 = pytest.param(
    torch.bfloat16, marks=pytest.mark.skipif(not fusion.available(torch.bfloat16), reason="this CPU has no bfloat16 convolutions")
)


def folded(name, size=16, channels=3):
    """As after training: running averages and affine parameters away from where they start."""
    model = build(name, 10, in_channels=channels, image_size=size, seed=1).eval()
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3, generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
            torch.nn.init.normal_(module.bias, 0, 0.3, generator=generator)
    return model, fold_batchnorm(model).to(memory_format=torch.channels_last)


def images(size=16, channels=3, n=9):
    return torch.randn(n, channels, size, size, generator=torch.Generator().manual_seed(3)).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
@pytest.mark.parametrize("name", ["resnet8", "resnet14", "resnet8x2", "cnn8"])
def test_a_fused_network_gives_the_answers_of_the_plain_one(name, dtype):
    original, plain = folded(name)
    fused = fusion.fuse(plain, dtype)
    assert fused is not plain
    kernels = [module for module in fused.modules() if isinstance(module, fusion.FusedConv)]
    convolutions = [module for module in original.modules() if isinstance(module, torch.nn.Conv2d)]
    assert len(kernels) == len(convolutions)  # none was left behind
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        ours = fused(images())
    with torch.inference_mode():
        exact = copy.deepcopy(original).double().body(images().double())
        exact = original.head(exact.float())  # of the network that was trained, in double precision
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2
    assert ours.dtype == torch.float32
    assert (ours - exact).abs().max() < tolerance * exact.abs().max()


def test_fusing_leaves_the_plain_network_as_it_was():
    _, plain = folded("resnet8")
    state = {name: value.clone() for name, value in plain.state_dict().items()}
    x, kinds = images(), [type(module) for module in plain.modules()]
    before = x.clone()
    with torch.inference_mode():
        answer = plain(x)
        fused = fusion.fuse(plain)
        fused(x)
        assert torch.equal(plain(x), answer)
    assert torch.equal(x, before)
    assert [type(module) for module in plain.modules()] == kinds
    assert all(torch.equal(plain.state_dict()[name], value) for name, value in state.items())


def test_where_there_is_no_kernel_the_plain_network_stays(monkeypatch):
    _, plain = folded("resnet8")
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert fusion.fuse(plain) is plain
    monkeypatch.undo()
    assert not fusion.available(torch.float16)
    assert fusion.fuse(plain, torch.float16) is plain
    vectors = fold_batchnorm(build("mlp16", 4, in_channels=2, image_size=0))
    assert fusion.fuse(vectors) is vectors
    unfolded = build("resnet8", 10).eval()
    assert fusion.fuse(unfolded) is unfolded


def test_a_kernel_that_answers_otherwise_is_not_used(monkeypatch):
    _, plain = folded("resnet8")

    def refused(self, x, other=None):
        raise RuntimeError("mkldnn: not on this CPU")

    monkeypatch.setattr(fusion.FusedConv, "forward", refused)
    assert fusion.fuse(plain) is plain
    monkeypatch.undo()

    _, cnn = folded("cnn8")
    real = fusion.FusedConv.__init__

    def without_relu(self, conv, dtype, relu):
        real(self, conv, dtype, relu=False)

    monkeypatch.setattr(fusion.FusedConv, "__init__", without_relu)
    with pytest.warns(UserWarning, match="cnn8: fused kernels give other answers"):
        assert fusion.fuse(cnn) is cnn
