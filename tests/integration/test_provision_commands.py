"""`azpg plan`, `apply` and `drift` as a person types them: real processes, real output."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from azpg_runtime.postgres.instance import Instance
from tests.command_line import AZPG, PATIENCE, Run, Start, machine, run, started
from tests.conftest import ONE_MAJOR
from tests.integration.provisioning import HEAD, PRODUCTS, TABLE, Site, wrong_rows

pytestmark = ONE_MAJOR


@pytest.fixture
def site(twin: Instance, tmp_path: Path) -> Iterator[Site]:
    site = Site(twin, tmp_path)
    site.file("init.sql", PRODUCTS)
    site.file("azpg.yaml", with_target(site, HEAD + TABLE + "      index: {method: hnsw}\n"))
    yield site
    site.drop()


def with_target(site: Site, text: str) -> str:
    return text.replace("NAME", site.name) + f"target: {{local: {site.twin.name}}}\n"


def environment(site: Site) -> dict[str, str]:
    return {**os.environ, "AZPG_HOME": str(site.twin.home.home.root), "NO_COLOR": "1"}


@pytest.fixture
def azpg(site: Site) -> Run:
    return partial(run, cwd=site.folder, **environment(site))


@pytest.fixture
def start(site: Site) -> Iterator[Start]:
    """Starts `azpg apply --yes`, which is gone after the test."""
    with started() as start:
        yield partial(
            start, "apply", "--yes", cwd=site.folder, env=environment(site), stdout=subprocess.DEVNULL
        )


def test_from_plan_to_drift(site: Site, azpg: Run) -> None:
    said = azpg("plan").stdout
    assert "create  database" in said
    assert "public.products.embedding" in said
    assert f"changes on local {site.twin.name}; azpg apply makes them." in said
    planned = machine(azpg("plan", "--json"), "plan")
    drifted = machine(azpg("drift", "--json", status=3), "drift")
    assert drifted == planned
    refused = azpg("apply", status=2).stderr
    assert (
        "azpg: there is nobody to ask: repeat it with --yes once `azpg plan` shows what you want." in refused
    )
    made = machine(azpg("apply", "--yes", "--json"), "apply")
    assert made == planned
    again = azpg("apply", "--yes")
    assert again.stdout == f"Nothing to do: local {site.twin.name} is as azpg.yaml says.\n"
    assert azpg("plan").stdout == again.stdout
    assert azpg("drift").stdout == f"No drift: local {site.twin.name} is as azpg.yaml says.\n"
    with site.connect() as connection:
        connection.execute("ALTER TABLE products DISABLE TRIGGER ALL")
    drift = azpg("drift", status=3).stdout
    assert "its triggers are not as azpg made them" in drift
    assert drift.endswith(f"local {site.twin.name} has drifted from azpg.yaml: 1 change.\n")


def test_what_is_done_is_said(site: Site, azpg: Run) -> None:
    done = azpg("apply", "--yes")
    assert "update rows public.products.embedding in " in done.stderr
    assert done.stdout.endswith("is as azpg.yaml says.\n")


def test_the_plan_comes_before_what_is_done_in_one_log(site: Site) -> None:
    command = [*AZPG, "apply", "--yes"]
    done = subprocess.run(
        command, cwd=site.folder, env=environment(site), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("action  what")
    assert done.stdout.index("public.products.embedding  type: ") < done.stdout.index("update rows public.")


def on_terminal(site: Site, columns: int, *arguments: str, status: int = 0) -> list[str]:
    """The lines that a command prints on a terminal."""
    width = {"COLUMNS": str(columns), "TERM": "xterm", "NO_COLOR": "1"}
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(site.folder)
        os.execvpe(AZPG[0], [*AZPG, *arguments], environment(site) | width)
    written = b""
    with suppress(OSError):  # Linux ends a terminal that nobody writes to any more with EIO
        while chunk := os.read(terminal, 65536):
            written += chunk
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status, written.decode()
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", written.decode()).replace("\r\n", "\n")
    return [line.rpartition("\r")[2] for line in said.split("\n")]  # what stays of one that is written again


def test_a_key_is_whole_on_a_narrow_terminal(site: Site, azpg: Run) -> None:
    key = "0123456789abcdef" * 4
    table = TABLE.replace(
        "source: [title, description]", "expression: title || (1 / length(description))::text"
    )
    site.file(
        "init.sql",
        f"CREATE TABLE products (id text PRIMARY KEY, title text, description text); INSERT INTO products VALUES ('{key}', 'a', '');",
    )
    site.file("azpg.yaml", with_target(site, HEAD + table))
    azpg("apply", "--yes")
    said = on_terminal(site, 60, "vectorize", "--failed")
    while "attempts" not in said[0]:
        del said[0]
    place = said[0].index("key")
    assert "".join(re.findall("[0-9a-f]+", " ".join(line[place:].split(" ")[0] for line in said[1:]))) == key
    assert "…" not in "".join(said[-5:])


@pytest.mark.parametrize("columns", [65, 80, 200])
def test_names_are_whole_on_a_terminal_of_any_width(site: Site, columns: int) -> None:
    lines = on_terminal(site, columns, "plan")
    (column,) = [line.split() for line in lines if line.startswith("create  column")]
    assert column[3:4] == ["public.products.embedding"]
    assert max(map(len, lines)) <= columns
    beside = any(re.search(r"public\.products\.embedding +type: ", line) for line in lines)
    assert beside is (columns == 200)


def test_a_spec_with_mistakes_is_one_line_and_exit_code_2(site: Site, azpg: Run) -> None:
    site.file("azpg.yaml", "version: 1\ndatabase: []\n")
    said = azpg("plan", status=2).stderr
    assert said == (
        "azpg: 2 mistakes: (1) azpg.yaml:1: databases: is missing. "
        "(2) azpg.yaml:2: database: is unknown: did you mean databases?\n"
    )


def test_a_plan_that_cannot_be_is_one_line(site: Site, azpg: Run) -> None:
    site.file("azpg.yaml", with_target(site, HEAD.replace("azure_local_ai]", "azure_local_ai, vectr]")))
    said = azpg("plan", status=1).stderr
    assert said == "azpg: this server does not offer the extension vectr: did you mean vector.\n"


def test_a_person_is_asked(site: Site) -> None:
    for answer, status in (("n", 1), ("y", 0)):
        pid, terminal = pty.fork()
        if pid == 0:
            os.chdir(site.folder)
            os.execvpe(
                AZPG[0],
                [*AZPG, "apply"],
                environment(site) | {"COLUMNS": "300", "TERM": "xterm"},
            )
        written = b""
        while b"[y/N]" not in written:
            written += os.read(terminal, 65536)
        os.write(terminal, f"{answer}\n".encode())
        while True:
            try:
                chunk = os.read(terminal, 65536)
            except OSError:
                break
            if not chunk:
                break
            written += chunk
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status, written.decode()
        assert f"changes on local {site.twin.name}?".encode() in written
        assert (b"Nothing was changed." in written) is (answer == "n")
    with site.connect() as connection:
        assert wrong_rows(connection) == 0


@pytest.mark.parametrize(
    "last",
    ["create extension", "create init", "create column", "update rows", "create index"],
)
def test_killed_anywhere_the_next_apply_goes_on(site: Site, azpg: Run, last: str, start: Start) -> None:
    begun = start()
    assert begun.stderr is not None
    with begun.stderr:
        assert any(line.startswith(last) for line in begun.stderr)
        begun.send_signal(signal.SIGKILL)
    begun.wait()
    azpg("apply", "--yes")
    assert "Nothing to do" in azpg("apply", "--yes").stdout
    with site.connect() as connection:
        assert wrong_rows(connection) == 0
        invalid = "SELECT count(*) FROM pg_index WHERE NOT indisvalid"
        assert connection.execute(invalid).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM products").fetchone() == (23,)


def test_two_applies_wait_for_each_other(site: Site, start: Start) -> None:
    processes = [start() for _ in range(2)]
    ended = [(process.communicate(timeout=PATIENCE)[1], process.returncode) for process in processes]
    codes = sorted(code for _, code in ended)
    # The one that came second has waited, and then refused what it had been shown; or it came after the first.
    assert codes in ([0, 0], [0, 1]), ended
    for said, code in ended:
        assert not code or "has changed since the plan was made" in said
    with site.connect() as connection:
        assert wrong_rows(connection) == 0
        assert connection.execute("SELECT count(*) FROM products").fetchone() == (23,)


def test_whoever_waits_for_the_lock_says_so(site: Site, azpg: Run, start: Start) -> None:
    key = int.from_bytes(b"azpg", "big")
    with site.twin.connect("postgres", autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [key])
        waiting = start()
        assert waiting.stderr is not None
        with waiting.stderr:
            assert (
                f"Waiting for another `azpg apply` on local {site.twin.name} (session {holder.info.backend_pid}"
                in waiting.stderr.readline()
            )
            holder.execute("SELECT pg_advisory_unlock(%s)", [key])
            assert "create database" in waiting.stderr.read()
        assert waiting.wait() == 0


def test_a_table_in_use_is_waited_for_without_stopping_others(site: Site, azpg: Run, start: Start) -> None:
    spec = with_target(site, HEAD + "  init: [init.sql]\n")
    site.file("azpg.yaml", spec)
    azpg("apply", "--yes")
    site.file("azpg.yaml", with_target(site, HEAD + TABLE))
    with site.connect() as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM products")
        waiting = start()
        assert waiting.stderr is not None
        with waiting.stderr:
            assert any(
                "Waiting for public.products, which others are using" in line for line in waiting.stderr
            )
            reader.execute("COMMIT")
            waiting.stderr.read()
        assert waiting.wait() == 0


def test_plan_and_drift_change_nothing(site: Site, azpg: Run) -> None:
    azpg("apply", "--yes")
    with site.connect() as connection, site.twin.superuser() as superuser:
        connection.execute("UPDATE products SET title = 'another' WHERE id = 1")
        connection.execute("ALTER TABLE products DISABLE TRIGGER ALL")
        connection.execute("UPDATE products SET title = 'yet another' WHERE id = 2")
        changes = "SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_user_tables"
        connection.execute("SELECT pg_stat_force_next_flush()")
        settled = connection.execute(changes).fetchone()
        catalog = "SELECT jsonb_agg(to_jsonb(c) - '{relpages,reltuples,relallvisible,relallfrozen,relfrozenxid,relminmxid}'::text[] ORDER BY oid) FROM pg_class AS c WHERE oid >= 16384"
        before = connection.execute(catalog).fetchone()
        read_only = "ALTER ROLE pgadmin SET default_transaction_read_only = on"
        superuser.execute(read_only)
        try:
            azpg("plan")
            azpg("drift", status=3)
        finally:
            superuser.execute("ALTER ROLE pgadmin RESET default_transaction_read_only")
        assert connection.execute(catalog).fetchone() == before
        assert connection.execute(changes).fetchone() == settled
