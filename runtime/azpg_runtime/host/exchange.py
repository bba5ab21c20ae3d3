"""One request on its way to a reply."""

from __future__ import annotations

from azpg_runtime.host.protocol import Frame
from azpg_runtime.host.room import Place, Room


class Exchange:
    """A request, and the room that it and its reply take in the host's memory.

    Args:
        frame: the request.
        place: the room of its body, if it is large enough to need any.
    """

    def __init__(self, frame: Frame, place: Place | None = None) -> None:
        self.frame = frame
        self._request = place
        self._reply: Place | None = None

    def read(self) -> None:
        """Frees the body; what was in it has been read."""
        self.frame.release()
        if self._request is not None:
            self._request.leave()

    async def reserve(self, room: Room, size: int) -> None:
        """Waits for the room that the reply takes."""
        self._reply = room.ask(size)
        await self._reply.granted

    def close(self) -> None:
        """Leaves all room: the reply is sent, or there will be none."""
        for place in (self._request, self._reply):
            if place is not None:
                place.leave()
