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
from minigru.training.config import Config
from minigru.training.trainer import Trainer

pytestmark = pytest.mark.skipif(cuda_on_cpu.missing is not None, reason=str(cuda_on_cpu.missing))


@pytest.fixture
def device():
    return fake_device.fake_backend()


@pytest.mark.parametrize(
    ("H", "B", "blocks", "threads"),
    [*((128, B, n, 512) for B, n in [(1, 1), (4, 4), (5, 3), (16, 4), (17, 6), (33, 11)]), (33, 17, 9, 128)],
)
def test_a_block_takes_more_samples_once_every_multiprocessor_has_one(H, B, blocks, threads, device):
    assert fake_device.PROCESSORS == 4
    gru = minigru.GRU(2, H, device)
    before = len(fake_device.launches)
    gru.forward(np.ones((3, B, 2)))
    gru.backward(np.ones((B, H)))
    launches = [launch for launch in fake_device.launches[before:] if launch.name in ("gru_forward", "gru_backward")]
    assert [launch[1:] for launch in launches] == [(blocks, threads)] * 2


@pytest.mark.parametrize(("dtype", "sizes"), [("float32", (128, 129, 1024)), ("float64", (64, 65, 512))])
def test_a_training_step_has_few_launches_up_to_the_largest_size(dtype, sizes, device, monkeypatch):
    monkeypatch.setattr(fake_device.RawModule, "run", lambda *arguments: None)  # they are counted alone
    counted = []
    for H in (*sizes, sizes[-1] + 1):
        model = minigru.SequenceClassifier(2, H, 3, backend=device, dtype=dtype)
        adam, T = minigru.Adam(model), 2
        for _ in range(2):  # the first step makes the buffers
            before = len(fake_device.launches)
            model.loss(np.ones((1, T, 2), dtype), np.ones(1, int))
            model.backward()
            adam.step()
        counted.append(len(fake_device.launches) - before)
    assert counted[:3] == [8, 6 + 4 * T, 6 + 4 * T]
    assert counted[3] > counted[2]  # cuBLAS from here on


def test_a_training_step_has_as_many_kernels_as_the_documents_say(device):
    page = (ROOT / "docs" / "gpu.md").read_text("utf-8")
    table = page.split("| kernels per training step |")[1].split("\n\n")[0].splitlines()[2:]
    counted, (x, y) = [], baselines.make_batch(28, 2, 28, 0)
    for kind in baselines.gpu_engines(device):
        engine = kind(baselines.initial(28, 128, 0))
        batch = engine.prepare(x, y)
        engine.step(*batch)
        before = len(fake_device.launches)
        engine.step(*batch)
        counted.append(len(fake_device.launches) - before)
    assert [int(row.split("|")[2]) for row in table] == counted[::-1]


def test_all_that_a_layer_returns_is_on_the_device(device, rng):
    gru = minigru.GRU(4, 6, device)
    states = gru.forward(rng.random((5, 3, 4)), rng.random((3, 6)))
    gradients = gru.backward(rng.random((3, 6)), rng.random((5, 3, 6)))
    for array in (states, *gradients, *gru.params.values(), *gru.grads.values()):
        assert isinstance(array, device.xp.ndarray)
    model = minigru.SequenceClassifier(4, 6, 3, backend=device)
    for answer in (model.predict(rng.random((2, 5, 4))), model.predict_proba(rng.random((2, 5, 4)))):
        assert isinstance(answer, np.ndarray)


@pytest.mark.parametrize(
    ("free", "advice"), [(200_000, "the first 332 with --limit 332"), (9_000, "a smaller data set")]
)
def test_a_data_set_without_room_on_the_gpu_is_refused_with_what_would_fit(free, advice, monkeypatch, tmp_path):
    monkeypatch.setattr(fake_device, "free", free)
    dataset = data.load("digits")
    with fake_device.installed():
        with pytest.raises(minigru.BackendUnavailable, match=f"0 MB free, and 1,437 training images .* {advice}, or"):
            Trainer(Config(data="digits", backend="cupy"), dataset, tmp_path)
        if free == 200_000:
            Trainer(Config(data="digits", backend="cupy", limit=332), dataset, tmp_path)
            with pytest.raises(minigru.BackendUnavailable):
                Trainer(Config(data="digits", backend="cupy", limit=333), dataset, tmp_path)


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
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", "counts_every_wait"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert (result.returncode, fake_device.BANNER in result.stdout) == (0, True), result.stdout


def test_an_elementwise_kernel_is_compiled_as_c_and_takes_only_the_declared_types(device):
    half = "template <typename T> __device__ T half(T x) { return (1 / 2) + x / 2; }"
    kernel = cuda_on_cpu.ElementwiseKernel("T x, T a", "T y", "y = a * half(x)", "name", preamble=half)
    x, y = device.to_device(np.ones(2)), device.to_device(np.zeros(2))
    kernel(x, 3.0, y)
    assert np.array_equal(device.to_host(y), [1.5, 1.5])
    for arguments in ((x, 3, y), (x, 3.0, 1.0), (x, 3.0, device.to_device(np.zeros(2, "float32")))):
        with pytest.raises(TypeError):
            kernel(*arguments)
    for operation in ("y = x ** 2", "y = x\ny = y + 1;", "keep = 1 - x;", "x = y"):
        with pytest.raises(SyntaxError, match="error"):
            cuda_on_cpu.ElementwiseKernel("T x", "T y", operation, "name")(x, y)
