"""The linear layer: from the last memory to one score per class, the logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from . import checks
from .backend import Array, Backend
from .layer import Layer, remember, uniform


class Linear(Layer):
    """Affine map ``y = x W + b``.

    Parameters
    ----------
    in_features, out_features : lengths of one x and of one y
    backend : "numpy", "cupy" or a `Backend`
    dtype : "float32" or "float64"
    rng : seed or NumPy Generator for the initial W; b starts at zero

    Attributes
    ----------
    params, grads : mappings with ``W`` (in_features, out_features) and ``b`` (out_features,)

    Raises
    ------
    ValueError
        A size is not a whole number from 1 up, or backend or dtype is not one of those named.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        rng: int | np.random.Generator = 0,
    ) -> None:
        self.in_features = checks.whole("in_features", in_features)
        self.out_features = checks.whole("out_features", out_features)
        super().__init__({("W", "b"): (self.in_features, self.out_features)}, backend, dtype)
        self.params["W"] = uniform(checks.rng(rng), self.in_features, (self.in_features, self.out_features))
        self._arguments = self.in_features, self.out_features, self.backend, self.dtype
        self._buffers: dict[int, Buffers] = {}
        self._ran: Buffers | None = None  # the buffers of the latest forward
        self._x: Any = None  # and its input

    def forward(self, x: Any) -> Array:
        """Return ``y = x W + b`` (B, out_features) for x, array_like (B, in_features) of finite real numbers.

        Raises
        ------
        ValueError
            x has another shape, is not real, or is not finite.
        """
        x = checks.reals("x", x, ("B", self.in_features), self.backend, self.dtype)
        return self._forward(self.backend.xp.array(x, self.dtype, order="C")).copy()

    def backward(self, dy: Any) -> Array:
        """Return ``dx = dy W^T`` (B, in_features) for dy, array_like (B, out_features).

        `grads` is overwritten: ``dW = x^T dy``, and db is the sum of dy over the samples.

        Raises
        ------
        ValueError
            dy has another shape than y, is not real, or is not finite.
        RuntimeError
            forward has not been called.
        """
        if self._ran is None:
            raise RuntimeError("backward was called before forward; call forward(x) first")
        dy = checks.reals("dy", dy, self._ran.y.shape, self.backend, self.dtype)
        return self._backward(self.backend.xp.array(dy, self.dtype, order="C")).copy()

    def _forward(self, x: Array) -> Array:
        """Twin of `forward` inside the engine: no validation, and y is a buffer of the layer.

        x is C-contiguous and not copied: it must not change before `_backward`.
        """
        buf = self._ran = remember(self._buffers, len(x), lambda: self._new_buffers(len(x)))
        self._x = x
        self.backend.kernels.affine(buf.y, x, self.blocks[0])  # (L1)
        return buf.y

    def _backward(self, dy: Array) -> Array:
        """Twin of `backward` inside the engine: no validation, and dx is a buffer of the layer."""
        buf, x = self._ran, self._x
        assert buf is not None
        self.backend.kernels.affine_backward(buf.dx, self.dblocks[0], dy, x, self.blocks[0])  # (dL1)
        return buf.dx

    def _new_buffers(self, B: int) -> Buffers:
        empty, dtype = self.backend.empty, self.dtype
        return Buffers(
            y=empty((B, self.out_features), dtype),
            dx=empty((B, self.in_features), dtype),
        )


@dataclass
class Buffers:
    """The output of one batch size, and the gradient of the input."""

    y: Array
    dx: Array
