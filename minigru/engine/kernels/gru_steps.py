"""The recurrence of the GRU in two launches per time step, for an H too large for the persistent kernel.

Arguments are those of `minigru.engine.kernels.gru_persistent`.
"""

from __future__ import annotations

from typing import TypeAlias

import cupy

from .products import launch

Array: TypeAlias = "cupy.ndarray"


def forward(W: Array, c_0: Array | None, c: Array, gates: Array, rc: Array, D: int) -> None:
    """Run all steps forward, (G1) to (G4)."""
    T, B, H = rc.shape
    for t in range(T):
        launch("gru_gates", (W, c_0, c, gates, rc), (T, B, D, H), t)  # (G1) (G2) (G3)
        launch("gru_memory", (W, c, gates, rc), (T, B, D, H), t)  # (G3) (G4)


def backward(
    W: Array,
    c: Array,
    gates: Array,
    rc: Array,
    dlast: Array | None,
    dstates: Array | None,
    dz: Array,
    dc: Array,
    kept: Array,
    D: int,
) -> None:
    """Run all steps backward, (dG4) to (dG1)."""
    T, B, H = rc.shape
    sizes, dc_next = (T, B, D, H), dlast
    for t in reversed(range(T)):
        launch("gru_candidate_backward", (W, c, gates, rc, dc_next, dstates, dz, kept), sizes, t)  # (dG4) to (dG1)
        launch("gru_gates_backward", (W, dz, kept, dc), sizes, t)  # (dG2) (dG1)
        dc_next = dc
