"""Look inside a model as it reads: gates and memory, class probabilities, and gradient norms, at every step.

The engine keeps only what its backward pass needs, so this module runs the equations of `minigru.reference` on the host
with the model's parameters. Arrays are batch first, as in the model: (B, T, D) in, (B, T, H) out.

`gates` and `answers` read a model from elsewhere too: its parameters by name, as `minigru.interchange.read` returns
them, "gru_after.W_k" and so on for the GRU of (P1) to (P4).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from .. import reference
from ..engine import checks
from ..engine.backend import get_backend
from ..engine.model import SequenceClassifier

Model: TypeAlias = SequenceClassifier | Mapping[str, np.ndarray]


class Trace(NamedTuple):
    """The gates, the candidate and the memory of a GRU at every step, each (B, T, H).

    gamma_u is the gate that replaces the memory at 1; in a trace of (P1) to (P4) it is 1 - gamma_k.
    """

    gamma_u: np.ndarray
    gamma_r: np.ndarray
    c_tilde: np.ndarray
    c: np.ndarray


GATED = {"gru": (2, 3, 4), "gru_after": (2, 3, 5)}  # where a cache of the reference has both gates and the candidate


def gates(model: Model, x: ArrayLike, c_0: np.ndarray | None = None) -> Trace:
    """Return what a GRU computes as it reads x.

    Parameters
    ----------
    model : a classifier with a GRU, on any backend, or the parameters of a GRU by name, on the host
    x : array_like (B, T, D), finite real numbers
    c_0 : (B, H), the memory before the first step; zeros if None

    Raises
    ------
    ValueError
        The model has no gates, or x or c_0 has another shape, is not real or not finite.
    """
    cell = _cell(model)
    if cell not in GATED:
        raise ValueError(f"the model has the cell {cell!r}; expected 'gru' or 'gru_after', the cells with these gates")
    p = _parameters(model, cell)
    D, H = len(p["W_r"]) - p["W_r"].shape[1], p["W_r"].shape[1]
    steps = _time_major(model, x, D)
    B = steps.shape[1]
    c_0 = np.zeros((B, H)) if c_0 is None else _reals("c_0", c_0, (B, H))
    with np.errstate(over="ignore"):  # exp(-z) may overflow; the sigmoid is then 0, as it should be
        c, caches = getattr(reference, f"{cell}_forward")(steps, c_0, p)
    places = GATED[cell]
    gate, gamma_r, c_tilde = (np.stack([cache[i] for cache in caches], axis=1) for i in places)
    return Trace(1 - gate if cell == "gru_after" else gate, gamma_r, c_tilde, c.swapaxes(0, 1))


def answers(model: Model, c: np.ndarray) -> np.ndarray:
    """Return the class probabilities (…, K) that the linear layer computes from memories c (…, H).

    Raises
    ------
    ValueError
        The model has no linear layer, or c has another shape, is not real or not finite.
    """
    p = _parameters(model, "linear")
    if not p:
        raise ValueError("the model has no linear layer; expected 'linear.W' and 'linear.b' among its parameters")
    c = _reals("c", c, ("…",) * (getattr(c, "ndim", 2) - 1) + (len(p["W"]),))
    logits, _ = reference.linear(c, p)
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gradient_norms(model: SequenceClassifier, x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Return the norm of the gradient of the state, da or dc, at every step of x, from the first state to the last.

    Parameters
    ----------
    model : a classifier, on any backend
    x : array_like (B, T, D), finite real numbers
    y : array_like (B,), integers from 0 to K - 1

    Returns
    -------
    norms : (T + 1,), Euclidean over the batch and the units; ``norms[t]`` belongs to the memory after t steps.
        Computed in float64, so that 784 factors smaller than one do not underflow.

    Raises
    ------
    ValueError
        x or y has another shape, type or range.
    """
    steps = _time_major(model, x, model.cell.input_size)
    labels = checks.labels("y", y, steps.shape[1], model.num_classes, get_backend("numpy"))
    cell = _cell(model)
    forward, cell_backward = getattr(reference, f"{cell}_forward"), getattr(reference, f"{cell}_cell_backward")
    with np.errstate(over="ignore"):  # the reference's sigmoid overflows to the right value, 0
        states, caches = forward(steps, _zeros(model, steps), _parameters(model, cell))
        logits, linear_cache = reference.linear(states[-1], _parameters(model, "linear"))
        _, loss_cache = reference.softmax_cross_entropy(logits, labels)
        dstate, _ = reference.linear_backward(reference.softmax_cross_entropy_backward(loss_cache), linear_cache)
        norms = [np.linalg.norm(dstate)]
        for cache in reversed(caches):
            _, dstate, _ = cell_backward(dstate, cache)
            norms.append(np.linalg.norm(dstate))
    return np.array(norms[::-1])


def _cell(model: Model) -> str:
    """Return the name of the model's recurrent layer, with which its parameters begin."""
    return next(iter(_named(model)), "").partition(".")[0]


def _named(model: Model) -> Mapping[str, Any]:
    """Return the parameters of a model by name."""
    return model if isinstance(model, Mapping) else model.params


def _time_major(model: Model, x: ArrayLike, D: int) -> np.ndarray:
    """Return x as (T, B, D) float64 on the host."""
    if isinstance(model, SequenceClassifier) and isinstance(x, model.backend.xp.ndarray):
        x = model.backend.to_host(x)
    return _reals("x", x, ("B", "T", D)).swapaxes(0, 1)


def _reals(name: str, value: ArrayLike, shape: tuple[int | str, ...]) -> np.ndarray:
    """Return a valid argument as float64 on the host."""
    return checks.reals(name, value, shape, get_backend("numpy"), np.dtype(np.float64)).astype(np.float64)


def _zeros(model: SequenceClassifier, steps: np.ndarray) -> np.ndarray:
    """Return the memory (B, H) before the first of the steps (T, B, D)."""
    return np.zeros((steps.shape[1], model.cell.hidden_size))


def _parameters(model: Model, layer: str) -> dict[str, np.ndarray]:
    """Return the parameters of one layer by their names in the reference, as float64 on the host."""
    to_host = np.asarray if isinstance(model, Mapping) else model.backend.to_host
    return {
        name.removeprefix(f"{layer}."): to_host(view).astype(np.float64)
        for name, view in _named(model).items()
        if name.startswith(f"{layer}.")
    }
