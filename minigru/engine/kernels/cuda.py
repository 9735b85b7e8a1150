"""Compiles, launches and records the kernels written in CUDA C++."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib import resources
from typing import Any

import cupy
import numpy as np

C_TYPES = {
    "float32": "float",
    "float64": "double",
    "int8": "signed char",
    "int16": "short",
    "int32": "int",
    "int64": "long long",
    "uint8": "unsigned char",
    "uint16": "unsigned short",
    "uint32": "unsigned int",
    "uint64": "unsigned long long",
}


@cache
def kernel(file: str, name: str, **macros: str | int) -> cupy.RawKernel:
    """Return the kernel `name` of ``FILE.cu``, compiled with these macros; the name of a dtype becomes its C type."""
    return _module(file, **macros).get_function(name)


@cache
def _module(file: str, **macros: str | int) -> cupy.RawModule:
    source = resources.files(__package__).joinpath(f"{file}.cu").read_text("utf-8")
    options = ("--std=c++17", *(f"-D{macro}={C_TYPES.get(str(value), value)}" for macro, value in macros.items()))
    return cupy.RawModule(code=source, options=options)


def launch(
    kernel: cupy.RawKernel,
    blocks: int,
    threads: int,
    arrays: tuple[cupy.ndarray | None, ...],
    numbers: tuple[np.generic, ...],
) -> None:
    """Launch a kernel, whose parameters are its arrays, None for a null pointer, and then its numbers."""
    kernel((blocks,), (threads,), (*arrays, *numbers))
    if _local.calls is not None:
        _local.calls.append((kernel, blocks, threads, arrays, numbers))


class _Local(threading.local):
    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] | None = None  # the arguments of `launch`, while this thread records them
        self.thread = object()  # of this thread alone, where the number of a thread that has ended may come again


_local = _Local()


def here() -> tuple[int, object]:
    """Return the device and the thread: the driver launches only in a thread that has made a context on the device.

    CuPy's own launches make it, those of a `Recording` do not.
    """
    return cupy.cuda.runtime.getDevice(), _local.thread


@contextmanager
def recorded() -> Iterator[list[tuple[Any, ...]]]:
    """Collect what this thread launches within the block."""
    calls: list[tuple[Any, ...]] = []
    _local.calls = calls
    try:
        yield calls
    finally:
        _local.calls = None


class Recording:
    """Launches, packed once as the driver takes them; each call repeats them with other arrays in some places.

    Parameters
    ----------
    calls : from `recorded`
    given : the arrays in whose places a call puts others

    Attributes
    ----------
    complete : whether each of the given arrays was an argument
    """

    def __init__(self, calls: list[tuple[Any, ...]], *given: cupy.ndarray) -> None:
        replaced = {array.data.ptr for array in given}
        self._held: list[Any] = []  # what the addresses point to; of the given arrays a view would hold a data set
        self._launches = []
        self._places: list[list[Any]] = [[] for _ in given]
        for kernel, blocks, threads, arrays, numbers in calls:
            pointers = [ctypes.c_void_p(None if array is None else array.data.ptr) for array in arrays]
            values = [*pointers, *(np.ctypeslib.as_ctypes_type(type(number))(number) for number in numbers)]
            addresses = (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values))
            self._held += [kernel, values, addresses]
            self._held += [array for array in arrays if array is not None and array.data.ptr not in replaced]
            start = partial(cupy.cuda.driver.launchKernel, kernel.kernel.ptr, blocks, 1, 1, threads, 1, 1, 0)
            self._launches.append((start, ctypes.addressof(addresses)))
            for places, array in zip(self._places, given, strict=True):
                places += [pointer for pointer in pointers if pointer.value == array.data.ptr]
        self.complete = all(self._places)

    def __call__(self, *arrays: cupy.ndarray) -> None:
        """Launch everything again, with these arrays in the places of the given ones."""
        for places, array in zip(self._places, arrays, strict=True):
            for place in places:
                place.value = array.data.ptr
        stream = cupy.cuda.get_current_stream().ptr
        for start, addresses in self._launches:
            start(stream, addresses, 0)
