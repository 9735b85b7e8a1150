"""What several tests share."""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: threads of several workers would stall each other

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in ("tests", "scripts", "scripts/story", "scripts/bench")]
HANDED = pytest.StashKey[str]()


def pytest_configure(config):
    """Let Apple's BLAS set the flags of the processor for finite products (numpy #28687)."""
    if sys.platform == "darwin":
        config.addinivalue_line("filterwarnings", "ignore:.* encountered in matmul:RuntimeWarning")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def banner() -> str:
    """Return what must be said where the fake device has stood in for a GPU."""
    fake = sys.modules.get("fake_device")
    return fake.BANNER if fake is not None and fake.used else ""


def pytest_sessionfinish(session):
    """Let a worker of pytest-xdist hand over what it has to say."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["banner"] = banner()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    """Keep what a worker has handed over."""
    handed = getattr(node, "workeroutput", {}).get("banner")
    node.config.stash[HANDED] = handed or node.config.stash.get(HANDED, "")


def pytest_terminal_summary(terminalreporter, config):
    """Say so wherever the fake device has stood in for a GPU."""
    said = banner() or config.stash.get(HANDED, "")
    if said:
        terminalreporter.write_line(said)
