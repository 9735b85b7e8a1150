"""Small tools of the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import minigru
from minigru import Backend, reference
from minigru.engine.model import CELLS

ROOT = Path(__file__).resolve().parents[1]

FORWARD, BACKWARD = ({cell: getattr(reference, f"{cell}_{way}") for cell in CELLS} for way in ("forward", "backward"))


def randomise(layer: Any, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Give every parameter, biases too, random values; return a float64 copy of them."""
    for name, view in layer.params.items():
        layer.params[name] = rng.standard_normal(view.shape) / np.sqrt(view.shape[0] if view.ndim == 2 else 4)
    return {name: view.astype(np.float64) for name, view in layer.params.items()}


@dataclass(frozen=True)
class Recording(Backend):
    """A backend that keeps a list of the arrays it hands out, each of them full of NaN."""

    handed_out: list[Any] = field(default_factory=list)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        array = super().empty(shape, dtype)
        array[...] = np.nan
        self.handed_out.append(array)
        return array


def recording(backend: Backend | str = "numpy") -> Recording:
    """Return a recording twin of a backend."""
    return Recording(**vars(minigru.get_backend(backend)))


def poison(backend: Recording, *keep: Any) -> None:
    """Fill every array that the backend has handed out with NaN, but for `keep`, which are views of some of them."""
    kept = [array.copy() for array in keep]
    for array in backend.handed_out:
        array[...] = np.nan
    for array, values in zip(keep, kept, strict=True):
        array[...] = values


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
