"""Signals to processes that are known by their number only."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


def send(pid: int, *numbers: signal.Signals, when: Callable[[], bool]) -> None:
    """Sends signals to the process `pid`, if it is still the one that is meant.

    Args:
        pid: its id; a process that is gone is left alone, and so is one that has got its number.
        numbers: the signals.
        when: whether `pid` is the process that is meant; asked when its number can no longer change hands.
    """
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    except OSError:  # a kernel before 5.3, or a container that forbids it
        _send_by_number(pid, numbers, when)
        return
    try:
        if when():
            for number in numbers:
                signal.pidfd_send_signal(process, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


def _send_by_number(pid: int, numbers: tuple[signal.Signals, ...], when: Callable[[], bool]) -> None:
    try:
        if when():
            for number in numbers:
                os.kill(pid, number)
    except ProcessLookupError:
        pass
