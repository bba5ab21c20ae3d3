"""Seventh attack: what a look runs by EXECUTE is looked up once more whenever PostgreSQL throws its plans away."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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


def test_a_sample_runs_what_was_found_fit(
    twin: Instance, connection: Connection, database: str, eve: Attacker
) -> None:
    """She may create in the table's schema: a better match, and an operator, for which PostgreSQL forgets all plans."""
    connection.execute(
        "CREATE SCHEMA shop; CREATE TABLE shop.products (id bigint PRIMARY KEY, title varchar(100));"
        "INSERT INTO shop.products SELECT n, 'row' FROM generate_series(1, 20) AS n"
    )
    connection.execute(sql.SQL("GRANT USAGE, CREATE ON SCHEMA shop TO {}").format(eve.role))
    ran = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s"
    stop = threading.Event()

    def replace(evil: Connection) -> None:
        while not stop.is_set():
            evil.execute(
                "BEGIN; CREATE FUNCTION shop.upper(varchar) RETURNS text LANGUAGE plpgsql IMMUTABLE AS"
                f" $$ BEGIN IF current_user <> '{eve.name}' THEN PERFORM pg_advisory_lock_shared({_SIGN}); END IF;"
                " RETURN 'x'; END $$;"
                "CREATE OPERATOR shop.@@@ (FUNCTION = textlen, RIGHTARG = text); COMMIT"
            )
            stop.wait(random.uniform(0, 0.02))
            evil.execute(
                "BEGIN; DROP FUNCTION shop.upper(varchar); DROP OPERATOR shop.@@@ (NONE, text); COMMIT"
            )
            stop.wait(random.uniform(0, 0.02))

    with eve.connect(database) as evil, ThreadPoolExecutor(1) as pool, connector(twin, database)() as look:
        replacing = pool.submit(replace, evil)
        try:
            for _ in range(300):
                with contextlib.suppress(psycopg.Error):
                    rows_per_second(
                        look,
                        relation=("shop", "products"),
                        text="upper(title)",
                        prefix="",
                        model=URI,
                        path=["pg_catalog", "shop", "public", "pg_temp"],
                    )
                row = connection.execute(ran, [_SIGN]).fetchone()
                if row != (0,):
                    break
        finally:
            stop.set()
            replacing.result()
        assert row == (0,), "her function ran as the table's owner, at a plan"
