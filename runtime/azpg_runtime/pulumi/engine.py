"""The engine that started this process, which may be killed without a word."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable


def when_gone(act: Callable[[], None]) -> None:
    """Calls `act`, in a thread of its own, once the process that started this one has ended."""
    parent = os.getppid()
    try:
        watched = os.pidfd_open(parent)
    except ProcessLookupError:
        watched = None
    except OSError:
        return  # a kernel or a sandbox that does not tell
    threading.Thread(target=_wait, args=(watched, act), daemon=True).start()


def _wait(watched: int | None, act: Callable[[], None]) -> None:
    if watched is not None:
        select.select([watched], [], [])
        os.close(watched)
    act()
