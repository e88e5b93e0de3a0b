"""The vicinal lab: recorded answers on the way between two images, student beside teacher, and the images where they are at hand.

It shows what was recorded, at the lam it was recorded at, and interpolates nothing.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import softmax

from mixkd.figures import theme
from mixkd.figures.explorer import Lab, arm_of, assemble, check, keep, kept, rounded
from mixkd.measure.linearity import probability_linearity

_MOST_CLASSES = 12
_DRAWN_IN_FALLBACK = 16


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


def vicinal_lab(models: Sequence[PathModel], teachers: Mapping[str, Any], pairs: Pairs, *, name: str = "path") -> Lab:
    """Return a lab of the path between two images: the blend, what student and teacher say of it, and how far from linear that is.

    Args:
        models: at least one, all with the same label fields and no two with the same label. The first is shown first.
        teachers: (L, P, K) logits by the keys the models name.
        pairs: the image pairs that the logits are about.
        name: names the lab in the address of the page, ``#name.pair=...``, as for :func:`mixkd.figures.temperature_lab`.

    Raises:
        ValueError: for labels or a name that are not so.
    """
    check(models, name)
    store: dict[str, str] = {}
    answers = {key: keep(store, rounded(z), "<f2") for key, z in teachers.items()}
    own: list[dict[str, Any]] = [{"teacher": m.teacher, "logits": keep(store, rounded(m.logits), "<f2")} for m in models]
    now = {own[0]["logits"], *([answers[models[0].teacher]] if models[0].teacher else [])}
    images: dict[str, Any] | None = None
    if pairs.images is not None:
        pixels = np.moveaxis(pairs.images, 2, -1)
        images = {"key": keep(store, pixels, "u1"), "shape": list(pixels.shape[2:])}
        now.add(images["key"])
    return assemble(
        "vicinal", name, models, own, _fallback(models[0], teachers, pairs), kept(store, now),
        teachers=answers, teacherColor=theme.NEUTRAL, lam=[float(at) for at in pairs.lam], pairs=np.asarray(pairs.labels).tolist(),
        classes=list(map(str, pairs.classes)), most=_MOST_CLASSES, first=pairs.first, images=images,
    )  # fmt: skip


def _fallback(model: PathModel, teachers: Mapping[str, Any], pairs: Pairs) -> str:
    """Render the first pair as a table, and its blends as a strip if the images are small, for where scripts do not run."""
    p, lam, labels = pairs.first, [float(at) for at in pairs.lam], np.asarray(pairs.labels)
    i, j = (str(pairs.classes[label]) for label in labels[p])
    columns: dict[str, np.ndarray] = {}
    for who, logits in {"student": model.logits, **({"teacher": teachers[model.teacher]} if model.teacher else {})}.items():
        z = rounded(logits)[:, [p]].astype(np.float64)
        columns |= {f"{who}: {pairs.classes[label]}": softmax(z[:, 0], axis=-1)[:, label] for label in labels[p]}
        columns[f"{who}: L_NL"] = probability_linearity(z, lam, labels[[p]]).l_nl[:, 0].numpy()
    head = "".join(f'<th scope="col">{html.escape(column)}</th>' for column in ["λ", *columns])
    rows = "".join(
        f'<tr><th scope="row">{at:g}</th>{"".join(f"<td>{value:.3f}</td>" for value in values)}</tr>'
        for at, *values in zip(lam, *columns.values(), strict=True)
    )
    what = f"From {j} (λ = 0) to {i} (λ = 1), a student trained with {arm_of(model)}"
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
