"""Several processes that train one run together, one on each GPU or core: joined, told apart, ended together.

`torchrun --nproc_per_node=N -m mixkd run ...` starts them. Which part of a batch is whose is said here; nothing here trains, and it
refuses everything but one run: many runs go to workers or to a scheduler.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from mixkd.workers import end_with

PATIENCE = timedelta(minutes=30)
"""How long a rank waits for one that sends nothing and has not closed its connection: a node that lost its network."""

T = TypeVar("T")


class RankLost(RuntimeError):
    """Another rank ended, so this one cannot go on. The job ends; the same command continues from the last checkpoint."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train the same run.

    Attributes:
        rank: its number, from 0; rank 0 alone writes files and prints.
        size: how many there are; 1 without torchrun.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    @property
    def purpose(self) -> str:
        """What this rank adds to the purpose of each random draw, so that its part of a batch has draws of its own."""
        return f"/{self.rank} of {self.size}" if self.size > 1 else ""

    def part(self, batch_size: int) -> slice:
        """Return this rank's rows of each batch.

        Raises:
            ValueError: if the batch cannot be cut into equal parts of at least two (batch norm needs two).
        """
        if self.size > 1 and (batch_size % self.size or batch_size // self.size < 2):
            raise ValueError(f"batch_size = {batch_size}: must be a multiple of the {self.size} ranks, with 2 images for each or more")
        own = batch_size // self.size
        return slice(self.rank * own, (self.rank + 1) * own)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Return the model to call in training: gradients become the mean over all ranks."""
        # Each rank normalises with the statistics of its own part; the running averages that count are those of rank 0.
        return model if self.size == 1 else nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean over all ranks, on all ranks, in place."""
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value

    def share(self, value: T) -> T:
        """Return rank 0's value, on all ranks."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def agree(self, value: object, what: str) -> None:
        """Stop all ranks when they do not have the same value.

        Raises:
            RuntimeError: naming what differs, and the values.
        """
        if self.size == 1:
            return
        values: list[object] = [None] * self.size
        dist.all_gather_object(values, value)
        if any(other != values[0] for other in values):
            seen = ", ".join(f"{other!r} on rank {rank}" for rank, other in enumerate(values))
            raise RuntimeError(f"{what}: {seen}; the store must be one folder that every rank sees")


def launched() -> bool:
    """Whether torchrun started this process beside others."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "RANK" in os.environ and "MASTER_ADDR" in os.environ


def here() -> Ranks:
    """Return this process among the ranks that have joined; alone if none have."""
    if dist.is_available() and dist.is_initialized():
        return Ranks(dist.get_rank(), dist.get_world_size())
    return Ranks()


@contextmanager
def joined(device: str = "auto") -> Iterator[Ranks]:
    """Join the ranks that torchrun started, each with a GPU of its own where there are GPUs; alone without torchrun.

    Raises:
        ValueError: when this node has fewer GPUs than ranks, or a device with a number was asked for.
        RankLost: from inside, when another rank ended.
    """
    if not launched():
        yield Ranks()
        return
    rank, local = int(os.environ["RANK"]), int(os.environ.get("LOCAL_RANK", "0"))
    gpu = device != "cpu" and torch.cuda.is_available()
    if device.startswith("cuda:"):
        raise ValueError(f"device = {device!r}: under torchrun each rank takes the GPU of its own number; use cuda")
    if gpu:
        if local >= torch.cuda.device_count():
            raise ValueError(
                f"rank {rank}: there are {torch.cuda.device_count()} GPUs here; start torchrun with --nproc_per_node that many"
            )
        torch.cuda.set_device(local)
    end_with(os.getppid())
    try:
        # torchrun listens before it starts a rank, so one that does not is dead, and is not waited for
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
            socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), 60).close()
    except OSError as error:
        raise RankLost(f"torchrun has ended ({error}), so the job ends") from error
    try:
        dist.init_process_group("cpu:gloo,cuda:nccl" if gpu else "gloo", timeout=PATIENCE)
        yield here()
    except (dist.DistError, RuntimeError) as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error).lower() or "nccl" in str(error).lower():
            reason = str(error).strip().splitlines()[0]
            raise RankLost(
                f"another rank ended or cannot be reached, so the job ends ({reason}). "
                "What is finished and the last checkpoint are kept: the same command continues."
            ) from error
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
