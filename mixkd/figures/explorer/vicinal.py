"""The vicinal lab: recorded answers on the way between two images, student beside teacher, and the images where they are at hand.

It shows what was recorded, at the lam it was recorded at. It refuses to invent an answer between two of them.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixkd.figures import theme
from mixkd.figures.explorer import _JUST_BELOW_ZERO, _LOWEST, block, check_labels, keep, kept, word
from mixkd.spec import ARMS

_NAMES = {"arm": "trained with", "alpha": "mixing α", "tau": "distillation τ", "seed": "seed", "student": "student", "teacher": "teacher"}
_MOST_CLASSES = 12
_DRAWN_IN_FALLBACK = 16


def rounded(logits: Any) -> np.ndarray:
    """Logits (..., K) as the page has them: float16, less the maximum of their row, which alone is 0."""
    z = np.asarray(logits, dtype=np.float64)
    top = z.argmax(-1)[..., None]
    z = np.clip(z - z.max(-1, keepdims=True), _LOWEST, 0).astype(np.float16)
    z[z == 0] = _JUST_BELOW_ZERO
    np.put_along_axis(z, top, np.float16(0), -1)
    return z


@dataclass(frozen=True, eq=False)
class PathModel:
    """A student's recorded answers.

    Attributes:
        label: what tells it from the others, the same fields for all: "arm", "tau", "seed", ...; None where one does not apply.
        logits: (L, P, K), entry [l, p] the answer to ``lam[l] x_i + (1 - lam[l]) x_j``.
        teacher: key of its teacher, or None.
    """

    label: Mapping[str, Any]
    logits: Any
    teacher: str | None = None


@dataclass(frozen=True, eq=False)
class Pairs:
    """The pairs all models were asked about.

    Attributes:
        lam: (L,) weights of the first image, ascending from 0 to 1.
        labels: (P, 2) classes of the two images.
        classes: names of the K classes.
        images: (P, 2, C, H, W) uint8, or None where they are not at hand.
        first: the pair that is shown first.
    """

    lam: Sequence[float]
    labels: Any
    classes: Sequence[str]
    images: Any = None
    first: int = 0

    def __post_init__(self) -> None:
        lam, labels = np.asarray(self.lam, dtype=float), np.asarray(self.labels)
        if lam.ndim != 1 or lam.size < 2 or lam[0] != 0 or lam[-1] != 1 or not (np.diff(lam) > 0).all():
            raise ValueError(f"lam must ascend from 0 to 1, not {list(self.lam)}")
        if labels.ndim != 2 or labels.shape[1] != 2 or not len(labels):
            raise ValueError(f"labels must be (P, 2), P > 0, not {labels.shape}")
        if labels.min() < 0 or labels.max() >= len(self.classes):
            raise ValueError(f"labels must be in [0, {len(self.classes)}); they are {labels.min()} to {labels.max()}")
        if not 0 <= self.first < len(labels):
            raise ValueError(f"first = {self.first}: must be a pair, 0 to {len(labels) - 1}")
        if self.images is not None:
            images = np.asarray(self.images)
            if images.ndim != 5 or images.shape[:2] != labels.shape or images.shape[2] not in (1, 3) or images.dtype != np.uint8:
                raise ValueError(f"images must be ({len(labels)}, 2, 1 or 3, H, W) uint8; they are {images.shape} {images.dtype}")


class VicinalLab:
    """What `vicinal_lab` returns: shows itself in a notebook and on the page.

    Attributes:
        models: the students, in the order of the controls.
        teachers: recorded answers of teachers by key.
        pairs: the image pairs that the answers are about.
        name: names the lab in the address of the page, ``#name.pair=...``.
    """

    def __init__(self, models: Sequence[PathModel], teachers: Mapping[str, Any], pairs: Pairs, name: str) -> None:
        self.models, self.teachers, self.pairs, self.name = tuple(models), dict(teachers), pairs, name

    def _repr_html_(self) -> str:
        store: dict[str, str] = {}
        pairs, fields = self.pairs, list(self.models[0].label)
        teachers = {key: keep(store, rounded(z).astype("<f2").tobytes()) for key, z in self.teachers.items()}
        entries: list[dict[str, Any]] = [
            {
                "label": {name: word(model.label[name]) for name in fields},
                "color": theme.COLORS.get(str(model.label.get("arm")), theme.NEUTRAL),
                "teacher": model.teacher,
                "logits": keep(store, rounded(model.logits).astype("<f2").tobytes()),
            }
            for model in self.models
        ]
        images = None if pairs.images is None else np.ascontiguousarray(np.moveaxis(np.asarray(pairs.images), 2, -1))
        pixels = None if images is None else keep(store, images.tobytes())
        meta = {
            "name": self.name,
            "fields": fields,
            "names": {name: _NAMES.get(name, name) for name in fields},
            "words": {"arm": {arm.name: arm.label for arm in ARMS.values()}},
            "models": entries,
            "teachers": teachers,
            "teacherColor": theme.NEUTRAL,
            "lam": [float(at) for at in pairs.lam],
            "pairs": np.asarray(pairs.labels).tolist(),
            "classes": [str(name) for name in pairs.classes],
            "most": _MOST_CLASSES,
            "first": pairs.first,
            "images": None if images is None else {"key": pixels, "shape": list(images.shape[2:])},
        }
        teacher = self.models[0].teacher
        now = {entries[0]["logits"], *([pixels] if pixels else []), *([teachers[teacher]] if teacher else [])}
        return block("vicinal", meta, _fallback(self.models[0], self.teachers, pairs), kept(store, now))

    def __repr__(self) -> str:
        return f"<vicinal lab of {len(self.models)} students, {len(np.asarray(self.pairs.labels))} pairs>"


def vicinal_lab(models: Sequence[PathModel], teachers: Mapping[str, Any], pairs: Pairs, *, name: str = "path") -> VicinalLab:
    """Return a lab of the path between two images: the blend, what student and teacher say of it, and how far from linear that is.

    Args:
        models: at least one, all with the same label fields and no two with the same label. The first is shown first.
        teachers: (L, P, K) logits by the keys the models name.
        pairs: the image pairs that the logits are about.
        name: labs of one page need different names. Letters, digits and hyphens.

    Raises:
        ValueError: if an argument is not as described, a teacher is missing, or logits are not finite or of another shape.
    """
    if not models:
        raise ValueError("models is empty: a lab needs at least one student")
    check_labels([model.label for model in models], name)
    shape = (len(pairs.lam), len(np.asarray(pairs.labels)), len(pairs.classes))
    for model in models:
        if model.teacher is not None and model.teacher not in teachers:
            raise ValueError(f"teacher {model.teacher!r} of {dict(model.label)} is not there: {', '.join(teachers) or 'no teachers given'}")
    for what, logits in [*((dict(m.label), m.logits) for m in models), *teachers.items()]:
        z = np.asarray(logits)
        if z.shape != shape or not np.isfinite(z).all():
            raise ValueError(f"logits of {what} must be finite and {shape}; they are {z.shape}")
    return VicinalLab(models, teachers, pairs, name)


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z.astype(np.float64) - z.max(-1, keepdims=True).astype(np.float64)
    return np.asarray(z - np.log(np.exp(z).sum(-1, keepdims=True)))


def _fallback(model: PathModel, teachers: Mapping[str, Any], pairs: Pairs) -> str:
    """Render the first pair as a table, and its blends as a strip if the images are small, for where scripts do not run."""
    p, lam = pairs.first, [float(at) for at in pairs.lam]
    i, j = (str(pairs.classes[label]) for label in np.asarray(pairs.labels)[p])
    named = {"student": model.logits} | ({"teacher": teachers[model.teacher]} if model.teacher else {})
    columns, cells = [], []
    for who, logits in named.items():
        log_p = _log_softmax(rounded(np.asarray(logits)[:, p]).astype(np.float64))
        linear = np.asarray(lam)[:, None] * np.exp(log_p[-1]) + (1 - np.asarray(lam)[:, None]) * np.exp(log_p[0])
        with np.errstate(divide="ignore", invalid="ignore"):
            bend = np.where(linear > 0, linear * (np.log(linear) - log_p), 0).sum(-1)
        for label in dict.fromkeys(np.asarray(pairs.labels)[p]):
            columns.append(f"{who}: {pairs.classes[label]}")
            cells.append(np.exp(log_p[:, label]))
        columns.append(f"{who}: L_NL")
        cells.append(np.maximum(bend, 0))
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in ["λ", *columns])
    rows = "".join(
        f'<tr><th scope="row">{at:g}</th>{"".join(f"<td>{column[row]:.3f}</td>" for column in cells)}</tr>' for row, at in enumerate(lam)
    )
    arm = str(model.label.get("arm"))
    what = f"From {j} (λ = 0) to {i} (λ = 1), a student trained with {ARMS[arm].label if arm in ARMS else arm}"
    caption = html.escape(f"{what}: probabilities of the two classes, and the non-linearity in nats. With JavaScript λ moves.")
    return (
        f'<figure class="mixkd-fallback">{_strip(pairs, p)}'
        '<div style="overflow-x:auto" tabindex="0" role="region" aria-label="answers along λ">'
        f'<table class="mixkd-numbers"><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div><figcaption>{caption}</figcaption></figure>"
    )


def _strip(pairs: Pairs, pair: int) -> str:
    """Draw the blends of a pair side by side, in grey; "" if its images are large or missing."""
    if pairs.images is None or np.asarray(pairs.images).shape[-1] > _DRAWN_IN_FALLBACK:
        return ""
    first, second = np.asarray(pairs.images)[pair].astype(float).mean(1)
    size = first.shape[0]
    parts = []
    for number, at in enumerate(pairs.lam):
        for (row, column), value in np.ndenumerate(np.round(at * first + (1 - at) * second).astype(int)):
            parts.append(
                f'<rect x="{number * (size + 1) + column}" y="{row}" width="1.02" height="1.02" fill="rgb({value},{value},{value})"/>'
            )
    width = len(pairs.lam) * (size + 1) - 1
    box = f'viewBox="0 0 {width} {size}" width="{width * 6}"'
    return f'<svg {box} role="img" aria-label="the blends, from λ = 0 to λ = 1">{"".join(parts)}</svg>'
