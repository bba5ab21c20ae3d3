"""The commands as a person types them: real processes, real output."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from azpg_runtime.home import Home
from azpg_runtime.models import StoredModel
from azpg_runtime.wait import wait_for
from tests.command_line import AZPG, Done, Run, machine
from tests.command_line import run as run_azpg
from tests.conftest import MODEL, new_home, remove_home
from tests.support.python import others_run_python


@pytest.fixture(scope="module")
def shared_home(minilm: StoredModel) -> Iterator[Home]:
    home = new_home()
    yield home
    remove_home(home)


@pytest.fixture(scope="module")
def azpg(shared_home: Home) -> Run:
    """Runs `azpg` with arguments in a home where the instance `default` is up."""

    def run(*arguments: str, **options: Any) -> Done:
        done = run_azpg(*arguments, **{"AZPG_HOME": str(shared_home.root), **options})
        if options.get("status") == 1:
            assert len(done.stderr.strip().splitlines()) == 1
        return done

    run("up")
    return run


def test_up_again_says_so(azpg: Run) -> None:
    assert "is up already" in azpg("up").stdout


def test_status_for_machines(azpg: Run) -> None:
    found = machine(azpg("status", "--json"), "status")
    assert found["version"] == 1
    assert {"name", "state", "host", "port", "socket_dir", "postgres_version", "host_pid", "models"} <= set(
        found
    )
    assert (found["name"], found["state"], found["host"]) == ("default", "running", "127.0.0.1")
    assert found["postgres_version"].startswith("18.")
    assert (found["location"], found["sku"]) == ("eastus", "Standard_E4ds_v5")
    socket = Path(found["socket_dir"]) / f".s.PGSQL.{found['port']}"
    assert socket.is_socket()
    assert Path(f"/proc/{found['host_pid']}").exists()
    assert found["tls_port"] not in {None, found["port"]}


def test_status_for_people(azpg: Run) -> None:
    said = azpg("status").stdout
    assert "default is running" in said
    assert 'psql "$(azpg dsn)"' in said


def test_dsn_prints_what_libpq_takes_and_nothing_else(azpg: Run) -> None:
    dsn = azpg("dsn").stdout.rstrip("\n")
    assert "\n" not in dsn
    with psycopg.connect(dsn) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("pgadmin",)
    with psycopg.connect(azpg("dsn", "--with-password", "-d", "template1").stdout.strip()) as connection:
        assert connection.execute("SELECT current_database()").fetchone() == ("template1",)


def test_dsn_for_tls_and_the_ca_to_trust(azpg: Run, shared_home: Home) -> None:
    dsn = azpg("dsn", "--tls").stdout.rstrip("\n")
    path = azpg("ca").stdout.rstrip("\n")
    assert Path(path) == shared_home.ca / "ca.crt"
    assert azpg("ca", "--pem").stdout == Path(path).read_text()
    options = psycopg.conninfo.conninfo_to_dict(dsn)
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", path)
    for one in (dsn, azpg("dsn", "--tls", "--with-password").stdout.rstrip("\n")):
        with psycopg.connect(one) as connection:
            assert connection.pgconn.ssl_in_use
    port = machine(azpg("status", "--json"), "status")["tls_port"]
    assert options["port"] == str(port)
    assert f"127.0.0.1:{port}" in azpg("status").stdout


def test_psql(azpg: Run) -> None:
    assert azpg("psql", "default", "--", "-Atc", "SELECT 40 + 2").stdout == "42\n"
    assert azpg("psql", "--", "-Atc", "SELECT 42").stdout == "42\n"
    assert azpg("psql", "-Atc", "SELECT 43").stdout == "43\n"
    assert azpg("psql", "default", "-d", "template1", "-At", "-c", "SELECT 44").stdout == "44\n"
    assert azpg("psql", given="SELECT 'from stdin' AS said;").stdout.split()[2:4] == ["from", "stdin"]


def test_psql_goes_to_the_twin_whatever_is_set_for_other_servers(azpg: Run) -> None:
    elsewhere = {
        "PGHOST": "192.0.2.1",
        "PGHOSTADDR": "192.0.2.1",
        "PGPORT": "1",
        "PGUSER": "somebody",
        "PGPASSWORD": "wrong",
        "PGDATABASE": "nowhere",
        "PGSERVICE": "nothing",
        "PGREQUIREAUTH": "none",
        "PGTARGETSESSIONATTRS": "standby",
    }
    shown = azpg("psql", "-Atc", "SHOW work_mem", PGOPTIONS="-c work_mem=77kB", **elsewhere).stdout
    assert shown == "77kB\n"


def test_logs(azpg: Run, shared_home: Home) -> None:
    assert "ready to accept connections" in azpg("logs").stdout
    assert "ready" in azpg("logs", "--host", "-n", "100").stdout
    log = shared_home.instance("default").postgres_log
    with log.open("a") as file:
        file.write("a long line\n" * 50_000)
    reading, writing = os.pipe()
    with subprocess.Popen(
        [*AZPG, "logs", "-n", "50000"],
        env={**os.environ, "AZPG_HOME": str(shared_home.root)},
        stdout=writing,
        stderr=subprocess.PIPE,
    ) as process:
        os.close(writing)
        os.read(reading, 10)
        os.close(reading)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (-signal.SIGPIPE, b""), "as tail does without us"


def test_server_parameters(azpg: Run, shared_home: Home) -> None:
    name = "azure.extensions"
    assert (
        azpg("server", "parameter", "set", name, "vector,azure_local_ai").stdout
        == f"{name} = vector,azure_local_ai\n"
    )
    shown = machine(azpg("server", "parameter", "show", name, "--json"), "server-parameter")
    assert shown["value"] == "vector,azure_local_ai"
    assert "azure_local_ai" in shown["allowed_values"]
    assert "allowed values" in azpg("server", "parameter", "show", name).stdout
    listed = machine(azpg("server", "parameter", "list", "--json"), "server-parameters")["parameters"]
    assert {"work_mem", name} <= {one["name"] for one in listed}
    (row,) = [
        line.split()
        for line in azpg("server", "parameter", "list", COLUMNS="40").stdout.splitlines()
        if line.startswith("data_directory ")
    ]
    folder = shared_home.instance("default").data
    assert row == ["data_directory", str(folder), "never", "default"], "whole in a pipe"
    assert (
        "…" not in azpg("server", "parameter", "list", COLUMNS="60", TTY_COMPATIBLE="1", TERM="dumb").stdout
    )
    changed = machine(azpg("server", "parameter", "set", "work_mem", "8MB", "--json"), "server-parameter")
    assert (changed["value"], changed["unit"]) == ("8192", "kB")
    buffers = azpg("server", "parameter", "show", "shared_buffers").stdout
    assert "16384 x 8kB" in buffers
    off = azpg("server", "parameter", "set", "log_min_duration_statement", "-1").stdout
    assert off == "log_min_duration_statement = -1 ms\n"
    static = azpg("server", "parameter", "set", "max_connections", "60").stdout
    assert static == "max_connections = 60, after `azpg restart`\n"
    assert "100, until `azpg restart`" in azpg("server", "parameter", "show", "max_connections").stdout
    assert "max_connections, for `azpg restart`" in azpg("status").stdout
    assert "default is up again" in azpg("restart").stdout
    back = machine(azpg("server", "parameter", "reset", "max_connections", "--json"), "server-parameter")
    assert (back["value"], back["in_force"], back["is_config_pending_restart"]) == ("100", "60", True)
    assert machine(azpg("restart", "--json"), "status")["pending_restart"] == []
    preloaded = azpg("server", "parameter", "set", "shared_preload_libraries", "age").stdout
    assert preloaded.splitlines()[1].startswith("age: not loaded: this PostgreSQL 18 lacks it; `azpg up")
    azpg("server", "parameter", "reset", "shared_preload_libraries")
    assert "not loaded" in azpg("status", "--verbose").stdout


def test_which_server_parameters_are_listed(azpg: Run, shared_home: Home) -> None:
    def names(*arguments: str) -> list[str]:
        shown = azpg("server", "parameter", "list", *arguments)
        rows = [line.split() for line in shown.stdout.splitlines()]
        assert rows.pop(0) == ["name", "value", "effect", "source"]
        listed = machine(azpg("server", "parameter", "list", *arguments, "--json"), "server-parameters")
        assert [row[0] for row in rows] == [one["name"] for one in listed["parameters"]]
        return [row[0] for row in rows]

    assert {"work_mem", "autovacuum_work_mem", "maintenance_work_mem"} < set(names("WORK_mem"))
    assert names("*_work_mem") == [name for name in names("work_mem") if name.endswith("_work_mem")]
    assert names("max_wal_?ize") == ["max_wal_size"]
    words = {
        "_AZPG_COMPLETE": "complete_bash",
        "COMP_WORDS": "azpg server parameter show max_wal",
        "COMP_CWORD": "4",
    }
    assert azpg(**words).stdout.split() == ["max_wal_senders", "max_wal_size"]
    assert "vacuum_cost_limit" in names("cost")
    azpg("server", "parameter", "set", "vacuum_cost_limit", "300")
    assert names("cost", "--changed") == ["vacuum_cost_limit"]
    row = next(
        line for line in azpg("server", "parameter", "list", "cost").stdout.splitlines() if "300" in line
    )
    assert row.split() == ["vacuum_cost_limit", "300", "at", "once", "set"]
    # On the usual terminal each has its line: a long value is folded, a name is not.
    shown = in_terminal(shared_home, "server", "parameter", "list", columns=80)
    for name in names():
        assert re.search(rf"^\W*(\x1b\[\d+m)?{re.escape(name)}\s", shown, re.MULTILINE), name
    azpg("server", "parameter", "reset", "vacuum_cost_limit")
    empty = azpg("server", "parameter", "list", "cost", "--changed").stdout
    assert empty == "No server parameter with 'cost' in its name was set.\n"
    assert (
        azpg("server", "parameter", "list", "qqq").stdout == "No server parameter with 'qqq' in its name.\n"
    )


def test_embed_takes_bytes_that_are_no_text(shared_home: Home) -> None:
    done = subprocess.run(
        [*AZPG, "embed"],
        env={**os.environ, "AZPG_HOME": str(shared_home.root)},
        check=False,
        input=b"caf\xe9\n",
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "caf\ufffd"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (
            ["server", "parameter", "set", "azure.extensions", "nonsense"],
            1,
            "nonsense cannot be allow-listed",
        ),
        (["server", "parameter", "set", "work_mem", "much"], 1, "invalid value for parameter"),
        (["server", "parameter", "show", "nonsense"], 1, "there is no server parameter 'nonsense'"),
        (
            ["status", "nobody"],
            1,
            "there is no instance 'nobody'. There are: default. `azpg up nobody` makes it.",
        ),
        (["status", "defalt"], 1, "there is no instance 'defalt'. Did you mean 'default'? `azpg up"),
        (
            ["server", "parameter", "set", "azure.extension", "vector"],
            1,
            "there is no server parameter 'azure.extension'. Did you mean 'azure.extensions'?",
        ),
        (["server", "parameter", "set", "azure.extensions", "vectr"], 1, "Did you mean 'vector'?"),
        (["server", "parameter", "set", "shared_preload_libraries", "pg_corn"], 1, "Did you mean 'pg_cron'?"),
        (["dsn", "nobody"], 1, "there is no instance 'nobody'"),
        (["down", "nobody"], 1, "there is no instance 'nobody'"),
        (["psql", "nobody"], 1, "there is no instance 'nobody'"),
        (["logs", "nobody"], 1, "there is no instance 'nobody'"),
        (["up", "Bad_Name"], 2, "is not allowed: use 1 to 63 lower-case letters"),
        (["up", "x", "--sku", "Huge"], 2, "is no Flexible Server SKU"),
        (["up", "x", "--profile", "azure-1999"], 2, "use preview-2024 or azure-2026"),
        (
            ["up", "x", "--postgres", "9"],
            1,
            "PostgreSQL 9 is not bundled. Use 16 or 18, or bring one with --pg-config.",
        ),
        (
            ["up", "x", "--build", "debian"],
            1,
            "there is no build 'debian' of PostgreSQL. Use embedded or pixeltable.",
        ),
        (
            ["up", "x", "--postgres", "16", "--build", "embedded"],
            1,
            "the build 'embedded' has no PostgreSQL 16. Use --build pixeltable.",
        ),
        (["up", "x", "--location", "[red]"], 2, "is no Azure region: use a name such as eastus"),
        (
            ["up", "x", "--location", "easteurope"],
            2,
            "'easteurope' is no Azure region: did you mean westeurope?",
        ),
        (["up", "x", "--admin", "root"], 2, "cannot be the server admin"),
        (["up", "x", "--admin", "Admin"], 2, "'Admin' cannot be the server admin"),
        (["up", "--port", "1"], 1, "runs on port"),
        (["up", "--nonsense"], 2, "No such option"),
        (["nonsense"], 2, "No such command"),
        (["models", "pull", "nonsense"], 1, "nonsense"),
        (["models", "remove", "nonsense"], 1, "nonsense"),
        (["models", "add", "mine", "/nonexistent"], 1, "/nonexistent"),
        (["embed", "--model", "nonsense", "text"], 1, "nonsense"),
    ],
)
def test_mistakes_get_one_clear_line(azpg: Run, arguments: list[str], status: int, said: str) -> None:
    # Usage errors are framed for people; the words are what counts.
    shown = azpg(*arguments, status=status).stderr
    assert said in " ".join(shown.replace("│", " ").split())


def test_a_database_is_no_instance(azpg: Run) -> None:
    """People type the name of what they want to see."""
    said = "azpg: there is no instance {!r}, but a database of that name. Connect to it by {}.\n"
    for name, quoted in {
        "helpdesk": "helpdesk",
        "help_desk": "help_desk",
        "Help Desk": "'Help Desk'",
    }.items():
        azpg("psql", "-c", f'CREATE DATABASE "{name}"')
        try:
            for command in ("psql", "dsn"):
                shown = azpg(command, name, status=1).stderr
                assert shown == said.format(name, f"`azpg {command} -d {quoted}`")
        finally:
            azpg("psql", "-c", f'DROP DATABASE "{name}"')
    assert "is not allowed" in azpg("psql", "help_desk", status=2).stderr


def test_a_profile_without_local_ai_says_why(azpg: Run) -> None:
    try:
        azpg("up", "late", "--profile", "azure-2026")
        shown = azpg("server", "parameter", "show", "azure.extensions", "--local", "late").stdout
        assert "azure_local_ai was retired on 2025-03-21" in shown
        refused = azpg(
            "server", "parameter", "set", "azure.extensions", "azure_local_ai", "-l", "late", status=1
        )
        assert "azure_local_ai: azure_local_ai was retired on 2025-03-21." in refused.stderr
    finally:
        azpg("down", "late", "--delete", "--yes")


def test_down_of_one_instance_leaves_the_others(azpg: Run) -> None:
    assert machine(azpg("up", "second", "--json"), "status")["state"] == "running"
    down = machine(azpg("down", "second", "--json"), "down")
    assert down == {"version": 1, "name": "second", "ran": True, "deleted": False}
    assert machine(azpg("status", "second", "--json"), "status")["state"] == "stopped"
    assert "was down already" in azpg("down", "second").stdout
    stopped = "azpg: the instance 'second' does not run. `azpg up second` starts it.\n"
    assert azpg("restart", "second", status=1).stderr == stopped
    assert azpg("psql", "second", "-c", "SELECT 1", status=1).stderr == stopped
    assert "database system is shut down" in azpg("logs", "second").stdout
    assert machine(azpg("status", "--json"), "status")["state"] == "running"
    alone = "azpg: there is nobody to ask: repeat it with --yes.\n"
    assert azpg("down", "second", "--delete", status=2).stderr == alone
    assert azpg("down", "second", "--delete", "--json", status=2).stderr == alone
    assert machine(azpg("status", "second", "--json"), "status")["state"] == "stopped"
    assert "is deleted" in azpg("down", "second", "--delete", "--yes").stdout


def test_a_damaged_instance_does_not_hide_the_others(azpg: Run, shared_home: Home) -> None:
    damaged = shared_home.instance("damaged")
    damaged.root.mkdir()
    damaged.description.write_text("{")
    try:
        shown = azpg("status", status=1)
        assert "default is running" in shown.stdout
        assert "damaged" not in shown.stdout
        assert shown.stderr.startswith(f"azpg: damaged: {damaged.description} is damaged: ")
        assert azpg("status", "default").stderr == ""
    finally:
        shutil.rmtree(damaged.root)


def test_models(azpg: Run, minilm: StoredModel) -> None:
    listed = machine(azpg("models", "list", "--json"), "models")
    assert MODEL in {one["name"] for one in listed["models"]}
    assert MODEL in azpg("models", "list").stdout
    assert "is in the store" in azpg("models", "pull", MODEL).stdout
    added = machine(azpg("models", "add", "my-copy", str(minilm.folder), "--json"), "model")
    assert added["dimensions"] == 384
    try:
        assert (
            machine(azpg("models", "remove", "my-copy", "--yes", "--json"), "model-removed")["removed"]
            is True
        )
        azpg("models", "add", "my-copy", str(minilm.folder))
        assert "is no longer in the store" in azpg("models", "remove", "my-copy", "--yes").stdout
    finally:
        names = {one["name"] for one in machine(azpg("models", "list", "--json"), "models")["models"]}
        assert "my-copy" not in names


def test_embed_prints_json_lines(azpg: Run) -> None:
    arguments = [json.loads(line) for line in azpg("embed", "one text", "zwei").stdout.splitlines()]
    piped = [json.loads(line) for line in azpg("embed", given="one text\nzwei\n").stdout.splitlines()]
    assert [line["text"] for line in arguments] == ["one text", "zwei"]
    assert arguments == piped
    assert np.linalg.norm(arguments[0]["embedding"]) == pytest.approx(1, abs=1e-6)


def test_the_demonstration_answers(azpg: Run, shared_home: Home) -> None:
    first = machine(azpg("demo", "--json"), "demo")
    assert first["reused"] is False
    assert len(first["answers"]) == 5
    iterable = first["answers"][0]
    assert iterable["question"] == "how do I make my class iterable"
    assert any("__iter__" in passage["body"] for passage in iterable["passages"])
    for answer in first["answers"]:
        scores = [passage["score"] for passage in answer["passages"]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
    own = azpg("demo", "--keep", "--question", "how do I leave a loop").stdout
    assert "Reusing the vectors" in own
    assert "ORDER BY embedding <=>" in own
    assert "vectorize" not in own.split("-- Search")[1]
    azpg("down", "demo", "--delete", "--yes")


# Homes of their own


def in_home(home: Home, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*AZPG, *arguments],
        env={**os.environ, "AZPG_HOME": str(home.root)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


LONGEST = "n" * 63


@pytest.mark.parametrize(
    ("below", "name"),
    [("a b'c é", "default"), ("~%s#;&|<>*?[]{}()!=,:@+-", "default"), (None, LONGEST)],
    ids=["quotes", "signs", "long"],
)
def test_a_server_in_a_home_with_an_odd_path(home: Home, below: str | None, name: str) -> None:
    if below is None:  # as long as a home may be
        missing = 800 - len(os.fsencode(home.root))
        below = "/".join(["x" * 99] * (missing // 100) + ["y" * (missing % 100 - 1)])
    odd = Home(home.root / below)
    started = in_home(odd, "up", name)
    try:
        assert started.returncode == 0, started.stderr
        allowed = in_home(
            odd, "server", "parameter", "set", "-l", name, "azure.extensions", "vector,azure_local_ai"
        )
        assert allowed.returncode == 0, allowed.stderr
        dsn = in_home(odd, "dsn", name).stdout.strip()
        with psycopg.connect(dsn, autocommit=True) as connection:
            connection.execute("CREATE EXTENSION vector")
            connection.execute("CREATE EXTENSION azure_local_ai")
        assert in_home(odd, "psql", name, "-Atc", "SELECT 1").stdout == "1\n"
        status = json.loads(in_home(odd, "status", name, "--json").stdout)
        assert (status["name"], status["state"]) == (name, "running")
    finally:
        stopped = in_home(odd, "down", name, "--delete", "--yes")
    assert stopped.returncode == 0, stopped.stderr


def test_ctrl_c_while_a_server_is_made(home: Home) -> None:
    process = subprocess.Popen(
        [*AZPG, "up"],
        env={**os.environ, "AZPG_HOME": str(home.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    instance = home.instance("default")
    assert wait_for(lambda: any(instance.root.glob("data.new-*")), timeout=60), "initdb is at work"
    os.killpg(process.pid, signal.SIGINT)  # as the terminal does
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, ""), err
    assert err.splitlines()[-1] == "azpg: interrupted."
    assert "Traceback" not in err
    again = in_home(home, "up", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["state"] == "running"
    assert not any(instance.root.glob("data.new-*"))


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_whatever_the_umask_the_server_runs_and_nobody_else_may_write(home: Home, umask: int) -> None:
    fresh = Home(home.root / "new")  # which is made by us
    done = in_home(fresh, "up", umask=umask)
    try:
        assert done.returncode == 0, done.stderr
        written = [*(fresh.root.glob("*")), *fresh.instance("default").root.rglob("*")]
        # As root, the model host writes in its own folder, where nobody else comes in.
        own = fresh.instance("default").host if os.geteuid() == 0 and others_run_python() else None
        others = [path for path in written if path.lstat().st_mode & 0o022 and not path.is_symlink()]
        assert [path for path in others if path != own] == []
        if own is not None:
            assert stat.S_IMODE(own.stat().st_mode) == 0o1770
        assert stat.S_IMODE(fresh.instance("default").passfile.stat().st_mode) == 0o600
        written = in_home(fresh, "psql", "-Atc", r"\! umask", umask=umask).stdout
        assert int(written, 8) == umask, "psql is the caller's"
    finally:
        in_home(fresh, "down", "--delete", "--yes")


def in_terminal(home: Home, *arguments: str, columns: int = 60) -> str:
    """What a command shows in a terminal."""
    ours, theirs = pty.openpty()
    environment = {
        **os.environ,
        "AZPG_HOME": str(home.root),
        "TERM": "xterm-256color",
        "COLUMNS": str(columns),
    }
    written = b""
    with subprocess.Popen([*AZPG, *arguments], env=environment, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        try:
            while chunk := os.read(ours, 1 << 16):
                written += chunk
        except OSError:  # the terminal is gone with its last process
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return written.decode()


def test_in_a_terminal(home: Home) -> None:
    shown = in_terminal(home, "up")
    assert "Starting default" in shown
    assert "Creating a PostgreSQL 18 server" in shown
    assert shown.splitlines()[-1].strip().endswith('psql "$(azpg dsn)"')
    listed = in_terminal(home, "server", "parameter", "list")
    assert "data_directory" in listed
    assert "…" not in listed, "what is too long is folded"
    assert "Stopping default" in in_terminal(home, "down")
