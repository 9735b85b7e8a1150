"""Measure what the rearrangements of docs/engine.md save that cost a reader lines: (F6), (F7), (F9), (F13), (F14).

Each is undone alone, in a model of its own, which must still compute the same gradients and take the same step of
Adam. Then these models are timed in rounds, with minigru as it is. Other programs that run on the machine spoil the
figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
from baselines import Engine, initial, make_batch
from machine import machine
from report import Rows, in_words, table
from timing import time_in_rounds, with_threads

from minigru import cli
from minigru.engine.backend import Array, Backend, get_backend
from minigru.training.files import replace_file

T, D, H = 28, 28, 128
LONG = 392  # steps, after which the gradient of a fresh model has vanished
Undo = Callable[[dict[str, np.ndarray]], Engine]


def present(owner: Any, name: str) -> Any:
    """Return ``owner.name``, so that an ablation of what is no longer there fails.

    Raises
    ------
    ValueError
        owner has no such attribute.
    """
    if not hasattr(owner, name):
        raise ValueError(f"there is no {name} to undo any more; nothing was timed")
    return getattr(owner, name)


def transpose_each_time(params: dict[str, np.ndarray]) -> Engine:
    """(F6): the products of the backward loop get transposed views, which BLAS lays out anew for each product."""
    engine = Engine(params)
    cell = engine.model.cell
    present(cell, "_transposed_recurrent_weights")
    cell._transposed_recurrent_weights = lambda: [block[: cell.hidden_size].T for block in cell.blocks]
    return engine


class Unaligned(Backend):
    """(F7): arrays start where NumPy puts them."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an uninitialised array."""
        return self.xp.empty(shape, dtype)


def leave_arrays_unaligned(params: dict[str, np.ndarray]) -> Engine:
    """(F7) undone."""
    numpy = get_backend("numpy")
    present(numpy, "empty")
    return Engine(params, Unaligned(**vars(numpy)))


def keep_subnormals(params: dict[str, np.ndarray]) -> Engine:
    """(F9): a vanished gradient stays."""
    numpy = get_backend("numpy")
    present(numpy.kernels, "flush")
    kernels = SimpleNamespace(**{**vars(numpy.kernels), "flush": lambda d: None})
    return Engine(params, dataclasses.replace(numpy, kernels=kernels))


def multiply_all_rows(params: dict[str, np.ndarray]) -> Engine:
    """(F13): a product takes all rows of a batch at once."""
    numpy = get_backend("numpy")
    present(numpy.kernels, "product")
    kernels = SimpleNamespace(**{**vars(numpy.kernels), "product": np.matmul})
    return Engine(params, dataclasses.replace(numpy, kernels=kernels))


def keep_batches_whole(params: dict[str, np.ndarray]) -> Engine:
    """(F14): a batch is not divided."""
    numpy = get_backend("numpy")
    present(numpy, "cached_batch")
    return Engine(params, dataclasses.replace(numpy, cached_batch=sys.maxsize))


ABLATIONS: dict[str, Undo] = {
    "F6": transpose_each_time,
    "F7": leave_arrays_unaligned,
    "F9": keep_subnormals,
    "F13": multiply_all_rows,
    "F14": keep_batches_whole,
}


def parse_args() -> argparse.Namespace:
    """Return the options."""
    parser = cli.Parser(description=__doc__)
    add, whole = parser.add_argument, cli.whole
    add(
        "--batch",
        type=whole("--batch"),
        nargs="+",
        default=[32, 128, 512],
        metavar="B",
        help="batch sizes (32 128 512)",
    )
    add("--rounds", type=whole("--rounds"), default=15, metavar="N", help="rounds in which every model is timed (15)")
    add("--threads", type=whole("--threads"), default=1, metavar="N", help="BLAS threads (1)")
    add("--json", type=cli.output_file, metavar="FILE", help="write all figures to this file")
    return parser.parse_args()


def verify(ablations: dict[str, Undo]) -> None:
    """Compare each ablation with minigru.

    Raises
    ------
    ValueError
        A gradient, or a parameter after a step of Adam, differs from minigru's.
    """
    params, (x, y) = initial(5, 6, 0), make_batch(20, 256, 5, 0)  # as many samples as (F14) divides
    ours = Engine(params)
    ours.step(x, y)
    for tag, undo in ablations.items():
        other = undo(params)
        other.step(x, y)
        for name in params:
            for mine, its in ((ours.model.grads, other.model.grads), (ours.model.params, other.model.params)):
                error = np.linalg.norm(mine[name] - its[name]) / np.linalg.norm(mine[name])
                if not error < 1e-4:
                    raise ValueError(f"without {tag}, {name} differs by {error:.1e}; nothing was timed")


def savings(tags: list[str], T: int, B: int, options: argparse.Namespace, lr: float = 1e-3) -> Rows:
    """Return what each rearrangement saves, in milliseconds per step and as a share of the step without it."""
    params, (x, y) = initial(D, H, 0), make_batch(T, B, D, 0)
    runs = {}
    for tag, undo in {"": Engine, **{tag: ABLATIONS[tag] for tag in tags}}.items():
        engine = undo(params)
        engine.adam.lr = lr
        runs[tag] = with_threads(options.threads, partial(engine.seconds, x=x, y=y))
    times = time_in_rounds(runs, options.rounds)
    ours = times.pop("")
    return [
        {
            "tag": tag,
            "T": T,
            "B": B,
            "ms": float(np.median(ours)),
            "saved_ms": float(np.median(undone - ours)),
            "saved_share": float(np.median(1 - ours / undone)),
        }
        for tag, undone in times.items()
    ]


def main() -> int:
    """Measure, and print the savings."""
    options, about = parse_args(), machine()
    print(f"{about['processor']}, {about['cores']} cores, {about['blas']}, {in_words(options.threads)}")
    with cli.exit_on(1, ValueError, OSError):
        verify(ABLATIONS)
        rows = [row for B in options.batch for row in savings([*ABLATIONS], T, B, options)]
        rows += savings(["F9"], LONG, 32, options, lr=0)  # the gradient vanishes in a fresh model only
        saved = {
            tag: [f"{r['saved_ms']:.2f} ({r['saved_share']:.0%})" for r in rows if r["tag"] == tag] for tag in ABLATIONS
        }
        head = ["", *(f"B={B}" for B in options.batch), f"B=32 T={LONG}, untrained"]
        cells = [[tag, *texts, *[""] * (len(head) - 1 - len(texts))] for tag, texts in saved.items()]
        title = f"Saved: milliseconds of a training step (share of the step without it). T={T} D={D} H={H}."
        table(title, head, cells)
        whole = {row["B"]: f"{row['ms']:.2f}" for row in rows if row["T"] == T}
        print(f"\nA step of minigru as it is: {', '.join(whole.values())} ms.")
        if options.json:
            found = {"machine": about, "threads": options.threads, "savings": rows}
            replace_file(options.json, lambda file: file.write((json.dumps(found, indent=1) + "\n").encode()))
    return 0


if __name__ == "__main__":
    cli.run(main)
