"""Files that are written completely or not at all, and whose damage is noticed and described in one sentence."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


class DamagedFile(RuntimeError):
    """A file does not hold what it should; the message says why."""


def replace_file(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Call ``write(file)`` on a temporary file beside `path`, then rename that file to `path`.

    Raises
    ------
    OSError
        The folder cannot be written to; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            write(file)
        os.replace(temporary, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # else it names the temporary file, or none
        raise
    finally:
        with contextlib.suppress(OSError):  # the first error says more
            temporary.unlink()


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a NumPy archive, whose checksums are tested on reading.

    Raises
    ------
    OSError
        There is no such file, or it cannot be opened.
    DamagedFile
        It is not a NumPy archive, or only a part of one.
    """
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise DamagedFile("not a NumPy archive, or only a part of one")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as stored:
                return {name: np.asarray(stored[name]) for name in stored.files}
        except (EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedFile(f"{type(error).__name__}: {error}".replace("\n", " ")) from error
        except (OSError, RuntimeError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:  # from zipfile
            raise DamagedFile(f"{type(error).__name__}: {error}") from error
