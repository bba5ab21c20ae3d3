"""Server parameters as Azure shows them: set, reset, pending, refused, on a server that runs and one that does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from azpg_runtime.errors import InstanceError, InstanceNotRunning, ParameterRefused
from azpg_runtime.home import Home
from azpg_runtime.postgres.configuration import OWNED
from azpg_runtime.postgres.instance import Instance, Wishes
from tests.conftest import new_home, remove_home


@pytest.fixture(scope="module")
def server() -> Iterator[Instance]:
    """A server whose parameters these tests change; each puts back what it set."""
    home = new_home()
    instance = Instance("parameters", home=home)
    try:
        instance.up(Wishes(durable=False))
        yield instance
    finally:
        remove_home(home)


@pytest.fixture
def instance(server: Instance) -> Iterator[Instance]:
    yield server
    for one in server.parameters():
        if one.source == "user-override":
            server.reset_parameter(one.name)
    server.up()
    if server.status().pending_restart:
        server.restart()


def shown(instance: Instance, name: str) -> str:
    with instance.connect() as connection:
        row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    assert row is not None
    return str(row[0])


def test_a_dynamic_parameter_is_in_force_at_once(instance: Instance) -> None:
    before = instance.parameter("work_mem")
    assert (before.value, before.default_value, before.unit) == ("4096", "4096", "kB")
    assert (before.data_type, before.allowed_values) == ("Integer", "64-2147483647")
    assert (before.is_dynamic_config, before.is_read_only, before.source) == (True, False, "system-default")
    changed = instance.set_parameter("work_mem", "8MB")
    assert (changed.value, changed.in_force, changed.source) == ("8192", "8192", "user-override")
    assert not changed.is_config_pending_restart
    assert shown(instance, "work_mem") == "8MB"
    assert instance.reset_parameter("work_mem") == before
    assert shown(instance, "work_mem") == "4MB"


def test_a_static_parameter_waits_for_a_restart(instance: Instance) -> None:
    changed = instance.set_parameter("max_connections", "50")
    assert (changed.value, changed.in_force, changed.default_value) == ("50", "100", "100")
    assert (changed.is_dynamic_config, changed.is_config_pending_restart) == (False, True)
    assert instance.status().pending_restart == ["max_connections"]
    instance.restart()
    assert instance.status().pending_restart == []
    found = instance.parameter("max_connections")
    assert (found.value, found.in_force, found.is_config_pending_restart) == ("50", "50", False)
    assert shown(instance, "max_connections") == "50"
    back = instance.reset_parameter("max_connections")
    assert (back.value, back.in_force, back.is_config_pending_restart) == ("100", "50", True)
    again = instance.set_parameter("max_connections", "50")
    assert not again.is_config_pending_restart


@pytest.mark.parametrize(
    ("name", "data_type", "allowed"),
    [
        ("autovacuum", "Boolean", "on,off"),
        ("random_page_cost", "Numeric", "0-1.79769e+308"),
        ("wal_level", "Enumeration", "minimal,replica,logical"),
        ("application_name", "String", ""),
        ("shared_preload_libraries", "Set", None),
        ("azure.extensions", "Set", None),
    ],
)
def test_the_types_of_azure(server: Instance, name: str, data_type: str, allowed: str | None) -> None:
    found = server.parameter(name)
    assert found.data_type == data_type
    assert allowed is None or found.allowed_values == allowed


def test_what_is_set_is_kept_in_one_spelling(instance: Instance) -> None:
    for name, written, kept in (
        ("autovacuum", "NO", "off"),
        ("random_page_cost", "1.50", "1.5"),
        ("checkpoint_timeout", "10min", "600"),
    ):
        assert instance.set_parameter(name, written).value == kept


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("work_mem", "a lot", "'a lot' is not allowed for 'work_mem': invalid value for parameter"),
        ("work_mem", "1", "Allowed is a number from 64 to 2147483647, unit kB."),
        ("max_connections", "-3", "Allowed is a number from 1 to"),
        ("wal_level", "maximal", "Allowed are minimal, replica, logical."),
        ("autovacuum", "maybe", "Allowed are on and off."),
        ("no_such_parameter", "1", "there is no server parameter 'no_such_parameter'."),
        ("azpg.model_host_socket", "elsewhere", "there is no server parameter"),
        ("server_version", "9", "is read-only."),
        ("work_mem", "8MB\nport = 1", "control characters"),
        ("application_name", "\ud800", "not UTF-8"),
        ("shared_preload_libraries", "evil", "evil cannot be preloaded on a Flexible Server."),
        ("azure.extensions", "nonsense", "nonsense cannot be allow-listed on this server."),
    ],
)
def test_what_is_refused_changes_nothing(server: Instance, name: str, value: str, message: str) -> None:
    before = server.parameters()
    with pytest.raises(ParameterRefused) as caught:
        server.set_parameter(name, value)
    assert message in str(caught.value)
    assert server.parameters() == before


def test_what_the_twin_decides_is_read_only(server: Instance) -> None:
    there = {one.name: one for one in server.parameters()}
    for name in OWNED & there.keys():
        assert there[name].is_read_only
        with pytest.raises(ParameterRefused, match="is read-only"):
            server.set_parameter(name, there[name].value)


def test_preloading_what_this_server_lacks(instance: Instance) -> None:
    name = "shared_preload_libraries"
    before = instance.parameter(name)
    assert (before.value, before.in_force) == ("pg_cron,pg_stat_statements",) * 2
    assert set(before.remarks) == {"pg_cron"}
    changed = instance.set_parameter(name, "AGE, pg_cron,pg_stat_statements")
    assert changed.value == "age,pg_cron,pg_stat_statements"
    assert changed.in_force == before.value
    assert changed.is_config_pending_restart
    instance.restart()
    found = instance.parameter(name)
    assert (found.in_force, found.is_config_pending_restart) == (changed.value, False)
    status = instance.status()
    assert status.state == "running"
    assert set(status.not_loaded) == {"age", "pg_cron"}
    assert "this PostgreSQL 18 lacks it" in status.not_loaded["age"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("max_connections", "2", 'must be less than "max_connections"'),
        ("wal_level", "minimal", 'requires "wal_level"'),
        ("shared_buffers", "4TB", "shared memory"),
    ],
)
def test_a_parameter_that_keeps_the_server_from_starting_is_named_and_undone(
    instance: Instance, name: str, value: str, said: str
) -> None:
    instance.set_parameter("work_mem", "8MB")
    instance.set_parameter(name, value)
    for command in (instance.restart, instance.up):
        with pytest.raises(InstanceError, match="does not start") as caught:
            command()
        assert said in caught.value.detail
        assert f"Set since it last started: {name} = " in caught.value.detail
        assert "work_mem" not in caught.value.detail
        assert f"`azpg server parameter reset {name} --local parameters`" in caught.value.hint
    stopped = instance.parameter(name)
    assert stopped.in_force is None
    assert instance.reset_parameter(name).source == "system-default"
    assert instance.up() is True
    assert shown(instance, "work_mem") == "8MB"


def test_a_stopped_server_takes_parameters_and_refuses_wrong_ones(instance: Instance) -> None:
    instance.down()
    with pytest.raises(InstanceNotRunning):
        instance.restart()
    assert instance.set_parameter("max_connections", "42").is_config_pending_restart is False
    with pytest.raises(ParameterRefused, match="Allowed is a number"):
        instance.set_parameter("max_connections", "none")
    assert len(instance.parameters()) > 300
    instance.up(Wishes(durable=False))
    assert shown(instance, "max_connections") == "42"


def test_nothing_is_known_before_the_first_start(home: Home) -> None:
    instance = Instance("fresh", home=home)
    instance.up(Wishes(durable=False))
    instance.down()
    (instance.home.conf / "definitions.json").unlink()
    with pytest.raises(InstanceError, match=r"are not known before its first start. Start it with `azpg up`"):
        instance.parameters()
    instance.up()
    assert instance.parameters()


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        (Wishes(sku="Standard_B2s"), "Standard_B2s is not a memory-optimised SKU"),
        (Wishes(sku="Standard_E2ds_v5"), "with at least 4 vCores"),
        (Wishes(location="northeurope"), "the region northeurope was not in the preview"),
        (Wishes(created_newly=False), "only servers made after the preview began had it"),
        (Wishes(profile="azure-2026"), "retired on 2025-03-21"),
    ],
)
def test_azure_local_ai_is_offered_only_where_azure_did(
    instance: Instance, wishes: Wishes, reason: str
) -> None:
    assert "azure_local_ai" in instance.parameter("azure.extensions").allowed_values.split(",")
    instance.up(wishes)
    try:
        found = instance.parameter("azure.extensions")
        assert "azure_local_ai" not in found.allowed_values.split(",")
        assert reason in found.remarks["azure_local_ai"]
        with pytest.raises(ParameterRefused, match="azure_local_ai cannot be allow-listed") as caught:
            instance.set_parameter("azure.extensions", "vector,azure_local_ai")
        assert reason in caught.value.detail
        instance.set_parameter("azure.extensions", "vector")
    finally:
        instance.up(
            Wishes(location="eastus", sku="Standard_E4ds_v5", profile="preview-2024", created_newly=True)
        )
