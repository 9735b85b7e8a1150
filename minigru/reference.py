"""The equations, as code: read this file first, with ``docs/equations.md`` beside it.

A row of an array is one sample, so ``W s`` on paper is ``s @ W`` here and a weight is stored (fan_in, fan_out).
One letter per dimension: T steps, B batch, D inputs, H hidden units, K classes. ``[c_prev, x]`` puts the memory first:
rows ``[:H]`` of a recurrent weight meet ``c_prev`` and rows ``[H:]`` meet ``x``.

Each line that is an equation ends with its tag. ``out, cache = f(...)`` computes the forward pass and
``f_backward(dout, cache)`` the backward pass: for every ``name`` of the forward pass there is one ``dname``, the
gradient of the loss with respect to ``name``, in exactly reversed order. The functions are pure, allocate freely, and
are analytic: complex input gives complex output, so a complex step can check a gradient. They do not validate their
input; the engine does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray
Params = dict[str, Array]
Cache = tuple[Any, ...]


def sigmoid(z: Array) -> Array:
    """Logistic function, 1 / (1 + exp(-z))."""
    return 1 / (1 + np.exp(-z))


def concat(memory: Array, x: Array) -> Array:
    """Join (B, H) and (B, D) to (B, H + D): the square brackets of the equations."""
    return np.concatenate([memory, x], axis=1)


def split(joined: Array, H: int) -> tuple[Array, Array]:
    """Undo `concat`: (B, H + D) to (B, H) and (B, D)."""
    return joined[:, :H], joined[:, H:]


# --- The GRU -------------------------------------------------------------------------------------------------------


def gru_cell(x: Array, c_prev: Array, p: Params, inside: Array | float = 1.0) -> tuple[Array, Cache]:
    """One step of the GRU, (G1) to (G6).

    Parameters
    ----------
    x : (B, D)
    c_prev : (B, H)
    p : ``W_u``, ``W_r``, ``W_c`` of shape (H + D, H) and ``b_u``, ``b_r``, ``b_c`` of shape (H,)
    inside : (B, 1), 1 for a sequence that has a step here and 0 for one that has ended

    Returns
    -------
    c : (B, H), the new memory, which is also the activation a
    cache : what `gru_cell_backward` needs
    """
    gamma_u = sigmoid(concat(c_prev, x) @ p["W_u"] + p["b_u"])  # (G1)
    gamma_u = inside * gamma_u  # (G6)
    gamma_r = sigmoid(concat(c_prev, x) @ p["W_r"] + p["b_r"])  # (G2)
    c_tilde = np.tanh(concat(gamma_r * c_prev, x) @ p["W_c"] + p["b_c"])  # (G3)
    c = gamma_u * c_tilde + (1 - gamma_u) * c_prev  # (G4) (G5)
    return c, (x, c_prev, gamma_u, gamma_r, c_tilde, p)


def gru_cell_backward(dc: Array, cache: Cache) -> tuple[Array, Array, Params]:
    """Gradients of one step: `gru_cell` read from its last line to its first.

    Parameters
    ----------
    dc : (B, H), gradient of the loss with respect to c
    cache : from `gru_cell`

    Returns
    -------
    dx : (B, D)
    dc_prev : (B, H)
    grads : the same keys and shapes as the parameters
    """
    x, c_prev, gamma_u, gamma_r, c_tilde, p = cache
    H = c_prev.shape[1]

    dgamma_u = dc * (c_tilde - c_prev)  # (dG4)
    dc_tilde = dc * gamma_u  # (dG4)
    dc_prev = dc * (1 - gamma_u)  # (dG4)

    dz_c = dc_tilde * (1 - c_tilde**2)  # (dG3)
    drc, dx = split(dz_c @ p["W_c"].T, H)  # (dG3)
    dgamma_r = drc * c_prev  # (dG3)
    dc_prev = dc_prev + drc * gamma_r  # (dG3)

    dz_r = dgamma_r * gamma_r * (1 - gamma_r)  # (dG2)
    dc_prev_r, dx_r = split(dz_r @ p["W_r"].T, H)  # (dG2)

    dz_u = dgamma_u * gamma_u * (1 - gamma_u)  # (dG1)
    dc_prev_u, dx_u = split(dz_u @ p["W_u"].T, H)  # (dG1)

    grads = {
        "W_c": concat(gamma_r * c_prev, x).T @ dz_c,  # (dGW)
        "b_c": dz_c.sum(axis=0),  # (dGW)
        "W_r": concat(c_prev, x).T @ dz_r,  # (dGW)
        "b_r": dz_r.sum(axis=0),  # (dGW)
        "W_u": concat(c_prev, x).T @ dz_u,  # (dGW)
        "b_u": dz_u.sum(axis=0),  # (dGW)
    }
    return dx + dx_r + dx_u, dc_prev + dc_prev_r + dc_prev_u, grads


# --- The other GRU: PyTorch's, cuDNN's and Keras's default ---------------------------------------------------------


def gru_after_cell(x: Array, c_prev: Array, p: Params) -> tuple[Array, Cache]:
    """One step of the GRU whose reset gate acts after the product, (P1) to (P4).

    Parameters
    ----------
    x : (B, D)
    c_prev : (B, H)
    p : ``W_k``, ``W_r`` (H + D, H), ``U_c`` (H, H), ``V_c`` (D, H), and ``b_k``, ``b_r``, ``b_q``, ``b_c`` (H,)

    Returns
    -------
    c : (B, H), the new memory
    cache : what `gru_after_cell_backward` needs
    """
    gamma_k = sigmoid(concat(c_prev, x) @ p["W_k"] + p["b_k"])  # (P1)
    gamma_r = sigmoid(concat(c_prev, x) @ p["W_r"] + p["b_r"])  # (P2)
    q = c_prev @ p["U_c"] + p["b_q"]  # (P3)
    c_tilde = np.tanh(gamma_r * q + x @ p["V_c"] + p["b_c"])  # (P3)
    c = gamma_k * c_prev + (1 - gamma_k) * c_tilde  # (P4)
    return c, (x, c_prev, gamma_k, gamma_r, q, c_tilde, p)


def gru_after_cell_backward(dc: Array, cache: Cache) -> tuple[Array, Array, Params]:
    """Gradients of one step: `gru_after_cell` read from its last line to its first.

    Parameters
    ----------
    dc : (B, H)
    cache : from `gru_after_cell`

    Returns
    -------
    dx : (B, D)
    dc_prev : (B, H)
    grads : the same keys and shapes as the parameters
    """
    x, c_prev, gamma_k, gamma_r, q, c_tilde, p = cache
    H = c_prev.shape[1]

    dgamma_k = dc * (c_prev - c_tilde)  # (dP4)
    dc_tilde = dc * (1 - gamma_k)  # (dP4)
    dc_prev = dc * gamma_k  # (dP4)

    dz_c = dc_tilde * (1 - c_tilde**2)  # (dP3)
    dx = dz_c @ p["V_c"].T  # (dP3)
    dgamma_r = dz_c * q  # (dP3)
    dq = dz_c * gamma_r  # (dP3)
    dc_prev = dc_prev + dq @ p["U_c"].T  # (dP3)

    dz_r = dgamma_r * gamma_r * (1 - gamma_r)  # (dP2)
    dc_prev_r, dx_r = split(dz_r @ p["W_r"].T, H)  # (dP2)

    dz_k = dgamma_k * gamma_k * (1 - gamma_k)  # (dP1)
    dc_prev_k, dx_k = split(dz_k @ p["W_k"].T, H)  # (dP1)

    grads = {
        "V_c": x.T @ dz_c,  # (dPW)
        "b_c": dz_c.sum(axis=0),  # (dPW)
        "U_c": c_prev.T @ dq,  # (dPW)
        "b_q": dq.sum(axis=0),  # (dPW)
        "W_r": concat(c_prev, x).T @ dz_r,  # (dPW)
        "b_r": dz_r.sum(axis=0),  # (dPW)
        "W_k": concat(c_prev, x).T @ dz_k,  # (dPW)
        "b_k": dz_k.sum(axis=0),  # (dPW)
    }
    return dx + dx_r + dx_k, dc_prev + dc_prev_r + dc_prev_k, grads


# --- The plain RNN, the baseline -----------------------------------------------------------------------------------


def rnn_cell(x: Array, a_prev: Array, p: Params) -> tuple[Array, Cache]:
    """One step of the plain RNN, (R1).

    Parameters
    ----------
    x : (B, D)
    a_prev : (B, H)
    p : ``W_a`` of shape (H + D, H) and ``b_a`` of shape (H,)

    Returns
    -------
    a : (B, H), the new activation
    cache : what `rnn_cell_backward` needs
    """
    a = np.tanh(concat(a_prev, x) @ p["W_a"] + p["b_a"])  # (R1)
    return a, (x, a_prev, a, p)


def rnn_cell_backward(da: Array, cache: Cache) -> tuple[Array, Array, Params]:
    """Gradients of one step of `rnn_cell`.

    Parameters
    ----------
    da : (B, H)
    cache : from `rnn_cell`

    Returns
    -------
    dx : (B, D)
    da_prev : (B, H)
    grads : the same keys and shapes as the parameters
    """
    x, a_prev, a, p = cache
    dz_a = da * (1 - a**2)  # (dR1)
    da_prev, dx = split(dz_a @ p["W_a"].T, a.shape[1])  # (dR1)
    grads = {"W_a": concat(a_prev, x).T @ dz_a, "b_a": dz_a.sum(axis=0)}  # (dRW)
    return dx, da_prev, grads


# --- Whole sequences: the same cell at every step ------------------------------------------------------------------


def _sequence(cell: Any, x: Array, state: Array, p: Params, *more: Array) -> tuple[Array, list[Cache]]:
    """Run `cell` over x (T, B, D) from `state` (B, H); return the states (T, B, H) and one cache per step.

    Each array of `more` has T rows; the cell gets one of them at each step.
    """
    states, caches = [], []
    for x_t, *more_t in zip(x, *more, strict=True):
        state, cache = cell(x_t, state, p, *more_t)
        states.append(state)
        caches.append(cache)
    return np.stack(states), caches


def _sequence_backward(cell_backward: Any, dstates: Array, caches: list[Cache]) -> tuple[Array, Array, Params]:
    """Backpropagation through time: the gradient of a state comes from above and from the step after it."""
    dx: list[Array] = []
    total: Params = {}
    dstate = np.zeros_like(dstates[0])
    for dstate_t, cache in zip(reversed(dstates), reversed(caches), strict=True):
        dx_t, dstate, grads = cell_backward(dstate_t + dstate, cache)
        dx.append(dx_t)
        total = {name: total.get(name, 0) + grad for name, grad in grads.items()}
    return np.stack(dx[::-1]), dstate, total


def gru_forward(x: Array, c_0: Array, p: Params, lengths: Array | None = None) -> tuple[Array, list[Cache]]:
    """Run the GRU over x (T, B, D) from c_0 (B, H); return the memories (T, B, H) and the cache.

    Sequence b ends after lengths[b] steps; None stands for T, T, …
    """
    T, B, _ = x.shape
    t = np.arange(T)[:, None, None]  # a step is inside a sequence when t < its length
    inside = t < (np.full(B, T) if lengths is None else lengths)[:, None]  # (T, B, 1)
    return _sequence(gru_cell, x, c_0, p, inside)


def gru_backward(dstates: Array, caches: list[Cache]) -> tuple[Array, Array, Params]:
    """Return dx (T, B, D), dc_0 (B, H) and the weight gradients, given the gradient of every memory (T, B, H)."""
    return _sequence_backward(gru_cell_backward, dstates, caches)


def gru_after_forward(x: Array, c_0: Array, p: Params) -> tuple[Array, list[Cache]]:
    """Run the GRU of (P1) to (P4) over x (T, B, D) from c_0 (B, H); return the memories (T, B, H) and the cache."""
    return _sequence(gru_after_cell, x, c_0, p)


def gru_after_backward(dstates: Array, caches: list[Cache]) -> tuple[Array, Array, Params]:
    """Return dx (T, B, D), dc_0 (B, H) and the weight gradients, given the gradient of every memory (T, B, H)."""
    return _sequence_backward(gru_after_cell_backward, dstates, caches)


def rnn_forward(x: Array, a_0: Array, p: Params) -> tuple[Array, list[Cache]]:
    """Run the RNN over x (T, B, D) from a_0 (B, H); return the activations (T, B, H) and the cache."""
    return _sequence(rnn_cell, x, a_0, p)


def rnn_backward(dstates: Array, caches: list[Cache]) -> tuple[Array, Array, Params]:
    """Return dx (T, B, D), da_0 (B, H) and the weight gradients, given the gradient of every state (T, B, H)."""
    return _sequence_backward(rnn_cell_backward, dstates, caches)


# --- From a memory to a loss ---------------------------------------------------------------------------------------


def linear(x: Array, p: Params) -> tuple[Array, Cache]:
    """Map x (B, in) to y (B, out) with ``W`` (in, out) and ``b`` (out,)."""
    y = x @ p["W"] + p["b"]  # (L1)
    return y, (x, p)


def linear_backward(dy: Array, cache: Cache) -> tuple[Array, Params]:
    """Return dx (B, in) and the weight gradients, given dy (B, out)."""
    x, p = cache
    dx = dy @ p["W"].T  # (dL1)
    grads = {"W": x.T @ dy, "b": dy.sum(axis=0)}  # (dL1)
    return dx, grads


def softmax_cross_entropy(logits: Array, labels: Array, w: Array | float = 1.0) -> tuple[Any, Cache]:
    """Mean cross-entropy, in nats, of the softmax of logits (B, K) against integer labels (B,); w (B, 1) weighs."""
    y = np.eye(logits.shape[1])[labels]  # one-hot, (B, K)
    s = logits - logits.real.max(axis=1, keepdims=True)  # (S1)
    log_p = s - np.log(np.exp(s).sum(axis=1, keepdims=True))  # (S2)
    loss = -(w * y * log_p).sum() / len(y)  # (S3)
    return loss, (log_p, y, w)


def softmax_cross_entropy_backward(cache: Cache) -> Array:
    """Return dlogits (B, K)."""
    log_p, y, w = cache
    return w * (np.exp(log_p) - y) / len(y)  # (dS)


# --- Adam ----------------------------------------------------------------------------------------------------------


def adam(
    theta: Array,
    g: Array,
    m: Array,
    v: Array,
    t: int,
    lr: float = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
) -> tuple[Array, Array, Array]:
    """Step number t = 1, 2, … of Adam (Kingma & Ba 2015, algorithm 1); returns the new theta, m and v.

    m and v start as zeros and, like the gradient g, have the shape of theta.
    """
    m = beta1 * m + (1 - beta1) * g  # (A1)
    v = beta2 * v + (1 - beta2) * g**2  # (A2)
    m_hat = m / (1 - beta1**t)  # (A3)
    v_hat = v / (1 - beta2**t)  # (A4)
    theta = theta - lr * m_hat / (np.sqrt(v_hat) + eps)  # (A5)
    return theta, m, v
