"""Whatever JSON a request sends, it is answered or refused: never with a 500."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from azpg_runtime.arm.address import Address
from azpg_runtime.errors import ArmRefusal
from azpg_runtime.postgres.instance import Instance
from tests.conftest import new_home, remove_home
from tests.support.arm import ACCOUNT, Arm

GROUP = "things"
REMOVED = "Microsoft.CognitiveServices/accounts/removed"
LOCKED = "Microsoft.ManagedIdentity/userAssignedIdentities/locked"
PRINCIPAL = "00000000-0000-0000-0000-000000000001"
RANGE = {"addressSpace": {"addressPrefixes": ["10.0.0.0/8"]}}
GLOBAL = {"location": "global"}
SERVER: dict[str, Any] = {
    "location": "eastus",
    "tags": {"a": "b"},
    "sku": {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"},
    "identity": {"type": "UserAssigned", "userAssignedIdentities": {"IDENTITY": {}}},
    "properties": {
        "version": "18",
        "administratorLogin": "boss",
        "administratorLoginPassword": "Correct-Horse-7",
        "storage": {"storageSizeGB": 64, "tier": "P6", "type": "Premium_LRS", "autoGrow": "Enabled"},
        "backup": {"backupRetentionDays": 7, "geoRedundantBackup": "Disabled"},
        "highAvailability": {"mode": "ZoneRedundant"},
        "authConfig": {"activeDirectoryAuth": "Enabled", "passwordAuth": "Enabled", "tenantId": ""},
        "network": {"publicNetworkAccess": "Enabled", "delegatedSubnetResourceId": "NETWORK/subnets/s"},
        "dataEncryption": {"type": "AzureKeyVault", "primaryUserAssignedIdentityId": "IDENTITY"},
        "maintenanceWindow": {"customWindow": "Enabled", "dayOfWeek": 1, "startHour": 2, "startMinute": 3},
        "createMode": "Create",
    },
}
REQUESTS: dict[str, dict[str, Any]] = {
    "": {"location": "eastus", "tags": {"a": "b"}},
    "Microsoft.ManagedIdentity/userAssignedIdentities/who": {"location": "eastus", "tags": {}},
    "Microsoft.Network/virtualNetworks/net": {
        "location": "eastus",
        "properties": {**RANGE, "subnets": [{"name": "s", "properties": {"addressPrefix": "10.0.0.0/24"}}]},
    },
    "Microsoft.Network/virtualNetworks/net/subnets/s": {
        "properties": {
            "addressPrefix": "10.0.0.0/24",
            "delegations": [{"name": "d", "properties": {"serviceName": "Microsoft.X/y"}}],
        }
    },
    "Microsoft.Network/privateEndpoints/end": {
        "location": "eastus",
        "properties": {
            "subnet": {"id": "NETWORK/subnets/s"},
            "privateLinkServiceConnections": [
                {"name": "c", "properties": {"privateLinkServiceId": "/x", "groupIds": ["account"]}}
            ],
        },
    },
    "Microsoft.Network/privateEndpoints/end/privateDnsZoneGroups/g": {
        "properties": {"privateDnsZoneConfigs": [{"name": "z", "properties": {"privateDnsZoneId": "/x"}}]}
    },
    "Microsoft.Network/privateDnsZones/z.postgres.database.azure.com": GLOBAL,
    "Microsoft.Network/privateDnsZones/z.postgres.database.azure.com/virtualNetworkLinks/l": {
        **GLOBAL,
        "properties": {"virtualNetwork": {"id": "NETWORK"}, "registrationEnabled": False},
    },
    LOCKED: {"location": "eastus"},
    f"{LOCKED}/providers/Microsoft.Authorization/locks/l": {
        "properties": {"level": "CanNotDelete", "notes": "n"}
    },
    f"Microsoft.Authorization/roleAssignments/{PRINCIPAL}": {
        "properties": {"roleDefinitionId": "/r", "principalId": PRINCIPAL, "principalType": "User"}
    },
    "Microsoft.Insights/diagnosticSettings/d": {
        "properties": {
            "workspaceId": "/w",
            "logs": [{"category": "a", "enabled": True}],
            "metrics": [{"category": "AllMetrics", "enabled": True}],
        }
    },
    "Microsoft.OperationalInsights/workspaces/work": {
        "location": "eastus",
        "properties": {"sku": {"name": "PerGB2018"}, "retentionInDays": 30},
    },
    "Microsoft.CognitiveServices/accounts/account": ACCOUNT
    | {
        "identity": {"type": "UserAssigned", "userAssignedIdentities": {"IDENTITY": {}}},
        "properties": {"customSubDomainName": "domain", "networkAcls": {"ipRules": [{"value": "1.2.3.4"}]}},
    },
    REMOVED: {**ACCOUNT, "properties": {"restore": True}},
    "Microsoft.CognitiveServices/accounts/account/deployments/d": {
        "sku": {"name": "Standard", "capacity": 1},
        "properties": {"model": {"format": "OpenAI", "name": "text-embedding-3-small", "version": "1"}},
    },
    "Microsoft.DBforPostgreSQL/flexibleServers/new-server": SERVER,
    "Microsoft.DBforPostgreSQL/flexibleServers/server": SERVER,
    "Microsoft.DBforPostgreSQL/flexibleServers/server/configurations/work_mem": {
        "properties": {"value": "1", "source": "user-override"}
    },
    "Microsoft.DBforPostgreSQL/flexibleServers/server/databases/d": {
        "properties": {"charset": "UTF8", "collation": "C"}
    },
    "Microsoft.DBforPostgreSQL/flexibleServers/server/firewallRules/r": {
        "properties": {"startIpAddress": "1.2.3.4", "endIpAddress": "1.2.3.5"}
    },
    f"Microsoft.DBforPostgreSQL/flexibleServers/server/administrators/{PRINCIPAL}": {
        "properties": {"principalType": "User", "principalName": "n", "tenantId": ""}
    },
}
"""What PUT takes of each type, by the path below the group."""
ACTIONS: dict[str, dict[str, Any]] = {
    "Microsoft.CognitiveServices/accounts/account/listKeys": {},
    "Microsoft.CognitiveServices/accounts/account/regenerateKey": {"keyName": "Key1"},
    "Microsoft.DBforPostgreSQL/flexibleServers/server/restart": {"restartWithFailover": True},
    "Microsoft.DBforPostgreSQL/flexibleServers/server/start": {},
    "Microsoft.DBforPostgreSQL/flexibleServers/server/stop": {},
}
QUESTIONS: dict[str, dict[str, Any]] = {
    "Microsoft.CognitiveServices/checkDomainAvailability": {
        "subdomainName": "d",
        "type": "Microsoft.CognitiveServices/accounts",
        "kind": "OpenAI",
    },
    "Microsoft.DBforPostgreSQL/checkNameAvailability": {
        "name": "n",
        "type": "Microsoft.DBforPostgreSQL/flexibleServers",
    },
    "Microsoft.DBforPostgreSQL/locations/eastus/checkNameAvailability": {"name": "n"},
    "Microsoft.DBforPostgreSQL/locations/eastus/checkVirtualNetworkSubnetUsage": {
        "virtualNetworkArmResourceId": "/x"
    },
    "Microsoft.DBforPostgreSQL/getPrivateDnsZoneSuffix": {},
    "Microsoft.Network/register": {},
}


def names(value: Any) -> set[str]:
    """Every member's name in a document."""
    if isinstance(value, dict):
        return set(value).union(*map(names, value.values()))
    return set().union(*map(names, value)) if isinstance(value, list) else set()


NAMES = sorted(names([*REQUESTS.values(), *ACTIONS.values(), *QUESTIONS.values()]) | {"restore", "capacity"})
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["", "/", "//", "eastus", "Enabled", "UserAssigned", "IDENTITY", "NETWORK", "1", "P80"])
    | st.text(max_size=5)
)
JSON = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES) | st.text(), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything in a document, itself first."""
    yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


@st.composite
def bodies(draw: st.DrawFn, valid: dict[str, Any]) -> Any:
    """A body that is taken, with some of it replaced, added or left out; or anything."""
    body = copy.deepcopy(valid)
    for _ in range(draw(st.integers(0, 3))):
        *outer, last = draw(st.sampled_from([path for path in places(body) if path] or [("other",)]))
        here = body
        for key in outer:
            here = here[key]
        if draw(st.integers(0, 4)) == 0 and isinstance(here, dict):
            here.pop(last, None)
        else:
            here[last] = draw(JSON)
    return draw(st.just(body) | st.just(body) | st.just(body) | JSON)


@pytest.fixture(scope="module")
def arm() -> Iterator[Arm]:
    """One with something of each type in it, whose operations all fail before they do anything."""

    def refuse(_: Address) -> None:
        raise ArmRefusal(500, "Refused", "Nothing is done here.")

    home = new_home()
    instance = Instance("server", home=home)
    instance.up()
    arm = Arm(home, before=refuse)
    for path, body in REQUESTS.items():
        if "/flexibleServers/" not in path:
            arm.ask("PUT", place(path), filled(arm, body))
            arm.settled()
    arm.router.remove(Address.parse(f"{arm.root}/{place(REMOVED)}"))
    keep_server(arm, instance)
    yield arm
    arm.close()
    instance.down()
    remove_home(home)


def keep_server(arm: Arm, instance: Instance) -> None:
    """Makes a local server one that the twin has made."""
    id_ = f"{arm.root}/{place('Microsoft.DBforPostgreSQL/flexibleServers/server')}"
    body = filled(arm, SERVER)
    del body["properties"]["network"]["delegatedSubnetResourceId"]
    servers = arm.router._kinds["microsoft.dbforpostgresql/flexibleservers"]
    servers.keep(servers.composed(Address.parse(id_), body, None))
    instance.home.resource.write_text(id_)


def place(path: str) -> str:
    return f"{GROUP}/providers/{path}" if path else GROUP


def filled(arm: Arm, body: Any) -> Any:
    """The ids that only this twin has, in their places."""
    providers = f"{arm.root}/{GROUP}/providers"
    text = json.dumps(body).replace(
        "IDENTITY", f"{providers}/Microsoft.ManagedIdentity/userAssignedIdentities/who"
    )
    return json.loads(text.replace("NETWORK", f"{providers}/Microsoft.Network/virtualNetworks/net"))


def check(arm: Arm, method: str, path: str, body: Any) -> None:
    """Asks, and shows what makes a 500 of it."""
    try:
        answer = arm.ask(method, path, filled(arm, body))
    except ArmRefusal as refusal:
        assert refusal.status < 500, refusal  # noqa: PT017
    else:
        assert answer.status < 500
        json.dumps(answer.body, allow_nan=False)


many = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
@pytest.mark.parametrize("path", REQUESTS)
def test_whatever_is_written(arm: Arm, method: str, path: str) -> None:
    @many
    @given(bodies(REQUESTS[path]))
    @example({"properties": None})
    @example({**REQUESTS[path], "properties": None})
    @example({**REQUESTS[path], "properties": [1]})
    @example([1])
    @example("text")
    @example(None)
    def write(body: Any) -> None:
        check(arm, method, place(path), body)

    write()
    arm.settled()


@pytest.mark.parametrize("path", [*ACTIONS, *QUESTIONS])
def test_whatever_is_posted(arm: Arm, path: str) -> None:
    where = place(path) if path in ACTIONS else f"{arm.subscription}/providers/{path}"

    @many
    @given(bodies((ACTIONS | QUESTIONS)[path]))
    @example([1])
    @example("text")
    @example(None)
    def post(body: Any) -> None:
        check(arm, "POST", where, body)

    post()
    arm.settled()


def test_every_type_and_every_action_is_asked(arm: Arm) -> None:
    """What is added to the router later must be here, too."""
    tried = {Address.parse(f"{arm.root}/{place(path)}").kind for path in REQUESTS}
    assert set(arm.router._kinds) == tried
    posts = {kind for method, kind in arm.router._handlers if method == "POST"}
    registered = {kind for kind in posts if kind.endswith("/register")}
    asked = {Address.parse(f"{arm.subscription}/providers/{path}").kind for path in [*ACTIONS, *QUESTIONS]}
    assert posts - registered == {kind for kind in asked if not kind.endswith("/register")}
