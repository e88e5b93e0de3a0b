// The trade-off lab: every model a point, settings joined along tau; a point opens its model in the temperature lab of the page.
(() => {
  "use strict";
  const { svg, element, marker, DASHES, ticks, eachFrame } = window.mixkdLive;
  const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const print = (value, signed) => (value < 0 ? "−" : signed ? "+" : "") + Math.abs(value).toFixed(4);

  function mount(root) {
    root.dataset.ready = "";
    const meta = JSON.parse(root.querySelector(".mixkd-meta").textContent);
    const column = Object.fromEntries(meta.measures.map((name, i) => [name, i]));
    const state = { cost: meta.costs[0][0], after: false, zoom: false, shift: 0, at: null, opened: null };
    readHash();
    state.shift = state.after ? 1 : 0;

    // ---- page
    root.querySelector(".mixkd-fallback").hidden = true;
    const ui = element(root, "div", { class: "mixkd-tradeoff" });
    const bar = element(ui, "div", { class: "mixkd-bar-of-choices" });
    const label = element(bar, "label");
    element(label, "span", {}, "calibration by");
    const select = element(label, "select", { "data-choice": "cost" });
    for (const [value, short, long] of meta.costs) element(select, "option", { value }, short === long || long.includes(short) ? long : `${short}: ${long}`);
    const after = tick("after one post-hoc temperature for each model", "after"), zoom = tick("fit the axis to the points", "zoom");
    const keys = element(ui, "ul", { class: "mixkd-keys", "aria-label": "arms" });
    for (const look of Object.values(meta.looks)) {
      const item = element(keys, "li"), glyph = svg(item, "svg", { width: 30, height: 16, viewBox: "-15 -8 30 16", "aria-hidden": "true" });
      svg(glyph, "path", { d: "M-15 0H15", stroke: look.color, "stroke-width": 2, "stroke-dasharray": DASHES[look.dash] });
      svg(glyph, "path", { d: marker(look.symbol, 6), fill: look.color });
      item.append(look.label);
    }
    const item = element(keys, "li"), glyph = svg(item, "svg", { width: 20, height: 16, viewBox: "-10 -8 20 16", "aria-hidden": "true" });
    svg(glyph, "circle", { r: 7, class: "mixkd-pareto" });
    item.append("Pareto set of the means");
    const plot = element(ui, "div", { class: "mixkd-plot" });
    const big = svg(plot, "svg", { class: "mixkd-diagram mixkd-cloud", role: "group", "aria-label":
      "accuracy against calibration, a point for each model. Left and right arrows go along τ, up and down through the seeds, page keys to another arm, Enter opens the model." });
    const says = element(ui, "p", { class: "mixkd-says" });
    const live = element(ui, "p", { class: "mixkd-live", "aria-live": "polite", role: "status" });
    const RULE = "Up is better, and so is the dotted line. Choose a point, by mouse, touch or arrow keys: it opens its model in the temperature lab.";

    function tick(words, key) {
      const box = element(bar, "label", { class: "mixkd-tick" }), input = element(box, "input", { type: "checkbox", "data-choice": key });
      element(box, "span", {}, words);
      return input;
    }
    select.value = state.cost;
    after.checked = state.after;
    select.addEventListener("change", () => { state.cost = select.value; frame(); });
    zoom.addEventListener("change", () => { state.zoom = zoom.checked; frame(); });
    after.addEventListener("change", () => { state.after = after.checked; travel(); });

    /** The points move to where the fitted temperature puts them, or back. */
    let moving = 0;
    function travel() {
      cancelAnimationFrame(moving);
      const from = state.shift, to = state.after ? 1 : 0, start = performance.now();
      const arrive = () => {
        state.shift = to;
        frame();
        live.textContent = `${state.after ? "After one post-hoc temperature" : "As trained"}: ${summary()}`;
      };
      if (calm()) { arrive(); return; }
      const step = (now) => {
        const t = Math.min((now - start) / 600, 1);
        state.shift = from + (to - from) * (t < 0.5 ? 2 * t * t : 1 - 2 * (1 - t) ** 2);
        place();
        if (t < 1) moving = requestAnimationFrame(step);
        else arrive();
      };
      moving = requestAnimationFrame(step);
    }
    function summary() {
      const short = meta.costs.find(([cost]) => cost === state.cost)[1], key = now();
      return meta.groups.map((group) => `${named(group.label)} ${short} ${print(group.values[column[key]][0])}`).join("; ") + ".";
    }
    const now = () => (state.after ? `ts_${state.cost}` : state.cost);

    // ---- where things are
    const mix = (values, pick) => {
      const one = pick(values[column[state.cost]]), other = pick(values[column[`ts_${state.cost}`]]);
      return one === null || other === null ? null : one + (other - one) * state.shift;
    };
    const seedAt = (index) => [mix(meta.points[index].values, (v) => v), meta.points[index].values[0]];
    const meanAt = (group, part = 0) => [mix(group.values, (v) => v[part]), group.values[0][part]];
    function domain(values, share) {
      const low = Math.min(...values), high = Math.max(...values), room = (high - low) * share || 0.01;
      return [low - room, high + room];
    }

    let parts = null, scale = null, below = new Set();
    function frame() {
      const W = Math.min(Math.max(plot.clientWidth, 260), 748), H = Math.round(Math.min(Math.max(W * 0.62, 300), 430));
      const left = 52, right = 14, top = 10, bottom = 46, signed = state.cost === "gap";
      const columns = state.zoom ? [now()] : [state.cost, `ts_${state.cost}`];
      const xs = columns.flatMap((name) => meta.points.map((p) => p.values[column[name]])
        .concat(meta.groups.flatMap((g) => g.values[column[name]].filter((v) => v !== null)), signed ? [0] : []));
      const ys = meta.points.map((p) => p.values[0]).concat(meta.groups.flatMap((g) => g.values[0].filter((v) => v !== null)));
      const [x0, x1] = domain(signed ? xs : xs.concat(state.cost === "nll" ? [] : [0]), 0.05), [y0, y1] = domain(ys, 0.08);
      const low = signed || state.cost === "nll" ? x0 : Math.max(x0, -0.02 * (x1 - x0));
      scale = { x: (v) => left + ((W - left - right) * (v - low)) / (x1 - low), y: (v) => H - bottom - ((H - bottom - top) * (v - y0)) / (y1 - y0), W, H };
      const { x, y } = scale;
      big.setAttribute("viewBox", `0 0 ${W} ${H}`);
      big.setAttribute("width", W);
      big.setAttribute("height", H);
      const focused = big.contains(document.activeElement);
      big.replaceChildren();
      for (const [v, words] of ticks(low, x1, W < 480 ? 4 : 7)) {
        svg(big, "path", { class: "mixkd-grid", d: `M${x(v)} ${top}V${H - bottom}` });
        svg(big, "text", { x: x(v), y: H - bottom + 16, "text-anchor": "middle" }, words);
      }
      for (const [v, words] of ticks(y0, y1, 6)) {
        svg(big, "path", { class: "mixkd-grid", d: `M${left} ${y(v)}H${W - right}` });
        svg(big, "text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, words);
      }
      if (signed) svg(big, "path", { class: "mixkd-aim", d: `M${x(0)} ${top}V${H - bottom}` });
      const title = meta.costs.find(([cost]) => cost === state.cost)[2];
      svg(big, "text", { x: (left + W - right) / 2, y: H - 8, "text-anchor": "middle", class: "mixkd-title" }, `${title}${state.after ? ", after scaling" : ""}`);
      svg(big, "text", { transform: `translate(12,${(top + H - bottom) / 2}) rotate(-90)`, "text-anchor": "middle", class: "mixkd-title" }, "accuracy");
      if (signed && W > 430) {
        svg(big, "text", { x: x(0) - 8, y: H - bottom - 6, "text-anchor": "end" }, "← underconfident");
        svg(big, "text", { x: x(0) + 8, y: H - bottom - 6 }, "overconfident →");
      }
      // Lines first, then seeds, then means: what matters most lies on top.
      const lines = new Map();
      for (const group of meta.groups) {
        const key = group.line.map((field) => group.label[field]).join("~");
        if (!lines.has(key)) lines.set(key, []);
        lines.get(key).push(group);
      }
      below = new Set(Object.keys(meta.looks).filter((_, i, looks) => (looks.length - i) % 2 === 0)); // so that numbers of neighbours part
      parts = { lines: [], dots: [], means: [], rings: [] };
      for (const groups of lines.values()) {
        const look = meta.looks[groups[0].label.arm];
        parts.lines.push([groups, svg(big, "path", { class: "mixkd-along", stroke: look.color, "stroke-dasharray": DASHES[look.dash] })]);
      }
      const best = new Set(meta.pareto[now()]);
      meta.groups.forEach((group, g) => {
        const look = meta.looks[group.label.arm];
        for (const index of group.seeds) {
          const node = svg(big, "circle", { class: "mixkd-seed", r: 4, fill: look.color, ...role(`${named(meta.points[index].label)}: ${figures(meta.points[index].values)}`) });
          parts.dots.push({ node, group: g, index });
        }
      });
      meta.groups.forEach((group, g) => {
        const look = meta.looks[group.label.arm], holder = svg(big, "g", { class: "mixkd-mean" });
        const bars = svg(holder, "path", { class: "mixkd-interval", stroke: look.color });
        if (best.has(g)) parts.rings.push([group, svg(holder, "circle", { r: 13, class: "mixkd-pareto" })]);
        const words = `${named(group.label)}, mean of ${group.seeds.length}: ${figures(group.values.map((v) => v[0]))}`;
        const node = svg(holder, "path", { d: marker(look.symbol, 7.5), fill: look.color, class: "mixkd-mean-mark", ...role(words) });
        const text = group.label.tau === "–" ? null : svg(holder, "text", { class: "mixkd-tau" }, group.label.tau);
        parts.means.push({ node, text, bars, group: g, index: null });
      });
      parts.ring = svg(big, "circle", { class: "mixkd-here", r: 11 });
      parts.open = svg(big, "circle", { class: "mixkd-opened", r: 11 });
      place();
      point(state.at || { group: 0, index: null }, focused);
      if (!focused) says.textContent = RULE;
    }
    function role(words) {
      return { role: "button", tabindex: -1, "aria-label": `${words}. Opens it in the temperature lab` };
    }
    function named(label) {
      const words = { arm: meta.looks[label.arm].label, tau: label.tau === "–" ? "" : `τ ${label.tau}`, seed: label.seed === undefined ? "" : `seed ${label.seed}` };
      return Object.keys(label).map((f) => (f in words ? words[f] : label[f] === "–" ? "" : `${f} ${label[f]}`)).filter(Boolean).join(", ");
    }
    function figures(values) {
      const short = meta.costs.find(([cost]) => cost === state.cost)[1];
      return `accuracy ${print(values[0])}, ${short} ${print(values[column[now()]], state.cost === "gap")}${state.after ? " after scaling" : ""}`;
    }

    /** Move everything to where it is now. */
    function place() {
      const { x, y } = scale, at = ([a, b]) => `translate(${x(a).toFixed(1)},${y(b).toFixed(1)})`;
      for (const [groups, node] of parts.lines) node.setAttribute("d", "M" + groups.map((g) => { const [a, b] = meanAt(g); return `${x(a).toFixed(1)} ${y(b).toFixed(1)}`; }).join("L"));
      for (const { node, index } of parts.dots) node.setAttribute("transform", at(seedAt(index)));
      for (const [group, node] of parts.rings) node.setAttribute("transform", at(meanAt(group)));
      for (const { node, text, bars, group } of parts.means) {
        const own = meta.groups[group], [a, b] = meanAt(own), low = meanAt(own, 1), high = meanAt(own, 2);
        node.setAttribute("transform", at([a, b]));
        bars.setAttribute("d", low[0] === null ? "" : `M${x(low[0])} ${y(b)}H${x(high[0])}M${x(a)} ${y(low[1])}V${y(high[1])}`);
        if (text) { text.setAttribute("x", x(a) + 10); text.setAttribute("y", y(b) + (below.has(own.label.arm) ? 17 : -9)); }
      }
      mark(parts.ring, state.at);
      mark(parts.open, state.opened);
    }
    const where = (p) => (p.index === null ? meanAt(meta.groups[p.group]) : seedAt(p.index));
    function mark(ring, p) {
      ring.style.display = p ? "" : "none";
      if (p) ring.setAttribute("transform", `translate(${where(p).map((v, i) => (i ? scale.y : scale.x)(v)).join(",")})`);
    }

    // ---- choosing a point
    const all = () => [...parts.means, ...parts.dots];
    const same = (p, q) => p && q && p.group === q.group && p.index === q.index;
    function point(p, focus) {
      state.at = focus || state.at ? { group: p.group, index: p.index } : null;
      for (const other of all()) other.node.setAttribute("tabindex", same(other, p) ? 0 : -1);
      mark(parts.ring, state.at);
      const found = all().find((other) => same(other, p));
      if (focus) found.node.focus({ preventScroll: true });
      if (state.at) says.textContent = `${found.node.getAttribute("aria-label").replace(/\. Opens.*/, "")}. ${p.index === null ? "Enter or a click opens the seed nearest to this mean." : "Enter or a click opens it."}`;
    }
    function nearest(event) {
      const box = big.getBoundingClientRect(), px = ((event.clientX - box.left) / box.width) * scale.W, py = ((event.clientY - box.top) / box.height) * scale.H;
      let best = null, least = 26;
      for (const p of all()) {
        const [a, b] = where(p), d = Math.hypot(scale.x(a) - px, scale.y(b) - py) - (p.index === null ? 4 : 0); // a mean is easier to hit
        if (d < least) { least = d; best = p; }
      }
      return best;
    }
    const hover = eachFrame(() => { if (hovered) { state.at = state.at || {}; point(hovered, false); } });
    let hovered = null;
    big.addEventListener("pointermove", (event) => { hovered = nearest(event); big.style.cursor = hovered ? "pointer" : ""; hover(); });
    big.addEventListener("click", (event) => {
      const fromKeys = event.detail === 0 && event.target.getAttribute("role") === "button"; // a screen reader presses the element itself
      const p = fromKeys ? all().find((other) => other.node === event.target) : nearest(event);
      if (p) { point(p, true); show(p); }
    });
    // On the box around it: an SVG that listens for focus becomes a stop of the tab key of its own.
    plot.addEventListener("focusin", (event) => {
      const p = all().find((other) => other.node === event.target);
      if (p && !same(p, state.at)) { state.at = {}; point(p, false); }
    });
    plot.addEventListener("keydown", (event) => {
      const p = all().find((other) => other.node === event.target);
      if (!p) return;
      const line = (g) => meta.groups[g].line.map((f) => meta.groups[g].label[f]).join("~");
      const mine = meta.groups.map((_, g) => g).filter((g) => line(g) === line(p.group)), own = [null, ...meta.groups[p.group].seeds];
      const rank = own.indexOf(p.index), seed = p.index === null ? null : meta.points[p.index].label.seed;
      const step = (list, item, by) => list[Math.min(Math.max(list.indexOf(item) + by, 0), list.length - 1)];
      let next = null;
      if (event.key === "Enter" || event.key === " ") { event.preventDefault(); show(p); return; }
      if (event.key === "ArrowUp" || event.key === "ArrowDown") next = { group: p.group, index: own[Math.min(Math.max(rank + (event.key === "ArrowDown" ? 1 : -1), 0), own.length - 1)] };
      const to = { ArrowLeft: () => step(mine, p.group, -1), ArrowRight: () => step(mine, p.group, 1), Home: () => mine[0], End: () => mine[mine.length - 1],
        PageDown: () => other(1), PageUp: () => other(-1) }[event.key];
      function other(by) {
        const kinds = [...new Set(meta.groups.map((_, g) => line(g)))], kind = step(kinds, line(p.group), by);
        return kind === line(p.group) ? p.group : meta.groups.findIndex((_, g) => line(g) === kind);
      }
      if (to) {
        const group = to(), index = meta.groups[group].seeds.find((i) => seed !== null && meta.points[i].label.seed === seed);
        next = { group, index: index === undefined ? null : index };
      }
      if (next) { event.preventDefault(); point(next, true); }
    });

    /** Open a point in the temperature lab: a seed itself, for a mean the seed nearest to it. */
    function show(p) {
      const index = p.index !== null ? p.index : closest(p.group), model = meta.points[index].label;
      const lab = document.querySelector(`.mixkd-lab[data-lab=temperature][data-name="${meta.opens}"]`);
      const shown = Boolean(lab && lab.mixkd && lab.mixkd.open(model, { temperature: state.after ? "best" : 1 }));
      state.opened = shown ? { group: p.group, index } : state.opened;
      mark(parts.open, state.opened);
      says.textContent = shown ? `${named(model)} is open in the temperature lab.` : `${named(model)}: ${figures(meta.points[index].values)}. There is no temperature lab here to open it in.`;
      live.textContent = says.textContent;
    }
    function closest(group) {
      const [a, b] = meanAt(meta.groups[group]), far = (i) => { const [c, d] = seedAt(i); return Math.hypot(scale.x(c) - scale.x(a), scale.y(d) - scale.y(b)); };
      return meta.groups[group].seeds.reduce((best, i) => (far(i) < far(best) ? i : best));
    }

    /** The view may be asked for in the address: #name.x=oe&name.after=1. */
    function readHash() {
      const asked = new URLSearchParams(location.hash.slice(1));
      if (meta.costs.some(([cost]) => cost === asked.get(`${meta.name}.x`))) state.cost = asked.get(`${meta.name}.x`);
      if (asked.has(`${meta.name}.after`)) state.after = asked.get(`${meta.name}.after`) === "1";
      if (asked.has(`${meta.name}.x`) || asked.has(`${meta.name}.after`)) requestAnimationFrame(() => root.scrollIntoView({ block: "start" }));
    }
    window.addEventListener("hashchange", () => {
      if (!location.hash.includes(`${meta.name}.`)) return;
      readHash();
      select.value = state.cost;
      after.checked = state.after;
      state.shift = state.after ? 1 : 0;
      frame();
    });

    root.mixkd = { state: () => ({ ...state }), at: (index) => seedAt(index), show }; // for tests
    let wide = 0;
    new ResizeObserver(() => {
      if (plot.clientWidth === wide) return;
      wide = plot.clientWidth;
      frame();
    }).observe(root);
    frame();
  }

  document.querySelectorAll(".mixkd-lab[data-lab=tradeoff]:not([data-ready])").forEach(mount);
})();
