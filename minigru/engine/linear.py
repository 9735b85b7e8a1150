"""The linear layer: from the last memory to one score a class."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from . import checks
from .backend import Backend
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
    params, grads : dicts with ``W`` (in_features, out_features) and ``b`` (out_features,)

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
        super().__init__({("W", "b"): (in_features, out_features)}, backend, dtype)
        self.set("W", uniform(checks.rng(rng), in_features, (in_features, out_features)))
        self._buffers: dict[int, SimpleNamespace] = {}
        self._ran: Any = None

    def forward(self, x: Any) -> Any:
        """Return y (B, out_features) for x, array_like (B, in_features) of finite real numbers.

        y is the layer's own memory, written again by the next forward with the same B.

        Raises
        ------
        ValueError
            x has another shape, is not real, or is not finite.
        """
        return self._forward(checks.reals("x", x, ("B", self.in_features), self.backend, self.dtype))

    def backward(self, dy: Any) -> Any:
        """Return dx (B, in_features) for dy, array_like (B, out_features); `grads` is overwritten.

        dx is the layer's own memory, written again by the next backward with the same B.

        Raises
        ------
        ValueError
            dy has another shape than y, is not real, or is not finite.
        RuntimeError
            There was no forward before.
        """
        if self._ran is None:
            raise RuntimeError("backward was called before forward; call forward(x) first")
        return self._backward(checks.reals("dy", dy, self._ran.y.shape, self.backend, self.dtype))

    def _forward(self, x: Any) -> Any:
        xp, W, b = self.backend.xp, self.params["W"], self.params["b"]
        buf = self._ran = remember(self._buffers, len(x), lambda: self._new_buffers(len(x)))
        buf.x[...] = x
        xp.matmul(buf.x, W, out=buf.y)  # (L1)
        xp.add(buf.y, b, out=buf.y)  # (L1)
        return buf.y

    def _backward(self, dy: Any) -> Any:
        xp, W, dW, db = self.backend.xp, self.params["W"], self.grads["W"], self.grads["b"]
        buf = self._ran
        buf.dy[...] = dy
        xp.matmul(buf.dy, W.T, out=buf.dx)  # (dL1)
        xp.matmul(buf.x.T, buf.dy, out=dW)  # (dL1)
        xp.sum(buf.dy, axis=0, out=db)  # (dL1)
        return buf.dx

    def _new_buffers(self, B: int) -> SimpleNamespace:
        empty, dtype = self.backend.empty, self.dtype
        return SimpleNamespace(
            x=empty((B, self.in_features), dtype),
            y=empty((B, self.out_features), dtype),
            dx=empty((B, self.in_features), dtype),
            dy=empty((B, self.out_features), dtype),
        )
