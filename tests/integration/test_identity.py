"""Unmodified programs get tokens from the twin's own endpoints: azure-identity, with nothing but an environment."""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterator
from typing import Any

import jwt
import pytest

from azpg_runtime.arm.identity.tokens import MANAGEMENT
from tests.integration.identities import PATIENCE, Service, running_service


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with running_service() as found:
        yield found


def claims(service: Service, token: str, audience: str = MANAGEMENT[0]) -> dict[str, Any]:
    return dict(service.issuer.verify(token, audience).all)


DEFAULT_SYNC = """
import json, sys
from azure.identity import DefaultAzureCredential
with DefaultAzureCredential() as credential:
    token = credential.get_token("https://management.azure.com/.default")
json.dump({"token": token.token, "expires_on": token.expires_on}, sys.stdout)
"""
DEFAULT_AIO = """
import asyncio, json, sys
from azure.identity.aio import DefaultAzureCredential
async def main():
    async with DefaultAzureCredential() as credential:
        return await credential.get_token("https://management.azure.com/.default")
token = asyncio.run(main())
json.dump({"token": token.token, "expires_on": token.expires_on}, sys.stdout)
"""
SECRET_SYNC = """
import json, os, sys
from azure.identity import ClientSecretCredential
with ClientSecretCredential(os.environ["TENANT"], os.environ["CLIENT"], os.environ["SECRET"]) as credential:
    token = credential.get_token("https://management.azure.com/.default")
json.dump({"token": token.token, "expires_on": token.expires_on}, sys.stdout)
"""
SECRET_AIO = """
import asyncio, json, os, sys
from azure.identity.aio import ClientSecretCredential
async def main():
    async with ClientSecretCredential(
        os.environ["TENANT"], os.environ["CLIENT"], os.environ["SECRET"]
    ) as credential:
        return await credential.get_token("https://management.azure.com/.default")
token = asyncio.run(main())
json.dump({"token": token.token, "expires_on": token.expires_on}, sys.stdout)
"""


@pytest.mark.parametrize("program", [DEFAULT_SYNC, DEFAULT_AIO], ids=["sync", "aio"])
def test_default_credential_is_the_default_identity(service: Service, program: str) -> None:
    got = service.run(program)
    found = claims(service, got["token"])
    assert found["oid"] == service.identities.default.object_id
    assert found["tid"] == service.identities.tenant_id
    assert abs(found["exp"] - got["expires_on"]) < PATIENCE


@pytest.mark.parametrize("program", [DEFAULT_SYNC, DEFAULT_AIO], ids=["sync", "aio"])
def test_managed_identity_credential_by_itself(service: Service, program: str) -> None:
    got = service.run(program.replace("DefaultAzureCredential", "ManagedIdentityCredential"))
    assert claims(service, got["token"])["oid"] == service.identities.default.object_id


@pytest.mark.parametrize("program", [SECRET_SYNC, SECRET_AIO], ids=["sync", "aio"])
def test_client_secret_through_the_proxy(service: Service, program: str) -> None:
    identity, secret = service.identities.add_application("deployer")
    got = service.run(program, TENANT=service.identities.tenant_id, CLIENT=identity.client_id, SECRET=secret)
    found = claims(service, got["token"])
    assert found["oid"] == identity.object_id
    assert found["appid"] == identity.client_id


@pytest.mark.parametrize("program", [SECRET_SYNC, SECRET_AIO], ids=["sync", "aio"])
def test_client_secret_that_is_another(service: Service, program: str) -> None:
    identity, _ = service.identities.add_application("mistaken")
    done = service.attempt(
        program, TENANT=service.identities.tenant_id, CLIENT=identity.client_id, SECRET="not-the-secret"
    )
    assert done.returncode == 1
    assert "AADSTS7000215: Invalid client secret provided for app" in done.stderr
    assert "not-the-secret" not in done.stderr.split("ClientAuthenticationError", 1)[1]


def test_environment_credential_of_a_service_principal(service: Service) -> None:
    identity, secret = service.identities.add_application("from-environment")
    got = service.run(DEFAULT_SYNC, AZURE_CLIENT_ID=identity.client_id, AZURE_CLIENT_SECRET=secret)
    assert claims(service, got["token"])["oid"] == identity.object_id


def test_managed_identity_of_a_resource_by_client_id(service: Service) -> None:
    identity = service.identities.add_managed("server", "/subscriptions/s/servers/mine")
    program = DEFAULT_SYNC.replace(
        "DefaultAzureCredential()",
        f"DefaultAzureCredential(managed_identity_client_id={identity.client_id!r})",
    )
    found = claims(service, service.run(program)["token"])
    assert found["oid"] == identity.object_id
    assert found["xms_mirid"] == "/subscriptions/s/servers/mine"


GROUPS_SYNC = """
import json, os, sys
from azure.identity import DefaultAzureCredential
from azure.mgmt.resource.resources import ResourceManagementClient
with DefaultAzureCredential() as credential:
    with ResourceManagementClient(credential, os.environ["AZURE_SUBSCRIPTION_ID"]) as client:
        client.resource_groups.create_or_update("from-sync", {"location": "eastus"})
        json.dump(sorted(group.name for group in client.resource_groups.list()), sys.stdout)
"""
GROUPS_AIO = """
import asyncio, json, os, sys
from azure.identity.aio import DefaultAzureCredential
from azure.mgmt.resource.resources.aio import ResourceManagementClient
async def main():
    async with DefaultAzureCredential() as credential:
        async with ResourceManagementClient(credential, os.environ["AZURE_SUBSCRIPTION_ID"]) as client:
            await client.resource_groups.create_or_update("from-aio", {"location": "eastus"})
            return sorted([group.name async for group in client.resource_groups.list()])
json.dump(asyncio.run(main()), sys.stdout)
"""


@pytest.mark.parametrize(("program", "name"), [(GROUPS_SYNC, "from-sync"), (GROUPS_AIO, "from-aio")])
def test_a_program_made_for_azure_reaches_the_twin(service: Service, program: str, name: str) -> None:
    """It names neither an endpoint nor a certificate: all of that is in the environment."""
    assert name in service.run(program)


def test_other_hosts_are_refused_in_words_that_clients_show(service: Service) -> None:
    program = "import requests; requests.get('https://example.com')"
    done = service.attempt(program)
    assert done.returncode == 1
    assert "403 Only the ARM twin is here - use a shell without azpg arm env" in done.stderr


# What the SDK does not show


def test_keys_verify_what_was_issued(service: Service) -> None:
    status, found = service.ask(f"/{service.identities.tenant_id}/v2.0/.well-known/openid-configuration")
    assert status == 200
    path = urllib.parse.urlsplit(found["jwks_uri"]).path
    status, keys = service.ask(path)
    assert status == 200
    assert set(keys["keys"][0]) == {"kty", "use", "alg", "kid", "n", "e"}  # nothing of the private key
    token = service.issuer.issue(service.identities.default, "https://any.example", 60)
    assert jwt.decode(
        token,
        jwt.PyJWKSet.from_dict(keys).keys[0],
        algorithms=["RS256"],
        audience="https://any.example",
        issuer=found["issuer"],
    )


def test_metadata_in_both_versions(service: Service) -> None:
    status, old = service.ask("/metadata/endpoints?api-version=2019-05-01")
    assert status == 200
    status, new = service.ask("/metadata/endpoints?api-version=2022-09-01")
    assert status == 200
    assert old == [new]
    assert new["resourceManager"] == "https://management.azure.com/"
    assert new["authentication"]["loginEndpoint"] == "https://login.microsoftonline.com"
    status, refused = service.ask("/metadata/endpoints")
    assert (status, refused["error"]["code"]) == (400, "MissingApiVersionParameter")


def test_instance_discovery_leads_to_this_tenant(service: Service) -> None:
    tenant = service.identities.tenant_id
    endpoint = urllib.parse.quote(f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize")
    status, found = service.ask(
        f"/common/discovery/instance?api-version=1.1&authorization_endpoint={endpoint}"
    )
    assert status == 200
    assert found["tenant_discovery_endpoint"].endswith(f"/{tenant}/v2.0/.well-known/openid-configuration")


@pytest.mark.parametrize(
    "path",
    [
        "/contoso/v2.0/.well-known/openid-configuration",
        "/contoso/discovery/v2.0/keys",
        "/common/discovery/instance?authorization_endpoint=https://login.microsoftonline.com/contoso/x",
        "/common/discovery/instance",
    ],
)
def test_other_tenants_are_not_here(service: Service, path: str) -> None:
    status, refused = service.ask(path)
    assert (status, refused["error"]) == (400, "invalid_tenant")
    assert refused["error_description"].startswith("AADSTS90002: Tenant ")
    assert "`azpg arm env` prints AZURE_TENANT_ID." in refused["error_description"]


WHOLE = {
    "grant_type": "client_credentials",
    "client_id": "11111111-2222-3333-4444-555555555555",
    "client_secret": "s",
    "scope": "https://management.azure.com/.default",
}


@pytest.mark.parametrize(
    ("change", "status", "error", "says"),
    [
        (
            {"grant_type": ""},
            400,
            "invalid_request",
            "AADSTS900144: The request body must contain the following parameter: 'grant_type'.",
        ),
        (
            {"grant_type": "password"},
            400,
            "unsupported_grant_type",
            "This local tenant grants client_credentials only.",
        ),
        ({"client_id": ""}, 400, "invalid_request", "'client_id'"),
        ({"client_secret": ""}, 400, "invalid_request", "'client_secret'"),
        ({"scope": ""}, 400, "invalid_request", "'scope'"),
        (
            {"scope": "https://management.azure.com"},
            400,
            "invalid_scope",
            "must have a scope value with /.default suffixed",
        ),
        ({"scope": "nonsense/.default"}, 400, "invalid_scope", "AADSTS1002012"),
        ({}, 400, "unauthorized_client", "`azpg arm principal add NAME` makes one."),
    ],
)
def test_token_requests_that_are_refused(
    service: Service, change: dict[str, str], status: int, error: str, says: str
) -> None:
    path = f"/{service.identities.tenant_id}/oauth2/v2.0/token"
    got, refused = service.ask(path, urllib.parse.urlencode(WHOLE | change))
    assert (got, refused["error"]) == (status, error)
    assert says in refused["error_description"]
    assert "access_token" not in refused


def test_token_request_of_another_tenant_or_form(service: Service) -> None:
    body = urllib.parse.urlencode(WHOLE)
    assert service.ask("/contoso/oauth2/v2.0/token", body)[1]["error"] == "invalid_tenant"
    path = f"/{service.identities.tenant_id}/oauth2/v2.0/token"
    assert service.ask(path, body, content_type="application/json")[1]["error"] == "invalid_request"
    assert service.ask(path, f"{body}&more={'x' * 70_000}")[1]["error"] == "invalid_request"


def test_client_id_of_a_managed_identity_is_no_login(service: Service) -> None:
    path = f"/{service.identities.tenant_id}/oauth2/v2.0/token"
    body = urllib.parse.urlencode(WHOLE | {"client_id": service.identities.default.client_id})
    assert service.ask(path, body)[1]["error"] == "unauthorized_client"


RESOURCE = "resource=https%3A%2F%2Fmanagement.azure.com"


@pytest.mark.parametrize("header", [None, "", "wrong"])
def test_managed_identity_needs_the_header(service: Service, header: str | None) -> None:
    headers = {} if header is None else {"X_IDENTITY_HEADER": header}
    status, refused = service.ask(f"/msi/token?{RESOURCE}", **headers)
    assert (status, refused["statusCode"]) == (401, 401)
    assert "must be the value of IDENTITY_HEADER" in refused["message"]


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "must name a service, such as https://management.azure.com"),
        ("resource=http%3A%2F%2Fplain.example", "must name a service"),
        ("resource=https%3A%2F%2Fa%20b", "must name a service"),
        (f"{RESOURCE}&client_id=nobody", "there is no identity 'nobody' in this directory"),
        (f"{RESOURCE}&mi_res_id=/nothing", "`azpg arm principal list` shows all of them"),
    ],
)
def test_managed_identity_requests_that_are_refused(service: Service, query: str, says: str) -> None:
    status, refused = service.ask(f"/msi/token?{query}", X_IDENTITY_HEADER=service.identities.header)
    assert (status, refused["statusCode"]) == (400, 400)
    assert says in refused["message"]


@pytest.mark.parametrize("name", ["client_id", "object_id", "principal_id", "mi_res_id"])
def test_managed_identity_by_any_of_its_names(service: Service, name: str) -> None:
    identity = service.identities.add_managed("account", "/subscriptions/S/accounts/AI")
    key = {
        "client_id": identity.client_id.upper(),
        "object_id": identity.object_id,
        "principal_id": identity.object_id,
        "mi_res_id": "/SUBSCRIPTIONS/s/accounts/ai",
    }[name]
    status, got = service.ask(
        f"/msi/token?{RESOURCE}&{name}={key}", X_IDENTITY_HEADER=service.identities.header
    )
    assert status == 200
    assert claims(service, got["access_token"])["oid"] == identity.object_id
    assert got["resource"] == "https://management.azure.com"
    assert isinstance(got["expires_on"], str)
