"""Seventh attack: what a look runs by EXECUTE is looked up once more whenever PostgreSQL throws its plans away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.plan.sampling import rows_per_second
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.vectorized import connector
from tests.security.roles import Attacker, attacker

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
_SIGN = 4242


@pytest.fixture
def eve(twin: Instance, database: str) -> Iterator[Attacker]:
    with attacker(twin, database) as one:
        yield one


def test_no_sample_where_names_may_change(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """She may create in the table's schema: a better match, and an operator, for which PostgreSQL forgets all plans."""
    connection.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.products (id bigint PRIMARY KEY, title varchar(100));"
        "INSERT INTO shop.products SELECT n, 'row' FROM generate_series(1, 20) AS n"
    )

    def sampled() -> float | None:
        with connector(twin, database)() as look:
            return rows_per_second(
                look,
                relation=("shop", "products"),
                text="upper(title)",
                prefix="",
                model=URI,
                path=["pg_catalog", "shop", "public", "pg_temp"],
            )

    assert sampled() is not None
    connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA shop TO {}").format(eve.role))
    assert sampled() is None
    with eve.connect(database) as evil:
        evil.execute("CREATE FUNCTION shop.upper(varchar) RETURNS text LANGUAGE sql IMMUTABLE RETURN 'x'")
    connection.execute(sql.SQL("REVOKE CREATE ON SCHEMA shop FROM {}").format(eve.role))
    assert sampled() is None, "what she has left is found there"
