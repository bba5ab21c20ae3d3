"""`azpg arm principal` as it is typed; the group `azpg arm` leads to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from azpg_runtime.arm.identity.identities import DEFAULT_NAME, Identities
from azpg_runtime.commands.principals import app
from azpg_runtime.errors import IdentityError, IdentityNotFound
from tests.command_line import machine

Run = Callable[..., str]


@pytest.fixture
def identities(tmp_path: Path) -> Identities:
    return Identities(tmp_path / "arm" / "identity")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("AZPG_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> str:
        return str(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)

    return run


def test_add_prints_what_a_program_needs(run: Run, identities: Identities) -> None:
    lines = dict(line.removeprefix("export ").split("=", 1) for line in run("add", "deployer").splitlines())
    assert set(lines) == {"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"}
    assert lines["AZURE_TENANT_ID"] == identities.tenant_id
    found = identities.authenticate(lines["AZURE_CLIENT_ID"], lines["AZURE_CLIENT_SECRET"])
    assert found.name == "deployer"


def test_add_again_gives_a_new_secret(run: Run, identities: Identities) -> None:
    first = machine(run("add", "deployer", "--json"), "arm-principal")
    second = machine(run("add", "deployer", "--json"), "arm-principal")
    assert first["object_id"] == second["object_id"]
    assert first["environment"]["AZURE_CLIENT_SECRET"] != second["environment"]["AZURE_CLIENT_SECRET"]


def test_list_shows_everybody_and_no_secret(run: Run, identities: Identities) -> None:
    made, secret = identities.add_application("de[bold]ployer")
    text = run("list")
    assert DEFAULT_NAME in text.splitlines()[1]
    assert "de[bold]ployer" in text
    found = machine(run("list", "--json"), "arm-principals")["principals"]
    assert [each["name"] for each in found] == [DEFAULT_NAME, "de[bold]ployer"]
    assert secret not in text + json.dumps(found)
    assert made.secret not in text + json.dumps(found)


@pytest.mark.parametrize("key", ["object_id", "client_id"])
def test_remove(run: Run, identities: Identities, key: str) -> None:
    made, _ = identities.add_application("deployer")
    assert run("remove", "--yes", getattr(made, key)) == "deployer is removed\n"
    with pytest.raises(IdentityNotFound, match=r"there is no identity .*`azpg arm principal list` shows all"):
        run("remove", "--yes", made.object_id)
    again, _ = identities.add_application("deployer")
    assert machine(run("remove", "--yes", again.object_id, "--json"), "arm-principal")["name"] == "deployer"


def test_remove_the_default_identity(run: Run, identities: Identities) -> None:
    with pytest.raises(IdentityError, match=f"'{DEFAULT_NAME}' is the default identity, which stays"):
        run("remove", "--yes", identities.default.object_id)
