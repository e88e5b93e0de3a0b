// The temperature lab: post-hoc temperature moves, everything measured on stored logits follows. One model, or two compared.
(() => {
  "use strict";
  const { float16, uint16, stats, svg, element, source, eachFrame, choose, offered, options, settled } = window.mixkdLive;
  const LOW = -2, HIGH = 2, THUMB = 10; // log2 of the temperature; half of the slider's thumb in px
  const ROWS = [
    ["acc", "accuracy", "share of right predictions"], ["conf", "confidence", "mean confidence in the predicted class"], ["gap", "gap", "confidence − accuracy"], ["ece", "ECE", "expected calibration error"],
    ["oe", "OE", "overconfidence error"], ["ue", "UE", "underconfidence error"], ["nll", "NLL", "negative log-likelihood, nats"],
  ];
  const print = (value, signed) => (signed && value >= 0 ? "+" : value < 0 ? "−" : "") + Math.abs(value).toFixed(4);
  const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);

  function mount(root) {
    root.dataset.ready = "";
    const meta = JSON.parse(root.querySelector(".mixkd-meta").textContent);
    const cache = new Map(), text = source(root);

    /** A model with its logits; decoded once. */
    function fetchModel(index) {
      if (!cache.has(index)) {
        const m = meta.models[index];
        const ready = Promise.all([text(m.logits), text(m.labels)]).then(([z, y]) => ({ ...m, index, z: float16(z), y: uint16(y) }));
        ready.catch(() => cache.delete(index)); // so that the next choice tries again
        cache.set(index, ready);
      }
      return cache.get(index);
    }
    const measure = (model, T) => stats(model.z, model.y, model.n, model.k, meta.bins, T);

    // ---- state: what is chosen. a and b are indices of models; bAt says at which temperature b is shown.
    const state = { a: 0, b: Math.min(1, meta.models.length - 1), compare: false, T: 1, bAt: "same" };
    let A = null, B = null, touched = false;
    const bTemperature = () => ({ same: state.T, one: 1, best: B ? B.temperature : 1 })[state.bAt];
    readHash();

    // ---- page
    root.querySelector(".mixkd-fallback").hidden = true;
    const ui = element(root, "div", { class: "mixkd-ui" });
    const choices = element(ui, "div", { class: "mixkd-choices" });
    const rowA = chooser("a", "A"), rowB = chooser("b", "B");
    const plot = element(ui, "div", { class: "mixkd-plot" });
    const side = element(ui, "div", { class: "mixkd-side" });
    const knob = element(ui, "div", { class: "mixkd-knob" });
    const live = element(ui, "p", { class: "mixkd-live", "aria-live": "polite", role: "status" });

    function chooser(which, letter) {
      const row = element(choices, "fieldset", { class: `mixkd-choice mixkd-${which}` });
      element(row, "legend", {}, `model ${letter}`);
      const selects = meta.fields.map((field) => {
        const label = element(row, "label");
        element(label, "span", {}, meta.names[field] || field);
        const select = element(label, "select", { "data-field": field });
        select.addEventListener("change", () => pick(which, field, select.value));
        return select;
      });
      return { row, selects };
    }
    if (meta.models.length > 1) {
      const label = element(rowA.row, "label", { class: "mixkd-tick" });
      const tick = element(label, "input", { type: "checkbox" });
      element(label, "span", {}, "compare with B");
      tick.addEventListener("change", () => { state.compare = tick.checked; touched = true; refresh(); });
      rowA.tick = tick;
      const at = element(rowB.row, "label");
      element(at, "span", {}, "B at");
      rowB.at = element(at, "select", { "aria-label": "temperature of model B" });
      for (const [value, words] of [["same", "the same T"], ["one", "T = 1"], ["best", "its own T*"]]) element(rowB.at, "option", { value }, words);
      rowB.at.addEventListener("change", () => { state.bAt = rowB.at.value; touched = true; draw(); });
    }

    function pick(which, field, value) {
      state[which] = choose(meta.models, meta.fields, meta.models[state[which]].label, field, value);
      touched = true;
      refresh();
    }

    /** Each select offers what exists given the fields before it. */
    function fill({ selects }, index) {
      const chosen = meta.models[index].label;
      meta.fields.forEach((field, f) => options(selects[f], offered(meta.models, meta.fields, chosen, field), meta.words[field], chosen[field]));
    }

    // ---- the table of figures
    const table = element(side, "table", { class: "mixkd-numbers" });
    const head = element(element(table, "thead"), "tr");
    element(head, "td");
    const headA = element(head, "th", { scope: "col" }), headB = element(head, "th", { scope: "col" });
    const body = element(table, "tbody"), cells = {};
    for (const [key, words, title] of ROWS) {
      const line = element(body, "tr"), name = element(line, "th", { scope: "row" }, words);
      if (title) name.title = title;
      cells[key] = [element(line, "td", { class: "mixkd-value", "data-measure": key }), element(line, "td", { class: "mixkd-second" })];
    }
    const note = element(side, "p", { class: "mixkd-note" });
    let chance = null;

    // ---- slider, with the curves of NLL and ECE over its track
    const strip = svg(knob, "svg", { class: "mixkd-strip", role: "img", "aria-label": "NLL and ECE of model A over the temperature" });
    const slider = element(knob, "input", { type: "range", min: LOW, max: HIGH, step: 0.01, "aria-label": "post-hoc temperature T" });
    const buttons = element(knob, "div", { class: "mixkd-buttons" });
    const shown = element(buttons, "output", { class: "mixkd-T" });
    const reset = element(buttons, "button", { type: "button" }, "T = 1");
    const goA = element(buttons, "button", { type: "button", class: "mixkd-goA" });
    const goB = element(buttons, "button", { type: "button", class: "mixkd-goB" });
    const link = element(buttons, "a", { class: "mixkd-link", href: "#" }, "link to this view");
    slider.addEventListener("input", () => { touched = true; state.T = 2 ** +slider.value; schedule(); });
    reset.addEventListener("click", () => glide(1));
    goA.addEventListener("click", () => glide(A.temperature));
    goB.addEventListener("click", () => glide(B.temperature));
    reset.setAttribute("aria-label", "reset to temperature 1");

    let gliding = 0;
    function glide(target) {
      touched = true;
      cancelAnimationFrame(gliding);
      if (calm()) { state.T = target; schedule(); return; }
      const from = Math.log(state.T), to = Math.log(target), start = performance.now();
      const step = (now) => {
        const t = Math.min((now - start) / 350, 1);
        state.T = t === 1 ? target : Math.exp(from + (to - from) * (1 - (1 - t) ** 3));
        draw();
        if (t < 1) gliding = requestAnimationFrame(step);
      };
      gliding = requestAnimationFrame(step);
    }

    const schedule = eachFrame(() => draw());

    /** Models were chosen: get them, then draw. The choice that is newest wins. */
    let ticket = 0;
    function refresh() {
      const mine = ++ticket;
      fill(rowA, state.a);
      fill(rowB, state.b);
      rowB.row.hidden = !state.compare;
      if (rowA.tick) rowA.tick.checked = state.compare;
      if (rowB.at) rowB.at.value = state.bAt;
      Promise.all([fetchModel(state.a), state.compare ? fetchModel(state.b) : null]).then(
        ([a, b]) => {
          if (mine !== ticket) return;
          if (A !== a) { A = a; A.sweep = A.sweep || sweep(A); A.native = A.native || measure(A, 1); }
          B = b;
          root.style.setProperty("--a", A.color);
          root.style.setProperty("--b", B && B.color !== A.color ? B.color : "var(--ink)");
          note.textContent = `${A.n.toLocaleString("en")} predictions${A.repeats > 1 ? `, ${A.repeats} for each image` : ""}, ${A.k} classes, ${meta.bins} bins. `;
          chance = element(note, "span");
          frame();
          draw();
        },
        (error) => { if (mine === ticket) { note.textContent = `${error.message}.`; live.textContent = note.textContent; } },
      );
    }

    /** NLL and ECE over the whole range, in slices that leave the page free to move. */
    function sweep(model) {
      const points = [], total = 81;
      const slice = () => {
        const until = performance.now() + 6;
        while (points.length < total && performance.now() < until) {
          const x = LOW + ((HIGH - LOW) * points.length) / (total - 1), s = measure(model, 2 ** x);
          points.push([x, s.nll, s.ece]);
        }
        if (points.length < total) setTimeout(slice);
        else if (model === A) curves();
      };
      setTimeout(slice);
      return points;
    }

    // ---- drawing. frame() lays out what depends on the width, draw() moves what depends on the temperature.
    const big = svg(plot, "svg", { class: "mixkd-diagram", role: "img", "aria-label": "reliability diagram above a histogram of confidence" });
    const says = element(plot, "p", { class: "mixkd-says" });
    let parts = null, geometry = null;
    const RULE = "Bars: accuracy in each bin of confidence. Hatched: the distance to the diagonal, where confidence would be right.";

    function frame() {
      const width = Math.max(plot.clientWidth, 260), W = Math.min(width, 520);
      const left = 44, right = 8, top = 8, inner = W - left - right, tall = Math.min(inner, 340), gapY = 14, low = 74;
      const H = top + tall + gapY + low + 44;
      big.setAttribute("viewBox", `0 0 ${W} ${H}`);
      big.setAttribute("width", W);
      big.setAttribute("height", H);
      big.replaceChildren();
      const x = (c) => left + inner * c, y = (a) => top + tall * (1 - a), base = top + tall + gapY + low;
      const share = (s) => base - low * Math.sqrt(s); // square root, so that a hundredth of the predictions is still seen
      const hatch = svg(svg(big, "defs"), "pattern", { id: `hatch-${meta.name}`, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
      svg(hatch, "rect", { width: 2.4, height: 6, class: "mixkd-hatch" });
      for (const v of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
        svg(big, "path", { class: "mixkd-grid", d: `M${left} ${y(v)}H${W - right}M${x(v)} ${top}V${y(0)}` });
        svg(big, "text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(1));
        svg(big, "text", { x: x(v), y: base + 16, "text-anchor": v === 1 ? "end" : "middle" }, v.toFixed(1));
      }
      for (const [v, words] of [[0.01, "1 %"], [0.1, "10 %"], [0.5, "50 %"], [1, "all"]]) {
        svg(big, "path", { class: "mixkd-grid", d: `M${left} ${share(v)}H${W - right}` });
        svg(big, "text", { x: left - 6, y: share(v) + 4, "text-anchor": "end" }, words);
      }
      svg(big, "text", { x: left + inner / 2, y: base + 36, "text-anchor": "middle", class: "mixkd-title" }, "confidence");
      svg(big, "text", { transform: `translate(11,${y(0.5)}) rotate(-90)`, "text-anchor": "middle", class: "mixkd-title" }, "accuracy");
      const bins = (make) => Array.from({ length: meta.bins }, (_, b) => make(x(b / meta.bins), x((b + 1) / meta.bins) - x(b / meta.bins)));
      const rect = (cls) => bins((bx, w) => svg(big, "rect", { class: cls, x: bx + 1, width: w - 2 }));
      parts = { bars: rect("mixkd-bar"), gaps: rect("mixkd-gap"), hist: rect("mixkd-bar") };
      parts.gaps.forEach((r) => r.setAttribute("fill", `url(#hatch-${meta.name})`));
      svg(big, "path", { class: "mixkd-diagonal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` });
      parts.outline = svg(big, "path", { class: "mixkd-outline" });
      parts.outlineHist = svg(big, "path", { class: "mixkd-outline" });
      parts.means = svg(big, "g", { class: "mixkd-means" });
      for (const name of ["acc", "conf"]) parts[name] = svg(parts.means, "path", { class: `mixkd-mean-${name}` });
      parts.meanText = svg(parts.means, "text", { "text-anchor": "end" });
      const pick = svg(big, "rect", { x: left, y: top, width: inner, height: base - top, fill: "transparent" });
      pick.addEventListener("pointermove", (e) => tell(e));
      pick.addEventListener("pointerdown", (e) => tell(e));
      pick.addEventListener("pointerleave", () => { says.textContent = RULE; });
      says.textContent = RULE;
      geometry = { x, y, share, base, W, left, inner, tall, top };
      curves();
    }

    function tell(event) {
      const box = big.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * geometry.W;
      const b = clamp(Math.floor(((at - geometry.left) / geometry.inner) * meta.bins), 0, meta.bins - 1), s = measure(A, state.T);
      const edges = `${(b / meta.bins).toFixed(2)} to ${((b + 1) / meta.bins).toFixed(2)}`;
      says.textContent = s.count[b]
        ? `Confidence ${edges}: ${s.count[b].toLocaleString("en")} predictions, mean confidence ${s.confidence[b].toFixed(3)}, accuracy ${s.accuracy[b].toFixed(3)}.`
        : `Confidence ${edges}: no prediction.`;
    }

    /** The skyline of model B's bars, on the floor where a bin holds nothing. */
    function outline(values, count, toY, floor) {
      let d = "", last = floor;
      for (let b = 0; b <= meta.bins; b++) {
        const next = b < meta.bins && count[b] ? toY(values[b]) : floor, x = geometry.x(b / meta.bins).toFixed(1);
        d += last === floor ? (next === floor ? "" : `M${x} ${floor}V${next}`) : `H${x}V${next}`;
        last = next;
      }
      return d;
    }

    let strips = null;
    function curves() {
      if (!A) return;
      const width = Math.max(knob.clientWidth, 260), height = 92, floor = height - 20;
      strip.setAttribute("viewBox", `0 0 ${width} ${height}`);
      strip.setAttribute("width", width);
      strip.setAttribute("height", height);
      strip.replaceChildren();
      const x = (v) => THUMB + ((width - 2 * THUMB) * (clamp(v, LOW, HIGH) - LOW)) / (HIGH - LOW);
      strips = { x, floor, ys: {} };
      for (const [v, words] of [[-2, "¼"], [-1, "½"], [0, "1"], [1, "2"], [2, "4"]]) {
        svg(strip, "path", { class: "mixkd-grid", d: `M${x(v)} 20V${floor}` });
        svg(strip, "text", { x: x(v), y: height - 5, "text-anchor": "middle" }, words);
      }
      const points = A.sweep;
      for (const [column, key] of [[1, "nll"], [2, "ece"]]) {
        const all = points.map((p) => p[column]), low = Math.min(...all), high = Math.max(...all);
        const y = (v) => floor - 3 - ((floor - 26) * (v - low)) / (high - low || 1);
        if (points.length > 80) {
          svg(strip, "path", { class: `mixkd-curve mixkd-curve-${key}`, d: "M" + points.map((p) => `${x(p[0]).toFixed(1)} ${y(p[column]).toFixed(1)}`).join("L") });
          strips.ys[key] = y;
          strips[key] = svg(strip, "circle", { class: `mixkd-dot mixkd-curve-${key}`, r: 4 });
        }
      }
      const key = svg(strip, "g", { class: "mixkd-key", transform: `translate(${width - 106},12)` });
      svg(key, "path", { class: "mixkd-curve mixkd-curve-nll", d: "M0 -4H16" });
      svg(key, "text", { x: 20 }, "NLL");
      svg(key, "path", { class: "mixkd-curve mixkd-curve-ece", d: "M54 -4H70" });
      svg(key, "text", { x: 74 }, "ECE");
      for (const [model, cls, name] of [[A, "a", "T*"], [B, "b", "T*"]]) {
        if (!model) continue;
        const at = x(Math.log2(model.temperature));
        svg(strip, "path", { class: `mixkd-star mixkd-star-${cls}`, d: `M${at} ${floor}V${floor - 14}M${at - 4} ${floor + 1}h8l-4 -6z` });
        if (cls === "a") svg(strip, "text", { x: at, y: floor - 17, "text-anchor": "middle", class: "mixkd-star-text" }, name);
      }
      if (A.now) dots();
    }
    function dots() {
      for (const key of ["nll", "ece"]) {
        if (!strips || !strips[key]) continue;
        strips[key].setAttribute("cx", strips.x(Math.log2(state.T)));
        strips[key].setAttribute("cy", clamp(strips.ys[key](A.now[key]), 20, strips.floor));
      }
    }

    function draw() {
      if (!A || !parts) return;
      const s = (A.now = measure(A, state.T)), other = state.compare && B ? measure(B, bTemperature()) : null;
      const { x, y, share, base } = geometry, most = Math.max(...s.count);
      for (let b = 0; b < meta.bins; b++) {
        const has = s.count[b] > 0, acc = y(s.accuracy[b]), conf = y(s.confidence[b]);
        const bar = parts.bars[b], gap = parts.gaps[b], hist = parts.hist[b];
        bar.setAttribute("y", has ? acc : y(0));
        bar.setAttribute("height", has ? y(0) - acc : 0);
        bar.setAttribute("fill-opacity", 0.3 + 0.6 * Math.sqrt(s.count[b] / most)); // a bin that holds little speaks softly
        gap.setAttribute("y", Math.min(acc, conf));
        gap.setAttribute("height", has ? Math.abs(acc - conf) : 0);
        const up = share(s.count[b] / A.n);
        hist.setAttribute("y", up);
        hist.setAttribute("height", base - up);
      }
      const line = (c) => `M${x(c)} ${base}V${base - 74}`;
      parts.acc.setAttribute("d", line(s.acc));
      parts.conf.setAttribute("d", line(s.conf));
      parts.meanText.textContent = `accuracy │ ┆ confidence`;
      const least = Math.min(s.acc, s.conf);
      parts.meanText.setAttribute("x", x(least) - 6);
      parts.meanText.setAttribute("y", base - 60);
      parts.meanText.style.display = least > 0.45 ? "" : "none";
      parts.outline.setAttribute("d", other ? outline(other.accuracy, other.count, y, y(0)) : "");
      parts.outlineHist.setAttribute("d", other ? outline(other.count.map((c) => c / B.n), other.count, share, base) : "");

      const T = state.T.toFixed(2);
      headA.textContent = other ? `A, T = ${T}` : `at T = ${T}`;
      headB.textContent = other ? `B, T = ${bTemperature().toFixed(2)}` : "at T = 1";
      for (const [key] of ROWS) {
        const signed = key === "gap";
        cells[key][0].textContent = print(s[key], signed);
        cells[key][1].textContent = print((other || A.native)[key], signed);
      }
      root.classList.toggle("mixkd-comparing", Boolean(other));
      const wider = Math.sqrt(A.repeats || 1); // the rows of one image are counted once: as wide as chance can be
      chance.textContent = `Calibrated to perfection${other ? ", A" : ", it"} would by chance show ECE ${(s.chanceEce * wider).toFixed(3)}, OE ${(s.chanceOe * wider).toFixed(3)}.`;
      shown.textContent = `T = ${T}`;
      slider.value = Math.log2(state.T);
      slider.setAttribute("aria-valuetext", `temperature ${T}`);
      goA.textContent = `${other ? "A: " : ""}T* = ${A.temperature.toFixed(2)}`;
      goA.setAttribute("aria-label", `go to the temperature that minimises NLL on validation${other ? " for model A" : ""}, ${A.temperature.toFixed(2)}`);
      goB.hidden = !other;
      if (other) {
        goB.textContent = `B: T* = ${B.temperature.toFixed(2)}`;
        goB.setAttribute("aria-label", `go to the temperature that minimises NLL on validation for model B, ${B.temperature.toFixed(2)}`);
      }
      dots();
      settle(s, other);
    }

    /** After the last movement: tell a screen reader once, and keep the view in the address. */
    const settle = settled((s, other) => {
      const say = (v, name) => `${name}accuracy ${v.acc.toFixed(4)}, ECE ${v.ece.toFixed(4)}, OE ${v.oe.toFixed(4)}, UE ${v.ue.toFixed(4)}, NLL ${v.nll.toFixed(4)}.`;
      live.textContent = `Temperature ${state.T.toFixed(2)}: ${say(s, other ? "model A " : "")}${other ? ` Model B ${say(other, "")}` : ""}`;
      link.href = "#" + writeHash();
      if (touched) try { history.replaceState(null, "", link.href); } catch { /* a sandboxed frame has no address */ }
    });

    // ---- the view in the address: #name.a=kd_mixup~2~0&name.t=1.5&name.b=...
    function writeHash() {
      const all = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
      const id = (index) => meta.fields.map((field) => meta.models[index].label[field]).join("~");
      all.set(`${meta.name}.a`, id(state.a));
      all.set(`${meta.name}.t`, state.T.toFixed(4));
      for (const key of ["b", "bt", ...meta.fields, ...meta.fields.map((f) => `b.${f}`)]) all.delete(`${meta.name}.${key}`);
      if (state.compare) { all.set(`${meta.name}.b`, id(state.b)); all.set(`${meta.name}.bt`, state.bAt); }
      return all.toString();
    }
    function readHash() {
      const all = new URLSearchParams(location.hash.slice(1)), prefix = `${meta.name}.`;
      const exact = (id) => meta.models.findIndex((m) => meta.fields.map((f) => m.label[f]).join("~") === id);
      const wanted = (start) => Object.fromEntries(meta.fields.filter((f) => all.has(start + f)).map((f) => [f, all.get(start + f)]));
      const some = (label) => (Object.keys(label).length ? match(label) : -1); // by a few fields: #lab.arm=kd_mixup&lab.tau=8
      const a = Math.max(exact(all.get(`${prefix}a`)), some(wanted(prefix)));
      const b = Math.max(exact(all.get(`${prefix}b`)), some(wanted(`${prefix}b.`))), T = parseFloat(all.get(`${prefix}t`));
      if (a >= 0) state.a = a;
      if (b >= 0) { state.b = b; state.compare = true; }
      if (["same", "one", "best"].includes(all.get(`${prefix}bt`))) state.bAt = all.get(`${prefix}bt`);
      if (T >= 0.01 && T <= 100) state.T = T;
      if (a >= 0 || T) requestAnimationFrame(() => root.scrollIntoView({ block: "start" }));
    }
    /** The first model with these values; -1 when there is none. */
    function match(label) {
      return meta.models.findIndex((m) => Object.entries(label).every(([field, value]) => m.label[field] === value));
    }

    window.addEventListener("hashchange", () => { if (location.hash.includes(`${meta.name}.`)) { readHash(); refresh(); } });

    // For tests: the figures behind the numbers.
    root.dataset.name = meta.name;
    root.mixkd = {
      stats: (T = state.T) => measure(A, T),
      compared: () => (B ? measure(B, bTemperature()) : null),
      set: (T) => { state.T = T; draw(); },
      state: () => ({ ...state, a: A && A.label, b: B && B.label, bTemperature: bTemperature() }),
    };
    let wide = 0;
    new ResizeObserver(() => {
      if (plot.clientWidth === wide) return;
      wide = plot.clientWidth;
      if (A) { frame(); draw(); }
    }).observe(root);
    refresh();
  }

  document.querySelectorAll(".mixkd-lab[data-lab=temperature]:not([data-ready])").forEach(mount);
})();
