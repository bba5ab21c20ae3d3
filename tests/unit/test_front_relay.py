"""The front in this process, with real sockets: a server that echoes stands where PostgreSQL would.

PostgreSQL itself stands there in integration/test_front.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg_runtime.certificates import LOCAL_NAMES, Authority
from azpg_runtime.postgres.front import relay
from azpg_runtime.postgres.front.greeting import CANCEL_REQUEST, GSSENC_REQUEST, SSL_REQUEST
from azpg_runtime.postgres.front.relay import Client, Front
from azpg_runtime.postgres.front.tls import server_context

PATIENCE = 30
STARTUP = struct.pack("!II", 8, 3 << 16)
WAYS = ["plain", "after GSSAPI", "TLS", "direct TLS"]

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("front")
    Authority(folder / "ca").certify(folder / "server.pem", subject="x", names=LOCAL_NAMES)
    return folder


class Site:
    """A front between its clients and a server."""

    def __init__(self, folder: Path, front: Front, port: int) -> None:
        self.folder = folder
        self.front = front
        self.port = port

    def trust(self, *alpn: str) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self.folder / "ca" / "ca.crt")
        if alpn:
            context.set_alpn_protocols(alpn)
        return context

    async def raw(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def connect(self, way: str) -> Streams:
        """A client that has been greeted, so that the start-up packet comes next."""
        if way == "direct TLS":
            return await asyncio.open_connection("127.0.0.1", self.port, ssl=self.trust("postgresql"))
        reader, writer = await self.raw()
        if way == "after GSSAPI":
            writer.write(struct.pack("!II", 8, GSSENC_REQUEST))
            assert await reader.readexactly(1) == b"N"
        if way == "TLS":
            writer.write(struct.pack("!II", 8, SSL_REQUEST))
            assert await reader.readexactly(1) == b"S"
            await writer.start_tls(self.trust(), server_hostname="127.0.0.1")
        return reader, writer

    async def empty(self) -> None:
        """Returns when the front has nobody left."""
        while self.front.clients:
            await asyncio.sleep(0.001)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Sends back what comes; says `bye` when nothing more comes."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.write(b"bye")
    writer.close()


@contextlib.asynccontextmanager
async def site(folder: Path, serve: Serve = echo, *, greeting_timeout: float = 60.0) -> AsyncIterator[Site]:
    """A front and the server behind it; when it is left, the front must be empty."""

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await serve(reader, writer)
        writer.transport.abort()

    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE), await asyncio.start_server(served, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        front = Front("sample", port, server_context(folder / "server.pem"), greeting_timeout)
        async with await loop.create_server(lambda: Client(front), "127.0.0.1", 0) as listening:
            made = Site(folder, front, listening.sockets[0].getsockname()[1])
            yield made
            await made.empty()


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


@settings(deadline=None, max_examples=25)
@given(
    way=st.sampled_from(WAYS),
    messages=st.lists(st.one_of(st.binary(max_size=50), st.integers(0, 300_000).map(bytes)), max_size=5),
    together=st.booleans(),
)
def test_whatever_is_sent_arrives(folder: Path, way: str, messages: list[bytes], together: bool) -> None:
    async def scenario() -> None:
        async with site(folder) as there:
            reader, writer = await there.connect(way)
            if together:
                messages[:] = [b"".join([STARTUP, *messages])]
            else:
                messages.insert(0, STARTUP)
            for message in messages:
                writer.write(message)
                assert await reader.readexactly(len(message)) == message
            await close(writer)

    run(scenario())


def test_each_way_says_what_it_is(folder: Path) -> None:
    async def scenario() -> None:
        async with site(folder) as there:
            for way in WAYS:
                _, writer = await there.connect(way)
                tls = writer.get_extra_info("ssl_object")
                assert (tls is not None) == ("TLS" in way)
                if way == "direct TLS":
                    assert tls.selected_alpn_protocol() == "postgresql"
                await close(writer)

    run(scenario())


@pytest.mark.parametrize("alpn", [(), ("h2",)])
def test_direct_tls_without_its_name_is_closed(folder: Path, alpn: tuple[str, ...]) -> None:
    async def scenario() -> None:
        async with site(folder) as there:
            reader, writer = await asyncio.open_connection("127.0.0.1", there.port, ssl=there.trust(*alpn))
            writer.write(STARTUP)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            await close(writer)

    run(scenario())


# Endings


def test_a_client_may_stop_talking_and_go_on_listening(folder: Path) -> None:
    async def scenario() -> None:
        async with site(folder) as there:
            reader, writer = await there.connect("plain")
            writer.write(STARTUP + bytes(500_000))
            writer.write_eof()
            assert await reader.read() == STARTUP + bytes(500_000) + b"bye"
            await close(writer)

    run(scenario())


@pytest.mark.parametrize("tls", [False, True])
def test_a_client_that_asks_and_leaves_is_heard(folder: Path, tls: bool) -> None:
    """As those do that cancel: a packet and the end at once, before PostgreSQL has been connected to."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())

    async def scenario() -> None:
        async with site(folder, listen) as there:
            packet = struct.pack("!IIII", 16, CANCEL_REQUEST, 1, 2)
            if tls:
                to_us, to_them = ssl.MemoryBIO(), ssl.MemoryBIO()
                client = there.trust("postgresql").wrap_bio(to_us, to_them, server_hostname="127.0.0.1")
                reader, writer = await there.raw()
                done = False
                while not done:
                    try:
                        client.do_handshake()
                        done = True
                    except ssl.SSLWantReadError:
                        writer.write(to_them.read())
                        to_us.write(await reader.read(65536))
                client.write(packet)
                with pytest.raises(ssl.SSLWantReadError):
                    client.unwrap()
                packet = to_them.read()  # the end of the handshake, the packet and close_notify
            else:
                reader, writer = await there.raw()
            writer.write(packet)
            await close(writer)
            await there.empty()
            while not heard:
                await asyncio.sleep(0.001)
            assert heard == [struct.pack("!IIII", 16, CANCEL_REQUEST, 1, 2)]

    run(scenario())


@pytest.mark.parametrize("way", WAYS)
def test_the_servers_last_words_arrive(folder: Path, way: str) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(STARTUP))
        writer.write(bytes(700_000) + b"last words")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with site(folder, talk) as there:
            reader, writer = await there.connect(way)
            writer.write(STARTUP)
            assert await reader.read() == bytes(700_000) + b"last words"
            await close(writer)

    run(scenario())


@pytest.mark.parametrize("way", WAYS)
def test_the_last_words_arrive_although_the_client_is_talking(folder: Path, way: str) -> None:
    """As when a session is terminated during COPY: the server leaves with the client's bytes unread."""

    async def interrupt(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(STARTUP))
        writer.write(b"FATAL")
        await writer.drain()
        writer.transport.abort()

    async def scenario() -> None:
        async with site(folder, interrupt) as there:
            reader, writer = await there.connect(way)
            writer.write(STARTUP)
            for _ in range(20):
                writer.write(bytes(65536))
            assert await reader.readexactly(5) == b"FATAL"
            await close(writer)

    run(scenario())


@pytest.mark.parametrize("way", ["plain", "TLS"])
def test_talking_to_a_server_that_has_left_takes_nothing_back(folder: Path, way: str) -> None:
    """A socket that is closed answers with a reset, upon which what is on the way is thrown away."""

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(STARTUP))
        writer.write(bytes(1_000_000))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with site(folder, leave) as there:
            reader, writer = await there.connect(way)
            writer.write(STARTUP)
            (client,) = there.front.clients
            while not (client._finished or client._transport.is_closing()):
                await asyncio.sleep(0.001)
            writer.write(bytes(100))
            assert await reader.read() == bytes(1_000_000)
            await close(writer)

    run(scenario())


def test_a_client_that_is_gone_takes_its_server_along(folder: Path) -> None:
    left = asyncio.Event()

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        left.set()

    async def scenario() -> None:
        async with site(folder, wait) as there:
            reader, writer = await there.connect("TLS")
            writer.write(STARTUP)
            assert await reader.readexactly(5) == b"hello"
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()  # which is a reset, no end
            await left.wait()

    run(scenario())


def test_a_client_that_does_not_leave_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_LINGER", 0.01)

    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        await writer.drain()

    async def scenario() -> None:
        async with site(folder, leave) as there:
            reader, writer = await there.connect("plain")
            writer.write(STARTUP)
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b"bye"
            await there.empty()
            await close(writer)

    run(scenario())


# Clients that stall, lie, or come too early


@pytest.mark.parametrize(
    "stall",
    [
        b"",
        STARTUP[:5],
        struct.pack("!II", 8, SSL_REQUEST),
        struct.pack("!II", 8, GSSENC_REQUEST),
        b"\x16\x03\x01",
    ],
)
def test_whoever_stalls_is_sent_away(folder: Path, stall: bytes) -> None:
    async def scenario() -> None:
        async with site(folder, greeting_timeout=0.05) as there:
            reader, writer = await there.raw()
            writer.write(stall)
            with contextlib.suppress(ConnectionError):
                assert len(await reader.read()) <= 1
            await there.empty()
            await close(writer)

    run(scenario())


def test_whoever_has_been_greeted_may_take_their_time(folder: Path) -> None:
    async def scenario() -> None:
        async with site(folder, greeting_timeout=0.3) as there:
            reader, writer = await there.connect("TLS")
            writer.write(STARTUP)
            await reader.readexactly(len(STARTUP))
            (client,) = there.front.clients
            assert client._timer is None
            await close(writer)

    run(scenario())


def test_stalling_hinders_nobody_else(folder: Path) -> None:
    async def scenario() -> None:
        async with site(folder) as there:
            stalling = [await there.raw() for _ in range(40)]
            for number, (_, writer) in enumerate(stalling):
                writer.write(
                    [STARTUP[:7], struct.pack("!II", 8, SSL_REQUEST), b"\x16\x03\x01\x02"][number % 3]
                )
            for way in WAYS:
                reader, writer = await there.connect(way)
                writer.write(STARTUP)
                assert await reader.readexactly(len(STARTUP)) == STARTUP
                await close(writer)
            for _, writer in stalling:
                await close(writer)

    run(scenario())


def test_what_is_sent_too_early_is_refused_in_words(folder: Path) -> None:
    async def scenario() -> None:
        async with site(folder) as there:
            reader, writer = await there.raw()
            writer.write(struct.pack("!II", 8, SSL_REQUEST) + STARTUP)
            said = await reader.read()
            assert said[:1] == b"E"
            assert b"\0C08P01\0Mreceived unencrypted data after SSL request\0" in said
            await close(writer)

    run(scenario())


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", bytes(100), b"\x16" + bytes(100)])
def test_garbage_is_closed(folder: Path, garbage: bytes) -> None:
    async def scenario() -> None:
        async with site(folder) as there:
            reader, writer = await there.raw()
            writer.write(garbage)
            with contextlib.suppress(ConnectionError):
                said = await reader.read()
                assert said[:1] in {b"", b"\x15"}, "nothing, or an alert of TLS"
            await close(writer)

    run(scenario())


@pytest.mark.parametrize("way", WAYS)
def test_without_a_server_the_client_is_told(
    folder: Path, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")

    async def scenario() -> None:
        async with site(folder) as there:
            with socket.socket() as nobody:  # bound, but it does not listen
                nobody.bind(("127.0.0.1", 0))
                there.front.port = nobody.getsockname()[1]
                reader, writer = await there.connect(way)
                writer.write(STARTUP)
                said = await reader.read()
            assert said[5:].split(b"\0")[:6] == [
                b"SFATAL",
                b"VFATAL",
                b"C57P03",
                b"Mthe PostgreSQL server 'sample' does not accept connections",
                b"DConnection refused.",
                b"H`azpg up sample` starts it.",
            ]
            await close(writer)

    run(scenario())
    assert "PostgreSQL does not answer on port" in caplog.text


@pytest.fixture
def full() -> Iterator[int]:
    """The port of a server whose queue is full, so that the next connection waits."""
    with socket.socket() as server, contextlib.ExitStack() as stack:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(server.getsockname())
        yield server.getsockname()[1]


def test_a_server_that_does_not_answer_is_not_waited_for(
    folder: Path, full: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_CONNECT_TIMEOUT", 0.05)

    async def scenario() -> None:
        async with site(folder) as there:
            there.front.port = full
            reader, writer = await there.connect("plain")
            writer.write(STARTUP)
            assert b"\0DIt does not answer.\0\0" in await reader.read()
            await close(writer)

    run(scenario())


def test_nobody_is_connected_to_postgresql_who_is_gone(folder: Path, full: int) -> None:
    async def scenario() -> None:
        async with site(folder) as there:
            there.front.port = full
            _, writer = await there.connect("plain")
            writer.write(STARTUP)
            (client,) = there.front.clients
            while client._joining is None:
                await asyncio.sleep(0.001)
            joining = client._joining
            client.abort()
            with pytest.raises(asyncio.CancelledError):
                await joining
            await close(writer)

    run(scenario())


# Bounds


@pytest.mark.parametrize("way", ["plain", "TLS"])
def test_a_server_that_does_not_read_holds_its_client_up(folder: Path, way: str) -> None:
    go_on = asyncio.Event()
    total = 64 * 1024 * 1024

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await go_on.wait()
        received = 0
        while received < total and (data := await reader.read(2**20)):
            received += len(data)
        writer.write(b"%d" % received)
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with site(folder, slow) as there:
            reader, writer = await there.connect(way)
            writer.write(STARTUP)
            sent = len(STARTUP)

            async def send() -> None:
                nonlocal sent
                while sent < total:
                    piece = bytes(min(65536, total - sent))
                    writer.write(piece)
                    await writer.drain()
                    sent += len(piece)

            sending = asyncio.create_task(send())
            (client,) = there.front.clients
            while client._server is None or client._transport.is_reading():
                await asyncio.sleep(0.001)
            assert sent < total
            held = client._server._transport.get_write_buffer_size()
            assert held <= relay._BUFFER + 2**20
            assert not sending.done()
            go_on.set()
            await sending
            assert await reader.read() == b"%d" % total
            await close(writer)

    run(scenario())


@pytest.mark.parametrize("way", ["plain", "TLS"])
def test_a_client_that_does_not_read_holds_its_server_up(folder: Path, way: str) -> None:
    total = 64 * 1024 * 1024
    sent = 0

    async def talkative(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < total:
            writer.write(bytes(65536))
            await writer.drain()
            sent += 65536
        writer.close()
        await writer.wait_closed()

    async def scenario() -> None:
        async with site(folder, talkative) as there:
            reader, writer = await there.connect(way)
            writer.write(STARTUP)
            (client,) = there.front.clients
            while client._server is None or client._server._transport.is_reading():
                await asyncio.sleep(0.001)
            assert sent < total
            assert client._transport.get_write_buffer_size() <= relay._BUFFER + 2**20
            received = 0
            while data := await reader.read(2**20):
                received += len(data)
            assert received == total
            await close(writer)

    run(scenario())
