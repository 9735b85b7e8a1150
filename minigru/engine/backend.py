"""Where arrays live: NumPy on the host, or CuPy on a GPU."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = np.ndarray  # or cupy.ndarray, which has the same methods: mypy checks against those of NumPy
BACKENDS = ("numpy", "cupy")
CACHE_LINE = 64  # bytes


class BackendUnavailable(RuntimeError):
    """The backend asked for cannot be used here; the message says why, and what to do."""


@dataclass(frozen=True)
class Backend:
    """An array library and the elementwise kernels written for it.

    Attributes
    ----------
    name : "numpy" or "cupy"
    xp : the array library itself
    kernels : the module of `minigru.engine.kernels` written for it
    persistent : `minigru.engine.kernels.gru_persistent`, which runs all steps of a GRU as one kernel, where it is of use; with
        ``dataclasses.replace(backend, persistent=None)`` the GRU goes step by step
    """

    name: str
    xp: ModuleType
    kernels: ModuleType
    persistent: ModuleType | None = None

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an uninitialised array that starts on a cache line."""
        if self.name != "numpy":
            return self.xp.empty(shape, dtype)  # CuPy's memory starts on 512 bytes as it is
        size = math.prod(shape) * np.dtype(dtype).itemsize
        raw = np.empty(size + CACHE_LINE, np.uint8)
        start = -raw.ctypes.data % CACHE_LINE  # (F7)
        return raw[start : start + size].view(dtype).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Return an array of zeros that starts on a cache line."""
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def to_device(self, array: Any) -> Any:
        """Return `array` as an array of this backend; no copy where it is one already."""
        return self.xp.asarray(array)

    def to_host(self, array: Any) -> np.ndarray:
        """Return `array` as a NumPy array; no copy where it is one already."""
        return array.get() if hasattr(array, "get") else np.asarray(array)


def get_backend(backend: str | Backend) -> Backend:
    """Return the backend of that name, once it is known to work; a `Backend` is returned as it is.

    Raises
    ------
    ValueError
        The name is not one of `BACKENDS`.
    BackendUnavailable
        CuPy or the GPU it needs cannot be used. There is never a silent fall-back to NumPy.
    """
    if isinstance(backend, Backend):
        return backend
    if not isinstance(backend, str) or backend not in BACKENDS:
        raise ValueError(f"backend is {backend!r}; expected one of {', '.join(map(repr, BACKENDS))}")
    if backend == "numpy":
        return Backend("numpy", np, _kernels("numpy_kernels"))
    return Backend("cupy", _import_cupy(), _kernels("cupy_kernels"), _kernels("gru_persistent"))


def _kernels(name: str) -> ModuleType:
    return importlib.import_module(f".kernels.{name}", __package__)


def _import_cupy() -> ModuleType:
    """Import CuPy and prove with one real operation that a GPU answers."""
    try:
        import cupy
    except ModuleNotFoundError as error:
        if error.name != "cupy":
            raise
        raise BackendUnavailable(
            "CuPy is not installed: pip install cupy-cuda13x, or cupy-cuda12x where nvidia-smi shows CUDA 12, "
            "or use --backend numpy"
        ) from None
    except ImportError as error:
        raise BackendUnavailable(f"CuPy cannot be imported ({_first_line(error)}): reinstall it") from error
    if not cupy.is_available():
        raise BackendUnavailable(_why_no_device(cupy))
    try:
        cupy.ones(2) @ cupy.ones(2)
    except (ImportError, RuntimeError) as error:
        raise BackendUnavailable(
            f"CuPy finds a GPU but cannot use it ({_first_line(error)}): "
            "pip install 'cupy-cuda13x[ctk]' (or cupy-cuda12x[ctk]) brings the CUDA libraries"
        ) from error
    return cupy


def _why_no_device(cupy: Any) -> str:
    version = cupy.cuda.runtime.driverGetVersion()  # 13020 is CUDA 13.2, and 0 is no driver
    if version == 0:
        return "no NVIDIA driver was found: install one, or use --backend numpy"
    try:
        cupy.cuda.runtime.getDeviceCount()
    except RuntimeError as error:
        if "InsufficientDriver" in str(error):
            driver = (
                f"the NVIDIA driver knows CUDA {version // 1000}.{version % 1000 // 10} and is too old for this CuPy"
            )
            return f"{driver}: install cupy-cuda{version // 1000}x in its place, or a newer driver"
    return "no CUDA device was found, though there is a driver: use --backend numpy"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
