"""The benchmark counts right, refuses what differs, and runs; nothing here depends on how fast this machine is."""

from __future__ import annotations

import json
from types import SimpleNamespace

import ablation
import baselines
import bench
import numpy as np
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

    model = minigru.SequenceClassifier(D, H, baselines.K, backend=minigru.Backend("numpy", xp, numpy.kernels))
    x, y = baselines.make_batch(T, B, D, 0)
    model.loss(x, y)
    model.backward()
    ones = 3 * 2 * 2 * T * B * H  # the column of ones, forward and in the weight gradients, three gates
    assert sum(counted) - ones == bench.flops(T, B, D, H)


@pytest.mark.parametrize("shape", [(28, 32, 28, 128), (3, 4, 5, 16), (1, 1, 1, 1)])
def test_memory_is_what_the_formula_in_the_documents_says(shape):
    measured = bench.measure_memory(*shape)
    arrays = 5 + 7 - 1 + 9 + 3 + 4 + 5  # the states are a view
    spare = arrays * minigru.backend.CACHE_LINE + 8 * baselines.K  # each aligned array, and the classes of the loss
    assert measured["allocated"] == measured["formula"] + spare
    assert measured["peak"] >= measured["before"] > 1e6


def test_the_contestants_that_share_the_equations_agree():
    pytest.importorskip("torch", reason="PyTorch is not installed: the extra bench brings it")
    kinds = [baselines.Engine, baselines.Reference, *baselines.torch_baselines()]
    rows = bench.prove_agreement(kinds, 4, 3, 5, 6, 0)
    assert [row["name"] for row in rows] == ["reference.py", "the article's loop, PyTorch"]


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("wrong", [np.nan, np.inf, 1.001])
@pytest.mark.parametrize("what", ["loss", "gru.W_r", "step"])
def test_whatever_differs_is_not_timed(what, wrong):
    class Other(baselines.Reference):
        name = "another GRU"

        def check(self, x, y):
            loss, grads = super().check(x, y)
            grads |= {name: wrong * grad for name, grad in grads.items() if name == what}
            return loss * (wrong if what == "loss" else 1), grads

        def parameters(self):
            return ((name, value * (wrong if what == "step" else 1)) for name, value in super().parameters())

    with pytest.raises(ValueError, match=r"another GRU is not minigru: its .* nothing was timed"):
        bench.prove_agreement([baselines.Engine, Other], 4, 3, 5, 6, 0)


def test_a_contestant_without_adam_is_not_timed():
    class Lazy(baselines.Reference):
        def step(self, x, y):
            self.check(x, y)

    with pytest.raises(ValueError, match="after a step is off"):
        bench.prove_agreement([baselines.Engine, Lazy], 4, 3, 5, 6, 0)


def timed_contestant(title, milliseconds):
    """Return a contestant that takes that long by its own clock."""

    class Timed(baselines.Baseline):
        name = title
        own_threads = title in ("own", "minigru, 2 ranks")

        def __init__(self, params):
            self.params = params

        def seconds(self, steps, x, y):
            return steps * milliseconds / 1e3

        def predict(self, x):
            return None

    return Timed


def some_options(**changes):
    given = {"length": 3, "inputs": 2, "hidden_size": 4, "seed": 0, "rounds": 3, "threads": [1], "batch": [2]}
    return SimpleNamespace(**{**given, **changes})


def test_rows_and_ratios_say_who_is_how_much_faster(monkeypatch):
    monkeypatch.setattr(bench.time, "sleep", lambda seconds: None)
    kinds = [timed_contestant(*pair) for pair in (("minigru", 100), ("minigru, 2 ranks", 50), ("b", 300), ("own", 400))]
    cores = bench.os.cpu_count()
    rows = bench.time_steps(kinds, 2, some_options(), {1: 10.0, cores: 20.0})
    assert {row["name"]: round(row["ms"]) for row in rows} == {
        "minigru": 100,
        "minigru, 2 ranks": 50,
        "b": 300,
        "own": 400,
    }
    assert {row["name"]: row["threads"] for row in rows}["own"] is None
    assert [row["times_minigru"] for row in rows] == pytest.approx([1, 0.5, 3, 4])
    work = bench.flops(3, 2, 2, 4) / 1e6
    shares = [work / 100 / 10, work / 50 / 20, work / 300 / 10, work / 400 / 20]
    if cores > 1:
        assert [row["share_of_product_rate"] for row in rows] == pytest.approx(shares)
    faster = {(f["minigru"]["name"], f["other"]["name"]): f["times"] for f in bench.how_much_faster(rows, cores)}
    expected = {
        ("minigru", "b"): 3,
        ("minigru", "own"): 4,
        ("minigru, 2 ranks", "b"): 6,
        ("minigru, 2 ranks", "own"): 8,
    }
    assert faster == pytest.approx(expected)


def test_a_turn_takes_as_many_steps_as_it_is_asked_for():
    steps = []

    class Counted(baselines.Baseline):
        def step(self, x, y):
            steps.append((x, y))

    assert Counted().seconds(7, "x", "y") > 0
    assert steps == 7 * [("x", "y")]


def test_inference_counts_images_a_second(monkeypatch):
    monkeypatch.setattr(bench, "take_turns", lambda runs, rounds: {key: np.array([500.0]) for key in runs})
    rows = bench.inference([timed_contestant("a", 1)], some_options())
    assert [(row["B"], row["images_per_second"]) for row in rows] == [(1, 2), (10_000, 20_000)]


def test_the_cost_of_a_message_and_of_a_number_come_from_the_sums(monkeypatch):
    N = bench.count_parameters(2, 4) + 2
    monkeypatch.setattr(bench, "allreduce", lambda job, elements, rounds: 0.5 + 0.25 * (elements - 1))
    monkeypatch.setattr(bench, "cost", lambda shapes, options, count: [{"B": B, "ms": 1.0} for _, B, _, _ in shapes])
    found = bench.scaling(SimpleNamespace(ranks=2), some_options())
    model = {(row["B"], row["ranks"]): row["ms"] for row in found["model"]}
    assert {ranks for _, ranks in model} == {1, 2, 8, 64, 1024}
    assert model[2, 1] == 1.0
    assert model[2, 2] == pytest.approx(1.0 + 0.5 + 0.25 * (N - 1))


def test_the_profile_finds_time_spent_on_everything():
    spent = bench.profile(4, 32, 3, 128, seconds=0.01)
    assert min(spent.values()) > 0
    assert [*spent][3:] == ["Adam", "Python between the calls, checks, copies"]


def test_a_job_that_has_ended_is_said_in_a_sentence(tmp_path, monkeypatch):
    mpiexec = tmp_path / "mpiexec"
    mpiexec.write_text("#!/bin/sh\nexit 3\n")
    mpiexec.chmod(0o755)
    monkeypatch.setattr(baselines.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(baselines.importlib.util, "find_spec", lambda name: True)
    job = baselines.RankJob(2)
    job._process.wait()
    with pytest.raises(RuntimeError, match="job of 2 ranks has ended with status 3"):
        job.ask(loss=True)
    job.close()


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
        (["--json", "/nowhere/at/all.json"], "no file in an existing folder"),
        (["--only", "memory", "--plot", "b.png"], "--only leaves out"),
        (["--only", "everything"], "invalid choice"),
        (["--json", "."], "no file in an existing folder"),
        (["--plot", ""], "no file in an existing folder"),
        (["--ranks", "1"], "expected at least 2, or 0"),
        (["--only", "ranks", "--ranks", "0"], "needs --ranks 2"),
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
    hunks = ablation.read_hunks()
    headings = [f"F{number}" for number in range(1, 10)]
    assert [*hunks] == [*headings, "inputs-first"]
    copies = {tag: ablation.without(tag, edits, tmp_path)[0] for tag, edits in hunks.items()}
    ablation.prove_agreement(copies)


def test_a_rearrangement_undone_wrongly_is_not_timed(tmp_path):
    wrong = [("gru.py", "out=dW_u)", "out=dW_u)\n        dW_u *= 1.001")]
    copy, more = ablation.without("wrong", wrong, tmp_path)
    assert more == -1
    with pytest.raises(ValueError, match=r"without wrong, gru\.W_u differs by 1\.0e-03"):
        ablation.prove_agreement({"wrong": copy})
    with pytest.raises(ValueError, match="holds these lines 0 times"):
        ablation.without("gone", [("gru.py", "no such line", "")], tmp_path)


def test_the_prices_are_printed_for_every_rearrangement(tmp_path):
    result = run_script("ablation.py", "--batch", "2", "--rounds", "1", "--json", tmp_path / "p.json")
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "p.json").read_text())
    assert [*found["statements"]] == [f"F{number}" for number in range(1, 10)] + ["inputs-first"]
    assert all(f"| {tag} " in result.stdout for tag in found["statements"])
    assert {(row["T"], row["tag"]) for row in found["prices"]} >= {(28, "F1"), (392, "F9")}
