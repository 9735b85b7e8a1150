"""Read and write a model; the ending of the file chooses the format."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import numpy as np

from ..engine import checks
from ..engine.backend import Backend
from ..engine.model import SequenceClassifier
from ..training.files import DamagedFile, replace_file
from .names import InterchangeError, Params, cell_of, sizes, validated

FORMATS = {  # ending: module of this room, with read(path) -> Params and written(params, name) -> bytes by file name
    ".npz": "npz",
    ".safetensors": "safetensors",
    ".onnx": "onnx",
    ".keras": "keras",
    ".json": "tfjs",
    ".pt": "article",
    ".pth": "article",
}


def read(path: str | Path) -> Params:
    """Return the parameters in a file by minigru's names, as `minigru.interchange.names` lists them, on the host.

    Parameters
    ----------
    path : a file that ends in .npz, .safetensors, .onnx, .keras, .json (TensorFlow.js), .pt or .pth, or the folder of a
        run of minigru

    Raises
    ------
    InterchangeError
        The file does not exist, is damaged or is not of a GRU that minigru can read, or a library is missing.
    """
    path = resolved(path)
    module = _format(path)
    if not path.is_file():
        raise InterchangeError(f"{path} is not a file" if path.exists() else f"{path} does not exist")
    try:
        return validated(module.read(path))
    except (InterchangeError, DamagedFile) as error:
        raise InterchangeError(f"{path} cannot be read: {error}") from error
    except OSError as error:
        raise InterchangeError(f"{path} cannot be read ({error.strerror or checks.shown(error, str)})") from error
    except Exception as error:  # what a reader meets in a file that was damaged, or made to break it
        found = f"{type(error).__name__}: {checks.shown(error, str)}"
        raise InterchangeError(f"{path} cannot be read: it is damaged ({found})") from error


def resolved(path: str | Path) -> Path:
    """Return the path of a file, which is the checkpoint if `path` is the folder of a run."""
    path = Path(path)
    return path / "checkpoint.npz" if (path / "checkpoint.npz").is_file() else path


def load(path: str | Path, backend: str | Backend = "numpy") -> SequenceClassifier:
    """Return the classifier in a file of any format that `read` knows.

    Raises
    ------
    InterchangeError
        As for `read`; or the file holds another GRU, whose weights no GRU of minigru can have, or no linear layer.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """
    return classifier(read(path), backend, str(path))


def classifier(
    params: Mapping[str, np.ndarray], backend: str | Backend = "numpy", name: str = "it"
) -> SequenceClassifier:
    """Return the classifier with these parameters; errors as for `load`."""
    cell = cell_of(params)
    if cell == "gru_after":
        raise InterchangeError(
            f"{name} is a GRU whose reset gate acts after the product, as in PyTorch and in Keras by default: no "
            "weights of minigru's GRU compute that function; minigru.reference.gru_after_forward does, with the weights"
            " that minigru.interchange.read returns"
        )
    if "linear.W" not in params:
        raise InterchangeError(f"{name} has no linear layer; minigru.interchange.read returns the weights of its GRU")
    D, H = sizes(params)
    dtype = params["linear.b"].dtype
    model = SequenceClassifier(D, H, params["linear.b"].size, cell, backend, dtype)
    for key, array in params.items():
        model.params[key] = array
    return model


def save(model: SequenceClassifier | Mapping[str, np.ndarray], path: str | Path) -> None:
    """Write a classifier; `path`, whose ending chooses the format, is replaced only once the file is complete.

    Parameters
    ----------
    model : a classifier, on any backend, or its parameters by name, on the host
    path : ends in .npz, .safetensors, .onnx, .keras, .json (TensorFlow.js, with a second file for the weights), .pt or
        .pth (the article's state_dict)

    Raises
    ------
    InterchangeError
        The format cannot hold this model, or a library is missing.
    OSError
        The file cannot be written.
    """
    path = Path(path)
    if isinstance(model, SequenceClassifier):
        model = {name: np.array(model.backend.to_host(view)) for name, view in model.params.items()}
    params, module = validated(model), _format(path)
    if path.suffix not in (".npz", ".safetensors") and (cell_of(params) != "gru" or "linear.W" not in params):
        found = cell_of(params) + ("" if "linear.W" in params else " without a linear layer")
        raise InterchangeError(f"the model is a {found}; {path.suffix} is written from a classifier with minigru's GRU")
    for name, content in module.written(params, path.name).items():
        replace_file(path.with_name(name), partial(_write, content))


def library(name: str, extra: str) -> Any:
    """Return a module of a library that only some formats need.

    Raises
    ------
    InterchangeError
        It cannot be imported.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InterchangeError(f"the package {name.partition('.')[0]} is needed ({error}): {extra}") from error


def bounded(arrays: Mapping[str, Any], path: Path) -> None:
    """Check that arrays, which have a shape and a dtype, take no more bytes than their file.

    Raises
    ------
    InterchangeError
        They claim more.
    """
    claimed = sum(int(np.prod(array.shape, dtype=object)) * array.dtype.itemsize for array in arrays.values())
    size = os.path.getsize(path)
    if claimed > size:
        raise InterchangeError(f"its arrays claim {claimed:,} bytes, and the file has {size:,}")


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)


def _format(path: Path) -> ModuleType:
    if path.suffix not in FORMATS:
        raise InterchangeError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(FORMATS)}")
    return importlib.import_module(f".{FORMATS[path.suffix]}", __package__)
