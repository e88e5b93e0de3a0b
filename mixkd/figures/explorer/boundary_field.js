// A field over the plane: log-probabilities at the points of a grid, painted on a canvas, with lines where the answer changes.
window.mixkdField = window.mixkdField || (() => {
  "use strict";
  const { clamp, rgb } = window.mixkdLive;
  const { logSoftmax, kl } = window.mixkdMeasures;
  const N = 96; // points along each side
  const KL_TOP = 3, KL_COLOR = [193, 39, 140]; // nats at full colour

  /** Log-probabilities (N * N * K) of a network over the square of half side `half` about the origin, row by row from the top left. */
  function sample(net, half, K) {
    const out = new Float64Array(N * N * K), x = [0, 0], logits = new Float64Array(K);
    for (let r = 0, at = 0; r < N; r++) for (let c = 0; c < N; c++, at += K) {
      x[0] = ((c + 0.5) / N) * 2 * half - half;
      x[1] = half - ((r + 0.5) / N) * 2 * half;
      logSoftmax(net(x, logits), K, out, 0, at);
    }
    return out;
  }

  /** Line segments of {f = level} on the grid, by linear interpolation: [x0, y0, x1, y1, ...] in grid units. */
  function contour(f, level) {
    const out = [], cut = (a, b) => (level - a) / (b - a);
    for (let r = 0; r + 1 < N; r++) for (let c = 0; c + 1 < N; c++) {
      const i = r * N + c, v = [f[i], f[i + 1], f[i + N + 1], f[i + N]], points = [];
      if ((v[0] > level) !== (v[1] > level)) points.push(c + cut(v[0], v[1]), r);
      if ((v[1] > level) !== (v[2] > level)) points.push(c + 1, r + cut(v[1], v[2]));
      if ((v[2] > level) !== (v[3] > level)) points.push(c + 1 - cut(v[2], v[3]), r + 1);
      if ((v[3] > level) !== (v[0] > level)) points.push(c, r + 1 - cut(v[3], v[0]));
      for (let p = 0; p + 3 < points.length; p += 4) out.push(...points.slice(p, p + 4));
    }
    return out;
  }

  const pixels = document.createElement("canvas"); // a pixel for each point of the grid
  pixels.width = pixels.height = N;
  /** Paint the grid, stretched to a square. color(i) returns [[r, g, b], opacity over the paper] of point i. */
  function fill(context, side, paper, color) {
    const image = pixels.getContext("2d").createImageData(N, N), base = rgb(paper);
    for (let i = 0; i < N * N; i++) {
      const [mixed, strength] = color(i);
      for (let d = 0; d < 3; d++) image.data[4 * i + d] = base[d] + strength * (mixed[d] - base[d]);
      image.data[4 * i + 3] = 255;
    }
    pixels.getContext("2d").putImageData(image, 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(pixels, 0, 0, side, side);
  }

  /** Paint a field in the colours of its classes, paler where less sure, with lines where the answer changes and at 90 %. */
  function paintAnswers(context, side, field, classColors, { paper, ink }) {
    const K = classColors.length, palette = classColors.map(rgb), top = new Float64Array(N * N);
    const margin = palette.map(() => new Float64Array(N * N)); // of each class over the best of the others
    fill(context, side, paper, (i) => {
      const mixed = [0, 0, 0];
      let best = 0, most = -Infinity, second = -Infinity;
      for (let c = 0; c < K; c++) {
        const l = field[i * K + c], p = Math.exp(l);
        for (let d = 0; d < 3; d++) mixed[d] += p * palette[c][d];
        if (l > most) { second = most; most = l; best = c; } else if (l > second) second = l;
      }
      for (let c = 0; c < K; c++) margin[c][i] = field[i * K + c] - (c === best ? second : most);
      top[i] = Math.exp(most);
      return [mixed, 0.12 + 0.68 * clamp((top[i] - 1 / K) / (1 - 1 / K), 0, 1)];
    });
    const big = Math.max(side / 330, 0.8), scale = side / N;
    const lines = (segments, width, alpha) => {
      context.beginPath();
      for (let s = 0; s < segments.length; s += 4) {
        context.moveTo((segments[s] + 0.5) * scale, (segments[s + 1] + 0.5) * scale);
        context.lineTo((segments[s + 2] + 0.5) * scale, (segments[s + 3] + 0.5) * scale);
      }
      Object.assign(context, { strokeStyle: ink, lineWidth: width * big, globalAlpha: alpha });
      context.stroke();
      context.globalAlpha = 1;
    };
    for (const f of margin) lines(contour(f, 0), 1.7, 0.9);
    lines(contour(top, 0.9), 0.8, 0.6);
  }
  /** Paint KL(of || to) at each point; 0 is the paper. */
  function paintDistance(context, side, of, to, K, { paper }) {
    fill(context, side, paper, (i) => [KL_COLOR, 0.95 * Math.sqrt(clamp(kl(of, to, K, i * K, i * K) / KL_TOP, 0, 1))]);
  }

  const CORNERS = [[], [4, Math.PI / 4], [3, -Math.PI / 2], [4, 0], [3, Math.PI / 2]]; // and the angle of the first; none for a circle
  /** Trace the mark of a class. Shapes differ too, not the colour alone. */
  function mark(context, label, x, y, r) {
    const [corners, turn] = CORNERS[label % CORNERS.length];
    context.beginPath();
    if (!corners) context.arc(x, y, r, 0, 7);
    for (let s = 0; s < corners; s++) {
      const angle = turn + (s * 2 * Math.PI) / corners;
      context.lineTo(x + 1.25 * r * Math.cos(angle), y + 1.25 * r * Math.sin(angle));
    }
    context.closePath();
  }

  return { sample, paintAnswers, paintDistance, mark, KL_TOP };
})();
