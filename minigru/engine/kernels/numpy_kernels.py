"""The elementwise steps on NumPy: ufuncs that write in place.

Every array has the shape (B, H) of one time step unless said otherwise. An argument is named for what it holds when
the kernel returns; where it comes in holding something else, the docstring says what. ``scratch`` holds nothing that
outlives the call. Gradients follow the names of `minigru.reference`.
"""

from __future__ import annotations

import numpy as np

Array = np.ndarray


def _sigmoid(z: Array) -> None:
    """Squash z in place: sigmoid(z) = (1 + tanh(z / 2)) / 2 needs one transcendental and cannot overflow."""
    np.multiply(z, 0.5, out=z)
    np.tanh(z, out=z)
    np.multiply(z, 0.5, out=z)
    np.add(z, 0.5, out=z)  # (F3)


def gru_gates(gamma_u: Array, gamma_r: Array, rc: Array, c_prev: Array) -> None:
    """Both gates, which come in as z_u and z_r, and the memory that the reset gate lets through."""
    _sigmoid(gamma_u)  # (G1)
    _sigmoid(gamma_r)  # (G2)
    np.multiply(gamma_r, c_prev, out=rc)  # (G3)


def gru_memory(c: Array, c_tilde: Array, gamma_u: Array, c_prev: Array) -> None:
    """The candidate, which comes in as z_c, and the new memory."""
    np.tanh(c_tilde, out=c_tilde)  # (G3)
    np.subtract(c_tilde, c_prev, out=c)
    np.multiply(gamma_u, c, out=c)
    np.add(c_prev, c, out=c)  # (G4) (F4)


def gru_memory_backward(
    dc_prev: Array, dz_u: Array, dz_c: Array, gamma_u: Array, c_tilde: Array, c_prev: Array, scratch: Array
) -> None:
    """From the new memory back to the candidate, the update gate and what was kept of the old memory.

    dc_prev comes in as dc and goes out with its (dG4) part alone: the recurrent products are still to be added.
    """
    keep = np.subtract(1, gamma_u, out=scratch)
    dgamma_u = np.subtract(c_tilde, c_prev, out=dz_u)
    np.multiply(dc_prev, dgamma_u, out=dgamma_u)  # (dG4)
    np.multiply(dgamma_u, gamma_u, out=dz_u)
    np.multiply(dz_u, keep, out=dz_u)  # (dG1)
    slope = np.multiply(c_tilde, c_tilde, out=dz_c)
    np.subtract(1, slope, out=slope)
    np.multiply(gamma_u, slope, out=dz_c)
    np.multiply(dc_prev, dz_c, out=dz_c)  # (dG4) (dG3)
    np.multiply(dc_prev, keep, out=dc_prev)  # (dG4)


def gru_reset_backward(dc_prev: Array, dz_r: Array, drc: Array, gamma_r: Array, rc: Array) -> None:
    """From the gradient of rc = gamma_r * c_prev to the reset gate and the old memory.

    dc_prev comes in without, and goes out with, the share that passed through the reset gate. drc is used up.
    """
    np.subtract(1, gamma_r, out=dz_r)
    np.multiply(rc, dz_r, out=dz_r)
    np.multiply(drc, dz_r, out=dz_r)  # (dG3) (dG2)
    np.multiply(drc, gamma_r, out=drc)
    np.add(dc_prev, drc, out=dc_prev)  # (dG3)


def flush(d: Array) -> None:
    """Round to zero what is left of a vanished gradient: products of subnormal numbers take a hundred times as long."""
    np.add(d, 2.0**-75, out=d)
    np.subtract(d, 2.0**-75, out=d)  # (F9)


def rnn_state(a: Array) -> None:
    """Activation of the plain RNN, which comes in as z_a."""
    np.tanh(a, out=a)  # (R1)


def rnn_state_backward(dz_a: Array, da: Array, a: Array) -> None:
    """From the activation of the plain RNN to its pre-activation."""
    np.multiply(a, a, out=dz_a)
    np.subtract(1, dz_a, out=dz_a)
    np.multiply(da, dz_a, out=dz_a)  # (dR1)


def softmax_cross_entropy(
    dlogits: Array, log_p: Array, p: Array, y: Array, row: Array, labels: Array, classes: Array
) -> Array:
    """Mean cross-entropy of logits against labels, and its gradient with respect to the logits.

    dlogits, log_p, p and y are (B, K): the gradient, the log-probabilities, which come in as the logits, the
    probabilities and the one-hot labels. labels and row are (B, 1), classes is (K,) and holds 0 … K-1. Returns the
    loss, a scalar.
    """
    np.equal(labels, classes, out=y)
    np.max(log_p, axis=1, keepdims=True, out=row)
    np.subtract(log_p, row, out=log_p)  # (S1)
    np.exp(log_p, out=p)
    np.sum(p, axis=1, keepdims=True, out=row)
    np.divide(p, row, out=p)
    np.log(row, out=row)
    np.subtract(log_p, row, out=log_p)  # (S2)
    np.subtract(p, y, out=dlogits)
    np.divide(dlogits, len(y), out=dlogits)  # (dS)
    return -np.vdot(y, log_p) / len(y)  # (S3)


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
    """One step of Adam; all arrays are (N,). correction1 and correction2 are 1 - beta1^t and 1 - beta2^t."""
    np.multiply(m, beta1, out=m)
    np.multiply(g, 1 - beta1, out=scratch)
    np.add(m, scratch, out=m)  # (A1)
    np.multiply(v, beta2, out=v)
    np.multiply(g, g, out=scratch)
    np.multiply(scratch, 1 - beta2, out=scratch)
    np.add(v, scratch, out=v)  # (A2)
    np.divide(v, correction2, out=scratch)  # (A4)
    np.sqrt(scratch, out=scratch)
    np.add(scratch, eps, out=scratch)
    np.divide(m, scratch, out=scratch)  # (A5)
    np.multiply(scratch, lr / correction1, out=scratch)  # (A3)
    np.subtract(theta, scratch, out=theta)  # (A5)
