"""The history of a run: one row per epoch, in ``history.csv`` beside the checkpoint.

The checkpoint holds the results of all epochs too, and ``history.csv`` follows it. Only the times are not in the
checkpoint.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from .checkpoint import CheckpointError
from .files import replace_file

NAME = "history.csv"
RESULTS = ["epoch", "train_loss_nats", "test_loss_nats", "test_accuracy_percent"]
COLUMNS = [*RESULTS, "train_seconds", "images_per_second"]


def extend(history: pd.DataFrame | None, *rows: tuple[float, ...]) -> pd.DataFrame:
    """Return the history with more rows; None is the history of a new run."""
    before = [] if history is None else [*history.itertuples(index=False)]
    return pd.DataFrame([*before, *rows], columns=COLUMNS)


def save(path: Path, history: pd.DataFrame) -> None:
    """Write the history; `path` is replaced only once the new file is complete.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    replace_file(path, lambda file: history.to_csv(file, index=False))


def restore(results: np.ndarray, path: Path) -> pd.DataFrame:
    """Return the history with the `results` of a checkpoint, and the times that `path` has for the same results.

    A time is NaN if `path` cannot be read or has other results for that epoch.
    """
    rows = pd.DataFrame(results, columns=RESULTS)
    try:
        kept = _read(path)[COLUMNS].drop_duplicates(RESULTS)
    except (OSError, ValueError, KeyError):
        kept = pd.DataFrame(columns=COLUMNS, dtype=float)
    return rows.merge(kept, how="left", on=RESULTS).astype({"epoch": int})


def read(path: Path, epochs: int) -> pd.DataFrame:
    """Return the rows of the first `epochs` epochs, which a checkpoint without results needs.

    Raises
    ------
    CheckpointError
        The file cannot be read, or does not hold these epochs.
    """
    try:
        history = _read(path)
    except (OSError, ValueError) as error:
        reason = str(error).replace("\n", " ")
        raise CheckpointError(f"{path}, which belongs to the checkpoint, cannot be read ({reason})") from error
    held = len(history) >= epochs and list(history) == COLUMNS
    if not held or list(history["epoch"][:epochs]) != [*range(1, epochs + 1)]:
        raise CheckpointError(f"{path} does not hold the {epochs} epochs that the checkpoint has completed")
    return history[:epochs].astype({"epoch": int})


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str).astype(float)  # pandas' own way to numbers rounds some of them wrongly


def describe(history: pd.DataFrame, epochs: int) -> str:
    """Return the last row in one line of text, of a run with so many `epochs`."""
    row, width = history.iloc[-1], len(str(epochs))
    return (
        f"epoch {int(row.epoch):{width}d}/{epochs}  loss {row.train_loss_nats:.4f}  "
        f"test loss {row.test_loss_nats:.4f}  test accuracy {row.test_accuracy_percent:.2f} %  "
        f"{row.train_seconds:.1f} s  {row.images_per_second:,.0f} images/s"
    )
