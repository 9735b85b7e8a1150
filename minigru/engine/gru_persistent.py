"""The persistent form of the GRU: one kernel computes the recurrence of all T steps.

The equations are those of `minigru.engine.gru`, whose other form goes step by step. The persistent kernel multiplies
the memory alone, so each bracket is split in two (F1): ``[c_prev, x, 1] [U; V; b] = c_prev U + [x, 1] [V; b]``, where
``[U; V; b]`` is the weight block of one gate. Each of the other products is one call for all steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

from .backend import Array
from .recurrent import Recurrent


@dataclass
class Buffers:
    """What `forward` computes, kept for `backward`."""

    c: Array
    states: Array
    x1: Array
    rc: Array
    gamma_u: Array
    gamma_r: Array
    c_tilde: Array


@dataclass
class BackwardBuffers:
    """What `backward` computes, and room for the dx that the layer computes after it."""

    dz_u: Array
    dz_r: Array
    dz_c: Array
    dc: Array
    dx: Array
    dx_part: Array


def new_buffers(layer: Recurrent, T: int, B: int) -> Buffers:
    """Return uninitialised buffers of `forward`."""
    D, H, empty = layer.input_size, layer.hidden_size, layer._empty
    c = empty(T + 1, B, H)  # c[0] is the initial memory, c[t + 1] the memory after step t
    return Buffers(
        c=c,
        states=c[1:],  # (T, B, H), a view
        x1=empty(T, B, D + 1),  # [x, 1]
        rc=empty(T, B, H),  # gamma_r * c_prev
        gamma_u=empty(T, B, H),
        gamma_r=empty(T, B, H),
        c_tilde=empty(T, B, H),
    )


def new_backward_buffers(layer: Recurrent, T: int, B: int) -> BackwardBuffers:
    """Return uninitialised buffers of `backward`."""
    D, H, empty = layer.input_size, layer.hidden_size, layer._empty
    return BackwardBuffers(
        dz_u=empty(T, B, H),
        dz_r=empty(T, B, H),
        dz_c=empty(T, B, H),
        dc=empty(B, H),
        dx=empty(T, B, D),
        dx_part=empty(T, B, D),
    )


def forward(layer: Recurrent, buf: Buffers, x: Array) -> None:
    """Fill the buffers from x (T, B, D) and the initial memory ``buf.c[0]``."""
    xp, (T, B, H) = layer.backend.xp, buf.states.shape
    buf.x1[..., :-1] = x
    buf.x1[..., -1] = 1
    x1 = buf.x1.reshape(T * B, -1)
    for W, from_x in zip(layer.blocks, (buf.gamma_u, buf.gamma_r, buf.c_tilde), strict=True):
        xp.matmul(x1, W[H:], out=from_x.reshape(T * B, H))  # (F1) (F2) (F5)
    U_u, U_r, U_c = (W[:H] for W in layer.blocks)
    _kernels(layer).forward(U_u, U_r, U_c, buf.c, buf.gamma_u, buf.gamma_r, buf.c_tilde, buf.rc)  # (F10)


def backward(layer: Recurrent, buf: Buffers, buf_b: BackwardBuffers, dstates: Array | None) -> None:
    """Fill `buf_b` and ``layer.dblocks`` from dstates (T, B, H) and ``buf_b.dc``, the gradient of the last memory.

    On return ``buf_b.dc`` holds the gradient of the initial memory.
    """
    xp, (T, B, H) = layer.backend.xp, buf.states.shape
    U_u, U_r, U_c = (W[:H] for W in layer.blocks)
    saved = (buf.c, buf.gamma_u, buf.gamma_r, buf.c_tilde, buf.rc)
    _kernels(layer).backward(U_u, U_r, U_c, *saved, dstates, buf_b.dz_u, buf_b.dz_r, buf_b.dz_c, buf_b.dc)  # (F10)
    x1, c_prev, rc = (array.reshape(T * B, -1) for array in (buf.x1, buf.c[:-1], buf.rc))
    for dW, memory, dz in zip(layer.dblocks, (c_prev, c_prev, rc), (buf_b.dz_u, buf_b.dz_r, buf_b.dz_c), strict=True):
        dz = dz.reshape(T * B, H)
        xp.matmul(memory.T, dz, out=dW[:H])  # (dGW) (F1) (F2)
        xp.matmul(x1.T, dz, out=dW[H:])  # (dGW) (F1) (F2) (F5)


def _kernels(layer: Recurrent) -> ModuleType:
    assert layer.backend.persistent is not None  # or the layer would not have been given this form
    return layer.backend.persistent
