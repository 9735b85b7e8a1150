"""(F4), as the engine has it: a kernel that computes (G3) and (G4) and makes no array.

    c_tilde = tanh(z_c)
    c = gamma_u * c_tilde + (1 - gamma_u) * c_prev

On entry c_tilde holds z_c, and c holds nothing of use. Write both results in place, by NumPy calls with `out=`, such as
np.tanh(c_tilde, out=c_tilde). Rearranged, four calls are enough, and the right side needs no 1 - gamma_u. The grader
counts the calls and the new arrays, and runs a whole GRU with this kernel.
"""

from __future__ import annotations

import numpy as np


def gru_memory(c: np.ndarray, c_tilde: np.ndarray, gamma_u: np.ndarray, c_prev: np.ndarray) -> None:
    """Compute c_tilde and c in place; gamma_u and c_prev stay. All are (B, H)."""
    np.tanh(c_tilde, out=c_tilde)
    np.subtract(c_tilde, c_prev, out=c)
    np.multiply(gamma_u, c, out=c)
    np.add(c_prev, c, out=c)
