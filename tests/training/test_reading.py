"""Images read pixel by pixel: the order, the gates that are started for it, and every program that reads them again."""

from __future__ import annotations

import signal

import gates
import numpy as np
import predict
import pytest
import train_mnist
from calling import assert_one_sentence, call
from helpers import ROOT

import minigru
from minigru.plots import digits as digit_plots
from minigru.training import checkpoint, data
from minigru.training.config import Config
from minigru.training.reading import evaluation_batch, pixel_order, sequences, start_gates
from minigru.training.trainer import Trainer


@pytest.fixture(scope="module")
def dataset():
    return data.load("digits")


def small(**changed):
    return Config(
        **{"data": "digits", "hidden_size": 4, "limit": 96, "epochs": 2, "lr": 1e-2, "pixels": True} | changed
    )


def test_pixels_are_read_row_by_row_or_in_one_fixed_order(rng):
    images = rng.random((3, 28, 28))
    order = pixel_order(784)
    assert sequences(images, Config()) is images
    np.testing.assert_array_equal(sequences(images, Config(pixels=True)).reshape(3, 28, 28), images)
    permuted = sequences(images, Config(permuted=True, seed=5))
    assert permuted.shape == (3, 784, 1)
    back = np.empty((3, 784))
    back[:, order] = permuted[..., 0]
    np.testing.assert_array_equal(back.reshape(3, 28, 28), images)
    assert order[:4].tolist() == [732, 223, 118, 374]  # a stored checkpoint depends on it


def test_gates_start_with_times_spread_evenly_from_2_steps_to_the_length():
    model = minigru.SequenceClassifier(1, 4000, 2)
    start_gates(model, 784, np.random.default_rng(0))
    times = 1 + np.exp(-model.params["gru.b_u"].astype(float))  # 1 / sigmoid(b_u)
    assert 2 <= times.min() < 10
    assert 775 < times.max() <= 784.01
    assert times.mean() == pytest.approx(393, rel=0.03)


@pytest.mark.parametrize("model", ["gru", "rnn"])
def test_a_stopped_run_of_pixels_resumes_to_the_same_numbers(model, dataset, tmp_path):
    whole, parts = (Trainer(small(model=model), dataset, tmp_path) for _ in range(2))
    whole.run(quiet=True)
    step = parts.step
    parts.step = lambda *batch: (step(*batch), signal.raise_signal(signal.SIGINT))[0]
    assert not parts.run(quiet=True)
    again = Trainer(small(model=model), dataset, tmp_path)
    again.resume()
    assert again.adam.t == 1
    again.run(quiet=True)
    np.testing.assert_array_equal(again.model.vector, whole.model.vector)


@pytest.mark.parametrize(("pixels", "asked"), [(True, "permuted"), (False, "pixels"), (False, "permuted")])
def test_another_reading_is_refused_on_resume(pixels, asked, dataset, tmp_path):
    Trainer(small(pixels=pixels, epochs=1, limit=32), dataset, tmp_path).run(quiet=True)
    result = call(train_mnist, "--out", tmp_path, "--resume", f"--{asked}")
    assert_one_sentence(result, 2, "is True, but", "was made with False")


@pytest.mark.parametrize("reading", ["pixels", "permuted"])
def test_every_program_reads_images_as_the_run_did_and_draws_them_as_images(reading, dataset, tmp_path, monkeypatch):
    given, draw = [], digit_plots.answers
    monkeypatch.setattr(digit_plots, "answers", lambda *args: given.append(args) or draw(*args))
    options = ("--data", "digits", "--hidden-size", 8, "--limit", 64, "--epochs", 1, f"--{reading}", "--quiet")
    trained = call(train_mnist, *options, "--out", tmp_path / "run")
    assert trained.returncode == 0, trained.stderr
    model, config = checkpoint.load_model(tmp_path / "run")
    assert (config.pixels, config.permuted) == (True, reading == "permuted")
    expected = model.predict_proba(sequences(dataset.x_test, config))
    for what in (("--index", 3), ("-",), ("--image", ROOT / "docs" / "figures" / "five.png")):
        assert call(predict, tmp_path / "run", *what, "--out", tmp_path).returncode == 0
    np.testing.assert_array_equal(given[0][0], dataset.x_test[3:4])
    np.testing.assert_allclose(given[0][1], expected[3:4], rtol=1e-5)
    assert given[2][0].shape == (1, 8, 8)
    assert_one_sentence(call(gates, tmp_path / "run", "--out", tmp_path), 2, "reads pixel by pixel")


def test_long_sequences_are_evaluated_in_small_batches():
    assert [evaluation_batch(T) for T in (8, 28, 784, 10**6)] == [1000, 1000, 128, 1]
