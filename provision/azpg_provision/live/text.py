"""Whether a server can make a column's text of a table's rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg import sql

from azpg_provision.spec import expression

_MISTAKES = "42"
"""The class of SQLSTATEs for names, types and rights that are wrong whatever the rows hold."""

Connection = psycopg.Connection[tuple[Any, ...]]

# Types of others whose literals run what others wrote as soon as they are read: the CHECK of a domain within
# an array, a row or a range. A domain itself is not checked before a query runs, and enums check nothing.
_FOREIGN_LITERALS = """
SELECT EXISTS (
WITH azpg_named AS MATERIALIZED (
    SELECT type.oid, type.typarray FROM pg_catalog.pg_type AS type
    WHERE type.typname OPERATOR(pg_catalog.=) ANY ({types}::pg_catalog.name[])
),
-- By indexes only: a database has types for each of its tables.
azpg_used (oid) AS (
    SELECT named.oid FROM azpg_named AS named
    UNION SELECT named.typarray FROM azpg_named AS named
    UNION
    SELECT depend.objid  -- what else has it as its element
    FROM azpg_named AS named
    JOIN pg_catalog.pg_depend AS depend
         ON depend.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
            AND depend.refobjid OPERATOR(pg_catalog.=) named.oid
            AND depend.classid OPERATOR(pg_catalog.=) depend.refclassid
    UNION
    SELECT attribute.atttypid
    FROM pg_catalog.pg_class AS class
    JOIN pg_catalog.pg_namespace AS schema ON schema.oid OPERATOR(pg_catalog.=) class.relnamespace
    JOIN pg_catalog.pg_attribute AS attribute ON attribute.attrelid OPERATOR(pg_catalog.=) class.oid
    WHERE schema.nspname OPERATOR(pg_catalog.=) {schema} AND class.relname OPERATOR(pg_catalog.=) {table}
          AND attribute.attname OPERATOR(pg_catalog.=) ANY ({columns}::pg_catalog.name[])
    UNION
    SELECT part.oid
    FROM pg_catalog.pg_proc AS function
    CROSS JOIN LATERAL (
        SELECT function.prorettype UNION ALL SELECT pg_catalog.unnest(function.proargtypes)
    ) AS part (oid)
    WHERE function.proname OPERATOR(pg_catalog.=) ANY ({functions}::pg_catalog.name[])
    UNION
    SELECT part.oid
    FROM pg_catalog.pg_operator AS operator
    CROSS JOIN LATERAL (VALUES (operator.oprleft), (operator.oprright), (operator.oprresult)) AS part (oid)
    WHERE operator.oprname OPERATOR(pg_catalog.=) ANY ({operators}::pg_catalog.name[])
)
SELECT FROM azpg_used
CROSS JOIN LATERAL (
    SELECT type.oid, type.typowner, type.typtype, type.typelem FROM pg_catalog.pg_type AS type
    WHERE type.oid OPERATOR(pg_catalog.=) azpg_used.oid OFFSET 0
) AS type
JOIN pg_catalog.pg_roles AS owner ON owner.oid OPERATOR(pg_catalog.=) type.typowner
LEFT JOIN pg_catalog.pg_type AS element ON element.oid OPERATOR(pg_catalog.=) type.typelem
WHERE NOT {fine}
      AND (type.typtype OPERATOR(pg_catalog.=) ANY (CAST('{{c,r,m}}' AS pg_catalog."char"[]))
           OR element.typtype OPERATOR(pg_catalog.=) ANY (CAST('{{d,c,r,m}}' AS pg_catalog."char"[])))
)
"""


_SUPERUSERS = sql.SQL("owner.rolsuper")


def may_be_parsed(
    connection: Connection, schema: str, table: str, text: str, *, fine: sql.Composable = _SUPERUSERS
) -> bool:
    """Whether reading a text's literals runs nothing of others: see `_FOREIGN_LITERALS`.

    Args:
        connection: in any transaction.
        schema: of the table that the text is over.
        table: its name.
        text: an expression.
        fine: a condition on `owner`, a row of pg_roles: whether what that role wrote may be run.
    """
    names = expression.names_of(text)
    query = sql.SQL(_FOREIGN_LITERALS).format(
        fine=fine,
        schema=sql.Literal(schema),
        table=sql.Literal(table),
        columns=sql.Literal(list(expression.columns_of(text))),
        types=sql.Literal(list(names.types)),
        functions=sql.Literal(list(names.functions)),
        operators=sql.Literal(list(names.operators)),
    )
    row = connection.execute(query).fetchone()  # without parameters: a name may hold a percent sign
    return row == (False,)


def text_trouble(connection: Connection, schema: str, table: str, text: str, path: Sequence[str]) -> str:
    """Why no row could have this text, such as a function that is not there; empty where rows may have it.

    Names are looked up in the schemas of `path`, as a worker and a trigger do. The text is parsed, and
    nothing of it is run: to plan a query would compute what is constant in it. Empty also where to parse it
    would run what others wrote.
    """
    query = sql.SQL("PREPARE azpg_text AS SELECT ({}\n)::pg_catalog.text FROM {}").format(
        sql.SQL(text), sql.Identifier(schema, table)
    )
    if not may_be_parsed(connection, schema, table, text):
        return ""
    try:
        with connection.transaction(force_rollback=True):
            connection.execute(sql.SQL("SET LOCAL search_path = {}").format(names(path)))
            connection.execute(query, binary=True)  # by the protocol that takes one statement only
            connection.execute("DEALLOCATE azpg_text")
    except psycopg.Error as error:
        if not (error.sqlstate or "").startswith(_MISTAKES):
            return ""  # for a row, or for the moment
        return error.diag.message_primary or str(error)
    return ""


def names(path: Sequence[str]) -> sql.Composed:
    """Schemas as a search_path."""
    return sql.SQL(", ").join(map(sql.Identifier, path))
