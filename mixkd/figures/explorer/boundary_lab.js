// The boundary world: students' decision fields over a plane, computed here from their weights, beside the exact posterior.
(() => {
  "use strict";
  const {
    set, element, button, select, checkbox, numbers, clamp, number, mount, source, newest, modelControls, modelKey, modelOf, remember, drag, keys, eachFrame,
    onWidth, onTheme, colors, canvas,
  } = window.mixkdLive;
  const { uint16, float32, logSoftmax, network, kl, nonlinearity } = window.mixkdMeasures;
  const { sample, paintAnswers, paintDistance, mark, KL_TOP } = window.mixkdField;
  const WAYS = 100; // points of the walk from B to A
  const COLUMNS = ["student", "teacher", "exact"];
  const BETWEEN = { "kl-student": ["exact", "student"], "kl-teacher": ["exact", "teacher"], "kl-between": ["teacher", "student"] };
  const PAINT = [
    ["student", "student"], ["teacher", "teacher"], ["exact", "exact posterior"],
    ...Object.entries(BETWEEN).map(([value, [of, to]]) => [value, `KL(${of} ‖ ${to})`]),
  ];

  function build(root, meta) {
    const { half, colors: classColors } = meta, K = classColors.length, classes = [...classColors.keys()], stored = source(root);
    const models = { student: null, teacher: null, exact: exactPosterior(meta.exact, K) }, scratch = new Float64Array(K);
    const present = () => COLUMNS.filter((who) => models[who]);
    const answer = (net, x) => logSoftmax(net(x, scratch), K, new Float64Array(K));
    const fetchNet = ({ shape, weights }) => stored(weights, (text) => network(shape, float32(text)));
    let points = new Float32Array(0), labels = new Uint16Array(0), pairs = [[0, 0]];

    // ---- state: null for an end of the walk means a training point, null for the point means on the walk at lam
    const state = { model: 0, left: "student", right: "exact", points: true, pair: 0, a: null, b: null, lam: 0.5, at: null };
    function end(which) {
      const i = (pairs[state.pair] || pairs[0])[which === "a" ? 0 : 1];
      return state[which] || [points[2 * i], points[2 * i + 1]];
    }
    const onWalk = (lam) => [0, 1].map((d) => lam * end("a")[d] + (1 - lam) * end("b")[d]);
    const here = () => state.at || onWalk(state.lam);
    function move(p) {
      state.at = p.map((v) => clamp(v, -half, half));
      schedule();
    }
    function setEnd(which) {
      state.at = state[which] = here();
      schedule();
    }

    // ---- page
    const ui = element(root, "div", { class: "mixkd-world-ui" });
    const choices = element(ui, "fieldset", { class: "mixkd-choice mixkd-world-choices" });
    element(choices, "legend", {}, "student");
    const fill = modelControls(choices, meta, (index) => { state.model = index; refresh(); }, ["alpha", "tau"]);
    const showPoints = checkbox(choices, "training points", (checked) => { state.points = checked; paint(); });
    const stage = element(ui, "div", { class: "mixkd-world-stage" });
    const panels = ["left", "right"].map(panel);
    const key = element(ui, "p", { class: "mixkd-world-key" });
    const side = element(ui, "div", { class: "mixkd-world-side" });
    const walk = element(ui, "div", { class: "mixkd-world-walk" });

    function panel(which) {
      const box = element(stage, "div", { class: "mixkd-world-panel" });
      const what = select(box, "", { "aria-label": `what is painted on the ${which}` }, PAINT, (value) => { state[which] = value; paint(); });
      const frame = element(box, "div", { class: "mixkd-world-frame" });
      const field = element(frame, "canvas", { "aria-hidden": "true" });
      const over = element(frame, "canvas", {
        tabindex: 0, role: "application", "aria-roledescription": "plane",
        "aria-label": "plane: arrow keys move the point, a and b set the ends of the walk there",
      });
      hands(over);
      return { which, what, frame, field, over, painted: [] };
    }
    /** A mouse moves the point and drags the ends, a finger drags all three, keys move the point. */
    function hands(plane) {
      const place = (event) => {
        const box = plane.getBoundingClientRect();
        return [((event.clientX - box.left) / box.width) * 2 * half - half, half - ((event.clientY - box.top) / box.height) * 2 * half];
      };
      const grab = (event) => {
        const p = place(event), mouse = event.pointerType === "mouse", reach = ((mouse ? 12 : 26) * 2 * half) / plane.clientWidth;
        const near = Object.entries({ a: end("a"), b: end("b"), ...(!mouse && { at: here() }) })
          .map(([handle, q]) => [handle, Math.hypot(q[0] - p[0], q[1] - p[1])]).sort((one, other) => one[1] - other[1])[0];
        return near[1] < reach ? near[0] : null;
      };
      drag(plane, grab, (handle, event) => {
        move(place(event));
        if (handle) state[handle] = state.at;
      });
      const step = (right, up) => (event) => {
        const by = ((event.shiftKey ? 5 : 1) * half) / 60, [x, y] = here();
        move([x + right * by, y + up * by]);
      };
      keys(plane, { ArrowLeft: step(-1, 0), ArrowRight: step(1, 0), ArrowUp: step(0, 1), ArrowDown: step(0, -1), a: () => setEnd("a"), b: () => setEnd("b") });
    }

    // ---- the answers at the point, the student's summary, and the walk
    const names = (row) => COLUMNS.map((who) => `${who}-${row}`);
    const { table, head, cells } = numbers(side, COLUMNS, [
      ...classes.map((c) => [`class ${c}`, "", names(c)]),
      ["KL, nats", "Kullback–Leibler divergence from the exact posterior, nats", names("kl")],
    ]);
    const caption = table.createCaption(), distances = cells.pop();
    classes.forEach((c) => {
      table.tBodies[0].rows[c].cells[0].prepend(set(document.createElement("i"), { class: "mixkd-world-swatch", style: `background:${classColors[c]}` }));
      for (const cell of cells[c]) { cell.className = "mixkd-world-answer"; cell.style.setProperty("--c", classColors[c]); }
    });
    for (const cell of distances) cell.className = "";
    const sums = numbers(side, [], [["accuracy", "", ["accuracy"]], ["mean confidence", "", ["confidence"]], ["mean KL from exact", "", ["kl"]]]);
    sums.table.createCaption().textContent = "this student, over all test points";

    const walkHead = element(walk, "div", { class: "mixkd-buttons" });
    const shown = element(walkHead, "output", { class: "mixkd-T" });
    button(walkHead, "other ends", () => {
      Object.assign(state, { pair: (state.pair + 1) % pairs.length, a: null, b: null, at: null });
      schedule();
    }, { "aria-label": "walk between two other training points" });
    for (const which of ["a", "b"]) {
      const letter = which.toUpperCase();
      button(walkHead, `${letter} here`, () => setEnd(which), { "aria-label": `set end ${letter} of the walk at the point` });
    }
    const ribbons = element(walk, "canvas", { class: "mixkd-world-ribbons", role: "img" });
    const knob = element(walk, "div", { class: "mixkd-knob" });
    const slider = element(knob, "input", { type: "range", min: 0, max: 1, step: 0.01, "aria-label": "λ, weight of A on the walk from B to A" });
    element(walk, "p", { class: "mixkd-says" }, "Left B, right A: each strip stacks the probabilities of the classes on the way.");
    slider.addEventListener("input", () => { Object.assign(state, { lam: +slider.value, at: null }); schedule(); });

    // ---- the two fields
    const fields = new Map(); // network -> its log-probabilities over the grid
    const fieldOf = (who) => {
      const net = models[who];
      if (net && !fields.has(net)) fields.set(net, sample(net, half, K));
      return net && fields.get(net);
    };
    let look = null, widths = null; // read here, so that moving the point forces no layout
    function paint() {
      if (!models.student) return;
      for (const net of fields.keys()) if (!Object.values(models).includes(net)) fields.delete(net);
      look = colors(root);
      widths = { panel: panels[0].frame.clientWidth || 300, walk: walk.clientWidth || 300 };
      for (const box of panels) {
        const what = state[box.which], width = widths.panel;
        const now = [what, state.points, width, devicePixelRatio, look.ink, labels, models.student, models.teacher];
        if (now.every((value, i) => value === box.painted[i])) continue;
        box.painted = now;
        const shown = (BETWEEN[what] || [what]).map(fieldOf), missing = !shown.every(Boolean), context = canvas(box.field, width, width);
        box.frame.dataset.missing = missing ? "this student has no teacher" : "";
        if (missing) continue;
        if (BETWEEN[what]) paintDistance(context, width, ...shown, K, look);
        else paintAnswers(context, width, shown[0], classColors, look);
        paintPoints(context, width);
      }
      for (const box of panels) box.what.value = state[box.which];
      showPoints.checked = state.points;
      key.textContent = [
        "Colour: the class, numbered at its mean; the paler, the less sure. Heavy lines: where the answer changes. Thin lines: 90 % sure.",
        panels.some((box) => BETWEEN[state[box.which]]) && `KL: paper is 0, full colour ${KL_TOP} nats or more.`,
        state.points && `Large marks: the ${meta.seen} points the students saw${meta.seen < meta.n ? "; small ones: those only the teacher saw" : ""}.`,
      ].filter(Boolean).join(" ");
      draw();
    }
    function paintPoints(context, width) {
      const { paper, ink } = look, scale = width / (2 * half), big = Math.max(width / 330, 0.72);
      if (state.points) for (let i = labels.length - 1; i >= 0; i--) {
        const seen = i < meta.seen, color = classColors[labels[i] % K];
        mark(context, labels[i], (points[2 * i] + half) * scale, (half - points[2 * i + 1]) * scale, (seen ? 3.2 : 1.9) * big);
        Object.assign(context, { globalAlpha: seen ? 1 : 0.55, fillStyle: color, strokeStyle: seen ? ink : color, lineWidth: width / 420 });
        context.fill();
        context.stroke();
      }
      Object.assign(context, { globalAlpha: 1, font: `700 ${16.5 * big}px sans-serif`, textAlign: "center", textBaseline: "middle" });
      Object.assign(context, { lineWidth: 4.4 * big, lineJoin: "round", strokeStyle: paper, fillStyle: ink });
      meta.means.forEach(([x, y], label) => {
        context.strokeText(label, (x + half) * scale, (half - y) * scale);
        context.fillText(label, (x + half) * scale, (half - y) * scale);
      });
    }

    /** The walk and the point, over a field. */
    function drawOver(box) {
      const { paper, ink } = look, width = widths.panel, context = canvas(box.over, width, width), scale = width / (2 * half);
      const [a, b, p] = [end("a"), end("b"), here()].map(([x, y]) => [(x + half) * scale, (half - y) * scale]);
      const stroke = (strokeStyle, lineWidth) => { Object.assign(context, { strokeStyle, lineWidth }); context.stroke(); };
      context.beginPath();
      context.moveTo(...b);
      context.lineTo(...a);
      stroke(paper, 4);
      context.setLineDash([5, 4]);
      stroke(ink, 1.8);
      context.setLineDash([]);
      Object.assign(context, { font: "700 11px sans-serif", textAlign: "center", textBaseline: "middle" });
      for (const [q, letter] of [[a, "A"], [b, "B"]]) {
        context.beginPath();
        context.arc(...q, 8.5, 0, 7);
        context.fillStyle = ink;
        context.fill();
        context.fillStyle = paper;
        context.fillText(letter, ...q);
      }
      context.beginPath();
      context.arc(...p, 7, 0, 7);
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        context.moveTo(p[0] + 4 * dx, p[1] + 4 * dy);
        context.lineTo(p[0] + 12 * dx, p[1] + 12 * dy);
      }
      stroke(paper, 5);
      stroke(ink, 2.2);
    }

    // ---- answers along the walk, from B to A
    function segment(count = WAYS) {
      const found = {};
      for (const who of present()) {
        const rows = Array.from({ length: count + 1 }, (_, i) => answer(models[who], onWalk(i / count)));
        const bend = rows.map((row, i) => nonlinearity(rows[count], rows[0], row, K, i / count));
        found[who] = { rows, area: bend.reduce((sum, v, i) => sum + (i ? (v + bend[i - 1]) / 2 : 0), 0) / count };
      }
      for (const each of Object.values(found)) each.kl = found.exact.rows.reduce((sum, row, i) => sum + kl(row, each.rows[i], K), 0) / (count + 1);
      return found;
    }
    let walked = { from: "" };
    function drawWalk() {
      const { paper, ink } = look, from = [...end("a"), ...end("b")].join();
      if (walked.from !== from || walked.student !== models.student) walked = { from, student: models.student, found: segment() };
      const { found } = walked, width = widths.walk, strip = 30, gap = 19, left = 10, inner = width - 20, height = present().length * (strip + gap) + 2;
      ribbons.style.height = `${height}px`;
      const context = canvas(ribbons, width, height), x = (i) => left + (inner * i) / WAYS, at = left + inner * state.lam;
      present().forEach((who, row) => {
        const top = row * (strip + gap) + gap - 3, { rows, area, kl: far } = found[who];
        const said = who === "exact" ? "exact posterior" : `${who}: ${number(far, 3)} nats from exact`;
        Object.assign(context, { fillStyle: ink, font: "12px sans-serif", textAlign: "left", textBaseline: "alphabetic" });
        context.fillText(said + (width > 500 ? `, non-linearity ${number(area, 3)}` : ""), left, top - 5);
        let floor = new Float64Array(WAYS + 1);
        for (const c of classes) {
          const under = floor;
          floor = rows.map((r, i) => under[i] + Math.exp(r[c]));
          context.beginPath();
          for (let i = 0; i <= WAYS; i++) context.lineTo(x(i), top + strip * (1 - floor[i]));
          for (let i = WAYS; i >= 0; i--) context.lineTo(x(i), top + strip * (1 - under[i]));
          context.closePath();
          Object.assign(context, { fillStyle: classColors[c], globalAlpha: 0.8 });
          context.fill();
          Object.assign(context, { globalAlpha: 1, strokeStyle: paper, lineWidth: 1 });
          context.stroke();
          const widest = rows.reduce((best, r, i) => (r[c] > rows[best][c] ? i : best), 0);
          if (Math.exp(rows[widest][c]) < 0.45) continue;
          const place = [clamp(x(widest), left + 8, left + inner - 8), top + strip * (1 - (floor[widest] + under[widest]) / 2) + 4.5];
          Object.assign(context, { font: "700 12px sans-serif", textAlign: "center", lineWidth: 3, fillStyle: ink });
          context.strokeText(c, ...place);
          context.fillText(c, ...place);
        }
        context.beginPath();
        context.moveTo(at, top - 2);
        context.lineTo(at, top + strip + 2);
        Object.assign(context, { strokeStyle: ink, lineWidth: 2 });
        context.stroke();
      });
      const distance = present().filter((who) => who !== "exact").map((who) => `${who} ${number(found[who].kl, 3)} nats`).join(", ");
      ribbons.setAttribute("aria-label", `class probabilities from B to A, mean distance from the exact posterior: ${distance}`);
    }

    // ---- what follows the point
    function draw() {
      if (!models.student || !labels.length) return;
      const found = COLUMNS.map((who) => models[who] && answer(models[who], here())), lam = number(state.lam, 2);
      caption.textContent = `at (${here().map((v) => number(v, 2)).join(", ")})`;
      found.forEach((log, column) => {
        const best = log && log.indexOf(Math.max(...log));
        for (const c of classes) {
          const cell = cells[c][column];
          cell.textContent = log ? number(Math.exp(log[c]), 3) : "–";
          cell.classList.toggle("mixkd-value", c === best);
          cell.style.setProperty("--p", log ? Math.exp(log[c]) : 0);
        }
        distances[column].textContent = COLUMNS[column] === "exact" ? "0" : log ? number(kl(found[2], log, K), 3) : "–";
      });
      shown.textContent = `λ = ${lam}`;
      slider.value = state.lam;
      slider.setAttribute("aria-valuetext", `lambda ${lam}`);
      panels.forEach(drawOver);
      drawWalk();
      view.rest();
    }
    const schedule = eachFrame(draw);

    const show = newest(root, ([student, teacher, xs, ys]) => {
      Object.assign(models, { student, teacher });
      const { color, summary } = meta.models[state.model];
      if (!labels.length) { points = xs; labels = ys; pairs = walks(); }
      root.style.setProperty("--a", color);
      ["accuracy", "confidence", "kl"].forEach((name, row) => { sums.cells[row][0].textContent = name in summary ? number(summary[name], 3) : "–"; });
      paint();
    }, (words) => { key.textContent = words; });
    function refresh() {
      const chosen = meta.models[state.model];
      fill(state.model);
      show([fetchNet(chosen), chosen.teacher ? fetchNet(meta.teachers[chosen.teacher]) : null, stored(meta.points, float32), stored(meta.labels, uint16)]);
    }
    /** Walks between training points of two classes, well inside the square and well apart. */
    function walks() {
      const point = (i) => [points[2 * i], points[2 * i + 1]], inside = (i) => point(i).every((v) => Math.abs(v) < 0.95 * half);
      const apart = (i, j) => Math.hypot(point(i)[0] - point(j)[0], point(i)[1] - point(j)[1]) >= 0.7 * half;
      const found = [];
      for (let i = 0; i < meta.seen && found.length < 24; i++) for (let j = i + 1; j < meta.seen; j++) {
        if (labels[i] === labels[j] || !apart(i, j) || !inside(i) || !inside(j)) continue;
        found.push([i, j]);
        break;
      }
      return found.length ? found : [[0, meta.n - 1]];
    }

    const written = (p) => (p ? p.map((v) => v.toFixed(3)).join() : "");
    function read(get) {
      const model = modelOf(meta, get, "model"), pair = Number(get("pair")), lam = get("lam") ? Number(get("lam")) : NaN;
      if (model >= 0) state.model = model;
      for (const which of ["left", "right"]) if (PAINT.some(([value]) => value === get(which))) state[which] = get(which);
      if (get("points") === "0") state.points = false;
      if (Number.isInteger(pair) && pair >= 0) state.pair = pair;
      if (lam >= 0 && lam <= 1) state.lam = lam;
      for (const which of ["a", "b", "at"]) {
        const p = /^-?[\d.]+,-?[\d.]+$/.test(get(which)) ? get(which).split(",").map(Number) : [NaN];
        if (p.every((v) => Math.abs(v) <= half)) state[which] = p;
      }
    }
    const view = remember(root, meta.name, state, {
      read, refresh,
      write: () => ({
        model: modelKey(meta, state.model), left: state.left, right: state.right, points: state.points ? "" : "0", pair: state.pair && String(state.pair),
        a: written(state.a), b: written(state.b), lam: String(state.lam), at: written(state.at),
      }),
      words() {
        const say = (who) => {
          const log = answer(models[who], here()), best = log.indexOf(Math.max(...log));
          return `${who}: class ${best} with ${number(Math.exp(log[best]), 3)}`;
        };
        return `At ${here().map((v) => number(v, 1)).join(", ")}: ${present().map(say).join("; ")}.`;
      },
    });
    refresh();
    onTheme(paint);
    onWidth(stage, paint);
    return {
      ready: () => Boolean(models.student),
      state: () => ({ ...state, a: end("a"), b: end("b"), at: here(), label: meta.models[state.model].label }),
      log: (who, xs) => xs.map((x) => Array.from(answer(models[who], x))),
      show: (index) => { state.model = index; refresh(); },
      move: (p) => { move(p); draw(); },
      segment,
      paint,
    };
  }

  /** The exact posterior as a network: logits affine in x. */
  const exactPosterior = ({ weight, bias }, K) => (x, out) => {
    for (let j = 0; j < K; j++) out[j] = weight[2 * j] * x[0] + weight[2 * j + 1] * x[1] + bias[j];
    return out;
  };

  mount("boundary", build);
})();
