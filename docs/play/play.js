// The page: a form whose fields are its whole state, so that the address can carry them, and one function that renders.
"use strict";

const $ = (id) => document.getElementById(id);
const form = $("page"), fields = form.elements;
const gru = unpack(window.MINIGRU_GRU), rnn = unpack(window.MINIGRU_RNN);
const { T, D, H, K, order } = gru;
const OWN = "own"; // the choice of digit that stands for the visitor's drawing
const canvases = Object.fromEntries(
  ["gammaU", "gammaR", "cTilde", "c", "probabilities"].map((name) => [name, $(name)]));

/** The number in a field, or the nearest one that the field admits. */
function numberIn(name) {
  const { value, min, max, defaultValue } = fields[name];
  return Math.min(max, Math.max(min, Math.round(value === "" ? defaultValue : value)));
}

// --- The picture: strokes on a grid of 64 x 64, or a ready digit --------------------------------------------------

const GRID = 64, PEN = 5.5, STEP = 2; // width of the pen, and its way per arrow key, in squares of the grid
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"; // one per coordinate
const pen = { x: GRID / 2, y: GRID / 2, down: false }; // moved by the arrow keys

/** The strokes in the field `drawing`: a dot begins each stroke, and each point is two letters. */
const strokes = () =>
  fields.drawing.value.split(".").slice(1).map((text) =>
    (text.match(/[\w-]{2}/g) ?? []).map(([x, y]) => [LETTERS.indexOf(x), LETTERS.indexOf(y)]));

/** Add a point to the drawing, or begin a stroke with it. */
function addPoint(x, y, begins) {
  if (fields.digit.value !== OWN) fields.drawing.value = "";
  fields.digit.value = OWN;
  const [column, row] = [x, y].map((part) => Math.max(0, Math.min(GRID - 1, Math.round(part))));
  const point = LETTERS[column] + LETTERS[row];
  if (begins) fields.drawing.value += "." + point;
  else if (!fields.drawing.value.endsWith(point)) fields.drawing.value += point;
  moveTo(T);
}

/** Draw the strokes in black on white, and return the canvas's context. */
function drawStrokes() {
  const context = $("pad").getContext("2d", { willReadFrequently: true }), size = $("pad").width / GRID;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, $("pad").width, $("pad").height);
  Object.assign(context, { lineWidth: PEN * size, lineCap: "round", lineJoin: "round" });
  for (const points of strokes()) {
    context.beginPath();
    for (const [x, y] of [points[0], ...points]) context.lineTo((x + 0.5) * size, (y + 0.5) * size); // a point is a dot
    context.stroke();
  }
  return context;
}

/** Draw a ready digit onto the pad, dark on white, and the pen of the arrow keys over it. */
function drawPad(ink) {
  const context = $("pad").getContext("2d"), { width } = $("pad");
  if (ink) ink.forEach((value, i) => {
    context.fillStyle = `rgb(${Array(3).fill(255 - 255 * value)})`;
    context.fillRect(((i % D) * width) / D, (Math.floor(i / D) * width) / D, width / D + 1, width / D + 1);
  });
  if (!$("pad").matches(":focus-visible")) return;
  const [x, y] = [pen.x, pen.y].map((part) => ((part + 0.5) * width) / GRID);
  context.lineWidth = 2;
  context.strokeStyle = pen.down ? "#c1373c" : "#2f79b5";
  context.strokeRect(x - 8, y - 8, 16, 16);
}

const pixelsOf = ({ pixels }) => Float32Array.from(atob(pixels), (letter) => letter.charCodeAt(0) / 255);

/** The ready digits by the value of their button: the text on it, the pixels, the label and the answer. */
const READY = new Map();

function addReady() {
  const { right, mistakes, between, turn } = window.MINIGRU_DIGITS;
  for (const digit of right) READY.set(`${digit.label}`, { ...digit, ink: pixelsOf(digit), text: `${digit.label}` });
  mistakes.forEach((digit, i) =>
    READY.set(`mistake${i + 1}`, { ...digit, ink: pixelsOf(digit), text: `${digit.label}, read as ${digit.answer}` }));
  if (between.length) READY.set("between", { between: between.map(pixelsOf), turn, text: "from 4 to 9" });
  for (const [value, digit] of READY) {
    $("digits").insertAdjacentHTML("beforeend",
      `<label><input type="radio" name="digit" value="${value}"><canvas></canvas><span>${digit.text}</span></label>`);
    paintPicture($("digits").lastElementChild.querySelector("canvas"), digit.ink ?? digit.between[0], T, D);
  }
  $("digits").insertAdjacentHTML("beforeend",
    `<label><input type="radio" name="digit" value="${OWN}"><span>your drawing</span></label>`);
  $("digits").append($("mixing"));
  fields.digit[7].defaultChecked = true;
}

/** The picture (T * D,) that is read, what to doubt about it, and its label if it has one. */
function pictureNow() {
  const ready = READY.get(fields.digit.value), context = drawStrokes(), share = numberIn("mix") / 100;
  const ink = ready?.between ? ready.between[0].map((own, i) => (1 - share) * own + share * ready.between[1][i]) : ready?.ink;
  const { width, height } = $("pad");
  const found = ink ? { ink, doubts: [], blank: false } : asDigit(context.getImageData(0, 0, width, height).data, width, height);
  drawPad(ink);
  return { ...found, label: ready?.label };
}

/** A picture read from below: its rows in reverse order. */
const turned = (x) => x.map((_, i) => x[(T - 1 - Math.floor(i / D)) * D + (i % D)]);

// --- What the visitor's hand does, in the terms of `forward` ------------------------------------------------------

function handOn() {
  const hold = {}, unitOf = (choice) => (choice.startsWith("all") ? -1 : numberIn("unit"));
  for (const gate of ["update", "reset"]) {
    const choice = fields[`${gate}Gate`].value;
    if (choice) hold[gate] = { unit: unitOf(choice), value: Number(fields[`${gate}GateAt`].value) };
  }
  const [choice, factor] = fields.memory.value.split("*");
  if (choice) hold.memory = { unit: unitOf(choice), row: numberIn("memoryRow") - 1, factor: Number(factor) };
  return hold;
}

// --- Rendering ----------------------------------------------------------------------------------------------------

function render() {
  const picture = pictureNow(), hold = handOn(), below = fields.below.checked;
  const x = Float64Array.from(below ? turned(picture.ink) : picture.ink), row = numberIn("row") - 1, unit = numberIn("unit");
  const trace = forward(gru, x, hold), changed = below || Object.keys(hold).length > 0;
  const alone = changed ? forward(gru, picture.ink) : null; // the run by itself, which the hand has not touched
  const probabilities = (run, t) => run.probabilities.slice(t * K, (t + 1) * K);

  form.classList.toggle("touched", changed);
  form.classList.toggle("mixing", fields.digit.value === "between");
  form.style.setProperty("--row", row / T);
  form.style.setProperty("--unit", (order.indexOf(unit) + 0.5) / H);
  for (const output of form.querySelectorAll("output[for]")) output.textContent = fields[output.htmlFor].value;
  $("rowName").textContent = `row ${row + 1} of ${T}`;
  paintPicture($("picture"), x, T, D);
  paintPanels(canvases, gru, trace, fields.change.checked ? alone : null);
  drawBars($("bars"), probabilities(trace, row), alone && probabilities(alone, row));
  say(picture, probabilities(trace, row), alone && probabilities(alone, row), row);
  renderUnit(trace, alone, x, row, unit);
  renderWayBack(trace, x, row, picture.label ?? largestOf(probabilities(trace, T - 1)));
  writeAddress();
}

/** Say the answer in words; a screen reader hears it once the page has rested for half a second. */
function say({ doubts, blank, label }, probabilities, alone, row) {
  const best = largestOf(probabilities), sure = Math.max(...probabilities);
  const words = [`After row ${row + 1} of ${T} the answer is ${best}, with ${percent(sure)}.`];
  if (alone) words.push(`Without your hand it is ${largestOf(alone)}, with ${percent(Math.max(...alone))}.`);
  if (blank) words.splice(0, 9, "Nothing is drawn: no digit seems to be there. The bars say what the GRU makes of an empty picture.");
  else if (sure < 0.6) words.push("It is not sure: several digits seem possible.");
  if (label !== undefined && row === T - 1) words.push(`MNIST's label is ${label}${label === best ? "" : ": a mistake"}.`);
  words.push(...doubts);
  $("digit").textContent = blank ? "?" : best;
  $("digit").classList.toggle("unsure", sure < 0.6);
  $("answer").textContent = words.join(" ");
  clearTimeout(say.later);
  say.later = setTimeout(() => ($("spoken").textContent = $("answer").textContent), 500);
}

function renderUnit(trace, alone, x, row, unit) {
  const over = (run, name, first = 0) => Float64Array.from({ length: T }, (_, t) => run[name][(t + first) * H + unit]);
  const ticks = (...values) => values.map((value) => ({ value, text: String(value).replace("-", "−") }));
  const gates = [{ kind: "gammaU", values: over(trace, "gammaU") }, { kind: "gammaR", values: over(trace, "gammaR") }];
  const memories = [{ kind: "cTilde", values: over(trace, "cTilde") }, { kind: "memory", values: over(trace, "c", 1) }];
  if (alone) gates.unshift(...["gammaU", "gammaR"].map((name) => ({ kind: "other", values: over(alone, name) })));
  if (alone) memories.unshift({ kind: "other", values: over(alone, "c", 1) });
  drawCurves($("gateCurves"), gates, ticks(0, 0.5, 1), row);
  drawCurves($("memoryCurves"), memories, ticks(-1, 0, 1), row);
  for (const [tag, text] of Object.entries(numbersOf(gru, trace, x, row, unit))) $(tag).innerHTML = text;
  $("place").textContent = `column ${order.indexOf(unit) + 1} of ${H} in the panels, row ${row + 1}`;
}

function renderWayBack(trace, x, row, own) {
  const k = fields.loss.value === "" ? own : Number(fields.loss.value), ticks = [-4, -3, -2, -1, 0, 1];
  const curves = [], reached = {};
  for (const [kind, model, run] of [["gammaR", rnn, forward(rnn, x)], ["memory", gru, trace]]) {
    const back = backward(model, run, k), norms = Array.from({ length: T }, (_, t) => Math.hypot(...back.dc.slice((t + 1) * H, (t + 2) * H)));
    const largest = paintGradient($(`${model.kind}Gradient`), x, back.dx, T, D);
    $(`${model.kind}Loss`).textContent = `loss of ${k}: ${back.loss.toPrecision(2)}; largest gradient ${largest.toPrecision(2)}`;
    curves.push({ kind, values: norms.map((norm) => Math.log10(norm / norms[T - 1])) });
    reached[model.kind] = norms[row] / norms[T - 1];
  }
  drawCurves($("normCurves"), curves, ticks.map((value) => ({ value, text: `1e${value}`.replace("-", "−") })), row);
  $("reach").textContent = `After row ${row + 1}, the gradient of the GRU is ${reached.gru.toPrecision(2)} times that at the last row,
    the RNN's ${reached.rnn.toPrecision(2)} times.`;
}

// --- The address, which holds each field that differs from the page's start ---------------------------------------

let start; // the fields as the page begins

function writeAddress() {
  const now = [...new FormData(form)].filter(([name, value]) => start.get(name) !== value);
  const text = `#${new URLSearchParams(now)}`;
  history.replaceState(null, "", text);
  $("whole").href = `play.html${text}`;
}

function readAddress() {
  form.reset();
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (fields[name]?.type === "checkbox") fields[name].checked = value === "1";
    else if (fields[name] && start.has(name)) fields[name].value = value;
  }
  render();
}

// --- Rows and units, by hand or played ----------------------------------------------------------------------------

let playing = 0, waiting = 0;

/** Render before the browser paints next, once for all events until then. */
const renderSoon = () => (waiting ||= requestAnimationFrame(() => ((waiting = 0), render())));

function moveTo(row) {
  fields.row.value = row;
  renderSoon();
}

function play(on) {
  clearInterval(playing);
  playing = on && setInterval(() => (numberIn("row") < T ? moveTo(numberIn("row") + 1) : play(false)), 180);
  $("play").textContent = on ? "Pause" : "Play";
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Pick a row and a unit by the arrow keys on a panel. */
function walk(event) {
  const [across, down] = ARROWS[event.key] ?? [];
  if (across === undefined) return;
  event.preventDefault();
  fields.unit.value = order[Math.max(0, Math.min(H - 1, order.indexOf(numberIn("unit")) + across))];
  moveTo(numberIn("row") + down);
}

/** Pick a row, and on a panel of units a unit, by the mouse or a finger. */
function pick(event) {
  const panel = event.target.closest(".rows");
  if (!panel) return;
  const box = panel.getBoundingClientRect(), part = (place, size, n) => Math.max(0, Math.min(n - 1, Math.floor((place / size) * n)));
  play(false);
  if (panel.matches(".units")) fields.unit.value = order[part(event.clientX - box.left, box.width, H)];
  moveTo(part(event.clientY - box.top, box.height, T) + 1);
}

function drawByPointer(event) {
  const begins = event.type === "pointerdown";
  if (!begins && !event.buttons) return;
  const box = $("pad").getBoundingClientRect();
  if (begins) play(false), $("pad").setPointerCapture(event.pointerId);
  for (const { clientX, clientY } of begins ? [event] : event.getCoalescedEvents?.() ?? [event])
    addPoint(((clientX - box.left) / box.width) * GRID - 0.5, ((clientY - box.top) / box.height) * GRID - 0.5, begins);
}

function drawByKey(event) {
  const [across, down] = ARROWS[event.key] ?? [0, 0];
  if (event.key === " ") pen.down = !pen.down;
  else if (event.key === "Delete") return clear();
  else if (!across && !down) return;
  event.preventDefault();
  pen.x = Math.max(0, Math.min(GRID - 1, pen.x + STEP * across));
  pen.y = Math.max(0, Math.min(GRID - 1, pen.y + STEP * down));
  if (pen.down) addPoint(pen.x, pen.y, event.key === " ");
  renderSoon();
}

function clear() {
  Object.assign(fields.digit, { value: OWN });
  fields.drawing.value = "";
  moveTo(T);
}

function undo() {
  fields.drawing.value = fields.drawing.value.slice(0, Math.max(0, fields.drawing.value.lastIndexOf(".")));
  moveTo(T);
}

function restore() {
  for (const name of ["updateGate", "resetGate", "memory"]) fields[name].value = "";
  fields.below.checked = fields.change.checked = false;
  render();
}

/** Light an equation and its panel together. */
function light({ target }) {
  const tag = target.closest?.("[data-tag]")?.dataset.tag;
  for (const element of document.querySelectorAll("[data-tag]")) element.classList.toggle("lit", element.dataset.tag === tag);
}

addReady();
paintLegends();
start = new Map(new FormData(form));
$("made").textContent = `The GRU classifies ${gru.accuracy} % of MNIST's 10,000 test images correctly; the RNN of the same size, ${rnn.accuracy} %. ` +
  `They were trained by ${gru.made} and ${rnn.made}.`;
for (const kind of ["pointerover", "focusin"]) addEventListener(kind, light);
for (const kind of ["pointerdown", "pointermove"]) $("pad").addEventListener(kind, drawByPointer);
for (const kind of ["focus", "blur"]) $("pad").addEventListener(kind, renderSoon);
$("pad").addEventListener("keydown", drawByKey);
$("panels").addEventListener("click", pick);
$("panels").addEventListener("keydown", walk);
form.addEventListener("input", renderSoon);
form.addEventListener("submit", (event) => event.preventDefault());
const clicks = { undo, clear, restore, play: () => { if (!playing && numberIn("row") === T) moveTo(1); play(!playing); },
  back: () => moveTo(numberIn("row") - 1), forth: () => moveTo(numberIn("row") + 1) };
for (const [id, action] of Object.entries(clicks)) $(id).addEventListener("click", action);
addEventListener("hashchange", () => { readAddress(); $("read").scrollIntoView({ block: "nearest" }); });
const first = !location.hash;
readAddress();
if (first && !matchMedia("(prefers-reduced-motion: reduce)").matches) clicks.play();
