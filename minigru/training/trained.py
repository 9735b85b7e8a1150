"""A trained model, taken from the checkpoint of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..engine.adam import Adam
from ..engine.model import SequenceClassifier
from . import checkpoint
from .checkpoint import CheckpointError
from .config import Config, saved


def load(path: Path, backend: str = "numpy") -> tuple[SequenceClassifier, Config]:
    """Return the model of a checkpoint, and what its run depended on.

    Parameters
    ----------
    path : a ``checkpoint.npz``, or the folder that holds it
    backend : "numpy" or "cupy"

    Raises
    ------
    CheckpointError
        There is no such checkpoint, or it is damaged or foreign.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """
    path = path / "checkpoint.npz" if path.is_dir() else path
    arrays, meta = checkpoint.read(path)
    config = replace(saved(path, meta), backend=backend)
    first = "gru.W_u" if config.model == "gru" else "rnn.W_a"
    try:
        D, K = len(arrays[first]) - config.hidden_size, len(arrays["linear.b"])
        model = SequenceClassifier(D, config.hidden_size, K, config.model, backend, config.dtype, config.seed)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: its arrays are not those of a model ({error})") from error
    checkpoint.restore(path, arrays, model, Adam(model))
    return model, config
