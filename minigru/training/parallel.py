"""Data-parallel training over MPI: each rank takes a share of every batch, and one sum gives the whole gradient.

Without mpiexec there is one rank, and mpi4py is not imported.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np

from ..engine.backend import Array
from ..engine.model import SequenceClassifier
from .interrupt import Stopped, interruption
from .launcher import forget, launched
from .spawn import adopt_streams, spawned

Made = TypeVar("Made")


class MPIUnavailable(RuntimeError):
    """mpiexec started this process, but mpi4py cannot be used; the message says why, and what to do."""


class EndedElsewhere(SystemExit):
    """Another rank has failed, and prints why."""


class Ranks:
    """The processes that train one model together.

    Parameters
    ----------
    comm : an mpi4py communicator, or None for one process alone

    Attributes
    ----------
    rank, size : the number of this process, from 0, and how many there are
    """

    def __init__(self, comm: Any = None) -> None:
        self._comm = comm
        self.rank: int = 0 if comm is None else comm.rank
        self.size: int = 1 if comm is None else comm.size
        self._came: Callable[[], int] = int  # 0: no signal
        self._agreed = False
        self._message = np.empty(0)

    def share(self, batch: Array) -> tuple[Array, float]:
        """Return this rank's samples of a batch, and their weight b_r / B in the mean over the batch.

        A layer refuses an empty batch, so a rank without a sample gets the first one, with weight 0.
        """
        mine = batch[self.rank :: self.size]
        return (mine, len(mine) / len(batch)) if len(mine) else (batch[:1], 0.0)

    def average(self, model: SequenceClassifier, loss: Array, weight: float) -> Array:
        """Turn the gradient of each rank's share into the gradient of the batch; return the loss of the batch.

        With b_r of the B samples on rank r, the mean over the batch is ``sum_r (b_r / B) mean_r``. Whether a signal has
        come travels in the same message, so every rank learns after the same step that one of them is to stop. A rank
        alone has nothing to send.

        Parameters
        ----------
        model : holds the gradient of this rank's share, which is overwritten
        loss : the mean loss of this rank's share
        weight : b_r / B
        """
        if self.size == 1:
            return loss
        if len(self._message) != model.gradient.size + 2 or self._message.dtype != model.dtype:
            self._message = np.empty(model.gradient.size + 2, model.dtype)
        message = self._message
        if weight > 0:
            np.multiply(model.gradient, weight, out=message[:-2])
            message[-2] = weight * loss
        else:
            message[:] = 0
        message[-1] = self._came() > 0
        self._sum(message)
        model.gradient[...] = message[:-2]
        self._agreed = bool(message[-1])
        return message[-2]

    @contextmanager
    def first_alone_speaks(self) -> Iterator[None]:
        """Discard what the other ranks print in this block."""
        with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.ExitStack() as stack:
            if self.rank > 0:
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield

    @contextmanager
    def interruption(self) -> Iterator[None]:
        """Note the signals that come in the block, for `stopped` and `signal`, so that no step is left half done."""
        with interruption() as self._came:
            yield

    def stopped(self) -> bool:
        """Return whether to stop after this step; several ranks agree on it in `average`, one alone decides now."""
        return self._agreed if self.size > 1 else self._came() > 0

    def signal(self) -> int:
        """Return a signal that has come to any rank, the highest number of them, or 0; all ranks must call it."""
        return self._came() if self._comm is None else max(self._comm.allgather(self._came()))

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's `value` on every rank; the values of the other ranks are ignored."""
        return value if self._comm is None else self._comm.bcast(value)

    def first(self, make: Callable[[], Made]) -> Made:
        """Return rank 0's ``make()`` on every rank; if it fails, rank 0 raises and the others exit."""
        made = self.each(make if self.rank == 0 else lambda: None)
        return self.broadcast(made)

    def each(self, make: Callable[[], Made]) -> Made:
        """Return this rank's own ``make()``; if it fails, the first rank that failed raises and the others exit."""
        made = failure = None
        try:
            made = make()
        except Exception as error:
            failure = error
        failed = [failure is not None] if self._comm is None else self._comm.allgather(failure is not None)
        if True in failed:
            raise failure if failure and failed.index(True) == self.rank else EndedElsewhere(2)
        return made  # type: ignore[return-value]

    def _sum(self, array: np.ndarray) -> None:
        """Replace a host array by its sum over all ranks."""
        if self._comm is not None:
            from mpi4py import MPI

            self._comm.Allreduce(MPI.IN_PLACE, array)

    @contextmanager
    def together(self, *agreed: type[BaseException]) -> Iterator[None]:
        """Abort all ranks if this rank leaves the block by an exception that is not one of `agreed`.

        Otherwise the other ranks would wait for this one for ever. All ranks raise the exceptions in `agreed`.
        """
        try:
            yield
        except agreed:
            raise
        except BaseException as error:
            if self.size > 1:
                status = 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "code", 1)
                status = error.status if isinstance(error, Stopped) else status
                status = 141 if isinstance(error, BrokenPipeError) else status
                if not isinstance(error, (SystemExit, KeyboardInterrupt, BrokenPipeError)):
                    traceback.print_exc()
                sys.stdout.flush()
                sys.stderr.flush()
                time.sleep(0.2)  # let mpiexec forward the output, which it drops when the job is aborted
                os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # MPI would say in a line of its own that this is Abort
                self._comm.Abort(status if isinstance(status, int) else 1)
            raise


def connect() -> Ranks:
    """Return the ranks that mpiexec has started, or one rank without mpiexec.

    Raises
    ------
    MPIUnavailable
        mpiexec started this process, but mpi4py is missing or belongs to another MPI.
    """
    if spawned():
        adopt_streams()
    sizes = launched(os.environ)
    if not sizes:
        return Ranks()
    forget(os.environ, *sizes)
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MPIUnavailable(
            f"mpiexec started this program, but mpi4py cannot be imported ({error}): pip install 'minigru[mpi]'"
        ) from error
    size = MPI.COMM_WORLD.size
    if not {size, 0} & {*sizes.values()}:
        raise MPIUnavailable(
            f"mpiexec started {max(sizes.values())} processes, but mpi4py sees {size}: they belong to two MPIs; "
            "use the mpiexec that pip installs beside python"
        )
    return Ranks(MPI.COMM_WORLD)
