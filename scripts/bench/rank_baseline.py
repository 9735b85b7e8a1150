"""The baseline of several processes: a job started by mpiexec, whose ranks run rank_worker.py."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from baselines import Baseline, Params

from minigru.training.spawn import find_mpiexec

WORKER = Path(__file__).with_name("rank_worker.py")


class RankJob:
    """Processes that wait, asleep, for orders.

    Parameters
    ----------
    ranks : how many processes
    command : what starts them; None for mpiexec with this Python and rank_worker.py

    Raises
    ------
    FileNotFoundError
        mpiexec or mpi4py is not installed.
    """

    def __init__(self, ranks: int, command: list[str] | None = None) -> None:
        self.ranks = ranks
        self._process = subprocess.Popen(
            command or [str(mpiexec()), "-n", str(ranks), sys.executable, str(WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # so that Ctrl-C is for bench.py alone
        )

    def ask(self, **order: Any) -> Any:
        """Send an order to all ranks, and return the answer of rank 0.

        Raises
        ------
        RuntimeError
            The job has ended.
        """
        with contextlib.suppress(OSError):  # a broken pipe, which has another number on Windows
            print(json.dumps(order), file=self._process.stdin, flush=True)
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the job of {self.ranks} ranks has ended with status {self._process.wait()}")
        return json.loads(answer)

    def close(self) -> None:
        """End the job."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def mpiexec() -> Path:
    """Return the mpiexec that is installed with this Python."""
    found = find_mpiexec()
    if found is None:
        raise FileNotFoundError("mpiexec or mpi4py is not installed")
    return found


def several_ranks(job: RankJob) -> type[Baseline]:
    """Return the baseline that shares each batch among the ranks of a job, with one BLAS thread per rank."""

    class SeveralRanks(Baseline):
        name = f"minigru, {job.ranks} ranks"

        def __init__(self, params: Params) -> None:
            self.params = params

        def prepare(self, x: np.ndarray, y: np.ndarray) -> tuple[Any, Any]:
            with tempfile.TemporaryDirectory() as folder:
                np.savez(Path(folder, "batch.npz"), x=x, y=y, **self.params)
                job.ask(batch=str(Path(folder, "batch.npz")))
            return None, None

        def seconds(self, steps: int, x: Any, y: Any) -> float:
            return job.ask(steps=steps)

        def step(self, x: Any, y: Any) -> None:
            self.seconds(1, x, y)

        def check(self, x: Any, y: Any) -> tuple[float, Params]:
            return job.ask(loss=True), self.arrays("grads")

        def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
            yield from self.arrays("params").items()

        def claims(self, x: Any, y: Any) -> dict[str, bool]:
            """Return whether as many ranks answer, with one BLAS thread each."""
            found = job.ask(describe=True)
            return {f"{job.ranks} ranks": found["ranks"] == job.ranks and {*found["blas_threads"]} <= {1, None}}

        def arrays(self, which: str) -> Params:
            with tempfile.TemporaryDirectory() as folder:
                job.ask(save=str(Path(folder, "arrays.npz")), which=which)
                with np.load(Path(folder, "arrays.npz")) as stored:
                    return dict(stored)

    return SeveralRanks
