"""A full disk at ten places of a run: one sentence, status 1, what was there is whole, and the run resumes.

The first test has a disk of its own: Linux lets a user mount a small one that no other process sees. The second runs
everywhere but on Windows: a limit on the size of files, which stops a write in the middle, as a full disk does.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from children import SMALL, assert_resumes, names, results, train
from helpers import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither these disks nor these limits"),
]
PAGE = 4096
MOUNT = ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c")
TRIAL = """
mount -t tmpfs -o size=$SIZE none "$DISK" || exit 77
"$PYTHON" "$SCRIPT" $OPTIONS --out "$DISK/out"; echo $? > "$KEPT/status"
cp -r "$DISK/out" "$KEPT/full"
mount -o remount,size=16m none "$DISK"
if [ -e "$DISK/out/config.json" ]; then "$PYTHON" "$SCRIPT" --resume --out "$DISK/out" > "$KEPT/said" 2>&1
else "$PYTHON" "$SCRIPT" $OPTIONS --out "$DISK/out" > "$KEPT/said" 2>&1; fi; echo $? > "$KEPT/resumed"
cp -r "$DISK/out" "$KEPT/out"
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run with space enough."""
    folder = tmp_path_factory.mktemp("whole")
    found = train(*SMALL, "--out", folder / "out", said=folder / "said", figures=True)
    assert found.status == 0, found.said
    return folder / "out"


def assert_whole(folder):
    """Check that every file of a run can be read to its end, and that there is no other."""
    assert names(folder) <= {"config.json", "history.csv", "checkpoint.npz"}
    if (folder / "checkpoint.npz").exists():
        with np.load(folder / "checkpoint.npz", allow_pickle=False) as file:
            assert all(file[name].size >= 0 for name in file.files)  # tests the checksums
    if (folder / "history.csv").exists():  # the checkpoint may have been written alone
        assert (folder / "history.csv").read_text("utf-8").endswith("\n")


def assert_full(status, said, words, *, begun=True, trained=False):
    """Check the status and the one sentence of a run on a full disk.

    The status is 2 where the folder could not be prepared. Where only figures are missing, the result has been printed,
    and there may be a sentence per figure.
    """
    errors = [line for line in said.splitlines() if not line.startswith(("epoch ", "Test accuracy", "Results"))]
    if trained:
        assert status == 0, said
        assert "Test accuracy" in said
        assert len(errors) <= 3, said
    else:
        assert status == (1 if begun else 2), said
        assert len(errors) == 1, said
    assert all(words in error for error in errors), said


@pytest.mark.parametrize("pages", range(1, 31, 3))
def test_a_disk_that_is_full(pages, whole, tmp_path):
    disk, kept = tmp_path / "disk", tmp_path / "kept"
    disk.mkdir()
    kept.mkdir()
    mount = [*MOUNT, f"mount -t tmpfs none '{disk}'"]
    if shutil.which("unshare") is None or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("this user may not mount a disk")
    names_of_trial = {
        "SIZE": str(pages * PAGE), "DISK": str(disk), "KEPT": str(kept), "PYTHON": sys.executable,
        "SCRIPT": str(ROOT / "scripts" / "train_mnist.py"), "OPTIONS": " ".join(SMALL),
    }  # fmt: skip
    found = subprocess.run([*MOUNT, TRIAL], env={**os.environ, **names_of_trial}, capture_output=True, text=True)
    status = int((kept / "status").read_text())
    begun, trained = "config.json" in names(kept / "full"), said_epochs(found.stdout) == 3
    assert_full(status, found.stdout + found.stderr, "No space left on device", begun=begun, trained=trained)
    assert_whole(kept / "full")
    assert (kept / "resumed").read_text() == "0\n", (kept / "said").read_text()
    assert results(kept / "out") == results(whole)
    assert {path.name for path in (kept / "out").iterdir()} == {path.name for path in whole.iterdir()}


def said_epochs(said):
    """Return how many epochs a run has said to be completed and saved."""
    return sum(line.startswith("epoch ") for line in said.splitlines())


def limit(files, size):
    """Let no file of this process grow beyond `size` bytes, once so many files have been replaced."""
    import resource

    real, left = os.replace, [files]

    def check():
        if left[0] == 0:
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        left[0] -= 1

    def replace(*args, **kwargs):
        found = real(*args, **kwargs)
        check()
        return found

    os.replace = replace
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    check()


PLACES = [(0, 0), (0, 100), (1, 0), (1, 100), (2, 100), (2, 5000), (3, 100), (4, 5000), (5, 100), (6, 100)]


@pytest.mark.parametrize(("files", "size"), PLACES)
def test_a_write_that_fails_in_the_middle(files, size, whole, tmp_path):
    out, said = tmp_path / "out", tmp_path / "said"
    os.mkfifo(tmp_path / "pipe")  # the limit holds for the file `said` too, but not for a pipe
    with said.open("w") as file, subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=file):
        found = train(*SMALL, "--out", out, said=tmp_path / "pipe", before=partial(limit, files, size))
    assert_full(found.status, said.read_text(), "File too large", begun=files > 0)
    assert_whole(out)
    assert_resumes(out, whole, *SMALL, said=said)


def fail_at(function, number):
    """Let a call of ``os.<function>`` fail as on a full disk."""
    real, calls = getattr(os, function), iter(range(10**6))

    def call(*args, **kwargs):
        if next(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **kwargs)

    setattr(os, function, call)


@pytest.mark.parametrize("function", ["fsync", "replace", "mkdir"])
def test_a_step_of_a_save_that_fails(function, whole, tmp_path):
    for number in range(100):
        out, said = tmp_path / str(number), tmp_path / "said"
        found = train(*SMALL, "--out", out, said=said, before=partial(fail_at, function, number))
        if found.status == 0:  # there were no more calls
            break
        assert found.status in (1, 2), found.said
        assert "No space left on device" in found.said
        assert "Traceback" not in found.said
        assert_resumes(out, whole, *SMALL, said=said)
    else:
        pytest.fail(f"os.{function} was called more than 100 times")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_loses_nothing(whole, tmp_path):
    out, said = tmp_path / "out", tmp_path / "said"
    line = [sys.executable, str(ROOT / "scripts" / "train_mnist.py"), *SMALL, "--out", str(out)]
    with open("/dev/full", "w") as full:
        found = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True)
    assert_full(found.returncode, found.stderr, "No space left on device")
    assert_resumes(out, whole, *SMALL, said=said)
