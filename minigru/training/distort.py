"""Distort training images a little, differently in every epoch, so that a model learns from more than were written.

An image is moved, slanted, tilted, and stretched or shrunk by choosing a source pixel for every pixel: nothing is
interpolated.
"""

from __future__ import annotations

import numpy as np

from ..engine.backend import Array, Backend

SHIFT = 2 / 28  # of the side: two pixels of MNIST
SLANT = 0.25  # columns per row from the middle row
TILT = 0.2  # rows per column from the middle column
STRETCH = 0.1  # of the size
DISTORTIONS = {
    "none": (0.0, 0.0, 0.0, 0.0),
    "shift": (SHIFT, 0.0, 0.0, 0.0),
    "affine": (SHIFT, SLANT, TILT, STRETCH),
}


def draw(kind: str, rng: np.random.Generator, images: int, T: int, D: int) -> tuple[np.ndarray, ...]:
    """Draw a distortion for each image.

    Parameters
    ----------
    kind : "none", "shift" (moved by up to two pixels of 28 each way), or "affine" (also slanted, tilted, and stretched
        or shrunk, each side by itself)
    rng : the only source of randomness
    images : the number of images
    T, D : the rows and the columns of an image

    Returns
    -------
    rows, tilts : (images, T) and (images, D) int16; pixel (t, d) comes from the row ``rows[t] + tilts[d]``
    columns, slants : (images, D) and (images, T) int16; it comes from the column ``columns[d] + slants[t]``
    """
    shift, slant, tilt, stretch = DISTORTIONS[kind]

    def sources(side: int) -> np.ndarray:
        most = round(shift * side)
        moved = rng.integers(-most, most, (images, 1), endpoint=True)
        return (side - 1) / 2 - moved + _from_middle(side) * (1 + rng.uniform(-stretch, stretch, (images, 1)))

    def leaning(side: int, slope: float) -> np.ndarray:
        return _from_middle(side) * rng.uniform(-slope, slope, (images, 1))

    both = sources(T), leaning(D, tilt), sources(D), leaning(T, slant)
    return tuple(np.rint(source).astype(np.int16) for source in both)


def _from_middle(side: int) -> np.ndarray:
    return np.arange(side) - (side - 1) / 2


def apply(backend: Backend, x: Array, rows: Array, tilts: Array, columns: Array, slants: Array) -> Array:
    """Return distorted images; what comes from outside of an image is background, 0.

    Parameters
    ----------
    x : (B, T, D), on the device
    rows, tilts, columns, slants : (B, T), (B, D), (B, D), (B, T), a distortion per image, from `draw`, on the device
    """
    xp, (B, T, D) = backend.xp, x.shape
    padded = backend.zeros((B, T + 2, D + 2), x.dtype)  # every source outside is moved to this frame
    padded[:, 1:-1, 1:-1] = x
    down = xp.clip(rows[:, :, None] + tilts[:, None, :], -1, T) + 1
    across = xp.clip(columns[:, None, :] + slants[:, :, None], -1, D) + 1
    image = xp.arange(B)[:, None, None] * ((T + 2) * (D + 2))
    return padded.reshape(-1).take(image + down * (D + 2) + across)
