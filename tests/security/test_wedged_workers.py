"""Seventh attack: an owner of one table stops azpg for everybody else's."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.vectorize import Options, drain
from azpg_provision.vectorize.serve import Service
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import Table, digest, kept, vectorized
from tests.security.roles import Attacker, attacker
from tests.security.test_owners import owned

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
PATIENCE = 20.0
"""Seconds, of which the others' rows need less than one."""


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


def others(twin: Instance, connection: Connection) -> Table:
    return vectorized(
        twin,
        connection,
        create="CREATE TABLE public.others (id bigint PRIMARY KEY, title text, embedding vector(384))",
        table="others",
        mode=Sync.QUEUE,
    )


@contextlib.contextmanager
def served(table: Table, database: str, workers: int) -> Iterator[None]:
    """While a worker is there for all columns of the database."""
    stop = threading.Event()
    service = Service(
        {database: table.connect},
        Options(workers=workers),
        once=False,
        tell=lambda _: None,
        complain=print,
        turn=2.0,
        finish=1.0,
    )
    running = threading.Thread(target=service.run, args=[stop])
    running.start()
    try:
        yield
    finally:
        stop.set()
        running.join()


# In the worker's session: a permanent trigger that calls a temporary function, which goes with it.
TEMPORARY = """
CREATE TABLE shop.held (n int);
CREATE SEQUENCE shop.tries;
CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF session_user <> current_user THEN
        EXECUTE 'CREATE OR REPLACE FUNCTION pg_temp.f() RETURNS trigger LANGUAGE plpgsql AS $f$ BEGIN RETURN NULL; END $f$';
        EXECUTE format('CREATE OR REPLACE TRIGGER %I AFTER INSERT ON shop.held EXECUTE FUNCTION pg_temp.f()',
                       't' || pg_backend_pid());
        PERFORM nextval('shop.tries');
    END IF;
    RETURN NEW; END $$;
CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH STATEMENT EXECUTE FUNCTION shop.trap();
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_temporary_cannot_be_dropped(
    twin: Instance, connection: Connection, database: str, eve: Attacker, workers: int
) -> None:
    """A session is made anew for the next column by DISCARD TEMP, which waits for a lock that she never gives back."""
    owned(twin, connection, eve, Sync.QUEUE)
    other = others(twin, connection)
    tried = "SELECT is_called FROM shop.tries"
    with eve.connect(database) as evil, eve.connect(database) as holding:
        evil.execute(TEMPORARY)
        holding.execute("BEGIN; LOCK TABLE shop.held IN ACCESS SHARE MODE")
        with served(other, database, workers):
            evil.execute("INSERT INTO shop.products VALUES (1, 'row')")
            assert wait_for(lambda: evil.execute(tried).fetchone() == (True,), timeout=PATIENCE)
            connection.execute("INSERT INTO public.others SELECT n, 'other' FROM generate_series(1, 9) AS n")
            is_served = wait_for(lambda: other.backlog() == (9, 0, 0), timeout=PATIENCE)
            waits = connection.execute(
                "SELECT left(query, 80) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s",
                [database],
            ).fetchall()
            holding.execute("COMMIT")
        assert is_served, waits


@pytest.mark.parametrize(("workers", "columns"), [(1, 1), (4, 4)])
def test_a_trigger_that_never_ends(
    twin: Instance, connection: Connection, database: str, eve: Attacker, workers: int, columns: int
) -> None:
    """Of one table, whose columns have a connection each for as long as she likes."""
    hers = owned(twin, connection, eve, Sync.QUEUE)
    for number in range(1, columns):
        connection.execute(f"ALTER TABLE shop.products ADD embedding{number} public.vector(384)")
        kept(
            connection,
            VectorColumn(
                id=0,
                schema="shop",
                table="products",
                column=f"embedding{number}",
                keys=(Key("id", "bigint"),),
                text="title",
                model=URI,
                prefix="",
                dimensions=384,
                fingerprint=digest(connection),
                sync=Sync.QUEUE,
            ),
        )
    other = others(twin, connection)
    with eve.connect(database) as evil:
        evil.execute(
            "CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM set_config('client_connection_check_interval', '0', false);"
            " PERFORM pg_sleep(1000000); RETURN NEW; END $$;"
            "CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH STATEMENT EXECUTE FUNCTION shop.trap();"
            "INSERT INTO shop.products SELECT n, 'row ' || n FROM generate_series(1, 3) AS n"
        )
    asleep = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = %s"
    with served(hers, database, workers):
        assert wait_for(
            lambda: connection.execute(asleep, [database]).fetchone() == (workers,), timeout=PATIENCE
        )
        connection.execute("INSERT INTO public.others SELECT n, 'other' FROM generate_series(1, 9) AS n")
        assert wait_for(lambda: other.backlog() == (9, 0, 0), timeout=PATIENCE)
    assert wait_for(
        lambda: connection.execute(asleep, [database]).fetchone() <= (workers,), timeout=PATIENCE
    ), "those whose turn is over have ended in the server, too"


def test_notifications_fill_the_workers_memory(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """LISTEN is done by her trigger in the worker's session, whose client keeps all that comes, and reads none."""
    hers = owned(twin, connection, eve, Sync.QUEUE)
    sessions: list[Connection] = []

    def connect() -> Connection:
        sessions.append(hers.connect())
        return sessions[-1]

    stop = threading.Event()
    with eve.connect(database) as evil, ThreadPoolExecutor(1) as pool:
        evil.execute(
            "CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN IF session_user <> current_user THEN EXECUTE 'LISTEN flood'; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH STATEMENT EXECUTE FUNCTION shop.trap();"
            "INSERT INTO shop.products VALUES (1, 'one')"
        )
        running = pool.submit(drain, connect, hers.column, Options(workers=1), stop=stop)
        try:
            assert wait_for(lambda: hers.backlog()[1] == 0, timeout=PATIENCE)
            for number in range(10):
                evil.execute(
                    "SELECT pg_notify('flood', n || ' ' || %s || repeat('x', 7900)) FROM generate_series(1, 1000) AS n",
                    [number],
                )
            kept_ = wait_for(
                lambda: sum(len(one._notifies_backlog or ()) for one in sessions) == 10_000, timeout=PATIENCE
            )
        finally:
            stop.set()
            with contextlib.suppress(Exception):
                running.result()
    assert not kept_, "80 MB after a second or two, and there is no end"


def test_whoever_may_connect_holds_up_no_apply(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """What those lock who grant on schema azpg was an advisory lock once, which is anybody's to have."""
    connection.execute(
        sql.SQL(
            "GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop AUTHORIZATION {0};"
            "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text);"
            "ALTER TABLE shop.products OWNER TO {0}"
        ).format(eve.role)
    )
    site = Site(twin, tmp_path, name=database)
    head = HEAD + "  tables:\n  - name: products\n    schema: shop\n    embeddings:\n"
    spec = site.spec(f"{head}    - {{column: embedding, source: [title], model: {URI}}}\n", init=None)
    site.apply(spec)
    spec = site.spec(f"{head}    - {{column: another, source: [title], model: {URI}}}\n", init=None)
    with eve.connect(database) as holding:
        holding.execute("SELECT pg_advisory_lock(%s)", [int.from_bytes(b"azpggrnt", "big")])
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            holding.execute("BEGIN; LOCK TABLE azpg.owned IN ACCESS SHARE MODE")
        site.apply(spec)
