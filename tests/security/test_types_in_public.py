"""Seventh attack: types of others where an init file finds names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.errors import PlanRefused
from azpg_runtime.postgres.instance import Instance
from tests.integration.provisioning import HEAD, TABLE, Site
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]

INIT = """
DO $$ BEGIN
    CREATE TYPE status AS ENUM ('active', 'gone');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;
CREATE TABLE products (id bigint PRIMARY KEY, title text, description text, status status DEFAULT 'active');
INSERT INTO products (id, title) VALUES (1, 'one');
"""


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


def test_a_type_of_others_in_public(
    twin: Instance, connection: Connection, database: str, eve: Attacker, tmp_path: Path
) -> None:
    """She might create there once, as everybody before PostgreSQL 15, and has left a domain; her function is elsewhere."""
    connection.execute(
        sql.SQL("CREATE SCHEMA m; GRANT ALL ON SCHEMA m TO {0}; GRANT CREATE ON SCHEMA public TO {0}").format(
            eve.role
        )
    )
    with eve.connect(database) as evil:
        evil.execute(
            f"CREATE FUNCTION m.f(text) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN {eve.payload} RETURN true; END $$;"
            "CREATE DOMAIN public.status AS text CHECK (m.f(VALUE))"
        )
    connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA public FROM {}").format(eve.role))
    site = Site(twin, tmp_path, name=database)
    with pytest.raises(PlanRefused, match=r"the type public\.status belongs to the role"):
        site.apply(site.spec(HEAD + TABLE, init=INIT))
    assert not eve.is_admin()
