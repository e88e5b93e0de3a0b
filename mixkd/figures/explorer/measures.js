// Stored numbers decoded, and measures as pure functions. The conventions are those of mixkd.calibration: bins (lo, hi] of equal
// width, top-label confidence, nats.
window.mixkdMeasures = window.mixkdMeasures || (() => {
  "use strict";

  // ---- base64 -> numbers, little-endian
  const bytes = (base64) => Uint8Array.from(atob(base64.trim()), (c) => c.charCodeAt(0));
  const uint16 = (base64) => read(base64, Uint16Array, "getUint16");
  const float32 = (base64) => read(base64, Float32Array, "getFloat32");
  function read(base64, Kind, get) {
    const view = new DataView(bytes(base64).buffer), size = Kind.BYTES_PER_ELEMENT;
    return Kind.from({ length: view.byteLength / size }, (_, i) => view[get](size * i, true));
  }
  function float16(base64) {
    const halves = uint16(base64), out = new Float32Array(halves.length);
    for (let i = 0; i < out.length; i++) {
      const h = halves[i], e = (h >> 10) & 31, m = h & 1023;
      const size = e === 31 ? (m ? NaN : Infinity) : e ? 2 ** (e - 15) * (1 + m / 1024) : 2 ** -14 * (m / 1024);
      out[i] = h >> 15 ? -size : size;
    }
    return out;
  }

  // ---- calibration
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

  // ---- networks and divergences
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
      const take = (count) => Float64Array.from(weights.subarray(at, at += count));
      layers.push({ n, m, w: take(n * m), b: take(m), h: new Float64Array(m) });
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

  return { bytes, uint16, float16, float32, stats, logSoftmax, network, kl, nonlinearity };
})();
