"""Random arguments for the functions of `minigru.reference`, in the shapes that their docstrings give."""

from __future__ import annotations

import copy
import inspect
import re
from typing import Any

import numpy as np

from .. import reference
from ..gradcheck import complex_step

SIZES = [  # all different in the first, so that a wrong shape shows
    {"T": 2, "B": 3, "D": 4, "H": 5, "K": 7},
    {"T": 4, "B": 1, "D": 2, "H": 3, "K": 2},
    {"T": 3, "B": 5, "D": 5, "H": 5, "K": 5},
]
SHAPE = r"(\((?:in|out|[TBDHK1 +,])+,(?:in|out|[TBDHK1 +,])*\))"
ONE = re.compile(r"(?<!`)\b(\w+)(?: :)? " + SHAPE)
PARAMETERS = re.compile(r"((?:``\w+``(?:, | and )?)+)\s*(?:of shape )?" + SHAPE)


def shapes(text: str, size: dict[str, int]) -> tuple[dict[str, tuple[int, ...]], dict[str, tuple[int, ...]]]:
    """Return the shapes of the arguments and of the parameters that a docstring gives, by name."""

    def shape(written: str) -> tuple[int, ...]:
        return eval(re.sub(r"\bout\b", "K", re.sub(r"\bin\b", "D", written)), {}, dict(size))

    arguments = {name: shape(written) for name, written in ONE.findall(text)}
    parameters = {
        name: shape(written) for group, written in PARAMETERS.findall(text) for name in re.findall(r"\w+", group)
    }
    return arguments, parameters


def arguments(function: str, size: dict[str, int], seed: int = 0) -> dict[str, Any]:
    """Return random arguments for a function of the reference, by name, without those that may be left out.

    The backward pass gets the cache of its forward pass. An argument of no written shape is (B, H).

    Raises
    ------
    KeyError
        The backward pass has no forward pass of the same name.
    """
    rng = np.random.default_rng(seed)
    if function == "_sequence_backward":
        _, caches = reference.gru_forward(**arguments("gru_forward", size, seed))
        dstates = rng.standard_normal((size["T"], size["B"], size["H"]))
        return {"cell_backward": reference.gru_cell_backward, "dstates": dstates, "caches": caches}
    if function.endswith("_backward"):
        forward = function.removesuffix("_backward")
        *outs, cache = getattr(reference, forward)(**arguments(forward, size, seed))
        names = [*inspect.signature(getattr(reference, function)).parameters]
        given = [rng.standard_normal(np.shape(out)) for out in outs]
        return dict(zip(names, [*given, cache][-len(names) :], strict=True))
    doc = inspect.getdoc(getattr(reference, function)) or ""
    given_shapes, parameters = shapes(doc, size)
    if not parameters and function.endswith("_forward"):  # its cell says what the parameters are
        parameters = shapes(inspect.getdoc(getattr(reference, function.replace("forward", "cell"))) or "", size)[1]
    drawn: dict[str, Any] = {}
    for name, parameter in inspect.signature(getattr(reference, function)).parameters.items():
        shape = given_shapes.get(name, (size["B"], size["H"]))
        if name == "p":
            drawn[name] = {key: rng.standard_normal(shape) for key, shape in parameters.items()}
        elif name == "labels":
            drawn[name] = rng.integers(size["K"], size=shape)
        elif name == "inside":
            drawn[name] = (np.arange(shape[0])[:, None] % 3 < 2).astype(float)
        elif name == "t":
            drawn[name] = 3
        elif name in ("v", "w"):  # a mean of squares, and weights
            drawn[name] = rng.uniform(0.5, 2, shape)
        elif parameter.default is inspect.Parameter.empty:
            drawn[name] = rng.standard_normal(shape)
    return drawn


def gradients(forward: Any, given: dict[str, Any], douts: list[Any]) -> dict[str, np.ndarray]:
    """Return the gradients of sum(outs * douts) by the complex step, for every array of real numbers of `given`.

    `forward` gets the arguments and returns its outputs and a cache; the parameters count under their own names.

    Raises
    ------
    ValueError
        The function is not analytic.
    """
    p = given.get("p", {})
    arrays = {name: a for name, a in {**given, **p}.items() if np.asarray(a).dtype == float and name != "inside"}

    def loss(moved: dict[str, np.ndarray]) -> Any:
        changed = {name: moved.get(name, value) for name, value in copy.deepcopy(given).items()}
        if p:
            changed["p"] = {name: moved[name] for name in p}
        *outs, _ = forward(**changed)
        return sum((out * dout).sum() for out, dout in zip(outs, douts, strict=True))

    return complex_step(loss, arrays)
