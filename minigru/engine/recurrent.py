"""What every recurrent layer shares: its checked outside, and its buffers."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy as np

from . import checks
from .backend import Backend
from .layer import Layer, remember, uniform

FLUSH_EVERY = 16  # steps


class Recurrent(Layer):
    """Base of `GRU` and `RNN`: a cell run over T steps, time major.

    A subclass names its affine maps in ``letters``, the biases that do not start at zero in ``first_biases``, and
    writes the schedule: ``_forward``, ``_backward`` and the buffers of both, which are made once for each (T, B) and
    belong to the layer.
    """

    letters: str
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
            self.set(f"W_{letter}", np.concatenate([uniform(rng, H, (H, H)), uniform(rng, D, (D, H))]))
        for name, value in self.first_biases.items():
            self.params[name][...] = value
        self._transposed = [self._empty(H, H) for _ in self.letters]
        self._buffers: dict[tuple[int, int], SimpleNamespace] = {}
        self._ran: Any = None

    def forward(self, x: Any, c_0: Any = None) -> Any:
        """Run the cell over a batch of sequences.

        Parameters
        ----------
        x : array_like (T, B, D), finite real numbers
        c_0 : array_like (B, H), the state before the first step; zeros where it is None

        Returns
        -------
        states : (T, B, H), of the layer's backend and dtype; ``states[-1]`` is the last state. It is the layer's own
            memory, written again by the next forward with the same T and B: copy what must stay.

        Raises
        ------
        ValueError
            x or c_0 has another shape, is not real, or is not finite.
        """
        x = checks.reals("x", x, ("T", "B", self.input_size), self.backend, self.dtype)
        if c_0 is not None:
            c_0 = checks.reals("c_0", c_0, (x.shape[1], self.hidden_size), self.backend, self.dtype)
        return self._forward(x, c_0)

    def backward(self, dlast: Any = None, dstates: Any = None, *, need_dx: bool = True) -> tuple[Any, Any]:
        """Backpropagation through time, for the latest forward; may be called again with other gradients.

        The gradient of the loss comes in at the last state, at every state, or both. `grads` is overwritten.

        Parameters
        ----------
        dlast : array_like (B, H), gradient with respect to ``states[-1]``
        dstates : array_like (T, B, H), gradient with respect to every state
        need_dx : False leaves out dx, which a first layer has no use for, and saves its matrix products

        Returns
        -------
        dx : (T, B, D), or None without `need_dx`
        dc_0 : (B, H)
            Both are the layer's own memory, written again by the next backward with the same T and B.

        Raises
        ------
        ValueError
            Neither gradient is given, or one has another shape, is not real, or is not finite.
        RuntimeError
            There was no forward before.
        """
        if self._ran is None:
            raise RuntimeError("backward was called before forward; call forward(x) first")
        if dlast is None and dstates is None:
            raise ValueError("dlast and dstates are both None; expected one of them, or both")
        T, B, H = self._ran.states.shape
        if dlast is not None:
            dlast = checks.reals("dlast", dlast, (B, H), self.backend, self.dtype)
        if dstates is not None:
            dstates = checks.reals("dstates", dstates, (T, B, H), self.backend, self.dtype)
        return self._backward(dlast, dstates, need_dx)

    def _buffers_for(self, T: int, B: int) -> SimpleNamespace:
        self._ran = remember(self._buffers, (T, B), lambda: self._new_buffers(T, B))
        return self._ran

    def _transposed_recurrent_weights(self) -> list[Any]:
        """Lay out the transposes of the rows that meet the memory, as they are multiplied by T times."""
        for transposed, block in zip(self._transposed, self.blocks, strict=True):
            transposed[...] = block[: self.hidden_size].T
        return self._transposed

    def _empty(self, *shape: int) -> Any:
        return self.backend.empty(shape, self.dtype)

    def _new_buffers(self, T: int, B: int) -> SimpleNamespace:
        raise NotImplementedError

    def _forward(self, x: Any, c_0: Any) -> Any:
        raise NotImplementedError

    def _backward(self, dlast: Any, dstates: Any, need_dx: bool) -> tuple[Any, Any]:
        raise NotImplementedError
