"""One apply at a time on a target."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import psycopg

from azpg_provision.errors import ApplyFailed, TargetUnreachable
from azpg_provision.target.target import Connection, Target

_KEY = int.from_bytes(b"azpg", "big")
_DATABASE = "postgres"
_POLL = 0.2
"""Seconds between two tries: a lock that is waited for in PostgreSQL would hold a transaction open."""


class Lock:
    """An advisory lock, held by a session of its own; however that ends, PostgreSQL gives the lock back.

    Such locks belong to a database. This one is in `postgres`, which every server has, wherever else a
    connection string leads; a role that may not go there has it in the database that it may.
    """

    def __init__(self, target: Target, tell: Callable[[str], None]) -> None:
        self._target = target
        self._tell = tell
        self._connection: Connection | None = None

    def take(self) -> None:
        """Waits until nobody else holds it."""
        connection = self._connection = self._connect()
        told = False
        while not _try(connection):
            if not told:
                self._tell(f"Waiting for another `azpg apply` on {self._target.name}{_holder(connection)}")
            told = True
            time.sleep(_POLL)

    def _connect(self) -> Connection:
        try:
            return self._target.connect(_DATABASE)
        except TargetUnreachable:
            return self._target.connect()

    def check(self) -> None:
        """Raises `ApplyFailed` if the session has ended, so that another apply may have begun."""
        try:
            assert self._connection is not None
            self._connection.execute("SELECT")
        except psycopg.Error:
            raise ApplyFailed(
                f"the session that holds the lock on {self._target.name} has ended: run `azpg apply` again, "
                "which goes on from here."
            ) from None

    def release(self) -> None:
        """Gives it back."""
        if self._connection is not None:
            with contextlib.suppress(psycopg.Error):
                self._connection.close()
            self._connection = None


@contextlib.contextmanager
def locked(target: Target, tell: Callable[[str], None]) -> Iterator[Lock]:
    """Holds the target's lock; `tell` is told when it has to be waited for."""
    lock = Lock(target, tell)
    try:
        lock.take()
        yield lock
    finally:
        lock.release()


def _try(connection: Connection) -> bool:
    row = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [_KEY]).fetchone()
    return bool(row and row[0])


def _holder(connection: Connection) -> str:
    row = connection.execute(
        "SELECT activity.pid, activity.backend_start::timestamptz(0)::text FROM pg_catalog.pg_locks AS lock "
        "JOIN pg_catalog.pg_stat_activity AS activity USING (pid) "
        "WHERE lock.locktype = 'advisory' AND lock.objid = %s AND lock.granted AND lock.database = "
        "(SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())",
        [_KEY],
    ).fetchone()
    return f" (session {row[0]}, since {row[1]})" if row else ""
