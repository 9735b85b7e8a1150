"""What is said of one solution, whether it can be graded or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from .exercise import Exercise
from .verdicts import Stopped, Unfinished, Verdict, own_traceback


@dataclass
class Report:
    """What is said of one solution."""

    exercise: str
    verdicts: list[Verdict] = field(default_factory=list)
    problem: str | None = None  # why there is no verdict, or no more of them, in one sentence
    traceback: str | None = None  # of the reader's own file
    printed: str = ""  # by the reader's file

    @property
    def right(self) -> bool:
        """Whether all is right."""
        return self.problem is None and bool(self.verdicts) and all(verdict.right for verdict in self.verdicts)

    def as_json(self) -> dict[str, Any]:
        """Return the report as what `json` can write."""
        return {**asdict(self), "right": self.right}

    def lines(self) -> Iterator[str]:
        """Yield the report as lines of text."""
        if self.printed:
            yield from ["Your file printed:", self.printed.rstrip()]
        if (
            self.verdicts
            and not self.problem
            and all(verdict.says == "is not filled in yet" for verdict in self.verdicts)
        ):
            yield "Nothing is filled in yet."
            return
        said: set[str] = set()
        for verdict in self.verdicts:
            if verdict.slip in said:  # one slip that makes several names wrong
                yield f"{verdict.name} {verdict.says}, by the same slip."
            else:
                yield str(verdict)
            said |= {verdict.slip} if verdict.slip else set()
        if self.traceback:
            yield self.traceback
        if self.problem:
            end = "" if self.problem.endswith("?") else "."
            yield f"{self.problem[0].upper()}{self.problem[1:]}{end}"


def grade(exercise: Exercise, text: str, path: str, given: dict[str, Any] | None = None) -> Report:
    """Return the report on a solution, of whose file this is the text and the path."""
    report = Report(exercise.name)
    try:
        if text == exercise.start:
            raise Unfinished("nothing is filled in yet")
        report.verdicts = exercise.grade(text, path, given or {})
    except Unfinished as error:
        report.problem = str(error)
    except SystemExit:
        report.problem = "your file ends the program; leave out what does"
    except Exception as error:
        if isinstance(error, Stopped) and isinstance(error.__cause__, Exception):
            report.verdicts, error = error.verdicts, error.__cause__
        report.traceback = own_traceback(error, path)
        report.problem = f"your code raises {type(error).__name__}"
    return report
