"""The boundary world: small networks over a plane whose right answer is known, evaluated in the reader's browser."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from scipy.special import log_softmax

from mixkd.figures.explorer import NAMES, Lab, arm_of, assemble, check, keep, kept, word

CLASS_COLORS = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c6bb1", "#b3a100")
"""Colours of classes, not of arms: Okabe and Ito's palette, apart under deuteranopia and protanopia."""

_SUMMARY = ("accuracy", "confidence", "kl")


@dataclass(frozen=True, eq=False)
class Net:
    """A network of linear layers with ReLU between them, from points of the plane to logits.

    Attributes:
        layers: (weight, bias) of each layer, in order: (out, in) and (out,), finite; the first takes 2 coordinates. A
            normalisation of the inputs belongs folded into the first, see :meth:`normalised`.
    """

    layers: Sequence[tuple[np.ndarray, np.ndarray]]

    @classmethod
    def normalised(cls, layers: Sequence[tuple[np.ndarray, np.ndarray]], mean: Sequence[float], std: Sequence[float]) -> Net:
        """Return the network on raw points, from layers trained on ``(x - mean) / std``."""
        (weight, bias), *rest = layers
        w = weight.astype(np.float64) / np.asarray(std, dtype=np.float64)
        return cls([(w, bias.astype(np.float64) - w @ np.asarray(mean, dtype=np.float64)), *rest])

    @property
    def shape(self) -> list[int]:
        """Width of the input and of each layer."""
        return [2, *(len(bias) for _, bias in self.layers)]

    def logits(self, points: Any) -> np.ndarray:
        """(N, 2) -> (N, K) float64, of the weights as the page has them (float32)."""
        x = np.asarray(points, dtype=np.float64)
        for depth, (weight, bias) in enumerate(self.layers):
            x = np.maximum(x, 0) if depth else x
            x = x @ weight.astype(np.float32).astype(np.float64).T + bias.astype(np.float32).astype(np.float64)
        return x

    def packed(self) -> np.ndarray:
        """All weights in one float32 row: of each layer the weight by rows, then the bias."""
        return np.concatenate([part.ravel() for layer in self.layers for part in layer]).astype(np.float32)


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
        return np.asarray(log_softmax(np.asarray(points, dtype=np.float64) @ weight.T + bias, axis=-1))

    @property
    def half(self) -> float:
        """Half the side of the square that is shown, about the origin: the means and three deviations."""
        spread = 3 * np.sqrt(np.diag(np.asarray(self.covariance, dtype=np.float64)).max())
        return float(np.ceil(10 * (np.abs(np.asarray(self.means)).max() + spread)) / 10)


def boundary_world(models: Sequence[WorldModel], teachers: Mapping[str, Net], plane: Plane, *, name: str = "world") -> Lab:
    """Decision fields of students beside the exact posterior, recomputed from their weights as a reader moves the controls.

    Args:
        models: at least one, all with the same label fields and no two with the same label. The first is shown first.
        teachers: networks by the keys the models name.
        plane: the density, and the points that were trained on.
        name: names the world in the address of the page, ``#name.at=...``, as for :func:`mixkd.figures.temperature_lab`.

    Raises:
        ValueError: for labels or a name that are not so.
    """
    check(models, name)
    store: dict[str, str] = {}
    weight, bias = plane.affine()
    nets = {key: {"shape": net.shape, "weights": keep(store, net.packed(), "<f4")} for key, net in teachers.items()}
    own: list[dict[str, Any]] = [
        {
            "teacher": model.teacher,
            "shape": model.net.shape,
            "weights": keep(store, model.net.packed(), "<f4"),
            "summary": {name: float(model.summary[name]) for name in _SUMMARY if name in model.summary},
        }
        for model in models
    ]
    points, labels = keep(store, plane.points, "<f4"), keep(store, plane.labels, "<u2")
    now = {points, labels, own[0]["weights"], *([nets[models[0].teacher]["weights"]] if models[0].teacher else [])}
    return assemble(
        "boundary", name, models, own, _fallback(models, plane), kept(store, now),
        teachers=nets, exact={"weight": weight.ravel().tolist(), "bias": bias.tolist()},
        means=np.asarray(plane.means, dtype=float).tolist(), half=plane.half,
        colors=[CLASS_COLORS[i % len(CLASS_COLORS)] for i in range(len(weight))],
        points=points, labels=labels, n=len(plane.labels), seen=plane.seen,
    )  # fmt: skip


def _fallback(models: Sequence[WorldModel], plane: Plane, side: int = 44) -> str:
    """Draw a student of up to three arms and the exact posterior as coarse maps, for where scripts do not run."""
    half, k = plane.half, len(plane.means)
    axis = (np.arange(side) + 0.5) / side * 2 * half - half
    grid = np.stack(np.meshgrid(axis, -axis), axis=-1).reshape(-1, 2)
    by_arm: dict[str, WorldModel] = {}
    for model in models:
        by_arm.setdefault(arm_of(model), model)
    shown = list(by_arm.values())[:3]
    panels = [(arm_of(model), log_softmax(model.net.logits(grid), axis=-1)) for model in shown]
    size, gap = 150, 10
    cell = size / side
    parts = []
    for number, (title, log_p) in enumerate([*panels, ("exact posterior", plane.log_posterior(grid))]):
        left, top = (number % 2) * (size + gap), (number // 2) * (size + 28) + 18
        parts.append(f'<text x="{left}" y="{top - 5}">{html.escape(title)}</text>')
        sure = np.exp(log_p.max(1))
        level = np.clip(np.round((sure - 1 / k) / (1 - 1 / k) * 4) / 4, 0, 1)
        for row, cells in enumerate(np.stack([log_p.argmax(1), level], 1).reshape(side, side, 2).tolist()):
            start = 0
            for (best, opaque), alike in groupby(cells):
                width = len(list(alike))
                box = f'x="{left + start * cell:.1f}" y="{top + row * cell:.1f}" width="{width * cell + 0.3:.1f}"'
                shade = f'fill="{CLASS_COLORS[int(best) % len(CLASS_COLORS)]}" fill-opacity="{0.15 + 0.7 * opaque:.2f}"'
                parts.append(f'<rect {box} height="{cell + 0.3:.1f}" {shade}/>')
                start += width
        for label, (x, y) in enumerate(np.asarray(plane.means, dtype=float)):
            px, py = left + (x + half) / (2 * half) * size, top + (half - y) / (2 * half) * size
            parts.append(f'<text x="{px:.1f}" y="{py + 4:.1f}" text-anchor="middle" font-weight="700">{label}</text>')
    width, height = 2 * size + gap, (len(panels) // 2 + 1) * (size + 28) + 6
    words = "Colour: the most probable class at each point, numbered at its mean; the paler, the less sure."
    words += f" {'; '.join(map(_settings, shown))}. With JavaScript the settings move."
    return (
        f'<figure class="mixkd-fallback"><svg viewBox="0 0 {width} {height}" width="{width * 1.6:.0f}" role="img" fill="currentColor" '
        f'font-size="9" aria-label="decision fields of students, and the exact posterior">{"".join(parts)}</svg>'
        f"<figcaption>{html.escape(words)}</figcaption></figure>"
    )


def _settings(model: WorldModel) -> str:
    rest = (f"{NAMES.get(name, name)} {word(value)}" for name, value in model.label.items() if name != "arm" and value is not None)
    return f"{arm_of(model)}: {', '.join(rest)}"
