"""Counting the rows that wait, by the one query over all of them, finds as many as the query that embeds."""

from __future__ import annotations

from itertools import product
from typing import Any

import psycopg
import pytest
from psycopg import sql

from azpg_provision.sync.session import prepare
from azpg_provision.vectorize import backlog, pending
from azpg_provision.vectorize.statement import stale, waiting
from azpg_runtime.postgres.instance import Instance
from tests.integration.vectorized import vectorized

Connection = psycopg.Connection[Any]
pytestmark = [pytest.mark.every_major, pytest.mark.vector]

TITLES = ("'a text'", "NULL")
VECTORS = ("NULL", "array_fill(1, ARRAY[384])::vector")
# What is known of a row: nothing, the hash of its text or of the row as a whole, or another one.
HASHES = (None, "azpg.hash_of_text(products)", "azpg.hash_of_row(products)", r"'\x00'::bytea")
FAILURES = ("NULL", "'it failed'")
SEEN = ("NULL", r"'\x00'", "sha256(array_send(embedding::real[]))")


@pytest.mark.parametrize("vectors", [False, True])
def test_the_query_over_all_rows_counts_what_waits(
    twin: Instance, connection: Connection, vectors: bool
) -> None:
    table = vectorized(twin, connection)
    fingerprint = sql.Literal(table.column.fingerprint)
    for name, text in (("text", "title"), ("row", "products::text")):
        connection.execute(
            sql.SQL(
                "CREATE FUNCTION azpg.{}(products) RETURNS bytea LANGUAGE sql"
                " AS $$ SELECT sha256({}::bytea || convert_to({}, 'UTF8')) FROM (SELECT $1.*) AS products $$"
            ).format(sql.Identifier(f"hash_of_{name}"), fingerprint, sql.SQL(text))
        )
    number = 0
    for title, vector, hash_, failure, seen in product(TITLES, VECTORS, HASHES, FAILURES, SEEN):
        number += 1
        connection.execute(f"INSERT INTO products VALUES ({number}, {title}, {vector})")
        if hash_ is not None:
            connection.execute(
                "INSERT INTO azpg.state_1 (key_1, hash, failure, vector)"
                f" SELECT id, coalesce({hash_}, '\\x01'::bytea), {failure}, {seen} FROM products WHERE id = {number}"
            )
    prepare(connection, table.column)
    found = sql.SQL("SELECT count(*) FROM ({}) AS stale").format(
        stale(table.column, sql.SQL("true"), vectors=vectors)
    )
    ((expected,),) = connection.execute(found).fetchall()
    assert 0 < expected < number
    assert connection.execute(waiting(table.column, vectors=vectors)).fetchall() == [(expected,)]
    assert pending(connection, table.column, vectors=vectors) == expected
    counted = backlog(connection, table.column, vectors=vectors)
    assert (counted.total, counted.pending) == (number, expected)
