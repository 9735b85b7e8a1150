"""The recurrence of the GRU in two launches per time step, for an H too large for the persistent kernel.

Arguments are those of `minigru.engine.kernels.gru_persistent`.
"""

from __future__ import annotations

from typing import TypeAlias

import cupy

from . import cuda
from .products import made

Array: TypeAlias = "cupy.ndarray"


def forward(W: Array, c_0: Array | None, c: Array, gates: Array, rc: Array, D: int) -> None:
    """Run all steps forward, (G1) to (G4)."""
    (T, B, H), here = rc.shape, cuda.here()
    c[0] = 0 if c_0 is None else c_0
    for t in range(T):
        sizes = t, T, B, D, H
        made("gru_gates", rc.dtype, sizes, *here)(W, c, gates, rc)  # (G1) (G2) (G3)
        made("gru_memory", rc.dtype, sizes, *here)(W, c, gates, rc)  # (G3) (G4)


def backward(
    W: Array,
    c: Array,
    gates: Array,
    rc: Array,
    dlast: Array | None,
    dstates: Array | None,
    dz: Array,
    dc: Array,
    D: int,
) -> None:
    """Run all steps backward, (dG4) to (dG1)."""
    (T, B, H), here = rc.shape, cuda.here()
    dc_next, kept = dlast, cupy.empty(dc.shape, dc.dtype)
    for t in reversed(range(T)):
        sizes = t, T, B, D, H
        through_candidate = made("gru_candidate_backward", rc.dtype, sizes, *here)
        through_candidate(W, c, gates, rc, dc_next, dstates, dz, kept)  # (dG4) (dG3) (dG2)
        made("gru_gates_backward", rc.dtype, sizes, *here)(W, dz, kept, dc)  # (dG2) (dG1)
        dc_next = dc
