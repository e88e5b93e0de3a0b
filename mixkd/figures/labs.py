"""Live figures over records: which models each offers, and under what labels. The figures themselves know only arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mixkd.data import gaussian_classes, gaussian_log_posterior, load_data
from mixkd.figures.explorer import Lab, LabModel, temperature_lab
from mixkd.figures.explorer.boundary import Net, Plane, WorldModel, boundary_world
from mixkd.figures.explorer.vicinal import Pairs, PathModel, vicinal_lab
from mixkd.figures.markup import Html, absent
from mixkd.measure.linearity import probability_linearity
from mixkd.measure.signal import kl
from mixkd.records import DamagedRecord, Record
from mixkd.spec import ARMS, RunSpec
from mixkd.store import RecordStore

ROWS = 4000
"""Test rows of one model in a lab: whole views of the test set, as many as fit, at least one."""
VALUES = 200_000
"""Logits of one model in a lab: with many classes, fewer rows."""
PLANE = "gaussians"
"""The data set of two dimensions: a plane can be drawn."""

_UNMIXED = {"kd_mixup": "kd", "mixup": "ce"}
_FIRST = {"kd_mixup": 0, "ce": 1, "kd": 2, "mixup": 3}


def lab_of(records: Iterable[Any], *, name: str = "lab") -> Html:
    """Return the temperature lab over records: choose arm, tau, seed and what else differs; at first the plain student beside the paper's.

    Args:
        records: see :class:`mixkd.records.Record`; of one data set or of several.
        name: as in :func:`temperature_lab`.

    Returns:
        The lab, or a sentence when there is no record.

    Raises:
        ValueError: if two records differ in nothing a reader could choose by.
    """
    found = sorted(records, key=lambda record: ({"ce": 0, "kd_mixup": 1}.get(record.spec.arm, 2), record.spec.seed))
    if not found:
        return absent("No lab: no record of these models is in this store.")
    labels = [_label(record.spec) for record in found]
    always = ("arm", "tau", "seed")
    shown = [field for field in labels[0] if field in always or len({label[field] for label in labels} - {None}) > 1]
    rows = shared_rows(found)
    models = []
    for record, label in zip(found, labels, strict=True):
        n = rows[record.spec.data]
        repeats = max(1, n // (int(record.images().max()) + 1))
        fields = {field: label[field] for field in shown}
        models.append(LabModel(fields, record.logits()[:n], record.labels()[:n], record.temperature, repeats))
    return temperature_lab(models, name=name)


def _label(spec: Any) -> Mapping[str, Any]:
    """Return what a reader may choose a model by, in the order of the selects."""
    teacher = spec.teacher
    return {
        "data": spec.data.partition("@")[0].removeprefix("folder:"),
        "student": spec.student,
        "arm": spec.arm,
        "teacher": teacher and teacher.model,
        "teacher trained with": teacher and teacher.arm,
        "teacher's logits divided by": teacher and ("one for each image" if teacher.temperature_spread else teacher.temperature),
        "tau": spec.tau if teacher else None,
        "alpha": spec.alpha if "alpha" in spec.arm_fields else None,
        "partial": spec.partial if "partial" in spec.arm_fields else None,
        "epochs": spec.epochs,
        "seed": spec.seed,
    }


def shared_rows(records: Iterable[Any]) -> dict[str, int]:
    """How many test rows are shown, by data set: rows that all its records have, so that models compare."""
    rows: dict[str, int] = {}
    for record in records:
        n, k = record.logits().shape
        draw = int(record.images().max()) + 1
        n = min(n, max(1, ROWS // draw) * draw, max(1, VALUES // k))
        rows[record.spec.data] = min(n, rows.get(record.spec.data, n))
    return rows


def world_of(records: Iterable[Record], *, name: str = "world", first: str | None = None) -> Lab:
    """Return the boundary world over records of the plane: choose arm, alpha, tau, seed.

    Records whose weights were not kept, or that mix only a part of each batch, are left out; so are weights of models that
    are not plain layers. At alpha 0 an arm that mixes *is* the arm that does not, and is offered under both names.

    Args:
        records: of students; their weights, and their teachers', are read from the store they lie in.
        name: as in :func:`boundary_world`.
        first: id of the record that is shown first; by default the paper's arm at alpha 1 and tau 2.

    Raises:
        ValueError: if no record can be shown.
    """
    data = load_data(PLANE)
    means, covariance = (part.numpy() for part in gaussian_classes(PLANE))
    teachers: dict[str, Net] = {}
    models: dict[tuple[Any, ...], WorldModel] = {}
    leading: list[WorldModel] = []
    size = 0
    found = [r for r in records if r.spec.data == PLANE and r.spec.partial == 1]
    arms = {r.spec.arm for r in found}
    for record in sorted(found, key=lambda r: (_FIRST.get(r.spec.arm, 9), abs(r.spec.alpha - 1), *_place(r.spec))):
        store = RecordStore(record.path.parent)
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
            label = _choice(spec) | {"arm": label_arm, "alpha": alpha}
            made = models.setdefault(tuple(label.values()), WorldModel(label, net, teacher, summary(record)))
            if record.id == first and label_arm == spec.arm:
                leading = [made]
    if not models:
        raise ValueError(f"records: none is of data {PLANE!r} and has its weights beside it")
    train = data.splits["train"]
    plane = Plane(means, covariance, train.pixels.numpy(), train.labels.numpy(), min(size, len(train.labels)))
    ordered = [model for model in sorted(models.values(), key=_shown) if model not in leading]
    return boundary_world([*leading, *ordered], teachers, plane, name=name)


def _choice(spec: RunSpec) -> dict[str, Any]:
    """Return what a reader chooses a student by; None where the arm has no such field."""
    arm = ARMS[spec.arm]
    return {"arm": arm.name, "alpha": spec.alpha if arm.mixes else None, "tau": spec.tau if arm.distils else None, "seed": spec.seed}


def net_of(spec: RunSpec, store: RecordStore) -> Net | None:
    """Return the trained network of a run on raw points; None if its weights are missing or damaged, or it is not an MLP."""
    path = store.weights(spec.id)
    if path is None or not spec.student.startswith("mlp"):
        return None
    try:
        state = {name: tensor.double().numpy() for name, tensor in Record(store.path / spec.id).state(path).items()}
    except DamagedRecord:
        return None
    layers = [(weight, state[f"{name.removesuffix('.weight')}.bias"]) for name, weight in _in_order(state) if name.endswith(".weight")]
    data = load_data(spec.data)
    (first, bias), *rest = layers
    first = np.pad(first, ((0, 0), (data.channels - first.shape[1], 0)))  # a marginal network sees the last coordinate alone
    return Net.normalised([(first, bias), *rest], data.mean, data.std)


def summary(record: Record) -> dict[str, float]:
    """Return a student's figures over all test points: accuracy, mean confidence, and distance to the exact posterior.

    Returns:
        accuracy, confidence; kl and ts_kl, the mean KL(exact || model) in nats, as trained and after post-hoc scaling by the
        temperature fitted on validation points; displaced, the share of test points decided otherwise than by Bayes' rule,
        which no temperature changes.
    """
    log_p = record.logits("test").double().log_softmax(1)
    points = load_data(record.spec.data).splits["test"].pixels[record.images("test")]  # a sweep answers the first of them only
    exact = gaussian_log_posterior(record.spec.data, points)
    decided = log_p.argmax(1)
    return {
        "accuracy": float((decided == record.labels("test")).double().mean()),
        "confidence": float(log_p.exp().amax(1).mean()),
        "kl": float(kl(exact, log_p).mean()),
        "ts_kl": float(kl(exact, (log_p / record.temperature).log_softmax(1)).mean()),
        "displaced": float((decided != exact.argmax(1)).double().mean()),
    }


def boundary_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each record of a known density: arm, alpha (0 without mixing), tau, seed, partial, and its :func:`summary`."""
    rows = []
    for record in records:
        unmixed = {} if ARMS[record.spec.arm].mixes else {"alpha": 0.0, "partial": 0.0}
        rows.append({**_choice(record.spec), "partial": record.spec.partial, **unmixed, **summary(record)})
    return pd.DataFrame(rows)


CROSS, SAME = 40, 8
"""Pairs of two classes and of one that a vicinal lab offers."""

_PIXELS = 3 * 2**18
"""Bytes of images that a page may carry; with larger images it offers fewer pairs."""


def vicinal_of(records: Iterable[Record], *, name: str = "path", first: str | None = None) -> Lab:
    """Return the vicinal lab over records: choose arm, seed and pair, compare with the teacher.

    The images come from the data set when it is embedded, or lies on this disk; else the lab shows the answers alone.
    Nothing is downloaded.

    Args:
        records: students of one data set. Teachers are read from the store they lie in.
        name: as in :func:`vicinal_lab`.
        first: id of the record that is shown first; else the arm of the paper.

    Raises:
        ValueError: for no record.
    """
    found = sorted(records, key=lambda r: (r.id != first, _FIRST.get(r.spec.arm, 9), r.spec.arm, *_place(r.spec)))
    if not found:
        raise ValueError("records: there are none to show")
    probe, spec = found[0].probe, found[0].spec
    teachers: dict[str, Record] = {}
    for record in found:
        run = record.spec.teacher_run()
        if run is not None and run.id not in teachers and (there := RecordStore(record.path.parent).find([run])):
            teachers[run.id] = there[0]
    same = probe.same_class
    kept = [*(~same).nonzero().squeeze(1).tolist()[:CROSS], *same.nonzero().squeeze(1).tolist()[:SAME]]
    images = _images(spec, probe.pairs[kept].numpy())
    if images is not None and images.nbytes > _PIXELS:
        per = images.nbytes // len(kept)
        fewer = max(4, _PIXELS // per)
        keep = [*range(fewer - fewer // 5), *range(len(kept) - fewer // 5, len(kept))]
        kept, images = [kept[i] for i in keep], images[keep]
    labels, teacher = probe.labels[kept], teachers.get(run.id) if (run := spec.teacher_run()) else None
    start = _telling((teacher or found[0]).probe.logits[:, kept].numpy(), labels.numpy(), probe.lam.tolist())
    pairs = Pairs(probe.lam.tolist(), labels.numpy(), found[0].classes, images, start)
    models: dict[tuple[Any, ...], PathModel] = {}
    for record in found:
        run, label = record.spec.teacher_run(), _choice(record.spec)
        key = run.id if run is not None and run.id in teachers else None
        models.setdefault(tuple(label.values()), PathModel(label, record.probe.logits[:, kept].numpy(), key))
    return vicinal_lab(list(models.values()), {id: r.probe.logits[:, kept].numpy() for id, r in teachers.items()}, pairs, name=name)


def _telling(logits: np.ndarray, labels: np.ndarray, lam: Sequence[float]) -> int:
    """Return the first pair to show: two classes, both recognised at their ends, of median non-linearity; else pair 0."""
    recognised = (logits[-1].argmax(-1) == labels[:, 0]) & (logits[0].argmax(-1) == labels[:, 1]) & (labels[:, 0] != labels[:, 1])
    candidates = np.flatnonzero(recognised)
    if not len(candidates):
        return 0
    area = probability_linearity(logits, lam, labels).l_nl_mean.numpy()
    return int(candidates[area[candidates].argsort(kind="stable")[len(candidates) // 2]])


def _images(spec: RunSpec, pairs: np.ndarray) -> np.ndarray | None:
    """(P, 2, C, H, W) uint8 images of the pairs, or None when the data are vectors or not at hand."""
    if spec.data != "digits" and not spec.data.startswith("folder:"):
        return None
    try:
        data = load_data(spec.data, image_size=spec.image_size)
    except (OSError, ValueError):
        return None
    images = data.splits["test"].pixels
    return images.numpy()[pairs] if images.ndim == 4 else None


def _in_order(state: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """Body before head, layers by number; safetensors keeps names, not their order."""
    return sorted(state.items(), key=lambda item: (item[0].startswith("head"), [int(p) if p.isdigit() else -1 for p in item[0].split(".")]))


def _place(spec: RunSpec) -> tuple[float, float]:
    return (abs(float(spec.tau) - 2) if isinstance(spec.tau, (int, float)) else 9.0, spec.seed)


def _shown(model: WorldModel) -> tuple[Any, ...]:
    """Return a sort key: the paper's arm at alpha 1 and tau 2 first, the others in the order of the controls."""
    label = model.label
    alpha, tau = label["alpha"], label["tau"]
    first = (label["arm"], alpha, tau) == ("kd_mixup", 1.0, 2.0)
    number = float(tau) if isinstance(tau, (int, float)) else 99.0
    return (not first, _FIRST.get(label["arm"], 9), label["arm"], -1.0 if alpha is None else alpha, number, label["seed"])
