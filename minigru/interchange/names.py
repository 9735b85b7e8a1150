"""Weights by name: how minigru, the article, PyTorch and Keras call and lay out the same arrays.

Everywhere in this room a model is a mapping from minigru's names to host arrays: "gru.W_u" … "gru.b_c" for the function
of minigru, "gru_after.W_k" … for the GRU of (P1) to (P4), "rnn.W_a" and "rnn.b_a" for the plain RNN, and "linear.W" and
"linear.b" if the model has a linear layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from ..engine import checks

Params: TypeAlias = dict[str, np.ndarray]
Arrays: TypeAlias = Mapping[str, np.ndarray]

GATES = {"gru": "urc", "gru_after": "kr", "rnn": "a"}
NAMES = {cell: [f"{cell}.{kind}_{gate}" for gate in gates for kind in "Wb"] for cell, gates in GATES.items()}
NAMES["gru_after"] += [f"gru_after.{name}" for name in ("U_c", "V_c", "b_q", "b_c")]
LINEAR = ["linear.W", "linear.b"]
OF_A_RUN = {"adam.m", "adam.v", "adam.t", "losses", "results", "meta", "digest"}  # what else a checkpoint holds
ARTICLE = {"u": ("x_t_u", "c_t_u"), "r": ("x_t_r", "c_t_r"), "c": ("x_t", "c_t")}  # its layers of the input, the memory


class InterchangeError(RuntimeError):
    """A model cannot be read or written; the message says why, and what can be."""


def from_names(arrays: Arrays) -> tuple[str, Params]:
    """Return whose names these are, and the model.

    Raises
    ------
    InterchangeError
        The arrays are not those of one GRU or RNN, with a linear layer or without, or not of one dtype and finite.
    """
    for source, marks, convert in LAYOUTS:
        if any(re.search(marks, name) for name in arrays):
            try:
                return source, validated(convert(arrays))
            except ValueError as error:  # NumPy cannot join or split arrays of these shapes
                raise InterchangeError(f"the shapes of the arrays do not fit together ({error})") from error
    found = ", ".join(checks.shown(name) for name in sorted(arrays)[:4]) or "none"
    raise InterchangeError(f"the arrays are {found}; expected those of a GRU of minigru, the article, PyTorch or Keras")


def validated(params: Arrays) -> Params:
    """Return a model after checking names, shapes, dtypes and values; errors as for `from_names`."""
    cell = cell_of(params)
    names = NAMES[cell] + (LINEAR if any(name in params for name in LINEAR) else [])
    missing = [name for name in names if name not in params]
    more = [name for name in params if name not in names]
    if missing or more:
        raise InterchangeError(
            f"the arrays lack {', '.join(missing)}"
            if missing
            else f"the arrays hold {checks.shown(more[0])} besides a GRU"
        )
    first = params[names[0]]
    if first.dtype not in (np.float32, np.float64):
        raise InterchangeError(f"{names[0]} is of dtype {first.dtype}; expected float32 or float64")
    D, H = sizes(params)
    shapes = {"W": (H + D, H), "U": (H, H), "V": (D, H), "b": (H,)}
    K = params["linear.b"].size if "linear.b" in params else 0
    for name in names:
        array, letter = params[name], name.partition(".")[2][0]
        wanted = {"linear.W": (H, K), "linear.b": (K,)}.get(name, shapes[letter])
        if array.shape != wanted or 0 in wanted:
            raise InterchangeError(f"{name} has the shape {array.shape}; expected {wanted}, none of them 0")
        if array.dtype != first.dtype:
            raise InterchangeError(f"{name} is of {array.dtype} and {names[0]} of {first.dtype}; expected one dtype")
        if not np.isfinite(array).all():
            raise InterchangeError(f"{name} holds NaN or infinity; expected finite numbers")
    return {name: np.ascontiguousarray(params[name]) for name in names}


def cell_of(params: Arrays) -> str:
    """Return the recurrent layer of a model: "gru", "gru_after" or "rnn"."""
    found = {name.partition(".")[0] for name in params} & NAMES.keys()
    if len(found) != 1:
        raise InterchangeError(f"the arrays are of {len(found)} recurrent layers; expected one GRU")
    return found.pop()


def sizes(params: Arrays) -> tuple[int, int]:
    """Return D and H."""
    cell = cell_of(params)
    W = params[NAMES[cell][0]]
    if W.ndim != 2 or not 0 < W.shape[1] < W.shape[0]:
        raise InterchangeError(f"{NAMES[cell][0]} has the shape {W.shape}; expected (H + D, H)")
    return W.shape[0] - W.shape[1], W.shape[1]


def from_minigru(arrays: Arrays) -> Params:
    """Return the model of minigru's own names, in a checkpoint or alone."""
    return {name: array for name, array in arrays.items() if name not in OF_A_RUN}


def from_article(arrays: Arrays) -> Params:
    """Return the model of the article's names: two layers per gate, both with a bias."""
    params, taken = {}, set()
    prefix = next(name for name in arrays if "x_t_u." in name).rpartition("x_t_u.")[0]
    for gate, (of_x, of_c) in ARTICLE.items():
        names = [f"{prefix}{layer}.{kind}" for kind in ("weight", "bias") for layer in (of_c, of_x)]
        U, V, b, d = (_get(arrays, name) for name in names)
        params[f"gru.W_{gate}"] = _stack(U, V, names[0])
        params[f"gru.b_{gate}"] = _sum(b, d, names[2])
        taken |= {*names}
    return params | _linear(arrays, taken)


def to_article(params: Arrays) -> Params:
    """Return the article's arrays; the biases stand in the layers of the input, those of the memory are zero."""
    found, H = {}, sizes(params)[1]
    for gate, (of_x, of_c) in ARTICLE.items():
        W, b = params[f"gru.W_{gate}"], params[f"gru.b_{gate}"]
        found[f"gru.GRUCell.{of_x}.weight"], found[f"gru.GRUCell.{of_x}.bias"] = W[H:].T, b
        found[f"gru.GRUCell.{of_c}.weight"], found[f"gru.GRUCell.{of_c}.bias"] = W[:H].T, np.zeros_like(b)
    return found | {"classifier.weight": params["linear.W"].T, "classifier.bias": params["linear.b"]}


def from_pytorch(arrays: Arrays) -> Params:
    """Return the model of an `nn.GRU` or `nn.GRUCell`: (P1) to (P4), gates in the order r, z, n."""
    packed, taken = pytorch_arrays(arrays)
    return after(*(_thirds(array, "rkc") for array in packed)) | _linear(arrays, taken)


def pytorch_arrays(arrays: Arrays) -> tuple[list[np.ndarray], set[str]]:
    """Return U (H, 3 H), V (D, 3 H) and both biases (3 H,) of an `nn.GRU` or `nn.GRUCell`, and the names taken."""
    if more := [name for name in arrays if re.search(r"_(l[1-9]\d*|reverse)$", name)]:
        kind = "bidirectional" if more[0].endswith("reverse") else "stacked"
        raise InterchangeError(f"{checks.shown(more[0])} is of a {kind} layer; expected one layer in one direction")
    ih = next(name for name in arrays if re.search(r"weight_[ih]h(_l0)?$", name))
    prefix, suffix = re.split(r"weight_[ih]h", ih)
    V, U = (_get(arrays, f"{prefix}weight_{kind}{suffix}") for kind in ("ih", "hh"))
    if U.ndim != 2 or U.shape[0] != 3 * U.shape[1]:
        layer = {4: "an LSTM", 1: "a plain RNN"}.get(len(U) // max(1, U.shape[-1]) if U.ndim == 2 else 0, "no GRU")
        raise InterchangeError(f"{prefix}weight_hh{suffix} has the shape {U.shape}, that of {layer}; expected (3 H, H)")
    biases = [f"{prefix}bias_{kind}{suffix}" for kind in ("ih", "hh")]
    b, d = (arrays[name] if name in arrays else np.zeros(len(U), U.dtype) for name in biases)  # bias=False
    return [U.T, V.T, b, d], {*biases, f"{prefix}weight_ih{suffix}", f"{prefix}weight_hh{suffix}"}


def from_keras(arrays: Arrays) -> Params:
    """Return the model of a GRU of Keras: "kernel", "recurrent_kernel" and "bias", gates in the order z, r, h.

    A bias of two rows is that of `reset_after=True`.
    """
    packed, taken = keras_arrays(arrays)
    return keras_layer(*packed) | _linear(arrays, taken, "kernel")


def keras_arrays(arrays: Arrays) -> tuple[list[np.ndarray], set[str]]:
    """Return "recurrent_kernel" (H, 3 H), "kernel" (D, 3 H) and "bias" of a GRU of Keras, and the names taken."""
    name = next(name for name in arrays if name.endswith("recurrent_kernel"))
    prefix = name.removesuffix("recurrent_kernel")
    U, V = _get(arrays, name), _get(arrays, f"{prefix}kernel")
    if f"{prefix}bias" not in arrays:
        raise InterchangeError("the GRU has no bias, and without it the arrays do not say which GRU of Keras it is")
    return [U, V, arrays[f"{prefix}bias"]], {name, f"{prefix}kernel", f"{prefix}bias"}


def keras_layer(U: np.ndarray, V: np.ndarray, b: np.ndarray) -> Params:
    """Return the GRU of Keras's U (H, 3 H), V (D, 3 H) and b, (3 H,) or, with the reset gate after, (2, 3 H)."""
    for name, array in (("recurrent_kernel", U), ("kernel", V), ("bias", b)):
        if array.ndim == 0 or array.shape[-1] != 3 * len(U) or array.ndim > 2:
            raise InterchangeError(f"{name} has the shape {array.shape}; expected (…, 3 H), that of a GRU")
    if b.ndim == 2:
        if len(b) != 2:
            raise InterchangeError(f"bias has the shape {b.shape}; expected (3 H,) or (2, 3 H)")
        return after(_thirds(U, "krc"), _thirds(V, "krc"), _thirds(b[0], "krc"), _thirds(b[1], "krc"))
    parts = _thirds(U, "urc"), _thirds(V, "urc"), _thirds(b, "urc")
    sign = {"u": -1, "r": 1, "c": 1}  # Keras's update gate keeps the memory at 1
    params = {f"gru.W_{k}": sign[k] * np.concatenate([parts[0][k], parts[1][k]]) for k in "urc"}
    return params | {f"gru.b_{k}": sign[k] * parts[2][k] for k in "urc"}


def to_keras(params: Arrays) -> list[np.ndarray]:
    """Return "kernel" (D, 3 H), "recurrent_kernel" (H, 3 H) and "bias" (3 H,) of `reset_after=False`."""
    H = sizes(params)[1]
    W, b = (
        np.concatenate([-params[f"gru.{kind}_u"], params[f"gru.{kind}_r"], params[f"gru.{kind}_c"]], axis=-1)
        for kind in "Wb"
    )
    return [W[H:], W[:H], b]


def after(U: Params, V: Params, b: Params, d: Params) -> Params:
    """Return (P1) to (P4) from the parts of each gate, by the letters k, r and c; b is added to V x, d to U c."""
    params = {f"gru_after.W_{k}": np.concatenate([U[k], V[k]]) for k in "kr"}
    params |= {f"gru_after.b_{k}": b[k] + d[k] for k in "kr"}
    layer = {"U_c": U["c"], "V_c": V["c"], "b_c": b["c"], "b_q": d["c"]}
    return params | {f"gru_after.{name}": array for name, array in layer.items()}


def _thirds(array: np.ndarray, order: str) -> Params:
    """Return the three parts of the last axis by the letters of their gates."""
    if array.shape[-1] % 3:
        raise InterchangeError(f"an array of the GRU has the shape {array.shape}; expected three gates")
    return dict(zip(order, np.split(array, 3, axis=-1), strict=True))


def _get(arrays: Arrays, name: str) -> np.ndarray:
    if name not in arrays:
        raise InterchangeError(f"the arrays lack {name}")
    return arrays[name]


def _stack(U: np.ndarray, V: np.ndarray, name: str) -> np.ndarray:
    """Return W (H + D, H) from U (H, H) and V (H, D)."""
    if U.ndim != 2 or V.ndim != 2 or not U.shape[0] == U.shape[1] == V.shape[0]:
        raise InterchangeError(f"{name} has the shape {U.shape} beside {V.shape}; expected (H, H) beside (H, D)")
    return np.concatenate([U.T, V.T])


def _sum(b: np.ndarray, d: np.ndarray, name: str) -> np.ndarray:
    if b.shape != d.shape:
        raise InterchangeError(f"{name} has the shape {b.shape} beside {d.shape}; expected two biases of one shape")
    return b + d


def _linear(arrays: Arrays, taken: set[str], weight: str = "weight") -> Params:
    """Return the linear layer, if there is one besides the arrays that are taken."""
    rest = sorted(arrays.keys() - taken)
    if not rest:
        return {}
    b, W = (arrays.get(name) for name in rest) if len(rest) == 2 else (None, None)
    if b is None or W is None or not (rest[0].endswith("bias") and rest[1].endswith(weight)):
        raise InterchangeError(f"the arrays hold {checks.shown(rest[0])} besides a GRU and a linear layer")
    return {"linear.W": W if weight == "kernel" else W.T, "linear.b": b}


LAYOUTS = [
    ("minigru", r"^(gru|gru_after|rnn)\.[WbUV]_\w$", from_minigru),
    ("the article", r"\bx_t_u\.", from_article),
    ("PyTorch", r"weight_[ih]h(_l0)?$", from_pytorch),
    ("Keras", r"recurrent_kernel$", from_keras),
]
