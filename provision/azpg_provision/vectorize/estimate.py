"""How long the rows that wait will take, by a sample of them."""

from __future__ import annotations

import time

import psycopg
from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.target.target import Connection
from azpg_provision.vectorize.statement import stale

SAMPLE = 64
_SAMPLE = """
SELECT count(made.embedding)
FROM (
    SELECT array_agg(text) AS texts FROM (SELECT text FROM ({stale}) AS stale LIMIT {rows}) AS sample
) AS one
CROSS JOIN LATERAL azure_local_ai.create_embeddings({model}, one.texts, 4096) AS made
"""


def seconds(connection: Connection, column: VectorColumn, rows: int) -> float | None:
    """How long `rows` rows take, measured with up to `SAMPLE` of those that wait; nothing is written.

    None where there is none, or a text of them fails. The session is one of a worker's.
    """
    statement = sql.SQL(_SAMPLE).format(
        stale=stale(column, sql.SQL("true")), rows=sql.Literal(SAMPLE), model=sql.Literal(column.model)
    )
    try:
        connection.execute(sql.SQL("SELECT azure_local_ai.create_embeddings({}, '')").format(column.model))
        began = time.perf_counter()
        row = connection.execute(statement).fetchone()
    except psycopg.Error:
        return None
    return (time.perf_counter() - began) / row[0] * rows if row and row[0] else None
