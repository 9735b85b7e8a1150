"""Training on several ranks is training on one: the same losses, the same checkpoints, nothing left hanging.

The tests that need ranks start real ones with mpiexec.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import train_mnist
from calling import assert_one_sentence, call
from helpers import ROOT, run_script

import minigru
from minigru import cli
from minigru.training import checkpoint, data, parallel
from minigru.training.config import Config
from minigru.training.launcher import forget, launched
from minigru.training.trainer import Trainer

BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason="mpiexec or mpi4py is not installed: the extra mpi brings both",
)
SCRIPT = ROOT / "scripts" / "train_mnist.py"
DIGITS = ("--data", "digits", "--hidden-size", "8", "--limit", "300", "--dtype", "float64")


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(train_mnist, "draw", lambda *args: None)


def start(ranks, *command):
    """Start a job of Python; its output comes through pipes."""
    line = [MPIEXEC, "-n", str(ranks), sys.executable, *map(str, command)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def mpirun(ranks, *command, start=start):
    """Run a job to its end."""
    process = start(ranks, *command)
    out, err = process.communicate(timeout=120)
    return SimpleNamespace(returncode=process.returncode, stdout=out, stderr=err)


def start_by_flag(ranks, *command, stderr=subprocess.PIPE):
    """Start a script that starts its own ranks, in a process group of its own, as a shell does it."""
    line = [sys.executable, *map(str, command), "--ranks", str(ranks)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=stderr, text=True, start_new_session=True)


both_ways = pytest.mark.parametrize("start", [start, start_by_flag], ids=["mpiexec", "flag"])


def assert_close(folder, expected):
    one, two = (checkpoint.read(path / checkpoint.NAME) for path in (folder, expected))
    assert (one.epoch, one.steps) == (two.epoch, two.steps)
    for name, array in two.arrays.items():
        assert np.linalg.norm(one.arrays[name] - array) < 1e-12 * np.linalg.norm(array), name
    histories = [pd.read_csv(path / "history.csv")["train_loss_nats"] for path in (folder, expected)]
    np.testing.assert_allclose(*histories, rtol=1e-12)


class Recorded:
    """A communicator without other processes: it keeps what it is given, and gives back the same."""

    def __init__(self, rank, size):
        self.rank, self.size, self.messages = rank, size, []

    def Allreduce(self, in_place, array):
        self.messages.append(array.copy())


@pytest.mark.parametrize(("B", "size"), [(12, 2), (12, 5), (1, 3), (7, 7)], ids=["even", "uneven", "empty", "single"])
def test_shares_add_up_to_the_gradient_and_the_loss_of_the_batch(B, size, rng):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: the extra mpi brings it")
    x, y = rng.standard_normal((40, 5, 3)), rng.integers(4, size=40)
    batch, messages = rng.permutation(40)[:B], []

    def gradient(ranks):
        model = minigru.SequenceClassifier(3, 6, 4, dtype="float64")
        mine, weight = ranks.share(batch)
        loss = model.loss(x[mine], y[mine])
        model.backward()
        return ranks.average(model, loss, weight), model

    for rank in range(size):
        comm = Recorded(rank, size)
        ranks = parallel.Ranks(comm)
        with ranks.interruption():
            if rank == 1:
                signal.raise_signal(signal.SIGINT)
            gradient(ranks)
        assert ranks.stopped() == (rank == 1)  # the other ranks hear of it in the sum, which is not made here
        messages += comm.messages
        assert len(messages) == rank + 1  # one Allreduce carries everything
    total = sum(messages)
    loss, whole = gradient(parallel.Ranks())
    assert loss == whole.loss(x[batch], y[batch])
    assert np.linalg.norm(total[:-2] - whole.gradient) < 1e-14 * np.linalg.norm(whole.gradient) * size
    assert total[-2] == pytest.approx(loss, rel=1e-14)
    assert total[-1] == 1  # rank 1 asked to stop


def test_a_process_alone_needs_no_mpi(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)  # an import would fail
    ranks = parallel.connect()
    assert (ranks.rank, ranks.size) == (0, 1)
    assert ranks.broadcast("value") == ranks.first(lambda: "value") == ranks.each(lambda: "value") == "value"
    assert call(train_mnist, *DIGITS, "--epochs", "1", "--out", tmp_path / "a").returncode == 0


@pytest.fixture
def launchers(monkeypatch):
    """What launchers that answer put into the environment: a descriptor for MPICH, an address for Open MPI."""
    with socket.socket() as here, socket.create_server(("127.0.0.1", 0)) as there:
        address = f"job@1.0;tcp4://127.0.0.1:{there.getsockname()[1]}"
        yield {
            "PMI_": {"PMI_SIZE": "2", "PMI_RANK": "0", "PMI_FD": str(here.fileno())},
            "PMIX_": {"PMIX_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2", "PMIX_SERVER_URI41": address},
        }


@pytest.mark.parametrize("launcher", ["PMI_", "PMIX_"])
def test_a_launcher_that_answers_is_believed(launcher, launchers, monkeypatch):
    """So that several processes never train one model each because their MPI is missing, or another one."""
    for name, value in launchers[launcher].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    assert_one_sentence(call(train_mnist), 2, "mpi4py cannot be imported", "pip install 'minigru[mpi]'")
    mpi = SimpleNamespace(MPI=SimpleNamespace(COMM_WORLD=SimpleNamespace(size=1)))
    monkeypatch.setitem(sys.modules, "mpi4py", mpi)
    assert_one_sentence(call(train_mnist), 2, "mpiexec started 2 processes, but mpi4py sees 1")


INHERITED = [
    {"PMI_SIZE": "2", "PMI_RANK": "0"},
    {"PMI_SIZE": "2", "PMI_RANK": "0", "PMI_FD": "987"},
    {"PMI_SIZE": "2", "PMI_RANK": "0", "PMI_PORT": "localhost:1"},
    {"PMI_SIZE": "two", "PMI_RANK": "0", "PMI_FD": "nine"},
    {"PMIX_RANK": "0", "PMIX_NAMESPACE": "slurm.pmix.7.0", "PMIX_SERVER_URI41": "x;tcp4://127.0.0.1:1"},
    {"PMIX_RANK": "0", "OMPI_COMM_WORLD_SIZE": "2"},
]


@pytest.mark.parametrize("variables", INHERITED)
def test_variables_of_a_launcher_that_does_not_answer_are_nothing(variables):
    assert launched(variables) == {}


@pytest.mark.parametrize("size", ["PMI_SIZE", "OMPI_COMM_WORLD_SIZE"])
def test_a_launcher_of_one_process_needs_no_mpi(size, launchers):
    variables = launchers["PMI_"] | launchers["PMIX_"] | {size: "1"}
    assert launched(variables) == {"PMIX_" if size == "PMI_SIZE" else "PMI_": 2}
    forget(variables, *launched(variables))
    assert ("PMI_RANK" in variables) != ("PMIX_RANK" in variables)


def test_several_ranks_and_cupy_are_refused(tmp_path):
    config, ranks = Config(data="digits", backend="cupy"), parallel.Ranks(Recorded(0, 2))
    with pytest.raises(ValueError, match="for 2 ranks, which would share one GPU"):
        Trainer(config, data.load("digits"), tmp_path, ranks)


PREAMBLE = """
import os, signal, sys
from pathlib import Path
import numpy as np
from minigru.training import data, parallel
from minigru.training.config import Config
from minigru.training.trainer import Trainer
ranks, out = parallel.connect(), Path(sys.argv[1])
"""
LOSSES = f"""{PREAMBLE}
for dtype in ("float32", "float64"):
    config = Config(data="digits", hidden_size=32, epochs=5, batch_size=30, limit=571, lr=5e-3, dtype=dtype)
    trainer = Trainer(config, ranks.first(lambda: data.load("digits", dtype=dtype)), out, ranks)
    losses, step = [], trainer.step
    trainer.step = lambda *share: losses.append(float(step(*share))) or losses[-1]
    trainer.run(quiet=True)
    np.savez(out / f"{{dtype}}-{{ranks.rank}}.npz", losses=losses, vector=trainer.model.vector)
"""


@needs_mpi
def test_several_ranks_give_the_losses_of_one_over_100_steps_and_stay_equal(tmp_path, monkeypatch):
    for ranks in (1, 2, 3):
        (tmp_path / str(ranks)).mkdir()
    monkeypatch.setattr(sys, "argv", ["", tmp_path / "1"])
    exec(LOSSES, {})
    for ranks in (2, 3):
        assert mpirun(ranks, "-c", LOSSES, tmp_path / str(ranks)).returncode == 0
    for dtype, rounding in (("float32", 1e-5), ("float64", 1e-12)):
        found = {
            (ranks, rank): np.load(tmp_path / str(ranks) / f"{dtype}-{rank}.npz")
            for ranks in (1, 2, 3)
            for rank in range(ranks)
        }
        alone = found[1, 0]["losses"]
        assert len(alone) == 100  # 20 batches per epoch, the last of one image: one rank has it, the others have none
        assert alone[-20:].mean() < 0.5 * alone[:20].mean()
        for (ranks, _), rank in found.items():
            np.testing.assert_allclose(rank["losses"], alone, rtol=rounding)
            np.testing.assert_array_equal(rank["vector"], found[ranks, 0]["vector"])  # bit for bit


@needs_mpi
@both_ways
def test_the_script_trains_and_resumes_alike_on_one_rank_and_on_two(start, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    options = (*DIGITS, "--epochs", "2", "--distort", "affine")
    alone = call(train_mnist, *options, "--out", one)
    shared = mpirun(2, SCRIPT, *options, "--out", two, start=start)
    assert (alone.returncode, shared.returncode, shared.stderr) == (0, 0, "")
    for line_one, line_two in zip(alone.stdout.splitlines(), shared.stdout.splitlines(), strict=True):
        assert line_one.split("%")[0].replace("/one", "") == line_two.split("%")[0].replace("/two", "")
    assert {path.name for path in one.iterdir()} < {path.name for path in two.iterdir()}  # no figures in the first
    assert_close(two, one)
    assert call(train_mnist, "--out", two, "--resume", "--epochs", "3").returncode == 0
    assert mpirun(2, SCRIPT, "--out", one, "--resume", "--epochs", "3", start=start).returncode == 0
    assert_close(two, one)


@needs_mpi
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_mpiexec_stops_all_ranks_and_saves(signum, tmp_path):
    process = start(2, SCRIPT, *DIGITS, "--epochs", "300", "--out", tmp_path / "a")
    assert process.stdout.readline().startswith("epoch   1/300")
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + signum
    assert err.count("Stopped and saved. Go on: mpiexec -n 2 python") == 1
    assert "Traceback" not in err
    epochs = len(pd.read_csv(tmp_path / "a" / "history.csv"))
    resumed = call(train_mnist, "--out", tmp_path / "a", "--resume", "--epochs", epochs + 1)
    assert resumed.returncode == 0, resumed.stderr


@needs_mpi
@pytest.mark.parametrize("signum", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_ranks_started_by_the_flag_are_one_program(signum, tmp_path):
    """A signal to its group, as Ctrl-C, or to its process; the bar on the terminal; the same numbers after it."""
    signum, (terminal, stderr) = getattr(signal, signum), os.openpty()
    fcntl, termios = map(importlib.import_module, ("fcntl", "termios"))  # not on Windows
    fcntl.ioctl(stderr, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))  # a bar of no width would be empty
    process = start_by_flag(2, SCRIPT, *DIGITS, "--epochs", "300", "--out", tmp_path / "a", stderr=stderr)
    os.close(stderr)
    assert process.stdout.readline().startswith("epoch   1/300")
    (os.killpg if signum == signal.SIGINT else os.kill)(process.pid, signum)
    said = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody has the terminal open
        while part := os.read(terminal, 4096):
            said += part
    os.close(terminal)
    process.communicate(timeout=60)
    assert process.returncode == 128 + signum, said
    assert b"\repoch 1:   0%" in said
    assert said.count(f"Go on: python {SCRIPT} --ranks 2 --out {tmp_path / 'a'} --resume".encode()) == 1
    assert b"Traceback" not in said
    if signum != signal.SIGINT:
        return
    epochs = ("--epochs", len(pd.read_csv(tmp_path / "a" / "history.csv")) + 1)
    assert mpirun(2, SCRIPT, "--out", tmp_path / "a", "--resume", *epochs, start=start_by_flag).returncode == 0
    assert mpirun(2, SCRIPT, *DIGITS, *epochs, "--out", tmp_path / "b", start=start_by_flag).returncode == 0
    one, two = (checkpoint.read(tmp_path / name / checkpoint.NAME) for name in "ab")
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, two.arrays[name], err_msg=name)


@needs_mpi
def test_no_rank_outlives_the_program_that_has_started_it(tmp_path):
    process = start_by_flag(2, SCRIPT, *DIGITS, "--epochs", "100000", "--out", tmp_path / "a")
    assert process.stdout.readline().startswith("epoch ")
    process.kill()
    process.communicate(timeout=30)  # ends once no process has the pipes open


DYING = f"""
import os, signal, sys
sys.path.insert(0, {str(SCRIPT.parent)!r})
import train_mnist
from minigru import cli
from minigru.training.trainer import Trainer
save = Trainer.save
def saving(trainer):
    save(trainer)
    if trainer.ranks.rank == 1 and trainer.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)
Trainer.save = saving
cli.run(train_mnist.main)
"""


@needs_mpi
def test_the_program_says_that_a_rank_has_died(tmp_path):
    result = mpirun(2, "-c", DYING, *DIGITS, "--out", tmp_path / "a", start=start_by_flag)
    assert_one_sentence(result, 1, "a rank was killed by SIGKILL", "--resume")
    assert checkpoint.read(tmp_path / "a" / checkpoint.NAME).epoch in (1, 2)


@pytest.mark.parametrize("missing", ["mpi4py", "mpiexec"])
def test_the_flag_without_mpi_says_what_to_install(missing, monkeypatch, tmp_path):
    if missing == "mpi4py":
        monkeypatch.setitem(sys.modules, "mpi4py", None)
    else:
        monkeypatch.setattr("importlib.metadata.files", lambda name: [])
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    words = "no wheel for Windows" if sys.platform == "win32" else "pip install 'minigru[mpi]'"
    assert_one_sentence(call(train_mnist, "--ranks", "2"), 2, "--ranks 2 needs mpi4py and MPICH", words)


@pytest.mark.parametrize(("given", "started"), [("auto", 2), ("2", 2), ("3", 3)])
def test_the_flag_counts_cores_and_says_if_ranks_have_to_share_one(given, started, monkeypatch):
    for name, made in {"find_mpiexec": Path, "physical_cores": lambda: 2, "spawn": lambda path, size: size}.items():
        monkeypatch.setattr(cli, name, made)
    result = call(train_mnist, "--ranks", given)
    assert result.returncode == started
    said = "train_mnist.py: 3 ranks take turns on 2 cores, which is slower than --ranks 2\n"
    assert result.stderr == (said if started == 3 else "")


@pytest.mark.parametrize("ranks", ["0", "two", "2.5", ""])
def test_a_wrong_number_of_ranks_is_refused(ranks):
    assert_one_sentence(call(train_mnist, "--ranks", ranks), 2, "--ranks is", "at least 1, or auto")


@needs_mpi
def test_the_flag_under_mpiexec_is_refused():
    assert_one_sentence(mpirun(2, SCRIPT, "--ranks", "2"), 2, "--ranks is 2, but mpiexec has started 2 ranks")


SIGNALLED = f"""{PREAMBLE}
config = Config(data="digits", hidden_size=8, epochs=5, batch_size=30, limit=300)
trainer = Trainer(config, ranks.first(lambda: data.load("digits")), out, ranks)
step = trainer.adam.step
def stepping():
    step()
    if ranks.rank == 1 and trainer.adam.t == 14:
        os.kill(os.getpid(), getattr(signal, sys.argv[2]))
trainer.adam.step = stepping
stderr, sys.stderr = sys.stderr, open(out / f"drawn-{{ranks.rank}}", "w")
sys.stderr.isatty = lambda: True
assert not trainer.run()
sys.stdout.write(f"stopped after {{trainer.adam.t}}\\n")
"""


@needs_mpi
def test_ctrl_c_that_reaches_one_rank_alone_stops_both_after_the_same_step(tmp_path):
    result = mpirun(2, "-c", SIGNALLED, tmp_path, "SIGINT")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("stopped after 15\n") == 2  # the step in which rank 0 hears of it
    assert checkpoint.read(tmp_path / checkpoint.NAME).steps == 15
    assert [(tmp_path / f"drawn-{rank}").stat().st_size > 0 for rank in (0, 1)] == [True, False]


@needs_mpi
def test_a_rank_that_dies_ends_the_job_and_leaves_the_last_checkpoint(tmp_path):
    result = mpirun(2, "-c", SIGNALLED, tmp_path, "SIGKILL")
    assert result.returncode not in (0, 130)
    assert "stopped" not in result.stdout
    assert checkpoint.read(tmp_path / checkpoint.NAME).steps == 10
    assert call(train_mnist, "--out", tmp_path, "--resume").returncode == 0


FAILING = """
import sys
from minigru.training import parallel
ranks = parallel.connect()
with ranks.together(KeyError):
    if ranks.rank == int(sys.argv[1]):
        raise {error}
    ranks.broadcast(0)  # the others wait for it
"""


@needs_mpi
@pytest.mark.parametrize(
    ("rank", "error", "status", "words"),
    [
        (1, "RuntimeError('a bug')", 1, "RuntimeError: a bug"),
        (0, "SystemExit(3)", 3, ""),
        (0, "SystemExit('said')", 1, ""),
        (1, "KeyboardInterrupt", 130, ""),
    ],
    ids=["bug", "status", "text", "Ctrl-C"],
)
def test_an_exception_on_one_rank_ends_all(rank, error, status, words):
    result = mpirun(2, "-c", FAILING.format(error=error), rank)
    assert result.returncode == status
    assert words in result.stderr


TURNS = """
import sys
from minigru.training import parallel
ranks = parallel.connect()
for how in (ranks.each, ranks.first):
    for failing in ("", "0", "1", "01"):
        def make():
            if str(ranks.rank) in failing:
                raise ValueError("cannot")
            return "made by %d" % ranks.rank
        try:
            result = how(make)
        except (ValueError, parallel.EndedElsewhere) as error:
            result = str(error)
        sys.stdout.write(f"{how.__name__} {failing or 'none'} on {ranks.rank}: {result}\\n")
"""


@needs_mpi
def test_what_one_rank_cannot_do_ends_all_and_one_rank_says_why():
    result = mpirun(2, "-c", TURNS)
    assert result.returncode == 0, result.stderr
    found = dict(line.split(": ") for line in result.stdout.splitlines())
    said = {
        "each none": ("made by 0", "made by 1"), "each 0": ("cannot", "2"), "each 1": ("2", "cannot"),
        "each 01": ("cannot", "2"), "first none": ("made by 0", "made by 0"), "first 0": ("cannot", "2"),
        "first 1": ("made by 0", "made by 0"), "first 01": ("cannot", "2"),
    }  # fmt: skip
    assert found == {f"{case} on {rank}": words[rank] for case, words in said.items() for rank in (0, 1)}


@needs_mpi
@both_ways
@pytest.mark.parametrize(
    ("options", "words", "status"),
    [
        (("--bogus",), "unrecognized arguments", 2),
        (("--out", "nowhere", "--resume"), "there is no checkpoint", 2),
        ((*DIGITS, "--lr", "1e38", "--dtype", "float32"), "at step", 1),
    ],
    ids=["option", "checkpoint", "diverged"],
)
def test_an_error_is_said_once_and_ends_all(start, options, words, status, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert_one_sentence(mpirun(2, SCRIPT, *options, start=start), status, words)
    if status == 2:
        assert not [*tmp_path.glob("runs/*")]


@needs_mpi
def test_bench_times_several_ranks(tmp_path):
    sizes = ("--batch", "3", "--length", "3", "--inputs", "2", "--hidden-size", "4", "--rounds", "1", "--cores", "1")
    result = run_script("bench.py", *sizes, "--baselines", "reference", "--ranks", "2", "--only", "steps", "ranks")
    assert result.returncode == 0, result.stderr
    for words in ("minigru, 2 ranks", "The sum over 2 ranks"):
        assert words in result.stdout
