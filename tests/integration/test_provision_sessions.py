"""A session that has served many columns is another one: PostgreSQL keeps the plans of each in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.apply import work as applying
from azpg_provision.apply.reporter import Silent
from azpg_provision.apply.work import Work
from azpg_provision.column import Sync
from azpg_provision.errors import TargetUnreachable
from azpg_provision.plan.change import Action, Change, Kind
from azpg_provision.vectorize import connections
from azpg_runtime.postgres.instance import Instance
from azpg_runtime.wait import wait_for
from tests.integration.provisioning import Site
from tests.integration.vectorized import Table, vectorized

Connection = psycopg.Connection[Any]
ENOUGH = 3


@pytest.fixture
def change(database: str) -> Change:
    return Change(Action.CREATE, Kind.COLUMN, database, "public.products.embedding")


@pytest.fixture
def work(twin: Instance, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Work]:
    monkeypatch.setattr(applying, "_MOST_CHANGES", ENOUGH)
    site = Site(twin, tmp_path, name=database)
    made = Work(site.target, site.spec(), Silent())
    yield made
    made.close()


def served_by(work: Work, change: Change) -> int:
    """The process of the server that a change has its session with."""
    with work.session(change) as connection:
        connection.execute("SELECT")
        return connection.info.backend_pid


def is_left(connection: Connection, pids: set[int]) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY (%s)"
    return connection.execute(query, [list(pids)]).fetchone() != (0,)


def test_an_apply_renews_its_session_after_many_changes(
    connection: Connection, work: Work, change: Change
) -> None:
    pids = [served_by(work, change) for _ in range(3 * ENOUGH)]
    assert [pids[at : at + ENOUGH] for at in range(0, len(pids), ENOUGH)] == [
        [pid] * ENOUGH for pid in dict.fromkeys(pids)
    ]
    assert len(set(pids)) == 3
    assert wait_for(lambda: not is_left(connection, set(pids) - {pids[-1]}), timeout=30)


def test_an_apply_goes_on_with_its_session_where_the_server_is_full(
    connection: Connection, database: str, work: Work, change: Change
) -> None:
    limit = sql.SQL("ALTER DATABASE {} CONNECTION LIMIT {}")
    name = sql.Identifier(database)
    pid = served_by(work, change)
    connection.execute(limit.format(name, sql.Literal(0)))
    assert {served_by(work, change) for _ in range(3 * ENOUGH)} == {pid}
    connection.execute("SELECT pg_terminate_backend(%s)", [pid])
    assert wait_for(lambda: not is_left(connection, {pid}), timeout=30)
    with pytest.raises((TargetUnreachable, psycopg.OperationalError)):
        served_by(work, change)
    with pytest.raises(TargetUnreachable):
        served_by(work, change)
    connection.execute(limit.format(name, sql.Literal(-1)))
    assert served_by(work, change) != pid


@pytest.fixture
def tables(twin: Instance, connection: Connection) -> list[Table]:
    create = "CREATE TABLE t{} (id bigint PRIMARY KEY, title text, embedding vector(384))"
    return [
        vectorized(twin, connection, create=create.format(n), table=f"t{n}", mode=Sync.QUEUE)
        for n in range(2 * ENOUGH + 1)
    ]


def test_a_worker_renews_its_session_after_many_columns(
    connection: Connection, tables: list[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST_COLUMNS", ENOUGH)
    session = connections.Session(tables[0].connect)
    served: list[tuple[int, Any]] = []
    for table in tables:
        for _ in range(2):  # of one column it stays
            session.prepare(table.column)
            served.append((session.connection.info.backend_pid, session.worker))
    session.connection.close()
    pids = [pid for pid, _ in served]
    assert len(dict.fromkeys(pids)) == 3
    assert pids[: 2 * ENOUGH] == [pids[0]] * 2 * ENOUGH
    assert len({worker for _, worker in served}) == len(tables), "a column's claims end with its turn"
    assert wait_for(lambda: not is_left(connection, set(pids)), timeout=30)
