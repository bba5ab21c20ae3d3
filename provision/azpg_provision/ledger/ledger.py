"""What schema `azpg` of one database holds, and how it is made.

All functions take a connection of the server's admin. Each that writes is one transaction, inside the
caller's where there is one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, LiteralString

from psycopg import sql
from psycopg.types.json import Jsonb

from azpg_provision.column import Key, Sync, VectorColumn
from azpg_provision.errors import LedgerMismatch
from azpg_provision.ledger import tables
from azpg_provision.ledger.access import close, granting
from azpg_provision.ledger.applied import function_text
from azpg_provision.ledger.trust import version
from azpg_provision.live.trust import own, trusted
from azpg_provision.live.values import listed
from azpg_provision.spec.values import TIMEOUT
from azpg_provision.target.connecting import atomic
from azpg_provision.target.target import Connection

VERSION = 2
_CARRIED_FROM = 1
"""The version that `carry` brings to this one."""
_FUNCTIONS = ("in_hand", "as_applied", "is_last", "trusted_function")
"""What all triggers call, each from the file that it is named after."""
_FUNCTIONS_OF_TYPES = ("types_in_hand", "names_in_hand")
"""What triggers call whose keys have types that are not PostgreSQL's own."""
# A function's comment says of which text of its file it is.
_MADE = """
SELECT wanted.name, pg_catalog.to_regproc(pg_catalog.concat('azpg.', wanted.name)) IS NOT NULL AS there
FROM ROWS FROM (pg_catalog.unnest({names}::pg_catalog.text[]), pg_catalog.unnest({texts}::pg_catalog.text[]))
    AS wanted (name, text)
WHERE pg_catalog.obj_description(
          pg_catalog.to_regproc(pg_catalog.concat('azpg.', wanted.name))::pg_catalog.oid, 'pg_proc')
      IS DISTINCT FROM wanted.text
"""
_CARRIED = """
SELECT wanted.id
FROM (VALUES {wanted}) AS wanted (id, definition)
JOIN azpg.columns AS own ON own.id OPERATOR(pg_catalog.=) wanted.id
                        AND own.definition OPERATOR(pg_catalog.=) wanted.definition::pg_catalog.jsonb
WHERE NOT EXISTS (SELECT FROM ({made}) AS other (name, there)
                  WHERE other.there OR other.name OPERATOR(pg_catalog.=) ANY ({always}::pg_catalog.text[]))
"""
# A table that is gone leaves its number in `relation`, and no row here.
_COLUMNS = """
SELECT c.id, n.nspname, r.relname, c.attribute::pg_catalog.text, c.definition, ({comparisons}),
       pg_catalog.to_jsonb(c.*) OPERATOR(pg_catalog.->>) 'secret',
       pg_catalog.to_jsonb(c.*) OPERATOR(pg_catalog.->>) 'applied'
FROM azpg.columns AS c
JOIN pg_catalog.pg_class AS r ON r.oid = c.relation
JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace
WHERE EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = c.relation AND a.attname = c.attribute AND NOT a.attisdropped)
ORDER BY c.id
"""
# By its index, however many columns there are.
_FIND = _COLUMNS.replace(
    "ORDER BY c.id", "AND c.relation = pg_catalog.to_regclass(%s) AND c.attribute = %s ORDER BY c.id"
)
_COMPARED = "SELECT ({comparisons}) FROM azpg.columns AS c WHERE c.id OPERATOR(pg_catalog.=) %s"
_REGISTER = """
INSERT INTO azpg.columns (relation, attribute, definition) VALUES (%s::regclass, %s, %s)
ON CONFLICT (relation, attribute) DO UPDATE SET definition = EXCLUDED.definition
RETURNING id, secret, applied
"""
_ANEW = """
DELETE FROM azpg.claims WHERE column_id OPERATOR(pg_catalog.=) {number};
UPDATE azpg.columns SET position = NULL WHERE id OPERATOR(pg_catalog.=) {number}
"""

_NUMBERS = """
SELECT schema.nspname::pg_catalog.text, class.relname::pg_catalog.text, own.id
FROM azpg.columns AS own
JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) own.relation::pg_catalog.oid
JOIN pg_catalog.pg_namespace AS schema ON schema.oid OPERATOR(pg_catalog.=) class.relnamespace
"""

# A table or column that was dropped leaves what was known of its rows; a column its triggers, too, which fail
# for every writer.
_GONE = """
DELETE FROM azpg.columns AS c
WHERE {which} AND NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS a
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


def exists(connection: Connection) -> bool:
    """Whether the schema is there, of this version or of the one that `carry` brings to it.

    Raises `LedgerMismatch` for any other.
    """
    found = version(connection)
    if found not in {None, _CARRIED_FROM, VERSION}:
        raise LedgerMismatch(
            f"schema azpg of the database {connection.info.dbname!r} is of version {found}, and this azpg "
            f"knows versions {_CARRIED_FROM} and {VERSION} only: use the azpg that made it."
        )
    return found is not None


def create(connection: Connection) -> bool:
    """Makes the schema. Returns whether there was none. Raises `LedgerMismatch`."""
    if exists(connection):
        return False
    with connection.transaction():
        connection.execute(files(__package__).joinpath("schema.sql").read_bytes())
        _finish(connection)
    return True


def carry(connection: Connection) -> None:
    """Brings a schema of the version before to this one, in one transaction; does nothing for any other.

    What belongs to a column stays as it is, and serves, until its triggers are made anew: `carry_column`.
    """
    with connection.transaction():
        if version(connection) == _CARRIED_FROM:
            granting(connection)
            connection.execute(files(__package__).joinpath("carry.sql").read_bytes())
            _finish(connection)


def _finish(connection: Connection) -> None:
    make_functions(connection)
    _close(connection)


def make_functions(connection: Connection, *names: str) -> None:
    """Makes what triggers call unless it is there as this azpg makes it: what all call, and `names`."""
    for name, there in connection.execute(_made()).fetchall():
        if there or name in (*_FUNCTIONS, *names):
            connection.execute(_text(name))
            statement = sql.SQL("COMMENT ON FUNCTION {} IS {}")
            connection.execute(statement.format(sql.Identifier("azpg", name), sql.Literal(_mark(name))))


def _made() -> sql.Composed:
    """The query of functions that are not there as this azpg makes them, and whether there are others."""
    names = [*_FUNCTIONS, *_FUNCTIONS_OF_TYPES]
    return sql.SQL(_MADE).format(names=sql.Literal(names), texts=sql.Literal([_mark(name) for name in names]))


def _text(name: str) -> bytes:
    return (
        function_text(_file(name))
        .replace(b"{comparisons}", _file("comparisons"))
        .replace(b"{own}", own("role", "owner", user="current_user").as_bytes())
    )


@cache
def _mark(name: str) -> str:
    return f"azpg: {hashlib.sha256(_text(name)).hexdigest()}"


def _close(connection: Connection) -> None:
    """Takes back what default privileges have given of all this: `azpg.columns` holds secrets."""
    close(connection, "SCHEMA", sql.Identifier("azpg"))
    tables = ("owned", "columns", "columns_id_seq", "claims", "claims_id_seq", "marks")
    close(connection, "TABLE", *(sql.Identifier("azpg", table) for table in tables))


def carry_column(connection: Connection, column: VectorColumn, *, anew: bool = False) -> VectorColumn:
    """Brings what belongs to a column to this version, with all that is known of its rows unless `anew`.

    A worker of the version before leaves the column alone from then on, as one that is another by now.

    Returns `column` with the comparisons of its keys as they are now.
    """
    values = [Jsonb(definition(column)), column.id]
    with atomic(connection):
        make_functions(connection)
        tables.carry(connection, column, anew=anew)
        connection.execute(
            "UPDATE azpg.columns SET definition = %s WHERE id OPERATOR(pg_catalog.=) %s", values
        )
        found = connection.execute(_compared(_COMPARED), [column.id]).fetchone()
    place = (column.schema, column.table, column.column)
    return _column(column.id, *place, definition(column), found[0] if found else None, column.secret, None)


def carried(connection: Connection, column: VectorColumn) -> bool:
    """Whether what belongs to a column is of this version, and its own tables are nobody else's to use."""
    return column.id in all_carried(connection, [column])


def all_carried(connection: Connection, columns: Sequence[VectorColumn]) -> set[int]:
    """The numbers of columns that are `carried`."""
    if not columns:
        return set()
    query = sql.SQL(_CARRIED).format(
        wanted=listed([one.id, json.dumps(definition(one))] for one in columns),
        made=_made(),
        always=sql.Literal(list(_FUNCTIONS)),
    )
    kept = {number for (number,) in connection.execute(query).fetchall()}
    return tables.carried(connection, [one for one in columns if one.id in kept])


# Columns


def columns(connection: Connection) -> list[VectorColumn]:
    """The vectorized columns of this database that still exist, by number; none where there is no ledger.

    A table that was renamed goes by its new name. Raises `LedgerMismatch`.
    """
    if not exists(connection):
        return []
    return [_column(*row) for row in connection.execute(_compared(_COLUMNS)).fetchall()]


def find(connection: Connection, schema: str, table: str, column: str) -> VectorColumn | None:
    """One of `columns`, None where it is not among them."""
    if not exists(connection):
        return None
    place = sql.Identifier(schema, table).as_string(connection)
    row = connection.execute(_compared(_FIND), [place, column]).fetchone()
    return None if row is None else _column(*row)


def register(connection: Connection, column: VectorColumn, *, sweep: bool = True) -> VectorColumn:
    """Notes how a column of an existing table is vectorized; makes its state and queue tables.

    Args:
        connection: to a database that has a ledger.
        column: its `id` is not looked at.
        sweep: whether what is kept of columns of other tables that are gone is dropped, too (see `bury`).

    Returns `column` with its number. What is known of its rows stays as long as its key does: their hashes
    say which are out of date after another text, prefix or model.
    """
    before = find(connection, column.schema, column.table, column.column)
    relation = column.relation.as_string(connection)
    with atomic(connection):
        bury(connection, None if sweep else column)
        row = connection.execute(_REGISTER, [relation, column.column, Jsonb(definition(column))]).fetchone()
        assert row is not None
        number, place = row[0], (column.schema, column.table, column.column)
        registered = _column(number, *place, definition(column), None, row[1], row[2])
        if before is None or before.keys != column.keys:
            # What an unfinished run left is in the terms of the key of before.
            connection.execute(
                sql.SQL("{}; {}").format(
                    tables.dropping(registered.id), sql.SQL(_ANEW).format(number=sql.Literal(registered.id))
                )
            )
            tables.make(connection, registered)
        found = connection.execute(_compared(_COMPARED), [number]).fetchone()
    return _column(number, *place, definition(column), found[0] if found else None, row[1], row[2])


def forget(connection: Connection, column: VectorColumn) -> None:
    """Drops what is kept of a column; the column itself stays."""
    with atomic(connection):
        connection.execute("DELETE FROM azpg.columns WHERE id = %s", [column.id])
        tables.drop(connection, column.id)


def left(connection: Connection) -> dict[tuple[str, str, str], str]:
    """The vectorized columns that are gone or renamed, of tables that are there: their `sync`."""
    if not exists(connection):
        return {}
    return {(row[0], row[1], row[2]): row[3] for row in connection.execute(_LEFT).fetchall()}


def numbers(connection: Connection) -> dict[tuple[str, str], set[int]]:
    """The numbers of all columns of each table, by its schema and name; of those that are gone, too."""
    found: dict[tuple[str, str], set[int]] = {}
    if exists(connection):
        for schema, table, number in connection.execute(_NUMBERS).fetchall():
            found.setdefault((schema, table), set()).add(number)
    return found


def former_owners(connection: Connection, tables: Iterable[tuple[str, str]]) -> list[str]:
    """The roles that may still use schema azpg and own no vectorized table any more: see former.sql.

    Args:
        connection: to a database that may have no ledger.
        tables: those by schema and name that are to be vectorized, whose owners are none of them.
    """
    if not exists(connection):
        return []
    template = files(__package__).joinpath("former.sql").read_text(encoding="utf-8")
    wanted = [sql.Identifier(*table).as_string(connection) for table in tables]
    query = sql.SQL(template).format(trusted=trusted("role"), wanted=sql.Literal(wanted))
    return [role for (role,) in connection.execute(query).fetchall()]


def dismiss(connection: Connection, roles: Iterable[str]) -> None:
    """Takes back from `former_owners` what they have in schema azpg, where it is of no use to them any more.

    What columns that are there have is given to their tables' owners by their sync.
    """
    with connection.transaction():
        bury(connection)
        granting(connection)
        for role in roles:
            statement = sql.SQL("REVOKE ALL ON SCHEMA azpg FROM {} CASCADE")
            connection.execute(statement.format(sql.Identifier(role)))


def bury(connection: Connection, column: VectorColumn | None = None) -> None:
    """Drops what is kept of columns that are gone, and their triggers.

    Of the table of `column` only, if that is given: otherwise all columns are read, once for each of many.
    """
    which: sql.Composable = sql.SQL("true")
    if column is not None:
        name = sql.Literal(column.relation.as_string(connection))
        which = sql.SQL("c.relation = pg_catalog.to_regclass({})").format(name)
    with atomic(connection):
        for (gone,) in connection.execute(sql.SQL(_GONE).format(which=which)).fetchall():
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
        "version": VERSION,
    } | ({} if column.timeout == TIMEOUT else {"timeout": column.timeout})


@cache
def _compared(query: LiteralString) -> sql.Composed:
    return sql.SQL(query).format(comparisons=sql.SQL(_file("comparisons").decode()))


def _file(name: str) -> bytes:
    return files(__package__).joinpath(f"{name}.sql").read_bytes()


def _column(
    number: int,
    schema: str,
    table: str,
    name: str,
    kept: Mapping[str, Any],
    comparisons: Sequence[Sequence[Any]] | None,
    secret: str | None,
    was: str | None,
) -> VectorColumn:
    nothing = [(None, "pg_catalog", None)] * len(kept["keys"])
    known = comparisons if comparisons and len(comparisons) == len(nothing) else nothing
    return VectorColumn(
        id=number,
        schema=schema,
        table=table,
        column=name,
        keys=tuple(
            Key(key["name"], key["type"], exact=exact, operators=operators, compared_as=other)
            for key, (exact, operators, other) in zip(kept["keys"], known, strict=True)
        ),
        text=kept["text"],
        model=kept["model"],
        prefix=kept["prefix"],
        dimensions=kept["dimensions"],
        fingerprint=bytes.fromhex(kept["fingerprint"]),
        sync=Sync(kept["sync"]),
        timeout=kept.get("timeout", TIMEOUT),
        secret=secret or "",
        applied=was or "",
    )
