"""What the tests of vectorize, sync and worker share: tables with a vectorized column, and what must hold."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from azpg_provision import ledger, sync
from azpg_provision.column import Key, Sync, VectorColumn, fingerprint_of
from azpg_provision.spec.values import TIMEOUT
from azpg_provision.target.local import LocalTarget
from azpg_provision.vectorize import backlog
from azpg_provision.vectorize.failures import Failure, failed, forget
from azpg_runtime.models import ModelStore
from azpg_runtime.postgres.instance import Instance
from tests.conftest import URI
from tests.unit import tiny

Connection = psycopg.Connection[Any]
TINY = "tiny:v1"
"""A model that costs nothing, of `tiny.HIDDEN` dimensions: where the number of rows counts; see `tiny_model`."""
FUNCTIONS_OF_ALL = [
    *("as_applied", "has_one_owner", "in_hand", "is_as_applied", "is_last", "is_replaced", "last_before"),
    *("text_calls", "trusted_function"),
]
"""What the triggers of all columns call, in alphabetical order."""


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

    def failed(self) -> list[Failure]:
        with self.connect() as connection:
            return failed(connection, self.column)

    def forget(self) -> int:
        with self.connect() as connection:
            return forget(connection, self.column)

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
    timeout: int = TIMEOUT,
) -> Table:
    """Makes a table, notes its column in the ledger and lets it keep up."""
    connection.execute(sql.SQL(create))
    ledger.create(connection)
    registered = kept(
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
            timeout=timeout,
        ),
    )
    database = connection.info.dbname
    return Table(connection, connector(twin, database), registered)


def kept(connection: Connection, column: VectorColumn) -> VectorColumn:
    """Notes how a column is vectorized and lets it keep up, as apply does."""
    return sync.install(connection, ledger.register(connection, column))


@contextlib.contextmanager
def session(table: Table) -> Iterator[Connection]:
    """Another writer, in autocommit, with the names in sight that writers have."""
    with table.connect() as connection:
        connection.execute("SET search_path = public")
        yield connection


@contextlib.contextmanager
def tiny_model(twin: Instance, connection: Connection) -> Iterator[None]:
    """Registers `TINY` with the twin, for as long as the block lasts."""
    folder = twin.home.models / "tiny"
    with tempfile.TemporaryDirectory() as place:
        store = ModelStore(Path(place) / "store")
        shutil.copytree(store.add("tiny", tiny.write(Path(place) / "source")).folder, folder)
    (folder / "sentence_bert_config.json").write_text(f'{{"max_seq_length": {tiny.MAX_TOKENS}}}')
    try:
        connection.execute("SELECT azure_local_ai.model_register(%s, 'tiny/model.onnx')", [TINY])
    finally:
        shutil.rmtree(folder)
    try:
        yield
    finally:
        connection.execute("SELECT azure_local_ai.model_unregister(%s)", [TINY])
