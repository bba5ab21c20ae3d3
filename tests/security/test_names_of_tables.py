"""Seventh attack: what triggers and workers look up by a name that somebody else can give to something else."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.column import Sync
from azpg_provision.errors import AzpgError, PlanRefused
from azpg_provision.vectorize import Options, drain, run
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
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


def test_a_schema_of_a_role_that_could_not_act_as_the_owner(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """She could rename it back and forth between a look at the table's owner and the statement after it."""
    table = vectorized(twin, connection, create=SHOP, schema="shop", mode=Sync.NONE)
    connection.execute("INSERT INTO shop.products VALUES (1, 'one')")
    connection.execute(sql.SQL("GRANT {0} TO CURRENT_USER; ALTER SCHEMA shop OWNER TO {0}").format(eve.role))
    with pytest.raises(PlanRefused, match="has changed since then: run `azpg apply`"):
        run(table.connect, table.column, Options(workers=1, attempts=1))
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD + "  tables:\n  - name: products\n    schema: shop\n    embeddings:\n"
        f"    - {{column: embedding, source: [title], model: {URI}, sync: none}}\n",
        init=None,
    )
    with pytest.raises(
        PlanRefused, match=f"the schema 'shop' belongs to the role '{eve.name}', which could rename it"
    ):
        site.apply(spec)
