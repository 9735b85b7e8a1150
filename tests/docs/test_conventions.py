"""The README's table of GRU variants, held to running code: a GRU put together from its columns, and ONNX's own."""

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


def rows(page, heading):
    """Return the table under a heading: {variant: (reset gate, update gate, biases, …)}."""
    section = (ROOT / page).read_text("utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.M)]
    return {name.strip("*"): tuple(rest) for name, *rest in cells[2:]}


ROWS = rows("README.md", "Which GRU is this?")
LONGER = rows("docs/notation.md", "This GRU and others")
PYTORCH = "PyTorch, cuDNN, ONNX with `linear_before_reset=1`"


def parameters(rng):
    """Return W_u … (H + D, H) and b_u … (H,)."""
    p = {f"W_{k}": rng.standard_normal((H + D, H)) / 2 for k in "urc"}
    return p | {f"b_{k}": rng.standard_normal(H) for k in "urc"}


def ours(x, p):
    gru = minigru.GRU(D, H, dtype="float64")
    for name, value in p.items():
        gru.set(name, value)
    return gru.forward(x).copy()


def by_columns(row, x, p, recurrent_bias):
    """Run the GRU that a row describes; `recurrent_bias` are its second biases, where it has two a gate."""
    reset, update, biases, _ = row
    h, states = np.zeros((B, H)), []
    one, two = (p[f"b_{k}"] for k in "urc"), (recurrent_bias[k] if "two" in biases else 0 for k in "urc")
    (b_u, b_r, b_c), (d_u, d_r, d_c) = ([0, 0, 0] if biases == "none written" else one), two
    for x_t in x:

        def z(k, memory, x_t=x_t):
            return x_t @ p[f"W_{k}"][H:], memory @ p[f"W_{k}"][:H]

        u = sigmoid(sum(z("u", h)) + b_u + d_u)
        r = sigmoid(sum(z("r", h)) + b_r + d_r)
        if reset.startswith("before"):
            candidate = np.tanh(sum(z("c", r * h)) + b_c + d_c)
        else:
            from_x, from_h = z("c", h)
            candidate = np.tanh(from_x + b_c + r * (from_h + d_c))
        h = u * candidate + (1 - u) * h if update.startswith("replaces") else (1 - u) * candidate + u * h
        states.append(h)
    return np.array(states)


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


STEPS = {
    "Cho et al. 2014": cho,
    "Chung et al. 2014": chung,
    "Keras, `reset_after=False`": keras,
    "Keras, the default": keras_default,
}


@pytest.mark.parametrize("name", STEPS)
def test_a_row_describes_the_step_that_its_source_writes(name, rng):
    p, x, second = parameters(rng), rng.standard_normal((T, B, D)), {k: rng.standard_normal(H) for k in "urc"}
    V, U = ({k: p[f"W_{k}"][rows] for k in "urc"} for rows in (slice(H, None), slice(H)))
    b = {k: p[f"b_{k}"] for k in "urc"}
    h, states = np.zeros((B, H)), []
    for x_t in x:
        h = STEPS[name](x_t, h, V, U, b, second)
        states.append(h)
    assert relative(by_columns(ROWS[name], x, p, second), np.array(states)) < 1e-14


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
        for cells, other in zip(zip(*(LONGER[n] for n in names), strict=True), ROWS[name][:3], strict=False):
            assert {cell.split()[0] for cell in cells} == {other.split()[0]}, name


def order(name):
    """Return our letters in the order in which the longer table says that a variant packs its gates."""
    return [{"z": "u", "r": "r", "h": "c", "n": "c"}[letter] for letter in LONGER[name][3].split(", ")]


def carried(row, p):
    """Return the weights that the last column prescribes for this variant."""
    if "negate" in row[3] or "z = 1 - gamma_u" in row[3]:
        p = p | {"W_u": -p["W_u"], "b_u": -p["b_u"]}  # 1 - sigmoid(z) = sigmoid(-z)
    return p


@pytest.mark.parametrize("name", ROWS)
def test_weights_carry_over_where_and_as_the_table_says(name, rng):
    row, p, x = ROWS[name], parameters(rng), rng.standard_normal((T, B, D))
    if row[2] == "none written":
        p |= {f"b_{k}": np.zeros(H) for k in "urc"}
    zero, other = {k: np.zeros(H) for k in "urc"}, {k: rng.standard_normal(H) for k in "urc"}
    if row[3] != "no":
        assert relative(by_columns(row, x, carried(row, p), zero), ours(x, p)) < 1e-14
        return
    for signs in (p, p | {"W_u": -p["W_u"], "b_u": -p["b_u"]}):
        for second in (zero, other):
            assert relative(by_columns(row, x, signs, second), ours(x, p)) > 0.01


def by_onnx(x, p, second, linear_before_reset):
    """Run ONNX's GRU on our parameters: it has the gates in the order of the table, and wants (out, in)."""
    letters = order(f"ONNX, `linear_before_reset={linear_before_reset}`" + " (the default)" * (not linear_before_reset))
    W = np.concatenate([p[f"W_{k}"][H:].T for k in letters])[None]
    R = np.concatenate([p[f"W_{k}"][:H].T for k in letters])[None]
    b = np.concatenate([*(p[f"b_{k}"] for k in letters), *(second[k] for k in letters)])[None]
    return run_onnx(x, W, R, b, linear_before_reset)


def run_onnx(x, W, R, b, linear_before_reset):
    """Run ONNX's GRU operator, by its own reference implementation."""
    node = onnx.helper.make_node(
        "GRU", ["X", "W", "R", "B"], ["Y", ""], hidden_size=H, linear_before_reset=linear_before_reset
    )
    kind = onnx.TensorProto.DOUBLE
    inputs = [onnx.helper.make_tensor_value_info(name, kind, None) for name in ("X", "W", "R", "B")]
    outputs = [onnx.helper.make_tensor_value_info("Y", kind, None)]
    graph = onnx.helper.make_graph([node], "gru", inputs, outputs)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 22)])
    return ReferenceEvaluator(model).run(None, {"X": x, "W": W, "R": R, "B": b})[0][:, 0]


@pytest.mark.parametrize(
    ("name", "linear_before_reset"),
    [("ONNX, `linear_before_reset=0`", 0), ("PyTorch, cuDNN, ONNX with `linear_before_reset=1`", 1)],
)
def test_the_rows_of_onnx_describe_what_onnx_computes(name, linear_before_reset, rng):
    p, x, second = parameters(rng), rng.standard_normal((T, B, D)), {k: rng.standard_normal(H) for k in "urc"}
    expected = by_onnx(x, p, second, linear_before_reset)
    assert relative(by_columns(ROWS[name], x, p, second), expected) < 1e-14


def test_onnx_computes_what_minigru_does_with_the_weights_carried_over(rng):
    p, x = parameters(rng), rng.standard_normal((T, B, D))
    found = by_onnx(x, carried(ROWS["ONNX, `linear_before_reset=0`"], p), {k: np.zeros(H) for k in "urc"}, 0)
    assert relative(found, ours(x, p)) < 1e-14


def test_the_weights_of_onnx_are_carried_over_as_the_page_says(rng):
    page = (ROOT / "docs" / "notation.md").read_text("utf-8")
    loop, unpack = re.findall(r"^```python\n(.*?)```$", page, re.MULTILINE | re.DOTALL)
    W, R, b = (rng.standard_normal(shape) for shape in ((1, 3 * H, D), (1, 3 * H, H), (1, 6 * H)))
    given = {"np": np, "gru": minigru.GRU(D, H, dtype="float64"), "W": W, "R": R, "B": b, "H": H}
    exec(unpack + loop, given)
    x = rng.standard_normal((T, B, D))
    assert relative(given["gru"].forward(x), run_onnx(x, W, R, b, 0)) < 1e-14


def test_pytorch_is_the_variant_of_its_row(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra bench brings it")
    p, x, second = parameters(rng), rng.standard_normal((T, B, D)), {k: rng.standard_normal(H) for k in "urc"}
    gru = torch.nn.GRU(D, H, dtype=torch.float64)
    letters = order("PyTorch `torch.nn.GRU`")
    stacked = {
        "weight_ih_l0": [p[f"W_{k}"][H:].T for k in letters],
        "weight_hh_l0": [p[f"W_{k}"][:H].T for k in letters],
        "bias_ih_l0": [p[f"b_{k}"] for k in letters],
        "bias_hh_l0": [second[k] for k in letters],
    }
    gru.load_state_dict({name: torch.from_numpy(np.concatenate(parts)) for name, parts in stacked.items()})
    found = gru(torch.from_numpy(x))[0].detach().numpy()
    assert relative(by_columns(ROWS["PyTorch, cuDNN, ONNX with `linear_before_reset=1`"], x, p, second), found) < 1e-14
