"""Grade a function of a notebook, or of a Python session."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from .. import reference
from .catalogue import exercises
from .report import grade


def check(name: str, function: Callable[..., Any]) -> bool:
    """Grade `function` as the solution of an exercise, print the report, and return whether all is right.

    Parameters
    ----------
    name : of an exercise, such as "G3"; ``python -m minigru.exercises`` lists them
    function : the reader's function, defined in a file or in a cell of a notebook

    Raises
    ------
    ValueError
        There is no exercise of this name, or `function` is not a function with a source text.
    """
    if name not in exercises():
        raise ValueError(f"{name!r} is not an exercise; expected one of {', '.join(exercises())}")
    try:
        (lines, first), path = inspect.getsourcelines(function), inspect.getfile(function)
    except (OSError, TypeError):
        raise ValueError(f"{function!r} has no source text; expected a function defined in a cell or a file") from None
    text = "\n" * (first - 1) + textwrap.dedent("".join(lines))  # the numbers of the lines are those of the cell
    report = grade(exercises()[name], text, path, {**vars(reference), **function.__globals__})
    print("\n".join([*report.lines(), f"{name} is right." if report.right else f"{name} is not right yet."]))
    return report.right
