// The equations, as JavaScript: minigru/reference.py for one picture, line by line and tag by tag.
//
// A vector is a Float64Array; a weight (n, m) is one too, row after row. One letter per dimension: T rows of the
// picture, D pixels in a row, H hidden units, K classes. What a visitor changes by hand stands in `hold`, each part of
// which may be absent: { update: { unit, value }, reset: { unit, value }, memory: { unit, row, factor } }. Rows count
// from 0, and the unit -1 stands for all units.
"use strict";

const sigmoid = (z) => z.map((value) => 1 / (1 + Math.exp(-value)));
const tanh = (z) => z.map(Math.tanh);
const concat = (memory, x) => Float64Array.of(...memory, ...x); // the square brackets of the equations
const split = (joined, H) => [joined.subarray(0, H), joined.subarray(H)];
const stack = (vectors) => Float64Array.from(vectors.flatMap((v) => [...v]));

/** v W + b: v (n,), W (n, m), b (m,). */
function affine(v, W, b) {
  const y = Float64Array.from(b), m = b.length;
  for (let i = 0; i < v.length; i++) {
    if (v[i] !== 0) for (let j = 0; j < m; j++) y[j] += v[i] * W[i * m + j]; // most pixels are paper
  }
  return y;
}

/** dy W^T, the gradient of v in `affine`: dy (m,), W (n, m). */
function affineBackward(dy, W) {
  const m = dy.length, dv = new Float64Array(W.length / m);
  for (let i = 0; i < dv.length; i++) {
    let sum = 0;
    for (let j = 0; j < m; j++) sum += dy[j] * W[i * m + j];
    dv[i] = sum;
  }
  return dv;
}

/** The values of a gate, those that are held replaced. */
const held = (gate, hold, value = hold?.value) =>
  hold ? gate.map((own, j) => (hold.unit === -1 || hold.unit === j ? value : own)) : gate;

/** The memory after row t, or its gradient, times the factor of that row, if it has one: 0 erases, -1 flips. */
const scaled = (c, t, hold) =>
  hold && hold.row === t ? c.map((own, j) => (hold.unit === -1 || hold.unit === j ? hold.factor * own : own)) : c;

/** One step of the GRU: x (D,) and cPrev (H,) to the new memory c (H,), and what the backward pass needs. */
function gruCell(x, cPrev, p, hold) {
  const gammaU = held(sigmoid(affine(concat(cPrev, x), p.W_u, p.b_u)), hold.update); // (G1)
  const gammaR = held(sigmoid(affine(concat(cPrev, x), p.W_r, p.b_r)), hold.reset); // (G2)
  const rc = cPrev.map((own, j) => gammaR[j] * own);
  const cTilde = tanh(affine(concat(rc, x), p.W_c, p.b_c)); // (G3)
  const c = cPrev.map((own, j) => gammaU[j] * cTilde[j] + (1 - gammaU[j]) * own); // (G4) (G5)
  return [c, { cPrev, gammaU, gammaR, cTilde }];
}

/** Gradients of one step, `gruCell` read from its last line to its first: dc (H,) to dx (D,) and dcPrev (H,). */
function gruCellBackward(dc, { cPrev, gammaU, gammaR, cTilde }, p, hold) {
  const H = dc.length;

  const dgammaU = dc.map((d, j) => d * (cTilde[j] - cPrev[j])); // (dG4)
  const dcTilde = dc.map((d, j) => d * gammaU[j]); // (dG4)
  const dcPrev = dc.map((d, j) => d * (1 - gammaU[j])); // (dG4)

  const dzC = dcTilde.map((d, j) => d * (1 - cTilde[j] ** 2)); // (dG3)
  const [drc, dx] = split(affineBackward(dzC, p.W_c), H); // (dG3)
  const dgammaR = drc.map((d, j) => d * cPrev[j]); // (dG3)
  const dcPrevC = drc.map((d, j) => d * gammaR[j]); // (dG3)

  const dzR = held(dgammaR.map((d, j) => d * gammaR[j] * (1 - gammaR[j])), hold.reset, 0); // (dG2)
  const [dcPrevR, dxR] = split(affineBackward(dzR, p.W_r), H); // (dG2)

  const dzU = held(dgammaU.map((d, j) => d * gammaU[j] * (1 - gammaU[j])), hold.update, 0); // (dG1)
  const [dcPrevU, dxU] = split(affineBackward(dzU, p.W_u), H); // (dG1)

  return [dx.map((d, i) => d + dxR[i] + dxU[i]), dcPrev.map((d, j) => d + dcPrevC[j] + dcPrevR[j] + dcPrevU[j])];
}

/** One step of the plain RNN, the baseline: x (D,) and aPrev (H,) to the new activation a (H,). */
function rnnCell(x, aPrev, p) {
  const a = tanh(affine(concat(aPrev, x), p.W_a, p.b_a)); // (R1)
  return [a, { a }];
}

/** Gradients of one step of `rnnCell`: da (H,) to dx (D,) and daPrev (H,). */
function rnnCellBackward(da, { a }, p) {
  const dzA = da.map((d, j) => d * (1 - a[j] ** 2)); // (dR1)
  const [daPrev, dx] = split(affineBackward(dzA, p.W_a), da.length); // (dR1)
  return [dx, daPrev];
}

/** The logarithm of the softmax of logits (K,). */
function logSoftmax(logits) {
  const largest = Math.max(...logits);
  const s = logits.map((value) => value - largest); // (S1)
  const total = s.reduce((sum, value) => sum + Math.exp(value), 0);
  return s.map((value) => value - Math.log(total)); // (S2)
}

/**
 * Read a picture x (T * D,) row by row. Returns the memory c ((T + 1) * H,) before the first row and after each row, as
 * `hold` left it; logits and probabilities (T * K,) after each row; and of a GRU gammaU, gammaR and cTilde (T * H,). In
 * an RNN the memory is the activation a, and there are no gates to hold.
 */
function forward({ kind, T, D, H, p }, x, hold = {}) {
  const cell = kind === "gru" ? gruCell : rnnCell, c = [new Float64Array(H)], logits = [], caches = [];
  for (let t = 0; t < T; t++) {
    const [next, cache] = cell(x.slice(t * D, (t + 1) * D), c[t], p, hold);
    caches.push(cache);
    c.push(scaled(next, t, hold.memory));
    logits.push(affine(c[t + 1], p.W, p.b)); // (L1)
  }
  const probabilities = logits.map((z) => logSoftmax(z).map(Math.exp));
  const trace = { hold, caches, c: stack(c), logits: stack(logits), probabilities: stack(probabilities) };
  for (const name of kind === "gru" ? ["gammaU", "gammaR", "cTilde"] : [])
    trace[name] = stack(caches.map((cache) => cache[name]));
  return trace;
}

/**
 * Backpropagation through time of a trace of `forward`. Returns the loss of class k after the last row, in nats; its
 * gradient dx (T * D,) with respect to the pixels; and dc ((T + 1) * H,) with respect to the memories c of the trace.
 */
function backward({ kind, T, K, p }, { logits, caches, hold }, k) {
  const cellBackward = kind === "gru" ? gruCellBackward : rnnCellBackward;
  const logP = logSoftmax(logits.slice((T - 1) * K));
  const loss = -logP[k]; // (S3)
  const dlogits = logP.map((value, j) => Math.exp(value) - (j === k ? 1 : 0)); // (dS)
  const dc = [affineBackward(dlogits, p.W)], dx = []; // (dL1)
  for (let t = T - 1; t >= 0; t--) {
    const [dxRow, dcPrev] = cellBackward(scaled(dc[0], t, hold.memory), caches[t], p, hold);
    dx.unshift(dxRow);
    dc.unshift(dcPrev);
  }
  return { loss, dx: stack(dx), dc: stack(dc) };
}

/** The number that 16 bits stand for (IEEE 754, binary16). */
function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024;
  const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
  return bits >> 15 ? -size : size;
}

/** The model in a file that scripts/story/export_page.py wrote: sizes, notes, and the parameters p by their names. */
function unpack(file) {
  if (!file) throw new Error("the weights are missing; expected the script that holds them beside this page");
  const { base64, dtype, arrays, ...notes } = file;
  const { buffer } = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  const numbers = dtype === "float16" ? Float64Array.from(new Uint16Array(buffer), half) : new Float32Array(buffer);
  const p = {};
  let start = 0;
  for (const [name, size] of arrays) p[name] = Float64Array.from(numbers.subarray(start, (start += size)));
  return { ...notes, p };
}
