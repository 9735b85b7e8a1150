"""The format of Keras 3: a zip archive with the configuration of the layers, and their weights in HDF5.

A file is read without Keras, by h5py alone, so nothing in the file can be run. It is written by Keras.
"""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .files import bounded, library
from .layers import read_layers
from .names import InterchangeError, Params, keras_layer, sizes, to_keras

EXTRA = "pip install 'minigru[keras]'"


def read(path: Path) -> Params:
    """Return the model of a file: (P1) to (P4) if its GRU has `reset_after=True`, as by default.

    Raises
    ------
    InterchangeError
        The file is not of Keras 3, has other layers or is damaged, or h5py is missing.
    """
    config, weights = contents(path)
    layers = read_layers(config)
    arrays = _arrays(weights, layers.dense is not None, path)
    params = keras_layer(arrays["recurrent_kernel"], arrays["kernel"], _bias(arrays, layers.gru))
    if layers.dense is None:
        return params
    W = arrays["W"]
    return params | {"linear.W": W, "linear.b": arrays.get("b", np.zeros(W.shape[-1], W.dtype))}


def stored(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return "recurrent_kernel", "kernel" and both biases of the GRU in a file; errors as for `read`."""
    config, weights = contents(path)
    layers = read_layers(config)
    arrays = _arrays(weights, layers.dense is not None, path)
    b = _bias(arrays, layers.gru)
    b, d = (b[0], b[1]) if b.ndim == 2 else (b, np.zeros_like(b))
    return arrays["recurrent_kernel"], arrays["kernel"], b, d


def _bias(arrays: dict[str, np.ndarray], gru: Mapping[str, Any]) -> np.ndarray:
    """Return the bias of a GRU, zeros if it has none: (3 H,), or (2, 3 H) with the reset gate after the product."""
    after = bool(gru.get("reset_after", True))
    if not gru.get("use_bias", True):
        U = arrays["recurrent_kernel"]
        return np.zeros((2, U.shape[-1]) if after else U.shape[-1:], U.dtype)
    if "bias" not in arrays or (arrays["bias"].ndim == 2) != after:
        raise InterchangeError("its options reset_after and use_bias and its bias contradict each other")
    return arrays["bias"]


def contents(path: Path) -> tuple[Any, bytes]:
    """Return the configuration and the HDF5 file in an archive, neither larger than it; errors as for `read`."""
    if not zipfile.is_zipfile(path):
        raise InterchangeError("it is not an archive of Keras 3; save the model again as .keras")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [archive.getinfo(name) for name in ("config.json", "model.weights.h5")]
            if any(member.file_size > path.stat().st_size for member in members):
                raise InterchangeError("its parts claim more bytes than the file has")
            config, weights = (archive.read(member) for member in members)
        return json.loads(config), weights
    except KeyError as error:
        raise InterchangeError(f"it is not an archive of Keras 3 ({error.args[0]})") from error
    except (zipfile.BadZipFile, ValueError, RecursionError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, InterchangeError):
            raise
        raise InterchangeError(f"it is damaged ({type(error).__name__})") from error


def _arrays(weights: bytes, dense: bool, path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of the two layers, each of which must lie in the HDF5 file itself, as it is."""
    h5py = library("h5py", EXTRA)
    places = {"gru/cell/vars": ["kernel", "recurrent_kernel", "bias"], "dense/vars": ["W", "b"][: 2 * dense]}
    try:
        with h5py.File(io.BytesIO(weights), "r") as file:
            found = {}
            for place, names in places.items():
                for i, name in enumerate(names):
                    data = _inside(h5py, file, f"layers/{place}/{i}")
                    if data is not None:
                        found[name] = _plain(h5py, data, name)
            for name in ("kernel", "recurrent_kernel", *["W"] * dense):
                if name not in found:
                    raise InterchangeError(f"its weights lack the array {name!r} of a GRU and a Dense layer")
            bounded(found, path)
            return {name: data[()] for name, data in found.items()}
    except InterchangeError:
        raise
    except Exception as error:  # h5py raises errors of many kinds on damaged bytes
        raise InterchangeError(f"its weights are damaged ({type(error).__name__}: {error})") from error


def _inside(h5py: Any, file: Any, place: str) -> Any:
    """Return what stands at a place of an HDF5 file, or None; no link is followed, to this file or another."""
    found = file
    for name in place.split("/"):
        if not isinstance(found, h5py.Group) or not isinstance(found.get(name, getlink=True), h5py.HardLink):
            return None
        found = found[name]
    return found


def _plain(h5py: Any, data: Any, name: str) -> Any:
    """Return an HDF5 data set after checking that it is stored here, whole, and of floats."""
    stored_here = isinstance(data, h5py.Dataset) and data.external is None and not data.is_virtual
    if not stored_here or data.chunks is not None:
        raise InterchangeError(f"{name} is not a plain array of the file itself")
    if data.dtype not in (np.float32, np.float64):
        raise InterchangeError(f"{name} is of dtype {data.dtype}; expected float32 or float64")
    return data


def built(params: Params) -> Any:
    """Return the Keras model of a classifier, on the backend that Keras has; errors as for `read`."""
    keras = library("keras", f"{EXTRA}, and a backend that KERAS_BACKEND names: torch, jax, tensorflow or numpy")
    (D, H), K = sizes(params), params["linear.b"].size
    dtype = str(params["linear.b"].dtype)
    gru = keras.layers.GRU(H, reset_after=False, dtype=dtype)
    model = keras.Sequential([keras.Input((None, D), dtype=dtype), gru, keras.layers.Dense(K, dtype=dtype)])
    model.set_weights([*to_keras(params), params["linear.W"], params["linear.b"]])
    return model


def written(params: Params, name: str) -> dict[str, bytes]:
    """Return the file by its name, as Keras writes it: a GRU and a Dense layer that returns logits."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        built(params).save(path)
        return {name: path.read_bytes()}
