"""The engine computes what the equations say, whatever was in its buffers before."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from helpers import BACKWARD, CELLS, FORWARD, arrays_in, poison, randomise, relative

import minigru
from minigru import reference

SIZES = [(1, 1, 1, 1), (1, 3, 4, 5), (2, 1, 4, 5), (2, 3, 1, 1), (6, 3, 4, 5), (40, 2, 3, 4), (28, 32, 28, 128)]
SIZE_IDS = [f"T{T}-B{B}-D{D}-H{H}" for T, B, D, H in SIZES]


def run_both(cell, T, B, D, H, rng, *, last=True, every=True, first=True, dtype="float64", prepare=lambda layer: None):
    """Return {name: (engine, reference)} for the states and for every gradient."""
    layer = CELLS[cell](D, H, dtype=dtype)
    p = randomise(layer, rng)
    x = rng.standard_normal((T, B, D)).astype(dtype).astype("float64")
    c_0 = rng.standard_normal((B, H)).astype(dtype).astype("float64") if first else None
    dlast = rng.standard_normal((B, H)) if last else None
    dstates = rng.standard_normal((T, B, H)) if every else None
    prepare(layer)
    states = layer.forward(x, c_0).copy()
    dx, dc_0 = layer.backward(dlast, dstates)

    expected, cache = FORWARD[cell](x, np.zeros((B, H)) if c_0 is None else c_0, p)
    total = np.zeros((T, B, H)) if dstates is None else dstates.copy()
    total[-1] += 0 if dlast is None else dlast
    dx_expected, dc_0_expected, grads = BACKWARD[cell](total, cache)
    pairs = {"states": (states, expected), "x": (dx, dx_expected), "c_0": (dc_0, dc_0_expected)}
    return pairs | {name: (layer.grads[name], grads[name]) for name in layer.grads}


@pytest.mark.parametrize("size", SIZES, ids=SIZE_IDS)
@pytest.mark.parametrize("cell", CELLS)
def test_recurrent_layer_equals_reference(cell, size, rng):
    for name, (value, expected) in run_both(cell, *size, rng).items():
        assert relative(value, expected) < 1e-12, name


@pytest.mark.parametrize(("last", "every", "first"), [(True, False, True), (False, True, True), (True, True, False)])
@pytest.mark.parametrize("cell", CELLS)
def test_gradient_may_come_in_at_the_last_state_or_at_all(cell, last, every, first, rng):
    pairs = run_both(cell, 5, 3, 4, 6, rng, last=last, every=every, first=first)
    for name, (value, expected) in pairs.items():
        assert relative(value, expected) < 1e-12, name


@pytest.mark.parametrize("cell", CELLS)
def test_buffers_full_of_nan_change_nothing(cell, rng):
    poisoned = []

    def prepare(layer):
        layer.forward(np.ones((5, 3, 4)))
        layer.backward(np.ones((3, 6)))
        poisoned.append(poison(layer))

    for name, (value, expected) in run_both(cell, 5, 3, 4, 6, rng, prepare=prepare).items():
        assert relative(value, expected) < 1e-12, name
    assert poisoned[0] > 8


@pytest.mark.parametrize("cell", CELLS)
def test_float32_engine_is_close_to_the_float64_equations_at_full_size(cell, rng):
    for name, (value, expected) in run_both(cell, 28, 32, 28, 128, rng, dtype="float32").items():
        assert value.dtype == np.float32
        assert relative(value, expected) < 1e-5, name


@pytest.mark.parametrize("cell", CELLS)
def test_backward_overwrites_and_may_be_repeated_with_other_gradients(cell, rng):
    T, B, D, H = 5, 3, 4, 6
    layer = CELLS[cell](D, H, dtype="float64")
    p = randomise(layer, rng)
    x, c_0 = rng.standard_normal((T, B, D)), rng.standard_normal((B, H))
    dlast, dstates = rng.standard_normal((B, H)), rng.standard_normal((T, B, H))
    layer.forward(x, c_0)
    _, cache = FORWARD[cell](x, c_0, p)
    for last, every in ((dlast, None), (None, dstates), (dlast, dstates), (dlast, None), (dlast, None)):
        dx, dc_0 = layer.backward(last, every)
        total = np.zeros((T, B, H)) if every is None else every.copy()
        total[-1] += 0 if last is None else last
        dx_expected, dc_0_expected, grads = BACKWARD[cell](total, cache)
        assert relative(dx, dx_expected) < 1e-12
        assert relative(dc_0, dc_0_expected) < 1e-12
        assert all(relative(layer.grads[name], grads[name]) < 1e-12 for name in grads)


@pytest.mark.parametrize("cell", CELLS)
def test_without_dx_all_else_is_the_same(cell, rng):
    layer = CELLS[cell](4, 6, dtype="float64")
    layer.forward(rng.standard_normal((5, 3, 4)))
    dlast = rng.standard_normal((3, 6))
    expected = layer.backward(dlast)[1].copy(), {name: grad.copy() for name, grad in layer.grads.items()}
    dx, dc_0 = layer.backward(dlast, need_dx=False)
    assert dx is None
    assert np.array_equal(dc_0, expected[0])
    assert all(np.array_equal(layer.grads[name], grad) for name, grad in expected[1].items())


@pytest.mark.parametrize("cuts", [[2, 5], [3, 6]], ids=["uneven", "even"])
@pytest.mark.parametrize("cell", CELLS)
def test_sequence_in_three_chunks_with_the_state_carried(cell, cuts, rng):
    layer = CELLS[cell](4, 6, dtype="float64")
    randomise(layer, rng)
    x, dstates = rng.standard_normal((9, 3, 4)), rng.standard_normal((9, 3, 6))
    whole = layer.forward(x).copy()
    dx_whole, grads_whole = layer.backward(dstates=dstates)[0].copy(), layer.gradient.copy()

    state, parts, starts = None, [], []
    for chunk in np.split(x, cuts):
        starts.append(None if state is None else state.copy())
        parts.append(layer.forward(chunk, state).copy())
        state = layer._ran.states[-1]  # not a copy: with even chunks, a view of the very buffer that is written next
    assert relative(np.concatenate(parts), whole) < 1e-14

    dx, gradient, carried = [], 0, None
    for chunk, start, d in reversed(list(zip(np.split(x, cuts), starts, np.split(dstates, cuts), strict=True))):
        layer.forward(chunk, start)
        dx_chunk, carried = (array.copy() for array in layer.backward(carried, d))
        dx.insert(0, dx_chunk)
        gradient = gradient + layer.gradient
    assert relative(np.concatenate(dx), dx_whole) < 1e-12
    assert relative(gradient, grads_whole) < 1e-12


def test_only_the_latest_sizes_keep_their_buffers():
    gru = minigru.GRU(2, 3)
    for T in range(1, 10):
        gru.forward(np.ones((T, 1, 2)))
    assert list(gru._buffers) == [(T, 1) for T in (6, 7, 8, 9)]


@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed", "read-only", "float32", "integer", "list"])
def test_input_of_any_layout_and_real_type(layout, rng):
    x = rng.integers(-3, 4, (5, 3, 4)).astype("float64")
    given = {
        "fortran": np.asfortranarray(x),
        "strided": np.repeat(x, 2, axis=2)[:, :, ::2],
        "reversed": x[::-1].copy()[::-1],
        "read-only": x.copy(),
        "float32": x.astype("float32"),
        "integer": x.astype("int8"),
        "list": x.tolist(),
    }[layout]
    if layout == "read-only":
        given.flags.writeable = False
    gru = minigru.GRU(4, 6, dtype="float64")
    expected = gru.forward(x).copy(), gru.backward(np.ones((3, 6)))[0].copy()
    assert np.array_equal(gru.forward(given), expected[0])
    assert np.array_equal(gru.backward(np.asfortranarray(np.ones((3, 6))))[0], expected[1])


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
    expected, cache = FORWARD[cell](x, c_0, p)
    assert relative(layer.forward(x, c_0), expected) < tolerance
    dx_expected, dc_0_expected, grads = BACKWARD[cell](dstates, cache)
    dx, dc_0 = layer.backward(dstates=dstates)
    assert relative(dx, dx_expected) < tolerance
    assert relative(dc_0, dc_0_expected) < tolerance
    assert all(relative(layer.grads[name], grads[name]) < tolerance for name in grads)


def test_gates_write_keep_and_write_again():
    gru = minigru.GRU(1, 2, dtype="float32")
    gru.vector[...] = 0
    gru.params["W_u"][2] = gru.params["W_r"][2] = gru.params["W_c"][2] = 50
    states = gru.forward(np.array([1.0, -1.0, 1.0]).reshape(3, 1, 1), np.full((1, 2), 0.5))
    assert np.array_equal(states[:, 0], [[1, 1], [1, 1], [1, 1]])
    assert np.array_equal(gru.forward(np.full((3, 1, 1), -1.0), np.full((1, 2), 0.5))[:, 0], np.full((3, 2), 0.5))


def test_linear_equals_reference(rng):
    layer = minigru.Linear(4, 5, dtype="float64")
    p = randomise(layer, rng)
    layer.forward(np.ones((3, 4)))
    layer.backward(np.ones((3, 5)))
    assert poison(layer) > 4
    x, dy = rng.standard_normal((3, 4)), rng.standard_normal((3, 5))
    expected, cache = reference.linear(x, p)
    dx, grads = reference.linear_backward(dy, cache)
    assert relative(layer.forward(x), expected) < 1e-14
    assert relative(layer.backward(dy), dx) < 1e-14
    assert all(relative(layer.grads[name], grads[name]) < 1e-14 for name in grads)


def test_loss_equals_reference_and_backward_may_be_repeated(rng):
    criterion = minigru.SoftmaxCrossEntropy(dtype="float64")
    logits, labels = rng.standard_normal((5, 3)), np.array([0, 2, 1, 1, 0])
    criterion.forward(logits, labels)
    criterion.backward()
    assert poison(criterion) > 4
    expected, cache = reference.softmax_cross_entropy(logits, labels)
    assert criterion.forward(logits, labels) == pytest.approx(expected, rel=1e-14)
    for _ in range(2):
        assert relative(criterion.backward(), reference.softmax_cross_entropy_backward(cache)) < 1e-14


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_loss_of_huge_logits_is_right(dtype):
    criterion = minigru.SoftmaxCrossEntropy(dtype=dtype)
    loss = criterion.forward([[1e4, -1e4, 0], [-1e4, 1e4, 1e4]], [1, 2])
    assert loss == pytest.approx((2e4 + np.log(2)) / 2, rel=1e-6)
    assert np.allclose(criterion.backward(), [[0.5, -0.5, 0], [0, 0.25, -0.25]])


def test_loss_of_another_batch_size_and_back(rng):
    criterion = minigru.SoftmaxCrossEntropy(dtype="float64")
    for B, K in ((2, 3), (4, 3), (2, 3), (2, 5)):
        logits, labels = rng.standard_normal((B, K)), rng.integers(K, size=B)
        expected, cache = reference.softmax_cross_entropy(logits, labels)
        assert criterion.forward(logits, labels) == pytest.approx(expected, rel=1e-14)
        assert relative(criterion.backward(), reference.softmax_cross_entropy_backward(cache)) < 1e-14


def test_losses_of_two_steps_are_two_numbers():
    criterion = minigru.SoftmaxCrossEntropy()
    losses = [criterion.forward([[value, 0.0]], [0]) for value in (0, 1)]
    assert losses[0] == pytest.approx(np.log(2))
    assert losses[1] < losses[0]


@pytest.mark.parametrize("cell", CELLS)
def test_model_is_its_layers_in_a_row(cell, rng):
    T, B, D, H, K = 5, 3, 4, 6, 3
    model = minigru.SequenceClassifier(D, H, K, cell, dtype="float64")
    randomise(model, rng)
    x, y = rng.standard_normal((B, T, D)), np.array([2, 0, 1])
    model.loss(x, y)
    model.backward()
    assert poison(model) > 12

    p = {name.partition(".")[2]: view.copy() for name, view in model.params.items()}
    states, caches = FORWARD[cell](x.transpose(1, 0, 2), np.zeros((B, H)), p)
    logits, linear_cache = reference.linear(states[-1], p)
    loss, loss_cache = reference.softmax_cross_entropy(logits, y)
    dlast, grads = reference.linear_backward(reference.softmax_cross_entropy_backward(loss_cache), linear_cache)
    dstates = np.zeros_like(states)
    dstates[-1] = dlast
    grads = {**BACKWARD[cell](dstates, caches)[2], **grads}

    assert model.loss(x, y) == pytest.approx(loss, rel=1e-13)
    model.backward()
    for name, grad in model.grads.items():
        assert relative(grad, grads[name.partition(".")[2]]) < 1e-12, name
    assert relative(model.logits(x), logits) < 1e-13
    assert relative(model.predict_proba(x), np.exp(loss_cache[0])) < 1e-13
    assert np.array_equal(model.predict(x), logits.argmax(axis=1))
    assert relative(model.logits(x, batch_size=2), logits) < 1e-13


@pytest.mark.parametrize("label_dtype", ["int64", "int32", "uint8"])
@pytest.mark.parametrize("cell", CELLS)
def test_training_steps_in_a_row_with_the_batch_size_changed_and_back(cell, label_dtype, rng):
    T, D, H, K = 4, 2, 5, 3
    model = minigru.SequenceClassifier(D, H, K, cell, dtype="float64")
    p = {name.partition(".")[2]: view.copy() for name, view in model.params.items()}
    moments = {name: (0.0, 0.0) for name in p}
    adam = minigru.Adam(model, lr=0.1)
    for t, B in enumerate((3, 3, 2, 3), start=1):
        x, y = rng.standard_normal((B, T, D)), rng.integers(K, size=B).astype(label_dtype)
        loss = model.loss(x, y)
        model.backward()
        adam.step()
        poison(adam)
        states, caches = FORWARD[cell](x.transpose(1, 0, 2), np.zeros((B, H)), p)
        logits, linear_cache = reference.linear(states[-1], p)
        expected, loss_cache = reference.softmax_cross_entropy(logits, y)
        assert loss == pytest.approx(expected, rel=1e-12)
        dlast, grads = reference.linear_backward(reference.softmax_cross_entropy_backward(loss_cache), linear_cache)
        dstates = np.zeros_like(states)
        dstates[-1] = dlast
        grads |= BACKWARD[cell](dstates, caches)[2]
        for name, grad in grads.items():
            p[name], *moments[name] = reference.adam(p[name], grad, *moments[name], t, lr=0.1)
        for name, view in model.params.items():
            assert relative(view, p[name.partition(".")[2]]) < 1e-11, name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_every_array_has_the_dtype_asked_for(cell, dtype):
    model = minigru.SequenceClassifier(4, 6, 3, cell, dtype=dtype)
    loss = model.loss(np.ones((2, 5, 4)), [0, 1])
    model.backward()
    found = [loss, model.vector, model.gradient, *arrays_in(model.cell._buffers)]
    found += [*arrays_in(model.linear._buffers), *arrays_in(model.criterion._buffers)]
    assert {array.dtype for array in found if array.dtype.kind == "f"} == {np.dtype(dtype)}
    assert len(found) > 15


def test_the_default_seed_is_0():
    for layer in (minigru.GRU, minigru.RNN, minigru.Linear):
        assert np.array_equal(layer(2, 3).vector, layer(2, 3, rng=0).vector)
    assert np.array_equal(
        minigru.SequenceClassifier(2, 3, 4).vector,
        minigru.SequenceClassifier(2, 3, 4, rng=np.random.default_rng(0)).vector,
    )


def test_parameters_are_views_of_one_vector():
    model = minigru.SequenceClassifier(4, 6, 3)
    assert sum(view.size for view in model.params.values()) == model.vector.size
    model.vector[...] = 7
    model.gradient[...] = 8
    assert all((view == 7).all() for view in model.params.values())
    assert all((view == 8).all() for view in model.grads.values())
    assert (model.cell.params["W_u"] == 7).all()
    assert {name: view.shape for name, view in model.params.items()} == {
        "gru.W_u": (10, 6), "gru.b_u": (6,), "gru.W_r": (10, 6), "gru.b_r": (6,), "gru.W_c": (10, 6), "gru.b_c": (6,),
        "linear.W": (6, 3), "linear.b": (3,),
    }  # fmt: skip


def test_seed_fixes_the_weights_and_memory_is_kept_at_first():
    one, same, other = (minigru.SequenceClassifier(4, 6, 3, rng=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.vector, same.vector)
    assert not np.array_equal(one.vector, other.vector)
    assert (one.params["gru.b_u"] == -1).all()
    assert not any(one.params[name].any() for name in ("gru.b_r", "gru.b_c", "linear.b"))
    for block, fan_in in ((one.params["gru.W_u"][:6], 6), (one.params["gru.W_u"][6:], 4), (one.params["linear.W"], 6)):
        assert 0.75 * fan_in**-0.5 < abs(block).max() <= fan_in**-0.5


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


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_a_vanished_gradient_is_zero_and_not_subnormal(cell, rng):
    layer = CELLS[cell](3, 16, rng=rng)
    layer.vector[...] *= 0.2  # so that the gradient of the RNN vanishes too
    layer.forward(rng.standard_normal((600, 4, 3)))
    layer.backward(dlast=np.ones((4, 16)))
    tiny = np.finfo(np.float32).tiny
    for name, dz in vars(layer._ran.backward).items():
        if name.startswith("dz"):
            dz = np.abs(dz)
            assert (dz[:300] == 0).all(), name
            assert dz[-1].any(), name
            subnormal = ((dz > 0) & (dz < tiny)).any(axis=(1, 2))
            assert subnormal.sum() <= 16, name
