"""Time several programs fairly: in rounds, so that a disturbance of the machine reaches all of them.

A run is a function that takes a number of steps and returns the seconds that they took.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

Key = TypeVar("Key", bound=Hashable)
Run = Callable[[int], float]


def time_in_rounds(runs: Mapping[Key, Run], rounds: int, seconds: float = 0.2) -> dict[Key, np.ndarray]:
    """Return the milliseconds per step of each run, one value per round, (rounds,).

    In every round each run takes its turn, which lasts about `seconds`.
    """
    steps = {}
    for key, run in runs.items():
        run(2)
        steps[key] = max(1, round(seconds / (run(2) / 2)))
    times: dict[Key, list[float]] = {key: [] for key in runs}
    for _ in tqdm(range(rounds), "rounds", leave=False, disable=None):
        for key, run in runs.items():
            time.sleep(0.1)  # the idle threads of the run before spin for a while, and would disturb this one
            run(1)
            times[key].append(run(steps[key]) / steps[key] * 1e3)
    return {key: np.array(values) for key, values in times.items()}


def spread(times: np.ndarray) -> dict[str, float]:
    """Return the median and both quartiles."""
    low, median, high = np.percentile(times, (25, 50, 75))
    return {"ms": float(median), "low": float(low), "high": float(high)}


def calls(function: Callable[[], Any], finish: Callable[[], Any] = lambda: None) -> Run:
    """Return a run whose step is one call of `function`; `finish` waits for a device."""

    def run(steps: int) -> float:
        start = time.perf_counter()
        for _ in range(steps):
            function()
        finish()
        return time.perf_counter() - start

    return run


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Set the number of threads of BLAS, OpenMP and, if it is loaded, PyTorch."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)
    with threadpool_limits(count):
        yield


def with_threads(count: int, run: Run) -> Run:
    """Return the run with that many threads."""

    def limited(steps: int) -> float:
        with threads(count):
            return run(steps)

    return limited
