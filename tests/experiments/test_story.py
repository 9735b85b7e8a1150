"""The scripts of the story: each draws its figures, and bad input is one sentence."""

from __future__ import annotations

import argparse
import re
import subprocess

import agreement
import gates
import make_figures
import numpy as np
import predict
import pytest
import show_batch
import vanishing_gradient
from helpers import ROOT
from PIL import Image

from minigru.plots import digits as digit_plots


def test_show_batch_shows_what_the_seed_chose(call, drawn, dataset, tmp_path):
    given = drawn(digit_plots, "digit_grid")
    status, out, _ = call(show_batch, "--data", "digits", "--batch-size", 11, "--seed", 4, "--out", tmp_path / "new")
    assert status == 0
    chosen = np.random.default_rng(4).permutation(len(dataset.x_train))[:11]
    images, labels, _ = given[0]
    assert np.array_equal(images, dataset.x_train[chosen])
    assert np.array_equal(labels, dataset.y_train[chosen])
    assert "labels: " + " ".join(map(str, labels)) in out
    assert f"Figure: {tmp_path / 'new' / 'batch.png'}" in out


BAD = [
    (predict, ["{tmp}"], "there is no checkpoint {tmp}/checkpoint.npz"),
    (predict, ["{tmp}/foreign.npz"], "not a checkpoint of minigru"),
    (predict, ["{run}", "--index", "360"], "--index is 360; expected 0 to 359"),
    (predict, ["{run}", "--image", "{tmp}/none.png"], "{tmp}/none.png does not exist"),
    (predict, ["{run}", "--image", "{tmp}/blank.png"], "blank.png: the picture is blank"),
    (predict, ["{run}", "--image", ""], "--image: it is empty"),
    (gates, ["{rnn}"], "has the cell 'rnn'; expected a run of a GRU"),
    (gates, ["{run}", "--index", "360"], "--index is 360; expected 0 to 359"),
    (show_batch, ["--data", "digits", "--batch-size", "101"], "--batch-size is 101; expected at most 100"),
    (show_batch, ["--seed", "-1"], "--seed is -1; expected a whole number, at least 0"),
    (agreement, ["--sentence", "the walrus slept"], "'walrus' is not in the vocabulary"),
    (vanishing_gradient, ["--lr", "nan"], "--lr"),
    (vanishing_gradient, ["--lengths", "1"], "--lengths contains 1; expected 2 and more"),
    (vanishing_gradient, ["--lengths", "1000000000"], "--lengths contains 1000000000; expected at most 10,000"),
    (vanishing_gradient, ["--steps", "0"], "--steps is 0; expected a whole number, at least 1"),
]


@pytest.mark.parametrize(
    ("script", "arguments", "message"), BAD, ids=[f"{s.__name__} {' '.join(a)}" for s, a, _ in BAD]
)
def test_bad_input_is_one_sentence_and_exit_2(script, arguments, message, run, rnn_run, call, tmp_path):
    (tmp_path / "foreign.npz").write_bytes(b"not an archive")
    (tmp_path / "file").write_text("")
    Image.new("L", (30, 30), 255).save(tmp_path / "blank.png")
    if "--out" not in arguments:
        arguments = [*arguments, "--out", "{tmp}/figures"]
    known = {"tmp": tmp_path, "run": run.folder, "rnn": rnn_run.folder}
    status, _, err = call(script, *(argument.format(**known) for argument in arguments))
    assert status == 2
    assert message.format(**known) in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize(("script", "small"), [(agreement, ["--tests", "2"]), (vanishing_gradient, ["--lengths", "4"])])
def test_a_diverging_training_is_one_sentence_and_exit_1(script, small, call, tmp_path):
    status, _, err = call(script, "--steps", 3, "--lr", 1e38, *small, "--out", tmp_path / "f")
    assert status == 1
    assert "is nan after 3 steps: try a smaller --lr" in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "f").exists()


def test_make_figures_trains_or_resumes_and_then_runs_each_script(call, tmp_path, run):
    _, out, _ = call(make_figures, "--dry-run", "--run", tmp_path / "r", "--out", tmp_path)
    scripts = re.findall(r"^\$ python (\S+)", out, re.MULTILINE)
    assert scripts[0] == "scripts/train_mnist.py"
    assert {"story/show_batch.py", "story/vanishing_gradient.py", "story/agreement.py", "story/gates.py"} <= {
        script.removeprefix("scripts/") for script in scripts
    }
    assert all((ROOT / script).is_file() for script in scripts)
    assert "--resume" not in out
    _, out, _ = call(make_figures, "--dry-run", "--run", run.folder, "--data", "digits", "--out", tmp_path)
    assert f"--out {run.folder} --resume" in out


def test_make_figures_stops_at_the_first_script_that_fails(call, tmp_path, monkeypatch):
    ran = []
    statuses = iter([0, 3, 0])
    process = argparse.Namespace(wait=lambda: next(statuses))
    monkeypatch.setattr(subprocess, "Popen", lambda line: ran.append(line) or process)
    status, _, _ = call(make_figures, "--run", tmp_path / "r", "--out", tmp_path / "f")
    assert (status, len(ran)) == (3, 2)
