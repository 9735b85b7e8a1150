"""Run a function statement by statement, so that each of its names can be looked at and replaced."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from typing import Any

import numpy as np

from .. import reference
from .inputs import SIZES, arguments
from .source import FUNCTIONS, body

Env = dict[str, Any]


def run(statement: ast.stmt, env: Env, path: str = "<reference>") -> None:
    """Run one statement of a function in `env`; a return assigns the name "result"."""
    if isinstance(statement, ast.Return):
        value = statement.value or ast.Constant(None)
        statement = ast.copy_location(ast.Assign([ast.Name("result", ast.Store())], value), statement)
    exec(compile(ast.fix_missing_locations(ast.Module([statement], [])), path, "exec"), env)


@cache
def trace(function: str, k: int) -> list[Env]:
    """Run a function of the reference at the sizes number k; return its names before each statement, and at the end."""
    parameters = inspect.signature(getattr(reference, function)).parameters
    env = {name: parameter.default for name, parameter in parameters.items()} | arguments(function, SIZES[k])
    seen = [env]
    for statement in body(FUNCTIONS[function]):
        env = {**vars(reference), **env}
        run(statement, env)
        env = own_names(env)
        seen.append(env)
    return seen


def own_names(env: Env) -> Env:
    """Return the local names of a function, without those of the reference."""
    return {name: value for name, value in env.items() if name not in vars(reference) and name != "__builtins__"}


def known_names(function: str, k: int, before: Env) -> Env:
    """Return all that a reader may write in a line: the names before it, and those of the forward pass, such as c."""
    forward = function.removesuffix("_backward")
    known = trace(forward, k)[-1] if forward in FUNCTIONS else {}
    return {**vars(reference), **known, **before}


def others(text: str, known: Env) -> list[str]:
    """Return the names of the arrays that have the shape of `text`, a name or an entry of p; a float has others too."""
    own = own_names(known)
    arrays = {name: value for name, value in own.items() if isinstance(value, np.ndarray) and value.ndim}
    arrays |= {name: np.asarray(value) for name, value in own.items() if type(value) is float}
    if isinstance(known.get("p"), dict):
        arrays |= {f"p[{key!r}]": value for key, value in known["p"].items()}
    if text not in arrays:
        return []
    return [name for name, value in arrays.items() if name != text and value.shape == arrays[text].shape]
