"""Shapes of arrays, from a run: every dimension is given a size of its own, and the lines are watched as they work."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
from listing import files_with_tags

import minigru
from minigru import reference

T, B, D, H, K = 4, 3, 11, 23, 7
LETTERS = {1: "1", T: "T", B: "B", D: "D", H: "H", K: "K", T + 1: "T + 1", T * B: "T B", H + 1: "H + 1"}
LETTERS |= {H + D: "H + D", H + D + 1: "H + D + 1"}
LETTERS |= {gates * H * (H + D + 1) + (H + 1) * K: "N" for gates in (1, 3)}  # all parameters of the RNN, of the GRU

STATED = re.compile(r"//[^(]*(\([TBDHKN1][^()]*\))")
DECLARED = re.compile(r"\* *(\w+)")

Shapes = dict[int, dict[str, str]]  # line -> array -> shape


def in_letters(shape: tuple[int, ...]) -> str:
    """Write a shape as the documents do: (B, H); a size that no letter stands for is a KeyError."""
    letters = [LETTERS[size] for size in shape]
    return f"({letters[0]},)" if len(letters) == 1 else f"({', '.join(letters)})"


def label(node: ast.expr) -> str:
    """Name an array as a reader would: ``p["W_u"]`` is W_u, and ``buf.dx`` is dx."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and isinstance(node.slice.value, str):
        return node.slice.value
    if isinstance(node, ast.Attribute):
        return f"{label(node.value)}.{node.attr}" if node.attr in ("T", "real") else node.attr
    return ast.unparse(node)


def arrays(node: ast.AST, frame: FrameType) -> Iterator[tuple[int, str, np.ndarray]]:
    """Yield line, name and value of every array that a statement speaks of: ``c[t]`` counts, the c in it does not."""
    if isinstance(node, ast.Name | ast.Attribute | ast.Subscript):
        try:
            value = eval(ast.unparse(node), frame.f_globals, frame.f_locals)
        except (NameError, AttributeError):  # not assigned yet
            value = None
        if isinstance(value, np.ndarray) and value.ndim and value.dtype != np.uint8:  # bytes are memory, not numbers
            yield node.lineno, label(node), value
            return
    for child in ast.iter_child_nodes(node):
        yield from arrays(child, frame)


def watch_list(path: Path, tagged: set[int]) -> dict[int, ast.stmt]:
    """Return for each line the simple statement that it belongs to, where that has a tag."""
    simple = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.stmt)]
    spans = {node: range(node.lineno, (node.end_lineno or 0) + 1) for node in simple if not hasattr(node, "body")}
    return {line: node for node, span in spans.items() if tagged & {*span} for line in span}


def run_everything() -> None:
    """Use every function of the reference, and every layer of the engine, once."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((B, T, D)), rng.integers(K, size=B)
    for cell in ("gru", "rnn"):
        model = minigru.SequenceClassifier(D, H, K, cell=cell, dtype="float64")
        model.loss(x, labels)
        model.backward()
        model.cell.backward(dstates=rng.standard_normal((T, B, H)))
        minigru.Adam(model).step()

        p = dict(model.cell.params)
        forward, backward = getattr(reference, f"{cell}_forward"), getattr(reference, f"{cell}_backward")
        states, caches = forward(x.transpose(1, 0, 2), np.zeros((B, H)), p)
        backward(np.ones_like(states), caches)
    logits, cache = reference.linear(states[-1], dict(model.linear.params))
    _, loss_cache = reference.softmax_cross_entropy(logits, labels)
    reference.linear_backward(reference.softmax_cross_entropy_backward(loss_cache), cache)
    theta = np.copy(model.vector)
    reference.adam(theta, np.ones_like(theta), np.zeros_like(theta), np.zeros_like(theta), 1)


def measure(tagged: dict[Path, set[int]]) -> dict[Path, Shapes]:
    """Run, and return the shape of every array on every tagged line of the given files."""
    watched = {str(path): watch_list(path, lines) for path, lines in tagged.items()}
    found: dict[Path, Shapes] = {path: {} for path in tagged}

    def look(frame: FrameType, statement: ast.stmt) -> None:
        path = Path(frame.f_code.co_filename)
        for line, name, value in arrays(statement, frame):
            line = statement.lineno if statement.lineno in tagged[path] else line  # then the tag is for all of it
            if line in tagged[path]:
                found[path].setdefault(line, {})[name] = in_letters(value.shape)

    def enter(frame: FrameType, event: str, arg: Any) -> Any:
        statements = watched.get(frame.f_code.co_filename)
        if statements is None:
            return None
        running: list[ast.stmt] = []

        def step(frame: FrameType, event: str, arg: Any) -> Any:
            here = statements.get(frame.f_lineno)
            if running and (event == "return" or here is not running[0]):
                look(frame, running.pop())
            if here and not running:
                running.append(here)
            return step

        return step

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        run_everything()
    finally:
        sys.settrace(before)
    return found


def in_a_text(path: Path, known: dict[str, str]) -> Shapes:
    """Return the shapes in a file that needs a GPU to run.

    In CUDA they are those that the file states in a comment, ``float *c, *d,  // (B, H)``, for all that the line
    declares; the kernels for CuPy have the names and the meaning of those for NumPy, whose shapes are `known`.
    """
    lines = path.read_text("utf-8").splitlines()
    if path.suffix != ".py":
        stated = [(line[: match.start()], match[1]) for line in lines if (match := STATED.search(line))]
        known = {name: shape for line, shape in stated for name in DECLARED.findall(line)}
    names = {number: re.findall(r"(?<![.\w])[A-Za-z]\w*", text) for number, text in enumerate(lines, start=1)}
    return {number: {name: known[name] for name in found if name in known} for number, found in names.items()}


@cache
def shapes_of_package(package: Path) -> dict[Path, Shapes]:
    """Return the shapes in each file with tagged lines: measured where it runs, and read where it does not."""
    files = files_with_tags(package)
    found = measure({path: {*tags} for path, tags in files.items() if path.suffix == ".py"})
    kernels = [lines for path, lines in found.items() if path.name == "numpy_kernels.py"]
    known = {name: shape for lines in kernels for arrays in lines.values() for name, shape in arrays.items()}
    return {path: found.get(path) or in_a_text(path, known) for path in files}
