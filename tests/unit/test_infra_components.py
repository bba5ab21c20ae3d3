"""Each component: what it asks of Azure, in which order, and what it protects."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pulumi
import pytest

from azpg_infra.ai import OPENAI_USER
from azpg_infra.errors import ConfigInvalid

from .cloud import PRINCIPAL, SUBSCRIPTION, TENANT, Cloud, up

ADMINS = [
    {"objectId": "20212223-2425-2627-2829-2a2b2c2d2e2f", "name": "dba@example.org"},
    {"objectId": "30313233-3435-3637-3839-3a3b3c3d3e3f", "name": "operators", "type": "Group"},
]
VAULT_KEY = "https://vault.example/keys/data/0123456789abcdef"
IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
WORKSPACE = "/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/w"
FULL: dict[str, Any] = {
    "entraAdmins": ADMINS,
    "firewallRules": {"office": "203.0.113.0/24", "azure": "azure-services"},
    "databases": ["app", "reports"],
    "preloadLibraries": ["auto_explain"],
    "parameters": {"work_mem": 8192, "require_secure_transport": True},
    "aiDeployments": [
        {"name": "small", "model": "text-embedding-3-small", "version": "1"},
        {
            "name": "large",
            "model": "text-embedding-3-large",
            "version": "1",
            "sku": "GlobalStandard",
            "capacity": 5,
        },
    ],
}


class TestServer:
    def test_by_default(self) -> None:
        server = up().one("Server")
        assert server["sku"] == {"name": "Standard_E4ds_v5", "tier": "MemoryOptimized"}
        assert server["version"] == "18"
        assert server["network"] == {"publicNetworkAccess": "Enabled"}
        assert server["identity"] == {"type": "SystemAssigned"}
        assert server["authConfig"] == {
            "passwordAuth": "Enabled",
            "activeDirectoryAuth": "Enabled",
            "tenantId": TENANT,
        }
        assert server["storage"] == {"storageSizeGB": 128, "autoGrow": "Enabled"}
        assert server["backup"] == {"backupRetentionDays": 7, "geoRedundantBackup": "Disabled"}
        assert server["highAvailability"] == {"mode": "Disabled", "standbyAvailabilityZone": ""}
        assert server["administratorLogin"] == "pgadmin"
        assert not {"dataEncryption", "maintenanceWindow"} & set(server.inputs)

    def test_its_options(self) -> None:
        server = up().one("Server")
        assert server.options.protect
        assert list(server.options.ignoreChanges) == [
            "availabilityZone",
            "highAvailability.standbyAvailabilityZone",
        ]
        assert server.options.customTimeouts.create == "60m"
        assert server.parent == "FlexibleServer/server"

    def test_all_that_is_passed_through(self) -> None:
        server = up(
            {
                "serverName": "mine",
                "resourceGroup": "Group1",
                "location": "West Europe",
                "sku": "Standard_E8ds_v5",
                "version": "16",
                "storageGb": 512,
                "storage": {"type": "PremiumV2_LRS", "iops": 4000, "throughput": 200, "autoGrow": False},
                "backupRetentionDays": 35,
                "highAvailability": "ZoneRedundant",
                "zones": {"primary": "1", "standby": "3"},
                "maintenance": {"day": "Tuesday", "hour": 3, "minute": 30},
                "encryption": {"keyUri": VAULT_KEY, "identityId": IDENTITY},
                "tags": {"team": "search"},
                "adminUser": "alice",
            }
        ).one("Server")
        assert (server["serverName"], server["resourceGroupName"], server["location"]) == (
            "mine",
            "Group1",
            "westeurope",
        )
        assert server["sku"] == {"name": "Standard_E8ds_v5", "tier": "MemoryOptimized"}
        assert server["version"] == "16"
        assert server["storage"] == {
            "storageSizeGB": 512,
            "autoGrow": "Disabled",
            "type": "PremiumV2_LRS",
            "iops": 4000,
            "throughput": 200,
        }
        assert server["backup"] == {"backupRetentionDays": 35, "geoRedundantBackup": "Disabled"}
        assert server["highAvailability"] == {"mode": "ZoneRedundant", "standbyAvailabilityZone": "3"}
        assert server["availabilityZone"] == "1"
        assert server["maintenanceWindow"] == {
            "customWindow": "Enabled",
            "dayOfWeek": 2,
            "startHour": 3,
            "startMinute": 30,
        }
        assert server["identity"] == {
            "type": "SystemAssigned,UserAssigned",
            "userAssignedIdentities": {IDENTITY: {}},
        }
        assert server["dataEncryption"] == {
            "type": "AzureKeyVault",
            "primaryKeyURI": VAULT_KEY,
            "primaryUserAssignedIdentityId": IDENTITY,
        }
        assert server["tags"] == {"team": "search"}
        assert server["administratorLogin"] == "alice"

    def test_a_geo_redundant_key(self) -> None:
        other = IDENTITY + "2"
        encryption = {
            "keyUri": VAULT_KEY,
            "identityId": IDENTITY,
            "geoKeyUri": VAULT_KEY,
            "geoIdentityId": other,
        }
        server = up({"encryption": encryption, "geoRedundantBackup": "true"}).one("Server")
        assert set(server["identity"]["userAssignedIdentities"]) == {IDENTITY, other}
        assert server["backup"]["geoRedundantBackup"] == "Enabled"
        assert server["dataEncryption"]["geoBackupKeyURI"] == VAULT_KEY
        assert server["dataEncryption"]["geoBackupUserAssignedIdentityId"] == other

    def test_entra_only(self) -> None:
        found = up({"passwordAuth": False, "entraAdmins": ADMINS, "adminPassword": None})
        server = found.one("Server")
        assert server["authConfig"]["passwordAuth"] == "Disabled"
        assert not {"administratorLogin", "administratorLoginPassword"} & set(server.inputs)
        assert found.outputs["admin_user"] == "dba@example.org"
        assert found.outputs["admin_password"] is None

    def test_passwords_only(self) -> None:
        auth = up({"entraAuth": False}).one("Server")["authConfig"]
        assert auth == {"passwordAuth": "Enabled", "activeDirectoryAuth": "Disabled", "tenantId": ""}

    def test_data_need_not_be_protected(self) -> None:
        found = up({"protect": False})
        assert not [each.name for each in found.resources if each.options.protect]


class TestContents:
    def test_one_write_after_the_other(self) -> None:
        """Azure takes one operation at a time; admins come before databases."""
        found = up(FULL)
        chain = [
            "Server/server",
            "FirewallRule/firewall-azure",
            "FirewallRule/firewall-office",
            f"AdministratorsMicrosoftEntra/admin-{ADMINS[0]['objectId']}",
            f"AdministratorsMicrosoftEntra/admin-{ADMINS[1]['objectId']}",
            "Database/database-app",
            "Database/database-reports",
            "Configuration/parameter-shared_preload_libraries",
            "Configuration/parameter-azure.extensions",
            "Configuration/parameter-require_secure_transport",
            "Configuration/parameter-work_mem",
        ]
        for earlier, later in pairwise(chain):
            kind, name = later.split("/")
            assert earlier in found.named(kind, name).waits_for, later

    def test_names_are_never_made_up(self) -> None:
        """An administrator or a parameter with a random suffix would be another one."""
        found = up(FULL)
        assert [each["objectId"] for each in found.all("AdministratorsMicrosoftEntra")] == [
            each["objectId"] for each in ADMINS
        ]
        assert {each["configurationName"] for each in found.all("Configuration")} == {
            "azure.extensions",
            "shared_preload_libraries",
            "work_mem",
            "require_secure_transport",
        }
        assert [each["databaseName"] for each in found.all("Database")] == ["app", "reports"]
        assert [each["firewallRuleName"] for each in found.all("FirewallRule")] == ["azure", "office"]

    def test_firewall(self) -> None:
        rules = {
            each["firewallRuleName"]: (each["startIpAddress"], each["endIpAddress"])
            for each in up(FULL).all("FirewallRule")
        }
        assert rules == {"azure": ("0.0.0.0", "0.0.0.0"), "office": ("203.0.113.0", "203.0.113.255")}

    def test_administrators(self) -> None:
        _, group = up(FULL).all("AdministratorsMicrosoftEntra")
        assert (group["principalName"], group["principalType"], group["tenantId"]) == (
            "operators",
            "Group",
            TENANT,
        )

    def test_databases(self) -> None:
        database, _ = up(FULL).all("Database")
        assert (database["charset"], database["collation"]) == ("UTF8", "en_US.utf8")
        assert database.options.protect

    def test_parameters(self) -> None:
        values = {each["configurationName"]: each["value"] for each in up(FULL).all("Configuration")}
        assert values == {
            "azure.extensions": "azure_ai,vector",
            "shared_preload_libraries": "pg_cron,pg_stat_statements,auto_explain",
            "work_mem": "8192",
            "require_secure_transport": "on",
        }
        assert {each["source"] for each in up(FULL).all("Configuration")} == {"user-override"}

    def test_the_order_of_extensions_does_not_matter(self) -> None:
        first, second = (
            up({"extensions": ["vector", "azure_ai"]}),
            up({"extensions": ["AZURE_AI ", "vector", "vector"]}),
        )
        assert (
            first.one("Configuration")["value"] == second.one("Configuration")["value"] == "azure_ai,vector"
        )

    def test_extensions_bring_what_they_preload(self) -> None:
        found = up({"extensions": ["vector", "timescaledb", "pg_cron"]})
        assert (
            found.named("Configuration", "parameter-shared_preload_libraries")["value"]
            == "pg_cron,pg_stat_statements,timescaledb"
        )

    def test_no_extensions(self) -> None:
        assert up({"extensions": []}).all("Configuration") == []

    def test_what_waits_for_a_restart_is_told(self) -> None:
        waiting = {"parameter-shared_preload_libraries": {"isConfigPendingRestart": True}}
        found = up({"extensions": ["age"]}, Cloud(computed=waiting))
        assert found.outputs["restart_required"] == ["shared_preload_libraries"]


class TestModels:
    def test_the_account(self) -> None:
        found = up()
        account = found.one("Account")
        assert account["kind"] == "OpenAI"
        assert account["sku"] == {"name": "S0"}
        assert account["properties"] == {
            "customSubDomainName": account["accountName"],
            "disableLocalAuth": True,
            "publicNetworkAccess": "Enabled",
        }
        assert not [token for token, _ in found.calls if "Keys" in token]

    def test_deployments_one_after_the_other(self) -> None:
        found = up(FULL)
        small, large = found.all("Deployment")
        assert "Account/ai" in small.waits_for
        assert "Deployment/ai-small" in large.waits_for
        assert large["sku"] == {"name": "GlobalStandard", "capacity": 5}
        assert large["properties"] == {
            "model": {"format": "OpenAI", "name": "text-embedding-3-large", "version": "1"},
            "versionUpgradeOption": "NoAutoUpgrade",
        }
        assert large.options.customTimeouts.create == "60m"

    def test_the_servers_identity_may_use_it(self) -> None:
        found = up()
        assignment = found.one("RoleAssignment")
        assert assignment["principalId"] == PRINCIPAL
        assert assignment["principalType"] == "ServicePrincipal"
        assert assignment["scope"] == f"/fake/Account/{found.one('Account')['accountName']}"
        assert assignment["roleDefinitionId"] == (
            f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.Authorization/roleDefinitions/{OPENAI_USER}"
        )
        assert assignment["roleAssignmentName"] == up().one("RoleAssignment")["roleAssignmentName"]
        replaced = {
            "server": {"identity": {"principalId": "another", "type": "SystemAssigned", "tenantId": TENANT}}
        }
        other = up(cloud=Cloud(computed=replaced)).one("RoleAssignment")
        assert other["roleAssignmentName"] != assignment["roleAssignmentName"]

    def test_keys_only_on_request(self) -> None:
        found = up({"aiLocalAuth": True})
        assert found.one("Account")["properties"]["disableLocalAuth"] is False
        assert found.outputs["ai_key"] == "key-number-one"
        assert found.secret_outputs == {"admin_password", "ai_key"}

    def test_the_endpoint_of_ai_services_is_that_of_openai(self) -> None:
        endpoints = {"OpenAI Language Model Instance API": "https://a.openai.azure.com/"}
        properties = {"endpoint": "https://a.cognitiveservices.azure.com/", "endpoints": endpoints}
        found = up({"aiKind": "AIServices"}, Cloud(computed={"ai": {"properties": properties}}))
        assert found.one("Account")["kind"] == "AIServices"
        assert found.outputs["ai_endpoint"] == "https://a.openai.azure.com/"

    def test_none(self) -> None:
        found = up({"aiKind": "none"})
        assert not {"Account", "Deployment", "RoleAssignment"} & {each.kind for each in found.resources}
        assert (found.outputs["ai_endpoint"], found.outputs["ai_deployments"]) == (None, [])


class TestNetwork:
    def test_public_and_closed(self) -> None:
        found = up()
        assert not {"VirtualNetwork", "FirewallRule"} & {each.kind for each in found.resources}

    def test_injected(self) -> None:
        found = up({"networkMode": "vnet"})
        server = found.one("Server")
        zone = f"{server['serverName']}.private.postgres.database.azure.com"
        assert server["network"] == {
            "delegatedSubnetResourceId": "/fake/Subnet/server",
            "privateDnsZoneArmResourceId": f"/fake/PrivateZone/{zone}",
        }
        assert "VirtualNetworkLink/server-zone-link" in server.waits_for
        subnets = {each["subnetName"]: each for each in found.all("Subnet")}
        assert subnets["server"]["delegations"] == [
            {"name": "flexible-server", "serviceName": "Microsoft.DBforPostgreSQL/flexibleServers"}
        ]
        assert "delegations" not in subnets["endpoints"].inputs
        assert "Subnet/network-server" in subnets["endpoints"].waits_for
        assert found.named("VirtualNetwork", "network").parent == "VirtualNetwork/network"
        assert not found.all("PrivateEndpoint")

    def test_own_ranges(self) -> None:
        ranges = {
            "addressSpace": "10.1.0.0/20",
            "serverSubnet": "10.1.0.0/25",
            "endpointSubnet": "10.1.0.128/25",
        }
        found = up({"networkMode": "vnet", "network": ranges})
        assert [each["addressPrefix"] for each in found.all("Subnet")] == ["10.1.0.0/25", "10.1.0.128/25"]

    def test_endpoint(self) -> None:
        found = up({"networkMode": "privateEndpoint"})
        server = found.one("Server")
        assert server["network"] == {"publicNetworkAccess": "Disabled"}
        endpoint = found.named("PrivateEndpoint", "server-endpoint")
        assert endpoint["subnet"] == {"id": "/fake/Subnet/endpoints"}
        assert endpoint["privateLinkServiceConnections"] == [
            {
                "name": "postgresqlServer",
                "privateLinkServiceId": f"/fake/Server/{server['serverName']}",
                "groupIds": ["postgresqlServer"],
            }
        ]
        names = found.one("PrivateDnsZoneGroup")
        zone = "privatelink.postgres.database.azure.com"
        assert names["privateDnsZoneConfigs"] == [
            {"name": "zone0", "privateDnsZoneId": f"/fake/PrivateZone/{zone}"}
        ]
        assert "VirtualNetworkLink/server-zone-link" in names.waits_for

    @pytest.mark.parametrize(
        ("kind", "zones"),
        [
            ("OpenAI", ["privatelink.openai.azure.com"]),
            ("AIServices", ["privatelink.cognitiveservices.azure.com", "privatelink.openai.azure.com"]),
        ],
    )
    def test_private_models(self, kind: str, zones: list[str]) -> None:
        found = up({"networkMode": "vnet", "aiPublicAccess": False, "aiKind": kind})
        assert found.one("Account")["properties"]["publicNetworkAccess"] == "Disabled"
        names = found.one("PrivateDnsZoneGroup")
        assert [each["privateDnsZoneId"] for each in names["privateDnsZoneConfigs"]] == [
            f"/fake/PrivateZone/{zone}" for zone in zones
        ]


class TestWatching:
    def test_nothing_by_default(self) -> None:
        assert not {"Workspace", "DiagnosticSetting", "ManagementLockByScope"} & {
            each.kind for each in up().resources
        }

    def test_a_new_workspace(self) -> None:
        found = up({"diagnostics": True, "logRetentionDays": 90})
        workspace = found.one("Workspace")
        assert workspace["retentionInDays"] == 90
        assert workspace["sku"] == {"name": "PerGB2018"}
        ai, server = sorted(found.all("DiagnosticSetting"), key=lambda each: each.name)
        assert server["resourceUri"] == f"/fake/Server/{found.one('Server')['serverName']}"
        assert ai["resourceUri"] == f"/fake/Account/{found.one('Account')['accountName']}"
        assert server["logs"] == [{"categoryGroup": "allLogs", "enabled": True}]
        assert server["metrics"] == [{"category": "AllMetrics", "enabled": True}]
        assert server["workspaceId"] == f"/fake/Workspace/{workspace['workspaceName']}"

    def test_a_workspace_of_ones_own(self) -> None:
        found = up({"diagnostics": True, "logWorkspaceId": WORKSPACE})
        assert not found.all("Workspace")
        assert {each["workspaceId"] for each in found.all("DiagnosticSetting")} == {WORKSPACE}

    def test_the_lock_comes_last(self) -> None:
        found = up(FULL | {"lock": True, "diagnostics": True})
        lock = found.one("ManagementLockByScope")
        assert (lock["level"], lock["lockName"]) == ("CanNotDelete", "azpg")
        assert lock["scope"] == f"/fake/Server/{found.one('Server')['serverName']}"
        assert {
            "Configuration/parameter-work_mem",
            "DiagnosticSetting/logs-server",
            "Database/database-app",
        } <= lock.waits_for

    def test_with_a_private_endpoint(self) -> None:
        lock = up({"lock": True, "networkMode": "privateEndpoint"}).one("ManagementLockByScope")
        assert "PrivateDnsZoneGroup/server-endpoint-names" in lock.waits_for


class TestWhatAServerReallyOffers:
    def test_it_is_asked_by_name_before_anything_is_made(self) -> None:
        cloud = Cloud(offered="vector,pgcrypto")
        with pytest.raises(Exception, match="is not offered by this server: use pgcrypto, vector"):
            up({"serverName": "mine"}, cloud)
        assert cloud.resources == []
        assert cloud.calls[-1][1] == {
            "resourceGroupName": "rg-azpg-dev",
            "serverName": "mine",
            "configurationName": "azure.extensions",
        }

    def test_a_retired_extension(self) -> None:
        cloud = Cloud(offered="vector,azure_ai")
        with pytest.raises(
            Exception,
            match="azure_local_ai cannot be had: the server does not list it among its allowed values",
        ):
            up({"profile": "preview-2024", "extensions": ["vector", "azure_local_ai"]}, cloud)

    def test_the_server_knows_better_than_the_profile(self) -> None:
        cloud = Cloud(offered="vector,azure_local_ai")
        assert up({"extensions": ["azure_local_ai"]}, cloud).one("Configuration")["value"] == "azure_local_ai"

    def test_nothing_is_asked_while_something_else_is_wrong(self) -> None:
        cloud = Cloud(offered="vector")
        with pytest.raises(pulumi.RunError, match=r"2 mistakes[^$]*azure_local_ai was retired"):
            up({"extensions": ["azure_local_ai"], "storageGb": 1}, cloud)
        assert cloud.calls == []

    def test_what_it_offers_may_be_had(self) -> None:
        cloud = Cloud(offered="Vector, azure_ai,azure_local_ai")
        up({"profile": "preview-2024", "extensions": ["azure_local_ai"]}, cloud)
        assert cloud.one("Configuration")["value"] == "azure_local_ai"

    def test_without_allowed_values_the_profile_decides(self) -> None:
        assert up(cloud=Cloud(offered="")).one("Configuration")["value"] == "azure_ai,vector"


def test_mistakes_end_the_program_without_a_traceback() -> None:
    cloud = Cloud()
    with pytest.raises(pulumi.RunError) as caught:
        up({"sku": "tiny"}, cloud)
    assert str(caught.value).startswith(
        "The configuration of this stack cannot be used; nothing was changed:\n  - azpg:sku: 'tiny'"
    )
    assert caught.value.__cause__ is None
    assert not isinstance(caught.value, ConfigInvalid)
    assert cloud.resources == []


def test_nobody_is_signed_in() -> None:
    cloud = Cloud(signed_in=False)
    with pytest.raises(pulumi.RunError) as caught:
        up(cloud=cloud)
    assert str(caught.value) == (
        "Azure does not know who is calling; nothing was changed. Run `az login` and `az account set`, or set ARM_CLIENT_ID, "
        "ARM_TENANT_ID and ARM_SUBSCRIPTION_ID; `azpg pulumi` needs neither. (invoke of "
        "azure-native:authorization:getClientConfig failed: please run az login)"
    )
    assert cloud.resources == []


def test_misspelt_keys_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """pulumi.Config knows only the keys it is asked for."""
    monkeypatch.setenv("PULUMI_CONFIG", json.dumps({"azpg:extnsions": "[]", "other:key": "1"}))
    with pytest.raises(Exception, match="azpg:extnsions: is unknown: did you mean azpg:extensions"):
        up()


def test_the_password_in_clear_text_is_refused() -> None:
    with pytest.raises(Exception, match="azpg:adminPassword: stands in the stack's file in clear text"):
        up(plain_password=True)
