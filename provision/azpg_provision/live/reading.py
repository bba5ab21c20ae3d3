"""Reads what a server has from its catalogues. Nothing is changed: see `read_only`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import errors

from azpg.extensions import normalise
from azpg.profiles import NEEDS_PRELOAD
from azpg_provision.errors import ExtensionMismatch, PlanRefused, TargetUnreachable
from azpg_provision.live import local_ai
from azpg_provision.live.count import count
from azpg_provision.live.model import LiveColumn, LiveDatabase, LiveExtension, LiveServer, LiveTable
from azpg_provision.spec.model import LOCAL_AI, Database, Spec
from azpg_provision.target.connecting import begin_read_only
from azpg_provision.target.target import Connection, Target

EXTENSIONS, PRELOAD = "azure.extensions", "shared_preload_libraries"
_TABLES = """
SELECT CAST(schemaname AS pg_catalog.text), CAST(tablename AS pg_catalog.text) FROM pg_catalog.pg_tables
WHERE schemaname OPERATOR(pg_catalog.<>) ALL (
    CAST('{pg_catalog,information_schema,azpg}' AS pg_catalog.name[]))
LIMIT 10000
"""
_HAS_LOCAL_AI = "SELECT 1 FROM pg_catalog.pg_extension WHERE extname OPERATOR(pg_catalog.=) %s"
PRINTED_PATH = "SET LOCAL search_path = public, pg_temp"
"""Types and expressions are printed, and kept in ledgers, as where `public` is in sight."""


@contextmanager
def read_only(target: Target, database: str | None = None) -> Iterator[Connection]:
    """A connection that cannot write, to the target's main database unless another is named.

    All of its session is one transaction that reads only. After its first query PostgreSQL does not let that
    be undone from inside, by whatever a query calls; the setting `default_transaction_read_only` is no such
    barrier, for it says how the next transaction begins. So an error needs a savepoint of its own
    (`connection.transaction()`), and settings that hold for a part only a `force_rollback`.
    """
    with target.connect(database) if database is not None else target.connect() as connection:
        begin_read_only(connection)
        try:
            yield connection
        finally:
            with suppress(psycopg.Error):  # no NOTIFY of what a table's owner wrote goes out
                connection.rollback()


def read(target: Target, spec: Spec) -> LiveServer:
    """What the server has of what `spec` asks for. Raises `TargetUnreachable` and `ExtensionMismatch`."""
    with read_only(target) as connection:
        row = connection.execute(_query("server")).fetchone()
        assert row is not None
        version, allowed, admin, databases, roles = row
        members, available = _members(connection, spec), _extensions(connection)
    wanted = [database for database in spec.databases if database.name in databases]
    found, settings, models = {}, None, None
    for database in wanted:
        with read_only(target, database.name) as connection:
            found[database.name] = read_database(connection, database)
            if settings is None and _has(found[database.name], LOCAL_AI):
                settings, models = _settings(connection), _models(connection, spec)
    if settings is None and (spec.models or spec.server.settings):
        settings, models = _elsewhere(target, spec, [name for name in databases if name not in found])
    return LiveServer(
        name=target.name,
        manageable=target.kind != "dsn",
        version=version,
        admin=admin,
        allowed=None if allowed is None else tuple(normalise(allowed)),
        offered=target.allowed_values(EXTENSIONS),
        preload=_preload(target),
        preloadable=target.allowed_values(PRELOAD),
        pending_restart=target.pending_restart(PRELOAD),
        available=available,
        databases=found,
        roles=frozenset(roles),
        members=members,
        settings=settings,
        models=models,
        registered=target.registered_models() if models is None and spec.models else None,
        model_troubles=_model_troubles(target, spec, models or {}),
        missing_libraries=target.missing_libraries(wanted_libraries(spec)),
    )


def wanted_libraries(spec: Spec) -> list[str]:
    """The libraries that a spec wants preloaded, for its extensions or by name."""
    extensions = [extension.name for database in spec.databases for extension in database.extensions]
    return list(
        dict.fromkeys([*(name for name in extensions if name in NEEDS_PRELOAD), *spec.server.preload])
    )


def _elsewhere(
    target: Target, spec: Spec, databases: Iterable[str]
) -> tuple[dict[str, str] | None, dict[str, Mapping[str, Any] | None] | None]:
    """Settings and models, which belong to the server, as a database says that is not the spec's."""
    for name in databases:
        try:
            with read_only(target, name) as connection:
                if connection.execute(_HAS_LOCAL_AI, [LOCAL_AI]).fetchone():
                    return _settings(connection), _models(connection, spec)
        except (TargetUnreachable, ExtensionMismatch, psycopg.Error):
            # Somebody else's need not let us in, nor tell, nor be as it should.
            continue
    return None, None


def _model_troubles(
    target: Target, spec: Spec, models: Mapping[str, Mapping[str, Any] | None]
) -> dict[str, str]:
    troubles = {
        one.uri: target.model_trouble(one.source, one.tokenizer_path)
        for one in spec.models
        if models.get(one.uri) is None
    }
    return {uri: trouble for uri, trouble in troubles.items() if trouble}


def model(connection: Connection, uri: str) -> Mapping[str, Any] | None:
    """What azure_local_ai knows of a model, None for one that is not registered.

    Raises `ExtensionMismatch`.
    """
    try:
        return local_ai.model_metadata(connection, uri)
    except errors.UndefinedObject:
        return None


def _has(live: LiveDatabase, extension: str) -> bool:
    found = live.extensions.get(extension)
    return found is not None and found.installed is not None


@cache
def _query(name: str) -> bytes:
    return files(__package__).joinpath(f"{name}.sql").read_bytes()


def _preload(target: Target) -> tuple[str, ...] | None:
    try:
        return tuple(normalise(target.parameter(PRELOAD)))
    except PlanRefused:
        return None


def _members(connection: Connection, spec: Spec) -> frozenset[tuple[str, str]]:
    pairs = {
        (grant.role, grant.member_of)
        for database in spec.databases
        for grant in database.grants
        if grant.member_of is not None
    }
    parameters = {"roles": [one for one, _ in pairs], "members_of": [one for _, one in pairs]}
    return frozenset((role, of) for role, of in connection.execute(_query("members"), parameters).fetchall())


def read_database(connection: Connection, wanted: Database) -> LiveDatabase:
    """What one database has of what is wanted of it."""
    names = [(table.schema_, table.name) for table in wanted.tables]
    tables = {
        "schemas": [schema for schema, _ in names],
        "tables": [name for _, name in names],
    }
    grants = [
        (grant.role, grant.on.schema_, grant.on.table, privilege)
        for grant in wanted.grants
        if grant.on is not None
        for privilege in grant.privileges
    ]
    keys = ("roles", "schemas", "tables", "privileges")
    privileges = {key: [grant[number] for grant in grants] for number, key in enumerate(keys)}
    with connection.transaction(force_rollback=True):
        connection.execute(PRINTED_PATH)
        rows = connection.execute(_query("tables"), tables).fetchall()
        fitting = _fitting(connection, *(row[-1] for row in rows))
    found = {(row[0], row[1]): _table(*row[2:], fitting=fitting) for row in rows}
    return LiveDatabase(
        extensions=_extensions(connection),
        tables={place: _counted(connection, place, table) for place, table in found.items()},
        places=frozenset((row[0], row[1]) for row in connection.execute(_query("places"), privileges)),
        others=frozenset() if set(found) >= set(names) else frozenset(connection.execute(_TABLES).fetchall()),
        privileges=frozenset(
            (role, schema, table, privilege)
            for role, schema, table, privilege in connection.execute(_query("privileges"), privileges)
        ),
    )


def read_table(connection: Connection, schema: str, name: str) -> LiveTable | None:
    """One table; None if there is none. Its rows are those that its last ANALYZE found, 0 if there was none.

    Args:
        connection: in autocommit.
        schema: of the table.
        name: of the table.
    """
    query = b"%b; %b" % (PRINTED_PATH.encode(), _query("tables"))
    found = psycopg.ClientCursor(connection).execute(query, {"schemas": [schema], "tables": [name]})
    found.nextset()  # what SET LOCAL said, which holds for these two
    row = found.fetchone()
    return None if row is None else _table(*row[2:], fitting=_fitting(connection, row[-1]))


def _fitting(connection: Connection, *keys: list[list[Any]]) -> frozenset[int]:
    """The numbers of indexes that tell the same rows apart as azpg does, of those that have one there."""
    numbers = [number for indexes in keys for _, _, number, _ in indexes if number is not None]
    if not numbers:
        return frozenset()
    rows = connection.execute(_query("comparisons"), {"indexes": numbers}).fetchall()
    return frozenset(number for (number,) in rows)


def _extensions(connection: Connection) -> dict[str, LiveExtension]:
    rows = connection.execute(_query("extensions")).fetchall()
    return {
        name: LiveExtension(default, frozenset(versions), installed, schema)
        for name, default, versions, installed, schema in rows
    }


def _table(
    kind: str,
    partition: bool,
    persistence: str,
    rows: int,
    size: int,
    owned: bool,
    inherited: bool,
    inherits: bool,
    hides: bool,
    later: list[tuple[str, str | None]],
    columns: list[list[Any]],
    indexes: list[list[Any]],
    *,
    fitting: frozenset[int],
) -> LiveTable:
    keys = [
        (primary, names, number is None or number in fitting, temporal)
        for primary, names, number, temporal in indexes
    ]
    return LiveTable(
        kind=kind,
        partition=partition,
        persistence=persistence,
        rows=rows,
        bytes=size,
        owned=owned,
        inherited=inherited,
        inherits=inherits,
        hides=hides,
        later=tuple((name, function) for name, function in later),
        columns={name: LiveColumn(*rest) for name, *rest in columns},
        keys=tuple(tuple(names) for _, names, fine, _ in keys if fine),
        primary=bool(keys and keys[0][0] and keys[0][2]),  # then it is the first of `keys`
        other_keys=tuple(tuple(names) for _, names, fine, _ in keys if not fine),
        temporal_keys=tuple(tuple(names) for _, names, _, temporal in keys if temporal),
    )


def _counted(connection: Connection, place: tuple[str, str], table: LiveTable) -> LiveTable:
    """The table with its rows where there has been no ANALYZE yet, such as right after it was filled."""
    if table.rows or not table.bytes or table.kind != "r" or not table.owned or table.hides:
        return table
    return replace(table, rows=count(connection, *place))


def _settings(connection: Connection) -> dict[str, str]:
    with connection.transaction():
        local_ai.require(connection)
        query = "SELECT azure_local_ai.get_setting(ARRAY[]::pg_catalog.text[])"
        row = connection.execute(query).fetchone()
    assert row is not None
    return dict(row[0])


def _models(connection: Connection, spec: Spec) -> dict[str, Mapping[str, Any] | None]:
    return {one.uri: model(connection, one.uri) for one in spec.models}
