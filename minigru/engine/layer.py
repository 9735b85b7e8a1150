"""One flat vector of parameters, one flat vector of gradients, and named views of both."""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableMapping
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from . import checks
from .backend import Array, Backend, get_backend

Key = TypeVar("Key")
Value = TypeVar("Value")


@runtime_checkable
class Trainable(Protocol):
    """What an optimiser can train: a layer or a model, with all parameters in one vector (F8).

    Attributes
    ----------
    backend : where the arrays are
    vector, gradient : (N,), all parameters and their gradients, in the same order
    """

    backend: Backend
    vector: Array
    gradient: Array


class Named(MutableMapping[str, Array]):
    """Views of a flat vector by name. ``named[name] = value`` writes into the vector; names cannot be added or removed.

    Raises
    ------
    KeyError
        There is no such name.
    ValueError
        The value has another shape, is not real, or is not finite.
    """

    def __init__(self, views: dict[str, Array], backend: Backend) -> None:
        self._views, self._backend = views, backend

    def __getitem__(self, name: str) -> Array:
        if not isinstance(name, str) or name not in self._views:
            raise KeyError(f"{checks.shown(name)} is not a name here; expected one of {', '.join(self._views)}")
        return self._views[name]

    def __setitem__(self, name: str, value: Any) -> None:
        view = self[name]
        view[...] = checks.reals(name, value, view.shape, self._backend, view.dtype)

    def __delitem__(self, name: str) -> None:
        raise TypeError(f"{checks.shown(name)} cannot be removed; the names of a layer are fixed")

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)


class Flat:
    """Base of layers and models, whose numbers are in one vector: a copy is a new one with the same numbers.

    A copy, and what comes back from a pickle, has a vector of its own and has not run yet.
    """

    vector: Array
    gradient: Array
    _arguments: tuple[Any, ...]  # what makes another one, but for the random weights

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._arguments, (self.vector, self.gradient)

    def __setstate__(self, numbers: tuple[Array, Array]) -> None:
        self.vector[...], self.gradient[...] = numbers


class Layer(Flat):
    """Base of the layers with weights, each of them an affine map [s, 1] [W; b].

    Every map is one weight block (fan_in + 1, fan_out) of the layer's flat vector: the rows of W, then b as the last
    row. The product with [s, 1] then adds the bias, and one product gives the gradient of both (F5).

    Parameters
    ----------
    maps : for each map, the names of its W and b, and its (fan_in, fan_out)
    backend : "numpy", "cupy" or a `Backend`
    dtype : "float32" or "float64"

    Attributes
    ----------
    vector, gradient : (N,), all parameters and all gradients
    params, grads : mappings of names to views of them, same keys and shapes
    blocks, dblocks : the weight blocks of both
    """

    def __init__(self, maps: dict[tuple[str, str], tuple[int, int]], backend: str | Backend, dtype: Any) -> None:
        self.backend = get_backend(backend)
        self.dtype = checks.dtype(dtype)
        self.maps = maps
        N = sum((fan_in + 1) * fan_out for fan_in, fan_out in maps.values())
        self.bind(self.backend.zeros((N,), self.dtype), self.backend.zeros((N,), self.dtype))

    def bind(self, vector: Array, gradient: Array) -> None:
        """Let the layer use `vector` and `gradient` (N,) as they are, values included."""
        self.vector, self.gradient = vector, gradient
        self.blocks, self.params = self._views(vector)
        self.dblocks, self.grads = self._views(gradient)

    def _views(self, flat: Array) -> tuple[list[Array], Named]:
        blocks, named, start = [], {}, 0
        for (W, b), (fan_in, fan_out) in self.maps.items():
            stop = start + (fan_in + 1) * fan_out
            block = flat[start:stop].reshape(fan_in + 1, fan_out)
            blocks.append(block)
            named[W], named[b] = block[:-1], block[-1]
            start = stop
        return blocks, Named(named, self.backend)


def uniform(rng: np.random.Generator, fan_in: int, shape: tuple[int, int]) -> np.ndarray:
    """Draw weights from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of ``torch.nn.Linear`` and of the article."""
    bound = fan_in**-0.5
    return rng.uniform(-bound, bound, shape)


def join(layers: dict[str, Layer]) -> SimpleNamespace:
    """Move the parameters of several layers into one flat vector and their gradients into another, as `Adam` wants.

    The layers go on as before, with views of the two vectors.

    Returns
    -------
    namespace with `backend`, `vector` and `gradient` (N,), and `params` and `grads`, mappings of "layer.name" to views

    Raises
    ------
    ValueError
        There is no layer, one of them is not a layer with parameters or occurs twice, or they differ in backend or
        dtype.
    """
    _check_layers(layers)
    first = next(iter(layers.values()))
    N = sum(layer.vector.size for layer in layers.values())
    vector, gradient = first.backend.empty((N,), first.dtype), first.backend.empty((N,), first.dtype)
    params, grads, start = {}, {}, 0
    for prefix, layer in layers.items():
        stop = start + layer.vector.size
        vector[start:stop], gradient[start:stop] = layer.vector, layer.gradient
        layer.bind(vector[start:stop], gradient[start:stop])
        params.update({f"{prefix}.{name}": view for name, view in layer.params.items()})
        grads.update({f"{prefix}.{name}": view for name, view in layer.grads.items()})
        start = stop
    backend = first.backend
    named = {"params": Named(params, backend), "grads": Named(grads, backend)}
    return SimpleNamespace(backend=backend, vector=vector, gradient=gradient, **named)


def _check_layers(layers: dict[str, Layer]) -> None:
    if not layers:
        raise ValueError("layers is empty; expected a dict of names to layers")
    seen: dict[int, str] = {}
    kinds = {}
    for name, layer in layers.items():
        if not isinstance(layer, Layer):
            raise ValueError(f"{name} is a {type(layer).__name__}; expected a layer with parameters")
        if id(layer) in seen:
            raise ValueError(f"{name} is the layer {seen[id(layer)]} again; expected each layer once")
        seen[id(layer)], kinds[name] = name, f"{layer.dtype} on {layer.backend.name}"
    (one, expected), *others = kinds.items()
    for name, kind in others:
        if kind != expected:
            raise ValueError(f"{name} is {kind} and {one} is {expected}; expected one dtype and one backend for all")


def remember(cache: dict[Key, Value], key: Key, make: Callable[[], Value], keep: int = 4) -> Value:
    """Return ``cache[key]``, made by ``make()`` the first time; the cache keeps the `keep` keys used last."""
    value = cache.pop(key) if key in cache else make()
    cache[key] = value
    while len(cache) > keep:
        del cache[next(iter(cache))]
    return value
