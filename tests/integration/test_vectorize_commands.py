"""`azpg vectorize` and `azpg worker`, as a person types them."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from azpg_provision import ledger
from azpg_provision.column import Key, Sync
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.command_line import Run, Start, against, ended, machine, started
from tests.integration.vectorized import Table, vectorized

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.vector
PATIENCE = 60.0
LONG = 16 * 1024 * 1024 + 1


@pytest.fixture
def azpg(twin: Instance, database: str, tmp_path: Path) -> Run:
    """Runs `azpg` in a folder of its own, with the test's database as its target."""
    return against(twin.dsn(database), database, tmp_path)


@pytest.fixture
def start(twin: Instance, database: str, tmp_path: Path) -> Iterator[Start]:
    """Starts `azpg`, which is gone after the test."""
    with started() as start:
        where = ("--dsn", twin.dsn(database), "--database", database)
        yield lambda *arguments: start(*arguments, *where, cwd=tmp_path)


def vectors(table: Table) -> int:
    row = table.connection.execute("SELECT count(embedding) FROM products").fetchone()
    assert row is not None
    return int(row[0])


def test_vectorize(azpg: Run, twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection)
    table.execute("INSERT INTO products SELECT n, 'number ' || n FROM generate_series(1, 20) AS n")
    database = connection.info.dbname
    head, line = azpg("vectorize", "--dry-run").stdout.splitlines()
    assert head.split() == ["database", "column", "rows", "wait", "failed", "seconds"]
    assert line.split()[:5] == [database, "public.products.embedding", "20", "20", "0"]
    (estimate,) = machine(azpg("vectorize", "--dry-run", "--json"), "vectorize-dry-run")["columns"]
    assert estimate["pending"] == 20
    assert estimate["seconds"] > 0
    assert vectors(table) == 0
    done = azpg("vectorize")
    assert done.stderr == ""
    assert done.stdout.startswith(f"{database}: public.products.embedding: 20 rows embedded in ")
    assert done.stdout.endswith(" a second.\n")
    assert table.wrong() == []
    assert azpg("vectorize").stdout == "Nothing waits.\n"
    (found,) = machine(azpg("vectorize", "--json", "--workers", "1"), "vectorize")["columns"]
    assert (found["embedded"], found["pending"], found["failed"], found["total"]) == (0, 0, 0, 20)


def test_failed_rows(azpg: Run, twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection, text="title || (10 / (id - 3))::text")
    assert azpg("vectorize", "--failed").stdout == "No row has failed.\n"
    table.execute("INSERT INTO products SELECT n, 'number ' || n FROM generate_series(1, 5) AS n")
    done = azpg("vectorize", status=1)
    assert "4 rows embedded in " in done.stdout
    assert done.stdout.endswith("; 1 row failed: see `azpg vectorize --failed`.\n")
    head, line = azpg("vectorize", "--failed").stdout.splitlines()
    assert head.split() == ["database", "column", "key", "attempts", "why"]
    assert line.split(maxsplit=2)[2].split() == ["3", "1", "division", "by", "zero"]
    (found,) = machine(azpg("vectorize", "--failed", "--json"), "vectorize-failed")["failures"]
    assert (found["key"], found["sqlstate"], found["reason"]) == (["3"], "22012", "division by zero")
    azpg("vectorize", "--retry-failed", status=1)
    (found,) = machine(azpg("vectorize", "--failed", "--json"), "vectorize-failed")["failures"]
    table.execute("DELETE FROM products WHERE id = 3")
    assert azpg("vectorize", "--retry-failed").returncode == 0


def test_a_failed_row_writes_nothing_to_the_terminal(
    azpg: Run, twin: Instance, connection: Connection
) -> None:
    """Whoever may write rows chooses their keys, and what a trigger or a cast says of them."""
    create = "CREATE TABLE products (id text PRIMARY KEY, title text, embedding vector(384))"
    table = vectorized(twin, connection, create=create, keys=(Key("id", "text"),), text="title::int::text")
    connection.execute("INSERT INTO products VALUES (%s, %s)", ["k\x1b[2J\n", "\x1b]0;t\x07"])
    azpg("vectorize", status=1)
    shown = azpg("vectorize", "--failed").stdout
    assert {one for one in shown if not one.isprintable()} == {"\n"}
    assert len(shown.splitlines()) == 2
    assert "k\\x1b[2J\\n" in shown
    (found,) = machine(azpg("vectorize", "--failed", "--json"), "vectorize-failed")["failures"]
    assert found["key"] == ["k\x1b[2J\n"]
    assert table.failed()[0].reason == found["reason"]


def test_a_row_that_a_writer_has_locked(azpg: Run, twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection)
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two')")
    with table.connect() as writer, writer.transaction():
        writer.execute("UPDATE public.products SET title = 'uno' WHERE id = 1")
        said = azpg("vectorize", status=1).stdout
    assert "; 1 row left out, which writers have locked; 1 row still without: run it again." in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "product"], "'product' is no vectorized table of '{}'; there is: public.products. Did you mean products?"),
        (["--table", "products", "--column", "x"], "'products' has no vectorized column 'x'; there is: embedding."),
        (["--column", "x"], "--column names a column of a table: name that too, with --table."),
    ],
)  # fmt: skip
def test_what_is_not_there(
    azpg: Run, twin: Instance, connection: Connection, arguments: list[str], message: str
) -> None:
    vectorized(twin, connection)
    done = azpg("vectorize", *arguments, status=2)
    assert done.stderr == f"azpg: {message.format(connection.info.dbname)}\n"


def test_no_column_at_all(azpg: Run, connection: Connection) -> None:
    done = azpg("vectorize", status=1)
    assert done.stderr.endswith(
        f" has no vectorized column in '{connection.info.dbname}': name its tables in the spec, and apply.\n"
    )


def test_two_columns_and_one_table(azpg: Run, twin: Instance, connection: Connection) -> None:
    table = vectorized(
        twin,
        connection,
        create="CREATE TABLE products (id bigint PRIMARY KEY, title text, embedding vector(384))",
    )
    vectorized(
        twin, connection, create="CREATE TABLE other (id bigint PRIMARY KEY, title text, e vector(384))", table="other", column="e"
    )  # fmt: skip
    table.execute("INSERT INTO products VALUES (1, 'one'); INSERT INTO other VALUES (1, 'one')")
    found = machine(azpg("vectorize", "--json", "--table", "public.other"), "vectorize")["columns"]
    assert [one["table"] for one in found] == ["other"]
    found = machine(azpg("vectorize", "--json"), "vectorize")["columns"]
    assert [(one["table"], one["embedded"]) for one in found] == [("products", 1), ("other", 0)]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_vectorize_is_asked_to_end(
    start: Start, azpg: Run, twin: Instance, connection: Connection, number: signal.Signals, status: int
) -> None:
    table = vectorized(twin, connection)
    table.execute("INSERT INTO products SELECT n, 'number ' || n FROM generate_series(1, 3000) AS n")
    process = start("vectorize", "--max-rate", "300")
    assert wait_for(lambda: vectors(table) > 0, timeout=PATIENCE)
    out, err = ended(process, number, status=status)
    assert err == "Finishing the batch at hand; once more undoes it.\n"
    assert " rows still without: run it again." in out
    assert 0 < vectors(table) < 3000
    live = "SELECT count(*) FROM azpg.claims WHERE expires > now()"
    assert connection.execute(live).fetchone() == (0,)


def test_a_worker(start: Start, twin: Instance, connection: Connection) -> None:
    """It drains what is there and what comes, and ends when it is asked to."""
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two')")
    process = start("worker", "--json", "--every", "1")
    assert wait_for(lambda: vectors(table) == 2, timeout=PATIENCE)
    table.execute("INSERT INTO products VALUES (3, 'three'); UPDATE products SET title = 'uno' WHERE id = 1")
    assert wait_for(lambda: vectors(table) == 3 and table.backlog()[1] == 0, timeout=PATIENCE)
    out, err = ended(process, signal.SIGTERM)
    assert err.splitlines()[1:] == ["Finishing the batch at hand; once more undoes it."]
    assert err.startswith("Waiting for rows that change on dsn ")
    found = [machine(line, "worker") for line in out.splitlines()]
    assert found[-1]["embedded"] == 4
    assert (found[-1]["columns"], found[-1]["waiting"], found[-1]["oldest"]) == (1, 0, None)
    assert table.wrong() == []


def test_a_worker_that_drains_and_leaves(azpg: Run, twin: Instance, connection: Connection) -> None:
    assert azpg("worker", "--once").stderr == "0 queues: 0 embedded, none waits.\n"
    table = vectorized(twin, connection, mode=Sync.QUEUE, text="title || (10 / (id - 3))::text")
    table.execute("INSERT INTO products SELECT n, 'number ' || n FROM generate_series(1, 5) AS n")
    assert azpg("worker", "--once").stderr == "1 queue: 4 embedded, 1 failed, none waits.\n"
    (line,) = azpg("worker", "--once", "--json").stdout.splitlines()
    assert machine(line, "worker") == {
        "version": 1,
        "columns": 1,
        "embedded": 0,
        "failed": 0,
        "waiting": 0,
        "oldest": None,
        "refused": [],
    }


def test_a_worker_takes_up_what_is_vectorized_later(
    start: Start, twin: Instance, connection: Connection
) -> None:
    """A new column, and one that is vectorized in another way from now on."""
    ledger.create(connection)
    process = start("worker")
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    table.execute("INSERT INTO products VALUES (1, 'one')")
    assert wait_for(lambda: vectors(table) == 1, timeout=PATIENCE)
    other = vectorized(twin, connection, create="SELECT", mode=Sync.QUEUE, prefix="passage: ")
    table.execute("INSERT INTO products VALUES (2, 'two')")
    assert wait_for(lambda: vectors(other) == 2, timeout=PATIENCE)
    assert other.wrong() in ([], ["passage: one"]), "the row of before is for `azpg vectorize`"
    ended(process, signal.SIGINT)


def test_a_worker_that_has_nothing_to_do_says_so(start: Start, connection: Connection) -> None:
    ledger.create(connection)
    process = start("worker")
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Waiting for rows that change on dsn ")
    said = "azpg: no column has `sync: queue` yet; one that gets it is taken up.\n"
    assert process.stderr.readline() == said
    said = "Finishing the batch at hand; once more undoes it.\n0 queues: 0 embedded, none waits.\n"
    assert ended(process, signal.SIGTERM) == ("", said)


def test_a_worker_that_is_ended_at_once(start: Start, twin: Instance, connection: Connection) -> None:
    """What it was at is undone, and waits for the next one."""
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    table.execute(
        "INSERT INTO products SELECT n, repeat('many words ', 200) || n FROM generate_series(1, 200) AS n"
    )
    running = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'azpg%%' AND query LIKE 'WITH azpg_turn%%' OR query LIKE 'SELECT * FROM _azpg_._act_%%-- Embeds%%' AND state = 'active'"
    process = start("worker")
    assert wait_for(lambda: connection.execute(running).fetchone() != (0,), timeout=PATIENCE)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "Finishing the batch" not in process.stderr.readline():
        pass
    _, err = ended(process, signal.SIGINT, status=None)
    assert process.returncode in (130, 0), f"it may have been over just before: {err}"
    if process.returncode:
        assert err == "azpg: interrupted.\n"
    row = connection.execute("SELECT count(*) FROM azpg.queue_1").fetchone()
    assert row is not None
    assert row[0] + vectors(table) == 200
