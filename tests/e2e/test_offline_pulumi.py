"""A stack's life with the real Pulumi command line and no cloud."""

from __future__ import annotations

import json
import re

import psycopg
import pytest
from azure.identity import DefaultAzureCredential
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient

from .stacks import Stack

pytestmark = pytest.mark.timeout(600)

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

    stack.pulumi("config", "set", "--path", "azpg:extensions[3]", "hstore")
    stack.pulumi("config", "set", "azpg:sku", "Standard_E8ds_v5")
    changed = stack.up("--json").stdout
    assert '"replace"' not in changed
    with (
        stack.connect() as connection,
        pytest.raises(
            psycopg.errors.FeatureNotSupported, match='"hstore" is allow-listed, but this local server'
        ),
    ):
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
