"""The state_dict of the article's `DigitClassification`, or of another module of PyTorch, in a file of `torch.save`."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import bounded, library
from .names import InterchangeError, Params, from_names, to_article

EXTRA = "install PyTorch, or save the state_dict as .safetensors or .npz"


def read(path: Path) -> Params:
    """Return the model of a state_dict; its names say whose it is; errors as for `contents`."""
    return from_names(contents(path))[1]


def contents(path: Path) -> dict[str, Any]:
    """Return the arrays of a state_dict by name.

    Raises
    ------
    InterchangeError
        The file is not a dictionary of tensors, or claims more memory than it has bytes, or PyTorch is missing.
    """
    if not zipfile.is_zipfile(path):
        raise InterchangeError("it is not a file of torch.save in PyTorch 1.6 or newer; save model.state_dict() again")
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise InterchangeError("its parts are compressed, and torch.save compresses none")
    torch = library("torch", EXTRA)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # PyTorch raises errors of many kinds, all of them long
        first = " ".join(str(error).split())[:150]
        raise InterchangeError(f"PyTorch's weights-only reader refuses it ({type(error).__name__}: {first})") from error
    return _arrays(torch, found, path)


def _arrays(torch: Any, found: Any, path: Path) -> dict[str, Any]:
    """Return the tensors of a state_dict as arrays, after checking their dtypes and the bytes that they claim."""
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise InterchangeError(f"it holds a {type(found).__name__}; expected a state_dict, names and tensors")
    for name, tensor in found.items():
        if tensor.dtype not in (torch.float32, torch.float64) or tensor.layout != torch.strided:
            raise InterchangeError(f"{name} is of dtype {tensor.dtype}, {tensor.layout}; expected float32 or float64")
    arrays = {str(name): tensor.detach().numpy() for name, tensor in found.items()}
    bounded(arrays, path)
    return arrays


def written(params: Params, name: str) -> dict[str, bytes]:
    """Return the file of the article's state_dict by its name."""
    torch, file = library("torch", EXTRA), io.BytesIO()
    torch.save({key: torch.from_numpy(array.copy()) for key, array in to_article(params).items()}, file)
    return {name: file.getvalue()}
