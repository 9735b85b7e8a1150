"""The GRU, fast: the equations of `minigru.reference` with the matrix products in another order.

The elementwise steps between the products are in `minigru.engine.kernels`. Each rearrangement has a tag (F…) and a
derivation in ``docs/engine.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from . import gru_persistent
from .backend import Array
from .recurrent import FLUSH_EVERY, Form, Recurrent, flat


class GRU(Recurrent["Buffers | gru_persistent.Buffers", "BackwardBuffers | gru_persistent.BackwardBuffers"]):
    """Gated recurrent unit: reset gate before the matrix product (Cho et al. 2014), update gate 1 to replace.

    ``gamma_u = sigmoid([c_prev, x] W_u + b_u)``, ``gamma_r = sigmoid([c_prev, x] W_r + b_r)``,
    ``c_tilde = tanh([gamma_r * c_prev, x] W_c + b_c)``, ``c = gamma_u * c_tilde + (1 - gamma_u) * c_prev``.
    This is not the variant of ``torch.nn.GRU`` and cuDNN: see the table in ``docs/notation.md``.

    Parameters
    ----------
    input_size : D, the length of one x
    hidden_size : H, the length of the memory c
    backend : "numpy", "cupy" or a `Backend`
    dtype : "float32" or "float64"
    rng : seed or NumPy Generator for the initial weights; biases start at 0, but b_u at -1

    Attributes
    ----------
    params, grads : mappings with ``W_u``, ``W_r``, ``W_c`` (H + D, H) and ``b_u``, ``b_r``, ``b_c`` (H,)

    Raises
    ------
    ValueError
        A size is not a whole number from 1 up, or backend or dtype is not one of those named.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """

    letters = "urc"
    can_keep = True
    # Memory is kept at first, so that gradients reach far back (Jozefowicz et al. 2015, for the LSTM's forget gate).
    first_biases = MappingProxyType({"b_u": -1.0})

    def _choose_form(self, B: int) -> Form[Any, Any]:
        """Return the persistent form where the backend has its kernel for this size, otherwise the loops below."""
        kernel = self.backend.persistent
        fits = kernel is not None and kernel.fits(self.hidden_size, B, self.dtype)
        return gru_persistent.FORM if fits else STEP_BY_STEP

    def _forward(self, x: Array, c_0: Array | None, ended: Array | None = None) -> Buffers | gru_persistent.Buffers:
        form, buf = self._buffers_for(*x.shape[:2])
        closed = None if ended is None else self.backend.xp.where(ended, -np.inf, 0).astype(self.dtype)
        form.forward(self, buf, x, c_0, closed)
        return buf

    def _backward(self, dlast: Array | None, dstates: Array | None, need_dx: bool) -> tuple[Array | None, Array]:
        form, buf, buf_b = self._latest_buffers()
        form.backward(self, buf, buf_b, dlast, dstates)
        return (_input_gradient(self, buf_b) if need_dx else None), buf_b.dc


def forward(gru: GRU, buf: Buffers, x: Array, c_0: Array | None, closed: Array | None) -> None:
    """Run all steps over x (T, B, D), from the initial memory c_0 (B, H), or from zeros.

    closed (T, B, 1) is added to z_u: 0, or minus infinity where a sequence has ended. None stands for zeros.
    """
    xp, kernels, H = gru.backend.xp, gru.backend.kernels, gru.hidden_size
    W_gates, W_c = gru.vector[: 2 * gru.blocks[0].size].reshape(2, -1, H), gru.blocks[2]  # W_gates: W_u, then W_r
    c, gates, c_tilde, cx1, rcx1 = buf.c, buf.gates, buf.c_tilde, buf.cx1, buf.rcx1
    gamma_u, rc = gates[:, 0], rcx1[..., :H]

    c[0] = 0 if c_0 is None else c_0
    for bracket in (cx1, rcx1):
        bracket[..., H:-1] = x
        bracket[..., -1] = 1
    for t in range(len(x)):
        c_prev = c[t]
        cx1[t, :, :H] = c_prev
        kernels.product(cx1[t], W_gates, out=gates[t])  # (G1) (G2) (F5) (F12)
        if closed is not None:
            xp.add(gamma_u[t], closed[t], out=gamma_u[t])  # (G6)
        kernels.gru_gates(gates[t], rc[t], c_prev)  # (G1) (G2) (G3)
        kernels.product(rcx1[t], W_c, out=c_tilde[t])  # (G3) (F5)
        kernels.gru_memory(c[t + 1], c_tilde[t], gamma_u[t], c_prev)  # (G3) (G4)


def backward(gru: GRU, buf: Buffers, buf_b: BackwardBuffers, dlast: Array | None, dstates: Array | None) -> None:
    """Run all steps back from the gradient of the last memory, of every memory, or of both; fill the gradients."""
    xp, kernels, H = gru.backend.xp, gru.backend.kernels, gru.hidden_size
    c, gamma_u, gamma_r = buf.c, buf.gates[:, 0], buf.gates[:, 1]
    c_tilde, rc = buf.c_tilde, buf.rcx1[..., :H]
    dc, (dz_u, dz_r, dz_c), drc, product = buf_b.dc, buf_b.dz, buf_b.drc, buf_b.product

    dc[...] = 0 if dlast is None else dlast
    W_u_T, W_r_T, W_c_T = gru._transposed_recurrent_weights()  # (F1) (F6)
    for t in reversed(range(len(dz_u))):
        if dstates is not None:
            xp.add(dc, dstates[t], out=dc)
        if t % FLUSH_EVERY == 0:
            kernels.flush(dc)  # (F9)
        kernels.gru_memory_backward(  # (dG4) (dG3) (dG1)
            dc, dz_u[t], dz_c[t], gamma_u[t], c_tilde[t], c[t], buf_b.scratch
        )
        kernels.product(dz_c[t], W_c_T, out=drc)  # (dG3)
        kernels.gru_reset_backward(dc, dz_r[t], drc, gamma_r[t], rc[t])  # (dG3) (dG2)
        kernels.product(dz_r[t], W_r_T, out=product)
        xp.add(dc, product, out=dc)  # (dG2)
        kernels.product(dz_u[t], W_u_T, out=product)
        xp.add(dc, product, out=dc)  # (dG1)

    dW_u, dW_r, dW_c = gru.dblocks
    cx1, rcx1, dz_u, dz_r, dz_c = (flat(array) for array in (buf.cx1, buf.rcx1, dz_u, dz_r, dz_c))
    xp.matmul(cx1.T, dz_u, out=dW_u)  # (dGW) (F2) (F5)
    xp.matmul(cx1.T, dz_r, out=dW_r)  # (dGW) (F2) (F5)
    xp.matmul(rcx1.T, dz_c, out=dW_c)  # (dGW) (F2) (F5)


def _input_gradient(gru: GRU, buf_b: BackwardBuffers | gru_persistent.BackwardBuffers) -> Array:
    """Return dx (T, B, D) once ``backward`` has filled dz."""
    xp, H = gru.backend.xp, gru.hidden_size
    W_u, W_r, W_c = gru.blocks
    dz_u, dz_r, dz_c = map(flat, buf_b.dz)
    dx, part = flat(buf_b.dx), flat(buf_b.dx_part)
    xp.matmul(dz_c, W_c[H:-1].T, out=dx)  # (dG3) (F1)
    xp.matmul(dz_r, W_r[H:-1].T, out=part)
    xp.add(dx, part, out=dx)  # (dG2) (F1)
    xp.matmul(dz_u, W_u[H:-1].T, out=part)
    xp.add(dx, part, out=dx)  # (dG1) (F1)
    return buf_b.dx


@dataclass
class Buffers:
    """What the loop of ``forward`` fills and ``backward`` reads."""

    c: Array
    states: Array
    last: Array
    cx1: Array
    rcx1: Array
    gates: Array
    c_tilde: Array


def new_buffers(gru: GRU, T: int, B: int) -> Buffers:
    """Return uninitialised `Buffers`."""
    D, H, empty = gru.input_size, gru.hidden_size, gru._empty
    c = empty(T + 1, B, H)  # c[0] is the initial memory, c[t + 1] the memory after step t
    return Buffers(
        c=c,
        states=c[1:],
        last=c[-1],
        cx1=empty(T, B, H + D + 1),  # [c_prev, x, 1]
        rcx1=empty(T, B, H + D + 1),  # [gamma_r * c_prev, x, 1]
        gates=empty(T, 2, B, H),  # of each step gamma_u, then gamma_r
        c_tilde=empty(T, B, H),
    )


@dataclass
class BackwardBuffers:
    """What the loop of ``backward`` fills."""

    dz: Array
    dc: Array
    drc: Array
    product: Array
    scratch: Array
    dx: Array
    dx_part: Array


def new_backward_buffers(gru: GRU, T: int, B: int) -> BackwardBuffers:
    """Return uninitialised `BackwardBuffers`."""
    D, H, empty = gru.input_size, gru.hidden_size, gru._empty
    return BackwardBuffers(
        dz=empty(3, T, B, H),  # dz_u, dz_r and dz_c
        dc=empty(B, H),  # gradient of the memory at the step that the loop is at; at the end that of c_0
        drc=empty(B, H),
        product=empty(B, H),
        scratch=empty(B, H),
        dx=empty(T, B, D),
        dx_part=empty(T, B, D),
    )


STEP_BY_STEP = Form(new_buffers, new_backward_buffers, forward, backward)
