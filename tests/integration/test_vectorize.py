"""Rows without an up-to-date embedding get one, in the server, whatever is in the table."""

from __future__ import annotations

import threading
import uuid
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.errors import LedgerMismatch, PlanRefused, RowsFailed
from azpg_provision.vectorize import Options, Outcome, Progress, claims, drain, hand, run
from azpg_provision.vectorize.queue import Waiting, waiting
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.calls import counters
from tests.integration.vectorized import Table, kept, session, vectorized

Connection = psycopg.Connection[Any]
pytestmark = pytest.mark.vector
LONG = 16 * 1024 * 1024 + 1
"""Characters that the model host refuses."""
FROZEN = """
CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN IF OLD.id = 7 THEN RAISE 'row % is closed', OLD.id; END IF; RETURN NEW; END $$;
CREATE TRIGGER keep BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION keep()
"""


def filled(twin: Instance, connection: Connection, rows: int, **options: Any) -> Table:
    """A table of products, none of which has an embedding."""
    table = vectorized(twin, connection, **options)
    table.execute(
        f"INSERT INTO products SELECT n, 'product number ' || n FROM generate_series(1, {rows}) AS n"
    )
    return table


@pytest.mark.every_major
def test_every_row_gets_its_embedding_once(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 300)
    assert table.backlog() == (300, 300, 0)
    before = counters(twin)["texts"]
    assert run(table.connect, table.column, Options(batch_rows=64)) == Outcome(300, 0, 0)
    assert counters(twin)["texts"] == before + 300
    assert table.backlog() == (300, 0, 0)
    assert run(table.connect, table.column) == Outcome(0, 0, 0)
    assert counters(twin)["texts"] == before + 300
    assert table.wrong() == []


@pytest.mark.every_major
def test_null_has_none_and_the_empty_text_has_one(twin: Instance, connection: Connection) -> None:
    table = vectorized(twin, connection)
    table.execute(
        "INSERT INTO products VALUES (1, NULL, NULL), (2, '', NULL), (3, NULL, array_fill(1, ARRAY[384])::vector)"
    )
    assert table.backlog() == (3, 2, 0)
    assert run(table.connect, table.column) == Outcome(2, 0, 0)
    assert table.wrong() == []
    assert table.backlog() == (3, 0, 0)


@pytest.mark.every_major
def test_another_prefix_or_model_makes_every_row_stale(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 10)
    run(table.connect, table.column)
    prefixed = replace(table, column=kept(connection, replace(table.column, prefix="passage: {} % ' \\ ")))
    assert prefixed.backlog() == (10, 10, 0)
    assert run(table.connect, prefixed.column) == Outcome(10, 0, 0)
    assert prefixed.wrong() == []
    other = kept(connection, replace(prefixed.column, fingerprint=bytes(32)))
    assert replace(table, column=other).backlog() == (10, 10, 0)


def test_large_and_small_texts(twin: Instance, connection: Connection) -> None:
    """A batch is bounded by bytes, too, but for one text."""
    table = vectorized(twin, connection)
    table.execute(
        "INSERT INTO products SELECT n, CASE WHEN n % 4 = 0 THEN repeat('many words ', 500) || n WHEN n % 4 = 1 THEN NULL"
        " ELSE 'few ' || n END FROM generate_series(1, 60) AS n"
    )
    told: list[Progress] = []
    options = Options(workers=1, batch_bytes=6000)
    assert run(table.connect, table.column, options, tell=told.append) == Outcome(45, 0, 0)
    assert len(told) >= 15, "no more than one large text in a batch"
    assert table.wrong() == []


# Keys, names, expressions

STRANGE = 'Sel"ect %s {} '
TABLES: dict[str, dict[str, Any]] = {
    "composite": {
        "create": 'CREATE TABLE t (a int, b text COLLATE "C", title text, e vector(384), PRIMARY KEY (b, a));'
        "INSERT INTO t SELECT n % 5, chr(65 + n % 3) || n / 7, 'text ' || n FROM generate_series(1, 60) AS n",
        "keys": (Key("b", "text"), Key("a", "integer")),
    },
    "text of another collation": {
        "create": 'CREATE TABLE t (k varchar(40) COLLATE "POSIX" PRIMARY KEY, title text, e vector(384));'
        "INSERT INTO t SELECT CASE WHEN n % 2 = 0 THEN 'ä''\\' ELSE 'Z' END || n, 'text ' || n FROM generate_series(1, 60) AS n",
        "keys": (Key("k", "character varying(40)"),),
    },
    "uuid": {
        "create": "CREATE TABLE t (k uuid PRIMARY KEY, title text, e vector(384));"
        "INSERT INTO t SELECT gen_random_uuid(), 'text ' || n FROM generate_series(1, 60) AS n",
        "keys": (Key("k", "uuid"),),
    },
    "timestamptz": {
        "create": "CREATE TABLE t (k timestamptz PRIMARY KEY, title text, e vector(384));"
        "INSERT INTO t SELECT now() + n * interval '1.234567 s', 'text ' || n FROM generate_series(1, 60) AS n",
        "keys": (Key("k", "timestamp with time zone"),),
    },
    "numbers": {
        "create": "CREATE TABLE t (k numeric, f float8, title text, e vector(384), PRIMARY KEY (k, f));"
        "INSERT INTO t SELECT n / 7.0, sqrt(n), 'text ' || n FROM generate_series(1, 60) AS n;"
        "INSERT INTO t VALUES ('NaN', '-Infinity', 'not a number'), ('Infinity', 0, 'endless')",
        "keys": (Key("k", "numeric"), Key("f", "double precision")),
    },
    "enumeration": {
        "create": "CREATE TYPE \"Mood\" AS ENUM ('sad', 'a \"b\" ''c''', 'ok'); CREATE TABLE t (k \"Mood\" PRIMARY KEY, title text,"
        " e vector(384)); INSERT INTO t SELECT k, 'text ' || k FROM unnest(enum_range(NULL::\"Mood\")) AS k",
        "keys": (Key("k", '"Mood"'),),
    },
    "a type of an extension in a schema of its own": {
        "create": 'CREATE SCHEMA "Ex %""."; DROP EXTENSION vector; CREATE EXTENSION vector SCHEMA "Ex %"".";'
        'CREATE TABLE t (k "Ex %"".".vector PRIMARY KEY, title text, e "Ex %"".".vector(384));'
        "INSERT INTO t SELECT ARRAY[n % 7, n], 'text ' || n FROM generate_series(1, 60) AS n",
        "keys": (Key("k", '"Ex %""."' + ".vector"),),
    },
    "reserved names": {
        "create": 'CREATE SCHEMA "Shop %"; CREATE TABLE "Shop %"."user" ("order" int, "select" int, title text, "group" vector(384),'
        ' PRIMARY KEY ("order", "select")); INSERT INTO "Shop %"."user" SELECT n, -n, \'text \' || n FROM generate_series(1, 60) AS n',
        "schema": "Shop %",
        "table": "user",
        "column": "group",
        "keys": (Key("order", "integer"), Key("select", "integer")),
    },
    "strange names": {
        "create": sql.SQL(
            "CREATE TABLE {} ({} int PRIMARY KEY, title text, {} vector(384));"
            "INSERT INTO {} SELECT n, 'text ' || n FROM generate_series(1, 60) AS n"
        )
        .format(*map(sql.Identifier, (STRANGE + "t", STRANGE + "k", STRANGE + "e", STRANGE + "t")))
        .as_string(),
        "table": STRANGE + "t",
        "column": STRANGE + "e",
        "keys": (Key(STRANGE + "k", "integer"),),
    },
    "names of our own": {
        "create": "CREATE TABLE new (hash int, key_1 int, title text, n vector(384), azpg_text text DEFAULT 'x', text text DEFAULT 'y',"
        " embedding text, PRIMARY KEY (hash, key_1)); INSERT INTO new SELECT n, -n, 'text ' || n FROM generate_series(1, 60) AS n",
        "table": "new",
        "column": "n",
        "keys": (Key("hash", "integer"), Key("key_1", "integer")),
        "text": "title || azpg_text || text || coalesce(embedding, '')",
    },
    "an expression of all kinds": {
        "create": "CREATE TABLE t (k int PRIMARY KEY, title text, e vector(384));"
        "INSERT INTO t SELECT n, 'text ' || n FROM generate_series(1, 60) AS n",
        "keys": (Key("k", "integer"),),
        "text": "title || $$ % {} %s %(a)s $1 '$$ || E'\\\\ \\'' || (k % 2)::text || CASE WHEN k > 3 THEN ' large' ELSE '' END",
    },
    "a table and column of one name": {
        "create": "CREATE TABLE t (k int PRIMARY KEY, title text, t text DEFAULT 'x', e vector(384));"
        "INSERT INTO t SELECT n, 'text ' || n FROM generate_series(1, 60) AS n",
        "keys": (Key("k", "integer"),),
        "text": "title || t",
    },
}  # fmt: skip


@pytest.mark.every_major
@pytest.mark.parametrize("mode", [Sync.NONE, Sync.TRIGGER, Sync.QUEUE])
@pytest.mark.parametrize("what", TABLES)
def test_any_table(twin: Instance, connection: Connection, what: str, mode: Sync) -> None:
    options: dict[str, Any] = {"table": "t", "column": "e", **TABLES[what]}
    table = vectorized(twin, connection, mode=mode, **options)
    count = table.connection.execute(
        sql.SQL("SELECT count(*) FROM {}").format(table.column.relation)
    ).fetchone()
    assert count is not None
    before = counters(twin)["texts"]
    assert run(table.connect, table.column, Options(batch_rows=7)) == Outcome(count[0], 0, 0)
    embedded = counters(twin)["texts"] - before
    assert embedded <= count[0]
    assert table.wrong() == []
    touched = table.connection.execute(
        sql.SQL("UPDATE {} SET title = title || ' changed' WHERE title LIKE '%1%'").format(
            table.column.relation
        )
    ).rowcount
    pending = {Sync.TRIGGER: 0, Sync.QUEUE: touched, Sync.NONE: touched}[mode]
    assert table.backlog() == (count[0], pending, 0)
    run(table.connect, table.column)
    assert table.wrong() == []
    table.execute(f"DELETE FROM {table.column.relation.as_string()}")
    assert table.backlog() == (0, 0, 0)


# Rows that fail


def test_a_text_that_the_model_refuses_is_recorded(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 100)
    table.execute(f"UPDATE products SET title = repeat('a', {LONG}) WHERE id IN (17, 18, 60)")
    assert run(table.connect, table.column, Options(batch_rows=32)) == Outcome(97, 0, 3)
    assert table.backlog() == (100, 0, 3)
    found = table.failed()
    assert [(one.key, one.sqlstate, one.attempts) for one in found] == [
        ([key], "54000", 1) for key in ("17", "18", "60")
    ]
    assert "16777217 bytes long; the limit is 16777216" in found[0].reason
    before = counters(twin)["texts"]
    assert run(table.connect, table.column) == Outcome(0, 0, 0), "it is settled, until it changes"
    assert counters(twin)["texts"] == before
    assert table.forget() == 3
    assert table.backlog() == (100, 3, 0)
    table.execute("UPDATE products SET title = 'short' WHERE id IN (17, 18)")
    assert run(table.connect, table.column) == Outcome(2, 0, 1)
    table.execute("UPDATE products SET title = 'short' WHERE id = 60")
    assert table.backlog() == (100, 1, 1)
    assert run(table.connect, table.column) == Outcome(1, 0, 0)
    assert table.backlog() == (100, 0, 0)
    assert table.wrong() == []


@pytest.mark.parametrize("lease", [0.02, 5.0])
def test_a_row_that_takes_long_to_fail(twin: Instance, connection: Connection, lease: float) -> None:
    """Workers whose claims expire while they look for the row do not take it from each other for ever."""
    table = filled(twin, connection, 40)
    table.execute(f"UPDATE products SET title = repeat('a', {LONG}) WHERE id = 40")
    assert run(table.connect, table.column, Options(workers=3, batch_rows=32, lease=lease)).failed == 1
    assert table.backlog() == (40, 0, 1)
    assert connection.execute("SELECT count(*) FROM azpg.claims").fetchone() == (0,)


@pytest.mark.every_major
@pytest.mark.parametrize("mode", [Sync.NONE, Sync.QUEUE])
def test_an_expression_that_fails_for_a_row_is_recorded(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    table = filled(twin, connection, 100, text="title || (100 / (id - 13))::text", mode=mode)
    table.execute("UPDATE products SET embedding = array_fill(1, ARRAY[384])::vector WHERE id = 13")
    assert table.backlog() == (100, 100, 0)
    assert run(table.connect, table.column, Options(batch_rows=32)) == Outcome(99, 0, 1)
    assert table.backlog() == (100, 0, 1)
    (found,) = table.failed()
    assert (found.key, found.sqlstate, found.reason) == (["13"], "22012", "division by zero")
    assert table.connection.execute("SELECT embedding FROM products WHERE id = 13").fetchone() == (None,)
    assert run(table.connect, table.column) == Outcome(0, 0, 0)
    table.execute("UPDATE products SET title = 'another, and still no text' WHERE id = 13")
    assert run(table.connect, table.column) == Outcome(0, 0, 1), "a row that changed is tried again"
    table.execute("UPDATE products SET id = 113 WHERE id = 13")
    assert run(table.connect, table.column) == Outcome(1, 0, 0)
    assert table.wrong() == []


def test_an_error_of_the_users_own_is_that_of_its_row(twin: Instance, connection: Connection) -> None:
    """Whatever its SQLSTATE; and a cast can raise what looks like a mistake in the statement."""
    table = filled(twin, connection, 20, text="CASE id WHEN 3 THEN title::tsquery::text ELSE title END")
    table.execute(FROZEN.replace("OLD.id;", "OLD.id USING ERRCODE = 'APP01';"))
    assert run(table.connect, table.column) == Outcome(18, 0, 2)
    assert [(one.key, one.sqlstate) for one in table.failed()] == [
        (["3"], "42601"),
        (["7"], "APP01"),
    ]


def test_a_constraint_on_the_column(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 20)
    table.execute("ALTER TABLE products ADD CHECK (embedding IS NULL OR id <> 7)")
    assert run(table.connect, table.column) == Outcome(19, 0, 1)
    (found,) = table.failed()
    assert (found.key, found.sqlstate) == (["7"], "23514")


@pytest.mark.parametrize("mode", [Sync.NONE, Sync.QUEUE])
@pytest.mark.parametrize(
    ("before", "text", "why"),
    [
        (FROZEN, "title", "row 7 is closed"),
        (
            "ALTER TABLE products ALTER embedding SET DEFAULT array_fill(1, ARRAY[384])::vector; "
            "UPDATE products SET embedding = DEFAULT; ALTER TABLE products ALTER embedding SET NOT NULL",
            "CASE WHEN id <> 7 THEN title END",
            "violates not-null constraint",
        ),
    ],
    ids=["closed", "not null"],
)
def test_a_row_that_cannot_even_be_emptied_stops_no_other(
    twin: Instance, connection: Connection, mode: Sync, before: str, text: str, why: str
) -> None:
    table = filled(twin, connection, 20, text=text, mode=mode)
    table.execute(before)
    if mode is Sync.QUEUE:
        assert drain(table.connect, table.column, once=True).failed == 1
    else:
        assert run(table.connect, table.column) == Outcome(19, 0, 1)
    (found,) = table.failed()
    assert found.key == ["7"]
    assert why in found.reason
    assert table.backlog() == (20, 0, 1), "it is settled, until it changes"
    assert run(table.connect, table.column) == Outcome(0, 0, 0)


def test_a_statement_that_somebody_cancels_is_said(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 20)
    # A cancelled statement that takes a claim, not one that embeds: fewer rows would not help.
    connection.execute(
        "CREATE FUNCTION cancel() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE 'cancelled' USING ERRCODE = '57014'; END $$"
    )
    connection.execute(
        "CREATE TRIGGER cancel BEFORE INSERT ON azpg.claims FOR EACH ROW EXECUTE FUNCTION cancel()"
    )
    with pytest.raises(RowsFailed, match=r"vectorizing public\.products\.embedding stopped: cancelled"):
        run(table.connect, table.column)


def test_a_run_whose_rows_all_fail_stops(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 100, text="(1 / (id - id))::text")
    with pytest.raises(RowsFailed, match=r"10 rows got no embedding, .* `azpg vectorize --failed`"):
        run(table.connect, table.column, Options(workers=1, max_failures=10))
    assert len(table.failed()) == 10


def refusing(table: Table, condition: str, error: str) -> None:
    """A trigger of the user's own, which fails for some rows with an error that time often helps against."""
    table.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"RAISE EXCEPTION 'as it were' USING ERRCODE = '{error}'; END $$;"
        "CREATE TRIGGER refuse BEFORE UPDATE ON products FOR EACH ROW "
        f"WHEN ({condition}) EXECUTE FUNCTION refuse()"
    )


def test_a_full_disk_is_no_rows_fault(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 8)
    run(table.connect, table.column)
    table.execute("UPDATE products SET title = title || ', anew'")
    refusing(table, "true", "disk_full")
    with pytest.raises(RowsFailed, match=r"stopped: as it were \(2 attempts\)\. What is done stays"):
        run(table.connect, table.column, Options(attempts=2))
    assert table.backlog() == (8, 8, 0)
    assert table.connection.execute("SELECT count(embedding) FROM products").fetchone() == (8,)


def test_a_worker_that_never_gives_up_gets_past_a_row_that_always_fails(
    twin: Instance, connection: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that says it may go away does not keep those behind it waiting for ever."""
    monkeypatch.setattr(hand, "_ATTEMPTS", 2)
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    refusing(table, "OLD.id = 1 AND NEW.embedding IS NOT NULL", "configuration_limit_exceeded")
    table.execute("INSERT INTO products VALUES (1, 'one'), (2, 'two')")
    options = Options(workers=1, attempts=0, batch_rows=2)
    assert drain(table.connect, table.column, options, once=True) == Outcome(1, 0, 1)
    (found,) = table.failed()
    assert (found.key, found.sqlstate) == (["1"], "53400")


def test_a_statement_timeout_makes_batches_smaller(twin: Instance, connection: Connection) -> None:
    """Half as many rows, and again, until they are done in time."""
    table = vectorized(twin, connection)
    table.execute(
        "INSERT INTO products SELECT n, repeat('many words ', 300) || n FROM generate_series(1, 48) AS n"
    )

    def connect() -> Connection:
        opened = table.connect()
        opened.execute("SET statement_timeout = '700ms'")
        return opened

    done = run(connect, table.column, Options(workers=1, batch_rows=48, batch_bytes=10**6))
    assert done.embedded + done.failed == 48
    assert run(table.connect, table.column).failed == 0
    table.forget()
    run(table.connect, table.column)
    assert table.wrong() == []


FAULTY = """
CREATE SEQUENCE faults;
CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  IF (SELECT count(*) FROM written) > 20 THEN
    RAISE EXCEPTION 'fault %', nextval('faults') USING ERRCODE = 'io_error';
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER fault AFTER UPDATE ON products REFERENCING NEW TABLE AS written
  FOR EACH STATEMENT EXECUTE FUNCTION fault()
"""


@pytest.mark.parametrize("mode", [Sync.NONE, Sync.QUEUE])
def test_faults_that_go_away_make_batches_smaller(twin: Instance, connection: Connection, mode: Sync) -> None:
    """After the second one: where faults come quicker than a batch is done, none would ever be."""
    table = filled(twin, connection, 64, mode=mode)
    table.execute(FAULTY)
    options = Options(workers=1, batch_rows=64)
    if mode is Sync.NONE:
        assert run(table.connect, table.column, options) == Outcome(64, 0, 0)
    else:
        assert drain(table.connect, table.column, options, once=True) == Outcome(64, 0, 0)
    (faults,) = connection.execute("SELECT last_value FROM faults").fetchone() or (0,)
    # Two for each half, and after each batch of 16 two for the attempt at twice as many.
    assert faults <= 2 * (2 + 4)
    assert table.wrong() == []


@pytest.mark.parametrize(("waited", "least"), [(0, 0.2), (8, 2.0), (86400, 5.0)])
def test_the_longer_a_row_cannot_be_written_the_less_often_it_is_embedded(
    twin: Instance, connection: Connection, waited: int, least: float
) -> None:
    """A trigger that lets no update be, or a writer whose transaction does not end, costs little."""
    table = vectorized(twin, connection, mode=Sync.QUEUE)
    table.execute(
        "CREATE FUNCTION stay() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';"
        "CREATE TRIGGER stay BEFORE UPDATE ON products FOR EACH ROW EXECUTE FUNCTION stay();"
        "INSERT INTO products VALUES (1, 'one')"
    )
    aged = sql.SQL("UPDATE {} SET since = clock_timestamp() - make_interval(secs => {})")
    connection.execute(aged.format(table.column.queue, waited))
    stop = threading.Event()
    done = drain(table.connect, table.column, Options(workers=1), tell=lambda _: stop.set(), stop=stop)
    assert done == Outcome(0, 1, 0)
    pauses = sql.SQL(
        "SELECT extract(epoch FROM not_before - since)::float8, "
        "extract(epoch FROM not_before - clock_timestamp())::float8 FROM {}"
    )
    row = connection.execute(pauses.format(table.column.queue)).fetchone()
    assert row is not None
    assert row[0] - waited >= least
    assert row[1] <= 5


# Others at the same time


@pytest.mark.every_major
def test_a_locked_row_is_not_waited_for(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 20)
    with session(table) as writer, writer.transaction():
        writer.execute("UPDATE products SET title = 'changed' WHERE id = 7")
        assert run(table.connect, table.column, Options(passes=2)) == Outcome(19, 1, 0)
    assert table.backlog() == (20, 1, 0)
    assert run(table.connect, table.column) == Outcome(1, 0, 0)
    assert table.wrong() == []


@pytest.mark.every_major
def test_two_runs_share_the_work(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 300)
    before = counters(twin)["texts"]
    outcomes: list[Outcome] = []
    options = Options(workers=2, batch_rows=16)
    threads = [
        threading.Thread(target=lambda: outcomes.append(run(table.connect, table.column, options)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one.embedded for one in outcomes) == 300
    assert counters(twin)["texts"] == before + 300
    assert table.wrong() == []
    assert connection.execute("SELECT count(*) FROM azpg.claims").fetchone() == (0,)


def leave(table: Table, worker: uuid.UUID, expires: str) -> None:
    """A claim in the midst of a pass over 100 rows, of a worker that has had it from many others."""
    table.connection.execute("UPDATE azpg.columns SET pass = 1, position = '{40}'")
    table.connection.execute(
        "INSERT INTO azpg.claims (column_id, low, high, worker, expires, attempts)"
        " VALUES (%s, '{20}', '{40}', %s, now() + %s::interval, 8)",
        [table.column.id, worker, expires],
    )


def check_taken_over(table: Table) -> None:
    """The rest of the pass was gone on with, and all of the table looked at once more."""
    connection = table.connection
    assert connection.execute("SELECT count(*) FROM azpg.claims").fetchone() == (0,)
    assert connection.execute("SELECT pass, position FROM azpg.columns").fetchone() == (2, None)
    assert table.wrong() == []


def test_an_entry_from_before_the_clock_was_put_back_does_not_wait(
    twin: Instance, connection: Connection
) -> None:
    table = filled(twin, connection, 3, mode=Sync.QUEUE)
    put_back = sql.SQL(
        "UPDATE {} SET since = since + interval '1 hour', not_before = not_before + interval '1 hour'"
    )
    connection.execute(put_back.format(table.column.queue))
    assert waiting(connection, table.column) == Waiting(3, 0.0)
    stop = threading.Event()
    worker = threading.Thread(target=drain, args=[table.connect, table.column], kwargs={"stop": stop})
    worker.start()
    try:
        assert wait_for(lambda: table.backlog() == (3, 0, 0), timeout=60)
    finally:
        stop.set()
        worker.join()


@pytest.mark.every_major
def test_a_claim_ends_with_its_session(twin: Instance, connection: Connection) -> None:
    """However long it was to last, and however many workers have had it. Until then it is said whose it is."""
    table = filled(twin, connection, 100)
    said: list[str] = []
    outcomes: list[Outcome] = []
    stop = threading.Event()

    def work() -> None:
        outcomes.append(run(table.connect, table.column, Options(batch_rows=10), say=said.append, stop=stop))

    worker = threading.Thread(target=work)
    try:
        with session(table) as holder:
            leave(table, claims.attend(holder), "50 s")
            worker.start()
            assert wait_for(lambda: bool(said), timeout=60)
            assert outcomes == []
            pid = holder.info.backend_pid
        worker.join(60)
    finally:
        stop.set()
        worker.join()
    assert outcomes == [Outcome(100, 0, 0)]
    assert len(said) == 1
    assert said[0].startswith(
        f"Waiting for rows of public.products.embedding that another run is at (session {pid}, since "
    )
    check_taken_over(table)


@pytest.mark.parametrize("expires", ["-1 s", "500 ms", "1 hour"])  # the last: the clock was put back
def test_a_claim_whose_worker_is_silent_expires(twin: Instance, connection: Connection, expires: str) -> None:
    table = filled(twin, connection, 100)
    with session(table) as holder:
        leave(table, claims.attend(holder), expires)
        assert run(table.connect, table.column, Options(batch_rows=10)) == Outcome(100, 0, 0)
    check_taken_over(table)


def test_a_run_that_is_stopped_gives_its_claims_back(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 300)
    stop = threading.Event()
    done = run(table.connect, table.column, Options(batch_rows=10), tell=lambda one: stop.set(), stop=stop)
    assert 0 < done.embedded < 300
    assert connection.execute("SELECT count(*) FROM azpg.claims WHERE expires > now()").fetchone() == (0,)
    rest = run(table.connect, table.column)
    assert done.embedded + rest.embedded == 300
    assert table.wrong() == []


def test_a_speed_limit(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 40)
    told: list[Progress] = []
    run(table.connect, table.column, Options(batch_rows=5, max_rate=40), tell=told.append)
    assert table.wrong() == []
    assert told[-1].embedded == 40
    assert told[-1].seconds > 0.6, "the last batch begins when those before are paid for"


# What is found before the first row


def refused(table: Table, column: VectorColumn, error: type[Exception] = PlanRefused) -> str:
    with pytest.raises(error) as caught:
        run(table.connect, column)
    return str(caught.value)


def test_a_model_that_is_not_there(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 3)
    said = refused(table, replace(table.column, model="nothing:v1"))
    assert said.startswith("public.products.embedding needs the model 'nothing:v1', and the server says: ")
    assert said.endswith("Register it, for which `azpg apply` takes the spec's `models`.")


def test_a_model_of_other_dimensions(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 3)
    assert refused(table, replace(table.column, dimensions=768)) == (
        f"public.products.embedding is for 768 dimensions, and '{URI}' makes 384: "
        "change one of them in the spec, and run `azpg apply`."
    )


def test_a_column_of_other_dimensions(twin: Instance, connection: Connection) -> None:
    table = filled(
        twin,
        connection,
        3,
        create="CREATE TABLE products (id bigint PRIMARY KEY, title text, embedding vector(3))",
    )
    assert refused(table, table.column) == (
        f"public.products.embedding is a vector(3), and '{URI}' makes 384 dimensions: change the column's type or the model."
    )


def test_another_model_of_the_same_name(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 3)
    assert refused(table, replace(table.column, fingerprint=bytes(32))) == (
        f"public.products.embedding was set up for another '{URI}' than the server has now, whose vectors differ: "
        "run `azpg apply`, which vectorizes it anew."
    )


def test_a_column_that_is_gone(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 3)
    table.execute("ALTER TABLE products DROP COLUMN embedding")
    assert (
        refused(table, table.column)
        == "public.products.embedding is not there: run `azpg apply`, which makes it."
    )


def test_a_column_that_is_vectorized_otherwise_by_now(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 3)
    kept(connection, replace(table.column, prefix="passage: "))
    assert refused(table, table.column, LedgerMismatch) == (
        "public.products.embedding is no longer vectorized as it was when this began: run it again, for what the ledger has now."
    )
    assert table.connection.execute("SELECT count(embedding) FROM products").fetchone() == (0,)


def test_what_fails_for_every_row_stops_the_run(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 3)
    table.execute("ALTER TABLE products DROP title")
    said = refused(table, table.column, PlanRefused)
    assert said.startswith("public.products.embedding: the function of its text in schema azpg")
    assert "run `azpg apply`" in said


def test_a_generated_column_is_postgresqls_own_work(twin: Instance, connection: Connection) -> None:
    table = filled(twin, connection, 3, mode=Sync.GENERATED)
    assert run(table.connect, table.column) == Outcome(0, 0, 0)
    assert table.backlog() == (3, 0, 0)
