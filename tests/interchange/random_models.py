"""Random classifiers, for several tests."""

from __future__ import annotations

import numpy as np
from helpers import randomise

from minigru import SequenceClassifier


def drawn(seed: int, dtype: str) -> tuple[SequenceClassifier, np.ndarray]:
    """Return a random classifier and sequences for it."""
    rng = np.random.default_rng(seed)
    D, H, K, T = rng.integers(1, 9, 4)
    model = SequenceClassifier(int(D), int(H), int(K), dtype=dtype)
    randomise(model, rng)
    return model, rng.standard_normal((5, T, D)).astype(dtype)
