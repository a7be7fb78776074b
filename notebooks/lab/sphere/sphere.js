// Paired embeddings on a ring (2-d) or a sphere (3-d) that follow the regularizer's own gradient flow.
// In notebooks anywidget calls `render`; a page without a kernel calls `mountAll`.
// A model holds modalities (names), labels, dimensions, points and first (float32, modality by modality: where they
// are, and where *Reset* puts them), playing, controls (names of the sliders) and the regularizer's four values.
// What the reader chooses is written back into it.
// With `curves` the points come from a training: {names, rows: one number per name and epoch, length, caption, low and
// high like rows, earlier: rows of other runs' first curve}. Then nothing moves them here, and accuracies are drawn.

export const AT_EDGE = 2e-3; // a pair's excess decays and never reaches 0; counts and colors take this much for rest

// ---------------------------------------------------------------- geometry: numbers, no drawing

/** Buffers for `count` samples in `modalities` modalities of `dimensions` numbers; rows of `u` have length 1 or 0. */
export function geometry(modalities, count, dimensions) {
  const size = modalities * count * dimensions, pairs = [];
  for (let a = 0; a < modalities; a++) for (let b = a + 1; b < modalities; b++) pairs.push([a, b]);
  return {
    modalities, count, dimensions, pairs, u: new Float64Array(size), gradient: new Float64Array(size),
    squares: new Float64Array((count * (count - 1)) / 2), gaps: new Float64Array(pairs.length * count),
    total: 0, dispersion: new Float64Array(modalities), anchoring: new Float64Array(pairs.length), outside: 0,
    rank: new Float64Array(modalities), cosine: new Float64Array(modalities),
    means: new Float64Array(modalities * dimensions), apart: new Float64Array(pairs.length),
    shares: new Float64Array(modalities * dimensions), matrix: new Float64Array(dimensions ** 2),
  };
}

/** Scale one row of x to length 1; a zero row has no direction and stays. */
function normalize(x, at, dimensions) {
  let square = 0;
  for (let k = at; k < at + dimensions; k++) square += x[k] * x[k];
  if (square > 0) for (let k = at, length = Math.sqrt(square); k < at + dimensions; k++) x[k] /= length;
  return x;
}

export function load({ u, dimensions }, points) {
  u.set(points);
  for (let at = 0; at < u.length; at += dimensions) normalize(u, at, dimensions);
}

function squared(u, a, b, dimensions) {
  let square = 0;
  for (let k = 0; k < dimensions; k++) square += (u[a + k] - u[b + k]) ** 2;
  return square;
}

/** Add a force along u_a - u_b to one gradient, and its opposite to the other. */
function pull({ u, gradient, dimensions }, a, b, slope) {
  for (let k = 0; k < dimensions; k++) {
    const along = slope * (u[a + k] - u[b + k]);
    gradient[a + k] += along;
    gradient[b + k] -= along;
  }
}

/** Set total, both terms, distances of pairs, and the total's gradient along the sphere (Eq. 4, 5 and 6). */
export function evaluate(g, { dispersion_weight, anchoring_weight, temperature, radius }) {
  const { modalities: M, count: N, dimensions: D, u, gradient, squares, gaps, pairs } = g;
  gradient.fill(0);
  g.total = g.outside = 0;
  for (let m = 0; m < M; m++) {
    let at = 0, least = Infinity, sum = 0;
    for (let i = m * N; i < (m + 1) * N; i++) for (let j = m * N; j < i; j++)
      least = Math.min(least, (squares[at++] = squared(u, i * D, j * D, D)));
    for (let p = 0; p < at; p++) sum += squares[p] = Math.exp((least - squares[p]) / temperature);
    g.dispersion[m] = N < 2 ? 0 : Math.log(sum / at) - least / temperature;
    const slope = at ? (-2 * dispersion_weight) / (M * temperature * sum) : 0;
    at = 0;
    for (let i = m * N; i < (m + 1) * N; i++) for (let j = m * N; j < i; j++)
      pull(g, i * D, j * D, slope * squares[at++]);
    g.total += (dispersion_weight * g.dispersion[m]) / M;
  }
  for (let p = 0; p < pairs.length; p++) {
    g.anchoring[p] = 0;
    for (let i = 0; i < N; i++) {
      const a = (pairs[p][0] * N + i) * D, b = (pairs[p][1] * N + i) * D;
      const gap = (gaps[p * N + i] = Math.sqrt(squared(u, a, b, D))), excess = gap - radius;
      if (excess <= 0) continue; // inside the band: exactly no value and no gradient
      if (excess > AT_EDGE) g.outside += 1 / gaps.length;
      g.anchoring[p] += (excess * excess) / N;
      pull(g, a, b, (2 * anchoring_weight * excess) / (gap * gaps.length));
    }
    g.total += (anchoring_weight * g.anchoring[p]) / pairs.length;
  }
  for (let at = 0; at < u.length; at += D) { // embeddings are u = z / ||z||, so nothing pushes outwards
    let along = 0, square = 0;
    for (let k = at; k < at + D; k++) { along += gradient[k] * u[k]; square += u[k] * u[k]; }
    for (let k = at; k < at + D; k++) gradient[k] = square > 0 ? gradient[k] - along * u[k] : 0;
  }
}

/** Move every sample except the one at `held` by `rate` times its own force; a mean over samples has 1/N of it. */
export function step(g, rate, held = -1) {
  for (let at = 0; at < g.u.length; at += g.dimensions) {
    if (at === held) continue;
    for (let k = at; k < at + g.dimensions; k++) g.u[k] -= rate * g.count * g.gradient[k];
    normalize(g.u, at, g.dimensions);
  }
}

/** Set mean, mean cosine, shares of the singular values and effective rank of each modality, and their gaps. */
export function diagnose(g) {
  const { modalities: M, count: N, dimensions: D, u, matrix, means, shares } = g;
  for (let m = 0; m < M; m++) {
    let resultant = 0, own = 0, entropy = 0, sum = 0;
    matrix.fill(0);
    for (let k = m * D; k < (m + 1) * D; k++) {
      means[k] = 0;
      for (let at = m * N * D + (k % D); at < (m + 1) * N * D; at += D) { means[k] += u[at] / N; own += u[at] ** 2; }
      resultant += (N * means[k]) ** 2;
    }
    g.cosine[m] = (resultant - own) / Math.max(1, N * (N - 1));
    for (let i = m * N; i < (m + 1) * N; i++) for (let k = 0; k < D; k++) for (let l = 0; l < D; l++)
      matrix[k * D + l] += (u[i * D + k] - means[m * D + k]) * (u[i * D + l] - means[m * D + l]);
    diagonalize(matrix, D);
    for (let k = 0; k < D; k++) sum += shares[m * D + k] = Math.sqrt(Math.max(0, matrix[k * D + k]));
    for (let k = 0; k < D; k++) {
      const share = (shares[m * D + k] /= sum > 1e-12 ? sum : 1);
      if (share > 0) entropy -= share * Math.log(share);
    }
    g.rank[m] = Math.exp(entropy);
    shares.subarray(m * D, (m + 1) * D).sort().reverse();
  }
  for (let p = 0; p < g.pairs.length; p++)
    g.apart[p] = Math.sqrt(squared(means, g.pairs[p][0] * D, g.pairs[p][1] * D, D));
}

/** Jacobi's rotations: leave the eigenvalues of a small symmetric matrix on its diagonal. */
function diagonalize(a, D) {
  for (let sweep = 0; sweep < 10; sweep++) for (let p = 0; p < D; p++) for (let q = p + 1; q < D; q++) {
    const angle = 0.5 * Math.atan2(2 * a[p * D + q], a[q * D + q] - a[p * D + p]);
    for (let k = 0; k < D; k++) spin(a, p * D + k, q * D + k, -angle);
    for (let k = 0; k < D; k++) spin(a, k * D + p, k * D + q, -angle);
  }
}

/** Turn the plane of the numbers at p and q of x. */
function spin(x, p, q, angle) {
  const c = Math.cos(angle), s = Math.sin(angle), first = x[p];
  x[p] = c * first + s * x[q];
  x[q] = c * x[q] - s * first;
}

/** Fill x with both failures: each modality crowded in a place of its own, its classes side by side. */
export function crowds(x, modalities, labels, dimensions, seed) {
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
  const place = () => normalize(Array.from({ length: dimensions }, normal), 0, dimensions);
  const first = place(), classes = Array.from({ length: 1 + Math.max(...labels) }, place);
  for (let m = 0, at = 0; m < modalities; m++) {
    const other = place(), center = m ? first.map((value, k) => 0.8 * other[k] - 0.6 * value) : first;
    normalize(center, 0, dimensions);
    for (const c of labels) for (let k = 0; k < dimensions; k++)
      x[at++] = center[k] + 0.35 * classes[c][k] + 0.22 * normal();
  }
}

// ---------------------------------------------------------------- drawing and controls

export const CLASSES = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442"]; // as in geomreg_mini.plots
export const OUTSIDE = "#D55E00", INSIDE = "#8A8A8A", BAND = "#009E73";
const SIGNS = "●■▲◆", DASHES = [[], [5, 3], [2, 2], [8, 2, 2, 2]], AROUND = 2 * Math.PI;
const CORNERS = [[1, 0], [-1, -1, 1, -1, 1, 1, -1, 1], [0, -1.3, 1.3, 1, -1.3, 1], [0, -1.4, 1.3, 0, 0, 1.4, -1.3, 0]];
const POLES = [[0, 1, 0], [1, 0, 0], [0.7071, 0, 0.7071], [0, 0, 1], [-0.7071, 0, 0.7071]]; // of the grid's circles
const PAST = 240, ROW = 77; // evaluations in a strip; its height in pixels
const says = (value) => value.toFixed(2).replace(/^-0.00$/, "0.00"), angle = (radius) => Math.round((720 / AROUND) * Math.asin(radius / 2));
const SLIDERS = {
  dispersion_weight: { label: "Dispersion weight", min: 0, max: 1, says },
  anchoring_weight: { label: "Anchoring weight", min: 0, max: 1, says },
  radius: { label: "Radius of the band", min: 0, max: 2, says: (r) => `${says(r)} (${angle(r)}°)`, needs: "anchoring_weight" },
  temperature: { label: "Temperature", min: 0.02, max: 20, log: true, says: (t) => t.toFixed(t < 0.1 ? 3 : 2), needs: "dispersion_weight" },
};
const KEYS = "Arrow keys turn the picture; N and M mark another sample or modality";
const MOVES = "; Shift with an arrow moves it.";
/** A model for pages without a kernel: the part of a widget's model that is used here. */
export function store(values) {
  const heard = {}, on = (name, f) => (heard[name] ??= []).push(f);
  const set = (name, value) => { values[name] = value; heard[`change:${name}`]?.forEach((f) => f()); };
  return { get: (name) => values[name], set, on, off() {}, save_changes() {} };
}

/** Decode base64, as JSON holds points. */
export const bytes = (text = "") => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

function add(parent, kind, properties = {}) {
  const element = Object.assign(document.createElement(kind), properties);
  element.dataset.lmSuppressShortcuts = "true"; // or JupyterLab takes the arrow keys for its cells
  return parent.appendChild(element);
}

/** Build the figure in `element`; return a function that ends it. `element.firstChild.sphere` has its numbers. */
export function mount(element, model) {
  const names = model.get("modalities"), D = model.get("dimensions"), curves = () => model.get("curves") ?? {};
  const fed = Boolean(curves().names);
  let labels = model.get("labels");
  const M = names.length, N = labels.length, g = geometry(M, N, D), width = 1 + 2 * M, classes = new Set(labels).size;
  const values = {}, start = new Float32Array(g.u.length), sent = new Float32Array(g.u.length);
  const turned = new Float64Array(3 * M * N), tips = new Float64Array(2 * M * N), past = new Float64Array(PAST * width);
  const turn = Float64Array.of(1, 0, 0, 0, 1, 0, 0, 0, 1), bins = new Float64Array(41), times = new Float64Array(PAST);
  const vector = new Float64Array(3), spot = new Float64Array(2), ended = new AbortController();
  let evaluations = 0, rate = 0.02, seed = 20260, marked = 0, side = 0, held = -1; // side: marked modality
  let asked = false, stale = false, wrote = 0, ink = "#000", font = "13px sans-serif";

  const sphere = { geometry: g, values, turn, times, frames: 0 };
  const root = add(element, "div", { className: "geometry-sphere", sphere });
  const gone = add(root, "p", { className: "gone", role: "alert", hidden: true });
  const left = add(root, "div"), right = add(root, "div"), inputs = {};
  const scene = add(left, "canvas", { className: "scene", tabIndex: 0, role: "application", ariaLabel:
    `${N} samples in ${M} modalities (${names.join(", ")}) on a ${D === 2 ? "ring" : "sphere"}. ${KEYS}${fed ? "." : MOVES}` });
  const buttons = add(left, "div", { hidden: fed });
  const button = (name, onclick) => add(buttons, "button", { type: "button", textContent: name, onclick });
  const play = button("Play", () => write("playing", !model.get("playing")));
  const one = button("Step", () => { advance(); report(); });
  const controls = model.get("controls"); // without a slider and a weight there is nothing to play
  play.hidden = one.hidden = !controls.length && !model.get("dispersion_weight") && !model.get("anchoring_weight");
  const reset = button("Reset", () => { load(g, start); write("playing", false); report(); });
  button("Shuffle", () => { crowds(start, M, labels, D, (seed += 7919)); write("first", copy(start)); reset.click(); });
  add(left, "p", { className: "legend", textContent: `${names.map((name, m) => `${SIGNS[m % 4]} ${name}`).join("  ")}`
    + (classes > 1 ? "; color is the class" : "") + ". A line joins a pair: gray inside the band, vermilion outside. "
    + `Green: the band around the marked sample.${fed ? "" : " Darts: forces that are left."}` });
  add(left, "p", { textContent: `${fed ? "" : "Drag a point, or turn the picture. "}${KEYS}${fed ? "." : MOVES}` });
  for (const name of controls) {
    const { label, min, max, log } = SLIDERS[name], row = add(right, "label", { textContent: label });
    const ends = log ? { min: Math.log10(min), max: Math.log10(max) } : { min, max };
    const input = (inputs[name] = add(row, "input", { type: "range", ...ends, step: 0.05, ariaLabel: label }));
    input.oninput = () => write(name, log ? 10 ** input.value : Number(input.value));
    add(row, "output");
  }
  const readings = add(right, "p", { ariaAtomic: "true" });
  const strips = add(right, "canvas", { role: "img", ariaLabel: `Distances of pairs, the spectrum that effective rank `
    + `sums up, and ${fed ? "accuracies over epochs" : "effective rank, mean cosine and total over time"}; the text `
    + "above has the latest numbers." });

  const copy = (x) => new DataView(x.slice().buffer);
  function write(name, value) { model.set(name, value); model.save_changes(); }

  /** Tell the model where the points are; not while they move, since each message is a copy. */
  function report() {
    sent.set(g.u);
    write("points", copy(sent));
    ask(true);
  }

  function read() {
    for (const name in SLIDERS) values[name] = model.get(name);
    for (const name in inputs) {
      const input = inputs[name], { says, needs, log } = SLIDERS[name], text = says(values[name]);
      const disabled = needs && !values[needs];
      input.value = log ? Math.log10(values[name]) : values[name];
      Object.assign(input, { disabled, ariaValueText: disabled ? `${text}, without effect while `
        + `the ${SLIDERS[needs].label.toLowerCase()} is 0` : text.replace("(", "an angle of ").replace("°)", " degrees") });
      input.nextSibling.textContent = disabled ? "rests" : text;
    }
    play.textContent = model.get("playing") ? "Pause" : "Play";
    readings.ariaLive = fed || model.get("playing") ? "off" : "polite";
    rate = Math.max(rate, 0.005); // at rest it may have shrunk to nothing
    ask(true);
  }

  function floats(name) { // undefined on a page without a kernel
    const x = model.get(name);
    return x?.byteLength ? new Float32Array(x.buffer.slice(x.byteOffset, x.byteOffset + x.byteLength)) : undefined;
  }

  function readPoints() {
    const first = floats("first"), fresh = floats("points");
    labels = model.get("labels");
    if (first) start.set(first); else crowds(start, M, labels, D, seed);
    if (fresh?.every((x, k) => x === sent[k])) return; // an echo of what was reported
    load(g, fresh ?? start);
    ask(true);
  }

  function advance() {
    const before = g.total;
    step(g, rate, held);
    evaluate(g, values);
    rate = g.total > before ? Math.max(rate / 2, 1e-6) : Math.min(rate * 1.05, 0.04);
  }

  /** Ask for one frame; `changed` if points or values have changed and not only the view. */
  function ask(changed) {
    if (!asked) requestAnimationFrame(frame);
    asked = true;
    stale ||= changed;
  }

  function frame(now) {
    const began = performance.now(), playing = model.get("playing"), changed = stale || playing;
    asked = false;
    if (ended.signal.aborted) return;
    if (stale) evaluate(g, values);
    stale = false;
    if (playing) { advance(); ask(false); }
    if (changed) {
      diagnose(g);
      const row = (evaluations++ % PAST) * width;
      past[row] = g.total;
      past.set(g.rank, row + 1);
      past.set(g.cosine, row + 1 + M);
    }
    drawScene();
    drawStrips();
    if (!playing || now - wrote > 400) {
      wrote = now;
      ink = getComputedStyle(root).color;
      const list = (x) => names.map((name, m) => `${name} ${says(x[m])}`).join(", ");
      const mean = g.gaps.reduce((sum, gap) => sum + gap, 0) / g.gaps.length;
      const opening = fed ? curves().caption
        : `Total ${g.total.toFixed(3)}. Dispersion (uniformity): ${list(g.dispersion)}.`;
      readings.textContent = `${opening} Effective rank (1 to ${D}): ${list(g.rank)}. Mean cosine: ${list(g.cosine)}. Modality gap: `
        + `${Array.from(g.apart, says).join(", ")}. Distance of pairs: mean ${says(mean)}, largest `
        + `${says(Math.max(...g.gaps))}; ${Math.round(100 * g.outside)}\u00a0% outside the band.`;
    }
    times[sphere.frames++ % PAST] = performance.now() - began;
  }

  function cleared(canvas) {
    const scale = devicePixelRatio, context = canvas.getContext("2d");
    const w = Math.round(canvas.clientWidth * scale), h = Math.round(canvas.clientHeight * scale);
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, w, h);
    context.beginPath();
    context.strokeStyle = context.fillStyle = ink;
    context.font = font;
    return context;
  }

  const size = () => Math.max(1, Math.min(scene.clientWidth, scene.clientHeight) / 2 - 14); // pixels per unit of length
  const ring = (m) => (D === 2 ? 1 - 0.28 * m : 1); // keeps modalities apart; every embedding has length 1

  /** Write x[at...], turned and times `scale`, to out[to...], y downwards; return its depth, towards the reader. */
  function project(x, at, scale, out, to) {
    const z = D === 3 ? x[at + 2] : 0;
    out[to] = scale * (turn[0] * x[at] + turn[1] * x[at + 1] + turn[2] * z);
    out[to + 1] = -scale * (turn[3] * x[at] + turn[4] * x[at + 1] + turn[5] * z);
    return turn[6] * x[at] + turn[7] * x[at + 1] + turn[8] * z;
  }

  function mark(context, shape, x, y, r) {
    const corners = CORNERS[shape % 4];
    context.moveTo(x + r * corners[0], y + r * corners[1]);
    if (corners.length === 2) context.arc(x, y, r, 0, AROUND);
    for (let k = 2; k < corners.length; k += 2) context.lineTo(x + r * corners[k], y + r * corners[k + 1]);
    context.closePath();
  }

  /** Trace the circle of the sphere at the angle `away` from the unit vector axis[at...]: an ellipse, as seen. */
  function circle(context, axis, at, away, R) {
    const wide = R * Math.sin(away), thin = wide * Math.abs(project(axis, at, R, spot, 0));
    const x = spot[0] * Math.cos(away), y = spot[1] * Math.cos(away), tilt = Math.atan2(spot[1], spot[0]);
    context.moveTo(x + thin * Math.cos(tilt), y + thin * Math.sin(tilt));
    context.ellipse(x, y, thin, wide, tilt, 0, AROUND);
  }

  /** Fill and stroke the path with two opacities, and begin another. */
  function paint(context, filled, stroked = 0, lineWidth = 1) {
    context.lineWidth = lineWidth;
    if ((context.globalAlpha = filled)) context.fill();
    if ((context.globalAlpha = stroked)) context.stroke();
    context.globalAlpha = 1;
    context.beginPath();
  }

  function drawScene() {
    const context = cleared(scene), R = size(), r = N > 80 ? 4 : 6, own = (side * N + marked) * D;
    const band = 2 * Math.asin(Math.min(values.radius, 2) / 2);
    context.translate(scene.clientWidth / 2, scene.clientHeight / 2);
    for (let m = 0; m < (D === 2 ? M : 1); m++) mark(context, 0, 0, 0, ring(m) * R);
    for (let k = 0; k < 5 && D === 3; k++) circle(context, POLES[k], 0, AROUND / 4, R);
    paint(context, 0, 0.35, 0.7);
    context.fillStyle = context.strokeStyle = BAND; // around the marked sample: a partner in it feels no pull
    project(g.u, own, 1, spot, 0);
    const middle = Math.atan2(spot[1], spot[0]);
    if (D === 3) circle(context, g.u, own, band, R);
    else for (let m = 0; m < M; m++) if (m !== side) {
      context.arc(0, 0, R * ring(m), middle - band, middle + band);
      paint(context, 0, 0.4, 16);
    }
    paint(context, 0.13, 1, 2);
    for (let n = 0, at = 0; n < M * N; n++, at += D) {
      turned[3 * n + 2] = project(g.u, at, R * ring(Math.floor(n / N)), turned, 3 * n);
      let square = 0;
      for (let k = 0; k < D; k++) square += (vector[k] = g.gradient[at + k]) ** 2;
      project(vector, 0, (-0.6 * R * N) / (1 + 2 * N * Math.sqrt(square)), tips, 2 * n); // at most 0.3 R
    }
    for (let front = D === 3 ? 0 : 1; front < 2; front++) { // the far side first, and paler
      const alpha = front ? 1 : 0.4;
      for (let outside = 0; outside < 2; outside++) {
        for (let n = 0; n < g.gaps.length; n++) if (g.gaps[n] > values.radius + AT_EDGE == outside) {
          const pair = g.pairs[Math.floor(n / N)], p = 3 * (pair[0] * N + (n % N)), q = 3 * (pair[1] * N + (n % N));
          if (D === 3 && turned[p + 2] + turned[q + 2] > 0 != front) continue;
          context.moveTo(turned[p], turned[p + 1]);
          context.lineTo(turned[q], turned[q + 1]);
        }
        context.strokeStyle = outside ? OUTSIDE : INSIDE;
        paint(context, 0, alpha, (r / 6) * (outside ? 1.6 : 0.9));
      }
      context.strokeStyle = ink;
      for (let m = 0; m < M; m++) for (let c = 0; c < classes; c++) {
        for (let i = 0, n = 3 * m * N; i < N; i++, n += 3)
          if (labels[i] === c && (D === 2 || turned[n + 2] > 0 == front)) mark(context, m, turned[n], turned[n + 1], r);
        context.fillStyle = CLASSES[c % CLASSES.length];
        paint(context, alpha, alpha, 0.6);
      }
    }
    for (let n = 0; n < M * N && !fed; n++) if (N <= 60 || n % N === marked) { // a dart towards where a force pushes
      const x = turned[3 * n], y = turned[3 * n + 1], dx = tips[2 * n], dy = tips[2 * n + 1], long = Math.hypot(dx, dy);
      const thick = long > r ? 2.5 / long : 0; // a short one would be hidden by its sample
      context.moveTo(x - thick * dy, y + thick * dx);
      context.lineTo(x + dx, y + dy);
      context.lineTo(x + thick * dy, y - thick * dx);
    }
    context.fillStyle = ink;
    paint(context, 1);
    for (let m = 0, n = 3 * marked; m < M; m++, n += 3 * N)
      mark(context, 0, turned[n], turned[n + 1], r + (m === side ? 7 : 3));
    paint(context, 0, 1, 2);
  }

  /** Draw `count` columns of `past` as curves in strip `k`; several are one per modality, dashed and marked. */
  function histories(context, k, w, column, count, low, high) {
    const shown = Math.min(evaluations, PAST);
    for (let s = 0, x = 0, y = 0; s < count; s++) {
      for (let n = 0; n < shown; n++) {
        const share = (past[((evaluations - shown + n) % PAST) * width + column + s] - low) / (high - low || 1);
        x = 4 + ((w - 16) * n) / (PAST - 1);
        y = k * ROW + 62 - 42 * Math.min(1, Math.max(0, share));
        context.lineTo(x, y);
      }
      context.setLineDash(DASHES[s % 4]);
      paint(context, 0, 1, 1.4);
      context.setLineDash(DASHES[0]);
      if (count > 1) mark(context, s, x, y, 3.5);
      paint(context, 1);
    }
  }

  /** Draw accuracies over epochs, as tall as three strips; each name has a dash, and a modality its mark. */
  function drawAccuracies(context, w) {
    const { names: drawn, rows, length, low, high, earlier = [] } = curves(), top = 2 * ROW + 25, tall = 2 * ROW + 40;
    const x = (n) => 30 + ((w - 42) * n) / Math.max(1, length - 1), y = (value) => top + tall * (1 - value);
    for (let share = 0; share <= 4; share++) {
      context.fillText((share / 4).toFixed(2), 0, y(share / 4) + 4);
      context.moveTo(x(0), y(share / 4));
      context.lineTo(x(length - 1), y(share / 4));
    }
    paint(context, 0, 0.3, 0.6);
    context.strokeStyle = INSIDE;
    for (const row of earlier) row.forEach((value, n) => (n ? context.lineTo(x(n), y(value)) : context.moveTo(x(n), y(value))));
    paint(context, 0, 1, 1);
    context.strokeStyle = ink;
    for (let s = 0; s < drawn.length; s++) {
      if (low) {
        low.forEach((row, n) => context.lineTo(x(n), y(row[s])));
        for (let n = high.length - 1; n >= 0; n--) context.lineTo(x(n), y(high[n][s]));
        paint(context, 0.14);
      }
      rows.forEach((row, n) => context.lineTo(x(n), y(row[s])));
      context.setLineDash(DASHES[s % 4]);
      paint(context, 0, 1, s ? 1.4 : 2.6);
      context.setLineDash(DASHES[0]);
      const m = names.indexOf(drawn[s]), last = rows.length - 1;
      for (let n = last; n >= 0 && m >= 0; n -= 15) mark(context, m, x(n), y(rows[n][s]), 4);
      paint(context, 1);
    }
  }

  const TITLES = ["Distances of pairs, 0 to 2; the band is green", "Spectrum: share of each direction", ...(fed
    ? ["Accuracy over epochs: " + curves().names.map((name, s) => `${s ? SIGNS[names.indexOf(name)] : "━"} ${name}`).join("  ")]
    : [`Effective rank, 1 to ${D}`, "Mean cosine within a modality, −1 to 1", "Total"])];

  function drawStrips() {
    const context = cleared(strips), w = strips.clientWidth, part = (w - 28) / M, bar = part / (D + 1);
    let most = 1, low = Infinity, high = -Infinity;
    const wide = (w - 12) / 41, edge = wide * (1 + 20 * values.radius); // the first of 41 bars is for distance 0
    for (let k = 0; k < TITLES.length; k++) {
      context.fillText(TITLES[k], 0, k * ROW + 12, w);
      if (k < 2 || !fed) context.rect(4, k * ROW + 17, w - 12, 48);
    }
    paint(context, 0, 0.35);
    for (let m = 0; m < M; m++) {
      for (let k = 0; k < D; k++) context.rect(22 + part * m + bar * k, ROW + 65, bar - 4, -46 * g.shares[m * D + k]);
      mark(context, m, 13 + part * m, ROW + 59, 4);
    }
    paint(context, 0.7);
    context.fillRect(3 + edge, 17, 2, 48);
    context.rect(4, 17, edge, 48);
    context.fillStyle = BAND;
    paint(context, 0.25);
    bins.fill(0);
    for (let n = 0; n < g.gaps.length; n++) most = Math.max(most, ++bins[Math.ceil(20 * (g.gaps[n] - AT_EDGE))]);
    for (let n = 0; n < 41; n++) {
      context.fillStyle = n - 0.5 > 20 * values.radius ? OUTSIDE : INSIDE;
      context.fillRect(4 + wide * n, 65, wide - 1, (-45 * bins[n]) / most);
    }
    context.fillStyle = ink;
    if (fed) return drawAccuracies(context, w);
    for (let at = 0, end = Math.min(evaluations, PAST) * width; at < end; at += width)
      { low = Math.min(low, past[at]); high = Math.max(high, past[at]); }
    histories(context, 2, w, 1, M, 1, D);
    histories(context, 3, w, 1 + M, M, -1, 1);
    histories(context, 4, w, 0, 1, low, high);
  }

  // -------------------------------------------------------------- pointer and keyboard

  /** Turn the picture by angles to the right and upwards, as the reader sees it; a ring turns in its plane. */
  function rotate(sideways, up) {
    for (let k = 0; k < 3; k++) spin(turn, k, D === 2 ? 3 + k : 6 + k, D === 2 ? sideways - up : sideways);
    for (let k = 0; k < 3 && D === 3; k++) spin(turn, 3 + k, 6 + k, up);
    ask(false);
  }

  /** Move sample n to (x, y) in units of length, y downwards; on a sphere it stays on its side. */
  function move(n, x, y) {
    const length = Math.hypot(x, y) || 1, shrink = D === 2 || length > 1 ? length : 1;
    const depth = D === 2 ? 0 : Math.sqrt(Math.max(0, 1 - length * length));
    vector.set([x / shrink, -y / shrink, turned[3 * n + 2] < 0 ? -depth : depth]);
    for (let k = 0; k < D; k++) // the inverse turn
      g.u[n * D + k] = turn[k] * vector[0] + turn[3 + k] * vector[1] + turn[6 + k] * vector[2];
    rate = Math.max(rate, 0.005);
    ask(true);
  }

  const pointed = (e) => [e.offsetX - scene.clientWidth / 2, e.offsetY - scene.clientHeight / 2];
  let grip = [0, 0]; // not movementX, which is 0 for a finger in some browsers
  scene.onpointerdown = (event) => {
    if (!event.isPrimary || event.button) return;
    const [x, y] = pointed(event);
    let nearest = 16; // pixels; half of it on the far side
    for (let n = 0; n < M * N; n++) {
      const away = Math.hypot(turned[3 * n] - x, turned[3 * n + 1] - y) + (D === 3 && turned[3 * n + 2] < 0 ? 8 : 0);
      if (away < nearest) { nearest = away; held = n * D; }
    }
    if (held >= 0) { marked = (held / D) % N; side = Math.floor(held / D / N); }
    if (fed) held = -1;
    scene.setPointerCapture(event.pointerId);
    grip = [x, y];
    ask(false);
  };
  // A ring turns by a sideways swipe, so an upright one scrolls the page, unless it starts on a point.
  if (D === 2) scene.style.touchAction = "pan-y";
  scene.addEventListener("touchstart", (event) => {
    if (held < 0) return;
    event.preventDefault();
    scene.focus({ preventScroll: true });
  }, { passive: false });
  scene.onpointermove = (event) => {
    if (!event.isPrimary) return;
    const [x, y] = pointed(event);
    if (held >= 0) move(held / D, x / size(), y / size());
    else if (event.buttons === 1) {
      const up = D === 2 && event.pointerType === "touch" ? 0 : grip[1] - y; // that of a swipe scrolls
      rotate((x - grip[0]) / size(), up / size());
    }
    grip = [x, y];
  };
  scene.onpointerup = scene.onpointercancel = (event) => { if (event.isPrimary && held >= 0) { held = -1; report(); } };
  scene.onkeydown = (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const key = event.key.toLowerCase(), n = side * N + marked, unit = size() * ring(side);
    if (way && event.shiftKey && !fed) {
      const x = turned[3 * n] / unit, y = turned[3 * n + 1] / unit, along = 0.05 * (way[0] + way[1]);
      if (D === 2) move(n, x - along * y, y + along * x); else move(n, x + 0.05 * way[0], y + 0.05 * way[1]);
      report();
    } else if (way) rotate(0.1 * way[0], -0.1 * way[1]);
    else if (key === "n") marked = (marked + 1) % N;
    else if (key === "m") side = (side + 1) % M;
    else return;
    ask(false);
    event.preventDefault();
    event.stopPropagation();
  };

  // -------------------------------------------------------------- life

  function lost() { // after a restart of the kernel; a lab's own controls say it, and rest
    gone.hidden = fed;
    gone.textContent = "This figure has lost its kernel, so Python does not see what you do. Run its cell again.";
  }

  const played = () => { read(); if (!model.get("playing")) report(); };
  const listened = { "change:points": readPoints, "change:playing": played, "change:curves": () => ask(false), comm_live_update: lost };
  for (const name in SLIDERS) listened[`change:${name}`] = read;
  for (const name in listened) model.on(name, listened[name]);
  function look() { // letters are as large as those of the page, as slides need
    const { color, fontSize } = getComputedStyle(root);
    ink = color;
    font = `${0.93 * parseFloat(fontSize)}px system-ui, sans-serif`;
    ask(false);
  }
  const resized = new ResizeObserver(look), theme = new MutationObserver(look);
  resized.observe(root);
  theme.observe(document.body, { attributes: true });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", look, { signal: ended.signal });
  readPoints();
  read();
  if (D === 3) rotate(0.5 - Math.atan2(g.u[0], g.u[2]), 0.3 - Math.asin(g.u[1])); // the first sample is in front
  return () => {
    for (const name in listened) model.off(name, listened[name]);
    resized.disconnect();
    theme.disconnect();
    ended.abort();
  };
}

/** Build a figure in each element with `data-sphere`: the model as JSON, its points in base64 or left out.
 *  A damaged model costs its own figure alone: the picture that was there stays, and a sentence says so. */
export function mountAll() {
  for (const place of document.querySelectorAll("[data-sphere]")) {
    const picture = [...place.childNodes];
    try {
      const given = JSON.parse(place.dataset.sphere), points = bytes(given.points);
      const size = 4 * given.modalities.length * given.labels.length * given.dimensions;
      if (!(size > 0) || (points.length && points.length !== size)) throw new RangeError("points of another size");
      place.replaceChildren();
      mount(place, store({ ...given, playing: false, points, first: points }));
    } catch (error) {
      console.error(error);
      place.replaceChildren(...picture);
      add(place, "p", { role: "alert", textContent: "This figure's data are damaged, so it does not move. Get the page again." });
    }
  }
}

export default { render: ({ model, el }) => mount(el, model) };
