"""Seventh attack: what triggers and workers look up by a name that somebody else can give to something else."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.column import Sync
from azpg_provision.errors import AzpgError
from azpg_provision.vectorize import Options, drain, run
from azpg_runtime.postgres.instance import Instance
from tests.integration.vectorized import vectorized
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
SHOP = "CREATE SCHEMA shop; CREATE TABLE shop.products (id bigint PRIMARY KEY, title varchar(100), embedding vector(384))"


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


# What happens to the admin's table, and what the admin or eve does for that.
MOVES = {
    "the table gets another name": ("ALTER TABLE shop.products RENAME TO old", "SELECT", "shop.old"),
    "the table goes into another schema": (
        "CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO {0}; ALTER TABLE shop.products SET SCHEMA other",
        "SELECT",
        "other.products",
    ),
    "the schema's owner renames it": (
        "ALTER SCHEMA shop OWNER TO {0}; GRANT CREATE ON DATABASE {1} TO {0}",
        "ALTER SCHEMA shop RENAME TO before; CREATE SCHEMA shop",
        "before.products",
    ),
}


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_a_view_by_the_tables_former_name(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync, move: str
) -> None:
    """She may create in the table's schema, and write to the table: its triggers read the table by its name of before."""
    table = vectorized(twin, connection, create=SHOP, schema="shop", mode=mode)
    connection.execute("INSERT INTO shop.products VALUES (1, 'one'), (2, 'two')")
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    connection.execute(
        sql.SQL(
            "GRANT {0} TO CURRENT_USER; GRANT USAGE, CREATE ON SCHEMA shop TO {0};"
            "GRANT SELECT, INSERT, UPDATE, DELETE ON shop.products TO {0}"
        ).format(eve.role)
    )
    by_admin, by_eve, place = MOVES[move]
    connection.execute(sql.SQL(by_admin).format(eve.role, sql.Identifier(database)))
    with eve.connect(database) as evil:
        evil.execute(by_eve)
        evil.execute(
            "CREATE FUNCTION shop.f(bigint) RETURNS bigint LANGUAGE plpgsql AS"
            f" $$ BEGIN {eve.payload} RETURN $1; END $$;"
            "CREATE VIEW shop.products AS SELECT shop.f(n) AS id, ''::varchar(100) AS title, NULL::real[] AS embedding"
            " FROM generate_series(1, 9) AS n;"
            "GRANT ALL ON shop.products TO PUBLIC; GRANT USAGE ON SCHEMA shop TO PUBLIC"
        )
        with contextlib.suppress(psycopg.Error):
            evil.execute(f"UPDATE {place} SET id = 3, title = 'three' WHERE id = 1")
            evil.execute(f"DELETE FROM {place}")
    assert not eve.is_admin()


def test_a_function_that_was_left_where_an_owners_trigger_finds_names(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """She might create in public once, as everybody before PostgreSQL 15, and fits better than PostgreSQL's own."""
    table = vectorized(twin, connection, create=SHOP, schema="shop", mode=Sync.NONE)
    connection.execute(
        sql.SQL("GRANT CREATE ON SCHEMA public TO {0}").format(eve.role)
        + sql.SQL(
            "; CREATE FUNCTION shop.slug() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN NEW.title := lower(NEW.title); RETURN NEW; END $$;"
            "CREATE TRIGGER slug BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.slug();"
            "INSERT INTO shop.products VALUES (1, 'one')"
        )
    )
    with eve.connect(database) as evil:
        evil.execute(
            "CREATE FUNCTION public.lower(varchar) RETURNS varchar LANGUAGE plpgsql AS"
            f" $$ BEGIN {eve.payload} RETURN $1; END $$"
        )
    connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM {}").format(eve.role))
    with contextlib.suppress(AzpgError):
        run(table.connect, table.column, Options(workers=1, attempts=1))
    assert not eve.is_admin()


def test_a_schema_that_is_renamed_while_azpg_acts(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """A race that she can run as often as she likes: between act_N's look at the table's owner and its statement."""
    table = vectorized(twin, connection, create=SHOP, schema="shop", mode=Sync.NONE)
    connection.execute(
        sql.SQL(
            "GRANT {0} TO CURRENT_USER; ALTER SCHEMA shop OWNER TO {0}; GRANT CREATE ON DATABASE {1} TO {0};"
            "INSERT INTO shop.products SELECT n, 'row' FROM generate_series(1, 20) AS n"
        ).format(eve.role, sql.Identifier(database))
    )
    with eve.connect(database) as evil:
        evil.execute(
            "CREATE SCHEMA fake; GRANT USAGE ON SCHEMA fake, shop TO PUBLIC;"
            "CREATE TABLE fake.products (id bigint PRIMARY KEY, title varchar(100), embedding public.vector(384));"
            "INSERT INTO fake.products SELECT n, 'row' FROM generate_series(1, 20) AS n;"
            "GRANT ALL ON fake.products TO PUBLIC;"
            "CREATE FUNCTION fake.t() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {eve.payload} RETURN NEW; END $$;"
            "CREATE TRIGGER t BEFORE UPDATE ON fake.products FOR EACH ROW EXECUTE FUNCTION fake.t()"
        )
        stop = threading.Event()

        def swap() -> None:
            evil.execute(
                "CREATE FUNCTION fake.swap() RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
                " ALTER SCHEMA shop RENAME TO kept; ALTER SCHEMA fake RENAME TO shop; END $$;"
                "CREATE FUNCTION fake.back() RETURNS void LANGUAGE plpgsql AS $$ BEGIN"
                " ALTER SCHEMA shop RENAME TO fake; ALTER SCHEMA kept RENAME TO shop; END $$"
            )
            while not stop.is_set():
                evil.execute("SELECT fake.swap()")
                stop.wait(random.uniform(0, 0.004))
                evil.execute("SELECT shop.back()")
                stop.wait(random.uniform(0, 0.02))

        with ThreadPoolExecutor(1) as pool:
            swapping = pool.submit(swap)
            try:
                for _ in range(400):
                    connection.execute("DELETE FROM azpg.state_1")
                    with contextlib.suppress(AzpgError, psycopg.Error):
                        run(table.connect, table.column, Options(workers=1, attempts=1))
                    if eve.is_admin():
                        break
            finally:
                stop.set()
                swapping.result()
    assert not eve.is_admin()
