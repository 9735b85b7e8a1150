"""The interface of a baseline, and minigru's own: what bench.py times.

A baseline is made from the parameters of minigru's model. `prepare` converts a batch, `step` takes one training step
(forward, loss, backward, Adam at 1e-3). The baselines with the equations of minigru also have `check`, for the loss and
the gradients. Dimensions: T steps, B samples, D inputs, H hidden units, K classes.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import minigru
from minigru.engine.kernels import numpy_kernels

K = 10
Params = dict[str, np.ndarray]


def initial(D: int, H: int, seed: int) -> Params:
    """Return the parameters that every baseline starts from."""
    model = minigru.SequenceClassifier(D, H, K, rng=seed)
    return {name: view.copy() for name, view in model.params.items()}


def make_batch(T: int, B: int, D: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return x (B, T, D), four fifths of it zero as in MNIST, and labels (B,)."""
    rng = np.random.default_rng(seed)
    x = rng.random((B, T, D), dtype=np.float32) * (rng.random((B, T, D)) < 0.2)
    return x.astype(np.float32), rng.integers(K, size=B)


def sizes(params: Params) -> tuple[int, int]:
    """Return D and H."""
    H = params["gru.b_u"].size
    return params["gru.W_u"].shape[0] - H, H


class Baseline:
    """What bench.py asks of every baseline."""

    name: str
    same_equations = True  # as minigru: loss, gradients and a step of Adam can be compared
    trains = True  # or only classifies
    part = 500  # images are classified at once; fast for most baselines, the others have their own

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Return the batch x (B, T, D), y (B,) in the form that `step` and `check` take."""
        return x, y

    def step(self, x: Any, y: Any) -> Any:
        """Take one training step."""
        raise NotImplementedError

    def check(self, x: Any, y: Any) -> tuple[float, Params]:
        """Return the loss and the gradients, keyed as minigru's, at the present parameters."""
        raise NotImplementedError

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name and value of every parameter; the names are minigru's where the equations are."""
        raise NotImplementedError

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (B, K) of images x (B, T, D), computed together."""
        raise NotImplementedError

    def in_parts(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (B, K) of images x (B, T, D), `part` images at a time."""
        return np.concatenate([self.logits(x[start : start + self.part]) for start in range(0, len(x), self.part)])

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the classes (B,) of images x (B, T, D)."""
        return self.in_parts(x).argmax(axis=1)

    def claims(self, x: Any, y: Any) -> dict[str, bool]:
        """Return what the name of the baseline claims beyond the equations, and whether it holds."""
        return {}

    def finish(self) -> None:
        """Wait until the device has finished the steps."""

    def seconds(self, steps: int, x: Any, y: Any) -> float:
        """Return how long that many training steps take."""
        start = time.perf_counter()
        for _ in range(steps):
            self.step(x, y)
        self.finish()
        return time.perf_counter() - start


class Engine(Baseline):
    """minigru in one process."""

    name = "minigru"
    part = 10_000  # its model divides them itself
    backend: str | minigru.Backend = "numpy"

    def __init__(self, params: Params, backend: minigru.Backend | None = None) -> None:
        self.model = minigru.SequenceClassifier(*sizes(params), K, backend=backend or self.backend)
        self.to_device, self.to_host = self.model.backend.to_device, self.model.backend.to_host
        for name, value in params.items():
            self.model.params[name][...] = self.to_device(value)
        self.adam = minigru.Adam(self.model)

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Return the batch on the device of the engine."""
        return self.to_device(x), self.to_device(y)

    def finish(self) -> None:
        """Wait for the device."""
        self.to_host(self.model.vector[:1])

    def step(self, x: Any, y: Any) -> None:
        """Take one training step."""
        self.model.loss_and_gradient(x, y)
        self.adam.step()

    def check(self, x: Any, y: Any) -> tuple[float, Params]:
        """Return the loss and the gradients at the present parameters."""
        loss = float(self.model.loss_and_gradient(x, y))
        return loss, {name: self.to_host(grad).copy() for name, grad in self.model.grads.items()}

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name and value of every parameter."""
        return ((name, self.to_host(value)) for name, value in self.model.params.items())

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (B, K) of images x (B, T, D)."""
        return self.model.logits(x)


def gpu_engines(backend: minigru.Backend) -> list[type[Engine]]:
    """Return minigru on a GPU: as it is, without the persistent kernel, and without any kernel of its own."""
    spec = importlib.util.spec_from_file_location("numpy_kernels_on_cupy", numpy_kernels.__file__)
    plain = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plain)
    plain.np, plain.product = backend.xp, backend.kernels.product
    plain.HALF, plain.ONE = backend.to_device(plain.HALF), backend.to_device(plain.ONE)
    steps = dataclasses.replace(backend, persistent=None)
    made = {
        "minigru": backend,
        "minigru, fused step halves": steps,
        "minigru, one call an operation": dataclasses.replace(steps, kernels=plain),
    }
    return [type("GPUEngine", (Engine,), {"name": name, "backend": backend}) for name, backend in made.items()]
