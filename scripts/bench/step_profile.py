"""The section `profile`: what the time of minigru's training step is spent on."""

from __future__ import annotations

import argparse
import dataclasses
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from baselines import Engine, initial, make_batch
from formulas import flops
from report import Rows, table
from timing import threads

from minigru.engine.backend import Array, get_backend

RECURRENCE = "products of B rows: the recurrence"
WEIGHTS = "products of T B rows: weight gradients"
ELEMENTWISE = "elementwise steps, and the other layers"
ADAM = "Adam"
PYTHON = "Python between the calls, checks, copies"


def profile_section(options: argparse.Namespace, rate: float) -> dict[str, Any]:
    """Measure and print where the step goes, with one thread; `rate` is that of a large product in GFLOP/s."""
    T, D, H = options.length, options.inputs, options.hidden_size
    with threads(1):
        spent = {B: profile(T, B, D, H) for B in options.batch}
    sums = {B: sum(parts.values()) for B, parts in spent.items()}
    cells = [
        [name, *(f"{parts[name]:.2f} ({parts[name] / sums[B]:.0%})" for B, parts in spent.items())]
        for name in (RECURRENCE, WEIGHTS, ELEMENTWISE, ADAM, PYTHON)
    ]
    cells.append(["all", *(f"{ms:.2f}" for ms in sums.values())])
    cells.append(["its products at the product rate", *(f"{flops(T, B, D, H) / rate / 1e6:.2f}" for B in spent)])
    head = ["ms (share of the step)", *(f"B={B}" for B in spent)]
    table(f"Where minigru's step goes: T={T} D={D} H={H}, 1 thread, watched call by call.", head, cells)
    rows: Rows = [{"B": B, **parts} for B, parts in spent.items()]
    return {"profile": rows}


def profile(T: int, B: int, D: int, H: int, seconds: float = 1.0) -> dict[str, float]:
    """Return the milliseconds of a training step by what they are spent on; the measurement lasts about `seconds`."""
    spent = dict.fromkeys((RECURRENCE, WEIGHTS, ELEMENTWISE, ADAM), 0.0)

    def watched(function: Callable[..., Any], kind: Callable[..., str]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            spent[kind(*args, **kwargs)] += time.perf_counter() - start
            return result

        return call

    def product(a: Array, b: Array, out: Array) -> str:
        model = engine.model
        if np.shares_memory(out, model.gradient):
            return WEIGHTS
        return ELEMENTWISE if np.shares_memory(b, model.params["linear.W"]) else RECURRENCE

    numpy = get_backend("numpy")
    add = watched(np.add, lambda *_, out: ELEMENTWISE)
    xp = SimpleNamespace(**{**vars(np), "matmul": watched(np.matmul, product), "add": add})
    kinds = {"adam": ADAM, "product": RECURRENCE}
    kernels = {
        name: watched(function, lambda *_, name=name, **__: kinds.get(name, ELEMENTWISE))
        for name, function in vars(numpy.kernels).items()
        if callable(function) and not name.startswith("_") and not isinstance(function, type)
    }
    backend = dataclasses.replace(numpy, xp=xp, kernels=SimpleNamespace(**kernels))
    engine, (x, y) = Engine(initial(D, H, 0), backend), make_batch(T, B, D, 0)
    engine.seconds(3, x, y)
    steps = max(1, round(seconds / (engine.seconds(2, x, y) / 2)))
    spent.update(dict.fromkeys(spent, 0.0))
    whole = engine.seconds(steps, x, y)
    spent[PYTHON] = whole - sum(spent.values())
    return {what: value / steps * 1e3 for what, value in spent.items()}
