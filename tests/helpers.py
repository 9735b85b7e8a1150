"""Small tools of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import minigru
from minigru import reference

ROOT = Path(__file__).resolve().parents[1]

FORWARD = {"gru": reference.gru_forward, "rnn": reference.rnn_forward}
BACKWARD = {"gru": reference.gru_backward, "rnn": reference.rnn_backward}
CELLS = {"gru": minigru.GRU, "rnn": minigru.RNN}


def randomise(layer: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Give every parameter, biases too, random values; return a float64 copy of them."""
    for view in layer.params.values():
        view[...] = rng.standard_normal(view.shape) / np.sqrt(view.shape[0] if view.ndim == 2 else 4)
    return {name: view.astype(np.float64) for name, view in layer.params.items()}


def poison(layer: Any) -> int:
    """Fill all working memory of a layer, model or optimiser, and the gradients, with NaN; return how many arrays."""
    if isinstance(layer, minigru.SequenceClassifier):
        return poison(layer.cell) + poison(layer.linear) + poison(layer.criterion)
    working = ("_buffers", "_transposed", "_scratch")
    found = [array for name in working for array in arrays_in(getattr(layer, name, None))]
    found += getattr(layer, "grads", {}).values()
    found = [array for array in found if array.dtype.kind == "f"]  # the classes of the loss are a constant
    for array in found:
        array[...] = np.nan
    return len(found)


def arrays_in(thing: Any) -> list[Any]:
    """Return the arrays in nested dicts, namespaces and lists."""
    if hasattr(thing, "dtype"):  # an array of NumPy, CuPy or the fake device
        return [thing]
    if isinstance(thing, SimpleNamespace):
        thing = vars(thing)
    if isinstance(thing, dict):
        thing = list(thing.values())
    return [array for item in thing or [] for array in arrays_in(item)]


def relative(value: Any, expected: Any) -> float:
    """Norm of the difference over the norm of what was expected; NaN where anything is NaN."""
    value, expected = np.asarray(value), np.asarray(expected)
    assert value.shape == expected.shape
    return float(np.linalg.norm(value - expected) / max(np.linalg.norm(expected), 1e-300))


def run_script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository as a user would, with one BLAS thread."""
    return subprocess.run(
        [sys.executable, str(next((ROOT / "scripts").rglob(name))), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
    )
