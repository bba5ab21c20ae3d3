"""`azpg arm` as a person types it, and a program that was made for Azure and knows nothing of the twin."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from azpg.extras import install_command
from azpg_runtime.arm.identity.rivals import RIVALS
from azpg_runtime.arm.twin import ArmTwin
from azpg_runtime.home import Home
from tests.command_line import AZPG, Run, machine, run
from tests.conftest import new_home, remove_home

PROGRAM = """
import os, sys
from azure.identity import DefaultAzureCredential
from azure.mgmt.resource.resources import ResourceManagementClient
from azure.mgmt.postgresqlflexibleservers import PostgreSQLManagementClient

from azure.mgmt.cognitiveservices import CognitiveServicesManagementClient

credential = DefaultAzureCredential()
resources = ResourceManagementClient(credential, os.environ["AZURE_SUBSCRIPTION_ID"])
resources.resource_groups.create_or_update("program", {"location": "westeurope"})
postgres = PostgreSQLManagementClient(credential, os.environ["AZURE_SUBSCRIPTION_ID"])
found = postgres.capabilities_by_location.list("westeurope")
cognitive = CognitiveServicesManagementClient(credential, os.environ["AZURE_SUBSCRIPTION_ID"])
body = {"location": "westeurope", "kind": "OpenAI", "sku": {"name": "S0"}, "properties": {}}
made = cognitive.accounts.begin_create("program", "made-" + sys.argv[1], body).result()
assert made.properties.provisioning_state == "Succeeded"
print([one.name for one in next(iter(found)).supported_server_versions])
"""


@pytest.fixture(scope="module")
def own_home() -> Iterator[Home]:
    home = new_home()
    yield home
    ArmTwin(home).stop(delete=True)
    remove_home(home)


def runner(home: Home) -> Run:
    return partial(run, AZPG_HOME=str(home.root), COLUMNS="200")


@pytest.fixture
def azpg(own_home: Home) -> Run:
    return runner(own_home)


@pytest.fixture
def up(azpg: Run) -> Iterator[dict[str, str]]:
    """The environment of a running twin."""
    yield machine(azpg("arm", "up", "--json"), "arm-up")["environment"]
    azpg("arm", "down")


def test_before_there_is_a_twin(home: Home) -> None:
    azpg = runner(home)
    assert "is stopped" in azpg("arm", "status").stdout
    assert "the ARM twin does not run. `azpg arm up` starts it." in azpg("arm", "env", status=1).stderr
    assert "the ARM twin has no log yet. `azpg arm up` starts it." in azpg("arm", "logs", status=1).stderr
    assert "was down already" in azpg("arm", "down").stdout
    assert azpg("arm", "faults", "show").stdout == "No faults are made.\n"


def test_what_it_prints_is_an_environment(azpg: Run, up: dict[str, str]) -> None:
    again = azpg("arm", "up")
    assert "The ARM twin is up already at https://127.0.0.1:" in again.stderr
    assert again.stdout == azpg("arm", "env").stdout
    as_json = machine(azpg("arm", "env", "--json"), "arm-env")
    assert as_json == {"version": 1, "environment": up, "unset": list(RIVALS)}
    script = f"{again.stdout}\n{sys.executable} -c 'import json, os; print(json.dumps(dict(os.environ)))'"
    done = subprocess.run(["/bin/sh", "-c", script], check=True, capture_output=True, text=True)
    assert up.items() <= json.loads(done.stdout).items()
    assert up.keys() >= {
        *("AZPG_ARM_ENDPOINT", "AZURE_SUBSCRIPTION_ID", "AZURE_TENANT_ID", "HTTPS_PROXY", "NO_PROXY"),
        *("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "IDENTITY_ENDPOINT", "IDENTITY_HEADER"),
    }


CALLER = """
from azure.identity import DefaultAzureCredential
import base64
with DefaultAzureCredential() as credential:
    token = credential.get_token("https://management.azure.com/.default").token
print(base64.urlsafe_b64decode(token.split(".")[1] + "==").decode())
"""


@pytest.mark.parametrize(
    "own",
    [
        {"AZURE_CLIENT_ID": "theirs", "AZURE_CLIENT_SECRET": "theirs"},
        {"AZURE_CLIENT_ID": "theirs", "AZURE_FEDERATED_TOKEN_FILE": "/theirs"},
        {"AZURE_CLIENT_ID": "theirs", "AZURE_USERNAME": "theirs", "AZURE_PASSWORD": "theirs"},
        {"AZURE_CLIENT_ID": "theirs"},
        {"AZURE_TOKEN_CREDENTIALS": "dev"},
        {"AZURE_AUTHORITY_HOST": "login.chinacloudapi.cn"},
        {"IDENTITY_SERVER_THUMBPRINT": "theirs"},
    ],
    ids=lambda own: list(own)[-1],
)
def test_an_identity_that_the_caller_has_does_not_go_before_the_twins(
    azpg: Run, up: dict[str, str], own_home: Home, own: dict[str, str]
) -> None:
    environment = {**os.environ, "AZPG_HOME": str(own_home.root), "AZURE_TENANT_ID": "theirs", **own}
    script = 'set -u; eval "$("$0" -m azpg arm env)"; exec "$0" -c "$1"'
    done = subprocess.run(
        ["/bin/sh", "-c", script, sys.executable, CALLER],
        env=environment,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    principals = json.loads(azpg("arm", "principal", "list", "--json").stdout)["principals"]
    (default,) = (one for one in principals if one["name"] == "azpg-developer")
    assert json.loads(done.stdout)["oid"] == default["object_id"]


def test_status(azpg: Run, up: dict[str, str]) -> None:
    found = machine(azpg("arm", "status", "--json"), "arm-status")
    assert (found["version"], found["state"], found["profile"]) == (1, "running", "preview-2024")
    assert found["endpoint"] == up["AZPG_ARM_ENDPOINT"]
    assert found["subscription_id"] == up["AZURE_SUBSCRIPTION_ID"]
    assert found["tenant_id"] == up["AZURE_TENANT_ID"]
    assert found["servers"] == []
    said = azpg("arm", "status").stdout
    assert "is running" in said
    assert up["AZPG_ARM_ENDPOINT"] in said
    assert 'eval "$(azpg arm env)"' in said


def test_an_unmodified_program(azpg: Run, up: dict[str, str]) -> None:
    ways: list[dict[str, str]] = [{}, {"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"}]
    for number, variables in enumerate(ways):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("AZ", "PG"))}
        done = subprocess.run(
            [sys.executable, "-W", "error::ResourceWarning", "-c", PROGRAM, str(number)],
            env={**clean, **up, **variables},
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout == "['16', '18']\n"
    assert (
        f"PUT /subscriptions/{up['AZURE_SUBSCRIPTION_ID']}/resourcegroups/program 200"
        in azpg("arm", "logs").stdout
    )


def test_faults(azpg: Run, up: dict[str, str]) -> None:
    added = azpg(
        "arm", "faults", "add", "throttle", "--rate", "0.3", "--path", "*/flexibleServers/*", "--seed", "7"
    )
    assert "throttle" in added.stdout
    assert "seed 7" in added.stdout
    azpg("arm", "faults", "add", "slow", "--delay", "1.5", "--times", "2")
    plan: dict[str, Any] = machine(azpg("arm", "faults", "show", "--json"), "arm-faults")
    assert (plan["version"], plan["seed"]) == (1, 7)
    assert [(one["kind"], one["rate"], one["delay"], one["times"]) for one in plan["rules"]] == [
        ("throttle", 0.3, 2.0, 0),
        ("slow", 1.0, 1.5, 2),
    ]
    assert azpg("arm", "faults", "show").stdout.count("\n") == 4
    assert azpg("arm", "faults", "off").stdout == "No faults are made.\n"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (
            ("arm", "faults", "add", "flood"),
            2,
            "fault 'flood' is unknown: use throttle, error, drop, slow, fail",
        ),
        (("arm", "faults", "add", "error", "--rate", "2"), 2, "the rate 2 is not from 0 to 1"),
        (("arm", "faults", "add", "slow", "--delay", "-1"), 2, "the delay -1 is not from 0 to 3600 seconds"),
        (("arm", "up", "--profile", "azure-1999"), 2, "use preview-2024 or azure-2026"),
    ],
)
def test_what_is_refused(azpg: Run, arguments: tuple[str, ...], status: int, said: str) -> None:
    assert said in azpg(*arguments, status=status).stderr


def test_deleting_it(azpg: Run, own_home: Home) -> None:
    first = machine(azpg("arm", "up", "--json"), "arm-up")["subscription_id"]
    assert machine(azpg("arm", "down", "--delete", "--yes", "--json"), "arm-down") == {
        "version": 1,
        "ran": True,
        "deleted": True,
        "servers": [],
    }
    assert not own_home.arm.exists()
    assert machine(azpg("arm", "up", "--json"), "arm-up")["subscription_id"] != first
    assert "is down" in azpg("arm", "down").stdout


def test_without_the_extra(azpg: Run, own_home: Home) -> None:
    without = "import sys; sys.modules['uvicorn'] = None; from azpg.cli import main; sys.argv = ['azpg', 'arm', 'up']; main()"
    done = subprocess.run(
        [sys.executable, "-c", without],
        env={**os.environ, "AZPG_HOME": str(own_home.root)},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr == f"azpg: the ARM twin needs what the extra [arm] brings: {install_command('arm')}.\n"


def test_stacks_that_list_what_is_gone_are_named(home: Home) -> None:
    state = home.root / "pulumi" / "state" / ".pulumi" / "stacks" / "mine"
    state.mkdir(parents=True)
    for name, latest in {"made": {"resources": [{}]}, "gone": {}, "new": None}.items():
        (state / f"{name}.json").write_text(json.dumps({"version": 3, "checkpoint": {"latest": latest}}))
    (state / "damaged.json").write_text("{")
    azpg = runner(home)
    done = azpg("arm", "down", "--delete", "--yes")
    assert done.stdout == "The ARM twin is deleted\n"
    assert done.stderr == (
        "Pulumi still lists what is gone, in mine/made; azpg pulumi refresh, then azpg pulumi up\n"
    )
    assert azpg("arm", "down").stderr == ""


def test_ids_are_whole_on_a_narrow_terminal(home: Home) -> None:
    runner(home)("arm", "principal", "add", "a-service-with-a-long-name", "--json")
    path = "*/providers/Microsoft.DBforPostgreSQL/flexibleServers/*/configurations/azure.extensions"
    runner(home)("arm", "faults", "add", "slow", "--path", path)
    listed = runner(home)("arm", "principal", "list", "--json").stdout
    ids = [one[key] for one in json.loads(listed)["principals"] for key in ("object_id", "client_id")]
    environment = {**os.environ, "AZPG_HOME": str(home.root), "COLUMNS": "80", "TERM": "xterm"}
    for arguments, whole in ((["principal", "list"], ids), (["faults", "show"], [path])):
        ours, theirs = pty.openpty()
        try:
            subprocess.run([*AZPG, "arm", *arguments], env=environment, check=True, stdout=theirs)
            said = os.read(ours, 4096).decode()
        finally:
            os.close(ours)
            os.close(theirs)
        assert all(one in said for one in whole), said
