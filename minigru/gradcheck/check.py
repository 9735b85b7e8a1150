"""Numerical gradients of any function of named arrays, and the comparison of a hand-written backward pass with them.

Each oracle takes ``f``, a function from a dict of named arrays to one number, and ``arrays``, the point at which to
differentiate: one or more float64 arrays, not empty, all finite. ``f`` must neither keep nor change its argument.
float64 is required because a difference of float32 losses cannot detect an error in a gradient's fourth digit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from ..engine import checks

Arrays: TypeAlias = dict[str, np.ndarray]
Number: TypeAlias = complex | np.number
Function: TypeAlias = Callable[[Arrays], Number]


def central_difference(f: Function, arrays: Arrays, h: float = 1e-5) -> Arrays:
    """Return the gradient of f by (f(x + h) - f(x - h)) / 2h, one element at a time.

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
        There is no array; an array is not float64, not finite or empty; h is not a positive number; or f did not
        return one real number.
    """
    h = checks.number("h", h, 0, above=True)
    return _each_element(arrays, lambda moved: (_real(f(moved(h))) - _real(f(moved(-h)))) / (2 * h))


def complex_step(f: Function, arrays: Arrays, h: float = 1e-30) -> Arrays:
    """Return the gradient of f by Im f(x + ih) / h (Squire & Trapp 1998), exact to rounding: nothing is subtracted.

    f must be analytic and accept complex arrays, as the functions of `minigru.reference` do. If f returns a real
    number, it has dropped the derivative, and a ValueError is raised. Otherwise as `central_difference`.
    """
    h = checks.number("h", h, 0, above=True)
    return _each_element(arrays, lambda moved: _complex(f(moved(1j * h))).imag / h)


def _each_element(arrays: Arrays, derivative: Callable[[Callable[[complex], Arrays]], float]) -> Arrays:
    """For every element, call `derivative` with a function that moves this element alone by a step."""
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
    """Return the derivative of f along one direction, with at most two evaluations of f whatever the sizes.

    Parameters
    ----------
    f, arrays : as for `central_difference`; as for `complex_step` with the method "complex"
    direction : arrays with the names and shapes of `arrays`, or of some of them
    h : step; None means 1e-30 for "complex", and for "central" the step that moves the point by a length of 3e-4
    method : "central" or "complex"

    Returns
    -------
    derivative : sum over all elements of gradient * direction

    Raises
    ------
    ValueError
        As for the two functions; or method is unknown, or direction has other names or shapes.
    """
    arrays, direction = _points(arrays), _points(direction, "direction")
    checks.choice("method", method, ("central", "complex"))
    for name, d in direction.items():
        if name not in arrays or d.shape != arrays[name].shape:
            raise ValueError(f"direction has {name!r} of shape {d.shape}; expected the names and shapes of arrays")

    def along(step: complex) -> Number:
        with np.errstate(over="ignore", invalid="ignore"):  # far from the point; what f returns is checked
            moved = {name: arrays[name] + step * d for name, d in direction.items()}
        return f({**arrays, **moved})

    if method == "complex":
        h = checks.number("h", 1e-30 if h is None else h, 0, above=True)
        return _complex(along(1j * h)).imag / h
    length = _norm(np.array([_norm(d) for d in direction.values()])) or 1.0
    h = checks.number("h", 3e-4 / length if h is None else h, 0, above=True)
    return (_real(along(h)) - _real(along(-h))) / (2 * h)


@dataclass(frozen=True)
class Row:
    """The comparison of one gradient with an oracle's."""

    name: str  # of the array
    error: float  # norm of the difference relative to the larger of the two norms (`compare_along` defines its own)
    difference: float  # largest absolute difference between two elements
    index: tuple[int, ...]  # of these two elements
    value: float  # the element of the checked gradient
    expected: float  # the element of the oracle's gradient


def compare(gradients: Arrays, expected: Arrays) -> list[Row]:
    """Compare named gradients with an oracle's, array by array, in the order of `expected`.

    The error is a ratio of norms, because the elements that are almost zero decide the largest elementwise relative
    error. The error of a gradient that is not finite is infinity.

    Raises
    ------
    ValueError
        The names or the shapes differ, there is no array, or an array is empty or complex.
    """
    gradients, expected = _same_names(gradients, expected)
    return [_row(name, gradients[name], expected[name]) for name in expected]


def _row(name: str, gradient: np.ndarray, expected: np.ndarray) -> Row:
    difference = np.abs(gradient - expected)
    largest = difference.argmax()  # a NaN counts as the largest
    index = tuple(int(i) for i in np.unravel_index(largest, difference.shape))
    error = _relative(_norm(difference), max(_norm(gradient), _norm(expected)))
    return Row(name, error, float(difference[index]), index, float(gradient[index]), float(expected[index]))


def _norm(array: np.ndarray) -> float:
    # Scaled by the largest element, because the squares of tiny elements underflow.
    largest = float(np.abs(array).max())
    return largest * float(np.linalg.norm(array / largest)) if 0 < largest < float("inf") else largest


def _relative(error: float, size: float) -> float:
    return error / (size or 1.0) if np.isfinite(error) and np.isfinite(size) else float("inf")


def compare_along(
    f: Function, arrays: Arrays, gradients: Arrays, rng: np.random.Generator, method: str = "central"
) -> list[Row]:
    """Compare named gradients with the derivative of f along one random direction per array: cheap at any size.

    Along a direction of standard normal numbers, the root mean square of the derivative is the norm of the gradient,
    and that of the derivative's error is the norm of the gradient's error. So the error is relative to the norm of the
    checked gradient, or to the oracle's derivative if that is larger.

    Parameters
    ----------
    f, arrays, method : as for `directional`
    gradients : the gradients to check, the same names and shapes as `arrays`
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


def report(rows: list[Row] | Mapping[str, list[Row]], tolerance: float | Mapping[str, float]) -> str:
    """Return the comparison as a table of one line per array; a line above the tolerance ends with FAILED.

    Parameters
    ----------
    rows : from `compare` or `compare_along`; with several oracles, the rows by the oracle's name. Each oracle has a
        column of errors; the differences and the values are those of the last oracle
    tolerance : largest error that passes; with several oracles, by the oracle's name

    Raises
    ------
    ValueError
        There are no rows; two oracles have rows of other arrays; or a tolerance is missing, or negative or not finite.
    """
    columns = rows if isinstance(rows, Mapping) else {"error": rows}
    limits = tolerance if isinstance(tolerance, Mapping) else {"error": tolerance}
    if not columns or not all(columns.values()):
        raise ValueError("rows is empty; expected at least one")
    if limits.keys() != columns.keys():
        raise ValueError(f"tolerance is by {_names(limits)}, rows by {_names(columns)}; expected the same oracles")
    limits = {oracle: checks.number("tolerance", limit, 0) for oracle, limit in limits.items()}
    arrays = {oracle: [row.name for row in column] for oracle, column in columns.items()}
    first = next(iter(arrays))
    for oracle, names in arrays.items():
        if names != arrays[first]:
            raise ValueError(f"the rows of {oracle!r} are of {names}; expected {arrays[first]}, as those of {first!r}")
    width = max(len("gradient of"), *(len(row.name) for column in columns.values() for row in column))
    lines = [f"{'gradient of':<{width}}" + "".join(f"  {oracle:>7}" for oracle in columns)]
    lines[0] += "  largest difference  checked value      expected  at"
    for line in zip(*columns.values(), strict=True):
        errors, row = "".join(f"  {row.error:7.1e}" for row in line), line[-1]
        failed = [oracle for oracle, row in zip(columns, line, strict=True) if not row.error <= limits[oracle]]
        by = f" by {' and '.join(failed)}" if len(columns) > 1 else ""
        values = f"  {row.difference:18.1e}  {row.value:13.6g}  {row.expected:12.6g}  {list(row.index) or ''}"
        lines.append(f"{row.name:<{width}}{errors}{values}{f'  FAILED{by}' if failed else ''}".rstrip())
    return "\n".join(lines)


def _names(by_oracle: Mapping[str, object]) -> str:
    return ", ".join(map(repr, by_oracle))


def _named(kind: str, arrays: Arrays) -> Arrays:
    """Return the arrays as plain NumPy arrays, after checking that they are a mapping and not empty."""
    if not isinstance(arrays, Mapping) or not arrays:
        came = "empty" if isinstance(arrays, Mapping) else f"a {type(arrays).__name__}"
        raise ValueError(f"{kind} is {came}; expected a mapping of names to at least one array")
    found = {}
    for name, array in arrays.items():
        try:
            found[name] = np.asarray(array)
        except Exception as error:  # an object's own __array__ may raise anything
            raise ValueError(f"{name} is a {type(array).__name__} and not an array") from error
    return found


def _points(arrays: Arrays, kind: str = "arrays") -> Arrays:
    """Return the arrays, after checking that they are float64, finite and not empty."""
    found = _named(kind, arrays)
    for name, array in found.items():
        if array.dtype != np.float64:
            raise ValueError(f"{name} has dtype {array.dtype}; expected float64")
        if array.size == 0 or not np.isfinite(array).all():
            raise ValueError(f"{name} has shape {array.shape}; expected at least one element, all finite")
    return found


def _same_names(gradients: Arrays, expected: Arrays) -> tuple[Arrays, Arrays]:
    checked, oracle = _named("gradients", gradients), _named("expected", expected)
    if checked.keys() != oracle.keys():
        raise ValueError(f"gradients are of {list(checked)}; expected {list(oracle)}")
    for name, array in oracle.items():
        if array.size == 0 or checked[name].shape != array.shape:
            wanted = array.shape if array.size else "at least one element"
            raise ValueError(f"the gradient of {name} has shape {checked[name].shape}; expected {wanted}")
        if checked[name].dtype.kind not in "fiu" or array.dtype.kind not in "fiu":
            raise ValueError(f"the gradient of {name} has dtype {checked[name].dtype}; expected real numbers")
    return checked, oracle


def _real(value: Number) -> float:
    return _scalar(value, np.isrealobj(value), "real number").real


def _complex(value: Number) -> complex:
    return _scalar(value, np.iscomplexobj(value), "complex number: is f analytic, without casts?")


def _scalar(value: Number, right_kind: bool, expected: str) -> complex:
    if np.ndim(value) != 0 or not right_kind:
        raise ValueError(f"f returned {np.asarray(value).dtype} of shape {np.shape(value)}; expected one {expected}")
    return complex(value)
