"""What azpg made in a database, and only that: what it may drop to make it anew.

Names pass from one thing to another: somebody drops a column of azpg's and adds their own of the same name.
So what is owned is known by PostgreSQL's own numbers, too, which do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb

from azpg_provision.column import VectorColumn
from azpg_provision.errors import LedgerMismatch
from azpg_provision.ledger.ledger import definition, exists
from azpg_provision.spec.identifier import qualified
from azpg_provision.target.target import Connection

# The numbers of a table and its column, or of an index, that go by a name now.
_COLUMN = """
SELECT jsonb_build_object('relation', c.oid::bigint, 'number', a.attnum)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid
WHERE n.nspname = %s AND c.relname = %s AND a.attname = %s AND NOT a.attisdropped
"""
# What a vectorized column goes by now, by those numbers: its table may have been renamed or moved.
_RENAMED = """
SELECT n.nspname, r.relname, a.attname
FROM azpg.columns AS c
JOIN pg_catalog.pg_class AS r ON r.oid = c.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.relation AND a.attname = c.attribute
WHERE c.relation::oid::bigint = %s AND a.attnum = %s
"""
_GENERATED = """
SELECT pg_catalog.pg_get_expr(d.adbin, d.adrelid)
FROM pg_catalog.pg_attrdef AS d
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE a.attrelid = %s::regclass AND a.attname = %s AND a.attgenerated <> ''
"""
_INDEX = """
SELECT jsonb_build_object('relation', c.oid::bigint)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname = %s AND c.relkind = 'i'
"""
_QUERIES = {"column": _COLUMN, "index": _INDEX}
_OWN = """
INSERT INTO azpg.owned (kind, name, definition) VALUES (%s, %s, %s)
ON CONFLICT (kind, name) DO UPDATE SET definition = EXCLUDED.definition, made_at = now()
"""


def owned(connection: Connection) -> dict[tuple[str, str], Any]:
    """What azpg made in this database and is still what it made, by (kind, name): what it was made from.

    A kind is ``column``, ``index`` or ``init``; a name is `azpg_provision.spec.identifier.qualified` of the
    names, of an init file its path. Raises `LedgerMismatch`.
    """
    if not exists(connection):
        return {}
    rows = connection.execute("SELECT kind, name, definition FROM azpg.owned").fetchall()
    names = ((kind, _named(connection, kind, name, kept), kept["of"]) for kind, name, kept in rows)
    return {(kind, name): of for kind, name, of in names if name is not None}


def _named(connection: Connection, kind: str, name: str, kept: Mapping[str, Any]) -> str | None:
    """The name of what was made by the name `name`; None if that is gone, or another's by now."""
    if kind not in _QUERIES or _identity(connection, kind, kept["names"]) == kept["identity"]:
        return name
    if kind != "column":
        return None
    numbers = [kept["identity"]["relation"], kept["identity"]["number"]]
    row = connection.execute(_RENAMED, numbers).fetchone()
    return None if row is None else qualified(*row)


def own_column(connection: Connection, column: VectorColumn) -> None:
    """Notes that azpg made a column, which is there, and what PostgreSQL generates it of, if it does."""
    relation = column.relation.as_string(connection)
    row = connection.execute(_GENERATED, [relation, column.column]).fetchone()
    made_from = definition(column) | {"generated": row[0] if row else None}
    _own(connection, "column", (column.schema, column.table, column.column), made_from)


def own_index(connection: Connection, schema: str, name: str, made_from: Mapping[str, Any]) -> None:
    """Notes that azpg made an index, which is there."""
    _own(connection, "index", (schema, name), made_from)


def own_init(connection: Connection, path: str, sha256: str) -> None:
    """Notes that an init file has run."""
    connection.execute(_OWN, ["init", path, Jsonb({"of": {"sha256": sha256}})])


def _own(connection: Connection, kind: str, names: tuple[str, ...], made_from: Mapping[str, Any]) -> None:
    name = qualified(*names)
    identity = _identity(connection, kind, names)
    if identity is None:
        raise LedgerMismatch(f"the {kind} {name} is gone while azpg made it: run `azpg apply` again.")
    kept = {"of": dict(made_from), "names": list(names), "identity": identity}
    connection.execute(_OWN, [kind, name, Jsonb(kept)])


def _identity(connection: Connection, kind: str, names: Any) -> Any:
    row = connection.execute(_QUERIES[kind], list(names)).fetchone()
    return None if row is None else row[0]
