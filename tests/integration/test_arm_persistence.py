"""What the ARM twin knows outlives it, and what its end interrupted is taken up again."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import psycopg
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.mgmt.postgresqlflexibleservers import models as pg

from azpg_runtime.access_tokens import DATABASE
from azpg_runtime.arm.faults import Plan, Rule
from azpg_runtime.arm.identity.identities import Identities
from azpg_runtime.arm.identity.tokens import Issuer
from azpg_runtime.arm.twin import ArmTwin
from azpg_runtime.errors import ArmError
from azpg_runtime.files import make_folder
from azpg_runtime.home import Home
from azpg_runtime.host.control import HostControl
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import new_home, remove_home
from tests.integration.azure import Azure, server_model


@pytest.fixture
def twin() -> Iterator[ArmTwin]:
    home = new_home()
    twin = ArmTwin(home)
    twin.start()
    yield twin
    twin.stop(delete=True)
    remove_home(home)


def kill(twin: ArmTwin) -> None:
    """Ends the process at once; its supervisor starts another."""
    pid = twin.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: twin.status().pid not in {None, pid}, timeout=60)


def test_everything_is_there_after_a_restart(twin: ArmTwin, clients: Callable[..., Azure]) -> None:
    azure = clients(twin)
    azure.group("kept")
    made = azure.postgres.servers.begin_create_or_update("kept", "kept-server", server_model()).result()
    rule = {"properties": {"startIpAddress": "1.1.1.1", "endIpAddress": "1.1.1.1"}}
    azure.postgres.firewall_rules.begin_create_or_update("kept", "kept-server", "one", rule).result()
    before = twin.status()
    assert twin.stop()
    stopped = twin.status()
    assert (stopped.state, stopped.servers) == ("stopped", ["kept-server"])
    with pytest.raises(ArmError, match="the ARM twin does not run"):
        twin.environment()
    assert twin.start()
    after = twin.status()
    assert (after.endpoint, after.subscription_id, after.tenant_id) == (
        before.endpoint,
        before.subscription_id,
        before.tenant_id,
    )
    again = clients(twin)
    assert again.postgres.servers.get("kept", "kept-server") == made
    assert [one.name for one in again.postgres.firewall_rules.list_by_server("kept", "kept-server")] == [
        "one"
    ]
    kill(twin)
    assert again.postgres.servers.get("kept", "kept-server") == made


def login(twin: ArmTwin, instance: Instance) -> str:
    """Who one is with a new token of the default identity."""
    identities = Identities(twin.files.identity)
    token = Issuer(twin.files.identity, identities).issue(identities.default, DATABASE, 600)
    with psycopg.connect(
        host="127.0.0.1",
        port=instance.status().tls_port,
        user="somebody",
        password=token,
        dbname="postgres",
        sslmode="require",
        passfile="/nonexistent",
    ) as connection:
        return str(connection.info.user)


def test_servers_take_tokens_of_a_key_that_was_replaced(twin: ArmTwin, clients: Callable[..., Azure]) -> None:
    azure = clients(twin)
    azure.group("kept")
    for name in ("damaged", "rekeyed"):
        model = server_model(auth_config=pg.AuthConfig(active_directory_auth="Enabled"))
        azure.postgres.servers.begin_create_or_update("kept", name, model).result()
    who = Identities(twin.files.identity).default
    own = {"properties": {"principalName": "somebody", "principalType": "ServicePrincipal"}}
    administrators = azure.postgres.administrators_microsoft_entra
    administrators.begin_create_or_update("kept", "rekeyed", who.object_id, own).result()
    instance = Instance("rekeyed", home=twin.files.home)
    assert login(twin, instance) == "somebody"
    twin.stop()
    (twin.files.identity / "signing.key").unlink()
    damaged = twin.files.home.instance("damaged").access
    kept = damaged.read_bytes()
    damaged.write_text("{")
    twin.start()
    assert login(twin, instance) == "somebody"
    assert "damaged is not told the present key" in twin.files.log.read_text()
    damaged.write_bytes(kept)


def test_a_killed_creation_goes_on(twin: ArmTwin, clients: Callable[..., Azure]) -> None:
    azure = clients(twin)
    azure.group("kept")
    poller = azure.postgres.servers.begin_create_or_update(
        "kept", "killed", server_model(), polling_interval=0
    )
    instance = Instance("killed", home=Home(twin.files.home.root))
    assert wait_for(instance.home.resource.exists, timeout=60)
    kill(twin)
    assert poller.result().state == "Ready"
    assert instance.status().state == "running"
    with instance.connect() as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("boss",)


def test_a_half_made_server_goes_with_the_twin(twin: ArmTwin) -> None:
    """As a kill leaves it before the server itself is described: its folder, and a model host that runs."""
    home = twin.files.home
    half = home.instance("half-made")
    make_folder(half.models, 0o700)
    half.resource.write_text("/subscriptions/s/x")
    half.create_runtime()
    host = HostControl(half, server_uid=os.geteuid())
    host.launch()
    host.wait_until_ready()
    assert twin.stop(delete=True)
    assert not host.running()
    assert not half.root.exists()
    assert not half.runtime.exists()


def test_a_killed_deletion_goes_on(twin: ArmTwin, clients: Callable[..., Azure]) -> None:
    azure = clients(twin)
    azure.group("kept")
    azure.postgres.servers.begin_create_or_update("kept", "killed", server_model()).result()
    Plan((Rule("slow", path="*/killed", delay=1),)).save(twin.files.faults)
    poller = azure.postgres.servers.begin_delete("kept", "killed", polling_interval=0)
    kill(twin)
    poller.result()
    with pytest.raises(ResourceNotFoundError):
        azure.postgres.servers.get("kept", "killed")
    assert twin.servers() == []


def test_a_failed_creation_leaves_nothing(
    twin: ArmTwin, monkeypatch: pytest.MonkeyPatch, clients: Callable[..., Azure]
) -> None:
    azure = clients(twin)
    azure.group("kept")
    Plan((Rule("fail", path="*/failed", times=1),)).save(twin.files.faults)
    with pytest.raises(HttpResponseError) as caught:
        azure.postgres.servers.begin_create_or_update("kept", "failed", server_model()).result()
    assert (caught.value.status_code, caught.value.error.code) == (200, "InternalServerError")
    assert list(azure.postgres.servers.list_by_resource_group("kept")) == []
    made = azure.postgres.servers.begin_create_or_update("kept", "failed", server_model()).result()
    assert made.state == "Ready"


def test_a_server_that_somebody_removed_is_gone(twin: ArmTwin, clients: Callable[..., Azure]) -> None:
    azure = clients(twin)
    azure.group("kept")
    azure.postgres.servers.begin_create_or_update("kept", "removed", server_model()).result()
    instance = Instance("removed", home=twin.files.home)
    instance.down()
    assert azure.postgres.servers.get("kept", "removed").state == "Stopped", "behind the twin's back"
    instance.down(delete=True)
    assert list(azure.postgres.servers.list_by_resource_group("kept")) == []
    with pytest.raises(ResourceNotFoundError):
        azure.postgres.configurations.get("kept", "removed", "work_mem")
    with pytest.raises(ResourceNotFoundError):
        azure.postgres.servers.get("kept", "removed")
    instance.up()
    with pytest.raises(ResourceNotFoundError):
        azure.postgres.servers.get("kept", "removed")
    instance.down(delete=True)


def test_it_does_not_take_a_damaged_state(twin: ArmTwin) -> None:
    twin.stop()
    for path, said in ((twin.files.state, "is damaged"), (twin.files.settings, "is damaged")):
        kept = path.read_bytes()
        path.write_bytes(b"nonsense" * 100)
        with pytest.raises(ArmError, match=said):
            twin.start()
        assert not twin.running()
        path.write_bytes(kept)
    assert twin.start()


def test_damaged_settings_are_said_by_whoever_asks(home: Home) -> None:
    twin = ArmTwin(home)
    make_folder(twin.files.root, 0o700)
    twin.files.settings.write_text("{")
    with pytest.raises(ArmError, match=r"settings.json is damaged: .* Delete it; the next start makes"):
        twin.status()
    twin.files.settings.unlink()


def test_nothing_is_readable_by_others(twin: ArmTwin) -> None:
    files = twin.files
    assert files.root.stat().st_mode & 0o777 == 0o700
    for path in (files.state, files.settings, files.certificate, files.log):
        assert path.stat().st_mode & 0o077 == 0, path


def test_its_port_may_be_taken(twin: ArmTwin) -> None:
    first = twin.status().endpoint
    assert not twin.start()
    with pytest.raises(ArmError, match="runs on port"):
        twin.start(port=1)
    with pytest.raises(ArmError, match="with profile preview-2024"):
        twin.start(profile="azure-2026")
    twin.stop()
    twin.start(profile="azure-2026")
    assert (twin.status().endpoint, twin.status().profile) == (first, "azure-2026")


def test_the_profile_is_that_of_its_servers(twin: ArmTwin, clients: Callable[..., Azure]) -> None:
    twin.stop()
    twin.start(profile="azure-2026")
    azure = clients(twin)
    azure.group("new")
    azure.postgres.servers.begin_create_or_update("new", "new-server", server_model()).result()
    found: pg.Configuration = azure.postgres.configurations.get("new", "new-server", "azure.extensions")
    assert "azure_local_ai" not in str(found.properties.allowed_values)
    assert "azure_ai" in str(found.properties.allowed_values)
