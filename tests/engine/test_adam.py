"""Adam, its schedules and the clipping, against the published algorithm and another implementation."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import relative

import minigru
from minigru import reference

# Made with torch 2.13.0: w = tensor([1, -2, 3], float64), Adam([w], lr=0.1, betas=(0.8, 0.95), eps=1e-3);
# at step t = 1 … 5, w.grad = sin(w * t) - 0.5, then step(); w after each.
TORCH = [
    [0.900291995539582, -1.900070907028615, 3.099722129592532],
    [0.800448830672401, -1.842966634348839, 3.198795880587744],
    [0.710236524336083, -1.810967724657196, 3.298955073267715],
    [0.666174300406517, -1.747390256560666, 3.369813960187427],
    [0.690954959917391, -1.671002223762834, 3.453458912630236],
]


def quadratic(N, dtype="float64"):
    layer = minigru.Linear(N - 1, 1, dtype=dtype)  # N parameters
    layer.vector[...] = np.arange(N) - 1
    return layer


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 2e-6)])
@pytest.mark.parametrize("betas", [(0.9, 0.999), (0.8, 0.95)])
def test_1200_steps_equal_the_published_recurrence(betas, dtype, tolerance, rng):
    layer = quadratic(5, dtype)
    layer.vector[...] = 0  # so that the parameters are the sum of the steps, and their error is that of the steps
    adam = minigru.Adam(layer, 0.01, *betas, eps=1e-6)
    theta, m, v = np.zeros(5), np.zeros(5), np.zeros(5)
    for t in range(1, 1201):
        gradient = (rng.standard_normal(5) * 10.0 ** rng.integers(-8, 3)).astype(dtype).astype("float64")
        layer.gradient[...] = gradient
        before = layer.vector.astype("float64")
        adam.step()
        step = -theta
        theta, m, v = reference.adam(theta, gradient, m, v, t, 0.01, *betas, eps=1e-6)
        step += theta
        if dtype == "float64" or t <= 3:
            assert np.allclose(layer.vector - before, step, rtol=tolerance, atol=1e-15)
    assert relative(layer.vector, theta) < 10 * tolerance
    assert relative(adam.m, m) < tolerance
    assert relative(adam.v, v) < 10 * tolerance
    assert adam.t == 1200


def test_eps_decides_where_the_gradient_is_tiny():
    layer = quadratic(3, "float32")
    layer.vector[...] = 0
    layer.gradient[...] = 1e-8
    minigru.Adam(layer, lr=1.0).step()
    assert np.allclose(layer.vector, -0.5, rtol=1e-5)  # g / (g + eps), with g = eps


def test_steps_equal_those_of_another_implementation():
    layer = quadratic(3)
    layer.vector[...] = [1, -2, 3]
    adam = minigru.Adam(layer, lr=0.1, beta1=0.8, beta2=0.95, eps=1e-3)
    for t, expected in enumerate(TORCH, start=1):
        layer.gradient[...] = np.sin(layer.vector * t) - 0.5
        adam.step()
        assert np.allclose(layer.vector, expected, rtol=0, atol=2e-15)


def test_first_step_has_the_length_of_the_learning_rate_and_leaves_the_gradient_alone():
    layer = quadratic(4)
    start = layer.vector.copy()
    layer.gradient[...] = [1e-3, -5, 1e4, 0]
    adam = minigru.Adam(layer)
    assert (adam.lr, adam.beta1, adam.beta2, adam.eps, adam.t) == (1e-3, 0.9, 0.999, 1e-8, 0)
    adam.lr = 0.5
    adam.step()
    assert np.allclose(layer.vector - start, [-0.5, 0.5, -0.5, 0], atol=1e-5)
    assert np.array_equal(layer.gradient, [1e-3, -5, 1e4, 0])


def test_schedules():
    assert [minigru.constant(0.1, step, 4) for step in range(4)] == [0.1] * 4
    cosine = [minigru.cosine(0.1, step, 4) for step in range(5)]
    assert cosine == pytest.approx([0.1, 0.05 + 0.05 * 0.5**0.5, 0.05, 0.05 - 0.05 * 0.5**0.5, 0])
    warmup = [minigru.warmup_cosine(0.1, step, 20) for step in (0, 1, 2, 11, 20)]  # two steps of warm-up
    assert warmup == pytest.approx([0.05, 0.1, 0.1, 0.05, 0])
    assert minigru.warmup_cosine(0.1, 3, 9) == minigru.cosine(0.1, 3, 9)  # too short for a step of warm-up


def test_a_rate_assigned_between_steps_is_checked_and_nothing_moves():
    layer = quadratic(3)
    adam = minigru.Adam(layer)
    adam.lr = float("nan")
    before = layer.vector.copy()
    with pytest.raises(ValueError, match=r"^lr is nan"):
        adam.step()
    assert np.array_equal(layer.vector, before)
    assert adam.t == 0


@pytest.mark.parametrize(
    ("lr", "step", "steps", "message"),
    [
        (0.1, 5, 4, "step is 5; expected at most steps, which is 4"),
        (0.1, -1, 4, "step is -1; expected a whole number, at least 0"),
        (0.1, 0, 0, "steps is 0; expected a whole number, at least 1"),
        (0.1, 0.5, 4, "step is 0.5"),
        (-1, 0, 4, "lr is -1; expected a finite number at least 0"),
        (float("nan"), 0, 4, "lr is nan"),
        ("x", 0, 4, "lr is 'x'"),
    ],
)
@pytest.mark.parametrize("schedule", [minigru.constant, minigru.cosine, minigru.warmup_cosine])
def test_schedules_refuse_bad_input(schedule, lr, step, steps, message):
    with pytest.raises(ValueError, match=message):
        schedule(lr, step, steps)


@pytest.mark.parametrize(
    ("gradient", "norm", "clipped"),
    [
        ([3, 0, -4], 10.0, [3, 0, -4]),
        ([3, 0, -4], 2.5, [1.5, 0, -2]),
        ([3, 0, -4], 5.0, [3, 0, -4]),
        ([0] * 3, 1.0, [0] * 3),
        ([3e30, 0, -4e30], 2.5, [1.5, 0, -2]),
        ([-3e38, 0, 0], 2.5, [-2.5, 0, 0]),
        ([3e38, 3e38, 0], 1.0, [0.5**0.5, 0.5**0.5, 0]),
        ([3e-30, 0, 4e-30], 2.5, [3e-30, 0, 4e-30]),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping(gradient, norm, clipped, dtype):
    layer = quadratic(3, dtype)
    layer.gradient[...] = gradient
    found = minigru.clip_by_global_norm(layer, norm)
    length = np.linalg.norm(gradient)
    assert found == (pytest.approx(length, rel=1e-6, abs=1e-12) if length < np.finfo(dtype).max else np.inf)
    assert np.allclose(layer.gradient, clipped, rtol=1e-6, atol=0)


def test_clipping_of_a_gradient_that_is_not_finite_is_silent():
    layer = quadratic(3)
    layer.gradient[...] = [np.inf, 1, -np.inf]
    assert not np.isfinite(minigru.clip_by_global_norm(layer, 1.0))
    assert not np.isfinite(layer.gradient).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": -1}, "lr is -1; expected a finite number at least 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"lr": "1e-3"}, "lr is '1e-3'"),
        ({"lr": float("inf")}, "lr is inf"),
        ({"beta1": 1}, "beta1 is 1; expected a finite number at least 0 and below 1"),
        ({"beta2": -0.1}, "beta2 is -0.1"),
        ({"beta2": 1}, "beta2 is 1; expected a finite number at least 0 and below 1"),
        ({"eps": 0}, "eps is 0; expected a finite number above 0"),
        ({"eps": True}, "eps is True"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        minigru.Adam(quadratic(3), **arguments)
    with pytest.raises(ValueError, match="owner is a list; expected a layer"):
        minigru.Adam([])
    with pytest.raises(ValueError, match="owner is a list; expected a layer"):
        minigru.clip_by_global_norm([], 1.0)
    with pytest.raises(ValueError, match="max_norm is 0"):
        minigru.clip_by_global_norm(quadratic(3), 0)
