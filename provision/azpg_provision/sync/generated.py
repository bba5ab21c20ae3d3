"""The column that PostgreSQL keeps in step by itself."""

from __future__ import annotations

from psycopg import sql

from azpg_provision.column import VectorColumn


def add_generated(column: VectorColumn, *, vector: sql.Composable | None = None) -> sql.Composed:
    """The statement that adds a generated column, which rewrites the table under an exclusive lock.

    Args:
        column: its text must be IMMUTABLE.
        vector: the type, as a name; None for ``vector``, looked up on the search path.
    """
    type_ = vector or sql.Identifier("vector")
    return sql.SQL(
        "ALTER TABLE {relation} ADD COLUMN {column} {type}({dimensions})"
        " GENERATED ALWAYS AS (azure_local_ai.create_embeddings({model}, {source})::{type}) STORED"
    ).format(
        relation=column.relation,
        column=sql.Identifier(column.column),
        type=type_,
        dimensions=sql.Literal(column.dimensions),
        model=sql.Literal(column.model),
        source=column.source,
    )
