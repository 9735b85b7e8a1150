"""A training run in one file: parameters, Adam's moments, the random generator, and how far the run has come.

The file is a NumPy archive of host arrays, so it moves freely between backends. It is never a pickle.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..engine import checks
from ..engine.adam import Adam
from ..engine.backend import Array
from ..engine.model import CELLS, SequenceClassifier
from .config import Config
from .files import DamagedFile, read_arrays, save_arrays

NAME = "checkpoint.npz"
FORMAT = 4  # format 1 stored no sizes of the model, formats 1 and 2 no digest, and before format 4 options were fewer


class CheckpointError(RuntimeError):
    """A checkpoint is missing, damaged, or of another run; the message says which."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds, validated by `read`.

    Attributes
    ----------
    path : the file
    config : the configuration of the run
    input_size, num_classes : D and K
    epoch : epochs completed
    generator : state of the random generator at the start of the current epoch
    steps : steps of Adam, in all epochs
    losses : (n,), the losses of the steps done in the current epoch
    results : (epoch, 4), what `history.RESULTS` names; None from a version that kept them in ``history.csv`` alone
    arrays : host arrays: the parameters by name, and "adam.m" and "adam.v", (N,) each
    """

    path: Path
    config: Config
    input_size: int
    num_classes: int
    epoch: int
    generator: Mapping[str, Any]
    steps: int
    losses: np.ndarray
    results: np.ndarray | None
    arrays: dict[str, np.ndarray]

    def check(self, config: Config) -> None:
        """Check that a run of this configuration can go on from here.

        The backend may be another one. With a constant learning rate, the number of epochs may be another one too, but
        not less than are completed.

        Raises
        ------
        CheckpointError
            The run was made with another configuration.
        """
        for name, value in vars(config).items():
            had = getattr(self.config, name)
            free = name == "backend" or (name == "epochs" and config.schedule == "constant")
            if value != had and not free:
                raise CheckpointError(
                    f"{name} is {value!r}, but {self.path} was made with {had!r}: keep {had!r}, or start a new run"
                )
        if config.epochs < self.epoch:
            raise CheckpointError(
                f"epochs is {config.epochs}; expected at least {self.epoch}, as many as {self.path} has completed"
            )

    def restore(self, model: SequenceClassifier, adam: Adam | None = None) -> None:
        """Copy the arrays into a model and, if there is one, its optimiser.

        Raises
        ------
        CheckpointError
            The arrays are not those of this model, or not finite. Nothing has been changed then.
        """
        wanted = _arrays(model, adam)
        for name, view in wanted.items():
            array = self.arrays.get(name)
            if array is None or array.shape != view.shape or array.dtype != view.dtype:
                came = "missing" if array is None else f"{array.dtype} {array.shape}"
                expected = f"{view.dtype} {view.shape}"
                raise CheckpointError(f"{self.path} is of another model: {name} is {came}; expected {expected}")
            if not np.isfinite(array).all():
                raise CheckpointError(f"{self.path} is damaged: {name} holds numbers that are not finite")
        for name, view in wanted.items():
            view[...] = model.backend.to_device(self.arrays[name])
        if adam is not None:
            adam.t = self.steps


def save(
    path: Path,
    model: SequenceClassifier,
    adam: Adam,
    config: Config,
    epoch: int,
    generator: Mapping[str, Any],
    losses: np.ndarray,
    results: np.ndarray,
) -> None:
    """Write a checkpoint; `path` is replaced only once the new file is complete.

    The arguments are named as in `Checkpoint`.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    meta = {
        "format": FORMAT,
        "config": asdict(config),
        "input_size": model.cell.input_size,
        "num_classes": model.num_classes,
        "epoch": epoch,
        "generator": generator,
    }
    arrays: dict[str, Any] = {name: model.backend.to_host(array) for name, array in _arrays(model, adam).items()}
    arrays |= {"adam.t": np.array(adam.t), "losses": losses, "results": results}
    arrays["meta"] = np.array(json.dumps(meta, sort_keys=True))
    save_arrays(path, arrays)


def read(path: str | Path) -> Checkpoint:
    """Return what a checkpoint holds, of format 1 to 4.

    Raises
    ------
    CheckpointError
        There is no such file, it is damaged, or it is not a checkpoint of minigru.
    """
    path = Path(path)
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
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged or is not a checkpoint of minigru (no usable meta data)") from error
    if version not in range(1, FORMAT + 1):
        raise CheckpointError(f"{path} has checkpoint format {checks.shown(version)}; expected 1 to {FORMAT}")
    if arrays.pop("digest", None) is None and version >= 3:
        raise CheckpointError(f"{path} is damaged: its digest is missing")
    try:
        config = Config(**meta["config"])
        epoch = checks.whole("epoch", meta["epoch"], 0)
        generator = np.random.default_rng().bit_generator
        generator.state = meta["generator"]
        D, K = _sizes(meta, config, arrays)
        steps, losses, results = arrays.pop("adam.t"), arrays.pop("losses"), arrays.pop("results", None)
        if version == FORMAT and meta["config"].keys() != asdict(config).keys():
            raise ValueError("options are missing")
        if epoch > config.epochs:
            raise ValueError(f"epoch is {checks.shown(epoch)}; expected at most {config.epochs}")
        if steps.shape != () or steps.dtype.kind != "i" or steps < epoch:
            raise ValueError("adam.t is not a number of steps")
        if losses.ndim != 1 or losses.dtype.kind != "f" or not np.isfinite(losses).all():
            raise ValueError("losses is not a list of finite losses")
        if results is not None and (results.ndim != 2 or results.shape[1] != 4 or results.dtype != float):
            raise ValueError("results is not a table of the results of each epoch")
        if results is not None and (len(results) != epoch or list(results[:, 0]) != [*range(1, epoch + 1)]):
            raise ValueError("its epoch and its results contradict each other")
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise CheckpointError(f"{path} is damaged: {reason}") from error
    return Checkpoint(path, config, D, K, epoch, meta["generator"], int(steps), losses, results, arrays)


def load_model(path: str | Path, backend: str = "numpy") -> tuple[SequenceClassifier, Config]:
    """Return the model of a checkpoint, and the configuration that it was trained with.

    Parameters
    ----------
    path : a ``checkpoint.npz``, or the folder that holds it
    backend : "numpy" or "cupy"

    Raises
    ------
    CheckpointError
        There is no such checkpoint, or it is damaged, or it is not a checkpoint of minigru.
    BackendUnavailable
        CuPy was asked for and cannot be used.
    """
    saved = read(Path(path, NAME) if os.path.isdir(path) else path)
    config = replace(saved.config, backend=backend)
    model = SequenceClassifier(
        saved.input_size, config.hidden_size, saved.num_classes, config.model, backend, config.dtype
    )
    saved.restore(model)
    return model, config


def _arrays(model: SequenceClassifier, adam: Adam | None) -> dict[str, Array]:
    """Return the parameters by name, and Adam's moments, which are flat, in the order of the parameters."""
    return dict(model.params) | ({} if adam is None else {"adam.m": adam.m, "adam.v": adam.v})


def _sizes(meta: dict[str, Any], config: Config, arrays: dict[str, np.ndarray]) -> tuple[int, int]:
    """Return D and K; raise ValueError if the arrays are too few for them, before a model is made of that size."""
    H = config.hidden_size
    if meta["format"] == 1:
        weight = arrays[f"{config.model}.W_{CELLS[config.model].letters[0]}"]
        D, K = len(weight) - H, np.size(arrays["linear.b"])
    else:
        D, K = meta["input_size"], meta["num_classes"]
    D, K = checks.whole("input_size", D), checks.whole("num_classes", K)
    if sum(array.size for array in arrays.values()) < (H + D) * H + (H + 1) * K:
        raise ValueError(f"its arrays are not those of a model with D = {D}, H = {H}, K = {K}")
    return D, K
