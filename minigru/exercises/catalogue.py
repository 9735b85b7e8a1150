"""All exercises, in the order in which one does them."""

from __future__ import annotations

import difflib
from functools import cache

from .builds import builds
from .cuda import cuda_exercises
from .exercise import Exercise
from .functions import whole
from .source import FUNCTIONS, tags_of
from .tags import by_tag
from .verdicts import Unfinished


@cache
def exercises() -> dict[str, Exercise]:
    """Return the exercises by name."""
    return {exercise.name: exercise for exercise in [*by_tag(), *whole(), *builds(), *cuda_exercises()]}


def find(name: str) -> Exercise:
    """Return the exercise of a name, or of a tag that shares the line of another.

    Raises
    ------
    Unfinished
        There is none.
    """
    lower = {known.lower(): exercise for known, exercise in exercises().items()}
    for function in FUNCTIONS:
        tags = tags_of(function)
        for tag, numbers in tags.items():
            first = next(other for other, same in tags.items() if same == numbers)
            lower.setdefault(tag.lower(), lower[first.lower()])
    if name.lower() not in lower:
        raise Unfinished(f"{name!r} is not an exercise; python -m minigru.exercises lists them")
    return lower[name.lower()]


def answer(exercise: Exercise) -> str:
    """Return the lines that solve an exercise; those of a long file with the lines around them."""
    start, solution = exercise.start.splitlines(), exercise.solution.splitlines()
    if exercise.suffix == ".cu":
        return "\n".join([*difflib.unified_diff(start, solution, exercise.name, "solved", lineterm="", n=3)][2:])
    return "\n".join(line[2:] for line in difflib.ndiff(start, solution) if line.startswith("+ "))
