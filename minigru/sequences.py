"""Sequences of one length, an array (n, T, D), or of several, a list of arrays (T_i, D): validation and batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_array

Sequences = np.ndarray | list[np.ndarray]


def are_sequences(X: Any) -> bool:
    """Whether X is (n, T, D), or a list of sequences (T_i, D), and not a table of rows."""
    if isinstance(X, (list, tuple)):
        return len(X) > 0 and len(_shape(0, X[0])) == 2
    return _ndim(X) == 3


def check_rows(X: Any) -> None:
    """Raise ValueError if X holds rows of several lengths, which are no table."""
    advice = "pass sequences of several lengths as a list of arrays (T_i, D), with D = 1 for series of numbers"
    if isinstance(X, (list, tuple)) and len(lengths := {np.size(row) for row in X}) > 1:
        raise ValueError(f"X is a list of rows of {min(lengths)} to {max(lengths)} numbers; {advice}")
    if _ndim(X) == 1 and getattr(X, "dtype", None) == np.dtype(object):
        raise ValueError(f"X is an array of {len(X)} objects; {advice}")


def check_sequences(X: Any, dtype: Any) -> Sequences:
    """Return X as an array (n, T, D) where all sequences have one length, else as a list of arrays (T_i, D).

    Parameters
    ----------
    X : array_like (n, T, D), or a list of n array_like (T_i, D), finite real numbers
    dtype : as in scikit-learn's ``check_array``

    Raises
    ------
    ValueError
        A sequence has another D than the first, no step or no element, or is not real or not finite.
    """
    if not isinstance(X, (list, tuple)):
        X = check_array(X, dtype=dtype, allow_nd=True, input_name="X")
        if 0 in X.shape:
            raise ValueError(f"X has shape {X.shape}; expected (n, T, D), none of them 0")
        return X
    shapes = [_shape(i, sequence) for i, sequence in enumerate(X)]
    D = shapes[0][1]
    for i, shape in enumerate(shapes):
        if len(shape) != 2 or shape[1] != D or 0 in shape:
            raise ValueError(f"X[{i}] has shape {shape}; expected (T_i, {D or 'D'}) as all of X, none of them 0")
    steps = check_array(np.concatenate(X), dtype=dtype, input_name="X")  # all steps at once: many are short
    lengths = [T for T, _ in shapes]
    return steps.reshape(len(X), -1, D) if len({*lengths}) == 1 else np.split(steps, np.cumsum(lengths)[:-1])


def take(X: Sequences, rows: np.ndarray) -> Sequences:
    """Return some of the sequences, in the order of `rows`."""
    return X[rows] if isinstance(X, np.ndarray) else [X[i] for i in rows]


def batch(X: Sequences, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
    """Return x (B, T, D), padded with zeros to the longest of these sequences, and their lengths (B,).

    The lengths are None where all are T: the engine then has nothing to close.
    """
    sequences = take(X, rows)
    if isinstance(sequences, np.ndarray):
        return sequences, None
    lengths = np.array([len(sequence) for sequence in sequences])
    x = np.zeros((len(rows), lengths.max(), sequences[0].shape[1]), sequences[0].dtype)
    for padded, sequence in zip(x, sequences, strict=True):
        padded[: len(sequence)] = sequence
    return x, (lengths if lengths.min() < lengths.max() else None)


def _shape(i: int, sequence: Any) -> tuple[int, ...]:
    try:
        return np.shape(sequence)
    except ValueError:  # NumPy's message does not say which sequence
        raise ValueError(f"X[{i}] has steps of several lengths; expected an array (T_i, D)") from None


def _ndim(X: Any) -> int:
    return X.ndim if hasattr(X, "ndim") else np.asarray(X).ndim  # a sparse matrix is an object to NumPy
