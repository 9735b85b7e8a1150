"""The colours, the settings and the empty figure that all figures share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OURS, OTHER, WRONG, RIGHT, GREY = "#0b5fa5", "#d1700b", "#c0392b", "#2e7d32", "#9aa5b1"
COLORS = (OTHER, "#7d8a97", OURS, RIGHT, WRONG)  # of several curves
GATES: dict[str, Any] = {"cmap": "viridis", "vmin": 0, "vmax": 1}
MEMORY: dict[str, Any] = {"cmap": "RdBu", "vmin": -1, "vmax": 1}


@contextmanager
def own_settings() -> Iterator[None]:
    """Draw with the default settings of matplotlib in this block, whatever the user has configured.

    A figure that is saved in the block is drawn by the backend of its file format, without a window or a notebook.
    """
    ours = {"MPLBACKEND": None, "MATPLOTLIBRC": os.devnull}  # read on import, which fails if they are nonsense
    theirs = {name: os.environ.get(name) for name in ours}
    _set_environment(ours)
    try:
        import matplotlib
    finally:
        _set_environment(theirs)
    with matplotlib.rc_context(
        {name: value for name, value in matplotlib.rcParamsDefault.items() if name != "backend"}
    ):
        yield


def _set_environment(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure, `width` by `height` inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=120, layout="constrained")


def plain(text: str) -> str:
    """Return a user's text as a figure can show it: not parsed as mathematics, with "?" for what the font lacks."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    font = get_font(findfont(FontProperties()))
    shown = "".join(sign if sign.isprintable() and font.get_char_index(ord(sign)) else "?" for sign in text)
    return shown.replace("$", r"\$")
