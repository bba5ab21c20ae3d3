"""`--stack`: the outputs of a stack that the real Pulumi command line has made are all that a target needs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from azpg_provision.errors import TargetUnreachable
from azpg_provision.target import stack as stacks
from azpg_provision.target.stack import StackName
from azpg_runtime.pulumi.workspace import Workspace

from .conftest import ROOT
from .stacks import Stack

pytestmark = pytest.mark.timeout(600)
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "preflight.json").read_text())


def by_id(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    found = json.loads(done.stdout)
    jsonschema.validate(found, SCHEMA)
    return {one["id"]: one for one in found["checks"]}


def test_a_stack_is_a_target(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = stack.azpg("preflight", "--stack", "offline", check=False)
    assert missing.returncode == 1
    assert "`azpg pulumi up` makes the stack" in missing.stderr
    workspace = Workspace(stack.home, ROOT, "offline")
    assert not workspace.exists, "nor was one made"

    stack.up()
    outputs = stack.outputs()
    spec = tmp_path / "azpg.yaml"
    spec.write_text(
        f"version: 1\ntarget: {{stack: offline, cwd: {ROOT}}}\ndatabases:\n- name: app\n  extensions: [vector]\n"
    )
    done = stack.azpg("preflight", str(spec), "--json")
    found = by_id(done)
    assert {one["status"] for one in found.values()} == {"pass"}
    assert json.loads(done.stdout)["target"] == f"stack offline ({outputs['server_name']})"
    assert {"database.app", "ai.account", "ai.deployment.text-embedding-3-small", "ai.role"} <= set(found)
    assert found["login"]["reason"].startswith(f"{outputs['admin_user']} logs in with a password")
    assert outputs["admin_password"] not in done.stdout + done.stderr

    # As the stack of a cloud: Pulumi's own command line, where its environment leads.
    environment = {**stack.environment, **stack.twin.environment(), **workspace.environment()}
    arguments = ["--stack", "organization/azpg/offline", "--cwd", str(workspace.folder), "--json"]
    online = subprocess.run(
        [sys.executable, "-m", "azpg", "preflight", *arguments],
        cwd=tmp_path / "..",
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert online.returncode == 0, online.stderr
    assert by_id(online)["login"]["status"] == "pass"
    assert outputs["admin_password"] not in online.stdout + online.stderr

    for name, value in stack.environment.items():
        monkeypatch.setenv(name, value)
    read = stacks.read(StackName.of("offline:offline", ROOT))
    assert read.server_id == outputs["server_id"]
    assert read.admin_password == outputs["admin_password"]
    assert outputs["admin_password"] not in repr(read)

    stack.pulumi("destroy", "--yes", "--non-interactive", "--skip-preview")
    gone = stack.azpg("preflight", "--stack", "offline", check=False)
    assert (
        "the stack offline has no output server_id and admin_user: `azpg pulumi up` makes the server"
        in gone.stderr
    )


def test_a_stack_of_a_cloud_that_nobody_is_logged_in_to(stack: Stack, tmp_path: Path) -> None:
    done = stack.azpg("preflight", "--stack", "prod", check=False)
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert "`pulumi stack output` failed: " in done.stderr
    assert "`pulumi up --stack prod` makes the stack" in done.stderr


def test_no_pulumi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(TargetUnreachable, match=r"pulumi is not on PATH.*--server"):
        stacks.read(StackName.of("prod", tmp_path))
