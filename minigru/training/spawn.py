"""Start the ranks of a program from the program itself, and stand in for them: signals, terminal, exit status.

The launcher is MPICH's mpiexec, which passes open descriptors on. The ranks use the streams of this process instead of
mpiexec's pipes, so a progress bar sees the terminal. Each rank ends as soon as this process is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata, util
from pathlib import Path
from types import FrameType

from .interrupt import ENDING, Stopped, handling
from .launcher import forget

VARIABLE = "MINIGRU_RANK_FDS"  # descriptors that a rank inherits: stdin, stdout, stderr, a socket to the parent
LOCAL = ("-rmk", "user", "-launcher", "fork", "-hosts", "localhost")  # even within a job of Slurm
STATUSES = {0, 1, 2, 141, *(128 + signum for signum in (signal.SIGINT, *ENDING))}  # that a rank exits with


class RankDied(RuntimeError):
    """A rank or its mpiexec was killed, so that all ranks have ended."""


def physical_cores() -> int:
    """Return how many physical cores this process may use, within the limits of its affinity and its container."""
    from joblib import cpu_count  # takes a fifth of a second, which a run of one process can save

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where they cannot be counted, joblib warns, and counts the logical cores
        return cpu_count(only_physical_cores=True)


def find_mpiexec() -> Path | None:
    """Return the mpiexec of MPICH that is installed with this Python, or None if that or mpi4py is missing.

    An mpiexec on the PATH may belong to another MPI than mpi4py.
    """
    if util.find_spec("mpi4py") is None:
        return None
    found = [Path(sys.executable).with_name("mpiexec.hydra")]
    with suppress(metadata.PackageNotFoundError):
        files = metadata.files("mpich") or []
        found[:0] = [Path(str(file.locate())).resolve() for file in files if file.name == "mpiexec.hydra"]
    return next((path for path in found if path.exists()), None)


def spawn(mpiexec: Path, size: int) -> int:
    """Run this program again as `size` ranks, wait until they have ended, and return their exit status.

    Signals go to rank 0, and the ranks agree on them. The third Ctrl-C kills the ranks.

    Raises
    ------
    RankDied, Stopped
    """
    ours, theirs = socket.socketpair()
    streams = [os.dup(fd) for fd in (0, 1, 2)]
    inherited = [*streams, theirs.fileno()]
    environment = {**os.environ, VARIABLE: " ".join(map(str, inherited))}
    forget(environment)
    process = subprocess.Popen(
        [mpiexec, *LOCAL, "-n", str(size), sys.executable, *sys.orig_argv[1:]],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # what mpiexec says about a rank that has died
        pass_fds=inherited,
        start_new_session=True,  # the terminal sends Ctrl-C to this process alone
    )
    theirs.close()
    for fd in streams:
        os.close(fd)
    pids: dict[int, int] = {}
    with _forwarding(process, pids) as came, ours.makefile() as reports:
        for line in reports:  # until all processes that hold the other end have ended
            rank, pid = map(int, line.split())
            pids[rank] = pid
        status = process.wait()
    if status in STATUSES:
        return status
    if came:
        raise Stopped(came[0])
    names = {number.value: number.name for number in signal.Signals}
    reason = f"a rank was killed by {names[status]}" if status in names else f"mpiexec ended with status {status}"
    raise RankDied(f"{reason}, so all ranks have ended; go on from the last checkpoint with --out DIR --resume")


@contextmanager
def _forwarding(process: subprocess.Popen[bytes], pids: dict[int, int]) -> Iterator[list[int]]:
    """Forward the signals that come in the block, and yield the list of them."""
    came: list[int] = []

    def send(signum: int, *ranks: int) -> None:
        for rank in ranks:
            with suppress(ProcessLookupError):
                os.kill(pids[rank], signum)

    def forward(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        if 0 not in pids or came.count(signal.SIGINT) > 2:  # nothing has begun, or rank 0 does not answer
            process.kill()
        else:
            send(signum, 0)

    def suspend(signum: int, frame: FrameType | None) -> None:
        send(signal.SIGSTOP, *pids)
        os.kill(os.getpid(), signal.SIGSTOP)
        send(signal.SIGCONT, *pids)

    with handling(forward, [signal.SIGINT, *ENDING]), handling(suspend, [signal.SIGTSTP]):
        yield came


def spawned() -> bool:
    """Return whether `spawn` has started this process."""
    return VARIABLE in os.environ


def adopt_streams() -> None:
    """Let a rank that `spawn` has started use the streams of its parent, and end as soon as the parent is gone."""
    *streams, parent = map(int, os.environ[VARIABLE].split())
    for fd, stream in enumerate(streams):
        os.dup2(stream, fd)
        os.close(stream)
    sys.stdout.reconfigure(line_buffering=sys.stdout.isatty())  # type: ignore[union-attr]

    def watch() -> None:
        with suppress(OSError):
            socket.socket(fileno=os.dup(parent)).recv(1)  # the parent sends nothing
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def report(rank: int) -> None:
    """Tell the parent of a rank that signals may come from now on."""
    if spawned():
        os.write(int(os.environ[VARIABLE].split()[-1]), f"{rank} {os.getpid()}\n".encode())
