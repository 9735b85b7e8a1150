"""What the scripts share: options, figures, errors in one sentence, exit statuses."""

from __future__ import annotations

import argparse
import io
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from threadpoolctl import threadpool_limits

from .engine import checks
from .engine.backend import BackendUnavailable
from .plots.style import own_settings
from .training.checkpoint import CheckpointError
from .training.config import add_option, reader
from .training.data import DataUnavailable
from .training.files import replace_file
from .training.interrupt import Stopped, stopping
from .training.parallel import EndedElsewhere, MPIUnavailable, Ranks, connect
from .training.spawn import RankDied, find_mpiexec, physical_cores, report, spawn, spawned

Options = TypeVar("Options")
Run = TypeVar("Run")

BLAS_VARIABLES = {"OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one sentence on stderr, with exit status 2."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **kwargs)

    def error(self, message: str) -> NoReturn:
        """Print the message, and exit."""
        self.exit(2, f"{self.prog}: {message}; --help lists the options\n")


def whole(flag: str, low: int = 1) -> Callable[[str], int]:
    """Return the type of an option that is a whole number, at least `low`."""
    return reader(flag, int, lambda name, value: checks.whole(name, value, low))


def path(text: str) -> Path:
    """Return a path given as an option, with ``~`` and ``~user`` expanded, as a shell does at the start of a word."""
    expanded = os.path.expanduser(text)
    if not text or expanded.startswith("~"):
        raise argparse.ArgumentTypeError(
            f"{text!r} is in no known home folder; expected a full path" if text else "it is empty; expected a path"
        )
    found = Path(expanded)
    return found.absolute() if str(found).startswith("~") else found  # "./~/a", which must not be expanded later on


def output_file(text: str) -> Path:
    """Return the path of a file to write, given as an option."""
    file = path(text)
    folder = os.path.dirname(
        os.path.realpath(file)
    )  # unlike pathlib, os.path raises nothing where this user may not look
    if os.path.isdir(file) or not os.path.isdir(folder):
        raise argparse.ArgumentTypeError(f"{text!r} is not a file in an existing folder")
    if not os.access(file if os.path.exists(file) else folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written to")
    return file


def output_folder(text: str) -> Path:
    """Return the path of a folder to write to, which need not exist, given as an option."""
    folder = path(text)
    there = next(place for place in (folder, *Path(os.path.realpath(folder)).parents) if os.path.lexists(place))
    if not os.path.isdir(there) or not os.access(there, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} is not a folder that can be written to")
    return folder


def figure_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that all scripts with figures have."""
    add_option(parser, "backend")
    add_option(parser, "seed", help="seed of all random numbers")
    parser.add_argument(
        "--out",
        type=path,  # not tested here: what is printed needs no folder
        default="runs/figures",
        metavar="DIR",
        help="folder for the figures (default: %(default)s)",
    )


def write_figures(out: Path, **figures: Callable[[], Any]) -> None:
    """Draw each figure, write it as a PNG file of its name into the folder `out`, made if need be, and print the path.

    A figure that fails is one sentence on stderr.
    """

    def write() -> None:
        out.mkdir(parents=True, exist_ok=True)
        for name, draw in figures.items():
            write_figure(out / f"{name}.png", draw())
            print(f"Figure: {out / name}.png")

    drawn(write)


def drawn(draw: Callable[[], object]) -> bool:
    """Call what draws and writes figures, with minigru's settings; return False, after one sentence, if that fails.

    The numbers are to be printed before: they are worth more than the figures that show them.
    """
    sys.stdout.flush()  # a crash inside a library of matplotlib would lose what has been printed
    try:
        with own_settings():
            draw()
    except BrokenPipeError:
        raise  # see `run`
    except Exception as error:  # of any kind: a library, a font or a setting may be broken
        reason = describe(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        complain(f"a figure could not be made ({' '.join(reason.split())}); everything else is done")
        return False
    return True


def write_figure(path: Path, figure: Any) -> None:
    """Write a figure as a small PNG file.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    from PIL import Image

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    small = Image.open(drawn).convert("RGB").quantize(256, kmeans=1)  # a palette takes a third of the bytes
    replace_file(path, lambda file: small.save(file, "png", optimize=True))


def limit_blas(threads: int | None, batch_size: int, hidden_size: int, ranks: int = 1) -> None:
    """Let BLAS use `threads` threads from now on; None means a rule, unless the environment sets a number.

    The rule is one thread if several processes share the cores, or if the products of a step are small. There a second
    thread gains little: it mostly waits, and it stalls the run as soon as another program uses its core.
    """
    if threads is None and not BLAS_VARIABLES & os.environ.keys():
        threads = 1 if ranks > 1 or batch_size * hidden_size < 128 * 128 else None
    if threads is not None:
        threadpool_limits(threads, user_api="blas")


@contextmanager
def exit_on(
    status: int, *errors: type[BaseException], silent: bool = False, kept: Callable[[], str] = str
) -> Iterator[None]:
    """Turn one of `errors` into its message on stderr and an exit with its status, or `status`; others pass.

    ``kept()`` may say in addition what has been saved.
    """
    try:
        yield
    except BrokenPipeError:
        raise  # an OSError, but not a fault: see `run`
    except errors as error:
        if not silent:
            complain("; ".join(filter(None, (describe(error), kept()))))
        sys.exit(error.status if isinstance(error, Stopped) else status)


def complain(message: str) -> None:
    """Print a message on stderr, behind the name of the program."""
    with suppress(OSError):  # the exit status says it too
        print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)


def describe(error: BaseException) -> str:
    """Return the message of an error; for a bare error of the system, say what could not be used."""
    if not isinstance(error, OSError) or not error.strerror:
        return str(error) or "stopped"
    if error.filename is None:  # `replace_file` and open() name their file
        discard_output()
        return f"standard output cannot be written: {error.strerror}"
    return f"{os.fsdecode(error.filename)} cannot be read or written: {error.strerror}"


def discard_output() -> None:
    """Let what cannot be printed vanish, so that the flush at exit succeeds."""
    with suppress(OSError, ValueError):  # where a test stands in for standard output
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def start(parse_args: Callable[[], Options]) -> tuple[Ranks, Options]:
    """Return the ranks that mpiexec has started, or one, and the options; rank 0 alone prints about both."""
    with exit_on(2, MPIUnavailable):
        ranks = connect()
    with ranks.first_alone_speaks():
        return ranks, parse_args()


def rank_count(text: str) -> int:
    """Return the number of ranks given as an option; ``auto`` is one per physical core."""
    try:
        return physical_cores() if text == "auto" else whole("--ranks")(text)
    except argparse.ArgumentError as error:
        raise argparse.ArgumentError(None, f"{error}, or auto") from None


def spawn_ranks(size: int | None, ranks: Ranks) -> None:
    """Exit with the status of `size` ranks that run this program, unless this process is one of them, or is enough."""
    if size is None or spawned():
        return
    if ranks.size > 1:
        with ranks.first_alone_speaks():
            complain(f"--ranks is {size}, but mpiexec has started {ranks.size} ranks already; use one of the two")
        sys.exit(2)
    if size == 1:
        return
    mpiexec = find_mpiexec()
    if mpiexec is None:
        remedy = "MPICH has no wheel for Windows" if sys.platform == "win32" else "pip install 'minigru[mpi]'"
        complain(f"--ranks {size} needs mpi4py and MPICH, and they are not installed with this Python: {remedy}")
        sys.exit(2)
    cores = physical_cores()
    if size > cores:
        complain(f"{size} ranks take turns on {cores} cores, which is slower than --ranks {cores}")
    with exit_on(1, RankDied):
        sys.exit(spawn(mpiexec, size))


@contextmanager
def preparing(ranks: Ranks) -> Iterator[None]:
    """Exit all ranks with 2 and one sentence if an option, a file or the data are wrong."""
    wrong = (ValueError, MemoryError, BackendUnavailable, CheckpointError, DataUnavailable, OSError)
    with exit_on(2, *wrong), ranks.together(*wrong, EndedElsewhere), exit_on(130, KeyboardInterrupt):
        report(ranks.rank)
        yield


@contextmanager
def opened(run: AbstractContextManager[Run], ranks: Ranks) -> Iterator[Run]:
    """Open a run, as `preparing` does it, and hold its folder until the block ends."""
    with ExitStack() as held:
        with preparing(ranks):
            trainer = held.enter_context(run)
        with ranks.together(SystemExit):  # a signal that comes before or after `training`
            yield trainer


@contextmanager
def training(ranks: Ranks, kept: Callable[[], str]) -> Iterator[None]:
    """Exit all ranks with 1 and one sentence if the training fails; ``kept()`` says what a full disk leaves."""
    from .training.trainer import Diverged  # imports pandas, which takes a second that most scripts can save

    with (
        exit_on(1, Diverged, silent=ranks.rank > 0),
        ranks.together(Diverged),
        exit_on(1, MemoryError, OSError, kept=kept),
        exit_on(130, KeyboardInterrupt),
    ):
        yield


def run(main: Callable[[], int]) -> NoReturn:
    """Exit with the status of ``main()``, with 128 + N on signal N (130 on Ctrl-C), or with 141 on a broken pipe."""
    prepare_streams()
    if sys.platform == "darwin":  # Apple's BLAS sets the flags of the processor for finite products (numpy #28687)
        warnings.filterwarnings("ignore", ".* encountered in matmul", RuntimeWarning)
    try:
        try:
            with exit_on(130, KeyboardInterrupt), stopping():
                status: Any = main()
        except SystemExit as end:
            status = end.code
        with exit_on(status or 1, OSError):
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output()
        status = 141
    sys.exit(status)


def prepare_streams() -> None:
    """Let every stream print every text, with a code for what its encoding lacks, and let no stream be closed."""
    with suppress(OSError):
        while (nowhere := os.open(os.devnull, os.O_RDWR)) < 3:  # else the next file opened would be standard output
            pass
        os.close(nowhere)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            with suppress(OSError, ValueError):  # a stream that something else has put there
                stream.reconfigure(errors="backslashreplace")


def command_line(words: list[str]) -> str:
    """Return words as they are typed into the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
