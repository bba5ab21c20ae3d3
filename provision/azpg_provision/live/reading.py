"""Reads what a server has from its catalogues. Nothing is changed: each session is read-only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.resources import files
from typing import Any

import psycopg
from psycopg import sql

from azpg.extensions import normalise
from azpg_provision.errors import PlanRefused
from azpg_provision.live.model import LiveColumn, LiveDatabase, LiveExtension, LiveServer, LiveTable
from azpg_provision.spec.model import LOCAL_AI, Database, Spec
from azpg_provision.target.target import Connection, Target

EXTENSIONS, PRELOAD = "azure.extensions", "shared_preload_libraries"
_UNKNOWN_MODEL = "42704"


@contextmanager
def read_only(target: Target, database: str | None = None) -> Iterator[Connection]:
    """A connection that cannot write, to the target's main database unless another is named."""
    with target.connect(database) if database is not None else target.connect() as connection:
        connection.execute("SET default_transaction_read_only = on")
        yield connection


def read(target: Target, spec: Spec) -> LiveServer:
    """What the server has of what `spec` asks for. Raises `TargetUnreachable`."""
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
    )


def model(connection: Connection, uri: str) -> Mapping[str, Any] | None:
    """What azure_local_ai knows of a model, None for one that is not registered."""
    try:
        row = connection.execute("SELECT azure_local_ai.model_metadata(%s)", [uri]).fetchone()
    except psycopg.Error as error:
        if error.sqlstate == _UNKNOWN_MODEL:
            return None
        raise
    assert row is not None
    found: Mapping[str, Any] = row[0]
    return found


def _has(live: LiveDatabase, extension: str) -> bool:
    found = live.extensions.get(extension)
    return found is not None and found.installed is not None


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
    found = {
        (row[0], row[1]): _table(*row[2:]) for row in connection.execute(_query("tables"), tables).fetchall()
    }
    return LiveDatabase(
        extensions=_extensions(connection),
        tables={place: _counted(connection, place, table) for place, table in found.items()},
        places=frozenset((row[0], row[1]) for row in connection.execute(_query("places"), privileges)),
        privileges=frozenset(
            (role, schema, table, privilege)
            for role, schema, table, privilege in connection.execute(_query("privileges"), privileges)
        ),
    )


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
    later: list[str],
    creators: list[list[str]],
    columns: list[list[Any]],
    keys: list[list[Any]],
) -> LiveTable:
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
        later=tuple(later),
        creators=tuple((schema, role) for schema, role in creators),
        columns={name: LiveColumn(*rest) for name, *rest in columns},
        keys=tuple(tuple(names) for _, names in keys),
        primary=bool(keys and keys[0][0]),
    )


def _counted(connection: Connection, place: tuple[str, str], table: LiveTable) -> LiveTable:
    """The table with its rows where there has been no ANALYZE yet, such as right after it was filled."""
    if table.rows or not table.bytes or table.kind != "r" or not table.owned:
        return table
    row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(*place))).fetchone()
    return replace(table, rows=row[0] if row else 0)


def _settings(connection: Connection) -> dict[str, str]:
    row = connection.execute("SELECT azure_local_ai.get_setting(ARRAY[]::text[])").fetchone()
    assert row is not None
    return dict(row[0])


def _models(connection: Connection, spec: Spec) -> dict[str, Mapping[str, Any] | None]:
    return {one.uri: model(connection, one.uri) for one in spec.models}
