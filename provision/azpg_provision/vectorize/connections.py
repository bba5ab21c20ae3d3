"""Connections that workers share: so many at most, however many columns and databases they are for."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus

from azpg_provision import ledger
from azpg_provision.column import VectorColumn
from azpg_provision.errors import RowsFailed, TargetUnreachable
from azpg_provision.ledger.applied import is_as_applied
from azpg_provision.sync import acting, attached
from azpg_provision.sync.bound import CHANGED, gone, unbound
from azpg_provision.sync.dependencies import may_change_hands
from azpg_provision.sync.session import prepare
from azpg_provision.target.connecting import renew
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import claims
from azpg_provision.vectorize.work import Connect

_BY_INDEX = "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off"
"""A worker's statements are about few rows, each found by its key. By the statistics of a queue that was
empty a moment ago, or of what is known of rows that have all changed, PostgreSQL would read all of a table
instead, for each of them."""
_MOST_COLUMNS = 50
"""Columns after which a session is another one: PostgreSQL keeps the functions of each in it, planned, and
looks at all of them whenever anything is changed."""
_RENAMED = (
    "a type of its key has another name, or is in another schema, since this began; nothing is called by the "
    "old name, which others may have taken. A type may be renamed between two runs: run `azpg apply`, which "
    "takes the new name, then run this again"
)
_LOOK = 0.5
"""Seconds after which who waits for a connection looks whether it is still wanted."""
TURN = 60.0
"""Seconds for which a worker may have a connection that others wait for: owners can have triggers that never
end."""


class Unbound(RowsFailed):
    """A column is refused until somebody puts something right, while others go on.

    Its functions are not as azpg makes them, its table is gone, others have a say in what acts as the owner,
    or azure_local_ai is not the extension: `why` says it.
    """

    def __init__(self, column: VectorColumn, why: str) -> None:
        self.why = why
        super().__init__(f"vectorizing {column.name} stopped: {why}. What is done stays.")


def hold(connection: Connection, column: VectorColumn) -> None:
    """Keeps others, as the first thing in a transaction, from attaching to a table what it would run.

    Raises `Unbound` for what is there already (`azpg_provision.sync.attached`), for a table that is gone, and
    for one that is not what it was when it was applied (`azpg_provision.ledger.applied`).
    """
    try:
        why = attached.hold(connection, column)
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        why = gone(column)
    if why:
        raise Unbound(column, why)
    if not is_as_applied(connection, [column]):
        raise Unbound(column, CHANGED)


class NotWanted(Exception):
    """Whoever waited for a connection has been told to stop."""


class Session:
    """One connection.

    Attributes:
        connection: in autocommit.
        worker: whose claims last as long as it does (`azpg_provision.vectorize.claims.attend`).
    """

    def __init__(self, connect: Connect) -> None:
        self.connect = connect
        self.idle_since = 0.0
        self._open()

    def _open(self) -> None:
        self.connection: Connection = self.connect()
        self._column: VectorColumn | None = None
        self._columns = 0
        try:
            self.connection.execute(_BY_INDEX)
            self.worker: uuid.UUID = claims.attend(self.connection)
        except BaseException:
            self.connection.close()
            raise

    def prepare(self, column: VectorColumn) -> None:
        """Makes it one for a column, if it is not. The types of its key are looked at each time.

        Raises `Unbound` for one whose functions are not as azpg makes them, `LedgerMismatch` for one that
        is another by now.
        """
        if may_change_hands(column) and self._has_other_names(column):
            raise Unbound(column, _RENAMED)
        if self._column == column:
            if may_change_hands(column) and (why := acting.state(self.connection, column)[1]):
                raise Unbound(column, why)
        else:
            self.forget(column)
            prepare(self.connection, column)
            if why := unbound(self.connection, column):
                if column not in ledger.columns(self.connection):
                    claims.goal(self.connection, column)  # says that it is another one now
                raise Unbound(column, why)
            self._column = column
            self._columns += 1

    def _has_other_names(self, column: VectorColumn) -> bool:
        """Whether its key is compared by other names by now, as after an extension was put elsewhere."""
        now = ledger.find(self.connection, column.schema, column.table, column.column)
        return now is not None and now.compared_by != column.compared_by

    def forget(self, column: VectorColumn) -> None:
        """Puts the session back to what it was, if it has been another column's than this one.

        After many columns it is another one, and so is its worker: what that one still had is given back.
        """
        if self._column is None or self._column == column:
            return
        if self._columns >= _MOST_COLUMNS:
            self.connection.close()
            self._open()
        else:
            renew(self.connection, "SELECT pg_catalog.pg_advisory_unlock_all()", _BY_INDEX)
            self.worker = claims.attend(self.connection)
            self._column = None

    def cut(self) -> None:
        """Ends the session, from another thread: its statement fails here, and is undone by the server."""
        with (
            suppress(psycopg.Error, OSError),
            socket.socket(fileno=os.dup(self.connection.fileno())) as line,
        ):
            line.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """The same, also where the server would not notice, as an owner's trigger can see to."""
        pid = self.connection.info.backend_pid
        with suppress(psycopg.Error, TargetUnreachable), self.connect() as other:
            other.execute("SELECT pg_catalog.pg_terminate_backend(%s)", [pid])
        self.cut()

    @property
    def broken(self) -> bool:
        """Whether it is of no use any more, as in a transaction that nothing has ended."""
        return self.connection.closed or self.connection.info.transaction_status is not TransactionStatus.IDLE

    def answers(self) -> bool:
        """Whether it is still there, after nobody has used it for a while."""
        if time.monotonic() - self.idle_since > _LOOK:
            with suppress(psycopg.Error):
                self.connection.execute("SELECT")
        return not self.broken


class Connections:
    """So many connections at most; each is lent to one worker at a time, in the order in which they ask.

    Args:
        most: how many.
        turn: see `TURN`.
    """

    def __init__(self, most: int, *, turn: float = TURN) -> None:
        self._most = most
        self._turn = turn
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._idle: list[Session] = []
        self._lent = 0
        self._since: dict[Session, float] = {}

    @contextmanager
    def lend(self, connect: Connect, halt: threading.Event) -> Iterator[Session]:
        """A connection that `connect` has opened, or opens now, in the place of another one if need be.

        Raises `NotWanted` once `halt` is set, and what connecting raises.
        """
        session = self._take(connect, halt)
        try:
            if session is not None and not session.answers():
                session.connection.close()
                session = None
            if session is None:
                session = Session(connect)
            with self._changed:
                self._since[session] = time.monotonic()
            yield session
        finally:
            with self._changed:
                self._lent -= 1
                if session is not None:
                    self._since.pop(session, None)
                if session is not None and session.broken:
                    session.connection.close()
                elif session is not None:
                    session.idle_since = time.monotonic()
                    self._idle.append(session)
                self._changed.notify_all()

    def close(self) -> None:
        """Closes those that nobody has."""
        with self._changed:
            idle, self._idle = self._idle, []
        for session in idle:
            session.connection.close()

    def _hurry(self) -> None:
        """Ends the session that has been lent for longest, if none is free and it is over its turn."""
        if self._lent < self._most:
            return
        session = min(self._since, key=self._since.__getitem__, default=None)
        if session is not None and time.monotonic() - self._since[session] > self._turn:
            self._since[session] = time.monotonic()  # it has another turn if that fails
            threading.Thread(target=session.end, daemon=True).start()

    def _take(self, connect: Connect, halt: threading.Event) -> Session | None:
        """One of those that are open, or None where one may be opened; when it is the caller's turn."""
        ticket = object()
        spare: Session | None = None
        with self._changed:
            self._waiting.append(ticket)
            try:
                while self._waiting[0] is not ticket or self._lent >= self._most:
                    if halt.is_set():
                        raise NotWanted
                    self._hurry()
                    self._changed.wait(_LOOK)
                self._lent += 1
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()
            fitting = next((one for one in reversed(self._idle) if one.connect is connect), None)
            if fitting is not None:
                self._idle.remove(fitting)
                return fitting
            if self._lent + len(self._idle) > self._most:
                spare = self._idle.pop(0)  # the one that nobody has used for the longest time
        if spare is not None:
            spare.connection.close()
        return None
