"""The section `memory`: the RAM that training takes, beside the formula in docs/engine.md."""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import tracemalloc
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from baselines import Engine, initial, make_batch
from formulas import training_bytes
from report import table


def memory_section(options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print the RAM of training at every batch size, each in a fresh process."""
    T, D, H = options.length, options.inputs, options.hidden_size
    rows, fresh = [], multiprocessing.get_context("spawn")
    for B in options.batch:
        with ProcessPoolExecutor(1, mp_context=fresh) as pool:
            rows.append({"B": B, **pool.submit(measure, T, B, D, H).result()})
    cells = [
        [f"{row['B']}", *(f"{row[what] / 2**20:.1f}" for what in ("formula", "allocated", "before", "peak"))]
        for row in rows
    ]
    head = ["B", "formula", "allocated", "process before", "peak of process"]
    table(f"RAM of training: MiB, T={T} D={D} H={H}, float32.", head, cells)
    return {"memory": rows}


def measure(T: int, B: int, D: int, H: int) -> dict[str, int]:
    """Return, in bytes, what NumPy allocates for a model in training, and the peak of this process before and after."""
    params, (x, y) = initial(D, H, 0), make_batch(T, B, D, 0)
    before = peak()
    tracemalloc.start()
    engine = Engine(params)
    engine.seconds(3, x, y)
    arrays = tracemalloc.DomainFilter(inclusive=True, domain=np.lib.tracemalloc_domain)
    allocated = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([arrays]).traces)
    tracemalloc.stop()
    return {"formula": training_bytes(T, B, D, H), "allocated": allocated, "before": before, "peak": peak()}


def peak() -> int:
    """Return the most bytes of RAM that this process has held at a time, or 0 where the system does not say."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text("utf-8", "replace").splitlines():
            if line.startswith("VmHWM"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # on Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS, the only other system with it
