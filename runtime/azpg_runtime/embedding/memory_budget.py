"""Memory for work that ends the process when it gets none: it is shared out before, and asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from azpg_runtime.errors import EmbeddingCancelled
from azpg_runtime.system.memory import check_available

_LOOK = 0.05
"""Seconds after which whoever waits looks whether it is still wanted."""


class MemoryBudget:
    """Bytes that threads take from, and give back to; whoever finds too few left waits.

    Args:
        size: bytes; more than that nobody needs.
    """

    def __init__(self, size: int) -> None:
        self._left = self._size = size
        self._given_back = threading.Condition()

    @contextmanager
    def taking(self, size: int, *, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Has so many bytes while the context lasts.

        Raises `OutOfMemory` if the system would refuse them, and `EmbeddingCancelled`.
        """
        size = min(size, self._size)
        with self._given_back:
            while self._left < size:
                if cancelled():
                    raise EmbeddingCancelled("the embedding was cancelled")
                self._given_back.wait(_LOOK)
            self._left -= size
        try:
            check_available(size)
            yield
        finally:
            with self._given_back:
                self._left += size
                self._given_back.notify_all()
