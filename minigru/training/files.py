"""Files that are written completely or not at all, and whose damage is noticed and described in one sentence."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import math
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..engine import checks


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


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays and their digest as an uncompressed NumPy archive; `path` is replaced only once it is complete.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    replace_file(path, lambda file: np.savez(file, **arrays, digest=np.array(digest(arrays))))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a NumPy archive, read-only; the "digest" among them is checked if there is one.

    It takes no more RAM than the file has bytes, whatever its headers claim.

    Raises
    ------
    OSError
        There is no such file, or it cannot be opened.
    DamagedFile
        It is not a NumPy archive, or only a part of one, or its contents are not those that were saved.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DamagedFile("not a regular file")  # a named pipe would be waited for
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise DamagedFile("not a NumPy archive, or only a part of one")
        try:
            arrays = _unpack(file)
        except DamagedFile:
            raise
        except Exception as error:  # zipfile and NumPy raise errors of many kinds on damaged bytes
            raise DamagedFile(f"{type(error).__name__}: {checks.shown(error, str)}") from error
    if "digest" in arrays and str(arrays["digest"]) != digest(arrays):
        raise DamagedFile("its contents do not match its digest")
    return arrays


def digest(arrays: Mapping[str, Any]) -> str:
    """Return the SHA-256 of names, dtypes, shapes and contents of the arrays other than "digest", in hexadecimal."""
    total = hashlib.sha256()
    for name in sorted(arrays.keys() - {"digest"}):
        array = np.asarray(arrays[name])
        total.update(repr((name, array.dtype.str, array.shape)).encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def _unpack(file: BinaryIO) -> dict[str, np.ndarray]:
    """Return the arrays of a NumPy archive, each checked against the size of the file before it is read."""
    size, arrays = os.fstat(file.fileno()).st_size, {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise DamagedFile("its arrays are compressed; expected an archive that minigru has written")
        if sum(max(member.file_size, member.compress_size) for member in members) > size:
            raise DamagedFile(f"its arrays claim more than the {size:,} bytes of the file")
        for member in members:
            name = member.filename.removesuffix(".npy")
            if name in arrays:
                raise DamagedFile(f"{checks.shown(name)} is there twice")
            arrays[name] = _array(name, archive.read(member))
    return arrays


def _array(name: str, content: bytes) -> np.ndarray:
    """Return the array that the bytes of an ``.npy`` file hold."""
    header = io.BytesIO(content)
    if np.lib.format.read_magic(header) != (1, 0):
        raise DamagedFile(f"{name} is not of version 1.0 of NumPy's format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(header)
    start = header.tell()
    if dtype.kind not in "biufU":
        raise DamagedFile(f"{name} is of dtype {checks.shown(dtype, str)}; expected numbers or text")
    if math.prod(shape) * dtype.itemsize != len(content) - start:
        raise DamagedFile(f"{name} claims the shape {checks.shown(shape)}, but has {len(content) - start} bytes")
    return np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if fortran_order else "C")
