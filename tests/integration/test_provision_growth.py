"""What an apply costs for each table is the same, however many tables a spec has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision import live
from azpg_provision.plan.inspection import inspect
from azpg_provision.plan.planning import plan
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.integration.provisioning import HEAD, TABLE, Site

pytestmark = pytest.mark.vector
READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::bigint FROM pg_stat_all_tables
WHERE relname IN ('pg_attribute', 'pg_class', 'pg_index', 'columns')
"""
SCANS = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'products'"
SESSIONS = "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"


@pytest.mark.parametrize("sync", ["queue", "trigger", "none"])
def test_a_quick_look_counts_what_triggers_have_noted(twin: Instance, tmp_path: Path, sync: str) -> None:
    """As the full look does, but for rows that were written without triggers; it reads no other row of a queue."""
    site = Site(twin, tmp_path)
    try:
        spec = site.spec(HEAD + TABLE + f"      sync: {sync}\n")
        site.apply(spec)

        def pending(*, quick: bool) -> list[str]:
            found = plan(spec, inspect(site.target, spec, quick=quick))
            return [f"{change.kind}: {change.note}" for change in found.changes]

        assert pending(quick=True) == pending(quick=False) == []
        with site.connect() as connection:
            connection.execute("ANALYZE products")  # or plan counts its rows
            connection.execute("UPDATE products SET title = 'changed', embedding = NULL WHERE id < 4")
            connection.execute("SELECT pg_stat_force_next_flush()")
            if sync == "trigger":
                with twin.superuser(site.name) as superuser:
                    superuser.execute(
                        "SET session_replication_role = replica; UPDATE public.products SET embedding = NULL WHERE id < 4; DELETE FROM azpg.state_1 WHERE key_1 < 4"
                    )
            before = connection.execute(SCANS).fetchone()
            assert pending(quick=True) == ["rows: 3 rows"]
            if sync == "queue":
                assert connection.execute(SCANS).fetchone() == before
            assert pending(quick=False) == ["rows: 3 rows"]
            with twin.superuser(site.name) as superuser:
                superuser.execute(
                    "SET session_replication_role = replica; UPDATE public.products SET title = 'x' WHERE id = 9"
                )
            assert pending(quick=False) == ["rows: 4 rows"]
            assert pending(quick=True) == [f"rows: {4 if sync == 'none' else 3} rows"]
            if sync != "none":
                connection.execute("ALTER TABLE products DISABLE TRIGGER USER")
                assert "rows: 4 rows" in pending(quick=True), "all rows, where triggers are not in place"
    finally:
        site.drop()


@contextmanager
def questions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[object]]:
    """What is executed meanwhile, by whatever session of this process."""
    asked: list[object] = []
    execute = psycopg.Cursor.execute

    def listed(self: Any, query: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(query)
        return execute(self, query, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(psycopg.Cursor, "execute", listed)
        yield asked


def costs(site: Site, tables: int, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int, int, int]:
    """What PostgreSQL reads of its catalogues and the ledger's columns, in rows; the sessions; the statements.

    Then the statements of a plan that finds nothing to do, and those of them that judge tables.
    """
    numbers = range(tables)
    text = (
        HEAD
        + "  tables:\n"
        + "".join(
            f"  - {{name: t{n}, embeddings: [{{column: e, source: [body], model: {URI}, sync: queue}}]}}\n"
            for n in numbers
        )
    )
    init = "".join(
        f"CREATE TABLE t{n} (id bigint PRIMARY KEY, body text); INSERT INTO t{n} VALUES (1, 'one'), (2, 'two');"
        for n in numbers
    )
    site.apply(site.spec(HEAD, init=None))
    with site.connect() as connection:
        connection.execute(init)
        connection.execute("SELECT pg_stat_force_next_flush()")
        before = [connection.execute(query).fetchone() for query in (READ, SESSIONS)]
        with questions(monkeypatch) as asked:
            site.apply(site.spec(text, init=None))
        with questions(monkeypatch) as looks:
            assert not site.plan(site.spec(text, init=None)).changes
        after = [connection.execute(query).fetchone() for query in (READ, SESSIONS)]
    (rows, sessions) = (now[0] - then[0] for now, then in zip(after, before, strict=True) if now and then)
    judging = [
        query for query in looks if isinstance(query, sql.Composed) and "azpg_wanted" in query.as_string()
    ]
    return rows, sessions, len(asked), len(looks), len(judging)


def test_an_apply_grows_with_its_tables_and_no_quicker(
    twin: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_tables, many_tables = 8, 32
    found = []
    for tables in (few_tables, many_tables):
        site = Site(twin, tmp_path)
        try:
            found.append(costs(site, tables, monkeypatch))
        finally:
            site.drop()
    few_rows, few_sessions, few_asked, few_looks, few_judging = found[0]
    many_rows, many_sessions, many_asked, many_looks, many_judging = found[1]
    more = many_tables - few_tables
    assert many_rows < 5 * few_rows, found
    assert many_sessions - few_sessions < more, found
    # With its first and last statement, each of which is one of some 20 transactions, and the plan before it.
    assert many_asked - few_asked < 105 * more, found
    # One of those that count rows, parse texts and look at indexes; all tables are judged by the same statement.
    assert many_looks - few_looks < 11 * more, found
    assert few_judging == many_judging == 1, found


def test_a_look_at_a_text_reads_no_type_but_its_own(twin: Instance, tmp_path: Path) -> None:
    read = "SELECT seq_tup_read FROM pg_stat_sys_tables WHERE relname = 'pg_type'"
    site = Site(twin, tmp_path)
    try:
        site.apply(site.spec())
        with site.connect() as connection, site.connect() as watcher:
            connection.execute(
                "DO $$ BEGIN FOR n IN 1..3000 LOOP EXECUTE format('CREATE TYPE e%s AS ENUM ()', n); END LOOP; END $$"
            )
            connection.execute("SELECT pg_stat_force_next_flush()")
            (before,) = watcher.execute(read).fetchone() or (0,)
            text, path = "lower(title)::varchar || 'x' || description", ["pg_catalog", "public", "pg_temp"]
            assert live.text_trouble(connection, "public", "products", text, path) == ""
            connection.execute("SELECT pg_stat_force_next_flush()")
            (after,) = watcher.execute(read).fetchone() or (0,)
        assert after - before < 3000
    finally:
        site.drop()
