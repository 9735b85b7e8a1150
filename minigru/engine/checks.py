"""Argument validation.

Each function returns the valid argument, or raises ValueError with one sentence: its name, what came, what was
expected.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .backend import Array, Backend


LONGEST = 80  # characters of a value in a message


def shown(value: Any, as_text: Callable[[Any], str] = repr) -> str:
    """Return `value` as it stands in a message: one short line, whatever its repr or str does."""
    try:
        text = " ".join(as_text(value).split("\n"))
    except Exception:
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def whole(name: str, value: Any, low: int = 1) -> int:
    """Return `value` as a whole number, at least `low`."""
    try:
        found = operator.index(value)
    except Exception:
        found = low - 1
    if isinstance(value, bool) or found < low:
        raise ValueError(f"{name} is {shown(value)}; expected a whole number, at least {low}")
    return found


def number(name: str, value: Any, low: float, high: float = float("inf"), *, above: bool = False) -> float:
    """Return `value` as a float with low <= value < high (low < value where `above`)."""
    real = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, (bool, np.timedelta64))
    try:
        found = float(value) if real else float("nan")
    except OverflowError:  # a whole number beyond the floats
        found = float("nan")
    if not (low < found < high or (found == low and not above)):
        bounds = f"{'above' if above else 'at least'} {low:g}" + (f" and below {high:g}" if high < float("inf") else "")
        raise ValueError(f"{name} is {shown(value)}; expected a finite number {bounds}")
    return found


def choice(name: str, value: Any, allowed: tuple[str, ...]) -> str:
    """Return `value` if it is one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} is {shown(value)}; expected one of {', '.join(map(repr, allowed))}")
    return value


def dtype(value: Any) -> np.dtype:
    """Return float32 or float64 as a NumPy dtype."""
    try:
        kind = None if value is None else np.dtype(value)  # np.dtype(None) is float64
    except Exception:  # np.dtype asks the value for its attributes, which may raise anything
        kind = None
    if kind not in (np.float32, np.float64):
        raise ValueError(f"dtype is {shown(value)}; expected 'float32' or 'float64'")
    return kind


def rng(value: Any) -> np.random.Generator:
    """Return a NumPy Generator: `value` itself, or one seeded with it."""
    if isinstance(value, np.random.Generator):
        return value
    try:
        return np.random.default_rng(whole("rng", value, 0))
    except ValueError:
        raise ValueError(
            f"rng is {shown(value)}; expected a seed, a whole number from 0 up, or a NumPy Generator"
        ) from None


def reals(name: str, value: Any, shape: tuple[int | str, ...], backend: Backend, dtype: np.dtype) -> Array:
    """Return `value` as an array of the backend: real, of the given shape, finite once it is of `dtype`.

    A letter in `shape` stands for any length from 1 up. An array that is already on the GPU is not checked for finite
    values, because the host would have to wait for the device.
    """
    return _finite(name, _reals(name, value, shape, backend), backend, dtype)


def sequences(
    name: str, value: Any, lengths: Any, shape: tuple[int | str, ...], backend: Backend, dtype: np.dtype
) -> tuple[Array, Array | None]:
    """Return `value` as `reals` does, and where its sequences have ended: (T, B, 1), or None without lengths.

    What stands behind the end of a sequence is not looked at: zeros take its place.

    Parameters
    ----------
    shape : ("T", "B", D) or ("B", "T", D)
    lengths : array_like (B,), whole numbers from 1 to T, or None
    """
    array = _reals(name, value, shape, backend)
    if lengths is None:
        return _finite(name, array, backend, dtype), None
    T, B = (array.shape[shape.index(letter)] for letter in "TB")
    ends = backend.to_host(_integers("lengths", lengths, B, 1, T, backend))
    ended = np.arange(T)[:, None, None] >= ends[:, None]  # (T, B, 1), on the host
    behind = ended if shape[0] == "T" else ended.transpose(1, 0, 2)
    zero = array.dtype.type(0)
    if isinstance(array, np.ndarray):
        array = np.where(behind, zero, array)
    else:
        array = backend.xp.where(backend.to_device(behind), zero, array)
    return _finite(name, array, backend, dtype), backend.to_device(ended)


def weights(name: str, value: Any, B: int, backend: Backend, dtype: np.dtype) -> Array:
    """Return `value` as an array of the backend and of `dtype`: (B,) finite numbers, none of them negative."""
    array = _reals(name, value, (B,), backend)
    if isinstance(array, np.ndarray) and array.min() < 0:  # what is on the GPU is not read, see `reals`
        raise ValueError(f"{name} holds {array.min()}; expected numbers from 0 up")
    return _finite(name, array, backend, dtype).astype(dtype)


def labels(name: str, value: Any, B: int, K: int, backend: Backend) -> Array:
    """Return `value` as an array of the backend: (B,) whole numbers from 0 to K - 1."""
    return backend.to_device(_integers(name, value, B, 0, K - 1, backend))


def _reals(name: str, value: Any, shape: tuple[int | str, ...], backend: Backend) -> Array:
    array = _as_array(name, value, backend, "real numbers")
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {array.dtype}; expected real numbers")
    _check_shape(name, array, shape)
    return array


def _finite(name: str, array: Array, backend: Backend, dtype: np.dtype) -> Array:
    if isinstance(array, np.ndarray) and not _all_finite(array, dtype):
        raise ValueError(f"{name} holds NaN, infinity or a number too large for {dtype}; expected finite numbers")
    return backend.to_device(array)


def _integers(name: str, value: Any, B: int, low: int, high: int, backend: Backend) -> Array:
    expected = f"integers from {low} to {high}"
    array = _as_array(name, value, backend, expected)
    if array.dtype.kind not in "iu":
        raise ValueError(f"{name} has dtype {array.dtype}; expected {expected}")
    _check_shape(name, array, (B,))
    if isinstance(array, np.ndarray) and not (array.min() >= low and array.max() <= high):
        raise ValueError(f"{name} runs from {array.min()} to {array.max()}; expected {expected}")
    return array


def _as_array(name: str, value: Any, backend: Backend, expected: str) -> Array:
    if not issubclass(backend.xp.ndarray, np.ndarray) and isinstance(value, backend.xp.ndarray):
        return value
    if np.ma.is_masked(value):
        raise ValueError(f"{name} is a masked array with masked elements; expected {expected}: fill them first")
    try:
        return np.asarray(value)  # subclasses of ndarray too: a matrix or a masked array computes otherwise
    except Exception as error:  # an object's own __array__ may raise anything
        raise ValueError(
            f"{name} is a {type(value).__name__} and not an array ({shown(error, str)}); expected {expected}"
        ) from None


def _check_shape(name: str, array: Array, shape: tuple[int | str, ...]) -> None:
    if not _fits(tuple(array.shape), shape):
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        free = ", none of them 0" if any(isinstance(want, str) for want in shape) else ""
        raise ValueError(f"{name} has shape {tuple(array.shape)}; expected ({wanted}){free}")


@lru_cache  # on a GPU, the checks are a good part of the host's time for a small step
def _fits(shape: tuple[int, ...], wanted: tuple[int | str, ...]) -> bool:
    return len(shape) == len(wanted) and all(
        length >= 1 and (isinstance(want, str) or length == want) for length, want in zip(shape, wanted, strict=True)
    )


def _all_finite(array: np.ndarray, dtype: np.dtype) -> bool:
    # The sum allocates nothing and is finite for nearly all finite input; only otherwise is each element tested.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum(dtype=dtype)) or np.isfinite(array.astype(dtype)).all())


def flag(name: str, value: Any) -> bool:
    """Return True or False; raise ValueError if `value` is neither."""
    if not isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{name} is {shown(value)}; expected True or False")
    return bool(value)
