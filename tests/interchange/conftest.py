"""Models, and what writes the state_dict of PyTorch's layers without PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import randomise

from minigru import SequenceClassifier


def drawn(seed: int, dtype: str) -> tuple[SequenceClassifier, np.ndarray]:
    """Return a random classifier and sequences for it."""
    rng = np.random.default_rng(seed)
    D, H, K, T = rng.integers(1, 9, 4)
    model = SequenceClassifier(int(D), int(H), int(K), dtype=dtype)
    randomise(model, rng)
    return model, rng.standard_normal((5, T, D)).astype(dtype)


@pytest.fixture
def torch_names(rng):
    """Return the arrays of `nn.GRU(4, 5)` and `nn.Linear(5, 3)` by PyTorch's names."""
    shapes = {"weight_ih_l0": (15, 4), "weight_hh_l0": (15, 5), "bias_ih_l0": (15,), "bias_hh_l0": (15,)}
    shapes = {f"gru.{name}": shape for name, shape in shapes.items()} | {"fc.weight": (3, 5), "fc.bias": (3,)}
    return {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
