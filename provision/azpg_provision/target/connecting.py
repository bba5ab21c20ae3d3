"""What connections to every kind of target have in common."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from azpg_provision.errors import TargetUnreachable
from azpg_provision.target.failures import FULL, is_full
from azpg_provision.target.target import Connection

OPTIONS: dict[str, Any] = {
    "application_name": "azpg",
    "client_encoding": "UTF8",
    # A session may be silent for hours while rows are embedded; what lies between would forget it.
    "keepalives_idle": 60,
    "keepalives_interval": 10,
    "options": (
        # No person's own setting, and nothing in "$user" or pg_temp, decides what a name means.
        "-c search_path=public,pg_temp "
        # Limits that a role or database has for others would end a batch, and its rows would count as failed.
        "-c statement_timeout=0 -c lock_timeout=0 "
        "-c idle_session_timeout=0 -c idle_in_transaction_session_timeout=0 "
        # A process that is killed leaves no statement behind that goes on, such as the building of an index.
        "-c client_connection_check_interval=2s"
    ),
}
CONNECT_TIMEOUT = 15
"""Seconds."""
_TRANSACTION_TIMEOUT_SINCE = 170000
"""PostgreSQL's version that has one more limit. It cannot be among `OPTIONS`, which others would refuse."""


def connect(
    name: str, conninfo: str, *, database: str, autocommit: bool, hint: str, **more: Any
) -> Connection:
    """A connection to `database` of the server that `conninfo` leads to. Raises `TargetUnreachable`.

    Args:
        name: how a person knows the target.
        conninfo: libpq's; what it says of a database is not looked at.
        database: which to connect to.
        autocommit: as psycopg's.
        hint: what to do when there is no answer.
        more: further libpq parameters, such as a password.
    """
    try:
        full = make_conninfo(
            conninfo, **{"connect_timeout": CONNECT_TIMEOUT, **OPTIONS, **more, "dbname": database}
        )
        return unlimited(psycopg.connect(full, autocommit=autocommit))
    except psycopg.Error as error:
        raise unreachable(name, database, error, hint, secrets=[str(one) for one in more.values()]) from None


def unlimited(connection: Connection) -> Connection:
    """The connection, whose transactions may last as long as they take."""
    if connection.info.server_version >= _TRANSACTION_TIMEOUT_SINCE:
        connection.execute("SET transaction_timeout = 0")
        if not connection.autocommit:
            connection.commit()
    return connection


def unreachable(
    name: str, database: str, error: psycopg.Error, hint: str, *, secrets: list[str] | None = None
) -> TargetUnreachable:
    """What psycopg said, in one line and without secrets, and what to do."""
    said = " ".join(str(error).split())
    for secret in secrets or []:
        said = said.replace(secret, "***") if len(secret) > 3 else said
    if is_full(said):
        hint = FULL
    said = said if said.endswith("?") else f"{said.rstrip('.')}."
    return TargetUnreachable(f"{name}, database {database!r}: {said} {hint}")
