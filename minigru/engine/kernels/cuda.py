"""The kernels written in CUDA C++, compiled once for each set of types and sizes they are asked for."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

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
def kernel(file: str, name: str, **macros: str | int) -> Any:
    """Return the kernel `name` of ``FILE.cu``, compiled with these macros (a dtype's name stands for its C type)."""
    return _module(file, **macros).get_function(name)


@cache
def _module(file: str, **macros: str | int) -> Any:
    source = resources.files(__package__).joinpath(f"{file}.cu").read_text("utf-8")
    options = ("--std=c++17", *(f"-D{macro}={C_TYPES.get(str(value), value)}" for macro, value in macros.items()))
    return cupy.RawModule(code=source, options=options)
