"""One rank of a job that bench.py times: mpiexec starts it, and bench.py sends it orders through rank 0.

It sleeps between two orders, so that it does not disturb the baselines that are timed meanwhile.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from baselines import Engine
from mpi4py import MPI
from threadpoolctl import threadpool_info, threadpool_limits

from minigru import SequenceClassifier
from minigru.training.parallel import Ranks


def orders(comm: Any) -> Iterator[dict[str, Any]]:
    """Yield the orders of bench.py, on every rank, until it closes the connection."""
    while True:
        if comm.rank == 0:
            line = sys.stdin.readline()
            for other in range(1, comm.size):
                comm.send(line, other)
        else:
            while not comm.iprobe(source=0):  # waiting in recv would keep the core busy
                time.sleep(0.02)
            line = comm.recv(source=0)
        if not line:
            return
        yield json.loads(line)


def describe(comm: Any) -> dict[str, Any]:
    """Return the number of ranks, and the BLAS threads of each."""
    blas = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    mine = max(blas, default=None)  # Apple's BLAS is unknown to threadpoolctl
    return {"ranks": comm.size, "blas_threads": comm.allgather(mine)}


def gradient(ranks: Ranks, model: SequenceClassifier, x: np.ndarray, y: np.ndarray) -> Any:
    """Compute the gradient of a batch, of which this rank has its share; return the loss."""
    mine, weight = ranks.share(np.arange(len(x)))
    loss = model.loss_and_gradient(x[mine], y[mine])
    return ranks.average(model, loss, weight)


def main() -> None:
    """Carry out orders until there are no more."""
    comm = MPI.COMM_WORLD
    ranks = Ranks(comm)
    threadpool_limits(1, user_api="blas")

    for order in orders(comm):
        answer: Any = None
        if "describe" in order:
            answer = describe(comm)
        if "batch" in order:
            with np.load(order["batch"]) as stored:
                params = dict(stored)
            x, y = params.pop("x"), params.pop("y")
            engine = Engine(params)
        if "loss" in order:
            answer = float(gradient(ranks, engine.model, x, y))
        if "save" in order and comm.rank == 0:
            np.savez(order["save"], **getattr(engine.model, order["which"]))
        comm.Barrier()
        start = time.perf_counter()
        for _ in range(order.get("steps", 0)):
            gradient(ranks, engine.model, x, y)
            engine.adam.step()
        if "sums" in order:
            message = np.zeros(order["elements"], np.float32)
            for _ in range(order["sums"]):
                comm.Allreduce(MPI.IN_PLACE, message)
        if "steps" in order or "sums" in order:
            answer = time.perf_counter() - start
        if comm.rank == 0:
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    with Ranks(MPI.COMM_WORLD).together():
        main()
