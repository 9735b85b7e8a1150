"""A cell that the reference does not have: the update gate also sees the memory directly, unit by unit.

    gamma_u = sigmoid(W_u [c_prev, x] + v_u * c_prev + b_u)

v_u is a vector (H,), a diagonal peephole. The rest is the GRU: (G2), (G3) and (G4). The grader looks at c, dx, dc_prev
and the gradients of all seven parameters; what the cache holds is up to you.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigru.reference import concat, sigmoid, split


def peephole_cell(x: np.ndarray, c_prev: np.ndarray, p: dict[str, np.ndarray]) -> tuple[np.ndarray, Any]:
    """Return c (B, H) and a cache, given x (B, D), c_prev (B, H) and W_u, W_r, W_c, b_u, b_r, b_c and v_u."""
    gamma_u = sigmoid(concat(c_prev, x) @ p["W_u"] + p["v_u"] * c_prev + p["b_u"])
    gamma_r = sigmoid(concat(c_prev, x) @ p["W_r"] + p["b_r"])
    c_tilde = np.tanh(concat(gamma_r * c_prev, x) @ p["W_c"] + p["b_c"])
    c = gamma_u * c_tilde + (1 - gamma_u) * c_prev
    return c, (x, c_prev, gamma_u, gamma_r, c_tilde, p)


def peephole_cell_backward(dc: np.ndarray, cache: Any) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return dx (B, D), dc_prev (B, H) and the gradients of the parameters, by the same names."""
    x, c_prev, gamma_u, gamma_r, c_tilde, p = cache
    H = c_prev.shape[1]
    dz_c = dc * gamma_u * (1 - c_tilde**2)
    drc, dx_c = split(dz_c @ p["W_c"].T, H)
    dz_r = drc * c_prev * gamma_r * (1 - gamma_r)
    dc_prev_r, dx_r = split(dz_r @ p["W_r"].T, H)
    dz_u = dc * (c_tilde - c_prev) * gamma_u * (1 - gamma_u)
    dc_prev_u, dx_u = split(dz_u @ p["W_u"].T, H)
    dx = dx_c + dx_r + dx_u
    dc_prev = dc * (1 - gamma_u) + drc * gamma_r + dc_prev_r + dc_prev_u + dz_u * p["v_u"]
    grads = {
        "W_u": concat(c_prev, x).T @ dz_u,
        "v_u": (dz_u * c_prev).sum(axis=0),
        "b_u": dz_u.sum(axis=0),
        "W_r": concat(c_prev, x).T @ dz_r,
        "b_r": dz_r.sum(axis=0),
        "W_c": concat(gamma_r * c_prev, x).T @ dz_c,
        "b_c": dz_c.sum(axis=0),
    }
    return dx, dc_prev, grads
