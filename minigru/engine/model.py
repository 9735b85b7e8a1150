"""A sequence classifier: a recurrent layer, a linear layer on its last state, softmax cross-entropy."""

from __future__ import annotations

from typing import Any

import numpy as np

from . import checks, replay
from .backend import Array, Backend, get_backend
from .gru import GRU
from .layer import Flat, join
from .linear import Linear
from .loss import SoftmaxCrossEntropy
from .recurrent import Recurrent
from .replay import Replay
from .rnn import RNN

CELLS: dict[str, type[Recurrent[Any, Any]]] = {"gru": GRU, "rnn": RNN}


class SequenceClassifier(Flat):
    """Read a sequence to its end, then classify it.

    Parameters
    ----------
    input_size : D, the length of one step of a sequence
    hidden_size : H
    num_classes : K
    cell : "gru" or "rnn"
    backend : "numpy", "cupy" or a `Backend`
    dtype : "float32" or "float64"
    rng : seed or NumPy Generator for the initial weights

    Attributes
    ----------
    params, grads : mappings with the keys "gru.W_u", …, "linear.W", "linear.b" ("rnn.W_a", … with the RNN)
    vector, gradient : (N,), the arrays that params and grads are views of

    Raises
    ------
    ValueError
        A size is not a whole number from 1 up, or cell, backend or dtype is not one of those named.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_classes: int,
        cell: str = "gru",
        backend: str | Backend = "numpy",
        dtype: Any = "float32",
        rng: int | np.random.Generator = 0,
    ) -> None:
        self.backend = get_backend(backend)
        self.dtype = checks.dtype(dtype)
        self.num_classes = checks.whole("num_classes", num_classes)
        rng = checks.rng(rng)
        self.cell = CELLS[checks.choice("cell", cell, tuple(CELLS))](
            input_size, hidden_size, self.backend, self.dtype, rng
        )
        self.linear = Linear(self.cell.hidden_size, self.num_classes, self.backend, self.dtype, rng)
        self.criterion = SoftmaxCrossEntropy(self.backend, self.dtype)
        joined = join({cell: self.cell, "linear": self.linear})
        self.vector, self.gradient = joined.vector, joined.gradient
        self.params, self.grads = joined.params, joined.grads
        self._loss_is_latest = False
        self._replay: Replay | None = None  # what has computed the latest loss, if not the layers one by one
        self._replays: dict[Any, Replay] = {}
        self._arguments = input_size, hidden_size, num_classes, cell, self.backend, self.dtype

    def loss(self, x: Any, y: Any, lengths: Any = None, weights: Any = None) -> Array:
        """Return the mean loss of a batch, in nats: a scalar on the device of the backend.

        Parameters
        ----------
        x : array_like (B, T, D), batch first, finite real numbers
        y : array_like (B,), integers from 0 to K - 1
        lengths : array_like (B,), integers from 1 to T, where the sequences end (not with the RNN); None stands for T
        weights : array_like (B,), finite numbers from 0 up, by which (S3) multiplies the losses of the samples before
            it divides their sum by B; None stands for ones

        Raises
        ------
        ValueError
            An argument has another shape, type or range.
        """
        return self._loss(*self._samples(x, y, lengths, weights))

    def backward(self) -> None:
        """Fill `grads` with the gradient of the latest loss.

        Raises
        ------
        RuntimeError
            loss has not been called, or a prediction has been made since.
        """
        if not self._loss_is_latest:
            raise RuntimeError("backward was called without a loss just before it; call loss(x, y) first")
        if self._replay is None:
            self._backward()
        else:
            self._replay.backward(self)

    def loss_and_gradient(self, x: Any, y: Any, lengths: Any = None, weights: Any = None) -> Array:
        """Return what `loss` returns, and fill `grads` as `backward` does; a large batch goes in parts (F14).

        Arguments and errors as for `loss`. Do not call `backward` after it.
        """
        x, ended, y, weights = self._samples(x, y, lengths, weights)
        B = len(x)
        parts = max(1, B // self.backend.cached_batch)
        if parts == 1:
            loss = self._loss(x, ended, y, weights)
            self.backward()
            return loss
        mean: Any = 0.0
        gradient = self.backend.zeros(self.gradient.shape, self.dtype)
        for part in (slice(B * i // parts, B * (i + 1) // parts) for i in range(parts)):
            ends, w = (None if ended is None else ended[:, part]), (None if weights is None else weights[part])
            share = (part.stop - part.start) / B
            mean += share * self._loss(x[part], ends, y[part], w)
            self.backward()
            gradient += share * self.gradient  # (F14)
        self.gradient[...] = gradient
        self._loss_is_latest = False
        return mean

    def logits(self, x: Any, batch_size: int = 1000, lengths: Any = None) -> np.ndarray:
        """Return the logits, one score per class, a host array (B, K).

        Parameters
        ----------
        x : array_like (B, T, D), batch first, finite real numbers
        batch_size : at most how many sequences are computed at a time (F11), which bounds the size of the buffers
        lengths : array_like (B,), integers from 1 to T, where the sequences end (not with the RNN); None stands for T

        Raises
        ------
        ValueError
            x has another shape, is not real or not finite, batch_size is not a whole number from 1 up, or lengths is
            not B integers from 1 to T.
        """
        x, ended = self._check(x, lengths)
        batch_size = min(checks.whole("batch_size", batch_size), self.backend.cached_rows)
        self._loss_is_latest = False
        logits = self.backend.empty((len(x), self.num_classes), self.dtype)
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            state = self.cell._last(x[part].transpose(1, 0, 2), None if ended is None else ended[:, part])
            logits[part] = self.linear._forward(state)
        return self.backend.to_host(logits)

    def predict_proba(self, x: Any, batch_size: int = 1000, lengths: Any = None) -> np.ndarray:
        """Return the probability of every class, a host array (B, K); arguments and errors as for `logits`."""
        logits = self.logits(x, batch_size, lengths)
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)

    def predict(self, x: Any, batch_size: int = 1000, lengths: Any = None) -> np.ndarray:
        """Return the likeliest class, a host array (B,) of integers; arguments and errors as for `logits`."""
        return self.logits(x, batch_size, lengths).argmax(axis=1)

    def _samples(self, x: Any, y: Any, lengths: Any, weights: Any) -> tuple[Array, Array | None, Array, Array | None]:
        x, ended = self._check(x, lengths)
        y = checks.labels("y", y, len(x), self.num_classes, self.backend)
        if weights is not None:
            weights = checks.weights("weights", weights, len(x), self.backend, self.dtype)
        return x, ended, y, weights

    def _loss(self, x: Array, ended: Array | None, y: Array, weights: Array | None) -> Array:
        self._loss_is_latest = False
        self._replay = None if ended is not None or weights is not None else replay.of(self, x, y)
        loss = self._loss_by_layers(x, ended, y, weights) if self._replay is None else self._replay.loss(self, x, y)
        self._loss_is_latest = True
        return loss

    def _loss_by_layers(self, x: Array, ended: Array | None, y: Array, weights: Array | None) -> Array:
        return self.criterion._forward(self._forward(x, ended), y, weights)

    def _backward(self) -> None:
        dlast = self.linear._backward(self.criterion._backward())
        self.cell._backward(dlast, None, need_dx=False)

    def _check(self, x: Any, lengths: Any) -> tuple[Array, Array | None]:
        return self.cell._sequences(x, lengths, "B", "T")

    def _forward(self, x: Array, ended: Array | None) -> Array:
        run = self.cell._forward(x.transpose(1, 0, 2), None, ended)  # batch first outside, time major inside
        return self.linear._forward(run.last)
