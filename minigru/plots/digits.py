"""Figures of a model that reads digits, in ``docs/story.md``: arrays in, a Figure out, as in `minigru.plots.training`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import COLORS, GATES, OTHER, OURS, RIGHT, WRONG, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MEMORY: dict[str, Any] = {"cmap": "RdBu", "vmin": -1, "vmax": 1}
GREY = "#9aa5b1"


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
    """Draw a digit as it is read, row beside row: its gates and memory, the answer so far, and the mean gate.

    Parameters
    ----------
    image : (T, D), from 0 (background) to 1 (ink)
    gamma_u, gamma_r, c : (T, H), the units in the order they are to be drawn in
    probabilities : (T, K), after every row
    mean_gamma_u, accuracy : (T,), over a whole test set, accuracy from 0 to 1 if the answer were asked for then
    title : of the figure
    probe : (T,), the accuracy from 0 to 1 of a layer fitted to the memory after each row, if there is one
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
        axes.set(title=name, xlabel="unit, by rank")
        figure.colorbar(drawn, ax=axes, location="bottom", pad=0.02, ticks=(style["vmin"], 0.0, 1.0), aspect=12)
    drawn = answer.imshow(probabilities, aspect="auto", cmap="Purples", vmin=0, vmax=1)
    answer.set(title="answer so far", xlabel="class", xticks=range(K))
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
    """Draw the memory of a few units as digits are read, and how gate values are spread.

    Parameters
    ----------
    memories : (n, T, m), the memory of m units for n digits
    labels : (n,), the digits
    units : the numbers of the m units, each with what is said of it
    gates : for "gamma_u" and "gamma_r", by when, the share of its values in equal bins from 0 to 1, in percent
    """
    columns = len(units) // 2
    figure = new_figure(8, 6.6)
    parts: Any = figure.subfigures(2, 1, height_ratios=(1.7, 1))
    above, below = parts
    panels = above.subplots(2, columns, sharex=True, sharey=True)
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
    for axes, (gate, spreads) in zip(below.subplots(1, len(gates), sharey=True), gates.items(), strict=True):
        for (when, share), color in zip(spreads.items(), (GREY, OURS), strict=True):
            axes.stairs(
                share, np.linspace(0, 1, len(share) + 1), color=color, label=when, fill=color != OURS, linewidth=2
            )
        axes.set(xlabel=rf"value of $\{gate.capitalize()}$", xlim=(0, 1), ylabel="share of values (%)")
        axes.legend(frameon=False, fontsize=9)
        axes.label_outer()
    return figure


def answers(
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray | None,
    title: str,
    original: np.ndarray | None = None,
) -> Figure:
    """Draw images as the model sees them, and under each the probability of every class.

    Parameters
    ----------
    images : (n, T, D), from 0 (background) to 1 (ink)
    probabilities : (n, K)
    labels : (n,), the truth, or None where nobody has said it
    title : of the figure
    original : (height, width), brightness from 0 to 1 of the picture that the first image was made of, if it was
    """
    n = len(probabilities)
    columns = min(n, 4)
    extra = original is not None
    figure = new_figure(8 if n > 1 or extra else 5, 3.4 * -(-n // columns))
    blocks = np.atleast_1d(figure.subfigures(-(-n // columns), columns + extra, squeeze=False).ravel())
    if original is not None:
        axes = blocks[0].subplots()
        axes.imshow(original, cmap="gray", vmin=0, vmax=1)
        axes.set(xticks=[], yticks=[])
        axes.set_title("the picture", fontsize=10)
        blocks = blocks[1:]
    for place in range(n):
        _answer(blocks[place], images[place], probabilities[place], None if labels is None else int(labels[place]))
    figure.suptitle(plain(title), fontsize=11)
    return figure


def _answer(figure: Any, image: np.ndarray, probabilities: np.ndarray, label: int | None) -> None:
    picture, bars = figure.subplots(2, 1, height_ratios=(1.5, 1))
    picture.imshow(image, cmap="gray_r", vmin=0, vmax=1)
    picture.set(xticks=[], yticks=[])
    read = int(probabilities.argmax())
    wrong = label not in (None, read)
    said = f"read {read}" + ("" if label is None else f", is {label}")
    picture.set_title(said, fontsize=10, color=WRONG if wrong else "black")
    colors = [RIGHT if k == label else WRONG if wrong else OURS for k in range(len(probabilities))]
    bars.bar(range(len(probabilities)), 100 * probabilities, color=colors)
    bars.set(ylim=(0, 100), yticks=(0, 50, 100), xticks=range(len(probabilities)))
    bars.set_ylabel("%", rotation=0, labelpad=2, fontsize=8)
    bars.tick_params(labelsize=7)
    bars.spines[["top", "right"]].set_visible(False)


def labelled(images: np.ndarray, labels: np.ndarray, title: str) -> Figure:
    """Draw a batch of images in a grid, each under its label.

    Parameters
    ----------
    images : (n, T, D), from 0 (background) to 1 (ink)
    labels : (n,)
    title : of the figure
    """
    columns = min(len(images), 8)
    rows = -(-len(images) // columns)
    figure = new_figure(columns + 0.2, 1.25 * rows + 0.5)
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in panels:
        axes.set_axis_off()
    for axes, image, label in zip(panels, images, labels, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"label {label}", fontsize=9)
    figure.suptitle(plain(title), fontsize=11)
    return figure
