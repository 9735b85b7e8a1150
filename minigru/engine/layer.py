"""One flat vector of parameters, one flat gradient, and named views of both."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks
from .backend import Backend, get_backend


class Layer:
    """Base of the layers with weights, each of them an affine map [z, 1] [W; b].

    Every map is one block (fan_in + 1, fan_out) of the layer's flat vector: the rows of W, then b as the last row. So
    the product with [z, 1] adds the bias, and the gradient of the block is one product too (F5).

    Parameters
    ----------
    maps : for each map, the names of its W and b, and its (fan_in, fan_out)
    backend : "numpy", "cupy" or a `Backend`
    dtype : "float32" or "float64"

    Attributes
    ----------
    vector, gradient : (N,), all parameters and all gradients
    params, grads : dicts of named views of them, same keys and shapes. Assign in place:
        ``layer.params["W"][...] = w``.
    """

    def __init__(self, maps: dict[tuple[str, str], tuple[int, int]], backend: str | Backend, dtype: Any) -> None:
        self.backend = get_backend(backend)
        self.dtype = checks.dtype(dtype)
        self.maps = maps
        N = sum((fan_in + 1) * fan_out for fan_in, fan_out in maps.values())
        self.bind(self.backend.zeros((N,), self.dtype), self.backend.zeros((N,), self.dtype))

    def bind(self, vector: Any, gradient: Any) -> None:
        """Make `vector` and `gradient` (N,) the layer's own memory; the values in them stay as they are."""
        self.vector, self.gradient = vector, gradient
        self.blocks, self.params = self._views(vector)
        self.dblocks, self.grads = self._views(gradient)

    def _views(self, flat: Any) -> tuple[list[Any], dict[str, Any]]:
        blocks, named, start = [], {}, 0
        for (W, b), (fan_in, fan_out) in self.maps.items():
            stop = start + (fan_in + 1) * fan_out
            block = flat[start:stop].reshape(fan_in + 1, fan_out)
            blocks.append(block)
            named[W], named[b] = block[:-1], block[-1]
            start = stop
        return blocks, named

    def set(self, name: str, value: np.ndarray) -> None:
        """Copy a host array into the parameter `name`, on whichever device it is."""
        self.params[name][...] = self.backend.to_device(value.astype(self.dtype))


def uniform(rng: np.random.Generator, fan_in: int, shape: tuple[int, int]) -> np.ndarray:
    """Draw weights from U(-1/sqrt(fan_in), 1/sqrt(fan_in)), the default of ``torch.nn.Linear`` and of the article."""
    bound = fan_in**-0.5
    return rng.uniform(-bound, bound, shape)


def join(layers: dict[str, Layer]) -> tuple[Any, Any, dict[str, Any], dict[str, Any]]:
    """Move the parameters of several layers into one flat vector, and their gradients into another.

    Returns
    -------
    vector, gradient : (N,)
    params, grads : dicts of views keyed "layer.name"
    """
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
    return vector, gradient, params, grads


def remember(cache: dict[Any, Any], key: Any, make: Any, keep: int = 4) -> Any:
    """Return ``cache[key]``, made by ``make()`` the first time; only the `keep` latest used stay in memory."""
    value = cache.pop(key) if key in cache else make()
    cache[key] = value
    while len(cache) > keep:
        del cache[next(iter(cache))]
    return value
