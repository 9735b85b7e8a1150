"""Call a script as a user does, but in this process, which saves the second that Python takes to start."""

from __future__ import annotations

import contextlib
import io
import sys
from types import ModuleType, SimpleNamespace
from unittest.mock import patch


def call(script: ModuleType | SimpleNamespace, *arguments: object) -> SimpleNamespace:
    """Call a script's ``main()``; return what `subprocess.run` would: returncode, stdout, stderr."""
    out, err = io.StringIO(), io.StringIO()
    line = [f"{script.__name__}.py", *map(str, arguments)]
    with patch.object(sys, "argv", line), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = script.main()
        except SystemExit as end:
            status = end.code
    return SimpleNamespace(returncode=status, stdout=out.getvalue(), stderr=err.getvalue())


def assert_one_sentence(result: SimpleNamespace, status: int, *words: str) -> None:
    """Check that a script has failed with this status and one line on stderr that has these words."""
    assert result.returncode == status, result.stdout + result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr
