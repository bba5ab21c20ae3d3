"""Something that happens in the midst of what is tested, at a moment that is counted, not timed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_EVENTS = {"open", "os.chown", "os.chmod", "os.scandir", "os.listdir"}
"""What Python says before it does it: where another process could come between."""
_told: list[Callable[[], None]] = []


def _hook(event: str, _: object) -> None:
    if event in _EVENTS:
        for tell in _told.copy():
            tell()


sys.addaudithook(_hook)  # for good: it cannot be taken away again


@contextmanager
def at_moment(number: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Within the block, calls `act` once, before what is the so-manieth such call; 1 is the first.

    Yields a list that has the number of calls so far as its only entry.
    """
    count = [0]

    def tell() -> None:
        count[0] += 1
        if count[0] == number:
            _told.remove(tell)
            try:
                act()
            finally:
                _told.append(tell)

    _told.append(tell)
    try:
        yield count
    finally:
        _told.remove(tell)
