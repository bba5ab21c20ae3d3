"""Embeddings where PostgreSQL computes them by itself: generated columns, expression indexes, parallel workers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import errors, sql

from azpg_runtime.embedding import Embedder
from azpg_runtime.models import ModelStore, StoredModel
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.unit import tiny

pytestmark = pytest.mark.every_major

Connection = psycopg.Connection[Any]
EMBEDDING = f"azure_local_ai.create_embeddings('{URI}', body)"
GENERATED = f"e vector(384) GENERATED ALWAYS AS ({EMBEDDING}::vector) STORED"
WORKERS = 2


@pytest.fixture(scope="module")
def embedder(minilm: StoredModel) -> Embedder:
    return Embedder(minilm)


def check(connection: Connection, embedder: Embedder, table: str = "t", column: str = "e") -> int:
    """Holds a column against the bodies beside it; returns how many bodies were no NULL."""
    rows = connection.execute(
        sql.SQL("SELECT body, {}::real[] FROM {}").format(sql.Identifier(column), sql.Identifier(table))
    ).fetchall()
    assert all((body is None) == (vector is None) for body, vector in rows)
    filled = [row for row in rows if row[0] is not None]
    if filled:
        expected = embedder.embed([body for body, _ in filled])
        np.testing.assert_allclose([vector for _, vector in filled], expected, atol=1e-6)
    return len(filled)


@pytest.mark.vector
def test_a_column_is_added_to_a_table_with_rows(connection: Connection, embedder: Embedder) -> None:
    connection.execute("CREATE TABLE t (id int, body text)")
    connection.execute("INSERT INTO t VALUES (1, 'first'), (2, NULL), (3, ''), (4, 'fourth')")
    connection.execute(f"ALTER TABLE t ADD COLUMN {GENERATED}")
    assert check(connection, embedder) == 3
    connection.execute("UPDATE t SET body = 'second' WHERE id = 2")
    connection.execute("UPDATE t SET body = NULL WHERE id = 4")
    connection.execute("INSERT INTO t (id, body) VALUES (5, 'fifth') ON CONFLICT DO NOTHING")
    assert check(connection, embedder) == 4
    with pytest.raises(errors.GeneratedAlways):
        connection.execute("UPDATE t SET e = NULL")


@pytest.mark.vector
def test_a_column_inside_a_case(connection: Connection, embedder: Embedder) -> None:
    connection.execute("CREATE TABLE t (body text)")
    connection.execute("INSERT INTO t VALUES ('one'), (NULL), ('two')")
    connection.execute(
        "ALTER TABLE t ADD COLUMN e vector(384) GENERATED ALWAYS AS"
        f" (CASE WHEN body IS NOT NULL THEN {EMBEDDING}::vector ELSE NULL END) STORED,"
        f" ADD COLUMN r real[] GENERATED ALWAYS AS (CASE WHEN body IS NULL THEN NULL ELSE {EMBEDDING} END) STORED"
    )
    connection.execute("INSERT INTO t (body) VALUES ('three'), (NULL)")
    assert check(connection, embedder) == check(connection, embedder, column="r") == 3


@pytest.mark.vector
def test_columns_of_partitioned_tables(connection: Connection, embedder: Embedder) -> None:
    connection.execute("CREATE TABLE t (id int, body text) PARTITION BY RANGE (id)")
    for name, low, high in (("low", 0, 10), ("high", 10, 20)):
        connection.execute(f"CREATE TABLE {name} PARTITION OF t FOR VALUES FROM ({low}) TO ({high})")
    connection.execute("INSERT INTO t VALUES (1, 'one'), (11, 'eleven'), (12, NULL)")
    connection.execute(f"ALTER TABLE t ADD COLUMN {GENERATED}")
    connection.execute("CREATE TABLE later PARTITION OF t FOR VALUES FROM (20) TO (30)")
    connection.execute("INSERT INTO t (id, body) VALUES (21, 'twenty-one'), (2, 'two')")
    connection.execute("UPDATE t SET id = 22 WHERE id = 2")
    assert check(connection, embedder) == 4
    assert check(connection, embedder, "later") == 2


@pytest.mark.vector
def test_a_failed_row_leaves_nothing(connection: Connection, embedder: Embedder) -> None:
    connection.execute(f"CREATE TABLE t (body text, {GENERATED})")
    with pytest.raises(errors.ProgramLimitExceeded, match="16777217 bytes"):
        connection.execute("INSERT INTO t VALUES ('a'), (repeat('a', 16 * 1024 * 1024 + 1))")
    assert check(connection, embedder) == 0
    connection.execute("INSERT INTO t VALUES ('a')")
    assert check(connection, embedder) == 1


@pytest.mark.vector
def test_copy_of_many_rows(twin: Instance, connection: Connection, tmp_path: Path) -> None:
    # A model that costs nothing: what counts here are the 5,000 calls.
    model = ModelStore(tmp_path / "store").add("tiny", tiny.write(tmp_path / "source"))
    folder = twin.home.models / "tiny"
    shutil.copytree(model.folder, folder)
    (folder / "sentence_bert_config.json").write_text(f'{{"max_seq_length": {tiny.MAX_TOKENS}}}')
    try:
        connection.execute("SELECT azure_local_ai.model_register('tiny:v1', 'tiny/model.onnx')")
    finally:
        shutil.rmtree(folder)
    try:
        connection.execute(
            f"CREATE TABLE t (body text, e vector({tiny.HIDDEN}) GENERATED ALWAYS AS"
            " (azure_local_ai.create_embeddings('tiny:v1', body)::vector) STORED)"
        )
        with connection.cursor() as cursor, cursor.copy("COPY t (body) FROM STDIN") as copy:
            for n in range(5000):
                copy.write_row((f"the {n}" if n % 100 else None,))
        assert check(connection, Embedder(model)) == 4950
    finally:
        connection.execute("SELECT azure_local_ai.model_unregister('tiny:v1')")


@pytest.mark.vector
def test_an_update_needs_no_cast(connection: Connection, embedder: Embedder) -> None:
    connection.execute("CREATE TABLE t (body text, e vector(384), r real[], any_length vector)")
    connection.execute("INSERT INTO t VALUES ('a'), (NULL), ('c')")
    connection.execute(f"UPDATE t SET e = {EMBEDDING}, r = {EMBEDDING}, any_length = {EMBEDDING}")
    for column in ("e", "r", "any_length"):
        assert check(connection, embedder, column=column) == 2
    connection.execute("CREATE TABLE short (body text, e vector(3))")
    connection.execute("INSERT INTO short VALUES ('a')")
    with pytest.raises(errors.DataException, match="expected 3 dimensions, not 384"):
        connection.execute(f"UPDATE short SET e = {EMBEDDING}")


@pytest.fixture
def wide(connection: Connection) -> Connection:
    """A table t of 300 texts that PostgreSQL reads with two workers."""
    connection.execute("CREATE TABLE t (id int, body text)")
    connection.execute(
        "INSERT INTO t SELECT n, CASE WHEN n % 50 <> 0 THEN 'text ' || n END FROM generate_series(1, 300) AS n"
    )
    connection.execute(f"ALTER TABLE t SET (parallel_workers = {WORKERS})")
    connection.execute("ANALYZE t")
    for setting in (
        f"max_parallel_workers_per_gather = {WORKERS}",
        f"max_parallel_maintenance_workers = {WORKERS}",
        "maintenance_work_mem = '128MB'",
        "min_parallel_table_scan_size = 0",
        "parallel_setup_cost = 0",
        "parallel_tuple_cost = 0",
    ):
        connection.execute(f"SET {setting}")
    return connection


@pytest.mark.parametrize(
    ("index", "said"),
    [
        (f"USING btree (({EMBEDDING}))", f"with request for {WORKERS} parallel workers"),
        pytest.param(
            f"USING hnsw (({EMBEDDING}::vector(384)) vector_cosine_ops)",
            f"using {WORKERS} parallel workers",
            marks=pytest.mark.vector,
        ),
    ],
    ids=["btree", "hnsw"],
)
def test_an_expression_index_built_in_parallel(wide: Connection, index: str, said: str) -> None:
    notices: list[str] = []
    wide.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    wide.execute("SET client_min_messages = debug1")
    wide.execute(f"CREATE INDEX by_embedding ON t {index}")
    assert any(said in notice for notice in notices), notices
    wide.execute("RESET client_min_messages")
    wide.execute("SET enable_seqscan = off")
    wide.execute("SET max_parallel_workers_per_gather = 0")
    if "btree" in index:
        query = f"SELECT id FROM t WHERE {EMBEDDING} = azure_local_ai.create_embeddings('{URI}', 'text 7')"
    else:
        query = (
            f"SELECT id FROM t ORDER BY {EMBEDDING}::vector(384)"
            f" <=> azure_local_ai.create_embeddings('{URI}', 'text 7')::vector LIMIT 1"
        )
    plan = wide.execute(f"EXPLAIN {query}").fetchall()
    assert any("by_embedding" in row[0] for row in plan)
    assert wide.execute(query).fetchall() == [(7,)]


def test_workers_embed(wide: Connection, embedder: Embedder) -> None:
    wide.execute("SET parallel_leader_participation = off")
    query = f"SELECT body, {EMBEDDING} FROM t"
    row = wide.execute(f"EXPLAIN (ANALYZE, VERBOSE, FORMAT JSON) {query}").fetchone()
    assert row is not None
    gather = row[0][0]["Plan"]
    scan = gather["Plans"][0]
    assert (gather["Node Type"], gather["Workers Launched"]) == ("Gather", WORKERS)
    # The function is called in the workers, not on their rows in the leader.
    assert any("create_embeddings" in column for column in scan["Output"])
    rows = [found for found in wide.execute(query).fetchall() if found[0] is not None]
    expected = embedder.embed([body for body, _ in rows])
    np.testing.assert_allclose([vector for _, vector in rows], expected, atol=1e-6)
    assert len(rows) == 294


def test_an_error_in_a_worker_says_the_same(wide: Connection) -> None:
    wide.execute("SET parallel_leader_participation = off")
    query = "SELECT count(azure_local_ai.create_embeddings('nothing:v1', body)) FROM t"
    plan = wide.execute(f"EXPLAIN {query}").fetchall()
    assert any("Gather" in row[0] for row in plan)
    with pytest.raises(errors.UndefinedObject, match=r"^azure_local_ai\.create_embeddings: ") as caught:
        wide.execute(query)
    assert URI in (caught.value.diag.message_hint or "")
    assert wide.execute(query.replace("nothing:v1", URI)).fetchone() == (294,)


def test_a_timeout_ends_the_workers_calls(wide: Connection) -> None:
    wide.execute("SET parallel_leader_participation = off")
    query = "SELECT count(azure_local_ai.create_embeddings(%s, repeat(body, 300))) FROM t"
    wide.execute("SET statement_timeout = 100")
    with pytest.raises(errors.QueryCanceled, match="statement timeout"):
        wide.execute(query, [URI])
    wide.execute("RESET statement_timeout")
    assert wide.execute(query.replace("repeat(body, 300)", "body"), [URI]).fetchone() == (294,)
