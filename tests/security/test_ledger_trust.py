"""Schema azpg of somebody else: nothing in it is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import ledger
from azpg_provision.errors import LedgerMismatch
from azpg_runtime.postgres.instance import Instance
from tests.security.roles import Attacker, attacker
from tests.support.plain_server import PlainServer, plain_server

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]

TRAP = """
CREATE SCHEMA azpg;
COMMENT ON SCHEMA azpg IS 'azpg {version}: x';
GRANT USAGE ON SCHEMA azpg TO PUBLIC;
CREATE FUNCTION azpg.pwn() RETURNS integer LANGUAGE plpgsql AS $$ BEGIN {payload} RETURN 0; END $$;
CREATE VIEW azpg.columns AS SELECT 1 AS id, 'pg_class'::regclass AS relation, 'relname'::name AS attribute,
    '{{}}'::jsonb AS definition WHERE azpg.pwn() = 0;
CREATE VIEW azpg.owned AS SELECT 'init'::text AS kind, 'x'::text AS name, '{{"of": {{}}}}'::jsonb AS definition
    WHERE azpg.pwn() = 0;
GRANT ALL ON ALL TABLES IN SCHEMA azpg TO PUBLIC;
"""


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


def look(connection: Connection) -> None:
    """All that plan, drift, vectorize and worker read of the ledger."""
    for read in (ledger.columns, ledger.owned, ledger.left):
        read(connection)


def test_a_schema_that_somebody_made_first_is_not_read(
    connection: Connection, database: str, eve: Attacker
) -> None:
    """Review B3 a: whoever may create schemas waits for the admin's plan."""
    connection.execute(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}").format(sql.Identifier(database), eve.role)
    )
    with eve.connect(database) as evil:
        evil.execute(TRAP.format(version=ledger.VERSION, payload=eve.payload))
    with pytest.raises(LedgerMismatch, match=f"belongs to the role '{eve.name}', which is no admin"):
        look(connection)
    with pytest.raises(LedgerMismatch):
        ledger.create(connection)
    assert not eve.is_admin()


def test_being_a_member_of_its_owner_is_no_trust(
    connection: Connection, database: str, eve: Attacker
) -> None:
    """An admin is a member of many roles that have less."""
    connection.execute(
        sql.SQL("GRANT CREATE ON DATABASE {} TO {}; GRANT {} TO CURRENT_USER").format(
            sql.Identifier(database), eve.role, eve.role
        )
    )
    with eve.connect(database) as evil:
        evil.execute(TRAP.format(version=ledger.VERSION, payload=eve.payload))
    with pytest.raises(LedgerMismatch, match=f"belongs to the role '{eve.name}'"):
        look(connection)
    assert not eve.is_admin()


def test_another_admin_is_trusted(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """Who could do all that this admin can gains nothing by it."""
    ledger.create(connection)
    connection.execute(sql.SQL("GRANT azure_pg_admin TO {}").format(eve.role))
    connection.execute(sql.SQL("GRANT USAGE ON SCHEMA azpg TO {}").format(eve.role))
    connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA azpg TO {}").format(eve.role))
    with eve.connect(database) as other:
        look(other)


@pytest.fixture
def plain(twin: Instance) -> Iterator[PlainServer]:
    with plain_server(twin) as server:
        yield server


def test_an_azure_pg_admin_of_anybodys_making_is_no_admin(plain: PlainServer) -> None:
    """Where the name is not the service's, any CREATEROLE makes the role, its members, and roles of the others."""
    with plain.connect() as superuser:
        superuser.execute("CREATE ROLE app LOGIN; CREATE ROLE mallory LOGIN CREATEROLE")
        superuser.execute("CREATE DATABASE shop OWNER app")
    with plain.connect("app", "shop") as app:
        app.execute("GRANT CREATE ON DATABASE shop TO mallory")
    with plain.connect("mallory", "shop") as evil:
        evil.execute("CREATE ROLE azure_pg_admin; CREATE ROLE azuresu; CREATE ROLE azure_superuser")
        evil.execute("GRANT azure_pg_admin TO app; GRANT azure_pg_admin TO mallory")
        evil.execute(TRAP.format(version=ledger.VERSION, payload="RAISE EXCEPTION 'run';"))
    with plain.connect("app", "shop") as app:
        assert app.execute("SELECT pg_has_role('azure_pg_admin', 'MEMBER')").fetchone() == (True,)
        with pytest.raises(LedgerMismatch, match="belongs to the role 'mallory', which is no admin"):
            look(app)
    with plain.connect(database="shop") as superuser:
        superuser.execute("DROP SCHEMA azpg CASCADE")
    with plain.connect("app", "shop") as app:
        ledger.create(app)
        look(app)


MINE: dict[str, tuple[str, str]] = {
    "a view": (
        "ALTER TABLE azpg.owned RENAME TO kept; CREATE VIEW azpg.owned AS SELECT * FROM azpg.kept",
        "azpg.owned of the database .* is no ordinary table",
    ),
    "another owner": ("ALTER TABLE azpg.owned OWNER TO {eve}", "azpg.owned .* belongs to another role"),
    "a trigger": (
        "CREATE TRIGGER t BEFORE INSERT ON azpg.owned EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "azpg.owned .* has a trigger",
    ),
    "a rule": ("CREATE RULE r AS ON INSERT TO azpg.owned DO ALSO NOTHING", "azpg.owned .* has a rule"),
    "written by others": (
        "GRANT INSERT ON azpg.columns TO {eve}",
        "azpg.columns .* may be written by others",
    ),
    "another owner of the function": (
        "ALTER FUNCTION azpg.in_hand(regclass, regprocedure, boolean) OWNER TO {eve}",
        "azpg.in_hand .* belongs to another role",
    ),
    "everybody's": ("GRANT UPDATE ON azpg.columns TO PUBLIC", "azpg.columns .* may be written by others"),
    "made by others": ("GRANT CREATE ON SCHEMA azpg TO {eve}", "may create things in schema azpg"),
}


@pytest.mark.parametrize("what", MINE)
def test_what_is_not_as_azpg_makes_it_is_refused(connection: Connection, eve: Attacker, what: str) -> None:
    ledger.create(connection)
    look(connection)
    statement, said = MINE[what]
    connection.execute(
        sql.SQL("GRANT {} TO CURRENT_USER; GRANT CREATE ON SCHEMA azpg TO {}").format(eve.role, eve.role)
    )
    connection.execute(sql.SQL(statement).format(eve=eve.role))
    if what != "made by others":
        connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA azpg FROM {}").format(eve.role))
    with pytest.raises(LedgerMismatch, match=said):
        look(connection)


def test_default_privileges_open_nothing(connection: Connection, eve: Attacker) -> None:
    """Review B3 d: what an admin once granted on all that is to come is taken back from what azpg makes."""
    for what in ("ALL ON TABLES", "ALL ON FUNCTIONS", "ALL ON SCHEMAS", "ALL ON SEQUENCES"):
        connection.execute(sql.SQL("ALTER DEFAULT PRIVILEGES GRANT {} TO {}").format(sql.SQL(what), eve.role))
    ledger.create(connection)
    look(connection)
    for privilege in ("USAGE", "CREATE"):
        query = "SELECT has_schema_privilege(%s, 'azpg', %s)"
        assert connection.execute(query, [eve.name, privilege]).fetchone() == (False,)
    for table in ("columns", "owned", "claims"):
        query = "SELECT has_table_privilege(%s, %s, 'SELECT, INSERT, UPDATE, DELETE, TRIGGER')"
        assert connection.execute(query, [eve.name, f"azpg.{table}"]).fetchone() == (False,)
