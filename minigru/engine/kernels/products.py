"""Matrix products in one launch each, with what the equations do around them: launches the kernels of ``products.cu``.

cuBLAS multiplies faster, but a product of a small training step takes the host longer to launch than a GPU to compute,
and the other kernels of a step have to wait for it. Arrays are C-contiguous and of one dtype.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, TypeAlias, cast

import cupy
import numpy as np

from . import cuda

Array: TypeAlias = "cupy.ndarray"

THREADS, SIDE = 256, 32  # of a block; rows and columns of the tile that it computes
MOST_SAMPLES = 1024  # B of a linear layer whose weight gradient adds up all samples one after another


def affine(y: Array, x: Array, block: Array) -> None:
    """Compute y (B, m) from x (B, n) and the weight block (n + 1, m), whose last row is b."""
    (B, n), m = x.shape, y.shape[1]
    launch("affine", (x, block, y), (B, n, m))  # (L1)


def affine_backward(dx: Array, dblock: Array, dy: Array, x: Array, block: Array) -> None:
    """Go from dy (B, m) back to x (B, n), and to the weight block (n + 1, m)."""
    (B, n), m = x.shape, dy.shape[1]
    if B <= MOST_SAMPLES:
        launch("affine_backward", (dy, x, block, dx, dblock), (B, n, m))  # (dL1)
    else:
        cupy.matmul(dy, block[:-1].T, out=dx)  # (dL1)
        cupy.matmul(x.T, dy, out=dblock[:-1])  # (dL1)
        cupy.sum(dy, axis=0, out=dblock[-1])  # (dL1)


def inputs(x: Array, W: Array, x1: Array, z: Array) -> None:
    """Compute what the inputs and the biases add to z_u, z_r and z_c, the three parts of z (3, T, B, H).

    x (T, B, D) may have any layout, and is kept as x1 (T, B, D + 1), [x, 1].
    """
    _, T, B, H = z.shape
    D, size = x.shape[2], z.itemsize
    step, sample, element = x.strides
    if element != size or x.dtype != z.dtype or max(abs(step), abs(sample)) >= 2**31:
        x = cupy.ascontiguousarray(x, z.dtype)
        step, sample, _ = x.strides
    sizes = T, B, D, H, step // size, sample // size
    launch("gru_inputs", (x, W, x1, z), sizes)  # (F1) (F5)


def weight_gradients(c: Array, rc: Array, x1: Array, dz: Array, dW: Array) -> None:
    """Compute the gradients of the three weight blocks from dz (3, T, B, H)."""
    _, T, B, H = dz.shape
    sizes = T, B, x1.shape[2] - 1, H
    launch("gru_weight_gradients", (c, rc, x1, dz, dW), sizes)  # (dGW) (F1) (F2) (F5)


def launch(name: str, arrays: tuple[Array | None, ...], sizes: tuple[int, ...], *t: int) -> None:
    """Launch a kernel of ``products.cu``, a block for each tile; the first array is not None, t is the last number."""
    kernel, tiles, numbers = _made(name, cast("Array", arrays[0]).dtype, sizes)
    cuda.launch(kernel, tiles, THREADS, arrays, (*numbers, *map(np.int32, t)))


@lru_cache(4096)
def _made(name: str, dtype: np.dtype, sizes: tuple[int, ...]) -> tuple[Any, int, tuple[np.int32, ...]]:
    kernel = cuda.kernel("products", name, REAL=dtype.name, THREADS=THREADS, SIDE=SIDE)
    return kernel, TILES[name](*sizes), tuple(map(np.int32, sizes))


def _tiles(rows: int, columns: int) -> int:
    return -(-rows // SIDE) * -(-columns // SIDE)


TILES: dict[str, Callable[..., int]] = {  # of each kernel, from its sizes
    "affine": lambda B, n, m: _tiles(B, m),
    "affine_backward": lambda B, n, m: _tiles(B, n) + _tiles(n + 1, m),
    "gru_inputs": lambda T, B, D, H, step, sample: 3 * _tiles(T * B, H),
    "gru_weight_gradients": lambda T, B, D, H: 3 * _tiles(H + D + 1, H),
    "gru_gates": lambda T, B, D, H: 2 * _tiles(B, H),
    "gru_memory": lambda T, B, D, H: _tiles(B, H),
    "gru_candidate_backward": lambda T, B, D, H: _tiles(B, H),
    "gru_gates_backward": lambda T, B, D, H: _tiles(B, H),
}
