"""How a column keeps up with its rows: what writers do, and what they never notice."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger, sync
from azpg_provision.column import Sync
from azpg_provision.errors import RowsFailed
from azpg_provision.sync.session import prepare
from azpg_provision.vectorize import Options, Outcome, drain, run
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.integration.calls import counters
from tests.integration.vectorized import FUNCTIONS_OF_ALL, Table, session, vectorized

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
MODES = [Sync.TRIGGER, Sync.QUEUE]
PATIENCE = 60.0
LONG = 16 * 1024 * 1024 + 1
EVERYTHING = """
INSERT INTO products VALUES (1, 'one'), (2, 'two'), (3, NULL), (4, ''), (5, 'five');
INSERT INTO products VALUES (1, 'uno'), (6, 'six') ON CONFLICT (id) DO UPDATE SET title = excluded.title;
INSERT INTO products VALUES (2, 'dos') ON CONFLICT DO NOTHING;
UPDATE products SET title = 'changed' WHERE id = 2;
UPDATE products SET title = NULL WHERE id = 5;
UPDATE products SET title = 'no longer null' WHERE id = 3;
UPDATE products SET id = id + 100 WHERE id IN (4, 6);
UPDATE products SET id = 4 WHERE id = 106;
DELETE FROM products WHERE id = 1;
INSERT INTO products VALUES (7, 'seven', array_fill(0.5, ARRAY[384])::vector);
UPDATE products SET embedding = array_fill(0.5, ARRAY[384])::vector WHERE id = 2;
MERGE INTO products USING (VALUES (2, 'merged'), (8, 'new')) AS v (id, title) ON products.id = v.id
  WHEN MATCHED THEN UPDATE SET title = v.title WHEN NOT MATCHED THEN INSERT (id, title) VALUES (v.id, v.title);
WITH gone AS (DELETE FROM products WHERE id = 8 RETURNING id) INSERT INTO products SELECT id + 1, 'moved' FROM gone;
BEGIN; UPDATE products SET title = 'undone'; ROLLBACK;
BEGIN; UPDATE products SET title = 'undone'; SAVEPOINT s; DELETE FROM products; ROLLBACK TO s; ROLLBACK;
ALTER TABLE products DROP CONSTRAINT products_pkey, ADD PRIMARY KEY (id) DEFERRABLE;
UPDATE products SET id = id + 1 WHERE id < 10;
"""


def settled(table: Table) -> None:
    """The queue is empty, nothing is pending, and every vector is that of the present text."""
    if table.column.sync is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    assert table.wrong() == []
    _, pending, failures = table.backlog()
    assert (pending, failures) == (0, 0)
    orphans = sql.SQL("SELECT count(*) FROM {} WHERE key_1 NOT IN (SELECT id FROM products)")
    assert table.connection.execute(orphans.format(table.column.state)).fetchone() == (0,)


@pytest.mark.parametrize("mode", MODES)
def test_every_way_to_write(twin: Instance, connection: Connection, mode: Sync) -> None:
    table = vectorized(twin, connection, mode=mode)
    for statement in EVERYTHING.strip().split(";\n"):
        table.execute(statement)
    settled(table)
    with connection.cursor() as cursor, cursor.copy("COPY products (id, title) FROM STDIN") as copy:
        for number in range(1000, 1030):
            copy.write_row((number, f"copied {number}"))
    settled(table)
    table.execute("TRUNCATE products")
    settled(table)


def test_a_trigger_embeds_in_the_statement_and_only_what_changed(
    twin: Instance, connection: Connection
) -> None:
    table = vectorized(twin, connection, mode=Sync.TRIGGER)
    before = counters(twin)["texts"]
    table.execute("INSERT INTO products SELECT n, 'number ' || n FROM generate_series(1, 5) AS n")
    assert counters(twin)["texts"] == before + 5
    table.execute("ALTER TABLE products ADD price int")
    table.execute("UPDATE products SET price = 7")
    table.execute("UPDATE products SET title = title")
    assert counters(twin)["texts"] == before + 5
    table.execute("UPDATE products SET title = 'other' WHERE id = 3")
    assert counters(twin)["texts"] == before + 6
    settled(table)


def test_a_trigger_sees_what_others_make_of_the_row(twin: Instance, connection: Connection) -> None:
    """Triggers are fired by name, and this one's is the last."""
    table = vectorized(twin, connection, mode=Sync.TRIGGER)
    table.execute(
        "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS"
        " 'BEGIN NEW.title := upper(NEW.title); RETURN NEW; END';"
        "CREATE TRIGGER z_shout BEFORE INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION shout()"
    )
    table.execute(
        "INSERT INTO products VALUES (1, 'one'), (2, 'two'); UPDATE products SET title = 'three' WHERE id = 1"
    )
    settled(table)
    assert run(table.connect, table.column) == Outcome(0, 0, 0)


@pytest.mark.parametrize("mode", MODES)
def test_a_writer_never_fails_for_its_text(twin: Instance, connection: Connection, mode: Sync) -> None:
    """The row is written, without an embedding; what works later is made up for, what does not is recorded."""
    table = vectorized(twin, connection, mode=mode, text="title || (100 / (id - 13))::text")
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    table.execute("INSERT INTO products SELECT n, 'number ' || n FROM generate_series(11, 15) AS n")
    table.execute(f"INSERT INTO products VALUES (20, repeat('a', {LONG}))")
    table.execute("UPDATE products SET title = 'of a row that fails' WHERE id = 13")
    table.execute("UPDATE products SET title = title || '!' WHERE id < 20")
    if mode is Sync.TRIGGER:
        assert len(notices) == 4
        assert notices[0] == "azpg: a row has no public.products.embedding yet: division by zero"
        assert run(table.connect, table.column) == Outcome(0, 0, 2)
    else:
        assert notices == []
        done = drain(table.connect, table.column, Options(workers=1), once=True)
        assert (done.embedded, done.failed) == (4, 2)
    assert {(one.key[0], one.sqlstate) for one in table.failed()} == {
        ("13", "22012"),
        ("20", "54000"),
    }
    assert table.backlog() == (6, 0, 2)
    table.execute(
        "UPDATE products SET id = 113 WHERE id = 13; UPDATE products SET title = 'short' WHERE id = 20"
    )
    settled(table)


@pytest.mark.parametrize("mode", MODES)
def test_a_writer_needs_no_rights_of_ours(twin: Instance, connection: Connection, mode: Sync) -> None:
    table = vectorized(twin, connection, mode=mode)
    role = sql.Identifier(f"writer_{connection.info.dbname[-8:]}")
    connection.execute(sql.SQL("CREATE ROLE {}").format(role))
    try:
        connection.execute(
            sql.SQL(
                "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON products TO {0}; GRANT {0} TO CURRENT_USER"
            ).format(role)
        )
        with session(table) as writer:
            writer.execute(sql.SQL("SET ROLE {}").format(role))
            writer.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two'), (3, 'three')")
            writer.execute(
                "UPDATE products SET title = 'changed' WHERE id = 1; UPDATE products SET id = 5 WHERE id = 2"
            )
            writer.execute("DELETE FROM products WHERE id = 3")
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                writer.execute("SELECT FROM azpg.columns")
        settled(table)
        with session(table) as writer:
            writer.execute(sql.SQL("SET ROLE {}").format(role))
            writer.execute("TRUNCATE products")
        settled(table)
    finally:
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


@pytest.mark.parametrize("mode", MODES)
def test_nobody_else_may_use_the_functions(twin: Instance, connection: Connection, mode: Sync) -> None:
    """They run with their owner's rights."""
    vectorized(twin, connection, mode=mode)
    rows = connection.execute(
        "SELECT proname, prosecdef, has_function_privilege('public', oid, 'EXECUTE') FROM pg_proc"
        " WHERE pronamespace = 'azpg'::regnamespace AND proname <> ALL (%s)",
        [FUNCTIONS_OF_ALL],
    ).fetchall()
    assert len(rows) == {Sync.TRIGGER: 5, Sync.QUEUE: 4}[mode]
    assert all(row[1:] == (row[0] != "text_1", False) for row in rows)


# What is installed

CHANGES: dict[str, str] = {
    "without their condition": "DROP FUNCTION azpg.in_hand CASCADE",
    "without what they ask": "DROP FUNCTION azpg.trusted_function",
    "disabled": "ALTER TABLE products DISABLE TRIGGER USER",
    "always": "ALTER TABLE products ENABLE ALWAYS TRIGGER azpg_1_clear",
    "gone": "DROP TRIGGER azpg_1_clear ON products",
    "another body": "CREATE OR REPLACE FUNCTION azpg.clear_1() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER"
    " SET search_path = pg_catalog, public, public, pg_temp AS 'BEGIN RETURN NULL; END'",
    "another search path": "ALTER FUNCTION azpg.clear_1() SET search_path = public",
    "the caller's rights": "ALTER FUNCTION azpg.clear_1() SECURITY INVOKER",
    "everybody's": "GRANT EXECUTE ON FUNCTION azpg.clear_1() TO PUBLIC",
    "one more": "CREATE TRIGGER other AFTER TRUNCATE ON products EXECUTE FUNCTION azpg.clear_1()",
    "other events": "CREATE OR REPLACE TRIGGER azpg_1_clear AFTER DELETE ON products EXECUTE FUNCTION azpg.clear_1()",
    "a condition": "CREATE OR REPLACE TRIGGER azpg_1_clear AFTER TRUNCATE ON products WHEN (1 = 2) EXECUTE FUNCTION azpg.clear_1()",
}


@pytest.mark.parametrize("mode", MODES)
def test_every_change_of_what_is_installed_is_seen(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    table = vectorized(twin, connection, mode=mode)
    assert table.column.id == 1
    assert sync.installed(connection, table.column)
    for what, statement in CHANGES.items():
        table.execute(statement)
        assert not sync.installed(connection, table.column), what
        sync.install(connection, table.column)
        assert sync.installed(connection, table.column), what
    table.execute("ALTER TABLE products ADD price int; CREATE INDEX ON products (title)")
    assert sync.installed(connection, table.column)


def test_another_sync_replaces_the_one_before(twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection, mode=Sync.TRIGGER)
    for mode in (Sync.QUEUE, Sync.TRIGGER, Sync.NONE, Sync.QUEUE):
        other = replace(table, column=replace(table.column, sync=mode, prefix=f"{mode}: "))
        assert not sync.installed(connection, other.column)
        sync.install(connection, ledger.register(connection, other.column))
        assert sync.installed(connection, other.column)
        table.execute("INSERT INTO products SELECT count(*), 'text' FROM products")
        run(other.connect, other.column)
        assert other.wrong() == []
    sync.remove(connection, other.column)
    assert connection.execute("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").fetchone() == (0,)
    assert connection.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'azpg'::regnamespace ORDER BY 1"
    ).fetchall() == [(name,) for name in FUNCTIONS_OF_ALL]


def test_a_generated_column(twin: Instance, connection: Connection) -> None:
    table = vectorized(
        twin,
        connection,
        create="CREATE TABLE products (id bigint PRIMARY KEY, title text)",
        mode=Sync.GENERATED,
        text="title || ' % {}'",
        prefix="passage: ",
    )
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, NULL)")
    connection.execute(sync.add_generated(table.column))
    table.execute("INSERT INTO products VALUES (3, 'three'); UPDATE products SET title = 'uno' WHERE id = 1")
    assert table.wrong() == []
    assert sync.installed(connection, table.column)


# Many at the same time

Act = Callable[[random.Random, Connection, list[int]], None]


def insert(chance: random.Random, writer: Connection, own: list[int]) -> None:
    for key in chance.sample(own, 3):
        writer.execute(
            "INSERT INTO products VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET title = excluded.title",
            [key, f"inserted {chance.random()}"],
        )


def update(chance: random.Random, writer: Connection, own: list[int]) -> None:
    """One row after the other in one transaction, in any order."""
    with writer.transaction():
        for key in chance.sample(own, len(own)):
            writer.execute(
                "UPDATE products SET title = %s WHERE id = %s", [f"updated {chance.random()}", key]
            )


def update_many(chance: random.Random, writer: Connection, own: list[int]) -> None:
    writer.execute("UPDATE products SET title = title || '+' WHERE id = ANY (%s)", [own])


def move(chance: random.Random, writer: Connection, own: list[int]) -> None:
    one, other = chance.sample(own, 2)
    with writer.transaction():
        writer.execute("DELETE FROM products WHERE id = %s", [other])
        writer.execute("UPDATE products SET id = %s WHERE id = %s", [other, one])


def remove(chance: random.Random, writer: Connection, own: list[int]) -> None:
    writer.execute("DELETE FROM products WHERE id = ANY (%s)", [chance.sample(own, 2)])


def undo(chance: random.Random, writer: Connection, own: list[int]) -> None:
    with writer.transaction(force_rollback=True):
        writer.execute("UPDATE products SET title = 'undone' WHERE id = ANY (%s)", [own])


def copy(chance: random.Random, writer: Connection, own: list[int]) -> None:
    with writer.transaction(), writer.cursor() as cursor:
        cursor.execute("DELETE FROM products WHERE id = ANY (%s)", [own])
        with cursor.copy("COPY products (id, title) FROM STDIN") as rows:
            for key in own:
                rows.write_row((key, f"copied {chance.random()}"))


ACTS: list[Act] = [insert, update, update_many, move, remove, undo, copy]
WRITERS, ROUNDS = 3, 12


@pytest.mark.parametrize("mode", [*MODES, Sync.NONE])
def test_writers_and_workers_at_the_same_time(twin: Instance, connection: Connection, mode: Sync) -> None:
    """No writer ever sees an error, and after the dust has settled every vector is that of its text."""
    table = vectorized(twin, connection, mode=mode)
    table.execute("INSERT INTO products SELECT n, 'number ' || n FROM generate_series(0, 29) AS n")
    errors: list[BaseException] = []
    over = threading.Event()

    def write(number: int) -> None:
        chance = random.Random(number)
        own = list(range(number, 30, WRITERS))
        try:
            with session(table) as writer:
                for _ in range(ROUNDS):
                    chance.choice(ACTS)(chance, writer, own)
        except BaseException as error:
            errors.append(error)

    def work() -> None:
        try:
            if mode is Sync.QUEUE:
                drain(table.connect, table.column, Options(workers=1, batch_rows=4), stop=over)
            while not over.is_set():
                run(table.connect, table.column, Options(workers=1, batch_rows=4), stop=over)
        except BaseException as error:
            errors.append(error)

    writers = [threading.Thread(target=write, args=[number]) for number in range(WRITERS)]
    workers = [threading.Thread(target=work) for _ in range(2)]
    for thread in [*writers, *workers]:
        thread.start()
    for thread in writers:
        thread.join()
    over.set()
    for thread in workers:
        thread.join()
    assert errors == []
    if mode is Sync.NONE:
        run(table.connect, table.column)
        assert table.wrong() == []
    else:
        if mode is Sync.TRIGGER:
            run(table.connect, table.column)
        settled(table)


@pytest.mark.parametrize("mode", [*MODES, Sync.NONE])
def test_a_table_that_is_emptied_while_workers_are_at_it(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    table = vectorized(twin, connection, mode=mode)
    over = threading.Event()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            while not over.is_set():
                run(table.connect, table.column, Options(workers=1, batch_rows=4), stop=over)
        except BaseException as error:
            errors.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    for number in range(5):
        table.execute(
            f"INSERT INTO products SELECT n, 'number {number} ' || n FROM generate_series(0, 19) AS n"
        )
        table.execute("TRUNCATE products")
    table.execute("INSERT INTO products VALUES (1, 'the last')")
    over.set()
    worker.join()
    assert errors == []
    run(table.connect, table.column)
    if mode is not Sync.NONE:
        settled(table)
    assert table.wrong() == []


def test_a_queue_row_that_a_writer_has_locked_is_done_later(twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two')")
    over = threading.Event()
    worker = threading.Thread(target=drain, args=[table.connect, table.column], kwargs={"stop": over})
    with session(table) as writer, writer.transaction():
        writer.execute("UPDATE products SET title = 'changed' WHERE id = 1")
        worker.start()
        done = "SELECT count(*) = 1 FROM products WHERE embedding IS NOT NULL"
        assert wait_for(lambda: connection.execute(done).fetchone() == (True,), timeout=PATIENCE)
        raise psycopg.Rollback
    assert wait_for(lambda: table.backlog()[1] == 0, timeout=PATIENCE), "although its writer changed nothing"
    over.set()
    worker.join()
    settled(table)


def test_several_drains_share_the_work(twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    before = counters(twin)["texts"]
    table.execute("INSERT INTO products SELECT n, 'number ' || n FROM generate_series(1, 200) AS n")
    table.execute("UPDATE products SET title = title || '!'")
    outcomes: list[Outcome] = []
    options = Options(workers=2, batch_rows=512)
    threads = [
        threading.Thread(
            target=lambda: outcomes.append(drain(table.connect, table.column, options, once=True))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    settled(table)
    assert sum(one.embedded for one in outcomes) <= counters(twin)["texts"] - before <= 400


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.NONE])
def test_a_text_that_changes_while_it_is_embedded(twin: Instance, connection: Connection, mode: Sync) -> None:
    """What was embedded is not written: the row has its writer's vector, or waits."""
    table = vectorized(twin, connection)
    table.execute(
        "INSERT INTO products SELECT n, repeat('words ', 300) || n FROM generate_series(1, 50) AS n"
    )
    table = replace(table, column=ledger.register(connection, replace(table.column, sync=mode)))
    sync.install(connection, table.column)
    outcomes: list[Outcome] = []
    options = Options(workers=1, batch_bytes=10**6, passes=1)
    worker = threading.Thread(target=lambda: outcomes.append(run(table.connect, table.column, options)))
    worker.start()
    # It has read the texts when it has made a snapshot and waits for the model.
    reading = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'active'"
        " AND query LIKE 'SELECT * FROM _azpg_._act_%-- Embeds rows%' AND clock_timestamp() - query_start > interval '0.2 s'"
    )
    assert wait_for(lambda: connection.execute(reading).fetchone() == (1,), timeout=PATIENCE)
    table.execute("UPDATE products SET title = 'changed' WHERE id = 7")
    worker.join()
    assert outcomes == [Outcome(49, 1, 0)]
    if mode is Sync.TRIGGER:
        settled(table)
    else:
        assert table.backlog() == (50, 1, 0)


NEXT = """
CREATE FUNCTION next() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  UPDATE products SET title = 'of ' || NEW.title WHERE id = NEW.id + 1 AND title IS DISTINCT FROM 'of ' || NEW.title;
  RETURN NULL;
END $$;
CREATE TRIGGER next AFTER UPDATE ON products FOR EACH ROW WHEN (NEW.id = 1) EXECUTE FUNCTION next();
"""


@pytest.mark.parametrize("mode", MODES)
def test_what_the_users_triggers_do_in_a_workers_session_is_seen(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    table = vectorized(twin, connection, mode=mode)
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two')")
    settled(table)
    table.execute("ALTER TABLE products DISABLE TRIGGER USER")
    table.execute("UPDATE products SET title = 'uno' WHERE id = 1")
    table.execute("ALTER TABLE products ENABLE TRIGGER USER")
    table.execute(NEXT)
    run(table.connect, table.column, Options(passes=1))
    assert table.connection.execute("SELECT title FROM products WHERE id = 2").fetchone() == ("of uno",)
    settled(table)


def test_a_row_is_no_slower_to_write_after_many(twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    table.execute("INSERT INTO products SELECT n, 'text ' || n FROM generate_series(1, 3000) AS n")
    table.execute(f"INSERT INTO {table.column.state.as_string()} SELECT id, '' FROM products")
    table.execute("ANALYZE")
    table.execute("UPDATE products SET title = title")  # the session keeps the plans of this
    scans = "SELECT sum(seq_tup_read)::bigint FROM pg_stat_xact_user_tables WHERE schemaname = 'azpg'"
    with table.connection.transaction():
        table.execute("UPDATE products SET title = 'one' WHERE id = 1")
        assert table.execute(scans).fetchone()[0] < 100


def test_a_write_that_touches_nothing_of_the_text_does_not_compute_it(
    twin: Instance, connection: Connection
) -> None:
    """Nor one that writes the same once more. An expression may be dear, or fail."""
    connection.execute(
        "CREATE SEQUENCE calls; CREATE FUNCTION counted(text) RETURNS text LANGUAGE plpgsql STABLE"
        " SET search_path = pg_catalog, pg_temp AS"
        " $$ BEGIN PERFORM pg_catalog.nextval('public.calls'); RETURN $1; END $$"
    )
    create = "CREATE TABLE products (id bigint PRIMARY KEY, title text, other text, embedding vector(384))"
    table = vectorized(twin, connection, create=create, text="counted(title)", mode=Sync.TRIGGER)
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, NULL)")

    def calls(statement: str) -> int:
        (before,) = table.execute("SELECT last_value FROM calls").fetchone()
        table.execute(statement)
        (after,) = table.execute("SELECT last_value FROM calls").fetchone()
        return int(after - before)

    assert calls("UPDATE products SET other = 'x'") == 0
    assert calls("UPDATE products SET id = id, title = title, embedding = embedding") == 0
    for statement in (
        "UPDATE products SET title = 'two' WHERE id = 1",
        "UPDATE products SET embedding = NULL WHERE id = 1",
        "UPDATE products SET id = 3 WHERE id = 1",
    ):
        assert calls(statement) > 0, statement
        settled(table)


@pytest.mark.parametrize("mode", MODES)
def test_a_trigger_of_the_users_that_writes_the_row_again(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    table = vectorized(twin, connection, mode=mode)
    table.execute(
        "CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "UPDATE products SET title = upper(title) WHERE id = NEW.id AND title <> upper(title); RETURN NULL; END $$"
    )
    for name in ("after_write", "zzzz"):
        table.execute(
            f"CREATE TRIGGER {name} AFTER INSERT OR UPDATE ON products FOR EACH ROW EXECUTE FUNCTION again()"
        )
        table.execute(
            f"INSERT INTO products VALUES (1, 'one'), (2, 'two'); UPDATE products SET title = '{name}'"
        )
        settled(table)
        table.execute(f"DROP TRIGGER {name} ON products; TRUNCATE products")


@pytest.mark.parametrize("mode", MODES)
def test_a_column_that_gets_another_type_while_a_session_lasts(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    table = vectorized(
        twin,
        connection,
        create="CREATE TABLE products (id bigint PRIMARY KEY, title varchar(20), embedding vector(384))",
        mode=mode,
    )
    with session(table) as writer:
        for id_ in (1, 2, 3):
            writer.execute("INSERT INTO products VALUES (%s, 'one')", [id_])
            writer.execute("UPDATE products SET title = 'two' WHERE id = %s", [id_])
            table.execute(f"ALTER TABLE products ALTER title TYPE {['text', 'varchar(30)', 'text'][id_ - 1]}")
    settled(table)


@pytest.mark.parametrize("mode", MODES)
def test_what_a_value_looks_like_as_text_is_no_matter_of_the_writers_session(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    """A driver sets the time zone of its machine, for one."""
    table = vectorized(
        twin,
        connection,
        create="CREATE TABLE products (id bigint PRIMARY KEY, at timestamptz, day date, took interval, price float8, "
        "raw bytea, embedding vector(384))",
        text="concat_ws(' ', at, day, took, price, raw)",
        mode=mode,
    )
    with session(table) as writer:
        writer.execute(
            "SET TimeZone = 'Asia/Tokyo'; SET DateStyle = 'German'; SET IntervalStyle = 'iso_8601'; "
            "SET extra_float_digits = -9; SET bytea_output = 'escape'"
        )
        values = "'2024-01-01 00:00Z', '2024-02-03', '1 day 2 hours', 0.1234567890123, 'bytes'"
        writer.execute(f"INSERT INTO products VALUES (1, {values})")
        writer.execute("INSERT INTO products VALUES (2); UPDATE products SET day = '2024-02-04' WHERE id = 2")
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    assert table.backlog() == (2, 0, 0)
    with session(table) as reader:
        prepare(reader, table.column)
        assert Table(reader, table.connect, table.column).wrong() == []


def test_rows_that_a_policy_hides_are_no_secret(twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection)
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two')")
    table.execute("ALTER TABLE products ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    with pytest.raises(RowsFailed, match="row-level security policy"):
        run(table.connect, table.column)


def test_a_worker_is_at_read_committed(twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection)
    name = sql.Identifier(connection.info.dbname)
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'").format(name)
    )
    with table.connect() as worker:
        prepare(worker, table.column)
        assert worker.execute("SHOW transaction_isolation").fetchone() == ("read committed",)
