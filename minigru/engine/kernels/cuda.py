"""Compiles the kernels written in CUDA C++, once for each set of types and sizes."""

from __future__ import annotations

from functools import cache
from importlib import resources

import cupy

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
