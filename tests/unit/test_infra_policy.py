"""The rules of the policy pack, as plain functions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from azpg.errors import UsageError
from azpg.profiles import LOCAL_AI, offer
from azpg_infra.errors import ConfigInvalid
from azpg_infra.settings import WIDEST
from azpg_policy import rules

from .cloud import PASSWORD, up
from .test_infra_config import config

SERVER = "azure-native:dbforpostgresql:Server"
RULE = "azure-native:dbforpostgresql:FirewallRule"
PARAMETER = "azure-native:dbforpostgresql:Configuration"
ACCOUNT = "azure-native:cognitiveservices:Account"
ALL = [
    rules.firewall_is_narrow,
    rules.connections_use_tls,
    rules.backups_reach_back,
    rules.nothing_secret_is_shown,
    rules.models_are_called_without_keys,
]


def firewall(start: str, end: str) -> dict[str, Any]:
    return {"startIpAddress": start, "endIpAddress": end}


def parameter(name: str, value: object) -> dict[str, Any]:
    return {"serverName": "s", "configurationName": name, "value": value}


@pytest.mark.parametrize(
    ("start", "end"),
    [("0.0.0.0", "255.255.255.255"), ("0.0.0.0", "255.255.255.254"), ("10.0.0.0", "11.0.0.0")],
)
def test_wide_rules_fail(start: str, end: str) -> None:
    assert list(rules.firewall_is_narrow(RULE, firewall(start, end))) == [
        f"The firewall rule {start}-{end} lets in too much of the internet: name the addresses that need the server, "
        "a /8 at most, or use a private network."
    ]


@pytest.mark.parametrize(
    ("start", "end"), [("203.0.113.7", "203.0.113.7"), ("10.0.0.0", "10.255.255.255"), ("0.0.0.0", "0.0.0.0")]
)
def test_narrow_rules_pass(start: str, end: str) -> None:
    assert not list(rules.firewall_is_narrow(RULE, firewall(start, end)))


@settings(deadline=None)
@given(prefix=st.integers(0, 32), address=st.integers(0, 2**32 - 1))
def test_the_program_and_the_policy_agree_on_what_is_narrow(prefix: int, address: int) -> None:
    base = address >> (32 - prefix) << (32 - prefix)
    text = ".".join(str(base >> shift & 255) for shift in (24, 16, 8, 0)) + f"/{prefix}"
    problems: tuple[str, ...] = ()
    try:
        rule = config(firewallRules={"r": text}).firewall_rules["r"]
    except ConfigInvalid as error:
        problems = error.problems
    else:
        assert not list(rules.firewall_is_narrow(RULE, firewall(rule.start, rule.end)))
    assert bool(problems) == (prefix < 8 or text == "0.0.0.0/32")
    assert rules.WIDEST == WIDEST


@pytest.mark.parametrize("value", ["off", "OFF", "false", 0])
def test_tls_may_not_be_turned_off(value: object) -> None:
    assert list(rules.connections_use_tls(PARAMETER, parameter("require_secure_transport", value))) == [
        "require_secure_transport is off: set it to on, so that nothing is sent in clear text."
    ]


@pytest.mark.parametrize("value", ["TLSv1", "tlsv1.1"])
def test_broken_tls_may_not_be_taken(value: str) -> None:
    assert list(rules.connections_use_tls(PARAMETER, parameter("ssl_min_protocol_version", value))) == [
        f"ssl_min_protocol_version is {value.lower()}, which is broken: use TLSv1.2 or TLSv1.3."
    ]


@pytest.mark.parametrize(
    ("name", "value"),
    [("require_secure_transport", "ON"), ("ssl_min_protocol_version", "TLSv1.2"), ("jit", "off")],
)
def test_other_parameters_pass(name: str, value: str) -> None:
    assert not list(rules.connections_use_tls(PARAMETER, parameter(name, value)))


@pytest.mark.parametrize(
    ("properties", "days", "kept"),
    [
        ({"backup": {"backupRetentionDays": 3.0}}, 7, 3),
        ({}, 14, 7),
        ({"backup": {}}, 14, 7),
        ({"backup": None}, 8, 7),
    ],
)
def test_short_backups_fail(properties: dict[str, Any], days: int, kept: int) -> None:
    assert list(rules.backups_reach_back(SERVER, properties, days=days)) == [
        f"Backups are kept for {kept} days, and the policy wants {days}: raise backupRetentionDays."
    ]


@pytest.mark.parametrize(
    "properties",
    [
        {},
        {"backup": {"backupRetentionDays": 35}},
        {"createMode": "Replica", "backup": {"backupRetentionDays": 1}},
    ],
)
def test_long_backups_pass(properties: dict[str, Any]) -> None:
    assert not list(rules.backups_reach_back(SERVER, properties))


class TestMemory:
    @pytest.mark.parametrize("sku", ["Standard_D4ds_v5", "Standard_E2ds_v5", "Standard_B20ms", ""])
    def test_too_little(self, sku: str) -> None:
        resources = [
            (SERVER, {"serverName": "s", "sku": {"name": sku}}),
            (SERVER, {"serverName": "other", "sku": {"name": "Standard_B1ms"}}),
            (PARAMETER, parameter("azure.extensions", "vector, AZURE_LOCAL_AI")),
        ]
        assert list(rules.local_ai_has_memory(resources)) == [
            f"s allow-lists azure_local_ai and runs on {sku or 'no SKU'}: use a memory-optimised SKU with at least "
            "4 vCores, such as Standard_E4ds_v5."
        ]

    @pytest.mark.parametrize(
        ("sku", "extensions"),
        [
            ("Standard_E4ds_v5", "azure_local_ai"),
            ("Standard_B1ms", "vector"),
            ("Standard_B1ms", "my_azure_local_ai_too"),
        ],
    )
    def test_enough(self, sku: str, extensions: str) -> None:
        resources = [
            (PARAMETER, parameter("azure.extensions", extensions)),
            (SERVER, {"serverName": "s", "sku": {"name": sku}}),
        ]
        assert not list(rules.local_ai_has_memory(resources))

    @settings(deadline=None)
    @given(sku=st.from_regex(r"(?i)standard_[bdef]\d{1,3}[a-z]{0,3}(_v\d)?", fullmatch=True))
    def test_the_profile_and_the_policy_agree(self, sku: str) -> None:
        resources: list[rules.Resource] = [
            (SERVER, {"serverName": "s", "sku": {"name": sku}}),
            (PARAMETER, parameter("azure.extensions", LOCAL_AI)),
        ]
        try:
            offered = LOCAL_AI in offer("preview-2024", location="eastus", sku=sku).extensions
        except UsageError:
            offered = False
        assert offered is not any(rules.local_ai_has_memory(resources))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dbPassword", "x"),
        ("api-key", "x"),
        ("note", "password=hunter2"),
        ("dsn", "postgresql://me:pw@host/db"),
    ],
)
def test_credentials_in_tags_fail(name: str, value: str) -> None:
    assert list(rules.nothing_secret_is_shown(SERVER, {"tags": {name: value}})) == [
        f"The tag {name} seems to hold a credential, and tags are shown to every reader: remove it."
    ]


@pytest.mark.parametrize(
    "value", ["host=h password=hunter2", "AccountKey=abc", "-----BEGIN RSA PRIVATE KEY-----"]
)
def test_credentials_in_parameters_fail_and_are_not_repeated(value: str) -> None:
    (problem,) = rules.nothing_secret_is_shown(PARAMETER, parameter("primary_conninfo", value))
    assert problem == (
        "The server parameter primary_conninfo seems to hold a credential, and parameters are shown to every reader: "
        "remove it."
    )


@pytest.mark.parametrize("tags", [{"team": "search"}, {"url": "https://example.org/a:b@c"}, {}, None])
def test_other_tags_pass(tags: object) -> None:
    assert not list(rules.nothing_secret_is_shown(SERVER, {"tags": tags}))


def test_keys_of_models() -> None:
    complaint = "The AI account takes keys: set disableLocalAuth, and give identities a role on it instead."
    assert list(rules.models_are_called_without_keys(ACCOUNT, {})) == [complaint]
    assert list(
        rules.models_are_called_without_keys(ACCOUNT, {"properties": {"disableLocalAuth": False}})
    ) == [complaint]
    assert not list(rules.models_are_called_without_keys(ACCOUNT, {"properties": {"disableLocalAuth": True}}))


def test_the_password_of_a_server() -> None:
    assert rules.is_password_of_server(SERVER, "administratorLoginPassword")
    assert rules.is_password_of_server(
        "azure-native:dbforpostgresql/v20250801:Server", "administratorLoginPassword"
    )
    assert not rules.is_password_of_server(SERVER, "administratorLogin")
    assert not rules.is_password_of_server(ACCOUNT, "administratorLoginPassword")


@pytest.mark.parametrize("check", ALL)
def test_other_resources_are_left_alone(check: rules.Check) -> None:
    assert not list(check("azure-native:storage:StorageAccount", {}))


def problems_of(resources: list[rules.Resource]) -> Iterator[str]:
    for check in ALL:
        for token, properties in resources:
            yield from check(token, properties)
    yield from rules.local_ai_has_memory(resources)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"profile": "preview-2024", "extensions": ["azure_local_ai"]},
        {"networkMode": "vnet", "aiPublicAccess": False, "diagnostics": True, "lock": True},
        {"networkMode": "privateEndpoint", "firewallRules": {}},
    ],
)
def test_our_own_program_keeps_its_policies(values: dict[str, Any]) -> None:
    made = [(each.token, each.inputs) for each in up(values).resources]
    assert list(problems_of(made)) == []


def test_our_own_program_can_break_them() -> None:
    """So that the test above does not pass for want of resources."""
    values = {
        "parameters": {"require_secure_transport": "off"},
        "aiLocalAuth": True,
        "tags": {"password": PASSWORD},
    }
    made = [(each.token, each.inputs) for each in up(values).resources]
    found = list(problems_of(made))
    assert any("require_secure_transport" in each for each in found)
    assert any("takes keys" in each for each in found)
    assert PASSWORD not in repr(found)
