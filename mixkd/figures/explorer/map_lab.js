// The map: a button for each calibration of the teacher and each tau; beside it what the students of the chosen cell do.
// Words and numbers come from Python (mixkd.figures.map); here they are chosen, placed and drawn.
(() => {
  "use strict";
  const { set, svg, element, button, select, clamp, number, mount, options, remember, keys, eachFrame, gliding, onWidth } = window.mixkdLive;
  const { blank, gridX, gridY, titles, reliability, marker, DASHES, ticks } = window.mixkdChart;
  const BINS = 15;

  function build(root, meta) {
    const columns = Object.keys(meta.columns);
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
    const teachers = select(axis, "teacher", { "data-choice": "teacher" }, [], (teacher) => { Object.assign(state, { teacher, rival: false }); refresh(); });
    const box = set(teachers.parentElement, { class: "mixkd-map-teacher" });

    const moves = element(left, "div", { class: "mixkd-buttons" });
    const calibrate = button(moves, "calibrate the teacher", () => {
      Object.assign(state, { calibration: state.calibration === "fitted" && !state.rival ? "raw" : "fitted", rival: false });
      refresh();
    }, { class: "mixkd-map-move mixkd-map-first" });
    const instead = button(moves, "calibrate the plain student instead", () => {
      state.rival = !state.rival;
      if (state.rival) state.view = "overconfidence";
      refresh();
    }, { class: "mixkd-map-move" });

    const right = element(ui, "div", { class: "mixkd-map-right" });
    const views = choices(right, "compare", Object.entries(meta.questions), "view", (view) => {
      state.view = view;
      state.rival = state.rival && view === "overconfidence";
    });
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
    element(bought, "span", {}, "underconfident instead, or NLL not lower");
    const about = element(legend, "p", {});

    /** A row of buttons, one of them pressed. */
    function choices(parent, name, list, field, choose) {
      const group = element(parent, "div", { class: "mixkd-views", role: "group", "aria-label": name });
      const buttons = list.map(([value, words]) => [String(value), button(group, words, () => { choose(value); refresh(); }, { [`data-${field}`]: value })]);
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
          const place = `${calibration}~${tau}`, choose = () => { Object.assign(state, { calibration, tau, rival: false }); refresh(); };
          squares.set(place, button(board, "", choose, { "data-cell": place }));
        }
      }
      board.dataset.tab = state.tab;
      theirs.replaceChildren();
      for (const [name, at] of tab().marks) element(theirs, "i", { title: name, style: `left:${100 * at}%` }, "▲");
      theirs.hidden = about.hidden = !tab().marks.length;
      about.textContent = `▲ ${meta.marked}: ${tab().marks.map(([name]) => name).join(", ")}`;
      theirs.setAttribute("aria-label", about.textContent);
      if (focused) squares.get(`${state.calibration}~${state.tau}`).focus({ preventScroll: true });
    }
    function paintBoard() {
      if (board.dataset.tab !== String(state.tab)) layBoard();
      const words = [state.tab, state.arm, state.teacher].join(), same = words === board.dataset.words;
      board.dataset.words = words;
      for (const [place, node] of squares) {
        const here = place === `${state.calibration}~${state.tau}`;
        set(node, { "aria-pressed": here, tabindex: here ? 0 : -1 });
        if (!same) paintSquare(place, node);
      }
    }
    function paintSquare(place, node) {
      const [calibration, tau] = place.split("~"), at = { ...state, calibration, tau }, found = entry(at), paper = key(at) === tab().paper;
      const [, color, ink] = found.bars ? meta.steps[found.step] : [];
      node.className = `mixkd-square${found.bars ? "" : " mixkd-unrun"}${found.bought ? " mixkd-bought" : ""}`;
      node.style.cssText = found.bars ? `--fill:${color};--text:${ink}` : "";
      node.replaceChildren();
      element(node, "b", {}, found.bars ? `${found.short} ${found.sign}` : found.short);
      if (paper) element(node, "small", {}, "the paper’s");
      const told = found.bars ? `${found.head}, ${found.interval}. ${found.gain}. ${found.verdict}` : "not run";
      node.setAttribute("aria-label", `teacher ${meta.columns[calibration]}, ${tauWords(tau)}${paper ? ", the paper's cell" : ""}: ${told}`);
    }
    function step(across, up) {
      const go = (list, item, by) => list[clamp(list.indexOf(item) + by, 0, list.length - 1)];
      Object.assign(state, { calibration: go(columns, state.calibration, across), tau: go(tab().taus, state.tau, -up), rival: false });
      refresh();
      squares.get(`${state.calibration}~${state.tau}`).focus({ preventScroll: true });
    }
    keys(board, {
      ArrowLeft: () => step(-1, 0), ArrowRight: () => step(1, 0), ArrowUp: () => step(0, 1), ArrowDown: () => step(0, -1),
      Home: () => step(-columns.length, 0), End: () => step(columns.length, 0),
    });

    // ---- reliability of two models beside each other
    function diagram() {
      const holder = element(pair, "div", { class: "mixkd-small" }), title = element(holder, "p", { class: "mixkd-small-title" });
      const node = svg(holder, "svg", { class: "mixkd-diagram", role: "img" }), under = element(holder, "p", { class: "mixkd-map-claims" });
      return { holder, title, node, under, wide: 0, now: null };
    }
    function layOut(d, which, tall) {
      const W = clamp(d.holder.clientWidth, 110, 300), left = 26, top = 5, inner = W - left - 5, H = top + tall + 30;
      const x = (c) => left + inner * c, y = (a) => top + tall * (1 - a), halves = [[0, 0], [0.5, 0.5], [1, 1, "end"]];
      blank(d.node, W, H);
      gridX(d.node, halves, x, top, y(0), y(0) + 13);
      gridY(d.node, halves, y, left, W - 5);
      svg(d.node, "text", { x: x(0.5), y: H - 3, "text-anchor": "middle" }, "confidence");
      Object.assign(d, { bar: reliability(d.node, `hatch-${meta.name}-${which}`, BINS, x, y), wide: d.holder.clientWidth, tall });
    }
    function paint(d, to, from, t) {
      const most = Math.max(...to.bars.map((bar) => bar[0])) || 1;
      to.bars.forEach(([share, ...bar], b) => {
        const old = from && from.bars[b][0] && share ? from.bars[b].slice(1) : bar, [confidence, accuracy] = bar.map((v, i) => old[i] + (v - old[i]) * t);
        d.bar(b, share / most, confidence, accuracy);
      });
    }
    const glide = gliding();
    function drawPair(shown, tall) {
      const from = diagrams.map((d) => d.now);
      diagrams.forEach((d, i) => {
        const [what, model, color] = shown[i];
        if (d.wide !== d.holder.clientWidth || d.tall !== tall) layOut(d, i, tall);
        d.title.textContent = what;
        d.node.style.setProperty("--a", `var(--${color})`);
        d.node.setAttribute("aria-label", `reliability of ${what}: ${model.claims}`);
        d.under.textContent = state.view === "propagation" ? `needs temperature ${number(model.temperature, 2)}` : model.claims;
        d.now = model;
      });
      glide((t) => diagrams.forEach((d, i) => paint(d, shown[i][1], from[i], t)), from[0] ? 260 : 0);
    }

    // ---- clouds of seeds: the temperature students need against their teacher's, and accuracy against confidence over accuracy
    function frame(tall, xs, ys, xTitle, yTitle, log, words) {
      const W = clamp(plotBox.clientWidth, 230, 420), left = 44, right = W - 8, top = 6, low = tall - 36, f = log ? Math.log : (v) => v;
      const span = (values) => {
        const all = values.map(f), least = Math.min(...all), most = Math.max(...all), room = (most - least) * 0.07 || 0.02;
        return [least - room, most + room];
      };
      const [x0, x1] = span(xs), [y0, y1] = span(ys);
      const x = (v) => left + ((right - left) * (f(v) - x0)) / (x1 - x0), y = (v) => low - ((low - top) * (f(v) - y0)) / (y1 - y0);
      const doubled = [0.125, 0.25, 0.5, 1, 2, 4, 8, 16].map((v) => [v, v]);
      const marks = (a, b) => (log ? doubled.filter(([v]) => f(v) >= a && f(v) <= b) : ticks(100 * a, 100 * b, 5).map(([v, text]) => [v / 100, text]));
      set(blank(plot, W, tall), { "aria-label": words });
      gridX(plot, marks(x0, x1), x, top, low, low + 13);
      gridY(plot, marks(y0, y1), y, left, right);
      titles(plot, xTitle, [(left + W) / 2, tall - 5], yTitle, (top + low) / 2);
      return { x, y, top, low, x0, x1, y0, y1 };
    }
    const dot = (cx, cy, color, shown = 0.45) => svg(plot, "circle", { cx, cy, r: 3, fill: color, "fill-opacity": shown });
    const line = (list, look) => svg(plot, "path", {
      class: "mixkd-along", d: `M${list.map(([a, b]) => `${a.toFixed(1)} ${b.toFixed(1)}`).join("L")}`, stroke: look.color, "stroke-dasharray": DASHES[look.dash],
    });
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
      const middle = (c) => {
        const own = at(c), mean = (i) => Math.exp(own.reduce((sum, s) => sum + Math.log(s[i]), 0) / own.length);
        return [p.x(mean(1)), p.y(mean(2))];
      };
      for (const c of all) for (const [, x, y] of at(c)) dot(p.x(x), p.y(y), look.color, c.tau === state.tau ? 0.55 : 0.18);
      const own = all.filter((c) => c.tau === state.tau).sort((one, other) => one.taught[one.seeds[0][0]] - other.taught[other.seeds[0][0]]);
      if (own.length > 1) line(own.map(middle), look);
      for (const c of own) mark(...middle(c), look);
      const here = own.find((c) => c.calibration === state.calibration);
      if (here) ring(...middle(here));
    }
    function drawTrade(tall) {
      const taus = tab().taus.filter((tau) => tau !== "std").reverse();
      const swept = (arm) => taus.map((tau) => [tau, entry({ ...state, arm, tau })]).filter(([, found]) => found.bars);
      const both = Object.keys(meta.students).map((arm) => [arm, swept(arm)]), plain = tab().plain;
      const all = [plain, ...both.flatMap(([, list]) => list.map(([, c]) => c))], seeds = all.flatMap((c) => c.seeds);
      plotBox.hidden = false;
      const p = frame(tall, [...seeds.map((s) => s[2]), 0], seeds.map((s) => s[1]), "confidence minus accuracy, points", "accuracy, %", false,
        "accuracy against confidence minus accuracy at every tau, all seeds; at zero a student is as sure as it is right");
      svg(plot, "path", { class: "mixkd-aim", d: `M${p.x(0)} ${p.top}V${p.low}` });
      const spot = (c) => [p.x(c.at[0]), p.y(c.at[1])];
      for (const [, acc, gap] of plain.seeds) dot(p.x(gap), p.y(acc), meta.looks.ce.color);
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
        tell(shown.interval, state.rival ? `same answers, same accuracy: its logits are divided by ${number(tab().plain.temperature, 2)}` : shown.gain);
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
      memory.rest();
    }

    const memory = remember(root, meta.name, state, {
      read(get) {
        const index = meta.tabs.findIndex((t) => t.key === get("tab")), [teacher, calibration, tau] = get("cell").split("~");
        if (index >= 0) { state.tab = index; goHome(); }
        if (tab().teachers.includes(teacher) && columns.includes(calibration) && tab().taus.includes(tau)) Object.assign(state, { teacher, calibration, tau });
        if (Object.hasOwn(meta.students, get("arm"))) state.arm = get("arm");
        if (Object.hasOwn(meta.questions, get("view"))) state.view = get("view");
        state.rival = get("rival") === "1" && state.view === "overconfidence";
      },
      write: () => ({
        tab: tab().key, cell: key(), arm: state.arm === "kd_mixup" ? "" : state.arm, view: state.view === meta.question ? "" : state.view,
        rival: state.rival ? "1" : "",
      }),
      words: () => `${head.textContent}. ${[...says.children].map((line) => line.textContent).join(". ")}. ${word.textContent}`,
      refresh,
    });
    onWidth(root, eachFrame(refresh));
    refresh();
    return { state: () => ({ ...state, tab: tab().key, cell: key() }), entry, refresh };
  }

  mount("map", build);
})();
