"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable

_SHORTEST, _LONGEST = 0.002, 0.05


def wait_for(condition: Callable[[], bool], *, timeout: float) -> bool:
    """Whether `condition` became true within `timeout` seconds; it is asked ever less often."""
    deadline = time.monotonic() + timeout
    pause = _SHORTEST
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST)
    return True
