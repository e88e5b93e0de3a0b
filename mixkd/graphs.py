"""Replay a network's kernels as CUDA graphs: one launch instead of hundreds, for networks so small that launching is what takes time.

``torch.cuda.make_graphed_callables`` records the kernels that run without it, so nothing is compiled and rounding stays as it was. Not
``torch.compile(mode="reduce-overhead")``: it compiles each network for each shape, overwrites what an earlier call returned (a teacher's
answer, which a cohort's students share), and needs a C compiler where it runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def check(device: torch.device, ranks: int) -> None:
    """Raise :class:`ValueError` where graphs are not recorded: without a CUDA device, or in a run that several processes share."""
    if device.type != "cuda":
        raise ValueError(f"cuda_graphs: need a CUDA device, and this run trains on {device.type}; leave out --cuda-graphs")
    if ranks > 1:
        raise ValueError(f"cuda_graphs: work in one process, and {ranks} ranks share this run; leave out --cuda-graphs or torchrun")


class Replayed:
    """A function of one batch, recorded at its first call and replayed after it.

    Every call must have the shape, dtype and memory format of the first, and what a call returned is overwritten by the next. Autocast, if
    any, must not cache. Functions that share a pool must be called one after the other, each with its backward pass done.
    """

    def __init__(self, function: nn.Module | Callable[[Tensor], Tensor], pool: Any) -> None:
        """
        Args:
            function: in the mode in which it will be used; of a module the parameters get gradients.
            pool: a ``torch.cuda.graph_pool_handle()``; the memory of activations is shared by all that have the same.
        """
        self._function, self._pool = function, pool
        self._replay: Callable[[Tensor], Tensor] | None = None

    def __call__(self, images: Tensor) -> Tensor:
        if self._replay is None:
            self._replay = self._record(images)
        return self._replay(images)

    def _record(self, images: Tensor) -> Callable[[Tensor], Tensor]:
        # a network goes in a shell, as the forward of what is recorded is replaced, and the network itself is also evaluated
        shell: Any = nn.Sequential(self._function) if isinstance(self._function, nn.Module) else self._function
        buffers = list(shell.buffers()) if isinstance(shell, nn.Module) else []
        before = [buffer.clone() for buffer in buffers]
        recorded: Any = torch.cuda.make_graphed_callables(shell, (images.clone(),), allow_unused_input=True, pool=self._pool)
        with torch.no_grad():  # running averages counted the batches of its warm-up
            for buffer, value in zip(buffers, before, strict=True):
                buffer.copy_(value)
        return recorded


def frozen(function: Callable[[Tensor], Tensor], pool: Any) -> Callable[[Tensor], Tensor]:
    """Return a function without gradients, replayed; what it returned stays."""
    # out of inference mode, in which it may answer: autograd takes no such tensor out of a graph
    replay = Replayed(lambda images: function(images).clone(), pool)
    return lambda images: replay(images).clone()
