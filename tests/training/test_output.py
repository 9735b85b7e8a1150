"""What is printed and drawn: on every terminal, results before figures, and whatever the user has configured."""

from __future__ import annotations

import errno
import io
import os
import runpy
import subprocess
import sys

import matplotlib
import pytest
import show_batch
import train_mnist
from calling import assert_one_sentence, call
from helpers import ROOT, run_script

from minigru import cli
from minigru.plots import style
from minigru.plots import training as training_plots
from minigru.training import checkpoint

QUICK = ("--data", "digits", "--hidden-size", "8", "--limit", "64", "--epochs", "1")
SCRIPTS = sorted(path for path in (ROOT / "scripts").rglob("*.py") if "cli.run(main)" in path.read_text("utf-8"))
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def fail(error):
    def failing(*args, **kwargs):
        raise error

    return failing


def exit_status(main):
    """Return the status with which `cli.run` ends."""
    with pytest.raises(SystemExit) as end:
        cli.run(main)
    return end.value.code


def test_the_settings_of_a_user_change_no_figure(tmp_path):
    options = ("--data", "digits", "--batch-size", "8", "--out")
    call(show_batch, *options, tmp_path / "plain")
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.family: Nonsense\nsavefig.dpi: 7\n", "utf-8")
    result = run_script(
        "show_batch.py", *options, tmp_path / "set", MPLBACKEND="nonsense", MPLCONFIGDIR=str(tmp_path), MATPLOTLIBRC=""
    )
    assert (result.returncode, result.stderr) == (0, "")
    plain, other = (tmp_path / name / "batch.png" for name in ("plain", "set"))
    assert plain.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("setting", [{"text.usetex": True}, {"font.family": "Nonsense"}, {"savefig.dpi": 7}], ids=str)
def test_settings_made_in_this_process_hold_again_afterwards(setting, tmp_path):
    name, value = next(iter(setting.items()))
    with matplotlib.rc_context(setting):
        with style.own_settings():
            assert matplotlib.rcParams[name] == matplotlib.rcParamsDefault[name]
        assert matplotlib.rcParams[name] in (value, [value])


@pytest.mark.parametrize(
    "error", [RuntimeError("no\nfont"), MemoryError(), FULL, ImportError("no matplotlib")], ids=repr
)
def test_a_figure_that_fails_is_one_sentence_and_the_run_stands(error, tmp_path, monkeypatch):
    monkeypatch.setattr(training_plots, "training_curves", fail(error))
    result = call(train_mnist, *QUICK, "--out", tmp_path / "o")
    assert_one_sentence(result, 0, "a figure could not be made")
    accuracy, results = result.stdout.splitlines()[-2:]
    assert accuracy.startswith("Test accuracy: ")
    assert results.endswith("(checkpoint.npz, history.csv, config.json)")


def test_an_answer_is_printed_where_its_figure_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine", "utf-8")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        result = call(show_batch, "--data", "digits", "--out", out)
        assert_one_sentence(result, 0, f"{out} cannot be read or written")
        assert "labels: " in result.stdout
    assert (tmp_path / "file").read_text("utf-8") == "mine"


@pytest.mark.parametrize("encoding", ["ascii", "cp437", "cp1252"])
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_terminal_of_any_encoding_shows_every_text(encoding, stream, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, stream, terminal)
    assert exit_status(lambda: print("3 µs … “数” \udcff", file=getattr(sys, stream)) or 0) == 0
    terminal.flush()
    assert terminal.buffer.getvalue().startswith(b"3 ")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_shows_its_options_on_an_ascii_terminal(script, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), "ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(sys, "argv", [str(script), "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(script), run_name="__main__")
    assert (end.value.code, terminal.buffer.getvalue()[:6]) == (0, b"usage:")


@pytest.mark.parametrize("closed", [["stdout"], ["stderr"], ["stdout", "stderr"]], ids=str)
def test_a_stream_that_python_found_closed_is_no_fault(closed, monkeypatch, tmp_path):
    for name in closed:
        monkeypatch.setattr(sys, name, None)
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", *QUICK, "--out", str(tmp_path / "o")])
    monkeypatch.setattr(train_mnist, "draw", lambda *args: None)
    assert exit_status(train_mnist.main) == 0
    assert (tmp_path / "o" / "checkpoint.npz").exists()
    for name in closed:
        getattr(sys, name).close()


@pytest.mark.skipif(os.name == "nt", reason="closes streams with a POSIX shell")
def test_closed_streams_leave_a_whole_run(tmp_path):
    line = [sys.executable, str(ROOT / "scripts" / "train_mnist.py"), *QUICK, "--out", str(tmp_path / "o")]
    assert subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *line]).returncode == 0
    assert checkpoint.read(tmp_path / "o" / "checkpoint.npz").epoch == 1  # nothing was printed into a file
    assert len(list((tmp_path / "o").iterdir())) == 6


def test_a_full_standard_output_is_one_sentence_that_says_what_is_kept(tmp_path, monkeypatch, capsys):
    full = io.StringIO()
    full.write = fail(FULL)
    monkeypatch.setattr(sys, "stdout", full)
    monkeypatch.setattr(sys, "argv", ["train_mnist.py", *QUICK, "--out", str(tmp_path / "o")])
    assert exit_status(train_mnist.main) == 1
    error = capsys.readouterr().err
    assert "standard output cannot be written: No space left on device; the checkpoint " in error
    assert "is kept" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("writes", [0, 1, 2, 3])
def test_a_full_disk_names_the_file_and_what_is_kept(writes, tmp_path, monkeypatch):
    replace, left = os.replace, [writes]

    def until_full(old, new):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), old, None, new)
        replace(old, new)

    monkeypatch.setattr(os, "replace", until_full)
    result = call(train_mnist, *QUICK, "--out", tmp_path / "o")
    file = ("config.json", "checkpoint.npz", "history.csv", "curves.png")[writes]
    words = (str(tmp_path / "o" / file), "cannot be read or written: No space left on device")
    assert_one_sentence(result, (2, 1, 1, 0)[writes], *words)
    assert ("no checkpoint had been written yet" in result.stderr) == (writes == 1)


def test_a_place_for_runs_that_is_a_file_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").write_text("mine", "utf-8")
    result = call(train_mnist, *QUICK)
    assert_one_sentence(result, 2, "the folder runs cannot be written to", "choose another folder")
