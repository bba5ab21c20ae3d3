"""Flexible servers by the unmodified SDK: each is a local server that really runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError
from azure.mgmt.postgresqlflexibleservers import models as pg
from azure.mgmt.resource.resources import models as resources_models

from azpg.hostport import parse
from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.errors import IdentityNotFound
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.integration.azure import PASSWORD, Azure, Reply, server_model

GROUP, NAME = "shared", "shared-server"


@pytest.fixture
def server(azure: Azure, server_id: str) -> pg.Server:
    return azure.postgres.servers.get(GROUP, NAME)


def log_in(
    azure: Azure, name: str = NAME, *, user: str = "boss", password: str = PASSWORD
) -> psycopg.Connection[Any]:
    """As a person does who has read the server's properties."""
    groups = {one.name: one.id.split("/")[4] for one in azure.postgres.servers.list_by_subscription()}
    host, port = parse(str(azure.postgres.servers.get(groups[name], name).fully_qualified_domain_name))
    return psycopg.connect(
        host=host,
        port=port,
        user=user,
        password=password,
        dbname="postgres",
        sslmode="verify-full",
        sslrootcert=azure.twin.environment()["REQUESTS_CA_BUNDLE"],
        autocommit=True,
    )


def test_what_a_created_server_is(azure: Azure, server: pg.Server, server_id: str, azure_home: Home) -> None:
    assert (server.id, server.name) == (server_id, NAME)
    assert server.type == "Microsoft.DBforPostgreSQL/flexibleServers"
    assert server.location == "East US"
    assert (server.state, server.version, server.administrator_login) == ("Ready", "18", "boss")
    assert server.administrator_login_password is None
    assert (server.storage.storage_size_gb, server.storage.tier, server.storage.iops) == (64, "P6", 240)
    assert (server.backup.backup_retention_days, server.backup.geo_redundant_backup) == (7, "Disabled")
    assert (server.high_availability.mode, server.high_availability.state) == ("Disabled", "NotEnabled")
    assert (server.auth_config.password_auth, server.auth_config.active_directory_auth) == (
        "Enabled",
        "Disabled",
    )
    assert server.network.public_network_access == "Enabled"
    assert server.data_encryption.type == "SystemManaged"
    instance = Instance(NAME, home=azure_home)
    assert instance.status().state == "running"
    assert instance.status().postgres_version == f"18.{server.minor_version}"
    assert server.fully_qualified_domain_name == f"127.0.0.1:{instance.description.tls_port}"
    about = instance.description
    assert (about.admin, about.location, about.sku, about.profile) == (
        "boss",
        "eastus",
        "Standard_E4ds_v5",
        "preview-2024",
    )


def test_its_admin_logs_in_over_tls(azure: Azure, server: pg.Server) -> None:
    with log_in(azure) as connection:
        assert connection.pgconn.ssl_in_use
        row = connection.execute("SELECT current_user, pg_has_role('azure_pg_admin', 'member')").fetchone()
        assert row == ("boss", True)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        log_in(azure, password="Wrong-Horse-7")


def test_it_is_listed(azure: Azure, server: pg.Server) -> None:
    assert NAME in {one.name for one in azure.postgres.servers.list_by_resource_group(GROUP)}
    assert NAME in {one.name for one in azure.postgres.servers.list_by_subscription()}
    assert NAME in {one.name for one in azure.resources.resources.list_by_resource_group(GROUP)}
    found = azure.resources.resources.get_by_id(str(server.id).upper(), api_version="2025-08-01")
    assert found.id == server.id


def test_a_patch_keeps_what_it_does_not_name(azure: Azure, server: pg.Server) -> None:
    patch = pg.ServerForPatch(
        tags={"a": "b"}, properties=pg.ServerPropertiesForPatch(backup={"backupRetentionDays": 14})
    )
    changed = azure.postgres.servers.begin_update(GROUP, NAME, patch).result()
    assert changed.tags == {"a": "b"}
    assert changed.backup.backup_retention_days == 14
    assert changed.backup.geo_redundant_backup == "Disabled"
    assert changed.storage.storage_size_gb == 64
    again = azure.postgres.servers.begin_create_or_update(GROUP, NAME, server_model()).result()
    assert again.backup.backup_retention_days == 14, "a PUT, too, leaves what it does not name"
    back = {"tags": {}, "properties": {"backup": {"backupRetentionDays": 7}}}
    assert azure.postgres.servers.begin_update(GROUP, NAME, back).result().tags == {}


def test_a_maintenance_window_is_taken_of_a_server_that_exists(azure: Azure, server_id: str) -> None:
    """By PUT, too, which is all that Pulumi sends; wrong ones are refused as by PATCH."""
    window = {"customWindow": "Enabled", "dayOfWeek": 2, "startHour": 3, "startMinute": 30}
    body = {"location": "eastus", "properties": {"maintenanceWindow": window}}
    azure.postgres.servers.begin_create_or_update(GROUP, NAME, body).result()
    found = azure.postgres.servers.get(GROUP, NAME).maintenance_window
    assert found is not None
    assert (found.custom_window, found.day_of_week, found.start_hour, found.start_minute) == (
        "Enabled",
        2,
        3,
        30,
    )
    wrong = {"location": "eastus", "properties": {"maintenanceWindow": {"day": 2}}}
    with pytest.raises(
        HttpResponseError, match=r"could not find member 'properties\.maintenanceWindow\.day'"
    ):
        azure.postgres.servers.begin_create_or_update(GROUP, NAME, wrong)


def test_another_client_waits_for_an_operation(
    azure: Azure, server: pg.Server, clients: Callable[..., Azure]
) -> None:
    token = azure.postgres.servers.begin_restart(GROUP, NAME, pg.RestartParameter()).continuation_token()
    other = clients(azure.twin)
    poller = other.postgres.servers.begin_restart(
        GROUP, NAME, pg.RestartParameter(), continuation_token=token
    )
    poller.result()
    assert other.postgres.servers.get(GROUP, NAME).state == "Ready"


def test_another_password(azure: Azure, server: pg.Server) -> None:
    def set_to(password: str) -> None:
        own = pg.ServerPropertiesForPatch(administrator_login_password=password)
        azure.postgres.servers.begin_update(GROUP, NAME, pg.ServerForPatch(properties=own)).result()

    set_to("Other-Horse-8")
    try:
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            log_in(azure)
        log_in(azure, password="Other-Horse-8").close()
    finally:
        set_to(PASSWORD)
    log_in(azure).close()
    log = azure.twin.files.log.read_text()
    assert "Horse" not in log
    state = azure.twin.files.state.read_bytes()
    assert b"Horse" not in state, "a password is kept no longer than its operation runs"


def test_restart_stop_and_start(azure: Azure, server: pg.Server, azure_home: Home) -> None:
    servers, configurations = azure.postgres.servers, azure.postgres.configurations
    value = pg.Configuration(properties=pg.ConfigurationProperties(value="57", source="user-override"))
    set_ = configurations.begin_put(GROUP, NAME, "max_connections", value).result()
    assert set_.properties.is_config_pending_restart
    assert servers.begin_restart(GROUP, NAME, pg.RestartParameter()).result() is None
    found = configurations.get(GROUP, NAME, "max_connections")
    assert (found.properties.value, found.properties.is_config_pending_restart) == ("57", False)
    with log_in(azure) as connection:
        assert connection.execute("SHOW max_connections").fetchone() == ("57",)
    instance = Instance(NAME, home=azure_home)
    try:
        assert servers.begin_stop(GROUP, NAME).result() is None
        assert servers.get(GROUP, NAME).state == "Stopped"
        assert instance.status().state == "stopped"
        with pytest.raises(ResourceExistsError) as caught:
            configurations.begin_put(GROUP, NAME, "max_connections", value)
        assert caught.value.error.code == "ServerIsNotReady"
        assert "Start the server first." in caught.value.message
        with pytest.raises(ResourceExistsError, match="Start the server first"):
            list(azure.postgres.databases.list_by_server(GROUP, NAME))
    finally:
        servers.begin_start(GROUP, NAME).result()
    assert servers.get(GROUP, NAME).state == "Ready"
    assert instance.status().state == "running"


def test_another_size(azure: Azure, server: pg.Server, azure_home: Home) -> None:
    def scale(name: str, tier: str) -> pg.Server:
        patch = pg.ServerForPatch(sku=pg.SkuForPatch(name=name, tier=tier))
        return azure.postgres.servers.begin_update(GROUP, NAME, patch).result()

    def allowed() -> str:
        found = azure.postgres.configurations.get(GROUP, NAME, "azure.extensions")
        return str(found.properties.allowed_values)

    instance = Instance(NAME, home=azure_home)
    before = instance.status().postgres_pid
    assert "azure_local_ai" in allowed()
    try:
        assert scale("Standard_D2ds_v5", "GeneralPurpose").sku.name == "Standard_D2ds_v5"
        assert instance.description.sku == "Standard_D2ds_v5"
        assert instance.status().postgres_pid not in {None, before}, "other compute is another machine"
        assert "azure_local_ai" not in allowed(), "only memory-optimised servers offer it"
    finally:
        scale("Standard_E4ds_v5", "MemoryOptimized")


def test_the_life_of_another(azure: Azure, azure_home: Home) -> None:
    group = azure.group("short")
    model = server_model(version="16", administrator_login="someone")
    model.identity = pg.UserAssignedIdentity(type="SystemAssigned")
    made = azure.postgres.servers.begin_create_or_update("short", "short-lived", model).result()
    assert (made.version, made.administrator_login) == ("16", "someone")
    assert made.identity.principal_id
    with log_in(azure, "short-lived", user="someone") as connection:
        assert connection.info.server_version // 10000 == 16
    again = azure.postgres.servers.begin_create_or_update("short", "short-lived", model).result()
    assert again.identity.principal_id == made.identity.principal_id, "for the life of the server"
    identities = Identities(azure.twin.files.identity)
    assert identities.find(str(made.id)).object_id == made.identity.principal_id, "who can get tokens"
    plain = server_model(version="16", administrator_login="someone")
    plain.identity = pg.UserAssignedIdentity(type="None")
    assert (
        azure.postgres.servers.begin_create_or_update("short", "short-lived", plain)
        .result()
        .identity.principal_id
        is None
    )
    with pytest.raises(IdentityNotFound):
        identities.find(str(made.id))
    folder = azure_home.instance("short-lived").root
    assert folder.is_dir()
    assert azure.postgres.servers.begin_delete("short", "short-lived").result() is None
    assert not folder.exists()
    with pytest.raises(ResourceNotFoundError) as caught:
        azure.postgres.servers.get("short", "short-lived")
    assert caught.value.error.code == "ResourceNotFound"
    assert "under resource group 'short'" in caught.value.message
    assert (
        azure.raw("DELETE", f"{group}/providers/Microsoft.DBforPostgreSQL/flexibleServers/short-lived").status
        == 204
    )


def test_a_server_made_by_id_and_deleted_with_its_group(azure: Azure, azure_home: Home) -> None:
    group = azure.group("by-id")
    id_ = f"{group}/providers/microsoft.dbforpostgresql/flexibleservers/by-id-server"
    body = {
        "location": "eastus",
        "sku": {"name": "Standard_B1ms", "tier": "Burstable"},
        "properties": {
            "version": "18",
            "administratorLogin": "boss",
            "administratorLoginPassword": PASSWORD,
            "availabilityZone": "",
            "highAvailability": {"mode": "Disabled", "standbyAvailabilityZone": ""},
            "authConfig": {"passwordAuth": "Enabled", "tenantId": ""},
        },
    }
    made: resources_models.GenericResource = azure.put(id_, body)
    assert made.properties["state"] == "Ready"
    assert "administratorLoginPassword" not in made.properties
    assert made.type == "Microsoft.DBforPostgreSQL/flexibleServers"
    azure.resources.resource_groups.begin_delete("by-id").result()
    assert "by-id-server" not in azure_home.instance_names()


WRONG = [
    ({"auth_config": {"tenantId": "x"}}, "InvalidParameterValue", "The local ARM twin has one tenant, "),
    (
        {"version": "17"},
        "InvalidParameterValue",
        "for parameter version. Specify a valid parameter value. This machine can run PostgreSQL 16 and 18.",
    ),
    ({"version": "nine"}, "InvalidParameterValue", "for parameter version"),
    ({"administrator_login": "azuresu"}, "InvalidParameterValue", "administratorLogin"),
    ({"administrator_login": "Guest"}, "InvalidParameterValue", "'Guest' cannot be the server admin"),
    ({"administrator_login": "pg_me"}, "InvalidParameterValue", "nothing that begins with pg_"),
    ({"administrator_login": None}, "InvalidParameterValue", "It is required where passwordAuth is Enabled."),
    ({"administrator_login_password": None}, "InvalidParameterValue", "administratorLoginPassword"),
    (
        {"administrator_login_password": "password"},
        "PasswordNotComplex",
        "is too simple: Azure wants three of",
    ),
    ({"administrator_login_password": "Boss-is-1"}, "PasswordNotComplex", "holds the admin's name"),
    ({"administrator_login_password": "Correct\nHorse-7"}, "InvalidParameterValue", "control characters"),
    ({"storage": {"storageSizeGB": 65}}, "InvalidParameterValue", "65 is none of 32, 64, 128"),
    (
        {"storage": {"storageSizeGB": 16, "type": "PremiumV2_LRS"}},
        "InvalidParameterValue",
        "16 is not from 32 to 65536",
    ),
    ({"backup": {"backupRetentionDays": 36}}, "InvalidParameterValue", "36 is not from 7 to 35"),
    ({"auth_config": {"passwordAuth": "Disabled"}}, "InvalidParameterValue", "At least one of passwordAuth"),
    (
        {"auth_config": {"passwordAuth": "Off"}},
        "InvalidRequestContent",
        "'properties.authConfig.passwordAuth' is 'Off'; allowed are Enabled or Disabled",
    ),
    (
        {"create_mode": "Replica"},
        "FeatureNotSupportedByTwin",
        "createMode Replica is not supported by the local ARM twin",
    ),
    (
        {"create_mode": "Clone"},
        "InvalidRequestContent",
        "'properties.createMode' is 'Clone'; allowed are Default",
    ),
    (
        {"data_encryption": {"type": "SystemAssigned"}},
        "InvalidRequestContent",
        "allowed are SystemManaged or AzureKeyVault",
    ),
]


@pytest.fixture
def nothing_made(azure: Azure, azure_home: Home) -> Iterator[None]:
    azure.group("wrong")
    yield
    assert "wrong-server" not in azure_home.instance_names()
    assert list(azure.postgres.servers.list_by_resource_group("wrong")) == []


@pytest.mark.usefixtures("nothing_made")
@pytest.mark.parametrize(("wrong", "code", "said"), WRONG, ids=str)
def test_properties_that_no_server_has(azure: Azure, wrong: dict[str, Any], code: str, said: str) -> None:
    with pytest.raises(HttpResponseError) as caught:
        azure.postgres.servers.begin_create_or_update("wrong", "wrong-server", server_model(**wrong))
    assert (caught.value.status_code, caught.value.error.code) == (400, code)
    assert said in caught.value.message


@pytest.mark.usefixtures("nothing_made")
@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        (
            {"location": "atlantis!"},
            "LocationNotAvailableForResourceType",
            "The provided location 'atlantis!' is not available for resource type "
            "'Microsoft.DBforPostgreSQL/flexibleServers'. List of available regions is 'australiacentral,",
        ),
        ({"location": "East Europe"}, "LocationNotAvailableForResourceType", "Did you mean 'westeurope'?"),
        ({"sku": None}, "InvalidParameterValue", "A server needs a name and a tier"),
        (
            {"sku": {"name": "Standard_E5ds_v5", "tier": "MemoryOptimized"}},
            "InvalidParameterValue",
            "is none of Standard_E128ds_v6",
        ),
        (
            {"sku": {"name": "Standard_E4ds_v5", "tier": "GeneralPurpose"}},
            "InvalidParameterValue",
            "is of the tier MemoryOptimized",
        ),
        (
            {"identity": {"type": "UserAssigned", "userAssignedIdentities": {"/subscriptions/x/y": {}}}},
            "FailedIdentityOperation",
            "was not found",
        ),
    ],
)
def test_envelopes_that_no_server_has(azure: Azure, changes: dict[str, Any], code: str, said: str) -> None:
    model = server_model().as_dict() | changes
    with pytest.raises(HttpResponseError) as caught:
        azure.postgres.servers.begin_create_or_update("wrong", "wrong-server", model)
    assert caught.value.error.code == code
    assert said in caught.value.message


@pytest.mark.usefixtures("nothing_made")
def test_networks_that_no_server_is_in(azure: Azure) -> None:
    group = azure.group("wrong")
    net, zones = (
        f"{group}/providers/Microsoft.Network/virtualNetworks/net",
        f"{group}/providers/Microsoft.Network/privateDnsZones",
    )
    delegated = {"name": "d", "properties": {"serviceName": "Microsoft.DBforPostgreSQL/flexibleServers"}}
    plain = {"name": "plain", "properties": {"addressPrefix": "10.0.0.0/24"}}
    own = {"name": "own", "properties": {"addressPrefix": "10.0.1.0/24", "delegations": [delegated]}}
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [plain, own]}
    azure.put(net, {"location": "eastus", "properties": space}, "2024-05-01")
    azure.put(f"{zones}/some.where", {"location": "global"}, "2024-06-01")
    for subnet, zone, said in (
        ("none", None, "There is no subnet"),
        ("plain", None, "The subnet 'plain' is not delegated to Microsoft.DBforPostgreSQL/flexibleServers"),
        ("own", None, "needs a private DNS zone"),
        ("own", "none", "There is no private DNS zone"),
        ("own", "some.where", "must end with .postgres.database.azure.com"),
    ):
        network = {"delegatedSubnetResourceId": f"{net}/subnets/{subnet}"}
        network |= {"privateDnsZoneArmResourceId": f"{zones}/{zone}"} if zone else {}
        with pytest.raises(HttpResponseError, match=said):
            azure.postgres.servers.begin_create_or_update(
                "wrong", "wrong-server", server_model(network=network)
            )


def test_a_server_in_a_network(azure: Azure) -> None:
    group = azure.group("injected")
    net = f"{group}/providers/Microsoft.Network/virtualNetworks/net"
    zone = f"{group}/providers/Microsoft.Network/privateDnsZones/x.private.postgres.database.azure.com"
    delegated = {"name": "d", "properties": {"serviceName": "Microsoft.DBforPostgreSQL/flexibleServers"}}
    own = {"name": "own", "properties": {"addressPrefix": "10.0.1.0/24", "delegations": [delegated]}}
    space = {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}, "subnets": [own]}
    azure.put(net, {"location": "eastus", "properties": space}, "2024-05-01")
    azure.put(zone, {"location": "global"}, "2024-06-01")
    network = {"delegatedSubnetResourceId": f"{net}/subnets/own", "privateDnsZoneArmResourceId": zone}
    servers = azure.postgres.servers
    made = servers.begin_create_or_update(
        "injected", "injected-server", server_model(network=network)
    ).result()
    assert made.network.public_network_access == "Disabled"
    usage = azure.postgres.virtual_network_subnet_usage.list(
        "eastus", pg.VirtualNetworkSubnetUsageParameter(virtual_network_arm_resource_id=net)
    )
    assert [(one.subnet_name, one.usage) for one in usage.delegated_subnets_usage] == [("own", 1)]
    rule = {"properties": {"startIpAddress": "1.1.1.1", "endIpAddress": "1.1.1.1"}}
    with pytest.raises(HttpResponseError, match="A server in a virtual network has no firewall rules"):
        azure.postgres.firewall_rules.begin_create_or_update("injected", "injected-server", "r", rule)
    with pytest.raises(HttpResponseError, match="for the life of the server"):
        servers.begin_update(
            "injected",
            "injected-server",
            {"properties": {"network": {"delegatedSubnetResourceId": f"{net}/subnets/x"}}},
        )
    deleting = azure.resources.resource_groups.begin_delete("injected", polling_interval=0)
    with pytest.raises(ResourceExistsError) as caught:
        azure.group("injected")
    assert caught.value.error.code == "ResourceGroupBeingDeleted"
    with pytest.raises(ResourceExistsError, match="ResourceGroupBeingDeleted"):
        azure.put(
            f"{group}/providers/Microsoft.Network/virtualNetworks/two",
            {"location": "eastus", "properties": space},
            "2024-05-01",
        )
    deleting.result()


@pytest.mark.usefixtures("nothing_made")
@pytest.mark.parametrize("name", ["Upper", "ab", "-ab", "ab-", "a_b", "a" * 64])
def test_names_that_no_server_has(azure: Azure, name: str) -> None:
    with pytest.raises(HttpResponseError) as caught:
        azure.postgres.servers.begin_create_or_update("wrong", name, server_model())
    assert caught.value.error.code == "InvalidParameterValue"
    assert caught.value.message.startswith(
        "(InvalidParameterValue) Invalid value given for parameter serverName. Specify a valid parameter value."
    )


@pytest.mark.usefixtures("nothing_made")
def test_snake_case_is_not_the_wires(azure: Azure) -> None:
    with pytest.raises(
        HttpResponseError, match=r"could not find member 'properties\.administrator_login'; did you mean"
    ):
        azure.postgres.servers.begin_create_or_update(
            "wrong", "wrong-server", {"location": "eastus", "properties": {"administrator_login": "boss"}}
        )


def test_a_name_is_taken_in_every_group_and_by_other_local_servers(
    azure: Azure, server: pg.Server, azure_home: Home
) -> None:
    azure.group("elsewhere")
    with pytest.raises(ResourceExistsError) as caught:
        azure.postgres.servers.begin_create_or_update("elsewhere", NAME, server_model())
    assert caught.value.error.code == "ServerNameAlreadyExists"
    ours = azure_home.instance("not-azures")
    ours.root.mkdir()
    ours.description.write_text("{}")
    try:
        with pytest.raises(ResourceExistsError, match="Specified server name 'not-azures' is already used"):
            azure.postgres.servers.begin_create_or_update("elsewhere", "not-azures", server_model())
        request = pg.CheckNameAvailabilityRequest(
            name="not-azures", type="Microsoft.DBforPostgreSQL/flexibleServers"
        )
        assert azure.postgres.name_availability.check_globally(request).reason == "AlreadyExists"
    finally:
        ours.description.unlink()
        ours.root.rmdir()


def test_one_of_many_gets_a_name(azure: Azure, azure_home: Home) -> None:
    """Requests at the same moment, each in a group of its own."""
    groups = [azure.group(f"race-{number}") for number in range(8)]
    body = {
        "location": "eastus",
        "sku": {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"},
        "identity": {"type": "SystemAssigned"},
        "properties": {"administratorLogin": "boss", "administratorLoginPassword": PASSWORD},
    }
    start = threading.Barrier(len(groups))

    def put(group: str) -> Reply:
        start.wait(30)
        return azure.raw("PUT", f"{group}/providers/Microsoft.DBforPostgreSQL/flexibleServers/raced", body)

    with ThreadPoolExecutor(len(groups)) as pool:
        replies = list(pool.map(put, groups))
    assert sorted(reply.status for reply in replies) == [202] + [409] * (len(groups) - 1)
    refused = [reply.body["error"]["code"] for reply in replies if reply.status == 409]
    assert set(refused) == {"ServerNameAlreadyExists"}
    winner = groups[[reply.status for reply in replies].index(202)]
    made = [one.id for one in azure.postgres.servers.list_by_subscription() if one.name == "raced"]
    assert made == [f"{winner}/providers/Microsoft.DBforPostgreSQL/flexibleServers/raced"]
    for group in groups:
        azure.resources.resource_groups.begin_delete(group.rsplit("/", 1)[-1]).result()
    assert not azure_home.instance("raced").root.exists()


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"storage": {"storageSizeGB": 32}}, "Storage cannot shrink from 64."),
        ({"version": "16"}, "A server of PostgreSQL 18 cannot go back."),
    ],
)
def test_what_a_server_cannot_become(
    azure: Azure, server: pg.Server, patch: dict[str, Any], said: str
) -> None:
    with pytest.raises(HttpResponseError, match=said):
        azure.postgres.servers.begin_update(GROUP, NAME, {"properties": patch})


def test_a_server_stays_where_it_is_and_whose_it_is(azure: Azure, server: pg.Server) -> None:
    with pytest.raises(HttpResponseError, match="It is 'boss' for the life of the server"):
        azure.postgres.servers.begin_create_or_update(GROUP, NAME, server_model(administrator_login="other"))
    model = server_model()
    model.location = "westeurope"
    with pytest.raises(ResourceExistsError) as caught:
        azure.postgres.servers.begin_create_or_update(GROUP, NAME, model)
    assert caught.value.error.code == "InvalidResourceLocation"


def test_one_operation_at_a_time(azure: Azure, server: pg.Server) -> None:
    rule = {"properties": {"startIpAddress": "1.1.1.1", "endIpAddress": "1.1.1.1"}}
    restarting = azure.postgres.servers.begin_restart(GROUP, NAME, pg.RestartParameter(), polling_interval=0)
    with pytest.raises(ResourceExistsError) as caught:
        azure.postgres.firewall_rules.begin_create_or_update(GROUP, NAME, "busy", rule)
    assert (caught.value.status_code, caught.value.error.code) == (409, "ServerIsBusy")
    assert (
        f"Cannot complete operation while server '{NAME}' is busy processing another operation."
        in caught.value.message
    )
    assert "Retry-After" not in caught.value.response.headers, "or clients would repeat the request unseen"
    assert azure.postgres.servers.get(GROUP, NAME).state == "Restarting"
    with pytest.raises(ResourceExistsError, match="ServerIsBusy"):
        azure.postgres.servers.begin_delete(GROUP, NAME)
    restarting.result()
    azure.postgres.firewall_rules.begin_create_or_update(GROUP, NAME, "busy", rule).result()
    azure.postgres.firewall_rules.begin_delete(GROUP, NAME, "busy").result()


def test_how_an_operation_is_polled(azure: Azure, server_id: str) -> None:
    reply = azure.raw("POST", f"{server_id}/restart", {})
    assert (reply.status, reply.body) == (202, None)
    status, location = reply.headers["azure-asyncoperation"], reply.headers["location"]
    place = f"{azure.endpoint}/subscriptions/{azure.subscription}/providers/Microsoft.DBforPostgreSQL/locations/eastus"
    assert status.startswith(f"{place}/azureAsyncOperation/")
    assert location.startswith(f"{place}/operationResults/")
    assert status.endswith("?api-version=2025-08-01")
    assert "retry-after" not in reply.headers
    assert int(reply.headers["retry-after-ms"]) < 1000
    running = azure.raw("GET", status)
    assert (running.status, running.body["status"]) == (200, "InProgress")
    assert azure.raw("GET", location).status == 202
    assert wait_for(lambda: azure.raw("GET", location).status != 202, timeout=60)
    ended = azure.raw("GET", status).body
    assert (ended["status"], ended["name"] in status) == ("Succeeded", True)
    assert ended["startTime"] <= ended["endTime"]
    assert azure.raw("GET", location).status == 204
