"""A quick look: the rows whose texts are nearest to a question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.index.catalog import indexes
from azpg_provision.index.definition import VectorIndex
from azpg_provision.live.local_ai import require
from azpg_provision.live.pgvector import schema_of
from azpg_provision.sync.acting import look
from azpg_provision.sync.bound import check, needs_text

Connection = psycopg.Connection[tuple[Any, ...]]
_QUERY_PREFIXES = {"passage: ": "query: "}
"""Models that tell passages from questions by a prefix (E5) want the other one before a question."""


@dataclass(frozen=True, slots=True)
class Found:
    """One row.

    Attributes:
        key: by column name, as JSON has it.
        text: without the column's prefix.
        distance: by the column's index, or cosine distance where it has none.
    """

    key: dict[str, Any]
    text: str
    distance: float


def search(
    connection: Connection, column: VectorColumn, question: str, *, limit: int = 10, prefix: str | None = None
) -> list[Found]:
    """The nearest rows, the nearest first, `limit` at most.

    The question gets `prefix`; None stands for the one that goes with the column's own. What it reads of the
    table it reads as the table's owner. Raises `LedgerMismatch` and `ExtensionMismatch`.
    """
    check(connection, column)
    vector_schema = schema_of(connection)
    has = indexes(connection, column)
    index = next(iter(has.values()), VectorIndex())
    if prefix is None:
        prefix = _QUERY_PREFIXES.get(column.prefix, column.prefix)
    statement = sql.SQL(
        """
        SELECT pg_catalog.json_build_object({pairs}), {text}, {distance}
        FROM {relation} AS {table} WHERE {column} IS NOT NULL ORDER BY {distance} LIMIT {limit}
        """
    ).format(
        pairs=sql.SQL(", ").join(
            # What has a cast to JSON, of its owner's making, is shown as it is printed.
            sql.SQL("{}, {}" if key.schema is None else "{}, pg_catalog.concat({})").format(
                sql.Literal(key.name), sql.Identifier(key.name)
            )
            for key in column.keys
        ),
        text=_text(column),
        relation=column.relation,
        table=sql.Identifier(column.table),
        column=sql.Identifier(column.column),
        distance=index.distance(column, _question(column, prefix + question), vector_schema),
        limit=sql.Literal(limit),
    )
    with connection.transaction(force_rollback=True):
        require(connection)
        rows = look(connection, column, statement, "key json, text text, distance float8")
    return [Found(*row) for row in rows]


def _text(column: VectorColumn) -> sql.Composed:
    """The text of a row without its prefix."""
    if not needs_text(column):
        return column.unprefixed
    text = column.text_in(sql.Identifier(column.table))
    return sql.SQL("pg_catalog.substr({}, {})").format(text, sql.Literal(len(column.prefix) + 1))


def _question(column: VectorColumn, text: str) -> sql.Composed:
    """The question's vector: computed once, because the function is IMMUTABLE and its arguments constant."""
    return sql.SQL("azure_local_ai.create_embeddings({}, {})").format(
        sql.Literal(column.model), sql.Literal(text)
    )
