"""Types that are kept and checked, written as Pulumi and templates write them: by their ids."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

from azpg_runtime.arm.identity.identities import Identities
from tests.integration.azure import Azure

NETWORK = {
    "location": "eastus",
    "properties": {
        "addressSpace": {"addressPrefixes": ["10.0.0.0/16"]},
        "subnets": [{"name": "first", "properties": {"addressPrefix": "10.0.0.0/24"}}],
    },
}


@pytest.fixture
def group(azure: Azure, request: pytest.FixtureRequest) -> str:
    return azure.group(f"documents-{uuid.uuid4().hex[:8]}")


def network(azure: Azure, group: str) -> str:
    return str(
        azure.put(f"{group}/providers/Microsoft.Network/virtualNetworks/net", NETWORK, "2024-05-01").id
    )


def zone(azure: Azure, group: str) -> str:
    id_ = f"{group}/providers/Microsoft.Network/privateDnsZones/x.private.postgres.database.azure.com"
    return str(azure.put(id_, {"location": "Global"}, "2024-06-01").id)


def test_a_network_and_its_subnets(azure: Azure, group: str) -> None:
    id_ = network(azure, group)
    made = azure.resources.resources.get_by_id(id_, api_version="2024-05-01")
    assert made.properties["provisioningState"] == "Succeeded"
    (first,) = made.properties["subnets"]
    assert first["id"] == f"{id_}/subnets/first"
    body = {
        "properties": {
            "addressPrefix": "10.0.1.0/24",
            "delegations": [
                {"name": "d", "properties": {"serviceName": "Microsoft.DBforPostgreSQL/flexibleServers"}}
            ],
        }
    }
    second = azure.put(f"{id_}/subnets/second", body, "2024-05-01")
    assert second.properties["delegations"][0]["properties"]["serviceName"].endswith("flexibleServers")
    again = azure.put(
        id_,
        {"location": "eastus", "properties": {"addressSpace": NETWORK["properties"]["addressSpace"]}},
        "2024-05-01",
    )  # type: ignore[index]
    assert [one["name"] for one in again.properties["subnets"]] == ["first", "second"]
    assert azure.raw("GET", f"{id_}/subnets").body["value"][1]["name"] == "second"
    azure.put(id_, NETWORK, "2024-05-01")
    with pytest.raises(ResourceNotFoundError):
        azure.resources.resources.get_by_id(f"{id_}/subnets/second", api_version="2024-05-01")


@pytest.mark.parametrize(
    ("prefix", "code"),
    [
        ("10.1.0.0/24", "NetcfgInvalidSubnet"),
        ("10.0.0.128/25", "NetcfgSubnetRangesOverlap"),
        ("10.0.1.1/24", "InvalidCIDRNotation"),
        (None, "InvalidRequestFormat"),
    ],
)
def test_subnets_that_none_is(azure: Azure, group: str, prefix: str | None, code: str) -> None:
    id_ = network(azure, group)
    with pytest.raises(HttpResponseError) as caught:
        azure.put(f"{id_}/subnets/wrong", {"properties": {"addressPrefix": prefix}}, "2024-05-01")
    assert caught.value.error.code == code


@pytest.mark.parametrize(
    ("properties", "code"),
    [
        ({"addressSpace": {}}, "InvalidAddressSpace"),
        (
            {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [{"properties": {}}]},
            "InvalidRequestFormat",
        ),
        ({}, "InvalidRequestContent"),
    ],
)
def test_networks_that_none_is(azure: Azure, group: str, properties: dict[str, Any], code: str) -> None:
    id_ = f"{group}/providers/Microsoft.Network/virtualNetworks/wrong"
    with pytest.raises(HttpResponseError) as caught:
        azure.put(id_, {"location": "eastus", "properties": properties}, "2024-05-01")
    assert caught.value.error.code == code


def test_a_private_zone_and_its_links(azure: Azure, group: str) -> None:
    id_, net = zone(azure, group), network(azure, group)
    link = {"location": "Global", "properties": {"virtualNetwork": {"id": net}, "registrationEnabled": False}}
    made = azure.put(f"{id_}/virtualNetworkLinks/link", link, "2024-06-01")
    assert made.properties["virtualNetworkLinkState"] == "Completed"
    reply = azure.raw("DELETE", id_)
    assert (reply.status, reply.body["error"]["code"]) == (409, "CannotDeleteResource")
    assert azure.raw("DELETE", f"{id_}/virtualNetworkLinks/link").status == 200
    assert azure.raw("DELETE", id_).status == 200
    assert azure.raw("DELETE", id_).status == 204


def test_conditions(azure: Azure, group: str) -> None:
    id_ = zone(azure, group)
    etag = azure.raw("GET", id_).body["etag"]
    assert azure.raw("PUT", id_, {"location": "Global"}, If_None_Match="*").status == 412
    assert azure.raw("PUT", id_, {"location": "Global"}, If_Match='"other"').status == 412
    assert azure.raw("PUT", id_, {"location": "Global"}, If_Match=etag).status == 200
    assert azure.raw("GET", id_).body["etag"] != etag


def test_zones_are_global(azure: Azure, group: str) -> None:
    id_ = f"{group}/providers/Microsoft.Network/privateDnsZones/y.z"
    with pytest.raises(HttpResponseError, match="LocationNotAvailableForResourceType"):
        azure.put(id_, {"location": "eastus"}, "2024-06-01")


def test_a_link_to_no_network(azure: Azure, group: str) -> None:
    id_ = zone(azure, group)
    link = {"location": "Global", "properties": {"virtualNetwork": {"id": f"{group}/providers/a/b/c"}}}
    with pytest.raises(ResourceNotFoundError, match="The virtual network"):
        azure.put(f"{id_}/virtualNetworkLinks/link", link, "2024-06-01")


def test_a_private_endpoint_and_its_zones(azure: Azure, group: str) -> None:
    net = network(azure, group)
    connection = {
        "name": "c",
        "properties": {"privateLinkServiceId": f"{group}/providers/x/y/z", "groupIds": ["postgresqlServer"]},
    }
    body = {
        "location": "eastus",
        "properties": {
            "subnet": {"id": f"{net}/subnets/first"},
            "privateLinkServiceConnections": [connection],
        },
    }
    id_ = f"{group}/providers/Microsoft.Network/privateEndpoints/pe"
    assert azure.put(id_, body, "2024-05-01").properties["provisioningState"] == "Succeeded"
    config = {"name": "pg", "properties": {"privateDnsZoneId": zone(azure, group)}}
    made = azure.put(
        f"{id_}/privateDnsZoneGroups/default",
        {"properties": {"privateDnsZoneConfigs": [config]}},
        "2024-05-01",
    )
    assert made.name == "default"
    azure.resources.resources.begin_delete_by_id(id_, api_version="2024-05-01").result()
    with pytest.raises(ResourceNotFoundError):
        azure.resources.resources.get_by_id(f"{id_}/privateDnsZoneGroups/default", api_version="2024-05-01")


def test_a_private_endpoint_in_a_subnet_as_it_was_read(azure: Azure, group: str) -> None:
    """The SDK's own model of a subnet holds more than the id, which is all that is answered."""
    net = network(azure, group)
    subnet = azure.raw("GET", f"{net}/subnets/first").body
    assert {"name", "etag", "type", "properties"} <= subnet.keys()
    id_ = f"{group}/providers/Microsoft.Network/privateEndpoints/pe"
    body = {"location": "eastus", "properties": {"subnet": subnet}}
    made = azure.put(id_, body, "2024-05-01")
    assert made.properties["subnet"] == {"id": subnet["id"]}
    for wrong, said in (
        ({"name": "first"}, "'properties.subnet.id' is required"),
        (
            subnet | {"addressPrefix": "10.0.0.0/24"},
            "could not find member 'properties.subnet.addressPrefix'",
        ),
        (subnet | {"properties": {"addressPrefix": 1}}, "'properties.subnet.properties.addressPrefix'"),
    ):
        reply = azure.raw("PUT", id_, {"location": "eastus", "properties": {"subnet": wrong}})
        assert (reply.status, said in reply.body["error"]["message"]) == (400, True), reply.body


def test_a_subnet_with_what_it_refers_to(azure: Azure, group: str) -> None:
    """As the SDK's own models have it: a security group and a route table, of which the id is kept."""
    net = network(azure, group)
    group_ = {"id": f"{group}/providers/Microsoft.Network/networkSecurityGroups/g", "location": "eastus"}
    table = {"id": f"{group}/providers/Microsoft.Network/routeTables/t", "properties": {"routes": []}}
    own = {"addressPrefix": "10.0.2.0/24", "networkSecurityGroup": group_, "routeTable": table}
    made = azure.put(f"{net}/subnets/guarded", {"properties": own}, "2024-05-01").properties
    assert made["networkSecurityGroup"] == {"id": group_["id"]}
    assert made["routeTable"] == {"id": table["id"]}


def test_a_workspace_and_a_diagnostic_setting(azure: Azure, group: str) -> None:
    workspace = azure.put(
        f"{group}/providers/Microsoft.OperationalInsights/workspaces/logs1",
        {"location": "eastus", "properties": {"retentionInDays": 60}},
        "2023-09-01",
    )
    assert uuid.UUID(workspace.properties["customerId"])
    net = network(azure, group)
    id_ = f"{net}/providers/Microsoft.Insights/diagnosticSettings/all"
    body = {
        "properties": {
            "workspaceId": workspace.id,
            "logs": [{"categoryGroup": "allLogs", "enabled": True}],
            "metrics": [{"category": "AllMetrics", "enabled": True}],
        }
    }
    reply = azure.raw("PUT", id_, body, version="2021-05-01-preview")
    assert (reply.status, reply.body["id"]) == (200, id_)
    for wrong, said in (
        ({"logs": []}, "needs somewhere to send to"),
        ({"workspaceId": "x", "logs": [{"enabled": True}]}, "either its category or its categoryGroup"),
    ):
        refused = azure.raw("PUT", id_, {"properties": wrong}, version="2021-05-01-preview")
        assert (refused.status, refused.body["code"]) == (400, "BadRequest"), "without the outer object"
        assert said in refused.body["message"]
    azure.raw("DELETE", net)
    assert azure.raw("GET", id_, version="2021-05-01-preview").status == 404, "it goes with what it is about"


def test_a_user_assigned_identity(azure: Azure, group: str) -> None:
    id_ = f"{group}/providers/Microsoft.ManagedIdentity/userAssignedIdentities/who"
    made = azure.put(id_, {"location": "eastus"}, "2023-01-31")
    found = Identities(azure.twin.files.identity).find(id_)
    assert (made.properties["principalId"], made.properties["clientId"]) == (found.object_id, found.client_id)
    account = azure.put(
        f"{group}/providers/Microsoft.CognitiveServices/accounts/with-identity",
        {
            "location": "eastus",
            "kind": "OpenAI",
            "sku": {"name": "S0"},
            "identity": {"type": "SystemAssigned, UserAssigned", "userAssignedIdentities": {id_: {}}},
            "properties": {},
        },
        "2025-06-01",
    )
    assert account.identity.user_assigned_identities[id_].principal_id == found.object_id
    assert account.identity.principal_id != found.object_id


def test_role_assignments(azure: Azure, group: str) -> None:
    role = f"/subscriptions/{azure.subscription}/providers/Microsoft.Authorization/roleDefinitions/5e0bd9bd-7b93-4f28-af87-19fc36ad61bd"
    principal = str(uuid.uuid4())
    body = {
        "properties": {
            "roleDefinitionId": role,
            "principalId": principal,
            "principalType": "ServicePrincipal",
        }
    }
    id_ = f"{group}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}"
    made = azure.raw("PUT", id_, body)
    assert (made.status, made.body["properties"]["scope"]) == (201, group)
    assert azure.raw("PUT", id_, body).status == 200
    other = azure.raw(
        "PUT", f"{group}/providers/Microsoft.Authorization/roleAssignments/{uuid.uuid4()}", body
    )
    assert (other.status, other.body["error"]["code"]) == (409, "RoleAssignmentExists")
    assert id_.rsplit("/", 1)[-1] in other.body["error"]["message"]
    moved = {"properties": body["properties"] | {"principalId": str(uuid.uuid4())}}
    assert azure.raw("PUT", id_, moved).body["error"]["code"] == "RoleAssignmentUpdateNotPermitted"
    assert azure.raw("PUT", f"{id_}x", body).body["error"]["code"] == "InvalidRequestContent"
    listed = azure.raw("GET", f"{group}/providers/Microsoft.Authorization/roleAssignments").body["value"]
    assert [one["id"] for one in listed] == [id_]
    where = f"{group}/providers/Microsoft.Authorization/roleAssignments?$filter="
    assert len(azure.raw("GET", f"{where}principalId%20eq%20'{principal}'").body["value"]) == 1
    assert azure.raw("GET", f"{where}principalId%20eq%20'{uuid.uuid4()}'").body["value"] == []
    gone = azure.raw("DELETE", id_)
    assert (gone.status, gone.body["id"]) == (200, id_)
    assert azure.raw("DELETE", id_).status == 204


def refusal(azure: Azure, method: str, path: str, body: Any = None) -> str:
    """What a request is told that a lock forbids."""
    reply = azure.raw(method, path, body)
    assert (reply.status, reply.body["error"]["code"]) == (409, "ScopeLocked"), (method, path)
    return str(reply.body["error"]["message"])


def test_a_lock_keeps_what_it_is_on(azure: Azure, group: str) -> None:
    net = network(azure, group)
    lock = f"{net}/providers/Microsoft.Authorization/locks/keep"
    assert azure.raw("PUT", lock, {"properties": {"level": "CanNotDelete"}}).status == 201
    for path in (net, f"{net}/subnets/first", group):
        assert refusal(azure, "DELETE", path) == (
            f"The scope '{path}' cannot perform delete operation because following scope(s) are locked: "
            f"'{net}'. Please remove the lock and try again."
        )
    assert azure.raw("PUT", net, NETWORK | {"tags": {"a": "b"}}).status == 200, "it can be changed"
    assert azure.raw("DELETE", zone(azure, group)).status == 200, "it is elsewhere"
    assert azure.raw("DELETE", lock).status == 200
    assert azure.raw("DELETE", net).status == 200


def test_a_read_only_lock_forbids_every_change(azure: Azure, group: str) -> None:
    """In its scope and below; what it lies in can be changed, but not deleted."""
    net, elsewhere = network(azure, group), zone(azure, group)
    lock = f"{net}/providers/Microsoft.Authorization/locks/read-only"
    assert azure.raw("PUT", lock, {"properties": {"level": "ReadOnly"}}).status == 201
    subnet = {"properties": {"addressPrefix": "10.0.1.0/24"}}
    assert refusal(azure, "PUT", net, NETWORK) == (
        f"The scope '{net}' cannot perform write operation because following scope(s) are locked: '{net}'. "
        "Please remove the lock and try again."
    )
    refusal(azure, "PUT", f"{net}/subnets/second", subnet)
    refusal(azure, "PATCH", f"{net}/subnets/first", subnet)
    setting = f"{net}/providers/Microsoft.Insights/diagnosticSettings/logs"
    assert azure.raw("PUT", setting, {"properties": {}}).body["code"] == "ScopeLocked"
    for path in (net, f"{net}/subnets/first", group):
        refusal(azure, "DELETE", path)
    assert azure.raw("GET", net).status == azure.raw("GET", f"{net}/subnets").status == 200
    assert azure.raw("PATCH", group, {"tags": {"a": "b"}}).status == 200
    assert azure.raw("DELETE", elsewhere).status == 200
    softer = azure.raw("PUT", lock, {"properties": {"level": "CanNotDelete"}})
    assert softer.status == 200, "a lock can be changed"
    assert azure.raw("PUT", f"{net}/subnets/second", subnet).status == 201
    assert azure.raw("DELETE", lock).status == 200
    assert azure.raw("DELETE", net).status == 200


def test_a_read_only_lock_on_a_group_forbids_actions(azure: Azure, group: str) -> None:
    """Those that change something, and listing keys, which is a POST to Azure; questions are allowed."""
    account = f"{group}/providers/Microsoft.CognitiveServices/accounts/locked-{uuid.uuid4().hex[:8]}"
    azure.put(account, {"location": "eastus", "kind": "OpenAI", "sku": {"name": "S0"}})
    assert azure.raw("POST", f"{account}/listKeys").status == 200
    lock = f"{group}/providers/Microsoft.Authorization/locks/read-only"
    assert azure.raw("PUT", lock, {"properties": {"level": "ReadOnly"}}).status == 201
    for action in ("listKeys", "regenerateKey"):
        assert f"The scope '{account}' cannot perform write" in refusal(azure, "POST", f"{account}/{action}")
    server = f"{group}/providers/Microsoft.DBforPostgreSQL/flexibleServers/any"
    for action in ("restart", "start", "stop"):
        refusal(azure, "POST", f"{server}/{action}")
    refusal(azure, "PUT", server, {})
    refusal(azure, "PATCH", group, {"tags": {}})
    refusal(azure, "DELETE", group)
    ask = {"subdomainName": "free-one", "type": "Microsoft.CognitiveServices/accounts"}
    check = "/providers/Microsoft.CognitiveServices/checkDomainAvailability"
    subscription = f"/subscriptions/{azure.subscription}"
    whole = f"{subscription}/providers/Microsoft.Authorization/locks/all"
    assert azure.raw("PUT", whole, {"properties": {"level": "ReadOnly"}}).status == 201
    try:
        assert azure.raw("POST", check, ask).status == 200
        assert f"'{subscription}'" in refusal(
            azure, "PUT", "/resourceGroups/locked-out", {"location": "eastus"}
        )
    finally:
        assert azure.raw("DELETE", whole).status == 200
    assert azure.raw("DELETE", lock).status == 200
    assert azure.raw("POST", f"{account}/listKeys").status == 200


def test_long_lists_have_pages(azure: Azure, group: str) -> None:
    zones = f"{group}/providers/Microsoft.Network/privateDnsZones"
    names = [f"z{number:03}.example" for number in range(201)]
    for name in names:
        assert azure.raw("PUT", f"{zones}/{name}", {"location": "global"}).status == 201
    name = group.rsplit("/", 1)[-1]
    pages = azure.resources.resources.list_by_resource_group(name).by_page()
    assert [[one.name for one in page] for page in pages] == [names[:100], names[100:200], names[200:]]
    first = azure.raw("GET", f"{zones}?$filter=a%20eq%20%27b%27")
    link = first.body["nextLink"]
    assert link.startswith(f"{azure.endpoint}{zones}?")
    assert "%24filter=a%20eq%20%27b%27" in link
    assert azure.raw("DELETE", f"{zones}/{names[99]}").status == 200
    assert azure.raw("DELETE", f"{zones}/{names[100]}").status == 200
    second = azure.raw("GET", link)
    assert [one["name"] for one in second.body["value"]] == names[101:], "from where the first ended"
    assert "nextLink" not in second.body
    reply = azure.raw("GET", f"{zones}?$skipToken=%C3%A4")
    assert (reply.status, reply.body["error"]["code"]) == (400, "InvalidSkipToken")
    assert "Follow a nextLink as it was answered" in reply.body["error"]["message"]


def test_what_does_not_move(azure: Azure, group: str) -> None:
    id_ = network(azure, group)
    with pytest.raises(ResourceExistsError, match="InvalidResourceLocation"):
        azure.put(id_, NETWORK | {"location": "West Europe"}, "2024-05-01")
    azure.put(id_, NETWORK | {"location": "East US"}, "2024-05-01")
