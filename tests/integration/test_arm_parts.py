"""The parts of a flexible server by the unmodified SDK: they are what the local server has."""

from __future__ import annotations

import re
import uuid
from typing import Any

import psycopg
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.postgresqlflexibleservers import models as pg

from azpg_runtime.access_tokens import DATABASE
from azpg_runtime.arm.identity.service import IdentityService
from azpg_runtime.home import Home
from azpg_runtime.postgres.instance import Instance
from tests.integration.azure import Azure

GROUP, NAME = "shared", "shared-server"
pytestmark = pytest.mark.usefixtures("server_id")


@pytest.fixture
def instance(azure_home: Home) -> Instance:
    return Instance(NAME, home=azure_home)


def set_parameter(
    azure: Azure, name: str, value: str | None, source: str = "user-override"
) -> pg.Configuration:
    model = pg.Configuration(properties=pg.ConfigurationProperties(value=value, source=source))
    return azure.postgres.configurations.begin_put(GROUP, NAME, name, model).result()


# Configurations


def test_a_configuration_says_what_azure_says(azure: Azure, instance: Instance) -> None:
    found = azure.postgres.configurations.get(GROUP, NAME, "work_mem")
    own = found.properties
    assert (found.name, found.type) == (
        "work_mem",
        "Microsoft.DBforPostgreSQL/flexibleServers/configurations",
    )
    assert (own.value, own.default_value, own.unit, own.data_type) == ("4096", "4096", "kB", "Integer")
    assert (own.allowed_values, own.source) == ("64-2147483647", "system-default")
    assert (own.is_dynamic_config, own.is_read_only, own.is_config_pending_restart) == (True, False, False)
    listed = {one.name: one for one in azure.postgres.configurations.list_by_server(GROUP, NAME)}
    assert listed["work_mem"] == found
    assert listed.keys() == {one.name for one in instance.parameters()}


def test_setting_and_resetting_one(azure: Azure, instance: Instance) -> None:
    changed = set_parameter(azure, "work_mem", "8192")
    assert (changed.properties.value, changed.properties.source) == ("8192", "user-override")
    with instance.connect() as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("8MB",)
    back = set_parameter(azure, "work_mem", "4096", "system-default")
    assert (back.properties.value, back.properties.source) == ("4096", "system-default")
    patched = azure.postgres.configurations.begin_update(
        GROUP, NAME, "WORK_MEM", pg.ConfigurationForUpdate(properties=pg.ConfigurationProperties(value="9MB"))
    ).result()
    assert (patched.name, patched.properties.value) == ("work_mem", "9216")
    assert set_parameter(azure, "work_mem", None, "system-default").properties.value == "4096"


def test_a_static_one_waits_for_a_restart(azure: Azure) -> None:
    changed = set_parameter(azure, "max_locks_per_transaction", "128")
    assert changed.properties.is_config_pending_restart
    back = set_parameter(azure, "max_locks_per_transaction", None, "system-default")
    assert not back.properties.is_config_pending_restart


def test_allow_listing_an_extension_allows_it(azure: Azure, instance: Instance) -> None:
    with instance.connect(autocommit=True) as connection:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="not allow-listed"):
            connection.execute("CREATE EXTENSION vector")
        set_parameter(azure, "azure.extensions", "VECTOR, citext,azure_local_ai")
        found = azure.postgres.configurations.get(GROUP, NAME, "azure.extensions")
        assert found.properties.value == "vector,citext,azure_local_ai"
        # As a public answer of Azure has them.
        assert found.properties.description == (
            "Specifies which extensions are allowed to be created in the server."
        )
        assert found.properties.documentation_link == "https://go.microsoft.com/fwlink/?linkid=2274269"
        for name in ("vector", "azure_local_ai"):
            connection.execute(f"CREATE EXTENSION {name}")
            connection.execute(f"DROP EXTENSION {name}")
        with pytest.raises(psycopg.errors.FeatureNotSupported, match="not allow-listed"):
            connection.execute("CREATE EXTENSION hstore")
    set_parameter(azure, "azure.extensions", None, "system-default")


@pytest.mark.parametrize(
    ("name", "value", "source", "code", "said"),
    [
        (
            "work_mem",
            "much",
            "user-override",
            "InvalidParameterValue",
            "'much' is not allowed for 'work_mem'",
        ),
        (
            "azure.extensions",
            "nonsense",
            "user-override",
            "InvalidParameterValue",
            "nonsense cannot be allow-listed",
        ),
        ("server_version", "9", "user-override", "InvalidParameterValue", "is read-only"),
        (
            "work_mem",
            "8192",
            "somebody",
            "InvalidParameterValue",
            "'somebody' is none of user-override, system-default",
        ),
        ("work_mem", None, "user-override", "InvalidParameterValue", "A configuration needs a value"),
    ],
)
def test_values_that_none_has(
    azure: Azure, name: str, value: str | None, source: str, code: str, said: str
) -> None:
    with pytest.raises(HttpResponseError) as caught:
        set_parameter(azure, name, value, source)
    assert caught.value.error.code == code
    assert said in caught.value.message


def test_names_in_any_case(azure: Azure) -> None:
    assert azure.postgres.configurations.get(GROUP, NAME, "datestyle").name == "DateStyle"
    assert set_parameter(azure, "DATESTYLE", "ISO, DMY").properties.value == "ISO, DMY"
    set_parameter(azure, "datestyle", None, "system-default")


def test_a_configuration_there_is_not(azure: Azure) -> None:
    with pytest.raises(ResourceNotFoundError, match=r"flexibleServers/shared-server/configurations/nonsense"):
        azure.postgres.configurations.get(GROUP, NAME, "nonsense")
    with pytest.raises(ResourceNotFoundError):
        set_parameter(azure, "nonsense", "1")


def test_configurations_are_not_deleted(azure: Azure, server_id: str) -> None:
    reply = azure.raw("DELETE", f"{server_id}/configurations/work_mem")
    assert (reply.status, reply.headers["allow"]) == (405, "GET, PUT, PATCH")
    assert "'DELETE' is not supported" in reply.body["error"]["message"]


# Databases


def test_the_life_of_a_database(azure: Azure, instance: Instance) -> None:
    databases = azure.postgres.databases
    assert {one.name for one in databases.list_by_server(GROUP, NAME)} >= {"azure_maintenance", "postgres"}
    made = databases.begin_create(GROUP, NAME, "App data", pg.Database()).result()
    assert (made.name, made.properties.charset, made.properties.collation) == (
        "App data",
        "UTF8",
        "en_US.utf8",
    )
    connection = instance.connect("App data")
    row = connection.execute(
        "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'App data'"
    ).fetchone()
    assert row == ("boss",)
    again = databases.begin_create(GROUP, NAME, "App data", pg.Database()).result()
    assert again.id == made.id
    assert databases.begin_delete(GROUP, NAME, "App data").result() is None, "whoever is connected to it"
    connection.close()
    with pytest.raises(ResourceNotFoundError):
        databases.get(GROUP, NAME, "App data")
    assert "App data" not in {one.name for one in databases.list_by_server(GROUP, NAME)}
    assert databases.begin_delete(GROUP, NAME, "App data").result() is None


def test_other_charsets_and_collations(azure: Azure, instance: Instance) -> None:
    def make(name: str, **own: str) -> pg.Database:
        model = pg.Database(properties=pg.DatabaseProperties(**own))
        return azure.postgres.databases.begin_create(GROUP, NAME, name, model).result()

    made = make("latin", charset="LATIN1", collation="C")
    assert (made.properties.charset, made.properties.collation) == ("LATIN1", "C")
    with pytest.raises(HttpResponseError, match="The database 'latin' has LATIN1, which cannot change"):
        make("latin", charset="UTF8")
    azure.postgres.databases.begin_delete(GROUP, NAME, "latin").result()
    for wrong in ({"charset": "EBCDIC"}, {"collation": "xx_XX.utf8"}):
        with pytest.raises(HttpResponseError, match="The database 'wrong' cannot be made"):
            make("wrong", **wrong)
        assert "wrong" not in {one.name for one in azure.postgres.databases.list_by_server(GROUP, NAME)}


def test_what_sql_makes_is_listed_and_can_be_deleted(azure: Azure, instance: Instance) -> None:
    with instance.connect(autocommit=True) as connection:
        connection.execute("CREATE DATABASE by_sql")
    assert azure.postgres.databases.get(GROUP, NAME, "by_sql").properties.charset == "UTF8"
    azure.postgres.databases.begin_delete(GROUP, NAME, "by_sql").result()
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        instance.connect("by_sql")


@pytest.mark.parametrize("name", ["azure_maintenance", "postgres"])
def test_system_databases_stay(azure: Azure, name: str) -> None:
    with pytest.raises(HttpResponseError, match=f"The system database '{name}' cannot be dropped"):
        azure.postgres.databases.begin_delete(GROUP, NAME, name)


def test_database_names(azure: Azure) -> None:
    with pytest.raises(HttpResponseError, match="Use 1 to 63 bytes that can be printed"):
        azure.postgres.databases.begin_create(GROUP, NAME, "a" * 64, pg.Database())


# Firewall rules


def rule(first: str, last: str) -> pg.FirewallRule:
    return pg.FirewallRule(properties=pg.FirewallRuleProperties(start_ip_address=first, end_ip_address=last))


def test_the_life_of_a_firewall_rule(azure: Azure) -> None:
    rules = azure.postgres.firewall_rules
    made = rules.begin_create_or_update(GROUP, NAME, "Office", rule("10.0.0.1", "10.0.0.9")).result()
    assert (made.name, made.properties.start_ip_address) == ("Office", "10.0.0.1")
    changed = rules.begin_create_or_update(GROUP, NAME, "office", rule("10.0.0.2", "10.0.0.9")).result()
    assert (changed.id, changed.properties.start_ip_address) == (made.id, "10.0.0.2")
    assert [one.name for one in rules.list_by_server(GROUP, NAME)] == ["Office"]
    rules.begin_delete(GROUP, NAME, "office").result()
    with pytest.raises(ResourceNotFoundError):
        rules.get(GROUP, NAME, "office")
    assert rules.begin_delete(GROUP, NAME, "office").result() is None


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("r", {"startIpAddress": "10.0.0.9", "endIpAddress": "10.0.0.1"}, "10.0.0.1 is before 10.0.0.9"),
        (
            "r",
            {"startIpAddress": "10.0.0.256", "endIpAddress": "10.0.0.1"},
            "'10.0.0.256' is no IPv4 address",
        ),
        ("r", {"startIpAddress": "::1", "endIpAddress": "::1"}, "'::1' is no IPv4 address"),
        ("r", {"startIpAddress": "10.0.0.1"}, "'properties.endIpAddress' is required"),
        ("r.x", {"startIpAddress": "10.0.0.1", "endIpAddress": "10.0.0.1"}, "is not allowed: it must match"),
    ],
)
def test_rules_that_none_is(azure: Azure, name: str, body: dict[str, str], said: str) -> None:
    with pytest.raises(HttpResponseError) as caught:
        azure.postgres.firewall_rules.begin_create_or_update(GROUP, NAME, name, {"properties": body})
    assert said in caught.value.message


# Administrators


def administrator(name: str, kind: str = "ServicePrincipal") -> pg.AdministratorMicrosoftEntraAdd:
    own = pg.AdministratorMicrosoftEntraPropertiesForAdd(principal_name=name, principal_type=kind)
    return pg.AdministratorMicrosoftEntraAdd(properties=own)


def authenticate(azure: Azure, entra: str) -> pg.Server:
    patch = {"properties": {"authConfig": {"activeDirectoryAuth": entra}}}
    return azure.postgres.servers.begin_update(GROUP, NAME, patch).result()


def test_administrators_need_entra_authentication(azure: Azure) -> None:
    admins = azure.postgres.administrators_microsoft_entra
    with pytest.raises(HttpResponseError, match="activeDirectoryAuth to Enabled first"):
        admins.begin_create_or_update(GROUP, NAME, str(uuid.uuid4()), administrator("me"))


def test_the_life_of_an_administrator(azure: Azure, azure_home: Home, instance: Instance) -> None:
    service = IdentityService(azure_home)
    identity = service.identities.default
    token = service.issuer.issue(identity, DATABASE, 3600)

    def log_in() -> psycopg.Connection[Any]:
        return psycopg.connect(
            host="127.0.0.1",
            port=instance.description.tls_port,
            user="the-developer",
            password=token,
            dbname="postgres",
            sslmode="verify-full",
            sslrootcert=azure.twin.environment()["SSL_CERT_FILE"],
        )

    assert authenticate(azure, "Enabled").auth_config.tenant_id == service.identities.tenant_id
    admins = azure.postgres.administrators_microsoft_entra
    try:
        made = admins.begin_create_or_update(
            GROUP, NAME, identity.object_id, administrator("the-developer")
        ).result()
        assert (made.properties.object_id, made.properties.principal_name) == (
            identity.object_id,
            "the-developer",
        )
        assert made.properties.tenant_id == service.identities.tenant_id
        assert [one.name for one in admins.list_by_server(GROUP, NAME)] == [identity.object_id]
        with log_in() as connection:
            row = connection.execute(
                "SELECT current_user, pg_has_role('azure_pg_admin', 'member')"
            ).fetchone()
            assert row == ("the-developer", True)
        with pytest.raises(HttpResponseError) as caught:
            admins.begin_create_or_update(GROUP, NAME, str(uuid.uuid4()), administrator("boss")).result()
        assert caught.value.error.code == "InvalidParameterValue"
        assert "there is a role 'boss' that is no Microsoft Entra principal" in caught.value.message
        admins.begin_delete(GROUP, NAME, identity.object_id).result()
        assert list(admins.list_by_server(GROUP, NAME)) == []
        with pytest.raises(psycopg.OperationalError):
            log_in()
    finally:
        authenticate(azure, "Disabled")


@pytest.mark.parametrize(
    ("object_id", "name", "said"),
    [("me", "me", "'me' is no GUID"), ("0b5ad2d8-1c7e-4a30-9c58-7e0a8f1d2c3b", "", "it is the role's name")],
)
def test_administrators_that_none_is(azure: Azure, object_id: str, name: str, said: str) -> None:
    admins = azure.postgres.administrators_microsoft_entra
    with pytest.raises(HttpResponseError, match=said):
        admins.begin_create_or_update(GROUP, NAME, object_id, administrator(name))


# What is asked about servers


def test_capabilities(azure: Azure) -> None:
    (found,) = azure.postgres.capabilities_by_location.list("eastus")
    assert [one.name for one in found.supported_server_versions] == ["16", "18"]
    editions = {one.name: one for one in found.supported_server_editions}
    assert editions.keys() == {"Burstable", "GeneralPurpose", "MemoryOptimized"}
    sizes = {one.name: one for one in editions["MemoryOptimized"].supported_server_skus}
    assert (sizes["Standard_E4ds_v5"].v_cores, sizes["Standard_E4ds_v5"].supported_memory_per_vcore_mb) == (
        4,
        8192,
    )
    assert found.restricted == "Disabled"
    (own,) = azure.postgres.capabilities_by_server.list(GROUP, NAME)
    assert own == found
    with pytest.raises(HttpResponseError, match="'atlantis' is not available for resource type"):
        list(azure.postgres.capabilities_by_location.list("atlantis"))
    with pytest.raises(ResourceNotFoundError):
        list(azure.postgres.capabilities_by_server.list(GROUP, "nowhere"))


@pytest.mark.parametrize(
    ("name", "available", "reason"),
    [("free-name", True, None), (NAME, False, "AlreadyExists"), ("Not_A_Name", False, "Invalid")],
)
def test_names_that_are_free(azure: Azure, name: str, available: bool, reason: str | None) -> None:
    request = pg.CheckNameAvailabilityRequest(name=name, type="Microsoft.DBforPostgreSQL/flexibleServers")
    for found in (
        azure.postgres.name_availability.check_globally(request),
        azure.postgres.name_availability.check_with_location("eastus", request),
    ):
        assert (found.name, found.name_available, found.reason) == (name, available, reason)


def test_quota(azure: Azure) -> None:
    servers = azure.postgres.servers.list_by_subscription()  # of other tests, too
    sizes = [re.fullmatch(r"Standard_E(\d+)ds_v5", str(one.sku and one.sku.name)) for one in servers]
    found: dict[str, Any] = {one.name.value: one for one in azure.postgres.quota_usages.list("eastus")}
    assert found["standardEDSv5Family"].current_value == sum(int(one[1]) for one in sizes if one) >= 4
    assert found["standardEDSv5Family"].limit > 4
    assert found["standardDDSv5Family"].current_value == 0


def test_what_the_sdk_asks_further(azure: Azure, server_id: str) -> None:
    assert azure.postgres.private_dns_zone_suffix.get().endswith("postgres.database.azure.com")
    network = pg.VirtualNetworkSubnetUsageParameter(virtual_network_arm_resource_id="/subscriptions/x")
    assert azure.postgres.virtual_network_subnet_usage.list("eastus", network).delegated_subnets_usage == []
    assert list(azure.postgres.replicas.list_by_server(GROUP, NAME)) == []
    assert list(azure.postgres.private_endpoint_connections.list_by_server(GROUP, NAME)) == []


def test_parts_of_no_server(azure: Azure, server_id: str) -> None:
    for path in ("configurations", "databases", "firewallRules", "administrators", "databases/x", "replicas"):
        reply = azure.raw("GET", f"{server_id}-not/{path}")
        assert (reply.status, reply.body["error"]["code"]) == (404, "ResourceNotFound"), path
    reply = azure.raw("PUT", f"{server_id}-not/firewallRules/x", {"properties": {}})
    assert (reply.status, reply.body["error"]["code"]) == (404, "ParentResourceNotFound")
