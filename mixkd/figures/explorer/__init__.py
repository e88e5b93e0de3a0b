"""Live figures: stored model outputs and plain JavaScript in one block of HTML, recomputed in the reader's browser.

The block needs no network, no framework and no kernel, and shows a static figure where scripts do not run. It refuses
to know measures of its own: its JavaScript computes what `mixkd.calibration` does, and a test holds the two together.
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
from mixkd.spec import ARMS

_FIELD_NAMES = {
    "arm": "trained with",
    "tau": "distillation τ",
    "seed": "seed",
    "student": "student",
    "teacher": "teacher",
    "data": "data",
}
_SCRIPTS: Mapping[str, tuple[str, ...]] = {
    "map": ("chart",),
    "temperature": ("chart", "measures"),
    "vicinal": ("chart", "measures"),
    "boundary": ("measures", "boundary_field"),
}
"""The scripts each lab needs between ``core.js`` and its own."""
_LOWEST = np.finfo(np.float16).min
_JUST_BELOW_ZERO = -np.finfo(np.float16).smallest_subnormal


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

    @property
    def rounded(self) -> np.ndarray:
        """(N, K) float16: the logits as the page has them, less the maximum of their row.

        Exactly one entry of a row is 0, so that rounding cannot change which class is predicted.
        """
        z = np.asarray(self.logits, dtype=np.float64)
        top = z.argmax(1)
        z = np.clip(z - z.max(1, keepdims=True), _LOWEST, 0).astype(np.float16)
        z[z == 0] = _JUST_BELOW_ZERO
        z[np.arange(len(z)), top] = 0
        return z


class TemperatureLab:
    """What `temperature_lab` returns: shows itself in a notebook and on the page.

    Attributes:
        models: the models, in the order of the selects.
        bins: number of equal-width bins.
        name: names the lab in the address of the page, ``#name.a=...``.
    """

    def __init__(self, models: Sequence[LabModel], bins: int, name: str) -> None:
        self.models = tuple(models)
        self.bins = bins
        self.name = name

    def _repr_html_(self) -> str:
        store: dict[str, str] = {}
        fields = list(self.models[0].label)
        entries = []
        for model in self.models:
            z = model.rounded
            entries.append(
                {
                    "label": {field: word(model.label[field]) for field in fields},
                    "n": z.shape[0],
                    "k": z.shape[1],
                    "temperature": float(model.fitted_temperature),
                    "repeats": model.repeats,
                    "color": theme.COLORS.get(str(model.label.get("arm")), theme.NEUTRAL),
                    "logits": keep(store, z.astype("<f2").tobytes()),
                    "labels": keep(store, np.asarray(model.labels).astype("<u2").tobytes()),
                }
            )
        meta = {
            "name": self.name,
            "bins": self.bins,
            "fields": fields,
            "names": {field: _FIELD_NAMES.get(field, field) for field in fields},
            "words": {"arm": {arm.name: arm.label for arm in ARMS.values()}},
            "models": entries,
        }
        data = kept(store, now={entries[0]["logits"], entries[0]["labels"]})
        return block("temperature", meta, _fallback(self.models[0], self.bins), data)

    def __repr__(self) -> str:
        return f"<temperature lab of {len(self.models)} models>"


def temperature_lab(models: Sequence[LabModel], bins: int = 15, *, name: str = "lab") -> TemperatureLab:
    """Return a reliability diagram that follows a temperature slider, over the logits of one or two chosen models.

    Args:
        models: at least one, all with the same label fields and no two with the same label. The first is shown first,
            the second is the first to compare with.
        bins: number of equal-width bins, 2 to 100.
        name: names the lab in the address of the page; labs of one page need different names. Letters, digits and
            hyphens.

    Raises:
        ValueError: if an argument is not as described.
    """
    if not models:
        raise ValueError("models is empty: a lab needs at least one model")
    if not 2 <= bins <= 100:
        raise ValueError(f"bins must be 2 to 100, not {bins}")
    check_labels([model.label for model in models], name)
    return TemperatureLab(models, bins, name)


def check_labels(labels: Sequence[Mapping[str, Any]], name: str) -> None:
    """Check the labels of a lab's models (at least one) and the lab's name.

    Raises:
        ValueError: if the name has other than lower-case letters, digits and hyphens, or if labels are equal or differ in their fields.
    """
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise ValueError(f"name must be lower-case letters, digits and hyphens, starting with a letter; not {name!r}")
    fields = list(labels[0])
    seen: set[tuple[str, ...]] = set()
    for label in labels:
        if list(label) != fields:
            raise ValueError(f"label {dict(label)} must have the fields of the first model: {', '.join(fields)}")
        key = tuple(word(value) for value in label.values())
        if key in seen:
            raise ValueError(f"two models have the label {dict(label)}: add the field that tells them apart")
        seen.add(key)


def word(value: Any) -> str:
    """Return a label value as the page's selects show it."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def keep(store: dict[str, str], raw: bytes) -> str:
    """Put bytes in the store, once, under a key of their content."""
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
    from mixkd.measure import calibration  # torch: only when a lab is drawn

    z, labels = model.rounded.astype(np.float32), np.asarray(model.labels).astype(np.int64)
    measured = calibration.reliability(z, labels, n_bins=bins)
    report = calibration.report(z, labels, n_bins=bins)
    count, confidence, accuracy = (np.asarray(getattr(measured, key), dtype=float) for key in ("count", "confidence", "accuracy"))
    color = theme.COLORS.get(str(model.label.get("arm")), theme.NEUTRAL)
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
    what = ", ".join(f"{_FIELD_NAMES.get(field, field)} {word(value)}" for field, value in model.label.items())
    figures = ", ".join(f"{name} {getattr(report, name.lower()):.4f}" for name in ("accuracy", "ECE", "OE", "UE", "NLL"))
    caption = html.escape(f"{what}; at temperature 1: {figures}. With JavaScript the temperature moves.")
    width, height = left + inner + 12, base + 44
    return (
        f'<figure class="mixkd-fallback"><svg viewBox="0 0 {width} {height}" width="{width}" role="img" '
        f'fill="currentColor" font-size="12" aria-label="reliability diagram at temperature 1">{"".join(parts)}</svg>'
        f"<figcaption>{caption}</figcaption></figure>"
    )
