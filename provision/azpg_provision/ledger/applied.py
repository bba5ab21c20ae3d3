"""What the table of a column was when it was applied: what must not change while azpg acts by its name.

A name is looked up each time. Whoever owns a schema can give a table's name to another, and a column can get
a type with casts of somebody else's; what belongs to azpg there can go to another role, with whatever hangs
on it. So the names, the types that are not PostgreSQL's own or an extension's, and the owners are kept as a
hash. A key's columns have the types of azpg's own, which triggers and `azpg_provision.sync.judging` judge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.live.values import listed
from azpg_provision.target.target import Connection

_NOTE = """
UPDATE azpg.columns
SET reads = {reads}::pg_catalog.name[], keys = {keys}::pg_catalog.name[], applied = ({applied})
WHERE id OPERATOR(pg_catalog.=) {number} RETURNING applied
"""
_NOTE_TEXT = """
UPDATE azpg.columns SET calls = azpg.text_calls(id) WHERE id OPERATOR(pg_catalog.=) {number}
"""
KNOWS = """
pg_catalog.to_regprocedure(
    'azpg.as_applied(pg_catalog.regclass, pg_catalog.int4, pg_catalog.bool)') IS NOT NULL
"""
"""An expression: whether the ledger has what `is_as_applied` asks. That of an earlier azpg does not."""
_AS_APPLIED = """
SELECT wanted.id FROM (VALUES {wanted}) AS wanted (id, relation, attribute)
WHERE azpg.as_applied(pg_catalog.to_regclass(wanted.relation), wanted.id, true)
   OR NOT EXISTS (SELECT FROM pg_catalog.pg_attribute AS attribute
                  WHERE attribute.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(wanted.relation)
                    AND attribute.attname OPERATOR(pg_catalog.=) wanted.attribute::pg_catalog.name
                    AND NOT attribute.attisdropped)
"""
_CALLS_SOME = """
EXISTS (SELECT FROM pg_catalog.pg_proc AS function
        JOIN pg_catalog.pg_depend AS depend
          ON depend.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass
         AND depend.objid OPERATOR(pg_catalog.=) function.oid
         AND depend.refclassid OPERATOR(pg_catalog.<>) 'pg_catalog.pg_namespace'::pg_catalog.regclass
        WHERE function.pronamespace OPERATOR(pg_catalog.=) 'azpg'::pg_catalog.regnamespace
          AND function.proname OPERATOR(pg_catalog.=) pg_catalog.concat('text_', number)::pg_catalog.name)
"""
"""Whether a column's text depends on anything but its schema: PostgreSQL's own is none."""
_OF_TEXT = """
SELECT 0::pg_catalog.int8, 'pg_catalog.pg_proc'::pg_catalog.regclass::pg_catalog.oid, function.oid
FROM pg_catalog.pg_proc AS function
WHERE function.pronamespace OPERATOR(pg_catalog.=) 'azpg'::pg_catalog.regnamespace
  AND function.proname OPERATOR(pg_catalog.=) pg_catalog.concat('text_', number)::pg_catalog.name
"""


def applied(relation: sql.Composable, reads: sql.Composable) -> sql.Composed:
    """A query of the hash, of no row where there is no table.

    Args:
        relation: an expression of the table's oid.
        reads: one of names, those of the columns that azpg reads and writes beside the key.
    """
    return sql.SQL(_template("applied")).format(relation=relation, reads=reads)


def applied_of(column: VectorColumn) -> sql.Composed:
    """The same of the table of a column."""
    return applied(
        sql.SQL("pg_catalog.to_regclass({})").format(sql.Literal(column.relation.as_string())),
        sql.SQL("{}::pg_catalog.name[]").format(sql.Literal(column.reads)),
    )


def see(connection: Connection, column: VectorColumn) -> VectorColumn:
    """The column with the hash as it is now."""
    row = connection.execute(applied_of(column)).fetchone()
    return replace(column, applied=row[0] if row else "")


def note(connection: Connection, column: VectorColumn) -> VectorColumn:
    """The same, and keeps it in the ledger, before the column's functions are made."""
    query = sql.SQL(_NOTE).format(
        number=sql.Literal(column.id),
        reads=sql.Literal(column.reads),
        keys=sql.Literal([key.name for key in column.keys]),
        applied=applied_of(column),
    )
    row = connection.execute(query).fetchone()
    return replace(column, applied=row[0] or "" if row else "")


def noting_text(column: VectorColumn) -> sql.Composed:
    """The statement that keeps what a column's text, once bound, depends on, and whose that is."""
    return sql.SQL(_NOTE_TEXT).format(number=sql.Literal(column.id))


def is_as_applied(connection: Connection, columns: Sequence[VectorColumn]) -> set[int]:
    """The numbers of columns whose table, and what their text depends on, is what it was when it was applied.

    Args:
        connection: in any transaction, or none.
        columns: as the ledger has them, made by this azpg: see `KNOWS`. Of those that are gone others tell.
    """
    if not columns:
        return set()
    wanted = listed([one.id, one.relation.as_string(connection), one.column] for one in columns)
    rows = connection.execute(sql.SQL(_AS_APPLIED).format(wanted=wanted)).fetchall()
    return {number for (number,) in rows}


def objects(first: sql.Composable) -> sql.Composed:
    """The parts of a WITH RECURSIVE: objects, and all that they depend on; see objects.sql."""
    return sql.SQL(_template("objects")).format(first=first)


def function_text(text: bytes) -> bytes:
    """The text of a function of the ledger's, with the queries of this file in their places."""
    parts = {
        b"{applied}": applied(sql.SQL("relation"), sql.SQL("own.reads")),
        b"{calls_some}": sql.SQL(_CALLS_SOME),
        b"{objects}": objects(sql.SQL(_OF_TEXT)),
    }
    for place, part in parts.items():
        text = text.replace(place, part.as_bytes())
    return text


@cache
def _template(name: str) -> str:
    return files(__package__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
