"""What azpg made in a database, and only that: what it may drop to make it anew.

Names pass from one thing to another: somebody drops a column of azpg's and adds their own of the same name.
So what is owned is known by PostgreSQL's own numbers, too, which do not.

A dump has names only, and what is restored from it has other numbers. There, what goes by the name and is
what the ledger says that azpg made is azpg's own again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from azpg_provision.column import Sync, VectorColumn
from azpg_provision.errors import LedgerMismatch
from azpg_provision.ledger.ledger import definition, exists
from azpg_provision.live.reading import PRINTED_PATH
from azpg_provision.live.values import listed
from azpg_provision.spec.identifier import qualified
from azpg_provision.target.target import Connection

# The numbers of a table and its column, or of an index, that go by a name now.
_COLUMN = """
SELECT wanted.place, jsonb_build_object('relation', c.oid::bigint, 'number', a.attnum)
FROM (VALUES {wanted}) AS wanted (place, names)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = (wanted.names::text[])[1]
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = (wanted.names::text[])[2]
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attname = (wanted.names::text[])[3]
                                 AND NOT a.attisdropped
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
JOIN pg_catalog.pg_attribute AS a ON a.attrelid OPERATOR(pg_catalog.=) d.adrelid
                                 AND a.attnum OPERATOR(pg_catalog.=) d.adnum
WHERE a.attrelid OPERATOR(pg_catalog.=) %s::pg_catalog.regclass AND a.attname OPERATOR(pg_catalog.=) %s
  AND a.attgenerated OPERATOR(pg_catalog.<>) ''
"""
_INDEX = """
SELECT wanted.place, jsonb_build_object('relation', c.oid::bigint)
FROM (VALUES {wanted}) AS wanted (place, names)
JOIN pg_catalog.pg_namespace AS n ON n.nspname = (wanted.names::text[])[1]
JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid AND c.relname = (wanted.names::text[])[2]
                             AND c.relkind = 'i'
"""
# What a restored column is now. Its table has another number than when it was made, and the ledger, which was
# restored with it, has that number for its vectorized column: for no table that somebody has made anew.
_RESTORED_COLUMN = """
SELECT pg_catalog.format_type(a.atttypid, a.atttypmod), a.attgenerated <> ''
FROM azpg.columns AS c
JOIN pg_catalog.pg_class AS r ON r.oid = c.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = r.oid AND a.attname = c.attribute AND NOT a.attisdropped
WHERE n.nspname = %s AND r.relname = %s AND c.attribute = %s AND r.oid::bigint <> %s
"""
_RESTORED_INDEX = """
SELECT method.amname, opclass.opcname, coalesce(r.reloptions, '{}')
FROM pg_catalog.pg_class AS r
JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
JOIN pg_catalog.pg_index AS i ON i.indexrelid = r.oid
JOIN pg_catalog.pg_am AS method ON method.oid = r.relam
JOIN pg_catalog.pg_opclass AS opclass ON opclass.oid = i.indclass[0]
JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
JOIN azpg.columns AS c ON c.relation = i.indrelid AND c.attribute = a.attname
WHERE n.nspname = %s AND r.relname = %s AND i.indnatts = 1 AND i.indpred IS NULL
"""
# By its name, and by its numbers where it was renamed.
_OWNS = """
SELECT name, definition FROM azpg.owned
WHERE kind OPERATOR(pg_catalog.=) %s::pg_catalog.text
  AND (name OPERATOR(pg_catalog.=) %s::pg_catalog.text
       OR (definition OPERATOR(pg_catalog.->) 'identity'::pg_catalog.text)
          OPERATOR(pg_catalog.=) %s::pg_catalog.jsonb)
"""
_QUERIES: Mapping[str, LiteralString] = {"column": _COLUMN, "index": _INDEX}
_OWN = """
INSERT INTO azpg.owned (kind, name, definition) VALUES (%s, %s, %s)
ON CONFLICT (kind, name) DO UPDATE SET definition = EXCLUDED.definition, made_at = now()
"""
_OWN_NUMBERED = """
INSERT INTO azpg.owned (kind, name, definition)
SELECT {kind}, {name}, {kept}::jsonb || jsonb_build_object('identity', found.identity)
FROM ({identities}) AS found (place, identity)
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
    now = {
        kind: _identities(connection, kind, {name: kept["names"] for one, name, kept in rows if one == kind})
        for kind in _QUERIES
    }
    names = (
        (kind, _named(connection, kind, name, kept, now.get(kind, {}).get(name)), kept["of"])
        for kind, name, kept in rows
    )
    return {(kind, name): of for kind, name, of in names if name is not None}


def owns(connection: Connection, kind: str, *names: str) -> bool:
    """Whether azpg made what goes by a name now: one of `owned`, without a look at all the others.

    Args:
        connection: to a database with a ledger.
        kind: ``column`` or ``index``.
        names: schema, table and column, or schema and index.

    Raises `LedgerMismatch`.
    """
    if not exists(connection):
        return False
    name = qualified(*names)
    values = [kind, name, Jsonb(_identity(connection, kind, names))]
    rows = connection.execute(_OWNS, values).fetchall()
    now = _identities(connection, kind, {one: kept["names"] for one, kept in rows})
    return any(_named(connection, kind, one, kept, now.get(one)) == name for one, kept in rows)


def _named(connection: Connection, kind: str, name: str, kept: Mapping[str, Any], now: Any) -> str | None:
    """The name of what was made by the name `name`; None if that is gone, or another's by now.

    `now` are the numbers of what goes by the name now.
    """
    if kind not in _QUERIES or now == kept["identity"]:
        return name
    if _is_restored(connection, kind, kept):
        return name
    if kind != "column":
        return None
    numbers = [kept["identity"]["relation"], kept["identity"]["number"]]
    row = connection.execute(_RENAMED, numbers).fetchone()
    return None if row is None else qualified(*row)


def _is_restored(connection: Connection, kind: str, kept: Mapping[str, Any]) -> bool:
    """Whether what goes by the name now came out of a dump of what was made."""
    of = kept["of"]
    if kind == "column":
        values = [*kept["names"], kept["identity"]["relation"]]
        row = connection.execute(_RESTORED_COLUMN, values).fetchone()
        return row is not None and (
            _base(row[0]) == f"vector({of['dimensions']})" and row[1] == (of["generated"] is not None)
        )
    row = connection.execute(_RESTORED_INDEX, kept["names"]).fetchone()
    if row is None:
        return False
    parameters = {one: int(value) for one, _, value in (option.partition("=") for option in row[2])}
    return (row[0], row[1], parameters) == (of.get("method"), of.get("opclass"), of.get("parameters"))


def _base(type_: str) -> str:
    """A type as format_type prints it, without the quoted or plain name of a schema before it."""
    return type_.rpartition(".")[2].replace('"', "")


def disown_column(connection: Connection, column: VectorColumn) -> None:
    """Forgets that azpg has made a column of this name, where it takes another one that is there now."""
    name = qualified(column.schema, column.table, column.column)
    connection.execute("DELETE FROM azpg.owned WHERE kind = 'column' AND name = %s", [name])


def own_column(connection: Connection, column: VectorColumn) -> None:
    """Notes that azpg made a column, which is there, and what PostgreSQL generates it of, if it does."""
    expression = None
    if column.sync is Sync.GENERATED:
        relation = column.relation.as_string(connection)
        # `public` is in sight for this one query only, whose own names do not depend on it.
        with connection.transaction():
            connection.execute(PRINTED_PATH)
            row = connection.execute(_GENERATED, [relation, column.column]).fetchone()
            connection.execute("SET LOCAL search_path = DEFAULT")
        expression = row[0] if row else None
    made_from = definition(column) | {"generated": expression}
    _own(connection, "column", (column.schema, column.table, column.column), made_from)


def own_index(connection: Connection, schema: str, name: str, made_from: Mapping[str, Any]) -> None:
    """Notes that azpg made an index, which is there."""
    _own(connection, "index", (schema, name), made_from)


def own_init(connection: Connection, path: str, sha256: str) -> None:
    """Notes that an init file has run."""
    connection.execute(_OWN, ["init", path, Jsonb({"of": {"sha256": sha256}})])


def _own(connection: Connection, kind: str, names: tuple[str, ...], made_from: Mapping[str, Any]) -> None:
    name, kept = qualified(*names), {"of": dict(made_from), "names": list(names)}
    statement = sql.SQL(_OWN_NUMBERED).format(
        kind=sql.Literal(kind),
        name=sql.Literal(name),
        kept=sql.Literal(Jsonb(kept)),
        identities=_query(kind, [names]),
    )
    if connection.execute(statement).rowcount == 0:
        raise LedgerMismatch(f"the {kind} {name} is gone while azpg made it: run `azpg apply` again.")


def _identity(connection: Connection, kind: str, names: Sequence[str]) -> Any:
    """The numbers of what goes by these names now, None if nothing does."""
    return _identities(connection, kind, {"": names}).get("")


def _identities(connection: Connection, kind: str, names: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The same of many, by what is there of the keys of `names`."""
    if not names:
        return {}
    keys = list(names)
    rows = connection.execute(_query(kind, [names[key] for key in keys])).fetchall()
    return {keys[place]: numbers for place, numbers in rows}


def _query(kind: str, names: Sequence[Sequence[str]]) -> sql.Composed:
    """A query of the numbers of what goes by names now, each by its place."""
    wanted = listed([place, list(one)] for place, one in enumerate(names))
    return sql.SQL(_QUERIES[kind]).format(wanted=wanted)
