"""Who is at which part of a table: ranges of keys, handed out in order, taken over from who is gone.

A pass over a table begins at its first key and ends after its last. `azpg.columns` says which pass is the
last that began, and up to which key it has been handed out, None after its end. Every run of
`azpg vectorize`, on whatever machine, takes its ranges from the same pass. A claim is locked while its
worker's statement runs; it is anybody's when it has expired and is not locked.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from enum import Enum, auto

from psycopg import sql
from psycopg.types.json import Jsonb

from azpg_provision import ledger
from azpg_provision.column import VectorColumn
from azpg_provision.errors import LedgerMismatch
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import keys

Texts = list[str]
"""A key: the text of each of its columns."""

_TAKE_OVER = """
UPDATE azpg.claims SET worker = %(worker)s, attempts = attempts + 1,
       expires = clock_timestamp() + make_interval(secs => %(lease)s * 2 ^ least(attempts, %(doublings)s))
WHERE (column_id, id) IN (
    SELECT column_id, id FROM azpg.claims WHERE column_id = %(column)s AND expires < clock_timestamp()
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, low, high, attempts
"""
_SPAN = """
WITH span AS MATERIALIZED (
    SELECT {keys} FROM {relation} WHERE {which} ORDER BY {listed} LIMIT {rows}
)
SELECT {last} FROM span ORDER BY {backwards} LIMIT 1
"""
_PROGRESS = "SELECT pass, position FROM azpg.columns WHERE id = %s AND definition = %s"
_CLAIM = """
INSERT INTO azpg.claims (column_id, low, high, worker, expires)
VALUES (%s, %s, %s, %s, clock_timestamp() + make_interval(secs => %s)) RETURNING id
"""


DOUBLINGS = 8
"""How often a lease doubles: with each worker that has had a claim, so that one gets through at last."""


@dataclass(frozen=True, slots=True)
class Claim:
    """The rows after `low` and not after `high`, which are `worker`'s; None is before the first.

    `attempts` is how many workers have had them.
    """

    id: int
    worker: uuid.UUID
    low: Texts | None
    high: Texts
    attempts: int = 1

    def lease(self, first: float) -> float:
        """Seconds that its worker has, where the first one had `first`."""
        return first * 2.0 ** min(self.attempts - 1, DOUBLINGS)


class Nothing(Enum):
    """Why there is no claim to have."""

    BUSY = auto()
    """Everything is handed out, and somebody is still at it."""
    OVER = auto()
    """The pass that was asked for is over."""


def goal(connection: Connection, column: VectorColumn) -> int:
    """The number of the pass that has to be over for all rows of this moment to have been looked at."""
    number, _ = _progress(connection, column)
    return number + 1


def take(
    connection: Connection, column: VectorColumn, worker: uuid.UUID, *, goal: int, rows: int, lease: float
) -> Claim | Nothing:
    """A range to work at: one that somebody left, or else the next `rows` rows.

    Args:
        connection: in autocommit.
        column: the column.
        worker: who asks.
        goal: the last pass that is to be begun.
        rows: the rows of the range; how many of them need an embedding is not known.
        lease: seconds.
    """
    values = {"worker": worker, "lease": lease, "column": column.id, "doublings": DOUBLINGS}
    found = connection.execute(_TAKE_OVER, values).fetchone()
    if found is not None:
        number, low, high, attempts = found
        return Claim(number, worker, low, high, attempts)
    with connection.transaction():
        number, low = _progress(connection, column, lock=True)
        if low is None:
            # A pass begins when all of the one before is done: no row is in two claims.
            left = _left(connection, column)
            if left is Nothing.BUSY or number >= goal:
                return left
            number += 1
        high = end_of(connection, column, low, None, rows)
        connection.execute(
            "UPDATE azpg.columns SET pass = %s, position = %s WHERE id = %s", [number, high, column.id]
        )
        if high is not None:
            made = connection.execute(_CLAIM, [column.id, low, high, worker, lease]).fetchone()
            assert made is not None
            return Claim(made[0], worker, low, high)
    return take(connection, column, worker, goal=goal, rows=rows, lease=lease)


def end_of(
    connection: Connection, column: VectorColumn, low: Texts | None, high: Texts | None, rows: int
) -> Texts | None:
    """The last of the next `rows` keys after `low` and not after `high`; None where there is none."""
    statement = sql.SQL(_SPAN).format(
        keys=keys.named(column),
        relation=column.relation,
        which=keys.between(column, low, high),
        listed=keys.listed(column),
        rows=sql.Literal(rows),
        last=keys.as_text(column),
        backwards=sql.SQL(", ").join(sql.SQL("{} DESC").format(one) for one in column.own_keys),
    )
    row = connection.execute(statement).fetchone()
    return row[0] if row else None


def count(connection: Connection, column: VectorColumn, claim: Claim, most: int) -> int:
    """The rows of a claim, `most` at most."""
    statement = sql.SQL(
        "SELECT count(*) FROM (SELECT FROM {relation} WHERE {which} LIMIT {most}) AS rows"
    ).format(
        relation=column.relation,
        which=keys.between(column, claim.low, claim.high),
        most=sql.Literal(most),
    )
    row = connection.execute(statement).fetchone()
    return int(row[0]) if row else 0


def renew(connection: Connection, column: VectorColumn, claim: Claim, lease: float) -> bool:
    """Keeps a claim for `lease` seconds more; False if it is somebody else's by now."""
    statement = sql.SQL(
        "UPDATE azpg.claims SET expires = clock_timestamp() + make_interval(secs => {}) WHERE {}"
    ).format(sql.Literal(lease), _of(column, claim))
    return connection.execute(statement).rowcount == 1


def hold(column: VectorColumn, claim: Claim) -> sql.Composed:
    """A query with a row if the claim is still its worker's, which it then is until the transaction's end."""
    return sql.SQL("SELECT FROM azpg.claims WHERE {} AND {} FOR UPDATE").format(
        _of(column, claim), unchanged(column)
    )


def unchanged(column: VectorColumn) -> sql.Composed:
    """A condition: whether the ledger still has the column as it is here, model, prefix and all."""
    return sql.SQL("EXISTS (SELECT FROM azpg.columns WHERE id = {} AND definition = {})").format(
        sql.Literal(column.id), sql.Literal(Jsonb(ledger.definition(column)))
    )


def advance(column: VectorColumn, claim: Claim, end: Texts, lease: float) -> sql.Composed:
    """Parts of a WITH clause: what was taken is done, and all up to `end` if nothing was left over.

    After the claim's last row it is given back.
    """
    return sql.SQL(
        "azpg_left AS (SELECT count(*) > (SELECT count(*) FROM azpg_taken) AS any_left FROM azpg_found), "
        "azpg_over AS (DELETE FROM azpg.claims WHERE {of} AND {last} AND NOT (SELECT any_left FROM azpg_left)"
        " AND EXISTS (SELECT FROM azpg_turn)), "
        "azpg_on AS (UPDATE azpg.claims SET expires = clock_timestamp() + make_interval(secs => {lease}),"
        " low = CASE WHEN (SELECT any_left FROM azpg_left)"
        " THEN (SELECT {key} FROM azpg_taken ORDER BY n DESC LIMIT 1) ELSE {end}::text[] END"
        " WHERE {of} AND (NOT {last} OR (SELECT any_left FROM azpg_left)) AND EXISTS (SELECT FROM azpg_turn))"
    ).format(
        of=_of(column, claim),
        last=sql.Literal(end == claim.high),
        lease=sql.Literal(lease),
        key=keys.as_text(column),
        end=sql.Literal(end),
    )


def release(connection: Connection, column: VectorColumn, claim: Claim) -> None:
    """Gives a claim back: anybody may go on with it at once."""
    statement = sql.SQL("UPDATE azpg.claims SET expires = '-infinity' WHERE {}").format(_of(column, claim))
    connection.execute(statement)


def _of(column: VectorColumn, claim: Claim) -> sql.Composed:
    return sql.SQL("(column_id, id, worker) = ({}, {}, {}::uuid)").format(
        sql.Literal(column.id), sql.Literal(claim.id), sql.Literal(str(claim.worker))
    )


def _left(connection: Connection, column: VectorColumn) -> Nothing:
    query = "SELECT EXISTS (SELECT FROM azpg.claims WHERE column_id = %s)"
    row = connection.execute(query, [column.id]).fetchone()
    return Nothing.BUSY if row and row[0] else Nothing.OVER


def _progress(
    connection: Connection, column: VectorColumn, *, lock: bool = False
) -> tuple[int, Texts | None]:
    # Not FOR UPDATE: a claim refers to this row, too.
    query = _PROGRESS + (" FOR NO KEY UPDATE" if lock else "")
    row = connection.execute(query, [column.id, Jsonb(ledger.definition(column))]).fetchone()
    if row is None:
        raise LedgerMismatch(
            f"{column.name} is no longer vectorized as it was when this began: run it again, for what the "
            "ledger has now."
        )
    number, position = row
    return number, position
