"""The steps of the layers on NumPy, most of them elementwise: ufuncs and products that write in place.

Every array has the shape (B, H) of one time step unless the docstring gives another. An argument is named for what it
holds when the kernel returns; where it holds something else before, an alias in the first lines names that. ``scratch``
holds nothing that outlives the call. Kernels do not validate their arguments; the layers do.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray
ROWS, LARGEST_SMALL = 32, 1e6  # OpenBLAS takes a product of up to 1e6 multiplications for small


def _has_small_products() -> bool:
    """Return whether NumPy multiplies with OpenBLAS on AVX-512, for which OpenBLAS has code for small products."""
    config: Any = np.show_config(mode="dicts")  # leaves out what is empty, such as what an old processor lacks
    blas = config.get("Build Dependencies", {}).get("blas", {}).get("name", "")
    simd = config.get("SIMD Extensions", {})
    there = {*simd.get("baseline", ()), *simd.get("found", ())}
    return "openblas" in blas and not there.isdisjoint({"AVX512_SKX", "X86_V4"})  # older and newer name of the same


HAS_SMALL_PRODUCTS = _has_small_products()
# As arrays: NumPy takes longer to convert a Python number than to add a row of one image. Exact in both dtypes.
HALF, ONE = np.array(0.5, np.float32), np.array(1, np.float32)


def product(a: Array, W: Array, out: Array) -> None:
    """Compute a W, (..., B, m), for a (B, n) and W (..., n, m), 32 rows at a time where the BLAS is faster so."""
    B, n, m = *a.shape, W.shape[-1]
    if HAS_SMALL_PRODUCTS and B > ROWS and B % ROWS == 0 and ROWS * n * m <= LARGEST_SMALL:
        a, W = a.reshape(-1, ROWS, n), W[..., None, :, :]
        out = out.reshape(*out.shape[:-2], -1, ROWS, m)
    np.matmul(a, W, out=out)  # (F13)


def sigmoid(z: Array, out: Array) -> None:
    """Logistic function (1 + tanh(z / 2)) / 2: one transcendental function, and no overflow."""
    np.multiply(z, HALF, out=out)
    np.tanh(out, out=out)
    np.multiply(out, HALF, out=out)
    np.add(out, HALF, out=out)  # (F3)


def gru_gates(gates: Array, rc: Array, c_prev: Array) -> None:
    """Compute gamma_u and gamma_r, (2, B, H), from their pre-activations, and the memory that passes the reset gate."""
    z, (_, gamma_r) = gates, gates
    sigmoid(z, out=gates)  # (G1) (G2) (F12)
    np.multiply(gamma_r, c_prev, out=rc)  # (G3)


def gru_memory(c: Array, c_tilde: Array, gamma_u: Array, c_prev: Array) -> None:
    """Compute the candidate from its pre-activation, and the new memory."""
    z_c = c_tilde
    np.tanh(z_c, out=c_tilde)  # (G3)
    change = np.subtract(c_tilde, c_prev, out=c)
    np.multiply(gamma_u, change, out=change)
    np.add(c_prev, change, out=c)  # (G4) (F4)


def gru_memory_backward(
    dc_prev: Array, dz_u: Array, dz_c: Array, gamma_u: Array, c_tilde: Array, c_prev: Array, scratch: Array
) -> None:
    """Go from dc back to the candidate, the update gate and the part of the old memory that was kept.

    Of dc_prev this is the (dG4) term alone; the terms of the other equations are added later.
    """
    dc = dc_prev
    keep = np.subtract(ONE, gamma_u, out=scratch)
    change = np.subtract(c_tilde, c_prev, out=dz_u)
    dgamma_u = np.multiply(dc, change, out=change)  # (dG4)
    product = np.multiply(dgamma_u, gamma_u, out=dgamma_u)
    np.multiply(product, keep, out=dz_u)  # (dG1)
    square = np.multiply(c_tilde, c_tilde, out=dz_c)
    slope = np.subtract(ONE, square, out=square)
    product = np.multiply(gamma_u, slope, out=slope)
    np.multiply(dc, product, out=dz_c)  # (dG4) (dG3)
    np.multiply(dc, keep, out=dc_prev)  # (dG4)


def gru_reset_backward(dc_prev: Array, dz_r: Array, drc: Array, gamma_r: Array, rc: Array) -> None:
    """Go from drc, the gradient of rc = gamma_r * c_prev, back to the reset gate; add the term through rc to dc_prev.

    Overwrites drc.
    """
    closed = np.subtract(ONE, gamma_r, out=dz_r)
    product = np.multiply(rc, closed, out=closed)
    np.multiply(drc, product, out=dz_r)  # (dG3) (dG2)
    term = np.multiply(drc, gamma_r, out=drc)
    np.add(dc_prev, term, out=dc_prev)  # (dG3)


def flush(d: Array) -> None:
    """Flush vanished gradients to zero: products of subnormal numbers take a hundred times as long."""
    np.add(d, 2.0**-75, out=d)
    np.subtract(d, 2.0**-75, out=d)  # (F9)


def rnn_state(a: Array) -> None:
    """Compute the activation of the plain RNN from its pre-activation."""
    z_a = a
    np.tanh(z_a, out=a)  # (R1)


def rnn_state_backward(dz_a: Array, da: Array, a: Array) -> None:
    """Go from the activation of the plain RNN back to its pre-activation."""
    square = np.multiply(a, a, out=dz_a)
    slope = np.subtract(ONE, square, out=square)
    np.multiply(da, slope, out=dz_a)  # (dR1)


def affine(y: Array, x: Array, block: Array) -> None:
    """Compute y (B, m) from x (B, n) and the weight block (n + 1, m), whose last row is b."""
    W, b = block[:-1], block[-1]
    np.matmul(x, W, out=y)
    np.add(y, b, out=y)  # (L1)


def affine_backward(dx: Array, dblock: Array, dy: Array, x: Array, block: Array) -> None:
    """Go from dy (B, m) back to x (B, n), and to the weight block (n + 1, m)."""
    W, dW, db = block[:-1], dblock[:-1], dblock[-1]
    np.matmul(dy, W.T, out=dx)  # (dL1)
    np.matmul(x.T, dy, out=dW)  # (dL1)
    np.sum(dy, axis=0, out=db)  # (dL1)


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
    """Return the mean cross-entropy of logits against labels, a scalar, and compute its gradient.

    dlogits, log_p, p and y are (B, K): the gradient, the log-probabilities, the probabilities and the one-hot labels.
    row and share are (B, 1); share holds w / B, and classes is (K,) and holds 0 … K-1.
    """
    np.equal(labels[:, None], classes, out=y)
    np.max(logits, axis=1, keepdims=True, out=row)
    s = np.subtract(logits, row, out=log_p)  # (S1)
    np.exp(s, out=p)
    np.sum(p, axis=1, keepdims=True, out=row)
    np.divide(p, row, out=p)
    np.log(row, out=row)
    np.subtract(s, row, out=log_p)  # (S2)
    np.subtract(p, y, out=dlogits)
    np.multiply(dlogits, share, out=dlogits)  # (dS)
    np.multiply(y, share, out=y)
    return -np.vdot(y, log_p)  # (S3)


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
    """Take one step of Adam; all arrays are (N,). correction1 and correction2 are 1 - beta1^t and 1 - beta2^t."""
    np.multiply(m, beta1, out=m)
    np.multiply(g, 1 - beta1, out=scratch)
    np.add(m, scratch, out=m)  # (A1)
    np.multiply(v, beta2, out=v)
    np.multiply(g, g, out=scratch)
    np.multiply(scratch, 1 - beta2, out=scratch)
    np.add(v, scratch, out=v)  # (A2)
    v_hat = np.divide(v, correction2, out=scratch)  # (A4)
    root = np.sqrt(v_hat, out=v_hat)
    divisor = np.add(root, eps, out=root)
    quotient = np.divide(m, divisor, out=divisor)
    change = np.multiply(quotient, lr / correction1, out=quotient)  # (A3)
    np.subtract(theta, change, out=theta)  # (A5)
