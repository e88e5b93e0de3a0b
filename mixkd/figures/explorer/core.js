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
  /** A table of numbers. rows are [words, title, names of its cells]; returns { table, head, cells }, cells row by row. */
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
  /** A number in words: a true minus, none before zero; a plus where asked for. */
  function number(value, digits, signed = false) {
    const size = Math.abs(value).toFixed(digits);
    return (value < 0 && Number(size) ? "−" : signed ? "+" : "") + size;
  }

  // ---- labs and their data
  /** Build every lab of a kind once. What build returns are the figures behind the picture, for tests. */
  function mount(kind, build) {
    for (const root of document.querySelectorAll(`.mixkd-lab[data-lab=${kind}]:not([data-ready])`)) {
      root.dataset.ready = "";
      root.querySelector(".mixkd-fallback").hidden = true;
      element(root, "p", { class: "mixkd-live", role: "status", "aria-live": "polite" });
      root.mixkd = build(root, JSON.parse(root.querySelector(".mixkd-meta").textContent));
    }
  }

  // Data that is not in the page comes as script files (fetch is blocked on file://): each calls provide(key, text).
  const arrived = new Map(), wanted = new Map();
  function provide(key, text) {
    arrived.set(key, text);
    (wanted.get(key) || []).forEach(([resolve]) => resolve(text));
    wanted.delete(key);
  }
  function load(key, src) {
    if (arrived.has(key)) return Promise.resolve(arrived.get(key));
    return new Promise((resolve, reject) => {
      const queue = wanted.get(key);
      if (queue) { queue.push([resolve, reject]); return; }
      wanted.set(key, [[resolve, reject]]);
      const script = element(document.head, "script", { src });
      script.onerror = () => {
        (wanted.get(key) || []).forEach(([, fail]) => fail(new Error(`${src} could not be loaded`)));
        wanted.delete(key);
        script.remove();
      };
    });
  }
  /** The stored data of a lab by key, decoded once: from the block itself, or from the script file that its element names. */
  function source(root) {
    const nodes = new Map([...root.querySelectorAll("script[data-key]")].map((node) => [node.dataset.key, node])), decoded = new Map();
    return (key, decode) => {
      if (!decoded.has(key)) {
        const { dataset, textContent } = nodes.get(key);
        const ready = (dataset.src ? load(key, dataset.src) : Promise.resolve(textContent)).then(decode);
        ready.catch(() => decoded.delete(key)); // so that the next choice tries again
        decoded.set(key, ready);
      }
      return decoded.get(key);
    };
  }
  /** Waits for promises, then calls then(results). Of several waits the newest alone is answered; what failed is told, and given to sorry(words). */
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
  /** A select offers these values; its options are made anew only when they changed, and one alone is no choice. */
  function options(node, values, words, value) {
    if (node.dataset.options !== values.join("\n")) {
      node.replaceChildren();
      for (const each of values) element(node, "option", { value: each }, (words || {})[each] || each);
      node.dataset.options = values.join("\n");
    }
    node.value = value;
    node.disabled = values.length < 2;
  }
  /** A control for each field: a select, or a slider for the fields named. pick(index) is called with the model chosen. Returns fill(index). */
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
  /** A model in the address, by all of its fields. */
  const modelKey = ({ models, fields }, index) => fields.map((field) => models[index].label[field]).join("~");
  /** Index of the model that the address names by all fields under one key, or by a few of their own after a prefix; -1 for none. */
  function modelOf(meta, get, key, prefix = "") {
    const whole = meta.models.findIndex((_, i) => modelKey(meta, i) === get(key)), some = meta.fields.filter((field) => get(prefix + field));
    if (whole >= 0 || !some.length) return whole;
    return meta.models.findIndex((m) => some.every((field) => m.label[field] === get(prefix + field)));
  }
  /**
   * Keep a lab's state in the address, beside that of the other labs of the page, and tell a screen reader of it.
   * read(get): take over what is valid of get(key), "" where the address says nothing. write(): values by key, "" for what goes without saying.
   * words(): what is told. refresh(): the address brought another state. Returns { address, rest }; call rest() whenever something was drawn.
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
      if (own(keys[keys.length - 1])) requestAnimationFrame(() => root.scrollIntoView({ block: "start" })); // the lab touched last
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
   * A hand on a plane. grab(event) names the handle under it, or null; move(handle, event) follows it, and a mouse without one.
   * Dragging a handle never moves the page; a finger that starts beside them scrolls it, by touch-action.
   */
  function drag(node, grab, move) {
    let held = null;
    node.addEventListener("pointerdown", (event) => {
      held = grab(event);
      if (held) node.setPointerCapture(event.pointerId);
      move(held, event);
    });
    node.addEventListener("pointermove", (event) => { if (event.buttons || event.pointerType === "mouse") move(held, event); });
    for (const end of ["pointerup", "pointercancel"]) node.addEventListener(end, () => { held = null; });
    node.addEventListener("touchstart", (event) => { if (held) event.preventDefault(); }, { passive: false });
  }
  /** Each known key acts in place of the browser; with Alt, Ctrl or Meta it stays the browser's. */
  function keys(node, actions) {
    node.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey || !Object.hasOwn(actions, event.key)) return;
      event.preventDefault();
      actions[event.key](event);
    });
  }

  // ---- time, sizes, colours
  /** Many events, one call for each frame. */
  function eachFrame(call) {
    let queued = false;
    return () => {
      if (queued) return;
      queued = true;
      requestAnimationFrame(() => { queued = false; call(); });
    };
  }
  /** Returns glide(step, ms): step(t) with t from 0 to 1, slower at the end; at once for readers who want no motion. A new one stops the last. */
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
  /** Calls when the width of a node has changed, its height alone left aside. */
  function onWidth(node, call) {
    let wide = 0;
    new ResizeObserver(() => { if (node.clientWidth !== wide) { wide = node.clientWidth; call(); } }).observe(node);
  }
  function onTheme(call) {
    new MutationObserver(call).observe(document.documentElement, { attributes: true, attributeFilter: ["data-theme"] });
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", call);
  }
  /** "#0072b2" or "rgb(0, 114, 178)" -> [0, 114, 178]. */
  const rgb = (color) => (color.startsWith("#") ? [1, 3, 5].map((i) => parseInt(color.slice(i, i + 2), 16)) : color.match(/[\d.]+/g).slice(0, 3).map(Number));
  /** The theme's colours as a canvas takes them. */
  function colors(root) {
    const style = getComputedStyle(root.querySelector(".mixkd-live"));
    return { ink: style.color, paper: style.backgroundColor };
  }
  /** An emptied canvas of a size in px of the page, as sharp as the screen up to double; returns its context, which counts in those px. */
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
    set, element, svg, button, select, numbers, clamp, number, mount, provide, source, newest, options, modelControls, modelKey, modelOf, remember,
    drag, keys, eachFrame, gliding, onWidth, onTheme, rgb, colors, canvas,
  };
})();
