"""A training step keeps to its device. On the fake device of the tests: no GPU code runs here."""

from __future__ import annotations

import fake_device
import numpy as np
import pytest
from helpers import relative

import minigru
from minigru import cases, gradcheck


@pytest.fixture
def device():
    return fake_device.fake_backend()


def step(model, adam, x, y):
    loss = model.loss(x, y)
    model.backward()
    minigru.clip_by_global_norm(model, 0.5)
    adam.step()
    return loss


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_a_step_waits_for_nothing_and_copies_nothing(cell, device, rng):
    model = minigru.SequenceClassifier(4, 6, 3, cell, device)
    adam = minigru.Adam(model)
    x = device.to_device(rng.random((10, 5, 4)).astype("float32"))
    y = device.to_device(rng.integers(3, size=10))
    order = device.to_device(rng.permutation(10))
    step(model, adam, x[order[:4]], y[order[:4]])
    before = fake_device.host_waits
    losses = [step(model, adam, x[order[4:8]], y[order[4:8]]) for _ in range(3)]
    assert fake_device.host_waits == before
    assert float(losses[2]) < float(losses[0])
    assert fake_device.host_waits == before + 2  # only when they are read


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_the_same_seed_gives_the_same_numbers_on_both(cell, device, rng):
    x, y = rng.random((4, 5, 4)).astype("float32"), rng.integers(3, size=4)
    vectors = []
    for backend in (device, "numpy"):
        model = minigru.SequenceClassifier(4, 6, 3, cell, backend, rng=1)
        adam = minigru.Adam(model)
        for _ in range(3):
            step(model, adam, x, y)
        vectors.append(model.backend.to_host(model.vector))
    assert relative(*vectors) < 1e-6


@pytest.mark.parametrize("case", ["gru", "rnn", "linear", "loss"])
def test_gradients_by_the_cupy_kernels_as_read(case, device):
    made = {
        "gru": lambda: cases.recurrent("gru", 6, 3, 4, 5, device),
        "rnn": lambda: cases.recurrent("rnn", 6, 3, 4, 5, device),
        "linear": lambda: cases.linear(3, 4, 5, device),
        "loss": lambda: cases.loss(3, 4, device),
    }[case]()
    loss, gradients = made.engine(made.arrays)
    assert loss == pytest.approx(made.reference(made.arrays), rel=1e-12)
    for row in gradcheck.compare(gradients, gradcheck.complex_step(made.reference, made.arrays)):
        assert row.error < 1e-13, row.name


def test_adam_by_the_cupy_kernel_as_read(device, rng):
    vectors = []
    for backend in (device, "numpy"):
        layer = minigru.Linear(3, 2, backend, "float64")
        adam = minigru.Adam(layer)
        for step in range(1, 4):
            layer.gradient[...] = layer.backend.to_device(np.sin(np.arange(8.0) * step))
            adam.step()
        vectors.append(layer.backend.to_host(layer.vector))
    assert relative(*vectors) < 1e-14


def test_all_that_a_layer_returns_is_on_the_device(device, rng):
    gru = minigru.GRU(4, 6, device)
    states = gru.forward(rng.random((5, 3, 4)), rng.random((3, 6)))
    arrays = [
        states,
        *gru.backward(rng.random((3, 6)), rng.random((5, 3, 6))),
        *gru.params.values(),
        *gru.grads.values(),
    ]
    assert all(isinstance(array, fake_device.FakeArray) for array in arrays)
    model = minigru.SequenceClassifier(4, 6, 3, backend=device)
    for answer in (model.predict(rng.random((2, 5, 4))), model.predict_proba(rng.random((2, 5, 4)))):
        assert isinstance(answer, np.ndarray)


def test_the_fake_refuses_what_cupy_refuses(device):
    xp, on_device, on_host = device.xp, device.to_device(np.ones(3)), np.ones(3)
    for mix in (
        lambda: on_device + on_host,
        lambda: on_host + on_device,
        lambda: xp.add(on_device, on_host),
        lambda: xp.tanh(on_host),
        lambda: on_device.__setitem__(0, on_host),
        lambda: np.asarray(on_device),
        lambda: np.tanh(on_device),
        lambda: np.linalg.norm(on_device),
    ):
        with pytest.raises(TypeError, match=r"Unsupported|Implicit|does not support"):
            mix()


def test_the_fake_is_no_backend_to_choose():
    with pytest.raises(ValueError, match="backend is 'fake'"):
        minigru.get_backend("fake")
