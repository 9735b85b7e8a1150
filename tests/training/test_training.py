"""The Trainer: every image once per epoch, stopped and resumed bit for bit, and nothing that is not finite."""

from __future__ import annotations

import dataclasses
import io
import os
import signal
import sys
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest

from minigru.training import checkpoint, data, history
from minigru.training.config import Config
from minigru.training.trainer import Diverged, Trainer

SMALL = Config(data="digits", hidden_size=4, epochs=2, limit=64)  # two steps per epoch


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


def small(**change):
    return dataclasses.replace(SMALL, **change)


def after_step(trainer, steps, act):
    """Call `act` when the optimiser has taken that many steps."""
    step = trainer.adam.step

    def stepping():
        step()
        if trainer.adam.t == steps:
            act()

    trainer.adam.step = stepping


def send(name):
    os.kill(os.getpid(), getattr(signal, name))


def press_ctrl_c():
    send("SIGINT")


def test_the_default_recipe_is_the_article_s():
    config = Config()
    recipe = config.hidden_size, config.batch_size, config.epochs, config.lr, config.schedule, config.clip_norm
    assert recipe == (128, 32, 10, 1e-3, "constant", None)


def test_training_loss_is_the_mean_over_images_with_the_last_smaller_batch(dataset, tmp_path):
    trainer = Trainer(small(lr=0.0, limit=70, epochs=1, dtype="float64"), dataset, tmp_path)
    expected = float(trainer.model.loss(dataset.x_train[:70], dataset.y_train[:70]))
    trainer.run(quiet=True)
    assert trainer.adam.t == 3
    assert trainer.history["train_loss_nats"].iloc[0] == pytest.approx(expected, rel=1e-6)


def test_each_epoch_sees_every_image_once_in_a_new_order(dataset, tmp_path, monkeypatch):
    trainer = Trainer(small(limit=50), dataset, tmp_path)
    seen, loss = [], trainer.model.loss_and_gradient
    monkeypatch.setattr(trainer.model, "loss_and_gradient", lambda x, y: seen.append(x.copy()) or loss(x, y))
    trainer.run(quiet=True)
    assert [len(batch) for batch in seen] == [32, 18, 32, 18]
    first, second = np.concatenate(seen[:2]), np.concatenate(seen[2:])
    assert not np.array_equal(first, second)
    for epoch in (first, second):
        assert sorted(image.tobytes() for image in epoch) == sorted(image.tobytes() for image in dataset.x_train[:50])


def test_every_option_changes_the_result(dataset, tmp_path):
    changes = {"seed": 1, "lr": 0.01, "schedule": "cosine", "clip_norm": 0.1, "batch_size": 16, "model": "rnn"}
    changes |= {"distort": "shift"}
    vectors = []
    for change in ({}, {"limit": 50}, *({name: value} for name, value in changes.items())):
        trainer = Trainer(small(**change), dataset, tmp_path)
        trainer.run(quiet=True)
        vectors.append(trainer.model.vector.tobytes())
    assert len({*vectors}) == len(vectors)


def test_cosine_takes_the_rate_from_lr_to_almost_0_over_all_steps(dataset, tmp_path):
    trainer = Trainer(small(schedule="cosine", lr=0.1), dataset, tmp_path)
    rates, step = [], trainer.adam.step
    trainer.adam.step = lambda: rates.append(trainer.adam.lr) or step()
    trainer.run(quiet=True)
    assert rates == pytest.approx([0.05 * (1 + np.cos(np.pi * t / 4)) for t in range(4)])


@pytest.mark.parametrize("steps", [1, 7, 10, 13], ids=["first step", "mid-epoch", "end of an epoch", "next epoch"])
@pytest.mark.parametrize("change", [{}, {"schedule": "cosine"}, {"distort": "affine"}], ids=str)
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(change, steps, dataset, tmp_path):
    config = small(hidden_size=8, limit=300, clip_norm=1.0, **change)
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole, first, second = (Trainer(config, dataset, tmp_path / name) for name in ("whole", "parts", "parts"))
    assert whole.run(quiet=True)
    after_step(first, steps, press_ctrl_c)
    assert not first.run(quiet=True)
    assert first.adam.t == steps
    second.resume()
    assert second.run(quiet=True)
    for name, array in np.load(tmp_path / "whole" / checkpoint.NAME).items():
        assert np.array_equal(np.load(tmp_path / "parts" / checkpoint.NAME)[name], array), name
    histories = [pd.read_csv(tmp_path / name / "history.csv") for name in ("whole", "parts")]
    pd.testing.assert_frame_equal(*(history.iloc[:, :4] for history in histories), check_exact=True)
    images = histories[1]["train_seconds"] * histories[1]["images_per_second"]  # of this process alone
    assert images[steps // 10] == pytest.approx(300 - steps % 10 * 32)


def test_a_second_ctrl_c_interrupts_and_the_last_checkpoint_stays(dataset, tmp_path):
    trainer = Trainer(SMALL, dataset, tmp_path)
    trainer.save()
    before = (tmp_path / checkpoint.NAME).read_bytes()
    after_step(trainer, 1, lambda: (press_ctrl_c(), press_ctrl_c()))
    with pytest.raises(KeyboardInterrupt):
        trainer.run(quiet=True)
    assert (tmp_path / checkpoint.NAME).read_bytes() == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.skipif(os.name == "nt", reason="Windows ends a process in place of sending a signal")
def test_a_signal_stops_after_the_step_unless_the_parent_ignores_it(name, dataset, tmp_path, monkeypatch):
    times = 1 if name == "SIGINT" else 2  # a scheduler may send a signal to the group and to the process
    trainer = Trainer(SMALL, dataset, tmp_path)
    after_step(trainer, 1, lambda: [send(name) for _ in range(times)])
    assert not trainer.run(quiet=True)
    assert (trainer.adam.t, trainer.stopped_by) == (1, getattr(signal, name))
    assert checkpoint.read(tmp_path / checkpoint.NAME).steps == 1
    before = signal.signal(getattr(signal, name), signal.SIG_IGN)
    try:
        after_step(trainer, 2, lambda: send(name))
        trainer.resume()
        assert trainer.run(quiet=True)
    finally:
        signal.signal(getattr(signal, name), before)


def test_killed_between_checkpoint_and_history_a_run_loses_nothing(dataset, tmp_path, monkeypatch):
    """Killed between the two, a run loses nothing: the history gets the row that it lacks, without its time."""
    Trainer(small(epochs=1), dataset, tmp_path).run(quiet=True)
    killed, again = (Trainer(small(epochs=3), dataset, tmp_path) for _ in range(2))
    killed.resume()
    with monkeypatch.context() as patch:
        patch.setattr(history, "save", Mock(side_effect=OSError("killed")))
        with pytest.raises(OSError, match="killed"):
            killed.run(quiet=True)
    again.resume()
    assert again.epoch == 2
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1, 2]
    again.run(quiet=True)
    assert list(pd.read_csv(tmp_path / "history.csv")["train_seconds"].isna()) == [False, True, False]


def plant_loss(trainer):
    loss = trainer.model.loss_and_gradient
    trainer.model.loss_and_gradient = lambda x, y: loss(x, y) if trainer.adam.t != 3 else np.float32("nan")


def plant_parameter(trainer):
    after_step(trainer, 4, lambda: trainer.model.vector.__setitem__(0, np.nan))


def plant_score(trainer):
    after_step(trainer, 4, lambda: setattr(trainer.model, "logits", lambda x, _: np.full((len(x), 10), np.inf)))


@pytest.mark.parametrize(
    ("plant", "message"),
    [
        (plant_loss, r"the loss is nan at step 4 \(epoch 2, batch 2\)"),
        (plant_parameter, "a parameter is not finite at step 4"),
        (plant_score, "a score of a test image is not finite at step 4"),
    ],
)
def test_a_number_that_is_not_finite_stops_the_run_at_the_last_good_checkpoint(plant, message, dataset, tmp_path):
    trainer, again = Trainer(SMALL, dataset, tmp_path), Trainer(SMALL, dataset, tmp_path)
    plant(trainer)
    with pytest.raises(Diverged, match=f"{message}.*; the last good checkpoint is"):
        trainer.run(quiet=True)
    again.resume()
    assert (again.epoch, again.adam.t) == (1, 2)


@pytest.mark.parametrize(
    ("terminal", "quiet", "drawn"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_a_bar_is_drawn_on_a_terminal_unless_quiet(terminal, quiet, drawn, dataset, tmp_path, monkeypatch):
    stderr = io.StringIO()
    stderr.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stderr)
    Trainer(SMALL, dataset, tmp_path).run(quiet=quiet)
    assert ("epoch 1:" in stderr.getvalue()) == drawn
    assert drawn or stderr.getvalue() == ""
