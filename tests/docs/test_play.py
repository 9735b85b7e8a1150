"""The JavaScript of ``docs/play`` computes what the reference, the engine and `as_digit` compute."""

from __future__ import annotations

import base64
import json
import math
import re
import sys
from pathlib import Path

import export_page
import gates
import numpy as np
import pytest
from calling import assert_one_sentence, call
from helpers import ROOT, relative
from sklearn.datasets import get_data_home

from minigru import SequenceClassifier, reference
from minigru.experiments import images, ink
from minigru.training import data
from minigru.training.checkpoint import load_model
from minigru.training.config import Config
from minigru.training.trainer import Trainer

PLAY = ROOT / "docs" / "play"
PACK = """
const pack = (array) => {
  const bytes = new Uint8Array(Float64Array.from(array).buffer);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
};
const unpackFloats = (text) => new Float64Array(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
"""


def packed(array):
    return base64.b64encode(np.asarray(array, "<f8").tobytes()).decode()


def unpacked(text):
    return np.frombuffer(base64.b64decode(text), "<f8")


def read(path):
    """Return what a script of export_page.py defines."""
    return json.loads(re.search(r"^window\.\w+ = (.*);$", path.read_text("utf-8"), re.MULTILINE)[1])


def parameters(file):
    """Return the parameters by their names in the reference, as float64."""
    D, H, K = file["D"], file["H"], file["K"]
    numbers = np.frombuffer(base64.b64decode(file["base64"]), f"<f{np.dtype(file['dtype']).itemsize}").astype(float)
    ends = np.cumsum([size for _, size in file["arrays"]])
    shapes = {(H + D) * H: (H + D, H), H * K: (H, K)}
    return {
        name: numbers[end - size : end].reshape(shapes.get(size, size))
        for (name, size), end in zip(file["arrays"], ends, strict=True)
    }


MODELS = {"gru": read(PLAY / "weights.js"), "rnn": read(PLAY / "rnn.js")}
DIGITS = read(PLAY / "digits.js")
SHOWN = [np.frombuffer(base64.b64decode(digit["pixels"]), np.uint8).reshape(28, 28) / 255 for digit in DIGITS["right"]]


@pytest.fixture(scope="module")
def page(browser):
    """A tab with the scripts of the page, and without a network."""
    tab = browser.new_page()
    tab.context.set_offline(True)
    tab.add_script_tag(content=PACK)
    for name in ("gru", "picture", "weights", "rnn", "digits"):
        tab.add_script_tag(path=PLAY / f"{name}.js")
    tab.evaluate("window.models = { gru: unpack(MINIGRU_GRU), rnn: unpack(MINIGRU_RNN) }")
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def pictures():
    """Test images of MNIST where it lies on this machine, and otherwise those of the page, shifted; (n, 28, 28)."""
    if any(Path(get_data_home()).glob("openml/**/*.gz")):
        return data.load("mnist").x_test
    shifts = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    return np.array([np.roll(image, shift, (0, 1)) for shift in shifts for image in SHOWN], np.float32)


def with_held_gates(p, hold):
    """Return parameters with which a gate has a fixed value: no weights, and the bias that gives the value."""
    p = {name: value.copy() for name, value in p.items()}
    for gate in {"update", "reset"} & {*hold}:
        letter, value = gate[0], hold[gate]["value"]
        units = slice(None) if hold[gate]["unit"] == -1 else hold[gate]["unit"]
        with np.errstate(divide="ignore"):
            p[f"W_{letter}"][:, units], p[f"b_{letter}"][units] = 0, np.log(np.float64(value)) - np.log1p(-value)
    return p


def by_reference(kind, p, x, hold, k):
    """Return what forward and backward return, from the cells of the reference."""
    T, H = len(x), p["W"].shape[0]
    p, factors = with_held_gates(p, hold), np.ones((T, H))
    if edit := hold.get("memory"):
        factors[edit["row"], slice(None) if edit["unit"] == -1 else edit["unit"]] = edit["factor"]
    cell, cell_backward = getattr(reference, f"{kind}_cell"), getattr(reference, f"{kind}_cell_backward")
    c, caches = [np.zeros((1, H))], []
    for x_t, factor in zip(x, factors, strict=True):
        state, cache = cell(x_t[None], c[-1], p)
        c.append(factor * state)
        caches.append(cache)
    logits, linear_cache = reference.linear(np.concatenate(c[1:]), p)
    loss, loss_cache = reference.softmax_cross_entropy(logits[-1:], np.array([k]))
    dlogits = np.zeros_like(logits)
    dlogits[-1:] = reference.softmax_cross_entropy_backward(loss_cache)
    dc, dx = [reference.linear_backward(dlogits, linear_cache)[0][-1:]], []
    for factor, cache in zip(factors[::-1], caches[::-1], strict=True):
        dx_t, dc_prev, _ = cell_backward(factor * dc[-1], cache)
        dx.append(dx_t)
        dc.append(dc_prev)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    found = {"c": c, "logits": logits, "probabilities": e / e.sum(axis=1, keepdims=True), "loss": loss}
    found |= {"dx": dx[::-1], "dc": dc[::-1]}
    if kind == "gru":
        for name, place in {"gammaU": 2, "gammaR": 3, "cTilde": 4}.items():
            found[name] = [cache[place] for cache in caches]
    return {name: np.ravel(np.array(value, float)) for name, value in found.items()}


READ = """([kind, pixels, hold, k]) => {
  const trace = forward(models[kind], unpackFloats(pixels), hold), back = backward(models[kind], trace, k);
  const found = { c: trace.c, logits: trace.logits, probabilities: trace.probabilities, loss: [back.loss] };
  Object.assign(found, { dx: back.dx, dc: back.dc });
  for (const name of ["gammaU", "gammaR", "cTilde"]) if (trace[name]) found[name] = trace[name];
  return Object.fromEntries(Object.entries(found).map(([name, array]) => [name, pack(array)]));
}"""
HOLDS = [
    {},
    {"update": {"unit": -1, "value": 0.3}},
    {"update": {"unit": 5, "value": 0}, "reset": None},
    {"reset": {"unit": -1, "value": 1}},
    {"reset": {"unit": 127, "value": 0.5}, "memory": {"unit": 0, "row": 27, "factor": 0}},
    {"memory": {"unit": -1, "row": 13, "factor": -1}, "update": {"unit": -1, "value": 1}},
    {"memory": {"unit": 64, "row": 0, "factor": 0.5}},
]


@pytest.mark.parametrize("hold", HOLDS, ids=lambda hold: "+".join(hold) or "free")
@pytest.mark.parametrize("kind", MODELS)
def test_gates_memories_logits_and_gradients_are_those_of_the_reference(kind, hold, page, pictures):
    p = parameters(MODELS[kind])
    counts = {part: value for part, value in hold.items() if value and (kind == "gru" or part == "memory")}
    for place, x in enumerate(pictures[: 50 if hold == {} else 5].astype(float)):
        expected = by_reference(kind, p, x, counts, place % 10)
        found = page.evaluate(READ, [kind, packed(x), hold, place % 10])
        assert {*found} == {*expected}
        for name, value in expected.items():
            assert relative(unpacked(found[name]), value) < 1e-9, name


@pytest.mark.parametrize("images_read", [200, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", MODELS)
def test_the_answers_are_those_of_the_engine(kind, images_read, page, pictures):
    file, x = MODELS[kind], pictures[:images_read]
    model = SequenceClassifier(file["D"], file["H"], file["K"], kind)
    for name, value in parameters(file).items():
        model.params[f"linear.{name}" if name in ("W", "b") else f"{kind}.{name}"] = value
    answer = """([kind, all]) => {
      const x = unpackFloats(all), n = 28 * 28, answers = [];
      for (let i = 0; i < x.length; i += n) {
        const last = [...forward(models[kind], x.slice(i, i + n)).logits.slice(-10)];
        answers.push(last.indexOf(Math.max(...last)));
      }
      return answers;
    }"""
    found = [k for some in np.array_split(x, 1 + len(x) // 500) for k in page.evaluate(answer, [kind, packed(some)])]
    assert found == model.predict(x).tolist()
    if len(x) == 10_000:
        mnist = data.load("mnist")
        assert round(100 * float(np.mean(found == mnist.y_test)), 2) == file["accuracy"]
        assert math.ceil(mnist.x_train.sum(axis=(1, 2)).max()) == page.evaluate("MOST_INK")


def bars(apart):
    """Return a picture of two bars, 100 pixels high, with so many between them."""
    picture = np.ones((160, 160))
    picture[30:130, [*range(60, 72), *range(72 + apart, 84 + apart)]] = 0
    return picture


def drawn():
    """Return the pictures of the tests of `as_digit`, 12 of them photographs, and others that hold no digit."""
    sys.path.append(str(ROOT / "tests" / "experiments"))
    from test_images import GRAIN, SEVEN
    from test_photographs import DIGITS, EVEN, photograph

    wide = np.kron(np.pad(SEVEN, ((31, 2), (0, 77))), np.ones((3, 3)))
    more = [SEVEN, 1 - SEVEN, 0.5 + 0.12 * SEVEN, SEVEN[10:50, 12:41], 0.7 - 0.4 * SEVEN + GRAIN, wide]
    more += [photograph(DIGITS[2], 0.45, 225), photograph(DIGITS[3], 0.45, 30, light=True)]
    return [*EVEN, *more], np.hstack([EVEN[7], EVEN[7]])


DRAWN = """([pixels, height, width]) => {
  const { ink, doubts, blank } = asDigit(unpackFloats(pixels), width, height);
  const key = (doubt) => Object.keys(DOUBTS).find((name) => DOUBTS[name] === doubt);
  return { ink: pack(ink), doubts: doubts.map(key), blank };
}"""


def test_a_drawing_becomes_what_as_digit_makes_of_it(page):
    pictures, _ = drawn()
    assert len(pictures) == 20
    for picture in pictures:
        found = page.evaluate(DRAWN, [packed(picture), *picture.shape])
        assert (found["doubts"], found["blank"]) == ([], False)
        assert np.abs(unpacked(found["ink"]).reshape(28, 28) - images.as_digit(picture, 28)).max() <= 1 / 255
    for name in ("LEAST_CONTRAST", "PAPER", "NOISE", "SPECK", "FINE", "COARSE", "GAP", "WIDE"):
        assert page.evaluate(name) == getattr(ink, name)
    assert page.evaluate("({ [SIDE]: BOX })") == {str(side): box for side, box in images.BOX.items()}


@pytest.mark.parametrize(
    ("picture", "doubts"),
    [
        (np.ones((280, 280)), ["blank"]),
        (np.zeros((1, 1)), ["blank"]),
        (np.random.default_rng(0).random((50, 60)), ["blank"]),
        (np.pad(np.zeros((9, 9)), 100, constant_values=1), ["full"]),
        (np.pad(np.zeros((150, 150)), 20, constant_values=1), ["full"]),
        ("two", ["several"]),
        (bars(20), ["several"]),
        (bars(6), []),
    ],
    ids=["empty", "pixel", "noise", "dot", "square", "two", "bars", "a bar in two"],
)
def test_what_may_not_be_one_digit_is_said(picture, doubts, page):
    picture = drawn()[1] if isinstance(picture, str) else picture
    found = page.evaluate(DRAWN, [packed(picture), *picture.shape])
    assert (found["doubts"], found["blank"]) == (doubts, doubts == ["blank"])
    assert np.isfinite(unpacked(found["ink"])).all()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_file_is_unpacked_to_its_numbers(dtype, page):
    bits = np.arange(2**16, dtype=np.uint16).view(np.float16)
    numbers = bits[np.isfinite(bits)].astype(dtype)
    text = base64.b64encode(numbers.tobytes()).decode()
    file = {"base64": text, "dtype": dtype, "arrays": [["a", 1], ["b", len(numbers) - 1]], "K": 10}
    found = page.evaluate("file => { const m = unpack(file); return [pack(m.p.a), pack(m.p.b), m.K]; }", file)
    assert np.array_equal(np.concatenate([*map(unpacked, found[:2])]), numbers)
    assert found[2] == 10
    with pytest.raises(Exception, match="the weights are missing; expected the script"):
        page.evaluate("unpack(window.MINIGRU_NOTHING)")


def test_the_ready_digits_are_answered_as_their_file_says(page):
    shown = [*DIGITS["right"], *DIGITS["mistakes"], *DIGITS["between"]]
    answers = page.evaluate(
        """(shown) => shown.map((digit) => {
          const last = [...forward(models.gru, unpackDigit(digit)).probabilities.slice(-10)], sure = Math.max(...last);
          return [last.indexOf(sure), sure];
        })""",
        shown,
    )
    for (answer, sure), digit in zip(answers, shown, strict=True):
        assert (answer, round(sure, 4)) == (digit["answer"], pytest.approx(digit["sure"], abs=2e-4))
    assert [digit["label"] for digit in DIGITS["right"]] == [*range(10)]
    assert all(digit["label"] != digit["answer"] for digit in DIGITS["mistakes"])
    a, b = (page.evaluate("digit => [...unpackDigit(digit)]", digit) for digit in DIGITS["between"])
    turned = "x => { const p = [...forward(models.gru, x).logits.slice(-10)]; return p.indexOf(Math.max(...p)); }"
    shares = [DIGITS["turn"] - 0.01, DIGITS["turn"]]
    mixed = [[(1 - share) * one + share * other for one, other in zip(a, b, strict=True)] for share in shares]
    assert page.evaluate(turned, mixed[1]) == 9 != page.evaluate(turned, mixed[0])


def test_the_lines_of_the_page_have_the_tags_of_the_reference():
    texts = [path.read_text("utf-8") for path in (PLAY / "gru.js", ROOT / "minigru" / "reference.py")]
    ours, theirs = ([*re.findall(r"\((d?[A-Z]+\d*)\)", " ".join(re.findall(r"(?:#|//) .*", text)))] for text in texts)
    assert {"G1", "G2", "G3", "G4", "G5", "dG4", "dG3", "dG2", "dG1", "R1", "dR1", "S1", "S2", "S3", "dS"} <= {*ours}
    assert {*ours} <= {*theirs}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for cell in ("gru", "rnn"):
        (folder / cell).mkdir()
        config = Config(data="digits", model=cell, hidden_size=8, epochs=1)
        Trainer(config, data.load("digits"), folder / cell).run(quiet=True)
    return folder


def test_a_run_is_exported_and_the_wrong_run_refused_in_one_sentence(runs, tmp_path):
    result = call(export_page, "--run", runs / "gru", "--rnn", runs / "rnn", "--out", tmp_path / "new")
    assert result.returncode == 0, result.stderr
    model, _ = load_model(runs / "gru")
    file, dataset = read(tmp_path / "new" / "weights.js"), data.load("digits")
    for name, value in parameters(file).items():
        layer = "linear" if name in ("W", "b") else "gru"
        assert np.array_equal(value, model.params[f"{layer}.{name}"].astype(file["dtype"]))
    mean, _, _ = gates.average(model, dataset)
    assert np.diff(mean.mean(axis=0)[file["order"]]).min() > -1e-3
    assert file["made"] == "python scripts/train_mnist.py --data digits --hidden-size 8 --epochs 1"
    assert (file["T"], file["D"], file["H"], file["K"]) == (8, 8, 8, 10)
    assert file["accuracy"] == pytest.approx(100 * np.mean(model.predict(dataset.x_test) == dataset.y_test), abs=1)
    assert read(tmp_path / "new" / "rnn.js")["kind"] == "rnn"
    assert len(read(tmp_path / "new" / "digits.js")["mistakes"]) == export_page.WORST
    assert_one_sentence(call(export_page, "--run", runs / "rnn", "--out", tmp_path), 2, "'rnn'; expected 'gru'")
    assert_one_sentence(call(export_page, "--run", tmp_path, "--out", tmp_path), 2, "there is no checkpoint")
    assert not (tmp_path / "weights.js").exists()


def test_a_model_that_is_too_large_or_loses_answers_in_float16(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(export_page, "CHANGED", -1)
    assert call(export_page, "--run", runs / "gru", "--out", tmp_path).returncode == 0
    assert read(tmp_path / "weights.js")["dtype"] == "float32"
    monkeypatch.setattr(export_page, "LARGEST", 1000)
    assert_one_sentence(call(export_page, "--run", runs / "gru", "--out", tmp_path), 2, "expected at most 1,000")
