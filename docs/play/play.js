// The page: a form whose fields are its whole state, so that an address can carry it, and one function that renders it.
"use strict";

const $ = (id) => document.getElementById(id);
const form = $("page"), fields = form.elements;
const gru = unpack(window.MINIGRU_GRU), rnn = unpack(window.MINIGRU_RNN);
const { T, D, H, K, order } = gru;

/** The whole number from low to high that is nearest to a value; and the number in a field, within its limits. */
const within = (value, low, high) => Math.min(high, Math.max(low, Math.round(value)));
const numberIn = (name) => within(fields[name].value, +fields[name].min, +fields[name].max);

// --- The picture: strokes on a grid of 64 x 64, or a ready digit --------------------------------------------------
const GRID = 64, PEN = 5.5, STEP = 2; // the pen's width, and its way per arrow key, in squares of the grid
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"; // one per coordinate
const OWN = "own", READY = new Map(); // the choices among the digits: the visitor's drawing, and all others
const pen = { x: GRID / 2, y: GRID / 2, down: false }; // moved by the arrow keys
const sheet = Object.assign(document.createElement("canvas"), { width: GRID, height: GRID }); // small, so fast to read

/** Offer the ready digits, before the visitor's own drawing. */
function addChoices() {
  const { right, mistakes, between: [four, nine] } = window.MINIGRU_DIGITS;
  const offer = (value, text, digit, more = { label: digit.label }) => {
    const label = document.createElement("label"), ink = unpackDigit(digit);
    label.innerHTML = `<canvas></canvas><input type="radio" name="digit" value="${value}"><span>${text}</span>`;
    $("ownDrawing").before(label);
    paint(label.firstChild, D, ink, SCALES.picture);
    READY.set(value, { ink, doubts: [], ...more });
  };
  for (const digit of right) offer(`${digit.label}`, digit.label, digit);
  mistakes.forEach((digit, i) => offer(`mistake${i + 1}`, `${digit.label}, read as ${digit.answer}`, digit));
  if (nine) offer("between", "from 4 to 9", four, { other: unpackDigit(nine) });
  form.querySelector('[name="digit"][value="7"]').defaultChecked = true;
}

/** Add a point to the drawing, which is a text: a dot begins each stroke, and each point is two letters. */
function addPoint(x, y, begins) {
  const { value } = fields.drawing, old = fields.digit.value === OWN ? value : "";
  const point = [x, y].map((part) => LETTERS[within(part, 0, GRID - 1)]).join("");
  fields.drawing.value = old + (begins || !old ? "." : "") + (begins || !old.endsWith(point) ? point : "");
  fields.digit.value = OWN;
  moveTo(T);
}

/** Draw the strokes in black on an empty canvas, one unit of length per square of the grid. */
function drawStrokes(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  canvas.height = canvas.width; // empties the canvas
  context.scale(canvas.width / GRID, canvas.width / GRID);
  Object.assign(context, { lineWidth: PEN, lineCap: "round", lineJoin: "round" });
  for (const stroke of fields.digit.value === OWN ? fields.drawing.value.split(".") : []) {
    const points = (stroke.match(/[\w-]{2}/g) ?? []).map((pair) => [...pair].map((c) => LETTERS.indexOf(c) + 0.5));
    context.beginPath();
    points.forEach(([x, y], i) => { // to the middle between two points, so that the grid does not show
      const [a, b] = points[i + 1] ?? [x, y];
      context.quadraticCurveTo(x, y, (x + a) / 2, (y + b) / 2);
    });
    context.stroke();
  }
  return context;
}

/** The picture to read: its ink (T * D,), what is doubtful about it, and its label if it has one. */
function readPicture() {
  const ready = READY.get(fields.digit.value), share = numberIn("mix") / 100;
  if (ready?.other) return { ...ready, ink: ready.ink.map((own, i) => (1 - share) * own + share * ready.other[i]) };
  if (ready) return ready;
  const { data } = drawStrokes(sheet).getImageData(0, 0, GRID, GRID);
  return asDigit(Float32Array.from({ length: GRID ** 2 }, (_, i) => 1 - data[4 * i + 3] / 255), GRID, GRID);
}

/** Show the strokes or the ready digit on the pad, and the pen of a visitor who draws with keys. */
function showPad(ink) {
  const context = drawStrokes($("pad")), side = GRID / D;
  if (fields.digit.value !== OWN) ink.forEach((own, i) => {
    context.globalAlpha = own;
    context.fillRect((i % D) * side, Math.floor(i / D) * side, side, side);
  });
  $("pad").classList.toggle("down", pen.down);
  if (!$("pad").matches(":focus-visible")) return;
  Object.assign(context, { globalAlpha: 1, lineWidth: 0.5, strokeStyle: pen.down ? "#b3430e" : "#0067a5" });
  context.strokeRect(pen.x - 1, pen.y - 1, 3, 3);
}

// --- Rendering ----------------------------------------------------------------------------------------------------
/** The interventions, in the terms of `forward`. */
function interventions() {
  const hold = {}, row = numberIn("memoryRow") - 1;
  for (const [part, name] of Object.entries({ update: "updateGate", reset: "resetGate", memory: "memory" })) {
    const [choice, factor] = fields[name].value.split("*"), value = Number(fields[`${name}At`]?.value);
    if (choice) hold[part] = { unit: choice === "all" ? -1 : numberIn("unit"), value, row, factor: Number(factor) };
  }
  return hold;
}

const answerOf = (run, row) => run.probabilities.slice(row * K, (row + 1) * K);

function render() {
  const picture = readPicture(), upright = Float64Array.from(picture.ink), below = fields.below.value;
  const row = numberIn("row") - 1, unit = numberIn("unit"), hold = interventions();
  const x = below ? upright.map((_, i) => upright[(T - 1 - Math.floor(i / D)) * D + (i % D)]) : upright;
  const run = forward(gru, x, hold), answer = answerOf(run, row);
  const touched = below || Object.keys(hold).length > 0, alone = touched ? forward(gru, upright) : null;

  form.classList.toggle("touched", touched);
  form.style.setProperty("--row", row / T);
  form.style.setProperty("--unit", (order.indexOf(unit) + 0.5) / H);
  for (const output of form.querySelectorAll("output[for]")) output.textContent = fields[output.htmlFor].value;
  $("rowName").textContent = `row ${row + 1} of ${T}`;
  showPad(picture.ink);
  paint($("picture"), D, x, SCALES.picture);
  paintPanels(gru, run, fields.change.value && alone);
  drawBars($("bars"), answer, alone && answerOf(alone, row));
  say(picture, answer, alone && answerOf(alone, row), row);
  renderUnit(run, alone, x, row, unit);
  renderWayBack(run, x, row, picture.label ?? indexOfLargest(answerOf(run, T - 1)));
  clearTimeout(render.rest);
  render.rest = setTimeout(() => {
    render.rest = 0;
    const changed = [...new FormData(form)].filter(([name, value]) => start.get(name) !== value);
    history.replaceState(null, "", `#${new URLSearchParams(changed)}`);
    $("whole").href = `play.html${location.hash}`;
    $("spoken").textContent = $("answer").textContent; // a screen reader hears where the page comes to rest
  }, 250); // longer than a row of play() takes
}

function say({ doubts, blank, label }, answer, alone, row) {
  const best = indexOfLargest(answer), sure = answer[best];
  $("digit").textContent = blank ? "?" : best;
  $("digit").classList.toggle("unsure", sure < 0.6);
  $("answer").textContent = [
    !blank && `After row ${row + 1} of ${T} the answer is ${best}, with ${percent(sure)}.`,
    alone && `Without the intervention it is ${indexOfLargest(alone)}, with ${percent(largest(alone))}.`,
    !blank && sure < 0.6 && "It is not sure: the probabilities are spread.",
    label !== undefined && row === T - 1 && `MNIST's label is ${label}${label === best ? "" : ", so this is wrong"}.`,
    ...doubts,
    blank && "The bars are the answer to an empty picture.",
  ].filter(Boolean).join(" ");
}

function renderUnit(run, alone, x, row, unit) {
  const curves = (...names) => [alone, run].flatMap((from) => (from ? names : []).map((name) => ({
    kind: from === alone ? "other" : name,
    values: Array.from({ length: T }, (_, t) => from[name][(t + (name === "c")) * H + unit]) }))); // c begins with c_0
  drawCurves($("gateCurves"), curves("gammaU", "gammaR"), [0, 0.5, 1], row);
  drawCurves($("memoryCurves"), curves("cTilde", "c"), [-1, 0, 1], row);
  for (const [tag, text] of Object.entries(numbersOf(gru, run, x, row, unit))) $(tag).innerHTML = text;
  $("place").textContent = `column ${order.indexOf(unit) + 1} of ${H} in the panels, at row ${row + 1}`;
}

function renderWayBack(run, x, row, own) {
  const k = fields.loss.value === "" ? own : Number(fields.loss.value);
  const curves = [[rnn, forward(rnn, x), "rnn"], [gru, run, "c"]].map(([model, trace, kind]) => {
    const { loss, dx, dc } = backward(model, trace, k);
    const norms = Array.from({ length: T }, (_, t) => Math.hypot(...dc.subarray((t + 1) * H, (t + 2) * H)));
    paintGradient($(`${model.kind}Gradient`), D, x, dx);
    $(`${model.kind}Loss`).textContent = `loss of the class ${k}: ${loss.toPrecision(2)}`;
    return { kind, values: norms.map((norm) => Math.log10(norm / norms[T - 1])) };
  });
  drawCurves($("normCurves"), curves, [-4, -2, 0, 1], row, (power) => `${power === -4 ? "≤" : ""}1e${power}`);
  const [ofRnn, ofGru] = curves.map(({ values }) => (10 ** values[row]).toPrecision(2));
  $("reach").textContent = `After row ${row + 1} the norm is ${ofGru} times the last one; the RNN's, ${ofRnn} times.`;
}

/** Begin with the state in the address, which has each field that differs from how the page begins. */
function readAddress(hash) {
  const state = [["drawing", fields.drawing.value], ...new URLSearchParams(hash.slice(1))]; // keep a drawing
  form.reset();
  for (const [name, value] of state) if (start.has(name)) fields[name].value = value;
  render();
}

// --- Mouse, finger and keys -----------------------------------------------------------------------------------------
/** Render before the browser paints next, once for all events until then. */
const renderSoon = () => (renderSoon.asked ||= requestAnimationFrame(() => { renderSoon.asked = 0; render(); }));

/** Go to a row, and to the unit of a column. */
function moveTo(row, column = order.indexOf(numberIn("unit"))) {
  fields.row.value = row;
  fields.unit.value = order[within(column, 0, H - 1)];
  renderSoon();
}
const step = (by) => { play(false); moveTo(numberIn("row") + by); };

function play(on) {
  clearInterval(play.timer);
  play.timer = on ? setInterval(() => (numberIn("row") < T ? moveTo(numberIn("row") + 1) : play(false)), 180) : 0;
  $("play").textContent = on ? "Pause" : "Play";
  if (on && numberIn("row") === T) moveTo(1);
}

/** Pick a row, and on a panel of units a unit, by the mouse or a finger. */
function pick({ target, offsetX, offsetY }) {
  if (!target.matches(".rows canvas")) return;
  const column = target.closest(".units") ? (offsetX / target.clientWidth) * H - 0.5 : undefined;
  play(false);
  moveTo((offsetY / target.clientHeight) * T + 0.5, column);
}

function drawByPointer({ type, buttons, isPrimary, pointerId, offsetX, offsetY }) {
  const begins = type === "pointerdown", square = $("pad").clientWidth / GRID;
  if (!isPrimary || !(buttons & 1)) return; // a second finger, or not the main button
  if (begins) $("pad").setPointerCapture(pointerId);
  play(false);
  addPoint(offsetX / square - 0.5, offsetY / square - 0.5, begins);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Draw on the pad by keys, or pick a row and a unit on a panel. */
function onKey(event) {
  const onPad = event.target === $("pad"), puts = onPad && event.key === " ";
  const [across, down] = ARROWS[event.key] ?? [0, 0];
  if (onPad && event.key === "Delete") $("clear").click();
  if (!event.target.matches("canvas") || !(puts || event.key in ARROWS)) return;
  event.preventDefault();
  if (!onPad) return moveTo(numberIn("row") + down, order.indexOf(numberIn("unit")) + across);
  if (puts) pen.down = !pen.down;
  Object.assign(pen, { x: within(pen.x + STEP * across, 0, GRID - 1), y: within(pen.y + STEP * down, 0, GRID - 1) });
  if (pen.down) addPoint(pen.x, pen.y, puts);
  renderSoon();
}

const actions = { // by the id of the button
  play: () => play(!play.timer), back: () => step(-1), forth: () => step(1),
  undo: () => { if (fields.digit.value === OWN) fields.drawing.value = fields.drawing.value.replace(/\.[^.]*$/, ""); },
  clear: () => { fields.digit.value = OWN; fields.drawing.value = ""; pen.down = false; },
  restore: () => { for (const field of document.querySelectorAll(".hold select")) field.value = ""; },
};

addChoices();
const start = new Map(new FormData(form));
$("made").textContent = `Of MNIST's 10,000 test images this GRU classifies ${gru.accuracy} % correctly, the RNN of ` +
  `the same size ${rnn.accuracy} %. They were trained by ${gru.made} and ${rnn.made}.`;
for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", () => { action(); renderSoon(); });
for (const kind of ["pointerdown", "pointermove"]) $("pad").addEventListener(kind, drawByPointer);
for (const kind of ["focus", "blur"]) $("pad").addEventListener(kind, renderSoon);
$("panels").addEventListener("click", pick);
form.addEventListener("keydown", onKey);
form.addEventListener("input", ({ target }) => { if (target === fields.row) play(false); renderSoon(); });
addEventListener("hashchange", ({ newURL }) => { // render() may have changed the address since
  const { hash } = new URL(newURL);
  play(false);
  readAddress(hash);
  $(/loss=/.test(hash) ? "reach" : /unit=/.test(hash) ? "gateCurves" : "read").scrollIntoView({ block: "nearest" });
});
readAddress(location.hash);
if (!location.hash && !matchMedia("(prefers-reduced-motion: reduce)").matches) play(true);
