"""Notes in PostgreSQL, found by what they mean: the embeddings are made in the database."""

from __future__ import annotations

import psycopg

SCHEMA = """
    CREATE TABLE notes (
        id        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        body      text NOT NULL,
        embedding vector(384) NOT NULL GENERATED ALWAYS AS
                  (azure_local_ai.create_embeddings('all-minilm-l6-v2:v1', body)::vector) STORED
    );
    CREATE INDEX ON notes USING hnsw (embedding vector_cosine_ops);
"""


def create_tables(connection: psycopg.Connection) -> None:
    """Make what the other functions need."""
    connection.execute(SCHEMA)


def add(connection: psycopg.Connection, *bodies: str) -> None:
    """Keep some notes."""
    with connection.cursor() as cursor:
        cursor.executemany("INSERT INTO notes (body) VALUES (%s)", [(body,) for body in bodies])


def search(connection: psycopg.Connection, question: str, *, limit: int = 3) -> list[str]:
    """The notes whose meaning is nearest to the question's, the nearest first."""
    query = """
        SELECT body FROM notes
        ORDER BY embedding <=> azure_local_ai.create_embeddings('all-minilm-l6-v2:v1', %s)::vector
        LIMIT %s
    """
    return [body for (body,) in connection.execute(query, [question, limit])]


def main(dsn: str, question: str) -> None:
    """Print what is found."""
    with psycopg.connect(dsn) as connection:
        for body in search(connection, question):
            print(body)
