// Arrays in, pictures out: the panels beside the rows, the curves, the bars, and the numbers put into the equations.
"use strict";

/** A colour scale of the style sheet: from a number, at least `low` and at most 1, to the three parts of a colour. */
function colourScale(name, low = 0) {
  const colours = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).match(/\w{6}/g);
  const stops = colours.map((colour) => [0, 2, 4].map((start) => parseInt(colour.slice(start, start + 2), 16)));
  return (value) => {
    const place = clip((value - low) / (1 - low), 0, 1) * (stops.length - 1);
    const i = Math.min(Math.floor(place), stops.length - 2);
    return stops[i].map((part, channel) => part + (place - i) * (stops[i + 1][channel] - part));
  };
}

const SCALES = Object.fromEntries(["picture", "gate", "probability"].map((name) => [name, colourScale(name)]));
SCALES.signed = colourScale("signed", -1);

/** Paint values, row after row, onto a canvas, one pixel each; the style sheet enlarges the canvas. */
function paint(canvas, columns, values, colour) {
  const image = new ImageData(columns, values.length / columns);
  values.forEach((value, i) => image.data.set([...colour(value), 255], 4 * i));
  Object.assign(canvas, { width: columns, height: image.height });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Paint gates, candidate, memory and probabilities of a run; with `other`, how far they are from those of that run. */
function paintPanels({ T, H, K, order }, run, other) {
  const scales = { gammaU: SCALES.gate, gammaR: SCALES.gate, cTilde: SCALES.signed, c: SCALES.signed };
  for (const [name, colour] of Object.entries(scales)) {
    const rows = Array.from({ length: T }, (_, t) => (name === "c" ? t + 1 : t) * H); // c begins with c_0
    const places = rows.flatMap((first) => order.map((unit) => first + unit));
    const values = places.map((i) => run[name][i] - (other ? other[name][i] : 0));
    paint(document.getElementById(name), H, values, other ? SCALES.signed : colour);
  }
  paint(document.getElementById("probabilities"), K, run.probabilities, SCALES.probability);
}

/** Paint dLoss/dx over a pale picture x: red where more ink raises the loss, blue where it lowers the loss. */
function paintGradient(canvas, D, x, dx) {
  const most = largest(dx.map(Math.abs)) || 1;
  paint(canvas, D, dx.map((_, i) => i), (i) => {
    const size = Math.abs(dx[i]) / most, paper = 255 - 90 * x[i];
    return SCALES.signed(-Math.sign(dx[i])).map((part) => size * part + (1 - size) * paper);
  });
}

/** Draw curves { kind, values } over the rows, a line across at every tick, and one down at the current row. */
function drawCurves(svg, curves, ticks, row, textOf = String) {
  const left = 36, right = 312, top = 8, bottom = 112, T = curves[0].values.length;
  const [low, high] = [ticks[0], ticks.at(-1)];
  const across = (t) => left + ((right - left) * t) / (T - 1);
  const up = (value) => bottom - ((bottom - top) * (Math.max(low, Math.min(high, value)) - low)) / (high - low);
  const tick = (value) =>
    `<path class="grid" d="M${left} ${up(value)}H${right}"/>` +
    `<text x="${left - 4}" y="${up(value) + 3}">${textOf(value).replace("-", "−")}</text>`;
  const point = (value, t) => `${across(t).toFixed(1)},${up(value).toFixed(1)}`;
  const curve = ({ kind, values }) => `<polyline class="${kind}" points="${values.map(point).join(" ")}"/>`;
  const now = `<path class="now" d="M${across(row)} ${top}V${bottom}"/>` +
    `<text class="row" x="${across(row)}" y="124">${row + 1}</text>`;
  svg.innerHTML = ticks.map(tick).join("") + now + curves.map(curve).join("");
}

/** Draw one bar per class, and a mark at the probability without the intervention, if there is one. */
function drawBars(list, probabilities, other) {
  const best = indexOfLargest(probabilities);
  const bar = (p, k) =>
    `<li class="${k === best ? "best" : ""}"><span>${k}</span><span class="bar"><i style="width:${100 * p}%"></i>` +
    `${other ? `<b style="left:${100 * other[k]}%"></b>` : ""}</span><span>${percent(p)}</span></li>`;
  list.innerHTML = Array.from(probabilities, bar).join("");
}

const indexOfLargest = (values) => values.indexOf(Math.max(...values));
const percent = (p) => `${(100 * p).toFixed(p > 0.995 && p < 0.9995 ? 1 : 0)}\u00a0%`;
const number = (value) => value.toFixed(2).replace("-", "−").replace("−0.00", "0.00");
const added = (terms) => terms.map((value, i) => `${i ? (value < 0 ? " − " : " + ") : value < 0 ? "−" : ""}` +
  `${number(Math.abs(value))}<small>${["memory", "row", "bias"][i]}</small>`).join("");

/** Put the numbers of one row and one unit into the equations: the text for (G1) to (G4). */
function numbersOf({ H, D, p }, { hold, c, cTilde, gammaU, gammaR }, x, row, unit) {
  const xRow = x.subarray(row * D, (row + 1) * D), cPrev = c.subarray(row * H, (row + 1) * H), at = row * H + unit;
  const product = (v, W, first) => v.reduce((total, value, i) => total + value * W[(first + i) * H + unit], 0);
  const inside = (name, memory) => {
    const W = p[`W_${name}`], terms = [product(memory, W, 0), product(xRow, W, H), p[`b_${name}`][unit]];
    return [added(terms), sum(terms)];
  };
  const byHand = (held, value) => (held && [-1, unit].includes(held.unit) ? `, held at <b>${number(value)}</b>` : "");
  const gate = (name, value, held) => {
    const [text, z] = inside(name, cPrev);
    return `σ(${text}) = <b>${number(sigmoid([z])[0])}</b>${byHand(held, value)}`;
  };
  const [seen] = inside("c", cPrev.map((own, j) => gammaR[row * H + j] * own)), [open, z] = inside("c", cPrev);
  const memory = gammaU[at] * cTilde[at] + (1 - gammaU[at]) * cPrev[unit];
  return {
    G1: gate("u", gammaU[at], hold.update),
    G2: gate("r", gammaR[at], hold.reset),
    G3: `tanh(${seen}) = <b>${number(cTilde[at])}</b><br>with nothing reset: tanh(${open}) = ${number(Math.tanh(z))}`,
    G4: `${number(gammaU[at])} × ${number(cTilde[at])} + (1 − ${number(gammaU[at])}) × ${number(cPrev[unit])} = ` +
      `<b>${number(memory)}</b>${hold.memory?.row === row ? byHand(hold.memory, c[at + H]) : ""}`,
  };
}
