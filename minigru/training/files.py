"""Files that are written completely or not at all, and whose damage is noticed and described in one sentence."""

from __future__ import annotations

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
    finally:
        temporary.unlink(missing_ok=True)


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
