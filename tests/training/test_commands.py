"""Every command and every block of Python in the documents runs: here, or in .ci/run.

A command is what a fenced block or a piece of inline code begins with, if it begins with the name of a program. The
parts of a chain (``&&``) count one by one. A new command for which there is no place fails.
"""

from __future__ import annotations

import configparser
import importlib
import itertools
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import train_mnist
from calling import call
from helpers import ROOT

import minigru
from minigru.exercises import __main__ as exercises

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PROGRAM = re.compile(r"(?:\w+=\S+ )*(?:python3?|pip|pytest|mpiexec|mutmut|ruff|mypy|source|git|npm|apt-get|\.ci/run) ?")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")

# What makes a script of the documents small enough for a test: the last word on an option counts.
SMALL = {
    "train_mnist.py": "--data digits --epochs 1 --limit 64 --hidden-size 8 --out {folder}/run",
    "check_gradients.py": "--size small",
    "bench.py": "",
    "ablation.py": "",
    "recipes.py": "",
    "on_gpu.py": "",
    "step_cost.py": "",
    "device_model.py": "",
    "show_batch.py": "--data digits --out {folder}",
    "agreement.py": "--steps 2 --tests 2 --hidden-size 4 --out {folder}",
    "vanishing_gradient.py": "--lengths 4 --steps 2 --hidden-size 4 --out {folder}",
    "gates.py": "--out {folder}",
    "export_page.py": "--out {folder}",
    "predict.py": "--out {folder}",
    "convert.py": "",
    "which_gru.py": "",
    "make_figures.py": "--dry-run",
}
EXERCISES = SimpleNamespace(__name__="exercises", main=exercises.main)
# Their sections, which take long, run in a test of their own.
OPTIONS_ONLY = {"bench.py", "ablation.py", "recipes.py", "on_gpu.py", "step_cost.py"}
# What .ci/run does with other names, or another test.
KNOWN = {
    "python3 -m venv .venv",
    "source .venv/bin/activate",
    "python -m sphinx -W -b html docs docs/_build/html",
    "python scripts/story/plot_step_size.py",
    "python -m webbrowser docs/play/index.html",
    "python scripts/story/animate_page.py",
    "mpiexec -n 2 python scripts/train_mnist.py",
    "python scripts/train_mnist.py --ranks 2",
    "python scripts/which_gru.py gru.safetensors wrong.onnx",
}


def commands(page: Path) -> list[str]:
    """Return the commands of a page, in one line each."""
    text = page.read_text("utf-8")
    found = []
    for language, block in FENCE.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        if language in ("", "bash", "sh", "console") and lines and PROGRAM.match(lines[0].removeprefix("$ ")):
            found += [line.removeprefix("$ ") for line in lines if PROGRAM.match(line.removeprefix("$ "))]
    inline = re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCE.sub("", text))
    found += [
        code for code in inline if PROGRAM.match(code) and not re.fullmatch(r"python3?|pip|mpiexec|\.ci/run", code)
    ]
    return [" ".join(command.split()) for command in found]


PARTS = sorted({part for page in PAGES for command in commands(page) for part in command.split(" && ")})


def words(command: str) -> list[str]:
    return shlex.split(command.replace("--quiet ", ""))


def in_ci(command: str) -> bool:
    """Whether .ci/run has this command as it is, or with options after it."""
    lines = re.sub(r"\\\n", " ", (ROOT / ".ci" / "run").read_text("utf-8")).splitlines()
    runs = [run for line in lines if not line.lstrip().startswith("#") for run in re.split(r"&&|\|\||;", line)]
    runs = [run.strip() for run in runs if PROGRAM.match(run.strip())]
    runs = [run for run in runs if "--help" in command or "--help" not in run]
    return any(words(run)[: len(words(command))] == words(command) for run in runs)


def test_commands_are_found():
    assert len(PARTS) > 15
    assert {"pytest -n auto", 'pip install -e ".[test]"', "python scripts/check_gradients.py --dtype float32"} <= {
        *PARTS
    }
    assert not in_ci("python scripts/check_gradients.py --dtype float32")
    assert not in_ci('pip install -e ".[everything]"')
    assert in_ci("python scripts/check_gradients.py")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A small model where the documents have theirs, in runs/story."""
    run = tmp_path_factory.mktemp("documents") / "runs" / "story"
    small = ("--data", "digits", "--epochs", "1", "--hidden-size", "8", "--out", run)
    assert call(train_mnist, *small).returncode == 0
    minigru.interchange.save(minigru.load(run), run / "model.onnx")
    return run


def a_gpu_is_here() -> bool:
    try:
        return bool(minigru.get_backend("cupy"))
    except minigru.BackendUnavailable:
        return False


@pytest.mark.parametrize("command", PARTS)
def test_a_command_of_the_documents_runs(command, trained, tmp_path, monkeypatch):
    if in_ci(command) or command in KNOWN:
        return
    if extras := re.fullmatch(r'pip install -e "\.\[(.+)\]"', command):
        assert {*extras[1].split(",")} <= {*SETUP["options.extras_require"]}
    elif tests := re.fullmatch(r"(?:python -m )?pytest((?: [\w/.]+)*)(?: -m (\w+))?(?: -rP)?", command):
        assert f"\n{tests[2] or ''}" in SETUP["tool:pytest"]["markers"]
        assert [path for path in tests[1].split() if not (ROOT / path).exists()] == []
    elif code := re.fullmatch(r'python -c "(.+)"', command):
        try:
            exec(code[1], {})
        except minigru.BackendUnavailable:
            assert not a_gpu_is_here()
    elif options := re.fullmatch(r"python -m minigru\.exercises ?(.*)", command):
        monkeypatch.chdir(tmp_path)
        begun = call(EXERCISES, "dG4")
        result = call(EXERCISES, *options[1].split())
        graded = "--check" in command or "dG4" in command  # a file with nothing filled in
        assert (begun.returncode, result.returncode) == (0, int(graded)), result.stderr
    else:
        run_small(command, trained, tmp_path)


def run_small(command: str, trained: Path, folder: Path) -> None:
    """Run a script of the repository with the options of the command, and those that make it small."""
    for name, path in {"runs/story": trained, "docs/figures": ROOT / "docs" / "figures"}.items():
        command = command.replace(name, str(path))
    found = re.fullmatch(r"python scripts/(?:\w+/)?(\w+\.py) ?(.*)", command)
    assert found, f"nothing runs `{command}`: let .ci/run do it, or this test"
    script, options = found.groups()
    assert script in SMALL, f"give {script} the options that make it small, in SMALL"
    arguments = shlex.split(f"{options} {SMALL[script].format(folder=folder)}")
    module = importlib.import_module(script.removesuffix(".py"))
    if script in OPTIONS_ONLY:
        parse = module.parse_args
        module = SimpleNamespace(__name__=module.__name__, main=lambda: parse() and 0)
    result = call(module, *arguments)
    if "cupy" in options and not a_gpu_is_here():
        assert result.returncode == 2, result.stderr
        assert "CuPy" in result.stderr
    else:
        assert result.returncode == 0, result.stderr


def test_the_options_that_the_documents_name_are_those_of_a_script():
    shown = "".join(call(importlib.import_module(script.removesuffix(".py")), "--help").stdout for script in SMALL)
    shown += call(EXERCISES, "--help").stdout
    known = {*re.findall(r"--[a-z][\w-]*", shown)}
    choices = {option: {*values.split(",")} for option, values in re.findall(r"(--[\w-]+) \{([^}]+)\}", shown)}
    assert {"--schedule", "--backend", "--dtype"} <= {*choices}
    fragments = [
        code.split() for page in PAGES for code in re.findall(r"`(--[^`]+)`", FENCE.sub("", page.read_text("utf-8")))
    ]
    assert len(fragments) > 10
    for fragment in fragments:
        assert {word for word in fragment if word.startswith("--")} <= known, fragment
        for option, value in itertools.pairwise(fragment):
            assert value in choices.get(option, {value}), fragment


def python_blocks() -> list[str]:
    """Return the blocks of all pages but two, whose blocks other tests run, with ONNX and other libraries."""
    texts = [page.read_text("utf-8") for page in PAGES if page.name not in ("notation.md", "interchange.md")]
    return [block for text in texts for language, block in FENCE.findall(text) if language == "python"]


@pytest.mark.parametrize("block", python_blocks(), ids=lambda block: block.strip().split("\n")[0][:40])
def test_a_block_of_python_runs_or_is_an_excerpt(block, trained, monkeypatch):
    monkeypatch.chdir(trained.parents[1])
    if not any(block in path.read_text("utf-8") for path in (ROOT / "minigru").rglob("*.py")):
        exec(block, {})
