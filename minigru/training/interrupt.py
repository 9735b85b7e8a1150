"""Stop training cleanly on Ctrl-C, and on the signals of a closed terminal, a scheduler or a container."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

NAMES = ("SIGTERM", "SIGHUP", "SIGBREAK")  # Windows has no SIGHUP; SIGBREAK is its Ctrl-Break
ENDING = tuple(getattr(signal, name) for name in NAMES if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """What `stopping` raises on a signal, as Ctrl-C raises KeyboardInterrupt.

    Attributes
    ----------
    status : the exit status, 128 + the number of the signal
    """

    def __init__(self, signum: int) -> None:
        super().__init__()
        self.status = 128 + signum


@contextmanager
def stopping() -> Iterator[None]:
    """Raise `Stopped` in the block on a signal that would end the program without a chance to clean up."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise Stopped(signum)

    with handling(stop, [signum for signum in ENDING if signal.getsignal(signum) == signal.SIG_DFL]):
        yield


@contextmanager
def interruption() -> Iterator[Callable[[], int]]:
    """Yield a function that returns the first signal that has come, or 0, so that no step is left half done.

    The second Ctrl-C interrupts. The other signals may come twice, from a scheduler to the group and to the process.
    """
    came: list[int] = []

    def note(signum: int, frame: FrameType | None) -> None:
        came.append(signum)
        if signum == signal.SIGINT:
            signal.signal(signum, before)

    before: Any = signal.getsignal(signal.SIGINT)
    with handling(note, [signal.SIGINT, *ENDING]):
        yield lambda: came[0] if came else 0


@contextmanager
def handling(handle: Callable[[int, FrameType | None], None], signals: list[int]) -> Iterator[None]:
    """Handle signals in the block, but for those that the parent process has set to "ignore", as nohup does."""
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():  # Python delivers signals to no other thread
        before = {signum: signal.getsignal(signum) for signum in signals}
    before = {signum: had for signum, had in before.items() if had not in (None, signal.SIG_IGN)}
    for signum in before:
        signal.signal(signum, handle)
    try:
        yield
    finally:
        for signum, had in before.items():
            signal.signal(signum, had)
