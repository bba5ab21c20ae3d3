"""How long the rows that wait will take, by a sample of them."""

from __future__ import annotations

import time

import psycopg
from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.live.local_ai import require
from azpg_provision.sync.acting import look
from azpg_provision.target.target import Connection
from azpg_provision.vectorize.statement import stale

SAMPLE = 64
_SAMPLE = """
SELECT pg_catalog.count(made.embedding)
FROM (
    SELECT pg_catalog.array_agg(text) AS texts
    FROM (SELECT text FROM ({stale}) AS stale LIMIT {rows}) AS sample
) AS one
CROSS JOIN LATERAL azure_local_ai.create_embeddings({model}, one.texts, 4096) AS made
"""


def seconds(connection: Connection, column: VectorColumn, rows: int) -> float | None:
    """How long `rows` rows take, measured with up to `SAMPLE` of those that wait; nothing is written.

    None if no row waits, or the text of one fails. The session is one of a worker's. Raises
    `ExtensionMismatch`.
    """
    statement = sql.SQL(_SAMPLE).format(
        stale=stale(column, sql.SQL("true")), rows=sql.Literal(SAMPLE), model=sql.Literal(column.model)
    )
    try:
        with connection.transaction():
            require(connection)
            connection.execute(
                sql.SQL("SELECT azure_local_ai.create_embeddings({}, '')").format(column.model)
            )
            began = time.perf_counter()
            ((made,),) = look(connection, column, statement, "made int8")
    except psycopg.Error:
        return None
    return (time.perf_counter() - began) / made * rows if made else None
