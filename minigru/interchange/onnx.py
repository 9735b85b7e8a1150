"""The format ONNX: the classifier as one graph, and the weights of a graph that has one GRU.

ONNX's update gate z is 1 - gamma_u, so `W_u` and `b_u` are negated. Its weights are (1, 3 H, fan_in), gates
in the order z, r, h.
"""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from .files import library
from .names import InterchangeError, Params, after, keras_layer, sizes, to_keras

EXTRA = "pip install 'minigru[onnx]'"
VARIANT = "minigru: linear_before_reset=0, z = 1 - gamma_u"
TO_LAST = {"Squeeze", "Gather", "Reshape", "Identity"}  # what may stand between the last memory and the linear layer
HEADS = {"Softmax", "LogSoftmax", "Identity"}  # what may follow it


def read(path: Path) -> Params:
    """Return the model of a graph with one GRU: (P1) to (P4) if its attribute `linear_before_reset` is 1.

    Raises
    ------
    InterchangeError
        It is no ONNX model, has no or several GRUs or one with other activations, in two directions or with a clip, its
        weights are not stored in the file, other nodes change the function, or the package onnx is missing.
    """
    model = parsed(path)
    node, W, R, B = recurrent(model, path)
    H = R.shape[-1]
    U, V, b, d = R[0].T, W[0].T, B[0, : 3 * H], B[0, 3 * H :]
    if attributes(node).get("linear_before_reset", 0):
        U_k, V_k, b_k, d_k = (dict(zip("krc", np.split(a, 3, axis=-1), strict=True)) for a in (U, V, b, d))
        params = after(U_k, V_k, b_k, d_k)
    else:
        params = keras_layer(U, V, b + d)
    return params | _linear(model, node, path)


def parsed(path: Path) -> Any:
    """Return the protobuf of a file, without data from other files; errors as for `read`."""
    onnx = library("onnx", EXTRA)
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # of protobuf, whose classes depend on its version
        raise InterchangeError(f"it is damaged or not an ONNX model ({type(error).__name__})") from error
    if not model.graph.node:
        raise InterchangeError("it is not an ONNX model, or one without nodes")
    return model


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
    node, given = found[0], attributes(found[0])
    direction, activations = given.get("direction", "forward"), given.get("activations", ["Sigmoid", "Tanh"])
    if direction != "forward":
        raise InterchangeError(f"its GRU has the direction {direction!r}; expected 'forward'")
    if [name.lower() for name in activations] != ["sigmoid", "tanh"]:
        raise InterchangeError(f"its GRU has the activations {activations}; expected Sigmoid and Tanh")
    if "clip" in given:
        raise InterchangeError(f"its GRU has a clip of {given['clip']}, which no GRU of minigru has")
    names = [*node.input, *[""] * 6]
    if names[4]:
        raise InterchangeError("its GRU has an input of sequence lengths; expected sequences of one length")
    W, R = (constant(model, names[i], path) for i in (1, 2))
    D, H = W.shape[-1], R.shape[-1]
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


def _linear(model: Any, gru: Any, path: Path) -> Params:
    """Return the linear layer after the last memory; nothing if the graph ends with the GRU."""
    before = producer(model, gru.input[0])
    if before is not None and (before.op_type, attributes(before).get("perm")) != ("Transpose", [1, 0, 2]):
        raise InterchangeError(f"the node {before.op_type} stands before its GRU; expected the input or its transpose")
    if consumers(model, gru.output[0]):
        if len(gru.output) > 1 and consumers(model, gru.output[1]):
            raise InterchangeError("both outputs of its GRU are read; expected the last memory, Y_h, alone")
        node = consumers(model, gru.output[0])[0]
        raise InterchangeError(f"{node.op_type} reads every memory of its GRU; expected only the last, Y_h")
    name, kinds = (gru.output[1] if len(gru.output) > 1 else ""), TO_LAST
    params: Params = {}
    while nodes := consumers(model, name):
        node = nodes[0]
        if not params and node.op_type in ("Gemm", "MatMul"):
            params, name, kinds = _product(model, node, path)
        elif len(nodes) > 1 or node.op_type not in kinds:
            listed = ", ".join(node.op_type for node in nodes)
            raise InterchangeError(f"{listed} follows its GRU; expected a linear layer (Gemm), and at most Softmax")
        else:
            name = node.output[0]
    return params


def _product(model: Any, node: Any, path: Path) -> tuple[Params, str, set[str]]:
    """Return W and b of a Gemm, or of a MatMul with an Add, the name of the logits, and what may read them."""
    given, W = attributes(node), constant(model, node.input[1], path)
    if node.op_type == "MatMul":
        adds = consumers(model, node.output[0])
        if [add.op_type for add in adds] != ["Add"]:
            return {"linear.W": W, "linear.b": np.zeros(W.shape[-1], W.dtype)}, node.output[0], HEADS
        other = next(name for name in adds[0].input if name != node.output[0])
        return {"linear.W": W, "linear.b": constant(model, other, path)}, adds[0].output[0], HEADS
    if given.get("alpha", 1) != 1 or given.get("beta", 1) != 1 or given.get("transA", 0):
        raise InterchangeError("its Gemm scales or transposes its input; expected a linear layer")
    W = W.T if given.get("transB", 0) else W
    b = constant(model, node.input[2], path) if len(node.input) > 2 else np.zeros(W.shape[-1], W.dtype)
    return {"linear.W": W, "linear.b": b}, node.output[0], HEADS


def written(params: Params, name: str) -> dict[str, bytes]:
    """Return the file by its name: sequences x (B, T, D) to logits and probabilities (B, K), B and T free."""
    library("onnx", EXTRA)
    from onnx import checker, helper, numpy_helper

    (D, H), K = sizes(params), params["linear.b"].size
    V, U, b = to_keras(params)
    stored = {
        "gru_W": V.T[None],
        "gru_R": U.T[None],
        "gru_B": np.concatenate([b, np.zeros_like(b)])[None],
        "first": np.array([0]),
        "linear_W": params["linear.W"],
        "linear_b": params["linear.b"],
    }
    variant: dict[str, Any] = {"hidden_size": H, "linear_before_reset": 0, "activations": ["Sigmoid", "Tanh"]}
    nodes = [
        helper.make_node("Transpose", ["x"], ["steps"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["steps", "gru_W", "gru_R", "gru_B"], ["", "last"], name="gru", **variant),
        helper.make_node("Squeeze", ["last", "first"], ["c"]),
        helper.make_node("Gemm", ["c", "linear_W", "linear_b"], ["logits"], name="linear"),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
    ]
    kind = helper.np_dtype_to_tensor_dtype(params["linear.b"].dtype)
    x = helper.make_tensor_value_info("x", kind, ["B", "T", D])
    outputs = [helper.make_tensor_value_info(output, kind, ["B", K]) for output in ("logits", "probabilities")]
    arrays = [numpy_helper.from_array(np.ascontiguousarray(value), key) for key, value in stored.items()]
    graph = helper.make_graph(nodes, "minigru", [x], outputs, arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9, producer_name="minigru")
    helper.set_model_props(model, {"variant": VARIANT})
    checker.check_model(model, full_check=True)
    return {name: model.SerializeToString()}
