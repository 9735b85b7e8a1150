"""Every path that is given to a script means the same file to all that read it; no script advises what it cannot do."""

from __future__ import annotations

import importlib
import re

import pytest
from calling import call

from minigru import cli
from minigru.training import data
from minigru.training.config import Config
from minigru.training.trainer import Trainer

PATHS = {
    "train_mnist": ("--out=~/a", "--data-home=~/b"),
    "predict": ("~/a", "--image=~/b", "--out=~/c"),
    "gates": ("~/a", "--out=~/c"),
    "show_batch": ("--out=~/c",),
    "vanishing_gradient": ("--out=~/c",),
    "agreement": ("--out=~/c",),
    "make_figures": ("--run=~/a", "--out=~/c"),
    "plot_step_size": ("--out=~/a",),
    "bench": ("--json=~/a", "--plot=~/b"),
    "ablation": ("--json=~/a",),
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", PATHS)
def test_every_path_option_expands_a_home_folder(name, home, monkeypatch):
    script, parse_args, parsed = importlib.import_module(name), cli.Parser.parse_args, []

    def parse_and_stop(parser):
        parsed.append(parse_args(parser))
        raise SystemExit(0)

    shown = call(script, "--help").stdout
    monkeypatch.setattr(cli.Parser, "parse_args", parse_and_stop)
    assert call(script, *PATHS[name]).returncode == 0
    values = [*vars(parsed[0]).values()]
    for argument in PATHS[name]:
        assert home / argument[-1] in values
    options = {*re.findall(r"(--[\w-]+) (?:DIR|FILE)\b", shown)}
    assert options == {argument.split("=")[0] for argument in PATHS[name] if "=" in argument}


def test_a_path_that_is_no_path_is_one_sentence(home):
    for text, words in {"": "it is empty", "~nosuchuser/a": "no known home folder"}.items():
        result = call(importlib.import_module("train_mnist"), f"--out={text}")
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert words in result.stderr


def test_a_folder_that_is_really_called_tilde_stays_one(home, monkeypatch):
    monkeypatch.chdir(home)
    assert cli.path("./~/a") == home / "~" / "a"


@pytest.mark.parametrize(
    "command",
    [
        "predict {run}",
        "gates {run}",
        "show_batch --data mnist",
        "train_mnist --out {run} --resume",
        "train_mnist --data mnist",
    ],
)
def test_without_mnist_a_script_advises_only_options_that_it_has(command, tmp_path, monkeypatch):
    digits = data.load("digits")._replace(name="mnist")
    Trainer(Config(data="mnist", hidden_size=4, epochs=1, limit=64), digits, tmp_path).run(quiet=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "history.csv"))
    name, *arguments = command.format(run=tmp_path).split()
    script = importlib.import_module(name)
    result = call(script, *arguments)
    assert result.returncode == 2
    assert "set SCIKIT_LEARN_DATA to a folder" in result.stderr
    advised = {*re.findall(r"--[a-z][\w-]*", result.stderr)}
    assert advised <= {*re.findall(r"--[a-z][\w-]*", call(script, "--help").stdout)}
    assert ("the data 'digits'" in result.stderr) == (
        command == "train_mnist --data mnist"
    )  # a resumed run keeps its data
