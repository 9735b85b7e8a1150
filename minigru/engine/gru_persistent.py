"""The persistent form of the GRU: one kernel computes the recurrence of all T steps (Diamos et al. 2016).

The equations are those of `minigru.engine.gru`, whose other form goes step by step. The persistent kernel multiplies
the memory alone, so each bracket is split in two (F1): ``[c_prev, x, 1] W = c_prev W[:H] + [x, 1] W[H:]``, where ``W``
is the weight block of one gate. Each of the other products is one call for all steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from .backend import Array
from .recurrent import Form, Recurrent, flat


def forward(gru: Recurrent, buf: Buffers, x: Array, closed: Array | None) -> None:
    """Run all steps over x (T, B, D), from the initial memory in ``buf.c[0]``; closed is that of the other form."""
    xp, kernel, H = gru.backend.xp, gru.backend.persistent, gru.hidden_size
    assert kernel is not None
    buf.x1[..., :-1] = x
    buf.x1[..., -1] = 1
    for W, z in zip(gru.blocks, (buf.gamma_u, buf.gamma_r, buf.c_tilde), strict=True):
        xp.matmul(flat(buf.x1), W[H:], out=flat(z))  # (F1) (F2) (F5)
    if closed is not None:
        xp.add(buf.gamma_u, closed, out=buf.gamma_u)  # (G6)
    kernel.forward(*(W[:H] for W in gru.blocks), buf.c, buf.gamma_u, buf.gamma_r, buf.c_tilde, buf.rc)  # (F10)


def backward(gru: Recurrent, buf: Buffers, buf_b: BackwardBuffers, dstates: Array | None) -> None:
    """Run all steps back from the gradient of the last memory in ``buf_b.dc``, then fill the weight gradients."""
    xp, kernel, H = gru.backend.xp, gru.backend.persistent, gru.hidden_size
    assert kernel is not None
    saved = (buf.c, buf.gamma_u, buf.gamma_r, buf.c_tilde, buf.rc)
    dz = (buf_b.dz_u, buf_b.dz_r, buf_b.dz_c)
    kernel.backward(*(W[:H] for W in gru.blocks), *saved, dstates, *dz, buf_b.dc)  # (F10)
    x1, c_prev, rc = flat(buf.x1), flat(buf.c[:-1]), flat(buf.rc)
    for dW, memory, dz_g in zip(gru.dblocks, (c_prev, c_prev, rc), dz, strict=True):
        xp.matmul(memory.T, flat(dz_g), out=dW[:H])  # (dGW) (F1) (F2)
        xp.matmul(x1.T, flat(dz_g), out=dW[H:])  # (dGW) (F1) (F2) (F5)


@dataclass
class Buffers:
    """What ``forward`` fills and ``backward`` reads."""

    c: Array
    x1: Array
    rc: Array
    gamma_u: Array
    gamma_r: Array
    c_tilde: Array


def new_buffers(gru: Recurrent, T: int, B: int) -> Buffers:
    """Return uninitialised `Buffers`."""
    D, H, empty = gru.input_size, gru.hidden_size, gru._empty
    return Buffers(
        c=empty(T + 1, B, H),  # c[0] is the initial memory, c[t + 1] the memory after step t
        x1=empty(T, B, D + 1),  # [x, 1]
        rc=empty(T, B, H),
        gamma_u=empty(T, B, H),
        gamma_r=empty(T, B, H),
        c_tilde=empty(T, B, H),
    )


@dataclass
class BackwardBuffers:
    """What ``backward`` fills."""

    dz_u: Array
    dz_r: Array
    dz_c: Array
    dc: Array
    dx: Array
    dx_part: Array


def new_backward_buffers(gru: Recurrent, T: int, B: int) -> BackwardBuffers:
    """Return uninitialised `BackwardBuffers`."""
    D, H, empty = gru.input_size, gru.hidden_size, gru._empty
    return BackwardBuffers(
        dz_u=empty(T, B, H),
        dz_r=empty(T, B, H),
        dz_c=empty(T, B, H),
        dc=empty(B, H),  # gradient of the last memory before the kernel runs, of c_0 after it
        dx=empty(T, B, D),
        dx_part=empty(T, B, D),
    )


FORM = Form(new_buffers, new_backward_buffers, forward, backward)
