"""Trained models and a way to call a script, shared by the tests of the experiments."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from matplotlib.image import imread

from minigru.training import data
from minigru.training.config import Config
from minigru.training.trainer import Trainer


@pytest.fixture(scope="session")
def dataset():
    return data.load("digits")


def train(folder, dataset, cell):
    """Train a small model; return its folder, model and configuration, and its parameters before training."""
    config = Config(data="digits", model=cell, hidden_size=16, epochs=3, lr=1e-2, seed=3)
    trainer = Trainer(config, dataset, folder)
    start = trainer.model.vector.copy()
    trainer.run(quiet=True)
    return SimpleNamespace(folder=folder, model=trainer.model, config=config, start=start)


@pytest.fixture(scope="session")
def run(tmp_path_factory, dataset):
    return train(tmp_path_factory.mktemp("gru"), dataset, "gru")


@pytest.fixture(scope="session")
def rnn_run(tmp_path_factory, dataset):
    return train(tmp_path_factory.mktemp("rnn"), dataset, "rnn")


@pytest.fixture
def call(monkeypatch, capsys):
    """Call a script's main; return its exit status, stdout and stderr. Each figure it names must be a small picture."""

    def calling(script, *arguments):
        monkeypatch.setattr("sys.argv", [f"{script.__name__}.py", *map(str, arguments)])
        try:
            status = script.main()
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        for figure in re.findall(r"^Figure: (.*)$", out, re.MULTILINE):
            assert imread(figure)[..., :3].std() > 0.05
            assert Path(figure).stat().st_size < 120_000
        return status, out, err

    return calling


@pytest.fixture
def drawn(monkeypatch):
    """Return a function that records the arguments of each call of module.name, which still runs."""

    def recording(module, name):
        calls, function = [], getattr(module, name)
        monkeypatch.setattr(module, name, lambda *args: calls.append(args) or function(*args))
        return calls

    return recording
