"""Whether half precision costs accuracy: the same seeds trained in bfloat16 and in float32, on real images.

Takes minutes and needs images, so it runs only when asked: `python -m benchmarks.run --only precision --data folder:IMAGES`.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import torch

from mixkd.data import load_data
from mixkd.spec import RunSpec
from mixkd.train import predict, resolve_precision, train_cohort


@dataclass(frozen=True)
class Size:
    """Which student, how long, on how many images, over how many seeds."""

    data: str = "cifar10"
    root: str | None = None
    image_size: int | None = 32
    student: str = "resnet8"
    train_size: int = 10_000
    epochs: int = 8
    seeds: int = 3
    augment: str = "crop_flip"
    batch: int = 128


QUICK = Size(data="digits", image_size=None, student="cnn8", train_size=100, epochs=1, seeds=2, augment="none", batch=50)


def measure(size: Size, device: torch.device) -> dict[str, Any]:
    """Validation accuracy of each seed in each precision; the mean difference beside the deviation between seeds.

    Raises:
        ValueError: on a machine that does not multiply in bfloat16: emulation would say nothing about it.
    """
    half = resolve_precision("auto", device, size.data)
    if half == "fp32" and size.data != "digits":
        raise ValueError("this machine multiplies in float32 only (no AVX512-bf16, no GPU): nothing to compare")
    data = load_data(size.data, image_size=size.image_size, train_size=size.train_size, root=size.root).to(device)
    val = data.splits["val"]
    accuracy: dict[str, list[float]] = {}
    for precision in ("fp32", "bf16" if half == "fp32" else half):
        accuracy[precision] = []
        for seed in range(size.seeds):
            spec = RunSpec(
                data=size.data, arm="ce", student=size.student, train_size=size.train_size, image_size=size.image_size, seed=seed,
                augment=size.augment, epochs=size.epochs, batch_size=size.batch, optimizer="sgd", lr=0.1, nesterov=True,
            )  # fmt: skip
            [student] = train_cohort([spec], data, device=device, precision=precision)  # type: ignore[arg-type]
            logits = predict(student.model, data, val.images)
            accuracy[precision].append(float((logits.argmax(-1) == val.labels).double().mean()))
    full, other = accuracy.values()
    difference = statistics.mean(b - a for a, b in zip(full, other, strict=True))
    return {"accuracy": accuracy, "difference": difference, "seed_deviation": statistics.stdev(full), "size": vars(size)}
