"""One worker's way through a table: claim by claim, and in a claim batch by batch."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from psycopg import sql

from azpg_provision.sync.acting import leave
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import claims, failures, keys
from azpg_provision.vectorize.claims import Claim, Nothing, Texts
from azpg_provision.vectorize.connections import hold
from azpg_provision.vectorize.hand import Hand, Stopped, TooMuch
from azpg_provision.vectorize.statement import ANY_TURN, NOTHING, Batch, Work, batch, execute
from azpg_provision.vectorize.trouble import pause

MOST_ROWS = 8192
"""Rows of a claim where few of them need an embedding."""
_FIRST_ROWS = 32
"""Rows of a worker's first claim; each that follows has twice as many."""
_TRUSTED = 2
"""Workers that may have had a claim before it is worked through row by row."""
_SAY = 4
"""Looks at what is handed out after which it is said who has it: about a second."""
_PATIENCE = 4
"""Leases for which a claim is kept while the row is looked for that fails."""


class Ranges:
    """Works through the passes up to `goal` with one `hand`."""

    def __init__(self, hand: Hand, goal: int) -> None:
        self._hand = hand
        self._goal = goal
        # A small batch at first says soon how quick it is, also where texts are long.
        self._rows = min(_FIRST_ROWS, hand.options.batch_rows)
        # Rows that one statement looks at, None for all of a claim; fewer after one that failed.
        self._span: int | None = None

    def work(self) -> None:
        """Returns when there is nothing left to do, for other workers either. Raises `Stopped`."""
        waited = 0
        while not self._hand.halt.is_set():
            claim = self._hand.attempt(self._take)
            if claim is Nothing.OVER:
                return
            if isinstance(claim, Claim):
                waited = 0
                needed = self._through(claim)
                most = self._hand.options.batch_rows if needed else MOST_ROWS
                self._rows = min(2 * self._rows, most)
            else:
                waited += 1
                if waited == _SAY:
                    self._hand.attempt(self._say)
                self._hand.halt.wait(pause(min(waited, 3)))
        raise Stopped

    def _through(self, claim: Claim) -> int:
        """Works through a claim; returns how many of its rows needed it.

        Where a statement fails for a row, the next one looks at half as many, down to that row; fewer, too,
        where others have tried and left.
        """
        most = self._hand.options.batch_rows
        if claim.attempts > _TRUSTED:
            self._span = max(1, most >> claim.attempts)
        needed = 0
        while True:
            if self._hand.halt.is_set():
                self._hand.attempt(partial(self._release, claim))
                raise Stopped
            end = claim.high
            if self._span is not None:
                found: Texts | None = self._hand.attempt(partial(self._end_of, claim, self._span))
                end = found or claim.high
            try:
                done = self._embed(
                    claim, end, keys.between(self._hand.column, claim.low, end), shrinks=self._span != 1
                )
            except TooMuch:
                if not self._hand.attempt(partial(self._renew, claim)):
                    return needed
                if self._span != 1:
                    rows: int = self._hand.attempt(partial(self._count, claim, self._span or most))
                    self._span = max(1, rows // 2)
                    continue
                done = self._single(claim, end)
            else:
                self._span = None if self._span is None or 2 * self._span > most else 2 * self._span
            if not done.turn:  # it took too long: the claim is somebody else's now
                return needed
            needed += done.taken
            self._hand.count(done)
            if done.last is not None and done.found > done.taken:
                claim = replace(claim, low=done.last)
            elif end != claim.high:
                claim = replace(claim, low=end)
            else:
                return needed

    def _single(self, claim: Claim, key: Texts) -> Batch:
        """Embeds the row with this key, or records why it cannot be."""
        column = self._hand.column
        identity = self._hand.attempt(lambda connection: failures.identify(connection, column, key))
        if identity is None:  # it is gone
            return self._embed(claim, key, sql.SQL("false"))
        try:
            return self._embed(claim, key, keys.exactly(column, key))
        except TooMuch as error:
            within = partial(self._within, claim, key)
            return failures.record(
                self._hand, key, identity, error.cause, within, turn=ANY_TURN, after=NOTHING
            )

    def _embed(self, claim: Claim, end: Texts, which: sql.Composable, *, shrinks: bool = False) -> Batch:
        column, options = self._hand.column, self._hand.options
        statement = batch(
            column,
            turn=ANY_TURN,
            which=which,
            rows=options.batch_rows,
            size=options.batch_bytes,
            after=NOTHING,
            vectors=True,
        )

        def work(connection: Connection) -> Batch:
            return execute(connection, column, statement)

        return self._hand.attempt(
            lambda connection: self._within(claim, end, connection, work), shrinks=shrinks
        )

    def _within(self, claim: Claim, end: Texts, connection: Connection, work: Work) -> Batch:
        """Does a statement while the claim is held, and notes that it is done up to `end`, or how far."""
        column = self._hand.column
        with connection.transaction():
            hold(connection, column)
            if not claims.hold(connection, column, claim):
                return Batch(False, 0, 0, 0)
            done = work(connection)
            left = done.last if done.found > done.taken else None
            claims.advance(connection, column, claim, end, claim.lease(self._lease), left=left)
            leave(connection, column)
            return done

    def _take(self, connection: Connection) -> Claim | Nothing:
        column = self._hand.column
        return claims.take(
            connection, column, self._hand.id, goal=self._goal, rows=self._rows, lease=self._lease
        )

    def _say(self, connection: Connection) -> None:
        column, tally = self._hand.column, self._hand.tally
        if sessions := claims.holders(connection, column, tally.own):
            tally.waits(f"Waiting for rows of {column.name} that another run is at ({'; '.join(sessions)})")

    def _end_of(self, claim: Claim, rows: int, connection: Connection) -> Texts | None:
        return claims.end_of(connection, self._hand.column, claim.low, claim.high, rows)

    def _count(self, claim: Claim, most: int, connection: Connection) -> int:
        return claims.count(connection, self._hand.column, claim, most)

    def _renew(self, claim: Claim, connection: Connection) -> bool:
        return claims.renew(connection, self._hand.column, claim, claim.lease(_PATIENCE * self._lease))

    def _release(self, claim: Claim, connection: Connection) -> None:
        claims.release(connection, self._hand.column, claim)

    @property
    def _lease(self) -> float:
        """Seconds: a worker that keeps to a speed limit waits after each batch."""
        options = self._hand.options
        waits = options.batch_rows / options.max_rate if options.max_rate else 0
        return min(options.lease + waits, claims.LONGEST)
