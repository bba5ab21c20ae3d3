"""The SDK's asynchronous clients, whose transport and pollers are others, over the whole life of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.mgmt.cognitiveservices.aio import CognitiveServicesManagementClient
from azure.mgmt.postgresqlflexibleservers import models as pg
from azure.mgmt.postgresqlflexibleservers.aio import PostgreSQLManagementClient
from azure.mgmt.resource.resources.aio import ResourceManagementClient

from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.postgres.instance import Instance
from tests.integration.azure import PASSWORD, Azure, server_model
from tests.integration.test_arm_accounts import account, deployment

GROUP, NAME, AI = "asynchronous", "asynchronous-server", "asynchronous-ai"


class Credential:
    """The token of the synchronous clients' credential."""

    def __init__(self, azure: Azure) -> None:
        self._credential = azure.credential

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return self._credential.get_token(*scopes)

    async def close(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


@dataclass(frozen=True)
class Clients:
    resources: ResourceManagementClient
    postgres: PostgreSQLManagementClient
    cognitive: CognitiveServicesManagementClient


@asynccontextmanager
async def clients(azure: Azure) -> AsyncIterator[Clients]:
    who: Any = Credential(azure)
    options: dict[str, Any] = {
        "base_url": azure.endpoint,
        "connection_verify": azure.twin.environment()["REQUESTS_CA_BUNDLE"],
        "use_env_settings": False,
        "retry_total": 0,
    }
    async with (
        ResourceManagementClient(who, azure.subscription, **options) as resources,
        PostgreSQLManagementClient(who, azure.subscription, **options) as postgres,
        CognitiveServicesManagementClient(who, azure.subscription, **options) as cognitive,
    ):
        yield Clients(resources, postgres, cognitive)


async def done(poller: Any) -> Any:
    """The result of what a `begin_` method returns when it is awaited."""
    return await (await poller).result()


def test_the_life_of_a_server(azure: Azure) -> None:
    asyncio.run(life(azure, Instance(NAME, home=azure.twin.files.home)))


async def life(azure: Azure, instance: Instance) -> None:
    async with clients(azure) as client:
        groups, servers = client.resources.resource_groups, client.postgres.servers
        await groups.create_or_update(GROUP, {"location": "eastus"})
        model = server_model(auth_config=pg.AuthConfig(active_directory_auth="Enabled"))
        made = await done(servers.begin_create_or_update(GROUP, NAME, model))
        assert (made.name, made.state) == (NAME, "Ready")
        assert made.fully_qualified_domain_name == f"127.0.0.1:{instance.status().tls_port}"
        assert [one.name async for one in servers.list_by_resource_group(GROUP)] == [NAME]
        await configure(client.postgres.configurations)
        await fill(client.postgres.databases, instance)
        await open_up(client.postgres.firewall_rules)
        await administrate(client.postgres.administrators_microsoft_entra, azure)
        await stop_and_go(servers, instance)
        changed = await done(servers.begin_update(GROUP, NAME, {"tags": {"a": "b"}}))
        assert changed.tags == {"a": "b"}
        await done(servers.begin_delete(GROUP, NAME))
        with pytest.raises(ResourceNotFoundError):
            await servers.get(GROUP, NAME)
        assert not instance.home.description.exists()
        await done(groups.begin_delete(GROUP))
        assert not await groups.check_existence(GROUP)


async def configure(configurations: Any) -> None:
    pages = [
        [one.name async for one in page]
        async for page in configurations.list_by_server(GROUP, NAME).by_page()
    ]
    assert len(pages) > 1
    assert {len(one) for one in pages[:-1]} == {100}
    everything = [one async for one in configurations.list_by_server(GROUP, NAME)]
    assert [one.name for one in everything] == [one for each in pages for one in each]
    assert {"work_mem", "azure.extensions", "max_connections"} <= {one.name for one in everything}
    wanted = {"properties": {"value": "vector", "source": "user-override"}}
    set_ = await done(configurations.begin_put(GROUP, NAME, "azure.extensions", wanted))
    assert set_.properties.value == "vector"
    static = {"properties": {"value": "77", "source": "user-override"}}
    set_ = await done(configurations.begin_update(GROUP, NAME, "max_connections", static))
    assert set_.properties.is_config_pending_restart
    assert (await configurations.get(GROUP, NAME, "max_connections")).properties.value == "77"


async def fill(databases: Any, instance: Instance) -> None:
    made = await done(databases.begin_create(GROUP, NAME, "app", {"properties": {"charset": "UTF8"}}))
    assert (made.name, made.properties.charset) == ("app", "UTF8")
    assert "app" in {one.name async for one in databases.list_by_server(GROUP, NAME)}
    with instance.connect(dbname="app") as connection:
        connection.execute("CREATE EXTENSION vector")
    await done(databases.begin_delete(GROUP, NAME, "app"))
    with pytest.raises(ResourceNotFoundError):
        await databases.get(GROUP, NAME, "app")


async def open_up(rules: Any) -> None:
    own = {"properties": {"startIpAddress": "1.1.1.1", "endIpAddress": "1.1.1.2"}}
    made = await done(rules.begin_create_or_update(GROUP, NAME, "one", own))
    assert made.properties.end_ip_address == "1.1.1.2"
    assert [one.name async for one in rules.list_by_server(GROUP, NAME)] == ["one"]
    await done(rules.begin_delete(GROUP, NAME, "one"))
    assert [one async for one in rules.list_by_server(GROUP, NAME)] == []


async def administrate(administrators: Any, azure: Azure) -> None:
    who = Identities(azure.twin.files.identity).default.object_id
    own = {"properties": {"principalName": "somebody", "principalType": "ServicePrincipal"}}
    made = await done(administrators.begin_create_or_update(GROUP, NAME, who, own))
    assert made.properties.principal_name == "somebody"
    assert [one.name async for one in administrators.list_by_server(GROUP, NAME)] == [who]
    await done(administrators.begin_delete(GROUP, NAME, who))
    with pytest.raises(ResourceNotFoundError):
        await administrators.get(GROUP, NAME, who)


async def stop_and_go(servers: Any, instance: Instance) -> None:
    await done(servers.begin_restart(GROUP, NAME))
    with instance.connect(user="boss", password=PASSWORD) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("77",)
    await done(servers.begin_stop(GROUP, NAME))
    assert (await servers.get(GROUP, NAME)).state == "Stopped"
    with pytest.raises(ResourceExistsError) as caught:
        await servers.begin_restart(GROUP, NAME)
    assert caught.value.error is not None
    assert caught.value.error.code == "ServerIsNotReady"
    await done(servers.begin_start(GROUP, NAME))
    assert (await servers.get(GROUP, NAME)).state == "Ready"


def test_the_life_of_an_account(azure: Azure) -> None:
    asyncio.run(account_life(azure))


async def account_life(azure: Azure) -> None:
    async with clients(azure) as client:
        await client.resources.resource_groups.create_or_update(GROUP, {"location": "eastus"})
        accounts, deployments = client.cognitive.accounts, client.cognitive.deployments
        made = await done(accounts.begin_create(GROUP, AI, account()))
        assert made.properties.provisioning_state == "Succeeded"
        assert (await accounts.list_keys(GROUP, AI)).key1
        await done(deployments.begin_create_or_update(GROUP, AI, "embed", deployment()))
        assert [one.name async for one in deployments.list(GROUP, AI)] == ["embed"]
        await done(deployments.begin_delete(GROUP, AI, "embed"))
        await done(accounts.begin_delete(GROUP, AI))
        assert AI in [one.name async for one in client.cognitive.deleted_accounts.list()]
        await done(client.cognitive.deleted_accounts.begin_purge("eastus", GROUP, AI))
        await done(client.resources.resource_groups.begin_delete(GROUP))
