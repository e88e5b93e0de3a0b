// The temperature lab: post-hoc temperature moves, everything measured on stored logits follows. One model, or two compared.
(() => {
  "use strict";
  const {
    set, element, svg, button, select, checkbox, numbers, clamp, number, mount, source, newest, modelControls, modelKey, modelOf, remember, eachFrame,
    gliding, onWidth,
  } = window.mixkdLive;
  const { blank, gridX, gridY, titles, reliability, columns } = window.mixkdChart;
  const { float16, uint16, stats } = window.mixkdMeasures;
  const LOW = -2, HIGH = 2, STEPS = 81; // log2 of the temperature, and the points of its curves
  const THUMB = 10; // half of the slider's thumb in px
  const ROWS = {
    acc: ["accuracy", "share of right predictions"], conf: ["confidence", "mean confidence in the predicted class"], gap: ["gap", "confidence − accuracy"],
    ece: ["ECE", "expected calibration error"], oe: ["OE", "overconfidence error"], ue: ["UE", "underconfidence error"],
    nll: ["NLL", "negative log-likelihood, nats"],
  };
  const RULE = "Bars: accuracy in each bin of confidence. Hatched: the distance to the diagonal, where confidence would be right.";

  function build(root, meta) {
    const { models, bins } = meta, stored = source(root);
    /** A model with its logits. */
    const fetchModel = (model) => Promise.all([stored(model.logits, float16), stored(model.labels, uint16)]).then(([z, y]) => Object.assign(model, { z, y }));
    const measure = (model, T) => stats(model.z, model.y, model.n, model.k, bins, T);

    // ---- state: a and b are indices of models, bAt says at which temperature b is shown. A and B are the models that have come.
    const state = { a: 0, b: Math.min(1, models.length - 1), compare: false, T: 1, bAt: "same" };
    let A = null, B = null;
    const bTemperature = () => ({ same: state.T, one: 1, best: B ? B.temperature : 1 })[state.bAt];

    // ---- page
    const ui = element(root, "div", { class: "mixkd-ui" });
    const choices = element(ui, "div", { class: "mixkd-choices" });
    const rowA = chooser("a"), rowB = chooser("b");
    const plot = element(ui, "div", { class: "mixkd-plot" });
    const side = element(ui, "div", { class: "mixkd-side" });
    const knob = element(ui, "div", { class: "mixkd-knob" });
    function chooser(which) {
      const row = element(choices, "fieldset", { class: `mixkd-choice mixkd-${which}` });
      element(row, "legend", {}, `model ${which.toUpperCase()}`);
      return { row, fill: modelControls(row, meta, (index) => { state[which] = index; refresh(); }) };
    }
    const compare = checkbox(rowA.row, "compare with B", (checked) => { state.compare = checked; refresh(); });
    compare.parentElement.hidden = models.length < 2;
    const times = [["same", "the same T"], ["one", "T = 1"], ["best", "its own T*"]];
    const bAt = select(rowB.row, "B at", { "aria-label": "temperature of model B" }, times, (value) => { state.bAt = value; draw(); });

    const { head, cells } = numbers(side, ["", ""], Object.entries(ROWS).map(([key, [words, title]]) => [words, title, [key, `${key}-second`]]));
    for (const [, second] of cells) second.className = "mixkd-second";
    const note = element(side, "p", { class: "mixkd-note" });

    const strip = svg(knob, "svg", { class: "mixkd-strip", role: "img", "aria-label": "NLL and ECE of model A over the temperature" });
    const slider = element(knob, "input", { type: "range", min: LOW, max: HIGH, step: 0.01, "aria-label": "post-hoc temperature T" });
    const buttons = element(knob, "div", { class: "mixkd-buttons" });
    const shown = element(buttons, "output", { class: "mixkd-T" });
    button(buttons, "T = 1", () => moveTo(1), { "aria-label": "reset to temperature 1" });
    const goA = button(buttons, "", () => moveTo(A.temperature), { class: "mixkd-goA" });
    const goB = button(buttons, "", () => moveTo(B.temperature), { class: "mixkd-goB" });
    const link = element(buttons, "a", { class: "mixkd-link", href: "#" }, "link to this view");
    const schedule = eachFrame(draw), glide = gliding();
    slider.addEventListener("input", () => { state.T = 2 ** +slider.value; schedule(); });
    function moveTo(target) {
      const from = Math.log(state.T), way = Math.log(target) - from;
      glide((t) => { state.T = t === 1 ? target : Math.exp(from + way * t); draw(); }, 350);
    }

    const show = newest(root, ([a, b]) => {
      if (A !== a) { A = a; A.sweep = A.sweep || sweep(A); A.native = A.native || measure(A, 1); }
      B = b;
      root.style.setProperty("--a", A.color);
      root.style.setProperty("--b", B && B.color !== A.color ? B.color : "var(--ink)");
      layOut();
      draw();
    }, (words) => { note.textContent = words; });
    function refresh() {
      rowA.fill(state.a);
      rowB.fill(state.b);
      rowB.row.hidden = !state.compare;
      compare.checked = state.compare;
      bAt.value = state.bAt;
      show([fetchModel(models[state.a]), state.compare ? fetchModel(models[state.b]) : null]);
    }

    // ---- the diagram: layOut() makes what depends on the width, draw() moves what depends on the temperature
    const big = svg(plot, "svg", { class: "mixkd-diagram", role: "img", "aria-label": "reliability diagram above a histogram of confidence" });
    const says = element(plot, "p", { class: "mixkd-says" }, RULE);
    let parts = null;
    function layOut() {
      const width = clamp(plot.clientWidth, 260, 520), left = 44, right = 8, top = 8, inner = width - left - right, tall = Math.min(inner, 340), low = 74;
      const base = top + tall + 14 + low;
      const x = (c) => left + inner * c, y = (a) => top + tall * (1 - a);
      const share = (s) => base - low * Math.sqrt(s); // square root, so that one percent of the predictions is still visible
      blank(big, width, base + 44);
      const tenths = [0, 0.2, 0.4, 0.6, 0.8, 1].map((v) => [v, v.toFixed(1), v === 1 ? "end" : "middle"]);
      gridX(big, tenths, x, top, y(0), base + 16);
      gridY(big, tenths, y, left, width - right);
      gridY(big, [[0.01, "1 %"], [0.1, "10 %"], [0.5, "50 %"], [1, "all"]], share, left, width - right);
      titles(big, "confidence", [left + inner / 2, base + 36], "accuracy", y(0.5));
      const bar = reliability(big, `hatch-${meta.name}`, bins, x, y), counts = columns(big, bins, x, { class: "mixkd-bar" });
      const outline = svg(big, "path", { class: "mixkd-outline" }), outlineCounts = svg(big, "path", { class: "mixkd-outline" });
      const means = svg(big, "g", { class: "mixkd-means" });
      const [acc, conf] = ["acc", "conf"].map((name) => svg(means, "path", { class: `mixkd-mean-${name}` }));
      const meanText = svg(means, "text", { "text-anchor": "end", y: base - 60 }, "accuracy │ ┆ confidence");
      parts = { x, y, share, base, low, bar, counts, outline, outlineCounts, acc, conf, meanText };
      const hover = svg(big, "rect", { x: left, y: top, width: inner, height: base - top, fill: "transparent" });
      const tell = (event) => {
        const box = big.getBoundingClientRect(), at = ((event.clientX - box.left) / box.width) * width;
        tellBin(clamp(Math.floor(((at - left) / inner) * bins), 0, bins - 1));
      };
      hover.addEventListener("pointermove", tell);
      hover.addEventListener("pointerdown", tell);
      hover.addEventListener("pointerleave", () => { says.textContent = RULE; });
      drawStrip();
    }
    function tellBin(b) {
      const s = A.now, edges = `${(b / bins).toFixed(2)} to ${((b + 1) / bins).toFixed(2)}`, held = s.count[b].toLocaleString("en");
      says.textContent = s.count[b]
        ? `Confidence ${edges}: ${held} predictions, mean confidence ${number(s.confidence[b], 3)}, accuracy ${number(s.accuracy[b], 3)}.`
        : `Confidence ${edges}: no prediction.`;
    }
    /** The skyline of model B's bars, on the floor where a bin holds nothing. */
    function skyline(values, count, toY, floor) {
      let d = "", last = floor;
      for (let b = 0; b <= bins; b++) {
        const next = b < bins && count[b] ? toY(values[b]) : floor, x = parts.x(b / bins).toFixed(1);
        d += last === floor ? (next === floor ? "" : `M${x} ${floor}V${next}`) : `H${x}V${next}`;
        last = next;
      }
      return d;
    }

    // ---- NLL and ECE over the whole range, above the slider
    /** Measure in slices, so that the page stays responsive. */
    function sweep(model) {
      const points = [];
      const slice = () => {
        const until = performance.now() + 6;
        while (points.length < STEPS && performance.now() < until) {
          const x = LOW + ((HIGH - LOW) * points.length) / (STEPS - 1), { nll, ece } = measure(model, 2 ** x);
          points.push({ x, nll, ece });
        }
        if (points.length < STEPS) setTimeout(slice);
        else if (model === A) { drawStrip(); moveDots(); }
      };
      setTimeout(slice);
      return points;
    }
    let moveDots = () => {};
    function drawStrip() {
      const width = Math.max(knob.clientWidth, 260), height = 92, floor = height - 20, points = A.sweep;
      const x = (v) => THUMB + ((width - 2 * THUMB) * (clamp(v, LOW, HIGH) - LOW)) / (HIGH - LOW);
      blank(strip, width, height);
      gridX(strip, [[-2, "¼"], [-1, "½"], [0, "1"], [1, "2"], [2, "4"]], x, 20, floor);
      const dots = points.length < STEPS ? [] : ["nll", "ece"].map((name) => {
        const all = points.map((p) => p[name]), low = Math.min(...all), high = Math.max(...all);
        const y = (v) => floor - 3 - ((floor - 26) * (v - low)) / (high - low || 1);
        svg(strip, "path", { class: `mixkd-curve mixkd-curve-${name}`, d: `M${points.map((p) => `${x(p.x).toFixed(1)} ${y(p[name]).toFixed(1)}`).join("L")}` });
        return { name, y, node: svg(strip, "circle", { class: `mixkd-dot mixkd-curve-${name}`, r: 4 }) };
      });
      moveDots = () => dots.forEach(({ name, y, node }) => set(node, { cx: x(Math.log2(state.T)), cy: clamp(y(A.now[name]), 20, floor) }));
      const key = svg(strip, "g", { class: "mixkd-key", transform: `translate(${width - 106},12)` });
      ["nll", "ece"].forEach((name, i) => {
        svg(key, "path", { class: `mixkd-curve mixkd-curve-${name}`, d: `M${54 * i} -4h16` });
        svg(key, "text", { x: 54 * i + 20 }, ROWS[name][0]);
      });
      for (const [model, which] of [[A, "a"], [B, "b"]]) {
        if (!model) continue;
        const at = x(Math.log2(model.temperature));
        svg(strip, "path", { class: `mixkd-star mixkd-star-${which}`, d: `M${at} ${floor}V${floor - 14}M${at - 4} ${floor + 1}h8l-4 -6z` });
        if (which === "a") svg(strip, "text", { x: at, y: floor - 17, "text-anchor": "middle", class: "mixkd-star-text" }, "T*");
      }
    }

    function draw() {
      if (!parts) return;
      const s = (A.now = measure(A, state.T)), other = state.compare && B ? measure(B, bTemperature()) : null;
      const { x, y, share, base, low } = parts, most = Math.max(...s.count);
      for (let b = 0; b < bins; b++) {
        const up = share(s.count[b] / A.n);
        parts.bar(b, s.count[b] / most, s.confidence[b], s.accuracy[b]);
        set(parts.counts[b], { y: up, height: base - up });
      }
      for (const name of ["acc", "conf"]) set(parts[name], { d: `M${x(s[name])} ${base}v${-low}` });
      const least = Math.min(s.acc, s.conf);
      set(parts.meanText, { x: x(least) - 6, visibility: least > 0.45 ? "visible" : "hidden" });
      set(parts.outline, { d: other ? skyline(other.accuracy, other.count, y, y(0)) : "" });
      set(parts.outlineCounts, { d: other ? skyline(other.count.map((c) => c / B.n), other.count, share, base) : "" });
      moveDots();

      const T = number(state.T, 2), second = other || A.native;
      head[0].textContent = other ? `A, T = ${T}` : `at T = ${T}`;
      head[1].textContent = other ? `B, T = ${number(bTemperature(), 2)}` : "at T = 1";
      Object.keys(ROWS).forEach((key, row) => [s, second].forEach((each, column) => { cells[row][column].textContent = number(each[key], 4, key === "gap"); }));
      root.classList.toggle("mixkd-comparing", Boolean(other));
      const wider = Math.sqrt(A.repeats || 1); // rows of one image are not independent: the upper bound of chance
      note.textContent = `${A.n.toLocaleString("en")} predictions${A.repeats > 1 ? `, ${A.repeats} for each image` : ""}, ${A.k} classes, ${bins} bins. `
        + `Calibrated to perfection${other ? ", A" : ", it"} would by chance show ECE ${number(s.chanceEce * wider, 3)}, OE ${number(s.chanceOe * wider, 3)}.`;
      shown.textContent = `T = ${T}`;
      slider.value = Math.log2(state.T);
      slider.setAttribute("aria-valuetext", `temperature ${T}`);
      goB.hidden = !other;
      for (const [node, model, letter] of other ? [[goA, A, "A"], [goB, B, "B"]] : [[goA, A, ""]]) {
        const best = number(model.temperature, 2);
        node.textContent = `${letter && `${letter}: `}T* = ${best}`;
        node.setAttribute("aria-label", `go to the temperature that minimises NLL on validation${letter && ` for model ${letter}`}, ${best}`);
      }
      link.href = view.address();
      view.rest();
    }

    const view = remember(root, meta.name, state, {
      read(get) {
        const a = modelOf(meta, get, "a"), b = modelOf(meta, get, "b", "b."), T = Number(get("t"));
        if (a >= 0) state.a = a;
        if (b >= 0) Object.assign(state, { b, compare: true });
        if (times.some(([value]) => value === get("bt"))) state.bAt = get("bt");
        if (T >= 0.01 && T <= 100) state.T = T;
      },
      write: () => ({ a: modelKey(meta, state.a), t: state.T.toFixed(4), ...(state.compare && { b: modelKey(meta, state.b), bt: state.bAt }) }),
      words() {
        const say = (s) => ["acc", "ece", "oe", "ue", "nll"].map((key) => `${ROWS[key][0]} ${number(s[key], 4)}`).join(", ");
        const both = state.compare && B;
        return `Temperature ${number(state.T, 2)}: ${both ? "model A " : ""}${say(A.now)}.${both ? ` Model B ${say(measure(B, bTemperature()))}.` : ""}`;
      },
      refresh,
    });
    onWidth(plot, () => { if (A) { layOut(); draw(); } });
    refresh();
    return {
      stats: (T = state.T) => measure(A, T),
      compared: () => (B ? measure(B, bTemperature()) : null),
      set: (T) => { state.T = T; draw(); },
      state: () => ({ ...state, a: A && A.label, b: B && B.label, bTemperature: bTemperature() }),
    };
  }

  mount("temperature", build);
})();
