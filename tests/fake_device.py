"""A stand-in for CuPy on a machine without a GPU. NO GPU CODE RUNS HERE, and a green test says nothing about any.

It does its arithmetic with NumPy, but keeps the two kinds of arrays apart: what CuPy refuses (implicit conversion to
NumPy, host and device arrays in one operation, assignment of a host array) is refused, and each wait of the host for
the device is counted. So it shows that a step copies nothing to or from the host. It is stricter than CuPy in that
NumPy's own functions do not take its arrays, so that a stray ``np.`` is found.
The kernels it runs are those of `minigru.engine.kernels`: their own CUDA C++, compiled for the CPU by `cuda_on_cpu`. That
tests their arithmetic, not how CUDA compiles or runs them. It lives with the tests, and takes CuPy's place only while a
test asks for it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any

import cuda_on_cpu
import numpy as np

import minigru.engine.kernels
from minigru import Backend, get_backend

BANNER = "fake device: these tests ran on NumPy behind CuPy's refusals; no GPU code ran"
PROCESSORS = 4  # of the fake device: with more samples than these, a block takes several
used = False
host_waits = 0
launches = 0  # of kernels: what is computed, filled, copied or gathered on the device


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
        if isinstance(key, FakeArray):
            _launch()
        return FakeArray(self._host[_to_fake_only(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        _launch()
        if isinstance(value, np.ndarray):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._host[_to_fake_only(key)] = _to_fake_only(value)


def _wait() -> None:
    global host_waits
    host_waits += 1


def _launch() -> None:
    global launches
    launches += 1


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
    if function is not np.ascontiguousarray:  # which finds them contiguous
        _launch()
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
    "matmul": np.matmul,
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
COMPUTING += (np.equal, np.max, np.vdot, np.sum, np.concatenate, np.zeros_like, np.empty_like, np.ascontiguousarray)
MAKING = (np.zeros, np.ones, np.empty, np.arange)


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


class ElementwiseKernel(cuda_on_cpu.ElementwiseKernel):
    """One that counts its launches."""

    def __call__(self, *arguments: Any) -> None:
        _launch()
        super().__call__(*arguments)


class RawModule(cuda_on_cpu.RawModule):
    """One whose kernels count their launches."""

    def get_function(self, name: str) -> Any:
        kernel = super().get_function(name)
        return lambda *arguments: (_launch(), kernel(*arguments))[1]


class Module(ModuleType):
    """`FakeCupy` as ``import cupy`` finds it."""

    def __init__(self) -> None:
        super().__init__("cupy")
        vars(self).update(vars(FakeCupy()), ndarray=FakeArray, asarray=FakeCupy.asarray)
        self.ElementwiseKernel, self.RawModule = ElementwiseKernel, RawModule
        self.is_available = lambda: True
        device = SimpleNamespace(attributes={"MultiProcessorCount": PROCESSORS})
        runtime = SimpleNamespace(
            getDevice=lambda: 0,
            getDeviceProperties=lambda number: {"name": b"no GPU: the fake device of the tests"},
            driverGetVersion=lambda: 0,
            runtimeGetVersion=lambda: 0,
        )
        self.cuda = SimpleNamespace(Device=lambda number: device, runtime=runtime)


@contextmanager
def installed() -> Iterator[None]:
    """Let ``import cupy`` find the fake, and let no module that has done so outlive the block."""
    global used
    used = True
    names = ["cupy", *(f"minigru.engine.kernels.{name}" for name in ("cupy_kernels", "cuda", "gru_persistent"))]
    package = vars(minigru.engine.kernels)
    before = {name: sys.modules.pop(name, None) for name in names}
    attributes = {name: package.pop(name) for name in ("cupy_kernels", "cuda", "gru_persistent") if name in package}
    sys.modules["cupy"] = Module()
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            package.pop(name.rpartition(".")[2], None)
            if module is not None:
                sys.modules[name] = module
        package.update(attributes)


def fake_backend() -> Backend:
    """Return the backend that ``--backend cupy`` gets, on the fake device."""
    with installed():
        return get_backend("cupy")
