"""The baseline of Keras 3: GRU(reset_after=False), compile and train_on_batch, on the backend in KERAS_BACKEND.

With JAX, Keras compiles the step by itself (`jit_compile="auto"`, the default). With PyTorch it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
from baselines import Baseline, K, Params, sizes


def from_minigru(params: Params) -> list[np.ndarray]:
    """Return the weights of the Keras model: z is 1 - gamma_u, so W_u and b_u are negated."""
    H = sizes(params)[1]
    W, b = (np.concatenate([-params[f"gru.{n}_u"], params[f"gru.{n}_r"], params[f"gru.{n}_c"]], -1) for n in "Wb")
    return [W[H:], W[:H], b, params["linear.W"], params["linear.b"]]


def to_minigru(weights: list[np.ndarray]) -> Params:
    """Return the parameters of minigru, or their gradients."""
    kernel, recurrent, bias, W, b = weights
    u, r, c = (slice(i * len(recurrent), (i + 1) * len(recurrent)) for i in range(3))
    gates = {"u": (u, -1), "r": (r, 1), "c": (c, 1)}
    both = np.concatenate([recurrent, kernel])
    params = {f"gru.W_{gate}": sign * both[:, part] for gate, (part, sign) in gates.items()}
    return (
        params | {f"gru.b_{g}": sign * bias[part] for g, (part, sign) in gates.items()} | {"linear.W": W, "linear.b": b}
    )


class KerasGRU(Baseline):
    """Keras 3's GRU with minigru's equations."""

    name = f"Keras GRU, {keras.backend.backend()}"

    def __init__(self, params: Params) -> None:
        self.params = from_minigru(params)
        # Keras divides by the correction of v before it adds epsilon, so this makes its first step that of minigru.
        self.model = self.compiled(keras.optimizers.Adam(1e-3, epsilon=1e-8 * 0.001**0.5))

    def compiled(self, optimizer: Any) -> Any:
        """Return the model at the initial parameters."""
        kernel, recurrent = self.params[:2]
        gru = keras.layers.GRU(len(recurrent), reset_after=False)
        model = keras.Sequential([keras.Input((None, len(kernel))), gru, keras.layers.Dense(K)])
        model.set_weights(self.params)
        model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
        return model

    def step(self, x: Any, y: Any) -> None:
        """Take one training step; Keras returns the loss as a number, so it waits for the device."""
        self.model.train_on_batch(x, y)

    def check(self, x: Any, y: Any) -> tuple[float, Params]:
        """Return the loss and the gradients: a step of gradient descent, long enough to drown the parameters."""
        rate = 2.0**40
        descent = self.compiled(keras.optimizers.SGD(rate))
        loss = descent.train_on_batch(x, y)
        steps = zip(self.params, descent.get_weights(), strict=True)
        return float(np.squeeze(loss)), to_minigru([(before - after) / rate for before, after in steps])

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name and value of every parameter."""
        return iter(to_minigru(self.model.get_weights()).items())

    def claims(self, x: Any, y: Any) -> dict[str, bool]:
        """Return whether the layer has minigru's variant, and whether Keras compiles the step."""
        as_the_backend_does = bool(self.model.jit_compile) == (keras.backend.backend() == "jax")
        return {"minigru's variant": not self.model.layers[0].reset_after, "compiled by JAX only": as_the_backend_does}
