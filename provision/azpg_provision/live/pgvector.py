"""Where pgvector's things are in a database: its types, operators and operator classes."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from azpg_provision.errors import PlanRefused

Connection = psycopg.Connection[tuple[Any, ...]]


_TYPE = """
SELECT type.typname::pg_catalog.text
FROM pg_catalog.pg_attribute AS attribute
JOIN pg_catalog.pg_type AS type ON type.oid OPERATOR(pg_catalog.=) attribute.atttypid
WHERE attribute.attrelid OPERATOR(pg_catalog.=) pg_catalog.to_regclass(%s)
  AND attribute.attname OPERATOR(pg_catalog.=) %s
  AND type.typnamespace OPERATOR(pg_catalog.=) pg_catalog.to_regnamespace(pg_catalog.quote_ident(%s))
  AND type.typname OPERATOR(pg_catalog.=) 'halfvec'
"""


def distance_type(connection: Connection, relation: str, column: str, schema: str) -> sql.Identifier:
    """The type of pgvector's to which both sides of an operator have to be cast.

    pgvector's operator fits two of one type exactly. For any other, such as those of a domain, whoever may
    create in that schema could make an operator that fits better.

    Args:
        connection: to its database.
        relation: the table, as an identifier.
        column: its name.
        schema: pgvector's, as of `schema_of`.
    """
    row = connection.execute(_TYPE, [relation, column, schema]).fetchone()
    return sql.Identifier(schema, "vector" if row is None else row[0])


def schema_of(connection: Connection) -> str:
    """The schema of the extension vector. Raises `PlanRefused` where the database does not have it."""
    row = connection.execute(
        """
        SELECT namespace.nspname FROM pg_catalog.pg_extension AS extension
        JOIN pg_catalog.pg_namespace AS namespace
             ON namespace.oid OPERATOR(pg_catalog.=) extension.extnamespace
        WHERE extension.extname OPERATOR(pg_catalog.=) 'vector'
        """
    ).fetchone()
    if row is None:
        raise PlanRefused(
            f"the database {connection.info.dbname!r} does not have the extension vector: "
            "list it under `extensions`, and apply."
        )
    return str(row[0])
