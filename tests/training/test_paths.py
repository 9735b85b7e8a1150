"""Every path that is given to a script means the same file to all that read it."""

from __future__ import annotations

import importlib
import re

import pytest
from calling import call

from minigru import cli

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
