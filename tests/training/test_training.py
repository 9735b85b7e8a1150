"""Training as a user does it: the script, its files, its errors, and what survives an interruption."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import train_mnist
from helpers import ROOT, run_script
from matplotlib.image import imread

from minigru.training import checkpoint, data
from minigru.training.checkpoint import CheckpointError
from minigru.training.config import Config
from minigru.training.trainer import Diverged, Trainer

QUICK = ("--data", "digits", "--hidden-size", "16", "--epochs", "2")
FILES = {"checkpoint.npz", "history.csv", "config.json", "curves.png", "digits.png", "confusion.png"}
BLAS_IS_REPEATABLE = {"OPENBLAS_NUM_THREADS": "1"}


def arrays_of(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def assert_same_checkpoints(one, two):
    one, two = arrays_of(one), arrays_of(two)
    assert one.keys() == two.keys()
    assert [name for name in one if not np.array_equal(one[name], two[name])] == []


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """One finished run of the script, and what it printed."""
    out = tmp_path_factory.mktemp("run") / "out"
    result = run_script("train_mnist.py", *QUICK, "--out", out)
    assert result.returncode == 0, result.stderr
    return out, result.stdout.splitlines()


def test_script_writes_every_file_and_leaves_no_other(run):
    out, _ = run
    assert {path.name for path in out.iterdir()} == FILES


def test_script_prints_a_line_an_epoch_and_ends_with_the_accuracy(run):
    out, lines = run
    history = pd.read_csv(out / "history.csv")
    assert [line.split()[:2] for line in lines[:2]] == [["epoch", "1/2"], ["epoch", "2/2"]]
    for word in ("loss", "test loss", "test accuracy", " s ", "images/s"):
        assert word in lines[0]
    assert lines[2] == f"Test accuracy: {history['test_accuracy_percent'].iloc[-1]:.2f} % of 360 digits images"
    assert str(out) in lines[3]


def test_history_has_a_row_an_epoch_with_units(run):
    history = pd.read_csv(run[0] / "history.csv")
    assert list(history) == [
        "epoch", "train_loss_nats", "test_loss_nats", "test_accuracy_percent", "train_seconds", "images_per_second",
    ]  # fmt: skip
    assert list(history["epoch"]) == [1, 2]
    assert history["train_loss_nats"].iloc[1] < history["train_loss_nats"].iloc[0] < 2.5
    assert (history.to_numpy() > 0).all()


def test_config_says_what_was_run(run):
    config = json.loads((run[0] / "config.json").read_text("utf-8"))
    assert config["data"] == "digits"
    assert config["hidden_size"] == 16
    assert config["lr"] == 1e-3


def test_figures_are_pictures(run):
    for name in ("curves.png", "digits.png", "confusion.png"):
        picture = imread(run[0] / name)
        assert min(picture.shape[:2]) > 300
        assert picture[..., :3].std() > 0.05


def test_checkpoint_holds_the_model_that_was_measured(run):
    out, _ = run
    arrays, meta = checkpoint.read(out / "checkpoint.npz")
    dataset = data.load("digits")
    trainer = Trainer(Config(**meta["config"]), dataset, out)
    trainer.resume()
    _, accuracy, _ = trainer.evaluate()
    assert accuracy == pytest.approx(trainer.history["test_accuracy_percent"].iloc[-1])
    assert trainer.adam.t == 2 * 45 == arrays["adam.t"]
    assert trainer.epoch == 2


def test_default_recipe_is_the_article_s():
    config = Config()
    recipe = config.hidden_size, config.batch_size, config.epochs, config.lr, config.schedule
    assert recipe == (128, 32, 10, 1e-3, "constant")


def test_training_loss_is_the_mean_over_images_with_the_last_smaller_batch(tmp_path):
    dataset = data.load("digits")
    trainer = Trainer(Config(data="digits", lr=0.0, limit=70, epochs=1, dtype="float64"), dataset, tmp_path)
    expected = float(trainer.model.loss(dataset.x_train[:70], dataset.y_train[:70]))
    trainer.run(quiet=True)
    assert trainer.adam.t == 3
    assert trainer.history["train_loss_nats"].iloc[0] == pytest.approx(expected, rel=1e-6)


def test_each_epoch_sees_every_image_once_in_a_new_order(tmp_path, monkeypatch):
    dataset = data.load("digits")
    trainer = Trainer(Config(data="digits", hidden_size=2, epochs=2, limit=50), dataset, tmp_path)
    seen = []
    loss = trainer.model.loss
    monkeypatch.setattr(trainer.model, "loss", lambda x, y: seen.append(x.copy()) or loss(x, y))
    trainer.run(quiet=True)
    first, second = np.concatenate(seen[:2]), np.concatenate(seen[2:])
    assert [len(batch) for batch in seen] == [32, 18, 32, 18]
    assert not np.array_equal(first, second)
    for epoch in (first, second):
        assert sorted(image.tobytes() for image in epoch) == sorted(image.tobytes() for image in dataset.x_train[:50])


def interrupt_after(trainer, steps):
    """Press Ctrl-C when the optimiser has taken that many steps."""
    step = trainer.adam.step

    def stepping():
        step()
        if trainer.adam.t == steps:
            os.kill(os.getpid(), signal.SIGINT)

    trainer.adam.step = stepping


@pytest.mark.parametrize("steps", [1, 7, 10, 13], ids=["first step", "mid-epoch", "end of an epoch", "next epoch"])
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(schedule, steps, tmp_path):
    dataset = data.load("digits")
    config = Config(data="digits", hidden_size=8, epochs=2, limit=300, schedule=schedule, clip_norm=1.0)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    assert Trainer(config, dataset, tmp_path / "whole").run(quiet=True)

    first = Trainer(config, dataset, tmp_path / "parts")
    interrupt_after(first, steps)
    assert not first.run(quiet=True)
    assert first.adam.t == steps
    second = Trainer(config, dataset, tmp_path / "parts")
    second.resume()
    assert second.run(quiet=True)
    assert_same_checkpoints(tmp_path / "whole" / "checkpoint.npz", tmp_path / "parts" / "checkpoint.npz")
    histories = [pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "parts")]
    columns = ["epoch", "train_loss_nats", "test_loss_nats", "test_accuracy_percent"]
    pd.testing.assert_frame_equal(histories[0][columns], histories[1][columns], check_exact=True)


def test_ctrl_c_on_the_script_saves_and_resume_goes_on(tmp_path):
    options = ("--data", "digits", "--hidden-size", "64", "--epochs", "40", "--seed", "5")
    whole = run_script("train_mnist.py", *options, "--out", tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, str(ROOT / "scripts" / "train_mnist.py"), *options, "--out", str(tmp_path / "parts")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **BLAS_IS_REPEATABLE}
    )
    assert process.stdout.readline().startswith("epoch  1/40")
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Stopped and saved. Go on: python " in errors
    assert "Traceback" not in errors
    assert len(pd.read_csv(tmp_path / "parts" / "history.csv")) < 40
    resumed = run_script("train_mnist.py", "--out", tmp_path / "parts", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert_same_checkpoints(tmp_path / "whole" / "checkpoint.npz", tmp_path / "parts" / "checkpoint.npz")
    assert resumed.stdout.splitlines()[-2] == whole.stdout.splitlines()[-2]


def test_resume_with_more_epochs_goes_further(run, tmp_path):
    out = tmp_path / "out"
    assert run_script("train_mnist.py", *QUICK, "--out", out, "--quiet").returncode == 0
    result = run_script("train_mnist.py", "--out", out, "--resume", "--epochs", "3")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("epoch 3/3")
    assert list(pd.read_csv(out / "history.csv")["epoch"]) == [1, 2, 3]


def test_rnn_trains_too(tmp_path):
    result = run_script("train_mnist.py", *QUICK, "--model", "rnn", "--clip-norm", "1", "--out", tmp_path, "--quiet")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Test accuracy: ")


def assert_one_sentence(result, status, *words):
    assert result.returncode == status, result.stdout + result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--sped", "3"], ["unrecognized arguments: --sped 3"]),
        (["--backend", "jax"], ["--backend", "'jax'", "numpy", "cupy"]),
        (["--epochs", "ten"], ["--epochs", "'ten'"]),
        (["--epochs", "0"], ["epochs is 0; expected a whole number, at least 1"]),
        (["--hidden-size", "-3"], ["hidden_size is -3"]),
        (["--batch-size", "0"], ["batch_size is 0"]),
        (["--lr", "nan"], ["lr is nan"]),
        (["--lr", "-1"], ["lr is -1"]),
        (["--clip-norm", "0"], ["clip_norm is 0"]),
        (["--seed", "-1"], ["--seed", "-1 is negative"]),
        (["--limit", "0"], ["limit is 0"]),
        (["--limit", "100000"], ["limit is 100000; expected at most the 1437 training images"]),
        (["--resume"], ["--resume needs --out DIR"]),
        (["--out", ""], ["--out is empty"]),
        (["--ep", "3"], ["unrecognized arguments: --ep"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value[0].startswith("--") else "",
)
def test_a_wrong_option_is_one_sentence_and_exit_2(arguments, words, tmp_path):
    result = run_script(
        "train_mnist.py",
        "--data",
        "digits",
        *arguments,
        *([] if {"--resume", "--out"} & {*arguments} else ["--out", tmp_path / "o"]),
    )
    assert_one_sentence(result, 2, *words)
    assert not (tmp_path / "o").exists()


def test_help_teaches():
    result = run_script("train_mnist.py", "--help")
    assert result.returncode == 0
    for word in ("examples:", "--schedule cosine", "default: 0.001", "exit status"):
        assert word in result.stdout


def test_a_run_is_never_overwritten(run):
    out, _ = run
    before = (out / "checkpoint.npz").read_bytes()
    assert_one_sentence(
        run_script("train_mnist.py", *QUICK, "--out", out), 2, "already holds checkpoint.npz", "--resume"
    )
    assert (out / "checkpoint.npz").read_bytes() == before


def test_an_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    result = run_script("train_mnist.py", *QUICK, "--out", tmp_path / "file" / "out")
    assert_one_sentence(result, 2, f"--out {tmp_path / 'file' / 'out'} cannot be written to: Not a directory")


def test_a_file_of_mine_is_not_overwritten(tmp_path):
    (tmp_path / "config.json").write_text("mine")
    assert_one_sentence(run_script("train_mnist.py", *QUICK, "--out", tmp_path), 2, "already holds config.json")
    assert (tmp_path / "config.json").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_two_runs_in_the_same_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda form: "now")
    assert [str(train_mnist.claim(None, False)) for _ in range(3)] == ["runs/now", "runs/now-2", "runs/now-3"]


def test_fewer_epochs_than_are_done_are_refused(run):
    before = (run[0] / "config.json").read_bytes()
    result = run_script("train_mnist.py", "--out", run[0], "--resume", "--epochs", "1")
    assert_one_sentence(result, 2, "--epochs is 1, but", "has 2 epochs behind it")
    assert (run[0] / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": None}, {"epoch": "two"}, {"epoch": -1}, {"epoch": 99}, {"epoch": 1}, {"generator": None},
        {"generator": {"bit_generator": "MT19937"}}, {"config": None}, {"config": {"lr": 1}}, {"format": None},
    ],
    ids=str,
)  # fmt: skip
def test_meta_data_that_is_wrong_is_refused(change, run, tmp_path):
    arrays = arrays_of(run[0] / "checkpoint.npz")
    arrays["meta"] = np.array(json.dumps({**json.loads(str(arrays["meta"])), **change}))
    np.savez(tmp_path / "checkpoint.npz", **arrays)
    (tmp_path / "history.csv").write_bytes((run[0] / "history.csv").read_bytes())
    _, meta = checkpoint.read(run[0] / "checkpoint.npz")
    trainer = Trainer(Config(**meta["config"]), data.load("digits"), tmp_path)
    with pytest.raises(CheckpointError):
        trainer.resume()
    assert (trainer.epoch, trainer.adam.t) == (0, 0)
    assert_one_sentence(run_script("train_mnist.py", "--out", tmp_path, "--resume"), 2, str(tmp_path))


@pytest.mark.parametrize("history", [None, "", "a,b\n1,2\n", "swap", "two", "short"])
def test_a_history_that_does_not_go_with_the_checkpoint_is_refused(history, run, tmp_path):
    (tmp_path / "checkpoint.npz").write_bytes((run[0] / "checkpoint.npz").read_bytes())
    lines = (run[0] / "history.csv").read_text().splitlines(keepends=True)
    made = {
        "swap": lines[0] + lines[2] + lines[1],
        "two": lines[0] + lines[1] + "two" + lines[2][1:],
        "short": lines[0],
    }
    if history is not None:
        (tmp_path / "history.csv").write_text(made.get(history, history))
    assert_one_sentence(run_script("train_mnist.py", "--out", tmp_path, "--resume"), 2, "history.csv")


def test_resume_with_another_configuration_is_refused(run):
    _, meta = checkpoint.read(run[0] / "checkpoint.npz")
    trainer = Trainer(Config(**{**meta["config"], "lr": 0.5}), data.load("digits"), run[0])
    with pytest.raises(CheckpointError, match="was made with"):
        trainer.resume()


def test_the_history_is_written_before_the_checkpoint(tmp_path, monkeypatch):
    """Killed between the two, a run loses nothing: the row of an epoch that the checkpoint lacks is dropped."""
    dataset = data.load("digits")
    trainer = Trainer(Config(data="digits", hidden_size=4, epochs=3, limit=64), dataset, tmp_path)
    trainer.config = dataclasses.replace(trainer.config, epochs=1)
    trainer.run(quiet=True)
    trainer.config = dataclasses.replace(trainer.config, epochs=3)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", lambda *args: (_ for _ in ()).throw(OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            trainer.run(quiet=True)
    again = Trainer(trainer.config, dataset, tmp_path)
    again.resume()
    assert again.epoch == 1
    again.run(quiet=True)
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1, 2, 3]


CHANGES = {"seed": 1, "lr": 0.01, "schedule": "cosine", "clip_norm": 0.1, "batch_size": 16, "model": "rnn", "limit": 50}


@pytest.mark.parametrize("name", CHANGES)
def test_every_option_changes_the_result(name, tmp_path):
    dataset, vectors = data.load("digits"), []
    for change in ({}, {name: CHANGES[name]}):
        base = {"data": "digits", "hidden_size": 4, "epochs": 2, "limit": 64}
        trainer = Trainer(Config(**(base | change)), dataset, tmp_path)
        trainer.run(quiet=True)
        vectors.append(trainer.model.vector)
    assert not np.array_equal(*vectors)


def test_cosine_takes_the_rate_from_lr_to_almost_0_over_all_steps(tmp_path):
    config = Config(data="digits", hidden_size=4, epochs=2, limit=64, schedule="cosine", lr=0.1)
    trainer = Trainer(config, data.load("digits"), tmp_path)
    rates, step = [], trainer.adam.step
    trainer.adam.step = lambda: rates.append(trainer.adam.lr) or step()
    trainer.run(quiet=True)
    assert rates == pytest.approx([0.05 * (1 + np.cos(np.pi * t / 4)) for t in range(4)])


@pytest.mark.parametrize(
    ("plant", "message"), [("parameter", "a parameter is not finite"), ("score", "a score of a test")]
)
def test_a_parameter_or_a_test_score_that_is_not_finite_stops_the_run(plant, message, tmp_path):
    trainer = Trainer(Config(data="digits", hidden_size=4, epochs=1, limit=64), data.load("digits"), tmp_path)
    if plant == "parameter":
        step = trainer.adam.step
        trainer.adam.step = lambda: step() or trainer.adam.t < 2 or trainer.model.vector.__setitem__(0, np.nan)
    else:
        trainer.model.logits = lambda x: np.full((len(x), 10), np.inf)
    with pytest.raises(Diverged, match=message):
        trainer.run(quiet=True)
    assert not (tmp_path / "checkpoint.npz").exists()


def test_images_are_counted_once_when_an_epoch_is_resumed(tmp_path, monkeypatch):
    config = Config(data="digits", hidden_size=4, epochs=1, limit=300)
    first = Trainer(config, data.load("digits"), tmp_path)
    interrupt_after(first, 4)
    first.run(quiet=True)
    second = Trainer(config, data.load("digits"), tmp_path)
    second.resume()
    counted, finish = [], second._finish_epoch
    monkeypatch.setattr(second, "_finish_epoch", lambda s, images: counted.append(images) or finish(s, images))
    second.run(quiet=True)
    assert counted == [300 - 4 * 32]


def test_a_second_ctrl_c_is_as_usual_and_the_last_checkpoint_stays(tmp_path):
    trainer = Trainer(Config(data="digits", hidden_size=4, epochs=2, limit=64), data.load("digits"), tmp_path)
    trainer.save()
    before = (tmp_path / "checkpoint.npz").read_bytes()
    step = trainer.adam.step

    def stepping():
        step()
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    trainer.adam.step = stepping
    with pytest.raises(KeyboardInterrupt):
        trainer.run(quiet=True)
    assert (tmp_path / "checkpoint.npz").read_bytes() == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_bar_is_drawn_on_a_terminal_and_nowhere_else(tmp_path):
    pty = pytest.importorskip("pty", reason="this system has no pseudo-terminals")
    termios = pytest.importorskip("termios", reason="this system has no terminals")
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80)) if hasattr(termios, "tcsetwinsize") else pytest.skip("needs Python 3.11")
    command = [sys.executable, str(ROOT / "scripts" / "train_mnist.py"), *QUICK, "--out", str(tmp_path / "o")]
    process = subprocess.run(command, stderr=theirs, stdout=subprocess.DEVNULL, timeout=120)
    os.set_blocking(ours, False)
    drawn = os.read(ours, 65536).decode()
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 0
    assert "epoch 1:" in drawn
    assert "batch" in drawn
    assert run_script("train_mnist.py", *QUICK, "--out", tmp_path / "p").stderr == ""


def test_a_reader_that_goes_away_is_no_failure():
    command = f"{sys.executable} {ROOT / 'scripts' / 'check_gradients.py'} --size small --cell rnn | head -n 2"
    result = subprocess.run(["bash", "-c", f"{command}; echo ${{PIPESTATUS[0]}}"], capture_output=True, text=True)
    assert result.stderr == ""
    assert result.stdout.splitlines()[-1] in ("0", "141")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "rnn"], ["--model is rnn", "was made with gru"]),
        (["--hidden-size", "8"], ["--hidden-size is 8", "was made with 16"]),
        (["--lr", "0.5"], ["--lr is 0.5"]),
    ],
    ids=["model", "size", "rate"],
)
def test_resume_of_another_architecture_or_recipe(arguments, words, run):
    out, _ = run
    before = (out / "checkpoint.npz").read_bytes()
    assert_one_sentence(run_script("train_mnist.py", "--out", out, "--resume", *arguments), 2, *words)
    assert (out / "checkpoint.npz").read_bytes() == before


@pytest.mark.parametrize("damage", ["missing", "empty", "half", "flipped", "foreign", "text"])
def test_resume_of_a_damaged_checkpoint(damage, run, tmp_path):
    content = bytearray((run[0] / "checkpoint.npz").read_bytes())
    path = tmp_path / "checkpoint.npz"
    if damage == "foreign":
        np.savez(path, W=np.ones(3))
    elif damage != "missing":
        content[len(content) // 2] ^= 255
        kinds = {"empty": b"", "half": content[: len(content) // 2], "flipped": content, "text": b"not an archive"}
        path.write_bytes(kinds[damage])
    before = path.read_bytes() if path.exists() else None
    words = "there is no checkpoint" if damage == "missing" else "is damaged or is not a checkpoint of minigru"
    assert_one_sentence(run_script("train_mnist.py", "--out", tmp_path, "--resume"), 2, words)
    assert (path.read_bytes() if path.exists() else None) == before


def test_restore_refuses_what_does_not_fit_and_changes_nothing(run, tmp_path):
    arrays, meta = checkpoint.read(run[0] / "checkpoint.npz")
    trainer = Trainer(Config(**meta["config"]), data.load("digits"), tmp_path)
    before = trainer.model.vector.copy()
    wrong = {
        "of another model: linear.W is float32": {**arrays, "linear.W": arrays["linear.W"][:-1]},
        "linear.b is no such array": {name: array for name, array in arrays.items() if name != "linear.b"},
        "adam.m holds numbers that are not finite": {**arrays, "adam.m": arrays["adam.m"] * np.nan},
        "losses is no list": {name: array for name, array in arrays.items() if name != "losses"},
        "losses is no list of finite": {**arrays, "losses": np.array([np.nan])},
        "losses is no": {**arrays, "losses": np.ones((2, 2))},
        "adam.t is no number of steps": {**arrays, "adam.t": np.array(-5)},
        "adam.t is no number": {**arrays, "adam.t": np.array([1, 2])},
    }
    for message, changed in wrong.items():
        with pytest.raises(CheckpointError, match=message):
            checkpoint.restore(tmp_path, changed, trainer.model, trainer.adam)
        assert np.array_equal(trainer.model.vector, before)


def test_a_later_format_is_refused(run, tmp_path):
    arrays = arrays_of(run[0] / "checkpoint.npz")
    arrays["meta"] = np.array(json.dumps({**json.loads(str(arrays["meta"])), "format": 2}))
    np.savez(tmp_path / "checkpoint.npz", **arrays)
    with pytest.raises(CheckpointError, match="format 2; expected 1"):
        checkpoint.read(tmp_path / "checkpoint.npz")


def test_nan_in_the_loss_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path):
    dataset = data.load("digits")
    trainer = Trainer(Config(data="digits", hidden_size=8, epochs=3, limit=320), dataset, tmp_path)
    loss = trainer.model.loss
    trainer.model.loss = lambda x, y: loss(x, y) if trainer.adam.t != 14 else np.float32("nan")
    with pytest.raises(Diverged, match=r"the loss is nan at step 15 \(epoch 2, batch 5\); the last good checkpoint is"):
        trainer.run(quiet=True)
    again = Trainer(trainer.config, dataset, tmp_path)
    again.resume()
    assert (again.epoch, again.adam.t) == (1, 10)


def test_divergence_on_the_script_is_one_sentence_and_exit_1(tmp_path):
    result = run_script("train_mnist.py", *QUICK, "--lr", "1e38", "--out", tmp_path / "o")
    assert_one_sentence(result, 1, "at step", "no checkpoint had been written yet", "--lr")


def test_cupy_without_a_gpu_is_one_sentence_and_exit_2(tmp_path):
    probe = subprocess.run([sys.executable, "-c", "import cupy; cupy.ones(2) @ cupy.ones(2)"], capture_output=True)
    if probe.returncode == 0:
        pytest.skip("a GPU works here: what is said without one cannot be seen")
    result = run_script("train_mnist.py", *QUICK, "--backend", "cupy", "--out", tmp_path / "o")
    assert_one_sentence(result, 2, "--backend numpy")
    assert not (tmp_path / "o").exists()


def test_without_network_mnist_fails_with_one_sentence_and_auto_goes_on(tmp_path):
    offline = {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy")}
    options = ("--data-home", tmp_path / "home", "--out", tmp_path / "o")
    result = run_script("train_mnist.py", "--data", "mnist", *options, **offline)
    assert result.returncode == 2
    assert "could not be fetched" in result.stderr.splitlines()[-1]
    assert "--data digits" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr
    result = run_script("train_mnist.py", "--epochs", "1", "--hidden-size", "8", *options, **offline)
    assert result.returncode == 0, result.stderr
    assert "This is not MNIST" in result.stderr
    assert json.loads((tmp_path / "o" / "config.json").read_text("utf-8"))["data"] == "digits"


def test_a_full_disk_in_the_middle_of_a_run_is_one_sentence_and_exit_1(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import minigru.checkpoint, errno, os\n"
        "def full(*args):\n"
        "    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "minigru.checkpoint.save = full\n"
    )
    result = run_script("train_mnist.py", *QUICK, "--out", tmp_path / "o", PYTHONPATH=str(tmp_path))
    assert_one_sentence(result, 1, "No space left on device")
