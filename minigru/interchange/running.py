"""Run the model in a file, by the library that the file belongs to where it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .. import reference
from . import keras as keras_format
from . import onnx as onnx_format
from . import onnx_graph
from .files import library, read
from .names import InterchangeError, cell_of, sizes

PLAIN = onnx_format.MOVES | onnx_format.HEADS | {"GRU", "Gemm", "MatMul", "Add", "Constant"}


def logits(path: str | Path, x: np.ndarray) -> tuple[np.ndarray, str]:
    """Return what the model in a file answers to sequences x (B, T, D), and what has computed it.

    An ONNX file is run by ONNX Runtime, or by ONNX's evaluator. The arrays of a Keras file are run by Keras, in layers
    made here, so that nothing in the file is. The other formats have no function of their own: `minigru.reference`
    computes that of their arrays, and stands in where a library is not installed.

    Raises
    ------
    InterchangeError
        The file cannot be read, has no linear layer, or its library refuses it.
    """
    params = read(path)
    if "linear.W" not in params:
        raise InterchangeError(f"{path} has no linear layer, so it has no logits")
    x = x.astype(params["linear.b"].dtype)
    try:
        if Path(path).suffix == ".onnx" and _plain(Path(path)):
            return _by_onnx(Path(path), x)
        if Path(path).suffix == ".keras" and cell_of(params) == "gru":
            return _by_keras(params, x)
    except InterchangeError:
        pass  # the library is not installed
    except Exception as error:  # of the library
        first = " ".join(str(error).split())[:150]
        raise InterchangeError(f"{path} cannot be run ({type(error).__name__}: {first})") from error
    return by_reference(params, x), "minigru.reference"


def by_reference(params: dict[str, np.ndarray], x: np.ndarray) -> np.ndarray:
    """Return the logits (B, K) of a model that `read` has returned, of any cell, for sequences x (B, T, D)."""
    cell, H = cell_of(params), sizes(params)[1]
    p = {name.partition(".")[2]: array for name, array in params.items()}
    with np.errstate(over="ignore"):  # the reference's sigmoid overflows to the right value, 0
        states, _ = getattr(reference, f"{cell}_forward")(x.swapaxes(0, 1), np.zeros((len(x), H), x.dtype), p)
    return reference.linear(states[-1], p)[0]


def _plain(path: Path) -> bool:
    """Return whether no node of a graph can ask for more memory than its input and its arrays do."""
    return {node.op_type for node in onnx_graph.parsed(path).graph.node} <= PLAIN


def _by_onnx(path: Path, x: np.ndarray) -> tuple[np.ndarray, str]:
    model = onnx_graph.parsed(path)
    gru = onnx_graph.recurrent(model, path)[0]
    (name, time_major), (_, logits) = onnx_format.sequences(model, gru), onnx_format.linear(model, gru, path)
    del model.graph.output[:]  # they may have been the probabilities alone
    model.graph.output.add(name=logits)
    session, by = onnx_session(model.SerializeToString(), x.dtype)
    return session.run([logits], {name: x.swapaxes(0, 1) if time_major else x})[0], by


def onnx_session(content: bytes, dtype: Any) -> tuple[Any, str]:
    """Return what runs an ONNX model, and its name: ONNX Runtime, which has no GRU in float64, or ONNX's evaluator."""
    try:
        runtime = library("onnxruntime", onnx_graph.EXTRA)
        if dtype != np.float32:
            raise InterchangeError("ONNX Runtime has no GRU in float64")
    except InterchangeError:
        return library("onnx.reference", onnx_graph.EXTRA).ReferenceEvaluator(content), "ONNX's evaluator"
    return runtime.InferenceSession(content, providers=["CPUExecutionProvider"]), "ONNX Runtime"


def _by_keras(params: dict[str, np.ndarray], x: np.ndarray) -> tuple[np.ndarray, str]:
    model = keras_format.built(params)
    keras = library("keras", keras_format.EXTRA)
    return keras.ops.convert_to_numpy(model(x)), f"Keras on {keras.backend.backend()}"
