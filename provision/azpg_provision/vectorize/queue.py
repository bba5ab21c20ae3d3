"""Draining the queue of a column: the rows that changed get their embedding soon after.

An entry is deleted by the statement that embeds its row; if the worker dies, that is undone with it all. The
statement sees the row at least as its entry's writer left it; whoever changes the row after that has added
another entry. So no change is ever missed, and no entry is anybody's for longer than a statement.
"""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from datetime import timedelta

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.sync.acting import leave, look
from azpg_provision.sync.bound import check
from azpg_provision.sync.session import LOCK_TIMEOUT
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import claims, failures, keys
from azpg_provision.vectorize.connections import Connections, hold
from azpg_provision.vectorize.hand import Hand, Stopped, TooMuch
from azpg_provision.vectorize.run import Crew, work_through
from azpg_provision.vectorize.statement import Batch, Work, batch, execute
from azpg_provision.vectorize.trouble import pause
from azpg_provision.vectorize.work import Connect, Options, Outcome, Tally, Tell, silent

# An array, so that the entries are chosen once. After IN, PostgreSQL may choose them anew for each entry that
# there is, past those that it has just deleted, and so take them all.
_TURN = """
DELETE FROM {queue} WHERE id OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT id FROM {queue} WHERE {due} AND {which}
    ORDER BY id LIMIT {rows} FOR UPDATE SKIP LOCKED))
RETURNING {own}, since
"""
_NOT_WRITTEN = """
azpg_again AS (
    INSERT INTO {queue} ({own}, since, not_before)
    SELECT {found}, entered.since, pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)
           CASE WHEN EXISTS (SELECT FROM azpg_taken WHERE azpg_taken.n OPERATOR(pg_catalog.=) azpg_found.n)
                THEN {later} ELSE interval '0' END
    FROM azpg_found, LATERAL (SELECT pg_catalog.min(since) AS since FROM azpg_turn WHERE {same}) AS entered
    WHERE NOT EXISTS (SELECT FROM azpg_written WHERE azpg_written.n OPERATOR(pg_catalog.=) azpg_found.n)
)
"""
_NOT_RECORDED = """
azpg_again AS (
    INSERT INTO {queue} ({own}, since, not_before)
    SELECT {own}, since, pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) {later}
    FROM azpg_turn AS entered WHERE NOT EXISTS (SELECT FROM azpg_blank)
)
"""
_LATER = """least(
    {latest}, greatest({soonest}, (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) entered.since)
                                  OPERATOR(pg_catalog./) 4::float8))"""
_FIRST = """
SELECT id, {key} FROM {queue} WHERE {due} ORDER BY id LIMIT 1
"""
_WAITING = """
SELECT pg_catalog.count(*), extract(epoch FROM
    pg_catalog.clock_timestamp() OPERATOR(pg_catalog.-) pg_catalog.min(since))::float8 FROM {queue}
"""
_LOOK = """
SELECT EXISTS (SELECT FROM {queue} WHERE {due}),
       EXISTS (SELECT FROM {queue})
"""
_PATIENCE = "SELECT pg_catalog.set_config('lock_timeout', %s, true)"
SOONEST, LATEST = 0.2, 5.0
"""Seconds after which a row is embedded again that could not be written, because a writer had locked it or a
trigger did not let it be: a quarter of the time that it has waited, within these."""
# What would wait for longer than ever is from before the clock was put back.
_DUE = sql.SQL(
    "(not_before OPERATOR(pg_catalog.<=) pg_catalog.clock_timestamp() OR not_before OPERATOR(pg_catalog.>)"
    " (pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) {}))"
).format(sql.Literal(timedelta(seconds=LATEST)))


def drain(
    connect: Connect,
    column: VectorColumn,
    options: Options | None = None,
    *,
    tell: Tell = silent,
    stop: threading.Event | None = None,
    abort: threading.Event | None = None,
    once: bool = False,
) -> Outcome:
    """Embeds the rows that wait in a column's queue, until `stop` is set, or with `once`, until none waits.

    Args:
        connect: opens connections in autocommit; one is open for each worker.
        column: as the ledger has it.
        options: see `Options`; with `attempts` 0 it waits for a server or a model host that is away for as
            long as it takes.
        tell: called after each batch, by one thread at a time.
        stop: when it is set, the batches at hand are finished.
        abort: when it is set, they are undone.
        once: waits for rows that writers have locked, too.

    Raises `RowsFailed` when the work cannot go on, `LedgerMismatch` when the column is vectorized in another
    way than `column` says. A KeyboardInterrupt undoes the batches at hand.
    """
    options = options or Options()
    tally = Tally(options, tell)
    connections = Connections(options.workers)

    def work(hand: Hand) -> None:
        Queue(hand).work(once=once)

    try:
        crew = Crew(connect, column, options, tally, work, workers=options.workers, connections=connections)
        work_through(crew, stop or threading.Event(), abort)
    finally:
        connections.close()
    return tally.outcome()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queue: its entries, and for how many seconds the oldest has waited, None if it is empty."""

    entries: int
    oldest: float | None


def waiting(connection: Connection, column: VectorColumn) -> Waiting:
    """How long the queue is. Raises `LedgerMismatch` as `azpg_provision.sync.bound.check`."""
    check(connection, column)
    query = sql.SQL(_WAITING).format(queue=column.queue)
    ((entries, oldest),) = look(connection, column, query, "entries int8, oldest float8")
    # A table's owner may write any time into its queue.
    return Waiting(entries, max(0.0, oldest) if oldest is not None and math.isfinite(oldest) else None)


@dataclass(frozen=True, slots=True)
class _Look:
    """Whether there is an entry whose time has come, and whether there is any."""

    due: bool
    any: bool


class Queue:
    """One worker at a column's queue.

    Args:
        hand: the worker.
        slower: by how much longer than usual it rests between two looks at an empty queue.
        works: set as soon as a statement is done.
    """

    def __init__(self, hand: Hand, *, slower: float = 1.0, works: threading.Event | None = None) -> None:
        self._hand = hand
        self._slower = slower
        self._works = works or threading.Event()
        self._rows = hand.options.batch_rows

    def work(self, *, once: bool) -> None:
        """Drains the queue. Raises `Stopped`."""
        waited = 0
        while not self._hand.halt.is_set():
            done = self._step()
            self._works.set()
            if done:
                waited = 0
                continue
            looks = 0
            while not self._hand.halt.is_set():
                look = self._hand.attempt(self._look, prepared=False)
                if once and not look.any:
                    return
                if looks and look.due:
                    break
                looks += 1
                waited += 1
                self._hand.halt.wait(pause(min(waited, 5)) * self._slower)
        raise Stopped

    def _step(self) -> bool:
        """Embeds the rows of some entries; False if there was none to take."""
        try:
            done = self._embed(sql.SQL("true"), self._rows, None)
        except TooMuch:
            if self._rows > 1:
                self._rows //= 2
                return True
            done = self._single()
        else:
            self._rows = min(2 * self._rows, self._hand.options.batch_rows)
        self._hand.count(done)
        return done.turn

    def _single(self) -> Batch:
        """Embeds the row of the first entry, or records why it cannot be."""
        column = self._hand.column
        first = self._hand.attempt(self._first)
        if first is None:
            return Batch(False, 0, 0, 0)
        number, key = first
        which = sql.SQL("id OPERATOR(pg_catalog.=) {}").format(sql.Literal(number))
        identity = self._hand.attempt(lambda connection: failures.identify(connection, column, key))
        if identity is None:  # the row is gone
            return self._embed(which, 1, sql.SQL("false"))
        try:
            return self._embed(which, 1, None)
        except TooMuch as error:
            turn, after = self._turn(which, 1), self._put(_NOT_RECORDED)
            return failures.record(
                self._hand, key, identity, error.cause, self._within, turn=turn, after=after
            )

    def _embed(self, entries: sql.Composable, rows: int, which: sql.Composable | None) -> Batch:
        column, options = self._hand.column, self._hand.options
        if which is None:
            which = sql.SQL("EXISTS (SELECT FROM azpg_turn WHERE {})").format(
                keys.same(column, None, "azpg_turn")
            )
        statement = batch(
            column,
            turn=self._turn(entries, rows),
            which=which,
            rows=options.batch_rows,
            size=options.batch_bytes,
            after=self._put(_NOT_WRITTEN),
        )

        def work(connection: Connection) -> Batch:
            return execute(connection, column, statement)

        return self._hand.attempt(lambda connection: self._within(connection, work), shrinks=rows > 1)

    def _within(self, connection: Connection, work: Work) -> Batch:
        """Does a statement if the column is still vectorized as it is here."""
        column = self._hand.column
        with connection.transaction():
            hold(connection, column)
            query = sql.SQL("SELECT {}").format(claims.unchanged(column))
            if connection.execute(query).fetchone() != (True,):
                return Batch(False, 0, 0, 0)
            done = work(connection)
            leave(connection, column)
            return done

    def _turn(self, which: sql.Composable, rows: int) -> sql.Composed:
        column = self._hand.column
        return sql.SQL(_TURN).format(
            queue=column.queue,
            which=which,
            due=_DUE,
            rows=sql.Literal(rows),
            own=keys.own(column),
        )

    def _put(self, template: str) -> sql.Composed:
        column = self._hand.column
        return sql.SQL(template).format(
            queue=column.queue,
            own=keys.own(column),
            found=keys.own(column, "azpg_found"),
            same=keys.same(column, "azpg_turn", "azpg_found"),
            later=sql.SQL(_LATER).format(
                soonest=sql.Literal(timedelta(seconds=SOONEST)), latest=sql.Literal(timedelta(seconds=LATEST))
            ),
        )

    def _first(self, connection: Connection) -> tuple[int, list[str]] | None:
        column = self._hand.column
        statement = sql.SQL(_FIRST).format(key=keys.as_text(column), queue=column.queue, due=_DUE)
        rows = look(connection, column, statement, "id int8, key text[]")
        return (rows[0][0], rows[0][1]) if rows else None

    def _look(self, connection: Connection) -> _Look:
        """What waits, also of what other workers are at."""
        column = self._hand.column
        query = sql.SQL(_LOOK).format(queue=column.queue, due=_DUE)
        with connection.transaction():
            connection.execute(_PATIENCE, [LOCK_TIMEOUT])
            claims.goal(connection, column)  # raises if the column is another one now, or none
            return _Look(*look(connection, column, query, "due bool, any_ bool")[0])
