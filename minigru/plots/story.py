"""Figures of what is remembered, in ``docs/story.md``: arrays in, a Figure out, as in `minigru.plots.training`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .style import COLORS, GATES, OTHER, OURS, new_figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SMALLEST = 1e-12  # of a gradient that is drawn


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
    parts: Any = figure.subfigures(2, 1)
    above, below = parts
    colors = dict(zip(accuracy, COLORS, strict=False))
    panels = above.subplots(1, len(norms), sharey=True, squeeze=False)[0]
    for axes, (T, models) in zip(panels, norms.items(), strict=True):
        for name, pair in models.items():
            for norm, style in zip(pair, ("--", "-"), strict=True):
                relative = norm[::-1] / norm[-1]
                shown = relative >= SMALLEST  # the figure ends here, not the gradient
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
            looks = ((OTHER, "s--", 8, 3), (OURS, "o-", 4, 2))  # the first on top and hollow: both show where they meet
            for (name, curve), (color, style, size, order) in zip(curves.items(), looks, strict=False):
                look: dict[str, Any] = {"color": color, "markersize": size, "zorder": order}
                axes.plot(list(curve), list(curve.values()), style, label=name, markerfacecolor="none", **look)
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
    figure.suptitle(plain(title), fontsize=11)
    return figure
