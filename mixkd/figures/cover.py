"""The cover: a blend of two images, and what teacher and student say along it. Also the site's icon and its social card.

All are drawn by code from recorded answers; nothing is drawn that a model did not say, and no model is asked here.
"""

from __future__ import annotations

import html
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixkd.figures import theme
from mixkd.figures.ledger import Html

READING = (
    "Each line is one pair of test images of different classes: the probability given to the second image's class while the blend moves "
    "from the first image to the second. Evenly, each answer would lie on the dashed line between its own ends."
)
_STEPS = 8  # shades of ink
ICON_COLORS = ("#4159df", "#ffffff")


@dataclass(frozen=True)
class Bundle:
    """What one model says along blends.

    Attributes:
        arm: "teacher", or an arm.
        answers: (P, L) probability of the second image's class, for each pair along the blend from the first image to the second.
    """

    arm: str
    answers: np.ndarray


def bundle(arm: str, probabilities: np.ndarray, labels: np.ndarray, lam: Sequence[float]) -> Bundle:
    """The answers of one model on the pairs whose classes differ.

    Args:
        arm: "teacher", or an arm.
        probabilities: (L, P, K) along the grid of lam, the weight of the first image.
        labels: (P, 2) classes of the first and the second image.
        lam: (L,) the grid.
    """
    differ = np.flatnonzero(labels[:, 0] != labels[:, 1])
    along = np.argsort(-np.asarray(lam, dtype=float))  # lam falls from 1: from the first image to the second
    return Bundle(arm, probabilities[along][:, differ, labels[differ, 1]].T)


def cover(bundles: Sequence[Bundle], images: tuple[np.ndarray, np.ndarray] | None = None) -> Html:
    """The cover of the book.

    Args:
        bundles: one or two models, the teacher first.
        images: the two images of a pair, (H, W) each with values in [0, 1]; without them the strip is left out.
    """
    strip = f'<div class="mixkd-cover-strip">{blends(*images)}</div>' if images is not None else ""
    panels = "".join(_panel(part) for part in bundles)
    words = " and ".join(theme.look(part.arm).label for part in bundles)
    markup = (
        f'<figure class="mixkd-cover">{strip}<div class="mixkd-cover-panels">{panels}</div>'
        f'<figcaption class="book-reading">{html.escape(READING)}</figcaption></figure>'
    )
    return Html(markup, f"<cover: answers of {words} along blends of two images>")


def blends(first: np.ndarray, second: np.ndarray, steps: int = 9) -> str:
    """Blends of two images side by side as an SVG in the colour of the text around it."""
    rows, columns = first.shape
    pitch = columns + max(1, columns // 8)
    shades: dict[int, list[str]] = {}
    for step, share in enumerate(np.linspace(0, 1, steps)):
        ink = np.rint(((1 - share) * first + share * second) * _STEPS).astype(int)
        for y, x in zip(*np.nonzero(ink), strict=True):
            shades.setdefault(int(ink[y, x]), []).append(f"M{step * pitch + x} {y}h1v1h-1z")
    paths = "".join(f'<path fill-opacity="{shade / _STEPS:g}" d="{"".join(cells)}"/>' for shade, cells in sorted(shades.items()))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {steps * pitch - pitch + columns} {rows}" role="img" fill="currentColor" '
        f'shape-rendering="crispEdges" aria-label="one image turning into another, blend by blend">{paths}</svg>'
    )


def _panel(part: Bundle) -> str:
    look = theme.look(part.arm)
    left, right, top, bottom = 34, 334, 26, 196
    levels = np.linspace(0, 1, part.answers.shape[1])
    x = left + (right - left) * levels
    lines = "".join(_line(x, bottom + (top - bottom) * answer) for answer in part.answers)
    mean = part.answers.mean(0)
    middle = bottom + (top - bottom) * mean
    ends = f"M{left} {middle[0]:.1f}L{right} {middle[-1]:.1f}"
    grid = "".join(f"M{left} {bottom + (top - bottom) * level:g}H{right}" for level in (0, 0.5, 1))
    ticks = "".join(
        f'<text x="{left - 5}" y="{bottom + (top - bottom) * level + 4:g}" text-anchor="end">{level:g}</text>' for level in (0, 0.5, 1)
    )
    label = (
        f"{look.label}: mean probability of the second image's class over {len(part.answers)} pairs, {mean[0]:.2f} at the first image, "
        f"{mean[len(mean) // 2]:.2f} half way, {mean[-1]:.2f} at the second"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 340 220" role="img" fill="currentColor" font-size="12" '
        f'aria-label="{html.escape(label, quote=True)}">'
        f'<path d="{grid}" stroke="{theme.NEUTRAL}" stroke-opacity=".35" fill="none"/>{ticks}'
        f'<path d="{lines}" fill="none" stroke="{look.color}" stroke-opacity=".28"/>'
        f'<path d="{_line(x, middle)}" fill="none" stroke="{look.color}" stroke-width="3"/>'
        f'<path d="{ends}" fill="none" stroke="currentColor" stroke-width="1.3" stroke-dasharray="5 4"/>'
        f'<text x="{left}" y="15" font-size="14" font-weight="600">{html.escape(look.label)}</text>'
        f'<text x="{left}" y="{bottom + 17}">first image</text>'
        f'<text x="{right}" y="{bottom + 17}" text-anchor="end">second image</text></svg>'
    )


def _line(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{a:.0f} {b:.1f}" for a, b in zip(x, y, strict=True))


def icon() -> str:
    """The site's icon as SVG: a teacher's step and a student's straight line between the same ends."""
    back, ink = ICON_COLORS
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64">'
        f'<rect width="64" height="64" rx="14" fill="{back}"/>'
        f'<path d="M10 52C34 52 30 12 54 12" fill="none" stroke="{ink}" stroke-opacity=".55" stroke-width="6" stroke-linecap="round"/>'
        f'<path d="M10 52L54 12" fill="none" stroke="{ink}" stroke-width="6" stroke-linecap="round"/></svg>\n'
    )


def touch_icon(size: int = 180) -> bytes:
    """The icon as PNG, for home screens."""
    from PIL import Image, ImageDraw

    back, ink = ICON_COLORS
    image = Image.new("RGB", (4 * size, 4 * size), back)
    draw = ImageDraw.Draw(image)
    unit = 4 * size / 64
    t = np.linspace(0, 1, 200)[:, None]
    curve = (1 - t) ** 3 * [10, 52] + 3 * (1 - t) ** 2 * t * [34, 52] + 3 * (1 - t) * t**2 * [30, 12] + t**3 * [54, 12]
    for points, color in ((curve, "#a9b4f0"), (np.array([[10, 52], [54, 12]]), ink)):
        draw.line([tuple(p) for p in points * unit], fill=color, width=round(6 * unit), joint="curve")
        for x, y in (points[0] * unit, points[-1] * unit):
            draw.ellipse((x - 3 * unit, y - 3 * unit, x + 3 * unit, y + 3 * unit), fill=color)
    return _png(image.resize((size, size), Image.Resampling.LANCZOS))


def card(title: str, words: str, bundles: Sequence[Bundle] = (), images: tuple[np.ndarray, np.ndarray] | None = None) -> bytes:
    """The picture that stands beside a link to the site: 1200 x 630 PNG.

    Args:
        title: of the site, in one line.
        words: below it, at most two lines.
        bundles, images: as in `cover`; without them the card has words only.
    """
    from PIL import Image, ImageDraw, ImageFont

    width, height, margin = 1200, 630, 72
    paper, ink, soft = "#ffffff", "#1d2430", "#525c6b"
    image = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, width, 12), fill=ICON_COLORS[0])
    font: Callable[[float], ImageFont.ImageFont | ImageFont.FreeTypeFont] = lambda size: ImageFont.load_default(size=size)  # noqa: E731
    size = 66.0
    while size > 30 and draw.textlength(title, font=font(size)) > width - 2 * margin:
        size -= 2
    draw.text((margin, 52), title, fill=ink, font=font(size))
    draw.multiline_text((margin, 144), "\n".join(_wrapped(words, lambda t: draw.textlength(t, font=font(30)), width - 2 * margin)[:2]),
                        fill=soft, font=font(30), spacing=10)  # fmt: skip
    if images is not None:
        tile, steps = 92, 9
        for step, share in enumerate(np.linspace(0, 1, steps)):
            blend = (1 - share) * images[0] + share * images[1]
            shade = Image.fromarray(np.uint8(np.rint(255 * (1 - 0.85 * blend))), "L").resize((tile, tile), Image.Resampling.NEAREST)
            image.paste(shade, (round(margin + step * (width - 2 * margin - tile) / (steps - 1)), 238))
    panel = (width - 2 * margin - 48) / 2
    for place, part in enumerate(bundles[:2]):
        look = theme.look(part.arm)
        left, top, bottom = margin + place * (panel + 48), 400, 576
        layer = Image.new("RGBA", (width, height), (0, 0, 0, 0))
        pen = ImageDraw.Draw(layer)
        xs = np.linspace(left, left + panel, part.answers.shape[1])
        rgb = tuple(int(look.color[i : i + 2], 16) for i in (1, 3, 5))
        for answer in part.answers:
            pen.line([(a, b) for a, b in zip(xs, bottom - (bottom - top) * answer, strict=True)], fill=(*rgb, 60), width=2)
        image.paste(layer, (0, 0), layer)
        draw.line([(a, b) for a, b in zip(xs, bottom - (bottom - top) * part.answers.mean(0), strict=True)], fill=look.color, width=7)
        draw.text((left, 354), look.label, fill=ink, font=font(28))
        draw.line((left, bottom + 8, left + panel, bottom + 8), fill=theme.NEUTRAL, width=2)
    return _png(image)


def _wrapped(words: str, measure: Callable[[str], float], width: float) -> list[str]:
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if measure(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _png(image: object) -> bytes:
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)  # type: ignore[attr-defined]
    return out.getvalue()


def cover_of(evidence: Any) -> Html:
    """The cover over a profile's records; empty where there is nothing to draw.

    Args:
        evidence: :class:`mixkd.claims.Evidence`.
    """
    bundles, images = material(evidence)
    return cover(bundles, images) if bundles else Html("", "<no cover: no such student is recorded>")


def material(evidence: Any) -> tuple[list[Bundle], tuple[np.ndarray, np.ndarray] | None]:
    """What a cover is drawn from: teacher and `kd_mixup` student of the first seed, and a pair of test images where they are at hand.

    Args:
        evidence: :class:`mixkd.claims.Evidence`.

    Returns:
        The bundles (none where no such student is recorded), and the images of the first pair of the probe.
    """
    students = [record for record in evidence.records("overconfidence").select(arm="kd_mixup")]
    if not students:
        return [], None
    student = students[0]
    teacher = evidence.teacher_of(student)
    probe = student.probe
    labels, lam = probe.labels.numpy(), probe.lam.tolist()
    bundles = [
        bundle(arm, record.probe.logits.double().softmax(-1).numpy(), labels, lam)
        for arm, record in (("teacher", teacher), ("kd_mixup", student))
        if record is not None
    ]
    if evidence.profile.data != "digits":  # the images of other data sets are not kept in records
        return bundles, None
    from mixkd.data import load_data

    first, second = load_data("digits").splits["test"].pixels[probe.pairs[np.flatnonzero(labels[:, 0] != labels[:, 1])[0]], 0].numpy() / 255
    return bundles, (first, second)
