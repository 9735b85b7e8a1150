"""What several tests share."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def pytest_terminal_summary(terminalreporter):
    """Say so wherever the fake device has stood in for a GPU."""
    fake = sys.modules.get("fake_device")
    if fake is not None and fake.used:
        terminalreporter.write_line(fake.BANNER)
