"""Types of others in a table's key: azpg's own tables have them, too, and act with the table's owner's rights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger, sync
from azpg_provision.column import Key, Sync
from azpg_provision.errors import ApplyFailed, LedgerMismatch, PlanRefused, RowsFailed
from azpg_provision.plan.change import Change, Kind
from azpg_provision.vectorize import Options, backlog, drain, run
from azpg_provision.vectorize.connections import Session
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import connector, vectorized
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]

HERS = """
CREATE FUNCTION m.evil(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN true; END $$;
CREATE DOMAIN m.code AS text CHECK (m.evil(VALUE));
CREATE TYPE m.pair AS (one m.code, two integer);
CREATE TYPE m.span AS RANGE (subtype = m.code);
CREATE TYPE m.mood AS ENUM ('a', 'b');
CREATE FUNCTION m.compare(shop.two, shop.two) RETURNS integer LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN {payload} RETURN pg_catalog.btrecordcmp($1, $2); END $$;
CREATE FUNCTION m.equal(shop.two, shop.two) RETURNS bool LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN {payload} RETURN pg_catalog.record_eq($1, $2); END $$;
CREATE OPERATOR m.= (FUNCTION = m.equal, LEFTARG = shop.two, RIGHTARG = shop.two);
CREATE FUNCTION m.hash(shop.two) RETURNS integer LANGUAGE plpgsql IMMUTABLE
    AS $$ BEGIN {payload} RETURN 1; END $$;
CREATE COLLATION m.plain (provider = libc, locale = 'C');
"""
CLASS = "CREATE OPERATOR CLASS shop.twos DEFAULT FOR TYPE shop.two USING "
THEIRS = """
OPERATOR 1 pg_catalog.<(record, record), OPERATOR 2 pg_catalog.<=(record, record),
OPERATOR 4 pg_catalog.>=(record, record), OPERATOR 5 pg_catalog.>(record, record)
"""
# What the admin makes, a superuser, the key's type, and what is said of it.
KEYS: dict[str, tuple[str, str, str, str]] = {
    "a domain": ("", "", "m.code", "the type m.code"),
    "a domain over a domain": ("CREATE DOMAIN shop.code AS m.code", "", "shop.code", "the type m.code"),
    "an array": ("", "", "m.code[]", r"the type m.code(\[\])?"),
    "a domain over an array": (
        "CREATE DOMAIN shop.codes AS m.code[]",
        "",
        "shop.codes",
        r"the type m.code(\[\])?",
    ),
    "a composite type": ("", "", "m.pair", "the type m.(code|pair)"),
    "a part of one": ("CREATE TYPE shop.pair AS (a integer, b m.code)", "", "shop.pair", "the type m.code"),
    "a range": ("", "", "m.span", "the type m.(code|span)"),
    "a range over one": (
        "CREATE TYPE shop.span AS RANGE (subtype = m.code)",
        "",
        "shop.span",
        "the type m.code",
    ),
    "an enum": ("", "", "m.mood", "the type m.mood"),
    "a condition": (
        "CREATE DOMAIN shop.code AS text CHECK (m.evil(VALUE))",
        "",
        "shop.code",
        r"the function m.evil\(text\)",
    ),
    "a function of the operator class": (
        "",
        f"{CLASS} btree AS {THEIRS}, OPERATOR 3 pg_catalog.=(record, record), FUNCTION 1 m.compare(shop.two, shop.two)",
        "shop.two",
        r"the function m.compare\(shop.two,shop.two\)",
    ),
    "an operator of the operator class": (
        "",
        f"{CLASS} btree AS OPERATOR 3 m.=, FUNCTION 1 (shop.two, shop.two) pg_catalog.btrecordcmp(record, record)",
        "shop.two",
        r"the (function m.equal\(shop.two,shop.two\)|operator m.=\(shop.two,shop.two\))",
    ),
    "a function of the class for hashes": (
        "",
        f"{CLASS} hash AS OPERATOR 1 pg_catalog.=(record, record), FUNCTION 1 (shop.two, shop.two) m.hash(shop.two)",
        "shop.two",
        r"the function m.hash\(shop.two\)",
    ),
    "an operator class": (
        "",
        f"{CLASS} btree AS {THEIRS}, OPERATOR 3 pg_catalog.=(record, record),"
        " FUNCTION 1 (shop.two, shop.two) pg_catalog.btrecordcmp(record, record);"
        "ALTER OPERATOR CLASS shop.twos USING btree OWNER TO {eve}",
        "shop.two",
        "the operator class shop.twos",
    ),
    "a collation": ("", "", "text COLLATE m.plain", "the collation m.plain"),
    "a domain's collation": (
        "CREATE DOMAIN shop.code AS text COLLATE m.plain",
        "",
        "shop.code",
        "the collation m.plain",
    ),
}


@pytest.fixture
def eve(twin: Instance, connection: Connection, database: str) -> Iterator[Attacker]:
    """Who has types of her own in a schema m, and may write in schema shop, whose tables are the admin's."""
    with attacker(twin, database) as one:
        connection.execute(
            sql.SQL(
                "CREATE SCHEMA shop; CREATE SCHEMA m; CREATE TYPE shop.two AS (a integer, b integer);"
                "GRANT USAGE, CREATE ON SCHEMA m TO {0}; GRANT USAGE ON SCHEMA shop TO {0}"
            ).format(one.role)
        )
        with one.connect(database) as session:
            session.execute(HERS.format(payload=one.payload))
        yield one


GIVEN = """
GRANT {0} TO CURRENT_USER; GRANT CREATE ON SCHEMA shop TO {0};
ALTER DOMAIN shop.code OWNER TO {0}; REVOKE CREATE ON SCHEMA shop FROM {0}
"""


def table_of(twin: Instance, connection: Connection, database: str, eve: Attacker, what: str) -> str:
    """Makes the table with such a key; returns the key's type."""
    made, superusers, type_, _ = KEYS[what]
    connection.execute(made or "SELECT")
    with twin.superuser(database) as superuser:
        superuser.execute((superusers or "SELECT").replace("{eve}", f'"{eve.name}"'))
    connection.execute(f"CREATE TABLE shop.products (code {type_} PRIMARY KEY, title text)")
    connection.execute(
        sql.SQL("GRANT SELECT, INSERT, UPDATE, DELETE ON shop.products TO {}").format(eve.role)
    )
    return type_.split(" ")[0]


def spec_of(site: Site, mode: Sync, key: str = "") -> Any:
    return site.spec(
        HEAD + f"  tables:\n  - name: products\n    schema: shop\n{key}    embeddings:\n"
        f"    - {{column: embedding, source: [title], model: {URI}, sync: {mode.value}}}\n",
        init=None,
    )


def said_of(what: str, eve: Attacker) -> str:
    return f"the key of .*depends on {KEYS[what][3]}, which belongs to the role '{eve.name}'"


UNUSUAL = ("a function of the operator class", "an operator class")
"""What compares by functions for other types, by which azpg tells no rows apart, whoever owns it."""


@pytest.mark.parametrize("what", KEYS)
def test_plan_and_apply_refuse_a_key_whose_types_others_own(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, what: str
) -> None:
    table_of(twin, connection, database, eve, what)
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, Sync.QUEUE)
    said = "tells rows apart otherwise than = does" if what in UNUSUAL else said_of(what, eve)
    with pytest.raises(PlanRefused, match=said) as refused:
        site.plan(spec)
    assert ("ALTER … OWNER TO" in str(refused.value)) == (what not in UNUSUAL)


def test_no_other_key_stands_in_for_such_a_primary_key(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """Review: a unique index was taken for the primary key where that could not be."""
    table_of(twin, connection, database, eve, "an operator class")
    connection.execute("ALTER TABLE shop.products ADD uid uuid NOT NULL UNIQUE")
    site = Site(twin, tmp_path, name=database)
    with pytest.raises(PlanRefused, match="tells its rows apart: name the columns of a unique one as key"):
        site.plan(spec_of(site, Sync.QUEUE))


@pytest.mark.parametrize("mode", Sync)
@pytest.mark.parametrize("what", ["a domain", "a condition", "a function of the operator class"])
def test_nothing_is_installed_for_such_a_key(
    twin: Instance, connection: Connection, database: str, eve: Attacker, what: str, mode: Sync
) -> None:
    type_ = table_of(twin, connection, database, eve, what)
    connection.execute("ALTER TABLE shop.products ADD embedding vector(384)")
    with pytest.raises(ApplyFailed, match=said_of(what, eve)):
        vectorized(twin, connection, create="SELECT", schema="shop", keys=(Key("code", type_),), mode=mode)
    assert not eve.is_admin()


def test_apply_refuses_what_changed_hands_since_the_plan(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """Before it makes anything of it."""
    connection.execute(
        "CREATE DOMAIN shop.code AS text; CREATE TABLE shop.products (code shop.code PRIMARY KEY, title text)"
    )
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, Sync.TRIGGER)

    def give(change: Change) -> None:
        if change.kind is Kind.COLUMN:
            connection.execute(sql.SQL(GIVEN).format(eve.role))

    with pytest.raises(ApplyFailed, match=f"the type shop.code, which belongs to the role '{eve.name}'"):
        site.apply(spec, begin=give)
    query = "SELECT count(*) FROM pg_class WHERE relnamespace = 'azpg'::regnamespace AND relname ~ '_[0-9]'"
    assert connection.execute(query).fetchone() == (0,)
    connection.execute("ALTER DOMAIN shop.code OWNER TO CURRENT_USER")
    site.apply(spec)
    assert site.plan(spec).changes == ()


OWN = """
CREATE FUNCTION shop.fine(text) RETURNS bool LANGUAGE sql IMMUTABLE RETURN length($1) < 100;
CREATE DOMAIN shop.code AS text COLLATE "C" CHECK (shop.fine(VALUE));
CREATE DOMAIN shop.codes AS shop.code[];
CREATE TYPE shop.pair AS (one shop.code, two integer);
CREATE TYPE shop.span AS RANGE (subtype = shop.code);
CREATE TYPE shop.mood AS ENUM ('a', 'b')
"""
FINE = {
    "a domain": ("shop.code", "'a'"),
    "a domain over an array": ("shop.codes", "'{a,b}'"),
    "an array": ("shop.mood[]", "'{a,b}'"),
    "a composite type": ("shop.pair", "'(a,1)'"),
    "a range": ("shop.span", "'[a,b]'"),
    "an enum": ("shop.mood", "'a'"),
    "PostgreSQL's own": ("int8multirange", "'{[1,2]}'"),
    "a collation": ('text COLLATE "C"', "'a'"),
    "a length": ("varchar(20)", "'a'"),
    "JSON": ("jsonb", """'{"a": 1}'"""),
}


@pytest.mark.parametrize("what", FINE)
def test_a_key_of_types_of_the_owners_and_postgresqls_is_taken(
    twin: Instance, connection: Connection, database: str, tmp_path: Path, what: str
) -> None:
    type_, value = FINE[what]
    connection.execute("CREATE SCHEMA shop;" + OWN)
    with attacker(twin, database) as owner:
        connection.execute(
            sql.SQL(
                "GRANT {0} TO CURRENT_USER; GRANT USAGE, CREATE ON SCHEMA shop TO {0};"
                "CREATE TABLE shop.products (code {1} PRIMARY KEY, title text);"
                "INSERT INTO shop.products VALUES ({2}, 'one'); ALTER TABLE shop.products OWNER TO {0};"
                "ALTER DOMAIN shop.code OWNER TO {0}; ALTER FUNCTION shop.fine OWNER TO {0}"
            ).format(owner.role, sql.SQL(type_), sql.SQL(value))
        )
        site = Site(twin, tmp_path, name=database)
        spec = spec_of(site, Sync.QUEUE)
        site.apply(spec)
        assert site.plan(spec).changes == ()
        assert connection.execute("SELECT count(embedding) FROM shop.products").fetchone() == (1,)


def test_a_condition_finds_nothing_of_a_writers(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """It runs as the owner, where a writer's temporary view comes first."""
    connection.execute(
        "CREATE TABLE shop.kinds (name text);"
        "CREATE FUNCTION shop.known(text) RETURNS bool LANGUAGE sql SET search_path = shop"
        " AS 'SELECT $1 IS NOT NULL OR $1 IN (SELECT name FROM kinds)';"
        "CREATE DOMAIN shop.code AS text CHECK (shop.known(VALUE));"
        "CREATE TABLE shop.products (code shop.code PRIMARY KEY, title text);"
    )
    connection.execute(
        sql.SQL("GRANT SELECT, INSERT, UPDATE ON shop.products, shop.kinds TO {}").format(eve.role)
    )
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, Sync.TRIGGER)
    with pytest.raises(
        PlanRefused, match=r"the function shop.known\(text\), which looks names up"
    ) as refused:
        site.plan(spec)
    assert "SET search_path" in str(refused.value)
    connection.execute("ALTER FUNCTION shop.known SET search_path = shop, pg_temp")
    site.apply(spec)
    with eve.connect(database) as evil:
        evil.execute(
            f"""
            CREATE FUNCTION pg_temp.spring() RETURNS text LANGUAGE plpgsql AS $$ BEGIN {eve.payload} RETURN 'x'; END $$;
            CREATE VIEW pg_temp.kinds AS SELECT pg_temp.spring() AS name;
            INSERT INTO shop.products (code, title) VALUES ('a', 'ten')
            """
        )
    assert not eve.is_admin()


def test_the_spec_names_the_key(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """Only the key counts: azpg keeps nothing of other columns."""
    connection.execute(
        "CREATE TABLE shop.products (id bigint PRIMARY KEY, code m.code UNIQUE NOT NULL, title text)"
    )
    site = Site(twin, tmp_path, name=database)
    site.plan(spec_of(site, Sync.QUEUE))
    with pytest.raises(PlanRefused, match=r"the type m\.code"):
        site.plan(spec_of(site, Sync.QUEUE, "    key: [code]\n"))


@pytest.mark.parametrize("how", ["given away", "a condition"])
def test_a_type_that_changes_hands_is_noticed(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, how: str
) -> None:
    """After apply: by plan, by apply, and by whoever embeds, who reads keys as values of the type."""
    connection.execute(
        "CREATE DOMAIN shop.code AS text; CREATE TABLE shop.products (code shop.code PRIMARY KEY, title text)"
    )
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, Sync.QUEUE)
    site.apply(spec)
    ((column,),) = [ledger.columns(connection)]
    connection.execute("INSERT INTO shop.products VALUES ('a', 'one')")
    connect = connector(twin, database)
    session = Session(connect)  # of a worker that is there already
    session.prepare(column)
    if how == "given away":
        connection.execute(sql.SQL(GIVEN).format(eve.role))
        with eve.connect(database) as evil:
            evil.execute("ALTER DOMAIN shop.code ADD CHECK (m.evil(VALUE))")
        said = f"the type shop.code, which belongs to the role '{eve.name}'"
    else:
        connection.execute("ALTER DOMAIN shop.code ADD CHECK (m.evil(VALUE)) NOT VALID")
        said = rf"the function m.evil\(text\), which belongs to the role '{eve.name}'"
    with pytest.raises(PlanRefused, match=said):
        site.plan(spec)
    with session.connection, pytest.raises(RowsFailed, match=said):
        session.prepare(column)
    options = Options(workers=1, attempts=1)
    with pytest.raises(RowsFailed, match=said):
        drain(connect, column, options, once=True)
    with pytest.raises(PlanRefused, match=said):
        run(connect, column, options)
    with pytest.raises(LedgerMismatch, match=said):
        backlog(connection, column)
    with pytest.raises(ApplyFailed, match=said):
        sync.install(connection, column)
    assert not eve.is_admin()
    assert connection.execute("SELECT count(embedding) FROM shop.products").fetchone() == (0,)


CHECK = {
    "a domain": ("shop.code", "'b'"),
    "an array": ("shop.code[]", "'{b}'"),
    "a composite type": ("shop.pair", "'(b,1)'"),
    "a range": ("shop.span", "'[b,b]'"),
}


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ"])
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
@pytest.mark.parametrize("what", CHECK)
def test_triggers_see_at_once_that_a_type_changes_hands(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    tmp_path: Path,
    what: str,
    mode: Sync,
    level: str,
) -> None:
    """Its new owner may write to the table, and nothing of hers is in what acts as the table's owner then."""
    type_, value = CHECK[what]
    connection.execute(
        "CREATE DOMAIN shop.code AS text; CREATE TYPE shop.pair AS (one shop.code, two integer);"
        "CREATE TYPE shop.span AS RANGE (subtype = shop.code);"
        f"CREATE TABLE shop.products (code {type_} PRIMARY KEY, title text);"
    )
    connection.execute(sql.SQL("GRANT SELECT, INSERT, UPDATE ON shop.products TO {}").format(eve.role))
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, mode)
    site.apply(spec)
    assert site.plan(spec).changes == ()
    noted = (
        "SELECT count(*) FROM azpg.state_1" if mode is Sync.TRIGGER else "SELECT count(*) FROM azpg.queue_1"
    )
    warnings: list[str] = []
    with eve.connect(database) as evil, eve.connect(database) as other:
        evil.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
        evil.execute(f"BEGIN ISOLATION LEVEL {level}; SELECT FROM pg_class LIMIT 1")
        connection.execute(sql.SQL(GIVEN).format(eve.role))
        other.execute("ALTER DOMAIN shop.code ADD CHECK (m.evil(VALUE)) NOT VALID")
        evil.execute(f"INSERT INTO shop.products (code, title) VALUES ({value}, 'one')")
        evil.execute("COMMIT")
        assert not eve.is_admin()
        assert connection.execute(noted).fetchone() == (0,)
        assert warnings == [
            "azpg: rows of shop.products keep the embeddings that they had: "
            "a type of its key belongs to another role"
        ]
        other.execute("ALTER DOMAIN shop.code DROP CONSTRAINT code_check")
    connection.execute("ALTER DOMAIN shop.code OWNER TO CURRENT_USER")
    site.apply(spec)
    assert site.plan(spec).changes == ()
    assert connection.execute("SELECT count(embedding) FROM shop.products").fetchone() == (1,)


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_a_member_of_the_owner_has_no_say_in_types(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, mode: Sync
) -> None:
    """Plan, apply and triggers say the same."""
    connection.execute(
        "CREATE DOMAIN shop.code AS text; CREATE TABLE shop.products (code shop.code PRIMARY KEY, title text)"
    )
    with attacker(twin, database) as owner:
        connection.execute(
            sql.SQL(
                "GRANT {0} TO {1}; GRANT {0} TO CURRENT_USER; GRANT USAGE, CREATE ON SCHEMA shop TO {0};"
                "GRANT USAGE ON SCHEMA azure_local_ai TO {0};"
                "ALTER TABLE shop.products OWNER TO {0}; ALTER DOMAIN shop.code OWNER TO {0}"
            ).format(owner.role, eve.role)
        )
        site = Site(twin, tmp_path, name=database)
        spec = spec_of(site, mode)
        warnings: list[str] = []
        connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
        site.apply(spec)
        connection.execute("INSERT INTO shop.products VALUES ('a', 'one')")
        site.plan(spec)
        assert not warnings
        connection.execute(sql.SQL(GIVEN).format(eve.role))
        connection.execute("INSERT INTO shop.products VALUES ('b', 'two')")
        assert warnings == [
            "azpg: rows of shop.products keep the embeddings that they had: "
            "a type of its key belongs to another role"
        ]
        with pytest.raises(PlanRefused, match=f"the type shop.code, which belongs to the role '{eve.name}'"):
            site.plan(spec)
