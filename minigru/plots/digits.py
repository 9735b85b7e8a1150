"""Figures of a model that classifies handwritten digits: grids, confusions, probabilities, gates and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import COLORS, GATES, GREY, MEMORY, OTHER, OURS, RIGHT, WRONG, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure


def digit_grid(images: np.ndarray, labels: np.ndarray, title: str, predictions: np.ndarray | None = None) -> Figure:
    """Draw images in rows of eight, each under its label; wrong predictions are red and framed.

    Parameters
    ----------
    images : (n, T, D), from 0 (background) to 1 (ink)
    labels : (n,)
    title : of the figure
    predictions : (n,), or None to show the labels alone
    """
    columns = 8
    rows = -(-len(images) // columns)
    figure = new_figure(8, (1.15 if predictions is None else 1.3) * rows + 0.6)
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set_axis_off()
    for n, (axes, image) in enumerate(zip(panels, images, strict=False)):
        axes.imshow(image, cmap="gray_r", vmin=0, vmax=1)
        wrong = predictions is not None and predictions[n] != labels[n]
        said = f"label {labels[n]}" if predictions is None else f"predicted {predictions[n]}\nlabel {labels[n]}"
        axes.set_title(said, fontsize=8, color=WRONG if wrong else "black")
        if wrong:
            axes.set_axis_on()
            axes.set(xticks=[], yticks=[])
            for side in axes.spines.values():
                side.set(color=WRONG, linewidth=2)
    figure.suptitle(plain(title), fontsize=11)
    return figure


def confusion_matrix(predictions: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Draw how often each digit (row) was classified as each digit (column).

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
    mistakes = np.where(np.eye(K, dtype=bool), np.nan, shares)  # the diagonal would use up the whole colour scale
    drawn = axes.imshow(mistakes, cmap="Oranges", vmin=0, vmax=max(float(np.nanmax(mistakes)), 1.0))
    for (row, column), count in np.ndenumerate(counts):
        if count:
            bold = "bold" if row == column else "normal"
            color = "white" if mistakes[row, column] > 0.6 * drawn.get_clim()[1] else "black"
            axes.text(column, row, str(count), ha="center", va="center", fontsize=8, fontweight=bold, color=color)
    axes.set(xlabel="predicted digit", ylabel="label", xticks=range(K), yticks=range(K))
    axes.set_title("number: count of images; colour: share of the row, mistakes only", fontsize=9)
    figure.colorbar(drawn, label="share of the images with this label (%)", shrink=0.8)
    figure.suptitle(plain(title))
    return figure


def answers(
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray | None,
    title: str,
    original: np.ndarray | None = None,
) -> Figure:
    """Draw images as the model receives them, and under each image the probability of every class.

    Parameters
    ----------
    images : (n, T, D), from 0 (background) to 1 (ink)
    probabilities : (n, K)
    labels : (n,), or None where they are not known
    title : of the figure
    original : (height, width), brightness from 0 to 1 of the picture that the first image was made from, or None
    """
    n, extra = len(probabilities), int(original is not None)
    columns = min(n, 4)
    figure = new_figure(8 if n > 1 or extra else 5, 3.4 * -(-n // columns))
    panels = np.ravel(figure.subfigures(-(-n // columns), columns + extra, squeeze=False))
    if original is not None:
        axes = panels[0].subplots()
        axes.imshow(original, cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title("the picture", fontsize=10)
    for k in range(n):
        _answer(panels[k + extra], images[k], probabilities[k], None if labels is None else int(labels[k]))
    figure.suptitle(plain(title), fontsize=11)
    return figure


def _answer(figure: SubFigure, image: np.ndarray, probabilities: np.ndarray, label: int | None) -> None:
    """Draw one image and its probabilities (K,)."""
    picture, bars = figure.subplots(2, 1, height_ratios=(1.5, 1))
    picture.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    picture.set(xticks=[], yticks=[])
    prediction, K = int(probabilities.argmax()), len(probabilities)
    wrong = label not in (None, prediction)
    said = f"predicted {prediction}" + ("" if label is None else f", label {label}")
    picture.set_title(said, fontsize=10, color=WRONG if wrong else "black")
    bars.bar(range(K), 100 * probabilities, color=[RIGHT if k == label else WRONG if wrong else OURS for k in range(K)])
    bars.set(ylim=(0, 100), yticks=(0, 50, 100), xticks=range(K))
    bars.set_ylabel("%", rotation=0, labelpad=2, fontsize=8)
    bars.tick_params(labelsize=7)
    bars.spines[["top", "right"]].set_visible(False)


def reading(
    image: np.ndarray,
    gamma_u: np.ndarray,
    gamma_r: np.ndarray,
    c: np.ndarray,
    probabilities: np.ndarray,
    mean_gamma_u: np.ndarray,
    accuracy: np.ndarray,
    title: str,
    probe: np.ndarray | None = None,
) -> Figure:
    """Draw a digit as a GRU reads it row by row: gates, memory, class probabilities, and averages over a test set.

    Parameters
    ----------
    image : (T, D), from 0 (background) to 1 (ink)
    gamma_u, gamma_r, c : (T, H), the units in the order in which they are to be drawn
    probabilities : (T, K), after every row
    mean_gamma_u, accuracy : (T,), over a whole test set; accuracy from 0 to 1, had the model to answer after that row
    title : of the figure
    probe : (T,), the accuracy from 0 to 1 of a linear layer fitted to the memory after each row, or None
    """
    T, K = probabilities.shape
    figure = new_figure(8, 4.2)
    panels = figure.subplots(1, 6, sharey=True, width_ratios=(1.15, 1.3, 1.3, 1.3, 1.15, 0.9))
    digit, update, reset, memory, answer, mean = panels
    digit.imshow(image, cmap="gray_r", vmin=0, vmax=1, aspect="auto")
    digit.set(title="image", ylabel="row, from the top", xticks=[])
    for axes, array, style, name in (
        (update, gamma_u, GATES, r"$\Gamma_u$"),
        (reset, gamma_r, GATES, r"$\Gamma_r$"),
        (memory, c, MEMORY, r"memory $c$"),
    ):
        drawn = axes.imshow(array, aspect="auto", interpolation="nearest", **style)
        axes.set(title=name, xlabel="unit, sorted")
        figure.colorbar(drawn, ax=axes, location="bottom", pad=0.02, ticks=sorted({style["vmin"], 0, 1}), aspect=12)
    drawn = answer.imshow(probabilities, aspect="auto", cmap="Purples", vmin=0, vmax=1)
    answer.set(title="probability", xlabel="class", xticks=range(K))
    answer.tick_params(axis="x", labelsize=7)
    figure.colorbar(drawn, ax=answer, location="bottom", pad=0.02, ticks=(0, 1), aspect=12)
    curves = [("mean $\\Gamma_u$", mean_gamma_u, OURS, "-"), ("accuracy", accuracy, OTHER, "--")]
    if probe is not None:
        curves.append(("probe", probe, RIGHT, ":"))
    for place, (name, curve, color, dashes) in enumerate(curves):
        mean.plot(curve, np.arange(T), dashes, color=color)
        height = 0.97 - 0.06 * place
        mean.text(0.98, height, name, color=color, fontsize=9, ha="right", va="top", transform=mean.transAxes)
    rows = np.arange(0, T, max(1, T // 7))
    mean.set(title="test set", xlim=(0, 1), xticks=(0, 0.5, 1), ylim=(T - 0.5, -0.5), yticks=rows, yticklabels=rows + 1)
    mean.grid(alpha=0.3)
    figure.suptitle(plain(title), fontsize=11)
    return figure


def memory(
    memories: np.ndarray, labels: np.ndarray, units: dict[int, str], gates: dict[str, dict[str, np.ndarray]]
) -> Figure:
    """Draw the memory of a few units as digits are read, and histograms of the gate values.

    Parameters
    ----------
    memories : (n, T, m), the memory of m units for n digits
    labels : (n,), the digits
    units : the numbers of the m units, each with a remark for its title
    gates : for "gamma_u" and "gamma_r", before and after training, the share of the values in each of some equal bins
        from 0 to 1, in percent
    """
    figure = new_figure(8, 6.6)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.7, 1))
    above, below = parts
    panels = above.subplots(2, len(units) // 2, sharex=True, sharey=True)
    for place, (axes, (unit, said)) in enumerate(zip(panels.flat, units.items(), strict=True)):
        for curve, label, color in zip(memories[:, :, place], labels, COLORS, strict=False):
            axes.plot(np.arange(len(curve)) + 1, curve, color=color, label=str(label))
        axes.axhline(0, color="gray", linewidth=0.8)
        axes.set(ylim=(-1.05, 1.05))
        axes.set_title(f"unit {unit}: {said}", fontsize=9)
    for axes in panels[-1]:
        axes.set_xlabel("rows read")
    for axes in panels[:, 0]:
        axes.set_ylabel("memory c")
    above.legend(*panels[0, 0].get_legend_handles_labels(), title="digit", loc="outside right center", frameon=False)
    for axes, (gate, histograms) in zip(below.subplots(1, len(gates), sharey=True), gates.items(), strict=True):
        for (when, share), color in zip(histograms.items(), (GREY, OURS), strict=True):
            edges = np.linspace(0, 1, len(share) + 1)
            axes.stairs(share, edges, color=color, label=when, fill=color == GREY, linewidth=2)
        axes.set(xlabel=rf"value of $\{gate.capitalize()}$", xlim=(0, 1), ylabel="share of values (%)")
        axes.legend(frameon=False, fontsize=9)
        axes.label_outer()
    return figure
