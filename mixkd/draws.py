"""Stateless randomness: each draw comes from a generator seeded by (seed, purpose, step) alone.

So arms are paired, resuming needs no random state, and a GPU sees the order a CPU does: draws are made on the CPU and sent to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def key(seed: int, purpose: str, step: int) -> int:
    """63 bits that are a function of (seed, purpose, step) only, the same on every machine."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{step}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def stream(seed: int, purpose: str, step: int) -> torch.Generator:
    """Return the generator of one draw: on the CPU, a function of (seed, purpose, step) only, the same on every machine."""
    return torch.Generator().manual_seed(key(seed, purpose, step))


@contextmanager
def ambient(seed: int, purpose: str, step: int, device: torch.device) -> Iterator[None]:
    """Seed the global generators for code that takes none, such as dropout, and leave them as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(key(seed, purpose, step))
        yield


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return the tensor on the device, queued behind the work that is already there.

    A copy out of pageable memory makes the host wait until the device is done with everything before it, so on a GPU the
    tensor is pinned first; PyTorch keeps the pinned pages until the copy is through.

    Args:
        tensor: on the CPU or already on the device, which returns it as it is.
        device: where it should be.
    """
    if tensor.device.type == "cpu" and device.type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
