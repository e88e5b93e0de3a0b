// The propagation lab: the teacher's logits are divided, and the student that learned from them stands beside it.
(() => {
  "use strict";
  const { float16, uint16, stats, svg, element, source, ticks, eachFrame, settled } = window.mixkdLive;
  const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const signed = (value, digits) => (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits);
  const ROWS = [
    ["acc", "accuracy"], ["conf", "mean confidence"], ["gap", "gap"], ["ece", "ECE"], ["oe", "OE"], ["ue", "UE"], ["needs", "T* it needs"],
  ];

  function mount(root) {
    root.dataset.ready = "";
    const meta = JSON.parse(root.querySelector(".mixkd-meta").textContent), text = source(root), cache = new Map();
    const one = meta.divisors.indexOf("1");
    const state = { pupil: 0, at: one, view: "scale" };
    const pupil = () => meta.pupils[state.pupil];
    const name = (index = state.at) => meta.divisors[index];

    /** A model with its logits, decoded once. */
    function fetchModel(model) {
      if (!cache.has(model.logits)) {
        const ready = Promise.all([text(model.logits), text(model.labels)]).then(([z, y]) => ({ ...model, z: float16(z), y: uint16(y) }));
        ready.catch(() => cache.delete(model.logits));
        cache.set(model.logits, ready);
      }
      return cache.get(model.logits);
    }
    const measure = (model, T) => ({ ...stats(model.z, model.y, model.n, model.k, meta.bins, T), needs: model.temperature / T });

    // ---- page
    root.querySelector(".mixkd-fallback").hidden = true;
    root.style.setProperty("--a", meta.studentColor);
    const ui = element(root, "div", { class: "mixkd-propagation" });
    const bar = element(ui, "div", { class: "mixkd-bar-of-choices" });
    const seedLabel = element(bar, "label");
    element(seedLabel, "span", {}, "seed");
    const seeds = element(seedLabel, "select", { "data-choice": "seed" });
    meta.pupils.forEach((p, i) => element(seeds, "option", { value: i }, p.seed));
    seeds.disabled = meta.pupils.length < 2;
    seeds.addEventListener("change", () => { state.pupil = +seeds.value; refresh(); });
    const views = element(bar, "div", { class: "mixkd-views", role: "group", "aria-label": "what the teacher's logits are divided by" });
    const buttons = {};
    for (const [view, words] of [["scale", "one number for all images"], ["image", "one for each image (control)"]]) {
      buttons[view] = element(views, "button", { type: "button", "data-view": view }, words);
      buttons[view].addEventListener("click", () => { state.view = view; refresh(); });
    }
    views.hidden = !meta.pupils.some((p) => p.control);

    const scaleView = element(ui, "div");
    const knob = element(scaleView, "div", { class: "mixkd-knob" });
    const slider = element(knob, "input", { type: "range", min: 0, max: meta.divisors.length - 1, step: 1, "aria-label": "what the teacher's logits are divided by" });
    const stops = element(knob, "div", { class: "mixkd-stops", "aria-hidden": "true" });
    meta.divisors.forEach((d) => element(stops, "span", {}, d));
    const shown = element(knob, "output", { class: "mixkd-T" });
    slider.addEventListener("input", () => { state.at = +slider.value; refresh(); });
    slider.disabled = meta.divisors.length < 2;
    const pair = element(scaleView, "div", { class: "mixkd-pair" });
    const diagrams = ["teacher", "student"].map((who) => diagram(who));
    const lower = element(scaleView, "div", { class: "mixkd-pair" });
    const scatterBox = element(lower, "div", { class: "mixkd-plot" });
    const scatter = svg(scatterBox, "svg", { class: "mixkd-diagram", role: "img" });
    const side = element(lower, "div", { class: "mixkd-side" });
    const table = element(side, "table", { class: "mixkd-numbers" }), head = element(element(table, "thead"), "tr");
    element(head, "td");
    for (const words of ["teacher", "student"]) element(head, "th", { scope: "col" }, words);
    const body = element(table, "tbody"), cells = {};
    for (const [key, words] of ROWS) {
      const line = element(body, "tr");
      element(line, "th", { scope: "row" }, words);
      cells[key] = ["teacher", "student"].map((who) => element(line, "td", { class: "mixkd-value", "data-measure": `${who}.${key}` }));
    }
    const change = element(side, "p", { class: "mixkd-note" });
    const imageView = element(ui, "div", { class: "mixkd-plot" });
    const cloud = svg(imageView, "svg", { class: "mixkd-diagram", role: "img" });
    const says = element(ui, "p", { class: "mixkd-says" });
    const live = element(ui, "p", { class: "mixkd-live", "aria-live": "polite", role: "status" });

    // ---- reliability of one model: bars are accuracy, the hatched part reaches to where confidence says it should be
    function diagram(who) {
      const box = element(pair, "div", { class: "mixkd-small" });
      element(box, "p", { class: "mixkd-small-title" }, who === "teacher" ? "the teacher, as its student met it" : "the student, on clean images");
      return { who, box, node: svg(box, "svg", { class: "mixkd-diagram", role: "img", "aria-label": `reliability diagram of the ${who}` }), last: null };
    }
    function layOut(d) {
      const W = clamp(d.box.clientWidth, 130, 360), left = 34, right = 6, top = 6, inner = W - left - right, tall = Math.min(inner, 240), H = top + tall + 34;
      d.node.replaceChildren();
      for (const [key, value] of [["viewBox", `0 0 ${W} ${H}`], ["width", W], ["height", H]]) d.node.setAttribute(key, value);
      const x = (c) => left + inner * c, y = (a) => top + tall * (1 - a), id = `hatch-${meta.name}-${d.who}`;
      const hatch = svg(svg(d.node, "defs"), "pattern", { id, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
      svg(hatch, "rect", { width: 2.4, height: 6, class: "mixkd-hatch" });
      for (const v of [0, 0.5, 1]) {
        svg(d.node, "path", { class: "mixkd-grid", d: `M${left} ${y(v)}H${W - right}M${x(v)} ${top}V${y(0)}` });
        svg(d.node, "text", { x: left - 5, y: y(v) + 4, "text-anchor": "end" }, v);
        svg(d.node, "text", { x: x(v), y: y(0) + 15, "text-anchor": v === 1 ? "end" : "middle" }, v);
      }
      svg(d.node, "text", { x: x(0.5), y: H - 4, "text-anchor": "middle" }, "confidence");
      const rects = (cls) => Array.from({ length: meta.bins }, (_, b) => svg(d.node, "rect", { class: cls, x: x(b / meta.bins) + 0.7, width: inner / meta.bins - 1.4 }));
      d.bars = rects("mixkd-bar");
      d.gaps = rects("mixkd-gap");
      d.gaps.forEach((r) => r.setAttribute("fill", `url(#${id})`));
      if (d.who === "teacher") d.bars.forEach((r) => { r.style.fill = meta.teacherColor; });
      svg(d.node, "path", { class: "mixkd-diagonal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` });
      d.y = y;
    }
    /** Bars of measured bins; on the way from an earlier measurement where t < 1. */
    function paint(d, to, from, t) {
      const most = Math.max(...to.count);
      for (let b = 0; b < meta.bins; b++) {
        const blend = (key) => (from && from.count[b] && to.count[b] ? from[key][b] + (to[key][b] - from[key][b]) * t : to[key][b]);
        const has = to.count[b] > 0, acc = d.y(blend("accuracy")), conf = d.y(blend("confidence"));
        d.bars[b].setAttribute("y", acc);
        d.bars[b].setAttribute("height", has ? d.y(0) - acc : 0);
        d.bars[b].setAttribute("fill-opacity", 0.3 + 0.6 * Math.sqrt(to.count[b] / most));
        d.gaps[b].setAttribute("y", Math.min(acc, conf));
        d.gaps[b].setAttribute("height", has ? Math.abs(acc - conf) : 0);
      }
    }

    // ---- what the student needs against what the teacher needs, all seeds; below it accuracy against the untouched teacher's
    function points() {
      return meta.pupils.flatMap((p, i) => meta.divisors.map((d, at) => ({ pupil: i, at, model: p.students[d], d: +d })).filter((q) => q.model)
        .map((q) => ({ ...q, x: p.teacher.temperature / q.d, y: q.model.temperature, gain: 100 * (q.model.accuracy - p.students["1"].accuracy) })));
    }
    let where = null;
    function drawScatter() {
      const W = clamp(scatterBox.clientWidth, 240, 420), left = 46, right = 8, top = 8, tall = 230, low = 84, gap = 14, H = top + tall + gap + low + 38;
      scatter.replaceChildren();
      for (const [key, value] of [["viewBox", `0 0 ${W} ${H}`], ["width", W], ["height", H]]) scatter.setAttribute(key, value);
      const all = points(), grow = (v, by) => [Math.min(...v) / by, Math.max(...v) * by];
      const [x0, x1] = grow(all.map((p) => p.x), 1.1).map(Math.log), [y0, y1] = grow(all.map((p) => p.y), 1.1).map(Math.log);
      const most = Math.max(meta.margin * 1.3, ...all.map((p) => Math.abs(p.gain))) * 1.1 || 1;
      const x = (v) => left + ((W - left - right) * (Math.log(v) - x0)) / (x1 - x0), y = (v) => top + tall - (tall * (Math.log(v) - y0)) / (y1 - y0);
      const base = top + tall + gap, g = (v) => base + low / 2 - (low / 2) * (v / most);
      const marks = [0.125, 0.177, 0.25, 0.35, 0.5, 0.7, 1, 1.4, 2, 2.8, 4, 5.6, 8];
      for (const v of marks) {
        if (Math.log(v) > x0 && Math.log(v) < x1) {
          svg(scatter, "path", { class: "mixkd-grid", d: `M${x(v)} ${top}V${base + low}` });
          svg(scatter, "text", { x: x(v), y: base + low + 15, "text-anchor": "middle" }, v);
        }
        if (Math.log(v) > y0 && Math.log(v) < y1) {
          svg(scatter, "path", { class: "mixkd-grid", d: `M${left} ${y(v)}H${W - right}` });
          svg(scatter, "text", { x: left - 5, y: y(v) + 4, "text-anchor": "end" }, v);
        }
      }
      const clip = svg(svg(scatter, "defs"), "clipPath", { id: `clip-${meta.name}` });
      svg(clip, "rect", { x: left, y: top, width: W - left - right, height: tall });
      svg(scatter, "path", { class: "mixkd-aim", "clip-path": `url(#clip-${meta.name})`, d: `M${x(0.02)} ${y(0.02)}L${x(50)} ${y(50)}` });
      if (meta.margin) svg(scatter, "rect", { class: "mixkd-band", x: left, width: W - left - right, y: g(meta.margin), height: g(-meta.margin) - g(meta.margin) });
      svg(scatter, "path", { class: "mixkd-grid mixkd-floor", d: `M${left} ${g(0)}H${W - right}` });
      for (const [v, words] of ticks(-most, most, 3)) svg(scatter, "text", { x: left - 5, y: g(v) + 4, "text-anchor": "end" }, words);
      svg(scatter, "text", { x: (left + W) / 2, y: H - 4, "text-anchor": "middle", class: "mixkd-title" }, "T* the teacher needs");
      svg(scatter, "text", { transform: `translate(11,${top + tall / 2}) rotate(-90)`, "text-anchor": "middle", class: "mixkd-title" }, "T* the student needs");
      svg(scatter, "text", { x: W - right - 4, y: base + 12, "text-anchor": "end" }, "accuracy − untouched, points");
      meta.pupils.forEach((p, i) => {
        const own = all.filter((q) => q.pupil === i).sort((a, b) => a.x - b.x), mine = i === state.pupil;
        const line = (of) => "M" + own.map((q) => `${x(q.x).toFixed(1)} ${of(q).toFixed(1)}`).join("L");
        for (const of of [(q) => y(q.y), (q) => g(q.gain)]) {
          svg(scatter, "path", { class: "mixkd-along", d: line(of), stroke: meta.studentColor, "stroke-opacity": mine ? 1 : 0.3, "stroke-width": mine ? 2 : 1 });
          for (const q of own) svg(scatter, "circle", { cx: x(q.x), cy: of(q), r: mine ? 4.5 : 3, fill: meta.studentColor, "fill-opacity": mine ? 1 : 0.4 });
        }
      });
      where = { x, y, g, W, H, all, rings: [0, 1].map(() => svg(scatter, "circle", { class: "mixkd-here", r: 9 })) };
      const [slope, low95, high95, n] = meta.slope;
      const words = slope === null ? "" : ` Slope ${slope.toFixed(2)}${low95 === null ? ", one seed" : `, 95 % interval ${low95.toFixed(2)} to ${high95.toFixed(2)}, ${n} seeds`}: 1 would be passed on whole, 0 not at all.`;
      scatter.setAttribute("aria-label", `temperature the student needs against temperature its teacher needs, both logarithmic, and accuracy below.${words}`);
      where.words = words;
    }
    scatter.addEventListener("click", (event) => {
      const box = scatter.getBoundingClientRect(), px = ((event.clientX - box.left) / box.width) * where.W, py = ((event.clientY - box.top) / box.height) * where.H;
      let best = null, least = 20;
      for (const q of where.all) for (const at of [where.y(q.y), where.g(q.gain)]) {
        const far = Math.hypot(where.x(q.x) - px, at - py);
        if (far < least) { least = far; best = q; }
      }
      if (best) { state.pupil = best.pupil; state.at = best.at; refresh(); }
    });
    scatter.style.cursor = "pointer";

    // ---- the control: log-odds of each image under a teacher whose temperature depends on the image
    function logOdds(model, factor = () => 1) {
      const out = new Float64Array(model.n), { z, k } = model;
      for (let i = 0, at = 0; i < model.n; i++, at += k) {
        let rest = 0, f = factor(i), skipped = false;
        for (let j = at; j < at + k; j++) {
          if (z[j] === 0 && !skipped) { skipped = true; continue; } // the top class, once
          rest += Math.exp(z[j] * f);
        }
        out[i] = -Math.log(Math.max(rest, 1e-300));
      }
      return out;
    }
    const confidence = (odds) => odds.reduce((sum, o) => sum + 1 / (1 + Math.exp(-o)), 0) / odds.length;
    function control([student, sibling, teacher, steeper]) {
      const n = student.n, before = logOdds(sibling), after = logOdds(student), plain = logOdds(teacher), target = confidence(plain);
      const at = (shift) => logOdds(teacher, (i) => Math.exp(steeper[i] - shift));
      let low = -3, high = 3; // the mean confidence of the teacher stays: the larger the shift, the flatter
      for (let i = 0; i < 30; i++) { const middle = (low + high) / 2; if (confidence(at(middle)) > target) low = middle; else high = middle; }
      const moved = at((low + high) / 2), order = Array.from({ length: n }, (_, i) => i).sort((a, b) => steeper[a] - steeper[b]);
      const change = after.map((o, i) => o - before[i]), own = moved.map((o, i) => o - plain[i]), groups = [];
      for (let part = 0; part < 10; part++) {
        const rows = order.slice(Math.round((part * n) / 10), Math.round(((part + 1) * n) / 10)), mean = (v) => rows.reduce((s, i) => s + v[i], 0) / rows.length;
        if (rows.length) groups.push([mean(steeper), mean(change), mean(own)]);
      }
      const mx = steeper.reduce((s, v) => s + v, 0) / n;
      const slope = (v) => {
        let sxy = 0, sxx = 0;
        for (let i = 0; i < n; i++) { sxy += (steeper[i] - mx) * v[i]; sxx += (steeper[i] - mx) ** 2; }
        return sxy / sxx;
      };
      return { steeper, change, groups, slope: slope(change), teacherSlope: slope(own) };
    }
    function drawCloud(c) {
      const W = clamp(imageView.clientWidth, 260, 748), H = 340, left = 46, right = 10, top = 10, bottom = 42;
      cloud.replaceChildren();
      for (const [key, value] of [["viewBox", `0 0 ${W} ${H}`], ["width", W], ["height", H]]) cloud.setAttribute(key, value);
      const sorted = Float64Array.from(c.change).sort(), at = (q) => sorted[Math.floor(q * (sorted.length - 1))];
      const x0 = Math.min(...c.steeper), x1 = Math.max(...c.steeper), ends = [at(0.01), at(0.99), ...c.groups.flatMap((g) => [g[1], g[2]])];
      const y0 = Math.min(...ends) - 0.1, y1 = Math.max(...ends) + 0.1;
      const x = (v) => left + ((W - left - right) * (v - x0)) / (x1 - x0 || 1), y = (v) => H - bottom - ((H - bottom - top) * (v - y0)) / (y1 - y0);
      for (const [v, words] of ticks(x0, x1, W < 480 ? 4 : 7)) {
        svg(cloud, "path", { class: "mixkd-grid", d: `M${x(v)} ${top}V${H - bottom}` });
        svg(cloud, "text", { x: x(v), y: H - bottom + 15, "text-anchor": "middle" }, words);
      }
      for (const [v, words] of ticks(y0, y1, 6)) {
        svg(cloud, "path", { class: `mixkd-grid${Math.abs(v) < 1e-9 ? " mixkd-floor" : ""}`, d: `M${left} ${y(v)}H${W - right}` });
        svg(cloud, "text", { x: left - 5, y: y(v) + 4, "text-anchor": "end" }, words);
      }
      svg(cloud, "text", { x: (left + W) / 2, y: H - 6, "text-anchor": "middle", class: "mixkd-title" }, W < 480 ? "how much steeper the teacher was" : "how much steeper the teacher was made on the image, −ln T(x)");
      svg(cloud, "text", { transform: `translate(11,${(H - bottom + top) / 2}) rotate(-90)`, "text-anchor": "middle", class: "mixkd-title" }, "change in log-odds");
      let dots = "";
      c.change.forEach((v, i) => { if (v >= y0 && v <= y1) dots += `M${x(c.steeper[i]).toFixed(1)} ${y(v).toFixed(1)}h0`; });
      svg(cloud, "path", { class: "mixkd-dust", d: dots, stroke: meta.studentColor });
      const line = (part) => "M" + c.groups.map((g) => `${x(g[0]).toFixed(1)} ${y(g[part]).toFixed(1)}`).join("L");
      svg(cloud, "path", { class: "mixkd-along", d: line(2), stroke: "var(--ink)", "stroke-dasharray": "11 5" });
      svg(cloud, "path", { class: "mixkd-along", d: line(1), stroke: meta.studentColor, "stroke-width": 2.6 });
      for (const g of c.groups) svg(cloud, "circle", { cx: x(g[0]), cy: y(g[1]), r: 5, fill: meta.studentColor });
      const [mean, low, high, n] = meta.follows;
      const over = mean === null ? "" : ` Over ${n} seed${n > 1 ? "s" : ""} the slope is ${mean.toFixed(2)}${low === null ? "" : `, 95 % interval ${low.toFixed(2)} to ${high.toFixed(2)}`}.`;
      says.textContent = `A dot is a test image: how much surer (up) the student is than its sibling whose teacher was left alone. Big dots: means of ten groups; dashed: the teacher itself. Slope of this seed: ${c.slope.toFixed(2)}, its teacher's ${c.teacherSlope.toFixed(2)}.${over}`;
      cloud.setAttribute("aria-label", says.textContent);
    }

    // ---- the present view
    let ticket = 0, shownNow = null, moving = 0;
    function refresh() {
      const mine = ++ticket, p = pupil(), image = state.view === "image" && Boolean(p.control);
      for (const view of ["scale", "image"]) buttons[view].setAttribute("aria-pressed", String((view === "image") === image));
      buttons.image.disabled = !p.control;
      scaleView.hidden = image;
      imageView.hidden = !image;
      seeds.value = state.pupil;
      if (!p.students[name()]) state.at = one;
      slider.value = state.at;
      slider.setAttribute("aria-valuetext", `teacher's logits divided by ${name()}`);
      shown.textContent = `teacher’s logits ÷ ${name()}`;
      const fail = (error) => { if (mine === ticket) says.textContent = live.textContent = `${error.message}.`; };
      if (image) {
        const c = p.control, steeper = text(c.steeper).then(float16);
        Promise.all([fetchModel(c), fetchModel(p.students["1"]), fetchModel(p.teacher), steeper]).then((found) => {
          if (mine !== ticket) return;
          root.mixkd.control = control(found);
          drawCloud(root.mixkd.control);
        }, fail);
        return;
      }
      Promise.all([fetchModel(p.teacher), fetchModel(p.students[name()])]).then(([teacher, student]) => { if (mine === ticket) show(teacher, student); }, fail);
    }
    function show(teacher, student) {
      const now = [measure(teacher, +name()), { ...measure(student, 1) }], before = shownNow;
      if (!diagrams[0].bars || diagrams[0].wide !== pair.clientWidth) diagrams.forEach((d) => { layOut(d); d.wide = pair.clientWidth; });
      drawScatter();
      const here = where.all.find((q) => q.pupil === state.pupil && q.at === state.at);
      where.rings.forEach((ring, i) => ring.setAttribute("transform", `translate(${where.x(here.x)},${i ? where.g(here.gain) : where.y(here.y)})`));
      for (const [key] of ROWS) now.forEach((s, i) => { cells[key][i].textContent = key === "gap" ? signed(s.gap, 4) : s[key].toFixed(key === "needs" ? 2 : 4); });
      change.textContent = name() === "1"
        ? "The teacher as trained. Its accuracy never moves: dividing logits changes no decision."
        : `Against the student of the untouched teacher: accuracy ${signed(here.gain, 2)} points${meta.margin ? ` (within ± ${+meta.margin.toFixed(2)} counts as none)` : ""}.`;
      says.textContent = `Pale: the other seeds. On the dotted line a student needs just the temperature its teacher needs.${where.words}`;
      cancelAnimationFrame(moving);
      shownNow = now;
      const draw = (t) => diagrams.forEach((d, i) => paint(d, now[i], before && before[i], t));
      if (!before || calm()) draw(1);
      else {
        const start = performance.now(), step = (time) => {
          const t = Math.min((time - start) / 300, 1);
          draw(1 - (1 - t) ** 3);
          if (t < 1) moving = requestAnimationFrame(step);
        };
        moving = requestAnimationFrame(step);
      }
      settle(now);
    }
    const settle = settled(([t, s]) => {
      live.textContent = `Divided by ${name()}: teacher confidence ${t.conf.toFixed(3)}, ECE ${t.ece.toFixed(3)}; student confidence ${s.conf.toFixed(3)}, ECE ${s.ece.toFixed(3)}, accuracy ${s.acc.toFixed(3)}.`;
      for (const d of meta.divisors) if (pupil().students[d]) fetchModel(pupil().students[d]).catch(() => {}); // the next steps of the slider
    });

    root.mixkd = {
      state: () => ({ ...state, divisor: name(), seed: pupil().seed }),
      stats: () => shownNow,
      set: (divisor) => { state.at = meta.divisors.indexOf(divisor); refresh(); },
    };
    let wide = 0;
    const again = eachFrame(refresh);
    new ResizeObserver(() => {
      if (root.clientWidth === wide) return;
      wide = root.clientWidth;
      again();
    }).observe(root);
  }

  document.querySelectorAll(".mixkd-lab[data-lab=propagation]:not([data-ready])").forEach(mount);
})();
