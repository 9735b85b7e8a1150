"""Data-parallel training over MPI: each rank takes a share of every batch, and one sum makes the gradient whole.

Without mpiexec there is one rank, and mpi4py is never imported.
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

Made = TypeVar("Made")
LAUNCHED = ("PMI_SIZE", "PMIX_RANK", "OMPI_COMM_WORLD_SIZE")  # what the mpiexec of MPICH and of Open MPI set


class MPIUnavailable(RuntimeError):
    """mpiexec started this process, and mpi4py cannot be used; the message says why, and what to do."""


class EndedElsewhere(SystemExit):
    """Another rank could not do its part, and says why."""


class Ranks:
    """The processes that train one model together.

    Parameters
    ----------
    comm : an mpi4py communicator, or None for a process of its own

    Attributes
    ----------
    rank, size : which of how many this process is
    """

    def __init__(self, comm: Any = None) -> None:
        self._comm = comm
        self.rank: int = 0 if comm is None else comm.rank
        self.size: int = 1 if comm is None else comm.size
        self._message = np.empty(0)

    def gradient(self, model: Any, x: Any, y: Any, chosen: Any, stop: bool) -> tuple[Any, bool]:
        """Fill ``model.grads`` with the gradient over a batch, of which this rank computes its share.

        With b_r of the B samples on rank r, the mean over the batch is ``sum_r (b_r / B) mean_r``; the loss and the
        wish to stop travel in the same message, so that all ranks see both after the same step.

        Parameters
        ----------
        model : a `SequenceClassifier`, the same on every rank
        x, y : the training set, as for ``model.loss``
        chosen : (B,), the indices of the batch, the same on every rank
        stop : whether this rank has been asked to stop

        Returns
        -------
        loss : the mean over the batch, in nats
        stop : whether any rank has been asked to stop
        """
        mine = chosen[self.rank :: self.size]
        if self.size == 1:
            loss = model.loss(x[mine], y[mine])
            model.backward()
            return loss, stop
        if len(self._message) != model.gradient.size + 2 or self._message.dtype != model.dtype:
            self._message = np.empty(model.gradient.size + 2, model.dtype)
        message = self._message
        if len(mine):
            weight = len(mine) / len(chosen)
            message[-2] = weight * model.loss(x[mine], y[mine])
            model.backward()
            np.multiply(model.gradient, weight, out=message[:-2])
        else:
            message[:] = 0
        message[-1] = stop
        self._sum(message)
        model.gradient[...] = message[:-2]
        return message[-2], bool(message[-1])

    @contextmanager
    def first_alone_speaks(self) -> Iterator[None]:
        """Keep the other ranks from printing what every rank would print."""
        with open(os.devnull, "w") as nowhere, contextlib.ExitStack() as stack:
            if self.rank > 0:
                stack.enter_context(contextlib.redirect_stdout(nowhere))
                stack.enter_context(contextlib.redirect_stderr(nowhere))
            yield

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on some rank."""
        message = np.array([flag], np.float32)
        self._sum(message)
        return bool(message[0])

    def broadcast(self, value: Any) -> Any:
        """Return rank 0's `value` on every rank; what the others give does not matter."""
        return value if self._comm is None else self._comm.bcast(value)

    def first(self, make: Callable[[], Made]) -> Made:
        """Return rank 0's ``make()`` on every rank; where it fails, rank 0 raises and the others exit."""
        made = self.each(make if self.rank == 0 else lambda: None)
        return self.broadcast(made)

    def each(self, make: Callable[[], Made]) -> Made:
        """Return this rank's own ``make()``; where it fails on a rank, that one raises and the others exit."""
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
        """End the whole job if this rank leaves the block by an exception, unless all ranks raise it (`agreed`).

        Without it the other ranks would wait for this one for ever.
        """
        try:
            yield
        except agreed:
            raise
        except BaseException as error:
            if self.size > 1:
                status = 130 if isinstance(error, KeyboardInterrupt) else getattr(error, "code", 1)
                if not isinstance(error, (SystemExit, KeyboardInterrupt)):
                    traceback.print_exc()
                sys.stdout.flush()
                sys.stderr.flush()
                time.sleep(0.2)  # mpiexec forwards what was said, and drops what it still holds once the job is aborted
                self._comm.Abort(status if isinstance(status, int) else 1)
            raise


def connect() -> Ranks:
    """Return the ranks that mpiexec has started, or a single one without mpiexec.

    Raises
    ------
    MPIUnavailable
        mpiexec started this process, and mpi4py is missing or belongs to another MPI.
    """
    launched = [name for name in LAUNCHED if name in os.environ]
    if not launched:
        return Ranks()
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise MPIUnavailable(
            f"mpiexec started this program, and mpi4py cannot be imported ({error}): pip install 'minigru[mpi]'"
        ) from error
    size = MPI.COMM_WORLD.size
    for name in launched:
        if name.endswith("_SIZE") and int(os.environ[name]) != size:
            raise MPIUnavailable(
                f"mpiexec started {os.environ[name]} processes, and mpi4py sees {size}: they belong to two MPIs; "
                "use the mpiexec that pip installs beside python"
            )
    return Ranks(MPI.COMM_WORLD)
