"""A column's text is looked up once, by who applies it: nobody changes later what it calls."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger, sync
from azpg_provision.column import Key, Sync
from azpg_provision.errors import ApplyFailed
from azpg_provision.vectorize import drain, run
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import FUNCTIONS_OF_ALL, Table, vectorized
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
MODES = [Sync.TRIGGER, Sync.QUEUE]
# Each fits better, or as well, than what PostgreSQL has by that name.
SQUATTERS = """
CREATE FUNCTION shop.convert_to(text, text) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN ''; END $$;
CREATE FUNCTION shop.hash_array_extended(real[], integer) RETURNS bigint LANGUAGE plpgsql
    AS $$ BEGIN {payload} RETURN 0; END $$;
CREATE FUNCTION shop.sha256(text) RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN ''; END $$;
CREATE FUNCTION shop.octet_length(varchar) RETURNS integer LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN 1; END $$;
CREATE FUNCTION shop.upper(varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN $1; END $$;
CREATE FUNCTION shop.norm(varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN $1; END $$;
CREATE FUNCTION shop.same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql
    AS $$ BEGIN {payload} RETURN $1::text OPERATOR(pg_catalog.=) $2::text; END $$;
CREATE FUNCTION shop.alike(real[], real[]) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN false; END $$;
CREATE FUNCTION shop.joined(text, varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN $1; END $$;
CREATE FUNCTION shop.less(bigint, numeric) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN true; END $$;
CREATE FUNCTION shop.over(numeric, integer) RETURNS numeric LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN 0; END $$;
CREATE FUNCTION shop.step(text[], text) RETURNS text[] LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN $1; END $$;
CREATE OPERATOR shop.= (FUNCTION = shop.same, LEFTARG = varchar, RIGHTARG = varchar);
CREATE OPERATOR shop.= (FUNCTION = shop.alike, LEFTARG = real[], RIGHTARG = real[]);
CREATE OPERATOR shop.|| (FUNCTION = shop.joined, LEFTARG = text, RIGHTARG = varchar);
CREATE OPERATOR shop.<= (FUNCTION = shop.less, LEFTARG = bigint, RIGHTARG = numeric);
CREATE OPERATOR shop./ (FUNCTION = shop.over, LEFTARG = numeric, RIGHTARG = integer);
CREATE AGGREGATE shop.array_agg(text) (SFUNC = shop.step, STYPE = text[], INITCOND = '{{}}');
"""
SHOP = """
CREATE SCHEMA shop;
CREATE FUNCTION shop.norm(text) RETURNS text LANGUAGE sql IMMUTABLE RETURN lower($1);
CREATE TABLE shop.products (code varchar(20) PRIMARY KEY, title varchar(100), embedding vector(384))
"""


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


@pytest.mark.parametrize("mode", MODES)
def test_better_matches_that_are_made_later_are_not_called(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync
) -> None:
    """Review B3 c: whoever may create in the table's schema waits for a write, a worker, a plan."""
    table = vectorized(
        twin,
        connection,
        create=SHOP,
        schema="shop",
        keys=(Key("code", "character varying(20)"),),
        text="shop.norm(title) || upper(title)",
        mode=mode,
    )
    connection.execute(
        sql.SQL(
            "GRANT USAGE, CREATE ON SCHEMA shop TO {0}; GRANT SELECT, INSERT, UPDATE, DELETE ON shop.products TO {0}"
        ).format(eve.role)
    )
    with eve.connect(database) as evil:
        evil.execute(SQUATTERS.format(payload=eve.payload))
        for statement in (
            "INSERT INTO shop.products VALUES ('a', 'Eins'), ('b', 'Zwei'), ('c', 'Drei')",
            "UPDATE shop.products SET title = title || '!'",
            "UPDATE shop.products SET code = code || '2', embedding = NULL",
            "DELETE FROM shop.products WHERE code = 'c2'",
        ):
            evil.execute("SET search_path = pg_catalog, public")
            evil.execute(statement)
            assert not eve.is_admin(), statement
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
        assert not eve.is_admin()
    table.execute("UPDATE azpg.state_1 SET hash = ''")
    run(table.connect, table.column)
    assert not eve.is_admin()
    assert table.backlog() == (2, 0, 0)
    assert not eve.is_admin()
    connection.execute("SET search_path = pg_catalog, public")
    assert table.wrong() == []
    assert sync.installed(connection, table.column)


EVIL: dict[str, tuple[str, str]] = {
    "a function": ("shop.norm2(title)", "the function shop.norm2"),
    "a better match": ("norm(title)", "the function shop.norm"),
    "an operator": ("(title OPERATOR(shop.+) title)::text", "the function shop.plus|the operator shop"),
    "a cast": ("strange::text", "the function shop.spell|the type shop.strange"),
    "a domain": ("title::shop.odd::text", "the function shop.fine|the type shop.odd"),
    "a condition as soon as it is read": (
        "'{x}'::shop.odd[]::text || title",
        "the function shop.fine|the type shop.odd",
    ),
}


@pytest.mark.parametrize("mode", [*MODES, Sync.NONE])
@pytest.mark.parametrize("what", EVIL)
def test_what_others_own_is_refused(
    twin: Instance, connection: Connection, database: str, eve: Attacker, what: str, mode: Sync
) -> None:
    text, said = EVIL[what]
    connection.execute(SHOP)
    connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA shop TO {}").format(eve.role))
    with eve.connect(database) as evil:
        evil.execute(
            f"""
            CREATE FUNCTION shop.norm2(varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN {eve.payload} RETURN $1; END $$;
            CREATE FUNCTION shop.norm(varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN {eve.payload} RETURN $1; END $$;
            CREATE FUNCTION shop.plus(varchar, varchar) RETURNS text LANGUAGE sql AS 'SELECT $1';
            CREATE OPERATOR shop.+ (FUNCTION = shop.plus, LEFTARG = varchar, RIGHTARG = varchar);
            CREATE TYPE shop.strange AS (a text);
            CREATE FUNCTION shop.spell(shop.strange) RETURNS text LANGUAGE plpgsql
                AS $$ BEGIN {eve.payload} RETURN 'x'; END $$;
            CREATE CAST (shop.strange AS text) WITH FUNCTION shop.spell(shop.strange);
            CREATE FUNCTION shop.fine(text) RETURNS boolean LANGUAGE plpgsql
                AS $$ BEGIN {eve.payload} RETURN true; END $$;
            CREATE DOMAIN shop.odd AS varchar CHECK (shop.fine(VALUE));
            """
        )
    connection.execute("ALTER TABLE shop.products ADD strange shop.strange")
    with pytest.raises(ApplyFailed, match=f"({said}).* belongs to the role '{eve.name}'"):
        vectorized(
            twin,
            connection,
            create="SELECT",
            schema="shop",
            keys=(Key("code", "character varying(20)"),),
            text=text,
            mode=mode,
        )
    assert not eve.is_admin()
    assert connection.execute(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'azpg'::regnamespace ORDER BY 1"
    ).fetchall() == [(name,) for name in FUNCTIONS_OF_ALL]


def test_what_the_owner_and_the_admin_made_is_taken(twin: Instance, connection: Connection) -> None:
    connection.execute(SHOP + "; CREATE DOMAIN shop.odd AS varchar CHECK (length(value) < 100)")
    table = vectorized(
        twin,
        connection,
        create="INSERT INTO shop.products VALUES ('a', 'ONE')",
        schema="shop",
        keys=(Key("code", "character varying(20)"),),
        text="shop.norm(title::shop.odd)",
        mode=Sync.QUEUE,
    )
    run(table.connect, table.column)
    assert table.wrong() == []


def test_a_text_costs_no_call(twin: Instance, connection: Connection) -> None:
    """PostgreSQL puts the body in the place of the call."""
    table = vectorized(twin, connection, text="upper(title) || id::text", prefix="passage: ")
    query = sql.SQL("EXPLAIN (VERBOSE, COSTS OFF) SELECT {} FROM products").format(
        table.column.text_in(sql.Identifier("products"))
    )
    plan = "\n".join(line for (line,) in connection.execute(query))
    assert "text_1" not in plan
    assert "upper(" in plan


RELATIONS = {
    "a view": ("CREATE VIEW mal.v AS SELECT 'x'::text AS name", "relation mal.v"),
    "a table": ("CREATE TABLE mal.v (name text)", "relation mal.v"),
    "behind a view": (
        "CREATE TABLE mal.t (name text); GRANT SELECT ON mal.t TO PUBLIC",
        "relation mal.t",
    ),
    "behind a policy": (
        "CREATE FUNCTION mal.f() RETURNS boolean LANGUAGE sql RETURN true",
        r"function mal.f\(\)",
    ),
}


@pytest.mark.parametrize("what", RELATIONS)
def test_a_text_reads_no_relation_of_others(
    twin: Instance, connection: Connection, database: str, eve: Attacker, what: str
) -> None:
    made, said = RELATIONS[what]
    connection.execute(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(database), eve.role)
    )
    with eve.connect(database) as evil:
        evil.execute("CREATE SCHEMA mal")
        evil.execute(sql.SQL(made))
        evil.execute(
            "GRANT USAGE ON SCHEMA mal TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA mal TO PUBLIC"
        )
    if what == "behind a view":
        connection.execute("CREATE VIEW public.v AS SELECT name FROM mal.t")
    if what == "behind a policy":
        connection.execute(
            "CREATE TABLE public.v (name text); ALTER TABLE public.v ENABLE ROW LEVEL SECURITY;"
            "CREATE POLICY p ON public.v USING (mal.f())"
        )
    relation = "public.v" if what.startswith("behind") else "mal.v"
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION public.norm(text) RETURNS text LANGUAGE sql STABLE RETURN $1 || (SELECT name FROM {})"
        ).format(sql.SQL(relation))
    )
    with pytest.raises(ApplyFailed, match=f"{said}, which belongs to the role '{eve.name}'"):
        vectorized(twin, connection, text="norm(title)")


LOOSE = {
    "a string": ("LANGUAGE sql STABLE AS 'SELECT name FROM kinds LIMIT 1'", False),
    "PL/pgSQL": (
        "LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN (SELECT name FROM kinds LIMIT 1); END $$",
        False,
    ),
    "temporary tables first": (
        "LANGUAGE sql STABLE SET search_path = shop AS 'SELECT name FROM kinds LIMIT 1'",
        False,
    ),
    "a schema where others create": (
        "LANGUAGE sql STABLE SET search_path = shop, open, pg_temp AS 'SELECT name FROM kinds LIMIT 1'",
        False,
    ),
    "a schema that is not there": (
        "LANGUAGE sql STABLE SET search_path = shop, gone, pg_temp AS 'SELECT name FROM kinds LIMIT 1'",
        False,
    ),
    "temporary tables last": (
        """LANGUAGE sql STABLE SET search_path = pg_catalog, "shop", pg_temp
           AS 'SELECT name FROM kinds LIMIT 1'""",
        True,
    ),
    "PostgreSQL's own only": ("LANGUAGE sql IMMUTABLE AS $$ SELECT upper($1)::varchar(9) || '!' $$", True),
    "a type that may be temporary": ("LANGUAGE sql STABLE AS 'SELECT $1::kinds::text'", False),
    "a path beside it": ("LANGUAGE sql STABLE SET search_path = open AS 'SELECT upper($1)'", False),
    "SQL in a text": (
        "LANGUAGE sql AS $$ SELECT query_to_xml('TABLE kinds', true, true, '')::text $$",
        False,
    ),
    "a configuration in a text": (
        "LANGUAGE sql IMMUTABLE AS $$ SELECT to_tsvector('shop.cfg', $1)::text $$",
        False,
    ),
    "a dictionary in a text": ("LANGUAGE sql AS $$ SELECT ts_lexize('shop.dict', $1)::text $$", False),
    "a collation in a text": ("LANGUAGE sql IMMUTABLE AS $$ SELECT lower($1 COLLATE shop.plain) $$", False),
    "PostgreSQL's own collation": (
        """LANGUAGE sql IMMUTABLE AS $$ SELECT upper($1 COLLATE pg_catalog."C") $$""",
        True,
    ),
    "a configuration by its type": (
        "LANGUAGE sql AS $$ SELECT 'shop.cfg'::regconfig::text $$",
        False,
    ),
    "several statements": ("LANGUAGE sql AS 'SELECT 1; SELECT upper($1)'", False),
    "bound": ("LANGUAGE sql STABLE BEGIN ATOMIC SELECT name FROM shop.kinds LIMIT 1; END", True),
    "bound, with SQL in a text": (
        "LANGUAGE sql STABLE RETURN query_to_xml('TABLE kinds', true, true, '')::text",
        False,
    ),
    "what a setting of the writer's changes": ("LANGUAGE sql STABLE AS $$ SELECT $1 || '\\x' $$", False),
    "bound, with one that is not": ("LANGUAGE sql STABLE RETURN shop.inner()", False),
    "a domain's condition": ("LANGUAGE sql STABLE RETURN $1::shop.checked", False),
}


def test_a_text_runs_no_sql_of_its_own(twin: Instance, connection: Connection) -> None:
    with pytest.raises(ApplyFailed, match=r"calls query_to_xml\(\), which runs a text as SQL"):
        vectorized(twin, connection, text="query_to_xml('TABLE kinds', true, true, '')::text")


def test_a_text_finds_no_type_by_its_name(twin: Instance, connection: Connection) -> None:
    """A writer could have made a domain of that name, with a condition that runs as the table's owner."""
    with pytest.raises(ApplyFailed, match=r"calls pg_input_is_valid\(\), which runs a text"):
        vectorized(twin, connection, text="title || pg_input_is_valid(title, 'kind')::text")


# What is made, the text, and what is refused; nothing for what is taken.
UNSEEN = {
    "an operator": (
        "CREATE OPERATOR shop.## (FUNCTION = pg_catalog.ts_rewrite, LEFTARG = tsquery, RIGHTARG = text)",
        "title || (plainto_tsquery('simple', title) OPERATOR(shop.##) 'SELECT a, b FROM kinds')::text",
        r"the function (pg_catalog\.)?ts_rewrite\(.*\), which runs a text as SQL",
    ),
    "a type by its name": (
        "CREATE FUNCTION shop.kind(text) RETURNS text LANGUAGE sql STABLE RETURN pg_input_is_valid($1, 'kind')::text",
        "shop.kind(title)",
        r"the function shop.kind\(text\), which looks names up whenever it runs",
    ),
    "an operator in a function": (
        "CREATE OPERATOR shop.## (FUNCTION = pg_catalog.ts_rewrite, LEFTARG = tsquery, RIGHTARG = text);"
        "CREATE FUNCTION shop.kind(text) RETURNS text LANGUAGE sql STABLE"
        " RETURN (plainto_tsquery('simple', $1) OPERATOR(shop.##) 'SELECT a, b FROM kinds')::text",
        "shop.kind(title)",
        r"the function (pg_catalog\.)?ts_rewrite\(.*\), which runs a text as SQL",
    ),
    "an aggregate": (
        "CREATE AGGREGATE shop.rewritten(text) (SFUNC = pg_catalog.ts_rewrite, STYPE = tsquery, INITCOND = 'a');"
        "CREATE FUNCTION shop.kind(text) RETURNS text LANGUAGE sql STABLE RETURN (SELECT shop.rewritten($1)::text)",
        "shop.kind(title)",
        r"the function (pg_catalog\.)?ts_rewrite\(.*\), which runs a text as SQL",
    ),
    "a view": (
        "CREATE VIEW shop.v AS SELECT query_to_xml('TABLE kinds', true, true, '')::text AS name;"
        "CREATE FUNCTION shop.kind(text) RETURNS text LANGUAGE sql STABLE RETURN (SELECT name FROM shop.v)",
        "title || shop.kind(title)",
        "the relation shop.v, which runs a text as SQL",
    ),
    "a policy": (
        "CREATE TABLE shop.v (name text); ALTER TABLE shop.v ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY p ON shop.v USING (query_to_xml('TABLE kinds', true, true, '') IS NOT NULL);"
        "CREATE FUNCTION shop.kind(text) RETURNS text LANGUAGE sql STABLE RETURN (SELECT name FROM shop.v)",
        "title || shop.kind(title)",
        "the relation shop.v, which runs a text as SQL",
    ),
    "an argument's default": (
        "CREATE FUNCTION shop.kind(text, other xml DEFAULT query_to_xml('TABLE kinds', true, true, ''))"
        " RETURNS text LANGUAGE sql STABLE RETURN $1 || other::text",
        "shop.kind(title)",
        "the function shop.kind.*, which runs a text as SQL",
    ),
    "a plain one's default": (
        "CREATE FUNCTION shop.kind(text, other xml DEFAULT query_to_xml('TABLE kinds', true, true, ''))"
        " RETURNS text LANGUAGE sql STABLE AS 'SELECT upper($1)'",
        "shop.kind(title)",
        "the function shop.kind.*, which runs a text as SQL",
    ),
    "a domain's condition": (
        "CREATE DOMAIN shop.checked AS text CHECK (query_to_xml(VALUE, true, true, '') IS NOT NULL)",
        "(title::shop.checked)::text",
        "the type shop.checked, which runs a text as SQL",
    ),
    "an aggregate of the owner's": (
        "CREATE AGGREGATE shop.longest(text) (SFUNC = pg_catalog.text_larger, STYPE = text);"
        "CREATE FUNCTION shop.kind(text) RETURNS text LANGUAGE sql STABLE RETURN (SELECT shop.longest($1))",
        "shop.kind(title)",
        "",
    ),
}


@pytest.mark.parametrize("what", UNSEEN)
def test_what_runs_a_text_as_sql_is_found_however_it_is_called(
    twin: Instance, connection: Connection, what: str
) -> None:
    made, text, said = UNSEEN[what]
    connection.execute(SHOP)
    connection.execute("CREATE TABLE shop.kinds (name text)")
    connection.execute(made)

    def apply() -> Table:
        return vectorized(
            twin,
            connection,
            create="SELECT",
            schema="shop",
            keys=(Key("code", "character varying(20)"),),
            text=text,
            mode=Sync.QUEUE,
        )

    if said:
        with pytest.raises(ApplyFailed, match=said):
            apply()
    else:
        assert sync.installed(connection, apply().column)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", LOOSE)
def test_a_writers_temporary_table_is_not_read_with_the_owners_rights(
    twin: Instance, connection: Connection, database: str, eve: Attacker, what: str, mode: Sync
) -> None:
    """A function with a body of text finds names when it runs; views and types of a writer's come first."""
    body, taken = LOOSE[what]
    connection.execute(SHOP)
    connection.execute(
        sql.SQL(
            "SET LOCAL check_function_bodies = off;"
            "CREATE SCHEMA open; GRANT CREATE, USAGE ON SCHEMA open TO {0};"
            "CREATE TABLE shop.kinds (name text); INSERT INTO shop.kinds VALUES ('kind');"
            "CREATE FUNCTION shop.inner() RETURNS text LANGUAGE sql STABLE AS 'SELECT name FROM kinds LIMIT 1';"
            "CREATE FUNCTION shop.known(text) RETURNS boolean LANGUAGE sql AS 'SELECT $1 IN (SELECT $1 FROM kinds)';"
            "CREATE DOMAIN shop.checked AS text CHECK (shop.known(VALUE));"
            "CREATE FUNCTION shop.kind(text) RETURNS text "
        ).format(eve.role)
        + sql.SQL(body)
    )
    connection.execute(
        sql.SQL(
            "GRANT USAGE ON SCHEMA shop TO {0};"
            "GRANT SELECT, INSERT, UPDATE, DELETE ON shop.products TO {0}; GRANT SELECT ON shop.kinds TO {0}"
        ).format(eve.role)
    )

    def made() -> Table:
        return vectorized(
            twin,
            connection,
            create="SELECT",
            schema="shop",
            keys=(Key("code", "character varying(20)"),),
            mode=mode,
            text="title || shop.kind(title)",
        )

    if not taken:
        with pytest.raises(ApplyFailed, match="looks names up whenever it runs") as refused:
            made()
        assert "SET search_path" in str(refused.value)
        return
    table = made()
    with eve.connect(database) as evil:
        evil.execute(
            f"""
            CREATE FUNCTION pg_temp.spring() RETURNS text LANGUAGE plpgsql AS $$ BEGIN {eve.payload} RETURN 'x'; END $$;
            CREATE VIEW pg_temp.kinds AS SELECT pg_temp.spring() AS name;
            INSERT INTO shop.products (code, title) VALUES ('a', 'ten'), ('b', 'eleven');
            UPDATE shop.products SET title = title || '!'
            """
        )
    assert not eve.is_admin()
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    assert table.wrong() == []


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("upper(title) || id::text", "s"),
        ("title || lastval()", "u"),
        ("shop.norm(title)", "u"),
        ("title", "s"),
    ],
)
def test_rows_are_looked_at_in_parallel_where_a_text_allows_it(
    twin: Instance, connection: Connection, text: str, safe: str
) -> None:
    connection.execute("CREATE SCHEMA shop")
    connection.execute("CREATE FUNCTION shop.norm(text) RETURNS text LANGUAGE sql STABLE RETURN lower($1)")
    vectorized(twin, connection, text=text)
    query = "SELECT proparallel::text FROM pg_proc WHERE proname = 'text_1'"
    assert connection.execute(query).fetchone() == (safe,)


def test_the_default_privileges_of_an_admin_open_no_function(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """Review B3 d: with EXECUTE on a trigger function a role hangs it on a table of its own types."""
    for what in ("EXECUTE ON FUNCTIONS", "USAGE ON SCHEMAS", "ALL ON TABLES"):
        connection.execute(sql.SQL("ALTER DEFAULT PRIVILEGES GRANT {} TO {}").format(sql.SQL(what), eve.role))
    table = vectorized(twin, connection, mode=Sync.TRIGGER)
    assert sync.installed(connection, table.column)
    for function in ("azpg.embed_1()", "azpg.note_1()", "azpg.clear_1()", "azpg.text_1(text)"):
        query = "SELECT has_function_privilege(%s, %s, 'EXECUTE')"
        assert connection.execute(query, [eve.name, function]).fetchone() == (False,)
    connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION azpg.embed_1() TO {}").format(eve.role))
    assert not sync.installed(connection, table.column)
    connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(eve.role))
    sync.install(connection, table.column)
    with eve.connect(database) as evil:
        evil.execute("CREATE TABLE public.own (id bigint, title text, embedding vector(384))")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            evil.execute("CREATE TRIGGER t BEFORE INSERT ON own FOR EACH ROW EXECUTE FUNCTION azpg.embed_1()")
    assert not eve.is_admin()


def test_a_used_column_goes_and_changes_as_before(twin: Instance, connection: Connection) -> None:
    """The function takes columns, not the row: nothing of the table depends on it."""
    table = vectorized(twin, connection, mode=Sync.TRIGGER)
    table.execute("INSERT INTO products VALUES (1, 'one')")
    table.execute("ALTER TABLE products ALTER title TYPE varchar(50)")
    assert sync.bound(connection, table.column)
    table.execute("ALTER TABLE products ADD other integer; ALTER TABLE products ALTER title TYPE text")
    table.execute("ALTER TABLE products DROP title; ALTER TABLE products ADD title integer DEFAULT 1")
    assert not sync.bound(connection, table.column)
    table.execute("INSERT INTO products VALUES (2, NULL)")
    changed = ledger.register(connection, replace(table.column, text="title::text"))
    sync.install(connection, changed)
    assert sync.bound(connection, changed)
    run(table.connect, changed)
    assert replace(table, column=changed).wrong() == []
    table.execute("DROP TABLE products")


@pytest.mark.parametrize("mode", MODES)
def test_a_session_that_has_its_triggers_planned_goes_on(
    twin: Instance, connection: Connection, mode: Sync
) -> None:
    """Whatever becomes of the columns that the text is made of, its writes do not fail."""
    table = vectorized(twin, connection, mode=mode)
    for statement in (
        "INSERT INTO products VALUES (1, 'one'), (2, 'two')",
        "UPDATE products SET title = title",
        "ALTER TABLE products ALTER title TYPE varchar(50)",
        "UPDATE products SET title = title",
        "UPDATE products SET title = title || '!' WHERE id = 1",
        "ALTER TABLE products RENAME title TO name",
        "UPDATE products SET name = name",
        "UPDATE products SET name = name || '!' WHERE id = 2",
        "INSERT INTO products VALUES (3, 'three')",
        "ALTER TABLE products RENAME name TO title",
        "UPDATE products SET title = title || '!'",
        "DELETE FROM products WHERE id = 3",
    ):
        table.execute(statement)
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    run(table.connect, table.column)
    assert table.wrong() == []


SEARCH = """
CREATE TEXT SEARCH DICTIONARY m.dict (TEMPLATE = pg_catalog.simple);
CREATE TEXT SEARCH CONFIGURATION m.cfg (COPY = pg_catalog.simple);
CREATE COLLATION m.plain (provider = libc, locale = 'C');
"""
# What the admin makes of it, the text, and what is said.
HERS: dict[str, tuple[str, str, str]] = {
    "a configuration": ("", "to_tsvector('m.cfg'::regconfig, title)::text", "configuration m.cfg"),
    "its name": ("", "to_tsvector('m.cfg', title)::text", "configuration m.cfg"),
    "a dictionary": ("", "(ts_lexize('m.dict', title))[1]", "dictionary m.dict"),
    "a dictionary of a configuration": (
        "CREATE TEXT SEARCH CONFIGURATION shop.cfg (COPY = pg_catalog.simple);"
        "ALTER TEXT SEARCH CONFIGURATION shop.cfg ALTER MAPPING REPLACE simple WITH m.dict",
        "to_tsvector('shop.cfg', title)::text",
        "dictionary m.dict",
    ),
    "in a function": (
        "CREATE FUNCTION shop.words(text) RETURNS text LANGUAGE sql IMMUTABLE"
        " RETURN to_tsvector('m.cfg', $1)::text",
        "shop.words(title)",
        "configuration m.cfg",
    ),
    "a collation": ("", "lower(title COLLATE m.plain)", "collation m.plain"),
    "a column's collation": (
        "ALTER TABLE shop.products ADD name text COLLATE m.plain",
        "lower(name)",
        "collation m.plain",
    ),
    "a domain's collation": (
        "CREATE DOMAIN shop.named AS text COLLATE m.plain; ALTER TABLE shop.products ADD name shop.named",
        "lower(name)",
        "collation m.plain",
    ),
}


@pytest.mark.parametrize("mode", [Sync.QUEUE, Sync.GENERATED])
@pytest.mark.parametrize("what", HERS)
def test_how_words_are_found_and_ordered_is_nobody_elses(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    tmp_path: Path,
    what: str,
    mode: Sync,
) -> None:
    """Sixth attack, 8d: who owns a dictionary may change it later, and with it the texts."""
    made, text, said = HERS[what]
    connection.execute(
        sql.SQL("CREATE SCHEMA shop; CREATE SCHEMA m; GRANT USAGE, CREATE ON SCHEMA m TO {}").format(eve.role)
    )
    connection.execute("CREATE TABLE shop.products (id bigint PRIMARY KEY, title text)")
    with eve.connect(database) as evil:
        evil.execute(SEARCH)
    connection.execute(made or "SELECT")
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD + "  tables:\n  - name: products\n    schema: shop\n    embeddings:\n"
        f'    - {{column: embedding, expression: "{text}", model: {URI}, sync: {mode.value}}}\n',
        init=None,
    )
    with pytest.raises(ApplyFailed, match=f"{re.escape(said)}, which belongs to the role '{eve.name}'"):
        site.apply(spec)


@pytest.mark.parametrize("mode", MODES)
def test_a_writers_configuration_finds_no_words(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync
) -> None:
    """The default one is a setting, which a writer can set to its own."""
    connection.execute(
        sql.SQL(
            "CREATE SCHEMA m; GRANT USAGE, CREATE ON SCHEMA m TO {0};"
            "CREATE TABLE products (id bigint PRIMARY KEY, title text, embedding vector(384));"
            "GRANT SELECT, INSERT, UPDATE ON products TO {0}"
        ).format(eve.role)
    )
    table = vectorized(twin, connection, create="SELECT", text="to_tsvector(title)::text", mode=mode)
    with eve.connect(database) as evil:
        evil.execute(SEARCH)
        evil.execute("ALTER TEXT SEARCH CONFIGURATION m.cfg DROP MAPPING FOR asciiword")
        evil.execute("SET default_text_search_config = 'm.cfg'")
        evil.execute("INSERT INTO public.products VALUES (1, 'cats and dogs')")
    if mode is Sync.QUEUE:
        connection.execute("ALTER ROLE CURRENT_USER SET default_text_search_config = 'm.cfg'")
        try:
            drain(table.connect, table.column, once=True)
        finally:
            connection.execute("ALTER ROLE CURRENT_USER RESET default_text_search_config")
    connection.execute("SET default_text_search_config = 'pg_catalog.english'")
    assert table.wrong() == []
    assert table.backlog() == (1, 0, 0)
