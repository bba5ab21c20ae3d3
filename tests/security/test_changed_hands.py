"""A table that changes hands: neither owner runs anything with the other's rights, nor with an admin's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_provision.column import Sync
from azpg_provision.ledger import carry_column
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.calls import counters
from tests.integration.provisioning import HEAD, Site
from tests.security.roles import Attacker, attacker
from tests.security.test_owners import owned

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]

ADMINS = sql.SQL("ALTER TABLE shop.products OWNER TO CURRENT_USER")
WARNING = (
    "azpg: rows of shop.products keep the embeddings that they had: "
    "their trigger has not the rights of the table's owner"
)
TRAP = """
CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN coalesce(NEW, OLD); END $$
"""


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


def spec_of(site: Site, mode: Sync) -> Any:
    return site.spec(
        HEAD + "  tables:\n  - name: products\n    schema: shop\n    embeddings:\n"
        f"    - {{column: embedding, source: [title], model: {URI}, sync: {mode.value}}}\n",
        init=None,
    )


def hers(connection: Connection, eve: Attacker) -> None:
    connection.execute(sql.SQL("ALTER TABLE shop.products OWNER TO {}").format(eve.role))


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_a_session_sees_at_once_that_a_table_changes_hands(
    twin: Instance, connection: Connection, eve: Attacker, mode: Sync
) -> None:
    """PostgreSQL asks who owns what once for each statement, also within a transaction."""
    owned(twin, connection, eve, mode)
    warnings: list[str] = []
    connection.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
    seen = {
        Sync.TRIGGER: "SELECT count(*) FROM azpg.state_1",
        Sync.QUEUE: "SELECT count(*) FROM azpg.queue_1",
    }

    def write(number: int) -> int:
        """Of how many rows something is noted after another one was written."""
        connection.execute("INSERT INTO shop.products VALUES (%s, 'a row')", [number])
        ((count,),) = connection.execute(seen[mode]).fetchall()
        return int(count)

    with connection.transaction():  # in which nobody else's changes reach this session
        assert write(1) == 1
        connection.execute(ADMINS)
        assert write(2) == 1
        assert warnings == [WARNING]
        connection.execute("DELETE FROM shop.products WHERE id = 1")
        assert warnings == [WARNING]
        hers(connection, eve)
        assert write(3) == 2
    kind = "embed_1" if mode is Sync.TRIGGER else "enqueue_1"
    connection.execute(f"ALTER FUNCTION azpg.{kind}() OWNER TO CURRENT_USER")
    write(4)
    assert warnings == [WARNING, WARNING]


CODE = "CREATE FUNCTION shop.evil({0}) RETURNS {1} LANGUAGE plpgsql AS $$ BEGIN {2} RETURN {3}; END $$;"
# What the new owner writes into the way of a trigger that still has the rights of the one before.
WAYS: dict[str, tuple[str, str]] = {
    "a cast of the vector": (
        "CREATE TYPE shop.t AS (a text);"
        + CODE.format("shop.t", "real[]", "{escape}", "'{{1}}'")
        + "CREATE CAST (shop.t AS real[]) WITH FUNCTION shop.evil(shop.t);"
        "ALTER TABLE shop.products ADD n int, ALTER embedding TYPE shop.t USING ROW('x')::shop.t",
        "UPDATE shop.products SET n = 1",
    ),
    "a domain's check": (
        CODE.format("text", "bool", "{escape}", "true")
        + "CREATE DOMAIN shop.d AS text CHECK (shop.evil(VALUE));"
        "ALTER TABLE shop.products ALTER embedding TYPE shop.d USING NULL;"
        "ALTER TABLE shop.products RENAME TO other",
        "INSERT INTO shop.other (id, title) VALUES (77, 'x')",
    ),
    "what is noted fails": (
        TRAP + ";CREATE TRIGGER trap BEFORE DELETE ON azpg.state_1 FOR EACH ROW EXECUTE FUNCTION shop.trap();"
        "ALTER TABLE shop.products ADD n int, ALTER embedding TYPE text USING 'abc'",
        "UPDATE shop.products SET n = 1",
    ),
}


@pytest.mark.parametrize("functions", [False, True], ids=["the table", "restored"])
@pytest.mark.parametrize("way", WAYS)
def test_a_new_owner_does_not_act_as_the_one_before(
    twin: Instance, connection: Connection, database: str, eve: Attacker, way: str, functions: bool
) -> None:
    """Fourth attack, 1: the admin gave it away, or restored it, whose functions are then the admin's."""
    owned(twin, connection, eve, Sync.TRIGGER)
    connection.execute("INSERT INTO shop.products VALUES (1, 'one'), (2, 'two')")
    with eve.connect(database) as evil:
        for kind in ("embed", "note", "clear"):
            connection.execute(f"ALTER FUNCTION azpg.{kind}_1() OWNER TO CURRENT_USER")
        if not functions:
            connection.execute(ADMINS)
            hers(connection, eve)
        setup, write = WAYS[way]
        evil.execute(setup.format(escape=eve.escape))
        evil.execute(write)
    assert not eve.is_admin()


@pytest.mark.parametrize("hung", ["a trigger", "a default"])
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_what_a_former_owner_hung_on_azpgs_tables_is_not_given_on(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    tmp_path: Path,
    hung: str,
    mode: Sync,
) -> None:
    """Fourth attack, 2: apply gives them to the next owner."""
    owned(twin, connection, eve, mode)
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, mode)
    site.apply(spec)
    connection.execute("INSERT INTO shop.products VALUES (1, 'one'), (2, 'two')")
    site.apply(spec)
    with eve.connect(database) as evil:
        if hung == "a trigger":
            evil.execute(TRAP.format(escape=eve.escape))
            for table in ("state_1", "queue_1"):
                for each in ("ROW", "STATEMENT"):
                    evil.execute(
                        f"CREATE TRIGGER {each} BEFORE INSERT OR UPDATE OR DELETE ON azpg.{table}"
                        f" FOR EACH {each} EXECUTE FUNCTION shop.trap()"
                    )
        else:
            evil.execute(CODE.format("", "timestamptz", eve.escape, "now()"))
            evil.execute("ALTER TABLE azpg.state_1 ALTER at SET DEFAULT shop.evil()")
            evil.execute("ALTER TABLE azpg.queue_1 ALTER since SET DEFAULT shop.evil()")
    connection.execute(ADMINS)
    assert site.plan(spec).changes != ()
    before = counters(twin)["texts"]
    site.apply(spec)
    assert site.plan(spec).changes == ()
    if hung == "a trigger" and mode is Sync.TRIGGER:
        assert counters(twin)["texts"] - before <= 1, "what is known of the rows is kept"
    connection.execute("UPDATE shop.products SET title = title || '!'")
    connection.execute("INSERT INTO shop.products VALUES (3, 'three')")
    site.apply(spec)
    assert not eve.is_admin()
    query = "SELECT count(*) FROM pg_trigger WHERE tgrelid IN ('azpg.state_1'::regclass, 'azpg.queue_1'::regclass)"
    assert connection.execute(query).fetchone() == (0,)


def test_who_waits_for_a_lock_forgets_nothing(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    table = owned(twin, connection, eve, Sync.TRIGGER)
    connection.execute("INSERT INTO shop.products VALUES (1, 'one'), (2, 'two')")
    connection.execute("SET lock_timeout = '100ms'")
    with table.connect() as other, other.transaction():
        other.execute("LOCK TABLE azpg.state_1 IN SHARE MODE")
        with pytest.raises(errors.LockNotAvailable), connection.transaction():
            carry_column(connection, table.column)
    assert connection.execute("SELECT count(*) FROM azpg.state_1").fetchone() == (2,)


MOVES = {
    "into another schema": (
        "ALTER FUNCTION azpg.embed_1() SET SCHEMA shop;"
        "CREATE OR REPLACE FUNCTION shop.embed_1() RETURNS trigger LANGUAGE plpgsql SECURITY INVOKER AS"
        " $$ BEGIN {escape} RETURN NEW; END $$;"
        "GRANT EXECUTE ON FUNCTION shop.embed_1() TO PUBLIC"
    ),
    "with the writer's rights": (
        "CREATE FUNCTION shop.evil(real[], real[]) RETURNS bool LANGUAGE plpgsql AS"
        " $$ BEGIN {escape} RETURN true; END $$;"
        "CREATE OPERATOR shop.= (FUNCTION = shop.evil, LEFTARG = real[], RIGHTARG = real[]);"
        "ALTER FUNCTION azpg.embed_1() SECURITY INVOKER;"
        "ALTER FUNCTION azpg.embed_1() SET search_path = shop, pg_catalog;"
        "GRANT EXECUTE ON FUNCTION azpg.embed_1() TO PUBLIC"
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_a_former_owner_has_no_say_in_what_writers_run(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path, move: str
) -> None:
    """Fourth attack, 3: who owns a function may change it, wherever it hangs."""
    owned(twin, connection, eve, Sync.TRIGGER)
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, Sync.TRIGGER)
    site.apply(spec)
    connection.execute(ADMINS)
    with eve.connect(database) as evil:
        evil.execute(MOVES[move].format(escape=eve.escape))
    connection.execute("INSERT INTO shop.products VALUES (1, 'one')")
    connection.execute("UPDATE shop.products SET title = title || '!'")
    site.apply(spec)
    connection.execute("UPDATE shop.products SET title = title || '!'")
    assert site.plan(spec).changes == ()
    assert not eve.is_admin()
