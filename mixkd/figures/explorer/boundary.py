"""The boundary world: small networks over a plane whose right answer is known, evaluated in the reader's browser.

It packs weights, points and a density. It refuses to train, and knows no record and no data set by name.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixkd.figures import theme
from mixkd.figures.explorer import block, check_labels, keep, kept, word
from mixkd.spec import ARMS

CLASS_COLORS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c6bb1", "#b3a100")
"""Colours of classes, not of arms: Okabe and Ito's palette, apart under deuteranopia and protanopia."""

_NAMES = {"arm": "trained with", "alpha": "mixing α", "tau": "distillation τ", "seed": "seed"}
_SUMMARY = ("accuracy", "confidence", "kl")


@dataclass(frozen=True, eq=False)
class Net:
    """A network of linear layers with ReLU between them, from points of the plane to logits.

    Attributes:
        layers: (weight, bias) of each layer, in order: (out, in) and (out,), finite; the first takes 2 coordinates. A
            normalisation of the inputs belongs folded into the first, see :meth:`normalised`.
    """

    layers: Sequence[tuple[Any, Any]]

    def __post_init__(self) -> None:
        size = 2
        for weight, bias in self.layers:
            w, b = np.asarray(weight), np.asarray(bias)
            if w.ndim != 2 or w.shape[1] != size or b.shape != w.shape[:1]:
                raise ValueError(f"a layer must be ((out, {size}), (out,)); it is {w.shape} and {b.shape}")
            if not (np.isfinite(w).all() and np.isfinite(b).all()):
                raise ValueError("weights must be finite")
            size = w.shape[0]

    @classmethod
    def normalised(cls, layers: Sequence[tuple[Any, Any]], mean: Sequence[float], std: Sequence[float]) -> Net:
        """Return the network on raw points, from layers trained on ``(x - mean) / std``."""
        (weight, bias), *rest = layers
        w = np.asarray(weight, dtype=np.float64) / np.asarray(std, dtype=np.float64)
        return cls([(w, np.asarray(bias, dtype=np.float64) - w @ np.asarray(mean, dtype=np.float64)), *rest])

    @property
    def shape(self) -> list[int]:
        """Width of the input and of each layer."""
        return [2, *(np.asarray(bias).shape[0] for _, bias in self.layers)]

    def logits(self, points: Any) -> np.ndarray:
        """(N, 2) -> (N, K) float64, of the weights as the page has them (float32)."""
        x = np.asarray(points, dtype=np.float64)
        for depth, (weight, bias) in enumerate(self.layers):
            x = np.maximum(x, 0) if depth else x
            x = x @ np.asarray(weight, dtype=np.float32).astype(np.float64).T + np.asarray(bias, dtype=np.float32).astype(np.float64)
        return x

    def packed(self) -> bytes:
        """All weights in little-endian float32: of each layer the weight by rows, then the bias."""
        return b"".join(np.asarray(part).astype("<f4").tobytes() for layer in self.layers for part in layer)


@dataclass(frozen=True, eq=False)
class WorldModel:
    """A student of the world.

    Attributes:
        label: what tells it from the others: "arm", "alpha", "tau", "seed"; None means that it does not apply.
        net: the student.
        teacher: key of its teacher among the world's teachers, or None.
        summary: figures over the test points that the page prints: "accuracy", "confidence", "kl" (to the exact posterior, nats).
    """

    label: Mapping[str, Any]
    net: Net
    teacher: str | None = None
    summary: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Plane:
    """What the models are asked about: classes of Gaussian density, equally likely, with one covariance.

    Attributes:
        means: (K, 2).
        covariance: (2, 2).
        points: (N, 2) training points.
        labels: (N,) integers in [0, K).
        seen: how many of the points, from the first, the students saw; teachers saw all.
    """

    means: Any
    covariance: Any
    points: Any
    labels: Any
    seen: int

    def affine(self) -> tuple[np.ndarray, np.ndarray]:
        """(K, 2) and (K,): the exact logits are ``x @ weight.T + bias``."""
        means = np.asarray(self.means, dtype=np.float64)
        weight = np.linalg.solve(np.asarray(self.covariance, dtype=np.float64), means.T).T
        return weight, -(means * weight).sum(1) / 2

    def log_posterior(self, points: Any) -> np.ndarray:
        """(N, 2) -> (N, K) exact log p(class | x)."""
        weight, bias = self.affine()
        return _log_softmax(np.asarray(points, dtype=np.float64) @ weight.T + bias)

    @property
    def half(self) -> float:
        """Half the side of the square that is shown, about the origin: the means and three deviations."""
        spread = 3 * np.sqrt(np.diag(np.asarray(self.covariance, dtype=np.float64)).max())
        return float(np.ceil(10 * (np.abs(np.asarray(self.means)).max() + spread)) / 10)


class BoundaryWorld:
    """What `boundary_world` returns: shows itself in a notebook and on the page.

    Attributes:
        models: the students, in the order of the controls.
        teachers: networks by key.
        plane: density and points.
        name: names the world in the address of the page, ``#name.at=...``.
    """

    def __init__(self, models: Sequence[WorldModel], teachers: Mapping[str, Net], plane: Plane, name: str) -> None:
        self.models, self.teachers, self.plane, self.name = tuple(models), dict(teachers), plane, name

    def _repr_html_(self) -> str:
        store: dict[str, str] = {}
        weight, bias = self.plane.affine()
        nets: dict[str, dict[str, Any]] = {
            key: {"shape": net.shape, "weights": keep(store, net.packed())} for key, net in self.teachers.items()
        }
        fields = list(self.models[0].label)
        entries: list[dict[str, Any]] = [
            {
                "label": {name: word(model.label[name]) for name in fields},
                "color": theme.COLORS.get(str(model.label.get("arm")), theme.NEUTRAL),
                "teacher": model.teacher,
                "shape": model.net.shape,
                "weights": keep(store, model.net.packed()),
                "summary": {name: float(model.summary[name]) for name in _SUMMARY if name in model.summary},
            }
            for model in self.models
        ]
        points = keep(store, np.asarray(self.plane.points).astype("<f4").tobytes())
        labels = keep(store, np.asarray(self.plane.labels).astype("<u2").tobytes())
        k = len(weight)
        meta = {
            "name": self.name,
            "fields": fields,
            "names": {name: _NAMES.get(name, name) for name in fields},
            "words": {"arm": {arm.name: arm.label for arm in ARMS.values()}},
            "models": entries,
            "teachers": nets,
            "exact": {"weight": weight.ravel().tolist(), "bias": bias.tolist()},
            "means": np.asarray(self.plane.means, dtype=float).tolist(),
            "half": self.plane.half,
            "colors": [CLASS_COLORS[i % len(CLASS_COLORS)] for i in range(k)],
            "points": points,
            "labels": labels,
            "n": len(self.plane.labels),
            "seen": self.plane.seen,
        }
        teacher = self.models[0].teacher
        now = {points, labels, entries[0]["weights"], *([nets[teacher]["weights"]] if teacher else [])}
        return block("boundary", meta, _fallback(self.models, self.plane), kept(store, now))

    def __repr__(self) -> str:
        return f"<boundary world of {len(self.models)} students>"


def boundary_world(models: Sequence[WorldModel], teachers: Mapping[str, Net], plane: Plane, *, name: str = "world") -> BoundaryWorld:
    """Decision fields of students beside the exact posterior, recomputed from their weights as a reader moves the controls.

    Args:
        models: at least one, all with the same label fields and no two with the same label. The first is shown first.
        teachers: networks by the keys the models name.
        plane: the density, and the points that were trained on.
        name: worlds of one page need different names. Letters, digits and hyphens.

    Raises:
        ValueError: for any of this not so, for a teacher that is not there, or for a network with another number of classes.
    """
    if not models:
        raise ValueError("models is empty: a world needs at least one student")
    check_labels([model.label for model in models], name)
    k = len(np.asarray(plane.means))
    for model in models:
        if model.teacher is not None and model.teacher not in teachers:
            raise ValueError(f"teacher {model.teacher!r} of {dict(model.label)} is not there: {', '.join(teachers) or 'no teachers given'}")
    for net in [*(model.net for model in models), *teachers.values()]:
        if net.shape[-1] != k:
            raise ValueError(f"a network answers for {net.shape[-1]} classes, the plane has {k}")
    return BoundaryWorld(models, teachers, plane, name)


def _log_softmax(z: np.ndarray) -> np.ndarray:
    z = z - z.max(-1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(-1, keepdims=True)))


def _fallback(models: Sequence[WorldModel], plane: Plane, side: int = 44) -> str:
    """Draw a student of up to three arms and the exact posterior as coarse maps, for where scripts do not run."""
    half, k = plane.half, len(np.asarray(plane.means))
    axis = (np.arange(side) + 0.5) / side * 2 * half - half
    grid = np.stack(np.meshgrid(axis, -axis), axis=-1).reshape(-1, 2)
    by_arm: dict[str, WorldModel] = {}
    for model in models:
        by_arm.setdefault(str(model.label.get("arm")), model)
    shown = list(by_arm.values())[:3]
    panels = [(_arm(model), _log_softmax(model.net.logits(grid))) for model in shown] + [("exact posterior", plane.log_posterior(grid))]
    size, gap = 150, 10
    cell = size / side
    parts = []
    for number, (title, log_p) in enumerate(panels):
        left, top = (number % 2) * (size + gap), (number // 2) * (size + 28) + 18
        parts.append(f'<text x="{left}" y="{top - 5}">{html.escape(title)}</text>')
        best, sure = log_p.argmax(1), np.exp(log_p.max(1))
        level = np.clip(np.round((sure - 1 / k) / (1 - 1 / k) * 4) / 4, 0, 1)
        for row in range(side):
            start = 0
            for column in range(1, side + 1):
                at, here = row * side + start, row * side + column
                if column < side and best[here] == best[at] and level[here] == level[at]:
                    continue
                box = f'x="{left + start * cell:.1f}" y="{top + row * cell:.1f}" width="{(column - start) * cell + 0.3:.1f}"'
                shade = f'fill="{CLASS_COLORS[best[at] % len(CLASS_COLORS)]}" fill-opacity="{0.15 + 0.7 * level[at]:.2f}"'
                parts.append(f'<rect {box} height="{cell + 0.3:.1f}" {shade}/>')
                start = column
        for label, (x, y) in enumerate(np.asarray(plane.means, dtype=float)):
            px, py = left + (x + half) / (2 * half) * size, top + (half - y) / (2 * half) * size
            parts.append(f'<text x="{px:.1f}" y="{py + 4:.1f}" text-anchor="middle" font-weight="700">{label}</text>')
    width, height = 2 * size + gap, ((len(panels) + 1) // 2) * (size + 28) + 6
    words = "Colour: the most probable class at each point, numbered at its mean; the paler, the less sure."
    words += f" {'; '.join(_settings(model) for model in shown)}. With JavaScript the settings move."
    return (
        f'<figure class="mixkd-fallback"><svg viewBox="0 0 {width} {height}" width="{width * 1.6:.0f}" role="img" fill="currentColor" '
        f'font-size="9" aria-label="decision fields of students, and the exact posterior">{"".join(parts)}</svg>'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
    )


def _arm(model: WorldModel) -> str:
    arm = str(model.label.get("arm"))
    return ARMS[arm].label if arm in ARMS else arm


def _settings(model: WorldModel) -> str:
    rest = (f"{_NAMES.get(name, name)} {word(value)}" for name, value in model.label.items() if name != "arm" and value is not None)
    return f"{_arm(model)}: {', '.join(rest)}"
