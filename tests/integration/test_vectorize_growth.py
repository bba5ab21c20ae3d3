"""What a step costs is a matter of its own rows, however many there are and whatever the statistics say."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.column import Sync
from azpg_provision.vectorize import Connect, Options, Outcome, Progress, drain, run
from azpg_provision.vectorize.serve import Service
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.integration.vectorized import TINY, Table, connector, tiny_model, vectorized
from tests.unit import tiny

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.vector
PATIENCE = 60.0
CREATE = f"CREATE TABLE products (id bigint PRIMARY KEY, title text, embedding vector({tiny.HIDDEN}))"
# The output function is that of a pseudo-type: it raises.
MUTE = """
CREATE TYPE mute;
CREATE FUNCTION mute_in(cstring) RETURNS mute LANGUAGE internal IMMUTABLE STRICT AS 'int4in';
CREATE FUNCTION mute_out(mute) RETURNS cstring LANGUAGE internal IMMUTABLE STRICT AS 'trigger_out';
CREATE TYPE mute (INPUT = mute_in, OUTPUT = mute_out, LIKE = int4);
"""
READ = """
SELECT seq_scan, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0), n_tup_del
FROM pg_stat_user_tables WHERE relid = %s::regclass
"""


@pytest.fixture(autouse=True)
def _tiny(twin: Instance, connection: Connection) -> Iterator[None]:
    with tiny_model(twin, connection):
        yield


def filled(twin: Instance, connection: Connection, rows: int, mode: Sync, create: str = CREATE) -> Table:
    """A table of so many rows, none of which has an embedding."""
    table = vectorized(
        twin, connection, create=create, mode=mode, model=TINY, dimensions=tiny.HIDDEN, text="title"
    )
    table.execute(
        f"INSERT INTO products (id, title) SELECT n, 'text ' || n FROM generate_series(1, {rows}) AS n"
    )
    return table


def read(connection: Connection, name: str) -> tuple[int, int, int]:
    """Of a table: how often it was read as a whole, the rows read, and the rows deleted."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(READ, [name]).fetchone()
    assert row is not None
    return row


def test_a_batch_takes_its_own_entries_only(twin: Instance, connection: Connection) -> None:
    """Although PostgreSQL has last seen the queue, and what is known of the rows, all but empty."""
    rows = 2000
    table = filled(twin, connection, rows, Sync.QUEUE)
    names = [f"azpg.queue_{table.column.id}", f"azpg.state_{table.column.id}", "products"]
    for name in names:
        table.execute(f"ALTER TABLE {name} SET (autovacuum_enabled = off)")
    drain(table.connect, table.column, once=True)
    table.execute("UPDATE products SET title = 'the only one' WHERE id = 7")
    for name in names:  # one entry at the end keeps the file as long as it is
        table.execute(f"VACUUM (ANALYZE) {name}")
    table.execute("UPDATE products SET title = title || ', anew'")
    (last,) = table.execute(f"SELECT max(id) FROM {names[0]}").fetchone()
    before = [read(connection, name) for name in names]
    assert before[0][2] == rows, "what the drain deleted"

    stop = threading.Event()
    batches: list[Progress] = []

    def tell(one: Progress) -> None:
        batches.append(one)
        stop.set()

    drain(table.connect, table.column, Options(workers=1, max_rate=1), tell=tell, stop=stop)
    assert wait_for(lambda: read(connection, names[0])[2] >= rows + 256, timeout=PATIENCE)
    after = [read(connection, name) for name in names]
    left = table.execute(f"SELECT count(*) FROM {names[0]} WHERE id <= {last}").fetchone()
    assert left == (rows + 1 - 256,), "entries that nobody has taken"
    for name, (scans, tuples, _), now in zip(names, before, after, strict=True):
        assert now[0] == scans, f"all of {name} was read"
        assert now[1] - tuples <= 4 * 256, f"rows of {name} were read"
    assert [one.embedded in (255, 256) for one in batches] == [True], "a row may have two entries"
    drain(table.connect, table.column, once=True)
    assert table.wrong() == []


def test_a_row_is_hashed_as_a_whole_only_where_a_failure_is_recorded(
    twin: Instance, connection: Connection
) -> None:
    """Seen by a column whose values cannot be printed: hashing a row, vector and all, costs more than the rest."""
    with twin.superuser(connection.info.dbname) as superuser:
        superuser.execute(MUTE)
    create = CREATE.replace("title text", "title text, other mute")
    table = filled(twin, connection, 300, Sync.NONE, create=create)
    table.execute("UPDATE products SET other = '1'")
    assert run(table.connect, table.column) == Outcome(300, 0, 0)
    assert table.backlog() == (300, 0, 0)
    table.execute(f"UPDATE azpg.state_{table.column.id} SET failure = 'why', hash = '' WHERE key_1 = 7")
    with pytest.raises(psycopg.errors.FeatureNotSupported, match="cannot display"):
        table.backlog()


COLUMNS = 12


def many_queues(twin: Instance, name: str) -> list[Table]:
    """Tables with a queue each, in a database of their own; each has rows that wait."""
    with twin.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    with twin.connect(name, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector; CREATE EXTENSION azure_local_ai")
        tables = []
        for number in range(COLUMNS):
            table = f"t{number}"
            create = CREATE.replace("products", table)
            options = {"mode": Sync.QUEUE, "model": TINY, "dimensions": tiny.HIDDEN}
            tables.append(vectorized(twin, connection, create=create, table=table, **options))
            connection.execute(
                sql.SQL("INSERT INTO {} SELECT n, 'text ' || n FROM generate_series(1, 50) AS n").format(
                    sql.Identifier(table)
                )
            )
    return tables


def test_a_worker_has_so_many_connections_and_no_more(twin: Instance, connection: Connection) -> None:
    """Whatever number of queues and databases it has to look after, which have them in turn."""
    names = [f"{connection.info.dbname[:40]}_{number}" for number in (1, 2)]
    tables = [table for name in names for table in many_queues(twin, name)]
    opened: list[Connection] = []
    counts: list[int] = []
    counting = threading.Lock()

    def counted(connect: Connect) -> Connect:
        """So that no moment is missed: there are never more than after one was opened."""

        def open_one() -> Connection:
            made = connect()
            with counting:
                opened[:] = [one for one in [*opened, made] if not one.closed]
                counts.append(len(opened))
            return made

        return open_one

    databases = {name: counted(connector(twin, name)) for name in names}
    # Metrics are told every moment, for which a connection is opened, too.
    service = Service(
        databases, Options(workers=3), once=False, tell=lambda _: None, complain=lambda _: None, every=0
    )
    stop = threading.Event()
    thread = threading.Thread(target=service.run, args=[stop])
    thread.start()
    waiting = "SELECT {}".format(
        " + ".join(f"(SELECT count(*) FROM azpg.queue_{one.column.id})" for one in tables[:COLUMNS])
    )

    def done() -> bool:
        return all(one.execute(waiting).fetchone() == (0,) for one in watching)

    try:
        with contextlib.ExitStack() as stack:
            watching = [stack.enter_context(twin.connect(name, autocommit=True)) for name in names]
            assert wait_for(done, timeout=PATIENCE)
            for one in watching:
                one.execute("UPDATE t3 SET title = 'changed'")
            assert wait_for(done, timeout=PATIENCE), "those that were idle are still looked at"
    finally:
        stop.set()
        thread.join()
    assert 3 <= max(counts) <= 3 + 1
    assert all(one.closed for one in opened)
    for name in names:
        with twin.superuser() as superuser:
            superuser.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
