"""The format ONNX: the classifier as one graph, and the weights of a graph that has one GRU.

ONNX's update gate z is 1 - gamma_u, so `W_u` and `b_u` are negated. Its weights are (1, 3 H, fan_in), gates
in the order z, r, h.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .files import library
from .names import InterchangeError, Params, after, keras_layer, sizes, to_keras
from .onnx_graph import EXTRA, attributes, constant, consumers, parsed, producer, recurrent

VARIANT = "minigru: linear_before_reset=0, z = 1 - gamma_u"
HEADS = {"Softmax", "LogSoftmax", "Identity"}  # what may follow the linear layer
MOVES = {"Transpose", "Squeeze", "Reshape", "Gather", "Identity"}  # what may stand between the memories and it


def read(path: Path) -> Params:
    """Return the model of a graph with one GRU: (P1) to (P4) if its attribute `linear_before_reset` is 1.

    Raises
    ------
    InterchangeError
        It is not an ONNX model, has no or several GRUs or one with other activations, in two directions or with a clip,
        its weights are not stored in the file, other nodes change the function, or the package onnx is missing.
    """
    model = parsed(path)
    node, W, R, B = recurrent(model, path)
    sequences(model, node)
    H = R.shape[-1]
    U, V, b, d = R[0].T, W[0].T, B[0, : 3 * H], B[0, 3 * H :]
    if attributes(node).get("linear_before_reset", 0):
        U_k, V_k, b_k, d_k = (dict(zip("krc", np.split(a, 3, axis=-1), strict=True)) for a in (U, V, b, d))
        params = after(U_k, V_k, b_k, d_k)
    else:
        params = keras_layer(U, V, b + d)
    return params | linear(model, node, path)[0]


def sequences(model: Any, gru: Any) -> tuple[str, bool]:
    """Return the input of a graph that its GRU reads, and whether it is (T, B, D) instead of (B, T, D).

    Raises
    ------
    InterchangeError
        The GRU reads something else.
    """
    name, time_major = gru.input[0], not attributes(gru).get("layout", 0)
    before = producer(model, name)
    if before is not None and (before.op_type, attributes(before).get("perm")) == ("Transpose", [1, 0, 2]):
        name, time_major = before.input[0], not time_major
        before = producer(model, name)
    if before is not None:
        raise InterchangeError(f"the node {before.op_type} stands before its GRU; expected the input or its transpose")
    if name not in {given.name for given in model.graph.input} - {stored.name for stored in model.graph.initializer}:
        raise InterchangeError(f"its GRU reads {name!r}, which is not an input of the graph")
    return name, time_major


def linear(model: Any, gru: Any, path: Path) -> tuple[Params, str]:
    """Return the linear layer on the last memory, and its logits' name; nothing if the graph gives the memories.

    Raises
    ------
    InterchangeError
        Other nodes than those of `read` follow the GRU.
    """
    batch_first = attributes(gru).get("layout", 0)
    axes = (["B", "T", "1", "H"], ["B", "1", "H"]) if batch_first else (["T", "1", "B", "H"], ["1", "B", "H"])
    layers: list[tuple[Params, str]] = []
    ends = {
        name for own, name in zip(axes, gru.output, strict=False) for name in _follow(model, name, own, path, layers)
    }
    if len(layers) > 1:
        raise InterchangeError(f"{len(layers)} linear layers follow its GRU; expected one")
    if model.graph.output[0].name not in ends:
        raise InterchangeError(f"its first output, {model.graph.output[0].name!r}, is not of its GRU or linear layer")
    return layers[0] if layers else ({}, "")


def _follow(model: Any, name: str, axes: list[str], path: Path, layers: list[tuple[Params, str]]) -> list[str]:
    """Return the names of what is made of an array of memories; add the linear layers on the way to `layers`."""
    names = [name]
    for node in consumers(model, name):
        if node.input[0] != name or node.op_type not in MOVES | {"Gemm", "MatMul"}:
            raise InterchangeError(f"{node.op_type} follows its GRU; expected a linear layer (Gemm), at most Softmax")
        if node.op_type in MOVES:
            names += _follow(model, node.output[0], _moved(model, node, axes, path), path, layers)
            continue
        if axes != ["B", "H"]:
            raise InterchangeError(f"{node.op_type} reads every memory of its GRU; expected only the last")
        layers.append(_product(model, node, path))
        names += _heads(model, layers[-1][1])
    return names


def _moved(model: Any, node: Any, axes: list[str], path: Path) -> list[str]:
    """Return the axes of an array of memories after a node that moves or drops axes and changes no number."""
    given, kind = attributes(node), node.op_type
    if kind == "Identity":
        return axes
    if kind == "Transpose":
        return [axes[i] for i in given.get("perm", range(len(axes))[::-1])]
    kept = [axis for axis in axes if axis != "1"]
    if kind == "Squeeze":
        places = given.get("axes") if len(node.input) < 2 else constant(model, node.input[1], path).ravel().tolist()
        if places is None or {axes[i] for i in places} == {"1"}:
            return kept
    elif kind == "Reshape" and constant(model, node.input[1], path).size == len(kept):
        return kept
    elif kind == "Gather":
        place, index = given.get("axis", 0), constant(model, node.input[1], path)
        if index.size == 1 and (axes[place], int(index.ravel()[0])) in {("1", 0), ("1", -1), ("T", -1)}:
            return axes[:place] + ["1"] * index.ndim + axes[place:][1:]
    raise InterchangeError(f"{kind} takes a part of the memories of its GRU; expected the last memory")


def _heads(model: Any, logits: str) -> list[str]:
    """Return the arrays made of the logits, after checking that there is at most one chain of the usual nodes."""
    names = [logits]
    while nodes := consumers(model, names[-1]):
        if len(nodes) > 1 or nodes[0].op_type not in HEADS:
            listed = ", ".join(node.op_type for node in nodes)
            raise InterchangeError(f"{listed} follows its linear layer; expected at most Softmax")
        names.append(nodes[0].output[0])
    return names


def _product(model: Any, node: Any, path: Path) -> tuple[Params, str]:
    """Return W and b of a Gemm, or of a MatMul with an Add, and the name of the logits."""
    given, W = attributes(node), constant(model, node.input[1], path)
    if node.op_type == "MatMul":
        adds = consumers(model, node.output[0])
        if [add.op_type for add in adds] != ["Add"]:
            return {"linear.W": W, "linear.b": np.zeros(W.shape[-1], W.dtype)}, node.output[0]
        other = adds[0].input[adds[0].input[0] == node.output[0]]
        return {"linear.W": W, "linear.b": constant(model, other, path)}, adds[0].output[0]
    if given.get("alpha", 1) != 1 or given.get("beta", 1) != 1 or given.get("transA", 0):
        raise InterchangeError("its Gemm scales or transposes its input; expected a linear layer")
    W = W.T if given.get("transB", 0) else W
    b = constant(model, node.input[2], path) if len(node.input) > 2 else np.zeros(W.shape[-1], W.dtype)
    return {"linear.W": W, "linear.b": b}, node.output[0]


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
