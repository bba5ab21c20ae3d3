"""Seventh attack: casts that a former owner has made for what went to another role."""

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

from azpg_provision import ledger
from azpg_provision.column import Sync
from azpg_provision.errors import AzpgError, PlanRefused
from azpg_provision.index.search import search
from azpg_provision.vectorize import Options, drain, run
from azpg_provision.vectorize.failures import failed
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import connector
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
OPTIONS = Options(workers=1, attempts=1)


@pytest.fixture
def eve(twin: Instance, connection: Connection, database: str) -> Iterator[Attacker]:
    """Who owns the table products in schema shop, and may create there."""
    with attacker(twin, database) as one:
        connection.execute(
            sql.SQL(
                "GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop; CREATE SCHEMA m AUTHORIZATION {0};"
                "GRANT USAGE, CREATE ON SCHEMA shop TO {0}; GRANT USAGE ON SCHEMA azure_local_ai TO {0}"
            ).format(one.role)
        )
        yield one


def spec_of(site: Site, mode: Sync) -> Any:
    return site.spec(
        HEAD + "  tables:\n  - name: products\n    schema: shop\n    embeddings:\n"
        f"    - {{column: embedding, source: [title], model: {URI}, sync: {mode.value}}}\n",
        init=None,
    )


def given_away(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    folder: Path,
    mode: Sync,
    made: str,
    given: str,
    refused: str = "",
) -> None:
    """What eve makes is given to the admin, all but functions; the admin applies, and embeds."""
    with eve.connect(database) as evil:
        evil.execute(made)
    site = Site(twin, folder, name=database)
    spec = spec_of(site, mode)
    connection.execute(given)
    if refused:
        with pytest.raises(PlanRefused, match=refused):
            site.apply(spec)
        return
    site.apply(spec)
    connect = connector(twin, database)
    ((column,),) = [ledger.columns(connection)]
    with contextlib.suppress(AzpgError):
        run(connect, column, OPTIONS)
    if mode is Sync.QUEUE:
        with contextlib.suppress(AzpgError):
            drain(connect, column, OPTIONS, once=True)
    with connect() as one, contextlib.suppress(AzpgError):
        failed(one, column)


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE, Sync.NONE])
def test_a_cast_of_the_tables_rows(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, mode: Sync
) -> None:
    """A row that cannot be written is told by the hash of its text, as which a former owner's function casts it."""
    given_away(
        twin,
        connection,
        database,
        eve,
        tmp_path,
        mode,
        "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text);"
        "INSERT INTO shop.products VALUES (1, 'one'), (2, repeat('long ', 4000000));"
        "CREATE FUNCTION m.f(shop.products) RETURNS text LANGUAGE plpgsql AS"
        f" $$ BEGIN {eve.payload} RETURN 'x'; END $$;"
        "CREATE CAST (shop.products AS text) WITH FUNCTION m.f(shop.products)",
        "ALTER TABLE shop.products OWNER TO CURRENT_USER",
    )
    assert not eve.is_admin()


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE, Sync.NONE])
def test_a_cast_of_the_keys_type(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, mode: Sync
) -> None:
    """A key is told by its text."""
    given_away(
        twin,
        connection,
        database,
        eve,
        tmp_path,
        mode,
        "CREATE TYPE shop.kind AS ENUM ('a', 'b');"
        "CREATE TABLE shop.products (id shop.kind PRIMARY KEY, title text);"
        "INSERT INTO shop.products VALUES ('a', 'one'), ('b', 'two');"
        "CREATE FUNCTION m.f(shop.kind) RETURNS text LANGUAGE plpgsql AS"
        f" $$ BEGIN {eve.payload} RETURN CASE $1 WHEN 'a' THEN 'a' ELSE 'b' END; END $$;"
        "CREATE CAST (shop.kind AS text) WITH FUNCTION m.f(shop.kind)",
        "ALTER TABLE shop.products OWNER TO CURRENT_USER; ALTER TYPE shop.kind OWNER TO CURRENT_USER",
        refused="depends on the function m.f",
    )
    assert not eve.is_admin()


def test_a_cast_of_the_keys_type_to_json(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """By which `azpg search` shows keys: json_build_object calls a cast to json, if there is one."""
    given_away(
        twin,
        connection,
        database,
        eve,
        tmp_path,
        Sync.TRIGGER,
        "CREATE TYPE shop.kind AS ENUM ('a', 'b');"
        "CREATE TABLE shop.products (id shop.kind PRIMARY KEY, title text);"
        "INSERT INTO shop.products VALUES ('a', 'one'), ('b', 'two');"
        "CREATE SEQUENCE m.ran;"
        "CREATE FUNCTION m.f(shop.kind) RETURNS json LANGUAGE plpgsql AS"
        " $$ BEGIN IF pg_has_role(current_user, 'azure_pg_admin', 'MEMBER') THEN PERFORM nextval('m.ran'); END IF;"
        " RETURN '1'; END $$;"
        "GRANT ALL ON m.ran TO PUBLIC; GRANT USAGE ON SCHEMA m TO PUBLIC;"
        "CREATE CAST (shop.kind AS json) WITH FUNCTION m.f(shop.kind)",
        "ALTER TABLE shop.products OWNER TO CURRENT_USER; ALTER TYPE shop.kind OWNER TO CURRENT_USER",
    )
    ((column,),) = [ledger.columns(connection)]
    with connector(twin, database)() as one:
        search(one, column, "one")
    row = connection.execute("SELECT is_called FROM m.ran").fetchone()
    assert row == (False,), (
        "it ran as an admin; what it read it can tell by such a sequence, whatever is rolled back"
    )


BECOMES = {
    "the text": ("ALTER TABLE shop.products ALTER title TYPE m.kind USING title::m.kind", "'2', 'b'"),
    "the key": ("ALTER TABLE shop.products ALTER id TYPE m.kind USING id::m.kind", "'b', 'two'"),
}


def becomes(connection: Connection, database: str, eve: Attacker, what: str) -> None:
    """The admin gives a column a type of eve's, an enum with an implicit cast to text."""
    with eve.connect(database) as evil:
        evil.execute(
            "CREATE TYPE m.kind AS ENUM ('1', 'a', 'b');"
            "CREATE FUNCTION m.f(m.kind) RETURNS text LANGUAGE plpgsql AS"
            " $$ BEGIN IF pg_has_role(current_user, 'azure_pg_admin', 'MEMBER') THEN"
            f" EXECUTE 'GRANT azure_pg_admin TO {eve.name}'; END IF; RETURN 'a'; END $$;"
            "CREATE CAST (m.kind AS text) WITH FUNCTION m.f(m.kind) AS IMPLICIT"
        )
    connection.execute(BECOMES[what][0])
    connection.execute(
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON shop.products TO {}").format(eve.role)
    )
    assert not eve.is_admin()


@pytest.mark.parametrize("what", BECOMES)
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_a_cast_of_what_a_column_became(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    tmp_path: Path,
    mode: Sync,
    what: str,
) -> None:
    """Her implicit cast runs in the admin's trigger."""
    connection.execute(
        "CREATE TABLE shop.products (id text PRIMARY KEY, title text);INSERT INTO shop.products VALUES ('1', 'a')"
    )
    site = Site(twin, tmp_path, name=database)
    site.apply(spec_of(site, mode))
    becomes(connection, database, eve, what)
    with eve.connect(database) as evil, contextlib.suppress(psycopg.Error):
        evil.execute(f"INSERT INTO shop.products VALUES ({BECOMES[what][1]})")
    assert not eve.is_admin()


@pytest.mark.parametrize("what", BECOMES)
def test_a_worker_that_is_there_does_not_cast_what_a_column_became(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, what: str
) -> None:
    """It looks at the types of texts when it begins, and at those of keys that were PostgreSQL's own."""
    connection.execute(
        "CREATE TABLE shop.products (id text PRIMARY KEY, title text);INSERT INTO shop.products VALUES ('1', 'a')"
    )
    site = Site(twin, tmp_path, name=database)
    site.apply(spec_of(site, Sync.QUEUE))
    ((column,),) = [ledger.columns(connection)]
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(
            drain, connector(twin, database), column, Options(workers=1, attempts=1), stop=stop
        )
        try:
            connection.execute("UPDATE shop.products SET title = 'b'")
            assert wait_for(
                lambda: connection.execute("SELECT count(*) FROM azpg.queue_1").fetchone() == (0,), timeout=20
            )
            connection.execute("ALTER TABLE shop.products DISABLE TRIGGER USER")
            becomes(connection, database, eve, what)
            connection.execute("INSERT INTO azpg.queue_1 (key_1) VALUES ('1')")
            wait_for(lambda: running.done() or eve.is_admin(), timeout=10)
        finally:
            stop.set()
            with contextlib.suppress(AzpgError, psycopg.Error):
                running.result()
    assert not eve.is_admin()
