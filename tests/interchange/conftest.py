"""The arrays of PyTorch's layers, without PyTorch."""

from __future__ import annotations

import pytest


@pytest.fixture
def torch_names(rng):
    """Return the arrays of `nn.GRU(4, 5)` and `nn.Linear(5, 3)` by PyTorch's names."""
    shapes = {"weight_ih_l0": (15, 4), "weight_hh_l0": (15, 5), "bias_ih_l0": (15,), "bias_hh_l0": (15,)}
    shapes = {f"gru.{name}": shape for name, shape in shapes.items()} | {"fc.weight": (3, 5), "fc.bias": (3,)}
    return {name: rng.standard_normal(shape).astype("float32") for name, shape in shapes.items()}
