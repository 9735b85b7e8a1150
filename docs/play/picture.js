// A drawing in the form of MNIST: `as_digit` of minigru/experiments/images.py, and `find` and `doubts` of ink.py, step
// by step; those files say why. A picture is { v, height, width }: one number per pixel, row after row.
"use strict";

const LEAST_CONTRAST = 0.1, PAPER = 0.15, NOISE = 4, SPECK = 0.01, FINE = 400, COARSE = 100;
const GAP = 0.1, WIDE = 1.6, TIGHT = 0.95, MEETINGS = 6, RECTANGLE = 0.9, SLENDER = 0.4;
const SIDE = 28, BOX = 20;
const MOST_INK = 312; // in full pixels, the most in an image of MNIST (training images)
const DOUBTS = {
  blank: "No digit seems to be there; draw one with a thicker or longer stroke.",
  edge: "Ink reaches the edge of the picture; leave some paper around the digit.",
  several: "The picture seems to show several marks; the answer counts only if they are one digit.",
  rectangle: "The picture shows a rectangle; draw a digit with single strokes.",
  full: "There is more ink than in any digit that the model was trained on; draw it with single strokes.",
};

const sum = (v) => v.reduce((total, value) => total + value, 0);
const largest = (v) => v.reduce((most, value) => Math.max(most, value), -Infinity);
const clip = (value, low, high) => Math.min(Math.max(value, low), high);

/** The nearest whole number, and of two the even one, as Python rounds. */
const round = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));

/** Turn rows into columns, each of `length` weighted sums: taps(i) is where those of pixel i start, and the weights. */
function rowsToColumns({ v, height, width }, length, taps) {
  const out = new Float64Array(length * height);
  for (let i = 0; i < length; i++) {
    const [first, weights] = taps(i);
    for (let y = 0; y < height; y++) {
      let total = 0;
      for (let j = 0; j < weights.length; j++) total += v[y * width + first + j] * weights[j];
      out[i * height + y] = total;
    }
  }
  return { v: out, height: length, width: height };
}

/** A picture of another size, in float32 as Pillow resizes it: means of its pixels where it is smaller. */
function resize(picture, height, width) {
  const smaller = height < picture.height || (height === picture.height && width < picture.width);
  const along = (source, length) => {
    const scale = source.width / length, span = Math.max(scale, 1), reach = smaller ? span / 2 : span;
    const columns = rowsToColumns(source, length, (i) => {
      const centre = (i + 0.5) * scale, first = Math.max(0, Math.trunc(centre - reach + 0.5));
      const weights = new Float64Array(Math.min(source.width, Math.trunc(centre + reach + 0.5)) - first).map((_, j) => {
        const distance = (first + j - centre + 0.5) * (1 / span);
        return smaller ? +(-0.5 < distance && distance <= 0.5) : 1 - Math.min(Math.abs(distance), 1);
      });
      const total = sum(weights);
      return [first, weights.map((weight) => weight / total)];
    });
    return { ...columns, v: columns.v.map(Math.fround) };
  };
  return along(along(picture, width), height);
}

/** A picture whose longer side has at most `longest` pixels. */
function shrink(picture, longest) {
  const scale = longest / Math.max(picture.height, picture.width);
  const [height, width] = [picture.height, picture.width].map((n) => Math.max(1, round(scale * n)));
  return scale < 1 ? resize(picture, height, width) : picture;
}

/** A picture blurred by a Gaussian, beyond the edges of which everything is 0. */
function blur(picture, sigma) {
  const reach = Math.trunc(4 * sigma + 0.5);
  const kernel = new Float64Array(2 * reach + 1).map((_, j) => Math.exp(-0.5 * ((j - reach) / sigma) ** 2));
  const total = sum(kernel), weights = kernel.map((value) => value / total);
  const along = (source) => rowsToColumns(source, source.width, (i) => {
    const first = Math.max(0, i - reach), end = Math.min(source.width, i + reach + 1);
    return [first, weights.subarray(first - i + reach, end - i + reach)];
  });
  return along(along(picture));
}

/** Least squares: the factors with which the columns add up to v, by the normal equations. */
function fit(columns, v, weights) {
  const n = columns.length, A = columns.map(() => new Float64Array(n + 1));
  for (let i = 0; i < v.length; i++) {
    if (weights[i] === 0) continue;
    for (let a = 0; a < n; a++) {
      const weight = weights[i] * columns[a][i];
      for (let b = 0; b < n; b++) A[a][b] += weight * columns[b][i];
      A[a][n] += weight * v[i];
    }
  }
  for (let a = 0; a < n; a++) A[a][a] += 1e-9; // for fewer pixels than columns
  for (let a = 0; a < n; a++) {
    for (let b = 0; b < n; b++) {
      const factor = A[b][a] / A[a][a];
      if (b !== a) for (let c = a; c <= n; c++) A[b][c] -= factor * A[a][c];
    }
  }
  return A.map((row, a) => row[n] / row[a]);
}

/** The brightness that a picture would have without its ink, and whether the ink is dark. */
function groundOf({ v, height, width }) {
  const from = (i, n) => (n > 1 ? (2 * i) / (n - 1) - 1 : -1);
  const y = v.map((_, i) => from(Math.floor(i / width), height)), x = v.map((_, i) => from(i % width, width));
  const plane = [v.map(() => 1), y, x];
  const terms = [...plane, y.map((a) => a * a), x.map((a, i) => a * y[i]), x.map((a) => a * a)];
  const sums = (columns, factors) => columns[0].map((_, i) => factors.reduce((all, f, a) => all + f * columns[a][i], 0));
  const onFrame = (_, i) => i < width || i >= v.length - width || i % width === 0 || i % width === width - 1;
  const edge = v.filter(onFrame), edgePlane = plane.map((column) => column.filter(onFrame));
  let weights = edge.map(() => 1), factors;
  for (let k = 0; k < 20; k++) {
    factors = fit(edgePlane, edge, weights);
    weights = sums(edgePlane, factors).map((flat, i) => 1 / Math.max(Math.abs(edge[i] - flat), 1e-3));
  }
  let ground = sums(plane, factors);
  const dark = largest(ground.map((g, i) => g - v[i])) > largest(ground.map((g, i) => v[i] - g));
  let paper = new Float64Array(v.length), last;
  for (let k = 0; k < 5; k++) {
    const ink = ground.map((g, i) => (dark ? g - v[i] : v[i] - g)), least = Math.max(PAPER * largest(ink), 0.02);
    [last, paper] = [paper, ink.map((own, i) => {
      const column = i % width, near = [i, i - width, i + width, column ? i - 1 : i, column < width - 1 ? i + 1 : i];
      return +near.every((j) => !(ink[j] >= least)); // beyond the edge there is paper
    })];
    if (!paper.includes(1) || paper.every((is, i) => is === last[i])) break;
    const surface = sums(terms, fit(terms, v, paper));
    const rest = blur({ v: paper.map((is, i) => is * (v[i] - surface[i])), height, width }, Math.max(height, width) / 15);
    const near = blur({ v: paper, height, width }, Math.max(height, width) / 15);
    ground = surface.map((s, i) => s + rest.v[i] / (near.v[i] + 1e-3));
  }
  return [{ v: ground, height, width }, dark];
}

/** Number the connected marks in a picture from 1 on, as marks (height * width,); 0 is what belongs to none. */
function label({ v, height, width }, diagonal) {
  const marks = new Int32Array(v.length);
  let n = 0;
  for (let start = 0; start < v.length; start++) {
    if (!v[start] || marks[start]) continue;
    marks[start] = ++n;
    for (const stack = [start]; stack.length; ) {
      const i = stack.pop(), x = i % width, y = (i - x) / width;
      for (let b = Math.max(0, y - 1); b <= Math.min(height - 1, y + 1); b++) {
        for (let a = Math.max(0, x - 1); a <= Math.min(width - 1, x + 1); a++) {
          const j = b * width + a;
          if (!v[j] || marks[j] || (!diagonal && a !== x && b !== y)) continue;
          marks[j] = n;
          stack.push(j);
        }
      }
    }
  }
  return [marks, n];
}

/** How much ink there is in each pixel of a brightness, from 0 to 1; 0 everywhere if there is none. */
function find(brightness) {
  const picture = shrink(brightness, FINE), { v, height, width } = picture;
  const nothing = { v: v.map(() => 0), height, width };
  if (largest(v) + largest(v.map((b) => -b)) < LEAST_CONTRAST) return nothing;
  const [coarse, dark] = groundOf(shrink(picture, COARSE)), ground = resize(coarse, height, width).v;
  const raw = v.map((b, i) => (dark ? (ground[i] - b) / Math.max(ground[i], LEAST_CONTRAST) : b - ground[i]));
  const few = 1 + Math.floor(v.length / 2000), strong = raw.filter((value) => value >= LEAST_CONTRAST).sort();
  if (strong.length < few) return nothing;
  const strongest = strong[strong.length - few], fainter = raw.filter((value) => value < 0);
  const grainy = fainter.filter((value) => -value * 1.5 * NOISE > strongest); // 1.5 of their median, if these are most
  if (2 * grainy.length > fainter.length) return nothing;
  const ink = raw.map((value) => Math.min(value / strongest, 1)).map((value) => (value < PAPER ? 0 : value));
  const [marks, n] = label({ v: ink, height, width }, true), mass = new Float64Array(n + 1);
  ink.forEach((value, i) => (mass[marks[i]] += value));
  const least = SPECK * largest(mass);
  return { v: ink.map((value, i) => (mass[marks[i]] >= least ? value : 0)), height, width };
}

/** The smallest part of a picture that holds all its ink. */
function crop({ v, height, width }) {
  const at = [...v.keys()].filter((i) => v[i]), columns = at.map((i) => i % width);
  const top = Math.floor(at[0] / width), bottom = Math.floor(at[at.length - 1] / width) + 1;
  const left = -largest(columns.map((x) => -x)), right = largest(columns) + 1;
  const inside = (_, i) => i >= top * width && i < bottom * width && i % width >= left && i % width < right;
  return { v: v.filter(inside), height: bottom - top, width: right - left };
}

/** The pixels once around a picture. */
function around({ v, height, width }) {
  const at = (y, x) => v[y * width + x], rows = [...Array(height).keys()], columns = [...Array(width).keys()];
  const [right, left] = [rows.slice(1).map((y) => at(y, width - 1)), rows.slice(1, -1).reverse().map((y) => at(y, 0))];
  const [above, below] = [columns.map((x) => at(0, x)), columns.slice(0, -1).reverse().map((x) => at(height - 1, x))];
  return [...above, ...right, ...below, ...left];
}

/** Why the ink in a picture may not be one digit, one sentence per reason. */
function doubts(whole) {
  const found = [], cropped = crop(whole), tight = ["height", "width"].every((n) => cropped[n] >= TIGHT * whole[n]);
  const edge = around(whole).map((value) => value > 0), gap = Math.floor(edge.length / 100) + 1, half = gap >> 1;
  const wide = edge.map((_, i) => edge.slice(Math.max(0, i - gap + 1 + half), i + half + 1).includes(true));
  const closed = wide.map((_, i) => i >= half && i - half + gap <= wide.length && !wide.slice(i - half, i - half + gap).includes(false));
  const meetings = closed.filter((is, i) => is !== closed.at(i - 1)).length / 2;
  if (meetings > (tight ? MEETINGS : 0)) found.push(DOUBTS.edge);
  const ink = shrink(cropped, COARSE), { v, height, width } = ink, thick = new Uint8Array(v.length), r = (GAP / 2) * height;
  for (let i = 0; i < v.length; i++) {
    if (v[i] === 0) continue;
    const x = i % width, y = (i - x) / width;
    for (let b = Math.max(0, Math.ceil(y - r)); b <= Math.min(height - 1, y + r); b++) {
      for (let a = Math.max(0, Math.ceil(x - r)); a <= Math.min(width - 1, x + r); a++) {
        if ((a - x) ** 2 + (b - y) ** 2 <= r * r) thick[b * width + a] = 1;
      }
    }
  }
  if (label({ v: thick, height, width })[1] > 1 || width > WIDE * height) found.push(DOUBTS.several);
  if (isRectangle(ink)) found.push(DOUBTS.rectangle);
  return found;
}

/** Whether a mark, with its holes filled, fills the smallest rectangle around it, and is no stroke. */
function isRectangle({ v, height, width }) {
  const [grounds] = label({ v: v.map((value) => +(value === 0)), height, width });
  const outside = new Set(around({ v: grounds, height, width })), rows = [];
  let full = 0;
  grounds.forEach((mark, i) => {
    if (mark && outside.has(mark)) return;
    const y = Math.floor(i / width), x = i % width;
    full++;
    rows[y] = [rows[y]?.[0] ?? x, x]
  });
  const points = rows.flatMap((ends, y) => ends.map((x) => [y, x]));
  let best = [Infinity, Infinity];
  for (let k = 0; k < 30; k++) {
    const [cos, sin] = [Math.cos((k / 60) * Math.PI), Math.sin((k / 60) * Math.PI)];
    const along = points.map(([y, x]) => y * cos + x * sin), across = points.map(([y, x]) => x * cos - y * sin);
    const sides = [along, across].map((u) => Math.max(...u) - Math.min(...u) + 1).sort((a, b) => a - b);
    if (sides[0] * sides[1] < best[0] * best[1]) best = sides;
  }
  return best[0] >= SLENDER * best[1] && full >= RECTANGLE * best[0] * best[1];
}

/** Where a profile has to start for its centre of mass to be the middle of the field, and for it to fit. */
function offset(mass) {
  const centre = sum(mass.map((value, i) => value * (i + 0.5))) / sum(mass);
  return clip(round(SIDE / 2 - centre), 0, SIDE - mass.length);
}

/**
 * A drawing in the form of MNIST.
 *
 * pixels (height * width,) is the brightness from 0 (black) to 1 (white), strokes dark or light. Returns ink (784,) from
 * 0 to 1, why it may not be one digit (doubts, a sentence each), and whether the drawing is blank.
 */
function asDigit(pixels, width, height) {
  const found = find({ v: Float64Array.from(pixels, (value) => clip(value, 0, 1)), height, width });
  const field = new Float32Array(SIDE * SIDE);
  if (!found.v.some(Boolean)) return { ink: field, doubts: [DOUBTS.blank], blank: true };
  const ink = crop(found), longest = Math.max(ink.height, ink.width);
  const [h, w] = [ink.height, ink.width].map((length) => Math.max(1, round((BOX * length) / longest)));
  const { v } = resize({ ...ink, v: ink.v.map(Math.fround) }, h, w), most = largest(v);
  const line = (i, step, n) => sum(Array.from({length: n}, (_, k) => v[i + k * step]));
  const top = offset(Array.from({ length: h }, (_, y) => line(y * w, 1, w)));
  const left = offset(Array.from({ length: w }, (_, x) => line(x, w, h)));
  v.forEach((value, i) => (field[(top + Math.floor(i / w)) * SIDE + left + (i % w)] = value / most));
  const full = sum(field) > MOST_INK ? [DOUBTS.full] : [];
  return { ink: field, doubts: [...doubts(found), ...full], blank: false };
}

/** The pixels (784,), from 0 to 1, of a ready digit in digits.js. */
const unpackDigit = (digit) => Float32Array.from(atob(digit.pixels), (letter) => letter.charCodeAt(0) / 255);
