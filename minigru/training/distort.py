"""Distort training images a little, differently in every epoch, so that a model learns from more than were written.

An image is moved, slanted, and stretched or shrunk by choosing a source pixel for every pixel: nothing is interpolated.
"""

from __future__ import annotations

import numpy as np

from ..engine.backend import Array, Backend

SHIFT = 2 / 28  # of the side: two pixels of MNIST
SLOPE = 0.25  # columns per row from the middle row
STRETCH = 0.1  # of the size
DISTORTIONS = {"none": (0.0, 0.0, 0.0), "shift": (SHIFT, 0.0, 0.0), "affine": (SHIFT, SLOPE, STRETCH)}


def draw(kind: str, rng: np.random.Generator, images: int, T: int, D: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw a distortion for each image.

    Parameters
    ----------
    kind : "none", "shift" (moved by up to two pixels of 28 each way), or "affine" (also slanted, and stretched or
        shrunk, each side by itself)
    rng : the only source of randomness
    images : the number of images
    T, D : the rows and the columns of an image

    Returns
    -------
    rows : (images, T) int16, the source row of each row
    columns : (images, D) int16, the source column of each column of the middle row
    slants : (images, T) int16, what is added to the source columns in each row
    """
    shift, slope, stretch = DISTORTIONS[kind]

    def sources(side: int) -> np.ndarray:
        middle, most = (side - 1) / 2, round(shift * side)
        moved = rng.integers(-most, most, (images, 1), endpoint=True).astype(np.float32)
        scale = 1 + rng.uniform(-stretch, stretch, (images, 1)).astype(np.float32)
        return np.rint(middle + (np.arange(side, dtype=np.float32) - middle) * scale - moved).astype(np.int16)

    rows, columns = sources(T), sources(D)
    slopes = rng.uniform(-slope, slope, (images, 1)).astype(np.float32)
    slants = np.rint((np.arange(T, dtype=np.float32) - (T - 1) / 2) * slopes).astype(np.int16)
    return rows, columns, slants


def apply(backend: Backend, x: Array, rows: Array, columns: Array, slants: Array) -> Array:
    """Return distorted images; what comes from outside of an image is background, 0.

    Parameters
    ----------
    x : (B, T, D), on the device
    rows, columns, slants : (B, T), (B, D), (B, T), a distortion per image, from `draw`, on the device
    """
    xp, (B, T, D) = backend.xp, x.shape
    padded = backend.zeros((B, T + 2, D + 2), x.dtype)  # every source outside is moved to this frame
    padded[:, 1:-1, 1:-1] = x
    down = xp.clip(rows, -1, T) + 1
    across = xp.clip(columns[:, None, :] + slants[:, :, None], -1, D)
    start = (xp.arange(B)[:, None] * (T + 2) + down) * (D + 2) + 1
    return padded.reshape(-1).take(start[:, :, None] + across)
