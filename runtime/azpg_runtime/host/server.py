"""The model host's socket: connections, the peer's user, replies, and giving up for those who left."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from functools import partial

from azpg_runtime.errors import ProtocolError, RuntimeTwinError
from azpg_runtime.host import protocol
from azpg_runtime.host.exchange import Exchange
from azpg_runtime.host.protocol import Frame, FrameDecoder
from azpg_runtime.host.room import Place
from azpg_runtime.host.service import Service, answer_in_time
from azpg_runtime.system.peers import peer_uid

log = logging.getLogger(__name__)

_BACKLOG = 1024
"""Callers that may queue while the host is busy or being replaced; asyncio would lower it to 100."""

_MAX_UNDER_WAY = 64
"""Requests of one connection that are worked on at once; what it sends beyond waits in the socket."""

_SMALL = 64 * 1024
"""Bytes of a request that need no room of their own; of a larger one the rest waits for it in the socket."""

_PIECE = 256 * 1024
"""Bytes of a reply that are handed to the socket at once."""

_PATIENCE = 60.0
"""Seconds for a client to send the rest of a large request, or to take the next piece of its reply."""


class Connection(asyncio.Protocol):
    """One client. When it leaves, everything it asked for is given up."""

    def __init__(
        self, service: Service, *, allowed_uids: frozenset[int], open_connections: set[Connection]
    ) -> None:
        self._service = service
        self._allowed_uids = allowed_uids
        self._open = open_connections
        self._decoder = FrameDecoder()
        self._tasks: set[asyncio.Task[None]] = set()
        self._transport: asyncio.Transport | None = None
        self._place: Place | None = None  # for the request that is coming in
        self._impatience: asyncio.TimerHandle | None = None
        self._sending = asyncio.Lock()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuses a peer that is neither us nor the server's user."""
        assert isinstance(transport, asyncio.Transport)
        uid = peer_uid(transport.get_extra_info("socket"))
        if uid not in self._allowed_uids:
            log.warning("refused a connection of user id %d", uid)
            transport.abort()
            return
        self._transport = transport
        self._open.add(self)

    def data_received(self, data: bytes) -> None:
        """Starts answering each request that is complete."""
        try:
            for frame in self._decoder.feed(data):
                exchange, self._place = Exchange(frame, self._place), None
                task = asyncio.get_running_loop().create_task(self._answer(exchange))
                self._tasks.add(task)
                task.add_done_callback(partial(self._done, exchange))
        except ProtocolError as error:
            self._end(str(error))
        self._expect()
        self._regulate()

    def _expect(self) -> None:
        """Sees to the room for a large request that has begun to come in, and that the rest of it comes."""
        if self._impatience is not None:
            self._impatience.cancel()
            self._impatience = None
        if self._decoder.announced <= _SMALL or self._transport is None:
            return
        if self._place is None:
            self._place = self._service.requests_room.ask(self._decoder.announced)
            self._place.granted.add_done_callback(lambda _: self._expect())
        if self._place.inside:
            self._impatience = asyncio.get_running_loop().call_later(_PATIENCE, self._give_up)
        self._regulate()

    def _give_up(self) -> None:
        """Ends the connection if it is the client that keeps the rest of its request back, not we."""
        if self._transport is None or self._transport.is_reading():
            self._end("a request did not arrive whole")
        else:
            self._expect()

    def pause_writing(self) -> None:
        """The client does not read its replies: nothing more is read from it."""
        self._writable.clear()
        self._regulate()

    def resume_writing(self) -> None:
        """The client reads again."""
        self._writable.set()
        self._regulate()

    def _done(self, exchange: Exchange, task: asyncio.Task[None]) -> None:
        exchange.close()
        self._tasks.discard(task)
        self._regulate()

    def _regulate(self) -> None:
        """Bounds what one client can make the host keep: replies it does not read, requests in advance."""
        if self._transport is None or self._transport.is_closing():
            return
        no_room = self._place is not None and not self._place.inside
        enough = no_room or not self._writable.is_set() or len(self._tasks) >= _MAX_UNDER_WAY
        if enough == self._transport.is_reading():
            if enough:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives up what is under way."""
        self._transport = None
        self._open.discard(self)
        if self._impatience is not None:
            self._impatience.cancel()
        if self._place is not None:
            self._place.leave()
        for task in list(self._tasks):
            task.cancel()

    def abort(self) -> None:
        """Ends the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def _end(self, reason: str) -> None:
        log.warning("ended a connection: %s", reason)
        self.abort()

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._send(await self._reply(exchange))
        except ProtocolError as error:
            self._end(str(error))
        except TimeoutError:
            self._end("a reply was not taken")

    async def _send(self, reply: Frame) -> None:
        """Writes a reply as the client takes it. Raises `TimeoutError` if it does not."""
        header, body = protocol.encode_header(reply), memoryview(reply.body)
        first = header + body[:_PIECE]
        async with self._sending:
            self._write(first)
            for at in range(_PIECE, len(body), _PIECE):
                async with asyncio.timeout(_PATIENCE):
                    await self._writable.wait()
                self._write(body[at : at + _PIECE])

    def _write(self, piece: bytes | memoryview) -> None:
        if self._transport is not None:
            self._transport.write(piece)

    async def _reply(self, exchange: Exchange) -> Frame:
        frame = exchange.frame
        try:
            return await answer_in_time(self._service, exchange)
        except ProtocolError:
            raise
        except RuntimeTwinError as error:
            return protocol.error(frame.request_id, error)
        except (asyncio.CancelledError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a library is no Exception
            log.exception("request %s failed", frame.kind.name)
            failure = RuntimeTwinError(
                f"the model host failed: {type(error).__name__}", hint="See `azpg logs --host`."
            )
            return protocol.error(frame.request_id, failure)


async def serve(service: Service, listener: socket.socket, *, allowed_uids: frozenset[int]) -> None:
    """Answers on `listener` until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    connections: set[Connection] = set()
    # create_server, not create_unix_server: the latter would unlink a socket that is the supervisor's.
    server = await loop.create_server(
        lambda: Connection(service, allowed_uids=allowed_uids, open_connections=connections),
        sock=listener,
        backlog=_BACKLOG,
    )
    service.preload()
    log.info("ready")
    await stopping.wait()
    server.close()
    for connection in list(connections):
        connection.abort()
    service.close()
