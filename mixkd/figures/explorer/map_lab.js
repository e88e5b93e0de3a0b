// The map: a button for each calibration of the teacher and each tau; beside it what the students of the chosen cell do.
// Words and numbers come from Python (mixkd.figures.map); here they are chosen, placed and drawn.
(() => {
  "use strict";
  const { svg, element, marker, DASHES, ticks, eachFrame, settled, options } = window.mixkdLive;
  const calm = () => window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  const BINS = 15;

  function mount(root) {
    root.dataset.ready = "";
    const meta = JSON.parse(root.querySelector(".mixkd-meta").textContent), columns = Object.keys(meta.columns);
    const state = { tab: 0, arm: "kd_mixup", view: meta.question, rival: false };
    goHome();
    const tab = () => meta.tabs[state.tab];
    const key = (s = state) => `${s.teacher}~${s.calibration}~${s.tau}`;
    const entry = (s = state) => (tab().cells[key(s)] || {})[s.arm] || { head: "Not run", short: "not run", command: "" };
    const school = (s = state) => tab().schools[`${s.teacher}~${s.calibration}`];
    const tauWords = (tau) => (tau === "std" ? "logits divided by their own spread" : `τ ${tau}`);

    /** The paper's cell of a tab. */
    function goHome() {
      [state.teacher, state.calibration, state.tau] = meta.tabs[state.tab].paper.split("~");
      state.rival = false;
    }

    // ---- page
    root.querySelector(".mixkd-fallback").hidden = true;
    for (const [arm, look] of Object.entries(meta.looks)) root.style.setProperty(`--${arm}`, look.color);
    const ui = element(root, "div", { class: "mixkd-map" });
    const bar = element(ui, "div", { class: "mixkd-map-bar" });
    const tabs = choices(bar, "data", meta.tabs.map((t, i) => [i, t.label]), "tab", (i) => { state.tab = +i; goHome(); });
    const arms = choices(bar, "student", Object.entries(meta.students), "arm", (arm) => { state.arm = arm; state.rival = false; });
    const left = element(ui, "div", { class: "mixkd-map-left" });
    const board = element(left, "div", { class: "mixkd-board", role: "group", "aria-label":
      `${meta.title} Times less overconfident than the plain student; across: the teacher's calibration, up: distillation temperature τ. Arrow keys move.` });
    board.style.setProperty("--rows", meta.rows);
    const theirs = element(left, "div", { class: "mixkd-map-theirs", role: "img" });
    const axis = element(left, "div", { class: "mixkd-map-axis" });
    element(axis, "span", {}, "the teacher’s calibration");
    const box = element(axis, "label", { class: "mixkd-map-teacher" });
    element(box, "span", {}, "teacher");
    const teachers = element(box, "select", { "data-choice": "teacher" });
    teachers.addEventListener("change", () => { state.teacher = teachers.value; state.rival = false; act(); });

    const moves = element(left, "div", { class: "mixkd-buttons" });
    const calibrate = element(moves, "button", { type: "button", class: "mixkd-map-move mixkd-map-first" }, "calibrate the teacher");
    calibrate.addEventListener("click", () => { state.calibration = state.calibration === "fitted" && !state.rival ? "raw" : "fitted"; state.rival = false; act(); });
    const instead = element(moves, "button", { type: "button", class: "mixkd-map-move" }, "calibrate the plain student instead");
    instead.addEventListener("click", () => { state.rival = !state.rival; if (state.rival) state.view = "overconfidence"; act(); });

    const right = element(ui, "div", { class: "mixkd-map-right" });
    const views = choices(right, "compare", Object.entries(meta.questions), "view", (view) => { state.view = view; state.rival = state.rival && view === "overconfidence"; });
    const head = element(right, "p", { class: "mixkd-map-head" });
    const says = element(right, "p", { class: "mixkd-map-says" });
    const pair = element(right, "div", { class: "mixkd-map-pair" });
    const diagrams = [diagram(), diagram()];
    const plotBox = element(right, "div", { class: "mixkd-map-plot" });
    const plot = svg(plotBox, "svg", { class: "mixkd-diagram", role: "img" });
    const fill = element(right, "div", { class: "mixkd-map-fill" });
    const word = element(right, "p", { class: "mixkd-map-word" });
    const legend = element(ui, "div", { class: "mixkd-map-legend" });
    const scale = element(legend, "div", { class: "mixkd-map-scale", role: "img", "aria-label": "colours: brown below ten times less overconfident, blue from ten on" });
    meta.steps.forEach(([low, color], i) => {
      const part = element(scale, "span", { class: low === 10 ? "mixkd-map-ten" : "" });
      element(part, "i", { style: `background:${color}` });
      part.append(i ? `${low}×` : "more");
    });
    const signs = element(legend, "p", {});
    for (const words of ["✓ tenfold by the claim’s rule", "✗ not", "? undecided", "○ cannot be tested"]) element(signs, "span", {}, words);
    const bought = element(legend, "p", {});
    element(bought, "i", { class: "mixkd-bought" });
    element(bought, "span", {}, "underconfident instead, or likelihood no better");
    const about = element(legend, "p", {});
    const live = element(ui, "p", { class: "mixkd-live", "aria-live": "polite", role: "status" });

    /** A row of buttons, one of them pressed. */
    function choices(parent, name, list, field, choose) {
      const group = element(parent, "div", { class: "mixkd-views", role: "group", "aria-label": name });
      const buttons = list.map(([value, words]) => {
        const button = element(group, "button", { type: "button", [`data-${field}`]: value }, words);
        button.addEventListener("click", () => { choose(value); act(); });
        return [String(value), button];
      });
      if (list.length < 2) group.hidden = true;
      return (now) => buttons.forEach(([value, button]) => button.setAttribute("aria-pressed", String(value === String(now))));
    }

    // ---- the squares
    let squares = new Map();
    function layBoard() {
      const focused = board.contains(document.activeElement);
      board.replaceChildren();
      squares = new Map();
      element(board, "span", { class: "mixkd-map-corner" }, "τ ↑");
      for (const calibration of columns) element(board, "span", { class: "mixkd-map-column" }, meta.columns[calibration]);
      for (const tau of tab().taus) {
        element(board, "span", { class: "mixkd-map-row", title: tauWords(tau) }, tau);
        for (const calibration of columns) {
          const node = element(board, "button", { type: "button", "data-cell": `${calibration}~${tau}` });
          node.addEventListener("click", () => { Object.assign(state, { calibration, tau, rival: false }); act(); });
          squares.set(`${calibration}~${tau}`, node);
        }
      }
      board.dataset.tab = state.tab;
      theirs.replaceChildren(...tab().marks.map(([name, at]) => Object.assign(document.createElement("i"), { title: name, textContent: "▲", style: `left:${100 * at}%` })));
      theirs.hidden = about.hidden = !tab().marks.length;
      about.textContent = `▲ ${meta.marked}: ${tab().marks.map(([name]) => name).join(", ")}`;
      theirs.setAttribute("aria-label", about.textContent);
      if (focused) squares.get(`${state.calibration}~${state.tau}`).focus({ preventScroll: true });
    }
    function paintBoard() {
      if (board.dataset.tab !== String(state.tab)) layBoard();
      for (const [place, node] of squares) {
        const [calibration, tau] = place.split("~"), at = { ...state, calibration, tau }, found = entry(at), here = place === `${state.calibration}~${state.tau}`;
        const [, color, ink] = found.bars ? meta.steps[found.step] : ["", "", ""], paper = key(at) === tab().paper;
        node.className = `mixkd-square${found.bars ? "" : " mixkd-unrun"}${found.bought ? " mixkd-bought" : ""}`;
        node.style.cssText = found.bars ? `--fill:${color};--text:${ink}` : "";
        node.replaceChildren();
        element(node, "b", {}, found.bars ? `${found.short} ${found.sign}` : found.short);
        if (paper) element(node, "small", {}, "the paper’s");
        const told = found.bars ? `${found.head}, ${found.interval}. ${found.gain}. ${found.verdict}` : "not run";
        node.setAttribute("aria-label", `teacher ${meta.columns[calibration]}, ${tauWords(tau)}${paper ? ", the paper's cell" : ""}: ${told}`);
        node.setAttribute("aria-pressed", String(here));
        node.setAttribute("tabindex", here ? 0 : -1);
      }
    }
    board.addEventListener("keydown", (event) => {
      const place = event.target.dataset && event.target.dataset.cell;
      if (!place) return;
      let [calibration, tau] = place.split("~");
      const go = (list, item, by) => list[clamp(list.indexOf(item) + by, 0, list.length - 1)];
      switch (event.key) {
        case "ArrowLeft": calibration = go(columns, calibration, -1); break;
        case "ArrowRight": calibration = go(columns, calibration, 1); break;
        case "ArrowUp": tau = go(tab().taus, tau, -1); break;
        case "ArrowDown": tau = go(tab().taus, tau, 1); break;
        case "Home": calibration = columns[0]; break;
        case "End": calibration = columns[columns.length - 1]; break;
        default: return;
      }
      event.preventDefault();
      Object.assign(state, { calibration, tau, rival: false });
      act();
      squares.get(`${calibration}~${tau}`).focus({ preventScroll: true });
    });

    // ---- reliability: bars are accuracy, the hatched part reaches to where the confidence says it should be
    function diagram() {
      const holder = element(pair, "div", { class: "mixkd-small" }), title = element(holder, "p", { class: "mixkd-small-title" });
      const node = svg(holder, "svg", { class: "mixkd-diagram", role: "img" }), under = element(holder, "p", { class: "mixkd-map-claims" });
      return { holder, title, node, under, wide: 0, now: null };
    }
    function layOut(d, which, tall) {
      const W = clamp(d.holder.clientWidth, 110, 300), pad = 26, top = 5, inner = W - pad - 5, H = top + tall + 30;
      d.node.replaceChildren();
      for (const [name, value] of [["viewBox", `0 0 ${W} ${H}`], ["width", W], ["height", H]]) d.node.setAttribute(name, value);
      const x = (c) => pad + inner * c, y = (a) => top + tall * (1 - a), id = `hatch-${meta.name}-${which}`;
      const hatch = svg(svg(d.node, "defs"), "pattern", { id, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
      svg(hatch, "rect", { width: 1.8, height: 5, class: "mixkd-hatch" });
      for (const v of [0, 0.5, 1]) {
        svg(d.node, "path", { class: "mixkd-grid", d: `M${pad} ${y(v)}H${W - 5}M${x(v)} ${top}V${y(0)}` });
        svg(d.node, "text", { x: pad - 4, y: y(v) + 4, "text-anchor": "end" }, v);
        svg(d.node, "text", { x: x(v), y: y(0) + 13, "text-anchor": v === 1 ? "end" : "middle" }, v);
      }
      svg(d.node, "text", { x: x(0.5), y: H - 3, "text-anchor": "middle" }, "confidence");
      const rects = (cls) => Array.from({ length: BINS }, (_, b) => svg(d.node, "rect", { class: cls, x: x(b / BINS) + 0.5, width: inner / BINS - 1 }));
      d.bars = rects("mixkd-map-bars");
      d.gaps = rects("mixkd-gap");
      d.gaps.forEach((r) => r.setAttribute("fill", `url(#${id})`));
      svg(d.node, "path", { class: "mixkd-diagonal", d: `M${x(0)} ${y(0)}L${x(1)} ${y(1)}` });
      Object.assign(d, { y, wide: d.holder.clientWidth, tall });
    }
    function paint(d, to, from, t) {
      const most = Math.max(...to.bars.map((bar) => bar[0])) || 1;
      to.bars.forEach((bar, b) => {
        const old = from && from.bars[b][0] && bar[0] ? from.bars[b] : bar, mix = (i) => old[i] + (bar[i] - old[i]) * t;
        const conf = d.y(mix(1)), acc = d.y(mix(2)), has = bar[0] > 0;
        d.bars[b].setAttribute("y", acc);
        d.bars[b].setAttribute("height", has ? d.y(0) - acc : 0);
        d.bars[b].setAttribute("fill-opacity", 0.3 + 0.65 * Math.sqrt(bar[0] / most));
        d.gaps[b].setAttribute("y", Math.min(acc, conf));
        d.gaps[b].setAttribute("height", has ? Math.abs(acc - conf) : 0);
      });
    }
    let moving = 0;
    function drawPair(shown, tall) {
      cancelAnimationFrame(moving);
      const from = diagrams.map((d) => d.now);
      diagrams.forEach((d, i) => {
        const [what, model, color] = shown[i];
        if (d.wide !== d.holder.clientWidth || d.tall !== tall) layOut(d, i, tall);
        d.title.textContent = what;
        d.node.style.setProperty("--bar", `var(--${color})`);
        d.node.setAttribute("aria-label", `reliability of ${what}: ${model.claims}`);
        d.under.textContent = state.view === "propagation" ? `needs temperature ${model.temperature.toFixed(2)}` : model.claims;
        d.now = model;
      });
      const draw = (t) => diagrams.forEach((d, i) => paint(d, shown[i][1], from[i], t));
      if (calm() || !from[0]) { draw(1); return; }
      const start = performance.now(), tick = (time) => {
        const t = clamp((time - start) / 260, 0, 1);
        draw(1 - (1 - t) ** 3);
        if (t < 1) moving = requestAnimationFrame(tick);
      };
      moving = requestAnimationFrame(tick);
    }

    // ---- clouds of seeds: the temperature students need against their teacher's, and accuracy against confidence over accuracy
    function frame(tall, xs, ys, xTitle, yTitle, log, words) {
      const W = clamp(plotBox.clientWidth, 230, 420), pad = 44, end = 8, top = 6, H = tall, low = H - 36;
      plot.replaceChildren();
      for (const [name, value] of [["viewBox", `0 0 ${W} ${H}`], ["width", W], ["height", H], ["aria-label", words]]) plot.setAttribute(name, value);
      const f = log ? Math.log : (v) => v, span = (v) => { const a = Math.min(...v.map(f)), b = Math.max(...v.map(f)), room = (b - a) * 0.07 || 0.02; return [a - room, b + room]; };
      const [x0, x1] = span(xs), [y0, y1] = span(ys);
      const x = (v) => pad + ((W - pad - end) * (f(v) - x0)) / (x1 - x0), y = (v) => low - ((low - top) * (f(v) - y0)) / (y1 - y0);
      const fixed = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16].map((v) => [v, v]);
      const marks = (a, b, n, percent) => (log ? fixed.filter(([v]) => f(v) >= a && f(v) <= b) : ticks(a * percent, b * percent, n).map(([v, text]) => [v / percent, text]));
      for (const [v, text] of marks(x0, x1, 5, 100)) {
        svg(plot, "path", { class: "mixkd-grid", d: `M${x(v)} ${top}V${low}` });
        svg(plot, "text", { x: x(v), y: low + 13, "text-anchor": "middle" }, text);
      }
      for (const [v, text] of marks(y0, y1, 5, 100)) {
        svg(plot, "path", { class: "mixkd-grid", d: `M${pad} ${y(v)}H${W - end}` });
        svg(plot, "text", { x: pad - 4, y: y(v) + 4, "text-anchor": "end" }, text);
      }
      svg(plot, "text", { x: (pad + W) / 2, y: H - 5, "text-anchor": "middle", class: "mixkd-title" }, xTitle);
      svg(plot, "text", { transform: `translate(11,${(top + low) / 2}) rotate(-90)`, "text-anchor": "middle", class: "mixkd-title" }, yTitle);
      return { x, y, top, low, x0, x1, y0, y1 };
    }
    const dot = (cx, cy, color, shown = 0.45) => svg(plot, "circle", { cx, cy, r: 3, fill: color, "fill-opacity": shown });
    const line = (list, look, shown = 1) => svg(plot, "path", { class: "mixkd-along", d: "M" + list.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L"), stroke: look.color, "stroke-dasharray": DASHES[look.dash], "stroke-opacity": shown });
    const mark = (a, b, look) => svg(plot, "path", { class: "mixkd-mean-mark", transform: `translate(${a},${b})`, d: marker(look.symbol, 6), fill: look.color });
    const ring = (a, b) => svg(plot, "circle", { class: "mixkd-here", cx: a, cy: b, r: 10 });
    const runs = (filter) => Object.entries(tab().cells).flatMap(([id, own]) => {
      const [teacher, calibration, tau] = id.split("~"), found = own[state.arm];
      return found && found.bars && filter({ teacher, calibration, tau }) ? [{ teacher, calibration, tau, ...found }] : [];
    });

    function drawPassing(tall) {
      const all = runs((c) => c.teacher === state.teacher).filter((c) => c.taught), look = meta.looks[state.arm];
      const at = (c) => c.seeds.filter(([seed]) => c.taught[seed]).map(([seed, , , needs]) => [seed, c.taught[seed], needs]);
      const seeds = all.flatMap(at);
      plotBox.hidden = !seeds.length;
      if (!seeds.length) return;
      const p = frame(tall, seeds.map((s) => s[1]), seeds.map((s) => s[2]), "temperature the teacher needs", "student needs", true,
        "temperature each student needs against what its teacher needs, all seeds; on the dotted line everything is passed on");
      const a = Math.max(p.x0, p.y0), b = Math.min(p.x1, p.y1);
      if (a < b) svg(plot, "path", { class: "mixkd-aim", d: `M${p.x(Math.exp(a))} ${p.y(Math.exp(a))}L${p.x(Math.exp(b))} ${p.y(Math.exp(b))}` });
      const middle = (c) => { const own = at(c), mean = (i) => Math.exp(own.reduce((sum, s) => sum + Math.log(s[i]), 0) / own.length); return [p.x(mean(1)), p.y(mean(2))]; };
      for (const c of all) for (const [, x, y] of at(c)) dot(p.x(x), p.y(y), look.color, c.tau === state.tau ? 0.55 : 0.18);
      const own = all.filter((c) => c.tau === state.tau).sort((one, other) => one.taught[one.seeds[0][0]] - other.taught[other.seeds[0][0]]);
      if (own.length > 1) line(own.map(middle), look);
      for (const c of own) mark(...middle(c), look);
      const here = own.find((c) => c.calibration === state.calibration);
      if (here) ring(...middle(here));
    }
    function drawTrade(tall) {
      const swept = (arm) => tab().taus.filter((tau) => tau !== "std").map((tau) => [tau, (tab().cells[key({ ...state, tau })] || {})[arm]]).filter(([, c]) => c && c.bars).reverse();
      const both = Object.keys(meta.students).map((arm) => [arm, swept(arm)]), plain = tab().plain;
      const all = [plain, ...both.flatMap(([, list]) => list.map(([, c]) => c))], seeds = all.flatMap((c) => c.seeds);
      plotBox.hidden = false;
      const p = frame(tall, [...seeds.map((s) => s[2]), 0], seeds.map((s) => s[1]), "confidence minus accuracy, points", "accuracy, %", false,
        "accuracy against confidence minus accuracy at every tau, all seeds; at zero a student is as sure as it is right");
      svg(plot, "path", { class: "mixkd-aim", d: `M${p.x(0)} ${p.top}V${p.low}` });
      const spot = (c) => [p.x(c.at[0]), p.y(c.at[1])];
      for (const [, , gap] of plain.seeds.map((s) => [s[0], s[1], s])) dot(p.x(gap[2]), p.y(gap[1]), meta.looks.ce.color);
      mark(...spot(plain), meta.looks.ce);
      both.forEach(([arm, list], above) => {
        const look = meta.looks[arm];
        for (const [, c] of list) for (const [, acc, gap] of c.seeds) dot(p.x(gap), p.y(acc), look.color, 0.35);
        if (list.length > 1) line(list.map(([, c]) => spot(c)), look);
        for (const [tau, c] of list) {
          const [a, b] = spot(c);
          mark(a, b, look);
          svg(plot, "text", { class: "mixkd-tau", x: a + 8, y: b + (above ? 15 : -7) }, tau);
          if (arm === state.arm && tau === state.tau) ring(a, b);
        }
      });
    }

    // ---- the present view
    function tell(...lines) {
      says.replaceChildren();
      says.hidden = !lines.length;
      for (const words of lines) element(says, "span", {}, words);
    }
    function refresh() {
      const here = entry(), shown = state.rival ? tab().rival : here, view = state.view, ran = Boolean(shown.bars), teacher = school();
      tabs(state.tab); arms(state.arm); views(view);
      options(teachers, tab().teachers, {}, state.teacher);
      box.hidden = tab().teachers.length < 2;
      paintBoard();
      calibrate.setAttribute("aria-pressed", String(state.calibration === "fitted" && !state.rival));
      instead.setAttribute("aria-pressed", String(state.rival));
      const trade = tab().trades[`${state.arm}~${state.teacher}~${state.calibration}`], student = meta.students[state.arm];
      const tall = view === "propagation" ? 62 : 142, wanted = view === "trade-off" ? Boolean(trade) : ran && (view !== "propagation" || Boolean(teacher));
      right.dataset.shows = view;
      pair.hidden = view === "trade-off" || !wanted;
      plotBox.hidden = view === "overconfidence" || !wanted;
      fill.hidden = wanted || !here.command;
      if (!wanted && here.command) {
        fill.replaceChildren();
        element(fill, "p", {}, here.command.startsWith("mixkd run") ? "No study plans this cell. This trains its first seed:" : "This trains it:");
        element(fill, "code", {}, here.command);
      }
      if (!wanted) {
        head.textContent = view === "trade-off" && ran ? "Only one τ was run with this teacher" : "Not run";
        tell(`teacher ${meta.columns[state.calibration]}, ${tauWords(state.tau)}`, "");
        word.textContent = "";
        diagrams.forEach((d) => { d.now = null; });
      } else if (view === "overconfidence") {
        head.textContent = shown.head;
        tell(shown.interval, state.rival ? `same answers, same accuracy: its logits are divided by ${tab().plain.temperature.toFixed(2)}` : shown.gain);
        word.textContent = `${shown.sign} ${shown.verdict}`;
        drawPair([["plain student", tab().plain, "ce"], state.rival ? ["the same, calibrated", shown, "ce"] : [student, shown, state.arm]], tall);
      } else if (view === "propagation") {
        head.textContent = `Teacher ${teacher.sharp}, student ${here.sharp}`;
        tell();
        word.textContent = `The student needs ${here.needs}. Pale: other τ. Dotted: it needs what its teacher needs.`;
        drawPair([["the teacher, as it was met", teacher, "teacher"], [student, here, state.arm]], tall);
        drawPassing(158);
      } else {
        head.textContent = trade[0];
        tell(`${trade[1]}, teacher ${meta.columns[state.calibration]}`, trade[2]);
        word.textContent = "Numbers: τ. Circle: the plain student. Pale: seeds. Dotted: as sure as right.";
        drawTrade(244);
      }
      settle();
    }
    let acted = false;
    function act() { acted = true; refresh(); }
    const settle = settled(() => {
      live.textContent = acted ? `${head.textContent}. ${[...says.children].map((line) => line.textContent).join(". ")}. ${word.textContent}` : "";
      if (acted) try { history.replaceState(null, "", `#${writeHash()}`); } catch { /* a sandboxed frame has no address */ }
    });

    // ---- the view in the address: #map.tab=digits&map.cell=cnn32~raw~2&map.arm=kd&map.view=trade-off&map.rival=1
    function writeHash() {
      const all = new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : ""), put = (name, value) => (value ? all.set(`${meta.name}.${name}`, value) : all.delete(`${meta.name}.${name}`));
      put("tab", tab().key);
      put("cell", key());
      put("arm", state.arm === "kd_mixup" ? "" : state.arm);
      put("view", state.view === meta.question ? "" : state.view);
      put("rival", state.rival ? "1" : "");
      return all.toString().replaceAll("%7E", "~");
    }
    function readHash() {
      const all = new URLSearchParams(location.hash.slice(1)), get = (name) => all.get(`${meta.name}.${name}`);
      const index = meta.tabs.findIndex((t) => t.key === get("tab"));
      if (index >= 0) { state.tab = index; goHome(); }
      const [teacher, calibration, tau] = (get("cell") || "").split("~");
      if (tab().teachers.includes(teacher) && columns.includes(calibration) && tab().taus.includes(tau)) Object.assign(state, { teacher, calibration, tau });
      state.arm = get("arm") in meta.students ? get("arm") : "kd_mixup";
      state.view = get("view") in meta.questions ? get("view") : meta.question;
      state.rival = get("rival") === "1" && state.view === "overconfidence";
      return ["tab", "cell", "arm", "view", "rival"].some((name) => get(name));
    }
    window.addEventListener("hashchange", () => { if (location.hash.includes(`${meta.name}.`)) { readHash(); refresh(); } });

    root.mixkd = { state: () => ({ ...state, tab: tab().key, cell: key() }), entry, refresh }; // for tests
    let wide = 0;
    const again = eachFrame(refresh);
    new ResizeObserver(() => { if (root.clientWidth !== wide) { wide = root.clientWidth; again(); } }).observe(root);
    if (readHash()) requestAnimationFrame(() => root.scrollIntoView({ block: "start" }));
    refresh();
  }

  document.querySelectorAll(".mixkd-lab[data-lab=map]:not([data-ready])").forEach(mount);
})();
