"""The options of a training run, each declared once, for every script: its default, its help text and its check."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any

from ..engine import checks
from ..engine.adam import SCHEDULES
from ..engine.backend import BACKENDS
from ..engine.model import CELLS
from .data import DATA
from .distort import DISTORTIONS
from .recipes import RECIPES


def _option(default: Any, help: str, read: Callable[[str], Any], check: Callable[[str, Any], Any], metavar: str) -> Any:
    return field(default=default, metadata={"help": help, "read": read, "check": check, "metavar": metavar})


def _choice(default: str, help: str, *allowed: str) -> Any:
    return _option(
        default, help, str, lambda name, value: checks.choice(name, value, allowed), f"{{{','.join(allowed)}}}"
    )


def _whole(default: int | None, help: str, metavar: str, low: int = 1) -> Any:
    return _option(default, help, int, lambda name, value: checks.whole(name, value, low), metavar)


def _number(default: float | None, help: str, metavar: str, *, above: bool = False) -> Any:
    return _option(default, help, float, lambda name, value: checks.number(name, value, 0, above=above), metavar)


def _flag(help: str) -> Any:
    return _option(False, help, bool, checks.flag, "")


@dataclass(frozen=True)
class Config:
    """What a training run depends on; the defaults are the article's recipe.

    `add_option` offers an attribute as an option of the command line, with the default and the help text that stand
    here. A NumPy number is stored as the number of Python that it is.

    Raises
    ------
    ValueError
        A value is not one that its option may have.
    """

    recipe: str = _choice("article", "options that are chosen together; each may still be given", *RECIPES)
    backend: str = _choice("numpy", "array library; cupy needs an NVIDIA GPU", *BACKENDS)
    data: str = _choice("auto", "MNIST, scikit-learn's bundled digits, or auto: MNIST if it can be had", *DATA)
    model: str = _choice("gru", "recurrent layer", *CELLS)
    hidden_size: int = _whole(128, "length of the memory", "H")
    epochs: int = _whole(10, "passes over the training images", "N")
    batch_size: int = _whole(32, "images per step", "B")
    lr: float = _number(1e-3, "learning rate of Adam", "RATE")
    schedule: str = _choice("constant", "how the learning rate changes during the run", *SCHEDULES)
    clip_norm: float | None = _number(None, "scale longer gradients down to this norm", "NORM", above=True)
    distort: str = _choice("none", "how the training images are distorted, anew in every epoch", *DISTORTIONS)
    seed: int = _whole(0, "seed of the initial weights and of the order of the images", "N", low=0)
    dtype: str = _choice("float32", "floating point numbers of the engine", "float32", "float64")
    limit: int | None = _whole(None, "use only this many training images, from the first", "N")
    holdout: int | None = _whole(None, "test on this many of the last training images, not on the test images", "N")
    pixels: bool = _flag("read an image pixel by pixel, in steps of one, with gates started for that length")
    permuted: bool = _flag("read the pixels in a fixed shuffled order, the same for every seed; implies --pixels")

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if value is not None or option.default is not None:  # None is the default of those that may be absent
                object.__setattr__(self, option.name, option.metadata["check"](option.name, value))
        object.__setattr__(self, "pixels", self.pixels or self.permuted)


def reader(flag: str, read: Callable[[str], Any], check: Callable[[str, Any], Any]) -> Callable[[str], Any]:
    """Return what argparse takes as the `type` of the option `flag`; a wrong value is an error in the check's words."""

    def parse(text: str) -> Any:
        try:
            value = read(text)
        except ValueError:
            value = text  # not a number: the check says what was expected
        try:
            return check(flag, value)
        except ValueError as error:
            raise argparse.ArgumentError(None, str(error)) from None

    return parse


def add_option(parser: argparse.ArgumentParser, name: str, **changed: Any) -> None:
    """Offer an attribute of `Config` as an option; `changed` may hold another ``default`` or ``help``."""
    option = next(option for option in fields(Config) if option.name == name)
    flag, known = "--" + name.replace("_", "-"), option.metadata
    default, help = changed.get("default", option.default), changed.get("help", known["help"])
    if option.default is False:
        parser.add_argument(flag, action="store_true", help=help)
        return
    parser.add_argument(
        flag,
        type=reader(flag, known["read"], known["check"]),
        default=default,
        metavar=known["metavar"],
        help=help if default is None else f"{help} (default: {default})",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """Offer every attribute of `Config` as an option."""
    for option in fields(Config):
        add_option(parser, option.name)
        parser.set_defaults(**{option.name: None})  # see `given_options`


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the attributes of `Config` that were given as options."""
    given = {option.name: getattr(options, option.name) for option in fields(Config)}
    return {name: value for name, value in given.items() if value is not None}
