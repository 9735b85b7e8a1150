"""Describe the machine that the figures are measured on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info
from timing import calls, with_threads

from minigru import __version__
from minigru.engine.backend import Backend

PACKAGES = ("numpy", "cupy-cuda12x", "cupy-cuda13x", "torch", "jax", "keras", "onnxruntime", "mpi4py")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """Return the name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine() -> dict[str, Any]:
    """Return the processor, the number of cores, the BLAS library and the versions of the packages."""
    versions = {"python": platform.python_version(), "minigru": __version__}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    blas = next((lib for lib in threadpool_info() if lib["user_api"] == "blas"), {})
    name = " ".join(str(blas[key]) for key in ("internal_api", "version", "architecture") if blas.get(key))
    return {"processor": processor(), "cores": cores(), "blas": name or "BLAS unknown", "versions": versions}


def gpu(backend: Backend) -> dict[str, Any]:
    """Return the name of the GPU and the versions of CUDA; an empty dict for the NumPy backend."""
    if backend.name != "cupy":
        return {}
    runtime = backend.xp.cuda.runtime
    name = runtime.getDeviceProperties(runtime.getDevice())["name"].decode()
    return {"gpu": name, "cuda": {"driver": runtime.driverGetVersion(), "runtime": runtime.runtimeGetVersion()}}


def product_rate(backend: Backend, counts: list[int], rounds: int, n: int = 2048) -> dict[int, float]:
    """Return the GFLOP/s of a product of two (n, n) float32 matrices by number of threads, medians of the rounds."""
    a = backend.to_device(np.random.default_rng(0).random((n, n), dtype=np.float32))
    product = backend.empty((n, n), "float32")
    multiply = calls(lambda: backend.xp.matmul(a, a, out=product), lambda: backend.to_host(product[0]))
    rates = {}
    for count in counts:
        run = with_threads(count, multiply)
        run(1)
        rates[count] = 2 * n**3 / float(np.median([run(1) for _ in range(rounds)])) / 1e9
    return rates
