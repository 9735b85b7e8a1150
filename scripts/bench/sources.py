"""The baselines by the name of the option --baselines: where each is written, and what it needs."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple

from baselines import Baseline


class Source(NamedTuple):
    """The class of a baseline, the packages that it imports, and its environment variables."""

    module: str
    kind: str
    packages: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()

    def load(self) -> type[Baseline]:
        """Return the class."""
        return getattr(importlib.import_module(self.module), self.kind)

    def missing(self) -> list[str]:
        """Return the packages that are not installed."""
        return [package for package in self.packages if importlib.util.find_spec(package) is None]


SOURCES = {
    "minigru": Source("baselines", "Engine"),
    "loop": Source("torch_baselines", "ArticleLoop", ("torch",)),
    "compile": Source("torch_compile_baseline", "CompiledLoop", ("torch",)),
    "torch": Source("torch_baselines", "TorchGRU", ("torch",)),
    "jax": Source("jax_baseline", "JaxScan", ("jax",)),
    "keras-jax": Source("keras_baseline", "KerasGRU", ("keras", "jax"), (("KERAS_BACKEND", "jax"),)),
    "keras-torch": Source("keras_baseline", "KerasGRU", ("keras", "torch"), (("KERAS_BACKEND", "torch"),)),
    "onnx": Source("onnx_baseline", "OnnxRuntime", ("onnx", "onnxruntime")),
    "reference": Source("reference_baseline", "Reference"),
}


def installed(names: list[str]) -> dict[str, Source]:
    """Return those of the baselines whose packages are installed, and say which are left out."""
    missing = {name: SOURCES[name].missing() for name in names}
    packages = {package for absent in missing.values() for package in absent}
    if packages:
        left_out = ", ".join(name for name in names if missing[name])
        print(f'left out: {left_out} (pip install -e ".[bench]" installs {", ".join(sorted(packages))})')
    return {name: SOURCES[name] for name in names if not missing[name]}
