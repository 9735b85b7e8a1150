"""CUDA C++ on the CPU: g++ compiles the kernels' own source behind a thin stand-in for what CUDA adds to C++.

The threads of a block take turns: each runs to its next barrier, then the next thread runs. The order of the turns is
forward, backward, or shuffled at every barrier, so a missing barrier changes the result. Shared memory starts as NaN.
A barrier that only some threads of a block reach is an error, and so is an argument of another type than declared.
This proves the arithmetic of the source. It does not show what a GPU does with the source, or how fast.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from collections import namedtuple
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

PRELUDE = r"""
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define __global__
#define __device__ static
// Shared memory is a section of its own, so that it can be filled with what a GPU may leave there: NaN.
#define __shared__ static __attribute__((section("shared_memory")))
extern "C" char __start_shared_memory[], __stop_shared_memory[];
__shared__ __attribute__((used)) char always;  // without it a kernel with no shared memory would lack the section
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))

static struct { unsigned x; } threadIdx, blockIdx;

namespace turns {
    enum { MOST = 1024, STACK = 1 << 14 };
    jmp_buf scheduler, threads[MOST];  // a jump makes no system call; a switch of contexts makes two
    ucontext_t first, context;
    char stacks[MOST][STACK];
    unsigned ended, state;
    void (*kernel)(void**);
    void** arguments;

    void run_one() { kernel(arguments); ++ended; _longjmp(scheduler, 1); }

    void arrange(unsigned* order, unsigned count, unsigned seed)
    {
        for (unsigned i = 0; i < count; ++i) order[i] = seed == 1 ? count - 1 - i : i;
        for (unsigned i = count; seed > 1 && i > 1; --i) {
            const unsigned k = rand_r(&state) % i, last = order[i - 1];
            order[i - 1] = order[k];
            order[k] = last;
        }
    }

    // Return 1 if some threads of a block wait at a barrier that the others never reach, or else 0.
    int run(unsigned blocks, unsigned count, unsigned seed)
    {
        static unsigned of_blocks[1 << 16], order[MOST];
        state = seed;
        arrange(of_blocks, blocks, seed);
        for (unsigned n = 0; n < blocks; ++n) {
            blockIdx.x = of_blocks[n];
            memset(__start_shared_memory, 0xff, __stop_shared_memory - __start_shared_memory);
            bool fresh = true;
            for (ended = 0; ended < count; fresh = false) {
                if (ended) return 1;
                arrange(order, count, seed);
                for (volatile unsigned i = 0; i < count; ++i) {
                    threadIdx.x = order[i];
                    if (_setjmp(scheduler)) continue;
                    if (!fresh) _longjmp(threads[threadIdx.x], 1);
                    getcontext(&context);
                    context.uc_stack.ss_sp = stacks[threadIdx.x];
                    context.uc_stack.ss_size = STACK;
                    makecontext(&context, run_one, 0);
                    swapcontext(&first, &context);
                }
            }
        }
        return 0;
    }
}

static void __syncthreads()
{
    if (!_setjmp(turns::threads[threadIdx.x])) _longjmp(turns::scheduler, 1);
}
"""
DTYPES = {
    "float": "float32", "signed char": "int8", "short": "int16", "int": "int32", "long long": "int64",
    "double": "float64", "unsigned char": "uint8", "unsigned short": "uint16", "unsigned int": "uint32",
    "unsigned long long": "uint64",
}  # fmt: skip
WITH_STRIDES = {("gru_inputs", 0)}  # arguments of kernels that are also given the strides of the array
missing = None if shutil.which("g++") else "there is no g++ to compile the CUDA sources for the CPU"
seed = 0  # of the order of threads and blocks: 0 forward, 1 backward, else shuffled


@cache
def compiled(source: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """Compile C++ and load it; on a mistake, raise SyntaxError with the compiler's own message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cpp"
        path.write_text(source, "utf-8")
        fixed = ["-shared", "-fPIC", "-O1", "-std=c++17", "-ffp-contract=off", "-U_FORTIFY_SOURCE", "-w"]
        command = ["g++", *fixed, *options, "-o", path.with_suffix(".so"), path]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise SyntaxError(result.stderr)
        return ctypes.CDLL(path.with_suffix(".so"))


def parameters(code: str) -> dict[str, list[tuple[str, bool]]]:
    """Return for each ``__global__`` function the C type of every parameter, and whether it is a pointer."""
    code = re.sub(r"//[^\n]*", "", code)
    found = {}
    for name, declared in re.findall(r"__global__ void\s+(?:__launch_bounds__\([\w, ]+\)\s+)?(\w+)\(([^)]*)\)", code):
        found[name] = [
            (re.sub(r"\bconst\b|__restrict__|\*|\w+$", "", p.strip()).strip(), "*" in p) for p in declared.split(",")
        ]
    return found


class RawModule:
    """Stands in for ``cupy.RawModule``."""

    def __init__(self, code: str, options: tuple[str, ...]) -> None:
        self.parameters = parameters(code)
        defines = tuple(option for option in options if option.startswith("-D"))
        self.macros = dict(define[2:].split("=") for define in defines)
        launchers = []
        for name, types in self.parameters.items():
            values = ", ".join(f"*({kind}{'*' * is_pointer}*)a[{i}]" for i, (kind, is_pointer) in enumerate(types))
            head = f'extern "C" int launch_{name}(unsigned blocks, unsigned threads, unsigned seed, void** a)'
            call = f"turns::kernel = [](void** a) {{ {name}({values}); }}; turns::arguments = a;"
            launchers.append(f"{head}\n{{\n{call}\nreturn turns::run(blocks, threads, seed);\n}}\n")
        self.library = compiled("\n".join([PRELUDE, code, *launchers]), defines)

    def get_function(self, name: str) -> Any:
        """Return the kernel, to be called as ``kernel((blocks,), (threads,), arguments)``."""

        def kernel(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            pairs = zip(arguments, self.parameters[name], strict=True)
            held = [self._argument(*pair, (name, n) in WITH_STRIDES) for n, pair in enumerate(pairs)]
            self.run(name, *grid, *block, (ctypes.c_void_p * len(held))(*(value.ctypes.data for value in held)))

        return kernel

    def run(self, name: str, blocks: int, threads: int, addresses: Any) -> None:
        """Run a kernel with the arguments at these addresses."""
        if getattr(self.library, f"launch_{name}")(blocks, threads, seed, addresses):
            raise RuntimeError(f"some threads of {name} wait at a barrier that the others never reach")

    def _argument(self, value: Any, declared: tuple[str, bool], with_strides: bool) -> np.ndarray:
        """Return the bytes of an argument as an array; refuse what the kernel would misread."""
        C_type, is_pointer = declared
        if is_pointer and value is None:
            return np.array(0)  # a null pointer
        dtype = DTYPES[self.macros.get(C_type, C_type)]
        host = getattr(value, "_host", value)
        if not isinstance(host, np.ndarray if is_pointer else np.generic) or host.dtype != dtype:
            raise TypeError(f"expected {'an array of' if is_pointer else 'a NumPy scalar'} {dtype}, got {value!r}")
        if is_pointer and not host.flags.c_contiguous and not with_strides:
            raise TypeError("the array is not contiguous, and the kernel reads it as if it were")
        return np.array(host.ctypes.data if is_pointer else host)


Param = namedtuple("Param", "name ctype")  # of an ElementwiseKernel, as CuPy describes it


class ElementwiseKernel:
    """Stands in for ``cupy.ElementwiseKernel``: its operation is the body of a loop over all elements."""

    def __init__(self, in_params: str, out_params: str, operation: str, name: str, preamble: str = "") -> None:
        self.in_params, self.out_params = (
            tuple(Param(n, kind) for kind, n in (p.split() for p in params.split(",")))
            for params in (in_params, out_params)
        )
        self.params = self.in_params + self.out_params
        self.operation, self.name, self.preamble = operation, name, preamble

    def __call__(self, *arguments: Any) -> None:
        given = {p: getattr(value, "_host", value) for p, value in zip(self.params, arguments, strict=True)}
        for param, value in given.items():
            if not isinstance(value, np.ndarray if param in self.out_params else (np.ndarray, float)):
                raise TypeError(f"{param.name} is {value!r}: expected an array, or a Python number to read")
        arrays = [value for value in given.values() if isinstance(value, np.ndarray)]
        if len({array.dtype for array in arrays}) != 1:
            raise TypeError("Type is mismatched. T")
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
        copies = {  # a number is rounded to T
            param: np.array(np.broadcast_to(value, shape), arrays[0].dtype, order="C") for param, value in given.items()
        }
        REAL = {dtype: name for name, dtype in DTYPES.items()}[arrays[0].dtype.name]
        _elementwise(self, REAL)((1,), (1,), (*copies.values(), np.int64(np.prod(shape))))
        for param in self.out_params:
            given[param][...] = copies[param]


@cache
def _elementwise(kernel: ElementwiseKernel, REAL: str) -> Any:
    return RawModule(elementwise_source(kernel), (f"-DREAL={REAL}",)).get_function(kernel.name)


def elementwise_source(kernel: Any) -> str:
    """Return an elementwise kernel, the stand-in's or CuPy's, as CUDA C++ for one thread; its T is the macro REAL."""
    outputs = {param.name for param in kernel.out_params}
    params = [param for param in kernel.params if param.ctype]  # CuPy adds its index, of no type
    const = {param: "" if param.name in outputs else "const " for param in params}
    declared = [f"{const[p]}REAL* p_{p.name}" if p.ctype == "T" else f"{p.ctype} {p.name}" for p in params]
    bound = [f"{const[p]}T& {p.name} = p_{p.name}[i];\n" for p in params if p.ctype == "T"]
    return (
        f'typedef REAL T;\n{kernel.preamble}\nextern "C" __global__ void {kernel.name}({", ".join(declared)}, '
        f"long long size)\n{{\nfor (long long i = 0; i < size; ++i) {{\n{''.join(bound)}{kernel.operation};\n}}\n}}\n"
    )
