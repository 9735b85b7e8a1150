"""The GPU engine computes what the NumPy engine and the equations say.

Every test runs twice: on a real GPU, where there is one (``pytest -m gpu`` runs these alone), and on the fake device,
where the kernels are the same CUDA C++ compiled for the CPU. The second proves their arithmetic, and no more.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import replace

import cuda_on_cpu
import fake_device
import numpy as np
import pandas as pd
import pytest
from helpers import CELLS, ROOT, poison, randomise, relative

import minigru
from minigru import gradcheck
from minigru.gradcheck import cases

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}
ON_THE_FAKE = f"""
import runpy, sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "scripts")!r}]
import fake_device
del sys.argv[0]
with fake_device.installed():
    runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(params=["fake", pytest.param("cupy", marks=pytest.mark.gpu)])
def kind(request):
    if request.param == "fake" and cuda_on_cpu.missing:
        pytest.skip(cuda_on_cpu.missing)
    if request.param == "cupy":
        try:
            minigru.get_backend("cupy")
        except minigru.BackendUnavailable as error:
            pytest.skip(f"no GPU to run this on: {error}")
    return request.param


@pytest.fixture
def device(kind):
    return fake_device.fake_backend() if kind == "fake" else minigru.get_backend("cupy")


@pytest.fixture(params=["one kernel", "step by step"])
def either(request, device):
    """The device with and without the kernel of the whole recurrence."""
    return device if request.param == "one kernel" else replace(device, persistent=None)


def run(script, kind, *arguments):
    """Run a script with ``--backend cupy``, on the fake device where that is asked for."""
    start = ["-c", ON_THE_FAKE] if kind == "fake" else []
    command = [sys.executable, *start, ROOT / "scripts" / script, "--backend", "cupy", *arguments]
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, env=environment)


@contextmanager
def no_waiting(kind):
    """Fail where the host waits for the device."""
    if kind == "cupy":
        import cupyx

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # it says that it is to be removed
            with cupyx.allow_synchronize(False):
                yield
    else:
        before = fake_device.host_waits
        yield
        assert fake_device.host_waits == before


def same(made, device, dtype):
    """Assert that a case gives the same loss and gradients on the device as on NumPy."""
    on_host, on_device = made("numpy"), made(device)
    (expected, gradients), (loss, found) = on_host.engine(on_host.arrays), on_device.engine(on_host.arrays)
    assert loss == pytest.approx(expected, rel=TOLERANCE[dtype])
    assert found.keys() == gradients.keys()
    for name in gradients:
        assert relative(found[name], gradients[name]) < TOLERANCE[dtype], name


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "case",
    [
        lambda backend, dtype, seed: cases.recurrent("gru", 6, 3, 4, 5, backend, dtype, seed),
        lambda backend, dtype, seed: cases.recurrent("rnn", 6, 3, 4, 5, backend, dtype, seed),
        lambda backend, dtype, seed: cases.linear(3, 4, 5, backend, dtype, seed),
        lambda backend, dtype, seed: cases.loss(300, 4, backend, dtype, seed),  # more rows than the block has threads
        lambda backend, dtype, seed: cases.model("gru", 6, 3, 4, 5, 3, 20, backend, dtype, seed),
        lambda backend, dtype, seed: cases.model("rnn", 6, 3, 4, 5, 3, 20, backend, dtype, seed),
    ],
    ids=["GRU", "RNN", "Linear", "SoftmaxCrossEntropy", "GRU classifier", "RNN classifier"],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_every_layer_and_model_gives_the_numbers_of_numpy(case, seed, dtype, either):
    same(lambda backend: case(backend, dtype, seed), either, dtype)


@pytest.mark.parametrize("H", [1, 2, 31, 32, 33, 63, 64, 65, 96, 127, 128, 129])
def test_sizes_around_the_limits_of_the_kernel(H, device):
    for dtype in ("float32", "float64"):
        same(lambda backend, dtype=dtype: cases.recurrent("gru", 3, 5, 2, H, backend, dtype), device, dtype)
        gru = minigru.GRU(2, H, device, dtype)
        assert (gru._sequence is not None) == ({"float32": 128, "float64": 64}[dtype] >= H)


@pytest.mark.parametrize(
    ("T", "B", "D"), [(1, 1, 1), (1, 5, 3), (2, 1, 40), (40, 2, 3), (3, 9, 2), (3, 15, 2), (3, 16, 2), (3, 21, 2)]
)
def test_any_length_batch_and_input(T, B, D, device):
    for dtype, H in (("float32", 100), ("float64", 50)):
        same(lambda backend, dtype=dtype, H=H: cases.recurrent("gru", T, B, D, H, backend, dtype), device, dtype)


@pytest.mark.gpu
def test_a_batch_that_fills_the_gpu_many_times():
    try:
        device = minigru.get_backend("cupy")
    except minigru.BackendUnavailable as error:
        pytest.skip(f"no GPU to run this on: {error}")
    same(lambda backend: cases.recurrent("gru", 28, 4099, 28, 128, backend, "float32"), device, "float32")


@pytest.mark.parametrize("cell", CELLS)
def test_gradients_by_the_complex_step(cell, either):
    for case in (
        cases.recurrent(cell, 6, 3, 4, 5, either),
        cases.model(cell, 5, 3, 4, 6, 3, 20, either),
        cases.linear(3, 4, 5, either),
        cases.loss(3, 4, either),
    ):
        loss, gradients = case.engine(case.arrays)
        assert loss == pytest.approx(case.reference(case.arrays), rel=1e-12)
        for row in gradcheck.compare(gradients, gradcheck.complex_step(case.reference, case.arrays)):
            assert row.error < 1e-13, f"{case.name}: {row.name}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_hundred_steps_of_training_have_the_same_losses(cell, dtype, either, rng):
    x = rng.random((40, 7, 4)).astype(dtype)
    labels, losses = x[:, -1, :3].argmax(axis=1), []
    for backend in (either, "numpy"):
        model = minigru.SequenceClassifier(4, 33, 3, cell, backend, dtype, rng=1)
        adam = minigru.Adam(model, lr=3e-3)
        losses.append([])
        for step in range(100):
            chosen = np.arange(step, step + 8) % 40
            losses[-1].append(float(model.loss(x[chosen], labels[chosen])))
            model.backward()
            minigru.clip_by_global_norm(model, 0.5)
            adam.step()
    assert losses[0] == pytest.approx(losses[1], rel=TOLERANCE[dtype])
    assert losses[0][-1] < 0.9 * losses[0][0]


def test_whatever_was_in_the_buffers_changes_nothing(either, rng):
    gru, answers = minigru.GRU(3, 40, either), []
    x, dstates = rng.random((4, 3, 3)), rng.random((4, 3, 40))
    for _ in range(2):
        answers.append([gru.forward(x), *gru.backward(dstates=dstates), *gru.grads.values()])
        answers[-1] = [either.to_host(answer) for answer in answers[-1]]
        assert poison(gru) > 14
    for first, second in zip(*answers, strict=True):
        assert np.array_equal(first, second)


def test_two_sizes_in_turn_and_gradients_at_every_state_or_at_the_last(either, rng):
    layers = [minigru.GRU(3, 40, backend, "float64") for backend in (either, "numpy")]
    for name, value in randomise(layers[1], rng).items():
        layers[0].set(name, value)
    for T, B in [(4, 3), (2, 6), (4, 3), (1, 1), (2, 6)]:
        x, c_0, dlast, dstates = (rng.standard_normal(s) for s in [(T, B, 3), (B, 40), (B, 40), (T, B, 40)])
        for given in [(dlast, None), (None, dstates), (dlast, dstates)]:
            results = []
            for layer in layers:
                answers = [layer.forward(x, c_0), *layer.backward(*given), *layer.grads.values()]
                results.append([layer.backend.to_host(answer).copy() for answer in answers])
            for found, expected in zip(*results, strict=True):
                assert relative(found, expected) < 1e-12


def test_device_arrays_of_any_type_and_layout(device, rng):
    gru, expected = minigru.GRU(3, 5, device, "float32"), minigru.GRU(3, 5, "numpy", "float32")
    x, dstates = rng.random((4, 2, 3)), rng.random((2, 4, 5))
    expected.forward(x)
    gru.forward(device.to_device(x))
    dx, _ = gru.backward(dstates=device.to_device(dstates).transpose(1, 0, 2))  # float64, and not contiguous
    dx_expected, _ = expected.backward(dstates=dstates.transpose(1, 0, 2))
    assert relative(device.to_host(dx), dx_expected) < 1e-5

    logits, labels = rng.random((6, 3)).astype("float32"), rng.integers(3, size=12)
    for dtype in ("uint8", "int32", "int64"):
        losses = []
        for backend in (device, minigru.get_backend("numpy")):
            criterion = minigru.SoftmaxCrossEntropy(backend)
            given = backend.to_device(labels.astype(dtype))[::2]
            losses.append(float(criterion.forward(backend.to_device(logits), given)))
        assert losses[0] == pytest.approx(losses[1], rel=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_step_waits_for_nothing(cell, kind, either, rng):
    model = minigru.SequenceClassifier(4, 6, 3, cell, either)
    adam = minigru.Adam(model)
    x, y, order = (either.to_device(a) for a in (rng.random((10, 5, 4)), rng.integers(3, size=10), rng.permutation(10)))
    for watch in (nullcontext, nullcontext, lambda: no_waiting(kind)):  # what is compiled, is compiled at first
        with watch():
            for start in (0, 4):
                chosen = order[start : start + 4]
                model.loss(x[chosen], y[chosen])
                model.backward()
                minigru.clip_by_global_norm(model, 0.5)
                adam.step()
    with pytest.raises(AssertionError if kind == "fake" else RuntimeError), no_waiting(kind):
        float(model.vector.sum())


def test_the_training_script_and_a_checkpoint_that_moves_between_backends(kind, tmp_path):
    options = ("--data", "digits", "--hidden-size", "40", "--limit", "96", "--epochs", "2")
    folders = {name: tmp_path / name for name in ("cupy", "numpy", "moved")}
    result = run("train_mnist.py", kind, *options, "--out", folders["cupy"])
    assert result.returncode == 0, result.stderr
    assert "Test accuracy" in result.stdout
    on_host = [sys.executable, ROOT / "scripts" / "train_mnist.py"]
    for command in (
        [*on_host, *options, "--out", folders["numpy"]],
        [*on_host, *options[:-1], "1", "--out", folders["moved"]],
    ):
        subprocess.run([*map(str, command)], check=True, capture_output=True)
    result = run("train_mnist.py", kind, "--epochs", "2", "--out", folders["moved"], "--resume")
    assert result.returncode == 0, result.stderr
    histories = {name: pd.read_csv(folder / "history.csv") for name, folder in folders.items()}
    for name in ("cupy", "moved"):
        for column in ("train_loss_nats", "test_loss_nats"):
            assert list(histories[name][column]) == pytest.approx(list(histories["numpy"][column]), rel=1e-4)
    back = [*on_host, "--epochs", "3", "--backend", "numpy", "--out", folders["cupy"], "--resume"]
    subprocess.run([*map(str, back)], check=True, capture_output=True)
    assert len(pd.read_csv(folders["cupy"] / "history.csv")) == 3


@pytest.mark.parametrize("options", [(), ("--dtype", "float32")], ids=["float64", "float32"])
def test_the_gradient_table(options, kind):
    size = ("--size", "small") if kind == "fake" else ()
    result = run("check_gradients.py", kind, *options, *size)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "All gradients agree." in result.stdout


def test_the_benchmark_proves_agreement_and_times_every_rung(kind):
    shape = ("--length", "4", "--hidden-size", "40", "--batch", "3", "5", "--rounds", "1")
    result = run("bench.py", kind, *shape, "--only", "steps")
    assert result.returncode == 0, result.stdout + result.stderr
    for name in ("minigru", "minigru, fused step halves", "minigru, one call an operation"):
        assert len(re.findall(rf"^\| {name} +\|", result.stdout, re.MULTILINE)) == 3
    refused = run("bench.py", kind, "--only", "profile")
    assert refused.returncode == 2
    assert "--only profile measures the CPU" in refused.stderr
    assert run("bench.py", kind, "--threads", "2").returncode == 2
