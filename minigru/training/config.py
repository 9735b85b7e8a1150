"""What a training run depends on, and what of it may change when the run is resumed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..engine import checks
from ..engine.adam import SCHEDULES
from ..engine.backend import BACKENDS
from ..engine.model import CELLS
from . import checkpoint
from .checkpoint import CheckpointError
from .data import DATA


@dataclass(frozen=True)
class Config:
    """What a training run depends on; the defaults are the article's recipe.

    Attributes
    ----------
    backend : "numpy" or "cupy"
    data : "auto", "mnist" or "digits"
    model : "gru" or "rnn"
    hidden_size : H
    epochs : passes over the training images
    batch_size : B
    lr : learning rate of Adam
    schedule : "constant" or "cosine"
    clip_norm : longest gradient that is let through, or None
    seed : of the initial weights and of the order of the images
    dtype : "float32" or "float64"
    limit : how many training images to use, from the first, or None for all

    Raises
    ------
    ValueError
        A value is not one of those.
    """

    backend: str = "numpy"
    data: str = "auto"
    model: str = "gru"
    hidden_size: int = 128
    epochs: int = 10
    batch_size: int = 32
    lr: float = 1e-3
    schedule: str = "constant"
    clip_norm: float | None = None
    seed: int = 0
    dtype: str = "float32"
    limit: int | None = None

    def __post_init__(self) -> None:
        checks.choice("backend", self.backend, BACKENDS)
        checks.choice("data", self.data, DATA)
        checks.choice("model", self.model, tuple(CELLS))
        checks.whole("hidden_size", self.hidden_size)
        checks.whole("epochs", self.epochs)
        checks.whole("batch_size", self.batch_size)
        checks.number("lr", self.lr, 0)
        checks.choice("schedule", self.schedule, tuple(SCHEDULES))
        if self.clip_norm is not None:
            checks.number("clip_norm", self.clip_norm, 0, above=True)
        checks.whole("seed", self.seed, 0)
        checks.dtype(self.dtype)
        if self.limit is not None:
            checks.whole("limit", self.limit)


def saved(path: Path, meta: dict[str, Any]) -> Config:
    """Return the configuration that a checkpoint was made with, from its meta data.

    Raises
    ------
    CheckpointError
        It has none.
    """
    try:
        config = Config(**meta["config"])
        if meta["config"].keys() != asdict(config).keys():
            raise KeyError("options are missing")
        checks.whole("epoch", meta["epoch"], 0)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: it has no usable configuration ({error})") from error
    return config


def resumed(path: Path, given: dict[str, Any]) -> Config:
    """Return the configuration that a checkpoint was made with, changed by `given` where that may be.

    The backend may change, and with a constant learning rate the number of epochs, up to more than are done.

    Raises
    ------
    CheckpointError
        There is no such checkpoint, or it is damaged.
    ValueError
        An option in `given` is not what the checkpoint was made with.
    """
    _, meta = checkpoint.read(path)
    before, epoch = saved(path, meta), meta["epoch"]
    free = {"backend"} | ({"epochs"} if before.schedule == "constant" else set())
    for name, value in given.items():
        had = getattr(before, name)
        if name not in free and value != had and (name, value) != ("data", "auto"):
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} is {value}, but {path} was made with {had}: leave {flag} out, or start a new run")
    config = replace(before, **{name: value for name, value in given.items() if name in free})
    if config.epochs < epoch:
        raise ValueError(
            f"--epochs is {config.epochs}, but {path} has {epoch} epochs behind it; expected at least those"
        )
    return config
