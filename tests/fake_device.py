"""A stand-in for CuPy on a machine without a GPU. NO GPU CODE RUNS HERE, and a green test says nothing about any.

It does its arithmetic with NumPy, but keeps the two kinds of arrays apart: what CuPy refuses (implicit conversion to
NumPy, host and device arrays in one operation, assignment of a host array) is refused, and each wait of the host for
the device is counted. So it shows that a step copies nothing to or from the host. It is stricter than CuPy in that
NumPy's own functions do not take its arrays, so that a stray ``np.`` is found.
The kernels it runs are those of `minigru.kernels.cupy_kernels`, their source read as Python, statement by statement.
Only statements that mean the same in C are accepted. That tests their arithmetic, not how CUDA compiles or runs them.
It lives with the tests, and `get_backend` does not know it.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from minigru import Backend
from minigru.kernels import numpy_kernels

BANNER = "fake device: these tests ran on NumPy behind CuPy's refusals; no GPU code ran"
used = False
host_waits = 0


class FakeArray:
    """An array on the fake device; not an ndarray, and never one by accident."""

    __array_ufunc__ = None  # a NumPy array on the other side of an operator is refused too

    def __init__(self, host: np.ndarray) -> None:
        self._host = np.asarray(host)

    shape = property(lambda self: self._host.shape)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    T = property(lambda self: FakeArray(self._host.T))

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __len__(self) -> int:
        return len(self._host)

    def get(self) -> np.ndarray:
        _wait()
        return self._host.copy()

    def _read(self, kind: Any) -> Any:
        _wait()
        return kind(self._host.item())

    def __float__(self) -> float:
        return self._read(float)

    def __int__(self) -> int:
        return self._read(int)

    def __bool__(self) -> bool:
        return self._read(bool)

    def item(self) -> Any:
        return self._read(lambda number: number)

    def reshape(self, *shape: int) -> FakeArray:
        return FakeArray(self._host.reshape(*shape))

    def transpose(self, *axes: int) -> FakeArray:
        return FakeArray(self._host.transpose(*axes))

    def copy(self) -> FakeArray:
        return FakeArray(self._host.copy())

    def sum(self, **kwargs: Any) -> FakeArray:
        return _call(np.sum, self, **kwargs)

    def __getitem__(self, key: Any) -> FakeArray:
        return FakeArray(self._host[_to_fake_only(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        if isinstance(value, np.ndarray):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._host[_to_fake_only(key)] = _to_fake_only(value)


def _wait() -> None:
    global host_waits
    host_waits += 1


def _to_fake_only(value: Any) -> Any:
    """Return the host side of fake arrays, and Python scalars as they are; refuse what CuPy refuses."""
    if isinstance(value, FakeArray):
        return value._host
    if isinstance(value, (tuple, list)):
        return type(value)(map(_to_fake_only, value))
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def _call(function: Any, *args: Any, **kwargs: Any) -> FakeArray:
    out = kwargs.get("out")
    result = function(*map(_to_fake_only, args), **{name: _to_fake_only(value) for name, value in kwargs.items()})
    return out if out is not None else FakeArray(result)


def _operator(function: Any, *, swapped: bool = False) -> Any:
    def method(self: FakeArray, other: Any = None) -> Any:
        if other is None:
            return _call(function, self)
        return _call(function, other, self) if swapped else _call(function, self, other)

    return method


for _name, _function in {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
}.items():
    setattr(FakeArray, f"__{_name}__", _operator(_function))
    setattr(FakeArray, f"__r{_name}__", _operator(_function, swapped=True))
FakeArray.__neg__ = _operator(np.negative)
for _name, _function in {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}.items():  # fmt: skip
    setattr(FakeArray, f"__{_name}__", _operator(_function))
FakeArray.__hash__ = None


COMPUTING = (
    np.matmul,
    np.dot,
    np.add,
    np.subtract,
    np.multiply,
    np.divide,
    np.maximum,
    np.sqrt,
    np.exp,
    np.log,
    np.tanh,
)
COMPUTING += (np.equal, np.vdot, np.sum, np.max, np.concatenate, np.zeros_like, np.empty_like)
MAKING = (np.zeros, np.empty, np.arange)


class FakeCupy(SimpleNamespace):
    """The functions of CuPy that the engine and the kernels use, and no others."""

    ndarray = FakeArray

    def __init__(self) -> None:
        super().__init__(**{function.__name__: self._computing(function) for function in COMPUTING})
        vars(self).update({function.__name__: self._making(function) for function in MAKING})
        self.max = self._computing(np.max)  # whose __name__ is amax in older NumPy

    @staticmethod
    def _computing(function: Any) -> Any:
        return lambda *args, **kwargs: _call(function, *args, **kwargs)

    @staticmethod
    def _making(function: Any) -> Any:
        return lambda *args, **kwargs: FakeArray(function(*args, **kwargs))

    @staticmethod
    def asarray(array: Any) -> FakeArray:
        if isinstance(array, FakeArray):
            return array
        _wait()
        return FakeArray(np.array(array))


class FakeElementwiseKernel:
    """Runs the source of an elementwise kernel on whole arrays."""

    def __init__(self, in_params: str, out_params: str, operation: str, name: str) -> None:
        self.inputs, self.outputs = (
            [tuple(param.split()) for param in params.split(",")] for params in (in_params, out_params)
        )
        self.statements = python_of(operation, {name for _, name in self.outputs})

    def __call__(self, *arrays: Any) -> None:
        params = self.inputs + self.outputs
        assert len(arrays) == len(params)
        hosts = {name: _to_fake_only(array) for (_, name), array in zip(params, arrays, strict=True)}
        for kind, name in params:
            is_array = isinstance(hosts[name], np.ndarray)
            if is_array != (kind == "T"):
                raise TypeError(f"{name} is declared {kind}: expected an array for T, a Python number for float64")
        if len({host.dtype for host in hosts.values() if isinstance(host, np.ndarray)}) != 1:
            raise TypeError("Type is mismatched. T")
        values = {"tanh": np.tanh, "sqrt": np.sqrt, **hosts}
        for statement in self.statements:
            exec(statement, values)
        for _, name in self.outputs:
            hosts[name][...] = values[name]


def python_of(operation: str, outputs: set[str]) -> list[str]:
    """Return the statements of a kernel; refuse any that C would not take, or would take otherwise."""
    lines = [line.strip() for line in operation.strip().splitlines()]
    if len(lines) == 1 and not lines[0].endswith(";"):
        lines = [lines[0] + ";"]  # CuPy adds the last semicolon
    statements, declared = [], set(outputs)
    for line in lines:
        match = re.fullmatch(r"(const T )?(\w+) = ([^=;]+);", line)
        if match is None:
            raise SyntaxError(f"{line!r} is no assignment with a semicolon")
        declaration, name, expression = match.groups()
        if bool(declaration) == (name in declared):
            raise SyntaxError(f"{line!r} assigns what is not declared, or declares it twice")
        declared.add(name)
        for node in ast.walk(ast.parse(expression, mode="eval")):
            if isinstance(node, (ast.Pow, ast.FloorDiv, ast.Mod, ast.MatMult)):
                raise SyntaxError(f"{expression!r} has an operator that C has not, or has otherwise")
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
                parts = [inner for inner in ast.walk(node.left) if isinstance(inner, ast.Name)]
                if not parts:
                    raise SyntaxError(f"{expression!r} divides whole numbers")
        statements.append(f"{name} = {expression}")
    return statements


def fake_backend() -> Backend:
    """Return a backend on the fake device, with the CuPy kernels."""
    global used
    used = True
    xp = FakeCupy()
    xp.ElementwiseKernel = FakeElementwiseKernel
    kernels = ModuleType("fake_kernels")
    vars(kernels)["cupy"] = xp
    path = Path(numpy_kernels.__file__).with_name("cupy_kernels.py")
    source = path.read_text("utf-8").replace("import cupy\n", "\n")
    exec(compile(source, path, "exec"), vars(kernels))
    return Backend("fake", xp, kernels)
