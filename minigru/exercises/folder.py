"""The folder of a reader: one file per exercise, and which of them are done."""

from __future__ import annotations

import json
from pathlib import Path

from .exercise import Exercise
from .verdicts import Unfinished

PROGRESS = "progress.json"


def file_of(folder: Path, exercise: Exercise) -> Path:
    """Return the path of the reader's file."""
    return folder / f"{exercise.name}{exercise.suffix}"


def begin(folder: Path, exercise: Exercise) -> bool:
    """Write the file of an exercise, unless it is there; return whether it has been written.

    Raises
    ------
    OSError
        The folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with file_of(folder, exercise).open("x", encoding="utf-8") as file:
            file.write(exercise.start)
    except FileExistsError:
        return False
    return True


def done(folder: Path) -> list[str]:
    """Return the names of the exercises that have been graded as right.

    Raises
    ------
    Unfinished
        The file with the names is damaged.
    """
    path = folder / PROGRESS
    try:
        names = json.loads(path.read_text("utf-8"))["done"]
        return [name for name in names if isinstance(name, str)]
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError):
        raise Unfinished(f"{path} is not a list of exercises; remove it to count anew") from None


def note(folder: Path, name: str, right: bool) -> None:
    """Note that an exercise is right, or is not."""
    names = [other for other in done(folder) if other != name] + ([name] if right else [])
    if names != done(folder):
        (folder / PROGRESS).write_text(json.dumps({"done": names}, indent=1) + "\n", "utf-8")
