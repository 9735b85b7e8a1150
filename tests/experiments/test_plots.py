"""The figures show the numbers that they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from minigru.plots import training as plots
from minigru.training.trainer import HISTORY


@pytest.mark.parametrize("epochs", [1, 3])
def test_curves_draw_both_losses_and_the_accuracy(epochs):
    rng = np.random.default_rng(0)
    history = pd.DataFrame(rng.random((epochs, len(HISTORY))), columns=HISTORY)
    history["epoch"] = np.arange(epochs) + 1
    loss, accuracy = plots.training_curves(history, "title").axes
    drawn = [*loss.lines, *accuracy.lines]
    for line, column in zip(drawn, HISTORY[1:4], strict=True):
        assert np.array_equal(line.get_xdata(), history["epoch"])
        assert np.array_equal(line.get_ydata(), history[column])
    assert loss.get_xlim() == accuracy.get_xlim() == (0.5, epochs + 0.5)
    assert "nats" in loss.get_ylabel()
    assert "%" in accuracy.get_ylabel()


def test_grid_gives_prediction_and_truth_and_marks_the_wrong_one():
    images, labels = np.random.default_rng(0).random((10, 8, 8)), np.arange(10)
    predictions = labels.copy()
    predictions[3] = 7
    axes = plots.digit_grid(images, predictions, labels, "title").axes
    assert axes[2].get_title() == "read 2, is 2"
    assert axes[3].get_title() == "read 7, is 3"
    marked = [index for index, axis in enumerate(axes) if to_hex(axis.title.get_color()) == plots.WRONG]
    framed = [index for index, axis in enumerate(axes) if axis.axison]
    assert marked == framed == [3]
    assert np.array_equal(axes[3].images[0].get_array(), images[3])


def test_confusion_counts_written_against_read():
    labels, predictions = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    axes = plots.confusion_matrix(predictions, labels, "title").axes[0]
    texts = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axes.texts}
    assert texts == {(0, 0): "1", (0, 1): "2", (1, 1): "1", (2, 2): "1", (2, 0): "1"}
    assert axes.get_ylabel() == "digit written"
    assert axes.get_xlabel() == "digit read"
    shares = axes.images[0].get_array()
    assert shares[0, 1] == pytest.approx(200 / 3)
    assert np.ma.is_masked(shares[0, 0])


def test_confusion_without_a_mistake():
    labels = np.arange(10)
    figure = plots.confusion_matrix(labels, labels, "title")
    assert figure.axes[0].images[0].get_clim() == (0, 1)
