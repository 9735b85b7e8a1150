"""Recall of the first symbol: what is printed is what was measured and drawn, and a GRU learns where an RNN fails."""

from __future__ import annotations

import argparse
import re

import numpy as np
import pytest
import vanishing_gradient

from minigru.plots import story as story_plots


def options(**changes):
    return argparse.Namespace(**{"seed": 0, "hidden_size": 16, "backend": "numpy", "curriculum": False, **changes})


def test_what_is_printed_is_what_is_drawn(call, drawn, tmp_path):
    given = drawn(story_plots, "vanishing")
    status, out, _ = call(
        vanishing_gradient, "--lengths", 4, 28, "--steps", 30, "--hidden-size", 8, "--seed", 1, "--out", tmp_path
    )
    assert status == 0
    norms, accuracy, chance = given[0]
    assert (chance, list(accuracy), list(norms)) == (12.5, list(vanishing_gradient.NAMES), [28])
    rows = re.findall(r"^ +(4|28)((?: +[\d.]+){4})$", out, re.MULTILINE)
    shown = {int(T): [float(value) for value in values.split()] for T, values in rows}
    assert list(shown) == [4, 28]
    for T, values in shown.items():
        assert values == pytest.approx([curve[T] for curve in accuracy.values()], abs=0.051)
    for name, pair in norms[28].items():
        numbers = re.search(rf"^ +28  {re.escape(name)} +(\S+) +(\S+)$", out, re.MULTILINE).groups()
        assert [float(n) for n in numbers] == pytest.approx([norm[1] / norm[28] for norm in pair], rel=0.06)


def test_reach_is_relative_to_the_last_step_and_98_percent_is_learned():
    assert vanishing_gradient.reach(np.array([9.0, 2, 3, 4])) == 0.5  # the memory after one step, not before it
    accuracy = {"a": {5: 97.9, 9: 100.0}, "b": {5: 98.0, 9: 10.0}}
    assert [vanishing_gradient.learners(accuracy, T) for T in (5, 9)] == [["b"], ["a"]]


def test_the_four_models_differ_in_one_initial_parameter():
    rnn, orthogonal, plain, timed = (vanishing_gradient.start(n, 50, options()) for n in vanishing_gradient.NAMES)
    W = orthogonal.params["rnn.W_a"]
    assert W[:16].T @ W[:16] == pytest.approx(np.eye(16), abs=1e-5)
    assert np.array_equal(W[16:], rnn.params["rnn.W_a"][16:])
    assert vanishing_gradient.radius(orthogonal) == pytest.approx(1, abs=1e-5)
    assert 0.4 < vanishing_gradient.radius(rnn) < 0.9
    assert (plain.params["gru.b_u"] == -1).all()
    assert np.ptp(timed.params["gru.b_u"]) > 1
    for one, other, name in ((rnn, orthogonal, "rnn.W_a"), (plain, timed, "gru.b_u")):
        assert [n for n in one.params if not np.array_equal(one.params[n], other.params[n])] == [name]


def test_at_t_50_the_gradient_of_the_rnn_vanishes_and_that_of_the_gru_does_not():
    names = vanishing_gradient.RNN, vanishing_gradient.TIMED
    (rnn, rnn_norms), (gru, gru_norms) = (
        vanishing_gradient.measure(name, 50, options(steps=350, lr=1e-2)) for name in names
    )
    assert rnn < 60
    assert gru >= 98
    assert rnn_norms[0][1] / rnn_norms[0][-1] < 1e-8
    assert gru_norms[0][1] / gru_norms[0][-1] > 1e-2
    assert gru_norms[1][1] / gru_norms[1][-1] > 1e-1


def test_batches_are_the_same_for_every_model_and_a_curriculum_grows_to_the_whole_length():
    first, second = (vanishing_gradient.batches(5, options(steps=10)) for _ in range(2))
    assert all(np.array_equal(a, b) for _ in range(3) for a, b in zip(next(first), next(second), strict=True))
    batches = vanishing_gradient.batches(20, options(steps=10, curriculum=True))
    assert [next(batches)[0].shape[1] for _ in range(10)] == [3, 6, 9, 12, 15, 18, 20, 20, 20, 20]
