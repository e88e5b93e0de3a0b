"""What several test files share: specs of a second or less, and records made by hand."""

import numpy as np
import torch

from mixkd.runs import Machine
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.vicinal import LAM_GRID

CPU = Machine(device="cpu")


def short(arm="ce", **fields):
    """A spec of a second or less: cnn8, two epochs."""
    if arm.startswith("kd"):
        fields.setdefault("teacher", TeacherSpec(model="cnn16"))
    return RunSpec(data="digits", student="cnn8", arm=arm, **{"epochs": 2, **fields})


def written(store, spec, *, draws=1, images=60, classes=10, seed=0, test=None, weights=None, peak=3.0):
    """Put a record with made-up answers into a store."""
    random = np.random.RandomState(seed)

    def normal(*shape):
        return torch.from_numpy(random.normal(size=shape).astype(np.float32)) * peak

    labels = torch.from_numpy(random.randint(classes, size=images))
    pairs = torch.from_numpy(random.randint(images, size=(7, 2)))
    tensors = {"labels.test": labels, "labels.val": labels, "labels.train": labels[:20]}
    tensors |= {"logits.test": normal(draws * images, classes) if test is None else test}
    tensors |= {"logits.val": normal(images, classes), "logits.train": normal(20, classes)}
    tensors |= {"probe.pairs": pairs, "probe.labels": labels[pairs], "probe.logits": normal(len(LAM_GRID), 7, classes)}
    tensors |= {"features.test": normal(9, 4), "features.probe": normal(3, 5, 4)}
    record = store.put(
        spec,
        tensors,
        lam=LAM_GRID,
        classes=[f"class {label}" for label in range(classes)],
        curve=[{"epoch": 1, "train_loss": 0.5}],
        provenance={"device": "none"},
        weights=weights or {"weight": torch.arange(6.0).reshape(2, 3).T},
    )
    return record, tensors
