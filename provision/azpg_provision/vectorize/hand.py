"""One worker: a connection whenever it needs one, and patience with what may go away."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg import errors

from azpg_provision.column import VectorColumn
from azpg_provision.errors import ExtensionMismatch, RowsFailed, TargetUnreachable
from azpg_provision.live.local_ai import require
from azpg_provision.sync.acting import hands
from azpg_provision.sync.bound import gone
from azpg_provision.sync.session import left_out
from azpg_provision.target.target import Connection
from azpg_provision.vectorize.connections import Connections, NotWanted, Session, Unbound
from azpg_provision.vectorize.statement import Batch
from azpg_provision.vectorize.trouble import FULL, LOCKED, Remedy, pause, remedy, said
from azpg_provision.vectorize.work import Connect, Options, Tally

Result = TypeVar("Result")
_ATTEMPTS = 8
"""After these, a worker that never gives up has a look at whether it is the texts."""
_SHRINK = 2
"""After these, fewer rows are tried: what takes longer than the time between two faults would never end."""
_LOCK_PATIENCE = 10
"""A lock may be waited for this many times as often as something else: an ALTER TABLE takes its time."""


class TooMuch(Exception):
    """A statement that fails for one of its rows; `cause` says why."""

    def __init__(self, cause: psycopg.Error) -> None:
        self.cause = cause
        super().__init__(said(cause))


class Stopped(Exception):
    """The run is to end before this work is done."""


class Hand:
    """One worker of a run, for one thread, but for `abort` and `sever`.

    Args:
        connect: opens a connection in autocommit.
        column: what it works at.
        options: see `Options`; with `attempts` 0 it never gives up while the server or the host are away, a
            table is locked, or the disk is full.
        tally: what it counts in.
        halt: set when the worker is to stop after the statement at hand.
        connections: where it has its own from, or those that it shares with others.
    """

    def __init__(
        self,
        connect: Connect,
        column: VectorColumn,
        options: Options,
        tally: Tally,
        halt: threading.Event,
        connections: Connections,
    ) -> None:
        self.id = uuid.UUID(int=0)
        self.column = column
        self.options = options
        self.tally = tally
        self.halt = halt
        self._connect = connect
        self._connections = connections
        self._session: Session | None = None
        self._aborted = False

    def attempt(
        self, work: Callable[[Connection], Result], *, prepared: bool = True, shrinks: bool = False
    ) -> Result:
        """Does `work`, a transaction, until it succeeds.

        Args:
            work: what is done.
            prepared: whether in a session made for the column.
            shrinks: whether fewer rows can be tried instead of these once more.

        Raises `TooMuch` for what fewer rows may help against, `Stopped`, and `RowsFailed` or
        `TargetUnreachable` for what nothing helps against, or not in time; `Unbound` where the table is gone.
        """
        tries = 0
        smaller: TooMuch | None = None
        while True:
            if self._aborted:
                raise Stopped
            try:
                return self._do(work, prepared=prepared)
            except NotWanted:
                raise Stopped from None
            except TargetUnreachable:
                tries += 1
                if self.options.attempts and tries >= self.options.attempts:
                    raise
            except psycopg.Error as error:
                if self._aborted:
                    raise Stopped from None
                helps = remedy(error)
                if helps is Remedy.SMALLER:
                    raise TooMuch(error) from None
                if helps is Remedy.NONE:
                    raise self._hopeless(error) from None
                tries += 1
                self._exhausted(error, tries)
                if shrinks and tries >= _SHRINK:
                    smaller = TooMuch(error)
            if self.halt.wait(pause(tries)):
                raise Stopped
            if smaller is not None:
                raise smaller

    def count(self, done: Batch) -> None:
        """Counts what a statement did, and waits as long as the speed limit says."""
        skipped = done.taken - done.written - done.failed
        self.tally.add(embedded=done.written, skipped=skipped, failed=done.failed)
        self.halt.wait(self.tally.pay(done.taken))

    def abort(self) -> None:
        """Ends the statement at hand, from another thread; what it did is undone."""
        self._aborted = True
        session = self._session
        if session is not None:
            with contextlib.suppress(psycopg.Error):
                session.connection.cancel_safe(timeout=1.0)

    def sever(self) -> None:
        """Cuts the connection, from another thread: the statement fails here, and is undone by the server."""
        self._aborted = True
        session = self._session
        if session is not None:
            session.cut()

    def _do(self, work: Callable[[Connection], Result], *, prepared: bool) -> Result:
        with self._connections.lend(self._connect, self.halt) as session:
            self._session = session
            try:
                if prepared:
                    session.prepare(self.column)
                else:
                    session.forget(self.column)
                self.id = session.worker
                self.tally.own.add(self.id)
                if self._aborted:
                    raise Stopped
                return work(session.connection)
            except ExtensionMismatch as error:
                raise Unbound(self.column, str(error).rstrip(".")) from None
            finally:
                self._session = None

    def _exhausted(self, error: psycopg.Error, tries: int) -> None:
        """Raises after the last attempt: `TooMuch` where the model works for another text."""
        locked = error.sqlstate == LOCKED
        patient = not self.options.attempts
        most = (self.options.attempts or _ATTEMPTS) * (_LOCK_PATIENCE if locked else 1)
        if tries < most or (patient and locked):
            return
        if error.sqlstate != FULL and self._model_answers():
            raise TooMuch(error) from None
        if not patient:
            raise self.stuck(f"{said(error)} ({tries} attempts)") from None

    def _hopeless(self, error: psycopg.Error) -> RowsFailed:
        """What is raised for an error that every row has."""
        if isinstance(error, errors.UndefinedTable) and self._is_gone():
            return Unbound(self.column, gone(self.column))
        return self.stuck(self._in_words(error))

    def _in_words(self, error: psycopg.Error) -> str:
        why = ""
        with contextlib.suppress(psycopg.Error, TargetUnreachable, NotWanted):
            why = self._do(lambda connection: left_out(connection, self.column, error), prepared=False)
        return f"{said(error)}: {why}" if why else said(error)

    def _is_gone(self) -> bool:
        """Whether the table is not there any more, rather than one that a trigger of its names."""
        with contextlib.suppress(psycopg.Error, TargetUnreachable, NotWanted):

            def look(connection: Connection) -> bool:
                return not hands(connection, [self.column])[self.column.id].owner

            return self._do(look, prepared=False)
        return False

    def _model_answers(self) -> bool:
        query = "SELECT azure_local_ai.create_embeddings(%s, 'azpg')"

        def ask(connection: Connection) -> None:
            with connection.transaction():
                require(connection)
                connection.execute(query, [self.column.model])

        with contextlib.suppress(psycopg.Error, TargetUnreachable, NotWanted):
            self._do(ask, prepared=True)
            return True
        return False

    def stuck(self, why: str) -> RowsFailed:
        """What is raised when the work cannot go on."""
        return RowsFailed(
            f"vectorizing {self.column.name} stopped: {why.rstrip('.')}. What is done stays; put that right "
            "and run it again to go on."
        )
