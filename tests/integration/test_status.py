"""What `azpg status` says of a server: what is wrong with it, what it lacks, what runs an older azpg."""

from __future__ import annotations

import os
import shutil
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from azpg import __version__
from azpg_runtime.home import Home
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.command_line import Done, Run, machine
from tests.command_line import run as run_azpg
from tests.conftest import MODEL, URI, new_home, remove_home


@pytest.fixture(scope="module")
def site() -> Iterator[Home]:
    home = new_home()
    yield home
    remove_home(home)


@pytest.fixture
def azpg(site: Home) -> Run:
    """Runs `azpg` where the server `mine` is up."""

    def run(*arguments: str, **options: Any) -> Done:
        return run_azpg(*arguments, **{"AZPG_HOME": str(site.root), **options})

    run("up", "mine")
    return run


def rows(done: Done) -> dict[str, list[str]]:
    """What `azpg status` prints, by the word at the beginning of the line."""
    found: dict[str, list[str]] = {}
    for line in done.stdout.splitlines()[1:]:
        found.setdefault(line[:12].strip(), []).append(line[12:])
    return found


def status(azpg: Run) -> dict[str, Any]:
    return machine(azpg("status", "mine", "--json"), "status")


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not Path(f"/proc/{pid}").exists(), timeout=30)


def supervisor(home: Home, service: str) -> int:
    """The process that keeps the model host or the TLS front of `mine` running."""
    lock = str(home.instance("mine").root / service / "supervisor.lock")
    found = [one.pid for one in psutil.process_iter(["cmdline"]) if lock in (one.info["cmdline"] or [])]
    assert len(found) == 1, found
    return found[0]


def test_a_healthy_server_has_nothing_wrong(azpg: Run) -> None:
    assert not {"wrong", "runs"} & rows(azpg("status", "mine")).keys()
    assert (status(azpg)["tls_state"], status(azpg)["outdated"]) == ("running", [])


def test_what_is_wrong_with_a_degraded_server_and_what_to_do(azpg: Run, site: Home) -> None:
    kill(status(azpg)["postgres_pid"])
    said = azpg("status", "mine")
    assert said.stdout.startswith("mine is degraded\n")
    assert rows(said)["wrong"] == ["PostgreSQL does not run; `azpg up mine` puts it right"]
    kill(supervisor(site, "tls"))
    wrong = "PostgreSQL does not run and the TLS front does not run; `azpg up mine` puts it right"
    assert rows(azpg("status", "mine"))["wrong"] == [wrong]
    assert status(azpg)["tls_state"] == "stopped"
    azpg("up", "mine")
    assert status(azpg)["state"] == "running"
    kill(supervisor(site, "host"))
    wrong = "the model host does not run; `azpg up mine` puts it right"
    assert rows(azpg("status", "mine"))["wrong"] == [wrong]
    azpg("up", "mine")
    assert "wrong" not in rows(azpg("status", "mine"))


def test_what_azure_has_and_nobody_misses_is_for_those_who_ask(azpg: Run, minilm: StoredModel) -> None:
    assert "not loaded" not in rows(azpg("status", "mine"))
    lacking = [line for line in rows(azpg("status", "mine", "-v"))["not loaded"] if "pg_cron" in line]
    assert lacking[0].endswith(": not in this PostgreSQL")
    azpg("server", "parameter", "set", "shared_preload_libraries", "age,pg_cron", "-l", "mine")
    assert rows(azpg("status", "mine"))["not loaded"] == ["age: not in this PostgreSQL"]
    azpg("server", "parameter", "reset", "shared_preload_libraries", "-l", "mine")
    # The model that comes with azure_local_ai, for those who use another
    azpg("server", "parameter", "set", "azure.extensions", "vector,azure_local_ai", "-l", "mine")
    missing = (
        "multilingual-e5-small:v1 missing: the model store lacks it: `azpg models pull multilingual-e5-small`"
    )
    assert rows(azpg("status", "mine"))["model"] == [missing]
    azpg("psql", "mine", "-c", "CREATE EXTENSION azure_local_ai")
    azpg("psql", "mine", "-c", f"SELECT azure_local_ai.model_register('{URI}', '{MODEL}')")
    assert [line.split(" (")[0] for line in rows(azpg("status", "mine"))["model"]] == [URI]
    assert missing in rows(azpg("status", "mine", "--verbose"))["model"]


def test_what_runs_another_version_is_said_and_restart_takes_this_one(
    azpg: Run, site: Home, tmp_path: Path
) -> None:
    azpg("down", "mine")
    # As before an upgrade: a host of an older azpg, and PostgreSQL from a copy with another shim.
    (tmp_path / "sitecustomize.py").write_text("import azpg\nazpg.__version__ = '0.0.9'\n")
    tmp_path.chmod(0o755)
    azpg("up", "mine", PYTHONPATH=str(tmp_path))
    takes = f"`azpg restart mine` takes {__version__}"
    assert rows(azpg("status", "mine"))["runs"] == [f"model host of another version; {takes}"]
    link = site.instance("mine").server
    older = link.resolve().with_name("pg18-000000000000")
    shutil.copytree(link.resolve(), older, symlinks=True, copy_function=os.link)
    link.unlink()
    link.symlink_to(older)
    for command in ("status", "up"):
        said = rows(azpg(command, "mine"))["runs"]
        assert said == [f"PostgreSQL and model host of another version; {takes}"]
    assert status(azpg)["outdated"] == ["PostgreSQL", "model host"]
    assert "runs" not in rows(azpg("restart", "mine"))
    assert status(azpg)["outdated"] == []
    shutil.rmtree(older)


def test_a_restart_leaves_a_model_host_of_this_version_alone(azpg: Run) -> None:
    before = status(azpg)["host_pid"]
    azpg("restart", "mine")
    assert status(azpg)["host_pid"] == before


def test_a_port_that_is_taken_leaves_no_folder(azpg: Run, site: Home) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for option in ("--port", "--tls-port"):
            said = azpg("up", "other", option, port, status=1).stderr
            assert said.startswith(f"azpg: port {port} of 127.0.0.1 ")
            assert said.endswith(f"Name another with {option}.\n")
    assert sorted(entry.name for entry in (site.root / "instances").iterdir()) == ["mine"]


def test_the_log_of_the_tls_front(azpg: Run, site: Home) -> None:
    log = site.instance("mine").tls_log
    with log.open("a") as file:
        file.write("front: a line of its own\n")
    assert azpg("logs", "mine", "--tls", "-n", "1").stdout == "front: a line of its own\n"
    both = "azpg: --host and --tls name two logs: use one of them.\n"
    assert azpg("logs", "mine", "--tls", "--host", status=2).stderr == both


def test_a_block_stops_what_it_started_and_nothing_else(site: Home) -> None:
    twin = Instance("block", home=site)
    with twin as entered:
        assert entered is twin
        with twin, twin.connect() as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
        assert twin.running(), "which the inner block has not started"
    assert not twin.running()
    with pytest.raises(ZeroDivisionError), Instance("block", home=site):
        raise ZeroDivisionError
    assert twin.status().state == "stopped"
    twin.down(delete=True)
