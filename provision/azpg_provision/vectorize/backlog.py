"""How many rows wait for an embedding."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.sync.session import prepare
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import claims, keys
from azpg_provision.vectorize.statement import stale
from azpg_provision.vectorize.trouble import Remedy, remedy

_TOTAL = "SELECT count(*) FROM {relation}"
_PENDING = "SELECT count(*) FROM ({stale}) AS stale"
_FAILED = """
SELECT count(*) FROM {state} AS azpg_state
WHERE failure IS NOT NULL AND EXISTS (SELECT FROM {relation} WHERE {same})
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Rows of a table: all, those without an up-to-date embedding, and those whose failure is recorded."""

    total: int
    pending: int
    failed: int


def backlog(connection: Connection, column: VectorColumn) -> Backlog:
    """Counts; reads every row's text, and writes nothing.

    A row whose expression fails, which nobody has recorded yet, counts as one that waits. The session is one
    of a worker's afterwards (`azpg_provision.sync.session.prepare`).
    """
    prepare(connection, column)
    total = _number(connection, sql.SQL(_TOTAL).format(relation=column.relation))
    if column.sync is Sync.GENERATED:
        return Backlog(total, 0, 0)
    failed = sql.SQL(_FAILED).format(
        state=column.state, relation=column.relation, same=keys.same(column, None, "azpg_state")
    )
    pending = _pending(connection, column, None, None, total)
    return Backlog(total, pending, _number(connection, failed))


def _pending(
    connection: Connection, column: VectorColumn, low: list[str] | None, high: list[str] | None, rows: int
) -> int:
    """Those that wait after `low` and not after `high`, of about `rows`; halved where a text fails."""
    query = sql.SQL(_PENDING).format(stale=stale(column, keys.between(column, low, high)))
    try:
        return _number(connection, query)
    except psycopg.Error as error:
        if remedy(error) is not Remedy.SMALLER:
            raise
    if rows <= 1:
        return 1
    middle = claims.end_of(connection, column, low, high, rows // 2)
    if middle is None:
        return 0
    if middle == high:  # rows have gone meanwhile
        return _pending(connection, column, low, high, rows // 2)
    return _pending(connection, column, low, middle, rows // 2) + _pending(
        connection, column, middle, high, rows - rows // 2
    )


def _number(connection: Connection, query: sql.Composed) -> int:
    row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
