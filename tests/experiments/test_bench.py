"""The benchmark counts right, refuses to time what differs, and runs; no test depends on the speed of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from types import SimpleNamespace

import ablation
import baselines
import formulas
import inference
import numpy as np
import pytest
import ram
import rank_baseline
import report
import runners as runners_of
import sources
import step_profile
import steps
import timing
import verify
from baselines import Engine
from helpers import run_script
from reference_baseline import Reference

import minigru


def test_flops_are_those_of_the_matrix_products_of_a_step(monkeypatch):
    T, B, D, H = 3, 4, 5, 6
    counted = []

    def matmul(a, b, out):
        counted.append(2 * a.shape[1] * out.size)
        return np.matmul(a, b, out=out)

    kernels, counting = minigru.get_backend("numpy").kernels, SimpleNamespace(**{**vars(np), "matmul": matmul})
    monkeypatch.setattr(kernels, "product", matmul)
    monkeypatch.setattr(kernels, "np", counting)
    backend = minigru.Backend("numpy", counting, kernels)
    Engine(baselines.initial(D, H, 0), backend).check(*baselines.make_batch(T, B, D, 0))
    ones = 3 * 2 * 2 * T * B * H  # the column of ones, forward and in the weight gradients, three gates
    assert sum(counted) - ones == formulas.flops(T, B, D, H)


@pytest.mark.parametrize("tf32", [True, False])
def test_the_baselines_of_cudnn_switch_it_on_and_notice_that_it_was_not_used(tf32):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed; CI has a step that installs it")
    import torch_baselines

    class OnHost(torch_baselines.CudnnGRU):
        device, allow_tf32 = "cpu", tf32

        def loss(self, x, y):
            seen.append((torch.backends.cudnn.enabled, torch.backends.cudnn.allow_tf32))
            return super().loss(x, y)

    seen, baseline = [], OnHost(baselines.initial(4, 6, 0))
    batch = baseline.prepare(*baselines.make_batch(3, 2, 4, 0))
    baseline.step(*batch)
    claims = baseline.claims(*batch)
    assert seen == [(True, tf32)] * 2
    assert [name for name, holds in claims.items() if not holds] == ["cuDNN"]


@pytest.mark.parametrize("shape", [(28, 32, 28, 128), (20, 100, 60, 16), (2, 768, 3, 40)])
def test_training_takes_the_ram_of_the_formula(shape):
    found = ram.measure(*shape)
    assert found["allocated"] == pytest.approx(found["formula"], rel=0.005)  # an array starts on a cache line
    assert found["peak"] >= found["before"] > 1e6


@pytest.fixture
def apart():
    """Start the baselines with these names, each in a process with one core."""
    with contextlib.ExitStack() as stack:

        def start(names):
            runners = [runners_of.Apart(sources.SOURCES[name], 1) for name in names]
            for runner in runners:
                stack.callback(runner.close)
                runner.wait()
            return runners

        yield start


def test_the_baselines_are_what_they_claim_to_be(apart):
    found = apart(sources.installed([*sources.SOURCES]))
    training = [runner for runner in found if runner.about["trains"]]
    rows = verify.verify(training, 4, 3, 5, 6, 0)
    compared = [row["name"] for row in rows if "loss" in row]
    assert compared == [one.about["name"] for one in training if one.about["name"] != "torch.nn.GRU (its own variant)"]
    classifying = [runner for runner in found if runner.about["predicts"]]
    rows = inference.images_per_second(classifying, 3, OPTIONS)
    assert [row["name"] for row in rows] == [one.about["name"] for one in classifying]


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="only Linux can pin a process")
def test_a_process_has_its_cores_and_its_own_failure_in_a_sentence(apart):
    before = os.sched_getaffinity(0), dict(os.environ)
    (runner,) = apart(["reference"])
    assert (os.sched_getaffinity(0), dict(os.environ)) == before
    assert len(os.sched_getaffinity(runner._process.pid)) == 1
    with pytest.raises(RuntimeError, match=r"reference.py: AttributeError: 'Here' object has no attribute 'baseline'"):
        runner.seconds(1)
    runner._process.kill()
    with pytest.raises(RuntimeError, match=r"the process of reference.py has ended"):
        runner.seconds(1)


class Other(Reference):
    """A baseline with one fault."""

    name, fault, factor = "another GRU", "", 1.0

    def scale(self, what):
        return self.factor if self.fault == what else 1

    def check(self, x, y):
        loss, grads = super().check(x, y)
        return self.scale("loss") * loss, {name: self.scale(name) * grad for name, grad in grads.items()}

    def step(self, x, y):
        if self.fault != "no Adam":
            super().step(x, y)

    def parameters(self):
        dtype = np.float64 if self.fault == "float64" else np.float32
        return ((name, self.scale("step") * value.astype(dtype)) for name, value in super().parameters())

    def claims(self, x, y):
        return {"compiled": self.fault != "claim"}


@pytest.mark.filterwarnings("ignore:invalid value")
@pytest.mark.parametrize("factor", [np.nan, 1.001])
@pytest.mark.parametrize(
    ("fault", "said"),
    [("loss", "minigru: its loss"), ("gru.W_r", "minigru: its gradient of gru.W_r"), ("step", "minigru: .* a step"),
     ("no Adam", "training all"), ("float64", "in float32"), ("claim", "compiled")],
)  # fmt: skip
def test_a_baseline_with_a_fault_is_not_timed(fault, said, factor):
    kind = type("Faulty", (Other,), {"fault": fault, "factor": factor})
    with pytest.raises(ValueError, match=f"another GRU is not {said}.*; nothing was timed"):
        verify.verify([*map(runners_of.Here, (Engine, Other, kind))], 4, 3, 5, 6, 0)


def timed(title, milliseconds):
    """Return a baseline that takes that long by its own clock."""

    class Timed(baselines.Baseline):
        name = title

        def __init__(self, params):
            pass

        def seconds(self, steps, x, y):
            return steps * milliseconds / 1e3

    return Timed


OPTIONS = SimpleNamespace(length=3, inputs=2, hidden_size=4, seed=0, rounds=3, batch=[2])


def test_rows_and_ratios_say_who_is_how_much_faster(monkeypatch, capsys):
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)
    taken = {("minigru", 1): 100, ("minigru", 2): 80, ("minigru, 2 ranks", 2): 50, ("b", 1): 300, ("c", 1): 400,
             ("c", 2): 20, ("reference.py", 1): 10}  # fmt: skip
    runners = [runners_of.Here(timed(name, ms), count) for (name, count), ms in taken.items()]
    for runner in runners:
        runner.prepare({}, None, None)
    rows = steps.time_steps(runners, 2, OPTIONS, {1: 10.0, 2: 20.0})
    assert {(row["name"], row["cores"]): row["ms"] for row in rows} == pytest.approx(taken)
    assert [row["times_minigru"] for row in rows] == pytest.approx([ms / 80 for ms in taken.values()])
    work = formulas.flops(3, 2, 2, 4) / 1e6
    assert [row["share_of_product_rate"] * row["ms"] * row["cores"] for row in rows] == pytest.approx(7 * [work / 10])
    report.who_is_ahead(rows, [])
    head, _, *lines = capsys.readouterr().out.strip().splitlines()[2:]
    found = {cells[1].strip(): cells[2].strip() for cells in (line.split("|") for line in [head, *lines])}
    assert found == {"": "B=2", "1 core: minigru": "3.00 (b)", "2 cores: minigru": "0.25 (c)",
                     "2 cores: minigru, 2 ranks": "0.40 (c)"}  # fmt: skip


def test_rounds_are_interleaved_and_timed_by_the_step(monkeypatch):
    monkeypatch.setattr(timing.time, "sleep", lambda seconds: None)
    order = []

    def run(name, seconds):
        return lambda steps: order.append((name, steps)) or seconds * steps

    times = timing.time_in_rounds({"a": run("a", 0.1), "b": run("b", 0.05)}, 3, seconds=0.2)
    assert order == 2 * [("a", 2)] + 2 * [("b", 2)] + 3 * [("a", 1), ("a", 2), ("b", 1), ("b", 4)]
    assert [*times["a"], *times["b"]] == pytest.approx(3 * [100] + 3 * [50])


@pytest.mark.parametrize("factor", [1, 1.001])
def test_inference_counts_images_per_second_and_verifies_the_logits(monkeypatch, factor):
    monkeypatch.setattr(inference, "time_in_rounds", lambda runs, rounds: dict.fromkeys(runs, np.array([500.0])))
    kind = type("Scaled", (Engine,), {"logits": lambda self, x: factor * Engine.logits(self, x)})
    refused = pytest.raises(ValueError, match="minigru is not minigru: its logits differs")
    with refused if factor != 1 else contextlib.nullcontext():
        assert inference.images_per_second([runners_of.Here(kind)], 10, OPTIONS)[0]["images_per_second"] == 20


def test_the_profile_finds_time_spent_on_everything():
    spent = step_profile.profile(4, 32, 3, 128, seconds=0.01)
    assert len(spent) == 5
    assert min(spent.values()) > 0


def test_a_job_that_has_ended_is_reported_in_a_sentence():
    job = rank_baseline.RankJob(2, [sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(RuntimeError, match="job of 2 ranks has ended with status 3"):
        job.ask(loss=True)
    job.close()


def test_the_script_writes_figures_and_prints_each_section(tmp_path):
    sizes = ("--batch", "2", "3", "--length", "3", "--inputs", "2", "--hidden-size", "4", "--rounds", "1")
    result = run_script(
        "bench.py", *sizes, "--cores", "1", "--ranks", "0", "--baselines", "reference", "--only", "steps", "memory",
        "inference",
        "--json", tmp_path / "b.json", "--plot", tmp_path / "b.png",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    for words in ("Same equations as minigru", "Training step: B=3", "RAM of training", "Images classified per second"):
        assert words in result.stdout
    found = json.loads((tmp_path / "b.json").read_text())
    assert {row["B"] for row in found["steps"] if row["ms"] > 0} == {2, 3}
    assert (tmp_path / "b.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "options",
    [
        "--only memory --plot b.png",
        "--ranks 1",
        "--only ranks --ranks 0",
        "--only everything",
        "--batch 0",
        "--cores 4096",
        "--baselines tensorflow",
    ],
)
def test_a_wrong_option_is_one_sentence(options):
    result = run_script("bench.py", *options.split())
    assert (result.returncode, result.stderr.count("\n")) == (2, 1)
    assert options.split()[-2] in result.stderr


def test_an_ablation_undoes_its_rearrangement_and_nothing_else():
    def wrong(params):
        engine = Engine(params)
        engine.adam.lr *= 2
        return engine

    ablation.verify(ablation.ABLATIONS)
    with pytest.raises(ValueError, match=r"without F0, gru.W_u differs by .*; nothing was timed"):
        ablation.verify({"F0": wrong})
    with pytest.raises(ValueError, match="there is no flush to undo"):
        ablation.present(np, "flush")
    for make, vanished in ((Engine, True), (ablation.ABLATIONS["F9"], False)):
        gru = make(baselines.initial(5, 6, 0)).model.cell
        gru.forward(np.zeros((600, 2, 5)))
        assert (abs(gru.backward(np.ones((2, 6)))[1]).max() == 0) == vanished


def test_a_saving_is_the_time_without_minus_the_time_with(monkeypatch):
    times = {"": np.array([1.0, 3.0]), "F9": np.array([4.0, 6.0])}
    monkeypatch.setattr(ablation, "time_in_rounds", lambda runs, rounds: times)
    (row,) = ablation.savings(["F9"], 3, 2, SimpleNamespace(threads=1, rounds=2))
    assert (row["ms"], row["saved_ms"], row["saved_share"]) == (2, 3, pytest.approx((3 / 4 + 1 / 2) / 2))


def test_recipes_prints_every_seed_and_reads_a_run_that_is_there(tmp_path):
    options = ("--data", "digits", "--recipes", "fast", "--seeds", "2", "--epochs", "1", "--out", tmp_path)
    first, second = (run_script("bench/recipes.py", *options) for _ in range(2))
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout  # with the same seconds
    assert "Test accuracy" in first.stderr
    assert second.stderr == ""
    assert [line.split()[1:8:2] for line in first.stdout.splitlines() if line.startswith("| fast")][:2] == [
        ["fast", "1", "0", "1"],
        ["fast", "1", "1", "1"],
    ]
