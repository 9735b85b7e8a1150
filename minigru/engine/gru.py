"""The GRU as a schedule: the equations of `minigru.reference`, ordered for speed.

It differs from the reference in two things only: the order of the matrix products, here, and the elementwise steps
between them, in `minigru.engine.kernels`. Each rearrangement has a tag (F…) of its own in ``docs/engine.md``. Where the
backend has the whole recurrence as one kernel, and the size fits, `minigru.gru_persistent` takes the place of the loops.
"""

from __future__ import annotations

from types import MappingProxyType, ModuleType, SimpleNamespace
from typing import Any

from . import gru_persistent
from .recurrent import FLUSH_EVERY, Recurrent


class GRU(Recurrent):
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
    params, grads : dicts with ``W_u``, ``W_r``, ``W_c`` (H + D, H) and ``b_u``, ``b_r``, ``b_c`` (H,)

    Raises
    ------
    ValueError
        A size is not a whole number from 1 up, or backend or dtype is not one of those named.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """

    letters = "urc"
    # Memory is kept at first, so that gradients reach far back (Jozefowicz et al. 2015, for the LSTM's forget gate).
    first_biases = MappingProxyType({"b_u": -1.0})

    @property
    def _sequence(self) -> ModuleType | None:
        """The whole recurrence as one kernel, where the backend has it for this size; chosen here and nowhere else."""
        persistent = self.backend.persistent
        return persistent if persistent and persistent.fits(self.hidden_size, self.dtype) else None

    def _new_buffers(self, T: int, B: int) -> SimpleNamespace:
        D, H, empty = self.input_size, self.hidden_size, self._empty
        if self._sequence:
            return gru_persistent.new_buffers(self, T, B)
        c = empty(T + 1, B, H)  # c[0] is the initial memory, c[t + 1] the memory after step t
        return SimpleNamespace(
            c=c,
            states=c[1:],
            cx1=empty(T, B, H + D + 1),  # [c_prev, x, 1]
            rcx1=empty(T, B, H + D + 1),  # [gamma_r * c_prev, x, 1]
            gamma_u=empty(T, B, H),
            gamma_r=empty(T, B, H),
            c_tilde=empty(T, B, H),
            backward=None,
        )

    def _new_backward_buffers(self, T: int, B: int) -> SimpleNamespace:
        D, H, empty = self.input_size, self.hidden_size, self._empty
        if self._sequence:
            return gru_persistent.new_backward_buffers(self, T, B)
        return SimpleNamespace(
            dz_u=empty(T, B, H),
            dz_r=empty(T, B, H),
            dz_c=empty(T, B, H),
            dc=empty(B, H),
            drc=empty(B, H),
            product=empty(B, H),
            scratch=empty(B, H),
            dx=empty(T, B, D),
            dx_part=empty(T, B, D),
        )

    def _forward(self, x: Any, c_0: Any) -> Any:
        buf = self._buffers_for(*x.shape[:2])
        buf.c[0] = 0 if c_0 is None else c_0
        if self._sequence:
            gru_persistent.forward(self, buf, x)
        else:
            self._forward_steps(buf, x)
        return buf.states

    def _backward(self, dlast: Any, dstates: Any, need_dx: bool) -> tuple[Any, Any]:
        buf = self._ran
        buf.backward = getattr(buf, "backward", None) or self._new_backward_buffers(*buf.states.shape[:2])
        buf.backward.dc[...] = 0 if dlast is None else dlast
        if self._sequence:
            gru_persistent.backward(self, buf, buf.backward, dstates)
        else:
            self._backward_steps(buf, dstates)
        return (self._dx(buf.backward) if need_dx else None), buf.backward.dc

    def _forward_steps(self, buf: SimpleNamespace, x: Any) -> None:
        xp, kernels = self.backend.xp, self.backend.kernels
        T, H = len(x), self.hidden_size
        W_u, W_r, W_c = self.blocks
        c, gamma_u, gamma_r, c_tilde, cx1, rcx1 = buf.c, buf.gamma_u, buf.gamma_r, buf.c_tilde, buf.cx1, buf.rcx1
        rc = rcx1[..., :H]

        for joined in (cx1, rcx1):
            joined[..., H:-1] = x
            joined[..., -1] = 1
        for t in range(T):
            c_prev = c[t]
            cx1[t, :, :H] = c_prev
            xp.matmul(cx1[t], W_u, out=gamma_u[t])  # (G1) (F5)
            xp.matmul(cx1[t], W_r, out=gamma_r[t])  # (G2) (F5)
            kernels.gru_gates(gamma_u[t], gamma_r[t], rc[t], c_prev)  # (G1) (G2) (G3)
            xp.matmul(rcx1[t], W_c, out=c_tilde[t])  # (G3) (F5)
            kernels.gru_memory(c[t + 1], c_tilde[t], gamma_u[t], c_prev)  # (G3) (G4)

    def _backward_steps(self, buf: SimpleNamespace, dstates: Any) -> None:
        xp, kernels = self.backend.xp, self.backend.kernels
        T, B, H = buf.states.shape
        c, gamma_u, gamma_r, rc, c_tilde = buf.c, buf.gamma_u, buf.gamma_r, buf.rcx1[..., :H], buf.c_tilde
        buf_b = buf.backward
        dz_u, dz_r, dz_c, dc, drc, product = buf_b.dz_u, buf_b.dz_r, buf_b.dz_c, buf_b.dc, buf_b.drc, buf_b.product

        W_u_T, W_r_T, W_c_T = self._transposed_recurrent_weights()  # (F1) (F6)
        for t in reversed(range(T)):
            if dstates is not None:
                xp.add(dc, dstates[t], out=dc)
            if t % FLUSH_EVERY == 0:
                kernels.flush(dc)  # (F9)
            kernels.gru_memory_backward(  # (dG4) (dG3) (dG1)
                dc, dz_u[t], dz_c[t], gamma_u[t], c_tilde[t], c[t], buf_b.scratch
            )
            xp.matmul(dz_c[t], W_c_T, out=drc)  # (dG3)
            kernels.gru_reset_backward(dc, dz_r[t], drc, gamma_r[t], rc[t])  # (dG3) (dG2)
            xp.matmul(dz_r[t], W_r_T, out=product)
            xp.add(dc, product, out=dc)  # (dG2)
            xp.matmul(dz_u[t], W_u_T, out=product)
            xp.add(dc, product, out=dc)  # (dG1)

        dW_u, dW_r, dW_c = self.dblocks
        cx1, rcx1 = buf.cx1.reshape(T * B, -1), buf.rcx1.reshape(T * B, -1)
        dz_u, dz_r, dz_c = dz_u.reshape(T * B, H), dz_r.reshape(T * B, H), dz_c.reshape(T * B, H)
        xp.matmul(cx1.T, dz_u, out=dW_u)  # (dGW) (F2) (F5)
        xp.matmul(cx1.T, dz_r, out=dW_r)  # (dGW) (F2) (F5)
        xp.matmul(rcx1.T, dz_c, out=dW_c)  # (dGW) (F2) (F5)

    def _dx(self, buf_b: SimpleNamespace) -> Any:
        xp, H, (T, B, D) = self.backend.xp, self.hidden_size, buf_b.dx.shape
        W_u, W_r, W_c = self.blocks
        dz_u, dz_r, dz_c = (dz.reshape(T * B, H) for dz in (buf_b.dz_u, buf_b.dz_r, buf_b.dz_c))
        dx, part = buf_b.dx.reshape(T * B, D), buf_b.dx_part.reshape(T * B, D)
        xp.matmul(dz_c, W_c[H:-1].T, out=dx)  # (dG3) (F1)
        xp.matmul(dz_r, W_r[H:-1].T, out=part)
        xp.add(dx, part, out=dx)  # (dG2) (F1)
        xp.matmul(dz_u, W_u[H:-1].T, out=part)
        xp.add(dx, part, out=dx)  # (dG1) (F1)
        return buf_b.dx
