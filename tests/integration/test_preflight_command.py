"""`azpg preflight` as a person types it: real processes, real output, with the ARM twin behind the SDK."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from azpg.extensions import normalise
from azpg_runtime.access_tokens import DATABASE
from azpg_runtime.home import Home
from tests.command_line import Done, Run, machine
from tests.command_line import run as run_azpg
from tests.integration.azure import PASSWORD
from tests.integration.entra_server import EntraServer

SPEC = """\
version: 1
target:
  azure:
    server: {server}
models:
- uri: all-minilm-l6-v2:v1
databases:
- name: shop
  extensions: [vector, azure_local_ai]
  tables:
  - name: products
    embeddings:
    - column: embedding
      source: [title]
      model: all-minilm-l6-v2:v1
      dimensions: 384
"""


@pytest.fixture
def azpg(entra: EntraServer, tmp_path: Path) -> Run:
    """Runs `azpg` in an empty folder and with what `azpg arm env` prints."""

    def run(*arguments: str, twin: bool = True, **options: Any) -> Done:
        own = entra.azure.twin.environment() if twin else {}
        home = str(entra.azure.twin.files.root.parent)
        done = run_azpg(*arguments, cwd=tmp_path, **{"AZPG_HOME": home, **own, **options})
        said = done.stdout + done.stderr
        for secret in ("eyJ", PASSWORD, own.get("IDENTITY_HEADER", PASSWORD)):
            assert secret not in said
        return done

    return run


def test_for_people(azpg: Run, entra: EntraServer) -> None:
    said = azpg("preflight", "--server", str(entra.id)).stdout.splitlines()
    assert said[0] == "Preflight of entra-server"
    assert said[1].split() == ["check", "status", "why"]
    assert any(line.split()[:2] == ["login", "pass"] for line in said)
    assert said[-1].endswith("0 fail, 0 unknown: nothing stands in the way.")


def test_for_machines_with_a_spec(azpg: Run, entra: EntraServer, tmp_path: Path) -> None:
    # Not the model that others' databases on this server have.
    spec = SPEC.format(server=entra.id).replace("all-minilm-l6-v2:v1", "nobodys:v1")
    (tmp_path / "azpg.yaml").write_text(spec)
    found = machine(azpg("preflight", "--json"), "preflight")
    assert found["target"] == "entra-server"
    by_id = {one["id"]: one for one in found["checks"]}
    assert by_id["database.shop"]["status"] == "pass"
    assert by_id["model.nobodys:v1"]["status"] == "unknown"
    (tmp_path / "azpg.yaml").rename(tmp_path / "other.yaml")
    assert (
        machine(azpg("preflight", "other.yaml", "--json"), "preflight")["checks"][1:3] == found["checks"][1:3]
    )


def test_a_failing_check_is_an_exit_code(azpg: Run, entra: EntraServer, tmp_path: Path) -> None:
    spec = SPEC.format(server=entra.id).replace(
        "[vector, azure_local_ai]", "[vector, azure_local_ai, nonsense]"
    )
    (tmp_path / "azpg.yaml").write_text(spec)
    done = azpg("preflight", status=1)
    assert "extension.nonsense" in done.stdout
    assert "→ Leave it out of the spec" in done.stdout
    assert "nonsense is not among the values" in done.stdout
    assert done.stderr == ""
    assert ", 1 fail, " in done.stdout.splitlines()[-1]
    found = machine(azpg("preflight", "--json", status=1), "preflight")
    assert [one["id"] for one in found["checks"] if one["status"] == "fail"] == ["extension.nonsense"]


def test_a_target_of_the_command_line_goes_before_the_specs(
    azpg: Run, entra: EntraServer, tmp_path: Path
) -> None:
    (tmp_path / "azpg.yaml").write_text(SPEC.format(server=entra.id))
    found = machine(azpg("preflight", "--local", "nobody", "--json", status=1), "preflight")
    assert found["target"] == "local nobody"
    assert found["checks"][0]["reason"].startswith("there is no instance 'nobody'.")
    local = machine(azpg("preflight", "--local", "entra-server", "--json"), "preflight")
    assert local["target"] == "local entra-server"


def test_another_role_in_the_place_of_the_specs(azpg: Run, entra: EntraServer, tmp_path: Path) -> None:
    (tmp_path / "azpg.yaml").write_text(SPEC.format(server=entra.id))
    found = machine(azpg("preflight", "--user", "boss", "--json", status=1), "preflight")
    login = next(one for one in found["checks"] if one["id"] == "login")
    assert "'boss' has to be a Microsoft Entra administrator" in login["reason"]


def test_a_connection_string_in_a_variable(azpg: Run, entra: EntraServer, tmp_path: Path) -> None:
    status = azpg("dsn", "--tcp", "entra-server").stdout.strip()
    with_password = status.replace("postgresql://boss@", f"postgresql://boss:{PASSWORD}@")
    found = machine(azpg("preflight", "--dsn", "env:SHOP", "--json", SHOP=with_password), "preflight")
    assert found["target"].startswith("env:SHOP (127.0.0.1:")
    (tmp_path / "dsn").write_text(with_password)
    found = machine(azpg("preflight", "--dsn", "file:dsn", "--json"), "preflight")
    assert next(one for one in found["checks"] if one["id"] == "login")["status"] == "pass"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--server", "x"], "'x' is no flexible server's resource id: use /subscriptions/ID/"),
        (["--server", "x", "--local", "y"], "--local and --server name a target each: choose one of them."),
        (["--stack", "-x"], "'-x' is no stack's name: use STACK or ORGANISATION/PROJECT/STACK, and offline"),
        (["--stack", "x", "--cwd", "/nonexistent"], "the folder /nonexistent is not there"),
        (["--dsn", "postgresql://u:Hidden-5@h/d"], "--dsn holds a password"),
        (["--dsn", "keyvault:x"], "--dsn keyvault: references come later"),
        (["--dsn", "env:NOT_SET"], "the environment variable NOT_SET is not set"),
        (["--dsn", "host"], "--dsn is no connection string: use env:VARIABLE"),
        (["missing.yaml"], "there is no missing.yaml"),
    ],
)
def test_what_cannot_be_asked_for(azpg: Run, arguments: list[str], said: str) -> None:
    done = azpg("preflight", *arguments, status=2)
    assert done.stdout == ""
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Hidden-5" not in done.stderr


def test_without_a_target_the_local_server_default_is_meant(azpg: Run) -> None:
    done = azpg("preflight", status=1)
    assert done.stdout.startswith("Preflight of local default\n")
    assert "`azpg up default` makes it." in done.stdout


def test_nobody_who_asks(azpg: Run, entra: EntraServer) -> None:
    """Without an identity, azure-identity has nothing to show."""
    own = entra.azure.twin.environment()
    known = {
        "AZPG_ARM_ENDPOINT": own["AZPG_ARM_ENDPOINT"],
        "REQUESTS_CA_BUNDLE": own["REQUESTS_CA_BUNDLE"],
        "HTTPS_PROXY": own["HTTPS_PROXY"],
        "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential",
        "NO_PROXY": "127.0.0.1",
    }
    found = machine(
        azpg("preflight", "--server", str(entra.id), "--json", status=1, twin=False, **known), "preflight"
    )
    assert "no identity to ask Azure with was found. Log in with `az login`" in found["checks"][0]["reason"]


def test_a_service_principal(azpg: Run, entra: EntraServer, home: Home) -> None:
    """The way of a CI job: a secret in its environment, and no managed identity."""
    identity, secret = entra.identities.add_application("ci-job")
    own = {"AZURE_CLIENT_ID": identity.client_id, "AZURE_CLIENT_SECRET": secret}
    done = azpg("preflight", "--server", str(entra.id), "--json", status=1, **own)
    assert secret not in done.stdout + done.stderr
    login = next(one for one in machine(done, "preflight")["checks"] if one["id"] == "login")
    assert f"object id {identity.object_id}, is no Microsoft Entra administrator" in login["reason"]
    assert DATABASE not in login["reason"]


def test_help_is_quick_to_import() -> None:
    """Neither Azure's SDK nor psycopg is loaded for a word of help."""
    program = (
        "import sys, azpg_provision.commands.preflight\n"
        "heavy = {'azure', 'psycopg', 'pydantic', 'pglast', 'yaml', 'rich'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


ALL = """\
version: 1
target:
  azure:
    server: {server}
server:
  allow: [plpgsql]
  preload: [pg_prewarm]
models:
- uri: all-minilm-l6-v2:v1
databases:
- name: applied
  init: [init.sql]
  extensions: [vector, azure_local_ai]
  tables:
  - name: products
    embeddings:
    - column: embedding
      source: [title]
      model: all-minilm-l6-v2:v1
      sync: trigger
"""


def test_a_spec_is_applied_to_a_server_without_a_password(
    azpg: Run, entra: EntraServer, tmp_path: Path
) -> None:
    """Allow-list and preload list by Resource Manager, a restart, and all else with a token as the password."""
    (tmp_path / "azpg.yaml").write_text(ALL.format(server=entra.id))
    (tmp_path / "init.sql").write_text(
        "CREATE TABLE products (id int PRIMARY KEY, title text);\n"
        "INSERT INTO products SELECT i, 'product ' || i FROM generate_series(1, 20) AS i;\n"
    )
    planned = {(one["kind"], one["name"]) for one in json.loads(azpg("plan", "--json").stdout)["changes"]}
    assert {
        ("preloaded_library", "pg_prewarm"),
        ("allowed_extension", "plpgsql"),
        ("database", "applied"),
    } <= planned
    azpg("apply", "--yes", "--allow-restart")
    with entra.target().connect("applied") as connection:
        assert connection.execute("SELECT count(embedding) FROM public.products").fetchone() == (20,)
        allowed = connection.execute("SHOW azure.extensions").fetchone()
    assert allowed is not None
    assert {"vector", "azure_local_ai", "plpgsql"} <= set(normalise(allowed[0]))
    found = entra.azure.postgres.configurations.get("entra", "entra-server", "shared_preload_libraries")
    assert not found.is_config_pending_restart
    assert "pg_prewarm" in normalise(str(found.value))
    assert json.loads(azpg("plan", "--json").stdout)["changes"] == []
    assert "No drift" in azpg("drift").stdout
    by_id = {one["id"]: one for one in machine(azpg("preflight", "--json"), "preflight")["checks"]}
    assert by_id["model.all-minilm-l6-v2:v1"]["reason"].endswith("is registered, with 384 dimensions.")
    assert by_id["preload.pg_prewarm"]["reason"] == "pg_prewarm is in shared_preload_libraries."
