"""How a command that works for long is asked to end: once kindly, twice at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from azpg.output import say
from azpg.process import Terminated


class Stop(threading.Event):
    """Set by the first SIGINT or SIGTERM; `number` is the signal's, 0 before there was one."""

    number = 0


@contextmanager
def stopping() -> Iterator[Stop]:
    """Yields what the first SIGINT or SIGTERM sets; the second one raises as it does elsewhere."""
    stop = Stop()

    def asked(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        stop.number = number
        stop.set()
        say("Finishing the batch at hand; once more undoes it.")

    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
