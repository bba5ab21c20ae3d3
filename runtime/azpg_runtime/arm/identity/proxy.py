"""The CONNECT proxy: programs that were made for Azure reach the twin through HTTPS_PROXY, unchanged.

Port 443 of the hosts that the twin stands for is its own TLS port; all else is refused in one line.
Other hosts are refused in the status, too, which is what most clients show.
The proxy connects to nothing but the twin, so nothing that is told to use it can leave this machine by it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from azpg_runtime.arm.identity.connect import ESTABLISHED, Head, Refusal, Tunnel, refusal
from azpg_runtime.arm.identity.tls import NAMES

log = logging.getLogger(__name__)

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost.

    Attributes:
        connections: how many there may be at a time.
        head: seconds until a client must have said what it wants.
        connect: seconds until the twin must have answered.
        idle: seconds after which a tunnel through which nothing passes is closed.
        linger: seconds that a refused client has for reading why.
    """

    connections: int = 256
    head: float = 10.0
    connect: float = 10.0
    idle: float = 900.0
    linger: float = 1.0


class Proxy:
    """Serves a listening socket.

    Args:
        port: the twin's TLS port on 127.0.0.1.
        limits: see `Limits`.
    """

    def __init__(self, port: int, limits: Limits | None = None) -> None:
        self._port = port
        self._limits = limits or Limits()
        self._clients: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self, listener: socket.socket) -> AsyncIterator[None]:
        """Serves `listener` inside the block; afterwards every tunnel is closed."""
        server = await asyncio.start_server(self._accept, sock=listener, limit=_CHUNK)
        try:
            yield
        finally:
            server.close()
            clients = list(self._clients)
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
            await server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._clients.add(task)
        try:
            await self._serve(reader, writer)
        except OSError as error:
            log.info("ended a connection: %s", str(error) or "too slow")
        except asyncio.CancelledError:
            writer.transport.abort()  # the proxy stops; asyncio would report a cancelled client as an error
        finally:
            await self._close(writer)
            self._clients.discard(task)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._clients) > self._limits.connections:
            await self._refuse(
                reader,
                writer,
                refusal(
                    "503 Service Unavailable",
                    f"{self._limits.connections} connections are open, which is all there may be",
                ),
            )
            return
        try:
            async with asyncio.timeout(self._limits.head):
                wish = await _wish(reader)
        except TimeoutError:
            wish = refusal("408 Request Timeout", f"no whole request came within {self._limits.head:g} s")
        if wish is None:
            return
        if isinstance(wish, Tunnel) and wish.host.strip("[]").lower() not in NAMES:
            wish = refusal(
                "403 Only the ARM twin is here - use a shell without azpg arm env",
                f"{wish.host} is not here, only {', '.join(NAMES)}; use a shell without `azpg arm env`",
            )
        if isinstance(wish, Tunnel):
            try:
                async with asyncio.timeout(self._limits.connect):
                    twin = await asyncio.open_connection("127.0.0.1", self._port, limit=_CHUNK)
            except OSError:  # TimeoutError is one, too
                wish = refusal("502 Bad Gateway", "the ARM twin does not answer; `azpg arm up` starts it")
            else:
                await self._tunnel(wish, (reader, writer), twin)
                return
        await self._refuse(reader, writer, wish)

    async def _tunnel(
        self,
        wish: Tunnel,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        twin: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        def happened() -> None:
            if not idle.expired():
                idle.reschedule(asyncio.get_running_loop().time() + self._limits.idle)

        try:
            client[1].write(ESTABLISHED)
            twin[1].write(wish.received)
            async with asyncio.timeout(self._limits.idle) as idle, asyncio.TaskGroup() as ways:
                ways.create_task(_pass_on(client[0], twin[1], happened))
                ways.create_task(_pass_on(twin[0], client[1], happened))
        except* OSError as group:
            log.info("a tunnel for %s ended: %s", wish.host, str(group.exceptions[0]) or "nothing happened")
        finally:
            twin[1].transport.abort()

    async def _close(self, writer: asyncio.StreamWriter) -> None:
        """Closes when the last words are sent, or when a client that does not read has had its time."""
        writer.close()
        try:
            async with asyncio.timeout(self._limits.linger):
                await writer.wait_closed()
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()

    async def _refuse(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wish: Refusal
    ) -> None:
        """Says why, and gives the client time to read it: unread bytes of its own would take it back."""
        log.info("refused: %s", wish.reason)
        writer.write(wish.reply)
        with contextlib.suppress(TimeoutError, OSError):
            async with asyncio.timeout(self._limits.linger):
                await writer.drain()
                writer.write_eof()
                while await reader.read(_CHUNK):
                    pass


async def _wish(reader: asyncio.StreamReader) -> Tunnel | Refusal | None:
    """What the client wants; None if it left before it said so."""
    head = Head()
    while data := await reader.read(_CHUNK):
        wish = head.feed(data)
        if wish is not None:
            return wish
    return None


async def _pass_on(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, happened: Callable[[], None]
) -> None:
    """Passes on one direction to its end; neither side is read faster than the other takes it."""
    while data := await reader.read(_CHUNK):
        happened()
        writer.write(data)
        await writer.drain()
    if writer.can_write_eof():
        writer.write_eof()
