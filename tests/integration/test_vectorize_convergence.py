"""Whatever writers, workers, kills and changes of the spec come in whatever order: in the end all is as asked for."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from psycopg import sql

from azpg_provision import sync
from azpg_provision.column import Sync
from azpg_provision.errors import RowsFailed
from azpg_provision.vectorize import Options, Progress, drain, run
from azpg_runtime.postgres.instance import Instance
from tests.integration.vectorized import Table, kept, vectorized

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]
KEYS = st.integers(0, 7)
TEXTS = st.one_of(st.none(), st.sampled_from(["", "one", "two", "three", "'%s' {} $$ \\"]))
MODES = st.sampled_from([Sync.NONE, Sync.TRIGGER, Sync.QUEUE])
OPTIONS = Options(workers=2, batch_rows=2, lease=0.3, attempts=2)


class Convergence(RuleBasedStateMachine):
    """A table, its writers, its workers, and who changes how it is vectorized."""

    def __init__(self, twin: Instance, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        connection.execute("DROP TABLE IF EXISTS products; DROP SCHEMA IF EXISTS azpg CASCADE")
        # The row 3 has no text: its expression fails.
        self.table: Table = vectorized(twin, connection, text="title || (100 / (id - 3))::text")
        self.writer = self.table.connect()
        self.writer.execute("SET search_path = public")

    def teardown(self) -> None:
        self.writer.close()
        self.table.execute("DELETE FROM products WHERE id = 3")
        run(self.table.connect, self.table.column, OPTIONS)
        if self.table.column.sync is Sync.QUEUE:
            drain(self.table.connect, self.table.column, OPTIONS, once=True)
        assert self.table.wrong() == []
        _, pending, failed = self.table.backlog()
        assert (pending, failed) == (0, 0)
        assert self.connection.execute("SELECT count(*) FROM azpg.claims").fetchone() == (0,)
        assert sync.installed(self.connection, self.table.column)

    @initialize(mode=MODES)
    def begin(self, mode: Sync) -> None:
        self.apply(mode, "")

    @rule(mode=MODES, prefix=st.sampled_from(["", "passage: "]))
    def apply(self, mode: Sync, prefix: str) -> None:
        """Somebody applies another spec. Its plan has the rows made anew that are out of step then."""
        wanted = replace(self.table.column, sync=mode, prefix=prefix)
        self.table = replace(self.table, column=kept(self.connection, wanted))
        sync.install(self.connection, self.table.column)

    @rule(rows=st.lists(st.tuples(KEYS, TEXTS), max_size=4))
    def insert(self, rows: list[tuple[int, str | None]]) -> None:
        for key, text in rows:
            self.writer.execute(
                "INSERT INTO products VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET title = excluded.title",
                [key, text],
            )

    @rule(keys=st.lists(KEYS, max_size=3), text=TEXTS)
    def update(self, keys: list[int], text: str | None) -> None:
        self.writer.execute("UPDATE products SET title = %s WHERE id = ANY (%s)", [text, keys])

    @rule(one=KEYS, other=KEYS)
    def move(self, one: int, other: int) -> None:
        with contextlib.suppress(psycopg.errors.UniqueViolation):
            self.writer.execute("UPDATE products SET id = %s WHERE id = %s", [other, one])

    @rule(keys=st.lists(KEYS, max_size=3))
    def delete(self, keys: list[int]) -> None:
        self.writer.execute("DELETE FROM products WHERE id = ANY (%s)", [keys])

    @rule()
    def truncate(self) -> None:
        self.writer.execute("TRUNCATE products")

    @rule(keys=st.lists(KEYS, max_size=3))
    def undo(self, keys: list[int]) -> None:
        with self.writer.transaction(force_rollback=True):
            self.writer.execute("UPDATE products SET title = 'undone' WHERE id = ANY (%s)", [keys])

    @rule(key=KEYS)
    def work_beside_an_open_transaction(self, key: int) -> None:
        with self.writer.transaction():
            self.writer.execute("UPDATE products SET title = title || '!' WHERE id = %s", [key])
            run(self.table.connect, self.table.column, replace(OPTIONS, passes=1))

    @rule()
    def work(self) -> None:
        run(self.table.connect, self.table.column, OPTIONS)

    @rule()
    def drain(self) -> None:
        drain(self.table.connect, self.table.column, OPTIONS, once=True)

    @rule(of_queue=st.booleans())
    def kill(self, of_queue: bool) -> None:
        """A worker is gone after its first batch, and so are its sessions."""
        end = sql.SQL(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid NOT IN (pg_backend_pid(), {})"
        ).format(sql.Literal(self.writer.info.backend_pid))

        def ended(_: Progress) -> None:
            self.connection.execute(end)
            raise RowsFailed("killed")

        with contextlib.suppress(RowsFailed):
            if of_queue:
                drain(self.table.connect, self.table.column, OPTIONS, tell=ended, once=True)
            else:
                run(self.table.connect, self.table.column, OPTIONS, tell=ended)


def test_everything_converges(twin: Instance, connection: Connection) -> None:
    run_state_machine_as_test(
        lambda: Convergence(twin, connection),
        settings=settings(
            max_examples=12,
            stateful_step_count=15,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
        ),
    )
