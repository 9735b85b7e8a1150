"""The figures of ``docs/story.md``: arrays in, a matplotlib Figure out, as in `minigru.plots`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .plots import OTHER, OURS, RIGHT, WRONG, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = (OTHER, "#7d8a97", OURS, RIGHT, WRONG, "#6a3d9a")
SMALLEST = 1e-12  # of a gradient that is drawn
GATES = {"cmap": "viridis", "vmin": 0, "vmax": 1}
MEMORY = {"cmap": "RdBu", "vmin": -1, "vmax": 1}


def vanishing(
    norms: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]],
    accuracy: dict[str, dict[int, float]],
    chance: float,
) -> Figure:
    """Draw gradients going back in time, and who recalls the first of T symbols.

    Parameters
    ----------
    norms : for each T and each model, the norm of dLoss/da (T + 1,) at initialisation and after training
    accuracy : for each model and each T, in percent; its models give the colours
    chance : accuracy of guessing, in percent
    """
    figure = new_figure(8, 6.4)
    above, below = figure.subfigures(2, 1, height_ratios=(1, 1))
    colors = dict(zip(accuracy, COLORS, strict=False))
    panels = above.subplots(1, len(norms), sharey=True, squeeze=False)[0]
    for axes, (T, models) in zip(panels, norms.items(), strict=True):
        for name, pair in models.items():
            for norm, style in zip(pair, ("--", "-"), strict=True):
                relative = norm[::-1] / norm[-1]
                shown = relative >= SMALLEST  # from here on zero, for any optimiser
                axes.semilogy(np.arange(T + 1)[shown], relative[shown], style, color=colors[name])
        axes.set(title=f"T = {T} steps", xlabel="steps back from the last", xlim=(0, T), ylim=(SMALLEST, 1e4))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("norm of dLoss/da,\nrelative to the last step")
    panels[0].plot([], [], "k--", label="at the start")
    panels[0].plot([], [], "k-", label="after training")
    panels[0].legend(frameon=False, fontsize=8, loc="upper right")
    axes = below.subplots()
    for (name, curve), marker in zip(accuracy.items(), "sod^", strict=False):
        axes.semilogx(list(curve), list(curve.values()), marker=marker, color=colors[name], label=name)
    axes.axhline(chance, color="gray", linestyle=":", linewidth=1)
    lengths = sorted(next(iter(accuracy.values())))
    axes.text(lengths[0], chance + 2, "guessing", fontsize=9, color="gray")
    axes.set(xlabel="T, the steps of the sequence; its first symbol is asked for at the end", ylabel="accuracy (%)")
    axes.set(ylim=(0, 104), xticks=lengths, xticklabels=lengths)
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 0.14))
    return figure


def agreement(
    by_distance: dict[str, dict[str, dict[int, float]]],
    by_distractors: dict[str, dict[str, dict[int, float]]],
    longest: dict[str, int],
) -> Figure:
    """Draw how often the right verb is chosen, a row for each training set, against distance and distractors.

    Parameters
    ----------
    by_distance, by_distractors : for each training set and model, accuracy in percent by distance or by number
    longest : for each training set, the longest distance in it
    """
    figure = new_figure(8, 2.7 * len(by_distance))
    rows = figure.subplots(len(by_distance), 2, sharey=True, squeeze=False)
    for (left, right), (training, models) in zip(rows, by_distance.items(), strict=True):
        for axes, curves in ((left, models), (right, by_distractors[training])):
            for (name, curve), color, style in zip(curves.items(), (OTHER, OURS), ("s--", "o-"), strict=False):
                axes.plot(list(curve), list(curve.values()), style, color=color, label=name, markersize=5)
            axes.axhline(50, color="gray", linestyle=":", linewidth=1)
            axes.grid(alpha=0.3)
            axes.set_ylim(30, 104)
        left.axvspan(longest[training] + 0.5, max(left.get_xlim()), color="#f0e6d6", zorder=0)
        left.text(longest[training] + 0.8, 74, "longer than\nany in training", fontsize=8, va="center")
        left.set(ylabel="accuracy (%)", xlabel="words between subject and verb")
        left.set_title(f"trained on {training}", fontsize=10, loc="left")
        right.set_xlabel("nouns of the other number in between")
        right.text(0, 53, "guessing", fontsize=8, color="gray")
    rows[0, 1].legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.3))
    return figure


def sentence(
    words: list[str], gamma_u: np.ndarray, memories: dict[str, np.ndarray], units: np.ndarray, title: str
) -> Figure:
    """Draw the update gate of some units word by word, and the memory of the first of them.

    Parameters
    ----------
    words : (T,)
    gamma_u : (T, n), the update gate of n units
    memories : for the sentence and its twin, the memory (T, n) of the units
    units : (n,), their numbers
    title : of the figure
    """
    T = len(words)
    figure = new_figure(8, 4.6)
    above, below = figure.subplots(2, 1, height_ratios=(1.2, 1), sharex=True)
    drawn = above.imshow(gamma_u.T, aspect="auto", **GATES)
    for (t, row), value in np.ndenumerate(gamma_u):
        above.text(t, row, f"{value:.2f}", ha="center", va="center", fontsize=8, color="w" if value < 0.6 else "k")
    above.set(yticks=range(len(units)), yticklabels=[f"unit {unit}" for unit in units])
    figure.colorbar(drawn, ax=above, label=r"$\Gamma_u$: 0 keeps, 1 replaces", pad=0.01)
    for (name, memory), color, style in zip(memories.items(), (OURS, OTHER), ("o-", "s--"), strict=True):
        for unit in range(memory.shape[1]):
            label = name if unit == 0 else None
            axes_style: dict[str, Any] = {"alpha": 1.0 if unit == 0 else 0.25, "markersize": 5 if unit == 0 else 0}
            below.plot(range(T), memory[:, unit], style, color=color, label=label, **axes_style)
    below.axhline(0, color="gray", linewidth=0.8)
    below.set(ylim=(-1.1, 1.1), ylabel=f"memory c\n(bold: unit {units[0]})", xticks=range(T), xticklabels=words)
    below.set_xlim(-0.5, T - 0.5)
    below.tick_params(axis="x", labelsize=10)
    below.legend(frameon=False, fontsize=9, loc="center right")
    figure.suptitle(title, fontsize=11)
    return figure


def reading(
    image: np.ndarray,
    gamma_u: np.ndarray,
    gamma_r: np.ndarray,
    c: np.ndarray,
    probabilities: np.ndarray,
    mean_gamma_u: np.ndarray,
    accuracy: np.ndarray,
    title: str,
) -> Figure:
    """Draw a digit as it is read, row beside row: its gates and memory, the answer so far, and the mean gate.

    Parameters
    ----------
    image : (T, D), from 0 (background) to 1 (ink)
    gamma_u, gamma_r, c : (T, H), the units in the order they are to be drawn in
    probabilities : (T, K), after every row
    mean_gamma_u, accuracy : (T,), over a whole test set, accuracy from 0 to 1 if the answer were asked for then
    title : of the figure
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
        axes.set(title=name, xlabel="unit")
        figure.colorbar(drawn, ax=axes, location="bottom", pad=0.02, ticks=(style["vmin"], 0.0, 1.0), aspect=12)
    drawn = answer.imshow(probabilities, aspect="auto", cmap="Purples", vmin=0, vmax=1)
    answer.set(title="answer so far", xlabel="class", xticks=range(K))
    answer.tick_params(axis="x", labelsize=7)
    figure.colorbar(drawn, ax=answer, location="bottom", pad=0.02, ticks=(0, 1), aspect=12)
    mean.plot(mean_gamma_u, np.arange(T), "-", color=OURS)
    mean.plot(accuracy, np.arange(T), "--", color=OTHER)
    mean.text(0.98, 0.97, "mean $\\Gamma_u$", color=OURS, fontsize=9, ha="right", va="top", transform=mean.transAxes)
    mean.text(0.98, 0.91, "accuracy", color=OTHER, fontsize=9, ha="right", va="top", transform=mean.transAxes)
    rows = np.arange(0, T, max(1, T // 7))
    mean.set(title="test set", xlim=(0, 1), xticks=(0, 0.5, 1), ylim=(T - 0.5, -0.5), yticks=rows, yticklabels=rows + 1)
    mean.grid(alpha=0.3)
    figure.suptitle(title, fontsize=11)
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
    above, below = figure.subfigures(2, 1, height_ratios=(1.7, 1))
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
        for (when, share), color in zip(spreads.items(), ("#9aa5b1", OURS), strict=True):
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
    n, K = probabilities.shape
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
    figure.suptitle(title, fontsize=11)
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
    figure.suptitle(title, fontsize=11)
    return figure
