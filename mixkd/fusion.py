"""Frozen networks on a CPU: each convolution with its shortcut and its ReLU as one oneDNN kernel, weights packed once.

Refuses to guess: where oneDNN lacks a kernel, or the fused network does not give the answers of the plain one, the plain one is used.
"""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from mixkd.models import BasicBlock, Model

_TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 3e-2}
"""Largest deviation of a fused network's logits, in units of their largest magnitude: what another order of rounding gives."""


def available(dtype: torch.dtype) -> bool:
    """Whether this CPU and this PyTorch have the fused kernels in float32 or bfloat16."""
    if dtype not in _TOLERANCE or not torch.backends.mkldnn.is_available() or not hasattr(torch.ops.mkldnn, "_convolution_pointwise"):
        return False
    return dtype == torch.float32 or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def fuse(model: Model, dtype: torch.dtype = torch.float32) -> Model:
    """The model with its convolutions fused where that is possible and gives the same answers; else the model itself.

    Fused are ``relu(conv(x))`` and ``relu(conv(x) + shortcut)`` of the models whose batch norms were folded; all else stays. In
    float32 the answers are those of the plain network (bit for bit, wherever it was tried); in bfloat16 within its rounding,
    since the sum with the shortcut is rounded once instead of twice.

    Args:
        model: frozen, in eval mode, on the CPU, of :func:`mixkd.models.fold_batchnorm`; not changed.
        dtype: in which the convolutions run; the head stays in float32.
    """
    if not available(dtype) or not model.image_size or next(model.parameters()).device.type != "cpu":
        return model
    fused = copy.deepcopy(model)
    if not _fuse_children(fused, dtype):
        return model
    if not _agrees(fused, model, dtype):
        warnings.warn(f"{model.name}: fused kernels give other answers than plain ones on this CPU; the plain ones are used", stacklevel=2)
        return model
    return fused


class FusedConv(nn.Module):
    """``relu(conv(x))``, ``conv(x)``, or, with a second input, ``relu(conv(x) + other)``, in one kernel."""

    def __init__(self, conv: nn.Conv2d, dtype: torch.dtype, relu: bool) -> None:
        super().__init__()
        self.dtype, self.unary = dtype, "relu" if relu else "none"
        self.shape: tuple[Any, ...] = (list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups)
        self.bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        weight = conv.weight.detach().to(dtype, memory_format=torch.channels_last)
        self.weight = torch.ops.mkldnn._reorder_convolution_weight(weight, *self.shape)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        x = x.to(self.dtype)
        kernel = torch.ops.mkldnn._convolution_pointwise
        if other is None:
            return kernel(x, self.weight, self.bias, *self.shape, self.unary, [], None)
        sum_of = (x, other.to(self.dtype), self.weight, self.bias)
        return kernel.binary(*sum_of, *self.shape, "add", 1.0, self.unary, [], None)


class FusedBlock(nn.Module):
    """A :class:`BasicBlock` in two kernels, three where its shortcut is projected."""

    def __init__(self, block: BasicBlock, dtype: torch.dtype) -> None:
        super().__init__()
        self.first, self.second = FusedConv(block.first, dtype, relu=True), FusedConv(block.second, dtype, relu=True)  # type: ignore[arg-type]
        same = isinstance(block.shortcut, nn.Identity)
        self.shortcut = block.shortcut if same else FusedConv(block.shortcut, dtype, relu=False)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        fused: Tensor = self.second(self.first(x), self.shortcut(x))
        return fused


def _fuse_children(parent: nn.Module, dtype: torch.dtype) -> int:
    """Replace what can be fused below a module; returns how many places were."""
    done = 0
    children = list(parent.named_children())
    for at, (name, child) in enumerate(children):
        if isinstance(child, BasicBlock) and isinstance(child.first, nn.Conv2d) and isinstance(child.second, nn.Conv2d):
            setattr(parent, name, FusedBlock(child, dtype))
            done += 1
        elif isinstance(parent, nn.Sequential) and isinstance(child, nn.Conv2d):
            after = children[at + 1] if at + 1 < len(children) else ("", None)
            if isinstance(after[1], nn.ReLU):
                setattr(parent, name, FusedConv(child, dtype, relu=True))
                setattr(parent, after[0], nn.Identity())
                done += 1
        else:
            done += _fuse_children(child, dtype)
    return done


@torch.inference_mode()
def _agrees(fused: Model, plain: Model, dtype: torch.dtype) -> bool:
    """Whether both give the same answers on noise, within rounding; a kernel that raises does not."""
    shape = (4, plain.in_channels, plain.image_size, plain.image_size)
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
            ours, theirs = fused(images), plain(images)
    except RuntimeError:
        return False
    return bool((ours - theirs).abs().max() <= _TOLERANCE[dtype] * theirs.abs().max().clamp_min(1e-6))
