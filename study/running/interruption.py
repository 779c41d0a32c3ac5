"""SIGINT and SIGTERM as an exception, so that a run ends the way a `with` block ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """SIGINT or SIGTERM, of this number. Not an Exception: nothing on the way may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Interruption:
    """The first signal is noted and raises Interrupted in the main thread, the second one kills.

    number: the signal that came, or 0.
    """

    def __init__(self) -> None:
        self.number = 0

    def install(self) -> None:
        """Installs the handlers, again where a library has replaced them. Outside the main thread
        signals stay as they are."""
        if threading.current_thread() is threading.main_thread() and not self.number:
            for number in SIGNALS:
                signal.signal(number, self._interrupt)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        for each in SIGNALS:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)


@contextmanager
def interruptible() -> Iterator[Interruption]:
    """An installed Interruption; the handlers that were there come back afterwards."""
    previous = {number: signal.getsignal(number) for number in SIGNALS}
    interruption = Interruption()
    interruption.install()
    try:
        yield interruption
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in previous.items():
                signal.signal(number, handler)
