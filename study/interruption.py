"""SIGINT and SIGTERM as an exception, so that a run ends the way a `with` block ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """SIGINT or SIGTERM. Not an Exception: nothing on the way out may swallow it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@contextmanager
def interruptible() -> Iterator[Callable[[], None]]:
    """The first SIGINT or SIGTERM raises Interrupted in the main thread, the second one kills.

    Gives a function that installs the handlers again, since libraries replace them. Outside the
    main thread, signals stay as they are.
    """
    signals = (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    previous = {number: signal.getsignal(number) for number in signals}

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in signals:
            signal.signal(each, signal.SIG_DFL)
        raise Interrupted(number)

    def install() -> None:
        for each in signals:
            signal.signal(each, interrupt)

    install()
    try:
        yield install
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
