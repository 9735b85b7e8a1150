"""Figures: arrays in, a matplotlib Figure out. Nothing is shown and nothing is written here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import OTHER, OURS, RIGHT, WRONG, new_figure, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def training_curves(history: pd.DataFrame, title: str) -> Figure:
    """Draw loss and accuracy against the epoch.

    Parameters
    ----------
    history : a row an epoch, with the columns of ``history.csv``
    title : of the figure
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(8, 3.6)
    loss, accuracy = figure.subplots(1, 2)
    epochs = history["epoch"]
    loss.plot(
        epochs, history["train_loss_nats"], "o-", color=OURS, label="training", markersize=8, markerfacecolor="none"
    )
    loss.plot(epochs, history["test_loss_nats"], "s--", color=OTHER, label="test", markersize=5)
    top = history[["train_loss_nats", "test_loss_nats"]].to_numpy().max()
    loss.set(xlabel="epoch", ylabel="mean cross-entropy (nats)", ylim=(0, 1.08 * top))
    loss.legend(frameon=False)
    accuracy.plot(epochs, history["test_accuracy_percent"], "s--", color=OTHER, markersize=5)
    accuracy.set(xlabel="epoch", ylabel="test accuracy (%)")
    last = history.iloc[-1]
    accuracy.set_title(f"{last['test_accuracy_percent']:.2f} % after epoch {last['epoch']:.0f}", fontsize=10)
    for axes in (loss, accuracy):
        axes.set_xlim(0.5, epochs.max() + 0.5)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.3)
    figure.suptitle(plain(title))
    return figure


def digit_grid(images: np.ndarray, predictions: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Draw images, each with what the model reads in it and what it is; wrong readings are red and framed.

    Parameters
    ----------
    images : (n, T, D), n images from 0 (background) to 1 (ink)
    predictions, labels : (n,)
    title : of the figure
    """
    columns = 8
    rows = -(-len(images) // columns)
    figure = new_figure(8, 1.15 * rows + 0.6)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, image, prediction, label in zip(grid.flat, images, predictions, labels, strict=False):
        right = prediction == label
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        axes.set_title(f"read {prediction}, is {label}", fontsize=8, color="black" if right else WRONG)
        if not right:
            axes.set_axis_on()
            axes.set(xticks=[], yticks=[])
            for side in axes.spines.values():
                side.set(color=WRONG, linewidth=2)
    figure.suptitle(plain(title))
    return figure


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Draw how often each digit (row) was read as each digit (column).

    Parameters
    ----------
    predictions, labels : (n,) integers
    title : of the figure
    """
    K = int(max(labels.max(), predictions.max())) + 1
    counts = np.zeros((K, K), int)
    np.add.at(counts, (labels, predictions), 1)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) * 100
    figure = new_figure(6.4, 5.8)
    axes = figure.subplots()
    # The mistakes are the news: the scale of colours is theirs, and the diagonal is left white.
    mistakes = np.where(np.eye(K, dtype=bool), np.nan, shares)
    drawn = axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(float(np.nanmax(mistakes)), 1.0))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            bold = "bold" if row == column else "normal"
            color = "white" if mistakes[row, column] > 0.6 * drawn.get_clim()[1] else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, fontweight=bold, color=color)
    axes.set(xlabel="digit read", ylabel="digit written", xticks=range(K), yticks=range(K))
    axes.set_title("number: images; colour: share of the digit's images, where read wrongly", fontsize=9)
    figure.colorbar(drawn, label="share (%)", shrink=0.8)
    figure.suptitle(plain(title))
    return figure


def step_size(curves: dict[str, list[tuple[float, float]]]) -> Figure:
    """Draw the error of numerical gradients against their step.

    Parameters
    ----------
    curves : for each method, points (h, norm-relative error)
    """
    figure = new_figure(8, 4.2)
    axes = figure.subplots()
    for (name, points), color, marker in zip(curves.items(), (OTHER, OURS, RIGHT), "sod", strict=True):
        h, error = np.array(points).T
        axes.loglog(h, np.maximum(error, 1e-17), color=color, marker=marker, markersize=4, label=name)
    axes.axhline(np.finfo(float).eps, color="gray", linestyle=":", linewidth=1)
    axes.text(1e-30, np.finfo(float).eps * 0.85, "rounding of float64", va="top", fontsize=9, color="gray")
    axes.set(xlabel="step h", ylabel="norm-relative error of the worst array", ylim=(3e-17, 30))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")
    return figure


def step_times(rows: dict[int, list[dict[str, Any]]], machine: str) -> Figure:
    """Draw the time of a training step of several programs, a panel for each batch size.

    Parameters
    ----------
    rows : for each batch size the programs, each with ``name``, ``threads`` (None where the program decides), and the
        median ``ms`` and the quartiles ``low`` and ``high``, in milliseconds
    machine : what they were measured on
    """
    figure = new_figure(8, 1.3 + 0.36 * max(map(len, rows.values())))
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for axes, (B, programs) in zip(panels, rows.items(), strict=True):
        names = [row["name"] for row in programs]
        middle = np.array([row["ms"] for row in programs])
        quartiles = [middle - [row["low"] for row in programs], [row["high"] for row in programs] - middle]
        colors = [OURS if name.startswith("minigru") else "#9aa5b1" for name in names]
        axes.barh(names, middle, xerr=quartiles, color=colors, error_kw={"ecolor": "#333333", "capsize": 2})
        for name, ms, row in zip(names, middle, programs, strict=True):
            axes.text(row["high"] + 0.02 * middle.max(), name, f"{ms:.3g}", va="center", fontsize=8)
        axes.set(xlim=(0, 1.2 * max(row["high"] for row in programs)), xlabel="ms a step", title=f"batch {B}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()  # the panels share their axis
    figure.suptitle(f"A training step on {plain(machine)}", fontsize=11)
    return figure
