"""The section `steps`: whole training steps of all baselines."""

from __future__ import annotations

import argparse
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import verify
from baselines import Baseline, Engine, initial, make_batch
from formulas import flops
from machine import cores
from report import Rows, in_words, table
from timing import spread, time_in_rounds, with_threads

from minigru.plots.training import step_times

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def steps_section(kinds: list[type[Baseline]], options: argparse.Namespace, rates: dict[int, float]) -> dict[str, Any]:
    """Verify the baselines, time their training steps, and print both."""
    T, D, H = options.length, options.inputs, options.hidden_size
    agreement = verify.verify(kinds, T, min(options.batch), D, H, options.seed)
    verify.show(agreement)
    steps: Rows = []
    for B in options.batch:
        rows = time_steps(kinds, B, options, rates)
        show(rows, f"Training step: B={B} T={T} D={D} H={H}, {options.rounds} rounds.")
        steps += rows
    print()
    for B, rows in by_batch(steps).items():
        for each in ratios(rows):
            ours, other = each["minigru"], each["other"]
            count = in_words(other["threads"]) if other["threads"] else "its own threads"
            mark = ", its best" if each["fastest"] else ""
            print(
                f"B={B}: {ours['name']} is {each['times']:.2f}x as fast as {other['name']} ({count}{mark})", flush=True
            )
    return {"agreement": agreement, "steps": steps}


def time_steps(kinds: list[type[Baseline]], B: int, options: argparse.Namespace, rates: dict[int, float]) -> Rows:
    """Return a row for each baseline and number of threads; a ratio is the median of the ratios in each round."""
    T, D, H = options.length, options.inputs, options.hidden_size
    params, (x, y) = initial(D, H, options.seed), make_batch(T, B, D, options.seed)
    runs = {}
    for kind in kinds:
        baseline = kind(params)
        batch = baseline.prepare(x, y)
        for count in [None] if kind.own_threads else options.threads:
            run = partial(baseline.seconds, x=batch[0], y=batch[1])
            runs[kind.name, count] = with_threads(count or cores(), run)
    times = time_in_rounds(runs, options.rounds)
    ours = min((key for key in times if key[0] == Engine.name), key=lambda key: np.median(times[key]))
    work = flops(T, B, D, H) / 1e6
    return [
        {
            "name": name,
            "threads": count,
            "B": B,
            **spread(values),
            "times_minigru": float(np.median(values / times[ours])),
            "share_of_product_rate": work / float(np.median(values)) / rates.get(count, max(rates.values())),
            "rounds": values.tolist(),
        }
        for (name, count), values in times.items()
    ]


def ratios(rows: Rows) -> Rows:
    """Return how many times as fast minigru is as the baselines, medians over the rounds of one batch size.

    Each baseline is compared with its best number of threads, and with one thread per core.
    """
    found, fastest = [], best(rows)
    for ours in (row for row in fastest if row["name"].startswith(Engine.name)):
        for other in rows:
            if other["name"].startswith(Engine.name):
                continue
            if other in fastest or other["threads"] == cores():
                times = float(np.median(np.array(other["rounds"]) / np.array(ours["rounds"])))
                found.append({"minigru": ours, "other": other, "fastest": other in fastest, "times": times})
    return found


def best(rows: Rows) -> Rows:
    """Return the fastest row of each baseline."""
    names = dict.fromkeys(row["name"] for row in rows)
    return [min((row for row in rows if row["name"] == name), key=lambda row: row["ms"]) for name in names]


def by_batch(rows: Rows) -> dict[int, Rows]:
    """Return the rows of each batch size."""
    return {B: [row for row in rows if row["B"] == B] for B in dict.fromkeys(row["B"] for row in rows)}


def show(rows: Rows, title: str) -> None:
    """Print the rows of one batch size."""
    cells = [
        [
            row["name"],
            "own" if row["threads"] is None else str(row["threads"]),
            f"{row['ms']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['times_minigru']:.2f}",
            f"{row['share_of_product_rate']:.0%}",
        ]
        for row in rows
    ]
    table(title, ["", "threads", "ms per step", "quartiles", "x minigru", "of the product rate"], cells)


def draw(rows: Rows, about: dict[str, Any]) -> Figure:
    """Draw the best row of each baseline, one panel per batch size."""
    shown = {B: best(of_batch) for B, of_batch in by_batch(rows).items()}
    return step_times(shown, about.get("gpu") or f"{about['processor']}, {about['cores']} cores")
