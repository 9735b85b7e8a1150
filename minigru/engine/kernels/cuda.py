"""Compiles and launches the kernels written in CUDA C++."""

from __future__ import annotations

import ctypes
from functools import cache, partial
from importlib import resources
from threading import get_ident
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


class Launch:
    """Launches one kernel: what does not change from launch to launch is packed once.

    A small training step takes the host longer than the device, and most of the host's time would be the packing.

    Parameters
    ----------
    kernel : takes its arrays first, then its numbers
    blocks, threads : of the grid
    arrays : how many
    numbers : NumPy scalars
    """

    def __init__(self, kernel: cupy.RawKernel, blocks: int, threads: int, arrays: int, *numbers: np.generic) -> None:
        cupy.cuda.runtime.free(0)  # the driver needs a context of this thread, which a call of the runtime makes
        self._pointers = (ctypes.c_int64 * arrays)()
        as_ctypes: Any = np.ctypeslib.as_ctypes_type
        self._numbers = [as_ctypes(type(number))(number) for number in numbers]
        places = [ctypes.addressof(self._pointers) + 8 * n for n in range(arrays)]
        places += [ctypes.addressof(number) for number in self._numbers]
        self._places = (ctypes.c_void_p * len(places))(*places)
        self._kernel = kernel.kernel  # keeps the code on the device
        self._launch = partial(cupy.cuda.driver.launchKernel, self._kernel.ptr, blocks, 1, 1, threads, 1, 1, 0)

    def set(self, *values: float) -> None:
        """Replace the first numbers."""
        for number, value in zip(self._numbers, values, strict=False):
            number.value = value

    def __call__(self, *arrays: cupy.ndarray | None) -> None:
        """Launch the kernel with these arrays, None for a null pointer."""
        self._pointers[:] = [0 if array is None else array.data.ptr for array in arrays]
        self._launch(cupy.cuda.get_current_stream().ptr, ctypes.addressof(self._places), 0)


def here() -> tuple[int, int]:
    """Return the device and the thread, for which a `Launch` is made: two threads must not pack at the same time."""
    return cupy.cuda.runtime.getDevice(), get_ident()
