"""What a reproduction would train, study by study, and about how long it takes on this machine, from a few timed steps."""

from __future__ import annotations

import time
from collections.abc import Iterable

import pandas as pd
import torch
from loky import cpu_count

from mixkd.data import Dataset, Split, load_data
from mixkd.models import build
from mixkd.objectives import Teacher
from mixkd.runs import Machine
from mixkd.spec import RunSpec
from mixkd.store import RecordStore
from mixkd.studies import STUDIES, study
from mixkd.train import train_cohort

LARGE = {"cifar10": (45_000, 10, 32), "cifar100": (45_000, 100, 32), "imagenet": (1_276_167, 1000, 224)}
"""Training images, classes and side of data sets that need not be on this machine to be timed."""
STEPS = {"small": 40, "image": 4}
"""Steps that are timed: many of networks for vectors and tiny images, whose steps take a millisecond, and on a GPU."""


def plan(studies: Iterable[str], profile: str, store: RecordStore, machine: Machine, workers: int | None = None) -> pd.DataFrame:
    """Return a row for each study and one for the teachers of all: runs, how many the store has, and the time for the others.

    A run that several studies share is timed with the first. Each student is timed as if it asked its teacher alone, so times are
    upper bounds.

    Args:
        studies: names, or "all".
        profile: its name.
        store: runs that are there take no time.
        machine: the device and precision to time on.
        workers: processes that will share the work, as in `mixkd.runs.collect`.

    Returns:
        Columns study, runs, there, missing, minutes.

    Raises:
        FileNotFoundError: for a folder of images that is not here.
    """
    names = dict.fromkeys(name for asked in studies for name in (STUDIES if asked == "all" else [asked]))
    found = {name: study(name, profile) for name in names}
    teachers = list(dict.fromkeys(run for specs in found.values() for spec in specs if (run := spec.teacher_run())))
    share = 1 if machine.torch_device().type == "cuda" else max(1, cpu_count() if workers is None else workers)
    kinds: dict[tuple[object, ...], float] = {}
    timed: set[RunSpec] = set()
    rows = []
    for name, specs in {"their teachers": teachers, **found}.items():
        missing = [spec for spec in specs if spec.id not in store]
        seconds = sum(_seconds(spec, machine, kinds) for spec in missing if spec not in timed)
        timed.update(missing)
        rows.append((name, len(specs), len(specs) - len(missing), len(missing), seconds / 60 / share))
    return pd.DataFrame(rows, columns=["study", "runs", "there", "missing", "minutes"])


def _seconds(spec: RunSpec, machine: Machine, kinds: dict[tuple[object, ...], float]) -> float:
    """Return the time of all steps of a run on one worker; a step of runs of one kind is timed once."""
    if spec.data in LARGE:
        images, classes, side = LARGE[spec.data]
        shape: tuple[int, ...] = (3, *2 * [spec.image_size or side])
    else:
        data = load_data(spec.data, image_size=spec.image_size, root=machine.root)
        images, classes, shape = len(data.splits["train"].labels), data.n_classes, (data.channels, *2 * [data.image_size or 0])
    kind = (spec.student, spec.teacher and spec.teacher.model, spec.batch_size, shape)
    if kind not in kinds:
        kinds[kind] = _step(spec, machine, shape, classes)
    return kinds[kind] * spec.epochs * ((spec.train_size or images - spec.train_skip) // spec.batch_size)


def _step(spec: RunSpec, machine: Machine, shape: tuple[int, ...], classes: int) -> float:
    """Return the seconds of a step on random images, by the training loop itself."""
    device, channels, side = machine.torch_device(), *shape[:2]
    batch = spec.batch_size if device.type == "cuda" or side <= 64 else 4  # a part of a batch of large images tells enough
    short = spec.replace(epochs=1, warmup=0.0, batch_size=batch, train_size=None, train_skip=0, pretrained=None, mean=None, std=None)
    teacher = None
    if spec.teacher is not None:
        network = build(spec.teacher.model, classes, channels, side).eval().to(device)
        teacher = Teacher(torch.inference_mode()(network))
    took, timed = [], STEPS["image" if side >= 32 and device.type == "cpu" else "small"]
    for steps in (1, 1, 1 + timed):  # the first chooses kernels; the difference of the others is free of what steps do not need
        images = torch.randint(256, (steps * batch, *shape), dtype=torch.uint8) if side else torch.randn(steps * batch, channels)
        train = Split(images, torch.arange(len(images)) % classes)
        val = Split(images[:batch], train.labels[:batch])
        data = Dataset("random images", spec.data, ("",) * classes, {"train": train, "val": val}, (0.5,) * channels, (0.5,) * channels)
        began = time.perf_counter()
        [student] = train_cohort(
            [short], data, teacher, sigma={short.id: 1.0},
            device=device, precision=machine.precision, cuda_graphs=machine.cuda_graphs,
        )  # fmt: skip
        student.losses.cpu()  # waits for a GPU
        took.append(time.perf_counter() - began)
    return max(0.0, took[2] - took[1]) / timed * spec.batch_size / batch
