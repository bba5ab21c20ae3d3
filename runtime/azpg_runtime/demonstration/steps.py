"""The steps of the Azure documents, each a statement that can be pasted into psql.

The statements stand here as text, because the demonstration prints exactly what it runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import sql

from azpg_runtime.demonstration.passages import Passage

MODEL = "all-minilm-l6-v2"
URI = f"{MODEL}:v1"
DATABASE = "demo"

CREATE_EXTENSIONS = "CREATE EXTENSION vector;\nCREATE EXTENSION azure_local_ai;"
REGISTER = f"SELECT azure_local_ai.model_register('{URI}', '{MODEL}');"
CREATE_TABLE = """\
CREATE TABLE passages (
    id    integer PRIMARY KEY,
    topic text NOT NULL,
    title text NOT NULL,
    body  text NOT NULL
);"""
COPY = "COPY passages (id, topic, title, body) FROM STDIN"
ADD_COLUMN = "ALTER TABLE passages ADD COLUMN embedding vector(384);"
VECTORIZE = """\
WITH batch AS (
    SELECT array_agg(id ORDER BY id) AS ids, array_agg(title || E'\\n' || body ORDER BY id) AS texts
    FROM (SELECT * FROM passages WHERE embedding IS NULL ORDER BY id LIMIT 256) AS waiting
)
UPDATE passages SET embedding = made.embedding
FROM batch, azure_local_ai.create_embeddings('all-minilm-l6-v2:v1', batch.texts, batch.ids) AS made
WHERE passages.id = made.id;"""
CREATE_INDEX = "CREATE INDEX ON passages USING hnsw (embedding vector_cosine_ops);"
SEARCH = """\
WITH question AS (
    SELECT azure_local_ai.create_embeddings(
        'all-minilm-l6-v2:v1',
        {}
    )::vector AS vector
)
SELECT topic, title, body, 1 - (embedding <=> (SELECT vector FROM question)) AS score
FROM passages
ORDER BY embedding <=> (SELECT vector FROM question)
LIMIT 3;"""

QUESTIONS = (
    "how do I make my class iterable",
    "what is run on the way out of a try block",
    "how do I assign to a global variable inside a function",
    "how do I write a number with thousands separators",
    "why is my default argument shared between calls",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """A passage found for a question; `score` is the cosine similarity, at most 1."""

    topic: str
    title: str
    body: str
    score: float


def load(connection: psycopg.Connection[Any], passages: list[Passage]) -> None:
    """Creates and fills the table."""
    connection.execute(CREATE_TABLE)
    with connection.cursor() as cursor, cursor.copy(COPY) as copy:
        for number, passage in enumerate(passages, start=1):
            copy.write_row((number, passage.topic, passage.title, passage.body))


def vectorize(connection: psycopg.Connection[Any]) -> Iterator[int]:
    """Embeds what has no embedding, committing batch by batch, and yields how many rows each batch had."""
    while done := connection.execute(VECTORIZE).rowcount:
        yield done


def search_statement(question: str) -> sql.Composed:
    """The statement that answers `question`."""
    return sql.SQL(SEARCH).format(question)


def search(connection: psycopg.Connection[Any], question: str) -> list[Answer]:
    """The three passages nearest to `question`, best first."""
    rows = connection.execute(search_statement(question)).fetchall()
    return [Answer(*row) for row in rows]
