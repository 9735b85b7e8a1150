"""A trace of a model is what the engine computes: gates, memory, answers and gradient norms."""

from __future__ import annotations

import fake_device
import numpy as np
import pytest
from helpers import CELLS, randomise, relative

from minigru import SequenceClassifier
from minigru.experiments import tasks, trace

B, T, D, H, K = 3, 7, 4, 5, 3


def problem(cell, rng, dtype="float64"):
    model = SequenceClassifier(D, H, K, cell, dtype=dtype, rng=rng)
    randomise(model, rng)
    return model, rng.standard_normal((B, T, D)), rng.integers(K, size=B)


def test_gates_and_memory_are_those_of_the_engine(rng):
    model, x, _ = problem("gru", rng)
    seen = trace.gates(model, x)
    states = model.cell.forward(x.swapaxes(0, 1)).swapaxes(0, 1)
    c_prev = np.concatenate([np.zeros((B, 1, H)), states[:, :-1]], axis=1)
    z_u, z_r = (
        np.concatenate([c_prev, x], axis=2) @ model.params[f"gru.W_{g}"] + model.params[f"gru.b_{g}"] for g in "ur"
    )
    assert relative(seen.c, states) < 1e-14
    assert relative(seen.gamma_u, 1 / (1 + np.exp(-z_u))) < 1e-14
    assert relative(seen.gamma_r, 1 / (1 + np.exp(-z_r))) < 1e-14
    assert relative(seen.gamma_u * seen.c_tilde + (1 - seen.gamma_u) * c_prev, states) < 1e-14


def test_reading_goes_on_from_a_memory(rng):
    model, x, _ = problem("gru", rng)
    whole = trace.gates(model, x)
    rest = trace.gates(model, x[:, 3:], whole.c[:, 2])
    assert all(np.array_equal(part, array[:, 3:]) for part, array in zip(rest, whole, strict=True))


def test_a_gate_that_is_always_closed_is_zero_without_a_warning(rng, recwarn):
    model, x, _ = problem("gru", rng)
    model.params["gru.b_u"][...] = -1e6
    assert (trace.gates(model, x).gamma_u == 0).all()
    assert not recwarn.list


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-12), ("float32", 1e-5)])
def test_the_answer_after_every_row_is_that_of_a_model_that_stops_there(dtype, error, rng):
    model, x, _ = problem("gru", rng, dtype)
    answers = trace.answers(model, trace.gates(model, x).c)
    for t in range(T):
        assert relative(answers[:, t], model.predict_proba(x[:, : t + 1])) < error


@pytest.mark.parametrize("cell", CELLS)
def test_gradient_norms_are_those_of_the_engine_started_at_every_step(cell, rng):
    model, x, y = problem(cell, rng)
    steps = x.swapaxes(0, 1)
    states = model.cell.forward(steps).copy()
    model.loss(x, y)
    dlast = model.linear.backward(model.criterion.backward()).copy()
    expected = []
    for t in range(T):
        model.cell.forward(steps[t:], states[t - 1] if t else None)
        _, dc = model.cell.backward(dlast)
        expected.append(np.linalg.norm(dc))
    assert trace.gradient_norms(model, x, y) == pytest.approx([*expected, np.linalg.norm(dlast)], rel=1e-12)


def test_784_steps_do_not_underflow(rng):
    model = SequenceClassifier(D, H, K, rng=rng)
    norms = trace.gradient_norms(model, rng.standard_normal((2, 784, D)), [0, 1])
    assert 0 < norms[0] < 1e-60 * norms[-1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, x: trace.gates(model, x[0]), r"x has shape \(7, 4\); expected \(B, T, 4\)"),
        (lambda model, x: trace.gates(model, x * np.nan), "x holds NaN"),
        (lambda model, x: trace.gradient_norms(model, x, [0, 1, K]), "y runs from 0 to 3"),
        (lambda model, x: trace.gates(SequenceClassifier(D, H, K, "rnn"), x), "the model has the cell 'rnn'"),
    ],
)
def test_bad_input_is_named(call, message, rng):
    model, x, _ = problem("gru", rng)
    with pytest.raises(ValueError, match=message):
        call(model, x)


def test_a_model_on_a_device_is_trained_and_traced_like_one_on_the_host():
    seen = []
    for backend in (fake_device.fake_backend(), "numpy"):
        model, rng = SequenceClassifier(6, H, 3, backend=backend, rng=1), np.random.default_rng(2)
        tasks.expect_length(model, 9, rng)
        tasks.fit(model, (tasks.recall(rng, 8, 9, 3) for _ in range(2)), 2, 1e-2, "test")
        x, y = tasks.recall(rng, 4, 9, 3)
        inside = trace.gates(model, x)
        norms = trace.gradient_norms(model, model.backend.to_device(x), y)
        seen.append(np.concatenate([np.ravel(part) for part in (*inside, trace.answers(model, inside.c), norms)]))
    assert relative(*seen) < 1e-5
