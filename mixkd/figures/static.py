"""A plotly figure as a static SVG, drawn from its JSON: for pages without JavaScript, and until plotly.js has loaded.

It draws lines, markers, error bars, fills, bars, heat maps, shapes and annotations on Cartesian axes. It refuses to be
a second plotly: what it does not know it leaves out and says so in the picture.
"""

from __future__ import annotations

import base64
import html
import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

WIDTH, NARROW = 720, 360
"""Units across a picture: of a desk or paper, of a phone."""
LEADING = 15
"""Units from one line of an annotation to the next."""
_GREY = "#7d848e"
_DASH = {"dot": "1.5 4", "dash": "7 4", "longdash": "11 5", "dashdot": "7 3 1.5 3", "longdashdot": "11 3 2 3"}
_DRAWN = {"scatter", "scattergl", "bar", "heatmap", "contour"}
Points = list[tuple[float, float]]


def values(array: Any) -> list[Any]:
    """A plotly data array as a list: a JSON list, or base64 of typed bytes (``{"dtype", "bdata"}``), by rows if it has
    two axes."""
    if isinstance(array, Mapping) and "bdata" in array:
        flat = np.frombuffer(base64.b64decode(array["bdata"]), dtype=np.dtype(array["dtype"]).newbyteorder("<"))
        shape = [int(n) for n in str(array["shape"]).split(",")] if "shape" in array else [-1]
        return list(flat.reshape(shape).tolist())
    return [] if array is None else list(array)


def svg(figure: Mapping[str, Any], width: int = WIDTH) -> str:
    """Draw a figure.

    Args:
        figure: plotly JSON: ``data`` and ``layout``.
        width: units across; text has twelve of them.

    Returns:
        An ``<svg>`` element whose text has the colour of the text around it.
    """
    layout = figure.get("layout", {})
    traces = [trace for trace in figure.get("data", []) if trace.get("visible", True) is True]
    height = int(layout.get("height") or 420)
    title = _plain((layout.get("title") or {}).get("text"))
    entries, legend_height = _legend(traces, width)
    # Room over the plotting area: for the title, the legend, and panel titles that stand on its upper edge.
    shift = 24 if title else 0
    upper = [str(n.get("text")) for n in layout.get("annotations", []) if n.get("yref") == "paper" and n.get("y", 0) >= 1]
    panels = max((16 + LEADING * words.count("<br>") for words in upper), default=0)
    area = _Area(64 if width > NARROW else 46, width - 14, 14 + shift + legend_height + panels, height - 52)
    pairs = sorted({_axes_of(trace) for trace in traces} or {("x", "y")})
    axes = {
        name: _Axis.fit(name, layout.get(f"{name[0]}axis{name[1:]}", {}), traces, layout.get("shapes", []), area)
        for name in sorted({name for pair in pairs for name in pair})
    }
    body = [f'<text x="{area.left}" y="18" font-size="15" font-weight="600">{title}</text>' if title else ""]
    body += [axes[x].frame(axes[y]) + axes[y].frame(axes[x]) for x, y in pairs]
    for x, y in pairs:
        below: Points = []
        for trace in traces:
            if _axes_of(trace) == (x, y):
                marks, below = _trace(trace, axes[x], axes[y], below)
                body.append(marks)
    body += [_shape(shape, axes, area) for shape in layout.get("shapes", [])]
    body += [_annotation(note, axes, area) for note in layout.get("annotations", [])]
    if unknown := sorted({str(trace["type"]) for trace in traces if trace.get("type", "scatter") not in _DRAWN}):
        words = html.escape(f"needs JavaScript: {', '.join(unknown)}")
        body.append(f'<text x="{width / 2}" y="{height / 2}" text-anchor="middle">{words}</text>')
    meta = layout.get("meta")
    label = html.escape(str(meta.get("label", "")) if isinstance(meta, Mapping) else "", quote=True)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
        f'font-family="sans-serif" font-size="12" fill="currentColor" stroke-linejoin="round">'
        f'<g transform="translate({area.left},{14 + shift})">{entries}</g>{"".join(body)}</svg>'
    )


def _axes_of(trace: Mapping[str, Any]) -> tuple[str, str]:
    return trace.get("xaxis") or "x", trace.get("yaxis") or "y"


def _strip(words: Any) -> str:
    return html.unescape(re.sub(r"<[^>]*>", " ", str(words or ""))).strip()


def _plain(words: Any) -> str:
    """Plotly's pseudo-HTML as escaped SVG text; only subscripts and superscripts keep their place."""
    parts = re.split(r"<(sub|sup)>(.*?)</\1>", str(words or ""))
    out = html.escape(_strip(parts[0]))
    for kind, inner, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        shift = "sub" if kind == "sub" else "super"
        out += f'<tspan font-size="80%" baseline-shift="{shift}">{html.escape(_strip(inner))}</tspan>'
        out += html.escape(_strip(rest))
    return out


def _color(value: Any, default: str = _GREY) -> str:
    return html.escape(value, quote=True) if isinstance(value, str) else default


@dataclass(frozen=True)
class _Area:
    """The plotting area in pixels."""

    left: float
    right: float
    top: float
    bottom: float

    def at(self, share: float, vertical: bool) -> float:
        """The pixel of a share of the area, 0 being left or bottom."""
        return self.bottom + (self.top - self.bottom) * share if vertical else self.left + (self.right - self.left) * share


@dataclass(frozen=True)
class _Axis:
    """One axis: data values to pixels, ticks and title. ``start`` and ``end`` are the pixels of the low and the high
    end."""

    vertical: bool
    start: float
    end: float
    low: float
    high: float
    log: bool
    categories: tuple[str, ...]
    options: Mapping[str, Any]

    @classmethod
    def fit(
        cls, name: str, options: Mapping[str, Any], traces: Sequence[Mapping[str, Any]], shapes: Sequence[Mapping[str, Any]], area: _Area
    ) -> _Axis:
        """The axis that holds its traces and shapes, or the range it was given."""
        vertical = name[0] == "y"
        start, end = (area.at(share, vertical) for share in options.get("domain") or (0, 1))
        own = [t for t in traces if _axes_of(t)[vertical] == name]
        raw = [value for trace in own for value in _extent(trace, name[0])]
        raw += [
            s[side] for s in shapes if (s.get(f"{name[0]}ref") or name[0]) == name for side in (f"{name[0]}0", f"{name[0]}1") if side in s
        ]
        categories: tuple[str, ...] = ()
        if options.get("type") == "category" or any(isinstance(v, str) for v in raw):
            given = options.get("categoryarray")
            categories = tuple(dict.fromkeys([*map(str, values(given)), *(str(v) for v in raw)]))
            bounds = (-0.5, len(categories) - 0.5)
        else:
            log = options.get("type") == "log"
            numbers = [float(v) for v in raw if isinstance(v, int | float) and math.isfinite(v) and (v > 0 or not log)]
            numbers = [math.log10(v) for v in numbers] if log else numbers
            bounds = (min(numbers, default=0.0), max(numbers, default=1.0))
            pad = (bounds[1] - bounds[0]) * 0.06 or 0.5
            touches = any(t.get("type") == "bar" for t in own) and bounds[0] == 0
            bounds = (bounds[0] - (0 if touches else pad), bounds[1] + pad)
        if options.get("range") and None not in options["range"]:
            bounds = tuple(float(v) for v in options["range"])  # type: ignore[assignment]
        elif options.get("autorange") == "reversed":
            bounds = bounds[::-1]
        return cls(vertical, start, end, *bounds, options.get("type") == "log", categories, options)

    def __call__(self, value: Any) -> float:
        if self.categories:
            number = float(self.categories.index(str(value))) if str(value) in self.categories else math.nan
        elif not isinstance(value, int | float):
            return math.nan
        else:
            number = (math.log10(value) if value > 0 else math.nan) if self.log else float(value)
        return self.start + (self.end - self.start) * (number - self.low) / ((self.high - self.low) or 1)

    def ticks(self) -> Iterable[tuple[float, str]]:
        """Pixel and words of each tick."""
        if self.options.get("tickvals") is not None:
            where = values(self.options["tickvals"])
            words = values(self.options.get("ticktext")) or [f"{v:g}" if isinstance(v, int | float) else v for v in where]
            yield from ((self(value), _strip(word)) for value, word in zip(where, words, strict=False))
        elif self.categories:
            yield from ((self(name), name) for name in self.categories)
        elif self.log:
            low, high = sorted((self.low, self.high))
            for power in range(math.ceil(low - 1), math.floor(high) + 1):
                for digit in (1, 2, 5) if high - low < 3 else (1,):
                    if low <= math.log10(digit) + power <= high:
                        yield self(digit * 10.0**power), f"{digit * 10.0**power:g}"
        else:
            low, high = sorted((self.low, self.high))
            rough = (high - low) / (6 if self.vertical else max(2, min(8, abs(self.end - self.start) / 70)))
            unit = 10.0 ** math.floor(math.log10(rough))
            step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= rough * 0.999)
            percent = str(self.options.get("tickformat", "")).endswith("%")
            for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
                value = i * step
                yield self(round(value, 12)), f"{value:.0%}" if percent else f"{round(value, 10):g}"

    def frame(self, other: _Axis) -> str:
        """Grid lines, tick words and title, beside or below the other axis."""
        if self.options.get("visible") is False:
            return ""
        grid, words = [], []
        shows = self.options.get("showticklabels", True)
        for at, word in self.ticks():
            if not min(self.start, self.end) - 1 <= at <= max(self.start, self.end) + 1:
                continue
            a, b = other.start, other.end
            if self.options.get("showgrid", True):
                grid.append(f"M{a:.1f} {at:.1f}H{b:.1f}" if self.vertical else f"M{at:.1f} {a:.1f}V{b:.1f}")
            if shows and self.vertical:
                words.append(f'<text x="{a - 7:.1f}" y="{at + 4:.1f}" text-anchor="end">{html.escape(word)}</text>')
            elif shows:
                words.append(f'<text x="{at:.1f}" y="{a + 17:.1f}" text-anchor="middle">{html.escape(word)}</text>')
        title = _plain((self.options.get("title") or {}).get("text", ""))
        if title:
            middle = (self.start + self.end) / 2
            place = (
                f'transform="translate(14,{middle:.1f}) rotate(-90)"' if self.vertical else f'x="{middle:.1f}" y="{other.start + 40:.1f}"'
            )
            words.append(f'<text {place} text-anchor="middle" font-size="13">{title}</text>')
        return f'<path d="{"".join(grid)}" stroke="{_GREY}" stroke-opacity=".22" fill="none"/>{"".join(words)}'


def _extent(trace: Mapping[str, Any], side: str) -> list[Any]:
    """All values of a trace that its axis must reach."""
    points = values(trace.get(side))
    if trace.get("type") == "bar":
        flat = trace.get("orientation") == "h"
        if (side == "x") == flat:
            base = values(trace.get("base")) if not isinstance(trace.get("base"), int | float) else [trace["base"]] * len(points)
            base = base or [0.0] * len(points)
            return [*base, *(b + p for b, p in zip(base, points, strict=False) if isinstance(p, int | float))]
        width = trace.get("width")
        if isinstance(width, int | float):
            return [p + half for p in points if isinstance(p, int | float) for half in (-width / 2, width / 2)]
    bars = trace.get(f"error_{side}") or {}
    plus, minus = values(bars.get("array")), values(bars.get("arrayminus"))
    if plus and all(isinstance(p, int | float) for p in points):
        minus = minus or plus
        return [
            *points,
            *(p + e for p, e in zip(points, plus, strict=False) if e is not None),
            *(p - e for p, e in zip(points, minus, strict=False) if e is not None),
        ]
    return points


def _path(points: Points, shape: str = "linear") -> str:
    """SVG path through points, broken where one is not finite."""
    out, pen, last = [], "M", 0.0
    for x, y in points:
        if not (math.isfinite(x) and math.isfinite(y)):
            pen = "M"
            continue
        if pen == "L" and shape == "hv":
            out.append(f"H{x:.1f}")
        elif pen == "L" and shape == "vh":
            out.append(f"V{y:.1f}")
        elif pen == "L" and shape == "hvh":
            out.append(f"H{(last + x) / 2:.1f}V{y:.1f}")
        out.append(f"{pen}{x:.1f} {y:.1f}")
        pen, last = "L", x
    return "".join(out)


def _each(value: Any, n: int) -> list[Any]:
    """A plotly scalar or array option for each of n points."""
    if isinstance(value, str | int | float) or value is None:
        return [value] * n
    given = values(value)
    return given + given[-1:] * (n - len(given))


def _trace(trace: Mapping[str, Any], x: _Axis, y: _Axis, below: Points) -> tuple[str, Points]:
    """Marks of a trace, and its points for the fill of the next one."""
    kind = trace.get("type", "scatter")
    if kind == "bar":
        return f"<g{_alpha(trace)}>{_bars(trace, x, y)}</g>", below
    if kind in {"heatmap", "contour"}:
        return _heat(trace, x, y), below
    if kind not in _DRAWN:
        return "", below
    ys = values(trace.get("y"))
    xs = values(trace.get("x")) or list(range(len(ys)))
    points = [(x(a), y(b)) for a, b in zip(xs, ys, strict=False)]
    mode = trace.get("mode") or "lines+markers"
    line, marker = trace.get("line") or {}, trace.get("marker") or {}
    color = _color(line.get("color") or marker.get("color"))
    out = []
    if fill := trace.get("fill"):
        outline = _path(points, line.get("shape", "linear"))
        if fill == "tonexty" and below:
            outline += _path(below[::-1]).replace("M", "L", 1)
        elif fill == "tozeroy":
            floor = y(0.0) if not y.categories else y.start
            outline += f"V{floor:.1f}H{points[0][0]:.1f}" if points else ""
        out.append(f'<path d="{outline}Z" fill="{_color(trace.get("fillcolor"), color)}" stroke="none"/>')
    if "lines" in mode and line.get("width") != 0:
        out.append(
            f'<path d="{_path(points, line.get("shape", "linear"))}" fill="none" stroke="{color}" '
            f'stroke-width="{line.get("width") or 2:g}"{_dashes(line)}/>'
        )
    for side, axis in (("x", x), ("y", y)):
        out.append(_errors(trace.get(f"error_{side}") or {}, side, xs if side == "x" else ys, points, axis, color))
    if "markers" in mode:
        out.append(_markers(marker, points, color))
    if "text" in mode:
        at = str(trace.get("textposition") or "middle center")
        dy = -9 if "top" in at else 16 if "bottom" in at else 4
        dx, anchor = (8, "start") if "right" in at else (-8, "end") if "left" in at else (0, "middle")
        for (px, py), word in zip(points, _each(trace.get("text"), len(points)), strict=True):
            if math.isfinite(px) and math.isfinite(py) and word:
                out.append(f'<text x="{px + dx:.1f}" y="{py + dy:.1f}" text-anchor="{anchor}">{_plain(word)}</text>')
    return f"<g{_alpha(trace)}>{''.join(out)}</g>", points


def _errors(bars: Mapping[str, Any], side: str, centre: Sequence[Any], points: Points, axis: _Axis, color: str) -> str:
    plus = values(bars.get("array"))
    if not plus or bars.get("visible") is False:
        return ""
    minus = values(bars.get("arrayminus")) or plus
    out = []
    for (px, py), value, up, down in zip(points, centre, plus, minus, strict=False):
        if up is None or down is None or not isinstance(value, int | float):
            continue
        a, b = axis(value - down), axis(value + up)
        if all(map(math.isfinite, (px, py, a, b))):
            out.append(f"M{a:.1f} {py:.1f}H{b:.1f}" if side == "x" else f"M{px:.1f} {a:.1f}V{b:.1f}")
    width = bars.get("thickness", 1.5)
    return f'<path d="{"".join(out)}" stroke="{_color(bars.get("color"), color)}" stroke-width="{width:g}" fill="none"/>'


_STAR = [(math.sin(i * math.pi / 5) * r, -math.cos(i * math.pi / 5) * r) for i, r in enumerate([1.25, 0.5] * 5)]
_SHAPES: dict[str, Sequence[tuple[float, float]]] = {
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "diamond": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
    "triangle-up": [(0, -1.1), (1.1, 0.85), (-1.1, 0.85)],
    "triangle-down": [(0, 1.1), (1.1, -0.85), (-1.1, -0.85)],
    "hexagon": [(math.cos(i * math.pi / 3 + math.pi / 6), math.sin(i * math.pi / 3 + math.pi / 6)) for i in range(6)],
    "bowtie": [(-1, -1), (0, 0), (1, -1), (1, 1), (0, 0), (-1, 1)],
    "star": _STAR,
    "cross": [
        (-0.35, -1), (0.35, -1), (0.35, -0.35), (1, -0.35), (1, 0.35), (0.35, 0.35),
        (0.35, 1), (-0.35, 1), (-0.35, 0.35), (-1, 0.35), (-1, -0.35), (-0.35, -0.35),
    ],
}  # fmt: skip
_SHAPES["x"] = [((a - b) * 0.71, (a + b) * 0.71) for a, b in _SHAPES["cross"]]


def _markers(marker: Mapping[str, Any], points: Points, color: str) -> str:
    n = len(points)
    out = []
    sizes, symbols, colors = (_each(marker.get(key), n) for key in ("size", "symbol", "color"))
    edge = marker.get("line") or {}
    for (px, py), size, symbol, fill in zip(points, sizes, symbols, colors, strict=True):
        if not (math.isfinite(px) and math.isfinite(py)):
            continue
        radius = (size if isinstance(size, int | float) else 6) / 2
        name = str(symbol or "circle")
        paint = _color(fill, color)
        if name.endswith("-open"):
            name, style = (
                name.removesuffix("-open"),
                f'fill="none" stroke="{paint}" stroke-width="{edge.get("width") or 1.5:g}"',
            )
        else:
            rim = f' stroke="{_color(edge.get("color"), paint)}" stroke-width="{edge["width"]:g}"' if edge.get("width") else ""
            style = f'fill="{paint}"{rim}'
        if name in _SHAPES:
            corners = " ".join(f"{px + a * radius:.1f},{py + b * radius:.1f}" for a, b in _SHAPES[name])
            out.append(f'<polygon points="{corners}" {style}/>')
        else:
            out.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius:.1f}" {style}/>')
    return f"<g{_alpha(marker)}>{''.join(out)}</g>"


def _bars(trace: Mapping[str, Any], x: _Axis, y: _Axis) -> str:
    flat = trace.get("orientation") == "h"
    at, size = (values(trace.get("y")), values(trace.get("x"))) if flat else (values(trace.get("x")), values(trace.get("y")))
    n = len(at)
    along, across = (x, y) if flat else (y, x)
    marker = trace.get("marker") or {}
    colors, bases, widths = _each(marker.get("color"), n), _each(trace.get("base"), n), _each(trace.get("width"), n)
    pitch = min((abs(across(b) - across(a)) for a, b in itertools.pairwise(at)), default=abs(across.end - across.start) / 2)
    edge = marker.get("line") or {}
    rim = f' stroke="{_color(edge.get("color"))}" stroke-width="{edge["width"]:g}"' if edge.get("width") else ""
    out = []
    for where, length, color, base, width in zip(at, size, colors, bases, widths, strict=True):
        centre = across(where)
        half = abs(across(where + width) - centre) / 2 if isinstance(width, int | float) and not across.categories else pitch * 0.4
        a, b = along(base or 0.0), along((base or 0.0) + (length or 0.0))
        if not all(map(math.isfinite, (a, b, centre))):
            continue
        near, span = min(a, b), abs(b - a)
        box = (near, centre - half, span, 2 * half) if flat else (centre - half, near, 2 * half, span)
        out.append('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"'.format(*box) + f' fill="{_color(color)}"{rim}/>')
    return f"<g{_alpha(marker)}>{''.join(out)}</g>"


def _heat(trace: Mapping[str, Any], x: _Axis, y: _Axis, most: int = 64) -> str:
    """A heat map, thinned to at most ``most`` cells a side."""
    grid = np.array(values(trace.get("z")), dtype=float)
    if grid.ndim != 2 or not grid.size:
        return ""
    xs = values(trace.get("x")) or list(range(grid.shape[1]))
    ys = values(trace.get("y")) or list(range(grid.shape[0]))
    columns = np.unique(np.linspace(0, grid.shape[1] - 1, min(most, grid.shape[1])).round().astype(int))
    rows = np.unique(np.linspace(0, grid.shape[0] - 1, min(most, grid.shape[0])).round().astype(int))
    low, high = trace.get("zmin", np.nanmin(grid)), trace.get("zmax", np.nanmax(grid))
    scale = trace.get("colorscale")
    stops = [(float(a), c) for a, c in scale] if isinstance(scale, list) else [(0.0, "#f2f4f7"), (1.0, "#4159df")]
    px, py = [x(xs[c]) for c in columns], [y(ys[r]) for r in rows]
    w = abs(px[-1] - px[0]) / max(len(px) - 1, 1) + 0.6
    h = abs(py[-1] - py[0]) / max(len(py) - 1, 1) + 0.6
    out = []
    for r, cy in zip(rows, py, strict=True):
        for c, cx in zip(columns, px, strict=True):
            value = grid[r, c]
            if not math.isfinite(value):
                continue
            share = min(max((value - low) / ((high - low) or 1), 0), 1)
            color = min(stops, key=lambda stop: abs(stop[0] - share))[1] if len(stops) > 2 else _blend(stops, share)
            place = f'x="{cx - w / 2:.1f}" y="{cy - h / 2:.1f}" width="{w:.1f}" height="{h:.1f}"'
            out.append(f'<rect {place} fill="{_color(color)}"/>')
    return "".join(out)


def _blend(stops: Sequence[tuple[float, str]], share: float) -> str:
    ends = [
        [int(color[i : i + 2], 16) for i in (1, 3, 5)] if re.fullmatch(r"#[0-9a-fA-F]{6}", color) else [125, 132, 142] for _, color in stops
    ]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(ends[0], ends[-1], strict=True))


def _place(value: Any, ref: Any, axes: Mapping[str, _Axis], area: _Area, vertical: bool) -> float:
    """A coordinate in pixels: in the data of an axis, as a share of it (``"x domain"``), or as a share of the plotting
    area."""
    name, _, domain = str(ref or ("y" if vertical else "x")).partition(" ")
    if name not in axes:
        return area.at(float(value), vertical)
    axis = axes[name]
    return axis.start + (axis.end - axis.start) * float(value) if domain else axis(value)


def _shape(shape: Mapping[str, Any], axes: Mapping[str, _Axis], area: _Area) -> str:
    x0, x1 = (_place(shape.get(key, 0), shape.get("xref"), axes, area, False) for key in ("x0", "x1"))
    y0, y1 = (_place(shape.get(key, 0), shape.get("yref"), axes, area, True) for key in ("y0", "y1"))
    if not all(map(math.isfinite, (x0, x1, y0, y1))):
        return ""
    line = shape.get("line") or {}
    stroke = f'stroke="{_color(line.get("color"))}" stroke-width="{line.get("width", 2):g}"{_dashes(line)}'
    alpha = f'opacity="{shape.get("opacity", 1):g}"'
    if shape.get("type") == "rect":
        fill = _color(shape.get("fillcolor"), "none")
        return f'<path d="M{x0:.1f} {y0:.1f}H{x1:.1f}V{y1:.1f}H{x0:.1f}Z" fill="{fill}" {stroke} {alpha}/>'
    return f'<path d="M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}" fill="none" {stroke} {alpha}/>'


def _annotation(note: Mapping[str, Any], axes: Mapping[str, _Axis], area: _Area) -> str:
    x = _place(note.get("x", 0.5), note.get("xref"), axes, area, False) + float(note.get("xshift") or 0)
    y = _place(note.get("y", 0.5), note.get("yref"), axes, area, True) - float(note.get("yshift") or 0)
    if not (math.isfinite(x) and math.isfinite(y)):
        return ""
    if note.get("showarrow", True):
        x, y = x + float(note.get("ax") or 0), y + float(note.get("ay") or 0)
    anchor = {"left": "start", "right": "end"}.get(str(note.get("xanchor")), "middle")
    lines = str(note.get("text") or "").split("<br>")
    over = LEADING * (len(lines) - 1)  # from the first line to the last
    y += {"top": 11, "bottom": -2 - over}.get(str(note.get("yanchor")), 4 - over / 2)
    return "".join(
        f'<text x="{x:.1f}" y="{y + LEADING * i:.1f}" text-anchor="{anchor}">{_plain(line)}</text>' for i, line in enumerate(lines)
    )


def _legend(traces: Sequence[Mapping[str, Any]], across: int) -> tuple[str, int]:
    """Swatches in rows, and the height they take."""
    named = [t for t in traces if t.get("name") and t.get("showlegend", True) is not False and t.get("type", "scatter") in _DRAWN]
    if len(named) == 1 and named[0].get("showlegend") is not True:
        return "", 0
    out, x, y = [], 0.0, 6.0
    for trace in named:
        width = 34 + 6.6 * len(_strip(trace["name"]))
        if x and x + width > across - 80:
            x, y = 0.0, y + 19
        line, marker = trace.get("line") or {}, trace.get("marker") or {}
        fill, symbol = marker.get("color"), marker.get("symbol")
        color = _color(line.get("color") or (fill if isinstance(fill, str) else None))
        mode = trace.get("mode") or "lines+markers"
        mark = ""
        if trace.get("type") == "bar":
            mark = f'<rect y="-6" width="20" height="12" fill="{color}"/>'
        elif "lines" in mode:
            mark = f'<path d="M0 0H22" stroke="{color}" stroke-width="2"{_dashes(line)}/>'
        if "markers" in mode and trace.get("type") != "bar":
            mark += _markers({"size": 8, "symbol": symbol if isinstance(symbol, str) else "circle"}, [(11, 0)], color)
        out.append(f'<g transform="translate({x:.0f},{y:.0f})">{mark}<text x="27" y="4">{_plain(trace["name"])}</text></g>')
        x += width
    return "".join(out), int(y + 12) if named else 0


def _dashes(line: Mapping[str, Any]) -> str:
    return f' stroke-dasharray="{_DASH[line["dash"]]}"' if line.get("dash") in _DASH else ""


def _alpha(options: Mapping[str, Any]) -> str:
    return f' opacity="{options["opacity"]:g}"' if isinstance(options.get("opacity"), int | float) else ""
