"""Grade a solution in a process of its own, which a loop without an end or a crash cannot harm."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from .catalogue import exercises
from .exercise import Exercise
from .report import Report, grade
from .verdicts import Verdict

KEPT = 2000  # characters of what a solution prints


def grade_apart(exercise: Exercise, path: Path, timeout: float) -> Report:
    """Return the report on a file, graded by another process that may take `timeout` seconds.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    path.read_bytes()  # an error here is the caller's
    package = str(Path(__file__).parents[2])
    paths = os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": paths}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        command = [sys.executable, "-m", "minigru.exercises.apart", exercise.name, str(path), str(out)]
        nowhere = subprocess.DEVNULL
        try:
            ended = subprocess.run(
                command, stdin=nowhere, stdout=nowhere, stderr=nowhere, timeout=timeout, env=environment
            )
            found = json.loads(out.read_text("utf-8"))
        except subprocess.TimeoutExpired:
            words = f"your code has not ended after {timeout:g} seconds; is there a loop without an end?"
            return Report(exercise.name, problem=words)
        except (OSError, ValueError):
            code = ended.returncode
            how = f"exit status {code}" if code >= 0 else signal.Signals(-code).name
            return Report(exercise.name, problem=f"your code ended Python itself ({how})")
    return Report(**{**found, "verdicts": [Verdict(**verdict) for verdict in found["verdicts"]]})


class Beginning(io.StringIO):
    """A text of which only the beginning is kept."""

    def write(self, text: str) -> int:
        """Keep the text while there is room for it."""
        return super().write(text) if self.tell() < KEPT else len(text)


def main() -> None:
    """Grade the file of the command line, and write the report to a file."""
    name, path, out = sys.argv[1:]
    printed = Beginning()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        report = grade(exercises()[name], Path(path).read_text("utf-8", "replace"), path)
    report.printed = printed.getvalue()[:KEPT]
    found = report.as_json()
    del found["right"]  # computed anew
    Path(out).write_text(json.dumps(found), "utf-8")


if __name__ == "__main__":
    main()
