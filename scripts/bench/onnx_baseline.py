"""The baseline of ONNX Runtime, for inference alone: the trained model as an ONNX graph of a GRU and a Gemm."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
from baselines import Baseline, K, Params, sizes
from machine import cores
from onnx import TensorProto, checker, helper, numpy_helper


def graph(params: Params) -> Any:
    """Return the ONNX model: images x (B, T, D) to logits (B, K).

    ONNX's gate z is 1 - gamma_u, so W_u and b_u are negated. Its weights are (1, 3 H, fan_in), in the order z, r, h.
    """
    D, H = sizes(params)
    W, b = (np.concatenate([-params[f"gru.{n}_u"], params[f"gru.{n}_r"], params[f"gru.{n}_c"]], -1) for n in "Wb")
    constants = {
        "W": W[H:].T[None],
        "R": W[:H].T[None],
        "B": np.concatenate([b, np.zeros_like(b)])[None],
        "axis": np.array([0]),
        "linear_W": params["linear.W"],
        "linear_b": params["linear.b"],
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["rows"], perm=[1, 0, 2]),
        helper.make_node("GRU", ["rows", "W", "R", "B"], ["", "last"], hidden_size=H, linear_before_reset=0),
        helper.make_node("Squeeze", ["last", "axis"], ["c"]),
        helper.make_node("Gemm", ["c", "linear_W", "linear_b"], ["logits"]),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", "T", D])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", K])
    stored = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "minigru", [x], [logits], stored)
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    checker.check_model(model, full_check=True)
    return model


class OnnxRuntime(Baseline):
    """ONNX Runtime on the CPU."""

    name, trains, part = "ONNX Runtime", False, 250

    def __init__(self, params: Params) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = cores()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        model = graph(params).SerializeToString()
        self.session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])

    def logits(self, x: np.ndarray) -> np.ndarray:
        """Return the logits (B, K) of images x (B, T, D)."""
        return self.session.run(None, {"x": x})[0]
