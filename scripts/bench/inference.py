"""The section `inference`: how many images per second are classified."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

import numpy as np
from baselines import Baseline, initial, make_batch
from report import Rows, table
from timing import calls, time_in_rounds, with_threads


def inference_section(kinds: list[type[Baseline]], options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print the images per second of the baselines that predict."""
    rows = [row for B in (1, 10_000) for row in images_per_second(kinds, B, options)]
    cells = [[r["name"], f"{r['threads']}", f"{r['B']:,}", f"{r['images_per_second']:,.0f}"] for r in rows]
    shape = f"T={options.length} D={options.inputs} H={options.hidden_size}"
    table(f"Inference: {shape}.", ["", "threads", "batch", "images/s"], cells)
    return {"inference": rows}


def images_per_second(kinds: list[type[Baseline]], B: int, options: argparse.Namespace) -> Rows:
    """Return a row for each baseline and number of threads, with B images at once."""
    T, D, H = options.length, options.inputs, options.hidden_size
    x, _ = make_batch(T, B, D, options.seed)
    runs = {}
    for kind in kinds:
        if hasattr(kind, "predict"):
            baseline = kind(initial(D, H, options.seed))
            for count in options.threads:
                runs[kind.name, count] = with_threads(count, calls(partial(baseline.predict, x)))
    times = time_in_rounds(runs, max(3, options.rounds // 3))
    return [
        {"name": name, "threads": count, "B": B, "images_per_second": float(B / np.median(values) * 1e3)}
        for (name, count), values in times.items()
    ]
