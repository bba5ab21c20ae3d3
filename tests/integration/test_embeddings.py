"""The three create_embeddings, in SQL, as the server admin."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import psycopg
import pytest
from pgvector.psycopg import register_vector
from psycopg import errors

from azpg_runtime.embedding import Embedder
from azpg_runtime.models import StoredModel
from tests.conftest import URI

pytestmark = pytest.mark.every_major

Connection = psycopg.Connection[Any]
SCALAR = "SELECT azure_local_ai.create_embeddings(%s, %s)"
ARRAY = "SELECT embedding FROM azure_local_ai.create_embeddings(%s, %s::text[])"
WITH_IDS = "SELECT id, embedding FROM azure_local_ai.create_embeddings(%s, %s::text[], %s::{})"


def values(connection: Connection, query: str, *parameters: object) -> list[Any]:
    """The first column of every row."""
    return [row[0] for row in connection.execute(query, parameters).fetchall()]


@pytest.fixture(scope="module")
def embedder(minilm: StoredModel) -> Embedder:
    return Embedder(minilm)


def test_scalar_form_gives_the_embedding(connection: Connection, embedder: Embedder) -> None:
    (found,) = values(connection, SCALAR, URI, "a cat sat on a mat")
    np.testing.assert_allclose(found, embedder.embed(["a cat sat on a mat"])[0], atol=1e-6)


def test_scalar_form_is_a_real_array(connection: Connection) -> None:
    kind = values(connection, "SELECT pg_typeof(azure_local_ai.create_embeddings(%s, 'x'))::text", URI)
    assert kind == ["real[]"]


def test_scalar_form_takes_named_arguments(connection: Connection) -> None:
    found = values(
        connection,
        "SELECT x FROM azure_local_ai.create_embeddings(model_uri => %s, input => 'x', timeout_ms => 60000) AS x",
        URI,
    )
    assert len(found[0]) == 384


def test_scalar_form_has_no_batch_size(connection: Connection) -> None:
    with pytest.raises(errors.UndefinedFunction):
        connection.execute(
            "SELECT azure_local_ai.create_embeddings(%s, input => 'x', batch_size => 8)", [URI]
        )


def test_name_without_version_is_version_one(connection: Connection) -> None:
    bare, full = URI.split(":")[0], URI
    assert values(connection, SCALAR, bare, "x") == values(connection, SCALAR, full, "x")


def test_null_gives_null(connection: Connection) -> None:
    assert values(connection, SCALAR, URI, None) == [None]
    assert values(connection, SCALAR, None, "x") == [None]


@pytest.mark.parametrize("text", ["", " ", "\t\n", "🦆", "日本語のテキスト", "é" * 1000, "\x01\x7f"])
def test_any_text_has_an_embedding(connection: Connection, embedder: Embedder, text: str) -> None:
    (found,) = values(connection, SCALAR, URI, text)
    np.testing.assert_allclose(found, embedder.embed([text])[0], atol=1e-6)


def test_array_form_gives_a_row_for_each_element_in_order(connection: Connection, embedder: Embedder) -> None:
    texts = [f"text number {i} " + "word " * (i % 37) for i in range(300)]
    found = values(connection, ARRAY, URI, texts)
    np.testing.assert_allclose(found, embedder.embed(texts), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 2, 7, 128, 10**12])
def test_batch_size_does_not_change_the_vectors(connection: Connection, batch_size: int) -> None:
    texts = ["a", "b b b", "c " * 50, "d", "e e"]
    query = "SELECT embedding FROM azure_local_ai.create_embeddings(%s, %s::text[], batch_size => %s)"
    found = values(connection, query, URI, texts, batch_size)
    np.testing.assert_allclose(found, values(connection, ARRAY, URI, texts), atol=1e-6)


def test_null_elements_are_null_rows(connection: Connection) -> None:
    found = values(connection, ARRAY, URI, [None, "a", None, "b", None])
    assert [row is None for row in found] == [True, False, True, False, True]
    assert values(connection, ARRAY, URI, [None, None]) == [None, None]


def test_empty_and_null_arrays_are_no_rows(connection: Connection) -> None:
    assert values(connection, ARRAY, URI, []) == []
    assert values(connection, ARRAY, URI, None) == []
    assert connection.execute(WITH_IDS.format("integer[]"), [URI, [], []]).fetchall() == []


def test_two_dimensional_arrays_are_read_element_by_element(connection: Connection) -> None:
    query = "SELECT embedding FROM azure_local_ai.create_embeddings(%s, ARRAY[['a', 'b'], ['c', 'd']])"
    assert values(connection, query, URI) == values(connection, ARRAY, URI, ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("ids", "kind"),
    [
        ([3, 1, 2], "integer[]"),
        (["third", None, "second"], "text[]"),
        ([uuid.UUID(int=n) for n in (3, 1, 2)], "uuid[]"),
        ([2**40, -1, 0], "bigint[]"),
    ],
)
def test_ids_come_back_with_their_embeddings(connection: Connection, ids: list[Any], kind: str) -> None:
    texts = ["one", None, "three"]
    rows = connection.execute(WITH_IDS.format(kind), [URI, texts, ids]).fetchall()
    assert [row[0] for row in rows] == ids
    assert [row[1] for row in rows] == values(connection, ARRAY, URI, texts)


def test_the_documented_record_expansion_works(connection: Connection) -> None:
    connection.execute("CREATE TABLE d (doc_id int, doc text)")
    connection.execute("INSERT INTO d VALUES (1, 'a'), (2, 'b')")
    rows = connection.execute(
        "SELECT (azure_local_ai.create_embeddings(%s, array_agg(doc), array_agg(doc_id))).* FROM d", [URI]
    ).fetchall()
    assert sorted(row[0] for row in rows) == [1, 2]


def test_set_returning_form_in_the_select_list(connection: Connection) -> None:
    found = values(connection, "SELECT azure_local_ai.create_embeddings(%s, ARRAY['a', 'b'])", URI)
    assert len(found) == 2


@pytest.mark.vector
def test_generated_column_and_update_without_cast(connection: Connection, embedder: Embedder) -> None:
    register_vector(connection)
    connection.execute(
        f"""CREATE TABLE t (
            id int, body text, v vector(384), r real[],
            e vector(384) GENERATED ALWAYS AS (azure_local_ai.create_embeddings('{URI}', body)::vector) STORED)"""
    )
    connection.execute("INSERT INTO t VALUES (1, 'first'), (2, NULL), (3, 'third')")
    connection.execute(
        "UPDATE t SET v = azure_local_ai.create_embeddings(%(m)s, body),"
        " r = azure_local_ai.create_embeddings(%(m)s, body)",
        {"m": URI},
    )
    rows = connection.execute("SELECT e, v, r FROM t ORDER BY id").fetchall()
    assert rows[1] == (None, None, None)
    for row, text in ((rows[0], "first"), (rows[2], "third")):
        for column in row:
            given = column.to_numpy() if hasattr(column, "to_numpy") else column
            np.testing.assert_allclose(given, embedder.embed([text])[0], atol=1e-6)


@pytest.mark.vector
def test_nearest_neighbours_with_an_index(connection: Connection) -> None:
    connection.execute("CREATE TABLE t (id int, body text, v vector(384))")
    texts = ["a recipe for apple pie", "the orbit of the moon", "how to train a dog"]
    connection.execute(
        "INSERT INTO t SELECT n, x FROM unnest(%s::text[]) WITH ORDINALITY AS u(x, n)", [texts]
    )
    connection.execute("UPDATE t SET v = azure_local_ai.create_embeddings(%s, body)", [URI])
    connection.execute("CREATE INDEX ON t USING hnsw (v vector_cosine_ops)")
    connection.execute("SET enable_seqscan = off")
    query = "SELECT body FROM t ORDER BY v <=> azure_local_ai.create_embeddings(%s, %s)::vector LIMIT 1"
    plan = connection.execute("EXPLAIN " + query, [URI, "astronomy"]).fetchall()
    assert any("Index Scan" in row[0] for row in plan)
    assert values(connection, query, URI, "astronomy") == ["the orbit of the moon"]
    assert values(connection, query, URI, "pets") == ["how to train a dog"]


@pytest.mark.parametrize(
    ("query", "state", "message", "hint"),
    [
        (
            "SELECT azure_local_ai.create_embeddings('nothing:v1', 'x')",
            "42704",
            "azure_local_ai.create_embeddings: ",
            URI,
        ),
        (
            f"SELECT * FROM azure_local_ai.create_embeddings('{URI}', ARRAY['a', 'b'], ARRAY[1])",
            "22023",
            "ids has 1 elements and inputs has 2",
            "",
        ),
        (
            f"SELECT * FROM azure_local_ai.create_embeddings('{URI}', ARRAY['a'], batch_size => 0)",
            "22023",
            "batch_size is 0",
            "",
        ),
        (
            f"SELECT azure_local_ai.create_embeddings('{URI}', 'a', timeout_ms => 0)",
            "22023",
            "timeout_ms is 0",
            "",
        ),
        (
            f"SELECT azure_local_ai.create_embeddings('{URI}', repeat('a', 16 * 1024 * 1024 + 1))",
            "54000",
            "16777217 bytes",
            "",
        ),
        (
            f"SELECT * FROM azure_local_ai.create_embeddings('{URI}', ARRAY['a', repeat('a', 16 * 1024 * 1024 + 1)])",
            "54000",
            "16777217 bytes",
            "",
        ),
    ],
    ids=["unknown model", "ids", "batch_size", "timeout_ms", "long text", "long element"],
)
def test_bad_input_is_refused_in_words(
    connection: Connection, query: str, state: str, message: str, hint: str
) -> None:
    with pytest.raises(psycopg.Error) as caught:
        connection.execute(query)
    said = caught.value.diag
    assert said.sqlstate == state
    assert said.message_primary is not None
    assert said.message_primary.startswith("azure_local_ai.create_embeddings: ")
    assert message in said.message_primary
    assert hint in (said.message_hint or "")
    assert len(values(connection, SCALAR, URI, "the session goes on")[0]) == 384


def test_the_longest_text_is_taken(connection: Connection, embedder: Embedder) -> None:
    query = "SELECT azure_local_ai.create_embeddings(%s, repeat('word ', 1000000))"
    (found,) = values(connection, query, URI)
    np.testing.assert_allclose(found, embedder.embed(["word " * 1000])[0], atol=1e-6)


def test_an_untyped_list_is_one_text(connection: Connection) -> None:
    """As the documented signatures have it: psycopg 3 sends a list without a type, and text is preferred."""
    words = ["a", "b"]
    (as_one,) = values(connection, SCALAR, URI, "{a,b}")
    each = [values(connection, SCALAR, URI, word)[0] for word in words]
    assert values(connection, "SELECT azure_local_ai.create_embeddings(%s, %s)", URI, words) == [as_one]
    for query in (
        "SELECT azure_local_ai.create_embeddings(%s, %s::text[])",
        "SELECT azure_local_ai.create_embeddings(%s, inputs => %s)",
    ):
        assert values(connection, query, URI, words) == each


def test_what_is_no_text_in_a_database_without_encoding(twin: Any, connection: Connection) -> None:
    name = f"bytes_{uuid.uuid4().hex[:8]}"
    connection.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING SQL_ASCII LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    try:
        with twin.connect(name, autocommit=True) as other:
            other.execute("CREATE EXTENSION azure_local_ai")
            bad = r"E'caf\xe9'"
            for call, function in (
                (f"create_embeddings('{URI}', {bad})", "create_embeddings"),
                (f"create_embeddings('{URI}', ARRAY['a', {bad}])", "create_embeddings"),
                (f"create_embeddings({bad}, 'a')", "create_embeddings"),
                (f"get_setting({bad})", "get_setting"),
                (f"get_setting(ARRAY[{bad}])", "get_setting"),
                (f"set_setting({bad}, 'a')", "set_setting"),
                (f"model_metadata({bad})", "model_metadata"),
                (f"model_register('a', {bad})", "model_register"),
            ):
                with pytest.raises(errors.CharacterNotInRepertoire) as caught:
                    other.execute(f"SELECT azure_local_ai.{call}")
                assert str(caught.value.diag.message_primary).startswith(
                    f'azure_local_ai.{function}: invalid byte sequence for encoding "UTF8": 0xe9'
                )
            query = f"SELECT azure_local_ai.create_embeddings('{URI}', 'a')"
            assert values(other, query) == values(connection, query)
    finally:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_text_in_another_database_encoding(twin: Any, connection: Connection) -> None:
    name = f"latin_{uuid.uuid4().hex[:8]}"
    connection.execute(
        f"CREATE DATABASE {name} TEMPLATE template0 ENCODING LATIN1 LOCALE_PROVIDER libc LOCALE 'C'"
    )
    try:
        with twin.connect(name, autocommit=True) as other:
            other.execute("CREATE EXTENSION azure_local_ai")
            assert values(other, SCALAR, URI, "naïve café") == values(connection, SCALAR, URI, "naïve café")
    finally:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
