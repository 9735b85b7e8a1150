"""Softmax and cross-entropy in one: from logits (one score per class) to a loss, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import checks
from .backend import Array, Backend, get_backend
from .layer import remember


class SoftmaxCrossEntropy:
    """Mean cross-entropy, in nats, of the softmax of logits against integer labels.

    Parameters
    ----------
    backend : "numpy", "cupy" or a `Backend`
    dtype : "float32" or "float64"

    Raises
    ------
    ValueError
        backend or dtype is not one of those named.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """

    def __init__(self, backend: str | Backend = "numpy", dtype: Any = "float32") -> None:
        self.backend = get_backend(backend)
        self.dtype = checks.dtype(dtype)
        self._buffers: dict[tuple[int, ...], Buffers] = {}
        self._ran: Buffers | None = None  # the buffers of the latest forward

    def forward(self, logits: Any, labels: Any, weights: Any = None) -> Array:
        """Return the mean loss, a scalar on the device of the backend.

        Parameters
        ----------
        logits : array_like (B, K), finite real numbers
        labels : array_like (B,), integers from 0 to K - 1
        weights : array_like (B,), finite numbers from 0 up that multiply the losses of the samples before the mean
            is taken, which divides by B; None stands for ones

        Raises
        ------
        ValueError
            logits is not (B, K), real and finite, labels is not B integers from 0 to K - 1, or weights is not B finite
            numbers from 0 up.
        """
        logits = checks.reals("logits", logits, ("B", "K"), self.backend, self.dtype)
        logits, (B, K) = self.backend.xp.ascontiguousarray(logits, self.dtype), logits.shape
        labels = checks.labels("labels", labels, B, K, self.backend)
        if weights is not None:
            weights = checks.weights("weights", weights, B, self.backend, self.dtype)
        return self._forward(logits, labels, weights)

    def backward(self) -> Array:
        """Return dlogits (B, K), the gradient of the latest loss.

        Raises
        ------
        RuntimeError
            forward has not been called.
        """
        if self._ran is None:
            raise RuntimeError("backward was called before forward; call forward(logits, labels) first")
        return self._backward().copy()

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle as a new loss, which has not run yet."""
        return type(self), (self.backend, self.dtype)

    def _forward(self, logits: Array, labels: Array, weights: Array | None = None) -> Array:
        """Twin of `forward` inside the engine: no validation. The kernel computes dlogits at the same time."""
        buf = self._ran = remember(self._buffers, logits.shape, lambda: self._new_buffers(*logits.shape))
        share = buf.share if weights is None else weights[:, None] / len(logits)
        return self.backend.kernels.softmax_cross_entropy(  # (S1) (S2) (S3) (dS)
            buf.dlogits, logits, buf.log_p, buf.p, buf.y, buf.row, share, labels, buf.classes
        )

    def _backward(self) -> Array:
        """Twin of `backward` inside the engine: dlogits is a buffer of the loss."""
        assert self._ran is not None
        return self._ran.dlogits

    def _new_buffers(self, B: int, K: int) -> Buffers:
        empty, dtype = self.backend.empty, self.dtype
        return Buffers(
            dlogits=empty((B, K), dtype),
            log_p=empty((B, K), dtype),  # log-probabilities
            p=empty((B, K), dtype),  # probabilities
            y=empty((B, K), dtype),  # one-hot labels
            row=empty((B, 1), dtype),
            share=self.backend.xp.full((B, 1), 1 / B, dtype),  # the part of a sample without a weight in the mean
            classes=self.backend.xp.arange(K),
        )


@dataclass
class Buffers:
    """The working arrays of the loss for one (B, K)."""

    dlogits: Array
    log_p: Array
    p: Array
    y: Array
    row: Array
    share: Array
    classes: Array
