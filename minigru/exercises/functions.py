"""The exercises that ask for the whole body of a function of `minigru.reference`."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

from .. import reference
from .exercise import Exercise, own_function
from .inputs import SIZES, arguments
from .oracle import by_complex_step
from .source import FUNCTIONS, LINES, emptied, imports, lines_of
from .trace import Env
from .verdicts import Verdict, named
from .whole import grade_outputs
from .words import HINTS, TASKS

WHOLE = {
    "gru_cell": ("c",),
    "gru_cell_backward": ("dx", "dc_prev", "grads"),
    "_sequence_backward": ("dx", "dc_0", "grads"),
}


def whole() -> list[Exercise]:
    """Return the exercises that ask for the whole body of a function."""
    return [_of_function(function) for function in WHOLE]


def _of_function(function: str) -> Exercise:
    name = "bptt" if function == "_sequence_backward" else function
    head = f'"""The whole of `{function}`.\n\nWrite its body. Then run: python -m minigru.exercises {name}\n\n'
    head += f'{TASKS[name]}"""\n\n{imports(function)}\n\n'
    solved = "\n".join(LINES[number - 1] for number in lines_of(FUNCTIONS[function])) + "\n"
    what = f"{function}: {', '.join(WHOLE[function])}"
    grade = partial(_grade_whole, function, head + solved)
    return Exercise(name, "Whole functions", what, head + emptied(function), head + solved, HINTS[name], grade)


def _grade_whole(function: str, solution: str, text: str, path: str, given: Env) -> list[Verdict]:
    env, _ = own_function(text, path, given, function)

    def outputs(module: Env, k: int) -> dict[str, Any]:
        found = module[function](**copy.deepcopy(arguments(function, SIZES[k])))
        if function == "gru_cell" and isinstance(found, tuple):
            found = found[:1]  # what the cache holds is up to the reader
        return named(found, WHOLE[function], function)

    verdicts = grade_outputs(env, outputs, partial(outputs, vars(reference)), solution)
    return verdicts + (by_complex_step(function, env[function]) if all(v.right for v in verdicts) else [])
