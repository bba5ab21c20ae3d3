"""What connections to every kind of target have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from azpg_provision.errors import TargetUnreachable
from azpg_provision.spec.secret import Secret
from azpg_provision.target.failures import FULL, is_full
from azpg_provision.target.target import Connection

OPTIONS: dict[str, Any] = {
    "application_name": "azpg",
    "client_encoding": "UTF8",
    # A session may be silent for hours while rows are embedded; what lies between would forget it.
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "options": (
        # No person's own setting decides what a name means, and nobody who may create in a schema: not in
        # public either, where what fits better would be taken before PostgreSQL's own.
        "-c search_path=pg_catalog,pg_temp "
        # A database where others only read by default; what is only looked at has `begin_read_only`.
        "-c default_transaction_read_only=off "
        # What is looked at is as it is, not as it was when the transaction began.
        "-c default_transaction_isolation=read\\ committed "
        # A text was read as one expression, with backslashes that are plain characters: where they quote, it
        # would end elsewhere.
        "-c standard_conforming_strings=on "
        # What PostgreSQL prints is compared with what it printed before.
        "-c quote_all_identifiers=off "
        # A policy of somebody's is never run with these rights: a query that one is for is an error instead.
        "-c row_security=off "
        # Nor is anybody else logged in as, such as a database's owner, because that database says so.
        "-c role=none "
        # Nor does it keep sessions from being opened, or end them at the first error.
        "-c local_preload_libraries= -c exit_on_error=off "
        # Limits that a role or database has for others would end a batch, and its rows would count as failed.
        "-c statement_timeout=0 -c lock_timeout=0 "
        "-c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0 "
        # A process that is killed leaves no statement behind that goes on, such as the building of an index.
        "-c client_connection_check_interval=2s"
    ),
}
_AGAIN: tuple[LiteralString, ...] = (
    "RESET ALL",
    "CLOSE ALL",
    "DEALLOCATE ALL",
    "UNLISTEN *",
    "DISCARD TEMP",
    "DISCARD SEQUENCES",
)
_SECRETS = ("password", "sslpassword", "oauth_client_secret")
"""What is secret in a connection string."""
CONNECT_TIMEOUT = 15
"""Seconds."""
_TRANSACTION_TIMEOUT_SINCE = 170000
"""PostgreSQL's version that has one more limit. It cannot be among `OPTIONS`, which others would refuse."""


def connect(name: str, dsn: Secret, *, database: str, autocommit: bool, hint: str) -> Connection:
    """A connection to `database` of the server that `dsn` leads to. Raises `TargetUnreachable`.

    Args:
        name: how a person knows the target.
        dsn: libpq's connection string; what it says of a database is not looked at. What is secret in it is
            kept out of the message, whatever the server said.
        database: which to connect to.
        autocommit: as psycopg's.
        hint: what to do when there is no answer.
    """
    given = dsn.reveal()
    try:
        full = make_conninfo(given, **{"connect_timeout": CONNECT_TIMEOUT, **OPTIONS, "dbname": database})
        return unlimited(psycopg.connect(full, autocommit=autocommit))
    except psycopg.Error as error:
        raise unreachable(name, database, error, hint, secrets=_secrets(given)) from None


def _secrets(dsn: str) -> list[Secret]:
    parts = conninfo_to_dict(dsn)
    return [Secret(str(parts[key])) for key in _SECRETS if parts.get(key)]


def unlimited(connection: Connection) -> Connection:
    """The connection, whose transactions may last as long as they take.

    It prepares nothing by itself, and keeps no notifications.

    psycopg would prepare what is executed often. What runs in the session as somebody else, such as a table's
    owner, could put another statement in its place, by the name that psycopg gives it.
    """
    connection.prepare_threshold = None
    connection.add_notify_handler(_forget)  # or it keeps all that comes, if what runs in the session listens
    if (statement := unlimiting(connection)) is not None:
        connection.execute(statement)
        if not connection.autocommit:
            connection.commit()
    return connection


def _forget(_: psycopg.Notify) -> None:
    pass


def unlimiting(connection: Connection) -> LiteralString | None:
    """The statement by which a session's transactions may last as long as they take, if one is needed."""
    known = connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE
    return "SET transaction_timeout = 0" if known else None


def renew(connection: Connection, *statements: LiteralString) -> None:
    """Takes out of a session what the owner of a table, whose triggers ran in it, may have left there.

    Not by DISCARD ALL, which would end the locks that the session holds.

    Args:
        connection: in no transaction.
        statements: what is then done to it, such as settings.
    """
    again = [*_AGAIN, *filter(None, [unlimiting(connection)]), *statements]
    connection.execute(sql.SQL("; ").join(map(sql.SQL, again)))


@contextmanager
def atomic(connection: Connection) -> Iterator[None]:
    """A transaction; where there is one already, a part of that, which an error ends as a whole."""
    if connection.info.transaction_status is not psycopg.pq.TransactionStatus.IDLE:
        yield
        return
    with connection.transaction():
        yield


def begin_read_only(connection: Connection) -> None:
    """Makes all that a new session does one transaction that reads only; see `live.read_only`."""
    connection.read_only = True
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    connection.autocommit = False
    # Its first query, after which nothing makes the transaction one that writes. Policies of others are not
    # run, an error is raised instead.
    connection.execute("SELECT pg_catalog.set_config('row_security', 'off', false)")


def unreachable(
    name: str, database: str, error: psycopg.Error, hint: str, *, secrets: Sequence[Secret] = ()
) -> TargetUnreachable:
    """What psycopg said, in one line and without `secrets`, and what to do."""
    said = " ".join(str(error).split())
    for secret in secrets:
        said = said.replace(secret.reveal(), "***")
    if is_full(said):
        hint = FULL
    said = said if said.endswith("?") else f"{said.rstrip('.')}."
    return TargetUnreachable(f"{name}, database {database!r}: {said} {hint}")
