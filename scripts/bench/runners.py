"""Run a baseline in this process, or in a process of its own that has so many cores and no more."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from baselines import Baseline, Params
from machine import cores
from sources import Source

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
SPAWN = multiprocessing.get_context("spawn")


class Here:
    """A baseline in this process, and the batch that it works on.

    Parameters
    ----------
    kind : of baseline
    count : the cores that the baseline has, or 0 for a GPU
    """

    def __init__(self, kind: type[Baseline], count: int = 0) -> None:
        self.kind, self.cores = kind, count
        self.about: dict[str, Any] = {what: getattr(kind, what) for what in ("name", "same_equations", "trains")}
        self.about["predicts"] = kind.logits is not Baseline.logits

    def prepare(self, params: Params, x: np.ndarray, y: np.ndarray) -> None:
        """Make the baseline anew, with a batch x (B, T, D), y (B,)."""
        self.baseline = self.kind(params)
        self.images, self.batch = x, self.baseline.prepare(x, y)

    def examine(self) -> dict[str, Any]:
        """Take the first step, and return all that `verify` asks of it, and the seconds of the first call."""
        baseline, found = self.baseline, {}
        found["before"] = {name: value.copy() for name, value in baseline.parameters()}
        calls = []
        if baseline.same_equations:
            seconds, (found["loss"], found["grads"]) = timed(lambda: baseline.check(*self.batch))
            calls.append(seconds)
        calls.append(timed(lambda: (baseline.step(*self.batch), baseline.finish()))[0])
        found["after"] = dict(baseline.parameters())
        found["claims"] = baseline.claims(*self.batch)
        return found | {"compile_s": max(calls)}  # of the gradients, or of them and Adam

    def seconds(self, steps: int) -> float:
        """Return how long that many training steps take."""
        return self.baseline.seconds(steps, *self.batch)

    def classify(self, calls: int) -> float:
        """Return how long it takes to classify the batch that many times."""
        return timed(lambda: [self.baseline.predict(self.images) for _ in range(calls)])[0]

    def logits(self) -> np.ndarray:
        """Return the logits (B, K) of the batch."""
        return self.baseline.in_parts(self.images)

    def close(self) -> None:
        """Do nothing: the process goes on."""


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Return how many seconds the function took, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


class Apart:
    """A baseline in a process of its own, with the methods of `Here`.

    The process is pinned to its cores before it imports anything, so every library sees no others.

    Raises
    ------
    RuntimeError
        The baseline failed, or its process has ended.
    """

    def __init__(self, source: Source, count: int) -> None:
        self.source, self.cores = source, count
        self._connection, theirs = SPAWN.Pipe()
        self._process = SPAWN.Process(target=serve, args=(theirs, source, count), daemon=True)
        with given(count, dict(source.environment)):
            self._process.start()
        theirs.close()
        self.about: dict[str, Any] = {}

    def wait(self) -> None:
        """Wait until the process has imported its libraries."""
        self.about = self._receive()

    def __getattr__(self, method: str) -> Callable[..., Any]:
        """Return the method of `Here` with that name, as it runs in the process."""
        if method.startswith("_"):
            raise AttributeError(method)

        def ask(*args: Any) -> Any:
            with contextlib.suppress(OSError):  # a broken pipe, of which _receive says more
                self._connection.send((method, args))
            return self._receive()

        return ask

    def _receive(self) -> Any:
        name = self.about.get("name", self.source.kind)
        try:
            failed, answer = self._connection.recv()
        except (EOFError, OSError):
            raise RuntimeError(f"the process of {name} has ended") from None
        if failed:
            raise RuntimeError(f"{name}: {answer}")
        return answer

    def close(self) -> None:
        """End the process."""
        self._connection.close()
        self._process.join(10)


def serve(connection: Connection, source: Source, count: int) -> None:
    """Carry out orders, each a method of `Here` and its arguments, until the other end closes the connection."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for bench.py, which then closes the connection

    def answer(function: Callable[[], Any]) -> None:
        try:
            connection.send((False, function()))
        except Exception as error:
            connection.send((True, f"{type(error).__name__}: {error}"))

    def start() -> dict[str, Any]:
        nonlocal here
        if hasattr(os, "sched_getaffinity") and cores() != count:
            raise ValueError(f"{cores()} cores, not {count}")
        here = Here(source.load(), count)
        return here.about

    here: Any = None
    answer(start)
    with contextlib.suppress(EOFError, OSError):
        while True:
            method, args = connection.recv()
            answer(lambda method=method, args=args: getattr(here, method)(*args))


@contextlib.contextmanager
def given(count: int, environment: dict[str, str]) -> Iterator[None]:
    """Give a process that starts meanwhile that many cores, as many threads, and these environment variables."""
    environment |= dict.fromkeys(THREADS, str(count))
    before = {name: os.environ.get(name) for name in environment}
    pin = getattr(os, "sched_setaffinity", lambda pid, which: None)  # Linux alone can pin a process
    all_cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
    os.environ.update(environment)
    pin(0, sorted(all_cores)[:count])
    try:
        yield
    finally:
        pin(0, all_cores)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
