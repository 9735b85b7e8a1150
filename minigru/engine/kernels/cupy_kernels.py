"""The steps of the layers on CuPy: one fused kernel for each half of a time step, compiled by its first call.

The functions, their arguments and their meaning are those of `minigru.engine.kernels.numpy_kernels`. A kernel keeps its
intermediate results in registers, so it leaves ``scratch`` untouched, and the loss leaves log_p, p and y untouched.
T in the source of a kernel is its floating point type. Where an argument changes its meaning, an alias names what it
holds on entry. `minigru.engine.kernels.gru_persistent` runs all steps of a GRU as one kernel, or each in two launches.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeAlias

import cupy
import numpy as np

from . import cuda
from .products import affine as affine
from .products import affine_backward as affine_backward

Array: TypeAlias = "cupy.ndarray"
THREADS = 256  # of a block

SIGMOID = """
template <typename T> __device__ T sigmoid(T z)
{
    return (1 + tanh(z / 2)) / 2;  // (F3)
}
"""

_gru_gates = cupy.ElementwiseKernel(
    "T c_prev",
    "T gamma_u, T gamma_r, T rc",
    """
    const T z_u = gamma_u, z_r = gamma_r;
    gamma_u = sigmoid(z_u);  // (G1)
    gamma_r = sigmoid(z_r);  // (G2)
    rc = gamma_r * c_prev;  // (G3)
    """,
    "minigru_gru_gates",
    preamble=SIGMOID,
)

_gru_memory = cupy.ElementwiseKernel(
    "T gamma_u, T c_prev",
    "T c, T c_tilde",
    """
    const T z_c = c_tilde;
    c_tilde = tanh(z_c);  // (G3)
    c = c_prev + gamma_u * (c_tilde - c_prev);  // (G4) (F4)
    """,
    "minigru_gru_memory",
)

_gru_memory_backward = cupy.ElementwiseKernel(
    "T gamma_u, T c_tilde, T c_prev",
    "T dc_prev, T dz_u, T dz_c",
    """
    const T dc = dc_prev;
    dz_u = dc * (c_tilde - c_prev) * gamma_u * (1 - gamma_u);  // (dG4) (dG1)
    dz_c = dc * gamma_u * (1 - c_tilde * c_tilde);  // (dG4) (dG3)
    dc_prev = dc * (1 - gamma_u);  // (dG4)
    """,
    "minigru_gru_memory_backward",
)

_gru_reset_backward = cupy.ElementwiseKernel(
    "T drc, T gamma_r, T rc",
    "T dc_prev, T dz_r",
    """
    dz_r = drc * rc * (1 - gamma_r);  // (dG3) (dG2)
    dc_prev = dc_prev + drc * gamma_r;  // (dG3)
    """,
    "minigru_gru_reset_backward",
)

_rnn_state_backward = cupy.ElementwiseKernel(
    "T da, T a",
    "T dz_a",
    "dz_a = da * (1 - a * a)",  # (dR1)
    "minigru_rnn_state_backward",
)


def product(a: Array, W: Array, out: Array) -> None:
    """Compute a W, (..., B, m), for a (B, n) and W (..., n, m), by one call of cuBLAS for each matrix."""
    if W.ndim > 2:  # CuPy itself would first launch kernels that collect the addresses of the matrices
        for W_g, out_g in zip(W, out, strict=True):
            product(a, W_g, out_g)
    else:
        cupy.matmul(a, W, out=out)


def gru_gates(gates: Array, rc: Array, c_prev: Array) -> None:
    """Compute both gates, (2, B, H), which hold z_u and z_r on entry, and rc = gamma_r * c_prev."""
    _gru_gates(c_prev, gates[0], gates[1], rc)


def gru_memory(c: Array, c_tilde: Array, gamma_u: Array, c_prev: Array) -> None:
    """Compute the candidate, which holds z_c on entry, and the new memory."""
    _gru_memory(gamma_u, c_prev, c, c_tilde)


def gru_memory_backward(
    dc_prev: Array, dz_u: Array, dz_c: Array, gamma_u: Array, c_tilde: Array, c_prev: Array, scratch: Array
) -> None:
    """Go back through the memory cell; dc_prev holds dc on entry and its share from the memory cell on return."""
    _gru_memory_backward(gamma_u, c_tilde, c_prev, dc_prev, dz_u, dz_c)


def gru_reset_backward(dc_prev: Array, dz_r: Array, drc: Array, gamma_r: Array, rc: Array) -> None:
    """Compute dz_r from drc, and add the term through rc, drc * gamma_r, to dc_prev."""
    _gru_reset_backward(drc, gamma_r, rc, dc_prev, dz_r)


def flush(d: Array) -> None:
    """Do nothing: CuPy compiles float32 kernels to flush subnormal numbers, and they do not slow float64 down."""


def rnn_state(a: Array) -> None:
    """Compute the activation of the plain RNN, which holds z_a on entry."""
    z_a = a
    cupy.tanh(z_a, out=a)  # (R1)


def rnn_state_backward(dz_a: Array, da: Array, a: Array) -> None:
    """Go back through the activation of the plain RNN."""
    _rnn_state_backward(da, a, dz_a)


def softmax_cross_entropy(
    dlogits: Array,
    logits: Array,
    log_p: Array,
    p: Array,
    y: Array,
    row: Array,
    share: Array,
    labels: Array,
    classes: Array,
) -> Array:
    """Return the mean cross-entropy, on the device, and compute dlogits."""
    loss = cupy.ndarray((), logits.dtype)
    arrays = (logits, cupy.ascontiguousarray(labels), share, dlogits, loss)
    sizes = tuple(map(np.int32, logits.shape))
    cuda.launch(_loss(logits.dtype, labels.dtype), 1, THREADS, arrays, sizes)  # (S1) (S2) (S3) (dS)
    return loss


@cache
def _loss(real: np.dtype, label: np.dtype) -> Any:
    macros = {"REAL": real.name, "LABEL": label.name, "THREADS": THREADS}
    return cuda.kernel("softmax_cross_entropy", "softmax_cross_entropy", **macros)


def adam(
    theta: Array,
    m: Array,
    v: Array,
    g: Array,
    scratch: Array,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    correction1: float,
    correction2: float,
) -> None:
    """Take one step of Adam over the flat vector."""
    # Python subtracts and divides in float64 and then rounds to REAL: in float32, 1 - 0.999 would be off by 1e-5.
    coefficients = (beta1, 1 - beta1, beta2, 1 - beta2, correction2, eps, lr / correction1)
    numbers = (*map(theta.dtype.type, coefficients), np.int64(theta.size))
    cuda.launch(_adam(theta.dtype), -(-theta.size // THREADS), THREADS, (g, theta, m, v), numbers)


@cache
def _adam(real: np.dtype) -> Any:
    return cuda.kernel("adam", "adam", REAL=real.name, THREADS=THREADS)
