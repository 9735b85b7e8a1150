"""Training as a user does it: the script, its files, its errors, and what survives an interruption."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import train_mnist
from calling import assert_one_sentence, call
from helpers import ROOT
from matplotlib.image import imread
from threadpoolctl import threadpool_info, threadpool_limits

import minigru
from minigru import cli
from minigru.training import checkpoint
from minigru.training.config import Config
from minigru.training.data import DataUnavailable
from minigru.training.run import claim

QUICK = ("--data", "digits", "--hidden-size", "16", "--epochs", "2")
FILES = {"checkpoint.npz", "history.csv", "config.json", "curves.png", "digits.png", "confusion.png"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One finished run of the script, and what it printed."""
    out = tmp_path_factory.mktemp("run") / "out"
    result = call(train_mnist, *QUICK, "--out", out)
    assert (result.returncode, result.stderr) == (0, "")  # no bar where no terminal is
    return out, result.stdout.splitlines()


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Save the second per run that figures take; those of `run` are drawn, before this is called."""
    monkeypatch.setattr(train_mnist, "draw", lambda *args: None)


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def assert_same_checkpoints(one, two):
    with np.load(one / "checkpoint.npz") as one, np.load(two / "checkpoint.npz") as two:
        assert one.files == two.files
        assert [name for name in one.files if not np.array_equal(one[name], two[name])] == []


def test_a_run_leaves_what_it_prints(run):
    out, lines = run
    assert {path.name for path in out.iterdir()} == FILES
    history, config = pd.read_csv(out / "history.csv"), json.loads((out / "config.json").read_text("utf-8"))
    assert list(history) == [
        "epoch", "train_loss_nats", "test_loss_nats", "test_accuracy_percent", "train_seconds", "images_per_second",
    ]  # fmt: skip
    assert list(history["epoch"]) == [1, 2]
    assert history["train_loss_nats"].iloc[1] < history["train_loss_nats"].iloc[0] < 2.5
    assert (history.to_numpy() > 0).all()
    assert [line.split()[:2] for line in lines[:2]] == [["epoch", "1/2"], ["epoch", "2/2"]]
    assert f"loss {history['train_loss_nats'][0]:.4f}  test loss {history['test_loss_nats'][0]:.4f}" in lines[0]
    assert lines[2] == f"Test accuracy: {history['test_accuracy_percent'].iloc[-1]:.2f} % of 360 digits images"
    assert str(out) in lines[3]
    assert (config["data"], config["hidden_size"], config["lr"]) == ("digits", 16, 1e-3)
    for name in ("curves.png", "digits.png", "confusion.png"):
        picture = imread(out / name)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.05


def test_sigterm_to_the_script_saves_and_resume_goes_on_to_the_same_numbers(tmp_path):
    options = ("--data", "digits", "--hidden-size", "32", "--epochs", "40", "--seed", "5")
    whole = call(train_mnist, *options, "--out", tmp_path / "whole")
    command = [sys.executable, str(ROOT / "scripts" / "train_mnist.py"), *options, "--out", str(tmp_path / "parts")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith("epoch  1/40")
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Stopped and saved. Go on: python " in errors
    assert errors.count("\n") == 1
    assert len(pd.read_csv(tmp_path / "parts" / "history.csv")) < 40
    resumed = call(train_mnist, "--out", tmp_path / "parts", "--resume")
    assert (whole.returncode, resumed.returncode) == (0, 0), resumed.stderr
    assert_same_checkpoints(tmp_path / "whole", tmp_path / "parts")
    assert resumed.stdout.splitlines()[-2] == whole.stdout.splitlines()[-2]


def test_ctrl_c_before_the_first_step_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("minigru.training.data.load", Mock(side_effect=KeyboardInterrupt))
    assert_one_sentence(call(train_mnist, *QUICK, "--out", tmp_path / "o"), 130, "train_mnist.py: stopped")
    assert not (tmp_path / "o").exists()


def test_resume_with_more_epochs_goes_further(tmp_path):
    options = ("--model", "rnn", "--clip-norm", "1", "--quiet")
    assert call(train_mnist, *QUICK, *options, "--out", tmp_path).stdout.startswith("Test accuracy: ")
    result = call(train_mnist, "--out", tmp_path, "--resume", "--epochs", "3", "--data", "auto")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("epoch 3/3")
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1, 2, 3]


WRONG = [
    (["--sped", "3"], "unrecognized arguments: --sped 3"),
    (["--ep", "3"], "unrecognized arguments: --ep"),
    (["--backend", "jax"], "--backend is 'jax'; expected one of 'numpy', 'cupy'"),
    (["--epochs", "ten"], "--epochs is 'ten'; expected a whole number, at least 1"),
    (["--epochs", "0"], "--epochs is 0; expected a whole number, at least 1"),
    (["--hidden-size", "-3"], "--hidden-size is -3"),
    (["--batch-size", "0"], "--batch-size is 0"),
    (["--lr", "nan"], "--lr is nan"),
    (["--lr", "fast"], "--lr is 'fast'; expected a finite number at least 0"),
    (["--clip-norm", "0"], "--clip-norm is 0"),
    (["--seed", "-1"], "--seed is -1; expected a whole number, at least 0"),
    (["--limit", "0"], "--limit is 0"),
    (["--limit", "100000"], "limit is 100000; expected at most the 1437 training images"),
    (["--threads", "0"], "--threads is 0; expected a whole number, at least 1"),
    (["--resume"], "--resume needs --out DIR"),
    (["--out", ""], "--out: it is empty"),
]


@pytest.mark.parametrize(("arguments", "words"), WRONG, ids=[" ".join(arguments) for arguments, _ in WRONG])
def test_a_wrong_option_is_one_sentence_and_exit_2(arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(call(train_mnist, "--data", "digits", *arguments), 2, words)
    assert [*tmp_path.glob("runs/*")] == []


@pytest.mark.parametrize(
    ("name", "value"), [("lr", "fast"), ("lr", None), ("dtype", "int8"), ("seed", 0.5), ("pixels", 1)]
)
def test_the_configuration_checks_its_options_too(name, value):
    with pytest.raises(ValueError, match=f"{name} is {value!r}; expected"):
        Config(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [("hidden_size", np.int64(8), 8), ("lr", np.float32(0.5), 0.5), ("clip_norm", np.float64(1), 1.0), ("lr", 1, 1.0)],
)
def test_a_configuration_holds_plain_numbers_that_json_can_hold(name, value, kept):
    found = json.loads(json.dumps(vars(Config(**{name: value}))))[name]
    assert (found, type(found)) == (kept, type(kept))


def test_help_teaches():
    result = call(train_mnist, "--help")
    assert result.returncode == 0
    for word in (
        "examples:",
        "--schedule {constant,cosine,warmup-cosine}",
        "--recipe {article,fast,best}",
        "default: 0.001",
        "exit status",
    ):
        assert word in result.stdout


REFUSED = [
    (["--epochs", "1"], "epochs is 1; expected at least 2"),
    (["--model", "rnn"], "model is 'rnn', but", "was made with 'gru'"),
    (["--hidden-size", "8"], "hidden_size is 8, but", "was made with 16"),
    (["--lr", "0.5"], "lr is 0.5, but"),
]


@pytest.mark.parametrize(("arguments", "words"), [(given, words) for given, *words in REFUSED])
def test_resume_with_another_recipe_is_refused(arguments, words, run):
    before = content(run[0])
    assert_one_sentence(call(train_mnist, "--out", run[0], "--resume", *arguments), 2, *words)
    assert content(run[0]) == before


def test_results_and_files_of_mine_are_never_overwritten(run, tmp_path):
    before = content(run[0])
    assert_one_sentence(call(train_mnist, *QUICK, "--out", run[0]), 2, "already holds checkpoint.npz", "resume its run")
    assert content(run[0]) == before
    (tmp_path / "config.json").write_text("mine")
    assert_one_sentence(call(train_mnist, *QUICK, "--out", tmp_path), 2, "already holds config.json")
    assert content(tmp_path) == {"config.json": b"mine"}
    below = tmp_path / "config.json" / "out"
    assert_one_sentence(
        call(train_mnist, *QUICK, "--out", below), 2, f"the folder {below} cannot be written to: Not a dir"
    )


@pytest.mark.parametrize("out", ["p/q/r", "there/p/q", "p/" + 300 * "q"])
def test_a_run_that_cannot_begin_leaves_no_folder(out, tmp_path):
    (tmp_path / "there").mkdir()
    assert call(train_mnist, *QUICK, "--limit", "100000", "--out", tmp_path / out).returncode == 2
    assert [*tmp_path.rglob("*")] == [tmp_path / "there"]


def test_what_cannot_be_removed_does_not_hide_why_a_run_cannot_begin(tmp_path, monkeypatch):
    full = Mock(side_effect=OSError(errno.EIO, "no disk"))
    for name in ("unlink", "rmdir"):
        monkeypatch.setattr(f"pathlib.Path.{name}", full)
    assert_one_sentence(call(train_mnist, *QUICK, "--limit", "100000", "--out", tmp_path / "o"), 2, "limit is 100000")


def test_two_runs_in_the_same_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "now")
    with claim(None, False) as one, claim(None, False) as two, claim(None, False) as three:
        assert [str(folder) for folder, _ in (one, two, three)] == ["runs/now", "runs/now-2", "runs/now-3"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_run_in_one_folder_is_refused_while_the_first_one_runs(resume, run, tmp_path):
    shutil.copytree(run[0], tmp_path / "o")
    with claim(tmp_path / "o", True):
        options = ["--resume"] if resume else QUICK
        assert_one_sentence(call(train_mnist, *options, "--out", tmp_path / "o"), 2, "another run is working in")
    assert {path.name for path in (tmp_path / "o").iterdir()} == FILES


def test_what_killed_runs_leave_is_removed_and_locks_nothing(tmp_path):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    names = (".lock", f".digits.png.{dead.pid}", f".checkpoint.npz.{dead.pid}")
    others = {f".digits.png.{os.getppid()}", ".digits.png.old", f".mine.{dead.pid}"}
    for name in (*names, *others):
        (tmp_path / name).touch()
    assert call(train_mnist, *QUICK, "--limit", "32", "--out", tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} - FILES == others


@pytest.mark.parametrize("there", ["file", "link"])
def test_runs_that_is_no_folder_is_one_sentence(there, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if there == "file":
        (tmp_path / "runs").touch()
    else:
        (tmp_path / "runs").symlink_to("nowhere")
    assert_one_sentence(call(train_mnist, *QUICK), 2, "the folder runs cannot be written to", "choose another")
    assert_one_sentence(call(train_mnist, *QUICK, "--out", "runs"), 2, "the folder runs cannot be written to")


@pytest.mark.parametrize("options", [(), ("--lr", "1e-3")], ids=["the same", "another rate"])
def test_a_run_without_a_checkpoint_starts_again(options, tmp_path):
    first = call(train_mnist, *QUICK, "--lr", "1e-3" if not options else "1e38", "--epochs", "1", "--out", tmp_path)
    assert first.returncode == (1 if options else 0)
    (tmp_path / "checkpoint.npz").unlink(missing_ok=True)
    assert_one_sentence(call(train_mnist, *QUICK, *options, "--out", tmp_path), 2, "resume its run")
    again = call(train_mnist, *options, "--out", tmp_path, "--resume")
    assert (again.returncode, again.stderr.count("\n")) == (0, 1)
    assert "starts from the beginning" in again.stderr
    stored = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert (stored["hidden_size"], stored["epochs"], stored["lr"]) == (16, 1, 1e-3)


CIRCLES = [((), "start a new run"), (("curves.png",), "in another folder"), (("config.json",), "in another folder")]


@pytest.mark.parametrize(("names", "words"), CIRCLES)
def test_a_refusal_to_resume_does_not_point_at_another_refusal(names, words, tmp_path):
    for name in names:
        (tmp_path / name).write_text("{}")
    assert_one_sentence(call(train_mnist, "--out", tmp_path, "--resume"), 2, "there is no checkpoint", words)
    assert {path.name for path in tmp_path.iterdir()} == {*names}


def test_data_that_is_gone_is_not_replaced_in_a_resumed_run(run, tmp_path, monkeypatch):
    shutil.copytree(run[0], tmp_path / "o")
    monkeypatch.setattr("minigru.training.data.load", Mock(side_effect=DataUnavailable("gone", "fetch them")))
    resumed = call(train_mnist, "--out", tmp_path / "o", "--resume")
    assert_one_sentence(resumed, 2, "gone")
    assert "--data digits" not in resumed.stderr


def test_a_reader_that_goes_away_is_exit_141_without_a_word():
    program = "from minigru import cli; cli.run(lambda: [print('a' * 80) for _ in range(10**5)] and 0)"
    command = f'{sys.executable} -c "{program}" | head -n 1; echo ${{PIPESTATUS[0]}}'
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert (result.stdout.splitlines()[-1], result.stderr) == ("141", "")


def test_divergence_is_one_sentence_and_exit_1(tmp_path):
    result = call(train_mnist, *QUICK, "--lr", "1e38", "--out", tmp_path / "o")
    assert_one_sentence(result, 1, "at step", "no checkpoint had been written yet: start again with a smaller lr")


def test_a_full_disk_in_the_middle_of_a_run_is_one_sentence_and_exit_1(tmp_path, monkeypatch):
    full = Mock(side_effect=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    monkeypatch.setattr(checkpoint, "save", full)
    assert_one_sentence(call(train_mnist, *QUICK, "--out", tmp_path / "o"), 1, "No space left on device")


def test_cupy_without_a_gpu_is_one_sentence_and_exit_2(tmp_path):
    try:
        minigru.get_backend("cupy")
    except minigru.BackendUnavailable:
        result = call(train_mnist, *QUICK, "--backend", "cupy", "--out", tmp_path / "o")
        assert_one_sentence(result, 2, "--backend numpy")
        assert not (tmp_path / "o").exists()
    else:
        pytest.skip("a GPU works here: what is said without one cannot be seen")


def test_without_network_mnist_is_one_sentence_and_auto_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("sklearn.datasets.fetch_openml", Mock(side_effect=OSError("no route to host")))
    options = ("--hidden-size", "8", "--epochs", "1", "--data-home", tmp_path / "home", "--out", tmp_path / "o")
    result = call(train_mnist, "--data", "mnist", *options)
    assert result.returncode == 2
    reading, error = result.stderr.splitlines()
    assert reading.startswith("Reading MNIST")
    assert "could not be fetched (OSError: no route to host)" in error
    assert "or use the data 'digits'" in error
    assert not (tmp_path / "o").exists()
    result = call(train_mnist, *options)
    assert result.returncode == 0, result.stderr
    assert "This is not MNIST" in result.stderr
    assert json.loads((tmp_path / "o" / "config.json").read_text("utf-8"))["data"] == "digits"


THREADS = [
    (None, 32, 1, {}, [1]),
    (None, 127, 1, {}, [1]),
    (None, 128, 1, {}, []),
    (None, 512, 2, {}, [1]),
    (3, 32, 2, {}, [3]),
    (None, 32, 2, {"OMP_NUM_THREADS": "2"}, []),
    (4, 32, 1, {"OPENBLAS_NUM_THREADS": "2"}, [4]),
]


@pytest.mark.parametrize(("threads", "B", "ranks", "environment", "expected"), THREADS)
def test_one_blas_thread_for_small_products_and_for_ranks(threads, B, ranks, environment, expected, monkeypatch):
    for name in cli.BLAS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    limited = []
    monkeypatch.setattr(cli, "threadpool_limits", lambda count, user_api: limited.append(count))
    cli.limit_blas(threads, B, 128, ranks)
    assert limited == expected


@pytest.mark.parametrize(("options", "expected"), [((), 1), (("--threads", "2"), 2)])
def test_the_script_sets_the_number_of_blas_threads(options, expected, tmp_path, monkeypatch):
    for name in cli.BLAS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with threadpool_limits(3 - expected, user_api="blas"):  # put back afterwards
        assert call(train_mnist, *QUICK, "--limit", "32", *options, "--out", tmp_path / "o").returncode == 0
        assert {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"} == {expected}


STOPPED = """
import time
from minigru import cli
def main():
    print("ready", flush=True)
    time.sleep(60)
cli.run(main)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process in place of sending a signal")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_every_script_says_that_a_signal_has_stopped_it(name):
    signum = getattr(signal, name)
    process = subprocess.Popen([sys.executable, "-c", STOPPED], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signum)
    assert process.communicate(timeout=30)[1] == b"-c: stopped\n"
    assert process.returncode == 128 + signum


def test_a_recipe_is_overridden_by_an_option_stored_and_resumed(tmp_path):
    assert call(train_mnist, *QUICK, "--recipe", "fast", "--lr", "0.01", "--out", tmp_path).returncode == 0
    config = checkpoint.read(tmp_path / "checkpoint.npz").config
    assert (config.recipe, config.lr, config.epochs) == ("fast", 0.01, 2)
    assert (config.batch_size, config.schedule, config.clip_norm) == (32, "warmup-cosine", 1)
    assert call(train_mnist, "--recipe", "fast", "--out", tmp_path, "--resume").returncode == 0
    assert_one_sentence(call(train_mnist, "--recipe", "slow", "--out", tmp_path), 2, "--recipe is 'slow'; expected")
