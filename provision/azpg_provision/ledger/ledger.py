"""What schema `azpg` of one database holds, and how it is made.

All functions take a connection of the server's admin. Each that writes is one transaction, inside the
caller's where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from psycopg.types.json import Jsonb

from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.errors import LedgerMismatch
from azpg_provision.ledger import tables
from azpg_provision.target.target import Connection

VERSION = 1
_COMMENT = re.compile(r"azpg (\d+):")
_VERSION = """
SELECT pg_catalog.obj_description(oid, 'pg_namespace'),
       pg_catalog.has_schema_privilege(oid, 'USAGE'), current_user
FROM pg_catalog.pg_namespace WHERE nspname = 'azpg'
"""
# A table that is gone leaves its number in `relation`, and no row here.
_COLUMNS = """
SELECT c.id, n.nspname, r.relname, c.attribute::text, c.definition
FROM azpg.columns AS c
JOIN pg_catalog.pg_class AS r ON r.oid = c.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
WHERE EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = c.relation AND a.attname = c.attribute AND NOT a.attisdropped)
ORDER BY c.id
"""
_REGISTER = """
INSERT INTO azpg.columns (relation, attribute, definition) VALUES (%s::regclass, %s, %s)
ON CONFLICT (relation, attribute) DO UPDATE SET definition = EXCLUDED.definition
RETURNING id
"""

# A table or column that was dropped leaves what was known of its rows; a column its triggers, too, which fail
# for every writer.
_GONE = """
DELETE FROM azpg.columns AS c
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                  WHERE a.attrelid = c.relation AND a.attname = c.attribute AND NOT a.attisdropped)
RETURNING id
"""
_LEFT = """
SELECT n.nspname, r.relname, c.attribute::text, c.definition ->> 'sync'
FROM azpg.columns AS c
JOIN pg_catalog.pg_class AS r ON r.oid = c.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
                  WHERE a.attrelid = c.relation AND a.attname = c.attribute AND NOT a.attisdropped)
ORDER BY c.id
"""


def version(connection: Connection) -> int | None:
    """Of this database's schema; None where there is none.

    Raises `LedgerMismatch` if it is not azpg's, or not to be seen by this role.
    """
    row = connection.execute(_VERSION).fetchone()
    if row is None:
        return None
    match = _COMMENT.match(row[0] or "")
    if match is None:
        raise LedgerMismatch(
            f"the database {connection.info.dbname!r} has a schema azpg that azpg has not made: "
            "rename it, or use another database."
        )
    if not row[1]:
        raise LedgerMismatch(
            f"the role {row[2]!r} may not see schema azpg of the database {connection.info.dbname!r}: log in "
            "as the server's admin, or the role that applied first (--user, or the connection string)."
        )
    return int(match[1])


def exists(connection: Connection) -> bool:
    """Whether the schema is there. Raises `LedgerMismatch` for one that is not this version of azpg's."""
    found = version(connection)
    if found is not None and found != VERSION:
        raise LedgerMismatch(
            f"schema azpg of the database {connection.info.dbname!r} is of version {found}, and this azpg "
            f"knows version {VERSION} only: use the azpg that made it."
        )
    return found is not None


def create(connection: Connection) -> bool:
    """Makes the schema. Returns whether there was none. Raises `LedgerMismatch`."""
    if exists(connection):
        return False
    with connection.transaction():
        connection.execute(files(__package__).joinpath("schema.sql").read_bytes())
    return True


# Columns


def columns(connection: Connection) -> list[VectorColumn]:
    """The vectorized columns of this database that still exist, by number; none where there is no ledger.

    A table that was renamed goes by its new name. Raises `LedgerMismatch`.
    """
    if not exists(connection):
        return []
    return [_column(*row) for row in connection.execute(_COLUMNS).fetchall()]


def find(connection: Connection, schema: str, table: str, column: str) -> VectorColumn | None:
    """One of `columns`, None where it is not among them."""
    for one in columns(connection):
        if (one.schema, one.table, one.column) == (schema, table, column):
            return one
    return None


def register(connection: Connection, column: VectorColumn) -> VectorColumn:
    """Notes how a column of an existing table is vectorized; makes its state and queue tables.

    Args:
        connection: to a database that has a ledger.
        column: its `id` is not looked at.

    Returns `column` with its number. What is known of its rows stays as long as its key does: their hashes
    say which are out of date after another text, prefix or model.
    """
    before = find(connection, column.schema, column.table, column.column)
    relation = column.relation.as_string(connection)
    with connection.transaction():
        bury(connection)
        row = connection.execute(_REGISTER, [relation, column.column, Jsonb(definition(column))]).fetchone()
        assert row is not None
        registered = _column(row[0], column.schema, column.table, column.column, definition(column))
        if before is None or before.keys != column.keys:
            tables.drop(connection, registered.id)
            tables.make(connection, registered)
            # What an unfinished run left is in the terms of the key of before.
            connection.execute("DELETE FROM azpg.claims WHERE column_id = %s", [registered.id])
            connection.execute("UPDATE azpg.columns SET position = NULL WHERE id = %s", [registered.id])
    return registered


def forget(connection: Connection, column: VectorColumn) -> None:
    """Drops what is kept of a column; the column itself stays."""
    with connection.transaction():
        connection.execute("DELETE FROM azpg.columns WHERE id = %s", [column.id])
        tables.drop(connection, column.id)


def left(connection: Connection) -> dict[tuple[str, str, str], str]:
    """The vectorized columns that are gone or renamed, of tables that are there: their `sync`."""
    if not exists(connection):
        return {}
    return {(row[0], row[1], row[2]): row[3] for row in connection.execute(_LEFT).fetchall()}


def bury(connection: Connection) -> None:
    """Drops what is kept of columns that are gone, and their triggers."""
    with connection.transaction():
        for (gone,) in connection.execute(_GONE).fetchall():
            tables.drop(connection, gone)
            tables.disarm(connection, gone)


def definition(column: VectorColumn) -> dict[str, Any]:
    """What `azpg.columns.definition` holds: the column without its number and its place, as JSON has it."""
    return {
        "keys": [{"name": key.name, "type": key.type} for key in column.keys],
        "text": column.text,
        "model": column.model,
        "prefix": column.prefix,
        "dimensions": column.dimensions,
        "fingerprint": column.fingerprint.hex(),
        "sync": column.sync.value,
    }


def _column(number: int, schema: str, table: str, name: str, kept: Mapping[str, Any]) -> VectorColumn:
    return VectorColumn(
        id=number,
        schema=schema,
        table=table,
        column=name,
        keys=tuple(Key(key["name"], key["type"]) for key in kept["keys"]),
        text=kept["text"],
        model=kept["model"],
        prefix=kept["prefix"],
        dimensions=kept["dimensions"],
        fingerprint=bytes.fromhex(kept["fingerprint"]),
        sync=Sync(kept["sync"]),
    )
