"""What happens inside a model as it reads: every gate and memory, every answer, every gradient on its way back.

The engine keeps only what its next step needs, so the equations of `minigru.reference` are run on the host with the
model's parameters. Batch first, as the model: (B, T, D) in, (B, T, H) out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

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


def gates(model: SequenceClassifier, x: Any, c0: np.ndarray | None = None) -> Trace:
    """Return what a GRU computes as it reads x.

    Parameters
    ----------
    model : a classifier with a GRU, on any backend
    x : array_like (B, T, D), finite real numbers
    c0 : (B, H), the memory before the first step; None is zero

    Raises
    ------
    ValueError
        The model has no gates, or x has another shape, is not real or not finite.
    """
    if "gru.W_u" not in model.params:
        raise ValueError("the model is a plain RNN, which has no gates; expected one with cell 'gru'")
    x = _steps(model, x)
    with np.errstate(over="ignore"):  # in exp(-z), where the sigmoid is then 0, as it should be
        c, caches = reference.gru_forward(x, _zeros(model, x) if c0 is None else c0, _parameters(model, "gru"))
    gamma_u, gamma_r, c_tilde = (np.stack([cache[place] for cache in caches]) for place in (2, 3, 4))
    return Trace(*(array.swapaxes(0, 1) for array in (gamma_u, gamma_r, c_tilde, c)))


def answers(model: SequenceClassifier, c: np.ndarray) -> np.ndarray:
    """Return the class probabilities (…, K) that the linear layer reads from memories c (…, H)."""
    logits, _ = reference.linear(c, _parameters(model, "linear"))
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def gradient_norms(model: SequenceClassifier, x: Any, y: Any) -> np.ndarray:
    """Return the norm of dLoss/da at every step of x, from the first memory to the last.

    Parameters
    ----------
    model : a classifier with a GRU or a plain RNN, on any backend
    x : array_like (B, T, D), finite real numbers
    y : array_like (B,), integers from 0 to K - 1

    Returns
    -------
    norms : (T + 1,), Euclidean over the batch and the units; ``norms[t]`` belongs to the memory after t steps. Float64
        throughout, so that 784 factors smaller than one do not end in zero.

    Raises
    ------
    ValueError
        x or y has another shape, type or range.
    """
    x = _steps(model, x)
    y = checks.labels("y", y, x.shape[1], model.num_classes, get_backend("numpy"))
    kind = "gru" if "gru.W_u" in model.params else "rnn"
    forward, cell_backward = {
        "gru": (reference.gru_forward, reference.gru_cell_backward),
        "rnn": (reference.rnn_forward, reference.rnn_cell_backward),
    }[kind]
    states, caches = forward(x, _zeros(model, x), _parameters(model, kind))
    logits, linear_cache = reference.linear(states[-1], _parameters(model, "linear"))
    _, loss_cache = reference.softmax_cross_entropy(logits, y)
    dstate, _ = reference.linear_backward(reference.softmax_cross_entropy_backward(loss_cache), linear_cache)
    norms = [np.linalg.norm(dstate)]
    for cache in reversed(caches):
        _, dstate, _ = cell_backward(dstate, cache)
        norms.append(np.linalg.norm(dstate))
    return np.array(norms[::-1])


def _steps(model: SequenceClassifier, x: Any) -> np.ndarray:
    """Return x time major, (T, B, D) float64 on the host."""
    x = model.backend.to_host(x)
    x = checks.reals("x", x, ("B", "T", model.cell.input_size), get_backend("numpy"), np.dtype(np.float64))
    return x.astype(np.float64).swapaxes(0, 1)


def _zeros(model: SequenceClassifier, x: np.ndarray) -> np.ndarray:
    return np.zeros((x.shape[1], model.cell.hidden_size))


def _parameters(model: SequenceClassifier, layer: str) -> dict[str, np.ndarray]:
    """Return the parameters of one layer by their own names, float64 on the host."""
    return {
        name.removeprefix(f"{layer}."): model.backend.to_host(view).astype(np.float64)
        for name, view in model.params.items()
        if name.startswith(f"{layer}.")
    }
