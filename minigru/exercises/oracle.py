"""The complex step on a function of the reader's: a forward pass by its derivative, a backward pass by its value."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import reference
from .inputs import SIZES, arguments, gradients
from .source import FUNCTIONS
from .verdicts import TOLERANCE, Verdict, relative_error

NAME = "The complex step"


def by_complex_step(function: str, own: Callable[..., Any]) -> list[Verdict]:
    """Return the verdict of the complex step on the reader's function; none where a function has no backward pass."""
    backward = function if function.endswith("_backward") else f"{function}_backward"
    if backward not in FUNCTIONS:
        return []
    whole = function == "_sequence_backward"
    forward = "gru_forward" if whole else backward.removesuffix("_backward")
    given = arguments(forward, SIZES[0])
    *outs, cache = getattr(reference, forward)(**given)
    rng = np.random.default_rng(1)
    douts = [rng.standard_normal(np.shape(out)) if np.ndim(out) else np.ones(()) for out in outs]
    upward = [*([reference.gru_cell_backward] if whole else []), *(dout for dout in douts if dout.ndim), cache]
    theirs = getattr(reference, backward)
    try:
        if function == backward:
            found, expected = own(*copy.deepcopy(upward)), gradients(getattr(reference, forward), given, douts)
        else:
            found, expected = theirs(*upward), gradients(own, given, douts)
    except ValueError as error:
        return [Verdict(NAME, False, f"cannot be used: {error}")]
    results = found if isinstance(found, tuple) else (found,)
    errors: dict[str, float] = {}
    for name, value in zip(inspect.signature(getattr(reference, forward)).parameters, results, strict=False):
        named = value if isinstance(value, dict) else {name: value}
        errors |= {key: relative_error(gradient, expected[key]) for key, gradient in named.items()}
    wrong = [name for name, error in errors.items() if not error <= TOLERANCE]
    if wrong:
        return [Verdict(NAME, False, f"gives other gradients of {', '.join(wrong)}")]
    return [Verdict(NAME, True, f"agrees about {', '.join(errors)} (largest error {max(errors.values()):.0e})")]
