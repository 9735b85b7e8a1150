"""The tables of GRU variants in README and Notation, checked against running code."""

from __future__ import annotations

import re

import numpy as np
import onnx
import pytest
from helpers import ROOT, relative
from onnx.reference import ReferenceEvaluator

import minigru
from minigru.reference import sigmoid

T, B, D, H = 5, 3, 4, 6
ZERO = {k: np.zeros(H) for k in "urc"}


def table(page):
    """Return the table of variants of a page: {variant: (reset gate, update gate, biases, …)}."""
    _, lines = re.split(r"^\|.*reset gate acts.*\n", (ROOT / page).read_text("utf-8"), flags=re.MULTILINE)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines.partition("\n\n")[0].splitlines()]
    return {name.strip("*"): tuple(rest) for name, *rest in rows[1:]}


ROWS, LONGER = table("README.md"), table("docs/notation.md")
PYTORCH = "PyTorch, cuDNN, ONNX with `linear_before_reset=1`"
# The rows of the longer table, by the row of the README that they belong to.
SAME = {
    "minigru": ["minigru"],
    "Cho et al. 2014": ["Cho et al. 2014, arXiv v3"],
    "Chung et al. 2014": ["Chung et al. 2014"],
    "Keras, `reset_after=False`": ["Keras, `reset_after=False`"],
    "Keras, the default": ["Keras, `reset_after=True` (the default)"],
    "ONNX, `linear_before_reset=0`": ["ONNX, `linear_before_reset=0` (the default)"],
    PYTORCH: ["PyTorch `torch.nn.GRU`", "cuDNN", "ONNX, `linear_before_reset=1`"],
}


def test_the_longer_table_says_the_same():
    assert [*SAME] == [*ROWS]
    assert {name for names in SAME.values() for name in names} == {*LONGER}
    for name, names in SAME.items():
        for longer in names:
            first_words = [[cell.split()[0] for cell in row[:3]] for row in (LONGER[longer], ROWS[name])]
            assert first_words[0] == first_words[1], longer


@pytest.fixture
def drawn(rng):
    """Return x (T, B, D), the parameters W_u … (H + D, H) and b_u … (H,), and the second biases of some variants."""
    p = {f"W_{k}": rng.standard_normal((H + D, H)) / 2 for k in "urc"} | {
        f"b_{k}": rng.standard_normal(H) for k in "urc"
    }
    return rng.standard_normal((T, B, D)), p, {k: rng.standard_normal(H) for k in "urc"}


def ours(x, p):
    gru = minigru.GRU(D, H, dtype="float64")
    for name, value in p.items():
        gru.params[name][...] = value
    return gru.forward(x)


def run(step, x, p, second):
    """Return the states (T, B, H) of `step`, which takes x, h, weights V of x and U of h, and both biases, by gate."""
    V, U = ({k: p[f"W_{k}"][rows] for k in "urc"} for rows in (slice(H, None), slice(H)))
    h, states = np.zeros((B, H)), []
    for x_t in x:
        h = step(x_t, h, V, U, {k: p[f"b_{k}"] for k in "urc"}, second)
        states.append(h)
    return np.array(states)


def by_columns(name):
    """Return the step that a row of the README describes."""
    reset, update, biases, _ = ROWS[name]

    def step(x, h, V, U, b, d):
        b, d = (ZERO if biases == "none written" else b), (d if "two" in biases else ZERO)
        u, r = (sigmoid(x @ V[k] + h @ U[k] + b[k] + d[k]) for k in "ur")
        before = x @ V["c"] + (r * h) @ U["c"] + b["c"] + d["c"]
        after = x @ V["c"] + b["c"] + r * (h @ U["c"] + d["c"])
        candidate = np.tanh(before if reset.startswith("before") else after)
        return u * candidate + (1 - u) * h if update.startswith("replaces") else (1 - u) * candidate + u * h

    return step


def cho(x, h, V, U, b, d):
    """Cho et al. 2014, arXiv v3, equations 5 to 8, which leave out the biases."""
    z, r = sigmoid(x @ V["u"] + h @ U["u"]), sigmoid(x @ V["r"] + h @ U["r"])
    return z * h + (1 - z) * np.tanh(x @ V["c"] + (r * h) @ U["c"])


def chung(x, h, V, U, b, d):
    """Chung et al. 2014, section 3.2."""
    z, r = sigmoid(x @ V["u"] + h @ U["u"]), sigmoid(x @ V["r"] + h @ U["r"])
    return (1 - z) * h + z * np.tanh(x @ V["c"] + (r * h) @ U["c"])


def keras(x, h, V, U, b, d):
    """Keras, `reset_after=False`."""
    z, r = sigmoid(x @ V["u"] + b["u"] + h @ U["u"]), sigmoid(x @ V["r"] + b["r"] + h @ U["r"])
    return z * h + (1 - z) * np.tanh(x @ V["c"] + b["c"] + (r * h) @ U["c"])


def keras_default(x, h, V, U, b, d):
    """Keras, `reset_after=True`."""
    z, r = (sigmoid(x @ V[k] + b[k] + h @ U[k] + d[k]) for k in "ur")
    return z * h + (1 - z) * np.tanh(x @ V["c"] + b["c"] + r * (h @ U["c"] + d["c"]))


def run_onnx(x, W, R, b, linear_before_reset):
    """Run ONNX's GRU operator, by its own reference implementation."""
    make, kind = onnx.helper, onnx.TensorProto.DOUBLE
    node = make.make_node(
        "GRU", ["X", "W", "R", "B"], ["Y", ""], hidden_size=H, linear_before_reset=linear_before_reset
    )
    inputs = [make.make_tensor_value_info(name, kind, None) for name in ("X", "W", "R", "B")]
    graph = make.make_graph([node], "gru", inputs, [make.make_tensor_value_info("Y", kind, None)])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 22)])
    return ReferenceEvaluator(model).run(None, {"X": x, "W": W, "R": R, "B": b})[0][:, 0]


def packed(p, second, name):
    """Return W (3H, D), R (3H, H) and both biases (3H,), in the order of gates that the longer table gives."""
    order = [{"z": "u", "r": "r", "h": "c", "n": "c"}[letter] for letter in LONGER[name][3].split(", ")]
    parts = ([p[f"W_{k}"][H:].T for k in order], [p[f"W_{k}"][:H].T for k in order])
    return [np.concatenate(part) for part in (*parts, [p[f"b_{k}"] for k in order], [second[k] for k in order])]


def by_onnx(x, p, second, linear_before_reset):
    W, R, b, d = packed(p, second, SAME[PYTORCH if linear_before_reset else "ONNX, `linear_before_reset=0`"][-1])
    return run_onnx(x, W[None], R[None], np.concatenate([b, d])[None], linear_before_reset)


def by_pytorch(x, p, second):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra bench brings it")
    gru = torch.nn.GRU(D, H, dtype=torch.float64)
    names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
    values = map(torch.from_numpy, packed(p, second, "PyTorch `torch.nn.GRU`"))
    gru.load_state_dict(dict(zip(names, values, strict=True)))
    return gru(torch.from_numpy(x))[0].detach().numpy()


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("Cho et al. 2014", lambda *drawn: run(cho, *drawn)),
        ("Chung et al. 2014", lambda *drawn: run(chung, *drawn)),
        ("Keras, `reset_after=False`", lambda *drawn: run(keras, *drawn)),
        ("Keras, the default", lambda *drawn: run(keras_default, *drawn)),
        ("ONNX, `linear_before_reset=0`", lambda *drawn: by_onnx(*drawn, 0)),
        (PYTORCH, lambda *drawn: by_onnx(*drawn, 1)),
        (PYTORCH, by_pytorch),
    ],
)
def test_a_row_describes_what_its_source_computes(name, source, drawn):
    assert relative(run(by_columns(name), *drawn), source(*drawn)) < 1e-14


@pytest.mark.parametrize("name", ROWS)
def test_weights_carry_over_where_and_as_the_table_says(name, drawn):
    x, p, second = drawn
    *_, biases, carried = ROWS[name]
    if biases == "none written":
        p |= {f"b_{k}": ZERO[k] for k in "urc"}
    negated = p | {"W_u": -p["W_u"], "b_u": -p["b_u"]}  # 1 - sigmoid(z) = sigmoid(-z)
    if carried != "no":
        theirs = negated if "negate" in carried else p
        assert relative(run(by_columns(name), x, theirs, ZERO), ours(x, p)) < 1e-14
        return
    for theirs in (p, negated):
        for d in (ZERO, second):
            assert relative(run(by_columns(name), x, theirs, d), ours(x, p)) > 0.01


def test_the_weights_of_onnx_are_carried_over_as_the_page_says(rng):
    page = (ROOT / "docs" / "notation.md").read_text("utf-8")
    loop, unpack = re.findall(r"^```python\n(.*?)```$", page, re.MULTILINE | re.DOTALL)
    W, R, b = (rng.standard_normal(shape) for shape in ((1, 3 * H, D), (1, 3 * H, H), (1, 6 * H)))
    given = {"np": np, "gru": minigru.GRU(D, H, dtype="float64"), "W": W, "R": R, "B": b, "H": H}
    exec(unpack + loop, given)
    x = rng.standard_normal((T, B, D))
    assert relative(given["gru"].forward(x), run_onnx(x, W, R, b, 0)) < 1e-14
