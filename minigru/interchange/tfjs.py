"""The layers format of TensorFlow.js: a JSON file with the configuration of the layers, and a file of weights.

TensorFlow.js has Keras's `reset_after=False` and nothing else, so its arrays are Keras's.
"""

from __future__ import annotations

import json
import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .layers import read_layers
from .names import InterchangeError, Params, keras_layer, sizes, to_keras

DEFAULTS = {"recurrent_activation": "hard_sigmoid"}  # those of TensorFlow.js, where a file names none
LARGEST = 16 * 2**20  # bytes of the JSON file


def read(path: Path) -> Params:
    """Return the model of a JSON file and of the files of weights that it names, in the same folder.

    Raises
    ------
    InterchangeError
        It is not a layers model of TensorFlow.js, has other layers, or lacks weights, or they are quantised or too few.
    """
    model = _parsed(path)
    topology = model["modelTopology"]
    layers = read_layers(topology.get("model_config", topology), DEFAULTS)
    if layers.gru.get("reset_after"):
        raise InterchangeError("its GRU has reset_after=true, which TensorFlow.js cannot run")
    paths = [str(name) for group in model["weightsManifest"] for name in group["paths"]]
    if len({*paths}) < len(paths):  # a small file named often would be a large one in memory
        raise InterchangeError("its weightsManifest names a file twice")
    arrays: dict[str, np.ndarray] = {}
    for group in model["weightsManifest"]:
        arrays |= _group(group, path.parent)
    whose = {str(config.get("name")): layer for config, layer in ((layers.gru, "gru"), (layers.dense or {}, "linear"))}
    found = {_short(name, whose): array for name, array in arrays.items()}
    wanted = ["gru/kernel", "gru/recurrent_kernel", *["linear/kernel"] * (layers.dense is not None)]
    if missing := [name for name in wanted if name not in found]:
        raise InterchangeError(f"its weights lack {missing[0]}; it has {', '.join(sorted(arrays))[:100] or 'none'}")
    U, V = found["gru/recurrent_kernel"], found["gru/kernel"]
    params = keras_layer(U, V, found.get("gru/bias", np.zeros(U.shape[-1], U.dtype)))
    if layers.dense is None:
        return params
    W = found["linear/kernel"]
    return params | {"linear.W": W, "linear.b": found.get("linear/bias", np.zeros(W.shape[-1], W.dtype))}


def _parsed(path: Path) -> dict[str, Any]:
    if path.stat().st_size > LARGEST:
        raise InterchangeError(f"it has more than {LARGEST:,} bytes, too many for a model in JSON")
    try:
        model = json.loads(path.read_bytes())
        if not isinstance(model["modelTopology"], dict) or not isinstance(model["weightsManifest"], list):
            raise TypeError
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise InterchangeError("it is not a layers model of TensorFlow.js") from error
    return model


def _group(group: Any, folder: Path) -> dict[str, np.ndarray]:
    """Return the arrays of one group of the manifest: views of the bytes of its files, one after the other."""
    try:
        names = [str(name) for name in group["paths"]]
        entries = [
            (str(e["name"]), [int(n) for n in e["shape"]], e["dtype"], "quantization" in e) for e in group["weights"]
        ]
    except (LookupError, TypeError, ValueError) as error:
        raise InterchangeError("its weightsManifest is damaged") from error
    for name in names:
        if name in ("", ".", "..") or os.path.basename(name) != name or "\\" in name or not (folder / name).is_file():
            raise InterchangeError(f"it names the weights {name!r}; expected a file in its own folder")
    for name, shape, dtype, quantised in entries:
        if dtype != "float32" or quantised or min(shape, default=1) < 0:
            raise InterchangeError(
                f"{name} is {dtype}{' and quantised' if quantised else ''} {shape}; expected float32"
            )
    claimed, size = sum(4 * prod(shape) for _, shape, *_ in entries), sum((folder / n).stat().st_size for n in names)
    if claimed != size:
        raise InterchangeError(f"its weights claim {claimed:,} bytes; {', '.join(names)} has {size:,}")
    numbers, arrays, start = np.frombuffer(b"".join((folder / n).read_bytes() for n in names), "<f4"), {}, 0
    for name, shape, *_ in entries:
        arrays[name] = numbers[start : start + prod(shape)].reshape(shape).astype(np.float32)
        start += prod(shape)
    return arrays


def _short(name: str, whose: dict[str, str]) -> str:
    """Return the layer and the array of a name such as "encoder/gru_cell/kernel", given the layers by their names."""
    layer, _, array = name.partition("/")
    return f"{whose.get(layer, 'other')}/{array.rpartition('/')[2]}"


def written(params: Params, name: str) -> dict[str, bytes]:
    """Return the two files by name, the weights first; float64 is rounded to float32, all that TensorFlow.js has."""
    (D, H), K = sizes(params), params["linear.b"].size
    V, U, b = to_keras(params)
    arrays = {"gru/kernel": V, "gru/recurrent_kernel": U, "gru/bias": b}
    arrays |= {"linear/kernel": params["linear.W"], "linear/bias": params["linear.b"]}
    if large := [key for key, array in arrays.items() if np.abs(array).max() > np.finfo("f4").max]:
        raise InterchangeError(f"{large[0]} holds numbers too large for float32, which TensorFlow.js computes in")
    gru = {"units": H, "activation": "tanh", "recurrent_activation": "sigmoid", "use_bias": True, "reset_after": False}
    gru |= {"name": "gru", "batch_input_shape": [None, None, D], "dtype": "float32", "return_sequences": False}
    dense = {"name": "linear", "units": K, "activation": "linear", "use_bias": True}
    layers = [{"class_name": "GRU", "config": gru}, {"class_name": "Dense", "config": dense}]
    topology = {"class_name": "Sequential", "config": {"name": "minigru", "layers": layers}}
    weights = f"{Path(name).stem}.weights.bin"
    listed = [{"name": key, "shape": list(array.shape), "dtype": "float32"} for key, array in arrays.items()]
    model = {
        "format": "layers-model",
        "generatedBy": "minigru",
        "convertedBy": None,
        "modelTopology": topology,
        "weightsManifest": [{"paths": [weights], "weights": listed}],
    }
    content = b"".join(np.ascontiguousarray(array, "<f4").tobytes() for array in arrays.values())
    return {weights: content, name: json.dumps(model, indent=1).encode()}
