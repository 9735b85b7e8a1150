"""A NumPy archive of arrays by name: minigru's own, a checkpoint, or what `numpy.savez` made of another library's."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

from ..training.files import read_arrays
from .names import Params, from_names


def read(path: Path) -> Params:
    """Return the model in an archive; its names say whose it is."""
    return from_names(read_arrays(path))[1]


def written(params: Params, name: str) -> dict[str, bytes]:
    """Return the file by its name."""
    file = io.BytesIO()
    np.savez(file, **params)  # type: ignore[arg-type]  # NumPy's stub takes an array for its option allow_pickle
    return {name: file.getvalue()}
