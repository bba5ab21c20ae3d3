"""Where pgvector's things are in a database: its types, operators and operator classes."""

from __future__ import annotations

from typing import Any

import psycopg

from azpg_provision.errors import PlanRefused

Connection = psycopg.Connection[tuple[Any, ...]]


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
