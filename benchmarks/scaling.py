"""What grows and what does not: time with images and with epochs, memory with the number of runs, the start of `mixkd --help`.

Refuses to share a process between measurements of memory.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import training
from benchmarks.clock import alternate, ratios
from mixkd.spec import RunSpec
from mixkd.train import train_cohort

_RUNS = """
import sys, tempfile, torch
from pathlib import Path
from mixkd.runs import Machine, collect
from mixkd.spec import RunSpec
torch.set_num_threads(1)
specs = [RunSpec(data="digits", arm="ce", student="cnn8", epochs=1, seed=seed) for seed in range(int(sys.argv[1]))]
with tempfile.TemporaryDirectory() as folder:
    assert not collect(specs, folder, workers=0, machine=Machine(device="cpu"), progress=False).failed
# not getrusage, whose maximum a process takes over from the one that started it
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")))
"""


@dataclass(frozen=True)
class Size:
    """A student of `model`, `steps` batches of `batch` images, and four times as many; `runs` of them and ten times as many."""

    model: str = "resnet8"
    batch: int = 64
    steps: int = 10
    runs: int = 4
    rounds: int = 5


QUICK = Size(batch=4, steps=1, runs=1, rounds=1)


def measure(size: Size, device: torch.device) -> dict[str, Any]:
    """Speed per image of four times the images and of four times the epochs, in units of the speed of one; peaks of memory; start."""

    def turn(times_images: int, times_epochs: int) -> Callable[[], float]:
        rows = size.batch * size.steps * times_images
        data = training.dataset(rows).to(device)
        spec = RunSpec(
            data="cifar100", arm="ce", student=size.model, augment="crop_flip", epochs=times_epochs, batch_size=size.batch,
            optimizer="sgd", lr=0.05, schedule="constant",
        )  # fmt: skip

        def work() -> float:
            train_cohort([spec], data, device=device)
            if device.type == "cuda":
                torch.cuda.synchronize()
            return float(rows * times_epochs)

        return work

    rates = alternate({"one": turn(1, 1), "images": turn(4, 1), "epochs": turn(1, 4)}, size.rounds)
    return {
        "images": vars(ratios(rates["images"], rates["one"])),
        "epochs": vars(ratios(rates["epochs"], rates["one"])),
        "memory_mb": {str(runs): _memory(runs) for runs in (size.runs, 10 * size.runs)},
        "help_s": _help(size.rounds),
    }


def _memory(runs: int) -> float:
    out = subprocess.run([sys.executable, "-c", _RUNS, str(runs)], capture_output=True, text=True, check=True)
    return int(out.stdout.split()[-1]) / 1024


def _help(rounds: int) -> float:
    """Seconds until `mixkd --help` has ended, median."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-m", "mixkd", "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)
