"""The whole program, with a cloud that only writes down what it is asked for."""

from __future__ import annotations

from typing import Any

import pytest

from . import cloud
from .cloud import Cloud, up

DEFAULT = {
    "ResourceGroup": ["group"],
    "FlexibleServer": ["server"],
    "Server": ["server"],
    "Databases": ["database"],
    "Database": ["database-app"],
    "ServerParameters": ["parameter"],
    "Configuration": ["parameter-azure.extensions"],
    "AiAccount": ["ai"],
    "Account": ["ai"],
    "Deployment": ["ai-text-embedding-3-small"],
    "ModelUser": ["server-uses-models"],
    "RoleAssignment": ["server-uses-models"],
}


def made(found: Cloud) -> dict[str, list[str]]:
    names: dict[str, list[str]] = {}
    for resource in found.resources:
        names.setdefault(resource.kind, []).append(resource.name)
    return names


def test_the_default_stack() -> None:
    assert made(up()) == DEFAULT


def test_outputs() -> None:
    found = up()
    server = found.one("Server")["serverName"]
    assert found.outputs == {
        "server_id": f"/fake/Server/{server}",
        "server_name": server,
        "host": f"{server}.postgres.database.azure.com",
        "port": 5432,
        "admin_user": "pgadmin",
        "admin_password": cloud.PASSWORD,
        "databases": ["app"],
        "extensions": ["azure_ai", "vector"],
        "restart_required": [],
        "ai_endpoint": f"https://{found.one('Account')['accountName']}.openai.azure.com/",
        "ai_deployments": ["text-embedding-3-small"],
    }
    assert found.secret_outputs == {"admin_password"}


def test_the_password_is_a_secret_wherever_it_goes() -> None:
    found = up()
    assert found.one("Server").secret == {"administratorLoginPassword"}
    others = [resource.inputs for resource in found.resources if resource.kind != "Server"]
    assert cloud.PASSWORD not in repr(
        [others, [found.outputs[key] for key in found.outputs if key != "admin_password"]]
    )


def test_the_twin_says_host_and_port() -> None:
    twin: dict[str, dict[str, Any]] = {"server": {"fullyQualifiedDomainName": "127.0.0.1:29366"}}
    found = up(cloud=Cloud(computed=twin))
    assert (found.outputs["host"], found.outputs["port"]) == ("127.0.0.1", 29366)


@pytest.mark.parametrize("stack", ["dev", "Prod_EU", "a" * 90])
def test_derived_names(stack: str) -> None:
    first, again = up(stack=stack).one("Server")["serverName"], up(stack=stack).one("Server")["serverName"]
    assert first == again
    assert first.startswith("azpg-")
    assert 3 <= len(first) <= 63
    assert first == first.lower()
    assert first != up(stack=stack + "x").one("Server")["serverName"]
