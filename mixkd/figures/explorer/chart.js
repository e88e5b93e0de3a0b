// What charts in SVG share: sizes, grids, the bars of a reliability diagram, markers.
window.mixkdChart = window.mixkdChart || (() => {
  "use strict";
  const { set, svg, number } = window.mixkdLive;

  /** Empty an SVG and give it a size in px. */
  function blank(node, width, height) {
    node.replaceChildren();
    return set(node, { viewBox: `0 0 ${width} ${height}`, width, height });
  }
  /** Add vertical grid lines at [value, label, text-anchor]. */
  function gridX(node, values, x, top, floor, below = floor + 15) {
    for (const [value, words, anchor = "middle"] of values) {
      svg(node, "path", { class: "mixkd-grid", d: `M${x(value)} ${top}V${floor}` });
      svg(node, "text", { x: x(value), y: below, "text-anchor": anchor }, words);
    }
  }
  /** Add horizontal grid lines at [value, label]. */
  function gridY(node, values, y, left, right) {
    for (const [value, words] of values) {
      svg(node, "path", { class: "mixkd-grid", d: `M${left} ${y(value)}H${right}` });
      svg(node, "text", { x: left - 5, y: y(value) + 4, "text-anchor": "end" }, words);
    }
  }
  /** Add the titles of both axes. acrossAt is [x, y]; upAt is the middle of the vertical axis. */
  function titles(node, across, acrossAt, up, upAt) {
    svg(node, "text", { x: acrossAt[0], y: acrossAt[1], "text-anchor": "middle", class: "mixkd-title" }, across);
    svg(node, "text", { transform: `translate(11,${upAt}) rotate(-90)`, "text-anchor": "middle", class: "mixkd-title" }, up);
  }

  /**
   * Add the bars of a reliability diagram: each reaches to the accuracy, its hatched part to the confidence. id must be unique in the page.
   * Returns show(bin, share, confidence, accuracy), with the share relative to the fullest bin, 0 for an empty one.
   */
  function reliability(node, id, bins, x, y) {
    const hatch = svg(svg(node, "defs"), "pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    svg(hatch, "rect", { width: 2.4, height: 6, class: "mixkd-hatch" });
    const bars = columns(node, bins, x, { class: "mixkd-bar" }), gaps = columns(node, bins, x, { class: "mixkd-gap", fill: `url(#${id})` });
    svg(node, "path", { class: "mixkd-diagonal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` });
    return (bin, share, confidence, accuracy) => {
      const top = share ? y(accuracy) : y(0), claimed = share ? y(confidence) : y(0);
      set(bars[bin], { y: top, height: y(0) - top, "fill-opacity": 0.3 + 0.6 * Math.sqrt(share) }); // paler where there are few predictions
      set(gaps[bin], { y: Math.min(top, claimed), height: Math.abs(top - claimed) });
    };
  }
  /** Add a rectangle for each bin, without a height. */
  function columns(node, bins, x, attributes) {
    const wide = x(1 / bins) - x(0), room = wide > 12 ? 1 : 0.5;
    return Array.from({ length: bins }, (_, b) => svg(node, "rect", { ...attributes, x: x(b / bins) + room, width: wide - 2 * room }));
  }

  /** Path of a marker around 0,0, by plotly's name for it; a circle for names without corners. */
  function marker(name, r) {
    // corners, angle of the first, radius of every second one
    const shapes = { "triangle-up": [3, -90], "triangle-down": [3, 90], square: [4, -45], diamond: [4, -90], hexagon: [6, -90], star: [10, -90, 0.5] };
    if (!(name in shapes)) return `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`;
    const [corners, turn, inner] = shapes[name];
    const points = Array.from({ length: corners }, (_, i) => {
      const angle = ((turn + (360 / corners) * i) * Math.PI) / 180, size = inner && i % 2 ? inner * r : 1.15 * r;
      return `${(size * Math.cos(angle)).toFixed(2)} ${(size * Math.sin(angle)).toFixed(2)}`;
    });
    return `M${points.join("L")}Z`;
  }
  const DASHES = { solid: "", dot: "1.5 4", dash: "7 4", longdash: "11 5", dashdot: "7 3 1.5 3" };

  /** Round values for an axis from low to high, about `count` of them, as [value, words]. */
  function ticks(low, high, count) {
    const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
    const step = Number((power * [1, 2, 2.5, 5, 10].find((f) => f * power >= raw * 0.999)).toPrecision(2)), [, decimals = ""] = String(step).split(".");
    const out = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push([i * step, number(i * step, decimals.length)]);
    return out;
  }

  return { blank, gridX, gridY, titles, reliability, columns, marker, DASHES, ticks };
})();
