"""A table that changes hands: neither owner runs anything with the other's rights, nor with an admin's."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_provision.column import Sync
from azpg_provision.ledger import carry_column
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.security.roles import Attacker, attacker
from tests.security.test_owners import owned

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]

ADMINS = sql.SQL("ALTER TABLE shop.products OWNER TO CURRENT_USER; ALTER SCHEMA shop OWNER TO CURRENT_USER")
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
    connection.execute(
        sql.SQL("ALTER SCHEMA shop OWNER TO {0}; ALTER TABLE shop.products OWNER TO {0}").format(eve.role)
    )


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


HUNG: dict[str, str] = {
    "triggers": TRAP
    + "".join(
        f";CREATE TRIGGER {each} BEFORE INSERT OR UPDATE OR DELETE ON azpg.{table}"
        f" FOR EACH {each} EXECUTE FUNCTION shop.trap()"
        for table in ("state_1", "queue_1")
        for each in ("ROW", "STATEMENT")
    ),
    "defaults": CODE.format("", "timestamptz", "{escape}", "now()")
    + "ALTER TABLE azpg.state_1 ALTER at SET DEFAULT shop.evil();"
    "ALTER TABLE azpg.queue_1 ALTER since SET DEFAULT shop.evil()",
    "rights to columns": "GRANT REFERENCES (key_1), SELECT (key_1) ON azpg.state_1 TO {other}",
    "no key": "ALTER TABLE azpg.state_1 DROP CONSTRAINT state_1_pkey",
    "no NULL": "DELETE FROM azpg.state_1; ALTER TABLE azpg.state_1 ALTER failure SET NOT NULL",
    "no identity": "ALTER TABLE azpg.state_1 REPLICA IDENTITY NOTHING",
    "few numbers": "ALTER SEQUENCE azpg.queue_1_id_seq MAXVALUE 100",
}


@pytest.mark.parametrize("along", [False, True], ids=["the table", "and azpg's tables"])
@pytest.mark.parametrize("hung", HUNG)
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_what_a_former_owner_hung_on_azpgs_tables_is_not_given_on(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    tmp_path: Path,
    hung: str,
    mode: Sync,
    along: bool,
) -> None:
    """Fourth attack, 2; fifth, 3, 4 and 6: apply gives them to the next owner, or somebody did by hand."""
    owned(twin, connection, eve, mode)
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, mode)
    site.apply(spec)
    connection.execute("INSERT INTO shop.products VALUES (1, 'one'), (2, 'two')")
    site.apply(spec)
    with attacker(twin, database) as other:
        with eve.connect(database) as evil:
            evil.execute(HUNG[hung].format(escape=eve.escape, other=other.name))
        connection.execute(ADMINS)
        if along:
            connection.execute("ALTER TABLE azpg.state_1 OWNER TO CURRENT_USER")
            connection.execute("ALTER TABLE azpg.queue_1 OWNER TO CURRENT_USER")
        assert site.plan(spec).changes != ()
        site.apply(spec)
        assert site.plan(spec).changes == ()
        connection.execute("UPDATE shop.products SET title = title || '!'")
        connection.execute("INSERT INTO shop.products VALUES (3, 'three')")
        site.apply(spec)
        assert not eve.is_admin()
        assert {name: count for name, count in connection.execute(LEFT).fetchall() if count} == {}


LEFT = """
SELECT 'triggers', count(*) FROM pg_trigger WHERE tgrelid IN ('azpg.state_1'::regclass, 'azpg.queue_1'::regclass)
UNION ALL
SELECT 'rights', count(*) FROM pg_attribute
WHERE attrelid IN ('azpg.state_1'::regclass, 'azpg.queue_1'::regclass) AND attacl IS NOT NULL
UNION ALL
SELECT 'defaults', count(*) FROM pg_attrdef
WHERE adrelid IN ('azpg.state_1'::regclass, 'azpg.queue_1'::regclass)
  AND pg_get_expr(adbin, adrelid) NOT IN ('1', 'now()')
"""


STATE = "DELETE FROM azpg.state_1; ALTER TABLE azpg.state_1 DROP CONSTRAINT state_1_pkey, "
QUEUE = "DELETE FROM azpg.queue_1; ALTER TABLE azpg.queue_1 DROP CONSTRAINT queue_1_pkey, "
OTHERWISE = {
    "another column": STATE + "ALTER key_1 SET NOT NULL, ADD PRIMARY KEY (hash)",
    "more columns": STATE + "ADD PRIMARY KEY (key_1, hash)",
    "more in it": STATE + "ADD PRIMARY KEY (key_1) INCLUDE (hash)",
    "deferrable": STATE + "ADD PRIMARY KEY (key_1) DEFERRABLE",
    "the queue's": QUEUE + "ALTER id SET NOT NULL, ADD PRIMARY KEY (since)",
    "more columns of the queue": QUEUE + "ADD PRIMARY KEY (id, since)",
    "few numbers left in the queue": "SELECT setval('azpg.queue_1_id_seq', 9223372036854775800)",
    "other numbers in the queue": "ALTER SEQUENCE azpg.queue_1_id_seq MINVALUE -100",
    "many numbers at once in the queue": "ALTER SEQUENCE azpg.queue_1_id_seq CACHE 1000000000000000000",
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_another_primary_key_and_other_numbers_are_not_taken_for_azpgs(
    twin: Instance, connection: Connection, database: str, tmp_path: Path, what: str
) -> None:
    """Sixth attack: with it, writes to the table would fail, or a key be noted twice."""
    connection.execute("CREATE SCHEMA shop; CREATE TABLE shop.products (id bigint PRIMARY KEY, title text)")
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, Sync.QUEUE if "queue" in what else Sync.TRIGGER)
    site.apply(spec)
    connection.execute(OTHERWISE[what])
    assert site.plan(spec).changes != ()
    site.apply(spec)
    assert site.plan(spec).changes == ()
    connection.execute("INSERT INTO shop.products VALUES (1, 'one'), (2, 'one')")
    connection.execute("UPDATE shop.products SET title = title || '!'")
    site.apply(spec)
    assert site.plan(spec).changes == ()


def test_what_a_former_owner_has_begun_is_not_given_on(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """Fifth attack, 2: it is committed while apply looks through azpg's tables."""
    owned(twin, connection, eve, Sync.QUEUE)
    site = Site(twin, tmp_path, name=database)
    spec = spec_of(site, Sync.QUEUE)
    site.apply(spec)
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = to_regclass('azpg.queue_1')"
    with eve.connect(database) as evil, ThreadPoolExecutor(1) as pool:
        evil.execute(CODE.format("", "timestamptz", eve.escape, "now()"))
        evil.execute("BEGIN; ALTER TABLE azpg.queue_1 ALTER since SET DEFAULT shop.evil()")
        connection.execute(ADMINS)
        applied = pool.submit(site.apply, spec)
        assert wait_for(lambda: connection.execute(waiting).fetchone() != (0,), timeout=60)
        evil.execute("COMMIT")
        applied.result()
    assert site.plan(spec).changes == ()
    connection.execute("INSERT INTO shop.products VALUES (1, 'one')")
    assert not eve.is_admin()


def test_an_old_snapshot_does_not_hide_a_new_owner(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """Fifth attack, 1: in REPEATABLE READ a table belongs to whom it did when the transaction began."""
    owned(twin, connection, eve, Sync.TRIGGER)
    connection.execute("GRANT ALL ON shop.products TO CURRENT_USER")
    for kind in ("embed", "note", "clear"):
        connection.execute(f"ALTER FUNCTION azpg.{kind}_1() OWNER TO CURRENT_USER")
    connection.execute(ADMINS)
    with eve.connect(database) as evil:
        evil.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM pg_class LIMIT 1")
        hers(connection, eve)
        setup, _ = WAYS["a domain's check"]
        evil.execute(setup.split(";ALTER TABLE shop.products RENAME")[0].format(escape=eve.escape))
        evil.execute("INSERT INTO shop.products (id, title) VALUES (77, 'x')")
        evil.execute("COMMIT")
    assert not eve.is_admin()


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
def test_writers_of_every_isolation_level_are_served(
    twin: Instance, connection: Connection, database: str, eve: Attacker, level: str
) -> None:
    owned(twin, connection, eve, Sync.TRIGGER)
    with eve.connect(database) as writer:
        writer.execute(f"BEGIN ISOLATION LEVEL {level}; SELECT FROM pg_class LIMIT 1")
        writer.execute("INSERT INTO shop.products VALUES (1, 'one')")
        writer.execute("COMMIT")
    query = "SELECT count(embedding) FROM shop.products"
    assert connection.execute(query).fetchone() == (1,)


@pytest.mark.parametrize("level", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
@pytest.mark.parametrize("state", ["rolled back", "under way"])
def test_a_change_that_is_not_made_switches_nothing_off(
    twin: Instance, connection: Connection, database: str, eve: Attacker, level: str, state: str
) -> None:
    """Sixth attack, 7: of a GRANT that is rolled back, PostgreSQL keeps the transaction's number in the row."""
    table = owned(twin, connection, eve, Sync.TRIGGER)
    with table.connect() as other, eve.connect(database) as writer:
        other.execute("BEGIN")
        other.execute("GRANT SELECT ON shop.products TO PUBLIC")
        if state == "rolled back":
            other.execute("ROLLBACK")
        marked = "SELECT xmax::text <> '0' FROM pg_class WHERE oid = 'shop.products'::regclass"
        assert writer.execute(marked).fetchone() == (True,)
        writer.execute(f"BEGIN ISOLATION LEVEL {level}; SELECT FROM pg_class LIMIT 1")
        writer.execute("INSERT INTO shop.products VALUES (1, 'one')")
        writer.execute("COMMIT")
    query = "SELECT count(embedding) FROM shop.products"
    assert connection.execute(query).fetchone() == (1,)


def test_who_waited_while_a_table_changed_hands_calls_nothing_of_the_former_owners(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """Sixth attack, 8: COPY takes its snapshot before it waits for the table."""
    owned(twin, connection, eve, Sync.TRIGGER)
    connection.execute("GRANT ALL ON shop.products TO CURRENT_USER")
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'shop.products'::regclass"

    def copy() -> list[str]:
        warnings: list[str] = []
        with twin.connect(database, autocommit=True) as writer:
            writer.add_notice_handler(lambda notice: warnings.append(notice.message_primary or ""))
            with writer.cursor().copy("COPY shop.products (id, title) FROM STDIN") as rows:
                rows.write_row((1, "one"))
        return warnings

    with twin.connect(database, autocommit=True) as watcher, ThreadPoolExecutor(1) as thread:
        with connection.transaction():
            connection.execute(ADMINS)
            copied = thread.submit(copy)
            assert wait_for(lambda: watcher.execute(waiting).fetchone() != (0,), timeout=60)
        assert copied.result() == [WARNING]
    assert connection.execute("SELECT count(*), count(embedding) FROM shop.products").fetchone() == (1, 0)


def test_azpgs_sessions_see_what_is(twin: Instance, connection: Connection, tmp_path: Path) -> None:
    """A database can make every transaction one that sees who owned what when it began."""
    database = connection.info.dbname
    statement = "ALTER DATABASE {} SET default_transaction_isolation = 'repeatable read'"
    connection.execute(sql.SQL(statement).format(sql.Identifier(database)))
    with Site(twin, tmp_path, name=database).target.connect(database) as session:
        assert session.execute("SHOW transaction_isolation").fetchone() == ("read committed",)


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
    connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA shop TO {}").format(eve.role))
    with eve.connect(database) as evil:
        evil.execute(MOVES[move].format(escape=eve.escape))
    connection.execute("INSERT INTO shop.products VALUES (1, 'one')")
    connection.execute("UPDATE shop.products SET title = title || '!'")
    site.apply(spec)
    connection.execute("UPDATE shop.products SET title = title || '!'")
    assert site.plan(spec).changes == ()
    assert not eve.is_admin()
