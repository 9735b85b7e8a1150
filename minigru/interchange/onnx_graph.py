"""The parts of an ONNX graph: its one GRU, its stored arrays, and which node reads what."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .files import library
from .names import InterchangeError

EXTRA = "pip install 'minigru[onnx]'"
STANDARD = ("", "ai.onnx")  # the domain whose nodes ONNX defines, by its two names


def parsed(path: Path) -> Any:
    """Return the protobuf of a file, without data from other files; errors as for `read`."""
    onnx = library("onnx", EXTRA)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # of protobuf, whose classes depend on its version
        raise InterchangeError(f"it is damaged or not an ONNX model ({type(error).__name__})") from error
    if not model.graph.node:
        raise InterchangeError("it is not an ONNX model, or one without nodes")
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise InterchangeError(
                f"{tensor.name!r} is stored in another file; export the model with external_data=False"
            )
    return model


def checked(model: Any) -> None:
    """Check that a graph is valid: nodes in order, each with the inputs and the attributes that ONNX defines.

    Raises
    ------
    InterchangeError
        It is not.
    """
    try:
        library("onnx.checker", EXTRA).check_model(model)
    except Exception as error:  # of the checker, and of protobuf
        first = " ".join(str(error).split())[:150]
        raise InterchangeError(f"ONNX's checker refuses it ({first})") from error


def attributes(node: Any) -> dict[str, Any]:
    """Return the attributes of a node by name, text as str."""
    from onnx import helper

    def text(value: Any) -> Any:
        if isinstance(value, list):
            return [text(item) for item in value]
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    return {attribute.name: text(helper.get_attribute_value(attribute)) for attribute in node.attribute}


def recurrent(model: Any, path: Path) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray]:
    """Return the one GRU of a graph, and its W (1, 3 H, D), R (1, 3 H, H) and B (1, 6 H); errors as for `read`."""
    kinds = [node.op_type for node in model.graph.node]
    found = [node for node in model.graph.node if node.op_type in ("GRU", "LSTM", "RNN")]
    if [node.op_type for node in found] != ["GRU"]:
        listed = ", ".join(node.op_type for node in found) or f"none of its own ({', '.join(sorted({*kinds})[:5])})"
        raise InterchangeError(f"the recurrent nodes of its graph are: {listed}; expected one GRU")
    if foreign := [node for node in model.graph.node if node.domain not in STANDARD]:
        raise InterchangeError(
            f"its node {foreign[0].op_type} is of the domain {foreign[0].domain!r}; expected nodes that ONNX defines"
        )
    node, names = found[0], [*found[0].input, *[""] * 6]
    W, R = (constant(model, names[i], path) for i in (1, 2))
    checked(model)
    given = attributes(node)
    direction, activations = given.get("direction", "forward"), given.get("activations", ["Sigmoid", "Tanh"])
    if direction != "forward":
        raise InterchangeError(f"its GRU has the direction {direction!r}; expected 'forward'")
    if [name.lower() for name in activations] != ["sigmoid", "tanh"]:
        raise InterchangeError(f"its GRU has the activations {activations}; expected Sigmoid and Tanh")
    if "clip" in given:
        raise InterchangeError(f"its GRU has a clip of {given['clip']}, which no GRU of minigru has")
    if names[4]:
        raise InterchangeError("its GRU has an input of sequence lengths; expected sequences of one length")
    if W.ndim != 3 or R.ndim != 3 or W.dtype.kind != "f":
        raise InterchangeError(f"W of its GRU is {W.dtype} {W.shape}, R {R.shape}; expected floats (1, 3 H, …)")
    D, H = W.shape[-1], R.shape[-1]
    if given.get("hidden_size", H) != H:
        raise InterchangeError(f"its GRU has the hidden_size {given['hidden_size']}, and R has the shape {R.shape}")
    B = constant(model, names[3], path) if names[3] else np.zeros((1, 6 * H), W.dtype)
    for name, array, shape in (("W", W, (1, 3 * H, D)), ("R", R, (1, 3 * H, H)), ("B", B, (1, 6 * H))):
        if array.shape != shape or 0 in shape:
            raise InterchangeError(f"{name} of its GRU has the shape {array.shape}; expected {shape}, none of them 0")
    if names[5] and not _zero(model, names[5], path):
        raise InterchangeError("its GRU starts from a memory that is not zero; expected none, or zeros")
    return node, W, R, B


def constant(model: Any, name: str, path: Path) -> np.ndarray:
    """Return an array that is stored in the graph, checked against the size of the file; errors as for `read`."""
    from onnx import TensorProto, numpy_helper

    stored = [tensor for tensor in model.graph.initializer if tensor.name == name]
    maker = producer(model, name)
    if maker is not None and maker.op_type == "Constant":
        stored += [attribute.t for attribute in maker.attribute if attribute.name == "value"]
    if not stored:
        how = "given at run time" if maker is None else f"computed by {maker.op_type}"
        raise InterchangeError(f"{name!r} is {how}; expected an array stored in the graph")
    tensor = stored[0]
    if tensor.data_location == TensorProto.EXTERNAL:
        raise InterchangeError(f"{name!r} is stored in another file; export the model with external_data=False")
    if tensor.data_type not in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64):
        kind = TensorProto.DataType.keys()[tensor.data_type] if 0 <= tensor.data_type < 20 else tensor.data_type
        raise InterchangeError(f"{name!r} is of dtype {kind}; expected FLOAT or DOUBLE")
    if min(tensor.dims, default=1) < 0 or 4 * prod(tensor.dims) > os.path.getsize(path):
        raise InterchangeError(f"{name!r} claims the shape {list(tensor.dims)}, more than the file has bytes for")
    try:
        return np.array(numpy_helper.to_array(tensor))
    except Exception as error:
        raise InterchangeError(f"{name!r} is damaged ({error})") from error


def producer(model: Any, name: str) -> Any:
    """Return the node that computes an array, or None."""
    return next((node for node in model.graph.node if name in node.output), None)


def consumers(model: Any, name: str) -> list[Any]:
    """Return the nodes that read an array."""
    return [node for node in model.graph.node if name and name in node.input]


def _zero(model: Any, name: str, path: Path) -> bool:
    """Return whether the initial memory is stored as zeros, or made of stored zeros by Expand."""
    maker = producer(model, name)
    if maker is not None and maker.op_type == "Expand":
        name = maker.input[0]
    return not constant(model, name, path).any()
