"""Faults on purpose: what clients meet, and that a program which tries again gets where it wanted."""

from __future__ import annotations

import gc
import http.client
from collections.abc import Callable, Iterator
from urllib.error import URLError

import pytest
from azure.core.exceptions import HttpResponseError, ServiceResponseError
from azure.mgmt.postgresqlflexibleservers import models as pg

from azpg_runtime.arm.faults import Plan, Rule
from azpg_runtime.wait import wait_for
from tests.integration.azure import Azure

GROUP, NAME = "shared", "shared-server"
GROUPS = "/resourceGroups"
# A connection that the twin broke is closed by the SDK's HTTP library only when it is collected.
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:.*unclosed <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """What such connections leave is collected here, and in no later test."""
    yield
    gc.collect()


@pytest.fixture
def faults(azure: Azure) -> Iterator[Callable[..., None]]:
    def set_(*rules: Rule, seed: int = 0) -> None:
        Plan(rules, seed).save(azure.twin.files.faults)

    yield set_
    azure.twin.files.faults.unlink(missing_ok=True)


def test_throttling(azure: Azure, faults: Callable[..., None], clients: Callable[..., Azure]) -> None:
    azure.group("throttled")
    faults(Rule("throttle", times=2))
    reply = azure.raw("GET", GROUPS)
    assert (reply.status, reply.body["error"]["code"]) == (429, "TooManyRequests")
    assert int(reply.headers["retry-after-ms"]) < 1000
    assert azure.raw("GET", GROUPS).status == 429
    assert azure.raw("GET", GROUPS).status == 200
    faults(Rule("throttle", times=2))
    assert list(clients(azure.twin).resources.resource_groups.list()), "the SDK tries again"


def test_errors(azure: Azure, faults: Callable[..., None]) -> None:
    faults(Rule("error", method="PUT"))
    statuses = {azure.raw("PUT", f"{GROUPS}/faulty", {"location": "eastus"}).status for _ in range(40)}
    assert statuses == {500, 502, 503, 504}
    assert not azure.resources.resource_groups.check_existence("faulty"), "nothing is done"


def test_dropped_connections(azure: Azure, faults: Callable[..., None]) -> None:
    faults(Rule("drop", method="PUT"))
    seen = set()
    for number in range(12):
        path = f"{GROUPS}/dropped-{number}"
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError, URLError)):
            azure.raw("PUT", path, {"location": "eastus"})
        seen.add(azure.raw("GET", path).status)
    assert seen == {200, 404}, "before or after the work"
    with pytest.raises(ServiceResponseError):
        azure.group("dropped")


def test_slow_and_failed_operations(azure: Azure, server_id: str, faults: Callable[..., None]) -> None:
    rule = {"properties": {"startIpAddress": "1.1.1.1", "endIpAddress": "1.1.1.1"}}
    begin = azure.postgres.firewall_rules.begin_create_or_update
    faults(Rule("slow", path="*/firewallRules/slow", delay=0.5), Rule("fail", path="*/firewallrules/failing"))
    poller = begin(GROUP, NAME, "slow", rule, polling_interval=0)
    with pytest.raises(HttpResponseError, match="ServerIsBusy"):
        begin(GROUP, NAME, "other", rule)
    assert azure.postgres.servers.get(GROUP, NAME).state == "Ready", "a part is changed, not the server"
    poller.result()
    with pytest.raises(HttpResponseError) as caught:
        begin(GROUP, NAME, "failing", rule).result()
    assert (caught.value.status_code, caught.value.error.code) == (200, "InternalServerError")
    assert "azpg arm faults" in caught.value.message
    assert [one.name for one in azure.postgres.firewall_rules.list_by_server(GROUP, NAME)] == ["slow"]
    azure.postgres.firewall_rules.begin_delete(GROUP, NAME, "slow").result()


def test_what_failed_is_as_it_was(azure: Azure, server_id: str, faults: Callable[..., None]) -> None:
    bigger = pg.ServerForPatch(sku=pg.SkuForPatch(name="Standard_E8ds_v5", tier="MemoryOptimized"))
    faults(Rule("fail", times=1))
    with pytest.raises(HttpResponseError, match="InternalServerError"):
        azure.postgres.servers.begin_update(GROUP, NAME, bigger).result()
    found = azure.postgres.servers.get(GROUP, NAME)
    assert (found.sku.name, found.state) == ("Standard_E4ds_v5", "Ready")

    group = azure.group("failing")
    faults(Rule("fail", times=1))
    reply = azure.raw("DELETE", group)
    assert wait_for(lambda: azure.raw("GET", reply.headers["location"]).status != 202, timeout=30)
    assert azure.raw("GET", reply.headers["location"]).body["error"]["code"] == "InternalServerError"
    assert azure.resources.resource_groups.get("failing").properties.provisioning_state == "Succeeded"

    account = {"location": "eastus", "kind": "OpenAI", "sku": {"name": "S0"}, "properties": {}}
    id_ = f"{group}/providers/Microsoft.CognitiveServices/accounts/failing"
    faults(Rule("fail", times=1))
    with pytest.raises(HttpResponseError, match="InternalServerError"):
        azure.put(id_, account)
    assert azure.raw("GET", id_).body["properties"]["provisioningState"] == "Failed"
    assert azure.put(id_, account).properties["provisioningState"] == "Succeeded"
    faults(Rule("fail", times=1))
    with pytest.raises(HttpResponseError, match="InternalServerError"):
        azure.cognitive.accounts.begin_delete("failing", "failing").result()
    assert azure.raw("GET", id_).body["properties"]["provisioningState"] == "Succeeded"
    azure.resources.resource_groups.begin_delete("failing").result()


def test_the_same_seed_makes_the_same_faults(azure: Azure, faults: Callable[..., None]) -> None:
    def statuses(seed: int) -> list[int]:
        faults(Rule("throttle", rate=0.5), seed=seed)
        return [azure.raw("GET", GROUPS).status for _ in range(30)]

    assert statuses(1) == statuses(1) != statuses(2)


def test_a_program_that_tries_again_gets_there(
    azure: Azure, server_id: str, faults: Callable[..., None], clients: Callable[..., Azure]
) -> None:
    patient = clients(azure.twin, retry_backoff_factor=0.01, retry_status=20, retry_connect=20, retry_read=20)
    faults(*(Rule(kind, rate=0.08) for kind in ("throttle", "error", "drop", "fail")), seed=7)
    names = [f"made-{number}" for number in range(4)]
    for name in names:
        for _ in range(50):
            try:
                patient.postgres.databases.begin_create(GROUP, NAME, name, pg.Database()).result()
                break
            except (HttpResponseError, ServiceResponseError):
                continue
    azure.twin.files.faults.unlink()
    there = [one.name for one in azure.postgres.databases.list_by_server(GROUP, NAME)]
    assert [one for one in there if str(one).startswith("made-")] == names
    for name in names:
        azure.postgres.databases.begin_delete(GROUP, NAME, name).result()


def test_the_plan_is_followed_at_once_and_a_damaged_one_is_said(azure: Azure) -> None:
    path = azure.twin.files.faults
    path.write_text("nonsense")
    try:
        reply = azure.raw("GET", GROUPS)
        assert reply.status == 500
        assert "`azpg arm faults off` removes it" in reply.body["error"]["message"]
    finally:
        path.unlink()
    assert azure.raw("GET", GROUPS).status == 200
