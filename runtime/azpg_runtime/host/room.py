"""Room for what requests keep in memory: bytes that they share, and a queue for when there are none left."""

from __future__ import annotations

import asyncio
from collections import deque

PASSES = 64
"""How many later requests may go in before one that waits for more room than they."""


class Place:
    """A request's bytes in a room, from asking for them until `leave`.

    Attributes:
        size: bytes.
        inside: whether they are granted.
        granted: done when they are, if nobody who waited for it has been cancelled.
        passed_by: later requests that went in earlier.
    """

    def __init__(self, room: Room, size: int) -> None:
        self.size = size
        self.inside = False
        self.granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.passed_by = 0
        self._room: Room | None = room

    def leave(self) -> None:
        """Gives the bytes back, or stops waiting for them. Harmless the second time."""
        if self._room is not None:
            self._room._leave(self)
            self._room = None


class Room:
    """Lets requests in as long as their bytes together are no more than `size`.

    Who comes first goes first; but while one waits for much room, later ones that need less go in, up to
    `PASSES` of them, so that it gets its turn, too. A request that is larger than the whole room goes in when
    nobody else is there. All methods belong to the event loop's thread.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.taken = 0
        self._waiting: deque[Place] = deque()

    def ask(self, size: int) -> Place:
        """A place of `size` bytes, whose `granted` is done at once or as soon as there is room."""
        place = Place(self, size)
        self._waiting.append(place)
        self._admit()
        return place

    def _leave(self, place: Place) -> None:
        if place.inside:
            self.taken -= place.size
        else:
            self._waiting.remove(place)
        self._admit()

    def _admit(self) -> None:
        stay: list[Place] = []
        for place in list(self._waiting):
            if self.taken == 0 or self.taken + place.size <= self.size:
                self._waiting.remove(place)
                self.taken += place.size
                place.inside = True
                if not place.granted.done():
                    place.granted.set_result(None)
                for passed in stay:
                    passed.passed_by += 1
            else:
                stay.append(place)
            if any(waiting.passed_by >= PASSES for waiting in stay):
                break
