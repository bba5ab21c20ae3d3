"""Bodies of requests, checked against the models of the Azure SDK and our own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from azure.mgmt.cognitiveservices import models as ai
from azure.mgmt.postgresqlflexibleservers import models as pg

from azpg_runtime.arm.schema.document import check, hidden
from azpg_runtime.arm.schema.types import authorization, monitoring, networks, zones
from azpg_runtime.errors import ArmRefusal

SKU = {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"}


def test_what_is_read_only_or_null_is_dropped() -> None:
    body = {
        "id": "/x",
        "name": "x",
        "location": "eastus",
        "tags": None,
        "sku": SKU,
        "properties": {"state": "Ready", "version": "18", "storage": {"iops": None, "storageSizeGB": 64}},
    }
    assert check(pg.Server, body, "create") == {
        "location": "eastus",
        "sku": SKU,
        "properties": {"version": "18", "storage": {"storageSizeGB": 64}},
    }
    account = {"location": "eastus", "etag": "x", "properties": {"endpoint": "x", "restore": True}}
    assert check(ai.Account, account, "create") == {"location": "eastus", "properties": {"restore": True}}
    zone = {"location": "global", "properties": {"provisioningState": "Failed"}}
    assert check(zones.Zone, zone, "create") == {"location": "global", "properties": {}}


def capacity(level: object) -> dict[str, Any]:
    sku = {"name": "CapacityReservation", "capacityReservationLevel": level}
    return {"location": "eastus", "properties": {"sku": sku}}


@pytest.mark.parametrize("level", [2**53 - 1, 2**53 + 1, -(2**63) - 1, 10**400])
def test_whole_numbers_of_any_size_are_exact(level: int) -> None:
    """What is written as a whole number is one, in JSON as in Python."""
    found = check(monitoring.Workspace, json.loads(json.dumps(capacity(level))), "create")
    assert found["properties"]["sku"]["capacityReservationLevel"] == level


@pytest.mark.parametrize("written", ["9007199254740993.0", "1e300", "-9007199254740993.0"])
def test_whole_numbers_that_are_written_inexactly(written: str) -> None:
    body = json.loads(json.dumps(capacity("HERE")).replace('"HERE"', written))
    with pytest.raises(ArmRefusal, match="is not exact; write it without a fraction and an exponent"):
        check(monitoring.Workspace, body, "create")
    assert check(monitoring.Workspace, capacity(100.0), "create") == capacity(100)


@pytest.mark.parametrize("quota", [2**53 + 1, 10**400])
def test_numbers_with_a_fraction_that_are_too_large(quota: int) -> None:
    body = {"location": "eastus", "properties": {"workspaceCapping": {"dailyQuotaGb": quota}}}
    with pytest.raises(ArmRefusal, match="is not exact here; use at most 9007199254740991"):
        check(monitoring.Workspace, body, "create")


def test_what_only_a_creation_may_say_is_dropped_from_an_update() -> None:
    body = {"location": "eastus", "properties": {"createMode": "default", "availabilityZone": "1"}}
    assert check(pg.Server, body, "create")["properties"] == {
        "createMode": "Default",
        "availabilityZone": "1",
    }
    assert check(pg.Server, body, "update") == {"properties": {"createMode": "Default"}}


def test_words_get_their_own_spelling_and_numbers_may_have_a_fraction() -> None:
    body = {
        "location": "x",
        "sku": SKU | {"tier": "memoryoptimized"},
        "properties": {"storage": {"storageSizeGB": 64.0}},
    }
    found = check(pg.Server, body, "create")
    assert found["sku"] == SKU
    assert type(found["properties"]["storage"]["storageSizeGB"]) is int


@pytest.mark.parametrize(
    ("model", "body", "said"),
    [
        (pg.Server, {}, "'location' is required"),
        (pg.Server, {"location": "x", "sku": {"name": "y"}}, "'sku.tier' is required"),
        (pg.Server, {"location": 1}, "'location': should be a valid string"),
        (pg.Server, {"location": "x", "tags": {"a": 1}}, "'tags.a': should be a valid string"),
        (pg.Server, {"location": "x", "tags": []}, "'tags': should be a valid dictionary"),
        (
            pg.Server,
            {"location": "x", "properties": {"storage": {"storageSizeGB": "64"}}},
            "'properties.storage.storageSizeGB': '64' is not a number",
        ),
        (
            pg.Server,
            {"location": "x", "properties": {"storage": {"storageSizeGB": True}}},
            "True is not a number",
        ),
        (
            pg.Server,
            {"location": "x", "properties": {"storage": {"storageSizeGB": 64.5}}},
            "should be a valid integer",
        ),
        (
            pg.Server,
            {"location": "x", "properties": {"storage": {"storage_size_gb": 64}}},
            "could not find member 'properties.storage.storage_size_gb'; did you mean 'storageSizeGB'?",
        ),
        (
            pg.Server,
            {"location": "x", "properties": {"network": {"zzz": 1}}},
            "known are delegatedSubnetResourceId, privateDnsZoneArmResourceId, publicNetworkAccess",
        ),
        (
            pg.Server,
            {
                "location": "x",
                "identity": {"type": "UserAssigned", "userAssignedIdentities": {"/i": {"clientid": "x"}}},
            },
            "did you mean 'clientId'?",
        ),
        (
            pg.Server,
            {"location": "x", "properties": {"authConfig": {"passwordAuth": "x" * 100}}},
            f"is '{'x' * 59}…; allowed are Enabled or Disabled",
        ),
        (ai.Account, {"properties": {"disableLocalAuth": "yes"}}, "should be a valid boolean"),
        (ai.Account, {"properties": {"networkAcls": {"ipRules": [{"valu": "x"}]}}}, "did you mean 'value'?"),
        (
            authorization.Lock,
            {"properties": {"level": "Never"}},
            "allowed are CanNotDelete, ReadOnly or NotSpecified",
        ),
        (authorization.Lock, {}, "'properties' is required"),
        (
            networks.VirtualNetwork,
            {"location": "x", "properties": {}},
            "'properties.addressSpace' is required",
        ),
    ],
)
def test_what_is_wrong_is_said(model: type, body: dict[str, Any], said: str) -> None:
    with pytest.raises(ArmRefusal) as caught:
        check(model, body, "create")
    assert (caught.value.status, caught.value.code) == (400, "InvalidRequestContent")
    assert said in str(caught.value)


def test_everything_is_said_at_once() -> None:
    with pytest.raises(ArmRefusal) as caught:
        check(pg.Server, {"sku": {}, "locaton": "x"}, "create")
    assert str(caught.value).count(";") == 4


@pytest.mark.parametrize("body", [None, [], "x", 1])
def test_a_body_is_an_object(body: Any) -> None:
    with pytest.raises(ArmRefusal, match="not a JSON object"):
        check(pg.Server, body, "create")


def test_what_no_answer_holds() -> None:
    assert hidden(pg.ServerProperties) == {"administratorLoginPassword", "createMode", "pointInTimeUTC"}
    assert hidden(zones.Zone) == frozenset()
