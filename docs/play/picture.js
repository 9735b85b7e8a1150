// A drawing in the form of MNIST, by the steps of minigru/experiments/images.py (`as_digit`) and ink.py (`find`); those
// files say why. A picture is { v, height, width }: one number per pixel, row after row.
"use strict";

const LEAST_CONTRAST = 0.1, PAPER = 0.15, NOISE = 4, SPECK = 0.01, FINE = 400, COARSE = 100, GAP = 0.1, WIDE = 1.6;
const SIDE = 28, BOX = 20;
const MOST_INK = 312; // of a training image of MNIST, in full pixels
const DOUBTS = {
  blank: "No digit seems to be there; draw one with a thicker or longer stroke.",
  several: "The picture seems to show several marks; the answer counts only if they are one digit.",
  full: "There is more ink than in any digit that the model was trained on; draw it with single strokes.",
};

const sum = (v) => v.reduce((total, value) => total + value, 0);
const largest = (v) => v.reduce((most, value) => Math.max(most, value), -Infinity);
const smallest = (v) => v.reduce((least, value) => Math.min(least, value), Infinity);
const clip = (value, low, high) => Math.min(Math.max(value, low), high);
const round = (value) => (value % 1 === 0.5 ? 2 * Math.round(value / 2) : Math.round(value)); // a half: to even

/** Turn rows into columns, each of `length` weighted sums: taps(i) is where those of sum i start, and the weights. */
function rowsToColumns({ v, height, width }, length, taps) {
  const out = new Float64Array(length * height);
  for (let i = 0; i < length; i++) {
    const [first, weights] = taps(i);
    for (let y = 0; y < height; y++)
      for (let j = 0; j < weights.length; j++) out[i * height + y] += v[y * width + first + j] * weights[j];
  }
  return { v: out, height: length, width: height };
}

/** A picture of another size, in float32 as by Pillow: means of pixels where it is smaller, else between the pixels. */
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
      return [first, weights.map((weight) => weight / sum(weights))];
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

/** A picture of which each pixel is the sum of those around it, by a kernel along both axes; beyond the edges is 0. */
function spread(picture, kernel) {
  const reach = (kernel.length - 1) / 2;
  const along = (source) => rowsToColumns(source, source.width, (i) => {
    const first = Math.max(0, i - reach), end = Math.min(source.width, i + reach + 1);
    return [first, kernel.subarray(first - i + reach, end - i + reach)];
  });
  return along(along(picture));
}

function gaussian(sigma) {
  const reach = Math.trunc(4 * sigma + 0.5);
  const kernel = new Float64Array(2 * reach + 1).map((_, j) => Math.exp(-0.5 * ((j - reach) / sigma) ** 2));
  return kernel.map((value) => value / sum(kernel));
}

/** Least squares: the sum of columns that is nearest to v, by the weighted normal equations; its values elsewhere. */
function fit(columns, v, weights, elsewhere = columns) {
  const n = columns.length, all = [...columns, v], A = columns.map(() => new Float64Array(n + 1));
  A.forEach((row, a) => all.forEach((column, b) => {
    for (let i = 0; i < v.length; i++) row[b] += weights[i] * columns[a][i] * column[i];
  }));
  for (let a = 0; a < n; a++) A[a][a] += 1e-9; // there may be fewer pixels than columns
  for (let a = 0; a < n; a++) {
    for (let b = 0; b < n; b++) {
      const factor = A[b][a] / A[a][a];
      for (let c = a; b !== a && c <= n; c++) A[b][c] -= factor * A[a][c];
    }
  }
  const total = new Float64Array(elsewhere[0].length);
  elsewhere.forEach((column, a) => {
    const factor = A[a][n] / A[a][a];
    for (let i = 0; i < total.length; i++) total[i] += factor * column[i];
  });
  return total;
}

/** The brightness that a picture would have without its ink, and whether the ink is dark. */
function findGround({ v, height, width }) {
  const from = (i, n) => (n > 1 ? (2 * i) / (n - 1) - 1 : -1), kernel = gaussian(Math.max(height, width) / 15);
  const y = v.map((_, i) => from(Math.floor(i / width), height)), x = v.map((_, i) => from(i % width, width));
  const plane = [v.map(() => 1), y, x];
  const terms = [...plane, y.map((own) => own * own), x.map((own, i) => own * y[i]), x.map((own) => own * own)];
  const onFrame = (i) => i < width || i >= v.length - width || i % width === 0 || (i + 1) % width === 0;
  const frame = [...v.keys()].filter(onFrame), only = (column) => Float64Array.from(frame, (i) => column[i]);
  const edge = only(v), edgePlane = plane.map(only);
  let weights = edge.map(() => 1), paper, last;
  for (let k = 1; k < 20; k++)
    weights = fit(edgePlane, edge, weights).map((flat, i) => 1 / Math.max(Math.abs(edge[i] - flat), 1e-3));
  let ground = fit(edgePlane, edge, weights, plane);
  const rise = ground.map((flat, i) => flat - v[i]), dark = largest(rise) > -smallest(rise);
  for (let k = 0; k < 5; k++) {
    const ink = ground.map((g, i) => (dark ? g - v[i] : v[i] - g)), least = Math.max(PAPER * largest(ink), 0.02);
    const isPaper = (i, inside) => !inside || ink[i] < least;
    [last, paper] = [paper, ink.map((own, i) => +(own < least && isPaper(i - width, i >= width) &&
      isPaper(i + width, i + width < ink.length) && isPaper(i - 1, i % width) && isPaper(i + 1, (i + 1) % width)))];
    if (!paper.includes(1) || paper.every((is, i) => last && is === last[i])) break; // the same paper, the same ground
    const surface = fit(terms, v, paper);
    const rest = spread({ v: paper.map((is, i) => is * (v[i] - surface[i])), height, width }, kernel).v;
    const near = spread({ v: paper, height, width }, kernel).v;
    ground = surface.map((flat, i) => flat + rest[i] / (near[i] + 1e-3));
  }
  return [{ v: ground, height, width }, dark];
}

/** The marks in a picture, numbered from 1 on, pixel by pixel; 0 is what belongs to none. And how many there are. */
function label({ v, height, width }, diagonal) {
  const marks = new Int32Array(v.length);
  let n = 0;
  for (let start = 0; start < v.length; start++) {
    if (!v[start] || marks[start]) continue;
    n++;
    for (const stack = [start]; stack.length; ) {
      const i = stack.pop(), x = i % width, y = (i - x) / width;
      marks[i] = n;
      for (let b = Math.max(0, y - 1); b <= Math.min(height - 1, y + 1); b++) {
        for (let a = Math.max(0, x - 1); a <= Math.min(width - 1, x + 1); a++) {
          const j = b * width + a;
          if (v[j] && !marks[j] && (diagonal || a === x || b === y)) stack.push(j);
        }
      }
    }
  }
  return [marks, n];
}

/** How much ink there is in each pixel of a brightness, from 0 to 1; 0 everywhere if there is none. */
function find(brightness) {
  const picture = shrink(brightness, FINE), { v, height, width } = picture;
  const blank = { v: v.map(() => 0), height, width };
  if (largest(v) - smallest(v) < LEAST_CONTRAST) return blank;
  const [coarse, dark] = findGround(shrink(picture, COARSE)), ground = resize(coarse, height, width).v;
  const raw = v.map((own, i) => (dark ? (ground[i] - own) / Math.max(ground[i], LEAST_CONTRAST) : own - ground[i]));
  const few = 1 + Math.floor(v.length / 2000), strongest = raw.slice().sort()[v.length - few];
  const fainter = raw.filter((own) => own < 0).sort(), grain = -1.5 * (fainter[fainter.length >> 1] ?? 0); // the median
  if (strongest < Math.max(LEAST_CONTRAST, NOISE * grain)) return blank;
  const ink = raw.map((own) => (own < PAPER * strongest ? 0 : Math.min(own / strongest, 1)));
  const [marks, n] = label({ v: ink, height, width }, true), mass = new Float64Array(n + 1);
  for (let i = 0; i < v.length; i++) mass[marks[i]] += ink[i];
  const least = SPECK * largest(mass);
  return { v: ink.map((own, i) => (mass[marks[i]] < least ? 0 : own)), height, width };
}

/** The smallest part of a picture that holds all its ink. */
function crop({ v, width }) {
  const rows = [], columns = [];
  for (let i = 0; i < v.length; i++) if (v[i]) rows[Math.floor(i / width)] = columns[i % width] = true;
  const top = rows.indexOf(true), left = columns.indexOf(true), right = columns.length;
  const part = new Float64Array((rows.length - top) * (right - left));
  rows.forEach((_, y) => part.set(v.subarray(y * width + left, y * width + right), (y - top) * (right - left)));
  return { v: part, height: rows.length - top, width: right - left };
}

/** Whether the ink is in several marks that stand apart, along either axis, or too wide for one digit. */
function isSeveral(picture) {
  const part = shrink(picture, COARSE), reach = Math.floor((GAP / 2) * part.height);
  const near = spread(part, new Float64Array(2 * reach + 1).fill(1));
  return label(near, false)[1] > 1 || part.width > WIDE * part.height;
}

/**
 * A drawing in the form of MNIST: pixels (height * width,) is its brightness from 0 (black) to 1 (white), with dark
 * strokes or light ones. Returns its ink (784,) from 0 to 1; doubts, a sentence for each reason why it may not be one
 * digit; and whether it is blank.
 */
function asDigit(pixels, width, height) {
  const found = find({ v: new Float64Array(pixels).map((value) => clip(value, 0, 1)), height, width });
  const field = new Float32Array(SIDE * SIDE);
  if (!found.v.some(Boolean)) return { ink: field, doubts: [DOUBTS.blank], blank: true };
  const part = crop(found), longest = Math.max(part.height, part.width);
  const [h, w] = [part.height, part.width].map((n) => Math.max(1, round((BOX * n) / longest)));
  const { v } = resize({ ...part, v: part.v.map(Math.fround) }, h, w), most = largest(v);
  const start = (n, place) => { // so that the centre of mass is in the middle, and all ink fits
    const centre = sum(v.map((value, i) => value * (place(i) + 0.5))) / sum(v);
    return clip(round(SIDE / 2 - centre), 0, SIDE - n);
  };
  const top = start(h, (i) => Math.floor(i / w)), left = start(w, (i) => i % w);
  v.forEach((value, i) => (field[(top + Math.floor(i / w)) * SIDE + left + (i % w)] = value / most));
  const doubts = Object.entries({ several: isSeveral(part), full: sum(field) > MOST_INK }).filter(([, is]) => is);
  return { ink: field, doubts: doubts.map(([name]) => DOUBTS[name]), blank: false };
}

/** The pixels (784,), from 0 to 1, of a ready digit of digits.js. */
const unpackDigit = (digit) => Float32Array.from(atob(digit.pixels), (letter) => letter.charCodeAt(0) / 255);
