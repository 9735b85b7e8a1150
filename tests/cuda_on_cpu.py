"""CUDA C++ on the CPU: the kernels' own source, compiled by g++ behind a thin stand-in for what CUDA adds to C++.

The threads of a block take turns: each runs up to its next barrier, then the next one does. A barrier that is missing
shows in the numbers, because the turns are taken in different orders: forward, backward, and shuffled at every barrier.
A barrier that not all threads of a block reach is an error, as is an argument of another type than the kernel declares.
What is proved is the arithmetic of the source, not what a GPU does with it; there is nothing here about speed.
"""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

PRELUDE = r"""
#include <math.h>
#include <ucontext.h>
#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <vector>

#define __global__
#define __device__ static
// Shared memory lies in one section, so that it can be filled with what a GPU may leave there: NaN.
#define __shared__ static __attribute__((section("shared_memory")))
extern "C" char __start_shared_memory[], __stop_shared_memory[];
#define __launch_bounds__(threads)
#define __align__(bytes) __attribute__((aligned(bytes)))

struct Index { unsigned x; };
static Index threadIdx, blockIdx;

namespace turns {
    ucontext_t scheduler;
    std::vector<ucontext_t> threads;
    std::vector<bool> ended;
    std::function<void()> kernel;

    void run_one() { kernel(); ended[threadIdx.x] = true; }

    // 0, or 1 where some threads of a block wait at a barrier that the others never reach.
    int run(unsigned blocks, unsigned count, unsigned seed)
    {
        constexpr size_t STACK = 1 << 16;
        std::vector<char> stacks(count * STACK);
        std::vector<unsigned> order(count), of_blocks(blocks);
        std::iota(of_blocks.begin(), of_blocks.end(), 0);
        std::mt19937 random(seed);
        if (seed == 1) std::reverse(of_blocks.begin(), of_blocks.end());
        if (seed > 1) std::shuffle(of_blocks.begin(), of_blocks.end(), random);
        for (unsigned block : of_blocks) {
            blockIdx.x = block;
            std::fill(__start_shared_memory, __stop_shared_memory, '\xff');
            threads.assign(count, {});
            ended.assign(count, false);
            std::iota(order.begin(), order.end(), 0);
            if (seed == 1) std::reverse(order.begin(), order.end());
            for (unsigned i = 0; i < count; ++i) {
                getcontext(&threads[i]);
                threads[i].uc_stack.ss_sp = &stacks[i * STACK];
                threads[i].uc_stack.ss_size = STACK;
                threads[i].uc_link = &scheduler;
                makecontext(&threads[i], run_one, 0);
            }
            for (size_t done = 0; done < count;) {
                if (seed > 1) std::shuffle(order.begin(), order.end(), random);
                for (unsigned i : order) {
                    threadIdx.x = i;
                    swapcontext(&scheduler, &threads[i]);
                }
                done = std::count(ended.begin(), ended.end(), true);
                if (done > 0 && done < count) return 1;
            }
        }
        return 0;
    }
}

static void __syncthreads()
{
    const unsigned i = threadIdx.x;
    swapcontext(&turns::threads[i], &turns::scheduler);
}
"""
DTYPES = {
    "float": "float32",
    "double": "float64",
    "signed char": "int8",
    "short": "int16",
    "int": "int32",
    "long long": "int64",
    "unsigned char": "uint8",
    "unsigned short": "uint16",
    "unsigned int": "uint32",
    "unsigned long long": "uint64",
}
missing = None if shutil.which("g++") else "there is no g++ to compile the CUDA sources for the CPU"
seed = 0  # in which order threads and blocks take their turns: 0 forward, 1 backward, else shuffled


@cache
def compile_for_cpu(source: str, options: tuple[str, ...] = ()) -> ctypes.CDLL:
    """Compile C++ and load it; a mistake in it raises with the compiler's own message."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cpp"
        path.write_text(source, "utf-8")
        fixed = ["-shared", "-fPIC", "-O1", "-std=c++17", "-ffp-contract=off", "-Wno-unknown-pragmas"]
        command = ["g++", *fixed, *options, "-o", path.with_suffix(".so"), path]
        result = subprocess.run(command, capture_output=True, text=True)
        if result.returncode:
            raise SyntaxError(result.stderr)
        return ctypes.CDLL(path.with_suffix(".so"))


def parameters(code: str) -> dict[str, list[tuple[str, bool]]]:
    """Return for each ``__global__`` function the C type of every parameter, and whether it is a pointer."""
    code = re.sub(r"//[^\n]*", "", code)
    found = {}
    for name, declared in re.findall(r"__global__ void (?:__launch_bounds__\(\w+\) )?(\w+)\(([^)]*)\)", code):
        found[name] = [(re.sub(r"\bconst\b|\*|\w+$", "", p.strip()).strip(), "*" in p) for p in declared.split(",")]
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
            call = f"turns::kernel = [=] {{ {name}({values}); }};"
            launchers.append(f"{head}\n{{\n{call}\nreturn turns::run(blocks, threads, seed);\n}}\n")
        self.compiled = compile_for_cpu("\n".join([PRELUDE, code, *launchers]), defines)

    def get_function(self, name: str) -> Any:
        """Return the kernel, to be called as ``kernel((blocks,), (threads,), arguments)``."""

        def kernel(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            types = self.parameters[name]
            assert len(arguments) == len(types), f"{name} takes {len(types)} arguments, not {len(arguments)}"
            held = [self._argument(*pair) for pair in zip(arguments, types, strict=True)]
            addresses = (ctypes.c_void_p * len(held))(*(value.ctypes.data for value in held))
            if getattr(self.compiled, f"launch_{name}")(*grid, *block, seed, addresses):
                raise RuntimeError(f"some threads of {name} wait at a barrier that the others never reach")

        return kernel

    def _argument(self, value: Any, declared: tuple[str, bool]) -> np.ndarray:
        """Return what holds the bytes of an argument; refuse what the kernel would misread."""
        name, is_pointer = declared
        dtype = DTYPES[self.macros.get(name, name)]
        host = getattr(value, "_host", value)
        if not isinstance(host, np.ndarray if is_pointer else np.generic) or host.dtype != dtype:
            raise TypeError(f"expected {'an array of' if is_pointer else 'a NumPy scalar'} {dtype}, got {value!r}")
        if is_pointer and not host.flags.c_contiguous:
            raise TypeError("the array is not contiguous, and the kernel reads it as if it were")
        return np.array(host.ctypes.data if is_pointer else host)


class ElementwiseKernel:
    """Stands in for ``cupy.ElementwiseKernel``: its statements as the body of a loop over all elements."""

    def __init__(self, in_params: str, out_params: str, operation: str, name: str) -> None:
        self.inputs, self.outputs = (
            [tuple(param.split()) for param in params.split(",")] for params in (in_params, out_params)
        )
        self.operation = operation

    def source(self) -> str:
        """Return a function of (arrays, numbers, size)."""
        arrays = [name for kind, name in self.inputs + self.outputs if kind == "T"]
        numbers = [name for kind, name in self.inputs if kind != "T"]
        outputs = {name for _, name in self.outputs}
        bound = [f"{'' if n in outputs else 'const '}T& {n} = arrays[{k}][i];" for k, n in enumerate(arrays)]
        bound += [f"const double {name} = numbers[{k}];" for k, name in enumerate(numbers)]
        body = "\n".join([*bound, self.operation, ";"])
        head = 'extern "C" void run(T** arrays, const double* numbers, long size)'
        return f"#include <math.h>\ntypedef REAL T;\n{head}\n{{\nfor (long i = 0; i < size; ++i) {{\n{body}\n}}\n}}\n"

    def __call__(self, *arguments: Any) -> None:
        params = self.inputs + self.outputs
        assert len(arguments) == len(params)
        hosts = {name: getattr(value, "_host", value) for (_, name), value in zip(params, arguments, strict=True)}
        for kind, name in params:
            if isinstance(hosts[name], np.ndarray) != (kind == "T"):
                raise TypeError(f"{name} is declared {kind}: expected an array for T, a Python number for float64")
        arrays = {name: hosts[name] for kind, name in params if kind == "T"}
        dtypes = {array.dtype for array in arrays.values()}
        if len(dtypes) != 1:
            raise TypeError("Type is mismatched. T")
        shape = np.broadcast_shapes(*(array.shape for array in arrays.values()))
        copies = {name: np.array(np.broadcast_to(array, shape), order="C") for name, array in arrays.items()}
        pointers = (ctypes.c_void_p * len(copies))(*(copy.ctypes.data for copy in copies.values()))
        numbers = np.array([hosts[name] for kind, name in params if kind != "T"], "float64")
        C_type = {np.dtype(dtype): name for name, dtype in DTYPES.items()}[dtypes.pop()]
        compiled = compile_for_cpu(self.source(), (f"-DREAL={C_type}",))
        compiled.run(pointers, ctypes.c_void_p(numbers.ctypes.data), ctypes.c_long(int(np.prod(shape))))
        for _, name in self.outputs:
            hosts[name][...] = copies[name]
