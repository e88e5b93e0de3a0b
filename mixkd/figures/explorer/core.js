// What every live figure shares: stored logits decoded, calibration figures as pure functions, a few lines of SVG.
// The conventions are those of mixkd.calibration: bins (lo, hi] of equal width, top-label confidence, NLL in nats.
window.mixkdLive = window.mixkdLive || (() => {
  "use strict";

  const bytes = (base64) => Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));

  /** Little-endian float16 in base64 -> Float32Array. */
  function float16(base64) {
    const raw = bytes(base64), out = new Float32Array(raw.length / 2);
    for (let i = 0; i < out.length; i++) {
      const h = raw[2 * i] | (raw[2 * i + 1] << 8), e = (h >> 10) & 31, m = h & 1023;
      const size = e === 31 ? (m ? NaN : Infinity) : e ? 2 ** (e - 15) * (1 + m / 1024) : 2 ** -14 * (m / 1024);
      out[i] = h >> 15 ? -size : size;
    }
    return out;
  }

  /** Little-endian uint16 in base64 -> Uint16Array. */
  function uint16(base64) {
    const raw = bytes(base64), out = new Uint16Array(raw.length / 2);
    for (let i = 0; i < out.length; i++) out[i] = raw[2 * i] | (raw[2 * i + 1] << 8);
    return out;
  }

  /**
   * Calibration figures of softmax(z / T).
   * z: n rows of k logits, the greatest of each row exactly 0; y: n labels. Row maxima being 0, the confidence is 1 / sum(exp(z / T)).
   */
  function stats(z, y, n, k, bins, T) {
    const count = new Float64Array(bins), confidence = new Float64Array(bins), accuracy = new Float64Array(bins), spread = new Float64Array(bins);
    const cut = -40 * T, inverse = 1 / T; // exp(-40) is below the rounding of a sum that is at least 1
    let nll = 0;
    for (let i = 0, at = 0; i < n; i++, at += k) {
      let sum = 0, top = 0;
      while (top < k && z[at + top] !== 0) top++;
      for (let j = at; j < at + k; j++) if (z[j] > cut) sum += Math.exp(z[j] * inverse);
      const c = 1 / sum;
      nll += Math.log(sum) - z[at + y[i]] * inverse;
      let bin = Math.min(Math.max(Math.ceil(c * bins) - 1, 0), bins - 1);
      if (bin > 0 && c <= bin / bins) bin--;                   // c * bins is rounded: hold c against the edge itself
      else if (bin < bins - 1 && c > (bin + 1) / bins) bin++;
      count[bin]++;
      confidence[bin] += c;
      spread[bin] += c * (1 - c);
      if (top === y[i]) accuracy[bin]++;
    }
    const out = { count, confidence, accuracy, acc: 0, conf: 0, over: 0, under: 0, oe: 0, ue: 0, nll: nll / n, chanceEce: 0, chanceOe: 0 };
    for (let b = 0; b < bins; b++) {
      out.acc += accuracy[b] / n;
      out.conf += confidence[b] / n;
      if (!count[b]) continue;
      confidence[b] /= count[b];
      accuracy[b] /= count[b];
      const w = count[b] / n, gap = confidence[b] - accuracy[b];
      if (gap > 0) { out.over += w * gap; out.oe += w * gap * confidence[b]; }
      else { out.under -= w * gap; out.ue -= w * gap * confidence[b]; }
      // What n calibrated, independent predictions with these confidences show: E|hits - expected hits|, normal approximation.
      const chance = Math.sqrt((2 / Math.PI) * spread[b]) / n;
      out.chanceEce += chance;
      out.chanceOe += (chance / 2) * confidence[b];
    }
    out.ece = out.over + out.under;
    out.gap = out.conf - out.acc;
    return out;
  }

  /** Set attributes of an SVG element, creating it under a parent when given a name. */
  function svg(parent, name, attributes = {}, words) {
    const node = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const key in attributes) node.setAttribute(key, attributes[key]);
    if (words !== undefined) node.textContent = words;
    parent.appendChild(node);
    return node;
  }

  function element(parent, name, properties = {}, words) {
    const node = document.createElement(name);
    for (const key in properties) node.setAttribute(key, properties[key]);
    if (words !== undefined) node.textContent = words;
    parent.appendChild(node);
    return node;
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
      const script = document.createElement("script");
      script.src = src;
      script.onerror = () => {
        (wanted.get(key) || []).forEach(([, fail]) => fail(new Error(`${src} could not be loaded`)));
        wanted.delete(key);
        script.remove();
      };
      document.head.appendChild(script);
    });
  }

  /** Text of a data key of a lab: in the block itself, or in the script file that its element names. */
  function source(root) {
    const stores = new Map([...root.querySelectorAll("script[data-key]")].map((node) => [node.dataset.key, node]));
    return (key) => {
      const node = stores.get(key);
      return node.dataset.src ? load(key, node.dataset.src) : Promise.resolve(node.textContent);
    };
  }

  /** Path of the marker of an arm (mixkd.figures.theme: plotly's names) around 0,0. */
  function marker(name, r) {
    const ring = (n, turn = -90, inner) => "M" + Array.from({ length: inner ? 2 * n : n }, (_, i) => {
      const at = ((turn + (360 / (inner ? 2 * n : n)) * i) * Math.PI) / 180, size = inner && i % 2 ? inner : r * 1.15;
      return `${(size * Math.cos(at)).toFixed(2)} ${(size * Math.sin(at)).toFixed(2)}`;
    }).join("L") + "Z";
    const w = r / 2.6;
    switch (name) {
      case "square": return ring(4, -45);
      case "diamond": return ring(4);
      case "triangle-up": return ring(3);
      case "triangle-down": return ring(3, 90);
      case "star": return ring(5, -90, r * 0.5);
      case "hexagon": return ring(6);
      case "cross": return `M${-w} ${-r}H${w}V${-w}H${r}V${w}H${w}V${r}H${-w}V${w}H${-r}V${-w}H${-w}Z`;
      case "x": return [[0, -w], [w, -2 * w], [2 * w, -w], [w, 0], [2 * w, w], [w, 2 * w], [0, w], [-w, 2 * w], [-2 * w, w], [-w, 0], [-2 * w, -w], [-w, -2 * w]]
        .map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(2)} ${y.toFixed(2)}`).join("") + "Z";
      case "bowtie": return `M${-r} ${-r}L${r} ${r}V${-r}L${-r} ${r}Z`;
      default: return `M${-r} 0A${r} ${r} 0 1 1 ${r} 0A${r} ${r} 0 1 1 ${-r} 0Z`;
    }
  }
  const DASHES = { solid: "", dot: "1.5 4", dash: "7 4", longdash: "11 5", dashdot: "7 3 1.5 3" };

  /** Round values for an axis from low to high, about `count` of them. */
  function ticks(low, high, count) {
    const raw = (high - low) / count || 1, power = 10 ** Math.floor(Math.log10(raw));
    const step = power * [1, 2, 2.5, 5, 10].find((f) => f * power >= raw * 0.999);
    const out = [];
    for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i++) out.push(i * step);
    const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) + (Math.abs(step / 10 ** Math.floor(Math.log10(step) + 1e-9) - 2.5) < 1e-6 ? 1 : 0);
    return out.map((v) => [v, (v < -1e-12 ? "−" : "") + Math.abs(v).toFixed(digits)]);
  }

  /** Many events, one call for each frame. */
  function eachFrame(call) {
    let queued = false;
    return () => {
      if (queued) return;
      queued = true;
      requestAnimationFrame(() => { queued = false; call(); });
    };
  }

  return { float16, uint16, stats, svg, element, provide, load, source, marker, DASHES, ticks, eachFrame };
})();

// Shared by the figures with fields and paths: choosing among stored models, networks of linear layers, divergences in nats.
Object.assign(window.mixkdLive, (() => {
  "use strict";

  /** Little-endian float32 in base64 -> Float32Array. */
  function float32(base64) {
    const raw = Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0)), view = new DataView(raw.buffer);
    return Float32Array.from({ length: raw.length / 4 }, (_, i) => view.getFloat32(4 * i, true));
  }

  /** Index of the model with this value in this field that agrees best with a label; earlier fields count more. */
  function choose(models, fields, now, field, value) {
    const rank = (m) => fields.reduce((sum, f, i) => sum + (m.label[f] === now[f] ? 2 ** (fields.length - i) : 0), 0);
    let best = -1;
    models.forEach((m, i) => { if (m.label[field] === value && (best < 0 || rank(m) > rank(models[best]))) best = i; });
    return best;
  }

  /** The values a field can take given the fields before it. */
  const offered = (models, fields, chosen, field) => [...new Set(models.filter((m) => fields.slice(0, fields.indexOf(field)).every((g) => m.label[g] === chosen[g])).map((m) => m.label[field]))];

  /** A select offers these values, in these words; its options are made anew only when they changed, and one alone is no choice. */
  function options(select, values, words, value) {
    if (select.dataset.options !== values.join("\n")) {
      select.replaceChildren();
      for (const each of values) window.mixkdLive.element(select, "option", { value: each }, (words || {})[each] || each);
      select.dataset.options = values.join("\n");
    }
    select.value = value;
    select.disabled = values.length < 2;
  }

  /** Does the last call once none has come for a while: what a screen reader is to say when a hand has come to rest. */
  function settled(say, ms = 300) {
    let timer = 0;
    return (...given) => { clearTimeout(timer); timer = setTimeout(() => say(...given), ms); };
  }

  /** Log-probabilities of k logits z[at ...], into out[to ...]. */
  function logSoftmax(z, k, out, at = 0, to = 0) {
    let top = -Infinity, sum = 0;
    for (let j = 0; j < k; j++) if (z[at + j] > top) top = z[at + j];
    for (let j = 0; j < k; j++) sum += Math.exp(z[at + j] - top);
    const norm = top + Math.log(sum);
    for (let j = 0; j < k; j++) out[to + j] = z[at + j] - norm;
    return out;
  }

  /** A network of linear layers with ReLU between: shape [in, ..., out], weights of each layer by rows, then its bias. Returns (x, out) -> logits. */
  function network(shape, weights) {
    const layers = [];
    for (let l = 1, at = 0; l < shape.length; l++) {
      const [n, m] = [shape[l - 1], shape[l]];
      layers.push({ n, m, w: Float64Array.from(weights.subarray(at, at + n * m)), b: Float64Array.from(weights.subarray(at + n * m, at + n * m + m)), h: new Float64Array(m) });
      at += n * m + m;
    }
    const depth = layers.length;
    return (x, out) => {
      let input = x;
      for (let l = 0; l < depth; l++) {
        const layer = layers[l], { n, m, w, b } = layer, last = l === depth - 1, to = last ? out : layer.h;
        for (let i = 0, at = 0; i < m; i++) {
          let sum = b[i];
          for (let j = 0; j < n; j++, at++) sum += w[at] * input[j];
          to[i] = !last && sum < 0 ? 0 : sum;
        }
        input = to;
      }
      return out;
    };
  }

  /** KL(a || b) over k entries of log-probabilities. */
  function kl(logA, logB, k, atA = 0, atB = 0) {
    let sum = 0;
    for (let j = 0; j < k; j++) { const a = logA[atA + j], p = Math.exp(a); if (p > 0) sum += p * (a - logB[atB + j]); }
    return Math.max(sum, 0);
  }

  /** L_NL: KL(lam p_i + (1 - lam) p_j || p), of log-probabilities; at lam 0 and 1 of the ends themselves it is 0. */
  function nonlinearity(logI, logJ, logP, k, lam, atI = 0, atJ = 0, atP = 0) {
    let sum = 0;
    for (let c = 0; c < k; c++) {
      const m = lam * Math.exp(logI[atI + c]) + (1 - lam) * Math.exp(logJ[atJ + c]);
      if (m > 0) sum += m * (Math.log(m) - logP[atP + c]);
    }
    return Math.max(sum, 0);
  }

  return { float32, choose, offered, options, settled, logSoftmax, network, kl, nonlinearity };
})());
