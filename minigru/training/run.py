"""A training run as its options describe it: its folder, its data, and the `Trainer` that works on both."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from .. import __version__
from ..engine.backend import get_backend
from . import checkpoint, data, history
from .checkpoint import Checkpoint, CheckpointError
from .config import Config
from .data import Dataset, DataUnavailable
from .files import flush_folder, remove_leftovers, replace_file
from .lock import Locked, locked
from .parallel import Ranks
from .recipes import RECIPES
from .trainer import Trainer

CONFIG = "config.json"
LOCK = ".lock"
STAMP = "%Y-%m-%d_%H-%M-%S"
FIGURES = ("curves.png", "digits.png", "confusion.png")
FILES = (checkpoint.NAME, history.NAME, CONFIG, *FIGURES)


@contextlib.contextmanager
def open_run(
    given: dict[str, Any],
    out: str | Path | None,
    ranks: Ranks,
    *,
    resume: bool = False,
    data_home: str | Path | None = None,
) -> Iterator[Trainer]:
    """Yield a trainer on every rank, in a folder that no other run can claim during the block.

    If the run cannot begin, no new folder is left behind.

    Parameters
    ----------
    given : attributes of `Config`; the others have their defaults or, on resuming, the values of the run in `out`
    out : folder for the results, or None for a new folder in ``runs``
    ranks : the processes that share the work; rank 0 reads the data for all
    resume : whether to go on from the checkpoint in `out`, or to start its run again if there is no checkpoint yet
    data_home : scikit-learn's data folder, or None for its usual place

    Raises
    ------
    ValueError
        An option has a wrong value, or `out` holds results already, is claimed, or cannot be written to.
    BackendUnavailable, CheckpointError, DataUnavailable, OSError
        CuPy, the checkpoint, the data or a file cannot be used.
    """
    with contextlib.ExitStack() as held:
        folder, new = ranks.first(lambda: held.enter_context(claim(None if out is None else Path(out), resume)))
        try:
            trainer = _prepare(given, folder, ranks, resume, data_home)
        except BaseException:
            if ranks.rank == 0 and new:
                with contextlib.suppress(OSError):  # the first error says more
                    (folder / CONFIG).unlink(missing_ok=True)
            raise
        yield trainer


@contextlib.contextmanager
def claim(out: Path | None, resume: bool) -> Iterator[tuple[Path, bool]]:
    """Yield the folder for the results, and whether it is new; no other process can claim it during the block.

    Afterwards the folders that were made for it are removed, if they are empty.

    Raises
    ------
    ValueError
        The folder is claimed, cannot be written to, or holds results already and they are not to be resumed.
    CheckpointError
        There is nothing to resume.
    """
    if out and resume and not out.is_dir():
        raise CheckpointError(f"there is no checkpoint {out / checkpoint.NAME} to resume: start a new run")
    with contextlib.ExitStack() as held:
        new: list[Path] = []
        held.callback(_remove_empty, new)
        try:
            if out:
                _make(out, new)
            folder = out or _new_folder(Path("runs", time.strftime(STAMP)), new)
            held.enter_context(locked(folder / LOCK))
        except Locked:
            raise ValueError(f"another run is working in {out}: wait until it ends, or choose another folder") from None
        except OSError as error:
            reason = error.strerror
            if isinstance(error, FileExistsError):
                reason = f"{error.filename} is a file, or a link to a folder that is not there"
            raise ValueError(
                f"the folder {out or 'runs'} cannot be written to: {reason}; choose another folder"
            ) from error
        _check_content(folder, resume)
        for name in FILES:
            remove_leftovers(folder / name)
        yield folder, folder in new


def _check_content(folder: Path, resume: bool) -> None:
    """Refuse to overwrite results, and to resume a run of which nothing is there."""
    there = [name for name in FILES if (folder / name).exists()]
    begun = {checkpoint.NAME, CONFIG} & {*there}
    if resume and not begun:
        advice = "start a new run in another folder" if there else "start a new run"
        raise CheckpointError(f"there is no checkpoint {folder / checkpoint.NAME} to resume: {advice}")
    if there and not resume:
        advice = "resume its run, or choose" if begun else "choose"
        raise ValueError(f"{folder} already holds {there[0]}: {advice} another folder")


def _make(folder: Path, new: list[Path]) -> None:
    """Make a folder and its parents, unless they are there, and add those that were made to the front of `new`."""
    for place in (*reversed([parent for parent in folder.parents if not os.path.exists(parent)]), folder):
        try:
            place.mkdir()
        except FileExistsError:
            if not place.is_dir():
                raise
        else:
            new.insert(0, place)
            flush_folder(place.parent)


def _remove_empty(folders: list[Path]) -> None:
    """Remove those of the folders that are empty, each before the folder that it is in."""
    for folder in folders:
        with contextlib.suppress(OSError):  # it is in use, or removed already
            folder.rmdir()


def _new_folder(wanted: Path, new: list[Path]) -> Path:
    """Make a folder of this name, or with -2, -3, … after it, and return its path; `new` as in `_make`."""
    numbered = (Path(f"{wanted}-{number}") for number in itertools.count(2))
    for folder in itertools.chain([wanted], numbered):
        _make(folder, new)
        if folder in new:
            break
    return folder


def _prepare(given: dict[str, Any], folder: Path, ranks: Ranks, resume: bool, data_home: str | Path | None) -> Trainer:
    path = folder / checkpoint.NAME
    saved = ranks.first(lambda: checkpoint.read(path) if resume and path.exists() else None)
    config = ranks.first(lambda: _configure(given, folder, resume, saved))
    dataset = ranks.first(lambda: _load(config, data_home, saved))
    config = replace(config, data=dataset.name)

    def start() -> Trainer:
        trainer = Trainer(config, dataset, folder, ranks)
        if saved:
            trainer.resume(saved)
        if ranks.rank == 0:
            text = json.dumps({"minigru": __version__, **asdict(config)}, indent=2) + "\n"
            replace_file(folder / CONFIG, lambda file: file.write(text.encode()))
        return trainer

    return ranks.each(start)


def _configure(given: dict[str, Any], folder: Path, resume: bool, saved: Checkpoint | None) -> Config:
    if saved:
        asked = {name: value for name, value in given.items() if (name, value) != ("data", "auto")}
        config = replace(saved.config, **asked)
        saved.check(config)
    elif resume:
        config = Config(**_read_config(folder) | given)  # nothing has been computed with the options of that run
        print(f"{folder} holds no checkpoint yet: its run starts from the beginning.", file=sys.stderr)
    else:
        config = Config(**RECIPES[given.get("recipe", "article")] | given)
    get_backend(config.backend)  # fails before data are fetched
    return config


def _read_config(folder: Path) -> dict[str, Any]:
    """Return the options of a run that has no checkpoint yet."""
    path = folder / CONFIG
    try:
        stored = json.loads(path.read_text("utf-8"))
        del stored["minigru"]
        return asdict(Config(**stored))
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"there is no checkpoint in {folder}, and its {CONFIG} is not that of a run ({type(error).__name__})"
        raise CheckpointError(f"{reason}: start a new run in another folder") from error


def _load(config: Config, data_home: str | Path | None, saved: Checkpoint | None) -> Dataset:
    try:
        return data.load(config.data, data_home, config.dtype)
    except DataUnavailable as error:
        advice = "" if saved else ", or use the data 'digits'"  # a run goes on with the data that it began with
        raise DataUnavailable(error.reason, f"{error.remedy}{advice}") from error
