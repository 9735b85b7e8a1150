// Arrays in, pictures out: the panels beside the rows, the curves, the bars, and the numbers put into the equations.
"use strict";

/** A function from a number to a colour: linear between equally spaced colours, and cut off beyond the ends. */
function colourScale(low, high, ...colours) {
  const stops = colours.map((colour) => [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16)));
  return (value) => {
    const place = Math.min(1, Math.max(0, (value - low) / (high - low))) * (stops.length - 1);
    const i = Math.min(Math.floor(place), stops.length - 2);
    return stops[i].map((part, channel) => part + (place - i) * (stops[i + 1][channel] - part));
  };
}

// Each scale also changes in lightness, in one direction from its middle: the colour-blind and a printer can read it.
const SCALES = {
  ink: colourScale(0, 1, "#000000", "#ffffff"),
  gate: colourScale(0, 1, "#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725"),
  signed: colourScale(-1, 1, "#67001f", "#c1373c", "#f4a582", "#f7f7f7", "#92c5de", "#2f79b5", "#053061"),
  probability: colourScale(0, 1, "#fcfbfd", "#dadaeb", "#9e9ac8", "#6a51a3", "#3f007d"),
};

/** Paint valueAt(row, column) onto a canvas, one pixel each; the style sheet enlarges the canvas. */
function paint(canvas, rows, columns, valueAt, colour) {
  const image = new ImageData(columns, rows);
  for (let i = 0; i < rows * columns; i++) {
    const [r, g, b] = colour(valueAt(Math.floor(i / columns), i % columns));
    image.data.set([r, g, b, 255], 4 * i);
  }
  Object.assign(canvas, { width: columns, height: rows });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

const paintLegends = () =>
  document.querySelectorAll("canvas[data-scale]").forEach((canvas) => {
    const colour = SCALES[canvas.dataset.scale], low = canvas.dataset.scale === "signed" ? -1 : 0;
    paint(canvas, 1, 64, (_, i) => low + ((1 - low) * i) / 63, colour);
  });

/** Paint x (T * D,) as MNIST shows it. */
const paintPicture = (canvas, x, T, D) => paint(canvas, T, D, (row, i) => x[row * D + i], SCALES.ink);

/** Paint gates, candidate, memory and probabilities of a run; with `other`, how far they are from those of that run. */
function paintPanels({ T, H, K, order }, run, other) {
  const names = { gammaU: SCALES.gate, gammaR: SCALES.gate, cTilde: SCALES.signed, c: SCALES.signed };
  for (const [name, colour] of Object.entries(names)) {
    const place = (row, column) => (row + (name === "c")) * H + order[column]; // c begins with c_0
    const at = (row, column) => run[name][place(row, column)] - (other ? other[name][place(row, column)] : 0);
    paint(document.getElementById(name), T, H, at, other ? SCALES.signed : colour);
  }
  paint(document.getElementById("probabilities"), T, K, (row, k) => run.probabilities[row * K + k], SCALES.probability);
}

/** Paint dLoss/dx (T * D,) over a pale picture x: red where more ink raises the loss, blue where it lowers the loss. */
function paintGradient(canvas, x, dx, T, D) {
  const most = dx.reduce((found, d) => Math.max(found, Math.abs(d)), 1e-30);
  paint(canvas, T, D, (row, i) => row * D + i, (i) => {
    const size = Math.abs(dx[i]) / most, paper = 255 - 90 * x[i];
    return SCALES.signed(-Math.sign(dx[i])).map((part) => size * part + (1 - size) * paper);
  });
}

/** Draw curves { kind, values } over the rows, a line across at every tick, and one down at the current row. */
function drawCurves(svg, curves, ticks, row, textOf = String) {
  const left = 30, right = 312, top = 8, bottom = 112, T = curves[0].values.length;
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
const added = (...terms) =>
  terms.map(([value, name], i) => `${i ? (value < 0 ? " − " : " + ") : value < 0 ? "−" : ""}` +
    `${number(Math.abs(value))}<small>${name}</small>`).join("");

/** Put the numbers of one row and one unit into the equations: the text for (G1) to (G4). */
function numbersOf(model, trace, x, row, unit) {
  const { H, D, p } = model, at = (name, t = row) => trace[name][t * H + unit];
  const x_t = x.subarray(row * D, (row + 1) * D), cPrev = trace.c.subarray(row * H, (row + 1) * H);
  const rc = cPrev.map((c, j) => trace.gammaR[row * H + j] * c);
  const product = (v, W, first) => v.reduce((total, value, i) => total + value * W[(first + i) * H + unit], 0);
  const inside = (name, memory) =>
    [[product(memory, p[`W_${name}`], 0), "memory"], [product(x_t, p[`W_${name}`], H), "row"],
      [p[`b_${name}`][unit], "bias"]];
  const byHand = (held, value) =>
    held && [-1, unit].includes(held.unit) ? `, held at <b>${number(value)}</b>` : "";
  const total = (terms) => terms.reduce((sum, [term]) => sum + term, 0);
  const gate = (name, value, held) => {
    const terms = inside(name, cPrev);
    return `σ(${added(...terms)}) = <b>${number(sigmoid([total(terms)])[0])}</b>${byHand(held, value)}`;
  };
  const u = at("gammaU"), computed = u * at("cTilde") + (1 - u) * cPrev[unit], memory = trace.hold.memory;
  return {
    G1: gate("u", u, trace.hold.update),
    G2: gate("r", at("gammaR"), trace.hold.reset),
    G3: `tanh(${added(...inside("c", rc))}) = <b>${number(at("cTilde"))}</b><br>` +
      `with nothing reset: tanh(${added(...inside("c", cPrev))}) = ${number(Math.tanh(total(inside("c", cPrev))))}`,
    G4: `${number(u)} × ${number(at("cTilde"))} + (1 − ${number(u)}) × ${number(cPrev[unit])} = ` +
      `<b>${number(computed)}</b>${memory?.row === row ? byHand(memory, at("c", row + 1)) : ""}`,
  };
}
