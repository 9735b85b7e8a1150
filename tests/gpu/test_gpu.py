"""The GPU engine computes what the NumPy engine and the equations say.

Every test runs twice: on a real GPU if there is one (``pytest -m gpu`` runs these alone), and on the fake device, where
the kernels are the same CUDA C++ compiled for the CPU. The second proves the arithmetic of the kernels, and no more.
"""

from __future__ import annotations

import re
import runpy
import sys
import warnings
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial

import cuda_on_cpu
import fake_device
import numpy as np
import pandas as pd
import pytest
from helpers import CELLS, ROOT, randomise, relative

import minigru
from minigru import gradcheck
from minigru.engine import replay
from minigru.gradcheck import cases

TOLERANCE = {"float64": 1e-10, "float32": 1e-4}


class Poisoned(minigru.Backend):
    """A backend whose fresh arrays hold NaN, so that a read of what was never written shows."""

    def empty(self, shape, dtype):
        array = super().empty(shape, dtype)
        if array.dtype.kind == "f":
            array[...] = np.nan
        return array


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
    return Poisoned(**vars(fake_device.fake_backend() if kind == "fake" else minigru.get_backend("cupy")))


@pytest.fixture(params=["persistent", "persistent, with cuBLAS", "two launches a step", "step by step"])
def either(request, device, monkeypatch):
    """The device in every form of the recurrence."""
    if request.param == "persistent, with cuBLAS":
        monkeypatch.setattr(device.persistent, "MOST_ROWS", 0)
    if request.param == "two launches a step":
        monkeypatch.setattr(device.persistent, "LARGEST_PERSISTENT", dict.fromkeys(map(np.dtype, TOLERANCE), 0))
    return replace(device, persistent=None) if request.param == "step by step" else device


@pytest.fixture
def run(kind, monkeypatch, capsys):
    """Run a script in this process; return its exit status and what it printed."""

    def run(name, *options, backend="cupy"):
        (path,) = (ROOT / "scripts").rglob(name)
        monkeypatch.setattr(sys, "argv", [str(path), "--backend", backend, *map(str, options)])
        cupy = fake_device.installed() if (kind, backend) == ("fake", "cupy") else nullcontext()
        with cupy, pytest.raises(SystemExit) as stop:
            runpy.run_path(str(path), run_name="__main__")
        return stop.value.code or 0, "\n".join(capsys.readouterr())

    return run


@contextmanager
def no_waiting(kind):
    """Fail if the host waits for the device."""
    if kind == "cupy":
        import cupyx

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # CuPy plans to remove it
            with cupyx.allow_synchronize(False):
                yield
    else:
        before = fake_device.host_waits
        yield
        assert fake_device.host_waits == before


def same(made, device, dtype):
    """Assert that a case has the same loss and gradients on the device as on NumPy."""
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
        *(partial(cases.recurrent, cell, 6, 3, 4, 5) for cell in CELLS),
        partial(cases.linear, 3, 4, 5),
        partial(cases.loss, 300, 4),  # more rows than the block has threads
        *(partial(cases.model, cell, 6, 3, 4, 5, 3, 20) for cell in CELLS),
    ],
    ids=[*CELLS, "linear", "loss", *(f"{cell} classifier" for cell in CELLS)],
)
def test_every_layer_and_model_gives_the_numbers_of_numpy(case, dtype, either):
    same(lambda backend: case(backend, dtype), either, dtype)


@pytest.mark.parametrize("H", [1, 32, 33, 64, 65, 128, 129, 200])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_around_the_limits_of_the_kernel(H, dtype, device):
    same(lambda backend: cases.recurrent("gru", 3, 5, 2, H, backend, dtype), device, dtype)


@pytest.mark.parametrize(("T", "B", "D"), [(1, 1, 1), (2, 1, 40), (40, 2, 3), (3, 9, 2), (3, 21, 2)])
@pytest.mark.parametrize(("dtype", "H"), [("float32", 100), ("float64", 50)])
def test_any_length_batch_and_input(T, B, D, dtype, H, device):
    same(lambda backend: cases.recurrent("gru", T, B, D, H, backend, dtype), device, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_more_sample_than_multiprocessors(dtype, device):
    B = device.xp.cuda.Device().attributes["MultiProcessorCount"] + 1  # blocks of two, of which the last is not full
    same(lambda backend: cases.recurrent("gru", 2, B, 2, 40, backend, dtype), device, dtype)


def test_a_batch_that_fills_the_gpu_many_times(kind, device):
    B = 4099 if kind == "cupy" else 19
    same(lambda backend: cases.recurrent("gru", 28, B, 28, 128, backend, "float32"), device, "float32")


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


@pytest.mark.parametrize("cell", CELLS)
def test_a_hundred_steps_of_training_have_the_same_losses(cell, either, rng):
    x = rng.random((40, 7, 4)).astype("float32")
    labels, losses = x[:, -1, :3].argmax(axis=1), []
    for backend in (either, "numpy"):
        model = minigru.SequenceClassifier(4, 33, 3, cell, backend, "float32", rng=1)
        adam = minigru.Adam(model, lr=3e-3)
        losses.append([])
        for step in range(100):
            chosen = np.arange(step, step + 8) % 40
            losses[-1].append(float(model.loss(x[chosen], labels[chosen])))
            model.backward()
            minigru.clip_by_global_norm(model, 0.5)
            adam.step()
    assert losses[0] == pytest.approx(losses[1], rel=TOLERANCE["float32"])
    assert losses[0][-1] < 0.9 * losses[0][0]


def steps_of_all_kinds(device, H=6):
    """Return all numbers of training steps whose batches change in every way, as one list of host arrays."""
    rng, results = np.random.default_rng(0), []
    model = minigru.SequenceClassifier(4, H, 3, backend=device, dtype="float64")
    adam = minigru.Adam(model)

    def step(B, T, dtype="float64", lengths=None, order=(0, 1), weights=None, label="int64", every=1):
        x = device.to_device((9 * rng.random((T, B, 4 * every))).transpose(*order, 2).astype(dtype, "C"))[..., ::every]
        y = device.to_device(rng.integers(3, size=B * every).astype(label))[::every]
        loss = model.loss(x if order == (1, 0) else x.transpose(1, 0, 2), y, lengths, weights)
        between = [model.cell.backward(rng.random((B, H)))[1], model.linear.backward(rng.random((B, 3)))]
        model.backward()
        adam.step()
        results.extend(device.to_host(array).copy() for array in (loss, *between, model.gradient, model.vector))

    for B, T in [(3, 5), (3, 5), (2, 5), (3, 5), (3, 2), (3, 5), (1, 1), (5, 1), (6, 1), (7, 1), (3, 5)]:
        step(B, T)
    for dtype in ("float32", "float32", "float64"):
        step(3, 5, dtype)
    step(3, 5, "int64")
    for label in ("int32", "int64"):
        step(3, 5, label=label)
    step(3, 5, every=2)
    step(3, 5, weights=rng.random(3))
    step(3, 5, lengths=[2, 5, 1])
    step(3, 5)
    step(3, 5, order=(1, 0))
    model.cell.forward(rng.random((5, 3, 4)), rng.random((3, H)))
    step(3, 5)
    joined = minigru.join({"a": model.linear, "b": model.cell})  # the layers have other vectors from here on
    adam.owner, model.vector, model.gradient = joined, joined.vector, joined.gradient
    step(3, 5)
    return results


def test_a_layer_that_runs_alone_before_the_first_backward_spoils_no_later_step(device, rng):
    x, y, gradients = rng.random((3, 5, 4), "float32"), [0, 1, 2], []
    for alone in (False, True):
        model = minigru.SequenceClassifier(4, 6, 3, backend=device)
        for _ in range(2):  # the second one is recorded
            model.loss(x, y)
        if alone:
            model.cell.forward(rng.random((7, 3, 4)))
            model.linear.forward(rng.random((3, 6)))
        for _ in range(2):
            model.backward()
            model.loss(x, y)
        model.backward()
        gradients.append(device.to_host(model.gradient))
    assert np.array_equal(*gradients)


def test_a_recorded_step_goes_past_the_layers(device, rng):
    model, x, y = minigru.SequenceClassifier(4, 6, 3, backend=device), rng.random((3, 5, 4), "float32"), [0, 1, 2]
    for _ in range(3):
        loss = float(model.loss(x, y))
        model.backward()
    model.linear._forward = model.linear._backward = None
    assert loss == float(model.loss(x, y))
    model.backward()


def test_a_recorded_step_has_the_bits_of_the_layers(either, monkeypatch):
    recorded = steps_of_all_kinds(either)
    monkeypatch.setattr(replay, "of", lambda *batch: None)
    for found, expected in zip(recorded, steps_of_all_kinds(either), strict=True):
        assert np.array_equal(found, expected)


def test_two_sizes_in_turn_and_gradients_at_every_state_or_at_the_last(either, rng):
    layers = [minigru.GRU(3, 40, backend, "float64") for backend in (either, "numpy")]
    for name, value in randomise(layers[1], rng).items():
        layers[0].params[name] = value
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

    for x, step in ((rng.random((4, 2, 6)).astype("float32"), 2), (rng.integers(9, size=(4, 2, 3), dtype="int32"), 1)):
        states = gru.forward(device.to_device(x)[..., ::step])
        assert relative(device.to_host(states), expected.forward(x[..., ::step])) < 1e-5

    linear, x = minigru.Linear(3, 2, device), device.to_device(np.ones((4, 3), "float32"))
    linear.forward(x)
    x[...] = 0
    linear.backward(np.ones((4, 2)))
    assert np.array_equal(device.to_host(linear.grads["W"]), np.full((3, 2), 4))

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
    for watch in (nullcontext, nullcontext, lambda: no_waiting(kind)):  # the first steps compile the kernels
        with watch():
            for start in (0, 4):
                chosen = order[start : start + 4]
                model.loss(x[chosen], y[chosen])
                model.backward()
                minigru.clip_by_global_norm(model, 0.5)
                adam.step()
    with pytest.raises(AssertionError if kind == "fake" else RuntimeError), no_waiting(kind):
        float(model.vector.sum())


def test_the_training_script_and_a_checkpoint_that_moves_between_backends(run, tmp_path):
    options = ("--data", "digits", "--hidden-size", "40", "--limit", "96", "--epochs", "1")
    for given in (options, ("--epochs", "2", "--resume")):
        histories = []
        for name, backend in (("first", "cupy"), ("second", "numpy")):
            backend = backend if given is options else {"cupy": "numpy", "numpy": "cupy"}[backend]
            status, printed = run("train_mnist.py", *given, "--out", tmp_path / name, backend=backend)
            assert (status, "Test accuracy" in printed) == (0, True), printed
            histories.append(pd.read_csv(tmp_path / name / "history.csv"))
        for column in ("train_loss_nats", "test_loss_nats"):
            assert list(histories[0][column]) == pytest.approx(list(histories[1][column]), rel=1e-4)
    assert len(histories[0]) == 2


def test_the_losses_are_read_once_per_epoch(kind, run, tmp_path):
    if kind == "cupy":
        pytest.skip("only the fake device counts how often the host waits")
    waits = []
    for limit in (16, 48):
        before, options = fake_device.host_waits, ("--hidden-size", "4", "--batch-size", "4", "--epochs", "1")
        run("train_mnist.py", "--data", "digits", *options, "--limit", limit, "--out", tmp_path / str(limit))
        waits.append(fake_device.host_waits - before)
    assert waits[0] == waits[1]


def test_the_gradient_table(kind, run):
    for options in [("--dtype", "float32", "--size", "small")] if kind == "fake" else [(), ("--dtype", "float32")]:
        status, printed = run("check_gradients.py", *options)
        assert (status, "All gradients agree." in printed) == (0, True), printed


def test_the_benchmark_proves_agreement_and_times_every_form(run):
    shape = ("--length", "4", "--hidden-size", "40", "--batch", "3", "5", "--rounds", "1")
    status, printed = run("bench.py", *shape, "--only", "steps")
    assert status == 0, printed
    for name in ("minigru", "minigru, fused step halves", "minigru, one call an operation"):
        assert len(re.findall(rf"^\| {name} +\|", printed, re.MULTILINE)) == 4  # agreement, two batches, both together
    status, printed = run("bench.py", "--only", "profile")
    assert (status, "--only profile measures the CPU" in printed) == (2, True)
    assert run("bench.py", "--cores", "2")[0] == 2
