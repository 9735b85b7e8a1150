"""Measure what a training step of minigru costs the host and the GPU, for every form of the GRU and every width.

The host's time is that of putting a step into the queue of an idle GPU. The GPU's time is that between two events
behind a large product, which keeps the GPU busy until the whole step is in the queue: it has no gap in which the GPU
waits for the host. A long run takes as long per step as the slower of the two. How many kernels a step has does not
depend on the GPU; docs/gpu.md counts them.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from baselines import Engine, gpu_engines, initial, make_batch
from report import Rows, table

from minigru import cli
from minigru.engine.backend import Backend, BackendUnavailable, get_backend
from minigru.training.files import replace_file

WIDTHS = [32, 128, 129, 256, 512, 1024]


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__)
    add, whole = parser.add_argument, cli.whole
    add("--batch", type=whole("--batch"), default=32, metavar="B", help="batch size (32)")
    add("--length", type=whole("--length"), default=28, metavar="T", help="steps of a sequence (28)")
    add("--inputs", type=whole("--inputs"), default=28, metavar="D", help="inputs per step (28)")
    widths = f"hidden units ({' '.join(map(str, WIDTHS))})"
    add("--hidden-size", type=whole("--hidden-size"), nargs="+", default=WIDTHS, metavar="H", help=widths)
    add("--rounds", type=whole("--rounds"), default=31, metavar="N", help="steps that are timed, one by one (31)")
    add("--product", type=whole("--product"), default=4096, metavar="N", help="rows of the large product (4096)")
    add("--json", type=cli.output_file, metavar="FILE", help="write the figures to this file")
    return parser.parse_args()


def large_product(backend: Backend, n: int) -> Callable[[], Any]:
    """Return a function that launches a product of two (n, n) matrices."""
    a, result = backend.to_device(np.ones((n, n), np.float32)), backend.empty((n, n), "float32")
    return lambda: backend.xp.matmul(a, a, out=result)


def on_host(step: Callable[[], Any], wait: Callable[[], Any], rounds: int) -> float:
    """Return the seconds until `step` returns, the median; ``wait()`` waits for the device."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
        wait()
    return float(np.median(seconds))


def on_device(step: Callable[[], Any], busy: Callable[[], Any], covered: float, rounds: int, cuda: Any) -> float:
    """Return the seconds that the device needs for `step`, the median.

    Parameters
    ----------
    busy : launches what keeps the device busy before each step
    covered : seconds for which the device is to be busy, in which the host launches the step
    cuda : `cupy.cuda`
    """

    def behind(count: int, work: Callable[[], Any]) -> float:
        start, end = cuda.Event(), cuda.Event()
        for _ in range(count):
            busy()
        start.record()
        work()
        end.record()
        end.synchronize()
        return float(cuda.get_elapsed_time(start, end)) / 1e3

    count = 1 + int(covered / min(behind(1, busy) for _ in range(3)))
    return float(np.median([behind(count, step) for _ in range(rounds)]))


def costs(backend: Backend, options: argparse.Namespace) -> Rows:
    """Return a row for each form and width, with the microseconds of the host and of the GPU."""
    busy, rows = large_product(backend, options.product), []
    for H in options.hidden_size:
        for kind in gpu_engines(backend):
            engine: Engine = kind(initial(options.inputs, H, 0))
            batch = engine.prepare(*make_batch(options.length, options.batch, options.inputs, 0))

            def step(engine: Engine = engine, batch: tuple[Any, Any] = batch) -> None:
                engine.step(*batch)

            engine.seconds(3, *batch)  # compiles the kernels
            host = on_host(step, engine.finish, options.rounds)
            device = on_device(step, busy, 2 * host, options.rounds, backend.xp.cuda)
            rows.append({"name": engine.name, "H": H, "host_us": host * 1e6, "gpu_us": device * 1e6})
    return rows


def main() -> int:
    """Measure, and print the table."""
    options = parse_args()
    with cli.exit_on(2, BackendUnavailable):
        backend = get_backend("cupy")
    with cli.exit_on(1, RuntimeError, OSError):
        rows = costs(backend, options)
        cells = [[row["name"], *(f"{row[what]:.0f}" for what in ("H", "host_us", "gpu_us"))] for row in rows]
        title = (
            f"A training step, medians of {options.rounds}: T={options.length} B={options.batch} D={options.inputs}."
        )
        table(title, ["", "H", "host (µs)", "GPU (µs)"], cells)
        if options.json:
            replace_file(options.json, lambda file: file.write((json.dumps({"costs": rows}, indent=1) + "\n").encode()))
    return 0


if __name__ == "__main__":
    cli.run(main)
