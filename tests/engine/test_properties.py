"""Property tests: what holds for every shape, type and layout of input."""

from __future__ import annotations

import cuda_on_cpu
import fake_device
import numpy as np
import pytest
from helpers import BACKWARD, CELLS, FORWARD, randomise
from hypothesis import given, settings
from hypothesis import strategies as st

import minigru
from minigru import reference

SIZE = st.integers(1, 6)
SEED = st.integers(0, 2**32 - 1)
JUNK = st.sampled_from([0.0, 1e300, np.inf, np.nan])
BACKEND = {"numpy": minigru.get_backend("numpy")}
if not cuda_on_cpu.missing:
    BACKEND["fake device"] = fake_device.fake_backend()
DTYPES = st.sampled_from(["float64", "float32", "float16", "int64", "uint8", "bool"])
LAYOUTS = st.sampled_from(["C", "F", "reversed", "strided", "read-only", "byte-swapped"])


def laid_out(array: np.ndarray, dtype: str, layout: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the array of that type in that layout, and the same numbers as plain float64."""
    array = np.abs(array * 3).astype(dtype) if dtype in ("uint8", "bool") else (array * 3).astype(dtype)
    plain = array.astype("float64")
    if layout == "F":
        array = np.asfortranarray(array)
    elif layout == "reversed":
        array = array[::-1].copy()[::-1]
    elif layout == "strided":
        array = np.repeat(array, 2, axis=-1)[..., ::2]
    elif layout == "read-only":
        array.flags.writeable = False
    elif layout == "byte-swapped":
        array = array.astype(array.dtype.newbyteorder())
    return array, plain


@settings(deadline=None, max_examples=120, derandomize=True)
@given(
    cell=st.sampled_from(sorted(CELLS)),
    engine=st.sampled_from(["float32", "float64"]),
    T=SIZE,
    B=SIZE,
    D=SIZE,
    H=SIZE,
    dtype=DTYPES,
    layout=LAYOUTS,
    seed=SEED,
)
def test_engine_equals_reference(cell, engine, T, B, D, H, dtype, layout, seed):
    rng = np.random.default_rng(seed)
    layer = CELLS[cell](D, H, dtype=engine)
    p = randomise(layer, rng)
    x, x_plain = laid_out(rng.standard_normal((T, B, D)), dtype, layout)
    c_0, c_0_plain = laid_out(rng.standard_normal((B, H)), dtype, layout)
    dstates, dstates_plain = laid_out(rng.standard_normal((T, B, H)), dtype, layout)
    states = layer.forward(x, c_0)
    expected, cache = FORWARD[cell](x_plain, c_0_plain, p)
    dx, dc_0 = layer.backward(dstates=dstates)
    dx_expected, dc_0_expected, grads = BACKWARD[cell](dstates_plain, cache)
    pairs = {"states": (states, expected), "dx": (dx, dx_expected), "dc_0": (dc_0, dc_0_expected)}
    pairs |= {name: (layer.grads[name], grad) for name, grad in grads.items()}
    # Gradients are sums that may cancel, so their error is measured against what went in, and not element by element.
    scale = 1 + np.abs(dstates_plain).sum()
    for name, (value, wanted) in pairs.items():
        tolerance = (1e-12 if engine == "float64" else 2e-5) * (1 if name == "states" else scale)
        assert np.abs(value - wanted).max() < tolerance, name


@settings(deadline=None, max_examples=60, derandomize=True)
@given(T=SIZE, B=SIZE, H=SIZE, seed=SEED)
def test_memory_stays_between_what_was_there_and_one(T, B, H, seed):
    """(G4) mixes c_prev with a number in [-1, 1]: from a memory in [-1, 1], the GRU never leaves it."""
    rng = np.random.default_rng(seed)
    gru = minigru.GRU(3, H, rng=rng)
    for view in gru.params.values():
        view[...] = rng.standard_normal(view.shape) * 10
    states = gru.forward(rng.standard_normal((T, B, 3)) * 10, rng.uniform(-1, 1, (B, H)))
    assert np.abs(states).max() <= 1


@settings(deadline=None, max_examples=120, derandomize=True)
@given(backend=st.sampled_from(list(BACKEND)), T=SIZE, B=SIZE, more=st.integers(0, 3), junk=JUNK, seed=SEED)
def test_padding_is_invisible(backend, T, B, more, junk, seed):
    """What stands behind the ends, bit for bit; how much, and the order of the batch, to rounding (G6)."""
    rng = np.random.default_rng(seed)
    model = minigru.SequenceClassifier(3, 5, 4, backend=BACKEND[backend], dtype="float64", rng=rng)
    for name, view in model.params.items():
        model.params[name] = rng.standard_normal(view.shape)
    model.params["gru.b_u"][0] = 1000  # closed even where z_u is large
    host = model.backend.to_host
    x, y, weights = rng.standard_normal((B, T, 3)), rng.integers(4, size=B), rng.uniform(0, 2, B)
    c_0, dstates = rng.standard_normal((B, 5)), rng.standard_normal((T, B, 5))
    lengths = rng.integers(1, T + 1, size=B)

    def everything(x, order, dstates):
        y_, lengths_, inputs = y[order], lengths[order], x[order]
        states = host(model.cell.forward(inputs.transpose(1, 0, 2), c_0[order], lengths_))
        dx, dc_0 = map(host, model.cell.backward(dstates=dstates[:, order]))
        grads = [host(model.cell.gradient).copy()]
        loss = float(model.loss(inputs, y_, lengths_, weights[order]))
        model.backward()
        logits = model.logits(inputs, lengths=lengths_, batch_size=2)
        back = np.argsort(order)
        return [states[:T, back], dx[:T, back], dc_0[back], logits[back], *grads, host(model.gradient).copy(), loss]

    same = np.arange(B)
    found = everything(x, same, dstates)
    for b, end in enumerate(lengths):
        assert (found[0][end:, b] == found[0][end - 1, b]).all()
        assert (found[1][end:, b] == 0).all()
    filled = np.where(np.arange(T)[:, None] < lengths[:, None, None], x, junk)
    assert all(np.array_equal(a, b) for a, b in zip(found, everything(filled, same, dstates), strict=True))
    longer = np.concatenate([filled, np.full((B, more, 3), junk)], axis=1)
    shuffled = everything(longer, rng.permutation(B), np.concatenate([dstates, np.zeros((more, B, 5))]))
    for a, b in zip(found, shuffled, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(B=SIZE, K=SIZE, scale=st.sampled_from([1e-3, 1.0, 1e4]), shift=st.floats(-1e4, 1e4), seed=SEED)
def test_loss_is_right_at_any_scale_and_its_gradient_sums_to_zero(B, K, scale, shift, seed):
    rng = np.random.default_rng(seed)
    logits, labels = rng.standard_normal((B, K)) * scale, rng.integers(K, size=B)
    criterion = minigru.SoftmaxCrossEntropy(dtype="float64")
    loss = criterion.forward(logits, labels)
    expected, _ = reference.softmax_cross_entropy(logits, labels)
    assert loss == pytest.approx(expected, rel=1e-12, abs=1e-12)
    assert loss >= 0
    assert np.abs(criterion.backward().sum(axis=1)).max() < 1e-12
    assert criterion.forward(logits + shift, labels) == pytest.approx(loss, rel=1e-9, abs=1e-9)


@settings(deadline=None, max_examples=30, derandomize=True)
@given(in_features=SIZE, out_features=SIZE, B=SIZE, dtype=DTYPES, layout=LAYOUTS, seed=SEED)
def test_linear_is_linear(in_features, out_features, B, dtype, layout, seed):
    rng = np.random.default_rng(seed)
    layer = minigru.Linear(in_features, out_features, dtype="float64")
    p = randomise(layer, rng)
    x, plain = laid_out(rng.standard_normal((B, in_features)), dtype, layout)
    assert np.allclose(layer.forward(x), plain @ p["W"] + p["b"], rtol=1e-12, atol=1e-13)
    dy, dy_plain = laid_out(rng.standard_normal((B, out_features)), dtype, layout)
    assert np.allclose(layer.backward(dy), dy_plain @ p["W"].T, rtol=1e-12, atol=1e-13)
    assert np.allclose(layer.grads["W"], plain.T @ dy_plain, rtol=1e-12, atol=1e-13)
    assert np.allclose(layer.grads["b"], dy_plain.sum(axis=0), rtol=1e-12, atol=1e-13)
