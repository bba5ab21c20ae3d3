"""A stack's life with the real Pulumi command line and no cloud."""

from __future__ import annotations

import json
import re
from pathlib import Path

import psycopg
import pytest
from azure.identity import DefaultAzureCredential
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient
from azure.mgmt.resource.resources import ResourceManagementClient

from .stacks import Stack

pytestmark = pytest.mark.timeout(600)

ANSWER_LOST = "0"
"""A seed with which a dropped request is dropped after its work."""

EXPECTED = {
    "azure-native:resources:ResourceGroup",
    "azure-native:dbforpostgresql:Server",
    "azure-native:dbforpostgresql:Configuration",
    "azure-native:dbforpostgresql:Database",
    "azure-native:cognitiveservices:Account",
    "azure-native:authorization:RoleAssignment",
}


def test_a_stack_from_nothing_to_nothing(stack: Stack) -> None:
    preview = json.loads(stack.pulumi("preview", "--json", "--non-interactive").stdout)
    planned = {step["newState"]["type"] for step in preview["steps"]}
    assert planned >= EXPECTED
    assert preview["changeSummary"] == {"create": len(preview["steps"])}
    assert stack.twin.servers() == [], "a preview makes nothing"

    stack.up()
    outputs = stack.outputs()
    assert {one["type"] for one in stack.resources()} >= EXPECTED
    assert outputs["server_name"] in stack.twin.servers()
    assert outputs["extensions"] == ["azure_ai", "azure_local_ai", "vector"]

    with stack.connect() as connection:
        connection.execute("CREATE EXTENSION azure_local_ai")
        connection.execute("CREATE EXTENSION vector")
        with pytest.raises(
            psycopg.errors.FeatureNotSupported, match='extension "hstore" is not allow-listed'
        ):
            connection.execute("CREATE EXTENSION hstore")
    with stack.connect("app") as connection:
        connection.execute("CREATE EXTENSION vector")

    again = stack.up("--expect-no-changes")
    assert re.search(r"\d+ unchanged", again.stdout)

    exported = stack.pulumi("stack", "export").stdout
    assert outputs["admin_password"] not in exported
    assert "ciphertext" in exported

    stack.configure("azpg:extensions[3]=hstore", "azpg:sku=Standard_E8ds_v5")
    changed = stack.up("--json").stdout
    assert '"replace"' not in changed
    with stack.connect() as connection:
        connection.execute("CREATE EXTENSION hstore")
    server = next(one for one in stack.resources() if one["type"] == "azure-native:dbforpostgresql:Server")
    assert server["outputs"]["sku"]["name"] == "Standard_E8ds_v5"

    drift(stack)
    unchanged = stack.pulumi("refresh", "--yes", "--non-interactive", "--expect-no-changes", check=False)
    assert unchanged.returncode != 0
    stack.up()
    with stack.connect() as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("4MB",)
        allowed = connection.execute("SHOW azure.extensions").fetchone()
    assert allowed is not None
    assert {one.strip().lower() for one in allowed[0].split(",")} >= {"azure_local_ai", "vector", "hstore"}

    stack.pulumi("destroy", "--yes", "--non-interactive", "--skip-preview")
    assert stack.resources() == []
    assert stack.twin.servers() == []
    stack.up()  # its names are free again
    stack.pulumi("destroy", "--yes", "--non-interactive", "--skip-preview")


def drift(stack: Stack) -> None:
    """Someone takes extensions from the allow-list behind Pulumi's back."""
    outputs = stack.outputs()
    with stack.arm() as environment:
        credential = DefaultAzureCredential()
        with PostgreSQLManagementClient(
            credential,
            environment["AZURE_SUBSCRIPTION_ID"],
            base_url=environment["AZPG_ARM_ENDPOINT"],
            polling_interval=0,
        ) as client:
            group = outputs["server_id"].split("/")[4]
            client.configurations.begin_put(
                group,
                outputs["server_name"],
                "azure.extensions",
                {"properties": {"value": "vector", "source": "user-override"}},
            ).result()
        credential.close()


def azure_resources(stack: Stack) -> list[str]:
    """The ids of what there is in the twin, in lower case, apart from what every server has."""
    with (
        stack.arm() as environment,
        ResourceManagementClient(
            DefaultAzureCredential(),
            environment["AZURE_SUBSCRIPTION_ID"],
            base_url=environment["AZPG_ARM_ENDPOINT"],
        ) as client,
    ):
        groups = [str(group.name) for group in client.resource_groups.list()]
        return sorted(
            str(one.id).lower() for group in groups for one in client.resources.list_by_resource_group(group)
        )


def test_a_failure_in_the_middle_and_up_again(stack: Stack) -> None:
    stack.azpg("arm", "up")
    stack.azpg("arm", "faults", "add", "fail", "--path", "*/flexibleServers/*", "--times", "1")
    failed = stack.up(check=False)
    assert failed.returncode != 0
    assert "InternalServerError" in failed.stdout + failed.stderr
    stack.azpg("arm", "faults", "off")
    stack.up()
    stack.up("--expect-no-changes")
    with stack.connect() as connection:
        connection.execute("CREATE EXTENSION azure_local_ai")


@pytest.mark.parametrize("path", ["*/flexibleServers/*", "*/databases/*"])
def test_a_lost_answer_leaves_no_update_for_later(stack: Stack, path: str) -> None:
    """It is being made, the answer is lost, and the second request finds the server busy."""
    stack.azpg("arm", "up")
    once = ("--path", path, "--times", "1", "--seed", ANSWER_LOST)
    stack.azpg("arm", "faults", "add", "slow", "--delay", "3", *once)
    stack.azpg("arm", "faults", "add", "drop", "--method", "PUT", *once)
    stack.up()
    stack.azpg("arm", "faults", "off")
    stack.up("--expect-no-changes")


def test_whatever_fails_up_again_arrives_at_the_same_state(stack: Stack) -> None:
    stack.azpg("arm", "up")
    for kind in ("throttle", "error", "drop"):
        stack.azpg("arm", "faults", "add", kind, "--rate", "0.1", "--seed", "7")
    stack.azpg("arm", "faults", "add", "fail", "--rate", "0.3", "--seed", "7")
    # Some ten operations, one after the other, fail with 0.3 or more each: twelve times are too few in one of a hundred runs.
    for _ in range(25):
        done = stack.up(check=False)
        if done.returncode == 0:
            break
    else:
        pytest.fail(f"25 times were not enough; the last one said:\n{done.stdout}\n{done.stderr}")
    stack.azpg("arm", "faults", "off")
    stack.up("--expect-no-changes")
    assert stack.pulumi("refresh", "--yes", "--non-interactive", "--expect-no-changes").returncode == 0
    known = sorted(one["id"].lower() for one in stack.resources())
    there = azure_resources(stack)
    assert set(there) <= set(known), "something was made that Pulumi does not know"
    types = [one["type"] for one in stack.resources()]
    assert types.count("azure-native:dbforpostgresql:Server") == 1
    assert len(stack.twin.servers()) == 1
    with stack.connect() as connection:
        connection.execute("CREATE EXTENSION azure_local_ai")


def test_every_mistake_is_said_at_once_and_nothing_is_made(stack: Stack) -> None:
    stack.configure("azpg:sku=Standard_B1ms", "azpg:backupRetentionDays=99", "azpg:serverNaem=x")
    failed = stack.pulumi("preview", "--non-interactive", check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "azpg:backupRetentionDays: 99 is too large: use 35 or less" in said
    assert "azpg:serverNaem" in said
    assert "azpg:serverName" in said, "the nearest right key"
    assert "Standard_B1ms" in said
    assert "Traceback" not in said
    assert azure_resources(stack) == []


def test_azure_local_ai_where_it_is_not_to_be_had(stack: Stack) -> None:
    stack.configure("azpg:location=northeurope")
    failed = stack.pulumi("preview", "--non-interactive", check=False)
    said = failed.stdout + failed.stderr
    assert failed.returncode != 0
    assert "azure_local_ai" in said
    assert "northeurope" in said
    assert "eastus" in said, "an alternative"


def test_the_policy_pack(stack: Stack, policy_pack: Path) -> None:
    arguments = ("preview", "--non-interactive", "--policy-pack", str(policy_pack))
    allowed = stack.pulumi(*arguments)
    assert "azpg@" in allowed.stdout
    stack.configure("azpg:parameters.require_secure_transport=off")
    refused = stack.pulumi(*arguments, check=False)
    assert refused.returncode != 0
    assert "require_secure_transport" in refused.stdout + refused.stderr
