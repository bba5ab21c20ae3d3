"""What the tests of vectorize, sync and worker share: tables with a vectorized column, and what must hold."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from azpg_provision import ledger, sync
from azpg_provision.column import Key, Sync, VectorColumn, fingerprint_of
from azpg_provision.target.local import LocalTarget
from azpg_provision.vectorize import backlog
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI

Connection = psycopg.Connection[Any]


@dataclass(frozen=True)
class Table:
    """A table with a vectorized column, in a database of the test's own."""

    connection: Connection
    connect: Callable[[], Connection]
    column: VectorColumn

    def execute(self, statement: str) -> Any:
        """As the server admin; no parameters, so that any expression may stand in it."""
        return self.connection.execute(sql.SQL(statement))

    def backlog(self) -> tuple[int, int, int]:
        with self.connect() as connection:
            found = backlog(connection, self.column)
        return found.total, found.pending, found.failed

    def wrong(self) -> list[Any]:
        """The rows whose vector is not that of their present text, by the server's own function."""
        rows = self.connection.execute(
            sql.SQL(
                "SELECT {source}, {column}::real[], azure_local_ai.create_embeddings({model}, {source}) FROM {relation}"
            ).format(
                source=self.column.source,
                column=sql.Identifier(self.column.column),
                model=self.column.model,
                relation=self.column.relation,
            )
        ).fetchall()
        return [text for text, vector, right in rows if not _same(vector, right)]


def _same(vector: list[float] | None, right: list[float] | None) -> bool:
    if vector is None or right is None:
        return vector is right
    return bool(np.allclose(vector, right, atol=1e-6))


def connector(twin: Instance, database: str) -> Callable[[], Connection]:
    """What the commands connect with."""
    return partial(LocalTarget(twin).connect, database)


def digest(connection: Connection, model: str = URI) -> bytes:
    row = connection.execute("SELECT azure_local_ai.model_metadata(%s)", [model]).fetchone()
    assert row is not None
    return fingerprint_of(row[0])


def vectorized(
    twin: Instance,
    connection: Connection,
    *,
    create: str = "CREATE TABLE products (id bigint PRIMARY KEY, title text, embedding vector(384))",
    schema: str = "public",
    table: str = "products",
    column: str = "embedding",
    keys: tuple[Key, ...] = (Key("id", "bigint"),),
    text: str = "title",
    prefix: str = "",
    mode: Sync = Sync.NONE,
    model: str = URI,
    dimensions: int = 384,
) -> Table:
    """Makes a table, notes its column in the ledger and lets it keep up."""
    connection.execute(sql.SQL(create))
    ledger.create(connection)
    registered = ledger.register(
        connection,
        VectorColumn(
            id=0,
            schema=schema,
            table=table,
            column=column,
            keys=keys,
            text=text,
            model=model,
            prefix=prefix,
            dimensions=dimensions,
            fingerprint=digest(connection, model),
            sync=mode,
        ),
    )
    sync.install(connection, registered)
    database = connection.info.dbname
    return Table(connection, connector(twin, database), registered)


@contextlib.contextmanager
def session(table: Table) -> Iterator[Connection]:
    """Another writer, in autocommit."""
    with table.connect() as connection:
        yield connection
