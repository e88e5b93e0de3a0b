"""What several test files share: specs of a second or less, records and folders made by hand, an interruption of training."""

import os
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from PIL import Image

from mixkd import train
from mixkd.runs import Machine
from mixkd.spec import RunSpec, TeacherSpec
from mixkd.vicinal import FEATURE_LAMS, LAM_GRID

CPU = Machine(device="cpu")


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


def short(arm="ce", **fields):
    """A spec of a second or less: cnn8 on 200 digits, two epochs; its teacher learns from 300 other rows."""
    if arm.startswith("kd"):
        fields.setdefault("teacher", taught())
    if arm == "kd_clean_ce_mixed":
        fields.setdefault("ce_weight", 1.0)
    return RunSpec(data="digits", student="cnn8", arm=arm, **{"epochs": 2, "batch_size": 50, "lr": 0.01, "train_size": 200, **fields})


def taught(**fields):
    """The teacher of a short spec, which never saw its students' images."""
    return TeacherSpec(**{"model": "cnn16", "train_skip": 200, "train_size": 300, **fields})


SURE = taught(epochs=30)
"""One that knows digits well enough for blends, and for noise, to make it less certain."""


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def offset(logits):
    """Logits as a record keeps them: no softmax can tell."""
    return logits - logits.amax(-1, keepdim=True)


def entropy(logits):
    log_p = logits.double().log_softmax(-1)
    return float(-(log_p.exp() * log_p).sum(-1).mean())


@contextmanager
def stopped_after(steps):
    """Training within stops after so many steps, all students counted."""
    real, done = train._step, []

    def step(*arguments):
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(1)
        real(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(train, "_step", step)
        with pytest.raises(KeyboardInterrupt):
            yield


def same_students(ours, theirs):
    """Check that students have the same losses, weights and curves, bit for bit."""
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one.losses, other.losses)
        assert one.curve == other.curve
        for (name, a), b in zip(one.model.state_dict().items(), other.model.state_dict().values(), strict=True):
            assert torch.equal(a, b), name


def pictures(folder, train=6, test=3, labels=("cat", "dog"), size=(12, 10)):
    """Write a folder of small images, no two alike."""
    random = np.random.RandomState(0)
    for part, count in (("train", train), ("test", test)):
        for label in labels:
            (folder / part / label).mkdir(parents=True)
            for i in range(count):
                pixels = random.randint(256, size=(size[1], size[0], 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / label / f"{i}.png")
    return folder


def written(store, spec, *, views=1, images=60, classes=10, seed=0, test=None, weights=None, peak=3.0, noise=True):
    """Put a record with made-up answers into a store: 5 two-class and 4 one-class pairs in the probe, one draw of noise or none."""
    random = np.random.RandomState(seed)

    def normal(*shape):
        return torch.from_numpy(random.normal(size=shape).astype(np.float32)) * peak

    def pairs(two_class, one_class):
        i, j = torch.triu_indices(images, images, 1)
        same = labels[i] == labels[j]
        return torch.cat([torch.stack([i[kind], j[kind]], 1)[:n] for kind, n in ((~same, two_class), (same, one_class))])

    labels = torch.from_numpy(random.randint(classes, size=images))
    probed, own = pairs(5, 4), pairs(3, 0)
    tensors = {"labels.test": labels, "labels.val": labels, "labels.train": labels[:20]}
    tensors |= {"logits.test": normal(views * images, classes) if test is None else test}
    tensors |= {"logits.val": normal(images, classes), "logits.train": normal(20, classes)}
    tensors |= {"probe.pairs": probed, "probe.labels": labels[probed], "probe.logits": normal(len(LAM_GRID), len(probed), classes)}
    tensors |= {"train_probe.pairs": own, "train_probe.labels": labels[own], "train_probe.logits": normal(len(FEATURE_LAMS), 3, classes)}
    if noise:
        tensors |= {"noise.logits": normal(4, classes), "noise.sigma": torch.tensor([0.7], dtype=torch.float64)}
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
