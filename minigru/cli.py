"""What the scripts share: options that explain themselves, and errors in one sentence."""

from __future__ import annotations

import argparse
import io
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from threadpoolctl import threadpool_limits

from .engine.backend import BACKENDS
from .training.files import replace_file

BLAS_VARIABLES = {"OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence on stderr, with exit status 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the message and where to read on, and exit."""
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def seed(text: str) -> int:
    """Return a seed given as an option."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative; expected a whole number from 0 up")
    return number


def positive(text: str) -> int:
    """Return a count given as an option."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not positive; expected a whole number from 1 up")
    return number


def rate(text: str) -> float:
    """Return a learning rate given as an option."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no learning rate; expected a finite number above 0")
    return number


def output_file(text: str) -> Path:
    """Return the path of a file to be written, given as an option."""
    path = Path(text)
    if not text or path.is_dir() or not path.resolve().parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text!r} is no file in an existing folder")
    if not os.access(path if path.exists() else path.resolve().parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written to")
    return path


def output_folder(text: str) -> Path:
    """Return the path of a folder to be written to, there or to be made, given as an option."""
    path = Path(text)
    there = next(folder for folder in (path, *path.resolve().parents) if folder.exists())
    if not text or not there.is_dir() or not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is no folder that can be written to")
    return path


def figure_options(parser: argparse.ArgumentParser) -> None:
    """Add what every script that draws figures takes."""
    parser.add_argument(
        "--backend", choices=BACKENDS, default="numpy", help="array library; cupy needs an NVIDIA GPU (default: numpy)"
    )
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of everything that is drawn (default: 0)")
    parser.add_argument(
        "--out",
        type=output_folder,
        default="runs/figures",
        metavar="DIR",
        help="folder of the figures (default: %(default)s)",
    )


def write_figures(out: Path, **figures: Any) -> None:
    """Write each figure as a small PNG file of its name into the folder `out`, made if need be, and say where.

    Raises
    ------
    OSError
        The folder or a file cannot be written.
    """
    from PIL import Image

    out.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        path, drawn = out / f"{name}.png", io.BytesIO()
        figure.savefig(drawn, format="png")
        small = Image.open(drawn).convert("RGB").quantize(256, kmeans=1)  # a palette: a third of the size
        replace_file(path, lambda file, small=small: small.save(file, "png", optimize=True))  # type: ignore[misc]
        print(f"Figure: {path}")


def limit_blas(threads: int | None, batch_size: int, hidden_size: int, ranks: int = 1) -> None:
    """Let BLAS use `threads` threads from now on; None leaves it to a rule, and that to the environment.

    The rule is one thread where several processes share the cores, and where the products of a step are so small that
    a second thread gains little: it mostly waits, and stalls the run as soon as anything else wants the core.
    """
    if threads is None and not BLAS_VARIABLES & os.environ.keys():
        threads = 1 if ranks > 1 or batch_size * hidden_size < 128 * 128 else None
    if threads is not None:
        threadpool_limits(threads, user_api="blas")


@contextmanager
def exit_on(status: int, *errors: type[BaseException], silent: bool = False) -> Iterator[None]:
    """Turn one of `errors` into its message on stderr and an exit with `status`; any other is a bug, and traced."""
    try:
        yield
    except BrokenPipeError:
        raise  # an OSError, but no fault: `run` ends it quietly
    except errors as error:
        if not silent:
            print(f"{Path(sys.argv[0]).name}: {str(error) or 'stopped'}", file=sys.stderr)
        sys.exit(status)


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with what ``main()`` returns; with 130 after Ctrl-C, and quietly with 141 where nobody reads the output."""
    try:
        with exit_on(130, KeyboardInterrupt):
            status = main()
            sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # so that the last flush fails no more
        status = 141
    sys.exit(status)
