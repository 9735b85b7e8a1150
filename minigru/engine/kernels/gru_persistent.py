"""The recurrence of the GRU over all steps: as one persistent CUDA kernel up to the H that fits, or in steps.

Arrays are C-contiguous and of one dtype. W is the flat vector of the three weight blocks (H + D + 1, H), of which the
recurrence reads the H rows that meet the memory. c is (T + 1, B, H), and rc (T, B, H).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias

import cupy
import numpy as np

from . import cuda, gru_steps
from .cuda import Recording as Recording
from .cuda import here as here
from .cuda import recorded as recorded
from .products import MOST_SAMPLES
from .products import inputs as inputs
from .products import weight_gradients as weight_gradients

Array: TypeAlias = "cupy.ndarray"

ROWS, COLUMNS = 16, 2  # of the tile of each recurrent matrix that one thread keeps in registers
SINGLE, DOUBLE = np.dtype("float32"), np.dtype("float64")
# The forms: the persistent kernel up to the H whose three recurrent matrices fit into the registers of one block, then
# two launches for each time step, and then, with larger products, step by step with cuBLAS.
LARGEST_PERSISTENT = {SINGLE: 128, DOUBLE: 64}
LARGEST_IN_STEPS = {SINGLE: 1024, DOUBLE: 512}
LARGEST_PRODUCT = 2**27  # multiply-adds B H H of one matrix in two launches: a larger one is left to cuBLAS
MOST_ROWS = 4096  # T B up to which `inputs` and `weight_gradients` are used, which add up all rows one after another
MOST_STEPS = 1024  # T of a recording


def fits(H: int, B: int, dtype: np.dtype) -> bool:
    """Return whether there is a kernel for this size; any T and D will do."""
    return LARGEST_PERSISTENT[dtype] >= H or (LARGEST_IN_STEPS[dtype] >= H and LARGEST_PRODUCT >= B * H * H)


def few(rows: int) -> bool:
    """Return whether `inputs` and `weight_gradients` are for that many rows T B, and not cuBLAS."""
    return rows <= MOST_ROWS


def recordable(T: int, B: int) -> bool:
    """Return whether a loss and its backward pass are launched by `cuda.launch` alone, and not too long to be kept."""
    return few(T * B) and B <= MOST_SAMPLES and T <= MOST_STEPS


def forward(W: Array, c_0: Array | None, c: Array, gates: Array, rc: Array, D: int) -> None:
    """Run all steps forward, (G1) to (G4).

    gates (3, T, B, H) holds gamma_u, gamma_r and c_tilde on return, and on entry what the inputs and the biases add to
    z_u, z_r and z_c. c_0 (B, H) is the initial memory, None for zeros, and becomes c[0].
    """
    c_0 = _contiguous(c_0, c.dtype)
    if _is_persistent(rc):
        _launch("gru_forward", rc, D, (W, c_0, c, gates, rc))
    else:
        gru_steps.forward(W, c_0, c, gates, rc, D)


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
    """Run all steps backward, (dG4) to (dG1), and fill dz (3, T, B, H): dz_u, dz_r and dz_c.

    dlast (B, H) and dstates are the gradients of the last memory and of every memory from outside the recurrence, None
    for zeros. dc (B, H) holds the gradient of the initial memory on return. kept (B, H) holds what goes from one launch
    to the next.
    """
    dlast, dstates = _contiguous(dlast, c.dtype), _contiguous(dstates, c.dtype)
    if _is_persistent(rc):
        _launch("gru_backward", rc, D, (W, c, gates, rc, dlast, dstates, dz, dc))
    else:
        gru_steps.backward(W, c, gates, rc, dlast, dstates, dz, dc, kept, D)


def _contiguous(array: Array | None, dtype: np.dtype) -> Array | None:
    return None if array is None else cupy.ascontiguousarray(array, dtype)


def _is_persistent(rc: Array) -> bool:
    return LARGEST_PERSISTENT[rc.dtype] >= rc.shape[2]


def _launch(name: str, rc: Array, D: int, arrays: tuple[Array | None, ...]) -> None:
    T, B, H = rc.shape
    kernel, blocks, threads = _made(name, rc.dtype, B, H, cupy.cuda.runtime.getDevice())
    cuda.launch(kernel, blocks, threads, arrays, (*map(np.int32, (T, B, D, H)), np.int64(T * B * H)))


@lru_cache(4096)
def _made(name: str, dtype: np.dtype, B: int, H: int, device: int) -> tuple[Any, int, int]:
    tile = ROWS * COLUMNS
    width = -(-H // tile) * tile
    threads = width * width // tile
    # As few rounds of blocks as one element per thread allows, and as few samples per block as fill these rounds.
    processors = cupy.cuda.Device(device).attributes["MultiProcessorCount"]
    rounds = -(-B // (processors * (threads // width)))
    samples = -(-B // (processors * rounds))
    macros = {"REAL": dtype.name, "ROWS": ROWS, "COLUMNS": COLUMNS, "WIDTH": width, "SAMPLES": samples}
    return cuda.kernel("gru_persistent", name, **macros), -(-B // samples), threads
