"""The layers of a Keras model as its configuration names them, in Keras's own files and in those of TensorFlow.js."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..engine import checks
from .names import InterchangeError

DEFAULTS = {"recurrent_activation": "sigmoid", "reset_after": True}
HEADS = ("linear", "softmax", "log_softmax")
NOT_READ = {"go_backwards": "reads a sequence backwards", "return_sequences": "returns every state"}


class Layers(NamedTuple):
    """A GRU and the linear layer on its last state, if there is one."""

    gru: Mapping[str, Any]  # their configurations
    dense: Mapping[str, Any] | None


def read_layers(model: Any, defaults: Mapping[str, Any] = DEFAULTS) -> Layers:
    """Return the layers of a model's configuration.

    Raises
    ------
    InterchangeError
        The layers are not a GRU, forward and with the usual activations, and at most one Dense layer.
    """
    try:
        listed = model["config"]["layers"] if isinstance(model["config"], Mapping) else model["config"]
        layers = [(layer["class_name"], layer["config"]) for layer in listed]
        layers = [(kind, config) for kind, config in layers if kind != "InputLayer"]
        if not all(isinstance(config, Mapping) for _, config in layers):
            raise TypeError
    except (LookupError, TypeError) as error:
        raise InterchangeError("its configuration has no list of layers; expected a Sequential model") from error
    if [kind for kind, _ in layers] not in (["GRU"], ["GRU", "Dense"]):
        listed = ", ".join(checks.shown(kind, str) for kind, _ in layers)
        raise InterchangeError(f"its layers are: {listed or 'none'}; expected a GRU and at most a Dense layer")
    gru, dense = layers[0][1], (layers[1][1] if len(layers) == 2 else None)
    for key, wanted in (("activation", "tanh"), ("recurrent_activation", "sigmoid")):
        found = activation(gru.get(key, defaults.get(key, wanted)))
        if found != wanted:
            raise InterchangeError(f"its GRU has the {key} {found!r}; expected {wanted!r}")
    for key, does in NOT_READ.items():
        if gru.get(key) and (key != "return_sequences" or dense is not None):
            raise InterchangeError(f"its GRU {does} ({key}); expected one that returns its last state")
    if dense is not None and activation(dense.get("activation", "linear")) not in HEADS:
        raise InterchangeError(f"its Dense layer has the activation {dense['activation']!r}; expected one of {HEADS}")
    for config in (gru, dense or {}):
        if precision(config.get("dtype", "float32")) not in ("float32", "float64"):
            raise InterchangeError(f"a layer computes in {precision(config['dtype'])}; expected float32 or float64")
    return Layers(gru, dense)


def activation(value: Any) -> str:
    """Return the name of an activation, stored as such or as the configuration of one."""
    if isinstance(value, Mapping):
        inner = value.get("config")
        value = inner if isinstance(inner, str) else value.get("class_name")
    return checks.shown(value, str)


def precision(value: Any) -> str:
    """Return the name of a dtype or of a policy of dtypes."""
    while isinstance(value, Mapping):
        value = value.get("config", value.get("name")) if "name" not in value else value["name"]
    return "float32" if value is None else checks.shown(value, str)
