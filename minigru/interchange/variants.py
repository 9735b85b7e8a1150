"""Which GRU is this? Answers for a function, for weights whose layout is not known, and for two functions."""

from __future__ import annotations

from itertools import permutations, product
from typing import Any, NamedTuple

import numpy as np

from .. import reference
from ..engine import checks
from . import probe
from .names import Params, after, keras_layer

SAME_AS = {  # the rows of the table of variants, by the cell of the reference that computes them
    "rnn": ("the plain RNN, (R1)",),
    "gru": (
        "minigru",
        "Cho et al. 2014",
        "Chung et al. 2014",
        "Keras, reset_after=False",
        "ONNX, linear_before_reset=0",
    ),
    "gru_after": ("PyTorch", "cuDNN", "Keras, the default", "ONNX, linear_before_reset=1"),
}
ROUNDING = {"float32": 1e-5, "float64": 1e-10}  # an error below it is rounding; a wrong cell is off by 1e-4 and more
TRIES = 4  # of the probe, with other units and other points


class Finding(NamedTuple):
    """What a function is: a cell of `minigru.reference`, or none of them."""

    cell: str | None  # "rnn", "gru" (reset gate before the product), "gru_after", or None
    error: float  # the smallest error of a cell, relative to the largest answer
    errors: dict[str, float]  # by cell, of those that could be fitted
    ambiguous: bool = False  # one unit, for which the place of the reset gate need not matter


class Layout(NamedTuple):
    """How packed weights of three gates are to be read."""

    order: str  # of the gates: z the update gate, r the reset gate, h the candidate
    update: str  # what the update gate does at 1: "keeps" or "replaces"
    reset: str  # where the reset gate acts: "before" or "after" the product
    error: float  # relative to the largest answer


def identify(step: probe.Step, input_size: int, hidden_size: int, dtype: Any = "float64", rng: int = 0) -> Finding:
    """Return which cell of `minigru.reference` a function computes, from its answers alone.

    No function tells in which direction its update gate was written, nor how many biases were added, because both leave
    the function as it is. `layouts` tells that, given the weights.

    Parameters
    ----------
    step : x (B, D) and the memory (B, H) to the next memory (B, H), arrays of `dtype`; called with any real numbers
    input_size, hidden_size : D and H
    dtype : "float32" or "float64", in which the function computes
    rng : seed of the probe

    Raises
    ------
    ValueError
        A size is not a whole number from 1 up, the dtype is another, or `step` returns no (B, H) array of real numbers.
    """
    D, H = checks.whole("input_size", input_size), checks.whole("hidden_size", hidden_size)
    kind, generator = checks.dtype(dtype), checks.rng(rng)
    limit = ROUNDING[kind.name]
    errors: dict[str, float] = {}
    for _ in range(TRIES):
        units = generator.permutation(H)[: min(2, H)]
        inputs = generator.permutation(D)[: min(2, D)]
        part = _restricted(step, D, H, inputs, units, kind)
        for cell, error in _fits(part, len(inputs), len(units), limit, generator):
            errors[cell] = min(error, errors.get(cell, np.inf))
            if error < limit:
                found = [name for name in errors if errors[name] < limit]
                return Finding(cell, error, errors, H == 1 and "gru" in found)
    return Finding(None, min(errors.values(), default=np.inf), errors)


def _fits(part: probe.Step, D: int, H: int, limit: float, rng: np.random.Generator) -> Any:
    """Yield each cell with the error of its fit, the simplest cell first."""
    start = probe.fit_rnn(part, D, H, rng)
    if start is not None:
        yield "rnn", probe.polish("rnn", start, part, rng, limit / 10)[1]
    gate = probe.fit_gate(part, D, H, rng)
    if gate is None:
        return
    for cell, fit in (("gru", probe.fit_before), ("gru_after", probe.fit_after)):
        start = fit(part, gate, rng)
        if start is not None and all(np.isfinite(array).all() for array in start.values()):
            yield cell, probe.polish(cell, start, part, rng, limit / 10)[1]


def _restricted(step: probe.Step, D: int, H: int, inputs: np.ndarray, units: np.ndarray, dtype: np.dtype) -> probe.Step:
    """Return the function of a few inputs and units; the others are zero."""

    def part(x: np.ndarray, c: np.ndarray) -> np.ndarray:
        whole_x, whole_c = np.zeros((len(x), D), dtype), np.zeros((len(x), H), dtype)
        whole_x[:, inputs], whole_c[:, units] = x, c
        with np.errstate(over="ignore"):
            found = np.asarray(step(whole_x, whole_c))
        if found.shape != (len(x), H) or found.dtype.kind != "f":
            came = f"{found.dtype} {found.shape}"
            raise ValueError(f"step returned {came}; expected the next memory, real numbers ({len(x)}, {H})")
        return found[:, units].astype(np.float64)

    return part


def layouts(step: probe.Step, U: np.ndarray, V: np.ndarray, b: np.ndarray, d: np.ndarray) -> list[Layout]:
    """Return every way to read packed weights as a GRU, with the error of its answers, the best way first.

    Parameters
    ----------
    step : x (B, D) and the memory (B, H) to the next memory (B, H), a GRU with these weights
    U, V : (H, 3 H) and (D, 3 H), the weights of the memory and of the input, one gate after the other
    b, d : (3 H,), the biases that are added to x V and to the memory times U
    """
    rng, H, D = np.random.default_rng(0), len(U), len(V)
    x, c = rng.standard_normal((200, D)).astype(V.dtype), rng.uniform(-1, 1, (200, H)).astype(U.dtype)
    wanted = np.asarray(step(x, c))
    found = []
    for order, update, reset in product(permutations("zrh"), ("keeps", "replaces"), ("before", "after")):
        params = packed(U, V, b, d, "".join(order), update, reset)
        answers = cell_step(params)(x, c)
        error = np.abs(answers - wanted).max() / max(1.0, np.abs(wanted).max())
        found.append(Layout("".join(order), update, reset, float(error)))
    return sorted(found, key=lambda layout: layout.error)


def packed(U: np.ndarray, V: np.ndarray, b: np.ndarray, d: np.ndarray, order: str, update: str, reset: str) -> Params:
    """Return the model of packed weights, read in one way; arguments as for `layouts`."""
    place = {letter: np.split(np.arange(U.shape[1]), 3)[i] for i, letter in enumerate(order)}
    columns = np.concatenate([place[letter] for letter in "zrh"])
    U, V, b, d = (array[..., columns] for array in (U, V, b, d))
    if update == "replaces":  # keras_layer and after expect a gate that keeps, and sigmoid(-z) = 1 - sigmoid(z)
        sign = np.where(np.arange(U.shape[1]) < len(U), -1, 1).astype(U.dtype)
        U, V, b, d = (sign * array for array in (U, V, b, d))
    if reset == "before":
        return keras_layer(U, V, b + d)
    return after(*({k: part for k, part in zip("krc", np.split(a, 3, -1), strict=True)} for a in (U, V, b, d)))


def cell_step(params: Params) -> probe.Step:
    """Return the step of a model that `read` has returned, computed by `minigru.reference`."""
    cell = next(iter(params)).partition(".")[0]
    p = {name.partition(".")[2]: array for name, array in params.items() if name.startswith(f"{cell}.")}

    def step(x: np.ndarray, c: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):  # exp(-z) may overflow; the sigmoid is then 0, as it should be
            return getattr(reference, f"{cell}_cell")(x, c, p)[0]

    return step


def apart(one: probe.Step, other: probe.Step, D: int, H: int, dtype: Any, T: int = 20) -> np.ndarray:
    """Return the largest difference (T,) of two functions after each step of random sequences, from zeros."""
    rng = np.random.default_rng(0)
    states, differences = [np.zeros((64, H), dtype)] * 2, []
    for x in rng.standard_normal((T, 64, D)).astype(dtype):
        states = [np.asarray(step(x, c)) for step, c in zip((one, other), states, strict=True)]
        differences.append(float(np.abs(states[0] - states[1]).max()))
    return np.array(differences)
