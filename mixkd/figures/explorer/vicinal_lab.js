// The vicinal lab: two images and lam. Student and teacher on the blend, their linear reference, and the non-linearity so far.
(() => {
  "use strict";
  const { float16, source, choose, offered, options, settled, eachFrame, logSoftmax, nonlinearity, svg, element } = window.mixkdLive;
  const print = (v) => v.toFixed(4);

  function mount(root) {
    root.dataset.ready = "";
    const meta = JSON.parse(root.querySelector(".mixkd-meta").textContent);
    const { fields, lam, pairs, classes } = meta, K = classes.length, P = pairs.length, L = lam.length;
    const text = source(root);
    const cache = new Map();
    /** Log-probabilities of recorded answers, (L, P, K). */
    function fetchAnswers(key) {
      if (!cache.has(key)) {
        const ready = text(key).then((text) => {
          const z = float16(text), out = new Float64Array(z.length);
          for (let at = 0; at < z.length; at += K) logSoftmax(z, K, out, at, at);
          return out;
        });
        ready.catch(() => cache.delete(key));
        cache.set(key, ready);
      }
      return cache.get(key);
    }

    // ---- state: everything is an index; lam only takes the recorded values
    const state = { model: 0, pair: meta.first, at: Math.floor(L / 2), kind: "all" };
    const answers = { student: null, teacher: null };
    let pixels = null;
    const same = (p) => pairs[p][0] === pairs[p][1];
    const allowed = () => [...Array(P).keys()].filter((p) => state.kind === "all" || same(p) === (state.kind === "same"));

    // ---- page
    root.querySelector(".mixkd-fallback").hidden = true;
    const ui = element(root, "div", { class: "mixkd-vicinal-ui" });
    const choices = element(ui, "fieldset", { class: "mixkd-choice" });
    element(choices, "legend", {}, "student");
    const selects = fields.map((field) => {
      const label = element(choices, "label");
      element(label, "span", {}, meta.names[field] || field);
      const select = element(label, "select", { "data-field": field });
      select.addEventListener("change", () => { state.model = choose(meta.models, fields, meta.models[state.model].label, field, select.value); refresh(); });
      return select;
    });
    const kinds = [["all", "all"], ["cross", "of two classes"], ["same", "of one class"]].filter(([k]) => k === "all" || pairs.some((_, p) => same(p) === (k === "same")));
    const kindLabel = element(choices, "label");
    element(kindLabel, "span", {}, "pairs");
    const kind = element(kindLabel, "select", { class: "mixkd-vicinal-kind" });
    for (const [value, words] of kinds) element(kind, "option", { value }, words);
    kindLabel.hidden = kinds.length < 3;
    kind.addEventListener("change", () => { state.kind = kind.value; if (!allowed().includes(state.pair)) state.pair = allowed()[0]; schedule(); });
    for (const [step, words, name] of [[-1, "◀ pair", "previous pair"], [1, "pair ▶", "next pair"]]) {
      const button = element(choices, "button", { type: "button", "aria-label": name }, words);
      button.addEventListener("click", () => {
        const list = allowed();
        state.pair = list[(list.indexOf(state.pair) + step + list.length) % list.length];
        schedule();
      });
    }

    const images = element(ui, "div", { class: "mixkd-vicinal-images" });
    const bars = element(ui, "div", { class: "mixkd-vicinal-bars" });
    const numbers = element(ui, "div", { class: "mixkd-vicinal-numbers" });
    const knob = element(ui, "div", { class: "mixkd-knob" });
    const path = element(ui, "div", { class: "mixkd-vicinal-path" });
    const live = element(ui, "p", { class: "mixkd-live", "aria-live": "polite", role: "status" });

    const canvases = meta.images ? [0, 1, 2].map(() => {
      const figure = element(images, "figure"), canvas = element(figure, "canvas", { role: "img" });
      [canvas.height, canvas.width] = meta.images.shape;
      return { canvas, caption: element(figure, "figcaption") };
    }) : [];
    const words = meta.images ? null : element(images, "p", { class: "mixkd-vicinal-words" });

    const legend = element(bars, "ul", { class: "mixkd-vicinal-key" });
    for (const [what, cls, color] of [["student", "", "var(--a)"], ["teacher", "", "var(--t)"], ["if linear", "mixkd-ring", "none"]]) {
      const item = element(legend, "li");
      element(item, "i", { class: cls, style: `--c:${color}` });
      item.append(what);
    }
    const chart = svg(bars, "svg", { role: "img", "aria-label": "probabilities of student and teacher on the blend, by class" });

    const slider = element(knob, "input", { type: "range", min: 0, max: L - 1, step: 1, "aria-label": "λ, weight of the first image" });
    slider.addEventListener("input", () => { state.at = +slider.value; schedule(); });
    const shown = element(knob, "output", { class: "mixkd-T" });

    const table = element(numbers, "table", { class: "mixkd-numbers" });
    const head = element(element(table, "thead"), "tr");
    element(head, "td");
    for (const who of ["student", "teacher"]) element(head, "th", { scope: "col" }, who);
    const body = element(table, "tbody"), cells = {};
    for (const [key, name, title] of [["now", "L_NL at λ", "non-linearity of the answer on this blend, nats"], ["mean", "mean over λ", "mean over the blends of this pair, as the book's figures have it"]]) {
      const row = element(body, "tr");
      element(row, "th", { scope: "row", title }, name);
      cells[key] = ["student", "teacher"].map((who) => element(row, "td", { class: "mixkd-value", "data-measure": `${key}-${who}` }));
    }
    const curve = svg(path, "svg", { role: "img", "aria-label": "non-linearity along lambda" });

    // ---- numbers
    const offset = (l, p) => (l * P + p) * K;
    const bend = (log, p, l) => nonlinearity(log, log, log, K, lam[l], offset(L - 1, p), offset(0, p), offset(l, p));
    /** L_NL at each recorded lam, and its mean over those inside: the book's mean over λ. */
    function along(log, p) {
      const l_nl = lam.map((_, l) => bend(log, p, l));
      return { l_nl, mean: l_nl.slice(1, -1).reduce((sum, v) => sum + v, 0) / (L - 2) };
    }
    const linear = (log, p, l, c) => lam[l] * Math.exp(log[offset(L - 1, p) + c]) + (1 - lam[l]) * Math.exp(log[offset(0, p) + c]);

    // ---- drawing
    const blend = (at) => `${at.toFixed(1)} × “${classes[pairs[state.pair][0]]}” + ${(1 - at).toFixed(1)} × “${classes[pairs[state.pair][1]]}”`;
    function drawImages() {
      const [i, j] = pairs[state.pair], at = lam[state.at];
      if (words) { words.textContent = blend(at); return; }
      if (!pixels) return;
      const [H, W, C] = meta.images.shape, size = H * W * C, first = pixels.subarray(2 * state.pair * size, (2 * state.pair + 1) * size), second = pixels.subarray((2 * state.pair + 1) * size, (2 * state.pair + 2) * size);
      const captions = [`${classes[j]} (λ = 0)`, blend(at), `${classes[i]} (λ = 1)`];
      [0, at, 1].forEach((weight, n) => {
        const { canvas, caption } = canvases[n], context = canvas.getContext("2d"), image = context.createImageData(W, H);
        for (let q = 0; q < H * W; q++) {
          for (let d = 0; d < 3; d++) { const v = q * C + (C === 3 ? d : 0); image.data[4 * q + d] = weight * first[v] + (1 - weight) * second[v]; }
          image.data[4 * q + 3] = 255;
        }
        context.putImageData(image, 0, 0);
        caption.textContent = captions[n];
        canvas.setAttribute("aria-label", n === 1 ? `blend: ${captions[n]}` : `image of class ${captions[n]}`);
      });
    }

    /** The classes that matter on this way: the two of the images, then those that are ever likely, in their own order. */
    function classesShown() {
      if (K <= meta.most) return [...Array(K).keys()];
      const weight = (c) => Math.max(...["student", "teacher"].filter((who) => answers[who]).flatMap((who) => lam.map((_, l) => answers[who][offset(l, state.pair) + c])));
      const own = pairs[state.pair], rest = [...Array(K).keys()].filter((c) => !own.includes(c)).sort((a, b) => weight(b) - weight(a));
      return [...new Set([...own, ...rest])].slice(0, meta.most).sort((a, b) => a - b);
    }
    function drawBars() {
      const list = classesShown(), own = pairs[state.pair], width = Math.max(bars.clientWidth, 240);
      const left = Math.min(8 + 7 * Math.max(...list.map((c) => classes[c].length), 4), 110), right = 14, row = list.length > 10 ? 22 : 25, height = list.length * row + 22;
      chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
      chart.setAttribute("width", width);
      chart.setAttribute("height", height);
      chart.replaceChildren();
      const x = (v) => left + (width - left - right) * v;
      for (const v of [0, 0.25, 0.5, 0.75, 1]) {
        svg(chart, "path", { class: "mixkd-grid", d: `M${x(v)} 0V${list.length * row}` });
        svg(chart, "text", { x: x(v), y: height - 6, "text-anchor": v === 1 ? "end" : v ? "middle" : "start" }, v ? String(v) : "0");
      }
      const who = ["student", "teacher"].filter((name) => answers[name]), thick = (row - 7) / who.length;
      list.forEach((c, n) => {
        const top = n * row + 3;
        svg(chart, "text", { x: left - 6, y: top + row / 2 + 1, "text-anchor": "end", ...(own.includes(c) ? { class: "mixkd-vicinal-own" } : {}) }, classes[c].length > 14 ? `${classes[c].slice(0, 13)}…` : classes[c]);
        who.forEach((name, k) => {
          const log = answers[name], y = top + k * thick, p = Math.exp(log[offset(state.at, state.pair) + c]);
          svg(chart, "rect", { class: `mixkd-vicinal-${name}`, x: x(0), y, height: thick - 1, width: Math.max(x(p) - x(0), 0.5) });
          const expected = linear(log, state.pair, state.at, c);
          if (expected > 0.005) svg(chart, "circle", { class: "mixkd-vicinal-linear", cx: x(expected), cy: y + thick / 2 - 0.5, r: 4 });
        });
      });
    }

    function drawPath(found) {
      const width = Math.max(path.clientWidth, 240), height = 164, left = 46, right = 10, top = 26, floor = height - 32;
      const highest = Math.max(0.02, ...Object.values(found).flatMap((f) => f.l_nl)), ten = 10 ** Math.floor(Math.log10(highest / 2));
      const step = [1, 2, 5, 10].map((s) => s * ten).find((s) => highest / s <= 4), most = Math.ceil(highest / step) * step;
      curve.setAttribute("viewBox", `0 0 ${width} ${height}`);
      curve.setAttribute("width", width);
      curve.setAttribute("height", height);
      curve.replaceChildren();
      const x = (v) => left + (width - left - right) * v, y = (v) => floor - ((floor - top) * v) / most;
      for (let v = 0; v <= most + step / 2; v += step) {
        svg(curve, "path", { class: "mixkd-grid", d: `M${left} ${y(v)}H${width - right}` });
        svg(curve, "text", { x: left - 6, y: y(v) + 4, "text-anchor": "end" }, String(+v.toPrecision(2)));
      }
      for (const v of [0, 0.5, 1]) {
        svg(curve, "path", { class: "mixkd-grid", d: `M${x(v)} ${top}V${floor}` });
        svg(curve, "text", { x: x(v), y: height - 16, "text-anchor": v === 1 ? "end" : v ? "middle" : "start" }, ["0", "½", "1"][2 * v]);
      }
      svg(curve, "text", { x: (left + width - right) / 2, y: height - 2, "text-anchor": "middle", class: "mixkd-title" }, "λ");
      svg(curve, "text", { x: left, y: 13, class: "mixkd-title" }, "non-linearity L_NL, nats");
      for (const [who, f] of Object.entries(found).reverse()) {
        const point = (v, l) => `${x(lam[l]).toFixed(1)} ${y(v).toFixed(1)}`;
        svg(curve, "path", { class: `mixkd-vicinal-${who}`, d: `M${f.l_nl.map(point).join("L")}` });
      }
      svg(curve, "path", { class: "mixkd-vicinal-cursor", d: `M${x(lam[state.at])} ${top}V${floor}` });
    }

    function draw() {
      if (!answers.student) return;
      const found = {};
      for (const who of ["student", "teacher"]) if (answers[who]) found[who] = along(answers[who], state.pair);
      drawImages();
      drawBars();
      drawPath(found);
      ["student", "teacher"].forEach((who, n) => {
        const f = found[who];
        cells.now[n].textContent = f ? print(f.l_nl[state.at]) : "–";
        cells.mean[n].textContent = f ? print(f.mean) : "–";
      });
      const [i, j] = pairs[state.pair];
      shown.textContent = `λ = ${lam[state.at].toFixed(1)}`;
      slider.value = state.at;
      slider.setAttribute("aria-valuetext", `lambda ${lam[state.at].toFixed(1)}, ${classes[i]} with ${classes[j]}`);
      settle(found);
    }
    const schedule = eachFrame(draw);

    const settle = settled((found) => {
      const [i, j] = pairs[state.pair];
      const best = (log) => { let c = 0; for (let d = 1; d < K; d++) if (log[offset(state.at, state.pair) + d] > log[offset(state.at, state.pair) + c]) c = d; return c; };
      const say = (who) => { const c = best(answers[who]); return `${who} ${classes[c]} with ${Math.exp(answers[who][offset(state.at, state.pair) + c]).toFixed(2)}, non-linearity ${print(found[who].l_nl[state.at])}`; };
      live.textContent = `${classes[i]} with ${classes[j]}, lambda ${lam[state.at].toFixed(1)}: ${Object.keys(found).map(say).join("; ")}.`;
    });

    let ticket = 0;
    function refresh() {
      const mine = ++ticket, chosen = meta.models[state.model];
      fields.forEach((field, f) => {
        const select = selects[f];
        options(select, offered(meta.models, fields, chosen.label, field), meta.words[field], chosen.label[field]);
        select.parentElement.hidden = meta.models.every((m) => m.label[field] === chosen.label[field]);
      });
      Promise.all([fetchAnswers(chosen.logits), chosen.teacher ? fetchAnswers(meta.teachers[chosen.teacher]) : null]).then(
        ([student, teacher]) => {
          if (mine !== ticket) return;
          answers.student = student;
          answers.teacher = teacher;
          legend.children[1].hidden = !teacher;
          root.style.setProperty("--a", chosen.color);
          draw();
        },
        (error) => { if (mine === ticket) live.textContent = `${error.message}.`; },
      );
    }

    root.style.setProperty("--t", meta.teacherColor);
    if (meta.images) text(meta.images.key).then((text) => { pixels = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0)); drawImages(); });
    let wide = 0;
    new ResizeObserver(() => { if (ui.clientWidth !== wide) { wide = ui.clientWidth; draw(); } }).observe(root);

    // For tests: the figures behind the picture.
    root.mixkd = {
      state: () => ({ ...state, lam: lam[state.at], label: meta.models[state.model].label }),
      along: (who, pair = state.pair) => answers[who] && along(answers[who], pair),
      set: (changes) => { Object.assign(state, changes); draw(); },
      show: (index) => { state.model = index; refresh(); },
    };
    refresh();
  }

  document.querySelectorAll(".mixkd-lab[data-lab=vicinal]:not([data-ready])").forEach(mount);
})();
