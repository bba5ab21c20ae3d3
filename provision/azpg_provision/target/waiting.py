"""Waiting for a server that was restarted."""

from __future__ import annotations

import time

from azpg_provision.errors import TargetUnreachable
from azpg_provision.target.target import Target

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


def until_it_answers(target: Target, *, timeout: float) -> None:
    """Returns when a login succeeds; raises the last `TargetUnreachable` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    pause = _FIRST_PAUSE
    while True:
        try:
            target.connect().close()
        except TargetUnreachable:
            if time.monotonic() + pause > deadline:
                raise
        else:
            return
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
