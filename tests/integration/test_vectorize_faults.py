"""Processes, model host and server that go away while rows are embedded: nothing is lost, nothing is done twice."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg import sql

from azpg_provision.column import Sync
from azpg_provision.errors import LedgerMismatch, RowsFailed, TargetUnreachable
from azpg_provision.vectorize import Options, Outcome, backlog, drain, run
from azpg_provision.vectorize.connections import Session, Unbound, hold
from azpg_provision.vectorize.serve import Metrics, Service
from azpg_runtime.models import StoredModel
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.command_line import AZPG
from tests.integration import vectorizing
from tests.integration.calls import counters, family, host_status, new_twin
from tests.integration.vectorized import Table, connector, kept, vectorized

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.vector
PATIENCE = 90.0
ROWS = 200


@pytest.fixture(scope="module")
def own_twin(minilm: StoredModel) -> Iterator[Instance]:
    """A twin whose processes may be harmed."""
    with new_twin() as instance:
        yield instance


@pytest.fixture
def table(own_twin: Instance, request: pytest.FixtureRequest) -> Iterator[Table]:
    """A table of passages without embeddings, in a database of its own."""
    mode = getattr(request, "param", Sync.NONE)
    own_twin.up()  # which a test that failed may have left stopped
    name = f"t{random.randrange(10**9)}"
    with own_twin.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with own_twin.connect(name, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector; CREATE EXTENSION azure_local_ai")
        made = vectorized(own_twin, connection, mode=mode)
        made.execute(
            f"INSERT INTO products SELECT n, repeat('words of row ' || n || ' ', 10) FROM generate_series(1, {ROWS}) AS n"
        )
        yield made


def vectors(table: Table) -> int:
    row = table.connection.execute("SELECT count(embedding) FROM products").fetchone()
    assert row is not None
    return int(row[0])


def settle(table: Table) -> None:
    """Everything is done and right, and nobody holds anything."""
    assert vectors(table) == ROWS
    assert table.backlog() == (ROWS, 0, 0)
    assert table.wrong() == []
    locks = "SELECT count(*) FROM pg_locks JOIN pg_class ON oid = relation WHERE relname = 'products' AND pid <> pg_backend_pid()"
    assert wait_for(lambda: table.connection.execute(locks).fetchone() == (0,), timeout=PATIENCE)
    for name in ("azpg.claims", "azpg.queue_1"):
        assert table.connection.execute(sql.SQL(f"SELECT count(*) FROM {name}")).fetchone() == (0,)


@pytest.mark.parametrize("table", [Sync.NONE, Sync.QUEUE], indirect=True)
def test_a_killed_process_loses_its_batches_only(own_twin: Instance, table: Table) -> None:
    """What it had committed is not done again: the host's counter says so."""
    what = "drain" if table.column.sync is Sync.QUEUE else "run"
    database = table.connection.info.dbname
    before = counters(own_twin)["texts"]
    killed = 0
    for part in (1, 2, 3):
        process = vectorizing.start(what, own_twin, database, rows=16)
        goal = part * ROWS // 5
        assert wait_for(lambda: vectors(table) >= goal or process.poll() is not None, timeout=PATIENCE)  # noqa: B023
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        killed += 1
    process = vectorizing.start(what, own_twin, database, rows=16)
    assert process.wait(PATIENCE) == 0
    settle(table)
    # Two workers of 16 rows each were at it when the process was killed.
    assert (
        ROWS <= counters(own_twin)["texts"] - before - ROWS <= ROWS + 2 * 16 * killed
    )  # `settle` embedded all once


@contextlib.contextmanager
def working(table: Table, **options: Any) -> Iterator[list[Any]]:
    """Runs beside the block, which may ruin something; the outcome is there afterwards."""
    found: list[Any] = []

    def work() -> None:
        function = drain if table.column.sync is Sync.QUEUE else run
        extra: dict[str, Any] = {"once": True} if function is drain else {}
        try:
            found.append(function(table.connect, table.column, Options(batch_rows=8, **options), **extra))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert wait_for(lambda: vectors(table) > 0 or bool(found), timeout=PATIENCE)
    yield found
    thread.join()


@pytest.mark.parametrize("table", [Sync.NONE, Sync.QUEUE], indirect=True)
def test_the_model_host_is_killed(own_twin: Instance, table: Table) -> None:
    with working(table) as outcome:
        for _ in range(3):
            psutil.Process(host_status(own_twin)["pid"]).kill()
            done = vectors(table)
            assert wait_for(lambda: vectors(table) > done or bool(outcome), timeout=PATIENCE)  # noqa: B023
    assert outcome[0].failed == 0
    settle(table)


@pytest.mark.parametrize("table", [Sync.NONE, Sync.QUEUE], indirect=True)
def test_the_server_is_restarted(own_twin: Instance, table: Table) -> None:
    """Its connections come back; those of the test, too."""
    with working(table, attempts=0) as outcome:
        own_twin.restart()
    assert isinstance(outcome[0], Outcome), outcome
    with own_twin.connect(table.connection.info.dbname, autocommit=True) as connection:
        settle(Table(connection, table.connect, table.column))


@pytest.mark.parametrize("table", [Sync.QUEUE], indirect=True)
def test_a_worker_outlives_a_stop_and_a_restart(own_twin: Instance, table: Table, tmp_path: Path) -> None:
    """The process that a person has started and forgotten."""
    database = table.connection.info.dbname
    command = [*AZPG, "worker", "--local", own_twin.name, "--database", database]
    environment = {**os.environ, "AZPG_HOME": str(own_twin.home.home.root)}
    log = tmp_path / "log"
    with log.open("w") as said:
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=said)
        try:
            assert wait_for(lambda: "Waiting for rows" in log.read_text(), timeout=PATIENCE), log.read_text()
            assert wait_for(lambda: vectors(table) > 0, timeout=PATIENCE), "its first look is over"
            own_twin.down()
            assert wait_for(lambda: "does not run." in log.read_text(), timeout=PATIENCE), log.read_text()
            own_twin.up()
            own_twin.restart()
            with own_twin.connect(database, autocommit=True) as connection:
                found = Table(connection, table.connect, table.column)
                assert wait_for(lambda: found.backlog() == (ROWS, 0, 0), timeout=PATIENCE), log.read_text()
                assert process.poll() is None
                process.terminate()
                assert process.wait(PATIENCE) == 0
                settle(found)
            assert "starts it. It is tried again every 5 s.\n" in log.read_text()
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize("table", [Sync.QUEUE], indirect=True)
def test_a_worker_goes_on_beside_a_database_that_is_dropped(own_twin: Instance, table: Table) -> None:
    """It says once that one of its databases is away, and takes up what comes in the others."""
    gone, there = f"gone{random.randrange(10**9)}", table.connection.info.dbname
    with own_twin.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(gone)))
    complaints: list[str] = []
    metrics: list[Metrics] = []
    databases = {name: connector(own_twin, name) for name in (gone, there)}
    service = Service(
        databases, Options(), once=False, tell=metrics.append, complain=complaints.append, every=1.0
    )
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=[stop])
    thread.start()
    try:
        assert wait_for(lambda: vectors(table) == ROWS, timeout=PATIENCE)
        with own_twin.superuser() as connection:
            drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(gone))
            connection.execute(drop)
        missing = f'database "{gone}" does not exist'
        assert wait_for(lambda: any(missing in said for said in complaints), timeout=PATIENCE), complaints
        with table.connection.transaction():  # the worker does not see it half made
            other = kept(table.connection, replace(table.column, prefix="passage: "))
        table.execute("UPDATE products SET title = title || ', anew'")
        found = replace(table, column=other)
        assert wait_for(lambda: found.backlog() == (ROWS, 0, 0), timeout=PATIENCE)
        assert wait_for(lambda: bool(metrics) and metrics[-1].waiting == 0, timeout=PATIENCE)
    finally:
        stop.set()
        thread.join()
    assert len(complaints) == len(set(complaints)), "each reason once"
    assert all(said.endswith("It is tried again every 5 s.") for said in complaints), complaints


class Worker:
    """A service on a thread of its own."""

    def __init__(self, databases: Mapping[str, Callable[[], Connection]], **options: Any) -> None:
        self.complaints: list[str] = []
        self.metrics: list[Metrics] = []
        self.stop = threading.Event()
        service = Service(
            databases,
            Options(workers=1),
            once=False,
            tell=self.metrics.append,
            complain=self.complaints.append,
            every=1.0,
            **options,
        )
        self.thread = threading.Thread(target=service.run, args=[self.stop])
        self.thread.start()

    def ends(self, seconds: float = PATIENCE) -> bool:
        """Whether it does so when it is asked to."""
        self.stop.set()
        self.thread.join(seconds)
        return not self.thread.is_alive()


@pytest.mark.parametrize("table", [Sync.QUEUE], indirect=True)
@pytest.mark.parametrize("first", [True, False], ids=["before", "meanwhile"])
def test_a_schema_azpg_of_somebody_else_ends_no_worker(own_twin: Instance, table: Table, first: bool) -> None:
    """Whoever may create in one database makes it: that is said once, the others are drained, and it is tried again."""
    strange, there = f"strange{random.randrange(10**9)}", table.connection.info.dbname
    with own_twin.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(strange)))
    with own_twin.connect(strange, autocommit=True) as other:
        other.execute("CREATE EXTENSION vector; CREATE EXTENSION azure_local_ai")
        if first:
            other.execute("CREATE SCHEMA azpg")
        worker = Worker({name: connector(own_twin, name) for name in (strange, there)})
        try:
            if not first:
                assert wait_for(lambda: vectors(table) == ROWS, timeout=PATIENCE)
                other.execute("CREATE SCHEMA azpg")
            assert wait_for(lambda: bool(worker.complaints), timeout=PATIENCE)
            table.execute("INSERT INTO products SELECT n, 'more ' || n FROM generate_series(1001, 1010) AS n")
            assert wait_for(lambda: vectors(table) == ROWS + 10, timeout=PATIENCE)
            other.execute("DROP SCHEMA azpg")
            found = vectorized(own_twin, other, mode=Sync.QUEUE)
            found.execute("INSERT INTO products VALUES (1, 'one')")
            assert wait_for(lambda: found.backlog() == (1, 0, 0), timeout=PATIENCE)
        finally:
            assert worker.ends()
    said = f"the database {strange!r} has a schema azpg that azpg has not made: rename it, or use another database."
    assert worker.complaints == [f"{said} It is tried again every 5 s."]


def waits_for_lock(connection: Connection) -> bool:
    """Whether a session does, of this database."""
    query = """
        SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                       AND application_name = 'azpg' AND wait_event_type = 'Lock')
    """
    return connection.execute(query).fetchone() == (True,)


@pytest.mark.parametrize("table", [Sync.QUEUE], indirect=True)
@pytest.mark.parametrize("patient", [False, True], ids=["", "without a limit"])
def test_a_worker_ends_while_a_queue_is_locked(table: Table, patient: bool) -> None:
    """By its owner, who may also say how long what runs with the owner's rights waits."""
    worker = Worker({"there": table.connect}, finish=1.0)
    try:
        assert wait_for(lambda: vectors(table) == ROWS, timeout=PATIENCE)
        with table.connect() as owner, owner.transaction(force_rollback=True):
            if patient:
                table.execute(
                    "ALTER FUNCTION azpg.act_1(pg_catalog.text, pg_catalog.bool) SET lock_timeout = 0"
                )
            owner.execute("LOCK TABLE azpg.queue_1 IN ACCESS EXCLUSIVE MODE")
            table.execute("SELECT 1")
            assert wait_for(lambda: waits_for_lock(table.connection), timeout=PATIENCE)
            told = len(worker.metrics)
            assert worker.ends(), "it waits for the lock"
    finally:
        worker.ends()
    assert told <= len(worker.metrics)
    assert worker.complaints == (
        ["a batch took longer than 1 s: it is undone, and its rows wait for the next worker."]
        if patient
        else []
    )


@pytest.mark.parametrize("table", [Sync.QUEUE], indirect=True)
def test_a_worker_ends_though_a_trigger_does_not(table: Table) -> None:
    """Not even when it is cancelled."""
    table.execute("""
        CREATE FUNCTION holds() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            LOOP
                BEGIN
                    PERFORM pg_sleep(1000);
                EXCEPTION WHEN query_canceled THEN
                    NULL;
                END;
            END LOOP;
        END $$;
        CREATE TRIGGER holds BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION holds();
    """)
    sleeps = """
        SELECT EXISTS (SELECT FROM pg_stat_activity WHERE datname = current_database()
                       AND application_name = 'azpg' AND wait_event = 'PgSleep')
    """
    worker = Worker({"there": table.connect}, finish=1.0)
    try:
        assert wait_for(lambda: table.execute(sleeps).fetchone() == (True,), timeout=PATIENCE)
    finally:
        assert worker.ends()
    assert worker.complaints == [
        "a batch took longer than 1 s: it is undone, and its rows wait for the next worker."
    ]
    assert vectors(table) == 0
    assert table.backlog() == (ROWS, ROWS, 0)


def test_backends_are_ended(own_twin: Instance, table: Table) -> None:
    end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'azpg' AND datname = current_database()"
    with working(table) as outcome:
        for _ in range(3):
            done = vectors(table)
            table.connection.execute(end)
            assert wait_for(lambda: vectors(table) > done or bool(outcome), timeout=PATIENCE)  # noqa: B023
    assert outcome[0] == Outcome(ROWS, 0, 0)
    settle(table)


def test_a_server_that_stays_away_is_given_up(own_twin: Instance, table: Table) -> None:
    with working(table, attempts=3, workers=1) as outcome:
        own_twin.down()
    try:
        assert isinstance(outcome[0], RowsFailed | TargetUnreachable), outcome
    finally:
        own_twin.up()
    assert family(own_twin.home.home)
    run(table.connect, table.column)
    with own_twin.connect(table.connection.info.dbname, autocommit=True) as connection:
        settle(Table(connection, table.connect, table.column))


GONE = 'there is no table "public"."products" any more: run `azpg plan`, which says what there is'


def test_a_table_that_is_dropped_stops_the_run(own_twin: Instance, table: Table) -> None:
    with working(table) as outcome:
        table.execute("DROP TABLE products")
    assert isinstance(outcome[0], RowsFailed)
    assert str(outcome[0]).endswith(f"stopped: {GONE}. What is done stays.")


@pytest.mark.parametrize("table", [Sync.NONE], indirect=True)
@pytest.mark.parametrize("gone", ["DROP TABLE products", "ALTER TABLE products RENAME TO things"])
def test_a_table_that_is_gone_is_called_that(own_twin: Instance, table: Table, gone: str) -> None:
    """By a worker that is about to write, and by whoever looks at it later."""
    session = Session(table.connect)
    session.prepare(table.column)
    table.execute(gone)
    with session.connection as worker:
        with pytest.raises(Unbound) as caught, worker.transaction():
            hold(worker, table.column)
        assert caught.value.why == GONE
        with pytest.raises(LedgerMismatch) as later:
            backlog(worker, table.column)
        assert str(later.value) == f"public.products.embedding: {GONE}."


def test_a_writer_waits_for_a_silent_host_for_so_long_and_no_longer(own_twin: Instance, table: Table) -> None:
    """Its rows are written without a vector, with warnings; a limit of its own still ends the statement."""
    column = kept(table.connection, replace(table.column, sync=Sync.TRIGGER, timeout=1))
    found = replace(table, column=column)
    warnings: list[str | None] = []
    table.connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary))
    table.execute("DELETE FROM products WHERE id > 20")
    host = psutil.Process(host_status(own_twin)["pid"])
    host.suspend()
    try:
        table.execute("SET statement_timeout = '300ms'")
        with pytest.raises(psycopg.errors.QueryCanceled, match="due to statement timeout"):
            table.execute("UPDATE products SET title = 'not written'")
        table.execute("SET statement_timeout = '12s'")  # for 20 rows, each of which would wait
        table.execute("UPDATE products SET title = 'new ' || id")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            host.resume()
        table.execute("RESET statement_timeout")
    assert vectors(table) == 0
    assert found.backlog() == (20, 20, 0)
    assert len(warnings) == 20
    assert "timed out after 1000 ms" in str(warnings[0])
    assert "did not answer in time a moment ago" in str(warnings[-1])
    run(found.connect, column)
    assert found.backlog() == (20, 0, 0)
    assert found.wrong() == []
    table.execute("UPDATE products SET title = 'newer ' || id")
    assert vectors(table) == 20, "the next transaction asks again"
