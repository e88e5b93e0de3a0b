// What every live figure shares: elements, stored data, choosing a model, the address, hands and keys, sizes, colours.
window.mixkdLive = window.mixkdLive || (() => {
  "use strict";

  // ---- elements and numbers
  function set(node, attributes) {
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    return node;
  }
  function append(parent, node, attributes, words) {
    set(node, attributes);
    if (words !== undefined) node.textContent = words;
    parent.appendChild(node);
    return node;
  }
  const element = (parent, name, attributes = {}, words) => append(parent, document.createElement(name), attributes, words);
  const svg = (parent, name, attributes = {}, words) => append(parent, document.createElementNS("http://www.w3.org/2000/svg", name), attributes, words);
  function button(parent, words, act, attributes = {}) {
    const node = element(parent, "button", { type: "button", ...attributes }, words);
    node.addEventListener("click", act);
    return node;
  }
  /** A select under a title; entries are [value, words]. */
  function select(parent, title, attributes, entries, act) {
    const label = element(parent, "label");
    if (title) element(label, "span", {}, title);
    const node = element(label, "select", attributes);
    for (const [value, words] of entries) element(node, "option", { value }, words);
    node.addEventListener("change", () => act(node.value));
    return node;
  }
  function checkbox(parent, words, act) {
    const label = element(parent, "label", { class: "mixkd-tick" }), node = element(label, "input", { type: "checkbox" });
    element(label, "span", {}, words);
    node.addEventListener("change", () => act(node.checked));
    return node;
  }
  /** Add a table of numbers. Each row is [heading, tooltip, names of its cells]. Returns { table, head, cells }, with cells[row][column]. */
  function numbers(parent, columns, rows) {
    const table = element(parent, "table", { class: "mixkd-numbers" });
    const top = columns.length ? element(element(table, "thead"), "tr") : null, body = element(table, "tbody");
    if (top) element(top, "td");
    const head = columns.map((words) => element(top, "th", { scope: "col" }, words));
    const cells = rows.map(([words, title, names]) => {
      const row = element(body, "tr");
      element(row, "th", { scope: "row", ...(title && { title }) }, words);
      return names.map((name) => element(row, "td", { class: "mixkd-value", "data-measure": name }));
    });
    return { table, head, cells };
  }

  const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
  /** Format a number with a minus sign (not a hyphen) and a leading zero. signed adds a plus. What rounds to zero has no minus. */
  function number(value, digits, signed = false) {
    const size = Math.abs(value).toFixed(digits);
    return (value < 0 && Number(size) ? "−" : signed ? "+" : "") + size;
  }

  // ---- labs and their data
  /** Call build(root, meta) once for every lab of a kind. Tests find what it returns at root.mixkd. */
  function mount(kind, build) {
    for (const root of document.querySelectorAll(`.mixkd-lab[data-lab=${kind}]:not([data-ready])`)) {
      root.dataset.ready = "";
      root.querySelector(".mixkd-fallback").hidden = true;
      element(root, "p", { class: "mixkd-live", role: "status", "aria-live": "polite" });
      root.mixkd = build(root, JSON.parse(root.querySelector(".mixkd-meta").textContent));
    }
  }

  // Data that is not in the page comes as script files (fetch is blocked on file://): each calls provide(key, text).
  const files = new Map();
  function file(key) {
    if (!files.has(key)) {
      const made = {};
      made.text = new Promise((arrive, fail) => Object.assign(made, { arrive, fail }));
      files.set(key, made);
    }
    return files.get(key);
  }
  const provide = (key, text) => file(key).arrive(text);
  function load(key, src) {
    const asked = files.has(key), { text, fail } = file(key);
    if (!asked) element(document.head, "script", { src }).onerror = () => { files.delete(key); fail(new Error(`${src} could not be loaded`)); };
    return text;
  }
  /** Returns get(key, decode): a promise of a lab's stored data, from the block or from the script file its element names. Decoded once. */
  function source(root) {
    const nodes = new Map([...root.querySelectorAll("script[data-key]")].map((node) => [node.dataset.key, node])), decoded = new Map();
    return (key, decode) => {
      if (!decoded.has(key)) {
        const { dataset, textContent } = nodes.get(key);
        const ready = (dataset.src ? load(key, dataset.src) : Promise.resolve(textContent)).then(decode);
        ready.catch(() => decoded.delete(key)); // so that the next call tries again
        decoded.set(key, ready);
      }
      return decoded.get(key);
    };
  }
  /** Returns wait(promises), which calls then(results). Only the latest wait counts. An error is announced and passed to sorry(message). */
  function newest(root, then, sorry) {
    let ticket = 0;
    const failed = (error) => {
      root.querySelector(".mixkd-live").textContent = `${error.message}.`;
      sorry(`${error.message}.`);
    };
    return (promises) => {
      const mine = ++ticket;
      Promise.all(promises).then((results) => mine === ticket && then(results), (error) => mine === ticket && failed(error));
    };
  }

  // ---- choosing one of several models by the fields of its label
  /** The values a field can take given the fields before it, numbers in their order. */
  function offered({ models, fields }, chosen, field) {
    const before = fields.slice(0, fields.indexOf(field));
    const values = new Set(models.filter((m) => before.every((f) => m.label[f] === chosen[f])).map((m) => m.label[field]));
    return [...values].sort((a, b) => (Number.isNaN(+a) || Number.isNaN(+b) ? 0 : a - b));
  }
  /** Index of the model with this value in this field that agrees best with a label; earlier fields count more. */
  function choose({ models, fields }, now, field, value) {
    const rank = (m) => fields.reduce((sum, f, i) => sum + (m.label[f] === now[f] ? 2 ** (fields.length - i) : 0), 0);
    let best = -1;
    models.forEach((m, i) => { if (m.label[field] === value && (best < 0 || rank(m) > rank(models[best]))) best = i; });
    return best;
  }
  /** Fill a select with values, in words where there are any. It is disabled when there is only one. */
  function options(node, values, words, value) {
    if (node.dataset.options !== values.join("\n")) {
      node.replaceChildren();
      for (const each of values) element(node, "option", { value: each }, (words || {})[each] || each);
      node.dataset.options = values.join("\n");
    }
    node.value = value;
    node.disabled = values.length < 2;
  }
  /** Add a select for each field, or a slider for those named; they call pick(index of a model). Returns fill(index), which shows a model. */
  function modelControls(parent, meta, pick, sliders = []) {
    let chosen;
    const make = (field) => {
      const title = meta.names[field];
      const change = (value) => pick(choose(meta, chosen, field, value));
      if (!sliders.includes(field)) {
        const node = select(parent, title, { "data-field": field }, [], change);
        return (values) => options(node, values, meta.words[field], chosen[field]);
      }
      const label = element(parent, "label"), shown = element(label, "span");
      const node = element(label, "input", { type: "range", min: 0, step: 1, "data-field": field, "aria-label": title });
      node.addEventListener("input", () => change(offered(meta, chosen, field)[node.value]));
      return (values) => {
        node.max = values.length - 1;
        node.value = values.indexOf(chosen[field]);
        node.disabled = values.length < 2;
        shown.textContent = `${title} = ${chosen[field]}`;
        node.setAttribute("aria-valuetext", chosen[field] === "–" ? "does not apply" : chosen[field]);
      };
    };
    const controls = meta.fields.map(make);
    return (index) => {
      chosen = meta.models[index].label;
      controls.forEach((fill, i) => fill(offered(meta, chosen, meta.fields[i])));
    };
  }

  // ---- the address: #arms.a=kd_mixup~2~0&arms.t=1.5&map.cell=cnn32~raw~2
  /** The name of a model in the address: the values of all its fields. */
  const modelKey = ({ models, fields }, index) => fields.map((field) => models[index].label[field]).join("~");
  /** Index of the model in the address, named in full under a key or by some fields (arms.arm=kd&arms.tau=4); -1 if there is none. */
  function modelOf(meta, get, key, prefix = "") {
    const whole = meta.models.findIndex((_, i) => modelKey(meta, i) === get(key)), some = meta.fields.filter((field) => get(prefix + field));
    if (whole >= 0 || !some.length) return whole;
    return meta.models.findIndex((m) => some.every((field) => m.label[field] === get(prefix + field)));
  }
  /**
   * Keep the state of a lab in the address and announce it to screen readers. Other labs' keys in the address are left alone.
   * read(get) sets the state from get(key), which is "" for a missing key, and ignores invalid values. write() returns values by key; "" is
   * left out. words() returns the announcement. refresh() is called when the address has changed.
   * Returns { address, rest }: the address of the present view, and a function to call after each drawing.
   */
  function remember(root, name, state, { read, write, words, refresh }) {
    const initial = { ...state }, live = root.querySelector(".mixkd-live");
    const inAddress = () => new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
    const own = (key) => key.startsWith(`${name}.`);
    let acted = false;
    function restore() {
      const all = inAddress(), keys = [...all.keys()];
      if (!keys.some(own)) return false;
      Object.assign(state, initial);
      read((key) => all.get(`${name}.${key}`) || "");
      if (own(keys[keys.length - 1])) requestAnimationFrame(() => root.scrollIntoView({ block: "start" })); // the lab used last
      return true;
    }
    function address() {
      const all = inAddress();
      for (const key of [...all.keys()].filter(own)) all.delete(key);
      for (const [key, value] of Object.entries(write())) if (value) all.set(`${name}.${key}`, value);
      return `#${all.toString().replaceAll("%7E", "~").replaceAll("%2C", ",")}`;
    }
    for (const kind of ["pointerdown", "keydown", "click", "input", "change"]) root.addEventListener(kind, () => { acted = true; }, true);
    window.addEventListener("hashchange", () => { if (restore()) refresh(); });
    restore();
    let timer = 0;
    const settle = () => {
      live.textContent = words();
      try { history.replaceState(history.state, "", address()); } catch { /* a sandboxed frame has no address */ }
    };
    const rest = () => { clearTimeout(timer); if (acted) timer = setTimeout(settle, 300); };
    return { address, rest };
  }

  // ---- hands and keys
  /**
   * Follow a pointer on a node. grab(event) returns the handle under the pointer or null; move(handle, event) moves it.
   * Dragging a handle never scrolls the page. Beside the handles a finger scrolls it (touch-action: pan-y) and a tap or a mouse calls
   * move(null, event).
   */
  function drag(node, grab, move) {
    let held = null;
    node.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button) return;
      held = grab(event);
      if (held) node.setPointerCapture(event.pointerId);
    });
    node.addEventListener("pointermove", (event) => { if (event.isPrimary && (held || event.pointerType === "mouse")) move(held, event); });
    node.addEventListener("pointerup", (event) => { if (event.isPrimary) move(held, event); });
    for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => { held = null; });
    node.addEventListener("touchstart", (event) => { if (held) event.preventDefault(); }, { passive: false });
  }
  /** Call actions[key](event) on a key press, instead of what the browser does. Keys with Alt, Ctrl or Meta are left to the browser. */
  function keys(node, actions) {
    node.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || !Object.hasOwn(actions, event.key)) return;
      event.preventDefault();
      actions[event.key](event);
    });
  }

  // ---- time, sizes, colours
  /** Returns a function that calls `call` at most once per frame. */
  function eachFrame(call) {
    let queued = false;
    return () => {
      if (queued) return;
      queued = true;
      requestAnimationFrame(() => { queued = false; call(); });
    };
  }
  /** Returns glide(step, ms), which calls step(t) as t goes from 0 to 1; at once if reduced motion is preferred. A new glide stops the last. */
  function gliding() {
    let frame = 0;
    return (step, ms) => {
      cancelAnimationFrame(frame);
      if (!ms || window.matchMedia("(prefers-reduced-motion: reduce)").matches) { step(1); return; }
      const start = performance.now(), tick = (now) => {
        const t = clamp((now - start) / ms, 0, 1);
        step(1 - (1 - t) ** 3);
        if (t < 1) frame = requestAnimationFrame(tick);
      };
      frame = requestAnimationFrame(tick);
    };
  }
  /** Call when the width of a node changes. */
  function onWidth(node, call) {
    let wide = 0;
    new ResizeObserver(() => { if (node.clientWidth !== wide) { wide = node.clientWidth; call(); } }).observe(node);
  }
  /** Call when the page turns dark or light. */
  function onTheme(call) {
    new MutationObserver(call).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", call);
  }
  /** "#0072b2" or "rgb(0, 114, 178)" -> [0, 114, 178]. */
  const rgb = (color) => (color.startsWith("#") ? [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)) : color.match(/[\d.]+/g).slice(0, 3).map(Number));
  /** The colours of the theme, resolved for a canvas. */
  function colors(root) {
    const style = getComputedStyle(root.querySelector(".mixkd-live"));
    return { ink: style.color, paper: style.backgroundColor };
  }
  /** Clear a canvas and give it a size in CSS px, at up to two device pixels each. Returns its context, in CSS px. */
  function canvas(node, width, height) {
    const ratio = Math.min(window.devicePixelRatio || 1, 2), context = node.getContext("2d");
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (node.width !== w || node.height !== h) Object.assign(node, { width: w, height: h });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, w, h);
    context.setTransform(w / width, 0, 0, h / height, 0, 0);
    return context;
  }

  return {
    set, element, svg, button, select, checkbox, numbers, clamp, number, mount, provide, source, newest, options, modelControls, modelKey, modelOf, remember,
    drag, keys, eachFrame, gliding, onWidth, onTheme, rgb, colors, canvas,
  };
})();
