"""The cell of cuDNN and PyTorch has its reset gate behind the product, and a second bias d_c.

    c_tilde = tanh(gamma_r * (U_c c_prev + d_c) + V_c x + b_c)

In code U_c is W_c[:H] and V_c is W_c[H:]. The rest is the GRU: (G1), (G2) and (G4). (cuDNN's update gate keeps the
memory at 1; here it replaces it, as in (G4).) The grader looks at c, dx, dc_prev and the gradients of all
seven parameters; what the cache holds is up to you. The report calls U_c c_prev + d_c from_memory.

The reference has nearly this cell, with other names: (P1) to (P4) and their gradients. Write yours without looking at
them, and compare the two afterwards.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from minigru.reference import concat, sigmoid, split


def reset_after_cell(x: np.ndarray, c_prev: np.ndarray, p: dict[str, np.ndarray]) -> tuple[np.ndarray, Any]:
    """Return c (B, H) and a cache, given x (B, D), c_prev (B, H) and W_u, W_r, W_c, b_u, b_r, b_c and d_c."""
    H = c_prev.shape[1]
    gamma_u = sigmoid(concat(c_prev, x) @ p["W_u"] + p["b_u"])
    gamma_r = sigmoid(concat(c_prev, x) @ p["W_r"] + p["b_r"])
    from_memory = c_prev @ p["W_c"][:H] + p["d_c"]
    c_tilde = np.tanh(gamma_r * from_memory + x @ p["W_c"][H:] + p["b_c"])
    c = gamma_u * c_tilde + (1 - gamma_u) * c_prev
    return c, (x, c_prev, gamma_u, gamma_r, c_tilde, from_memory, p)


def reset_after_cell_backward(dc: np.ndarray, cache: Any) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Return dx (B, D), dc_prev (B, H) and the gradients of the parameters, by the same names."""
    x, c_prev, gamma_u, gamma_r, c_tilde, from_memory, p = cache
    H = c_prev.shape[1]
    dz_c = dc * gamma_u * (1 - c_tilde**2)
    dfrom_memory = dz_c * gamma_r
    dz_r = dz_c * from_memory * gamma_r * (1 - gamma_r)
    dc_prev_r, dx_r = split(dz_r @ p["W_r"].T, H)
    dz_u = dc * (c_tilde - c_prev) * gamma_u * (1 - gamma_u)
    dc_prev_u, dx_u = split(dz_u @ p["W_u"].T, H)
    dx = dz_c @ p["W_c"][H:].T + dx_r + dx_u
    dc_prev = dc * (1 - gamma_u) + dfrom_memory @ p["W_c"][:H].T + dc_prev_r + dc_prev_u
    grads = {
        "W_u": concat(c_prev, x).T @ dz_u,
        "b_u": dz_u.sum(axis=0),
        "W_r": concat(c_prev, x).T @ dz_r,
        "b_r": dz_r.sum(axis=0),
        "W_c": np.concatenate([c_prev.T @ dfrom_memory, x.T @ dz_c]),
        "b_c": dz_c.sum(axis=0),
        "d_c": dfrom_memory.sum(axis=0),
    }
    return dx, dc_prev, grads
