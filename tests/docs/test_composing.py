"""The models of docs/composing.md: their gradients, and their length."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers import ROOT

import minigru
from minigru import gradcheck

T, B, D, H, K = 4, 3, 2, 3, 4
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "composing.md").read_text("utf-8"), re.DOTALL)
F64 = {"dtype": "float64", "rng": np.random.default_rng(0)}


def layers(*sizes):
    return [minigru.GRU(*size, **F64) for size in sizes]


def cases():
    """Return for each function of the page the layers that it takes, and its other arguments."""
    labels, loss = np.array([1, 3, 0]), minigru.SoftmaxCrossEntropy(dtype="float64")
    linear, wide = minigru.Linear(H, K, **F64), minigru.Linear(2 * H, K, **F64)
    rng = np.random.default_rng(1)
    return {
        "two_layers": (labels, [*layers((D, H), (H, H)), linear], [loss]),
        "both_directions": (labels, [*layers((D, H), (D, H)), wide], [loss]),
        "every_step": (rng.integers(0, K, (T, B)), [*layers((D, H)), linear], [loss]),
        "regression": (rng.standard_normal((B, K)), [*layers((D, H)), linear], []),
        "dropout": (labels, [*layers((D, H)), linear], [loss, 2]),  # a seed, so that every call draws the same mask
    }


@pytest.mark.parametrize("name", cases())
def test_every_gradient_is_that_of_central_differences(name):
    block = next(block for block in BLOCKS if f"def {name}(" in block)
    assert len(block[block.index("def ") :].splitlines()) <= 12
    names: dict = {}
    exec(block, names)
    target, parts, others = cases()[name]
    model = minigru.join({str(n): part for n, part in enumerate(parts)})
    for params in model.params.values():
        params[...] = np.random.default_rng(3).standard_normal(params.shape)

    def call(arrays):
        model.params.update({key: value for key, value in arrays.items() if key != "x"})
        rest = [np.random.default_rng(other) if other == 2 else other for other in others]
        return names[name](arrays["x"], target, *parts, *rest)

    arrays = {
        "x": np.random.default_rng(4).standard_normal((T, B, D)),
        **{k: v.copy() for k, v in model.params.items()},
    }
    _, dx = call(arrays)
    gradients = {"x": dx, **{key: value.copy() for key, value in model.grads.items()}}
    rows = gradcheck.compare(gradients, gradcheck.central_difference(lambda moved: call(moved)[0], arrays))
    assert "FAILED" not in gradcheck.report(rows, tolerance=1e-7)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "layers is empty"),
        (["float32", "float64"], "second is float64 on numpy"),
        ("twice", "second is the layer first"),
        ([None], "first is a NoneType"),
    ],
)
def test_join_refuses_what_cannot_be_one_vector(given, words):
    gru = minigru.GRU(2, 3)
    made = [gru, gru] if given == "twice" else [dtype and minigru.GRU(2, 3, dtype=dtype) for dtype in given]
    with pytest.raises(ValueError, match=words):
        minigru.join(dict(zip(("first", "second"), made, strict=False)))
