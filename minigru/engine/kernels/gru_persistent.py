"""The recurrence of the GRU as one persistent CUDA kernel: compiles and launches ``gru_persistent.cu``.

Arrays are C-contiguous and of one dtype. U_u, U_r and U_c (H, H) are the rows of the weights that meet the memory.
c (T + 1, B, H) begins with the initial memory. All other arrays are (T, B, H) unless a docstring gives another shape.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import cupy
import numpy as np

from . import cuda

Array: TypeAlias = "cupy.ndarray"

ROWS, COLUMNS = 16, 2  # of the tile of each recurrent matrix that one thread keeps in registers
LARGEST = {"float32": 128, "float64": 64}  # H whose three recurrent matrices fit into the registers of one block


def fits(H: int, dtype: np.dtype) -> bool:
    """Return whether the kernels support this size; they support any T, B and D."""
    return LARGEST[dtype.name] >= H


def forward(
    U_u: Array, U_r: Array, U_c: Array, c: Array, gamma_u: Array, gamma_r: Array, c_tilde: Array, rc: Array
) -> None:
    """Run all steps forward, (G1) to (G4).

    On entry gamma_u, gamma_r and c_tilde hold what the inputs and the biases add to z_u, z_r and z_c. c[0] holds the
    initial memory.
    """
    _launch("gru_forward", gamma_u.shape, (U_u, U_r, U_c, c, gamma_u, gamma_r, c_tilde, rc))


def backward(
    U_u: Array,
    U_r: Array,
    U_c: Array,
    c: Array,
    gamma_u: Array,
    gamma_r: Array,
    c_tilde: Array,
    rc: Array,
    dstates: Array | None,
    dz_u: Array,
    dz_r: Array,
    dz_c: Array,
    dc: Array,
) -> None:
    """Run all steps backward, (dG4) to (dG1).

    dc (B, H) holds the gradient of the last memory on entry and the gradient of the initial memory on return. dstates
    holds the gradient of every memory from outside the recurrence, or is None.
    """
    every_state = np.int32(dstates is not None)
    # Without dstates the kernel reads none; c takes its place, since a launch needs a pointer.
    dstates = cupy.ascontiguousarray(c if dstates is None else dstates, c.dtype)
    arrays = (U_u, U_r, U_c, c, gamma_u, gamma_r, c_tilde, rc, dstates, every_state, dz_u, dz_r, dz_c, dc)
    _launch("gru_backward", gamma_u.shape, arrays)


def _launch(name: str, shape: tuple[int, int, int], arguments: tuple[Array | np.int32, ...]) -> None:
    (T, B, H), REAL, tile = shape, arguments[0].dtype.name, ROWS * COLUMNS
    width = -(-H // tile) * tile
    threads = width * width // tile
    # As few rounds of blocks as one element per thread allows, and as few samples per block as fill these rounds.
    processors = _processors(cupy.cuda.runtime.getDevice())
    rounds = -(-B // (processors * (threads // width)))
    samples = -(-B // (processors * rounds))
    macros = {"REAL": REAL, "ROWS": ROWS, "COLUMNS": COLUMNS, "WIDTH": width, "SAMPLES": samples}
    kernel, blocks = cuda.kernel("gru_persistent", name, **macros), -(-B // samples)
    kernel((blocks,), (threads,), (*arguments, np.int32(T), np.int32(B), np.int32(H)))


@cache
def _processors(device: int) -> int:
    return cupy.cuda.Device(device).attributes["MultiProcessorCount"]
