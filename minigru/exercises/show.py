"""What the command prints: the list, the report on a solution, and what comes next."""

from __future__ import annotations

import os
from pathlib import Path

from .catalogue import answer, exercises
from .derivation import derivation
from .exercise import Exercise
from .folder import done, file_of
from .options import COMMAND
from .report import Report


def show_list(folder: Path) -> None:
    """Print all exercises with their marks, and which one is next."""
    right, level = done(folder), None
    count = sum(name in right for name in exercises())
    print(f"{len(exercises())} exercises, {count} done. [x] is done, [-] is begun. Your files are in {folder}{os.sep}.")
    for name, exercise in exercises().items():
        if exercise.level != level:
            level = exercise.level
            print(f"\n{level}")
        mark = "x" if name in right else "-" if file_of(folder, exercise).exists() else " "
        print(f"  [{mark}] {name:17} {exercise.what}")
    print(f"\n{next_one(right)}")


def next_one(right: list[str]) -> str:
    """Return a line with the command of the next exercise."""
    left = [name for name in exercises() if name not in right]
    return f"Next: {COMMAND} {left[0]}" if left else "All exercises are done."


def show(exercise: Exercise, report: Report, folder: Path) -> None:
    """Print a report; if all is right, the derivation and the original lines too."""
    print("\n".join(report.lines()))
    if not report.right:
        print(f"\n{exercise.name} is not right yet. A hint: {COMMAND} {exercise.name} --hint")
        return
    derived = derivation(exercise.tag) if exercise.tag else ""
    print(f"\n{exercise.name} is right.\n" + (f"\n{derived}\n" if derived else ""))
    lines = "A solution" if exercise.level.startswith("Builds") else "The original lines"
    print(f"{lines}:\n\n{answer(exercise)}\n\n{next_one(done(folder))}")
