"""A training step keeps to its device. On the fake device of the tests: no GPU code runs here."""

from __future__ import annotations

import subprocess
import sys

import baselines
import cuda_on_cpu
import fake_device
import numpy as np
import pytest
from helpers import ROOT

import minigru
from minigru.training import data
from minigru.training import trainer as training
from minigru.training.config import Config

pytestmark = pytest.mark.skipif(cuda_on_cpu.missing is not None, reason=str(cuda_on_cpu.missing))


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


@pytest.mark.parametrize(
    ("H", "B", "blocks", "threads"),
    [(128, 1, 1, 512), (128, 4, 4, 512), (128, 5, 3, 512), (128, 16, 4, 512), (128, 17, 5, 512), (33, 17, 9, 128)],
)
def test_a_block_takes_more_samples_once_every_multiprocessor_has_one(H, B, blocks, threads, device, monkeypatch):
    assert fake_device.PROCESSORS == 4
    launched = []
    kernel = lambda grid, block, arguments: launched.append((*grid, *block))  # noqa: E731
    monkeypatch.setattr(device.persistent.cuda, "kernel", lambda *names, **macros: kernel)
    gru = minigru.GRU(2, H, device)
    with np.errstate(all="ignore"):  # the buffers hold whatever was there
        gru.forward(np.ones((3, B, 2)))
        gru.backward(np.ones((B, H)))
    assert launched == [(blocks, threads)] * 2


def test_the_losses_are_read_once_an_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "READ_EVERY", 1)
    waits = []
    with fake_device.installed():
        for limit in (16, 48):
            config = Config(data="digits", hidden_size=4, batch_size=4, epochs=1, limit=limit, backend="cupy")
            trainer = training.Trainer(config, data.load("digits"), tmp_path)
            before = fake_device.host_waits
            trainer.run(quiet=True)
            waits.append(fake_device.host_waits - before)
    assert waits[0] == waits[1]


def test_a_training_step_has_as_many_kernels_as_the_documents_say(device):
    page = (ROOT / "docs" / "gpu.md").read_text("utf-8")
    table = page.split("| kernels a step |\n")[1].split("\n\n")[0].splitlines()[1:]
    counted, (x, y) = [], baselines.make_batch(28, 2, 28, 0)
    for kind in baselines.gpu_engines(device):
        engine = kind(baselines.initial(28, 128, 0))
        batch = engine.prepare(x, y)
        engine.step(*batch)
        before = fake_device.launches
        engine.step(*batch)
        counted.append(fake_device.launches - before)
    assert [int(row.split("|")[2]) for row in table] == counted[::-1]


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


def test_the_fake_refuses_to_mix_host_and_device(device):
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
        with pytest.raises((TypeError, ValueError), match=r"Unsupported|Implicit|does not support|cannot be used"):
            mix()


def test_the_fake_counts_every_wait(device):
    array = device.to_device(np.ones(1))
    waits = (array.get, array.item, lambda: float(array), lambda: int(array), lambda: bool(array > 0))
    for wait in (*waits, lambda: device.to_device(np.ones(1)), lambda: device.to_host(array)):
        before = fake_device.host_waits
        wait()
        assert fake_device.host_waits == before + 1


def test_the_fake_says_that_no_gpu_code_ran():
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        __file__,
        "-k",
        "no_backend_to_choose or on_the_device",
    ]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout
    assert fake_device.BANNER in result.stdout
    assert "no GPU code ran" in fake_device.BANNER


@pytest.mark.parametrize("operation", ["y = x ** 2", "y = x\ny = y + 1;", "keep = 1 - x;", "x = y"])
def test_a_kernel_that_is_no_c_does_not_compile(operation, device):
    kernel = cuda_on_cpu.ElementwiseKernel("T x", "T y", operation, "name")
    with pytest.raises(SyntaxError, match="error"):
        kernel(device.to_device(np.ones(2)), device.to_device(np.ones(2)))


def test_whole_numbers_divide_as_in_c(device):
    x, y = device.to_device(np.ones(2)), device.to_device(np.ones(2))
    cuda_on_cpu.ElementwiseKernel("T x", "T y", "y = (1 / 2) * x", "name")(x, y)
    assert np.array_equal(device.to_host(y), [0, 0])


def test_the_fake_refuses_arguments_of_the_wrong_type(device):
    kernel = cuda_on_cpu.ElementwiseKernel("T x, float64 a", "T y", "y = a * x", "name")
    x, y = device.to_device(np.ones(2)), device.to_device(np.zeros(2))
    kernel(x, 3.0, y)
    assert np.array_equal(device.to_host(y), [3, 3])
    for arguments in ((x, x, y), (1.0, 3.0, y), (x, 3.0, device.to_device(np.zeros(2, "float32")))):
        with pytest.raises(TypeError):
            kernel(*arguments)


def test_the_fake_is_no_backend_to_choose():
    with pytest.raises(ValueError, match="backend is 'fake'"):
        minigru.get_backend("fake")
