"""What a stack's configuration may say, and every mistake in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg.profiles import COMMON, PRELOADABLE
from azpg_infra.config import StackConfig
from azpg_infra.errors import ConfigInvalid
from azpg_infra.reading import KEYS, read

from .cloud import PASSWORD

ADMIN = {"objectId": "20212223-2425-2627-2829-2a2b2c2d2e2f", "name": "dba@example.org"}
NAMES = "3 to 63 lower-case letters, digits and hyphens, no hyphen at an end"
RULE_FORMS = "write 203.0.113.7, 203.0.113.7-203.0.113.9, 203.0.113.0/24 or azure-services"
VAULT_KEY = "https://vault.example/keys/data/0123456789abcdef"
IDENTITY = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"


def config(**values: Any) -> StackConfig:
    """The configuration of values by key; a good password unless one is given."""
    values.setdefault("adminPassword", PASSWORD)
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in values.items()}
    return read({key: text for key, text in texts.items() if text != "null"}, secret={"adminPassword"})


def problems(**values: Any) -> list[str]:
    with pytest.raises(ConfigInvalid) as caught:
        config(**values)
    assert caught.value.exit_code == 2
    return list(caught.value.problems)


def test_defaults() -> None:
    assert config() == StackConfig(adminPassword=PASSWORD)  # type: ignore[arg-type]


def test_every_mistake_is_reported_at_once() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read({"sku": "Standard_F4", "version": "10", "databases": '["postgres"]', "storageGB": "128"})
    assert str(caught.value) == (
        "The configuration of this stack has 5 mistakes; nothing was changed:\n"
        "  - azpg:version: '10' is not allowed: use '11', '12', '13', '14', '15', '16', '17' or '18'\n"
        "  - azpg:sku: 'Standard_F4' is no Flexible Server SKU: use a name such as Standard_E4ds_v5, "
        "Standard_D4ds_v5 or Standard_B2s\n"
        "  - azpg:databases: postgres is there on every server: leave it out\n"
        "  - azpg:adminPassword: is missing while passwordAuth is true: run `pulumi config set --secret "
        "azpg:adminPassword`, or set azpg:passwordAuth to false and name azpg:entraAdmins\n"
        "  - azpg:storageGB: is unknown: did you mean azpg:storageGb?"
    )


def test_one_mistake() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        config(sku="tiny")
    assert str(caught.value).startswith(
        "The configuration of this stack cannot be used; nothing was changed:\n  - azpg:sku: 'tiny'"
    )


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        # one setting by itself
        (
            {"profile": "azure-2030"},
            "azpg:profile: 'azure-2030' is not allowed: use 'azure-2026' or 'preview-2024'",
        ),
        (
            {"location": "east-us"},
            "azpg:location: 'east-us' is no Azure region: did you mean eastus?",
        ),
        (
            {"location": "easteurope"},
            "azpg:location: 'easteurope' is no Azure region: did you mean westeurope?",
        ),
        ({"location": ""}, "azpg:location: '' is no Azure region: use a name such as eastus or West Europe"),
        ({"extensions": "vector"}, "azpg:extensions: 'vector' is not a list"),
        ({"extensions": [1]}, "azpg:extensions[0]: 1 is not a text"),
        (
            {"extensions": "[vector"},
            "azpg:extensions: '[vector' is no JSON: set its parts with `pulumi config set --path`",
        ),
        ({"serverName": "My-Server"}, f"azpg:serverName: 'My-Server' is not allowed: use {NAMES}"),
        ({"aiName": "-ai"}, f"azpg:aiName: '-ai' is not allowed: use {NAMES}"),
        (
            {"resourceGroup": "group."},
            "azpg:resourceGroup: 'group.' is not allowed: use 1 to 90 letters, digits, underscores, hyphens, parentheses and dots, no dot at the end",
        ),
        (
            {"adminUser": "a b"},
            "azpg:adminUser: 'a b' is not allowed: use a letter or underscore, then letters, digits and underscores, 63 at most",
        ),
        (
            {"databases": ["1st"]},
            "azpg:databases[0]: '1st' is not allowed: use a letter or underscore, then letters, digits, underscores and hyphens, 63 at most",
        ),
        ({"storageGb": "much"}, "azpg:storageGb: 'much' is not a whole number"),
        ({"storageGb": 16}, "azpg:storageGb: 16 is too small: use 32 or more"),
        ({"backupRetentionDays": 36}, "azpg:backupRetentionDays: 36 is too large: use 35 or less"),
        ({"protect": "perhaps"}, "azpg:protect: 'perhaps' is not true or false"),
        (
            {"highAvailability": "Always"},
            "azpg:highAvailability: 'Always' is not allowed: use 'Disabled', 'SameZone' or 'ZoneRedundant'",
        ),
        ({"parameters": [1]}, "azpg:parameters: [1] is not a mapping of names to values"),
        ({"parameters": {"work_mem": [1]}}, "azpg:parameters.work_mem: [1] is not a text"),
        # parts of structured settings
        (
            {"storage": {"size": 3}},
            "azpg:storage.size: is unknown: use autoGrow, iops, throughput, tier, type",
        ),
        ({"storage": {"tier": "fast"}}, "azpg:storage.tier: 'fast' is not allowed: use P4 to P80"),
        ({"storage": "P4"}, "azpg:storage: 'P4' is not a mapping of names to values"),
        ({"maintenance": {"day": "Sunday"}}, "azpg:maintenance.hour: is missing"),
        (
            {"maintenance": {"day": "Sonntag", "hour": 3}},
            "azpg:maintenance.day: 'Sonntag' is not allowed: use 'Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday' or 'Saturday'",
        ),
        (
            {"maintenance": {"day": "Sunday", "hours": 3, "hour": 1}},
            "azpg:maintenance.hours: is unknown: use day, hour, minute",
        ),
        (
            {"encryption": {"keyUri": "data", "identityId": IDENTITY}},
            "azpg:encryption.keyUri: 'data' is no key of a vault: it has the form https://VAULT.vault.azure.net/keys/NAME/VERSION",
        ),
        (
            {"encryption": {"keyUri": VAULT_KEY, "identityId": "me"}},
            "azpg:encryption.identityId: 'me' is no resource id: it has the form /subscriptions/…/resourceGroups/…/providers/…",
        ),
        (
            {"encryption": {"keyUri": VAULT_KEY, "identityId": IDENTITY, "geoKeyUri": VAULT_KEY}},
            "azpg:encryption: geoKeyUri and geoIdentityId go together: give both, or none",
        ),
        (
            {"entraAdmins": [ADMIN | {"objectId": "me"}]},
            "azpg:entraAdmins[0].objectId: 'me' is no object id: it is a UUID, as Entra shows it",
        ),
        (
            {"entraAdmins": [ADMIN | {"mail": "me"}]},
            "azpg:entraAdmins[0].mail: is unknown: use name, objectId, type",
        ),
        (
            {"entraAdmins": [ADMIN | {"name": ""}]},
            "azpg:entraAdmins[0].name: '' is too short: use 1 or more characters",
        ),
        (
            {"entraAdmins": [ADMIN | {"name": "x" * 64}]},
            f"azpg:entraAdmins[0].name: '{'x' * 64}' is too long: use 63 characters at most",
        ),
        (
            {"aiDeployments": [{"name": "e", "model": "m", "version": "1"}]},
            "azpg:aiDeployments[0].name: 'e' is not allowed: use a letter or digit, then letters, digits, dots, hyphens and underscores, 2 to 64",
        ),
        (
            {"network": {"addressSpace": "10.0.0.1/8"}},
            "azpg:network.addressSpace: '10.0.0.1/8' is no IPv4 range: write it as 10.20.0.0/24",
        ),
        (
            {"network": {"serverSubnet": "10.21.0.0/24"}},
            "azpg:network: serverSubnet 10.21.0.0/24 is not inside addressSpace 10.20.0.0/16: choose a part of it",
        ),
        (
            {"network": {"endpointSubnet": "10.20.1.0/29"}},
            "azpg:network: endpointSubnet 10.20.1.0/29 is too small: Azure wants /28 or larger",
        ),
        (
            {"network": {"endpointSubnet": "10.20.0.0/25"}},
            "azpg:network: serverSubnet and endpointSubnet overlap: give each a range of its own",
        ),
        (
            {"firewallRules": {"office": "everybody"}},
            f"azpg:firewallRules.office: 'everybody' is no IPv4 address or range: {RULE_FORMS}",
        ),
        (
            {"firewallRules": {"office": "203.0.113.9-203.0.113.7"}},
            "azpg:firewallRules.office: '203.0.113.9-203.0.113.7' ends before it begins: write the smaller address first",
        ),
        (
            {"firewallRules": {"azure": "0.0.0.0"}},
            "azpg:firewallRules.azure: 0.0.0.0 lets in all of Azure, other customers too: if that is meant, write azure-services",
        ),
        (
            {"firewallRules": {"all": "0.0.0.0/0"}},
            "azpg:firewallRules.all: '0.0.0.0/0' lets in too much of the internet: name the addresses that need the server (a /8 at most), or set azpg:networkMode to vnet or privateEndpoint",
        ),
        (
            {"firewallRules": {"all": {"start": "0.0.0.0", "end": "255.255.255.255"}}},
            "azpg:firewallRules.all: \"{'start': '0.0.0.0', 'end': '255.255.255.255'}\" is no IPv4 address or range: "
            + RULE_FORMS,
        ),
        # several settings at once
        (
            {"preloadLibraries": ["vector"]},
            f"azpg:preloadLibraries: vector cannot be preloaded: use {', '.join(sorted(PRELOADABLE))}",
        ),
        (
            {"parameters": {"azure.extensions": "vector"}},
            "azpg:parameters: azure.extensions has a key of its own: set azpg:extensions",
        ),
        (
            {"parameters": {"shared_preload_libraries": "age"}},
            "azpg:parameters: shared_preload_libraries has a key of its own: set azpg:preloadLibraries",
        ),
        (
            {"parameters": {"Work-Mem": "4MB"}},
            "azpg:parameters: 'Work-Mem' is no server parameter: use a name in lower case, such as work_mem",
        ),
        (
            {"storageGb": 100},
            "azpg:storageGb: 100 is no size of Premium_LRS: use 32, 64, 128, 256, 512, 1024, 2048, 4095, 4096, 8192, 16384, 32767",
        ),
        (
            {"storage": {"iops": 3000}},
            "azpg:storage: iops and throughput are chosen with PremiumV2_LRS or UltraSSD_LRS only: leave them out",
        ),
        (
            {"storage": {"type": "PremiumV2_LRS", "tier": "P4", "autoGrow": False}},
            "azpg:storage: tier belongs to Premium_LRS: leave it out with PremiumV2_LRS",
        ),
        (
            {"storage": {"type": "PremiumV2_LRS"}},
            "azpg:storage: PremiumV2_LRS does not grow by itself: set autoGrow to false",
        ),
        (
            {"zones": {"standby": "2"}},
            "azpg:zones: standby is set, but there is no standby: set azpg:highAvailability, or leave it out",
        ),
        (
            {"highAvailability": "SameZone", "sku": "Standard_B2s"},
            "azpg:highAvailability: Standard_B2s is burstable and cannot have a standby: use Disabled, or Standard_E4ds_v5",
        ),
        (
            {"highAvailability": "ZoneRedundant", "zones": {"primary": "1", "standby": "1"}},
            "azpg:zones: ZoneRedundant needs two zones, and both are 1: choose another standby",
        ),
        (
            {"highAvailability": "SameZone", "zones": {"primary": "1", "standby": "2"}},
            "azpg:zones: SameZone needs one zone, but 1 and 2 are given: leave standby out",
        ),
        (
            {"encryption": {"keyUri": VAULT_KEY, "identityId": IDENTITY}, "geoRedundantBackup": "true"},
            "azpg:encryption: geoKeyUri and geoIdentityId are missing: with azpg:geoRedundantBackup the paired region needs a key of its own",
        ),
        (
            {
                "encryption": {
                    "keyUri": VAULT_KEY,
                    "identityId": IDENTITY,
                    "geoKeyUri": VAULT_KEY,
                    "geoIdentityId": IDENTITY,
                }
            },
            "azpg:encryption: geoKeyUri is for azpg:geoRedundantBackup, which is false: leave it out, or set that to true",
        ),
        (
            {"databases": ["app", "azure_sys"]},
            "azpg:databases: azure_sys is there on every server: leave it out",
        ),
        ({"databases": ["app", "b", "app"]}, "azpg:databases: app is there twice: name each database once"),
        (
            {"passwordAuth": False, "entraAuth": False},
            "azpg:passwordAuth: false, and azpg:entraAuth too, so that nobody could connect: set one to true",
        ),
        (
            {"entraAuth": False, "entraAdmins": [ADMIN]},
            "azpg:entraAdmins: are named, but azpg:entraAuth is false: set it to true, or leave the admins out",
        ),
        (
            {"passwordAuth": False},
            "azpg:passwordAuth: false, and there are no azpg:entraAdmins, so that nobody could connect: name one",
        ),
        (
            {"entraAdmins": [ADMIN, ADMIN]},
            f"azpg:entraAdmins: {ADMIN['objectId']} is there twice: name each principal once",
        ),
        (
            {"adminUser": "Guest"},
            "azpg:adminUser: 'Guest' is reserved by Azure or PostgreSQL: use another name, such as pgadmin",
        ),
        (
            {"adminUser": "PG_me"},
            "azpg:adminUser: 'PG_me' is reserved by Azure or PostgreSQL: use another name, such as pgadmin",
        ),
        (
            {"adminPassword": None},
            "azpg:adminPassword: is missing while passwordAuth is true: run `pulumi config set --secret azpg:adminPassword`, or set azpg:passwordAuth to false and name azpg:entraAdmins",
        ),
        (
            {"firewallRules": {"office": "203.0.113.7"}, "networkMode": "vnet"},
            "azpg:firewallRules: firewall rules have no effect with networkMode vnet: leave them out, or set azpg:networkMode to public",
        ),
        (
            {"firewallRules": {"the office": "203.0.113.7"}},
            "azpg:firewallRules: 'the office' cannot be a rule's name: use 1 to 128 letters, digits, hyphens and underscores",
        ),
        (
            {"aiPublicAccess": False},
            "azpg:aiPublicAccess: false needs networkMode vnet: with public the server has no way to a private AI account. Set azpg:networkMode to vnet, or leave azpg:aiPublicAccess true",
        ),
        (
            {"aiDeployments": [{"name": "ada", "model": "a", "version": "1"}] * 2},
            "azpg:aiDeployments: ada is there twice: give each deployment a name of its own",
        ),
        (
            {"logWorkspaceId": IDENTITY},
            "azpg:logWorkspaceId: is set while azpg:diagnostics is false: set that to true, or leave the workspace out",
        ),
        (
            {"logWorkspaceId": "logs", "diagnostics": True},
            "azpg:logWorkspaceId: 'logs' is no resource id: it has the form /subscriptions/…/resourceGroups/…/providers/…",
        ),
        # keys that do not exist
        ({"extension": ["vector"]}, "azpg:extension: is unknown: did you mean azpg:extensions?"),
        ({"quux": "1"}, f"azpg:quux: is unknown: use {', '.join(sorted(KEYS))}"),
    ],
)
def test_mistakes(values: dict[str, Any], problem: str) -> None:
    assert problems(**values) == [problem]


@pytest.mark.parametrize(
    ("password", "complaints"),
    [
        ("Ab1!", ["has the wrong length: Azure wants 8 to 128 characters"]),
        ("Ab1!" * 33, ["has the wrong length: Azure wants 8 to 128 characters"]),
        (
            "alllowercase",
            ["is too simple: Azure wants three of lower case, upper case, digits and other characters"],
        ),
        ("PGadmin-2026", ["holds the admin's name, which Azure refuses: choose another one"]),
        (
            "[1,]" * 3,
            ["is too simple: Azure wants three of lower case, upper case, digits and other characters"],
        ),
    ],
)
def test_passwords_are_judged_and_never_repeated(password: str, complaints: list[str]) -> None:
    found = problems(adminPassword=password)
    assert found == [f"azpg:adminPassword: {complaint}" for complaint in complaints]
    assert password not in repr(found)


def test_a_password_in_clear_text_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read({"adminPassword": PASSWORD})
    assert caught.value.problems == (
        "azpg:adminPassword: stands in the stack's file in clear text: choose a new one and run `pulumi config set --secret azpg:adminPassword`",
    )
    assert PASSWORD not in str(caught.value)


def test_a_password_is_in_no_text_of_the_configuration() -> None:
    assert PASSWORD not in repr(config())
    assert PASSWORD not in str(config().model_dump())


def test_without_password_authentication_no_password_is_needed() -> None:
    assert config(passwordAuth=False, entraAdmins=[ADMIN], adminPassword=None).admin_password is None


class TestOfWhatIsOffered:
    HELP = (
        "Use azure_ai with Azure OpenAI embeddings, or the offline twin with profile preview-2024, one of its regions and a "
        "memory-optimised SKU with at least 4 vCores; `azpg help azure` shows both"
    )

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ({}, "azure_local_ai was retired on 2025-03-21 (profile azure-2026)"),
            (
                {"profile": "preview-2024", "location": "northeurope"},
                "the region northeurope was not in the preview; australiaeast, eastus, francecentral, japaneast, uksouth, "
                "westeurope, westus were (profile preview-2024)",
            ),
            (
                {"profile": "preview-2024", "sku": "Standard_E2ds_v5"},
                "Standard_E2ds_v5 is not a memory-optimised SKU with at least 4 vCores, such as Standard_E4ds_v5 (profile preview-2024)",
            ),
        ],
    )
    def test_azure_local_ai(self, values: dict[str, Any], reason: str) -> None:
        found = problems(extensions=["vector", "azure_local_ai"], **values)
        assert found == [f"azpg:extensions: azure_local_ai cannot be had: {reason}. {self.HELP}"]

    def test_the_preview_has_it(self) -> None:
        assert "azure_local_ai" in config(profile="preview-2024", extensions=["azure_local_ai"]).extensions

    def test_other_extensions(self) -> None:
        assert problems(extensions=["pgvector"]) == [
            f"azpg:extensions: pgvector is not offered by profile azure-2026: use {', '.join(sorted(COMMON))}"
        ]

    def test_it_is_not_asked_with_a_wrong_sku(self) -> None:
        assert [text.split(":")[1] for text in problems(sku="tiny", extensions=["azure_local_ai"])] == ["sku"]


def test_lists_are_normalised() -> None:
    assert config(extensions=[" Vector", "vector,AZURE_AI", ""]).extensions == ("vector", "azure_ai")


def test_numbers_and_truth_values_are_parameters_too() -> None:
    """`pulumi config set --path azpg:parameters.work_mem 4096` stores a number."""
    assert config(parameters={"work_mem": 4096, "jit": False, "random_page_cost": 1.1}).parameters == {
        "work_mem": "4096",
        "jit": "off",
        "random_page_cost": "1.1",
    }


def test_zones_and_versions_may_look_like_numbers() -> None:
    """`pulumi config set --path azpg:zones.primary 1` stores a number, too."""
    deployment = {"name": "small", "model": "text-embedding-3-small", "version": 1}
    found = config(zones={"primary": 1}, aiDeployments=[deployment])
    assert found.zones.primary == "1"
    assert found.ai_deployments[0].version == "1"


@pytest.mark.parametrize(
    ("written", "start", "end"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.7"),
        ("203.0.113.7 - 203.0.113.9", "203.0.113.7", "203.0.113.9"),
        ("203.0.113.0/24", "203.0.113.0", "203.0.113.255"),
        ("10.0.0.0/8", "10.0.0.0", "10.255.255.255"),
        ("azure-services", "0.0.0.0", "0.0.0.0"),
    ],
)
def test_firewall_rules(written: str, start: str, end: str) -> None:
    rule = config(firewallRules={"office": written}).firewall_rules["office"]
    assert (rule.start, rule.end) == (start, end)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=8) | st.sampled_from(["name", "day", "tier"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    values=st.dictionaries(
        st.sampled_from([*KEYS, "other"]), VALUES.map(json.dumps) | st.text(max_size=12), max_size=4
    )
)
def test_any_configuration_is_read_or_refused_in_words(values: dict[str, str]) -> None:
    found: tuple[str, ...] = ()
    try:
        read({"adminPassword": PASSWORD, **values}, secret={"adminPassword"})
    except ConfigInvalid as error:
        found = error.problems
    assert all(problem.startswith("azpg:") and "pydantic" not in problem for problem in found)
