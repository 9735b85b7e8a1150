"""Ctrl-C as a question asked between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def interruption() -> Iterator[threading.Event]:
    """Turn the first Ctrl-C into an event, so that no step is left half done; the second one is as usual."""
    event = threading.Event()
    before: Any = None

    def handle(signum: int, frame: FrameType | None) -> None:
        event.set()
        signal.signal(signal.SIGINT, before)

    if threading.current_thread() is not threading.main_thread():
        yield event
        return  # only the main thread can be interrupted
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)
