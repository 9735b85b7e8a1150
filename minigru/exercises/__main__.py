"""The command line of the exercises: ``python -m minigru.exercises``."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import NoReturn

from .apart import grade_apart
from .catalogue import answer, exercises, find
from .exercise import Exercise
from .folder import begin, file_of, note
from .options import COMMAND, parse_args
from .report import Report
from .show import show, show_list
from .verdicts import Unfinished


def grade_files(chosen: list[Exercise], options: argparse.Namespace) -> int:
    """Grade the files of some exercises, note and print what is right, and return the exit status."""
    reports = []
    for exercise in chosen:
        path = file_of(options.dir, exercise)
        if path.exists():
            report = grade_apart(exercise, path, options.timeout)
            if not options.json:  # a teacher's report leaves the folder as it is
                remember(options.dir, exercise, report)
        else:
            report = Report(exercise.name, problem=f"{path} is not there; {COMMAND} {exercise.name} writes it")
        reports.append(report)
        if not options.json and options.name:
            show(exercise, report, options.dir)
        elif not options.json:
            print(f"{exercise.name:17} {'right' if report.right else 'not right'}")
    if options.json:
        print(json.dumps([report.as_json() for report in reports], indent=1))
    return 0 if all(report.right for report in reports) else 1


def remember(folder: Path, exercise: Exercise, report: Report) -> None:
    """Note whether an exercise is right; a folder that cannot be written is worth a sentence and no more."""
    try:
        note(folder, exercise.name, report.right)
    except OSError as error:
        print(f"{COMMAND}: your progress cannot be noted: {error.strerror}", file=sys.stderr)


def main() -> int:
    """Do what the command line asks, and return the exit status."""
    options = parse_args()
    try:
        exercise = find(options.name) if options.name else None
        if exercise and options.hint:
            print(exercise.hint)
        elif exercise and options.solution:
            print(answer(exercise))
        elif exercise and not options.check and not options.json and begin(options.dir, exercise):
            print(f"{file_of(options.dir, exercise)} is written. Edit it, then run again: {COMMAND} {exercise.name}")
        elif exercise:
            return grade_files([exercise], options)
        elif options.check or options.json:
            begun = [e for e in exercises().values() if file_of(options.dir, e).exists()]
            if not begun:
                raise Unfinished(f"there is no exercise in {options.dir}; {COMMAND} G1 writes one")
            return grade_files(begun, options)
        else:
            show_list(options.dir)
    except (Unfinished, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        what = getattr(error, "filename", None) or "standard output"
        said = f"{what} cannot be used: {error.strerror}" if isinstance(error, OSError) else error
        print(f"{COMMAND}: {said}", file=sys.stderr)
        return 2
    return 0


def run() -> NoReturn:
    """Exit with the status of ``main()``; with 141 on a broken pipe, with 130 on Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a terminal without Γ
    try:
        status = main()
        sys.stdout.flush()
    except KeyboardInterrupt:
        status = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 141
    sys.exit(status)


if __name__ == "__main__":
    run()
