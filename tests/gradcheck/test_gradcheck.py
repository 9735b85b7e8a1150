"""The checker itself: it gives known derivatives, and fails a wrong gradient."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from minigru import gradcheck
from minigru.gradcheck import cases

POINT = {"a": np.array([[0.5, -1.0], [2.0, 0.1]]), "b": np.array([1.5])}


def known(arrays):
    return np.sin(arrays["a"]).sum() * arrays["b"][0] ** 2


KNOWN = {"a": np.cos(POINT["a"]) * 1.5**2, "b": np.array([2 * 1.5 * np.sin(POINT["a"]).sum()])}


@pytest.mark.parametrize(("method", "tolerance"), [("central_difference", 1e-9), ("complex_step", 1e-15)])
def test_known_gradient(method, tolerance):
    before = {name: array.copy() for name, array in POINT.items()}
    rows = gradcheck.compare(KNOWN, getattr(gradcheck, method)(known, POINT))
    assert [row.name for row in rows] == ["a", "b"]
    assert all(row.error < tolerance for row in rows)
    assert all(np.array_equal(POINT[name], before[name]) for name in before)


def test_scalars_and_lists_are_differentiated_too():
    assert gradcheck.complex_step(lambda a: a["s"] ** 3, {"s": np.array(2.0)})["s"] == pytest.approx(12, rel=1e-15)
    gradients = gradcheck.complex_step(lambda a: (a["b"] ** 2).sum(), {"b": [1.0, 2.0]})
    assert gradcheck.compare({"b": [2.0, 4.0]}, gradients)[0].error < 1e-15


@pytest.mark.parametrize(("method", "tolerance"), [("central", 1e-7), ("complex", 1e-15)])
def test_known_directional_derivative(method, tolerance):
    direction = {"a": np.array([[1.0, 0.0], [-2.0, 3.0]]), "b": np.array([0.5])}
    expected = sum(np.vdot(KNOWN[name], direction[name]) for name in direction)
    assert gradcheck.directional(known, POINT, direction, method=method) == pytest.approx(expected, rel=tolerance)
    along_b = gradcheck.directional(known, POINT, {"b": np.array([1.0])}, method=method)
    assert along_b == pytest.approx(KNOWN["b"][0], rel=tolerance)
    assert gradcheck.directional(known, POINT, {"b": np.zeros(1)}, method=method) == 0
    assert all(row.error < tolerance for row in along(KNOWN, method))
    missed = along({**KNOWN, "b": np.zeros(1)}, method)[1]
    assert missed.error == pytest.approx(1)


def along(gradients, method="complex"):
    return gradcheck.compare_along(known, POINT, gradients, np.random.default_rng(0), method)


def test_one_wrong_element_is_named_and_found():
    wrong = {**KNOWN, "a": KNOWN["a"].copy()}
    wrong["a"][1, 0] += 0.001
    right, bad = gradcheck.compare(wrong, KNOWN)[::-1]
    assert right.error == 0
    assert (bad.name, bad.index) == ("a", (1, 0))
    assert bad.value - bad.expected == pytest.approx(0.001)
    assert bad.difference == pytest.approx(0.001)
    assert bad.error == pytest.approx(0.001 / np.linalg.norm(wrong["a"]), rel=1e-3)
    assert "[1, 0]  FAILED" in gradcheck.report([bad, right], 1e-8)
    assert [row.name for row in along(wrong) if row.error > 1e-6] == ["a"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_fails(value):
    wrong = {**KNOWN, "b": np.array([value])}
    for row in (gradcheck.compare(wrong, KNOWN)[1], along(wrong)[1]):
        assert row.error == float("inf")
        assert "FAILED" in gradcheck.report([row], 1e-8)


def test_zero_gradients_agree_and_a_missed_one_fails():
    zero = {"a": np.zeros(3)}
    assert gradcheck.compare(zero, zero)[0].error == 0
    for tiny in (1e-20, 1e-170, 1e-300):
        assert gradcheck.compare(zero, {"a": np.full(3, tiny)})[0].error == 1
        one, two = {"a": np.full(3, tiny)}, {"a": np.full(3, 2 * tiny)}
        assert gradcheck.compare(one, two)[0].error == gradcheck.compare(two, one)[0].error == pytest.approx(0.5)


@pytest.mark.parametrize("f", [lambda a: (a["b"].real ** 2).sum(), lambda a: float(np.abs(a["b"]).sum())])
def test_complex_step_refuses_a_function_that_drops_the_imaginary_part(f):
    with pytest.raises(ValueError, match=r"f returned float64 of shape \(\); expected one complex number"):
        gradcheck.complex_step(f, POINT)
    with pytest.raises(ValueError, match="expected one complex number"):
        gradcheck.directional(f, POINT, POINT, method="complex")


def test_report_shows_every_array_and_names_the_oracles_that_it_fails():
    row = gradcheck.compare(KNOWN, KNOWN)[0]
    one = gradcheck.report([row, dataclasses.replace(row, name="b", error=2e-8)], 1e-8).splitlines()
    assert [line.split()[0] for line in one[1:]] == ["a", "b"]
    assert [line.count(f"{row.value:.6g}") for line in one] == [0, 2, 2]
    assert [line.endswith("FAILED") for line in one] == [False, False, True]
    rows = {"first": [dataclasses.replace(row, error=1e-8)], "second": [dataclasses.replace(row, error=2e-8)]}
    for first, second, verdict in ((1e-8, 2e-8, "]"), (9e-9, 2e-8, "FAILED by first"), (0, 0, "by first and second")):
        header, line = gradcheck.report(rows, {"first": first, "second": second}).splitlines()
        assert header.split()[2:4] == ["first", "second"]
        assert line.split()[:3] == ["a", "1.0e-08", "2.0e-08"]
        assert line.endswith(verdict)


def rows(*names):
    return [dataclasses.replace(gradcheck.compare(KNOWN, KNOWN)[0], name=name) for name in names]


TWO, THREE = ({"a": np.ones(n)} for n in (2, 3))
BAD = [
    (lambda: gradcheck.complex_step(known, {"a": np.ones(2, "float32")}), "a has dtype float32; expected float64"),
    (lambda: gradcheck.central_difference(known, POINT, h=0), "h is 0; expected a finite number above 0"),
    (lambda: gradcheck.complex_step(known, POINT, h=-1e-30), "h is -1e-30"),
    (lambda: gradcheck.directional(known, POINT, POINT, h=float("nan")), "h is nan"),
    (lambda: gradcheck.directional(known, POINT, POINT, h=0, method="complex"), "h is 0"),
    (lambda: gradcheck.complex_step(known, {"a": np.ones((0, 2))}), r"a has shape \(0, 2\); expected at least one"),
    (lambda: gradcheck.compare({"a": np.ones(0)}, {"a": np.ones(0)}), r"of a has shape \(0,\); expected at least"),
    (lambda: gradcheck.compare(TWO, {"b": np.ones(2)}), r"are of \['a'\]; expected \['b'\]"),
    (lambda: gradcheck.compare(TWO, THREE), r"of a has shape \(2,\); expected \(3,\)"),
    (lambda: gradcheck.compare({}, {}), "at least one array"),
    (lambda: gradcheck.compare({"a": np.ones(2) * 1j}, TWO), "of a has dtype complex128; expected real"),
    (
        lambda: gradcheck.directional(known, POINT, POINT, method="odd"),
        "method is 'odd'; expected one of 'central', 'complex'",
    ),
    (lambda: gradcheck.central_difference(known, {}), "arrays is empty; expected a mapping of names"),
    (lambda: gradcheck.central_difference(known, {"a": np.array([np.nan])}), "a has shape .* finite"),
    (lambda: gradcheck.central_difference(lambda a: a["b"], POINT), r"f returned float64 of shape \(1,\); expected"),
    (lambda: gradcheck.central_difference(lambda a: 1j, POINT), "f returned complex128 .*; expected one real number"),
    (lambda: gradcheck.directional(known, POINT, {}), "direction is empty"),
    (lambda: gradcheck.directional(known, POINT, {"z": np.ones(1)}), "direction has 'z' of shape"),
    (lambda: gradcheck.directional(known, POINT, {"b": np.ones(2)}), r"direction has 'b' of shape \(2,\)"),
    (lambda: gradcheck.report([], 1e-8), "rows is empty; expected at least one"),
    (lambda: gradcheck.report({"central": rows("a")}, 1e-8), "tolerance is by 'error', rows by 'central'; expected"),
    (lambda: gradcheck.report({"one": rows("a"), "two": rows("a")}, {"one": 1}), "by 'one', rows by 'one', 'two'"),
    (lambda: gradcheck.report(rows("a"), -1), "tolerance is -1; expected a finite number at least 0"),
    (
        lambda: gradcheck.report({"one": rows("a", "b"), "two": rows("a")}, {"one": 1, "two": 1}),
        r"the rows of 'two' are of \['a'\]; expected \['a', 'b'\], as those of 'one'",
    ),
    (lambda: cases.recurrent("lstm", 1, 1, 1, 1), "cell is 'lstm'; expected one of 'gru', 'rnn'"),
    (lambda: cases.recurrent("gru", 1, 1, 1, 0), "H is 0; expected a whole number, at least 1"),
    (lambda: cases.linear(1, 1.5, 1), "D is 1.5; expected a whole number"),
    (lambda: cases.loss(1, 0), "K is 0"),
    (lambda: cases.model("rnn", 1, 1, 1, 1, 0), "K is 0"),
    (lambda: cases.model("rnn", 1, 1, 1, 1, 1, -1), "steps is -1; expected a whole number, at least 0"),
    (lambda: cases.linear(1, 2, 3).engine({"W": np.ones(3), "b": np.ones(3), "x": np.ones((1, 2))}), "W has shape"),
]


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
