"""The engine computes what the equations say, whatever was in its buffers before."""

from __future__ import annotations

import copy
import io
import pickle
import tracemalloc
from dataclasses import replace
from unittest.mock import Mock

import joblib
import numpy as np
import pytest
from helpers import BACKWARD, CELLS, FORWARD, poison, randomise, recording, relative

import minigru
from minigru import reference
from minigru.engine.kernels import numpy_kernels

SIZES = [(1, 1, 1, 1), (1, 3, 4, 5), (2, 1, 4, 5), (2, 3, 1, 1), (6, 3, 4, 5), (40, 2, 3, 4), (28, 32, 28, 128)]
SIZE_IDS = [f"T{T}-B{B}-D{D}-H{H}" for T, B, D, H in SIZES]


def expected_of(cell, p, x, c_0=None, dlast=None, dstates=None, lengths=None):
    """Return what the reference computes: the states and every gradient by name."""
    c_0 = np.zeros((x.shape[1], p[f"b_{CELLS[cell].letters[0]}"].size)) if c_0 is None else c_0
    states, cache = FORWARD[cell](x, c_0, p, *([] if lengths is None else [lengths]))
    total = np.zeros_like(states) if dstates is None else dstates.copy()
    total[-1] += 0 if dlast is None else dlast
    dx, dc_0, grads = BACKWARD[cell](total, cache)
    return {"states": states, "x": dx, "c_0": dc_0, **grads}


def assert_equal(layer, expected, states, gradients, tolerance=1e-12):
    found = {"states": states, "x": gradients[0], "c_0": gradients[1], **layer.grads}
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert value.dtype == layer.dtype, name
        assert relative(value, expected[name]) < tolerance, name


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", SIZES, ids=SIZE_IDS)
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_layer_equals_reference(cell, size, dtype, rng):
    T, B, D, H = size
    layer = CELLS[cell](D, H, dtype=dtype)
    p = randomise(layer, rng)
    x, c_0, dlast, dstates = (
        rng.standard_normal(shape).astype(dtype).astype("float64") for shape in ((T, B, D), (B, H), (B, H), (T, B, H))
    )
    states, gradients = layer.forward(x, c_0), layer.backward(dlast, dstates)
    expected = expected_of(cell, p, x, c_0, dlast, dstates)
    assert_equal(layer, expected, states, gradients, 1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_come_in_anywhere_and_are_overwritten_whatever_the_buffers_held(cell, rng):
    T, B, D, H = 5, 3, 4, 6
    backend = recording()
    layer = CELLS[cell](D, H, backend, "float64")
    p = randomise(layer, rng)
    x, c_0, dlast, dstates = (rng.standard_normal(shape) for shape in ((T, B, D), (B, H), (B, H), (T, B, H)))
    given = [(c_0, dlast, None), (c_0, None, dstates), (None, dlast, dstates), (None, dlast, None), (c_0, dlast, None)]
    for first, last, every in given:
        states = layer.forward(x, first)
        for _ in range(2):
            gradients = layer.backward(last, every)
            assert_equal(layer, expected_of(cell, p, x, first, last, every), states, gradients)
        without, dc_0 = layer.backward(last, every, need_dx=False)
        assert without is None
        assert_equal(layer, expected_of(cell, p, x, first, last, every), states, (gradients[0], dc_0))
        poison(backend, layer.vector)


class PersistentInNumPy:
    """The interface of `minigru.engine.kernels.gru_persistent`, by the equations, for one size and dtype."""

    @staticmethod
    def fits(H, B, dtype):
        return (H, dtype) == (6, np.float64)

    @staticmethod
    def few(rows):
        return False

    @staticmethod
    def forward(W, c_0, c, gates, rc, D):
        H = rc.shape[2]
        U_u, U_r, U_c = W.reshape(3, H + D + 1, H)[:, :H]
        gamma_u, gamma_r, c_tilde = gates
        c[0] = 0 if c_0 is None else c_0
        for t in range(len(rc)):
            gamma_u[t] = reference.sigmoid(gamma_u[t] + c[t] @ U_u)
            gamma_r[t] = reference.sigmoid(gamma_r[t] + c[t] @ U_r)
            rc[t] = gamma_r[t] * c[t]
            c_tilde[t] = np.tanh(c_tilde[t] + rc[t] @ U_c)
            c[t + 1] = gamma_u[t] * c_tilde[t] + (1 - gamma_u[t]) * c[t]

    @staticmethod
    def backward(W, c, gates, rc, dlast, dstates, dz, dc, kept, D):
        H = rc.shape[2]
        p = dict(zip(("W_u", "W_r", "W_c"), W.reshape(3, H + D + 1, H)[:, :H], strict=True))
        dc[...] = 0 if dlast is None else dlast
        for t in reversed(range(len(rc))):
            dc += 0 if dstates is None else dstates[t]
            (u, r, tilde), c_prev = gates[:, t], c[t]
            dz[0, t] = dc * (tilde - c_prev) * u * (1 - u)
            dz[2, t] = dc * u * (1 - tilde**2)
            dz[1, t] = (dz[2, t] @ p["W_c"].T) * c_prev * r * (1 - r)
            dc[...] = reference.gru_cell_backward(dc, (c_prev[:, :0], c_prev, u, r, tilde, p))[1]


@pytest.mark.parametrize(("H", "dtype"), [(6, "float64"), (5, "float64"), (6, "float32")])
def test_the_persistent_form_is_taken_where_it_fits_and_equals_the_reference(H, dtype, rng):
    kernel = Mock(wraps=PersistentInNumPy)
    gru = minigru.GRU(4, H, replace(recording(), persistent=kernel), dtype)
    p = randomise(gru, rng)
    given = ((None, rng.standard_normal((5, 3, H)), [2, 5, 1]), (rng.standard_normal((3, H)), None, None))
    for c_0, dstates, lengths in given:
        x, dlast = rng.standard_normal((5, 3, 4)), rng.standard_normal((3, H))
        states, gradients = gru.forward(x, c_0, lengths), gru.backward(dlast, dstates)
        expected = expected_of("gru", p, x, c_0, dlast, dstates, lengths and np.array(lengths))
        assert_equal(gru, expected, states, gradients, 1e-12 if dtype == "float64" else 1e-5)
    assert kernel.forward.called == kernel.backward.called == ((H, dtype) == (6, "float64"))


@pytest.mark.parametrize("cuts", [[2, 5], [3, 6]], ids=["uneven", "even"])
@pytest.mark.parametrize("cell", CELLS)
def test_sequence_in_three_chunks_with_the_state_carried(cell, cuts, rng):
    layer = CELLS[cell](4, 6, dtype="float64")
    randomise(layer, rng)
    x, dstates = rng.standard_normal((9, 3, 4)), rng.standard_normal((9, 3, 6))
    whole, (dx_whole, _) = layer.forward(x), layer.backward(dstates=dstates)
    grads_whole = layer.gradient.copy()

    state, parts, starts = None, [], []
    for chunk in np.split(x, cuts):
        starts.append(state)
        parts.append(layer.forward(chunk, state))
        state = parts[-1][-1]
    assert relative(np.concatenate(parts), whole) < 1e-14

    dx, gradient, carried = [], 0, None
    for chunk, start, d in reversed(list(zip(np.split(x, cuts), starts, np.split(dstates, cuts), strict=True))):
        layer.forward(chunk, start)
        dx_chunk, carried = layer.backward(carried, d)
        dx.insert(0, dx_chunk)
        gradient = gradient + layer.gradient
    assert relative(np.concatenate(dx), dx_whole) < 1e-12
    assert relative(gradient, grads_whole) < 1e-12


@pytest.mark.parametrize("cell", CELLS)
def test_what_a_call_returns_belongs_to_the_caller(cell, rng):
    layer, linear, loss = CELLS[cell](4, 6), minigru.Linear(6, 3), minigru.SoftmaxCrossEntropy()

    def run():
        x = rng.standard_normal((5, 3, 4))
        states = layer.forward(x)
        logits = linear.forward(states[-1])
        loss.forward(logits, [0, 1, 2])
        dlogits = loss.backward()
        dlast = linear.backward(dlogits)
        return [states, logits, dlogits, dlast, *layer.backward(dlast)]

    first = run()
    copies = [array.copy() for array in first]
    second = run()
    assert all(np.array_equal(array, copy) for array, copy in zip(first, copies, strict=True))
    for array in second:
        array[...] = np.nan  # the caller may write to it, and nothing of the layer changes
    assert np.isfinite(layer.backward(copies[3])[0]).all()


def test_the_sizes_of_four_lengths_are_kept_and_no_more_samples_than_a_part_has():
    backend = recording()
    model = minigru.SequenceClassifier(2, 3, 2, backend=backend)
    for T in (1, 2, 3, 4):
        model.cell.forward(np.ones((T, 3, 2)))
    made = len(backend.handed_out)
    for T in (1, 2, 3, 4):
        model.cell.forward(np.ones((T, 3, 2)))
    assert len(backend.handed_out) == made
    model.predict(np.ones((7, 4, 2)), batch_size=3)
    assert {array.shape[1] for array in backend.handed_out if array.ndim == 3} == {3, 1}


@pytest.mark.parametrize("cell", CELLS)
def test_a_prediction_goes_a_few_steps_at_a_time(cell, rng):
    backend = replace(recording(), cached_rows=6)
    few, whole = (minigru.SequenceClassifier(2, 3, 2, cell, each, "float64") for each in (backend, "numpy"))
    x = rng.standard_normal((8, 5, 2))
    lengths = rng.integers(1, 6, size=8) if cell == "gru" else None
    expected = whole.linear.forward(whole.cell.forward(x.transpose(1, 0, 2), lengths=lengths)[-1])
    assert relative(few.logits(x, lengths=lengths), expected) < 1e-12
    assert relative(few.logits(x[:2], lengths=None if lengths is None else lengths[:2]), expected[:2]) < 1e-12
    assert max(len(array) for array in backend.handed_out if array.ndim == 3) == 3 + 1  # steps, and the initial state


@pytest.mark.parametrize("shape", [(32, 5), (64, 157), (96, 1), (33, 5), (64, 600)])
def test_products_of_a_few_rows_at_a_time(shape, rng, monkeypatch):
    monkeypatch.setattr(numpy_kernels, "HAS_SMALL_PRODUCTS", True)
    a = rng.standard_normal(shape)
    for W in rng.standard_normal((2, shape[1], 128)), rng.standard_normal((shape[1], 7)):
        out = np.full((*W.shape[:-2], len(a), W.shape[-1]), np.nan)
        numpy_kernels.product(a, W, out)
        assert relative(out, a @ W) < 1e-13


@pytest.mark.parametrize("B", [1, 5, 6, 20])
@pytest.mark.parametrize("weighted", [False, True])
def test_a_batch_in_parts_has_the_same_loss_and_gradient(B, weighted, rng):
    backend = replace(recording(), cached_batch=3)
    parts, whole = (minigru.SequenceClassifier(2, 3, 4, backend=each, dtype="float64") for each in (backend, "numpy"))
    x, y = rng.standard_normal((B, 5, 2)), rng.integers(4, size=B)
    more = (rng.integers(1, 6, size=B), rng.uniform(0, 2, B)) if weighted else ()
    for _ in range(2):
        loss, expected = parts.loss_and_gradient(x, y, *more), whole.loss(x, y, *more)
        assert loss == pytest.approx(expected, rel=1e-12)
        assert type(loss) is type(expected)
        whole.backward()
        assert relative(parts.gradient, whole.gradient) < 1e-12
    assert max(array.shape[1] for array in backend.handed_out if array.ndim == 3) < 6
    if B >= 6:
        with pytest.raises(RuntimeError, match="without a loss just before it"):
            parts.backward()  # the buffers hold the last part alone
    with pytest.raises(ValueError, match="y has"):
        parts.loss_and_gradient(x, np.append(y, 0), *more)


@pytest.mark.parametrize(
    ("blas", "simd", "small"),
    [
        ("scipy-openblas", {"found": ["X86_V3", "X86_V4"]}, True),
        ("openblas", {"baseline": ["AVX512_SKX"]}, True),
        ("openblas", {"baseline": ["X86_V2"]}, False),
        ("openblas", None, False),
        ("accelerate", {"found": ["X86_V4"]}, False),
        (None, {"found": ["X86_V4"]}, False),
    ],
)
def test_small_products_need_openblas_and_avx_512(blas, simd, small, monkeypatch):
    config = {"Build Dependencies": {"blas": {"name": blas}} if blas else {}}  # NumPy leaves out what is empty
    monkeypatch.setattr(np, "show_config", lambda mode: config | ({"SIMD Extensions": simd} if simd else {}))
    assert numpy_kernels._has_small_products() == small


def test_only_the_latest_sizes_keep_their_buffers():
    gru = minigru.GRU(2, 64)
    used = []
    tracemalloc.start()
    try:
        for T in reversed(range(60, 80)):
            gru.forward(np.ones((T, 8, 2)))
            gru.backward(np.ones((8, 64)))
            used.append(tracemalloc.get_traced_memory()[0])
        for T in range(1, 9):  # they push the others out, although they go forward only
            gru.forward(np.ones((T, 8, 2)))
        used.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    assert used[-2] < used[3]
    assert used[-1] < used[0]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("cell", CELLS)
def test_saturated_gates_are_right_and_silent(cell, dtype, tolerance, rng):
    """Pre-activations near ±50, and some near 0 so that not every gradient vanishes; a warning would be an error."""
    T, B, D, H = 4, 3, 2, 6
    layer = CELLS[cell](D, H, dtype=dtype)
    for name, view in layer.params.items():
        view[...] = rng.standard_normal(view.shape) * 0.3
        if name.startswith("b"):
            view[...] += rng.permutation([-50, -50, 50, 50, 0, 0])
    p = {name: view.astype("float64") for name, view in layer.params.items()}
    x, c_0 = (rng.standard_normal(shape).astype(dtype).astype("float64") for shape in ((T, B, D), (B, H)))
    dstates = rng.standard_normal((T, B, H)).astype(dtype).astype("float64")
    states, gradients = layer.forward(x, c_0), layer.backward(dstates=dstates)
    assert_equal(layer, expected_of(cell, p, x, c_0, dstates=dstates), states, gradients, tolerance)


def test_gates_write_keep_and_write_again():
    gru = minigru.GRU(1, 2, dtype="float32")
    gru.vector[...] = 0
    for name in ("W_u", "W_r", "W_c"):
        gru.params[name][2] = 50
    states = gru.forward(np.array([1.0, -1.0, 1.0]).reshape(3, 1, 1), np.full((1, 2), 0.5))
    assert np.array_equal(states[:, 0], [[1, 1], [1, 1], [1, 1]])
    assert np.array_equal(gru.forward(np.full((3, 1, 1), -1.0), np.full((1, 2), 0.5))[:, 0], np.full((3, 2), 0.5))


def test_linear_equals_reference(rng):
    backend = recording()
    layer = minigru.Linear(4, 5, backend, dtype="float64")
    p = randomise(layer, rng)
    for B in (3, 1, 3):
        poison(backend, layer.vector)
        x, dy = rng.standard_normal((B, 4)), rng.standard_normal((B, 5))
        expected, cache = reference.linear(x, p)
        dx, grads = reference.linear_backward(dy, cache)
        assert relative(layer.forward(x), expected) < 1e-14
        assert relative(layer.backward(dy), dx) < 1e-14
        assert all(relative(layer.grads[name], grads[name]) < 1e-14 for name in grads)


def test_loss_equals_reference_at_any_size(rng):
    backend = recording()
    criterion = minigru.SoftmaxCrossEntropy(backend, "float64")
    losses = []
    for B, K, weighted in ((2, 3, 0), (4, 3, 1), (2, 3, 1), (2, 3, 0), (2, 5, 0)):
        poison(backend)
        logits, labels = rng.standard_normal((B, K)), rng.integers(K, size=B)
        weights = rng.uniform(0, 2, B) if weighted else None
        expected, cache = reference.softmax_cross_entropy(logits, labels, weights[:, None] if weighted else 1)
        losses.append((criterion.forward(logits, labels, weights), expected))
        for _ in range(2):
            assert relative(criterion.backward(), reference.softmax_cross_entropy_backward(cache)) < 1e-14
    for loss, expected in losses:  # each is a number of its own
        assert loss == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_of_huge_logits_is_right(dtype):
    criterion = minigru.SoftmaxCrossEntropy(dtype=dtype)
    loss = criterion.forward([[1e4, -1e4, 0], [-1e4, 1e4, 1e4]], [1, 2], [1, 1])
    assert loss.dtype == dtype
    assert loss == pytest.approx((2e4 + np.log(2)) / 2, rel=1e-6)
    assert np.allclose(criterion.backward(), [[0.5, -0.5, 0], [0, 0.25, -0.25]])
    logits = np.array([[1e8, 1e8 + 1]])  # as the loss takes them: in float32 they are equal
    assert criterion.forward(logits, [0]) == pytest.approx(np.log(2 if dtype == "float32" else 1 + np.e), rel=1e-6)


@pytest.mark.parametrize("label_dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("cell", CELLS)
def test_training_steps_of_the_model_equal_the_reference(cell, label_dtype, rng):
    """Several steps in a row, the batch size changed and back, NaN in all buffers between them."""
    T, D, H, K = 4, 2, 5, 3
    backend = recording()
    model = minigru.SequenceClassifier(D, H, K, cell, backend, "float64", rng=1)
    p = {name.partition(".")[2]: view.copy() for name, view in model.params.items()}
    moments = {name: (0.0, 0.0) for name in p}
    adam = minigru.Adam(model, lr=0.1)
    for t, B in enumerate((4, 4, 3, 4), start=1):
        x, y = rng.standard_normal((B, T, D)), rng.integers(K, size=B).astype(label_dtype)
        states, caches = FORWARD[cell](x.transpose(1, 0, 2), np.zeros((B, H)), p)
        logits, linear_cache = reference.linear(states[-1], p)
        expected, loss_cache = reference.softmax_cross_entropy(logits, y)
        dlast, grads = reference.linear_backward(reference.softmax_cross_entropy_backward(loss_cache), linear_cache)
        dstates = np.zeros_like(states)
        dstates[-1] = dlast
        grads |= BACKWARD[cell](dstates, caches)[2]

        assert relative(model.logits(x), logits) < 1e-11
        assert relative(model.logits(x, batch_size=2), logits) < 1e-11
        assert relative(model.predict_proba(x), np.exp(loss_cache[0])) < 1e-11
        assert np.array_equal(model.predict(x), logits.argmax(axis=1))
        assert model.loss(x, y) == pytest.approx(expected, rel=1e-11)
        model.backward()
        for name, grad in model.grads.items():
            assert relative(grad, grads[name.partition(".")[2]]) < 1e-10, name
        adam.step()
        for name, grad in grads.items():
            p[name], *moments[name] = reference.adam(p[name], grad, *moments[name], t, lr=0.1)
        for name, view in model.params.items():
            assert relative(view, p[name.partition(".")[2]]) < 1e-11, name
        poison(backend, model.vector, adam.m, adam.v)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_array_has_the_dtype_asked_for_and_starts_on_a_cache_line(cell, dtype):
    backend = recording()
    model = minigru.SequenceClassifier(3, 16, 2, cell, backend, dtype)
    minigru.Adam(model).step()
    loss = model.loss(np.ones((2, 5, 3)), [0, 1])
    model.backward()
    assert {array.dtype for array in [loss, model.vector, model.gradient, *backend.handed_out]} == {np.dtype(dtype)}
    assert {array.ctypes.data % 64 for array in [model.vector, model.gradient, *backend.handed_out]} == {0}


def test_parameters_are_views_of_one_vector_and_assignment_writes_into_it():
    model = minigru.SequenceClassifier(4, 6, 3)
    assert {name: view.shape for name, view in model.params.items()} == {
        "gru.W_u": (10, 6), "gru.b_u": (6,), "gru.W_r": (10, 6), "gru.b_r": (6,), "gru.W_c": (10, 6), "gru.b_c": (6,),
        "linear.W": (6, 3), "linear.b": (3,),
    }  # fmt: skip
    assert sum(view.size for view in model.params.values()) == model.vector.size
    model.vector[...], model.gradient[...] = 7, 8
    assert all((view == 7).all() for view in model.params.values())
    assert all((view == 8).all() for view in model.grads.values())
    assert (model.cell.params["W_u"] == 7).all()

    model.params["linear.b"] = [1, 2, 3]
    model.params["linear.b"] -= 1
    model.params.update({"gru.b_u": np.arange(6)})
    assert np.array_equal(model.vector[-3:], [0, 1, 2])
    assert np.array_equal(model.cell.params["b_u"], np.arange(6))
    for value, error in (
        (np.ones(4), r"linear.b has shape \(4,\); expected \(3,\)"),
        ([1, 2, np.nan], "linear.b holds"),
        ([1e300, 0, 0], "for float32"),
    ):
        with pytest.raises(ValueError, match=error):
            model.params["linear.b"] = value
    for name in ("linear.c", 3, ["linear.b"]):
        with pytest.raises(KeyError, match=r"is not a name here; expected one of gru[.]W_u, gru[.]b_u, "):
            model.params[name] = [1, 2, 3]
    with pytest.raises(TypeError, match=r"'linear[.]b' cannot be removed"):
        del model.params["linear.b"]
    model.grads["linear.b"] = [4, 5, 6]
    assert np.array_equal(model.gradient[-3:], [4, 5, 6])
    assert np.array_equal(model.vector[-3:], [0, 1, 2])


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "joblib": lambda thing: (joblib.dump(thing, file := io.BytesIO()), file.seek(0), joblib.load(file))[-1],
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("cell", CELLS)
def test_a_copy_of_model_and_optimiser_trains_on_to_the_same_numbers_alone(cell, copied, rng):
    def train(model, adam):
        for x, y in batches:
            model.loss(x, y)
            model.backward()
            minigru.clip_by_global_norm(model, 1.0)
            adam.step()

    batches = [(rng.standard_normal((3, 5, 4)), rng.integers(2, size=3)) for _ in range(3)]
    model = minigru.SequenceClassifier(4, 6, 2, cell, rng=7)
    adam = minigru.Adam(model, lr=0.1, beta1=0.8)
    train(model, adam)
    model_2, adam_2 = copied((model, adam))
    assert adam_2.owner is model_2
    assert np.array_equal(model_2.gradient, model.gradient)
    before = model.vector.copy()
    train(model_2, adam_2)
    assert np.array_equal(model.vector, before)
    train(model, adam)
    assert np.array_equal(model_2.vector, model.vector)
    assert np.array_equal(model_2.params["linear.W"], model_2.linear.params["W"])
    model_2.params["linear.b"][...] = 5
    assert (model_2.vector[-2:] == 5).all()

    x = rng.standard_normal((5, 3, 4))
    for layer in (model.cell, minigru.Linear(4, 3, rng=1)):
        assert np.array_equal(
            copied(layer).forward(x if layer is model.cell else x[0]), layer.forward(x if layer is model.cell else x[0])
        )
    assert copied(minigru.SoftmaxCrossEntropy()).forward([[0, 0]], [1]) == pytest.approx(np.log(2))


def test_seed_fixes_the_weights_and_memory_is_kept_at_first():
    one, same, other = (minigru.SequenceClassifier(4, 6, 3, rng=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.vector, same.vector)
    assert not np.array_equal(one.vector, other.vector)
    assert (one.params["gru.b_u"] == -1).all()
    assert not any(one.params[name].any() for name in ("gru.b_r", "gru.b_c", "linear.b"))
    for block, fan_in in ((one.params["gru.W_u"][:6], 6), (one.params["gru.W_u"][6:], 4), (one.params["linear.W"], 6)):
        assert 0.75 * fan_in**-0.5 < abs(block).max() <= fan_in**-0.5
    for layer in (minigru.GRU, minigru.RNN, minigru.Linear):
        assert np.array_equal(layer(2, 3).vector, layer(2, 3, rng=0).vector)
    assert not any(np.array_equal(one.params[name], other.params[name]) for name in ("gru.W_u", "linear.W"))
    assert not one.gradient.any()
    seeded = minigru.SequenceClassifier(2, 3, 4, rng=np.random.default_rng(0))
    assert np.array_equal(minigru.SequenceClassifier(2, 3, 4).vector, seeded.vector)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_allocates_no_array_after_the_first(cell, rng):
    model = minigru.SequenceClassifier(28, 128, 10, cell)
    adam = minigru.Adam(model)
    x, y = rng.random((256, 5, 28)).astype("float32"), rng.integers(10, size=256)

    def step():
        model.loss(x, y)
        model.backward()
        minigru.clip_by_global_norm(model, 1.0)
        adam.step()

    step()
    tracemalloc.start()
    try:
        step()
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        step()
        peak = tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()
    assert peak < 50_000  # Python's objects, and NumPy's 34 kB to compare labels; one (B, H) array is 131 kB


@pytest.mark.parametrize("cell", CELLS)
def test_a_vanished_gradient_is_zero_and_not_subnormal(cell, rng):
    layer = CELLS[cell](3, 16, rng=rng)
    if cell == "rnn":  # whose gradient shall vanish as slowly as the GRU's
        layer.vector[...] = 0
        layer.params["W_a"] = np.concatenate([0.75 * np.eye(16), np.full((3, 16), 0.01)])
    layer.forward(rng.standard_normal((600, 4, 3)))
    dx = np.abs(layer.backward(dlast=np.ones((4, 16)))[0])
    assert (dx[:300] == 0).all()
    assert dx[-120:].any(axis=(1, 2)).all()  # 0.75^120 is 1e-15, which is not vanished
    subnormal = ((dx > 0) & (dx < np.finfo(np.float32).tiny)).any(axis=(1, 2))
    assert subnormal.sum() <= 16
