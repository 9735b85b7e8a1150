"""The section `ranks`: what one rank computes, and what the sum over the ranks costs."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from costs import cost
from formulas import count_parameters
from rank_baseline import RankJob
from report import table


def ranks_section(job: RankJob, options: argparse.Namespace) -> dict[str, Any]:
    """Measure and print what a rank computes by its share of the batch, and what a sum costs by its length."""
    T, D, H = options.length, options.inputs, options.hidden_size
    largest = 8 * max(options.batch)
    computing = cost([(T, 2**power, D, H) for power in range(largest.bit_length())], options)
    cells = [[f"{row['B']}", f"{row['ms']:.2f}", f"{row['ms'] / row['B'] * 1e3:.0f}"] for row in computing]
    head = ["share", "ms per step", "µs per sample"]
    table(f"What one rank computes: T={T} D={D} H={H}, 1 thread.", head, cells)
    message = count_parameters(D, H) + 2  # the gradient, the loss, and the wish to stop
    sums = [{"elements": n, "ms": allreduce(job, n, options.rounds)} for n in (1, message)]
    cells = [[f"{row['elements']:,}", f"{row['ms'] * 1e3:.0f}"] for row in sums]
    table(f"The sum over {job.ranks} ranks on this machine.", ["float32", "µs"], cells)
    return {"ranks": {"computing": computing, "sums": sums}}


def allreduce(job: RankJob, elements: int, rounds: int) -> float:
    """Return the milliseconds of one sum over the ranks, the median of the rounds."""
    sums = 500
    return float(np.median([job.ask(sums=sums, elements=elements) / sums * 1e3 for _ in range(rounds)]))
