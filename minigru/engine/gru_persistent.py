"""The GRU as a schedule for a GPU: the recurrence of all T steps is one kernel, and so is each other product.

The same equations as in `minigru.engine.gru`, which goes step by step. The kernel multiplies the memory alone, so a bracket is
split in two in both directions (F1): ``[c_prev, x, 1] [U; V; b] = c_prev U + [x, 1] [V; b]``.
"""

from __future__ import annotations

from types import ModuleType, SimpleNamespace
from typing import Any


def new_buffers(T: int, B: int, D: int, H: int, empty: Any) -> SimpleNamespace:
    """Return the buffers of `forward`, from ``empty(*shape)``."""
    c = empty(T + 1, B, H)  # c[0] is the initial memory, c[t + 1] the memory after step t
    return SimpleNamespace(
        c=c,
        states=c[1:],
        x1=empty(T, B, D + 1),  # [x, 1]
        rc=empty(T, B, H),
        gamma_u=empty(T, B, H),
        gamma_r=empty(T, B, H),
        c_tilde=empty(T, B, H),
        backward=None,
    )


def new_backward_buffers(T: int, B: int, D: int, H: int, empty: Any) -> SimpleNamespace:
    """Return the buffers of `backward`, and those of dx."""
    return SimpleNamespace(
        dz_u=empty(T, B, H),
        dz_r=empty(T, B, H),
        dz_c=empty(T, B, H),
        dc=empty(B, H),
        dx=empty(T, B, D),
        dx_part=empty(T, B, D),
    )


def forward(xp: Any, sequence: ModuleType, blocks: list[Any], buf: SimpleNamespace, x: Any) -> None:
    """Fill the buffers from x (T, B, D) and the initial memory ``buf.c[0]``."""
    T, B, H = buf.states.shape
    buf.x1[..., :-1] = x
    buf.x1[..., -1] = 1
    x1 = buf.x1.reshape(T * B, -1)
    for W, z in zip(blocks, (buf.gamma_u, buf.gamma_r, buf.c_tilde), strict=True):
        xp.matmul(x1, W[H:], out=z.reshape(T * B, H))  # (F1) (F2) (F5)
    sequence.forward(*(W[:H] for W in blocks), buf.c, buf.gamma_u, buf.gamma_r, buf.c_tilde, buf.rc)  # (F10)


def backward(
    xp: Any, sequence: ModuleType, blocks: list[Any], dblocks: list[Any], buf: SimpleNamespace, dstates: Any
) -> None:
    """Fill `dblocks` and the buffers ``buf.backward``; their dc comes in as the gradient of the last memory."""
    T, B, H = buf.states.shape
    d = buf.backward
    saved = (buf.c, buf.gamma_u, buf.gamma_r, buf.c_tilde, buf.rc)
    sequence.backward(*(W[:H] for W in blocks), *saved, dstates, d.dz_u, d.dz_r, d.dz_c, d.dc)  # (F10)
    x1, c_prev, rc = (array.reshape(T * B, -1) for array in (buf.x1, buf.c[:-1], buf.rc))
    for dW, memory, dz in zip(dblocks, (c_prev, c_prev, rc), (d.dz_u, d.dz_r, d.dz_c), strict=True):
        dz = dz.reshape(T * B, H)
        xp.matmul(memory.T, dz, out=dW[:H])  # (dGW) (F1) (F2)
        xp.matmul(x1.T, dz, out=dW[H:])  # (dGW) (F1) (F2) (F5)
