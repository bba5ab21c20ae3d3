"""plan, drift and preflight change nothing on the server, whatever a spec says and a database holds."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import live
from azpg_provision.live.immutable import prepare_if_fit, tree
from azpg_provision.plan.plan import Plan
from azpg_provision.plan.sampling import rows_per_second
from azpg_provision.target.local import LocalTarget
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, PRODUCTS, Site

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]


@pytest.fixture
def site(twin: Instance, database: str, tmp_path: Path) -> Site:
    """A database with `products`, and what azpg needs."""
    site = Site(twin, tmp_path, database)
    with site.connect() as connection:
        connection.execute(PRODUCTS.encode())
    return site


@pytest.fixture
def outsider(twin: Instance, database: str) -> Iterator[str]:
    """An ordinary role."""
    name = f"out_{database}"
    with twin.superuser() as connection:
        connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(name)))
    yield name
    with twin.superuser() as connection:
        owner = connection.execute("SELECT current_user").fetchone()
        assert owner is not None
        connection.execute(
            sql.SQL("ALTER DATABASE {} OWNER TO {}").format(
                sql.Identifier(database), sql.Identifier(owner[0])
            )
        )
        with twin.superuser(database) as inside:
            inside.execute(sql.SQL("DROP OWNED BY {} CASCADE").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


def planned(site: Site, expression: str, sync: str = "generated") -> Plan:
    text = f"""\
  tables:
  - name: products
    embeddings:
    - column: embedding
      expression: {json.dumps(expression)}
      model: {URI}
      sync: {sync}
"""
    return site.plan(site.spec(HEAD + text, init=None))


# A transaction that reads only


@pytest.mark.parametrize(
    "statement",
    [
        "SET TRANSACTION READ WRITE",
        "SET transaction_read_only = off",
        "SELECT pg_catalog.set_config('transaction_read_only', 'off', true)",
        "SELECT pg_catalog.set_config('transaction_read_only', 'off', false)",
        "SAVEPOINT a; SET TRANSACTION READ WRITE",
        "SAVEPOINT a; SELECT 1; ROLLBACK TO a; SET transaction_read_only = off",
        "SET default_transaction_read_only = off; SET transaction_read_only = DEFAULT",
        "RESET transaction_read_only",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "RESET ALL",
    ],
)
def test_nothing_in_a_look_makes_it_one_that_writes(site: Site, statement: str) -> None:
    with site.connect() as connection:
        connection.execute("CREATE SEQUENCE public.counter")
    for write in (
        "INSERT INTO public.products VALUES (1000)",
        "SELECT nextval('public.counter')",
        "CREATE TABLE t ()",
    ):
        with live.read_only(site.target, site.name) as connection:
            try:
                connection.execute(statement)  # which does something else, or is refused
            except psycopg.Error:
                continue
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                connection.execute(write.encode())


def test_a_look_is_read_only_where_writing_is_what_the_connection_asks_for(site: Site) -> None:
    with site.target.connect(site.name) as connection:
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("off",)
    with live.read_only(site.target, site.name) as connection:
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("on",)
        assert connection.execute("SHOW search_path").fetchone() == ("pg_catalog,pg_temp",)


# What an expression of a spec calls


@pytest.mark.parametrize("kind", ["generated", "trigger", "queue", "none"])
@pytest.mark.parametrize(
    "expression",
    [
        "CASE WHEN current_setting('default_transaction_read_only')='off' THEN lo_from_bytea(0,'x')::text "
        "ELSE set_config('default_transaction_read_only','off',false) END || title",
        "azure_local_ai.set_setting('intra_op_parallelism','1')::text || title",
        "pg_notify('azpg_test', title)::text || title",
        "nextval('public.counter')::text || title",
        "pg_terminate_backend(pg_backend_pid())::text || title",
        "set_config('azpg.x', title, false)",
        "pg_advisory_lock(id)::text || title",
        "public.told(title)",
        "public.told('constant') || title",
    ],
)
def test_plan_runs_no_expression_that_does_something(site: Site, expression: str, kind: str) -> None:
    with site.connect() as connection:
        connection.execute("CREATE SEQUENCE public.counter")
        # Says that it is what it is not; an error is how it would be seen.
        connection.execute(
            "CREATE FUNCTION public.told(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS "
            "$$ BEGIN PERFORM pg_catalog.pg_notify('azpg_test', 'told'); RETURN $1; END $$"
        )
        connection.execute("LISTEN azpg_test")
        before = seen(connection)
        planned(site, expression, kind)
        planned(site, expression, kind)
        assert seen(connection) == before
        assert list(connection.notifies(timeout=0.2)) == []


def seen(connection: Connection) -> tuple[Any, ...]:
    row = connection.execute(
        "SELECT (SELECT count(*) FROM pg_largeobject_metadata), azure_local_ai.get_setting(), "
        "(SELECT last_value::text || is_called FROM public.counter)"
    ).fetchone()
    assert row is not None
    return row


# One expression: two texts with || between them. Where a backslash quotes, the first goes on to the quote that
# opens the second, which then is code.
BREAKING_OUT = (
    r"'\' || ') FROM public.products; COMMIT; CREATE TABLE public.broken_out (); PREPARE one AS SELECT (1 --'"
)


@pytest.mark.parametrize("kind", ["generated", "trigger"])
def test_no_setting_of_a_database_lets_a_text_end_elsewhere(site: Site, twin: Instance, kind: str) -> None:
    with twin.superuser() as superuser:
        superuser.execute(
            sql.SQL("ALTER DATABASE {} SET standard_conforming_strings = off").format(
                sql.Identifier(site.name)
            )
        )
    planned(site, BREAKING_OUT, kind)
    with site.connect() as connection:
        assert connection.execute("SELECT to_regclass('public.broken_out')").fetchone() == (None,)
        # Nor does one that something has set meanwhile.
    with live.read_only(site.target, site.name) as session:
        session.execute("SET standard_conforming_strings = off")
        trouble = live.text_trouble(session, "public", "products", BREAKING_OUT, ["pg_catalog", "public"])
        assert trouble == ""  # no literal is in what is parsed
        assert session.execute("SHOW transaction_read_only").fetchone() == ("on",)
    with site.target.connect(site.name) as session:
        session.execute("SET standard_conforming_strings = off")
        rate = rows_per_second(
            session,
            relation=("public", "products"),
            text=BREAKING_OUT,
            prefix="",
            model=URI,
            path=["pg_catalog"],
        )
        assert rate is not None  # of two strings, which are no part of what is parsed
        assert session.execute("SELECT to_regclass('public.broken_out')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("expression", "fit"),
    [
        ("title", True),
        ("title || ': ' || coalesce(description, '')", True),
        ("upper(title) || id::text", True),
        ("CASE WHEN id > 3 THEN title ELSE left(description, 20) END", True),
        ("CASE id WHEN 3 THEN title END", True),
        ("nullif(greatest(title, description), '')", True),
        ("substr(title, 1, 3) || (ARRAY[title, description])[1]", True),
        ('title COLLATE "C"', True),
        ("CASE WHEN title IN ('a', 'b') AND title IS DISTINCT FROM 'c' THEN 'd' ELSE title END", True),
        ("concat_ws(' ', title, description)", False),
        ("now()::text || title", False),
        ("current_date::text || title", False),
        ("current_user || title", False),
        ("DATE '2026-01-01'::text", False),  # printed as DateStyle says
        ("random()::text", False),
        ("'products'::regclass::text", False),
        ("public.mine(title)", False),
        ("('{x}'::public.checked[])[1]", False),
        ("CASE WHEN public.lists(title) = '{x}' THEN title END", False),
        ("(title OPERATOR(public.~~~~) title)", False),
        ("title::public.checked", False),
        ("(ARRAY[title]::public.checked[])[1]", False),
        ("('{' || title || '}')::public.checked[]::text", False),
        ("ROW(title, description)::text", False),
    ],
)
def test_only_what_is_immutable_and_postgresqls_own_is_sampled(
    site: Site, expression: str, fit: bool
) -> None:
    with site.connect() as connection:
        connection.execute(
            "CREATE FUNCTION public.mine(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'it ran'; END $$"
        )
        connection.execute(
            "CREATE FUNCTION public.plus(text, text) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT mine($1) $$"
        )
        connection.execute(
            "CREATE OPERATOR public.~~~~ (FUNCTION = public.plus, LEFTARG = text, RIGHTARG = text)"
        )
        connection.execute("CREATE DOMAIN public.checked AS text CHECK (public.mine(VALUE) IS NOT NULL)")
        connection.execute(
            "CREATE FUNCTION public.lists(text) RETURNS public.checked[] IMMUTABLE LANGUAGE sql AS $$ SELECT NULL::public.checked[] $$"
        )
    with live.read_only(site.target, site.name) as connection, connection.transaction(force_rollback=True):
        connection.execute("SET LOCAL search_path = pg_catalog, public")
        statement = sql.SQL("one AS SELECT ({})::pg_catalog.text FROM public.products").format(
            sql.SQL(expression)
        )
        if "'{x}'" in expression:  # which PostgreSQL reads when it parses
            with pytest.raises(psycopg.Error, match="it ran"):
                connection.execute(sql.SQL("PREPARE {}").format(statement))
        else:
            assert prepare_if_fit(connection, "one", statement) is fit
            assert connection.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (int(fit),)
    with site.target.connect(site.name) as connection:
        rate = rows_per_second(
            connection,
            relation=("public", "products"),
            text=expression,
            prefix="",
            model=URI,
            path=["pg_catalog", "public", "pg_temp"],
        )
        assert (rate is not None) is fit
        assert live.text_trouble(connection, "public", "products", expression, ["pg_catalog", "public"]) == ""


def test_a_name_in_a_tree_hides_nothing() -> None:
    """Fields are told by a colon, and a name may begin with one."""
    found = tree(
        r"{QUERY :commandType 1 :targetList ({TARGETENTRY :expr {FUNCEXPR :funcid 7} :resname :expr :x <>})}"
    )
    assert found is not None
    assert [list(node.numbers(("funcid",))) for node in found.nodes() if node.tag == "FUNCEXPR"] == [[7]]
    assert tree("{QUERY :a (1 2)") is None
    assert tree("{QUERY} {QUERY}") is None
    assert tree("") is None


# What a database holds


def test_a_database_owner_runs_nothing_by_a_plan(site: Site, outsider: str, twin: Instance) -> None:
    """What fits better than PostgreSQL's own, in public: an aggregate whose call would grant."""
    name = sql.Identifier(outsider)
    with twin.superuser(site.name) as connection:
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(sql.Identifier(site.name), name))
        connection.execute(
            sql.SQL(
                "ALTER SCHEMA public OWNER TO pgadmin; GRANT CREATE ON SCHEMA public TO {0}; SET ROLE {0}"
            ).format(name)
        )
        hostile(connection)
    site.plan(site.spec(HEAD, init=None))
    assert planned(site, "title").changes


def test_no_object_of_public_is_called_by_a_look(site: Site, twin: Instance) -> None:
    """Not even where public comes before pg_catalog, and whatever is there fits exactly."""
    with twin.superuser(site.name) as connection:
        hostile(connection)
        connection.execute("SET search_path = public, pg_catalog")
        with pytest.raises(psycopg.Error, match="it ran"):
            connection.execute("SELECT count(*) FROM pg_class WHERE relname = 'a'::name")

    class Misled(LocalTarget):
        """A target whose sessions look in public first, as after a call that has set that."""

        def connect(self, database: str = "postgres", *, autocommit: bool = True) -> Connection:
            connection = super().connect(database, autocommit=autocommit)
            connection.execute("SELECT pg_catalog.set_config('search_path', 'public, pg_catalog', false)")
            return connection

    spec = site.spec(
        HEAD + "  tables: [{name: products, embeddings: [{column: e, source: [title], "
        f"model: {URI}}}]}}]\n",
        init=None,
    )
    found = live.read(Misled(twin), spec)
    assert found.databases[site.name].tables["public", "products"].rows == 23


def hostile(connection: Connection) -> None:
    """Makes, in public, functions and operators by the names of PostgreSQL's own that raise when they run."""
    connection.execute(
        """
        DO $$
        DECLARE one record;
        BEGIN
            FOR one IN
                SELECT p.proname, pg_catalog.pg_get_function_identity_arguments(p.oid) AS arguments,
                       pg_catalog.format_type(p.prorettype, NULL) AS result, p.proretset
                FROM pg_catalog.pg_proc AS p
                WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f'
                  AND p.proname IN ('current_setting', 'format_type', 'pg_get_expr', 'pg_has_role', 'to_regclass',
                                    'obj_description', 'has_schema_privilege', 'has_table_privilege', 'unnest',
                                    'pg_table_size', 'row_security_active', 'set_config', 'current_database')
                  AND NOT p.proargtypes::oid[] && ARRAY['internal'::regtype, 'cstring'::regtype]::oid[]
                  AND p.prorettype NOT IN ('anyelement'::regtype, 'trigger'::regtype)
            LOOP
                EXECUTE pg_catalog.format(
                    'CREATE FUNCTION public.%I(%s) RETURNS %s%s LANGUAGE plpgsql AS $f$ BEGIN RAISE EXCEPTION ''it ran''; END $f$',
                    one.proname, one.arguments, CASE WHEN one.proretset THEN 'SETOF ' ELSE '' END, one.result);
            END LOOP;
        END $$
        """
    )
    connection.execute(
        "CREATE FUNCTION public.step(state bigint, value name) RETURNS bigint LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'it ran'; END $$"
    )
    for aggregate in ("jsonb_agg", "count", "array_agg"):
        connection.execute(
            f"CREATE AGGREGATE public.{aggregate}(name) (SFUNC = public.step, STYPE = bigint, INITCOND = '0')".encode()
        )
    pairs = [
        ("name", "name"),
        ("name", "text"),
        ("text", "text"),
        ("oid", "oid"),
        ("smallint", "integer"),
        ("integer", "integer"),
        ('"char"', '"char"'),
        ("smallint", "smallint"),
        ("text", "name"),
    ]
    for number, (left, right) in enumerate(pairs):
        connection.execute(
            (
                f"CREATE FUNCTION public.compare_{number}({left}, {right}) RETURNS boolean LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'it ran'; END $$"
            ).encode()
        )
        for operator in ("=", "<>", ">", "<"):
            connection.execute(
                f"CREATE OPERATOR public.{operator} (FUNCTION = public.compare_{number}, LEFTARG = {left}, "
                f"RIGHTARG = {right})".encode()
            )
