"""For every layer, and for the whole model, one loss as a function of named arrays: what a gradient check needs.

A case holds the same loss twice: by the engine, with the gradients written by hand, and by `minigru.reference`, which
is analytic. The loss of a layer without one of its own is the sum of its outputs times fixed random weights, so that
every output has a gradient of its own. Inputs, initial states and biases are random too: zero would hide mistakes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import reference
from ..engine import checks
from ..engine.adam import Adam
from ..engine.backend import Backend, get_backend
from ..engine.gru import GRU
from ..engine.linear import Linear
from ..engine.loss import SoftmaxCrossEntropy
from ..engine.model import SequenceClassifier
from ..engine.rnn import RNN
from .check import Arrays

LAYERS = {"gru": GRU, "rnn": RNN}
REFERENCES = {"gru": reference.gru_forward, "rnn": reference.rnn_forward}


@dataclass(frozen=True)
class Case:
    """One loss, computed in two ways.

    Attributes
    ----------
    name : what is checked
    arrays : the point, float64: parameters, input, initial state
    engine : from arrays to the loss and to the gradients by hand, one for each array, all float64 on the host
    reference : from arrays, real or complex, to the loss
    outputs : the fixed random weights of the outputs in the loss, where there are such
    """

    name: str
    arrays: Arrays
    engine: Callable[[Arrays], tuple[float, Arrays]]
    reference: Callable[[Arrays], Any]
    outputs: Arrays


def recurrent(
    cell: str, T: int, B: int, D: int, H: int, backend: str | Backend = "numpy", dtype: str = "float64", seed: int = 0
) -> Case:
    """Return the case of a GRU or RNN, with gradients coming in at the last state and at every state."""
    checks.choice("cell", cell, tuple(LAYERS))
    rng = np.random.default_rng(seed)
    layer = LAYERS[cell](D, H, backend, dtype, rng)
    x, c_0 = _random(rng, dtype, T, B, D), _random(rng, dtype, B, H)
    dlast, dstates = _random(rng, dtype, B, H), _random(rng, dtype, T, B, H)

    def engine(arrays: Arrays) -> tuple[float, Arrays]:
        _assign(layer, arrays)
        states = _host(layer, layer.forward(arrays["x"], arrays["c_0"]))
        dx, dc_0 = layer.backward(dlast, dstates)
        loss = float((states * dstates).sum() + (states[-1] * dlast).sum())
        return loss, {**_gradients(layer), "x": _host(layer, dx), "c_0": _host(layer, dc_0)}

    def by_reference(arrays: Arrays) -> Any:
        states, _ = REFERENCES[cell](arrays["x"], arrays["c_0"], arrays)
        return (states * dstates).sum() + (states[-1] * dlast).sum()

    arrays = {**_parameters(layer, rng), "x": x, "c_0": c_0}
    return Case(cell.upper(), arrays, engine, by_reference, {"dlast": dlast, "dstates": dstates})


def linear(B: int, D: int, K: int, backend: str | Backend = "numpy", dtype: str = "float64", seed: int = 0) -> Case:
    """Return the case of a linear layer from D to K."""
    rng = np.random.default_rng(seed)
    layer = Linear(D, K, backend, dtype, rng)
    x, dy = _random(rng, dtype, B, D), _random(rng, dtype, B, K)

    def engine(arrays: Arrays) -> tuple[float, Arrays]:
        _assign(layer, arrays)
        y = _host(layer, layer.forward(arrays["x"]))
        dx = layer.backward(dy)
        return float((y * dy).sum()), {**_gradients(layer), "x": _host(layer, dx)}

    def by_reference(arrays: Arrays) -> Any:
        return (reference.linear(arrays["x"], arrays)[0] * dy).sum()

    return Case("Linear", {**_parameters(layer, rng), "x": x}, engine, by_reference, {"dy": dy})


def loss(B: int, K: int, backend: str | Backend = "numpy", dtype: str = "float64", seed: int = 0) -> Case:
    """Return the case of softmax cross-entropy."""
    rng = np.random.default_rng(seed)
    criterion = SoftmaxCrossEntropy(backend, dtype)
    labels = rng.integers(K, size=B)

    def engine(arrays: Arrays) -> tuple[float, Arrays]:
        value = float(criterion.forward(arrays["logits"], labels))
        return value, {"logits": _host(criterion, criterion.backward())}

    def by_reference(arrays: Arrays) -> Any:
        return reference.softmax_cross_entropy(arrays["logits"], labels)[0]

    return Case(
        "SoftmaxCrossEntropy", {"logits": 3 * _random(rng, dtype, B, K)}, engine, by_reference, {"labels": labels}
    )


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
    """Return the case of the whole classifier, after so many steps of Adam on other random batches."""
    checks.whole("steps", steps, 0)
    rng = np.random.default_rng(seed)
    classifier = SequenceClassifier(D, H, K, cell, backend, dtype, rng)
    x, labels = _random(rng, dtype, B, T, D), rng.integers(K, size=B)
    start = _parameters(classifier, rng)
    _assign(classifier, start)
    adam = Adam(classifier, lr=1e-2)
    for _ in range(steps):
        classifier.loss(rng.standard_normal((B, T, D)), rng.integers(K, size=B))
        classifier.backward()
        adam.step()

    def engine(arrays: Arrays) -> tuple[float, Arrays]:
        _assign(classifier, arrays)
        value = float(classifier.loss(arrays["x"], labels))
        classifier.backward()
        gradients = _gradients(classifier)
        dlast = classifier.linear.backward(classifier.criterion.backward())
        dx, _ = classifier.cell.backward(dlast)
        return value, {**gradients, "x": _host(classifier, dx).transpose(1, 0, 2)}

    def by_reference(arrays: Arrays) -> Any:
        p = {name.rpartition(".")[2]: array for name, array in arrays.items()}
        states, _ = REFERENCES[cell](p["x"].transpose(1, 0, 2), np.zeros((B, H)), p)
        logits, _ = reference.linear(states[-1], p)
        return reference.softmax_cross_entropy(logits, labels)[0]

    arrays = {name: _host(classifier, view) for name, view in classifier.params.items()} | {"x": x}
    name = f"{cell.upper()} classifier, " + (f"after {steps} steps" if steps else "at initialisation")
    return Case(name, arrays, engine, by_reference, {"labels": labels})


def _random(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray:
    """Draw standard normal numbers that `dtype` holds exactly, as float64."""
    return rng.standard_normal(shape).astype(dtype).astype(np.float64)


def _parameters(layer: Any, rng: np.random.Generator) -> Arrays:
    """Return the layer's weights as they are, and random biases, rounded to the layer's dtype."""
    return {
        name: (rng.standard_normal(view.shape) if view.ndim == 1 else _host(layer, view))
        .astype(layer.dtype)
        .astype(np.float64)
        for name, view in layer.params.items()
    }


def _assign(layer: Any, arrays: Arrays) -> None:
    for name, view in layer.params.items():
        view[...] = layer.backend.to_device(arrays[name].astype(layer.dtype))


def _gradients(layer: Any) -> Arrays:
    return {name: _host(layer, view) for name, view in layer.grads.items()}


def _host(layer: Any, array: Any) -> np.ndarray:
    """Return a float64 copy on the host, which the layer will not write to again."""
    return np.array(layer.backend.to_host(array), dtype=np.float64)


def all_cases(cells: tuple[str, ...], size: str, backend: str = "numpy", dtype: str = "float64") -> list[Case]:
    """Return every case for these cells: "small" for a check of each element, "full" for MNIST's sizes.

    Raises
    ------
    ValueError
        A cell is neither "gru" nor "rnn", size neither "small" nor "full", or backend or dtype is unknown.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """
    checks.choice("size", size, ("small", "full"))
    chosen = get_backend(backend)
    T, B, D, H, K = {"small": (6, 3, 4, 5, 3), "full": (28, 8, 28, 128, 10)}[size]
    found = [linear(B, H, K, chosen, dtype), loss(B, K, chosen, dtype)]
    for cell in cells:
        found.append(recurrent(cell, T, B, D, H, chosen, dtype))
        found += [model(cell, T, B, D, H, K, steps, chosen, dtype) for steps in (0, 20)]
    return found
