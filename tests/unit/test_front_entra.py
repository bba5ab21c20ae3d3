"""Logins with tokens in this process: a server that echoes stands at PostgreSQL's socket and at its port."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from azpg_runtime.postgres.entra.access import AccessFile
from azpg_runtime.postgres.front.login import CLEARTEXT_PASSWORD
from tests.unit.test_front_login import Tenant, password, startup
from tests.unit.test_front_relay import PATIENCE, Site, close, echo, folder, run, site

__all__ = ["folder"]


@pytest.fixture(scope="module")
def tenant() -> Iterator[Tenant]:
    with tempfile.TemporaryDirectory() as path:  # short enough for a socket
        made = Tenant(Path(path))
        made.access.save(Path(path) / "access.json")
        yield made


@contextlib.asynccontextmanager
async def entra_site(folder: Path, tenant: Tenant, *, greeting_timeout: float = 60.0) -> AsyncIterator[Site]:
    """A front that takes tokens. At the port everything is echoed; at the socket, after a greeting."""
    path = tenant.folder / "pg.sock"

    async def by_socket(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"by the socket:")
        await echo(reader, writer)

    async with (
        await asyncio.start_unix_server(by_socket, path),
        site(folder, greeting_timeout=greeting_timeout) as made,
    ):
        made.front.access, made.front.socket = AccessFile(tenant.folder / "access.json"), path
        yield made


def test_a_good_token_leads_to_the_socket_and_a_password_to_the_port(folder: Path, tenant: Tenant) -> None:
    async def scenario() -> None:
        async with entra_site(folder, tenant) as made:
            for way in ("TLS", "direct TLS"):
                reader, writer = await made.connect(way)
                writer.write(startup())
                assert await reader.readexactly(9) == CLEARTEXT_PASSWORD
                writer.write(password(tenant.token))
                greeting = b"by the socket:" + startup()
                assert await reader.readexactly(len(greeting)) == greeting
                writer.write(b"more")
                assert await reader.readexactly(4) == b"more"
                await close(writer)
                reader, writer = await made.connect(way)
                writer.write(startup("pgadmin"))
                assert await reader.readexactly(len(startup("pgadmin"))) == startup("pgadmin")
                await close(writer)

    run(scenario())


def test_all_at_once_is_the_same(folder: Path, tenant: Tenant) -> None:
    async def scenario() -> None:
        async with entra_site(folder, tenant) as made:
            reader, writer = await made.connect("TLS")
            writer.write(startup() + password(tenant.token) + b"query")
            expected = CLEARTEXT_PASSWORD + b"by the socket:" + startup() + b"query"
            assert await reader.readexactly(len(expected)) == expected
            await close(writer)

    run(scenario())


def test_whoever_never_answers_is_sent_away(folder: Path, tenant: Tenant) -> None:
    async def scenario() -> None:
        async with entra_site(folder, tenant, greeting_timeout=0.2) as made:
            reader, writer = await made.connect("TLS")
            writer.write(startup())
            assert await reader.readexactly(9) == CLEARTEXT_PASSWORD
            writer.write(password(tenant.token)[:50])
            with contextlib.suppress(ConnectionError):
                async with asyncio.timeout(PATIENCE):
                    assert await reader.read() == b""
            await close(writer)

    run(scenario())


def test_whoever_leaves_instead_of_answering_leaves_nothing(folder: Path, tenant: Tenant) -> None:
    async def scenario() -> None:
        async with entra_site(folder, tenant) as made:
            for said in (b"", password(tenant.token)[:50]):
                reader, writer = await made.connect("TLS")
                writer.write(startup())
                assert await reader.readexactly(9) == CLEARTEXT_PASSWORD
                writer.write(said)
                await close(writer)
            await made.empty()

    run(scenario())
