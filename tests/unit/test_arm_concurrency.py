"""Requests at the same time, each of which checks what there is before it changes it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from azpg_runtime.arm.exchange import Answer
from azpg_runtime.errors import ArmRefusal
from azpg_runtime.home import Home
from azpg_runtime.wait import wait_for
from tests.support.arm import ACCOUNT, PATIENCE, Arm

CROWD, ROUNDS = 6, 10
RETENTIONS = {"retentionInDays": 90, "forceCmkForQuery": True, "features": {"a": True}}


@pytest.fixture
def arm(tmp_path: Path) -> Iterator[Arm]:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # threads meet each other everywhere
    arm = Arm(Home(tmp_path))
    arm.ask("PUT", "g", {"location": "eastus"})
    yield arm
    arm.close()
    sys.setswitchinterval(interval)


def accounts(name: str) -> str:
    return f"g/providers/Microsoft.CognitiveServices/accounts/{name}"


def test_a_subdomain_has_one_account(arm: Arm) -> None:
    for number in range(ROUNDS):
        body = ACCOUNT | {"properties": {"customSubDomainName": f"domain-{number}"}}
        asked = [
            lambda name=f"a{number}-{one}", body=body: arm.ask("PUT", accounts(name), body)
            for one in range(CROWD)
        ]
        assert arm.outcomes(asked) == ["201"] + ["CustomDomainInUse"] * (CROWD - 1)


def test_a_document_keeps_every_change(arm: Arm) -> None:
    path = "g/providers/Microsoft.OperationalInsights/workspaces/logs-one"
    for _ in range(ROUNDS):
        arm.ask("PUT", path, {"location": "eastus"})
        asked = [
            lambda name=name, value=value: arm.ask("PATCH", path, {"properties": {name: value}})
            for name, value in RETENTIONS.items()
        ]
        assert arm.outcomes(asked) == ["200"] * len(RETENTIONS)
        kept = arm.ask("GET", path).body["properties"]
        assert {name: kept[name] for name in RETENTIONS} == RETENTIONS
        arm.ask("DELETE", path)


def test_an_account_keeps_every_change(arm: Arm) -> None:
    """A change is made or refused as long as another is; none is made and lost."""
    changes: dict[str, Any] = {
        "publicNetworkAccess": "Disabled",
        "restrictOutboundNetworkAccess": True,
        "dynamicThrottlingEnabled": True,
        "allowedFqdnList": ["a.b"],
    }
    for number in range(ROUNDS):
        path = accounts(f"kept-{number}")
        arm.ask("PUT", path, ACCOUNT)
        arm.settled()
        made: list[str] = []

        def change(name: str, path: str = path, made: list[str] = made) -> Answer:
            answer = arm.ask("PATCH", path, {"properties": {name: changes[name]}})
            made.append(name)
            return answer

        said = arm.outcomes([lambda name=name: change(name) for name in changes])
        arm.settled()
        assert set(said) <= {"202", "RequestConflict"}
        assert made
        kept = arm.ask("GET", path).body["properties"]
        assert {name: kept.get(name) for name in made} == {name: changes[name] for name in made}


def test_keys_are_made_anew_one_by_one(arm: Arm) -> None:
    path = accounts("keys")
    arm.ask("PUT", path, ACCOUNT)
    arm.settled()
    for _ in range(ROUNDS):
        before = arm.ask("POST", f"{path}/listKeys").body
        asked = [
            lambda key=key: arm.ask("POST", f"{path}/regenerateKey", {"keyName": key})
            for key in ("Key1", "Key2")
        ]
        assert arm.outcomes(asked) == ["200", "200"]
        after = arm.ask("POST", f"{path}/listKeys").body
        assert not set(before.values()) & set(after.values())


def test_one_of_several_under_the_same_condition(arm: Arm) -> None:
    path = "g/providers/Microsoft.Network/privateDnsZones/a.b"
    etag = arm.ask("PUT", path, {"location": "global"}).body["etag"]
    for number in range(ROUNDS):
        asked = [
            lambda one=one, etag=etag, number=number: arm.ask(
                "PUT", path, {"location": "global", "tags": {"a": f"{number}-{one}"}}, if_match=etag
            )
            for one in range(CROWD)
        ]
        assert arm.outcomes(asked) == ["200"] + ["PreconditionFailed"] * (CROWD - 1)
        etag = arm.ask("GET", path).body["etag"]


def test_one_assignment_of_a_role(arm: Arm) -> None:
    who = {"principalId": "0" * 8 + "-0000-0000-0000-" + "0" * 12}
    for number in range(ROUNDS):
        body = {"properties": who | {"roleDefinitionId": f"role-{number}"}}
        asked = [
            lambda one=one, body=body, number=number: arm.ask(
                "PUT",
                f"g/providers/Microsoft.Authorization/roleAssignments/{number:08}-0000-0000-0000-{one:012}",
                body,
            )
            for one in range(CROWD)
        ]
        assert arm.outcomes(asked) == ["201"] + ["RoleAssignmentExists"] * (CROWD - 1)


def test_nothing_is_made_in_what_goes(arm: Arm) -> None:
    """A zone and what links to it: either the link is there, and the zone, or neither."""
    network = {"location": "eastus", "properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}}}
    arm.ask("PUT", "g/providers/Microsoft.Network/virtualNetworks/n", network)
    body = {
        "location": "global",
        "properties": {
            "virtualNetwork": {"id": f"{arm.root}/g/providers/Microsoft.Network/virtualNetworks/n"}
        },
    }
    for number in range(ROUNDS):
        zone = f"g/providers/Microsoft.Network/privateDnsZones/z{number}.b"
        arm.ask("PUT", zone, {"location": "global"})
        link = f"{zone}/virtualNetworkLinks/l"
        said = arm.outcomes(
            [lambda link=link: arm.ask("PUT", link, body), lambda zone=zone: arm.ask("DELETE", zone)]
        )
        assert said in (["200", "ParentResourceNotFound"], ["201", "CannotDeleteResource"])


def test_a_change_that_is_refused_at_its_end_leaves_nothing(arm: Arm) -> None:
    """A deleted account comes back as a whole or, when the rest of the request is wrong, not at all."""
    path = accounts("restored")
    arm.ask("PUT", path, ACCOUNT)
    arm.settled()
    arm.ask("DELETE", path)
    arm.settled()
    wrong = ACCOUNT | {"kind": "AIServices", "properties": {"restore": True}}
    with pytest.raises(ArmRefusal, match="which cannot change"):
        arm.ask("PUT", path, wrong)
    with pytest.raises(ArmRefusal, match="was not found"):
        arm.ask("GET", path)
    with pytest.raises(ArmRefusal, match="has been soft-deleted"):
        arm.ask("PUT", path, ACCOUNT)


def test_a_change_that_another_forbids_leaves_the_identity(arm: Arm) -> None:
    path = accounts("identified")
    arm.ask("PUT", path, ACCOUNT | {"identity": {"type": "SystemAssigned"}})
    arm.settled()
    arm.gates = {f"{arm.root}/{path}".lower(): threading.Event()}
    arm.ask("PATCH", path, {"tags": {"a": "b"}})
    with pytest.raises(ArmRefusal, match="Another operation is being performed"):
        arm.ask("PATCH", path, {"identity": {"type": "None"}})
    own = arm.ask("GET", path).body
    assert arm.identity.identities.find(own["id"]).object_id == own["identity"]["principalId"]


def test_deletions_wait_for_operations_that_have_not_begun(arm: Arm) -> None:
    """As many groups go as operations run at once, and each waits for one that was asked for later."""
    groups = [f"many-{number}" for number in range(8)]
    inside = {one: f"{one}/providers/Microsoft.CognitiveServices/accounts/ai" for one in groups}
    for one in groups:
        arm.ask("PUT", one, {"location": "eastus"})
        arm.ask("PUT", inside[one], ACCOUNT)
    arm.settled()
    gate = threading.Event()
    arm.gates = {f"{arm.root}/{one}".lower(): gate for one in groups}
    for one in groups:
        arm.ask("DELETE", one)
    assert wait_for(lambda: arm.gates.keys() <= set(arm.begun), timeout=PATIENCE)
    for one in groups:
        arm.ask("PATCH", inside[one], {"tags": {"a": "b"}})
    gate.set()
    arm.settled()
    for one in groups:
        with pytest.raises(ArmRefusal, match="could not be found"):
            arm.ask("GET", one)
