"""Reads what a plan is made of. Nothing is changed: each session is read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import psycopg
from psycopg import sql

from azpg_provision import ledger, live, sync
from azpg_provision.column import Sync, VectorColumn
from azpg_provision.index.catalog import indexes
from azpg_provision.live.model import LiveDatabase
from azpg_provision.plan.state import DatabaseState, Place, State
from azpg_provision.plan.wanted import key_of, wrong
from azpg_provision.spec.model import Database, Spec
from azpg_provision.target.target import Connection, Target
from azpg_provision.vectorize import backlog

_SAMPLED = 16
"""Rows; few, because somebody waits for the plan."""
_SAMPLE = """
SELECT count(azure_local_ai.create_embeddings({model}, {prefix} || ({text})::text)),
       extract(epoch FROM clock_timestamp() - statement_timestamp())::float8
FROM (SELECT * FROM {table} LIMIT {rows}) AS {name}
"""


def inspect(target: Target, spec: Spec) -> State:
    """What the server has of what `spec` asks for. Raises `TargetUnreachable` and `LedgerMismatch`."""
    server = live.read(target, spec)
    databases = {}
    for database in spec.databases:
        if database.name in server.databases:
            with live.read_only(target, database.name) as connection:
                databases[database.name] = _database(connection, database, server.databases[database.name])
    return State(server, databases)


def _database(connection: Connection, wanted: Database, found: LiveDatabase) -> DatabaseState:
    columns = {_place(column): column for column in ledger.columns(connection)}
    named = {(table.schema_, table.name, embedding.column) for table, embedding in wanted.embeddings()}
    kept = {place: column for place, column in columns.items() if place in named}
    return DatabaseState(
        live=found,
        ledger=ledger.exists(connection),
        owned=ledger.owned(connection),
        columns=columns,
        left=ledger.left(connection),
        in_step=frozenset(place for place, column in kept.items() if sync.installed(connection, column)),
        indexes={place: indexes(connection, column) for place, column in kept.items()},
        pending={place: _pending(connection, column) for place, column in kept.items()},
        texts=dict(_texts(connection, wanted, found)),
        rates=dict(_rates(connection, wanted, found, kept)),
    )


def _pending(connection: Connection, column: VectorColumn) -> int | None:
    try:
        return backlog(connection, column).pending
    except psycopg.Error:  # such as for a text that names a column which is gone
        return None


def _texts(connection: Connection, wanted: Database, found: LiveDatabase) -> Iterator[tuple[Place, str]]:
    """Why the text of a column cannot be had, for those of tables that can have the column."""
    for table, embedding in wanted.embeddings():
        live_table = found.tables.get((table.schema_, table.name))
        if live_table is None or wrong(table, embedding, live_table):
            continue
        path = sync.schemas(table.schema_, key_of(table, live_table) or ())
        trouble = live.text_trouble(connection, table.schema_, table.name, embedding.text, path)
        if trouble:
            yield (table.schema_, table.name, embedding.column), trouble


def _rates(
    connection: Connection, wanted: Database, found: LiveDatabase, kept: Mapping[Place, VectorColumn]
) -> Iterator[tuple[Place, float]]:
    """How fast the rows of each column that is to be generated, and is not yet, are embedded one by one."""
    for table, embedding in wanted.embeddings():
        place = (table.schema_, table.name, embedding.column)
        live_table = found.tables.get(place[:2])
        old = kept.get(place)
        there = old is not None and old.sync is Sync.GENERATED and old.text == embedding.text
        if (
            embedding.sync != "generated"
            or there
            or live_table is None
            or wrong(table, embedding, live_table)
        ):
            continue
        statements = [
            sql.SQL(_SAMPLE).format(
                model=sql.Literal(embedding.model),
                prefix=sql.Literal(embedding.prefix),
                text=sql.SQL(embedding.text),
                table=sql.Identifier(*place[:2]),
                name=sql.Identifier(table.name),
                rows=sql.Literal(rows),
            )
            for rows in (1, _SAMPLED)  # the first call may have to load the model
        ]
        try:
            done, seconds = [connection.execute(one).fetchone() or (0, 0) for one in statements][-1]
        except psycopg.Error:  # such as for a model that is not registered yet
            continue
        if done and seconds:
            yield place, done / seconds


def _place(column: VectorColumn) -> Place:
    return (column.schema, column.table, column.column)
