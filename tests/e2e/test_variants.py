"""The variants that the default stack does not show, with the real Pulumi command line."""

from __future__ import annotations

import pytest

from .stacks import Stack

pytestmark = pytest.mark.timeout(600)

PRINCIPAL = "20212223-2425-2627-2829-2a2b2c2d2e2f"
ADMIN = ("azpg:entraAdmins[0].name=dba@example.org", f"azpg:entraAdmins[0].objectId={PRINCIPAL}")
INJECTED = (
    *ADMIN,
    "azpg:networkMode=vnet",
    "azpg:aiPublicAccess=false",
    "azpg:aiKind=AIServices",
    "azpg:aiLocalAuth=true",
    "azpg:diagnostics=true",
    "azpg:lock=true",
    "azpg:databases[1]=reports",
    "azpg:databases[0]=app",
    "azpg:preloadLibraries[0]=auto_explain",
    "azpg:parameters.work_mem=8192",
    "azpg:zones.primary=1",
    "azpg:highAvailability=ZoneRedundant",
    "azpg:tags.team=search",
)
ENDPOINT = (*ADMIN, "azpg:networkMode=privateEndpoint", "azpg:passwordAuth=false", "azpg:aiKind=none")


def kinds(stack: Stack) -> set[str]:
    return {one["type"].rpartition(":")[2] for one in stack.resources()}


def test_inside_a_network_with_everything(stack: Stack) -> None:
    stack.configure(*INJECTED)
    stack.up()
    assert kinds(stack) >= {
        "AdministratorsMicrosoftEntra",
        "DiagnosticSetting",
        "ManagementLockByScope",
        "PrivateDnsZoneGroup",
        "PrivateEndpoint",
        "PrivateZone",
        "Subnet",
        "VirtualNetworkLink",
        "VirtualNetwork",
        "Workspace",
    }
    outputs = stack.outputs()
    assert outputs["databases"] == ["app", "reports"]
    assert outputs["restart_required"] == ["shared_preload_libraries"]
    exported = stack.pulumi("stack", "export").stdout
    assert [name for name in ("admin_password", "ai_key") if outputs[name] in exported] == []

    stack.azpg("restart", outputs["server_name"])
    # A preview of a change of the server: what hangs on its identity stays as it is.
    stack.configure("azpg:tags.team=find")
    stack.pulumi("up", "--yes", "--non-interactive", "--refresh")
    assert stack.outputs()["restart_required"] == []
    with stack.connect("reports") as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("8MB",)
    stack.up("--expect-no-changes")

    stack.pulumi("destroy", "--yes", "--non-interactive", "--skip-preview")
    assert stack.resources() == []
    assert stack.twin.servers() == []


def test_behind_an_endpoint_with_entra_only(stack: Stack) -> None:
    stack.configure(*ENDPOINT)
    stack.up()
    outputs = stack.outputs()
    assert outputs["admin_user"] == "dba@example.org"
    assert "admin_password" not in outputs
    assert kinds(stack) >= {"AdministratorsMicrosoftEntra", "PrivateEndpoint", "PrivateDnsZoneGroup"}
    stack.up("--expect-no-changes")
