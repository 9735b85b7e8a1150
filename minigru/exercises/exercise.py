"""What an exercise is, and how the file of a reader becomes a module."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass

from .trace import Env
from .verdicts import Unfinished, Verdict
from .whole import load


@dataclass(frozen=True)
class Exercise:
    """One exercise, and the file that a reader gets."""

    name: str
    level: str
    what: str  # in one line
    start: str  # the text of the file as the reader gets it
    solution: str  # the same text, solved
    hint: str
    grade: Callable[
        [str, str, Env], list[Verdict]
    ]  # from the reader's text, its path, and the names that it begins with
    suffix: str = ".py"
    tag: str = ""  # whose derivation is shown in the end


def own_function(text: str, path: str, given: Env, function: str) -> tuple[Env, ast.FunctionDef]:
    """Return the reader's module and the tree of one of its functions.

    Raises
    ------
    Unfinished
        The function is not there, or not Python.
    """
    try:
        tree = ast.parse(text, path)
    except (SyntaxError, ValueError) as error:
        line = f"line {error.lineno}: " if isinstance(error, SyntaxError) else ""
        raise Unfinished(f"{line}this is not Python ({getattr(error, 'msg', error)})") from None
    node = next((n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == function), None)
    if node is None:
        raise Unfinished(f"the function {function} is missing; write it again, or remove the file to begin anew")
    return load(tree, path, given), node
