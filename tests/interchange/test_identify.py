"""`identify` knows every row of the table of variants and nothing else; the script shows what a file says beside it."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
import which_gru
from calling import assert_one_sentence, call
from helpers import ROOT
from random_models import drawn

from minigru import interchange
from minigru.interchange import variants
from minigru.reference import sigmoid

CELLS = int(os.environ.get("MINIGRU_CELLS", "1"))  # per row and dtype; .ci/run asks for ten
# The rows of the table: where the reset gate acts, what the update gate does at 1, how many biases, order of the gates.
ROWS = {
    "minigru": ("before", "replaces", 1, "zrh"),
    "Cho et al. 2014": ("before", "keeps", 0, "zrh"),
    "Chung et al. 2014": ("before", "replaces", 0, "zrh"),
    "Keras, reset_after=False": ("before", "keeps", 1, "zrh"),
    "Keras, the default": ("after", "keeps", 2, "zrh"),
    "ONNX, linear_before_reset=0": ("before", "keeps", 2, "zrh"),
    "PyTorch": ("after", "keeps", 2, "rzh"),
    "ONNX, linear_before_reset=1": ("after", "keeps", 2, "zrh"),
    "after, replaces": ("after", "replaces", 2, "hrz"),
    "after, no bias": ("after", "keeps", 0, "rzh"),
}


def weights(rng, D, H, biases, dtype):
    """Return U (H, 3 H), V (D, 3 H) and the two biases."""
    scale = rng.choice([0.3, 0.7, 1.2])
    b, d = (scale * rng.standard_normal(3 * H) * (biases > i) for i in range(2))
    U, V = (scale * rng.standard_normal((n, 3 * H)) for n in (H, D))
    return [array.astype(dtype) for array in (U, V, b, d)]


def cell(U, V, b, d, reset, update, order):
    """Return the step of a row, written out here once more."""
    H = len(U)
    gate = {letter: slice(i * H, (i + 1) * H) for i, letter in enumerate(order)}

    def step(x, c):
        x, c = x.astype(U.dtype), c.astype(U.dtype)
        own, other = x @ V + b, c @ U + d
        with np.errstate(over="ignore"):
            z, r = (sigmoid(own[:, gate[k]] + other[:, gate[k]]) for k in "zr")
        gated = r * other[:, gate["h"]] if reset == "after" else (r * c) @ U[:, gate["h"]] + d[gate["h"]]
        n = np.tanh(own[:, gate["h"]] + gated)
        return z * c + (1 - z) * n if update == "keeps" else (1 - z) * c + z * n

    return step


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("row", ROWS)
def test_every_row_of_the_table_is_known_from_random_cells(row, dtype):
    reset, update, biases, order = ROWS[row]
    rng = np.random.default_rng([*row.encode()])
    for _ in range(CELLS):
        D, H = (int(n) for n in rng.integers(1, 9, 2))
        packed = weights(rng, D, H, biases, dtype)
        step = cell(*packed, reset, update, order)
        found = interchange.identify(step, D, H, dtype)
        assert found.cell == ("gru" if reset == "before" or found.ambiguous else "gru_after"), found
        assert found.error < variants.ROUNDING[dtype]
        assert row not in {*sum(variants.SAME_AS.values(), ())} or row in variants.SAME_AS[found.cell] or H == 1
        best = [layout[:3] for layout in variants.layouts(step, *packed) if layout.error < 1e-5]
        assert (order, update, reset) in best
        assert len(best) == 1 or H == 1


def gates(rng, D, H, n):
    U, V, b = rng.standard_normal((n, H, H)) / 2, rng.standard_normal((n, D, H)) / 2, rng.standard_normal((n, H)) / 2
    return lambda i, x, c: x @ V[i] + c @ U[i] + b[i]


def lstm(g, x, c):
    return sigmoid(g(0, x, c)) * np.tanh(sigmoid(g(1, x, c)) * c + sigmoid(g(2, x, c)) * np.tanh(g(3, x, c)))


def min_gru(g, x, c):
    z = sigmoid(g(0, x, 0 * c))
    return (1 - z) * c + z * g(1, x, 0 * c)


def without_the_kept_memory(g, x, c):
    return sigmoid(g(0, x, c)) * np.tanh(g(1, x, sigmoid(g(2, x, c)) * c))


def without_one_minus(g, x, c):
    return sigmoid(g(0, x, c)) * np.tanh(g(1, x, sigmoid(g(2, x, c)) * c)) + c


def with_the_gate_squared(g, x, c):
    z = sigmoid(g(0, x, c))
    return z * c + (1 - z) * np.tanh(g(1, x, sigmoid(g(2, x, c)) ** 2 * c))


def with_relu(g, x, c):
    z = sigmoid(g(0, x, c))
    return z * c + (1 - z) * np.maximum(0, g(1, x, sigmoid(g(2, x, c)) * c))


NONE = [lstm, min_gru, without_the_kept_memory, without_one_minus, with_the_gate_squared, with_relu]
NONE += [lambda g, x, c: c, lambda g, x, c: np.maximum(0, g(0, x, c)), lambda g, x, c: c * np.nan]


@pytest.mark.parametrize("other", NONE, ids=lambda other: other.__name__)
@pytest.mark.filterwarnings("ignore:overflow")
def test_other_cells_are_none_of_these(other, rng):
    g = gates(rng, 3, 4, 4)
    found = interchange.identify(lambda x, c: other(g, x, c), 3, 4)
    assert found.cell is None
    assert not found.error < 1e-4


def test_a_plain_rnn_is_one_and_bad_arguments_are_named(rng):
    g = gates(rng, 3, 4, 1)
    assert interchange.identify(lambda x, c: np.tanh(g(0, x, c)), 3, 4).cell == "rnn"
    with pytest.raises(ValueError, match=r"step returned float64 \(\d+, 3\); expected the next memory"):
        interchange.identify(lambda x, c: x, 3, 4)
    with pytest.raises(ValueError, match="hidden_size is 0"):
        interchange.identify(lambda x, c: c, 3, 0)


# --- The exporter story: nn.GRU written to ONNX without linear_before_reset=1, as by onnxscript 0.6.2 ---

PAGE = (ROOT / "docs" / "interchange.md").read_text("utf-8")
STORY = PAGE.split("## The exporter story")[1]


@pytest.fixture
def exported(tmp_path, monkeypatch):
    """Return the folder in which the page has written an nn.GRU, its right export and its wrong one."""
    monkeypatch.chdir(tmp_path)
    block = re.search(r"by hand.*?```python\n(.*?)```", STORY, re.DOTALL)[1]
    exec(block, {})
    return tmp_path


def test_the_silent_change_of_function_is_caught(exported):
    right = call(which_gru, exported / "gru.safetensors", exported / "right.onnx")
    assert right.returncode == 0, right.stdout
    assert "the same function: over 20 steps" in right.stdout
    assert "CONTRADICTION" not in right.stdout
    wrong = call(which_gru, "gru.safetensors", "wrong.onnx")
    assert wrong.returncode == 1
    assert "NOT the same function: the memories part at step 1" in wrong.stdout
    assert float(re.search(r"differ by up to (\S+),", wrong.stdout)[1]) > 0.01
    shown = re.search(r"gru.safetensors wrong.onnx`.*?```\n(.*?)```", STORY, re.DOTALL)[1]
    numbers = re.compile(r"\d\.\de[-+]\d\d")
    runner = re.compile("ONNX's evaluator|ONNX Runtime")
    assert runner.sub("", numbers.sub("", wrong.stdout)) == runner.sub("", numbers.sub("", shown))
    alone = call(which_gru, exported / "wrong.onnx").stdout
    assert "linear_before_reset=0 (not stated, the default); made by pytorch" in alone
    assert "CONTRADICTION  from what it says it should be the function of PyTorch" in alone


def test_the_script_reads_the_layout_of_stored_weights(exported, tmp_path):
    said = call(which_gru, exported / "right.onnx").stdout
    assert "gates in the order z, r, h; update gate at 1 keeps the memory" in said
    assert "two per gate, both of the candidate count" in said
    assert "to minigru     no; minigru.reference.gru_after_cell" in said
    model, _ = drawn(4, "float64")
    interchange.save(model, tmp_path / "a.onnx")
    interchange.save(model, tmp_path / "a.safetensors")
    both = call(which_gru, tmp_path / "a.onnx", tmp_path / "a.safetensors")
    assert both.returncode == 0, both.stdout
    assert both.stdout.count("to minigru     yes, exactly") == 2
    assert "arrays with the names of minigru; a file of weights holds no function" in both.stdout
    assert "one array per gate; update gate at 1 replaces the memory; one bias per gate" in both.stdout
    assert "the same linear layer" in both.stdout


def test_two_files_with_the_same_gru_and_other_linear_layers_are_not_the_same(tmp_path):
    model, _ = drawn(4, "float64")
    interchange.save(model, tmp_path / "a.safetensors")
    model.params["linear.b"][0] += 1
    interchange.save(model, tmp_path / "a.npz")
    both = call(which_gru, tmp_path / "a.safetensors", tmp_path / "a.npz")
    assert both.returncode == 1
    assert "but their linear layers part: the logits of one memory differ by up to" in both.stdout


@pytest.mark.parametrize(("library", "order"), [("torch", "r, z, h"), ("keras", "z, r, h")])
def test_weights_by_name_are_reported_with_their_layout(library, order, tmp_path, rng):
    U, V, b, d = weights(rng, 3, 4, 2, "float64")
    arrays = {"weight_hh_l0": U.T, "weight_ih_l0": V.T, "bias_ih_l0": b, "bias_hh_l0": d}
    if library == "keras":
        arrays = {"dense/kernel": np.ones((4, 2)), "dense/bias": np.ones(2)}
        arrays |= {"gru/recurrent_kernel": U, "gru/kernel": V, "gru/bias": np.stack([b, d])}
    np.savez(tmp_path / "a.npz", **arrays)
    shown = call(which_gru, tmp_path / "a.npz").stdout
    assert f"gates in the order {order}; update gate at 1 keeps the memory" in shown
    assert "two per gate, both of the candidate count" in shown


def test_files_that_cannot_be_compared_or_read(exported, tmp_path):
    interchange.save(drawn(4, "float32")[0], tmp_path / "a.npz")
    differ = call(which_gru, exported / "right.onnx", tmp_path / "a.npz")
    assert differ.returncode == 1
    assert "not the same function" in differ.stdout
    (tmp_path / "b.onnx").write_bytes(b"x")
    assert_one_sentence(call(which_gru, tmp_path / "b.onnx"), 2, "b.onnx cannot be read")
