// The vicinal lab: two images and lam. Student and teacher on the blend, their linear reference, and the non-linearity along lam.
(() => {
  "use strict";
  const {
    element, svg, button, select, numbers, number, mount, source, newest, modelControls, modelKey, modelOf, remember, eachFrame, onWidth,
  } = window.mixkdLive;
  const { blank, gridX, gridY } = window.mixkdChart;
  const { bytes, float16, logSoftmax, nonlinearity } = window.mixkdMeasures;
  const WHO = ["student", "teacher"];
  const KINDS = [["all", "all"], ["cross", "of two classes"], ["same", "of one class"]];

  function build(root, meta) {
    const { models, lam, pairs, classes } = meta, K = classes.length, P = pairs.length, L = lam.length, stored = source(root);
    /** Recorded answers as log-probabilities, (L, P, K). */
    function decode(text) {
      const z = float16(text), out = new Float64Array(z.length);
      for (let at = 0; at < z.length; at += K) logSoftmax(z, K, out, at, at);
      return out;
    }

    // ---- state: model, pair and at are indices; lam only takes the recorded values
    const state = { model: 0, pair: meta.first, at: Math.floor(L / 2), kind: "all" };
    const answers = { student: null, teacher: null };
    let pixels = null;
    const here = () => WHO.filter((who) => answers[who]);
    const kindOf = (p) => (pairs[p][0] === pairs[p][1] ? "same" : "cross");
    const allowed = () => [...pairs.keys()].filter((p) => state.kind === "all" || kindOf(p) === state.kind);
    const kinds = KINDS.filter(([kind]) => kind === "all" || pairs.some((_, p) => kindOf(p) === kind));

    // ---- page
    const ui = element(root, "div", { class: "mixkd-vicinal-ui" });
    const choices = element(ui, "fieldset", { class: "mixkd-choice" });
    element(choices, "legend", {}, "student");
    const fill = modelControls(choices, meta, (index) => { state.model = index; refresh(); });
    const kind = select(choices, "pairs", { class: "mixkd-vicinal-kind" }, kinds, (value) => {
      state.kind = value;
      if (!allowed().includes(state.pair)) state.pair = allowed()[0];
      schedule();
    });
    kind.parentElement.hidden = kinds.length < 3;
    for (const [step, words, name] of [[-1, "◀ pair", "previous pair"], [1, "pair ▶", "next pair"]]) {
      button(choices, words, () => {
        const list = allowed();
        state.pair = list[(list.indexOf(state.pair) + step + list.length) % list.length];
        schedule();
      }, { "aria-label": name });
    }
    const [images, bars, table, knob, path] = ["mixkd-vicinal-images", "mixkd-vicinal-bars", "mixkd-vicinal-numbers", "mixkd-knob", "mixkd-vicinal-path"]
      .map((name) => element(ui, "div", { class: name }));

    const canvases = meta.images ? [0, 1, 2].map(() => {
      const figure = element(images, "figure"), canvas = element(figure, "canvas", { role: "img" });
      [canvas.height, canvas.width] = meta.images.shape;
      return { canvas, caption: element(figure, "figcaption") };
    }) : [];
    const words = meta.images ? null : element(images, "p", { class: "mixkd-vicinal-words" });

    const legend = element(bars, "ul", { class: "mixkd-vicinal-key" });
    const [, ofTeacher] = [["student", "", "var(--a)"], ["teacher", "", "var(--t)"], ["if linear", "mixkd-ring", "none"]].map(([what, ring, color]) => {
      const item = element(legend, "li");
      element(item, "i", { class: ring, style: `--c:${color}` });
      item.append(what);
      return item;
    });
    const chart = svg(bars, "svg", { role: "img", "aria-label": "probabilities of student and teacher on the blend, by class" });
    const slider = element(knob, "input", { type: "range", min: 0, max: L - 1, step: 1, "aria-label": "λ, weight of the first image" });
    slider.addEventListener("input", () => { state.at = +slider.value; schedule(); });
    const shown = element(knob, "output", { class: "mixkd-T" });
    const { cells } = numbers(table, WHO, [
      ["L_NL at λ", "non-linearity of the answer on this blend, nats", WHO.map((who) => `now-${who}`)],
      ["mean over λ", "mean over the blends of this pair, as the book's figures have it", WHO.map((who) => `mean-${who}`)],
    ]);
    const curve = svg(path, "svg", { role: "img", "aria-label": "non-linearity along lambda" });

    // ---- the figures behind the picture
    const offset = (l, p) => (l * P + p) * K;
    /** L_NL at each recorded lam, and its mean over those inside: the book's mean over lam. */
    function along(log, p) {
      const l_nl = lam.map((at, l) => nonlinearity(log, log, log, K, at, offset(L - 1, p), offset(0, p), offset(l, p)));
      return { l_nl, mean: l_nl.slice(1, -1).reduce((sum, v) => sum + v, 0) / (L - 2) };
    }
    const probability = (who, l, c) => Math.exp(answers[who][offset(l, state.pair) + c]);
    const linear = (who, c) => lam[state.at] * probability(who, L - 1, c) + (1 - lam[state.at]) * probability(who, 0, c);

    // ---- drawing. Widths are read in layOut(), so that a step of the slider forces no layout
    let widths = {};
    function layOut() {
      widths = { bars: Math.max(bars.clientWidth, 240), path: Math.max(path.clientWidth, 240) };
      draw();
    }
    function drawImages() {
      const [i, j] = pairs[state.pair].map((label) => classes[label]), at = lam[state.at];
      const blend = `${number(at, 1)} × “${i}” + ${number(1 - at, 1)} × “${j}”`;
      if (words) words.textContent = blend;
      if (!pixels) return;
      const [H, W, C] = meta.images.shape, size = H * W * C, start = 2 * state.pair * size;
      const first = pixels.subarray(start, start + size), second = pixels.subarray(start + size, start + 2 * size);
      [[0, `${j} (λ = 0)`], [at, blend], [1, `${i} (λ = 1)`]].forEach(([weight, said], n) => {
        const { canvas, caption } = canvases[n], context = canvas.getContext("2d"), image = context.createImageData(W, H);
        for (let q = 0; q < H * W; q++) {
          for (let d = 0; d < 3; d++) {
            const v = q * C + (C === 3 ? d : 0);
            image.data[4 * q + d] = weight * first[v] + (1 - weight) * second[v];
          }
          image.data[4 * q + 3] = 255;
        }
        context.putImageData(image, 0, 0);
        caption.textContent = said;
        canvas.setAttribute("aria-label", n === 1 ? `blend: ${said}` : `image of class ${said}`);
      });
    }

    /** The classes that matter on this way: the two of the images, then those that are ever likely, in their own order. */
    function classesShown() {
      const all = [...classes.keys()], own = pairs[state.pair];
      if (K <= meta.most) return all;
      const weight = all.map((c) => Math.max(...here().flatMap((who) => lam.map((_, l) => probability(who, l, c)))));
      const rest = all.filter((c) => !own.includes(c)).sort((a, b) => weight[b] - weight[a]);
      return [...new Set([...own, ...rest])].slice(0, meta.most).sort((a, b) => a - b);
    }
    function drawBars() {
      const list = classesShown(), own = pairs[state.pair], width = widths.bars;
      const left = Math.min(8 + 7 * Math.max(...list.map((c) => classes[c].length), 4), 110), right = width - 14;
      const row = list.length > 10 ? 22 : 25, floor = list.length * row, thick = (row - 7) / here().length;
      const x = (v) => left + (right - left) * v;
      blank(chart, width, floor + 22);
      gridX(chart, [[0, "0", "start"], [0.25, "0.25"], [0.5, "0.5"], [0.75, "0.75"], [1, "1", "end"]], x, 0, floor);
      list.forEach((c, n) => {
        const top = n * row + 3, name = classes[c].length > 14 ? `${classes[c].slice(0, 13)}…` : classes[c];
        svg(chart, "text", { x: left - 6, y: top + row / 2 + 1, "text-anchor": "end", class: own.includes(c) ? "mixkd-vicinal-own" : "" }, name);
        here().forEach((who, k) => {
          const y = top + k * thick, expected = linear(who, c);
          svg(chart, "rect", { class: `mixkd-vicinal-${who}`, x: left, y, height: thick - 1, width: Math.max(x(probability(who, state.at, c)) - left, 0.5) });
          if (expected > 0.005) svg(chart, "circle", { class: "mixkd-vicinal-linear", cx: x(expected), cy: y + thick / 2 - 0.5, r: 4 });
        });
      });
    }

    function drawPath(found) {
      const width = widths.path, height = 164, left = 46, right = width - 10, top = 26, floor = height - 32;
      const highest = Math.max(0.02, ...Object.values(found).flatMap((f) => f.l_nl)), ten = 10 ** Math.floor(Math.log10(highest / 2));
      const step = [1, 2, 5, 10].map((s) => s * ten).find((s) => highest / s <= 4), steps = Math.ceil(highest / step), most = steps * step;
      const x = (v) => left + (right - left) * v, y = (v) => floor - ((floor - top) * v) / most;
      blank(curve, width, height);
      gridY(curve, Array.from({ length: steps + 1 }, (_, i) => [i * step, +(i * step).toPrecision(2)]), y, left, right);
      gridX(curve, [[0, "0", "start"], [0.5, "½"], [1, "1", "end"]], x, top, floor);
      svg(curve, "text", { x: (left + right) / 2, y: height - 2, "text-anchor": "middle", class: "mixkd-title" }, "λ");
      svg(curve, "text", { x: left, y: 13, class: "mixkd-title" }, "non-linearity L_NL, nats");
      for (const [who, f] of Object.entries(found).reverse()) {
        const points = f.l_nl.map((v, l) => `${x(lam[l]).toFixed(1)} ${y(v).toFixed(1)}`);
        svg(curve, "path", { class: `mixkd-vicinal-${who}`, d: `M${points.join("L")}` });
      }
      svg(curve, "path", { class: "mixkd-vicinal-cursor", d: `M${x(lam[state.at])} ${top}V${floor}` });
    }

    function draw() {
      if (!answers.student) return;
      const found = Object.fromEntries(here().map((who) => [who, along(answers[who], state.pair)]));
      const at = number(lam[state.at], 1), [i, j] = pairs[state.pair].map((label) => classes[label]);
      drawImages();
      drawBars();
      drawPath(found);
      WHO.forEach((who, column) => {
        const f = found[who];
        [f && f.l_nl[state.at], f && f.mean].forEach((value, row) => { cells[row][column].textContent = f ? number(value, 4) : "–"; });
      });
      kind.value = state.kind;
      shown.textContent = `λ = ${at}`;
      slider.value = state.at;
      slider.setAttribute("aria-valuetext", `lambda ${at}, ${i} with ${j}`);
      view.rest();
    }
    const schedule = eachFrame(draw);

    const show = newest(root, ([student, teacher]) => {
      Object.assign(answers, { student, teacher });
      ofTeacher.hidden = !teacher;
      root.style.setProperty("--a", models[state.model].color);
      layOut();
    }, (sorry) => { shown.textContent = sorry; });
    function refresh() {
      const { logits, teacher } = models[state.model];
      fill(state.model);
      show([stored(logits, decode), teacher ? stored(meta.teachers[teacher], decode) : null]);
    }

    const lamKey = (l) => String(+lam[l].toFixed(3));
    const view = remember(root, meta.name, state, {
      read(get) {
        const model = modelOf(meta, get, "model"), pair = Number(get("pair") || NaN), at = lam.findIndex((_, l) => lamKey(l) === get("lam"));
        if (model >= 0) state.model = model;
        if (kinds.some(([value]) => value === get("kind"))) state.kind = get("kind");
        if (pair in pairs) state.pair = pair;
        if (!allowed().includes(state.pair)) state.pair = allowed()[0];
        if (at >= 0) state.at = at;
      },
      write: () => ({ model: modelKey(meta, state.model), kind: state.kind === "all" ? "" : state.kind, pair: String(state.pair), lam: lamKey(state.at) }),
      words() {
        const say = (who) => {
          const best = [...classes.keys()].reduce((best, c) => (probability(who, state.at, c) > probability(who, state.at, best) ? c : best), 0);
          const bend = along(answers[who], state.pair).l_nl[state.at];
          return `${who} ${classes[best]} with ${number(probability(who, state.at, best), 2)}, non-linearity ${number(bend, 4)}`;
        };
        const [i, j] = pairs[state.pair];
        return `${classes[i]} with ${classes[j]}, lambda ${number(lam[state.at], 1)}: ${here().map(say).join("; ")}.`;
      },
      refresh,
    });
    root.style.setProperty("--t", meta.teacherColor);
    if (meta.images) stored(meta.images.key, bytes).then((raw) => { pixels = raw; drawImages(); });
    onWidth(ui, layOut);
    refresh();
    return {
      state: () => ({ ...state, lam: lam[state.at], label: models[state.model].label }),
      along: (who, pair = state.pair) => answers[who] && along(answers[who], pair),
      set: (changes) => { Object.assign(state, changes); draw(); },
      show: (index) => { state.model = index; refresh(); },
    };
  }

  mount("vicinal", build);
})();
