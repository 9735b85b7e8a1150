"""What is right in the builds of a cell and of two layers, by the complex step and the reference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import reference
from ..engine.gru import GRU
from ..reference import concat, sigmoid
from .inputs import SIZES, gradients
from .trace import Env
from .verdicts import named


def peephole_cell(x: Any, c_prev: Any, p: Any) -> tuple[Any, None]:
    """The GRU with a diagonal peephole into the update gate."""
    gamma_u = sigmoid(concat(c_prev, x) @ p["W_u"] + p["v_u"] * c_prev + p["b_u"])
    gamma_r = sigmoid(concat(c_prev, x) @ p["W_r"] + p["b_r"])
    c_tilde = np.tanh(concat(gamma_r * c_prev, x) @ p["W_c"] + p["b_c"])
    return gamma_u * c_tilde + (1 - gamma_u) * c_prev, None


def reset_after_cell(x: Any, c_prev: Any, p: Any) -> tuple[Any, None]:
    """The GRU with its reset gate behind the product."""
    H = c_prev.shape[1]
    gamma_u = sigmoid(concat(c_prev, x) @ p["W_u"] + p["b_u"])
    gamma_r = sigmoid(concat(c_prev, x) @ p["W_r"] + p["b_r"])
    c_tilde = np.tanh(gamma_r * (c_prev @ p["W_c"][:H] + p["d_c"]) + x @ p["W_c"][H:] + p["b_c"])
    return gamma_u * c_tilde + (1 - gamma_u) * c_prev, None


def _cell_arguments(extra: str, k: int) -> dict[str, Any]:
    size, rng = SIZES[k], np.random.default_rng(k)
    B, D, H = size["B"], size["D"], size["H"]
    p = {f"W_{gate}": rng.standard_normal((H + D, H)) for gate in "urc"}
    p |= {name: rng.standard_normal(H) for name in ("b_u", "b_r", "b_c", extra)}
    return {"x": rng.standard_normal((B, D)), "c_prev": rng.standard_normal((B, H)), "p": p}


def cell_outputs(name: str, extra: str, module: Env, k: int) -> dict[str, Any]:
    """Return c and all gradients of the cell `name` of a module."""
    given = copy.deepcopy(_cell_arguments(extra, k))
    forward = named(module[name](**given), ("c", "cache"), name)
    dc = np.random.default_rng(9).standard_normal(given["c_prev"].shape)
    back = f"{name}_backward"
    return {"c": forward["c"], **named(module[back](dc, forward["cache"]), ("dx", "dc_prev", "grads"), back)}


def cell_right(cell: Callable[..., Any], extra: str, k: int) -> dict[str, Any]:
    """Return the same from the complex step on `cell`."""
    given = _cell_arguments(extra, k)
    dc = np.random.default_rng(9).standard_normal(given["c_prev"].shape)
    found = gradients(cell, given, [dc])
    grads = {name: found[name] for name in given["p"]}
    return {"c": cell(**given)[0], "dx": found["x"], "dc_prev": found["c_prev"], "grads": grads}


def two_outputs(module: Env, k: int) -> dict[str, Any]:
    """Return the states and all gradients of two layers."""
    below, above, x, dstates = _two_layers(k)
    states = module["forward"](below, above, x)
    dx = module["backward"](below, above, dstates)
    return {"states": states, "dx": dx, "below.grads": dict(below.grads), "above.grads": dict(above.grads)}


def _two_layers(k: int) -> tuple[GRU, GRU, np.ndarray, np.ndarray]:
    size, rng = SIZES[k], np.random.default_rng(k)
    T, B, D, H = (size[letter] for letter in "TBDH")
    below, above = GRU(D, H, dtype="float64", rng=1), GRU(H, H, dtype="float64", rng=2)
    return below, above, rng.standard_normal((T, B, D)), rng.standard_normal((T, B, H))


def two_right(k: int) -> dict[str, Any]:
    """Return the same from the reference."""
    below, above, x, dstates = _two_layers(k)
    zero = np.zeros(dstates.shape[1:])
    middle, caches_below = reference.gru_forward(x, zero, dict(below.params))
    states, caches_above = reference.gru_forward(middle, zero, dict(above.params))
    dmiddle, _, grads_above = reference.gru_backward(dstates, caches_above)
    dx, _, grads_below = reference.gru_backward(dmiddle, caches_below)
    return {"states": states, "dx": dx, "below.grads": grads_below, "above.grads": grads_above}
