"""The first cell of a chapter on Colab: which scale fits the machine it got, and where records go.

It chooses and trains by `mixkd.runs`; installing is the cell's own business. Nothing elsewhere calls it.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from mixkd.runs import Machine, collect
from mixkd.studies import load_profile, study

SCALES = (("cifar10", 8.0), ("cifar10-cpu", 2.0), ("digits", 0.0))
"""Profiles whose data Colab can get by itself, from the largest, with the GPU memory each wants, in GB."""
LOCAL = Path("/content/mixkd-runs")
DRIVE = Path("/content/drive")


def gpu() -> tuple[str, float]:
    """Name and memory in GB of the GPU with the most free memory, which becomes the current one; ("", 0) without."""
    import torch

    if not torch.cuda.is_available():
        return "", 0.0
    free = [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
    torch.cuda.set_device(best := free.index(max(free)))
    return torch.cuda.get_device_name(best), max(free) / 1e9


def choose(memory: float, minutes: float) -> str:
    """The largest scale that fits.

    Args:
        memory: free GPU memory in GB; 0 without a GPU.
        minutes: how long training may take. A profile made for a CPU counts in full on a GPU too, so this is cautious.

    Raises:
        ValueError: when not even the smallest fits into the time.
    """
    for profile, needed in SCALES:
        if memory >= needed and load_profile(profile).minutes <= minutes:
            return profile
    smallest = load_profile(SCALES[-1][0])
    raise ValueError(f"MINUTES = {minutes:g}: training takes {smallest.minutes:g} or more; TRAIN = False shows the committed records")


def start(*, train: bool, minutes: float, drive: bool) -> tuple[str, str]:
    """Settle scale and store; train what the store lacks.

    Args:
        train: False shows the committed records and trains nothing.
        minutes: see `choose`.
        drive: keep records on Google Drive, so that they outlive this machine.

    Returns:
        Profile and store, as the parameters of a chapter.

    Raises:
        RuntimeError: when runs could not be made; the others are kept.
    """
    name, memory = gpu()
    print(f"GPU: {name}, {memory:.1f} GB free" if name else "no GPU: Runtime > Change runtime type gives one")
    if not train:
        print("Scale digits, from the committed records; nothing is trained. TRAIN = True trains.")
        return "digits", "committed"
    profile = choose(memory, minutes)
    store = LOCAL
    if drive:
        importlib.import_module("google.colab.drive").mount(str(DRIVE))
        store = DRIVE / "MyDrive" / "mixkd-runs"
    plan = load_profile(profile)
    print(f"Scale {profile}: {plan.title}. About {plan.minutes:g} minutes or less; records in {store}.")
    print(
        "Disconnected? The same cell goes on where it was"
        + ("." if drive else ", while this machine lives; DRIVE = True keeps records longer.")
    )
    records = collect(study("all", profile), store, machine=Machine())
    if records.failed:
        raise RuntimeError("\n".join(records.failed.values()))
    return profile, str(store)
