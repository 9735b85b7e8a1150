"""Gradients from the function alone, to hold a hand-written backward pass to.

All of these take ``f``, a function from a dict of named arrays to one number, and ``arrays``, the point at which to
differentiate: one float64 array or more, none empty, all finite. ``f`` must not keep or change what it is given. A
difference of float32 losses cannot tell a right gradient from one that is wrong in its fourth digit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..engine import checks

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
        There is no array, one is not float64, not finite or empty; h is not a positive number; f returned no real one.
    """
    checks.number("h", h, 0, above=True)
    return _each_element(arrays, lambda moved: (_real(f(moved(h))) - _real(f(moved(-h)))) / (2 * h))


def complex_step(f: Function, arrays: Arrays, h: float = 1e-30) -> Arrays:
    """Gradient of f by Im f(x + ih) / h: nothing is subtracted, so that it is exact to rounding (Squire & Trapp 1998).

    f must be analytic and take complex arrays, as the functions of `minigru.reference` do; one that returns a real
    number all the same has dropped the derivative, and is refused. Otherwise as `central_difference`.
    """
    checks.number("h", h, 0, above=True)
    return _each_element(arrays, lambda moved: _complex(f(moved(1j * h))).imag / h)


def _each_element(arrays: Arrays, derivative: Callable[[Callable[[complex], Arrays]], float]) -> Arrays:
    """Call `derivative` for every element with a function that moves this element alone by a step."""
    arrays = _points(arrays)
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
        As for the two functions; method is neither of the two, or direction has other names or shapes.
    """
    arrays, direction = _points(arrays), _points(direction, "direction")
    if h is not None:
        checks.number("h", h, 0, above=True)
    checks.choice("method", method, ("central", "complex"))
    for name, d in direction.items():
        if name not in arrays or d.shape != arrays[name].shape:
            raise ValueError(f"direction has {name!r} of shape {d.shape}; expected the names and shapes of arrays")

    def along(step: complex) -> Any:
        return f({**arrays, **{name: arrays[name] + step * d for name, d in direction.items()}})

    if method == "complex":
        h = h or 1e-30
        return _complex(along(1j * h)).imag / h
    length = float(np.sqrt(sum(np.vdot(d, d) for d in direction.values())))
    if length == 0:
        return 0.0
    h = h or 3e-4 / length
    return (_real(along(h)) - _real(along(-h))) / (2 * h)


@dataclass(frozen=True)
class Row:
    """How one gradient compares with an oracle's.

    Attributes
    ----------
    name : the array
    error : norm of the difference, relative to the larger of the two norms; `compare_along` has one of its own
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
        The names or the shapes differ, there is no array, or one is empty or complex.
    """
    gradients, expected = _same_names(gradients, expected)
    return [_row(name, gradients[name], expected[name]) for name in expected]


def _row(name: str, gradient: np.ndarray, expected: np.ndarray) -> Row:
    difference = np.abs(gradient - expected)
    index = tuple(int(i) for i in np.unravel_index(difference.argmax(), difference.shape))  # a NaN counts as largest
    error = _relative(_norm(difference), max(_norm(gradient), _norm(expected)))
    return Row(name, error, float(difference[index]), index, float(gradient[index]), float(expected[index]))


def _norm(array: np.ndarray) -> float:
    # Scaled by its largest element, so that the squares of tiny gradients do not vanish.
    largest = float(np.abs(array).max())
    return largest * float(np.linalg.norm(array / largest)) if 0 < largest < float("inf") else largest


def _relative(error: float, size: float) -> float:
    if not np.isfinite(error) or not np.isfinite(size):
        return float("inf")
    return error / size if size > 0 else error


def compare_along(
    f: Function, arrays: Arrays, gradients: Arrays, rng: np.random.Generator, method: str = "central"
) -> list[Row]:
    """Compare named gradients with f itself along one random direction for each array: cheap at any size.

    Along a direction of standard normal numbers, the derivative and its error have in the root mean square the norms
    of the gradient and of its error. So the error is relative to the norm of the checked gradient, or to the oracle's
    derivative where that is larger.

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
    gradients, arrays = _same_names(gradients, arrays)
    rows = []
    for name, array in arrays.items():
        direction = rng.standard_normal(array.shape)
        value = float(np.vdot(gradients[name], direction))
        expected = directional(f, arrays, {name: direction}, method=method)
        error = _relative(abs(value - expected), max(_norm(gradients[name]), abs(expected)))
        rows.append(Row(name, error, abs(value - expected), (), value, expected))
    return rows


def report(rows: list[Row], tolerance: float) -> str:
    """Return the comparison as a table, a line an array; a line that exceeds `tolerance` ends with FAILED.

    Raises
    ------
    ValueError
        There are no rows.
    """
    if not rows:
        raise ValueError("rows is empty; expected at least one")
    width = max(len("gradient of"), *(len(row.name) for row in rows))
    lines = [f"{'gradient of':<{width}}    error  largest difference  checked value     expected  at"]
    for row in rows:
        verdict = "" if row.error <= tolerance else "  FAILED"
        lines.append(
            f"{row.name:<{width}}  {row.error:7.1e}  {row.difference:18.1e}  {row.value:13.6g}  {row.expected:11.6g}  "
            f"{list(row.index)}{verdict}"
        )
    return "\n".join(lines)


def _points(arrays: Arrays, kind: str = "arrays") -> Arrays:
    """Return the arrays as float64, once they are known to be that."""
    if not arrays:
        raise ValueError(f"{kind} is empty; expected at least one named array")
    found = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in found.items():
        if array.dtype != np.float64:
            raise ValueError(f"{name} has dtype {array.dtype}; expected float64")
        if array.size == 0 or not np.isfinite(array).all():
            raise ValueError(f"{name} has shape {array.shape}; expected at least one element, and finite ones")
    return found


def _same_names(gradients: Arrays, expected: Arrays) -> tuple[Arrays, Arrays]:
    if not expected or gradients.keys() != expected.keys():
        raise ValueError(f"gradients are of {sorted(gradients)}; expected {sorted(expected) or 'at least one array'}")
    checked = {name: np.asarray(gradients[name]) for name in expected}
    oracle = {name: np.asarray(array) for name, array in expected.items()}
    for name, array in oracle.items():
        if array.size == 0 or checked[name].shape != array.shape:
            wanted = array.shape if array.size else "at least one element"
            raise ValueError(f"the gradient of {name} has shape {checked[name].shape}; expected {wanted}")
        if checked[name].dtype.kind not in "fiu" or array.dtype.kind not in "fiu":
            raise ValueError(f"the gradient of {name} has dtype {checked[name].dtype}; expected real numbers")
    return checked, oracle


def _real(value: Any) -> float:
    if np.ndim(value) != 0 or np.iscomplexobj(value):
        raise ValueError(f"f returned {_kind(value)}; expected one real number")
    return float(value)


def _complex(value: Any) -> complex:
    if np.ndim(value) != 0 or not np.iscomplexobj(value):
        raise ValueError(f"f returned {_kind(value)}; expected one complex number: is f analytic, without casts?")
    return complex(value)


def _kind(value: Any) -> str:
    return f"{np.asarray(value).dtype} of shape {np.shape(value)}"
