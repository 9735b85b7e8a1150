"""The sections `length` and `width`: the cost of minigru's training step against T and against H."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from baselines import Engine, initial, make_batch
from formulas import flops
from report import Rows, table
from timing import spread, time_in_rounds, with_threads

from minigru.engine.backend import get_backend


def cost(shapes: list[tuple[int, int, int, int]], options: argparse.Namespace) -> Rows:
    """Return the time of a training step of minigru for each (T, B, D, H), with one thread."""
    runs, backend = {}, get_backend(options.backend)
    for T, B, D, H in shapes:
        engine = Engine(initial(D, H, options.seed), backend)
        x, y = engine.prepare(*make_batch(T, B, D, options.seed))
        runs[T, B, D, H] = with_threads(1, partial(engine.seconds, x=x, y=y))
    times = time_in_rounds(runs, max(3, options.rounds // 3))
    return [{"T": T, "B": B, "D": D, "H": H, **spread(times[T, B, D, H])} for T, B, D, H in shapes]


def length_section(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print the cost against the number of steps."""
    D, H = options.inputs, options.hidden_size
    rows = cost([(T, 32, D, H) for T in (28, 56, 112, 196, 392, 784)], options)
    cells = [[f"{row['T']}", f"{row['ms']:.2f}", f"{row['ms'] / row['T'] * 1e3:.0f}"] for row in rows]
    table(f"Cost against T: minigru, B=32 D={D} H={H}, 1 thread.", ["T", "ms per step", "µs / T"], cells)
    return {"length": rows}


def width_section(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print the cost against the number of hidden units."""
    T, D = options.length, options.inputs
    rows = cost([(T, 32, D, H) for H in (32, 64, 128, 256, 512)], options)
    cells = [[f"{r['H']}", f"{r['ms']:.2f}", f"{flops(T, 32, D, r['H']) / r['ms'] / 1e6:.0f}"] for r in rows]
    table(f"Cost against H: minigru, T={T} B=32 D={D}, 1 thread.", ["H", "ms per step", "GFLOP/s"], cells)
    return {"width": rows}
