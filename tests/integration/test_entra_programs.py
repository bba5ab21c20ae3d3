"""Programs as Microsoft's documentation writes them log in to the twin: azure-identity's token is the password."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from azpg_runtime.postgres.entra import Principal, PrincipalType
from azpg_runtime.postgres.instance import Instance, Wishes
from tests.integration.identities import Service, running_service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service() as found:
        yield found


@pytest.fixture(scope="module")
def port(service: Service) -> str:
    """The TLS port of an instance where the default identity and an application are administrators."""
    instance = Instance("server", home=service.home)
    instance.up(Wishes(durable=False))
    instance.entra.allow(password=False, trust=service.issuer.trust)
    application, _ = service.identities.add_application("deployer")
    default = service.identities.default
    instance.entra.add(Principal(default.object_id, default.name, PrincipalType.SERVICE_PRINCIPAL))
    instance.entra.add(Principal(application.object_id, "deployer", PrincipalType.SERVICE_PRINCIPAL))
    return str(instance.status().tls_port)


SYNC = """
import json, os, sys
import psycopg
from azure.identity import DefaultAzureCredential

with DefaultAzureCredential() as credential:
    token = credential.get_token("https://ossrdbms-aad.database.windows.net/.default")
with psycopg.connect(
    host="localhost", port=os.environ["PORT"], dbname="postgres", user=os.environ["ROLE"],
    password=token.token, sslmode=os.environ["MODE"], sslrootcert=os.environ["SSL_CERT_FILE"],
) as connection:
    json.dump(connection.execute("SELECT session_user, 6 * 7").fetchone(), sys.stdout)
"""
AIO = """
import asyncio, json, os, sys
import psycopg
from azure.identity.aio import DefaultAzureCredential

async def main():
    async with DefaultAzureCredential() as credential:
        token = await credential.get_token("https://ossrdbms-aad.database.windows.net/.default")
    async with await psycopg.AsyncConnection.connect(
        host="localhost", port=os.environ["PORT"], dbname="postgres", user=os.environ["ROLE"],
        password=token.token, sslmode=os.environ["MODE"], sslrootcert=os.environ["SSL_CERT_FILE"],
    ) as connection:
        cursor = await connection.execute("SELECT session_user, 6 * 7")
        return await cursor.fetchone()

json.dump(asyncio.run(main()), sys.stdout)
"""


@pytest.mark.parametrize("mode", ["require", "verify-full"])
@pytest.mark.parametrize("program", [SYNC, AIO], ids=["sync", "aio"])
def test_the_default_credential_logs_in(service: Service, port: str, program: str, mode: str) -> None:
    name = service.identities.default.name
    assert service.run(program, PORT=port, ROLE=name, MODE=mode) == [name, 42]


@pytest.mark.parametrize("program", [SYNC, AIO], ids=["sync", "aio"])
def test_a_service_principal_logs_in(service: Service, port: str, program: str) -> None:
    identity, secret = service.identities.add_application("deployer")
    variables = {"AZURE_CLIENT_ID": identity.client_id, "AZURE_CLIENT_SECRET": secret}
    assert service.run(program, PORT=port, ROLE="deployer", MODE="verify-full", **variables) == [
        "deployer",
        42,
    ]


def test_nobody_logs_in_as_somebody_else(service: Service, port: str) -> None:
    done = service.attempt(SYNC, PORT=port, ROLE="deployer", MODE="require")
    assert done.returncode == 1
    assert 'The access token doesn\'t have a valid oid claim for role "deployer".' in done.stderr
