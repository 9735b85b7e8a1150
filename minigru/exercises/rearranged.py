"""What is right in the builds that rearrange the engine, (F2) and (F4): the values, and how many calls they took."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from ..engine.backend import Backend
from ..engine.gru import GRU
from ..engine.kernels import numpy_kernels
from .inputs import SIZES
from .trace import Env


class Counted(np.ndarray):
    """An array that counts the NumPy functions that are called with it, and those that make a new array."""

    calls: list[tuple[str, bool]]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, out: Any = None, **more: Any) -> Any:
        """Note the call, and compute on plain arrays."""
        Counted.calls.append((ufunc.__name__, out is None))
        plain = [np.asarray(value) if isinstance(value, Counted) else value for value in inputs]
        kept = {} if out is None else {"out": tuple(np.asarray(array) for array in out)}
        result = getattr(ufunc, method)(*plain, **kept, **more)
        return out[0] if out is not None else np.asarray(result).view(Counted)


def product_outputs(module: Env, k: int) -> dict[str, Any]:
    """Return a weight gradient, and how many products it took."""
    T, B, D, H = (SIZES[k][letter] for letter in "TBDH")
    rng = np.random.default_rng(k)
    cx, dz = (rng.standard_normal(shape) for shape in ((T, B, H + D), (T, B, H)))
    Counted.calls = []
    dW = module["weight_gradient"](cx.view(Counted), dz.view(Counted))
    products = sum(name == "matmul" for name, _ in Counted.calls)
    return {"dW": _plain(dW), "The number of matrix products": np.array(products)}


def product_right(k: int) -> dict[str, Any]:
    """Return the same, as a sum over the steps."""
    T, B, D, H = (SIZES[k][letter] for letter in "TBDH")
    rng = np.random.default_rng(k)
    cx, dz = (rng.standard_normal(shape) for shape in ((T, B, H + D), (T, B, H)))
    return {"dW": sum(c.T @ d for c, d in zip(cx, dz, strict=True)), "The number of matrix products": np.array(1)}


def memory_outputs(module: Env, k: int) -> dict[str, Any]:
    """Return what the kernel of a module leaves in each array, what it took, and what a GRU with it computes."""
    B, H = SIZES[k]["B"], SIZES[k]["H"]
    rng = np.random.default_rng(k)
    given = [rng.standard_normal((B, H)) for _ in range(4)]
    c, c_tilde, gamma_u, c_prev = (array.copy().view(Counted) for array in given)
    Counted.calls = []
    module["gru_memory"](c, c_tilde, gamma_u, c_prev)
    made = sum(new for _, new in Counted.calls)
    found = {"c": c, "c_tilde": c_tilde, "gamma_u": gamma_u, "c_prev": c_prev}
    kernels: Any = SimpleNamespace(**{**vars(numpy_kernels), "gru_memory": module["gru_memory"]})
    gru = GRU(3, 4, Backend("numpy", np, kernels), "float64", rng=1)
    x = rng.standard_normal((2, B, 3))
    return {
        **{name: _plain(array) for name, array in found.items()},
        "The number of NumPy calls": np.array(len(Counted.calls)),
        "The number of new arrays": np.array(made),
        "The GRU with this kernel": gru.forward(x),
    }


def _plain(value: Any) -> Any:
    return np.asarray(value) if isinstance(value, np.ndarray) else value


def memory_right(k: int) -> dict[str, Any]:
    """Return the same from the kernel of the engine."""
    return memory_outputs(vars(numpy_kernels), k)
