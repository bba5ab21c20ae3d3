"""What a column's text and a table's key may depend on: nothing of which others could make something else.

What is judged is in dependencies.sql. A text's function runs with the rights of the table's owner, and so do
the types of its key: azpg's own tables of a column have columns of the same types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.ledger.applied import objects
from azpg_provision.live.trust import own
from azpg_provision.sync.bodies import RUN_SQL, is_plain
from azpg_provision.sync.session import safe, template
from azpg_provision.target.target import Connection

_HARMLESS = frozenset(
    {
        *(
            "azure_ai",
            "azure_local_ai",
            "citext",
            "cube",
            "fuzzystrmatch",
            "hstore",
            "intarray",
            "isn",
            "ltree",
        ),
        *("pg_trgm", "pgcrypto", "postgis", "seg", "unaccent", "uuid-ossp", "vector"),
    }
)
"""Extensions of which no function runs SQL whose names its caller looks up."""
_IN_C = " in C"
Row = Sequence[Any]
"""What may not stay: the name, its owner, the table's owner, whether the owner is one whom to trust, a
search_path, a body, and whether it runs a text as SQL."""
# What several tables start with goes by the same number, and is looked through once.
_MANY = """
WITH azpg_start (number, owner, strict, what, cure, of, class, object) AS MATERIALIZED (
    SELECT start.number, start.owner, start.strict, start.what, start.cure,
           start.class::pg_catalog.oid::pg_catalog.int8 OPERATOR(pg_catalog.*) 4294967296
           OPERATOR(pg_catalog.+) start.object::pg_catalog.int8, start.class, start.object
    FROM ({starts}) AS start (number, owner, strict, what, cure, class, object)
)
SELECT azpg_start.number, azpg_start.what, azpg_start.cure,
       found.what, found.role, found.mine, found.fine, found.path, found.body, found.runs
FROM azpg_start
JOIN ({judged}) AS found (of, owner, strict, what, role, mine, fine, path, body, runs)
  ON found.of OPERATOR(pg_catalog.=) azpg_start.of AND found.owner OPERATOR(pg_catalog.=) azpg_start.owner
 AND found.strict OPERATOR(pg_catalog.=) azpg_start.strict
ORDER BY azpg_start.number, found.fine, found.what DESC  -- types before what belongs to them
"""
_FIRST = "SELECT DISTINCT azpg_start.of, azpg_start.class, azpg_start.object FROM azpg_start"
_CASES = "SELECT DISTINCT azpg_start.of, azpg_start.owner, azpg_start.strict FROM azpg_start"
_ONE = """
SELECT 0::pg_catalog.int8, class.relowner, {strict} FROM pg_catalog.pg_class AS class
WHERE class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation})
"""
# Without those that come with PostgreSQL and are as they came: its first superuser's, whose number is 10, and
# with nothing in an extension by which their values would be compared, or made a text.
_OF_KEYS = """
SELECT wanted.number, class.relowner, wanted.strict, NULL, NULL, part.class, part.object
FROM ({tables}) AS wanted (number, relation, keys, written, strict)
JOIN pg_catalog.pg_class AS class ON class.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(wanted.relation)
JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid OPERATOR(pg_catalog.=) class.oid
                                         AND attribute.attname OPERATOR(pg_catalog.=) ANY (wanted.keys)
                                         AND NOT attribute.attisdropped
CROSS JOIN LATERAL (
    SELECT 'pg_catalog.pg_type'::pg_catalog.regclass, type.oid
    FROM pg_catalog.pg_type AS type
    WHERE type.oid OPERATOR(pg_catalog.=) attribute.atttypid
      AND NOT (type.oid OPERATOR(pg_catalog.<) '16384'::pg_catalog.oid
               AND type.typtype OPERATOR(pg_catalog.<>) 'd'
               AND type.typowner OPERATOR(pg_catalog.=) 10::pg_catalog.oid
               AND NOT EXISTS (
                   SELECT FROM pg_catalog.pg_opclass AS opclass
                   WHERE opclass.opcintype OPERATOR(pg_catalog.=) type.oid AND opclass.opcdefault
                     AND opclass.oid OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid)
               AND NOT EXISTS (
                   SELECT FROM pg_catalog.pg_cast AS made
                   WHERE made.castsource OPERATOR(pg_catalog.=) type.oid
                     AND made.oid OPERATOR(pg_catalog.>=) '16384'::pg_catalog.oid
                     AND (made.castmethod OPERATOR(pg_catalog.=) 'b'
                          OR made.casttarget OPERATOR(pg_catalog.=) 'pg_catalog.text'::pg_catalog.regtype)))
    UNION ALL
    SELECT 'pg_catalog.pg_collation'::pg_catalog.regclass, rule.oid
    FROM pg_catalog.pg_collation AS rule
    WHERE rule.oid OPERATOR(pg_catalog.=) attribute.attcollation
      AND NOT (rule.oid OPERATOR(pg_catalog.<) '16384'::pg_catalog.oid
               AND rule.collowner OPERATOR(pg_catalog.=) 10::pg_catalog.oid)
) AS part (class, object)
"""


def judged(
    connection: Connection, first: sql.Composable, relation: sql.Identifier, *, strict: bool
) -> list[Row]:
    """What may not stay of all that objects depend on.

    Args:
        connection: in any transaction, or none.
        first: a query of the objects: of 0, their catalogues and their numbers.
        relation: the table with whose owner's rights they run.
        strict: whether functions may not look names up when they run.
    """
    cases = sql.SQL(_ONE).format(relation=sql.Literal(relation.as_string()), strict=sql.Literal(strict))
    rows = connection.execute(_judged(first, cases, members=False)).fetchall()
    return [row[3:] for row in rows]


def judged_for(
    connection: Connection, starts: sql.Composable, *, members: bool
) -> dict[int, list[tuple[str, str, Row]]]:
    """The same for many tables in one statement, by their numbers: with what it is attached by, and a cure.

    Args:
        connection: in any transaction, or none.
        starts: a query of tables' numbers, their owners, whether functions may not look names up, what an
            object is attached by, what to do about that, and the object as of `judged`.
        members: as of `azpg_provision.live.trust.own`.
    """
    of_all = _judged(sql.SQL(_FIRST), sql.SQL(_CASES), members=members)
    query = sql.SQL(_MANY).format(starts=starts, judged=of_all)
    found: dict[int, list[tuple[str, str, Row]]] = {}
    for number, what, cure, *row in connection.execute(query).fetchall():
        found.setdefault(number, []).append((what, cure, row))
    return found


def _judged(first: sql.Composable, cases: sql.Composable, *, members: bool) -> sql.Composed:
    return template("dependencies").format(
        objects=objects(first),
        cases=cases,
        runs=sql.Literal(rf"\m({'|'.join(sorted(RUN_SQL))})\M"),
        running=sql.Literal(sorted(RUN_SQL)),
        harmless=sql.Literal(sorted(_HARMLESS)),
        own=own("role", "mine", members=members),
        safe=safe(sql.SQL("mine.oid")),
    )


def of_keys(tables: sql.Composable) -> sql.Composed:
    """A query for `judged_for`: the types and collations of keys, but for PostgreSQL's own.

    Args:
        tables: a query of tables, as `azpg_provision.sync.tables.Tables.query`.
    """
    return sql.SQL(_OF_KEYS).format(tables=tables)


def may_change_hands(column: VectorColumn) -> bool:
    """Whether the key of a column as the ledger has it has types that are not PostgreSQL's own."""
    return not all((key.exact or "").startswith("pg_catalog.") for key in column.keys)


def wrong_text(connection: Connection, name: str, rows: Iterable[Row]) -> str:
    """Why a text may not depend on what was found, with what to do; empty if it may.

    Args:
        connection: in any transaction, or none.
        name: of the column.
        rows: of `judged`.
    """
    what = f"the text of {name}"
    use = "Use what belongs to the table's owner or to you, name another one with its schema"
    return _wrong(connection, what, use, rows)


def wrong_key(connection: Connection, name: str, rows: Iterable[Row]) -> str:
    """The same of a table's key.

    Args:
        connection: as of `wrong_text`.
        name: of the table.
        rows: of `judged_for`.
    """
    what = f"the key of {name}, whose types azpg's own tables have, too,"
    use = "Use a key of types of PostgreSQL's, of an extension's, or of the table's owner or yours"
    return _wrong(connection, what, use, rows)


def _wrong(connection: Connection, it: str, use: str, rows: Iterable[Row]) -> str:
    loose = next((row for row in rows if not _is_plain(connection, *row[3:])), None)
    if loose is None:
        return ""
    what, owner, mine, theirs, path, _, runs = loose
    if not theirs:
        return (
            f"{it} depends on {what}, which belongs to the role {owner!r}: who owns it could let it do "
            f"anything, with the rights of the table's owner. {use}, or ALTER … OWNER TO {mine}"
        )
    if runs:
        return (
            f"{it} depends on {what}, which runs a text as SQL: its names are looked up then, where a writer "
            "could put others. Leave that out, or call it in a function with a body of text and a "
            "search_path with pg_temp as the last and only schemas in which nobody else may create"
        )
    if what.endswith(_IN_C):
        return (
            f"{it} depends on {what}, of which azpg does not know whether it looks names up when it runs, "
            "where a writer could put others. Leave that out, or call it in a function with a body of text "
            "and a search_path with pg_temp as the last and only schemas in which nobody else may create"
        )
    its = f"search_path is {path}" if path else "search_path is the caller's"
    return (
        f"{it} depends on {what}, which looks names up whenever it runs, where a writer could put others: "
        f"its {its}. ALTER FUNCTION … SET search_path = …, pg_temp, with pg_temp as the last and only "
        "schemas in which nobody else may create; or give it a body by RETURN or BEGIN ATOMIC"
    )


def _is_plain(connection: Connection, theirs: bool, path: str | None, body: str | None, runs: bool) -> bool:
    return theirs and not runs and path is None and body is not None and is_plain(connection, body)
