"""How many rows wait for an embedding."""

from __future__ import annotations

from dataclasses import dataclass

import psycopg
from psycopg import sql

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.sync.acting import look
from azpg_provision.sync.bound import check
from azpg_provision.sync.session import prepare
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import claims, keys
from azpg_provision.vectorize.statement import stale, waiting
from azpg_provision.vectorize.trouble import Remedy, remedy

_TOTAL = "SELECT pg_catalog.count(*) FROM {relation}"
_PENDING = "SELECT pg_catalog.count(*) FROM ({stale}) AS stale"
_BY_INDEX = (
    "SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off"
)
_FAILED = """
SELECT pg_catalog.count(*) FROM {state} AS azpg_state
WHERE failure IS NOT NULL AND EXISTS (SELECT FROM {relation} WHERE {same})
"""


@dataclass(frozen=True, slots=True)
class Backlog:
    """Rows of a table: all, those without an up-to-date embedding, and those whose failure is recorded."""

    total: int
    pending: int
    failed: int


def backlog(connection: Connection, column: VectorColumn, *, vectors: bool = True) -> Backlog:
    """Counts; reads every row's text, and writes nothing.

    Args:
        connection: in autocommit.
        column: as the ledger has it.
        vectors: whether every vector is read, too, so that rows count whose vector somebody has replaced: for
            500,000 rows some seconds more.

    A row whose expression fails, which nobody has recorded yet, counts as one that waits. The session is one
    of a worker's afterwards (`azpg_provision.sync.session.prepare`).
    """
    prepare(connection, column)
    check(connection, column)
    total = _total(connection, column)
    if column.sync is Sync.GENERATED:
        return Backlog(total, 0, 0)
    failed = sql.SQL(_FAILED).format(
        state=column.state, relation=column.relation, same=keys.same(column, None, "azpg_state")
    )
    number = _waiting(connection, column, vectors=vectors)
    return Backlog(total, number, _number(connection, column, failed))


def pending(connection: Connection, column: VectorColumn, *, vectors: bool = True) -> int:
    """`Backlog.pending` alone, as of `backlog`, of a column that is `sync.usable`."""
    prepare(connection, column)
    return 0 if column.sync is Sync.GENERATED else _waiting(connection, column, vectors=vectors)


def _waiting(connection: Connection, column: VectorColumn, *, vectors: bool) -> int:
    shared = _shared(connection, column, vectors=vectors)
    if shared is not None:
        return shared
    return _halved(connection, column, None, None, _total(connection, column), vectors=vectors)


def _total(connection: Connection, column: VectorColumn) -> int:
    return _number(connection, column, sql.SQL(_TOTAL).format(relation=column.relation))


def noted(connection: Connection, column: VectorColumn) -> int | None:
    """How many rows wait of which its triggers know: by its queue, or by vectors that are NULL.

    None where no triggers keep the column, or the text of one of these rows fails: `backlog` says it then.
    A row that was written without triggers, or before there were any, is not seen, nor one whose vector its
    triggers could not see to be that of its text. Of a table with a queue, only the rows are read that wait
    in it. The session stays as it is.
    """
    if column.sync is Sync.QUEUE:
        which = sql.SQL("EXISTS (SELECT FROM {} AS azpg_queue WHERE {})").format(
            column.queue, keys.same(column, None, "azpg_queue")
        )
    elif column.sync is Sync.TRIGGER:
        which = sql.SQL("{} IS NULL").format(sql.Identifier(column.table, column.column))
    else:
        return None
    query = sql.SQL(_PENDING).format(stale=stale(column, which))
    try:
        with connection.transaction(force_rollback=True):
            prepare(connection, column)
            if column.sync is Sync.QUEUE:
                connection.execute(_BY_INDEX)
            return _number(connection, column, query)
    except psycopg.Error:
        return None


def _shared(connection: Connection, column: VectorColumn, *, vectors: bool) -> int | None:
    """Those that wait, counted by several processes; None where a text fails, recorded or not."""
    try:
        return _number(connection, column, waiting(column, vectors=vectors))
    except psycopg.Error:
        return None


def _halved(
    connection: Connection,
    column: VectorColumn,
    low: list[str] | None,
    high: list[str] | None,
    rows: int,
    *,
    vectors: bool,
) -> int:
    """Those that wait after `low` and not after `high`, of about `rows`; halved where a text fails."""
    query = sql.SQL(_PENDING).format(stale=stale(column, keys.between(column, low, high), vectors=vectors))
    try:
        return _number(connection, column, query)
    except psycopg.Error as error:
        if remedy(error) is not Remedy.SMALLER:
            raise
    if rows <= 1:
        return 1
    middle = claims.end_of(connection, column, low, high, rows // 2)
    if middle is None:
        return 0
    if middle == high:  # rows have gone meanwhile
        return _halved(connection, column, low, high, rows // 2, vectors=vectors)
    return _halved(connection, column, low, middle, rows // 2, vectors=vectors) + _halved(
        connection, column, middle, high, rows - rows // 2, vectors=vectors
    )


def _number(connection: Connection, column: VectorColumn, query: sql.Composed) -> int:
    return int(look(connection, column, query, "number int8")[0][0])
