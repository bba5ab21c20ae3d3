"""Settings that a table's owner, or a database's, leaves in an admin's session decide nothing afterwards."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from azpg_provision import ledger
from azpg_provision.column import Sync
from azpg_provision.errors import LedgerMismatch
from azpg_provision.live.count import count
from azpg_provision.sync import acting
from azpg_provision.vectorize import Connections
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, Site
from tests.integration.vectorized import connector
from tests.security.roles import Attacker, attacker
from tests.security.test_owners import owned

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]

# What who does it becomes an admin by; a policy, or a cast, calls it.
PAYLOAD = """
CREATE FUNCTION {name}({argument}) RETURNS {type} LANGUAGE plpgsql AS
$$ BEGIN IF session_user <> '{eve}' THEN {escape} END IF; RETURN {value}; END $$
"""


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


def payload(eve: Attacker, name: str, argument: str, type_: str, value: str) -> str:
    values = {"argument": argument, "type": type_, "value": value, "eve": eve.name, "escape": eve.escape}
    return PAYLOAD.format(name=name, **values)


def test_row_security_is_off_again(twin: Instance, connection: Connection, eve: Attacker) -> None:
    table = owned(twin, connection, eve, Sync.TRIGGER)
    setting = sql.SQL("SELECT set_config('row_security', 'on', false) = 'on'")
    with table.connect() as session:
        with session.transaction():
            assert acting.act(session, table.column, setting, "answer bool") == [(True,)]
        assert session.execute("SHOW row_security").fetchone() == ("off",)


def test_counting_runs_no_policy(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """Third attack, 1: COPY of a table with a policy is a query, which calls what its owner wrote."""
    owned(twin, connection, eve, Sync.TRIGGER)
    with eve.connect(database) as evil:
        evil.execute(payload(eve, "shop.see", "", "bool", "true"))
        evil.execute("CREATE POLICY p ON shop.products USING (shop.see())")
        evil.execute("ALTER TABLE shop.products ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    connection.execute("SET row_security = on")
    with pytest.raises(errors.InsufficientPrivilege, match="row-level security"):
        count(connection, "shop", "products")
    assert not eve.is_admin()


def test_what_one_change_leaves_is_gone_before_the_next(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    owned(twin, connection, eve, Sync.TRIGGER)
    site = Site(twin, tmp_path, name=database)
    spec = site.spec(
        HEAD + "  tables:\n  - name: products\n    schema: shop\n    embeddings:\n"
        f"    - {{column: embedding, source: [title], model: {URI}, sync: trigger, index: {{method: hnsw}}}}\n",
        init=None,
    )
    site.apply(spec)
    with eve.connect(database) as evil:
        evil.execute(
            "CREATE FUNCTION shop.leave() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM set_config('default_transaction_read_only', 'on', false); RETURN NULL; END $$;"
            "CREATE TRIGGER leave BEFORE DELETE ON azpg.queue_1 FOR EACH STATEMENT EXECUTE FUNCTION shop.leave();"
            "ALTER TABLE shop.products DISABLE TRIGGER zzz_azpg_1_embed;"
            "DROP INDEX shop.products_embedding_hnsw"
        )
    site.apply(spec)  # its sync is made anew, which empties the queue as eve, and then the index
    assert site.plan(spec).changes == ()


def test_a_database_does_not_say_who_is_logged_in(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """Third attack, 2: its owner makes every session one of hers, whose ledger is then to be trusted."""
    name = sql.Identifier(database)
    connection.execute(
        sql.SQL("GRANT {0} TO CURRENT_USER; ALTER DATABASE {1} OWNER TO {0}").format(eve.role, name)
    )
    columns = (
        "id int, relation {}, attribute name, definition jsonb, pass bigint, position text[], secret text"
    )
    with eve.connect(database) as evil:
        evil.execute(sql.SQL("ALTER DATABASE {} SET role = {}").format(name, eve.role))
        evil.execute("CREATE SCHEMA s; CREATE TYPE s.t AS (x int)")
        evil.execute(payload(eve, "s.pwn", "s.t", "oid", "0"))
        evil.execute("CREATE CAST (s.t AS oid) WITH FUNCTION s.pwn(s.t) AS IMPLICIT")
        evil.execute(f"CREATE SCHEMA azpg; COMMENT ON SCHEMA azpg IS 'azpg {ledger.VERSION}: x'")
        evil.execute(f"CREATE TABLE azpg.columns ({columns.format('s.t')})")
        evil.execute("INSERT INTO azpg.columns VALUES (1, ROW(1)::s.t, 'oid', '{}')")
        evil.execute("CREATE TABLE azpg.owned (kind text, name text, definition jsonb, made_at timestamptz)")
        evil.execute("CREATE TABLE azpg.marks (); CREATE TABLE azpg.claims (column_id int)")
    target = Site(twin, tmp_path, name=database).target
    with target.connect(database) as session:
        ((user, login),) = session.execute("SELECT current_user, session_user").fetchall()
        assert user == login != eve.name
        with pytest.raises(LedgerMismatch, match=f"belongs to the role '{eve.name}'"):
            ledger.columns(session)
        session.execute(sql.SQL("SET ROLE {}").format(eve.role))  # as if the option had not been
        with pytest.raises(LedgerMismatch, match=f"belongs to the role '{eve.name}'"):
            ledger.columns(session)
    assert not eve.is_admin()
    with twin.superuser() as superuser:  # so that she can be dropped
        superuser.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, sql.Identifier(login)))


def test_a_connection_in_a_failed_transaction_is_lent_to_nobody(twin: Instance, database: str) -> None:
    """As after a statement_timeout that an owner's trigger has set, and that ends the ROLLBACK, too."""
    connect, connections = connector(twin, database), Connections(1)
    with connections.lend(connect, threading.Event()) as left:
        left.connection.execute("BEGIN")
        with pytest.raises(psycopg.errors.DivisionByZero):
            left.connection.execute("SELECT 1 / 0")
    with connections.lend(connect, threading.Event()) as session:
        assert session.connection.execute("SELECT 1").fetchone() == (1,)
    assert left.connection.closed
    connections.close()
