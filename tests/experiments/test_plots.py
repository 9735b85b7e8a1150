"""The figures show the numbers they are given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from minigru.plots import digits, story, training
from minigru.plots.style import WRONG

HISTORY = ["epoch", "train_loss_nats", "test_loss_nats", "test_accuracy_percent"]


@pytest.mark.parametrize("epochs", [1, 3])
def test_training_curves(epochs, rng):
    history = pd.DataFrame(rng.random((epochs, 4)), columns=HISTORY)
    history["epoch"] = np.arange(epochs) + 1
    loss, accuracy = training.training_curves(history, "title").axes
    for line, column in zip([*loss.lines, *accuracy.lines], HISTORY[1:], strict=True):
        assert np.array_equal(line.get_xdata(), history["epoch"])
        assert np.array_equal(line.get_ydata(), history[column])


def test_digit_grid_marks_the_wrong_prediction(rng):
    images, labels = rng.random((10, 8, 8)), np.arange(10)
    predictions = np.where(labels == 3, 7, labels)
    axes = digits.digit_grid(images, labels, "title", predictions).axes
    assert axes[3].get_title().split() == ["predicted", "7", "label", "3"]
    assert [k for k, axis in enumerate(axes) if to_hex(axis.title.get_color()) == WRONG] == [3]
    assert [k for k, axis in enumerate(axes) if axis.axison] == [3]
    plain = digits.digit_grid(images, labels, "title").axes
    assert plain[3].get_title() == "label 3"
    assert not any(axis.axison for axis in plain)
    assert all(np.array_equal(axis.images[0].get_array(), image) for axis, image in zip(plain, images, strict=False))


def test_confusion_matrix_counts_labels_against_predictions():
    labels, predictions = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    axes = digits.confusion_matrix(predictions, labels, "title").axes[0]
    texts = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "1", (0, 1): "2", (1, 1): "1", (2, 2): "1", (2, 0): "1"}
    shares = axes.images[0].get_array()
    assert shares[0, 1] == pytest.approx(200 / 3)
    assert np.ma.is_masked(shares[0, 0])
    assert digits.confusion_matrix(labels, labels, "no mistake").axes[0].images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_answers_draw_image_and_probabilities(n, rng):
    images, probabilities = rng.random((n, 8, 8)), rng.dirichlet(np.ones(10), n)
    labels = probabilities.argmax(axis=1)
    labels[0] = (labels[0] + 1) % 10
    axes = digits.answers(images, probabilities, labels, "title").axes
    assert len(axes) == 2 * n
    for k, (picture, bars) in enumerate(zip(axes[::2], axes[1::2], strict=True)):
        assert np.array_equal(picture.images[0].get_array(), images[k])
        assert [bar.get_height() for bar in bars.patches] == pytest.approx(100 * probabilities[k])
        assert picture.get_title() == f"predicted {probabilities[k].argmax()}, label {labels[k]}"
        assert picture.title.get_color() == (WRONG if k == 0 else "black")


def test_reading_and_memory(rng):
    T, H, K = 8, 6, 10
    arrays = [rng.random((T, H)) for _ in range(3)]
    image, probabilities = rng.random((T, 8)), rng.random((T, K))
    averages = rng.random((3, T))
    axes = digits.reading(image, *arrays, probabilities, *averages[:2], "title", averages[2]).axes[:6]
    for panel, expected in zip(axes, [image, *arrays, probabilities], strict=False):
        assert np.array_equal(panel.images[0].get_array(), expected)
    assert [list(line.get_xdata()) for line in axes[5].lines] == averages.tolist()
    assert all(list(line.get_ydata()) == list(range(T)) for line in axes[5].lines)
    memories, shares = rng.uniform(-1, 1, (2, T, 4)), rng.random(10)
    histograms = {gate: {"before": shares, "after": shares[::-1]} for gate in ("gamma_u", "gamma_r")}
    figure = digits.memory(memories, np.array([3, 7]), {4: "a", 1: "b", 0: "c", 2: "d"}, histograms)
    above, below = figure.subfigs
    for k, panel in enumerate(above.axes):
        assert [list(line.get_ydata()) for line in panel.lines[:2]] == memories[:, :, k].tolist()
    assert np.array_equal(below.axes[1].patches[1].get_data().values, shares[::-1])


def test_vanishing_leaves_out_what_is_too_small_to_draw():
    norms = {4: {"A": (np.array([1e-14, 0.1, 1, 2, 4]), np.array([8.0, 4, 2, 2, 2]))}}
    figure = story.vanishing(norms, {"A": {4: 50.0, 9: 75.0}}, 12.5)
    panel, below = (part.axes[0] for part in figure.subfigs)
    before, after = panel.lines[:2]
    assert np.array_equal(before.get_xdata(), [0, 1, 2, 3])
    assert before.get_ydata() == pytest.approx([1, 0.5, 0.25, 0.025])
    assert after.get_ydata() == pytest.approx([1, 1, 1, 2, 4])
    assert (list(below.lines[0].get_xdata()), list(below.lines[0].get_ydata())) == ([4, 9], [50, 75])


def test_agreement_and_sentence():
    by_distance = {"short": {"RNN": {0: 100.0, 5: 60.0}, "GRU": {0: 100.0, 5: 99.0}}}
    by_distractors = {"short": {"RNN": {0: 90.0, 1: 50.0}, "GRU": {0: 100.0, 1: 98.0}}}
    left, right = story.agreement(by_distance, by_distractors, {"short": 3}).axes
    assert [list(line.get_ydata()) for line in left.lines[:2]] == [[100, 60], [100, 99]]
    assert [list(line.get_ydata()) for line in right.lines[:2]] == [[90, 50], [100, 98]]
    gates_of, memories = np.array([[0.1, 0.2], [0.9, 0.3], [0.5, 0.4]]), {"a": np.eye(3, 2), "b": -np.eye(3, 2)}
    above, below, _ = story.sentence(["the", "cat", "ran"], gates_of, memories, np.array([7, 2]), "title").axes
    assert np.array_equal(above.images[0].get_array(), gates_of.T)
    assert [text.get_text() for text in above.get_yticklabels()] == ["unit 7", "unit 2"]
    assert [text.get_text() for text in below.get_xticklabels()] == ["the", "cat", "ran"]
    assert [list(line.get_ydata()) for line in below.lines[:2]] == [[1, 0, 0], [0, 1, 0]]
