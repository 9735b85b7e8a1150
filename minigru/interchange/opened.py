"""A recurrent layer in a file, opened to be examined: what the file says it is, and the function that it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..training.files import read_arrays
from . import article, onnx_graph
from . import keras as keras_format
from . import safetensors as safetensors_format
from .files import library, read, resolved
from .layers import read_layers
from .names import InterchangeError, Params, cell_of, from_names, keras_arrays, pytorch_arrays, to_keras
from .probe import Step
from .running import onnx_session
from .variants import cell_step


class Opened(NamedTuple):
    """A GRU or plain RNN of a file."""

    says: str  # what the file says of itself
    claims: str | None  # the cell of `minigru.reference` that the one who made the file computes, if the file tells
    params: Params  # the weights, as `read` reads them
    packed: tuple[np.ndarray, ...] | None  # U (H, 3 H), V (D, 3 H) and both biases (3 H,) as stored, if stored packed
    step: Step  # what the file computes
    by: str  # what computes it
    separate: str | None = None  # what the names say of the weights, if each gate has its own


SEPARATE = {
    ("minigru", "gru"): "one array per gate; update gate at 1 replaces the memory; one bias per gate",
    ("minigru", "gru_after"): "one array per gate; update gate at 1 keeps the memory; two biases for the candidate",
    ("the article", "gru"): "one layer per gate; update gate at 1 replaces the memory; its two biases add",
}


def opened(path: str | Path) -> Opened:
    """Return the recurrent layer of a file that `read` reads.

    Raises
    ------
    InterchangeError
        As for `read`.
    """
    path = resolved(path)
    params = read(path)
    look = {".onnx": _onnx, ".keras": _keras}.get(path.suffix, _arrays)
    return look(path, params)


def _onnx(path: Path, params: Params) -> Opened:
    """Run the GRU of a graph alone, one step at a time."""
    from onnx import helper, numpy_helper

    model = onnx_graph.parsed(path)
    node, W, R, B = onnx_graph.recurrent(model, path)
    H = R.shape[-1]
    given = onnx_graph.attributes(node)
    alone = onnx_graph.library("onnx", onnx_graph.EXTRA).NodeProto()
    alone.CopyFrom(node)
    kept = [attribute for attribute in node.attribute if attribute.name != "layout"]
    del alone.attribute[:], alone.input[:], alone.output[:]
    alone.attribute.extend(kept)
    alone.input.extend(["X", "W", "R", "B", "", "c"])
    alone.output.extend(["", "next"])
    kind = helper.np_dtype_to_tensor_dtype(W.dtype)
    inputs = [
        helper.make_tensor_value_info("X", kind, [1, "B", W.shape[-1]]),
        helper.make_tensor_value_info("c", kind, [1, "B", H]),
    ]
    output = [helper.make_tensor_value_info("next", kind, [1, "B", H])]
    stored = [numpy_helper.from_array(array, name) for name, array in {"W": W, "R": R, "B": B}.items()]
    graph = helper.make_graph([alone], "cell", inputs, output, stored)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session, by = onnx_session(made.SerializeToString(), W.dtype)

    def step(x: np.ndarray, c: np.ndarray) -> np.ndarray:
        return session.run(["next"], {"X": x[None].astype(W.dtype), "c": c[None].astype(W.dtype)})[0][0]

    says = f"ONNX, linear_before_reset={given.get('linear_before_reset', 0)}"
    if "linear_before_reset" not in given:
        says += " (not stated, the default)"
    maker = " ".join(filter(None, (model.producer_name, model.producer_version)))
    claims = "gru_after" if given.get("linear_before_reset", 0) else "gru"
    if model.producer_name == "pytorch":  # its exporter makes a GRU node of nothing but nn.GRU
        claims = "gru_after"
    return Opened(f"{says}; made by {maker or 'an unnamed program'}", claims, params, _packed(R, W, B, H), step, by)


def _packed(R: np.ndarray, W: np.ndarray, B: np.ndarray, H: int) -> tuple[np.ndarray, ...]:
    return R[0].T, W[0].T, B[0, : 3 * H], B[0, 3 * H :]


def _keras(path: Path, params: Params) -> Opened:
    """Run the cell by Keras if it is installed, else by `minigru.reference`."""
    config, _ = keras_format.contents(path)
    layer = read_layers(config).gru
    after = bool(layer.get("reset_after", True))
    U, V, b, d = keras_format.stored(path)
    step, by = cell_step(params), "minigru.reference, as Keras is not installed"
    try:
        keras = library("keras", keras_format.EXTRA)
    except InterchangeError:
        pass
    else:
        cell = keras.layers.GRUCell(len(U), reset_after=after, dtype=str(U.dtype))
        cell.build((None, len(V)))
        cell.set_weights([V, U, np.stack([b, d]) if after else b])
        step, by = _by_keras(keras, cell, U.dtype), f"Keras on {keras.backend.backend()}"
    says = f"Keras, reset_after={after}"
    return Opened(says, "gru_after" if after else "gru", params, (U, V, b, d), step, by)


def _by_keras(keras: Any, cell: Any, dtype: np.dtype) -> Step:
    def step(x: np.ndarray, c: np.ndarray) -> np.ndarray:
        arrays = [keras.ops.convert_to_tensor(array, dtype=str(dtype)) for array in (x, c)]
        return keras.ops.convert_to_numpy(cell(arrays[0], [arrays[1]])[0])

    return step


def _arrays(path: Path, params: Params) -> Opened:
    """Give the arrays of a file, which has no function of its own, the function of those whose names they bear."""
    packed: tuple[np.ndarray, ...] | None = None
    if path.suffix == ".json":
        V, U, b = to_keras(params)
        whose, packed = "TensorFlow.js", (U, V, b, np.zeros_like(b))
    else:
        contents = {".npz": read_arrays, ".safetensors": safetensors_format.contents}.get(path.suffix, article.contents)
        arrays = contents(path)
        whose = from_names(arrays)[0]
        if whose == "PyTorch":
            packed = tuple(pytorch_arrays(arrays)[0])
        elif whose == "Keras":
            U, V, b = keras_arrays(arrays)[0]
            packed = (U, V, *(b if b.ndim == 2 else (b, np.zeros_like(b))))
    says = f"arrays with the names of {whose}; a file of weights holds no function"
    cell = cell_of(params)
    return Opened(says, cell, params, packed, cell_step(params), "minigru.reference", SEPARATE.get((whose, cell)))
