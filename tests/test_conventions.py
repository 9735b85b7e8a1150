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


def rows():
    """Return the table: {variant: (reset gate, update gate, biases, carried over)}."""
    section = (ROOT / "README.md").read_text("utf-8").split("## Which GRU is this?")[1].split("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.M)]
    return {name.strip("*"): tuple(rest) for name, *rest in cells[2:]}


ROWS = rows()


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
    """Run ONNX's GRU operator, by its own reference implementation; it stacks z, r, h and wants (out, in)."""
    W = np.concatenate([p[f"W_{k}"][H:].T for k in "urc"])[None]
    R = np.concatenate([p[f"W_{k}"][:H].T for k in "urc"])[None]
    b = np.concatenate([*(p[f"b_{k}"] for k in "urc"), *(second[k] for k in "urc")])[None]
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


def test_pytorch_is_the_variant_of_its_row(rng):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: the extra bench brings it")
    p, x, second = parameters(rng), rng.standard_normal((T, B, D)), {k: rng.standard_normal(H) for k in "urc"}
    gru = torch.nn.GRU(D, H, dtype=torch.float64)
    stacked = {
        "weight_ih_l0": [p[f"W_{k}"][H:].T for k in "ruc"],  # PyTorch's order is r, z, n
        "weight_hh_l0": [p[f"W_{k}"][:H].T for k in "ruc"],
        "bias_ih_l0": [p[f"b_{k}"] for k in "ruc"],
        "bias_hh_l0": [second[k] for k in "ruc"],
    }
    gru.load_state_dict({name: torch.from_numpy(np.concatenate(parts)) for name, parts in stacked.items()})
    found = gru(torch.from_numpy(x))[0].detach().numpy()
    assert relative(by_columns(ROWS["PyTorch, cuDNN, ONNX with `linear_before_reset=1`"], x, p, second), found) < 1e-14
