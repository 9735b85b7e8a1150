"""The recurrence of the GRU as one CUDA kernel, for the sizes that fit: compiles ``gru_persistent.cu`` and launches it.

Arrays are C-contiguous and of one dtype. U_u, U_r and U_c are the rows of the weights that meet the memory, (H, H).
c is (T + 1, B, H), from the initial memory on; every other array is (T, B, H) unless said otherwise.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import cupy
import numpy as np

from . import cuda

Array: TypeAlias = "cupy.ndarray"

ROWS, COLUMNS = 16, 2  # of each recurrent matrix, in the registers of one thread
LARGEST = {"float32": 128, "float64": 64}  # H whose three recurrent matrices the registers of one block can hold


def fits(H: int, dtype: np.dtype) -> bool:
    """Return whether the kernels take this size; any T, B and D will do."""
    return LARGEST[dtype.name] >= H


def forward(
    U_u: Array, U_r: Array, U_c: Array, c: Array, gamma_u: Array, gamma_r: Array, c_tilde: Array, rc: Array
) -> None:
    """All steps forward, (G1) to (G4).

    gamma_u, gamma_r and c_tilde come in as what the inputs and the biases contribute to z_u, z_r and z_c, and of c the
    initial memory c[0] is given.
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
    """All steps backward, (dG4) to (dG1).

    dc is (B, H); it comes in as the gradient of the last memory and goes out as that of the initial one. dstates adds
    to the gradient of every memory, unless it is None.
    """
    every_state = np.int32(dstates is not None)
    dstates = cupy.ascontiguousarray(c if dstates is None else dstates, c.dtype)
    arrays = (U_u, U_r, U_c, c, gamma_u, gamma_r, c_tilde, rc, dstates, every_state, dz_u, dz_r, dz_c, dc)
    _launch("gru_backward", gamma_u.shape, arrays)


def _launch(name: str, shape: tuple[int, int, int], arguments: tuple[Any, ...]) -> None:
    (T, B, H), REAL, tile = shape, arguments[0].dtype.name, ROWS * COLUMNS
    width = -(-H // tile) * tile
    threads = width * width // tile
    # As few samples a block as keep every multiprocessor busy, and no more than leave each element a thread of its own.
    samples = min(threads // width, -(-B // _processors(cupy.cuda.runtime.getDevice())))
    macros = {"REAL": REAL, "ROWS": ROWS, "COLUMNS": COLUMNS, "WIDTH": width, "SAMPLES": samples}
    kernel, blocks = cuda.kernel("gru_persistent", name, **macros), -(-B // samples)
    kernel((blocks,), (threads,), (*arguments, np.int32(T), np.int32(B), np.int32(H)))


@cache
def _processors(device: int) -> int:
    return cupy.cuda.Device(device).attributes["MultiProcessorCount"]
