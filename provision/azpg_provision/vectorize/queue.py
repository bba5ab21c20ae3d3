"""Draining the queue of a column: the rows that changed get their embedding soon after.

An entry is deleted by the statement that embeds its row; if the worker dies, that is undone with it all. The
statement sees the row at least as its entry's writer left it; whoever changes the row after that has added
another entry. So no change is ever missed, and no entry is anybody's for longer than a statement.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import claims, failures, keys
from azpg_provision.vectorize.hand import Hand, Stopped, TooMuch
from azpg_provision.vectorize.run import crew
from azpg_provision.vectorize.statement import Batch, batch, execute
from azpg_provision.vectorize.trouble import pause
from azpg_provision.vectorize.work import Connect, Options, Outcome, Tally, Tell, silent

_TURN = """
DELETE FROM {queue} WHERE id IN (
    SELECT id FROM {queue} WHERE not_before <= clock_timestamp() AND {which} AND {unchanged}
    ORDER BY id LIMIT {rows} FOR UPDATE SKIP LOCKED)
RETURNING {own}, since
"""
_NOT_WRITTEN = """
azpg_again AS (
    INSERT INTO {queue} ({own}, since, not_before)
    SELECT {found}, entered.since,
           clock_timestamp() + CASE WHEN EXISTS (SELECT FROM azpg_taken WHERE azpg_taken.n = azpg_found.n)
                                    THEN {later} ELSE 0 END * interval '1 second'
    FROM azpg_found, LATERAL (SELECT min(since) AS since FROM azpg_turn WHERE {same}) AS entered
    WHERE NOT EXISTS (SELECT FROM azpg_written WHERE azpg_written.n = azpg_found.n)
)
"""
_NOT_RECORDED = """
azpg_again AS (
    INSERT INTO {queue} ({own}, since, not_before)
    SELECT {own}, since, clock_timestamp() + {later} * interval '1 second'
    FROM azpg_turn AS entered WHERE NOT EXISTS (SELECT FROM azpg_blank)
)
"""
_LATER = "least({latest}, greatest({soonest}, extract(epoch FROM clock_timestamp() - entered.since) / 4))"
_FIRST = """
SELECT id, {key} FROM {queue} WHERE not_before <= clock_timestamp() ORDER BY id LIMIT 1
"""
_WAITING = """
SELECT count(*), extract(epoch FROM clock_timestamp() - min(since))::float8 FROM {queue}
"""
SOONEST, LATEST = 0.2, 5.0
"""Seconds after which a row is embedded again that could not be written, because a writer had locked it or a
trigger did not let it be: a quarter of the time that it has waited, within these."""


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
    stop = stop or threading.Event()
    crew(connect, column, options, tally, lambda hand: Queue(hand).work(once=once), stop, abort)
    return tally.outcome()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A queue: its entries, and for how many seconds the oldest has waited, None if there is none."""

    entries: int
    oldest: float | None


def waiting(connection: Connection, column: VectorColumn) -> Waiting:
    """How long the queue is."""
    row = connection.execute(sql.SQL(_WAITING).format(queue=column.queue)).fetchone()
    assert row is not None
    return Waiting(*row)


class Queue:
    """One worker at a column's queue."""

    def __init__(self, hand: Hand) -> None:
        self._hand = hand
        self._rows = hand.options.batch_rows

    def work(self, *, once: bool) -> None:
        """Drains the queue. Raises `Stopped`."""
        waited = 0
        while not self._hand.halt.is_set():
            if self._step():
                waited = 0
                continue
            if self._hand.attempt(self._empty) and once:
                return
            waited += 1
            self._hand.halt.wait(pause(min(waited, 5)))
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
        which = sql.SQL("id = {}").format(sql.Literal(number))
        identity = self._hand.attempt(lambda connection: failures.identify(connection, column, key))
        if identity is None:  # the row is gone
            return self._embed(which, 1, sql.SQL("false"))
        try:
            return self._embed(which, 1, None)
        except TooMuch as error:
            turn, after = self._turn(which, 1), self._put(_NOT_RECORDED)
            return failures.record(self._hand, key, identity, error.cause, turn=turn, after=after)

    def _embed(self, entries: sql.Composable, rows: int, which: sql.Composable | None) -> Batch:
        column, options = self._hand.column, self._hand.options
        if which is None:
            which = sql.SQL("({}) IN (SELECT {} FROM azpg_turn)").format(
                keys.listed(column), keys.own(column)
            )
        statement = batch(
            column,
            turn=self._turn(entries, rows),
            which=which,
            rows=options.batch_rows,
            size=options.batch_bytes,
            after=self._put(_NOT_WRITTEN),
        )
        return self._hand.attempt(lambda connection: execute(connection, statement))

    def _turn(self, which: sql.Composable, rows: int) -> sql.Composed:
        column = self._hand.column
        return sql.SQL(_TURN).format(
            queue=column.queue,
            which=which,
            unchanged=claims.unchanged(column),
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
            later=sql.SQL(_LATER).format(soonest=sql.Literal(SOONEST), latest=sql.Literal(LATEST)),
        )

    def _first(self, connection: Connection) -> tuple[int, list[str]] | None:
        column = self._hand.column
        statement = sql.SQL(_FIRST).format(key=keys.as_text(column), queue=column.queue)
        row = connection.execute(statement).fetchone()
        return (row[0], row[1]) if row else None

    def _empty(self, connection: Connection) -> bool:
        """Whether nothing waits, also of what other workers are at."""
        claims.goal(connection, self._hand.column)  # raises if the column is another one now
        statement = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(self._hand.column.queue)
        row = connection.execute(statement).fetchone()
        return row is not None and not row[0]
