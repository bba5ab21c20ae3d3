"""Resource groups, the subscription and its providers, and what every request must have."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from azpg_runtime.arm.identity.service import IdentityService
from azpg_runtime.home import Home
from azpg_runtime.wait import wait_for
from tests.integration.azure import Azure


def test_the_life_of_a_group(azure: Azure) -> None:
    groups = azure.resources.resource_groups
    assert not groups.check_existence("life")
    made = groups.create_or_update("life", {"location": "East US", "tags": {"a": "b"}})
    assert (made.name, made.location, made.type) == ("life", "eastus", "Microsoft.Resources/resourceGroups")
    assert made.id == f"/subscriptions/{azure.subscription}/resourceGroups/life"
    assert made.properties.provisioning_state == "Succeeded"
    assert groups.check_existence("LIFE")
    assert groups.get("Life").id == made.id, "the spelling is that of its first PUT"
    assert groups.update("life", {"tags": {"c": "d"}}).tags == {"c": "d"}
    assert "life" in {one.name for one in groups.list()}
    groups.begin_delete("life").result()
    assert not groups.check_existence("life")
    with pytest.raises(ResourceNotFoundError) as caught:
        groups.get("life")
    assert caught.value.error.code == "ResourceGroupNotFound"


def test_a_group_does_not_move(azure: Azure) -> None:
    azure.group("settled")
    with pytest.raises(ResourceExistsError) as caught:
        azure.group("settled", "westeurope")
    assert caught.value.error.code == "InvalidResourceGroupLocation"
    assert "already exists in location 'eastus'" in caught.value.message


@pytest.mark.parametrize("location", ["easteurope", "global"])
def test_a_group_is_in_a_region(azure: Azure, location: str) -> None:
    with pytest.raises(HttpResponseError) as caught:
        azure.group("nowhere", location)
    assert (caught.value.status_code, caught.value.error.code) == (
        400,
        "LocationNotAvailableForResourceGroup",
    )
    assert f"The provided location '{location}' is not available for resource group." in caught.value.message
    assert not azure.resources.resource_groups.check_existence("nowhere")


def test_so_is_all_else_that_is_not_global(azure: Azure) -> None:
    group = azure.group("somewhere", "Sweden Central")
    for type_ in ("Microsoft.ManagedIdentity/userAssignedIdentities", "Microsoft.CognitiveServices/accounts"):
        body = (
            {"location": "useast", "kind": "OpenAI", "sku": {"name": "S0"}}
            if "accounts" in type_
            else {"location": "useast"}
        )
        with pytest.raises(HttpResponseError, match="Did you mean 'eastus'") as caught:
            azure.put(f"{group}/providers/{type_}/nowhere", body, "2023-01-31")
        assert caught.value.error.code == "LocationNotAvailableForResourceType"
    found = azure.raw("GET", "/providers/Microsoft.CognitiveServices/locations/useast/models")
    assert found.status == 400


def test_deleting_a_group_takes_all_that_lies_in_it(azure: Azure) -> None:
    group = azure.group("full")
    azure.put(
        f"{group}/providers/Microsoft.OperationalInsights/workspaces/logs1",
        {"location": "eastus", "properties": {}},
        "2023-09-01",
    )
    assert [one.name for one in azure.resources.resources.list_by_resource_group("full")] == ["logs1"]
    reply = azure.raw("DELETE", "/resourceGroups/full")
    assert (reply.status, reply.body) == (202, None)
    assert "/operationresults/" in reply.headers["location"]
    assert "azure-asyncoperation" not in reply.headers
    assert wait_for(lambda: azure.raw("GET", reply.headers["location"]).status == 200, timeout=30)
    assert not azure.resources.resource_groups.check_existence("full")
    azure.group("full")
    assert list(azure.resources.resources.list_by_resource_group("full")) == []


def test_every_provider_is_registered(azure: Azure) -> None:
    found = {one.namespace: one for one in azure.resources.providers.list()}
    assert {"Microsoft.DBforPostgreSQL", "Microsoft.CognitiveServices", "Microsoft.Network"} <= found.keys()
    assert {one.registration_state for one in found.values()} == {"Registered"}
    one = azure.resources.providers.register("microsoft.dbforpostgresql")
    assert (one.namespace, one.registration_state) == ("Microsoft.DBforPostgreSQL", "Registered")
    types = {type_.resource_type for type_ in one.resource_types}
    assert {"flexibleServers", "flexibleServers/configurations"} <= types


def test_the_subscription(azure: Azure) -> None:
    one = azure.raw("GET", f"/subscriptions/{azure.subscription}").body
    assert (one["subscriptionId"], one["state"]) == (azure.subscription, "Enabled")
    assert azure.raw("GET", "/subscriptions").body["value"] == [one]
    assert azure.raw("GET", "/tenants").body["value"][0]["tenantId"] == one["tenantId"]
    locations = azure.raw("GET", f"/subscriptions/{azure.subscription}/locations").body["value"]
    assert {"name": "eastus", "displayName": "East US"}.items() <= {
        (key, value) for entry in locations if entry["name"] == "eastus" for key, value in entry.items()
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "said"),
    [
        ("GET", "/resourceGroups/nowhere", 404, "ResourceGroupNotFound", "'nowhere' could not be found"),
        (
            "PUT",
            "/resourceGroups/nowhere/providers/Microsoft.DBforPostgreSQL/flexibleServers/x-y",
            404,
            "ResourceGroupNotFound",
            "'nowhere'",
        ),
        (
            "GET",
            "/providers/Microsoft.Nonsense",
            404,
            "InvalidResourceNamespace",
            "has Microsoft.Authorization",
        ),
        (
            "GET",
            "/providers/Microsoft.Nonsense/x/y",
            404,
            "InvalidResourceNamespace",
            "has Microsoft.Authorization",
        ),
        ("GET", "/providers/Microsoft.Network/nonsense/y", 404, "InvalidResourceType", "has privateDnsZones"),
        ("GET", "/resourceGroups//x", 400, "InvalidResourceId", "empty segment"),
        ("POST", "/resourceGroups/nowhere", 405, "HttpMethodNotAllowed", "Supported are GET"),
        ("PUT", "/resourceGroups", 405, "HttpMethodNotAllowed", "Supported are GET"),
        ("GET", "/nonsense", 404, "NotFound", "has nothing at '/nonsense'"),
        (
            "GET",
            "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups",
            404,
            "SubscriptionNotFound",
            "could not be found",
        ),
        (
            "GET",
            "/providers/Microsoft.Network/locations/eastus/azureAsyncOperation/1",
            404,
            "OperationNotFound",
            "'1'",
        ),
    ],
)
def test_what_is_nowhere(azure: Azure, method: str, path: str, status: int, code: str, said: str) -> None:
    reply = azure.raw(method, path, {} if method in {"PUT", "POST"} else None)
    assert (reply.status, reply.body["error"]["code"]) == (status, code)
    assert said in reply.body["error"]["message"]
    assert "retry-after" not in reply.headers


def test_a_request_without_api_version(azure: Azure) -> None:
    reply = azure.raw("GET", "/resourceGroups", version=None)
    assert (reply.status, reply.body["error"]["code"]) == (400, "MissingApiVersionParameter")


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:443", "evil@127.0.0.1", "localhost:1/x"]
)
@pytest.mark.parametrize("path", ["/resourceGroups", "/common/v2.0/.well-known/openid-configuration"])
def test_a_host_that_the_twin_is_not(azure: Azure, host: str, path: str) -> None:
    """Its links would lead there, and so would the caller's tokens."""
    reply = azure.raw("GET", path, Host=host)
    assert (reply.status, reply.body["error"]["code"]) == (421, "InvalidHostName")
    assert "evil" not in str((reply.headers, reply.body))


@pytest.mark.parametrize("host", ["management.azure.com", "login.microsoftonline.com:443", "LOCALHOST:1"])
def test_hosts_that_the_twin_is(azure: Azure, host: str) -> None:
    reply = azure.raw("GET", "/resourceGroups", Host=host)
    assert reply.status == 200


@pytest.mark.parametrize("header", ["", "Basic abc", "Bearer", "Bearer "])
def test_a_request_without_a_token(azure: Azure, header: str) -> None:
    reply = azure.raw("GET", "/resourceGroups", Authorization=header)
    assert (reply.status, reply.body["error"]["code"]) == (401, "AuthenticationFailed")
    assert reply.headers["www-authenticate"].startswith('Bearer authorization_uri="https://login.')


@pytest.mark.parametrize(
    ("audience", "lifetime", "code"),
    [
        ("https://management.azure.com", -60, "ExpiredAuthenticationToken"),
        ("https://ossrdbms-aad.database.windows.net", 60, "InvalidAuthenticationTokenAudience"),
        (None, 60, "InvalidAuthenticationToken"),
    ],
)
def test_a_request_with_another_token(
    azure: Azure, azure_home: Home, audience: str | None, lifetime: int, code: str
) -> None:
    service = IdentityService(azure_home)
    token = service.issuer.issue(service.identities.default, audience, lifetime) if audience else "nonsense"
    reply = azure.raw("GET", "/resourceGroups", Authorization=f"Bearer {token}")
    assert (reply.status, reply.body["error"]["code"]) == (401, code)
    assert "www-authenticate" in reply.headers
    assert token not in str(reply.body)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "could not be deserialized"),
        (b'{"location": NaN}', "NaN is no JSON"),
        (b'{"location": 1e999}', "Out of range float values"),
        (rb'{"location": "eastus", "tags": {"a": "\ud800"}}', "surrogates not allowed"),
        (b"[" * 100_000 + b"]" * 100_000, "could not be deserialized"),
        (b"[]", "is not a JSON object"),
        (None, "is not a JSON object"),
        ({}, "'location' is required"),
        (
            {"location": "eastus", "propperties": {}},
            "could not find member 'propperties'; did you mean 'properties'?",
        ),
        ({"location": "eastus", "tags": {"a": 1}}, "'tags.a': should be a valid string"),
        ({"location": 3}, "'location': should be a valid string"),
    ],
)
def test_a_body_that_is_none(azure: Azure, body: object, said: str) -> None:
    reply = azure.raw("PUT", "/resourceGroups/never-made", body)
    assert (reply.status, reply.body["error"]["code"]) == (400, "InvalidRequestContent")
    assert said in reply.body["error"]["message"]
    assert not azure.resources.resource_groups.check_existence("never-made")


def test_what_a_name_may_be(azure: Azure) -> None:
    """Each name is one resource, whatever it looks like in a URL."""
    zones = "/resourceGroups/names/providers/Microsoft.Network/privateDnsZones"
    azure.group("names")
    names = ["a?b", "a#b", "a%3Fb", "a b", "ä", "a"]
    for name in names:
        assert azure.raw("PUT", f"{zones}/{quote(name)}", {"location": "global"}).body["name"] == name
    assert azure.raw("DELETE", f"{zones}/{quote('a?b')}").status in {200, 202, 204}
    assert {one["name"] for one in azure.raw("GET", zones).body["value"]} == {*names} - {"a?b"}


def test_a_path_that_cannot_be_printed(azure: Azure) -> None:
    reply = azure.raw("GET", "/resourceGroups/a%1Bforged")
    assert (reply.status, reply.body["error"]["code"]) == (400, "InvalidResourceId")
    assert "cannot be printed" in reply.body["error"]["message"]
    assert "\x1bforged" not in azure.twin.files.log.read_text()


def test_a_body_without_end(azure: Azure) -> None:
    reply = azure.raw("PUT", "/resourceGroups/wrong", b" " * (4 * 1024 * 1024 + 1))
    assert (reply.status, reply.body["error"]["code"]) == (413, "RequestEntityTooLarge")


def test_group_names(azure: Azure) -> None:
    with pytest.raises(HttpResponseError, match="is not allowed: it must match"):
        azure.group("ends-with-a-dot.")


def test_heads_have_no_body(azure: Azure) -> None:
    azure.group("headed")
    reply = azure.raw("HEAD", "/resourceGroups/headed")
    assert (reply.status, reply.body) == (204, None)
    assert azure.raw("HEAD", "/resourceGroups/nowhere").status == 404
