"""A training run as its options describe it: its folder, its data, and the `Trainer` that works on both."""

from __future__ import annotations

import contextlib
import itertools
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..engine.backend import get_backend
from . import checkpoint, data, history
from .config import Config
from .data import Dataset, DataUnavailable
from .files import replace_file
from .parallel import Ranks
from .trainer import Trainer

CONFIG = "config.json"
FIGURES = ("curves.png", "digits.png", "confusion.png")
FILES = (checkpoint.NAME, history.NAME, CONFIG, *FIGURES)


def open_run(
    given: dict[str, Any], out: Path | None, ranks: Ranks, *, resume: bool = False, data_home: Path | None = None
) -> Trainer:
    """Return a trainer on every rank, in a folder of its own; if that fails, no new folder is left behind.

    Parameters
    ----------
    given : attributes of `Config`; the others have their defaults or, on resuming, the values of the checkpoint
    out : folder for the results, or None for a new folder in ``runs``
    ranks : the processes that share the work; rank 0 reads the data for all
    resume : whether to go on from the checkpoint in `out`
    data_home : scikit-learn's data folder, or None for its usual place

    Raises
    ------
    ValueError
        An option has a wrong value, or `out` holds results already or cannot be written to.
    BackendUnavailable, CheckpointError, DataUnavailable, OSError
        CuPy, the checkpoint, the data or a file cannot be used.
    """
    config = ranks.first(lambda: _configure(given, out, resume))
    with claimed(out, resume, ranks) as folder:
        dataset = ranks.first(lambda: _load(config, data_home, resume))
        config = replace(config, data=dataset.name)

        def start() -> Trainer:
            trainer = Trainer(config, dataset, folder, ranks)
            if resume:
                trainer.resume()
            if ranks.rank == 0:
                text = json.dumps({"minigru": __version__, **asdict(config)}, indent=2) + "\n"
                replace_file(folder / CONFIG, lambda file: file.write(text.encode()))
            return trainer

        return ranks.each(start)


@contextlib.contextmanager
def claimed(out: Path | None, resume: bool, ranks: Ranks) -> Iterator[Path]:
    """Claim a folder on rank 0 and yield it on every rank; if the block fails, remove the folder if it is new."""
    existed = out is not None and out.exists()
    folder = ranks.first(lambda: claim(out, resume))
    try:
        yield folder
    except BaseException:
        if ranks.rank == 0 and not existed:
            (folder / CONFIG).unlink(missing_ok=True)
            folder.rmdir()
        raise


def claim(out: Path | None, resume: bool) -> Path:
    """Return the folder for the results, made and tested for writing.

    Raises
    ------
    ValueError
        The folder holds results already and they are not to be resumed, or it cannot be written to.
    """
    if out is None:
        return _new_folder(Path("runs", time.strftime("%Y-%m-%d_%H-%M-%S")))
    there = [name for name in FILES if (out / name).exists()]
    if there and not resume:
        raise ValueError(f"{out} already holds {there[0]}: add --resume to go on with a run, or choose another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=out).close()
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written to: {error.strerror}") from error
    return out


def _new_folder(wanted: Path) -> Path:
    """Make a folder of this name, or with -2, -3, … after it, and return its path."""
    for folder in itertools.chain([wanted], (Path(f"{wanted}-{number}") for number in itertools.count(2))):
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            break
    return folder


def _configure(given: dict[str, Any], out: Path | None, resume: bool) -> Config:
    config = checkpoint.resumed(out / checkpoint.NAME, given) if resume and out else Config(**given)
    get_backend(config.backend)  # fails before a folder is made or data are fetched
    return config


def _load(config: Config, data_home: Path | None, resume: bool) -> Dataset:
    try:
        return data.load(config.data, data_home, config.dtype)
    except DataUnavailable as error:
        other = "" if resume else ", or use --data digits"  # a run goes on with its own data
        raise DataUnavailable(error.reason, error.remedy + other) from error
