"""Grade functions of the reader's by what they return, and find the line of the solution in which they slip."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from .grade import parts
from .slips import confused, forgotten
from .source import names
from .trace import Env, others
from .verdicts import TOLERANCE, Verdict, relative_error, right_by, wrong

Outputs = Callable[[Env, int], dict[str, Any]]  # from a module and the number of the sizes to named values
SOLUTION = "<solution>"


def grade_outputs(
    globals_: Env, outputs: Outputs, right: Callable[[int], dict[str, Any]], solution: str, sizes: int = 3
) -> list[Verdict]:
    """Grade each output of the reader's module.

    Parameters
    ----------
    globals_ : the reader's module
    outputs : calls the functions of a module
    right : the right outputs, by the number of the sizes
    solution : the source of a module that is right, in which slips are made
    sizes : how many sizes are tried
    """
    verdicts: dict[str, Verdict] = {}
    for k in range(sizes):
        expected = _flat(right(k))
        given = _flat(outputs(globals_, k))
        for part, value in expected.items():
            if part not in verdicts or verdicts[part].right:
                fault = wrong(part, given.get(part, ...), value)
                verdicts[part] = fault or right_by(part, relative_error(given[part], value))
        if not all(verdict.right for verdict in verdicts.values()):
            lost = [part for part, verdict in verdicts.items() if not verdict.right]
            for part, found in _find(lost, given, outputs, solution, k).items():
                verdicts[part] = wrong(part, given[part], expected[part], found) or verdicts[part]
            break
    return [*verdicts.values()]


def _real(value: Any) -> bool:
    """Whether a slip may explain a value: an array of real numbers, not all of them zero."""
    return isinstance(value, np.ndarray) and value.dtype == float and bool(value.any())


def _flat(outputs: dict[str, Any]) -> dict[str, Any]:
    return {part: entry for name, value in outputs.items() for part, entry in parts(name, value).items()}


def load(source: str | ast.Module, path: str = SOLUTION, given: Mapping[str, Any] = MappingProxyType({})) -> Env:
    """Return the module of a source text, which begins with the names `given`."""
    env: Env = {**given, "__name__": "exercise"}
    exec(compile(source, path, "exec"), env)
    return env


def _find(lost: list[str], given: dict[str, Any], outputs: Outputs, solution: str, k: int) -> dict[str, str]:
    """Return the slip in the solution that makes all outputs as they are given, or else one for each lost output.

    A slip must leave right what is right.
    """
    named = {part for part in lost if _real(given.get(part))}
    if not named:
        return {}
    tree, known = ast.parse(solution), _names_within(solution, outputs, k)
    found: dict[str, str] = {}
    with np.errstate(all="ignore"):
        for words in _slips_by_line(tree, known):
            try:
                got = _flat(outputs(load(tree), k))
            except Exception:  # most slips do not fit the shapes
                continue
            same = {part for part, value in got.items() if relative_error(given.get(part), value) <= TOLERANCE}
            if same == {*got}:
                return dict.fromkeys(named, words)
            if same >= {*got} - {*lost}:
                found = {**dict.fromkeys(same & named, words), **found}
    return found


def _slips_by_line(tree: ast.Module, known: Env) -> Iterator[str]:
    """Make the slips in each line of the functions of a module, what is forgotten first, and say in which line."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    kinds = (ast.Assign, ast.AugAssign, ast.Return, ast.For, ast.Expr)
    lines = [node for function in functions for node in ast.walk(function) if isinstance(node, kinds)]
    made = [(line, forgotten(line, tuple(names(line)))) for line in lines]
    made += [(line, confused(line, lambda text: others(text, known))) for line in lines]
    for line, words_of_line in made:
        place = ["what is returned"] if isinstance(line, ast.Return) else [f"`{name}`" for name in names(line)]
        for words in words_of_line:
            ast.fix_missing_locations(tree)
            yield f"{words}, in the line of {place[0]}" if place else words


def _names_within(solution: str, outputs: Outputs, k: int) -> Env:
    """Return the local names of the functions of the solution, as they are when the functions return."""
    seen: Env = {}

    def keep(frame: Any, event: str, _: object) -> None:
        if event == "return" and frame.f_code.co_filename == SOLUTION:
            seen.update(frame.f_locals)

    module = load(solution)
    sys.setprofile(keep)
    try:
        outputs(module, k)
    finally:
        sys.setprofile(None)
    return seen
