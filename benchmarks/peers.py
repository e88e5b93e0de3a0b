"""The peers: which of them are installed, how each is driven, in the way its own documentation does.

Refuses to fail for a missing one: it is named, with the command that gets it, and the others are measured.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision import transforms

from mixkd.models import Model

NAMES = {"torchdistill": "torchdistill", "torchmetrics": "torchmetrics", "netcal": "netcal", "torch_uncertainty": "torch-uncertainty",
         "relplot": "relplot"}  # fmt: skip

if os.environ.get("MIXKD_PEERS"):  # a folder of their own, so that they cannot change the environment of the library
    sys.path.append(os.environ["MIXKD_PEERS"])


def missing() -> list[str]:
    """Return the package names of the peers that are not installed."""
    return [package for module, package in NAMES.items() if importlib.util.find_spec(module) is None]


def installed(module: str) -> bool:
    """Whether a peer can be imported; one whose own requirements are missing cannot."""
    try:
        importlib.import_module(module)
    except ImportError as error:
        print(f"  {NAMES.get(module, module)} left out: {error}", file=sys.stderr)
        return False
    return True


class Images(torch.utils.data.Dataset):
    """A data set as torchvision's CIFAR: arrays, turned into PIL images and transformed one by one."""

    def __init__(self, n: int, classes: int, size: int = 32) -> None:
        random = np.random.default_rng(0)
        self.data = random.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
        self.targets = random.integers(0, classes, n).tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(size, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize((0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
            ]
        )

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.data[index])), self.targets[index]


class PlainLoop:
    """Distillation as the standard repositories write it (RepDistiller, Tian et al. 2020): loader, fp32, `.item()` every step."""

    name = "plain PyTorch"

    def __init__(self, teacher: Model, student: Model, images: Images, batch: int, device: torch.device, workers: int) -> None:
        self.teacher, self.student, self.device = teacher.to(device).eval(), student.to(device).train(), device
        self.loader = DataLoader(
            images, batch_size=batch, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0,
            pin_memory=device.type == "cuda",
        )  # fmt: skip
        self.optimizer = torch.optim.SGD(student.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        self.cross_entropy = nn.CrossEntropyLoss()

    def epoch(self) -> float:
        """One pass over the images; returns how many."""
        seen, tau, losses, hits = 0, 4.0, 0.0, 0.0
        for images, target in self.loader:
            images, target = images.to(self.device), target.to(self.device)
            with torch.no_grad():
                logit_t = self.teacher(images)
            logit_s = self.student(images)
            divergence = F.kl_div(F.log_softmax(logit_s / tau, dim=1), F.softmax(logit_t / tau, dim=1), reduction="sum") * tau**2
            loss = 0.1 * self.cross_entropy(logit_s, target) + 0.9 * divergence / len(images)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            losses += loss.item() * len(images)
            hits += (logit_s.argmax(1) == target).float().sum().item()
            seen += len(images)
        return seen


class TorchdistillLoop:
    """torchdistill's own box (Matsubara 2021), configured as its CIFAR-100 examples are."""

    name = "torchdistill"

    def __init__(self, teacher: Model, student: Model, images: Images, batch: int, device: torch.device, workers: int) -> None:
        from torchdistill.core.distillation import DistillationBox

        logging.getLogger("torchdistill").setLevel(logging.ERROR)
        self.device = device
        loader: dict[str, Any] = {
            "dataset_id": "train",
            "sampler": {"class_or_func": torch.utils.data.RandomSampler},
            "kwargs": {"batch_size": batch, "num_workers": workers, "drop_last": True, "persistent_workers": workers > 0},
        }
        kd = {"key": "KDLoss", "kwargs": {
            "student_module_path": ".", "student_module_io": "output", "teacher_module_path": ".", "teacher_module_io": "output",
            "temperature": 4.0, "alpha": 0.1, "reduction": "batchmean",
        }}  # fmt: skip
        config: dict[str, Any] = {
            "num_epochs": 1,
            "train_data_loader": loader,
            "teacher": {"forward_proc": "forward_batch_only", "requires_grad": False},
            "student": {"forward_proc": "forward_batch_only"},
            "criterion": {"key": "WeightedSumLoss", "kwargs": {"sub_terms": {"kd": {"criterion": kd, "weight": 1.0}}}},
            "optimizer": {"key": "SGD", "kwargs": {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}},
        }
        teacher, student = teacher.to(device).eval(), student.to(device)
        self.box = DistillationBox(teacher, student, {"train": images}, config, device, None, False, 1)

    def batches(self) -> Iterator[tuple[Tensor, Tensor, Any]]:
        for images, targets, extra in self.box.train_data_loader:
            yield images.to(self.device), targets.to(self.device), extra

    def epoch(self) -> float:
        """One pass over the images; returns how many."""
        seen, losses = 0, 0.0
        self.box.pre_epoch_process(epoch=0)
        for images, targets, extra in self.batches():
            self.box.pre_forward_process()
            loss = self.box.forward_process(images, targets, extra)
            self.box.post_forward_process(loss)
            losses += loss.item()
            seen += len(images)
        return seen
