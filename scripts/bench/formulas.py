"""The arithmetic and the RAM of a training step, by the formulas in docs/engine.md.

T steps, B samples, D inputs, H hidden units, K classes.
"""

from __future__ import annotations

from baselines import K

from minigru.engine.backend import get_backend


def count_parameters(D: int, H: int) -> int:
    """Return the number of parameters of the classifier."""
    return 3 * H * (H + D + 1) + (H + 1) * K


def flops(T: int, B: int, D: int, H: int) -> int:
    """Return the additions and multiplications in the matrix products of a training step, without dx."""
    forward = weights = 3 * H * (H + D)
    memory = 3 * H * H
    return 2 * T * B * (forward + memory + weights) + 2 * B * 3 * H * K


def training_bytes(T: int, B: int, D: int, H: int) -> int:
    """Return the bytes of the parameters, gradients, buffers and moments of a float32 classifier trained on a CPU."""
    N = count_parameters(D, H)
    B //= max(1, B // get_backend("numpy").cached_batch)  # a batch that is divided, into equal parts
    recurrent = 9 * T * B * H + T * B * (4 * D + 2) + 5 * B * H + 3 * H * H
    return 4 * (5 * N + recurrent + B * (H + 5 * K + 1))
