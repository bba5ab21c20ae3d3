"""Sessions that write, ask and search all the time, each with a journal of what was acknowledged to it."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from tests.chaos.site import Site, Table

Connection = psycopg.Connection[Any]
Key = tuple[str, int]
LOST = "lost"
"""What counts in place of an SQLSTATE where the client has lost its connection."""

LATE = 0.25
"""Seconds after which a statement is ended that would take long."""

TOLERANCE = 1e-5


class Absent:
    """There is no row."""


ABSENT = Absent()
State = str | None | Absent


@dataclass
class Pulse:
    """What all sessions have done.

    Attributes:
        good: operations that succeeded, by name.
        states: errors, by SQLSTATE.
        late: how long after it was due a statement ended, in seconds, by what ended it.
        silence: the longest time, in seconds, in which no session had any success, and when that ended.
        wrong: answers that were not the embedding of their text.
    """

    good: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    late: dict[str, list[float]] = field(default_factory=dict)
    silence: float = 0.0
    wrong: list[str] = field(default_factory=list)
    _last: float = field(default_factory=time.monotonic)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def success(self, operation: str) -> None:
        with self._lock:
            now = time.monotonic()
            self.silence = max(self.silence, now - self._last)
            self._last = now
            self.good[operation] += 1

    def failure(self, state: str) -> None:
        with self._lock:
            self.states[state] += 1

    def ended_late(self, what: str, seconds: float) -> None:
        with self._lock:
            self.late.setdefault(what, []).append(seconds)


@dataclass
class Journal:
    """What must be in the tables.

    Attributes:
        rows: the states that a row may be in: one, or two where nobody knows whether a change was committed.
        groups: changes of which that is not known, and which must be there all or not at all.
    """

    rows: dict[Key, tuple[State, ...]] = field(default_factory=dict)
    groups: list[dict[Key, tuple[State, State]]] = field(default_factory=list)

    def settle(self, changes: dict[Key, State]) -> None:
        """What was acknowledged."""
        for key, after in changes.items():
            self.rows[key] = (after,)

    def doubt(self, changes: dict[Key, State]) -> None:
        """What may be there or not: nobody touches these rows again."""
        group = {key: (self.before(key), after) for key, after in changes.items()}
        self.groups.append(group)
        for key, states in group.items():
            self.rows[key] = states

    def before(self, key: Key) -> State:
        return self.rows.get(key, (ABSENT,))[0]

    def known(self) -> list[Key]:
        """Rows that are there for certain."""
        return [key for key, states in self.rows.items() if len(states) == 1 and states[0] is not ABSENT]


class Session(threading.Thread):
    """One client. It writes rows of its own, so that its journal alone says what they must be."""

    def __init__(
        self, site: Site, pulse: Pulse, number: int, seed: int, dsn: str, stop: threading.Event
    ) -> None:
        super().__init__(name=f"session {number}", daemon=True)
        self.journal = Journal()
        self.failure: BaseException | None = None
        self._site, self._pulse, self._dsn, self._stop_event = site, pulse, dsn, stop
        self._chance = random.Random(f"{seed} {number}")
        self._next = number * 10_000_000
        self._connection: Connection | None = None

    def run(self) -> None:
        work: list[tuple[int, Callable[[Connection], None]]] = [
            (20, self._insert), (20, self._update), (10, self._touch), (8, self._remove), (12, self._several),
            (5, self._copy), (15, self._ask), (6, self._search), (4, self._late),
        ]  # fmt: skip
        weights, steps = zip(*work, strict=True)
        try:
            while not self._stop_event.is_set():
                connection = self._connected()
                if connection is not None:
                    (step,) = self._chance.choices(steps, weights)
                    step(connection)
        except BaseException as error:
            self.failure = error
        finally:
            if self._connection is not None:
                self._connection.close()

    def _connected(self) -> Connection | None:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        try:
            self._connection = psycopg.connect(
                self._dsn, autocommit=True, connect_timeout=10, prepare_threshold=None,
                options="-c statement_timeout=30s -c client_min_messages=error",
            )  # fmt: skip
        except psycopg.Error as error:
            self._failed(error)
            self._stop_event.wait(0.2)
            return None
        return self._connection

    def _failed(self, error: psycopg.Error) -> None:
        self._pulse.failure(error.sqlstate or LOST)

    # What a session does

    def _change(
        self, name: str, changes: dict[Key, State], work: Callable[[Connection], None], connection: Connection
    ) -> None:
        """Does a piece of work that is one transaction, and writes down what came of it."""
        try:
            work(connection)
        except psycopg.Error as error:
            self._failed(error)
            if connection.broken or connection.closed:
                self.journal.doubt(changes)
                connection.close()
            return
        self.journal.settle(changes)
        self._pulse.success(name)

    def _table(self) -> Table:
        return self._chance.choice(self._site.tables)

    def _text(self) -> str | None:
        return self._chance.choice(self._site.texts)

    def _new(self, table: Table, count: int) -> dict[Key, State]:
        self._next += count
        return {(table.name, self._next - at): self._text() for at in range(count)}

    def _row(self) -> Key | None:
        rows = self.journal.known()
        return self._chance.choice(rows) if rows else None

    def _insert(self, connection: Connection) -> None:
        new = self._new(self._table(), self._chance.randint(1, 4))
        self._change("insert", new, lambda one: insert(one, new), connection)

    def _copy(self, connection: Connection) -> None:
        table = self._table()
        new = self._new(table, self._chance.randint(5, 20))
        statement = sql.SQL("COPY {} (id, body) FROM STDIN").format(sql.Identifier(table.name))

        def work(one: Connection) -> None:
            with one.cursor().copy(statement) as copy:
                for (_, number), body in new.items():
                    copy.write_row([number, body])

        self._change("copy", new, work, connection)

    def _update(self, connection: Connection) -> None:
        key = self._row()
        if key is not None:
            changes: dict[Key, State] = {key: self._text()}
            self._change("update", changes, lambda one: update(one, changes), connection)

    def _touch(self, connection: Connection) -> None:
        key = self._row()
        if key is None:
            return
        statement = sql.SQL("UPDATE {} SET version = version + 1 WHERE id = %s").format(
            sql.Identifier(key[0])
        )
        same = {key: self.journal.before(key)}
        self._change("touch", same, lambda one: expect(one.execute(statement, [key[1]]), 1), connection)

    def _remove(self, connection: Connection) -> None:
        key = self._row()
        if key is not None:
            changes: dict[Key, State] = {key: ABSENT}
            self._change("delete", changes, lambda one: update(one, changes), connection)

    def _several(self, connection: Connection) -> None:
        """Some changes in several tables, in one transaction, which is sometimes rolled back."""
        changes: dict[Key, State] = {}
        for _ in range(self._chance.randint(2, 4)):
            key = self._row()
            if key is None or self._chance.random() < 0.5:
                changes |= self._new(self._table(), 1)
            else:
                changes[key] = ABSENT if self._chance.random() < 0.2 else self._text()
        back = self._chance.random() < 0.2

        def work(one: Connection) -> None:
            with one.transaction(force_rollback=back):
                for key, after in changes.items():
                    if self.journal.before(key) is ABSENT:
                        insert(one, {key: after})
                    else:
                        update(one, {key: after})

        kept = {key: self.journal.before(key) for key in changes} if back else changes
        self._change("rollback" if back else "transaction", kept, work, connection)

    def _ask(self, connection: Connection) -> None:
        model = self._chance.choice(self._site.models)
        text = self._text() or ""
        try:
            row = connection.execute(
                "SELECT azure_local_ai.create_embeddings(%s, %s::text)", [model.uri, text]
            ).fetchone()
        except psycopg.Error as error:
            self._failed(error)
            return
        assert row is not None
        if np.abs(np.array(row[0], np.float32) - model.vectors[text]).max() > TOLERANCE:
            self._pulse.wrong.append(f"{model.uri}: {text[:40]!r}")
        self._pulse.success("ask")

    def _search(self, connection: Connection) -> None:
        table = self._table()
        query = sql.SQL(
            "SELECT id FROM {} ORDER BY embedding <=> azure_local_ai.create_embeddings(%s, %s::text)::vector LIMIT 5"
        ).format(sql.Identifier(table.name))
        try:
            connection.execute(query, [table.model.uri, self._text() or ""]).fetchall()
        except psycopg.Error as error:
            self._failed(error)
        else:
            self._pulse.success("search")

    def _late(self, connection: Connection) -> None:
        """Something that takes long is ended: how long after it was due?"""
        how = self._chance.choice(["statement_timeout", "timeout_ms", "cancel", "pg_sleep"])
        model = self._site.models[-1]
        query = (
            f"SELECT count(*) FROM azure_local_ai.create_embeddings('{model.uri}',"
            " array_fill(repeat('many words here ', 30), ARRAY[3000]), timeout_ms => %s)"
        )
        parameters = [int(1000 * LATE) if how == "timeout_ms" else 60_000]
        if how == "pg_sleep":
            query, parameters = "SELECT pg_sleep(%s)", [60]
        timer = threading.Timer(LATE, _cancel, [connection])
        try:
            connection.execute(
                f"SET statement_timeout = {int(1000 * LATE) if how in {'statement_timeout', 'pg_sleep'} else 30_000}"
            )
            begun = time.monotonic()
            if how == "cancel":
                timer.start()
            connection.execute(query, parameters).fetchall()
        except psycopg.Error as error:
            if error.sqlstate == "57014":
                self._pulse.ended_late(how, time.monotonic() - begun - LATE)
                self._pulse.success("ended")
            else:
                self._failed(error)
        finally:
            timer.cancel()
            if timer.ident is not None:
                timer.join()
        with suppress(psycopg.Error):
            connection.execute("SET statement_timeout = '30s'")


def _cancel(connection: Connection) -> None:
    with suppress(psycopg.Error):
        connection.cancel_safe(timeout=5)


def insert(connection: Connection, rows: dict[Key, State]) -> None:
    (table,) = {table for table, _ in rows}
    values = sql.SQL(", ").join(sql.SQL("(%s, %s)") for _ in rows)
    statement = sql.SQL("INSERT INTO {} (id, body) VALUES {}").format(sql.Identifier(table), values)
    connection.execute(statement, [value for (_, number), body in rows.items() for value in (number, body)])


def update(connection: Connection, rows: dict[Key, State]) -> None:
    for (table, number), after in rows.items():
        if after is ABSENT:
            statement = sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(table))
            expect(connection.execute(statement, [number]), 1)
        else:
            statement = sql.SQL("UPDATE {} SET body = %s WHERE id = %s").format(sql.Identifier(table))
            expect(connection.execute(statement, [after, number]), 1)


def expect(cursor: psycopg.Cursor[Any], rows: int) -> None:
    """A row that was acknowledged and is not there is the worst that can happen."""
    if cursor.rowcount != rows:
        raise AssertionError(f"{cursor._query} changed {cursor.rowcount} rows, not {rows}")


def percentile(values: Iterable[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
