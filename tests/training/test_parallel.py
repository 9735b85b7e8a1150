"""Training on several ranks is training on one: the same losses, the same checkpoints, nothing left hanging.

The tests that need ranks start two real ones with mpiexec.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
from helpers import ROOT, run_script

import minigru
from minigru import cli
from minigru.training import data, parallel
from minigru.training.config import Config
from minigru.training.trainer import Trainer

BESIDE = Path(sys.executable).with_name("mpiexec")
MPIEXEC = str(BESIDE) if BESIDE.exists() else shutil.which("mpiexec")
needs_mpi = pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None,
    reason="mpiexec or mpi4py is not installed: the extra mpi brings both",
)
DIGITS = ("--data", "digits", "--hidden-size", "8", "--epochs", "2", "--limit", "300", "--dtype", "float64")


def start(ranks, *command, **environment):
    """Start a job; its output comes through pipes."""
    return subprocess.Popen(
        [MPIEXEC, "-n", str(ranks), sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def mpirun(ranks, *command, **environment):
    """Run a job to its end; return status, stdout and stderr."""
    process = start(ranks, *command, **environment)
    out, err = process.communicate(timeout=120)
    return SimpleNamespace(returncode=process.returncode, stdout=out, stderr=err)


def train(ranks, *options):
    return mpirun(ranks, ROOT / "scripts" / "train_mnist.py", *options)


def arrays(folder):
    with np.load(folder / "checkpoint.npz") as stored:
        return {name: stored[name] for name in stored.files if name != "meta"}


def assert_close(folder, expected, limit):
    for name, array in arrays(expected).items():
        if array.size:
            error = np.linalg.norm(arrays(folder)[name] - array) / np.linalg.norm(array)
            assert error < limit, f"{name}: {error:.1e}"


# A fake communicator, to prove the arithmetic without processes.
class Recorded:
    def __init__(self, rank, size, others=0.0):
        self.rank, self.size, self.others, self.messages = rank, size, others, []

    def Allreduce(self, in_place, array):
        self.messages.append(array.copy())
        array += self.others


def shares(B, size, rng):
    """Return the sum of the messages of all ranks for one batch, and the model of the whole batch."""
    x, y = rng.standard_normal((40, 5, 3)), rng.integers(4, size=40)
    chosen = rng.permutation(40)[:B]
    messages = []
    for rank in range(size):
        model = minigru.SequenceClassifier(3, 6, 4, dtype="float64")
        comm = Recorded(rank, size)
        parallel.Ranks(comm).gradient(model, x, y, chosen, rank == 1)
        assert len(comm.messages) == 1  # one Allreduce carries everything
        messages += comm.messages
    whole = minigru.SequenceClassifier(3, 6, 4, dtype="float64")
    loss, stop = parallel.Ranks().gradient(whole, x, y, chosen, False)
    assert not stop
    return sum(messages), whole, loss


@pytest.mark.parametrize(("B", "size"), [(12, 2), (12, 5), (1, 3), (7, 7)], ids=["even", "uneven", "empty", "single"])
def test_shares_add_up_to_the_gradient_and_the_loss_of_the_batch(B, size, rng):
    pytest.importorskip("mpi4py", reason="mpi4py is not installed: the extra mpi brings it")
    total, whole, loss = shares(B, size, rng)
    assert np.linalg.norm(total[:-2] - whole.gradient) < 1e-14 * np.linalg.norm(whole.gradient) * size
    assert total[-2] == pytest.approx(loss, rel=1e-14)
    assert total[-1] == 1  # rank 1 asked to stop


def test_a_single_process_trains_without_a_message(rng):
    model = minigru.SequenceClassifier(3, 6, 4)
    ranks = parallel.connect()
    assert (ranks.rank, ranks.size) == (0, 1)
    x, y = rng.standard_normal((9, 5, 3)), rng.integers(4, size=9)
    loss, stop = ranks.gradient(model, x, y, np.array([3, 1, 4]), True)
    assert stop
    assert loss == model.loss(x[[3, 1, 4]], y[[3, 1, 4]])
    assert ranks.any(True)
    assert not ranks.any(False)
    assert ranks.broadcast("value") == "value"


def test_without_mpiexec_mpi4py_is_never_imported(tmp_path):
    code = (
        "import runpy, sys; del sys.argv[0]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit as end: assert end.code == 0, end.code\n"
        "assert not any(name.partition('.')[0] == 'mpi4py' for name in sys.modules), 'mpi4py was imported'"
    )
    script = ROOT / "scripts" / "train_mnist.py"
    options = ("--data", "digits", "--limit", "64", "--epochs", "1", "--hidden-size", "4", "--out", str(tmp_path / "a"))
    result = subprocess.run([sys.executable, "-c", code, str(script), *options], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@needs_mpi
def test_the_mpiexec_of_another_mpi_is_refused():
    code = "from minigru import parallel; parallel.connect()"
    environment = {**os.environ, "OMPI_COMM_WORLD_SIZE": "2"}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "mpiexec started 2 processes, and mpi4py sees 1" in result.stderr


THREADS = """
import runpy, sys
from threadpoolctl import threadpool_info
del sys.argv[0]
try: runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit: pass
sys.stdout.write(f"{[lib['num_threads'] for lib in threadpool_info() if lib['user_api'] == 'blas']}")
"""


@pytest.mark.parametrize(("options", "expected"), [((), 1), (("--threads", "2"), 2)])
def test_the_script_sets_the_number_of_blas_threads(options, expected, tmp_path):
    environment = {name: value for name, value in os.environ.items() if name not in cli.BLAS_VARIABLES}
    command = [sys.executable, "-c", THREADS, ROOT / "scripts" / "train_mnist.py", "--data", "digits", "--limit", "32"]
    command += ["--epochs", "1", "--hidden-size", "4", "--out", tmp_path / "a", *options]
    result = subprocess.run([*map(str, command)], capture_output=True, text=True, env=environment)
    assert set(json.loads(result.stdout.splitlines()[-1])) == {expected}, result.stderr


def test_mpiexec_without_mpi4py_says_what_to_install(monkeypatch):
    monkeypatch.setenv("PMI_SIZE", "2")
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(parallel.MPIUnavailable, match=r"pip install 'minigru\[mpi\]'"):
        parallel.connect()


def test_several_ranks_and_cupy_are_refused(tmp_path):
    dataset = data.load("digits")
    with pytest.raises(ValueError, match="for 2 ranks, which would share one GPU"):
        Trainer(Config(data="digits", backend="cupy"), dataset, tmp_path, parallel.Ranks(Recorded(0, 2)))


@pytest.mark.parametrize(
    ("threads", "B", "ranks", "environment", "expected"),
    [
        (None, 32, 1, {}, 1),
        (None, 127, 1, {}, 1),
        (None, 128, 1, {}, None),
        (None, 512, 2, {}, 1),
        (3, 32, 2, {}, 3),
        (None, 32, 2, {"OMP_NUM_THREADS": "2"}, None),
        (4, 32, 1, {"OPENBLAS_NUM_THREADS": "2"}, 4),
    ],
)
def test_threads_are_one_for_small_products_and_for_ranks_unless_the_user_says_so(
    threads, B, ranks, environment, expected, monkeypatch
):
    for name in cli.BLAS_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    limited = []
    monkeypatch.setattr(cli, "threadpool_limits", lambda count, user_api: limited.append(count))
    cli.limit_blas(threads, B, 128, ranks)
    assert limited == ([] if expected is None else [expected])


LOSSES = """
import sys
from contextlib import nullcontext
from pathlib import Path
import numpy as np
from minigru.training import data
from minigru.training import parallel
from minigru.training.config import Config
from minigru.training.trainer import Trainer
ranks = parallel.connect()
config = Config(data="digits", hidden_size=32, epochs=5, batch_size=30, limit=590, lr=5e-3, dtype=sys.argv[2])
trainer = Trainer(config, data.load("digits", dtype=config.dtype), Path(sys.argv[1]), ranks)
losses, gradient = [], ranks.gradient
ranks.gradient = lambda *a: losses.append(gradient(*a)) or losses[-1]
trainer.run(quiet=True)
path = Path(sys.argv[1], f"rank{ranks.rank}.npz")
np.savez(path, losses=[float(loss) for loss, _ in losses], vector=trainer.model.vector)
"""


@needs_mpi
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_ranks_give_the_losses_of_one_over_100_steps_and_stay_equal(dtype, tmp_path):
    found = {}
    for ranks in (1, 2, 3):
        folder = tmp_path / str(ranks)
        folder.mkdir()
        result = mpirun(ranks, "-c", LOSSES, folder, dtype)
        assert result.returncode == 0, result.stderr
        found[ranks] = [dict(np.load(folder / f"rank{rank}.npz")) for rank in range(ranks)]
    alone = found[1][0]["losses"]
    assert len(alone) == 100  # 20 batches an epoch, the last of 20 images
    assert alone[-1] < 0.5 * alone[0]
    for ranks in (2, 3):
        for rank in found[ranks]:
            np.testing.assert_allclose(rank["losses"], alone, rtol={"float32": 1e-5, "float64": 1e-12}[dtype])
            np.testing.assert_array_equal(rank["vector"], found[ranks][0]["vector"])  # bit for bit


@needs_mpi
def test_mpiexec_on_the_script_trains_as_one_process_does_and_rank_0_alone_speaks(tmp_path):
    one = run_script("train_mnist.py", *DIGITS, "--out", tmp_path / "one")
    two = train(2, *DIGITS, "--out", tmp_path / "two")
    assert (one.returncode, two.returncode) == (0, 0), two.stderr
    assert two.stderr == ""
    for line_one, line_two in zip(one.stdout.splitlines(), two.stdout.splitlines(), strict=True):
        assert line_one.split("%")[0].replace("/one", "") == line_two.split("%")[0].replace("/two", "")
    assert sorted(p.name for p in (tmp_path / "one").iterdir()) == sorted(p.name for p in (tmp_path / "two").iterdir())
    assert_close(tmp_path / "two", tmp_path / "one", 1e-12)


@needs_mpi
@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_a_checkpoint_resumes_with_another_number_of_ranks(before, after, tmp_path):
    for folder, epochs in (("whole", 2), ("parts", 1)):
        result = train(before, *DIGITS[:4], "--epochs", epochs, *DIGITS[6:], "--out", tmp_path / folder)
        assert result.returncode == 0, result.stderr
    result = train(after, "--out", tmp_path / "parts", "--resume", "--epochs", "2")
    assert result.returncode == 0, result.stderr
    assert_close(tmp_path / "parts", tmp_path / "whole", 1e-12)
    histories = [pd.read_csv(tmp_path / name / "history.csv")["train_loss_nats"] for name in ("whole", "parts")]
    np.testing.assert_allclose(*histories, rtol=1e-12)


@needs_mpi
def test_ctrl_c_stops_all_ranks_after_the_same_step_and_saves(tmp_path):
    options = (*DIGITS[:4], "--epochs", "300", *DIGITS[6:], "--out", tmp_path / "a")
    process = start(2, ROOT / "scripts" / "train_mnist.py", *options)
    assert process.stdout.readline().startswith("epoch   1/300")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.count("Stopped and saved. Go on: mpiexec -n 2 python") == 1
    assert "Traceback" not in err
    epochs = len(pd.read_csv(tmp_path / "a" / "history.csv"))
    resumed = run_script("train_mnist.py", "--out", tmp_path / "a", "--resume", "--epochs", epochs + 1)
    assert resumed.returncode == 0, resumed.stderr


INTERRUPTED = """
import os, signal, sys
from contextlib import nullcontext
from pathlib import Path
from minigru.training import data
from minigru.training import parallel
from minigru.training.config import Config
from minigru.training.trainer import Trainer
ranks = parallel.connect()
config = Config(data="digits", hidden_size=8, epochs=5, batch_size=30, limit=300)
trainer = Trainer(config, data.load("digits"), Path(sys.argv[1]), ranks)
step = trainer.adam.step
def stepping():
    step()
    if ranks.rank == 1 and trainer.adam.t == 4:
        os.kill(os.getpid(), signal.SIGINT)
trainer.adam.step = stepping
assert not trainer.run(quiet=True)
sys.stdout.write(f"{trainer.adam.t}\\n")
"""


@needs_mpi
def test_ctrl_c_that_reaches_one_rank_alone_stops_both_after_the_same_step(tmp_path):
    result = mpirun(2, "-c", INTERRUPTED, tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout == "5\n5\n"  # the step in which rank 0 hears of it
    assert arrays(tmp_path)["adam.t"] == 5


PREPARING = """
import os, runpy, signal, sys
from minigru.training import data
load = data.load
def interrupted(*arguments):
    os.kill(os.getpid(), signal.SIGINT)
    return load(*arguments)
data.load = interrupted
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@needs_mpi
def test_ctrl_c_before_the_first_step_ends_all_ranks(tmp_path):
    options = ("--data", "digits", "--epochs", "1", "--out", tmp_path / "a")
    result = mpirun(2, "-c", PREPARING, ROOT / "scripts" / "train_mnist.py", *options)
    assert result.returncode == 130, result.stderr
    assert "train_mnist.py: stopped" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "a").exists()


def test_only_rank_0_writes_and_draws(tmp_path, monkeypatch):
    bars = []
    monkeypatch.setattr("tqdm.auto.tqdm", lambda **options: bars.append(options["disable"]) or nullcontext(Mock()))
    monkeypatch.setattr(sys, "stderr", Mock(isatty=lambda: True))
    config = Config(data="digits", hidden_size=4, epochs=1, limit=64)
    for rank in (1, 0):
        comm = Recorded(rank, 2)
        comm.bcast = lambda logits: np.zeros((360, 10))
        trainer = Trainer(config, data.load("digits"), tmp_path, parallel.Ranks(comm))
        trainer.run(quiet=False)
        assert [*tmp_path.iterdir()] == [] if rank else [*tmp_path.iterdir()]
    assert bars == [True, False]


@needs_mpi
def test_a_rank_that_dies_ends_the_job_and_leaves_the_last_checkpoint(tmp_path):
    process = start(2, ROOT / "scripts" / "train_mnist.py", *DIGITS[:4], "--epochs", "3000", "--out", tmp_path / "a")
    for _ in range(2):
        assert process.stdout.readline().startswith("epoch")
    ranks = [
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and "PMI_RANK=1\0" in environment_of(entry) and str(tmp_path) in command_of(entry)
    ]
    assert len(ranks) == 1
    os.kill(ranks[0], signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode not in (0, 130)
    assert "KILLED BY SIGNAL" in (out + err).upper() or "BAD TERMINATION" in out + err
    minigru_run = arrays(tmp_path / "a")
    assert np.isfinite(minigru_run["adam.m"]).all()
    epochs = len(pd.read_csv(tmp_path / "a" / "history.csv"))
    resumed = run_script("train_mnist.py", "--out", tmp_path / "a", "--resume", "--epochs", epochs + 1)
    assert resumed.returncode == 0, resumed.stderr


def environment_of(entry):
    try:
        return (entry / "environ").read_text()
    except OSError:
        return ""


def command_of(entry):
    try:
        return (entry / "cmdline").read_text()
    except OSError:
        return ""


FAILING = """
import sys
from minigru.training import parallel
ranks = parallel.connect()
with ranks.together(KeyError):
    if ranks.rank == int(sys.argv[1]):
        raise {error}
    ranks.any(False)  # the others wait for it
"""


@needs_mpi
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        ("RuntimeError('a bug')", 1, "RuntimeError: a bug"),
        ("SystemExit(3)", 3, ""),
        ("SystemExit('said')", 1, ""),
        ("KeyboardInterrupt", 130, ""),
    ],
    ids=["bug", "status", "text", "Ctrl-C"],
)
def test_an_exception_on_one_rank_ends_all(rank, error, status, words, tmp_path):
    result = mpirun(2, "-c", FAILING.format(error=error), rank)
    assert result.returncode == status
    assert words in result.stderr


TURNS = """
import sys
from minigru.training import parallel
ranks = parallel.connect()
def make():
    if ranks.rank in map(int, sys.argv[2:]):
        raise ValueError(f"rank {ranks.rank} cannot")
    return ranks.rank
try:
    sys.stdout.write(f"{ranks.rank} {getattr(ranks, sys.argv[1])(make)}\\n")
except ValueError as error:
    sys.exit(f"{error}")
"""


@needs_mpi
def test_what_one_rank_cannot_do_ends_all_with_its_words_alone():
    assert sorted(mpirun(2, "-c", TURNS, "each").stdout.split("\n")) == ["", "0 0", "1 1"]
    assert sorted(mpirun(2, "-c", TURNS, "first", 1).stdout.split("\n")) == ["", "0 0", "1 0"]
    for how, failing, says in (("each", (1,), 1), ("each", (0, 1), 0), ("first", (0,), 0)):
        result = mpirun(2, "-c", TURNS, how, *failing)
        assert result.returncode != 0
        assert result.stdout == ""
        assert result.stderr == f"rank {says} cannot\n"


@needs_mpi
@pytest.mark.parametrize(
    ("options", "words", "status"),
    [
        (("--bogus",), "unrecognized arguments", 2),
        (("--data", "digits", "--limit", "9999"), "limit is 9999", 2),
        (("--out", "nowhere", "--resume"), "there is no checkpoint", 2),
        (("--data", "digits", "--lr", "1e38", "--epochs", "1"), "the loss is nan at step", 1),
    ],
    ids=["option", "limit", "checkpoint", "diverged"],
)
def test_an_error_is_said_once_and_ends_all(options, words, status, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = train(2, *options)
    assert result.returncode == status
    assert result.stderr.count(words) == 1
    assert result.stderr.count("\n") == 1, result.stderr
    assert "Traceback" not in result.stderr
    if status == 2:
        assert not [*tmp_path.glob("runs/*")]


@needs_mpi
def test_bench_times_several_ranks(tmp_path):
    sizes = ("--batch", "3", "--length", "3", "--inputs", "2", "--hidden-size", "4", "--rounds", "2", "--threads", "1")
    result = run_script("bench.py", *sizes, "--ranks", "2", "--only", "steps", "ranks")
    assert result.returncode == 0, result.stderr
    for words in ("minigru, 2 ranks", "What one rank computes", "The sum over 2 ranks"):
        assert words in result.stdout
