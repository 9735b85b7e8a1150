"""Every block of Python on the page about interchange runs, where the libraries that it imports are installed."""

from __future__ import annotations

import os
import re
import warnings

import pytest
from helpers import ROOT

from minigru.training import data
from minigru.training.config import Config
from minigru.training.trainer import Trainer

os.environ.setdefault("KERAS_BACKEND", "torch")
IMPORTED = re.compile(r"^(?:import|from) (\w+)", re.MULTILINE)
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "interchange.md").read_text("utf-8"), re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with a trained model in runs/story."""
    folder = tmp_path_factory.mktemp("page")
    run = folder / "runs" / "story"
    run.mkdir(parents=True)
    Trainer(Config(data="digits", hidden_size=8, epochs=1, limit=64), data.load("digits"), run).run(quiet=True)
    return folder


@pytest.mark.filterwarnings("ignore")  # of the other libraries
@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: " ".join(IMPORTED.findall(block)))
def test_a_block_runs(block, folder, monkeypatch):
    for name in IMPORTED.findall(block):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pytest.importorskip(name, reason=f"{name} is not installed: the extras bench and keras bring it")
    monkeypatch.chdir(folder)
    exec(block, {})
