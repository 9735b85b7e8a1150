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
    """Fill every buffer of a layer or model, and its gradients, with NaN; return how many arrays there were."""
    if isinstance(layer, minigru.SequenceClassifier):
        return poison(layer.cell) + poison(layer.linear) + poison(layer.criterion)
    return _poison(layer._buffers) + _poison(getattr(layer, "grads", {}))


def _poison(thing: Any) -> int:
    if isinstance(thing, np.ndarray):
        if thing.dtype.kind != "f":
            return 0  # classes, which is a constant
        thing[...] = np.nan
        return 1
    if isinstance(thing, SimpleNamespace):
        thing = vars(thing)
    if isinstance(thing, dict):
        thing = thing.values()
    return sum(map(_poison, thing)) if thing is not None else 0


def relative(value: Any, expected: Any) -> float:
    """Norm of the difference over the norm of what was expected; NaN where anything is NaN."""
    value, expected = np.asarray(value), np.asarray(expected)
    assert value.shape == expected.shape
    return float(np.linalg.norm(value - expected) / max(np.linalg.norm(expected), 1e-300))


def run_script(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script of the repository as a user would, with one BLAS thread."""
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / name), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
    )
