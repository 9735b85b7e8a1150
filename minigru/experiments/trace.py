"""Look inside a model as it reads: gates and memory, class probabilities, and gradient norms, at every step.

The engine keeps only what its backward pass needs, so this module runs the equations of `minigru.reference` on the host
with the model's parameters. Arrays are batch first, as in the model: (B, T, D) in, (B, T, H) out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import reference
from ..engine import checks
from ..engine.backend import get_backend
from ..engine.model import SequenceClassifier


class Trace(NamedTuple):
    """The gates, the candidate and the memory of a GRU at every step, each (B, T, H)."""

    gamma_u: np.ndarray
    gamma_r: np.ndarray
    c_tilde: np.ndarray
    c: np.ndarray


def gates(model: SequenceClassifier, x: ArrayLike, c_0: np.ndarray | None = None) -> Trace:
    """Return what a GRU computes as it reads x.

    Parameters
    ----------
    model : a classifier with a GRU, on any backend
    x : array_like (B, T, D), finite real numbers
    c_0 : (B, H), the memory before the first step; zeros if None

    Raises
    ------
    ValueError
        The model has no gates, or x or c_0 has another shape, is not real or not finite.
    """
    if _cell(model) != "gru":
        raise ValueError(f"the model has the cell {_cell(model)!r}; expected 'gru', the cell with these gates")
    steps = _time_major(model, x)
    c_0 = _zeros(model, steps) if c_0 is None else _reals("c_0", c_0, (steps.shape[1], model.cell.hidden_size))
    with np.errstate(over="ignore"):  # exp(-z) may overflow; the sigmoid is then 0, as it should be
        c, caches = reference.gru_forward(steps, c_0, _parameters(model, "gru"))
    kept = [(gamma_u, gamma_r, c_tilde) for _, _, gamma_u, gamma_r, c_tilde, _ in caches]
    gamma_u, gamma_r, c_tilde = (np.stack(gate, axis=1) for gate in zip(*kept, strict=True))
    return Trace(gamma_u, gamma_r, c_tilde, c.swapaxes(0, 1))


def answers(model: SequenceClassifier, c: np.ndarray) -> np.ndarray:
    """Return the class probabilities (…, K) that the linear layer computes from memories c (…, H).

    Raises
    ------
    ValueError
        c has another shape, is not real or not finite.
    """
    c = _reals("c", c, ("…",) * (getattr(c, "ndim", 2) - 1) + (model.cell.hidden_size,))
    logits, _ = reference.linear(c, _parameters(model, "linear"))
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
    steps = _time_major(model, x)
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


def _cell(model: SequenceClassifier) -> str:
    """Return the name of the model's recurrent layer, with which its parameters begin."""
    return next(iter(model.params)).partition(".")[0]


def _time_major(model: SequenceClassifier, x: ArrayLike) -> np.ndarray:
    """Return x as (T, B, D) float64 on the host."""
    shape = ("B", "T", model.cell.input_size)
    array = model.backend.to_host(x) if isinstance(x, model.backend.xp.ndarray) else x
    return _reals("x", array, shape).swapaxes(0, 1)


def _reals(name: str, value: ArrayLike, shape: tuple[int | str, ...]) -> np.ndarray:
    """Return a valid argument as float64 on the host."""
    return checks.reals(name, value, shape, get_backend("numpy"), np.dtype(np.float64)).astype(np.float64)


def _zeros(model: SequenceClassifier, steps: np.ndarray) -> np.ndarray:
    """Return the memory (B, H) before the first of the steps (T, B, D)."""
    return np.zeros((steps.shape[1], model.cell.hidden_size))


def _parameters(model: SequenceClassifier, layer: str) -> dict[str, np.ndarray]:
    """Return the parameters of one layer by their names in the reference, as float64 on the host."""
    return {
        name.removeprefix(f"{layer}."): model.backend.to_host(view).astype(np.float64)
        for name, view in model.params.items()
        if name.startswith(f"{layer}.")
    }
