"""What is shown of the inside of a model is what the engine computes."""

from __future__ import annotations

import fake_device
import numpy as np
import pytest
from helpers import randomise, relative

from minigru import SequenceClassifier
from minigru.experiments import tasks, trace

B, T, D, H, K = 3, 7, 4, 5, 3


def model(cell, rng, dtype="float64"):
    made = SequenceClassifier(D, H, K, cell, dtype=dtype, rng=rng)
    randomise(made, rng)
    return made, rng.standard_normal((B, T, D)), rng.integers(K, size=B)


def test_gates_and_memory_are_those_of_the_engine(rng):
    made, x, _ = model("gru", rng)
    seen = trace.gates(made, x)
    states = made.cell.forward(x.swapaxes(0, 1)).swapaxes(0, 1)
    assert relative(seen.c, states) < 1e-14
    before = np.concatenate([np.zeros((B, 1, H)), states[:, :-1]], axis=1)
    assert relative(seen.gamma_u * seen.c_tilde + (1 - seen.gamma_u) * before, states) < 1e-14
    z_u, z_r = (
        np.concatenate([before, x], axis=2) @ made.params[f"gru.W_{g}"] + made.params[f"gru.b_{g}"] for g in "ur"
    )
    assert relative(seen.gamma_u, 1 / (1 + np.exp(-z_u))) < 1e-14
    assert relative(seen.gamma_r, 1 / (1 + np.exp(-z_r))) < 1e-14


def test_reading_goes_on_from_a_memory(rng):
    made, x, _ = model("gru", rng)
    whole = trace.gates(made, x)
    rest = trace.gates(made, x[:, 3:], whole.c[:, 2])
    assert all(np.array_equal(part, all_[:, 3:]) for part, all_ in zip(rest, whole, strict=True))


def test_a_gate_that_is_shut_for_good_is_zero_without_a_warning(rng, recwarn):
    made, x, _ = model("gru", rng)
    made.params["gru.b_u"][...] = -1e6
    assert (trace.gates(made, x).gamma_u == 0).all()
    assert not recwarn.list


def test_the_answer_after_every_row_is_that_of_a_model_that_stops_there(rng):
    made, x, _ = model("gru", rng)
    answers = trace.answers(made, trace.gates(made, x).c)
    for t in range(T):
        assert relative(answers[:, t], made.predict_proba(x[:, : t + 1])) < 1e-12


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_gradient_norms_are_those_of_the_engine_started_at_every_step(cell, rng):
    made, x, y = model(cell, rng)
    norms = trace.gradient_norms(made, x, y)
    time_major = x.swapaxes(0, 1)
    states = made.cell.forward(time_major).copy()
    made.loss(x, y)
    dlast = made.linear.backward(made.criterion.backward()).copy()
    assert norms[T] == pytest.approx(np.linalg.norm(dlast), rel=1e-12)
    for t in range(T):
        made.cell.forward(time_major[t:], states[t - 1] if t else None)
        _, dc = made.cell.backward(dlast)
        assert norms[t] == pytest.approx(np.linalg.norm(dc), rel=1e-12)
    assert len(norms) == T + 1


def test_the_gradient_of_one_rnn_unit_is_the_product_of_its_slopes():
    made = SequenceClassifier(1, 1, 2, "rnn", dtype="float64", rng=0)
    made.params["rnn.W_a"][...] = [[0.5], [0.0]]
    norms = trace.gradient_norms(made, np.zeros((1, 40, 1)), [1])  # a stays 0, where the slope of tanh is 1
    assert norms[:-1] / norms[1:] == pytest.approx(np.full(40, 0.5))


def test_784_steps_do_not_end_in_zero(rng):
    made = SequenceClassifier(D, H, K, rng=rng)
    norms = trace.gradient_norms(made, rng.standard_normal((2, 784, D)), [0, 1])
    assert 0 < norms[0] < 1e-60 * norms[-1]


def test_a_model_of_float32_is_traced_with_its_own_numbers(rng):
    made, x, _ = model("gru", rng, "float32")
    assert relative(trace.answers(made, trace.gates(made, x).c[:, -1]), made.predict_proba(x)) < 1e-5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: trace.gates(m, x[0]), r"x has shape \(7, 4\); expected \(B, T, 4\)"),
        (lambda m, x: trace.gates(m, x * np.nan), "x holds NaN"),
        (lambda m, x: trace.gradient_norms(m, x, [0, 1, K]), "y runs from 0 to 3; expected integers from 0 to 2"),
        (lambda m, x: trace.gates(SequenceClassifier(D, H, K, "rnn"), x), "plain RNN, which has no gates"),
    ],
)
def test_bad_input_is_named(call, message, rng):
    made, x, _ = model("gru", rng)
    with pytest.raises(ValueError, match=message):
        call(made, x)


def test_a_model_on_a_device_is_trained_and_traced_like_one_on_the_host():
    seen = []
    for backend in (fake_device.fake_backend(), "numpy"):
        made, rng = SequenceClassifier(6, H, 3, backend=backend, rng=1), np.random.default_rng(2)
        tasks.expect_length(made, 9, rng)
        tasks.fit(made, (tasks.recall(rng, 8, 9, 3) for _ in range(5)), 5, 1e-2, "test")
        x, y = tasks.recall(rng, 4, 9, 3)
        inside = trace.gates(made, x)
        norms = trace.gradient_norms(made, made.backend.to_device(x), y)
        seen.append(np.concatenate([np.ravel(part) for part in (*inside, trace.answers(made, inside.c), norms)]))
    assert relative(*seen) < 1e-5
