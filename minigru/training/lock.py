"""One process at a time works in a folder: a lock that the system itself releases when the process dies."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


class Locked(RuntimeError):
    """Another process, or another block of this process, has the lock."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on the file `path` during the block; the file is made, and removed afterwards.

    A file that a killed process has left is not locked. On a file system without locks there is no protection.

    Raises
    ------
    Locked
        The lock is taken.
    OSError
        The file cannot be made.
    """
    file = _open_locked(path)
    try:
        yield
    finally:
        with file, contextlib.suppress(OSError):
            if sys.platform != "win32":
                path.unlink()  # before another process can lock it
        with contextlib.suppress(OSError):
            if sys.platform == "win32":
                path.unlink()  # Windows removes no open file, ours or that of the next process


def _open_locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("ab")
        try:
            _lock(file.fileno())
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        except BaseException:
            file.close()
            raise
        file.close()  # it has been removed between open and lock: another process has just ended


def _lock(descriptor: int) -> None:
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES, errno.EDEADLK):
            raise Locked(str(error)) from None
