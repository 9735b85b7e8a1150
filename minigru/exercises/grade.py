"""Grade the lines with one tag in a function of the reader's against those of `minigru.reference`."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from typing import Any

import numpy as np

from .inputs import SIZES
from .slips import slips
from .source import FUNCTIONS, body, names, tagged
from .trace import Env, known_names, others, run, trace
from .verdicts import TOLERANCE, Stopped, Unfinished, Verdict, relative_error, right_by, wrong


def grade_tag(function: str, tag: str, node: ast.FunctionDef, globals_: Env, path: str) -> list[Verdict]:
    """Grade each name that the lines with a tag assign, given the right values of all names before it.

    Parameters
    ----------
    function : its name in the reference
    node, globals_ : the reader's function and its module
    path : of the reader's file, for tracebacks

    Raises
    ------
    Unfinished
        A line that was given has changed.
    Stopped
        The reader's code raised an exception.
    """
    verdicts: dict[str, Verdict] = {}
    try:
        _grade_into(verdicts, function, tag, node, globals_, path)
    except Unfinished:
        raise
    except Exception as error:
        raise Stopped([*verdicts.values()]) from error
    return [*verdicts.values()]


def _grade_into(
    verdicts: dict[str, Verdict], function: str, tag: str, node: ast.FunctionDef, globals_: Env, path: str
) -> None:
    """Do as `grade_tag` does; put the verdict on each name into `verdicts`."""
    for blanks, written in regions(function, tag, node):
        for k in range(len(SIZES)):
            seen, first = trace(function, k), body(FUNCTIONS[function]).index(blanks[0])
            right = {name: seen[first + i + 1][name] for i, blank in enumerate(blanks) for name in names(blank)}
            env = {**globals_, **copy.deepcopy(seen[first])}
            for name, value in _values(written, right, env, path):
                i = max(i for i, blank in enumerate(blanks) if name in names(blank))
                for part, expected in parts(name, right[name]).items():
                    if part in verdicts and not verdicts[part].right:
                        continue
                    given = parts(name, value).get(part, ...) if isinstance(right[name], dict) else value
                    fault = wrong(part, given, expected)
                    if fault and isinstance(given, (np.ndarray, np.generic)):
                        known = known_names(function, k, seen[first + i])
                        fault = wrong(part, given, expected, slip_in(blanks[i], known, part, given))
                    verdicts[part] = fault or right_by(part, relative_error(given, expected))


def parts(name: str, value: Any) -> dict[str, Any]:
    """Return a value by its name; a dict of gradients by the names of its entries."""
    return {f'{name}["{key}"]': entry for key, entry in value.items()} if isinstance(value, dict) else {name: value}


def regions(function: str, tag: str, node: ast.FunctionDef) -> list[tuple[list[ast.stmt], list[ast.stmt]]]:
    """Return the blanks that stand together, each group with what the reader has written there.

    Raises
    ------
    Unfinished
        A line that was given has changed.
    """
    blanks, own, found = tagged(function, tag), body(node), []
    group: list[ast.stmt] = []
    start = 0
    for statement in body(FUNCTIONS[function]):
        if statement in blanks:
            group.append(statement)
            continue
        same = [i for i in range(start, len(own)) if ast.dump(own[i]) == ast.dump(statement)]
        if not same:
            raise Unfinished(
                f"the line `{ast.unparse(statement)}` of {function} was given and has changed; write it there again"
            )
        if group:
            found.append((group, own[start : same[0]]))
        group, start = [], same[0] + 1
    return [*found, (group, own[start:])] if group else found


def _values(written: list[ast.stmt], right: Env, env: Env, path: str) -> Iterator[tuple[str, Any]]:
    """Run the reader's statements; yield each name with its last value, and go on with the right one in its place."""
    last = {name: i for i, statement in enumerate(written) for name in _assigned(statement)}
    yield from ((name, ...) for name in right if name not in last)
    for i, statement in enumerate(written):
        run(statement, env, path)
        for name in (name for name in right if last.get(name) == i):
            yield name, env[name]
            env[name] = copy.deepcopy(right[name])


def _assigned(statement: ast.stmt) -> list[str]:
    """Return the names that a statement assigns, at any depth."""
    stored = [node for node in ast.walk(statement) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    return ["result"] if isinstance(statement, ast.Return) else [node.id for node in stored]


def slip_in(statement: ast.stmt, known: Env, part: str, value: np.ndarray | np.generic) -> str | None:
    """Return in words the slip in a statement that gives `value` to `part`, or None if there is none."""
    name, _, key = part.partition('["')
    line: Any = copy.deepcopy(statement)
    if key:  # of a dict of gradients: this entry alone
        entries = zip(line.value.keys, line.value.values, strict=True)
        line = next(ast.Assign(line.targets, value) for k, value in entries if k.value == key[:-2])
    with np.errstate(all="ignore"):
        for words in slips(line, lambda text: others(text, known), tuple(names(line))):
            env = dict(known)
            try:
                run(copy.deepcopy(line), env)
            except Exception:  # most slips do not fit the shapes
                continue
            if np.shape(env[name]) == value.shape and relative_error(env[name], value) <= TOLERANCE:
                return words
    return None
