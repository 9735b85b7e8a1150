"""The exercises that build something new in Python: a cell, two layers, a faster kernel."""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from importlib import resources
from typing import Any

from . import solved
from .cells import cell_outputs, cell_right, peephole_cell, reset_after_cell, two_outputs, two_right
from .exercise import Exercise, own_function
from .rearranged import memory_outputs, memory_right, product_outputs, product_right
from .trace import Env
from .verdicts import Verdict
from .whole import Outputs, grade_outputs
from .words import HINTS

TAGS = {"one_product": "F2", "in_place": "F4"}  # whose proof stands in docs/engine.md


def builds() -> list[Exercise]:
    """Return the builds in Python."""
    cells = [
        ("peephole", "a cell whose update gate sees the memory directly", peephole_cell, "v_u"),
        ("reset_after", "the cell of cuDNN: the reset gate behind the product", reset_after_cell, "d_c"),
    ]
    return [
        *(
            _build(name, what, partial(cell_outputs, f"{name}_cell", extra), partial(cell_right, cell, extra))
            for name, what, cell, extra in cells
        ),
        _build("two_layers", "two layers, one on the other", two_outputs, two_right),
        _build("one_product", "(F2): the gradient of a weight in one product", product_outputs, product_right),
        _build("in_place", "(F4): a kernel that makes no array", memory_outputs, memory_right),
    ]


def _build(name: str, what: str, outputs: Outputs, right: Callable[[int], dict[str, Any]]) -> Exercise:
    solution = resources.files(solved).joinpath(f"{name}.py").read_text("utf-8")
    solution = solution.replace('"""', f'"""{name}: ', 1)
    command = f"\nWrite the bodies of the functions. Then run: python -m minigru.exercises {name}\n"
    solution = solution.replace('\n"""\n', f'\n{command}"""\n', 1)
    lines = solution.splitlines()
    for node in reversed([node for node in ast.parse(solution).body if isinstance(node, ast.FunctionDef)]):
        lines[node.body[1].lineno - 1 : node.end_lineno] = ["    # Write the body here.", "    return ..."]
    grade = partial(_grade, node.name, outputs, right, solution)
    start = "\n".join([*lines, ""])
    return Exercise(name, "Builds", what, start, solution, HINTS[name], grade, tag=TAGS.get(name, ""))


def _grade(
    function: str,
    outputs: Outputs,
    right: Callable[[int], dict[str, Any]],
    solution: str,
    text: str,
    path: str,
    given: Env,
) -> list[Verdict]:
    env, _ = own_function(text, path, given, function)
    return grade_outputs(env, outputs, right, solution)
