"""Moves the bytes between clients and PostgreSQL.

Each connection of a client has one of our own to PostgreSQL's port, opened when the client has said what
it wants. Neither side is read faster than the other takes it, so that a connection never holds more than a
few hundred kilobytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from azpg_runtime.errors import EntraError
from azpg_runtime.postgres.entra.access import Access, AccessFile
from azpg_runtime.postgres.front.greeting import (
    Answer,
    Encrypt,
    Forward,
    Greeting,
    Refuse,
    Step,
    error_response,
)
from azpg_runtime.postgres.front.login import Enter, Login, nobody
from azpg_runtime.postgres.front.login import Step as LoginStep
from azpg_runtime.postgres.front.tls import TlsChannel
from azpg_runtime.system.tcp_owners import owner_of_listener

log = logging.getLogger(__name__)

GREETING_TIMEOUT = 60.0
"""Seconds until a client must have said what it wants, as PostgreSQL's authentication_timeout."""
_CONNECT_TIMEOUT = 10.0
_LINGER = 1.0
"""Seconds that a client which still talks has for reading the last words when PostgreSQL has left."""
_BUFFER = 256 * 1024
"""Bytes that may wait to be written before the other side is no longer read."""
_CHUNK = 64 * 1024
_ABSENT = (ConnectionRefusedError, FileNotFoundError)
"""What connecting to a server that does not run raises: by its port, or by its socket."""


@dataclass(eq=False)
class Front:
    """What all connections share.

    Attributes:
        instance: the name, for messages.
        port: PostgreSQL's own, on 127.0.0.1.
        context: how to speak TLS.
        access: who may log in how; None for everybody with a password.
        socket: PostgreSQL's own, for those who logged in here.
        clients: those who are connected now.
    """

    instance: str
    port: int
    context: ssl.SSLContext
    greeting_timeout: float = GREETING_TIMEOUT
    access: AccessFile | None = None
    socket: Path | None = None
    clients: set[Client] = field(default_factory=set)

    def check_server(self) -> None:
        """Raises ConnectionRefusedError if another user listens where PostgreSQL did, as anybody may then.

        What a client would tell that one, passwords included, is not passed on.
        """
        if owner_of_listener(self.port) not in {None, os.geteuid()}:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "another user of this machine listens there")


class Client(asyncio.Protocol):
    """A client's connection: greeted, perhaps encrypted, then joined to PostgreSQL."""

    __slots__ = (
        *("_ended", "_finished", "_front", "_greeting", "_joining"),
        *("_login", "_server", "_timer", "_tls", "_transport"),
    )
    _transport: asyncio.Transport

    def __init__(self, front: Front) -> None:
        self._front = front
        self._greeting = Greeting()
        self._login: Login | None = None
        self._tls: TlsChannel | None = None
        self._joining: asyncio.Task[None] | None = None
        self._server: Server | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False  # the client will send no more
        self._finished = False  # the client will be sent no more

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Waits for the client's first bytes."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(_BUFFER)
        self._transport = transport
        self._front.clients.add(self)
        self._after(self._front.greeting_timeout, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Decrypts, if the client encrypts, and passes on."""
        if self._finished:
            return
        tls = self._tls
        if tls is not None:
            try:
                data = tls.receive(data)
            except ssl.SSLError as error:
                log.info("ended a connection: TLS failed: %s", error.reason or error)
                self.finish()
                return
            self._send_outgoing(tls)
        if self._server is not None:
            self._server.send(data)
        elif data:
            self._greet(data)
        if tls is not None and tls.ended and not self.eof_received():
            self._transport.close()

    def eof_received(self) -> bool:
        """Tells PostgreSQL that the client will send no more; it may still have much to say itself."""
        self._ended = True
        if self._server is not None:
            self._server.end()
        return self._server is not None or self._joining is not None

    def pause_writing(self) -> None:
        """The client does not read: PostgreSQL has to wait."""
        if self._server is not None:
            self._server.pause()

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._server is not None:
            self._server.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Leaves PostgreSQL, too."""
        self._front.clients.discard(self)
        self._stop_timer()
        self._leave()

    # What PostgreSQL's side calls

    def send(self, data: bytes) -> None:
        """Sends `data` to the client."""
        tls = self._tls
        if tls is None:
            self._transport.write(data)
        else:
            tls.send(data)
            self._transport.write(tls.outgoing())

    def pause(self) -> None:
        """Reads no more from the client for the moment."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        self._transport.resume_reading()

    def joined(self, server: Server) -> None:
        """Passes on to PostgreSQL from here on."""
        self._server = server
        self.resume()

    def finish(self) -> None:
        """Sends what is left and closes, but not while the client may still be talking.

        A socket that is closed with bytes of the client's unread would take back what was sent last.
        """
        if self._finished or self._transport.is_closing():
            return
        self._finished = True
        self._leave()
        if self._tls is not None:
            self._tls.close()
            self._send_outgoing(self._tls)
        if self._ended:
            self._transport.close()
            return
        with contextlib.suppress(OSError):
            self._transport.write_eof()
        self._transport.resume_reading()
        self._after(_LINGER, self._transport.close)

    def abort(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()

    # The greeting

    def _greet(self, data: bytes) -> None:
        self._take(self._greeting.feed(data) if self._login is None else self._login.feed(data))

    def _take(self, step: Step | LoginStep | None) -> None:
        match step:
            case Forward(received) if self._login is None:
                self._take(self._begin_login(received))
            case Answer(reply):
                self.send(reply)
                if self._login is not None:  # it may have answered before it was asked
                    self._take(self._login.feed(b""))
            case Encrypt(reply, received):
                self.send(reply)
                self._tls = TlsChannel(self._front.context, alpn_required=bool(received))
                if received:
                    self.data_received(received)
            case Refuse(reply, reason):
                if reason:
                    log.info("refused a login: %s", reason)
                self.send(reply)
                self.finish()
            case Forward(received) | Enter(received):
                self._stop_timer()
                self.pause()
                by_socket = isinstance(step, Enter)
                self._joining = asyncio.get_running_loop().create_task(
                    self._join(received, by_socket=by_socket)
                )

    def _begin_login(self, packet: bytes) -> LoginStep | None:
        """Asks for a token, if the role has one; an unreadable file lets nobody in."""
        try:
            access = self._front.access.current() if self._front.access is not None else Access()
        except (OSError, EntraError) as error:
            log.error("refused a login: %s", error)
            return nobody()
        self._login = Login(access, encrypted=self._tls is not None)
        return self._login.begin(packet)

    async def _join(self, received: bytes, *, by_socket: bool) -> None:
        """Connects to PostgreSQL, or tells the client why not."""
        loop, front = asyncio.get_running_loop(), self._front
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT):
                if by_socket:
                    await loop.create_unix_connection(lambda: Server(self, received), str(front.socket))
                else:
                    self._front.check_server()
                    await loop.create_connection(lambda: Server(self, received), "127.0.0.1", front.port)
            self._joining = None
        except OSError as error:
            self._joining = None
            self._apologise(error)
        except Exception:  # whatever it is, nobody is left waiting
            self._joining = None
            log.exception("could not join a client to PostgreSQL")
            self.abort()

    def _apologise(self, error: OSError) -> None:
        log.info("PostgreSQL does not answer on port %d: %s", self._front.port, str(error) or "too slow")
        instance = self._front.instance
        self.send(
            error_response(
                "57P03",
                f"the PostgreSQL server {instance!r} does not accept connections",
                detail=f"{os.strerror(error.errno) if error.errno else 'It does not answer'}.",
                hint=f"`azpg up {instance}` starts it." if isinstance(error, _ABSENT) else "",
            )
        )
        self.finish()

    # Odds and ends

    def _leave(self) -> None:
        """Drops PostgreSQL's side, if there is one yet or still."""
        if self._joining is not None:
            self._joining.cancel()
        if self._server is not None:
            self._server.abort()
            self._server = None

    def _send_outgoing(self, tls: TlsChannel) -> None:
        """Sends what TLS says on its own account, which a client that never reads must not pile up."""
        data = tls.outgoing()
        if data:
            self._transport.write(data)
            if self._transport.get_write_buffer_size() > 4 * _BUFFER:
                self._transport.abort()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, action)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Server(asyncio.Protocol):
    """Our connection to PostgreSQL for one client."""

    __slots__ = ("_client", "_first", "_transport")
    _transport: asyncio.Transport

    def __init__(self, client: Client, first: bytes) -> None:
        self._client = client
        self._first = first

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the client's first packet."""
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(_BUFFER)
        self._transport = transport
        transport.write(self._first)
        self._client.joined(self)

    def data_received(self, data: bytes) -> None:
        """Passes on."""
        self._client.send(data)

    def pause_writing(self) -> None:
        """PostgreSQL does not read: the client has to wait."""
        self._client.pause()

    def resume_writing(self) -> None:
        """PostgreSQL reads again."""
        self._client.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        """Passes on PostgreSQL's last words, if a failed write came before they were read."""
        if exc is not None:
            unread = self._unread()
            if unread:
                self._client.send(unread)
        self._client.finish()

    # What the client's side calls

    def send(self, data: bytes) -> None:
        """Sends `data` to PostgreSQL."""
        self._transport.write(data)

    def pause(self) -> None:
        """Reads no more from PostgreSQL for the moment."""
        self._transport.pause_reading()

    def resume(self) -> None:
        """Reads again."""
        self._transport.resume_reading()

    def end(self) -> None:
        """Says that the client will send no more."""
        with contextlib.suppress(OSError):
            self._transport.write_eof()

    def abort(self) -> None:
        """Ends the connection at once."""
        self._transport.abort()

    def _unread(self) -> bytes:
        descriptor = self._transport.get_extra_info("socket").fileno()
        pieces = []
        with contextlib.suppress(OSError):
            while piece := os.read(descriptor, _CHUNK):
                pieces.append(piece)
        return b"".join(pieces)
