"""The section `steps`: whole training steps of all baselines."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np
import verify
from baselines import Engine
from formulas import flops
from report import Rows, columns, table
from timing import spread, time_in_rounds

from minigru.plots.training import step_times

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def steps_section(runners: list[Any], options: argparse.Namespace, rates: dict[int, float]) -> dict[str, Any]:
    """Verify the baselines at every batch size, time their training steps, and print both."""
    T, D, H = options.length, options.inputs, options.hidden_size
    runners = [runner for runner in runners if runner.about["trains"]]
    agreement: Rows = []
    steps: Rows = []
    for B in options.batch:
        print(f"\nB={B}: verifying and compiling, then {options.rounds} rounds of {len(runners)} rows ...", flush=True)
        verified = verify.verify(runners, T, B, D, H, options.seed)
        if not agreement:
            verify.show(verified)
        rows = time_steps(runners, B, options, rates)
        for row, checked in zip(rows, verified, strict=True):
            row["compile_s"] = checked["compile_s"]
        show(rows, f"Training step: B={B} T={T} D={D} H={H}, {options.rounds} rounds.")
        agreement += verified
        steps += rows
    compile_s = {name: max(r["compile_s"] for r in steps if r["name"] == name) for name in {r["name"] for r in steps}}
    columns("Milliseconds per training step, by the cores given.", steps, "ms", {"longest first call, s": compile_s})
    return {"agreement": agreement, "steps": steps}


def time_steps(runners: list[Any], B: int, options: argparse.Namespace, rates: dict[int, float]) -> Rows:
    """Return a row for each baseline; a ratio is the median of the ratios in each round."""
    times = time_in_rounds({i: runner.seconds for i, runner in enumerate(runners)}, options.rounds)
    ours = min(
        (i for i, runner in enumerate(runners) if runner.about["name"] == Engine.name),
        key=lambda i: np.median(times[i]),
    )
    work = flops(options.length, B, options.inputs, options.hidden_size) / 1e6
    return [
        {
            "name": runner.about["name"],
            "cores": runner.cores,
            "B": B,
            **spread(times[i]),
            "times_minigru": float(np.median(times[i] / times[ours])),
            "share_of_product_rate": work / float(np.median(times[i])) / rates.get(runner.cores, max(rates.values())),
            "rounds": times[i].tolist(),
        }
        for i, runner in enumerate(runners)
    ]


def show(rows: Rows, title: str) -> None:
    """Print the rows of one batch size."""
    cells = [
        [
            row["name"],
            f"{row['cores'] or 'GPU'}",
            f"{row['ms']:.2f}",
            f"{row['low']:.2f} to {row['high']:.2f}",
            f"{row['times_minigru']:.2f}",
            f"{row['share_of_product_rate']:.0%}",
            f"{row['compile_s']:.1f}",
        ]
        for row in rows
    ]
    head = ["", "cores", "ms per step", "quartiles", "x minigru", "of the product rate", "first call, s"]
    table(title, head, cells)


def draw(rows: Rows, about: dict[str, Any]) -> Figure:
    """Draw the best row of each baseline, one panel per batch size."""
    shown: dict[int, Rows] = {}
    for B in dict.fromkeys(row["B"] for row in rows):
        names = dict.fromkeys(row["name"] for row in rows)
        shown[B] = [min((r for r in rows if r["B"] == B and r["name"] == n), key=lambda r: r["ms"]) for n in names]
    return step_times(shown, about.get("gpu") or f"{about['processor']}, {about['cores']} cores")
