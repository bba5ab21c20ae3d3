"""Rows that got no embedding: recorded with the reason, listed, and tried again when a person says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.sync.acting import act, leave, look
from azpg_provision.sync.bound import check
from azpg_provision.sync.triggers import vector_hash
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import keys
from azpg_provision.vectorize.hand import Hand, TooMuch
from azpg_provision.vectorize.statement import Batch, Within, hash_of_row
from azpg_provision.vectorize.trouble import Remedy, remedy, said

_HASH = "SELECT {hash} FROM {relation} WHERE {which}"
_RECORD = """
WITH azpg_turn AS MATERIALIZED ({turn}),
azpg_held AS MATERIALIZED (
    SELECT {named}, {seen} AS vector FROM {relation}
    WHERE {which} AND {hash} OPERATOR(pg_catalog.=) {before}::pg_catalog.bytea
      AND EXISTS (SELECT FROM azpg_turn)
    FOR NO KEY UPDATE SKIP LOCKED
),
azpg_blank AS ({blank}),
azpg_noted AS (
    INSERT INTO {state} AS noted ({own}, hash, failure, sqlstate, vector)
    SELECT {own}, hash, {failure}, {sqlstate}, vector FROM azpg_blank
    ON CONFLICT ({own}) DO UPDATE
    SET hash = excluded.hash, failure = excluded.failure, sqlstate = excluded.sqlstate, at = excluded.at,
        vector = excluded.vector,
        attempts = CASE WHEN noted.hash OPERATOR(pg_catalog.=) excluded.hash THEN noted.attempts ELSE 0 END
                   OPERATOR(pg_catalog.+) 1
),
azpg_found AS (SELECT WHERE false),
azpg_taken AS (SELECT {nulls}, 0 AS n WHERE false),
{after}
SELECT EXISTS (SELECT FROM azpg_turn), (SELECT pg_catalog.count(*) FROM azpg_blank)
"""
_BLANK = """
UPDATE {relation} SET {column} = NULL FROM azpg_held WHERE {same}
RETURNING {held}, {hash} AS hash, {seen} AS vector
"""
_KEEP = "SELECT {held}, {before}::bytea AS hash, azpg_held.vector FROM azpg_held"
_LIST = """
SELECT {key}, failure, sqlstate, attempts, at FROM {state}
WHERE failure IS NOT NULL ORDER BY {own} LIMIT {most}
"""
# Without waiting: a writer that holds a row of the table must never wait for one who waits for it here.
_FORGET = """
WITH azpg_forgotten AS (DELETE FROM {state} WHERE ctid OPERATOR(pg_catalog.=) ANY (ARRAY(
    SELECT ctid FROM {state} WHERE failure IS NOT NULL FOR UPDATE SKIP LOCKED)) RETURNING 1)
SELECT pg_catalog.count(*) FROM azpg_forgotten
"""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a row was when its embedding was tried.

    Attributes:
        expression: that of the hash: of the text, or of the whole row where there is no text.
        hash: 32 bytes.
    """

    expression: sql.Composed
    hash: bytes


@dataclass(frozen=True, slots=True)
class Failure:
    """A row without an embedding, and why; `key` as text, `at` the last attempt."""

    key: list[str]
    reason: str
    sqlstate: str | None
    attempts: int
    at: datetime


def identify(connection: Connection, column: VectorColumn, key: list[str]) -> Identity | None:
    """What the row with this key is now; None if it is gone."""
    try:
        found = _identity(connection, column, key, _hash_of_text(column))
    except psycopg.Error as error:
        if remedy(error) is not Remedy.SMALLER:
            raise
        found = None
    return found or _identity(connection, column, key, hash_of_row(column))


def record(
    hand: Hand,
    key: list[str],
    identity: Identity,
    cause: psycopg.Error,
    within: Within,
    *,
    turn: sql.Composable,
    after: sql.Composable,
) -> Batch:
    """Records a failure, unless the row has changed since, and takes its vector away.

    Where a constraint or a trigger does not let that be done, the row stays as it is, and its vector is
    noted: it must not stop the others. `turn` and `after` are those of
    `azpg_provision.vectorize.statement.batch`.
    """
    statements = [
        _record(hand.column, key, identity, cause, sql.SQL(what), turn=turn, after=after)
        for what in (_BLANK, _KEEP)
    ]
    try:
        return _attempt(hand, within, statements[0])
    except TooMuch:
        return _attempt(hand, within, statements[1])


def _attempt(hand: Hand, within: Within, statement: sql.Composed) -> Batch:
    def work(connection: Connection) -> Batch:
        answers = "turn bool, recorded int8"
        turn, recorded = act(connection, hand.column, statement, answers)[0]
        return Batch(turn, 1, 1, 0, failed=recorded)

    return hand.attempt(lambda connection: within(connection, work))


def _record(
    column: VectorColumn,
    key: list[str],
    identity: Identity,
    cause: psycopg.Error,
    blank: sql.SQL,
    *,
    turn: sql.Composable,
    after: sql.Composable,
) -> sql.Composed:
    parts = {
        "relation": column.relation,
        "column": sql.Identifier(column.column),
        "seen": vector_hash(sql.Identifier(column.table, column.column)),
        "same": keys.same(column, None, "azpg_held"),
        "held": keys.own(column, "azpg_held"),
        "hash": identity.expression,
        "before": sql.Literal(identity.hash),
    }
    return sql.SQL(_RECORD).format(
        **parts,
        blank=blank.format(**parts),
        turn=turn,
        named=keys.named(column),
        which=keys.exactly(column, key),
        own=keys.own(column),
        state=column.state,
        failure=sql.Literal(said(cause)),
        sqlstate=sql.Literal(cause.sqlstate),
        nulls=sql.SQL(", ").join(sql.SQL("NULL::text AS {}").format(one) for one in column.own_keys),
        after=after,
    )


def failed(connection: Connection, column: VectorColumn, *, most: int = 1000) -> list[Failure]:
    """The recorded failures by key, `most` at most.

    Raises `LedgerMismatch` as `azpg_provision.sync.bound.check`.
    """
    check(connection, column)
    statement = sql.SQL(_LIST).format(
        key=keys.as_text(column), state=column.state, own=keys.own(column), most=sql.Literal(most)
    )
    answers = "key text[], failure text, sqlstate text, attempts int4, at timestamptz"
    return [Failure(*row) for row in look(connection, column, statement, answers)]


def forget(connection: Connection, column: VectorColumn) -> int:
    """Lets the rows with recorded failures be tried again by the next run; returns how many.

    Raises `LedgerMismatch` as `azpg_provision.sync.bound.check`.
    """
    check(connection, column)
    statement = sql.SQL(_FORGET).format(state=column.state)
    with connection.transaction():
        ((forgotten,),) = act(connection, column, statement, "rows int8")
        leave(connection, column)
    return int(forgotten)


def _identity(
    connection: Connection, column: VectorColumn, key: list[str], expression: sql.Composed
) -> Identity | None:
    statement = sql.SQL(_HASH).format(
        hash=expression, relation=column.relation, which=keys.exactly(column, key)
    )
    rows = look(connection, column, statement, "hash bytea")
    return Identity(expression, rows[0][0]) if rows and rows[0][0] is not None else None


def _hash_of_text(column: VectorColumn) -> sql.Composed:
    return sql.SQL(
        "pg_catalog.sha256({}::pg_catalog.bytea OPERATOR(pg_catalog.||) pg_catalog.convert_to({}, 'UTF8'))"
    ).format(sql.Literal(column.fingerprint), column.text_in(sql.Identifier(column.table)))
