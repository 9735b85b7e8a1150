"""Figures of a training run: loss and accuracy by epoch, and the time of one training step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import GREY, OTHER, OURS, new_figure, plain

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def training_curves(history: pd.DataFrame, title: str) -> Figure:
    """Draw loss and accuracy against the epoch.

    Parameters
    ----------
    history : one row per epoch, with the columns of ``history.csv``
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


def step_times(rows: dict[int, list[dict[str, Any]]], machine: str) -> Figure:
    """Draw the time of one training step of several programs, with one panel per batch size.

    Parameters
    ----------
    rows : for each batch size the programs, each with ``name``, the median ``ms`` and the quartiles ``low`` and
        ``high``, in milliseconds
    machine : on which the times were measured
    """
    figure = new_figure(8, 1.3 + 0.36 * max(map(len, rows.values())))
    panels = figure.subplots(1, len(rows), sharey=True, squeeze=False)[0]
    for axes, (B, programs) in zip(panels, rows.items(), strict=True):
        names = [row["name"] for row in programs]
        middle = np.array([row["ms"] for row in programs])
        quartiles = [middle - [row["low"] for row in programs], [row["high"] for row in programs] - middle]
        colors = [OURS if name.startswith("minigru") else GREY for name in names]
        axes.barh(names, middle, xerr=quartiles, color=colors, error_kw={"ecolor": "#333333", "capsize": 2})
        for name, ms, row in zip(names, middle, programs, strict=True):
            axes.text(row["high"] + 0.02 * middle.max(), name, f"{ms:.3g}", va="center", fontsize=8)
        axes.set(xlim=(0, 1.2 * max(row["high"] for row in programs)), xlabel="ms per step", title=f"batch {B}")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].invert_yaxis()  # the panels share their axis
    figure.suptitle(f"One training step on {plain(machine)}", fontsize=11)
    return figure
