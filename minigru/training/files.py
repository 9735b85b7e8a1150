"""Files that are written completely or not at all, and whose damage is noticed and described in one sentence."""

from __future__ import annotations

import contextlib
import glob
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

    The file and its name are flushed to the disk, so `path` is the old file or the new one after a loss of power too.
    What killed processes have left of earlier calls for the same `path` is removed.

    Raises
    ------
    OSError
        The folder cannot be written to; `path` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    remove_leftovers(path)
    try:
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        flush_folder(path.parent)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # else it names the temporary file, or none
        raise
    finally:
        with contextlib.suppress(OSError):  # the first error says more
            temporary.unlink()


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files of `replace_file` for `path` whose process is dead."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        number = left.name.rpartition(".")[2]
        if number.isascii() and number.isdecimal() and not _alive(int(number)):
            with contextlib.suppress(OSError):  # it is another user's, or still open in Windows
                left.unlink()


def flush_folder(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can do that."""
    if hasattr(os, "O_DIRECTORY"):  # not in Windows
        with contextlib.suppress(OSError):  # some file systems cannot
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


def _alive(process: int) -> bool:
    """Return whether a process of this number may exist."""
    if os.name == "nt":
        return False  # there os.kill would end the process, and an open file cannot be removed anyway
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return process > 0


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
