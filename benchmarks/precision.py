"""Whether half precision costs accuracy: the same seeds trained in bfloat16 (float16 on old GPUs) and in float32, on real images.

Takes minutes and needs images, so it runs only when asked: `python -m benchmarks.run --only precision --data folder:IMAGES`.
On a machine that does not multiply in bfloat16 the products are computed as hardware that does has them: this shows the
accuracy, and says nothing of the speed.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

from mixkd.data import load_data
from mixkd.measure.statistics import t_interval
from mixkd.spec import RunSpec
from mixkd.train import predict, resolve_precision, train_cohort

_aten = torch.ops.aten
MULTIPLY = (_aten.convolution, _aten.convolution_backward, _aten.mm, _aten.addmm, _aten.bmm, _aten.baddbmm)


class ByFloat32(TorchDispatchMode):
    """Convolutions and matrix products of bfloat16 tensors, computed by units for float32.

    The product of two bfloat16 numbers is exact in float32. Hardware with bfloat16 adds such products in float32 and rounds the
    sum once, and so does this: the two differ in the order of the sum alone.
    """

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        operator: Callable[..., Any] = func
        first = next((value for value in args if isinstance(value, torch.Tensor)), None)
        if func.overloadpacket not in MULTIPLY or first is None or first.dtype != torch.bfloat16:
            return operator(*args, **(kwargs or {}))
        wide, named = tree_map_only(torch.Tensor, torch.Tensor.float, (args, dict(kwargs or {})))
        return tree_map_only(torch.Tensor, torch.Tensor.bfloat16, operator(*wide, **named))


@dataclass(frozen=True)
class Size:
    """Which student, how long, on how many images, over how many seeds."""

    data: str = "cifar10"
    root: str | None = None
    image_size: int | None = 32
    student: str = "resnet8"
    train_size: int = 10_000
    epochs: int = 8
    seeds: int = 6
    augment: str = "crop_flip"
    batch: int = 128


QUICK = Size(data="digits", image_size=None, student="cnn8", train_size=100, epochs=1, seeds=2, augment="none", batch=50)


def measure(size: Size, device: torch.device) -> dict[str, Any]:
    """Return each seed's validation accuracy by precision, the mean difference with its half-width, and the deviation between seeds."""
    # on cifar10, "auto" depends on the hardware alone
    half = resolve_precision("auto", device, "cifar10")
    emulated = half == "fp32"
    data = load_data(size.data, image_size=size.image_size, train_size=size.train_size, root=size.root).to(device)
    val = data.splits["val"]
    accuracy: dict[str, list[float]] = {}
    for precision in ("fp32", "bf16" if emulated else half):
        accuracy[precision] = []
        for seed in range(size.seeds):
            spec = RunSpec(
                data=size.data, arm="ce", student=size.student, train_size=size.train_size, image_size=size.image_size, seed=seed,
                augment=size.augment, epochs=size.epochs, batch_size=size.batch, optimizer="sgd", lr=0.1, nesterov=True,
            )  # fmt: skip
            with ByFloat32() if emulated and precision == "bf16" else nullcontext():
                [student] = train_cohort([spec], data, device=device, precision=precision)  # type: ignore[arg-type]
            logits = predict(student.model, data, val.images)
            accuracy[precision].append(float((logits.argmax(-1) == val.labels).double().mean()))
    full, other = accuracy.values()
    found = t_interval([one - two for one, two in zip(other, full, strict=True)])
    return {
        "accuracy": accuracy,
        "emulated": emulated,
        "difference": found.estimate,
        "half_width": (found.high - found.low) / 2,
        "seed_deviation": statistics.stdev(full),
        "size": vars(size),
    }
