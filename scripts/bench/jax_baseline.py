"""The baseline of JAX: the cell in jax.lax.scan, compiled together with its gradient and Adam."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
from baselines import Baseline, Params
from jax import numpy as jnp


def output(p: dict[str, Any], x: Any) -> Any:
    """Return the logits (B, K) of a batch x (T, B, D)."""

    def cell(c: Any, x_t: Any) -> tuple[Any, None]:
        cx = jnp.concatenate([c, x_t], axis=1)
        gamma_u = jax.nn.sigmoid(cx @ p["gru.W_u"] + p["gru.b_u"])
        gamma_r = jax.nn.sigmoid(cx @ p["gru.W_r"] + p["gru.b_r"])
        rcx = jnp.concatenate([gamma_r * c, x_t], axis=1)
        c_tilde = jnp.tanh(rcx @ p["gru.W_c"] + p["gru.b_c"])
        return gamma_u * c_tilde + (1 - gamma_u) * c, None

    last, _ = jax.lax.scan(cell, jnp.zeros((x.shape[1], p["gru.b_u"].size), x.dtype), x)
    return last @ p["linear.W"] + p["linear.b"]


def loss(p: dict[str, Any], x: Any, y: Any) -> Any:
    """Return the mean loss of a batch x (T, B, D), y (B,)."""
    log_p = jax.nn.log_softmax(output(p, x))
    return -jnp.take_along_axis(log_p, y[:, None], axis=1).mean()


output_batch_first = jax.jit(lambda p, x: output(p, x.transpose(1, 0, 2)))
value_and_grad = jax.jit(jax.value_and_grad(loss))


@functools.partial(jax.jit, donate_argnums=(0, 1, 2))
def train(p: Any, m: Any, v: Any, t: Any, x: Any, y: Any) -> tuple[Any, Any, Any]:
    """Return the parameters and both moments after step t."""
    _, g = value_and_grad(p, x, y)
    m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
    v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
    rate, correction = 1e-3 / (1 - 0.9**t), 1 - 0.999**t
    return jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v / correction) + 1e-8), p, m, v), m, v


class JaxScan(Baseline):
    """jax.lax.scan under jit."""

    name = "jax.lax.scan, jit"

    def __init__(self, params: Params) -> None:
        self.p = {name: jnp.array(value) for name, value in params.items()}
        self.m, self.v = jax.tree.map(jnp.zeros_like, (self.p, self.p))
        self.t = 0

    def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
        """Return the batch with x time major."""
        return jnp.asarray(x.transpose(1, 0, 2)), jnp.asarray(y)

    def step(self, x: Any, y: Any) -> None:
        """Take one training step."""
        self.t += 1
        self.p, self.m, self.v = train(self.p, self.m, self.v, float(self.t), x, y)

    def finish(self) -> None:
        """Wait for the device."""
        jax.block_until_ready(self.p)

    def check(self, x: Any, y: Any) -> tuple[float, Params]:
        """Return the loss and the gradients at the present parameters."""
        value, grads = value_and_grad(self.p, x, y)
        return float(value), {name: np.asarray(grad) for name, grad in grads.items()}

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield the name and value of every parameter."""
        return ((name, np.asarray(value)) for name, value in self.p.items())

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (B, K) of images x (B, T, D)."""
        return np.asarray(output_batch_first(self.p, x))

    def claims(self, x: Any, y: Any) -> dict[str, bool]:
        """Return whether the compiled step is on the CPU and loops by scan, which XLA compiles to a while loop."""
        compiled = train.lower(self.p, self.m, self.v, 1.0, x, y).compile().as_text()
        return {"on the CPU": jax.default_backend() == "cpu", "a compiled scan": " while(" in compiled}
