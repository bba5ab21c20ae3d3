"""How a command that works for long is asked to end: once kindly, twice at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from types import FrameType

from azpg.output import say
from azpg.process import Terminated


class Stop(threading.Event):
    """Set after the first SIGINT or SIGTERM; `number` is the signal's, 0 before there was one."""

    number = 0


@contextmanager
def stopping() -> Iterator[Stop]:
    """Yields what the first SIGINT or SIGTERM sets; the second one raises as it does elsewhere."""
    stop = Stop()
    # A handler may interrupt its own thread in the midst of a write to standard error, or of `stop.wait`, and
    # must not take the locks that are held there: it leaves both to a thread. `SimpleQueue.put` is reentrant.
    signals: SimpleQueue[int] = SimpleQueue()

    def asked(number: int, frame: FrameType | None) -> None:
        if stop.number:
            raise Terminated if number == signal.SIGTERM else KeyboardInterrupt
        stop.number = number
        signals.put(number)

    def heed() -> None:
        if signals.get():
            stop.set()
            say("Finishing the batch at hand; once more undoes it.")

    # A daemon: a signal before the handlers are there, or after, leaves nobody who would tell it to end.
    heeding = threading.Thread(target=heed, name="azpg-stopping", daemon=True)
    heeding.start()
    before = {number: signal.signal(number, asked) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.put(0)
        heeding.join()
