"""What is said of a solution: one verdict for each name, or one sentence if it cannot be graded."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from typing import Any

import numpy as np

TOLERANCE = 1e-12


class Unfinished(Exception):
    """A solution that cannot be graded; the message says why, in one sentence."""


class Stopped(Exception):
    """The reader's code raised its cause; `verdicts` are those on the names before."""

    def __init__(self, verdicts: list[Verdict]) -> None:
        self.verdicts = verdicts


@dataclass(frozen=True)
class Verdict:
    """One graded name."""

    name: str
    right: bool
    says: str  # the rest of a sentence that begins with the name
    slip: str | None = None  # "without the factor `gamma_r`": the value is what one gets so

    def __str__(self) -> str:
        return f"{self.name} {self.says}" + (f"; it is what one gets {self.slip}." if self.slip else ".")


def wrong(name: str, value: Any, expected: Any, slip: str | None = None) -> Verdict | None:
    """Return the verdict on a wrong value, or None if it is right."""
    expected = np.asarray(expected)
    if value is ...:
        return Verdict(name, False, "is not filled in yet")
    if value is None:
        return Verdict(name, False, "is None; expected an array")
    array = _array(value)
    if array is None:
        return Verdict(name, False, f"is a {type(value).__name__}; expected an array of shape {expected.shape}")
    if array.shape != expected.shape:
        return Verdict(name, False, f"is wrong: its shape is {array.shape}, expected {expected.shape}", slip)
    if expected.dtype.kind in "iu":  # a number of something
        return None if array == expected else Verdict(name, False, f"is {array}, expected {expected}")
    if not np.isfinite(array).all():
        return Verdict(name, False, "is wrong: it has NaN or infinity", slip)
    error = relative_error(array, expected)
    if error <= TOLERANCE:
        return None
    if not array.any():
        return Verdict(name, False, "is wrong: it is zero everywhere")
    multiple = "" if slip else _multiple(array, expected)
    return Verdict(name, False, f"is wrong: relative error {error:.1g}{multiple}", slip)


def right_by(name: str, error: float) -> Verdict:
    """Return the verdict on a right value."""
    return Verdict(name, True, f"is right ({f'{error:.0e}' if error else 'exactly'})")


def named(value: Any, names: tuple[str, ...], function: str) -> dict[str, Any]:
    """Return the outputs of a function by name.

    Raises
    ------
    Unfinished
        There are fewer or more.
    """
    values = value if isinstance(value, tuple) else (value,) * (len(names) if value is ... else 1)
    if len(values) != len(names):
        raise Unfinished(f"the function {function} returned {_shown(value)}; expected {', '.join(names)}")
    return dict(zip(names, values, strict=True))


def _shown(value: Any) -> str:
    return f"{len(value)} values" if isinstance(value, tuple) else f"one value of type {type(value).__name__}"


def relative_error(value: Any, expected: Any) -> float:
    """Return the norm of the difference relative to the larger norm; infinity if the shapes differ."""
    value, expected = _array(value), _array(expected)
    if value is None or expected is None or value.shape != expected.shape:
        return np.inf
    size = max(np.linalg.norm(value), np.linalg.norm(expected))
    return float(np.linalg.norm(value - expected) / size) if size else 0.0


def _array(value: Any) -> np.ndarray | None:
    """Return a value as an array of numbers, or None if it is something else."""
    try:
        array = np.asarray(value)
    except Exception:  # an object's own __array__ may raise anything
        return None
    return array if array.dtype.kind in "fiuc" else None


def _multiple(array: np.ndarray, expected: np.ndarray) -> str:
    """Say so if a value is a multiple of what was expected."""
    factor = np.vdot(expected, array) / (np.vdot(expected, expected) or 1)
    if relative_error(array, factor * expected) > TOLERANCE:
        return ""
    return "; the sign is wrong" if abs(factor + 1) < TOLERANCE else f"; it is {factor.real:.6g} times the right value"


def own_traceback(error: BaseException, path: str) -> str:
    """Return the traceback of an error without the frames that are not in the file `path`."""
    whole = traceback.TracebackException.from_exception(error)
    whole.stack = traceback.StackSummary.from_list([frame for frame in whole.stack if frame.filename == path])
    whole.__cause__ = whole.__context__ = None
    return "".join(whole.format()).rstrip()
