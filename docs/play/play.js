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
const GRID = 64, PEN = 5.5, STEP = 2; // the width of the pen, and its way per arrow key, in squares of the grid
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"; // one per coordinate
const OWN = "own"; // the choice among the digits that stands for the visitor's drawing
const READY = new Map(); // the other choices
const pen = { x: GRID / 2, y: GRID / 2, down: false }; // moved by the arrow keys
const sheet = Object.assign(document.createElement("canvas"), { width: 96, height: 96 }); // small, so fast to read

/** Offer the ready digits, and the visitor's own drawing. */
function addChoices() {
  const { right, mistakes, between: [four, nine] } = window.MINIGRU_DIGITS;
  const offer = (value, digit, text, more) => READY.set(value, { ...more, ink: unpackDigit(digit), text });
  for (const digit of right) offer(`${digit.label}`, digit, digit.label, { label: digit.label });
  for (const [i, digit] of mistakes.entries())
    offer(`mistake${i + 1}`, digit, `${digit.label}, read as ${digit.answer}`, { label: digit.label });
  if (nine) offer("between", four, "from 4 to 9", { other: unpackDigit(nine) });
  for (const [value, { ink, text }] of [...READY, [OWN, { text: "your drawing" }]]) {
    const label = document.createElement("label"), canvas = document.createElement("canvas");
    label.innerHTML = `<input type="radio" name="digit" value="${value}"><span>${text}</span>`;
    $("mixing").before(label);
    if (ink) paintPicture(canvas, ink, T, D), label.prepend(canvas);
  }
  document.querySelector('[name="digit"][value="7"]').defaultChecked = true;
}

/** Add a point to the drawing, which is a text: a dot begins each stroke, and each point is two letters. */
function addPoint(x, y, begins) {
  const { value } = fields.drawing, old = fields.digit.value === OWN ? value : "";
  const point = [x, y].map((part) => LETTERS[within(part, 0, GRID - 1)]).join("");
  fields.drawing.value = old + (begins || !old ? "." : "") + (begins || !old.endsWith(point) ? point : "");
  fields.digit.value = OWN;
  moveTo(T);
}

/** Draw the strokes in black on white. */
function drawStrokes(canvas) {
  const context = canvas.getContext("2d", { willReadFrequently: true }), square = canvas.width / GRID;
  const place = (letter) => (LETTERS.indexOf(letter) + 0.5) * square;
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  Object.assign(context, { strokeStyle: "#000", lineWidth: PEN * square, lineCap: "round", lineJoin: "round" });
  for (const stroke of fields.drawing.value.split(".")) {
    const points = (stroke.match(/[\w-]{2}/g) ?? []).map((pair) => [...pair].map(place));
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
  if (!ready) {
    const { data, width, height } = drawStrokes(sheet).getImageData(0, 0, sheet.width, sheet.height);
    return asDigit(Float32Array.from({ length: width * height }, (_, i) => data[4 * i] / 255), width, height);
  }
  const ink = ready.other ? ready.ink.map((own, i) => (1 - share) * own + share * ready.other[i]) : ready.ink;
  return { ink, doubts: [], blank: false, label: ready.label };
}

/** Show the strokes or the ready digit on the pad, and the pen of a visitor who draws with keys. */
function showPad(ink) {
  const context = drawStrokes($("pad")), { width } = $("pad"), square = width / GRID;
  if (fields.digit.value !== OWN) {
    paint(sheet.small ??= document.createElement("canvas"), T, D, (row, i) => 1 - ink[row * D + i], SCALES.ink);
    context.imageSmoothingEnabled = false;
    context.drawImage(sheet.small, 0, 0, width, width);
  }
  if (!$("pad").matches(":focus-visible")) return;
  Object.assign(context, { lineWidth: 4, strokeStyle: pen.down ? "#b3430e" : "#0067a5" });
  context.strokeRect((pen.x - 1) * square, (pen.y - 1) * square, 3 * square, 3 * square);
}

// --- Rendering ----------------------------------------------------------------------------------------------------
/** The interventions, in the terms of `forward`. */
function interventions() {
  const hold = {}, unitOf = (choice) => (choice.startsWith("all") ? -1 : numberIn("unit"));
  for (const gate of ["update", "reset"]) {
    const { value } = fields[`${gate}Gate`];
    if (value) hold[gate] = { unit: unitOf(value), value: Number(fields[`${gate}GateAt`].value) };
  }
  const [choice, factor] = fields.memory.value.split("*");
  if (choice) hold.memory = { unit: unitOf(choice), row: numberIn("memoryRow") - 1, factor: Number(factor) };
  return hold;
}

const fromBelow = (x) => x.map((_, i) => x[(T - 1 - Math.floor(i / D)) * D + (i % D)]);
const answerOf = (run, row) => run.probabilities.slice(row * K, (row + 1) * K);

function render() {
  const picture = readPicture(), hold = interventions(), below = fields.below.checked;
  const row = numberIn("row") - 1, unit = numberIn("unit"), touched = below || Object.keys(hold).length > 0;
  const x = Float64Array.from(below ? fromBelow(picture.ink) : picture.ink), run = forward(gru, x, hold);
  const alone = touched ? forward(gru, Float64Array.from(picture.ink)) : null; // the run without the interventions

  form.classList.toggle("touched", touched);
  form.classList.toggle("mixing", fields.digit.value === "between");
  form.style.setProperty("--row", row / T);
  form.style.setProperty("--unit", (order.indexOf(unit) + 0.5) / H);
  for (const output of form.querySelectorAll("output[for]")) output.textContent = fields[output.htmlFor].value;
  $("rowName").textContent = `row ${row + 1} of ${T}`;
  showPad(picture.ink);
  paintPicture($("picture"), x, T, D);
  paintPanels(gru, run, fields.change.checked && alone);
  drawBars($("bars"), answerOf(run, row), alone && answerOf(alone, row));
  say(picture, answerOf(run, row), alone && answerOf(alone, row), row);
  renderUnit(run, alone, x, row, unit);
  clearTimeout(render.rest);
  render.rest = setTimeout(() => {
    render.rest = 0;
    renderWayBack(run, x, row, picture.label ?? indexOfLargest(answerOf(run, T - 1)));
    writeAddress();
    $("spoken").textContent = $("answer").textContent; // a screen reader hears where the page comes to rest
  }, 150);
}

function say({ doubts, blank, label }, answer, alone, row) {
  const best = indexOfLargest(answer), sure = answer[best];
  const words = blank ? doubts : [`After row ${row + 1} of ${T} the answer is ${best}, with ${percent(sure)}.`];
  if (alone) words.push(`Without the intervention it is ${indexOfLargest(alone)}, with ${percent(Math.max(...alone))}.`);
  if (blank) words.push("The bars are the answer to an empty picture.");
  else if (sure < 0.6) words.push("It is not sure: the probabilities are spread.");
  const verdict = label === best ? "" : ", so this is wrong";
  if (label !== undefined && row === T - 1) words.push(`MNIST's label is ${label}${verdict}.`);
  $("digit").textContent = blank ? "?" : best;
  $("digit").classList.toggle("unsure", sure < 0.6);
  $("answer").textContent = [...words, ...(blank ? [] : doubts)].join(" ");
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
  const k = fields.loss.value === "" ? own : Number(fields.loss.value), curves = [], left = [];
  for (const [model, trace, kind] of [[rnn, forward(rnn, x), "rnn"], [gru, run, "c"]]) {
    const back = backward(model, trace, k);
    const norms = Array.from({ length: T }, (_, t) => Math.hypot(...back.dc.subarray((t + 1) * H, (t + 2) * H)));
    paintGradient($(`${model.kind}Gradient`), x, back.dx, T, D);
    $(`${model.kind}Loss`).textContent = `loss of the class ${k}: ${back.loss.toPrecision(2)}`;
    curves.push({ kind, values: norms.map((norm) => Math.log10(norm / norms[T - 1])) });
    left.push((norms[row] / norms[T - 1]).toPrecision(2));
  }
  drawCurves($("normCurves"), curves, [-4, -2, 0, 1], row, (power) => `${power === -4 ? "≤" : ""}1e${power}`);
  $("reach").textContent =
    `After row ${row + 1} the norm is ${left[1]} times that after the last row; the RNN's, ${left[0]} times.`;
}

// --- The address, which has each field that differs from how the page begins --------------------------------------
function writeAddress() {
  const text = `#${new URLSearchParams([...new FormData(form)].filter(([name, value]) => start.get(name) !== value))}`;
  history.replaceState(null, "", text);
  $("whole").href = `play.html${text}`;
}

function readAddress() {
  form.reset();
  for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
    if (fields[name]?.type === "checkbox") fields[name].checked = value === "1";
    else if (start.has(name)) fields[name].value = value;
  }
  render();
}

// --- Mouse, finger and keys -----------------------------------------------------------------------------------------
/** Render before the browser paints next, once for all events until then. */
const renderSoon = () => (renderSoon.asked ||= requestAnimationFrame(() => { renderSoon.asked = 0; render(); }));

const moveTo = (row) => { fields.row.value = row; renderSoon(); };
const step = (by) => moveTo(numberIn("row") + by);

function play(on) {
  clearInterval(play.timer);
  play.timer = on ? setInterval(() => (numberIn("row") < T ? step(1) : play(false)), 180) : 0;
  $("play").textContent = on ? "Pause" : "Play";
  if (on && numberIn("row") === T) moveTo(1);
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Pick a row and a unit by the arrow keys on a panel. */
function walk(event) {
  if (!(event.key in ARROWS)) return;
  event.preventDefault();
  const [across, down] = ARROWS[event.key];
  fields.unit.value = order[within(order.indexOf(numberIn("unit")) + across, 0, H - 1)];
  step(down);
}

/** Pick a row, and on a panel of units a unit, by the mouse or a finger. */
function pick({ target, clientX, clientY }) {
  const panel = target.closest(".rows"), box = panel?.getBoundingClientRect();
  if (!panel) return;
  play(false);
  const column = within(((clientX - box.left) / box.width) * H - 0.5, 0, H - 1);
  if (panel.matches(".units")) fields.unit.value = order[column];
  moveTo(within(((clientY - box.top) / box.height) * T + 0.5, 1, T));
}

function drawByPointer(event) {
  const begins = event.type === "pointerdown", box = $("pad").getBoundingClientRect();
  if (!begins && !event.buttons) return;
  if (begins) $("pad").setPointerCapture(event.pointerId);
  play(false);
  for (const { clientX, clientY } of begins ? [event] : event.getCoalescedEvents?.() ?? [event])
    addPoint(((clientX - box.left) / box.width) * GRID - 0.5, ((clientY - box.top) / box.height) * GRID - 0.5, begins);
}

function drawByKey(event) {
  if (event.key === "Delete") return actions.clear();
  if (event.key !== " " && !(event.key in ARROWS)) return;
  event.preventDefault();
  const [across, down] = ARROWS[event.key] ?? [0, 0], puts = event.key === " ";
  if (puts) pen.down = !pen.down;
  Object.assign(pen, { x: within(pen.x + STEP * across, 0, GRID - 1), y: within(pen.y + STEP * down, 0, GRID - 1) });
  if (pen.down) addPoint(pen.x, pen.y, puts);
  renderSoon();
}

/** Light an equation and its panel together. */
function light({ target }) {
  const tag = target.closest?.("[data-tag]")?.dataset.tag;
  document.querySelectorAll("[data-tag]").forEach((part) => part.classList.toggle("lit", part.dataset.tag === tag));
}

const actions = { // by the id of the button
  play: () => play(!play.timer), back: () => step(-1), forth: () => step(1),
  undo: () => { fields.drawing.value = fields.drawing.value.replace(/\.[^.]*$/, ""); renderSoon(); },
  clear: () => { fields.digit.value = OWN; fields.drawing.value = ""; pen.down = false; renderSoon(); },
  restore: () => {
    for (const name of ["updateGate", "resetGate", "memory"]) fields[name].value = "";
    fields.below.checked = fields.change.checked = false;
    renderSoon();
  },
};

addChoices();
paintLegends();
const start = new Map(new FormData(form));
$("made").textContent = `Of MNIST's 10,000 test images this GRU classifies ${gru.accuracy} % correctly, the RNN of ` +
  `the same size ${rnn.accuracy} %. They were trained by ${gru.made} and ${rnn.made}.`;
for (const [id, action] of Object.entries(actions)) $(id).addEventListener("click", action);
for (const kind of ["pointerdown", "pointermove"]) $("pad").addEventListener(kind, drawByPointer);
for (const kind of ["focus", "blur"]) $("pad").addEventListener(kind, renderSoon);
$("pad").addEventListener("keydown", drawByKey);
$("panels").addEventListener("click", pick);
$("panels").addEventListener("keydown", walk);
for (const kind of ["pointerover", "focusin"]) addEventListener(kind, light);
form.addEventListener("input", ({ target }) => { if (target === fields.row) play(false); renderSoon(); });
form.addEventListener("submit", (event) => event.preventDefault());
addEventListener("hashchange", () => {
  play(false);
  readAddress();
  const shown = location.hash.includes("loss=") ? "reach" : location.hash.includes("unit=") ? "gateCurves" : "read";
  $(shown).scrollIntoView({ block: "nearest" });
});
const greets = !location.hash && !matchMedia("(prefers-reduced-motion: reduce)").matches;
readAddress();
if (greets) play(true);
