"""The benchmark counts right, refuses what differs, and runs; nothing here depends on how fast this machine is."""

from __future__ import annotations

import json
from types import SimpleNamespace

import bench
import contestants
import numpy as np
import price_of_speed
import pytest
from helpers import run_script

import minigru


def test_flops_are_those_of_the_matrix_products_asked_for():
    T, B, D, H = 3, 4, 5, 6
    counted, matmul = [], np.matmul

    def counting(a, b, out=None):
        counted.append(2 * a.shape[0] * a.shape[1] * b.shape[1])
        return matmul(a, b, out=out)

    xp = SimpleNamespace(**{**vars(np), "matmul": counting})
    numpy = minigru.get_backend("numpy")

    model = minigru.SequenceClassifier(D, H, contestants.K, backend=minigru.Backend("numpy", xp, numpy.kernels))
    x, y = contestants.make_batch(T, B, D, 0)
    model.loss(x, y)
    model.backward()
    ones = 3 * 2 * 2 * T * B * H  # the column of ones, forward and in the weight gradients, three gates
    assert sum(counted) - ones == bench.flops(T, B, D, H)


@pytest.mark.parametrize("shape", [(28, 32, 28, 128), (3, 4, 5, 16), (1, 1, 1, 1)])
def test_memory_is_what_the_formula_in_the_documents_says(shape):
    measured = bench.measure_memory(*shape)
    arrays = 5 + 7 - 1 + 9 + 3 + 4 + 5  # the states are a view
    spare = arrays * minigru.backend.CACHE_LINE + 8 * contestants.K  # each aligned array, and the classes of the loss
    assert measured["allocated"] == measured["formula"] + spare
    assert measured["peak"] >= measured["before"] > 1e6


def test_the_contestants_that_share_the_equations_agree():
    pytest.importorskip("torch", reason="PyTorch is not installed: the extra bench brings it")
    kinds = [contestants.Engine, contestants.Reference, *contestants.torch_contestants()]
    rows = bench.prove_agreement(kinds, 4, 3, 5, 6, 0)
    assert [row["name"] for row in rows] == ["reference.py", "the article's loop, PyTorch"]


def test_a_contestant_that_computes_something_else_is_not_timed():
    class Other(contestants.Reference):
        name = "another GRU"

        def check(self, x, y):
            loss, grads = super().check(x, y)
            return loss, {**grads, "gru.W_r": 1.001 * grads["gru.W_r"]}

    with pytest.raises(ValueError, match=r"another GRU does not compute .* gradient of gru.W_r is off by 1.0e-03"):
        bench.prove_agreement([contestants.Engine, Other], 4, 3, 5, 6, 0)


def test_turns_are_interleaved_and_timed_by_the_step():
    order = []

    def run(name, seconds):
        return lambda steps: order.append(name) or seconds * steps

    times = bench.take_turns({"a": run("a", 0.1), "b": run("b", 0.05)}, 3, seconds=0.2)
    assert order == ["a", "a", "b", "b"] + 3 * ["a", "a", "b", "b"]
    assert times["a"] == pytest.approx([100, 100, 100])
    assert times["b"] == pytest.approx([50, 50, 50])


def test_the_script_writes_figures_and_prints_each_section(tmp_path):
    sizes = ("--batch", "2", "3", "--length", "3", "--inputs", "2", "--hidden-size", "4", "--rounds", "2")
    result = run_script(
        "bench.py", *sizes, "--threads", "1", "--ranks", "0", "--only", "steps", "memory", "inference",
        "--json", tmp_path / "b.json", "--plot", tmp_path / "b.png",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for words in ("Same equations as minigru", "Training step: B=3", "Memory of training", "Inference", "x as fast as"):
        assert words in result.stdout
    found = json.loads((tmp_path / "b.json").read_text())
    assert {row["B"] for row in found["steps"]} == {2, 3}
    assert all(row["ms"] > 0 and len(row["rounds"]) == 2 for row in found["steps"])
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--batch", "0"], "0 is not positive"),
        (["--json", "/nowhere/at/all.json"], "no folder /nowhere/at"),
        (["--only", "memory", "--plot", "b.png"], "--only leaves out"),
        (["--only", "everything"], "invalid choice"),
    ],
)
def test_a_wrong_option_is_one_sentence(options, words):
    result = run_script("bench.py", *options)
    assert result.returncode == 2
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_model_of_many_ranks_adds_the_largest_share_and_the_sum():
    computing = {1: 2.0, 3: 4.0, 5: 6.0}
    assert bench.model_of_ranks(5, 2, computing, 0.5, 0.01, 100) == pytest.approx(4.0 + 2 * 0.5 + 1 * 100 * 0.01)
    assert bench.model_of_ranks(5, 1, computing, 0.5, 0.01, 100) == 6.0
    assert bench.model_of_ranks(3, 8, computing, 0.5, 0.01, 100) == pytest.approx(2.0 + 6 * 0.5 + 1.75)


def test_every_rearrangement_can_be_undone_and_computes_the_same(tmp_path):
    hunks = price_of_speed.read_hunks()
    headings = [f"F{number}" for number in range(1, 10)]
    assert [*hunks] == [*headings, "inputs-first"]
    copies = {tag: price_of_speed.without(tag, edits, tmp_path)[0] for tag, edits in hunks.items()}
    price_of_speed.prove_agreement(copies)


def test_a_rearrangement_undone_wrongly_is_not_timed(tmp_path):
    wrong = [("gru.py", "out=dW_u)", "out=dW_u)\n        dW_u *= 1.001")]
    copy, more = price_of_speed.without("wrong", wrong, tmp_path)
    assert more == -1
    with pytest.raises(ValueError, match=r"without wrong, gru\.W_u differs by 1\.0e-03"):
        price_of_speed.prove_agreement({"wrong": copy})
    with pytest.raises(ValueError, match="holds these lines 0 times"):
        price_of_speed.without("gone", [("gru.py", "no such line", "")], tmp_path)
