"""Ready-made problems for the gradient checker: every layer, and the whole model.

A case computes one loss in two ways: by the engine, together with the gradients written by hand, and by the analytic
functions of `minigru.reference`. A layer without a loss of its own gets the sum of its outputs times fixed random
weights, so that every output has its own gradient. Inputs, initial states and biases are random too, because a zero
would hide mistakes.

The sizes are those of `minigru.reference`: T steps, B samples, D inputs, H units, K outputs or classes. `backend` and
`dtype` are those of the engine, and `seed` draws all numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .. import reference
from ..engine import checks
from ..engine.adam import Adam
from ..engine.backend import Array, Backend, get_backend
from ..engine.linear import Linear
from ..engine.loss import SoftmaxCrossEntropy
from ..engine.model import CELLS, SequenceClassifier
from ..engine.recurrent import Recurrent
from .check import Arrays, Function

Model: TypeAlias = Recurrent | Linear | SequenceClassifier


@dataclass(frozen=True)
class Case:
    """One loss, computed in two ways."""

    name: str  # of the layer or model, as a title
    arrays: Arrays  # the point, float64: parameters, input, initial state
    engine: Callable[[Arrays], tuple[float, Arrays]]  # the loss and the gradients by hand, float64 on the host
    reference: Function  # the loss, of real or complex arrays
    constants: Arrays  # what else the loss depends on: labels, or the random weights of the outputs


def recurrent(
    cell: str,
    T: int,
    B: int,
    D: int,
    H: int,
    backend: str | Backend = "numpy",
    dtype: str = "float64",
    seed: int = 0,
    ragged: bool = False,
) -> Case:
    """Return the case of a GRU or RNN, with gradients coming in at the last state and at every state.

    The sequences of a `ragged` case have random lengths from 1 to T; it is for the GRU.

    Raises
    ------
    ValueError
        cell, backend or dtype is unknown, or a size is not a whole number from 1 up.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """
    checks.choice("cell", cell, tuple(CELLS))
    T, B = checks.whole("T", T), checks.whole("B", B)
    rng = np.random.default_rng(checks.whole("seed", seed, 0))
    D, H = checks.whole("D", D), checks.whole("H", H)
    layer = CELLS[cell](D, H, backend, dtype, rng)
    x, c_0 = _random(rng, dtype, T, B, D), _random(rng, dtype, B, H)
    dlast, dstates = _random(rng, dtype, B, H), _random(rng, dtype, T, B, H)
    more = {"lengths": rng.integers(1, T + 1, size=B)} if ragged else {}

    def loss_of(states: np.ndarray) -> np.number:
        return (states * dstates).sum() + (states[-1] * dlast).sum()

    def engine(arrays: Arrays) -> tuple[float, Arrays]:
        _assign(layer, arrays)
        loss = float(loss_of(layer.backend.to_host(layer.forward(arrays["x"], arrays["c_0"], **more))))
        dx, dc_0 = layer.backward(dlast, dstates)
        return loss, _on_host(layer.backend, {**layer.grads, "x": dx, "c_0": dc_0})

    def by_reference(arrays: Arrays) -> np.number:
        return loss_of(_reference(cell)(arrays["x"], arrays["c_0"], arrays, **more)[0])

    arrays = {**_parameters(layer, rng), "x": x, "c_0": c_0}
    name = cell.upper() + (", sequences of several lengths" if ragged else "")
    return Case(name, arrays, engine, by_reference, {"dlast": dlast, "dstates": dstates, **more})


def linear(B: int, D: int, K: int, backend: str | Backend = "numpy", dtype: str = "float64", seed: int = 0) -> Case:
    """Return the case of a linear layer from D to K; errors as for `recurrent`."""
    B, D, K = checks.whole("B", B), checks.whole("D", D), checks.whole("K", K)
    rng = np.random.default_rng(checks.whole("seed", seed, 0))
    layer = Linear(D, K, backend, dtype, rng)
    x, dy = _random(rng, dtype, B, D), _random(rng, dtype, B, K)

    def engine(arrays: Arrays) -> tuple[float, Arrays]:
        _assign(layer, arrays)
        loss = float((layer.backend.to_host(layer.forward(arrays["x"])) * dy).sum())
        dx = layer.backward(dy)
        return loss, _on_host(layer.backend, {**layer.grads, "x": dx})

    def by_reference(arrays: Arrays) -> np.number:
        return (reference.linear(arrays["x"], arrays)[0] * dy).sum()

    return Case("Linear", {**_parameters(layer, rng), "x": x}, engine, by_reference, {"dy": dy})


def loss(B: int, K: int, backend: str | Backend = "numpy", dtype: str = "float64", seed: int = 0) -> Case:
    """Return the case of weighted softmax cross-entropy; errors as for `recurrent`."""
    B, K = checks.whole("B", B), checks.whole("K", K)
    rng = np.random.default_rng(checks.whole("seed", seed, 0))
    criterion = SoftmaxCrossEntropy(backend, dtype)
    labels, weights = rng.integers(K, size=B), rng.uniform(0.5, 2, B)

    def engine(arrays: Arrays) -> tuple[float, Arrays]:
        value = float(criterion.forward(arrays["logits"], labels, weights))
        return value, _on_host(criterion.backend, {"logits": criterion.backward()})

    def by_reference(arrays: Arrays) -> np.number:
        return reference.softmax_cross_entropy(arrays["logits"], labels, weights[:, None])[0]

    arrays = {"logits": 3 * _random(rng, dtype, B, K)}
    return Case("SoftmaxCrossEntropy", arrays, engine, by_reference, {"labels": labels, "weights": weights})


def model(
    cell: str,
    T: int,
    B: int,
    D: int,
    H: int,
    K: int,
    steps: int = 0,
    backend: str | Backend = "numpy",
    dtype: str = "float64",
    seed: int = 0,
) -> Case:
    """Return the case of the whole classifier, after `steps` steps of Adam on other random batches.

    Errors are as for `recurrent`; `steps` may be 0.
    """
    checks.choice("cell", cell, tuple(CELLS))
    D, H, K = checks.whole("D", D), checks.whole("H", H), checks.whole("K", K)
    T, B, steps = checks.whole("T", T), checks.whole("B", B), checks.whole("steps", steps, 0)
    rng = np.random.default_rng(checks.whole("seed", seed, 0))
    classifier = SequenceClassifier(D, H, K, cell, backend, dtype, rng)
    x, labels = _random(rng, dtype, B, T, D), rng.integers(K, size=B)
    _assign(classifier, _parameters(classifier, rng))
    adam = Adam(classifier, lr=1e-2)
    for _ in range(steps):
        classifier.loss(rng.standard_normal((B, T, D)), rng.integers(K, size=B))
        classifier.backward()
        adam.step()

    def engine(arrays: Arrays) -> tuple[float, Arrays]:
        _assign(classifier, arrays)
        value = float(classifier.loss(arrays["x"], labels))
        classifier.backward()
        gradients = _on_host(classifier.backend, classifier.grads)
        # The model does not compute dx, so its layers are asked for it one by one.
        dx, _ = classifier.cell.backward(classifier.linear.backward(classifier.criterion.backward()))
        return value, {**gradients, **_on_host(classifier.backend, {"x": dx.transpose(1, 0, 2)})}

    def by_reference(arrays: Arrays) -> np.number:
        p = {name.rpartition(".")[2]: array for name, array in arrays.items()}
        states, _ = _reference(cell)(p["x"].transpose(1, 0, 2), np.zeros((B, H)), p)
        logits, _ = reference.linear(states[-1], p)
        return reference.softmax_cross_entropy(logits, labels)[0]

    arrays = {**_on_host(classifier.backend, classifier.params), "x": x}
    name = f"{cell.upper()} classifier, " + (f"after {steps} steps" if steps else "at initialisation")
    return Case(name, arrays, engine, by_reference, {"labels": labels})


def all_cases(cells: tuple[str, ...], size: str, backend: str = "numpy", dtype: str = "float64") -> list[Case]:
    """Return every case for these cells: "small" for a check of each element, "full" for MNIST's sizes.

    Raises
    ------
    ValueError
        A cell, backend or dtype is unknown, or size is neither "small" nor "full".
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """
    checks.choice("size", size, ("small", "full"))
    chosen = get_backend(backend)
    T, B, D, H, K = {"small": (6, 3, 4, 5, 3), "full": (28, 8, 28, 128, 10)}[size]
    found = [linear(B, H, K, chosen, dtype), loss(B, K, chosen, dtype)]
    for cell in cells:
        found.append(recurrent(cell, T, B, D, H, chosen, dtype))
        if CELLS[cell].can_keep:
            found.append(recurrent(cell, T, B, D, H, chosen, dtype, ragged=True))
        found += [model(cell, T, B, D, H, K, steps, chosen, dtype) for steps in (0, 20)]
    return found


def _reference(cell: str) -> Callable[..., tuple[np.ndarray, object]]:
    """Return the forward pass of a cell in `minigru.reference`."""
    return getattr(reference, f"{cell}_forward")


def _random(rng: np.random.Generator, dtype: str | np.dtype, *shape: int) -> np.ndarray:
    """Return standard normal numbers in float64, rounded to `dtype`."""
    return rng.standard_normal(shape).astype(dtype).astype(np.float64)


def _parameters(model: Model, rng: np.random.Generator) -> Arrays:
    """Return the initial weights and random biases."""
    initial = _on_host(model.backend, model.params)
    return {
        name: array if array.ndim == 2 else _random(rng, model.dtype, *array.shape) for name, array in initial.items()
    }


def _assign(model: Model, arrays: Arrays) -> None:
    """Write the parameters of the point into the model, which validates their shapes and values."""
    for name in model.params:
        model.params[name] = arrays[name]


def _on_host(backend: Backend, arrays: Mapping[str, Array]) -> Arrays:
    """Return float64 copies on the host, which no later call of the layer overwrites."""
    return {name: np.array(backend.to_host(array), np.float64) for name, array in arrays.items()}
