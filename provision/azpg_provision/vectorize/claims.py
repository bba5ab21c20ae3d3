"""Who is at which part of a table: ranges of keys, handed out in order, taken over from who is gone.

A pass over a table begins at its first key and ends after its last. `azpg.columns` says which pass is the
last that began, and up to which key it has been handed out, None after its end. Every run of
`azpg vectorize`, on whatever machine, takes its ranges from the same pass.

A claim is its worker's for as long as that worker's session lasts, which holds an advisory lock for it:
whatever ends the session, PostgreSQL gives the lock back. A session may last and its worker be silent, on a
computer that sleeps; so a claim expires, too. While its worker's statement runs, it is locked.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, auto

from psycopg import sql
from psycopg.types.json import Jsonb

from azpg_provision import ledger
from azpg_provision.column import VectorColumn
from azpg_provision.errors import LedgerMismatch
from azpg_provision.sync.acting import look
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import keys

Texts = list[str]
"""A key: the text of each of its columns."""

_LOCKS = int.from_bytes(b"azpg", "big")
"""The first number of the sessions' locks; the second one is the beginning of a worker's id."""
LONGEST = 60.0
"""Seconds of a lease at most. One that has longer to go is from before the clock was put back."""
DOUBLINGS = 8
"""How often a lease doubles: with each worker that has had a claim, so that one gets through at last. Of a
session that has ended it holds nothing."""
_IS_HELD = """
    held.locktype OPERATOR(pg_catalog.=) 'advisory' AND held.granted
    AND held.objsubid OPERATOR(pg_catalog.=) 2::pg_catalog.int2
    AND held.classid::pg_catalog.int8 OPERATOR(pg_catalog.=) %(locks)s::pg_catalog.int8
    AND held.objid::pg_catalog.int8 OPERATOR(pg_catalog.=)
        pg_catalog.concat('x', pg_catalog.left(claim.worker::pg_catalog.text, 8))::bit(32)::pg_catalog.int8
    AND held.database OPERATOR(pg_catalog.=) (
        SELECT here.oid FROM pg_catalog.pg_database AS here
        WHERE here.datname OPERATOR(pg_catalog.=) pg_catalog.current_database())
"""
_TAKE_OVER = """
UPDATE azpg.claims
SET worker = %(worker)s, attempts = attempts OPERATOR(pg_catalog.+) 1,
    expires = pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => least(
        %(lease)s::pg_catalog.float8 OPERATOR(pg_catalog.*) pg_catalog.power(
            2::pg_catalog.float8, least(attempts, %(doublings)s::pg_catalog.int4)::pg_catalog.float8),
        %(longest)s::pg_catalog.float8))
WHERE column_id OPERATOR(pg_catalog.=) %(column)s::pg_catalog.int4 AND id OPERATOR(pg_catalog.=) (
    SELECT id FROM azpg.claims AS claim
    WHERE column_id OPERATOR(pg_catalog.=) %(column)s::pg_catalog.int4 AND (
        expires OPERATOR(pg_catalog.<) pg_catalog.clock_timestamp()
        OR expires OPERATOR(pg_catalog.>) (pg_catalog.clock_timestamp()
           OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => %(longest)s::pg_catalog.float8))
        OR NOT EXISTS (SELECT FROM pg_catalog.pg_locks AS held WHERE {is_held}))
    ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING id, low, high, attempts
"""
_HOLDERS = """
SELECT DISTINCT held.pid, activity.backend_start::pg_catalog.timestamptz(0)::pg_catalog.text
FROM azpg.claims AS claim JOIN pg_catalog.pg_locks AS held ON {is_held}
LEFT JOIN pg_catalog.pg_stat_activity AS activity ON activity.pid OPERATOR(pg_catalog.=) held.pid
WHERE claim.column_id OPERATOR(pg_catalog.=) %(column)s::pg_catalog.int4
  AND NOT claim.worker OPERATOR(pg_catalog.=) ANY (%(own)s::pg_catalog.uuid[]) ORDER BY 1
"""
_SPAN = """
WITH span AS MATERIALIZED (
    SELECT {keys} FROM {relation} WHERE {which} ORDER BY {listed} LIMIT {rows}
)
SELECT {last}, (SELECT pg_catalog.count(*) FROM span) FROM span ORDER BY {backwards} LIMIT 1
"""
_PROGRESS = """
SELECT pass, position FROM azpg.columns
WHERE id OPERATOR(pg_catalog.=) %s::pg_catalog.int4 AND definition OPERATOR(pg_catalog.=) %s::pg_catalog.jsonb
"""
_ADVANCED = """
UPDATE azpg.columns SET pass = %s, position = %s::pg_catalog.text[]
WHERE id OPERATOR(pg_catalog.=) %s::pg_catalog.int4
"""
_CLAIM = """
INSERT INTO azpg.claims (column_id, low, high, worker, expires)
VALUES (%s, %s, %s, %s, pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+)
                        pg_catalog.make_interval(secs => %s::pg_catalog.float8)) RETURNING id
"""
_ANY_CLAIM = (
    "SELECT EXISTS (SELECT FROM azpg.claims WHERE column_id OPERATOR(pg_catalog.=) %s::pg_catalog.int4)"
)


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
        return min(first * 2.0 ** min(self.attempts - 1, DOUBLINGS), LONGEST)


class Nothing(Enum):
    """Why there is no claim to have."""

    BUSY = auto()
    """Everything is handed out, and somebody is still at it."""
    OVER = auto()
    """The pass that was asked for is over."""


def attend(connection: Connection) -> uuid.UUID:
    """The id of a new worker, whose claims are its own for as long as this session lasts."""
    worker = uuid.uuid4()
    number = int.from_bytes(worker.bytes[:4], "big", signed=True)
    connection.execute("SELECT pg_catalog.pg_advisory_lock_shared(%s::int, %s::int)", [_LOCKS, number])
    return worker


def holders(connection: Connection, column: VectorColumn, own: Collection[uuid.UUID]) -> list[str]:
    """The sessions of workers that have claims, but for those in `own`: ``session 4711, since …``."""
    values = {"locks": _LOCKS, "column": column.id, "own": list(own)}
    rows = connection.execute(sql.SQL(_HOLDERS).format(is_held=sql.SQL(_IS_HELD)), values).fetchall()
    return [f"session {pid}" + (f", since {since}" if since else "") for pid, since in rows]


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
        worker: who asks; see `attend`.
        goal: the last pass that is to be begun.
        rows: the rows of the range; how many of them need an embedding is not known.
        lease: seconds, `LONGEST` at most.
    """
    values = {
        "worker": worker,
        "lease": lease,
        "longest": LONGEST,
        "doublings": DOUBLINGS,
        "column": column.id,
        "locks": _LOCKS,
    }
    statement = sql.SQL(_TAKE_OVER).format(is_held=sql.SQL(_IS_HELD))
    found = connection.execute(statement, values).fetchone()
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
        high, found_rows = _span(connection, column, low, None, rows)
        # With fewer rows than that, these are the last, and nobody has to look for more.
        connection.execute(_ADVANCED, [number, high if found_rows == rows else None, column.id])
        if high is not None:
            made = connection.execute(_CLAIM, [column.id, low, high, worker, lease]).fetchone()
            assert made is not None
            return Claim(made[0], worker, low, high)
    return take(connection, column, worker, goal=goal, rows=rows, lease=lease)


def end_of(
    connection: Connection, column: VectorColumn, low: Texts | None, high: Texts | None, rows: int
) -> Texts | None:
    """The last of the next `rows` keys after `low` and not after `high`; None if there is no such row."""
    return _span(connection, column, low, high, rows)[0]


def _span(
    connection: Connection, column: VectorColumn, low: Texts | None, high: Texts | None, rows: int
) -> tuple[Texts | None, int]:
    """The same, and how many they are."""
    statement = sql.SQL(_SPAN).format(
        keys=keys.named(column),
        relation=column.relation,
        which=keys.between(column, low, high),
        listed=keys.listed(column),
        rows=sql.Literal(rows),
        last=keys.as_text(column),
        backwards=sql.SQL(", ").join(sql.SQL("{} DESC").format(one) for one in column.own_keys),
    )
    found = look(connection, column, statement, "last text[], number int8")
    return (found[0][0], found[0][1]) if found else (None, 0)


def count(connection: Connection, column: VectorColumn, claim: Claim, most: int) -> int:
    """The rows of a claim, `most` at most."""
    statement = sql.SQL(
        "SELECT pg_catalog.count(*) FROM (SELECT FROM {relation} WHERE {which} LIMIT {most}) AS rows"
    ).format(
        relation=column.relation,
        which=keys.between(column, claim.low, claim.high),
        most=sql.Literal(most),
    )
    return int(look(connection, column, statement, "number int8")[0][0])


def renew(connection: Connection, column: VectorColumn, claim: Claim, lease: float) -> bool:
    """Keeps a claim for `lease` seconds more; False if it is somebody else's by now."""
    statement = sql.SQL("UPDATE azpg.claims SET expires = {} WHERE {}").format(_in(lease), _of(column, claim))
    return connection.execute(statement).rowcount == 1


def hold(connection: Connection, column: VectorColumn, claim: Claim) -> bool:
    """Whether the claim is still its worker's, which it then is until the transaction's end."""
    query = sql.SQL("SELECT FROM azpg.claims WHERE {} AND {} FOR UPDATE")
    statement = query.format(_of(column, claim), unchanged(column))
    return connection.execute(statement).fetchone() is not None


def unchanged(column: VectorColumn) -> sql.Composed:
    """A condition: whether the ledger still has the column as it is here, model, prefix and all."""
    return sql.SQL(
        "EXISTS (SELECT FROM azpg.columns WHERE id OPERATOR(pg_catalog.=) {}"
        " AND definition OPERATOR(pg_catalog.=) {})"
    ).format(sql.Literal(column.id), sql.Literal(Jsonb(ledger.definition(column))))


def advance(
    connection: Connection,
    column: VectorColumn,
    claim: Claim,
    end: Texts,
    lease: float,
    *,
    left: Texts | None,
) -> None:
    """Notes that all up to `end` is done, or up to `left` where rows were left over.

    After the claim's last row it is given back.
    """
    if left is None and end == claim.high:
        statement = sql.SQL("DELETE FROM azpg.claims WHERE {}").format(_of(column, claim))
    else:
        statement = sql.SQL(
            "UPDATE azpg.claims SET expires = {}, low = {}::pg_catalog.text[] WHERE {}"
        ).format(_in(lease), sql.Literal(left or end), _of(column, claim))
    connection.execute(statement)


def release(connection: Connection, column: VectorColumn, claim: Claim) -> None:
    """Gives a claim back: anybody may go on with it at once."""
    statement = sql.SQL("UPDATE azpg.claims SET expires = '-infinity' WHERE {}").format(_of(column, claim))
    connection.execute(statement)


def _in(seconds: float) -> sql.Composed:
    return sql.SQL(
        "pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(secs => {})"
    ).format(sql.Literal(float(seconds)))


def _of(column: VectorColumn, claim: Claim) -> sql.Composed:
    return sql.SQL("(column_id, id, worker) OPERATOR(pg_catalog.=) ({}, {}, {}::pg_catalog.uuid)").format(
        sql.Literal(column.id), sql.Literal(claim.id), sql.Literal(str(claim.worker))
    )


def _left(connection: Connection, column: VectorColumn) -> Nothing:
    row = connection.execute(_ANY_CLAIM, [column.id]).fetchone()
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
