"""The proxy over real sockets: what it passes on, what it refuses, how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from azpg_runtime.arm.identity.connect import ESTABLISHED
from azpg_runtime.arm.identity.proxy import Limits, Proxy

PATIENCE = 30
CONNECT = b"CONNECT management.azure.com:443 HTTP/1.1\r\n\r\n"
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Twin:
    """Stands where the ARM twin will: it sends back what it gets, and counts who came."""

    def __init__(self) -> None:
        self.connections = 0
        self.open = 0

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.write_eof()
        except OSError:
            pass
        finally:
            self.open -= 1
            writer.close()


@contextlib.asynccontextmanager
async def proxied(limits: Limits | None = None) -> AsyncIterator[tuple[Twin, int]]:
    twin = Twin()
    server = await asyncio.start_server(twin.accept, "127.0.0.1", 0)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    async with server, Proxy(server.sockets[0].getsockname()[1], limits).serving(listener):
        yield twin, port


@contextlib.asynccontextmanager
async def client(port: int, first: bytes = b"") -> AsyncIterator[Streams]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(first)
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(PATIENCE):
            await test()

    asyncio.run(bounded())


async def until(condition: Callable[[], Any]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    "host",
    [b"management.azure.com", b"Login.MicrosoftOnline.com", b"login.windows.net", b"127.0.0.1", b"[::1]"],
)
def test_hosts_that_are_the_twin(host: bytes) -> None:
    async def test() -> None:
        async with proxied() as (twin, port), client(port) as (reader, writer):
            writer.write(b"CONNECT " + host + b":443 HTTP/1.1\r\n\r\nfirst ")
            assert await reader.readexactly(len(ESTABLISHED)) == ESTABLISHED
            writer.write(b"second")
            assert await reader.readexactly(12) == b"first second"
            writer.write_eof()
            assert await reader.read() == b""
            await until(lambda: twin.open == 0)
            assert twin.connections == 1

    run(test)


def test_much_at_a_time_in_both_directions() -> None:
    size = 8_000_000

    async def test() -> None:
        async with proxied() as (_, port), client(port, CONNECT) as (reader, writer):
            await reader.readexactly(len(ESTABLISHED))

            async def send() -> None:
                writer.write(bytes(size))
                await writer.drain()
                writer.write_eof()

            sending = asyncio.create_task(send())
            assert len(await reader.read(-1)) == size
            await sending

    run(test)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n", b"405"),
        (b"CONNECT example.com:22 HTTP/1.1\r\n\r\n", b"403"),
        (
            b"CONNECT pypi.org:443 HTTP/1.1\r\n\r\n",
            b"403 Only the ARM twin is here - use a shell without azpg arm env\r\n",
        ),
        (b"x" * 100_000, b"431"),
        (b"\x16\x03\x01\r\n\r\n", b"400"),
    ],
)
def test_refusals_reach_the_client_and_nothing_the_twin(request_: bytes, status: bytes) -> None:
    async def test() -> None:
        async with proxied() as (twin, port), client(port, request_) as (reader, _):
            reply = await reader.read()
            assert reply.startswith(b"HTTP/1.1 " + status)
            assert reply.endswith(b".\n")
            assert twin.connections == 0

    run(test)


def test_twin_that_does_not_run() -> None:
    async def test() -> None:
        with socket.create_server(("127.0.0.1", 0)) as unused:
            closed = unused.getsockname()[1]
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        async with Proxy(closed).serving(listener), client(port, CONNECT) as (reader, _):
            reply = await reader.read()
            assert reply.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
            assert b"the ARM twin does not answer; `azpg arm up` starts it" in reply

    run(test)


def test_slow_clients_are_told() -> None:
    async def test() -> None:
        async with proxied(Limits(head=0.05)) as (_, port), client(port, CONNECT[:10]) as (reader, _):
            reply = await reader.read()
            assert reply.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"no whole request came within 0.05 s" in reply

    run(test)


def test_silent_tunnels_end() -> None:
    async def test() -> None:
        async with proxied(Limits(idle=0.05)) as (twin, port), client(port, CONNECT) as (reader, _):
            assert await reader.read() == ESTABLISHED
            await until(lambda: twin.connections == 1 and twin.open == 0)

    run(test)


def test_busy_tunnels_do_not() -> None:
    async def test() -> None:
        idle = 0.5
        async with proxied(Limits(idle=idle)) as (_, port), client(port, CONNECT) as (reader, writer):
            await reader.readexactly(len(ESTABLISHED))
            end = asyncio.get_running_loop().time() + 2 * idle
            while asyncio.get_running_loop().time() < end:
                writer.write(b"ping")
                assert await reader.readexactly(4) == b"ping"

    run(test)


def test_no_more_than_there_may_be() -> None:
    async def test() -> None:
        async with proxied(Limits(connections=2)) as (twin, port):
            async with client(port, CONNECT) as one, client(port, CONNECT) as two:
                for reader, _ in (one, two):
                    await reader.readexactly(len(ESTABLISHED))
                async with client(port, CONNECT) as (reader, _):
                    reply = await reader.read()
                    assert reply.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
                    assert b"2 connections are open, which is all there may be" in reply
            await until(lambda: twin.open == 0)

            async def has_room() -> bool:
                async with client(port, CONNECT) as (reader, _):
                    return (await reader.read(12)).startswith(b"HTTP/1.1 200")

            while not await has_room():
                await asyncio.sleep(0.001)

    run(test)


def test_client_that_leaves_takes_its_tunnel_along() -> None:
    async def test() -> None:
        async with proxied() as (twin, port):
            async with client(port, CONNECT) as (reader, writer):
                await reader.readexactly(len(ESTABLISHED))
                writer.transport.abort()
            await until(lambda: twin.connections == 1 and twin.open == 0)
            async with client(port, CONNECT[:5]):
                pass  # leaves before it said anything

    run(test)


def test_stop_ends_every_tunnel() -> None:
    async def test() -> None:
        async with contextlib.AsyncExitStack() as clients:
            async with proxied() as (_, port):
                reader, _ = await clients.enter_async_context(client(port, CONNECT))
                await reader.readexactly(len(ESTABLISHED))
                half, _ = await clients.enter_async_context(client(port, CONNECT[:5]))
            for each in (reader, half):
                with contextlib.suppress(ConnectionResetError):
                    assert await each.read() == b""

    run(test)


@settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=400).filter(lambda data: not data.startswith(b"CONNECT ")))
def test_whatever_comes_the_proxy_lives_and_calls_nobody(data: bytes) -> None:
    async def test() -> None:
        async with proxied() as (twin, port):
            async with client(port, data) as (reader, writer):
                writer.write_eof()
                reply = await reader.read()
                assert reply == b"" or reply.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5"))
            assert twin.connections == 0
            async with client(port, CONNECT) as (reader, _):
                assert await reader.readexactly(len(ESTABLISHED)) == ESTABLISHED

    run(test)
