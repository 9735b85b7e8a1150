"""Where the arrays are: NumPy on the host (the CPU and its RAM), or CuPy on a GPU, the device."""

from __future__ import annotations

import importlib
import math
import os
import pickle
import sys
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from . import checks

Array: TypeAlias = np.ndarray  # or cupy.ndarray: it has the same methods, and mypy knows those of NumPy
BACKENDS = ("numpy", "cupy")
CACHE_LINE = 64  # bytes


class BackendUnavailable(RuntimeError):
    """The requested backend cannot be used here; the message says why, and what to do."""


@dataclass(frozen=True)
class Backend:
    """An array library and the elementwise kernels written for it.

    Attributes
    ----------
    name : "numpy" or "cupy"
    xp : the array library itself
    kernels : its module of `minigru.engine.kernels`
    persistent : `minigru.engine.kernels.gru_persistent`, the recurrence of the GRU as one kernel or in two launches per
        time step, or None; with ``dataclasses.replace(backend, persistent=None)`` the GRU runs step by step
    cached_rows : steps times samples that a prediction works on at a time, so that its buffers stay in the cache
    cached_batch : samples that a training step works on at a time, for the same reason
    """

    name: str
    xp: ModuleType
    kernels: ModuleType
    persistent: ModuleType | None = None
    cached_rows: int = sys.maxsize
    cached_batch: int = sys.maxsize

    def __deepcopy__(self, memo: dict[int, Any]) -> Backend:
        """Return itself: it cannot change, and modules cannot be copied."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the name alone; whoever loads it proves again that the backend works."""
        if self.kernels is not _kernels(f"{self.name}_kernels"):
            raise pickle.PicklingError(f"the backend {self.name!r} has kernels of its own, which cannot be pickled")
        return _load, (self.name, self.persistent is not None)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an uninitialised array that starts on a cache line."""
        if self.name != "numpy":
            return self.xp.empty(shape, dtype)  # CuPy's arrays start at multiples of 512 bytes
        size = math.prod(shape) * np.dtype(dtype).itemsize
        raw = np.empty(size + CACHE_LINE, np.uint8)
        start = -raw.ctypes.data % CACHE_LINE  # (F7)
        return raw[start : start + size].view(dtype).reshape(shape)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """Return an array of zeros that starts on a cache line."""
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def free_bytes(self) -> int:
        """Return how many bytes of global memory are free; on the host, where no copy is made, no limit."""
        return sys.maxsize if self.name == "numpy" else self.xp.cuda.runtime.memGetInfo()[0]

    def to_device(self, array: Any) -> Array:
        """Return `array` as an array of this backend, without a copy if it is one."""
        return self.xp.asarray(array)

    def to_host(self, array: Any) -> np.ndarray:
        """Return `array` as a NumPy array, without a copy if it is one."""
        return array.get() if hasattr(array, "get") and hasattr(array, "dtype") else np.asarray(array)


def get_backend(backend: str | Backend) -> Backend:
    """Return the backend of that name after proving that it works; a `Backend` is returned as it is.

    Raises
    ------
    ValueError
        The name is not one of `BACKENDS`.
    BackendUnavailable
        CuPy cannot be used. There is no silent fall-back to NumPy.
    """
    if isinstance(backend, Backend):
        return backend
    if checks.choice("backend", backend, BACKENDS) == "numpy":
        return Backend("numpy", np, _kernels("numpy_kernels"), cached_rows=256, cached_batch=128)
    return Backend("cupy", _import_cupy(), _kernels("cupy_kernels"), _kernels("gru_persistent"))


def _load(name: str, persistent: bool) -> Backend:
    backend = get_backend(name)
    return backend if persistent else replace(backend, persistent=None)


def _kernels(name: str) -> ModuleType:
    return importlib.import_module(f".kernels.{name}", __package__)


def _import_cupy() -> ModuleType:
    """Import CuPy and prove with one real operation that a GPU answers."""
    wheels = _installed_wheels()
    if len(wheels) > 1:
        raise BackendUnavailable(
            f"{' and '.join(wheels)} are installed, which overwrite each other's files: pip uninstall -y "
            f"{' '.join(wheels)}, then pip install {wheels[-1]}, or cupy-cuda12x where nvidia-smi shows CUDA 12"
        )
    try:
        import cupy

        available = cupy.is_available()
    except (ImportError, AttributeError) as error:  # an empty folder imports as a package without attributes
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy" and not wheels:
            raise BackendUnavailable(
                "CuPy is not installed: pip install cupy-cuda13x, or cupy-cuda12x where nvidia-smi shows CUDA 12, "
                "or use --backend numpy"
            ) from None
        anew = wheels[-1] if wheels else "cupy-cuda13x"
        raise BackendUnavailable(
            f"CuPy is only partly installed ({_first_line(error)}): pip uninstall -y {' '.join(wheels) or anew}, then "
            f"pip install --force-reinstall --no-cache-dir {anew}"
        ) from error
    if not available:
        raise BackendUnavailable(_why_no_device(cupy))
    capability, oldest = int(cupy.cuda.Device().compute_capability), 75 if wheels == ["cupy-cuda13x"] else 70
    if capability < oldest:
        other = "install cupy-cuda12x in its place" if capability >= 70 else "use another GPU"
        raise BackendUnavailable(
            f"the GPU has compute capability {capability / 10}; expected {oldest / 10} or newer for "
            f"{wheels[0] if wheels else 'CuPy'}: {other}, or use --backend numpy"
        )
    try:
        (cupy.ones((2, 2)) @ cupy.ones((2, 2))).get()  # one compiled kernel, one product of cuBLAS, one wait
    except (ImportError, RuntimeError) as error:
        raise BackendUnavailable(
            f"CuPy finds a GPU but cannot use it ({_first_line(error)}): "
            "pip install 'cupy-cuda13x[ctk]' (or cupy-cuda12x[ctk]) brings the CUDA libraries"
        ) from error
    return cupy


def _installed_wheels() -> list[str]:
    """Return the wheels of CuPy that pip lists, whether or not they can be imported."""
    import importlib.metadata  # which takes as long as the rest of this module

    names = {str(wheel.name).lower() for wheel in importlib.metadata.distributions() if wheel.name}
    return sorted(name for name in names if name.startswith("cupy-cuda"))


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
            place = (
                "install cupy-cuda12x in its place, or a newer driver" if version >= 12000 else "install a newer driver"
            )
            return f"{driver}: {place}"
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES")
    if hidden is not None:
        return f"no CUDA device was found, since CUDA_VISIBLE_DEVICES is {hidden!r}: unset it, or use --backend numpy"
    return "no CUDA device was found, though there is a driver: use --backend numpy"


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
