"""Which backend is used, and what is said when CuPy is asked for and cannot be."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

import minigru


def fake_cupy(*, available=True, driver=13000, operation=lambda n: np.ones(n), count=lambda: 0):
    """Return what `get_backend` asks of CuPy before it trusts it; no GPU code runs."""
    runtime = SimpleNamespace(driverGetVersion=lambda: driver, getDeviceCount=count)
    return SimpleNamespace(is_available=lambda: available, cuda=SimpleNamespace(runtime=runtime), ones=operation)


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
            SimpleNamespace(),  # an empty folder named cupy
            ["cupy-cuda12x", "cupy-cuda13x"],
            ["partly installed", "pip uninstall -y cupy-cuda12x cupy-cuda13x", "cupy-cuda13x"],
        ),
        (fake_cupy(available=False, driver=0), [], ["no NVIDIA driver", "--backend numpy"]),
        (fake_cupy(available=False), [], ["no CUDA device", "--backend numpy"]),
        (
            fake_cupy(
                available=False, driver=12040, count=lambda: fail(RuntimeError("cudaErrorInsufficientDriver"))(0)
            ),
            [],
            ["CUDA 12.4", "too old", "cupy-cuda12x", "newer driver"],
        ),
        (fake_cupy(operation=fail(ImportError("libcublas.so.13: cannot open"))), [], ["libcublas.so.13", "[ctk]"]),
        (fake_cupy(operation=fail(RuntimeError("cudaErrorX\nmore"))), [], ["cudaErrorX", "[ctk]"]),
    ],
    ids=[
        "not installed", "wheel emptied", "half a wheel", "empty folder",
        "no driver", "no device", "old driver", "no libraries", "CUDA error",
    ],
)  # fmt: skip
def test_unusable_cupy_says_why_in_one_sentence(cupy, wheels, words, monkeypatch):
    monkeypatch.setattr("importlib.metadata.distributions", lambda: [SimpleNamespace(name=name) for name in wheels])
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    if isinstance(cupy, type):
        monkeypatch.setattr(sys, "meta_path", [cupy, *sys.meta_path])
    else:
        monkeypatch.setitem(sys.modules, "cupy", cupy)
    with pytest.raises(minigru.BackendUnavailable) as caught:
        minigru.get_backend("cupy")
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


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
