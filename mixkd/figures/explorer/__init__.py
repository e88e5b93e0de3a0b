"""Live figures: stored model outputs and plain JavaScript in one block of HTML, recomputed in the reader's browser.

The block needs no network, no framework and no kernel, and shows a static figure where scripts do not run.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixkd.figures import theme
from mixkd.figures.markup import Html
from mixkd.measure import calibration
from mixkd.spec import ARMS

NAMES = {"arm": "trained with", "alpha": "mixing α", "tau": "distillation τ"}
"""What a control is called, where that is not the name of its field."""
_SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "map": ("chart",),
    "temperature": ("chart", "measures"),
    "vicinal": ("chart", "measures"),
    "boundary": ("measures", "boundary_field"),
}
"""The scripts each lab needs between ``core.js`` and its own."""


class Lab(Html):
    """A live figure; ``models`` are those it offers, in the order of the controls."""

    def __init__(self, markup: str, models: Sequence[Any]) -> None:
        super().__init__(markup, f"<live figure of {len(models)} models>")
        self.models = tuple(models)


@dataclass(frozen=True, eq=False)
class LabModel:
    """One model of a lab.

    Attributes:
        label: what tells it from the others, in the order of the selects: ``{"arm": "kd_mixup", "tau": 2.0, "seed":
            0}``. All models of a lab have the same fields; None means that the field does not apply.
        logits: (N, K) test logits, torch or NumPy, finite.
        labels: (N,) integers in [0, K).
        fitted_temperature: the post-hoc temperature that minimises NLL on validation data, > 0.
        repeats: how many rows answer one image (its views), so that chance is not taken for smaller than it is.
    """

    label: Mapping[str, Any]
    logits: Any
    labels: Any
    fitted_temperature: float
    repeats: int = 1

    def __post_init__(self) -> None:
        logits, labels = np.asarray(self.logits), np.asarray(self.labels)
        if logits.ndim != 2 or labels.shape != logits.shape[:1] or not labels.size:
            raise ValueError(f"logits must be (N, K) and labels (N,), N > 0; they are {logits.shape} and {labels.shape}")
        if not np.isfinite(logits).all():
            raise ValueError(f"logits of {dict(self.label)} must be finite")
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= logits.shape[1]:
            given = f"{labels.dtype}, {labels.min()} to {labels.max()}"
            raise ValueError(f"labels must be integers in [0, {logits.shape[1]}); they are {given}")
        if not 0 < self.fitted_temperature < float("inf"):
            raise ValueError(f"fitted_temperature must be positive and finite, not {self.fitted_temperature}")
        if self.repeats < 1:
            raise ValueError(f"repeats must be at least 1, not {self.repeats}")


def rounded(logits: Any) -> np.ndarray:
    """Return logits (..., K) as the page has them: float16, less the maximum of their row.

    Exactly one entry of a row is 0, so that rounding cannot change which class is predicted.
    """
    z = np.asarray(logits, dtype=np.float64)
    top = z.argmax(-1)[..., None]
    z = np.clip(z - z.max(-1, keepdims=True), np.finfo(np.float16).min, 0).astype(np.float16)
    z[z == 0] = -np.finfo(np.float16).smallest_subnormal
    np.put_along_axis(z, top, np.float16(0), -1)
    return z


def temperature_lab(models: Sequence[LabModel], bins: int = 15, *, name: str = "lab") -> Lab:
    """Return a reliability diagram that follows a temperature slider, over the logits of one or two chosen models.

    Args:
        models: at least one, all with the same label fields and no two with the same label. The first is shown first,
            the second is the first to compare with.
        bins: number of equal-width bins, 2 to 100.
        name: names the lab in the address of the page, ``#name.a=...``; labs of one page need different names. Lower-case letters,
            digits and hyphens.

    Raises:
        ValueError: if an argument is not as described.
    """
    if not 2 <= bins <= 100:
        raise ValueError(f"bins must be 2 to 100, not {bins}")
    check(models, name)
    store: dict[str, str] = {}
    own = [
        {
            "n": len(model.labels),
            "k": np.shape(model.logits)[1],
            "temperature": float(model.fitted_temperature),
            "repeats": model.repeats,
            "logits": keep(store, rounded(model.logits), "<f2"),
            "labels": keep(store, model.labels, "<u2"),
        }
        for model in models
    ]
    data = kept(store, now={own[0]["logits"], own[0]["labels"]})
    return assemble("temperature", name, models, own, _fallback(models[0], bins), data, bins=bins)


def check(models: Sequence[Any], name: str) -> None:
    """Check the labels of a lab's models and the lab's name.

    Raises:
        ValueError: without a model; if the name has other than lower-case letters, digits and hyphens; if labels are equal or differ in
            their fields.
    """
    if not models:
        raise ValueError("models is empty: a live figure needs at least one model")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise ValueError(f"name must be lower-case letters, digits and hyphens, starting with a letter; not {name!r}")
    fields = list(models[0].label)
    seen: set[tuple[str, ...]] = set()
    for label in (model.label for model in models):
        if list(label) != fields:
            raise ValueError(f"label {dict(label)} must have the fields of the first model: {', '.join(fields)}")
        key = tuple(map(word, label.values()))
        if key in seen:
            raise ValueError(f"two models have the label {dict(label)}: add the field that tells them apart")
        seen.add(key)


def assemble(
    lab: str, name: str, models: Sequence[Any], own: Sequence[Mapping[str, Any]], fallback: str, data: str, **meta: Any
) -> Lab:  # fmt: skip
    """Return a lab of models with a ``label``: ``own`` is what its script needs of each, ``meta`` of all; the others are as for a block."""
    fields = list(models[0].label)
    meta |= {
        "name": name,
        "fields": fields,
        "names": {field: NAMES.get(field, field) for field in fields},
        "words": {"arm": {arm.name: arm.label for arm in ARMS.values()}},
        "models": [
            {"label": {field: word(value) for field, value in model.label.items()}, "color": color_of(model), **more}
            for model, more in zip(models, own, strict=True)
        ],
    }
    return Lab(block(lab, meta, fallback, data), models)


def color_of(model: Any) -> str:
    """Return the colour of a model's arm."""
    return theme.COLORS.get(str(model.label.get("arm")), theme.NEUTRAL)


def arm_of(model: Any) -> str:
    """Return the arm of a model in words."""
    arm = str(model.label.get("arm"))
    return ARMS[arm].label if arm in ARMS else arm


def word(value: Any) -> str:
    """Return a label value as the page's selects show it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def keep(store: dict[str, str], values: Any, dtype: str) -> str:
    """Put an array in the store as bytes of a NumPy type, once, under a key of its content."""
    raw = np.asarray(values).astype(dtype).tobytes()
    key = hashlib.sha256(raw).hexdigest()[:16]
    store.setdefault(key, base64.b64encode(raw).decode())
    return key


def kept(store: Mapping[str, str], now: Collection[str]) -> str:
    """Return the store as elements of a block.

    The block holds everything, so that any notebook can show it; a site may move what is not needed at once to files.
    """
    return "".join(
        f'<script type="text/plain" data-key="{key}"{" data-now" if key in now else ""}>{text}</script>' for key, text in store.items()
    )


def block(lab: str, meta: Mapping[str, Any], fallback: str, data: str = "") -> str:
    """Return a lab as one block of HTML.

    Args:
        lab: its name, a key of `_SCRIPTS`; ``<lab>_lab.js`` beside this file mounts ``.mixkd-lab[data-lab=<lab>]``, ``<lab>_lab.css``
            styles what only it has.
        meta: what the script needs at once, as JSON.
        fallback: markup of class ``mixkd-fallback``, shown until the script runs.
        data: what :func:`kept` returns.
    """
    own = _read(f"{lab}_lab.css") if (Path(__file__).parent / f"{lab}_lab.css").is_file() else ""
    scripts = "".join(_read(f"{name}.js") for name in ("core", *_SCRIPTS[lab], f"{lab}_lab"))
    return (
        f"<style>{_read('lab.css')}{own}</style>"
        f'<div class="mixkd-lab" data-lab="{lab}">{fallback}'
        f'<script type="application/json" class="mixkd-meta">{as_json(meta)}</script>{data}</div>'
        f"<script>{scripts}</script>"
    )


def as_json(value: Any) -> str:
    """JSON that cannot end the script element it stands in."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _read(name: str) -> str:
    return (Path(__file__).parent / name).read_text(encoding="utf-8")


def _fallback(model: LabModel, bins: int) -> str:
    """Draw the diagram of the first model at temperature 1, for where scripts do not run."""
    z, labels = rounded(model.logits).astype(np.float32), np.asarray(model.labels).astype(np.int64)
    measured, report = calibration.reliability(z, labels, n_bins=bins), calibration.report(z, labels, n_bins=bins)
    count, confidence, accuracy = measured.count, measured.confidence, measured.accuracy
    color = color_of(model)
    left, top, inner, low = 44, 8, 340, 74
    base = top + inner + 14 + low
    parts = []
    for value in (0, 0.2, 0.4, 0.6, 0.8, 1):
        x, y = left + inner * value, top + inner * (1 - value)
        parts.append(f'<path class="mixkd-grid" d="M{left} {y:g}H{left + inner}M{x:g} {top}V{top + inner}"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:g}" text-anchor="end">{value:.1f}</text>')
        parts.append(f'<text x="{x:g}" y="{base + 16}" text-anchor="middle">{value:.1f}</text>')
    for b in np.flatnonzero(count):
        x, width = left + inner * b / bins + 1, inner / bins - 2
        y, end = top + inner * (1 - accuracy[b]), top + inner * (1 - confidence[b])
        share, shade = low * np.sqrt(count[b] / count.sum()), 0.3 + 0.6 * np.sqrt(count[b] / count.max())
        box = f'x="{x:.1f}" width="{width:.1f}"'
        parts.append(f'<rect {box} y="{y:.1f}" height="{top + inner - y:.1f}" fill="{color}" fill-opacity="{shade:.2f}"/>')
        parts.append(f'<rect {box} y="{min(y, end):.1f}" height="{abs(y - end):.1f}" fill="none" stroke="{theme.NEUTRAL}"/>')
        parts.append(f'<rect {box} y="{base - share:.1f}" height="{share:.1f}" fill="{color}"/>')
    parts.append(f'<path class="mixkd-diagonal" stroke="{theme.NEUTRAL}" d="M{left} {top + inner}L{left + inner} {top}"/>')
    parts.append(f'<text x="{left + inner / 2:g}" y="{base + 36}" text-anchor="middle">confidence</text>')
    parts.append(f'<text transform="translate(11,{top + inner / 2:g}) rotate(-90)" text-anchor="middle">accuracy</text>')
    what = ", ".join(f"{NAMES.get(field, field)} {word(value)}" for field, value in model.label.items())
    figures = ", ".join(f"{name} {getattr(report, name.lower()):.4f}" for name in ("accuracy", "ECE", "OE", "UE", "NLL"))
    caption = html.escape(f"{what}; at temperature 1: {figures}. With JavaScript the temperature moves.")
    width, height = left + inner + 12, base + 44
    return (
        f'<figure class="mixkd-fallback"><svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'fill="currentColor" font-size="12" aria-label="reliability diagram at temperature 1">{"".join(parts)}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
