"""The statements that embed: they read texts, call the model and write the vectors, all in the server.

Each is one statement, with the rights of the table's owner (`azpg_provision.sync.acting`). Texts are read and
embedded without a lock on any row; only then are the rows locked whose text is still the same, for as long as
writing takes, and those that somebody else has locked are left out. So a worker never waits for a writer's
row.

A table's row is always locked before its row in state, by workers as by the triggers of
`azpg_provision.sync`: nobody waits in a circle.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.live.local_ai import require
from azpg_provision.sync.acting import act
from azpg_provision.sync.triggers import vector_hash
from azpg_provision.target.target import Connection
from azpg_provision.vectorize import keys


@dataclass(frozen=True, slots=True)
class Batch:
    """What a statement did.

    Attributes:
        turn: whether it was its worker's turn; otherwise nothing was done.
        found: rows without an up-to-date embedding.
        taken: those of them that it took, in the order of their keys.
        written: those that have their vector now; the others were locked or changed.
        failed: those whose failure was recorded.
        last: the key of the last one taken.
    """

    turn: bool
    found: int
    taken: int
    written: int
    failed: int = 0
    last: list[str] | None = None


ANY_TURN = sql.SQL("SELECT")
"""The `turn` of a statement whose transaction has looked for it."""
NOTHING = sql.SQL("azpg_nothing AS (SELECT)")
"""The `after` of one whose transaction notes what is to be noted."""


def _template(name: str) -> sql.SQL:
    text = files(__package__).joinpath(name).read_text(encoding="utf-8")
    return sql.SQL(text)


def stale(column: VectorColumn, which: sql.Composable, *, vectors: bool = False) -> sql.Composed:
    """A query of the rows without an up-to-date embedding: key_1, …, text, hash.

    Args:
        column: the column.
        which: a condition on the table, which goes by its own name.
        vectors: whether rows count whose vector is another than the one that azpg has seen there last, for
            which every vector is read and hashed.

    The text is NULL where the expression is, and the column is not. Rows whose expression failed, and which
    have not been changed since, are none of them. Raises in the server what the expression raises.
    """
    return _template("stale.sql").format(
        keys=keys.named(column),
        which=which,
        row_is_state=keys.same(column, "azpg_row", "azpg_state"),
        own=keys.own(column, "azpg_row"),
        **_row(column, vectors=vectors),
    )


def waiting(column: VectorColumn, *, vectors: bool) -> sql.Composed:
    """A query of how many rows `stale` finds in all, which fails where any text does, also a recorded one."""
    return _template("waiting.sql").format(**_row(column, vectors=vectors))


def _row(column: VectorColumn, *, vectors: bool) -> dict[str, sql.Composable]:
    return {
        "text": column.text_in(sql.Identifier(column.table)),
        "column": sql.Identifier(column.table, column.column),
        "seen": _seen(column) if vectors else sql.SQL("NULL::pg_catalog.bytea"),
        "relation": column.relation,
        "state": column.state,
        "table_is_state": keys.same(column, None, "azpg_state"),
        "hash_of_row": hash_of_row(column),
        "fingerprint": sql.Literal(column.fingerprint),
    }


def hash_of_row(column: VectorColumn) -> sql.Composed:
    """The hash of a row as a whole, which stands for that of its text where the expression fails.

    Not of a cast to text, which whoever owned the table may have made for its rows.
    """
    return sql.SQL(
        "pg_catalog.sha256({}::pg_catalog.bytea OPERATOR(pg_catalog.||)"
        " pg_catalog.convert_to(pg_catalog.concat({}.*), 'UTF8'))"
    ).format(sql.Literal(column.fingerprint), sql.Identifier(column.table))


def batch(
    column: VectorColumn,
    *,
    turn: sql.Composable,
    which: sql.Composable,
    rows: int,
    size: int,
    after: sql.Composable,
    vectors: bool = False,
) -> sql.Composed:
    """A statement for `execute`.

    Args:
        column: the column.
        turn: the query `azpg_turn`: what is taken; where it has no row nothing is done.
        which: the condition on the table.
        rows: how many texts at most.
        size: how many bytes of them at most, but for a single one.
        after: further parts of the WITH clause.
        vectors: as of `stale`.
    """
    return _template("batch.sql").format(
        turn=turn,
        stale=stale(column, sql.SQL("{} AND EXISTS (SELECT FROM azpg_turn)").format(which), vectors=vectors),
        seen=_seen(column),
        own=keys.own(column),
        rows=sql.Literal(rows),
        size=sql.Literal(size),
        model=sql.Literal(column.model),
        relation=column.relation,
        table=sql.Identifier(column.table),
        column=sql.Identifier(column.column),
        text=column.text_in(sql.Identifier(column.table)),
        table_is_taken=keys.same(column, None, "azpg_taken"),
        table_is_held=keys.same(column, None, "azpg_held"),
        taken_own=keys.own(column, "azpg_taken"),
        held_own=keys.own(column, "azpg_held"),
        state=column.state,
        last=keys.as_text(column),
        after=after,
    )


def _seen(column: VectorColumn) -> sql.Composed:
    return vector_hash(sql.Identifier(column.table, column.column))


Work = Callable[[Connection], Batch]
"""A statement of a worker's, as the table's owner."""
Within = Callable[[Connection, Work], Batch]
"""Does that in a transaction, with what has to be looked at before it and noted after it."""


def execute(connection: Connection, column: VectorColumn, statement: sql.Composed) -> Batch:
    """Executes a `batch` as the table's owner, in the caller's transaction. Raises `ExtensionMismatch`."""
    require(connection)
    answers = "turn bool, found int8, taken int8, written int8, last text[]"
    turn, found, taken, written, last = act(connection, column, statement, answers)[0]
    return Batch(turn, found, taken, written, last=last)
