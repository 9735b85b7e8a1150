"""Figures of what recurrent layers remember (``docs/story.md``), and of numerical gradients against their step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import COLORS, GATES, OTHER, OURS, RIGHT, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST = 1e-12  # relative gradient that is still drawn


def vanishing(
    norms: dict[int, dict[str, tuple[np.ndarray, np.ndarray]]],
    accuracy: dict[str, dict[int, float]],
    chance: float,
) -> Figure:
    """Draw the gradient norms back through time, and the accuracy of recalling the first of T symbols.

    Parameters
    ----------
    norms : for each T and each model, the norm of the gradient, da or dc, (T + 1,) at initialisation and after training
    accuracy : for each model and each T, in percent; the order of the models sets their colours
    chance : accuracy of guessing, in percent
    """
    figure = new_figure(8, 6.4)
    parts: Any = figure.subfigures(2, 1)
    above, below = parts
    colors = dict(zip(accuracy, COLORS, strict=False))
    panels = above.subplots(1, len(norms), sharey=True, squeeze=False)[0]
    for axes, (T, models) in zip(panels, norms.items(), strict=True):
        for name, pair in models.items():
            for norm, style in zip(pair, ("--", "-"), strict=True):
                relative = norm[::-1] / norm[-1]
                shown = relative >= SMALLEST  # a curve that leaves the panel below is cut, not drawn along its edge
                axes.semilogy(np.arange(T + 1)[shown], relative[shown], style, color=colors[name])
        axes.set(title=f"T = {T} steps", xlabel="steps back from the last", xlim=(0, T), ylim=(SMALLEST, 1e4))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("norm of the gradient, da or dc,\nrelative to the last step")
    panels[0].plot([], [], "k--", label="before training")
    panels[0].plot([], [], "k-", label="after training")
    panels[0].legend(frameon=False, fontsize=8, loc="upper right")
    axes = below.subplots()
    for (name, curve), marker in zip(accuracy.items(), "sod^", strict=False):
        axes.semilogx(list(curve), list(curve.values()), marker=marker, color=colors[name], label=name)
    axes.axhline(chance, color="gray", linestyle=":", linewidth=1)
    lengths = sorted(next(iter(accuracy.values())))
    axes.text(lengths[0], chance + 2, "guessing", fontsize=9, color="gray")
    axes.set(xlabel="length T of the sequence whose first symbol is to be recalled", ylabel="accuracy (%)")
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
    """Draw how often the right verb is chosen against distance and distractors, one row per training set.

    Parameters
    ----------
    by_distance, by_distractors : for each training set and model, accuracy in percent by distance or by number
    longest : for each training set, the longest distance in it
    """
    figure = new_figure(8, 2.7 * len(by_distance))
    rows = figure.subplots(len(by_distance), 2, sharey=True, squeeze=False)
    looks = ((OTHER, "s--", 8, 3), (OURS, "o-", 4, 2))  # large hollow squares on top: both curves show where they meet
    for (left, right), (training, models) in zip(rows, by_distance.items(), strict=True):
        for axes, curves in ((left, models), (right, by_distractors[training])):
            for (name, curve), (color, style, size, order) in zip(curves.items(), looks, strict=False):
                look: dict[str, Any] = {"color": color, "markersize": size, "zorder": order}
                axes.plot(list(curve), list(curve.values()), style, label=name, markerfacecolor="none", **look)
            axes.axhline(50, color="gray", linestyle=":", linewidth=1)
            axes.grid(alpha=0.3)
            axes.set_ylim(30, 104)
        left.axvspan(longest[training] + 0.5, max(left.get_xlim()), color="#f0e6d6", zorder=0)
        left.text(longest[training] + 0.8, 74, "longer than\nin training", fontsize=8, va="center")
        left.set(ylabel="accuracy (%)", xlabel="words between subject and verb")
        left.set_title(f"trained on {training}", fontsize=10, loc="left")
        right.set_xlabel("distractors: nouns of the other number")
        right.text(0, 53, "guessing", fontsize=8, color="gray")
    rows[0, 1].legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 0.3))
    return figure


def sentence(
    words: list[str], gamma_u: np.ndarray, memories: dict[str, np.ndarray], units: np.ndarray, title: str
) -> Figure:
    """Draw the update gate of some units word by word, and their memories, with the first unit in bold.

    Parameters
    ----------
    words : (T,)
    gamma_u : (T, n), the update gate of n units
    memories : for the sentence and for its twin, the memory (T, n) of the units
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
        below.plot(range(T), memory[:, 0], style, color=color, label=name, markersize=5)
        below.plot(range(T), memory[:, 1:], style[1:], color=color, alpha=0.25)
    below.axhline(0, color="gray", linewidth=0.8)
    below.set(ylim=(-1.1, 1.1), ylabel=f"memory c\n(bold: unit {units[0]})", xticks=range(T), xticklabels=words)
    below.set_xlim(-0.5, T - 0.5)
    below.tick_params(axis="x", labelsize=10)
    below.legend(frameon=False, fontsize=9, loc="center right")
    figure.suptitle(plain(title), fontsize=11)
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
    axes.set(xlabel="step h", ylabel="largest norm-relative error of an array", ylim=(3e-17, 30))
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="upper left")
    return figure
