"""The baseline that shows what the engine gains: the equations as they stand in reference.py, in float32."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from baselines import Baseline, Params

from minigru import reference


class Reference(Baseline):
    """minigru.reference with Adam for each parameter."""

    name = "reference.py"

    def __init__(self, params: Params) -> None:
        self.p = {name.partition(".")[2]: value.copy() for name, value in params.items()}
        self.moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in self.p.items()}
        self.t = 0

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Return the batch with x time major."""
        return np.ascontiguousarray(x.transpose(1, 0, 2)), y

    def check(self, x: Any, y: Any) -> tuple[float, Params]:
        """Return the loss and the gradients at the present parameters."""
        c_0 = np.zeros((x.shape[1], self.p["b_u"].size), x.dtype)
        states, cache = reference.gru_forward(x, c_0, self.p)
        logits, linear_cache = reference.linear(states[-1], self.p)
        loss, loss_cache = reference.softmax_cross_entropy(logits, y)
        dlogits = reference.softmax_cross_entropy_backward(loss_cache).astype(x.dtype)
        dlast, grads = reference.linear_backward(dlogits, linear_cache)
        dstates = np.zeros_like(states)
        dstates[-1] = dlast
        _, _, gru_grads = reference.gru_backward(dstates, cache)
        named = {f"gru.{name}": grad for name, grad in gru_grads.items()}
        return float(loss), named | {f"linear.{name}": grad for name, grad in grads.items()}

    def step(self, x: Any, y: Any) -> None:
        """Take one training step."""
        _, grads = self.check(x, y)
        self.t += 1
        for name, grad in grads.items():
            short = name.partition(".")[2]
            self.p[short], *self.moments[short] = reference.adam(self.p[short], grad, *self.moments[short], self.t)

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name and value of every parameter."""
        for short, value in self.p.items():
            yield f"{'linear' if short in ('W', 'b') else 'gru'}.{short}", value
