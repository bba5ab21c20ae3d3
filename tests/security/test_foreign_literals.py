"""No string of a spec runs what others wrote while PostgreSQL reads it: the conditions of their domains."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_provision import live
from azpg_provision.column import Key, Sync
from azpg_provision.errors import ApplyFailed
from azpg_provision.live.text import typed
from azpg_provision.plan.sampling import rows_per_second
from azpg_provision.target.local import LocalTarget
from azpg_provision.vectorize import run
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.vectorized import FUNCTIONS_OF_ALL, connector, vectorized
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
PATH = ["pg_catalog", "shop", "public", "pg_temp"]
# A condition tells that it runs by an error of the class that says that a text is wrong.
TYPES = """
CREATE FUNCTION m.evil(text) RETURNS bool LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION 'it ran as %', current_user USING ERRCODE = '42000'; END $$;
CREATE DOMAIN m.a AS text CHECK (m.evil(value));
CREATE DOMAIN m.b AS m.a[];
CREATE TYPE m.c AS (part m.a);
CREATE TYPE m.d AS (part m.b, other integer);
CREATE TYPE m.r AS RANGE (subtype = m.a);
CREATE DOMAIN m.e AS m.c;
CREATE FUNCTION m.f(given m.b) RETURNS text LANGUAGE sql RETURN 'x';
CREATE FUNCTION m.several(text, VARIADIC m.b[]) RETURNS text LANGUAGE sql RETURN 'x';
CREATE FUNCTION m.over(integer, m.b) RETURNS text LANGUAGE sql RETURN 'x';
CREATE FUNCTION m.over(boolean, text) RETURNS text LANGUAGE sql RETURN 'x';
CREATE FUNCTION m.absent(text, m.b DEFAULT NULL) RETURNS text LANGUAGE sql RETURN 'x';
CREATE DOMAIN m.twice AS m.a[];
CREATE FUNCTION m.twice(text) RETURNS text LANGUAGE sql RETURN $1;
CREATE OPERATOR m.+ (FUNCTION = m.absent, LEFTARG = text, RIGHTARG = m.b);
"""
TABLE = """
CREATE TABLE shop.products (
    code varchar(20) PRIMARY KEY, title varchar(100), embedding vector(384),
    tags m.b, words m.a[], pair m.c, span m.r, lists m.b[]
)
"""
RUN = {
    "a type called like a function": "m._a('{x}')::text || title",
    "a type called like a function, which there is too": "m.twice('{x}')::text || title",
    "an argument of a domain over an array": "title || m.f('{x}')",
    "by the argument's name": "title || m.f(given => '{x}')",
    "a column": "coalesce(tags, '{none}')::text",
    "a column of an array": "coalesce(words, '{none}')::text",
    "a cast": "'{x}'::m.b::text || title",
    "CAST": "CAST('{x}' AS m.a[])::text || title",
    "a typed literal": "(m.b '{x}')::text || title",
    "an array type's own name": "(m._a '{x}')::text || title",
    "a composite type": "'(x)'::m.c::text || title",
    "a domain over a composite type": "'(x)'::m.e::text || title",
    "a field of a row": "ROW('{x}', 1)::m.d::text || title",
    "an array of a composite type": """'{"(x)"}'::m.c[]::text || title""",
    "a range": "'[x,y]'::m.r::text || title",
    "an array of ranges": """'{"[x,y]"}'::m.r[]::text || title""",
    "comparing a range": "CASE WHEN span = '[x,y]' THEN title END",
    "comparing a row": "CASE WHEN pair = '(x)'::m.c THEN title END",
    "DISTINCT": "CASE WHEN span IS DISTINCT FROM '[x,y]' THEN title END",
    "NOT DISTINCT": "CASE WHEN span IS NOT DISTINCT FROM '[x,y]' THEN title END",
    "IN": "CASE WHEN pair IN ('(x)', '(y)') THEN title END",
    "ANY": """CASE WHEN span = ANY ('{"[x,y]"}') THEN title END""",
    "BETWEEN": "CASE WHEN span BETWEEN '[x,y]' AND '[x,y]' THEN title END",
    "CASE": "CASE span WHEN '[x,y]' THEN title END",
    "a result of CASE": "(CASE WHEN title IS NULL THEN tags ELSE '{x}' END)::text",
    "nullif": "nullif(span, '[x,y]')::text",
    "greatest": "greatest(pair, '(x)')::text",
    "an array": "(ARRAY[span, '[x,y]'])::text",
    "an array that is cast": "ARRAY['{x}']::m.b[]::text || title",
    "a polymorphic function": "array_append(lists, '{x}')::text",
    "many arguments": "m.several(title, NULL, '{x}')",
    "VARIADIC": "m.several(title, VARIADIC '{\"{x}\"}')",
    "an operator": "title OPERATOR(m.+) '{x}'",
    "one function of several": "m.over(1, '{x}')",
    "an argument that may be left out": "m.absent(title, '{x}')",
    "escapes": r"m.f(E'\x7bx}')",
    "dollars": "m.f($q${x}$q$)",
    "Unicode": "m.f(U&'!007bx}' UESCAPE '!')",
    "two lines": "m.f('{x'\n'}')",
    "several, of which one does": "concat_ws(' ', title, 'ü', m.f('{x}'), date '2026-01-01', interval '1' day)",
    "a collation": "m.f('{x}' COLLATE \"C\") || title",
    "JSON": "JSON_VALUE('{}'::jsonb, '$.a' RETURNING m.b DEFAULT '{x}' ON EMPTY)::text || title",
}
SINCE = {"JSON": 170000}


@pytest.fixture
def eve(twin: Instance, connection: Connection, database: str) -> Iterator[Attacker]:
    """Who has types of her own, that are columns of a table of the admin's."""
    with attacker(twin, database) as one:
        connection.execute("CREATE SCHEMA shop; CREATE SCHEMA m")
        connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA m TO {}").format(one.role))
        with one.connect(database) as session:
            session.execute(TYPES)
        connection.execute(TABLE)
        yield one


def runs(connection: Connection, text: str) -> bool:
    """Whether it does where nothing is in its way."""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute("SET LOCAL search_path = pg_catalog, shop, public")
            connection.execute(f"PREPARE one AS SELECT ({text})::text FROM shop.products".encode())
    except psycopg.Error as error:
        return "it ran" in str(error)
    connection.execute("DEALLOCATE one")
    return False


def missing(connection: Connection, what: str) -> bool:
    return connection.info.server_version < SINCE.get(what, 0)


@pytest.mark.parametrize("what", RUN)
def test_a_look_runs_no_condition(
    twin: Instance, connection: Connection, database: str, eve: Attacker, what: str
) -> None:
    if missing(connection, what):
        return
    assert runs(connection, RUN[what])
    connection.execute("INSERT INTO shop.products (code, title) VALUES ('a', 'One')")
    with live.read_only(LocalTarget(twin), database) as session:
        assert live.text_trouble(session, "shop", "products", RUN[what], PATH) == ""
    with connector(twin, database)() as session:
        assert live.text_trouble(session, "shop", "products", RUN[what], PATH) == ""
        rate = rows_per_second(
            session, relation=("shop", "products"), text=RUN[what], prefix="", model=URI, path=PATH
        )
        assert rate is None
        assert session.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)


@pytest.mark.parametrize("what", RUN)
def test_binding_runs_no_condition_of_others(
    twin: Instance, connection: Connection, eve: Attacker, what: str
) -> None:
    if missing(connection, what):
        return
    with pytest.raises(ApplyFailed, match=f"depends on .* belongs to the role '{eve.name}'"):
        vectorized(
            twin,
            connection,
            create="SELECT",
            schema="shop",
            keys=(Key("code", "character varying(20)"),),
            text=RUN[what],
            mode=Sync.QUEUE,
        )


# What is read as the table's owner may run what the owner wrote; and what others may not have written.

OWN = """
CREATE SCHEMA shop;
CREATE FUNCTION shop.fine(text) RETURNS bool LANGUAGE sql IMMUTABLE RETURN length($1) < 100;
CREATE DOMAIN shop.tag AS text CHECK (shop.fine(value));
CREATE DOMAIN shop.tags AS shop.tag[];
CREATE TYPE shop.pair AS (one shop.tag, other integer);
CREATE TYPE shop.kind AS ENUM ('new', 'old');
CREATE TABLE shop.products (
    code varchar(20) PRIMARY KEY, title varchar(100), embedding vector(384),
    tags shop.tags, pair shop.pair, kind shop.kind, days daterange, price numeric, made date, about jsonb
);
INSERT INTO shop.products VALUES ('a', 'One', NULL, '{x}', '(x,1)', 'new', '[2026-01-01,)', 7, '2026-01-01', '{}')
"""
FINE = {
    "types of the owner's": "coalesce(tags, '{none}')::text || ('(x,1)'::shop.pair)::text || kind::text",
    "an enum": "CASE kind WHEN 'new' THEN 'new ' ELSE '' END || title",
    "PostgreSQL's own": "CASE WHEN days @> '2026-02-01'::date AND price > '3' AND made IN ('2026-01-01') THEN 'x' END",
    "arguments of any type": "concat(title, ': ', price, ' ', 'x') || format('%s %s', title, 'y')",
    "what has a syntax of its own": "extract('year' FROM made)::text || trim(both ' ' FROM title) "
    "|| (date '2026-01-01' + interval '1' day)::text || position('a' IN title) || substring(title FROM 'O.*')",
    "calls that are casts": "date('2026-01-01')::text || text('x') || upper('y') || title",
    "every way to write one": r"E'a\'b' || $$c$$ || U&'!0041' UESCAPE '!' || N'd' || 'it''s ü {} %' || title",
    "a configuration": "to_tsvector('english', title)::text",
    "JSON": "(about -> 'a' ->> 'b' || jsonb_build_object('a', title, 'b', 'c')::text)",
    "a row": "ROW('x', title)::text",
    "no text": "title || price",
    "only a column of such a type": "title || tags::text",
}


@pytest.mark.parametrize("mode", [Sync.QUEUE, Sync.NONE])
@pytest.mark.parametrize("what", FINE)
def test_what_the_owner_and_postgresql_have_is_read(
    twin: Instance, connection: Connection, what: str, mode: Sync
) -> None:
    connection.execute(OWN)
    assert live.text_trouble(connection, "shop", "products", FINE[what], PATH) == ""
    table = vectorized(
        twin,
        connection,
        create="SELECT",
        schema="shop",
        keys=(Key("code", "character varying(20)"),),
        text=FINE[what],
        mode=mode,
    )
    run(table.connect, table.column)
    connection.execute("SET search_path = pg_catalog, shop, public")
    assert table.wrong() == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tilte || ': '", 'column "tilte" does not exist'),
        ("concat(title, ': ', tilte)", 'column "tilte" does not exist'),
        ("price > '3' AND gone('x')", "function gone(unknown) does not exist"),
        ("to_tsvector('englisch', title)::text", 'text search configuration "englisch" does not exist'),
        ("'gone'::regclass::text || title", 'relation "gone" does not exist'),
        ("CAST('x' AS gone) || title", 'type "gone" does not exist'),
        ("'three'::integer::text || title", ""),  # which binding says
    ],
)
def test_a_look_says_what_is_wrong_with_a_text(connection: Connection, text: str, said: str) -> None:
    connection.execute(OWN)
    assert live.text_trouble(connection, "shop", "products", text, PATH) == said


def test_what_the_owner_makes_in_schema_azpg_does_not_stay(
    twin: Instance, connection: Connection, database: str
) -> None:
    """Its conditions run while its text is bound, when it may create there."""
    with attacker(twin, database) as eve:
        connection.execute(
            sql.SQL(
                "GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop AUTHORIZATION {0};"
                "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text, embedding vector(384));"
                "ALTER TABLE shop.products OWNER TO {0}"
            ).format(eve.role)
        )
        with eve.connect(database) as session:
            session.execute(
                """
                CREATE FUNCTION shop.squat(text) RETURNS bool LANGUAGE plpgsql
                SET search_path = pg_catalog, pg_temp AS $$ BEGIN
                    IF has_schema_privilege('azpg', 'CREATE') THEN
                        CREATE VIEW azpg.state_196 AS SELECT 1;
                        CREATE DOMAIN azpg.named AS text;
                        CREATE FUNCTION azpg.enqueue_1(integer) RETURNS integer LANGUAGE sql RETURN 1;
                        CREATE FUNCTION azpg.text_2() RETURNS integer LANGUAGE sql RETURN 1;
                    END IF;
                    RETURN true; END $$;
                CREATE DOMAIN shop.a AS text CHECK (shop.squat(value));
                """
            )
        with pytest.raises(
            ApplyFailed, match=f"code of the role '{eve.name}'.*azpg.enqueue_1.* and 2 more"
        ) as said:
            vectorized(
                twin,
                connection,
                create="SELECT",
                schema="shop",
                mode=Sync.QUEUE,
                text="'{x}'::shop.a[]::text",
            )
        assert "azpg apply" in str(said.value)
        assert connection.execute(
            "SELECT proname FROM pg_proc WHERE pronamespace = 'azpg'::regnamespace ORDER BY 1"
        ).fetchall() == [(name,) for name in FUNCTIONS_OF_ALL]
        assert connection.execute(
            "SELECT to_regclass('azpg.state_196'), to_regtype('azpg.named')"
        ).fetchone() == (
            None,
            None,
        )


def test_nor_does_what_the_owner_makes_of_another_columns_functions(
    twin: Instance, connection: Connection, database: str
) -> None:
    """Sixth attack, 1: a worker that has looked at them already would call the new ones, as the admin."""
    with attacker(twin, database) as eve:
        connection.execute(
            sql.SQL("GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop AUTHORIZATION {0}").format(eve.role)
        )
        with eve.connect(database) as session:
            session.execute(
                "CREATE TABLE shop.notes (id bigint PRIMARY KEY, body text, embedding vector(384));"
                "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text, embedding vector(384))"
            )
        vectorized(
            twin, connection, create="SELECT", schema="shop", table="notes", mode=Sync.QUEUE, text="body"
        )
        with eve.connect(database) as session:
            session.execute(
                f"""
                CREATE FUNCTION shop.squat(text) RETURNS bool LANGUAGE plpgsql
                SET search_path = pg_catalog, pg_temp AS $f$ BEGIN
                    IF has_schema_privilege('azpg', 'CREATE') THEN
                        CREATE OR REPLACE FUNCTION azpg.act_1(statement text, answers bool) RETURNS SETOF record
                        LANGUAGE plpgsql SECURITY INVOKER AS $e$ BEGIN {eve.payload} END $e$;
                    END IF;
                    RETURN true; END $f$;
                CREATE DOMAIN shop.a AS text CHECK (shop.squat(value));
                """
            )
        with pytest.raises(
            ApplyFailed, match=r"made what is not azpg's in schema azpg: function azpg\.act_1\("
        ):
            vectorized(
                twin,
                connection,
                create="SELECT",
                schema="shop",
                mode=Sync.QUEUE,
                text="'{x}'::shop.a[]::text",
            )
        connection.execute("DROP SCHEMA shop CASCADE")


def test_nor_does_what_a_role_below_the_owner_makes_there(
    twin: Instance, connection: Connection, database: str
) -> None:
    """Fifth attack, 7: its function, which the owner's calls, has the owner's right to create there."""
    with attacker(twin, database) as eve, attacker(twin, database) as helper:
        connection.execute(
            sql.SQL(
                "GRANT {0} TO CURRENT_USER; GRANT {0} TO {1}; CREATE SCHEMA shop AUTHORIZATION {0};"
                "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text, embedding vector(384));"
                "ALTER TABLE shop.products OWNER TO {0}; GRANT USAGE, CREATE ON SCHEMA shop TO {1}"
            ).format(eve.role, helper.role)
        )
        with helper.connect(database) as session:
            session.execute(
                "CREATE FUNCTION shop.helps() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS"
                " $$ BEGIN CREATE FUNCTION azpg.in_hand(integer) RETURNS integer LANGUAGE sql RETURN 1; END $$"
            )
        with eve.connect(database) as session:
            session.execute(
                "CREATE FUNCTION shop.squat(text) RETURNS bool LANGUAGE plpgsql"
                " SET search_path = pg_catalog, pg_temp AS $$ BEGIN"
                " IF has_schema_privilege('azpg', 'CREATE') THEN EXECUTE 'SELECT shop.helps()'; END IF;"
                " RETURN true; END $$;"
                "CREATE DOMAIN shop.a AS text CHECK (shop.squat(value))"
            )
        with pytest.raises(
            ApplyFailed, match=r"made what is not azpg's in schema azpg: function azpg\.in_hand"
        ):
            vectorized(
                twin,
                connection,
                create="SELECT",
                schema="shop",
                mode=Sync.QUEUE,
                text="'{x}'::shop.a[]::text",
            )
        query = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'azpg'::regnamespace"
        assert connection.execute(query).fetchone() == (len(FUNCTIONS_OF_ALL),)
        connection.execute("DROP SCHEMA shop CASCADE")


def test_what_fits_better_by_now_reads_no_string_as_its_own(connection: Connection) -> None:
    """Fifth attack, 5: somebody who may create in public makes it after the types were judged."""
    connection.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.products (id int, title varchar(50));"
        "INSERT INTO shop.products VALUES (1, 'one');"
        "CREATE FUNCTION shop.f(text, text) RETURNS text LANGUAGE sql IMMUTABLE RETURN $1 || $2;"
        "SET search_path = pg_catalog, shop, public"
    )
    text = "f(title, '{x}') || concat(title, '{y}')"
    relation = sql.Identifier("shop", "products")

    def prepare(statement: sql.Composed) -> None:
        connection.execute(statement)

    with connection.transaction():
        found = typed(connection, relation, text, prepare)
    assert found is not None
    query = sql.SQL("SELECT {} FROM shop.products")
    assert connection.execute(query.format(sql.SQL(text))).fetchall() == [("one{x}one{y}",)]
    connection.execute(
        "CREATE FUNCTION public.evil(text) RETURNS bool LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE EXCEPTION 'it is read'; END $$;"
        "CREATE DOMAIN public.a AS text CHECK (public.evil(VALUE)); CREATE DOMAIN public.b AS public.a[];"
        "CREATE FUNCTION public.f(varchar, public.b) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'theirs';"
        "CREATE FUNCTION public.concat(varchar, public.b) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'theirs'"
    )
    with pytest.raises(errors.RaiseException, match="it is read"):
        connection.execute(query.format(sql.SQL(text)))
    assert connection.execute(query.format(sql.SQL(found.text))).fetchall() == [("one{x}one{y}",)]
