"""The provider as Pulumi's engine meets it: its own process, gRPC, and the ARM twin behind it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Struct
from google.rpc import status_pb2
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from azpg_runtime.arm.faults import Plan, Rule
from azpg_runtime.pulumi.kind import UNKNOWN
from azpg_runtime.pulumi.values import to_python, to_struct
from azpg_runtime.wait import wait_for

from .azure import Azure

GROUP = "azure-native:resources:ResourceGroup"
PARAMETER = "azure-native:dbforpostgresql:Configuration"
DEADLINE = 60.0


class Engine:
    """What the engine asks of one provider process."""

    def __init__(self, azure: Azure, journal: Path) -> None:
        environment = {**os.environ, **azure.twin.environment(), "AZPG_PULUMI_JOURNAL": str(journal)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "azpg_runtime.pulumi", "127.0.0.1:1"],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.address = f"127.0.0.1:{self._process.stdout.readline().strip()}"
        self._channel = grpc.insecure_channel(self.address)
        self.stub = provider_pb2_grpc.ResourceProviderStub(self._channel)
        self.configure({})

    def configure(self, config: dict[str, Any]) -> provider_pb2.ConfigureResponse:
        request = provider_pb2.ConfigureRequest(args=to_struct(config))
        return self.stub.Configure(request, timeout=DEADLINE)

    def check(self, kind: str, name: str, /, **inputs: Any) -> dict[str, Any]:
        request = provider_pb2.CheckRequest(
            urn=urn(kind, name), news=to_struct(inputs), randomSeed=b"12345678"
        )
        response = self.stub.Check(request, timeout=DEADLINE)
        assert not response.failures, response.failures
        return to_python(response.inputs)

    def create(self, kind: str, name: str, /, *, preview: bool = False, **inputs: Any) -> Any:
        checked = to_struct(self.check(kind, name, **inputs))
        request = provider_pb2.CreateRequest(urn=urn(kind, name), properties=checked, preview=preview)
        return self.stub.Create(request, timeout=DEADLINE)

    def diff(
        self, kind: str, name: str, made: str, old: Any, new: Any, *ignored: str
    ) -> provider_pb2.DiffResponse:
        request = provider_pb2.DiffRequest(
            urn=urn(kind, name),
            id=made,
            old_inputs=to_struct(old),
            news=to_struct(new),
            ignoreChanges=ignored,
        )
        return self.stub.Diff(request, timeout=DEADLINE)

    def update(self, kind: str, name: str, made: str, old: Any, new: Any) -> provider_pb2.UpdateResponse:
        request = provider_pb2.UpdateRequest(
            urn=urn(kind, name), id=made, olds=to_struct(old), news=to_struct(new)
        )
        return self.stub.Update(request, timeout=DEADLINE)

    def read(self, kind: str, name: str, made: str, **inputs: Any) -> provider_pb2.ReadResponse:
        request = provider_pb2.ReadRequest(urn=urn(kind, name), id=made, inputs=to_struct(inputs))
        return self.stub.Read(request, timeout=DEADLINE)

    def delete(self, kind: str, name: str, made: str) -> None:
        self.stub.Delete(provider_pb2.DeleteRequest(urn=urn(kind, name), id=made), timeout=DEADLINE)

    def invoke(self, token: str, **arguments: Any) -> dict[str, Any]:
        request = provider_pb2.InvokeRequest(tok=token, args=to_struct(arguments))
        return to_python(getattr(self.stub.Invoke(request, timeout=DEADLINE), "return"))

    def end(self) -> int:
        self._channel.close()
        self._process.terminate()
        assert self._process.stdout is not None
        self._process.stdout.close()
        return self._process.wait(DEADLINE)


def urn(kind: str, name: str) -> str:
    return f"urn:pulumi:offline::azpg::azpg:index:Thing${kind}::{name}"


@pytest.fixture
def engine(azure: Azure, tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(azure, tmp_path / "journal")
    yield engine
    assert engine.end() == 0


def refusal(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    return str(error.value.details())


def test_a_resource_from_check_to_delete(engine: Engine, azure: Azure) -> None:
    assert engine.configure({"location": "westus"}).supportsPreview
    inputs = engine.check(GROUP, "mine", tags={"a": "b"})
    assert inputs == {"resourceGroupName": "mine31323334", "location": "westus", "tags": {"a": "b"}}
    preview = engine.create(GROUP, "mine", preview=True, tags={"a": "b"})
    assert not preview.id
    assert not azure.resources.resource_groups.check_existence("mine31323334")
    made = engine.create(GROUP, "mine", tags={"a": "b"})
    assert made.id.lower().endswith("/resourcegroups/mine31323334")
    assert to_python(made.properties)["tags"] == {"a": "b"}
    none = engine.diff(GROUP, "mine", made.id, inputs, {**inputs, "location": "West US"})
    assert none.changes == provider_pb2.DiffResponse.DIFF_NONE
    assert not engine.diff(GROUP, "mine", made.id, inputs, {**inputs, "tags": {}}, "tags.a").diffs
    moved = engine.diff(GROUP, "mine", made.id, inputs, {**inputs, "location": "eastus"})
    assert list(moved.replaces) == ["location"]
    azure.resources.resource_groups.update("mine31323334", {"tags": {"a": "c"}})
    assert to_python(engine.read(GROUP, "mine", made.id, **inputs).inputs)["tags"] == {"a": "c"}
    imported = to_python(engine.read(GROUP, "mine", made.id).inputs)
    assert imported["resourceGroupName"] == "mine31323334"
    engine.delete(GROUP, "mine", made.id)
    engine.delete(GROUP, "mine", made.id)
    assert engine.read(GROUP, "mine", made.id, **inputs).id == ""


def test_what_others_have_made_is_not_taken_over(engine: Engine, azure: Azure) -> None:
    azure.group("others")
    with pytest.raises(grpc.RpcError) as error:
        engine.create(GROUP, "mine", resourceGroupName="others", location="eastus")
    assert (
        "exists already, and this stack has not made it. Choose another name, or take it over: `pulumi import"
        in refusal(error)
    )


def test_what_a_lost_answer_left_behind_is_taken_over(azure: Azure, tmp_path: Path) -> None:
    inputs = {"resourceGroupName": "lost", "location": "eastus"}
    first = Engine(azure, tmp_path)
    made = first.create(GROUP, "mine", **inputs)
    first.end()  # the engine never heard of it
    second = Engine(azure, tmp_path)
    with pytest.raises(grpc.RpcError):
        second.create(GROUP, "another", **inputs)
    assert second.create(GROUP, "mine", **inputs).id == made.id
    second.diff(GROUP, "mine", made.id, inputs, inputs)  # now it is in the state
    with pytest.raises(grpc.RpcError):
        second.create(GROUP, "mine", **inputs)
    second.delete(GROUP, "mine", made.id)
    second.end()


def test_what_a_failed_operation_left_behind_is_in_the_state(
    engine: Engine, azure: Azure, server_id: str
) -> None:
    parts = server_id.split("/")
    names = {"resourceGroupName": parts[4], "serverName": parts[-1], "configurationName": "work_mem"}
    Plan((Rule("fail", path="*/work_mem"),)).save(azure.twin.files.faults)
    try:
        with pytest.raises(grpc.RpcError) as error:
            engine.create(PARAMETER, "p", **names, value="8192", source="user-override")
    finally:
        Plan().save(azure.twin.files.faults)
    assert refusal(error).startswith("InternalServerError: ")
    (packed,) = [value for key, value in error.value.trailing_metadata() if key == "grpc-status-details-bin"]
    left = provider_pb2.ErrorResourceInitFailed()
    assert status_pb2.Status.FromString(packed).details[0].Unpack(left)
    assert left.id.endswith("/work_mem")
    assert to_python(left.inputs)["value"] != "8192", "the next `up` sees the difference"


def test_what_failed_and_left_nothing_can_be_made_by_others(azure: Azure, engine: Engine) -> None:
    Plan((Rule("error", method="PUT", path="*/nothing"),)).save(azure.twin.files.faults)
    try:
        with pytest.raises(grpc.RpcError):
            engine.create(GROUP, "mine", resourceGroupName="nothing", location="eastus")
    finally:
        Plan().save(azure.twin.files.faults)
    azure.group("nothing")
    with pytest.raises(grpc.RpcError) as error:
        engine.create(GROUP, "mine", resourceGroupName="nothing", location="eastus")
    assert "this stack has not made it" in refusal(error)


def test_deleting_a_parameter_gives_its_default_back(engine: Engine, azure: Azure, server_id: str) -> None:
    parts = server_id.split("/")
    names = {
        "resourceGroupName": parts[4],
        "serverName": parts[-1],
        "configurationName": "maintenance_work_mem",
    }
    made = engine.create(PARAMETER, "p", **names, value="8192", source="user-override")
    assert azure.postgres.configurations.get(parts[4], parts[-1], "maintenance_work_mem").value == "8192"
    engine.delete(PARAMETER, "p", made.id)
    found = azure.postgres.configurations.get(parts[4], parts[-1], "maintenance_work_mem")
    assert found.value == found.default_value


def test_a_deleted_account_leaves_its_name(engine: Engine, azure: Azure) -> None:
    azure.group("again")
    kind = "azure-native:cognitiveservices:Account"
    domain = {"customSubDomainName": "made-again"}
    inputs = {"accountName": "made-again", "kind": "OpenAI", "sku": {"name": "S0"}, "properties": domain}
    for _ in range(2):
        made = engine.create(kind, "ai", resourceGroupName="again", location="East US", **inputs)
        request = provider_pb2.DeleteRequest(urn=urn(kind, "ai"), id=made.id, properties=made.properties)
        for _ in range(2):  # a deletion whose answer was lost is done again
            engine.stub.Delete(request, timeout=DEADLINE)
    assert not [one for one in azure.cognitive.deleted_accounts.list() if one.name == "made-again"]


def test_deleting_waits_for_what_else_is_done_to_the_server(
    engine: Engine, azure: Azure, server_id: str
) -> None:
    parts = server_id.split("/")
    names = {"resourceGroupName": parts[4], "serverName": parts[-1], "configurationName": "work_mem"}
    made = engine.create(PARAMETER, "p", **names, value="8192", source="user-override")
    Plan((Rule("slow", path="*/firewallRules/held", delay=3),)).save(azure.twin.files.faults)
    rule = {"properties": {"startIpAddress": "1.1.1.1", "endIpAddress": "1.1.1.1"}}
    begin = azure.postgres.firewall_rules.begin_create_or_update
    held = begin(parts[4], parts[-1], "held", rule, polling_interval=0)
    try:
        hasty = provider_pb2.DeleteRequest(urn=urn(PARAMETER, "p"), id=made.id, timeout=0.3)
        with pytest.raises(grpc.RpcError) as error:
            engine.stub.Delete(hasty, timeout=DEADLINE)
        assert refusal(error).startswith("ServerIsBusy: Cannot complete operation while server")
        engine.delete(PARAMETER, "p", made.id)
        found = azure.postgres.configurations.get(parts[4], parts[-1], "work_mem")
        assert found.value == found.default_value
        held.result()
        made = engine.create(PARAMETER, "p", **names, value="8192", source="user-override")
        held = begin(parts[4], parts[-1], "held", rule, polling_interval=0)
        patient = provider_pb2.DeleteRequest(urn=urn(PARAMETER, "p"), id=made.id)
        call = engine.stub.Delete.future(patient, timeout=DEADLINE)
        engine.stub.Cancel(Empty(), timeout=DEADLINE)
        with pytest.raises(grpc.RpcError) as error:
            call.result()
        assert refusal(error) == "cancelled while something else was being done there; nothing was changed"
    finally:
        azure.twin.files.faults.unlink()
        held.result()
        azure.postgres.firewall_rules.begin_delete(parts[4], parts[-1], "held").result()
        body = {"properties": {"value": "4096", "source": "user-override"}}
        azure.postgres.configurations.begin_put(parts[4], parts[-1], "work_mem", body).result()


def test_an_id_of_another_type_is_not_taken_for_one(engine: Engine, azure: Azure) -> None:
    group = azure.group("imported")
    assert engine.read(GROUP, "g", group).id == group
    with pytest.raises(grpc.RpcError) as error:
        engine.read("azure-native:dbforpostgresql:Server", "s", group)
    assert f"{group} is no id of azure-native:dbforpostgresql:Server. Such an id is /subs" in refusal(error)


def test_a_name_that_is_no_url(engine: Engine, azure: Azure) -> None:
    azure.group("odd")
    zone = "azure-native:privatedns:PrivateZone"
    names = ["a?b", "a", "a b", "a%20b", "ä#"]
    inputs = [{"resourceGroupName": "odd", "privateZoneName": name, "location": "global"} for name in names]
    made = [engine.create(zone, f"zone{number}", **one).id for number, one in enumerate(inputs)]
    assert len(set(made)) == len(names)
    engine.delete(zone, "zone0", made[0])
    assert [engine.read(zone, "z", id_, **one).id for id_, one in zip(made, inputs, strict=True)] == [
        "",
        *made[1:],
    ]


def test_waiting_ends_when_it_should(engine: Engine, azure: Azure) -> None:
    Plan((Rule("slow", path="*/resourceGroups/waited*", delay=3),)).save(azure.twin.files.faults)
    goes_on = "Azure goes on with it, and `azpg pulumi refresh` tells how it ended"
    groups = [azure.group(f"waited-{number}") for number in range(2)]
    requests = [
        provider_pb2.DeleteRequest(urn=urn(GROUP, "g"), id=groups[0], timeout=0.5),
        provider_pb2.DeleteRequest(urn=urn(GROUP, "g"), id=groups[1]),
    ]
    try:
        with pytest.raises(grpc.RpcError) as error:
            engine.stub.Delete(requests[0], timeout=DEADLINE)
        assert refusal(error) == f"not done after 0.5 s, the custom timeout; {goes_on}"
        call = engine.stub.Delete.future(requests[1], timeout=DEADLINE)
        assert wait_for(lambda: state_of(azure, "waited-1") == "Deleting", timeout=DEADLINE)
        engine.stub.Cancel(Empty(), timeout=DEADLINE)
        with pytest.raises(grpc.RpcError) as error:
            call.result()
        assert refusal(error) == f"cancelled; {goes_on}"
        assert state_of(azure, "waited-1") == "Deleting"
    finally:
        azure.twin.files.faults.unlink()
    for name in ("waited-0", "waited-1"):
        assert wait_for(lambda name=name: state_of(azure, name) == "", timeout=DEADLINE)


def state_of(azure: Azure, group: str) -> str:
    found = [one for one in azure.resources.resource_groups.list() if one.name == group]
    return str(found[0].properties.provisioning_state) if found else ""


def test_what_the_provider_does_not_know(engine: Engine) -> None:
    with pytest.raises(grpc.RpcError) as error:
        engine.check("azure-native:compute:VirtualMachine", "vm")
    assert "does not know the resource type azure-native:compute:VirtualMachine. It knows " in refusal(error)
    assert refusal(error).endswith(
        "Run this program against Azure, or take the resource out of the offline stack."
    )
    with pytest.raises(grpc.RpcError) as error:
        engine.invoke("azure-native:compute:getVirtualMachine", name="vm")
    assert "does not know the function azure-native:compute:getVirtualMachine. It knows " in refusal(error)
    with pytest.raises(grpc.RpcError) as error:
        engine.invoke("azure-native:resources:getResourceGroup", resourceGroupName="none")
    assert "/resourceGroups/none does not exist. Check the names" in refusal(error)


def test_a_needed_input_that_is_missing_is_named(engine: Engine) -> None:
    request = provider_pb2.CheckRequest(urn=urn(PARAMETER, "p"), news=Struct())
    failures = engine.stub.Check(request, timeout=DEADLINE).failures
    assert {one.property for one in failures} == {"resourceGroupName", "serverName", "configurationName"}
    assert failures[0].reason.startswith(f"{PARAMETER} needs ")


def test_functions(engine: Engine, azure: Azure) -> None:
    who = engine.invoke("azure-native:authorization:getClientConfig")
    assert who["subscriptionId"] == azure.subscription
    assert who["tenantId"] == azure.twin.environment()["AZURE_TENANT_ID"]
    assert len(who["objectId"]) == 36
    assert engine.invoke("azure-native:authorization:getClientToken")["token"].count(".") == 2
    assert engine.invoke("azure-native:resources:getResourceGroup", resourceGroupName=UNKNOWN) == {}
    azure.group("functions")
    found = engine.invoke("azure-native:resources:getResourceGroup", resourceGroupName="functions")
    assert found["name"] == "functions"
    assert found["provisioningState"] == "Succeeded"


def test_it_ends_when_the_engine_was_killed() -> None:
    script = '"$0" -m azpg_runtime.pulumi x & wait'
    with subprocess.Popen(
        ["/bin/sh", "-c", script, sys.executable], stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        assert engine.stdout.readline().strip().isdigit()
        engine.kill()
        assert engine.stdout.read() == "", "its end of the pipe is closed"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_user_of_the_machine_is_refused(engine: Engine) -> None:
    """Its port is open to all, and it acts as the one who started it."""
    program = (
        "import os, sys, grpc\n"
        "from google.protobuf.empty_pb2 import Empty\n"
        "from pulumi.runtime.proto import provider_pb2_grpc as proto\n"
        # Only now: another user may not be able to read Python.
        "if len(sys.argv) > 2: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "stub = proto.ResourceProviderStub(grpc.insecure_channel(sys.argv[1]))\n"
        "try:\n"
        "    stub.GetPluginInfo(Empty(), timeout=60)\n"
        "except grpc.RpcError as error:\n"
        "    print(error.code().name)\n"
    )
    command = [sys.executable, "-c", program, engine.address]
    options: dict[str, Any] = {"capture_output": True, "text": True, "cwd": "/"}
    done = subprocess.run([*command, "as another"], check=True, **options)
    assert done.stdout == "PERMISSION_DENIED\n"
    assert subprocess.run(command, check=True, **options).stdout == ""


def test_without_an_environment_it_says_what_is_missing() -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("AZPG_", "AZURE_"))}
    with subprocess.Popen(
        [sys.executable, "-m", "azpg_runtime.pulumi", "x"], env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        with grpc.insecure_channel(f"127.0.0.1:{process.stdout.readline().strip()}") as channel:
            stub = provider_pb2_grpc.ResourceProviderStub(channel)
            assert stub.GetPluginInfo(Empty(), timeout=DEADLINE).version.startswith("3.")
            request = provider_pb2.ReadRequest(urn=urn(GROUP, "x"), id="/subscriptions/s/resourceGroups/x")
            with pytest.raises(grpc.RpcError) as error:
                stub.Read(request, timeout=DEADLINE)
        process.terminate()
    assert refusal(error) == (
        "AZPG_ARM_ENDPOINT is not set. Run `azpg pulumi`, which sets it, or eval `azpg arm env`."
    )


def test_a_preview_of_a_change_keeps_what_azure_computed(engine: Engine) -> None:
    """What depends on the server's identity would else be made for nobody, in the preview of any change."""
    old = {
        "sku": {"name": "a", "tier": "b"},
        "identity": {"type": "SystemAssigned", "principalId": "p"},
        "state": "Ready",
    }
    new = {"sku": {"name": "c", "tier": "b"}, "identity": {"type": "SystemAssigned"}, "tags": {}}
    request = provider_pb2.UpdateRequest(
        urn=urn("azure-native:dbforpostgresql:Server", "s"),
        id="/s",
        olds=to_struct(old),
        news=to_struct(new),
        preview=True,
    )
    assert to_python(engine.stub.Update(request, timeout=DEADLINE).properties) == {
        "sku": {"name": "c", "tier": "b"},
        "identity": {"type": "SystemAssigned", "principalId": "p"},
        "state": "Ready",
        "tags": {},
    }
