"""What a column's text and a table's key may depend on: nothing of which others could make something else.

What is judged is in dependencies.sql. A text's function runs with the rights of the table's owner, and so do
the types of its key: azpg's own tables of a column have columns of the same types.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from psycopg import sql

from azpg_provision.column import VectorColumn
from azpg_provision.live.trust import trusted
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
"""Of what `judged` finds."""
_OF_KEYS = """
SELECT part.class, part.object
    FROM pg_catalog.pg_attribute AS attribute
    CROSS JOIN LATERAL (
        VALUES ('pg_catalog.pg_type'::pg_catalog.regclass, attribute.atttypid),
               ('pg_catalog.pg_collation'::pg_catalog.regclass, attribute.attcollation)
    ) AS part (class, object)
    WHERE attribute.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass({relation})
      AND attribute.attname OPERATOR(pg_catalog.=) ANY ({names}::pg_catalog.name[])
      AND NOT attribute.attisdropped
"""
_AS_JSON = """
(SELECT coalesce(pg_catalog.jsonb_agg(pg_catalog.jsonb_build_array(
            found.what, found.owner, found.mine, found.fine, found.path, found.body, found.runs)),
            '[]'::pg_catalog.jsonb)
 FROM ({judged}) AS found (what, owner, mine, fine, path, body, runs))
"""


def judged(first: sql.Composable, relation: sql.Identifier, *, strict: bool) -> sql.Composed:
    """The query of dependencies.sql.

    Args:
        first: a query of objects: of their catalogues and their numbers.
        relation: the table.
        strict: whether functions may not look names up when they run.
    """
    return template("dependencies").format(
        first=first,
        relation=sql.Literal(relation.as_string()),
        strict=sql.Literal(strict),
        runs=sql.Literal(rf"\m({'|'.join(sorted(RUN_SQL))})\M"),
        running=sql.Literal(sorted(RUN_SQL)),
        harmless=sql.Literal(sorted(_HARMLESS)),
        trusted=trusted("role"),
        safe=safe(sql.SQL("mine.oid")),
    )


def judged_keys(relation: sql.Identifier, names: Iterable[str], *, strict: bool) -> sql.Composed:
    """An expression: the rows of `judged` as JSON, for the types and collations of columns of the table.

    Args:
        relation: the table; of one that is not there nothing is found.
        names: of the columns.
        strict: as of `judged`.
    """
    first = sql.SQL(_OF_KEYS).format(
        relation=sql.Literal(relation.as_string()), names=sql.Literal(sorted(names))
    )
    return sql.SQL(_AS_JSON).format(judged=judged(first, relation, strict=strict))


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
        rows: of `judged_keys`.
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
