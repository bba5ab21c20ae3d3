"""One apply at a time on a target."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg

from azpg_provision.errors import ApplyFailed, TargetUnreachable
from azpg_provision.target.target import Connection, Target

_KEY = int.from_bytes(b"azpg", "big")
_DATABASE = "postgres"
_POLL = 0.2
"""Seconds between two tries: a lock that is waited for in PostgreSQL would hold a transaction open."""
PATIENCE = 60.0
"""Seconds for which the database of the lock may be out of reach, such as because the server is full."""
TURN = 600.0
"""Seconds for which somebody else may hold the lock, which whoever may log in could do for ever."""
_BARRED = """
SELECT NOT EXISTS (
    SELECT FROM pg_catalog.pg_database
    WHERE datname OPERATOR(pg_catalog.=) %s AND pg_catalog.has_database_privilege(datname, 'CONNECT'))
"""
"""Whether the role may never go there: 3D000 and 42501, which libpq does not tell of a connection."""
_HOLDER = """
SELECT activity.pid, activity.usename::pg_catalog.text, activity.application_name::pg_catalog.text,
       activity.backend_start::pg_catalog.timestamptz(0)::pg_catalog.text
FROM pg_catalog.pg_locks AS lock
JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid OPERATOR(pg_catalog.=) lock.pid
JOIN pg_catalog.pg_database AS database ON database.oid OPERATOR(pg_catalog.=) lock.database
WHERE lock.locktype OPERATOR(pg_catalog.=) 'advisory' AND lock.granted
      AND lock.classid OPERATOR(pg_catalog.=) 0::pg_catalog.oid
      AND lock.objid OPERATOR(pg_catalog.=) %s::pg_catalog.oid
      AND lock.objsubid OPERATOR(pg_catalog.=) 1::pg_catalog.int2
      AND database.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()
"""
_BARRED_SIGNS = ("pg_hba.conf", "no such database")
"""The same for 28000, in whatever language the server speaks, and for PgBouncer's 3D000."""


@dataclass(frozen=True, slots=True)
class _Holder:
    """A session that has the lock; since when is not told to everybody."""

    pid: int
    role: str | None
    application: str | None
    since: str | None

    def __str__(self) -> str:
        # Both names are what their owner chose them to be.
        since = "" if self.since is None else f", since {self.since}"
        return f"session {self.pid} of the role {self.role!r}, application {self.application!r}{since}"


class Lock:
    """An advisory lock, held by a session of its own; however that ends, PostgreSQL gives the lock back.

    Such locks belong to a database. This one is in `postgres`, which every server has, wherever else a
    connection string leads. Only where that does not exist, or a role may not go there, it is in the database
    that the connection string names; otherwise two applies could hold a lock each.

    Args:
        target: what is locked.
        tell: told, in a sentence, what is waited for.
        patience: seconds for which `postgres` may be out of reach.
        turn: seconds for which somebody else may hold it.
    """

    def __init__(
        self, target: Target, tell: Callable[[str], None], *, patience: float = PATIENCE, turn: float = TURN
    ) -> None:
        self._target = target
        self._tell = tell
        self._patience = patience
        self._turn = turn
        self._connection: Connection | None = None

    def take(self) -> None:
        """Waits until nobody else holds it. Raises `ApplyFailed` if that takes too long."""
        told = False
        deadline = time.monotonic() + self._turn
        while True:
            connection = self._connection = self._connect()
            answered = False
            try:
                while not _try(connection):
                    answered = True
                    if not told:
                        holder = _holder(connection)
                        told_whom = f" ({holder})" if holder is not None else ""
                        self._tell(f"Waiting for another `azpg apply` on {self._target.name}{told_whom}")
                    told = True
                    if time.monotonic() >= deadline:
                        raise self._held(_holder(connection))
                    time.sleep(_POLL)
            except psycopg.OperationalError:
                if not answered:
                    raise
                self.release()  # the session has ended, as when the other apply restarts the server
            else:
                return

    def _held(self, holder: _Holder | None) -> ApplyFailed:
        said = f"the lock that keeps two applies on {self._target.name} apart is still somebody else's after "
        said += f"{self._turn:.0f} s"
        if holder is None:
            return ApplyFailed(f"{said}. Run `azpg apply` again.")
        return ApplyFailed(
            f"{said}: it has the {holder}. If that is an `azpg apply`, run this one again when it has ended; "
            f"if not, end it: SELECT pg_terminate_backend({holder.pid})."
        )

    def _connect(self) -> Connection:
        """A session in the lock's database. Raises `ApplyFailed` after `patience`."""
        deadline = time.monotonic() + self._patience
        told = False
        while True:
            try:
                return self._target.connect(_DATABASE)
            except TargetUnreachable as error:
                why = str(error)
            if (connection := self._elsewhere(why)) is not None:
                return connection
            if time.monotonic() >= deadline:
                raise ApplyFailed(
                    f"the lock that keeps two applies apart is in the database {_DATABASE}, which cannot be "
                    f"reached: {why} Run `azpg apply` again then."
                )
            if not told:
                self._tell(f"Waiting for the database {_DATABASE}, in which applies are kept apart: {why}")
            told = True
            time.sleep(_POLL)

    def _elsewhere(self, why: str) -> Connection | None:
        """A session in the connection string's own database, if the role may never go to the lock's."""
        try:
            connection = self._target.connect()
        except TargetUnreachable:
            return None
        try:
            row = connection.execute(_BARRED, [_DATABASE]).fetchone()
        except psycopg.Error:
            connection.close()
            return None
        if not (row and row[0]) and not any(sign in why for sign in _BARRED_SIGNS):
            connection.close()
            return None
        self._tell(
            f"The database {_DATABASE} is closed to this role: an apply is kept apart from those only that "
            f"come to {connection.info.dbname}, too"
        )
        return connection

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
def locked(
    target: Target, tell: Callable[[str], None], *, patience: float = PATIENCE, turn: float = TURN
) -> Iterator[Lock]:
    """Holds the target's lock, as `Lock` says."""
    lock = Lock(target, tell, patience=patience, turn=turn)
    try:
        lock.take()
        yield lock
    finally:
        lock.release()


def _try(connection: Connection) -> bool:
    row = connection.execute("SELECT pg_catalog.pg_try_advisory_lock(%s)", [_KEY]).fetchone()
    return bool(row and row[0])


def _holder(connection: Connection) -> _Holder | None:
    row = connection.execute(_HOLDER, [_KEY]).fetchone()
    return _Holder(*row) if row else None
