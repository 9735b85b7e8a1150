"""Which backend is used, and what is said when CuPy is asked for and cannot be."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import minigru


def fake_cupy(*, available=True, driver=13000, operation=lambda n: np.ones(n), count=lambda: 0, capability="90"):
    """Return what `get_backend` asks of CuPy before it trusts it; no GPU code runs."""
    runtime = SimpleNamespace(driverGetVersion=lambda: driver, getDeviceCount=count)
    cuda = SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(compute_capability=capability))
    return SimpleNamespace(is_available=lambda: available, cuda=cuda, ones=operation)


def too_old(driver):
    """Return what CuPy says when the driver is older than its wheel."""
    error = RuntimeError("cudaErrorInsufficientDriver")
    return fake_cupy(available=False, driver=driver, count=lambda: fail(error)(0))


class NoCublas(np.ndarray):
    """An array whose product needs cuBLAS, as CuPy's does where both factors are matrices."""

    def __matmul__(self, other):
        return fail(RuntimeError("CUBLAS_STATUS_NOT_INITIALIZED"))(0) if self.ndim == 2 else super().__matmul__(other)


def fail(error):
    def operation(n):
        raise error

    return operation


def absent(name):
    """Let ``import cupy`` fail as it does without the module `name`, by a finder that comes first."""

    class Absent:
        @staticmethod
        def find_spec(asked, path=None, target=None):
            if asked == "cupy":
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    return Absent


@pytest.mark.parametrize(
    ("cupy", "wheels", "words"),
    [
        (absent("cupy"), [], ["CuPy is not installed", "cupy-cuda13x", "cupy-cuda12x", "--backend numpy"]),
        (absent("cupy"), ["cupy-cuda12x"], ["partly installed", "pip install --force-reinstall", "cupy-cuda12x"]),
        (absent("cupy_backends"), [], ["partly installed", "cupy_backends", "pip install --force-reinstall"]),
        (
            fake_cupy(),
            ["cupy-cuda12x", "cupy-cuda13x"],
            ["overwrite each other", "pip uninstall -y cupy-cuda12x cupy-cuda13x", "pip install cupy-cuda13x"],
        ),
        (SimpleNamespace(), ["cupy-cuda13x"], ["partly installed", "pip uninstall -y cupy-cuda13x"]),
        (fake_cupy(available=False, driver=0), [], ["no NVIDIA driver", "--backend numpy"]),
        (fake_cupy(available=False), [], ["no CUDA device", "--backend numpy"]),
        (too_old(12040), [], ["CUDA 12.4", "too old", "cupy-cuda12x", "newer driver"]),
        (too_old(11080), [], ["CUDA 11.8", "too old for this CuPy: install a newer driver"]),
        (fake_cupy(capability="61"), [], ["compute capability 6.1", "expected 7.0", "--backend numpy"]),
        (fake_cupy(capability="70"), ["cupy-cuda13x"], ["capability 7.0", "expected 7.5", "install cupy-cuda12x"]),
        (fake_cupy(operation=lambda n: np.ones(n).view(NoCublas)), [], ["CUBLAS_STATUS_NOT_INITIALIZED", "[ctk]"]),
        (fake_cupy(operation=fail(ImportError("libcublas.so.13: cannot open"))), [], ["libcublas.so.13", "[ctk]"]),
        (fake_cupy(operation=fail(RuntimeError("cudaErrorX\nmore"))), [], ["cudaErrorX", "[ctk]"]),
    ],
    ids=[
        "not installed", "wheel emptied", "half a wheel", "two wheels", "empty folder", "no driver", "no device",
        "old driver", "older driver", "old GPU", "Volta with CUDA 13", "no cuBLAS", "no libraries", "CUDA error",
    ],
)  # fmt: skip
def test_unusable_cupy_says_why_in_one_sentence(cupy, wheels, words, monkeypatch):
    monkeypatch.setattr("importlib.metadata.distributions", lambda: [SimpleNamespace(name=name) for name in wheels])
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if isinstance(cupy, type):
        monkeypatch.setattr(sys, "meta_path", [cupy, *sys.meta_path])
    else:
        monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(minigru.BackendUnavailable) as caught:
        minigru.get_backend("cupy")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_hidden_gpu_is_named_by_what_hides_it(monkeypatch):
    monkeypatch.setattr("importlib.metadata.distributions", lambda: [])
    monkeypatch.setitem(sys.modules, "cupy", fake_cupy(available=False))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(minigru.BackendUnavailable, match=r"no CUDA device .* CUDA_VISIBLE_DEVICES is '': unset it, or"):
        minigru.get_backend("cupy")


def test_numpy_backend_and_passing_a_backend_on():
    backend = minigru.get_backend("numpy")
    assert backend.xp is np
    assert backend.name == "numpy"
    assert minigru.get_backend(backend) is backend
    assert minigru.GRU(2, 3, backend=backend).backend is backend
    array = np.ones(3)
    assert backend.to_device(array) is array
    assert backend.to_host(array) is array
    with pytest.raises(AttributeError):
        backend.xp = None


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 5), (2, 0, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_aligned_arrays_are_ordinary_arrays(shape, dtype):
    backend = minigru.get_backend("numpy")
    for array in (backend.empty(shape, dtype), backend.zeros(shape, dtype)):
        assert (array.shape, array.dtype) == (shape, dtype)
        assert array.flags.c_contiguous
        assert array.flags.writeable
    assert not array.any()
