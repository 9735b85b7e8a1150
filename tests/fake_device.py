"""A stand-in for CuPy on a machine without a GPU. NO GPU CODE RUNS HERE, and a green test says nothing about a GPU.

Its arithmetic is NumPy's, but it keeps the two kinds of arrays apart. It refuses what CuPy refuses: implicit conversion
to NumPy, host and device arrays in one operation, assignment of a host array. It is stricter than CuPy in one thing:
NumPy's own functions do not take its arrays, so a stray ``np.`` is found. It counts each wait of the host for the
device and each launch, so it shows that a step copies nothing to or from the host. Fresh arrays hold NaN.
The kernels are those of `minigru.engine.kernels`: `cuda_on_cpu` compiles their CUDA C++ for the CPU. This proves their
arithmetic. It does not show how CUDA compiles or runs them.
"""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import cuda_on_cpu
import numpy as np

import minigru.engine.kernels
from minigru import Backend, get_backend

BANNER = "fake device: these tests ran on NumPy behind CuPy's refusals; no GPU code ran"
KERNEL_MODULES = ("cupy_kernels", "cuda", "gru_persistent", "gru_steps", "products")
STREAM = 7  # the current one
PROCESSORS = 4  # multiprocessors of the fake device
free = 1 << 36  # bytes of its global memory
used = False
host_waits = 0


class Launch(NamedTuple):
    """A kernel that was launched; the shape is known of the kernels written in ``.cu`` files alone."""

    name: str
    blocks: int = 0
    threads: int = 0


launches: list[Launch] = []
pointers: dict[int, weakref.ref[np.ndarray]] = {}  # the arrays whose addresses were asked for


def _nan(shape: Any, dtype: Any) -> np.ndarray:
    return np.full(shape, np.nan if np.dtype(dtype).kind == "f" else 0, dtype)


def _wait() -> None:
    global host_waits
    host_waits += 1


class FakeArray:
    """An array on the fake device; not an ndarray, and never one by accident."""

    __array_ufunc__ = None  # a NumPy array on the other side of an operator is refused too
    __hash__ = None

    def __init__(self, host: Any, dtype: Any = None) -> None:
        self._host = np.asarray(host) if dtype is None else _nan(host, dtype)  # with a dtype, `host` is a shape

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __len__(self) -> int:
        return len(self._host)

    @property
    def data(self) -> SimpleNamespace:
        pointers[self._host.ctypes.data] = weakref.ref(self._host)
        return SimpleNamespace(ptr=self._host.ctypes.data)

    def get(self) -> np.ndarray:
        _wait()
        return self._host.copy()

    def __getitem__(self, key: Any) -> FakeArray:
        if isinstance(key, FakeArray):
            launches.append(Launch("gather"))
        return FakeArray(self._host[_host_side(key)])

    def __setitem__(self, key: Any, value: Any) -> None:
        launches.append(Launch("fill"))
        if isinstance(value, np.ndarray):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._host[_host_side(key)] = _host_side(value)


def _host_side(value: Any) -> Any:
    """Return the host side of fake arrays, and Python scalars as they are; refuse what CuPy refuses."""
    if isinstance(value, FakeArray):
        return value._host
    if isinstance(value, (tuple, list)):
        return type(value)(map(_host_side, value))
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def _call(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    if function is not np.ascontiguousarray:  # the engine's arrays are contiguous, so it launches nothing
        launches.append(Launch(function.__name__))
    result = function(*map(_host_side, args), **{name: _host_side(value) for name, value in kwargs.items()})
    if kwargs.get("out") is not None:
        return kwargs["out"]
    return tuple(map(FakeArray, result)) if isinstance(result, tuple) else FakeArray(result)


def _reader(kind: Callable[[Any], Any]) -> Callable[..., Any]:
    def read(self: FakeArray) -> Any:
        _wait()
        return kind(self._host.item())

    return read


for _name in ("shape", "dtype", "ndim", "size", "strides", "itemsize"):
    setattr(FakeArray, _name, property(lambda self, name=_name: getattr(self._host, name)))
FakeArray.T = property(lambda self: FakeArray(self._host.T))
for _name in ("reshape", "transpose"):
    setattr(FakeArray, _name, lambda self, *args, name=_name: FakeArray(getattr(self._host, name)(*args)))
for _name, _function in {"copy": np.ndarray.copy, "astype": np.ndarray.astype, "sum": np.ndarray.sum}.items():
    setattr(FakeArray, _name, lambda self, *args, f=_function, **kwargs: _call(f, self, *args, **kwargs))
for _name, _kind in {"__float__": float, "__int__": int, "__bool__": bool, "item": lambda number: number}.items():
    setattr(FakeArray, _name, _reader(_kind))
for _name, _function in {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "truediv": np.divide, "matmul": np.matmul, "eq": np.equal,
    "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}.items():  # fmt: skip
    setattr(FakeArray, f"__{_name}__", lambda self, other, f=_function: _call(f, self, other))
    setattr(FakeArray, f"__r{_name}__", lambda self, other, f=_function: _call(f, other, self))
FakeArray.__neg__ = lambda self: _call(np.negative, self)


class ElementwiseKernel(cuda_on_cpu.ElementwiseKernel):
    """An elementwise kernel that counts its launches."""

    def __call__(self, *arguments: Any) -> None:
        launches.append(Launch(self.name))
        super().__call__(*arguments)


functions: list[tuple[RawModule, str]] = []


class RawModule(cuda_on_cpu.RawModule):
    """A module whose kernels count their launches, and which the driver finds by a number."""

    def get_function(self, name: str) -> Any:
        kernel = super().get_function(name)

        def launch(grid: tuple[int], block: tuple[int], arguments: tuple[Any, ...]) -> None:
            launches.append(Launch(name, *grid, *block))
            kernel(grid, block, arguments)

        functions.append((self, name))
        launch.kernel = SimpleNamespace(ptr=len(functions) - 1)
        return launch


def launch_kernel(function: int, blocks: int, *args: int) -> None:
    """Run a kernel as the driver does, from the addresses of its arguments; refuse what it would misread."""
    module, name = functions[function]
    threads, stream, addresses = args[2], *args[-3:-1]
    assert stream == STREAM
    launches.append(Launch(name, blocks, threads))
    places = (ctypes.c_void_p * len(module.parameters[name])).from_address(addresses)
    for n, (C_type, is_pointer) in enumerate(module.parameters[name]):
        pointer = ctypes.c_void_p.from_address(places[n]).value if is_pointer else None
        if pointer is not None:
            array = pointers[pointer]()
            assert array is not None, "the memory was freed"
            assert array.dtype == cuda_on_cpu.DTYPES[module.macros.get(C_type, C_type)]
            assert array.flags.c_contiguous or (name, n) in cuda_on_cpu.WITH_STRIDES
    module.run(name, blocks, threads, places)


class Module(ModuleType):
    """The fake as ``import cupy`` finds it: NumPy's functions, on fake arrays alone."""

    ndarray, ElementwiseKernel, RawModule = FakeArray, ElementwiseKernel, RawModule
    cuda = SimpleNamespace(
        Device=lambda number=0: SimpleNamespace(
            attributes={"MultiProcessorCount": PROCESSORS}, compute_capability="90"
        ),
        runtime=SimpleNamespace(
            getDevice=lambda: 0,
            getDeviceProperties=lambda number: {"name": b"no GPU: the fake device of the tests"},
            memGetInfo=lambda: (free, free),
            free=lambda pointer: None,
            driverGetVersion=lambda: 0,
            runtimeGetVersion=lambda: 0,
        ),
        driver=SimpleNamespace(launchKernel=launch_kernel),
        get_current_stream=lambda: SimpleNamespace(ptr=STREAM),
    )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        function = getattr(np, name)
        if name in ("zeros", "ones", "arange"):
            return lambda *args, **kwargs: FakeArray(function(*args, **kwargs))
        return lambda *args, **kwargs: _call(function, *args, **kwargs)

    @staticmethod
    def is_available() -> bool:
        return True

    @staticmethod
    def asarray(array: Any) -> FakeArray:
        if isinstance(array, FakeArray):
            return array
        _wait()
        return FakeArray(np.array(array))

    @staticmethod
    def empty(shape: Any, dtype: Any = float) -> FakeArray:
        return FakeArray(shape, dtype)


@contextmanager
def installed() -> Iterator[None]:
    """Let ``import cupy`` find the fake, and let no module that has done so outlive the block."""
    global used
    used = True
    names = ["cupy", *(f"minigru.engine.kernels.{name}" for name in KERNEL_MODULES)]
    before = {name: sys.modules.pop(name, None) for name in names}
    sys.modules["cupy"] = Module("cupy")
    _forget(names)
    try:
        yield
    finally:
        for name, module in before.items():
            sys.modules.pop(name, None)
            if module is not None:
                sys.modules[name] = module
        _forget(names)


def _forget(names: list[str]) -> None:
    """Remove the modules from their package, so that the next import looks them up again."""
    for name in names:
        vars(minigru.engine.kernels).pop(name.rpartition(".")[2], None)


def fake_backend() -> Backend:
    """Return the backend that ``--backend cupy`` gets, on the fake device."""
    with installed():
        return get_backend("cupy")
