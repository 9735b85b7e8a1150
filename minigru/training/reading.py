"""How a model reads an image: row by row, pixel by pixel, or pixel by pixel in a fixed shuffled order."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..engine.model import SequenceClassifier
from .config import Config

ORDER_SEED = 784  # one order for everybody, whatever the seed of the run
STEPS = 128 * 784  # steps of all sequences that are computed at a time in an evaluation, which bounds the buffers


def sequences(images: Any, config: Config) -> Any:
    """Return images (n, rows, columns), of NumPy or CuPy, as the sequences (n, T, D) that a model reads.

    The images themselves, or with ``config.pixels`` T = rows * columns steps of D = 1: the rows one after another, or
    with ``config.permuted`` the same pixels in the order that `pixel_order` returns.
    """
    if not config.pixels:
        return images
    pixels = images.reshape(len(images), -1, 1)
    return pixels[:, pixel_order(pixels.shape[1]).tolist()] if config.permuted else pixels


def pixel_order(T: int) -> np.ndarray:
    """Return the order (T,) in which permuted pixels are read, always the same: step t reads pixel ``order[t]``."""
    return np.random.default_rng(ORDER_SEED).permutation(T)


def start_gates(model: SequenceClassifier, T: int, rng: np.random.Generator) -> None:
    """Start b_u of a GRU so that its units remember for 2 to T steps (Tallec & Ollivier 2018, chrono initialisation).

    ``b_u = -log(U(1, T - 1))``; ``docs/results.md`` derives it. An RNN has no gate, and is left as it is.
    """
    if "gru.b_u" in model.params:
        b_u = model.params["gru.b_u"]
        b_u[...] = model.backend.to_device(-np.log(rng.uniform(1, max(T - 1, 1), b_u.shape)).astype(model.dtype))


def evaluation_batch(T: int) -> int:
    """Return how many sequences of T steps to compute at a time: 1,000, or fewer if they are long."""
    return max(1, min(1000, STEPS // T))
