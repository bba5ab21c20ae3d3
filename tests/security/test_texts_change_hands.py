"""Seventh attack: what a text depends on changes hands after it was applied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger
from azpg_provision.column import Sync
from azpg_provision.errors import ApplyFailed, AzpgError
from azpg_provision.vectorize import Options, drain, run
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import connector
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
OPTIONS = Options(workers=1, attempts=1)


@pytest.fixture
def eve(twin: Instance, connection: Connection, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        connection.execute(
            sql.SQL(
                "GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop; GRANT USAGE, CREATE ON SCHEMA shop TO {0}"
            ).format(one.role)
        )
        yield one


NORM = (
    "CREATE OR REPLACE FUNCTION shop.norm(text) RETURNS text LANGUAGE plpgsql STABLE"
    " SET search_path = pg_catalog, pg_temp AS $$ BEGIN {0} RETURN $1; END $$"
)
# STABLE says that it writes nothing; whoever owns it says otherwise.
GIVEN: dict[str, tuple[str, str, str]] = {
    "a function": (
        NORM.format(""),
        "ALTER FUNCTION shop.norm(text) OWNER TO {0}",
        NORM.replace("STABLE", "VOLATILE"),
    ),
    "a schema": (
        "CREATE SCHEMA util; CREATE FUNCTION util.tidy(text) RETURNS text LANGUAGE sql RETURN $1;"
        + NORM.replace("pg_catalog, pg_temp", "pg_catalog, util, pg_temp")
        .replace("RETURN $1", "RETURN tidy($1::varchar)")
        .replace("{0}", ""),
        "GRANT USAGE, CREATE ON SCHEMA util TO {0}",
        NORM.replace("STABLE", "VOLATILE").replace(
            "OR REPLACE FUNCTION shop.norm(text)", "FUNCTION util.tidy(varchar)"
        ),
    ),
    "a type": (
        "CREATE FUNCTION shop.fine(text) RETURNS bool LANGUAGE sql RETURN true;"
        "CREATE DOMAIN shop.tidy AS text CHECK (shop.fine(VALUE));"
        "CREATE FUNCTION shop.norm(text) RETURNS text LANGUAGE sql STABLE RETURN $1::shop.tidy::text",
        "ALTER DOMAIN shop.tidy OWNER TO {0}",
        "CREATE FUNCTION shop.evil(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {0} RETURN true; END $$;"
        "ALTER DOMAIN shop.tidy ADD CONSTRAINT evil CHECK (shop.evil(VALUE))",
    ),
}


@pytest.mark.parametrize("by", ["a writer", "azpg", "plan"])
@pytest.mark.parametrize("what", GIVEN)
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_what_a_text_depends_on_goes_to_another_role(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    tmp_path: Path,
    mode: Sync,
    what: str,
    by: str,
) -> None:
    """As a trigger's function, or an index's, that does: its new owner lets it do anything, as the table's owner."""
    made, given, replaced = GIVEN[what]
    connection.execute(made + "; CREATE TABLE shop.products (id bigint PRIMARY KEY, title text)")
    connection.execute("INSERT INTO shop.products VALUES (1, 'one')")
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD + "  tables:\n  - name: products\n    schema: shop\n    embeddings:\n"
        f"    - {{column: embedding, expression: shop.norm(title), model: {URI}, sync: {mode.value}}}\n",
        init=None,
    )
    site.apply(spec)
    connection.execute(sql.SQL(given).format(eve.role))
    connection.execute(
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON shop.products TO {}").format(eve.role)
    )
    if by == "plan":
        assert site.plan(spec).changes != ()
        with pytest.raises(ApplyFailed, match="depends on"):
            site.apply(spec)
        return
    with eve.connect(database) as evil:
        evil.execute(replaced.replace("{0}", eve.payload))
        if by == "a writer":
            evil.execute("INSERT INTO shop.products VALUES (2, 'two')")
            evil.execute("UPDATE shop.products SET title = title || '!'")
    if by == "azpg":
        connection.execute(
            "ALTER TABLE shop.products DISABLE TRIGGER USER; UPDATE shop.products SET title = 'new'"
        )
        connection.execute("ALTER TABLE shop.products ENABLE TRIGGER USER")
        ((column,),) = [ledger.columns(connection)]
        if mode is Sync.QUEUE:
            connection.execute("INSERT INTO azpg.queue_1 (key_1) VALUES (1)")
        with contextlib.suppress(AzpgError):
            run(connector(twin, database), column, OPTIONS)
        if mode is Sync.QUEUE:
            with contextlib.suppress(AzpgError):
                drain(connector(twin, database), column, OPTIONS, once=True)
    assert not eve.is_admin()


EVIL = "CREATE FUNCTION m.f({0}) RETURNS {1} LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN IF current_user <> '{eve}' THEN PERFORM m.g(); END IF; RETURN {2}; END $$;"
# What eve makes in schema m, what of it the admin takes over, and the text.
UNSEEN = {
    "a negator": (
        "CREATE FUNCTION m.eq(text, text) RETURNS bool LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp"
        " AS 'BEGIN RETURN $1 = $2; END';"
        + EVIL.replace("{0}", "text, text").replace("{1}", "bool").replace("{2}", "$1 <> $2")
        + "CREATE OPERATOR m.=== (FUNCTION = m.eq, LEFTARG = text, RIGHTARG = text, NEGATOR = OPERATOR(m.!==));"
        "CREATE OPERATOR m.!== (FUNCTION = m.f, LEFTARG = text, RIGHTARG = text, NEGATOR = OPERATOR(m.===));",
        "ALTER FUNCTION m.eq(text, text) OWNER TO CURRENT_USER; ALTER OPERATOR m.=== (text, text) OWNER TO CURRENT_USER",
        "CASE WHEN NOT (title OPERATOR(m.===) 'x') THEN title ELSE 'none' END",
    ),
    "an index of a table that is read": (
        "CREATE TABLE m.kinds (name text); INSERT INTO m.kinds VALUES ('garden');"
        + EVIL.replace("{0}", "text").replace("{1}", "text").replace("{2}", "$1")
        + "CREATE INDEX ON m.kinds ((m.f('x') || name));",
        "ALTER TABLE m.kinds OWNER TO CURRENT_USER;"
        "CREATE FUNCTION shop.kind() RETURNS text LANGUAGE sql STABLE RETURN (SELECT max(name) FROM m.kinds WHERE name > '')",
        "title || shop.kind()",
    ),
    "a table that inherits from one that is read": (
        "CREATE TABLE m.kinds (name text); CREATE TABLE m.more () INHERITS (m.kinds); INSERT INTO m.more VALUES ('garden');"
        + EVIL.replace("{0}", "text").replace("{1}", "text").replace("{2}", "$1")
        + "CREATE INDEX ON m.more ((m.f('x') || name));",
        "ALTER TABLE m.kinds OWNER TO CURRENT_USER;"
        "CREATE FUNCTION shop.kind() RETURNS text LANGUAGE sql STABLE RETURN (SELECT max(name) FROM m.kinds WHERE name > '')",
        "title || shop.kind()",
    ),
}


@pytest.mark.parametrize("what", UNSEEN)
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE, Sync.NONE])
def test_what_a_text_calls_is_seen(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    tmp_path: Path,
    mode: Sync,
    what: str,
) -> None:
    """PostgreSQL computes the negator in the place of NOT, and what is constant in an index of a table that it reads."""
    made, given, text = UNSEEN[what]
    connection.execute(sql.SQL("CREATE SCHEMA m; GRANT USAGE, CREATE ON SCHEMA m TO {}").format(eve.role))
    with eve.connect(database) as evil:
        evil.execute(f"CREATE FUNCTION m.g() RETURNS void LANGUAGE plpgsql AS $$ BEGIN {eve.payload} END $$")
        evil.execute(made.replace("{eve}", eve.name))
    connection.execute(given + "; CREATE TABLE shop.products (id bigint PRIMARY KEY, title text)")
    connection.execute("INSERT INTO shop.products VALUES (1, 'one')")
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD + "  tables:\n  - name: products\n    schema: shop\n    embeddings:\n"
        f'    - {{column: embedding, expression: "{text}", model: {URI}, sync: {mode.value}}}\n',
        init=None,
    )
    with pytest.raises(ApplyFailed, match=r"depends on the (function m\.f|operator m\.!==|relation m\.more)"):
        site.apply(spec)
    assert not eve.is_admin()
