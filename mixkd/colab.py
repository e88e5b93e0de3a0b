"""The first cell of a chapter on Colab: which scale fits the machine and the time, and where records go.

It chooses and trains by `mixkd.runs`; installing is the cell's own business. Nothing elsewhere calls it.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mixkd.plan import LARGE
from mixkd.runs import Machine, collect
from mixkd.spec import RunSpec
from mixkd.studies import load_profile, of_first_seeds, study

SCALES = (("cifar10", 8.0), ("colab", 2.0), ("digits", 0.0))
"""Profiles whose data Colab can get by itself, from the largest, with the GPU memory each wants, in GB."""
FEWEST_SEEDS = 3
"""With fewer, intervals over seeds say next to nothing, and a smaller scale with all its seeds says more."""
LOCAL = Path("/content/mixkd-runs")
DRIVE = Path("/content/drive")


@dataclass(frozen=True)
class Plan:
    """What is trained: the runs, without teachers that they bring along, and about how many minutes they take."""

    profile: str
    seeds: int
    specs: list[RunSpec]
    minutes: float


def gpu() -> tuple[str, float]:
    """Name and memory in GB of the GPU with the most free memory, which becomes the current one; ("", 0) without."""
    import torch

    if not torch.cuda.is_available():
        return "", 0.0
    free = [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]
    torch.cuda.set_device(best := free.index(max(free)))
    return torch.cuda.get_device_name(best), max(free) / 1e9


def choose(studies: Sequence[str], memory: float, minutes: float) -> Plan:
    """Return the largest scale that fits, with as many seeds as fit.

    Args:
        studies: what the page reads.
        memory: free GPU memory in GB; 0 without a GPU.
        minutes: how long training may take. A profile states how long all its runs take on the machine it is meant for (`colab`: a T4); a
            part takes its share.

    Raises:
        ValueError: if not even the smallest fits into the time.
    """
    for profile in (profile for profile, needed in SCALES if memory >= needed):
        for seeds in range(load_profile(profile).seeds, FEWEST_SEEDS - 1, -1):
            plan = _plan(studies, profile, seeds)
            if plan.minutes <= minutes:
                return plan
    raise ValueError(f"MINUTES = {minutes:g}: training takes {plan.minutes:.2g} or more; TRAIN = False shows the committed records")


def _plan(studies: Sequence[str], profile: str, seeds: int) -> Plan:
    wanted = dict.fromkeys(spec for name in studies for spec in study(name, profile))
    specs = of_first_seeds(wanted, profile, seeds)
    share = _steps(specs) / _steps(study("all", profile))
    return Plan(profile, seeds, specs, share * load_profile(profile).minutes)


def _steps(specs: Iterable[RunSpec]) -> float:
    """Training steps of runs and their teachers."""
    runs = {run for spec in specs for run in (spec, spec.teacher_run()) if run is not None}
    return sum(run.epochs * (run.train_size or LARGE.get(run.data, _SMALL)[0] - run.train_skip) / run.batch_size for run in runs)


_SMALL = (1000,)  # training images of the others, about


def start(studies: Sequence[str], *, train: bool, minutes: float, drive: bool) -> tuple[str, str]:
    """Settle scale and store; train what the page reads and the store lacks.

    Args:
        studies: what the page reads; none for a page that has nothing to train here.
        train: False shows the committed records and trains nothing.
        minutes: see `choose`.
        drive: mount Google Drive and keep records there, so that they outlive this machine. They go there too where it is mounted.

    Returns:
        Profile and store, as the parameters of a chapter.

    Raises:
        RuntimeError: when runs could not be made; the others are kept.
    """
    name, memory = gpu()
    print(f"GPU: {name}, {memory:.1f} GB free" if name else "no GPU: Runtime > Change runtime type gives one")
    if not train or not studies:
        print("Scale digits, from the committed records; nothing is trained." + (" TRAIN = True trains." if studies else ""))
        return "digits", "committed"
    plan = choose(studies, memory, minutes)
    if drive:
        importlib.import_module("google.colab.drive").mount(str(DRIVE))
    kept = (DRIVE / "MyDrive").is_dir()
    store = DRIVE / "MyDrive" / "mixkd-runs" if kept else LOCAL
    print(f"Scale {plan.profile}: {load_profile(plan.profile).title}. {len(plan.specs)} runs, {plan.seeds} seeds, ", end="")
    print(f"about {max(1, plan.minutes):.0f} minutes (estimated, for a T4 or two CPU cores); records in {store}.")
    longer = "" if kept else ", while this machine lives; DRIVE = True keeps records longer"
    print(f"Disconnected? The same cell goes on where it was{longer}.")
    records = collect(plan.specs, store, machine=Machine())
    if records.failed:
        raise RuntimeError("\n".join(records.failed.values()))
    return plan.profile, str(store)
