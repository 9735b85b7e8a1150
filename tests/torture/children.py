"""Tiny training runs in processes that may be killed, forked from one that has imported everything."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

SMALL = (
    *["--data", "digits", "--hidden-size", "8", "--limit", "200", "--batch-size", "2", "--threads", "1"],
    "--epochs",
    "3",
)
FIGURES = {"curves.png", "digits.png", "confusion.png"}
SECONDS = 120  # that no run of this size takes


def forked() -> Any:
    """Return the start method of the children; the first child takes the seconds of all imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["children", "train_mnist", "pytest", "sklearn.model_selection", "sklearn.datasets"])
    return context


def work(arguments: tuple[str, ...], said: Path, before: Callable[[], Any] | None, figures: bool) -> None:
    """Call the script as ``python scripts/train_mnist.py`` does, with its output in the file `said`."""
    import train_mnist

    from minigru import cli

    sys.argv = ["train_mnist.py", *arguments]
    if not figures:
        train_mnist.draw = lambda *args: None  # a second per run
    with said.open("w") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    sys.stdout.reconfigure(line_buffering=True)
    if before is not None:
        before()
    cli.run(train_mnist.main)


def start(*arguments: object, said: Path, before: Callable[[], Any] | None = None, figures: bool = False) -> Any:
    """Start the script in a child; `before` is called there first."""
    process = forked().Process(target=work, args=(tuple(map(str, arguments)), said, before, figures))
    process.start()
    return process


def train(*arguments: object, said: Path, **options: Any) -> SimpleNamespace:
    """Run the script in a child to its end; return its status and what it said."""
    process = start(*arguments, said=said, **options)
    process.join(SECONDS)
    assert process.exitcode is not None, f"still running after {SECONDS} s"
    return SimpleNamespace(status=process.exitcode, said=said.read_text() if said.is_file() else "")


def results(folder: Path) -> dict[str, Any]:
    """Return all numbers that a run has left, but for its seconds."""
    with np.load(folder / "checkpoint.npz", allow_pickle=False) as file:
        found = {name: (file[name].dtype, file[name].shape, file[name].tobytes()) for name in file.files}
    rows = [line.split(",")[:4] for line in (folder / "history.csv").read_text("utf-8").splitlines()]
    return {**found, "history": rows}


def names(folder: Path) -> set[str]:
    """Return the names of the files that a run has left, but for its figures."""
    return {path.name for path in folder.iterdir()} - FIGURES if folder.exists() else set()


def resume(folder: Path, *options: str, said: Path) -> SimpleNamespace:
    """Go on with a run as its user does: with --resume if it has left anything, or else from the beginning."""
    there = names(folder) & {"config.json", "checkpoint.npz"}
    return train(*(("--resume",) if there else options), "--out", folder, said=said)


def assert_resumes(folder: Path, whole: Path, *options: str, said: Path) -> None:
    """Check that a run that was stopped goes on to the files and the numbers of one that was not."""
    found = resume(folder, *options, said=said)
    assert found.status == 0, found.said
    assert results(folder) == results(whole)
    assert names(folder) == names(whole)


@contextlib.contextmanager
def ended(process: Any, limit: float = SECONDS) -> Any:
    """Kill what is left of a process at the end of the block."""
    try:
        yield process
    finally:
        process.kill()
        process.wait(limit) if hasattr(process, "wait") else process.join(limit)
