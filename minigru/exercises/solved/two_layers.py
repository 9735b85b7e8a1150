"""Two GRU layers, one on the other: the memories of the layer below are the input of the layer above.

A layer of minigru has `states = layer.forward(x)` and `dx, dc_0 = layer.backward(dstates=...)`, which also fills
layer.grads. The gradient of a layer's input is the gradient of the states of the layer below.
"""

from __future__ import annotations

import numpy as np

import minigru


def forward(below: minigru.GRU, above: minigru.GRU, x: np.ndarray) -> np.ndarray:
    """Return the states (T, B, H) of the layer above, given x (T, B, D) for the layer below."""
    middle = below.forward(x)
    return above.forward(middle)


def backward(below: minigru.GRU, above: minigru.GRU, dstates: np.ndarray) -> np.ndarray:
    """Return dx (T, B, D), given dstates (T, B, H) of the layer above; fill the gradients of both layers."""
    dmiddle, _ = above.backward(dstates=dstates)
    dx, _ = below.backward(dstates=dmiddle)
    return dx
