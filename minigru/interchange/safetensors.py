"""The format safetensors, by its own library: arrays by name, and in the header the variant that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .files import library
from .names import InterchangeError, Params, cell_of, from_names

EXTRA = "pip install 'minigru[safetensors]'"
VARIANTS = {
    "gru": "reset gate before the product, update gate replaces at 1, one bias per gate",
    "gru_after": "reset gate after the product, gate keeps at 1, two biases for the candidate",
    "rnn": "plain RNN, tanh",
}
DTYPES = {"F32", "F64"}


def read(path: Path) -> Params:
    """Return the model in a file; its names say whose it is.

    Raises
    ------
    InterchangeError
        The header says otherwise than the names, an array is of another dtype, or the library is missing.
    """
    arrays, header = _opened(path)
    params, said = from_names(arrays)[1], header.get("variant")
    if said in VARIANTS.values() and said != VARIANTS[cell_of(params)]:
        raise InterchangeError(f"its header says {said!r}, and its names are those of: {VARIANTS[cell_of(params)]}")
    return params


def contents(path: Path) -> dict[str, Any]:
    """Return the arrays by name; errors as for `read`."""
    return _opened(path)[0]


def _opened(path: Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the arrays by name, and the header's own entries."""
    library("safetensors", EXTRA)
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118, not a dict
                if (dtype := file.get_slice(name).get_dtype()) not in DTYPES:
                    raise InterchangeError(f"{name} is of dtype {dtype}; expected F32 or F64")
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise InterchangeError(f"it is damaged or not a safetensors file ({error})") from error


def written(params: Params, name: str) -> dict[str, bytes]:
    """Return the file by its name; the header names the variant."""
    header = {"format": "minigru", "cell": cell_of(params), "variant": VARIANTS[cell_of(params)]}
    return {name: library("safetensors.numpy", EXTRA).save(params, header)}
