"""The command that runs everything on a GPU: it goes on after a failure, loses nothing, and times what it should."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import bench
import cuda_on_cpu
import fake_device
import on_gpu
import pytest
import step_cost
import train_mnist
from calling import assert_one_sentence, call
from helpers import ROOT, run_script

import minigru

needs_gcc = pytest.mark.skipif(bool(cuda_on_cpu.missing), reason=str(cuda_on_cpu.missing))


def figures(report: Path) -> tuple[str, dict]:
    text, _, found = report.read_text("utf-8").partition("\n== figures\n")
    return text, json.loads(found)


WRITE = """
import pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / "race.json").write_text("[3]")
(folder / "mnist").mkdir()
(folder / "mnist" / "history.csv").write_text("train_seconds\\n1.5\\n2.5")
print(7 * 6)
"""


@needs_gcc
def test_a_failure_does_not_stop_the_parts_after_it(monkeypatch, tmp_path):
    (tmp_path / "write.py").write_text(WRITE)
    commands = {
        "machine": [
            "no-such-program --version",
            "python -c 'raise SystemExit(4)'",
        ],  # not a Git repository, for instance
        "tests": ["python -c 'import sys; print(5 * 5, file=sys.stderr); sys.exit(3)'"],
        "race": [f"python {tmp_path / 'write.py'} FOLDER"],
        "cost": ["python -c 'print(8 * 8)'"],
    }
    monkeypatch.setattr(on_gpu, "COMMANDS", commands)
    with fake_device.installed():
        result = call(on_gpu, "--out", tmp_path / "a.txt", "--only", "race", "machine", "tests")
    assert result.returncode == 1, result.stderr
    text, found = figures(tmp_path / "a.txt")
    for shown in (text, result.stdout):
        assert [number in shown for number in ("25\n", "42\n", "64\n")] == [True, True, False]
        assert "no GPU: the fake device of the tests" in shown
    assert [row["status"] for row in found["done"]] == ["not installed", 4, 3, 0]
    assert (found["race"], found["mnist"]) == ([3], {"train_seconds": [1.5, 2.5]})
    assert "(failed: tests)" in result.stdout


@needs_gcc
def test_ctrl_c_loses_only_the_command_that_it_interrupts(monkeypatch, tmp_path):
    saves = "signal.signal(signal.SIGTERM, lambda *_: print(7 * 7) or sys.exit(0))"
    stops = "print(6 * 6); time.sleep(0.2); os.kill(os.getppid(), signal.SIGINT); time.sleep(60)"
    stopped = f"python -c 'import os, signal, sys, time; {saves}; {stops}'"
    commands = {"machine": ["python -c 'print(5 * 5)'"], "tests": [stopped], "race": ["python -V"]}
    monkeypatch.setattr(on_gpu, "COMMANDS", commands)
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with fake_device.installed():
        result = call(on_gpu, "--out", tmp_path / "a.txt")
    assert_one_sentence(result, 130, "what has run so far is in", str(tmp_path / "a.txt"))
    text, found = figures(tmp_path / "a.txt")
    assert [number in text for number in ("25\n", "36\n", "49\n")] == [True] * 3
    assert [row["status"] for row in found["done"]] == [0, "interrupted"]
    assert found["done"][1]["seconds"] < 30


def test_without_a_gpu_it_is_one_sentence_and_nothing_is_written(monkeypatch, tmp_path):
    def unavailable(name):
        raise minigru.BackendUnavailable(f"there is no {name}")

    for script in (on_gpu, step_cost):
        monkeypatch.setattr(script, "get_backend", unavailable)
    assert_one_sentence(call(on_gpu, "--out", tmp_path / "a.txt"), 2, "there is no cupy")
    assert_one_sentence(call(step_cost), 2, "there is no cupy")
    assert_one_sentence(call(on_gpu, "--out", tmp_path / "b" / "a.txt"), 2, "--out")
    assert [*tmp_path.iterdir()] == []


@needs_gcc
@pytest.mark.parametrize("added", [dict.fromkeys(on_gpu.COMMANDS, ""), on_gpu.SMALL], ids=["full", "small"])
def test_every_command_is_one_that_its_program_takes(added, monkeypatch, tmp_path):
    scripts = {module.__name__: module for module in (bench, step_cost, train_mnist)}
    tested = (ROOT / "tests" / "gpu" / "test_gpu.py").read_text("utf-8")
    assert added.keys() == on_gpu.COMMANDS.keys()
    for part, lines in on_gpu.COMMANDS.items():
        for line in lines:
            words = shlex.split(f"{line} {added[part]}".replace("FOLDER", str(tmp_path)))
            script = next((word for word in words if word.startswith("scripts/")), None)
            if script:
                module = scripts[Path(script).stem]
                parsed = SimpleNamespace(__name__=module.__name__, main=lambda module=module: module.parse_args() and 0)
                with fake_device.installed():
                    result = call(parsed, *words[2:])
                assert result.returncode == 0, result.stderr
            if "-k" in words:
                assert words[words.index("-k") + 1].split()[0] in tested


class Simulated:
    """A GPU with a queue: a step takes the host a millisecond to launch and the GPU 0.5; a product 0.01 and 2."""

    def __init__(self):
        self.host, self.free = 0.0, 0.0

    def launch(self, host, device):
        self.host += host
        self.free = max(self.free, self.host) + device

    def wait(self):
        self.host = max(self.host, self.free)

    def Event(self):
        def record():
            event.at = max(self.free, self.host)

        def synchronize():
            self.host = max(self.host, event.at)

        event = SimpleNamespace(record=record, synchronize=synchronize)
        return event

    def get_elapsed_time(self, start, end):
        return end.at - start.at


def test_the_cost_of_a_step_is_divided_into_that_of_the_host_and_that_of_the_gpu(monkeypatch):
    gpu = Simulated()
    monkeypatch.setattr(step_cost.time, "perf_counter", lambda: gpu.host / 1e3)
    step, busy = (lambda: gpu.launch(1, 0.5)), (lambda: gpu.launch(0.01, 2))
    assert step_cost.on_host(step, gpu.wait, 3) == pytest.approx(1e-3)
    assert step_cost.on_device(step, busy, 2e-3, 3, gpu) == pytest.approx(0.5e-3)
    assert step_cost.on_device(step, lambda: gpu.launch(0.01, 0.1), 2e-3, 3, gpu) == pytest.approx(0.5e-3)


@needs_gcc
def test_every_form_and_width_has_a_row(monkeypatch, tmp_path):
    cuda, gpu = fake_device.Module.cuda, Simulated()
    sizes = "--length 3 --inputs 2 --batch 2 --hidden-size 5 40 --rounds 2 --product 8"
    monkeypatch.setattr(cuda, "Event", gpu.Event, raising=False)
    monkeypatch.setattr(cuda, "get_elapsed_time", lambda start, end: 1.0, raising=False)
    with fake_device.installed():
        result = call(step_cost, *sizes.split(), "--json", tmp_path / "c.json")
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "c.json").read_text())["costs"]
    assert [row["H"] for row in rows] == [5] * 3 + [40] * 3
    assert len({row["name"] for row in rows}) == 3
    assert all(row["host_us"] > 0 and row["gpu_us"] == 1000 for row in rows)
    assert result.stdout.count("| minigru") == 6


@pytest.mark.gpu
def test_on_a_gpu_it_runs_in_a_small_size(tmp_path):
    try:
        minigru.get_backend("cupy")
    except minigru.BackendUnavailable as error:
        pytest.skip(f"no GPU to run this on: {error}")
    result = run_script("on_gpu.py", "--small", "--only", "cost", "mnist", "--out", tmp_path / "a.txt")
    assert result.returncode == 0, result.stdout + result.stderr
    _, found = figures(tmp_path / "a.txt")
    assert len(found["mnist"]["train_seconds"]) == 1
    assert all(row["host_us"] > 0 and row["gpu_us"] > 0 for row in found["cost"]["costs"])
