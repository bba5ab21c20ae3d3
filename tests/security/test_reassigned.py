"""Seventh attack: what others have hung on azpg's own tables of a column, when all of its owner's goes to another role."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.column import Sync
from azpg_provision.errors import AzpgError
from azpg_provision.vectorize import Options, drain, run
from azpg_runtime.postgres.instance import Instance
from tests.security.roles import Attacker, attacker
from tests.security.test_owners import owned

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
OPTIONS = Options(workers=1, attempts=1)


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


@pytest.fixture
def mallory(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


@pytest.mark.parametrize("by", ["a writer", "azpg"])
@pytest.mark.parametrize("mode", [Sync.TRIGGER, Sync.QUEUE, Sync.NONE])
def test_a_trigger_of_a_third_role_on_azpgs_tables(
    twin: Instance,
    connection: Connection,
    database: str,
    eve: Attacker,
    mallory: Attacker,
    tmp_path: Path,
    mode: Sync,
    by: str,
) -> None:
    """A role that leaves: what is hers is the admin's by REASSIGN OWNED, with its functions, as PostgreSQL says to do."""
    table = owned(twin, connection, eve, mode)
    with mallory.connect(database) as friend, eve.connect(database) as evil:
        connection.execute(
            sql.SQL("CREATE SCHEMA m; GRANT ALL ON SCHEMA m TO {} WITH GRANT OPTION").format(mallory.role)
        )
        friend.execute(
            "CREATE FUNCTION m.t() RETURNS trigger LANGUAGE plpgsql AS"
            f" $$ BEGIN {mallory.payload} RETURN coalesce(NEW, OLD); END $$"
        )
        friend.execute(sql.SQL("GRANT USAGE ON SCHEMA m TO {}").format(eve.role))
        for name in ("state_1", "queue_1"):
            evil.execute(
                f"CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON azpg.{name}"
                " FOR EACH ROW EXECUTE FUNCTION m.t()"
            )
    connection.execute(sql.SQL("REASSIGN OWNED BY {} TO CURRENT_USER").format(eve.role))
    if by == "a writer":
        with attacker(twin, database) as writer:
            connection.execute(
                sql.SQL("GRANT USAGE ON SCHEMA shop TO {0}; GRANT INSERT ON shop.products TO {0}").format(
                    writer.role
                )
            )
            with writer.connect(database) as session:
                session.execute("INSERT INTO shop.products VALUES (1, 'one')")
    else:
        connection.execute("ALTER TABLE shop.products DISABLE TRIGGER USER")
        connection.execute("INSERT INTO shop.products VALUES (1, 'one')")
        connection.execute("ALTER TABLE shop.products ENABLE TRIGGER USER")
        with contextlib.suppress(AzpgError):
            run(table.connect, table.column, OPTIONS)
        if mode is Sync.QUEUE:
            with contextlib.suppress(AzpgError):
                drain(table.connect, table.column, OPTIONS, once=True)
    assert not mallory.is_admin()
