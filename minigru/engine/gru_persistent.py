"""The persistent form of the GRU: one kernel computes the recurrence of all T steps (Diamos et al. 2016).

The equations are those of `minigru.engine.gru`, whose other form goes step by step. The recurrence, which is two
launches per time step where H is too large for one kernel, multiplies the memory alone. So each bracket is split in two
(F1): ``[c_prev, x, 1] W = c_prev W[:H] + [x, 1] W[H:]``, where ``W`` is the weight block of one gate. The other
products are computed for all steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from .backend import Array
from .recurrent import Form, Recurrent, flat


def forward(gru: Recurrent, buf: Buffers, x: Array, c_0: Array | None, closed: Array | None) -> None:
    """Run all steps over x (T, B, D), from the initial memory c_0 or zeros; closed is that of the other form."""
    xp, kernel, H = gru.backend.xp, gru.backend.persistent, gru.hidden_size
    assert kernel is not None
    if kernel.few(len(x) * x.shape[1]):
        kernel.inputs(x, gru.vector, buf.x1, buf.gates)  # (F1) (F5)
    else:
        buf.x1[..., :-1] = x
        buf.x1[..., -1] = 1
        for W, z in zip(gru.blocks, buf.gates, strict=True):
            xp.matmul(flat(buf.x1), W[H:], out=flat(z))  # (F1) (F5)
    if closed is not None:
        z_u = buf.gates[0]
        xp.add(z_u, closed, out=z_u)  # (G6)
    kernel.forward(gru.vector, c_0, buf.c, buf.gates, buf.rc, gru.input_size)  # (F10)


def backward(gru: Recurrent, buf: Buffers, buf_b: BackwardBuffers, dlast: Array | None, dstates: Array | None) -> None:
    """Run all steps back from the gradient of the last memory, of every memory, or of both; fill the gradients."""
    xp, kernel, H = gru.backend.xp, gru.backend.persistent, gru.hidden_size
    assert kernel is not None
    dz, given = buf_b.dz, (buf.c, buf.gates, buf.rc, dlast, dstates)
    kernel.backward(gru.vector, *given, dz, buf_b.dc, buf_b.kept, gru.input_size)  # (F10)
    if kernel.few(len(buf.rc) * buf.rc.shape[1]):
        kernel.weight_gradients(buf.c, buf.rc, buf.x1, dz, gru.gradient)  # (dGW) (F1) (F2) (F5)
    else:
        x1, c_prev, rc = flat(buf.x1), flat(buf.c[:-1]), flat(buf.rc)
        for dW, memory, dz_g in zip(gru.dblocks, (c_prev, c_prev, rc), dz, strict=True):
            xp.matmul(memory.T, flat(dz_g), out=dW[:H])  # (dGW) (F1) (F2)
            xp.matmul(x1.T, flat(dz_g), out=dW[H:])  # (dGW) (F1) (F2) (F5)


@dataclass
class Buffers:
    """What ``forward`` fills and ``backward`` reads."""

    c: Array
    states: Array
    last: Array
    x1: Array
    rc: Array
    gates: Array


def new_buffers(gru: Recurrent, T: int, B: int) -> Buffers:
    """Return uninitialised `Buffers`."""
    D, H, empty = gru.input_size, gru.hidden_size, gru._empty
    c = empty(T + 1, B, H)  # c[0] is the initial memory, c[t + 1] the memory after step t
    return Buffers(
        c=c,
        states=c[1:],
        last=c[-1],
        x1=empty(T, B, D + 1),  # [x, 1]
        rc=empty(T, B, H),
        gates=empty(3, T, B, H),  # gamma_u, gamma_r and c_tilde
    )


@dataclass
class BackwardBuffers:
    """What ``backward`` fills."""

    dz: Array
    dc: Array
    kept: Array
    dx: Array
    dx_part: Array


def new_backward_buffers(gru: Recurrent, T: int, B: int) -> BackwardBuffers:
    """Return uninitialised `BackwardBuffers`."""
    D, H, empty = gru.input_size, gru.hidden_size, gru._empty
    return BackwardBuffers(
        dz=empty(3, T, B, H),  # dz_u, dz_r and dz_c
        dc=empty(B, H),  # gradient of c_0
        kept=empty(B, H),  # terms of dc between the two launches of a time step
        dx=empty(T, B, D),
        dx_part=empty(T, B, D),
    )


FORM = Form(new_buffers, new_backward_buffers, forward, backward)
