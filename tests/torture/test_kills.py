"""Training runs killed at random moments: each goes on to the same bits, or begins again, and nothing is left behind.

The moment is counted from the start of the process. Most processes are forked from one that has imported everything;
some are started as a user does, so that the signal also meets the imports and the figures.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from children import SMALL, assert_resumes, ended, names, results, start, train
from helpers import ROOT

from minigru.training import checkpoint

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL and no mpiexec of MPICH"),
]
KILLS, TERMINATIONS = 100, 50  # a fifth of each started as a user does
SCRIPT = ROOT / "scripts" / "train_mnist.py"
BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nobody stops, and how long the fastest of six takes: the first does the imports for all."""
    folder, seconds = tmp_path_factory.mktemp("whole"), []
    for number in range(6):
        begin = time.monotonic()
        assert train(*SMALL, "--out", folder / str(number), said=folder / "said").status == 0
        seconds.append(time.monotonic() - begin)
        assert results(folder / str(number)) == results(folder / "0")
    return folder / "0", min(seconds)


@pytest.fixture(scope="module")
def fresh_seconds(tmp_path_factory):
    """How long a run takes that a user starts."""
    begin = time.monotonic()
    subprocess.run([*command(tmp_path_factory.mktemp("fresh") / "out")], check=True, capture_output=True)
    return time.monotonic() - begin


def command(folder):
    return [sys.executable, str(SCRIPT), *SMALL, "--out", str(folder)]


def stop(process, signum, moment):
    """Send a signal after so many seconds; return the status."""
    time.sleep(moment)
    (process.kill if signum == signal.SIGKILL else process.terminate)()
    if isinstance(process, subprocess.Popen):
        return process.wait(60)
    process.join(60)
    return process.exitcode


def moments(count, seed):
    """Return random moments as shares of a run's seconds: one in each of `count` equal parts, so that all are met."""
    return (np.arange(count) + np.random.default_rng(seed).random(count)) / count


def assert_stopped(signum, status, folder, said):
    """Check the status and the words of a run after a signal."""
    if signum == signal.SIGKILL:
        assert status in (0, -signum)
    elif status == 128 + signum:  # the run had begun: it has saved, and said so
        assert said.count("\n") <= 3 + 2, said  # the lines of three epochs, the accuracy, and the sentence
        assert "Traceback" not in said
    elif status == -signum:  # before the script could ask for the signal, or while Python ends
        assert "config.json" not in names(folder) or "Results:" in said, said
    else:
        assert status == 0, said


@pytest.mark.parametrize(
    ("signum", "count"), [(signal.SIGKILL, KILLS * 4 // 5), (signal.SIGTERM, TERMINATIONS * 4 // 5)]
)
def test_a_run_stopped_at_a_random_moment_goes_on_to_the_same_bits(signum, count, whole, tmp_path):
    folder, seconds = whole
    met = Counter()
    for trial, moment in enumerate(moments(count, signum)):
        out, said = tmp_path / str(trial), tmp_path / "said"
        said.write_text("")
        status = stop(start(*SMALL, "--out", out, said=said), signum, moment * seconds)
        assert_stopped(signum, status, out, said.read_text())
        met["to the end" if status == 0 else f"stopped with {sorted(names(out))}"] += 1
        assert_resumes(out, folder, *SMALL, said=said)
    print(dict(met))  # pytest -rP shows it
    assert met["to the end"] < count / 2


@pytest.mark.parametrize(("signum", "count"), [(signal.SIGKILL, KILLS // 5), (signal.SIGTERM, TERMINATIONS // 5)])
def test_a_run_that_a_user_has_started_is_stopped_during_its_imports_too(signum, count, whole, fresh_seconds, tmp_path):
    for trial, moment in enumerate(moments(count, 100 + signum)):
        out, said = tmp_path / str(trial), tmp_path / "said"
        with said.open("w") as file:
            process = subprocess.Popen(command(out), stdout=file, stderr=subprocess.STDOUT)
        with ended(process):
            status = stop(process, signum, moment * fresh_seconds)
        assert_stopped(signum, status, out, said.read_text())
        assert_resumes(out, whole[0], *SMALL, said=said)


def die_at(function, number, after):
    """Let this process kill itself at a call of ``os.<function>``, before or after it."""
    real, calls = getattr(os, function), iter(range(10**6))

    def call(*args, **kwargs):
        if not after and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*args, **kwargs)
        if after and next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(os, function, call)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("function", ["replace", "fsync", "unlink", "mkdir"])
def test_a_run_killed_at_each_step_of_each_save_goes_on_to_the_same_bits(function, after, whole, tmp_path):
    for number in range(100):
        out, said = tmp_path / str(number), tmp_path / "said"
        found = train(*SMALL, "--out", out, said=said, before=partial(die_at, function, number, after))
        assert found.status in (0, -signal.SIGKILL), found.said
        if found.status == 0:  # there were no more calls
            break
        assert_resumes(out, whole[0], *SMALL, said=said)
    else:
        pytest.fail(f"os.{function} was called more than 100 times")


RANK = """
import os, runpy, sys
from pathlib import Path
from mpi4py import MPI
Path(sys.argv.pop(1), str(MPI.COMM_WORLD.rank)).write_text(str(os.getpid()))
import train_mnist
from minigru import cli
train_mnist.draw = lambda *args: None
cli.run(train_mnist.main)
"""


def ranks(pids, *arguments):
    """Start two ranks of the script, each of which leaves its process number in the folder `pids`."""
    pids.mkdir(exist_ok=True)
    return subprocess.Popen(
        [MPIEXEC, "-n", "2", sys.executable, "-c", RANK, str(pids), *map(str, arguments)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(SCRIPT.parent)])},
    )


def wait_for(condition, what):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, f"waited 60 s for {what}"
        time.sleep(0.01)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")  # a process that nobody has asked for its status is dead too
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason="mpiexec or mpi4py is not installed: the extra mpi brings both",
)
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_other_and_the_run_resumes(victim, tmp_path):
    options = (*SMALL[:-1], "20")
    with ended(ranks(tmp_path / "pids", *options, "--out", tmp_path / "whole")) as process:
        assert process.wait(120) == 0
    with ended(ranks(tmp_path / "pids", *options, "--out", tmp_path / "out")) as process:
        wait_for((tmp_path / "out" / "checkpoint.npz").exists, "the first checkpoint")
        pids = [int((tmp_path / "pids" / str(rank)).read_text()) for rank in (0, 1)]
        os.kill(pids[victim], signal.SIGKILL)
        assert process.wait(60) != 0
        wait_for(lambda: not any(map(alive, pids)), "the end of both ranks")
    assert checkpoint.read(tmp_path / "out" / "checkpoint.npz").epoch < 20  # it had not come to its end
    with ended(ranks(tmp_path / "pids", "--resume", "--out", tmp_path / "out")) as process:
        assert process.wait(120) == 0
    assert results(tmp_path / "out") == results(tmp_path / "whole")
    assert names(tmp_path / "out") == names(tmp_path / "whole")
