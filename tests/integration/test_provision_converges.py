"""Whatever a spec said before, and whatever somebody has done meanwhile: one apply, and the server is as it says."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from psycopg import sql

from azpg_provision import ledger
from azpg_provision.plan.change import Change
from azpg_provision.spec.model import Spec
from azpg_runtime.postgres.instance import Instance
from tests.integration.provisioning import HEAD, PRODUCTS, TABLE, Site, wrong_rows

pytestmark = [pytest.mark.every_major, pytest.mark.vector]

SYNCS = st.sampled_from(["generated", "trigger", "queue", "none"])
INDEXES = st.sampled_from(
    ["none", "{method: hnsw}", "{method: hnsw, m: 8, ef_construction: 32}", "{method: ivfflat, lists: 1}"]
)
MEDDLING = st.sampled_from(
    [
        "SELECT 1",
        "UPDATE products SET title = 'changed' || id WHERE id % 3 = 0",
        "DELETE FROM products WHERE id = 5",
        "INSERT INTO products (id, title) VALUES (1000, 'new') ON CONFLICT (id) DO UPDATE SET title = 'newer'",
        "TRUNCATE products",
        "ALTER TABLE products DISABLE TRIGGER USER",
        "DROP INDEX IF EXISTS products_embedding_hnsw",
        "ALTER TABLE products DROP COLUMN embedding CASCADE",
        "DO $$ DECLARE f regprocedure; BEGIN FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'azpg'::regnamespace LOOP EXECUTE 'DROP FUNCTION ' || f || ' CASCADE'; END LOOP; END $$",
        "UPDATE products SET embedding = NULL",
        "ALTER TABLE products RENAME COLUMN description TO d; ALTER TABLE products RENAME COLUMN d TO description",
    ]
)
STEPS = st.lists(
    st.tuples(SYNCS, INDEXES, st.lists(MEDDLING, max_size=2), st.integers(0, 12)), min_size=3, max_size=5
)


class Killed(BaseException):
    """As if the process ended here."""


@settings(
    max_examples=6,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # an example takes seconds: none is made smaller
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
# Ended between the ledger, which says none by then, and the triggers.
@example(steps=[("trigger", "none", [], 12), ("none", "none", [], 1)])
def test_one_apply_is_enough(
    steps: list[tuple[str, str, list[str], int]], twin: Instance, tmp_path: Path
) -> None:
    site = Site(twin, tmp_path)
    try:
        site.apply(site.spec(HEAD + "  init: [init.sql]\n", PRODUCTS))
        for sync, index, meddling, last in steps:
            with site.connect() as connection:
                for statement in meddling:
                    meddle(connection, statement)
            spec = site.spec(HEAD + TABLE + f"      sync: {sync}\n      index: {index}\n", None)
            if interrupted(site, spec, last):
                site.apply(spec, replace=True)
            assert site.plan(spec).changes == ()
            with site.connect() as connection:
                assert wrong_rows(connection) == 0
                check_sync(connection, sync)
                check_index(connection, index)
    finally:
        site.drop()


def meddle(connection: psycopg.Connection[Any], statement: str) -> None:
    """Does it, unless there is no such column yet, or nobody may write it."""
    with contextlib.suppress(psycopg.errors.UndefinedColumn, psycopg.errors.GeneratedAlways):
        connection.execute(statement)


def check_sync(connection: psycopg.Connection[Any], sync: str) -> None:
    """That a writer's change is followed as the spec says, whatever a plan says of it."""
    waiting = sql.SQL("SELECT count(*) FROM {}").format(ledger.columns(connection)[0].queue)
    connection.execute(sql.SQL("TRUNCATE {}").format(ledger.columns(connection)[0].queue))
    connection.execute("INSERT INTO products (id, title) VALUES (2000, 'first') ON CONFLICT (id) DO NOTHING")
    connection.execute("UPDATE products SET title = 'then ' || now() WHERE id = 2000")
    assert (wrong_rows(connection) == 0) is (sync in {"generated", "trigger"})
    assert (connection.execute(waiting).fetchone() != (0,)) is (sync == "queue")


def check_index(connection: psycopg.Connection[Any], index: str) -> None:
    """That there is an index of the method that the spec names."""
    query = """
        SELECT count(*) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_am AS m ON m.oid = c.relam
        WHERE i.indrelid = 'products'::regclass AND i.indisvalid AND %s LIKE '{method: ' || m.amname || '%%'
    """
    assert connection.execute(query, [index]).fetchone() == (0 if index == "none" else 1,)


def interrupted(site: Site, spec: Spec, last: int) -> bool:
    """Applies, but ends before change number `last`; returns whether there were so many."""
    begun: list[Change] = []

    def begin(change: Change) -> None:
        if len(begun) == last:
            raise Killed
        begun.append(change)

    try:
        site.apply(spec, replace=True, begin=begin)
    except Killed:
        return True
    return False
