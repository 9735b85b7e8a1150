"""A training run in one file: parameters, Adam's moments, the random generator, and where the run stands.

The file is a NumPy archive of host arrays, so that it moves freely between backends; it is never a pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.adam import Adam
from ..engine.model import SequenceClassifier
from .files import DamagedFile, read_arrays, replace_file

FORMAT = 1


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged or of another model; the message says which."""


def save(path: Path, model: SequenceClassifier, adam: Adam, meta: dict[str, Any], losses: np.ndarray) -> None:
    """Write a checkpoint, replacing `path` only when it is whole.

    Parameters
    ----------
    path : where to
    model, adam : what is trained, and its optimiser
    meta : what `read` will return beside the arrays; must go through JSON
    losses : (n,), the losses of the steps done in the current epoch

    Raises
    ------
    OSError
        The file cannot be written.
    """
    arrays: dict[str, Any] = {name: model.backend.to_host(array) for name, array in _arrays(model, adam).items()}
    arrays["adam.t"] = np.array(adam.t)
    arrays["losses"] = losses
    arrays["meta"] = np.array(json.dumps({"format": FORMAT, **meta}, sort_keys=True))
    replace_file(path, lambda file: np.savez(file, **arrays))


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the arrays and the meta data of a checkpoint.

    Raises
    ------
    CheckpointError
        There is no such file, it is damaged, or it is not a checkpoint of minigru.
    """
    try:
        arrays = read_arrays(path)
    except FileNotFoundError:
        raise CheckpointError(f"there is no checkpoint {path}") from None
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror})") from error
    except DamagedFile as error:
        raise CheckpointError(f"{path} is damaged or is not a checkpoint of minigru ({error})") from error
    try:
        meta = json.loads(str(arrays.pop("meta")))
        version = meta["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is damaged or is not a checkpoint of minigru (no usable meta data)") from error
    if version != FORMAT:
        raise CheckpointError(f"{path} has checkpoint format {version!r}; expected {FORMAT}")
    return arrays, meta


def restore(path: Path, arrays: dict[str, np.ndarray], model: SequenceClassifier, adam: Adam) -> None:
    """Put the arrays of a checkpoint into a model and its optimiser.

    Raises
    ------
    CheckpointError
        The arrays are not those of this model; nothing has been changed then.
    """
    wanted = _arrays(model, adam)
    for name, view in wanted.items():
        if name not in arrays or arrays[name].shape != view.shape or arrays[name].dtype != view.dtype:
            came = f"{arrays[name].dtype} {arrays[name].shape}" if name in arrays else "no such array"
            raise CheckpointError(f"{path} is of another model: {name} is {came}; expected {view.dtype} {view.shape}")
        if not np.isfinite(arrays[name]).all():
            raise CheckpointError(f"{path} is damaged: {name} holds numbers that are not finite")
    steps, losses = arrays.get("adam.t"), arrays.get("losses")
    if steps is None or steps.shape != () or steps.dtype.kind != "i" or steps < 0:
        raise CheckpointError(f"{path} is damaged: adam.t is no number of steps")
    if losses is None or losses.ndim != 1 or losses.dtype.kind != "f" or not np.isfinite(losses).all():
        raise CheckpointError(f"{path} is damaged: losses is no list of finite losses")
    for name, view in wanted.items():
        view[...] = model.backend.to_device(arrays[name])
    adam.t = int(arrays["adam.t"])


def _arrays(model: SequenceClassifier, adam: Adam) -> dict[str, Any]:
    """Name the parameters, and Adam's moments, flat as they are, in the order of the parameters."""
    return {**model.params, "adam.m": adam.m, "adam.v": adam.v}
