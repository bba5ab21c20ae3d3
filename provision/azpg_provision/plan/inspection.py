"""Reads what a plan is made of. Nothing is changed, and nothing of a spec is run: see `live.read_only`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import replace

import psycopg
from psycopg import sql

from azpg_provision import ledger, live, sync
from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import PlanRefused
from azpg_provision.index.catalog import indexes
from azpg_provision.live.model import LiveDatabase
from azpg_provision.plan import init_files
from azpg_provision.plan.sampling import rows_per_second
from azpg_provision.plan.state import DatabaseState, Place, State
from azpg_provision.plan.wanted import key_of, without_own, wrong
from azpg_provision.spec.model import Database, Spec
from azpg_provision.sync import acting
from azpg_provision.sync.judging import Verdict, verdicts
from azpg_provision.sync.tables import Wanted
from azpg_provision.target.target import Connection, Target
from azpg_provision.vectorize import noted, pending


def inspect(target: Target, spec: Spec, *, quick: bool = False, vectors: bool = False) -> State:
    """What the server has of what `spec` asks for. Raises `TargetUnreachable` and `LedgerMismatch`.

    With `quick`, rows that wait are those of which triggers know, where these are in place. With `vectors`
    every vector is read, too, for those that somebody has replaced.
    """
    server = live.read(target, spec)
    databases = {}
    for database in spec.databases:
        if database.name in server.databases:
            with live.read_only(target, database.name) as connection:
                found = _database(
                    connection, database, server.databases[database.name], quick=quick, vectors=vectors
                )
            rates = dict(_rates(target, database, found))
            databases[database.name] = replace(found, rates=rates)
    return State(server, databases)


def _database(
    connection: Connection, wanted: Database, found: LiveDatabase, *, quick: bool, vectors: bool
) -> DatabaseState:
    columns = {_place(column): column for column in ledger.columns(connection)}
    named = {(table.schema_, table.name, embedding.column) for table, embedding in wanted.embeddings()}
    kept = {place: column for place, column in columns.items() if place in named}
    found = _without_own(found, ledger.numbers(connection), {column.id for column in kept.values()})
    # Of all tables at once, and of one once more only if anything was committed before it is looked at.
    judged_in = _snapshot(connection)
    owners, of_columns = _judged(connection, wanted, found, kept)
    usable = sync.all_usable(connection, list(kept.values()), of_columns)
    fit = {place: column for place, column in kept.items() if column.id in usable}
    installed = sync.all_in_step(connection, list(fit.values()))
    in_step = frozenset(place for place, column in fit.items() if column.id in installed)
    owned, version = ledger.owned(connection), ledger.version(connection)
    to_run = [file for file in wanted.init if ("init", file.path) not in owned]
    return DatabaseState(
        live=found,
        ledger=version is not None,
        version=version,
        owned=owned,
        init=tuple(init_files.troubles(connection, to_run[:1])),
        later_init=tuple(init_files.troubles(connection, to_run[1:])),
        columns=columns,
        left=ledger.left(connection),
        former=tuple(ledger.former_owners(connection, {place[:2] for place in named})),
        in_step=in_step,
        indexes={place: indexes(connection, column) for place, column in kept.items()},
        pending={
            # Otherwise its sync is made anew, and rows that wait get their embedding then.
            place: _pending(connection, column, judged_in, quick=quick and place in in_step, vectors=vectors)
            if place in fit
            else 0
            for place, column in kept.items()
        },
        texts=dict(_texts(connection, wanted, found)),
        owners=owners,
    )


def _without_own(
    found: LiveDatabase, numbers: Mapping[tuple[str, str], set[int]], kept: set[int]
) -> LiveDatabase:
    tables = {
        place: without_own(table, own := numbers.get(place, set()), own & kept)
        for place, table in found.tables.items()
    }
    return replace(found, tables=tables)


def _judged(
    connection: Connection, wanted: Database, found: LiveDatabase, kept: Mapping[Place, VectorColumn]
) -> tuple[dict[tuple[str, str], str], dict[int, Verdict]]:
    """Why rows of tables cannot be embedded as their owners, and what there is to say for columns, by number.

    The key of a column as the ledger has it may be another one than the spec's.
    """
    tables: dict[tuple[str, str], Wanted] = {}
    columns: dict[int, Wanted] = {}
    for table in wanted.tables:
        place = (table.schema_, table.name)
        live_table = found.tables.get(place)
        keys = () if live_table is None else key_of(table, live_table) or ()
        tables[place] = Wanted(
            sql.Identifier(*place).as_string(),
            tuple(sorted(key.name for key in keys)),
            tuple(sorted(embedding.column for embedding in table.embeddings)),
            strict=any(embedding.sync != "generated" for embedding in table.embeddings),
        )
    for column in kept.values():
        of, own = tables[column.schema, column.table], acting.wanted_of(column)
        columns[column.id] = replace(of, keys=own.keys, strict=of.strict or own.strict)
    asked = list(dict.fromkeys([*tables.values(), *columns.values()]))
    said = dict(zip(asked, verdicts(connection, asked), strict=True))
    return (
        {place: said[one].why for place, one in tables.items()},
        {number: said[one] for number, one in columns.items()},
    )


def _snapshot(connection: Connection) -> str:
    """What is committed: where it is the same as before, so is all that was judged."""
    row = connection.execute("SELECT pg_catalog.pg_current_snapshot()::pg_catalog.text").fetchone()
    assert row is not None
    return str(row[0])


def _pending(
    connection: Connection, column: VectorColumn, judged_in: str, *, quick: bool, vectors: bool
) -> int | None:
    if _snapshot(connection) != judged_in and not sync.bound(connection, column):  # not any more
        return 0
    if quick and (rows := noted(connection, column)) is not None:
        return rows
    try:
        with connection.transaction(force_rollback=True):  # and with it the settings of a worker
            return pending(connection, column, vectors=vectors)
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


def _rates(target: Target, wanted: Database, found: DatabaseState) -> Iterator[tuple[Place, float]]:
    """How fast the rows of each column that is to be generated, and is not yet, are embedded one by one.

    In a session of its own, which reads a table as its owner: see `azpg_provision.live.owner`.
    """
    for table, embedding in wanted.embeddings():
        place = (table.schema_, table.name, embedding.column)
        live_table = found.live.tables.get(place[:2])
        old = found.columns.get(place)
        there = old is not None and old.sync is Sync.GENERATED and old.text == embedding.text
        if (
            embedding.sync != "generated"
            or there
            or live_table is None
            or wrong(table, embedding, live_table)
            or found.owners.get(place[:2])
        ):
            continue
        rate = None
        with closing(target.connect(wanted.name)) as connection, suppress(PlanRefused):
            rate = rows_per_second(
                connection,
                relation=place[:2],
                text=embedding.text,
                prefix=embedding.prefix,
                model=embedding.model,
                path=sync.schemas(table.schema_, key_of(table, live_table) or ()),
            )
        if rate is not None:
            yield place, rate


def _place(column: VectorColumn) -> Place:
    return (column.schema, column.table, column.column)
