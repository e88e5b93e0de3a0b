"""Copies from the host to a device that nobody waits for.

Refuses the other direction: a value that comes back from a GPU inside an epoch stops the queue, so no function here fetches one.
"""

from __future__ import annotations

import torch
from torch import Tensor


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor on the device, queued behind the work that is already there.

    A copy out of pageable memory makes the host wait until the device is done with everything before it, so on a GPU the
    tensor is pinned first; PyTorch keeps the pinned pages until the copy is through.

    Args:
        tensor: on the CPU or already on the device, which returns it as it is.
        device: where it should be.
    """
    if tensor.device.type == "cpu" and device.type == "cuda" and torch.cuda.is_available():
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
