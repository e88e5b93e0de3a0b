// The boundary world: students' decision fields over a plane, computed here from their weights, beside the exact posterior.
(() => {
  "use strict";
  const { float32, uint16, source, choose, offered, options, settled, eachFrame, logSoftmax, network, kl, nonlinearity, element } = window.mixkdLive;
  const N = 96; // points of a field along each side
  const WAYS = 100; // points of the walk from B to A
  const PAINT = [["student", "student"], ["teacher", "teacher"], ["exact", "exact posterior"], ["kl-student", "KL(exact ‖ student)"], ["kl-teacher", "KL(exact ‖ teacher)"], ["kl-between", "KL(teacher ‖ student)"]];
  const KL_TOP = 3, KL_COLOR = [193, 39, 140];
  const ratio = () => Math.min(window.devicePixelRatio || 1, 2); // pixels of a canvas for each of the page
  const clamp = (v, low, high) => Math.min(Math.max(v, low), high);
  const rgb = (text) => (text.startsWith("#") ? [1, 3, 5].map((i) => parseInt(text.slice(i, i + 2), 16)) : text.match(/[\d.]+/g).slice(0, 3).map(Number));

  /** Line segments of {f = level} on an N x N grid, by linear interpolation: [x0, y0, x1, y1, ...] in grid units. */
  function contour(f, n, level) {
    const out = [], cut = (a, b) => (level - a) / (b - a);
    for (let r = 0; r + 1 < n; r++) for (let c = 0; c + 1 < n; c++) {
      const i = r * n + c, v = [f[i], f[i + 1], f[i + n + 1], f[i + n]], points = [];
      if ((v[0] > level) !== (v[1] > level)) points.push(c + cut(v[0], v[1]), r);
      if ((v[1] > level) !== (v[2] > level)) points.push(c + 1, r + cut(v[1], v[2]));
      if ((v[2] > level) !== (v[3] > level)) points.push(c + 1 - cut(v[2], v[3]), r + 1);
      if ((v[3] > level) !== (v[0] > level)) points.push(c, r + 1 - cut(v[3], v[0]));
      for (let p = 0; p + 3 < points.length; p += 4) out.push(...points.slice(p, p + 4));
    }
    return out;
  }

  function mount(root) {
    root.dataset.ready = "";
    const meta = JSON.parse(root.querySelector(".mixkd-meta").textContent), { half, fields } = meta, K = meta.colors.length;
    const text = source(root);
    const exact = (() => {
      const { weight, bias } = meta.exact;
      return (x, out) => { for (let j = 0; j < K; j++) out[j] = weight[2 * j] * x[0] + weight[2 * j + 1] * x[1] + bias[j]; return out; };
    })();
    const nets = new Map();
    function fetchNet({ shape, weights }) {
      if (!nets.has(weights)) {
        const ready = text(weights).then((text) => network(shape, float32(text)));
        ready.catch(() => nets.delete(weights));
        nets.set(weights, ready);
      }
      return nets.get(weights);
    }
    const scratch = new Float64Array(K);
    const answer = (net, x) => logSoftmax(net(x, scratch), K, new Float64Array(K));

    // ---- state
    const state = { model: 0, left: "student", right: "exact", points: true, at: [0, 0], a: [0, 0], b: [0, 0], lam: 0.5, pair: 0 };
    const models = { student: null, teacher: null, exact };
    let points = new Float32Array(0), labels = new Uint16Array(0), pairs = [];

    // ---- page
    root.querySelector(".mixkd-fallback").hidden = true;
    const ui = element(root, "div", { class: "mixkd-world-ui" });
    const choices = element(ui, "fieldset", { class: "mixkd-choice mixkd-world-choices" });
    element(choices, "legend", {}, "student");
    const controls = Object.fromEntries(fields.map((field) => [field, control(field)]));
    const tick = element(choices, "label", { class: "mixkd-tick" }), showPoints = element(tick, "input", { type: "checkbox" });
    showPoints.checked = true;
    element(tick, "span", {}, "training points");
    showPoints.addEventListener("change", () => { state.points = showPoints.checked; paint(); });

    const stage = element(ui, "div", { class: "mixkd-world-stage" });
    const panels = ["left", "right"].map(panel);
    const key = element(ui, "p", { class: "mixkd-world-key" });
    const side = element(ui, "div", { class: "mixkd-world-side" });
    const walk = element(ui, "div", { class: "mixkd-world-walk" });
    const live = element(ui, "p", { class: "mixkd-live", "aria-live": "polite", role: "status" });

    function control(field) {
      const label = element(choices, "label"), words = meta.names[field] || field, numeric = field === "alpha" || field === "tau";
      const title = element(label, "span", {}, words);
      if (!numeric) {
        const select = element(label, "select", { "data-field": field });
        select.addEventListener("change", () => pick(field, select.value));
        return { select };
      }
      const range = element(label, "input", { type: "range", min: 0, step: 1, "data-field": field, "aria-label": words });
      range.addEventListener("input", () => pick(field, JSON.parse(range.dataset.values)[+range.value]));
      return { range, title, words };
    }
    function pick(field, value) {
      state.model = choose(meta.models, fields, meta.models[state.model].label, field, value);
      refresh();
    }
    /** What a control offers given the fields before it; numbers in their order. */
    function fill() {
      const chosen = meta.models[state.model].label;
      for (const field of fields) {
        const values = offered(meta.models, fields, chosen, field), { select, range, title, words } = controls[field];
        values.sort((a, b) => (Number.isNaN(+a) || Number.isNaN(+b) ? 0 : a - b));
        if (select) {
          options(select, values, meta.words[field], chosen[field]);
        } else {
          range.dataset.values = JSON.stringify(values);
          range.max = values.length - 1;
          range.value = values.indexOf(chosen[field]);
          range.disabled = values.length < 2;
          title.textContent = `${words} = ${chosen[field]}`;
          range.setAttribute("aria-valuetext", chosen[field] === "–" ? "does not apply" : chosen[field]);
        }
      }
    }

    function panel(which) {
      const box = element(stage, "div", { class: "mixkd-world-panel" });
      const select = element(box, "select", { "aria-label": `what is painted on the ${which}` });
      for (const [value, words] of PAINT) element(select, "option", { value }, words);
      select.value = state[which];
      select.addEventListener("change", () => { state[which] = select.value; paint(); });
      const frame = element(box, "div", { class: "mixkd-world-frame" });
      const field = element(frame, "canvas", { "aria-hidden": "true" });
      const over = element(frame, "canvas", { tabindex: 0, role: "application", "aria-roledescription": "plane", "aria-label": "plane: arrow keys move the point, a and b set the ends of the walk there" });
      over.addEventListener("pointermove", (e) => { if (e.pointerType === "mouse" || e.buttons) move(at(over, e)); });
      over.addEventListener("pointerdown", (e) => {
        const p = at(over, e), near = ["a", "b"].find((end) => Math.hypot(state[end][0] - p[0], state[end][1] - p[1]) < half / 14);
        if (near && e.pointerType === "mouse") { dragging = near; over.setPointerCapture(e.pointerId); }
        move(p);
      });
      over.addEventListener("pointerup", () => { dragging = null; });
      over.addEventListener("keydown", (e) => {
        const step = (e.shiftKey ? 5 : 1) * half / 60, by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[e.key];
        if (by) move([state.at[0] + by[0], state.at[1] + by[1]]);
        else if (e.key === "a" || e.key === "b") { state[e.key] = [...state.at]; schedule(); }
        else return;
        e.preventDefault();
      });
      return { which, select, frame, field, over };
    }
    let dragging = null;
    const at = (canvas, e) => {
      const box = canvas.getBoundingClientRect();
      return [((e.clientX - box.left) / box.width) * 2 * half - half, half - ((e.clientY - box.top) / box.height) * 2 * half];
    };
    function move(p) {
      state.at = p.map((v) => clamp(v, -half, half));
      if (dragging) state[dragging] = [...state.at];
      schedule();
    }

    // ---- the answers at the point
    const table = element(side, "table", { class: "mixkd-numbers" });
    const caption = element(table, "caption");
    const head = element(element(table, "thead"), "tr");
    element(head, "td");
    const COLUMNS = [["student", "student"], ["teacher", "teacher"], ["exact", "exact"]];
    for (const [, words] of COLUMNS) element(head, "th", { scope: "col" }, words);
    const body = element(table, "tbody"), cells = [];
    for (let c = 0; c < K; c++) {
      const row = element(body, "tr"), name = element(row, "th", { scope: "row" });
      element(name, "i", { class: "mixkd-world-swatch", style: `background:${meta.colors[c]}` });
      element(name, "span", {}, `class ${c}`);
      cells.push(COLUMNS.map(([which]) => element(row, "td", { "data-answer": `${which}-${c}` })));
    }
    const klRow = element(body, "tr");
    element(klRow, "th", { scope: "row", title: "Kullback–Leibler divergence from the exact posterior, nats" }, "KL, nats");
    const klCells = COLUMNS.map(([which]) => element(klRow, "td", { "data-answer": `${which}-kl` }));
    const over = element(side, "table", { class: "mixkd-numbers mixkd-world-summary" });
    element(over, "caption", {}, "this student, over all test points");
    const overBody = element(over, "tbody"), sums = {};
    for (const [name, words] of [["accuracy", "accuracy"], ["confidence", "mean confidence"], ["kl", "mean KL from exact"]]) {
      const row = element(overBody, "tr");
      element(row, "th", { scope: "row" }, words);
      sums[name] = element(row, "td", { class: "mixkd-value" });
    }

    // ---- the walk from B to A
    const walkHead = element(walk, "div", { class: "mixkd-buttons" });
    const shown = element(walkHead, "output", { class: "mixkd-T" });
    const next = element(walkHead, "button", { type: "button" }, "other ends");
    for (const end of ["a", "b"]) {
      const button = element(walkHead, "button", { type: "button" }, `${end.toUpperCase()} here`);
      button.setAttribute("aria-label", `set end ${end.toUpperCase()} of the walk at the point`);
      button.addEventListener("click", () => { state[end] = [...state.at]; schedule(); });
    }
    next.setAttribute("aria-label", "walk between two other training points");
    next.addEventListener("click", () => { state.pair = (state.pair + 1) % pairs.length; ends(); schedule(); });
    const ribbons = element(walk, "canvas", { class: "mixkd-world-ribbons", role: "img" });
    const sliderBox = element(walk, "div", { class: "mixkd-knob" });
    const slider = element(sliderBox, "input", { type: "range", min: 0, max: 1, step: 0.01, value: 0.5, "aria-label": "λ, weight of A on the walk from B to A" });
    const walkSays = element(walk, "p", { class: "mixkd-says" });
    slider.addEventListener("input", () => { state.lam = +slider.value; state.at = onWalk(state.lam); schedule(); });
    const onWalk = (lam) => [0, 1].map((d) => lam * state.a[d] + (1 - lam) * state.b[d]);
    function ends() {
      const [i, j] = pairs[state.pair];
      state.a = [points[2 * i], points[2 * i + 1]];
      state.b = [points[2 * j], points[2 * j + 1]];
      state.at = onWalk(state.lam);
    }

    // ---- fields
    const fieldsOf = new Map(); // what -> Float64Array of N * N * K log-probabilities, of the present models
    const owner = new Map();
    function fieldOf(what) {
      const net = models[what];
      if (!net) return null;
      if (owner.get(what) === net) return fieldsOf.get(what);
      const out = new Float64Array(N * N * K), x = [0, 0];
      for (let r = 0, at = 0; r < N; r++) for (let c = 0; c < N; c++, at += K) {
        x[0] = ((c + 0.5) / N) * 2 * half - half;
        x[1] = half - ((r + 0.5) / N) * 2 * half;
        logSoftmax(net(x, scratch), K, out, 0, at);
      }
      fieldsOf.set(what, out);
      owner.set(what, net);
      return out;
    }

    const colors = meta.colors.map(rgb), small = document.createElement("canvas");
    small.width = small.height = N;
    const look = () => {
      const style = getComputedStyle(root);
      return { paper: rgb(getComputedStyle(key).backgroundColor), ink: style.color };
    };
    function paintField(box, px) {
      const what = state[box.which], { paper, ink } = look();
      const context = box.field.getContext("2d"), image = small.getContext("2d").createImageData(N, N), data = image.data;
      const between = { "kl-student": ["exact", "student"], "kl-teacher": ["exact", "teacher"], "kl-between": ["teacher", "student"] }[what];
      const [of, to] = (between || [what]).map(fieldOf), missing = !of || (between && !to);
      const big = Math.max(px / 330, 0.8 * ratio());
      box.field.width = box.field.height = px;
      box.missing = missing;
      context.clearRect(0, 0, px, px);
      if (missing) return;
      const margin = [...Array(K)].map(() => new Float64Array(N * N)), top = new Float64Array(N * N);
      for (let i = 0; i < N * N; i++) {
        let mixed = [0, 0, 0], strength;
        if (between) {
          mixed = KL_COLOR;
          strength = 0.95 * Math.sqrt(clamp(kl(of, to, K, i * K, i * K) / KL_TOP, 0, 1));
        } else {
          let best = 0, most = -Infinity, second = -Infinity;
          for (let c = 0; c < K; c++) {
            const l = of[i * K + c], p = Math.exp(l);
            for (let d = 0; d < 3; d++) mixed[d] += p * colors[c][d];
            if (l > most) { second = most; most = l; best = c; } else if (l > second) second = l;
          }
          for (let c = 0; c < K; c++) margin[c][i] = of[i * K + c] - (c === best ? second : most);
          top[i] = Math.exp(most);
          strength = 0.12 + 0.68 * clamp((top[i] - 1 / K) / (1 - 1 / K), 0, 1);
        }
        for (let d = 0; d < 3; d++) data[4 * i + d] = paper[d] + strength * (mixed[d] - paper[d]);
        data[4 * i + 3] = 255;
      }
      small.getContext("2d").putImageData(image, 0, 0);
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      context.drawImage(small, 0, 0, px, px);
      if (between) return;
      const line = (segments, width, dash) => {
        context.beginPath();
        const scale = px / N;
        for (let s = 0; s < segments.length; s += 4) {
          context.moveTo((segments[s] + 0.5) * scale, (segments[s + 1] + 0.5) * scale);
          context.lineTo((segments[s + 2] + 0.5) * scale, (segments[s + 3] + 0.5) * scale);
        }
        context.strokeStyle = ink;
        context.lineWidth = width;
        context.globalAlpha = dash;
        context.stroke();
        context.globalAlpha = 1;
      };
      margin.forEach((f) => line(contour(f, N, 0), 1.7 * big, 0.9));
      line(contour(top, N, 0.9), 0.8 * big, 0.6);
    }

    /** A mark for a class: the shape tells it, the colour helps. */
    function mark(context, label, x, y, r) {
      const turns = [[], [4, Math.PI / 4], [3, -Math.PI / 2], [4, 0], [3, Math.PI / 2]][label % 5];
      context.beginPath();
      if (!turns.length) context.arc(x, y, r, 0, 7);
      else for (let s = 0; s < turns[0]; s++) context.lineTo(x + 1.25 * r * Math.cos(turns[1] + (s * 2 * Math.PI) / turns[0]), y + 1.25 * r * Math.sin(turns[1] + (s * 2 * Math.PI) / turns[0]));
      context.closePath();
    }
    function paintPoints(box, px) {
      const context = box.field.getContext("2d"), { paper, ink } = look(), scale = px / (2 * half), big = Math.max(px / 330, 0.72 * ratio());
      if (box.missing) return;
      if (state.points) for (let i = meta.n - 1; i >= 0; i--) {
        const seen = i < meta.seen;
        mark(context, labels[i], (points[2 * i] + half) * scale, (half - points[2 * i + 1]) * scale, (seen ? 3.2 : 1.9) * big);
        context.globalAlpha = seen ? 1 : 0.55;
        context.fillStyle = meta.colors[labels[i] % K];
        context.fill();
        context.strokeStyle = seen ? ink : meta.colors[labels[i] % K];
        context.lineWidth = px / 420;
        context.stroke();
      }
      context.globalAlpha = 1;
      context.font = `700 ${16.5 * big}px sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      meta.means.forEach(([x, y], label) => {
        const u = (x + half) * scale, v = (half - y) * scale;
        context.lineWidth = 4.4 * big;
        context.lineJoin = "round";
        context.strokeStyle = `rgb(${paper.join()})`;
        context.fillStyle = ink;
        context.strokeText(label, u, v);
        context.fillText(label, u, v);
      });
    }

    function paint() {
      if (!models.student) return;
      for (const box of panels) {
        const css = box.frame.clientWidth || 300, px = Math.round(css * ratio());
        const of = { student: [models.student], teacher: [models.teacher], "kl-student": [models.student], "kl-teacher": [models.teacher], "kl-between": [models.student, models.teacher] };
        const now = [state[box.which], state.points, px, look().ink, meta.n, ...(of[state[box.which]] || [])];
        if (box.now && now.every((v, i) => v === box.now[i])) continue;
        box.now = now;
        paintField(box, px);
        paintPoints(box, px);
        box.frame.classList.toggle("mixkd-world-missing", box.missing);
        box.frame.dataset.missing = box.missing ? "this student has no teacher" : "";
      }
      const kls = panels.some((box) => state[box.which].startsWith("kl"));
      key.textContent = "Colour: the class, numbered at its mean; the paler, the less sure. Heavy lines: where the answer changes. Thin lines: 90 % sure."
        + (kls ? ` KL: paper is 0, full colour ${KL_TOP} nats or more.` : "")
        + (state.points ? ` Large marks: the ${meta.seen} points the students saw${meta.seen < meta.n ? "; small ones: those only the teacher saw" : ""}.` : "");
      draw();
    }

    function drawOver(box) {
      const css = box.frame.clientWidth || 300, k = ratio(), px = Math.round(css * k);
      if (box.over.width !== px) box.over.width = box.over.height = px;
      const context = box.over.getContext("2d"), { paper, ink } = look(), scale = px / (2 * half);
      const to = ([x, y]) => [(x + half) * scale, (half - y) * scale];
      context.clearRect(0, 0, px, px);
      const [a, b, p] = [state.a, state.b, state.at].map(to), halo = `rgb(${paper.join()})`;
      for (const [color, width] of [[halo, 4], [ink, 1.8]]) {
        context.beginPath();
        context.moveTo(...b);
        context.lineTo(...a);
        context.strokeStyle = color;
        context.lineWidth = width * k;
        context.setLineDash(color === ink ? [5 * k, 4 * k] : []);
        context.stroke();
      }
      context.setLineDash([]);
      context.font = `700 ${11 * k}px sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      for (const [q, word] of [[a, "A"], [b, "B"]]) {
        context.beginPath();
        context.arc(...q, 8.5 * k, 0, 7);
        context.fillStyle = ink;
        context.fill();
        context.fillStyle = halo;
        context.fillText(word, ...q);
      }
      for (const [color, width] of [[halo, 5], [ink, 2.2]]) {
        context.beginPath();
        context.arc(...p, 7 * k, 0, 7);
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
          context.moveTo(p[0] + 4 * dx * k, p[1] + 4 * dy * k);
          context.lineTo(p[0] + 12 * dx * k, p[1] + 12 * dy * k);
        }
        context.strokeStyle = color;
        context.lineWidth = width * k;
        context.stroke();
      }
    }

    /** Answers along the walk: each strip stacks the class probabilities, from B (left) to A (right). */
    function segment(count = WAYS) {
      const found = {};
      for (const [which] of COLUMNS) {
        if (!models[which]) continue;
        const rows = [...Array(count + 1)].map((_, i) => answer(models[which], onWalk(i / count)));
        const bend = rows.map((row, i) => nonlinearity(rows[count], rows[0], row, K, i / count));
        found[which] = { rows, area: bend.reduce((sum, v, i) => sum + (i ? (v + bend[i - 1]) / 2 : 0), 0) / count };
      }
      for (const which of Object.keys(found)) found[which].kl = found.exact.rows.reduce((sum, row, i) => sum + kl(row, found[which].rows[i], K), 0) / (count + 1);
      return found;
    }
    let walked = { key: "" };
    function drawWalk() {
      const key = [...state.a, ...state.b].join();
      if (walked.key !== key || walked.student !== models.student) walked = { key, student: models.student, found: segment() };
      const found = walked.found, names = COLUMNS.filter(([which]) => found[which]), k = ratio();
      const width = walk.clientWidth, strip = 30, gap = 19, height = names.length * (strip + gap) + 2, { paper, ink } = look();
      ribbons.style.height = `${height}px`;
      ribbons.width = Math.round(width * k);
      ribbons.height = Math.round(height * k);
      const context = ribbons.getContext("2d");
      context.scale(k, k);
      const left = 10, inner = width - 20, x = (i) => left + (inner * i) / WAYS;
      names.forEach(([which, words], row) => {
        const top = row * (strip + gap) + gap - 3, { rows, area, kl: far } = found[which], floor = new Float64Array(WAYS + 1);
        context.fillStyle = ink;
        context.font = "12px sans-serif";
        context.textAlign = "left";
        context.textBaseline = "alphabetic";
        context.fillText(`${words}${which === "exact" ? " posterior" : `: ${far.toFixed(3)} nats from exact`}${width > 500 ? `, non-linearity ${area.toFixed(3)}` : ""}`, left, top - 5);
        for (let c = 0; c < K; c++) {
          const from = Float64Array.from(floor);
          rows.forEach((r, i) => { floor[i] += Math.exp(r[c]); });
          context.beginPath();
          for (let i = 0; i <= WAYS; i++) context.lineTo(x(i), top + strip * (1 - floor[i]));
          for (let i = WAYS; i >= 0; i--) context.lineTo(x(i), top + strip * (1 - from[i]));
          context.closePath();
          context.fillStyle = meta.colors[c];
          context.globalAlpha = 0.8;
          context.fill();
          context.globalAlpha = 1;
          context.strokeStyle = `rgb(${paper.join()})`;
          context.lineWidth = 1;
          context.stroke();
          const wide = rows.reduce((best, r, i) => (r[c] > rows[best][c] ? i : best), 0), tall = Math.exp(rows[wide][c]);
          if (tall > 0.45) {
            const u = clamp(x(wide), left + 8, left + inner - 8), v = top + strip * (1 - (floor[wide] + from[wide]) / 2) + 4.5;
            context.font = "700 12px sans-serif";
            context.textAlign = "center";
            context.lineWidth = 3;
            context.strokeText(c, u, v);
            context.fillStyle = ink;
            context.fillText(c, u, v);
          }
        }
        const here = left + inner * state.lam;
        context.beginPath();
        context.moveTo(here, top - 2);
        context.lineTo(here, top + strip + 2);
        context.strokeStyle = ink;
        context.lineWidth = 2;
        context.stroke();
      });
      ribbons.setAttribute("aria-label", `class probabilities from B to A, mean distance from the exact posterior: ${names.filter(([w]) => w !== "exact").map(([w, words]) => `${words} ${found[w].kl.toFixed(3)} nats`).join(", ")}`);
      walkSays.textContent = "Left B, right A: each strip stacks the probabilities of the classes on the way.";
    }

    const print = (p) => p.toFixed(3);
    function draw() {
      if (!models.student) return;
      const found = Object.fromEntries(COLUMNS.map(([which]) => [which, models[which] && answer(models[which], state.at)]));
      caption.textContent = `at (${state.at.map((v) => v.toFixed(2).replace("-", "−")).join(", ")})`;
      COLUMNS.forEach(([which], column) => {
        const log = found[which], best = log && log.indexOf(Math.max(...log));
        for (let c = 0; c < K; c++) {
          const cell = cells[c][column];
          cell.textContent = log ? print(Math.exp(log[c])) : "–";
          cell.classList.toggle("mixkd-value", Boolean(log) && c === best);
          cell.style.setProperty("--p", log ? Math.exp(log[c]) : 0);
          cell.style.setProperty("--c", meta.colors[c]);
        }
        klCells[column].textContent = which === "exact" ? "0" : log ? print(kl(found.exact, log, K)) : "–";
      });
      shown.textContent = `λ = ${state.lam.toFixed(2)}`;
      slider.value = state.lam;
      slider.setAttribute("aria-valuetext", `lambda ${state.lam.toFixed(2)}`);
      panels.forEach(drawOver);
      drawWalk();
      settle(found);
    }
    const schedule = eachFrame(draw);

    const settle = settled((found) => {
      const say = ([which, words]) => {
        const log = found[which];
        if (!log) return "";
        const best = log.indexOf(Math.max(...log));
        return `${words}: class ${best} with ${print(Math.exp(log[best]))}`;
      };
      live.textContent = `At ${state.at.map((v) => v.toFixed(1)).join(", ")}: ${COLUMNS.map(say).filter(Boolean).join("; ")}.`;
    });

    let ticket = 0;
    function refresh() {
      const mine = ++ticket, chosen = meta.models[state.model];
      fill();
      Promise.all([fetchNet(chosen), chosen.teacher ? fetchNet(meta.teachers[chosen.teacher]) : null]).then(
        ([student, teacher]) => {
          if (mine !== ticket) return;
          models.student = student;
          models.teacher = teacher;
          root.style.setProperty("--a", chosen.color);
          for (const name in sums) sums[name].textContent = name in chosen.summary ? print(chosen.summary[name]) : "–";
          paint();
        },
        (error) => { if (mine === ticket) { live.textContent = `${error.message}.`; key.textContent = live.textContent; } },
      );
    }

    Promise.all([meta.points, meta.labels].map((name) => text(name))).then(([xs, ys]) => {
      points = float32(xs);
      labels = uint16(ys);
      // Walks between training points of two classes, well inside the square and well apart.
      const inside = (i) => Math.max(Math.abs(points[2 * i]), Math.abs(points[2 * i + 1])) < 0.95 * half;
      const apart = (i, j) => Math.hypot(points[2 * i] - points[2 * j], points[2 * i + 1] - points[2 * j + 1]);
      for (let i = 0; i < meta.seen && pairs.length < 24; i++) for (let j = i + 1; j < meta.seen; j++) {
        if (labels[i] === labels[j] || apart(i, j) < 0.7 * half || !inside(i) || !inside(j)) continue;
        pairs.push([i, j]);
        break;
      }
      if (!pairs.length) pairs = [[0, meta.n - 1]];
      ends();
      refresh();
    });
    new MutationObserver(() => paint()).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => paint());
    let wide = 0;
    new ResizeObserver(() => {
      if (stage.clientWidth === wide) return;
      wide = stage.clientWidth;
      paint();
    }).observe(root);

    // For tests: what stands behind the picture.
    root.mixkd = {
      ready: () => Boolean(models.student),
      state: () => ({ ...state, label: meta.models[state.model].label }),
      log: (which, xs) => xs.map((x) => Array.from(answer(models[which], x))),
      show: (index) => { state.model = index; refresh(); },
      move: (p) => { move(p); draw(); },
      segment,
      paint,
    };
  }

  document.querySelectorAll(".mixkd-lab[data-lab=boundary]:not([data-ready])").forEach(mount);
})();
