"""The elementwise steps on CuPy: one fused kernel for each half of a time step, compiled at its first call.

The names, the arguments and their meaning are those of `minigru.engine.kernels.numpy_kernels`; what a kernel computes on the
way stays in registers, so that ``scratch``, and what only leads to the loss, are left as they are. T in the source of a
kernel is its floating point type. All steps of a GRU in one kernel are in `minigru.engine.kernels.gru_persistent`.
"""

from __future__ import annotations

from typing import TypeAlias

import cupy
import numpy as np

from . import cuda

Array: TypeAlias = "cupy.ndarray"
THREADS = 256  # of the block that computes the loss

_gru_gates = cupy.ElementwiseKernel(
    "T c_prev",
    "T gamma_u, T gamma_r, T rc",
    """
    gamma_u = (1 + tanh(gamma_u / 2)) / 2;
    gamma_r = (1 + tanh(gamma_r / 2)) / 2;
    rc = gamma_r * c_prev;
    """,  # (G1) (G2) (G3) (F3)
    "minigru_gru_gates",
)

_gru_memory = cupy.ElementwiseKernel(
    "T gamma_u, T c_prev",
    "T c, T c_tilde",
    """
    c_tilde = tanh(c_tilde);
    c = c_prev + gamma_u * (c_tilde - c_prev);
    """,  # (G3) (G4) (F4)
    "minigru_gru_memory",
)

_gru_memory_backward = cupy.ElementwiseKernel(
    "T gamma_u, T c_tilde, T c_prev",
    "T dc_prev, T dz_u, T dz_c",
    """
    const T dc = dc_prev;
    dz_u = dc * (c_tilde - c_prev) * gamma_u * (1 - gamma_u);
    dz_c = dc * gamma_u * (1 - c_tilde * c_tilde);
    dc_prev = dc * (1 - gamma_u);
    """,  # (dG4) (dG3) (dG1)
    "minigru_gru_memory_backward",
)

_gru_reset_backward = cupy.ElementwiseKernel(
    "T drc, T gamma_r, T rc",
    "T dc_prev, T dz_r",
    """
    dz_r = drc * rc * (1 - gamma_r);
    dc_prev = dc_prev + drc * gamma_r;
    """,  # (dG3) (dG2)
    "minigru_gru_reset_backward",
)

_rnn_state_backward = cupy.ElementwiseKernel(
    "T da, T a",
    "T dz_a",
    "dz_a = da * (1 - a * a)",  # (dR1)
    "minigru_rnn_state_backward",
)

_adam = cupy.ElementwiseKernel(
    "T g, float64 lr, float64 beta1, float64 beta2, float64 eps, float64 correction1, float64 correction2",
    "T theta, T m, T v",
    """
    m = beta1 * m + (1 - beta1) * g;
    v = beta2 * v + (1 - beta2) * g * g;
    theta = theta - lr * (m / correction1) / (sqrt(v / correction2) + eps);
    """,  # (A1) (A2) (A3) (A4) (A5)
    "minigru_adam",
)


def gru_gates(gamma_u: Array, gamma_r: Array, rc: Array, c_prev: Array) -> None:
    """Both gates and the memory that the reset gate lets through."""
    _gru_gates(c_prev, gamma_u, gamma_r, rc)


def gru_memory(c: Array, c_tilde: Array, gamma_u: Array, c_prev: Array) -> None:
    """The candidate and the new memory."""
    _gru_memory(gamma_u, c_prev, c, c_tilde)


def gru_memory_backward(
    dc_prev: Array, dz_u: Array, dz_c: Array, gamma_u: Array, c_tilde: Array, c_prev: Array, scratch: Array
) -> None:
    """From the new memory back to the candidate, the update gate and what was kept of the old memory."""
    _gru_memory_backward(gamma_u, c_tilde, c_prev, dc_prev, dz_u, dz_c)


def gru_reset_backward(dc_prev: Array, dz_r: Array, drc: Array, gamma_r: Array, rc: Array) -> None:
    """From the gradient of rc = gamma_r * c_prev to the reset gate and the old memory."""
    _gru_reset_backward(drc, gamma_r, rc, dc_prev, dz_r)


def flush(d: Array) -> None:
    """Nothing: CuPy compiles float32 kernels that take subnormal numbers for zero, and float64 is as fast with them."""


def rnn_state(a: Array) -> None:
    """Activation of the plain RNN."""
    cupy.tanh(a, out=a)  # (R1)


def rnn_state_backward(dz_a: Array, da: Array, a: Array) -> None:
    """From the activation of the plain RNN to its pre-activation."""
    _rnn_state_backward(da, a, dz_a)


def softmax_cross_entropy(
    dlogits: Array, log_p: Array, p: Array, y: Array, row: Array, labels: Array, classes: Array
) -> Array:
    """Mean cross-entropy of logits, which are in log_p, and its gradient; the loss stays on the device."""
    (B, K), REAL, LABEL = log_p.shape, log_p.dtype.name, labels.dtype.name
    kernel = cuda.kernel("softmax_cross_entropy", "softmax_cross_entropy", REAL=REAL, LABEL=LABEL, THREADS=THREADS)
    loss = cupy.empty((), log_p.dtype)
    arrays = (log_p, cupy.ascontiguousarray(labels), dlogits, loss)
    kernel((1,), (THREADS,), (*arrays, np.int32(B), np.int32(K)))  # (S1) (S2) (S3) (dS)
    return loss


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
    """One step of Adam over the flat vector."""
    _adam(g, lr, beta1, beta2, eps, correction1, correction2, theta, m, v)
