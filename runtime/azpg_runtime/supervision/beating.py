"""Signs of life of a service on an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os

from azpg_runtime.supervision.service import BEAT


def give_signs_of_life(pipe: int | None) -> None:
    """Has the running event loop write to `pipe`, if any, every `BEAT` seconds, as a busy one still does."""
    if pipe is None:
        return
    os.set_blocking(pipe, False)
    with contextlib.suppress(BlockingIOError, BrokenPipeError):  # the supervisor is stopped, or gone
        os.write(pipe, b".")
    asyncio.get_running_loop().call_later(BEAT, give_signs_of_life, pipe)
