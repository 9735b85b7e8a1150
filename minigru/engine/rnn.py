"""The plain RNN, fast: the baseline that the GRU is compared with."""

from __future__ import annotations

from dataclasses import dataclass

from .backend import Array
from .recurrent import FLUSH_EVERY, Form, Recurrent, flat


class RNN(Recurrent["Buffers", "BackwardBuffers"]):
    """Plain recurrent layer (Elman 1990): ``a = tanh([a_prev, x] W_a + b_a)``.

    It is used exactly like `GRU`. The argument ``c_0`` keeps its name and is the initial activation here.

    Parameters
    ----------
    input_size : D, the length of one x
    hidden_size : H, the length of the activation a
    backend : "numpy", "cupy" or a `Backend`
    dtype : "float32" or "float64"
    rng : seed or NumPy Generator for the initial weights; the bias starts at zero

    Attributes
    ----------
    params, grads : mappings with ``W_a`` (H + D, H) and ``b_a`` (H,)

    Raises
    ------
    ValueError
        A size is not a whole number from 1 up, or backend or dtype is not one of those named.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """

    letters = "a"

    def _choose_form(self, B: int) -> Form[Buffers, BackwardBuffers]:
        return Form(new_buffers, new_backward_buffers, forward, backward)

    def _forward(self, x: Array, c_0: Array | None, ended: Array | None = None) -> Buffers:
        form, buf = self._buffers_for(*x.shape[:2])
        form.forward(self, buf, x, c_0, ended)
        return buf

    def _backward(self, dlast: Array | None, dstates: Array | None, need_dx: bool) -> tuple[Array | None, Array]:
        form, buf, buf_b = self._latest_buffers()
        form.backward(self, buf, buf_b, dlast, dstates)
        return (_input_gradient(self, buf_b) if need_dx else None), buf_b.da


def forward(rnn: RNN, buf: Buffers, x: Array, a_0: Array | None, closed: Array | None) -> None:
    """Run all steps over x (T, B, D), from the initial activation a_0 (B, H), or zeros; closed is always None."""
    kernels, H = rnn.backend.kernels, rnn.hidden_size
    (W_a,) = rnn.blocks
    a, ax1 = buf.a, buf.ax1

    a[0] = 0 if a_0 is None else a_0
    ax1[..., H:-1] = x
    ax1[..., -1] = 1
    for t in range(len(x)):
        ax1[t, :, :H] = a[t]
        kernels.product(ax1[t], W_a, out=a[t + 1])  # (R1) (F5)
        kernels.rnn_state(a[t + 1])  # (R1)


def backward(rnn: RNN, buf: Buffers, buf_b: BackwardBuffers, dlast: Array | None, dstates: Array | None) -> None:
    """Run all steps back from the gradient of the last activation, of every one, or of both; fill the gradients."""
    xp, kernels = rnn.backend.xp, rnn.backend.kernels
    a, dz_a, da = buf.a, buf_b.dz_a, buf_b.da

    da[...] = 0 if dlast is None else dlast
    (W_a_T,) = rnn._transposed_recurrent_weights()  # (F1) (F6)
    for t in reversed(range(len(dz_a))):
        if dstates is not None:
            xp.add(da, dstates[t], out=da)
        if t % FLUSH_EVERY == 0:
            kernels.flush(da)  # (F9)
        kernels.rnn_state_backward(dz_a[t], da, a[t + 1])  # (dR1)
        kernels.product(dz_a[t], W_a_T, out=da)  # (dR1)

    (dW_a,) = rnn.dblocks
    ax1, dz_a = flat(buf.ax1), flat(dz_a)
    xp.matmul(ax1.T, dz_a, out=dW_a)  # (dRW) (F2) (F5)


def _input_gradient(rnn: RNN, buf_b: BackwardBuffers) -> Array:
    """Return dx (T, B, D) once ``backward`` has filled dz_a."""
    (W_a,), H = rnn.blocks, rnn.hidden_size
    rnn.backend.xp.matmul(flat(buf_b.dz_a), W_a[H:-1].T, out=flat(buf_b.dx))  # (dR1) (F1)
    return buf_b.dx


@dataclass
class Buffers:
    """What the loop of ``forward`` fills and ``backward`` reads."""

    a: Array
    states: Array
    last: Array
    ax1: Array


def new_buffers(rnn: RNN, T: int, B: int) -> Buffers:
    """Return uninitialised `Buffers`."""
    D, H, empty = rnn.input_size, rnn.hidden_size, rnn._empty
    a = empty(T + 1, B, H)  # a[0] is the initial activation, a[t + 1] the activation after step t
    return Buffers(
        a=a,
        states=a[1:],
        last=a[-1],
        ax1=empty(T, B, H + D + 1),  # [a_prev, x, 1]
    )


@dataclass
class BackwardBuffers:
    """What the loop of ``backward`` fills."""

    dz_a: Array
    da: Array
    dx: Array


def new_backward_buffers(rnn: RNN, T: int, B: int) -> BackwardBuffers:
    """Return uninitialised `BackwardBuffers`."""
    D, H, empty = rnn.input_size, rnn.hidden_size, rnn._empty
    return BackwardBuffers(
        dz_a=empty(T, B, H),
        da=empty(B, H),  # gradient of the activation at the step that the loop is at; at the end that of the first
        dx=empty(T, B, D),
    )
