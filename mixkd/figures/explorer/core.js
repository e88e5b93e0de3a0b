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
    const count = new Float64Array(bins), confidence = new Float64Array(bins), accuracy = new Float64Array(bins);
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
      if (top === y[i]) accuracy[bin]++;
    }
    const out = { count, confidence, accuracy, acc: 0, conf: 0, over: 0, under: 0, oe: 0, ue: 0, nll: nll / n };
    for (let b = 0; b < bins; b++) {
      out.acc += accuracy[b] / n;
      out.conf += confidence[b] / n;
      if (!count[b]) continue;
      confidence[b] /= count[b];
      accuracy[b] /= count[b];
      const w = count[b] / n, gap = confidence[b] - accuracy[b];
      if (gap > 0) { out.over += w * gap; out.oe += w * gap * confidence[b]; }
      else { out.under -= w * gap; out.ue -= w * gap * confidence[b]; }
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

  return { float16, uint16, stats, svg, element, provide, load };
})();
