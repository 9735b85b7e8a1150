"""The plain RNN as a schedule: the baseline that the GRU is measured against."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from .recurrent import FLUSH_EVERY, Recurrent


class RNN(Recurrent):
    """Plain recurrent layer (Elman 1990): ``a = tanh([a_prev, x] W_a + b_a)``.

    It is used exactly like `GRU`; the argument ``c_0`` keeps its name there, and is the initial activation here.

    Parameters
    ----------
    input_size : D, the length of one x
    hidden_size : H, the length of the activation a
    backend : "numpy", "cupy" or a `Backend`
    dtype : "float32" or "float64"
    rng : seed or NumPy Generator for the initial weights; the bias starts at zero

    Attributes
    ----------
    params, grads : dicts with ``W_a`` (H + D, H) and ``b_a`` (H,)

    Raises
    ------
    ValueError
        A size is not a whole number from 1 up, or backend or dtype is not one of those named.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """

    letters = "a"

    def _new_buffers(self, T: int, B: int) -> SimpleNamespace:
        D, H, empty = self.input_size, self.hidden_size, self._empty
        a = empty(T + 1, B, H)  # a[0] is the initial activation, a[t + 1] the one after step t
        return SimpleNamespace(
            a=a,
            states=a[1:],
            ax1=empty(T, B, H + D + 1),  # [a_prev, x, 1]
            backward=None,
        )

    def _new_backward_buffers(self, T: int, B: int) -> SimpleNamespace:
        D, H, empty = self.input_size, self.hidden_size, self._empty
        return SimpleNamespace(
            dz_a=empty(T, B, H),
            da=empty(B, H),
            dx=empty(T, B, D),
        )

    def _forward(self, x: Any, c_0: Any) -> Any:
        xp, kernels = self.backend.xp, self.backend.kernels
        (T, B, _), H = x.shape, self.hidden_size
        (W_a,) = self.blocks
        buf = self._buffers_for(T, B)
        a, ax1 = buf.a, buf.ax1

        a[0] = 0 if c_0 is None else c_0
        ax1[..., H:-1] = x
        ax1[..., -1] = 1
        for t in range(T):
            ax1[t, :, :H] = a[t]
            xp.matmul(ax1[t], W_a, out=a[t + 1])  # (R1) (F5)
            kernels.rnn_state(a[t + 1])  # (R1)
        return buf.states

    def _backward(self, dlast: Any, dstates: Any, need_dx: bool) -> tuple[Any, Any]:
        xp, kernels = self.backend.xp, self.backend.kernels
        buf = self._ran
        T, B, H = buf.states.shape
        D = self.input_size
        (W_a,), (dW_a,) = self.blocks, self.dblocks
        buf.backward = buf.backward or self._new_backward_buffers(T, B)
        a, dz_a, da, dx = buf.a, buf.backward.dz_a, buf.backward.da, buf.backward.dx

        (W_a_T,) = self._transposed_recurrent_weights()  # (F1) (F6)
        da[...] = 0 if dlast is None else dlast
        for t in reversed(range(T)):
            if dstates is not None:
                xp.add(da, dstates[t], out=da)
            if t % FLUSH_EVERY == 0:
                kernels.flush(da)  # (F9)
            kernels.rnn_state_backward(dz_a[t], da, a[t + 1])  # (dR1)
            xp.matmul(dz_a[t], W_a_T, out=da)  # (dR1)

        dz = dz_a.reshape(T * B, H)
        xp.matmul(buf.ax1.reshape(T * B, H + D + 1).T, dz, out=dW_a)  # (dRW) (F2) (F5)
        if need_dx:
            xp.matmul(dz, W_a[H:-1].T, out=dx.reshape(T * B, D))  # (dR1) (F1)
        return (dx if need_dx else None), da
