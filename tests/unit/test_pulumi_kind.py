"""Resource types: inputs to ARM and back, what differs, and what that means."""

from __future__ import annotations

import json
from typing import Any

import pulumi_azure_native as azure
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from azpg_runtime.pulumi.kind import UNKNOWN, Kind, changes, kinds, same

SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
SERVER = kinds()["azure-native:dbforpostgresql:Server"]
ACCOUNT = kinds()["azure-native:cognitiveservices:Account"]
ROLE = kinds()["azure-native:authorization:RoleAssignment"]
ENDPOINT = kinds()["azure-native:network:PrivateEndpoint"]
SUBNET = kinds()["azure-native:network:Subnet"]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab /", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("token", kinds())
def test_a_type_is_one_of_the_sdk_and_its_path_is_made_of_inputs(token: str) -> None:
    _, module, name = token.split(":")
    sdk = getattr(azure, module)
    inputs = getattr(sdk, f"{name}InitArgs", None) or getattr(sdk, f"{name}Args")
    wire = {pulumi_name(one) for one in vars(inputs) if isinstance(vars(inputs)[one], property)}
    kind = kinds()[token]
    assert set(kind.parameters) <= wire
    assert {rule.split(".")[0] for rule in kind.replace} <= wire
    assert set(kind.top) - {"etag"} <= wire
    assert kind.raw == ("properties" in wire)
    assert kind.name is None or kind.name in kind.parameters
    assert all(why.startswith(("spec: ", "known: ")) for why in kind.replace.values())


def pulumi_name(python: str) -> str:
    head, *rest = python.split("_")
    special = {"utc": "UTC"}
    return head + "".join(special.get(part, part.capitalize()) for part in rest)


@pytest.mark.parametrize("kind", kinds().values(), ids=kinds())
def test_an_id_can_be_read_again_in_any_case(kind: Kind) -> None:
    inputs = {
        name: "/subscriptions/s/x" if name in ("scope", "resourceUri") else f"n-{name}"
        for name in kind.parameters
    }
    found = kind.id(inputs, SUBSCRIPTION)
    assert found.startswith("/")
    assert "//" not in found
    parsed = kind.parse(found)
    assert parsed is not None
    assert {key: value.strip("/") for key, value in parsed.items()} == {
        key: value.strip("/") for key, value in inputs.items()
    }
    assert kind.parse(found.upper()) is not None
    assert kind.parse(found + "/more/x") is None or "scope" in kind.parameters


def test_of_a_server_only_properties_are_under_properties() -> None:
    body = SERVER.body(
        {
            "resourceGroupName": "g",
            "serverName": "s",
            "location": "eastus",
            "tags": {"a": "b"},
            "sku": {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"},
            "identity": {"type": "SystemAssigned"},
            "version": "18",
            "storage": {"storageSizeGB": 64},
            "backup": None,
        }
    )
    assert body == {
        "location": "eastus",
        "tags": {"a": "b"},
        "sku": {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"},
        "identity": {"type": "SystemAssigned"},
        "properties": {"version": "18", "storage": {"storageSizeGB": 64}},
    }


def test_a_list_of_identities_is_a_mapping_in_arm() -> None:
    inputs = {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": ["/a", "/b"]},
        "properties": {"x": 1},
    }
    body = ACCOUNT.body(inputs)
    assert body["identity"]["userAssignedIdentities"] == {"/a": {}, "/b": {}}
    assert body["properties"] == {"x": 1}
    real = {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/a": {"principalId": "p"}, "/c": {}}}
    }
    live = ACCOUNT.live(inputs, real)
    assert live["identity"]["userAssignedIdentities"] == ["/a", "/c"]


def test_the_identities_of_a_server_are_all_there_are() -> None:
    def inputs(*ids: str) -> dict[str, Any]:
        return {"identity": {"type": "UserAssigned", "userAssignedIdentities": {id_: {} for id_ in ids}}}

    real = inputs("/a", "/c")
    real["identity"]["userAssignedIdentities"]["/a"] = {"principalId": "p"}
    assert SERVER.live(inputs("/A"), real) == inputs("/A", "/c"), "one that somebody added is drift"
    assert SERVER.live(inputs("/a", "/b", "/c"), real) == inputs("/a", "/c"), "and one that went"


def test_items_have_properties_of_their_own() -> None:
    inputs = {
        "resourceGroupName": "g",
        "virtualNetworkName": "v",
        "subnetName": "s",
        "addressPrefix": "10.0.0.0/24",
        "delegations": [{"name": "d", "serviceName": "Microsoft.DBforPostgreSQL/flexibleServers"}],
    }
    body = SUBNET.body(inputs)
    assert body["properties"]["delegations"] == [
        {"name": "d", "properties": {"serviceName": "Microsoft.DBforPostgreSQL/flexibleServers"}}
    ]
    assert SUBNET.live(inputs, {"id": "/x", "name": "s", **body}) == inputs


def test_what_is_said_of_an_endpoints_subnet_besides_its_id() -> None:
    """azure-native has the members of `properties` beside the id."""
    subnet = {"id": "/v/subnets/s", "name": "s", "addressPrefix": "10.0.0.0/24"}
    inputs = {"resourceGroupName": "g", "privateEndpointName": "e", "subnet": subnet}
    wire = {"id": "/v/subnets/s", "name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}
    assert ENDPOINT.body(inputs)["properties"]["subnet"] == wire
    assert ENDPOINT.outputs({"properties": {"subnet": wire}})["subnet"] == subnet
    answer = {"id": "/x", "name": "e", "properties": {"subnet": {"id": "/v/subnets/s"}}}
    assert ENDPOINT.live(inputs, answer) == inputs, "only the id is answered"


def test_a_role_assignment_has_no_location() -> None:
    inputs = {"scope": "/subscriptions/s", "roleDefinitionId": "/r", "principalId": "p"}
    checked = ROLE.check(inputs, {}, "role", "eastus", b"0123456789abcdef")
    assert "location" not in checked
    assert checked["roleAssignmentName"].count("-") == 4
    assert ROLE.body(checked) == {"properties": {"roleDefinitionId": "/r", "principalId": "p"}}
    assert (
        ROLE.id(checked, SUBSCRIPTION)
        == f"/subscriptions/s/providers/Microsoft.Authorization/roleAssignments/{checked['roleAssignmentName']}"
    )


def test_names_are_kept_once_they_are_made_up() -> None:
    first = SERVER.check({"resourceGroupName": "g"}, {}, "db", "eastus", b"\x01" * 8)
    assert first["serverName"] == "db01010101"
    assert first["location"] == "eastus"
    again = SERVER.check({"resourceGroupName": "g"}, first, "db", "westus", b"\x02" * 8)
    assert again == first
    assert SERVER.check({"serverName": "mine"}, first, "db", None, b"")["serverName"] == "mine"
    assert list(SERVER.wrong({"serverName": "mine"})) == [
        ("resourceGroupName", f"{SERVER.token} needs resourceGroupName.")
    ]


@pytest.mark.parametrize(
    ("change", "replaces"),
    [
        ({"serverName": "other"}, True),
        ({"location": "westus"}, True),
        ({"administratorLogin": "other"}, True),
        ({"backup": {"geoRedundantBackup": "Enabled", "backupRetentionDays": 7}}, True),
        ({"backup": {"geoRedundantBackup": "Disabled", "backupRetentionDays": 9}}, False),
        ({"sku": {"name": "Standard_E8ds_v5", "tier": "MemoryOptimized"}}, False),
        ({"version": "18"}, False),
        ({"tags": {"a": "c"}}, False),
        ({"location": "East US"}, None),
    ],
)
def test_what_a_change_of_a_server_means(change: dict[str, Any], replaces: bool | None) -> None:
    before = {
        "serverName": "s",
        "location": "eastus",
        "administratorLogin": "me",
        "version": "17",
        "backup": {"geoRedundantBackup": "Disabled", "backupRetentionDays": 7},
        "sku": {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"},
        "tags": {"a": "b"},
    }
    found = [SERVER.replaces(path) for path, _ in changes(before, {**before, **change})]
    assert found == ([] if replaces is None else [replaces])


def test_drift_is_what_was_asked_for_and_is_otherwise() -> None:
    inputs = {
        "resourceGroupName": "g",
        "serverName": "s",
        "location": "eastus",
        "administratorLoginPassword": "geheim",
        "sku": {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"},
        "storage": {"storageSizeGB": 64},
        "tags": {"a": "b"},
    }
    real = {
        "id": "/x",
        "name": "s",
        "location": "East US",
        "sku": {"name": "Standard_E8ds_v5", "tier": "MemoryOptimized"},
        "tags": {"a": "b", "more": "c"},
        "properties": {"storage": {"storageSizeGB": 64, "tier": "P6"}, "state": "Ready"},
    }
    live = SERVER.live(inputs, real)
    assert list(changes(inputs, live)) == [("sku.name", "update"), ("tags.more", "add")]
    assert SERVER.outputs(real)["state"] == "Ready"
    assert "properties" not in SERVER.outputs(real)
    assert "administratorLoginPassword" not in json.dumps(SERVER.outputs(real))


@given(JSON, JSON)
@example([], [{}])
@example([{"a": {}}], [])
def test_changes_are_none_exactly_where_nothing_differs(one: Any, other: Any) -> None:
    found = list(changes({"x": one}, {"x": other}))
    assert bool(found) == (filled(one) != filled(other))
    turned = {"add": "delete", "delete": "add", "update": "update"}
    assert sorted(found) == sorted(
        (path, turned[change]) for path, change in changes({"x": other}, {"x": one})
    )


def filled(value: Any) -> Any:
    """A value as Azure reads it: ids whatever their case, and a mapping without entries as none."""
    if isinstance(value, dict):
        return {key: inner for key, one in value.items() if (inner := filled(one)) != {}}
    if isinstance(value, list):
        return [filled(one) for one in value]
    return value.lower() if isinstance(value, str) and value.startswith("/") else value


def test_regions_and_ids_are_the_same_in_any_spelling() -> None:
    assert same("location", "East US", "eastus")
    assert not same("name", "East US", "eastus")
    assert same("x", "/subscriptions/A", "/SUBSCRIPTIONS/a")
    assert not same("x", "A", "a")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "serverName must be a text that is not empty."),
        (3, "serverName must be a text that is not empty."),
        ("mine/databases/other", "serverName is 'mine/databases/other': use a name without /."),
    ],
)
def test_names_of_which_there_is_no_path(name: Any, why: str) -> None:
    assert list(SERVER.wrong({"resourceGroupName": "rg", "serverName": name})) == [("serverName", why)]


@pytest.mark.parametrize("location", [None, UNKNOWN, "East US", "global"])
def test_places_where_things_may_be(location: str | None) -> None:
    inputs = {"resourceGroupName": "rg", "serverName": "s"} | ({"location": location} if location else {})
    assert list(SERVER.wrong(inputs)) == []


def test_a_place_where_there_is_no_region() -> None:
    """In the preview, which asks ARM for nothing."""
    inputs = {"resourceGroupName": "rg", "serverName": "s", "location": "easteurope"}
    assert list(SERVER.wrong(inputs)) == [
        ("location", "'easteurope' is no Azure region: did you mean westeurope?")
    ]


def test_a_scope_is_a_path_of_its_own() -> None:
    assert list(ROLE.wrong({"scope": "/subscriptions/s", "roleAssignmentName": "x"})) == []


def test_the_paths_of_changes_are_pulumis() -> None:
    """As property paths are read by the engine, for which a dot begins another member."""
    old: dict[str, Any] = {"tags": {"cost.center": "1", 'a"b': "1", "plain": "1"}, "a.b": 1}
    new: dict[str, Any] = {"tags": {"cost.center": "2", 'a"b': "2", "plain": "2"}, "a.b": {"c": 1}}
    assert [path for path, _ in changes(old, new)] == [
        '["a.b"]',
        'tags["a\\"b"]',
        'tags["cost.center"]',
        "tags.plain",
    ]


def test_what_remains_of_a_deleted_resource() -> None:
    account = "/subscriptions/s/resourceGroups/g/providers/Microsoft.CognitiveServices/accounts/a"
    kind = kinds()["azure-native:cognitiveservices:Account"]
    assert kind.remains(account, {"location": "West Europe"}) == (
        "/subscriptions/s/providers/Microsoft.CognitiveServices/locations/westeurope/resourceGroups/g"
        "/deletedAccounts/a"
    )
    assert kind.remains(account, {}) is None
    assert (
        kinds()["azure-native:resources:ResourceGroup"].remains("/subscriptions/s/resourceGroups/g", {})
        is None
    )
