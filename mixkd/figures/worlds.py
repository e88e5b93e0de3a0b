"""Worlds and paths over records: which students a live figure offers, and under what labels. The figures know only arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from safetensors.torch import load_file

from mixkd.data import gaussian_classes, gaussian_log_posterior, load_data
from mixkd.figures.explorer.boundary import BoundaryWorld, Net, Plane, WorldModel, boundary_world
from mixkd.measure.signal import kl
from mixkd.records import Record, RecordStore
from mixkd.spec import ARMS, RunSpec

PLANE = "gaussians"
"""The data set of two dimensions: a plane can be drawn."""

_UNMIXED = {"kd_mixup": "kd", "mixup": "ce"}
_FIRST = {"kd_mixup": 0, "ce": 1, "kd": 2, "mixup": 3}


def world_of(records: Iterable[Record], store: RecordStore, *, name: str = "world") -> BoundaryWorld:
    """The boundary world over records of the plane: choose arm, alpha, tau, seed.

    Records whose weights were not kept, or that mix only a part of each batch, are left out; so are weights of models that
    are not plain layers. At alpha 0 an arm that mixes *is* the arm that does not, and is offered under both names.

    Args:
        records: of students, see :class:`mixkd.records.Record`.
        store: where their weights lie, and their teachers'.
        name: as in :func:`boundary_world`.

    Raises:
        ValueError: when no record can be shown.
    """
    data = load_data(PLANE)
    means, covariance = (part.numpy() for part in gaussian_classes(PLANE))
    teachers: dict[str, Net] = {}
    models: dict[tuple[Any, ...], WorldModel] = {}
    size = 0
    found = [r for r in records if r.spec.data == PLANE and r.spec.partial == 1]
    arms = {r.spec.arm for r in found}
    for record in sorted(found, key=lambda r: (_FIRST.get(r.spec.arm, 9), abs(r.spec.alpha - 1), *_place(r.spec))):
        net = net_of(record.spec, store)
        if net is None:
            continue
        spec, teacher = record.spec, None
        if (run := spec.teacher_run()) is not None:
            if run.id not in teachers and (found_net := net_of(run, store)) is not None:
                teachers[run.id] = found_net
            teacher = run.id if run.id in teachers else None
        size = max(size, spec.train_size or len(data.splits["train"].labels))
        arm = ARMS[spec.arm]
        names = {spec.arm: spec.alpha if arm.mixes else None}
        names |= {mixed: 0.0 for mixed, plain in _UNMIXED.items() if plain == spec.arm and mixed in arms}
        for label_arm, alpha in names.items():
            label = {"arm": label_arm, "alpha": alpha, "tau": spec.tau if arm.distils else None, "seed": spec.seed}
            models.setdefault(tuple(label.values()), WorldModel(label, net, teacher, summary(record)))
    if not models:
        raise ValueError(f"records: none is of data {PLANE!r} and has its weights in {store.path}")
    train = data.splits["train"]
    plane = Plane(means, covariance, train.images.numpy(), train.labels.numpy(), min(size, len(train.labels)))
    ordered = sorted(models.values(), key=_shown)
    return boundary_world(ordered, teachers, plane, name=name)


def net_of(spec: RunSpec, store: RecordStore) -> Net | None:
    """The trained network of a run, taking raw points; None where its weights are not there, or are no plain layers."""
    path = store.weights(spec.id)
    if path is None or not spec.student.startswith("mlp"):
        return None
    state = {name: tensor.double().numpy() for name, tensor in load_file(path).items()}
    layers = [(weight, state[f"{name.removesuffix('.weight')}.bias"]) for name, weight in _in_order(state) if name.endswith(".weight")]
    data = load_data(spec.data)
    return Net.normalised(layers, data.mean, data.std)


def summary(record: Record) -> dict[str, float]:
    """Accuracy, mean confidence and mean KL(exact || model) in nats over the test points, where the exact posterior is known."""
    log_p = record.logits("test").double().log_softmax(1)
    exact = gaussian_log_posterior(record.spec.data, load_data(record.spec.data).splits["test"].images)
    right = log_p.argmax(1) == record.labels("test")
    return {
        "accuracy": float(right.double().mean()),
        "confidence": float(log_p.exp().amax(1).mean()),
        "kl": float(kl(exact, log_p).mean()),
    }


def _in_order(state: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Body before head, layers by number; safetensors keeps names, not their order."""
    return sorted(state.items(), key=lambda item: (item[0].startswith("head"), [int(p) if p.isdigit() else -1 for p in item[0].split(".")]))


def _place(spec: RunSpec) -> tuple[float, float]:
    return (abs(float(spec.tau) - 2) if isinstance(spec.tau, (int, float)) else 9.0, spec.seed)


def _shown(model: WorldModel) -> tuple[Any, ...]:
    """The first model shown is the arm of the paper at alpha 1 and tau 2; the others follow in the order of the controls."""
    label = model.label
    alpha, tau = label["alpha"], label["tau"]
    first = (label["arm"], alpha, tau) == ("kd_mixup", 1.0, 2.0)
    number = float(tau) if isinstance(tau, (int, float)) else 99.0
    return (not first, _FIRST.get(label["arm"], 9), label["arm"], -1.0 if alpha is None else alpha, number, label["seed"])
