"""Gradients from the function alone, to hold a hand-written backward pass to.

All of these take ``f``, a function from a dict of named arrays to one number, and ``arrays``, the point at which to
differentiate. ``f`` must not keep or change what it is given. Use float64: a difference of float32 losses cannot tell
a right gradient from one that is wrong in its fourth digit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import checks

Arrays = dict[str, np.ndarray]
Function = Callable[[Arrays], Any]


def central_difference(f: Function, arrays: Arrays, h: float = 1e-5) -> Arrays:
    """Gradient of f by (f(x + h) - f(x - h)) / 2h, one element at a time.

    Parameters
    ----------
    f : function from a dict of arrays to one real number
    arrays : float64 arrays of any shapes
    h : step; 1e-5 balances the error of the formula, O(h^2), with that of the subtraction, O(1e-16 / h)

    Returns
    -------
    gradients : dict of arrays, the same keys and shapes

    Raises
    ------
    ValueError
        An array is not float64, or is empty; h is not a positive number.
    """
    checks.number("h", h, 0, above=True)
    return _each_element(arrays, lambda moved: float(f(moved(h)) - f(moved(-h))) / (2 * h))


def complex_step(f: Function, arrays: Arrays, h: float = 1e-30) -> Arrays:
    """Gradient of f by Im f(x + ih) / h: nothing is subtracted, so that it is exact to rounding (Squire & Trapp 1998).

    f must be analytic and take complex arrays, as the functions of `minigru.reference` do. Parameters, return value
    and errors are those of `central_difference`.
    """
    checks.number("h", h, 0, above=True)
    return _each_element(arrays, lambda moved: complex(f(moved(1j * h))).imag / h)


def _each_element(arrays: Arrays, derivative: Callable[[Callable[[complex], Arrays]], float]) -> Arrays:
    """Call `derivative` for every element with a function that moves this element alone by a step."""
    _check_float64(arrays)
    gradients = {name: np.empty(array.shape) for name, array in arrays.items()}
    for name, array in arrays.items():
        for index in np.ndindex(array.shape):

            def moved(step: complex, name: str = name, index: tuple[int, ...] = index) -> Arrays:
                copy = arrays[name].astype(type(step))
                copy[index] += step
                return {**arrays, name: copy}

            gradients[name][index] = derivative(moved)
    return gradients


def directional(
    f: Function, arrays: Arrays, direction: Arrays, h: float | None = None, method: str = "central"
) -> float:
    """Derivative of f along one direction: two evaluations of f, whatever the sizes.

    Parameters
    ----------
    f, arrays : as for `central_difference`; as for `complex_step` with the method "complex"
    direction : arrays with the names and shapes of `arrays`, or of some of them
    h : step; where it is None, 1e-30 for "complex", and for "central" the one that moves the point by 3e-4 in all
    method : "central" or "complex"

    Returns
    -------
    derivative : sum over all elements of gradient * direction

    Raises
    ------
    ValueError
        An array is not float64 or is empty, h is not positive, method is neither of the two, or direction has other
        names or shapes.
    """
    _check_float64(arrays)
    if h is not None:
        checks.number("h", h, 0, above=True)
    for name, d in direction.items():
        if name not in arrays or np.shape(d) != arrays[name].shape:
            raise ValueError(f"direction has {name!r} of shape {np.shape(d)}; expected the names and shapes of arrays")
    if method not in ("central", "complex"):
        raise ValueError(f"method is {method!r}; expected 'central' or 'complex'")

    def along(step: complex) -> Any:
        return f({**arrays, **{name: arrays[name] + step * d for name, d in direction.items()}})

    if method == "complex":
        h = h or 1e-30
        return complex(along(1j * h)).imag / h
    length = float(np.sqrt(sum(np.vdot(d, d) for d in direction.values())))
    if length == 0:
        return 0.0
    h = h or 3e-4 / length
    return float(along(h) - along(-h)) / (2 * h)


@dataclass(frozen=True)
class Row:
    """How one gradient compares with an oracle's.

    Attributes
    ----------
    name : the array
    error : norm of the difference, relative to the larger of the two norms
    difference : largest absolute difference of two elements
    index : where it is
    value, expected : both elements there, the checked gradient's first
    """

    name: str
    error: float
    difference: float
    index: tuple[int, ...]
    value: float
    expected: float


def compare(gradients: Arrays, expected: Arrays) -> list[Row]:
    """Compare named gradients with an oracle's, array by array, in the order of `expected`.

    The error is a ratio of norms. The largest elementwise relative error, which is often used, says most about the
    elements that are almost zero and least about the gradient. A gradient that is not finite has the error infinity.

    Raises
    ------
    ValueError
        The names or the shapes differ.
    """
    _check_names(gradients, expected)
    return [_row(name, np.asarray(gradients[name]), np.asarray(expected[name])) for name in expected]


def _row(name: str, gradient: np.ndarray, expected: np.ndarray) -> Row:
    difference = np.abs(gradient - expected)
    index = tuple(int(i) for i in np.unravel_index(difference.argmax(), difference.shape))  # a NaN counts as largest
    size = max(np.linalg.norm(gradient), np.linalg.norm(expected))
    error = _relative(float(np.linalg.norm(difference)), float(size))
    return Row(name, error, float(difference[index]), index, float(gradient[index]), float(expected[index]))


def _relative(error: float, size: float) -> float:
    if not np.isfinite(error) or not np.isfinite(size):
        return float("inf")
    return error / size if size > 0 else error


def compare_along(
    f: Function, arrays: Arrays, gradients: Arrays, rng: np.random.Generator, method: str = "central"
) -> list[Row]:
    """Compare named gradients with f itself along one random direction for each array: cheap at any size.

    Along a direction of standard normal numbers, the derivative and its error have in the root mean square the norms
    of the gradient and of its error. So the error reported is relative to the norm of the gradient, as in `compare`.

    Parameters
    ----------
    f, arrays, method : as for `directional`
    gradients : what is checked, the same names and shapes as `arrays`
    rng : draws the directions

    Returns
    -------
    rows : value and expected are the two derivatives; index is empty

    Raises
    ------
    ValueError
        As for `directional` and `compare`.
    """
    _check_names(gradients, arrays)
    rows = []
    for name, array in arrays.items():
        direction = rng.standard_normal(array.shape)
        value = float(np.vdot(gradients[name], direction))
        expected = directional(f, arrays, {name: direction}, method=method)
        error = _relative(abs(value - expected), float(np.linalg.norm(gradients[name])))
        rows.append(Row(name, error, abs(value - expected), (), value, expected))
    return rows


def report(rows: list[Row], tolerance: float) -> str:
    """Return the comparison as a table, a line an array; a line that exceeds `tolerance` ends with FAILED."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'gradient of':<{max(width, 11)}}  {'error':>8}  {'largest difference':>18}  at"]
    for row in rows:
        verdict = "" if row.error <= tolerance else f"  FAILED: {row.value:.6g}, expected {row.expected:.6g}"
        where = "[" + ", ".join(map(str, row.index)) + "]"
        lines.append(f"{row.name:<{max(width, 11)}}  {row.error:8.1e}  {row.difference:18.1e}  {where}{verdict}")
    return "\n".join(lines)


def _check_float64(arrays: Arrays) -> None:
    for name, array in arrays.items():
        if np.size(array) == 0:
            raise ValueError(f"{name} has shape {np.shape(array)}; expected at least one element")
        if np.asarray(array).dtype != np.float64:
            raise ValueError(f"{name} has dtype {np.asarray(array).dtype}; expected float64")


def _check_names(gradients: Arrays, expected: Arrays) -> None:
    if gradients.keys() != expected.keys():
        raise ValueError(f"gradients are of {sorted(gradients)}; expected {sorted(expected)}")
    for name, array in expected.items():
        if np.size(array) == 0:
            raise ValueError(f"the gradient of {name} has shape {np.shape(array)}; expected at least one element")
        if np.shape(gradients[name]) != np.shape(array):
            raise ValueError(
                f"the gradient of {name} has shape {np.shape(gradients[name])}; expected {np.shape(array)}"
            )
