"""What every recurrent layer shares: validated arguments, initial weights, and buffers kept per (T, B)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from . import checks
from .backend import Array, Backend
from .layer import Layer, remember, uniform

FLUSH_EVERY = 16  # steps
Fwd = TypeVar("Fwd", bound="States")  # the buffers of a forward pass
Bwd = TypeVar("Bwd")  # those of a backward pass


class States(Protocol):
    """What the buffers of every forward pass have, among others: all states (T, B, H), and the last (B, H)."""

    states: Array
    last: Array


@dataclass(frozen=True)
class Form(Generic[Fwd, Bwd]):
    """One way to run a recurrent layer: functions that make its buffers, and functions that fill them.

    Attributes
    ----------
    new_buffers, new_backward_buffers : from the layer, T and B
    forward : from the layer, its buffers, x (T, B, D), c_0 (B, H) or None, and what closes the update gate where
        sequences have ended, (T, B, 1) or None
    backward : from the layer, both buffers, dlast (B, H) or None and dstates (T, B, H) or None
    """

    new_buffers: Callable[[Any, int, int], Fwd]
    new_backward_buffers: Callable[[Any, int, int], Bwd]
    forward: Callable[[Any, Fwd, Array, Array | None, Array | None], None]
    backward: Callable[[Any, Fwd, Bwd, Array | None, Array | None], None]


@dataclass
class Run(Generic[Fwd, Bwd]):
    """The form and the buffers of one (T, B)."""

    T: int
    B: int
    form: Form[Fwd, Bwd]
    forward: Fwd
    backward: Bwd | None = None  # made by the first backward


class Recurrent(Layer, Generic[Fwd, Bwd]):
    """Base of `GRU` and `RNN`: a cell run over T steps, time major.

    A subclass names its affine maps in ``letters`` and the biases that do not start at zero in ``first_biases``. It
    returns its `Form` from ``_choose_form``; its ``_forward`` and ``_backward`` say which buffer holds the states.
    """

    letters: str
    can_keep = False  # whether a gate can keep the state from one step to the next
    first_biases: Mapping[str, float] = MappingProxyType({})

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        rng: int | np.random.Generator = 0,
    ) -> None:
        D = self.input_size = checks.whole("input_size", input_size)
        H = self.hidden_size = checks.whole("hidden_size", hidden_size)
        super().__init__({(f"W_{letter}", f"b_{letter}"): (H + D, H) for letter in self.letters}, backend, dtype)
        rng = checks.rng(rng)
        for letter in self.letters:
            self.params[f"W_{letter}"] = np.concatenate([uniform(rng, H, (H, H)), uniform(rng, D, (D, H))])
        for name, value in self.first_biases.items():
            self.params[name][...] = value
        self._arguments = D, H, self.backend, self.dtype
        self._transposed: list[Array] = []
        self._runs: dict[tuple[int, int], Run[Fwd, Bwd]] = {}
        self._ran: Run[Fwd, Bwd] | None = None  # the buffers of the latest forward

    def forward(self, x: Any, c_0: Any = None, lengths: Any = None) -> Array:
        """Run the cell over a batch of sequences.

        Parameters
        ----------
        x : array_like (T, B, D), finite real numbers
        c_0 : array_like (B, H), the state before the first step; None stands for zeros
        lengths : array_like (B,), integers from 1 to T, where the sequences end, for the GRU; None stands for T.
            Behind its end a sequence keeps its last state (G6), and what x holds there is not looked at

        Returns
        -------
        states : (T, B, H), of the layer's backend and dtype; ``states[-1]`` is the last state

        Raises
        ------
        ValueError
            x or c_0 has another shape, is not real, or is not finite; lengths is not B integers from 1 to T, or is
            given to the RNN, which has no gate to close.
        """
        x, ended = self._sequences(x, lengths, "T", "B")
        if c_0 is not None:
            c_0 = checks.reals("c_0", c_0, (x.shape[1], self.hidden_size), self.backend, self.dtype)
        return self._forward(x, c_0, ended).states.copy()

    def backward(self, dlast: Any = None, dstates: Any = None, *, need_dx: bool = True) -> tuple[Any, Array]:
        """Backpropagation through time for the latest forward; may be repeated with other gradients.

        The gradient of the loss comes in at the last state, at every state, or at both. `grads` is overwritten.

        Parameters
        ----------
        dlast : array_like (B, H), gradient with respect to ``states[-1]``
        dstates : array_like (T, B, H), gradient with respect to every state
        need_dx : False skips dx and its matrix products; a first layer does not need dx

        Returns
        -------
        dx : (T, B, D), or None without `need_dx`
        dc_0 : (B, H)

        Raises
        ------
        ValueError
            Neither gradient is given, or one has another shape, is not real, or is not finite.
        RuntimeError
            forward has not been called.
        """
        if self._ran is None:
            raise RuntimeError("backward was called before forward; call forward(x) first")
        if dlast is None and dstates is None:
            raise ValueError("dlast and dstates are both None; expected one of them, or both")
        T, B, H = self._ran.T, self._ran.B, self.hidden_size
        if dlast is not None:
            dlast = checks.reals("dlast", dlast, (B, H), self.backend, self.dtype)
        if dstates is not None:
            dstates = checks.reals("dstates", dstates, (T, B, H), self.backend, self.dtype)
        dx, dc_0 = self._backward(dlast, dstates, need_dx)
        return (dx if dx is None else dx.copy()), dc_0.copy()

    def _sequences(self, x: Any, lengths: Any, *order: str) -> tuple[Array, Array | None]:
        """Return x as a valid array, and where its sequences have ended, (T, B, 1) or None; order is T, B or B, T."""
        if lengths is not None and not self.can_keep:
            raise ValueError("lengths is given to an RNN, which has no gate to keep its state; expected None, or a GRU")
        return checks.sequences("x", x, lengths, (*order, self.input_size), self.backend, self.dtype)

    def _buffers_for(self, T: int, B: int) -> tuple[Form[Fwd, Bwd], Fwd]:
        """Return the form and the buffers of this size, from now on those of the latest forward."""
        self._ran = remember(self._runs, (T, B), lambda: self._new_run(T, B))
        return self._ran.form, self._ran.forward

    def _new_run(self, T: int, B: int) -> Run[Fwd, Bwd]:
        form = self._choose_form(B)
        return Run(T, B, form, form.new_buffers(self, T, B))

    def _latest_buffers(self) -> tuple[Form[Fwd, Bwd], Fwd, Bwd]:
        """Return the form of the latest forward, its buffers, and those of its backward."""
        run = self._ran
        assert run is not None
        if run.backward is None:
            run.backward = run.form.new_backward_buffers(self, run.T, run.B)
        return run.form, run.forward, run.backward

    def _transposed_recurrent_weights(self) -> list[Array]:
        """Lay out the transposes of the rows that meet the memory: the loop multiplies by them T times."""
        H = self.hidden_size
        self._transposed = self._transposed or [self._empty(H, H) for _ in self.letters]
        for transposed, block in zip(self._transposed, self.blocks, strict=True):
            transposed[...] = block[:H].T
        return self._transposed

    def _empty(self, *shape: int) -> Array:
        return self.backend.empty(shape, self.dtype)

    def _choose_form(self, B: int) -> Form[Any, Any]:
        raise NotImplementedError

    def _forward(self, x: Array, c_0: Array | None, ended: Array | None = None) -> Fwd:
        """Twin of `forward` inside the engine: no validation, and it returns the buffers of the layer."""
        raise NotImplementedError

    def _last(self, x: Array, ended: Array | None) -> Array:
        """Return the last state alone, (B, H), a buffer of the layer, from zeros: a few steps at a time."""
        steps, state = max(1, self.backend.cached_rows // x.shape[1]), None
        for t in range(0, len(x), steps):
            some = slice(t, t + steps)
            state = self._forward(x[some], state, None if ended is None else ended[some]).last  # (F11)
        assert state is not None
        return state

    def _backward(self, dlast: Array | None, dstates: Array | None, need_dx: bool) -> tuple[Array | None, Array]:
        """Twin of `backward` inside the engine: no validation, and both gradients are buffers of the layer."""
        raise NotImplementedError


def flat(array: Array) -> Array:
    """View an array of all steps, (T, B, n), as (T B, n)."""
    return array.reshape(-1, array.shape[-1])
