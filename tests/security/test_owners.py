"""A table's owner has no rights but its own, whatever its triggers and functions do when azpg runs them."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger, sync
from azpg_provision.column import Sync
from azpg_provision.errors import ApplyFailed, AzpgError, PlanRefused, RowsFailed
from azpg_provision.plan.change import Kind
from azpg_provision.vectorize import Options, backlog, drain, run
from azpg_provision.vectorize.connections import Session
from azpg_provision.vectorize.failures import failed, forget
from azpg_provision.vectorize.serve import Metrics, Service
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site, kinds
from tests.integration.vectorized import Table, vectorized
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
MODES = [Sync.TRIGGER, Sync.QUEUE, Sync.NONE]


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


@pytest.fixture
def dev(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


def owned(twin: Instance, connection: Connection, eve: Attacker, mode: Sync, text: str = "title") -> Table:
    """A table of hers, which the admin vectorizes, as a member of her role."""
    connection.execute(
        sql.SQL(
            "GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop AUTHORIZATION {0};"
            "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text, embedding vector(384));"
            "ALTER TABLE shop.products OWNER TO {0}"
        ).format(eve.role)
    )
    connection.execute("CREATE FUNCTION shop.norm(text) RETURNS text LANGUAGE sql STABLE RETURN $1")
    connection.execute(sql.SQL("ALTER FUNCTION shop.norm(text) OWNER TO {}").format(eve.role))
    return vectorized(twin, connection, create="SELECT", schema="shop", mode=mode, text=text)


def work(table: Table) -> None:
    """All that an admin does with a column, whatever comes of it."""
    steps: list[Any] = [
        lambda: backlog(table.connection, table.column),
        lambda: run(table.connect, table.column, Options(workers=1, attempts=1)),
        lambda: drain(table.connect, table.column, Options(workers=1, attempts=1), once=True),
        lambda: failed(table.connection, table.column),
        lambda: forget(table.connection, table.column),
        lambda: sync.installed(table.connection, table.column),
    ]
    for step in steps:
        if step is steps[2] and table.column.sync is not Sync.QUEUE:
            continue
        with contextlib.suppress(AzpgError, psycopg.Error):
            step()


# Each trigger defers the next one, which is so left to a later round: the last is on shop.last.
CHAIN = """
        CREATE FUNCTION shop.next() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            SET CONSTRAINTS ALL DEFERRED;
            IF TG_TABLE_NAME = 'products' THEN INSERT INTO shop.second VALUES (1);
            ELSE INSERT INTO shop.last VALUES (1); END IF; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER next AFTER UPDATE ON shop.products DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION shop.next();
        CREATE CONSTRAINT TRIGGER next AFTER INSERT ON shop.second DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION shop.next()"""
TRAPS: dict[str, str] = {
    "a trigger": """
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN NEW; END $$;
        CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.trap()""",
    "a deferred trigger": """
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER trap AFTER UPDATE ON shop.products DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION shop.trap()""",
    "a trigger that defers another": """
        CREATE TABLE shop.second (n integer);
        CREATE TABLE shop.last (n integer);
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON shop.last DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION shop.trap();
        """
    + CHAIN,
    "a cursor that outlives the transaction": """
        CREATE FUNCTION shop.spring() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN 1; END $$;
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT shop.spring()'; RETURN NEW; END $$;
        CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.trap()""",
    "a cursor that a deferred trigger opens": """
        CREATE TABLE shop.second (n integer);
        CREATE TABLE shop.last (n integer);
        CREATE FUNCTION shop.spring() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN 1; END $$;
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT shop.spring()';
            EXCEPTION WHEN duplicate_cursor THEN NULL; END; RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON shop.last DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION shop.trap();
        """
    + CHAIN,
    "a path that a deferred trigger sets": """
        CREATE FUNCTION shop.same(integer, integer) RETURNS boolean LANGUAGE plpgsql
            AS $$ BEGIN {escape} RETURN true; END $$;
        CREATE OPERATOR shop.= (FUNCTION = shop.same, LEFTARG = integer, RIGHTARG = integer);
        CREATE TABLE shop.second (n integer);
        CREATE TABLE shop.last (n integer);
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM set_config('search_path', 'shop, pg_catalog', false); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER trap AFTER INSERT ON shop.last DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION shop.trap();
        """
    + CHAIN,
    "the expression of a constraint that is deferred": """
        CREATE FUNCTION shop.part(integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE
            AS $$ BEGIN {escape}
            IF coalesce(current_setting('eve.n', true), '') = '' THEN
                PERFORM set_config('eve.n', 'once', false); RETURN 1;
            END IF; RETURN 99; END $$;
        CREATE TABLE shop.second (n integer);
        CREATE TABLE shop.last (n integer, EXCLUDE USING hash (shop.part(n) WITH =)
            DEFERRABLE INITIALLY DEFERRED);
        ALTER FUNCTION shop.part(integer) VOLATILE;
        INSERT INTO shop.last VALUES (1);
        CREATE FUNCTION shop.next() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            SET CONSTRAINTS ALL DEFERRED;
            IF TG_TABLE_NAME = 'products' THEN INSERT INTO shop.second VALUES (1);
            ELSIF NOT EXISTS (SELECT FROM shop.last WHERE n = 2) THEN INSERT INTO shop.last VALUES (2); END IF;
            RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER next AFTER UPDATE ON shop.products DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION shop.next();
        CREATE CONSTRAINT TRIGGER next AFTER INSERT ON shop.second DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION shop.next()""",
    "foreign keys that are deferred": """
        CREATE TYPE shop.e AS ENUM ('a', 'b');
        CREATE TABLE shop.pk (id int PRIMARY KEY); INSERT INTO shop.pk VALUES (1);
        CREATE FUNCTION shop.spring() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN 1; END $$;
        CREATE FUNCTION shop.toint(shop.e) RETURNS int LANGUAGE plpgsql VOLATILE AS $$ BEGIN
            IF pg_catalog.format('%s', $1) = 'a' THEN SET CONSTRAINTS ALL DEFERRED;
                IF coalesce(current_setting('eve.n', true), '') <> pg_current_xact_id()::text THEN
                    PERFORM set_config('eve.n', pg_current_xact_id()::text, false);
                    INSERT INTO shop.one VALUES ('b');
                END IF;
            ELSE BEGIN EXECUTE 'DECLARE c CURSOR WITH HOLD FOR SELECT shop.spring()';
                EXCEPTION WHEN duplicate_cursor THEN NULL; END;
            END IF; RETURN 1; END $$;
        CREATE CAST (shop.e AS int) WITH FUNCTION shop.toint(shop.e) AS IMPLICIT;
        CREATE TABLE shop.one (c shop.e REFERENCES shop.pk DEFERRABLE INITIALLY DEFERRED);
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            SET CONSTRAINTS ALL DEFERRED; INSERT INTO shop.one VALUES ('a'); RETURN NULL; END $$;
        CREATE TRIGGER trap AFTER UPDATE ON shop.products FOR EACH STATEMENT EXECUTE FUNCTION shop.trap()""",
    "prepared statements": """
        CREATE FUNCTION shop.spring() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN true; END $$;
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            FOR number IN 0..20 LOOP
                BEGIN EXECUTE format('DEALLOCATE _pg3_%s', number); EXCEPTION WHEN OTHERS THEN NULL; END;
                BEGIN EXECUTE format('PREPARE _pg3_%s AS SELECT shop.spring()', number);
                EXCEPTION WHEN OTHERS THEN NULL; END;
            END LOOP; RETURN NEW; END $$;
        CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.trap()""",
    "settings that stay": """
        CREATE FUNCTION shop.same(integer, integer) RETURNS boolean LANGUAGE plpgsql
            AS $$ BEGIN {escape} RETURN true; END $$;
        CREATE FUNCTION shop.spring(name, text) RETURNS boolean LANGUAGE plpgsql
            AS $$ BEGIN {escape} RETURN true; END $$;
        CREATE FUNCTION shop.less(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql
            AS $$ BEGIN {escape} RETURN true; END $$;
        CREATE FUNCTION shop.alike(oid, regclass) RETURNS boolean LANGUAGE plpgsql
            AS $$ BEGIN {escape} RETURN true; END $$;
        CREATE FUNCTION shop.small(integer, smallint) RETURNS boolean LANGUAGE plpgsql
            AS $$ BEGIN {escape} RETURN true; END $$;
        CREATE FUNCTION shop.json(jsonb, jsonb) RETURNS boolean LANGUAGE plpgsql
            AS $$ BEGIN {escape} RETURN true; END $$;
        CREATE OPERATOR shop.= (FUNCTION = shop.spring, LEFTARG = name, RIGHTARG = text);
        CREATE OPERATOR shop.= (FUNCTION = shop.alike, LEFTARG = oid, RIGHTARG = regclass);
        CREATE OPERATOR shop.= (FUNCTION = shop.small, LEFTARG = integer, RIGHTARG = smallint);
        CREATE OPERATOR shop.= (FUNCTION = shop.json, LEFTARG = jsonb, RIGHTARG = jsonb);
        CREATE OPERATOR shop.< (FUNCTION = shop.less, LEFTARG = timestamptz, RIGHTARG = timestamptz);
        CREATE OPERATOR shop.= (FUNCTION = shop.same, LEFTARG = integer, RIGHTARG = integer);
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            PERFORM set_config('search_path', 'shop, pg_catalog', false);
            PERFORM set_config('default_transaction_read_only', 'on', false);
            PERFORM set_config('row_security', 'on', false); RETURN NEW; END $$;
        CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.trap()""",
    "a function of the text": """
        CREATE OR REPLACE FUNCTION shop.norm(text) RETURNS text LANGUAGE plpgsql STABLE
            AS $$ BEGIN {escape} RETURN $1; END $$""",
    "a trigger on what is known of the rows": """
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN coalesce(NEW, OLD); END $$;
        CREATE TRIGGER trap BEFORE INSERT OR UPDATE OR DELETE ON azpg.state_1
            FOR EACH ROW EXECUTE FUNCTION shop.trap();
        CREATE TRIGGER trap BEFORE INSERT OR UPDATE OR DELETE ON azpg.queue_1
            FOR EACH ROW EXECUTE FUNCTION shop.trap()""",
    "a policy": """
        CREATE FUNCTION shop.spring() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN true; END $$;
        ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY spring ON shop.products USING (shop.spring());
        ALTER TABLE azpg.state_1 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY spring ON azpg.state_1 USING (shop.spring());
        ALTER TABLE azpg.queue_1 ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
        CREATE POLICY spring ON azpg.queue_1 USING (shop.spring())""",
    "other rights of the function that acts": """
        CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {escape} RETURN NEW; END $$;
        CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.trap();
        CREATE OR REPLACE FUNCTION shop.norm(text) RETURNS text LANGUAGE plpgsql STABLE
            AS $$ BEGIN {escape} RETURN $1; END $$;
        ALTER FUNCTION azpg.act_1(text, boolean) SECURITY INVOKER SET role = {name}""",
    "only the caller's rights": """
        CREATE OR REPLACE FUNCTION shop.norm(text) RETURNS text LANGUAGE plpgsql STABLE
            AS $$ BEGIN {escape} RETURN $1; END $$;
        ALTER FUNCTION azpg.act_1(text, boolean) SECURITY INVOKER""",
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("what", TRAPS)
def test_nothing_of_an_owners_runs_with_an_admins_rights(
    twin: Instance, connection: Connection, database: str, eve: Attacker, what: str, mode: Sync
) -> None:
    """Review B3 e."""
    table = owned(twin, connection, eve, mode, text="shop.norm(title)")
    with eve.connect(database) as evil:
        evil.execute("INSERT INTO shop.products SELECT n, 'row ' || n FROM generate_series(1, 12) AS n")
        evil.execute(TRAPS[what].replace("{escape}", eve.escape).replace("{name}", f'"{eve.name}"'))
        work(table)
        assert not eve.is_admin()
        with contextlib.suppress(psycopg.Error):
            evil.execute("UPDATE shop.products SET title = title || '!'")
        assert not eve.is_admin()
        work(table)
        assert not eve.is_admin()
        # Between the look at a function and its call it may be altered.
        with contextlib.suppress(AzpgError, psycopg.Error):
            sync.install(connection, table.column)
        assert not eve.is_admin()


OPERATORS = """
    CREATE FUNCTION shop.same(integer, integer) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN {escape} RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
    CREATE FUNCTION shop.small(integer, smallint) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN {escape} RETURN $1 OPERATOR(pg_catalog.=) $2; END $$;
    CREATE FUNCTION shop.less(timestamptz, timestamptz) RETURNS boolean LANGUAGE plpgsql
        AS $$ BEGIN {escape} RETURN $1 OPERATOR(pg_catalog.<) $2; END $$;
    CREATE OPERATOR shop.= (FUNCTION = shop.same, LEFTARG = integer, RIGHTARG = integer);
    CREATE OPERATOR shop.= (FUNCTION = shop.small, LEFTARG = integer, RIGHTARG = smallint);
    CREATE OPERATOR shop.< (FUNCTION = shop.less, LEFTARG = timestamptz, RIGHTARG = timestamptz)"""


@pytest.mark.parametrize("mode", [Sync.QUEUE, Sync.NONE])
def test_a_path_that_the_owner_gives_a_function_does_not_stay(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync
) -> None:
    """She alters the function by which a worker acts while it is at work."""
    table = owned(twin, connection, eve, mode)
    with eve.connect(database) as evil:
        evil.execute(OPERATORS.replace("{escape}", eve.escape))
        evil.execute("INSERT INTO shop.products SELECT n, 'row ' || n FROM generate_series(1, 90) AS n")
        told: list[Any] = []

        def meddle(progress: Any) -> None:
            if not told:
                evil.execute("ALTER FUNCTION azpg.act_1(text, boolean) SET search_path = shop, pg_catalog")
                evil.execute(
                    "INSERT INTO shop.products SELECT n, 'row ' || n FROM generate_series(91, 99) AS n"
                )
            told.append(progress)

        options = Options(workers=1, attempts=1, batch_rows=16)
        with contextlib.suppress(AzpgError):
            run(table.connect, table.column, options, tell=meddle)
        if mode is Sync.QUEUE:
            with contextlib.suppress(AzpgError):
                drain(table.connect, table.column, options, tell=meddle, once=True)
    assert len(told) > 1
    assert not eve.is_admin()


def test_what_an_owners_type_does_when_a_text_is_read_is_found(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """The owner may create in schema azpg while a text is bound, and PostgreSQL reads literals then."""
    connection.execute(
        sql.SQL(
            "GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop AUTHORIZATION {0};"
            "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text, embedding vector(384));"
            "ALTER TABLE shop.products OWNER TO {0}"
        ).format(eve.role)
    )
    with eve.connect(database) as evil:
        evil.execute(
            """
            CREATE FUNCTION shop.check_it(text) RETURNS boolean LANGUAGE plpgsql
                SET search_path = pg_catalog, pg_temp AS $$ BEGIN
                EXECUTE 'CREATE OR REPLACE FUNCTION azpg.act_1(statement text, answers boolean)'
                    ' RETURNS SETOF record LANGUAGE plpgsql SECURITY INVOKER AS '
                    '$f$ BEGIN {escape} RETURN; END $f$';
                RETURN true; EXCEPTION WHEN insufficient_privilege THEN RETURN true; END $$;
            CREATE DOMAIN shop.d AS text CHECK (shop.check_it(VALUE));
            CREATE FUNCTION shop.norm(text, shop.d[]) RETURNS text LANGUAGE sql STABLE RETURN $1
            """.replace("{escape}", eve.escape.replace("'", "''"))
        )
    for mode in (Sync.TRIGGER, Sync.NONE):
        with pytest.raises(ApplyFailed, match="was changed in schema azpg while its text was read"):
            vectorized(
                twin,
                connection,
                create="SELECT",
                schema="shop",
                mode=mode,
                text="shop.norm(title, '{en,de}')",
            )
        assert not eve.is_admin()


def test_the_secret_is_of_no_use_to_a_writer(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """Whatever the owner's triggers call in a worker's session can read it there."""
    table = owned(twin, connection, eve, Sync.QUEUE)
    with attacker(twin, database) as writer:
        connection.execute(
            sql.SQL(
                "GRANT USAGE ON SCHEMA shop TO {0}; GRANT SELECT, INSERT, UPDATE ON shop.products TO {0}"
            ).format(writer.role)
        )
        with writer.connect(database) as session:
            session.execute("SELECT set_config('azpg_provision.worker', %s, false)", [table.column.secret])
            session.execute("INSERT INTO shop.products (id, title) VALUES (1, 'one')")
        row = connection.execute("SELECT count(*) FROM azpg.queue_1").fetchone()
        assert row == (1,)
        drain(table.connect, table.column, once=True)
        assert connection.execute("SELECT count(*) FROM azpg.queue_1").fetchone() == (0,)
        assert table.wrong() == []


def test_what_an_owner_builds_on_the_ledger_stops_nobody(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    owned(twin, connection, eve, Sync.QUEUE)
    with eve.connect(database) as evil:
        evil.execute("CREATE VIEW shop.known AS SELECT * FROM azpg.state_1")
        evil.execute("ALTER TABLE shop.products DROP COLUMN embedding")
    other = vectorized(
        twin,
        connection,
        create="CREATE TABLE public.others (id bigint PRIMARY KEY, title text, embedding vector(384))",
        table="others",
    )
    assert ledger.columns(connection) == [other.column]


def test_deferred_constraints_of_an_owner_are_kept(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """As an application has them: a foreign key, and a constraint trigger that writes elsewhere."""
    table = owned(twin, connection, eve, Sync.QUEUE)
    with eve.connect(database) as owner:
        owner.execute(
            """
            CREATE TABLE shop.log (id bigint REFERENCES shop.products DEFERRABLE INITIALLY DEFERRED);
            CREATE FUNCTION shop.log() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO shop.log VALUES (NEW.id); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER log AFTER UPDATE ON shop.products DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION shop.log();
            INSERT INTO shop.products SELECT n, 'row ' || n FROM generate_series(1, 12) AS n
            """
        )
        drain(table.connect, table.column, once=True)
        assert table.wrong() == []
        assert owner.execute("SELECT count(DISTINCT id) FROM shop.log").fetchone() == (12,)
    assert connection.execute("SELECT count(*) FROM azpg.marks").fetchone() == (0,)


@pytest.mark.parametrize("mode", MODES)
def test_a_table_of_another_role_is_embedded_with_its_rights(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync
) -> None:
    table = owned(twin, connection, eve, mode)
    with eve.connect(database) as owner:
        owner.execute(
            "CREATE TABLE shop.log (who text);"
            "CREATE FUNCTION shop.log() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO shop.log VALUES (current_user); RETURN NEW; END $$;"
            "CREATE TRIGGER log BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.log()"
        )
        owner.execute("INSERT INTO shop.products VALUES (1, 'one'), (2, 'two'), (3, NULL)")
        if mode is Sync.QUEUE:
            drain(table.connect, table.column, once=True)
        run(table.connect, table.column)
        assert table.wrong() == []
        owner.execute(
            "UPDATE shop.products SET title = 'uno' WHERE id = 1; DELETE FROM shop.products WHERE id = 2"
        )
        if mode is Sync.QUEUE:
            drain(table.connect, table.column, once=True)
        run(table.connect, table.column)
        assert table.wrong() == []
        assert owner.execute("SELECT DISTINCT who FROM shop.log").fetchall() == [(eve.name,)]
    assert table.backlog() == (2, 0, 0)
    assert sync.installed(connection, table.column)


def test_an_owner_reaches_nothing_else_of_the_ledger(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    vectorized(twin, connection, mode=Sync.QUEUE)
    table = owned(twin, connection, eve, Sync.QUEUE)
    assert table.column.id == 2
    with eve.connect(database) as owner:
        owner.execute("SELECT FROM azpg.state_2")
        for denied in (
            "SELECT FROM azpg.columns",
            "SELECT FROM azpg.owned",
            "SELECT FROM azpg.claims",
            "SELECT FROM azpg.state_1",
            "INSERT INTO azpg.queue_1 (key_1) VALUES (1)",
            "SELECT FROM azpg.act_1('SELECT 1', true) AS t (n integer)",
            "SELECT azpg.text_1('a')",
            "CREATE TABLE azpg.mine (n integer)",
            "CREATE OR REPLACE FUNCTION azpg.act_2(text, boolean) RETURNS SETOF record LANGUAGE sql AS 'SELECT 1'",
            "ALTER TABLE azpg.state_2 RENAME TO state_3",
            "ALTER FUNCTION azpg.text_2(text) RENAME TO text_3",
        ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                owner.execute(denied)


def test_a_role_that_the_admin_cannot_act_as_is_said(
    twin: Instance, connection: Connection, eve: Attacker
) -> None:
    connection.execute(
        sql.SQL(
            "GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop AUTHORIZATION {0};"
            "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text, embedding vector(384));"
            "ALTER TABLE shop.products OWNER TO {0}; REVOKE {0} FROM CURRENT_USER"
        ).format(eve.role)
    )
    if connection.info.server_version >= 160000:
        connection.execute(sql.SQL("GRANT {} TO CURRENT_USER WITH INHERIT TRUE, SET FALSE").format(eve.role))
    with pytest.raises((ApplyFailed, psycopg.errors.InsufficientPrivilege)) as caught:
        vectorized(twin, connection, create="SELECT", schema="shop", mode=Sync.QUEUE)
    if connection.info.server_version >= 160000:
        assert f"belongs to the role '{eve.name}', as which" in str(caught.value)
        assert "SET TRUE" in str(caught.value)


def test_security_that_is_forced_on_the_owner_is_said(
    twin: Instance, connection: Connection, eve: Attacker
) -> None:
    table = owned(twin, connection, eve, Sync.NONE)
    table.execute("ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    sync.remove(connection, table.column)
    with pytest.raises(ApplyFailed, match=f"is forced on the role '{eve.name}'"):
        sync.install(connection, table.column)


def test_another_owner_is_given_what_the_first_one_had(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    table = owned(twin, connection, eve, Sync.QUEUE)
    table.execute("INSERT INTO shop.products VALUES (1, 'one')")
    table.execute("ALTER TABLE shop.products OWNER TO CURRENT_USER; ALTER SCHEMA shop OWNER TO CURRENT_USER")
    assert not sync.installed(connection, table.column)
    assert ledger.columns(connection) == [table.column]
    table = replace(table, column=sync.install(connection, table.column))
    assert sync.installed(connection, table.column)
    run(table.connect, table.column)  # as apply does: what waited in a queue of hers is not to be trusted
    assert table.wrong() == []
    with eve.connect(database) as before, pytest.raises(psycopg.errors.InsufficientPrivilege):
        before.execute("SELECT FROM azpg.state_1")


@pytest.mark.parametrize("mode", ["trigger", "queue", "none", "generated"])
def test_an_apply_runs_nothing_of_an_owners_with_its_rights(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: str, tmp_path: Path
) -> None:
    """Adding a generated column runs the table's own checks for every row; plan counts rows."""
    connection.execute(
        sql.SQL("GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop AUTHORIZATION {0}").format(eve.role)
    )
    with eve.connect(database) as evil:
        evil.execute(
            "CREATE FUNCTION shop.spring() RETURNS void LANGUAGE plpgsql AS"
            f" $$ BEGIN {eve.escape} END $$;"
            "CREATE FUNCTION shop.fine(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS"
            " $$ BEGIN PERFORM shop.spring(); RETURN true; END $$;"
            "CREATE FUNCTION shop.norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE"
            " SET search_path = shop, pg_temp AS"
            f" $$ BEGIN {'' if mode == 'generated' else 'PERFORM shop.spring();'} RETURN $1; END $$;"
            "CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {eve.escape} RETURN NEW; END $$;"
            "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text CHECK (shop.fine(title)));"
            "CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.trap();"
            "INSERT INTO shop.products VALUES (1, 'one'), (2, 'two')"
        )
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD
        + f"""\
  tables:
  - name: products
    schema: shop
    embeddings: [{{column: embedding, expression: shop.norm(title), model: {URI}, sync: {mode}}}]
""",
        init=None,
    )
    site.apply(spec)
    assert not eve.is_admin()
    assert site.plan(spec).changes == ()
    assert not eve.is_admin()
    row = connection.execute("SELECT count(embedding) FROM shop.products").fetchone()
    assert row == (2,)


def test_no_policy_is_run_by_a_look_at_a_table(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """One that is forced on the owner is for an admin, too, who is a member of the owner."""
    connection.execute(
        sql.SQL("GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop AUTHORIZATION {0}").format(eve.role)
    )
    with eve.connect(database) as evil:
        evil.execute(
            "CREATE FUNCTION shop.spring() RETURNS boolean LANGUAGE plpgsql AS"
            f" $$ BEGIN {eve.escape} RAISE 'the policy was run'; END $$;"
            "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text);"
            "INSERT INTO shop.products VALUES (1, 'one');"
            "ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY spring ON shop.products USING (shop.spring())"
        )
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD
        + f"""\
  tables:
  - name: products
    schema: shop
    embeddings: [{{column: embedding, expression: title, model: {URI}}}]
""",
        init=None,
    )
    with pytest.raises((AzpgError, psycopg.Error)) as caught:
        site.plan(spec)
    assert "row-level security" in str(caught.value)
    assert "the policy was run" not in str(caught.value)
    assert not eve.is_admin()


@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE])
def test_a_table_that_is_given_away_is_still_written(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync
) -> None:
    """Its triggers are the owner's of before, who may not read it any more, until it is applied once more."""
    table = owned(twin, connection, eve, mode)
    table.execute("INSERT INTO shop.products VALUES (1, 'one'), (2, 'two')")
    if mode is Sync.QUEUE:
        drain(table.connect, table.column, once=True)
    with attacker(twin, database) as heir:
        connection.execute(
            sql.SQL(
                "GRANT {0} TO CURRENT_USER; ALTER SCHEMA shop OWNER TO {0};"
                "ALTER TABLE shop.products OWNER TO {0}"
            ).format(heir.role)
        )
        with heir.connect(database) as writer:
            said: list[str] = []
            writer.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
            writer.execute("UPDATE shop.products SET title = 'uno' WHERE id = 1")
            writer.execute("INSERT INTO shop.products VALUES (3, 'three')")
            writer.execute("DELETE FROM shop.products WHERE id = 2")
        assert said
        assert all("their trigger has not the rights of the table's owner" in one for one in said)
        rows = connection.execute("SELECT id, title, embedding IS NULL FROM shop.products ORDER BY id")
        assert rows.fetchall() == [(1, "uno", False), (3, "three", True)]
        table = replace(table, column=sync.install(connection, table.column))
        run(table.connect, table.column)
        assert table.wrong() == []
        assert sync.installed(connection, table.column)
        connection.execute("DROP SCHEMA shop CASCADE")


@pytest.mark.parametrize("mode", MODES)
def test_an_owner_may_get_another_name(
    twin: Instance, connection: Connection, database: str, eve: Attacker, mode: Sync
) -> None:
    table = owned(twin, connection, eve, mode)
    renamed = f"{eve.name}_renamed"
    connection.execute(sql.SQL("ALTER ROLE {} RENAME TO {}").format(eve.role, sql.Identifier(renamed)))
    try:
        assert sync.installed(connection, table.column)
        table.execute("INSERT INTO shop.products VALUES (1, 'one')")
        if mode is Sync.QUEUE:
            drain(table.connect, table.column, once=True)
        run(table.connect, table.column)
        assert table.wrong() == []
    finally:
        connection.execute(sql.SQL("ALTER ROLE {} RENAME TO {}").format(sql.Identifier(renamed), eve.role))


def test_one_owners_settings_are_not_anothers(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """A worker has one session for both; hers are made anew for each of her rows."""
    hers = owned(twin, connection, eve, Sync.QUEUE)
    other = vectorized(
        twin,
        connection,
        create="CREATE TABLE public.others (id bigint PRIMARY KEY, title text, embedding vector(384))",
        table="others",
        mode=Sync.QUEUE,
    )
    with eve.connect(database) as evil:
        evil.execute(
            """
            CREATE FUNCTION shop.trap() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                PERFORM set_config('client_encoding', 'EUC_TW', false);
                PERFORM set_config('statement_timeout', '1', false);
                PERFORM set_config('default_transaction_read_only', 'on', false);
                PERFORM set_config('search_path', 'shop', false);
                EXECUTE 'CREATE TEMPORARY TABLE IF NOT EXISTS columns (n integer)';
                RETURN NEW; END $$;
            CREATE TRIGGER trap BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.trap();
            INSERT INTO shop.products SELECT n, 'row ' || n FROM generate_series(1, 3) AS n
            """
        )
    connection.execute("INSERT INTO public.others SELECT n, 'other ' || n FROM generate_series(1, 9) AS n")
    stop = threading.Event()
    service = Service(
        {database: other.connect},
        Options(workers=1, batch_rows=1),
        once=False,
        tell=lambda _: None,
        complain=lambda _: None,
    )
    running = threading.Thread(target=service.run, args=[stop])
    running.start()
    try:
        assert wait_for(lambda: other.backlog() == (9, 0, 0) and hers.backlog()[1] == 0, timeout=60)
    finally:
        stop.set()
        running.join()
    assert other.wrong() == []
    assert not eve.is_admin()


REFUSALS = {
    "no SET ROLE": ("GRANT {0} TO CURRENT_USER WITH SET FALSE", "as which .* cannot act: GRANT"),
    "no schema": (
        "REVOKE ALL ON SCHEMA shop FROM {0}",
        "may not use the schema 'shop': GRANT USAGE ON SCHEMA",
    ),
    "forced security": (
        "ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY",
        "row-level security that is forced on its owner, too, .* NO FORCE ROW LEVEL SECURITY",
    ),
    "no models": (
        "REVOKE ALL ON SCHEMA azure_local_ai FROM PUBLIC",
        "may not use azure_local_ai: GRANT USAGE ON SCHEMA azure_local_ai TO",
    ),
}


@pytest.mark.parametrize("what", REFUSALS)
def test_plan_says_what_an_owner_lacks(
    twin: Instance, connection: Connection, database: str, eve: Attacker, what: str, tmp_path: Path
) -> None:
    """Rows are embedded with the owner's rights: what it may not do is said before anything is done."""
    change, said = REFUSALS[what]
    connection.execute(
        sql.SQL(
            "GRANT {0} TO CURRENT_USER; CREATE SCHEMA shop; GRANT USAGE, CREATE ON SCHEMA shop TO {0};"
            "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text);"
            "ALTER TABLE shop.products OWNER TO {0}"
        ).format(eve.role)
    )
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD
        + f"""\
  tables:
  - name: products
    schema: shop
    embeddings: [{{column: embedding, expression: title, model: {URI}, sync: queue}}]
""",
        init=None,
    )
    with twin.superuser(database) as superuser:
        if what == "no models":
            superuser.execute("CREATE EXTENSION IF NOT EXISTS azure_local_ai")
        superuser.execute("SET ROLE pgadmin" if what != "no models" else "SELECT")
        superuser.execute(sql.SQL(change).format(eve.role))
    with pytest.raises(PlanRefused, match=said):
        site.apply(spec)
    assert connection.execute("SELECT to_regnamespace('azpg')").fetchone() == (None,)


def test_a_column_that_its_owner_breaks_hides_nothing_of_the_others(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """What waits is told of every queue that can be read."""
    owned(twin, connection, eve, Sync.QUEUE)
    other = vectorized(
        twin,
        connection,
        create="CREATE TABLE public.others (id bigint PRIMARY KEY, title text, embedding vector(384))",
        table="others",
        mode=Sync.QUEUE,
    )
    with eve.connect(database) as evil:
        evil.execute("DROP FUNCTION azpg.act_1(text, boolean)")
    connection.execute("INSERT INTO public.others SELECT n, 'other ' || n FROM generate_series(1, 5) AS n")
    metrics: list[Metrics] = []
    stop = threading.Event()
    service = Service(
        {database: other.connect},
        Options(workers=1),
        once=False,
        tell=metrics.append,
        complain=lambda _: None,
        every=0.2,
    )
    running = threading.Thread(target=service.run, args=[stop])
    running.start()
    try:
        assert wait_for(lambda: any(one.embedded == 5 for one in metrics), timeout=60)
    finally:
        stop.set()
        running.join()
    assert other.wrong() == []


def test_limits_that_are_meant_for_others_stay_off_for_the_next_column(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    if connection.info.server_version < 170000:
        pytest.skip("transaction_timeout is PostgreSQL 17's")
    hers = owned(twin, connection, eve, Sync.NONE)
    other = vectorized(
        twin,
        connection,
        create="CREATE TABLE public.others (id bigint PRIMARY KEY, title text, embedding vector(384))",
        table="others",
    )
    connection.execute(
        sql.SQL("ALTER DATABASE {} SET transaction_timeout = '7s'").format(sql.Identifier(database))
    )
    session = Session(other.connect)
    with session.connection:
        session.prepare(hers.column)
        session.prepare(other.column)
        assert session.connection.execute("SHOW transaction_timeout").fetchone() == ("0",)


LEFT_OUT = {
    "a table": ("INSERT INTO audit VALUES (NEW.id)", "audit", "dev"),
    "a function": ("PERFORM noted(NEW.id)", "noted", "everybody"),
    "a type": ("PERFORM CAST(ROW(NEW.id) AS entry)", "entry", "dev"),
    "an operator": ("PERFORM NEW.id === NEW.id", "===", "dev"),
}
OF_PUBLIC = """
CREATE TABLE public.audit (id bigint);
GRANT INSERT ON public.audit TO PUBLIC;
CREATE TYPE public.entry AS (id bigint);
CREATE FUNCTION public.noted(bigint) RETURNS boolean LANGUAGE sql RETURN true;
CREATE FUNCTION public.alike(bigint, bigint) RETURNS boolean LANGUAGE sql RETURN true;
CREATE OPERATOR public.=== (FUNCTION = public.alike, LEFTARG = bigint, RIGHTARG = bigint);
"""


@pytest.mark.parametrize("what", LEFT_OUT)
def test_where_an_owners_trigger_finds_no_names_is_said(
    twin: Instance, connection: Connection, eve: Attacker, dev: Attacker, what: str
) -> None:
    """In a schema where others may create. The message says which, who may, and what to do; that helps."""
    statement, name, who = LEFT_OUT[what]
    role, who = ("PUBLIC", who) if who == "everybody" else (dev.name, repr(dev.name))
    table = owned(twin, connection, eve, Sync.QUEUE)
    connection.execute(OF_PUBLIC)
    connection.execute(f"GRANT CREATE ON SCHEMA public TO {role}")
    connection.execute(
        sql.SQL(
            "CREATE FUNCTION shop.noting() RETURNS trigger LANGUAGE plpgsql AS {};"
            "CREATE TRIGGER noting BEFORE UPDATE ON shop.products FOR EACH ROW EXECUTE FUNCTION shop.noting();"
            "INSERT INTO shop.products VALUES (1, 'one')"
        ).format(sql.Literal(f"BEGIN {statement}; RETURN NEW; END"))
    )
    with pytest.raises(RowsFailed) as caught:
        drain(table.connect, table.column, Options(workers=1), once=True)
    words = str(caught.value)
    assert "does not exist" in words
    assert f"there is {name} in the schema 'public'" in words
    assert (
        f"because {who} may create there, or has functions there, and could not act as the role '{eve.name}'"
        in words
    )
    assert f"or REVOKE CREATE ON SCHEMA public FROM {role}. What is done stays" in words
    connection.execute(f"REVOKE CREATE ON SCHEMA public FROM {role}")
    drain(table.connect, table.column, once=True)
    assert table.wrong() == []


def test_what_is_nowhere_is_not_said_to_be_left_out(
    twin: Instance, connection: Connection, eve: Attacker, dev: Attacker
) -> None:
    """Nor what is named with a schema that has it not."""
    table = owned(twin, connection, eve, Sync.QUEUE)
    connection.execute(OF_PUBLIC)
    connection.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(dev.role))
    for name in ("nowhere", "shop.audit"):
        connection.execute(
            sql.SQL(
                "CREATE OR REPLACE FUNCTION shop.noting() RETURNS trigger LANGUAGE plpgsql AS {};"
                "CREATE OR REPLACE TRIGGER noting BEFORE UPDATE ON shop.products"
                " FOR EACH ROW EXECUTE FUNCTION shop.noting();"
                "INSERT INTO shop.products VALUES (1, 'one') ON CONFLICT DO NOTHING"
            ).format(sql.Literal(f"BEGIN INSERT INTO {name} VALUES (NEW.id); RETURN NEW; END"))
        )
        with pytest.raises(RowsFailed) as caught:
            drain(table.connect, table.column, Options(workers=1), once=True)
        assert f'relation "{name}" does not exist. What is done stays' in str(caught.value)


def test_a_schema_of_another_role_is_refused(
    twin: Instance, connection: Connection, database: str, eve: Attacker, dev: Attacker, tmp_path: Path
) -> None:
    """Whoever owns a schema can give its name, and the table's, to others: no REVOKE helps."""
    connection.execute(
        sql.SQL(
            "GRANT {0}, {1} TO CURRENT_USER; CREATE SCHEMA shop AUTHORIZATION {1};"
            "GRANT USAGE, CREATE ON SCHEMA shop TO {0};"
            "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text);"
            "CREATE TABLE shop.words (a text, b text);"
            "CREATE FUNCTION shop.norm(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
            " $$ BEGIN RETURN (SELECT concat($1, max(b)) FROM words WHERE a = $1); END $$;"
            "INSERT INTO shop.products VALUES (1, 'one');"
            "ALTER TABLE shop.products OWNER TO {0}; ALTER TABLE shop.words OWNER TO {0};"
            "ALTER FUNCTION shop.norm(text) OWNER TO {0}"
        ).format(eve.role, dev.role)
    )
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD
        + f"""\
  tables:
  - name: products
    schema: shop
    embeddings: [{{column: embedding, expression: shop.norm(title), model: {URI}, sync: generated}}]
""",
        init=None,
    )
    why = (
        f"the schema 'shop' belongs to the role '{dev.name}', which could rename it and give the table's name to "
        f"another, on which what it likes would run with the rights of '{eve.name}': ALTER SCHEMA shop OWNER TO "
        f"{eve.name}, or to an admin, or ALTER TABLE … SET SCHEMA"
    )
    with pytest.raises(PlanRefused) as caught:
        site.plan(spec)
    assert why in str(caught.value)
    connection.execute(sql.SQL("ALTER SCHEMA shop OWNER TO {}").format(eve.role))
    site.apply(spec)
    row = connection.execute("SELECT count(embedding) FROM shop.products").fetchone()
    assert row == (1,)


@pytest.fixture
def former(twin: Instance, database: str) -> Iterator[str]:
    """A role that a test drops, unless it fails."""
    name = f"former_{uuid.uuid4().hex[:8]}"
    with twin.connect(autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {0}; GRANT {0} TO CURRENT_USER").format(sql.Identifier(name)))
    yield name
    with twin.superuser(database) as superuser:
        if superuser.execute("SELECT to_regrole(%s)", [name]).fetchone() != (None,):
            superuser.execute(
                sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(sql.Identifier(name))
            )


SHOP = f"""\
  tables:
  - name: NAMES
    schema: shop
    embeddings: [{{column: embedding, expression: title, model: {URI}, sync: queue}}]
"""
GOES = {
    "another owner": ("ALTER TABLE shop.products OWNER TO CURRENT_USER", 2),
    "reassigned": ("REASSIGN OWNED BY {former} TO CURRENT_USER", 2),
    "dropped": ("DROP TABLE shop.products", 1),
    "without the column": ("ALTER TABLE shop.products DROP COLUMN embedding", 2),
}


@pytest.mark.parametrize("what", GOES)
def test_a_role_that_owns_no_table_any_more_can_be_dropped(
    twin: Instance, connection: Connection, database: str, former: str, what: str, tmp_path: Path
) -> None:
    """Its right to use schema azpg goes with the last of its tables, and with what is left of it there."""
    change, syncs = GOES[what]
    role = sql.Identifier(former)
    connection.execute(
        sql.SQL(
            "CREATE SCHEMA shop; GRANT USAGE, CREATE ON SCHEMA shop TO {0};"
            "CREATE TABLE shop.products (id bigint PRIMARY KEY, title text);"
            "CREATE TABLE shop.others (id bigint PRIMARY KEY, title text);"
            "ALTER TABLE shop.products OWNER TO {0}; ALTER TABLE shop.others OWNER TO {0}"
        ).format(role)
    )
    site = Site(twin, tmp_path, name=database)
    both = HEAD + "".join(
        SHOP.replace("NAMES", name) if name == "products" else SHOP.replace("NAMES", name).partition("\n")[2]
        for name in ("products", "others")
    )
    site.apply(site.spec(both, init=None))
    if what != "reassigned":
        connection.execute(sql.SQL(change).format(former=role))
        if what in {"dropped", "without the column"}:
            both = HEAD + SHOP.replace("NAMES", "others")
        spec = site.spec(both, init=None)
        assert "update ledger" not in kinds(site.plan(spec)), "it owns another"
        connection.execute("ALTER TABLE shop.others OWNER TO CURRENT_USER")
    else:
        connection.execute(sql.SQL(change).format(former=role))
        spec = site.spec(both, init=None)
    found = site.plan(spec)
    assert kinds(found) == ["update ledger", *["update sync"] * syncs]
    (ledger_change,) = [change for change in found.changes if change.kind is Kind.LEDGER]
    assert former in ledger_change.note
    assert (ledger_change.before, ledger_change.after) == ({"usage": [former]}, {"usage": []})
    site.apply(spec)
    assert site.plan(spec).changes == ()
    connection.execute("ALTER TABLE IF EXISTS shop.products OWNER TO CURRENT_USER")
    connection.execute(sql.SQL("REVOKE ALL ON SCHEMA shop FROM {0}; DROP ROLE {0}").format(role))


def test_what_somebody_else_granted_on_the_ledger_stays(
    twin: Instance, connection: Connection, database: str, eve: Attacker, dev: Attacker, tmp_path: Path
) -> None:
    """A role that reads it, and an owner."""
    owned(twin, connection, eve, Sync.QUEUE)
    connection.execute(
        sql.SQL("GRANT USAGE ON SCHEMA azpg TO {0}; GRANT SELECT ON azpg.columns TO {0}").format(dev.role)
    )
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(HEAD, init=None)
    assert "update ledger" not in kinds(site.plan(spec))
    site.apply(spec)
    for role in (eve, dev):
        with role.connect(database) as session:
            session.execute("SELECT 'azpg.columns'::regclass")


def test_two_columns_of_one_owner_are_installed_at_the_same_time(
    twin: Instance, connection: Connection, eve: Attacker
) -> None:
    """Each lets the owner create in schema azpg for a moment, by the same row of PostgreSQL's catalogue."""
    first = owned(twin, connection, eve, Sync.QUEUE)
    second = vectorized(
        twin,
        connection,
        create="CREATE TABLE shop.others (LIKE shop.products INCLUDING ALL);"
        f"ALTER TABLE shop.others OWNER TO {eve.name}",
        schema="shop",
        table="others",
        mode=Sync.QUEUE,
    )
    sync.remove(connection, second.column)
    assert not sync.installed(connection, second.column)
    errors: list[BaseException] = []

    def install() -> None:
        try:
            with second.connect() as other:
                other.execute("SET application_name = 'the second'")
                sync.install(other, second.column)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=install)
    waits = (
        "SELECT EXISTS (SELECT FROM pg_stat_activity"
        " WHERE application_name = 'the second' AND wait_event_type = 'Lock')"
    )
    with twin.superuser() as watching, first.connect() as one, one.transaction():
        watching.autocommit = True
        sync.remove(one, first.column)
        sync.install(one, first.column)
        thread.start()
        assert wait_for(lambda: watching.execute(waits).fetchone() == (True,), timeout=60)
    thread.join()
    assert errors == []
    columns = ledger.columns(connection)
    assert len(columns) == 2
    assert all(sync.installed(connection, column) for column in columns)


def test_a_table_that_another_role_made_anew_is_another_one(
    twin: Instance, connection: Connection, database: str, eve: Attacker, dev: Attacker, tmp_path: Path
) -> None:
    """By whatever name it goes: nothing that is known of the first one is taken for the second one's."""
    table = owned(twin, connection, eve, Sync.QUEUE)
    table.execute("INSERT INTO shop.products VALUES (1, 'one')")
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(HEAD + SHOP.replace("NAMES", "products"), init=None)
    site.apply(spec)
    assert site.plan(spec).changes == ()
    connection.execute(
        sql.SQL(
            "CREATE TABLE shop.other (LIKE shop.products INCLUDING ALL);"
            "INSERT INTO shop.other SELECT id, 'two', embedding FROM shop.products;"
            "DROP TABLE shop.products; ALTER TABLE shop.other RENAME TO products;"
            "GRANT {0} TO CURRENT_USER; ALTER SCHEMA shop OWNER TO {0};"
            "ALTER TABLE shop.products OWNER TO {0}"
        ).format(dev.role)
    )
    assert kinds(site.plan(spec)) == ["update ledger", "update column", "create sync", "update rows"]
    site.apply(spec)
    assert site.plan(spec).changes == ()
    with dev.connect(database) as owner:
        owner.execute("SELECT 'azpg.state_2'::regclass")
    assert table.wrong() == []
