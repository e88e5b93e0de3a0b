"""Write and read checkpoints: a checksum, the settings of the run, its state.

The first line holds the checksum of everything after it, the second the settings as JSON; the rest is what ``torch.save`` wrote and
``torch.load`` reads with ``weights_only``, so no file can run code.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from mixkd.files import first_line, replacing

_MAGIC = b"mixkd checkpoint 1 "


class DamagedCheckpoint(ValueError):
    """A checkpoint that was changed, cut short, or belongs to another run. It is never continued."""


class ForeignCheckpoint(ValueError):
    """A whole checkpoint of a run that was trained with other settings. The message says how to continue it."""


@dataclass(frozen=True)
class Settings:
    """How a run is trained. Its record says so of the whole run, so it cannot change in the middle.

    Attributes:
        spec: id of the spec.
        precision: "fp32", "bf16" or "fp16".
        ranks: number of processes that share each batch.
        device: type of device: "cpu" or "cuda".
        cuda_graphs: whether passes are replayed as CUDA graphs, which may choose other kernels.
    """

    spec: str
    precision: str
    ranks: int
    device: str
    cuda_graphs: bool = False

    def __str__(self) -> str:
        ranks = f"{self.ranks} {'rank' if self.ranks == 1 else 'ranks'}"
        return f"precision {self.precision} on {ranks}, device {self.device}{', CUDA graphs' if self.cuda_graphs else ''}"

    @property
    def flags(self) -> str:
        """What to add to a command to train with these settings."""
        start = f"torchrun --nproc_per_node={self.ranks}" if self.ranks > 1 else "no torchrun"
        return f"--precision {self.precision} --device {self.device}{' --cuda-graphs' if self.cuda_graphs else ''}, {start}"


def write(path: Path, settings: Settings, step: int, state: dict[str, Any]) -> None:
    """Write a checkpoint: temporary sibling, fsync, rename. A reader finds the former file or this one, whole.

    Args:
        path: of the file; its folder is made.
        settings: of the run.
        step: steps done.
        state: tensors, numbers, strings, and lists and dicts of them.

    Raises:
        OSError: for a full disk, say; the temporary file is removed.
    """
    body = io.BytesIO()
    torch.save(state, body)
    head = json.dumps({**asdict(settings), "step": step}).encode() + b"\n"
    digest = hashlib.sha256(head)
    digest.update(body.getbuffer())
    with replacing(path, f".{os.getpid()}.tmp") as file:
        file.write(_MAGIC + digest.hexdigest().encode() + b"\n" + head)
        file.write(body.getbuffer())


def read(path: Path, settings: Settings) -> tuple[int, dict[str, Any]] | None:
    """Return the step and the state of a checkpoint, on the CPU; None where there is no file.

    Args:
        path: of the file.
        settings: with which the run would continue.

    Raises:
        DamagedCheckpoint: when its checksum does not fit, it is of another run, or it holds anything but tensors and plain values.
        ForeignCheckpoint: when it is whole, and was trained with other settings.
    """
    found = _verified(path, settings)
    if found is None:
        return None
    step, body = found
    try:
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except (EOFError, OSError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
        raise DamagedCheckpoint(first_line(error)) from error
    if not isinstance(state, dict):
        raise DamagedCheckpoint(f"holds a {type(state).__name__}, not the state of a run")
    return step, state


def check(path: Path, settings: Settings) -> None:
    """Raise :class:`ForeignCheckpoint` where a whole checkpoint of other settings lies; a damaged one is left to :func:`read`."""
    try:
        _verified(path, settings)
    except DamagedCheckpoint:
        return


def _verified(path: Path, settings: Settings) -> tuple[int, bytes] | None:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DamagedCheckpoint("is not a regular file")
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno != errno.EIO:
            raise
        raise DamagedCheckpoint("cannot be read (Input/output error)") from error
    first, _, rest = content.partition(b"\n")
    if first != _MAGIC + hashlib.sha256(rest).hexdigest().encode():
        raise DamagedCheckpoint("differs from its checksum" if first.startswith(_MAGIC) else "is not a checkpoint of this version")
    head, _, body = rest.partition(b"\n")
    try:
        fields = json.loads(head)
        step = fields.pop("step")
        theirs = Settings(**fields)
        if type(theirs.ranks) is not int or not re.fullmatch("[0-9a-z ]{1,40}", f"{theirs.spec} {theirs.precision} {theirs.device}"):
            raise ValueError("no settings of a run")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedCheckpoint(f"its settings cannot be read ({error})") from error
    if theirs.spec != settings.spec:
        raise DamagedCheckpoint(f"holds run {theirs.spec}")
    if type(step) is not int or step < 0:
        raise DamagedCheckpoint(f"step {step!r} is no step")
    if theirs != settings:
        raise ForeignCheckpoint(
            f"checkpoint {path}: run {settings.spec} reached step {step} with {theirs}, and would continue with {settings}. "
            f"Continue with the same settings ({theirs.flags}), or remove the file to begin the run anew."
        )
    return step, body
